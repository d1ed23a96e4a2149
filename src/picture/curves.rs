//! Arrays of one number a row, or of a record with numbers in it: each number is a curve over the rows.

use std::ops::Range;
use std::path::Path;

use image::RgbImage;

use super::plot::{Envelope, pixels_of};
use super::rows::{RowFileError, Rows};
use super::samples::{are_numbers, samples};
use crate::npy::{ByteOrder, Dtype, Kind};

/// Pixels of a curve that is alone, and of one of several.
const SIZE: (u32, u32) = (1024, 256);
const SIZE_OF_MANY: (u32, u32) = (768, 128);
/// Fields that are drawn.
const FIELDS_MAX: usize = 64;
/// Bytes that are read together, and one row at least.
const READ_BYTES: u64 = 1 << 20;

/// An open `.npy` file whose rows are numbers, or records.
pub struct Curves {
    rows: Rows,
    fields: Vec<Field>,
    /// Fields that are no numbers, or too many.
    pub not_drawn: usize,
}

/// A number of each row.
struct Field {
    name: String,
    /// Bytes from the row's start.
    offset: usize,
    dtype: Dtype,
    is_time: bool,
}

impl Field {
    /// `None`: it is no number. Times are drawn by what is stored.
    fn of(name: &str, dtype: &Dtype, offset: usize) -> Option<Self> {
        let scalar = dtype.scalar()?;
        let is_time = matches!(scalar.kind, Kind::Datetime | Kind::Timedelta);
        let numbers = match (is_time, scalar.order) {
            (true, ByteOrder::Big) => Dtype::parse(">i8").ok()?,
            (true, _) => Dtype::i8_le(),
            (false, _) => dtype.clone(),
        };
        are_numbers(&numbers).then(|| Self { name: name.to_owned(), offset, dtype: numbers, is_time })
    }

    fn value(&self, row: &[u8]) -> f64 {
        let number = samples(&self.dtype, row.get(self.offset..).unwrap_or_default(), 0, 1).next().unwrap_or(f64::NAN);
        // Not a time.
        if self.is_time && number == i64::MIN as f64 { f64::NAN } else { number }
    }
}

impl Curves {
    /// `None`: its rows are more than numbers and records; see [`super::RowFile`].
    ///
    /// # Errors
    /// It cannot be read, is no `.npy` file, or has records without a number.
    pub fn open(path: &Path) -> Result<Option<Self>, RowFileError> {
        let rows = Rows::open(path)?;
        if !rows.shape.is_empty() {
            return Ok(None);
        }
        let Some(of_dtype) = rows.dtype.fields() else {
            let alone = Field::of("", &rows.dtype, 0);
            return Ok(alone.map(|field| Self { rows, fields: vec![field], not_drawn: 0 }));
        };
        let numbers = of_dtype.iter().filter_map(|field| Field::of(&field.name, &field.dtype, field.offset));
        let fields: Vec<Field> = numbers.take(FIELDS_MAX).collect();
        if fields.is_empty() {
            return Err(
                rows.no_look(format!("rows of dtype {} have no numbers that could be drawn", rows.dtype.descr()))
            );
        }
        let not_drawn = of_dtype.len() - fields.len();
        Ok(Some(Self { rows, fields, not_drawn }))
    }

    /// Rows of the file.
    pub fn count(&self) -> u64 {
        self.rows.count
    }

    /// The names of the fields that are drawn; an empty one for numbers that are in no record.
    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|field| field.name.as_str()).collect()
    }

    /// A curve for each field over these rows: the least and the greatest of each column, so that no peak is lost.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn draw(&self, wanted: Range<u64>) -> Result<Vec<RgbImage>, RowFileError> {
        let (width, height) = if self.fields.len() > 1 { SIZE_OF_MANY } else { SIZE };
        let count = wanted.end.saturating_sub(wanted.start);
        let mut envelopes = vec![Envelope::new(width as usize); self.fields.len()];
        let mut before = vec![f64::NAN; self.fields.len()];
        let mut column_before = 0;
        let column_of = |place: u64| (u128::from(place) * u128::from(width) / u128::from(count.max(1))) as usize;
        let at_once = (READ_BYTES / self.rows.row_bytes).max(1);
        let mut first = wanted.start;
        while first < wanted.end {
            let rows = at_once.min(wanted.end - first);
            let mut bytes = vec![0; (rows * self.rows.row_bytes) as usize];
            self.rows.read(first, &mut bytes)?;
            for (row, place) in bytes.chunks_exact(self.rows.row_bytes as usize).zip(first - wanted.start..) {
                // Of many rows in one column, or of one row in many.
                let columns = column_of(place)..column_of(place + 1).max(column_of(place) + 1);
                for ((field, envelope), before) in self.fields.iter().zip(&mut envelopes).zip(&mut before) {
                    if columns.start != column_before {
                        // So that neighbours touch.
                        envelope.add(columns.start, *before);
                    }
                    *before = field.value(row);
                    columns.clone().for_each(|column| envelope.add(column, *before));
                }
                column_before = columns.start;
            }
            first += rows;
        }
        Ok(envelopes.iter().map(|envelope| pixels_of(&[envelope.parts()], width, height)).collect())
    }
}
