//! Torn headers: readers that read the header as fast as they can, against a publication as fast as it can.
//!
//! The writer is the program's own ([`GrowingFile::publish`] on a [`RealDisk`]). It goes through the multiples of a number,
//! so that nearly all of the 16 digits change with each publication, and a mixture of two counts is found out.
//!
//! What is asserted is what holds: processors move eight aligned bytes at once, so the lower eight digits are always those
//! of one publication. The upper eight change once in 100,000,000 rows; in that instant, which here is at every
//! publication, a reader can see the upper digits of one count and the lower ones of the next. How often is printed.
//!
//! Readers of five kinds:
//!
//! * `pread` of the 128 bytes into a buffer that begins at a multiple of 16,
//! * the same into a buffer that does not: nobody promises it a whole count, and what is seen is printed, not asserted,
//! * Python's buffered reading of the header, as `np.load` does it,
//! * the same with NumPy's own parser,
//! * `np.load` itself.
//!
//! Two wrong writers show that the check can fail: the count in two writes, and the whole header in one.
//!
//! Some seconds for each kind; with `NPY_INGEST_LONG=1` 10 million reads (1 million with Python's files, 200,000 with NumPy). `TMPDIR` chooses the
//! filesystem.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use npy_ingest::npy::{Dtype, GrowingFile, Layout};
use npy_ingest::storage::{Access, Disk, RealDisk};

/// The counts that are published: the multiples of `step` up to `rows`.
#[derive(Debug, Clone, Copy)]
struct Counts {
    /// A mixture of two of its multiples is a multiple itself once in so many cases.
    step: u64,
    rows: u64,
}

/// Nearly every digit changes nearly every time. No file is that long, so only the header can be read.
const WIDE: Counts = Counts { step: 123_456_789, rows: 123_456_789 * 80_000_000 };
/// `WIDE.step` times this is 1 modulo [`HALF`].
const WIDE_INVERSE: u64 = 9_890_109;
/// So many publications of [`WIDE`] have at most 12 digits.
const WRONG_COUNTS: u64 = 8000;
/// What the lower 8 of the 16 digits can say.
const HALF: u64 = 100_000_000;
/// Rows of one byte in a file without blocks, of less than the 16 TiB that ext4 takes: for readers that map it.
const MAPPED: Counts = Counts { step: 99_991, rows: 99_991 * 150_000_000 };
const HEADER_BYTES: usize = 128;
const PREFIX: [u8; 10] = *b"\x93NUMPY\x01\x00\x76\x00";
const TEXT_BEFORE: &str = "{'descr': '|u1', 'fortran_order': False, 'shape': (";

/// How the count comes into the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// As the program does it.
    Ours,
    InTwoWrites,
    /// NumPy's own header, all of it in one write: the count begins where the text before it ends.
    WholeHeader,
}

#[derive(Debug, Default)]
struct Figures {
    reads: u64,
    /// Not the count of any publication, nor its upper and lower eight digits those of two.
    torn: u64,
    /// The upper eight digits of one publication and the lower ones of another, whole each.
    between_halves: u64,
    first_torn: Option<String>,
    first_between: Option<String>,
}

/// When a reader has done enough.
#[derive(Debug, Clone, Copy)]
struct Limit {
    reads: u64,
    time: Duration,
    /// To see that the check can fail; counts may become smaller.
    first_torn_is_enough: bool,
}

fn is_long() -> bool {
    std::env::var_os("NPY_INGEST_LONG").is_some_and(|value| value == "1")
}

impl Limit {
    /// `reads` in the long form, whatever time it takes; some seconds else.
    fn new(reads: u64, short_s: u64) -> Self {
        let time = if is_long() { Duration::MAX } else { Duration::from_secs(short_s) };
        Self { reads, time, first_torn_is_enough: false }
    }
}

/// Ends the writer however the reader ends.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has a writer publish as fast as it can while `read` is at work. Its figures, and how many publications there were.
fn against(writer: Writer, counts: Counts, read: impl FnOnce(&Path) -> Figures) -> (Figures, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let layout = Layout::new(&Dtype::u1(), &[]).unwrap();
    assert_eq!(layout.data_start(), HEADER_BYTES as u64);
    GrowingFile::create(&RealDisk, &path, &layout).unwrap();
    if counts.rows == MAPPED.rows {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(HEADER_BYTES as u64 + counts.rows).unwrap();
    }
    let (stop, published) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _end = StopAtEnd(&stop);
        scope.spawn(|| publish(writer, counts, &path, &layout, &stop, &published));
        let figures = read(&path);
        let published = published.load(Ordering::Relaxed);
        assert!(published < counts.rows / counts.step - 1, "the writer came to its end before the reader did");
        (figures, published)
    })
}

