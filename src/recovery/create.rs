//! Making what a new dataset needs, in an order that a crash can interrupt anywhere.
//!
//! The main file comes first, because it carries the lock; then the ledger, which remembers the settings; then the columns.
//! An empty main file without a ledger is therefore a creation that was cut short, and may be taken over. One with rows is
//! somebody else's array.

use std::io;
use std::path::Path;

use super::labels::refuse_foreign;
use super::{Finding, OpenError, check_file, io_error, sync_error};
use crate::config::{ColumnKind, Dataset, Paths};
use crate::ledger::{Ledgers, State, no_ledger};
use crate::npy::{GrowingFile, Layout};
use crate::storage::{Access, Disk, DiskFile, read_exact_at};

/// The folder above the output folder, where that is to be made. Only the last part of its path may be missing: more missing
/// parts mean a disk that is not mounted or a mistyped path, where a new, empty dataset would do harm.
pub(super) fn look_for_folder<'a>(disk: &dyn Disk, folder: &'a Path) -> Result<Option<&'a Path>, OpenError> {
    if disk.status(folder).map_err(io_error("looking for the output folder", folder))?.is_some() {
        return Ok(None);
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    if disk.status(parent).map_err(io_error("looking for", parent))?.is_none() {
        let missing = io::Error::new(
            io::ErrorKind::NotFound,
            "neither it nor the folder above it exists; make it, mount the disk that it is on, or correct `output`",
        );
        return Err(io_error("looking for the output folder", folder)(missing));
    }
    Ok(Some(parent))
}

/// Makes the output folder if it is missing.
pub(super) fn make_folder(disk: &dyn Disk, folder: &Path) -> Result<(), OpenError> {
    let Some(parent) = look_for_folder(disk, folder)? else { return Ok(()) };
    disk.create_folders(folder).map_err(io_error("making the output folder", folder))?;
    disk.sync_folder(parent).map_err(sync_error(parent))
}

/// Removes what dead processes left that began to make these files. The lock is held, so nobody makes them now.
pub(crate) fn remove_unfinished(disk: &dyn Disk, folder: &Path, files: &[&Path]) {
    // A folder that cannot be listed keeps them: a header each, to which nothing refers.
    for name in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name()) {
        let Some(process) = files.iter().find_map(|file| GrowingFile::creator_of(file, &name)) else { continue };
        if Path::new("/proc").join(process.to_string()).exists() {
            continue;
        }
        let path = folder.join(name);
        match disk.remove_file(&path) {
            Ok(()) => tracing::info!(
                file = &*path.to_string_lossy(),
                "removed: it was being made when process {process} ended"
            ),
            Err(error) => tracing::warn!(
                file = &*path.to_string_lossy(),
                "left by process {process}, and cannot be removed: {error}"
            ),
        }
    }
}

/// Whether there is an array of the dataset's at `path`.
///
/// # Errors
/// What is there is not the file itself. Behind a symbolic link it could be exchanged without a commit seeing it.
pub fn is_there(disk: &dyn Disk, path: &Path) -> Result<bool, OpenError> {
    match disk.status(path).map_err(io_error("looking for", path))? {
        None => Ok(false),
        Some(status) if status.is_regular => Ok(true),
        Some(status) => Err(OpenError::Damaged(format!(
            "{} is a {}, and not the array itself. Put the file there, with the other files of the dataset; if it is to be on \
             another disk, put them all there and give its path as `output`, or link their folder.",
            path.display(),
            if status.is_folder { "folder" } else { "symbolic link, or no file at all" },
        ))),
    }
}

pub(super) fn make_main_if_new(
    disk: &dyn Disk,
    ledgers: &dyn Ledgers,
    options: &Dataset,
    layout: &Layout,
) -> Result<(), OpenError> {
    let paths = &Paths::new(&options.output);
    if is_there(disk, &paths.main)? {
        return Ok(());
    }
    match ledgers.open(&paths.ledger, true)? {
        Some(ledger) if ledger.state().rows > 0 => return Err(main_is_missing(paths, ledger.state().rows)),
        Some(ledger) => refuse_foreign(disk, options, ledger.labels(), ledger.state().unsynced)?,
        None => refuse_foreign(disk, options, &[], false)?,
    }
    refuse_columns_of_others(disk, options)?;
    create(disk, &paths.main, layout)
}

