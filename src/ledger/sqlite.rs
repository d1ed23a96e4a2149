//! The ledger in SQLite.
//!
//! WAL with `synchronous=FULL`: a committed transaction is one append and one sync of the log. Where the filesystem has
//! no shared memory (NFS), SQLite answers `PRAGMA journal_mode=WAL` with another mode, and the rollback journal serves.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use super::view::{self, Lookup, path_value};
use super::{CommitError, Committed, Entry, Fate, Ledger, LedgerError, LedgerSchema, Ledgers, State, Transaction};
use crate::source::{Hash, Identity};

/// `PRAGMA application_id`: "npyi".
pub(super) const APPLICATION_ID: i32 = 0x6e70_7969;
/// `PRAGMA user_version`.
pub(super) const VERSION: i32 = 2;
/// How long another process (a `sqlite3` shell, `retry`) may hold the ledger before a commit gives up and the dataset
/// pauses. All datasets wait for it.
const WRITER_BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// How long the commands wait for a ledger.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const CREATE: &str = "
CREATE TABLE dataset (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    rows           INTEGER NOT NULL,   -- N: rows below it are committed
    next_source_id INTEGER NOT NULL,
    clean_rows     INTEGER NOT NULL,   -- rows below it need no check after a crash
    columns        TEXT NOT NULL       -- JSON list of the column files' names
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
    reason           TEXT,                 -- why rejected, or why committed without rows
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
    log_tail         TEXT                  -- BLAKE3 of the last bytes before log_end
);
CREATE INDEX sources_path ON sources (path);
CREATE INDEX sources_inode ON sources (inode);
CREATE INDEX sources_log ON sources (log, id) WHERE log IS NOT NULL;
CREATE INDEX sources_first_row ON sources (first_row) WHERE rows > 0;
CREATE INDEX sources_rejected ON sources (id) WHERE status = 'rejected';
";

/// SQLite ledgers in real files.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteLedgers;

impl Ledgers for SqliteLedgers {
    fn open(&self, path: &Path, durable: bool) -> Result<Option<Box<dyn Ledger>>, LedgerError> {
        // An empty file is what a crash in the middle of a creation leaves.
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() > 0 => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LedgerError::Io { path: path.into(), operation: "looking for it", source }),
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, durable)?;
        if view::is_unborn(&connection).map_err(at(path, "reading it"))? {
            return Ok(None);
        }
        Ok(Some(Box::new(SqliteLedger::load(path, connection)?)))
    }

    fn create(&self, path: &Path, schema: &LedgerSchema, durable: bool) -> Result<Box<dyn Ledger>, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(path, flags, durable)?;
        let columns = serde_json::to_string(&schema.columns).unwrap_or_default();
        let fill = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(CREATE)?;
            transaction.execute("INSERT INTO dataset VALUES (1, 0, 1, 0, ?1)", params![columns])?;
            for (place, (key, value)) in schema.settings.iter().enumerate() {
                transaction.execute("INSERT INTO settings VALUES (?1, ?2, ?3)", params![place as i64, key, value])?;
            }
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()
        };
        fill(&mut connection).map_err(at(path, "creating it"))?;
        if durable {
            // SQLite makes the name of its log durable, not that of the database itself.
            let folder = path.parent().unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| LedgerError::Io {
                path: path.into(),
                operation: "syncing its folder",
                source,
            })?;
        }
        Ok(Box::new(SqliteLedger::load(path, connection)?))
    }
}

fn connect(path: &Path, flags: OpenFlags, durable: bool) -> Result<Connection, LedgerError> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(WRITER_BUSY_TIMEOUT)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // OFF is enough against a killed process; FULL syncs the log with each commit.
        connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "OFF" })?;
        keep_plans(&connection)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    };
    open().map_err(at(path, "opening it"))
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
    hash_indexed: std::cell::Cell<bool>,
}

impl SqliteLedger {
    fn load(path: &Path, connection: Connection) -> Result<Self, LedgerError> {
        view::check_version(path, &connection)?;
        let schema = view::schema(&connection).map_err(at(path, "reading its settings"))?;
        let state = view::state(&connection).map_err(at(path, "reading its state"))?;
        let labels = view::labels(&connection).map_err(at(path, "reading its labels"))?;
        Ok(Self { path: path.into(), connection, schema, state, labels, hash_indexed: std::cell::Cell::new(false) })
    }

    fn find(&self, lookup: Lookup<'_>) -> Result<Option<Entry>, LedgerError> {
        view::find(&self.connection, lookup).map_err(at(&self.path, "looking up a source"))
    }

