//! Files in which a log may go on whose own is another by now: those that are new in a scan, and those beside it that are no
//! sources by their names. Where many logs are rotated at once, each of these is looked at once, and not once for each log.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::look::Look;
use crate::ledger::LedgerError;
use crate::source::{Identity, LogState, Part, bytes_at};
use crate::storage::{FileStatus, open_without_waiting};
use crate::writer::is_aside;

/// So many files that may be a copy of a log are looked at where their names are no sources'.
const COPIES_MAX: usize = 16;
/// So much of a new file's beginning is remembered.
const START_BYTES: u64 = 1 << 10;

/// See the module documentation.
pub struct Heirs<'a> {
    newcomers: Vec<Newcomer>,
    /// Inodes of files that the scan has found.
    found: &'a HashSet<u64>,
    /// Of each folder that was asked for: files that the scan has not found, the newest first.
    beside: HashMap<PathBuf, Vec<(PathBuf, FileStatus)>>,
}

/// A file of which nothing was taken yet.
struct Newcomer {
    path: PathBuf,
    size: u64,
    /// Its first bytes, once they were asked for.
    start: Option<Vec<u8>>,
}

impl Newcomer {
    fn is_of(&mut self, part: &Part) -> bool {
        let head = part.taken_head();
        let end = part.head_at + head.len() as u64;
        if self.size < part.end {
            return false;
        }
        if end <= START_BYTES {
            let start = self.start.get_or_insert_with(|| {
                let file = open_without_waiting(&self.path);
                file.and_then(|file| bytes_at(&file, 0..START_BYTES)).unwrap_or_default()
            });
            let range = usize::try_from(part.head_at).ok().zip(usize::try_from(end).ok());
            if range.and_then(|(from, to)| start.get(from..to)) != Some(head) {
                return false;
            }
        }
        open_without_waiting(&self.path).and_then(|file| part.is_of(&file)).unwrap_or(false)
    }
}

impl<'a> Heirs<'a> {
    /// `newcomers`: files of which nothing was taken yet, and their sizes.
    pub fn new(newcomers: impl Iterator<Item = (PathBuf, u64)>, found: &'a HashSet<u64>) -> Self {
        let newcomers = newcomers.map(|(path, size)| Newcomer { path, size, start: None }).collect();
        Self { newcomers, found, beside: HashMap::new() }
    }

    /// The new file that holds all that was taken of the log at `path`. One whose name begins as the log's comes first.
    pub fn heir(&mut self, path: &Path, old: &LogState) -> Option<PathBuf> {
        if old.part.is_empty() {
            return None;
        }
        let name = path.as_os_str().as_encoded_bytes();
        let is_namesake = |newcomer: &Newcomer| newcomer.path.as_os_str().as_encoded_bytes().starts_with(name);
        for are_namesakes in [true, false] {
            let mut newcomers = self.newcomers.iter_mut().filter(|newcomer| is_namesake(newcomer) == are_namesakes);
            if let Some(heir) = newcomers.find_map(|newcomer| newcomer.is_of(&old.part).then(|| newcomer.path.clone()))
            {
                return Some(heir);
            }
        }
        None
    }

    /// Files beside the log at `path` that may be its copy, and are no sources by their names: the newest ones first.
    pub fn copies(
        &mut self,
        look: &Look,
        path: &Path,
        old: &LogState,
    ) -> Result<Vec<(PathBuf, FileStatus)>, LedgerError> {
        let Some(parent) = path.parent() else { return Ok(Vec::new()) };
        if !self.beside.contains_key(parent) {
            self.beside.insert(parent.to_owned(), others_in(parent, self.found));
        }
        let files = self.beside.get(parent).into_iter().flatten();
        let mut unknown = Vec::new();
        for (path, status) in files.filter(|(_, status)| status.size >= old.part.end).take(COPIES_MAX) {
            if !look.knows(Identity::from(status))? {
                unknown.push((path.clone(), *status));
            }
        }
        Ok(unknown)
    }
}

/// Files of a folder that the scan has not found, the newest first.
fn others_in(folder: &Path, found: &HashSet<u64>) -> Vec<(PathBuf, FileStatus)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut others = Vec::new();
    for entry in entries.flatten().filter(|entry| !found.contains(&entry.ino()) && !is_aside(&entry.path())) {
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        let status = FileStatus::from(&metadata);
        if status.is_regular {
            others.push((entry.path(), status));
        }
    }
    others.sort_by_key(|(_, status)| Reverse(status.mtime_ns));
    others
}
