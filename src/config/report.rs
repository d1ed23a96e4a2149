//! Collects the faults of one config while it is read.
//!
//! Readers never stop at a fault: they report it, go on with what is left, and say `None` for what they could not
//! make. The report knows which lines the TOML parser had to guess at, and is silent about those: a fault that only
//! follows from another one helps nobody.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::Path;

use super::fault::{FAULTS_MAX, Fault, Faults, Lines};

/// The faults that were found so far in one config.
pub(super) struct Report<'a> {
    /// The file as it was named by the user.
    file: &'a Path,
    lines: Lines<'a>,
    /// Byte ranges of which the parser is not sure. Faults that begin in them are dropped.
    damaged: Vec<Range<usize>>,
    /// Shared by all readers; each call borrows it for itself only.
    faults: RefCell<Vec<Fault>>,
    /// What is missing is not told any more.
    excuses_missing: Cell<bool>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            lines: Lines::new(text),
            damaged: Vec::new(),
            faults: RefCell::new(Vec::new()),
            excuses_missing: Cell::new(false),
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.lines.text()
    }

    /// The text with its lines.
    pub(super) fn lines(&self) -> &Lines<'a> {
        &self.lines
    }

    /// A fault of the TOML syntax. Afterwards the lines of `damaged` are not trusted any more.
    pub(super) fn syntax_fault(&mut self, span: Range<usize>, message: &str, damaged: Range<usize>) {
        let fault = Fault::new(self.file, &self.lines, span, "", message, None);
        self.faults.get_mut().push(fault);
        let from = self.lines.line_span(damaged.start).start;
        let to = self.lines.line_span(damaged.end).end;
        self.damaged.push(from..to + 1);
    }

    /// A fault at the bytes `span`: what was found and what was expected, and (`help`) what to do about it.
    pub(super) fn fault(&self, span: Range<usize>, key: &str, message: impl Into<String>, help: Option<String>) {
        let is_enough = self.faults.borrow().len() >= FAULTS_MAX;
        // A value that the parser guessed has no place in the text.
        let is_guessed = !self.damaged.is_empty() && span == (0..0);
        if is_enough || is_guessed || self.damaged.iter().any(|damaged| damaged.contains(&span.start)) {
            return;
        }
        let fault = Fault::new(self.file, &self.lines, span, key, &message.into(), help.as_deref());
        self.faults.borrow_mut().push(fault);
    }

    /// Something that should be there is not. Silent when the syntax is broken somewhere: it may be what broke.
    pub(super) fn missing(&self, span: Range<usize>, key: &str, message: impl Into<String>, help: String) {
        if self.damaged.is_empty() && !self.excuses_missing.get() {
            self.fault(span, key, message, Some(help));
        }
    }

    /// A table has the wrong header: what belongs to it may stand under others.
    pub(super) fn excuse_missing(&self) {
        self.excuses_missing.set(true);
    }

    /// All faults, or `None` when there were none.
    pub(super) fn finish(self) -> Option<Faults> {
        let faults = self.faults.into_inner();
        (!faults.is_empty()).then(|| Faults::new(self.file, faults))
    }
}