    /// Tells a transaction that certainly did not happen from one that may have.
    fn commit_error(&self, error: &rusqlite::Error, committing: bool) -> CommitError {
        let path = self.path.clone();
        let reason = error.to_string();
        let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        let busy = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
        // Before COMMIT nothing can have been committed; SQLITE_FULL and SQLITE_BUSY are refusals also there.
        if full || busy || (!committing && error.sqlite_error_code() != Some(ErrorCode::SystemIoFailure)) {
            CommitError::NotCommitted { path, reason, full }
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
        view::with_identity(&self.connection, identity).map_err(at(&self.path, "looking up a source"))
    }

    fn with_hash(&self, hash: &Hash) -> Result<Option<Entry>, LedgerError> {
        // Asked for only where duplicates are skipped: the index is made by the first such question.
        if !self.hash_indexed.get() {
            self.connection
                .execute_batch("CREATE INDEX IF NOT EXISTS sources_hash ON sources (hash) WHERE rows > 0")
                .map_err(at(&self.path, "indexing the hashes"))?;
            self.hash_indexed.set(true);
        }
        self.find(Lookup::Hash(hash))
    }

    fn newest_part_of_inode(&self, inode: u64) -> Result<Option<Entry>, LedgerError> {
        self.find(Lookup::PartOfInode(inode))
    }

    fn newest_part(&self, log: u64) -> Result<Option<Entry>, LedgerError> {
        self.find(Lookup::Part(log))
    }

    fn committed_from(&self, row: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        view::committed_from(&self.connection, row, limit).map_err(at(&self.path, "reading the committed sources"))
    }

    fn commit(&mut self, new: &Transaction<'_>) -> Result<(), CommitError> {
        let fill = |connection: &mut Connection, committing: &mut bool| -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut forget =
                    transaction.prepare_cached("DELETE FROM sources WHERE path = ?1 AND status = 'rejected'")?;
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO sources (id, path, size, mtime_ns, inode, hash, status, reason, first_row, rows,
                                          checksum, columns_checksum, log, log_index, log_begin, log_end, log_head_at,
                                          log_head, log_tail, committed_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
                             strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
                )?;
                for entry in new.sources {
                    forget.execute(params![path_value(&entry.path)])?;
                    let (status, reason, rows) = match &entry.fate {
                        Fate::Committed(Committed { note, .. }) => ("committed", note.as_deref(), None),
                        Fate::Rejected { reason } => ("rejected", Some(reason.as_str()), Some(())),
                    };
                    let committed = match (&entry.fate, rows) {
                        (Fate::Committed(committed), None) => Some(committed),
                        _ => None,
                    };
                    let part = entry.part.as_ref();
                    insert.execute(params![
                        entry.id as i64,
                        path_value(&entry.path),
                        entry.identity.size as i64,
                        entry.identity.mtime_ns,
                        entry.identity.inode as i64,
                        entry.hash.map(|hash| hash.to_hex().to_string()),
                        status,
                        reason,
                        committed.map(|c| c.first_row as i64),
                        committed.map_or(0, |c| c.rows as i64),
                        committed.map(|c| c.checksum.to_hex().to_string()),
                        committed.map(|c| c.columns_checksum.to_hex().to_string()),
                        part.map(|part| part.log as i64),
                        part.map(|part| part.first_index as i64),
                        part.map(|part| part.begin as i64),
                        part.map(|part| part.end as i64),
                        part.map(|part| part.head_at as i64),
                        part.map(|part| &part.head),
                        part.map(|part| part.tail.to_hex().to_string()),
                    ])?;
                }
                let mut extend = transaction.prepare_cached(
                    "UPDATE sources SET path = ?2, size = ?3, mtime_ns = ?4, inode = ?5, hash = ?6, reason = ?7, rows = ?8,
                                        checksum = ?9, columns_checksum = ?10, log_end = ?11, log_head = ?12, log_tail = ?13,
                                        committed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
                     WHERE id = ?1",
                )?;
                for entry in new.extended {
                    let (Some(part), Fate::Committed(committed)) = (&entry.part, &entry.fate) else { continue };
                    extend.execute(params![
                        entry.id as i64,
                        path_value(&entry.path),
                        entry.identity.size as i64,
                        entry.identity.mtime_ns,
                        entry.identity.inode as i64,
                        entry.hash.map(|hash| hash.to_hex().to_string()),
                        committed.note.as_deref(),
                        committed.rows as i64,
                        committed.checksum.to_hex().to_string(),
                        committed.columns_checksum.to_hex().to_string(),
                        part.end as i64,
                        part.head,
                        part.tail.to_hex().to_string(),
                    ])?;
                }
                let mut rename = transaction.prepare_cached(
                    "UPDATE sources SET path = ?2, size = ?3, mtime_ns = ?4, inode = ?5, moved_to = NULL WHERE id = ?1",
                )?;
                for found in new.found_again {
                    forget.execute(params![path_value(&found.path)])?;
                    rename.execute(params![
                        found.id as i64,
                        path_value(&found.path),
                        found.identity.size as i64,
                        found.identity.mtime_ns,
                        found.identity.inode as i64
                    ])?;
                }
                let first_label = self.labels.len();
                let mut label = transaction.prepare_cached("INSERT INTO labels (id, name) VALUES (?1, ?2)")?;
                for (place, name) in new.new_labels.iter().enumerate() {
                    label.execute(params![(first_label + place) as i64, name])?;
                }
                transaction
                    .prepare_cached("UPDATE dataset SET rows = ?1, next_source_id = ?2, clean_rows = ?3")?
                    .execute(params![
                        new.state.rows as i64,
                        new.state.next_source_id as i64,
                        new.state.clean_rows as i64
                    ])?;
            }
            *committing = true;
            transaction.commit()
        };
        let mut committing = false;
        fill(&mut self.connection, &mut committing).map_err(|error| self.commit_error(&error, committing))?;
        self.state = new.state;
        self.labels.extend_from_slice(new.new_labels);
        Ok(())
    }

    fn note_moved(&mut self, moved: &[(u64, PathBuf)]) -> Result<(), LedgerError> {
        let mut note = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut update = transaction.prepare_cached("UPDATE sources SET moved_to = ?2 WHERE id = ?1")?;
                for (id, path) in moved {
                    update.execute(params![*id as i64, path_value(path)])?;
                }
            }
            transaction.commit()
        };
        note().map_err(at(&self.path, "noting where sources went"))
    }

    fn mark_clean(&mut self, rows: u64) -> Result<(), LedgerError> {
        self.connection
            .execute("UPDATE dataset SET clean_rows = ?1", params![rows as i64])
            .map_err(at(&self.path, "marking it clean"))?;
        self.state.clean_rows = rows;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LedgerView;

    fn entry(id: u64, path: &str, fate: Fate) -> Entry {
        Entry {
            id,
            path: path.into(),
            identity: Identity { size: 3, mtime_ns: 5, inode: 7 + id },
            hash: Some(blake3::hash(path.as_bytes())),
            fate,
            moved_to: None,
            part: None,
        }
    }

    fn committed(first_row: u64, rows: u64) -> Fate {
        Fate::Committed(Committed {
            first_row,
            rows,
            checksum: blake3::hash(b"rows"),
            columns_checksum: blake3::hash(b"columns"),
            note: None,
        })
    }

    fn schema() -> LedgerSchema {
        LedgerSchema { settings: vec![("shape".into(), "[2]".into())], columns: vec!["source".into()] }
    }

    #[test]
    fn what_was_committed_is_found_again_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ledger.db");
        assert!(SqliteLedgers.open(&path, true).unwrap().is_none());
        let mut ledger = SqliteLedgers.create(&path, &schema(), true).unwrap();
        let state = State { rows: 3, next_source_id: 3, clean_rows: 0 };
        let sources = [entry(1, "cat/a", committed(0, 3)), entry(2, "b", Fate::Rejected { reason: "no".into() })];
        let labels = ["cat".to_owned()];
        ledger
            .commit(&Transaction { state, sources: &sources, found_again: &[], extended: &[], new_labels: &labels })
            .unwrap();
        drop(ledger);

        let ledger = SqliteLedgers.open(&path, true).unwrap().unwrap();
        assert_eq!(ledger.state(), state);
        assert_eq!(ledger.schema(), &schema());
        assert_eq!(ledger.labels(), &labels);
        assert_eq!(ledger.newest_at(Path::new("cat/a"), u64::MAX).unwrap().as_ref(), Some(&sources[0]));
        assert_eq!(ledger.newest_at(Path::new("b"), u64::MAX).unwrap().as_ref(), Some(&sources[1]));
        assert_eq!(ledger.newest_at(Path::new("c"), u64::MAX).unwrap(), None);
        assert_eq!(ledger.with_identity(sources[0].identity).unwrap(), sources[..1]);
        assert_eq!(ledger.with_hash(&blake3::hash(b"cat/a")).unwrap().as_ref(), Some(&sources[0]));
        assert_eq!(ledger.with_hash(&blake3::hash(b"b")).unwrap(), None, "a rejected source has no rows to share");
        assert_eq!(ledger.committed_from(2, 10).unwrap(), sources[..1]);
        assert_eq!(ledger.committed_from(3, 10).unwrap(), []);
    }

    #[test]
    fn a_mended_source_replaces_its_rejected_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ledger.db");
        let mut ledger = SqliteLedgers.create(&path, &schema(), true).unwrap();
        let commit = |ledger: &mut Box<dyn Ledger>, entry: Entry, rows, next_source_id| {
            let state = State { rows, next_source_id, clean_rows: 0 };
            let sources = [entry];
            ledger
                .commit(&Transaction { state, sources: &sources, found_again: &[], extended: &[], new_labels: &[] })
                .unwrap();
        };
        commit(&mut ledger, entry(1, "a", Fate::Rejected { reason: "cut short".into() }), 0, 2);
        commit(&mut ledger, entry(2, "a", committed(0, 1)), 1, 3);
        let view = LedgerView::open(&path).unwrap().unwrap();
        assert_eq!(view.counts().unwrap().rejected, 0);
        assert_eq!(view.counts().unwrap().committed, 1);
        assert_eq!(ledger.newest_at(Path::new("a"), u64::MAX).unwrap().unwrap().id, 2);
    }

    #[test]
    fn a_foreign_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ledger.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(SqliteLedgers.open(&path, true), Err(LedgerError::Foreign { .. })));
        std::fs::write(&path, "not a database at all, but long enough to be looked at").unwrap();
        assert!(SqliteLedgers.open(&path, true).is_err());
    }
}
