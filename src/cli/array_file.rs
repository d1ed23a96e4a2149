//! What the commands that change a single array have in common.

use std::path::Path;

use super::failure::Failure;
use super::text;
use crate::npy::{AppendError, InspectError, journal_path};
use crate::writer::Paths;

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        Self::failed(error.to_string())
    }
}

/// The files of a dataset follow its ledger: rows that come any other way would make the next start refuse them.
pub fn refuse_file_of_dataset(file: &Path) -> Result<(), Failure> {
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // `frames.npy`, and the columns `frames.source.npy` and so on.
    for (at, _) in name.match_indices('.') {
        let stem = name.get(..at).unwrap_or_default();
        let ledger = Paths::new(&real.with_file_name(format!("{stem}.npy"))).ledger;
        if !stem.is_empty() && ledger.exists() {
            return Err(Failure::failed(format!(
                "{} belongs to a dataset: {} knows where each of its rows is from, so they come through its folders alone",
                text::path(file),
                text::path(&ledger)
            )));
        }
    }
    Ok(())
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
    Failure::failed(format!("{name}: {error}"))
}
