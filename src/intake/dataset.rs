//! One dataset in the intake: its folders, its files on their way, and what its scans and events mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::find::{Found, sort};
use super::folders::{Change, Folder};
use super::logs::Logs;
use super::look::Look;
use super::scan::Problem;
use super::stay::Staying;
use super::tracker::Tracker;
use super::watch::Watcher;
use super::{Left, Unfinished};
use crate::config::Watch;
use crate::lane::{Lane, Tally};
use crate::ledger::Entry;
use crate::source::{Identity, NotFinished, Place, wall_clock_ns};

/// More new folders at a time than this are found by a scan of everything.
const NEW_FOLDERS_MAX: usize = 64;
/// Where the kernel does not tell whether a file is being written, it must be quiet this much longer than `settle`.
const UNCERTAIN_FACTOR: u32 = 10;
const UNCERTAIN_MIN: Duration = Duration::from_secs(5);
/// It is read each time, and other files may be on their way to another disk before it.
const MAY_BE_GONE_WAIT_MIN: Duration = Duration::from_secs(1);
/// A file that turned out not to be finished is left alone so long, if `settle` is less. The kernel tells that a file was
/// closed before it stops counting the writer: who is quick finds one.
const UNFINISHED_WAIT_MIN: Duration = Duration::from_millis(5);

/// A known source that the config wants disposed of, and that is still there.
pub struct Leftover {
    pub place: Place,
    pub identity: Identity,
    pub entry: Box<Entry>,
}

/// See the module documentation.
pub struct DatasetIntake {
    pub lane: Arc<Lane>,
    pub tracker: Tracker,
    /// `None` while the dataset is not open.
    pub(super) look: Option<Look>,
    /// Its ledger could not be read when it was opened.
    open_again_at: Option<Instant>,
    pub(super) folders: Vec<Folder>,
    /// For each folder, when it is to be scanned.
    pub(super) scans_due: Vec<Instant>,
    /// For each folder, whether it was scanned, or found to be missing.
    pub(super) scanned: Vec<bool>,
    /// One scan is enough (`--once`).
    pub(super) once: bool,
    /// How often `--once` has waited for files to become quiet.
    waits: u32,
    /// To be scanned at the next tick: which of the folders, and the path below it.
    pub(super) new_folders: BTreeSet<(usize, PathBuf)>,
    pub paused_until: Option<Instant>,
    /// After a pause one source is tried before the others follow.
    pub is_on_trial: bool,
    pub is_stopped: bool,
    /// Work that the writer has to do and that did not fit into its queue is found again by the next scan.
    pub leftovers: Vec<Leftover>,
    pub(super) staying: Staying,
    pub problems: Vec<String>,
    /// Files that were still being written; for `--once`.
    pub unfinished_since: Option<Instant>,
    /// By the wall clock, when the dataset's writer had not begun yet.
    pub(super) made_ns: i64,
    pub(super) logs: Logs,
    /// Files that have further names, and how many; for `--once`.
    linked: BTreeMap<Place, u64>,
    /// For each folder, the symbolic links that its last scan found.
    pub(super) links: Vec<u64>,
}

/// When they did not fit into the writer's queue, they are offered again after this time.
const LEFTOVER_WAIT: Duration = Duration::from_millis(20);
/// A ledger that cannot be read is tried again after this time.
const OPEN_AGAIN: Duration = Duration::from_secs(2);
/// With `--once`, a scan waits for files to become quiet so many times.
const WAITS_MAX: u32 = 5;
/// Longer than any `--once` runs.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// A file on a network filesystem counts as quiet at first sight if it is older than this by our clock.
const OLD_ANYWHERE: Duration = Duration::from_secs(3600);

impl DatasetIntake {
    pub fn new(lane: Arc<Lane>, once: bool, now: Instant) -> Self {
        let folders: Vec<Folder> = lane.options.watch.folders.iter().cloned().map(Folder::new).collect();
        Self {
            scans_due: vec![now; folders.len()],
            scanned: vec![false; folders.len()],
            links: vec![0; folders.len()],
            once,
            waits: 0,
            folders,
            lane,
            tracker: Tracker::default(),
            look: None,
            open_again_at: None,
            new_folders: BTreeSet::new(),
            paused_until: None,
            is_on_trial: false,
            is_stopped: false,
            leftovers: Vec::new(),
            staying: Staying::default(),
            problems: Vec::new(),
            unfinished_since: None,
            made_ns: wall_clock_ns(),
            logs: Logs::default(),
            linked: BTreeMap::new(),
        }
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.lane.options.watch
    }

