//! Wrong orders of the commit protocol, which the crash explorer must notice.
//!
//! A check that never fails proves nothing. These switches exist only where the feature `simulation` is on; they belong to
//! the thread that sets them, and none is set otherwise. What a program could merely leave out (a sync, a cut) needs no
//! switch: [`super::Treatment::LeftOut`] does that from outside.

use std::cell::Cell;

/// Two steps that change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The count is shown before the ledger has it.
    PublishBeforeLedger,
    /// The ledger has the rows before they are durable.
    LedgerBeforeSync,
    /// The count is shown after the commit and before the rows are durable.
    PublishBeforeSync,
    /// The main file's count is shown before the columns'.
    MainBeforeColumns,
    /// The counts are shown before the class names.
    CountsBeforeLabels,
    /// As `MainBeforeColumns`, when recovery publishes.
    RecoveryMainBeforeColumns,
}

thread_local! {
    static ACTIVE: Cell<Option<Swap>> = const { Cell::new(None) };
}

/// Sets the switch of this thread.
pub fn set(swap: Option<Swap>) {
    ACTIVE.set(swap);
}

/// The switch of this thread.
pub fn active() -> Option<Swap> {
    ACTIVE.get()
}

/// The order in which recovery publishes: the last of the right order first where the switch says so.
pub fn recovery_order<T>(mut files: Vec<T>) -> Vec<T> {
    if active() == Some(Swap::RecoveryMainBeforeColumns) && !files.is_empty() {
        files.rotate_right(1);
    }
    files
}
