//! What is wrong with a config, told the way a compiler tells it.
//!
//! A [`Fault`] names the place (file, line, column, key), what was found there and what would be right. [`Faults`] is
//! all that was wrong with one file; nobody should have to start the service five times to learn of five mistakes.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The longest excerpt of a line that a fault shows, in characters. A whole config on one line, or a binary file that
/// was given by mistake, must not flood the terminal.
const EXCERPT_CHARS_MAX: usize = 120;
/// How much of a too long line is shown before the marked part, in characters.
const EXCERPT_LEAD_CHARS: usize = 30;

/// More faults than this help nobody, and each takes a look at its line.
pub(super) const FAULTS_MAX: usize = 200;

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file as it was named by the user.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters (not bytes), from 1.
    pub column: usize,
    /// The key with the tables around it, such as `dataset.image.fit`. Empty for a fault of the TOML syntax.
    pub key: String,
    /// What was found, and what was expected instead.
    pub message: String,
    /// What to do about it, where that is more than the message says: "did you mean ...?", "remove the line".
    pub help: Option<String>,
    /// The line itself, made safe for a terminal, shortened when it is very long.
    excerpt: String,
    /// Which characters of the excerpt are meant.
    mark: Range<usize>,
}

impl Fault {
    /// A fault at the bytes `span` of the config.
    pub(super) fn new(
        file: &Path,
        lines: &Lines<'_>,
        span: Range<usize>,
        key: &str,
        message: &str,
        help: Option<&str>,
    ) -> Self {
        let place = lines.place(span);
        let (excerpt, mark) = excerpt(place.line_text, place.column - 1, place.marked_chars);
        Self {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            key: safe(key),
            message: safe(message),
            help: help.map(safe),
            excerpt,
            mark,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}: ", self.file.display(), self.line, self.column)?;
        if !self.key.is_empty() {
            write!(out, "`{}`: ", self.key)?;
        }
        write!(out, "{}", self.message)?;
        if let Some(help) = &self.help {
            write!(out, "; {help}")?;
        }
        let number = format!("{:>5}", self.line);
        write!(out, "\n{number} | {}\n{:width$} | ", self.excerpt, "", width = number.len())?;
        for _ in 0..self.mark.start {
            write!(out, " ")?;
        }
        for _ in self.mark.clone() {
            write!(out, "^")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with one config, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    file: PathBuf,
    list: Vec<Fault>,
}

impl Faults {
    pub(super) fn new(file: &Path, mut list: Vec<Fault>) -> Self {
        debug_assert!(!list.is_empty(), "a config without a fault was refused");
        // Stable: two faults of one place stay in the order in which they were found.
        list.sort_by_key(|fault| (fault.line, fault.column));
        Self { file: file.to_owned(), list }
    }

    /// The faults in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.list.iter()
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.list.len()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.list {
            writeln!(out, "{fault}")?;
        }
        let plural = if self.list.len() == 1 { "" } else { "s" };
        let more = if self.list.len() >= FAULTS_MAX { ", and perhaps more" } else { "" };
        write!(out, "{}: {} fault{plural}{more}", self.file.display(), self.list.len())
    }
}

/// The text of a config, with the places of its lines.
pub(super) struct Lines<'a> {
    text: &'a str,
    /// The byte at which each line begins. A byte order mark is no part of the first: editors do not count it.
    starts: Vec<usize>,
}

/// Where a range of bytes lies, for people.
struct Place<'a> {
    line: usize,
    column: usize,
    /// The line without its end.
    line_text: &'a str,
    /// How much of the range lies on this line, in characters, at least 1.
    marked_chars: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut starts = vec![first];
        starts.extend(text.match_indices('\n').map(|(newline, _)| newline + 1));
        Self { text, starts }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The line, from 1, that a byte is in.
    pub(super) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).max(1)
    }

    /// The bytes of the line that a byte is in, without its end.
    pub(super) fn line_span(&self, at: usize) -> Range<usize> {
        let start = self.starts.get(self.line(at) - 1).copied().unwrap_or_default();
        let line = self.text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        start..start + line.len()
    }

    fn place(&self, span: Range<usize>) -> Place<'a> {
        let start = floor_char_boundary(self.text, span.start);
        let line_span = self.line_span(start);
        let start = start.max(line_span.start);
        let end = floor_char_boundary(self.text, span.end.min(line_span.end)).max(start);
        let chars = |range: Range<usize>| self.text.get(range).unwrap_or_default().chars().count();
        Place {
            line: self.line(start),
            column: chars(line_span.start..start) + 1,
            line_text: self.text.get(line_span).unwrap_or_default(),
            marked_chars: chars(start..end).max(1),
        }
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One line of text for a terminal, with as many characters: a tab would shift the marks below it, and control
/// characters could do anything.
fn safe(text: &str) -> String {
    let safe = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(safe).collect()
}

