//! On a real folder with the real inotify.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::{Hint, Watcher};

/// How long an event may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);

struct Room {
    folder: tempfile::TempDir,
    watcher: Watcher,
}

impl Room {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), watcher: Watcher::new().unwrap() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn make_folder(&self, below: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The hints up to the one about the file that is written now, without it. The file lies in a folder that is watched.
    fn hints_until(&self, last: &Path) -> Vec<Hint> {
        fs::write(last, b"the last one").unwrap();
        let (mut hints, end) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            let hint = self.watcher.hints().recv_deadline(end).unwrap_or_else(|_| panic!("no more than {hints:?}"));
            if hint == Hint::Finished(last.to_owned()) {
                hints.retain(|hint| *hint != Hint::Changed(last.to_owned()));
                return hints;
            }
            hints.push(hint);
        }
    }
}

#[test]
fn each_change_gives_its_hint() {
    let room = Room::new();
    let (drop, other) = (room.make_folder("drop"), room.make_folder("other"));
    room.watcher.watch(&drop, false).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| drop.join(name));
    fs::write(&a, b"1").unwrap();
    fs::rename(&a, &b).unwrap();
    fs::write(other.join("c"), b"1").unwrap();
    fs::rename(other.join("c"), &c).unwrap();
    fs::remove_file(&b).unwrap();
    let hints = room.hints_until(&drop.join("end"));
    let mut expected = vec![Hint::Changed(a.clone()), Hint::Changed(a.clone()), Hint::Finished(a.clone())];
    expected.extend([Hint::Removed(a), Hint::Finished(b.clone()), Hint::Finished(c), Hint::Removed(b)]);
    assert_eq!(hints, expected);
    assert!(!room.watcher.take_lost());
}

/// The bug: a mode or a time that was set after the close counted as a write, and the file as one that is being written.
#[test]
fn setting_a_mode_or_a_time_tells_of_no_writer() {
    let room = Room::new();
    let drop = room.make_folder("drop");
    let file = drop.join("a");
    fs::write(&file, b"1").unwrap();
    room.watcher.watch(&drop, false).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    // Of the two times alone, that of the content looks like a write.
    let times = fs::FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH).set_modified(SystemTime::UNIX_EPOCH);
    fs::File::open(&file).unwrap().set_times(times).unwrap();
    let mut hints = room.hints_until(&drop.join("end"));
    // The kernel may make one event of two that are alike.
    hints.dedup();
    assert_eq!(hints, [Hint::Status(file)]);
}

/// The bug: what was in a folder that could be read and not entered was not looked for once it could be.
#[test]
fn a_folder_whose_mode_is_set_is_told_of() {
    let room = Room::new();
    let drop = room.make_folder("drop");
    let below = room.make_folder("drop/below");
    room.watcher.watch(&drop, true).unwrap();
    for folder in [&below, &drop] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        let mut hints = room.hints_until(&drop.join("end"));
        // A folder below has two watches: its own, and that of the folder it is in.
        hints.dedup();
        assert_eq!(hints, [Hint::Folder(folder.clone())]);
    }
}

#[test]
fn looking_at_files_gives_no_hint() {
    let room = Room::new();
    let drop = room.make_folder("drop");
    fs::create_dir(drop.join("below")).unwrap();
    fs::write(drop.join("below/a"), b"1").unwrap();
    room.watcher.watch(&drop, true).unwrap();
    for _ in 0..10 {
        assert_eq!(fs::read_dir(drop.join("below")).unwrap().count(), 1);
        assert_eq!(fs::read(drop.join("below/a")).unwrap(), b"1");
    }
    assert_eq!(room.hints_until(&drop.join("end")), []);
}

