//! Sizes and times with their units: `"64MiB"`, `"1.5s"`.
//!
//! All arithmetic is on integers and checked, so that a value either means exactly what it says or is refused. A
//! fraction finer than one byte or one nanosecond is cut off.

use std::time::Duration;

/// Size units and their bytes. Decimal and binary, as the names say.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Time units and their nanoseconds.
const TIME_UNITS: &[(&str, u64)] =
    &[("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60 * 1_000_000_000), ("h", 3600 * 1_000_000_000)];

/// What people write instead, and the unit that they mean.
const NEAR_UNITS: &[(&str, &str)] = &[
    ("K", "KiB"),
    ("M", "MiB"),
    ("G", "GiB"),
    ("T", "TiB"),
    ("byte", "B"),
    ("bytes", "B"),
    ("msec", "ms"),
    ("millis", "ms"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
];

/// What is wrong with a size or a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("it does not begin with a number")]
    NoNumber,
    #[error("it has no unit")]
    NoUnit,
    /// `near`: the same value with the unit that was probably meant.
    #[error("\"{unit}\" is not a unit")]
    UnknownUnit { unit: String, near: Option<String> },
    #[error("it is too large")]
    TooLarge,
}

/// Bytes of a size such as `"64MiB"`, `"10MB"`, `"1.5GiB"` or, without a unit, `"4096"`.
///
/// # Errors
/// No number, an unknown unit, or more than fits in 64 bits.
pub fn parse_size_bytes(text: &str) -> Result<u64, UnitError> {
    match parse(text, SIZE_UNITS) {
        Err(UnitError::NoUnit) => parse(&format!("{}B", text.trim_end()), SIZE_UNITS),
        other => other,
    }
}

/// A time such as `"50ms"`, `"1.5s"`, `"5m"` or `"1h"`. The unit is required: a bare number is right or wrong by a
/// factor of a thousand, and nobody sees which.
///
/// # Errors
/// No number, no or an unknown unit, or more than about 584 years.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    parse(text, TIME_UNITS).map(Duration::from_nanos)
}

/// A number of bytes for people: `"64MiB"` where that is exact, else `"150528 bytes"`, with the rounded size behind it
/// where the number is long.
pub fn size_text(bytes: u64) -> String {
    /// Up to this many of a unit are easy to read.
    const READABLE_MAX: u64 = 10_240;
    let binary = || SIZE_UNITS.iter().filter(|(name, _)| name.ends_with("iB")).rev();
    let is_readable = |factor: u64| bytes.is_multiple_of(factor) && bytes / factor <= READABLE_MAX;
    if let Some((name, factor)) = binary().find(|(_, factor)| bytes > 0 && is_readable(*factor)) {
        return format!("{}{name}", bytes / factor);
    }
    match binary().find(|(_, factor)| bytes >= *factor && *factor > 1 << 10) {
        Some((name, factor)) => format!("{bytes} bytes ({:.2}{name})", bytes as f64 / *factor as f64),
        None => format!("{bytes} bytes"),
    }
}

/// A time for people, in the largest unit that gives a whole number: `"1h"`, `"200ms"`.
pub fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match TIME_UNITS.iter().rev().find(|(_, factor)| nanos.is_multiple_of(u128::from(*factor))) {
        Some(_) if nanos == 0 => "0s".to_owned(),
        Some((name, factor)) => format!("{}{name}", nanos / u128::from(*factor)),
        None => format!("{duration:?}"),
    }
}

fn parse(text: &str, units: &[(&'static str, u64)]) -> Result<u64, UnitError> {
    let text = text.trim();
    let number_bytes = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_bytes);
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(UnitError::NoNumber),
        None => (number, ""),
    };
    if whole.is_empty() || fraction.contains('.') {
        return Err(UnitError::NoNumber);
    }
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let near = near_unit(unit, units).map(|near| format!("{number}{near}"));
        return Err(UnitError::UnknownUnit { unit: unit.to_owned(), near });
    };
    let whole: u64 = whole.parse().map_err(|_| UnitError::TooLarge)?;
    // 18 digits are finer than a nanosecond of an hour or a byte of a tebibyte; 10^18 times any factor fits in u128.
    let digits: String = fraction.chars().take(18).collect();
    let scale = digits.chars().fold(1_u128, |scale, _| scale * 10);
    let part = digits.parse::<u128>().unwrap_or(0) * u128::from(*factor) / scale;
    u64::try_from(part).ok().and_then(|part| whole.checked_mul(*factor)?.checked_add(part)).ok_or(UnitError::TooLarge)
}

