//! Reading the header of any `.npy` file, versions 1.0, 2.0 and 3.0.
//!
//! The rules are those of `numpy.lib.format` (`_read_array_header`, NEP 1). What NumPy refuses is refused here, and in
//! a few places more, where going on would be a guess: see [`HeaderError`].

use std::fmt;

use super::dtype::{DIMENSIONS_MAX, Dtype, DtypeError};
use super::growth::{CountPlace, Growth, Window};
use super::literal::{self, Literal, LiteralError, Value};

/// The first six bytes of every `.npy` file.
pub const MAGIC: [u8; 6] = *b"\x93NUMPY";
/// What a file begins with while its rows are being moved (see `widen::journal`).
pub(super) const MOVING: [u8; 11] = *b"\x93NPY-MOVING";
/// The longest header that is read, in bytes behind the length field. NumPy itself stops at 10,000 characters unless its
/// caller raises `max_header_size`.
pub const HEADER_BYTES_MAX: u64 = 1 << 20;
/// The largest offset in a file, and with it the end of the data.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// The format version: it decides the width of the length field and the encoding of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Two bytes of length, Latin-1.
    V1_0,
    /// Four bytes of length, Latin-1.
    V2_0,
    /// Four bytes of length, UTF-8.
    V3_0,
}

impl Version {
    /// Bytes before the text: magic, version and length.
    pub fn prefix_bytes(self) -> usize {
        match self {
            Version::V1_0 => 10,
            Version::V2_0 | Version::V3_0 => 12,
        }
    }

    /// The two version bytes, major first.
    pub fn bytes(self) -> [u8; 2] {
        match self {
            Version::V1_0 => [1, 0],
            Version::V2_0 => [2, 0],
            Version::V3_0 => [3, 0],
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor] = self.bytes();
        write!(formatter, "{major}.{minor}")
    }
}

/// Why bytes are not a header. Offsets count from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// So far so good: read at least this many bytes from the start of the file and ask again.
    #[error("the header is incomplete: its first {needed} bytes are needed")]
    Incomplete { needed: u64 },
    #[error("not a .npy file: it starts with \"{}\" instead of \"\\x93NUMPY\"", found.escape_ascii())]
    Magic { found: Vec<u8> },
    #[error(
        "its rows were being moved when that was cut off: `npy-ingest ensure-appendable` finishes it, under the name that it had \
         then and with the journal `.NAME.moving` beside it"
    )]
    Moving,
    #[error("version {major}.{minor} of the .npy format is not known: 1.0, 2.0 and 3.0 are")]
    Version { major: u8, minor: u8 },
    #[error("the header claims to be {bytes} bytes long: at most {HEADER_BYTES_MAX} are read")]
    TooLong { bytes: u64 },
    #[error("the header of a version 3.0 file must be UTF-8, and is not at byte {offset}")]
    Encoding { offset: u64 },
    #[error("the header is not a Python literal: {0}")]
    Literal(LiteralError),
    #[error("the header must be a dictionary, and is {found}")]
    NotADictionary { found: String },
    #[error("the header has no key '{key}'")]
    MissingKey { key: &'static str },
    /// Keys that are no strings included.
    #[error("the header has a key beside 'descr', 'fortran_order' and 'shape': {found}")]
    UnknownKey { found: String },
    /// NumPy takes the last one. A header that says two things is not trusted here.
    #[error("the header has the key '{key}' twice")]
    RepeatedKey { key: String },
    #[error("'fortran_order' must be True or False, and is {found}")]
    FortranOrder { found: String },
    #[error("'shape' must be a tuple of whole numbers, and is {found}")]
    Shape { found: String },
    #[error("dimension {index} of 'shape' must be a whole number that is not negative, and is {found}")]
    Dimension { index: usize, found: String },
    #[error("'shape' has {found} dimensions: NumPy allows {DIMENSIONS_MAX}")]
    Dimensions { found: usize },
    #[error("'descr' is not a dtype of fixed size: {0}")]
    Dtype(#[from] DtypeError),
    /// NumPy never writes one, and loads it only with `mmap_mode`.
    #[error("'descr' is the subarray {descr}: its dimensions belong into 'shape'")]
    Subarray { descr: String },
    #[error("an array of shape {shape} with {itemsize} bytes an element is larger than a file can be")]
    TooLarge { shape: String, itemsize: usize },
}

/// What a header says, and where in it the growing dimension stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub version: Version,
    pub dtype: Dtype,
    /// Whether the first index varies fastest. Such an array grows along its last axis, any other along its first.
    pub fortran_order: bool,
    /// Empty for a single element without dimensions.
    pub shape: Vec<u64>,
    /// Bytes of the header, and so the offset of the first element.
    pub data_start: u64,
    row_bytes: u64,
    data_bytes: u64,
    count_place: Option<CountPlace>,
}

