//! Our own header: one that grows by a single aligned write.
//!
//! ```text
//! byte   0  \x93NUMPY                magic
//!        6  \x01 \x00                version 1.0
//!        8  \x76 \x00                bytes of the text, 118, little-endian
//!       10  {'descr': '|u1', 'fortran_order': False, 'shape': (
//!       61  spaces up to the next multiple of 16
//!       64  "            1024"       the window: the count, right-aligned in 16 bytes
//!       80  , 224, 224, 3), }        the row's dimensions (",), }" when there are none)
//!       97  spaces
//!      127  \n
//!      128  the first row
//! ```
//!
//! Keys, order and separators are NumPy's own, and readers that look for the digits behind `(` skip spaces. The window
//! begins at a multiple of 16, so one 16-byte write within one cache line replaces the count: no reader has been seen to
//! tear one, while rewriting a whole header tears thousands of times a second. A longer dtype moves the window and the
//! data to later multiples of 16 and 64.

use super::dtype::{DIMENSIONS_MAX, Dtype, shape_literal};
use super::growth::WINDOW_BYTES;
use super::header::{HEADER_BYTES_MAX, Header, HeaderError, MAGIC, Version};
use super::text::HeaderText;
use super::window;

/// The largest count that the window holds: 10^16 - 1.
pub const COUNT_MAX: u64 = 9_999_999_999_999_999;
/// `np.load` refuses longer headers than this, in characters, unless it is given `max_header_size`.
pub const NUMPY_HEADER_CHARACTERS_MAX: usize = 10_000;

const HEADER_BYTES_MIN: usize = 128;
/// NumPy aligns the data to this, so that any dtype can be mapped.
const DATA_ALIGNMENT: usize = 64;

/// Why rows cannot be laid out, or a count not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("the dtype {descr} has a shape: put its dimensions behind the row's own")]
    Subarray { descr: String },
    #[error("a row of shape {row_shape} and dtype {descr} holds no bytes")]
    EmptyRow { row_shape: String, descr: String },
    #[error("a row of shape {row_shape} and dtype {descr} is larger than a file can be")]
    TooLarge { row_shape: String, descr: String },
    #[error("a row of {found} dimensions: NumPy allows {} beside the count", DIMENSIONS_MAX - 1)]
    Dimensions { found: usize },
    #[error("the dtype needs a header of {bytes} bytes: at most {HEADER_BYTES_MAX} are possible")]
    HeaderTooLong { bytes: usize },
    #[error("{rows} rows are more than the {max} that this file can hold")]
    Count { rows: u64, max: u64 },
}

/// The parts of a header, as a mismatch names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Magic,
    Version,
    Length,
    Dtype,
    Order,
    Shape,
    Padding,
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Part::Magic => "magic",
            Part::Version => "format version",
            Part::Length => "header length",
            Part::Dtype => "dtype",
            Part::Order => "order",
            Part::Shape => "shape",
            Part::Padding => "padding",
        })
    }
}

/// How a header differs from what a [`Layout`] writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("the file has {found} bytes, less than the {needed} of the header")]
    TooShort { needed: u64, found: u64 },
    #[error("the dtype is {found}, and {expected} was expected")]
    Dtype { expected: String, found: String },
    #[error("a row has the shape {found}, and {expected} was expected")]
    RowShape { expected: String, found: String },
    #[error("the array is in {} order, and {} order was expected", order(*found_fortran), order(!*found_fortran))]
    Order { found_fortran: bool },
    /// A sound header of the same array that has its bytes elsewhere: another program wrote it.
    #[error("the header is sound, but not laid out for growth in place: it differs in its {part} at byte {offset}")]
    Placement { part: Part, offset: u64 },
    /// Nothing that can be read as a header.
    #[error("the header is damaged in its {part} at byte {offset}: {error}")]
    Damaged { part: Part, offset: u64, error: HeaderError },
    /// All is well but the window.
    #[error("the count is damaged: its 16 bytes are \"{}\"", found.escape_ascii())]
    Count { found: [u8; WINDOW_BYTES] },
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("no layout for growth exists for this array: {0}")]
    Layout(#[from] LayoutError),
}

