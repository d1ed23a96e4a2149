//! Making room in a header, so that the array can be appended to.
//!
//! Most headers have room; it is only in the wrong place, and one write moves it (see `window`). A header without any needs
//! more bytes, so the rows have to move: into a new file that takes the old one's place, or within the file, by a journal
//! that makes every step repeatable (see `journal`).

mod beside;
mod journal;

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::append::{AppendError, Opened};
use super::growth::Growth;
use super::header;
use super::layout::{Layout, NUMPY_HEADER_CHARACTERS_MAX};
use super::window::{self, CountBlock};
use crate::storage::file_name::fitting;
use crate::storage::{Access, Disk, DiskFile, RealDisk, read_exact_at, write_all_at};

pub use journal::journal_path;
pub(super) use journal::{finish, refuse_beside_journal};

/// A drive writes so many bytes as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// How to make room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WidenOptions {
    /// Move the rows within the file rather than write a new one beside it. Needs no room for a second copy, keeps the inode
    /// and so hard links, and takes about twice the writing. Nobody should read the file meanwhile; nobody can open it.
    pub in_place: bool,
    /// Whether to wait for another process that has the file.
    pub waits_for_lock: bool,
}

/// What had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Widened {
    /// Nothing.
    NotNeeded,
    /// The header was rewritten, as long as it was.
    Rearranged,
    /// The rows begin later by so many bytes now.
    Moved { bytes: u64 },
    /// An earlier call had been cut off, and was finished: the rows begin later by so many bytes than before that (0: its
    /// header was rewritten).
    Finished { bytes: u64 },
}

/// Gives the header of an array room for at least 11 digits of its count, and for one more than it has. The array stays as it
/// is.
///
/// It can be cut off at any instant: the file is then as it was, or is finished by the next call, by
/// [`recover`](super::recover) or by [`Appender::open`](super::Appender::open).
///
/// # Errors
/// The array cannot grow at all, is in use, or cannot be read or written.
pub fn ensure_appendable(path: impl AsRef<Path>, options: WidenOptions) -> Result<Widened, AppendError> {
    ensure_appendable_on(&RealDisk, &super::real_path(path.as_ref())?, options)
}

/// As [`ensure_appendable`], on any disk. `path` is no symbolic link.
///
/// # Errors
/// As [`ensure_appendable`].
pub fn ensure_appendable_on(disk: &dyn Disk, path: &Path, options: WidenOptions) -> Result<Widened, AppendError> {
    let opened = Opened::new(disk, path, options.waits_for_lock)?;
    let header = &opened.header;
    if let Growth::None(reason) = header.growth() {
        return Err(AppendError::CannotGrow { path: path.to_owned(), reason });
    }
    // With room in its header, rows that it does not count would look like those of an appender that died.
    opened.unfinished_bytes()?;
    match CountBlock::roomy(header, &opened.header_bytes) {
        Some((_, None)) => return Ok(opened.moved.map_or(Widened::NotNeeded, |bytes| Widened::Finished { bytes })),
        Some((_, Some(new))) => {
            replace_header(disk, &opened, &new)?;
            return Ok(Widened::Rearranged);
        }
        None => {}
    }
    let rows = header.rows().ok_or(AppendError::NoDimensions)?;
    move_rows(disk, &opened, rows, options.in_place).map(|bytes| Widened::Moved { bytes })
}

/// Gives the array a longer header, one that an appender writes, that counts so many rows. By how many bytes the rows were
/// moved.
pub(super) fn move_rows(disk: &dyn Disk, opened: &Opened, rows: u64, in_place: bool) -> Result<u64, AppendError> {
    let (path, header) = (&opened.path, &opened.header);
    let layout = Layout::for_array(header)?;
    let new = match layout.data_start() > header.data_start {
        true => layout.header(rows)?,
        // Ours is no longer: the version is another one, or what is in the present header is not written anew.
        false => window::longer(header, rows, layout.version()).ok_or(AppendError::NoRoom { path: path.clone() })?,
    };
    let is_loaded = |bytes: &[u8]| header::characters(bytes) <= NUMPY_HEADER_CHARACTERS_MAX;
    if is_loaded(&opened.header_bytes) && !is_loaded(&new) {
        return Err(AppendError::HeaderTooLongForNumpy { path: path.clone() });
    }
    let bytes = (new.len() as u64).saturating_sub(header.data_start);
    match in_place {
        true => journal::move_rows(disk, opened, &new)?,
        false => beside::copy(disk, opened, &new)?,
    }
    Ok(bytes)
}

/// Writes another header of the same length, saying the same.
pub(super) fn replace_header(disk: &dyn Disk, opened: &Opened, new: &[u8]) -> Result<(), AppendError> {
    if is_torn_by_a_crash(&opened.header_bytes, new) {
        return journal::move_rows(disk, opened, new);
    }
    let write = || {
        write_all_at(&*opened.file, &mut [IoSlice::new(new)], 0)?;
        opened.file.sync_data()
    };
    write().map_err(AppendError::disk("writing the header of", &opened.path))
}

/// Whether what differs between two headers lies in more than one sector, so that a power cut could leave half of it.
pub(super) fn is_torn_by_a_crash(old: &[u8], new: &[u8]) -> bool {
    let mut different = old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new).map(|(at, _)| at);
    let first = different.next();
    let last = different.next_back().or(first);
    first.map(|at| at / SECTOR_BYTES) != last.map(|at| at / SECTOR_BYTES)
}

/// A hidden name beside the file, no other file's.
fn beside(path: &Path, extension: &str) -> PathBuf {
    fitting(path, ".", extension)
}

pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Zeros, rather than a hole: so that there is room.
pub(super) fn fill(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 16];
    let mut at = from;
    while at < to {
        let part = zeros.get(..usize::try_from(to - at).unwrap_or(usize::MAX)).unwrap_or(&zeros);
        write_all_at(file, &mut [IoSlice::new(part)], at)?;
        at += part.len() as u64;
    }
    Ok(())
}

fn copy_piece(file: &dyn DiskFile, piece: &mut [u8], from: u64) -> io::Result<()> {
    read_exact_at(file, piece, from)
}

/// A file beside the array that an earlier change has left; `None` where there is none.
///
/// # Errors
/// [`AppendError::NotOurs`]: it does not begin with the magic bytes. A power cut can have kept the last of these from the disk,
/// and zeros stand there.
fn open_own(
    disk: &dyn Disk,
    array: &Path,
    path: &Path,
    magic: &[u8],
) -> Result<Option<Box<dyn DiskFile>>, AppendError> {
    let looked_at = || AppendError::disk("looking at", path);
    let Some(found) = disk.status(path).map_err(looked_at())? else { return Ok(None) };
    let not_ours = || AppendError::NotOurs { path: array.to_owned(), found: path.to_owned() };
    if !found.is_regular {
        return Err(not_ours());
    }
    let file = disk.open(path, Access::ReadWrite).map_err(AppendError::disk("opening", path))?;
    let start = read_start(&*file, magic.len()).map_err(AppendError::disk("reading", path))?;
    let written = start.iter().zip(magic).take_while(|(found, expected)| found == expected).count();
    match start.iter().skip(written).all(|byte| *byte == 0) {
        true => Ok(Some(file)),
        false => Err(not_ours()),
    }
}

/// The first bytes, fewer where the file is shorter.
fn read_start(file: &dyn DiskFile, bytes: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.status()?.size).unwrap_or(usize::MAX);
    let mut start = vec![0; bytes.min(length)];
    read_exact_at(file, &mut start, 0)?;
    Ok(start)
}
