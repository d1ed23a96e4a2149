//! The intake: which files are finished and new, in which order, and when they may be decoded.
//!
//! One thread for all datasets. Events are hints and scans are the truth: a hint only makes a look happen sooner. It
//! never blocks on another room; a permit that is free comes back as a message like everything else.

mod aside;
mod bare;
mod dataset;
mod find;
mod folders;
mod heirs;
mod hints;
mod logs;
mod look;
mod scan;
mod sightings;
mod stay;
mod survey;
mod tracker;
mod watch;

pub use folders::refuse_same_folders;
pub use scan::is_wanted;
pub use survey::{Survey, survey};

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, never, select};

use crate::lane::{End, Lane, Tally, ToIntake, ToWriter};
use crate::pulse;
use crate::source::Candidate;
use dataset::DatasetIntake;
use watch::{Hint, Watcher};

/// With `--once`, files that are still being written are waited for as long as others come to their end, and this long; of logs
/// that are followed, this long.
const UNFINISHED_MAX: Duration = Duration::from_secs(3);
/// Hints that are taken at one go, between two looks at everything else.
const HINTS_AT_ONCE: usize = 4096;
/// The figures on what waits are renewed so often, while something does.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// A word from the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Take nothing more.
    Stop,
    /// Scan everything now.
    Rescan,
}

/// Runs a candidate in the pool.
pub type Spawn = Box<dyn Fn(&Arc<Lane>, Candidate) + Send>;

/// The limits on what is in flight, for all datasets together.
#[derive(Debug, Clone, Copy)]
pub struct Permits {
    /// Bytes of rows.
    pub memory_bytes: u64,
    /// Sources.
    pub sources_max: usize,
}

/// What the intake met, once it has ended.
#[derive(Debug, Default)]
pub struct Report {
    /// Folders that could not be read, and the like.
    pub problems: Vec<String>,
    /// Of each dataset, what is left.
    pub left: Vec<Left>,
}

/// What `--once` leaves of one dataset.
#[derive(Debug, Default)]
pub struct Left {
    /// Sources that were found, and not taken.
    pub sources: usize,
    /// Those of them that were not finished, if the dataset has not stopped.
    pub unfinished: Vec<Unfinished>,
    /// Symbolic links, which are not followed.
    pub links: u64,
}

/// A file that is not finished.
#[derive(Debug)]
pub struct Unfinished {
    pub source: String,
    /// It has so many names, which the config refuses; `None`: somebody is writing it.
    pub names: Option<u64>,
}

/// See the module documentation.
pub struct Intake {
    datasets: Vec<DatasetIntake>,
    permits: Permits,
    used_bytes: u64,
    in_flight: usize,
    watcher: Option<Watcher>,
    from_writer: Receiver<ToIntake>,
    to_writer: Sender<ToWriter>,
    control: Receiver<Control>,
    spawn: Spawn,
    once: bool,
    next_lane: usize,
    /// The dataset whose next source ended the program before: it is decoded alone, so that no other source can have been the
    /// cause, and none is lost with it. Nothing else is dispatched until it is back.
    alone: Option<usize>,
    /// A dataset that has less than its share and that there was no room for: it comes before all others once there is, or they
    /// would fill it for ever.
    is_next: Option<usize>,
    /// When the figures are to be renewed.
    figures_due: Option<Instant>,
}

/// What connects the intake with the other rooms.
pub struct Doors {
    pub from_writer: Receiver<ToIntake>,
    pub to_writer: Sender<ToWriter>,
    pub control: Receiver<Control>,
    pub spawn: Spawn,
}

impl Intake {
    /// `once`: takes what is there and ends; no watcher.
    pub fn new(lanes: &[Arc<Lane>], permits: Permits, doors: Doors, once: bool) -> Self {
        let watcher = if once {
            None
        } else {
            Watcher::new().inspect_err(|error| tracing::warn!("no inotify: {error}; polling all folders")).ok()
        };
        let now = Instant::now();
        let Doors { from_writer, to_writer, control, spawn } = doors;
        Self {
            datasets: lanes.iter().map(|lane| DatasetIntake::new(lane.clone(), once, now)).collect(),
            permits,
            used_bytes: 0,
            in_flight: 0,
            watcher,
            from_writer,
            to_writer,
            control,
            spawn,
            once,
            next_lane: 0,
            alone: None,
            is_next: None,
            figures_due: None,
        }
    }

    /// Runs until it is told to stop or, with `once`, until all is taken.
    pub fn run(mut self) -> Report {
        loop {
            let now = Instant::now();
            for dataset in &mut self.datasets {
                pulse::beat();
                dataset.tick(now, self.watcher.as_ref());
            }
            self.hand_over_leftovers();
            self.dispatch(now);
            self.show_figures(now);
            if self.is_done() {
                break;
            }
            if !self.wait() {
                break;
            }
        }
        let problems = self.datasets.iter_mut().flat_map(|dataset| std::mem::take(&mut dataset.problems)).collect();
        Report { problems, left: self.datasets.iter().map(DatasetIntake::left).collect() }
    }

