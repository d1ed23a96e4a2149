//! Logs that are followed: which of them have grown, and in which order what is new in them comes.
//!
//! An event or a scan that finds a log longer than it was is enough to take what is new. Anything else (a file that was not
//! there before, one that became shorter, one that went away) may be a rotation, and then what was written before it has to
//! come first, wherever it lies now. So nothing more is dispatched until what is in flight has come back; then all folders
//! are scanned as one, and taken in the order of their last change. A log that was renamed to a name that is no source's is
//! found by its inode in the same folder (`renamed`), a copy by its content.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bare::BareFolders;
use super::dataset::DatasetIntake;
use super::find::Found;
use super::folders::Folder;
use super::heirs::Heirs;
use super::look::{LogLook, Look};
use super::scan::{Problem, is_wanted, walk};
use super::sightings::{Sighting, Sightings};
use super::tracker::Due;
use crate::config::Duplicates;
use crate::lane::Tally;
use crate::ledger::LedgerError;
use crate::source::{Follow, Identity, LogState, Original, Place, tail_hash};
use crate::storage::{FileStatus, open_without_waiting};

/// What is in flight is waited for, before a scan, by looking so often.
const HOLD: Duration = Duration::from_millis(5);
/// Whoever copies a log and cuts it short gets so much time for it at least.
const ROTATION: Duration = Duration::from_millis(20);
/// So many files that are new in one scan are held against each other.
const NEWCOMERS_MAX: usize = 64;

/// What the intake remembers of logs, beside the ledger.
#[derive(Debug, Default)]
pub struct Logs {
    /// So long a scan waits: for what is in flight, or for a rotation to come to its end.
    pub(super) hold: Option<Duration>,
    /// Logs that the last scan found to be shorter or written anew, by inode.
    shorter: HashSet<u64>,
    /// Inodes of logs that were found to be written anew, though they are as long as before.
    replaced: HashSet<u64>,
    /// Logs that became shorter, by inode: what they were before, and the smallest size that was seen.
    cut: HashMap<u64, (LogState, u64)>,
    /// Logs under names that are no sources'.
    pub(super) moved: HashSet<Place>,
    /// Where each log was.
    pub(super) sightings: Sightings,
    /// Logs of which was told, since the last scan, that they have further names.
    linked: BTreeSet<Place>,
    /// Logs of which was told that they were cut and wait, by inode.
    waiting: HashSet<u64>,
    /// The ledger was asked for logs that an earlier run followed.
    pub(super) were_read: bool,
}

/// A file in a scan.
struct Seen {
    place: Place,
    status: FileStatus,
    follow: Follow,
    /// Among files that were changed in the same instant: what went on before what is new, and that before what was replaced.
    rank: u8,
}

impl DatasetIntake {
    pub(super) fn follows(&self) -> bool {
        self.lane.options.decoder.follows()
    }

    /// Whether a file is a log by its name, or was one.
    pub(super) fn was_log(&self, place: &Place) -> bool {
        self.logs.moved.contains(place)
    }

    /// A log may have grown.
    pub(super) fn look_at_log(&mut self, due: Due, now: Instant) -> Option<Found> {
        let place = due.place.clone();
        let Ok(metadata) = fs::symlink_metadata(self.lane.path_of(&place)) else {
            if self.logs.sightings.was_at(&place) {
                self.scan_again(now);
            }
            return None;
        };
        let status = FileStatus::from(&metadata);
        if !status.is_regular {
            return None;
        }
        self.logs.sightings.note(Sighting::looked_at(&place, status));
        match self.look.as_ref()?.log(&place, &status) {
            Ok(LogLook::Grown { state, is_moved })
                if !self.logs.replaced.contains(&status.inode) && !self.is_cut(&place, &state, status.inode) =>
            {
                let follow = Follow { known: Some(state), is_moved, ..Follow::default() };
                Some(Found { place, status, known_hash: None, follow: Some(Box::new(follow)), due: Some(due) })
            }
            Ok(LogLook::Nothing) => None,
            Ok(_) => {
                // A log that was cut is found by each scan, and not taken while it is being written.
                self.tracker.leave_to_scan(due);
                self.scan_again(now);
                None
            }
            Err(error) => {
                tracing::error!(dataset = self.lane.options.name, "{error}");
                self.tracker.wait_on(due, now + Duration::from_secs(1), Some(Identity::from(&status)));
                None
            }
        }
    }

