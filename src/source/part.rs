//! A log that is still being written is taken in parts. What is known of it, and what a candidate brings along.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Hash, Marks};
use crate::storage::fill;

/// So many of a log's first bytes are kept, to know it by.
pub const HEAD_BYTES: usize = 256;
/// So many of the bytes before a part's end are hashed, to see that the file still is what it was.
const TAIL_BYTES: u64 = 4096;
/// So many bytes are kept of what was rejected, to see whether it was mended.
pub const REJECTED_BYTES: usize = 4096;

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
    /// The first bytes from there on, as far as they were taken, at most [`HEAD_BYTES`]. Where the log was rejected, the first
    /// bytes of what was follow them, at most [`REJECTED_BYTES`].
    pub head: Vec<u8>,
    /// BLAKE3 of the last bytes before `end`, at most 4 KiB, from the file's start at most.
    pub tail: Hash,
    /// Of what lies before the first record, and behind [`HEAD_BYTES`].
    pub marks: Marks,
}

impl Part {
    /// Whether the file is the one that the part was taken from, as far as it was.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_of(&self, file: &File) -> io::Result<bool> {
        let head = self.taken_head();
        if bytes_at(file, self.head_at..self.head_at + head.len() as u64)? != head
            || tail_hash(file, self.end)? != self.tail
        {
            return Ok(false);
        }
        // Where nothing was taken, what was rejected tells one log from another.
        Ok(!self.is_empty() || self.has_rejected(file)?)
    }

    /// Whether a file that was perhaps cut to `end` bytes begins as the log did, as far as that is known, with one byte of its
    /// first record at least.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn begins(&self, file: &File, end: u64) -> io::Result<bool> {
        Ok(self.has_head(file, end)? && self.marks.are_in(file, self.head_at, end)?)
    }

    /// Whether the file's first bytes, before `end`, are those of the part, as far as these are known.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn has_head(&self, file: &File, end: u64) -> io::Result<bool> {
        let known = end.saturating_sub(self.head_at).min(self.taken_head().len() as u64);
        Ok(known > 0 && self.alike(file)? >= known)
    }

    /// So many of the file's first bytes are those of the part, as far as these are known.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn alike(&self, file: &File) -> io::Result<u64> {
        let head = self.taken_head();
        let found = bytes_at(file, self.head_at..self.head_at + head.len() as u64)?;
        Ok(head.iter().zip(found).take_while(|(was, is)| **was == *is).count() as u64)
    }

    /// Whether nothing was taken of the log.
    pub fn is_empty(&self) -> bool {
        self.end <= self.head_at
    }

    /// The log's first bytes, as far as they were taken.
    pub fn taken_head(&self) -> &[u8] {
        self.head.split_at_checked(self.taken_head_bytes()).map_or(&self.head, |(head, _)| head)
    }

    /// The first bytes of what was rejected.
    pub fn rejected(&self) -> &[u8] {
        self.head.get(self.taken_head_bytes()..).unwrap_or_default()
    }

    fn taken_head_bytes(&self) -> usize {
        usize::try_from(self.end.saturating_sub(self.head_at)).map_or(HEAD_BYTES, |taken| taken.min(HEAD_BYTES))
    }

    /// Whether the file still has what was rejected.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn has_rejected(&self, file: &File) -> io::Result<bool> {
        let rejected = self.rejected();
        Ok(bytes_at(file, self.end..self.end + rejected.len() as u64)? == rejected)
    }
}

/// BLAKE3 of the last bytes before `end`, at most 4 KiB.
///
/// # Errors
/// The file cannot be read.
pub fn tail_hash(file: &File, end: u64) -> io::Result<Hash> {
    Ok(blake3::hash(&bytes_at(file, end.saturating_sub(TAIL_BYTES)..end)?))
}

/// The bytes of the range, fewer where the file ends before.
///
/// # Errors
/// The file cannot be read.
pub fn bytes_at(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0)];
    let filled = fill(&mut bytes, |rest, filled| file.read_at(rest, range.start + filled))?;
    bytes.truncate(filled);
    Ok(bytes)
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
    /// `known` was taken under another name: the file was renamed, or is another one that got its inode.
    pub is_moved: bool,
    /// It was this log, and has been cut short or written anew.
    pub replaces: Option<LogState>,
    /// It is another file, which only has the inode that `replaces` had.
    pub has_only_inode: bool,
    /// Unless it is `known`: [`tail_hash`] of what it had when it was found.
    pub found_tail: Option<Hash>,
    /// The smallest size that it was seen to have since, if that is smaller than what was taken.
    pub cut_at: Option<u64>,
    /// Logs that it may be a copy of.
    pub originals: Arc<Vec<Original>>,
    /// Files that are as new as it is, of which it may be a copy. Absolute.
    pub newcomers: Arc<Vec<PathBuf>>,
    /// Where the log may be by now that had its name or its inode before.
    pub before: Option<PathBuf>,
    /// Its name is not that of a source: nothing but a known log's continuation is taken from it.
    pub only_continues: bool,
    /// What is copied is left out: `duplicates = "skip"`.
    pub skips_copies: bool,
}

impl Follow {
    /// The log that this file was.
    pub fn was(&self) -> Option<&LogState> {
        self.replaces.as_ref().filter(|_| !self.has_only_inode)
    }
}

/// A log that a new file may be a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    pub state: LogState,
    /// Where it was when it was taken last, and where at first. Absolute.
    pub path: PathBuf,
    pub first_path: PathBuf,
    /// Of its file, if the scan has found that, whatever it holds by now.
    pub inode: Option<u64>,
    /// Its newest parts, and the hashes of their bytes.
    pub parts: Vec<(Range<u64>, Hash)>,
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
    pub marks: Marks,
    /// BLAKE3 of the file's bytes from `hash_from`, which is `begin` or where an entry before it begins, to `end`.
    pub hash: Hash,
    pub hash_from: u64,
    /// That of the bytes from `begin`, for an entry of its own.
    pub own_hash: Hash,
    /// Why nothing more is taken from the log, and the first bytes of what was rejected.
    pub stopped: Option<(String, Vec<u8>)>,
}
