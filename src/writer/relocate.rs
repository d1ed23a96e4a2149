//! Moving files of the user's: never over another file, also to another disk, and only the file that is meant.
//!
//! Nothing tells the kernel to remove or move a file only if it is still the one that was looked at. So a file is looked at
//! once more where nobody else can replace it, and goes back if it is another one. A move within a disk is a single rename,
//! and the look is at its target: of two renames a power cut might keep only the second. What is to be removed, or copied
//! to another disk, is set aside first under a name in its own folder that nobody else uses. What a crash leaves aside is
//! put back by the next scan (`intake`), and looked at like any other file.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::source::Identity;
use crate::storage::{Access, Disk, write_all_at};

/// So many names are tried in the target folder before it is given up.
const NAMES_MAX: u32 = 10_000;
const COPY_BYTES: usize = 1 << 20;
/// What a file is called that is set aside: `.NAME`, this and, where that is taken, a dot and a number.
const ASIDE: &str = ".npy-ingest-aside";
/// A name on Linux filesystems.
const NAME_BYTES_MAX: usize = 255;

/// Moves to the wanted name or, where that is taken, to `name.1.jpg`, `name.2.jpg`, and so on.
pub fn move_beside(disk: &dyn Disk, from: &Path, wanted: &Path) -> io::Result<PathBuf> {
    move_to_first_free(disk, from, || beside(wanted))
}

/// Moves a file from elsewhere to where the file `home` would be set aside.
pub fn move_aside(disk: &dyn Disk, from: &Path, home: &Path) -> io::Result<PathBuf> {
    move_to_first_free(disk, from, || aside_names(home))
}

fn move_to_first_free<Names: Iterator<Item = PathBuf>>(
    disk: &dyn Disk,
    from: &Path,
    names: impl Fn() -> Names,
) -> io::Result<PathBuf> {
    match first_free(names(), |target| disk.rename_no_replace(from, target)) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            first_free(names(), |target| copy_over(disk, from, target))
        }
        moved => moved,
    }
}

/// The wanted name, and those with a number.
fn beside(wanted: &Path) -> impl Iterator<Item = PathBuf> {
    std::iter::once(wanted.to_owned()).chain((1..=NAMES_MAX).map(|number| numbered(wanted, number)))
}

/// The names under which a file can be set aside.
fn aside_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    let numbered = (1..=NAMES_MAX).map(|number| fitting(path, ".", &format!("{ASIDE}.{number}")));
    std::iter::once(fitting(path, ".", ASIDE)).chain(numbered)
}

