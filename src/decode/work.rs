//! One candidate in the pool: open, read, hash, decode; and whatever happens, one message to the writer.

use std::any::Any;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::open::{OpenFailure, SourceFile};
use super::reader::SourceReader;
use super::sink::{FinishedRows, SourceRows};
use super::{About, DecodeError, Decoder, SOURCE_BYTES_MAX, log};
use crate::config::DecoderOptions;
use crate::lane::{Finished, Lane, Outcome, Stage, ToWriter};
use crate::pulse;
use crate::source::{Candidate, Hash};
use crate::storage::last_words;
use crate::suspects::TIMES_MAX;

/// A worker keeps its read buffer for the next source up to this size.
const KEPT_BUFFER_BYTES_MAX: usize = 16 << 20;

/// A read buffer that is given up where it has become too large, however its use ends: by a panic of the decoder, too.
struct Kept<'a>(&'a mut Vec<u8>);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if self.0.capacity() > KEPT_BUFFER_BYTES_MAX {
            *self.0 = Vec::new();
        }
    }
}

thread_local! {
    static SOURCE_BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Takes the candidate to its end and tells the writer. Never fails, never panics.
pub fn work(lane: &Lane, candidate: Candidate, to_writer: &Sender<ToWriter>) {
    let outcome = if lane.is_interrupted() {
        Outcome::Interrupted
    } else {
        catch_unwind(AssertUnwindSafe(|| take(lane, &candidate, to_writer))).unwrap_or_else(|panic| {
            // Our fault rather than the source's; but the other sources must go on.
            Outcome::Rejected { reason: format!("the decoder failed on it: {}", panic_text(&*panic)), hash: None }
        })
    };
    let message = ToWriter::Finished {
        lane: lane.index,
        finished: Box::new(Finished { candidate, outcome, decoded: Instant::now() }),
    };
    // The writer outlives the pool; if it is gone, there is nobody left to tell.
    drop(pulse::resting(|| to_writer.send(message)));
}

fn take(lane: &Lane, candidate: &Candidate, to_writer: &Sender<ToWriter>) -> Outcome {
    let root = lane.options.root(candidate.place.folder);
    let (path, extension) = (root.join(&candidate.place.below), candidate.place.extension());
    let about = About { path: &path, extension: extension.as_deref(), interrupted: &lane.interrupted };
    let rows = || SourceRows::new(lane, candidate.sequence, to_writer);
    let open = || {
        SourceFile::open(root, &candidate.place.below, candidate.identity, candidate.writer_was_seen)
            .and_then(|source| source.with(lane.options.watch.hard_links))
    };
    let times = lane.suspects.times(candidate.identity);
    if times >= TIMES_MAX {
        return open()
            .and_then(|source| suspected(lane, candidate, &source, times))
            .unwrap_or_else(|failure| failed(candidate, failure));
    }
    // A log that is followed is another one with each line, and what reads it is ours.
    let is_followed = candidate.follow.is_some();
    let words = if is_followed { None } else { lane.suspects.last_words(&path, candidate.identity) };
    let taken = last_words::during(words.as_ref(), || match &lane.decoder {
        Decoder::Whole(decoder) => open()
            .and_then(|source| whole(lane, candidate, &source, rows, |bytes, rows| decoder.decode(bytes, about, rows))),
        Decoder::Stream(decoder) => open().and_then(|source| {
            stream(lane, candidate, &source, rows, |reader, rows| decoder.decode(reader, about, rows))
        }),
        Decoder::File(decoder) => {
            open().and_then(|source| file(lane, candidate, &source, rows, |rows| decoder.decode(&source, about, rows)))
        }
        Decoder::Log(decoder) => log::follow(lane, candidate, &**decoder, about, rows),
    });
    taken.unwrap_or_else(|failure| failed(candidate, failure))
}

fn needs_no_rows(lane: &Lane, candidate: &Candidate, hash: &Hash) -> bool {
    lane.options.watch.needs_no_rows(candidate.known_hash, hash)
}

/// Not decoded again: it ended the program so many times.
fn suspected(lane: &Lane, candidate: &Candidate, source: &SourceFile, times: usize) -> Result<Outcome, OpenFailure> {
    let hash = SourceReader::new(source).finish(|| lane.is_interrupted())?;
    Ok(match hash {
        None => Outcome::Interrupted,
        Some(hash) if needs_no_rows(lane, candidate, &hash) => Outcome::Unchanged { hash },
        Some(_) => Outcome::Rejected {
            reason: format!(
                "the program ended {times} times while it decoded it, the last time alone: a fault of the decoder, no end, or want of memory; \
                 convert it with another program, or give it another chance with `npy-ingest retry`"
            ),
            hash,
        },
    })
}

/// All bytes in memory, hashed before they are decoded.
fn whole<'a>(
    lane: &Lane,
    candidate: &Candidate,
    source: &SourceFile,
    rows: impl FnOnce() -> SourceRows<'a>,
    decode: impl FnOnce(&[u8], &mut SourceRows<'a>) -> Result<(), DecodeError>,
) -> Result<Outcome, OpenFailure> {
    if source.size() > SOURCE_BYTES_MAX {
        let (size, max) = (source.size(), SOURCE_BYTES_MAX);
        let reason = format!("the file has {size} bytes, more than the limit of {max}: split it, or make it smaller");
        return Ok(Outcome::Rejected { reason, hash: None });
    }
    let started = Instant::now();
    SOURCE_BYTES.with_borrow_mut(|bytes| {
        let Kept(bytes) = &mut Kept(bytes);
        source.read_all(bytes)?;
        let hash = blake3::hash(bytes);
        if needs_no_rows(lane, candidate, &hash) {
            return Ok(Outcome::Unchanged { hash });
        }
        let read = Instant::now();
        lane.tally.spend(Stage::Read, read - started);
        pulse::beat();
        let mut rows = rows();
        let decoded = decode(bytes, &mut rows);
        lane.tally.spend(Stage::Decode, read.elapsed());
        Ok(outcome(candidate, decoded, rows, Some(hash)))
    })
}

/// One pass. Where the ledger expects a content, the file is read before, for it may be just that.
fn stream<'a>(
    lane: &Lane,
    candidate: &Candidate,
    source: &SourceFile,
    rows: impl FnOnce() -> SourceRows<'a>,
    decode: impl FnOnce(&mut SourceReader<'_>, &mut SourceRows<'a>) -> Result<(), DecodeError>,
) -> Result<Outcome, OpenFailure> {
    let is_interrupted = || lane.is_interrupted();
    if candidate.known_hash.is_some() {
        let Some(hash) = SourceReader::new(source).finish(is_interrupted)? else { return Ok(Outcome::Interrupted) };
        if needs_no_rows(lane, candidate, &hash) {
            return Ok(Outcome::Unchanged { hash });
        }
    }
    let started = Instant::now();
    let mut reader = SourceReader::new(source).unless(&lane.interrupted);
    let mut rows = rows();
    let decoded = decode(&mut reader, &mut rows);
    lane.tally.spend(Stage::Decode, started.elapsed());
    if matches!(decoded, Err(DecodeError::Interrupted | DecodeError::Read(_))) {
        return Ok(outcome(candidate, decoded, rows, None));
    }
    // A file that changed meanwhile is not finished, whatever was made of it.
    match reader.finish(is_interrupted)? {
        Some(hash) => Ok(outcome(candidate, decoded, rows, Some(hash))),
        None => Ok(Outcome::Interrupted),
    }
}

