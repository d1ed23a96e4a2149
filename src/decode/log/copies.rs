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
use crate::source::{Hash, Original, Part, bytes_at, tail_hash, wall_clock_ns};
use crate::storage::lease::{Writers, writers};
use crate::storage::{FileStatus, open_without_waiting};

const FIRST_BLOCK_BYTES: usize = 4 << 10;
/// Files that are remembered while they wait.
const WAITING_MAX: usize = 256;

/// Files that wait, as they may be copies of a log that is about to be cut.
#[derive(Debug, Default)]
pub struct WaitingCopies(Mutex<Vec<Waiting>>);

#[derive(Debug, Clone, Copy)]
struct Waiting {
    inode: u64,
    log: u64,
    /// So many of its bytes are the beginning of the log.
    bytes: u64,
    /// The hash of the last of them.
    tail: Hash,
    /// Nobody had it open for writing.
    is_closed: bool,
}

impl WaitingCopies {
    /// The file is the beginning of the log.
    pub(super) fn keep(&self, file: &File, inode: u64, log: u64, bytes: u64, is_closed: bool) -> io::Result<()> {
        let waiting = Waiting { inode, log, bytes, tail: tail_hash(file, bytes)?, is_closed };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was a copy when it was closed is known already.
        if !is_closed && all.iter().any(|one| (one.inode, one.log) == (inode, log) && one.is_closed) {
            return Ok(());
        }
        all.retain(|one| (one.inode, one.log) != (inode, log));
        if all.len() >= WAITING_MAX {
            all.remove(0);
        }
        all.push(waiting);
        Ok(())
    }

    fn forget(&self, waiting: &Waiting) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| (one.inode, one.log) != (waiting.inode, waiting.log));
    }

    fn get(&self, inode: u64, log: u64) -> Option<Waiting> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|one| (one.inode, one.log) == (inode, log)).copied()
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

/// `copies`: those that were seen before. `are_left_out`: also where the log is still there.
pub(super) fn whose(
    file: &File,
    inode: u64,
    size: u64,
    original: &Original,
    path: &Path,
    copies: &WaitingCopies,
    are_left_out: bool,
) -> io::Result<Whose> {
    let part = &original.state.part;
    let seen = copies.get(inode, part.log);
    // Most files differ at once.
    if seen.is_none() && !part.is_empty() && size > part.head_at && !part.has_head(file, size)? {
        return Ok(Whose::Another);
    }
    // A log that was renamed is not copied and cut short any more, and what has its name now is the next one, which may begin
    // as it did. A copy of it under yet another name is one to leave out nevertheless.
    let may_be_copied = original.path == original.first_path || are_left_out && original.first_path != path;
    // Under its own name it is another file by now.
    let other = if original.path == path { None } else { open_without_waiting(&original.path).ok() };
    if let Some(other) = other.as_ref().filter(|_| may_be_copied && size > 0) {
        let other_size = other.metadata()?.len();
        if size <= other_size && has_same_start(file, other, size)? {
            return Ok(Whose::CopyOfIt);
        }
        match seen {
            Some(Waiting { bytes, is_closed: true, .. })
                if are_left_out && bytes <= size.min(other_size) && has_same_start(file, other, bytes)? =>
            {
                return Ok(Whose::WasCopyOfIt(bytes));
            }
            // Both have begun alike.
            Some(seen) if !seen.is_closed && is_intact(other, part)? => copies.forget(&seen),
            _ => {}
        }
    }
    // Where nothing was taken and nothing is known, any file would be it.
    let is_known = !part.is_empty() || !part.rejected().is_empty();
    let may_be_it = is_known && size >= part.end && part.is_of(file)? && parts_within(file, original, size)?.is_some();
    let copied = match may_be_it {
        true => 0,
        false if may_be_copied => copied_before_cut(file, size, original, other.as_ref(), seen)?,
        false => 0,
    };
    if !may_be_it && copied == 0 {
        return Ok(Whose::Another);
    }
    // The other file is looked at last: it may have been cut short just now.
    let is_there = other.as_ref().map_or(Ok(false), |other| is_intact(other, part))?;
    Ok(match () {
        () if is_there => Whose::Another,
        () if may_be_it => Whose::The,
        () => Whose::WasCopyOfIt(copied),
    })
}

/// Whether the log is all there that was taken of it.
fn is_intact(file: &File, part: &Part) -> io::Result<bool> {
    Ok(file.metadata()?.len() >= part.end && part.is_of(file)?)
}

/// Of a file that has less than what was taken of a log: so many of its bytes are surely a copy of that, made before the log
/// grew and was cut. What was seen of it while the log was whole tells; or, where the log's file was changed after it, what
/// it holds.
fn copied_before_cut(
    file: &File,
    size: u64,
    original: &Original,
    other: Option<&File>,
    seen: Option<Waiting>,
) -> io::Result<u64> {
    let part = &original.state.part;
    if part.is_empty() {
        return Ok(0);
    }
    if let Some(Waiting { bytes, tail, .. }) = seen.filter(|seen| seen.bytes <= size.min(part.end))
        && tail_hash(file, bytes)? == tail
        && part.has_head(file, bytes)?
        && parts_within(file, original, bytes)?.is_some()
    {
        return Ok(parts_within(file, original, size)?.map_or(bytes, |end| end.max(bytes)));
    }
    // Nobody saw it before: an earlier run may have taken the log.
    let Some(cut) = other.map(File::metadata).transpose()?.map(|metadata| FileStatus::from(&metadata)) else {
        return Ok(0);
    };
    let is_younger = Some(cut.inode) == original.inode && cut.mtime_ns >= FileStatus::from(&file.metadata()?).mtime_ns;
    if !is_younger || size >= part.end || !part.has_head(file, size)? || writers(file) == Writers::Some {
        return Ok(0);
    }
    // All of it is in the bytes that the log is known by, or whole parts of it are those of the log. What is behind these may be
    // its own.
    let is_all_known = size <= part.head_at + part.taken_head().len() as u64;
    Ok(match parts_within(file, original, size)? {
        Some(_) if is_all_known => size,
        Some(end) if end > part.head_at => end,
        _ => 0,
    })
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

/// Whether the log's parts that end within `size` bytes are in the file: where the last one ends that was looked at, or `None`.
pub(super) fn parts_within(file: &File, original: &Original, size: u64) -> io::Result<Option<u64>> {
    let (mut newer, mut last) = (u64::MAX, 0);
    for (range, hash) in &original.parts {
        // What reaches beyond the beginning of a newer part was cut off since.
        if range.end > newer {
            continue;
        }
        newer = range.start;
        if range.end > size {
            continue;
        }
        let mut hasher = blake3::Hasher::new();
        match hash_bytes(file, range.clone(), |block| _ = hasher.update(block)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            hashed => hashed?,
        }
        if hasher.finalize() != *hash {
            return Ok(None);
        }
        last = last.max(range.end);
    }
    Ok(Some(last))
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
