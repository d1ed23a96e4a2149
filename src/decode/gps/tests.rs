use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::npy::Dtype;

/// Rows of `f8`, and what is noted.
#[derive(Default)]
struct Kept {
    rows: Vec<Vec<u8>>,
    row_bytes: usize,
    note: Option<String>,
}

impl RowSink for Kept {
    fn row(&mut self, _: f64) -> Result<&mut [u8], DecodeError> {
        self.rows.push(vec![0; self.row_bytes]);
        Ok(self.rows.last_mut().unwrap())
    }

    fn rows(&mut self, _: usize) -> Result<&mut [u8], DecodeError> {
        self.row(0.0)
    }

    fn give_back(&mut self, _: usize) {}

    fn note(&mut self, note: String) {
        self.note = Some(note);
    }
}

/// The rows, and the note or the reason.
fn decoded(fields: &[GpsField], on_error: OnError, text: &[u8]) -> (Vec<Vec<f64>>, String) {
    let scalar = Dtype::parse("<f8").unwrap().scalar().unwrap();
    let slot = |place: usize| Slot { name: None, offset: 8 * place, scalar, unit: None, count: 1 };
    let fields = fields.iter().enumerate().map(|(place, field)| (*field, slot(place))).collect();
    let decoder = GpsDecoder::new(&GpsOptions { fields, date: None, on_error });
    let mut kept = Kept { row_bytes: 8 * decoder.options.fields.len(), ..Kept::default() };
    let about = About { path: Path::new("a"), extension: None, interrupted: &AtomicBool::new(false) };
    let note = match decoder.decode(text, about, &mut kept) {
        Ok(()) => kept.note.unwrap_or_default(),
        Err(DecodeError::Rejected(rejection)) => return (Vec::new(), rejection.reason.into_owned()),
        Err(other) => panic!("{other:?}"),
    };
    let values = |row: &Vec<u8>| row.chunks(8).map(|value| f64::from_le_bytes(value.try_into().unwrap())).collect();
    (kept.rows.iter().map(values).collect(), note)
}

fn sentence(body: &str) -> String {
    format!("${body}*{:02X}", body.bytes().fold(0, |sum, byte| sum ^ byte))
}

fn fix(time: &str, status: &str, date: &str) -> String {
    sentence(&format!("GPRMC,{time},{status},4800.000,N,01100.000,E,1.0,0.0,{date},,,A"))
}

/// Seconds since 1970.
fn times(text: &[u8]) -> (Vec<f64>, String) {
    let (rows, note) = decoded(&[GpsField::Time], OnError::Skip, text);
    (rows.into_iter().map(|row| row[0]).collect(), note)
}

const NOON: f64 = 1_714_564_800.0;
const DAY: f64 = 86_400.0;

/// Five days at noon were one fix.
#[test]
fn one_time_of_day_on_other_dates_is_another_fix() {
    let days: Vec<String> = (1..=5).map(|day| fix("120000.00", "A", &format!("0{day}0524"))).collect();
    let expected: Vec<f64> = (0..5).map(|day| NOON + DAY * f64::from(day)).collect();
    assert_eq!(times(days.join("\n").as_bytes()), (expected, String::new()));
    let same = [fix("120000", "A", "010524"), fix("120000.00", "A", "010524"), sentence("GPZDA,120000,01,05,2024,,")];
    assert_eq!(times(same.join("\n").as_bytes()), (vec![NOON], String::new()));
}

/// Only what followed the first `$` between two LFs was read, and nothing behind its checksum.
#[test]
fn lines_may_have_several_sentences() {
    let fixes: Vec<String> = (0..3).map(|second| fix(&format!("12000{second}"), "A", "010524")).collect();
    let all = vec![NOON, NOON + 1.0, NOON + 2.0];
    for between in ["\r", "\n", "\r\n", "\r\r\n", "", " ", "!AIVDM,1*00 ", "\r[12:00] "] {
        assert_eq!(times(fixes.join(between).as_bytes()), (all.clone(), String::new()), "{between:?}");
    }
    let cut = "$GPRMC,1200";
    let noise = "\u{b5}b\u{1}\u{7}$\u{0}";
    for before in [cut, noise, "it cost $5 ", "$GPRMC,1*zz"] {
        let (found, note) = times(format!("{}\r{before}{}\r\n{}", fixes[0], fixes[1], fixes[2]).as_bytes());
        assert_eq!(found, all, "{before}");
        assert!(note.starts_with("left out 1 sentence, the first in line 2: "), "{before}: {note}");
    }
    let (_, note) = times(format!("\r\n\r\r\n{}\r$x\r\n", fixes[0]).as_bytes());
    assert!(note.contains("line 5: "), "{note}");
}

