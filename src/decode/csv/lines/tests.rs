use std::io::Write;

use super::*;
use crate::config::{OnError, TimeFormat};
use crate::decode::SourceFile;

/// Texts that are short of everything but what matters, in all mixtures. The reader that takes every line the slow way is
/// the reference.
#[test]
fn plain_lines_are_those_of_the_reader() {
    let mut numbers = fastrand::Rng::with_seed(7);
    let mut random = |below: u64| numbers.u64(..below);
    let mut plain = 0;
    for round in 0..3000 {
        let length = random(40);
        let pieces = ["a", "b", "1", ",", ",", "\n", "\n", "\r", "\"", "#", "\u{feff}"];
        let text: Vec<u8> = (0..length).flat_map(|_| pieces[random(11) as usize].bytes()).collect();
        let quote = (round % 3 != 0).then_some(b'"');
        let comment = (round % 2 == 0).then_some(b'#');
        let options = options(quote, comment);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&text).unwrap();
        let source = SourceFile::of(file).unwrap();
        let mut reader = SourceReader::at(&source, 0);
        let mut lines = Lines::new(&mut reader, &options, false);
        lines.are_numbered = false;
        // Lines go over the ends of short buffers. A mark and what follows it are in one, as csv-core wants them.
        let buffer_bytes = if round % 5 < 3 { BUFFER_BYTES } else { 4 + random(12) as usize };
        lines.buffer_bytes = buffer_bytes;
        let mut found: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut names = Vec::new();
        while let Ok(Some(line)) = lines.next() {
            plain += usize::from(line.gap == 1);
            found.push(line.fields().map(<[u8]>::to_vec).collect());
            names.push((lines.number(), lines.name()));
        }
        let (expected, starts) = by_the_reader(&options, &text);
        let text = String::from_utf8(text).unwrap();
        // A quote that is never closed ends the lines early, with an error.
        assert_eq!(found, expected[..found.len()], "{text:?}");
        assert!(
            found.len() == expected.len() || quote.is_some(),
            "{text:?}, buffers of {buffer_bytes}: {found:?} {expected:?}"
        );
        assert_eq!(names, starts[..found.len()], "{text:?}, buffers of {buffer_bytes}");
    }
    assert!(plain > 1500, "{plain}");
}

fn options(quote: Option<u8>, comment: Option<u8>) -> CsvOptions {
    CsvOptions {
        delimiter: b',',
        quote,
        comment,
        header: false,
        columns: Vec::new(),
        others: true,
        missing: Vec::new(),
        time_format: TimeFormat::Rfc3339,
        on_error: OnError::Skip,
        follow: false,
    }
}

/// The number of a line, and its name by its place.
type Start = (u64, String);

/// All lines, and where they begin.
fn by_the_reader(options: &CsvOptions, mut text: &[u8]) -> (Vec<Vec<Vec<u8>>>, Vec<Start>) {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(options.delimiter);
    builder.quoting(options.quote.is_some());
    let mut reader = builder.build();
    // It passes over a mark in the first bytes that it gets, wherever they are.
    reader.read_record(b"\n", &mut [], &mut []);
    let (mut lines, mut numbers, all) = (Vec::new(), Vec::new(), text);
    text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let (mut bytes, mut ends) = (vec![0; 200_000], vec![0; 100]);
    let (mut counted, mut ends_before) = (0, 0);
    loop {
        let begin = begin_of_line(all, all.len() - text.len(), options.comment);
        if begin == all.len() {
            return (lines, numbers);
        }
        text = &all[begin..];
        let (mut written, mut fields) = (0, 0);
        loop {
            let (result, read, more, ended) = reader.read_record(text, &mut bytes[written..], &mut ends[fields..]);
            text = &text[read..];
            written += more;
            fields += ended;
            match result {
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return (lines, numbers),
                ReadRecordResult::InputEmpty => {}
                other => panic!("{other:?}"),
            }
        }
        let mut start = 0;
        let starts = ends[..fields].iter().map(|end| std::mem::replace(&mut start, *end)).collect::<Vec<_>>();
        let is_end =
            |place: &usize| all[*place] == b'\n' || (all[*place] == b'\r' && all.get(place + 1) != Some(&b'\n'));
        ends_before += (counted..begin).filter(is_end).count() as u64;
        counted = begin;
        lines.push(starts.iter().zip(&ends).map(|(start, end)| bytes[*start..*end].to_vec()).collect());
        numbers.push((1 + ends_before, format!("the line at byte {begin}")));
    }
}