    pub fn is_open(&self) -> bool {
        self.look.is_some()
    }

    /// The dataset's files are there: its ledger can be asked. If not now, a service asks again; `--once` must end.
    pub fn open(&mut self, now: Instant) {
        match Look::open(&self.lane.options) {
            Ok(look) => {
                self.look = look;
                self.open_again_at = None;
                self.scan_all(now);
            }
            Err(error) => {
                tracing::error!(dataset = self.lane.options.name, "{error}");
                self.note_problem(error.to_string());
                self.open_again_at = Some(now + OPEN_AGAIN);
                self.is_stopped = self.once;
            }
        }
    }

    /// Has every folder scanned.
    pub fn scan_all(&mut self, now: Instant) {
        self.scans_due.fill(now);
    }

    /// Has every folder that is watched watched anew, before its next scan.
    pub fn watch_again(&mut self) {
        self.folders.iter_mut().for_each(Folder::watch_again);
    }

    /// Has every folder scanned, as one, because of what was found: a rotation, or more than could be remembered. `--once`
    /// does not end before.
    pub(super) fn scan_again(&mut self, now: Instant) {
        self.scan_all(now);
        self.scanned.fill(false);
    }

    /// The next time at which something is to be done without an event. `is_held`: nothing is dispatched before what is in
    /// flight has come back with a message, so that the end of a pause is waited for by nobody.
    pub fn next_due(&self, is_held: bool) -> Option<Instant> {
        if self.is_stopped {
            return None;
        }
        if !self.is_open() {
            return self.open_again_at;
        }
        let scan = self.scans_due.iter().min().copied();
        // A pause that is over waits for what is in flight, which comes back with a message.
        let pause = self.paused_until.filter(|_| !is_held && self.tracker.in_flight() == 0);
        let leftover = (!self.leftovers.is_empty()).then(|| Instant::now() + LEFTOVER_WAIT);
        [scan, self.tracker.next_due(), pause, leftover].into_iter().flatten().min()
    }

    /// Whether the path lies below one of the folders, and where.
    pub(super) fn place_of(&self, path: &Path) -> Option<Place> {
        self.lane.options.place_of(path)
    }

    /// Does what is due: scans, new folders, files whose quiet time is over.
    pub fn tick(&mut self, now: Instant, watcher: Option<&Watcher>) {
        if self.open_again_at.is_some_and(|at| at <= now) && !self.is_stopped {
            self.open(now);
        }
        if !self.is_open() || self.is_stopped {
            return;
        }
        if self.follows() && !std::mem::take(&mut self.new_folders).is_empty() {
            // Logs are scanned as one, and what is in flight is waited for.
            self.scan_again(now);
        }
        self.scan_due_folders(now, watcher);
        self.scan_new_folders(now);
        let (mut found, mut disregarded) = (Vec::new(), Vec::new());
        while let Some(due) = self.tracker.pop_due(now) {
            found.extend(match self.follows() {
                true => self.look_at_log(due, now),
                false => self.look_at(due, now, &mut disregarded),
            });
        }
        self.disregard(disregarded, &found);
        sort(&mut found, self.watch().order);
        for Found { status, known_hash, follow, due, place } in found {
            if let Some(due) = due {
                self.tracker.make_ready(due, &status, known_hash, follow);
            } else {
                self.tracker.add_ready(place, &status, known_hash, follow);
            }
        }
    }

