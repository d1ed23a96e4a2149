//! Rows out of any `.npy` file whose rows lie one after the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Look, ROW_BYTES_MAX};
use crate::npy::{Dtype, InspectError, inspect_file, open_regular};
use crate::quantity::{bytes, number_of};

/// Why a file's rows cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum RowFileError {
    #[error(transparent)]
    Open(#[from] InspectError),
    #[error("{}: {source}", path.display())]
    Inspect { path: PathBuf, source: InspectError },
    #[error("{}: {reason}", path.display())]
    NoLook { path: PathBuf, reason: String },
    #[error("reading row {row} of {}: {source}", path.display())]
    Read { path: PathBuf, row: u64, source: io::Error },
}

/// The rows of an open `.npy` file, whatever they are.
pub(super) struct Rows {
    path: PathBuf,
    file: File,
    pub dtype: Dtype,
    /// Of one row.
    pub shape: Vec<usize>,
    /// The header's count when it was opened.
    pub count: u64,
    data_start: u64,
    pub row_bytes: u64,
}

impl Rows {
    /// # Errors
    /// It cannot be read, is no `.npy` file, or its rows do not lie one after the other.
    pub fn open(path: &Path) -> Result<Self, RowFileError> {
        let no_look = |reason: String| RowFileError::NoLook { path: path.to_owned(), reason };
        let file = open_regular(path)?;
        let inspected =
            inspect_file(&file).map_err(|source| RowFileError::Inspect { path: path.to_owned(), source })?;
        let header = inspected.header;
        let Some(count) = header.rows() else {
            return Err(no_look("the array has no dimensions, and so no rows".to_owned()));
        };
        if header.fortran_order && header.shape.len() > 1 {
            return Err(no_look("the array is in Fortran order: its rows do not lie one after the other".to_owned()));
        }
        let row_bytes = header.row_bytes();
        if row_bytes == 0 || row_bytes > ROW_BYTES_MAX {
            let (found, most) = (bytes(row_bytes), bytes(ROW_BYTES_MAX));
            return Err(no_look(format!("its rows have {found} each, expected 1 byte to {most}")));
        }
        let shape = header.row_shape().iter().map(|length| usize::try_from(*length).unwrap_or(usize::MAX)).collect();
        let data_start = header.data_start;
        Ok(Self { path: path.to_owned(), file, dtype: header.dtype, shape, count, data_start, row_bytes })
    }

    pub(super) fn no_look(&self, reason: String) -> RowFileError {
        RowFileError::NoLook { path: self.path.clone(), reason }
    }

    /// The bytes of rows that lie one after the other, from `first` on.
    ///
    /// # Errors
    /// They cannot be read, or are not there.
    pub fn read(&self, first: u64, into: &mut [u8]) -> Result<(), RowFileError> {
        let failed = |source: io::Error| {
            let source = match source.kind() {
                io::ErrorKind::UnexpectedEof => io::Error::other(
                    "the file ends before the rows that its header counts: it was cut short, and `npy-ingest inspect` tells what is missing",
                ),
                _ => source,
            };
            RowFileError::Read { path: self.path.clone(), row: first, source }
        };
        if first >= self.count {
            let there = format!("the array has {}", number_of(self.count, "row", "rows"));
            return Err(failed(io::Error::new(io::ErrorKind::NotFound, there)));
        }
        self.file.read_exact_at(into, self.data_start + first * self.row_bytes).map_err(failed)
    }
}

/// An open `.npy` file whose rows are drawn one by one.
pub struct RowFile {
    rows_of_file: Rows,
    pub dtype: Dtype,
    pub look: Look,
    /// The header's count when it was opened.
    pub rows: u64,
}

impl RowFile {
    /// # Errors
    /// It cannot be read, is no `.npy` file, or its rows cannot be drawn.
    pub fn open(path: &Path) -> Result<Self, RowFileError> {
        let rows = Rows::open(path)?;
        let look = Look::of(&rows.dtype, &rows.shape).map_err(|reason| rows.no_look(reason))?;
        Ok(Self { dtype: rows.dtype.clone(), look, rows: rows.count, rows_of_file: rows })
    }

    /// The bytes of one row.
    ///
    /// # Errors
    /// It cannot be read, or is not there.
    pub fn row(&self, row: u64) -> Result<Vec<u8>, RowFileError> {
        // In bounds of memory: checked when it was opened.
        let mut bytes = vec![0; self.rows_of_file.row_bytes as usize];
        self.rows_of_file.read(row, &mut bytes)?;
        Ok(bytes)
    }
}
