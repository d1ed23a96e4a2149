//! What is looked at before anything is written.

use std::io;
use std::path::{Path, PathBuf};

use super::{DatasetWriter, Fault};
use crate::config::{Dataset, Paths};
use crate::storage::Disk;

/// The ledger's files, by device and inode, as they were when it was opened: SQLite writes on into one that was removed.
/// Empty for a ledger in memory.
#[derive(Debug, Default)]
pub(super) struct LedgerFiles(Vec<(PathBuf, (u64, u64))>);

impl LedgerFiles {
    pub fn of(disk: &dyn Disk, paths: &Paths) -> io::Result<Self> {
        let mut log = paths.ledger.clone().into_os_string();
        log.push("-wal");
        let mut files = Vec::new();
        for path in [paths.ledger.clone(), log.into()] {
            if let Some(file) = identity(disk, &path)? {
                files.push((path, file));
            }
        }
        Ok(Self(files))
    }
}

/// Device and inode.
fn identity(disk: &dyn Disk, path: &Path) -> io::Result<Option<(u64, u64)>> {
    Ok(disk.presence(path)?.map(|there| (there.device, there.inode)))
}

impl DatasetWriter {
    /// Notes in the ledger that all committed rows are synced and known to be sound, so that the next start need not check them.
    pub fn mark_clean(&mut self) -> Result<(), Fault> {
        let state = self.ledger.state();
        if state.clean_rows != state.rows || state.unsynced {
            self.ledger.mark_clean(state.rows)?;
        }
        Ok(())
    }

    /// Whether the paths still name the open files, and these are as they were left: rows in a file that nobody can open, or that
    /// somebody else has cut short, are lost, and their sources must not be disposed of.
    pub fn check_files(&self) -> Result<(), Fault> {
        let files = self.columns.iter().map(|column| &column.file).chain([&self.main]);
        for file in files {
            let named =
                self.disk.presence(file.path()).map_err(|error| Fault::io("looking for", file.path(), &error))?;
            let Some(named) = named.filter(|named| named.inode == file.inode()) else {
                return Err(Fault::Passing(format!(
                    "{} is not there any more, or is another file: it was moved, removed or replaced under the running \
                     service; put it back, or restart to begin with what is there",
                    file.path().display()
                )));
            };
            let change = file.foreign_change(named.size).map_err(|error| Fault::io("reading", file.path(), &error))?;
            if let Some(change) = change {
                // Whether what is there later is what was committed, only the next start can tell.
                return Err(Fault::Lasting(format!(
                    "{} was changed by another program under the running service: {change}; restore it from a backup \
                     and restart (`npy-ingest verify --deep` tells whether its rows are those that were committed)",
                    file.path().display()
                )));
            }
        }
        for (path, opened) in &self.ledger_files.0 {
            let named = identity(&*self.disk, path).map_err(|error| Fault::io("looking for", path, &error))?;
            if named != Some(*opened) {
                return Err(Fault::Passing(format!(
                    "{} is not there any more, or is another file: a part of the ledger was moved, removed or replaced \
                     under the running service; put it back, for nothing that is committed without it would be found again",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Whether the disk has room for so many bytes, and for what is to stay free. A disk that cannot be asked has.
    pub fn check_room(&self, needed: u64) -> Result<(), Fault> {
        check_room(&*self.disk, &self.options, self.paths.folder(), needed)
    }
}

/// Whether the disk of `folder` has room for `needed` bytes and `min_free`, for a dataset that need not be open.
pub fn check_room(disk: &dyn Disk, options: &Dataset, folder: &Path, needed: u64) -> Result<(), Fault> {
    if let Ok(Some((free, disk_bytes))) = disk.room(folder) {
        let min_free = options.min_free.bytes(disk_bytes);
        if free < min_free.saturating_add(needed) {
            return Err(Fault::little_room(folder, free, needed, min_free));
        }
    }
    Ok(())
}
