//! Which of the files in watched folders are new: by scans, and one by one when their quiet time is over.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::aside::give_back;
use super::dataset::DatasetIntake;
use super::look::Look;
use super::scan::{Problem, is_wanted, walk};
use super::stay::Disregarded;
use super::tracker::Due;
use crate::config::Order;
use crate::ledger::{FirstLook, LedgerError};
use crate::source::{Follow, Hash, Identity, Place};
use crate::storage::FileStatus;
use crate::tally::Tally;

/// So many look-ups of a scan see the ledger as it was at the first of them.
const SNAPSHOT_LOOKS: u32 = 1024;
/// A file that cannot be looked at is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So many files that a scan disregards wait for its end; what is beyond is disregarded at once.
const DISREGARDED_MAX: usize = 4096;

/// A file that is new.
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) status: FileStatus,
    pub(super) known_hash: Option<Hash>,
    /// For a log that is followed.
    pub(super) follow: Option<Box<Follow>>,
    /// Set for a file that was tracked.
    pub(super) due: Option<Due>,
}

impl DatasetIntake {
    /// The files that are new, in order, as many as can be tracked.
    pub(super) fn find(
        &mut self,
        targets: &[(usize, PathBuf)],
        look: &Look,
        now: Instant,
    ) -> Result<Vec<Found>, LedgerError> {
        let lane = self.lane.clone();
        let (watch, made_ns) = (&lane.options.watch, self.made_ns);
        let room = self.tracker.room();
        let mut found: Vec<Found> = Vec::new();
        let mut disregarded = Vec::new();
        let mut failure = None;
        // What is committed meanwhile is tracked until this scan is over, so a look at what was is enough.
        let mut snapshot = Some(look.snapshot()?);
        let mut looks = 0u32;
        for (folder, within) in targets {
            let mut bare =
                self.folders.get_mut(*folder).map(|folder| std::mem::take(&mut folder.bare)).unwrap_or_default();
            let mut consider = |below, status| {
                let place = Place { folder: *folder, below };
                if failure.is_some() || self.tracker.contains(&place) {
                    return;
                }
                let identity = Identity::from(&status);
                looks = looks.wrapping_add(1);
                if looks.is_multiple_of(SNAPSHOT_LOOKS) {
                    snapshot = None;
                    match look.snapshot() {
                        Ok(next) => snapshot = Some(next),
                        Err(error) => failure = Some(error),
                    }
                }
                match look.at(&place, &status) {
                    Ok(FirstLook::Read { known_hash })
                        if self.staying.is_not_read(&place, identity, known_hash.as_ref(), now) =>
                    {
                        Tally::add(&lane.tally.known, 1);
                    }
                    Ok(FirstLook::Read { known_hash }) => {
                        found.push(Found { place, status, known_hash, follow: None, due: None });
                        if found.len() > room.saturating_mul(2).max(1024) {
                            // More than can be tracked: the first in order stay, the next scan finds the others.
                            self.tracker.is_incomplete = true;
                            sort(&mut found, watch.order);
                            found.truncate(room);
                        }
                    }
                    Ok(FirstLook::Known(entry)) => self.known(place, identity, entry, now),
                    // News wait for the end of the scan.
                    Ok(FirstLook::Ignored(committed))
                        if disregarded.len() < DISREGARDED_MAX && !self.staying.has(&place, identity) =>
                    {
                        disregarded.push(Disregarded { place, identity, committed });
                    }
                    Ok(FirstLook::Ignored(_)) => self.ignored(place, identity),
                    Err(error) => failure = Some(error),
                }
            };
            let root = lane.options.root(*folder);
            let mut links = 0;
            let problems = match walk(root, within, watch, &mut bare, &mut consider) {
                Ok(walked) => {
                    for (below, status) in give_back(&lane, root, &walked.aside, made_ns) {
                        if is_wanted(watch, &below) {
                            consider(below, status);
                        }
                    }
                    links = walked.links;
                    walked.problems
                }
                Err(error) => vec![Problem { path: root.to_owned(), error }],
            };
            if let Some(folder) = self.folders.get_mut(*folder) {
                folder.bare = bare;
            }
            self.note_links(*folder, within, links);
            self.note_not_scanned(problems);
        }
        drop(snapshot);
        if let Some(error) = failure {
            return Err(error);
        }
        self.disregard(disregarded, &found);
        sort(&mut found, watch.order);
        if found.len() > room {
            found.truncate(room);
            self.tracker.is_incomplete = true;
        }
        Ok(found)
    }