/// Where the first line at or behind a place begins that holds something. csv-core ends comments at LF only.
fn begin_of_line(text: &[u8], mut at: usize, comment: Option<u8>) -> usize {
    loop {
        match text.get(at) {
            Some(b'\n' | b'\r') => at += 1,
            Some(byte) if Some(*byte) == comment => {
                let end = text[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                at = end.map_or(text.len(), |end| at + end);
            }
            _ => return at,
        }
    }
}

/// The fields of all lines, and what ended them.
fn lines_of(text: &str, buffer_bytes: usize) -> (Vec<Vec<String>>, Option<String>) {
    let options = options(Some(b'"'), Some(b'#'));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let source = SourceFile::of(file).unwrap();
    let mut reader = SourceReader::at(&source, 0);
    let mut lines = Lines::new(&mut reader, &options, false);
    lines.buffer_bytes = buffer_bytes;
    let mut found = Vec::new();
    loop {
        match lines.next() {
            Ok(Some(line)) => {
                found.push(line.fields().map(|field| String::from_utf8(field.to_vec()).unwrap()).collect());
            }
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(format!("{error:?}"))),
        }
    }
}

/// A comment went on to the next LF, and took all lines of a file with it that has none.
#[test]
fn comments_end_as_lines_do() {
    for text in
        ["a,b\r\"x\ry\",1\r\r# c\rq,zz\r", "a,b\r\"x\ry\",1\r#\r#c\r\rq,zz", "#c\ra,b\n\"x\ry\",1\r\n#c\r\nq,zz#\r#"]
    {
        for buffer_bytes in [4, 5, 6, 7, 100] {
            let (found, error) = lines_of(text, buffer_bytes);
            let last = found.last().unwrap();
            assert_eq!((found.len(), error), (3, None), "{text:?} {buffer_bytes}: {found:?}");
            assert!(last[0] == "q" && last[1].starts_with("zz"), "{text:?}");
        }
    }
}

/// Quotes were counted: letters among them hid one that is never closed, or looked like one.
#[test]
fn a_quote_that_is_never_closed_is_told_from_letters() {
    for buffer_bytes in [4, 5, 6, 7, 100] {
        for (text, good_lines) in [
            ("1,2\n5\" disk,\"never closed", 1),
            ("\u{feff}\"never,closed\nq\n", 0),
            ("1,2\n\"a\"\"", 1),
            ("1,2\n\"a\n\n", 1),
            ("1,2\n3,\"", 1),
            ("1,2\n\"a\",\"b\"\"\",\"\"\"", 1),
        ] {
            let (found, error) = lines_of(text, buffer_bytes);
            assert!(error.is_some_and(|error| error.contains("never closed")), "{text:?}: {found:?}");
            assert_eq!(found.len(), good_lines, "{text:?}");
        }
        for text in [
            "\"x\",19\" monitor",
            "\"x\"y\"z,2",
            "\"x\",\"\"",
            "19\",\"a\"\"\"",
            "\"a\" \",\"b\"",
            "\u{feff}\"x\",a\"",
            "#\"\n1,a\" b",
        ] {
            let (without, error) = lines_of(text, buffer_bytes);
            assert_eq!(error, None, "{text:?}");
            let with = lines_of(&format!("{text}\n"), buffer_bytes);
            assert_eq!((without, None), with, "{text:?}");
        }
    }
}