/// A receiver that knows no time yet tells some date, which was that of the fixes behind it.
#[test]
fn a_date_without_a_position_counts_only_where_no_other_does() {
    let gga = sentence("GPGGA,000006,4800.000,N,01100.000,E,1,08,0.9,545.4,M,46.9,M,,");
    let void = fix("000005", "V", "060180");
    let mode = sentence("GPRMC,000005,A,,,,,,,060180,,,N");
    let right = fix("000007", "A", "010524");
    let day = NOON - DAY / 2.0;
    for early in [&void, &mode] {
        let (found, _) = times([early, &gga, &right].map(String::as_str).join("\n").as_bytes());
        assert_eq!(found, [day + 6.0, day + 7.0]);
        let (found, _) = times([&right, early, &gga].map(String::as_str).join("\n").as_bytes());
        assert_eq!(found, [day + 7.0, day + 6.0]);
    }
    let (found, _) = times([fix("000005", "V", "010524"), gga].join("\n").as_bytes());
    assert_eq!(found, [day + 6.0]);
}

fn gga(time: &str, quality: u8) -> String {
    sentence(&format!("GPGGA,{time},4800.000,N,01100.000,E,{quality},08,0.9,545.4,M,46.9,M,,"))
}

/// Seconds since the midnight before the first of May, of a log whose sentences are all good.
fn seconds_of(sentences: &[String]) -> Vec<f64> {
    let (found, note) = times(sentences.join("\n").as_bytes());
    assert_eq!(note, "");
    found.into_iter().map(|time| time - (NOON - DAY / 2.0)).collect()
}

/// The bug: a receiver that starts anew, and tells a time of its own until it has a fix, moved the date on.
#[test]
fn times_without_a_position_are_no_midnights() {
    let evening = 18.0 * 3600.0;
    let restart =
        [fix("180000", "A", "010524"), gga("000003", 0), gga("180005", 1), fix("180007", "V", ""), gga("180008", 1)];
    assert_eq!(seconds_of(&restart), [evening, evening + 5.0, evening + 8.0]);
    // Reckoned back, too.
    let restart = [gga("180000", 1), gga("000003", 0), gga("180005", 1), fix("180007", "A", "010524")];
    assert_eq!(seconds_of(&restart), [evening, evening + 5.0, evening + 7.0]);
}

/// The bug: a sentence that came late began one more day.
#[test]
fn a_sentence_that_came_late_over_midnight_is_of_the_day_before() {
    let before = [fix("235958", "A", "010524"), gga("235959", 1)];
    let after = [gga("000000", 1), gga("235959.5", 1), gga("000001", 1), gga("000002", 1)];
    let expected = [DAY - 2.0, DAY - 1.0, DAY, DAY - 0.5, DAY + 1.0, DAY + 2.0];
    assert_eq!(seconds_of(&[&before[..], &after].concat()), expected);
    let dated = [&before[..], &[fix("000000", "A", "020524")], &after[1..]].concat();
    assert_eq!(seconds_of(&dated), expected);
    let reckoned = [&before[1..], &after, &[fix("000003", "A", "020524")]].concat();
    assert_eq!(seconds_of(&reckoned), [&expected[1..], &[DAY + 3.0]].concat());
    // A gap in a day is none.
    assert_eq!(seconds_of(&[fix("010000", "A", "010524"), gga("140000", 1)]), [3600.0, 14.0 * 3600.0]);
}

