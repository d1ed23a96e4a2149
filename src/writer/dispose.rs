//! What becomes of a source's file once its fate is durable: kept, deleted, or moved, never over another file.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::relocate::{Asks, is_taken, make_file, move_if, move_to, remove_if};
use crate::config::Disposal;
use crate::source::{Identity, Place};
use crate::storage::file_name::{beside, first_free, fitting};
use crate::storage::{Access, Disk, read_exact_at, sync_names, write_all_at};

/// A source whose fate is durable, and what is to become of its file.
#[derive(Debug, Clone)]
pub struct Leaving {
    /// The dataset's place among the datasets.
    pub lane: usize,
    /// The ledger's number of the source.
    pub id: u64,
    /// The watched folder.
    pub root: PathBuf,
    pub place: Place,
    pub identity: Identity,
    pub disposal: Disposal,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// Whether it was to leave before: a crash may have left a copy of it where it goes.
    pub is_left: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposed {
    /// It stays; or it is not, or no longer, the file that the ledger means.
    No,
    Deleted,
    MovedTo(PathBuf),
}

/// What came of some of them, in their order.
pub type Results = Vec<(Leaving, io::Result<Disposed>)>;

/// Makes moves durable, each folder once. A file that a power cut brings back to where it was is read again, known by its
/// content, and disposed of then; so what is deleted needs no sync, nor does the folder that it was in.
pub fn sync_moves(disk: &dyn Disk, results: &mut Results) {
    let mut synced = BTreeMap::new();
    for (_, result) in results {
        let Ok(Disposed::MovedTo(path)) = result else { continue };
        let folder = path.parent().unwrap_or(Path::new("."));
        if let Err(error) = synced.entry(folder.to_owned()).or_insert_with(|| sync_names(disk, folder)) {
            let text = format!("it is {} by now, and syncing that folder failed: {error}", path.display());
            *result = Err(io::Error::new(error.kind(), text));
        }
    }
}

/// Disposes of a source, if it is still the one that is meant. A move is still to be made durable ([`sync_moves`]).
pub fn dispose(disk: &dyn Disk, leaving: &Leaving, asks: Asks<'_>) -> io::Result<Disposed> {
    let Leaving { root, place, identity, disposal, reason, is_left, .. } = leaving;
    let is_own = |path: &Path| if *is_left { (asks.is_own)(path) } else { Ok(false) };
    let asks = Asks { is_own: &is_own, is_listed: asks.is_listed.filter(|_| reason.is_some()), ..asks };
    if *disposal == Disposal::Keep {
        return Ok(Disposed::No);
    }
    let path = root.join(&place.below);
    match disk.status(&path)? {
        Some(status) if status.is_regular && Identity::from(&status) == *identity => {}
        _ => return Ok(Disposed::No),
    }
    match disposal {
        Disposal::Keep => Ok(Disposed::No),
        Disposal::Delete => {
            let is_gone = remove_if(disk, &path, *identity, asks)?;
            Ok(if is_gone { Disposed::Deleted } else { Disposed::No })
        }
        Disposal::Move(target) => {
            let wanted = target.join(&place.below);
            make_folders(disk, wanted.parent().unwrap_or(target))?;
            let moved_to = match reason {
                Some(reason) => move_with_reason(disk, &path, &wanted, *identity, reason, asks)?,
                None => move_if(disk, &path, &wanted, *identity, asks)?,
            };
            Ok(moved_to.map_or(Disposed::No, Disposed::MovedTo))
        }
    }
}

/// Makes a folder and those above it, durably: a file in a folder whose own name is lost is lost with it.
pub fn make_folders(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let mut made = Vec::new();
    for folder in folder.ancestors() {
        if disk.status(folder)?.is_some() {
            break;
        }
        made.push(folder);
    }
    if made.is_empty() {
        return Ok(());
    }
    disk.create_folders(folder)?;
    for above in made.into_iter().rev().filter_map(Path::parent) {
        sync_names(disk, above)?;
    }
    Ok(())
}

/// Moves a rejected source, with `NAME.reason.txt` beside it, to the first name that is free for both. The reason comes
/// first, durably: a crash then leaves a reason that the next attempt finds, and never a moved source without one.
fn move_with_reason(
    disk: &dyn Disk,
    from: &Path,
    wanted: &Path,
    identity: Identity,
    reason: &str,
    asks: Asks<'_>,
) -> io::Result<Option<PathBuf>> {
    first_free(beside(wanted), |target| {
        if is_taken(disk, from, target, asks)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let is_new = write_reason(disk, target, reason)?;
        let moved = move_to(disk, from, target, identity, asks);
        // It is another file by now, or somebody took the name in between.
        let is_for_nothing = match &moved {
            Ok(moved) => moved.is_none(),
            Err(error) => error.kind() == io::ErrorKind::AlreadyExists,
        };
        if is_new && is_for_nothing {
            disk.remove_file(&reason_path(target))?;
        }
        moved
    })
}

/// Writes the reason beside a source. `false`: it is there already.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`]: the name is taken by a file that says something else.
fn write_reason(disk: &dyn Disk, source: &Path, reason: &str) -> io::Result<bool> {
    let path = reason_path(source);
    let text = format!("{reason}\n");
    let Some(there) = disk.status(&path)? else {
        make_file(disk, &path, |file, _| write_all_at(file, &mut [IoSlice::new(text.as_bytes())], 0))?;
        return Ok(true);
    };
    if there.is_regular && there.size == text.len() as u64 {
        let mut found = vec![0; text.len()];
        read_exact_at(&*disk.open(&path, Access::Read)?, &mut found, 0)?;
        if found == text.as_bytes() {
            sync_names(disk, path.parent().unwrap_or(Path::new(".")))?;
            return Ok(false);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Where the reason stands beside a rejected source.
pub fn reason_path(source: &Path) -> PathBuf {
    fitting(source, "", ".reason.txt")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;
    use crate::writer::relocate::tests::identity;
    use std::fs;

    /// Disposes of the file below the folder, if it is this one.
    fn go(root: &Path, below: &str, identity: Identity, disposal: &Disposal, reason: Option<&str>) -> Disposed {
        let leaving = Leaving {
            lane: 0,
            id: 1,
            root: root.to_owned(),
            place: Place { folder: 0, below: below.into() },
            identity,
            disposal: disposal.clone(),
            reason: reason.map(str::to_owned),
            is_left: false,
        };
        dispose(&RealDisk, &leaving, Asks::NOTHING).unwrap()
    }

    #[test]
    fn a_move_keeps_the_folders_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (root, done) = (folder.path().join("drop"), folder.path().join("done"));
        fs::create_dir_all(root.join("cat")).unwrap();
        let disposal = Disposal::Move(done.clone());
        for (content, name) in [("one", "cat/a.jpg"), ("two", "cat/a.1.jpg")] {
            let path = root.join("cat/a.jpg");
            fs::write(&path, content).unwrap();
            let result = go(&root, "cat/a.jpg", identity(&path), &disposal, None);
            assert_eq!(result, Disposed::MovedTo(done.join(name)));
            assert_eq!(fs::read_to_string(done.join(name)).unwrap(), content);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_rejected_source_gets_its_reason_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "bad").unwrap();
        let failed = folder.path().join("failed");
        let disposal = Disposal::Move(failed.clone());
        go(folder.path(), "a.jpg", identity(&path), &disposal, Some("it is bad"));
        assert_eq!(fs::read_to_string(failed.join("a.jpg.reason.txt")).unwrap(), "it is bad\n");
    }

    /// The bug: it was replaced.
    #[test]
    fn a_file_of_the_users_with_the_name_of_a_reason_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, failed) = (folder.path().join("a.csv"), folder.path().join("failed"));
        fs::create_dir(&failed).unwrap();
        fs::write(failed.join("a.csv.reason.txt"), "of the user's").unwrap();
        let disposal = Disposal::Move(failed.clone());
        for name in ["a.1.csv", "a.2.csv"] {
            fs::write(&path, "bad").unwrap();
            let identity = identity(&path);
            // As a crash leaves it: the reason, and the source not moved yet.
            assert!(write_reason(&RealDisk, &failed.join(name), "it is bad").unwrap());
            let moved = go(folder.path(), "a.csv", identity, &disposal, Some("it is bad"));
            assert_eq!(moved, Disposed::MovedTo(failed.join(name)));
        }
        assert_eq!(fs::read_to_string(failed.join("a.csv.reason.txt")).unwrap(), "of the user's");
        assert_eq!(fs::read_dir(&failed).unwrap().count(), 5);
    }

    #[test]
    fn a_file_that_was_overwritten_meanwhile_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "old").unwrap();
        let old = identity(&path);
        fs::write(&path, "new content").unwrap();
        assert_eq!(go(folder.path(), "a.jpg", old, &Disposal::Delete, None), Disposed::No);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new content");
    }

    /// The bug: what `retry` had forgotten while it waited to be moved was moved, and no ledger had it.
    #[test]
    fn a_rejected_file_that_is_not_listed_any_more_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, failed) = (folder.path().join("a.jpg"), folder.path().join("failed"));
        for disposal in [Disposal::Delete, Disposal::Move(failed.clone())] {
            fs::write(&path, "bad").unwrap();
            let leaving = Leaving {
                lane: 0,
                id: 1,
                root: folder.path().to_owned(),
                place: Place { folder: 0, below: "a.jpg".into() },
                identity: identity(&path),
                disposal,
                reason: Some("it is bad".to_owned()),
                is_left: false,
            };
            let go = |leaving: &Leaving, is_listed| {
                // Nobody else has it meanwhile.
                let answer = || Ok(is_listed && !path.exists());
                dispose(&RealDisk, leaving, Asks { is_listed: Some(&answer), ..Asks::NOTHING }).unwrap()
            };
            assert_eq!(go(&leaving, false), Disposed::No);
            assert_eq!(fs::read_to_string(&path).unwrap(), "bad");
            assert!(!failed.exists() || fs::read_dir(&failed).unwrap().count() == 0, "no reason either");
            assert_ne!(go(&leaving, true), Disposed::No);
            assert!(!path.exists());
        }
    }
}
