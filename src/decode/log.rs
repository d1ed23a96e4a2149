//! Logs that are still being written, taken in parts: where a part begins, what was read, and how to know the file again.
//!
//! Rules:
//! - A file is known by its inode, its first bytes and the bytes before the place up to which it was taken. Only what lies
//!   behind that place is new.
//! - A file that lost some of its end and has what is known of its beginning goes on where it was cut, once nobody writes to
//!   it. One that begins otherwise, also before its first record, has no record as before, or is another one where it was taken,
//!   is a new log, which the ledger says beside it. The place of a cut
//!   is the smallest size that was seen; what may have been before that is told.
//! - A log that was rejected goes on when what was rejected is another.
//! - A compressed file is left out, also under another name later.
//! - A new log in the place of another that had a header may have none: then its first line reads as a record, and is not that
//!   header.
//! - A new file that holds all that was taken of a log which is not in its place any more is that log: a copy that was made
//!   before the log was cut short, or a newer version of it. Its parts are compared by their hashes.
//! - Of a copy that has less, as the log grew between the copy and the cut, only what it has beyond is taken: it was seen to be
//!   the beginning of the log before, or holds its first bytes or whole parts.
//! - A new file that is so far the beginning of another log, byte by byte, may be a copy that is being made: it waits for its
//!   end. Whether a copy is taken is for `duplicates`; one that is left out stays a copy if it gets records of its own while it
//!   waits. Of two new files of which one is the beginning of the other, that one
//!   waits until the other is known.
//!
//! Whether a place is the right one is decided here, and again by the writer, whose ledger may be further.

mod copies;
mod running;

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

pub use self::copies::WaitingCopies;
use self::copies::{Whose, age, copied_to, is_copy_of_newcomer, parts_within, whose};
pub use self::running::RunningHashes;
use self::running::{content_hashes, hash_bytes};
use super::open::{OpenFailure, SourceFile};
use super::reader::SourceReader;
use super::sink::{FinishedRows, SourceRows};
use super::{About, DecodeError, LogDecoder, Taken, packed};
use crate::lane::{Lane, Outcome, Stage};
use crate::source::{
    Candidate, Follow, HEAD_BYTES, LogState, Marks, NotFinished, Original, Part, PartRead, REJECTED_BYTES, bytes_at,
    tail_hash,
};
use crate::storage::lease::{Writers, writers};
use crate::storage::open_without_waiting;

const BLOCK_BYTES: usize = 256 << 10;
/// In so many bytes a log that was cut is searched for a record, each time that it is looked at while it waits.
const BEGINNING_BYTES_MAX: u64 = 4 << 10;
/// So many zeros at a log's beginning are told.
const ZEROS: usize = 16;
/// A whole copy of a log that is still in its place is one to keep only after this time: the log may be about to be cut.
const COPY_AGE: Duration = Duration::from_secs(1);

