//! What the ledger is told of sources whose files are gone from where they were: moved, deleted, or replaced.

use std::io;
use std::path::{Path, PathBuf};

use super::DatasetWriter;
use crate::ledger::{Entry, Fate, Known};
use crate::source::{Hash, Place};
use crate::writer::aside::is_any_aside;
use crate::writer::dispose::Leaving;
use crate::writer::fault::Fault;
use crate::writer::whereabouts::{find_moved, missing_folder};

impl DatasetWriter {
    /// Notes where disposed-of sources went; an empty path: deleted. What the ledger does not take is noted
    /// with the next, before the next commit, or at the end.
    pub fn note_moved(&mut self, moved: impl IntoIterator<Item = (u64, PathBuf)>) -> Result<(), Fault> {
        self.unnoted.extend(moved);
        if !self.unnoted.is_empty() {
            self.ledger.note_moved(&self.unnoted)?;
            self.unnoted.clear();
        }
        Ok(())
    }

    /// As [`Self::note_moved`]. That the ledger does not take it is told, and no reason to keep rows waiting.
    pub fn try_to_note_moved(&mut self, moved: impl IntoIterator<Item = (u64, PathBuf)>) {
        if let Err(fault) = self.note_moved(moved) {
            tracing::warn!(dataset = self.options.name, "where sources went is not in the ledger: {fault}");
        }
    }

    /// The content of a source that leaves. `None`: it is not known, as it could not be read.
    pub fn hash_of(&self, leaving: &Leaving) -> Result<Option<Hash>, Fault> {
        let entry = self.ledger.newest_at(&self.ledger_path(&leaving.place), leaving.id + 1)?;
        Ok(entry.filter(|entry| entry.id == leaving.id).and_then(|entry| entry.hash))
    }

    /// Whether a source of this content went to this place, but for this one.
    pub fn has_moved_to(&self, path: &Path, hash: &Hash, but: Option<u64>) -> Result<bool, Fault> {
        let is_unnoted = self.unnoted.iter().any(|(id, place)| place == path && but != Some(*id));
        Ok(is_unnoted || self.ledger.has_moved_to(path, hash, but)?)
    }

