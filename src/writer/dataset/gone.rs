//! What the ledger is told of sources whose files are gone from where they were: moved, deleted, or replaced.

use std::path::PathBuf;

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

    /// A rejected source was not there to be moved away. If another file that was taken is why, it is forgotten; one that
    /// is still to be taken does it by its commit.
    pub fn not_moved(&mut self, id: u64, place: &Place) -> Result<(), Fault> {
        let newest = self.staged().at_path(&self.ledger_path(place))?;
        if newest.is_some_and(|newest| newest.id > id) {
            self.ledger.forget(&[id])?;
        }
        Ok(())
    }

    /// Rejected sources that had names of this batch, and are not there any more: another file has the name. What was moved
    /// away stays rejected for as long as it is where it went; a mended one, it may be, is back under its name.
    pub(super) fn forgotten(&self) -> Result<Vec<u64>, Fault> {
        let mut forgotten = self.batch.replaced().to_vec();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::RowBlock;
    use crate::ledger::SqliteLedgers;
    use crate::source::Identity;
    use crate::storage::{Disk, RealDisk};
    use crate::writer::dataset::{FinishedSource, SourceResult};
    use crate::{config, recovery};
    use std::sync::Arc;

    /// The bug: a kill between the commit of a mended source and the word of the disposer, which had not found the bad one,
    /// left the bad one listed for good.
    #[test]
    fn a_rejected_source_that_was_replaced_is_forgotten_at_once_or_by_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2]\ndtype = 'u1'\n[dataset.watch]\n\
                    folders = ['drop']\nrejected = 'move'\nrejected_to = 'failed'\n[dataset.npy]\n";
        let options = Arc::new(config::parse(text, &folder.path().join("c.toml")).unwrap().datasets[0].clone());
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut writer = recovery::open(&disk, &SqliteLedgers, &options).unwrap();
        let places = ["a", "b", "c"].map(|name| Place { folder: 0, below: name.into() });
        let mut inode = 0;
        let mut take = |writer: &mut DatasetWriter, place: &Place, is_good: bool| {
            inode += 1;
            let hash = blake3::hash(&[inode as u8]);
            let result = if is_good {
                writer.stage_rows(RowBlock { bytes: vec![7; 2], times_s: Vec::new() }, drop).unwrap();
                SourceResult::Rows { hash, checksum: blake3::hash(&[7; 2]), rows: 1, note: None }
            } else {
                SourceResult::Rejected { hash: Some(hash), reason: "it is cut short".into() }
            };
            let identity = Identity { size: 1, mtime_ns: 1, inode };
            writer.finish_source(&FinishedSource { place, identity, result }, drop).unwrap();
        };
        for place in &places {
            take(&mut writer, place, false);
        }
        writer.commit(drop).unwrap();
        writer.leaving.extend([1, 2, 3]);
        for place in &places[..2] {
            take(&mut writer, place, true);
        }
        writer.commit(drop).unwrap();
        let listed = |writer: &DatasetWriter| {
            let found = places.iter().flat_map(|place| writer.ledger.rejected_at(&writer.ledger_path(place)).unwrap());
            found.map(|(id, _)| id).collect::<Vec<u64>>()
        };
        assert_eq!(listed(&writer), [1, 2, 3], "they may be on their way to `failed`");
        writer.not_moved(1, &places[0]).unwrap();
        writer.not_moved(3, &places[2]).unwrap();
        assert_eq!(listed(&writer), [2, 3], "of the last one no other file is known");
        drop(writer);
        let writer = recovery::open(&disk, &SqliteLedgers, &options).unwrap();
        assert_eq!(listed(&writer), [3]);
    }
}
