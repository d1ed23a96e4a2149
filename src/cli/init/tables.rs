//! Tables: the dtype is guessed by the first lines of the first file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::{Advice, toml_string};
use crate::cli::text;

pub(super) const EXTENSIONS: &[&str] = &["csv", "tsv"];

/// Bytes of the file that are looked at.
const LOOKED_AT_BYTES: u64 = 256 << 10;
/// Characters of a text column, at least.
const TEXT_CHARS_MIN: usize = 8;

/// So many of a column's fields make its dtype; a few that are none are bad lines of the file.
const NEARLY_ALL_PERCENT: usize = 90;
/// Characters of a field that are shown.
const SHOWN_CHARS_MAX: usize = 32;

/// What the values of a column may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Integer,
    Real,
    Time,
    Text,
}

/// A field of a line, where it is told of.
struct Cell {
    line: usize,
    text: String,
}

#[derive(Default)]
struct Column {
    name: Option<String>,
    chars: usize,
    empty: usize,
    /// Fields of each [`Type`], and of texts those that are numbers with a decimal comma.
    integers: usize,
    reals: usize,
    times: usize,
    texts: usize,
    commas: usize,
    /// The first one that is no number, and the first one that is no time.
    no_number: Option<Cell>,
    no_time: Option<Cell>,
}

struct Table {
    delimiter: u8,
    has_header: bool,
    columns: Vec<Column>,
    lines: usize,
}

pub(super) fn advise(files: &[PathBuf]) -> Result<Advice, String> {
    let Some(path) = files.first() else { return Err("there is no table".to_owned()) };
    let shown = text::path(path);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOKED_AT_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| format!("{shown}: {error}"))?;
    let table = look(&bytes, bytes.len() as u64 == LOOKED_AT_BYTES)
        .ok_or_else(|| format!("{shown}: found no lines of values, expected a table (CSV or TSV)"))?;
    Ok(table.advice(path))
}

/// What the first lines show. `is_cut`: the last one may not be whole.
fn look(bytes: &[u8], is_cut: bool) -> Option<Table> {
    let first = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).find(|line| !line.is_empty())?;
    let count = |delimiter: u8| first.iter().filter(|byte| **byte == delimiter).count();
    // Of equally many the last: a comma is in numbers, too. A file of one column has none.
    let candidates = [b',', b'\t', b';'].into_iter().filter(|delimiter| count(*delimiter) > 0);
    let delimiter = candidates.max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',');
    let mut lines = records(bytes, delimiter);
    if is_cut && lines.len() > 1 {
        lines.pop();
    }
    let ((_, first), rest) = lines.split_first()?;
    let is_name = |field: &String| Type::of(field) == Some(Type::Text);
    let has_header = first.iter().all(is_name);
    let values = if has_header { rest } else { &lines };
    let mut columns: Vec<Column> = first
        .iter()
        .map(|name| Column { name: has_header.then(|| name.trim().to_owned()), ..Column::default() })
        .collect();
    for (line, fields) in values {
        for (column, field) in columns.iter_mut().zip(fields) {
            column.add(*line, field);
        }
    }
    Some(Table { delimiter, has_header, columns, lines: values.len() })
}

/// All lines, taken apart, each with its number from 1.
fn records(mut bytes: &[u8], delimiter: u8) -> Vec<(usize, Vec<String>)> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).build();
    let mut lines = Vec::new();
    // No line and no field is longer than all of it.
    let (mut text, mut ends) = (vec![0; bytes.len()], vec![0; bytes.len() + 1]);
    let (mut written, mut fields) = (0, 0);
    let ends_in = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    let mut number = 1;
    loop {
        if (written, fields) == (0, 0) {
            // The reader passes over empty lines.
            let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let (passed, rest) = bytes.split_at(empty);
            number += ends_in(passed);
            bytes = rest;
        }
        let (result, read, more, ended) = reader.read_record(
            bytes,
            text.get_mut(written..).unwrap_or_default(),
            ends.get_mut(fields..).unwrap_or_default(),
        );
        let (taken, rest) = bytes.split_at(read.min(bytes.len()));
        let first = number;
        number += ends_in(taken);
        bytes = rest;
        written += more;
        fields += ended;
        match result {
            ReadRecordResult::Record => {
                let mut start = 0;
                let line = ends.get(..fields).unwrap_or_default().iter().map(|end| {
                    let field = text.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default();
                    String::from_utf8_lossy(field).into_owned()
                });
                lines.push((first, line.collect()));
                (written, fields) = (0, 0);
            }
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::End | ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => return lines,
        }
    }
}

