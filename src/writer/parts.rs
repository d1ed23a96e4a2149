//! Parts of logs that are followed: their rows, and how far the file was taken, are committed together.
//!
//! A part is taken only if the ledger, as it will be after the batch, stands where the part begins: whatever became of the
//! file meanwhile, no byte is taken twice. A part that goes on where the one before it ended, in the file and in the array,
//! extends that one's entry; so a log that nothing else comes between is one entry, up to [`ENTRY_BYTES_MAX`](crate::source::ENTRY_BYTES_MAX).

use super::dataset::{DatasetWriter, Finish, StagedAs};
use super::fault::Fault;
use crate::ledger::{Committed, Entry, Fate};
use crate::source::{Follow, Identity, LogState, Part, PartRead, Place};

/// What is told of a part that goes on.
const NOTE_BYTES_MAX: usize = 2000;
const AND_MORE: &str = "; and more, which the log has told";

/// A part whose rows were staged.
#[derive(Debug)]
pub struct FinishedPart<'a> {
    pub place: &'a Place,
    pub identity: Identity,
    pub follow: &'a Follow,
    pub read: PartRead,
    pub rows: u64,
    pub note: Option<String>,
}

/// The entry that the next part may extend.
#[derive(Debug)]
pub(super) struct OpenEntry {
    entry: Entry,
    /// Behind its last row.
    end_row: u64,
}

impl DatasetWriter {
    /// Ends the part at hand and adds it to the batch.
    pub fn finish_part(&mut self, part: FinishedPart<'_>, recycle: impl FnMut(Vec<u8>)) -> Result<Finish, Fault> {
        let FinishedPart { place, identity, follow, read, rows, note } = part;
        let first_row = self.source_start;
        if !self.stands_at(&read, follow, identity)? || self.main.staged_rows() != first_row + rows {
            self.discard_source(recycle);
            return Ok(Finish::LookAgain);
        }
        let path = self.ledger_path(place);
        let open = self.open_entry.take().filter(|open| {
            let known = read.state.as_ref().map(|state| &state.part);
            open.end_row == first_row
                && open.entry.path == path
                && open.entry.identity.inode == identity.inode
                && open.entry.part.as_ref() == known
                && known.is_some_and(|part| part.end == read.begin && part.begin == read.hash_from)
        });
        let id = open.as_ref().map_or(self.next_source_id, |open| open.entry.id);
        let log = read.state.as_ref().map_or(id, |state| state.part.log);
        let first_index = read.state.as_ref().map_or(0, |state| state.next_index);
        let extends = open.is_some();
        // That of an entry is the hash of its own bytes: a copy of the log is known by it.
        let hash = if extends { read.hash } else { read.own_hash };
        let columns_checksum = self.end_rows(place, &hash, log, Some(first_index), rows, extends)?;
        let checksum = self.chain.finish(extends);
        let PartRead { begin, end, head_at, head, tail, marks, stopped, .. } = read;
        let taken = Part { log, first_index, begin, end, head_at, head, tail, marks };
        let entry = match open {
            Some(OpenEntry { mut entry, .. }) => {
                if let (Fate::Committed(committed), Some(part)) = (&mut entry.fate, &mut entry.part) {
                    committed.rows += rows;
                    committed.checksum = checksum;
                    committed.columns_checksum = columns_checksum;
                    committed.note = joined(committed.note.take(), note);
                    *part = Part { begin: part.begin, first_index: part.first_index, ..taken.clone() };
                }
                entry.identity = identity;
                entry.hash = Some(hash);
                self.batch.extend(entry.clone(), rows);
                self.batch.since.get_or_insert_with(std::time::Instant::now);
                entry
            }
            None => {
                let fate = Fate::Committed(Committed { first_row, rows, checksum, columns_checksum, note });
                let entry =
                    Entry { id, path, identity, hash: Some(hash), fate, moved_to: None, part: Some(taken.clone()) };
                self.push_entry(entry.clone());
                entry
            }
        };
        match stopped {
            None => self.open_entry = Some(OpenEntry { entry, end_row: self.source_start }),
            Some((reason, rejected)) => {
                let head = [taken.head.as_slice(), &rejected].concat();
                let part = Part { first_index: first_index + rows, begin: end, head, ..taken };
                let rejected = Entry {
                    id: self.next_source_id,
                    hash: None,
                    fate: Fate::Rejected { reason },
                    part: Some(part),
                    ..entry
                };
                self.push_entry(rejected);
            }
        }
        Ok(Finish::Staged {
            id,
            kind: StagedAs::Part { bytes: end - begin, is_new: first_index == 0 && id == log && !extends },
        })
    }

    /// A log was found to be cut, and waits for its writer: whoever looks at it after a restart is to know where. That the
    /// ledger does not take it is told, and no reason to stop.
    pub fn note_cut(&mut self, follow: &Follow, size: u64) {
        let Some(LogState { part, .. }) = follow.was() else { return };
        if let Err(error) = self.ledger.note_cut(part.log, part.end, size) {
            tracing::warn!(dataset = self.options.name, "where a log was cut is not in the ledger: {error}");
        }
    }

    /// Whether the ledger stands where this part was read from.
    fn stands_at(&self, read: &PartRead, follow: &Follow, identity: Identity) -> Result<bool, Fault> {
        let staged = self.staged();
        let (newest, expected) = match &read.state {
            Some(state) => (staged.newest_part(state.part.log)?, Some(state)),
            None => (staged.newest_part_of_inode(identity.inode)?, follow.replaces.as_ref()),
        };
        let is_at = |entry: &Entry, state: &LogState| entry.log_state().as_ref() == Some(state);
        Ok(match (newest, expected) {
            (Some(newest), Some(state)) => is_at(&newest, state),
            (None, None) => true,
            // The log that it was has just gone on in another file, as was foreseen.
            (None, Some(_)) => read.state.is_none() && follow.before.is_some(),
            _ => false,
        })
    }
}

/// Two notes as one, as long as that is not long.
fn joined(old: Option<String>, new: Option<String>) -> Option<String> {
    match (old, new) {
        (Some(old), Some(new)) if old.len() + new.len() < NOTE_BYTES_MAX => Some(format!("{old}; {new}")),
        (Some(old), Some(_)) if old.ends_with(AND_MORE) => Some(old),
        (Some(old), Some(_)) => Some(format!("{old}{AND_MORE}")),
        (old, new) => old.or(new),
    }
}
