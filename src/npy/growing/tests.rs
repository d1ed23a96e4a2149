use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use super::super::{Dtype, Header};
use super::*;
use crate::storage::{FileStatus, RealDisk};

fn layout() -> Layout {
    Layout::new(&Dtype::parse("<f4").unwrap(), &[]).unwrap()
}

fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// The bug: of two processes with one number, in two containers, each took the other's half-made file, and what was published
/// could be empty.
#[test]
fn a_file_that_another_is_making_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let process = std::process::id();
    let others = [format!(".a.npy.{process}.tmp"), format!(".a.npy.{process}.1.tmp")];
    for other in &others {
        fs::write(folder.path().join(other), "half").unwrap();
    }
    GrowingFile::create(&RealDisk, &path, &layout()).unwrap();
    assert_eq!(Header::parse(&fs::read(&path).unwrap()).unwrap().rows(), Some(0));
    let error = GrowingFile::create(&RealDisk, &path, &layout()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    for other in &others {
        assert_eq!(fs::read(folder.path().join(other)).unwrap(), b"half");
        assert_eq!(GrowingFile::creator_of(&path, OsStr::new(other)), Some(process));
    }
    assert_eq!(names(folder.path()).len(), 3);
}

/// The bug: such an array could not be created, as the name that it has before was too long or another one.
#[test]
fn names_of_any_length_and_bytes_can_be_created() {
    let folder = tempfile::tempdir().unwrap();
    for name in [vec![b'x'; 255], vec![0xff, b'.', 0xfe]] {
        let path = folder.path().join(OsString::from_vec(name.clone()));
        GrowingFile::create(&RealDisk, &path, &layout()).unwrap();
        assert_eq!(names(folder.path()), [OsString::from_vec(name)]);
        for number in [0, 7] {
            let temporary = temporary_name(&path, 4711, number);
            assert_eq!(GrowingFile::creator_of(&path, temporary.file_name().unwrap()), Some(4711));
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn the_name_of_a_file_in_the_making_tells_its_process() {
    let of = |name: &str| GrowingFile::creator_of(Path::new("/a/b.npy"), OsStr::new(name));
    assert_eq!([of(".b.npy.12.tmp"), of(".b.npy.12.3.tmp")], [Some(12), Some(12)]);
    for other in [
        ".b.npy.tmp",
        ".b.npy.012.tmp",
        ".b.npy.12.03.tmp",
        ".b.npy.12.0.tmp",
        ".b.npy.+5.tmp",
        ".b.npy.12.3.4.tmp",
        ".b.npy.12.tmp.x",
        "b.npy.12.tmp",
        ".c.npy.12.tmp",
        ".b.npy..3.tmp",
        ".b.npy.99999999999.tmp",
    ] {
        assert_eq!(of(other), None, "{other}");
    }
}

/// A disk on which another process has the last step: it makes the path, and clears up.
struct Overtaken;

impl Disk for Overtaken {
    fn rename_no_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        RealDisk.rename_no_replace(from, to)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open(path, access)
    }

    fn status(&self, path: &Path) -> io::Result<Option<FileStatus>> {
        RealDisk.status(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn create_folders(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn copy_owner_and_mode(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn copy_times(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!()
    }
}

/// The bug: `No such file` was said of an array that was there.
#[test]
fn who_is_overtaken_finds_the_path_taken() {
    let folder = tempfile::tempdir().unwrap();
    let error = GrowingFile::create(&Overtaken, &folder.path().join("a.npy"), &layout()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}

/// The bug: where somebody else had cut off rows, cutting what was staged behind them made zeros of them.
#[test]
fn cutting_never_makes_a_file_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    GrowingFile::create(&RealDisk, &path, &layout()).unwrap();
    let file = RealDisk.open(&path, Access::ReadWrite).unwrap();
    let mut file = GrowingFile::new(path.clone(), file, layout(), 0, 0).unwrap();
    let length = || fs::metadata(&path).unwrap().len();
    for (rows, flushed) in [(4, 144), (6, 152)] {
        file.stage(vec![7; 4 * (rows - file.staged_rows()) as usize]);
        file.flush(drop).unwrap();
        assert_eq!((length(), file.foreign_change(length()).unwrap()), (flushed, None));
    }
    file.publish(4).unwrap();
    assert_eq!(file.foreign_change(length()).unwrap(), None);
    file.unstage(4, drop);
    file.file().set_len(136).unwrap();
    let change = file.foreign_change(length()).unwrap();
    assert_eq!(change.as_deref(), Some("it has 136 bytes, and its 4 rows need 144"));
    assert_eq!(file.trim().unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(length(), 136);
}