/// A folder that is told of is watched by then, and so is what is below it: whatever comes into it gives a hint or is there
/// when the folder is read after its own hint.
#[test]
fn nothing_in_new_folders_is_overlooked() {
    let room = Room::new();
    let drop = room.make_folder("drop");
    room.watcher.watch(&drop, true).unwrap();
    for number in 0..300 {
        let folder = drop.join(format!("{number}/deep/deeper"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a"), b"1").unwrap();
    }
    let hints = room.hints_until(&drop.join("end"));
    for number in 0..300 {
        let file = drop.join(format!("{number}/deep/deeper/a"));
        let is_told = hints.iter().any(|hint| match hint {
            Hint::Finished(path) => *path == file,
            Hint::Folder(path) => file.starts_with(path),
            _ => false,
        });
        assert!(is_told, "{}", file.display());
    }
    // By now all of them are watched.
    fs::write(drop.join("299/deep/deeper/b"), b"1").unwrap();
    let later = room.hints_until(&drop.join("end"));
    assert!(later.contains(&Hint::Finished(drop.join("299/deep/deeper/b"))), "{later:?}");
}

#[test]
fn a_folder_that_is_renamed_is_known_by_its_new_name() {
    let room = Room::new();
    let (drop, elsewhere) = (room.make_folder("drop"), room.make_folder("elsewhere"));
    room.make_folder("drop/old/below");
    room.watcher.watch(&drop, true).unwrap();
    fs::rename(drop.join("old"), drop.join("new")).unwrap();
    let hints = room.hints_until(&drop.join("end"));
    assert_eq!(hints, [Hint::Removed(drop.join("old")), Hint::Folder(drop.join("new"))]);
    fs::write(drop.join("new/below/a"), b"1").unwrap();
    let hints = room.hints_until(&drop.join("end"));
    assert_eq!(hints.last(), Some(&Hint::Finished(drop.join("new/below/a"))));
    // Out of the watched folder: what happens there is no matter of ours.
    fs::rename(drop.join("new"), elsewhere.join("new")).unwrap();
    room.hints_until(&drop.join("end"));
    fs::write(elsewhere.join("new/below/b"), b"1").unwrap();
    assert_eq!(room.hints_until(&drop.join("end")), []);
}

#[test]
fn only_one_level_where_no_more_is_asked_for() {
    let room = Room::new();
    let drop = room.make_folder("drop");
    fs::create_dir(drop.join("there")).unwrap();
    room.watcher.watch(&drop, false).unwrap();
    fs::create_dir(drop.join("new")).unwrap();
    fs::write(drop.join("there/a"), b"1").unwrap();
    fs::write(drop.join("new/a"), b"1").unwrap();
    assert_eq!(room.hints_until(&drop.join("end")), [Hint::Folder(drop.join("new"))]);
}

#[test]
fn links_are_not_followed_but_the_watched_folder_may_be_one() {
    let room = Room::new();
    let (real, other) = (room.make_folder("real"), room.make_folder("other"));
    let drop = room.path("drop");
    std::os::unix::fs::symlink(&real, &drop).unwrap();
    std::os::unix::fs::symlink(&other, real.join("link")).unwrap();
    room.watcher.watch(&drop, true).unwrap();
    fs::write(other.join("a"), b"1").unwrap();
    assert_eq!(room.hints_until(&drop.join("end")), []);
}

#[test]
fn what_two_asked_for_stays_watched_when_one_lets_go() {
    let room = Room::new();
    let (drop, below) = (room.make_folder("drop"), room.make_folder("drop/below"));
    room.watcher.watch(&drop, true).unwrap();
    room.watcher.watch(&below, false).unwrap();
    room.watcher.watch(&below, false).unwrap();
    room.watcher.forget(&below, false);
    room.watcher.forget(&drop, true);
    fs::write(drop.join("a"), b"1").unwrap();
    assert_eq!(room.hints_until(&below.join("end")), []);
    room.watcher.forget(&below, false);
    let tree = room.watcher.tree.lock().unwrap();
    assert!(tree.roots.is_empty() && !tree.is_watched(&below) && !tree.is_watched(&drop));
}

#[test]
fn one_folder_under_two_names_gives_hints_for_both() {
    let room = Room::new();
    let real = room.make_folder("real");
    let link = room.path("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    room.watcher.watch(&real, false).unwrap();
    room.watcher.watch(&link, false).unwrap();
    fs::create_dir(real.join("new")).unwrap();
    let hints = room.hints_until(&link.join("end"));
    assert_eq!(hints.iter().filter(|hint| matches!(hint, Hint::Folder(_))).count(), 2, "{hints:?}");
    room.watcher.forget(&real, false);
    fs::create_dir(real.join("newer")).unwrap();
    let hints = room.hints_until(&link.join("end"));
    assert_eq!(hints, [Hint::Folder(link.join("newer"))]);
}

#[test]
fn a_watched_folder_that_goes_away_is_told_of() {
    let room = Room::new();
    let (drop, end) = (room.make_folder("drop"), room.make_folder("end"));
    room.watcher.watch(&end, false).unwrap();
    room.watcher.watch(&drop, true).unwrap();
    fs::remove_dir(&drop).unwrap();
    assert_eq!(room.hints_until(&end.join("end")), [Hint::Removed(drop.clone())]);
    assert!(!room.watcher.tree.lock().unwrap().is_watched(&drop), "the kernel's word that its watch ended");
    // The same name, another folder.
    fs::create_dir(&drop).unwrap();
    room.watcher.watch(&drop, true).unwrap();
    fs::rename(&drop, room.path("away")).unwrap();
    assert_eq!(room.hints_until(&end.join("end")), [Hint::Removed(drop)]);
}

#[test]
fn errors_when_the_folder_is_not_there() {
    let room = Room::new();
    let missing = room.path("missing");
    assert!(matches!(room.watcher.watch(&missing, true), Err(super::WatchFailure::Other(_))));
    let file = room.path("file");
    fs::write(&file, b"1").unwrap();
    assert!(matches!(room.watcher.watch(&file, true), Err(super::WatchFailure::Other(_))));
}
