//! Where a rejected source is that was moved away, for who has to know before it is forgotten.

use std::io;
use std::path::{Path, PathBuf};

use super::relocate::is_rounded;
use crate::config::{Dataset, Disposal};
use crate::ledger::Entry;
use crate::source::Identity;
use crate::storage::file_name::beside;
use crate::storage::{Access, Disk, FileStatus, fill};

/// The search for a source ends after so many names in a row that nobody has.
const FREE_NAMES_MAX: usize = 16;
const READ_BYTES: usize = 1 << 20;

/// Whether the file has the entry's inode, or its content.
pub fn is_it(disk: &dyn Disk, path: &Path, status: &FileStatus, entry: &Entry) -> io::Result<bool> {
    if Identity::from(status) == entry.identity {
        return Ok(true);
    }
    if status.size != entry.identity.size || entry.hash.is_none() {
        return Ok(false);
    }
    let file = disk.open(path, Access::Read)?;
    let (mut hasher, mut block, mut at) = (blake3::Hasher::new(), vec![0; READ_BYTES], 0);
    loop {
        let filled = fill(&mut block, |rest, filled| file.read_at(rest, at + filled))?;
        let part = block.get(..filled).unwrap_or_default();
        if part.is_empty() {
            return Ok(Some(hasher.finalize()) == entry.hash);
        }
        hasher.update(part);
        at += filled as u64;
    }
}

/// Where a rejected source lies of which it was not noted that it was moved, as a crash came before that: under the names that
/// it can have been given, but for those that the ledger knows to be another source's. A move within its disk has left it the
/// file that it was; a copy on another one has its time, as well as that disk can tell it, and its content.
pub fn find_moved(
    disk: &dyn Disk,
    options: &Dataset,
    entry: &Entry,
    is_others: &dyn Fn(&Path) -> io::Result<bool>,
) -> io::Result<Option<PathBuf>> {
    let Disposal::Move(target) = &options.watch.rejected else { return Ok(None) };
    let Some(place) = options.place_of(&options.base.join(&entry.path)) else { return Ok(None) };
    let (mut free, mut alike) = (0, Vec::new());
    for path in beside(&target.join(&place.below)) {
        match disk.status(&path)? {
            None if free == FREE_NAMES_MAX => break,
            None => free += 1,
            Some(status) => {
                free = 0;
                if !status.is_regular {
                    continue;
                }
                if Identity::from(&status) == entry.identity && !is_others(&path)? {
                    return Ok(Some(path));
                }
                if is_rounded(entry.identity.mtime_ns, status.mtime_ns) {
                    alike.push((path, status));
                }
            }
        }
    }
    for (path, status) in alike {
        if !is_others(&path)? && is_it(disk, &path, &status, entry)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The folder that has to be there before a source that was moved to this place counts as gone: `rejected_to` or, of one that
/// was moved elsewhere, the folder that it was moved to. `None`: it is there. Else its disk may not be mounted.
pub fn missing_folder<'a>(disk: &dyn Disk, options: &'a Dataset, moved_to: &'a Path) -> io::Result<Option<&'a Path>> {
    let folder = match &options.watch.rejected {
        Disposal::Move(target) if moved_to.starts_with(target) => target,
        _ => moved_to.parent().unwrap_or(Path::new("/")),
    };
    Ok(if disk.status(folder)?.is_none() { Some(folder) } else { None })
}
