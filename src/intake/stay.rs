//! Files that stay under their names although nothing is to be done with them now: names that were used before, where
//! `changed = "ignore"`, and sources that could not be moved or deleted. They are remembered, so that scans neither read
//! them again nor tell of them again.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::dataset::{DatasetIntake, Leftover};
use super::find::Found;
use crate::config::Disposal;
use crate::lane::{Stays, Tally};
use crate::ledger::{Entry, Fate};
use crate::source::{Hash, Identity, Place};

/// So many files of one dataset are remembered. What is beyond it is looked at by each scan as if for the first time.
const STAYING_MAX: usize = 131_072;
/// The wait before a second attempt to move or delete a source; it doubles with each that fails.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// Known sources that wait to be disposed of; the next scan finds the others.
const LEFTOVERS_MAX: usize = 16_384;
/// So many files that are not taken are named in the log; the others are counted only.
const NAMED_MAX: u64 = 100;

#[derive(Debug)]
enum Why {
    Ignored,
    NotDisposed { failures: u32, again: Instant },
}

/// A file under a name that a committed source had.
pub(super) struct Disregarded {
    pub place: Place,
    pub identity: Identity,
    /// What the committed source was.
    pub committed: Identity,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Staying {
    files: HashMap<Place, (Identity, Why)>,
}

impl Staying {
    /// Whether a file that is to be read is left alone: one that may be the same that was disregarded (its content has to
    /// be known, `known_hash`), or that could not be disposed of.
    pub fn is_not_read(&self, place: &Place, identity: Identity, known_hash: Option<&Hash>, now: Instant) -> bool {
        known_hash.is_some() && self.is_left(place, identity, now)
    }

    /// Whether the file is left alone for now.
    pub fn is_left(&self, place: &Place, identity: Identity, now: Instant) -> bool {
        match self.files.get(place) {
            Some((known, why)) if *known == identity => match why {
                Why::Ignored => true,
                Why::NotDisposed { again, .. } => now < *again,
            },
            _ => false,
        }
    }

    /// Whether this is news.
    fn ignore(&mut self, place: Place, identity: Identity) -> bool {
        if matches!(self.files.get(&place), Some((known, Why::Ignored)) if *known == identity) {
            return false;
        }
        self.keep(place, identity, Why::Ignored, Instant::now());
        true
    }

    pub fn has(&self, place: &Place, identity: Identity) -> bool {
        self.files.get(place).is_some_and(|(known, _)| *known == identity)
    }

    fn not_disposed(&mut self, place: Place, identity: Identity, now: Instant) {
        let failures = match self.files.get(&place) {
            Some((known, Why::NotDisposed { failures, .. })) if *known == identity => failures.saturating_add(1),
            _ => 0,
        };
        let wait = AGAIN_MIN.saturating_mul(1 << failures.min(16)).min(AGAIN_MAX);
        self.keep(place, identity, Why::NotDisposed { failures, again: now + wait }, now);
    }

    fn keep(&mut self, place: Place, identity: Identity, why: Why, now: Instant) {
        if self.files.len() >= STAYING_MAX && !self.files.contains_key(&place) {
            // Those that were not seen again since their wait was over: they are gone.
            let is_seen = |why: &Why| !matches!(why, Why::NotDisposed { again, .. } if *again + AGAIN_MAX < now);
            self.files.retain(|_, (_, why)| is_seen(why));
            if self.files.len() >= STAYING_MAX {
                return;
            }
        }
        self.files.insert(place, (identity, why));
    }
}

impl DatasetIntake {
    /// The writer tells of a file that stays.
    pub fn stays(&mut self, place: Place, identity: Identity, why: Stays, now: Instant) {
        match why {
            Stays::Ignored => self.ignored(place, identity),
            Stays::NotDisposed => self.staying.not_disposed(place, identity, now),
        }
    }

    /// Files under names that committed sources had. Not disregarded: where the committed one is among those that were
    /// found, under another name. Once the ledger has that name, the writer tells of it.
    pub(super) fn disregard(&mut self, disregarded: Vec<Disregarded>, found: &[Found]) {
        if disregarded.is_empty() {
            return;
        }
        let renamed: HashSet<Identity> = found.iter().map(|found| Identity::from(&found.status)).collect();
        for Disregarded { place, identity, committed } in disregarded {
            if !renamed.contains(&committed) {
                self.ignored(place, identity);
            }
        }
    }

