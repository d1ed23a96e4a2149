//! Python literals, as far as a `.npy` header needs them.
//!
//! A header is the text of a Python dictionary, and NumPy reads it with `ast.literal_eval`. This reader takes the same
//! strings, whole numbers, booleans, `None`, tuples, lists and dictionaries, with the same tolerance: any white space
//! between tokens, comments, a trailing comma, string prefixes and escapes, joined strings, and (on request, since NumPy
//! does so for versions 1.0 and 2.0 only) the `L` that Python 2 put behind long integers.
//!
//! Nothing here trusts its input: the depth of nesting and the number of values are limited, and numbers are checked.

mod reader;

use std::fmt::Write as _;

use reader::{DEPTH_MAX, VALUES_MAX};

pub(super) use reader::read;

/// Why a text is not a Python literal that a `.npy` header may hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {fault}")]
pub struct LiteralError {
    /// Where, in bytes from the start of the text that was read.
    pub offset: usize,
    pub fault: LiteralFault,
}

/// What is wrong at that place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiteralFault {
    #[error("expected {expected}, found {found}")]
    Unexpected { expected: &'static str, found: String },
    #[error("the string that starts here has no closing quote")]
    Unclosed,
    #[error("a NUL byte, which Python allows nowhere")]
    Nul,
    #[error("the escape {0} in a string cannot be read")]
    Escape(String),
    #[error("{0} is not a number that is allowed here")]
    Number(String),
    #[error("brackets are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("more than {VALUES_MAX} values")]
    TooMany,
}

/// A value with the bytes of the text that it was read from: `start..end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    pub value: Value,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Bool(bool),
    /// Wider than any number that is valid in a header, so that the caller can name an oversized one.
    Int(i128),
    Str(String),
    /// A `b'...'` string. Its contents never matter: no part of a header may be one.
    Bytes,
    Tuple(Vec<Literal>),
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

impl Value {
    /// What it is, for error messages.
    pub fn describe(&self) -> String {
        match self {
            Value::None => "None".to_owned(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Int(number) => format!("the number {number}"),
            Value::Str(text) => format!("the string {}", quote_short(text)),
            Value::Bytes => "a bytes string".to_owned(),
            Value::Tuple(items) => format!("a tuple of {}", items.len()),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Dict(_) => "a dictionary".to_owned(),
        }
    }
}

/// The text as Python's `repr` writes a string: single quotes unless it holds one and no double quote; everything that is
/// not printable escaped. Which characters are printable follows this compiler's Unicode tables, which may be a version
/// away from Python's; both forms read back as the same string.
pub(super) fn quote(text: &str) -> String {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push(mark);
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            other if other == mark => {
                quoted.push('\\');
                quoted.push(other);
            }
            other if is_printable(other) => quoted.push(other),
            other => {
                // Writing to a String cannot fail.
                let _ = match u32::from(other) {
                    code @ 0..=0xff => write!(quoted, "\\x{code:02x}"),
                    code @ 0x100..=0xffff => write!(quoted, "\\u{code:04x}"),
                    code => write!(quoted, "\\U{code:08x}"),
                };
            }
        }
    }
    quoted.push(mark);
    quoted
}

/// At most 60 characters of it, for error messages.
pub(super) fn quote_short(text: &str) -> String {
    match text.char_indices().nth(60).and_then(|(end, _)| text.get(..end)) {
        None => quote(text),
        Some(start) => format!("{}...", quote(start)),
    }
}

/// Python's `str.isprintable` for one character: the standard library escapes the same general categories.
/// The leading letter keeps it from escaping combining marks, which it does at the start of a string only.
fn is_printable(character: char) -> bool {
    match character {
        ' '..='~' => true,
        '\0'..='\u{9f}' => false,
        other => ['a', other].iter().collect::<String>().escape_debug().count() == 2,
    }
}

#[cfg(test)]
mod tests;
