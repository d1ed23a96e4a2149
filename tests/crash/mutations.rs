//! The check is checked: each of these leaves out a step of the protocol, or swaps two, and must be noticed.
//!
//! Those that are marked as not needed are explored just as much, and must not be noticed: what they leave out is there for
//! another reason than the promise, or something else makes up for it. Either way a surprise fails the test.

use std::path::Path;
use std::sync::atomic::Ordering;

use npy_ingest::storage::simulated::swap::Swap;
use npy_ingest::storage::simulated::{Failure, Operation, Treatment};

use crate::check::Case;
use crate::explore::{Explorer, Figures, Found};
use crate::schedule::Limits;
use crate::workload::{BASE, DONE, DROP, FAILED, OUTPUT_FOLDER};
use crate::world::{Done, Fault, Plan, World};

/// An operation, before it is done, and what the service is doing.
pub struct Seen<'a> {
    pub operation: Operation,
    pub path: &'a Path,
    /// The last operation that changed something.
    pub last: (Operation, &'a Path),
    pub is_recovering: bool,
    pub is_finishing: bool,
    pub is_abandoning: bool,
    pub other_device: bool,
}

/// See the module documentation.
pub struct Mutation {
    pub name: &'static str,
    pub treatment: fn(&Seen<'_>) -> Treatment,
    pub swap: Option<Swap>,
    pub disposes_early: bool,
    /// It shows only when this operation meets a full disk.
    pub needs_full_disk_at: Option<fn(&Done) -> bool>,
    /// Why nothing is lost by it.
    pub not_needed: Option<&'static str>,
}

const NONE: Mutation = Mutation {
    name: "",
    treatment: |_| Treatment::Honest,
    swap: None,
    disposes_early: false,
    needs_full_disk_at: None,
    not_needed: None,
};

fn left_out(when: bool) -> Treatment {
    if when { Treatment::LeftOut } else { Treatment::Honest }
}

fn has_end(path: &Path, end: &str) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(end.as_bytes())
}

/// Before it has its name.
fn is_reason(path: &Path) -> bool {
    has_end(path, ".reason.txt.npy-ingest.tmp")
}

fn is_main(path: &Path) -> bool {
    has_end(path, "/frames.npy")
}

fn is_column(path: &Path) -> bool {
    has_end(path, ".npy") && !is_main(path)
}

fn is_array(path: &Path) -> bool {
    has_end(path, ".npy")
}

impl Seen<'_> {
    fn syncs(&self) -> bool {
        self.operation == Operation::Sync
    }

    fn syncs_columns(&self) -> bool {
        self.syncs() && is_column(self.path)
    }

    fn syncs_folder(&self, folder: &str) -> bool {
        self.operation == Operation::SyncFolder && self.path == Path::new(folder)
    }

    fn syncs_below(&self, folder: &str) -> bool {
        self.operation == Operation::SyncFolder && self.path.starts_with(folder)
    }

    fn came_after(&self, operation: Operation, is_it: fn(&Path) -> bool) -> bool {
        self.last.0 == operation && is_it(self.last.1)
    }

    fn works(&self) -> bool {
        !self.is_recovering && !self.is_finishing
    }

    fn syncs_after_creation(&self) -> bool {
        self.syncs_folder(OUTPUT_FOLDER) && self.came_after(Operation::Rename, is_array)
    }

    fn syncs_after_labels(&self) -> bool {
        self.syncs_folder(OUTPUT_FOLDER) && self.came_after(Operation::Rename, |path| has_end(path, ".json"))
    }

    fn syncs_folder_in_recovery(&self) -> bool {
        let is_other = self.syncs_after_creation() || self.syncs_after_labels();
        self.is_recovering && self.syncs_folder(OUTPUT_FOLDER) && !is_other
    }

    fn syncs_after_move(&self) -> bool {
        self.syncs_below(DONE) && self.last.0 == Operation::Rename
    }

    fn cuts(&self) -> bool {
        self.operation == Operation::SetLength
    }

    fn publishes(&self) -> bool {
        self.operation == Operation::Write && is_array(self.path)
    }
}

