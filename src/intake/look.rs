//! The cheap look at a file: does the ledger have it?

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Dataset, Disposal, Paths};
use crate::ledger::{Entry, Fate, FirstLook, Known, LedgerError, LedgerView, Rules, Snapshot, first_look};
use crate::source::{Hash, Identity, LogState, Original, Place};
use crate::storage::{FileStatus, RealDisk, open_without_waiting};
use crate::tally::Class;
use crate::writer::{is_elsewhere, rules};

/// A dataset's ledger, as the intake reads it.
pub struct Look {
    options: Arc<Dataset>,
    view: LedgerView,
    rules: Rules,
}

impl Look {
    /// For the intake. `None` where there is no ledger yet.
    pub fn open(options: &Arc<Dataset>) -> Result<Option<Self>, LedgerError> {
        let view = LedgerView::beside_writer(&Paths::new(&options.output).ledger)?;
        Ok(view.map(|view| Self::new(options, view)))
    }

    /// The same for a survey.
    pub fn open_for_survey(options: &Arc<Dataset>) -> Result<Option<Self>, LedgerError> {
        let view = LedgerView::open(&Paths::new(&options.output).ledger)?;
        Ok(view.map(|view| Self::new(options, view)))
    }

    fn new(options: &Arc<Dataset>, view: LedgerView) -> Self {
        Self { rules: rules(options), options: options.clone(), view }
    }

    /// See [`LedgerView::snapshot`].
    pub fn snapshot(&self) -> Result<Snapshot<'_>, LedgerError> {
        self.view.snapshot()
    }

    pub fn at(&self, place: &Place, status: &FileStatus) -> Result<FirstLook, LedgerError> {
        let known = ViewKnown { view: &self.view, base: &self.options.base };
        let look = first_look(&known, self.rules, &self.options.ledger_path(place), Identity::from(status))?;
        match &look {
            FirstLook::Known(entry) if self.may_be_read_now(entry, status)? => Ok(FirstLook::Read { known_hash: None }),
            _ => Ok(look),
        }
    }

    /// Whether a source that could not be read, and is left where it is, was changed since, which its time of modification does
    /// not show: it may have got another owner, or other permissions. What is to be moved or deleted gets a new time of change
    /// from attempts of our own.
    fn may_be_read_now(&self, entry: &Entry, status: &FileStatus) -> Result<bool, LedgerError> {
        let Fate::Rejected { reason } = &entry.fate else { return Ok(false) };
        if self.options.watch.rejected != Disposal::Keep
            || entry.hash.is_some()
            || Class::of(reason) != Class::Unreadable
        {
            return Ok(false);
        }
        let committed_ms = self.view.committed_ms(entry.id)?;
        Ok(committed_ms.is_some_and(|committed_ms| status.ctime_ns / 1_000_000 > committed_ms))
    }
}

/// A file of a dataset that follows logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLook {
    /// All of it was taken, or nothing more is to be.
    Nothing,
    /// It is longer than what was taken; or as long, and was touched since (another log may have its inode) or `is_moved`: it
    /// has another name than when it was taken.
    Grown { state: LogState, is_moved: bool },
    /// It is shorter, or surely another file that has the inode.
    Replaced(LogState),
    /// Nothing was taken of it yet. Also an empty one: the log that had its name before may have more.
    New,
}

/// The newest part of a log.
pub struct Log {
    pub entry: Entry,
    pub state: LogState,
    /// The path of its first part.
    pub first_path: PathBuf,
}

impl Log {
    fn of((entry, first_path): (Entry, PathBuf)) -> Option<Self> {
        Some(Self { state: entry.log_state()?, entry, first_path })
    }
}

/// So many logs are looked at to find out whether a file is a copy.
const ORIGINALS_MAX: usize = 64;
/// And so many besides that a scan has found to be changed or replaced.
const CHANGED_MAX: usize = 1024;
/// So many parts of a log are compared.
const PARTS_MAX: usize = 64;

impl Look {
    pub fn log(&self, place: &Place, status: &FileStatus) -> Result<LogLook, LedgerError> {
        let newest = self.view.newest_part_of_inode(status.inode)?;
        let Some((entry, state)) = newest.and_then(|entry| entry.log_state().map(|state| (entry, state))) else {
            let known = self.view.at_path(&self.options.ledger_path(place))?;
            // As a file that was not followed, before the config said so.
            let is_rejected = known.is_some_and(|entry| {
                entry.part.is_none()
                    && matches!(entry.fate, Fate::Rejected { .. })
                    && entry.identity == Identity::from(status)
            });
            return Ok(if is_rejected { LogLook::Nothing } else { LogLook::New });
        };
        let is_rejected = matches!(entry.fate, Fate::Rejected { .. });
        let is_untouched = entry.identity == Identity::from(status);
        let is_in_place = entry.path == self.options.ledger_path(place);
        // Few files are younger than their last change when they were taken, so that the ledger is seldom asked.
        let may_be_another = !is_untouched && status.born_ns.is_some_and(|born_ns| born_ns > entry.identity.mtime_ns);
        Ok(match status.size.cmp(&state.part.end) {
            Ordering::Less => LogLook::Replaced(state),
            _ if may_be_another && self.is_made_later(status, &entry)? => LogLook::Replaced(state),
            _ if is_rejected && (is_untouched || self.is_rejected_still(place, &state)) => LogLook::Nothing,
            // Under another name it is noted, so that nobody takes a copy for it.
            _ if is_untouched && (is_in_place || self.is_linked_at(&entry)) => LogLook::Nothing,
            Ordering::Equal | Ordering::Greater => LogLook::Grown { state, is_moved: !is_in_place },
        })
    }

