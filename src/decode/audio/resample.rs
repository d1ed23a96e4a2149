//! From one rate to another: a band-limited filter in the frequency domain, without delay.
//!
//! Rules:
//! - The sample `n` of the result lies at the time `n / to`, where that of the source has `n / from`: the filter is
//!   symmetrical, its delay is taken away, and the ratio is one of integers, so that nothing drifts.
//! - There is silence before the first sample and behind the last. A source of `n` samples gives `n * to / from`, rounded up.
//! - The pass band reaches to 0.91 of half of the lower rate or further, and what lies above that half is gone: what soxr's
//!   high quality does, too. In between the filter falls off, with half its height at 0.957.
//! - The filter works on blocks whose size depends on the two rates alone: however the samples come in, the result is the
//!   same.

use npy_ingest_kernels::resample::BlockFilter;

use super::super::{DecodeError, Rejection};

/// The filter is about so long, in samples of the lower rate, where the ratio of the rates lets it be.
const FILTER_SAMPLES: u64 = 320;

/// Frames that the filter works on at a time, at most: rates without a common divisor take twice as many as they have Hz.
/// 60 MB of memory.
const BLOCK_FRAMES_MAX: u64 = 1 << 19;
/// Samples of a block up to which a resampler is kept for other sources.
const KEPT_SAMPLES_MAX: usize = 1 << 16;

/// Resamples the frames of one source, interleaved.
pub(super) struct Resampler {
    filter: BlockFilter,
    channels: usize,
    from: u32,
    to: u32,
    /// Less than the filter takes.
    waiting: Vec<f32>,
    block: Vec<f32>,
    /// Frames of the filter's delay that are still to come.
    delay: usize,
    frames_in: u64,
    frames_out: u64,
}

impl Resampler {
    /// Both rates are at least 1 Hz.
    pub(super) fn new(from: u32, to: u32, channels: usize) -> Result<Self, DecodeError> {
        let divisor = greatest_common_divisor(from, to).max(1);
        let (step_in, step_out) = (u64::from(from / divisor), u64::from(to / divisor));
        // Even, so that the middle of the filter is a sample of both rates.
        let steps = (FILTER_SAMPLES / step_in.min(step_out).max(1)).next_multiple_of(2).max(2);
        if step_in.max(step_out) * steps > BLOCK_FRAMES_MAX {
            return Err(Rejection::new(format!(
                "{from} Hz cannot be resampled to {to} Hz: the two have no common divisor that is large enough"
            ))
            .into());
        }
        let block = usize::try_from(step_in * steps).unwrap_or(usize::MAX);
        let filter = BlockFilter::new(from as usize, to as usize, block, channels);
        let filter = filter.map_err(|error| {
            DecodeError::from(Rejection::new(format!("{from} Hz cannot be resampled to {to} Hz: {error}")))
        })?;
        Ok(Self {
            channels,
            from,
            to,
            waiting: Vec::with_capacity(filter.takes * channels),
            block: vec![0.0; filter.gives * channels],
            delay: filter.delay,
            filter,
            frames_in: 0,
            frames_out: 0,
        })
    }

    /// Whether it is for these rates and channels.
    pub(super) fn fits(&self, from: u32, to: u32, channels: usize) -> bool {
        (self.from, self.to, self.channels) == (from, to, channels)
    }

    /// Whether it is worth keeping: it takes little memory.
    pub(super) fn is_small(&self) -> bool {
        self.filter.takes.max(self.filter.gives) * self.channels <= KEPT_SAMPLES_MAX
    }

    /// As new, for another source.
    pub(super) fn reset(&mut self) {
        self.filter.reset();
        self.waiting.clear();
        self.delay = self.filter.delay;
        (self.frames_in, self.frames_out) = (0, 0);
    }

    /// Takes frames, and appends those that are ready.
    pub(super) fn push(&mut self, mut frames: &[f32], ready: &mut Vec<f32>) -> Result<(), DecodeError> {
        self.frames_in += (frames.len() / self.channels) as u64;
        let block = self.filter.takes * self.channels;
        while !frames.is_empty() {
            if self.waiting.is_empty() && frames.len() >= block {
                let (whole, rest) = frames.split_at(block);
                self.filter_block(whole, ready)?;
                frames = rest;
                continue;
            }
            let (part, rest) = frames.split_at(frames.len().min(block - self.waiting.len()));
            self.waiting.extend_from_slice(part);
            frames = rest;
            if self.waiting.len() == block {
                let whole = std::mem::take(&mut self.waiting);
                self.filter_block(&whole, ready)?;
                self.waiting = whole;
                self.waiting.clear();
            }
        }
        Ok(())
    }

