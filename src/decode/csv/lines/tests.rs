use std::io::Write;

use super::*;
use crate::config::{OnError, TimeFormat};
use crate::decode::SourceFile;

/// Texts that are short of everything but what matters, in all mixtures. The reader that takes every line the slow way is
/// the reference; the buffer is longer than all of them.
#[test]
fn plain_lines_are_those_of_the_reader() {
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
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
        let mut reader = SourceReader::at(&source, 0).unwrap();
        let mut lines = Lines::new(&mut reader, &options, false);
        let mut found: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut numbers = Vec::new();
        while let Ok(Some(line)) = lines.next() {
            plain += usize::from(line.gap == 1);
            found.push(line.fields().map(<[u8]>::to_vec).collect());
            numbers.push(lines.number());
        }
        let (expected, starts) = by_the_reader(&options, &text);
        let text = String::from_utf8(text).unwrap();
        // A quote that is never closed ends the lines early, with an error.
        assert_eq!(found, expected[..found.len()], "{text:?}");
        assert!(found.len() == expected.len() || quote.is_some(), "{text:?}");
        assert_eq!(numbers, starts[..found.len()], "{text:?}");
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

/// Blocks and single lines in turn, as a file with few quotes has them.
#[test]
fn lines_of_blocks_are_those_of_the_file() {
    let mut text = Vec::new();
    for number in 0..12_000_u32 {
        let ending = if number % 7 == 0 { "\r\n" } else { "\n" };
        match number % 3000 {
            // The second one goes on where a buffer ends.
            17 => {
                let more = "and more\n".repeat(if number == 3017 { 20_000 } else { 1 });
                text.extend_from_slice(format!("\"{number}\n{more}\",x{ending}").as_bytes());
            }
            18 => text.extend_from_slice(b"\n# a comment, with \"\r\n"),
            _ => text.extend_from_slice(format!("{number},{},{:040}{ending}", number / 3, 7).as_bytes()),
        }
    }
    text.extend_from_slice(b"the last one");
    let options = options(Some(b'"'), Some(b'#'));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&text).unwrap();
    let source = SourceFile::of(file).unwrap();
    let mut reader = SourceReader::at(&source, 0).unwrap();
    let mut lines = Lines::new(&mut reader, &options, false);
    let (mut found, mut numbers, mut ends, mut spare, mut of_blocks) = (vec![], vec![], vec![], vec![], 0);
    let mut take = |lines: &mut Lines<'_, '_>| {
        let line = lines.next().unwrap().map(|line| line.fields().map(<[u8]>::to_vec).collect::<Vec<_>>());
        let is_line = line.is_some();
        found.extend(line);
        numbers.extend(is_line.then(|| lines.number()));
        ends.extend(is_line.then(|| lines.end()));
        is_line
    };
    loop {
        if let Some(block) = lines.cut_block(&mut spare).unwrap() {
            let mut lines = Lines::of_block(block, &options);
            while take(&mut lines) {
                of_blocks += 1;
            }
            spare.push(lines.into_buffer());
        } else if !take(&mut lines) {
            break;
        }
    }
    let (expected, starts) = by_the_reader(&options, &text);
    assert_eq!(found.len(), expected.len());
    assert!(found == expected && numbers == starts);
    // Most lines, but not all, were in blocks.
    assert!((6_000..12_000).contains(&of_blocks), "{of_blocks}");
    assert_eq!(ends.last(), Some(&(text.len() as u64)));
    assert!(
        ends.is_sorted()
            && ends.iter().all(|end| *end == ends[ends.len() - 1] || b"\r\n".contains(&text[*end as usize - 1]))
    );
}

/// All lines, and the number of each.
fn by_the_reader(options: &CsvOptions, mut text: &[u8]) -> (Vec<Vec<Vec<u8>>>, Vec<u64>) {
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
        numbers.push(1 + ends_before);
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
