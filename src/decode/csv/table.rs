//! Lines into rows, once the columns are known: a line has so many fields, and those at certain places are the values.

use std::sync::Arc;

use super::blocks::BLOCK_BYTES;
use super::lines::{Block, Line, Lines};
use super::plain::Fields;
use super::text::{self, Texts};
use super::{BLOCK_ROWS, rejected, wanted};
use crate::config::{CsvOptions, OnError};
use crate::decode::{DecodeError, RowSink};

/// Rows of one block have so many bytes at most, however short its lines are.
const BLOCK_ROW_BYTES_MAX: usize = 16 << 20;

/// See the module documentation.
#[derive(Clone)]
pub(super) struct Table {
    options: Arc<CsvOptions>,
    texts: Arc<Texts>,
    /// Of the values, in the order of the row.
    places: Arc<[usize]>,
    /// Fields that a line has at least.
    wanted: usize,
    /// Fields that each line has. `None` before the first one.
    width: Option<usize>,
    /// Those fields, where a line can be taken in one pass.
    fields: Option<Fields>,
}

/// What became of some lines.
pub(super) struct Filled {
    /// Fewer than there are places for: the lines are at their end.
    pub(super) rows: usize,
    /// Behind the last line that was taken or left out. `None`: there was none.
    pub(super) end: Option<u64>,
    /// What ended them, if it was not the end of the source.
    pub(super) bad: Option<DecodeError>,
}

/// What became of a block.
pub(super) struct TakenBlock {
    pub(super) rows: Vec<u8>,
    /// Bytes of `rows` that are rows.
    pub(super) filled: usize,
    pub(super) row_bytes: usize,
    pub(super) end: Option<u64>,
    pub(super) bad: Option<DecodeError>,
    pub(super) loss: Loss,
    /// So many lines at the front have one line end each; where they end in the buffer.
    pub(super) of_lanes: Option<(usize, usize)>,
    /// The block's.
    pub(super) buffer: Vec<u8>,
}

impl TakenBlock {
    /// Hands its rows on, and what else is known. What ended the work, if it has ended.
    pub(super) fn hand_on(
        &mut self,
        loss: &mut Loss,
        end: &mut u64,
        sink: &mut dyn RowSink,
    ) -> Result<Option<DecodeError>, DecodeError> {
        sink.take_rows(&mut self.rows, self.filled, self.row_bytes)?;
        loss.join(std::mem::take(&mut self.loss));
        *end = self.end.unwrap_or(*end);
        Ok(self.bad.take())
    }
}

/// Lines that were left out.
#[derive(Debug, Default)]
pub(super) struct Loss {
    lines: u64,
    /// Which, and why.
    first: Option<(String, String)>,
}

impl Loss {
    /// `line`: counts the lines before it, and is asked for the first one only.
    fn add(&mut self, line: impl FnOnce() -> String, reason: String) {
        self.lines += 1;
        self.first.get_or_insert_with(|| (line(), reason));
    }

    pub(super) fn is_none(&self) -> bool {
        self.lines == 0
    }

    /// With those that came behind.
    pub(super) fn join(&mut self, later: Self) {
        self.lines += later.lines;
        self.first = self.first.take().or(later.first);
    }

    pub(super) fn note(self) -> Option<String> {
        let (line, reason) = self.first?;
        let lines = if self.lines == 1 { "one line".to_owned() } else { format!("{} lines", self.lines) };
        Some(format!("left out {lines}, the first was {line}: {reason}"))
    }
}

impl Table {
    pub(super) fn new(options: Arc<CsvOptions>, texts: Arc<Texts>, places: Vec<usize>, width: Option<usize>) -> Self {
        let wanted = wanted(&places);
        let fields = width.and_then(|width| Fields::new(&texts, &places, width));
        Self { options, texts, places: places.into(), wanted, width, fields }
    }

    /// Takes each line apart before it looks at its fields.
    #[cfg(test)]
    pub(super) fn one_by_one(self) -> Self {
        Self { fields: None, ..self }
    }

    pub(super) fn quote(&self) -> Option<u8> {
        self.options.quote
    }

