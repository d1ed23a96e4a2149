//! Moving files of the user's: never over another file, also to another disk, and only the file that is meant.
//!
//! Nothing tells the kernel to remove or move a file only if it is still the one that was looked at. So a file is looked at
//! once more where nobody else can replace it, and goes back if it is another one. A move within a disk is a single rename,
//! and the look is at its target: of two renames a power cut might keep only the second. What is to be removed, or copied
//! to another disk, is set aside first (`aside`).

use std::io::{self, IoSlice};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::aside::{aside_names, set_aside};
use crate::source::Identity;
use crate::storage::file_name::{beside, first_free, fitting};
use crate::storage::{Access, Disk, DiskFile, FileStatus, fill, sync_names, write_all_at};

const COPY_BYTES: usize = 1 << 20;

/// What is asked while a file is moved to another disk.
#[derive(Clone, Copy)]
pub struct Asks<'a> {
    /// Before each block that is copied or compared: an error calls it off, and all is as it was before.
    pub go_on: &'a dyn Fn() -> io::Result<()>,
    /// Whether a file that is like it, at the target, can be the copy of it that a crash left. Else it is another source.
    pub is_own: &'a dyn Fn(&Path) -> io::Result<bool>,
}

impl Asks<'static> {
    /// Of a file whose move was not begun before, and is not called off.
    pub const NOTHING: Self = Self { go_on: &|| Ok(()), is_own: &|_| Ok(false) };
}

/// After so many bytes of a copy they are made durable, so that no single sync takes minutes.
const SYNC_BYTES: u64 = 64 << 20;
/// What filesystems count times in, up to FAT's two seconds.
const TIME_UNITS_NS: [u64; 6] = [100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000];
/// What a file of ours is called that is not whole yet: `.NAME` and this.
const TEMPORARY: &str = ".npy-ingest.tmp";
/// So many of one name may be in use or be left.
const TEMPORARIES_MAX: u32 = 100;

/// Moves to the wanted name or, where that is taken, to `name.1.jpg`, `name.2.jpg`, and so on.
pub fn move_beside(disk: &dyn Disk, from: &Path, wanted: &Path) -> io::Result<PathBuf> {
    match first_free(beside(wanted), |target| disk.rename_no_replace(from, target).map(|()| target.to_owned())) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        moved => return moved,
    }
    let target = copy_to_first_free(disk, from, beside(wanted))?;
    disk.remove_file(from)?;
    Ok(target)
}

/// Moves a file from elsewhere on the disk to where the file `home` would be set aside.
pub fn move_aside(disk: &dyn Disk, from: &Path, home: &Path) -> io::Result<PathBuf> {
    first_free(aside_names(home), |target| disk.rename_no_replace(from, target).map(|()| target.to_owned()))
}

/// Copies a file from another disk to where `home` is, under a name that no scan takes, and that nobody else removes.
pub fn copy_near(disk: &dyn Disk, from: &Path, home: &Path) -> io::Result<PathBuf> {
    let names = (1..=TEMPORARIES_MAX).map(|number| fitting(home, ".", &format!(".{number}.back{TEMPORARY}")));
    copy_to_first_free(disk, from, names)
}

fn copy_to_first_free(disk: &dyn Disk, from: &Path, names: impl Iterator<Item = PathBuf>) -> io::Result<PathBuf> {
    let status = disk.status(from)?.ok_or(io::ErrorKind::NotFound)?;
    first_free(names, |target| {
        copy_over(disk, from, target, Identity::from(&status), Asks::NOTHING).map(|()| target.to_owned())
    })
}

/// As [`move_beside`], if it is this file. `None`: another file is there by now, and stays.
pub fn move_if(
    disk: &dyn Disk,
    from: &Path,
    wanted: &Path,
    identity: Identity,
    asks: Asks<'_>,
) -> io::Result<Option<PathBuf>> {
    first_free(beside(wanted), |target| move_to(disk, from, target, identity, asks))
}

