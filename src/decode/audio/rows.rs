//! The samples of one source on their way to rows: channels, rate, windows, and what was lost of it.

use std::time::Duration;

use super::mel::Scratch;
use super::resample::Resampler;
use super::windows::Cutter;
use super::{AudioDecoder, DecodeError, rejected};
use crate::config::{Damage, Tail};
use crate::decode::RowSink;

/// Larger samples are no sound.
const SAMPLE_MAX: f32 = 1e12;
/// Samples of a channel that are resampled at a time.
const PIECE_FRAMES: usize = 4096;

/// See the module documentation.
pub(super) struct Rows<'a> {
    decoder: &'a AudioDecoder,
    /// Hz and channels of the source.
    found: (u32, usize),
    channels: usize,
    resampler: Option<Resampler>,
    cutter: Cutter,
    maker: Maker<'a>,
    /// Frames of the source so far.
    given: u64,
    lost: u64,
    first_loss: Option<String>,
    mixed: Vec<f32>,
    ready: Vec<f32>,
}

/// Windows into rows.
struct Maker<'a> {
    decoder: &'a AudioDecoder,
    /// Hz
    rate: u32,
    scratch: Option<Scratch>,
    rows: u64,
}

impl Maker<'_> {
    fn row(&mut self, first: u64, window: &[f32], sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let row = sink.row(first as f64 / f64::from(self.rate))?;
        self.rows += 1;
        match (&self.decoder.mel, &mut self.scratch) {
            (Some(mel), Some(scratch)) => self.decoder.store(mel.row(window, scratch), row),
            _ => self.decoder.store(window, row),
        }
        Ok(())
    }
}

impl<'a> Rows<'a> {
    /// Of a source with this rate, in Hz, and so many channels.
    pub fn new(decoder: &'a AudioDecoder, rate: u32, channels: usize) -> Result<Self, DecodeError> {
        let (options, found) = (&decoder.options, (rate, channels));
        let channels = decoder.check_channels(channels)?;
        let resampler = decoder.resampler(rate, channels)?;
        let rate = options.rate.unwrap_or(rate);
        let (start, end) = (frames_in(options.start, rate), options.end.map(|end| frames_in(end, rate)));
        let cutter = Cutter::new(options.samples, options.hop, channels, options.tail, start, end);
        let maker = Maker { decoder, rate, scratch: decoder.mel.as_ref().map(|mel| mel.scratch()), rows: 0 };
        let (mixed, ready) = (Vec::new(), Vec::new());
        Ok(Self {
            decoder,
            found,
            channels,
            resampler,
            cutter,
            maker,
            given: 0,
            lost: 0,
            first_loss: None,
            mixed,
            ready,
        })
    }

    pub fn source_channels(&self) -> usize {
        self.found.1.max(1)
    }

    /// Whether nothing more is wanted.
    pub fn are_complete(&self) -> bool {
        self.cutter.is_done()
    }

    /// Takes damage into account, and so many more like it, or rejects the source for it.
    pub fn lose(&mut self, reason: String, more: u64) -> Result<(), DecodeError> {
        if self.decoder.options.on_error == Damage::Reject {
            return Err(rejected(reason));
        }
        self.lost += 1 + more;
        self.first_loss.get_or_insert(reason);
        Ok(())
    }

    /// The next samples of the source, interleaved, in whole frames.
    pub fn push(&mut self, block: &mut [f32], sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let (rate, channels) = self.found;
        self.given += (block.len() / channels.max(1)) as u64;
        if !mend(block) {
            let end_s = self.given as f64 / f64::from(rate.max(1));
            self.lose(format!("a sample before {end_s:.3} s is not a number, or too large"), 0)?;
        }
        let Self { decoder, cutter, maker, ready, .. } = self;
        let mut emit = |first: u64, window: &[f32]| maker.row(first, window, sink);
        let frames = mix(block, channels, decoder.options.channels, &mut self.mixed);
        let Some(resampler) = &mut self.resampler else { return cutter.push(frames, &mut emit) };
        // In pieces: a packet may be as long as the file, and become a thousand times as much.
        for piece in frames.chunks(PIECE_FRAMES * self.channels) {
            if cutter.is_done() {
                break;
            }
            ready.clear();
            resampler.push(piece, ready)?;
            cutter.push(ready, &mut emit)?;
        }
        Ok(())
    }

    /// Behind the last samples.
    pub fn finish(mut self, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let Self { resampler, cutter, maker, ready, .. } = &mut self;
        let mut emit = |first: u64, window: &[f32]| maker.row(first, window, sink);
        if let Some(resampler) = resampler
            && !cutter.is_done()
        {
            ready.clear();
            resampler.finish(ready)?;
            cutter.push(ready, &mut emit)?;
        }
        cutter.finish(&mut emit)?;
        self.decoder.keep(self.resampler.take());
        if self.maker.rows == 0 {
            return Err(rejected(self.too_short()));
        }
        if let Some(first) = self.first_loss {
            let more = match self.lost - 1 {
                0 => String::new(),
                more => format!(" ({more} more like this)"),
            };
            sink.note(format!("damaged, what could be decoded was kept: {first}{more}"));
        }
        Ok(())
    }

    fn too_short(self) -> String {
        let (options, rate, frames) = (&self.decoder.options, self.maker.rate, self.cutter.frames());
        let (wanted, found_s) = (options.samples, frames as f64 / f64::from(rate));
        let mut reason = match frames {
            0 => "it holds no sound".to_owned(),
            _ => format!("it has {frames} samples at {rate} Hz ({found_s:.3} s)"),
        };
        if frames > 0 && frames_in(options.start, rate) >= frames {
            reason.push_str(", and `start` lies behind its end");
        } else if frames > 0 && options.tail == Tail::Drop {
            reason.push_str(&format!(", less than a window of {wanted}: use a shorter one, or tail = \"pad\""));
        }
        match self.first_loss {
            Some(loss) => format!("{reason}; {loss}"),
            None => reason,
        }
    }
}

/// Frames from the start to a time.
fn frames_in(time: Duration, rate: u32) -> u64 {
    let frames = (time.as_nanos() * u128::from(rate) + 500_000_000) / 1_000_000_000;
    u64::try_from(frames).unwrap_or(u64::MAX)
}

/// Puts silence in place of what is no sample; whether there was none.
fn mend(block: &mut [f32]) -> bool {
    let is_sample = |value: &f32| value.abs() <= SAMPLE_MAX;
    if block.iter().all(is_sample) {
        return true;
    }
    for value in block.iter_mut().filter(|value| !is_sample(value)) {
        *value = 0.0;
    }
    false
}

/// The frames of a row's channels, from those of the source. `mixed` holds them where they are others.
fn mix<'a>(block: &'a [f32], found: usize, wanted: Option<usize>, mixed: &'a mut Vec<f32>) -> &'a [f32] {
    match wanted {
        None if found > 1 => {
            mixed.clear();
            mixed.extend(block.chunks_exact(found).map(|frame| frame.iter().sum::<f32>() / found as f32));
            mixed
        }
        Some(wanted) if wanted != found => {
            mixed.clear();
            mixed.extend(block.iter().flat_map(|sample| std::iter::repeat_n(*sample, wanted)));
            mixed
        }
        _ => block,
    }
}
