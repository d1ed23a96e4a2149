//! Lines of text, each a row: CSV, TSV and their relatives.
//!
//! Rules:
//! - Quoting is that of RFC 4180; lines end in LF, CRLF or CR; a byte order mark is passed over; empty lines and, where
//!   `comment` is set, lines that begin with it are no lines.
//! - With a header, columns are found by their names, in any order. Every line has as many fields as the first one.
//! - A word of `missing` is NaN or NaT; where the value has no such, the line is bad. So is one whose text is no value of
//!   the dtype, or one that the dtype does not hold.
//! - A bad line rejects the source, or is left out and counted (`on_error`), with its number: 1 for the file's first line.
//! - A line is held in memory, up to 1 MiB of text. Longer ones, and quotes that are never closed, reject the source:
//!   behind them nobody knows where a line begins.

mod lines;
mod text;

use self::lines::{Line, Lines};
use self::text::Texts;
use super::{About, DecodeError, Rejection, RowSink, SourceReader, StreamDecoder};
use crate::config::{ColumnFrom, CsvOptions, OnError};

/// Places that are asked for at a time.
const BLOCK_ROWS: usize = 256;
/// Names that a reason lists.
const LISTED_MAX: usize = 20;

/// The csv decoder of one dataset.
pub struct CsvDecoder {
    options: CsvOptions,
    texts: Texts,
}

/// Lines that were left out.
#[derive(Debug, Default)]
struct Loss {
    lines: u64,
    first: Option<(u64, String)>,
}

impl Loss {
    fn note(self) -> Option<String> {
        let (line, reason) = self.first?;
        let lines = if self.lines == 1 { "one line".to_owned() } else { format!("{} lines", self.lines) };
        Some(format!("left out {lines}, the first was line {line}: {reason}"))
    }
}

impl CsvDecoder {
    pub fn new(options: &CsvOptions) -> Self {
        Self { options: options.clone(), texts: Texts::new(options) }
    }

    /// The places of the wanted columns, in the order of the row's values, and how many fields a line has, where that is
    /// known before the first one.
    fn places(&self, lines: &mut Lines<'_, '_>) -> Result<(Vec<usize>, Option<usize>), DecodeError> {
        let columns = &self.options.columns;
        let header = match self.options.header {
            true => match lines.next()? {
                Some(line) => Some(line),
                None => return Err(rejected("the file is empty, expected a line with the names of its columns")),
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
        let wanted = places.iter().max().map_or(0, |place| place + 1);
        if let (Some(width), Some(names)) = (width, &names)
            && (width < wanted || (!self.options.others && width != wanted))
        {
            let which = listed(names);
            return Err(rejected(format!("the header has {width} columns ({which}), expected {wanted}")));
        }
        Ok((places, width))
    }
}

impl StreamDecoder for CsvDecoder {
    fn decode(&self, reader: &mut SourceReader<'_>, _: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let mut lines = Lines::new(reader, &self.options);
        let (places, mut width) = self.places(&mut lines)?;
        let wanted = places.iter().max().map_or(0, |place| place + 1);
        let others = self.options.others;
        let mut loss = Loss::default();
        let mut is_end = false;
        while !is_end {
            let rows = sink.rows(BLOCK_ROWS)?;
            let row_bytes = self.texts.row_bytes(rows.len());
            let mut filled = 0;
            let count = rows.len() / row_bytes;
            while filled < count {
                let Some(line) = lines.next()? else {
                    is_end = true;
                    break;
                };
                let row = rows.get_mut(filled * row_bytes..(filled + 1) * row_bytes).unwrap_or_default();
                let fields = line.len();
                let expected = *width.get_or_insert(if others { fields.max(wanted) } else { wanted });
                let taken = if fields == expected {
                    self.texts.take(&line, &places, row)
                } else {
                    Err(format!("it has {fields} fields, expected {expected}"))
                };
                match taken {
                    Ok(()) => filled += 1,
                    Err(reason) => {
                        let number = lines.number();
                        if self.options.on_error == OnError::Reject {
                            return Err(rejected(format!("line {number}: {reason}")));
                        }
                        loss.lines += 1;
                        loss.first.get_or_insert((number, reason));
                    }
                }
            }
            sink.give_back(count - filled);
        }
        if let Some(note) = loss.note() {
            sink.note(note);
        }
        Ok(())
    }
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
