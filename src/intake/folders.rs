//! The watched folders of one dataset: watched, polled, or missing.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::bare::BareFolders;
use super::watch::{WatchFailure, Watcher, keeps_change_times, sends_events};
use crate::config::{Watch, WatchMode};

/// A folder that sends no events is scanned this often, if `rescan` is not shorter.
const POLL: Duration = Duration::from_secs(1);

/// One watched folder.
#[derive(Debug)]
pub struct Folder {
    pub root: PathBuf,
    /// (device, inode) of the folder that is watched: a folder made anew under the same name needs a new watch.
    seen: Option<(u64, u64)>,
    is_watched: bool,
    /// What is watched of it is not known any more.
    is_overtaken: bool,
    was_missing: bool,
    /// Its filesystem is this machine's own.
    pub is_local: bool,
    pub bare: BareFolders,
}

/// Refuses watched folders that are one on the disk, or one inside another, by a symbolic link or a mount; as the config
/// refuses them where their paths tell it. Those that are not there are not compared.
///
/// # Errors
/// What was found, and what to do.
pub fn refuse_same_folders(watch: &Watch) -> Result<(), String> {
    let mut known: Vec<(&PathBuf, PathBuf, (u64, u64))> = Vec::new();
    for folder in &watch.folders {
        let (Ok(real), Ok(metadata)) = (folder.canonicalize(), fs::metadata(folder)) else { continue };
        let identity = (metadata.dev(), metadata.ino());
        let is_same = |other: &&(&PathBuf, PathBuf, (u64, u64))| {
            let is_around = watch.recursive && (real.starts_with(&other.1) || other.1.starts_with(&real));
            identity == other.2 || is_around
        };
        if let Some((other, other_real, other_identity)) = known.iter().find(is_same) {
            let how = if identity == *other_identity { "the same folder" } else { "one inside the other" };
            return Err(format!(
                "the watched folders {} and {} are {how} on the disk ({} and {}): their files would be taken twice; remove \
                 one of the two from `folders`",
                other.display(),
                folder.display(),
                other_real.display(),
                real.display()
            ));
        }
        known.push((folder, real, identity));
    }
    Ok(())
}

/// What a look at a folder found.
#[derive(Debug)]
pub enum Change {
    None,
    /// It is there, as if for the first time: everything in it is to be looked at.
    Appeared,
    /// It cannot be entered. `first`: it could before.
    Missing {
        error: io::Error,
        first: bool,
    },
}

impl Folder {
    pub fn new(root: PathBuf) -> Self {
        let (bare, seen) = (BareFolders::default(), None);
        Self { root, seen, is_watched: false, is_overtaken: false, was_missing: false, is_local: true, bare }
    }

    /// Events of it were lost: the next look watches it anew, with all that is below it by then.
    pub fn watch_again(&mut self) {
        self.is_overtaken = true;
    }

    /// Whether the last look did not find it, which was said at the first.
    pub fn is_missing(&self) -> bool {
        self.was_missing
    }

    /// How long until it should be scanned again, events or not.
    pub fn interval(&self, watch: &Watch) -> Duration {
        if self.is_watched { watch.rescan } else { watch.rescan.min(POLL) }
    }