/// All of them.
pub static MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "the columns are not synced before the commit",
        treatment: |seen| {
            left_out(seen.works() && seen.syncs_columns() && !seen.came_after(Operation::Write, is_column))
        },
        ..NONE
    },
    Mutation {
        name: "the counts of the columns are not synced before the main file's",
        treatment: |seen| {
            left_out(seen.works() && seen.syncs_columns() && seen.came_after(Operation::Write, is_column))
        },
        ..NONE
    },
    Mutation {
        name: "the main file is not synced before the commit",
        treatment: |seen| left_out(seen.works() && seen.syncs() && is_main(seen.path)),
        ..NONE
    },
    Mutation {
        name: "a sync of the main file that failed is tried again",
        treatment: |seen| match seen.works() && seen.syncs() && is_main(seen.path) {
            true => Treatment::LosesSync,
            false => Treatment::Honest,
        },
        ..NONE
    },
    Mutation {
        name: "what a killed process left of the ledger is not synced by the next one",
        treatment: |seen| left_out(seen.operation == Operation::LedgerSettle),
        ..NONE
    },
    Mutation {
        name: "the mark of rows that are not going to be synced is not synced itself",
        treatment: |seen| match seen.operation == Operation::LedgerMark {
            true => Treatment::LosesSync,
            false => Treatment::Honest,
        },
        ..NONE
    },
    Mutation {
        name: "the header of a new file is not synced",
        treatment: |seen| left_out(seen.syncs() && has_end(seen.path, ".tmp") && !has_end(seen.path, ".json.tmp")),
        ..NONE
    },
    Mutation {
        name: "the folder is not synced after a creation",
        treatment: |seen| left_out(seen.syncs_after_creation()),
        not_needed: Some("opening syncs the folder again before it publishes or commits anything"),
        ..NONE
    },
    Mutation {
        name: "the folder is not synced when a dataset is opened",
        treatment: |seen| left_out(seen.syncs_folder_in_recovery()),
        ..NONE
    },
    Mutation {
        name: "neither of these two",
        treatment: |seen| left_out(seen.syncs_after_creation() || seen.syncs_folder_in_recovery()),
        ..NONE
    },
    Mutation {
        name: "the folder above a new output folder is not synced",
        treatment: |seen| left_out(seen.is_recovering && seen.syncs_folder(BASE)),
        ..NONE
    },
    Mutation {
        name: "labels.json is not synced",
        treatment: |seen| left_out(seen.syncs() && has_end(seen.path, ".json.tmp")),
        ..NONE
    },
    Mutation {
        name: "the folder is not synced after labels.json",
        treatment: |seen| left_out(seen.syncs_after_labels()),
        ..NONE
    },
    Mutation {
        name: "the count is published before the ledger's commit",
        swap: Some(Swap::PublishBeforeLedger),
        ..NONE
    },
    Mutation { name: "the ledger commits before the sync", swap: Some(Swap::LedgerBeforeSync), ..NONE },
    Mutation { name: "commit, publication, and then the sync", swap: Some(Swap::PublishBeforeSync), ..NONE },
    Mutation { name: "the main file is published before the columns", swap: Some(Swap::MainBeforeColumns), ..NONE },
    Mutation { name: "the counts are published before labels.json", swap: Some(Swap::CountsBeforeLabels), ..NONE },
    Mutation {
        name: "recovery publishes the main file before the columns",
        swap: Some(Swap::RecoveryMainBeforeColumns),
        ..NONE
    },
    Mutation { name: "sources are disposed of before the commit", disposes_early: true, ..NONE },
    Mutation {
        name: "the count is written in two halves",
        treatment: |seen| if seen.publishes() { Treatment::InHalves } else { Treatment::Honest },
        ..NONE
    },
    Mutation {
        name: "the count is blanked, and then written",
        treatment: |seen| if seen.publishes() { Treatment::BlankFirst } else { Treatment::Honest },
        ..NONE
    },
    Mutation { name: "recovery does not cut", treatment: |seen| left_out(seen.is_recovering && seen.cuts()), ..NONE },
    Mutation {
        name: "recovery does not publish",
        treatment: |seen| left_out(seen.is_recovering && seen.publishes()),
        ..NONE
    },
    Mutation {
        name: "a commit does not cut what lies behind its rows",
        treatment: |seen| left_out(seen.works() && !seen.is_abandoning && seen.cuts()),
        ..NONE
    },
    Mutation {
        name: "an abandoned batch is not cut",
        treatment: |seen| left_out(seen.is_abandoning && seen.cuts()),
        needs_full_disk_at: Some(|done| {
            !done.is_recovering && done.operation == Operation::Write && is_main(&done.path)
        }),
        ..NONE
    },
    Mutation {
        name: "recovery syncs neither its cut nor its publication",
        treatment: |seen| left_out(seen.is_recovering && seen.syncs() && is_array(seen.path)),
        ..NONE
    },
    Mutation {
        name: "the end of the work syncs nothing",
        treatment: |seen| left_out(seen.is_finishing && seen.syncs()),
        ..NONE
    },
    Mutation {
        name: "the folder above a new target folder is not synced",
        treatment: |seen| {
            let made = seen.last.1.starts_with(DONE) || seen.last.1.starts_with(FAILED);
            left_out(seen.works() && seen.syncs_folder(BASE) && made)
        },
        ..NONE
    },
    Mutation {
        name: "the target folder is not synced after a move",
        treatment: |seen| left_out(!seen.other_device && seen.syncs_after_move()),
        not_needed: Some("a rename survives as a whole or not at all, and a source that is back is moved again"),
        ..NONE
    },
    Mutation {
        name: "a copy to another device is not synced",
        treatment: |seen| left_out(seen.syncs() && seen.path.starts_with(DONE)),
        ..NONE
    },
    Mutation {
        name: "the folder of such a copy is not synced before the original goes",
        treatment: |seen| left_out(seen.other_device && seen.syncs_after_move()),
        ..NONE
    },
    Mutation {
        name: "the folder of the original is not synced before it is noted as gone",
        treatment: |seen| left_out(seen.other_device && seen.syncs_below(DROP) && seen.last.0 == Operation::Remove),
        ..NONE
    },
    Mutation {
        name: "such a copy does not get the time of the original",
        treatment: |seen| left_out(seen.operation == Operation::SetTimes),
        ..NONE
    },
    Mutation {
        name: "the reason beside a rejected source is not synced",
        treatment: |seen| left_out(seen.syncs() && is_reason(seen.path)),
        ..NONE
    },
    Mutation {
        name: "its folder is not synced before the source is moved",
        treatment: |seen| {
            let has_its_name = seen.came_after(Operation::Rename, |path| has_end(path, ".reason.txt"));
            left_out(has_its_name && seen.syncs_below(FAILED))
        },
        ..NONE
    },
];

