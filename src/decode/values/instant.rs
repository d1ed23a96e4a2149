//! Texts that are points in time: RFC 3339, and of ISO 8601 what cannot be mistaken.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;

const WRONG: &str = "expected a time such as 2024-05-01T12:30:00.25Z";
/// The last year that is known, and the first one is as far before 0.
const YEAR_MAX: i16 = 9999;
/// Behind the point: nanoseconds.
const FRACTION_DIGITS_MAX: usize = 9;

/// Nanoseconds since 1970, or what was expected instead. Without an offset it is UTC; a date alone is its midnight.
///
/// jiff takes more: it passes over a zone in brackets, whatever it says; takes second 60, a leap second, for the one before;
/// a number of eight digits for a date; and offsets of more than a day.
pub(in crate::decode) fn instant(text: &str) -> Result<i128, &'static str> {
    if text.contains('[') {
        return Err("expected a time without a zone in brackets, such as 2024-05-01T12:30:00+02:00");
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WRONG);
    }
    let instant = match text.parse::<Timestamp>() {
        Ok(instant) => instant,
        Err(_) => {
            let civil = text.parse::<DateTime>().map_err(|_| what_is_wrong(text))?;
            civil.to_zoned(TimeZone::UTC).map_err(|_| what_is_wrong(text))?.timestamp()
        }
    };
    if offset_hours(text).is_some_and(|hours| hours > "23") {
        return Err("which has an offset of a day or more: expected one up to 23:59");
    }
    if is_leap_second(text) {
        return Err("which is a leap second, and has no number of its own: expected a second from 00 to 59");
    }
    Ok(instant.as_nanosecond())
}

/// Of a text that could not be read.
fn what_is_wrong(text: &str) -> &'static str {
    let fraction = text.split_once(['.', ',']).map_or("", |(_, fraction)| fraction);
    if fraction.bytes().take_while(u8::is_ascii_digit).count() > FRACTION_DIGITS_MAX {
        return "which has more than nine digits behind the point: expected nanoseconds at most";
    }
    match Pieces::parse(text).map(|pieces| pieces.date().year()) {
        Ok(YEAR_MAX) => "which is beyond the year 9999, or nearly: expected a time before 9999-12-30T22:00:00Z",
        Ok(year) if year == -YEAR_MAX => "which is before the year -9999, or nearly: expected a later time",
        _ => WRONG,
    }
}

/// Of a text that is a time.
fn is_leap_second(text: &str) -> bool {
    let Some(time) = time_of_day(text) else { return false };
    let seconds = if time.as_bytes().get(2) == Some(&b':') { time.get(6..8) } else { time.get(4..6) };
    seconds == Some("60")
}

/// The same, without its sign.
fn offset_hours(text: &str) -> Option<&str> {
    let (_, offset) = time_of_day(text)?.split_once(['+', '-'])?;
    offset.get(..2)
}

/// What stands behind the date.
fn time_of_day(text: &str) -> Option<&str> {
    text.split_once(['T', 't', ' ']).map(|(_, time)| time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let noon = 1_714_564_800_000_000_000;
        for text in [
            "2024-05-01T12:00:00Z",
            "2024-05-01 12:00:00",
            "2024-05-01T14:00:00+02:00",
            "2024-05-01T12:00Z",
            "2024-05-01T12",
            "20240501T120000Z",
            "2024-05-01T13:00:00.000+01",
        ] {
            assert_eq!(instant(text), Ok(noon), "{text}");
        }
        assert_eq!(instant("2024-05-01"), Ok(noon - 43_200_000_000_000));
        assert_eq!(instant("2024-05-01T12:00:00.000000001Z"), Ok(noon + 1));
        assert!(instant("2024-05-01T12:00:00+00:60").is_err() && instant("").is_err());
        assert_eq!(instant("2024-05-01T12:59:00-00:59"), Ok(noon + 2 * 3_540_000_000_000));
    }

    /// The first two were noon in UTC, the third five hours earlier; leap seconds were the seconds before.
    #[test]
    fn texts_that_say_something_else_are_refused() {
        for (text, reason) in [
            ("2024-05-01T12:00:00[Europe/Berlin]", "brackets"),
            ("2024-05-01 12:00[u-ca=hebrew]", "brackets"),
            ("2024-05-01T12:00:00+05:00[Europe/Berlin]", "brackets"),
            ("2016-12-31T23:59:60Z", "leap second"),
            ("2016-12-31 23:59:60.5", "leap second"),
            ("20161231T235960Z", "leap second"),
            ("2017-01-01T00:59:60+01:00", "leap second"),
            ("20240501", "such as"),
            ("2024-13-01T12:00:00Z", "such as"),
            ("1714564800", "such as"),
        ] {
            let found = instant(text);
            assert!(found.is_err_and(|found| found.contains(reason)), "{text}: {found:?}");
        }
    }

    /// The bug: such texts were refused as if they were no times, and offsets of more than a day were taken.
    #[test]
    fn times_that_cannot_be_held_say_why() {
        for (text, reason) in [
            ("9999-12-31T23:59:59Z", "beyond the year 9999"),
            ("9999-12-31 23:59:59", "beyond the year 9999"),
            ("9999-12-31", "beyond the year 9999"),
            ("-009999-01-01T00:00:00+05:00", "before the year -9999"),
            ("2024-05-01T12:00:00.1234567891Z", "more than nine digits"),
            ("2024-05-01 12:00:00,0000000000", "more than nine digits"),
            ("2024-05-01T12:00:00+25:59", "offset of a day or more"),
            ("20240501T120000-2400", "offset of a day or more"),
        ] {
            let found = instant(text);
            assert!(found.is_err_and(|found| found.contains(reason)), "{text}: {found:?}");
        }
        for text in ["2024-05-01T12:00:00+23:59", "2024-05-01T12:00:00.123456789-23:59", "9999-12-30T21:59:59Z"] {
            assert!(instant(text).is_ok(), "{text}");
        }
    }
}
