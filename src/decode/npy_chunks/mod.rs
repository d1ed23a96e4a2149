//! Arrays of other programs, `.npy` or a member of an `.npz` archive: their rows, after a check of dtype and shape.
//!
//! Rules:
//! - The array has the row's shape behind its first dimension, and the row's dtype. The other byte order is turned around
//!   where the config asks for it. Nothing else is converted.
//! - In C order an array of any size passes through; in Fortran order, and in an archive, it has to fit in memory.
//! - An array that is shorter than its header says, or has bytes behind it, is refused.

mod archive;
mod layout;

use std::io::{self, Read};

use super::{About, DecodeError, Rejection, RowSink, SOURCE_BYTES_MAX, SourceReader, StreamDecoder, step};
use crate::config::{ChunkOrder, NpyOptions, RowFormat};
use crate::npy::{Dtype, Header, HeaderError, MAGIC};
use crate::storage::fill;

/// First bytes of a ZIP archive, an empty one included.
const ARCHIVE: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// Characters of a dtype in a reason.
const DTYPE_CHARS_MAX: usize = 1500;

/// The npy decoder of one dataset.
pub struct NpyDecoder {
    options: NpyOptions,
    row: RowFormat,
    /// What to do about the other byte order.
    turning: &'static str,
}

impl NpyDecoder {
    pub fn new(options: &NpyOptions, row: &RowFormat) -> Self {
        let turning = "byte_order = \"convert\" takes both byte orders";
        Self { options: options.clone(), row: row.clone(), turning }
    }

    /// For arrays that a program writes for this dataset.
    pub(super) fn of_program(row: &RowFormat) -> Self {
        let options = NpyOptions { member: None, byte_order: ChunkOrder::Exact };
        Self {
            options,
            row: row.clone(),
            turning: "the program has to write the other byte order, as array.astype(dtype) does",
        }
    }

    /// The rows of one array. `bytes_behind`: of the whole array with its header, where that is known.
    pub(super) fn rows_of(
        &self,
        reader: &mut dyn Read,
        bytes_behind: Option<u64>,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let array = Array::open(reader)?;
        let is_turned = self.check(&array.header)?;
        let (data_bytes, data_start) = (array.header.data_bytes(), array.header.data_start);
        if let Some(all) = bytes_behind
            && all.saturating_sub(data_start) != data_bytes
        {
            let found = all.saturating_sub(data_start);
            return Err(rejected(format!(
                "the array has {found} bytes behind its header, which says {data_bytes}: it was {}",
                if found < data_bytes { "cut short" } else { "not written as one array" }
            )));
        }
        let rows = array.header.shape.first().copied().unwrap_or(0);
        if array.header.fortran_order && array.header.shape.len() > 1 {
            self.fortran(&array.header, rows, reader, is_turned, sink)?;
        } else {
            self.straight(rows, reader, is_turned, sink)?;
        }
        Ok(())
    }

    /// Whether the array's numbers have the other byte order.
    fn check(&self, header: &Header) -> Result<bool, DecodeError> {
        let wanted: Vec<u64> = self.row.shape.iter().map(|side| *side as u64).collect();
        if header.shape.get(1..) != Some(wanted.as_slice()) {
            let hint = if header.shape == wanted { "; one row is saved as array[None]" } else { "" };
            let expected = shape_text(std::iter::once("N".to_owned()).chain(wanted.iter().map(u64::to_string)));
            let found = shape_text(header.shape.iter().map(u64::to_string));
            return Err(rejected(format!("the array has shape {found}, expected {expected}{hint}")));
        }
        if header.dtype == self.row.dtype {
            return Ok(false);
        }
        let is_turned = layout::is_turned(&header.dtype, &self.row.dtype);
        if is_turned && self.options.byte_order == ChunkOrder::Convert {
            return Ok(true);
        }
        let (found, expected) = (dtype_text(&header.dtype), dtype_text(&self.row.dtype));
        let hint = if is_turned { format!("; {}", self.turning) } else { String::new() };
        Err(rejected(format!("the array has dtype {found}, expected {expected}{hint}")))
    }

    fn straight(
        &self,
        rows: u64,
        reader: &mut dyn Read,
        is_turned: bool,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let row_bytes = self.row.row_bytes().max(1);
        let mut left = rows;
        while left > 0 {
            let places = sink.rows(usize::try_from(left).unwrap_or(usize::MAX))?;
            read_whole(reader, places)?;
            if is_turned {
                layout::turn(&self.row.dtype, places);
            }
            left -= (places.len() / row_bytes) as u64;
        }
        Ok(())
    }

