//! Dtypes without fields: a kind, a number of bytes, a byte order, and for times a unit.
//!
//! The letters and names are NumPy's (`numpy/_core/src/multiarray/descriptor.c` and `numpy.sctypeDict`).

use std::ffi::{c_int, c_long, c_longlong, c_short};
use std::fmt;

use super::{BYTES_MAX, DtypeError};

/// What the bytes of a scalar mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `b1`: one byte, 0 or 1.
    Bool,
    /// `i1` to `i8`, two's complement.
    Int,
    /// `u1` to `u8`.
    Uint,
    /// `f2`, `f4`, `f8`: IEEE 754. `f16` is the writing machine's `long double`, opaque here.
    Float,
    /// `c8`, `c16`, `c32`: two floats of half the size, real part first.
    Complex,
    /// `M8`: a signed count of units since 1970.
    Datetime,
    /// `m8`: a signed count of units.
    Timedelta,
    /// `S`: bytes, padded with zeros.
    Bytes,
    /// `U`: UCS-4 characters of four bytes each, padded with zeros.
    Unicode,
    /// `V`: bytes without a meaning.
    Void,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Kind::Bool => 'b',
            Kind::Int => 'i',
            Kind::Uint => 'u',
            Kind::Float => 'f',
            Kind::Complex => 'c',
            Kind::Datetime => 'M',
            Kind::Timedelta => 'm',
            Kind::Bytes => 'S',
            Kind::Unicode => 'U',
            Kind::Void => 'V',
        }
    }
}

/// In which order the bytes of one number stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// `<`
    Little,
    /// `>`
    Big,
    /// `|`: single bytes, and kinds that are no numbers.
    NotApplicable,
}

impl ByteOrder {
    /// This machine's.
    pub const NATIVE: ByteOrder = if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };

    fn sign(self) -> char {
        match self {
            ByteOrder::Little => '<',
            ByteOrder::Big => '>',
            ByteOrder::NotApplicable => '|',
        }
    }
}

/// A dtype without fields, for matching on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scalar {
    pub kind: Kind,
    /// Bytes of one value. For [`Kind::Unicode`], four a character.
    pub bytes: usize,
    pub order: ByteOrder,
}

/// The unit of a datetime or timedelta: `25us` is a multiple of 25 and the unit `us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeUnit {
    /// 1 for a plain unit. NumPy lets 0 pass, so it does here.
    pub multiple: u32,
    /// `Y`, `M`, `W`, `D`, `h`, `m`, `s`, `ms`, `us`, `ns`, `ps`, `fs` or `as`.
    pub unit: &'static str,
}

const TIME_UNITS: [&str; 13] = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"];

impl Scalar {
    /// As in a header: `<f4`, `<M8[25us]`.
    pub fn descr(self, unit: Option<TimeUnit>) -> String {
        Leaf { scalar: self, unit }.to_string()
    }
}

/// A scalar with what its descriptor says beyond kind, size and order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Leaf {
    pub scalar: Scalar,
    /// `None` for NumPy's generic time, and for everything that is no time.
    pub unit: Option<TimeUnit>,
}

impl Leaf {
    /// The order is dropped where it means nothing, as NumPy does: `<u1` and `>S5` are `|u1` and `|S5`.
    pub fn new(kind: Kind, bytes: usize, order: ByteOrder) -> Self {
        let order = match kind {
            Kind::Bool | Kind::Bytes | Kind::Void => ByteOrder::NotApplicable,
            Kind::Int | Kind::Uint if bytes == 1 => ByteOrder::NotApplicable,
            _ if order == ByteOrder::NotApplicable => ByteOrder::NATIVE,
            _ => order,
        };
        Self { scalar: Scalar { kind, bytes, order }, unit: None }
    }

    /// Whether it is one of the kinds whose length is free, and that length is zero.
    pub fn is_unsized(&self) -> bool {
        self.scalar.bytes == 0
    }

    /// The same kind with a length, in bytes or (for `U`) characters.
    pub fn with_length(self, length: i128) -> Option<Self> {
        let unit = if self.scalar.kind == Kind::Unicode { 4 } else { 1 };
        let bytes = usize::try_from(length).ok()?.checked_mul(unit)?;
        (bytes <= BYTES_MAX).then(|| Self::new(self.scalar.kind, bytes, self.scalar.order))
    }
}