/// Where a part begins.
enum Start {
    /// A new log; with a word for the ledger. `begin`: where its first record begins, if the decoder is not to find that.
    /// `is_copy`: what is before that is a copy, which the ledger is told of even if nothing follows it.
    New { begin: Option<u64>, note: Option<String>, is_copy: bool },
    /// This log goes on. `is_elsewhere`: in another file than before, which the ledger is told of even if it holds nothing new.
    At { state: LogState, begin: u64, note: Option<String>, is_elsewhere: bool },
    /// Nothing is taken of it: a copy, up to where its last complete record ends, or a compressed file.
    LeftOut { state: Option<LogState>, head_at: u64, end: u64, note: Option<String> },
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
    let unreadable = OpenFailure::Unreadable;
    // It was cut since it was found, and what was cut off may be in a file that is to be taken before it.
    if follow.known.is_none() && !has_all_found(&source, candidate, follow).map_err(unreadable)? {
        return Ok(Outcome::NotFinished(NotFinished::Replaced));
    }
    let start = start(&source, about.path, follow, decoder, &lane.copies).map_err(unreadable)?;
    let is_copy = matches!(start, Start::New { is_copy: true, .. });
    let (state, begin, note, is_elsewhere) = match start {
        Start::Outcome(outcome) => return Ok(outcome),
        Start::New { begin, note, .. } => (None, begin, note, false),
        // Where nothing was taken yet, the decoder finds the first record anew: what comes before it may have been mended.
        Start::At { state, begin, note, is_elsewhere } => {
            let begin = (!state.part.is_empty()).then_some(begin);
            (Some(state), begin, note, is_elsewhere)
        }
        Start::LeftOut { state, head_at, end, note } => {
            return left_out(&source, state, head_at, end, note).map_err(unreadable);
        }
    };
    let started = std::time::Instant::now();
    let mut reader = SourceReader::at(&source, begin.unwrap_or(0)).unless(&lane.interrupted);
    let mut rows = rows();
    rows.has_other_checksum();
    let decoded = decoder.follow(&mut reader, begin, about, &mut rows);
    lane.tally.spend(Stage::Decode, started.elapsed());
    let Taken { first, end, rest, stopped } = match decoded {
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
    let is_told = state.is_some() && (note.is_some() || is_to_be_told) || is_copy;
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
    let waiting = source.size().saturating_sub(rest);
    let original = follow.originals.iter().find(|original| Some(&original.state) == state.as_ref());
    let has_name = original.is_some_and(|original| original.path == about.path);
    let is_renamed = follow.is_moved || is_elsewhere && !has_name;
    let left = (is_renamed && waiting > 0 && stopped.is_none()).then(|| {
        format!("it has another name than before, and {waiting} bytes behind its last record, which wait for the rest of one")
    });
    // Nothing has the log's own name: it was copied and deleted, or is gone, and another one begins as it did.
    let is_of_gone = is_elsewhere && !has_name && original.is_some_and(|original| !original.path.exists());
    let log = state.as_ref().map_or(0, |state| state.part.log);
    let gives_nothing = end <= begin && rows.rows() == 0;
    let anew = match gives_nothing {
        _ if !is_elsewhere || stopped.is_some() => None,
        true if has_name || is_of_gone => Some(format!(
            "the file is another one than before, and holds what was taken of the log as source {log}, byte by byte, and no \
             record more: it is taken for that log, put back or written anew with the same content, and these records give \
             no rows again"
        )),
        false if is_of_gone => Some(format!(
            "the file is another one than before, and its first {begin} bytes are all that was taken of the log as source \
             {log}, which is gone: it is taken for that log, and these bytes give no rows again"
        )),
        _ => None,
    };
    let FinishedRows { block, rows, note: loss, .. } = rows.finish();
    let note = join([note, loss, left, anew]);
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
    let marks = known.map(|state| &state.part.marks);
    let read = PartRead {
        marks: Marks::go_on(marks, source.file(), head_at, begin, end).map_err(unreadable)?,
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

/// Whether a file still has what it had when it was found. It may have been cut and be longer by now.
fn has_all_found(source: &SourceFile, candidate: &Candidate, follow: &Follow) -> io::Result<bool> {
    let found = candidate.identity.size;
    match follow.found_tail {
        _ if source.size() < found => Ok(false),
        Some(tail) => Ok(tail_hash(source.file(), found)? == tail),
        None => Ok(true),
    }
}

/// What is told, as one note.
fn join<const COUNT: usize>(notes: [Option<String>; COUNT]) -> Option<String> {
    notes.into_iter().flatten().reduce(|notes, note| format!("{notes}; {note}"))
}

/// A file of which nothing is taken, up to `end`, behind what was taken of it.
fn left_out(
    source: &SourceFile,
    state: Option<LogState>,
    head_at: u64,
    end: u64,
    note: Option<String>,
) -> io::Result<Outcome> {
    let begin = state.as_ref().map_or(0, |state| state.part.end);
    let mut hasher = blake3::Hasher::new();
    hash_bytes(source.file(), begin..end, |block| _ = hasher.update(block))?;
    let hash = hasher.finalize();
    let marks = state.as_ref().map(|state| &state.part.marks);
    let read = PartRead {
        marks: Marks::go_on(marks, source.file(), head_at, begin, end)?,
        state,
        begin,
        end,
        head_at,
        head: bytes_at(source.file(), head_at..end.min(head_at + HEAD_BYTES as u64))?,
        tail: tail_hash(source.file(), end)?,
        hash,
        hash_from: begin,
        own_hash: hash,
        stopped: None,
    };
    Ok(Outcome::Part { block: super::RowBlock::default(), rows: 0, read: Box::new(read), note })
}

fn start(
    source: &SourceFile,
    path: &Path,
    follow: &Follow,
    decoder: &dyn LogDecoder,
    copies: &WaitingCopies,
) -> io::Result<Start> {
    let (file, size) = (source.file(), source.size());
    let compression = packed::compression(path, || bytes_at(file, 0..packed::MAGIC_BYTES_MAX))?;
    if let Some(state) = &follow.known {
        let is_same = size >= state.part.end && state.part.is_of(file)?;
        return Ok(match is_same {
            true if compression.is_some() => {
                let head_at = state.part.head_at;
                Start::LeftOut { state: Some(state.clone()), head_at, end: size, note: None }
            }
            true => Start::At { state: state.clone(), begin: state.part.end, note: None, is_elsewhere: false },
            false => Start::Outcome(Outcome::NotFinished(NotFinished::Replaced)),
        });
    }
    let is_open = || writers(file) == Writers::Some;
    let wait = || Start::Outcome(Outcome::NotFinished(NotFinished::BeingWritten));
    if let Some(format) = compression {
        return Ok(match () {
            () if follow.only_continues => Start::Outcome(Outcome::Nothing),
            () if is_open() => wait(),
            () => {
                let note = format!(
                    "left out, as it is compressed ({format}): a rotated log is taken before it is compressed; unpack it \
                     under another name to have its records, or exclude it"
                );
                Start::LeftOut { state: None, head_at: 0, end: size, note: Some(note) }
            }
        });
    }
    if let Some(old) = follow.was() {
        let part = &old.part;
        if size >= part.end && part.is_of(file)? {
            return Ok(Start::At { state: old.clone(), begin: part.end, note: None, is_elsewhere: false });
        }
        // What stood before the first record is there again, alone.
        if size == 0 || size == part.head_at && part.marks.have_before(file, size)? == Some(true) {
            return Ok(Start::Outcome(Outcome::Nothing));
        }
        let cut_at = follow.cut_at.unwrap_or(u64::MAX).min(size);
        if cut_at < part.end && part.begins(file, cut_at)? {
            let wait = || Ok(Start::Outcome(Outcome::NotFinished(NotFinished::Cut(cut_at))));
            // Not gone through each time that it is looked at.
            if cut_at > part.head_at + BEGINNING_BYTES_MAX && is_open() {
                return wait();
            }
            let begin = match has_parts(file, follow, part, cut_at)? {
                true => decoder.boundary(file, known_place(follow, part, cut_at), cut_at)?,
                false => part.head_at,
            };
            // Where no record is left, or it is another one, it is a new log.
            if begin > part.head_at && is_open() {
                return wait();
            }
            if begin > part.head_at {
                let note = format!(
                    "the file was cut to {cut_at} bytes when {} of it had been taken; or to fewer, or written anew with \
                     the same beginning, and written to before this was seen: that cannot be told apart. It goes on \
                     behind its last whole record within these {cut_at} bytes; the rows of what was cut off stay, and \
                     what was written within these bytes since is not taken",
                    part.end
                );
                return Ok(Start::At { state: old.clone(), begin, note: Some(note), is_elsewhere: false });
            }
        }
    }
    let inode = file.metadata()?.ino();
    for original in follow.originals.iter() {
        let part = &original.state.part;
        let is_copy_up_to = |end| end > part.head_at || part.is_empty();
        let note = || format!("a copy of {}, which is source {}", original.path.display(), part.log);
        match whose(file, inode, size, original, path, copies, follow.skips_copies)? {
            Whose::Another => {}
            Whose::The => {
                let state = original.state.clone();
                return Ok(Start::At { state, begin: part.end, note: None, is_elsewhere: true });
            }
            // The log may be about to be cut, and grow before that.
            Whose::CopyOfIt if is_open() => {
                copies.keep(file, inode, part.log, size, false)?;
                return Ok(wait());
            }
            Whose::CopyOfIt if age(file)? < COPY_AGE => {
                copies.keep(file, inode, part.log, size, true)?;
                return Ok(wait());
            }
            Whose::CopyOfIt if follow.skips_copies => {
                let end = copied_to(file, size, original, decoder)?;
                if is_copy_up_to(end) {
                    return Ok(Start::LeftOut { state: None, head_at: part.head_at, end, note: Some(note()) });
                }
            }
            Whose::WasCopyOfIt(bytes) if !follow.only_continues => {
                let end = copied_to(file, bytes, original, decoder)?;
                if is_copy_up_to(end) {
                    let note = format!("its first {end} bytes are left out: {}", note());
                    return Ok(Start::New { begin: Some(end), note: Some(note), is_copy: true });
                }
            }
            Whose::CopyOfIt | Whose::WasCopyOfIt(_) => {}
        }
    }
    if follow.only_continues {
        return Ok(Start::Outcome(Outcome::Nothing));
    }
    let mut note = None;
    let is_gone = |old: &&LogState| !old.part.is_empty() && follow.before.is_none();
    if let Some(LogState { part, .. }) = follow.was().filter(is_gone) {
        note = Some(format!(
            "the file was written anew when {} bytes of it had been taken as source {}: what was written behind these and \
             before is known only if a copy of it lies in the watched folder",
            part.end, part.log
        ));
        let alike = decoder.boundary(file, part.head_at, part.head_at + part.alike(file)?)?;
        if alike > part.head_at {
            let word = "its first records are those of before: if it was cut, and written to since, the rows of what was \
                        kept are there twice";
            note = join([note, Some(word.to_owned())]);
        }
    }
    let (begin, word) = beginning(file, path, follow, decoder)?;
    let note = join([note, zeros(file, path, follow)?, word]);
    Ok(Start::New { begin, note, is_copy: false })
}

/// The log itself among those that a new file may be a copy of.
fn itself<'a>(follow: &'a Follow, part: &Part) -> Option<&'a Original> {
    follow.originals.iter().find(|original| original.state.part.log == part.log)
}

/// Whether a log that was cut to `size` bytes still has the parts that were taken of these, as far as they are known.
fn has_parts(file: &File, follow: &Follow, part: &Part, size: u64) -> io::Result<bool> {
    let parts = itself(follow, part).map(|original| parts_within(file, original, size)).transpose()?;
    Ok(parts.is_none_or(|verified| verified.is_some()))
}

/// The last place before `at` that is known to be one where a record of this log begins.
fn known_place(follow: &Follow, part: &Part, at: u64) -> u64 {
    itself(follow, part).map_or(part.head_at, |original| known_place_of(original, at))
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
    let before = log_before(follow, path);
    let Some(state) = before.map(|original| &original.state).or(follow.was()) else {
        return Ok((None, None));
    };
    if !decoder.header_reads_as_row(file)? {
        return Ok((None, None));
    }
    let part = &state.part;
    let other = before.map(|original| &original.path).filter(|other| *other != path).or(follow.before.as_ref());
    let other = other.and_then(|other| open_without_waiting(other).ok());
    let has_none = match other {
        // Its program may have been started again, and have written the header that an older one has.
        _ if part.head_at == 0 && !part.is_empty() => {
            let has_header = logs_before(follow, path)
                .map(|old| has_header_of(file, path, old, decoder))
                .find(|has| !matches!(has, Ok(false)));
            Some(!has_header.unwrap_or(Ok(false))?)
        }
        Some(other) if part.is_of(&other)? => {
            Some(!decoder.header_reads_as_row(&other)? || !decoder.have_same_header(file, &other)?)
        }
        _ => None,
    };
    Ok(match has_none {
        Some(true) => {
            let note = format!(
                "it begins without the header of source {}, in whose place it is: its first line is a row",
                part.log
            );
            (Some(0), Some(note))
        }
        // Names that could be a row, and stand here again.
        Some(false) => (None, None),
        None => {
            let note = "its first line reads as a row, and was passed over, as `header = true` says: the header of the log \
                        before it is not there to be held against it";
            (None, Some(note.to_owned()))
        }
    })
}

/// Whether a new log begins with the header of an older one, which has another name by now.
fn has_header_of(file: &File, path: &Path, old: &Original, decoder: &dyn LogDecoder) -> io::Result<bool> {
    let part = &old.state.part;
    if part.head_at == 0 || old.path == path {
        return Ok(false);
    }
    let Ok(other) = open_without_waiting(&old.path) else { return Ok(false) };
    Ok(part.is_of(&other)? && decoder.have_same_header(file, &other)?)
}

/// What is to be told of a log that begins with zeros where the one before it had something else.
fn zeros(file: &File, path: &Path, follow: &Follow) -> io::Result<Option<String>> {
    let Some(LogState { part, .. }) = log_before(follow, path).map(|original| &original.state).or(follow.was()) else {
        return Ok(None);
    };
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let found = bytes_at(file, part.head_at..part.head_at + ZEROS as u64)?;
    let was = part.taken_head().get(..ZEROS).unwrap_or_default();
    let note = "it begins with zeros, as the log before it did not: a program that does not open its log for appending \
                (O_APPEND) goes on where it was when the log is cut, and zeros lie before that; they are read as what they are";
    Ok((found.len() == ZEROS && is_zero(&found) && !is_zero(was)).then(|| note.to_owned()))
}

/// The newest of [`logs_before`].
fn log_before<'a>(follow: &'a Follow, path: &'a Path) -> Option<&'a Original> {
    logs_before(follow, path).max_by_key(|original| original.state.part.log)
}

/// Logs that had the file's name before.
fn logs_before<'a>(follow: &'a Follow, path: &'a Path) -> impl Iterator<Item = &'a Original> {
    follow.originals.iter().filter(move |original| original.first_path == path || original.path == path)
}