pub(super) fn main_is_missing(paths: &Paths, committed_rows: u64) -> OpenError {
    OpenError::Damaged(format!(
        "{} is missing, and its ledger {} has {committed_rows} committed rows. Restore the file, or move the ledger away \
         to start a new array.",
        paths.main.display(),
        paths.ledger.display()
    ))
}

/// Refuses a main file without a ledger, unless it is an empty array of this dataset.
pub(super) fn refuse_rows(main: &dyn DiskFile, paths: &Paths, layout: &Layout) -> Result<(), OpenError> {
    let size = main.status().map_err(io_error("reading", &paths.main))?.size;
    let mut header = vec![0; usize::try_from(layout.data_start().min(size)).unwrap_or(0)];
    read_exact_at(main, &mut header, 0).map_err(io_error("reading", &paths.main))?;
    match layout.matches(&header) {
        Ok(0) => Ok(()),
        Ok(rows) => Err(OpenError::Damaged(format!(
            "{} has {rows} rows and {}: which sources they come from is not known, so that appending could double them. \
             Restore the ledger, or choose another `output`.",
            paths.main.display(),
            no_ledger(&paths.ledger)
        ))),
        Err(mismatch) => Err(OpenError::Damaged(format!(
            "{} is not an array of this dataset ({mismatch}), and {}. Move the file away, or choose \
             another `output`.",
            paths.main.display(),
            no_ledger(&paths.ledger)
        ))),
    }
}

/// Refuses files under the names of a new dataset's columns, unless they are such columns without a row. Asked before anything
/// is made.
pub(super) fn refuse_columns_of_others(disk: &dyn Disk, options: &Dataset) -> Result<(), OpenError> {
    let paths = Paths::new(&options.output);
    let new = State { rows: 0, next_source_id: 1, clean_rows: 0, unsynced: false };
    for kind in ColumnKind::wanted(&options.columns) {
        let path = paths.column(kind);
        if !is_there(disk, &path)? {
            continue;
        }
        let file = disk.open(&path, Access::Read).map_err(io_error("opening", &path))?;
        let layout = Layout::new(&kind.dtype(), &[])?;
        let found = check_file(&*file, &path, &layout, new).map_err(io_error("reading", &path))?;
        if let Some(finding) = found.refusals().next() {
            let found = match finding {
                Finding::HeaderAboveLedger { published, .. } => format!("it has {published} rows"),
                Finding::OtherArray { mismatch, .. } => mismatch.to_string(),
                finding => finding.to_string(),
            };
            return Err(OpenError::Damaged(format!(
                "{} is no column of this new dataset ({found}). Nothing was changed. Move the file away, or choose another \
                 `output`.",
                path.display()
            )));
        }
    }
    Ok(())
}

pub(super) fn make_column_if_new(
    disk: &dyn Disk,
    path: &Path,
    layout: &Layout,
    committed_rows: u64,
) -> Result<(), OpenError> {
    if is_there(disk, path)? {
        return Ok(());
    }
    refuse_missing_column(path, committed_rows)?;
    create(disk, path, layout)
}

pub(super) fn refuse_missing_column(path: &Path, committed_rows: u64) -> Result<(), OpenError> {
    match committed_rows {
        0 => Ok(()),
        rows => Err(OpenError::Damaged(format!(
            "{} is missing, and {rows} rows are committed. Restore it from a backup.",
            path.display()
        ))),
    }
}

fn create(disk: &dyn Disk, path: &Path, layout: &Layout) -> Result<(), OpenError> {
    match GrowingFile::create(disk, path, layout) {
        // Another process was faster; the lock decides.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(io_error("creating", path)),
    }
}