    /// A committed source has another name: what has its old one is another file.
    pub fn renamed(&mut self, old: &Path, now: Instant) {
        let Some(place) = self.place_of(&self.lane.options.base.join(old)) else { return };
        self.staying.files.remove(&place);
        let settle = self.watch().settle;
        self.tracker.touch(place, now + settle, None, None);
    }

    /// A file under a name that a committed source had, with other content, is disregarded; told once.
    pub(super) fn ignored(&mut self, place: Place, identity: Identity) {
        let tally = &self.lane.tally;
        Tally::add(&tally.known, 1);
        let path = self.lane.path_of(&place);
        if !self.staying.ignore(place, identity) {
            return;
        }
        let dataset = &self.lane.options.name;
        match tally.ignored.fetch_add(1, Ordering::Relaxed) {
            before if before < NAMED_MAX => tracing::warn!(
                dataset,
                source = &*path.to_string_lossy(),
                "not taken: another file of this name was taken before, and `changed` is \"ignore\"; set changed = \"append\" \
                 to take it as a new source, or give each file a name of its own"
            ),
            NAMED_MAX => tracing::warn!(
                dataset,
                "more files are not taken as their names were used before: they are counted only"
            ),
            _ => {}
        }
    }

    /// A file that the ledger has. What the config wants gone is disposed of now, if a crash came before it.
    pub(super) fn known(&mut self, place: Place, identity: Identity, entry: Box<Entry>, now: Instant) {
        Tally::add(&self.lane.tally.known, 1);
        // A crash may have come before it was taken out.
        self.lane.suspects.forget(identity);
        let watch = self.watch();
        let disposal = match entry.fate {
            Fate::Committed(_) => &watch.after,
            Fate::Rejected { .. } => &watch.rejected,
        };
        let is_left = self.staying.is_left(&place, identity, now) || self.lane.leaving.has(&place, identity);
        if *disposal == Disposal::Keep || is_left {
            return;
        }
        if self.leftovers.len() < LEFTOVERS_MAX {
            self.leftovers.push(Leftover { place, identity, entry });
        } else {
            self.tracker.is_incomplete = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Identity = Identity { size: 1, mtime_ns: 2, inode: 3 };
    const OTHER: Identity = Identity { size: 1, mtime_ns: 2, inode: 4 };

    fn place(name: &str) -> Place {
        Place { folder: 0, below: name.into() }
    }

    /// The bug: sources in a folder that may not be changed were tried again without a pause.
    #[test]
    fn what_cannot_be_disposed_of_is_tried_less_and_less_often() {
        let mut staying = Staying::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..11 {
            staying.not_disposed(place("a"), ONE, now);
            let wait = (0..=300).find(|s| !staying.is_left(&place("a"), ONE, now + Duration::from_secs(*s))).unwrap();
            waits.push(wait);
            now += Duration::from_secs(wait);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        staying.not_disposed(place("a"), ONE, now);
        assert!(!staying.is_left(&place("a"), OTHER, now), "another file of this name");
    }

    /// The bug: a new file under the name of a renamed one was left for ever.
    #[test]
    fn what_the_ledger_has_another_content_for_is_read_though_it_was_ignored() {
        let mut staying = Staying::default();
        assert!(staying.ignore(place("a"), ONE));
        let (hash, now) = (blake3::hash(b"a"), Instant::now());
        assert!(staying.is_not_read(&place("a"), ONE, Some(&hash), now));
        assert!(!staying.is_not_read(&place("a"), ONE, None, now));
    }

    /// The bug: a replaced file of the same size and time was read again by every scan.
    #[test]
    fn what_is_ignored_is_told_once_and_left_until_it_changes() {
        let mut staying = Staying::default();
        assert!(staying.ignore(place("a"), ONE));
        assert!(!staying.ignore(place("a"), ONE));
        let later = Instant::now() + Duration::from_secs(100_000);
        assert!(staying.is_left(&place("a"), ONE, later) && !staying.is_left(&place("a"), OTHER, later));
        assert!(staying.ignore(place("a"), OTHER));
    }
}
