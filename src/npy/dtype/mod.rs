//! NumPy's dtypes of fixed size, as the `descr` of a `.npy` header writes them.
//!
//! ```
//! use npy_ingest::npy::Dtype;
//!
//! let pixel: Dtype = "u1".parse()?;
//! assert_eq!((pixel.descr(), pixel.itemsize()), ("|u1".to_owned(), 1));
//!
//! let record = Dtype::parse("[('x', '<u2'), ('y', 'float32', (3,))]")?;
//! assert_eq!(record.descr(), "[('x', '<u2'), ('y', '<f4', (3,))]");
//! assert_eq!(record.itemsize(), 14);
//! # Ok::<(), npy_ingest::npy::DtypeError>(())
//! ```
//!
//! A dtype is kept in NumPy's canonical form, so that two that NumPy calls equal are equal here, and [`Dtype::descr`]
//! gives what `numpy.lib.format.dtype_to_descr` gives. The rules are those of `numpy.lib.format.descr_to_dtype`: padding
//! fields (`('', '|V3')`) move the fields behind them and are no fields themselves.

mod error;
mod order;
mod scalar;
mod structured;

use std::fmt;
use std::str::FromStr;

use super::literal;
use scalar::Leaf;

pub use error::DtypeError;
pub use scalar::{ByteOrder, Kind, Scalar, TimeUnit};
pub use structured::Field;
pub(crate) use structured::shape_literal;

/// The largest item, in bytes: NumPy keeps item sizes in a C int.
pub const BYTES_MAX: usize = i32::MAX as usize;
/// Dtypes within dtypes. NumPy has no limit but its stack.
pub const DEPTH_MAX: usize = 32;
/// Dimensions of an array or subarray (`NPY_MAXDIMS` of NumPy 2; NumPy 1 stopped at 32).
pub const DIMENSIONS_MAX: usize = 64;

/// The type of one array element: a scalar, a structure of named fields, or a subarray (as a field only).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dtype {
    form: Form,
    /// How many dtypes are nested in this one, itself included: 1 for a scalar.
    depth: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Form {
    Scalar(Leaf),
    Structured { fields: Vec<Field>, bytes: usize },
    Subarray { base: Box<Dtype>, shape: Vec<usize>, bytes: usize },
}

impl Dtype {
    /// Reads a dtype as a header writes it (`'<f4'` with quotes, `[('a', '<f4'), ...]`) or as people do (`<f4`, `f4`,
    /// `float32`). No byte order, `=` and `|` mean this machine's.
    ///
    /// # Errors
    /// What is wrong, with the name of the field that it is in. Object dtypes and NumPy's variable-width strings are
    /// refused: they are saved as pickles.
    pub fn parse(text: &str) -> Result<Self, DtypeError> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        // A `(` may also open the shorthand `(2,3)f4`, which reads as a tuple with something behind it.
        if text.starts_with('(') && !text.ends_with(')') {
            return Err(DtypeError::Shorthand { text: text.chars().take(200).collect() });
        }
        if text.starts_with(['[', '(', '{', '\'', '"']) {
            return structured::from_literal(&literal::read(text, false)?.value);
        }
        Ok(Self::of(scalar::parse(text)?))
    }

    pub(super) fn from_literal(value: &literal::Value) -> Result<Self, DtypeError> {
        structured::from_literal(value)
    }

    fn of(leaf: Leaf) -> Self {
        Self { form: Form::Scalar(leaf), depth: 1 }
    }

    fn number(kind: Kind, bytes: usize) -> Self {
        Self::scalar_of(kind, bytes, ByteOrder::Little)
    }

    /// The caller sees to it that there is such a type.
    pub(super) fn scalar_of(kind: Kind, bytes: usize, order: ByteOrder) -> Self {
        Self::of(Leaf::new(kind, bytes, order))
    }

    /// `|u1`: the `split` column.
    pub fn u1() -> Self {
        Self::number(Kind::Uint, 1)
    }

    /// `<u8`: the `source` and `index` columns.
    pub fn u8_le() -> Self {
        Self::number(Kind::Uint, 8)
    }

    /// `<i8`: the `label` column.
    pub fn i8_le() -> Self {
        Self::number(Kind::Int, 8)
    }

    /// `<f4`: a sample of sound.
    pub fn f4_le() -> Self {
        Self::number(Kind::Float, 4)
    }

    /// `<f8`: the `time` column.
    pub fn f8_le() -> Self {
        Self::number(Kind::Float, 8)
    }

    /// A structure of these fields, packed, in this order: `[name, dtype]`. A field with an empty name and a void or
    /// subarray dtype is padding. For a field with a shape give it [`Dtype::subarray_of`].
    ///
    /// # Errors
    /// A name that is used twice, a structure of more than [`BYTES_MAX`] bytes, nesting beyond [`DEPTH_MAX`].
    pub fn structured(fields: impl IntoIterator<Item = (String, Dtype)>) -> Result<Self, DtypeError> {
        structured::pack(fields.into_iter().map(|(name, dtype)| (name, None, dtype)))
    }

    /// `base` repeated in C order, as a field holds it: `('name', base, shape)`. With no dimensions, `base` itself.
    ///
    /// # Errors
    /// More than [`BYTES_MAX`] bytes or [`DIMENSIONS_MAX`] dimensions; a string or void type without a length.
    pub fn subarray_of(base: Dtype, shape: &[usize]) -> Result<Self, DtypeError> {
        structured::subarray(base, shape.to_vec())
    }

    /// Bytes of one element. Zero for strings and voids without a length, and structures of nothing else.
    pub fn itemsize(&self) -> usize {
        match &self.form {
            Form::Scalar(leaf) => leaf.scalar.bytes,
            Form::Structured { bytes, .. } | Form::Subarray { bytes, .. } => *bytes,
        }
    }

    /// Kind, size and byte order, where the dtype has neither fields nor a shape.
    pub fn scalar(&self) -> Option<Scalar> {
        match &self.form {
            Form::Scalar(leaf) => Some(leaf.scalar),
            _ => None,
        }
    }

    /// The unit of a datetime or timedelta, unless it is NumPy's generic one.
    pub fn time_unit(&self) -> Option<TimeUnit> {
        match &self.form {
            Form::Scalar(leaf) => leaf.unit,
            _ => None,
        }
    }

    /// The fields of a structure, in the order of their bytes; padding lies between them.
    pub fn fields(&self) -> Option<&[Field]> {
        match &self.form {
            Form::Structured { fields, .. } => Some(fields),
            _ => None,
        }
    }

    /// What a subarray repeats, and its dimensions.
    pub fn subarray(&self) -> Option<(&Dtype, &[usize])> {
        match &self.form {
            Form::Subarray { base, shape, .. } => Some((base, shape)),
            _ => None,
        }
    }

    /// NumPy's descriptor: `|u1` without quotes for scalars, `[('a', '<u2'), ('b', '<f4', (3,))]` for structures.
    /// [`Dtype::parse`] reads it back to an equal dtype.
    pub fn descr(&self) -> String {
        match &self.form {
            Form::Scalar(leaf) => leaf.to_string(),
            _ => self.literal(),
        }
    }

    /// The descriptor as it stands in a header: [`Dtype::descr`], with quotes around scalars.
    pub fn literal(&self) -> String {
        let mut text = String::new();
        structured::write_literal(self, &mut text);
        text
    }
}

impl FromStr for Dtype {
    type Err = DtypeError;

    fn from_str(text: &str) -> Result<Self, DtypeError> {
        Self::parse(text)
    }
}

/// The same as [`Dtype::descr`].
impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.descr())
    }
}

#[cfg(test)]
mod tests;
