//! Typed access to one table of the config.
//!
//! A [`Section`] remembers the keys that it was asked for; whatever else stands in the table is unknown. So a key that
//! is accepted is a key that was read, and the list of known keys in a fault can never be out of date.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::choice::Choice;
use super::item::Item;
use super::report::Report;
use super::suggest::{near, quoted_list};

/// One table, present or absent.
pub(super) struct Section<'a> {
    report: &'a Report<'a>,
    /// Such as `dataset.image`; empty for the whole file.
    path: String,
    /// The header of the table, or of the one around it when it is absent.
    span: Range<usize>,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
    reserved: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(report: &'a Report<'a>, document: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            report,
            path: String::new(),
            span: 0..0,
            table: Some(document.get_ref()),
            asked: RefCell::default(),
            reserved: RefCell::default(),
        }
    }

    /// A table that was found as a value, such as an element of an array of tables.
    pub(super) fn of(item: &Item<'a>) -> Option<Self> {
        let table = item.value.get_ref().as_table()?;
        Some(Self {
            report: item.report,
            path: item.key.clone(),
            span: item.span(),
            table: Some(table),
            asked: RefCell::default(),
            reserved: RefCell::default(),
        })
    }

    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the key is there, of whatever type.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// The path of a key of this table.
    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether the key is there and its value is an array. Asking this does not make the key a known one.
    pub(super) fn has_array(&self, name: &str) -> bool {
        self.table.and_then(|table| table.get(name)).is_some_and(|value| value.get_ref().is_array())
    }

    /// The value of a key, if it is there.
    pub(super) fn item(&self, name: &'static str) -> Option<Item<'a>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&name) {
            asked.push(name);
        }
        let value = self.table?.get(name)?;
        Some(Item { report: self.report, key: self.key(name), value })
    }

    /// The value of a key that is known only to be refused. Faults do not offer it as a known key.
    pub(super) fn reserved(&self, name: &'static str) -> Option<Item<'a>> {
        self.reserved.borrow_mut().push(name);
        let value = self.table?.get(name)?;
        Some(Item { report: self.report, key: self.key(name), value })
    }

    /// The value of a key that has no default.
    pub(super) fn required(&self, name: &'static str, example: &str) -> Option<Item<'a>> {
        let item = self.item(name);
        if item.is_none() {
            self.report.missing(
                self.span(),
                &self.key(name),
                "is missing and has no default",
                format!("for example: {name} = {example}"),
            );
        }
        item
    }

    /// A table in this one. An absent one reads as empty: all defaults.
    pub(super) fn section(&self, name: &'static str) -> Section<'a> {
        let item = self.item(name);
        if let Some(item) = &item {
            if let Some(section) = Self::of(item) {
                return section;
            }
            item.fault(format!("found {}, expected a table", item.found()));
        }
        Self {
            report: self.report,
            path: self.key(name),
            span: self.span(),
            table: None,
            asked: RefCell::default(),
            reserved: RefCell::default(),
        }
    }

    /// All keys with their values, in the order of the file. For tables whose keys are names of the user's.
    pub(super) fn entries(&self) -> Vec<(&'a str, Range<usize>, Item<'a>)> {
        let mut entries: Vec<_> = self
            .table
            .into_iter()
            .flat_map(|table| table.iter())
            .map(|(name, value)| {
                let key = self.key(name.get_ref());
                (name.get_ref().as_ref(), name.span(), Item { report: self.report, key, value })
            })
            .collect();
        // The parser sorts by name.
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    /// One of a few words, or `default` when the key is absent or wrong.
    pub(super) fn choice<T: Choice>(&self, name: &'static str, default: T) -> T {
        self.item(name).and_then(|item| item.choice()).unwrap_or(default)
    }

    /// `true` or `false`, or `default` when the key is absent or wrong.
    pub(super) fn flag(&self, name: &'static str, default: bool) -> bool {
        self.item(name).and_then(|item| item.flag()).unwrap_or(default)
    }

    /// Reports the keys that nobody asked for. The last thing to do with a section.
    pub(super) fn finish(self) {
        let known = self.asked.borrow();
        let reserved = self.reserved.borrow();
        for (name, span, item) in self.entries() {
            if known.contains(&name) || reserved.contains(&name) {
                continue;
            }
            let (message, help) = match near(name, known.iter().copied()) {
                Some(near) => ("unknown key".to_owned(), Some(format!("did you mean `{near}`?"))),
                None => {
                    let keys = quoted_list('`', known.iter().copied());
                    (format!("unknown key, expected one of {keys}"), None)
                }
            };
            self.report.fault(span, &item.key, message, help);
        }
    }
}
