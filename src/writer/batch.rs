//! What is staged for the next transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::config::{Changed, Dataset, Disposal, Duplicates};
use crate::ledger::{Entry, Fate, FoundAgain, Known, KnownContent, Ledger, LedgerError, Rules};
use crate::source::{Hash, Identity};
use crate::storage::Disk;

/// Sources that are staged and not committed.
#[derive(Debug, Default)]
pub struct Batch {
    pub entries: Vec<Entry>,
    /// Committed sources under a new name or with a new inode, as they will be, by id.
    found_again: BTreeMap<u64, Entry>,
    /// Rejected sources of this batch under whose names it has other files.
    replaced: Vec<u64>,
    pub new_labels: Vec<String>,
    /// Bytes of rows in the main file.
    pub bytes: u64,
    pub rows: u64,
    /// When the first of them was staged.
    pub since: Option<Instant>,
    by_path: HashMap<PathBuf, usize>,
    by_hash: HashMap<Hash, usize>,
    /// Several names of one file have one inode.
    by_inode: BTreeSet<(u64, usize)>,
    found_by_path: HashMap<PathBuf, u64>,
    /// Committed entries that parts of this batch extend, as they will be, by id.
    extended: BTreeMap<u64, Entry>,
    /// The newest part of each log that has one in this batch, and the log of its inode.
    parts: HashMap<u64, Entry>,
    log_of_inode: HashMap<u64, u64>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.found_again.is_empty() && self.extended.is_empty()
    }

    pub fn push(&mut self, entry: Entry) {
        let place = self.entries.len();
        self.replace(&entry);
        self.by_path.insert(entry.path.clone(), place);
        self.by_inode.insert((entry.identity.inode, place));
        if let (Some(hash), Fate::Committed(committed)) = (entry.hash, &entry.fate) {
            self.rows += committed.rows;
            if committed.rows > 0 {
                self.by_hash.entry(hash).or_insert(place);
            }
        }
        self.note_part(&entry);
        self.entries.push(entry);
    }

    /// An entry comes that may be the end of rejections of this batch.
    fn replace(&mut self, entry: &Entry) {
        let at_path = self.by_path.get(&entry.path).and_then(|place| self.entries.get(*place));
        let of_log = entry.part.as_ref().and_then(|part| self.parts.get(&part.log));
        let staged = at_path.into_iter().chain(of_log);
        let ended =
            staged.filter(|staged| matches!(staged.fate, Fate::Rejected { .. }) && ends_rejection(staged, entry));
        self.replaced.extend(ended.map(|staged| staged.id));
    }

    /// Whether an entry of this batch is the end of a rejection.
    pub fn ends_rejection(&self, rejected: &Entry) -> bool {
        self.entries.iter().chain(self.found_again.values()).any(|entry| ends_rejection(rejected, entry))
    }

    /// Logs that have parts in it.
    pub fn logs(&self) -> impl Iterator<Item = u64> {
        self.parts.keys().copied()
    }

    /// An entry as it will be with `rows` rows more: of this batch, or of the ledger.
    pub fn extend(&mut self, entry: Entry, rows: u64) {
        self.rows += rows;
        self.note_part(&entry);
        let first_id = self.entries.first().map_or(u64::MAX, |first| first.id);
        match entry.id.checked_sub(first_id).and_then(|place| self.entries.get_mut(place as usize)) {
            Some(staged) => *staged = entry,
            None => drop(self.extended.insert(entry.id, entry)),
        }
    }

    fn note_part(&mut self, entry: &Entry) {
        if let Some(part) = &entry.part {
            self.log_of_inode.insert(entry.identity.inode, part.log);
            self.parts.insert(part.log, entry.clone());
        }
    }

    /// Names that its sources have.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().chain(self.found_again.values()).map(|entry| &*entry.path)
    }

    /// Rejected sources that are to be forgotten.
    pub fn replaced(&self) -> &[u64] {
        &self.replaced
    }

    /// For the transaction.
    pub fn extended(&self) -> Vec<Entry> {
        self.extended.values().cloned().collect()
    }

    /// A known source, as it will be: under its new name, with its new identity.
    pub fn push_found_again(&mut self, entry: Entry) {
        let first_id = self.entries.first().map_or(u64::MAX, |first| first.id);
        if let Some(place) = entry.id.checked_sub(first_id).map(|place| place as usize) {
            // It is itself part of this batch.
            if let Some(staged) = self.entries.get_mut(place) {
                if self.by_path.get(&staged.path) == Some(&place) {
                    self.by_path.remove(&staged.path);
                }
                self.by_path.insert(entry.path.clone(), place);
                self.by_inode.insert((entry.identity.inode, place));
                *staged = entry;
            }
            return;
        }
        self.replace(&entry);
        let before = self.found_again.get(&entry.id).map(|before| &before.path);
        if let Some(path) = before.filter(|path| self.found_by_path.get(*path) == Some(&entry.id)) {
            self.found_by_path.remove(path);
        }
        self.found_by_path.insert(entry.path.clone(), entry.id);
        self.found_again.insert(entry.id, entry);
    }

    /// For the transaction.
    pub fn found_again(&self) -> Vec<FoundAgain> {
        let entries = self.found_again.values();
        entries.map(|entry| FoundAgain { id: entry.id, path: entry.path.clone(), identity: entry.identity }).collect()
    }
}