    /// Looks whether the folder is there and the same as before, and watches it if it can be.
    pub fn check(&mut self, watch: &Watch, watcher: Option<&Watcher>) -> Change {
        let metadata = fs::metadata(&self.root).and_then(|metadata| {
            fs::read_dir(&self.root)?;
            Ok(metadata)
        });
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(error) => {
                let first = !std::mem::replace(&mut self.was_missing, true);
                if self.seen.take().is_some()
                    && let Some(watcher) = watcher
                {
                    watcher.forget(&self.root, watch.recursive);
                }
                self.is_watched = false;
                return Change::Missing { error, first };
            }
        };
        let identity = Some((metadata.dev(), metadata.ino()));
        // A folder that is removed and made anew may have the inode that it had, and is not watched any more.
        let is_overtaken = std::mem::take(&mut self.is_overtaken);
        let has_ended = |watcher: &Watcher| is_overtaken || !watcher.is_watched(&self.root);
        let is_unwatched = self.is_watched && watcher.is_some_and(has_ended);
        if self.seen == identity && !is_unwatched {
            return Change::None;
        }
        let replaced = self.seen.is_some();
        self.seen = identity;
        self.was_missing = false;
        self.is_local = sends_events(&self.root);
        self.bare = match keeps_change_times(&self.root) {
            true => BareFolders::on(metadata.dev()),
            false => BareFolders::default(),
        };
        self.is_watched = match watcher {
            Some(watcher) if self.wants_events(watch) => self.start_watching(watch, watcher, replaced),
            _ => false,
        };
        Change::Appeared
    }

    fn wants_events(&self, watch: &Watch) -> bool {
        match watch.mode {
            WatchMode::Events => true,
            WatchMode::Poll => false,
            WatchMode::Auto => {
                if !self.is_local {
                    tracing::info!(
                        folder = &*self.root.to_string_lossy(),
                        "its filesystem sends no events: polling it"
                    );
                }
                self.is_local
            }
        }
    }

    fn start_watching(&self, watch: &Watch, watcher: &Watcher, replaced: bool) -> bool {
        if replaced {
            watcher.forget(&self.root, watch.recursive);
        }
        match watcher.watch(&self.root, watch.recursive) {
            Ok(()) => return true,
            Err(WatchFailure::Limit) => self.tell_limit(),
            Err(WatchFailure::Other(error)) => {
                tracing::warn!(folder = &*self.root.to_string_lossy(), "it cannot be watched: {error}; polling it");
            }
        }
        watcher.forget(&self.root, watch.recursive);
        false
    }

    /// Something below it cannot be watched: from now on it is polled. Returns whether that is news.
    pub fn lose_watch(&mut self) -> bool {
        let was_watched = std::mem::replace(&mut self.is_watched, false);
        if was_watched {
            self.tell_limit();
        }
        was_watched
    }

    fn tell_limit(&self) {
        tracing::warn!(
            folder = &*self.root.to_string_lossy(),
            "the limit of inotify watches is reached: polling it; raise fs.inotify.max_user_watches for events"
        );
    }

    /// When it should be looked at next: for a missing one soon.
    pub fn next_check(&self, watch: &Watch, now: Instant) -> Instant {
        now + if self.was_missing { POLL.min(watch.rescan) } else { self.interval(watch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn watch(base: &Path, words: &str) -> Watch {
        let text = format!(
            "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2]\ndtype = 'u1'\n[dataset.watch]\n{words}\n\
             [dataset.records]\n"
        );
        config::parse(&text, &base.join("c.toml")).unwrap().datasets[0].watch.clone()
    }

    /// The bug: of two folders that are one by a link every scan read all files, and found all of them renamed.
    #[test]
    fn folders_that_are_one_on_the_disk_are_refused() {
        let base = tempfile::tempdir().unwrap();
        for folder in ["drop/sub", "other"] {
            fs::create_dir_all(base.path().join(folder)).unwrap();
        }
        for (link, target) in [("link", "drop"), ("sub", "drop/sub")] {
            std::os::unix::fs::symlink(target, base.path().join(link)).unwrap();
        }
        let refused = |words: &str| refuse_same_folders(&watch(base.path(), words)).err();
        assert!(refused("folders = ['drop', 'link']").unwrap().contains("are the same folder on the disk"));
        assert!(refused("folders = ['sub', 'drop']").unwrap().contains("are one inside the other on the disk"));
        assert_eq!(refused("folders = ['sub', 'drop']\nrecursive = false"), None);
        assert_eq!(refused("folders = ['drop', 'other', 'missing']"), None);
    }

    /// The bug: folders that were made or renamed while events were lost were never watched again.
    #[test]
    fn all_is_watched_anew_once_events_were_lost() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("drop");
        fs::create_dir_all(root.join("a")).unwrap();
        let (watch, watcher) = (watch(base.path(), "folders = ['drop']\nmode = 'events'"), Watcher::new().unwrap());
        let mut folder = Folder::new(root.clone());
        folder.check(&watch, Some(&watcher));
        watcher.let_go();
        fs::rename(root.join("a"), root.join("b")).unwrap();
        fs::create_dir(root.join("c")).unwrap();
        // Another dataset's, which has this folder watched, but nothing below it.
        assert!(watcher.watch(&root, false).is_ok());
        assert!(!watcher.is_watched(&root.join("b")));
        folder.watch_again();
        assert!(matches!(folder.check(&watch, Some(&watcher)), Change::Appeared));
        assert!(["b", "c"].iter().all(|name| watcher.is_watched(&root.join(name))));
        assert!(folder.is_watched && !watcher.is_watched(&root.join("a")));
        assert!(matches!(folder.check(&watch, Some(&watcher)), Change::None));
    }

    /// The bug: a folder that was made anew got the inode of the one before it, and sent no events any more.
    #[test]
    fn a_folder_whose_watch_has_ended_is_watched_again() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("drop");
        fs::create_dir(&root).unwrap();
        let (watch, watcher) = (watch(base.path(), "folders = ['drop']\nmode = 'events'"), Watcher::new().unwrap());
        let mut folder = Folder::new(root.clone());
        assert!(matches!(folder.check(&watch, Some(&watcher)), Change::Appeared));
        assert!(matches!(folder.check(&watch, Some(&watcher)), Change::None));
        fs::remove_dir(&root).unwrap();
        assert!(watcher.hints().recv().is_ok(), "it tells of its end");
        fs::create_dir(&root).unwrap();
        let metadata = fs::metadata(&root).unwrap();
        // As if the filesystem had given it the same inode, which most do.
        folder.seen = Some((metadata.dev(), metadata.ino()));
        assert!(matches!(folder.check(&watch, Some(&watcher)), Change::Appeared));
        assert!(folder.is_watched && watcher.is_watched(&root));
    }
}
