//! What videos and sound have in common.

use serde::{Deserialize, Serialize};

/// What becomes of a last row that the source does not fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tail {
    Drop,
    /// Filled up: a clip with its last frame, a window with silence.
    Pad,
}

/// What becomes of a source that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// None of it is taken.
    Reject,
    /// What can be decoded is, and the ledger tells what was lost.
    Keep,
}
