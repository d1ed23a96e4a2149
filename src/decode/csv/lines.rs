//! The lines of a CSV file, one at a time, in bounded memory, with their numbers.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::rejected;
use crate::config::CsvOptions;
use crate::decode::{DecodeError, SourceReader};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 256 << 10;
/// Text of one line, without its quotes.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// Fields of one line.
const FIELDS_MAX: usize = 65_537;

/// See the module documentation.
pub(super) struct Lines<'a, 'b> {
    source: &'a mut SourceReader<'b>,
    reader: Reader,
    delimiter: u8,
    quote: Option<u8>,
    comment: Option<u8>,
    buffer: Vec<u8>,
    at: usize,
    held: usize,
    is_end: bool,
    /// Line ends before the buffer.
    ends_before: u64,
    /// Where the line at hand begins: in the buffer, or before it.
    line_at: usize,
    line_before: Option<u64>,
    /// Quotes of the line at hand before the buffer, modulo 2.
    is_quote_open: bool,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// More may come behind the end of the source.
    goes_on: bool,
    /// The line at hand was ended by a line end, and not by the end of the source.
    is_complete: bool,
    has_lines: bool,
    /// A reason names a line by its number, rather than by its place.
    pub(super) are_numbered: bool,
    /// Where the line at hand begins, or what is passed over before it: bytes from the source's start.
    line_start: u64,
}

/// One line, taken apart.
pub(super) struct Line<'a> {
    text: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Line<'a> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn field(&self, place: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(place)?;
        let start = match place.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
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
        let mut builder = ReaderBuilder::new();
        builder.delimiter(options.delimiter).comment(options.comment);
        match options.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        Self {
            source,
            reader: builder.build(),
            delimiter: options.delimiter,
            quote: options.quote,
            comment: options.comment,
            buffer: vec![0; BUFFER_BYTES],
            at: 0,
            held: 0,
            is_end: false,
            ends_before: 0,
            line_at: 0,
            line_before: None,
            is_quote_open: false,
            text: vec![0; 4096],
            ends: vec![0; 64],
            goes_on,
            is_complete: true,
            has_lines: false,
            are_numbered: true,
            line_start: 0,
        }
    }

    /// The next line that holds something. `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, DecodeError> {
        self.line_at = self.at;
        self.line_start = self.end();
        self.line_before = None;
        self.is_quote_open = false;
        let (mut text_bytes, mut fields) = (0, 0);
        loop {
            if self.at == self.held && !self.is_end {
                self.refill()?;
            }
            let input = self.buffer.get(self.at..self.held).unwrap_or_default();
            let (result, read, written, ended) = self.reader.read_record(
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
        if self.is_end && self.at == self.held && self.ends_in_quotes() {
            return Err(rejected(format!("line {}: a quote is opened and never closed", self.number())));
        }
        self.has_lines = true;
        Ok(Some(Line {
            text: self.text.get(..text_bytes).unwrap_or_default(),
            ends: self.ends.get(..fields).unwrap_or_default(),
        }))
    }

    /// Where the last line that [`Self::next`] gave ends: bytes from the source's start.
    pub(super) fn end(&self) -> u64 {
        self.source.position() - (self.held - self.at) as u64
    }

    /// Whether there was one.
    pub(super) fn has_lines(&self) -> bool {
        self.has_lines
    }

    /// The line that [`Self::next`] gave at last, for a reason.
    pub(super) fn name(&self) -> String {
        if self.are_numbered {
            return format!("line {}", self.number());
        }
        let line = self.buffer.get(self.line_at..self.at).unwrap_or_default();
        let passed_over = if self.line_before.is_none() { line.len() - self.lead(line).1.len() } else { 0 };
        format!("the line at byte {}", self.line_start + passed_over as u64)
    }

    /// The number of the line that [`Self::next`] gave at last; of its first line where it goes over several.
    pub(super) fn number(&self) -> u64 {
        if let Some(number) = self.line_before {
            return number;
        }
        let before = self.buffer.get(..self.line_at).unwrap_or_default();
        let line = self.buffer.get(self.line_at..self.at).unwrap_or_default();
        // The end of a line that is CR alone shows only in what follows it.
        let is_bare = before.last() == Some(&b'\r') && line.first().is_some_and(|byte| *byte != b'\n');
        self.ends_before + line_ends(before) + u64::from(is_bare) + 1 + self.lead(line).0
    }

    /// Line ends of what was passed over before the line itself (the end of the one before it, empty lines, comments), and
    /// the line.
    fn lead<'c>(&self, mut line: &'c [u8]) -> (u64, &'c [u8]) {
        let mut ends = 0;
        loop {
            match line {
                [b'\n', rest @ ..] => {
                    ends += 1;
                    line = rest;
                }
                [b'\r', rest @ ..] => {
                    ends += u64::from(rest.first() != Some(&b'\n'));
                    line = rest;
                }
                [first, ..] if Some(*first) == self.comment => {
                    let Some(end) = line.iter().position(|byte| *byte == b'\n') else { return (ends, &[]) };
                    line = line.get(end..).unwrap_or_default();
                }
                _ => return (ends, line),
            }
        }
    }

    fn refill(&mut self) -> Result<(), DecodeError> {
        self.is_quote_open = self.ends_in_quotes();
        let line = self.buffer.get(self.line_at..self.held).unwrap_or_default();
        if self.line_before.is_none() && !self.lead(line).1.is_empty() {
            self.line_before = Some(self.number());
        }
        let held = self.buffer.get(..self.held).unwrap_or_default();
        // A line that ends in CR alone, at the very end of the buffer, is counted once its LF is known to be missing.
        self.ends_before += line_ends(held);
        self.held = self.source.fill(&mut self.buffer)?;
        self.is_end = self.held == 0;
        (self.at, self.line_at) = (0, 0);
        Ok(())
    }

    /// Whether the line at hand opens a quote, and has an odd number of them so far.
    fn ends_in_quotes(&self) -> bool {
        let Some(quote) = self.quote else { return false };
        let line = self.buffer.get(self.line_at..self.held).unwrap_or_default();
        let line = if self.line_before.is_none() { self.lead(line).1 } else { line };
        let is_odd = line.iter().filter(|byte| **byte == quote).count() % 2 == 1;
        if self.is_quote_open {
            return !is_odd;
        }
        // A quote within a field that does not begin with one is a letter.
        let opens = line.first() == Some(&quote)
            || line.windows(2).any(|pair| matches!(pair, [before, at] if *before == self.delimiter && *at == quote));
        is_odd && opens
    }
}

fn line_ends(bytes: &[u8]) -> u64 {
    let feeds = bytes.iter().filter(|byte| **byte == b'\n').count();
    // Lines that end in CR alone.
    let returns = if bytes.contains(&b'\r') {
        bytes.windows(2).filter(|pair| matches!(pair, [b'\r', next] if *next != b'\n')).count()
    } else {
        0
    };
    (feeds + returns) as u64
}
