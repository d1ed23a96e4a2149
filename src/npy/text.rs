//! The text of a header, in NumPy's own key order and separators, in the pieces around the count.

use super::dtype::Dtype;
use super::header::Version;

/// The pieces. What is written between `shape` and `rest` is spaces and the count.
pub(super) struct HeaderText {
    /// `{'descr': '<f4'`
    pub descr: String,
    /// `, 'fortran_order': False`
    pub order: String,
    /// `, 'shape': (`, and in Fortran order the other dimensions with their separators.
    pub shape: String,
    /// What follows the count, to the closing `}`.
    pub rest: String,
    is_latin1: bool,
}

impl HeaderText {
    pub fn new<Number: ToString>(dtype: &Dtype, row_shape: &[Number], fortran_order: bool) -> Self {
        let dimensions: Vec<String> = row_shape.iter().map(Number::to_string).collect();
        let dimensions = dimensions.join(", ");
        let (shape, rest) = match (row_shape.is_empty(), fortran_order) {
            (true, _) => (", 'shape': (".to_owned(), ",), }".to_owned()),
            (false, false) => (", 'shape': (".to_owned(), format!(", {dimensions}), }}")),
            (false, true) => (format!(", 'shape': ({dimensions}, "), "), }".to_owned()),
        };
        let literal = dtype.literal();
        Self {
            is_latin1: literal.chars().all(|character| u32::from(character) <= 0xff),
            descr: format!("{{'descr': {literal}"),
            order: format!(", 'fortran_order': {}", if fortran_order { "True" } else { "False" }),
            shape,
            rest,
        }
    }

    /// Whether the versions 1.0 and 2.0 can hold it.
    pub fn is_latin1(&self) -> bool {
        self.is_latin1
    }

    /// Bytes of a piece in a file of this version.
    pub fn length(version: Version, piece: &str) -> usize {
        let mut bytes = Vec::new();
        Self::encode(version, piece, &mut bytes);
        bytes.len()
    }

    /// The bytes of a piece. In the versions 1.0 and 2.0 a character is a byte, and others are escaped, as in Python.
    pub fn encode(version: Version, piece: &str, into: &mut Vec<u8>) {
        if version == Version::V3_0 {
            into.extend_from_slice(piece.as_bytes());
            return;
        }
        for character in piece.chars() {
            match u32::from(character) {
                code @ 0..=0xff => into.extend(u8::try_from(code)),
                code @ 0..=0xffff => into.extend_from_slice(format!("\\u{code:04x}").as_bytes()),
                code => into.extend_from_slice(format!("\\U{code:08x}").as_bytes()),
            }
        }
    }
}