/// The bug: the day at which a clock begins, told by a ZDA, was that of the fixes.
#[test]
fn a_zda_counts_beside_a_position_where_fixes_tell_the_date() {
    let begins = sentence("GPZDA,000001,06,01,1980,00,00");
    let at_noon = DAY / 2.0;
    assert_eq!(seconds_of(&[begins.clone(), gga("120000", 1), fix("120001", "A", "010524")]), [at_noon, at_noon + 1.0]);
    let beside = [begins, gga("120000", 1), sentence("GPZDA,120000,01,05,2024,00,00")];
    assert_eq!(seconds_of(&beside), [at_noon]);
    let alone = [sentence("GPZDA,115959,01,05,2024,00,00"), gga("120000", 1), fix("120001", "V", "060180")];
    assert_eq!(seconds_of(&alone), [at_noon]);
}

/// The bug: this was the year 24.
#[test]
fn a_year_of_two_digits_is_none_of_a_zda() {
    let short = [sentence("GPZDA,120000,01,05,24,00,00"), fix("120000", "A", "010524")];
    let (found, note) = times(short.join("\n").as_bytes());
    assert_eq!(found, [NOON]);
    assert!(note.contains("expected four digits"), "{note}");
}

/// The bug: the speed without a fix was that of the fix before.
#[test]
fn a_speed_behind_a_sentence_without_a_time_is_of_no_fix() {
    let speed = sentence("GPVTG,054.7,T,,M,005.5,N,010.2,K,A");
    let fields = [GpsField::Latitude, GpsField::Speed];
    let speeds = |sentences: &[&str]| -> Vec<f64> {
        let (rows, _) = decoded(&fields, OnError::Reject, sentences.join("\n").as_bytes());
        rows.into_iter().map(|row| row[1]).collect()
    };
    let (at_noon, no_fix) = (gga("120000", 1), sentence("GPGGA,,,,,,0,00,,,M,,M,,"));
    assert!(speeds(&[&at_noon, &no_fix, &speed])[0].is_nan());
    assert!(speeds(&[&at_noon, &speed])[0] > 2.8);
    // Where each fix has sentences without a time in between, it is one fix nevertheless.
    assert!(matches!(speeds(&[&at_noon, &no_fix, &at_noon]).as_slice(), [speed] if speed.is_nan()));
}

/// The bug: 8 degrees and 7 minutes were 80 degrees and 7.038 minutes where the zero before them is left out.
#[test]
fn degrees_are_the_digits_before_the_minutes() {
    let place = |latitude: &str, longitude: &str| {
        let sentence = sentence(&format!("GPRMC,120000,A,{latitude},N,{longitude},E,1.0,0.0,010524,,,A"));
        decoded(&PLACE, OnError::Reject, sentence.as_bytes())
    };
    for (latitude, longitude, expected) in [
        ("0807.038", "01131.000", [8.0 + 7.038 / 60.0, 11.0 + 31.0 / 60.0]),
        ("807.038", "1131.000", [8.0 + 7.038 / 60.0, 11.0 + 31.0 / 60.0]),
        ("807", "131.", [8.0 + 7.0 / 60.0, 1.0 + 31.0 / 60.0]),
        ("8959.999", "17959.5", [89.0 + 59.999 / 60.0, 179.0 + 59.5 / 60.0]),
    ] {
        assert_eq!(place(latitude, longitude), (vec![expected.to_vec()], String::new()), "{latitude} {longitude}");
    }
    for latitude in
        ["48+7.038", "00807.038", "07.038", "7.038", "4860.000", "4807.0.3", "-807.038", ".5", "48 7.038", "4807,0"]
    {
        let (rows, reason) = place(latitude, "01131.000");
        assert!(rows.is_empty() && reason.contains("cannot be read"), "{latitude}: {reason}");
    }
}

/// The bug: only that no sentence tells a date was said, which is so where all of them are bad.
#[test]
fn a_log_without_a_date_says_what_is_bad_as_well() {
    let undated = |on_error, text: &str| decoded(&[GpsField::Time], on_error, text.as_bytes()).1;
    let without_checksum = "$GPRMC,120000,A,4800.000,N,01100.000,E,1.0,0.0,010524,,,A\n";
    assert_eq!(undated(OnError::Reject, without_checksum), "line 1: a sentence without a checksum: cut short?");
    let reason = undated(OnError::Skip, without_checksum);
    assert!(reason.starts_with("it has no sentence with a fix that can be read; line 1: a sentence"), "{reason}");
    let mixed = format!("{}\n{without_checksum}", gga("120000", 1));
    assert_eq!(undated(OnError::Reject, &mixed), "line 2: a sentence without a checksum: cut short?");
    let reason = undated(OnError::Skip, &mixed);
    assert!(reason.starts_with("no RMC or ZDA sentence tells a date"), "{reason}");
    assert!(
        reason.ends_with("; left out 1 sentence, the first in line 2: a sentence without a checksum: cut short?"),
        "{reason}"
    );
}