    /// Whether lines can be taken in blocks: not before it is known what a line is, nor where the rows of a block could be many
    /// times as long as its lines.
    pub(super) fn takes_blocks(&self) -> bool {
        // A field has a byte at least: what separates it from the next one.
        let rows_max = |width: usize| BLOCK_BYTES / width.max(2);
        self.width.is_some_and(|width| rows_max(width).saturating_mul(self.texts.row_bytes()) <= BLOCK_ROW_BYTES_MAX)
    }

    /// Fills whole rows.
    pub(super) fn fill(&mut self, lines: &mut Lines<'_, '_>, rows: &mut [u8], loss: &mut Loss) -> Filled {
        let row_bytes = self.texts.row_bytes();
        let mut filled = Filled { rows: 0, end: None, bad: None };
        let mut places = rows.chunks_exact_mut(row_bytes);
        let Some(mut row) = places.next() else { return filled };
        loop {
            let is_plain = self
                .fields
                .as_ref()
                .is_some_and(|fields| lines.take_next(|held| self.texts.take_plain(held, fields, row)));
            let taken = if is_plain {
                Ok(())
            } else {
                match lines.next() {
                    Ok(Some(line)) => self.take_apart(&line, row),
                    Ok(None) => return filled,
                    Err(error) => return Filled { bad: Some(error), ..filled },
                }
            };
            match taken {
                Ok(()) => {
                    filled.rows += 1;
                    filled.end = Some(lines.end());
                    match places.next() {
                        Some(next) => row = next,
                        None => return filled,
                    }
                }
                Err(reason) if self.options.on_error == OnError::Reject => {
                    let bad = Some(rejected(format!("{}: {reason}", lines.name())));
                    return Filled { bad, ..filled };
                }
                Err(reason) => {
                    loss.add(|| lines.name(), reason);
                    filled.end = Some(lines.end());
                }
            }
        }
    }

    /// Fills a row from the fields of a line; the first line says how many there are.
    pub(super) fn take_apart(&mut self, line: &Line<'_>, row: &mut [u8]) -> Result<(), String> {
        let fields = line.len();
        let expected = match self.width {
            Some(width) => width,
            None => {
                let first = if self.options.others { fields.max(self.wanted) } else { self.wanted };
                self.fields = Fields::new(&self.texts, &self.places, first);
                *self.width.insert(first)
            }
        };
        if fields != expected {
            return Err(format!("it has {}, expected {expected}", text::fields(fields)));
        }
        self.texts.take(line, &self.places, row)
    }

    /// All lines of a block, in whichever thread. `rows` is where their rows go; what it holds does not matter.
    pub(super) fn take_block(&self, block: Block, mut rows: Vec<u8>, are_numbered: bool) -> TakenBlock {
        let mut table = self.clone();
        let mut lines = Lines::of_block(block, &self.options);
        lines.are_numbered = are_numbered;
        let row_bytes = self.texts.row_bytes();
        let (mut filled, mut loss, mut end) = (0, Loss::default(), None);
        let of_lanes = self.fields.as_ref().and_then(|fields| {
            lines.take_many(|text, whole| self.texts.take_lanes((text, whole), (&self.options, fields), &mut rows))
        });
        if let Some((count, _)) = of_lanes {
            filled = count * row_bytes;
            end = Some(lines.end());
        }
        loop {
            // A line has a byte at least for each of its fields: the one behind it.
            let count = BLOCK_ROWS.min(lines.left() / table.width.unwrap_or(1).max(1) + 1);
            let wanted = filled + count * row_bytes;
            if rows.len() < wanted {
                rows.resize(wanted, 0);
            }
            let taken = table.fill(&mut lines, rows.get_mut(filled..wanted).unwrap_or_default(), &mut loss);
            filled += taken.rows * row_bytes;
            end = taken.end.or(end);
            if taken.rows < count {
                let buffer = lines.into_buffer();
                return TakenBlock { rows, filled, row_bytes, end, bad: taken.bad, loss, of_lanes, buffer };
            }
        }
    }
}