/// As [`move_if`], to this name alone.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`]: it is taken.
pub fn move_to(
    disk: &dyn Disk,
    from: &Path,
    target: &Path,
    identity: Identity,
    asks: Asks<'_>,
) -> io::Result<Option<PathBuf>> {
    match disk.rename_no_replace(from, target) {
        Ok(()) if is_file(disk, target, identity)? => return Ok(Some(target.to_owned())),
        Ok(()) => {
            move_beside(disk, target, from)?;
            return Ok(None);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && disk.status(from)?.is_none() => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        Err(error) => return Err(error),
    }
    (asks.go_on)()?;
    if is_taken(disk, from, target, asks)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let Some(aside) = set_aside(disk, from, identity)? else { return Ok(None) };
    match copy_over(disk, &aside.path, target, identity, asks) {
        Ok(()) => {
            aside.remove(disk, identity)?;
            // Before anybody notes that it is gone: what was rejected and is back would be another file.
            sync_names(disk, from.parent().unwrap_or(Path::new(".")))?;
            Ok(Some(target.to_owned()))
        }
        Err(error) => {
            // It stays where it was, for another attempt. If not even that, the next scan does it.
            let _ = aside.put_back(disk);
            Err(error)
        }
    }
}

/// Removes this file. `false`: another file is there by now, and stays.
pub fn remove_if(disk: &dyn Disk, path: &Path, identity: Identity) -> io::Result<bool> {
    let Some(aside) = set_aside(disk, path, identity)? else { return Ok(false) };
    aside.remove(disk, identity)?;
    Ok(true)
}

pub fn is_file(disk: &dyn Disk, path: &Path, identity: Identity) -> io::Result<bool> {
    Ok(disk.status(path)?.is_some_and(|status| status.is_regular && Identity::from(&status) == identity))
}

/// Whether another file has this name. A copy of the file that a crash left there is none.
pub fn is_taken(disk: &dyn Disk, from: &Path, target: &Path, asks: Asks<'_>) -> io::Result<bool> {
    match disk.status(target)? {
        Some(there) => Ok(!is_copy(disk, from, target, &there, asks)?),
        None => Ok(false),
    }
}

/// Whether the file was copied to another disk already, and a crash came before it was removed: time, size and content are
/// the same, the time as well as that disk can tell it, and it is no other source's.
fn is_copy(disk: &dyn Disk, from: &Path, to: &Path, there: &FileStatus, asks: Asks<'_>) -> io::Result<bool> {
    let Some(here) = disk.status(from)? else { return Ok(false) };
    let is_of_its_time = is_rounded(here.mtime_ns, there.mtime_ns);
    let is_like = here.is_regular && there.is_regular && here.size == there.size && is_of_its_time;
    if !is_like || here.device == there.device {
        return Ok(false);
    }
    (asks.go_on)()?;
    if !(asks.is_own)(to)? {
        return Ok(false);
    }
    let (here, there) = (disk.open(from, Access::Read)?, disk.open(to, Access::Read)?);
    let (mut one, mut two) = (vec![0; COPY_BYTES], vec![0; COPY_BYTES]);
    let mut at = 0;
    loop {
        (asks.go_on)()?;
        let (one, two) = (read_block(&*here, &mut one, at)?, read_block(&*there, &mut two, at)?);
        if one != two {
            return Ok(false);
        }
        if one.is_empty() {
            return Ok(true);
        }
        at += one.len() as u64;
    }
}

/// Whether a time is this one, or this one as a filesystem counts it that has nothing finer.
fn is_rounded(time_ns: i64, rounded_ns: i64) -> bool {
    let is_unit = |unit: &u64| rounded_ns.unsigned_abs().is_multiple_of(*unit);
    let unit = TIME_UNITS_NS.into_iter().rev().find(is_unit).unwrap_or(1);
    time_ns.abs_diff(rounded_ns) < unit
}

/// Fills the buffer, or as much of it as there is left in the file.
fn read_block<'a>(file: &dyn DiskFile, buffer: &'a mut [u8], offset: u64) -> io::Result<&'a [u8]> {
    let filled = fill(buffer, |rest, filled| file.read_at(rest, offset + filled))?;
    Ok(buffer.get(..filled).unwrap_or_default())
}

/// Copies to another filesystem, durably, also under its name. The original stays.
fn copy_over(disk: &dyn Disk, from: &Path, to: &Path, identity: Identity, asks: Asks<'_>) -> io::Result<()> {
    if disk.status(to)?.is_some() {
        return if is_taken(disk, from, to, asks)? {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            sync_names(disk, to.parent().unwrap_or(Path::new(".")))
        };
    }
    make_file(disk, to, |file, temporary| {
        copy(&*disk.open(from, Access::Read)?, file, asks)?;
        // Not everybody may give files away, and some filesystems know no owners: the content is what counts. The times come
        // first, as the mode may take the right to write away.
        let _ = disk.copy_times(from, temporary);
        let _ = disk.copy_owner_and_mode(from, temporary);
        match is_file(disk, from, identity)? {
            true => Ok(()),
            false => Err(io::Error::other("it was changed while it was copied")),
        }
    })
}

