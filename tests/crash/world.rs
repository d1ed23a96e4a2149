//! One run's disk and ledgers, and the script that watches them: it records every instant, makes one operation fail, and
//! leaves out what a mutation leaves out.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use npy_ingest::config::Dataset;
use npy_ingest::ledger::memory::{Ending, Held, MemoryLedgers, Step, Store, Tables, Witness};
use npy_ingest::storage::simulated::{Failure, Image, Operation, Script, SimulatedDisk, Treatment};

use crate::mutations::Mutation;
use crate::schedule::Crash;
use crate::workload::{DONE, DROP, FAILED, OUTPUT_FOLDER, Workload};

/// Datasets of one service.
pub const DATASETS_MAX: usize = 2;

/// One operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1 over the whole run.
    pub at: u64,
    pub failure: Failure,
    /// From then on everything that needs room fails, until the service has paused.
    pub lasts: bool,
    /// A transaction is done all the same.
    pub is_done: bool,
}

/// An instant of a run: everything that a crash needs, and what was promised until then.
#[derive(Clone)]
pub struct Snapshot {
    pub image: Image,
    pub store: Store,
    pub stage: usize,
    /// Rows that `commit` has confirmed, for each dataset.
    pub acknowledged: [u64; DATASETS_MAX],
    /// Inodes of the sources that users have put there, in their order.
    pub placed: Arc<Vec<u64>>,
    pub what: (Operation, PathBuf),
    /// Operations until then.
    pub operations: u64,
}

/// Every operation of a run, for the choice of the one that is to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub operation: Operation,
    pub path: PathBuf,
    pub is_recovering: bool,
    pub is_finishing: bool,
}

/// What the service tells the script.
#[derive(Default)]
pub struct Control {
    pub stage: AtomicUsize,
    pub acknowledged: [AtomicU64; DATASETS_MAX],
    pub is_recovering: AtomicBool,
    pub has_crashed: AtomicBool,
    /// The service has nothing more to do and ends.
    pub is_finishing: AtomicBool,
    /// After the pause that a fault brought.
    pub has_gone_on: AtomicBool,
    pub has_room: AtomicBool,
    pub placed: Mutex<Arc<Vec<u64>>>,
    pub operations: AtomicU64,
    /// Operations since the fault that changed something.
    pub changes_after_fault: AtomicU64,
    pub fault_was_met: AtomicBool,
    /// See [`Fault::is_done`].
    is_done: AtomicBool,
    snapshots: Mutex<Vec<Snapshot>>,
    log: Mutex<Vec<Done>>,
    ledgers: OnceLock<MemoryLedgers>,
}

/// See the module documentation.
pub struct World {
    pub disk: SimulatedDisk,
    pub ledgers: MemoryLedgers,
    pub control: Arc<Control>,
}

/// What the script of a run does beside watching.
#[derive(Clone, Copy, Default)]
pub struct Plan {
    pub mutation: Option<&'static Mutation>,
    pub fault: Option<Fault>,
    pub records: bool,
    pub other_device: bool,
}

impl World {
    pub fn new(image: Image, store: Store, plan: Plan) -> Self {
        let control = Arc::new(Control::default());
        control.is_done.store(plan.fault.is_some_and(|fault| fault.is_done), Ordering::Relaxed);
        let last = (Operation::Open, PathBuf::new());
        let script = Puppeteer { control: control.clone(), plan, last };
        let disk = SimulatedDisk::new(image, Box::new(script));
        let ledgers = MemoryLedgers::new(store, Arc::new(Beside { disk: disk.clone(), control: control.clone() }));
        control.ledgers.set(ledgers.clone()).ok();
        Self { disk, ledgers, control }
    }

    /// The disk before the first start.
    pub fn at_start(workload: &Workload, plan: Plan) -> Self {
        let mut image = Image::default();
        image.put_folder(Path::new(DROP));
        if workload.other_device {
            for folder in [DONE, FAILED] {
                image.put_device(Path::new(folder));
            }
        }
        if workload.output_folder_exists {
            image.put_folder(Path::new(OUTPUT_FOLDER));
        }
        let mut store = Store::default();
        if workload.rows_at_start > 0 {
            crate::service::put_rows(workload, &mut image, &mut store);
        }
        Self::new(image, store, plan)
    }

    /// Goes on from an instant: the same promises hold.
    pub fn resume(image: Image, store: Store, snapshot: &Snapshot, plan: Plan) -> Self {
        let world = Self::new(image, store, plan);
        world.control.has_crashed.store(true, Ordering::Relaxed);
        world.control.stage.store(snapshot.stage, Ordering::Relaxed);
        for (now, was) in world.control.acknowledged.iter().zip(snapshot.acknowledged) {
            now.store(was, Ordering::Relaxed);
        }
        *world.control.placed.lock().unwrap() = snapshot.placed.clone();
        world
    }

    /// What the config says of a dataset now.
    pub fn options<'a>(&self, workload: &'a Workload) -> &'a Arc<Dataset> {
        let (stage, has_crashed) = (&self.control.stage, &self.control.has_crashed);
        workload.options_in(stage.load(Ordering::Relaxed), has_crashed.load(Ordering::Relaxed))
    }

    pub fn tables(&self, workload: &Workload) -> Option<Arc<Tables>> {
        tables(&self.ledgers.store(), workload)
    }

    pub fn take_snapshots(&self) -> Vec<Snapshot> {
        std::mem::take(&mut *self.control.snapshots.lock().unwrap())
    }

    pub fn take_log(&self) -> Vec<Done> {
        std::mem::take(&mut *self.control.log.lock().unwrap())
    }

    /// The instant now, as if something had just been done.
    pub fn snapshot(&self) -> Snapshot {
        self.control.snapshot(&self.disk.image(), Operation::Status, Path::new(""))
    }
}