    /// Appends what is still in the filter.
    pub(super) fn finish(&mut self, ready: &mut Vec<f32>) -> Result<(), DecodeError> {
        let wanted = u128::from(self.frames_in) * u128::from(self.to);
        let wanted = u64::try_from(wanted.div_ceil(u128::from(self.from))).unwrap_or(u64::MAX);
        while self.frames_out < wanted {
            let mut last = std::mem::take(&mut self.waiting);
            last.resize(self.filter.takes * self.channels, 0.0);
            self.filter_block(&last, ready)?;
        }
        let beyond = usize::try_from(self.frames_out - wanted).unwrap_or(usize::MAX);
        ready.truncate(ready.len().saturating_sub(beyond * self.channels));
        Ok(())
    }

    fn filter_block(&mut self, whole: &[f32], ready: &mut Vec<f32>) -> Result<(), DecodeError> {
        let done = self.filter.filter(whole, &mut self.block);
        let given = done.map_err(|error| Rejection::new(format!("resampling: {error}")))?;
        let late = self.delay.min(given);
        self.delay -= late;
        ready.extend_from_slice(self.block.get(late * self.channels..given * self.channels).unwrap_or_default());
        self.frames_out += (given - late) as u64;
        Ok(())
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(from: u32, to: u32, frames: &[f32], piece: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(from, to, 1).unwrap();
        let mut ready = Vec::new();
        for part in frames.chunks(piece) {
            resampler.push(part, &mut ready).unwrap();
        }
        resampler.finish(&mut ready).unwrap();
        ready
    }

    /// A tone under a slow bell, so that its ends are silent.
    fn tone(rate: u32, hz: f64, seconds: f64) -> Vec<f32> {
        let count = (f64::from(rate) * seconds).ceil() as usize;
        let value = |at: usize| {
            let time = at as f64 / f64::from(rate);
            let bell = (std::f64::consts::PI * time / seconds).sin().powi(4);
            (bell * (std::f64::consts::TAU * hz * time).sin()) as f32
        };
        (0..count).map(value).collect()
    }

    fn noise_db(found: &[f32], expected: &[f32]) -> f64 {
        let power = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
        let signal = power(&mut expected.iter().map(|value| f64::from(*value)));
        let noise = power(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
        10.0 * (noise / signal).log10()
    }

    #[test]
    fn a_tone_keeps_its_place_and_its_size() {
        for (from, to) in [(44_100, 16_000), (16_000, 44_100), (48_000, 44_100), (8_000, 8_001), (96_000, 8_000)] {
            let expected = tone(to, 1234.5, 1.0);
            for piece in [1, 1000, 44_100] {
                let found = resampled(from, to, &tone(from, 1234.5, 1.0), piece);
                assert_eq!(found.len(), expected.len(), "{from} to {to}");
                let noise = noise_db(&found, &expected);
                assert!(noise < -100.0, "{from} to {to}: {noise} dB");
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let found = resampled(48_000, 16_000, &tone(48_000, 8_100.0, 1.0), 4096);
        let loudest = found.iter().fold(0.0_f32, |loudest, value| loudest.max(value.abs()));
        assert!(loudest < 1e-4, "{loudest}");
    }

    #[test]
    fn pieces_change_nothing_and_a_reset_forgets_everything() {
        let frames = tone(44_100, 300.0, 0.7001);
        let whole = resampled(44_100, 16_000, &frames, frames.len());
        assert_eq!(whole.len(), (frames.len() * 160).div_ceil(441));
        assert_eq!(resampled(44_100, 16_000, &frames, 17), whole);
        let mut resampler = Resampler::new(44_100, 16_000, 1).unwrap();
        let mut ready = Vec::new();
        resampler.push(&[1.0; 5000], &mut ready).unwrap();
        resampler.reset();
        ready.clear();
        resampler.push(&frames, &mut ready).unwrap();
        resampler.finish(&mut ready).unwrap();
        assert_eq!(ready, whole);
    }

    #[test]
    fn rates_that_would_take_too_much_memory_are_refused() {
        assert!(Resampler::new(262_139, 16_000, 1).is_ok_and(|resampler| !resampler.is_small()));
        assert!(Resampler::new(1_048_573, 16_000, 1).is_err());
    }

    #[test]
    fn no_frames_give_none() {
        assert!(resampled(44_100, 16_000, &[], 1).is_empty());
        assert_eq!(resampled(44_100, 16_000, &[1.0], 1).len(), 1);
    }
}
