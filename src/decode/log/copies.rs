//! Whether a new file is a log that is known already, or a copy of one.

use std::cmp::Reverse;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::running::hash_bytes;
use super::{BLOCK_BYTES, known_place_of};
use crate::decode::{LogDecoder, step};
use crate::source::{Original, bytes_at, wall_clock_ns};
use crate::storage::{FileStatus, open_without_waiting};

const FIRST_BLOCK_BYTES: usize = 4 << 10;
/// Files that are remembered while they wait.
const WAITING_MAX: usize = 256;

/// Files that wait though nobody writes to them, as they may be copies of a log that is about to be cut: by inode, the log, and
/// how many of their bytes are its beginning.
#[derive(Debug, Default)]
pub struct WaitingCopies(Mutex<Vec<(u64, u64, u64)>>);

impl WaitingCopies {
    pub(super) fn keep(&self, inode: u64, log: u64, bytes: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, of, _)| (*other, *of) != (inode, log));
        if all.len() >= WAITING_MAX {
            all.remove(0);
        }
        all.push((inode, log, bytes));
    }

    fn bytes_of(&self, inode: u64, log: u64) -> Option<u64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(other, of, _)| (*other, *of) == (inode, log)).map(|(.., bytes)| *bytes)
    }
}

/// What a new file has to do with a known log.
pub(super) enum Whose {
    Another,
    /// The log itself, in another file: what it was before is not there any more.
    The,
    /// So far, a copy of the log, which is still in its place.
    CopyOfIt,
    /// It was one when it had so many bytes.
    WasCopyOfIt(u64),
}

/// `waiting`: copies that were seen before, where they are left out.
pub(super) fn whose(
    file: &File,
    size: u64,
    original: &Original,
    path: &Path,
    waiting: Option<&WaitingCopies>,
) -> io::Result<Whose> {
    let part = &original.state.part;
    // A log that was renamed is not copied and cut short any more, and what has its name now is the next one, which may begin
    // as it did. A copy of it under yet another name is one to leave out nevertheless.
    let may_be_copied = original.path == original.first_path || waiting.is_some() && original.first_path != path;
    // Under its own name it is another file by now.
    let other = if original.path == path { None } else { open_without_waiting(&original.path).ok() };
    if let Some(other) = other.as_ref().filter(|_| may_be_copied && size > 0) {
        let other_size = other.metadata()?.len();
        if size <= other_size && has_same_start(file, other, size)? {
            return Ok(Whose::CopyOfIt);
        }
        let bytes = match waiting {
            Some(waiting) => waiting.bytes_of(file.metadata()?.ino(), part.log),
            None => None,
        };
        if let Some(bytes) = bytes.filter(|bytes| *bytes <= size.min(other_size))
            && has_same_start(file, other, bytes)?
        {
            return Ok(Whose::WasCopyOfIt(bytes));
        }
    }
    // Where nothing was taken and nothing is known, any file would be it.
    let is_known = !part.is_empty() || !part.rejected().is_empty();
    // The other file is looked at last: it may have been cut short just now.
    if !is_known || size < part.end || !part.is_of(file)? || !has_parts(file, original)? {
        return Ok(Whose::Another);
    }
    let is_intact = match &other {
        Some(other) => other.metadata()?.len() >= part.end && part.is_of(other)?,
        None => false,
    };
    Ok(if is_intact { Whose::Another } else { Whose::The })
}

/// Where the last whole record of a copy ends that is not to be taken.
pub(super) fn copied_to(file: &File, size: u64, original: &Original, decoder: &dyn LogDecoder) -> io::Result<u64> {
    let part = &original.state.part;
    match size {
        // It was copied before the log grew.
        size if size < part.end => decoder.boundary(file, known_place_of(original, size), size),
        _ if part.rejected().is_empty() => decoder.boundary(file, part.end, size),
        // Behind what was rejected nobody has taken anything.
        _ => Ok(part.end),
    }
}

/// Whether the file is byte by byte the beginning of another one that is as new, or the younger of two that are alike. It may
/// be looked at again when the other is known.
pub(super) fn is_copy_of_newcomer(file: &File, path: &Path, newcomers: &[PathBuf]) -> io::Result<bool> {
    let status = FileStatus::from(&file.metadata()?);
    let age = |status: FileStatus| (status.size, Reverse((status.ctime_ns, status.inode)));
    for newcomer in newcomers.iter().filter(|newcomer| *newcomer != path && status.size > 0) {
        let Ok(other) = open_without_waiting(newcomer) else { continue };
        let metadata = other.metadata()?;
        // Of two files one always comes before the other, so that they do not wait for each other.
        let is_older = age(FileStatus::from(&metadata)) > age(status);
        // One with further names may have to wait itself.
        if is_older && metadata.nlink() == 1 && has_same_start(file, &other, status.size)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Since its last change of name or content.
pub(super) fn age(file: &File) -> io::Result<Duration> {
    let changed_ns = FileStatus::from(&file.metadata()?).ctime_ns;
    Ok(Duration::from_nanos(u64::try_from(wall_clock_ns().saturating_sub(changed_ns)).unwrap_or(0)))
}

fn has_parts(file: &File, original: &Original) -> io::Result<bool> {
    let mut newer = u64::MAX;
    for (range, hash) in &original.parts {
        // What reaches beyond the beginning of a newer part was cut off since.
        if range.end > newer {
            continue;
        }
        newer = range.start;
        let mut hasher = blake3::Hasher::new();
        match hash_bytes(file, range.clone(), |block| _ = hasher.update(block)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            hashed => hashed?,
        }
        if hasher.finalize() != *hash {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Most files that differ do so at once: the first block is a page, and each further one four times as long.
fn has_same_start(one: &File, other: &File, size: u64) -> io::Result<bool> {
    let (mut at, mut block_bytes) = (0, FIRST_BLOCK_BYTES);
    while at < size {
        let end = size.min(at + block_bytes as u64);
        if bytes_at(one, at..end)? != bytes_at(other, at..end)? {
            return Ok(false);
        }
        step();
        at = end;
        block_bytes = BLOCK_BYTES.min(4 * block_bytes);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bug: a log and its copy that were both new in one scan were both taken, as neither was in the ledger.
    #[test]
    fn of_two_newcomers_that_are_alike_one_waits_for_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let newcomers = ["log", "copy", "begun", "other", "empty", "gone"].map(path);
        let contents = [("log", "1\n2\n"), ("copy", "1\n2\n"), ("begun", "1\n"), ("other", "2\n"), ("empty", "")];
        for (name, content) in contents {
            std::fs::write(path(name), content).unwrap();
        }
        let waits = |name: &str| {
            let file = File::open(path(name)).unwrap();
            is_copy_of_newcomer(&file, &path(name), &newcomers).unwrap()
        };
        assert_ne!(waits("copy"), waits("log"), "one of them is taken");
        assert!(waits("begun"));
        assert!(!waits("other"));
        assert!(!waits("empty"), "it is the beginning of any file");
        for name in ["log", "copy"] {
            std::fs::hard_link(path(name), path(&format!("{name}.linked"))).unwrap();
        }
        assert!(!waits("begun"), "nothing may be taken from a log that has several names");
    }
}
