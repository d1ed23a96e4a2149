//! The watcher: inotify's events as hints that something may have changed. A hint that is lost costs latency, never a file.
//!
//! One inotify instance for all folders, and one thread that reads it. The kernel is asked for changes only: not for
//! opening, reading or closing what was read, so that our own scans wake nobody.

mod events;
mod filesystem;
mod tree;

#[cfg(test)]
mod tests;

pub use filesystem::{keeps_change_times, sends_events};

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, bounded};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;

use events::Events;
use tree::{Root, Tree, locked, watch_below};

/// Hints that wait for the intake. Beyond this a rescan finds what they would have told.
const HINTS_MAX: usize = 65_536;

/// Something that an event told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A file may be new or changed.
    Changed(PathBuf),
    /// The mode, the times or the like of a file are others: it may be readable now. It does not tell of a writer.
    Status(PathBuf),
    /// A file was closed after writing, or came under this name as a whole.
    Finished(PathBuf),
    /// A folder is new under this name. It is watched, if those above it are watched with what is below them.
    Folder(PathBuf),
    /// Something was removed or renamed away; perhaps a watched folder.
    Removed(PathBuf),
    /// This new folder, or one below it, cannot be watched: `fs.inotify.max_user_watches` is reached.
    Unwatched(PathBuf),
}

/// See the module documentation.
#[derive(Debug)]
pub struct Watcher {
    tree: Arc<Mutex<Tree>>,
    hints: Receiver<Hint>,
    lost: Arc<AtomicBool>,
    /// Ends the thread.
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Why a folder is not watched.
#[derive(Debug)]
pub enum WatchFailure {
    /// `fs.inotify.max_user_watches` is reached.
    Limit,
    Other(io::Error),
}

impl From<Errno> for WatchFailure {
    fn from(error: Errno) -> Self {
        if error == Errno::NOSPC { Self::Limit } else { Self::Other(error.into()) }
    }
}

impl Watcher {
    /// # Errors
    /// There is no inotify instance to be had (`fs.inotify.max_user_instances`), or no thread.
    pub fn new() -> io::Result<Self> {
        let (to_intake, hints) = bounded(HINTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let inotify = Arc::new(inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?);
        let tree = Arc::new(Mutex::new(Tree::new(inotify.clone())));
        let events = Events { inotify, stop: stop.clone(), tree: tree.clone(), to_intake, lost: lost.clone() };
        let thread = Builder::new().name("npy-events".to_owned()).spawn(move || events.run())?;
        Ok(Self { tree, hints, lost, stop, thread: Some(thread) })
    }

    pub fn hints(&self) -> &Receiver<Hint> {
        &self.hints
    }

    /// Whether hints were lost since the last call.
    pub fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// Watches a folder, with `recursive` all that are below it and will be. What cannot be entered below it is left out.
    ///
    /// # Errors
    /// The folder itself cannot be watched, or the limit is reached: some of those below it may be watched.
    pub fn watch(&self, folder: &Path, recursive: bool) -> Result<(), WatchFailure> {
        let root = Root { folder: folder.to_owned(), recursive };
        locked(&self.tree).roots.push(root);
        watch_below(&self.tree, folder, recursive, true)
    }

    /// Whether the kernel still watches the folder of this name. It ends with the folder, though another one may have its name
    /// and its inode by now.
    pub fn is_watched(&self, folder: &Path) -> bool {
        locked(&self.tree).is_watched(folder)
    }

    /// Watches nothing any more: events were lost, and with them what became of the folders. Each is to be forgotten and watched
    /// again by those who asked for it.
    pub fn let_go(&self) {
        locked(&self.tree).remove_all();
    }

    /// Takes back a call of [`Self::watch`], whether it was successful or not.
    pub fn forget(&self, folder: &Path, recursive: bool) {
        locked(&self.tree).forget(folder, recursive);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Fails only if the counter is full, and then the thread is awake.
        rustix::io::write(&self.stop, &1u64.to_ne_bytes()).ok();
        if let Some(thread) = self.thread.take() {
            // Its panic was told when it happened.
            drop(thread.join());
        }
    }
}
