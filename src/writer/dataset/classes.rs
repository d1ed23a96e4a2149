//! The class names of a dataset: their ids in the label column, and `labels.json`.

use std::io;

use super::{DatasetWriter, Labels};
use crate::source::Place;
use crate::writer::labels::Written;

impl DatasetWriter {
    /// The id of the source's class, a new one if need be; -1 for none.
    pub(in crate::writer) fn label_id(&mut self, place: &Place) -> i64 {
        if !self.options.columns.label {
            return -1;
        }
        let Some(name) = place.label() else { return -1 };
        let (id, is_new) = self.labels.id_of(&name);
        if is_new {
            self.batch.new_labels.push(name);
        }
        id
    }

    /// Replaces `labels.json` by all the names that the ledger has.
    pub(super) fn write_labels(&mut self) -> io::Result<()> {
        self.labels.write(&*self.disk, &self.paths, self.ledger.labels())
    }

    /// Makes `labels.json` say what the ledger says, if it does not.
    pub(crate) fn restore_labels(&mut self) -> io::Result<()> {
        let names = self.ledger.labels();
        if Labels::written(&*self.disk, &self.paths.labels, names)? == Written::These {
            self.labels.set_published(names.len());
            return Ok(());
        }
        self.write_labels()
    }
}
