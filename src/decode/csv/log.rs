//! CSV files that are still being written: a part of one, and where its records end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::lines::{BUFFER_BYTES, Block, LINE_BYTES_MAX, Line, Lines, MARK, Quoting};
use super::table::Table;
use super::{CsvDecoder, rejected, wanted};
use crate::config::ColumnFrom;
use crate::decode::packed::not_text;
use crate::decode::{About, DecodeError, LogDecoder, RowSink, SourceReader, Taken};
use crate::source::bytes_at;

/// So many bytes of comments and empty lines behind the last record are passed over again by the next part; more are taken with
/// this one.
const PASSED_BYTES_MAX: u64 = 1 << 20;

impl LogDecoder for CsvDecoder {
    /// The names of the columns are read anew for each part, or how many fields the first line has.
    fn follow(
        &self,
        reader: &mut SourceReader<'_>,
        begin: Option<u64>,
        _: About<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<Taken, DecodeError> {
        if begin.is_none()
            && let Some(reason) = not_text(&reader.first_bytes()?)
        {
            return Taken::stopped_at(0, 0, Some(rejected(reason)));
        }
        reader.go_to(0);
        let mut lines = Lines::new(reader, &self.options, true);
        let (places, mut width) = match self.places(&mut lines) {
            Ok(Some(found)) => found,
            // The line with the names is not complete.
            Ok(None) => return Taken::stopped_at(0, begin.unwrap_or(0), None),
            Err(error) => return Taken::stopped_at(0, begin.unwrap_or(0), Some(error)),
        };
        let header_end = lines.end();
        // Before the header's end: what stands there is a row (`header_reads_as_row`).
        let first = begin.map_or(header_end, |begin| begin.min(header_end));
        if let Some(begin) = begin.filter(|begin| *begin != header_end) {
            if self.options.others && width.is_none() {
                // As the first part had it: a first line that is too short is bad.
                width = lines.next()?.map(|line| line.len().max(wanted(&places)));
            }
            reader.go_to(begin);
            lines = Lines::new(reader, &self.options, true);
        }
        lines.are_numbered = false;
        let (end, bad) = self.take_lines(&mut lines, places, width, sink)?;
        let rest = lines.unfinished_at().max(end);
        let end = if bad.is_none() && rest - end > PASSED_BYTES_MAX { rest } else { end };
        Ok(Taken { rest, ..Taken::stopped_at(first, end, bad)? })
    }

    fn boundary(&self, file: &File, first: u64, at: u64) -> io::Result<u64> {
        // A line end may stand in quotes, which shows only from the front; and so do comments, which are no records.
        let is_near = at.saturating_sub(first) <= LINE_BYTES_MAX as u64;
        if self.options.quote.is_some() || self.options.comment.is_some() && is_near {
            return self.last_end(file, first, at);
        }
        let from = at.saturating_sub(LINE_BYTES_MAX as u64).max(first);
        let mut bytes = vec![0; usize::try_from(at.saturating_sub(from)).unwrap_or(0)];
        file.read_exact_at(&mut bytes, from)?;
        let end = bytes.iter().rposition(|byte| matches!(byte, b'\n' | b'\r'));
        Ok(end.map_or(from, |end| from + end as u64 + 1))
    }

    fn header_reads_as_row(&self, file: &File) -> io::Result<bool> {
        let place = |from: &ColumnFrom| match from {
            ColumnFrom::Place(place) => Some(*place),
            ColumnFrom::Name(_) => None,
        };
        let places: Option<Vec<_>> = self.options.columns.iter().map(|column| place(&column.from)).collect();
        let Some(places) = places.filter(|_| self.options.header) else { return Ok(false) };
        let mut lines = self.first_lines(file)?;
        let mut table = Table::new(self.options.clone(), self.texts.clone(), places, None);
        let mut row = vec![0; self.texts.row_bytes()];
        // What is wrong with it is told when it is taken.
        Ok(lines.next().is_ok_and(|line| line.is_some_and(|line| table.take_apart(&line, &mut row).is_ok())))
    }

    fn have_same_header(&self, file: &File, other: &File) -> io::Result<bool> {
        let names = |file: &File| {
            let mut lines = self.first_lines(file)?;
            let names = |line: Line<'_>| line.fields().map(|name| name.trim_ascii().to_vec()).collect::<Vec<_>>();
            // What is wrong with it is told when it is taken.
            io::Result::Ok(lines.next().ok().flatten().map(names))
        };
        Ok(names(file)? == names(other)?)
    }
}

impl CsvDecoder {
    /// The complete lines at the file's beginning.
    fn first_lines(&self, file: &File) -> io::Result<Lines<'static, 'static>> {
        let mut buffer = bytes_at(file, 0..BUFFER_BYTES as u64)?;
        let complete = buffer.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |end| end + 1);
        buffer.truncate(complete);
        let block = Block { held: 0..complete, buffer, begin: 0, ends_before: 0 };
        Ok(Lines::of_block(block, &self.options))
    }

