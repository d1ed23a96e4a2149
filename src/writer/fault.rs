//! Why nothing can be written: what may pass, and what needs a restart.

use std::io;
use std::path::Path;

use crate::ledger::LedgerError;
use crate::quantity::bytes;
use crate::storage::is_full;

/// Why nothing can be written at the moment.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The cause may pass: no room, or a ledger that somebody else holds. Nothing was committed.
    #[error("{0}")]
    Passing(String),
    /// What the disk holds is not known. Nothing more may be written, published or disposed of before a restart.
    #[error("{0}")]
    Lasting(String),
}

impl Fault {
    pub(super) fn io(operation: &str, path: &Path, error: &io::Error) -> Self {
        let text = format!("{operation} {}: {error}", path.display());
        if is_full(error) { Self::Passing(text) } else { Self::Lasting(text) }
    }

    /// The disk is about to be full.
    pub(super) fn little_room(folder: &Path, free: u64, needed: u64, min_free: u64) -> Self {
        Self::Passing(format!(
            "the disk of {} is nearly full: {} free, {} to be written, {} to stay free (`min_free`)",
            folder.display(),
            bytes(free),
            bytes(needed),
            bytes(min_free)
        ))
    }

    pub(super) fn sync(path: &Path, error: &io::Error) -> Self {
        // Whatever the reason: after a failed sync the pages count as clean, and a second one would lie.
        Self::Lasting(format!("syncing {}: {error}", path.display()))
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        if error.may_pass() { Self::Passing(error.to_string()) } else { Self::Lasting(error.to_string()) }
    }
}
