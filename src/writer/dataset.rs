//! The commit protocol of one dataset: stage, sync, commit, publish.
//!
//! N rows are committed. Staged rows lie past them, in memory or already in the files; a crash leaves them as a tail that
//! recovery cuts. [`DatasetWriter::commit`] makes the staged sources part of the dataset in this order, and no other:
//!
//! 1. write what is staged to every file, and cut what lies behind it;
//! 2. `fdatasync` of every file;
//! 3. one transaction of the ledger, the commit point;
//! 4. the class names, then the count in every column's header and an `fdatasync` of these, and the main file's count last:
//!    a power cut that keeps the main file's count keeps those of the columns.
//!
//! Step 4 can be done again at any time from the ledger, and is, at every start.

mod checks;
mod classes;
mod gone;
#[cfg(feature = "simulation")]
mod wrong_order;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::checks::LedgerFiles;
pub use self::checks::check_room;
use super::batch::{Batch, Staged, rules};
use super::chain::Chain;
use super::clean::CleanMark;
use super::column::{Column, SourceFacts};
use super::fault::Fault;
use super::labels::Labels;
use super::parts::OpenEntry;
use crate::config::{ColumnKind, Dataset, Durability, Paths};
use crate::decode::RowBlock;
use crate::ledger::{CommitError, Committed, Entry, Fate, Known, LastLook, Ledger, State, Transaction, last_look};
use crate::npy::GrowingFile;
use crate::source::{Hash, Identity, Place};
use crate::storage::Disk;
use crate::tally::Stage;

/// Staged rows are handed to the operating system once they are this many bytes.
const FLUSH_BYTES: usize = 4 << 20;

/// A source whose decode has ended.
#[derive(Debug)]
pub struct FinishedSource<'a> {
    pub place: &'a Place,
    pub identity: Identity,
    pub result: SourceResult,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceResult {
    /// Its rows were staged, `rows` in all.
    Rows {
        hash: Hash,
        checksum: Hash,
        rows: u64,
        /// Goes into the ledger beside it.
        note: Option<String>,
    },
    /// It was not decoded: its content is that of a source that the ledger knows.
    Unchanged {
        hash: Hash,
    },
    Rejected {
        hash: Option<Hash>,
        reason: String,
    },
}

/// What the writer makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// Part of the next commit: as new rows, as a rejection, or under its new name. The id in the ledger.
    Staged { id: u64, kind: StagedAs },
    /// The ledger has it as it is. The id in the ledger.
    Known { id: u64 },
    /// Overwritten since its commit, which the config disregards.
    Ignored,
    /// It has to be decoded after all.
    DecodeAgain,
    /// The log is not where it was thought to be: it has to be looked at again.
    LookAgain,
    /// It may be a source that is on its way out, or a new one that has the inode of one that is gone: which of the two is
    /// known once that way is over.
    MayBeGone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagedAs {
    Rows(u64),
    Rejected,
    Duplicate,
    /// The ledger had it under this path.
    FoundAgain {
        old: PathBuf,
    },
    /// A part of a log, of so many bytes.
    Part {
        bytes: u64,
        is_new: bool,
    },
}

/// The open files and the ledger of one dataset.
pub struct DatasetWriter {
    pub(crate) options: Arc<Dataset>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) ledger: Box<dyn Ledger>,
    pub(crate) paths: Paths,
    /// Holds the lock, too.
    pub(crate) main: GrowingFile,
    pub(crate) columns: Vec<Column>,
    pub(super) batch: Batch,
    /// Where the rows of the source at hand begin.
    pub(super) source_start: u64,
    pub(super) next_source_id: u64,
    /// For logs that are followed: over the rows of the main file, and what the next part may extend.
    pub(super) chain: Chain,
    pub(super) open_entry: Option<OpenEntry>,
    /// What the steps of a commit took, until somebody asks.
    times: Vec<(Stage, Duration)>,
    /// Sources that were moved or deleted, which the ledger could not note yet.
    unnoted: Vec<(u64, PathBuf)>,
    /// Sources that are on their way out.
    pub(super) leaving: BTreeSet<u64>,
    labels: Labels,
    clean: CleanMark,
    ledger_files: LedgerFiles,
}

