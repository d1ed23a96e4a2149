//! `npy-ingest preview FILE.npy [--rows A:B] -o sheet.png`: what is in an array, on one picture.

use std::ops::Range;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};

use super::failure::Failure;
use super::{DONE, print, text};
use crate::picture::{Curves, RowFile, RowFileError, picture, sheet};

/// Rows on one sheet.
const ROWS_MAX: u64 = 1024;
/// Without `--rows`: the first so many. Curves are drawn over all rows.
const ROWS_DEFAULT: u64 = 64;
/// Pixels of one row's picture; less where many are on the sheet.
const SIDE: u32 = 256;
const SIDE_OF_MANY: u32 = 96;
const MANY: u64 = 100;

pub fn run(file: &Path, rows: Option<&str>, output: &PathBuf) -> Result<u8, Failure> {
    let format = ImageFormat::from_path(output)
        .ok()
        .filter(|format| *format == ImageFormat::Png)
        .ok_or_else(|| Failure::wrong_config(format!("{}: expected a name that ends with .png", text::path(output))))?;
    let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string());
    let (all, wanted, pictures, told) = match Curves::open(file).map_err(|error| failed(&error))? {
        Some(curves) => {
            let wanted = wanted(file, rows, curves.count(), curves.count())?;
            let pictures = curves.draw(wanted.clone()).map_err(|error| failed(&error))?;
            (curves.count(), wanted, pictures, names(&curves))
        }
        None => {
            let array = RowFile::open(file).map_err(|error| failed(&error))?;
            let wanted = wanted(file, rows, array.rows, ROWS_DEFAULT)?;
            let pictures = pictures(&array, wanted.clone())?;
            (array.rows, wanted, pictures, String::new())
        }
    };
    let drawn = sheet(&pictures);
    save(&drawn, output, format)?;
    print(&format!(
        "{}: rows {} to {} of {}{told}, {} x {} pixels\n",
        text::path(output),
        wanted.start,
        wanted.end - 1,
        text::count(all),
        drawn.width(),
        drawn.height()
    ))?;
    Ok(DONE)
}

/// The rows that were asked for; the first `default` unless some were.
fn wanted(file: &Path, words: Option<&str>, rows: u64, default: u64) -> Result<Range<u64>, Failure> {
    let wanted = match words {
        Some(words) => range(words, rows).map_err(Failure::wrong_config)?,
        None => 0..rows.min(default),
    };
    if wanted.is_empty() {
        let rows = text::number_of(rows, "row", "rows");
        return Err(Failure::failed(format!("{}: no rows to show: the array has {rows}", text::path(file))));
    }
    Ok(wanted)
}

/// A picture of each row.
fn pictures(array: &RowFile, wanted: Range<u64>) -> Result<Vec<RgbImage>, Failure> {
    let count = wanted.end - wanted.start;
    if count > ROWS_MAX {
        let found = text::count(count);
        return Err(Failure::wrong_config(format!("{found} rows, expected at most {ROWS_MAX} on one sheet")));
    }
    let side = if count > MANY { SIDE_OF_MANY } else { SIDE };
    let draw = |row| Ok(picture(&array.dtype, array.look, &array.row(row)?, side));
    wanted.map(draw).collect::<Result<_, RowFileError>>().map_err(|error| Failure::failed(error.to_string()))
}

/// What the curves are: there is no lettering on the picture.
fn names(curves: &Curves) -> String {
    let names = curves.names();
    if names == [""] {
        return String::new();
    }
    let names: Vec<String> = names.into_iter().map(text::one_line).collect();
    let others = match curves.not_drawn {
        0 => String::new(),
        count => format!(" (without {})", text::number_of(count as u64, "other field", "other fields")),
    };
    format!(", in reading order {}{others}", names.join(", "))
}

fn save(drawn: &RgbImage, output: &Path, format: ImageFormat) -> Result<(), Failure> {
    drawn
        .save_with_format(output, format)
        .map_err(|error| Failure::failed(format!("writing {}: {error}", text::path(output))))
}

/// `A:B`, `A:`, `:B`, as Python counts: negative numbers from the end, and what lies beyond is left out. `A` is one row.
fn range(words: &str, rows: u64) -> Result<Range<u64>, String> {
    let number = |word: &str, default: u64| -> Result<u64, String> {
        let word = word.trim();
        if word.is_empty() {
            return Ok(default);
        }
        let value: i64 = word
            .parse()
            .map_err(|_| format!("--rows {words}: found {word:?}, expected row numbers such as 0:64, -16: or 7"))?;
        Ok(if value < 0 { rows.saturating_sub(value.unsigned_abs()) } else { value.unsigned_abs().min(rows) })
    };
    match words.split_once(':') {
        Some((from, to)) => Ok(number(from, 0)?..number(to, rows)?),
        None => {
            let row = number(words, 0)?;
            let from_end = words.trim().strip_prefix('-').and_then(|word| word.parse::<u64>().ok());
            if from_end.is_some_and(|back| back > rows) {
                return Err(format!("--rows {words}: the array has {}", text::number_of(rows, "row", "rows")));
            }
            Ok(row..(row + 1).min(rows))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_as_python_counts() {
        let of_ten = |words| range(words, 10).unwrap();
        assert_eq!(
            [of_ten("2:4"), of_ten("7:"), of_ten(":3"), of_ten("-2:"), of_ten("4")],
            [2..4, 7..10, 0..3, 8..10, 4..5]
        );
        assert_eq!([of_ten("8:99"), of_ten(":"), of_ten("12:")], [8..10, 0..10, 10..10]);
        // The bug: this was the first row.
        assert_eq!(range("-20", 10).unwrap_err(), "--rows -20: the array has 10 rows");
        assert_eq!((of_ten("-10"), of_ten("-20:")), (0..1, 0..10));
        assert!(range("a:b", 10).unwrap_err().contains("found \"a\""));
    }
}
