//! One dataset in the writer's thread: its sources in their order, its commits, and its faults.

mod settle;
mod take;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::dataset::{DatasetWriter, StagedAs};
use super::disposer::Jobs;
use super::fault::Fault;
use crate::decode::RowBlock;
use crate::lane::{End, Finished, Lane, Stays, ToIntake};
use crate::source::{Candidate, Identity, Place};
use crate::tally::Stage;
use settle::NotDisposed;

/// The first wait after a full disk; it doubles with every attempt that fails.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Whether a dataset takes rows.
enum State {
    /// Waits to be opened: its folder is not there, or cannot be written to.
    Closed,
    Open(Box<DatasetWriter>),
    /// Takes nothing until a restart.
    Stopped,
}

/// What became of an attempt to open a dataset.
pub enum Opening {
    Opened(Box<DatasetWriter>),
    /// The cause may pass: it is tried again.
    NotYet(String),
    Never(String),
}

/// A source that is staged; what is to be done once it is committed.
struct Settlement {
    candidate: Candidate,
    id: u64,
    kind: StagedAs,
    reason: Option<String>,
    decoded: Instant,
}

/// See the module documentation.
pub struct Slot {
    lane: Arc<Lane>,
    state: State,
    to_intake: Sender<ToIntake>,
    /// Sources that came before their turn.
    early: BTreeMap<u64, Finished>,
    next_sequence: u64,
    settlements: Vec<Settlement>,
    paused_until: Option<Instant>,
    pause: Duration,
    /// A passing fault ends it as well: there is nobody to wait (`--once`).
    never_waits: bool,
    not_disposed: NotDisposed,
    /// Who moves and deletes files beside the writer; `None`: the writer does.
    disposer: Option<Jobs>,
}

impl Slot {
    pub fn new(
        lane: Arc<Lane>,
        first: Opening,
        to_intake: Sender<ToIntake>,
        never_waits: bool,
        disposer: Option<Jobs>,
    ) -> Self {
        let mut slot = Self {
            lane,
            state: State::Closed,
            to_intake,
            early: BTreeMap::new(),
            next_sequence: 0,
            settlements: Vec::new(),
            paused_until: None,
            pause: PAUSE_MIN,
            never_waits,
            not_disposed: NotDisposed::default(),
            disposer,
        };
        match first {
            Opening::Opened(writer) => slot.open(*writer),
            Opening::NotYet(reason) => slot.lane.tally.pause(Some(reason)),
            Opening::Never(reason) => slot.stop(&reason),
        }
        slot
    }

    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub fn open(&mut self, writer: DatasetWriter) {
        self.lane.tally.published_rows.store(writer.published_rows(), Ordering::Relaxed);
        self.lane.tally.pause(None);
        self.state = State::Open(Box::new(writer));
        self.lane.suspects.load(&self.lane.options.name);
        self.tell(ToIntake::Opened { lane: self.lane.index });
    }

    pub fn stop(&mut self, reason: &str) {
        tracing::error!(dataset = self.lane.options.name, "{reason}; it takes nothing more before a restart");
        self.lane.tally.fail(reason);
        self.lane.interrupted.store(true, Ordering::Relaxed);
        self.state = State::Stopped;
        self.tell(ToIntake::Stopped { lane: self.lane.index });
    }

    fn tell(&self, message: ToIntake) {
        // The intake may have ended before: then nobody waits for permits.
        drop(self.to_intake.send(message));
    }

    fn stays(&self, place: &Place, identity: Identity, why: Stays) {
        self.tell(ToIntake::Stays { lane: self.lane.index, place: place.clone(), identity, why });
    }

    fn done(&self, candidate: Candidate, end: End) {
        // Not before the ledger has it: it may end the program again.
        if matches!(end, End::Settled | End::Gone) {
            self.lane.suspects.forget(candidate.identity);
        }
        let Candidate { place, sequence, permit_bytes, .. } = candidate;
        self.tell(ToIntake::Done { lane: self.lane.index, place, sequence, permit_bytes, end });
    }

    fn is_refused(&self, sequence: u64) -> bool {
        sequence < self.lane.accept_from.load(Ordering::Acquire)
    }