impl DatasetWriter {
    /// Takes over files that recovery has brought in line with the ledger.
    pub(crate) fn new(
        options: Arc<Dataset>,
        disk: Arc<dyn Disk>,
        ledger: Box<dyn Ledger>,
        paths: Paths,
        main: GrowingFile,
        columns: Vec<Column>,
    ) -> io::Result<Self> {
        let state = ledger.state();
        let mut writer = Self {
            ledger_files: LedgerFiles::of(&*disk, &paths)?,
            chain: Chain::new(options.decoder.follows()),
            open_entry: None,
            options,
            disk,
            ledger,
            paths,
            main,
            columns,
            batch: Batch::default(),
            source_start: state.rows,
            next_source_id: state.next_source_id,
            times: Vec::new(),
            unnoted: Vec::new(),
            leaving: BTreeSet::new(),
            labels: Labels::default(),
            clean: CleanMark::new(state.rows),
        };
        if writer.options.commit.durability != Durability::None {
            let files = writer.columns.iter_mut().map(|column| &mut column.file).chain([&mut writer.main]);
            files.for_each(GrowingFile::write_back);
        }
        writer.labels.reset(writer.ledger.labels());
        Ok(writer)
    }

    pub fn options(&self) -> &Dataset {
        &self.options
    }

    /// Committed rows: N.
    pub fn rows(&self) -> u64 {
        self.ledger.state().rows
    }

    pub fn batch_is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Whether a limit of `[dataset.commit]` is reached.
    pub fn is_due(&self, now: Instant) -> bool {
        let commit = &self.options.commit;
        !self.batch.is_empty()
            && (commit.durability == Durability::Source
                || self.batch.rows >= commit.max_rows
                || self.batch.bytes >= commit.max_bytes
                || self.due_at().is_some_and(|due| due <= now))
    }

    /// When the oldest staged source has waited for `max_delay`.
    pub fn due_at(&self) -> Option<Instant> {
        Some(self.batch.since? + self.options.commit.max_delay)
    }

    /// How long the oldest staged source has waited.
    pub fn waiting(&self) -> Option<Duration> {
        Some(self.batch.since?.elapsed())
    }

    /// Stages rows of the source at hand. Emptied buffers go to `recycle`.
    pub fn stage_rows(&mut self, block: RowBlock, mut recycle: impl FnMut(Vec<u8>)) -> Result<(), Fault> {
        for column in &mut self.columns {
            if column.kind == ColumnKind::Time {
                let staged = column.stage_times(&block.times_s);
                staged.map_err(|error| Fault::io("writing rows to", column.file.path(), &error))?;
            }
        }
        for rows in block.into_pieces() {
            if self.options.decoder.follows() {
                self.chain.update(&rows);
            }
            self.main.stage(rows);
        }
        if self.main.pending_bytes() >= FLUSH_BYTES {
            self.main.flush(&mut recycle).map_err(|error| Fault::io("writing rows to", self.main.path(), &error))?;
        }
        Ok(())
    }

    /// As [`Self::stage_rows`] for a source that goes on: its rows are written at once, and the buffers come back.
    pub fn stage_part(&mut self, block: RowBlock, mut recycle: impl FnMut(Vec<u8>)) -> Result<(), Fault> {
        self.check_room(block.row_bytes() as u64)?;
        // What waited before it belongs to others, and is let go of separately.
        self.main.flush(drop).map_err(|error| Fault::io("writing rows to", self.main.path(), &error))?;
        self.stage_rows(block, &mut recycle)?;
        self.main.flush(recycle).map_err(|error| Fault::io("writing rows to", self.main.path(), &error))
    }

    /// Takes back the rows of the source at hand.
    pub fn discard_source(&mut self, recycle: impl FnMut(Vec<u8>)) {
        self.chain.undo();
        self.main.unstage(self.source_start, recycle);
        for column in &mut self.columns {
            column.unstage(self.source_start);
        }
    }

