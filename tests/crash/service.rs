//! The service, without its threads: scans, takes sources in their order, commits, disposes, and does on a fault what the
//! writer's thread does. Everything that matters is the real code: `recovery::open`, `DatasetWriter`, `dispose`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use npy_ingest::config::{Disposal, Durability};
use npy_ingest::decode::RowBlock;
use npy_ingest::ledger::memory::{Store, Tables};
use npy_ingest::ledger::{Entry, FirstLook, State};
use npy_ingest::npy::Layout;
use npy_ingest::recovery;
use npy_ingest::source::{Identity, Place};
use npy_ingest::storage::Disk;
use npy_ingest::storage::simulated::Image;
use npy_ingest::writer::{
    DatasetWriter, Disposed, Fault, Finish, FinishedSource, SourceResult, StagedAs, dispose, rules,
};

use crate::check::{Case, Violation};
use crate::model::time_s;
use crate::workload::{Action, BASE, Content, DROP, Verdict, Workload};
use crate::world::{Plan, World};

/// A service that scans so often without coming to an end never does.
const SCANS_MAX: u32 = 12;
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
        state: State { rows, next_source_id: 1, clean_rows: rows },
        labels: Arc::default(),
        entries: Arc::default(),
        revision: 1,
    };
    store.insert(workload.output().with_extension("ledger.db"), Arc::new(tables));
}

/// Opens the dataset and no more.
pub fn recover(world: &World, workload: &Workload) -> Result<DatasetWriter, String> {
    world.control.is_recovering.store(true, Ordering::Relaxed);
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let opened = recovery::open(&disk, &world.ledgers, &workload.options);
    world.control.is_recovering.store(false, Ordering::Relaxed);
    opened.map_err(|error| error.to_string())
}

struct Candidate {
    place: Place,
    identity: Identity,
    known_hash: Option<blake3::Hash>,
}

struct Settlement {
    place: Place,
    identity: Identity,
    id: u64,
    kind: StagedAs,
    reason: Option<String>,
}

struct Service<'a> {
    world: &'a World,
    case: &'a Case,
    workload: &'a Workload,
    disposes_early: bool,
    writer: DatasetWriter,
    settlements: Vec<Settlement>,
    account: &'a mut Account,
    /// Decodes that were called off once.
    called_off: HashSet<PathBuf>,
}

/// The service as the writer's thread runs it, from its start until nothing is left to do.
fn serve(world: &World, case: &Case, plan: Plan, account: &mut Account) -> Result<Served, Violation> {
    let writer = match recover(world, &case.workload) {
        Ok(writer) => writer,
        Err(reason) => return Ok(Served::NotOpened(reason)),
    };
    whole(world, case)?;
    let disposes_early = plan.mutation.is_some_and(|mutation| mutation.disposes_early);
    let mut service = Service {
        world,
        case,
        workload: &case.workload,
        disposes_early,
        writer,
        settlements: Vec::new(),
        account,
        called_off: HashSet::new(),
    };
    let served = service.work();
    world.control.is_finishing.store(false, Ordering::Relaxed);
    served
}

/// Why a round of work did not go on.
enum Interruption {
    Paused,
    Stopped(String),
    Violation(Violation),
}

impl From<Violation> for Interruption {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Service<'_> {
    fn work(&mut self) -> Result<Served, Violation> {
        for _ in 0..SCANS_MAX {
            let candidates = self.scan();
            if candidates.is_empty() && !self.writer.is_behind() {
                self.world.control.is_finishing.store(true, Ordering::Relaxed);
                if self.writer.finish().is_err() {
                    self.account.logged += 1;
                }
                return Ok(Served::Finished);
            }
            match self.round(candidates) {
                Ok(()) => {}
                Err(Interruption::Paused) => {
                    self.account.pauses += 1;
                    self.world.control.has_room.store(true, Ordering::Relaxed);
                }
                Err(Interruption::Stopped(reason)) => return Ok(Served::Stopped(reason)),
                Err(Interruption::Violation(violation)) => return Err(violation),
            }
        }
        Err(Violation::new("end", format!("{SCANS_MAX} scans did not suffice")))
    }