fn publish(writer: Writer, counts: Counts, path: &Path, layout: &Layout, stop: &AtomicBool, published: &AtomicU64) {
    let file = RealDisk.open(path, Access::ReadWrite).unwrap();
    let mut ours = GrowingFile::new(path.to_owned(), file, layout.clone(), 0, counts.rows).unwrap();
    let theirs = OpenOptions::new().write(true).open(path).unwrap();
    let window = layout.window_offset();
    for number in 1..counts.rows / counts.step {
        // A wrong writer starts again and again: only while the number is short does each line of 64 bytes have digits that
        // change every time.
        let number = if writer == Writer::Ours { number } else { number % WRONG_COUNTS + 1 };
        let count = number * counts.step;
        match writer {
            Writer::Ours => ours.publish(count).unwrap(),
            Writer::InTwoWrites => {
                let digits = Layout::count(count).unwrap();
                theirs.write_all_at(&digits[..12], window).unwrap();
                theirs.write_all_at(&digits[12..], window + 12).unwrap();
            }
            Writer::WholeHeader => {
                let text = format!("{TEXT_BEFORE}{count},), }}");
                let header = [&PREFIX[..], format!("{text:<117}\n").as_bytes()].concat();
                theirs.write_all_at(&header, 0).unwrap();
            }
        }
        published.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// The count of a header that is whole.
fn count_in(header: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(header.strip_prefix(&PREFIX)?).ok()?;
    let (count, rest) = text.strip_prefix(TEXT_BEFORE)?.trim_start_matches(' ').split_once(',')?;
    (rest.trim_end() == "), }" && rest.ends_with('\n')).then(|| count.parse().ok())?
}

/// Whether the upper and the lower eight digits are those of two publications that are not far from each other.
fn are_halves(count: u64) -> bool {
    let lower = (count % HALF) * WIDE_INVERSE % HALF;
    let upper = count / HALF * HALF / WIDE.step;
    lower.abs_diff(upper) < 1_000_000
}

/// A place in memory whose address is known modulo 64.
#[repr(align(64))]
struct Memory([u8; HEADER_BYTES + 64]);

/// Reads with `pread` into buffers that begin at these distances from a multiple of 64, one after the other.
fn with_pread(path: &Path, distances: &[usize], limit: Limit) -> Figures {
    let file = File::open(path).unwrap();
    let mut memory = Memory([0; HEADER_BYTES + 64]);
    let mut figures = Figures::default();
    let (mut last, end) = (0, Instant::now().checked_add(limit.time));
    for distance in distances.iter().cycle() {
        if figures.reads == limit.reads || figures.reads % 1024 == 0 && end.is_some_and(|end| end < Instant::now()) {
            break;
        }
        let buffer = &mut memory.0[*distance..*distance + HEADER_BYTES];
        file.read_exact_at(buffer, 0).unwrap();
        figures.reads += 1;
        let count = count_in(buffer);
        match count {
            Some(count) if count % WIDE.step == 0 && (count >= last || limit.first_torn_is_enough) => last = count,
            Some(count) if are_halves(count) => {
                figures.between_halves += 1;
                figures.first_between.get_or_insert(format!("{count} after {last}"));
            }
            _ => {
                figures.torn += 1;
                let text = String::from_utf8_lossy(&buffer[PREFIX.len()..]).trim_end().to_owned();
                figures.first_torn.get_or_insert(format!("{text:?} after {last}"));
                if limit.first_torn_is_enough {
                    break;
                }
            }
        }
    }
    figures
}

const PYTHON: &str = "
import sys, time
import numpy as np
path, how, hunt = sys.argv[1:4]
step, half, inverse, reads_max, time_s = map(int, sys.argv[4:])
reads, torn, between, last, first, end = 0, 0, 0, 0, '', time.monotonic() + time_s
while reads < reads_max and (reads % 256 or time.monotonic() < end):
    reads += 1
    text = ''
    try:
        if how == 'np.load':
            count, = np.load(path, mmap_mode='r').shape
        elif how == 'np.lib.format':
            with open(path, 'rb') as file:
                np.lib.format.read_magic(file)
                (count,), _, _ = np.lib.format.read_array_header_1_0(file)
        else:
            with open(path, 'rb') as file:
                text = file.read(128)
            count = int(text[64:80])
        if count % step == 0 and (count >= last or hunt):
            last = count
            continue
        text = text or str(count)
        if how != 'np.load' and abs(count % half * inverse % half - count // half * half // step) < 1000000:
            between += 1
            continue
    except Exception as error:
        text = text or repr(error)
    torn += 1
    first = first or f'{text!r} after {last}'
    if hunt == 'hunt':
        break
print(reads, torn, between, first)
";

/// Reads with Python's buffered files, with NumPy's parser on top of them, or with `np.load`.
fn with_python(path: &Path, how: &str, counts: Counts, limit: Limit) -> Figures {
    let python = std::env::var_os("NPY_INGEST_PYTHON").map(PathBuf::from);
    let python = python.expect("NPY_INGEST_PYTHON names a Python with NumPy: scripts/setup test makes one in .venv");
    let seconds = limit.time.as_secs().min(1 << 40);
    let output = Command::new(python)
        .args(["-c", PYTHON])
        .arg(path)
        .args([how, if limit.first_torn_is_enough { "hunt" } else { "" }])
        .args([counts.step, HALF, WIDE_INVERSE, limit.reads, seconds].map(|number| number.to_string()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let mut words = text.trim_end().splitn(4, ' ');
    let mut number = || words.next().unwrap().parse().unwrap();
    let (reads, torn, between_halves) = (number(), number(), number());
    let first_torn = words.next().map(str::to_owned).filter(|text| !text.is_empty());
    Figures { reads, torn, between_halves, first_torn, first_between: None }
}

fn show(what: &str, (figures, published): (Figures, u64)) -> Figures {
    let Figures { reads, torn, between_halves, first_torn, first_between } = &figures;
    let shown = [first_torn, first_between].map(|text| text.as_deref().unwrap_or_default());
    println!(
        "{what}: {reads} reads against {published} publications, {torn} torn {}, {between_halves} between halves {}",
        shown[0], shown[1]
    );
    assert!(*torn > 0 || *reads > 100 && published > 1000, "there was no contest");
    figures
}

const TEN_MILLION: u64 = 10_000_000;
/// Where 16-aligned buffers lie in a line of 64 bytes, and all others.
const ALIGNED: [usize; 4] = [0, 16, 32, 48];

#[test]
fn a_buffer_that_is_aligned_sees_whole_halves() {
    let limit = Limit::new(TEN_MILLION, 4);
    let figures = show("pread, aligned", against(Writer::Ours, WIDE, |path| with_pread(path, &ALIGNED, limit)));
    assert_eq!(figures.torn, 0, "{:?}", figures.first_torn);
}

#[test]
fn a_buffer_that_is_not_aligned_is_measured() {
    let distances: Vec<usize> = (0..64).filter(|distance| distance % 16 != 0).collect();
    let limit = Limit::new(TEN_MILLION, 2);
    show("pread, not aligned", against(Writer::Ours, WIDE, |path| with_pread(path, &distances, limit)));
}

#[test]
fn pythons_buffered_reading_sees_whole_halves() {
    let limit = Limit::new(TEN_MILLION / 10, 4);
    let figures =
        show("Python's open and read", against(Writer::Ours, WIDE, |path| with_python(path, "read", WIDE, limit)));
    assert_eq!(figures.torn, 0, "{:?}", figures.first_torn);
}

#[test]
fn numpys_parser_sees_whole_halves() {
    let limit = Limit::new(TEN_MILLION / 50, 3);
    let read = |path: &Path| with_python(path, "np.lib.format", WIDE, limit);
    let figures = show("np.lib.format", against(Writer::Ours, WIDE, read));
    assert_eq!(figures.torn, 0, "{:?}", figures.first_torn);
}

#[test]
fn np_load_sees_whole_counts() {
    let limit = Limit::new(TEN_MILLION / 50, 4);
    let figures = show("np.load", against(Writer::Ours, MAPPED, |path| with_python(path, "np.load", MAPPED, limit)));
    assert_eq!(figures.torn, 0, "{:?}", figures.first_torn);
}

/// The check is checked: other ways to write a count are found out, by `pread` and by NumPy.
#[test]
fn other_writers_are_seen_torn() {
    // The whole header in one write is torn once in a million reads or so: that takes too long for every day.
    let others = if is_long() { &[Writer::InTwoWrites, Writer::WholeHeader][..] } else { &[Writer::InTwoWrites] };
    for &writer in others {
        let limit = Limit { reads: TEN_MILLION, time: Duration::from_secs(120), first_torn_is_enough: true };
        let figures =
            show(&format!("{writer:?}, pread"), against(writer, WIDE, |path| with_pread(path, &ALIGNED, limit)));
        assert!(figures.torn > 0, "{writer:?} was not found out by pread");
    }
    let limit = Limit { reads: TEN_MILLION, time: Duration::from_secs(30), first_torn_is_enough: true };
    let read = |path: &Path| with_python(path, "np.lib.format", WIDE, limit);
    let figures = show("InTwoWrites, NumPy's parser", against(Writer::InTwoWrites, WIDE, read));
    assert!(figures.torn > 0, "the count in two writes was not found out by NumPy");
}
