//! The seam between the program and its disks.
//!
//! Everything that must survive a crash goes through [`Disk`]: the output files, their folders, and the disposal of
//! sources. The contract is that of POSIX on a journalling filesystem, stated so that another implementation (one that
//! loses power on purpose) can be held to it:
//!
//! * A write is visible to every reader at once and durable only after [`DiskFile::sync_data`] of that file returned
//!   `Ok`. Until then any subset of its 512-byte sectors may survive a power cut, in any order.
//! * A new, renamed or removed name is durable only after [`Disk::sync_folder`] of its folder returned `Ok`.
//! * After a failed sync nothing is known about the writes before it, and a second sync that succeeds proves nothing.
//!   Callers never retry one.
//! * One write within an aligned block of 16 bytes is seen by readers in two halves of eight bytes at worst, each whole.

mod attributes;
pub mod file_name;
mod holder;
pub mod last_words;
pub mod lease;
mod mapped_block;
mod real;
#[cfg(feature = "simulation")]
pub mod simulated;
mod write_back;

pub use holder::lock_holder;
pub use mapped_block::MappedBlock;
pub use real::{RealDisk, check_writable, open_without_waiting};

use std::io::{self, IoSlice};
use std::path::Path;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
    /// Reading and writing a file that must not exist yet.
    CreateNew,
    /// The same, for a file that nobody else may open yet.
    CreatePrivate,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStatus {
    /// The filesystem; inodes are numbers within it.
    pub device: u64,
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Inode change time, nanoseconds since 1970: set by the kernel alone, also when the file comes under its name.
    pub ctime_ns: i64,
    /// When the inode was made, nanoseconds since 1970, where the filesystem tells it. An inode that is free and another
    /// file's by now has a later one.
    pub born_ns: Option<i64>,
    pub is_regular: bool,
    pub is_folder: bool,
}

impl FileStatus {
    /// Whether the inode was made after this time, in milliseconds since 1970. `None`: the filesystem does not tell.
    pub fn is_made_after(&self, time_ms: i64) -> Option<bool> {
        self.born_ns.map(|born_ns| born_ns / 1_000_000 > time_ms)
    }
}

/// Which file a name stands for, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    pub device: u64,
    pub inode: u64,
    /// Bytes.
    pub size: u64,
}

impl From<FileStatus> for Presence {
    fn from(status: FileStatus) -> Self {
        Self { device: status.device, inode: status.inode, size: status.size }
    }
}

/// A filesystem. See the module documentation for what is promised.
pub trait Disk: Send + Sync {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;
    /// What stands at `path` itself (a symbolic link is not followed), or `None` where nothing does.
    fn status(&self, path: &Path) -> io::Result<Option<FileStatus>>;
    /// As [`Disk::status`], for files that are written and synced. Since Linux 6.13, a write after somebody has asked for a file's
    /// times gives it a new one, which makes a sync that had only to flush commit the filesystem's journal (on ext4 65 us more
    /// than 115). This does not ask for them.
    fn presence(&self, path: &Path) -> io::Result<Option<Presence>> {
        Ok(self.status(path)?.map(Presence::from))
    }
    /// Renames and fails with [`io::ErrorKind::AlreadyExists`] where the target exists.
    fn rename_no_replace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames over the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Bytes that are free to this process on the disk of a folder, and bytes of the disk. `None` where that is not known.
    fn room(&self, _folder: &Path) -> io::Result<Option<(u64, u64)>> {
        Ok(None)
    }
    /// Creates a folder and those above it.
    fn create_folders(&self, folder: &Path) -> io::Result<()>;
    /// Gives one file the owner, the permissions and the extended attributes of another, access control lists among them.
    fn copy_owner_and_mode(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives one file the times of access and modification of another.
    fn copy_times(&self, from: &Path, to: &Path) -> io::Result<()>;
}

/// An open file. Offsets and lengths are bytes. Several threads may use it at a time: reads, writes and syncs do not wait for
/// each other.
pub trait DiskFile: Send + Sync {
    fn status(&self) -> io::Result<FileStatus>;
    /// Reads up to `buffer.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes a prefix of the parts, in order, and says how many bytes it took.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Takes room for these bytes, in which there may be holes, as far as the filesystem can. The length stays. Where there is
    /// not so much room, a part of it may have been taken.
    fn reserve(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
    /// Bytes that the file takes on its disk; `None` where that is not known.
    fn allocated(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
    /// Makes the contents and the length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Takes the exclusive lock that lives as long as this open file. `false`: somebody else has it.
    fn try_lock(&self) -> io::Result<bool>;
    /// The 16 bytes at `offset`, to be stored without a system call; `None` where that cannot be had.
    ///
    /// # Errors
    /// The file is shorter than that, or `offset` is no multiple of 16.
    fn map_block(&self, _offset: u64) -> io::Result<Option<MappedBlock>> {
        Ok(None)
    }
    /// Starts writing these bytes to the device, without waiting. It makes nothing durable, and may do nothing. An error is that
    /// of a write.
    fn start_write_back(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
    /// Waits for what [`DiskFile::start_write_back`] began, and gives up the memory that caches it. An error is as bad as that
    /// of a sync, which is not told of it again.
    fn drop_behind(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all parts, going on after interruptions and short writes.
pub fn write_all_at(file: &dyn DiskFile, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
    let mut rest = parts;
    let mut at = offset;
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_at(rest, at) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, "the disk took no bytes")),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes one block that readers must see as a whole: never its halves one after the other.
pub fn write_block_at(file: &dyn DiskFile, block: &[u8; 16], offset: u64) -> io::Result<()> {
    loop {
        match file.write_at(&[IoSlice::new(block)], offset) {
            Ok(written) if written == block.len() => return Ok(()),
            // A part of an aligned block: write the whole again rather than the rest.
            Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, "the disk took no bytes")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Fills the buffer as far as there is something to read, and returns how many bytes there were. `read` gets what is left of
/// the buffer, and how many bytes are in it so far.
pub fn fill(buffer: &mut [u8], mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read(rest, filled as u64) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Fills the buffer, or fails with [`io::ErrorKind::UnexpectedEof`].
pub fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    if fill(buffer, |rest, filled| file.read_at(rest, offset + filled))? < buffer.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Makes the names in a folder of the user's durable, where its filesystem can.
pub fn sync_names(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    match disk.sync_folder(folder) {
        // Some network filesystems have no sync of folders, and say so with EINVAL (fsync(2)); PostgreSQL passes over it as
        // well (`fsync_fname_ext` in `fd.c`). What can be done has been done.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Whether an error says that there is no room: the one storage error that passes by itself.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
