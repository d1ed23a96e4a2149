//! The service, without its threads: what the intake and the pool do is played here, message by message, and the writer's
//! side is the real code: `recovery::open`, and the `Slot` that the writer's thread runs, with its order, its commits, its
//! disposals, its pauses and its end.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded, unbounded};
use npy_ingest::decode::RowBlock;
use npy_ingest::lane::{End, Finished, Lane, Outcome, ToIntake};
use npy_ingest::ledger::memory::{Held, Store, Tables};
use npy_ingest::ledger::{Entry, FirstLook, State};
use npy_ingest::npy::Layout;
use npy_ingest::recovery;
use npy_ingest::source::{Candidate, Follow, Identity, Marks, NotFinished, PartRead, Place};
use npy_ingest::storage::Disk;
use npy_ingest::storage::simulated::Image;
use npy_ingest::writer::{Asks, DatasetWriter, Leaving, Opening, Slot, dispose, is_aside, put_back_if_free, rules};

use crate::check::{Case, Violation};
use crate::log;
use crate::model::time_s;
use crate::workload::{Action, BASE, Content, DROP, LOG_HEAD, Verdict, Workload};
use crate::world::{Plan, World};

/// A service that scans so often without coming to an end never does.
const SCANS_MAX: u32 = 12;
/// A source that could not be moved or deleted so often is left alone: the service waits longer each time.
const ATTEMPTS_MAX: u32 = 3;
const STARTS_MAX: u32 = 6;

/// How a run of the service ended.
#[derive(Debug)]
pub enum Served {
    Finished,
    NotOpened(String),
    Stopped(String),
}

/// What was seen on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    pub pauses: u32,
    pub stops: u32,
    pub not_opened: u32,
    /// Faults that were only logged: of a disposal, a note, the last sync.
    pub logged: u32,
    /// Changes between the fault and the first stop.
    pub changes_before_stop: u64,
}

/// Runs the workload from the stage that the world is at to its end. `users_were_here`: they have done already what they do in
/// that stage.
pub fn run(world: &World, case: &Case, plan: Plan, users_were_here: bool) -> Result<Account, Violation> {
    let mut account = Account::default();
    let first = world.control.stage.load(Ordering::Relaxed);
    for (number, actions) in case.workload.stages.iter().enumerate().skip(first) {
        if number > first || !users_were_here {
            world.control.stage.store(number, Ordering::Relaxed);
            world.disk.edit(|image| act(image, actions, world));
        }
        let mut starts = 0;
        loop {
            starts += 1;
            let logged = account.logged;
            if starts > STARTS_MAX {
                return Err(Violation::new("end", format!("{STARTS_MAX} starts did not suffice")));
            }
            match serve(world, case, plan, &mut account)? {
                // What was only logged is done by a later scan.
                Served::Finished if account.logged > logged => {}
                Served::Finished => break,
                Served::NotOpened(reason) | Served::Stopped(reason) if plan.fault.is_none() => {
                    return Err(Violation::new("recovery", reason));
                }
                Served::NotOpened(_) => account.not_opened += 1,
                Served::Stopped(_) => {
                    account.stops += 1;
                    if account.stops == 1 {
                        account.changes_before_stop = world.control.changes_after_fault.load(Ordering::Relaxed);
                    }
                }
            }
            world.control.has_room.store(true, Ordering::Relaxed);
        }
    }
    Ok(account)
}

/// Users at work. What they do is durable at once.
fn act(image: &mut Image, actions: &[Action], world: &World) {
    let drop = Path::new(DROP);
    let mut placed = world.control.placed.lock().unwrap();
    for action in actions {
        match action {
            Action::Put { below, content } => {
                let inode = image.put_file(&drop.join(below), &content.encode());
                Arc::make_mut(&mut placed).push(inode);
            }
            Action::Rename { from, to } => image.put_rename(&drop.join(from), &drop.join(to)),
            Action::Grow { below, rows } => image.put_length(&drop.join(below), Content::log_bytes(*rows)),
        }
    }
}