/// As in a header: `|u1`, `<f4`, `<U5`, `<M8[25us]`.
impl fmt::Display for Leaf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scalar { kind, bytes, order } = self.scalar;
        // The length of a `U` counts characters.
        let size = if kind == Kind::Unicode { bytes / 4 } else { bytes };
        write!(formatter, "{}{}{size}", order.sign(), kind.letter())?;
        match self.unit {
            None => Ok(()),
            Some(TimeUnit { multiple: 1, unit }) => write!(formatter, "[{unit}]"),
            Some(TimeUnit { multiple, unit }) => write!(formatter, "[{multiple}{unit}]"),
        }
    }
}

/// Reads a descriptor such as `<f4`, or one of NumPy's names for a type, such as `float32`.
pub(super) fn parse(text: &str) -> Result<Leaf, DtypeError> {
    if text.is_empty() {
        return Err(DtypeError::Empty);
    }
    let (order, rest) = match text.chars().next() {
        Some('<') => (ByteOrder::Little, text.get(1..)),
        Some('>') => (ByteOrder::Big, text.get(1..)),
        Some('=' | '|') => (ByteOrder::NATIVE, text.get(1..)),
        _ => (ByteOrder::NATIVE, Some(text)),
    };
    let rest = rest.unwrap_or_default();
    // NumPy takes names without an order only; the two time names are the exception, handled with the times.
    let named = if rest.len() == text.len() { by_name(rest) } else { None };
    if let Some((kind, bytes)) = by_letter(rest).or(named) {
        return Ok(Leaf::new(kind, bytes, order));
    }
    sized(text, rest, order)
}

fn sized(text: &str, rest: &str, order: ByteOrder) -> Result<Leaf, DtypeError> {
    let owned = || text.chars().take(200).collect::<String>();
    for (kind, name, letter) in [(Kind::Datetime, "datetime64", "M8"), (Kind::Timedelta, "timedelta64", "m8")] {
        if let Some(unit) = rest.strip_prefix(name).or_else(|| rest.strip_prefix(letter)) {
            return Ok(Leaf { unit: time_unit(text, unit)?, ..Leaf::new(kind, 8, order) });
        }
    }
    if rest == "object" || rest == "object_" || is_letter_and_digits(rest, 'O') {
        return Err(DtypeError::Objects { text: owned() });
    }
    if rest == "T" {
        return Err(DtypeError::VariableWidth { text: owned() });
    }
    if rest.contains(',') || rest.starts_with('(') || (rest.starts_with(|first: char| first.is_ascii_digit())) {
        return Err(DtypeError::Shorthand { text: owned() });
    }
    let letter = rest.chars().next().filter(char::is_ascii).unwrap_or(' ');
    if !is_letter_and_digits(rest, letter) {
        return Err(match letter {
            'S' | 'a' | 'V' => DtypeError::Length { text: owned(), unit: "bytes" },
            'U' => DtypeError::Length { text: owned(), unit: "characters" },
            _ => DtypeError::Unknown { text: owned() },
        });
    }
    // Saturated: a length beyond 64 bits is too large, not misspelt.
    let size = match rest.get(1..).unwrap_or_default() {
        "" => 0,
        digits => digits.parse().unwrap_or(u64::MAX),
    };
    let fixed = |kind, name, sizes: &[u64], listed| match usize::try_from(size) {
        Ok(bytes) if sizes.contains(&size) => Ok(Leaf::new(kind, bytes, order)),
        _ => Err(DtypeError::Size { text: owned(), kind: name, sizes: listed }),
    };
    let free = |kind| Leaf::new(kind, 0, order).with_length(i128::from(size)).ok_or(DtypeError::TooLarge);
    match letter {
        'b' => fixed(Kind::Bool, "booleans (b)", &[1], "1"),
        'i' => fixed(Kind::Int, "integers (i)", &[1, 2, 4, 8], "1, 2, 4 or 8"),
        'u' => fixed(Kind::Uint, "unsigned integers (u)", &[1, 2, 4, 8], "1, 2, 4 or 8"),
        'f' => fixed(Kind::Float, "floats (f)", &[2, 4, 8, 16], "2, 4, 8 or 16"),
        'c' => fixed(Kind::Complex, "complex numbers (c)", &[8, 16, 32], "8, 16 or 32"),
        'M' | 'm' => Err(DtypeError::Size { text: owned(), kind: "times (M, m)", sizes: "8" }),
        'S' | 'a' => free(Kind::Bytes),
        'U' => free(Kind::Unicode),
        'V' => free(Kind::Void),
        _ => Err(DtypeError::Unknown { text: owned() }),
    }
}

fn is_letter_and_digits(text: &str, letter: char) -> bool {
    text.strip_prefix(letter).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        && (text.len() > 1 || matches!(letter, 'S' | 'U' | 'V' | 'a' | 'O'))
}

