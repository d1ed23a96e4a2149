//! Turning one source into rows. Pure: bytes in, rows out; nothing here touches an output file or the ledger.
//!
//! A decoder is made once per dataset and shared by all workers. It gets a source and a [`RowSink`], asks the sink for the
//! place of each row, and fills it in. Where the bytes of a row come to rest (a buffer that waits for the writer, or a
//! chunk of a source that is larger than its share of the memory) is the sink's business.
//!
//! There are four doors for the bytes of a source, and a decoder has one of them:
//!
//! | door | the decoder gets | for |
//! |---|---|---|
//! | [`WholeDecoder`] | all bytes in memory, up to [`SOURCE_BYTES_MAX`] | small files that are looked at in any order |
//! | [`StreamDecoder`] | a [`SourceReader`], once from start to end, hashed as it is read | files of any size |
//! | [`FileDecoder`] | the open [`SourceFile`], hashed before | other processes, and libraries that open files |
//! | [`LogDecoder`] | a [`SourceReader`], from where the last part ended | logs that are still being written (`log`) |
//!
//! Behind each of them the ledger gets the hash of the very bytes that were decoded.

mod ahead;
pub mod audio;
mod command;
mod csv;
pub mod ebml;
pub mod ffmpeg;
pub mod fragments;
mod gps;
pub mod image;
#[cfg(feature = "program")]
mod log;
mod metered;
mod npy_chunks;
pub mod ogg;
#[cfg_attr(not(feature = "program"), allow(dead_code, reason = "the pool opens sources"))]
mod open;
mod packed;
mod process;
#[cfg(feature = "program")]
mod queue;
#[cfg_attr(not(feature = "program"), allow(dead_code, reason = "the pool opens sources"))]
mod reader;
mod records;
#[cfg(feature = "program")]
mod sink;
mod tree;
mod values;
pub mod video;
#[cfg(feature = "program")]
mod work;

pub use command::find_program;
#[cfg(feature = "program")]
pub use log::{RunningHashes, WaitingCopies};
pub use open::SourceFile;
#[cfg(feature = "program")]
pub use queue::FairQueue;
pub use reader::SourceReader;
#[cfg(feature = "program")]
pub use work::work;

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::{Dataset, DecoderOptions, Frames};
use crate::source::Hash;
use audio::AudioDecoder;
use command::CommandDecoder;
use csv::CsvDecoder;
use gps::GpsDecoder;
use image::{ImageDecoder, Limits};
use npy_chunks::NpyDecoder;
use records::RecordsDecoder;
use video::VideoDecoder;

/// A source that is decoded from memory as a whole may have so many bytes.
pub const SOURCE_BYTES_MAX: u64 = 512 << 20;

/// A reason or a note has about so many characters at most.
const REASON_CHARS_MAX: usize = 4000;

/// What a decoder may know of a source beside its bytes.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Where it lies, absolute.
    pub path: &'a Path,
    /// In lower case; serves where the content has no signature.
    pub extension: Option<&'a str>,
    /// Set while decodes are for nothing.
    pub interrupted: &'a AtomicBool,
}

