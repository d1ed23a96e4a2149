//! What a `.npy` file holds, against what its header says.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::growth::{Growth, NoGrowth};
use super::header::{self, HEADER_BYTES_MAX, Header, HeaderError, MAGIC};
use super::layout::Layout;
use super::window::{CountBlock, digits};
use crate::storage::{DiskFile, fill};

/// Enough for nearly every header in one read.
const FIRST_READ_BYTES: usize = 4096;
/// How often a header that changes under the reader is read before giving up.
const READS_MAX: u32 = 1000;

/// Why a file could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("opening {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    /// A folder, a pipe or a device. Opening a pipe would wait for a writer.
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("reading the header: {0}")]
    Read(io::Error),
    #[error("reading the file's length: {0}")]
    Length(io::Error),
    #[error("the file ends within its header: it has {found} bytes, and the header needs {needed}")]
    CutShort { found: u64, needed: u64 },
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the header changed during each of {READS_MAX} attempts to read it")]
    Unsettled,
}

/// What lies behind the last row that the header counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing: the file ends with the last row.
    Exact,
    /// This many bytes more: rows that were not published, preallocated space, or something foreign.
    Past { bytes: u64 },
    /// This many bytes less: the file was cut short, or its writer published rows before it wrote them.
    Missing { bytes: u64 },
}

/// A `.npy` file, measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub header: Header,
    /// The bytes that the header was read from, [`Header::data_start`] of them.
    pub header_bytes: Vec<u8>,
    /// Length of the file.
    pub file_bytes: u64,
    /// Length of the data that the header claims.
    pub data_bytes_expected: u64,
    /// Length of the data that is there, the tail included.
    pub data_bytes_present: u64,
    /// The header's count; `None` for an array without dimensions.
    pub rows: Option<u64>,
    /// How many complete rows the file's length has room for, whatever the header says; `None` where rows have no bytes
    /// or there is no axis to count along.
    pub rows_present: Option<u64>,
    pub tail: Tail,
    /// Whether another array begins where the data ends, as `numpy.save` leaves it that is called twice with one open file.
    pub is_followed_by_array: bool,
    /// Whether the file can grow in place. Its `Display` gives the reason.
    pub growth: Growth,
    /// The largest count that fits into the header; `None` where it cannot grow.
    pub rows_max_in_place: Option<u64>,
    /// Whether the header is byte for byte one of ours.
    pub own_layout: bool,
}

/// Opens and measures a file. It may be growing meanwhile: the length is taken after the count, so that a file that
/// keeps its promises is never reported as cut short.
///
/// # Errors
/// The file cannot be read, or its header not be understood.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    inspect_file(&open_regular(path)?)
}

/// Whether an open file is the one at this path, by whatever name.
pub(crate) fn is_file_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(own), Ok(other)) => (own.dev(), own.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Opens a regular file for reading. A pipe that has its place is not waited for.
///
/// # Errors
/// [`InspectError::Open`], [`InspectError::NotAFile`].
pub(crate) fn open_regular(path: &Path) -> Result<File, InspectError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match rustix::fs::open(path, flags, Mode::empty()) {
        // A socket.
        Err(Errno::NXIO) => return Err(InspectError::NotAFile { path: path.to_owned() }),
        opened => opened.map(File::from).map_err(io::Error::from),
    };
    let regular = opened.and_then(|file| Ok(file.metadata()?.is_file().then_some(file)));
    regular
        .map_err(|source| InspectError::Open { path: path.to_owned(), source })?
        .ok_or_else(|| InspectError::NotAFile { path: path.to_owned() })
}

/// Measures an open file, without moving its position.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_file(file: &File) -> Result<Inspection, InspectError> {
    let (header, header_bytes) = read_header(file)?;
    let file_bytes = file.metadata().map_err(InspectError::Length)?.len();
    let data_bytes_present = file_bytes.saturating_sub(header.data_start);
    let data_bytes_expected = header.data_bytes();
    let rows = header.rows();
    let (growth, rows_max_in_place) = growth_of(&header, &header_bytes);
    let end = header.data_start.saturating_add(data_bytes_expected);
    let read_behind = |buffer: &mut [u8], at: u64| file.read_at(buffer, end.saturating_add(at));
    Ok(Inspection {
        is_followed_by_array: file_bytes > end && is_array(read_behind)?,
        file_bytes,
        data_bytes_expected,
        data_bytes_present,
        rows,
        rows_present: rows.and_then(|_| data_bytes_present.checked_div(header.row_bytes())),
        tail: match data_bytes_present.checked_sub(data_bytes_expected) {
            Some(0) => Tail::Exact,
            Some(bytes) => Tail::Past { bytes },
            None => Tail::Missing { bytes: data_bytes_expected.saturating_sub(data_bytes_present) },
        },
        growth,
        rows_max_in_place,
        own_layout: Layout::from_header(&header_bytes).is_ok(),
        header,
        header_bytes,
    })
}

