//! A ledger in memory, for the crash explorer.
//!
//! What SQLite promises is taken for granted here: a transaction is atomic, and durable when it returns. Until then the page
//! cache may have it alone, which a kill leaves and a power cut takes away ([`Held`]); in a ledger that is opened without syncs,
//! until the next one that is synced all the same. Everything else is as in the real one, and a [`Witness`] can make each step
//! fail, or fail although it was done. The ledgers of a run live in a [`Store`], a value that is cheap to copy, so that a crash
//! at any instant can be played.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    CommitError, Committed, Entry, Fate, FirstLook, Known, Ledger, LedgerError, LedgerSchema, Ledgers, Rules, State,
    Transaction, first_look,
};
use crate::source::{Hash, Identity};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Open,
    /// Making durable what the last process left.
    Settle,
    Create,
    Read,
    /// A transaction can be read, and is not durable yet. Cannot fail by itself.
    Write,
    Commit,
    /// A note that is not needed for correctness.
    Note,
    /// The note that rows are not going to be synced.
    Mark,
}

/// How it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Done,
    /// Nothing was done, and nobody is told.
    LeftOut,
    /// Only the page cache has it, and nobody is told.
    NotSynced,
    /// Nothing was done, and the cause may pass: no room.
    Full,
    /// An I/O error before anything was done.
    FailedBefore,
    /// An I/O error after everything was done.
    FailedAfter,
}

/// Who watches the ledgers, and decides what fails.
pub trait Witness: Send + Sync {
    fn before(&self, step: Step, path: &Path) -> Ending;
    /// It was done.
    fn after(&self, step: Step, path: &Path);
}

/// Where tables are.
#[derive(Debug, Clone)]
pub enum Held {
    Durable,
    /// The page cache alone has the last transactions. A power cut leaves these tables, or no ledger.
    Cached(Option<Arc<Tables>>),
}

/// One ledger's tables.
#[derive(Debug, Clone)]
pub struct Tables {
    pub schema: Arc<LedgerSchema>,
    pub state: State,
    pub labels: Arc<Vec<String>>,
    /// In the order of their ids.
    pub entries: Arc<Vec<Arc<Entry>>>,
    /// Changes with every transaction.
    pub revision: u64,
    pub held: Held,
}

impl Tables {
    fn forget(&mut self, rejected: &[u64]) {
        let entries = Arc::make_mut(&mut self.entries);
        entries.retain(|entry| matches!(entry.fate, Fate::Committed(_)) || !rejected.contains(&entry.id));
    }

    fn newest(&self, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        self.entries.iter().rev().find(|entry| wanted(entry)).map(|entry| (**entry).clone())
    }

    fn with_identity(&self, identity: Identity) -> Vec<Entry> {
        let entries = self.entries.iter().rev().filter(|entry| entry.identity == identity);
        entries.map(|entry| (**entry).clone()).collect()
    }

    /// The intake's look at a file. `is_elsewhere`: see [`Known`].
    pub fn first_look(
        &self,
        rules: Rules,
        path: &Path,
        identity: Identity,
        is_elsewhere: &dyn Fn(&Entry, &Path) -> bool,
    ) -> Result<FirstLook, LedgerError> {
        first_look(&Look { tables: self, is_elsewhere }, rules, path, identity)
    }
}

struct Look<'a> {
    tables: &'a Tables,
    is_elsewhere: &'a dyn Fn(&Entry, &Path) -> bool,
}

impl Known for Look<'_> {
    fn at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
        Ok(self.tables.newest(|entry| entry.path == path))
    }

    fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError> {
        Ok(self.tables.with_identity(identity))
    }

    fn is_elsewhere(&self, entry: &Entry, path: &Path) -> bool {
        (self.is_elsewhere)(entry, path)
    }
}

/// All ledgers, by path.
pub type Store = BTreeMap<PathBuf, Arc<Tables>>;

/// See the module documentation. Clones are the same ledgers.
#[derive(Clone)]
pub struct MemoryLedgers {
    store: Arc<Mutex<Store>>,
    witness: Arc<dyn Witness>,
}