    /// Where the last complete record before `at` ends, in a file in which one begins at `first`; or `first`.
    fn last_end(&self, file: &File, first: u64, at: u64) -> io::Result<u64> {
        let options = &self.options;
        let (mut position, mut end) = (first, first);
        let (mut quoting, mut is_start, mut is_comment) = (Quoting::FieldStart, true, false);
        while position < at {
            let block = bytes_at(file, position..at.min(position + BUFFER_BYTES as u64))?;
            if block.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mark = if position == 0 && block.starts_with(MARK) { MARK.len() } else { 0 };
            for (place, byte) in block.iter().enumerate().skip(mark) {
                match byte {
                    b'\n' | b'\r' if quoting != Quoting::Open => {
                        // Neither comments nor empty lines are records.
                        if !is_start && !is_comment {
                            end = position + place as u64 + 1;
                        }
                        (quoting, is_start, is_comment) = (Quoting::FieldStart, true, false);
                    }
                    byte => {
                        is_comment |= is_start && Some(*byte) == options.comment;
                        if !is_comment {
                            quoting = quoting.behind(*byte, options.delimiter, options.quote);
                        }
                        is_start = false;
                    }
                }
            }
            position += block.len() as u64;
            crate::decode::step();
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn decoder(quote: Option<u8>) -> CsvDecoder {
        let text = "[[dataset]]\nname = \"d\"\noutput = \"d.npy\"\ndtype = [[\"s\", \"S9\"], [\"n\", \"<i4\"]]\n\
                    [dataset.watch]\nfolders = [\"drop\"]\n[dataset.csv]\nheader = false\nfollow = true\n";
        let config = crate::config::parse(text, std::path::Path::new("/nowhere/c.toml")).unwrap();
        let crate::config::DecoderOptions::Csv(csv) = &config.datasets[0].decoder else { panic!("a csv dataset") };
        let mut csv = csv.clone();
        (csv.quote, csv.comment) = (quote, Some(b'#'));
        CsvDecoder::new(&csv, config.datasets[0].row.row_bytes())
    }

    #[test]
    fn a_line_end_in_quotes_is_no_boundary() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"\"x\ny\",1\n\"p\nq\",2\n\"r\"\"\n\",3\r\n4").unwrap();
        let quoted = decoder(Some(b'"'));
        for (at, expected) in [(0, 0), (7, 0), (8, 8), (12, 8), (15, 8), (16, 16), (22, 16), (25, 25), (27, 25)] {
            assert_eq!(quoted.boundary(&file, 0, at).unwrap(), expected, "{at}");
            assert_eq!(quoted.boundary(&file, 8, at.max(8)).unwrap(), expected.max(8), "{at}");
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"\xEF\xBB\xBF\"a\n\",1\n# it's, \"\nb,2\n\nc").unwrap();
        for (at, expected) in [(8, 0), (11, 10), (21, 10), (24, 24), (26, 24)] {
            assert_eq!(quoted.boundary(&file, 0, at).unwrap(), expected, "{at}");
        }
        assert!(quoted.boundary(&file, 0, 1000).is_err(), "the file is shorter");
        assert_eq!(decoder(None).boundary(&file, 0, 9).unwrap(), 6);
    }

    #[test]
    fn comments_are_no_records_before_a_boundary() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"# v\n1,2\n# w\n").unwrap();
        for quote in [None, Some(b'"')] {
            for (at, expected) in [(4, 0), (7, 0), (8, 8), (12, 8)] {
                assert_eq!(decoder(quote).boundary(&file, 0, at).unwrap(), expected, "{at}");
            }
        }
    }
}
