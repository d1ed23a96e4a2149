//! The explorer: a workload is run once and every instant of it kept; then each instant is crashed, read, recovered,
//! crashed again inside the recovery, and run to its end.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use npy_ingest::ledger::memory::{Held, Store};
use npy_ingest::storage::simulated::{Image, Tearing, swap};

use crate::check::{Case, Instant, Shown, Violation};
use crate::mutations::Mutation;
use crate::schedule::{Crash, Limits, Schedule, crashes};
use crate::service::{self, Account};
use crate::workload::Workload;
use crate::world::{Fault, Plan, Snapshot, World, store_after, survives_power_cuts, tables};

/// What a run adds up.
#[derive(Default)]
pub struct Figures {
    /// Crash states that differ from each other: disk, ledger, and what was promised. Each was read and recovered.
    pub states: AtomicU64,
    /// Crash states that had been seen already.
    pub repeated: AtomicU64,
    /// Of the states, those that were run to the end of their workload.
    pub continued: AtomicU64,
    pub faults: AtomicU64,
}

/// No reader ever sees fewer rows than before.
fn does_not_decrease(shown: Shown, now: Shown) -> Result<(), Violation> {
    match shown.iter().zip(now).find(|(shown, now)| now < shown) {
        Some((shown, now)) => Err(Violation::new("I2", format!("a reader saw {shown} rows, and then {now}"))),
        None => Ok(()),
    }
}

/// The most that readers have seen up to this instant.
pub fn shown_until(case: &Case, snapshots: &[Snapshot], number: usize) -> Shown {
    let shown = snapshots.iter().take(number + 1).map(|snapshot| case.shown_of_all(&snapshot.image));
    shown.reduce(|most, shown| std::array::from_fn(|place| most[place].max(shown[place]))).unwrap_or_default()
}

/// A violation and how to see it again.
#[derive(Debug)]
pub struct Found {
    pub violation: Violation,
    pub schedule: Schedule,
}

/// Sets the mutation's switch for as long as it lives.
struct SwapGuard;

impl SwapGuard {
    fn new(mutation: Option<&Mutation>) -> Self {
        swap::set(mutation.and_then(|mutation| mutation.swap));
        Self
    }
}

impl Drop for SwapGuard {
    fn drop(&mut self) {
        swap::set(None);
    }
}

/// One workload, with or without a mutation or a fault.
pub struct Explorer<'a> {
    pub case: &'a Case,
    pub plan: Plan,
    pub mutation_number: Option<usize>,
    pub figures: &'a Figures,
    pub outer: Limits,
    pub inner: Limits,
    pub seed: u64,
    /// Ends early once this many states were seen.
    pub states_max: u64,
    states: AtomicU64,
    seen: Mutex<HashSet<u64>>,
    crashed: Mutex<HashSet<u64>>,
}

impl<'a> Explorer<'a> {
    pub fn new(case: &'a Case, figures: &'a Figures) -> Self {
        let workload = &case.workload;
        let (outer, inner) = match workload.is_small {
            true => (Limits { all: 1 << 10, samples: 96 }, Limits { all: 16, samples: 4 }),
            false => (Limits { all: 1 << 7, samples: 32 }, Limits { all: 4, samples: 2 }),
        };
        Self {
            case,
            plan: Plan { mutation: None, fault: None, records: false, other_device: workload.other_device },
            mutation_number: None,
            figures,
            outer,
            inner,
            seed: 1,
            states_max: u64::MAX,
            states: AtomicU64::new(0),
            seen: Mutex::default(),
            crashed: Mutex::default(),
        }
    }