    /// The first index varies fastest: a row's elements lie `rows` apart.
    fn fortran(
        &self,
        header: &Header,
        rows: u64,
        reader: &mut dyn Read,
        is_turned: bool,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let bytes = header.data_bytes();
        if bytes > SOURCE_BYTES_MAX {
            return Err(rejected(format!(
                "the array is in Fortran order and has {bytes} bytes, more than the {SOURCE_BYTES_MAX} that are held in \
                 memory: save it in C order (numpy.ascontiguousarray)"
            )));
        }
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let mut data = vec![0; usize::try_from(bytes).unwrap_or(0)];
        read_whole(reader, &mut data)?;
        let row_bytes = self.row.row_bytes().max(1);
        let array = layout::Fortran { data: &data, rows, shape: &self.row.shape, element: self.row.dtype.itemsize() };
        let mut first = 0;
        while first < rows {
            let places = sink.rows(rows - first)?;
            array.copy_rows(first, places, step);
            if is_turned {
                layout::turn(&self.row.dtype, places);
            }
            first += places.len() / row_bytes;
        }
        Ok(())
    }
}

impl StreamDecoder for NpyDecoder {
    fn decode(&self, reader: &mut SourceReader<'_>, _: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let size = reader.size();
        let mut start = [0; 6];
        let read = reader.fill(&mut start)?;
        let start = start.get(..read).unwrap_or_default();
        if start.is_empty() {
            return Err(rejected("the file is empty".to_owned()));
        }
        if ARCHIVE.iter().any(|magic| start.starts_with(magic)) {
            if size > SOURCE_BYTES_MAX {
                return Err(rejected(format!(
                    "the archive has {size} bytes, more than the {SOURCE_BYTES_MAX} that are held in memory: save the \
                     array as .npy"
                )));
            }
            let mut bytes = start.to_vec();
            reader.read_to_end(&mut bytes)?;
            return archive::with_member(&bytes, self.options.member.as_deref(), |member, size| {
                self.rows_of(member, Some(size), sink)
            });
        }
        if self.options.member.is_some() && start == MAGIC {
            return Err(rejected(
                "the file is a single array, expected an .npz archive, for `member` is set".to_owned(),
            ));
        }
        self.rows_of(&mut start.chain(reader), Some(size), sink)
    }
}

struct Array {
    header: Header,
}

impl Array {
    /// Reads the header and nothing behind it.
    fn open(reader: &mut dyn Read) -> Result<Self, DecodeError> {
        let mut bytes = Vec::new();
        let mut needed = MAGIC.len();
        loop {
            let held = bytes.len();
            bytes.resize(needed, 0);
            let read = read_some(reader, bytes.get_mut(held..).unwrap_or_default())?;
            bytes.truncate(held + read);
            match Header::parse(&bytes) {
                Ok(header) => return Ok(Self { header }),
                Err(HeaderError::Incomplete { needed: more }) if bytes.len() == needed => {
                    needed = usize::try_from(more).unwrap_or(usize::MAX);
                }
                Err(HeaderError::Incomplete { needed }) => {
                    let found = bytes.len();
                    return Err(rejected(format!("the array ends within its header: {found} of {needed} bytes")));
                }
                Err(error) => return Err(rejected(error.to_string())),
            }
        }
    }
}

/// As much as there is.
fn read_some(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, DecodeError> {
    fill(buffer, |rest, _| reader.read(rest)).map_err(damaged)
}

fn read_whole(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<(), DecodeError> {
    let read = read_some(reader, buffer)?;
    if read < buffer.len() {
        return Err(rejected("the array ends before the bytes that its header promises".to_owned()));
    }
    Ok(())
}

/// What a decompressor finds wrong is the source's fault; what the disk says is not.
fn damaged(error: io::Error) -> DecodeError {
    match error.raw_os_error() {
        Some(_) => DecodeError::Read(error),
        None => rejected(format!("the archive is damaged: {error}")),
    }
}

/// Both dtypes stand in a reason, so that neither may fill it.
fn dtype_text(dtype: &Dtype) -> String {
    let text = dtype.descr();
    match text.char_indices().nth(DTYPE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn shape_text(sides: impl Iterator<Item = String>) -> String {
    let sides: Vec<_> = sides.collect();
    let comma = if sides.len() == 1 { "," } else { "" };
    format!("({}{comma})", sides.join(", "))
}

fn rejected(reason: String) -> DecodeError {
    Rejection::new(reason).into()
}
