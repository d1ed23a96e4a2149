//! Files that are set aside, under names in their own folder that nobody else uses: what is to be removed, or copied to
//! another disk, can then be looked at where nobody replaces it.
//!
//! What a crash leaves aside is put back by the next scan (`intake`), and looked at like any other file.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::relocate::{is_file, move_beside};
use crate::source::Identity;
use crate::storage::Disk;
use crate::storage::file_name::{NAME_BYTES_MAX, NAMES_MAX, first_free, fitting};

/// What a file is called that is set aside: `.NAME`, this and, where that is taken, a dot and a number.
const ASIDE: &str = ".npy-ingest-aside";
/// So many names are looked at for a file that is set aside.
const LOOKED_AT: usize = 8;
/// Longer names have no room for that.
const LONGEST: usize = NAME_BYTES_MAX - ".".len() - ASIDE.len() - ".10000".len();

/// What this process has set aside, for all datasets: two may watch one folder. However long a copy takes, no scan gives
/// these their names again.
static IN_USE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn in_use() -> MutexGuard<'static, Vec<PathBuf>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is set aside, until this is dropped. One whose name is too long for that is where it was: then a file that
/// comes under its name between the last look and its removal is removed instead of it.
pub struct Aside {
    pub path: PathBuf,
    home: PathBuf,
}

impl Aside {
    fn new(path: &Path, home: &Path) -> Self {
        in_use().push(path.to_owned());
        Self { path: path.to_owned(), home: home.to_owned() }
    }

    fn is_at_home(&self) -> bool {
        self.path == self.home
    }

    /// Gives it its name again, or one beside it.
    pub fn put_back(&self, disk: &dyn Disk) -> io::Result<()> {
        if self.is_at_home() {
            return Ok(());
        }
        move_beside(disk, &self.path, &self.home).map(drop)
    }

    /// Removes it. One that is at home is looked at once more: another file stays.
    pub fn remove(&self, disk: &dyn Disk, identity: Identity) -> io::Result<()> {
        if self.is_at_home() && !is_file(disk, &self.path, identity)? {
            return Ok(());
        }
        disk.remove_file(&self.path)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let mut in_use = in_use();
        if let Some(at) = in_use.iter().position(|path| *path == self.path) {
            in_use.swap_remove(at);
        }
    }
}

/// Sets the file aside, if it is this file.
pub fn set_aside(disk: &dyn Disk, home: &Path, identity: Identity) -> io::Result<Option<Aside>> {
    if !has_room_aside(home) {
        return Ok(is_file(disk, home, identity)?.then(|| Aside::new(home, home)));
    }
    let set_aside = first_free(aside_names(home), |path| {
        // A scan must know of it before it can see it.
        let aside = Aside::new(path, home);
        disk.rename_no_replace(home, path).map(|()| aside)
    });
    let aside = match set_aside {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        set_aside => set_aside?,
    };
    if is_file(disk, &aside.path, identity)? {
        return Ok(Some(aside));
    }
    aside.put_back(disk)?;
    Ok(None)
}

/// Whether a file can be set aside.
pub fn has_room_aside(home: &Path) -> bool {
    home.file_name().is_none_or(|name| name.len() <= LONGEST)
}

/// The names under which a file can be set aside.
pub fn aside_names(home: &Path) -> impl Iterator<Item = PathBuf> {
    let numbered = (1..=NAMES_MAX).map(|number| fitting(home, ".", &format!("{ASIDE}.{number}")));
    std::iter::once(fitting(home, ".", ASIDE)).chain(numbered)
}

