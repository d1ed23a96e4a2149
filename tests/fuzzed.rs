//! The checks of the fuzzer (`fuzz/`), on everything that it ever found, and on a few good files.
//!
//! `tests/fuzzed/found/<target>/` has one file for each finding, named after what was wrong. Each of them has made its check
//! fail, or take gigabytes or minutes, before the mend.

use std::path::{Path, PathBuf};

use npy_ingest::npy::{Dtype, Layout};

#[path = "fuzzed/mod.rs"]
mod fuzzed;

#[test]
fn headers() {
    check_files("tests/fuzzed/found/header", fuzzed::header::check);
    let record = Dtype::parse("[('a', '<f4', (2,)), ('é', '>u2')]").unwrap();
    let whole = Layout::new(&record, &[3, 2]).unwrap().header(1024).unwrap();
    for length in 0..=whole.len() {
        fuzzed::header::check(&whole[..length]);
    }
    fuzzed::header::check(b"{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3L), }          ");
}

#[test]
fn configs() {
    let example = std::fs::read(root().join("config.example.toml")).unwrap();
    for (end, _) in example.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        fuzzed::config::check(&example[..end]);
    }
    fuzzed::config::check(&example);
    check_files("tests/fuzzed/found/config", fuzzed::config::check);
}

#[test]
fn images() {
    for folder in ["tests/fuzzed/found/image", "testdata/odd", "testdata/bad"] {
        check_files(folder, fuzzed::image::check);
    }
}

#[test]
fn sounds() {
    fuzzed::prepare();
    check_files("tests/fuzzed/found/audio", fuzzed::audio::check);
    // A WAV file of 16-bit mono, at every length, and with each byte of its header as wrong as it can be.
    let samples: Vec<u8> = (0..600_u32).map(|at| (at * at % 251) as u8).collect();
    let header = b"RIFF\x7c\x02\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x58\x02\0\0";
    let whole = [header.as_slice(), &samples].concat();
    for length in (0..whole.len()).step_by(7) {
        fuzzed::audio::check(&whole[..length]);
    }
    for place in 0..header.len() {
        let mut wrong = whole.clone();
        wrong[place] = !wrong[place];
        fuzzed::audio::check(&wrong);
    }
}

#[test]
fn logs_and_arrays() {
    check_files("tests/fuzzed/found/csv", fuzzed::csv::check);
    check_files("tests/fuzzed/found/npy", fuzzed::npy::check);
    for check in [fuzzed::records::check, fuzzed::csv::check, fuzzed::gps::check, fuzzed::npy::check] {
        for length in 0..40 {
            check(&b"$GPRMC,123519.25,A,4807.038,N,01131.000,E*00\r\n"[..length]);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the check on every file of a folder, by name.
fn check_files(folder: &str, check: fn(&[u8])) {
    fuzzed::prepare();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    for path in files {
        println!("{}", path.display());
        check(&std::fs::read(path).unwrap());
    }
}