/// The ledger as it will be after the batch.
pub struct Staged<'a> {
    pub batch: &'a Batch,
    pub ledger: &'a dyn Ledger,
    pub disk: &'a dyn Disk,
    /// Paths in the ledger are relative to this folder, or absolute.
    pub base: &'a Path,
    /// Sources that were moved or deleted, which the ledger could not note yet.
    pub unnoted: &'a [(u64, PathBuf)],
}

impl Staged<'_> {
    /// The newest part of this log.
    pub fn newest_part(&self, log: u64) -> Result<Option<Entry>, LedgerError> {
        match self.batch.parts.get(&log) {
            Some(entry) => Ok(Some(entry.clone())),
            None => self.ledger.newest_part(log),
        }
    }

    /// The newest part of the log that has this inode.
    pub fn newest_part_of_inode(&self, inode: u64) -> Result<Option<Entry>, LedgerError> {
        let staged = self.batch.log_of_inode.get(&inode).and_then(|log| self.batch.parts.get(log));
        if let Some(entry) = staged.filter(|entry| entry.identity.inode == inode) {
            return Ok(Some(entry.clone()));
        }
        let committed = self.ledger.newest_part_of_inode(inode)?;
        Ok(committed.filter(|entry| !self.batch.parts.contains_key(&entry.source_id())))
    }

    /// As the ledger will have it once it has taken where sources went.
    fn noted(&self, mut entry: Entry) -> Entry {
        if let Some((_, moved_to)) = self.unnoted.iter().find(|(id, _)| *id == entry.id) {
            entry.moved_to = Some(moved_to.clone());
        }
        entry
    }

    fn staged(&self, place: Option<&usize>) -> Option<&Entry> {
        self.batch.entries.get(*place?)
    }

    /// The newest entry under this path: of the batch, or of the ledger, where those that the batch moves away do not count.
    fn newest_at(&self, path: &Path, is_wanted: fn(&Entry) -> bool) -> Result<Option<Entry>, LedgerError> {
        if let Some(entry) = self.staged(self.batch.by_path.get(path)).filter(|entry| is_wanted(entry)) {
            return Ok(Some(entry.clone()));
        }
        let moved = self.batch.found_by_path.get(path).and_then(|id| self.batch.found_again.get(id));
        let mut below = u64::MAX;
        while let Some(entry) = self.ledger.newest_at(path, below)?.map(|entry| self.noted(entry)) {
            if moved.is_some_and(|moved| moved.id > entry.id) {
                break;
            }
            if is_wanted(&entry) && !self.batch.found_again.contains_key(&entry.id) {
                return Ok(Some(entry));
            }
            below = entry.id;
        }
        Ok(moved.cloned())
    }
}

