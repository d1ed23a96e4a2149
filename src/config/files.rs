//! The files of a dataset, which lie side by side: the rows, the columns, the labels, the ledger and the suspects.

use std::path::{Path, PathBuf};

use super::world::Columns;
use crate::npy::Dtype;
use crate::storage::file_name::NAME_BYTES_MAX;

/// A column: a file with a value for each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// `<u8`: the ledger's id of the source.
    Source,
    /// `<u8`: the row's place in its source.
    Index,
    /// `<f8`: seconds from the source's start.
    Time,
    /// `<i8`: class id; -1 for a source directly in the watched folder.
    Label,
    /// `|u1`: which part of the split.
    Split,
}

impl ColumnKind {
    pub const ALL: [Self; 5] = [Self::Source, Self::Index, Self::Time, Self::Label, Self::Split];

    /// The columns that the config asks for, in the order of their checksums.
    pub fn wanted(columns: &Columns) -> Vec<Self> {
        [
            (columns.source, Self::Source),
            (columns.index, Self::Index),
            (columns.time, Self::Time),
            (columns.label, Self::Label),
            (columns.split.is_some(), Self::Split),
        ]
        .into_iter()
        .filter_map(|(wanted, kind)| wanted.then_some(kind))
        .collect()
    }

    /// As in the file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Index => "index",
            Self::Time => "time",
            Self::Label => "label",
            Self::Split => "split",
        }
    }

    pub fn dtype(self) -> Dtype {
        match self {
            Self::Source | Self::Index => Dtype::u8_le(),
            Self::Time => Dtype::f8_le(),
            Self::Label => Dtype::i8_le(),
            Self::Split => Dtype::u1(),
        }
    }
}

/// All paths follow from the main file's: for `frames.npy`, `frames.source.npy`, `frames.labels.json`, `frames.ledger.db`,
/// `frames.suspects`.
#[derive(Debug, Clone)]
pub struct Paths {
    pub main: PathBuf,
    pub labels: PathBuf,
    pub ledger: PathBuf,
    pub suspects: PathBuf,
}

/// The longest end that a name beside the main file has, in place of `.npy`: SQLite's journal.
const LONGEST_END: &str = ".ledger.db-journal";

/// The longest name of a main file, in bytes, with which all names beside it are names as well.
pub const OUTPUT_NAME_BYTES_MAX: usize = NAME_BYTES_MAX - LONGEST_END.len() + ".npy".len();

impl Paths {
    pub fn new(output: &Path) -> Self {
        Self {
            main: output.to_owned(),
            labels: output.with_extension("labels.json"),
            ledger: output.with_extension("ledger.db"),
            suspects: output.with_extension("suspects"),
        }
    }

    pub fn column(&self, kind: ColumnKind) -> PathBuf {
        self.main.with_extension(format!("{}.npy", kind.name()))
    }

    /// The folder that holds them all.
    pub fn folder(&self) -> &Path {
        self.main.parent().unwrap_or(Path::new("."))
    }

    /// Every file that may be there; columns that are off today may be on tomorrow.
    pub fn all(self) -> Vec<PathBuf> {
        let of_sqlite =
            ["ledger.db-wal", "ledger.db-shm", "ledger.db-journal"].map(|suffix| self.main.with_extension(suffix));
        self.lasting().into_iter().chain(of_sqlite).collect()
    }

    /// The same without SQLite's own, which are there beside the ledger only while it is open.
    pub fn lasting(self) -> Vec<PathBuf> {
        let columns = ColumnKind::ALL.map(|kind| self.column(kind));
        [self.main, self.labels, self.ledger, self.suspects].into_iter().chain(columns).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_by_side() {
        let mut files = Paths::new(Path::new("/d/a.b.npy")).all();
        files.sort();
        let names: Vec<_> = files.iter().map(|file| file.strip_prefix("/d").unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "a.b.index.npy",
                "a.b.label.npy",
                "a.b.labels.json",
                "a.b.ledger.db",
                "a.b.ledger.db-journal",
                "a.b.ledger.db-shm",
                "a.b.ledger.db-wal",
                "a.b.npy",
                "a.b.source.npy",
                "a.b.split.npy",
                "a.b.suspects",
                "a.b.time.npy",
            ]
        );
    }
}
