//! The ledger: which sources are in a dataset and how many rows are committed. It is the sole authority.
//!
//! A header cannot commit several column files at once, so the count in the headers is a *publication* that can be
//! redone, and the ledger's transaction is the commit. Its tables are documented in `docs/format.md`, for `sqlite3` and
//! Python's standard library.

mod decide;
#[cfg(feature = "simulation")]
pub mod memory;
mod opening;
mod queries;
mod schema;
mod settle;
mod sqlite;
mod statements;
mod upgrade;
mod view;

pub use decide::{FirstLook, Known, KnownContent, LastLook, Rules, first_look, last_look};
pub use opening::no_ledger;
pub use schema::LedgerSchema;
pub use sqlite::SqliteLedgers;
pub use view::{Counts, LedgerView, Listed, Snapshot};

use std::io;
use std::path::{Path, PathBuf};

use crate::source::{Hash, Identity, LogState, Part};

/// A source as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value in the `source` column; for a log that is followed, see [`Self::source_id`].
    pub id: u64,
    /// As configured: relative to the config file's folder where the watched folder is given so.
    pub path: PathBuf,
    pub identity: Identity,
    /// Content. `None` for a rejected source that could not be read.
    pub hash: Option<Hash>,
    pub fate: Fate,
    /// Where it was moved to, where it was. Empty: it was deleted.
    pub moved_to: Option<PathBuf>,
    /// Set for a part of a log that is followed. Its `hash` is that of these bytes.
    pub part: Option<Part>,
}

impl Entry {
    /// The value in the `source` column.
    pub fn source_id(&self) -> u64 {
        self.part.as_ref().map_or(self.id, |part| part.log)
    }

    /// Whither it went, in words: a place below `base` as the config has its paths. `None`: it was left where it was.
    pub fn whither(&self, base: &Path) -> Option<String> {
        let moved_to = self.moved_to.as_ref()?;
        if moved_to.as_os_str().is_empty() {
            return Some("deleted".to_owned());
        }
        Some(format!("moved to {}", moved_to.strip_prefix(base).unwrap_or(moved_to).display()))
    }

    /// Where the log stands, if this is its newest part.
    pub fn log_state(&self) -> Option<LogState> {
        let rows = match &self.fate {
            Fate::Committed(committed) => committed.rows,
            Fate::Rejected { .. } => 0,
        };
        self.part.clone().map(|part| LogState { next_index: part.first_index + rows, part })
    }
}

/// What became of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Committed(Committed),
    Rejected { reason: String },
}

/// The rows of a committed source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub first_row: u64,
    pub rows: u64,
    /// BLAKE3 of its rows in the main file.
    pub checksum: Hash,
    /// BLAKE3 of its rows in the column files, one file after the other in the order of [`LedgerSchema::columns`].
    pub columns_checksum: Hash,
    /// Of which source it is a duplicate, or what was left out of it.
    pub note: Option<String>,
}

/// Where a dataset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Committed rows: N.
    pub rows: u64,
    pub next_source_id: u64,
    /// Rows below this were verified against their checksums, or written so long ago that a crash cannot reach them.
    pub clean_rows: u64,
    /// Rows may have been committed without syncs, and none have made up for it: a power cut may have taken any of them.
    pub unsynced: bool,
}

/// One transaction.
#[derive(Debug)]
pub struct Transaction<'a> {
    pub state: State,
    pub sources: &'a [Entry],
    /// Known sources found under a new name or inode.
    pub found_again: &'a [FoundAgain],
    /// Committed parts of logs that go on, as they will be.
    pub extended: &'a [Entry],
    /// Rejected sources that are to be listed no longer.
    pub forgotten: &'a [u64],
    /// Class names that the ledger does not have yet, with ids that go on from those it has.
    pub new_labels: &'a [String],
}

/// A known source that now has another name or inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundAgain {
    pub id: u64,
    pub path: PathBuf,
    pub identity: Identity,
}

/// What happened to a transaction that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It is certain that nothing was committed, and the cause may pass: no room, or another process holds the ledger.
    #[error("the ledger {} took nothing: {reason}", path.display())]
    NotCommitted { path: PathBuf, reason: String },
    /// It may or may not have been committed; only opening the ledger again can tell.
    #[error("the ledger {} failed, and whether it took the last rows is not known: {reason}", path.display())]
    Unknown { path: PathBuf, reason: String },
}

