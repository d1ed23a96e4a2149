//! Opening a ledger to look at it, also where SQLite cannot have its files beside it: on a full disk, in a snapshot that is
//! mounted read-only, as a user who may only read.

use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::LedgerError;
use super::queries::{check_version, is_unborn};
use super::sqlite::{BUSY_TIMEOUT, keep_plans};
use crate::storage::{Disk, RealDisk, check_writable};

/// SQLite takes this much for a `-shm`. One that is shorter was never used, and a disk with less room counts as full here.
const SHARED_MEMORY_BYTES: u64 = 32 << 10;

/// Whether there is a file. An empty one is what a crash in the middle of a creation leaves.
pub(super) fn is_there(path: &Path) -> Result<bool, LedgerError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(LedgerError::Io { path: path.into(), operation: "looking for it", source }),
    }
}

/// What is said of a dataset whose ledger does not tell anything: that there is none, or that its file is empty.
pub fn no_ledger(path: &Path) -> String {
    let shown = path.display();
    match path.exists() {
        true => format!("its ledger {shown} holds nothing: it was cut off, or its log ({shown}-wal) was removed"),
        false => format!("no ledger {shown}"),
    }
}

/// A connection that changes nothing unless it is told to. `None` where there is no ledger yet. `at_rest`: it may be taken as it
/// lies there, by somebody who would not see what is written to it later.
pub(super) fn open(path: &Path, at_rest: bool) -> Result<Option<Connection>, LedgerError> {
    if !is_there(path)? {
        return Ok(None);
    }
    let opened = connect(path).or_else(|error| match at_rest && lies_still(path) {
        true => connect_to_still(path).map_err(|_| error),
        false => Err(error),
    });
    let (connection, is_unborn) =
        opened.map_err(|source| LedgerError::Sqlite { path: path.into(), operation: "opening it", source })?;
    if is_unborn {
        return Ok(None);
    }
    check_version(path, &connection)?;
    Ok(Some(connection))
}

/// The connection, and whether the ledger holds nothing yet: that is the first statement, which needs all of SQLite's files.
fn connect(path: &Path) -> rusqlite::Result<(Connection, bool)> {
    // Read-write first: the last reader of a crashed service's log has to clean it up. Nothing is written here.
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_| Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    prepared(connection)
}

/// As [`connect`], for a ledger that nobody has open: no lock, and no file beside it.
fn connect_to_still(path: &Path) -> rusqlite::Result<(Connection, bool)> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    prepared(Connection::open_with_flags(still_uri(path), flags)?)
}

fn prepared(connection: Connection) -> rusqlite::Result<(Connection, bool)> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    keep_plans(&connection)?;
    connection.set_prepared_statement_cache_capacity(16);
    let is_unborn = is_unborn(&connection)?;
    Ok((connection, is_unborn))
}

/// Whether all that was committed is in the ledger itself, and nobody has it open: then there is no log beside it, no journal, and
/// no shared memory; or they are what is left of an attempt that found no room.
fn lies_still(path: &Path) -> bool {
    let is_below = |(suffix, bytes)| match std::fs::metadata(beside(path, suffix)) {
        Ok(file) => file.len() < bytes,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    [("-wal", 1), ("-journal", 1), ("-shm", SHARED_MEMORY_BYTES)].into_iter().all(is_below)
}

/// A file of SQLite's beside what a symbolic link leads to.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.canonicalize().map_or_else(|_| OsString::from(path), PathBuf::into_os_string);
    name.push(suffix);
    name.into()
}

/// See <https://www.sqlite.org/uri.html>.
fn still_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            // Writing to a string never fails.
            other => drop(write!(uri, "%{other:02x}")),
        }
    }
    uri + "?immutable=1"
}

/// What can be done about an error of SQLite's, which says little of its cause: "; " and an advice, or nothing.
pub(super) fn what_to_do(path: &Path, source: &rusqlite::Error) -> String {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "; it is damaged: restore the dataset's files from a backup, or move them away to begin a new array"
                .to_owned()
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "; another process holds it: end that one, or try again later".to_owned()
        }
        Some(ErrorCode::DiskFull) => "; make room on its disk".to_owned(),
        Some(
            ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure,
        ) => why_not_written(path, source),
        _ => String::new(),
    }
}

/// SQLite tells of a full disk, a read-only one and a missing permission with the same few words.
fn why_not_written(path: &Path, source: &rusqlite::Error) -> String {
    let log = beside(path, "-wal");
    let folder = log.parent().unwrap_or(Path::new("/"));
    let is_full = matches!(RealDisk.room(folder), Ok(Some((free, _))) if free < SHARED_MEMORY_BYTES);
    let (cause, way_out) = match check_writable(folder) {
        Err(error) => (format!("{} cannot be written to ({error})", folder.display()), "run it as a user who may"),
        Ok(()) if is_full => (format!("the disk of {} is full", folder.display()), "make room"),
        Ok(()) if source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
            return "; the kernel's log (`dmesg`) may tell more of its disk".to_owned();
        }
        Ok(()) => return "; this user has to be allowed to read and write it, and the files beside it".to_owned(),
    };
    let has_log = std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    let why = if has_log {
        let log = log.file_name().unwrap_or_default().to_string_lossy();
        format!(", and {log} has commits that SQLite cannot read without writing beside it")
    } else {
        String::new()
    };
    format!("; {cause}{why}: {way_out}, or copy the dataset's files to where that can be done")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn any_path_is_a_uri() {
        let path = Path::new(OsStr::from_bytes(b"/a b/%?#\xff/x.ledger.db"));
        assert_eq!(still_uri(path), "file:/a%20b/%25%3f%23%ff/x.ledger.db?immutable=1");
    }
}
