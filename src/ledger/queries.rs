//! What is looked up in a ledger's tables, by the writer and by a view alike.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::sqlite::{APPLICATION_ID, VERSION};
use super::upgrade::later;
use super::{Committed, Entry, Fate, LedgerError, LedgerSchema, State};
use crate::source::{Hash, Identity, Marks, Part};

/// All that the ledger has: one of an earlier version lacks some, which [`entry`] knows.
pub(super) const FIELDS: &str = "*";

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

pub(super) struct StoredHash(pub Hash);

impl FromSql for StoredHash {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Hash::from_hex(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
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
            marks: Marks::from_bytes(later(row, "log_marks")?.unwrap_or_default()),
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
pub(super) fn with_first_path(connection: &Connection, part: Entry) -> rusqlite::Result<(Entry, PathBuf)> {
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

/// See [`super::Ledger::with_inode`].
pub(super) fn with_inode(connection: &Connection, identity: Identity, hash: &Hash) -> rusqlite::Result<Vec<Entry>> {
    connection
        .prepare_cached(&format!(
            "SELECT {FIELDS} FROM sources WHERE inode = ?1 AND size = ?2 AND hash = ?3 AND status = 'committed'
             ORDER BY id DESC LIMIT {NAMES_MAX}"
        ))?
        .query_map(params![identity.inode.cast_signed(), identity.size.cast_signed(), hash.to_hex().as_str()], entry)?
        .collect()
}

/// When the transaction was that wrote this entry last: milliseconds since 1970.
pub(super) fn committed_ms(connection: &Connection, id: u64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT CAST(round(unixepoch(committed_at, 'subsec') * 1000) AS INTEGER) FROM sources WHERE id = ?1",
        )?
        .query_row(params![id.cast_signed()], |row| row.get(0))
        .optional()
        .map(Option::flatten)
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

pub(super) fn rejected_with_id(connection: &Connection, id: u64) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached(&format!("SELECT {FIELDS} FROM sources WHERE id = ?1 AND status = 'rejected'"))?
        .query_row(params![id.cast_signed()], entry)
        .optional()
}

/// With the condition of the index that the writer makes for it.
pub(super) const HAS_MOVED_TO: &str = "SELECT 1 FROM sources WHERE moved_to = ?1 AND moved_to <> ''
    AND (hash IS NULL OR hash = ?2) AND id IS NOT ?3 LIMIT 1";

/// See [`super::Ledger::has_moved_to`].
pub(super) fn has_moved_to(
    connection: &Connection,
    path: &Path,
    hash: &Hash,
    but: Option<u64>,
) -> rusqlite::Result<bool> {
    connection.prepare_cached(HAS_MOVED_TO)?.exists(params![
        path_value(path),
        hash.to_hex().as_str(),
        but.map(u64::cast_signed)
    ])
}

/// See [`super::Ledger::not_moved`].
pub(super) fn not_moved(connection: &Connection) -> rusqlite::Result<Vec<(Entry, bool)>> {
    connection
        .prepare(&format!(
            "SELECT {FIELDS}, EXISTS (SELECT 1 FROM sources AS new WHERE new.path = old.path AND new.id > old.id) AS replaced
             FROM sources AS old WHERE status = 'rejected' AND moved_to IS NULL",
        ))?
        .query_map([], |row| Ok((entry(row)?, row.get("replaced")?)))?
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
