//! A disk in memory that loses power on purpose.
//!
//! It keeps the contract of [`Disk`] to the letter and nothing beyond: see [`Content`](content) for files and [`Image`]
//! for names. Everything is deterministic.
//!
//! **The fault model.** A power cut leaves every pending sector of 512 bytes, every pending length and every pending change
//! of names in its durable state or in any later one, independently. A drive that writes a sector writes it whole; an aligned
//! write of 16 bytes within one is therefore atomic. [`Tearing::Units`] gives up the sector and tears at 16 bytes: no drive
//! does that, and the protocol holds there, too, because its count is one aligned unit and everything else is synced before
//! anything refers to it. A rename is atomic. A failed sync of a file leaves its writes in doubt for good; after a failed
//! sync of a folder a later one counts, because a journal that failed takes nothing more. A killed process loses nothing
//! but its locks. The name of a new folder is durable once the folder above it was synced; if that did not come to pass
//! (the process was killed, the sync failed), it is by the time anybody tries again, because journals keep their order. The
//! times of a file are durable with its content. A folder may be another device's: no rename leads to it.
//!
//! **The script.** Each operation is announced to a [`Script`] beforehand, which can make it fail, and shown to it
//! afterwards with the disk as it then is, from which [`Image::after_power_cut`] makes the disks that a crash could leave.

mod content;
mod image;
pub mod swap;

pub use content::{SECTOR_BYTES, UNIT_BYTES};
pub use image::Image;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Disk, DiskFile, FileStatus};

/// What a power cut leaves as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tearing {
    /// 512 bytes.
    Sectors,
    /// 16 bytes.
    Units,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Open,
    Create,
    Status,
    Read,
    Write,
    SetLength,
    Sync,
    Lock,
    SetTimes,
    Rename,
    Remove,
    SyncFolder,
    CreateFolders,
    LedgerOpen,
    LedgerSettle,
    LedgerCreate,
    LedgerRead,
    LedgerWrite,
    LedgerCommit,
    LedgerNote,
    /// That rows are not going to be synced.
    LedgerMark,
}

impl Operation {
    /// Whether the disk can be another one afterwards.
    pub fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Status | Self::Read | Self::Lock | Self::LedgerOpen | Self::LedgerRead)
    }
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// ENOSPC. Nothing was done.
    NoSpace,
    /// EIO. Half of a write was done (the whole of one that cannot be torn), and nothing of anything else; the writes
    /// before a sync are in doubt.
    InputOutput,
    /// EINTR. Nothing was done.
    Interrupted,
    /// Half of a read or a write is done, which is no error.
    Short,
}

impl Failure {
    /// The error that a caller sees.
    pub fn error(self) -> io::Error {
        match self {
            Self::NoSpace => io::ErrorKind::StorageFull.into(),
            Self::InputOutput => io::Error::from_raw_os_error(libc::EIO),
            Self::Interrupted | Self::Short => io::ErrorKind::Interrupted.into(),
        }
    }
}

/// What the disk makes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It is done.
    Honest,
    Fails(Failure),
    /// It is said to be done, and is not: a program that left it out.
    LeftOut,
    /// A sync fails and is said to have succeeded: a program that tried it again.
    LosesSync,
    /// A write is done in two, the last bytes first, and what lies between can be seen: a program that did so.
    InHalves,
    /// A write is done in two, spaces first, and what lies between can be seen: a program that did so.
    BlankFirst,
}

/// Who watches the disk, and decides what fails.
pub trait Script: Send {
    fn before(&mut self, _operation: Operation, _path: &Path) -> Treatment {
        Treatment::Honest
    }
    fn after(&mut self, _operation: Operation, _path: &Path, _image: &Image) {}
}

/// For a run that nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoScript;

impl Script for NoScript {}

struct State {
    image: Image,
    /// For each locked file, the open file that has the lock.
    locks: BTreeMap<u64, u64>,
    opened: u64,
    script: Box<dyn Script>,
}