/// The ledger of a workload.
pub fn tables(store: &Store, workload: &Workload) -> Option<Arc<Tables>> {
    store.get(&workload.output().with_extension("ledger.db")).cloned()
}

/// Whether no ledger says, on the disk, that there may be rows which nothing was synced for: of those a power cut may take what it
/// likes.
pub fn survives_power_cuts(store: &Store) -> bool {
    let durable = store.values().filter_map(|tables| match &tables.held {
        Held::Durable => Some(tables),
        Held::Cached(before) => before.as_ref(),
    });
    durable.into_iter().all(|tables| !tables.state.unsynced)
}

/// The ledgers after a crash. They live in the output folder, and do not survive without it; a power cut takes what only the
/// page cache had.
pub fn store_after(store: &Store, image: &Image, crash: &Crash) -> Store {
    if !image.is_folder(Path::new(OUTPUT_FOLDER)) {
        return Store::default();
    }
    if *crash == Crash::Kill {
        return store.clone();
    }
    let durable = |tables: &Arc<Tables>| match &tables.held {
        Held::Durable => Some(tables.clone()),
        Held::Cached(before) => before.clone(),
    };
    store.iter().filter_map(|(path, tables)| Some((path.clone(), durable(tables)?))).collect()
}

impl Control {
    fn snapshot(&self, image: &Image, operation: Operation, path: &Path) -> Snapshot {
        Snapshot {
            image: image.clone(),
            store: self.ledgers.get().map(MemoryLedgers::store).unwrap_or_default(),
            stage: self.stage.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.each_ref().map(|rows| rows.load(Ordering::Relaxed)),
            placed: self.placed.lock().unwrap().clone(),
            what: (operation, path.to_owned()),
            operations: self.operations.load(Ordering::Relaxed),
        }
    }
}

struct Puppeteer {
    control: Arc<Control>,
    plan: Plan,
    /// The last operation that changed something.
    last: (Operation, PathBuf),
}

impl Puppeteer {
    fn fails(&self, number: u64, operation: Operation) -> Option<Failure> {
        let fault = self.plan.fault?;
        let control = &self.control;
        if number == fault.at {
            control.fault_was_met.store(true, Ordering::Relaxed);
            return Some(fault.failure);
        }
        let needs_room = matches!(
            operation,
            Operation::Write | Operation::Create | Operation::LedgerCommit | Operation::LedgerCreate
        );
        (fault.lasts && number > fault.at && needs_room && !control.has_room.load(Ordering::Relaxed))
            .then_some(fault.failure)
    }
}

impl Script for Puppeteer {
    fn before(&mut self, operation: Operation, path: &Path) -> Treatment {
        let control = &self.control;
        let number = control.operations.fetch_add(1, Ordering::Relaxed) + 1;
        let is_recovering = control.is_recovering.load(Ordering::Relaxed);
        let is_finishing = control.is_finishing.load(Ordering::Relaxed);
        if self.plan.records {
            control.log.lock().unwrap().push(Done { operation, path: path.to_owned(), is_recovering, is_finishing });
        }
        if let Some(failure) = self.fails(number, operation) {
            return Treatment::Fails(failure);
        }
        if let Some(mutation) = self.plan.mutation {
            let seen = crate::mutations::Seen {
                operation,
                path,
                last: (self.last.0, &self.last.1),
                other_device: self.plan.other_device,
                is_recovering,
                is_finishing,
                is_abandoning: control.fault_was_met.load(Ordering::Relaxed)
                    && !control.has_gone_on.load(Ordering::Relaxed),
            };
            let treatment = (mutation.treatment)(&seen);
            if treatment != Treatment::Honest {
                return treatment;
            }
        }
        Treatment::Honest
    }

    fn after(&mut self, operation: Operation, path: &Path, image: &Image) {
        if !operation.changes() {
            return;
        }
        self.last = (operation, path.to_owned());
        if self.control.fault_was_met.load(Ordering::Relaxed) {
            self.control.changes_after_fault.fetch_add(1, Ordering::Relaxed);
        }
        if self.plan.records {
            let snapshot = self.control.snapshot(image, operation, path);
            self.control.snapshots.lock().unwrap().push(snapshot);
        }
    }
}

/// Lets the ledgers take part in the disk's script.
struct Beside {
    disk: SimulatedDisk,
    control: Arc<Control>,
}

fn operation(step: Step) -> Operation {
    match step {
        Step::Open => Operation::LedgerOpen,
        Step::Settle => Operation::LedgerSettle,
        Step::Create => Operation::LedgerCreate,
        Step::Read => Operation::LedgerRead,
        Step::Write => Operation::LedgerWrite,
        Step::Commit => Operation::LedgerCommit,
        Step::Note => Operation::LedgerNote,
        Step::Mark => Operation::LedgerMark,
    }
}

impl Witness for Beside {
    fn before(&self, step: Step, path: &Path) -> Ending {
        match self.disk.before(operation(step), path) {
            Treatment::Fails(Failure::NoSpace) => Ending::Full,
            Treatment::Fails(Failure::InputOutput) if self.control.is_done.load(Ordering::Relaxed) => {
                Ending::FailedAfter
            }
            Treatment::Fails(Failure::InputOutput) => Ending::FailedBefore,
            Treatment::LeftOut => Ending::LeftOut,
            Treatment::LosesSync => Ending::NotSynced,
            _ => Ending::Done,
        }
    }

    fn after(&self, step: Step, path: &Path) {
        self.disk.after(operation(step), path);
    }
}