impl Header {
    /// Reads the header at the start of `bytes`, which may hold more of the file.
    ///
    /// # Errors
    /// [`HeaderError::Incomplete`] says how many bytes to bring; it never asks for more than 12 +
    /// [`HEADER_BYTES_MAX`]. Any other error is final.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (version, text_bytes) = split(bytes)?;
        let prefix = version.prefix_bytes();
        let text = decode(version, text_bytes)?;
        // Latin-1 letters take two bytes in the decoded text and one in the file.
        let to_file = |offset: usize| match version {
            Version::V3_0 => prefix.saturating_add(offset),
            _ => prefix.saturating_add(text.get(..offset).unwrap_or(&text).chars().count()),
        };
        // Python 2 wrote `3L`; NumPy takes that for the versions which Python 2 knew.
        let dictionary = literal::read(&text, version < Version::V3_0).map_err(|error| {
            HeaderError::Literal(LiteralError { offset: to_file(error.offset), fault: error.fault })
        })?;
        let entries = Entries::of(&dictionary)?;

        let dtype = Dtype::from_literal(&entries.descr.value)?;
        if dtype.subarray().is_some() {
            return Err(HeaderError::Subarray { descr: dtype.descr() });
        }
        let fortran_order = match &entries.fortran_order.value {
            Value::Bool(fortran_order) => *fortran_order,
            other => return Err(HeaderError::FortranOrder { found: other.describe() }),
        };
        let (shape, dimensions) = shape_of(&entries.shape.value)?;