/// The part of a line that is worth showing, and where in it the marked characters are.
fn excerpt(line: &str, marked_from: usize, marked_chars: usize) -> (String, Range<usize>) {
    let chars = line.chars().count();
    // A carriage return at the end is not shown, and what is meant may be behind it.
    let marked_from = marked_from.min(chars);
    if chars <= EXCERPT_CHARS_MAX {
        return (safe(line), marked_from..(marked_from + marked_chars).min(chars + 1).max(marked_from + 1));
    }
    let from = marked_from.saturating_sub(EXCERPT_LEAD_CHARS).min(chars - EXCERPT_CHARS_MAX);
    let lead = if from > 0 { "..." } else { "" };
    let tail = if from + EXCERPT_CHARS_MAX < chars { "..." } else { "" };
    let shown: String = safe(line).chars().skip(from).take(EXCERPT_CHARS_MAX).collect();
    let mark_start = marked_from - from + lead.len();
    // The mark may end one past the line: that is how "something is missing here" looks.
    let mark_end = (mark_start + marked_chars).min(lead.len() + EXCERPT_CHARS_MAX).max(mark_start + 1);
    (format!("{lead}{shown}{tail}"), mark_start..mark_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        Fault::new(Path::new("f.toml"), &Lines::new(text), span, "", "wrong", None).to_string()
    }

    #[test]
    fn columns_count_characters_and_marks_stand_under_them() {
        let text = "a = 1\nkey = 'äöü' x\n";
        let at = text.find('x').unwrap();
        assert_eq!(shown(text, at..at + 1), "f.toml:2:13: wrong\n    2 | key = 'äöü' x\n      |             ^");
    }

    #[test]
    fn carriage_returns_tabs_and_escapes_do_not_reach_the_terminal() {
        let text = "a = 1\r\n\tb = '\u{1b}[31m'\r\n";
        assert_eq!(shown(text, 8..9), "f.toml:2:2: wrong\n    2 |  b = '\u{fffd}[31m'\n      |  ^");
    }

    #[test]
    fn a_span_over_several_lines_marks_the_first_only() {
        assert_eq!(shown("a = [1,\n2]\n", 4..10), "f.toml:1:5: wrong\n    1 | a = [1,\n      |     ^^^");
    }

    #[test]
    fn the_end_of_the_file_and_spans_outside_of_it_are_places_too() {
        assert_eq!(shown("", 0..0), "f.toml:1:1: wrong\n    1 | \n      | ^");
        assert_eq!(shown("ab", 2..2), "f.toml:1:3: wrong\n    1 | ab\n      |   ^");
        assert_eq!(shown("ä", 1..99), "f.toml:1:1: wrong\n    1 | ä\n      | ^");
    }

    #[test]
    fn a_byte_order_mark_takes_no_column() {
        assert_eq!(shown("\u{feff}ab", 3..4), "f.toml:1:1: wrong\n    1 | ab\n      | ^");
    }

    #[test]
    fn keys_and_messages_do_not_reach_the_terminal_raw_either() {
        let lines = Lines::new("x");
        let fault = Fault::new(Path::new("f"), &lines, 0..1, "a.\u{1b}", "two\nlines", Some("\u{7}"));
        assert!(fault.to_string().starts_with("f:1:1: `a.\u{fffd}`: two\u{fffd}lines; \u{fffd}\n"));
    }

    #[test]
    fn a_very_long_line_is_shortened_around_the_mark() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let message = shown(&text, 500..501);
        let (excerpt, marks) =
            message.lines().skip(1).fold((None, None), |(first, _), line| (first.or(Some(line)), Some(line)));
        let column = marks.unwrap().find('^').unwrap();
        assert_eq!(excerpt.unwrap().chars().nth(column), Some('X'));
        assert!(excerpt.unwrap().len() < 150);
    }
}
