//! The text of a field into the bytes of a value.

use super::lines::Line;
use super::numbers::{beyond, half, real, single, utf8, whole};
use super::plain::Meanings;
use crate::config::{ColumnFrom, CsvColumn, CsvOptions, TimeFormat};
use crate::decode::values::instant::instant;
use crate::npy::{ByteOrder, Kind, Scalar};

/// The characters of a text that a reason repeats.
const SHOWN_CHARS_MAX: usize = 40;
/// NumPy's NaT.
const NOT_A_TIME: i64 = i64::MIN;

/// How the fields of a line become a row.
pub(super) struct Texts {
    pub(super) values: Vec<Value>,
    /// Beside the empty text.
    missing: Vec<Vec<u8>>,
    /// Whether one of them begins with this byte.
    begins_missing: [bool; 256],
    empty_is_missing: bool,
    time_format: TimeFormat,
    row_bytes: usize,
    pub(super) delimiter: u8,
    pub(super) meanings: Meanings,
}

pub(super) struct Value {
    /// `None` where it is known by its place alone.
    name: Option<String>,
    pub(super) offset: usize,
    pub(super) scalar: Scalar,
    form: Form,
    /// The text is a number, as a rule without an exponent, and no word for what is missing.
    pub(super) is_decimal: bool,
}

/// What the text is.
#[derive(Clone, Copy)]
enum Form {
    Number,
    Text,
    /// Into a datetime of so many nanoseconds.
    Time(i64),
    /// Into seconds.
    Seconds,
}

impl Texts {
    /// `row_bytes`: with the padding that a dtype may have behind its last value.
    pub(super) fn new(options: &CsvOptions, row_bytes: usize) -> Self {
        let mut begins_missing = [false; 256];
        for first in options.missing.iter().filter_map(|word| word.as_bytes().first()) {
            if let Some(begins) = begins_missing.get_mut(usize::from(*first)) {
                *begins = true;
            }
        }
        Self {
            values: options.columns.iter().map(|column| Value::new(column, options)).collect(),
            missing: options.missing.iter().filter(|word| !word.is_empty()).map(|word| word.clone().into()).collect(),
            begins_missing,
            empty_is_missing: options.missing.iter().any(String::is_empty),
            time_format: options.time_format,
            row_bytes,
            delimiter: options.delimiter,
            meanings: Meanings::new(options),
        }
    }

    /// For rows that end with their last value.
    #[cfg(test)]
    pub(super) fn without_padding(options: &CsvOptions) -> Self {
        let ends = options.columns.iter().map(|column| column.slot.offset + column.slot.scalar.bytes);
        Self::new(options, ends.max().unwrap())
    }

    /// Bytes of one row.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Fills one row, or says what is wrong with the line.
    pub(super) fn take(&self, line: &Line<'_>, places: &[usize], row: &mut [u8]) -> Result<(), String> {
        for (value, place) in self.values.iter().zip(places) {
            let Some(text) = line.field(*place) else {
                return Err(format!("it has {}, expected {} at least", fields(line.len()), place + 1));
            };
            let target = row.get_mut(value.offset..value.offset + value.scalar.bytes).unwrap_or_default();
            self.value(value, text, target).map_err(|reason| {
                let text = String::from_utf8_lossy(text);
                let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
                let name = value.name.as_ref().map_or_else(String::new, |name| format!(" (\"{name}\")"));
                format!("column {}{name}: found {shown:?}, {reason}", place + 1)
            })?;
        }
        Ok(())
    }

    pub(super) fn value(&self, value: &Value, text: &[u8], target: &mut [u8]) -> Result<(), String> {
        let Scalar { kind, bytes, order } = value.scalar;
        if let Form::Text = value.form {
            return string(kind, order, text, target);
        }
        let text = text.trim_ascii();
        let is_missing = match text.first() {
            None => self.empty_is_missing,
            Some(first) => {
                self.begins_missing.get(usize::from(*first)) == Some(&true)
                    && self.missing.iter().any(|word| word == text)
            }
        };
        let big = order == ByteOrder::Big;
        match (value.form, kind) {
            (Form::Seconds, _) => {
                let seconds = if is_missing { f64::NAN } else { seconds(text, self.time_format)? };
                store(target, seconds.to_le_bytes(), big);
            }
            (Form::Time(unit_ns), _) => {
                let time = if is_missing { NOT_A_TIME } else { datetime(text, self.time_format, unit_ns)? };
                store(target, time.to_le_bytes(), big);
            }
            (_, Kind::Float) => {
                let number = if is_missing { f64::NAN } else { real(text)? };
                match bytes {
                    8 => store(target, number.to_le_bytes(), big),
                    4 => {
                        let single = if is_missing { f32::NAN } else { single(text, number).ok_or_else(beyond)? };
                        store(target, single.to_le_bytes(), big);
                    }
                    _ => store(target, half(number).ok_or_else(beyond)?.to_le_bytes(), big),
                }
            }
            _ if is_missing => return Err("and the row has no value for what is missing".to_owned()),
            (_, Kind::Bool) => store(target, [u8::from(boolean(text)?)], big),
            (_, Kind::Int) => match bytes {
                1 => store(target, whole::<i8>(text)?.to_le_bytes(), big),
                2 => store(target, whole::<i16>(text)?.to_le_bytes(), big),
                4 => store(target, whole::<i32>(text)?.to_le_bytes(), big),
                _ => store(target, whole::<i64>(text)?.to_le_bytes(), big),
            },
            _ => match bytes {
                1 => store(target, whole::<u8>(text)?.to_le_bytes(), big),
                2 => store(target, whole::<u16>(text)?.to_le_bytes(), big),
                4 => store(target, whole::<u32>(text)?.to_le_bytes(), big),
                _ => store(target, whole::<u64>(text)?.to_le_bytes(), big),
            },
        }
        Ok(())
    }
}

