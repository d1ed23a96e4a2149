//! Files in which a log may go on whose own is another by now: those that are new in a scan, and those beside it that are no
//! sources by their names. Where many logs are rotated at once, the beginning of each of these is read once, and not once for
//! each log.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::look::Look;
use crate::ledger::LedgerError;
use crate::source::{HEAD_BYTES, Identity, LogState, Part, Place, bytes_at};
use crate::storage::{FileStatus, open_without_waiting};
use crate::writer::is_aside;

/// So many files that begin as a log are looked at where their names are no sources'.
const COPIES_MAX: usize = 64;
/// The beginnings of so many files of a folder are read where their names are no sources'.
const BESIDE_MAX: usize = 16_384;
/// So much of a file's beginning is remembered.
const START_BYTES: u64 = 1 << 10;

/// See the module documentation.
pub struct Heirs<'a> {
    newcomers: Vec<Newcomer>,
    /// Files that the scan has found, by inode.
    found: &'a HashMap<u64, &'a Place>,
    /// Of each folder that was asked for: files that neither the scan has found nor the ledger knows.
    beside: HashMap<PathBuf, Vec<Newcomer>>,
}

/// A file of which nothing was taken yet.
struct Newcomer {
    path: PathBuf,
    status: FileStatus,
    /// Its first bytes, once they were asked for.
    start: Option<Vec<u8>>,
}

impl Newcomer {
    fn new((path, status): (PathBuf, FileStatus)) -> Self {
        Self { path, status, start: None }
    }

    /// Whether it begins as the log did, and is no shorter than what was taken of that.
    fn begins_as(&mut self, part: &Part) -> bool {
        let (at, known) = known_start(part);
        if known.is_empty() || self.status.size < part.end {
            return false;
        }
        let range = at..at + known.len() as u64;
        let path = &self.path;
        let read = |range| open_without_waiting(path).and_then(|file| bytes_at(&file, range)).unwrap_or_default();
        if range.end > START_BYTES {
            return read(range) == known;
        }
        let start = self.start.get_or_insert_with(|| read(0..START_BYTES));
        let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        range.and_then(|(from, to)| start.get(from..to)) == Some(known)
    }

    /// Whether it holds all that was taken of the log.
    fn is_of(&self, part: &Part) -> bool {
        open_without_waiting(&self.path).and_then(|file| part.is_of(&file)).unwrap_or(false)
    }
}

/// What is known of a log's first bytes, and where they lie in its file.
fn known_start(part: &Part) -> (u64, &[u8]) {
    let rejected = part.rejected();
    match part.is_empty() {
        true => (part.end, rejected.get(..HEAD_BYTES).unwrap_or(rejected)),
        false => (part.head_at, part.taken_head()),
    }
}

/// The files that begin as the log at `path` did. The more of its name they have, the sooner they come; then the newest.
fn begun_as<'a>(files: &'a mut [Newcomer], path: &Path, part: &Part) -> Vec<&'a Newcomer> {
    let name = path.as_os_str().as_encoded_bytes();
    let alike = |file: &Newcomer| {
        let other = file.path.as_os_str().as_encoded_bytes();
        name.iter().zip(other).take_while(|(one, other)| one == other).count()
    };
    let is_begun = |file: &mut Newcomer| file.begins_as(part) && file.path != path;
    let mut begun: Vec<&Newcomer> = files.iter_mut().filter_map(|file| is_begun(file).then_some(&*file)).collect();
    begun.sort_by_cached_key(|file| Reverse((alike(file), file.status.mtime_ns)));
    begun
}

impl<'a> Heirs<'a> {
    /// `newcomers`: files of which nothing was taken yet.
    pub fn new(newcomers: impl Iterator<Item = (PathBuf, FileStatus)>, found: &'a HashMap<u64, &'a Place>) -> Self {
        Self { newcomers: newcomers.map(Newcomer::new).collect(), found, beside: HashMap::new() }
    }

    /// The new file that holds all that was taken of the log at `path`.
    pub fn heir(&mut self, path: &Path, old: &LogState) -> Option<PathBuf> {
        let begun = begun_as(&mut self.newcomers, path, &old.part);
        begun.into_iter().find(|file| file.is_of(&old.part)).map(|file| file.path.clone())
    }

    /// Files beside the log at `path` that hold all that was taken of it, and are no sources by their names.
    pub fn copies(
        &mut self,
        look: &Look,
        path: &Path,
        old: &LogState,
    ) -> Result<Vec<(PathBuf, FileStatus)>, LedgerError> {
        let Some(parent) = path.parent() else { return Ok(Vec::new()) };
        if !self.beside.contains_key(parent) {
            self.beside.insert(parent.to_owned(), others_in(look, parent, self.found)?);
        }
        let beside = self.beside.get_mut(parent).map(Vec::as_mut_slice).unwrap_or_default();
        let copies =
            begun_as(beside, path, &old.part).into_iter().take(COPIES_MAX).filter(|file| file.is_of(&old.part));
        Ok(copies.map(|file| (file.path.clone(), file.status)).collect())
    }
}

/// Files of a folder that the scan has not found, and that the ledger does not know as they are.
fn others_in(look: &Look, folder: &Path, found: &HashMap<u64, &Place>) -> Result<Vec<Newcomer>, LedgerError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut others = Vec::new();
    for entry in entries.flatten().filter(|entry| !found.contains_key(&entry.ino()) && !is_aside(&entry.path())) {
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        let status = FileStatus::from(&metadata);
        if status.is_regular {
            others.push((entry.path(), status));
        }
    }
    others.sort_by_key(|(_, status)| Reverse(status.mtime_ns));
    others.truncate(BESIDE_MAX);
    let mut unknown = Vec::new();
    for other in others {
        if !look.knows(Identity::from(&other.1))? {
            unknown.push(Newcomer::new(other));
        }
    }
    Ok(unknown)
}