/// Why a ledger cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the ledger {}: {operation}: {source}{}", path.display(), opening::what_to_do(path, source))]
    Sqlite { path: PathBuf, operation: &'static str, source: rusqlite::Error },
    #[error("the ledger {}: {operation}: {source}", path.display())]
    Io { path: PathBuf, operation: &'static str, source: io::Error },
    #[error("syncing the ledger {}: {source}", path.display())]
    Sync { path: PathBuf, source: io::Error },
    #[error("{} is not a ledger of this version of npy-ingest: {found}", path.display())]
    Foreign { path: PathBuf, found: String },
}

impl LedgerError {
    /// Whether a disk has failed: it is not asked again.
    pub fn is_of_a_failing_disk(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure) && !self.may_pass()
            }
            Self::Io { source, .. } => source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
            // A failed sync is never tried again.
            Self::Sync { .. } => true,
            Self::Foreign { .. } => false,
        }
    }

    /// Whether the cause may pass by itself: a missing or read-only folder, no room, a busy ledger.
    pub fn may_pass(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, PermissionDenied, ReadOnly};
        match self {
            Self::Sqlite { source, .. } => {
                let code = source.sqlite_error_code();
                // The shared memory of the log could not be made or enlarged: a full disk as well.
                let extended = source.sqlite_error().map_or(0, |error| error.extended_code);
                matches!(
                    code,
                    Some(CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull | PermissionDenied | ReadOnly)
                ) || matches!(
                    extended,
                    rusqlite::ffi::SQLITE_IOERR_SHMOPEN
                        | rusqlite::ffi::SQLITE_IOERR_SHMSIZE
                        | rusqlite::ffi::SQLITE_IOERR_SHMMAP
                )
            }
            Self::Io { .. } => !self.is_of_a_failing_disk(),
            Self::Sync { .. } | Self::Foreign { .. } => false,
        }
    }
}

/// The ledger of one dataset, open for writing. Only the writer has one.
pub trait Ledger: Send {
    fn schema(&self) -> &LedgerSchema;
    fn state(&self) -> State;
    /// Class names in the order of their ids.
    fn labels(&self) -> &[String];
    /// The newest entry under this path with an id below this one.
    fn newest_at(&self, path: &Path, below: u64) -> Result<Option<Entry>, LedgerError>;
    /// The newest entries with this inode, size and modification time, the newest first.
    fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError>;
    /// The newest committed entries with this inode, size and content, the newest first.
    fn with_inode(&self, identity: Identity, hash: &Hash) -> Result<Vec<Entry>, LedgerError>;
    /// When the transaction was that wrote this entry last: milliseconds since 1970. `None`: that is not known.
    fn committed_ms(&self, id: u64) -> Result<Option<i64>, LedgerError>;
    /// The oldest committed entry with rows and this content.
    fn with_hash(&self, hash: &Hash) -> Result<Option<Entry>, LedgerError>;
    /// The newest part of the log that has this inode; a log that went on in another file has that one's.
    fn newest_part_of_inode(&self, inode: u64) -> Result<Option<Entry>, LedgerError>;
    /// The newest part of this log.
    fn newest_part(&self, log: u64) -> Result<Option<Entry>, LedgerError>;
    /// The rejected sources that had this path, and where they were moved to.
    fn rejected_at(&self, path: &Path) -> Result<Vec<(u64, Option<PathBuf>)>, LedgerError>;
    /// The committed sources that have rows at or after `row`, in row order, at most `limit`.
    fn committed_from(&self, row: u64, limit: usize) -> Result<Vec<Entry>, LedgerError>;
    /// All or nothing, durable on return.
    fn commit(&mut self, transaction: &Transaction<'_>) -> Result<(), CommitError>;
    /// Notes where disposed-of sources went; an empty path: deleted. Their inodes are free for others.
    fn note_moved(&mut self, moved: &[(u64, PathBuf)]) -> Result<(), LedgerError>;
    /// Whether a source went to this place that has this content, or one that is not known, but for this one.
    fn has_moved_to(&self, path: &Path, hash: &Hash, but: Option<u64>) -> Result<bool, LedgerError>;
    /// Rejected sources of which it is not noted that they were moved away, and whether there is a newer source under their path.
    fn not_moved(&self) -> Result<Vec<(Entry, bool)>, LedgerError>;
    /// Rejected sources that are to be listed no longer.
    fn forget(&mut self, rejected: &[u64]) -> Result<(), LedgerError>;
    /// Notes that this log was seen to have no more than `size` bytes when it had been taken up to `end`, and waits.
    fn note_cut(&mut self, log: u64, end: u64, size: u64) -> Result<(), LedgerError>;
    /// Takes these settings in place of those that it has. There must be no rows. Logs that were taken in parts, though none
    /// gave a row, are forgotten: what was passed over may be a row now. All or nothing, durable on return.
    fn take_settings(&mut self, settings: &[(String, String)]) -> Result<(), LedgerError>;
    /// Notes that all rows below `rows` are verified and synced. Not needed for correctness.
    fn mark_clean(&mut self, rows: u64) -> Result<(), LedgerError>;
    /// Notes that rows from `rows` on may be committed without syncs, while those below are verified and synced. Durable on return,
    /// with all that was committed before.
    fn mark_unsynced(&mut self, rows: u64) -> Result<(), LedgerError>;
}

/// Where ledgers come from.
pub trait Ledgers: Send + Sync {
    /// The ledger at `path`, or `None` where there is none.
    fn open(&self, path: &Path, durable: bool) -> Result<Option<Box<dyn Ledger>>, LedgerError>;
    /// A new, empty ledger; durable on return, also under its name.
    fn create(&self, path: &Path, schema: &LedgerSchema, durable: bool) -> Result<Box<dyn Ledger>, LedgerError>;
}
