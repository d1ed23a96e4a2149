//! Log-mel spectrograms, with librosa's definitions.
//!
//! Rules, for a window of samples `y`:
//! - Frame `t` is the spectrum of the `n_fft` samples from `t * hop_length`, with `center` from `n_fft / 2` samples before;
//!   what lies before and behind the window counts as silence (librosa's `pad_mode = "constant"`). The windowing function is
//!   periodic, `win_length` long, and lies in the middle.
//! - Magnitudes, or their squares with `power = 2`, are summed up by triangular filters that are equally spaced in mel from
//!   `fmin` to `fmax`. With `norm = "slaney"` a filter is divided by half its width in Hz.
//! - The logarithm is taken of at least `floor`; nothing is related to the loudest value of a row.
//! - All is done in double precision: what single precision adds to the spectrum of a pure tone would be seen in a logarithm.
//! - A row is `[bands, frames]`, the lowest band first.

use std::f64::consts::TAU;
use std::sync::Arc;

use npy_ingest_kernels::spectrum::{Complex, RealToComplex, real_fft};

use crate::config::{MelLog, MelNorm, MelOptions, MelScale, MelWindow};

/// What all spectrograms of a dataset share.
pub(super) struct LogMel {
    options: MelOptions,
    fft: Arc<dyn RealToComplex<f64>>,
    /// `n_fft` values.
    window: Vec<f64>,
    filters: Vec<Filter>,
}

/// One band: a triangle over some bins of the spectrum.
struct Filter {
    first_bin: usize,
    weights: Vec<f64>,
}

/// What one thread needs while it makes them.
pub(super) struct Scratch {
    samples: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    powers: Vec<f64>,
    fft: Vec<Complex<f64>>,
    /// One row.
    row: Vec<f32>,
}

impl LogMel {
    pub(super) fn new(options: &MelOptions) -> Self {
        let fft = real_fft(options.fft);
        Self { options: options.clone(), fft, window: window(options), filters: filters(options) }
    }

    pub(super) fn scratch(&self) -> Scratch {
        let bins = self.options.fft / 2 + 1;
        Scratch {
            samples: vec![0.0; self.options.fft],
            spectrum: self.fft.make_output_vec(),
            powers: vec![0.0; bins],
            fft: self.fft.make_scratch_vec(),
            row: vec![0.0; self.options.mels * self.options.frames],
        }
    }

    /// The row of a window of samples.
    pub(super) fn row<'a>(&self, samples: &[f32], scratch: &'a mut Scratch) -> &'a [f32] {
        let options = &self.options;
        let before = if options.center { options.fft / 2 } else { 0 };
        for frame in 0..options.frames {
            self.spectrum(samples, frame * options.hop, before, scratch);
            let bands = self.filters.iter().zip(scratch.row.chunks_exact_mut(options.frames));
            for (filter, row) in bands {
                let bins = scratch.powers.get(filter.first_bin..).unwrap_or_default();
                let sum: f64 = filter.weights.iter().zip(bins).map(|(weight, power)| weight * power).sum();
                if let Some(value) = row.get_mut(frame) {
                    *value = self.log(sum);
                }
            }
        }
        &scratch.row
    }

    /// Fills in the powers of the samples from `from - before` on.
    fn spectrum(&self, samples: &[f32], from: usize, before: usize, scratch: &mut Scratch) {
        let silent = before.saturating_sub(from).min(scratch.samples.len());
        let there = samples.get(from.saturating_sub(before)..).unwrap_or_default();
        let (head, rest) = scratch.samples.split_at_mut(silent);
        head.fill(0.0);
        let count = there.len().min(rest.len());
        let windowed = self.window.get(silent..).unwrap_or_default();
        for ((place, sample), weight) in rest.iter_mut().zip(there).zip(windowed) {
            *place = f64::from(*sample) * weight;
        }
        rest.get_mut(count..).unwrap_or_default().fill(0.0);
        let done = self.fft.process_with_scratch(&mut scratch.samples, &mut scratch.spectrum, &mut scratch.fft);
        // It fails on buffers of another length only, and these are the plan's own.
        debug_assert!(done.is_ok());
        let is_power = self.options.power == 2.0;
        for (power, bin) in scratch.powers.iter_mut().zip(&scratch.spectrum) {
            *power = if is_power { bin.norm_sqr() } else { bin.norm() };
        }
    }

    fn log(&self, value: f64) -> f32 {
        let value = value.max(self.options.floor);
        let log = match self.options.log {
            MelLog::Ln => value.ln(),
            MelLog::Log10 => value.log10(),
            MelLog::Db => 20.0 / self.options.power * value.log10(),
        };
        log as f32
    }
}

/// The windowing function in the middle of `n_fft` values.
fn window(options: &MelOptions) -> Vec<f64> {
    let before = (options.fft - options.win) / 2;
    let value = |at: usize| {
        let Some(place) = at.checked_sub(before).filter(|place| *place < options.win) else { return 0.0 };
        let turn = (TAU * place as f64 / options.win as f64).cos();
        match options.window {
            MelWindow::Hann => 0.5 - 0.5 * turn,
            MelWindow::Hamming => 0.54 - 0.46 * turn,
            MelWindow::Rectangular => 1.0,
        }
    };
    (0..options.fft).map(value).collect()
}