    /// Ends the source at hand and adds it to the batch.
    pub fn finish_source(
        &mut self,
        source: &FinishedSource<'_>,
        recycle: impl FnMut(Vec<u8>),
    ) -> Result<Finish, Fault> {
        let path = self.ledger_path(source.place);
        let (hash, rows, checksum, note) = match &source.result {
            SourceResult::Rejected { hash, reason } => {
                self.discard_source(recycle);
                let fate = Fate::Rejected { reason: reason.clone() };
                return Ok(self.push(path, source.identity, *hash, fate, StagedAs::Rejected));
            }
            SourceResult::Rows { hash, checksum, rows, note } => (*hash, Some(*rows), *checksum, note.clone()),
            SourceResult::Unchanged { hash } => (*hash, None, *hash, None),
        };
        match self.look(&path, source.identity, &hash)? {
            LastLook::New => {}
            LastLook::Ignored => {
                self.discard_source(recycle);
                return Ok(Finish::Ignored);
            }
            LastLook::Same(entry) => {
                self.discard_source(recycle);
                let newest = self.staged().at_path(&path)?;
                let is_rejected = newest
                    .is_some_and(|newest| newest.moved_to.is_none() && matches!(newest.fate, Fate::Rejected { .. }));
                if !is_rejected && entry.path == path && entry.identity == source.identity {
                    return Ok(Finish::Known { id: entry.id });
                }
                if self.leaving.contains(&entry.id) && (entry.path != path || entry.identity != source.identity) {
                    return Ok(Finish::MayBeGone);
                }
                let (id, old) = (entry.id, entry.path.clone());
                self.batch.push_found_again(Entry { path, identity: source.identity, moved_to: None, ..*entry });
                self.batch.since.get_or_insert_with(Instant::now);
                return Ok(Finish::Staged { id, kind: StagedAs::FoundAgain { old } });
            }
            LastLook::Duplicate(entry) => {
                self.discard_source(recycle);
                let note = format!("the content of source {} ({})", entry.id, entry.path.display());
                let none = blake3::hash(&[]);
                let first_row = self.source_start;
                let committed =
                    Committed { first_row, rows: 0, checksum: none, columns_checksum: none, note: Some(note) };
                let fate = Fate::Committed(committed);
                return Ok(self.push(path, source.identity, Some(hash), fate, StagedAs::Duplicate));
            }
        }
        let Some(rows) = rows else { return Ok(Finish::DecodeAgain) };
        let first_row = self.source_start;
        if self.main.staged_rows() != first_row + rows {
            // Some of its rows were lost on the way: whatever the reason, half a source is none.
            self.discard_source(recycle);
            return Ok(Finish::DecodeAgain);
        }
        let columns_checksum = self.end_rows(source.place, &hash, self.next_source_id, None, rows, false)?;
        let fate = Fate::Committed(Committed { first_row, rows, checksum, columns_checksum, note });
        Ok(self.push(path, source.identity, Some(hash), fate, StagedAs::Rows(rows)))
    }

    /// All rows of a source, or of a part of the log `id`, are staged: the columns get their values. Their checksum, with those
    /// of the entry before if it is extended. `before`: how many rows the log had.
    pub(super) fn end_rows(
        &mut self,
        place: &Place,
        hash: &Hash,
        id: u64,
        before: Option<u64>,
        rows: u64,
        extends: bool,
    ) -> Result<Hash, Fault> {
        let label = self.label_id(place);
        let (log, first_index) = (before.map(|_| id), before.unwrap_or(0));
        let facts =
            SourceFacts { id, place, hash, label, split: self.options.columns.split.as_ref(), log, first_index };
        let mut columns_checksum = blake3::Hasher::new();
        for column in &mut self.columns {
            let checksum = column.finish_source(&facts, rows, extends);
            let checksum = checksum.map_err(|error| Fault::io("writing rows to", column.file.path(), &error))?;
            columns_checksum.update(checksum.as_bytes());
        }
        self.batch.bytes += rows * self.main.layout().row_bytes();
        self.source_start += rows;
        Ok(columns_checksum.finalize())
    }

