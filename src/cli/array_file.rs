//! What the commands that change a single array have in common.

use std::path::Path;

use super::failure::Failure;
use super::text;
use crate::config::{ColumnKind, Paths};
use crate::npy::{AppendError, HeaderError, InspectError, journal_path};

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        Self::failed(error.to_string())
    }
}

/// The files of a dataset follow its ledger: rows that come any other way would make the next start refuse them.
pub fn refuse_file_of_dataset(file: &Path) -> Result<(), Failure> {
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    match datasets_of(&real).into_iter().find(|paths| paths.ledger.exists()) {
        Some(Paths { ledger, .. }) => Err(Failure::failed(format!(
            "{} belongs to a dataset, whose ledger {} knows where each row is from: a start of the service brings it in line \
             with that, `npy-ingest verify --config FILE` checks it, and files in the watched folders add rows",
            text::path(file),
            text::path(&ledger)
        ))),
        None => Ok(()),
    }
}

/// Whether the file is one of a dataset: a ledger lies beside it.
pub fn is_of_dataset(file: &Path) -> bool {
    datasets_of(file).iter().any(|paths| paths.ledger.exists())
}

/// The datasets that a file of this name could belong to: as `frames.npy`, or as a column, such as `frames.source.npy`.
fn datasets_of(file: &Path) -> Vec<Paths> {
    let mut datasets = Vec::new();
    if file.extension().is_some_and(|extension| extension == "npy") {
        datasets.push(Paths::new(file));
        let of_column = Paths::new(&file.with_extension("").with_extension("npy"));
        let is_column = ColumnKind::ALL.into_iter().any(|kind| of_column.column(kind) == file);
        datasets.extend(is_column.then_some(of_column));
    }
    datasets
}

/// What was done before anything else.
pub fn finished_move(file: &Path) -> String {
    format!("{}: a move of its rows that had been cut off was finished", text::path(file))
}

/// Why a file cannot be inspected. One whose rows are being moved looks like no array at all.
pub fn inspect_failure(file: &Path, error: &InspectError) -> Failure {
    let name = text::path(file);
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    if journal_path(&real).exists() {
        return Failure::failed(format!(
            "{name}: its rows are being moved, or that was cut off: `npy-ingest ensure-appendable {name}` finishes it ({error})"
        ));
    }
    match error {
        InspectError::Header(HeaderError::Moving) => {
            AppendError::NoJournal { path: file.to_owned(), journal: journal_path(&real) }.into()
        }
        InspectError::Open { source, .. } => Failure::failed(format!("opening {name}: {source}")),
        InspectError::NotAFile { .. } => Failure::failed(format!("{name} is not a regular file")),
        _ => Failure::failed(format!("{name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bug: any `frames.x.npy` beside the ledger of `frames.npy` was refused.
    #[test]
    fn a_dataset_has_its_rows_and_five_columns_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("frames.ledger.db"), "").unwrap();
        let is_refused = |name: &str| refuse_file_of_dataset(&folder.path().join(name)).is_err();
        let columns = ["source", "index", "time", "label", "split"].map(|kind| format!("frames.{kind}.npy"));
        assert!(columns.iter().all(|name| is_refused(name)) && is_refused("frames.npy"));
        for other in
            ["frames.mine.npy", "frames.source.x.npy", "frames.x.source.npy", "frames", "x.npy", "frames.source"]
        {
            assert!(!is_refused(other), "{other}");
        }
        // A dataset's own name may have dots.
        std::fs::write(folder.path().join("a.b.ledger.db"), "").unwrap();
        assert!(is_refused("a.b.npy") && is_refused("a.b.time.npy") && !is_refused("a.npy"));
    }
}
