//! A log that is still being written is taken in parts. What is known of it, and what a candidate brings along.

use std::path::PathBuf;
use std::sync::Arc;

use super::Hash;

/// So many of a log's first bytes are kept, to know it by.
pub const HEAD_BYTES: usize = 256;
/// So many of the bytes before a part's end are hashed, to see that the file still is what it was.
pub const TAIL_BYTES: u64 = 4096;

/// An entry is not extended beyond so many bytes of the file: what a start has to check after a crash stays little.
pub const ENTRY_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a log that were taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The ledger's id of the log's first part: the value in the `source` column.
    pub log: u64,
    /// Rows of the log before this part: the value in the `index` column of its first row.
    pub first_index: u64,
    /// Bytes of the file: from `begin` to before `end`.
    pub begin: u64,
    pub end: u64,
    /// Where the log's first record begins.
    pub head_at: u64,
    /// The first bytes from there on, as far as they were taken, at most [`HEAD_BYTES`].
    pub head: Vec<u8>,
    /// BLAKE3 of the last bytes before `end`, at most [`TAIL_BYTES`], from the file's start at most.
    pub tail: Hash,
}

/// Where a log stands: its newest part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    pub part: Part,
    /// The `index` of the next row.
    pub next_index: u64,
}

/// What the ledger knows of a file that is followed, for those who read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Follow {
    /// It is this log, and has grown.
    pub known: Option<LogState>,
    /// It was this log, and has been cut short or written anew.
    pub replaces: Option<LogState>,
    /// The smallest size that it was seen to have since.
    pub cut_at: Option<u64>,
    /// Logs that it may be a copy of.
    pub originals: Arc<Vec<Original>>,
    /// Its name is not that of a source: nothing but a known log's continuation is taken from it.
    pub only_continues: bool,
    /// What is copied is left out: `duplicates = "skip"`.
    pub skips_copies: bool,
}

/// A log that a new file may be a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    pub state: LogState,
    /// Where it was when it was taken last, and where at first. Absolute.
    pub path: PathBuf,
    pub first_path: PathBuf,
    /// Its newest parts, and the hashes of their bytes.
    pub parts: Vec<(std::ops::Range<u64>, Hash)>,
}

/// What was read of a log: where it begins and ends, and how to know it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRead {
    /// The log that it goes on with; `None` for a new one.
    pub state: Option<LogState>,
    pub begin: u64,
    pub end: u64,
    pub head_at: u64,
    pub head: Vec<u8>,
    pub tail: Hash,
    /// BLAKE3 of the file's bytes from `hash_from`, which is `begin` or where an entry before it begins, to `end`.
    pub hash: Hash,
    pub hash_from: u64,
    /// Why nothing more is taken from the log.
    pub stopped: Option<String>,
}