    /// Makes the batch part of the dataset, and shows it to readers. Steps 1 to 4.
    pub fn commit(&mut self, mut recycle: impl FnMut(Vec<u8>)) -> Result<(), Fault> {
        self.times.clear();
        #[cfg(feature = "simulation")]
        if let Some(swap) = crate::storage::simulated::swap::active() {
            return self.commit_in_wrong_order(swap, recycle);
        }
        self.check_files()?;
        if self.batch.rows > 0 {
            self.check_room(self.batch.bytes)?;
        }
        // Also without rows: a source that was rejected may have left parts of itself behind.
        self.timed(Stage::Write, |writer| writer.write_staged(&mut recycle))?;
        if self.batch.rows > 0 {
            self.timed(Stage::Sync, |writer| writer.sync_files())?;
        }
        self.timed(Stage::Ledger, Self::commit_ledger)?;
        self.timed(Stage::Publish, Self::publish)
    }

    fn timed<T>(&mut self, stage: Stage, step: impl FnOnce(&mut Self) -> T) -> T {
        let started = Instant::now();
        let result = step(self);
        self.times.push((stage, started.elapsed()));
        result
    }

    /// What the steps of the last commit took.
    pub fn take_times(&mut self) -> impl Iterator<Item = (Stage, Duration)> {
        self.times.drain(..)
    }

    fn write_staged(&mut self, mut recycle: impl FnMut(Vec<u8>)) -> Result<(), Fault> {
        let files = self.columns.iter_mut().map(|column| &mut column.file).chain([&mut self.main]);
        for file in files {
            file.flush(&mut recycle)
                .and_then(|()| file.trim())
                .map_err(|error| Fault::io("writing rows to", file.path(), &error))?;
            if file.staged_rows() < self.source_start {
                // A mistake of ours; but nothing is committed that is not there.
                return Err(Fault::Lasting(format!("{}: staged rows are missing", file.path().display())));
            }
        }
        Ok(())
    }

    fn sync_files(&self) -> Result<(), Fault> {
        sync_files(&self.options, self.columns.iter().map(|column| &column.file).chain([&self.main]))
    }