    /// The files that the ledger does not have, in the order of their names. What is left of earlier ones is disposed of.
    fn scan(&mut self) -> Vec<Candidate> {
        let image = self.world.disk.image();
        let Some(tables) = self.world.tables(self.workload) else { return Vec::new() };
        let options = &self.workload.options;
        let is_there = |path: &Path, inode: u64| {
            image.status(&Path::new(BASE).join(path)).is_some_and(|status| status.inode == inode)
        };
        let mut found = Vec::new();
        for path in image.files_below(Path::new(DROP)) {
            let below = path.strip_prefix(DROP).unwrap().to_owned();
            let place = Place { folder: 0, below };
            let Some(status) = image.status(&path) else { continue };
            let identity = Identity::from(&status);
            let look = tables.first_look(rules(options), &options.ledger_path(&place), identity, &is_there);
            match look.unwrap() {
                FirstLook::Read { known_hash } => found.push(Candidate { place, identity, known_hash }),
                FirstLook::Known(entry) => self.dispose_leftover(place, identity, &entry),
                FirstLook::Ignored => {}
            }
        }
        found
    }

    fn round(&mut self, candidates: Vec<Candidate>) -> Result<(), Interruption> {
        if self.writer.is_behind() {
            let published = self.writer.publish();
            self.faultless(published)?;
        }
        let mut staged = 0;
        for candidate in candidates {
            if self.take(&candidate)? {
                staged += 1;
            }
            let by_itself = self.workload.options.commit.durability == Durability::Source;
            if staged >= self.workload.batch || by_itself {
                self.commit()?;
                staged = 0;
            }
        }
        self.commit()
    }

    /// Whether the source is part of the next commit.
    fn take(&mut self, candidate: &Candidate) -> Result<bool, Interruption> {
        let path = Path::new(DROP).join(&candidate.place.below);
        let Some(bytes) = self.world.disk.image().read(&path) else { return Ok(false) };
        let hash = blake3::hash(&bytes);
        let content = Content::decode(&bytes).expect("sources are durable from the beginning");
        if candidate.known_hash == Some(hash) {
            let finish = self.finish(candidate, SourceResult::Unchanged { hash }, None)?;
            if finish != Finish::DecodeAgain {
                return Ok(matches!(finish, Finish::Staged { .. }));
            }
        }
        if content.verdict == Verdict::GoodTheSecondTime && self.called_off.insert(path) {
            self.stage(content, true)?;
            self.writer.discard_source(drop);
        }
        let checksum = self.stage(content, content.verdict == Verdict::Bad)?;
        let (result, reason) = if content.verdict == Verdict::Bad {
            let reason = "it is bad".to_owned();
            (SourceResult::Rejected { hash: Some(hash), reason: reason.clone() }, Some(reason))
        } else {
            (SourceResult::Rows { hash, checksum, rows: content.rows }, None)
        };
        let finish = self.finish(candidate, result, reason)?;
        Ok(matches!(finish, Finish::Staged { .. }))
    }

    /// Hands on a source's rows as the pool does, or all but its last ones. Their checksum.
    fn stage(&mut self, content: Content, breaks_off: bool) -> Result<blake3::Hash, Interruption> {
        let row_bytes = self.workload.row_bytes();
        let with_times = self.workload.options.columns.time;
        let mut checksum = blake3::Hasher::new();
        let mut block = |rows: std::ops::Range<u64>| {
            let bytes: Vec<u8> = rows.clone().flat_map(|row| content.row(row, row_bytes)).collect();
            checksum.update(&bytes);
            let times_s = if with_times { rows.map(time_s).collect() } else { Vec::new() };
            RowBlock { bytes, times_s }
        };
        let mut first = 0;
        while content.part_rows > 0 && first + content.part_rows < content.rows {
            let part = block(first..first + content.part_rows);
            let staged = self.writer.stage_part(part, drop);
            self.faultless(staged)?;
            first += content.part_rows;
        }
        if !breaks_off {
            let staged = self.writer.stage_rows(block(first..content.rows), drop);
            self.faultless(staged)?;
        }
        Ok(checksum.finalize())
    }