impl About<'_> {
    /// Whether the rows are not wanted any more. For decoders that wait for something else than the sink, which sees to it
    /// by itself.
    /// To be asked again and again while waiting: it tells the watchdog that the thread is well.
    pub fn is_interrupted(&self) -> bool {
        step();
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// A step of work was done: the thread is not stuck.
fn step() {
    #[cfg(feature = "program")]
    crate::pulse::beat();
}

/// Waits for another thread, which is no sign of being stuck.
fn resting<T>(wait: impl FnOnce() -> T) -> T {
    #[cfg(feature = "program")]
    return crate::pulse::resting(wait);
    #[cfg(not(feature = "program"))]
    wait()
}

/// Decodes a source that is in memory as a whole.
pub trait WholeDecoder: Send + Sync {
    fn decode(&self, bytes: &[u8], about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError>;
}

/// Decodes a source of any size in one pass. What it leaves unread is read and hashed behind it.
pub trait StreamDecoder: Send + Sync {
    fn decode(
        &self,
        reader: &mut SourceReader<'_>,
        about: About<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError>;
}

/// Decodes a log that is still being written, part by part.
pub trait LogDecoder: Send + Sync {
    /// Takes the complete records from byte `begin` on, or from the first one of a new log, and leaves what is not complete.
    /// A record that ends the work does so behind those before it, which are taken.
    fn follow(
        &self,
        reader: &mut SourceReader<'_>,
        begin: Option<u64>,
        about: About<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<Taken, DecodeError>;

    /// The last place at or before `at` where a record begins, in a log in which one begins at `first`.
    fn boundary(&self, file: &std::fs::File, first: u64, at: u64) -> std::io::Result<u64>;

    /// Whether what stands in the place of the log's header could be a record.
    fn header_reads_as_row(&self, _: &std::fs::File) -> std::io::Result<bool> {
        Ok(false)
    }

    /// Whether what stands in the place of the header of one file is the header of another one.
    fn have_same_header(&self, _: &std::fs::File, _: &std::fs::File) -> std::io::Result<bool> {
        Ok(true)
    }
}

/// How far a log was taken.
#[derive(Debug)]
pub struct Taken {
    /// Where its first record begins: bytes from the file's start.
    pub first: u64,
    /// Behind the last record that was taken or left out, or behind much that is no record.
    pub end: u64,
    /// Where a record begins that is not complete; or where the log ends, or `end`, if nothing but comments lies between.
    pub rest: u64,
    /// Why nothing behind that is taken.
    pub stopped: Option<Rejection>,
}

impl Taken {
    /// With the error that was found at `end`.
    fn stopped_at(first: u64, end: u64, error: Option<DecodeError>) -> Result<Self, DecodeError> {
        let stopped = match error {
            None => None,
            Some(DecodeError::Rejected(rejection)) => Some(rejection),
            Some(error) => return Err(error),
        };
        Ok(Self { first, end, rest: end, stopped })
    }
}

/// Decodes an open file, which has been hashed, and whose identity is checked again afterwards.
pub trait FileDecoder: Send + Sync {
    fn decode(&self, file: &SourceFile, about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError>;
}

/// The decoder of a dataset, by its door.
pub enum Decoder {
    Whole(Box<dyn WholeDecoder>),
    Stream(Box<dyn StreamDecoder>),
    File(Box<dyn FileDecoder>),
    /// With `follow`.
    Log(Box<dyn LogDecoder>),
}

impl Decoder {
    pub fn new(options: &Dataset) -> Self {
        match &options.decoder {
            DecoderOptions::Image(image) => Self::Whole(Box::new(ImageDecoder::new(image.clone(), Limits::default()))),
            DecoderOptions::Audio(audio) => Self::File(Box::new(AudioDecoder::new(audio))),
            DecoderOptions::Records(records) => {
                let decoder = Box::new(RecordsDecoder::new(records, options.row.row_bytes()));
                if records.follow { Self::Log(decoder) } else { Self::Stream(decoder) }
            }
            DecoderOptions::Csv(csv) => {
                let decoder = Box::new(CsvDecoder::new(csv, options.row.row_bytes()));
                if csv.follow { Self::Log(decoder) } else { Self::Stream(decoder) }
            }
            DecoderOptions::Gps(gps) => Self::Whole(Box::new(GpsDecoder::new(gps))),
            DecoderOptions::Npy(npy) => Self::Stream(Box::new(NpyDecoder::new(npy, &options.row))),
            DecoderOptions::Video(video) => Self::File(Box::new(VideoDecoder::new(video, options))),
            DecoderOptions::Command(command) => Self::File(Box::new(CommandDecoder::new(command, options))),
        }
    }
}

/// Rows that each source gives, where that is known before it is opened.
pub fn rows_of_each_source(options: &DecoderOptions) -> Option<u64> {
    match options {
        DecoderOptions::Image(image) => (image.frames == Frames::First).then_some(1),
        DecoderOptions::Audio(_)
        | DecoderOptions::Records(_)
        | DecoderOptions::Csv(_)
        | DecoderOptions::Gps(_)
        | DecoderOptions::Npy(_)
        | DecoderOptions::Video(_)
        | DecoderOptions::Command(_) => None,
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
    /// What the source says of itself may be in it: control characters are escaped, and a long text loses its end.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: in_one_line(reason.into()) }
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
    /// The program that makes the rows is not there, or may not be run. Says nothing about the source.
    #[error("{0}")]
    NoProgram(String),
}

/// A text for the ledger and the log.
pub(crate) fn in_one_line(text: Cow<'static, str>) -> Cow<'static, str> {
    let is_short = text.len() <= REASON_CHARS_MAX;
    if is_short && !text.contains(char::is_control) {
        return text;
    }
    let escaped = text.chars().flat_map(|letter| {
        let (as_it_is, escaped) = match letter.is_control() {
            true => (None, Some(letter.escape_debug())),
            false => (Some(letter), None),
        };
        as_it_is.into_iter().chain(escaped.into_iter().flatten())
    });
    let mut line: String = escaped.take(REASON_CHARS_MAX).collect();
    if !is_short {
        line.push('…');
    }
    line.into()
}

/// Where the rows of one source go, in order.
pub trait RowSink {
    /// The place of the next row: exactly one row long, contents unspecified, to be filled completely.
    /// `time_s` is the row's time in seconds from the source's start.
    /// The row counts as complete when the next one is asked for or the decode returns `Ok`.
    fn row(&mut self, time_s: f64) -> Result<&mut [u8], DecodeError>;

    /// The place of the next rows, at least one and at most `count` of them: whole rows, contents unspecified. They count
    /// as [`Self::row`]'s do. For decoders whose rows have no time; it is 0 for all of them.
    fn rows(&mut self, count: usize) -> Result<&mut [u8], DecodeError>;

    /// Gives back the last `count` rows of those that [`Self::rows`] gave at last, which were not filled after all.
    fn give_back(&mut self, count: usize);

    /// Copies whole rows of `row_bytes` each, which were made elsewhere.
    fn copy_rows(&mut self, mut rows: &[u8], row_bytes: usize) -> Result<(), DecodeError> {
        while !rows.is_empty() {
            let places = self.rows(rows.len() / row_bytes)?;
            let (now, later) = rows.split_at(places.len().min(rows.len()));
            places.copy_from_slice(now);
            rows = later;
        }
        Ok(())
    }

    /// Takes the first `filled` bytes of a buffer, whole rows of `row_bytes` each. The buffer may be another one then; what it
    /// holds does not matter any more.
    fn take_rows(&mut self, rows: &mut Vec<u8>, filled: usize, row_bytes: usize) -> Result<(), DecodeError> {
        self.copy_rows(rows.get(..filled).unwrap_or_default(), row_bytes)
    }

    /// Promises, before the first row, that the rows will be the bytes of the source, all of them and nothing else: their
    /// checksum is then the source's hash, and need not be made.
    fn rows_are_source(&mut self) {}

    /// Promises, before the first row, to give the checksum of all rows behind the last one. `false`: nobody asks for it.
    fn promise_checksum(&mut self) -> bool {
        false
    }

    /// Keeps that promise.
    fn checksum(&mut self, _: Hash) {}

    /// What is to be kept beside the source in the ledger, in one line: what was skipped in it, and where.
    fn note(&mut self, _note: String) {}
}

/// Consecutive rows of one source.
#[derive(Debug, Default)]
pub struct RowBlock {
    /// Whole rows of the main file that come before `bytes`, in pieces.
    pub before: Vec<Vec<u8>>,
    /// Whole rows of the main file.
    pub bytes: Vec<u8>,
    /// Seconds from the source's start, one a row; empty where the dataset has no `time` column.
    pub times_s: Vec<f64>,
}

impl RowBlock {
    /// Bytes of all its rows.
    pub fn row_bytes(&self) -> usize {
        self.before.iter().map(Vec::len).sum::<usize>() + self.bytes.len()
    }

    /// Its rows, in their order.
    pub fn into_pieces(self) -> impl Iterator<Item = Vec<u8>> {
        self.before.into_iter().chain([self.bytes])
    }
}
