//! An array that is to be appended: a `.npy` file, or a `.npy` array in a stream.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
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
/// So much of a file that is turned is in memory at a time, or one row where that is more.
const TURNED_BYTES: u64 = if cfg!(test) { 64 } else { 64 << 20 };
/// It is less, and stays in the processor's caches,
const CACHED_BYTES: u64 = if cfg!(test) { 32 } else { 4 << 20 };
/// where that leaves so much for one read. No power of two, or the elements of a row would come into the same lines of a cache.
const READ_BYTES: u64 = if cfg!(test) { 4 } else { (16 << 10) + 64 };
/// Up to so many bytes are read and left out, rather than to read again behind them.
const GAP_BYTES_MAX: u64 = if cfg!(test) { 8 } else { 4096 };
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

    /// Hands on all rows, piece by piece, as a file of this dtype and order has them: several rows at a time, or a part of a
    /// long one. [`Self::check`] has passed.
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
        // An element is not torn: its bytes may be turned.
        let unit = if row_bytes > PIECE_BYTES { (self.header.dtype.itemsize() as u64).max(1) } else { row_bytes };
        let piece = (PIECE_BYTES / unit).max(1).saturating_mul(unit).min(total);
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
        let turn = |data: &[u8], shape: &[u64], take: &mut dyn FnMut(&mut [u8]) -> Result<(), AppendError>| {
            let transpose = Transpose::new(shape, source_fortran, fortran_order, itemsize);
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
        let mut data = Vec::new();
        let Data::File(file) = &self.data else {
            self.read(&mut data, total, 0)?;
            return turn(&data, &shape, take);
        };
        // What counts rows here is what varies fastest there: a group of rows is a piece of each run of so many elements.
        let mut group_shape = shape;
        let growing = if fortran_order { group_shape.last_mut() } else { group_shape.first_mut() };
        let Some((rows, row_bytes)) = growing.as_deref().and_then(|rows| Some((*rows, total.checked_div(*rows)?)))
        else {
            return Ok(());
        };
        let rows_in = |bytes: u64| bytes.checked_div(row_bytes).unwrap_or(rows);
        let read = READ_BYTES / (itemsize as u64).max(1);
        let group = rows_in(TURNED_BYTES).min(rows_in(CACHED_BYTES).max(read)).clamp(1, rows);
        let mut first = 0;
        while first < rows {
            let last = first.saturating_add(group).min(rows);
            self.gather(file, &mut data, first..last, rows)?;
            let growing = if fortran_order { group_shape.last_mut() } else { group_shape.first_mut() };
            growing.into_iter().for_each(|length| *length = last - first);
            turn(&data, &group_shape, take)?;
            first = last;
        }
        Ok(())
    }

    /// Puts the same elements of each run of `run` elements into the buffer.
    fn gather(&self, file: &File, buffer: &mut Vec<u8>, elements: Range<u64>, run: u64) -> Result<(), AppendError> {
        let itemsize = self.header.dtype.itemsize() as u64;
        let (piece, stride) = ((elements.end - elements.start) * itemsize, run * itemsize);
        let runs = self.header.data_bytes() / stride;
        let per_read = match stride - piece {
            0 => runs,
            gap if gap <= GAP_BYTES_MAX => (PIECE_BYTES / stride).clamp(1, runs),
            _ => 1,
        };
        let length = usize::try_from(piece.saturating_mul(runs)).unwrap_or(usize::MAX);
        fit(buffer, length).map_err(|error| self.failed(error, 0, false))?;
        let mut between = Vec::new();
        let (mut rest, mut done, mut end) = (buffer.as_mut_slice(), 0, 0);
        while done < runs {
            let count = per_read.min(runs - done);
            let offset = done * stride + elements.start * itemsize;
            let span = (count - 1) * stride + piece;
            let (pieces, others) = rest.split_at_mut_checked((count * piece) as usize).unwrap_or_default();
            let read = if count == 1 || stride == piece {
                file.read_exact_at(pieces, self.header.data_start.saturating_add(offset))
            } else {
                fit(&mut between, span as usize)
                    .and_then(|()| file.read_exact_at(&mut between, self.header.data_start.saturating_add(offset)))
                    .map(|()| {
                        let found = between.chunks(stride as usize);
                        for (to, from) in pieces.chunks_mut(piece as usize).zip(found) {
                            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                        }
                    })
            };
            read.map_err(|error| self.failed(error, end, false))?;
            (rest, done, end) = (others, done + count, offset + span);
        }
        Ok(())
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
        // A file that became shorter meanwhile is not measured again.
        let found = if is_stream { offset.saturating_add(buffer.len() as u64) } else { offset };
        result.map_err(|error| self.failed(error, found, is_stream))
    }

    /// Why the data could not be read, of which so many bytes were there.
    fn failed(&self, error: io::Error, found: u64, is_exact: bool) -> AppendError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let (input, expected) = (self.name.clone(), self.header.data_bytes());
                AppendError::InputCutShort { input, found, is_exact, expected }
            }
            _ => AppendError::Disk { operation: "reading", path: self.name.clone().into(), source: error },
        }
    }
}

fn fit(buffer: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
    buffer.try_reserve_exact(bytes.saturating_sub(buffer.len())).map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.resize(bytes, 0);
    Ok(())
}
