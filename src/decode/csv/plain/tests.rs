use std::io::Write;
use std::sync::Arc;

use crate::config::{ColumnFrom, CsvColumn, CsvOptions, OnError, Slot, TimeFormat};
use crate::decode::csv::lines::{Block, Lines};
use crate::decode::csv::plain::Fields;
use crate::decode::csv::table::{Loss, Table};
use crate::decode::csv::text::Texts;
use crate::decode::{SourceFile, SourceReader};
use crate::npy::{Dtype, Kind};

const DTYPES: [&str; 17] = [
    "<f8", ">f8", "<f4", ">f4", "<f2", "i1", "<i2", "<i4", "<i8", ">i8", "u1", "<u2", "<u4", "<u8", "?", "S3",
    "<M8[ms]",
];
/// Fields that are no numbers, or not quite.
const ODD: [&str; 30] = [
    "",
    "-",
    ".",
    "-.",
    "NA",
    "-9",
    "-0",
    "+1",
    " 7",
    "7 ",
    "1e3",
    "-1.5E-7",
    "inf",
    "nan",
    "0x10",
    "1_0",
    "\"5\"",
    "\"a,b\"",
    "5\"",
    "true",
    "256",
    "65536",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "1.000000059604644775390625",
    "9007199254740993",
    "1..2",
    "é",
    "\u{FF}/:",
];

/// The way of one pass and the way that takes each line apart first give the same rows, and say the same of bad lines.
#[test]
fn rows_of_plain_lines_are_those_of_the_reader() {
    let mut numbers = fastrand::Rng::with_seed(11);
    let mut random = |below: usize| numbers.usize(..below);
    let (mut rows_found, mut bad_found) = (0, 0);
    for round in 0..1500 {
        let width = 1 + random(5);
        let places = places_of(width, &mut random);
        let options = options(&places, &DTYPES, &mut random, round);
        let odds = [2, 10, 100][round % 3];
        let endings = &["\n", "\n", "\r\n", "\n\n", "\r", "\n#x\n"][..if odds == 2 { 6 } else { 3 }];
        let mut text = lines_of(40, width, odds, (options.delimiter, endings), &mut random);
        text.truncate(text.len() - random(3));
        let texts = Arc::new(Texts::without_padding(&options));
        let options = Arc::new(options);
        let table = Table::new(options.clone(), texts.clone(), places.clone(), Some(width));
        let found = taken(&text, &options, table.clone(), texts.row_bytes());
        let expected = taken(&text, &options, table.one_by_one(), texts.row_bytes());
        assert_eq!(found, expected, "{:?} {options:?}", String::from_utf8_lossy(&text));
        rows_found += found.0.len() / texts.row_bytes();
        bad_found += usize::from(found.1.contains("expected"));
    }
    assert!(rows_found > 9_000 && bad_found > 500, "{rows_found} {bad_found}");
}

/// Whole lines in lanes give what each of them gives by itself.
#[test]
fn rows_of_lanes_are_those_of_the_reader() {
    let mut numbers = fastrand::Rng::with_seed(12);
    let mut random = |below: usize| numbers.usize(..below);
    let mut of_lanes = 0;
    for round in 0..1500 {
        let width = 1 + random(5);
        let places = places_of(width, &mut random);
        // Most numbers fit into these.
        let options =
            options(&places, if round % 4 == 0 { &DTYPES } else { &["<f8", "<f4", ">f8", "S3"] }, &mut random, round);
        let odds = [100, 1000, 10_000][round % 3];
        let endings = [&["\n"][..], &["\n"], &["\r\n"], &["\n", "\r\n"]][random(4)];
        let mut text = lines_of(70 + random(60), width, odds, (options.delimiter, endings), &mut random);
        text.truncate(text.iter().rposition(|byte| *byte == b'\n').unwrap() + 1);
        if options.quote.is_some_and(|quote| text.contains(&quote)) {
            continue;
        }
        let texts = Arc::new(Texts::without_padding(&options));
        let options = Arc::new(options);
        let table = Table::new(options.clone(), texts.clone(), places.clone(), Some(width));
        let fields = Fields::new(&texts, &places, width).unwrap();
        let taken = texts.take_lanes((&text, text.len()), (&options, &fields), &mut Vec::new());
        of_lanes += taken.map_or(0, |(lines, _)| lines);
        // What is behind the lines does not count, and is not always there.
        let (whole, behind) = (text.len(), random(30));
        text.extend(std::iter::repeat_n(b'5', behind));
        let found = of_block(&text, whole, &table);
        let expected = of_block(&text, whole, &table.one_by_one());
        assert_eq!(found, expected, "{:?} {options:?}", String::from_utf8_lossy(&text));
    }
    assert!(of_lanes > 8_000 || !npy_ingest_kernels::lanes::is_able(), "{of_lanes}");
}