/// Hashed first, decoded by somebody who reads the file himself, and seen to be the same file afterwards.
fn file<'a>(
    lane: &Lane,
    candidate: &Candidate,
    source: &SourceFile,
    rows: impl FnOnce() -> SourceRows<'a>,
    decode: impl FnOnce(&mut SourceRows<'a>) -> Result<(), DecodeError>,
) -> Result<Outcome, OpenFailure> {
    let Some(hash) = SourceReader::new(source).finish(|| lane.is_interrupted())? else {
        return Ok(Outcome::Interrupted);
    };
    if needs_no_rows(lane, candidate, &hash) {
        return Ok(Outcome::Unchanged { hash });
    }
    let started = Instant::now();
    let mut rows = rows();
    let decoded = decode(&mut rows);
    lane.tally.spend(Stage::Decode, started.elapsed());
    if !matches!(decoded, Err(DecodeError::Interrupted)) {
        source.check_unchanged()?;
        let root = lane.options.root(candidate.place.folder);
        match source.check_place(root, &candidate.place.below) {
            Err(OpenFailure::Gone) if matches!(lane.options.decoder, DecoderOptions::Command(_)) => {
                rows.discard();
                return went_away(lane, candidate, source, hash);
            }
            checked => checked?,
        }
    }
    Ok(outcome(candidate, decoded, rows, Some(hash)))
}

