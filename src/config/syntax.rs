//! The TOML syntax: parsed with recovery, so that one forgotten quote does not hide the other faults.
//!
//! After a syntax fault the parser guesses how to go on. Its guesses are good within a line, but a bracket that is
//! never closed swallows everything up to the end of the file, and a broken table header moves the keys below it into
//! another table. So each damaged value is reported once, and after a broken header nothing but syntax is reported.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::report::Report;

/// The most syntax faults that are reported. A file with more of them is no config, and the rest would say nothing new.
const FAULTS_MAX: usize = 50;

/// The text as the parser gets it: as long as the original, byte for byte in the same place.
///
/// A key without `=` makes the parser forget everything behind it. Such lines are blanked, and their errors kept.
pub(super) struct Source<'a> {
    text: Cow<'a, str>,
    errors: Vec<Error>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, report: &Report<'_>) -> Self {
        let (_, mut errors) = DeTable::parse_recoverable(text);
        errors.retain(|error| error.message().starts_with("key with no value"));
        if errors.is_empty() {
            return Self { text: Cow::Borrowed(text), errors };
        }
        let mut mended = String::with_capacity(text.len());
        for error in &errors {
            let line = report.lines().line_span(error.span().map_or(0, |span| span.start));
            mended.push_str(text.get(mended.len()..line.start).unwrap_or_default());
            mended.extend(std::iter::repeat_n(' ', line.end.saturating_sub(mended.len())));
        }
        mended.push_str(text.get(mended.len()..).unwrap_or_default());
        Self { text: Cow::Owned(mended), errors }
    }
}

/// Parses the text and reports the syntax faults. `None`: the tables cannot be trusted at all.
pub(super) fn parse<'s>(report: &mut Report<'_>, source: &'s Source<'_>) -> Option<Spanned<DeTable<'s>>> {
    let (document, mut errors) = DeTable::parse_recoverable(&source.text);
    errors.extend_from_slice(&source.errors);
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let mut values = Vec::new();
    value_spans(document.get_ref(), &mut values);

    let mut trusted = true;
    let mut count = 0;
    // Up to here, what is wrong follows from a fault that was reported already.
    let mut covered_to = 0;
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        if span.start < covered_to {
            continue;
        }
        if count == FAULTS_MAX {
            trusted = false;
            break;
        }
        count += 1;
        let line = report.lines().line_span(span.start);
        let text = report.text().get(line.clone()).unwrap_or_default();
        trusted &= !text.trim_start().starts_with('[');

        let holds = |value: &&Range<usize>| value.start <= span.start && span.start <= value.end;
        let is_long = |value: &&Range<usize>| value.start < line.start || value.end > line.end;
        let value = values.iter().find(holds).filter(is_long);
        let unclosed = value.and_then(|value| unclosed(&errors, value));
        match (value, unclosed) {
            // Whatever else is wrong in it, the missing end is why.
            (Some(value), Some(unclosed)) => report.syntax_fault(value.clone(), &message(unclosed), value.clone()),
            (Some(value), None) => report.syntax_fault(span, &message(error), value.clone()),
            (None, _) => report.syntax_fault(span, &message(error), line.clone()),
        }
        covered_to = match unclosed.and(value) {
            Some(value) => value.end.max(line.end) + 1,
            None => line.end + 1,
        };
    }
    trusted.then_some(document)
}

/// The error that says that a value has no end, if one does.
fn unclosed<'e>(errors: &'e [Error], value: &Range<usize>) -> Option<&'e Error> {
    errors.iter().find(|error| {
        let says_so = ["unclosed", "invalid multi-line"].iter().any(|begin| error.message().starts_with(begin));
        says_so && error.span().is_some_and(|span| value.start <= span.start && span.start <= value.end)
    })
}

/// The parser's words, with the cases mended in which they mislead.
fn message(error: &Error) -> String {
    let empty = error.span().is_some_and(|span| span.is_empty());
    if empty && error.message().starts_with("string values must be quoted") {
        return "no value, expected one after the `=`".to_owned();
    }
    if error.message().starts_with("extra `=`") {
        return "found a second `=`, expected one".to_owned();
    }
    error.message().to_owned()
}

/// The spans of all values that are not tables with a header of their own.
fn value_spans(table: &DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for value in table.values() {
        match value.get_ref() {
            DeValue::Table(inner) => value_spans(inner, spans),
            DeValue::Array(elements) => {
                let mut tables = elements.iter().filter_map(|element| element.get_ref().as_table()).peekable();
                if tables.peek().is_none() {
                    spans.push(value.span());
                }
                tables.for_each(|table| value_spans(table, spans));
            }
            _ => spans.push(value.span()),
        }
    }
}
