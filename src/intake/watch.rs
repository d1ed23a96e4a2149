//! The notify watcher: hints that something may have changed. A hint that is lost costs latency, never a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Hints that wait for the intake. Beyond this a rescan finds what they would have told.
const HINTS_MAX: usize = 65_536;

/// Something that an event told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A file may be new or changed.
    Changed(PathBuf),
    /// A file was closed after writing, or came under this name as a whole.
    Finished(PathBuf),
    /// A folder is new under this name.
    Folder(PathBuf),
    /// Something was removed or renamed away; perhaps a watched folder.
    Removed(PathBuf),
}

/// One inotify instance for all watched folders.
pub struct Watcher {
    inner: RecommendedWatcher,
    hints: Receiver<Hint>,
    lost: Arc<AtomicBool>,
}

/// Why a folder is not watched.
#[derive(Debug)]
pub enum WatchFailure {
    /// `fs.inotify.max_user_watches` is reached.
    Limit,
    Other(notify::Error),
}

impl Watcher {
    pub fn new() -> notify::Result<Self> {
        let (to_intake, hints) = bounded(HINTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let handler = Handler { to_intake, lost: lost.clone() };
        let inner = notify::recommended_watcher(move |event| handler.handle(event))?;
        Ok(Self { inner, hints, lost })
    }

    pub fn hints(&self) -> &Receiver<Hint> {
        &self.hints
    }

    /// Whether hints were lost since the last call.
    pub fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    pub fn watch(&mut self, folder: &Path, recursive: bool) -> Result<(), WatchFailure> {
        let mode = if recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        self.inner.watch(folder, mode).map_err(|error| match error.kind {
            ErrorKind::MaxFilesWatch => WatchFailure::Limit,
            _ => WatchFailure::Other(error),
        })
    }

    /// Forgets a folder that is gone; it may not have been watched.
    pub fn forget(&mut self, folder: &Path) {
        drop(self.inner.unwatch(folder));
    }
}

struct Handler {
    to_intake: Sender<Hint>,
    lost: Arc<AtomicBool>,
}

impl Handler {
    /// Runs on notify's thread, and must never block it: the kernel's queue is short.
    fn handle(&self, event: notify::Result<notify::Event>) {
        let event = match event {
            Ok(event) if event.need_rescan() => return self.lose(),
            Ok(event) => event,
            Err(_) => return self.lose(),
        };
        let hint: fn(PathBuf) -> Hint = match event.kind {
            EventKind::Create(CreateKind::Folder) => Hint::Folder,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Hint::Finished,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Hint::Removed,
            // The pair of a rename within the watched folders; both halves come as events of their own as well.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
            EventKind::Modify(ModifyKind::Name(_)) => |path| {
                if path.is_dir() { Hint::Folder(path) } else { Hint::Finished(path) }
            },
            EventKind::Create(_) | EventKind::Modify(_) => Hint::Changed,
            // Reading, our own above all.
            EventKind::Access(_) | EventKind::Any | EventKind::Other => return,
        };
        for path in event.paths {
            match self.to_intake.try_send(hint(path)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => self.lose(),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
        // Wakes the intake; if the queue is full, it is awake.
        drop(self.to_intake.try_send(Hint::Removed(PathBuf::new())));
    }
}

/// Whether the filesystem below a folder tells of changes that other machines or programs make: not so network
/// filesystems and FUSE, where inotify sees only what this machine's kernel does.
pub fn sends_events(folder: &Path) -> bool {
    // From linux/magic.h and the filesystems' sources.
    const SILENT: &[u64] = &[
        0x6969,      // NFS
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB2
        0x517b,      // SMB
        0x6573_5546, // FUSE
        0x0102_1997, // 9P
        0x0bd0_0bd0, // Lustre
        0x00c3_6400, // Ceph
        0x5346_414f, // AFS
        0x7461_636f, // OCFS2
        0x0116_1970, // GFS2
        0x786f_4256, // VirtualBox shared folders
        0xbacb_acbc, // VMware shared folders
    ];
    match rustix::fs::statfs(folder) {
        // The type is a signed word on some machines.
        Ok(statistics) => !SILENT.contains(&(statistics.f_type as u64 & 0xffff_ffff)),
        Err(_) => true,
    }
}