        let data_start = u64::try_from(prefix.saturating_add(text_bytes.len())).unwrap_or(u64::MAX);
        let size = Size::of(&shape, fortran_order, dtype.itemsize(), data_start).ok_or_else(|| {
            HeaderError::TooLarge { shape: super::dtype::shape_literal(&shape), itemsize: dtype.itemsize() }
        })?;
        let counted = if fortran_order { dimensions.last() } else { dimensions.first() };
        let header = bytes.get(..prefix.saturating_add(text_bytes.len())).unwrap_or(bytes);
        let count_place =
            counted.map(|counted| CountPlace::locate(header, to_file(counted.start), to_file(counted.end)));
        Ok(Self {
            version,
            dtype,
            fortran_order,
            shape,
            data_start,
            row_bytes: size.row_bytes,
            data_bytes: size.data_bytes,
            count_place,
        })
    }

    /// The length of the growing axis: the first in C order, the last in Fortran order. `None` without dimensions.
    pub fn rows(&self) -> Option<u64> {
        if self.fortran_order { self.shape.last().copied() } else { self.shape.first().copied() }
    }

    /// Counts so many rows, if it counted more. What is said of the header's bytes stays as it was.
    pub(super) fn limit_rows(&mut self, rows: u64) {
        let counted = if self.fortran_order { self.shape.last_mut() } else { self.shape.first_mut() };
        if let Some(counted) = counted.filter(|counted| **counted > rows) {
            *counted = rows;
            self.data_bytes = self.row_bytes.saturating_mul(rows);
        }
    }

    /// The dimensions other than the growing one. Empty for arrays of one dimension or none.
    pub fn row_shape(&self) -> &[u64] {
        row_shape(&self.shape, self.fortran_order)
    }

    /// Bytes of one row: of one index of the growing axis. Zero when a row holds nothing.
    pub fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    /// Bytes of the whole array. [`Header::parse`] has made sure that the data ends within what a file can hold.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Where the count can be replaced by one aligned write, if it can.
    pub(super) fn window(&self) -> Option<Window> {
        self.count_place.and_then(|place| place.window())
    }

    /// Whether and how a larger count fits into this header, without moving the data.
    pub fn growth(&self) -> Growth {
        Growth::of(self.count_place, self.row_bytes)
    }

    /// The largest count that [`Header::rewritten`] can write. `None` where the file cannot grow.
    pub fn rows_max_in_place(&self) -> Option<u64> {
        let digits = match self.growth() {
            Growth::Window { width, .. } => width,
            Growth::Room { spare_bytes } => self.count_place?.digits.saturating_add(spare_bytes),
            Growth::None(_) => return None,
        };
        let by_digits = u32::try_from(digits).ok().and_then(|digits| 10_u64.checked_pow(digits));
        let by_size = FILE_BYTES_MAX.saturating_sub(self.data_start).checked_div(self.row_bytes)?;
        Some(by_digits.map_or(u64::MAX, |limit| limit.saturating_sub(1)).min(by_size))
    }

    /// The same header, byte for byte as long, with another count. `bytes` is what this header was parsed from. Where
    /// [`Header::growth`] is a window, only the bytes of that window differ.
    ///
    /// `None` if the count is beyond [`Header::rows_max_in_place`], or `bytes` is another header than this.
    pub fn rewritten(&self, bytes: &[u8], rows: u64) -> Option<Vec<u8>> {
        if rows > self.rows_max_in_place()? {
            return None;
        }
        let header = bytes.get(..usize::try_from(self.data_start).ok()?)?;
        let written = self.count_place?.rewrite(header, rows, &self.growth())?;
        // What is written is read again: the array must be the same but for the count.
        let mut wanted = self.shape.clone();
        *if self.fortran_order { wanted.last_mut()? } else { wanted.first_mut()? } = rows;
        let read = Header::parse(&written).ok()?;
        let same = read.version == self.version
            && read.dtype == self.dtype
            && read.fortran_order == self.fortran_order
            && read.shape == wanted
            && read.data_start == self.data_start;
        same.then_some(written)
    }
}

/// How many characters the text of a header has: it is these that NumPy limits. `bytes` is a whole header.
pub(super) fn characters(bytes: &[u8]) -> usize {
    split(bytes).and_then(|(version, text)| decode(version, text)).map_or(0, |text| text.chars().count())
}

/// The dimensions beside the one that grows in an array of this order.
pub(super) fn row_shape(shape: &[u64], fortran_order: bool) -> &[u64] {
    let rest = if fortran_order { shape.split_last() } else { shape.split_first() };
    rest.map_or(&[], |(_, rest)| rest)
}

/// How many bytes of a file its header takes, with nothing of its text read.
///
/// # Errors
/// As [`Header::parse`], for what stands before the text.
pub(super) fn measure(bytes: &[u8]) -> Result<usize, HeaderError> {
    split(bytes).map(|(version, text)| version.prefix_bytes().saturating_add(text.len()))
}

/// The version and the bytes of the text.
fn split(bytes: &[u8]) -> Result<(Version, &[u8]), HeaderError> {
    let start = bytes.get(..MAGIC.len()).unwrap_or(bytes);
    if bytes.starts_with(&MOVING) {
        return Err(HeaderError::Moving);
    }
    if !MAGIC.starts_with(start) {
        return Err(HeaderError::Magic { found: start.to_vec() });
    }
    let version = match bytes.get(6..8) {
        Some([1, 0]) => Version::V1_0,
        Some([2, 0]) => Version::V2_0,
        Some([3, 0]) => Version::V3_0,
        Some([major, minor]) => return Err(HeaderError::Version { major: *major, minor: *minor }),
        _ => return Err(HeaderError::Incomplete { needed: 10 }),
    };
    let prefix = version.prefix_bytes();
    let length = match bytes.get(8..prefix) {
        Some([a, b]) => u64::from(u16::from_le_bytes([*a, *b])),
        Some([a, b, c, d]) => u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => return Err(HeaderError::Incomplete { needed: u64::try_from(prefix).unwrap_or(u64::MAX) }),
    };
    if length > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong { bytes: length });
    }
    let needed = length.saturating_add(u64::try_from(prefix).unwrap_or(u64::MAX));
    let text = usize::try_from(needed).ok().and_then(|end| bytes.get(prefix..end));
    text.map(|text| (version, text)).ok_or(HeaderError::Incomplete { needed })
}