    /// Shows what is on its way, at most every [`FIGURES_EVERY`]: it takes a look at each file.
    fn show_figures(&mut self, now: Instant) {
        if self.figures_due.is_some_and(|due| now < due) {
            return;
        }
        // All of them, not only up to the first that waits.
        let waiting = self.datasets.iter().filter(|dataset| dataset.show_figures()).count();
        // Once more when there is nothing left, and then not before the next file.
        self.figures_due = (waiting > 0).then(|| now + FIGURES_EVERY);
    }

    /// Sleeps until something happens. `false`: it is over.
    fn wait(&mut self) -> bool {
        let due = self.datasets.iter().filter_map(|dataset| dataset.next_due(self.alone.is_some())).min();
        let due = [due, self.figures_due].into_iter().flatten().min();
        let timeout = match due {
            Some(due) => crossbeam_channel::at(due),
            None => never(),
        };
        let no_hints = never();
        let hints = self.watcher.as_ref().map_or(&no_hints, Watcher::hints).clone();
        pulse::rest(due);
        select! {
            recv(self.control) -> word => match word {
                Ok(Control::Rescan) => self.rescan(),
                Ok(Control::Stop) | Err(_) => return false,
            },
            recv(self.from_writer) -> message => match message {
                Ok(message) => self.message(message),
                Err(_) => return false,
            },
            recv(hints) -> hint => if let Ok(hint) = hint { self.hint(&hint) },
            recv(timeout) -> _ => {}
        }
        pulse::work();
        // What came meanwhile, too, so that a burst costs one round and not thousands.
        while let Ok(message) = self.from_writer.try_recv() {
            self.message(message);
        }
        for hint in hints.try_iter().take(HINTS_AT_ONCE) {
            self.hint(&hint);
        }
        if self.watcher.as_ref().is_some_and(Watcher::take_lost) {
            self.events_were_lost();
        }
        true
    }

    /// Folders may have been made or renamed, too: all of them are watched anew, and then scanned.
    fn events_were_lost(&mut self) {
        tracing::warn!("events were lost: scanning all folders");
        if let Some(watcher) = &self.watcher {
            watcher.let_go();
        }
        for dataset in &mut self.datasets {
            Tally::add(&dataset.lane.tally.overflows, 1);
            dataset.watch_again();
        }
        self.rescan();
    }

    fn rescan(&mut self) {
        let now = Instant::now();
        for dataset in &mut self.datasets {
            dataset.scan_all(now);
        }
    }

    fn hint(&mut self, hint: &Hint) {
        let now = Instant::now();
        for dataset in &mut self.datasets {
            dataset.hint(hint, now);
        }
    }

    fn message(&mut self, message: ToIntake) {
        let now = Instant::now();
        let (ToIntake::Done { lane, .. }
        | ToIntake::Paused { lane, .. }
        | ToIntake::Stays { lane, .. }
        | ToIntake::Renamed { lane, .. }
        | ToIntake::Stopped { lane }
        | ToIntake::Opened { lane }) = message;
        let Some(dataset) = self.datasets.get_mut(lane) else { return };
        match message {
            ToIntake::Opened { .. } => {
                dataset.open(now);
            }
            ToIntake::Paused { until, .. } => {
                dataset.paused_until = Some(until);
                dataset.is_on_trial = true;
            }
            ToIntake::Stopped { .. } => dataset.is_stopped = true,
            ToIntake::Stays { place, identity, why, .. } => dataset.stays(place, identity, why, now),
            ToIntake::Renamed { old, .. } => dataset.renamed(&old, now),
            ToIntake::Done { place, permit_bytes, end, sequence, .. } => {
                self.used_bytes -= permit_bytes;
                self.in_flight -= 1;
                match end {
                    End::Settled => {
                        dataset.is_on_trial = false;
                        // A log that grows comes to its end again and again.
                        if !dataset.follows() {
                            dataset.unfinished_since = None;
                        }
                        if let Some(touch) = dataset.tracker.settle(&place)
                            && !self.once
                        {
                            dataset.touch(place, touch.is_finished, now);
                        }
                    }
                    End::Gone => {
                        // Perhaps another file is there by now.
                        if let Some(touch) = dataset.tracker.settle(&place) {
                            dataset.touch(place, touch.is_finished, now);
                        }
                    }
                    End::NotFinished(why) => dataset.not_finished(place, why, now),
                    End::Again => dataset.tracker.put_back(place, sequence),
                    End::Unreadable(error) => {
                        let path = dataset.lane.path_of(&place);
                        let delay = dataset.tracker.retry(place, now);
                        let dataset = &dataset.lane.options.name;
                        tracing::warn!(
                            dataset,
                            source = &*path.to_string_lossy(),
                            "{error}; trying again in {delay:?}"
                        );
                    }
                }
            }
        }
    }