    /// Whether a log that was seen to be shorter than what was taken of it, and is not any more, was cut.
    fn is_cut(&mut self, place: &Place, state: &LogState, inode: u64) -> bool {
        if !self.logs.cut.get(&inode).is_some_and(|(before, _)| before == state) {
            return false;
        }
        let is_still = is_still(&self.lane.path_of(place), state);
        if is_still {
            self.logs.cut.remove(&inode);
        }
        !is_still
    }

    /// The smallest size that a log was seen to have since it became shorter than what was taken of it.
    fn cut_at(&mut self, look: &Look, state: &LogState, status: &FileStatus) -> Result<Option<u64>, LedgerError> {
        let cut = self.logs.cut.get(&status.inode).filter(|(before, _)| before == state).map(|(_, at)| *at);
        let noted = look.cut_at(state)?;
        let cut = [cut, noted].into_iter().flatten().min();
        if status.size >= state.part.end {
            return Ok(cut);
        }
        let cut_at = cut.unwrap_or(u64::MAX).min(status.size);
        self.logs.cut.insert(status.inode, (state.clone(), cut_at));
        Ok(Some(cut_at))
    }

    /// A log is not what it was when it was found.
    pub(super) fn log_was_replaced(&mut self, place: &Place, now: Instant) {
        self.tracker.settle(place);
        if let Ok(metadata) = fs::symlink_metadata(self.lane.path_of(place)) {
            self.logs.replaced.insert(FileStatus::from(&metadata).inode);
        }
        self.scan_again(now);
    }

    /// Nothing is taken from a log that was cut while somebody writes to it.
    pub(super) fn log_is_cut(&mut self, place: &Place) {
        let path = self.lane.path_of(place);
        let Ok(metadata) = fs::symlink_metadata(&path) else { return };
        if self.logs.waiting.insert(FileStatus::from(&metadata).inode) {
            tracing::warn!(
                dataset = self.lane.options.name,
                source = &*path.to_string_lossy(),
                "it was cut, or written anew with the same beginning, and is open for writing: what is new in it waits until \
                 it is closed"
            );
        }
    }

    /// Nothing is taken from a log while it has further names, which the config refuses.
    pub(super) fn log_is_linked(&mut self, place: &Place) {
        if self.logs.linked.insert(place.clone()) {
            let path = self.lane.path_of(place);
            tracing::warn!(
                dataset = self.lane.options.name,
                source = &*path.to_string_lossy(),
                "nothing is taken from it while it has other names (hard links), with hard_links = \"refuse\""
            );
        }
    }

