//! A view of a ledger for everybody but its writer, which writes nothing but what `retry` forgets, and where it has it meanwhile.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::queries::{self, FIELDS, Lookup, StoredHash, entry, path_value, rejected_with_id, with_first_path};
use super::{Entry, Fate, LedgerError, LedgerSchema, State, opening, statements};
use crate::source::{Hash, Identity};

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

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed { entry: entry(row)?, committed_at: row.get("committed_at")? })
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
        self.read("reading its settings", queries::schema)
    }

    pub fn state(&self) -> Result<State, LedgerError> {
        self.read("reading its state", queries::state)
    }

    pub fn labels(&self) -> Result<Vec<String>, LedgerError> {
        self.read("reading its labels", queries::labels)
    }

    /// The newest entry under this path.
    pub fn at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
        self.read("looking up a source", |connection| queries::find(connection, Lookup::Path(path, u64::MAX)))
    }

    /// The newest entries with this inode, size and modification time, the newest first.
    pub fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError> {
        self.read("looking up a source", |connection| queries::with_identity(connection, identity))
    }

    /// The newest part of the log that has this inode.
    pub fn newest_part_of_inode(&self, inode: u64) -> Result<Option<Entry>, LedgerError> {
        self.read("looking up a log", |connection| queries::find(connection, Lookup::PartOfInode(inode)))
    }

    /// When the transaction was that wrote this entry last: milliseconds since 1970.
    pub fn committed_ms(&self, id: u64) -> Result<Option<i64>, LedgerError> {
        self.read("looking up the time of a source", |connection| queries::committed_ms(connection, id))
    }

    /// The newest part of this log, with the path that the log had at first.
    pub fn log(&self, log: u64) -> Result<Option<(Entry, PathBuf)>, LedgerError> {
        self.read("looking up a log", |connection| {
            let newest = queries::find(connection, Lookup::Part(log))?;
            newest.map(|newest| with_first_path(connection, newest)).transpose()
        })
    }

    /// The size to which this log was seen to be cut, if it was when it had been taken up to `end`, and waits.
    pub fn cut_at(&self, log: u64, end: u64) -> Result<Option<u64>, LedgerError> {
        self.read("looking up a log", |connection| {
            connection
                .prepare_cached("SELECT log_cut, log_end FROM sources WHERE log = ?1 ORDER BY id DESC LIMIT 1")?
                .query_row(params![log.cast_signed()], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?)))
                .optional()
                .map(|found| found.and_then(|(cut, of)| cut.filter(|_| of == end.cast_signed())))
                .map(|cut| cut.map(i64::cast_unsigned))
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
        self.read("reading the committed sources", |connection| queries::committed_from(connection, row, limit))
    }

    /// The source that gave this row.
    pub fn of_row(&self, row: u64) -> Result<Option<Listed>, LedgerError> {
        self.read("looking up a row", |connection| {
            connection
                .prepare(&format!(
                    "SELECT {FIELDS} FROM sources
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
        let mut statement =
            self.connection.prepare(&format!("SELECT {FIELDS} FROM sources {filter} ORDER BY id")).map_err(sqlite)?;
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
                .prepare(&format!("SELECT {FIELDS} FROM sources WHERE status = 'rejected' ORDER BY id DESC LIMIT ?1"))?
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

    /// See [`super::Ledger::has_moved_to`]. Without its index this reads all of the ledger.
    pub fn has_moved_to(&self, path: &Path, hash: &Hash) -> Result<bool, LedgerError> {
        self.read("looking for what was moved", |connection| queries::has_moved_to(connection, path, hash, None))
    }

    /// Notes where a rejected source is by now. `false`: it is not where it was any more, or not listed.
    pub fn note_rejected(&self, entry: &Entry, moved_to: &Path) -> Result<bool, LedgerError> {
        self.read("noting where a rejected source is", |connection| {
            connection.pragma_update(None, "query_only", false)?;
            let noted = statements::move_as_read(connection, entry, moved_to);
            connection.pragma_update(None, "query_only", true)?;
            noted
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
