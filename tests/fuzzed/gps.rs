//! NMEA 0183 and GPX.

use super::decoding;

const DATASETS: [(&str, &str); 3] = [
    ("shape = [6]\ndtype = '<f8'\n[dataset.gps]\n", "nmea"),
    ("shape = [6]\ndtype = '<f8'\n[dataset.gps]\non_error = 'reject'\n", "gpx"),
    ("dtype = [['time', '<M8[ms]'], ['longitude', '<f4'], ['latitude', '<f4']]\n[dataset.gps]\n", "log"),
];

pub fn check(bytes: &[u8]) {
    decoding::check_datasets(&DATASETS, bytes);
}
