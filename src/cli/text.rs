//! Figures for people, and standard error shared with the progress bar.

use std::io;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

use crate::config::RowFormat;

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

/// `1234567` as `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 source`, `2 sources`.
pub fn number_of(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// Bytes with a binary unit.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value < 1024 {
        return number_of(value, "byte", "bytes");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = "KiB";
    for next in UNITS.iter().skip(1) {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    format!("{scaled:.1} {unit}")
}

/// The shape of an array of so many rows, and its dtype, as NumPy shows them: `(1020, 224, 224, 3) uint8`.
pub fn array(rows: u64, row: &RowFormat) -> String {
    let dimensions: Vec<String> = row.shape.iter().map(usize::to_string).collect();
    let shape = match dimensions.is_empty() {
        true => format!("({rows},)"),
        false => format!("({rows}, {})", dimensions.join(", ")),
    };
    format!("{shape} {}", row.dtype.descr())
}

/// A name from the disk, safe to show: control characters escaped, bytes that are no text replaced.
pub fn path(path: &std::path::Path) -> String {
    let text = path.to_string_lossy();
    if !text.chars().any(char::is_control) {
        return text.into_owned();
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
        assert_eq!(path(std::path::Path::new("a\nb\u{1b}[31m")), "a\\nb\\u{1b}[31m");
    }
}