    fn hand_over_leftovers(&mut self) {
        for dataset in &mut self.datasets {
            while let Some(leftover) = dataset.leftovers.pop() {
                let lane = dataset.lane.index;
                let dataset::Leftover { place, identity, entry } = leftover;
                match self.to_writer.try_send(ToWriter::Dispose { lane, place, identity, entry }) {
                    Ok(()) => {}
                    Err(TrySendError::Full(ToWriter::Dispose { place, identity, entry, .. })) => {
                        dataset.leftovers.push(dataset::Leftover { place, identity, entry });
                        break;
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// Gives permits to the files that wait, one dataset after the other.
    fn dispatch(&mut self, now: Instant) {
        if self.in_flight == 0
            && let Some(place) = self.alone.take()
        {
            self.next_lane = place;
        }
        if let Some(place) = self.is_next.take() {
            self.dispatch_one(place, now);
        }
        let count = self.datasets.len();
        let mut idle = 0;
        while idle < count && self.is_next.is_none() {
            let place = self.next_lane % count;
            self.next_lane = (place + 1) % count;
            match self.dispatch_one(place, now) {
                true => idle = 0,
                false => idle += 1,
            }
        }
    }

    fn dispatch_one(&mut self, index: usize, now: Instant) -> bool {
        let Some(dataset) = self.datasets.get_mut(index) else { return false };
        if self.alone.is_some() || dataset.is_stopped || !dataset.is_open() {
            return false;
        }
        if let Some(until) = dataset.paused_until {
            // What is in flight comes back first: then its order is whole again.
            if until > now || dataset.tracker.in_flight() > 0 {
                return false;
            }
            dataset.paused_until = None;
            let lane = &dataset.lane;
            lane.accept_from.store(lane.dispatched.load(Ordering::Acquire), Ordering::Release);
            lane.interrupted.store(false, Ordering::Relaxed);
        }
        if dataset.is_on_hold() || dataset.is_on_trial && dataset.tracker.in_flight() > 0 {
            return false;
        }
        let permit_bytes = dataset.lane.permit_bytes();
        let no_room =
            self.used_bytes + permit_bytes > self.permits.memory_bytes || self.in_flight >= self.permits.sources_max;
        if no_room && self.in_flight > 0 {
            let has_file = dataset.tracker.peek().is_some();
            self.is_next = (has_file && self.has_less_than_its_share(index)).then_some(index);
            return false;
        }
        let is_suspect = dataset.next_is_suspect();
        if is_suspect {
            self.alone = Some(index);
            if self.in_flight > 0 {
                return false;
            }
        }
        let Some((place, ready)) = dataset.tracker.take() else {
            if dataset.tracker.is_incomplete && dataset.tracker.waiting() == 0 && dataset.has_room() {
                dataset.tracker.is_incomplete = false;
                dataset.scan_again(now);
            }
            return false;
        };
        let sequence = dataset.lane.dispatched.fetch_add(1, Ordering::AcqRel);
        let candidate = Candidate {
            sequence,
            place,
            identity: ready.identity,
            known_hash: ready.known_hash,
            permit_bytes,
            writer_was_seen: ready.writer_was_seen,
            arrived_ns: ready.arrived_ns,
            is_last_attempt: ready.is_last_attempt(),
            follow: ready.follow,
        };
        self.used_bytes += permit_bytes;
        self.in_flight += 1;
        (self.spawn)(&dataset.lane, candidate);
        true
    }

    /// Whether a dataset could have one permit more, if all that have files had as much room.
    fn has_less_than_its_share(&self, index: usize) -> bool {
        let Some(dataset) = self.datasets.get(index) else { return false };
        let taking = |dataset: &&DatasetIntake| dataset.tracker.in_flight() > 0 || dataset.tracker.waiting() > 0;
        let count = self.datasets.iter().filter(taking).count().max(1);
        let in_flight = dataset.tracker.in_flight();
        let bytes = dataset.lane.permit_bytes().saturating_mul(in_flight as u64 + 1);
        in_flight == 0
            || bytes <= self.permits.memory_bytes / count as u64 && in_flight < self.permits.sources_max / count
    }

    /// Whether there is nothing left to wait for: no dataset takes anything more or, with `--once`, all is taken.
    fn is_done(&self) -> bool {
        if !self.once {
            return self.in_flight == 0 && self.datasets.iter().all(|dataset| dataset.is_stopped);
        }
        self.datasets.iter().all(|dataset| {
            let finished = dataset.is_open()
                && dataset.was_scanned()
                && dataset.tracker.is_empty()
                && dataset.leftovers.is_empty();
            let hopeless = dataset.is_stopped && dataset.tracker.in_flight() == 0;
            let waited = dataset.unfinished_since.is_some_and(|since| since.elapsed() > UNFINISHED_MAX);
            // Logs that wait are found again by the scan that is due.
            let is_found = !dataset.follows() || dataset.was_scanned();
            let unfinished = waited && is_found && dataset.tracker.in_flight() == 0;
            (finished && !dataset.tracker.is_incomplete) || hopeless || (unfinished && dataset.tracker.waiting() == 0)
        })
    }
}

#[cfg(test)]
mod tests;
