//! What an event means for a dataset: which of its files and folders are to be looked at, and when.

use std::path::Path;
use std::time::Instant;

use super::dataset::DatasetIntake;
use super::scan::{is_excluded, is_wanted};
use super::watch::Hint;
use crate::source::Place;

impl DatasetIntake {
    /// Takes a hint to heart, if it is about one of the folders.
    pub fn hint(&mut self, hint: &Hint, now: Instant) {
        let (path, is_finished) = match hint {
            Hint::Changed(path) => (path, Some(false)),
            Hint::Status(path) => (path, None),
            Hint::Finished(path) => (path, Some(true)),
            Hint::Folder(path) => return self.hint_folder(path, now),
            Hint::Unwatched(path) => {
                let recursive = self.watch().recursive;
                for (folder, due) in self.folders.iter_mut().zip(&mut self.scans_due) {
                    let is_ours = if recursive { path.starts_with(&folder.root) } else { *path == folder.root };
                    if is_ours && folder.lose_watch() {
                        *due = now;
                    }
                }
                return;
            }
            Hint::Removed(path) => {
                if self.follows()
                    && let Some(place) = self.place_of(path)
                {
                    self.touch(place, None, now);
                }
                // A watched folder that goes away is looked for; other files that go away need nothing.
                for (folder, due) in self.folders.iter().zip(&mut self.scans_due) {
                    if folder.root.starts_with(path) && !path.as_os_str().is_empty() {
                        *due = now;
                    }
                }
                return;
            }
        };
        let Some(place) = self.place_of(path) else { return };
        if self.follows() {
            return self.touch(place, None, now);
        }
        if place.below.as_os_str().is_empty() || !is_wanted(self.watch(), &place.below) {
            return;
        }
        let due = now + self.watch().settle;
        self.tracker.touch(place, due, None, is_finished);
    }

    /// Has a file looked at once it is time. `is_finished`: what events told of it.
    pub fn touch(&mut self, place: Place, is_finished: Option<bool>, now: Instant) {
        let due = now + self.watch().settle;
        if !self.follows() {
            self.tracker.touch(place, due, None, is_finished);
        } else if is_wanted(self.watch(), &place.below) || self.was_log(&place) {
            self.sight(&place);
            self.tracker.touch_growing(place, due);
        }
    }

    fn hint_folder(&mut self, path: &Path, now: Instant) {
        for (folder, due) in self.folders.iter().zip(&mut self.scans_due) {
            if folder.root.starts_with(path) {
                *due = now;
            }
        }
        let Some(place) = self.place_of(path) else { return };
        if !self.watch().recursive || is_excluded(self.watch(), &place.below) {
            return;
        }
        self.new_folders.insert((place.folder, place.below));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::Paths;
    use crate::lane::Lane;
    use crate::ledger::{LedgerSchema, Ledgers, SqliteLedgers};
    use std::sync::Arc;
    use std::time::Duration;

    fn intake(base: &Path) -> DatasetIntake {
        let text = "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2]\ndtype = 'u1'\n[dataset.watch]\n\
                    folders = ['drop']\ninclude = ['**/*.bin']\nexclude = ['skip']\n[dataset.records]\n";
        let options = config::parse(text, &base.join("c.toml")).unwrap().datasets[0].clone();
        let ledger = Paths::new(&options.output).ledger;
        drop(SqliteLedgers.create(&ledger, &LedgerSchema { settings: vec![], columns: vec![] }, false).unwrap());
        DatasetIntake::new(Arc::new(Lane::new(0, Arc::new(options), 2, 1000)), false, Instant::now())
    }

    #[test]
    fn a_new_folder_below_an_excluded_one_is_not_scanned() {
        let base = tempfile::tempdir().unwrap();
        let mut intake = intake(base.path());
        for (folder, is_scanned) in [("skip/sub", false), ("skip", false), ("other/skip", true)] {
            intake.hint(&Hint::Folder(base.path().join("drop").join(folder)), Instant::now());
            assert_eq!(!std::mem::take(&mut intake.new_folders).is_empty(), is_scanned, "{folder}");
        }
    }

    /// The bug: a pause that was over while nothing could be dispatched was due at once, again and again.
    #[test]
    fn the_end_of_a_pause_is_not_due_while_nothing_is_dispatched() {
        let base = tempfile::tempdir().unwrap();
        let mut intake = intake(base.path());
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        intake.open(now);
        intake.scans_due.fill(later);
        intake.paused_until = Some(now);
        assert_eq!(intake.next_due(false), Some(now));
        assert_eq!(intake.next_due(true), Some(later));
    }
}
