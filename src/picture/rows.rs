//! Rows out of any `.npy` file whose rows lie one after the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Look, ROW_BYTES_MAX};
use crate::npy::{Dtype, InspectError, inspect_file, open_regular};

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

/// An open `.npy` file.
pub struct RowFile {
    path: PathBuf,
    file: File,
    pub dtype: Dtype,
    pub look: Look,
    /// The header's count when it was opened.
    pub rows: u64,
    data_start: u64,
    row_bytes: u64,
}

impl RowFile {
    /// # Errors
    /// It cannot be read, is no `.npy` file, or its rows cannot be drawn.
    pub fn open(path: &Path) -> Result<Self, RowFileError> {
        let no_look = |reason: String| RowFileError::NoLook { path: path.to_owned(), reason };
        let file = open_regular(path)?;
        let inspected =
            inspect_file(&file).map_err(|source| RowFileError::Inspect { path: path.to_owned(), source })?;
        let header = inspected.header;
        let Some(rows) = header.rows() else {
            return Err(no_look("the array has no dimensions, and so no rows".to_owned()));
        };
        if header.fortran_order && header.shape.len() > 1 {
            return Err(no_look("the array is in Fortran order: its rows do not lie one after the other".to_owned()));
        }
        if header.row_bytes() == 0 || header.row_bytes() > ROW_BYTES_MAX {
            return Err(no_look(format!(
                "its rows have {} bytes each, expected 1 to {ROW_BYTES_MAX}",
                header.row_bytes()
            )));
        }
        let shape: Vec<usize> =
            header.row_shape().iter().map(|length| usize::try_from(*length).unwrap_or(usize::MAX)).collect();
        let look = Look::of(&header.dtype, &shape).map_err(no_look)?;
        let (data_start, row_bytes) = (header.data_start, header.row_bytes());
        Ok(Self { path: path.to_owned(), file, dtype: header.dtype, look, rows, data_start, row_bytes })
    }

    /// The bytes of one row.
    ///
    /// # Errors
    /// It cannot be read, or is not there.
    pub fn row(&self, row: u64) -> Result<Vec<u8>, RowFileError> {
        let failed = |source| RowFileError::Read { path: self.path.clone(), row, source };
        if row >= self.rows {
            return Err(failed(io::Error::new(io::ErrorKind::NotFound, format!("the array has {} rows", self.rows))));
        }
        // In bounds of memory: checked when it was opened.
        let mut bytes = vec![0; self.row_bytes as usize];
        self.file.read_exact_at(&mut bytes, self.data_start + row * self.row_bytes).map_err(failed)?;
        Ok(bytes)
    }
}
