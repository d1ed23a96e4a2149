//! Reading a ledger: the look-ups of the writer, and a view for everybody else, which writes nothing but what `retry` forgets.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::sqlite::{APPLICATION_ID, VERSION};
use super::{Committed, Entry, Fate, LedgerError, LedgerSchema, State, opening, statements};
use crate::source::{Hash, Identity, Part};

const FIELDS: &str = "id, path, size, mtime_ns, inode, hash, status, reason, first_row, rows, checksum, \
                      columns_checksum, moved_to, log, log_index, log_begin, log_end, log_head_at, log_head, log_tail";

/// So many entries of one identity are looked at: names of one file, or files that had the inode one after the other.
const NAMES_MAX: u32 = 64;

/// What to look for.
pub(super) enum Lookup<'a> {
    /// The newest entry with an id below this one.
    Path(&'a Path, u64),
    Hash(&'a Hash),
    /// The newest part of the log that has this inode.
    PartOfInode(u64),
    /// The newest part of this log.
    Part(u64),
}

/// A path as SQLite stores it: text where it is UTF-8, else its bytes.
pub(super) fn path_value(path: &Path) -> ToSqlOutput<'_> {
    let value = match path.to_str() {
        Some(text) => ValueRef::Text(text.as_bytes()),
        None => ValueRef::Blob(path.as_os_str().as_bytes()),
    };
    ToSqlOutput::Borrowed(value)
}

struct StoredPath(PathBuf);

impl FromSql for StoredPath {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(Self(PathBuf::from(OsStr::from_bytes(bytes)))),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

struct StoredHash(Hash);

impl FromSql for StoredHash {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Hash::from_hex(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let unsigned = |column: &str| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.cast_unsigned());
    // What a committed source must have: without it the ledger is damaged, and says so.
    let hash = |column: &str| Ok::<_, rusqlite::Error>(row.get::<_, StoredHash>(column)?.0);
    let reason: Option<String> = row.get("reason")?;
    let fate = match row.get_ref("status")?.as_str()? {
        "committed" => Fate::Committed(Committed {
            first_row: unsigned("first_row")?,
            rows: unsigned("rows")?,
            checksum: hash("checksum")?,
            columns_checksum: hash("columns_checksum")?,
            note: reason,
        }),
        _ => Fate::Rejected { reason: reason.unwrap_or_default() },
    };
    let part = match row.get::<_, Option<i64>>("log")? {
        None => None,
        Some(log) => Some(Part {
            log: log.cast_unsigned(),
            first_index: unsigned("log_index")?,
            begin: unsigned("log_begin")?,
            end: unsigned("log_end")?,
            head_at: unsigned("log_head_at")?,
            head: row.get("log_head")?,
            tail: hash("log_tail")?,
        }),
    };
    Ok(Entry {
        part,
        id: unsigned("id")?,
        path: row.get::<_, StoredPath>("path")?.0,
        identity: Identity { size: unsigned("size")?, mtime_ns: row.get("mtime_ns")?, inode: unsigned("inode")? },
        hash: row.get::<_, Option<StoredHash>>("hash")?.map(|hash| hash.0),
        fate,
        moved_to: row.get::<_, Option<StoredPath>>("moved_to")?.map(|path| path.0),
    })
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed { entry: entry(row)?, committed_at: row.get("committed_at")? })
}

pub(super) fn find(connection: &Connection, lookup: Lookup<'_>) -> rusqlite::Result<Option<Entry>> {
    match lookup {
        Lookup::Path(path, below) => connection
            .prepare_cached(&format!(
                "SELECT {FIELDS} FROM sources WHERE path = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1"
            ))?
            .query_row(params![path_value(path), i64::try_from(below).unwrap_or(i64::MAX)], entry)
            .optional(),
        Lookup::Hash(hash) => connection
            .prepare_cached(&format!("SELECT {FIELDS} FROM sources WHERE hash = ?1 AND rows > 0 ORDER BY id LIMIT 1"))?
            .query_row(params![hash.to_hex().as_str()], entry)
            .optional(),
        // A log that has gone on in another file is not this inode's any more.
        Lookup::PartOfInode(inode) => connection
            .prepare_cached(&format!(
                "SELECT {FIELDS} FROM sources AS part WHERE inode = ?1 AND log IS NOT NULL
                     AND id = (SELECT max(id) FROM sources WHERE log = part.log) ORDER BY id DESC LIMIT 1"
            ))?
            .query_row(params![inode.cast_signed()], entry)
            .optional(),
        Lookup::Part(log) => connection
            .prepare_cached(&format!("SELECT {FIELDS} FROM sources WHERE log = ?1 ORDER BY id DESC LIMIT 1"))?
            .query_row(params![log.cast_signed()], entry)
            .optional(),
    }
}