impl Value {
    fn new(column: &CsvColumn, options: &CsvOptions) -> Self {
        let slot = &column.slot;
        let form = match slot.scalar.kind {
            Kind::Bytes | Kind::Unicode => Form::Text,
            Kind::Datetime => Form::Time(match slot.unit.map(|unit| unit.unit) {
                Some("D") => 86_400_000_000_000,
                Some("s") => 1_000_000_000,
                Some("ms") => 1_000_000,
                Some("us") => 1_000,
                _ => 1,
            }),
            _ if column.is_time => Form::Seconds,
            _ => Form::Number,
        };
        let name = match (&slot.name, &column.from) {
            (Some(name), _) | (None, ColumnFrom::Name(name)) => Some(name.clone()),
            (None, ColumnFrom::Place(_)) => None,
        };
        let is_number = match form {
            Form::Number => matches!(slot.scalar.kind, Kind::Float | Kind::Int | Kind::Uint),
            Form::Seconds => slot.scalar.bytes == 8 && options.time_format == TimeFormat::Seconds,
            Form::Text | Form::Time(_) => false,
        };
        let is_of_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let missing = options.missing.iter().filter_map(|word| word.as_bytes().first().copied());
        let mut others = missing.chain([options.delimiter]).chain(options.quote);
        let is_decimal = is_number && !others.any(is_of_number);
        Self { name, offset: slot.offset, scalar: slot.scalar, form, is_decimal }
    }
}

fn store<const BYTES: usize>(target: &mut [u8], bytes: [u8; BYTES], big: bool) {
    let Some(target) = target.first_chunk_mut::<BYTES>() else { return };
    *target = bytes;
    if big {
        target.reverse();
    }
}

fn boolean(text: &[u8]) -> Result<bool, String> {
    match text {
        b"1" => Ok(true),
        b"0" => Ok(false),
        text if text.eq_ignore_ascii_case(b"true") => Ok(true),
        text if text.eq_ignore_ascii_case(b"false") => Ok(false),
        _ => Err("expected true, false, 1 or 0".to_owned()),
    }
}

/// Bytes as they are, characters as UCS-4; the rest is zeros.
fn string(kind: Kind, order: ByteOrder, text: &[u8], target: &mut [u8]) -> Result<(), String> {
    target.fill(0);
    if kind == Kind::Bytes {
        let limit = target.len();
        let place = target.get_mut(..text.len()).ok_or_else(|| format!("expected at most {limit} bytes"))?;
        place.copy_from_slice(text);
        return Ok(());
    }
    let limit = target.len() / 4;
    let mut places = target.chunks_exact_mut(4);
    for character in utf8(text)?.chars() {
        let place = places.next().ok_or_else(|| format!("expected at most {limit} characters"))?;
        store(place, u32::from(character).to_le_bytes(), order == ByteOrder::Big);
    }
    Ok(())
}

/// Units of `unit_ns` since 1970. What is finer is cut off, towards the past, as NumPy does.
fn datetime(text: &[u8], format: TimeFormat, unit_ns: i64) -> Result<i64, String> {
    let nanoseconds = match format {
        TimeFormat::Rfc3339 => instant(utf8(text)?)?,
        TimeFormat::Seconds => decimal(text, 9)?,
        TimeFormat::Milliseconds => decimal(text, 6)?,
        TimeFormat::Microseconds => decimal(text, 3)?,
        TimeFormat::Nanoseconds => decimal(text, 0)?,
    };
    i64::try_from(nanoseconds.div_euclid(i128::from(unit_ns)))
        .ok()
        .filter(|time| *time != NOT_A_TIME)
        .ok_or_else(beyond)
}

