//! `labels.json` against the ledger, which has the class names.

use super::{OpenError, check_file, io_error};
use crate::config::{Dataset, Paths};
use crate::ledger::LedgerView;
use crate::npy::Layout;
use crate::storage::{Access, Disk};
use crate::writer::{Labels, Written};

/// Refuses a file of this name where there is no class yet: it was written by somebody else. `unsynced`: the ledger may have lost
/// its names.
pub(super) fn refuse_foreign(
    disk: &dyn Disk,
    options: &Dataset,
    names: &[String],
    unsynced: bool,
) -> Result<(), OpenError> {
    if !options.columns.label || !names.is_empty() || unsynced {
        return Ok(());
    }
    let path = Paths::new(&options.output).labels;
    match Labels::written(disk, &path, names).map_err(io_error("reading", &path))? {
        Written::Nothing | Written::These => Ok(()),
        Written::Others => Err(OpenError::Damaged(format!(
            "{} is there already, and this dataset has no class names yet: it would be overwritten. Move the file away, or choose \
             another `output`.",
            path.display()
        ))),
    }
}

/// What is wrong with the class names that readers find beside the rows that they see. The next start mends it.
///
/// # Errors
/// The next start would refuse what is there.
pub fn wrong_labels(disk: &dyn Disk, options: &Dataset, view: &LedgerView) -> Result<Option<String>, OpenError> {
    // Names, rows, counts, in the opposite order to that of a commit: a service may be at work.
    let (names, state) = (view.labels()?, view.state()?);
    refuse_foreign(disk, options, &names, state.unsynced)?;
    if !options.columns.label || names.is_empty() {
        return Ok(None);
    }
    let paths = Paths::new(&options.output);
    let layout = Layout::new(&options.row.dtype, &options.row.shape)?;
    let main = disk.open(&paths.main, Access::Read).map_err(io_error("opening", &paths.main))?;
    let found = check_file(&*main, &paths.main, &layout, state).map_err(io_error("reading", &paths.main))?;
    if found.published_rows.is_none_or(|published| published < state.rows) {
        // They are written before the counts.
        return Ok(None);
    }
    // More may have come meanwhile.
    let now = view.labels()?;
    let mut written = Written::Others;
    for count in names.len()..=now.len() {
        let those = now.get(..count).unwrap_or_default();
        written = Labels::written(disk, &paths.labels, those).map_err(io_error("reading", &paths.labels))?;
        if written == Written::These {
            return Ok(None);
        }
    }
    let how =
        if written == Written::Nothing { "is missing" } else { "does not have the class names that the ledger has" };
    Ok(Some(format!("{} {how}: the next start writes it anew", paths.labels.display())))
}