/// A dataset that has rows from the beginning: zeros, in a file without contents.
pub fn put_rows(workload: &Workload, image: &mut Image, store: &mut Store) {
    let rows = workload.rows_at_start;
    let layout = Layout::new(&workload.options.row.dtype, &workload.options.row.shape).unwrap();
    image.put_file(workload.output(), &layout.header(rows).unwrap());
    image.put_length(workload.output(), layout.data_start() + rows * layout.row_bytes());
    let tables = Tables {
        schema: Arc::new(recovery::schema_of(&workload.options)),
        state: State { rows, next_source_id: 1, clean_rows: rows, unsynced: false },
        labels: Arc::default(),
        entries: Arc::default(),
        revision: 1,
        held: Held::Durable,
    };
    store.insert(workload.output().with_extension("ledger.db"), Arc::new(tables));
}

/// Opens the dataset and no more.
pub fn recover(world: &World, workload: &Workload) -> Result<DatasetWriter, String> {
    world.control.is_recovering.store(true, Ordering::Relaxed);
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let opened = recovery::open(&disk, &world.ledgers, world.options(workload));
    world.control.is_recovering.store(false, Ordering::Relaxed);
    opened.map_err(|error| error.to_string())
}

/// A file that the scan found, and what the pool makes of it.
struct Found {
    place: Place,
    identity: Identity,
    known_hash: Option<blake3::Hash>,
    /// For a log: where it stands.
    follow: Option<Follow>,
}

struct Service<'a> {
    world: &'a World,
    /// Of the dataset.
    number: usize,
    case: &'a Case,
    workload: &'a Workload,
    disposes_early: bool,
    /// How often a source could not be moved or deleted.
    stays: HashMap<(PathBuf, Identity), u32>,
    slot: Slot,
    lane: Arc<Lane>,
    told: Receiver<ToIntake>,
    /// Faults of giving names back.
    unnoted: u32,
    /// Decodes that were called off once.
    called_off: HashSet<PathBuf>,
    /// Files whose content the ledger only seemed to have.
    to_be_decoded: HashSet<PathBuf>,
    next_sequence: u64,
    /// Dispatched, and not yet handed to the slot.
    in_flight: Vec<Candidate>,
    commits: u64,
    /// No batch is old enough by this clock, so that only full ones are committed.
    start: Instant,
}

/// The service as its threads run it, from its start until nothing is left to do.
fn serve(world: &World, case: &Case, plan: Plan, account: &mut Account) -> Result<Served, Violation> {
    let stage = world.control.stage.load(Ordering::Relaxed);
    let mut services = Vec::new();
    for (number, case) in case.served(stage) {
        let writer = match recover(world, &case.workload) {
            Ok(writer) => writer,
            Err(reason) => return Ok(Served::NotOpened(reason)),
        };
        whole(world, case)?;
        let schema = world.tables(&case.workload).map(|tables| tables.schema.clone());
        if schema.as_deref() != Some(&recovery::schema_of(world.options(&case.workload))) {
            return Err(Violation::new("recovery", "the ledger has other settings than the config"));
        }
        services.push(Service::new(world, number, case, plan, writer));
    }
    log::take();
    let served = work(world, &mut services, account);
    world.control.is_finishing.store(false, Ordering::Relaxed);
    account.logged += log::take();
    served
}

