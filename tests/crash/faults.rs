//! Every operation fails once, in every way that it can, and what `docs/format.md` says must happen has to happen.

use std::path::Path;
use std::sync::atomic::Ordering;

use npy_ingest::storage::simulated::{Failure, Operation};

use crate::check::{Case, Violation};
use crate::explore::{Explorer, Figures, Found, shown_until};
use crate::schedule::{Limits, Schedule};
use crate::service::{self, Account};
use crate::workload::OUTPUT_FOLDER;
use crate::world::{Done, Fault, Plan, World};

/// What must come of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Nothing that anybody notices.
    Nothing,
    /// The batch is cut back, its sources are kept, and the service goes on by itself.
    Pause,
    /// The dataset takes nothing more before a restart.
    Stop,
    /// The dataset is not opened, and is the next time.
    NotOpened,
    /// A line in the log, and another attempt later.
    Log,
    /// A line in the log, or nothing.
    LogOrNothing,
}

/// The ways in which an operation can fail. Interruptions of other calls than these never reach the program: the standard
/// library repeats them.
fn failures(operation: Operation) -> Vec<Fault> {
    let fault = |failure| Fault { at: 0, failure, lasts: false, is_done: false };
    let (full, broken) = (fault(Failure::NoSpace), fault(Failure::InputOutput));
    match operation {
        Operation::Read => vec![broken, fault(Failure::Interrupted), fault(Failure::Short)],
        Operation::Write => {
            let lasting = Fault { lasts: true, ..full };
            vec![full, lasting, broken, fault(Failure::Interrupted), fault(Failure::Short)]
        }
        Operation::Open | Operation::Status | Operation::Lock | Operation::LedgerOpen => vec![broken],
        Operation::LedgerCommit => vec![full, broken, Fault { is_done: true, ..broken }],
        Operation::LedgerCreate | Operation::LedgerNote | Operation::LedgerMark => {
            vec![full, broken, Fault { is_done: true, ..broken }]
        }
        Operation::LedgerSettle => vec![full, broken],
        // A part of the others.
        Operation::LedgerWrite => Vec::new(),
        // Not everywhere can they be set: such a copy may be there twice after a crash.
        Operation::SetTimes => Vec::new(),
        Operation::Create | Operation::SetLength | Operation::Sync => vec![full, broken],
        Operation::Rename | Operation::SyncFolder | Operation::CreateFolders => vec![full, broken],
        Operation::Remove | Operation::LedgerRead => vec![broken],
    }
}

fn expected(done: &Done, failure: Failure) -> Expected {
    use Operation::{LedgerNote, Status, Sync};
    if matches!(failure, Failure::Interrupted | Failure::Short) {
        return Expected::Nothing;
    }
    let is_output = done.path.starts_with(OUTPUT_FOLDER);
    match done.operation {
        // The clean mark of a start.
        LedgerNote if done.is_recovering => Expected::Nothing,
        _ if done.is_recovering => Expected::NotOpened,
        _ if done.is_finishing => Expected::Log,
        LedgerNote => Expected::Log,
        // Whether a renamed source is still under its old name.
        Status if !is_output => Expected::LogOrNothing,
        _ if !is_output => Expected::Log,
        Sync if !is_labels(&done.path) => Expected::Stop,
        _ if failure == Failure::NoSpace => Expected::Pause,
        _ => Expected::Stop,
    }
}

fn is_labels(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b".json.tmp")
}

fn judge(done: &Done, fault: Fault, account: &Account) -> Result<(), Violation> {
    let expected = expected(done, fault.failure);
    let Account { pauses, stops, not_opened, logged, changes_before_stop } = *account;
    let is_right = match expected {
        Expected::Nothing => (pauses, stops, not_opened, logged) == (0, 0, 0, 0),
        // A disposal may meet the full disk before the pause does.
        Expected::Pause if fault.lasts => pauses > 0 && (stops, not_opened) == (0, 0),
        Expected::Pause => (pauses, stops, not_opened, logged) == (1, 0, 0, 0),
        Expected::Stop => (pauses, stops, not_opened, logged) == (0, 1, 0, 0),
        Expected::NotOpened => (pauses, stops, logged) == (0, 0, 0) && not_opened == 1,
        Expected::Log => (pauses, stops, not_opened) == (0, 0, 0) && logged > 0,
        Expected::LogOrNothing => (pauses, stops, not_opened) == (0, 0, 0),
    };
    let text = format!(
        "{:?} of {} failed with {:?}: expected {expected:?}, found {pauses} pauses, {stops} stops, {not_opened} refusals \
         to open, {logged} lines in the log",
        done.operation,
        done.path.display(),
        fault.failure
    );
    // A dataset that is full fails again where it disposes of sources: the pause is only a part of what happens.
    let goes_on = fault.lasts && expected == Expected::Log;
    if !is_right && !goes_on {
        return Err(Violation::new("fault", text));
    }
    let must_stop_at_once = matches!(done.operation, Operation::Sync | Operation::LedgerCommit);
    if expected == Expected::Stop && must_stop_at_once && changes_before_stop > u64::from(fault.is_done) {
        return Err(Violation::new("fault", format!("{text}; and then {changes_before_stop} changes")));
    }
    Ok(())
}

/// All faults of one workload.
pub fn explore(case: &Case, figures: &Figures, report: &mut dyn FnMut(Found)) {
    let plan = Plan { records: true, other_device: case.workload.other_device, ..Plan::default() };
    let world = World::at_start(&case.workload, plan);
    let schedule =
        |fault| Schedule { workload: case.workload.name.clone(), mutation: None, fault, crashes: Vec::new() };
    if let Err(violation) = service::run(&world, case, plan, false) {
        return report(Found { violation, schedule: schedule(None) });
    }
    // With the last sync, all that was never synced is lost: the next start refuses it, and there is no end to run to.
    let is_only_sync =
        |done: &Done| case.workload.leaves_rows_unsynced() && done.is_finishing && done.operation == Operation::Sync;
    let log = world.take_log();
    for (number, done) in log.iter().enumerate().filter(|(_, done)| !is_only_sync(done)) {
        for fault in failures(done.operation) {
            let fault = Fault { at: number as u64 + 1, ..fault };
            figures.faults.fetch_add(1, Ordering::Relaxed);
            if let Err(found) = one(case, figures, done, fault) {
                report(found);
            }
        }
    }
}

/// One fault: what comes of it, the end, and crashes soon after it.
pub fn one(case: &Case, figures: &Figures, done: &Done, fault: Fault) -> Result<(), Found> {
    let mut explorer = Explorer::new(case, figures).with_fault(fault);
    explorer.outer = Limits { all: 4, samples: 3 };
    explorer.inner = Limits { all: 1, samples: 0 };
    let (snapshots, account) = explorer.record()?;
    explorer.at(judge(done, fault, &account), &[])?;
    let after = snapshots.iter().position(|snapshot| snapshot.operations > fault.at).unwrap_or(snapshots.len() - 1);
    for step in [0, 1, 3, 8] {
        let number = after + step;
        if let Some(snapshot) = snapshots.get(number) {
            explorer.instant(number, snapshot, shown_until(case, &snapshots, number))?;
        }
    }
    Ok(())
}