impl MemoryLedgers {
    pub fn new(store: Store, witness: Arc<dyn Witness>) -> Self {
        Self { store: Arc::new(Mutex::new(store)), witness }
    }

    /// The ledgers as they are now.
    pub fn store(&self) -> Store {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn get(&self, path: &Path) -> Option<Arc<Tables>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn put(&self, path: &Path, tables: Tables, held: Held) {
        let tables = Arc::new(Tables { held, ..tables });
        self.store.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), tables);
    }

    /// Does one step as the witness wants it, by one action after the other: each is an instant.
    fn step(&self, step: Step, path: &Path, actions: &[(Step, &dyn Fn())]) -> Result<(), Ending> {
        let ending = self.witness.before(step, path);
        let count = match ending {
            Ending::Done => actions.len(),
            Ending::LeftOut | Ending::Full | Ending::FailedBefore => 0,
            // Of a failure nobody knows whether it became durable.
            Ending::NotSynced | Ending::FailedAfter => 1,
        };
        for (step, act) in actions.iter().take(count) {
            act();
            self.witness.after(*step, path);
        }
        match ending {
            Ending::Done | Ending::LeftOut | Ending::NotSynced => Ok(()),
            _ => Err(ending),
        }
    }

    /// Puts a transaction's tables there: the page cache has them, and then, where it `syncs`, the disk.
    fn write(&self, step: Step, path: &Path, tables: &Tables, syncs: bool) -> Result<(), Ending> {
        let durable = self.get(path).and_then(|tables| match &tables.held {
            Held::Durable => Some(tables),
            Held::Cached(before) => before.clone(),
        });
        let cache = || self.put(path, tables.clone(), Held::Cached(durable.clone()));
        let sync = || self.put(path, tables.clone(), Held::Durable);
        match syncs {
            true => self.step(step, path, &[(Step::Write, &cache), (step, &sync)]),
            false => self.step(step, path, &[(step, &cache)]),
        }
    }
}

fn error(path: &Path, operation: &'static str) -> impl Fn(Ending) -> LedgerError {
    move |ending| match ending {
        Ending::Full => {
            let source = io::ErrorKind::StorageFull.into();
            LedgerError::Io { path: path.to_owned(), operation, source }
        }
        _ => input_output(path, operation),
    }
}

fn input_output(path: &Path, operation: &'static str) -> LedgerError {
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    LedgerError::Sqlite { path: path.to_owned(), operation, source: rusqlite::Error::SqliteFailure(error, None) }
}

impl Ledgers for MemoryLedgers {
    fn open(&self, path: &Path, durable: bool) -> Result<Option<Box<dyn Ledger>>, LedgerError> {
        self.step(Step::Open, path, &[(Step::Open, &|| ())]).map_err(error(path, "opening it"))?;
        let Some(tables) = self.get(path) else { return Ok(None) };
        let tables = (*tables).clone();
        if durable {
            let settle = || self.put(path, tables.clone(), Held::Durable);
            self.step(Step::Settle, path, &[(Step::Settle, &settle)]).map_err(error(path, "settling it"))?;
        }
        Ok(Some(Box::new(MemoryLedger { path: path.to_owned(), ledgers: self.clone(), tables, durable })))
    }

    fn create(&self, path: &Path, schema: &LedgerSchema, durable: bool) -> Result<Box<dyn Ledger>, LedgerError> {
        let tables = Tables {
            schema: Arc::new(schema.clone()),
            state: State { rows: 0, next_source_id: 1, clean_rows: 0, unsynced: false },
            labels: Arc::default(),
            entries: Arc::default(),
            revision: 1,
            held: Held::Durable,
        };
        self.write(Step::Create, path, &tables, durable).map_err(error(path, "creating it"))?;
        Ok(Box::new(MemoryLedger { path: path.to_owned(), ledgers: self.clone(), tables, durable }))
    }
}

