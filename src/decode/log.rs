//! Logs that are still being written, taken in parts: where a part begins, what was read, and how to know the file again.
//!
//! Rules:
//! - A file is known by its inode, its first bytes and the bytes before the place up to which it was taken. Only what lies
//!   behind that place is new.
//! - A file that lost some of its end and begins as before goes on where it was cut, once nobody writes to it. One that
//!   begins otherwise, or is another one where it was taken, is a new log, which the ledger says beside it. The place of a cut
//!   is the smallest size that was seen; what may have been before that is told.
//! - A log that was rejected goes on when what was rejected is another.
//! - A new log in the place of another that had a header may have none: then its first line reads as a record.
//! - A new file that holds all that was taken of a log which is not in its place any more is that log: a copy that was made
//!   before the log was cut short, or a newer version of it. Its parts are compared by their hashes.
//! - A new file that is so far the beginning of another log, byte by byte, may be a copy that is being made: it waits for its
//!   end. Whether a copy is taken is for `duplicates`. Of two new files of which one is the beginning of the other, that one
//!   waits until the other is known.
//!
//! Whether a place is the right one is decided here, and again by the writer, whose ledger may be further.

mod running;

use std::cmp::Reverse;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::running::RunningHashes;
use self::running::{content_hashes, hash_bytes};
use super::open::{OpenFailure, SourceFile};
use super::reader::SourceReader;
use super::sink::{FinishedRows, SourceRows};
use super::{About, DecodeError, LogDecoder, Taken};
use crate::lane::{Lane, Outcome, Stage};
use crate::source::{
    Candidate, Follow, HEAD_BYTES, LogState, NotFinished, Original, Part, PartRead, REJECTED_BYTES, bytes_at,
    tail_hash, wall_clock_ns,
};
use crate::storage::lease::{Writers, writers};
use crate::storage::{FileStatus, open_without_waiting};

const BLOCK_BYTES: usize = 256 << 10;
const FIRST_BLOCK_BYTES: usize = 4 << 10;
/// A whole copy of a log that is still in its place is one to keep only after this time: the log may be about to be cut.
const COPY_AGE: Duration = Duration::from_secs(1);
/// Where a part begins.
enum Start {
    /// A new log; with a word for the ledger. `begin`: where its first record begins, if the decoder is not to find that.
    New { begin: Option<u64>, note: Option<String> },
    /// This log goes on. `is_elsewhere`: in another file than before, which the ledger is told of even if it holds nothing new.
    At { state: LogState, begin: u64, note: Option<String>, is_elsewhere: bool },
    /// A copy that is not to be taken, up to where its last complete record ends.
    Copy { head_at: u64, end: u64, note: String },
    /// Nothing, for now or for ever.
    Outcome(Outcome),
}