    /// Looks whether the folders that are due are there, and scans those that are, as one: the order holds across them.
    fn scan_due_folders(&mut self, now: Instant, watcher: Option<&Watcher>) {
        if !self.scans_due.iter().any(|due| *due <= now) {
            return;
        }
        let lane = self.lane.clone();
        let (dataset, watch) = (&lane.options.name, &lane.options.watch);
        let mut checked = Vec::new();
        let mut there = Vec::new();
        let due = self.folders.iter_mut().zip(&self.scans_due).enumerate().filter(|(_, (_, due))| **due <= now);
        let mut missing = Vec::new();
        for (index, (folder, _)) in due {
            checked.push(index);
            Tally::add(&self.lane.tally.scans, 1);
            match folder.check(watch, watcher) {
                Change::Missing { error, first: true } => missing.push(format!("{}: {error}", folder.root.display())),
                Change::Missing { first: false, .. } => {}
                Change::None | Change::Appeared => there.push((index, PathBuf::new())),
            }
        }
        for text in missing {
            let again = if self.once { "" } else { "; looking for it every second" };
            tracing::warn!(dataset, "the watched folder cannot be read: {text}{again}");
            self.note_problem(format!("the watched folder cannot be read: {text}"));
        }
        self.lane
            .tally
            .miss(self.folders.iter().filter(|folder| folder.is_missing()).map(|folder| folder.root.clone()));
        let is_settled = if there.is_empty() { self.end_hold(now) } else { self.scan(&there, now) };
        // From the scan's end: a scan that takes long must not follow itself at once.
        let after = Instant::now();
        for index in checked {
            let (Some(folder), Some(due)) = (self.folders.get(index), self.scans_due.get_mut(index)) else { continue };
            *due = match (self.logs.hold, self.once, is_settled) {
                (Some(hold), ..) => after + hold,
                (None, true, false) => after + watch.settle,
                (None, true, true) => after + NEVER,
                (None, false, _) => folder.next_check(watch, after),
            };
            if let Some(scanned) = self.scanned.get_mut(index) {
                *scanned = is_settled;
            }
        }
    }

    /// None of the folders that were due is there: a scan that waits comes without them, if there are others.
    fn end_hold(&mut self, now: Instant) -> bool {
        if self.logs.hold.is_none() {
            return true;
        }
        if !self.folders.iter().all(Folder::is_missing) {
            return self.scan(&[], now);
        }
        self.logs.hold = None;
        true
    }

    fn scan_new_folders(&mut self, now: Instant) {
        let mut due = std::mem::take(&mut self.new_folders);
        if due.len() > NEW_FOLDERS_MAX {
            let folders: BTreeSet<usize> = due.iter().map(|(folder, _)| *folder).collect();
            due = folders.into_iter().map(|folder| (folder, PathBuf::new())).collect();
        }
        let mut targets: Vec<(usize, PathBuf)> = Vec::new();
        for (folder, below) in due {
            // In order, a folder comes right before those inside it.
            if !targets.last().is_some_and(|(other, above)| *other == folder && below.starts_with(above)) {
                targets.push((folder, below));
            }
        }
        if !targets.is_empty() {
            self.scan(&targets, now);
        }
    }