    /// Whether a log that was rejected has still what was taken of it, and behind that what was not. One that cannot be read
    /// now gives nothing either, and is looked at again.
    fn is_rejected_still(&self, place: &Place, state: &LogState) -> bool {
        let part = &state.part;
        if part.is_empty() && part.rejected().is_empty() {
            return false;
        }
        let file = open_without_waiting(&self.options.source_path(place));
        file.and_then(|file| Ok(part.is_of(&file)? && part.has_rejected(&file)?)).unwrap_or(true)
    }

    /// Whether the file was made after the log was taken.
    fn is_made_later(&self, status: &FileStatus, entry: &Entry) -> Result<bool, LedgerError> {
        Ok(self.view.committed_ms(entry.id)?.and_then(|at_ms| status.is_made_after(at_ms)) == Some(true))
    }

    /// Whether the file has its old name as well: a hard link.
    fn is_linked_at(&self, entry: &Entry) -> bool {
        let there = fs::symlink_metadata(self.options.base.join(&entry.path));
        there.is_ok_and(|metadata| FileStatus::from(&metadata).inode == entry.identity.inode)
    }

    /// The newest part of a log that was taken under this path.
    pub fn log_at_path(&self, place: &Place) -> Result<Option<Entry>, LedgerError> {
        Ok(self.view.at_path(&self.options.ledger_path(place))?.filter(|entry| entry.part.is_some()))
    }

    /// The log that this inode was, when something was last taken of it.
    pub fn log_of_inode(&self, inode: u64) -> Result<Option<LogState>, LedgerError> {
        Ok(self.view.newest_part_of_inode(inode)?.and_then(|entry| entry.log_state()))
    }

    /// Whether a log's newest part was read from this file as it is. Its inode alone may have been another's.
    pub fn knows(&self, identity: Identity) -> Result<bool, LedgerError> {
        Ok(self.view.newest_part_of_inode(identity.inode)?.is_some_and(|entry| entry.identity == identity))
    }

    /// Whether the file is surely another one than that of which something was taken under its inode: it was made later.
    pub fn is_another(&self, status: &FileStatus) -> Result<bool, LedgerError> {
        let entry = self.view.newest_part_of_inode(status.inode)?;
        entry.map_or(Ok(false), |entry| self.is_made_later(status, &entry))
    }

    /// The logs that were begun last.
    pub fn newest_logs(&self) -> Result<Vec<Log>, LedgerError> {
        Ok(self.view.newest_logs(ORIGINALS_MAX)?.into_iter().filter_map(Log::of).collect())
    }

    /// These, and the logs that the scan has found to be `changed`, by their ids, as what a new file may be a copy of.
    /// `found`: where it has found files with these inodes, as a log may have been renamed since.
    pub fn originals<'a>(
        &self,
        found: impl Iterator<Item = &'a (Place, FileStatus)>,
        changed: impl Iterator<Item = u64>,
    ) -> Result<Vec<Original>, LedgerError> {
        let here: HashMap<u64, &Place> = found.map(|(place, status)| (status.inode, place)).collect();
        let mut logs = self.newest_logs()?;
        let newest: HashSet<u64> = logs.iter().map(|log| log.state.part.log).collect();
        let older: BTreeSet<u64> = changed.filter(|log| !newest.contains(log)).collect();
        for log in older.into_iter().rev().take(CHANGED_MAX) {
            logs.extend(self.view.log(log)?.and_then(Log::of));
        }
        let mut originals = Vec::new();
        for Log { entry, state, first_path } in logs {
            let found = here.get(&entry.identity.inode);
            // Another log may have it by now.
            let newest = found.map(|_| self.view.newest_part_of_inode(entry.identity.inode)).transpose()?.flatten();
            let inode = newest.filter(|newest| newest.id == entry.id).map(|newest| newest.identity.inode);
            let found = found.map(|place| self.options.source_path(place));
            let path = found.unwrap_or_else(|| self.options.base.join(&entry.path));
            let first_path = self.options.base.join(first_path);
            originals.push(Original { parts: self.parts(&state)?, state, path, first_path, inode });
        }
        Ok(originals)
    }

    /// The size to which a log was seen to be cut by an earlier run, if it waits since then.
    pub fn cut_at(&self, state: &LogState) -> Result<Option<u64>, LedgerError> {
        self.view.cut_at(state.part.log, state.part.end)
    }

    /// A log's newest parts.
    pub fn parts(&self, state: &LogState) -> Result<Vec<(Range<u64>, Hash)>, LedgerError> {
        self.view.newest_parts(state.part.log, PARTS_MAX)
    }
}

struct ViewKnown<'a> {
    view: &'a LedgerView,
    base: &'a Path,
}

impl Known for ViewKnown<'_> {
    fn at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
        self.view.at_path(path)
    }

    fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError> {
        self.view.with_identity(identity)
    }

    fn is_elsewhere(&self, entry: &Entry, path: &Path) -> bool {
        is_elsewhere(&RealDisk, self.base, entry, path)
    }
}
