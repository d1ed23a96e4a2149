//! Logs of positions: NMEA 0183 and GPX, one row for each fix.
//!
//! Rules:
//! - Time is UTC, seconds since 1970 or a datetime; latitude and longitude are degrees, north and east positive, as the log
//!   has them (WGS 84); altitude is metres above mean sea level, speed metres a second over ground, course degrees
//!   clockwise from true north. What a fix does not tell is NaN or NaT.
//! - The `time` column counts seconds from the first fix that tells its time.
//! - What the content is, not the name of the file, decides between the two formats.
//! - See `nmea` for what belongs to one fix, and `gpx` for what is a fix there.

mod gpx;
mod nmea;

use super::packed::not_text;
use super::{About, DecodeError, Rejection, RowSink, WholeDecoder};
use crate::config::{GpsField, GpsOptions, OnError, Slot};
use crate::npy::{ByteOrder, Kind};

/// In UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// NumPy's NaT.
const NOT_A_TIME: i64 = i64::MIN;

/// The gps decoder of one dataset.
pub struct GpsDecoder {
    options: GpsOptions,
}

/// One position, and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Fix {
    /// Nanoseconds since 1970.
    time_ns: Option<i64>,
    latitude: f64,
    longitude: f64,
    altitude: Option<f64>,
    speed: Option<f64>,
    course: Option<f64>,
}

/// Places in the source that were left out.
#[derive(Debug, Default)]
struct Loss {
    places: u64,
    first: Option<String>,
    /// Of fixes that were not.
    figures: u64,
    first_figure: Option<String>,
}

impl Loss {
    /// Leaves a place out, or rejects the source.
    fn add(&mut self, on_error: OnError, line: u64, reason: &str) -> Result<(), DecodeError> {
        if on_error == OnError::Reject {
            return Err(rejected(format!("line {line}: {reason}")));
        }
        self.places += 1;
        self.first.get_or_insert_with(|| format!("line {line}: {reason}"));
        Ok(())
    }

    /// Makes do without a figure of a fix, or rejects the source.
    fn add_figure(&mut self, on_error: OnError, line: u64, reason: &str) -> Result<(), DecodeError> {
        if on_error == OnError::Reject {
            return Err(rejected(format!("line {line}: {reason}")));
        }
        self.figures += 1;
        self.first_figure.get_or_insert_with(|| format!("line {line}: {reason}"));
        Ok(())
    }

    /// `what` a place is.
    fn note(self, what: &str) -> Option<String> {
        let (places, figures) = (self.places, self.figures);
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let left_out =
            self.first.map(|first| format!("left out {places} {what}{}, the first in {first}", plural(places)));
        let unread = self
            .first_figure
            .map(|first| format!("put NaN for {figures} figure{}, the first in {first}", plural(figures)));
        match (left_out, unread) {
            (Some(left_out), Some(unread)) => Some(format!("{left_out}; {unread}")),
            (left_out, unread) => left_out.or(unread),
        }
    }
}

impl GpsDecoder {
    pub fn new(options: &GpsOptions) -> Self {
        Self { options: options.clone() }
    }
}

impl WholeDecoder for GpsDecoder {
    fn decode(&self, bytes: &[u8], _: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        if bytes.is_empty() {
            return Err(rejected("the file is empty"));
        }
        if let Some(reason) = not_text(bytes) {
            return Err(rejected(reason));
        }
        let mut rows = Rows { fields: &self.options.fields, sink, first_ns: None };
        let mut loss = Loss::default();
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        // No sentence begins so.
        let is_gpx = text.trim_ascii_start().starts_with(b"<");
        if is_gpx {
            gpx::read(bytes, self.options.on_error, &mut loss, &mut rows)?;
        } else {
            nmea::read(bytes, &self.options, &mut loss, &mut rows)?;
        }
        if let Some(note) = loss.note(if is_gpx { "point" } else { "sentence" }) {
            sink.note(note);
        }
        Ok(())
    }
}

/// Fixes on their way into rows.
struct Rows<'a> {
    fields: &'a [(GpsField, Slot)],
    sink: &'a mut dyn RowSink,
    first_ns: Option<i64>,
}

impl Rows<'_> {
    fn have(&self, field: GpsField) -> bool {
        self.fields.iter().any(|(found, _)| *found == field)
    }

    fn add(&mut self, fix: &Fix) -> Result<(), DecodeError> {
        let time_s = fix.time_ns.map_or(f64::NAN, |time_ns| {
            let first_ns = *self.first_ns.get_or_insert(time_ns);
            (i128::from(time_ns) - i128::from(first_ns)) as f64 / 1e9
        });
        let row = self.sink.row(time_s)?;
        for (field, slot) in self.fields {
            let Some(target) = row.get_mut(slot.offset..slot.offset + slot.scalar.bytes) else { continue };
            let big = slot.scalar.order == ByteOrder::Big;
            if slot.scalar.kind == Kind::Datetime {
                let unit_ns = match slot.unit.map(|unit| unit.unit) {
                    Some("s") => 1_000_000_000,
                    Some("ms") => 1_000_000,
                    Some("us") => 1_000,
                    _ => 1,
                };
                let time = fix.time_ns.map_or(NOT_A_TIME, |time_ns| time_ns.div_euclid(unit_ns));
                store(target, time.to_le_bytes(), big);
                continue;
            }
            let value = match field {
                GpsField::Time => fix.time_ns.map(seconds),
                GpsField::Latitude => Some(fix.latitude),
                GpsField::Longitude => Some(fix.longitude),
                GpsField::Altitude => fix.altitude,
                GpsField::Speed => fix.speed,
                GpsField::Course => fix.course,
            };
            let value = value.unwrap_or(f64::NAN);
            match slot.scalar.bytes {
                4 => store(target, (value as f32).to_le_bytes(), big),
                _ => store(target, value.to_le_bytes(), big),
            }
        }
        Ok(())
    }
}

fn seconds(time_ns: i64) -> f64 {
    time_ns.div_euclid(1_000_000_000) as f64 + time_ns.rem_euclid(1_000_000_000) as f64 / 1e9
}

fn store<const BYTES: usize>(target: &mut [u8], mut bytes: [u8; BYTES], big: bool) {
    if big {
        bytes.reverse();
    }
    if let Some(target) = target.first_chunk_mut::<BYTES>() {
        *target = bytes;
    }
}

/// A decimal number, with or without a sign and a point; no exponents, no words.
fn number(text: &[u8]) -> Option<f64> {
    let has_exponent = text.iter().any(|byte| matches!(byte, b'e' | b'E'));
    real(text).filter(|_| !has_exponent)
}

/// As [`number`], with or without an exponent. No figure of a fix is as large as what `f4` does not hold.
fn real(text: &[u8]) -> Option<f64> {
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    if !text.iter().all(is_of_number) {
        return None;
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.abs() <= f64::from(f32::MAX)).then_some(number)
}

fn rejected(reason: impl Into<String>) -> DecodeError {
    Rejection::new(reason.into()).into()
}

#[cfg(test)]
mod tests;
