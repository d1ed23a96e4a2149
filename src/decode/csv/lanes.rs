//! Whole lines in lanes: a part of a text from each of several places in it, at once.

use memchr::memchr_iter;
use npy_ingest_kernels::lanes::{LANES, Marks, fill, is_able};

use super::plain::Fields;
use super::text::Texts;
use crate::config::CsvOptions;

/// Lines of one lane that are worth it.
const LINES_MIN: usize = 16;

impl Texts {
    /// Takes lines of `text`, of which so many bytes are whole lines, if all that it would take are plain: [`Texts::take_plain`]
    /// says what those are. How many it took, and where they end, behind an LF.
    pub(super) fn take_lanes(
        &self,
        (text, whole): (&[u8], usize),
        (options, fields): (&CsvOptions, &Fields),
        rows: &mut Vec<u8>,
    ) -> Option<(usize, usize)> {
        if !is_able() {
            return None;
        }
        let (starts, count) = lanes(text.get(..whole)?)?;
        if count < LINES_MIN {
            return None;
        }
        let room = LANES * count * self.row_bytes();
        if rows.len() < room {
            rows.resize(room, 0);
        }
        let is_crlf = starts.get(1).and_then(|start| text.get(..*start)).is_some_and(|lane| lane.ends_with(b"\r\n"));
        let marks = Marks { delimiter: self.delimiter, quote: options.quote, comment: options.comment, is_crlf };
        let mut other = |number: usize, text: &[u8], row: &mut [u8]| self.take_text(text, fields, number, row);
        let end = fill(text, starts, count, (&fields.fields, &marks), (rows, self.row_bytes()), &mut other)?;
        Some((LANES * count, end))
    }
}

/// Where lanes with the same number of lines begin, one after the other, and how many lines each has.
fn lanes(text: &[u8]) -> Option<([usize; LANES], usize)> {
    // Guesses, as if all lines had the same length, and the line ends before them.
    let (mut guesses, mut lines, mut before) = ([(0, 0); LANES], 0, 0);
    for (lane, guess) in guesses.iter_mut().enumerate() {
        let at = text.len() * lane / LANES;
        lines += line_feeds(text.get(before..at)?);
        *guess = (at, lines);
        before = at;
    }
    lines += line_feeds(text.get(before..)?);
    let count = lines / LANES;
    let mut starts = [0; LANES];
    for (lane, (start, (at, lines))) in starts.iter_mut().zip(guesses).enumerate().skip(1) {
        let wanted = lane * count;
        let line_feed = match wanted.checked_sub(lines + 1) {
            Some(further) => at + memchr_iter(b'\n', text.get(at..)?).nth(further)?,
            None => memchr_iter(b'\n', text.get(..at)?).rev().nth(lines - wanted)?,
        };
        *start = line_feed + 1;
    }
    Some((starts, count))
}

fn line_feeds(text: &[u8]) -> usize {
    memchr_iter(b'\n', text).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_have_the_same_number_of_lines() {
        let mut numbers = fastrand::Rng::with_seed(5);
        for _ in 0..300 {
            let text: String = (0..numbers.usize(..80)).map(|_| "x".repeat(numbers.usize(..9)) + "\n").collect();
            let Some((starts, count)) = lanes(text.as_bytes()) else {
                assert!(text.lines().count() < LANES, "{text:?}");
                continue;
            };
            assert_eq!(count, text.lines().count() / LANES);
            for (lane, start) in starts.into_iter().enumerate() {
                assert_eq!(text[..start].lines().count(), lane * count, "{text:?}");
                assert!(start == 0 || text[..start].ends_with('\n'));
            }
        }
    }
}