    fn finish(
        &mut self,
        candidate: &Candidate,
        result: SourceResult,
        reason: Option<String>,
    ) -> Result<Finish, Interruption> {
        let Candidate { place, identity, .. } = candidate;
        let finished = self.writer.finish_source(&FinishedSource { place, identity: *identity, result }, drop);
        let finish = self.faultless(finished)?;
        match finish {
            Finish::Staged { id, kind } => {
                let settlement = Settlement { place: place.clone(), identity: *identity, id, kind, reason };
                if self.disposes_early {
                    self.settle(vec![settlement]);
                } else {
                    self.settlements.push(settlement);
                }
            }
            Finish::Known { id } => {
                let kind = StagedAs::FoundAgain;
                self.settle(vec![Settlement { place: place.clone(), identity: *identity, id, kind, reason }]);
            }
            Finish::Ignored | Finish::DecodeAgain => {}
        }
        Ok(finish)
    }

    fn commit(&mut self) -> Result<(), Interruption> {
        if self.writer.batch_is_empty() {
            return Ok(());
        }
        let result = self.writer.commit(drop);
        let rows = self.writer.rows();
        if result.is_ok() {
            self.world.control.acknowledged.store(rows, Ordering::Relaxed);
            whole(self.world, self.case)?;
        }
        // The ledger's word counts: a fault after the transaction only delays the publication.
        if self.writer.batch_is_empty() {
            let settlements = std::mem::take(&mut self.settlements);
            self.settle(settlements);
        }
        self.faultless(result)
    }

    fn settle(&mut self, settlements: Vec<Settlement>) {
        let watch = &self.workload.options.watch;
        let mut moved = Vec::new();
        for Settlement { place, identity, id, kind, reason } in settlements {
            let disposal = if kind == StagedAs::Rejected { &watch.rejected } else { &watch.after };
            moved.extend(self.dispose(&place, identity, id, disposal, reason.as_deref()));
        }
        if self.writer.note_moved(&moved).is_err() {
            self.account.logged += 1;
        }
    }

    fn dispose_leftover(&mut self, place: Place, identity: Identity, entry: &Entry) {
        let watch = &self.workload.options.watch;
        let (disposal, reason) = match &entry.fate {
            npy_ingest::ledger::Fate::Committed(_) => (&watch.after, None),
            npy_ingest::ledger::Fate::Rejected { reason } => (&watch.rejected, Some(reason.as_str())),
        };
        let moved: Vec<_> = self.dispose(&place, identity, entry.id, disposal, reason).into_iter().collect();
        if self.writer.note_moved(&moved).is_err() {
            self.account.logged += 1;
        }
    }

    fn dispose(
        &mut self,
        place: &Place,
        identity: Identity,
        id: u64,
        disposal: &Disposal,
        reason: Option<&str>,
    ) -> Option<(u64, PathBuf)> {
        match dispose(&self.world.disk, Path::new(DROP), place, identity, disposal, reason) {
            Ok(Disposed::MovedTo(path)) => Some((id, path)),
            Ok(Disposed::No | Disposed::Deleted) => None,
            Err(_) => {
                self.account.logged += 1;
                None
            }
        }
    }

    /// Does on a fault what the writer's thread does.
    fn faultless<T>(&mut self, result: Result<T, Fault>) -> Result<T, Interruption> {
        let fault = match result {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        self.settlements.clear();
        match fault {
            Fault::Lasting(reason) => Err(Interruption::Stopped(reason)),
            Fault::Passing(_) => {
                self.world.control.is_abandoning.store(true, Ordering::Relaxed);
                let abandoned = self.writer.abandon(drop);
                self.world.control.is_abandoning.store(false, Ordering::Relaxed);
                match abandoned {
                    Ok(()) => {
                        cut_back(self.world, self.case)?;
                        Err(Interruption::Paused)
                    }
                    Err(Fault::Passing(reason) | Fault::Lasting(reason)) => Err(Interruption::Stopped(reason)),
                }
            }
        }
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
