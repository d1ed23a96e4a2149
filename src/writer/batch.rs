//! What is staged for the next transaction.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::ledger::{Entry, Fate, FoundAgain, Known, KnownContent, Ledger, LedgerError};
use crate::source::{Hash, Identity};
use crate::storage::Disk;

/// Sources that are staged and not committed.
#[derive(Debug, Default)]
pub struct Batch {
    pub entries: Vec<Entry>,
    pub found_again: Vec<FoundAgain>,
    pub new_labels: Vec<String>,
    /// Bytes of rows in the main file.
    pub bytes: u64,
    pub rows: u64,
    /// When the first of them was staged.
    pub since: Option<Instant>,
    by_path: HashMap<PathBuf, usize>,
    by_hash: HashMap<Hash, usize>,
    by_inode: HashMap<u64, usize>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.found_again.is_empty()
    }

    pub fn push(&mut self, entry: Entry) {
        let place = self.entries.len();
        self.by_path.insert(entry.path.clone(), place);
        self.by_inode.insert(entry.identity.inode, place);
        if let (Some(hash), Fate::Committed(committed)) = (entry.hash, &entry.fate) {
            self.rows += committed.rows;
            if committed.rows > 0 {
                self.by_hash.entry(hash).or_insert(place);
            }
        }
        self.entries.push(entry);
    }

    pub fn push_found_again(&mut self, found: FoundAgain) {
        self.found_again.push(found);
    }
}

/// The ledger as it will be after the batch.
pub struct Staged<'a> {
    pub batch: &'a Batch,
    pub ledger: &'a dyn Ledger,
    pub disk: &'a dyn Disk,
    /// Paths in the ledger are relative to this folder, or absolute.
    pub base: &'a Path,
}

impl Staged<'_> {
    fn staged(&self, place: Option<&usize>) -> Option<Entry> {
        self.batch.entries.get(*place?).cloned()
    }
}

impl Known for Staged<'_> {
    fn at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
        match self.staged(self.batch.by_path.get(path)) {
            Some(entry) => Ok(Some(entry)),
            None => self.ledger.at_path(path),
        }
    }

    fn with_identity(&self, identity: Identity) -> Result<Option<Entry>, LedgerError> {
        match self.staged(self.batch.by_inode.get(&identity.inode)).filter(|entry| entry.identity == identity) {
            Some(entry) => Ok(Some(entry)),
            None => self.ledger.with_identity(identity),
        }
    }

    fn still_there(&self, entry: &Entry) -> bool {
        let status = self.disk.status(&self.base.join(&entry.path));
        matches!(status, Ok(Some(status)) if status.inode == entry.identity.inode)
    }
}

impl KnownContent for Staged<'_> {
    fn committed_at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
        match self.staged(self.batch.by_path.get(path)).filter(|entry| matches!(entry.fate, Fate::Committed(_))) {
            Some(entry) => Ok(Some(entry)),
            None => self.ledger.committed_at_path(path),
        }
    }

    fn with_hash(&self, hash: &Hash) -> Result<Option<Entry>, LedgerError> {
        match self.ledger.with_hash(hash)? {
            Some(entry) => Ok(Some(entry)),
            None => Ok(self.staged(self.batch.by_hash.get(hash))),
        }
    }
}