/// Whether what is read here begins with the whole header of an array.
pub(super) fn is_array(mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> Result<bool, InspectError> {
    if read_start(MAGIC.len(), &mut read_at)? != MAGIC {
        return Ok(false);
    }
    // A header may be so long, and its length field comes before.
    let bytes_max = usize::try_from(HEADER_BYTES_MAX.saturating_add(64)).unwrap_or(usize::MAX);
    Ok(Header::parse(&read_start(bytes_max, read_at)?).is_ok())
}

/// How the header takes a larger count, as an appender would have it, and the largest count.
fn growth_of(header: &Header, header_bytes: &[u8]) -> (Growth, Option<u64>) {
    let growth = header.growth();
    let Some(rows) = header.rows().filter(|_| !matches!(growth, Growth::None(_))) else { return (growth, None) };
    if matches!(growth, Growth::Window { .. }) && CountBlock::is_of_appender(header, header_bytes) {
        return (growth, header.rows_max_in_place());
    }
    // Not all of the room can be used: a window lies within one block of 16 bytes.
    let Some((block, _)) = CountBlock::wide(header, header_bytes) else {
        return (Growth::None(NoGrowth::NoRoom), None);
    };
    let by_size = i64::MAX.unsigned_abs().saturating_sub(header.data_start).checked_div(header.row_bytes());
    let rows_max = by_size.map(|rows_max| rows_max.min(block.rows_max()));
    (Growth::Room { spare_bytes: block.width().saturating_sub(digits(rows)) }, rows_max)
}

/// Reads the header until two reads agree: a writer may be changing it, and a single read can see half of a change.
///
/// # Errors
/// As [`inspect`]; [`InspectError::Unsettled`] if it never held still.
pub fn read_header(file: &File) -> Result<(Header, Vec<u8>), InspectError> {
    read_settled(|bytes_max| read_start(bytes_max, |buffer, offset| file.read_at(buffer, offset)))
}

/// `read_start` gives the first bytes of the file, fewer where it is shorter.
fn read_settled(
    mut read_start: impl FnMut(usize) -> Result<Vec<u8>, InspectError>,
) -> Result<(Header, Vec<u8>), InspectError> {
    let mut wanted = FIRST_READ_BYTES;
    for _ in 0..READS_MAX {
        let mut bytes = read_start(wanted)?;
        // Only the header is compared, as the rows behind it may be on their way; and it is understood only after it is
        // compared, as a writer publishes many times while a text is being understood.
        match header::measure(&bytes) {
            Ok(header_bytes) => bytes.truncate(header_bytes),
            Err(HeaderError::Incomplete { needed }) => {
                let needed_bytes = usize::try_from(needed).unwrap_or(usize::MAX);
                if needed_bytes > wanted {
                    wanted = needed_bytes;
                    continue;
                }
            }
            Err(_) => {}
        }
        if read_start(bytes.len())? != bytes {
            continue;
        }
        return match Header::parse(&bytes) {
            Ok(header) => Ok((header, bytes)),
            Err(HeaderError::Incomplete { needed }) => {
                let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                Err(InspectError::CutShort { found, needed })
            }
            Err(error) => Err(error.into()),
        };
    }
    Err(InspectError::Unsettled)
}

/// As [`read_header`], from a file of any disk.
pub(super) fn read_header_on(file: &dyn DiskFile) -> Result<(Header, Vec<u8>), InspectError> {
    read_settled(|bytes_max| read_start(bytes_max, |buffer, offset| file.read_at(buffer, offset)))
}

fn read_start(
    bytes_max: usize,
    read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> Result<Vec<u8>, InspectError> {
    let mut bytes = vec![0; bytes_max];
    let filled = fill(&mut bytes, read_at).map_err(InspectError::Read)?;
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
