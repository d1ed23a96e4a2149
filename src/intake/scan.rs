//! Walking a watched folder: the truth about what is there.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, fstat, statat};

use super::bare::{BareFolders, Recall, Version};
use crate::config::Watch;
use crate::pulse;
use crate::storage::FileStatus;
use crate::writer::{is_aside, is_temporary};

/// Folders nested deeper than this are not entered.
const DEPTH_MAX: usize = 128;

/// What a walk could not do. The walk goes on without it.
#[derive(Debug)]
pub struct Problem {
    pub path: PathBuf,
    pub error: io::Error,
}

/// What a walk met besides the files.
#[derive(Debug, Default)]
pub struct Walk {
    pub folders: u64,
    /// Symbolic links under names that would be sources. They are not followed.
    pub links: u64,
    pub problems: Vec<Problem>,
    /// Files that are set aside: at this instant, or by a run that was cut short. Paths below the watched folder.
    pub aside: Vec<(PathBuf, FileStatus)>,
}

/// Whether a path below a watched folder is a source by its name.
pub fn is_wanted(watch: &Watch, below: &Path) -> bool {
    !is_aside(below)
        && (watch.recursive || below.components().count() == 1)
        && is_included(watch, below)
        && !is_excluded(watch, below)
}

/// Half a file of our own is never a source: `retry` copies back from another disk, and may be killed meanwhile.
fn is_included(watch: &Watch, below: &Path) -> bool {
    watch.include.is_match(below) && !is_temporary(below)
}

/// Whether a path below a watched folder, or a folder above it, is excluded.
pub fn is_excluded(watch: &Watch, below: &Path) -> bool {
    below.ancestors().any(|path| !path.as_os_str().is_empty() && watch.exclude.is_match(path))
}

/// Calls `each` with every wanted regular file below `root/within` (path below `root`, status), in no particular order.
/// Symbolic links are not followed. A missing `root` is an error; anything else that cannot be read is a [`Problem`].
/// Nothing is below a folder that is excluded. `bare`: what earlier walks found of folders without such files.
pub fn walk(
    root: &Path,
    within: &Path,
    watch: &Watch,
    bare: &mut BareFolders,
    each: &mut dyn FnMut(PathBuf, FileStatus),
) -> io::Result<Walk> {
    // Also tells a missing root from an empty one.
    let top = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    if is_excluded(watch, within) {
        return Ok(Walk::default());
    }
    // Of a part of it nothing is remembered.
    let mut nothing = BareFolders::default();
    let bare = if within.as_os_str().is_empty() { bare } else { &mut nothing };
    let mut walker = Walker { root, top, watch, recall: bare.recall(), each, walk: Walk::default() };
    let known = walker.recall.top();
    let place = walker.recall.enter(OsStr::new(""));
    walker.visit(&mut within.to_owned(), known, place);
    bare.keep(walker.recall);
    Ok(walker.walk)
}

struct Walker<'a> {
    root: &'a Path,
    /// The root, open.
    top: OwnedFd,
    watch: &'a Watch,
    recall: Recall,
    each: &'a mut dyn FnMut(PathBuf, FileStatus),
    walk: Walk,
}

