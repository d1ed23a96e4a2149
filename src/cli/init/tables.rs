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

/// What the values of a column may be; each takes those before it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Integer,
    Real,
    Time,
    Text,
}

struct Column {
    name: Option<String>,
    kind: Option<Type>,
    chars: usize,
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
    let (first, rest) = lines.split_first()?;
    let is_name = |field: &String| Type::of(field) == Some(Type::Text);
    let has_header = first.iter().all(is_name);
    let values = if has_header { rest } else { &lines };
    let mut columns: Vec<Column> = first
        .iter()
        .map(|name| Column { name: has_header.then(|| name.trim().to_owned()), kind: None, chars: 0 })
        .collect();
    for line in values {
        for (column, field) in columns.iter_mut().zip(line) {
            column.add(field);
        }
    }
    Some(Table { delimiter, has_header, columns, lines: values.len() })
}

/// All lines, taken apart.
fn records(mut bytes: &[u8], delimiter: u8) -> Vec<Vec<String>> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).build();
    let mut lines = Vec::new();
    // No line and no field is longer than all of it.
    let (mut text, mut ends) = (vec![0; bytes.len()], vec![0; bytes.len() + 1]);
    let (mut written, mut fields) = (0, 0);
    loop {
        let (result, read, more, ended) = reader.read_record(
            bytes,
            text.get_mut(written..).unwrap_or_default(),
            ends.get_mut(fields..).unwrap_or_default(),
        );
        bytes = bytes.get(read..).unwrap_or_default();
        written += more;
        fields += ended;
        match result {
            ReadRecordResult::Record => {
                let mut start = 0;
                let line = ends.get(..fields).unwrap_or_default().iter().map(|end| {
                    let field = text.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default();
                    String::from_utf8_lossy(field).into_owned()
                });
                lines.push(line.collect());
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
    fn add(&mut self, field: &str) {
        self.chars = self.chars.max(field.chars().count());
        self.kind = match (self.kind, Type::of(field)) {
            // A missing number is NaN, which integers do not have.
            (Some(Type::Integer) | None, None) => Some(Type::Real),
            (known, None) => known,
            // A time beside numbers is no time.
            (Some(Type::Integer | Type::Real), Some(Type::Time))
            | (Some(Type::Time), Some(Type::Integer | Type::Real)) => Some(Type::Text),
            (known, Some(found)) => Some(known.map_or(found, |known| known.max(found))),
        };
    }

    fn dtype(&self) -> String {
        match self.kind {
            Some(Type::Integer) => "<i8".to_owned(),
            Some(Type::Real) | None => "<f8".to_owned(),
            Some(Type::Time) => "<M8[ns]".to_owned(),
            Some(Type::Text) => format!("<U{}", self.chars.next_power_of_two().max(TEXT_CHARS_MIN)),
        }
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
                format!("    [{}, \"{}\"],\n", toml_string(&name), column.dtype())
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
        decoder.push_str(
            "on_error = \"reject\"       # \"skip\" leaves bad lines out, counts them, and takes the rest\n\
             # follow = true           # for logs that are still being written\n",
        );
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
        assert_eq!(dtypes("a,b\n1,\n,2024-05-01T12:00:00Z\n"), ["<f8", "<U32"]);
        assert_eq!(dtypes("1;2,5\n3;4\n"), ["<i8", "<U8"]);
        assert_eq!(dtypes("x\n\"a, and more of it\"\n"), ["<U32"]);
    }

    #[test]
    fn a_header_is_a_line_of_words() {
        assert!(look(b"a\tb\n1\t2\n", false).is_some_and(|table| table.has_header && table.delimiter == b'\t'));
        assert!(look(b"1,2\n3,4\n", false).is_some_and(|table| !table.has_header && table.lines == 2));
        assert!(look(b"\n\n", false).is_none());
    }
}
