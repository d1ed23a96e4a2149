//! Opening an array for a change: the right file, locked, with a header that can be read.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::growth::WINDOW_BYTES;
use super::super::header::{Header, HeaderError};
use super::super::inspect::{InspectError, is_array, read_header_on};
use super::super::widen;
use super::super::window::CountBlock;
use super::AppendError;
use crate::storage::{Access, Disk, DiskFile, lock_holder, read_exact_at};

/// How often a file may be replaced under us before we give up.
const REPLACED_MAX: u32 = 100;
/// How long to sleep between two attempts to get the lock.
const LOCK_PAUSE_MIN: Duration = Duration::from_millis(2);
const LOCK_PAUSE_MAX: Duration = Duration::from_millis(100);

/// A file of which nobody else changes anything, as long as this lives.
pub(in super::super) struct Opened {
    pub path: PathBuf,
    pub file: Box<dyn DiskFile>,
    pub header: Header,
    pub header_bytes: Vec<u8>,
    /// Length of the file.
    pub file_bytes: u64,
    /// By how many bytes its rows were moved when it was opened, because that had been cut off.
    pub moved: Option<u64>,
    /// Its device and inode: another file of its name is another array.
    pub identity: (u64, u64),
}

impl Opened {
    /// Locks the file, finishes a move of its rows that a crash cut off, and reads its header.
    pub fn new(disk: &dyn Disk, path: &Path, waits: bool) -> Result<Self, AppendError> {
        let file = open_locked(disk, path, waits)?;
        let moved = widen::finish(disk, path, &*file)?;
        let (header, header_bytes) = read_header_on(&*file).map_err(|source| match source {
            InspectError::Header(HeaderError::Moving) => {
                AppendError::NoJournal { path: path.to_owned(), journal: widen::journal_path(path) }
            }
            InspectError::CutShort { found: 0, .. } => AppendError::Empty { path: path.to_owned() },
            source => AppendError::Header { path: path.to_owned(), source },
        })?;
        let status = file.status().map_err(AppendError::disk("reading the length of", path))?;
        let (file_bytes, identity) = (status.size, (status.device, status.inode));
        Ok(Self { path: path.to_owned(), file, header, header_bytes, file_bytes, moved, identity })
    }

    /// How many bytes an appender that died has left behind the rows that the header counts.
    ///
    /// Only an appender leaves a header with a window, and what is behind the last row that it counts is what it did not finish.
    /// Behind another header there may be rows of another program.
    ///
    /// # Errors
    /// [`AppendError::CutShort`]; [`AppendError::Tail`]; [`AppendError::SeveralArrays`].
    pub fn unfinished_bytes(&self) -> Result<u64, AppendError> {
        let (path, end) = (self.path.clone(), self.data_end());
        let Some(bytes) = self.file_bytes.checked_sub(end) else {
            let rows = self.header.rows().unwrap_or(0);
            return Err(AppendError::CutShort { path, rows, bytes: end.saturating_sub(self.file_bytes) });
        };
        self.refuse_another_array()?;
        match bytes == 0 || CountBlock::is_of_appender(&self.header, &self.header_bytes) {
            true => Ok(bytes),
            false => Err(AppendError::Tail { path, bytes }),
        }
    }

    /// What somebody else has done to the file, as far as rows that are counted now would not be where they are looked for: it
    /// has to be under its name, so long, and to say there what was written last, or what is just being written.
    pub fn disturbance(
        &self,
        disk: &dyn Disk,
        bytes_min: u64,
        counts: &[[u8; WINDOW_BYTES]; 2],
        offset: u64,
    ) -> io::Result<Option<String>> {
        let size = match disk.presence(&self.path) {
            // Who may not look into the folder cannot tell what is under the name.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.file.status()?.size,
            Err(error) => return Err(error),
            Ok(None) => return Ok(Some("it was moved or removed".to_owned())),
            Ok(Some(there)) if (there.device, there.inode) != self.identity => {
                return Ok(Some("another file has taken its place".to_owned()));
            }
            Ok(Some(there)) => there.size,
        };
        if size < bytes_min {
            return Ok(Some(format!("it was cut short, to {size} bytes of {bytes_min}")));
        }
        let mut found = [0; WINDOW_BYTES];
        read_exact_at(&*self.file, &mut found, offset)?;
        let [last, next] = counts;
        Ok((!is_either(&found, last, next)).then(|| {
            let (found, expected) = (found.escape_ascii(), last.escape_ascii());
            format!("its header was changed: its count reads \"{found}\", and \"{expected}\" was written last")
        }))
    }

    /// `numpy.save` into one open file, several times, leaves array behind array. The others are no rows of the first.
    ///
    /// # Errors
    /// [`AppendError::SeveralArrays`].
    pub fn refuse_another_array(&self) -> Result<(), AppendError> {
        let (path, offset) = (self.path.clone(), self.data_end());
        match is_array(|buffer, at| self.file.read_at(buffer, offset.saturating_add(at))) {
            Ok(true) => Err(AppendError::SeveralArrays { path, offset }),
            Ok(false) => Ok(()),
            Err(InspectError::Read(source)) => Err(AppendError::Disk { operation: "reading the end of", path, source }),
            Err(source) => Err(AppendError::Header { path, source }),
        }
    }

    /// Where the rows that the header counts end. The header's parser has made sure that a file can be so long.
    pub fn data_end(&self) -> u64 {
        self.header.data_start.saturating_add(self.header.data_bytes())
    }
}

/// Whether a block reads as one of two: of one that is being written, readers may see the halves one after the other.
fn is_either(found: &[u8; WINDOW_BYTES], last: &[u8; WINDOW_BYTES], next: &[u8; WINDOW_BYTES]) -> bool {
    let mut halves = found.chunks(8).zip(last.chunks(8).zip(next.chunks(8)));
    halves.all(|(found, (last, next))| found == last || found == next)
}

fn open_locked(disk: &dyn Disk, path: &Path, waits: bool) -> Result<Box<dyn DiskFile>, AppendError> {
    let status = |operation| move || disk.status(path).map_err(AppendError::disk(operation, path));
    let mut pause = LOCK_PAUSE_MIN;
    for _ in 0..REPLACED_MAX {
        match status("looking at")()? {
            None => return Err(AppendError::Missing { path: path.to_owned() }),
            Some(found) if !found.is_regular => return Err(AppendError::NotAFile { path: path.to_owned() }),
            Some(_) => {}
        }
        let file = disk.open(path, Access::ReadWrite).map_err(AppendError::disk("opening", path))?;
        while !file.try_lock().map_err(AppendError::disk("locking", path))? {
            if !waits {
                return Err(AppendError::Locked { path: path.to_owned(), holder: lock_holder(path) });
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(LOCK_PAUSE_MAX);
        }
        // Whoever had the lock before may have put another file in this one's place.
        let inode = file.status().map_err(AppendError::disk("looking at", path))?.inode;
        if status("looking at")()?.is_some_and(|found| found.inode == inode) {
            return Ok(file);
        }
    }
    Err(AppendError::Locked { path: path.to_owned(), holder: None })
}