    /// Whether a rejected source that leaves is listed still: `retry` may have forgotten it.
    pub fn is_listed(&self, leaving: &Leaving) -> Result<bool, Fault> {
        let rejected = self.ledger.rejected_at(&self.ledger_path(&leaving.place))?;
        Ok(rejected.iter().any(|(id, _)| *id == leaving.id))
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

    /// At a start: rejected sources under whose names other files were taken since, and of which it was not noted that they
    /// were moved away. Those that were are noted now, the others forgotten. So are noted those under whose names nothing is. With
    /// each, whether it was replaced.
    pub(crate) fn note_gone(&mut self, not_moved: &[(Entry, bool)]) -> Result<(), Fault> {
        let (mut moved, mut gone) = (Vec::new(), Vec::new());
        for (entry, is_replaced) in not_moved {
            if !is_replaced && !self.is_away(entry) {
                continue;
            }
            match self.find_moved(entry, &moved) {
                Ok(Some(path)) => moved.push((entry.id, path)),
                Ok(None) if *is_replaced => gone.push(entry.id),
                Ok(None) => {}
                Err(error) => self.cannot_look_for(entry, &error),
            }
        }
        self.note_moved(moved)?;
        if !gone.is_empty() {
            self.ledger.forget(&gone)?;
        }
        Ok(())
    }

    /// Whether nothing has the name of a source, nor will have it again, in a watched folder that is there.
    fn is_away(&self, entry: &Entry) -> bool {
        let path = self.options.base.join(&entry.path);
        let is_there = |path: &Path| self.disk.status(path).map(|status| status.is_some());
        let root = self.options.place_of(&path).map(|place| self.options.root(place.folder));
        entry.part.is_none()
            && matches!(is_there(&path), Ok(false))
            && matches!(is_any_aside(&*self.disk, &path), Ok(false))
            && root.is_some_and(|root| matches!(is_there(root), Ok(true)))
    }

    /// Where a rejected source lies of which that is not noted. `found`: where others were found to lie.
    fn find_moved(&self, entry: &Entry, found: &[(u64, PathBuf)]) -> io::Result<Option<PathBuf>> {
        let is_others = |path: &Path| {
            let is_found = found.iter().any(|(_, place)| place == path);
            let is_noted = |hash| self.has_moved_to(path, hash, Some(entry.id)).map_err(io::Error::other);
            Ok(is_found || entry.hash.as_ref().map_or(Ok(false), is_noted)?)
        };
        find_moved(&*self.disk, &self.options, entry, &is_others)
    }

    fn cannot_look_for(&self, entry: &Entry, error: &io::Error) {
        let source = self.options.base.join(&entry.path);
        tracing::warn!(
            dataset = self.options.name,
            ?source,
            "it stays listed as rejected, as it cannot be seen whether it was moved away: {error}"
        );
    }

    /// Rejected sources that had names of this batch, and are not there any more: another file has the name; and logs that go on
    /// behind what was rejected. What was moved away stays rejected for as long as it is where it went; a mended one, it may be,
    /// is back under its name.
    pub(super) fn forgotten(&mut self) -> Result<Vec<u64>, Fault> {
        let mut forgotten = self.batch.replaced().to_vec();
        let mut found = Vec::new();
        for path in self.batch.paths() {
            for (id, moved_to) in self.ledger.rejected_at(path)? {
                let unnoted = self.unnoted.iter().find(|(unnoted, _)| *unnoted == id).map(|(_, path)| path.clone());
                match moved_to.or(unnoted) {
                    None if self.leaving.contains(&id) => {}
                    None => {
                        let Some(entry) = self.ledger.newest_at(path, id + 1)? else { continue };
                        if !self.batch.ends_rejection(&entry) {
                            continue;
                        }
                        match self.find_moved(&entry, &found) {
                            Ok(Some(place)) => found.push((id, place)),
                            Ok(None) => forgotten.push(id),
                            Err(error) => self.cannot_look_for(&entry, &error),
                        }
                    }
                    Some(moved_to) if self.is_gone(&self.options.base.join(&moved_to)) => forgotten.push(id),
                    Some(_) => {}
                }
            }
        }
        // A log that goes on may have another name by now.
        for log in self.batch.logs() {
            let newest = self.ledger.newest_part(log)?;
            forgotten.extend(newest.filter(|part| matches!(part.fate, Fate::Rejected { .. })).map(|part| part.id));
        }
        // Noted with the next.
        self.unnoted.extend(found);
        Ok(forgotten)
    }

    /// Whether a source that was moved is there no more; on a disk that is away it may be still.
    fn is_gone(&self, moved_to: &Path) -> bool {
        matches!(self.disk.status(moved_to), Ok(None))
            && matches!(missing_folder(&*self.disk, &self.options, moved_to), Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::RowBlock;
    use crate::ledger::SqliteLedgers;
    use crate::source::Identity;
    use crate::storage::{Disk, RealDisk};
    use crate::writer::dataset::{Finish, FinishedSource, SourceResult};
    use crate::{config, recovery};
    use std::fs;
    use std::sync::Arc;

    fn open(folder: &Path) -> DatasetWriter {
        open_with(folder, "rejected = 'move'\nrejected_to = 'failed'")
    }

    fn open_with(folder: &Path, watch: &str) -> DatasetWriter {
        let text = format!(
            "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2]\ndtype = 'u1'\n[dataset.watch]\n\
             folders = ['drop']\n{watch}\n[dataset.npy]\n"
        );
        let options = Arc::new(config::parse(&text, &folder.join("c.toml")).unwrap().datasets[0].clone());
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        recovery::open(&disk, &SqliteLedgers, &options).unwrap()
    }

    fn opened() -> (tempfile::TempDir, DatasetWriter) {
        let folder = tempfile::tempdir().unwrap();
        let writer = open(folder.path());
        (folder, writer)
    }

    /// A source of one row, or one that is rejected.
    fn take(writer: &mut DatasetWriter, place: &Place, inode: u64, is_good: bool) {
        let hash = blake3::hash(&[inode as u8]);
        let result = if is_good {
            writer.stage_rows(RowBlock { bytes: vec![7; 2], ..RowBlock::default() }, drop).unwrap();
            SourceResult::Rows { hash, checksum: blake3::hash(&[7; 2]), rows: 1, note: None }
        } else {
            SourceResult::Rejected { hash: Some(hash), reason: "it is cut short".into() }
        };
        let identity = Identity { size: 1, mtime_ns: 1, inode };
        writer.finish_source(&FinishedSource { place, identity, result }, drop).unwrap();
    }

    /// As a copy of a source of inode 1 on another disk is.
    fn write_copy(path: &Path) {
        fs::write(path, [1]).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }

    /// The bug: a kill between the commit of a mended source and the word of the disposer, which had not found the bad one,
    /// left the bad one listed for good.
    #[test]
    fn a_rejected_source_that_was_replaced_is_forgotten_at_once_or_by_the_next_start() {
        let (folder, mut writer) = opened();
        let places = ["a", "b", "c"].map(|name| Place { folder: 0, below: name.into() });
        for (inode, place) in (1..).zip(&places) {
            take(&mut writer, place, inode, false);
        }
        writer.commit(drop).unwrap();
        writer.leaving.extend([1, 2, 3]);
        for (inode, place) in (4..).zip(&places[..2]) {
            take(&mut writer, place, inode, true);
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
        assert_eq!(listed(&open(folder.path())), [3]);
    }

    /// The bug: a kill, or a folder that could not be synced, came between the move of a bad file and its note; a good one
    /// under its name then had the bad one forgotten, which lay in `failed`.
    #[test]
    fn a_rejected_source_whose_move_was_not_noted_is_noted_when_its_name_is_used_again() {
        for was_restarted in [false, true] {
            let (folder, mut writer) = opened();
            let place = Place { folder: 0, below: "a".into() };
            let failed = folder.path().join("failed");
            fs::create_dir(&failed).unwrap();
            for (id, name) in (1..).zip(["a", "a.1", "a.2"]) {
                take(&mut writer, &place, 1, false);
                writer.commit(drop).unwrap();
                write_copy(&failed.join(name));
                writer.leaving.insert(id);
            }
            writer.note_moved([(1, failed.join("a"))]).unwrap();
            if !was_restarted {
                writer.leaving.clear();
            }
            take(&mut writer, &place, 2, true);
            writer.commit(drop).unwrap();
            writer.try_to_note_moved([]);
            if was_restarted {
                drop(writer);
                writer = open(folder.path());
            }
            let listed = writer.ledger.rejected_at(Path::new("drop/a")).unwrap();
            let expected = (1..).zip(["a", "a.1", "a.2"].map(|name| Some(failed.join(name)))).collect::<Vec<_>>();
            assert_eq!(listed, expected, "{was_restarted}");
        }
    }

    /// The bug: a kill came between the move of a bad file and its note, and no start noted it.
    #[test]
    fn a_rejected_source_whose_move_was_not_noted_is_noted_by_the_next_start() {
        let (folder, mut writer) = opened();
        let [moved, stays] = ["a", "b"].map(|name| Place { folder: 0, below: name.into() });
        take(&mut writer, &moved, 1, false);
        take(&mut writer, &stays, 1, false);
        writer.commit(drop).unwrap();
        drop(writer);
        let failed = folder.path().join("failed");
        fs::create_dir(&failed).unwrap();
        for name in ["a", "b"] {
            write_copy(&failed.join(name));
        }
        // Its disk is not mounted.
        assert_eq!(open(folder.path()).ledger.rejected_at(Path::new("drop/a")).unwrap(), [(1, None)]);
        fs::create_dir(folder.path().join("drop")).unwrap();
        fs::write(folder.path().join("drop/b"), [1]).unwrap();
        // It has its name again after the next scan.
        let aside = folder.path().join("drop/.a.npy-ingest-aside");
        fs::write(&aside, [1]).unwrap();
        assert_eq!(open(folder.path()).ledger.rejected_at(Path::new("drop/a")).unwrap(), [(1, None)]);
        fs::remove_file(aside).unwrap();
        let writer = open(folder.path());
        assert_eq!(writer.ledger.rejected_at(Path::new("drop/a")).unwrap(), [(1, Some(failed.join("a")))]);
        assert_eq!(writer.ledger.rejected_at(Path::new("drop/b")).unwrap(), [(2, None)]);
    }

    /// The bug: the disk of `rejected_to` was not mounted, and what lay there was forgotten by the next file of the name.
    #[test]
    fn what_was_moved_to_a_folder_that_is_away_stays_listed() {
        let folder = tempfile::tempdir().unwrap();
        let watch = "after = 'delete'\nrejected = 'move'\nrejected_to = 'failed'";
        let mut writer = open_with(folder.path(), watch);
        let place = Place { folder: 0, below: "a".into() };
        take(&mut writer, &place, 1, false);
        writer.commit(drop).unwrap();
        let moved_to = folder.path().join("failed/a");
        writer.note_moved([(1, moved_to.clone())]).unwrap();
        let listed_after_next = |writer: &mut DatasetWriter, inode| {
            take(writer, &place, inode, true);
            writer.commit(drop).unwrap();
            writer.ledger.rejected_at(Path::new("drop/a")).unwrap()
        };
        assert_eq!(listed_after_next(&mut writer, 2), [(1, Some(moved_to))]);
        fs::create_dir(folder.path().join("failed")).unwrap();
        assert_eq!(listed_after_next(&mut writer, 3), []);
    }

    /// The bug: a source was deleted, and before the ledger had that, the next file of its inode and content was taken for it
    /// and deleted without a row.
    #[test]
    fn a_file_of_the_inode_of_one_on_its_way_out_waits_until_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open_with(folder.path(), "after = 'delete'");
        let [place, other] = ["a", "b"].map(|name| Place { folder: 0, below: name.into() });
        take(&mut writer, &place, 1, true);
        writer.commit(drop).unwrap();
        writer.leaving.insert(1);
        let hash = blake3::hash(&[1]);
        let finish = |writer: &mut DatasetWriter, place, mtime_ns| {
            let identity = Identity { size: 1, mtime_ns, inode: 1 };
            let result = SourceResult::Unchanged { hash };
            writer.finish_source(&FinishedSource { place, identity, result }, drop).unwrap()
        };
        assert_eq!(finish(&mut writer, &place, 2), Finish::MayBeGone);
        assert_eq!(finish(&mut writer, &other, 1), Finish::MayBeGone, "of another name, with the time of the first");
        writer.note_moved([(1, PathBuf::new())]).unwrap();
        writer.leaving.remove(&1);
        assert_eq!(finish(&mut writer, &place, 2), Finish::DecodeAgain, "it is new");
        assert_eq!(finish(&mut writer, &other, 1), Finish::DecodeAgain);
    }

    /// The bug: the ledger was locked when a move was to be noted, and the next file of the name had the rejection forgotten.
    #[test]
    fn what_the_ledger_did_not_take_is_noted_before_the_next_commit() {
        let (folder, mut writer) = opened();
        let place = Place { folder: 0, below: "a".into() };
        let moved_to = folder.path().join("moved");
        fs::write(&moved_to, "").unwrap();
        take(&mut writer, &place, 1, false);
        writer.commit(drop).unwrap();
        let other = rusqlite::Connection::open(folder.path().join("d.ledger.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(writer.note_moved([(1, moved_to.clone())]).is_err());
        other.execute_batch("ROLLBACK").unwrap();
        take(&mut writer, &place, 2, true);
        writer.commit(drop).unwrap();
        assert_eq!(writer.ledger.rejected_at(Path::new("drop/a")).unwrap(), [(1, Some(moved_to))]);
    }
}
