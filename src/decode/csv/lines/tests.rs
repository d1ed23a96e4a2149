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
    builder.delimiter(options.delimiter).comment(options.comment);
    builder.quoting(options.quote.is_some());
    let mut reader = builder.build();
    let (mut lines, mut numbers, all) = (Vec::new(), Vec::new(), text);
    let (mut bytes, mut ends) = (vec![0; 200_000], vec![0; 100]);
    let (mut counted, mut ends_before) = (0, 0);
    loop {
        let at = all.len() - text.len();
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
        let begin = begin_of_line(all, at, options.comment);
        if begin == all.len() {
            // A comment at the end, which is no line.
            return (lines, numbers);
        }
        let is_end =
            |place: &usize| all[*place] == b'\n' || (all[*place] == b'\r' && all.get(place + 1) != Some(&b'\n'));
        ends_before += (counted..begin).filter(is_end).count() as u64;
        counted = begin;
        lines.push(starts.iter().zip(&ends).map(|(start, end)| bytes[*start..*end].to_vec()).collect());
        numbers.push((1 + ends_before, format!("the line at byte {begin}")));
    }
}

/// Where the first line at or behind a place begins that holds something.
fn begin_of_line(text: &[u8], mut at: usize, comment: Option<u8>) -> usize {
    loop {
        match text.get(at) {
            Some(b'\n' | b'\r') => at += 1,
            Some(byte) if Some(*byte) == comment && (at == 0 || matches!(text[at - 1], b'\n' | b'\r')) => {
                at += text[at..].iter().position(|byte| *byte == b'\n').unwrap_or(text.len() - at);
            }
            _ => return at,
        }
    }
}
