//! The files of a dataset: the rows, the columns, the labels and the ledger.

use std::path::{Path, PathBuf};

use super::column::ColumnKind;

/// All paths follow from the main file's: for `frames.npy`, `frames.source.npy`, `frames.labels.json`, `frames.ledger.db`.
#[derive(Debug, Clone)]
pub struct Paths {
    pub main: PathBuf,
    pub labels: PathBuf,
    pub ledger: PathBuf,
}

impl Paths {
    pub fn new(output: &Path) -> Self {
        Self {
            main: output.to_owned(),
            labels: output.with_extension("labels.json"),
            ledger: output.with_extension("ledger.db"),
        }
    }

    pub fn column(&self, kind: ColumnKind) -> PathBuf {
        self.main.with_extension(format!("{}.npy", kind.name()))
    }

    /// The folder that holds them all.
    pub fn folder(&self) -> &Path {
        self.main.parent().unwrap_or(Path::new("."))
    }
}