fn order(fortran: bool) -> &'static str {
    if fortran { "Fortran" } else { "C" }
}

/// The header for rows of one dtype and shape. Everything but the count is fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dtype: Dtype,
    row_shape: Vec<usize>,
    fortran_order: bool,
    row_bytes: u64,
    version: Version,
    before_window: Vec<u8>,
    after_window: Vec<u8>,
    /// Where each part ends.
    parts: [(usize, Part); 6],
}

impl Layout {
    /// For an array of shape `(N, *row_shape)` in C order, which grows along its first axis.
    ///
    /// # Errors
    /// A row without bytes, one that is too large, a dtype that needs too long a header.
    pub fn new(dtype: &Dtype, row_shape: &[usize]) -> Result<Self, LayoutError> {
        Self::with_order(dtype, row_shape, false)
    }

    /// For an array of shape `(*row_shape, N)` in Fortran order, which grows along its last axis.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn fortran(dtype: &Dtype, row_shape: &[usize]) -> Result<Self, LayoutError> {
        Self::with_order(dtype, row_shape, true)
    }

    fn with_order(dtype: &Dtype, row_shape: &[usize], fortran_order: bool) -> Result<Self, LayoutError> {
        let row_bytes = row_bytes(dtype, row_shape)?;
        let text = HeaderText::new(dtype, row_shape, fortran_order);
        let place = |version: Version| {
            let length = |piece: &str| HeaderText::length(version, piece);
            let descr_end = version.prefix_bytes().saturating_add(length(&text.descr));
            let order_end = descr_end.saturating_add(length(&text.order));
            let window = order_end.saturating_add(length(&text.shape)).next_multiple_of(WINDOW_BYTES);
            let text_end = window.saturating_add(WINDOW_BYTES).saturating_add(length(&text.rest));
            // One more for the newline.
            let data_start = text_end.saturating_add(1).next_multiple_of(DATA_ALIGNMENT).max(HEADER_BYTES_MIN);
            (descr_end, order_end, window, text_end, data_start)
        };
        let version = match text.is_latin1() {
            false => Version::V3_0,
            true if place(Version::V1_0).4.saturating_sub(Version::V1_0.prefix_bytes()) <= usize::from(u16::MAX) => {
                Version::V1_0
            }
            true => Version::V2_0,
        };
        let (descr_end, order_end, window, text_end, data_start) = place(version);
        let prefix_bytes = version.prefix_bytes();
        let text_bytes = data_start.saturating_sub(prefix_bytes);
        let length_field = u32::try_from(text_bytes)
            .ok()
            .filter(|length| u64::from(*length) <= HEADER_BYTES_MAX)
            .ok_or(LayoutError::HeaderTooLong { bytes: data_start })?
            .to_le_bytes();

        let mut before_window = MAGIC.to_vec();
        before_window.extend_from_slice(&version.bytes());
        before_window.extend(length_field.iter().take(prefix_bytes.saturating_sub(before_window.len())));
        for piece in [&text.descr, &text.order, &text.shape] {
            HeaderText::encode(version, piece, &mut before_window);
        }
        before_window.resize(window, b' ');
        let mut after_window = text.rest.into_bytes();
        after_window.resize(data_start.saturating_sub(window.saturating_add(WINDOW_BYTES)).saturating_sub(1), b' ');
        after_window.push(b'\n');

        let magic_end = MAGIC.len();
        let parts = [
            (magic_end, Part::Magic),
            (magic_end.saturating_add(2), Part::Version),
            (prefix_bytes, Part::Length),
            (descr_end, Part::Dtype),
            (order_end, Part::Order),
            (text_end, Part::Shape),
        ];
        let (dtype, row_shape) = (dtype.clone(), row_shape.to_vec());
        Ok(Self { dtype, row_shape, fortran_order, row_bytes, version, before_window, after_window, parts })
    }

    /// The whole header for this many rows: [`Layout::data_start`] bytes.
    ///
    /// # Errors
    /// [`LayoutError::Count`] beyond [`Layout::rows_max`].
    pub fn header(&self, rows: u64) -> Result<Vec<u8>, LayoutError> {
        let max = self.rows_max();
        if rows > max {
            return Err(LayoutError::Count { rows, max });
        }
        let mut header = self.before_window.clone();
        header.extend_from_slice(&Self::count(rows)?);
        header.extend_from_slice(&self.after_window);
        Ok(header)
    }

    /// The 16 bytes of the window for this many rows.
    ///
    /// # Errors
    /// [`LayoutError::Count`] beyond [`COUNT_MAX`].
    pub fn count(rows: u64) -> Result<[u8; WINDOW_BYTES], LayoutError> {
        let mut count = [b' '; WINDOW_BYTES];
        match window::write_digits(&mut count, rows) {
            true => Ok(count),
            false => Err(LayoutError::Count { rows, max: COUNT_MAX }),
        }
    }

    /// The count in a window, if it is one that [`Layout::count`] writes.
    pub fn read_count(window: [u8; WINDOW_BYTES]) -> Option<u64> {
        let rows = std::str::from_utf8(&window).ok()?.trim_start_matches(' ').parse().ok()?;
        // Leaves out signs and leading zeros, which `parse` takes.
        (Self::count(rows).ok()? == window).then_some(rows)
    }

    /// The largest count: [`COUNT_MAX`], or fewer where so many rows would not fit into a file.
    pub fn rows_max(&self) -> u64 {
        let file = u64::try_from(i64::MAX).unwrap_or(u64::MAX).saturating_sub(self.data_start());
        file.checked_div(self.row_bytes).unwrap_or(0).min(COUNT_MAX)
    }

    pub fn dtype(&self) -> &Dtype {
        &self.dtype
    }

    pub fn row_shape(&self) -> &[usize] {
        &self.row_shape
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// Bytes of the header, and so the offset of the first row: a multiple of 64.
    pub fn data_start(&self) -> u64 {
        let bytes = self.before_window.len().saturating_add(WINDOW_BYTES).saturating_add(self.after_window.len());
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Where the 16 bytes of the count begin: a multiple of 16.
    pub fn window_offset(&self) -> u64 {
        u64::try_from(self.before_window.len()).unwrap_or(u64::MAX)
    }

    /// Bytes of one row, never zero.
    pub fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    /// Whether a plain `np.load` takes a header of this length.
    pub fn numpy_loads_by_default(&self) -> bool {
        let text = self.data_start().saturating_sub(u64::try_from(self.version.prefix_bytes()).unwrap_or(0));
        // Bytes, not characters: on the safe side for version 3.0.
        usize::try_from(text).is_ok_and(|text| text <= NUMPY_HEADER_CHARACTERS_MAX)
    }

    /// Checks the start of a file against this layout, byte for byte except the window, and returns the count in it.
    /// `bytes` may hold more of the file.
    ///
    /// # Errors
    /// What differs. A sound header of another array is told apart from a damaged one.
    pub fn matches(&self, bytes: &[u8]) -> Result<u64, Mismatch> {
        let window_end = self.before_window.len().saturating_add(WINDOW_BYTES);
        let header_end = window_end.saturating_add(self.after_window.len());
        let parsed = || Header::parse(bytes);
        let (Some(before), Some(window), Some(after)) = (
            bytes.get(..self.before_window.len()),
            bytes.get(self.before_window.len()..window_end),
            bytes.get(window_end..header_end),
        ) else {
            let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            // A shorter header of another array is worth naming.
            return Err(match parsed() {
                Ok(header) => self.explain(&header, bytes),
                Err(_) => Mismatch::TooShort { needed: self.data_start(), found },
            });
        };
        if before != self.before_window || after != self.after_window {
            return Err(match parsed() {
                Ok(header) => self.explain(&header, bytes),
                Err(error) => {
                    let (part, offset) = self.first_difference(bytes);
                    Mismatch::Damaged { part, offset, error }
                }
            });
        }
        let window = window.try_into().unwrap_or([0; WINDOW_BYTES]);
        Self::read_count(window).filter(|rows| *rows <= self.rows_max()).ok_or(Mismatch::Count { found: window })
    }

    /// Recognises a header that some layout of ours has written, whatever its dtype and shape, and returns that layout and
    /// the count.
    ///
    /// # Errors
    /// Why it is none. [`Mismatch::Placement`] is the one for sound headers of other programs.
    pub fn from_header(bytes: &[u8]) -> Result<(Self, u64), Mismatch> {
        let header = Header::parse(bytes)?;
        let layout = Self::for_array(&header)?;
        let rows = layout.matches(bytes)?;
        Ok((layout, rows))
    }

    /// The layout that an array with this header would have if it were ours.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn for_array(header: &Header) -> Result<Self, LayoutError> {
        let row_shape: Vec<usize> =
            header.row_shape().iter().map(|dimension| usize::try_from(*dimension).unwrap_or(usize::MAX)).collect();
        Self::with_order(&header.dtype, &row_shape, header.fortran_order)
    }

    fn explain(&self, header: &Header, bytes: &[u8]) -> Mismatch {
        let expected: Vec<u64> =
            self.row_shape.iter().map(|dimension| u64::try_from(*dimension).unwrap_or(u64::MAX)).collect();
        if header.dtype != self.dtype {
            Mismatch::Dtype { expected: self.dtype.descr(), found: header.dtype.descr() }
        } else if header.row_shape() != expected {
            Mismatch::RowShape { expected: shape_literal(&expected), found: shape_literal(header.row_shape()) }
        } else if header.fortran_order != self.fortran_order {
            Mismatch::Order { found_fortran: header.fortran_order }
        } else {
            let (part, offset) = self.first_difference(bytes);
            Mismatch::Placement { part, offset }
        }
    }

    /// The first byte outside the window that differs, and the part that it belongs to.
    fn first_difference(&self, bytes: &[u8]) -> (Part, u64) {
        let window_end = self.before_window.len().saturating_add(WINDOW_BYTES);
        let wanted = self.before_window.iter().copied().enumerate();
        let wanted = wanted.chain((window_end..).zip(self.after_window.iter().copied()));
        let different = wanted.into_iter().find(|(offset, byte)| bytes.get(*offset) != Some(byte));
        let offset = different.map_or(0, |(offset, _)| offset);
        let part = self.parts.iter().find(|(end, _)| offset < *end).map_or(Part::Padding, |(_, part)| *part);
        (part, u64::try_from(offset).unwrap_or(u64::MAX))
    }
}

fn row_bytes(dtype: &Dtype, row_shape: &[usize]) -> Result<u64, LayoutError> {
    let (shape, descr) = (|| shape_literal(row_shape), || dtype.descr());
    if dtype.subarray().is_some() {
        return Err(LayoutError::Subarray { descr: descr() });
    }
    if row_shape.len() >= DIMENSIONS_MAX {
        return Err(LayoutError::Dimensions { found: row_shape.len() });
    }
    if dtype.itemsize() == 0 || row_shape.contains(&0) {
        return Err(LayoutError::EmptyRow { row_shape: shape(), descr: descr() });
    }
    // One row and its header must fit into a file, whose offsets are signed 64-bit numbers.
    let limit = i64::MAX.unsigned_abs().saturating_sub(HEADER_BYTES_MAX.saturating_mul(2));
    let bytes = row_shape.iter().try_fold(dtype.itemsize(), |bytes, dimension| bytes.checked_mul(*dimension));
    let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes <= limit);
    bytes.ok_or_else(|| LayoutError::TooLarge { row_shape: shape(), descr: descr() })
}

#[cfg(test)]
mod tests;