/// Garmin's own sentences were read as those of a talker.
#[test]
fn sentences_of_makers_are_passed_over() {
    let own = sentence("PGRMC,A,218.8,100,6378137.000,298.257223563,0.000,0.000,0.000,A,3,1,1,4,30");
    let (found, note) = times([own, fix("120000", "A", "010524")].join("\n").as_bytes());
    assert_eq!((found, note), (vec![NOON], String::new()));
}

const PLACE: [GpsField; 2] = [GpsField::Latitude, GpsField::Longitude];

fn gpx(points: &str) -> String {
    format!("<gpx><trk><trkseg>{points}</trkseg></trk></gpx>")
}

/// Entities were dropped, so that this was 10, and a long text was NaN without a word.
#[test]
fn texts_of_a_gpx_are_read_as_a_whole() {
    let spaces = " ".repeat(300);
    let long = format!("{spaces}1{spaces}0");
    for (text, expected, is_noted) in [
        ("1&#48;0", 100.0, false),
        ("&#x31;<![CDATA[0]]><!-- and -->0", 100.0, false),
        (&format!("{spaces}100{spaces}"), 100.0, false),
        (&format!("{spaces}1{spaces}&#48;"), f64::NAN, true),
        (&long, f64::NAN, true),
        ("1&unknown;0", f64::NAN, true),
        ("&lt;1", f64::NAN, true),
        ("", f64::NAN, false),
        ("nan", f64::NAN, false),
        ("NaN", f64::NAN, false),
    ] {
        let text = gpx(&format!("<trkpt lat=\"&#52;8\" lon='1'><ele>{text}</ele></trkpt>"));
        let (rows, note) = decoded(&[GpsField::Latitude, GpsField::Altitude], OnError::Skip, text.as_bytes());
        assert_eq!((rows[0][0], rows[0][1].to_bits()), (48.0, expected.to_bits()), "{text}");
        let expected = "put NaN for 1 figure, the first in line 1: the elevation cannot be read";
        assert_eq!(note, if is_noted { expected } else { "" }, "{text}");
    }
}

/// Such points were left out.
#[test]
fn numbers_of_a_gpx_may_have_exponents() {
    let text = gpx("<trkpt lat=\"4.8E1\" lon=\"-5.1e-4\"><ele>1.0E-4</ele></trkpt>");
    let (rows, note) = decoded(&[PLACE[0], PLACE[1], GpsField::Altitude], OnError::Reject, text.as_bytes());
    assert_eq!((rows, note), (vec![vec![48.0, -5.1e-4, 1e-4]], String::new()));
    let text = gpx("<trkpt lat=\"e\" lon=\"1\"/><trkpt lat=\"1e400\" lon=\"1\"/><trkpt lat=\"51,5\" lon=\"0,1\"/>");
    let (rows, note) = decoded(&PLACE, OnError::Skip, text.as_bytes());
    assert!(rows.is_empty() && note.starts_with("left out 3 points"), "{note}");
}

/// A figure that cannot be read took the whole point with it, also where the row does not have it, and so did a `time` of
/// something else.
#[test]
fn only_what_a_row_has_is_judged() {
    let bad = "<trkpt lat=\"1\" lon=\"2\" x:lat=\"9\"><ele>high</ele><speed>n/a</speed><time>noon</time></trkpt>";
    let (rows, note) = decoded(&PLACE, OnError::Reject, gpx(bad).as_bytes());
    assert_eq!((rows, note), (vec![vec![1.0, 2.0]], String::new()));
    let with_speed = [GpsField::Latitude, GpsField::Speed];
    let (rows, note) = decoded(&with_speed, OnError::Skip, gpx(bad).as_bytes());
    assert!(rows[0][0] == 1.0 && rows[0][1].is_nan() && note.contains("the speed cannot be read"), "{note}");
    let (_, reason) = decoded(&with_speed, OnError::Reject, gpx(bad).as_bytes());
    assert_eq!(reason, "line 1: the speed cannot be read");
    let (rows, note) = times(gpx(&format!("{bad}\n{bad}")).as_bytes());
    assert!(rows.is_empty(), "{rows:?}");
    assert!(note.starts_with("left out 2 points, the first in line 1: the time cannot be read, expected "), "{note}");

    let nested = "<trkpt lat=\"1\" lon=\"2\"><time>2024-05-01T12:00:00Z</time>\
                  <extensions><x:track><x:time>77</x:time><time>78</time></x:track></extensions></trkpt>";
    assert_eq!(times(gpx(nested).as_bytes()), (vec![NOON], String::new()));
}