/// Tries names until one is free.
fn first_free(
    names: impl Iterator<Item = PathBuf>,
    mut attempt: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    for name in names {
        match attempt(&name) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{NAMES_MAX} files of this name are there already")))
}

/// As [`move_beside`], if it is this file. `None`: another file is there by now, and stays.
pub fn move_if(disk: &dyn Disk, from: &Path, wanted: &Path, identity: Identity) -> io::Result<Option<PathBuf>> {
    match first_free(beside(wanted), |target| disk.rename_no_replace(from, target)) {
        Ok(moved_to) if is_file(disk, &moved_to, identity)? => return Ok(Some(moved_to)),
        Ok(moved_to) => {
            move_beside(disk, &moved_to, from)?;
            return Ok(None);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && disk.status(from)?.is_none() => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        Err(error) => return Err(error),
    }
    let Some(aside) = set_aside(disk, from, identity)? else { return Ok(None) };
    match first_free(beside(wanted), |target| copy_over(disk, &aside, target)) {
        Ok(moved_to) => Ok(Some(moved_to)),
        Err(error) => {
            // It stays where it was, for another attempt. If not even that, the next scan does it.
            let _ = put_back(disk, &aside);
            Err(error)
        }
    }
}

/// Removes this file. `false`: another file is there by now, and stays.
pub fn remove_if(disk: &dyn Disk, path: &Path, identity: Identity) -> io::Result<bool> {
    let Some(aside) = set_aside(disk, path, identity)? else { return Ok(false) };
    disk.remove_file(&aside)?;
    Ok(true)
}

/// Renames the file to a name that nobody else uses, if it is this file. The new path.
fn set_aside(disk: &dyn Disk, path: &Path, identity: Identity) -> io::Result<Option<PathBuf>> {
    let aside = match first_free(aside_names(path), |aside| disk.rename_no_replace(path, aside)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        renamed => renamed?,
    };
    if is_file(disk, &aside, identity)? {
        return Ok(Some(aside));
    }
    put_back(disk, &aside)?;
    Ok(None)
}

fn is_file(disk: &dyn Disk, path: &Path, identity: Identity) -> io::Result<bool> {
    Ok(disk.status(path)?.is_some_and(|status| status.is_regular && Identity::from(&status) == identity))
}

/// Gives a file that was set aside its name again, or one beside it. Its path.
pub fn put_back(disk: &dyn Disk, aside: &Path) -> io::Result<PathBuf> {
    move_beside(disk, aside, &home_of(aside))
}

/// Gives a file that a crash left aside its name again, under which the ledger may know it. `None`: another file has the name,
/// and it waits until that has gone its way.
pub fn put_back_if_free(disk: &dyn Disk, aside: &Path) -> io::Result<Option<PathBuf>> {
    let home = home_of(aside);
    match disk.rename_no_replace(aside, &home) {
        Ok(()) => Ok(Some(home)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of the file before it was set aside, if this is the name of one that was.
fn name_of_aside(aside: &Path) -> Option<&OsStr> {
    let name = aside.file_name()?.as_bytes().strip_prefix(b".")?;
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let unnumbered = name.get(..name.len() - digits).and_then(|name| name.strip_suffix(b".")).filter(|_| digits > 0);
    let name = unnumbered.unwrap_or(name).strip_suffix(ASIDE.as_bytes())?;
    (!name.is_empty()).then(|| OsStr::from_bytes(name))
}

/// Where the file was before it was set aside. One that was not is at home.
pub fn home_of(aside: &Path) -> PathBuf {
    name_of_aside(aside).map_or_else(|| aside.to_owned(), |name| aside.with_file_name(name))
}

/// Whether a file is called as one that was set aside.
pub fn is_aside(path: &Path) -> bool {
    name_of_aside(path).is_some()
}

/// The file's path with a longer name; a name that would be too long loses its end.
pub fn fitting(path: &Path, before: &str, after: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let room = NAME_BYTES_MAX.saturating_sub(before.len() + after.len());
    let mut fits = OsString::from(before);
    fits.push(OsStr::from_bytes(name.get(..room).unwrap_or(name)));
    fits.push(after);
    path.with_file_name(fits)
}

/// Moves to another filesystem: a copy under a temporary name, made durable before the original goes.
fn copy_over(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let temporary = fitting(to, ".", ".tmp");
    if disk.status(&temporary)?.is_some() {
        disk.remove_file(&temporary)?;
    }
    let source = disk.open(from, Access::Read)?;
    let target = disk.open(&temporary, Access::CreateNew)?;
    let mut block = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = match source.read_at(&mut block, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if read == 0 {
            break;
        }
        let part = block.get(..read).unwrap_or_default();
        write_all_at(&*target, &mut [IoSlice::new(part)], at)?;
        at += read as u64;
    }
    // Not everybody may give files away, and some filesystems know no owners: the content is what counts.
    let _ = disk.copy_owner_and_mode(from, &temporary);
    let _ = disk.copy_times(from, &temporary);
    target.sync_data()?;
    let renamed = disk.rename_no_replace(&temporary, to);
    if renamed.is_err() {
        disk.remove_file(&temporary)?;
    }
    renamed?;
    disk.sync_folder(folder)?;
    disk.remove_file(from)
}

/// `a.jpg` with a number: `a.1.jpg`.
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;
    use std::fs;

    fn identity(path: &Path) -> Identity {
        Identity::from(&RealDisk.status(path).unwrap().unwrap())
    }

    fn names(folder: &Path) -> Vec<String> {
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
        assert_eq!(move_if(&RealDisk, &path, &folder.path().join("done.jpg"), old).unwrap(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(folder.path()), ["a.jpg"]);
        let new = identity(&path);
        assert!(remove_if(&RealDisk, &path, new).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn what_was_set_aside_is_put_back_beside_what_took_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "one").unwrap();
        let aside = set_aside(&RealDisk, &path, identity(&path)).unwrap().unwrap();
        assert!(is_aside(&aside) && !is_aside(&path) && !is_aside(Path::new(ASIDE)));
        fs::write(&path, "two").unwrap();
        assert_eq!(put_back(&RealDisk, &aside).unwrap(), folder.path().join("a.1.jpg"));
        assert_eq!(names(folder.path()), ["a.1.jpg", "a.jpg"]);
    }

    /// The bug: what a kill had left aside kept the name that the next file of the same name needed to be removed.
    #[test]
    fn what_a_kill_left_aside_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        let mut left = Vec::new();
        for content in ["one", "two", "three"] {
            fs::write(&path, content).unwrap();
            left.push(set_aside(&RealDisk, &path, identity(&path)).unwrap().unwrap());
        }
        assert!(left.iter().all(|aside| is_aside(aside)));
        fs::write(&path, "four").unwrap();
        assert_eq!(put_back_if_free(&RealDisk, &left[0]).unwrap(), None);
        assert!(remove_if(&RealDisk, &path, identity(&path)).unwrap());
        for (aside, content) in left.iter().zip(["one", "two", "three"]) {
            assert_eq!(put_back_if_free(&RealDisk, aside).unwrap().as_deref(), Some(&*path));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert!(remove_if(&RealDisk, &path, identity(&path)).unwrap());
        }
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn other_names_are_not_those_of_files_set_aside() {
        let others =
            [".npy-ingest-aside", "a.npy-ingest-aside", ".a.npy-ingest-aside.", ".a.npy-ingest-aside.x", ".a.7", ".7"];
        assert_eq!(others.map(|name| is_aside(Path::new(name))), [false; 6]);
    }

    #[test]
    fn the_longest_name_can_be_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x".repeat(NAME_BYTES_MAX));
        fs::write(&path, "one").unwrap();
        assert!(remove_if(&RealDisk, &path, identity(&path)).unwrap());
    }
}