    /// All that is new in all logs, in order. `None`: not yet, something is in flight.
    pub(super) fn find_logs(&mut self, look: &Look) -> Result<Option<Vec<Found>>, LedgerError> {
        self.logs.hold = (self.tracker.in_flight() > 0).then_some(HOLD);
        if self.logs.hold.is_some() {
            return Ok(None);
        }
        self.tracker.clear();
        let lane = self.lane.clone();
        let watch = &lane.options.watch;
        let mut files = Vec::new();
        for (folder, root) in watch.folders.iter().enumerate() {
            let walked = walk(root, &PathBuf::new(), watch, &mut BareFolders::default(), &mut |below, status| {
                files.push((Place { folder, below }, status));
            });
            let is_missing = self.folders.get(folder).is_some_and(Folder::is_missing);
            let problems = match walked {
                Ok(walked) => {
                    self.note_links(folder, Path::new(""), walked.links);
                    walked.problems
                }
                Err(_) if is_missing => Vec::new(),
                Err(error) => vec![Problem { path: root.clone(), error }],
            };
            self.note_not_scanned(problems);
        }
        self.logs.moved.retain(|place| lane.path_of(place).exists());
        for place in &self.logs.moved {
            if let Ok(metadata) = fs::symlink_metadata(lane.path_of(place)) {
                files.push((place.clone(), FileStatus::from(&metadata)));
            }
        }
        let missing = self.find_renamed(look, &mut files)?;
        let mut seen = self.look_at_all(look, &files)?;
        let shorter = seen.iter().filter(|seen| seen.follow.replaces.is_some()).map(|seen| seen.status.inode).collect();
        let was_seen_before = self.logs.shorter.is_superset(&shorter);
        self.logs.waiting.retain(|inode| shorter.contains(inode));
        self.logs.shorter = shorter;
        if !was_seen_before {
            // The walk may have come between a copy and its name: once more, when whoever rotates has had the time.
            self.logs.hold = Some(watch.settle.max(ROTATION));
            return Ok(None);
        }
        self.tell_of_missing(look, missing)?;
        self.logs.sightings.renew(&files);
        self.logs.replaced.clear();
        self.logs.linked.clear();
        seen.sort_by_cached_key(|seen| (seen.status.mtime_ns, seen.rank, Reverse(seen.place.clone())));
        let room = self.tracker.room();
        self.tracker.is_incomplete |= seen.len() > room;
        let found = seen.into_iter().take(room).map(|Seen { place, status, mut follow, .. }| {
            if follow.known.is_none() {
                let file = open_without_waiting(&lane.path_of(&place));
                follow.found_tail = file.and_then(|file| tail_hash(&file, status.size)).ok();
            }
            Found { place, status, known_hash: None, follow: Some(Box::new(follow)), due: None }
        });
        Ok(Some(found.collect()))
    }

    /// Logs are taken as they are; `false`: the scan is still to come.
    pub(super) fn take_logs(&mut self, found: Result<Option<Vec<Found>>, LedgerError>) -> bool {
        match found {
            Ok(None) => return false,
            Ok(Some(found)) => {
                for one in found {
                    self.tracker.add_ready(one.place, &one.status, None, one.follow);
                }
                self.tracker.end_scan();
            }
            Err(error) => {
                tracing::error!(dataset = self.lane.options.name, "{error}");
                self.note_problem(error.to_string());
            }
        }
        true
    }

