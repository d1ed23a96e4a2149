//! NMEA 0183: sentences such as `$GPRMC,...*5A`, from any talker.
//!
//! Rules:
//! - RMC, GGA, GNS and VTG are read, and ZDA for its date; other sentences are passed over. A line, which ends in LF, CRLF or
//!   CR, may have several sentences, and something else before and between them. A `$` without a right checksum before the
//!   next one is a bad sentence, and so is one with a figure that cannot be read.
//! - Consecutive sentences of one time of day are one fix, whoever talks, unless they tell different dates; VTG, which has no
//!   time, belongs to the fix before it, if that is what the sentence before it is of. A fix without a valid position (status V,
//!   quality 0, mode N) gives no row.
//! - A GGA tells the unit of its altitude; feet are converted.
//! - Position and altitude come from the first sentence that has them, speed and course likewise.
//! - RMC and ZDA tell the date; it holds until the time of day falls by more than half a day, which is midnight. A rise by as
//!   much directly behind it is a sentence that came late, of the day before. Fixes before the first date are reckoned back
//!   from it. A receiver that knows no time yet begins at some time and day of its own: what is told without a valid
//!   position is no time for this, and no date where a fix tells one. A log that tells none needs `date`, unless no row has
//!   a time.

use std::borrow::Cow;

use memchr::memchr3;

use super::{Fix, Loss, Rows, number, rejected};
use crate::config::{GpsField, GpsOptions};
use crate::decode::DecodeError;

/// Nanoseconds.
const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// Metres a second.
const KNOT: f64 = 1852.0 / 3600.0;
const KILOMETRE_AN_HOUR: f64 = 1.0 / 3.6;
/// Metres.
const FOOT: f64 = 0.3048;
/// A sentence has at most 82 characters; receivers do not keep to it.
const SENTENCE_BYTES_MAX: usize = 1024;
const NO_CHECKSUM: &str = "a sentence without a checksum: cut short?";

/// Why a sentence is bad.
type Reason = Cow<'static, str>;

pub(super) fn read(
    bytes: &[u8],
    options: &GpsOptions,
    loss: &mut Loss,
    rows: &mut Rows<'_>,
) -> Result<(), DecodeError> {
    let told = DATES.into_iter().find_map(|dates| Some((dates, first_day(bytes, dates)?)));
    let (dates, first_day) = told.map_or((Dates::All, options.date), |(dates, day)| (dates, Some(day)));
    let is_undated = first_day.is_none() && rows.have(GpsField::Time);
    let mut days = Days { day: first_day, clock: Clock::default() };
    let mut sentences = 0_u64;
    each_epoch(bytes, dates, &mut |line, reason| loss.add(options.on_error, line, reason), &mut |epoch| {
        sentences += 1;
        let time_ns = days.time_of(&epoch);
        let Some((latitude, longitude)) = epoch.position.filter(|_| !is_undated) else { return Ok(()) };
        let Epoch { altitude, speed, course, .. } = epoch;
        rows.add(&Fix { time_ns, latitude, longitude, altitude, speed, course })
    })?;
    if sentences == 0 {
        return match &loss.first {
            Some(first) => Err(rejected(format!("it has no sentence with a fix that can be read; {first}"))),
            None => Err(rejected("neither NMEA sentences with a fix (RMC, GGA, GNS) nor GPX were found in the file")),
        };
    }
    if is_undated {
        let lost = std::mem::take(loss).note("sentence").map_or(String::new(), |note| format!("; {note}"));
        return Err(rejected(format!(
            "no RMC or ZDA sentence tells a date, so the times of its fixes are not known: set `date`, or leave `time` out \
             of the row{lost}"
        )));
    }
    Ok(())
}

/// The sentences that tell the date.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dates {
    /// RMC and ZDA of fixes with a valid position.
    OfFixes,
    /// RMC with a valid position, and every ZDA.
    Valid,
    All,
}

/// Those that come later count only where the ones before tell nothing.
const DATES: [Dates; 3] = [Dates::OfFixes, Dates::Valid, Dates::All];

/// The day of the first fix, reckoned back from the first sentence that tells a date.
fn first_day(bytes: &[u8], dates: Dates) -> Option<i64> {
    let (mut found, mut days, mut clock) = (None, 0, Clock::default());
    // What is bad is told of in the second pass; the error only ends this one.
    let ended = each_epoch(bytes, dates, &mut |_, _| Ok(()), &mut |epoch| {
        days += clock.days_to(&epoch);
        match epoch.day {
            Some(day) => {
                found = Some(day - days);
                Err(DecodeError::Interrupted)
            }
            None => Ok(()),
        }
    });
    drop(ended);
    found
}

