//! GPX 1.0 and 1.1: the points of all tracks and segments, in the file's order.
//!
//! A point is a `trkpt`; waypoints and routes are no fixes. `ele` is its altitude, `time` its time; `speed` and `course` are
//! read where GPX 1.0 has them and in extensions, such as those of Garmin, which are called so. A point without a position
//! is bad; everything else may be missing.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Fix, Loss, Rows, number, rejected};
use crate::config::OnError;
use crate::decode::DecodeError;

/// Text of one element, in bytes.
const TEXT_BYTES_MAX: usize = 256;

pub(super) fn read(bytes: &[u8], on_error: OnError, loss: &mut Loss, rows: &mut Rows<'_>) -> Result<(), DecodeError> {
    let mut reader = Reader::from_reader(bytes);
    let mut place = Place { bytes, counted: 0, line: 1 };
    let (mut depth, mut tracks) = (0_u64, 0_u64);
    let mut point: Option<Result<Fix, &'static str>> = None;
    let mut text = Vec::new();
    loop {
        let event = reader.read_event();
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let event = event
            .map_err(|error| rejected(format!("line {}: not XML that can be read: {error}", place.line_of(at))))?;
        match event {
            Event::Start(start) => {
                depth += 1;
                text.clear();
                match start.local_name().as_ref() {
                    b"trk" => tracks += 1,
                    b"trkpt" => point = Some(position(&start)),
                    _ => {}
                }
            }
            Event::Empty(start) if start.local_name().as_ref() == b"trkpt" => {
                give(position(&start), at, on_error, &mut place, loss, rows)?;
            }
            Event::Text(part) if text.len() + part.len() <= TEXT_BYTES_MAX => text.extend_from_slice(&part),
            Event::CData(part) if text.len() + part.len() <= TEXT_BYTES_MAX => text.extend_from_slice(&part),
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                match end.local_name().as_ref() {
                    b"trkpt" => {
                        if let Some(point) = point.take() {
                            give(point, at, on_error, &mut place, loss, rows)?;
                        }
                    }
                    name => {
                        if let Some(Ok(fix)) = &mut point
                            && let Err(reason) = tell(fix, name, text.trim_ascii())
                        {
                            point = Some(Err(reason));
                        }
                    }
                }
                text.clear();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if depth > 0 {
        return Err(rejected(format!("the GPX ends within {depth} open elements: it was cut short")));
    }
    if tracks == 0 {
        return Err(rejected("the GPX has no track: waypoints and routes are no fixes"));
    }
    Ok(())
}

fn give(
    point: Result<Fix, &'static str>,
    at: usize,
    on_error: OnError,
    place: &mut Place<'_>,
    loss: &mut Loss,
    rows: &mut Rows<'_>,
) -> Result<(), DecodeError> {
    match point {
        Ok(fix) => rows.add(&fix),
        Err(reason) => loss.add(on_error, place.line_of(at), reason),
    }
}

fn position(start: &BytesStart<'_>) -> Result<Fix, &'static str> {
    let mut fix = Fix { latitude: f64::NAN, longitude: f64::NAN, ..Fix::default() };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| "an attribute of a point cannot be read")?;
        let value = number(attribute.value.trim_ascii());
        match attribute.key.local_name().as_ref() {
            b"lat" => fix.latitude = value.filter(|degrees| degrees.abs() <= 90.0).unwrap_or(f64::NAN),
            b"lon" => fix.longitude = value.filter(|degrees| degrees.abs() <= 180.0).unwrap_or(f64::NAN),
            _ => {}
        }
    }
    if fix.latitude.is_nan() || fix.longitude.is_nan() {
        return Err("a point without a latitude and longitude that can be read");
    }
    Ok(fix)
}

/// Notes what an element within a point says.
fn tell(fix: &mut Fix, name: &[u8], text: &[u8]) -> Result<(), &'static str> {
    if text.is_empty() {
        return Ok(());
    }
    match name {
        b"ele" => fix.altitude = Some(number(text).ok_or("the elevation cannot be read")?),
        b"speed" => fix.speed = Some(number(text).ok_or("the speed cannot be read")?),
        b"course" => fix.course = Some(number(text).ok_or("the course cannot be read")?),
        b"time" => fix.time_ns = Some(instant(text).ok_or("the time cannot be read")?),
        _ => {}
    }
    Ok(())
}

/// Nanoseconds since 1970; without an offset it is UTC.
fn instant(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let instant = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => instant,
        Err(_) => text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
    };
    i64::try_from(instant.as_nanosecond()).ok()
}

/// Line numbers, counted no further than they are asked for.
struct Place<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: u64,
}

impl Place<'_> {
    fn line_of(&mut self, at: usize) -> u64 {
        let at = at.min(self.bytes.len());
        let part = self.bytes.get(self.counted..at).unwrap_or_default();
        self.line += part.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.counted = self.counted.max(at);
        self.line
    }
}
