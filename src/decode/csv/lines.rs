//! The lines of a CSV file, one at a time, in bounded memory, with their numbers; or those of a block.

use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr_iter, memchr2};

use super::plain::{Meaning, Meanings};
use super::rejected;
use crate::config::CsvOptions;
use crate::decode::reader::Segment;
use crate::decode::{DecodeError, SourceReader};

/// Bytes that are read at a time.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// Text of one line, without its quotes.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// Fields of one line.
const FIELDS_MAX: usize = 65_537;

/// The byte order mark of UTF-8.
pub(super) const MARK: &[u8] = "\u{feff}".as_bytes();

/// See the module documentation.
pub(super) struct Lines<'a, 'b> {
    /// `None`: what is held is all there is.
    source: Option<&'a mut SourceReader<'b>>,
    /// Behind what is held: bytes from the source's start.
    position: u64,
    /// Made for the first line that is not plain.
    reader: Option<Reader>,
    delimiter: u8,
    quote: Option<u8>,
    comment: Option<u8>,
    meanings: Meanings,
    buffer: Vec<u8>,
    /// So many are read at a time.
    pub(super) buffer_bytes: usize,
    at: usize,
    held: usize,
    is_end: bool,
    /// Line ends before the buffer.
    pub(super) ends_before: u64,
    /// Where the line at hand begins in the buffer, or what the buffer holds of it; then its number is known.
    line_at: usize,
    line_before: Option<u64>,
    /// Of the line at hand, behind what is before the buffer.
    quoting: Quoting,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// More may come behind the end of the source.
    goes_on: bool,
    /// The line at hand was ended by a line end, and not by the end of the source.
    is_complete: bool,
    has_lines: bool,
    /// A reason names a line by its number, rather than by its place.
    pub(super) are_numbered: bool,
    /// Where the line at hand begins: bytes from the source's start.
    line_start: u64,
}

/// Whole lines without quotes.
pub(super) struct Block {
    /// They are these bytes of it.
    pub(super) buffer: Vec<u8>,
    pub(super) held: Range<usize>,
    /// Where they begin: bytes from the source's start.
    pub(super) begin: u64,
    /// Line ends before the buffer.
    pub(super) ends_before: u64,
}

/// What a quote would mean next, as csv-core has it, which does not tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// At the start of a field: it opens.
    FieldStart,
    /// In a field without quotes, or behind them: it is a letter.
    Letter,
    /// In quotes: it closes.
    Open,
    /// Directly behind one that closed: the two of them are a letter in quotes.
    Closed,
}

impl Quoting {
    pub(super) fn behind(self, byte: u8, delimiter: u8, quote: Option<u8>) -> Self {
        match self {
            Self::FieldStart | Self::Closed if Some(byte) == quote => Self::Open,
            Self::Open if Some(byte) == quote => Self::Closed,
            Self::Open => Self::Open,
            _ if byte == delimiter => Self::FieldStart,
            _ => Self::Letter,
        }
    }
}

/// One line, taken apart.
pub(super) struct Line<'a> {
    text: &'a [u8],
    ends: &'a [usize],
    /// Bytes between two fields.
    gap: usize,
}

impl<'a> Line<'a> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn field(&self, place: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(place)?;
        let start = match place.checked_sub(1) {
            Some(before) => *self.ends.get(before)? + self.gap,
            None => 0,
        };
        self.text.get(start..end)
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).filter_map(|place| self.field(place))
    }
}

impl<'a, 'b> Lines<'a, 'b> {
    /// `goes_on`: more may come behind the end of the source, and a line that it cuts short is no line.
    pub(super) fn new(source: &'a mut SourceReader<'b>, options: &CsvOptions, goes_on: bool) -> Self {
        let position = source.position();
        Self { source: Some(source), position, goes_on, ..Self::of_nothing(options) }
    }

    /// Those of a block.
    pub(super) fn of_block(block: Block, options: &CsvOptions) -> Self {
        Self {
            buffer: block.buffer,
            at: block.held.start,
            position: block.begin + block.held.len() as u64,
            held: block.held.end,
            ends_before: block.ends_before,
            is_end: true,
            has_lines: true,
            ..Self::of_nothing(options)
        }
    }

