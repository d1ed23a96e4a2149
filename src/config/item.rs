//! Typed access to one value of the config: each reader gives the value, or reports what it found and gives `None`.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::choice::Choice;
use super::paths;
use super::report::Report;
use super::suggest::{near, quoted_list};
use super::units::{self, UnitError};
use super::world::Coefficient;

/// The longest piece of the file that a fault repeats in its message, in characters. The excerpt shows the rest.
const FOUND_CHARS_MAX: usize = 48;

/// One value, and where it stands.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) report: &'a Report<'a>,
    /// Such as `dataset.image.fit`.
    pub(super) key: String,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// The line, from 1, on which the value begins.
    pub(super) fn line(&self) -> usize {
        self.report.lines().line(self.span().start)
    }

    pub(super) fn fault(&self, message: impl Into<String>) {
        self.report.fault(self.span(), &self.key, message, None);
    }

    pub(super) fn fault_with_help(&self, message: impl Into<String>, help: impl Into<String>) {
        self.report.fault(self.span(), &self.key, message, Some(help.into()));
    }

    fn expected<T>(&self, expected: impl std::fmt::Display) -> Option<T> {
        self.fault(format!("found {}, expected {expected}", self.found()));
        None
    }

    /// The value as a fault shows it: as it is written when that is short, else what kind it is.
    pub(super) fn found(&self) -> String {
        let written = self.report.text().get(self.span()).unwrap_or_default();
        let short = written.chars().count() <= FOUND_CHARS_MAX && !written.contains(char::is_control);
        match self.value.get_ref() {
            DeValue::String(text) if short => format!("{:?}", text.as_ref()),
            DeValue::String(_) => "a long string".to_owned(),
            DeValue::Table(_) if !written.starts_with('{') || !short => "a table".to_owned(),
            DeValue::Array(_) if written.starts_with("[[") && is_tables(self.value) => "an array of tables".to_owned(),
            DeValue::Array(_) if !short => "an array".to_owned(),
            _ if short => written.to_owned(),
            _ => "a long number".to_owned(),
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.value.get_ref().as_bool() {
            None => self.expected("true or false"),
            flag => flag,
        }
    }

    /// A string, not empty. `what` says what it should be: "a file name".
    pub(super) fn text(&self, what: &str) -> Option<&'a str> {
        match self.value.get_ref().as_str() {
            Some(text) if !text.is_empty() => Some(text),
            _ => self.expected(what),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Choice>(&self) -> Option<T> {
        let found = self.value.get_ref().as_str();
        let chosen = T::CHOICES.iter().find(|(word, _)| Some(*word) == found);
        if let Some((_, choice)) = chosen {
            return Some(*choice);
        }
        let words = || T::CHOICES.iter().map(|(word, _)| *word);
        let message = format!("found {}, expected one of {}", self.found(), quoted_list('"', words()));
        match found.and_then(|found| near(found, words())) {
            Some(near) => self.fault_with_help(message, format!("did you mean \"{near}\"?")),
            None => self.fault(message),
        }
        None
    }

    /// An integer within `range`. `what` says what it counts: "a number of threads".
    pub(super) fn integer(&self, range: RangeInclusive<u64>, what: &str) -> Option<u64> {
        let integer = self.value.get_ref().as_integer();
        let integer = integer.and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        match integer {
            Some(integer) if range.contains(&integer) => Some(integer),
            _ if *range.end() == u64::MAX => self.expected(format!("{what}, at least {}", range.start())),
            _ => self.expected(format!("{what} from {} to {}", range.start(), range.end())),
        }
    }

    /// A finite number, with or without a decimal point.
    pub(super) fn number(&self) -> Option<f64> {
        self.coefficient().map(Coefficient::real)
    }

    /// The same, where a whole number stays one.
    pub(super) fn coefficient(&self) -> Option<Coefficient> {
        let number: Option<f64> = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => return Some(Coefficient::Whole(integer)),
                Err(_) => return self.expected("an integer of 64 bits, or a number with a decimal point"),
            },
            _ => return self.expected("a number"),
        };
        match number {
            Some(number) if number.is_finite() => Some(number.into()),
            _ => self.expected("a finite number"),
        }
    }

    /// A size in bytes, as a number or a string with a unit, at least 1.
    pub(super) fn size_bytes(&self) -> Option<u64> {
        const WHAT: &str = "a size of at least 1 byte such as \"64MiB\"";
        let bytes = match self.value.get_ref() {
            DeValue::String(text) => match units::parse_size_bytes(text) {
                Ok(bytes) => bytes,
                Err(error) => return self.unit_fault(&error, WHAT, "B, KiB, MiB, GiB, TiB, kB, MB, GB, TB"),
            },
            DeValue::Integer(_) => return self.integer(1..=u64::MAX, "a size in bytes"),
            _ => return self.expected(WHAT),
        };
        if bytes == 0 { self.expected(WHAT) } else { Some(bytes) }
    }

    /// A time with its unit, within `range`. `example` is one of them.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>, example: &str) -> Option<Duration> {
        let [from, to] = [*range.start(), *range.end()].map(units::duration_text);
        let expected = format!("a time from {from} to {to} such as \"{example}\"");
        let duration = match self.value.get_ref() {
            DeValue::String(text) => units::parse_duration(text),
            DeValue::Integer(_) | DeValue::Float(_) => Err(UnitError::NoUnit),
            _ => return self.expected(expected),
        };
        match duration {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(_) => self.expected(expected),
            Err(error) => self.unit_fault(&error, &expected, "ms, s, m, h"),
        }
    }

    fn unit_fault<T>(&self, error: &UnitError, expected: &str, known_units: &str) -> Option<T> {
        let message = format!("found {}, expected {expected}", self.found());
        let help = match error {
            UnitError::NoUnit => {
                let number = self.found();
                let number = number.trim_matches('"').trim();
                format!("add a unit: \"{number}s\" or \"{number}ms\"")
            }
            UnitError::UnknownUnit { near: Some(near), .. } => format!("did you mean \"{near}\"?"),
            UnitError::UnknownUnit { .. } => format!("{error}; the units are {known_units}"),
            UnitError::NoNumber | UnitError::TooLarge => error.to_string(),
        };
        self.fault_with_help(message, help);
        None
    }

    /// The elements of an array. `what` says what it should be: "an array of folders".
    pub(super) fn elements(&self, what: &str) -> Option<Vec<Item<'a>>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.expected(what);
        };
        let item = |value| Item { report: self.report, key: self.key.clone(), value };
        Some(array.iter().map(item).collect())
    }

    /// A path, made absolute against `base` and free of `.` and `..`. `what` as in [`Item::text`].
    pub(super) fn path(&self, base: &Path, what: &str) -> Option<PathBuf> {
        let text = self.text(what)?;
        if text.contains('\0') {
            return self.expected(what);
        }
        if text == "~" || text.starts_with("~/") {
            self.fault_with_help(
                format!("found {}, but `~` is not expanded in a config", self.found()),
                "write the home folder out, or \"./~\" for a folder of that name",
            );
            return None;
        }
        Some(paths::normalise(&base.join(text)))
    }
}

/// A value that was read, and where it stands, for checks against other values.
#[derive(Clone)]
pub(super) struct Located<'a, T> {
    pub(super) value: T,
    pub(super) item: Item<'a>,
}

fn is_tables(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().as_array().is_some_and(|elements| elements.iter().any(|e| e.get_ref().is_table()))
}
