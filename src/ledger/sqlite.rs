//! The ledger in SQLite.
//!
//! WAL with `synchronous=FULL`: a committed transaction is one append and one sync of the log. Where files cannot be mapped as
//! shared memory (some network and FUSE filesystems), the rollback journal serves.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::ffi::SQLITE_IOERR_SHMMAP;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use super::opening::is_there;
use super::queries::{self, Lookup};
use super::settle::{settle, sync_folder};
use super::{CommitError, Entry, Ledger, LedgerError, LedgerSchema, Ledgers, State, Transaction, statements, upgrade};
use crate::source::{Hash, Identity};

/// `PRAGMA application_id`: "npyi".
pub(super) const APPLICATION_ID: i32 = 0x6e70_7969;
/// `PRAGMA user_version`.
pub(super) const VERSION: i32 = 3;
/// How long another process (a `sqlite3` shell, `retry`) may hold the ledger before a commit gives up and the dataset
/// pauses. All datasets wait for it.
const WRITER_BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// The same where there is a rollback journal: each reader holds it.
const JOURNAL_BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the commands wait for a ledger.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const CREATE: &str = "
CREATE TABLE dataset (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    rows           INTEGER NOT NULL,   -- N: rows below it are committed
    next_source_id INTEGER NOT NULL,
    clean_rows     INTEGER NOT NULL,   -- rows below it need no check after a crash
    columns        TEXT NOT NULL,      -- JSON list of the column files' names
    unsynced       INTEGER NOT NULL    -- 1: rows may have been committed without syncs
);
CREATE TABLE settings (
    place INTEGER PRIMARY KEY,
    key   TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL                -- what the rows were made with
);
CREATE TABLE labels (
    id   INTEGER PRIMARY KEY,          -- the value in the label column
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE sources (
    id               INTEGER PRIMARY KEY,  -- the value in the source column
    path             NOT NULL,             -- TEXT; a BLOB where it is not UTF-8
    size             INTEGER NOT NULL,     -- bytes
    mtime_ns         INTEGER NOT NULL,
    inode            INTEGER NOT NULL,
    hash             TEXT,                 -- BLAKE3 of the content, hexadecimal
    status           TEXT NOT NULL CHECK (status IN ('committed', 'rejected')),
    reason           TEXT,                 -- why rejected; of a committed one: its original, what was left out
    first_row        INTEGER,
    rows             INTEGER NOT NULL,
    checksum         TEXT,                 -- BLAKE3 of the rows' bytes
    columns_checksum TEXT,                 -- BLAKE3 of the rows' bytes in the column files, in their order
    committed_at     TEXT NOT NULL,        -- UTC, ISO 8601
    moved_to,                              -- TEXT or BLOB: where the source went after its commit; empty: deleted
    log              INTEGER,              -- for a part of a log that is followed: the id of the log's first part
    log_index        INTEGER,              -- rows of the log before this part
    log_begin        INTEGER,              -- the bytes of the file that this part is
    log_end          INTEGER,
    log_head_at      INTEGER,              -- where the log's first record begins
    log_head         BLOB,                 -- its first bytes
    log_tail         TEXT,                 -- BLAKE3 of the last bytes before log_end
    log_marks        BLOB,                 -- short hashes of what lies before its first record, and of its beginning
    log_cut          INTEGER               -- the smallest size to which it was seen to be cut since
);
CREATE INDEX sources_path ON sources (path);
CREATE INDEX sources_inode ON sources (inode);
CREATE INDEX sources_log ON sources (log, id) WHERE log IS NOT NULL;
CREATE INDEX sources_first_row ON sources (first_row) WHERE rows > 0;
CREATE INDEX sources_rejected ON sources (id) WHERE status = 'rejected';
";

/// Where duplicates are skipped.
const HASHES_INDEX: &str = "CREATE INDEX IF NOT EXISTS sources_hash ON sources (hash) WHERE rows > 0";
/// Where sources are moved to other disks.
const MOVES_INDEX: &str = "CREATE INDEX IF NOT EXISTS sources_moved_to ON sources (moved_to) WHERE moved_to <> ''";

/// SQLite ledgers in real files.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteLedgers;

impl Ledgers for SqliteLedgers {
    fn open(&self, path: &Path, durable: bool) -> Result<Option<Box<dyn Ledger>>, LedgerError> {
        if !is_there(path)? {
            return Ok(None);
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, durable)?;
        if queries::is_unborn(&connection).map_err(at(path, "reading it"))? {
            return Ok(None);
        }
        let ledger = SqliteLedger::load(path, connection)?;
        if durable {
            settle(path, &ledger.connection)?;
        }
        Ok(Some(Box::new(ledger)))
    }

    fn create(&self, path: &Path, schema: &LedgerSchema, durable: bool) -> Result<Box<dyn Ledger>, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(path, flags, durable)?;
        let columns = serde_json::Value::from(schema.columns.as_slice()).to_string();
        let fill = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(CREATE)?;
            transaction.execute("INSERT INTO dataset VALUES (1, 0, 1, 0, ?1, 0)", params![columns])?;
            statements::set_settings(&transaction, &schema.settings)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()
        };
        fill(&mut connection).map_err(at(path, "creating it"))?;
        if durable {
            // SQLite makes the name of its log durable, not that of the database itself.
            let real = path.canonicalize().map_err(|source| LedgerError::Io {
                path: path.into(),
                operation: "finding it",
                source,
            })?;
            sync_folder(path, &real)?;
        }
        Ok(Box::new(SqliteLedger::load(path, connection)?))
    }
}