/// A source that lost its name while a program of the user's read it. If it still has one, a scan finds it there.
fn went_away(lane: &Lane, candidate: &Candidate, source: &SourceFile, hash: Hash) -> Result<Outcome, OpenFailure> {
    if source.is_deleted().map_err(OpenFailure::Unreadable)? {
        const DELETED: &str = "the file was deleted while the program read it, so that its rows were dropped: a program has to \
                               leave its source alone (`after` moves or deletes sources whose rows are durable); put the file \
                               back to have it taken";
        return Ok(Outcome::Rejected { reason: DELETED.to_owned(), hash: Some(hash) });
    }
    tracing::warn!(
        dataset = lane.options.name,
        source = ?lane.path_of(&candidate.place),
        "the file was moved away while the program read it, so that its rows were dropped: a program has to leave its source \
         alone (`after` moves sources whose rows are durable)"
    );
    Ok(Outcome::Gone)
}

fn outcome(
    candidate: &Candidate,
    decoded: Result<(), DecodeError>,
    rows: SourceRows<'_>,
    hash: Option<Hash>,
) -> Outcome {
    match (decoded, hash) {
        (Ok(()), _) if rows.rows() == 0 => {
            // What was left out is why.
            let reason = match rows.noted() {
                Some(note) => format!("it gives no rows: {note}"),
                None => "it gives no rows".to_owned(),
            };
            rows.discard();
            Outcome::Rejected { reason, hash }
        }
        (Ok(()), Some(hash)) => {
            let FinishedRows { block, rows, checksum, note } = rows.finish();
            Outcome::Rows { block, rows, checksum: checksum.unwrap_or(hash), hash, note }
        }
        (Err(DecodeError::Rejected(rejection)), hash) => {
            rows.discard();
            Outcome::Rejected { reason: rejection.reason.into_owned(), hash }
        }
        (Err(DecodeError::Read(error)), _) => {
            rows.discard();
            failed(candidate, OpenFailure::Unreadable(error))
        }
        (Err(DecodeError::NoProgram(reason)), _) => {
            rows.discard();
            Outcome::NoProgram { reason }
        }
        (Err(DecodeError::Interrupted) | Ok(()), _) => {
            rows.discard();
            Outcome::Interrupted
        }
    }
}

fn failed(candidate: &Candidate, failure: OpenFailure) -> Outcome {
    match failure {
        OpenFailure::Gone => Outcome::Gone,
        OpenFailure::NotFinished(why) => Outcome::NotFinished(why),
        OpenFailure::Linked(names) => Outcome::Rejected {
            reason: format!(
                "the file has {names} names (hard links), and the config has hard_links = \"refuse\": copy it instead, or \
                 remove its other names and run `npy-ingest retry`"
            ),
            hash: None,
        },
        OpenFailure::Unreadable(error) if candidate.is_last_attempt && !is_ours(&error) => {
            let reason = match error.kind() {
                ErrorKind::OutOfMemory => {
                    "there is not enough memory for it: give the program more, or fewer `workers`, and \
                                           run `npy-ingest retry`"
                        .to_owned()
                }
                _ => format!("the file cannot be read: {error}; once it can be, run `npy-ingest retry`"),
            };
            Outcome::Rejected { reason, hash: None }
        }
        OpenFailure::Unreadable(error) => Outcome::Unreadable { error: error.to_string() },
    }
}

/// Whether an error tells of this process or this machine, and nothing of the source: it is tried again for ever. Memory that
/// could not be had for a source is of both.
fn is_ours(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    use rustix::io::Errno;
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::INTR | Errno::AGAIN))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic left each worker with as much memory as the largest source.
    #[test]
    fn a_large_buffer_is_given_up_after_a_panic() {
        let mut bytes = Vec::with_capacity(KEPT_BUFFER_BYTES_MAX + 1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let Kept(_bytes) = &mut Kept(&mut bytes);
            panic!("a decoder's");
        }));
        assert!(panicked.is_err());
        assert_eq!(bytes.capacity(), 0);
        bytes.reserve(1000);
        drop(Kept(&mut bytes));
        assert!(bytes.capacity() >= 1000, "a small one is kept");
    }
}