impl Walker<'_> {
    /// A folder and all within it. `known`, `place`: its places in what is remembered of the last walk and of this one.
    fn visit(&mut self, folder: &mut PathBuf, known: Option<u32>, place: u32) {
        self.walk.folders += 1;
        pulse::beat();
        if let Err(error) = self.look_into(folder, known, place)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.walk.problems.push(Problem { path: self.root.join(folder), error });
        }
        self.recall.leave(place);
    }

    fn look_into(&mut self, folder: &mut PathBuf, known: Option<u32>, place: u32) -> io::Result<()> {
        let version = match self.recall.is_on() {
            // From the top on: less of a way than by the whole path.
            true if !folder.as_os_str().is_empty() => Some(statat(&self.top, &*folder, AtFlags::empty())?),
            true => Some(fstat(&self.top)?),
            false => None,
        };
        let version = version.as_ref().map(Version::of);
        let mut within = self.recall.within(known);
        if let (Some(known), Some(version)) = (known, version)
            && self.recall.is_unchanged(known, version)
        {
            self.recall.note(place, version, true);
            while let Some((known, name)) = self.recall.next(&mut within) {
                folder.push(name);
                let place = self.recall.enter_again(known);
                self.visit(folder, Some(known), place);
                folder.pop();
            }
            return Ok(());
        }
        let mut subfolders = Vec::new();
        let read = self.read(folder, &mut subfolders);
        if let Some(version) = version {
            self.recall.note(place, version, matches!(read, Ok(true)));
            // As they are remembered.
            subfolders.sort_unstable();
        }
        // An entry that cannot be looked at hides no folder that was met before it.
        for name in subfolders {
            let known = self.recall.find(&mut within, &name);
            let place = self.recall.enter(&name);
            folder.push(name);
            self.visit(folder, known, place);
            folder.pop();
        }
        read.map(drop)
    }

    /// Calls for the files in a folder, and gives the folders in it. Whether there is nothing else that concerns us.
    fn read(&mut self, folder: &Path, subfolders: &mut Vec<OsString>) -> io::Result<bool> {
        let Self { root, watch, each, walk, .. } = self;
        let mut is_bare = true;
        for entry in fs::read_dir(root.join(folder))? {
            pulse::beat();
            let entry = entry?;
            let below = folder.join(entry.file_name());
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                // Gone since the folder was read, on a filesystem whose folders do not tell kinds.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if kind.is_dir() {
                if !watch.recursive || watch.exclude.is_match(&below) {
                    continue;
                }
                if below.components().count() < DEPTH_MAX {
                    subfolders.push(entry.file_name());
                } else {
                    let error = format!("it is nested deeper than {DEPTH_MAX} folders; move it up, or exclude it");
                    walk.problems.push(Problem { path: entry.path(), error: io::Error::other(error) });
                }
            } else if is_aside(&below) {
                is_bare = false;
                // Otherwise it is gone, as it should be.
                if let Ok(metadata) = entry.metadata() {
                    walk.aside.push((below, FileStatus::from(&metadata)));
                }
            } else if is_included(watch, &below) && !watch.exclude.is_match(&below) {
                is_bare = false;
                if kind.is_symlink() {
                    walk.links += 1;
                } else if kind.is_file() {
                    match entry.metadata() {
                        Ok(metadata) => each(below, FileStatus::from(&metadata)),
                        // Gone since the folder was read.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => walk.problems.push(Problem { path: entry.path(), error }),
                    }
                }
            }
        }
        Ok(is_bare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn watch(words: &str) -> Watch {
        let text = format!(
            "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2]\ndtype = 'u1'\n[dataset.watch]\n\
             folders = ['drop']\ninclude = ['**/*.bin']\n{words}\n[dataset.records]\n"
        );
        config::parse(&text, Path::new("/c.toml")).unwrap().datasets[0].watch.clone()
    }

    fn found(root: &Path, within: &str, watch: &Watch) -> (Vec<String>, Vec<Problem>) {
        let mut found = Vec::new();
        let mut each = |below: PathBuf, _| found.push(below.display().to_string());
        let walked = walk(root, Path::new(within), watch, &mut BareFolders::default(), &mut each).unwrap();
        found.sort();
        (found, walked.problems)
    }

    /// The bug: a folder made below one that is excluded was scanned for itself, and its files were taken.
    #[test]
    fn nothing_below_an_excluded_folder_is_found() {
        let root = tempfile::tempdir().unwrap();
        for folder in [".hidden/sub", "skip/sub/deep", "open"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("x.bin"), "xx").unwrap();
        }
        let watch = watch("exclude = ['**/.*', 'skip']");
        for within in [".hidden/sub", "skip/sub", "skip/sub/deep"] {
            assert!(is_excluded(&watch, Path::new(within)));
            assert_eq!(found(root.path(), within, &watch).0, [""; 0], "{within}");
        }
        assert_eq!(found(root.path(), "", &watch).0, ["open/x.bin"]);
        assert_eq!(found(root.path(), "open", &watch).0, ["open/x.bin"]);
    }

    /// The bug: what was nested too deeply was passed over without a word.
    #[test]
    fn folders_that_are_nested_too_deeply_are_told_of() {
        let root = tempfile::tempdir().unwrap();
        let deep: PathBuf = std::iter::repeat_n("d", DEPTH_MAX).collect();
        fs::create_dir_all(root.path().join(&deep)).unwrap();
        fs::write(root.path().join(&deep).join("x.bin"), "xx").unwrap();
        let (files, problems) = found(root.path(), "", &watch(""));
        assert_eq!(files, [""; 0]);
        assert_eq!(problems[0].path, root.path().join(&deep));
        assert!(problems[0].error.to_string().contains("deeper than 128 folders"));
        assert!(found(root.path(), "", &watch("exclude = ['d/d']")).1.is_empty());
    }
}
