//! GPS tracks: the fields that both kinds of files have.

use super::Advice;

pub(super) const EXTENSIONS: &[&str] = &["nmea", "nma", "gpx"];

pub(super) fn advise() -> Advice {
    let fields = [
        ("time", "<M8[ns]"),
        ("latitude", "<f8"),
        ("longitude", "<f8"),
        ("altitude", "<f4"),
        ("speed", "<f4"),
        ("course", "<f4"),
    ];
    let fields: Vec<String> = fields.iter().map(|(name, dtype)| format!("[\"{name}\", \"{dtype}\"]")).collect();
    Advice {
        found: String::new(),
        row: format!("dtype  = [{}]", fields.join(", ")),
        decoder: "[dataset.gps]\n".to_owned(),
    }
}
