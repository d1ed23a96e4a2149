//! An array that is to be appended: a `.npy` file, or a `.npy` array in a stream.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::dtype::{Dtype, shape_literal};
use super::super::header::{self, Header, HeaderError};
use super::super::inspect::{InspectError, inspect_file, is_file_at, open_regular};
use super::super::window::CountBlock;
use super::AppendError;
use super::transpose::Transpose;

/// Rows are read and written in pieces of about this many bytes.
const PIECE_BYTES: u64 = 1 << 20;
/// An array in a stream that has to be turned from one order into the other is held in memory, up to this size.
pub const IN_MEMORY_BYTES_MAX: u64 = 1 << 30;
/// How much of a header is read from a stream at first: magic, version and length.
const PREFIX_BYTES: usize = 12;

/// See the module documentation. Rows that are added to the file after it was opened are not taken.
pub struct ArrayInput<'a> {
    /// For error texts.
    name: String,
    header: Header,
    data: Data<'a>,
}

enum Data<'a> {
    File(File),
    Stream(&'a mut dyn Read),
}

impl ArrayInput<'static> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// It cannot be read, is no `.npy` file, holds Python objects, or is shorter or longer than its header says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AppendError> {
        let path = path.as_ref();
        let file = open_regular(path).map_err(|error| match error {
            InspectError::NotAFile { path } => AppendError::InputNotAFile { input: path.display().to_string() },
            error => AppendError::inspect(path)(error),
        })?;
        let inspection = inspect_file(&file).map_err(AppendError::inspect(path))?;
        let (found, expected) = (inspection.data_bytes_present, inspection.data_bytes_expected);
        let name = path.display().to_string();
        if found < expected {
            return Err(AppendError::InputCutShort { input: name, found, is_exact: true, expected });
        }
        // Behind an appender's header there are rows that it has not published yet.
        let is_growing = CountBlock::is_of_appender(&inspection.header, &inspection.header_bytes);
        if let Some(bytes) = found.checked_sub(expected).filter(|bytes| *bytes > 0 && !is_growing) {
            return Err(AppendError::InputTooLong { input: name, bytes });
        }
        Ok(Self { name, header: inspection.header, data: Data::File(file) })
    }
}

impl<'a> ArrayInput<'a> {
    /// Whether it is this file, by whatever name.
    pub fn is_file(&self, path: &Path) -> bool {
        matches!(&self.data, Data::File(file) if is_file_at(file, path))
    }

    /// Takes so many of its rows, if there are more.
    pub fn limit_rows(&mut self, rows: u64) {
        self.header.limit_rows(rows);
    }