/// Scans by turns, until no dataset has anything left to do.
fn work(world: &World, services: &mut [Service<'_>], account: &mut Account) -> Result<Served, Violation> {
    for _ in 0..SCANS_MAX {
        let mut is_idle = true;
        for service in services.iter_mut() {
            match service.work(account)? {
                None => {}
                Some(Served::Finished) => is_idle = false,
                Some(stopped) => return Ok(stopped),
            }
        }
        if is_idle {
            world.control.is_finishing.store(true, Ordering::Relaxed);
            for service in services {
                service.slot.close();
                service.slot.finish();
                // The exit code says it as well.
                account.logged += u32::from(service.lane.tally.failure().is_some());
            }
            return Ok(Served::Finished);
        }
    }
    Err(Violation::new("end", format!("{SCANS_MAX} scans did not suffice")))
}

/// Why a round of work did not go on.
enum Interruption {
    Paused(Instant),
    Stopped,
    Violation(Violation),
}

impl From<Violation> for Interruption {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl<'a> Service<'a> {
    fn new(world: &'a World, number: usize, case: &'a Case, plan: Plan, writer: DatasetWriter) -> Self {
        let (to_intake, told) = unbounded();
        let lane = Arc::new(Lane::new(0, case.workload.options.clone(), 1 << 20, 1 << 20));
        Self {
            world,
            number,
            case,
            workload: &case.workload,
            disposes_early: plan.mutation.is_some_and(|mutation| mutation.disposes_early),
            stays: HashMap::new(),
            slot: Slot::new(lane.clone(), Opening::Opened(Box::new(writer)), to_intake, false, None),
            lane,
            told,
            unnoted: 0,
            called_off: HashSet::new(),
            to_be_decoded: HashSet::new(),
            next_sequence: 0,
            in_flight: Vec::new(),
            commits: 0,
            start: Instant::now(),
        }
    }

    /// One scan and what it finds. `None`: it finds nothing.
    fn work(&mut self, account: &mut Account) -> Result<Option<Served>, Violation> {
        let found = self.scan();
        account.logged += std::mem::take(&mut self.unnoted);
        if found.is_empty() {
            return Ok(None);
        }
        let mut end = self.round(found);
        while let Err(Interruption::Paused(until)) = end {
            account.pauses += 1;
            self.world.control.has_room.store(true, Ordering::Relaxed);
            end = self.go_on(until);
        }
        match end {
            Ok(()) | Err(Interruption::Paused(_)) => Ok(Some(Served::Finished)),
            Err(Interruption::Stopped) => Ok(Some(Served::Stopped(self.lane.tally.failure().unwrap_or_default()))),
            Err(Interruption::Violation(violation)) => Err(violation),
        }
    }

    /// The files that the ledger does not have, in the order of their names. What is left of earlier ones is disposed of.
    fn scan(&mut self) -> Vec<Found> {
        self.put_back();
        let image = self.world.disk.image();
        let Some(tables) = self.world.tables(self.workload) else { return Vec::new() };
        let options = &self.workload.options;
        let is_elsewhere = |entry: &Entry, path: &Path| {
            let status = image.status(&Path::new(BASE).join(&entry.path));
            entry.path != path && status.is_some_and(|status| status.inode == entry.identity.inode)
        };
        let mut found = Vec::new();
        for path in image.files_below(Path::new(DROP)) {
            let below = path.strip_prefix(DROP).unwrap().to_owned();
            if is_aside(&below) {
                continue;
            }
            let place = Place { folder: 0, below };
            let Some(status) = image.status(&path) else { continue };
            let identity = Identity::from(&status);
            if self.workload.follows() {
                let entries = tables.entries.iter().rev();
                let newest = entries.clone().find(|entry| entry.identity.inode == identity.inode);
                let known = newest.and_then(|entry| entry.log_state());
                if known.as_ref().is_none_or(|known| known.part.end < identity.size) {
                    let follow = Some(Follow { known, ..Follow::default() });
                    found.push(Found { place, identity, known_hash: None, follow });
                }
                continue;
            }
            let look = tables.first_look(rules(options), &options.ledger_path(&place), identity, &is_elsewhere);
            match look.unwrap() {
                FirstLook::Read { .. } if self.stays.get(&(place.below.clone(), identity)) >= Some(&ATTEMPTS_MAX) => {}
                FirstLook::Read { known_hash } => found.push(Found { place, identity, known_hash, follow: None }),
                FirstLook::Known(entry) => self.slot.dispose_leftover(&place, identity, &entry),
                FirstLook::Ignored(_) => {}
            }
        }
        found
    }

    /// What a crash left aside has its name again.
    fn put_back(&mut self) {
        for path in self.world.disk.image().files_below(Path::new(DROP)) {
            if is_aside(&path) && put_back_if_free(&self.world.disk, &path).is_err() {
                self.unnoted += 1;
            }
        }
    }

    /// Dispatches what was found, as many at a time as make a commit. Whole sources come before their turn, the last first.
    fn round(&mut self, found: Vec<Found>) -> Result<(), Interruption> {
        for group in found.chunks(self.workload.batch) {
            let mut late = Vec::new();
            let mut early = Vec::new();
            for one in group {
                let Some((content, hash)) = self.read(one) else { continue };
                let is_known = self.workload.options.watch.needs_no_rows(one.known_hash, &hash)
                    && !self.to_be_decoded.contains(&one.place.below);
                let breaks_off = content.verdict == Verdict::GoodTheSecondTime
                    && !is_known
                    && self.called_off.insert(one.place.below.clone());
                if breaks_off {
                    late.push((self.candidate(one), content, hash, true));
                }
                let candidate = self.candidate(one);
                if let Some(follow) = &one.follow {
                    early.push(Finished { outcome: self.part(content, follow), candidate, decoded: self.start });
                } else if is_known {
                    early.push(Finished { candidate, outcome: Outcome::Unchanged { hash }, decoded: self.start });
                } else if content.part_rows > 0 || breaks_off {
                    late.push((candidate, content, hash, false));
                } else {
                    let outcome = self.outcome(content, hash, 0);
                    early.push(Finished { candidate, outcome, decoded: self.start });
                }
            }
            self.lane.dispatched.store(self.next_sequence, Ordering::Relaxed);
            // The first goes last: until it comes, all others wait for their turn.
            let first = early.first().map(|first| first.candidate.sequence);
            let is_first = first.is_some_and(|first| late.first().is_none_or(|(late, ..)| first < late.sequence));
            let first = if is_first { Some(early.remove(0)) } else { None };
            for finished in early.into_iter().rev().chain(first) {
                self.hand_on(finished)?;
            }
            for (candidate, content, hash, breaks_off) in late {
                self.in_parts(candidate, content, hash, breaks_off)?;
            }
        }
        self.look()
    }

    /// The sequence number is given out in the order of the scan.
    fn candidate(&mut self, one: &Found) -> Candidate {
        let candidate = Candidate {
            sequence: self.next_sequence,
            place: one.place.clone(),
            identity: one.identity,
            known_hash: one.known_hash,
            permit_bytes: 0,
            writer_was_seen: false,
            arrived_ns: 0,
            is_last_attempt: false,
            follow: one.follow.clone().map(Box::new),
        };
        self.next_sequence += 1;
        self.in_flight.push(candidate.clone());
        candidate
    }

    fn read(&self, one: &Found) -> Option<(Content, blake3::Hash)> {
        let bytes = self.world.disk.image().read(&Path::new(DROP).join(&one.place.below))?;
        let content = Content::decode(&bytes).expect("sources are durable from the beginning");
        Some((content, blake3::hash(&bytes)))
    }

    /// Hands on a source's parts, when it is its turn, and its end, or calls its decode off.
    fn in_parts(
        &mut self,
        candidate: Candidate,
        content: Content,
        hash: blake3::Hash,
        breaks_off: bool,
    ) -> Result<(), Interruption> {
        let (emptied, back) = bounded(2);
        let mut first = 0;
        while content.part_rows > 0 && first + content.part_rows < content.rows {
            self.slot.rows(self.block(content, first..first + content.part_rows), &emptied);
            self.look()?;
            if back.try_recv().is_err() {
                break;
            }
            first += content.part_rows;
        }
        let outcome = match breaks_off {
            true => Outcome::NotFinished(NotFinished::Changed),
            false => self.outcome(content, hash, first),
        };
        self.hand_on(Finished { candidate, outcome, decoded: self.start })
    }

    /// How the decode ends. Rows before `first` have been handed on.
    fn outcome(&self, content: Content, hash: blake3::Hash, first: u64) -> Outcome {
        if content.verdict == Verdict::Bad {
            return Outcome::Rejected { reason: "it is bad".to_owned(), hash: Some(hash) };
        }
        let all = self.block(content, 0..content.rows);
        let checksum = blake3::hash(&all.bytes);
        let block = self.block(content, first..content.rows);
        Outcome::Rows { block, rows: content.rows, checksum, hash, note: None }
    }

    /// What is new in a log: with one log, two rows at a time, so that parts go on.
    fn part(&self, content: Content, follow: &Follow) -> Outcome {
        let state = follow.known.clone();
        let first = state.as_ref().map_or(0, |state| state.next_index);
        let at_most = if self.workload.options.columns.source { 2 } else { u64::MAX };
        let end_row = content.rows.min(first.saturating_add(at_most));
        let begin = state.as_ref().map_or(LOG_HEAD, |state| state.part.end);
        let hash_from = state.as_ref().map_or(begin, |state| state.part.begin);
        let hash = blake3::hash(&content.seed.to_le_bytes());
        let (end, head) = (Content::log_bytes(end_row), content.seed.to_le_bytes().to_vec());
        let (head_at, tail, own_hash) = (LOG_HEAD, hash, hash);
        let marks = Marks::default();
        let read = PartRead { state, begin, end, head_at, head, tail, marks, hash, hash_from, own_hash, stopped: None };
        let block = self.block(content, first..end_row);
        Outcome::Part { block, rows: end_row - first, read: Box::new(read), note: None }
    }

    fn block(&self, content: Content, rows: std::ops::Range<u64>) -> RowBlock {
        let row_bytes = self.workload.row_bytes();
        let bytes = rows.clone().flat_map(|row| content.row(row, row_bytes)).collect();
        let times_s = if self.workload.options.columns.time { rows.map(time_s).collect() } else { Vec::new() };
        RowBlock { bytes, times_s, ..RowBlock::default() }
    }

    fn hand_on(&mut self, finished: Finished) -> Result<(), Interruption> {
        if self.disposes_early {
            self.dispose_too_early(&finished);
        }
        self.in_flight.retain(|candidate| candidate.sequence != finished.candidate.sequence);
        self.slot.finished(finished);
        self.slot.commit_if_due(self.start);
        self.look()
    }

    fn dispose_too_early(&self, finished: &Finished) {
        let watch = &self.workload.options.watch;
        let (disposal, reason) = match &finished.outcome {
            Outcome::Rejected { reason, .. } => (&watch.rejected, Some(reason.clone())),
            _ => (&watch.after, None),
        };
        let (place, identity) = (finished.candidate.place.clone(), finished.candidate.identity);
        let (root, disposal) = (DROP.into(), disposal.clone());
        let leaving = Leaving { lane: 0, id: 0, root, place, identity, disposal, reason, is_left: true };
        drop(dispose(&self.world.disk, &leaving, Asks { is_own: &|_| Ok(true), ..Asks::NOTHING }));
    }

    /// What the writer has said, and whether what it did is right.
    fn look(&mut self) -> Result<(), Interruption> {
        let commits = self.lane.tally.commits.load(Ordering::Relaxed);
        let has_committed = commits > self.commits;
        if has_committed {
            self.commits = commits;
            let rows = self.world.tables(self.workload).map_or(0, |tables| tables.state.rows);
            self.world.control.acknowledged[self.number].store(rows, Ordering::Relaxed);
        }
        for word in self.told.try_iter() {
            match word {
                ToIntake::Stopped { .. } => return Err(Interruption::Stopped),
                ToIntake::Paused { until, .. } => {
                    cut_back(self.world, self.case)?;
                    return Err(Interruption::Paused(until));
                }
                ToIntake::Done { place, end: End::Again, .. } => drop(self.to_be_decoded.insert(place.below)),
                ToIntake::Stays { place, identity, .. } => {
                    *self.stays.entry((place.below, identity)).or_default() += 1;
                }
                ToIntake::Opened { .. } | ToIntake::Done { .. } | ToIntake::Renamed { .. } => {}
            }
        }
        if has_committed && self.in_flight.is_empty() && self.slot.next_due().is_none() {
            whole(self.world, self.case)?;
        }
        Ok(())
    }

    /// The pause is over: everything that was in flight has come back, and is found again by the next scan.
    fn go_on(&mut self, until: Instant) -> Result<(), Interruption> {
        self.world.control.has_gone_on.store(true, Ordering::Relaxed);
        for candidate in std::mem::take(&mut self.in_flight) {
            self.slot.finished(Finished { candidate, outcome: Outcome::Interrupted, decoded: self.start });
        }
        let handed_out = self.lane.dispatched.load(Ordering::Relaxed);
        self.lane.interrupted.store(false, Ordering::Relaxed);
        self.lane.accept_from.store(handed_out, Ordering::Relaxed);
        self.slot.commit_if_due(until);
        self.look()
    }
}

/// Nothing is staged, and everything is published.
fn whole(world: &World, case: &Case) -> Result<(), Violation> {
    match world.tables(&case.workload) {
        Some(tables) => case.whole(&world.disk.image(), &tables),
        None => Err(Violation::new("end", "there is no ledger")),
    }
}

/// The batch was abandoned.
fn cut_back(world: &World, case: &Case) -> Result<(), Violation> {
    match world.tables(&case.workload) {
        Some(tables) => case.cut_back(&world.disk.image(), &tables),
        None => Err(Violation::new("end", "there is no ledger")),
    }
}