/// The time of day of the fix before.
#[derive(Default)]
struct Clock {
    time_ns: Option<i64>,
    /// That one was the first of its day.
    was_midnight: bool,
}

impl Clock {
    /// How many days later an epoch is than the one before it: none, one behind midnight, or one earlier.
    fn days_to(&mut self, epoch: &Epoch) -> i64 {
        let Some(now_ns) = epoch.time_ns.filter(|_| epoch.position.is_some() || epoch.day.is_some()) else { return 0 };
        let change_ns = now_ns - self.time_ns.replace(now_ns).unwrap_or(now_ns);
        let is_late = self.was_midnight && change_ns > DAY_NS / 2;
        self.was_midnight = change_ns < -DAY_NS / 2;
        i64::from(self.was_midnight) - i64::from(is_late)
    }
}

/// The running date.
struct Days {
    day: Option<i64>,
    clock: Clock,
}

impl Days {
    /// Nanoseconds since 1970.
    fn time_of(&mut self, epoch: &Epoch) -> Option<i64> {
        let days = self.clock.days_to(epoch);
        self.day = epoch.day.or_else(|| self.day.map(|day| day + days));
        self.day?.checked_mul(DAY_NS)?.checked_add(epoch.time_ns?)
    }
}

/// What the sentences of one time of day tell.
#[derive(Debug, Default)]
struct Epoch {
    /// Nanoseconds since midnight.
    time_ns: Option<i64>,
    /// Days since 1970.
    day: Option<i64>,
    position: Option<(f64, f64)>,
    altitude: Option<f64>,
    speed: Option<f64>,
    course: Option<f64>,
}

/// Hands on the epochs of a log, and the lines that are bad with their reasons.
fn each_epoch(
    bytes: &[u8],
    dates: Dates,
    bad: &mut dyn FnMut(u64, &str) -> Result<(), DecodeError>,
    take: &mut dyn FnMut(Epoch) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut epoch: Option<Epoch> = None;
    // Whether the sentence before is of that epoch.
    let mut is_of_fix = false;
    let mut take = |mut epoch: Epoch| {
        epoch.day = epoch.day.filter(|_| dates != Dates::OfFixes || epoch.position.is_some());
        take(epoch)
    };
    for (number, sentence) in sentences(bytes) {
        match checked(sentence).and_then(|body| told(body, dates)) {
            Ok(Told::Nothing) => {}
            Ok(Told::NoTime) => is_of_fix = false,
            Ok(Told::Speed(told)) => {
                if let Some(epoch) = epoch.as_mut().filter(|_| is_of_fix) {
                    epoch.add(told);
                }
            }
            Ok(Told::Epoch(told)) => {
                is_of_fix = true;
                match &mut epoch {
                    Some(epoch) if epoch.is_of(&told) => epoch.add(told),
                    _ => epoch.replace(told).map_or(Ok(()), &mut take)?,
                }
            }
            Err(reason) => bad(number, &reason)?,
        }
    }
    epoch.map_or(Ok(()), take)
}

impl Epoch {
    /// Whether both are of one fix.
    fn is_of(&self, told: &Epoch) -> bool {
        let is_other_day = matches!((self.day, told.day), (Some(day), Some(told)) if day != told);
        self.time_ns == told.time_ns && !is_other_day
    }

    fn add(&mut self, told: Epoch) {
        self.day = self.day.or(told.day);
        self.position = self.position.or(told.position);
        self.altitude = self.altitude.or(told.altitude);
        self.speed = self.speed.or(told.speed);
        self.course = self.course.or(told.course);
    }
}

/// What stands between a `$` and the next one or the end of its line, and the number of the line.
fn sentences(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let (mut line, mut rest) = (1, bytes);
    std::iter::from_fn(move || {
        loop {
            let at = memchr3(b'$', b'\n', b'\r', rest)?;
            let (found, behind) = rest.get(at..)?.split_first()?;
            rest = behind;
            match found {
                b'$' => {
                    let end = memchr3(b'$', b'\n', b'\r', behind).unwrap_or(behind.len());
                    let (sentence, behind) = behind.split_at(end);
                    rest = behind;
                    return Some((line, sentence));
                }
                // The LF behind it ends the line.
                b'\r' if behind.first() == Some(&b'\n') => {}
                _ => line += 1,
            }
        }
    })
}

