//! The thread that reads inotify's events.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Sender, TrySendError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{Event, ReadFlags, Reader};
use rustix::io::Errno;

use super::Hint;
use super::tree::{Tree, locked, watch_below};

/// Bytes of events that are read at a time: some 1,500.
const BUFFER: usize = 64 << 10;

/// See the module documentation.
pub struct Events {
    pub inotify: Arc<OwnedFd>,
    pub stop: Arc<OwnedFd>,
    pub tree: Arc<Mutex<Tree>>,
    pub to_intake: Sender<Hint>,
    pub lost: Arc<AtomicBool>,
}

impl Events {
    /// Until it is told to stop. Must never wait for the intake: the kernel's queue is short.
    pub fn run(self) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&*self.inotify, &mut buffer);
        let mut paths = Vec::new();
        loop {
            if reader.is_buffer_empty() {
                let [inotify, stop] = [&self.inotify, &self.stop].map(|file| PollFd::new(&**file, PollFlags::IN));
                let mut files = [inotify, stop];
                match poll(&mut files, None) {
                    Ok(_) if files.last().is_some_and(|stop| !stop.revents().is_empty()) => return,
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return self.end(error),
                }
            }
            match reader.next() {
                Ok(event) => self.take(&event, &mut paths),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return self.end(error),
            }
        }
    }

    /// From now on there are scans only.
    fn end(&self, error: Errno) {
        tracing::error!("reading events: {error}; files are found by rescans only, until a restart");
        self.lose();
    }

    /// `paths`: room for names, used again and again.
    fn take(&self, event: &Event, paths: &mut Vec<PathBuf>) {
        let what = event.events();
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.lose();
        }
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
        let path_of = |folder: &Arc<Path>| name.map_or_else(|| folder.to_path_buf(), |name| folder.join(name));
        {
            let mut tree = locked(&self.tree);
            paths.extend(tree.names(event.wd()).iter().map(path_of));
            // With its end, so that the intake, once it hears of that, finds it unwatched.
            if what.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::UNMOUNT) {
                tree.ended(event.wd());
            }
            if what.contains(ReadFlags::IGNORED) {
                paths.clear();
            }
        }
        for path in paths.drain(..) {
            if let Some(hint) = self.hint(what, path) {
                self.send(hint);
            }
        }
    }

    fn hint(&self, what: ReadFlags, path: PathBuf) -> Option<Hint> {
        if what.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::DELETE) {
            return Some(Hint::Removed(path));
        }
        let is_folder = what.contains(ReadFlags::ISDIR);
        if what.contains(ReadFlags::MOVED_FROM) {
            if is_folder {
                locked(&self.tree).remove_below(&path);
            }
            return Some(Hint::Removed(path));
        }
        if is_folder {
            // New, or one whose mode is another: what is in it may be looked at now.
            let is_new = what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO | ReadFlags::ATTRIB);
            return (is_new || !locked(&self.tree).is_watched(&path)).then(|| self.folder(path));
        }
        Some(if what.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
            Hint::Finished(path)
        } else if what.intersects(ReadFlags::CREATE | ReadFlags::MODIFY) {
            Hint::Changed(path)
        } else {
            Hint::Status(path)
        })
    }

    /// A new folder is watched before the intake hears of it and scans it: so nothing in it is overlooked.
    fn folder(&self, path: PathBuf) -> Hint {
        let is_wanted = locked(&self.tree).is_wanted_with_all_below(&path);
        if is_wanted && watch_below(&self.tree, &path, true, false).is_err() {
            return Hint::Unwatched(path);
        }
        Hint::Folder(path)
    }

    fn send(&self, hint: Hint) {
        if let Err(TrySendError::Full(_)) = self.to_intake.try_send(hint) {
            self.lose();
        }
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
        // Wakes the intake; if the queue is full, it is awake.
        drop(self.to_intake.try_send(Hint::Removed(PathBuf::new())));
    }
}
