//! The commit protocol with two steps swapped, for the crash explorer: see [`swap`](crate::storage::simulated::swap).

use super::{DatasetWriter, Fault};
use crate::storage::simulated::swap::Swap;

impl DatasetWriter {
    pub(super) fn commit_in_wrong_order(&mut self, swap: Swap, mut recycle: impl FnMut(Vec<u8>)) -> Result<(), Fault> {
        let has_rows = self.batch.rows > 0;
        let rows = self.source_start;
        self.write_staged(&mut recycle)?;
        if has_rows && !matches!(swap, Swap::LedgerBeforeSync | Swap::PublishBeforeSync) {
            self.sync_files()?;
        }
        if swap == Swap::PublishBeforeLedger {
            self.show_count(rows, false)?;
        }
        self.commit_ledger()?;
        match swap {
            Swap::LedgerBeforeSync if has_rows => self.sync_files()?,
            Swap::PublishBeforeSync if has_rows => {
                self.show_count(rows, false)?;
                self.sync_files()?;
            }
            Swap::MainBeforeColumns => self.show_count(rows, true)?,
            Swap::CountsBeforeLabels => self.show_count(rows, false)?,
            _ => {}
        }
        self.publish()
    }

    /// The count alone, without the class names.
    fn show_count(&mut self, rows: u64, main_first: bool) -> Result<(), Fault> {
        let columns = self.columns.iter_mut().map(|column| &mut column.file);
        let mut files: Vec<_> = columns.chain([&mut self.main]).collect();
        if main_first {
            files.rotate_right(1);
        }
        for file in files {
            file.publish(rows).map_err(|error| Fault::io("publishing", file.path(), &error))?;
        }
        Ok(())
    }
}