    /// Scans folders, as one. With `--once`, files that are not quiet yet make it wait and scan again, so that all that is
    /// there is taken in one order; `false` says so. For files that never become quiet it waits only so often.
    fn scan(&mut self, targets: &[(usize, PathBuf)], now: Instant) -> bool {
        let Some(look) = self.look.take() else { return true };
        if self.follows() {
            let result = self.find_logs(&look);
            self.look = Some(look);
            return self.take_logs(result);
        }
        let result = self.find(targets, &look, now);
        self.look = Some(look);
        let found = match result {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(dataset = self.lane.options.name, "{error}");
                self.note_problem(error.to_string());
                return true;
            }
        };
        let wall_ns = wall_clock_ns();
        let quiet_ns: Vec<i64> = self.folders.iter().map(|folder| self.quiet_ns(folder)).collect();
        let is_quiet = |found: &Found| {
            let quiet_ns = quiet_ns.get(found.place.folder).copied().unwrap_or_default();
            wall_ns.saturating_sub(found.status.ctime_ns) >= quiet_ns
        };
        if self.once && self.waits < WAITS_MAX && !found.iter().all(is_quiet) {
            self.waits += 1;
            return false;
        }
        Tally::add(&self.lane.tally.found, found.len() as u64);
        let settle = self.watch().settle;
        for one in found {
            let identity = Identity::from(&one.status);
            if is_quiet(&one) {
                self.tracker.add_ready(one.place, &one.status, one.known_hash, None);
            } else {
                self.tracker.touch(one.place, now + settle, Some(identity), None);
            }
        }
        true
    }

    /// The age at which a file counts as quiet at first sight. Its change time is set by the clock of the machine that has
    /// the disk: ours, or a server's.
    fn quiet_ns(&self, folder: &Folder) -> i64 {
        let settle = self.watch().settle;
        let quiet = if folder.is_local { settle } else { settle.max(OLD_ANYWHERE) };
        i64::try_from(quiet.as_nanos()).unwrap_or(i64::MAX)
    }

    pub(super) fn note_not_scanned(&mut self, problems: Vec<Problem>) {
        for Problem { path, error } in problems {
            let text = format!("not scanned: {}: {error}", path.display());
            let dataset = &self.lane.options.name;
            // `--once` scans again before its end.
            if !self.problems.contains(&format!("dataset \"{dataset}\": {text}")) {
                tracing::warn!(dataset, "{text}");
                self.note_problem(text);
            }
        }
    }

    /// A scan of all of a folder has met so many symbolic links.
    pub(super) fn note_links(&mut self, folder: usize, within: &Path, links: u64) {
        if let Some(known) = self.links.get_mut(folder).filter(|_| within.as_os_str().is_empty()) {
            *known = links;
        }
    }

    /// For the report of `--once`; a service has its log.
    pub(super) fn note_problem(&mut self, text: String) {
        if self.once {
            self.problems.push(format!("dataset \"{}\": {text}", self.lane.options.name));
        }
    }

    /// A file that was taken turned out not to be finished.
    pub fn not_finished(&mut self, place: Place, why: NotFinished, now: Instant) {
        if why == NotFinished::Replaced {
            return self.log_was_replaced(&place, now);
        }
        let settle = self.watch().settle.max(UNFINISHED_WAIT_MIN);
        let wait = match why {
            NotFinished::Changed | NotFinished::Replaced => settle,
            NotFinished::Linked(_) if self.follows() => {
                self.log_is_linked(&place);
                self.watch().rescan
            }
            NotFinished::Cut(_) => {
                self.log_is_cut(&place);
                settle
            }
            // Its close sends an event; without events it is asked again.
            NotFinished::BeingWritten | NotFinished::Linked(_) => settle,
            NotFinished::MayBeGone => settle.max(MAY_BE_GONE_WAIT_MIN),
            NotFinished::MayBeWritten => (settle * UNCERTAIN_FACTOR).max(UNCERTAIN_MIN),
        };
        self.unfinished_since.get_or_insert(now);
        match why {
            NotFinished::Linked(names) if self.once => drop(self.linked.insert(place.clone(), names)),
            _ => drop(self.linked.remove(&place)),
        }
        self.tracker.settle_again(place, now, wait);
    }

    /// Whether nothing is dispatched until what is in flight has come back.
    pub fn is_on_hold(&self) -> bool {
        self.logs.hold.is_some()
    }

    /// Whether the next file ended the program before, and is to be tried again.
    pub fn next_is_suspect(&mut self) -> bool {
        let suspects = &self.lane.suspects;
        !suspects.is_empty() && self.tracker.peek().is_some_and(|identity| suspects.is_to_be_tried(identity))
    }

    /// Shows what is on its way. Whether something is.
    pub fn show_figures(&self) -> bool {
        self.tracker.show(&self.lane.tally.waiting);
        !self.tracker.is_empty()
    }

    /// Whether another scan could add anything.
    pub fn has_room(&self) -> bool {
        self.tracker.room() > 0 && self.leftovers.is_empty()
    }

    /// Whether each folder was scanned, or found to be missing.
    pub fn was_scanned(&self) -> bool {
        self.scanned.iter().all(|scanned| *scanned)
    }

    /// What `--once` leaves.
    pub fn left(&self) -> Left {
        let unfinished = |place| Unfinished {
            source: self.lane.path_of(place).display().to_string(),
            names: self.linked.get(place).copied(),
        };
        Left {
            sources: self.tracker.places().count(),
            // A dataset that has stopped is why it is left, whatever became of the file.
            unfinished: if self.is_stopped { Vec::new() } else { self.tracker.settling().map(unfinished).collect() },
            links: self.links.iter().sum(),
        }
    }
}