/// Takes what is new in a log.
pub(super) fn follow<'a>(
    lane: &Lane,
    candidate: &Candidate,
    decoder: &dyn LogDecoder,
    about: About<'_>,
    rows: impl FnOnce() -> SourceRows<'a>,
) -> Result<Outcome, OpenFailure> {
    let root = lane.options.root(candidate.place.folder);
    let source = SourceFile::open_growing(root, &candidate.place.below, candidate.identity)?;
    let source = match source.with(lane.options.watch.hard_links) {
        // A log may lose its other names at any time, and goes on then.
        Err(OpenFailure::Linked(names)) => return Ok(Outcome::NotFinished(NotFinished::Linked(names))),
        checked => checked?,
    };
    let Some(follow) = &candidate.follow else { return Ok(Outcome::Interrupted) };
    // It was cut since it was found, and what was cut off may be in a file that is to be taken before it.
    if follow.known.is_none() && source.size() < candidate.identity.size {
        return Ok(Outcome::NotFinished(NotFinished::Replaced));
    }
    let unreadable = OpenFailure::Unreadable;
    let (state, begin, note, is_elsewhere) = match start(&source, about.path, follow, decoder).map_err(unreadable)? {
        Start::Outcome(outcome) => return Ok(outcome),
        Start::New { begin, note } => (None, begin, note, false),
        // Where nothing was taken yet, the decoder finds the first record anew: what comes before it may have been mended.
        Start::At { state, begin, note, is_elsewhere } => {
            let begin = (!state.part.is_empty()).then_some(begin);
            (Some(state), begin, note, is_elsewhere)
        }
        Start::Copy { head_at, end, note } => return copy(&source, head_at, end, note).map_err(unreadable),
    };
    let started = std::time::Instant::now();
    let mut reader = SourceReader::at(&source, begin.unwrap_or(0)).unless(&lane.interrupted);
    let mut rows = rows();
    rows.has_other_checksum();
    let decoded = decoder.follow(&mut reader, begin, about, &mut rows);
    lane.tally.spend(Stage::Decode, started.elapsed());
    let Taken { first, end, stopped } = match decoded {
        Ok(taken) => taken,
        Err(error) => {
            rows.discard();
            return match error {
                DecodeError::Read(error) => Err(unreadable(error)),
                // It became shorter while it was read: it is looked at again.
                DecodeError::Rejected(_) => Ok(Outcome::NotFinished(NotFinished::Changed)),
                DecodeError::Interrupted => Ok(Outcome::Interrupted),
                DecodeError::NoProgram(reason) => Ok(Outcome::NoProgram { reason }),
            };
        }
    };
    let begin = begin.unwrap_or(first);
    if source.size_now().map_err(unreadable)? < end {
        rows.discard();
        return Ok(Outcome::NotFinished(NotFinished::Changed));
    }
    // A log that was renamed, or touched and ends where it did, need not be looked at again.
    let is_to_be_told = is_elsewhere || follow.is_moved || follow.known.is_some() && source.size() == end;
    let is_told = state.is_some() && (note.is_some() || is_to_be_told);
    // A new log is one from its first record on.
    if end <= begin && rows.rows() == 0 && stopped.is_none() && !is_told {
        rows.discard();
        return Ok(Outcome::Nothing);
    }
    // Not before it is known to give something, so that the other does as well: else it would be waited for for ever.
    let newcomers = &follow.newcomers;
    if state.is_none() && is_copy_of_newcomer(source.file(), about.path, newcomers).map_err(unreadable)? {
        rows.discard();
        return Ok(Outcome::NotFinished(NotFinished::BeingWritten));
    }
    let waiting = source.size().saturating_sub(end);
    let has_name = |original: &Original| original.path == about.path && Some(&original.state) == state.as_ref();
    let is_renamed = follow.is_moved || is_elsewhere && !follow.originals.iter().any(has_name);
    let left = (is_renamed && waiting > 0 && stopped.is_none()).then(|| {
        format!("it has another name than before, and {waiting} bytes behind its last record, which wait for the rest of one")
    });
    let FinishedRows { block, rows, note: loss, .. } = rows.finish();
    let note = join([note, loss, left]);
    let stopped = match stopped {
        Some(rejection) => {
            let rejected = bytes_at(source.file(), end..end + REJECTED_BYTES as u64).map_err(unreadable)?;
            Some((rejection.reason.into_owned(), rejected))
        }
        None => None,
    };
    let inode = candidate.identity.inode;
    let mut running = lane.running.take(inode, state.as_ref().map(|state| state.part.begin), begin);
    let (hash, own_hash) = content_hashes(&mut running, source.file(), begin..end).map_err(unreadable)?;
    let hash_from = running.from;
    lane.running.keep(inode, running);
    let known = state.as_ref().filter(|state| !state.part.is_empty());
    let head_at = known.map_or(first, |state| state.part.head_at);
    let read = PartRead {
        head: bytes_at(source.file(), head_at..end.min(head_at + HEAD_BYTES as u64)).map_err(unreadable)?,
        tail: tail_hash(source.file(), end).map_err(unreadable)?,
        state,
        begin,
        end,
        head_at,
        hash,
        hash_from,
        own_hash,
        stopped,
    };
    Ok(Outcome::Part { block, rows, read: Box::new(read), note })
}

/// What is told, as one note.
fn join<const COUNT: usize>(notes: [Option<String>; COUNT]) -> Option<String> {
    notes.into_iter().flatten().reduce(|notes, note| format!("{notes}; {note}"))
}

