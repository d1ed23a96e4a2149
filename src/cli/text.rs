//! Figures for people, and standard error shared with the progress bar.

use std::io;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

use crate::npy::shape_literal;
pub use crate::quantity::{bytes, count, number_of};

/// The progress bar that is on the terminal, if one is.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

pub fn set_bar(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Writes log lines above the progress bar, if there is one.
pub struct LogWriter;

pub fn log_writer() -> LogWriter {
    LogWriter
}

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner);
        match &*bar {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The shape of an array, and its dtype: `(1020, 224, 224, 3) |u1`.
pub fn array(shape: &[u64], dtype: &str) -> String {
    format!("{} {dtype}", shape_literal(shape))
}

/// A name from the disk, safe to show: control characters escaped, bytes that are no text replaced.
pub fn path(path: &std::path::Path) -> String {
    one_line(&path.to_string_lossy())
}

/// A path as a shell takes it for one word, safe to show.
pub fn shell_word(path: &std::path::Path) -> String {
    let shown = self::path(path);
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if !shown.is_empty() && shown.chars().all(is_plain) { shown } else { format!("'{}'", shown.replace('\'', "'\\''")) }
}

/// A text that may hold names from the disk and is to stay in its line, safe to show.
pub fn one_line(text: &str) -> String {
    escape(text, is_unsafe)
}

/// Lines as one.
pub fn joined(lines: &str) -> String {
    lines.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Lines that may hold names and texts from files, safe to show.
pub fn lines(text: &str) -> String {
    escape(text, |c| is_unsafe(c) && c != '\n')
}

/// Characters that move the cursor, change colours, end a line, or turn what follows around.
fn is_unsafe(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

fn escape(text: &str, is_unsafe: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_write_on_the_terminal() {
        assert_eq!(path(std::path::Path::new("a\nb\u{1b}[31m")), "a\\nb\\u{1b}[31m");
        assert_eq!(one_line("a\nb\u{9b}"), "a\\nb\\u{9b}");
        // The bug: what follows was shown from right to left.
        assert_eq!(one_line("é\u{202e}gpj.exe\u{2066}"), "é\\u{202e}gpj.exe\\u{2066}");
        assert_eq!(lines("a\nb\u{1b}[31m"), "a\nb\\u{1b}[31m");
    }

    #[test]
    fn a_name_in_a_command_is_one_word() {
        let word = |name: &str| shell_word(std::path::Path::new(name));
        assert_eq!([word("demo/a-1.toml"), word("my files/it's")], ["demo/a-1.toml", "'my files/it'\\''s'"]);
    }
}