    /// Takes the next array from a stream; `None` where the stream ends instead. `name` is for error texts.
    ///
    /// # Errors
    /// What comes is not a `.npy` array.
    pub fn next_in(stream: &'a mut dyn Read, name: &str) -> Result<Option<Self>, AppendError> {
        let failed = |source: InspectError| AppendError::Header { path: name.into(), source };
        let mut bytes = Vec::new();
        let mut wanted = PREFIX_BYTES;
        loop {
            let missing = wanted.saturating_sub(bytes.len()) as u64;
            let read = (&mut *stream)
                .take(missing)
                .read_to_end(&mut bytes)
                .map_err(|error| failed(InspectError::Read(error)))?;
            if bytes.is_empty() {
                return Ok(None);
            }
            match Header::parse(&bytes) {
                Ok(header) => return Ok(Some(Self { name: name.to_owned(), header, data: Data::Stream(stream) })),
                Err(HeaderError::Incomplete { needed }) if (read as u64) < missing || needed <= bytes.len() as u64 => {
                    return Err(failed(InspectError::CutShort { found: bytes.len() as u64, needed }));
                }
                Err(HeaderError::Incomplete { needed }) => wanted = usize::try_from(needed).unwrap_or(usize::MAX),
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn check(
        &self,
        path: &Path,
        (dtype, row_shape, fortran_order): (&Dtype, &[u64], bool),
        converts_byte_order: bool,
    ) -> Result<(), AppendError> {
        let wrong = |source| AppendError::Input { input: self.name.clone(), source: Box::new(source) };
        let found = &self.header.dtype;
        if self.header.shape.is_empty() {
            return Err(wrong(AppendError::NoDimensions));
        }
        if found != dtype && !(converts_byte_order && found.differs_in_byte_order_only(dtype)) {
            return Err(wrong(AppendError::dtype(path, found, dtype)));
        }
        if header::row_shape(&self.header.shape, fortran_order) != row_shape {
            let dimensions: Vec<String> = row_shape.iter().map(u64::to_string).collect();
            let dimensions = dimensions.join(", ");
            let (expected, axis) = match (row_shape.is_empty(), fortran_order) {
                (true, _) => ("(N,)".to_owned(), "first"),
                (false, false) => (format!("(N, {dimensions})"), "first"),
                (false, true) => (format!("({dimensions}, N)"), "last"),
            };
            let found = shape_literal(&self.header.shape);
            let hint = match (self.header.shape == row_shape, fortran_order) {
                (false, _) => "",
                (true, false) => "; it is one row: give it that axis, with a[None] of NumPy",
                (true, true) => "; it is one row: give it that axis, with a[..., None] of NumPy",
            };
            return Err(wrong(AppendError::Shape { path: path.to_owned(), found, expected, axis, hint }));
        }
        let (bytes, is_stream) = (self.header.data_bytes(), matches!(self.data, Data::Stream(_)));
        if is_stream && self.is_transposed(fortran_order) && bytes > IN_MEMORY_BYTES_MAX {
            let (input, fortran_order) = (self.name.clone(), self.header.fortran_order);
            return Err(AppendError::InputOrder { input, fortran_order, bytes });
        }
        Ok(())
    }

    /// An array of one dimension is the same in both orders.
    fn is_transposed(&self, fortran_order: bool) -> bool {
        self.header.fortran_order != fortran_order && self.header.shape.len() > 1
    }

    /// Hands on all rows, piece by piece, as a file of this dtype and order has them. [`Self::check`] has passed.
    pub(super) fn for_each_rows(
        &mut self,
        dtype: &Dtype,
        fortran_order: bool,
        take: &mut dyn FnMut(&[u8]) -> Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        let from = self.header.dtype.clone();
        let mut take = |rows: &mut [u8]| {
            if from != *dtype {
                from.reorder_bytes(dtype, rows);
            }
            take(rows)
        };
        if self.is_transposed(fortran_order) {
            return self.for_each_transposed(fortran_order, &mut take);
        }
        let (total, row_bytes) = (self.header.data_bytes(), self.header.row_bytes().max(1));
        let piece = (PIECE_BYTES / row_bytes).max(1).saturating_mul(row_bytes).min(total);
        let mut rows = Vec::new();
        let mut done = 0;
        while done < total {
            let wanted = piece.min(total.saturating_sub(done));
            self.read(&mut rows, wanted, done)?;
            take(&mut rows)?;
            done = done.saturating_add(wanted);
        }
        Ok(())
    }

    fn for_each_transposed(
        &mut self,
        fortran_order: bool,
        take: &mut dyn FnMut(&mut [u8]) -> Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        let total = self.header.data_bytes();
        let shape = self.header.shape.clone();
        let (source_fortran, itemsize) = (self.header.fortran_order, self.header.dtype.itemsize());
        let transpose = |data: &[u8], take: &mut dyn FnMut(&mut [u8]) -> Result<(), AppendError>| {
            let transpose = Transpose::new(&shape, source_fortran, fortran_order, itemsize);
            let mut rows = Vec::new();
            for row in 0..transpose.rows() {
                transpose.push_row(data, row, &mut rows);
                if rows.len() as u64 >= PIECE_BYTES || row.saturating_add(1) == transpose.rows() {
                    take(&mut rows)?;
                    rows.clear();
                }
            }
            Ok(())
        };
        if let Data::File(file) = &self.data {
            let end = self.header.data_start.saturating_add(total);
            let map =
                super::super::mapping::map(file, end).map_err(AppendError::disk("mapping", Path::new(&self.name)))?;
            let start = usize::try_from(self.header.data_start).unwrap_or(usize::MAX);
            return transpose(map.get(start..).unwrap_or_default(), take);
        }
        let mut data = Vec::new();
        self.read(&mut data, total, 0)?;
        transpose(&data, take)
    }

    /// Puts so many bytes of the array's data into the buffer, `offset` bytes behind its start. A stream knows only the next
    /// bytes, and no memory is taken for what a header claims before it is there.
    fn read(&mut self, buffer: &mut Vec<u8>, bytes: u64, offset: u64) -> Result<(), AppendError> {
        let count = usize::try_from(bytes).unwrap_or(usize::MAX);
        let is_stream = matches!(self.data, Data::Stream(_));
        let result = match &mut self.data {
            Data::File(file) => fit(buffer, count)
                .and_then(|()| file.read_exact_at(buffer, self.header.data_start.saturating_add(offset))),
            Data::Stream(stream) => {
                buffer.clear();
                stream.take(bytes).read_to_end(buffer).and_then(|read| match read == count {
                    true => Ok(()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                })
            }
        };
        result.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let (input, expected) = (self.name.clone(), self.header.data_bytes());
                // A file that became shorter meanwhile is not measured again.
                let found = if is_stream { offset.saturating_add(buffer.len() as u64) } else { offset };
                AppendError::InputCutShort { input, found, is_exact: is_stream, expected }
            }
            _ => AppendError::Disk { operation: "reading", path: self.name.clone().into(), source: error },
        })
    }
}

fn fit(buffer: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
    buffer.try_reserve_exact(bytes.saturating_sub(buffer.len())).map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.resize(bytes, 0);
    Ok(())
}
