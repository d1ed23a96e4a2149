//! Why a text is not a dtype of fixed size.

use super::super::literal::LiteralError;
use super::{BYTES_MAX, DEPTH_MAX, DIMENSIONS_MAX};

/// Why a text is not a dtype that rows of fixed size can have. The message names the field, where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DtypeError {
    #[error("the dtype is empty")]
    Empty,
    #[error("'{text}' is not a NumPy dtype")]
    Unknown { text: String },
    /// The kind exists, the size does not.
    #[error("'{text}' does not exist: {kind} have {sizes} bytes")]
    Size { text: String, kind: &'static str, sizes: &'static str },
    #[error("'{text}' has no valid length: {unit} as a whole number belong behind the letter")]
    Length { text: String, unit: &'static str },
    /// Object arrays are saved as one pickle: there is no row of fixed size to append.
    #[error("'{text}' holds Python objects: NumPy saves them as pickles, which have no fixed size")]
    Objects { text: String },
    #[error(
        "'{text}' is NumPy's variable-width string: NumPy saves it as a pickle, which has no fixed size; use U or S with a length"
    )]
    VariableWidth { text: String },
    /// NumPy's shorthand for fields. It is never in a header.
    #[error(
        "'{text}' is a shorthand that is not supported here: write fields as [('name', '<f4'), ...] and subarrays as ('name', '<f4', (2, 3))"
    )]
    Shorthand { text: String },
    #[error(
        "'{text}' has no valid time unit: expected [unit] or [<count>unit] with one of Y, M, W, D, h, m, s, ms, us, ns, ps, fs, as"
    )]
    TimeUnit { text: String },
    #[error("'{text}' divides its time unit: write the smaller unit instead, such as [100ms] for [s/10]")]
    TimeDivisor { text: String },
    #[error("more than {BYTES_MAX} bytes, the largest item that NumPy has")]
    TooLarge,
    #[error("more than {DEPTH_MAX} dtypes nested in each other")]
    TooDeep,
    #[error("a subarray of {found} dimensions: NumPy allows {DIMENSIONS_MAX}")]
    Dimensions { found: usize },
    #[error("the subarray shape is {found}: expected a tuple of whole numbers from 0 to {BYTES_MAX}")]
    Shape { found: String },
    /// NumPy reads the third item behind an 'S', 'U' or 'V' without a length as that length.
    #[error("'{text}' has no length, so one whole number must follow it, not {found}")]
    UnsizedShape { text: String, found: String },
    #[error("expected a dtype string, a list of fields or a (dtype, shape) tuple, found {found}")]
    NotADescriptor { found: String },
    #[error("field {index} is {found}: expected (name, dtype) or (name, dtype, shape)")]
    FieldForm { index: usize, found: String },
    #[error("the name of field {index} is {found}: expected a string or (title, name)")]
    FieldName { index: usize, found: String },
    #[error("the title of field {index} is {found}: titles that are not strings are not supported")]
    FieldTitle { index: usize, found: String },
    #[error("{name} is used twice as a field's name or title")]
    Duplicate { name: String },
    #[error("field {name}: {source}")]
    InField { name: String, source: Box<DtypeError> },
    #[error("the dtype is not a Python literal: {0}")]
    Literal(#[from] LiteralError),
}