/// See the module documentation. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// A disk as the last run left it. Locks die with the process that had them.
    pub fn new(image: Image, script: Box<dyn Script>) -> Self {
        Self { state: Arc::new(Mutex::new(State { image, locks: BTreeMap::new(), opened: 0, script })) }
    }

    /// The disk as it is now.
    pub fn image(&self) -> Image {
        self.state().image.clone()
    }

    /// Changes the disk as somebody else might.
    pub fn edit<T>(&self, edit: impl FnOnce(&mut Image) -> T) -> T {
        edit(&mut self.state().image)
    }

    /// Announces an operation that happens beside this disk (in a ledger), so that it takes part in the script.
    pub fn before(&self, operation: Operation, path: &Path) -> Treatment {
        self.state().script.before(operation, path)
    }

    /// Shows the script that it was done.
    pub fn after(&self, operation: Operation, path: &Path) {
        self.state().after(operation, path);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One operation that is done as a whole or not at all.
    fn run<T>(
        &self,
        operation: Operation,
        path: &Path,
        left_out: T,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state();
        match state.script.before(operation, path) {
            Treatment::Fails(Failure::Short) | Treatment::Honest | Treatment::InHalves | Treatment::BlankFirst => {
                let result = act(&mut state)?;
                state.after(operation, path);
                Ok(result)
            }
            Treatment::Fails(failure) => Err(failure.error()),
            Treatment::LeftOut | Treatment::LosesSync => Ok(left_out),
        }
    }
}

impl State {
    fn after(&mut self, operation: Operation, path: &Path) {
        self.script.after(operation, path, &self.image);
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let is_new = matches!(access, Access::CreateNew | Access::CreatePrivate);
        let operation = if is_new { Operation::Create } else { Operation::Open };
        let mut state = self.state();
        if let Treatment::Fails(failure) = state.script.before(operation, path)
            && failure != Failure::Short
        {
            return Err(failure.error());
        }
        let inode = match access {
            Access::CreateNew | Access::CreatePrivate => state.image.create(path)?,
            Access::Read | Access::ReadWrite => state.image.inode(path)?,
        };
        state.after(operation, path);
        state.opened += 1;
        let writes = access != Access::Read;
        Ok(Box::new(SimulatedFile { disk: self.clone(), path: path.to_owned(), inode, id: state.opened, writes }))
    }

    fn status(&self, path: &Path) -> io::Result<Option<FileStatus>> {
        self.run(Operation::Status, path, None, |state| Ok(state.image.status(path)))
    }

    fn rename_no_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Operation::Rename, to, (), |state| state.image.rename(from, to, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Operation::Rename, to, (), |state| state.image.rename(from, to, true))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove, path, (), |state| state.image.remove_file(path))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let result = self.run(Operation::SyncFolder, folder, (), |state| state.image.sync_folder(folder));
        if result.is_err() {
            self.state().image.settle_folders();
        }
        result
    }

    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        if self.state().image.is_folder(folder) {
            return Ok(());
        }
        self.run(Operation::CreateFolders, folder, (), |state| state.image.create_folders(folder))
    }

    fn copy_times(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Operation::SetTimes, to, (), |state| state.image.copy_times(from, to))
    }

    /// Nobody owns anything here.
    fn copy_owner_and_mode(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Operation::Status, to, (), |state| state.image.inode(from).and(state.image.inode(to)).map(drop))
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    path: PathBuf,
    inode: u64,
    /// Tells this open file from others of the same file.
    id: u64,
    writes: bool,
}

