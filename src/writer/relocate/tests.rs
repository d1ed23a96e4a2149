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
    assert!(!remove_if(&RealDisk, &path, old, Asks::NOTHING).unwrap());
    assert_eq!(move_if(&RealDisk, &path, &folder.path().join("done.jpg"), old, Asks::NOTHING).unwrap(), None);
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(names(folder.path()), ["a.jpg"]);
    let new = identity(&path);
    assert!(remove_if(&RealDisk, &path, new, Asks::NOTHING).unwrap());
    assert_eq!(names(folder.path()), [""; 0]);
}

/// The real disk, on which `other` is a filesystem of its own that may have no room, or make the program panic.
pub struct TwoDisks {
    pub other: PathBuf,
    is_full: bool,
    /// Another mount of the same filesystem.
    is_mount: bool,
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
        let device = u64::from(path.starts_with(&self.other) && !self.is_mount);
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
    (folder, TwoDisks { other, is_full: false, is_mount: false, is_fatal: false }, path)
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
    // The bug: so did two mounts of one filesystem.
    for is_mount in [true, false] {
        let (folder, mut disk, path) = two_disks();
        disk.is_mount = is_mount;
        copy_over(&disk, &path, &disk.other.join("a.bin"), identity(&path), Asks::NOTHING).unwrap();
        assert_eq!(go(&disk, &path).unwrap(), Some(disk.other.join("a.bin")));
        assert_eq!((names(&disk.other), names(folder.path())), (vec!["a.bin".to_owned()], vec!["other".to_owned()]));
    }
    let (_folder, disk, path) = two_disks();
    go(&disk, &path).unwrap();
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
