//! Large files in blocks, which whoever has time takes apart, although nobody knows before where their lines begin.
//!
//! Rules:
//! - The lines of a block are those between its first and its last LF. What lies before and behind belongs to lines that go
//!   over from one block to the next, and is joined by the thread of the source.
//! - A line end may stand in quotes, so that a block with a quote is not taken this way, and nor is one without lines. What
//!   follows is then taken line by line for a while.
//! - Which number a line has is known behind all that is before it. A block in which something is wrong, for the first time, is
//!   gone through again to tell it.

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::lines::{Block, Lines, line_ends};
use super::table::{Loss, Table, TakenBlock};
use crate::decode::reader::Span;
use crate::decode::{DecodeError, RowSink, SourceReader};

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that pass before it is tried again, at most.
const WAIT_BLOCKS_MAX: u64 = 256;

/// See the module documentation.
pub(super) struct Blocks {
    table: Table,
    block_bytes: u64,
    /// It is not tried before here: bytes from the source's start.
    next_at: u64,
    /// So many blocks are taken line by line when one could not be taken: twice as many each time, unless as many could before.
    wait_blocks: u64,
    /// Where the rows go of lines that go over from one block to the next.
    joined_rows: Vec<u8>,
}

/// What became of the lines between the first and the last LF of a block.
struct Middle {
    /// Where they lie in its buffer.
    range: Range<usize>,
    /// How often a line ends in them.
    ends: u64,
    lines: TakenBlock,
}

impl Blocks {
    pub(super) fn new(table: Table) -> Self {
        Self { table, block_bytes: BLOCK_BYTES as u64, next_at: 0, wait_blocks: 1, joined_rows: Vec::new() }
    }

    /// Takes what can be taken this way. What ended the work, if it has ended.
    pub(super) fn take(
        &mut self,
        lines: &mut Lines<'_, '_>,
        loss: &mut Loss,
        end: &mut u64,
        sink: &mut dyn RowSink,
    ) -> Result<Option<DecodeError>, DecodeError> {
        let Some(source) = lines.source().filter(|source| self.is_worth_it(source)) else { return Ok(None) };
        let begin = source.position();
        // Before more is read, there is no use in asking again.
        self.next_at = begin + 1;
        if lines.hold_quotes() {
            return Ok(None);
        }
        let (table, are_numbered) = (self.table.clone(), lines.are_numbered);
        let mut segments = source.segments(source.size(), self.block_bytes, move |span, rows| {
            let range = whole_lines(span, table.quote())?;
            Some(Middle::new(&table, span, range, rows, are_numbered))
        });
        while let Some(mut block) = segments.next()? {
            let Some(Middle { range, ends, lines: mut taken }) = block.out.take() else {
                self.wait(begin, block.span.position);
                break;
            };
            let buffer = &block.span.buffer;
            let joined = lines.cut_block(buffer.get(block.span.start..range.start).unwrap_or_default());
            let mut joined = self.table.take_block(joined, std::mem::take(&mut self.joined_rows), are_numbered);
            if let Some(bad) = joined.hand_on(loss, end, sink)? {
                return Ok(Some(bad));
            }
            self.joined_rows = joined.rows;
            let is_first_wrong = taken.bad.is_some() || (loss.is_none() && !taken.loss.is_none());
            if is_first_wrong && are_numbered {
                let buffer = buffer.get(range.clone()).unwrap_or_default().to_vec();
                let again = Block { held: 0..buffer.len(), buffer, begin: lines.end(), ends_before: lines.ends_before };
                taken = self.table.take_block(again, taken.rows, are_numbered);
            }
            if let Some(bad) = taken.hand_on(loss, end, sink)? {
                return Ok(Some(bad));
            }
            let beginning = range.end..buffer.len();
            lines.go_on(&mut block, ends, beginning);
            segments.give_back(block.span, taken.rows);
        }
        Ok(None)
    }

    fn is_worth_it(&self, source: &SourceReader<'_>) -> bool {
        source.position() >= self.next_at && source.remaining() >= self.block_bytes
    }

    /// The block at `position` could not be taken; those from `begin` to there could.
    fn wait(&mut self, begin: u64, position: u64) {
        let is_short = position - begin < self.wait_blocks * self.block_bytes;
        self.wait_blocks = if is_short { (self.wait_blocks * 2).min(WAIT_BLOCKS_MAX) } else { 1 };
        self.next_at = position + self.wait_blocks * self.block_bytes;
    }
}

impl Middle {
    fn new(table: &Table, span: &mut Span, range: Range<usize>, rows: Vec<u8>, are_numbered: bool) -> Self {
        let begin = span.position + (range.start - span.start) as u64;
        let buffer = std::mem::take(&mut span.buffer);
        let block = Block { buffer, held: range.clone(), begin, ends_before: 0 };
        let mut lines = table.take_block(block, rows, are_numbered);
        span.buffer = std::mem::take(&mut lines.buffer);
        let (counted, behind) = lines.of_lanes.unwrap_or((0, range.start));
        let ends = counted as u64 + line_ends(span.buffer.get(behind..range.end).unwrap_or_default());
        Self { range, ends, lines }
    }
}

/// Of a block without quotes, where they lie in its buffer. `None`: there are quotes, or no line ends.
fn whole_lines(span: &Span, quote: Option<u8>) -> Option<Range<usize>> {
    let bytes = span.bytes();
    if quote.is_some_and(|quote| memchr(quote, bytes).is_some()) {
        return None;
    }
    let (first, last) = (memchr(b'\n', bytes)?, memrchr(b'\n', bytes)?);
    Some(span.start + first + 1..span.start + last + 1)
}

#[cfg(test)]
mod tests;
