//! What becomes of a source's file once its fate is durable: kept, deleted, or moved, never over another file.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use crate::config::Disposal;
use crate::source::{Identity, Place};
use crate::storage::{Access, Disk, write_all_at};

/// So many names are tried in the target folder before it is given up.
const NAMES_MAX: u32 = 10_000;
const COPY_BYTES: usize = 1 << 20;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposed {
    /// It stays; or it is not, or no longer, the file that the ledger means.
    No,
    Deleted,
    MovedTo(PathBuf),
}

/// Disposes of the source at `root/place.below`, if it is still the one with this identity.
pub fn dispose(
    disk: &dyn Disk,
    root: &Path,
    place: &Place,
    identity: Identity,
    disposal: &Disposal,
    reason: Option<&str>,
) -> io::Result<Disposed> {
    let path = root.join(&place.below);
    if *disposal == Disposal::Keep {
        return Ok(Disposed::No);
    }
    match disk.status(&path)? {
        Some(status) if status.is_regular && Identity::from(&status) == identity => {}
        _ => return Ok(Disposed::No),
    }
    let folder = path.parent().unwrap_or(root);
    match disposal {
        Disposal::Keep => Ok(Disposed::No),
        Disposal::Delete => {
            disk.remove_file(&path)?;
            disk.sync_folder(folder)?;
            Ok(Disposed::Deleted)
        }
        Disposal::Move(target) => {
            let wanted = target.join(&place.below);
            let target_folder = wanted.parent().unwrap_or(target);
            make_folders(disk, target_folder)?;
            let moved_to = match reason {
                Some(reason) => move_with_reason(disk, &path, &wanted, reason)?,
                None => move_beside(disk, &path, &wanted)?,
            };
            disk.sync_folder(target_folder)?;
            disk.sync_folder(folder)?;
            Ok(Disposed::MovedTo(moved_to))
        }
    }
}

/// Makes a folder and those above it, durably: a file in a folder whose own name is lost is lost with it.
fn make_folders(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
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
        disk.sync_folder(above)?;
    }
    Ok(())
}

/// Moves to the wanted name or, where that is taken, to `name.1.jpg`, `name.2.jpg`, and so on.
pub fn move_beside(disk: &dyn Disk, from: &Path, wanted: &Path) -> io::Result<PathBuf> {
    let mut target = wanted.to_owned();
    for number in 1..=NAMES_MAX {
        match disk.rename_no_replace(from, &target) {
            Ok(()) => return Ok(target),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => target = numbered(wanted, number),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => match copy_over(disk, from, &target) {
                Ok(()) => return Ok(target),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => target = numbered(wanted, number),
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{NAMES_MAX} files of this name are there already")))
}

/// Moves to another filesystem: a copy under a temporary name, made durable before the original goes.
fn copy_over(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let mut temporary = OsString::from(".");
    temporary.push(to.file_name().unwrap_or_default());
    temporary.push(".tmp");
    let temporary = folder.join(temporary);
    if disk.status(&temporary)?.is_some() {
        disk.remove_file(&temporary)?;
    }
    let source = disk.open(from, Access::Read)?;
    let target = disk.open(&temporary, Access::CreateNew)?;
    let mut block = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = match source.read_at(&mut block, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if read == 0 {
            break;
        }
        let part = block.get(..read).unwrap_or_default();
        write_all_at(&*target, &mut [IoSlice::new(part)], at)?;
        at += read as u64;
    }
    target.sync_data()?;
    let renamed = disk.rename_no_replace(&temporary, to);
    if renamed.is_err() {
        disk.remove_file(&temporary)?;
    }
    renamed?;
    disk.sync_folder(folder)?;
    disk.remove_file(from)
}

/// Moves a rejected source, with `NAME.reason.txt` beside it. The reason comes first, durably: a crash then leaves a reason
/// that the next attempt replaces, and never a moved source without one.
fn move_with_reason(disk: &dyn Disk, from: &Path, wanted: &Path, reason: &str) -> io::Result<PathBuf> {
    let mut target = wanted.to_owned();
    for number in 1..=NAMES_MAX {
        if disk.status(&target)?.is_none() {
            break;
        }
        target = numbered(wanted, number);
    }
    write_reason(disk, &target, reason)?;
    let moved_to = move_beside(disk, from, &target)?;
    if moved_to != target {
        // Somebody took the name in between.
        disk.remove_file(&reason_path(&target))?;
        write_reason(disk, &moved_to, reason)?;
    }
    Ok(moved_to)
}

fn write_reason(disk: &dyn Disk, source: &Path, reason: &str) -> io::Result<()> {
    let path = reason_path(source);
    if disk.status(&path)?.is_some() {
        disk.remove_file(&path)?;
    }
    let file = disk.open(&path, Access::CreateNew)?;
    write_all_at(&*file, &mut [IoSlice::new(reason.as_bytes()), IoSlice::new(b"\n")], 0)?;
    file.sync_data()?;
    disk.sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn reason_path(source: &Path) -> PathBuf {
    let mut name = source.file_name().unwrap_or_default().to_owned();
    name.push(".reason.txt");
    source.with_file_name(name)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;
    use std::fs;

    fn identity(path: &Path) -> Identity {
        Identity::from(&RealDisk.status(path).unwrap().unwrap())
    }

    fn place(below: &str) -> Place {
        Place { folder: 0, below: below.into() }
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
            let result = dispose(&RealDisk, &root, &place("cat/a.jpg"), identity(&path), &disposal, None).unwrap();
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
        dispose(&RealDisk, folder.path(), &place("a.jpg"), identity(&path), &disposal, Some("it is bad")).unwrap();
        assert_eq!(fs::read_to_string(failed.join("a.jpg.reason.txt")).unwrap(), "it is bad\n");
    }

    #[test]
    fn a_file_that_was_overwritten_meanwhile_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "old").unwrap();
        let old = identity(&path);
        fs::write(&path, "new content").unwrap();
        let result = dispose(&RealDisk, folder.path(), &place("a.jpg"), old, &Disposal::Delete, None).unwrap();
        assert_eq!(result, Disposed::No);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new content");
    }
}
