//! What is watched: for each watch descriptor of inotify the folder's names.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, WatchFlags};
use rustix::io::Errno;

use super::WatchFailure;

/// Changes of names, content and status, and the end of the folder itself.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);

/// A folder that somebody asked to be watched.
#[derive(Debug, PartialEq, Eq)]
pub struct Root {
    pub folder: PathBuf,
    /// With all that is below it.
    pub recursive: bool,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Tree {
    inotify: Arc<OwnedFd>,
    /// One entry for each time that it was asked for.
    pub roots: Vec<Root>,
    /// In the order of paths, so that a folder is followed by all that are below it.
    watches: BTreeMap<Arc<Path>, i32>,
    /// The names of each watch: several, if a folder is reached by several ways.
    names: HashMap<i32, Vec<Arc<Path>>>,
}

impl Tree {
    pub fn new(inotify: Arc<OwnedFd>) -> Self {
        Self { inotify, roots: Vec::new(), watches: BTreeMap::new(), names: HashMap::new() }
    }

    /// The names of the folder that an event is about; none if it is not watched any more.
    pub fn names(&self, watch: i32) -> &[Arc<Path>] {
        self.names.get(&watch).map_or(&[], Vec::as_slice)
    }

    pub fn is_watched(&self, folder: &Path) -> bool {
        self.watches.contains_key(folder)
    }

    /// Whether somebody asked for a folder, or for all that is below one above it.
    fn is_wanted(&self, folder: &Path) -> bool {
        self.is_wanted_with_all_below(folder) || self.roots.iter().any(|root| folder == root.folder)
    }

    pub fn is_wanted_with_all_below(&self, folder: &Path) -> bool {
        self.roots.iter().any(|root| root.recursive && folder.starts_with(&root.folder))
    }

    /// Watches one folder. A folder that was watched under this name before is not any more.
    fn add(&mut self, folder: &Path, follow_link: bool) -> Result<(), Errno> {
        let links = if follow_link { WatchFlags::empty() } else { WatchFlags::DONT_FOLLOW };
        let watch = inotify::add_watch(&self.inotify, folder, CHANGES | links)?;
        if self.watches.get(folder) == Some(&watch) {
            return Ok(());
        }
        self.remove(folder);
        let folder: Arc<Path> = folder.into();
        self.names.entry(watch).or_default().push(folder.clone());
        self.watches.insert(folder, watch);
        Ok(())
    }

    fn remove(&mut self, folder: &Path) {
        let Some(watch) = self.watches.remove(folder) else { return };
        let Some(names) = self.names.get_mut(&watch) else { return };
        names.retain(|name| **name != *folder);
        if names.is_empty() {
            self.names.remove(&watch);
            // Of a folder that is gone the kernel has removed it already.
            inotify::remove_watch(&self.inotify, watch).ok();
        }
    }

    /// The kernel does not watch it any more.
    pub fn ended(&mut self, watch: i32) {
        for name in self.names.remove(&watch).unwrap_or_default() {
            self.watches.remove(&name);
        }
    }

    /// A folder was renamed away, with all that is below it.
    pub fn remove_below(&mut self, folder: &Path) {
        for name in self.below(folder) {
            self.remove(&name);
        }
    }

    /// Watches nothing any more. What was asked for is still known.
    pub fn remove_all(&mut self) {
        for watch in std::mem::take(&mut self.names).into_keys() {
            inotify::remove_watch(&self.inotify, watch).ok();
        }
        self.watches.clear();
    }

    /// Takes back one request. What others asked for stays watched.
    pub fn forget(&mut self, folder: &Path, recursive: bool) {
        let Some(place) = self.roots.iter().position(|root| root.folder == folder && root.recursive == recursive)
        else {
            return;
        };
        self.roots.swap_remove(place);
        for name in self.below(folder) {
            if !self.is_wanted(&name) {
                self.remove(&name);
            }
        }
    }

    fn below(&self, folder: &Path) -> Vec<Arc<Path>> {
        let from = (Bound::Included(folder), Bound::Unbounded);
        self.watches
            .range::<Path, _>(from)
            .map(|(name, _)| name.clone())
            .take_while(|name| name.starts_with(folder))
            .collect()
    }
}

pub fn locked(tree: &Mutex<Tree>) -> MutexGuard<'_, Tree> {
    tree.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches a folder and, with `recursive`, all that are below it. Each is watched before it is read, so that a folder that
/// is made meanwhile is either read or gives an event. `is_root`: it must be there, and may be a symbolic link.
pub fn watch_below(tree: &Mutex<Tree>, folder: &Path, recursive: bool, is_root: bool) -> Result<(), WatchFailure> {
    let mut left = vec![folder.to_owned()];
    while let Some(below) = left.pop() {
        let follow_link = is_root && below == folder;
        // Held for one folder at a time: the thread of the events needs it too.
        match locked(tree).add(&below, follow_link) {
            Ok(()) => {}
            Err(error) if error == Errno::NOSPC || follow_link => return Err(error.into()),
            // Gone again, or not for us: the scan tells of it.
            Err(_) => continue,
        }
        if !recursive {
            break;
        }
        let Ok(entries) = fs::read_dir(&below) else { continue };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            }
        }
    }
    Ok(())
}
