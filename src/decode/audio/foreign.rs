//! Sound that nothing here decodes, by the worker that has FFmpeg: it gives the samples, and they become rows here.

use std::time::Duration;

use super::rows::Rows;
use super::{AudioDecoder, container, edits, names, opening, rejected};
use crate::config::RowFormat;
use crate::decode::ffmpeg::{Ffmpeg, Keys, Limits, MISSING, OUTPUT_BYTES_MAX, Task, WORKER, Wanted, find_worker};
use crate::decode::{About, DecodeError, RowSink, SourceFile};
use crate::npy::Dtype;

/// What the worker may take; sound is a small matter for it.
const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(60),
    memory_bytes: 1 << 30,
    output_bytes_max: OUTPUT_BYTES_MAX,
    keys: Keys { timeout: None, output: None },
};
/// Samples that are taken at a time.
const BLOCK_SAMPLES: usize = 1 << 16;
/// The rate and the number of channels come before the samples.
const HEAD: usize = 2;

pub(super) fn ffmpeg() -> Ffmpeg {
    Ffmpeg::new(LIMITS, &RowFormat { shape: Vec::new(), dtype: Dtype::f4_le() })
}

/// Whether the worker is there.
pub(super) fn is_there() -> bool {
    find_worker().is_some()
}

/// `why`: why it is not decoded here. `damage`: what is known to be lost of it.
pub(super) fn decode(
    decoder: &AudioDecoder,
    why: &str,
    damage: Option<String>,
    file: &SourceFile,
    about: About<'_>,
    sink: &mut dyn RowSink,
) -> Result<(), DecodeError> {
    if edits::has_pause_within(file) {
        return Err(rejected(names::pause_within()));
    }
    let missing = format!("{why}; {WORKER} may decode it, {MISSING}");
    let mut samples = Samples {
        decoder,
        sink,
        rows: None,
        waiting: Vec::new(),
        losses: Losses { first: damage, more: 0 },
        is_over: false,
        error: None,
    };
    let asked = decoder.ffmpeg.ask(&Task::new(about, Wanted::Samples), file, &missing, about, &mut samples);
    if let Some(error) = samples.error {
        return Err(error);
    }
    match asked {
        Ok(()) => {
            // FFmpeg decodes what is there of a packet.
            if let Some(sizes) = container::cut_frame(file) {
                samples.note(names::cut_packet(sizes));
            }
            samples.finish()
        }
        // No more was wanted.
        Err(DecodeError::Interrupted) if samples.is_over => samples.finish(),
        // It is no sound for FFmpeg either.
        Err(DecodeError::Rejected(rejection)) if samples.rows.is_none() && rejection.reason != missing => {
            Err(rejected(format!("{why}; by FFmpeg: {}", rejection.reason)))
        }
        Err(error) => Err(error),
    }
}

/// What was lost since the last samples: what first, and how much besides.
#[derive(Default)]
struct Losses {
    first: Option<String>,
    more: u64,
}

/// What the worker gives, on its way to rows.
struct Samples<'a> {
    decoder: &'a AudioDecoder,
    sink: &'a mut dyn RowSink,
    /// Once the head is there.
    rows: Option<Rows<'a>>,
    /// What has come last, and a frame that is not complete yet.
    waiting: Vec<f32>,
    losses: Losses,
    is_over: bool,
    /// What ended it, which is no fault of the worker's.
    error: Option<DecodeError>,
}

impl Samples<'_> {
    /// What has come becomes rows.
    fn take(&mut self) -> Result<(), DecodeError> {
        if self.rows.is_none()
            && let [rate, channels, ..] = *self.waiting
        {
            let (rate, channels) = (rate as u32, channels as usize);
            opening::check(rate, channels)?;
            self.rows = Some(Rows::new(self.decoder, rate, channels)?);
            self.waiting.drain(..HEAD);
        }
        let Some(rows) = &mut self.rows else { return Ok(()) };
        let Losses { first, more } = std::mem::take(&mut self.losses);
        if let Some(first) = first {
            rows.lose(first, more)?;
        }
        let whole = self.waiting.len() - self.waiting.len() % rows.source_channels();
        rows.push(self.waiting.get_mut(..whole).unwrap_or_default(), self.sink)?;
        self.waiting.drain(..whole);
        self.is_over = rows.are_complete();
        Ok(())
    }

    fn finish(mut self) -> Result<(), DecodeError> {
        self.take()?;
        match self.rows {
            Some(rows) => rows.finish(self.sink),
            None => Err(rejected(match self.losses.first {
                Some(loss) => format!("it holds no sound; {loss}"),
                None => "it holds no sound".to_owned(),
            })),
        }
    }
}

impl RowSink for Samples<'_> {
    fn row(&mut self, _: f64) -> Result<&mut [u8], DecodeError> {
        self.rows(1)
    }

    fn rows(&mut self, count: usize) -> Result<&mut [u8], DecodeError> {
        if let Err(error) = self.take() {
            self.error = Some(error);
        }
        if self.error.is_some() || self.is_over {
            return Err(DecodeError::Interrupted);
        }
        let start = self.waiting.len();
        // The head by itself.
        let most = if self.rows.is_none() { HEAD - start.min(HEAD - 1) } else { BLOCK_SAMPLES };
        self.waiting.resize(start + count.clamp(1, most), 0.0);
        Ok(bytemuck::cast_slice_mut(self.waiting.get_mut(start..).unwrap_or_default()))
    }

    fn give_back(&mut self, count: usize) {
        self.waiting.truncate(self.waiting.len().saturating_sub(count));
    }

    /// What was lost.
    fn note(&mut self, note: String) {
        match self.losses.first {
            None => self.losses.first = Some(note),
            Some(_) => self.losses.more += 1,
        }
    }
}
