//! A band-limited filter from one rate to another, in the frequency domain, block by block.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler, WindowFunction};

/// The filter, for one pair of rates and a number of channels.
pub struct BlockFilter {
    filter: Fft<f32>,
    channels: usize,
    /// Frames that it takes and gives at a time.
    pub takes: usize,
    pub gives: usize,
    /// Frames of delay, of those that it gives.
    pub delay: usize,
}

impl BlockFilter {
    /// From and to in Hz; `block` is how many frames it is to take at a time.
    ///
    /// # Errors
    /// The rates cannot be brought together, in the library's words.
    pub fn new(from: usize, to: usize, block: usize, channels: usize) -> Result<Self, String> {
        let window = WindowFunction::BlackmanHarris2;
        let filter = Fft::<f32>::new_custom(from, to, block, 1, channels, window, FixedSync::Both)
            .map_err(|error| error.to_string())?;
        let (takes, gives, delay) = (filter.input_frames_next(), filter.output_frames_next(), filter.output_delay());
        Ok(Self { filter, channels, takes, gives, delay })
    }

    /// As new, for another source.
    pub fn reset(&mut self) {
        self.filter.reset();
    }

    /// Filters `takes` interleaved frames into `block`, which has room for `gives`; gives how many frames there are.
    ///
    /// # Errors
    /// The slices have other lengths, in the library's words.
    pub fn filter(&mut self, frames: &[f32], block: &mut [f32]) -> Result<usize, String> {
        let input = InterleavedSlice::new(frames, self.channels, self.takes).map_err(|error| error.to_string())?;
        let mut output =
            InterleavedSlice::new_mut(block, self.channels, self.gives).map_err(|error| error.to_string())?;
        let done = self.filter.process_into_buffer(&input, &mut output, None::<&Indexing>);
        done.map(|(_, given)| given).map_err(|error| error.to_string())
    }
}
