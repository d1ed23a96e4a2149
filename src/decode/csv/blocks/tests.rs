use std::io::Write;
use std::sync::Arc;

use super::*;
use crate::config::{ColumnFrom, CsvColumn, CsvOptions, OnError, Slot, TimeFormat};
use crate::decode::SourceFile;
use crate::decode::csv::text::Texts;
use crate::npy::Dtype;

/// Blocks here and there in a file give the rows that its lines give one by one, and say the same of bad ones.
#[test]
fn rows_of_blocks_are_those_of_the_lines() {
    let mut numbers = fastrand::Rng::with_seed(3);
    let mut random = |below: usize| numbers.usize(..below);
    let (mut of_blocks, mut of_lines, mut bad) = (0, 0, 0);
    for round in 0..1000 {
        // How often something is odd, in so many lines.
        let odds = [5, 100, 500, 2000][round % 4];
        let mut text = Vec::new();
        let length = 1 + random(30_000);
        while text.len() < length {
            let line = match random(odds) {
                0 => match random(if round % 3 == 0 { 10 } else { 6 }) {
                    0 => "\n".to_owned(),
                    1 => "# a comment\r\n".to_owned(),
                    2 => "1,2\r3,4\r".to_owned(),
                    3 => format!("{},{}\r\n", random(1000), "7".repeat(random(4000))),
                    4 => "\"5\",6\n".to_owned(),
                    5 => "5,\"6\n\"\n".to_owned(),
                    6 => "x,1\n".to_owned(),
                    7 => "# with a \"\n".to_owned(),
                    8 => format!("5,\"{}\"\n", "7\n".repeat(random(800))),
                    _ => "1,2,3\n".to_owned(),
                },
                _ => format!("{},{}.{}\n", random(100_000), random(100), random(1000)),
            };
            text.extend_from_slice(line.as_bytes());
        }
        text.truncate(length.saturating_sub(random(3)));
        let options = Arc::new(options(if round % 3 < 2 { OnError::Skip } else { OnError::Reject }));
        let texts = Arc::new(Texts::without_padding(&options));
        let table = Table::new(options.clone(), texts, vec![0, 1], Some(2));
        let (expected, _) = taken(&text, &options, &table, None);
        let block_bytes = [50, 300, 2000][random(3)];
        let (found, blocks) = taken(&text, &options, &table, Some(block_bytes));
        assert!(found == expected, "round {round}, blocks of {block_bytes}: {} and {}", found.1, expected.1);
        of_blocks += blocks;
        of_lines += found.0.len() / 16 - blocks;
        bad += usize::from(found.1.contains("expected"));
    }
    assert!(of_blocks > 100_000 && of_lines > 100_000 && bad > 100, "{of_blocks} {of_lines} {bad}");
}

/// The rows, and all else that is said of the lines; and how many rows are of blocks.
fn taken(text: &[u8], options: &CsvOptions, table: &Table, block_bytes: Option<u64>) -> ((Vec<u8>, String), usize) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    let source = SourceFile::of(file).unwrap();
    let mut reader = source.reader();
    let mut lines = Lines::new(&mut reader, options, false);
    lines.buffer_bytes = 700;
    let (mut table, mut rows, mut loss, mut end, mut of_blocks) =
        (table.clone(), Rows::default(), Loss::default(), 0, 0);
    let mut blocks = block_bytes.map(|block_bytes| Blocks { block_bytes, ..Blocks::new(table.clone()) });
    let mut places = vec![0; 16 * 16];
    let bad = loop {
        // Not before the first line, as a mark may stand before it.
        if let Some(blocks) = blocks.as_mut().filter(|_| lines.has_lines()) {
            let before = rows.0.len();
            let bad = blocks.take(&mut lines, &mut loss, &mut end, &mut rows).unwrap();
            of_blocks += (rows.0.len() - before) / 16;
            if bad.is_some() {
                break bad;
            }
        }
        let filled = table.fill(&mut lines, &mut places, &mut loss);
        rows.0.extend_from_slice(&places[..filled.rows * 16]);
        end = filled.end.unwrap_or(end);
        if filled.rows < 16 {
            break filled.bad;
        }
    };
    let is_end = bad.is_none();
    let said = format!("{bad:?} {end} {:?}", loss.note());
    if is_end {
        assert_eq!(reader.finish(|| false).unwrap(), Some(blake3::hash(text)));
    }
    ((rows.0, said), of_blocks)
}

#[derive(Default)]
struct Rows(Vec<u8>);

impl RowSink for Rows {
    fn row(&mut self, _: f64) -> Result<&mut [u8], DecodeError> {
        self.rows(1)
    }

    fn rows(&mut self, count: usize) -> Result<&mut [u8], DecodeError> {
        let at = self.0.len();
        self.0.resize(at + count * 16, 0);
        Ok(&mut self.0[at..])
    }

    fn give_back(&mut self, count: usize) {
        self.0.truncate(self.0.len() - count * 16);
    }
}

fn options(on_error: OnError) -> CsvOptions {
    let column = |place: usize| {
        let scalar = Dtype::parse("<f8").unwrap().scalar().unwrap();
        let slot = Slot { name: None, offset: place * 8, scalar, unit: None, count: 1 };
        CsvColumn { from: ColumnFrom::Place(place), slot, is_time: false }
    };
    CsvOptions {
        delimiter: b',',
        quote: Some(b'"'),
        comment: Some(b'#'),
        header: false,
        columns: vec![column(0), column(1)],
        others: false,
        missing: Vec::new(),
        time_format: TimeFormat::Seconds,
        on_error,
        follow: false,
    }
}
