//! Lines of text, each a row: CSV, TSV and their relatives.
//!
//! Rules:
//! - Quoting is that of RFC 4180; lines and comments end in LF, CRLF or CR; a byte order mark is passed over;
//!   empty lines and, where `comment` is set, lines that begin with it are no lines.
//! - With a header, columns are found by their names, in any order. Every line has as many fields as the first one.
//! - A word of `missing` is NaN or NaT; where the value has no such, the line is bad. So is one whose text is no value of
//!   the dtype, or one that the dtype does not hold.
//! - A bad line rejects the source, or is left out and counted (`on_error`), with its number: 1 for the file's first line.
//! - A line is held in memory, up to 1 MiB of text. Longer ones, and quotes that are never closed, reject the source:
//!   behind them nobody knows where a line begins.

mod blocks;
mod lanes;
mod lines;
mod log;
mod numbers;
mod plain;
mod table;
mod text;

use std::sync::Arc;

use self::blocks::Blocks;
use self::lines::Lines;
use self::table::{Loss, Table};
use self::text::Texts;
use super::packed::not_text;
use super::{About, DecodeError, Rejection, RowSink, SourceReader, StreamDecoder};
use crate::config::{ColumnFrom, CsvOptions};

/// Places that are asked for at a time.
const BLOCK_ROWS: usize = 256;
/// Names that a reason lists.
const LISTED_MAX: usize = 20;

/// The places of the wanted columns, in the order of the row's values, and how many fields a line has, where that is known
/// before the first one.
type Places = (Vec<usize>, Option<usize>);

/// The csv decoder of one dataset.
pub struct CsvDecoder {
    options: Arc<CsvOptions>,
    texts: Arc<Texts>,
}

impl CsvDecoder {
    /// `row_bytes`: of one row of the dataset.
    pub fn new(options: &CsvOptions, row_bytes: usize) -> Self {
        Self { options: Arc::new(options.clone()), texts: Arc::new(Texts::new(options, row_bytes)) }
    }

    /// `None`: there is no line with the names of the columns.
    fn places(&self, lines: &mut Lines<'_, '_>) -> Result<Option<Places>, DecodeError> {
        let columns = &self.options.columns;
        let header = match self.options.header {
            true => match lines.next()? {
                Some(line) => Some(line),
                None => return Ok(None),
            },
            false => None,
        };
        let names: Option<Vec<String>> = header
            .map(|line| line.fields().map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned()).collect());
        let find = |from: &ColumnFrom| match (from, &names) {
            (ColumnFrom::Place(place), _) => Ok(*place),
            (ColumnFrom::Name(name), Some(names)) => {
                let mut found = names.iter().enumerate().filter(|(_, found)| *found == name).map(|(place, _)| place);
                match (found.next(), found.next()) {
                    (Some(place), None) => Ok(place),
                    (Some(_), Some(_)) => Err(rejected(format!("the header has the column \"{name}\" twice"))),
                    (None, _) => Err(rejected(format!("the header has no column \"{name}\", but {}", listed(names)))),
                }
            }
            (ColumnFrom::Name(name), None) => Err(rejected(format!("without a header there is no column \"{name}\""))),
        };
        let places = columns.iter().map(|column| find(&column.from)).collect::<Result<Vec<_>, _>>()?;
        let width = names.as_ref().map(Vec::len);
        let wanted = wanted(&places);
        if let (Some(width), Some(names)) = (width, &names)
            && (width < wanted || (!self.options.others && width != wanted))
        {
            let which = listed(names);
            return Err(rejected(format!("the header has {width} columns ({which}), expected {wanted}")));
        }
        Ok(Some((places, width)))
    }

    /// Takes all lines. Where the last one that was taken or left out ends, and what ended the work if it was not the end.
    fn take_lines(
        &self,
        lines: &mut Lines<'_, '_>,
        places: Vec<usize>,
        width: Option<usize>,
        sink: &mut dyn RowSink,
    ) -> Result<(u64, Option<DecodeError>), DecodeError> {
        let mut table = Table::new(self.options.clone(), self.texts.clone(), places, width);
        let mut loss = Loss::default();
        let mut end = lines.end();
        let mut blocks = None;
        let bad = loop {
            if table.takes_blocks() {
                let blocks = blocks.get_or_insert_with(|| Blocks::new(table.clone()));
                if let Some(bad) = blocks.take(lines, &mut loss, &mut end, sink)? {
                    break Some(bad);
                }
            }
            let rows = sink.rows(BLOCK_ROWS)?;
            let count = rows.len() / self.texts.row_bytes();
            let filled = table.fill(lines, rows, &mut loss);
            sink.give_back(count - filled.rows);
            end = filled.end.unwrap_or(end);
            if filled.rows < count {
                break filled.bad;
            }
        };
        if let Some(note) = loss.note() {
            sink.note(note);
        }
        Ok((end, bad))
    }
}

impl StreamDecoder for CsvDecoder {
    fn decode(&self, reader: &mut SourceReader<'_>, _: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        if let Some(reason) = not_text(&reader.first_bytes()?) {
            return Err(rejected(reason));
        }
        let mut lines = Lines::new(reader, &self.options, false);
        let (places, width) = self
            .places(&mut lines)?
            .ok_or_else(|| rejected("the file is empty, expected a line with the names of its columns"))?;
        match self.take_lines(&mut lines, places, width, sink)? {
            (_, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Fields that a line has at least.
fn wanted(places: &[usize]) -> usize {
    places.iter().max().map_or(0, |place| place + 1)
}

fn listed(names: &[String]) -> String {
    let mut listed: Vec<_> = names.iter().take(LISTED_MAX).map(|name| format!("\"{name}\"")).collect();
    if names.len() > LISTED_MAX {
        listed.push("...".to_owned());
    }
    listed.join(", ")
}

fn rejected(reason: impl Into<String>) -> DecodeError {
    Rejection::new(reason.into()).into()
}