/// Whether a file is set aside, or was left so by a crash.
pub fn is_any_aside(disk: &dyn Disk, home: &Path) -> io::Result<bool> {
    for aside in aside_names(home).take(LOOKED_AT) {
        if disk.status(&aside)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives a file that a crash left aside its name again, under which the ledger may know it. `None`: another file has the
/// name, and it waits until that has gone its way.
pub fn put_back_if_free(disk: &dyn Disk, aside: &Path) -> io::Result<Option<PathBuf>> {
    let home = home_of(aside);
    match disk.rename_no_replace(aside, &home) {
        Ok(()) => Ok(Some(home)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`put_back_if_free`], for a file that a scan has met. `None` as well: our own writer is at work on it, or has gone on.
pub fn put_back_if_left(disk: &dyn Disk, aside: &Path) -> io::Result<Option<PathBuf>> {
    // Held meanwhile: it must not be set aside anew in between.
    let in_use = in_use();
    if in_use.iter().any(|path| path == aside) {
        return Ok(None);
    }
    match put_back_if_free(disk, aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        put_back => put_back,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;
    use crate::writer::relocate::tests::{identity, names};
    use crate::writer::relocate::{Asks, remove_if};
    use std::fs;

    /// Sets the file aside as a run that is then killed.
    fn leave_aside(path: &Path) -> PathBuf {
        set_aside(&RealDisk, path, identity(path)).unwrap().unwrap().path.clone()
    }

    #[test]
    fn what_was_set_aside_is_put_back_beside_what_took_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "one").unwrap();
        let aside = set_aside(&RealDisk, &path, identity(&path)).unwrap().unwrap();
        assert!(is_aside(&aside.path) && !is_aside(&path) && !is_aside(Path::new(ASIDE)));
        fs::write(&path, "two").unwrap();
        aside.put_back(&RealDisk).unwrap();
        assert_eq!(names(folder.path()), ["a.1.jpg", "a.jpg"]);
    }

    /// The bug: a scan gave a file its name again while our own writer was copying it to another disk.
    #[test]
    fn what_is_in_use_is_not_given_its_name_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "one").unwrap();
        let aside = set_aside(&RealDisk, &path, identity(&path)).unwrap().unwrap();
        let left = aside.path.clone();
        assert_eq!(put_back_if_left(&RealDisk, &left).unwrap(), None);
        assert!(left.exists());
        drop(aside);
        assert_eq!(put_back_if_left(&RealDisk, &left).unwrap().as_deref(), Some(&*path));
        assert_eq!(put_back_if_left(&RealDisk, &left).unwrap(), None, "it has gone on");
    }

    /// The bug: what a kill had left aside kept the name that the next file of the same name needed to be removed.
    #[test]
    fn what_a_kill_left_aside_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        let mut left = Vec::new();
        for content in ["one", "two", "three"] {
            fs::write(&path, content).unwrap();
            left.push(leave_aside(&path));
        }
        assert!(left.iter().all(|aside| is_aside(aside)));
        fs::write(&path, "four").unwrap();
        assert_eq!(put_back_if_free(&RealDisk, &left[0]).unwrap(), None);
        assert!(remove_if(&RealDisk, &path, identity(&path), Asks::NOTHING).unwrap());
        for (aside, content) in left.iter().zip(["one", "two", "three"]) {
            assert_eq!(put_back_if_free(&RealDisk, aside).unwrap().as_deref(), Some(&*path));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert!(remove_if(&RealDisk, &path, identity(&path), Asks::NOTHING).unwrap());
        }
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn other_names_are_not_those_of_files_set_aside() {
        let others =
            [".npy-ingest-aside", "a.npy-ingest-aside", ".a.npy-ingest-aside.", ".a.npy-ingest-aside.x", ".a.7", ".7"];
        assert_eq!(others.map(|name| is_aside(Path::new(name))), [false; 6]);
    }

    /// The bug: a longer name lost its end, and what a kill left aside was a new source under what was left of it.
    #[test]
    fn a_name_that_has_no_room_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for length in [LONGEST, LONGEST + 1, NAME_BYTES_MAX] {
            let path = folder.path().join("x".repeat(length));
            fs::write(&path, "one").unwrap();
            let old = identity(&path);
            assert_eq!(home_of(&leave_aside(&path)), path);
            put_back_if_left(&RealDisk, &folder.path().join(&names(folder.path())[0])).unwrap();
            fs::write(&path, "another").unwrap();
            assert!(!remove_if(&RealDisk, &path, old, Asks::NOTHING).unwrap());
            assert!(remove_if(&RealDisk, &path, identity(&path), Asks::NOTHING).unwrap());
            assert_eq!(names(folder.path()), [""; 0]);
        }
    }
}