fn near_unit(unit: &str, units: &[(&'static str, u64)]) -> Option<&'static str> {
    let known = |name: &str| units.iter().find(|(known, _)| *known == name).map(|(known, _)| *known);
    let same_letters = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(name, _)| *name);
    same_letters.or_else(|| {
        let near = NEAR_UNITS.iter().filter(|(wrong, _)| wrong.eq_ignore_ascii_case(unit));
        near.map(|(_, right)| *right).find_map(known)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_all_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512B", 512),
            ("512KiB", 512 << 10),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
            ("10kB", 10_000),
            ("10KB", 10_000),
            ("10MB", 10_000_000),
            ("3GB", 3_000_000_000),
            ("1.5GiB", 3 << 29),
            ("0.1MiB", 104_857),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn durations_in_all_units() {
        for (text, millis) in [
            ("0s", 0),
            ("0ms", 0),
            ("50ms", 50),
            ("200ms", 200),
            ("1.5s", 1500),
            ("60s", 60_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0.5h", 1_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("1.0000000009999s"), Ok(Duration::from_nanos(1_000_000_000)));
        assert_eq!(parse_duration("1.000000001999s"), Ok(Duration::from_nanos(1_000_000_001)));
    }

    #[test]
    fn a_duration_needs_its_unit() {
        for text in ["0", "60", "1.5"] {
            assert_eq!(parse_duration(text), Err(UnitError::NoUnit), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", " ", "s", "-1s", "+1s", ".5s", "1.s", "1..5s", "1.2.3s", "five s", "١s", "nan"] {
            assert_eq!(parse_duration(text), Err(UnitError::NoNumber), "{text}");
        }
        assert_eq!(parse_size_bytes("-5"), Err(UnitError::NoNumber));
        assert_eq!(parse_size_bytes(""), Err(UnitError::NoNumber));
    }

    #[test]
    fn an_unknown_unit_names_the_near_one() {
        let near = |error| match error {
            Err(UnitError::UnknownUnit { near, .. }) => near,
            _ => Some("no unit error".to_owned()),
        };
        assert_eq!(near(parse_size_bytes("64M")), Some("64MiB".to_owned()));
        assert_eq!(near(parse_size_bytes("64mib")), Some("64MiB".to_owned()));
        assert_eq!(near(parse_size_bytes("64parsec")), None);
        assert_eq!(near(parse_duration("5min").map(|_| 0)), Some("5m".to_owned()));
        assert_eq!(near(parse_duration("5MiB").map(|_| 0)), None);
        assert_eq!(near(parse_size_bytes("1e3")), None);
    }

    #[test]
    fn nothing_overflows() {
        for text in ["18446744073709551616", "99999999999999999999999GiB", "16777216TiB", "18446744073709551615.9kB"] {
            assert_eq!(parse_size_bytes(text), Err(UnitError::TooLarge), "{text}");
        }
        assert_eq!(parse_size_bytes("16777215.999999999999999999999TiB"), Ok(u64::MAX));
        assert_eq!(parse_duration("18446744074s"), Err(UnitError::TooLarge));
        assert_eq!(parse_duration("5124096h"), Err(UnitError::TooLarge));
        assert!(parse_duration("5124095h").is_ok());
    }

    #[test]
    fn texts_for_people() {
        assert_eq!(size_text(0), "0 bytes");
        assert_eq!(size_text(1 << 30), "1GiB");
        assert_eq!(size_text(1536 << 20), "1536MiB");
        assert_eq!(size_text(150_529), "150529 bytes");
        assert_eq!(size_text(3_600_000_000), "3600000000 bytes (3.35GiB)");
        assert_eq!(size_text(u64::MAX), "18446744073709551615 bytes (16777216.00TiB)");
        assert_eq!(duration_text(Duration::ZERO), "0s");
        assert_eq!(duration_text(Duration::from_secs(3600)), "1h");
        assert_eq!(duration_text(Duration::from_millis(1500)), "1500ms");
        assert_eq!(duration_text(Duration::from_micros(1500)), "1.5ms");
    }
}