/// The rows of a block, and all else that is said of its lines.
fn of_block(text: &[u8], whole: usize, table: &Table) -> (Vec<u8>, String) {
    let block = Block { buffer: text.to_vec(), held: 0..whole, begin: 7, ends_before: 3 };
    let taken = table.take_block(block, Vec::new(), true);
    let rows = taken.rows[..taken.filled].to_vec();
    (rows, format!("{:?} {:?} {:?}", taken.end, taken.bad, taken.loss))
}

/// Wanted in any order; some of them are not.
fn places_of(width: usize, random: &mut impl FnMut(usize) -> usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..width).collect();
    for place in 0..width {
        places.swap(place, random(width));
    }
    places.truncate(1 + random(width));
    places
}

/// Lines in which one field, or end, of so many is odd.
fn lines_of(
    count: usize,
    width: usize,
    odds: usize,
    (delimiter, endings): (u8, &[&str]),
    random: &mut impl FnMut(usize) -> usize,
) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..count {
        let fields = if random(odds) == 0 { 1 + random(6) } else { width };
        for field in 0..fields {
            if field > 0 {
                text.push(delimiter);
            }
            if random(odds) == 0 {
                text.extend_from_slice(ODD[random(ODD.len())].as_bytes());
                continue;
            }
            text.extend_from_slice(["", "-"][random(3) / 2].as_bytes());
            let digits_max = [3, 3, 9, 20][random(4)];
            for _ in 0..=random(digits_max) {
                text.push(b"0123456789"[random(10)]);
            }
            if random(2) == 0 {
                text.push(b'.');
                let digits_max = [3, 9, 20][random(3)];
                for _ in 0..random(digits_max) {
                    text.push(b"0123456789"[random(10)]);
                }
            }
        }
        text.extend_from_slice(endings[random(endings.len())].as_bytes());
    }
    text
}

/// The rows, and all else that is said of the lines.
fn taken(text: &[u8], options: &CsvOptions, mut table: Table, row_bytes: usize) -> (Vec<u8>, String) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    let source = SourceFile::of(file).unwrap();
    let mut reader = SourceReader::at(&source, 0);
    let mut lines = Lines::new(&mut reader, options, false);
    let mut loss = Loss::default();
    let mut rows = vec![0; 100 * row_bytes];
    let filled = table.fill(&mut lines, &mut rows, &mut loss);
    rows.truncate(filled.rows * row_bytes);
    // NaN has many forms, and all of them come from the same place.
    (rows, format!("{:?} {:?} {loss:?} {}", filled.end, filled.bad, lines.end()))
}

fn options(places: &[usize], dtypes: &[&str], random: &mut impl FnMut(usize) -> usize, round: usize) -> CsvOptions {
    let mut offset = 0;
    let mut column = |place: usize| {
        let scalar = Dtype::parse(dtypes[random(dtypes.len())]).unwrap().scalar().unwrap();
        let slot = Slot { name: None, offset, scalar, unit: None, count: 1 };
        offset += scalar.bytes;
        let is_time = scalar.kind == Kind::Float && scalar.bytes == 8 && random(2) == 0;
        CsvColumn { from: ColumnFrom::Place(place), slot, is_time }
    };
    CsvOptions {
        columns: places.iter().map(|place| column(*place)).collect(),
        delimiter: [b',', b';', b'.', b'1', b'-', b'\t'][random(12).saturating_sub(6)],
        quote: [Some(b'"'), None, Some(b'7')][random(6).saturating_sub(3)],
        comment: [Some(b'#'), None, Some(b'3')][random(3)],
        header: false,
        others: true,
        missing: [&[][..], &["", "NA"], &["-9"], &["0"]][random(4)].iter().map(|word| (*word).to_owned()).collect(),
        time_format: [TimeFormat::Seconds, TimeFormat::Milliseconds][random(2)],
        on_error: if round.is_multiple_of(4) { OnError::Reject } else { OnError::Skip },
        follow: false,
    }
}
