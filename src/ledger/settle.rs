//! Makes durable what the last process left in SQLite's log, before anything is built upon it.
//!
//! To SQLite a transaction is committed once it can be read in the log, whether or not the sync that was to follow ever came. So a
//! process that was killed in between leaves one that only the page cache has; and one whose sync failed leaves one that is not on
//! the disk, though the kernel has nothing more to write. What would be published or disposed of by it would be ahead of the ledger
//! after a power cut. Written once more in its place, the log is what the next sync makes durable. That needs no room on a disk that writes in
//! place.

use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::LedgerError;
use crate::storage::{Access, Disk, RealDisk, fill, write_all_at};

/// Bytes that are written at a time.
const PIECE_BYTES: usize = 1 << 20;

/// `connection`: to the ledger at `path`. Where there is a log, the database itself needs nothing: SQLite writes to it only what the
/// log has, and syncs it before the log begins anew. A rollback journal has the database instead: a transaction that changes
/// nothing makes it durable.
pub(super) fn settle(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    // Nobody else writes meanwhile, nor begins the log anew. Rolled back by drop: nothing was changed.
    let in_sqlite = |operation| move |source| LedgerError::Sqlite { path: path.into(), operation, source };
    let lock =
        Transaction::new_unchecked(connection, TransactionBehavior::Immediate).map_err(in_sqlite("locking it"))?;
    // SQLite has its files beside what a symbolic link leads to.
    let real =
        path.canonicalize().map_err(|source| LedgerError::Io { path: path.into(), operation: "finding it", source })?;
    let mut log = real.as_os_str().to_owned();
    log.push("-wal");
    let has_log = write_again(Path::new(&log), path)?;
    drop(lock);
    if !has_log {
        connection.execute("UPDATE dataset SET rows = rows", []).map_err(in_sqlite("making it durable"))?;
    }
    // The names of both, which may be new.
    sync_folder(path, &real)
}

/// The folder of a ledger's files.
pub(super) fn sync_folder(path: &Path, real: &Path) -> Result<(), LedgerError> {
    let folder = real.parent().unwrap_or(Path::new("/"));
    RealDisk.sync_folder(folder).map_err(|source| LedgerError::Sync { path: path.into(), source })
}

/// Whether there is a log.
fn write_again(log: &Path, path: &Path) -> Result<bool, LedgerError> {
    let failed =
        |source: io::Error| LedgerError::Io { path: path.into(), operation: "writing its log once more", source };
    let file = match RealDisk.open(log, Access::ReadWrite) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut piece = vec![0; PIECE_BYTES];
    let mut place = 0;
    loop {
        let read = fill(&mut piece, |rest, at| file.read_at(rest, place + at)).map_err(failed)?;
        if read == 0 {
            break;
        }
        let bytes = piece.get(..read).unwrap_or_default();
        write_all_at(&*file, &mut [IoSlice::new(bytes)], place).map_err(failed)?;
        place += read as u64;
    }
    file.sync_data().map_err(|source| LedgerError::Sync { path: path.into(), source })?;
    Ok(true)
}