fn connect(path: &Path, flags: OpenFlags, durable: bool) -> Result<Connection, LedgerError> {
    let plain = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(WRITER_BUSY_TIMEOUT)?;
        Ok(connection)
    };
    let open = || -> rusqlite::Result<Connection> {
        let mut connection = plain()?;
        let has_log = match begin_log(&connection) {
            Err(error) if error.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_SHMMAP) => {
                drop(connection);
                connection = plain()?;
                leave_log(&connection)?;
                // Whoever reads keeps commits waiting.
                connection.busy_timeout(JOURNAL_BUSY_TIMEOUT)?;
                false
            }
            has_log => has_log?,
        };
        let synchronous = match (durable, has_log) {
            // Each commit syncs the log; or the journal, the database, and the folder that the journal is gone from.
            (true, true) => "FULL",
            (true, false) => "EXTRA",
            // Nothing is synced until the log is full: then the database, so that it can be built upon once the config asks for
            // more.
            (false, true) => "NORMAL",
            (false, false) => "OFF",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        keep_plans(&connection)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    };
    open().map_err(at(path, "opening it"))
}

/// Chooses between the log and the rollback journal: `true` for the log. A ledger with a journal keeps it. That the log cannot be
/// used shows by the first statement.
fn begin_log(connection: &Connection) -> rusqlite::Result<bool> {
    let was: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if was == "delete" && !queries::is_unborn(connection)? {
        return Ok(false);
    }
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    queries::is_unborn(connection).map(|_| true)
}

/// From the log to the rollback journal. Whoever has the ledger for himself from the start needs no shared memory for it.
fn leave_log(connection: &Connection) -> rusqlite::Result<()> {
    for (name, value) in [("locking_mode", "EXCLUSIVE"), ("journal_mode", "DELETE"), ("locking_mode", "NORMAL")] {
        let is: String = connection.pragma_update_and_check(None, name, value, |row| row.get(0))?;
        if !is.eq_ignore_ascii_case(value) {
            let error = rusqlite::ffi::Error::new(SQLITE_IOERR_SHMMAP);
            return Err(rusqlite::Error::SqliteFailure(error, Some(format!("{name} is {is}, expected {value}"))));
        }
    }
    // Gives the lock back.
    queries::is_unborn(connection).map(drop)
}