fn seconds(text: &[u8], format: TimeFormat) -> Result<f64, String> {
    let units_a_second = match format {
        TimeFormat::Rfc3339 => {
            let nanoseconds = instant(utf8(text)?)?;
            let (seconds, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
            return Ok(seconds as f64 + rest as f64 / 1e9);
        }
        TimeFormat::Seconds => 1.0,
        TimeFormat::Milliseconds => 1e3,
        TimeFormat::Microseconds => 1e6,
        TimeFormat::Nanoseconds => 1e9,
    };
    // Neither exponents nor words, as in a datetime.
    decimal_parts(text)?;
    Ok(real(text)? / units_a_second)
}

/// A decimal number times 10^`shift`, exactly, digits beyond that cut off towards the past.
fn decimal(text: &[u8], shift: usize) -> Result<i128, String> {
    let (is_negative, whole, fraction) = decimal_parts(text)?;
    let whole: i128 = match whole.len() {
        0 => 0,
        1..=25 => whole.parse().map_err(|_| NO_DECIMAL.to_owned())?,
        _ => return Err(beyond()),
    };
    let scale = (0..shift).fold(1_i128, |scale, _| scale * 10);
    let fraction_digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(shift);
    let part = fraction_digits.fold(0_i128, |part, digit| part * 10 + i128::from(digit - b'0'));
    let value = whole * scale + part;
    let is_cut = fraction.bytes().skip(shift).any(|digit| digit != b'0');
    Ok(if is_negative { -value - i128::from(is_cut) } else { value })
}

const NO_DECIMAL: &str = "expected a decimal number without an exponent";

/// Whether a decimal number is negative, and its digits before and behind the point.
fn decimal_parts(text: &[u8]) -> Result<(bool, &str, &str), String> {
    let text = utf8(text)?;
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let has_digits = !(whole.is_empty() && fraction.is_empty());
    let is_decimal =
        has_digits && [whole, fraction].iter().all(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    if is_decimal { Ok((is_negative, whole, fraction)) } else { Err(NO_DECIMAL.to_owned()) }
}

/// So many fields, in words.
pub(super) fn fields(count: usize) -> String {
    format!("{count} {}", if count == 1 { "field" } else { "fields" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let ns = |text: &str, format| datetime(text.as_bytes(), format, 1);
        let noon = 1_714_564_800_000_000_000;
        for text in ["2024-05-01T12:00:00Z", "2024-05-01 12:00:00", "2024-05-01T14:00:00+02:00", "2024-05-01T12:00Z"] {
            assert_eq!(ns(text, TimeFormat::Rfc3339), Ok(noon), "{text}");
        }
        assert_eq!(ns("2024-05-01T12:00:00.000000001Z", TimeFormat::Rfc3339), Ok(noon + 1));
        assert_eq!(ns("1714564800.000000001", TimeFormat::Seconds), Ok(noon + 1));
        assert_eq!(ns("1714564800000", TimeFormat::Milliseconds), Ok(noon));
        assert_eq!(ns("-1.5", TimeFormat::Seconds), Ok(-1_500_000_000));
        assert_eq!(datetime(b"-0.5", TimeFormat::Seconds, 1_000_000_000), Ok(-1));
        assert_eq!(datetime(b"2024-05-01", TimeFormat::Rfc3339, 86_400_000_000_000), Ok(19_844));
        for text in ["", "1.5e3", "12:00", "2024-13-01T00:00:00Z", "1e400", "--1", "9999999999999"] {
            assert!(ns(text, TimeFormat::Seconds).is_err() || ns(text, TimeFormat::Rfc3339).is_err(), "{text}");
        }
        assert_eq!(seconds(b"2024-05-01T12:00:00.25Z", TimeFormat::Rfc3339), Ok(1_714_564_800.25));
        assert_eq!(seconds(b"1714564800000.5", TimeFormat::Milliseconds), Ok(1_714_564_800.000_5));
    }

    /// The bug: a time with an exponent, or that is a word, was one as `f8`, and none as a datetime.
    #[test]
    fn a_time_that_is_a_number_is_the_same_text_for_all_dtypes() {
        for text in ["1.5", "-1.5", "+1.5", ".5", "5.", "0001"] {
            assert!(seconds(text.as_bytes(), TimeFormat::Milliseconds).is_ok(), "{text}");
            assert!(datetime(text.as_bytes(), TimeFormat::Milliseconds, 1).is_ok(), "{text}");
        }
        for text in ["1e3", "1E3", "inf", "nan", ".", "-", "1_0", "0x1"] {
            let expected = "expected a decimal number without an exponent".to_owned();
            for format in [TimeFormat::Seconds, TimeFormat::Milliseconds] {
                assert_eq!(seconds(text.as_bytes(), format), Err(expected.clone()), "{text}");
            }
            assert_eq!(datetime(text.as_bytes(), TimeFormat::Milliseconds, 1), Err(expected), "{text}");
        }
    }

    #[test]
    fn strings_fit_or_are_refused() {
        let mut target = [7; 4];
        assert_eq!(string(Kind::Bytes, ByteOrder::NotApplicable, b"ab", &mut target), Ok(()));
        assert_eq!(target, *b"ab\0\0");
        assert!(string(Kind::Bytes, ByteOrder::NotApplicable, b"abcde", &mut target).is_err());
        assert_eq!(string(Kind::Unicode, ByteOrder::Little, "ä".as_bytes(), &mut target), Ok(()));
        assert_eq!(target, [0xE4, 0, 0, 0]);
        assert!(string(Kind::Unicode, ByteOrder::Little, b"ab", &mut target).is_err());
    }
}
