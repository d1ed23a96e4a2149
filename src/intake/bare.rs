//! Folders in which a scan found nothing for us. As long as such a folder has not changed, a scan need not read it again: one
//! system call instead of five.
//!
//! The time at which its inode was changed is the kernel's alone to set, and any name that comes into a folder or leaves it sets
//! it. A change within the same tick of the clock leaves the same time behind: so a folder that was changed shortly before it
//! was read is read again. What may come without such a change, the content of a file, is looked at in all other folders.
//!
//! What is remembered of a walk lies in the order of the walk, every folder before those within it, so that the next walk reads
//! it from one end to the other: between two scans of an idle service all memory gets cold.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

/// Ticks are of some milliseconds.
const TICK_MAX: Duration = Duration::from_secs(2);
/// Of more folders nothing is remembered.
const FOLDERS_MAX: usize = 1 << 20;

/// What walks through one watched folder know of the folders in it.
#[derive(Debug, Default)]
pub struct BareFolders {
    /// The filesystem; what is mounted below is always read.
    device: Option<u64>,
    known: Folders,
}

/// A folder as it was before it was read.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    device: u64,
    inode: u64,
    changed_s: i64,
    changed_ns: u32,
    /// It had not been changed for long enough.
    is_old: bool,
}

/// The folders of one walk, each behind the folder that it is in, and folders in the same one by name.
#[derive(Debug, Default)]
struct Folders {
    folders: Vec<Folder>,
    names: Vec<u8>,
}

#[derive(Debug)]
struct Folder {
    /// As it was, if there was nothing for us in it.
    bare: Option<Version>,
    /// Where its name begins and ends.
    name: (u32, u32),
    /// Behind the last one within it.
    end: u32,
}

/// One walk, while it goes on: what is known, and what will be.
#[derive(Debug)]
pub struct Recall {
    device: Option<u64>,
    known: Folders,
    new: Folders,
}

impl Version {
    /// Now.
    pub fn of(folder: &Stat) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_secs(u64::try_from(folder.st_ctime).unwrap_or(u64::MAX));
        let is_old = now.checked_sub(changed).is_some_and(|age| age > TICK_MAX);
        // Below a thousand million.
        let changed_ns = folder.st_ctime_nsec as u32;
        Self { device: folder.st_dev, inode: folder.st_ino, changed_s: folder.st_ctime, changed_ns, is_old }
    }
}

impl Folders {
    fn push(&mut self, name: &[u8]) -> u32 {
        let (place, begin) = (self.folders.len(), self.names.len());
        self.names.extend_from_slice(name);
        // A million folders, with names of less than 256 bytes.
        self.folders.push(Folder { bare: None, name: (begin as u32, self.names.len() as u32), end: 0 });
        place as u32
    }

    fn name(&self, folder: &Folder) -> &[u8] {
        self.names.get(folder.name.0 as usize..folder.name.1 as usize).unwrap_or_default()
    }
}

impl BareFolders {
    /// For a watched folder on a filesystem that keeps its promise.
    pub fn on(device: u64) -> Self {
        Self { device: Some(device), known: Folders::default() }
    }

    /// A walk through all of the watched folder begins.
    pub fn recall(&mut self) -> Recall {
        let known = std::mem::take(&mut self.known);
        Recall { device: self.device, known, new: Folders::default() }
    }

    /// It is over: what it did not meet is gone.
    pub fn keep(&mut self, recall: Recall) {
        if !recall.is_full() {
            self.known = recall.new;
        }
    }
}

impl Recall {
    /// Whether anything can be remembered.
    pub fn is_on(&self) -> bool {
        self.device.is_some()
    }

    /// There are more than can be remembered: nothing will be.
    fn is_full(&self) -> bool {
        self.new.folders.len() > FOLDERS_MAX
    }

    /// The walk comes to a folder; its place in what will be known.
    pub fn enter(&mut self, name: &OsStr) -> u32 {
        if self.is_full() || !self.is_on() {
            return 0;
        }
        self.new.push(name.as_bytes())
    }

