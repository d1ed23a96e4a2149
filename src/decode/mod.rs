//! Turning one source into rows. Pure: bytes in, rows out; nothing here touches an output file or the ledger.
//!
//! A decoder is made once per dataset and shared by all workers. It gets an opened source and a [`RowSink`], asks the
//! sink for the place of each row, and fills it in. Where the bytes of a row come to rest (a buffer that waits for the
//! writer, or a chunk of a source that is larger than its share of the memory) is the sink's business.

pub mod image;
mod open;
mod queue;
mod sink;
mod work;

pub use queue::FairQueue;
pub use work::{SOURCE_BYTES_MAX, work};

use std::borrow::Cow;

use crate::config::{Dataset, DecoderOptions, Frames};
use image::{ImageDecoder, Limits};

/// The decoder of a dataset.
pub enum Decoder {
    Image(ImageDecoder),
}

impl Decoder {
    pub fn new(options: &Dataset) -> Self {
        match &options.decoder {
            DecoderOptions::Image(image) => Self::Image(ImageDecoder::new(image.clone(), Limits::default())),
        }
    }

    /// Decodes the whole source from memory. `extension`, in lower case, serves where the content has no signature.
    pub fn decode(&self, bytes: &[u8], extension: Option<&str>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        match self {
            Self::Image(decoder) => decoder.decode(bytes, extension, sink),
        }
    }
}

/// Rows that each source gives, where that is known before it is opened.
pub fn rows_of_each_source(options: &DecoderOptions) -> Option<u64> {
    match options {
        DecoderOptions::Image(image) => (image.frames == Frames::First).then_some(1),
    }
}

/// Why a source gives no rows. Recorded in the ledger with its reason; everything else goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// One line for people: what was found, what was expected.
    pub reason: Cow<'static, str>,
}

impl Rejection {
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into() }
    }
}

/// How a decode ends when it does not end well.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The sink wants no more rows: the dataset was paused or the service stops. Says nothing about the source.
    #[error("interrupted")]
    Interrupted,
    /// The source could not be read. Worth another try.
    #[error("reading the source: {0}")]
    Read(#[from] std::io::Error),
}

/// Where the rows of one source go, in order.
pub trait RowSink {
    /// The place of the next row: exactly one row long, contents unspecified, to be filled completely.
    /// `time_s` is the row's time in seconds from the source's start.
    /// The row counts as complete when the next one is asked for or the decode returns `Ok`.
    fn row(&mut self, time_s: f64) -> Result<&mut [u8], DecodeError>;
}

/// Consecutive rows of one source.
#[derive(Debug, Default)]
pub struct RowBlock {
    /// Whole rows of the main file.
    pub bytes: Vec<u8>,
    /// Seconds from the source's start, one a row; empty where the dataset has no `time` column.
    pub times_s: Vec<f64>,
}