fn filters(options: &MelOptions) -> Vec<Filter> {
    let (from, to) = (mel(options.from_hz, options.scale), mel(options.to_hz, options.scale));
    let step = (to - from) / (options.mels + 1) as f64;
    let edge = |band: usize| hz(from + step * band as f64, options.scale);
    let bin_hz = f64::from(options.rate) / options.fft as f64;
    let filter = |band: usize| {
        let (low, middle, high) = (edge(band), edge(band + 1), edge(band + 2));
        let scale = match options.norm {
            MelNorm::Slaney => 2.0 / (high - low),
            MelNorm::None => 1.0,
        };
        let weight = |bin: usize| {
            let at = bin as f64 * bin_hz;
            ((at - low) / (middle - low)).min((high - at) / (high - middle)).max(0.0) * scale
        };
        let last = options.fft / 2;
        let first_bin = ((low / bin_hz).floor() as usize).min(last);
        let last_bin = ((high / bin_hz).ceil() as usize).min(last);
        Filter { first_bin, weights: (first_bin..=last_bin).map(weight).collect() }
    };
    (0..options.mels).map(filter).collect()
}

/// Slaney's scale is linear up to 1000 Hz and logarithmic above (Auditory Toolbox, 1998); HTK's has one formula.
fn mel(hz: f64, scale: MelScale) -> f64 {
    match scale {
        MelScale::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
        MelScale::Slaney if hz < 1000.0 => hz * 3.0 / 200.0,
        MelScale::Slaney => 15.0 + 27.0 * (hz / 1000.0).ln() / 6.4_f64.ln(),
    }
}

fn hz(mel: f64, scale: MelScale) -> f64 {
    match scale {
        MelScale::Htk => 700.0 * (10.0_f64.powf(mel / 2595.0) - 1.0),
        MelScale::Slaney if mel < 15.0 => mel * 200.0 / 3.0,
        MelScale::Slaney => 1000.0 * (6.4_f64.ln() * (mel - 15.0) / 27.0).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> MelOptions {
        MelOptions {
            mels: 40,
            frames: 5,
            rate: 16_000,
            fft: 512,
            hop: 160,
            win: 400,
            window: MelWindow::Hann,
            power: 2.0,
            from_hz: 0.0,
            to_hz: 8000.0,
            scale: MelScale::Slaney,
            norm: MelNorm::Slaney,
            center: true,
            log: MelLog::Db,
            floor: 1e-10,
        }
    }

    #[test]
    fn scales_go_there_and_back() {
        for scale in [MelScale::Slaney, MelScale::Htk] {
            for at in [0.0, 10.0, 999.0, 1000.0, 1001.0, 8000.0] {
                assert!((hz(mel(at, scale), scale) - at).abs() < 1e-8, "{at}");
            }
        }
        // librosa.hz_to_mel(4000), and with htk=True.
        assert!((mel(4000.0, MelScale::Slaney) - 35.163_759).abs() < 1e-5);
        assert!((mel(4000.0, MelScale::Htk) - 2_146.064_53).abs() < 1e-3);
    }

    #[test]
    fn silence_is_the_floor_and_a_tone_lies_in_its_band() {
        let mel_of = LogMel::new(&options());
        let mut scratch = mel_of.scratch();
        assert!(mel_of.row(&[0.0; 640], &mut scratch).iter().all(|value| *value == -100.0));
        let tone: Vec<f32> = (0..640).map(|at| (TAU * 2000.0 * f64::from(at) / 16_000.0).sin() as f32).collect();
        let row = mel_of.row(&tone, &mut scratch).to_vec();
        let loudest = (0..40).max_by(|a, b| row[a * 5 + 2].total_cmp(&row[b * 5 + 2])).unwrap();
        let (low, high) = (mel(0.0, MelScale::Slaney), mel(8000.0, MelScale::Slaney));
        let middle = hz(low + (high - low) / 41.0 * (loudest + 1) as f64, MelScale::Slaney);
        assert!((middle - 2000.0).abs() < 120.0, "band {loudest} at {middle} Hz");
        // What was there before does not show.
        assert_eq!(mel_of.row(&tone, &mut mel_of.scratch()), row);
    }

    #[test]
    fn without_center_the_first_frame_begins_at_the_first_sample() {
        let shifted = LogMel::new(&MelOptions { center: false, ..options() });
        let centred = LogMel::new(&options());
        let noise: Vec<f32> = (0..2000_u32).map(|at| (at * at % 97) as f32 / 97.0 - 0.5).collect();
        let plain = shifted.row(&noise[160 * 2 - 256..], &mut shifted.scratch()).to_vec();
        let row = centred.row(&noise, &mut centred.scratch()).to_vec();
        // Frame 2 of one is frame 0 of the other.
        assert!((0..40).all(|band| (row[band * 5 + 2] - plain[band * 5]).abs() < 1e-4));
    }
}