impl Type {
    /// The narrowest one that takes a field; `None` for an empty field.
    fn of(field: &str) -> Option<Self> {
        match field.trim() {
            "" => None,
            field if field.parse::<i64>().is_ok() => Some(Self::Integer),
            field if field.parse::<f64>().is_ok() => Some(Self::Real),
            field if field.parse::<jiff::Timestamp>().is_ok() || field.parse::<jiff::civil::DateTime>().is_ok() => {
                Some(Self::Time)
            }
            _ => Some(Self::Text),
        }
    }
}

impl Column {
    fn add(&mut self, line: usize, field: &str) {
        self.chars = self.chars.max(field.chars().count());
        let found = Type::of(field);
        match found {
            None => self.empty += 1,
            Some(Type::Integer) => self.integers += 1,
            Some(Type::Real) => self.reals += 1,
            Some(Type::Time) => self.times += 1,
            Some(Type::Text) => {
                self.texts += 1;
                self.commas += usize::from(field.trim().replacen(',', ".", 1).parse::<f64>().is_ok());
            }
        }
        let cell = || Cell { line, text: field.to_owned() };
        if matches!(found, Some(Type::Time | Type::Text)) {
            self.no_number.get_or_insert_with(cell);
        }
        if matches!(found, Some(Type::Integer | Type::Real | Type::Text)) {
            self.no_time.get_or_insert_with(cell);
        }
    }

    fn numbers(&self) -> usize {
        self.integers + self.reals
    }

    fn filled(&self) -> usize {
        self.numbers() + self.times + self.texts
    }

    /// What nearly all of it is.
    fn kind(&self) -> Type {
        let is_nearly_all = |count: usize| count * 100 >= self.filled() * NEARLY_ALL_PERCENT;
        // A missing number is NaN, which integers do not have.
        match (self.reals, self.empty) {
            _ if self.filled() == 0 => Type::Real,
            (0, 0) if is_nearly_all(self.integers) => Type::Integer,
            _ if is_nearly_all(self.numbers()) => Type::Real,
            _ if is_nearly_all(self.times) => Type::Time,
            _ => Type::Text,
        }
    }

    fn dtype(&self) -> String {
        match self.kind() {
            Type::Integer => "<i8".to_owned(),
            Type::Real => "<f8".to_owned(),
            Type::Time => "<M8[ns]".to_owned(),
            Type::Text => format!("<U{}", self.chars.next_power_of_two().max(TEXT_CHARS_MIN)),
        }
    }

    /// The first field that the dtype does not take.
    fn first_bad(&self) -> Option<&Cell> {
        match self.kind() {
            Type::Integer | Type::Real => self.no_number.as_ref(),
            Type::Time => self.no_time.as_ref(),
            Type::Text => None,
        }
    }

    /// What the reader of the config may not expect. `lines`: so many were looked at.
    fn comment(&self, lines: usize) -> Option<String> {
        let of_lines = |count: usize| format!("{count} of {}", text::number_of(lines as u64, "line", "lines"));
        let told = |cell: &Cell| {
            let shown: String = cell.text.chars().take(SHOWN_CHARS_MAX).collect();
            format!("line {}: {shown:?}", cell.line)
        };
        if let Some(cell) = self.first_bad() {
            let (good, what) =
                if self.kind() == Type::Time { (self.times, "time") } else { (self.numbers(), "number") };
            let bad = self.filled() - good;
            let have = if bad == 1 { "has" } else { "have" };
            return Some(format!("{} {have} no {what} here, first {}; see on_error", of_lines(bad), told(cell)));
        }
        let first = self.no_number.as_ref().filter(|_| self.kind() == Type::Text)?;
        if self.commas * 2 > self.filled() {
            let commas = of_lines(self.commas);
            return Some(format!("{commas} with a decimal comma, first {}; numbers need a decimal point", told(first)));
        }
        let found = of_lines(self.numbers());
        (self.numbers() > 0).then(|| format!("{found} with a number, the first text is {}", told(first)))
    }
}