/// The sentence without its checksum, which is the exclusive or of what stands between `$` and `*`.
fn checked(sentence: &[u8]) -> Result<&[u8], Reason> {
    let star = sentence.iter().position(|byte| *byte == b'*').ok_or(NO_CHECKSUM)?;
    if star > SENTENCE_BYTES_MAX {
        return Err("a sentence of more than 1024 characters".into());
    }
    let (body, digits) = (sentence.get(..star).unwrap_or_default(), sentence.get(star + 1..star + 3));
    let told = digits.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|d| u8::from_str_radix(d, 16).ok());
    let right = body.iter().fold(0, |sum, byte| sum ^ byte);
    match told {
        Some(told) if told == right => Ok(body),
        Some(told) => Err(format!(
            "the checksum is wrong: found {told:02X}, but that of the sentence's characters is {right:02X}"
        )
        .into()),
        None => Err(NO_CHECKSUM.into()),
    }
}

/// What one sentence tells.
enum Told {
    /// It is passed over.
    Nothing,
    Epoch(Epoch),
    /// Of a receiver that knows no time yet, and has no fix either.
    NoTime,
    /// Speed and course, without a time.
    Speed(Epoch),
}

fn told(body: &[u8], dates: Dates) -> Result<Told, Reason> {
    let fields: Vec<&[u8]> = body.split(|byte| *byte == b',').collect();
    let field = |place: usize| fields.get(place).copied().unwrap_or_default();
    let name = field(0);
    // P is no talker, but begins the sentences of makers, such as Garmin's PGRMC.
    let (Some(kind), true) = (name.get(2..), name.len() == 5 && !name.starts_with(b"P")) else {
        return Ok(Told::Nothing);
    };
    let mut epoch = Epoch::default();
    match kind {
        b"RMC" => {
            epoch.time_ns = time_of_day(field(1))?;
            let day = day(field(9))?;
            // The mode is the 12th field since version 2.3; N is "not valid".
            let is_valid = field(2) == b"A" && field(12) != b"N";
            if is_valid || dates == Dates::All {
                epoch.day = day;
            }
            if is_valid {
                epoch.position = position(field(3), field(4), field(5), field(6))?;
                epoch.speed = speed(field(7), KNOT)?;
                epoch.course = optional(field(8))?;
            }
        }
        b"GGA" => {
            epoch.time_ns = time_of_day(field(1))?;
            if !matches!(field(6), b"0" | b"") {
                epoch.position = position(field(2), field(3), field(4), field(5))?;
                epoch.altitude = altitude(field(9), field(10))?;
            }
        }
        b"GNS" => {
            epoch.time_ns = time_of_day(field(1))?;
            // One letter for each satellite system.
            if field(6).iter().any(|mode| *mode != b'N') {
                epoch.position = position(field(2), field(3), field(4), field(5))?;
                epoch.altitude = optional(field(9))?;
            }
        }
        b"VTG" => {
            if field(9) != b"N" {
                epoch.course = optional(field(1))?;
                epoch.speed = speed(field(5), KNOT)?.or(speed(field(7), KILOMETRE_AN_HOUR)?);
            }
        }
        b"ZDA" => {
            epoch.time_ns = time_of_day(field(1))?;
            epoch.day = match (whole(field(2)), whole(field(3)), whole(field(4))) {
                (Some(_), Some(_), Some(_)) if field(4).len() != 4 => {
                    return Err(unreadable("the year of the date", field(4), "four digits"));
                }
                (Some(day), Some(month), Some(year)) => Some(days_since_1970(year, month, day)?),
                _ => None,
            };
        }
        _ => return Ok(Told::Nothing),
    }
    Ok(match (kind, epoch.time_ns) {
        (b"VTG", _) => Told::Speed(epoch),
        (_, Some(_)) => Told::Epoch(epoch),
        (_, None) => Told::NoTime,
    })
}

/// `hhmmss` with a fraction, as nanoseconds since midnight.
fn time_of_day(text: &[u8]) -> Result<Option<i64>, Reason> {
    let wrong = || unreadable("the time", text, "hhmmss, with or without a fraction");
    if text.is_empty() {
        return Ok(None);
    }
    let pair = |from: usize| whole(text.get(from..from + 2)?);
    let (hours, minutes, seconds) =
        (pair(0).ok_or_else(wrong)?, pair(2).ok_or_else(wrong)?, pair(4).ok_or_else(wrong)?);
    // 60 is a leap second.
    if hours > 23 || minutes > 59 || seconds > 60 {
        return Err(wrong());
    }
    let fraction = match text.get(6..) {
        None | Some([]) => &[],
        Some([b'.', digits @ ..]) if digits.iter().all(u8::is_ascii_digit) => digits,
        Some(_) => return Err(wrong()),
    };
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let fraction_ns = digits.fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Ok(Some(((hours * 60 + minutes) * 60 + seconds) * SECOND_NS + fraction_ns))
}