/// One plan for a statement, whatever is looked for. Else SQLite prepares each statement anew for every value, which takes
/// longer than the look-up.
pub(super) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn at(path: &Path, operation: &'static str) -> impl Fn(rusqlite::Error) -> LedgerError {
    move |source| LedgerError::Sqlite { path: path.into(), operation, source }
}

struct SqliteLedger {
    path: PathBuf,
    connection: Connection,
    schema: LedgerSchema,
    state: State,
    labels: Vec<String>,
    hashes_indexed: Cell<bool>,
    moves_indexed: Cell<bool>,
}

impl SqliteLedger {
    fn load(path: &Path, connection: Connection) -> Result<Self, LedgerError> {
        queries::check_version(path, &connection)?;
        upgrade::add_columns(&connection).map_err(at(path, "adding columns"))?;
        let schema = queries::schema(&connection).map_err(at(path, "reading its settings"))?;
        let state = queries::state(&connection).map_err(at(path, "reading its state"))?;
        let labels = queries::labels(&connection).map_err(at(path, "reading its labels"))?;
        let (hashes_indexed, moves_indexed) = (Cell::new(false), Cell::new(false));
        Ok(Self { path: path.into(), connection, schema, state, labels, hashes_indexed, moves_indexed })
    }

    /// An index that few datasets need is made by the first question that does.
    fn index_once(&self, is_there: &Cell<bool>, index: &str) -> Result<(), LedgerError> {
        if !is_there.get() {
            self.connection.execute_batch(index).map_err(at(&self.path, "indexing it"))?;
            is_there.set(true);
        }
        Ok(())
    }

    /// A transaction beside the commits.
    fn note(
        &mut self,
        operation: &'static str,
        fill: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), LedgerError> {
        let note = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            fill(&transaction)?;
            transaction.commit()
        };
        note().map_err(at(&self.path, operation))
    }

    /// A transaction that is synced in any case, and with it all before.
    fn synced<T>(&self, change: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let was: i64 = self.connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        self.connection.pragma_update(None, "synchronous", "EXTRA")?;
        let changed = change();
        self.connection.pragma_update(None, "synchronous", was)?;
        changed
    }

    fn find(&self, lookup: Lookup<'_>) -> Result<Option<Entry>, LedgerError> {
        queries::find(&self.connection, lookup).map_err(at(&self.path, "looking up a source"))
    }

    /// Tells a transaction that certainly did not happen from one that may have.
    fn commit_error(&self, error: &rusqlite::Error, committing: bool) -> CommitError {
        let path = self.path.clone();
        let reason = error.to_string();
        let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        let busy = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
        // Before COMMIT nothing can have been committed; SQLITE_FULL and SQLITE_BUSY are refusals also there.
        if full || busy || (!committing && error.sqlite_error_code() != Some(ErrorCode::SystemIoFailure)) {
            CommitError::NotCommitted { path, reason }
        } else {
            CommitError::Unknown { path, reason }
        }
    }
}

impl Ledger for SqliteLedger {
    fn schema(&self) -> &LedgerSchema {
        &self.schema
    }