    pub fn mutated(mut self, number: usize, mutation: &'static Mutation) -> Self {
        self.mutation_number = Some(number);
        self.plan.mutation = Some(mutation);
        self
    }

    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.plan.fault = Some(fault);
        self
    }

    pub fn states(&self) -> u64 {
        self.states.load(Ordering::Relaxed)
    }

    fn workload(&self) -> &Workload {
        &self.case.workload
    }

    fn schedule(&self, crashes: &[(usize, Crash)]) -> Schedule {
        Schedule {
            workload: self.workload().name.clone(),
            mutation: self.mutation_number,
            fault: self.plan.fault,
            crashes: crashes.to_vec(),
        }
    }

    /// Says where a violation was found.
    pub fn at<T>(&self, result: Result<T, Violation>, crashes: &[(usize, Crash)]) -> Result<T, Found> {
        result.map_err(|violation| Found { violation, schedule: self.schedule(crashes) })
    }

    /// The run without a crash. Its instants, and what happened.
    pub fn record(&self) -> Result<(Vec<Snapshot>, Account), Found> {
        let _swap = SwapGuard::new(self.plan.mutation);
        let plan = Plan { records: true, ..self.plan };
        let world = World::at_start(self.workload(), plan);
        let account = self.at(service::run(&world, self.case, plan, false), &[])?;
        let mut snapshots = world.take_snapshots();
        snapshots.push(world.snapshot());
        self.at(self.ended(&world), &[])?;
        Ok((snapshots, account))
    }

    /// All of it.
    pub fn explore(&self) -> Result<(), Found> {
        let (snapshots, _) = self.record()?;
        let _swap = SwapGuard::new(self.plan.mutation);
        let mut shown = Shown::default();
        for (number, snapshot) in snapshots.iter().enumerate() {
            let now = self.case.shown_of_all(&snapshot.image);
            self.at(does_not_decrease(shown, now), &[(number, Crash::Kill)])?;
            shown = now;
            self.instant(number, snapshot, shown)?;
            if self.states() >= self.states_max {
                break;
            }
        }
        Ok(())
    }

    /// Plays one schedule.
    pub fn replay(&self, crashes: &[(usize, Crash)]) -> Result<(), Found> {
        let (snapshots, _) = self.record()?;
        let _swap = SwapGuard::new(self.plan.mutation);
        let Some(((number, crash), inner)) = crashes.split_first() else { return Ok(()) };
        let shown = shown_until(self.case, &snapshots, *number);
        let Some(snapshot) = snapshots.get(*number) else {
            panic!("{number} is not one of {} instants", snapshots.len())
        };
        println!("{} instants; crash after {:?} {}", snapshots.len(), snapshot.what.0, snapshot.what.1.display());
        self.crash(*number, snapshot, crash, shown, inner.first())
    }

    /// All crashes of one instant.
    pub fn instant(&self, number: usize, snapshot: &Snapshot, shown: Shown) -> Result<(), Found> {
        let seed = self.seed.wrapping_mul(0x1_0000_01b3).wrapping_add(number as u64);
        for crash in self.crashes(snapshot, self.outer, seed) {
            self.crash(number, snapshot, &crash, shown, None)?;
            if self.states() >= self.states_max {
                break;
            }
        }
        Ok(())
    }

    /// The crashes of one instant that have to be survived.
    fn crashes(&self, snapshot: &Snapshot, limits: Limits, seed: u64) -> Vec<Crash> {
        match survives_power_cuts(&snapshot.store) {
            true => crashes(&snapshot.image, self.workload().tearing, limits, seed),
            false => vec![Crash::Kill],
        }
    }

    /// One crash at one instant. `only`: the one crash inside the recovery that is to be played.
    fn crash(
        &self,
        number: usize,
        snapshot: &Snapshot,
        crash: &Crash,
        shown: Shown,
        only: Option<&(usize, Crash)>,
    ) -> Result<(), Found> {
        let path = [(number, crash.clone())];
        let image = crash.apply(&snapshot.image, self.workload().tearing);
        let store = store_after(&snapshot.store, &image, crash);
        let digest = self.digest(&image, &store, snapshot);
        self.count(digest);
        if only.is_none() && !self.crashed.lock().unwrap().insert(digest) {
            return Ok(());
        }
        let is_kill = *crash == Crash::Kill;
        self.at(self.found(&image, &store, snapshot, shown, is_kill), &path)?;

        let plan = Plan { records: true, fault: None, ..self.plan };
        let world = World::resume(image, store, snapshot, plan);
        self.at(self.recovered(&world, shown), &path)?;
        let inner = world.take_snapshots();
        for (inner_number, instant) in inner.iter().enumerate() {
            if only.is_some_and(|(only, _)| *only != inner_number) {
                continue;
            }
            let seed = self.seed.wrapping_add((number * 1000 + inner_number) as u64);
            let crashes = match only {
                Some((_, crash)) => vec![crash.clone()],
                None => self.crashes(instant, self.inner, seed),
            };
            for crash in crashes {
                self.crash_inside(&path[0], inner_number, instant, &crash, shown)?;
            }
        }
        if only.is_none() || inner.is_empty() {
            self.figures.continued.fetch_add(1, Ordering::Relaxed);
            self.at(self.go_on(&world, snapshot), &path)?;
        }
        Ok(())
    }

    fn crash_inside(
        &self,
        first: &(usize, Crash),
        number: usize,
        instant: &Snapshot,
        crash: &Crash,
        shown: Shown,
    ) -> Result<(), Found> {
        let image = crash.apply(&instant.image, self.workload().tearing);
        let store = store_after(&instant.store, &image, crash);
        if !self.count(self.digest(&image, &store, instant)) {
            return Ok(());
        }
        let path = [first.clone(), (number, crash.clone())];
        self.at(self.found(&image, &store, instant, shown, *crash == Crash::Kill && first.1 == Crash::Kill), &path)?;
        let world = World::resume(image, store, instant, Plan { fault: None, ..self.plan });
        self.at(self.recovered(&world, shown), &path)
    }

    /// What is there after a crash, before any recovery.
    fn found(
        &self,
        image: &Image,
        store: &Store,
        snapshot: &Snapshot,
        shown: Shown,
        is_same_boot: bool,
    ) -> Result<(), Violation> {
        self.look(image, store, snapshot, false)?;
        if is_same_boot { does_not_decrease(shown, self.case.shown_of_all(image)) } else { Ok(()) }
    }

    /// What holds at any instant, and in the end, in every dataset.
    fn look(&self, image: &Image, store: &Store, snapshot: &Snapshot, is_end: bool) -> Result<(), Violation> {
        for (case, acknowledged) in self.case.all().zip(snapshot.acknowledged) {
            let tables = tables(store, &case.workload);
            let (tables, placed, stage) = (tables.as_deref(), snapshot.placed.as_slice(), snapshot.stage);
            let now = Instant { image, tables, placed, stage, acknowledged };
            if is_end {
                case.end(&now)?;
            } else {
                case.ledger(&now)?;
                case.sources(&now, false)?;
            }
            case.reader(&now)?;
        }
        Ok(())
    }

    /// Recovers, and looks at what has come of it.
    fn recovered(&self, world: &World, shown: Shown) -> Result<(), Violation> {
        let stage = world.snapshot().stage;
        for (number, case) in self.case.served(stage) {
            let (workload, shown) = (&case.workload, shown[number]);
            let rows = world.tables(workload).map_or(0, |tables| tables.state.rows);
            let writer = service::recover(world, workload).map_err(|reason| Violation::new("recovery", reason))?;
            drop(writer);
            let tables = world.tables(workload).ok_or_else(|| Violation::new("recovery", "there is no ledger"))?;
            if tables.state.rows != rows {
                return Err(Violation::new("recovery", format!("{rows} rows became {}", tables.state.rows)));
            }
            if rows < shown {
                return Err(Violation::new("I2", format!("readers saw {shown} rows, and now there are {rows}")));
            }
            case.whole(&world.snapshot().image, &tables)?;
        }
        self.case.tidy(&world.snapshot().image)?;
        self.check_all(world, false)
    }

    fn check_all(&self, world: &World, is_end: bool) -> Result<(), Violation> {
        let snapshot = world.snapshot();
        if is_end {
            self.case.tidy(&snapshot.image)?;
        }
        self.look(&snapshot.image, &snapshot.store, &snapshot, is_end)
    }

    /// Runs the workload to its end from a recovered disk, and cuts the power there once more.
    fn go_on(&self, world: &World, snapshot: &Snapshot) -> Result<(), Violation> {
        let start = world.snapshot();
        let plan = Plan { fault: None, ..self.plan };
        let world = World::resume(start.image, start.store, snapshot, plan);
        service::run(&world, self.case, plan, true)?;
        self.ended(&world)
    }

    /// The end state is right, and stays so without what was never synced.
    fn ended(&self, world: &World) -> Result<(), Violation> {
        self.check_all(world, true)?;
        let end = world.snapshot();
        let cut = Crash::PowerCut(Vec::new());
        let image = cut.apply(&end.image, Tearing::Sectors);
        let store = store_after(&end.store, &image, &cut);
        self.count(self.digest(&image, &store, &end));
        self.found(&image, &store, &end, Shown::default(), false)?;
        let mut shown = Shown::default();
        for (number, case) in self.case.served(end.stage) {
            shown[number] = case.model.rows;
        }
        let world = World::resume(image, store, &end, Plan { fault: None, ..self.plan });
        self.recovered(&world, shown)
    }

    /// Counts a state that was not seen before. Whether it is one.
    fn count(&self, digest: u64) -> bool {
        let is_new = self.seen.lock().unwrap().insert(digest);
        let counter = if is_new { &self.figures.states } else { &self.figures.repeated };
        counter.fetch_add(1, Ordering::Relaxed);
        if is_new {
            self.states.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    fn digest(&self, image: &Image, store: &Store, snapshot: &Snapshot) -> u64 {
        let mut hasher = DefaultHasher::new();
        image.digest(&mut hasher);
        let revision = |case: &Case| {
            let tables = tables(store, &case.workload)?;
            let durable = match &tables.held {
                Held::Durable => None,
                Held::Cached(before) => Some(before.as_ref().map(|tables| tables.revision)),
            };
            Some((tables.revision, durable))
        };
        let revisions: Vec<_> = self.case.all().map(revision).collect();
        (revisions, snapshot.stage, snapshot.acknowledged).hash(&mut hasher);
        hasher.finish()
    }
}