/// This was noon in UTC.
#[test]
fn times_of_a_gpx_have_no_zone_in_brackets() {
    let point = "<trkpt lat=\"1\" lon=\"2\"><time>2024-05-01T12:00:00[Europe/Berlin]</time></trkpt>";
    let (rows, note) = times(gpx(point).as_bytes());
    assert!(rows.is_empty() && note.contains("brackets"), "{rows:?} {note}");
}

/// The bug: whatever the unit, the altitude was taken as metres.
#[test]
fn an_altitude_in_feet_becomes_metres() {
    let altitude = |of: &str| {
        let sentence = sentence(&format!("GPGGA,120000,4800.000,N,01100.000,E,1,08,0.9,{of},,,,"));
        decoded(&[GpsField::Altitude], OnError::Reject, sentence.as_bytes())
    };
    let metres = |of: &str| altitude(of).0[0][0];
    assert_eq!((metres("100,M"), metres("100,"), metres("100,F")), (100.0, 100.0, 30.48));
    assert!(metres(",").is_nan() && metres(",X").is_nan());
    let expected = "line 1: the unit of the altitude cannot be read: found \"X\", expected M (metres) or F (feet)";
    assert_eq!(altitude("100,X").1, expected);
}

/// The bug: the reasons did not say what was found, and a speed below zero was one.
#[test]
fn a_bad_figure_is_told_with_what_was_found() {
    let reason = |latitude: &str, longitude: &str, speed: &str| {
        let body = format!("GPRMC,120000,A,{latitude},N,{longitude},E,{speed},0.0,010524,,,A");
        decoded(&PLACE, OnError::Reject, sentence(&body).as_bytes()).1
    };
    assert_eq!(reason("9000.000", "18000.000", "0"), "");
    for (latitude, longitude, speed, expected) in [
        (
            "9000.001",
            "01100.000",
            "1.0",
            "the latitude cannot be read: found \"9000.001\", expected degrees and minutes as ddmm.mmmm, up to 90 degrees",
        ),
        (
            "12007.000",
            "01100.000",
            "1.0",
            "the latitude cannot be read: found \"12007.000\", expected degrees and minutes as ddmm.mmmm, up to 90 degrees",
        ),
        (
            "4800.000",
            "18000.001",
            "1.0",
            "the longitude cannot be read: found \"18000.001\", expected degrees and minutes as dddmm.mmmm, up to 180 degrees",
        ),
        (
            "4800.000",
            "01100.000",
            "-1.0",
            "the speed cannot be read: found \"-1.0\", expected a number that is not negative",
        ),
    ] {
        assert_eq!(reason(latitude, longitude, speed), format!("line 1: {expected}"));
    }
    let point = |point: &str| {
        let text = format!("<gpx><trk><trkseg>{point}</trkseg></trk></gpx>");
        decoded(&[GpsField::Latitude, GpsField::Speed], OnError::Skip, text.as_bytes())
    };
    let far = point("<trkpt lat=\"90.5\" lon=\"2\"/><trkpt lat=\"1\" lon=\"2\"/>").1;
    assert!(far.ends_with("the latitude cannot be read: found \"90.5\", expected degrees from -90 to 90"), "{far}");
    let (rows, note) = point("<trkpt lat=\"1\" lon=\"2\"><speed>-1.0</speed></trkpt>");
    assert!(rows[0][1].is_nan() && note.ends_with("the speed is negative"), "{note}");
}