/// A file of which nothing is taken, because all of it is there already.
fn copy(source: &SourceFile, head_at: u64, end: u64, note: String) -> io::Result<Outcome> {
    let mut hasher = blake3::Hasher::new();
    hash_bytes(source.file(), 0..end, |block| _ = hasher.update(block))?;
    let hash = hasher.finalize();
    let read = PartRead {
        state: None,
        begin: 0,
        end,
        head_at,
        head: bytes_at(source.file(), head_at..end.min(head_at + HEAD_BYTES as u64))?,
        tail: tail_hash(source.file(), end)?,
        hash,
        hash_from: 0,
        own_hash: hash,
        stopped: None,
    };
    Ok(Outcome::Part { block: super::RowBlock::default(), rows: 0, read: Box::new(read), note: Some(note) })
}

fn start(source: &SourceFile, path: &Path, follow: &Follow, decoder: &dyn LogDecoder) -> io::Result<Start> {
    let (file, size) = (source.file(), source.size());
    if let Some(state) = &follow.known {
        let is_same = size >= state.part.end && state.part.is_of(file)?;
        return Ok(match is_same {
            true => Start::At { state: state.clone(), begin: state.part.end, note: None, is_elsewhere: false },
            false => Start::Outcome(Outcome::NotFinished(NotFinished::Replaced)),
        });
    }
    let is_open = || writers(file) == Writers::Some;
    let wait = || Start::Outcome(Outcome::NotFinished(NotFinished::BeingWritten));
    if let Some(old) = &follow.replaces {
        let part = &old.part;
        if size >= part.end && part.is_of(file)? {
            return Ok(Start::At { state: old.clone(), begin: part.end, note: None, is_elsewhere: false });
        }
        if size <= part.head_at {
            return Ok(Start::Outcome(Outcome::Nothing));
        }
        let cut_at = follow.cut_at.unwrap_or(u64::MAX).min(size);
        if cut_at < part.end && begins_alike(file, cut_at, part)? {
            if is_open() {
                return Ok(wait());
            }
            let begin = decoder.boundary(file, known_place(follow, part, cut_at), cut_at)?;
            let note = format!(
                "the file was cut to {cut_at} bytes when {} of it had been taken; or to fewer, or written anew with the \
                 same beginning, and written to before this was seen: that cannot be told apart. It goes on behind its \
                 last whole record within these {cut_at} bytes; the rows of what was cut off stay, and what was written \
                 within these bytes since is not taken",
                part.end
            );
            return Ok(Start::At { state: old.clone(), begin, note: Some(note), is_elsewhere: false });
        }
    }
    for original in follow.originals.iter() {
        let part = &original.state.part;
        match whose(file, size, original, path, follow.skips_copies)? {
            Whose::Another => {}
            Whose::The => {
                let state = original.state.clone();
                return Ok(Start::At { state, begin: part.end, note: None, is_elsewhere: true });
            }
            Whose::CopyOfIt if is_open() || age(file)? < COPY_AGE => return Ok(wait()),
            Whose::CopyOfIt if follow.skips_copies => {
                let end = copied_to(file, size, original, decoder)?;
                if end > part.head_at || part.is_empty() {
                    let note = format!("a copy of {}, which is source {}", original.path.display(), part.log);
                    return Ok(Start::Copy { head_at: part.head_at, end, note });
                }
            }
            Whose::CopyOfIt => {}
        }
    }
    if follow.only_continues {
        return Ok(Start::Outcome(Outcome::Nothing));
    }
    let mut note = None;
    let is_gone = |old: &&LogState| !old.part.is_empty() && follow.before.is_none();
    if let Some(LogState { part, .. }) = follow.replaces.as_ref().filter(is_gone) {
        note = Some(format!(
            "the file was written anew when {} bytes of it had been taken as source {}: what was written behind these and \
             before is known only if a copy of it lies in the watched folder",
            part.end, part.log
        ));
        let alike = decoder.boundary(file, part.head_at, part.head_at + bytes_alike(file, part)?)?;
        if alike > part.head_at {
            let word = "its first records are those of before: if it was cut, and written to since, the rows of what was \
                        kept are there twice";
            note = join([note, Some(word.to_owned())]);
        }
    }
    let (begin, word) = beginning(file, path, follow, decoder)?;
    Ok(Start::New { begin, note: join([note, word]) })
}

