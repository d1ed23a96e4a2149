//! The cheap look at a file: does the ledger have it?

use std::path::Path;
use std::sync::Arc;

use crate::config::Dataset;
use crate::ledger::{Entry, FirstLook, Known, LedgerError, LedgerView, Rules, first_look};
use crate::source::{Identity, Place};
use crate::storage::RealDisk;
use crate::writer::{Paths, is_elsewhere, rules};

/// A dataset's ledger, as the intake reads it.
pub struct Look {
    options: Arc<Dataset>,
    view: LedgerView,
    rules: Rules,
}

impl Look {
    /// `None` where there is no ledger yet.
    pub fn open(options: &Arc<Dataset>) -> Result<Option<Self>, LedgerError> {
        let paths = Paths::new(&options.output);
        let view = LedgerView::open(&paths.ledger)?;
        Ok(view.map(|view| Self { rules: rules(options), options: options.clone(), view }))
    }

    pub fn at(&self, place: &Place, identity: Identity) -> Result<FirstLook, LedgerError> {
        let known = ViewKnown { view: &self.view, base: &self.options.base };
        first_look(&known, self.rules, &self.options.ledger_path(place), identity)
    }
}

struct ViewKnown<'a> {
    view: &'a LedgerView,
    base: &'a Path,
}

impl Known for ViewKnown<'_> {
    fn at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
        self.view.at_path(path)
    }

    fn with_identity(&self, identity: Identity) -> Result<Option<Entry>, LedgerError> {
        self.view.with_identity(identity)
    }

    fn is_elsewhere(&self, entry: &Entry, path: &Path) -> bool {
        is_elsewhere(&RealDisk, self.base, entry, path)
    }
}