/// A part of a log, with the path that the log had at first.
fn with_first_path(connection: &Connection, part: Entry) -> rusqlite::Result<(Entry, PathBuf)> {
    let path = connection
        .prepare_cached("SELECT path FROM sources WHERE id = ?1")?
        .query_row(params![part.source_id().cast_signed()], |row| row.get::<_, StoredPath>(0))
        .optional()?;
    let path = path.map_or_else(|| part.path.clone(), |path| path.0);
    Ok((part, path))
}

/// The newest entries with this identity, the newest first.
pub(super) fn with_identity(connection: &Connection, identity: Identity) -> rusqlite::Result<Vec<Entry>> {
    connection
        .prepare_cached(&format!(
            "SELECT {FIELDS} FROM sources WHERE inode = ?1 AND size = ?2 AND mtime_ns = ?3 ORDER BY id DESC
             LIMIT {NAMES_MAX}"
        ))?
        .query_map(params![identity.inode.cast_signed(), identity.size.cast_signed(), identity.mtime_ns], entry)?
        .collect()
}

pub(super) fn committed_from(connection: &Connection, row: u64, limit: usize) -> rusqlite::Result<Vec<Entry>> {
    // The source that holds `row` begins at or before it: go back to the last one that begins there.
    connection
        .prepare_cached(&format!(
            "SELECT {FIELDS} FROM sources
             WHERE rows > 0 AND first_row + rows > ?1
               AND first_row >= (SELECT coalesce(max(first_row), 0) FROM sources WHERE rows > 0 AND first_row <= ?1)
             ORDER BY first_row LIMIT ?2"
        ))?
        .query_map(params![row.cast_signed(), limit as i64], entry)?
        .collect()
}

/// See [`super::Ledger::rejected_at`].
pub(super) fn rejected_at(connection: &Connection, path: &Path) -> rusqlite::Result<Vec<(u64, Option<PathBuf>)>> {
    connection
        .prepare_cached("SELECT id, moved_to FROM sources WHERE path = ?1 AND status = 'rejected' ORDER BY id")?
        .query_map(params![path_value(path)], |row| {
            let moved_to = row.get::<_, Option<StoredPath>>(1)?.map(|path| path.0);
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), moved_to))
        })?
        .collect()
}

fn rejected_with_id(connection: &Connection, id: u64) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached(&format!("SELECT {FIELDS} FROM sources WHERE id = ?1 AND status = 'rejected'"))?
        .query_row(params![id.cast_signed()], entry)
        .optional()
}

/// See [`super::Ledger::replaced`].
pub(super) fn replaced(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    connection
        .prepare(&format!(
            "SELECT {FIELDS} FROM sources AS old WHERE status = 'rejected' AND moved_to IS NULL
                    AND EXISTS (SELECT 1 FROM sources AS new WHERE new.path = old.path AND new.id > old.id)",
        ))?
        .query_map([], entry)?
        .collect()
}