fn copy(source: &dyn DiskFile, target: &dyn DiskFile, asks: Asks<'_>) -> io::Result<()> {
    let mut block = vec![0; COPY_BYTES];
    let (mut at, mut synced) = (0, 0);
    loop {
        (asks.go_on)()?;
        let part = read_block(source, &mut block, at)?;
        if part.is_empty() {
            return Ok(());
        }
        write_all_at(target, &mut [IoSlice::new(part)], at)?;
        at += part.len() as u64;
        if at - synced >= SYNC_BYTES {
            target.sync_data()?;
            synced = at;
        }
    }
}

/// Makes a file that is whole and durable before it has its name, also durably.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`]: the name is taken. Whatever it is, nothing is left behind.
pub fn make_file(
    disk: &dyn Disk,
    to: &Path,
    fill: impl FnOnce(&dyn DiskFile, &Path) -> io::Result<()>,
) -> io::Result<()> {
    // The open file has a lock while it is needed.
    let (temporary, file) = make_temporary(disk, to)?;
    let made =
        fill(&*file, &temporary).and_then(|()| file.sync_data()).and_then(|()| disk.rename_no_replace(&temporary, to));
    if made.is_err() {
        // The first error is the one to be told of. What stays is removed by the next attempt.
        let _ = disk.remove_file(&temporary);
    }
    made?;
    sync_names(disk, to.parent().unwrap_or(Path::new(".")))
}

/// Whether a file is called as one of ours that is not whole yet.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.as_bytes();
        name.starts_with(b".") && name.ends_with(TEMPORARY.as_bytes())
    })
}

/// A new file of ours beside the wanted one, locked. One that a crash left is removed; what another process is at work on is
/// not.
fn make_temporary(disk: &dyn Disk, to: &Path) -> io::Result<(PathBuf, Box<dyn DiskFile>)> {
    let numbered = (1..=TEMPORARIES_MAX).map(|number| fitting(to, ".", &format!(".{number}{TEMPORARY}")));
    let names = std::iter::once(fitting(to, ".", TEMPORARY)).chain(numbered);
    first_free(names, |path| {
        let file = match disk.open(path, Access::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove_left_over(disk, path)?;
                disk.open(path, Access::CreateNew)?
            }
            opened => opened?,
        };
        let is_locked = try_lock(&*file)?;
        let own = file.status()?;
        let is_there = disk.status(path)?.is_some_and(|there| there.inode == own.inode);
        match is_locked && is_there {
            true => Ok((path.to_owned(), file)),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        }
    })
}

/// Where there are no locks, nobody else is kept from it.
fn try_lock(file: &dyn DiskFile) -> io::Result<bool> {
    use rustix::io::Errno;
    let without = [Errno::NOLCK, Errno::NOTSUP, Errno::NOSYS].map(|errno| Some(errno.raw_os_error()));
    match file.try_lock() {
        Err(error) if without.contains(&error.raw_os_error()) => Ok(true),
        locked => locked,
    }
}