/// `ddmmyy`; the years 80 to 99 are of the last century.
fn day(text: &[u8]) -> Result<Option<i64>, Reason> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || unreadable("the date", text, "ddmmyy");
    let pair = |from: usize| text.get(from..from + 2).and_then(whole).filter(|_| text.len() == 6).ok_or_else(wrong);
    let (day, month, year) = (pair(0)?, pair(2)?, pair(4)?);
    let century = if year >= 80 { 1900 } else { 2000 };
    days_since_1970(century + year, month, day).map(Some)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> Result<i64, Reason> {
    let date = || {
        let date = jiff::civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(midnight.timestamp().as_second().div_euclid(86_400))
    };
    date()
        .ok_or_else(|| format!("the date is none of the calendar: found day {day}, month {month}, year {year}").into())
}

/// `ddmm.mmmm`, `N`, `dddmm.mmmm`, `E` in degrees; some receivers leave out the zeros before them. `None` where the fields
/// are empty.
fn position(latitude: &[u8], north: &[u8], longitude: &[u8], east: &[u8]) -> Result<Option<(f64, f64)>, Reason> {
    if latitude.is_empty() || longitude.is_empty() {
        return Ok(None);
    }
    let sign = |letter: &[u8], plus: &[u8], minus: &[u8], expected: &str| match letter {
        letter if letter == plus => Ok(1.0),
        letter if letter == minus => Ok(-1.0),
        letter => Err(unreadable("the hemisphere", letter, expected)),
    };
    let latitude_sign = sign(north, b"N", b"S", "N or S")?;
    let longitude_sign = sign(east, b"E", b"W", "E or W")?;
    let latitude = degrees(latitude, 2, 90.0)
        .ok_or_else(|| unreadable("the latitude", latitude, "degrees and minutes as ddmm.mmmm, up to 90 degrees"))?;
    let longitude = degrees(longitude, 3, 180.0).ok_or_else(|| {
        unreadable("the longitude", longitude, "degrees and minutes as dddmm.mmmm, up to 180 degrees")
    })?;
    Ok(Some((latitude * latitude_sign, longitude * longitude_sign)))
}

/// The last two digits before the point are minutes, the ones before them, so many at most, are degrees.
fn degrees(text: &[u8], digits_max: usize, degrees_max: f64) -> Option<f64> {
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let is_plain = text.iter().enumerate().all(|(at, byte)| at == point || byte.is_ascii_digit());
    let parts =
        point.checked_sub(2).filter(|digits| is_plain && *digits <= digits_max).map(|digits| text.split_at(digits));
    let (degrees, minutes) = parts.and_then(|(degrees, minutes)| Some((whole(degrees)?, number(minutes)?)))?;
    let found = degrees as f64 + minutes / 60.0;
    (minutes < 60.0 && found <= degrees_max).then_some(found)
}

/// Metres; receivers that are set so tell feet.
fn altitude(text: &[u8], unit: &[u8]) -> Result<Option<f64>, Reason> {
    let metres = match unit {
        b"" | b"M" | b"m" => 1.0,
        b"F" | b"f" => FOOT,
        _ if text.is_empty() => return Ok(None),
        unit => return Err(unreadable("the unit of the altitude", unit, "M (metres) or F (feet)")),
    };
    Ok(optional(text)?.map(|altitude| altitude * metres))
}

/// Metres a second.
fn speed(text: &[u8], unit: f64) -> Result<Option<f64>, Reason> {
    match optional(text)? {
        Some(speed) if speed < 0.0 => Err(unreadable("the speed", text, "a number that is not negative")),
        speed => Ok(speed.map(|speed| speed * unit)),
    }
}

fn optional(text: &[u8]) -> Result<Option<f64>, Reason> {
    match text {
        [] => Ok(None),
        text => number(text).map(Some).ok_or_else(|| unreadable("a figure", text, "a decimal number")),
    }
}

fn unreadable(what: &str, found: &[u8], expected: &str) -> Reason {
    format!("{what} cannot be read: found {:?}, expected {expected}", String::from_utf8_lossy(found)).into()
}

fn whole(text: &[u8]) -> Option<i64> {
    let is_right = !text.is_empty() && text.len() <= 9 && text.iter().all(u8::is_ascii_digit);
    is_right.then(|| text.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}
