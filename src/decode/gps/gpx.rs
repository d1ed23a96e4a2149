//! GPX 1.0 and 1.1: the points of all tracks and segments, in the file's order.
//!
//! A point is a `trkpt`; waypoints and routes are no fixes. `ele` is its altitude, `time` its time; `speed` and `course` are
//! read where GPX 1.0 has them and in extensions, such as those of Garmin, which are called so. A point without a position
//! is bad, and so is one whose time cannot be read where the row has it. Everything else may be missing: a figure of the row
//! that cannot be read is NaN, and counted. What the row does not have is not judged.

use std::borrow::Cow;

use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::{Fix, Loss, Rows, real, rejected};
use crate::config::{GpsField, OnError};
use crate::decode::DecodeError;
use crate::decode::values::instant::instant;

/// Text of one element without the spaces around it, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// The characters of a text that a reason repeats.
const SHOWN_CHARS_MAX: usize = 40;

/// Why a point or one of its figures is bad.
type Reason = Cow<'static, str>;

/// A `trkpt` so far.
struct Point {
    fix: Result<Fix, Reason>,
    /// How many elements are open in which it lies, and itself.
    depth: u64,
}

pub(super) fn read(bytes: &[u8], on_error: OnError, loss: &mut Loss, rows: &mut Rows<'_>) -> Result<(), DecodeError> {
    let mut reader = Reader::from_reader(bytes);
    let mut place = Place { bytes, counted: 0, line: 1 };
    let (mut depth, mut tracks) = (0_u64, 0_u64);
    let mut point: Option<Point> = None;
    let mut text = Text::default();
    loop {
        let event = reader.read_event();
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let event = event
            .map_err(|error| rejected(format!("line {}: not XML that can be read: {error}", place.line_of(at))))?;
        match event {
            Event::Start(start) => {
                depth += 1;
                if depth == 1 {
                    refuse_other_root(&start)?;
                }
                text.clear();
                match start.local_name().as_ref() {
                    b"trk" => tracks += 1,
                    b"trkpt" => point = Some(Point { fix: position(&start), depth }),
                    _ => {}
                }
            }
            Event::Empty(start) if depth == 0 => refuse_other_root(&start)?,
            Event::Empty(start) if start.local_name().as_ref() == b"trkpt" => {
                give(position(&start), at, on_error, &mut place, loss, rows)?;
            }
            Event::Text(part) => text.add(&part),
            Event::CData(part) => text.add(&part),
            Event::GeneralRef(part) => text.add_reference(&part),
            Event::End(end) => {
                match (end.local_name().as_ref(), &mut point) {
                    (b"trkpt", _) => {
                        if let Some(point) = point.take() {
                            give(point.fix, at, on_error, &mut place, loss, rows)?;
                        }
                    }
                    (name, Some(point)) => {
                        let is_child = depth == point.depth + 1;
                        if let Err(reason) = tell(point, name, is_child, &text, rows) {
                            loss.add_figure(on_error, place.line_of(at), reason)?;
                        }
                    }
                    _ => {}
                }
                depth = depth.saturating_sub(1);
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

/// Whatever its prefix, what is outermost is called `gpx`.
fn refuse_other_root(start: &BytesStart<'_>) -> Result<(), DecodeError> {
    if start.local_name().as_ref() == b"gpx" {
        return Ok(());
    }
    let name = String::from_utf8_lossy(start.name().into_inner());
    let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
    Err(rejected(format!("the file is no GPX: found <{shown}>, expected <gpx>")))
}

fn give(
    point: Result<Fix, Reason>,
    at: usize,
    on_error: OnError,
    place: &mut Place<'_>,
    loss: &mut Loss,
    rows: &mut Rows<'_>,
) -> Result<(), DecodeError> {
    match point {
        Ok(fix) => rows.add(&fix),
        Err(reason) => loss.add(on_error, place.line_of(at), &reason),
    }
}

fn position(start: &BytesStart<'_>) -> Result<Fix, Reason> {
    let mut fix = Fix { latitude: f64::NAN, longitude: f64::NAN, ..Fix::default() };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| "an attribute of a point cannot be read")?;
        let (degrees, degrees_max, name) = match attribute.key.as_ref() {
            b"lat" => (&mut fix.latitude, 90.0, "latitude"),
            b"lon" => (&mut fix.longitude, 180.0, "longitude"),
            _ => continue,
        };
        let text = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap_or_default();
        let found = real(text.as_bytes().trim_ascii()).filter(|found| found.abs() <= degrees_max);
        *degrees = found.ok_or_else(|| {
            let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            format!("the {name} cannot be read: found {shown:?}, expected degrees from -{degrees_max} to {degrees_max}")
        })?;
    }
    if fix.latitude.is_nan() || fix.longitude.is_nan() {
        return Err("a point without a latitude and a longitude".into());
    }
    Ok(fix)
}

/// Notes what an element within a point says, or what is wrong with a figure that it should be.
fn tell(point: &mut Point, name: &[u8], is_child: bool, text: &Text, rows: &Rows<'_>) -> Result<(), &'static str> {
    let Ok(fix) = &mut point.fix else { return Ok(()) };
    if text.is_empty() {
        return Ok(());
    }
    let (field, figure, reason) = match name {
        b"time" if is_child => {
            match text.instant() {
                Ok(time_ns) => fix.time_ns = Some(time_ns),
                Err(reason) if rows.have(GpsField::Time) => {
                    point.fix = Err(format!("the time cannot be read, {reason}").into());
                }
                Err(_) => {}
            }
            return Ok(());
        }
        b"ele" if is_child => (GpsField::Altitude, &mut fix.altitude, "the elevation cannot be read"),
        b"speed" => (GpsField::Speed, &mut fix.speed, "the speed cannot be read"),
        b"course" => (GpsField::Course, &mut fix.course, "the course cannot be read"),
        _ => return Ok(()),
    };
    if rows.have(field) {
        *figure = text.figure().ok_or(reason)?;
        // Phones write -1 where they know none.
        if field == GpsField::Speed && figure.is_some_and(|speed| speed < 0.0) {
            *figure = None;
            return Err("the speed is negative");
        }
    }
    Ok(())
}

/// The text of an element up to here.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// It is too long, or refers to something that is not known here.
    is_broken: bool,
}

impl Text {
    fn clear(&mut self) {
        self.bytes.clear();
        self.is_broken = false;
    }

    fn add(&mut self, part: &[u8]) {
        let part = if self.bytes.is_empty() { part.trim_ascii_start() } else { part };
        let is_spaced = self.bytes.len() + part.len() > TEXT_BYTES_MAX;
        let part = if is_spaced { part.trim_ascii_end() } else { part };
        if self.bytes.len() + part.len() > TEXT_BYTES_MAX {
            self.is_broken = true;
            return;
        }
        self.bytes.extend_from_slice(part);
        // Something may still follow.
        if is_spaced && self.bytes.len() < TEXT_BYTES_MAX {
            self.bytes.push(b' ');
        }
    }

    /// A character by its number or its name.
    fn add_reference(&mut self, reference: &BytesRef<'_>) {
        if let Ok(Some(character)) = reference.resolve_char_ref() {
            return self.add(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        match std::str::from_utf8(reference).ok().and_then(resolve_predefined_entity) {
            Some(characters) => self.add(characters.as_bytes()),
            None => self.is_broken = true,
        }
    }

    fn is_empty(&self) -> bool {
        !self.is_broken && self.bytes.trim_ascii().is_empty()
    }

    /// `Some(None)`: it says that there is none.
    fn figure(&self) -> Option<Option<f64>> {
        match self.bytes.trim_ascii() {
            _ if self.is_broken => None,
            text if text.eq_ignore_ascii_case(b"nan") => Some(None),
            text => real(text).map(Some),
        }
    }

    /// Nanoseconds since 1970.
    fn instant(&self) -> Result<i64, &'static str> {
        let text = std::str::from_utf8(self.bytes.trim_ascii()).ok().filter(|_| !self.is_broken).unwrap_or_default();
        i64::try_from(instant(text)?).map_err(|_| "expected one between the years 1678 and 2262")
    }
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
