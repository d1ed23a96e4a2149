//! `[dataset.csv]`: which columns of a text file become which values of a row.

use super::choice::{Choice, choices};
use super::item::Item;
use super::row::RowDraft;
use super::section::Section;
use super::slots;
use super::suggest::{near, quoted_list};
use super::world::{ColumnFrom, CsvColumn, CsvOptions, OnError, Slot, TimeFormat};
use crate::npy::Kind;
use crate::quantity::number_of;

const COLUMNS_MAX: u64 = 65_536;
const MISSING_MAX: usize = 64;

choices! {
    TimeFormat {
        Rfc3339 = "rfc3339",
        Seconds = "s",
        Milliseconds = "ms",
        Microseconds = "us",
        Nanoseconds = "ns",
    }
}

pub(super) fn read(section: Section<'_>, row: &RowDraft<'_>) -> Option<CsvOptions> {
    let delimiter = section.item("delimiter").map_or(Some(Some(b',')), |item| read_delimiter(&item));
    let quote = section.item("quote").map_or(Some(Some(b'"')), |item| byte(&item, true));
    let comment = section.item("comment").map_or(Some(None), |item| byte(&item, true));
    let header = section.flag("header", true);
    let slots = slots::read(row, "csv").and_then(|slots| single(&slots, row));
    let columns_item = section.item("columns");
    let columns = match (&columns_item, &slots) {
        (Some(item), slots) => read_columns(item, header, slots.as_deref()),
        (None, Some(slots)) => default_columns(&section, header, slots),
        (None, None) => None,
    };
    let times = section.item("times").map_or(Some(Vec::new()), |item| read_times(&item, slots.as_deref()));
    let missing = section.item("missing").map_or(Some(vec![String::new()]), |item| read_missing(&item));
    let is_datetime = |slot: &Slot| slot.scalar.kind == Kind::Datetime;
    let has_times = times.as_ref().is_some_and(|times| !times.is_empty())
        || slots.as_ref().is_some_and(|slots| slots.iter().any(is_datetime));
    let time_format = section.choice("time_format", TimeFormat::Rfc3339);
    if let Some(item) = section.item("time_format")
        && !has_times
    {
        item.fault_with_help(
            "has no effect: no value of the row is a time",
            "use a dtype such as \"M8[ns]\", or name columns in `times`",
        );
    }
    let on_error = section.choice("on_error", OnError::Reject);
    let follow = section.flag("follow", false);
    if let (Some(Some(delimiter)), Some(quote), Some(comment)) = (delimiter, quote, comment)
        && (Some(delimiter) == quote || Some(delimiter) == comment || (quote.is_some() && quote == comment))
    {
        section.report().fault(
            section.span(),
            &section.key("delimiter"),
            "`delimiter`, `quote` and `comment` must differ from each other",
            None,
        );
    }
    section.finish();
    let (slots, times, from) = (slots?, times?, columns?);
    let columns: Vec<_> = from
        .into_iter()
        .zip(&slots)
        .map(|(from, slot)| {
            let is_named = slot.name.as_ref().is_some_and(|name| times.contains(name));
            CsvColumn { from, slot: slot.clone(), is_time: is_datetime(slot) || is_named }
        })
        .collect();
    let others = columns_item.is_some() || columns.iter().any(|column| matches!(column.from, ColumnFrom::Name(_)));
    Some(CsvOptions {
        delimiter: delimiter??,
        quote: quote?,
        comment: comment?,
        header,
        columns,
        others,
        missing: missing?,
        time_format,
        on_error,
        follow,
    })
}

/// One slot for each value, and only values that a text can give.
fn single(slots: &[Slot], row: &RowDraft<'_>) -> Option<Vec<Slot>> {
    let can_be_read = |slot: &Slot| match slot.scalar.kind {
        Kind::Bool | Kind::Int | Kind::Uint | Kind::Bytes | Kind::Unicode => true,
        Kind::Float => slot.scalar.bytes <= 8,
        Kind::Datetime => {
            slot.unit.is_some_and(|unit| unit.multiple == 1 && matches!(unit.unit, "D" | "s" | "ms" | "us" | "ns"))
        }
        _ => false,
    };
    if !slots.iter().all(can_be_read) {
        let item = &row.dtype.as_ref()?.item;
        item.fault(format!(
            "found {}, expected numbers up to 8 bytes, `?`, strings, or times such as \"M8[ns]\" for `csv`",
            item.found()
        ));
        return None;
    }
    let values = |slot: &Slot| {
        let slot = slot.clone();
        (0..slot.count).map(move |place| Slot {
            offset: slot.offset + place * slot.scalar.bytes,
            count: 1,
            ..slot.clone()
        })
    };
    Some(slots.iter().flat_map(values).collect())
}

/// Not what numbers and words are made of: each of them would be several fields.
fn read_delimiter(item: &Item<'_>) -> Option<Option<u8>> {
    let delimiter = byte(item, false)?;
    if delimiter.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+')) {
        item.fault(format!(
            "found {}, expected a character that is in no number or word, such as \",\" or \"\\t\"",
            item.found()
        ));
        return None;
    }
    Some(delimiter)
}