    /// The same, for a folder that is known.
    pub fn enter_again(&mut self, known: u32) -> u32 {
        match self.known.folders.get(known as usize) {
            Some(folder) if !self.is_full() => self.new.push(self.known.name(folder)),
            _ => 0,
        }
    }

    /// It was read. `version`: before that. `is_bare`: there were only folders in it.
    pub fn note(&mut self, place: u32, version: Version, is_bare: bool) {
        if let Some(folder) = self.new.folders.get_mut(place as usize) {
            folder.bare = (is_bare && version.is_old && self.device == Some(version.device)).then_some(version);
        }
    }

    /// The walk leaves it, and has been in all that is in it.
    pub fn leave(&mut self, place: u32) {
        let end = self.new.folders.len() as u32;
        if let Some(folder) = self.new.folders.get_mut(place as usize) {
            folder.end = end;
        }
    }

    /// The place of the watched folder itself in what is known.
    pub fn top(&self) -> Option<u32> {
        (!self.known.folders.is_empty()).then_some(0)
    }

    /// Whether a known folder is bare and has not changed since: then there is nothing in it but the known ones.
    pub fn is_unchanged(&self, known: u32, version: Version) -> bool {
        self.known.folders.get(known as usize).and_then(|folder| folder.bare).is_some_and(|bare| {
            (bare.device, bare.inode, bare.changed_s, bare.changed_ns)
                == (version.device, version.inode, version.changed_s, version.changed_ns)
        })
    }

    /// The places of what lies in a known folder.
    pub fn within(&self, known: Option<u32>) -> Range<u32> {
        let end_of = |known: u32| self.known.folders.get(known as usize).map(|folder| known + 1..folder.end);
        known.and_then(end_of).unwrap_or_default()
    }

    /// The first of these, which lie in one known folder, with its name; then come those behind it.
    pub fn next(&self, places: &mut Range<u32>) -> Option<(u32, &OsStr)> {
        let place = (places.start < places.end).then_some(places.start)?;
        let folder = self.known.folders.get(place as usize)?;
        places.start = folder.end;
        Some((place, OsStr::from_bytes(self.known.name(folder))))
    }

    /// The one of this name among them, when the names that are looked for ascend.
    pub fn find(&self, places: &mut Range<u32>, name: &OsStr) -> Option<u32> {
        loop {
            let before = places.clone();
            let (place, known) = self.next(places)?;
            match known.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Some(place),
                Ordering::Greater => {
                    *places = before;
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use globset::{Glob, GlobSetBuilder};

    use super::super::scan::walk;
    use super::*;
    use crate::config::{Changed, Disposal, Duplicates, HardLinks, Order, Watch, WatchMode};

    impl Folders {
        fn bare(&self) -> impl Iterator<Item = &Folder> {
            self.folders.iter().filter(|folder| folder.bare.is_some())
        }
    }

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
        assert_eq!(bare.known.bare().count(), 127);
        let (mut numbers, mut unlike) = (fastrand::Rng::with_seed(11), 0);
        for round in 0..400 {
            let mut random = |below: u64| numbers.u64(..below);
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
        assert!(bare.known.bare().next().is_some());
    }

    #[test]
    fn folders_that_were_just_changed_or_lie_elsewhere_are_not_remembered() {
        let room = tempfile::tempdir().unwrap();
        let root = room.path();
        fs::create_dir(root.join("new")).unwrap();
        let device = fs::metadata(root).unwrap().dev();
        let mut bare = BareFolders::on(device);
        files(root, &mut bare);
        assert!(bare.known.bare().next().is_none(), "{bare:?}");
        std::thread::sleep(TICK_MAX + Duration::from_millis(1100));
        let mut elsewhere = BareFolders::on(device + 1);
        files(root, &mut elsewhere);
        assert!(elsewhere.known.bare().next().is_none(), "{elsewhere:?}");
        files(root, &mut bare);
        assert_eq!(bare.known.bare().count(), 2);
        fs::remove_dir(root.join("new")).unwrap();
        files(root, &mut bare);
        assert_eq!(bare.known.folders.len(), 1, "{bare:?}");
    }
}