    /// The buffer, for another block.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    fn of_nothing(options: &CsvOptions) -> Self {
        Self {
            source: None,
            position: 0,
            reader: None,
            delimiter: options.delimiter,
            quote: options.quote,
            comment: options.comment,
            meanings: Meanings::new(options),
            buffer: Vec::new(),
            buffer_bytes: BUFFER_BYTES,
            at: 0,
            held: 0,
            is_end: false,
            ends_before: 0,
            line_at: 0,
            line_before: None,
            quoting: Quoting::FieldStart,
            text: vec![0; 4096],
            ends: vec![0; 64],
            goes_on: false,
            is_complete: true,
            has_lines: false,
            are_numbered: true,
            line_start: 0,
        }
    }

    /// The next line that holds something. `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, DecodeError> {
        self.line_before = None;
        self.quoting = Quoting::FieldStart;
        if let Some((start, fields)) = self.take_plain() {
            self.is_complete = true;
            self.line_at = start;
            self.line_start = self.position - (self.held - start) as u64;
            return Ok(Some(Line {
                text: self.buffer.get(start..self.at).unwrap_or_default(),
                ends: self.ends.get(..fields).unwrap_or_default(),
                gap: 1,
            }));
        }
        if !self.pass_over()? {
            return Ok(None);
        }
        let (mut text_bytes, mut fields) = (0, 0);
        loop {
            if self.at == self.held && !self.is_end {
                self.line_before = Some(self.number());
                self.quoting = self.quoting_at_end();
                self.refill()?;
            }
            let input = self.buffer.get(self.at..self.held).unwrap_or_default();
            let reader = self.reader.get_or_insert_with(|| reader(self.delimiter, self.quote));
            let (result, read, written, ended) = reader.read_record(
                input,
                self.text.get_mut(text_bytes..).unwrap_or_default(),
                self.ends.get_mut(fields..).unwrap_or_default(),
            );
            self.at += read;
            text_bytes += written;
            fields += ended;
            match result {
                ReadRecordResult::Record => {
                    self.is_complete = read > 0;
                    break;
                }
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.text.len() < LINE_BYTES_MAX => {
                    self.text.resize((self.text.len() * 2).min(LINE_BYTES_MAX), 0);
                }
                ReadRecordResult::OutputEndsFull if self.ends.len() < FIELDS_MAX => {
                    self.ends.resize((self.ends.len() * 2).min(FIELDS_MAX), 0);
                }
                ReadRecordResult::OutputFull => {
                    return Err(rejected(format!(
                        "{}: it has more than {LINE_BYTES_MAX} bytes: a quote that is never closed?",
                        self.name()
                    )));
                }
                ReadRecordResult::OutputEndsFull => {
                    return Err(rejected(format!("{}: it has more than {FIELDS_MAX} fields", self.name())));
                }
            }
        }
        if self.goes_on && !self.is_complete {
            return Ok(None);
        }
        // Only the end of the source, and no line end, ends a line in the middle of quotes.
        if !self.is_complete && self.quoting_at_end() == Quoting::Open {
            return Err(rejected(format!("line {}: a quote is opened and never closed", self.number())));
        }
        self.has_lines = true;
        Ok(Some(Line {
            text: self.text.get(..text_bytes).unwrap_or_default(),
            ends: self.ends.get(..fields).unwrap_or_default(),
            gap: 0,
        }))
    }

    /// Takes the next line apart where it lies, if it is a plain one as most are: no quotes, something in it, an end that is
    /// LF or CRLF, and all of it in the buffer. Where its text begins in the buffer, and how many fields it has. The first
    /// line may begin with a byte order mark, and is left to the reader.
    fn take_plain(&mut self) -> Option<(usize, usize)> {
        let start = self.plain_start()?;
        let held = self.buffer.get(start..self.held)?;
        let mut fields = 0;
        for (place, byte) in held.iter().enumerate() {
            match self.meanings.of(*byte) {
                Meaning::Text => {}
                Meaning::Delimiter => {
                    *self.ends.get_mut(fields)? = place;
                    fields += 1;
                }
                Meaning::LineEnd => {
                    let is_plain = *byte == b'\n' || held.get(place + 1) == Some(&b'\n');
                    if place == 0 || !is_plain {
                        return None;
                    }
                    *self.ends.get_mut(fields)? = place;
                    // As the reader does: at the CR, so that a part of a log ends at the same place whoever took it.
                    self.at = start + place + 1;
                    return Some((start, fields + 1));
                }
                Meaning::Quote => return None,
            }
        }
        None
    }

    /// Where the next line begins in the buffer, unless it is the first one, or a comment.
    #[inline]
    fn plain_start(&self) -> Option<usize> {
        if !self.has_lines {
            return None;
        }
        // The reader ends a line at the CR, and passes over the LF when it begins the next one.
        let ended_by_cr = self.at.checked_sub(1).and_then(|before| self.buffer.get(before)) == Some(&b'\r');
        let first = *self.buffer.get(self.at..self.held)?.first()?;
        let start = self.at + usize::from(ended_by_cr && first == b'\n');
        let is_comment = self.comment.is_some() && self.buffer.get(start).copied() == self.comment;
        (!is_comment).then_some(start)
    }

    /// Has the next line taken where it lies, with what follows it. `take` says where it ends, behind its LF or behind the CR
    /// before that, or that it does not take it; then it is still the next one.
    #[inline]
    pub(super) fn take_next(&mut self, take: impl FnOnce(&[u8]) -> Option<usize>) -> bool {
        let Some(start) = self.plain_start() else { return false };
        let taken = self.buffer.get(start..self.held).and_then(take);
        if let Some(length) = taken {
            self.at = start + length;
        }
        taken.is_some()
    }

    /// As [`Self::take_next`], for many lines: `take` gets the text from the next line on, and how much of it is whole lines. It
    /// says how many it took, and where they end, behind an LF. That many, and that place in the buffer.
    pub(super) fn take_many(
        &mut self,
        take: impl FnOnce(&[u8], usize) -> Option<(usize, usize)>,
    ) -> Option<(usize, usize)> {
        let start = self.plain_start()?;
        let (count, length) = take(self.buffer.get(start..)?, self.held - start)?;
        let end = start + length;
        let is_crlf = self.buffer.get(..end).is_some_and(|taken| taken.ends_with(b"\r\n"));
        self.at = end - usize::from(is_crlf);
        Some((count, end))
    }

    /// Where the last line that [`Self::next`] gave ends: bytes from the source's start.
    pub(super) fn end(&self) -> u64 {
        self.position - (self.held - self.at) as u64
    }

    /// Where what is not complete begins, at the end, or where the source ends: bytes from the source's start.
    pub(super) fn unfinished_at(&self) -> u64 {
        self.line_start
    }

    /// Whether there was one.
    #[cfg(test)]
    pub(super) fn has_lines(&self) -> bool {
        self.has_lines
    }

    /// The line that [`Self::next`] gave at last, for a reason.
    pub(super) fn name(&self) -> String {
        if self.are_numbered {
            return format!("line {}", self.number());
        }
        format!("the line at byte {}", self.line_start)
    }

    /// The number of the line that [`Self::next`] gave at last; of its first line where it goes over several.
    pub(super) fn number(&self) -> u64 {
        if let Some(number) = self.line_before {
            return number;
        }
        let before = self.buffer.get(..self.line_at).unwrap_or_default();
        // The end of a line that is CR alone shows only in what follows it, which is a line here.
        let is_bare = before.last() == Some(&b'\r');
        self.ends_before + line_ends(before) + u64::from(is_bare) + 1
    }

    /// Passes over what lies before the next line: a byte order mark, the end of the line before, empty lines, and comments,
    /// which end as lines do. Whether there is one.
    fn pass_over(&mut self) -> Result<bool, DecodeError> {
        let mut is_in_comment = false;
        loop {
            if self.at == self.held && !self.is_end {
                self.refill()?;
            }
            let held = self.buffer.get(self.at..self.held).unwrap_or_default();
            if self.end() == 0 && held.starts_with(MARK) {
                self.at += MARK.len();
                continue;
            }
            let Some(first) = held.first().copied() else {
                if !is_in_comment {
                    self.line_start = self.end();
                }
                return Ok(false);
            };
            if !is_in_comment && Some(first) == self.comment {
                self.line_start = self.end();
            }
            if is_in_comment || Some(first) == self.comment {
                let end = memchr2(b'\n', b'\r', held);
                is_in_comment = end.is_none();
                self.at += end.unwrap_or(held.len());
            } else if matches!(first, b'\n' | b'\r') {
                self.at += 1;
            } else {
                self.line_at = self.at;
                self.line_start = self.end();
                return Ok(true);
            }
        }
    }

    fn refill(&mut self) -> Result<(), DecodeError> {
        self.let_go_of_lines();
        self.fill()
    }

    /// Reads as much as the buffer takes behind what it holds.
    fn fill(&mut self) -> Result<(), DecodeError> {
        let Some(source) = &mut self.source else {
            self.is_end = true;
            return Ok(());
        };
        self.buffer.resize(self.buffer_bytes, 0);
        let read = source.fill(self.buffer.get_mut(self.held..).unwrap_or_default())?;
        self.held += read;
        self.position += read as u64;
        self.is_end = read == 0;
        Ok(())
    }

    /// `None`: those of a block.
    pub(super) fn source(&self) -> Option<&SourceReader<'b>> {
        self.source.as_deref()
    }

    /// Bytes that were read and not taken.
    pub(super) fn left(&self) -> usize {
        self.held - self.at
    }

    /// Whether there are quotes in what was read and not taken.
    pub(super) fn hold_quotes(&self) -> bool {
        let held = self.buffer.get(self.at..self.held).unwrap_or_default();
        self.quote.is_some_and(|quote| memchr(quote, held).is_some())
    }

    /// Lines that are held, the last of which ends with `rest`, where the next block begins.
    pub(super) fn cut_block(&mut self, rest: &[u8]) -> Block {
        self.let_go_of_lines();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.truncate(self.held);
        buffer.extend_from_slice(rest);
        let block = Block { held: self.at..buffer.len(), begin: self.end(), ends_before: self.ends_before, buffer };
        self.ends_before += line_ends(&block.buffer);
        (self.at, self.held, self.line_at) = (0, 0, 0);
        self.position += rest.len() as u64;
        block
    }

    /// Goes on behind a block of the source: behind its lines, which were taken elsewhere and have so many ends, and the
    /// beginning of another one.
    pub(super) fn go_on<Out>(&mut self, block: &mut Segment<Out>, ends: u64, beginning: Range<usize>) {
        if let Some(source) = &mut self.source {
            source.accept(block);
        }
        self.position = block.span.end();
        self.ends_before += ends;
        let beginning = block.span.buffer.get(beginning).unwrap_or_default();
        self.buffer.clear();
        self.buffer.extend_from_slice(beginning);
        (self.at, self.line_at, self.held) = (0, 0, beginning.len());
    }

    /// Counts the lines that were taken, and moves what is left to the front of the buffer. A CR that nothing follows stays before
    /// it: what comes next tells whether a line ends there.
    fn let_go_of_lines(&mut self) {
        let taken = self.buffer.get(..self.at).unwrap_or_default();
        let next = self.buffer.get(self.at..self.held).and_then(<[u8]>::first);
        let ended_by_cr = taken.last() == Some(&b'\r');
        let kept = usize::from(ended_by_cr && next.is_none());
        let is_bare = ended_by_cr && next.is_some_and(|byte| *byte != b'\n');
        self.ends_before += line_ends(taken) + u64::from(is_bare);
        let from = self.at - kept;
        self.buffer.copy_within(from..self.held, 0);
        self.held -= from;
        (self.at, self.line_at) = (kept, kept);
    }

    /// Behind what is held of the line at hand.
    fn quoting_at_end(&self) -> Quoting {
        let line = self.buffer.get(self.line_at..self.held).unwrap_or_default();
        line.iter().fold(self.quoting, |quoting, byte| quoting.behind(*byte, self.delimiter, self.quote))
    }
}

fn reader(delimiter: u8, quote: Option<u8>) -> Reader {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter);
    match quote {
        Some(quote) => builder.quote(quote),
        None => builder.quoting(false),
    };
    let mut reader = builder.build();
    // It would pass over a mark in the first bytes that it gets, and passes over empty lines.
    reader.read_record(b"\n", &mut [], &mut []);
    reader
}

pub(super) fn line_ends(bytes: &[u8]) -> u64 {
    let feeds = memchr_iter(b'\n', bytes).count();
    // Lines that end in CR alone.
    let is_bare = |place: &usize| bytes.get(place + 1).is_some_and(|next| *next != b'\n');
    let returns = memchr_iter(b'\r', bytes).filter(is_bare).count();
    (feeds + returns) as u64
}

#[cfg(test)]
mod tests;