/// The last place before `at` that is known to be one where a record of this log begins.
fn known_place(follow: &Follow, part: &Part, at: u64) -> u64 {
    let original = follow.originals.iter().find(|original| original.state.part.log == part.log);
    original.map_or(part.head_at, |original| known_place_of(original, at))
}

fn known_place_of(original: &Original, at: u64) -> u64 {
    let head_at = original.state.part.head_at;
    // The newest comes first: older ones may be of what was cut off once.
    let mut begins = original.parts.iter().map(|(range, _)| range.start);
    begins.find(|begin| *begin <= at).map_or(head_at, |begin| begin.max(head_at))
}

/// Where a new log begins if it comes in the place of another that had a header, and has none; and what is to be told.
fn beginning(
    file: &File,
    path: &Path,
    follow: &Follow,
    decoder: &dyn LogDecoder,
) -> io::Result<(Option<u64>, Option<String>)> {
    let originals = follow.originals.iter().filter(|original| original.first_path == path || original.path == path);
    let before = originals.max_by_key(|original| original.state.part.log);
    let Some(state) = before.map(|original| &original.state).or(follow.replaces.as_ref()) else {
        return Ok((None, None));
    };
    if !decoder.header_reads_as_row(file)? {
        return Ok((None, None));
    }
    let part = &state.part;
    let other = before.map(|original| &original.path).filter(|other| *other != path).or(follow.before.as_ref());
    let other = other.and_then(|other| open_without_waiting(other).ok());
    let has_none = match other {
        _ if part.head_at == 0 && !part.is_empty() => Some(true),
        Some(other) if part.is_of(&other)? => Some(!decoder.header_reads_as_row(&other)?),
        _ => None,
    };
    Ok(match has_none {
        Some(true) => {
            let note =
                format!("it begins without a header, in the place of source {}: its first line is a row", part.log);
            (Some(0), Some(note))
        }
        // Names that could be a row.
        Some(false) => (None, None),
        None => {
            let note = "its first line reads as a row, and was passed over, as `header = true` says: the header of the log \
                        before it is not there to be held against it";
            (None, Some(note.to_owned()))
        }
    })
}

/// What a new file has to do with a known log.
enum Whose {
    Another,
    /// The log itself, in another file: what it was before is not there any more.
    The,
    /// So far, a copy of the log, which is still in its place.
    CopyOfIt,
}

fn whose(file: &File, size: u64, original: &Original, path: &Path, skips_copies: bool) -> io::Result<Whose> {
    let part = &original.state.part;
    // A log that was renamed is not copied and cut short any more, and what has its name now is the next one, which may begin
    // as it did. A copy of it under yet another name is one to leave out nevertheless.
    let may_be_copied = original.path == original.first_path || skips_copies && original.first_path != path;
    // Under its own name it is another file by now.
    let other = if original.path == path { None } else { open_without_waiting(&original.path).ok() };
    if let Some(other) = other.as_ref().filter(|_| may_be_copied && size > 0)
        && size <= other.metadata()?.len()
        && has_same_start(file, other, size)?
    {
        return Ok(Whose::CopyOfIt);
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
fn copied_to(file: &File, size: u64, original: &Original, decoder: &dyn LogDecoder) -> io::Result<u64> {
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
fn is_copy_of_newcomer(file: &File, path: &Path, newcomers: &[PathBuf]) -> io::Result<bool> {
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
fn age(file: &File) -> io::Result<Duration> {
    let changed_ns = FileStatus::from(&file.metadata()?).ctime_ns;
    Ok(Duration::from_nanos(u64::try_from(wall_clock_ns().saturating_sub(changed_ns)).unwrap_or(0)))
}

/// Whether the file's first bytes, before `end`, are those of the part, as far as these are known.
fn begins_alike(file: &File, end: u64, part: &Part) -> io::Result<bool> {
    let alike = bytes_alike(file, part)?;
    let known = end.saturating_sub(part.head_at).min(part.taken_head().len() as u64);
    Ok(known > 0 && alike >= known)
}

/// So many of the file's first bytes are those of the part, as far as these are known.
fn bytes_alike(file: &File, part: &Part) -> io::Result<u64> {
    let head = part.taken_head();
    let found = bytes_at(file, part.head_at..part.head_at + head.len() as u64)?;
    Ok(head.iter().zip(found).take_while(|(was, is)| **was == *is).count() as u64)
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
        super::step();
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