impl Table {
    fn advice(&self, path: &Path) -> Advice {
        let names: Vec<String> = self.columns.iter().enumerate().map(|(place, column)| column.field(place)).collect();
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        // Names of a dtype differ from each other. Where those of the file do not, columns go by their places.
        let by_place = !self.has_header || unique.len() < names.len() || self.columns.iter().any(Column::is_nameless);
        let fields: Vec<String> = names
            .iter()
            .zip(&self.columns)
            .enumerate()
            .map(|(place, (name, column))| {
                let name = if by_place { format!("column{place}") } else { name.clone() };
                let comment = column.comment(self.lines).map_or_else(String::new, |comment| format!("   # {comment}"));
                format!("    [{}, \"{}\"],{comment}\n", toml_string(&name), column.dtype())
            })
            .collect();
        let mut decoder = "[dataset.csv]\n".to_owned();
        if self.delimiter != b',' {
            decoder.push_str(&format!("delimiter = {}\n", toml_string(&char::from(self.delimiter).to_string())));
        }
        if !self.has_header {
            decoder.push_str("header = false\n");
        } else if by_place {
            let places: Vec<String> = (0..self.columns.len()).map(|place| place.to_string()).collect();
            decoder.push_str(&format!("columns = [{}]\n", places.join(", ")));
        }
        let rejects = self.columns.iter().any(|column| column.first_bad().is_some());
        decoder.push_str(&format!(
            "on_error = \"reject\"       # {}\"skip\" leaves bad lines out, counts them, and takes the rest\n\
             # follow = true           # for logs that are still being written\n",
            if rejects { "as it is, a file with such a line is rejected; " } else { "" }
        ));
        let name = path.file_name().unwrap_or_default().as_ref();
        Advice {
            found: format!(
                ", columns by {} of {}",
                text::number_of(self.lines as u64, "line", "lines"),
                text::path(name)
            ),
            row: format!("dtype  = [\n{}]", fields.concat()),
            decoder,
        }
    }
}

impl Column {
    /// Its name in the dtype.
    fn field(&self, place: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("column{place}"))
    }

    fn is_nameless(&self) -> bool {
        self.name.as_ref().is_none_or(String::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dtypes(text: &str) -> Vec<String> {
        look(text.as_bytes(), false).unwrap().columns.iter().map(Column::dtype).collect()
    }

    #[test]
    fn types_are_those_that_all_values_have() {
        assert_eq!(
            dtypes("a,b,c,d\n1,1.5,2024-05-01T12:00:00Z,x\n-2,1,2024-05-01 13:00:00,yy\n"),
            ["<i8", "<f8", "<M8[ns]", "<U8"]
        );
        assert_eq!(dtypes("a,b\n1,\n,2024-05-01T12:00:00Z\n"), ["<f8", "<M8[ns]"]);
        assert_eq!(dtypes("a,b\n1,2\n2024-05-01T12:00:00Z,\n"), ["<U32", "<f8"]);
        assert_eq!(dtypes("1;2,5\n3;4\n"), ["<i8", "<U8"]);
        assert_eq!(dtypes("x\n\"a, and more of it\"\n"), ["<U32"]);
    }

    fn comments(text: &str) -> Vec<Option<String>> {
        let table = look(text.as_bytes(), false).unwrap();
        table.columns.iter().map(|column| column.comment(table.lines)).collect()
    }

    /// The bug: one bad cell made a text of its column, and nobody was told.
    #[test]
    fn a_few_bad_cells_make_no_text_and_are_told() {
        let bad = |line: usize| if line == 20 { "hot" } else { "1.5" };
        let lines: String = (0..50).map(|line| format!("{},{line},x{line}\r\n", bad(line))).collect();
        let table = format!("temp,count,name\r\n\r\n{lines}");
        assert_eq!(dtypes(&table), ["<f8", "<i8", "<U8"]);
        let told = "1 of 50 lines has no number here, first line 23: \"hot\"; see on_error";
        assert_eq!(comments(&table), [Some(told.to_owned()), None, None]);
        let times: String = (10..30).map(|minute| format!("2024-05-01T12:{minute}:00Z\n")).collect();
        assert_eq!(dtypes(&format!("t\n{times}now\n")), ["<M8[ns]"]);
        assert_eq!(
            comments(&format!("t\n{times}now\n")),
            [Some("1 of 21 lines has no time here, first line 22: \"now\"; see on_error".to_owned())]
        );
    }

    #[test]
    fn a_text_that_has_numbers_is_told() {
        let told = |text: &str| comments(text).remove(0).unwrap();
        assert_eq!(told("a\n1\nx\u{7}\n3\n"), "2 of 3 lines with a number, the first text is line 3: \"x\\u{7}\"");
        let commas = "2 of 2 lines with a decimal comma, first line 2: \"2,5\"; numbers need a decimal point";
        assert_eq!(told("a;b\n2,5;1\n3,5;2\n"), commas);
    }

    #[test]
    fn a_header_is_a_line_of_words() {
        assert!(look(b"a\tb\n1\t2\n", false).is_some_and(|table| table.has_header && table.delimiter == b'\t'));
        assert!(look(b"1,2\n3,4\n", false).is_some_and(|table| !table.has_header && table.lines == 2));
        assert!(look(b"\n\n", false).is_none());
    }
}