impl SimulatedFile {
    fn needs_writing(&self) -> io::Result<()> {
        if self.writes { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }
}

impl DiskFile for SimulatedFile {
    fn status(&self) -> io::Result<FileStatus> {
        let mut state = self.disk.state();
        match state.script.before(Operation::Status, &self.path) {
            Treatment::Fails(failure) if failure != Failure::Short => Err(failure.error()),
            _ => state.image.file_status(self.inode),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let wanted = match state.script.before(Operation::Read, &self.path) {
            Treatment::Fails(Failure::Short) => buffer.len().div_ceil(2),
            Treatment::Fails(failure) => return Err(failure.error()),
            _ => buffer.len(),
        };
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        Ok(state.image.content_of(self.inode)?.read(buffer, offset))
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.needs_writing()?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut state = self.disk.state();
        let treatment = state.script.before(Operation::Write, &self.path);
        // A block that the contract keeps whole is not written in part either.
        let unit = UNIT_BYTES as u64;
        let is_block = (offset + bytes.len() as u64).saturating_sub(1) / unit == offset / unit;
        let is_torn = matches!(treatment, Treatment::InHalves) || !is_block;
        let half = if is_torn { bytes.len().div_ceil(2) } else { bytes.len() };
        let (mut write, mut result) = (half, Ok(half));
        match treatment {
            Treatment::Honest => (write, result) = (bytes.len(), Ok(bytes.len())),
            Treatment::Fails(Failure::Short) => {}
            Treatment::Fails(Failure::InputOutput) => result = Err(Failure::InputOutput.error()),
            Treatment::Fails(failure) => return Err(failure.error()),
            Treatment::LeftOut | Treatment::LosesSync => return Ok(bytes.len()),
            Treatment::InHalves => {
                let (_, last) = bytes.split_at(bytes.len() - half);
                state.image.content_mut(self.inode)?.write(last, offset + (bytes.len() - half) as u64);
                state.after(Operation::Write, &self.path);
                (write, result) = (bytes.len() - half, Ok(bytes.len()));
            }
            Treatment::BlankFirst => {
                state.image.content_mut(self.inode)?.write(&vec![b' '; bytes.len()], offset);
                state.after(Operation::Write, &self.path);
                (write, result) = (bytes.len(), Ok(bytes.len()));
            }
        }
        state.image.content_mut(self.inode)?.write(bytes.get(..write).unwrap_or_default(), offset);
        state.after(Operation::Write, &self.path);
        result
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.needs_writing()?;
        let cut = |state: &mut State| {
            state.image.content_mut(self.inode)?.set_length(bytes);
            Ok(())
        };
        self.disk.run(Operation::SetLength, &self.path, (), cut)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        match state.script.before(Operation::Sync, &self.path) {
            Treatment::Fails(failure) if failure != Failure::Short => {
                state.image.sync(self.inode, false)?;
                return Err(failure.error());
            }
            Treatment::LosesSync => state.image.sync(self.inode, false)?,
            Treatment::LeftOut => return Ok(()),
            _ => state.image.sync(self.inode, true)?,
        }
        state.after(Operation::Sync, &self.path);
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.disk.run(Operation::Lock, &self.path, true, |state| {
            Ok(*state.locks.entry(self.inode).or_insert(self.id) == self.id)
        })
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.inode) == Some(&self.id) {
            state.locks.remove(&self.inode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> SimulatedDisk {
        let mut image = Image::default();
        image.put_folder(Path::new("/a/b"));
        SimulatedDisk::new(image, Box::new(NoScript))
    }

    fn left(disk: &SimulatedDisk, state: usize) -> Image {
        disk.image().after_power_cut(Tearing::Sectors, &mut |states| state.min(states - 1))
    }

    #[test]
    fn a_name_is_durable_after_the_sync_of_its_folder_alone() {
        let disk = disk();
        let path = Path::new("/a/b/file");
        let file = disk.open(path, Access::CreateNew).unwrap();
        assert_eq!(file.write_at(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")], 0).unwrap(), 4);
        file.sync_data().unwrap();
        assert_eq!(left(&disk, 0).read(path), None);
        assert_eq!(left(&disk, 1).read(path).unwrap(), b"abcd");
        disk.sync_folder(Path::new("/a/b")).unwrap();
        assert_eq!(left(&disk, 0).read(path).unwrap(), b"abcd");
    }

    #[test]
    fn a_file_in_a_folder_that_is_lost_is_lost() {
        let disk = disk();
        let folder = Path::new("/a/b/c");
        disk.create_folders(folder).unwrap();
        drop(disk.open(&folder.join("file"), Access::CreateNew).unwrap());
        disk.sync_folder(folder).unwrap();
        assert!(left(&disk, 0).status(&folder.join("file")).is_none());
        disk.sync_folder(Path::new("/a/b")).unwrap();
        assert!(left(&disk, 0).status(&folder.join("file")).is_some());
    }

    #[test]
    fn a_rename_survives_with_both_names_or_not_at_all() {
        let disk = disk();
        disk.edit(|image| image.put_file(Path::new("/a/one"), b"1"));
        disk.rename_no_replace(Path::new("/a/one"), Path::new("/a/b/two")).unwrap();
        for (state, expected) in [(0, "/a/one"), (1, "/a/b/two")] {
            assert_eq!(left(&disk, state).files_below(Path::new("/")), [PathBuf::from(expected)]);
        }
        disk.sync_folder(Path::new("/a/b")).unwrap();
        assert_eq!(left(&disk, 0).files_below(Path::new("/")), [PathBuf::from("/a/b/two")]);
    }

    #[test]
    fn a_lock_lives_as_long_as_its_file() {
        let disk = disk();
        let path = Path::new("/a/file");
        let first = disk.open(path, Access::CreateNew).unwrap();
        assert!(first.try_lock().unwrap());
        assert!(!disk.open(path, Access::ReadWrite).unwrap().try_lock().unwrap());
        drop(first);
        assert!(disk.open(path, Access::ReadWrite).unwrap().try_lock().unwrap());
    }
}