struct MemoryLedger {
    path: PathBuf,
    ledgers: MemoryLedgers,
    /// As the last successful transaction left them.
    tables: Tables,
    /// Whether transactions are synced.
    durable: bool,
}

impl MemoryLedger {
    fn read(&self) -> Result<&Tables, LedgerError> {
        self.ledgers.step(Step::Read, &self.path, &[(Step::Read, &|| ())]).map_err(error(&self.path, "reading it"))?;
        Ok(&self.tables)
    }

    fn note(&mut self, change: impl FnOnce(&mut Tables)) -> Result<(), LedgerError> {
        self.change(Step::Note, self.durable, change)
    }

    fn change(&mut self, step: Step, syncs: bool, change: impl FnOnce(&mut Tables)) -> Result<(), LedgerError> {
        let mut tables = self.tables.clone();
        change(&mut tables);
        tables.revision += 1;
        self.ledgers.write(step, &self.path, &tables, syncs).map_err(error(&self.path, "writing it"))?;
        self.tables = tables;
        Ok(())
    }
}

impl Ledger for MemoryLedger {
    fn schema(&self) -> &LedgerSchema {
        &self.tables.schema
    }

    fn state(&self) -> State {
        self.tables.state
    }

    fn labels(&self) -> &[String] {
        &self.tables.labels
    }

    fn newest_at(&self, path: &Path, below: u64) -> Result<Option<Entry>, LedgerError> {
        Ok(self.read()?.newest(|entry| entry.path == path && entry.id < below))
    }

    fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError> {
        Ok(self.read()?.with_identity(identity))
    }

    fn with_inode(&self, identity: Identity, hash: &Hash) -> Result<Vec<Entry>, LedgerError> {
        let is_it = |entry: &Entry| {
            (entry.identity.inode, entry.identity.size) == (identity.inode, identity.size)
                && entry.hash.as_ref() == Some(hash)
                && matches!(entry.fate, Fate::Committed(_))
        };
        Ok(self.read()?.entries.iter().rev().filter(|entry| is_it(entry)).map(|entry| (**entry).clone()).collect())
    }

    /// The simulated disk does not tell when files were made.
    fn committed_ms(&self, _: u64) -> Result<Option<i64>, LedgerError> {
        Ok(None)
    }

    fn with_hash(&self, hash: &Hash) -> Result<Option<Entry>, LedgerError> {
        let tables = self.read()?;
        let found = tables.entries.iter().find(|entry| {
            entry.hash.as_ref() == Some(hash) && matches!(&entry.fate, Fate::Committed(committed) if committed.rows > 0)
        });
        Ok(found.map(|entry| (**entry).clone()))
    }

    fn newest_part_of_inode(&self, inode: u64) -> Result<Option<Entry>, LedgerError> {
        let tables = self.read()?;
        let is_newest = |entry: &Entry| {
            let of_log = tables.newest(|other| other.part.is_some() && other.source_id() == entry.source_id());
            of_log.is_some_and(|newest| newest.id == entry.id)
        };
        Ok(tables.newest(|entry| entry.identity.inode == inode && entry.part.is_some() && is_newest(entry)))
    }

    fn newest_part(&self, log: u64) -> Result<Option<Entry>, LedgerError> {
        Ok(self.read()?.newest(|entry| entry.part.as_ref().is_some_and(|part| part.log == log)))
    }

    fn rejected_at(&self, path: &Path) -> Result<Vec<(u64, Option<PathBuf>)>, LedgerError> {
        let tables = self.read()?;
        let entries = tables.entries.iter().filter(|entry| entry.path == path);
        let rejected = entries.filter(|entry| matches!(entry.fate, Fate::Rejected { .. }));
        Ok(rejected.map(|entry| (entry.id, entry.moved_to.clone())).collect())
    }

    fn committed_from(&self, row: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let tables = self.read()?;
        let has_rows_from = |entry: &Entry| matches!(&entry.fate, Fate::Committed(Committed { first_row, rows, .. }) if *rows > 0 && first_row + rows > row);
        Ok(tables
            .entries
            .iter()
            .filter(|entry| has_rows_from(entry))
            .take(limit)
            .map(|entry| (**entry).clone())
            .collect())
    }