/// One byte of ASCII. `Some(None)` for an empty string, where that means "none".
fn byte(item: &Item<'_>, may_be_none: bool) -> Option<Option<u8>> {
    let found = item.value.get_ref().as_str();
    match found.map(str::as_bytes) {
        Some([]) if may_be_none => Some(None),
        Some([byte]) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Some(Some(*byte)),
        _ => {
            let none = if may_be_none { ", or \"\" for none" } else { "" };
            item.fault(format!("found {}, expected one ASCII character such as \",\" or \"\\t\"{none}", item.found()));
            None
        }
    }
}

fn read_columns(item: &Item<'_>, header: bool, slots: Option<&[Slot]>) -> Option<Vec<ColumnFrom>> {
    let elements = item.elements("an array of column names, or of places from 0")?;
    let read = |element: &Item<'_>| {
        if element.value.get_ref().is_integer() {
            let place = element.integer(0..=COLUMNS_MAX, "the place of a column, from 0")?;
            return usize::try_from(place).ok().map(ColumnFrom::Place);
        }
        let name = element.text("the name of a column, or its place from 0")?;
        if !header {
            element.fault_with_help(
                format!("found {}, but with header = false columns have no names", element.found()),
                "give the places of the columns, from 0",
            );
            return None;
        }
        without_blanks(element, name, "the name of a column").then(|| ColumnFrom::Name(name.to_owned()))
    };
    let columns: Vec<_> = elements.iter().map(read).collect();
    let columns = columns.into_iter().collect::<Option<Vec<_>>>()?;
    let slots = slots?;
    if columns.len() != slots.len() {
        let found = number_of(columns.len() as u64, "column", "columns");
        item.fault(format!("found {found}, but a row has {}", number_of(slots.len() as u64, "value", "values")));
        return None;
    }
    Some(columns)
}

/// The names of the row's fields, or the first columns in their order.
fn default_columns(section: &Section<'_>, header: bool, slots: &[Slot]) -> Option<Vec<ColumnFrom>> {
    let names: Option<Vec<_>> = slots.iter().map(|slot| slot.name.clone()).collect();
    match names.filter(|_| header) {
        Some(names) => {
            let has_subarray = names.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
            if has_subarray {
                section.report().missing(
                    section.span(),
                    &section.key("columns"),
                    "is missing, and a field of the row takes several columns",
                    "name a column for each value of the row: columns = [\"time\", \"x\", \"y\"]".to_owned(),
                );
                return None;
            }
            Some(names.into_iter().map(ColumnFrom::Name).collect())
        }
        None => Some((0..slots.len()).map(ColumnFrom::Place).collect()),
    }
}

/// The row's fields of a number dtype whose columns are times.
fn read_times(item: &Item<'_>, slots: Option<&[Slot]>) -> Option<Vec<String>> {
    let elements = item.elements("an array of names of fields")?;
    let slots = slots?;
    let read = |element: &Item<'_>| {
        let name = element.text("the name of a field of the dtype")?;
        let names = || slots.iter().filter_map(|slot| slot.name.as_deref());
        let Some(slot) = slots.iter().find(|slot| slot.name.as_deref() == Some(name)) else {
            let message = format!("\"{name}\" is not a field of the dtype, which has {}", quoted_list('"', names()));
            match near(name, names()) {
                Some(near) => element.fault_with_help(message, format!("did you mean \"{near}\"?")),
                None => element.fault(message),
            }
            return None;
        };
        match (slot.scalar.kind, slot.scalar.bytes) {
            (Kind::Float, 8) | (Kind::Datetime, _) => Some(name.to_owned()),
            _ => {
                element.fault(format!("\"{name}\" must be \"f8\" (seconds since 1970) or a datetime to hold a time"));
                None
            }
        }
    };
    let times: Vec<_> = elements.iter().map(read).collect();
    times.into_iter().collect()
}

fn read_missing(item: &Item<'_>) -> Option<Vec<String>> {
    let elements = item.elements("an array of words that stand for a missing value")?;
    if elements.len() > MISSING_MAX {
        item.fault(format!("found {} words, expected at most {MISSING_MAX}", elements.len()));
        return None;
    }
    let read = |element: &Item<'_>| {
        let Some(word) = element.value.get_ref().as_str() else {
            element.fault(format!("found {}, expected a word that stands for a missing value", element.found()));
            return None;
        };
        without_blanks(element, word, "a word").then(|| word.to_owned())
    };
    let words: Vec<_> = elements.iter().map(read).collect();
    words.into_iter().collect()
}

/// Whether a text of the config can be one of a file, where blanks around it are passed over.
fn without_blanks(element: &Item<'_>, text: &str, what: &str) -> bool {
    let trimmed = text.trim_ascii();
    if trimmed != text {
        element.fault_with_help(
            format!("found {}, but blanks around {what} are passed over in the file", element.found()),
            format!("write \"{trimmed}\""),
        );
    }
    trimmed == text
}
