//! What holds for every decoder: it ends, in rows or in a rejection with a reason; it takes no more memory than it may; and
//! the same bytes give the same rows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use npy_ingest::config;
use npy_ingest::config::Dataset;
use npy_ingest::decode::{About, DecodeError, Decoder, LogDecoder, RowSink, SourceFile, Taken};
use rustix::fs::{MemfdFlags, memfd_create};

use super::{memory, panics};

/// More rows of one source say nothing new.
const ROWS_MAX: u64 = 200;
/// What a decoder that goes through its source from front to back may take, besides a multiple of the source.
const BYTES_MAX: usize = 16 << 20;
const BYTES_PER_BYTE_MAX: usize = 64;

thread_local! {
    /// By the lines of their configs.
    static DECODERS: RefCell<BTreeMap<&'static str, Rc<(usize, Decoder)>>> = const { RefCell::new(BTreeMap::new()) };
    /// The same, for logs that are followed.
    static PARTS: RefCell<BTreeMap<&'static str, Rc<(usize, Decoder)>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Checks one source with one of the datasets, which its length chooses, so that what is found can be given to the program
/// as it is. `datasets`: the lines of a config that are about rows, see [`dataset`], and the extension of the source.
pub fn check_datasets(datasets: &[(&'static str, &str)], bytes: &[u8]) {
    check_datasets_within(BYTES_MAX, datasets, bytes);
}

/// The same for a decoder that may take so many bytes, besides a multiple of the source.
pub fn check_datasets_within(bytes_max: usize, datasets: &[(&'static str, &str)], bytes: &[u8]) {
    let (lines, extension) = datasets[bytes.len() % datasets.len()];
    let decoder = DECODERS.with_borrow_mut(|decoders| {
        let make = || {
            let dataset = dataset(lines);
            Rc::new((dataset.row.row_bytes(), Decoder::new(&dataset)))
        };
        decoders.entry(lines).or_insert_with(make).clone()
    });
    let (row_bytes, decoder) = &*decoder;
    let bytes_max = bytes_max + bytes.len() * BYTES_PER_BYTE_MAX;
    check(*row_bytes, bytes_max, false, |_| (), |sink| decode(decoder, bytes, Some(extension), sink));
}

/// Decodes bytes through the decoder's own door.
pub fn decode(
    decoder: &Decoder,
    bytes: &[u8],
    extension: Option<&str>,
    sink: &mut dyn RowSink,
) -> Result<(), DecodeError> {
    let interrupted = AtomicBool::new(false);
    let about = About { path: Path::new("/in/file"), extension, interrupted: &interrupted };
    match decoder {
        Decoder::Whole(decoder) => decoder.decode(bytes, about, sink),
        Decoder::Stream(decoder) => decoder.decode(&mut in_memory(bytes)?.reader(), about, sink),
        Decoder::Log(decoder) => {
            let taken = follow(&**decoder, bytes, None, about, sink)?;
            taken.stopped.map_or(Ok(()), |rejection| Err(rejection.into()))
        }
        Decoder::File(decoder) => {
            let mut file = File::from(memfd_create("source", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
            file.write_all(bytes)?;
            decoder.decode(&SourceFile::of(file)?, about, sink)
        }
    }
}

fn in_memory(bytes: &[u8]) -> io::Result<SourceFile> {
    let mut file = File::from(memfd_create("source", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    SourceFile::of(file)
}

fn follow(
    decoder: &dyn LogDecoder,
    bytes: &[u8],
    begin: Option<u64>,
    about: About<'_>,
    sink: &mut dyn RowSink,
) -> Result<Taken, DecodeError> {
    decoder.follow(&mut in_memory(bytes)?.reader(), begin, about, sink)
}

/// A log that is taken in parts gives the rows of one that is taken at once, wherever it was looked at.
pub fn check_parts(lines: &'static str, bytes: &[u8]) {
    let known = PARTS.with_borrow_mut(|decoders| {
        let make = || {
            let dataset = dataset(&format!("{lines}follow = true\n"));
            Rc::new((dataset.row.row_bytes(), Decoder::new(&dataset)))
        };
        decoders.entry(lines).or_insert_with(make).clone()
    });
    let (row_bytes, Decoder::Log(decoder)) = &*known else { panic!("it does not follow") };
    let interrupted = AtomicBool::new(false);
    let about = About { path: Path::new("/in/file"), extension: None, interrupted: &interrupted };
    let run = |looks: &[usize]| {
        let (mut rows, mut state) = (AllRows { row_bytes: *row_bytes, ..AllRows::default() }, None);
        for end in looks {
            let before = rows.bytes.len();
            let taken = follow(&**decoder, &bytes[..*end], state, about, &mut rows);
            let Ok(Taken { first, end, stopped, .. }) = taken else { panic!("{taken:?}") };
            let is_new = rows.bytes.len() > before || stopped.is_some();
            if is_new || state.is_some_and(|begin| end > begin) || (state.is_none() && end > first) {
                state = Some(end);
            }
            if let Some(rejection) = stopped {
                return (rows.bytes, state, Some(rejection.reason));
            }
        }
        (rows.bytes, state, None)
    };
    let chosen = bytes.first().map_or(0, |byte| usize::from(*byte) * bytes.len() / 256);
    let whole = run(&[bytes.len()]);
    let parts = run(&[chosen / 2, chosen, chosen + (bytes.len() - chosen) / 2, bytes.len()]);
    assert!(
        whole.0 == parts.0,
        "{} bytes of rows at once, {} in parts: {whole:?} {parts:?}",
        whole.0.len(),
        parts.0.len()
    );
    assert_eq!((whole.1, whole.2), (parts.1, parts.2));
}

/// Keeps every row.
#[derive(Default)]
struct AllRows {
    row_bytes: usize,
    bytes: Vec<u8>,
}

impl RowSink for AllRows {
    fn row(&mut self, _: f64) -> Result<&mut [u8], DecodeError> {
        self.rows(1)
    }

    fn rows(&mut self, count: usize) -> Result<&mut [u8], DecodeError> {
        let (start, count) = (self.bytes.len(), count.min(3));
        self.bytes.resize(start + count * self.row_bytes, 0xEE);
        Ok(&mut self.bytes[start..])
    }

    fn give_back(&mut self, count: usize) {
        self.bytes.truncate(self.bytes.len() - count * self.row_bytes);
    }
}

/// One dataset, from the lines of its config that are about rows: `shape` and `dtype`, then the decoder's table.
pub fn dataset(lines: &str) -> Dataset {
    let text = format!(
        "[[dataset]]\nname = 'a'\noutput = 'a.npy'\n{lines}\n[dataset.watch]\nfolders = ['in']\ninclude = ['**']\n"
    );
    let config = config::parse(&text, Path::new("/c/f.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    config.datasets.into_iter().next().unwrap()
}

/// How a decode went.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Rows(u64),
    /// More than [`ROWS_MAX`].
    CalledOff,
    Rejected(String),
    /// The memory was not there.
    Unread(String),
    LibraryPanicked,
}

/// Checks one source. `row_bytes`: what the dataset asks of each row. `bytes_max`: the memory that decoding may take,
/// besides the rows. `is_video`: the rows come in the order of time, from its start. `soil` leaves traces of this value in whatever the decoder keeps from one source to the next; none of
/// them may be seen in a row.
pub fn check(
    row_bytes: usize,
    bytes_max: usize,
    is_video: bool,
    soil: impl Fn(u8),
    decode: impl Fn(&mut dyn RowSink) -> Result<(), DecodeError>,
) {
    let run = |trace| {
        soil(trace);
        let mut rows =
            Rows { row: vec![0xEE; row_bytes], is_video, count: 0, last_time_s: None, hasher: blake3::Hasher::new() };
        let (result, peak) = memory::peak_bytes(|| panics::contained(|| decode(&mut rows)));
        assert!(peak <= bytes_max, "decoding took {peak} bytes, {bytes_max} are allowed; it ended in {result:?}");
        let end = match result {
            None => End::LibraryPanicked,
            Some(Ok(())) => End::Rows(rows.count),
            Some(Err(DecodeError::Interrupted)) => End::CalledOff,
            Some(Err(DecodeError::NoProgram(reason))) => panic!("no program is run: {reason}"),
            Some(Err(DecodeError::Read(error))) => End::Unread(error.to_string()),
            Some(Err(DecodeError::Rejected(rejection))) => End::Rejected(rejection.reason.into_owned()),
        };
        if let End::Rejected(reason) = &end {
            assert!(!reason.trim().is_empty(), "a rejection without a reason");
            assert!(!reason.contains('\n'), "a reason of several lines: {reason:?}");
            assert!(reason.chars().count() <= 4010, "an endless reason: {reason:?}");
        }
        (end, rows.finish())
    };
    let first = run(0x00);
    let second = run(0xFF);
    assert_eq!(first.0, second.0, "the same bytes end in two ways");
    assert!(first.1 == second.1, "the same bytes give other rows: {:?}", first.0);
}

/// Looks at each row and forgets it.
struct Rows {
    row: Vec<u8>,
    is_video: bool,
    count: u64,
    last_time_s: Option<f64>,
    hasher: blake3::Hasher,
}

impl Rows {
    fn finish(mut self) -> blake3::Hash {
        self.hasher.update(&self.row);
        self.hasher.finalize()
    }
}

impl RowSink for Rows {
    fn row(&mut self, time_s: f64) -> Result<&mut [u8], DecodeError> {
        if self.is_video {
            assert!(time_s.is_finite() && time_s >= 0.0, "a row at {time_s} s");
            assert!(self.last_time_s.is_none_or(|last| last <= time_s), "time runs backwards");
        }
        assert!(!time_s.is_infinite(), "a row at {time_s} s");
        self.last_time_s = Some(time_s);
        self.hasher.update(&self.row);
        self.hasher.update(&time_s.to_le_bytes());
        if self.count == ROWS_MAX {
            return Err(DecodeError::Interrupted);
        }
        self.count += 1;
        // What the row held before must not show through: it differs from row to row, and from the first run's place.
        let filler = u8::try_from(self.count % 251).unwrap_or_default();
        self.row.fill(filler);
        Ok(&mut self.row)
    }

    /// One at a time.
    fn rows(&mut self, _count: usize) -> Result<&mut [u8], DecodeError> {
        self.row(0.0)
    }

    fn give_back(&mut self, count: usize) {
        assert!(count <= 1 && self.count > 0, "{count} rows are given back, and one was given");
        if count == 1 {
            self.count -= 1;
            // Whatever it holds does not count.
            self.row.fill(0);
        }
    }

    fn rows_are_source(&mut self) {
        assert_eq!(self.count, 0, "promised too late");
    }

    fn note(&mut self, note: String) {
        assert!(!note.contains('\n'), "a note of several lines: {note:?}");
        self.hasher.update(note.as_bytes());
    }
}