/// The part behind `M8`: nothing, `[generic]`, or a unit with an optional multiple.
fn time_unit(text: &str, bracketed: &str) -> Result<Option<TimeUnit>, DtypeError> {
    if bracketed.is_empty() || bracketed == "[generic]" {
        return Ok(None);
    }
    let owned = || text.chars().take(200).collect::<String>();
    let inner = bracketed.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let inner = inner.ok_or_else(|| DtypeError::TimeUnit { text: owned() })?;
    if inner.contains('/') {
        return Err(DtypeError::TimeDivisor { text: owned() });
    }
    let name = inner.trim_start_matches(|character: char| character.is_ascii_digit());
    let digits = inner.strip_suffix(name).unwrap_or_default();
    let multiple = match digits {
        "" => Some(1),
        digits => digits.parse::<u32>().ok().filter(|multiple| i32::try_from(*multiple).is_ok()),
    };
    let name = if name == "μs" { "us" } else { name };
    let unit = TIME_UNITS.into_iter().find(|unit| *unit == name);
    match (multiple, unit) {
        (Some(multiple), Some(unit)) => Ok(Some(TimeUnit { multiple, unit })),
        _ => Err(DtypeError::TimeUnit { text: owned() }),
    }
}

/// NumPy's one-letter codes. Those of C types have this machine's size, as in NumPy.
fn by_letter(text: &str) -> Option<(Kind, usize)> {
    Some(match text {
        "?" => (Kind::Bool, 1),
        "b" => (Kind::Int, 1),
        "B" => (Kind::Uint, 1),
        "h" => (Kind::Int, size_of::<c_short>()),
        "H" => (Kind::Uint, size_of::<c_short>()),
        "i" => (Kind::Int, size_of::<c_int>()),
        "I" => (Kind::Uint, size_of::<c_int>()),
        "l" => (Kind::Int, size_of::<c_long>()),
        "L" => (Kind::Uint, size_of::<c_long>()),
        "q" => (Kind::Int, size_of::<c_longlong>()),
        "Q" => (Kind::Uint, size_of::<c_longlong>()),
        "p" | "n" => (Kind::Int, size_of::<isize>()),
        "P" | "N" => (Kind::Uint, size_of::<usize>()),
        "e" => (Kind::Float, 2),
        "f" => (Kind::Float, 4),
        "d" => (Kind::Float, 8),
        "g" => (Kind::Float, 16),
        "F" => (Kind::Complex, 8),
        "D" => (Kind::Complex, 16),
        "G" => (Kind::Complex, 32),
        "M" => (Kind::Datetime, 8),
        "m" => (Kind::Timedelta, 8),
        "c" => (Kind::Bytes, 1),
        _ => return None,
    })
}

/// NumPy's names for its types. `int` and `uint` are pointer-sized, as in NumPy 2.
fn by_name(text: &str) -> Option<(Kind, usize)> {
    Some(match text {
        "bool" | "bool_" => (Kind::Bool, 1),
        "int8" | "byte" => (Kind::Int, 1),
        "int16" => (Kind::Int, 2),
        "int32" => (Kind::Int, 4),
        "int64" => (Kind::Int, 8),
        "short" => (Kind::Int, size_of::<c_short>()),
        "intc" => (Kind::Int, size_of::<c_int>()),
        "int" | "int_" | "intp" => (Kind::Int, size_of::<isize>()),
        "long" => (Kind::Int, size_of::<c_long>()),
        "longlong" => (Kind::Int, size_of::<c_longlong>()),
        "uint8" | "ubyte" => (Kind::Uint, 1),
        "uint16" => (Kind::Uint, 2),
        "uint32" => (Kind::Uint, 4),
        "uint64" => (Kind::Uint, 8),
        "ushort" => (Kind::Uint, size_of::<c_short>()),
        "uintc" => (Kind::Uint, size_of::<c_int>()),
        "uint" | "uintp" => (Kind::Uint, size_of::<usize>()),
        "ulong" => (Kind::Uint, size_of::<c_long>()),
        "ulonglong" => (Kind::Uint, size_of::<c_longlong>()),
        "float16" | "half" => (Kind::Float, 2),
        "float32" | "single" => (Kind::Float, 4),
        "float64" | "double" | "float" => (Kind::Float, 8),
        "float128" | "longdouble" => (Kind::Float, 16),
        "complex64" | "csingle" => (Kind::Complex, 8),
        "complex128" | "cdouble" | "complex" => (Kind::Complex, 16),
        "complex256" | "clongdouble" => (Kind::Complex, 32),
        "bytes" | "bytes_" => (Kind::Bytes, 0),
        "str" | "str_" => (Kind::Unicode, 0),
        "void" => (Kind::Void, 0),
        _ => return None,
    })
}
