//! `[dataset.video]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Damage, ImageOptions, Tail};

/// `[dataset.video]`. It is handed to the worker that decodes, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoOptions {
    /// How a frame becomes a picture of a row.
    pub frame: ImageOptions,
    /// Rows are clips of several frames.
    pub clip: Option<Clip>,
    pub pick: Pick,
    /// Frames are taken from here, as time from the stream's start.
    pub start: Duration,
    /// Up to here, and not what begins then.
    pub end: Option<Duration>,
    pub on_error: Damage,
    /// How long the worker may go without getting on.
    pub timeout: Duration,
    /// Address space of each worker.
    pub memory_bytes: u64,
}

/// Rows of `[T, H, W, C]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clip {
    /// Frames of a row, at least 1.
    pub length: usize,
    /// Frames from the start of a row to the start of the next, at least 1.
    pub hop: usize,
    pub tail: Tail,
}

/// Which frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pick {
    All,
    Fps(Rate),
    /// Every so many, at least 2.
    Stride(u64),
    Keyframes,
}

/// Frames a second, as a fraction in its lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub frames: u64,
    pub seconds: u64,
}
