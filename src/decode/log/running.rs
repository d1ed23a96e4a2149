//! Hashes of what was taken of logs: of a part by itself, and of one that may extend the part before it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::BLOCK_BYTES;
use crate::source::{ENTRY_BYTES_MAX, Hash, bytes_at};

/// Content hashes that are kept to be gone on with.
const RUNNING_MAX: usize = 256;

/// The content hashes of parts that may be extended, by inode: from where, up to where, and the hash so far.
#[derive(Debug, Default)]
pub struct RunningHashes(Mutex<Vec<(u64, Running)>>);

#[derive(Debug, Clone)]
pub struct Running {
    pub from: u64,
    to: u64,
    hasher: blake3::Hasher,
}

impl RunningHashes {
    /// That of the log's newest entry, which begins at `from` and ends at `begin`, or a new one from there.
    pub fn take(&self, inode: u64, from: Option<u64>, begin: u64) -> Running {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fit = |running: &Running| {
            Some(running.from) == from && running.to == begin && running.to - running.from < ENTRY_BYTES_MAX
        };
        let found = all.iter().position(|(other, running)| *other == inode && is_fit(running));
        let found = found.map(|place| all.swap_remove(place).1);
        // Two looks at one log, under two names, may have kept one each.
        all.retain(|(other, _)| *other != inode);
        found.unwrap_or_else(|| Running { from: begin, to: begin, hasher: blake3::Hasher::new() })
    }

    pub fn keep(&self, inode: u64, running: Running) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= RUNNING_MAX {
            all.remove(0);
        }
        all.push((inode, running));
    }
}

/// The hash of the bytes up to the range's end, and that of the range. Whether the part extends the entry before it is only known
/// to the writer: another log's rows may come between.
pub fn content_hashes(running: &mut Running, file: &File, range: Range<u64>) -> io::Result<(Hash, Hash)> {
    let mut own = (running.from < range.start).then(blake3::Hasher::new);
    running.to = range.end;
    hash_bytes(file, range, |block| {
        running.hasher.update(block);
        if let Some(own) = &mut own {
            own.update(block);
        }
    })?;
    let hash = running.hasher.finalize();
    Ok((hash, own.map_or(hash, |own| own.finalize())))
}

pub fn hash_bytes(file: &File, range: Range<u64>, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let block = bytes_at(file, at..range.end.min(at + BLOCK_BYTES as u64))?;
        if block.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        each(&block);
        super::super::step();
        at += block.len() as u64;
    }
    Ok(())
}