impl Known for Staged<'_> {
    fn at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
        self.newest_at(path, |_| true)
    }

    fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError> {
        let places = self.batch.by_inode.range((identity.inode, 0)..=(identity.inode, usize::MAX)).rev();
        let staged = places.filter_map(|(_, place)| self.staged(Some(place)).cloned());
        let committed = self.ledger.with_identity(identity)?.into_iter().map(|entry| {
            let found_again = self.batch.found_again.get(&entry.id).cloned();
            found_again.unwrap_or_else(|| self.noted(entry))
        });
        Ok(staged.chain(committed).filter(|entry| entry.identity == identity).collect())
    }

    fn is_elsewhere(&self, entry: &Entry, path: &Path) -> bool {
        is_elsewhere(self.disk, self.base, entry, path)
    }
}

impl KnownContent for Staged<'_> {
    fn committed_at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
        self.newest_at(path, |entry| matches!(entry.fate, Fate::Committed(_)))
    }

    fn with_hash(&self, hash: &Hash) -> Result<Option<Entry>, LedgerError> {
        match self.ledger.with_hash(hash)? {
            Some(entry) => Ok(Some(entry)),
            None => Ok(self.staged(self.batch.by_hash.get(hash)).cloned()),
        }
    }

    /// Of the ledger: what this batch has was not committed before any file was made.
    fn with_inode(&self, identity: Identity, hash: &Hash) -> Result<Vec<Entry>, LedgerError> {
        let committed = self.ledger.with_inode(identity, hash)?.into_iter().map(|entry| self.noted(entry));
        Ok(committed.filter(|entry| !self.batch.found_again.contains_key(&entry.id)).collect())
    }

    fn is_younger(&self, entry: &Entry, path: &Path) -> Result<Option<bool>, LedgerError> {
        let status = self.disk.status(&self.base.join(path)).ok().flatten();
        let status = status.filter(|status| status.inode == entry.identity.inode && status.born_ns.is_some());
        let Some(status) = status else { return Ok(None) };
        Ok(self.ledger.committed_ms(entry.id)?.and_then(|committed_ms| status.is_made_after(committed_ms)))
    }
}

/// Whether nothing is left of what was rejected once there is a later entry: another file has its name; or, of a log, it goes on,
/// or its file was written anew. Another log in its place does not take back that the rest of it is in no row.
fn ends_rejection(rejected: &Entry, later: &Entry) -> bool {
    let has_name = later.path == rejected.path;
    match &rejected.part {
        None => has_name,
        Some(part) => {
            later.part.as_ref().is_some_and(|later| later.log == part.log)
                || has_name && later.identity.inode == rejected.identity.inode
        }
    }
}

/// The ledger's rules as the config has them.
pub fn rules(options: &Dataset) -> Rules {
    Rules {
        keeps: options.watch.after == Disposal::Keep,
        append_changed: options.watch.changed == Changed::Append,
        skip_duplicates: options.watch.duplicates == Duplicates::Skip,
    }
}

/// Whether the entry's file is still there under the entry's path, and that is another name than `path`: the same name may
/// be spelled in two ways (relative and absolute, through a symbolic link). Paths are relative to `base`, or absolute.
pub fn is_elsewhere(disk: &dyn Disk, base: &Path, entry: &Entry, path: &Path) -> bool {
    let (old, new) = (base.join(&entry.path), base.join(path));
    match disk.status(&old) {
        Ok(Some(status)) if status.inode == entry.identity.inode => !is_same_name(disk, &old, &new),
        _ => false,
    }
}

fn is_same_name(disk: &dyn Disk, one: &Path, other: &Path) -> bool {
    // "." goes through a symbolic link that is the folder.
    let folder = |path: &Path| path.parent().and_then(|folder| disk.status(&folder.join(".")).ok().flatten());
    match (folder(one), folder(other)) {
        (Some(one_in), Some(other_in)) => {
            (one_in.device, one_in.inode) == (other_in.device, other_in.inode) && one.file_name() == other.file_name()
        }
        _ => one == other,
    }
}
