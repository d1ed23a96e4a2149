//! One candidate in the pool: open, read, hash, decode; and whatever happens, one message to the writer.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::Sender;

use super::DecodeError;
use super::open::{OpenFailure, OpenSource};
use super::sink::SourceRows;
use crate::lane::{Finished, Lane, Outcome, ToWriter};
use crate::source::Candidate;

/// A source that is decoded from memory may have so many bytes.
pub const SOURCE_BYTES_MAX: u64 = 512 << 20;
/// A worker keeps its read buffer for the next source up to this size.
const KEPT_BUFFER_BYTES_MAX: usize = 16 << 20;

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
    let message = ToWriter::Finished { lane: lane.index, finished: Box::new(Finished { candidate, outcome }) };
    // The writer outlives the pool; if it is gone, there is nobody left to tell.
    drop(to_writer.send(message));
}

fn take(lane: &Lane, candidate: &Candidate, to_writer: &Sender<ToWriter>) -> Outcome {
    let root = lane.options.root(candidate.place.folder);
    let opened = OpenSource::open(root, &candidate.place.below, candidate.identity, candidate.writer_was_seen);
    let mut source = match opened {
        Ok(source) => source,
        Err(failure) => return failed(candidate, failure),
    };
    if source.size() > SOURCE_BYTES_MAX {
        let (size, max) = (source.size(), SOURCE_BYTES_MAX);
        let reason = format!("the file has {size} bytes, more than the limit of {max}: split it, or make it smaller");
        return Outcome::Rejected { reason, hash: None };
    }
    SOURCE_BYTES.with_borrow_mut(|bytes| {
        if let Err(failure) = source.read_all(bytes) {
            return failed(candidate, failure);
        }
        let outcome = decode(lane, candidate, bytes, to_writer);
        if bytes.capacity() > KEPT_BUFFER_BYTES_MAX {
            *bytes = Vec::new();
        }
        outcome
    })
}

fn decode(lane: &Lane, candidate: &Candidate, bytes: &[u8], to_writer: &Sender<ToWriter>) -> Outcome {
    let hash = blake3::hash(bytes);
    if candidate.known_hash == Some(hash) {
        return Outcome::Unchanged { hash };
    }
    let mut rows = SourceRows::new(lane, candidate.sequence, to_writer);
    match lane.decoder.decode(bytes, candidate.place.extension().as_deref(), &mut rows) {
        Ok(()) if rows.rows() == 0 => {
            rows.discard();
            Outcome::Rejected { reason: "it gives no rows".to_owned(), hash: Some(hash) }
        }
        Ok(()) => {
            let (block, rows, checksum) = rows.finish();
            Outcome::Rows { block, rows, checksum, hash }
        }
        Err(error) => {
            rows.discard();
            match error {
                DecodeError::Rejected(rejection) => {
                    Outcome::Rejected { reason: rejection.reason.into_owned(), hash: Some(hash) }
                }
                DecodeError::Interrupted => Outcome::Interrupted,
                DecodeError::Read(error) => failed(candidate, OpenFailure::Unreadable(error)),
            }
        }
    }
}

fn failed(candidate: &Candidate, failure: OpenFailure) -> Outcome {
    match failure {
        OpenFailure::Gone => Outcome::Gone,
        OpenFailure::NotFinished(why) => Outcome::NotFinished(why),
        OpenFailure::Unreadable(error) if candidate.is_last_attempt && !is_ours(&error) => {
            Outcome::Rejected { reason: format!("the file cannot be read: {error}"), hash: None }
        }
        OpenFailure::Unreadable(error) => Outcome::Unreadable { error: error.to_string() },
    }
}

/// Whether an error tells of this process or this machine, and nothing of the source: it is tried again for ever.
fn is_ours(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    use rustix::io::Errno;
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::INTR | Errno::AGAIN))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}
