//! What a start would find, without changing anything: for `check` and `status`.

use super::labels::refuse_foreign;
use super::{Finding, OpenError, RowCheck, check_file, create, io_error, other_settings, verify_newest};
use crate::config::{ColumnKind, Dataset, Paths};
use crate::ledger::LedgerView;
use crate::npy::Layout;
use crate::storage::{Access, Disk};

/// The settings that a start would take anew, as [`other_settings`] gives them. A service may be at work: its lock is not
/// asked for, and of the checksums only the newest is recomputed.
///
/// # Errors
/// Why a start would refuse the dataset as it is, or could not make it.
pub fn look(disk: &dyn Disk, options: &Dataset) -> Result<Vec<String>, OpenError> {
    let paths = Paths::new(&options.output);
    let layout = Layout::new(&options.row.dtype, &options.row.shape)?;
    create::look_for_folder(disk, paths.folder())?;
    // The ledger before the files: they hold at least what it says.
    let view = LedgerView::open(&paths.ledger)?;
    let is_there = create::is_there(disk, &paths.main)?;
    // It may have been made in between.
    let view = if view.is_none() && is_there { LedgerView::open(&paths.ledger)? } else { view };
    let Some(view) = view else {
        if is_there {
            let main = disk.open(&paths.main, Access::Read).map_err(io_error("opening", &paths.main))?;
            create::refuse_rows(&*main, &paths, &layout)?;
        }
        refuse_foreign(disk, options, &[], false)?;
        create::refuse_columns_of_others(disk, options)?;
        return Ok(Vec::new());
    };
    let state = view.state()?;
    let rows = state.rows;
    if !is_there && rows > 0 {
        return Err(create::main_is_missing(&paths, rows));
    }
    let new_settings = other_settings(options, &view.schema()?, rows)?;
    refuse_foreign(disk, options, &view.labels()?, state.unsynced)?;
    let mut files = vec![(paths.main.clone(), layout)];
    for kind in ColumnKind::wanted(&options.columns) {
        files.push((paths.column(kind), Layout::new(&kind.dtype(), &[])?));
    }
    let mut opened = Vec::new();
    for (path, layout) in &files {
        if !create::is_there(disk, path)? {
            create::refuse_missing_column(path, rows)?;
            continue;
        }
        let file = disk.open(path, Access::Read).map_err(io_error("opening", path))?;
        let found = check_file(&*file, path, layout, state).map_err(io_error("reading", path))?;
        for finding in found.refusals() {
            // A commit that came between the two readings.
            if let Finding::HeaderAboveLedger { published, .. } = finding
                && *published <= view.state()?.rows
            {
                continue;
            }
            return Err(OpenError::damaged(finding));
        }
        opened.push((path, layout, file));
    }
    let checks: Vec<RowCheck<'_>> =
        opened.iter().map(|(path, layout, file)| RowCheck { file: &**file, layout, path }).collect();
    if let Some((main, columns)) = checks.split_first() {
        verify_newest(main, columns, rows, |row, limit| view.committed_from(row, limit))?;
    }
    Ok(new_settings)
}