    fn state(&self) -> State {
        self.state
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn newest_at(&self, path: &Path, below: u64) -> Result<Option<Entry>, LedgerError> {
        self.find(Lookup::Path(path, below))
    }

    fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError> {
        queries::with_identity(&self.connection, identity).map_err(at(&self.path, "looking up a source"))
    }

    fn with_inode(&self, identity: Identity, hash: &Hash) -> Result<Vec<Entry>, LedgerError> {
        queries::with_inode(&self.connection, identity, hash).map_err(at(&self.path, "looking up a source"))
    }

    fn committed_ms(&self, id: u64) -> Result<Option<i64>, LedgerError> {
        queries::committed_ms(&self.connection, id).map_err(at(&self.path, "looking up the time of a source"))
    }

    fn with_hash(&self, hash: &Hash) -> Result<Option<Entry>, LedgerError> {
        self.index_once(&self.hashes_indexed, HASHES_INDEX)?;
        self.find(Lookup::Hash(hash))
    }

    fn newest_part_of_inode(&self, inode: u64) -> Result<Option<Entry>, LedgerError> {
        self.find(Lookup::PartOfInode(inode))
    }

    fn newest_part(&self, log: u64) -> Result<Option<Entry>, LedgerError> {
        self.find(Lookup::Part(log))
    }

    fn rejected_at(&self, path: &Path) -> Result<Vec<(u64, Option<PathBuf>)>, LedgerError> {
        queries::rejected_at(&self.connection, path).map_err(at(&self.path, "looking up rejected sources"))
    }

    fn committed_from(&self, row: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        queries::committed_from(&self.connection, row, limit).map_err(at(&self.path, "reading the committed sources"))
    }

    fn commit(&mut self, new: &Transaction<'_>) -> Result<(), CommitError> {
        let first_label = self.labels.len();
        let mut committing = false;
        let mut fill = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            statements::insert(&transaction, new.sources)?;
            statements::extend(&transaction, new.extended)?;
            statements::rename(&transaction, new.found_again)?;
            statements::forget(&transaction, new.forgotten)?;
            statements::label(&transaction, first_label, new.new_labels)?;
            statements::set_state(&transaction, new.state)?;
            committing = true;
            transaction.commit()
        };
        fill().map_err(|error| self.commit_error(&error, committing))?;
        self.state = new.state;
        self.labels.extend_from_slice(new.new_labels);
        Ok(())
    }

    fn has_moved_to(&self, path: &Path, hash: &Hash, but: Option<u64>) -> Result<bool, LedgerError> {
        self.index_once(&self.moves_indexed, MOVES_INDEX)?;
        queries::has_moved_to(&self.connection, path, hash, but).map_err(at(&self.path, "looking for what was moved"))
    }

    fn not_moved(&self) -> Result<Vec<(Entry, bool)>, LedgerError> {
        queries::not_moved(&self.connection).map_err(at(&self.path, "looking for rejected sources that are gone"))
    }

    fn forget(&mut self, rejected: &[u64]) -> Result<(), LedgerError> {
        self.note("forgetting rejected sources that are gone", |transaction| statements::forget(transaction, rejected))
    }

    fn note_cut(&mut self, log: u64, end: u64, size: u64) -> Result<(), LedgerError> {
        self.note("noting that a log was cut", |transaction| statements::note_cut(transaction, log, end, size))
    }

    fn note_moved(&mut self, moved: &[(u64, PathBuf)]) -> Result<(), LedgerError> {
        self.note("noting where sources went", |transaction| statements::move_away(transaction, moved))
    }

    fn take_settings(&mut self, settings: &[(String, String)]) -> Result<(), LedgerError> {
        self.note("taking new settings", |transaction| {
            statements::set_settings(transaction, settings)?;
            statements::forget_logs(transaction)
        })?;
        self.schema.settings = settings.to_vec();
        Ok(())
    }

    fn mark_clean(&mut self, rows: u64) -> Result<(), LedgerError> {
        let mark = || self.connection.execute("UPDATE dataset SET clean_rows = ?1, unsynced = 0", params![rows as i64]);
        // Whoever has the ledger open to read it keeps its log from being synced at the end.
        let marked = if self.state.unsynced { self.synced(mark) } else { mark() };
        marked.map_err(at(&self.path, "marking it clean"))?;
        (self.state.clean_rows, self.state.unsynced) = (rows, false);
        Ok(())
    }

    fn mark_unsynced(&mut self, rows: u64) -> Result<(), LedgerError> {
        let mark = || self.connection.execute("UPDATE dataset SET clean_rows = ?1, unsynced = 1", params![rows as i64]);
        self.synced(mark).map_err(at(&self.path, "marking it as not synced"))?;
        (self.state.clean_rows, self.state.unsynced) = (rows, true);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