/// Removes a temporary file that nobody is at work on.
fn remove_left_over(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let is_taken = || io::Error::from(io::ErrorKind::AlreadyExists);
    let there = disk.status(path)?.filter(|there| there.is_regular).ok_or_else(is_taken)?;
    // It may have the mode of a source that nobody may write to.
    let file = disk.open(path, Access::Read)?;
    let is_it = file.status()?.inode == there.inode;
    // Held while the name is removed.
    if !is_it || !try_lock(&*file)? || disk.status(path)?.is_none_or(|now| now.inode != there.inode) {
        return Err(is_taken());
    }
    disk.remove_file(path)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::storage::RealDisk;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    pub fn identity(path: &Path) -> Identity {
        Identity::from(&RealDisk.status(path).unwrap().unwrap())
    }

    pub fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The bug: a file that was renamed over the source after the last look at it was removed unread.
    #[test]
    fn another_file_under_the_name_is_neither_removed_nor_moved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "old").unwrap();
        let old = identity(&path);
        fs::write(folder.path().join("new"), "new").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!remove_if(&RealDisk, &path, old).unwrap());
        assert_eq!(move_if(&RealDisk, &path, &folder.path().join("done.jpg"), old, Asks::NOTHING).unwrap(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(folder.path()), ["a.jpg"]);
        let new = identity(&path);
        assert!(remove_if(&RealDisk, &path, new).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);
    }

    /// The real disk, on which `other` is a filesystem of its own that may have no room, or make the program panic.
    pub struct TwoDisks {
        pub other: PathBuf,
        is_full: bool,
        pub is_fatal: bool,
    }

    struct FullFile(Box<dyn DiskFile>);

    impl DiskFile for FullFile {
        fn status(&self) -> io::Result<FileStatus> {
            self.0.status()
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            self.0.read_at(buffer, offset)
        }
        fn write_at(&self, _parts: &[IoSlice<'_>], _offset: u64) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn set_len(&self, bytes: u64) -> io::Result<()> {
            self.0.set_len(bytes)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn try_lock(&self) -> io::Result<bool> {
            self.0.try_lock()
        }
    }

    impl Disk for TwoDisks {
        fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
            let file = RealDisk.open(path, access)?;
            Ok(if self.is_full && path.starts_with(&self.other) { Box::new(FullFile(file)) } else { file })
        }
        fn status(&self, path: &Path) -> io::Result<Option<FileStatus>> {
            let device = u64::from(path.starts_with(&self.other));
            assert!(!self.is_fatal || device == 0, "as a mistake of ours");
            Ok(RealDisk.status(path)?.map(|status| FileStatus { device, ..status }))
        }
        fn rename_no_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
            match from.starts_with(&self.other) == to.starts_with(&self.other) {
                true => RealDisk.rename_no_replace(from, to),
                false => Err(io::ErrorKind::CrossesDevices.into()),
            }
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.rename(from, to)
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            RealDisk.remove_file(path)
        }
        /// As some network filesystems have it.
        fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
        fn create_folders(&self, folder: &Path) -> io::Result<()> {
            RealDisk.create_folders(folder)
        }
        fn copy_owner_and_mode(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.copy_owner_and_mode(from, to)
        }
        fn copy_times(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.copy_times(from, to)
        }
    }

    /// A folder with `a.bin` in it, and the same with another disk in it.
    pub fn two_disks() -> (tempfile::TempDir, TwoDisks, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        let path = folder.path().join("a.bin");
        fs::write(&path, vec![7; 3 * COPY_BYTES / 2]).unwrap();
        (folder, TwoDisks { other, is_full: false, is_fatal: false }, path)
    }

    fn go(disk: &TwoDisks, path: &Path) -> io::Result<Option<PathBuf>> {
        move_if(disk, path, &disk.other.join("a.bin"), identity(path), AGAIN)
    }

    /// Of a file whose move a crash came upon.
    const AGAIN: Asks<'static> = Asks { is_own: &|_| Ok(true), ..Asks::NOTHING };

    /// The bugs: a file of the user's with the name of a temporary one was removed; a sync that the folder does not have was
    /// taken for a failure.
    #[test]
    fn a_move_to_another_disk_replaces_and_removes_nothing() {
        let (folder, disk, path) = two_disks();
        for name in [".a.bin.tmp", "a.bin", "a.1.bin"] {
            fs::write(disk.other.join(name), "the user's").unwrap();
        }
        assert_eq!(go(&disk, &path).unwrap(), Some(disk.other.join("a.2.bin")));
        assert_eq!(names(&disk.other), [".a.bin.tmp", "a.1.bin", "a.2.bin", "a.bin"]);
        assert_eq!(fs::read(disk.other.join("a.2.bin")).unwrap(), vec![7; 3 * COPY_BYTES / 2]);
        assert_eq!(names(folder.path()), ["other"]);
    }

    /// The bug: a crash between the copy and the removal of the original left the file there twice.
    #[test]
    fn a_copy_that_a_crash_left_is_not_made_again() {
        let (folder, disk, path) = two_disks();
        copy_over(&disk, &path, &disk.other.join("a.bin"), identity(&path), Asks::NOTHING).unwrap();
        assert_eq!(go(&disk, &path).unwrap(), Some(disk.other.join("a.bin")));
        assert_eq!((names(&disk.other), names(folder.path())), (vec!["a.bin".to_owned()], vec!["other".to_owned()]));
        // Another file of the same name and length is another file.
        fs::write(&path, vec![8; 3 * COPY_BYTES / 2]).unwrap();
        RealDisk.copy_times(&disk.other.join("a.bin"), &path).unwrap();
        assert_eq!(go(&disk, &path).unwrap(), Some(disk.other.join("a.1.bin")));
    }

    /// The bug: on FAT and the like, where times are rounded, such a copy was taken for another file and made again.
    #[test]
    fn a_copy_whose_time_the_other_disk_rounded_is_known() {
        let (_folder, disk, path) = two_disks();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_001_999);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
        let target = disk.other.join("a.bin");
        copy_over(&disk, &path, &target, identity(&path), Asks::NOTHING).unwrap();
        fs::File::open(&target).unwrap().set_modified(time - std::time::Duration::from_millis(1_999)).unwrap();
        assert_eq!(go(&disk, &path).unwrap(), Some(target));
        assert_eq!(names(&disk.other), ["a.bin"]);
    }

    /// The bug: the next delivery of a fixed name and content, seconds after the last one, was taken for the copy of it, and
    /// removed.
    #[test]
    fn another_file_that_is_equal_is_no_copy() {
        let (_folder, disk, path) = two_disks();
        let content = fs::read(&path).unwrap();
        let target = disk.other.join("a.bin");
        let at = |nanoseconds| std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanoseconds);
        let moves = [
            (1_700_000_001_000_000_007, Asks::NOTHING, "a.bin"),
            (1_700_000_001_000_000_007, Asks::NOTHING, "a.1.bin"),
            (1_700_000_001_500_000_000, AGAIN, "a.2.bin"),
            (1_700_000_001_500_000_000, Asks { is_own: &|path| Ok(!path.ends_with("a.2.bin")), ..AGAIN }, "a.3.bin"),
        ];
        for (time_ns, asks, name) in moves {
            fs::write(&path, &content).unwrap();
            fs::File::open(&path).unwrap().set_modified(at(time_ns)).unwrap();
            let moved = move_if(&disk, &path, &target, identity(&path), asks).unwrap();
            assert_eq!(moved, Some(disk.other.join(name)));
        }
    }

    /// The bug: a copy for which there was no room was left where it filled the disk.
    #[test]
    fn a_copy_that_fails_leaves_nothing_behind() {
        let (folder, mut disk, path) = two_disks();
        disk.is_full = true;
        assert_eq!(go(&disk, &path).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((names(&disk.other), names(folder.path())), (vec![], vec!["a.bin".to_owned(), "other".to_owned()]));
    }

    #[test]
    fn a_copy_that_is_called_off_leaves_all_as_it_was() {
        let (folder, disk, path) = two_disks();
        let blocks = std::cell::Cell::new(0);
        let go_on = || {
            blocks.set(blocks.get() + 1);
            if blocks.get() < 3 { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
        };
        let moved = move_if(&disk, &path, &disk.other.join("a.bin"), identity(&path), Asks { go_on: &go_on, ..AGAIN });
        assert_eq!((moved.unwrap_err().kind(), blocks.get()), (io::ErrorKind::Interrupted, 3));
        assert_eq!((names(&disk.other), names(folder.path())), (vec![], vec!["a.bin".to_owned(), "other".to_owned()]));
    }

    #[test]
    fn what_a_kill_left_of_a_copy_is_replaced_and_one_at_work_is_not() {
        let (_folder, disk, path) = two_disks();
        let target = disk.other.join("a.bin");
        fs::write(fitting(&target, ".", TEMPORARY), "half").unwrap();
        let (at_work, lock) = make_temporary(&disk, &target).unwrap();
        assert_eq!(fs::read(&at_work).unwrap(), b"");
        let (other, other_lock) = make_temporary(&disk, &target).unwrap();
        assert_ne!(at_work, other);
        drop((lock, other_lock));
        // The bug: one of a source that nobody may write to was left for ever, by all but root.
        fs::set_permissions(&at_work, fs::Permissions::from_mode(0o444)).unwrap();
        go(&disk, &path).unwrap();
        assert_eq!(names(&disk.other), [".a.bin.1.npy-ingest.tmp", "a.bin"]);
        assert!(is_temporary(&other) && !is_temporary(&target));
    }
}