/// Whether the database holds nothing yet: a creation that a crash cut short.
pub(super) fn is_unborn(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

pub(super) fn check_version(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let figures = pragma("application_id").and_then(|id| Ok((id, pragma("user_version")?)));
    match figures {
        Ok((APPLICATION_ID, VERSION)) => Ok(()),
        Ok((APPLICATION_ID, version)) => Err(LedgerError::Foreign {
            path: path.into(),
            found: format!(
                "its version is {version}, this program reads version {VERSION}; use the program that wrote it"
            ),
        }),
        Ok((id, _)) => Err(LedgerError::Foreign {
            path: path.into(),
            found: format!("an SQLite database with the application id {id}; move it away, or choose another output"),
        }),
        Err(source) => Err(LedgerError::Sqlite { path: path.into(), operation: "reading it", source }),
    }
}

pub(super) fn schema(connection: &Connection) -> rusqlite::Result<LedgerSchema> {
    let settings = connection
        .prepare("SELECT key, value FROM settings ORDER BY place")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let columns: String = connection.query_row("SELECT columns FROM dataset", [], |row| row.get(0))?;
    let columns = serde_json::from_str(&columns)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(LedgerSchema { settings, columns })
}

pub(super) fn state(connection: &Connection) -> rusqlite::Result<State> {
    connection.query_row("SELECT rows, next_source_id, clean_rows, unsynced FROM dataset", [], |row| {
        let unsigned = |place: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(place)?.cast_unsigned());
        let (rows, next_source_id, clean_rows) = (unsigned(0)?, unsigned(1)?, unsigned(2)?);
        Ok(State { rows, next_source_id, clean_rows, unsynced: row.get(3)? })
    })
}

pub(super) fn labels(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare("SELECT name FROM labels ORDER BY id")?.query_map([], |row| row.get(0))?.collect()
}

/// How many sources have which fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub committed: u64,
    pub rejected: u64,
}

/// An entry with the time of its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub entry: Entry,
    /// UTC, ISO 8601 with milliseconds.
    pub committed_at: String,
}

/// A ledger open for reading, whether a service writes to it or not.
#[derive(Debug)]
pub struct LedgerView {
    path: PathBuf,
    connection: Connection,
}

/// See [`LedgerView::snapshot`].
#[derive(Debug)]
pub struct Snapshot<'a>(#[expect(dead_code, reason = "it ends when it is dropped")] Transaction<'a>);

impl LedgerView {
    /// For a short look. `None` where there is no ledger yet.
    pub fn open(path: &Path) -> Result<Option<Self>, LedgerError> {
        Ok(opening::open(path, true)?.map(|connection| Self { path: path.into(), connection }))
    }

    /// For a look that lasts, in the process that writes.
    pub fn beside_writer(path: &Path) -> Result<Option<Self>, LedgerError> {
        Ok(opening::open(path, false)?.map(|connection| Self { path: path.into(), connection }))
    }

    fn read<'a, T>(
        &'a self,
        operation: &'static str,
        read: impl FnOnce(&'a Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        read(&self.connection).map_err(|source| LedgerError::Sqlite { path: self.path.clone(), operation, source })
    }

