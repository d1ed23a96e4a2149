//! Folders in which a scan found nothing for us. As long as such a folder has not changed, a scan need not read it again: one
//! system call instead of five.
//!
//! The time at which its inode was changed is the kernel's alone to set, and any name that comes into a folder or leaves it sets
//! it. A change within the same tick of the clock leaves the same time behind: so a folder that was changed shortly before it
//! was read is read again. What may come without such a change, the content of a file, is looked at in all other folders.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

/// Ticks are of some milliseconds.
const TICK_MAX: Duration = Duration::from_secs(2);
/// No more are remembered.
const FOLDERS_MAX: usize = 1 << 20;

/// See the module documentation. Paths are below one watched folder.
#[derive(Debug, Default)]
pub struct BareFolders {
    /// The filesystem; what is mounted below is always read.
    device: Option<u64>,
    known: HashMap<OsString, Bare>,
    /// The number of this walk.
    walk: u64,
}

/// A folder as it was before it was read.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    device: u64,
    inode: u64,
    changed: (i64, u64),
    /// It had not been changed for long enough.
    is_old: bool,
}

#[derive(Debug)]
struct Bare {
    version: Version,
    subfolders: Box<[OsString]>,
    /// The last walk that came here.
    walk: u64,
}

impl Version {
    /// Now.
    pub fn of(folder: &Stat) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_secs(u64::try_from(folder.st_ctime).unwrap_or(u64::MAX));
        let is_old = now.checked_sub(changed).is_some_and(|age| age > TICK_MAX);
        let changed = (folder.st_ctime, folder.st_ctime_nsec);
        Self { device: folder.st_dev, inode: folder.st_ino, changed, is_old }
    }

    fn is_same(self, other: Self) -> bool {
        (self.device, self.inode, self.changed) == (other.device, other.inode, other.changed)
    }
}

impl BareFolders {
    /// For a watched folder on a filesystem that keeps its promise.
    pub fn on(device: u64) -> Self {
        Self { device: Some(device), ..Self::default() }
    }

    /// Whether anything can be remembered.
    pub fn is_on(&self) -> bool {
        self.device.is_some()
    }

    /// The folders within one that has not changed since it was found to hold nothing else.
    pub fn unchanged(&mut self, below: &Path, version: Version) -> Option<&[OsString]> {
        let bare = self.known.get_mut(below.as_os_str())?;
        bare.walk = self.walk;
        bare.version.is_same(version).then_some(&*bare.subfolders)
    }

    /// A folder was read. `version`: before that. `subfolders`: all that is in it, or `None` if there was something else.
    pub fn note(&mut self, below: &Path, version: Version, subfolders: Option<Vec<OsString>>) {
        match subfolders {
            Some(subfolders)
                if self.device == Some(version.device) && version.is_old && self.known.len() < FOLDERS_MAX =>
            {
                self.known.insert(
                    below.as_os_str().to_owned(),
                    Bare { version, subfolders: subfolders.into(), walk: self.walk },
                );
            }
            _ => drop(self.known.remove(below.as_os_str())),
        }
    }

    /// A folder cannot be read.
    pub fn forget(&mut self, below: &Path) {
        self.known.remove(below.as_os_str());
    }

    /// A walk through everything is over: what it did not meet is gone.
    pub fn end_walk(&mut self) {
        let walk = self.walk;
        self.known.retain(|_, bare| bare.walk == walk);
        self.walk += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    use globset::{Glob, GlobSetBuilder};

    use super::super::scan::walk;
    use super::*;
    use crate::config::{Changed, Disposal, Duplicates, HardLinks, Order, Watch, WatchMode};

    fn watch() -> Watch {
        let set = |pattern: &str| GlobSetBuilder::new().add(Glob::new(pattern).unwrap()).build().unwrap();
        Watch {
            folders: Vec::new(),
            folder_names: Vec::new(),
            include: set("**/*.png"),
            exclude: set("**/no"),
            recursive: true,
            settle: Duration::ZERO,
            mode: WatchMode::Auto,
            rescan: Duration::from_mins(1),
            order: Order::Name,
            after: Disposal::Keep,
            rejected: Disposal::Keep,
            changed: Changed::Ignore,
            duplicates: Duplicates::Append,
            hard_links: HardLinks::Take,
        }
    }

    fn files(root: &Path, bare: &mut BareFolders) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let walked = walk(root, Path::new(""), &watch(), bare, &mut |below, _| {
            found.insert(below);
        });
        assert!(walked.unwrap().problems.is_empty());
        found
    }

    /// Against a walk that remembers nothing: whatever is done to folders that are remembered, nothing is overlooked.
    #[test]
    fn a_walk_that_remembers_finds_what_any_walk_finds() {
        let room = tempfile::tempdir().unwrap();
        let root = room.path();
        for number in 0..60 {
            fs::create_dir_all(root.join(format!("{}/{number}/deep", number % 7))).unwrap();
        }
        fs::write(root.join("3/3/one.png"), b"1").unwrap();
        fs::write(root.join("4/4/other.txt"), b"1").unwrap();
        std::thread::sleep(TICK_MAX + Duration::from_millis(1100));
        let mut bare = BareFolders::on(fs::metadata(root).unwrap().dev());
        assert_eq!(files(root, &mut bare), [PathBuf::from("3/3/one.png")].into());
        // The root, seven, sixty and sixty, but the one with a picture.
        assert_eq!(bare.known.len(), 127);
        let (mut state, mut unlike) = (11_u64, 0);
        for round in 0..400 {
            let mut random = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let number = random(60);
            let (folder, kind) = (root.join(format!("{}/{number}", number % 7)), random(7));
            let deep = folder.join("deep");
            // What is there no more cannot be done.
            let result = match kind {
                0 => fs::write(deep.join(format!("{round}.png")), b"1"),
                1 => fs::write(folder.join(format!("{round}.png")), b"1"),
                2 => fs::rename(&folder, root.join(format!("moved-{round}"))),
                3 => fs::create_dir_all(deep.join("more")).and_then(|()| fs::write(deep.join("more/new.png"), b"1")),
                4 => fs::remove_dir_all(&folder),
                5 => fs::rename(deep.join("more"), root.join(format!("out-{round}"))),
                _ => fs::write(folder.join("no"), b"1")
                    .and_then(|()| fs::rename(folder.join("no"), folder.join("yes.png"))),
            };
            unlike += u32::from(result.is_ok());
            assert_eq!(files(root, &mut bare), files(root, &mut BareFolders::default()), "round {round}, kind {kind}");
        }
        assert!(unlike > 100, "{unlike}");
        assert!(!bare.known.is_empty());
    }

    #[test]
    fn folders_that_were_just_changed_or_lie_elsewhere_are_not_remembered() {
        let room = tempfile::tempdir().unwrap();
        let root = room.path();
        fs::create_dir(root.join("new")).unwrap();
        let device = fs::metadata(root).unwrap().dev();
        let mut bare = BareFolders::on(device);
        files(root, &mut bare);
        assert!(bare.known.is_empty(), "{bare:?}");
        std::thread::sleep(TICK_MAX + Duration::from_millis(1100));
        let mut elsewhere = BareFolders::on(device + 1);
        files(root, &mut elsewhere);
        assert!(elsewhere.known.is_empty(), "{elsewhere:?}");
        files(root, &mut bare);
        assert_eq!(bare.known.len(), 2);
        fs::remove_dir(root.join("new")).unwrap();
        files(root, &mut bare);
        assert!(!bare.known.contains_key(std::ffi::OsStr::new("new")), "{bare:?}");
    }
}
