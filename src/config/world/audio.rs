//! The options of `audio`.

use std::time::Duration;

use super::{Damage, Tail};

/// `[dataset.audio]`
#[derive(Debug, Clone, PartialEq)]
pub struct AudioOptions {
    /// Samples of a window, at the rows' rate.
    pub samples: usize,
    /// Samples from the start of one window to that of the next.
    pub hop: usize,
    /// Channels of a row; `None` where all are mixed into one.
    pub channels: Option<usize>,
    /// Hz; `None`: that of each source.
    pub rate: Option<u32>,
    pub tail: Tail,
    /// What of a source is taken, from its start.
    pub start: Duration,
    pub end: Option<Duration>,
    pub on_error: Damage,
    pub sample: SoundSample,
    pub big_endian: bool,
    /// `features = "log-mel"`; `None` where the samples are the row.
    pub mel: Option<MelOptions>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoundSample {
    I16,
    F16,
    F32,
}

/// The keys of `features = "log-mel"`, with the names and meanings of librosa's.
#[derive(Debug, Clone, PartialEq)]
pub struct MelOptions {
    /// Of a row, whose shape is `[mels, frames]`.
    pub mels: usize,
    pub frames: usize,
    /// Hz; that of the samples.
    pub rate: u32,
    /// Samples of a spectrum.
    pub fft: usize,
    /// Samples from one spectrum to the next.
    pub hop: usize,
    /// Samples of the window, which lies in the middle of the spectrum's.
    pub win: usize,
    pub window: MelWindow,
    /// Exponent of the magnitudes: 1 or 2.
    pub power: f64,
    /// Hz.
    pub from_hz: f64,
    pub to_hz: f64,
    pub scale: MelScale,
    pub norm: MelNorm,
    /// Whether the first spectrum is centred on the first sample.
    pub center: bool,
    pub log: MelLog,
    /// What is smaller is raised to this before the logarithm is taken.
    pub floor: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MelWindow {
    Hann,
    Hamming,
    Rectangular,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MelScale {
    Slaney,
    Htk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MelNorm {
    /// Each filter has the area 1, in Hz.
    Slaney,
    /// Each filter has the peak 1.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MelLog {
    Ln,
    Log10,
    /// Decibels: 10 log10 of a power, 20 log10 of a magnitude.
    Db,
}
