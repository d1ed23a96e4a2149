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