    /// A part of the source whose turn it is. Its buffers go back through `emptied`; where they do not, the decoder learns
    /// that the part is lost.
    pub fn rows(&mut self, block: RowBlock, emptied: &Sender<Vec<u8>>) {
        let is_lost = self.is_refused(self.next_sequence);
        match &mut self.state {
            State::Open(writer) if !is_lost => {
                // The decoder may have given up; then they are freed.
                if let Err(fault) = writer.stage_part(block, |buffer| drop(emptied.try_send(buffer))) {
                    self.fault(fault);
                }
            }
            _ => {}
        }
    }

    /// A source has come to its end. It is taken when all before it have been.
    pub fn finished(&mut self, finished: Finished) {
        self.early.insert(finished.candidate.sequence, finished);
        while let Some(finished) = self.early.remove(&self.next_sequence) {
            self.next_sequence += 1;
            self.take(finished);
            self.lane.turn.advance_to(self.next_sequence);
        }
    }

    /// Commits if a limit is reached, or if nothing that was taken is still to come.
    pub fn commit_if_due(&mut self, now: Instant) {
        let State::Open(writer) = &mut self.state else { return };
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            let looked = writer.check_files();
            // What was committed before the fault, and not shown yet.
            if looked.is_ok()
                && writer.is_behind()
                && let Err(fault) = writer.publish()
            {
                return self.fault(fault);
            }
            // Nothing may come that tells by its commit.
            match looked.and_then(|()| writer.check_room(0)) {
                Ok(()) => self.lane.tally.pause(None),
                Err(Fault::Passing(reason)) => {
                    self.lane.tally.pause(Some(reason));
                    self.paused_until = Some(now + self.pause);
                }
                Err(fault) => return self.fault(fault),
            }
        }
        let State::Open(writer) = &mut self.state else { return };
        let nothing_to_come = self.lane.dispatched.load(Ordering::Acquire) == self.next_sequence;
        if !writer.batch_is_empty() && (nothing_to_come || writer.is_due(now)) {
            self.commit();
        }
    }

    /// When something is to be done without a message.
    pub fn next_due(&self) -> Option<Instant> {
        let State::Open(writer) = &self.state else { return None };
        [writer.due_at(), self.paused_until].into_iter().flatten().min()
    }

    fn commit(&mut self) {
        let lane = self.lane.clone();
        let State::Open(writer) = &mut self.state else { return };
        let was = writer.rows();
        let started = Instant::now();
        for settlement in &self.settlements {
            lane.tally.spend(Stage::Wait, started - settlement.decoded);
        }
        let result = writer.commit(|buffer| lane.buffers.give(buffer));
        let rows = writer.rows();
        lane.tally.published_rows.store(writer.published_rows(), Ordering::Relaxed);
        for (stage, time) in writer.take_times() {
            lane.tally.spend(stage, time);
        }
        // The ledger's word counts: a fault after the transaction only delays the publication. But once the state of the
        // disk is not known, no file of the user's is touched; the next start disposes of them.
        if writer.batch_is_empty() {
            self.settle_batch(rows - was, !matches!(result, Err(Fault::Lasting(_))));
        }
        match result {
            Ok(()) => {
                self.pause = PAUSE_MIN;
                lane.tally.pause(None);
            }
            Err(fault) => self.fault(fault),
        }
    }

    /// Storage failed: the batch is dropped, its sources are to be taken again, and nothing is written for a while, or
    /// before a restart.
    fn fault(&mut self, fault: Fault) {
        let lane = self.lane.clone();
        // Parts of the source whose turn it is may have been taken back with the batch, and what comes behind it must not
        // overtake what is taken again.
        lane.accept_from.store(u64::MAX, Ordering::Release);
        let fault = match (fault, &mut self.state) {
            (Fault::Passing(reason), State::Open(writer)) => match writer.abandon(|buffer| lane.buffers.give(buffer)) {
                Ok(()) if self.never_waits => Fault::Lasting(reason),
                Ok(()) => Fault::Passing(reason),
                Err(fault) => fault,
            },
            (fault, _) => fault,
        };
        match fault {
            Fault::Passing(reason) => {
                let until = Instant::now() + self.pause;
                tracing::error!(
                    dataset = lane.options.name,
                    "paused for {:?}: {reason}; its sources are kept and taken again",
                    self.pause
                );
                lane.tally.pause(Some(reason));
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                self.paused_until = Some(until);
                lane.interrupted.store(true, Ordering::Relaxed);
                self.tell(ToIntake::Paused { lane: lane.index, until });
            }
            Fault::Lasting(reason) => self.stop(&reason),
        }
        for Settlement { candidate, .. } in std::mem::take(&mut self.settlements) {
            self.done(candidate, End::Again);
        }
    }

    /// The last commit of a run that ends well. What it lets go is still to be disposed of; then comes [`Slot::finish`].
    pub fn close(&mut self) {
        if matches!(&self.state, State::Open(writer) if !writer.batch_is_empty()) {
            self.commit();
        }
        self.disposer = None;
    }

    /// The end of the work, once the last file is disposed of.
    pub fn finish(&mut self) {
        let State::Open(writer) = &mut self.state else { return };
        let dataset = &self.lane.options.name;
        // What is not as it was left is not noted as sound.
        match writer.check_files() {
            Err(Fault::Lasting(reason)) => {
                tracing::warn!(dataset, "{reason}");
                self.lane.tally.fail(&reason);
            }
            looked => match looked.and_then(|()| writer.finish()) {
                Ok(()) => {}
                // Nothing was synced before, and a sync that failed is not repeated.
                Err(Fault::Lasting(reason)) if writer.is_unsynced() => {
                    let reason = format!(
                        "{reason}; with `durability = \"none\"` that was the sync of all rows of this run: what the disk has of \
                         them is not known. The next start reads them from there, and refuses what is not as it was committed"
                    );
                    tracing::error!(dataset, "{reason}");
                    self.lane.tally.fail(&reason);
                }
                Err(fault) => tracing::warn!(dataset, "{fault}; the next start makes up for it"),
            },
        }
        if writer.is_behind() {
            self.lane.tally.fail("committed rows are not published yet; the next start publishes them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::lane::Outcome;
    use crate::ledger::SqliteLedgers;
    use crate::recovery;
    use crate::storage::{Disk, RealDisk};
    use crossbeam_channel::{Receiver, bounded, unbounded};

    const ROW: usize = 2 * 2 * 3;

    fn slot(folder: &std::path::Path) -> (Slot, Receiver<ToIntake>) {
        let text = "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2, 2, 3]\ndtype = 'u1'\n\
                    [dataset.watch]\nfolders = ['drop']\n[dataset.image]\nframes = 'all'\n";
        let config = config::parse(text, &folder.join("c.toml")).unwrap();
        let options = Arc::new(config.datasets[0].clone());
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let writer = recovery::open(&disk, &SqliteLedgers, &options).unwrap();
        let lane = Arc::new(Lane::new(0, options, ROW, 1000));
        let (to_intake, told) = unbounded();
        (Slot::new(lane, Opening::Opened(Box::new(writer)), to_intake, false, None), told)
    }

    fn rows(count: usize) -> RowBlock {
        RowBlock { bytes: vec![7; count * ROW], ..RowBlock::default() }
    }

    fn finished(sequence: u64, part: usize, all: u64) -> Finished {
        let hash = blake3::hash(&sequence.to_le_bytes());
        let candidate = Candidate {
            sequence,
            place: Place { folder: 0, below: sequence.to_string().into() },
            identity: Identity { size: 1, mtime_ns: 1, inode: sequence },
            known_hash: None,
            permit_bytes: 0,
            writer_was_seen: false,
            arrived_ns: 0,
            is_last_attempt: false,
            follow: None,
        };
        let outcome = Outcome::Rows { block: rows(part), rows: all, checksum: hash, hash, note: None };
        Finished { candidate, outcome, decoded: Instant::now() }
    }

    /// How the sources ended, in their order.
    fn ends(told: &Receiver<ToIntake>) -> Vec<(u64, End)> {
        told.try_iter()
            .filter_map(|word| match word {
                ToIntake::Done { sequence, end, .. } => Some((sequence, end)),
                _ => None,
            })
            .collect()
    }

    /// The bug: a commit failed while a long source was handing on its parts. The parts were taken back with the batch, the
    /// pause was over before the next part came, and the source was committed without its beginning.
    #[test]
    fn a_source_that_lost_its_first_part_to_a_fault_is_taken_again_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (mut slot, told) = slot(folder.path());
        slot.finished(finished(0, 1, 1));
        let (emptied, back) = bounded(1);
        slot.rows(rows(2), &emptied);
        assert!(back.try_recv().is_ok(), "the part was written");
        slot.fault(Fault::Passing("no room".into()));
        slot.paused_until = None;
        slot.rows(rows(2), &emptied);
        assert!(back.try_recv().is_err(), "the rest is not wanted");
        slot.finished(finished(1, 1, 5));
        slot.lane.dispatched.store(2, Ordering::Relaxed);
        slot.commit_if_due(Instant::now());
        assert_eq!(ends(&told), [(0, End::Again), (1, End::Again)]);
        // Once the intake goes on, the next one is taken as ever.
        slot.lane.accept_from.store(2, Ordering::Relaxed);
        slot.finished(finished(2, 3, 3));
        slot.lane.dispatched.store(3, Ordering::Relaxed);
        slot.commit_if_due(Instant::now());
        assert_eq!(ends(&told), [(2, End::Settled)]);
        assert_eq!(std::fs::metadata(folder.path().join("d.npy")).unwrap().len(), 128 + 3 * ROW as u64);
    }

    /// The bug: it was shown as paused until the next commit, which may never come.
    #[test]
    fn a_pause_whose_cause_has_passed_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut slot, _told) = slot(folder.path());
        let (output, away) = (folder.path().join("d.npy"), folder.path().join("away.npy"));
        std::fs::rename(&output, &away).unwrap();
        slot.finished(finished(0, 1, 1));
        slot.lane.dispatched.store(1, Ordering::Relaxed);
        slot.commit_if_due(Instant::now());
        for (pauses, is_back) in [(1, false), (3, true)] {
            assert!(slot.lane.tally.paused().is_some(), "{is_back}");
            if is_back {
                std::fs::rename(&away, &output).unwrap();
            }
            slot.commit_if_due(Instant::now() + pauses * PAUSE_MAX);
        }
        assert_eq!((slot.lane.tally.paused(), slot.next_due()), (None, None));
    }

    /// The bug: rows were committed into a ledger that had no name any more, and their sources deleted.
    #[test]
    fn nothing_is_committed_without_the_ledgers_name() {
        let folder = tempfile::tempdir().unwrap();
        let (mut slot, told) = slot(folder.path());
        std::fs::remove_file(folder.path().join("d.ledger.db")).unwrap();
        slot.finished(finished(0, 1, 1));
        slot.lane.dispatched.store(1, Ordering::Relaxed);
        slot.commit_if_due(Instant::now());
        assert_eq!(ends(&told), [(0, End::Again)]);
        let reason = slot.lane.tally.paused().unwrap();
        assert!(reason.contains("d.ledger.db is not there any more"), "{reason}");
    }

    /// The bug: each source was rejected, and needed a `retry` once the program was there again.
    #[test]
    fn sources_wait_for_a_program_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (mut slot, told) = slot(folder.path());
        let without = |sequence| {
            let outcome = Outcome::NoProgram { reason: "no program".into() };
            Finished { outcome, ..finished(sequence, 1, 1) }
        };
        slot.lane.dispatched.store(3, Ordering::Relaxed);
        slot.finished(finished(0, 1, 1));
        slot.finished(without(1));
        slot.finished(without(2));
        slot.commit_if_due(Instant::now());
        assert_eq!(slot.lane.tally.paused().as_deref(), Some("no program"));
        assert_eq!(ends(&told), [(0, End::Again), (1, End::Again), (2, End::Again)]);
    }

    #[test]
    fn a_source_whose_rows_are_not_all_there_is_never_committed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut slot, told) = slot(folder.path());
        slot.finished(finished(0, 2, 3));
        slot.close();
        slot.finish();
        assert_eq!(ends(&told), [(0, End::Again)]);
    }
}