    fn commit_ledger(&mut self) -> Result<(), Fault> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.try_to_note_moved([]);
        let (rows, was) = (self.source_start, self.ledger.state());
        let clean_rows = self.clean.after(was.clean_rows, rows, self.main.layout().row_bytes());
        let state = State { rows, next_source_id: self.next_source_id, clean_rows, ..was };
        let (found_again, forgotten) = (self.batch.found_again(), self.forgotten()?);
        let transaction = Transaction {
            state,
            sources: &self.batch.entries,
            found_again: &found_again,
            extended: &self.batch.extended(),
            forgotten: &forgotten,
            new_labels: &self.batch.new_labels,
        };
        self.ledger.commit(&transaction).map_err(|error| match &error {
            CommitError::NotCommitted { .. } => Fault::Passing(error.to_string()),
            CommitError::Unknown { .. } => Fault::Lasting(error.to_string()),
        })?;
        self.batch = Batch::default();
        Ok(())
    }

    /// Shows what is committed to readers. Can be repeated.
    pub fn publish(&mut self) -> Result<(), Fault> {
        let rows = self.rows();
        if self.ledger.labels().len() > self.labels.published() {
            self.write_labels().map_err(|error| Fault::io("writing", &self.paths.labels, &error))?;
        }
        if self.main.published_rows() == rows {
            return Ok(());
        }
        for column in &mut self.columns {
            let file = &mut column.file;
            file.publish(rows).map_err(|error| Fault::io("publishing", file.path(), &error))?;
        }
        sync_files(&self.options, self.columns.iter().map(|column| &column.file))?;
        self.main.publish(rows).map_err(|error| Fault::io("publishing", self.main.path(), &error))
    }

    /// Rows that readers see.
    pub fn published_rows(&self) -> u64 {
        self.main.published_rows()
    }

    /// Whether readers see less than what is committed.
    pub fn is_behind(&self) -> bool {
        self.main.published_rows() < self.rows() || self.labels.published() < self.ledger.labels().len()
    }

    /// Drops the batch and cuts every file back to N rows.
    pub fn abandon(&mut self, mut recycle: impl FnMut(Vec<u8>)) -> Result<(), Fault> {
        let state = self.ledger.state();
        (self.batch, self.open_entry) = (Batch::default(), None);
        self.chain.undo();
        self.source_start = state.rows;
        self.next_source_id = state.next_source_id;
        self.clean.go_back(state.rows);
        self.labels.reset(self.ledger.labels());
        for column in &mut self.columns {
            column.unstage(state.rows);
        }
        self.main.unstage(state.rows, &mut recycle);
        let files = self.columns.iter_mut().map(|column| &mut column.file).chain([&mut self.main]);
        for file in files {
            file.trim().map_err(|error| Fault::Lasting(format!("cutting {}: {error}", file.path().display())))?;
        }
        Ok(())
    }

    /// Whether rows were committed without syncs that nothing has made up for.
    pub fn is_unsynced(&self) -> bool {
        self.ledger.state().unsynced
    }

    /// Ends the work, after [`Self::check_files`]: cuts what lies past the last committed row, and makes the publication as
    /// durable as the commit.
    pub fn finish(&mut self) -> Result<(), Fault> {
        let files = self.columns.iter_mut().map(|column| &mut column.file).chain([&mut self.main]);
        for file in files {
            file.trim().map_err(|error| Fault::io("cutting", file.path(), &error))?;
        }
        // Whatever the durability was: the next start can build upon it.
        if let Err(fault) = sync(self.columns.iter().map(|column| &column.file).chain([&self.main])) {
            // Where nothing was synced before, the next start is to read all of it from the disk.
            let marked = if self.is_unsynced() { self.ledger.mark_unsynced(self.clean.at_start) } else { Ok(()) };
            marked.map_err(|error| Fault::Lasting(format!("{fault}, and {error}")))?;
            return Err(fault);
        }
        self.try_to_note_moved([]);
        self.mark_clean()
    }

    /// The path as the ledger has it: below the watched folder as the config names it.
    pub fn ledger_path(&self, place: &Place) -> PathBuf {
        self.options.ledger_path(place)
    }

    fn look(&self, path: &Path, identity: Identity, hash: &Hash) -> Result<LastLook, Fault> {
        Ok(last_look(&self.staged(), rules(&self.options), path, identity, hash)?)
    }

    pub(super) fn staged(&self) -> Staged<'_> {
        let Self { batch, ledger, disk, options, unnoted, .. } = self;
        Staged { batch, ledger: &**ledger, disk: &**disk, base: &options.base, unnoted }
    }

    fn push(&mut self, path: PathBuf, identity: Identity, hash: Option<Hash>, fate: Fate, kind: StagedAs) -> Finish {
        let id = self.next_source_id;
        self.push_entry(Entry { id, path, identity, hash, fate, moved_to: None, part: None });
        Finish::Staged { id, kind }
    }

    /// Adds an entry, whose id is the next one, to the batch.
    pub(super) fn push_entry(&mut self, entry: Entry) {
        self.next_source_id = entry.id + 1;
        self.batch.push(entry);
        self.batch.since.get_or_insert_with(Instant::now);
    }
}

fn sync_files<'a>(options: &Dataset, files: impl Iterator<Item = &'a GrowingFile>) -> Result<(), Fault> {
    if options.commit.durability == Durability::None {
        return Ok(());
    }
    sync(files)
}

fn sync<'a>(mut files: impl Iterator<Item = &'a GrowingFile>) -> Result<(), Fault> {
    files.try_for_each(|file| file.sync().map_err(|error| Fault::sync(file.path(), &error)))
}