    /// While it lives, look-ups see the ledger as it was, and need no lock each. Not for long: what is written meanwhile has
    /// to be kept apart.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, LedgerError> {
        self.read("beginning to read it", Connection::unchecked_transaction).map(Snapshot)
    }

    pub fn schema(&self) -> Result<LedgerSchema, LedgerError> {
        self.read("reading its settings", schema)
    }

    pub fn state(&self) -> Result<State, LedgerError> {
        self.read("reading its state", state)
    }

    pub fn labels(&self) -> Result<Vec<String>, LedgerError> {
        self.read("reading its labels", labels)
    }

    /// The newest entry under this path.
    pub fn at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
        self.read("looking up a source", |connection| find(connection, Lookup::Path(path, u64::MAX)))
    }

    /// The newest entries with this inode, size and modification time, the newest first.
    pub fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError> {
        self.read("looking up a source", |connection| with_identity(connection, identity))
    }

    /// The newest part of the log that has this inode.
    pub fn newest_part_of_inode(&self, inode: u64) -> Result<Option<Entry>, LedgerError> {
        self.read("looking up a log", |connection| find(connection, Lookup::PartOfInode(inode)))
    }

    /// When the transaction was that wrote this entry last: milliseconds since 1970.
    pub fn committed_ms(&self, id: u64) -> Result<Option<i64>, LedgerError> {
        self.read("looking up the time of a source", |connection| {
            connection
                .prepare_cached(
                    "SELECT CAST(round(unixepoch(committed_at, 'subsec') * 1000) AS INTEGER) FROM sources WHERE id = ?1",
                )?
                .query_row(params![id.cast_signed()], |row| row.get(0))
                .optional()
                .map(Option::flatten)
        })
    }

    /// The newest part of this log, with the path that the log had at first.
    pub fn log(&self, log: u64) -> Result<Option<(Entry, PathBuf)>, LedgerError> {
        self.read("looking up a log", |connection| {
            let newest = find(connection, Lookup::Part(log))?;
            newest.map(|newest| with_first_path(connection, newest)).transpose()
        })
    }

    /// The newest parts of the logs that were begun last, at most `limit`, each with the path that the log had at first.
    pub fn newest_logs(&self, limit: usize) -> Result<Vec<(Entry, PathBuf)>, LedgerError> {
        self.read("looking up logs", |connection| {
            let newest = connection
                .prepare_cached(&format!(
                    "SELECT {FIELDS} FROM sources WHERE id IN
                         (SELECT max(id) FROM sources WHERE log IS NOT NULL GROUP BY log ORDER BY log DESC LIMIT ?1)"
                ))?
                .query_map(params![limit as i64], entry)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            newest.into_iter().map(|newest| with_first_path(connection, newest)).collect()
        })
    }

    /// The bytes of a log's newest committed parts, and their hashes.
    pub fn newest_parts(&self, log: u64, limit: usize) -> Result<Vec<(Range<u64>, Hash)>, LedgerError> {
        self.read("looking up the parts of a log", |connection| {
            connection
                .prepare_cached(
                    "SELECT log_begin, log_end, hash FROM sources
                     WHERE log = ?1 AND status = 'committed' AND hash IS NOT NULL ORDER BY id DESC LIMIT ?2",
                )?
                .query_map(params![log.cast_signed(), limit as i64], |row| {
                    let byte = |place| Ok::<_, rusqlite::Error>(row.get::<_, i64>(place)?.cast_unsigned());
                    Ok((byte(0)?..byte(1)?, row.get::<_, StoredHash>(2)?.0))
                })?
                .collect()
        })
    }

    /// The committed sources that have rows at or after `row`, in row order, at most `limit`.
    pub fn committed_from(&self, row: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        self.read("reading the committed sources", |connection| committed_from(connection, row, limit))
    }

    /// The source that gave this row.
    pub fn of_row(&self, row: u64) -> Result<Option<Listed>, LedgerError> {
        self.read("looking up a row", |connection| {
            connection
                .prepare(&format!(
                    "SELECT {FIELDS}, committed_at FROM sources
                     WHERE rows > 0 AND first_row <= ?1 ORDER BY first_row DESC LIMIT 1"
                ))?
                .query_row(params![row.cast_signed()], listed)
                .optional()
        })
        .map(|found| {
            found.filter(|found| match &found.entry.fate {
                Fate::Committed(committed) => row < committed.first_row + committed.rows,
                Fate::Rejected { .. } => false,
            })
        })
    }

    pub fn counts(&self) -> Result<Counts, LedgerError> {
        self.read("counting its sources", |connection| {
            let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned);
            let all = count("SELECT count(*) FROM sources")?;
            let rejected = count("SELECT count(*) FROM sources WHERE status = 'rejected'")?;
            Ok(Counts { committed: all - rejected, rejected })
        })
    }

    /// When the newest transaction was: UTC, ISO 8601. That is of the newest entry or, as a part of a log is extended, of the
    /// one with the last rows.
    pub fn last_commit(&self) -> Result<Option<String>, LedgerError> {
        self.read("reading its last commit", |connection| {
            connection.query_row(
                "SELECT max(committed_at) FROM (
                     SELECT * FROM (SELECT committed_at FROM sources ORDER BY id DESC LIMIT 1)
                     UNION ALL
                     SELECT * FROM (SELECT committed_at FROM sources WHERE rows > 0 ORDER BY first_row DESC LIMIT 1))",
                [],
                |row| row.get(0),
            )
        })
    }

    /// Rows that were committed during the last `seconds`. `None`: a part of a log is among them, of which it is known when
    /// its last rows came, and not how many.
    pub fn rows_of_last(&self, seconds: u32) -> Result<Option<u64>, LedgerError> {
        self.read("reading its recent rows", |connection| {
            let since: String = connection.query_row(
                "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?1)",
                params![format!("-{seconds} seconds")],
                |row| row.get(0),
            )?;
            // Newest first, and no further back than asked: where there are rows, times grow with them.
            let mut statement = connection.prepare(
                "SELECT rows, committed_at, log IS NOT NULL FROM sources WHERE rows > 0 ORDER BY first_row DESC",
            )?;
            let mut rows = statement.query([])?;
            let mut sum = 0;
            while let Some(row) = rows.next()? {
                if row.get_ref(1)?.as_str()? < since.as_str() {
                    break;
                }
                if row.get(2)? {
                    return Ok(None);
                }
                sum += row.get::<_, i64>(0)?.cast_unsigned();
            }
            Ok(Some(sum))
        })
    }

    /// Calls `each` with every entry in the order of ids, only the rejected ones if asked.
    pub fn for_each<E: From<LedgerError>>(
        &self,
        rejected_only: bool,
        mut each: impl FnMut(Listed) -> Result<(), E>,
    ) -> Result<(), E> {
        let sqlite = |source| LedgerError::Sqlite { path: self.path.clone(), operation: "listing its sources", source };
        let filter = if rejected_only { "WHERE status = 'rejected'" } else { "" };
        let mut statement = self
            .connection
            .prepare(&format!("SELECT {FIELDS}, committed_at FROM sources {filter} ORDER BY id"))
            .map_err(sqlite)?;
        let mut rows = statement.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            each(listed(row).map_err(sqlite)?)?;
        }
        Ok(())
    }

    /// The sources that were rejected last, the last first, at most `limit`.
    pub fn last_rejected(&self, limit: usize) -> Result<Vec<Listed>, LedgerError> {
        self.read("listing its rejected sources", |connection| {
            connection
                .prepare(&format!(
                    "SELECT {FIELDS}, committed_at FROM sources WHERE status = 'rejected' ORDER BY id DESC LIMIT ?1"
                ))?
                .query_map(params![i64::try_from(limit).unwrap_or(i64::MAX)], listed)?
                .collect()
        })
    }

    /// The rejected sources, all or those under these paths.
    pub fn rejected(&self, paths: Option<&[PathBuf]>) -> Result<Vec<Entry>, LedgerError> {
        self.read("looking up rejected sources", |connection| {
            let mut found = Vec::new();
            match paths {
                None => {
                    let mut statement = connection
                        .prepare(&format!("SELECT {FIELDS} FROM sources WHERE status = 'rejected' ORDER BY id"))?;
                    for one in statement.query_map([], entry)? {
                        found.push(one?);
                    }
                }
                Some(paths) => {
                    let mut statement = connection.prepare(&format!(
                        "SELECT {FIELDS} FROM sources WHERE status = 'rejected' AND path = ?1 ORDER BY id"
                    ))?;
                    for path in paths {
                        for one in statement.query_map(params![path_value(path)], entry)? {
                            found.push(one?);
                        }
                    }
                }
            }
            Ok(found)
        })
    }

    /// Forgets rejected sources, so that the next scan takes them again. What was taken of a log before is then all that was
    /// seen of it: otherwise a file that nobody touched would not be looked at for what is behind. Those that a running service
    /// has moved away since they were read stay listed, and are returned as they are now.
    pub fn forget_rejected(&self, entries: &[Entry]) -> Result<Vec<Entry>, LedgerError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.read("forgetting rejected sources", |connection| {
            let forget = || {
                let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
                let mut moved = Vec::new();
                for entry in entries {
                    if !statements::forget_as_read(&transaction, entry)? {
                        moved.extend(rejected_with_id(&transaction, entry.id)?);
                    }
                }
                let is_moved = |entry: &Entry| moved.iter().any(|moved| moved.id == entry.id);
                let forgotten = entries.iter().filter(|entry| !is_moved(entry));
                let logs = forgotten.filter_map(|entry| entry.part.as_ref()).map(|part| part.log);
                statements::go_back(&transaction, logs)?;
                transaction.commit()?;
                Ok(moved)
            };
            connection.pragma_update(None, "query_only", false)?;
            let moved = forget();
            connection.pragma_update(None, "query_only", true)?;
            moved
        })
    }
}