    fn look_at_all(&mut self, look: &Look, files: &[(Place, FileStatus)]) -> Result<Vec<Seen>, LedgerError> {
        let lane = self.lane.clone();
        let skips_copies = lane.options.watch.duplicates == Duplicates::Skip;
        let found: HashMap<u64, &Place> = files.iter().map(|(place, status)| (status.inode, place)).collect();
        let mut seen = Vec::new();
        // Files that are no log that goes on; with what they were.
        let mut others = Vec::new();
        for (place, status) in files {
            match look.log(place, status)? {
                LogLook::Nothing => Tally::add(&lane.tally.known, 1),
                // Seen here, before anything is dispatched: a copy that got the inode of an older log comes in its order.
                LogLook::Grown { state, is_moved }
                    if !self.logs.replaced.contains(&status.inode) && is_still(&lane.path_of(place), &state) =>
                {
                    self.logs.cut.remove(&status.inode);
                    let follow = Follow { known: Some(state), is_moved, ..Follow::default() };
                    seen.push(Seen { place: place.clone(), status: *status, follow, rank: 0 });
                }
                LogLook::Grown { state, .. } | LogLook::Replaced(state) => others.push((place, status, Some(state))),
                LogLook::New => {
                    Tally::add(&lane.tally.found, 1);
                    others.push((place, status, None));
                }
            }
        }
        if others.is_empty() {
            return Ok(seen);
        }
        // What an inode was, and what had a name before, whose copy or next version may be among the new files.
        let (mut changed, mut used_again) = (HashSet::new(), HashSet::new());
        let mut at_path = HashMap::new();
        for (place, status, old) in &others {
            if let Some(old) = old {
                changed.insert(old.part.log);
                if !look.is_another(status)? {
                    continue;
                }
                used_again.insert(status.inode);
                // What was seen may have been the other one.
                self.logs.sightings.note(Sighting::looked_at(place, **status));
            }
            if let Some(entry) = look.log_at_path(place)? {
                changed.insert(entry.source_id());
                at_path.insert(*place, entry.identity.inode);
            }
        }
        let here = files.iter().filter(|(_, status)| !used_again.contains(&status.inode));
        let originals = Arc::new(look.originals(here, changed.into_iter())?);
        // A file that only has the inode of a log is as new as any other.
        let is_new = |status: &FileStatus, old: Option<&LogState>| old.is_none() || used_again.contains(&status.inode);
        let newcomers = others.iter().filter(|(_, status, old)| is_new(status, old.as_ref()));
        let mut heirs = Heirs::new(newcomers.map(|(place, status, _)| (lane.path_of(place), **status)), &found);
        // Files that are no sources by their names, with the logs that they may be copies of.
        let mut copies: HashMap<Place, (FileStatus, Vec<Original>)> = HashMap::new();
        for (place, status, old) in others {
            let path = lane.path_of(place);
            let rank = if is_new(status, old.as_ref()) { 2 } else { 3 };
            // A name that is no source's is that of a log which was renamed, or by now of anything else.
            let only_continues = !is_wanted(&lane.options.watch, &place.below) && !self.is_log(place, status.inode);
            let originals = originals.clone();
            let inode = at_path.get(place).filter(|inode| **inode != status.inode);
            let before = inode.and_then(|inode| found.get(inode)).map(|place| lane.path_of(place));
            let mut follow = Follow { before, originals, only_continues, skips_copies, ..Follow::default() };
            if let Some(old) = old {
                follow.has_only_inode = used_again.contains(&status.inode);
                follow.cut_at = if follow.has_only_inode { None } else { self.cut_at(look, &old, status)? };
                // It may be a copy of another log.
                follow.before = heirs.heir(&path, &old).or(follow.before);
                for (copy, status_of_copy) in heirs.copies(look, &path, &old)? {
                    let Some(copied) = self.place_of(&copy) else { continue };
                    let (parts, state, inode) = (look.parts(&old)?, old.clone(), Some(status.inode));
                    let original = Original { parts, state, first_path: path.clone(), path: path.clone(), inode };
                    copies.entry(copied).or_insert((status_of_copy, Vec::new())).1.push(original);
                    follow.before.get_or_insert(copy);
                }
                follow.replaces = Some(old);
            }
            seen.push(Seen { place: place.clone(), status: *status, follow, rank });
        }
        seen.extend(copies.into_iter().map(|(place, (status, originals))| {
            let follow = Follow { originals: Arc::new(originals), only_continues: true, ..Follow::default() };
            Seen { place, status, follow, rank: 1 }
        }));
        self.introduce(&mut seen);
        Ok(seen)
    }

    /// Of files that are new together, one may be a copy of another: those that were changed last are held against each other.
    fn introduce(&self, seen: &mut [Seen]) {
        let is_new = |seen: &Seen| seen.follow.known.is_none() && !seen.follow.only_continues;
        let mut newcomers: Vec<&Seen> = seen.iter().filter(|seen| is_new(seen)).collect();
        newcomers.sort_by_key(|seen| Reverse(seen.status.mtime_ns));
        newcomers.truncate(NEWCOMERS_MAX);
        let paths: Vec<PathBuf> = newcomers.iter().map(|seen| self.lane.path_of(&seen.place)).collect();
        let paths = Arc::new(paths);
        for newcomer in seen.iter_mut().filter(|seen| is_new(seen)) {
            newcomer.follow.newcomers = paths.clone();
        }
    }
}

/// Whether the file is the log that was taken. What cannot be read is looked at when it is taken.
pub(super) fn is_still(path: &std::path::Path, state: &LogState) -> bool {
    open_without_waiting(path).and_then(|file| state.part.is_of(&file)).unwrap_or(true)
}