fn decode(version: Version, text: &[u8]) -> Result<String, HeaderError> {
    match version {
        Version::V3_0 => match std::str::from_utf8(text) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let offset = version.prefix_bytes().saturating_add(error.valid_up_to());
                Err(HeaderError::Encoding { offset: u64::try_from(offset).unwrap_or(u64::MAX) })
            }
        },
        // Each Latin-1 byte is the character of the same number.
        _ => Ok(text.iter().copied().map(char::from).collect()),
    }
}

/// The three values of the dictionary.
struct Entries<'a> {
    descr: &'a Literal,
    fortran_order: &'a Literal,
    shape: &'a Literal,
}

impl<'a> Entries<'a> {
    fn of(dictionary: &'a Literal) -> Result<Self, HeaderError> {
        let Value::Dict(entries) = &dictionary.value else {
            return Err(HeaderError::NotADictionary { found: dictionary.value.describe() });
        };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        for (key, value) in entries {
            let slot = match &key.value {
                Value::Str(key) if key == "descr" => &mut descr,
                Value::Str(key) if key == "fortran_order" => &mut fortran_order,
                Value::Str(key) if key == "shape" => &mut shape,
                other => return Err(HeaderError::UnknownKey { found: other.describe() }),
            };
            if slot.replace(value).is_some()
                && let Value::Str(key) = &key.value
            {
                return Err(HeaderError::RepeatedKey { key: key.clone() });
            }
        }
        Ok(Self {
            descr: descr.ok_or(HeaderError::MissingKey { key: "descr" })?,
            fortran_order: fortran_order.ok_or(HeaderError::MissingKey { key: "fortran_order" })?,
            shape: shape.ok_or(HeaderError::MissingKey { key: "shape" })?,
        })
    }
}

/// The dimensions as numbers, and as they were written.
fn shape_of(value: &Value) -> Result<(Vec<u64>, &[Literal]), HeaderError> {
    let Value::Tuple(dimensions) = value else {
        return Err(HeaderError::Shape { found: value.describe() });
    };
    if dimensions.len() > DIMENSIONS_MAX {
        return Err(HeaderError::Dimensions { found: dimensions.len() });
    }
    let numbers = dimensions.iter().enumerate().map(|(index, dimension)| match &dimension.value {
        Value::Int(number) => {
            u64::try_from(*number).map_err(|_| HeaderError::Dimension { index, found: dimension.value.describe() })
        }
        other => Err(HeaderError::Dimension { index, found: other.describe() }),
    });
    Ok((numbers.collect::<Result<_, _>>()?, dimensions))
}

struct Size {
    row_bytes: u64,
    data_bytes: u64,
}

impl Size {
    /// `None` where NumPy says "array is too big": zeros do not excuse the other dimensions.
    fn of(shape: &[u64], fortran_order: bool, itemsize: usize, data_start: u64) -> Option<Self> {
        let itemsize = u64::try_from(itemsize).ok()?;
        let bytes_of = |dimensions: &[u64]| {
            dimensions.iter().try_fold(itemsize, |bytes, dimension| bytes.checked_mul(*dimension.max(&1)))
        };
        bytes_of(shape)?.checked_add(data_start).filter(|end| *end <= FILE_BYTES_MAX)?;
        if shape.iter().any(|dimension| *dimension > FILE_BYTES_MAX) {
            return None;
        }
        let row_shape = row_shape(shape, fortran_order);
        let unless_empty = |dimensions: &[u64]| match dimensions.contains(&0) {
            true => Some(0),
            false => bytes_of(dimensions),
        };
        Some(Self { row_bytes: unless_empty(row_shape)?, data_bytes: unless_empty(shape)? })
    }
}

#[cfg(test)]
pub(super) mod tests;