    /// A file's quiet time is over: is it still as it was, and does the ledger lack it?
    pub(super) fn look_at(&mut self, due: Due, now: Instant, disregarded: &mut Vec<Disregarded>) -> Option<Found> {
        let status = match std::fs::symlink_metadata(self.lane.path_of(&due.place)) {
            Ok(metadata) => FileStatus::from(&metadata),
            Err(error) => {
                self.cannot_look_at(due, &error, now);
                return None;
            }
        };
        if !status.is_regular {
            return None;
        }
        let identity = Identity::from(&status);
        if due.is_still_changing(identity) {
            let settle = self.watch().settle;
            self.tracker.wait_on(due, now + settle, Some(identity));
            return None;
        }
        match self.look.as_ref()?.at(&due.place, &status) {
            Ok(FirstLook::Read { known_hash })
                if self.staying.is_not_read(&due.place, identity, known_hash.as_ref(), now) =>
            {
                Tally::add(&self.lane.tally.known, 1);
            }
            Ok(FirstLook::Read { known_hash }) => {
                if due.seen.is_none() {
                    Tally::add(&self.lane.tally.found, 1);
                }
                return Some(Found { place: due.place.clone(), status, known_hash, follow: None, due: Some(due) });
            }
            Ok(FirstLook::Known(entry)) => self.known(due.place, identity, entry, now),
            Ok(FirstLook::Ignored(committed)) => {
                disregarded.push(Disregarded { place: due.place, identity, committed });
            }
            Err(error) => {
                tracing::error!(dataset = self.lane.options.name, "{error}");
                self.tracker.wait_on(due, now + Duration::from_secs(1), Some(identity));
            }
        }
        None
    }

    /// A file that is gone needs nothing. In a folder that may not be entered now it may still be there.
    fn cannot_look_at(&mut self, due: Due, error: &io::Error, now: Instant) {
        if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            return;
        }
        if self.once {
            return self.note_problem(format!("{}: {error}", self.lane.path_of(&due.place).display()));
        }
        self.tracker.wait_on(due, now + LOOK_AGAIN, None);
    }
}

/// In the order in which they are taken.
pub(super) fn sort(found: &mut [Found], order: Order) {
    match order {
        Order::Name => found.sort_unstable_by(|a, b| a.place.cmp(&b.place)),
        Order::Arrival => {
            found.sort_unstable_by(|a, b| (a.status.ctime_ns, &a.place).cmp(&(b.status.ctime_ns, &b.place)))
        }
        Order::Mtime => {
            found.sort_unstable_by(|a, b| (a.status.mtime_ns, &a.place).cmp(&(b.status.mtime_ns, &b.place)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::lane::Lane;
    use std::fs;
    use std::sync::Arc;

    /// The bug: a file that could not be looked at, as its folder could not be entered for a moment, was taken for gone. (Here
    /// its folder is a link to itself for a moment, as tests may run as root, whom no mode stops.)
    #[test]
    fn a_file_that_cannot_be_looked_at_is_not_gone() {
        let base = tempfile::tempdir().unwrap();
        let text = "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2]\ndtype = 'u1'\n[dataset.watch]\n\
                    folders = ['drop']\n[dataset.records]\n";
        let options = config::parse(text, &base.path().join("c.toml")).unwrap().datasets[0].clone();
        let mut intake = DatasetIntake::new(Arc::new(Lane::new(0, Arc::new(options), 2, 1000)), false, Instant::now());
        fs::create_dir(base.path().join("drop")).unwrap();
        std::os::unix::fs::symlink("loop", base.path().join("drop/loop")).unwrap();
        fs::write(base.path().join("drop/file"), "").unwrap();
        let now = Instant::now();
        for (below, is_tracked) in [("loop/a", true), ("missing/a", false), ("file/a", false), ("b", false)] {
            let place = Place { folder: 0, below: below.into() };
            intake.tracker.touch(place.clone(), now, None, Some(true));
            let due = intake.tracker.pop_due(now).unwrap();
            assert!(intake.look_at(due, now, &mut Vec::new()).is_none());
            assert_eq!(intake.tracker.contains(&place), is_tracked, "{below}");
        }
        assert_eq!(intake.tracker.next_due(), Some(now + LOOK_AGAIN));
    }
}
