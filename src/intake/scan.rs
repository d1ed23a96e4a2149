//! Walking a watched folder: the truth about what is there.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, fstat, statat};

use super::bare::{BareFolders, Version};
use crate::config::Watch;
use crate::pulse;
use crate::storage::FileStatus;
use crate::writer::is_aside;

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
        && watch.include.is_match(below)
        && !watch.exclude.is_match(below)
        && !below.ancestors().skip(1).any(|folder| !folder.as_os_str().is_empty() && watch.exclude.is_match(folder))
}

/// Calls `each` with every wanted regular file below `root/within` (path below `root`, status), in no particular order.
/// Symbolic links are not followed. A missing `root` is an error; anything else that cannot be read is a [`Problem`].
/// `bare`: what earlier walks found of folders without such files.
pub fn walk(
    root: &Path,
    within: &Path,
    watch: &Watch,
    bare: &mut BareFolders,
    each: &mut dyn FnMut(PathBuf, FileStatus),
) -> io::Result<Walk> {
    // Also tells a missing root from an empty one.
    let top = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut walker = Walker { root, top, watch, bare, each, left: vec![within.to_owned()], walk: Walk::default() };
    while let Some(folder) = walker.left.pop() {
        if let Err(error) = walker.read(&folder) {
            walker.bare.forget(&folder);
            if error.kind() != io::ErrorKind::NotFound {
                walker.walk.problems.push(Problem { path: root.join(&folder), error });
            }
        }
    }
    if within.as_os_str().is_empty() {
        walker.bare.end_walk();
    }
    Ok(walker.walk)
}

struct Walker<'a> {
    root: &'a Path,
    /// The root, open.
    top: OwnedFd,
    watch: &'a Watch,
    bare: &'a mut BareFolders,
    each: &'a mut dyn FnMut(PathBuf, FileStatus),
    /// Folders that are still to be read.
    left: Vec<PathBuf>,
    walk: Walk,
}

impl Walker<'_> {
    fn read(&mut self, folder: &Path) -> io::Result<()> {
        let Self { root, top, watch, bare, each, left, walk } = self;
        walk.folders += 1;
        pulse::beat();
        let version = match bare.is_on() {
            // From the top on: less of a way than by the whole path.
            true if !folder.as_os_str().is_empty() => Some(Version::of(&statat(top, folder, AtFlags::empty())?)),
            true => Some(Version::of(&fstat(top)?)),
            false => None,
        };
        if let Some(subfolders) = version.and_then(|version| bare.unchanged(folder, version)) {
            left.extend(subfolders.iter().map(|name| folder.join(name)));
            return Ok(());
        }
        let mut subfolders = Some(Vec::new());
        for entry in fs::read_dir(root.join(folder))? {
            pulse::beat();
            let entry = entry?;
            let below = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if watch.recursive && !watch.exclude.is_match(&below) && below.components().count() < DEPTH_MAX {
                    if let Some(subfolders) = &mut subfolders {
                        subfolders.push(entry.file_name());
                    }
                    left.push(below);
                }
            } else if is_aside(&below) {
                subfolders = None;
                // Otherwise it is gone, as it should be.
                if let Ok(metadata) = entry.metadata() {
                    walk.aside.push((below, FileStatus::from(&metadata)));
                }
            } else if watch.include.is_match(&below) && !watch.exclude.is_match(&below) {
                subfolders = None;
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
        if let Some(version) = version {
            bare.note(folder, version, subfolders);
        }
        Ok(())
    }
}
