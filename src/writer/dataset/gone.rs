//! What the ledger is told of sources whose files are gone from where they were: moved, deleted, or replaced.

use std::path::PathBuf;
use std::time::Instant;

use super::DatasetWriter;
use crate::ledger::Known;
use crate::source::Place;
use crate::writer::fault::Fault;

impl DatasetWriter {
    /// Notes where disposed-of sources went; an empty path: deleted. What the ledger does not take is noted with the next.
    pub fn note_moved(&mut self, moved: impl IntoIterator<Item = (u64, PathBuf)>) -> Result<(), Fault> {
        self.unnoted.extend(moved);
        if !self.unnoted.is_empty() {
            self.ledger.note_moved(&self.unnoted)?;
            self.unnoted.clear();
        }
        Ok(())
    }

    /// A rejected source was not there to be moved away. If another file that the ledger has is why, it is forgotten.
    pub fn not_moved(&mut self, id: u64, place: &Place) -> Result<(), Fault> {
        let newest = self.staged().at_path(&self.ledger_path(place))?;
        if newest.is_some_and(|newest| newest.id > id) {
            self.batch.replaced.push(id);
            self.batch.since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Rejected sources that had names of this batch, and are not there any more: another file has the name. What was moved
    /// away stays rejected for as long as it is where it went; a mended one, it may be, is back under its name.
    pub(super) fn forgotten(&self) -> Result<Vec<u64>, Fault> {
        let mut forgotten = self.batch.replaced.clone();
        for path in self.batch.paths() {
            for (id, moved_to) in self.ledger.rejected_at(path)? {
                let is_gone = match moved_to {
                    None => !self.leaving.contains(&id),
                    Some(moved_to) => matches!(self.disk.status(&self.options.base.join(moved_to)), Ok(None)),
                };
                if is_gone {
                    forgotten.push(id);
                }
            }
        }
        Ok(forgotten)
    }
}