    fn commit(&mut self, new: &Transaction<'_>) -> Result<(), CommitError> {
        let mut tables = self.tables.clone();
        let entries = Arc::make_mut(&mut tables.entries);
        entries.extend(new.sources.iter().cloned().map(Arc::new));
        for found in new.found_again {
            for entry in entries.iter_mut().filter(|entry| entry.id == found.id) {
                let entry = Arc::make_mut(entry);
                entry.path.clone_from(&found.path);
                entry.identity = found.identity;
                entry.moved_to = None;
            }
        }
        for extended in new.extended {
            for entry in entries.iter_mut().filter(|entry| entry.id == extended.id) {
                *entry = Arc::new(extended.clone());
            }
        }
        tables.forget(new.forgotten);
        Arc::make_mut(&mut tables.labels).extend_from_slice(new.new_labels);
        tables.state = new.state;
        tables.revision += 1;

        let path = self.path.clone();
        self.ledgers.write(Step::Commit, &path, &tables, self.durable).map_err(|ending| match ending {
            Ending::Full => CommitError::NotCommitted { path: path.clone(), reason: "no room".to_owned() },
            _ => CommitError::Unknown { path: path.clone(), reason: "an I/O error".to_owned() },
        })?;
        self.tables = tables;
        Ok(())
    }

    fn note_moved(&mut self, moved: &[(u64, PathBuf)]) -> Result<(), LedgerError> {
        self.note(|tables| {
            for entry in Arc::make_mut(&mut tables.entries) {
                if let Some((_, path)) = moved.iter().find(|(id, _)| *id == entry.id) {
                    Arc::make_mut(entry).moved_to = Some(path.clone());
                }
            }
        })
    }

    fn has_moved_to(&self, path: &Path, hash: &Hash, but: Option<u64>) -> Result<bool, LedgerError> {
        let is_like = |entry: &Entry| entry.hash.is_none_or(|known| known == *hash) && but != Some(entry.id);
        let mut entries = self.read()?.entries.iter();
        Ok(entries.any(|entry| entry.moved_to.as_deref() == Some(path) && is_like(entry)))
    }

    fn not_moved(&self) -> Result<Vec<(Entry, bool)>, LedgerError> {
        let entries = &self.read()?.entries;
        let is_left = |entry: &Entry| matches!(entry.fate, Fate::Rejected { .. }) && entry.moved_to.is_none();
        let is_replaced = |old: &Entry| entries.iter().any(|new| new.path == old.path && new.id > old.id);
        Ok(entries.iter().filter(|entry| is_left(entry)).map(|entry| ((**entry).clone(), is_replaced(entry))).collect())
    }

    fn forget(&mut self, rejected: &[u64]) -> Result<(), LedgerError> {
        self.note(|tables| tables.forget(rejected))
    }

    /// No log is cut in a run.
    fn note_cut(&mut self, _: u64, _: u64, _: u64) -> Result<(), LedgerError> {
        self.note(|_| ())
    }

    fn take_settings(&mut self, settings: &[(String, String)]) -> Result<(), LedgerError> {
        self.change(Step::Commit, self.durable, |tables| {
            Arc::make_mut(&mut tables.schema).settings = settings.to_vec();
            Arc::make_mut(&mut tables.entries).retain(|entry| entry.part.is_none());
        })
    }

    fn mark_clean(&mut self, rows: u64) -> Result<(), LedgerError> {
        let syncs = self.durable || self.tables.state.unsynced;
        self.change(Step::Note, syncs, |tables| (tables.state.clean_rows, tables.state.unsynced) = (rows, false))
    }

    fn mark_unsynced(&mut self, rows: u64) -> Result<(), LedgerError> {
        self.change(Step::Mark, true, |tables| (tables.state.clean_rows, tables.state.unsynced) = (rows, true))
    }
}