/// What came of one mutation.
pub struct Outcome {
    pub number: usize,
    pub states: u64,
    pub caught: Option<Found>,
}

impl Outcome {
    /// Whether the check is as good as it has to be.
    pub fn is_right(&self) -> bool {
        self.caught.is_some() == MUTATIONS[self.number].not_needed.is_none()
    }
}

/// Explores the fixed workloads with a mutation until it is noticed.
pub fn explore(number: usize, cases: &[Case]) -> Outcome {
    let mutation = &MUTATIONS[number];
    let figures = Figures::default();
    let mut caught = None;
    for case in cases {
        let mut explorer = Explorer::new(case, &figures).mutated(number, mutation);
        explorer.outer = Limits { all: 1 << 7, samples: 32 };
        if let Some(meets) = mutation.needs_full_disk_at {
            let plan = Plan { records: true, ..Plan::default() };
            let world = World::at_start(&case.workload, plan);
            if crate::service::run(&world, case, plan, false).is_err() {
                continue;
            }
            let Some(at) = world.take_log().iter().position(meets) else { continue };
            let at = at as u64 + 1;
            explorer = explorer.with_fault(Fault { at, failure: Failure::NoSpace, lasts: false, is_done: false });
        }
        if let Err(found) = explorer.explore() {
            caught = Some(found);
            break;
        }
    }
    Outcome { number, states: figures.states.load(Ordering::Relaxed), caught }
}
