//! What the rooms share of one dataset on its way through them, and the messages that they hand on.
//!
//! ```text
//! intake --Candidate--> pool --ToWriter--> writer --ToIntake--> intake (permits come back)
//! ```

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::Dataset;
use crate::decode::{Decoder, RowBlock, RunningHashes, WaitingCopies, rows_of_each_source};
use crate::ledger::Entry;
use crate::source::{Candidate, Hash, Identity, NotFinished, PartRead, Place};
use crate::suspects::Suspects;
pub use crate::tally::{Stage, Tally};

/// Row buffers that are kept for reuse, per dataset.
const SPARE_BUFFERS_MAX: usize = 64;

/// One dataset, as all threads see it.
pub struct Lane {
    /// Its place among the datasets.
    pub index: usize,
    pub options: Arc<Dataset>,
    pub decoder: Decoder,
    /// Rows of a source are handed on once they are this many bytes.
    pub share_bytes: usize,
    /// Sequence numbers that the intake has given out.
    pub dispatched: AtomicU64,
    /// Set while decodes of this dataset are for nothing: it is paused, or the service stops.
    pub interrupted: AtomicBool,
    /// Sources with smaller numbers were dispatched before a fault: they are to be taken again, in their order, and none of
    /// them may overtake another. Set to the maximum by the fault, and to the next number when the intake goes on.
    pub accept_from: AtomicU64,
    pub turn: Turn,
    pub buffers: Buffers,
    pub leaving: LeavingFiles,
    /// Of logs that are followed.
    pub running: RunningHashes,
    pub copies: WaitingCopies,
    /// Sources that ended the program before; read when the dataset is opened.
    pub suspects: Suspects,
    pub tally: Tally,
    /// When it was made.
    pub started: SystemTime,
}

/// From the pool (and, for disposals, the intake) to the writer.
pub enum ToWriter {
    /// A part of a source that is larger than its share. Sent only when it is the source's turn.
    Rows { lane: usize, block: RowBlock, emptied: Sender<Vec<u8>> },
    /// The end of a source, and its rows where they are no more than its share.
    Finished { lane: usize, finished: Box<Finished> },
    /// A source that was committed or rejected earlier, and not disposed of.
    Dispose { lane: usize, place: Place, identity: Identity, entry: Box<Entry> },
}

/// A candidate after its decode.
pub struct Finished {
    pub candidate: Candidate,
    pub outcome: Outcome,
    /// When the decode had ended.
    pub decoded: Instant,
}

/// How a decode ended.
pub enum Outcome {
    /// The last rows, with figures for all of them: count, checksum, and the content's hash.
    Rows {
        block: RowBlock,
        rows: u64,
        checksum: Hash,
        hash: Hash,
        /// For the ledger: what was skipped in it.
        note: Option<String>,
    },
    /// A part of a log, with its last rows.
    Part {
        block: RowBlock,
        rows: u64,
        read: Box<PartRead>,
        note: Option<String>,
    },
    /// There is nothing to take yet.
    Nothing,
    /// There is nothing to decode: see [`crate::config::Watch::needs_no_rows`].
    Unchanged {
        hash: Hash,
    },
    Rejected {
        reason: String,
        hash: Option<Hash>,
    },
    /// It was not a finished file after all.
    NotFinished(NotFinished),
    /// It could not be read; `attempts` so far.
    Unreadable {
        error: String,
    },
    /// It is not there any more.
    Gone,
    /// The decode was called off.
    Interrupted,
    /// The program that makes the rows cannot be had.
    NoProgram {
        reason: String,
    },
}

/// From the writer to the intake.
pub enum ToIntake {
    /// A candidate has come to an end, and its permit is free.
    Done { lane: usize, place: Place, sequence: u64, permit_bytes: u64, end: End },
    /// The ledger has a file, or disregards it, and it is still there.
    Stays { lane: usize, place: Place, identity: Identity, why: Stays },
    /// A committed source that the ledger had under this path has another name.
    Renamed { lane: usize, old: PathBuf },
    /// The dataset takes nothing until then.
    Paused { lane: usize, until: Instant },
    /// The dataset takes nothing before a restart.
    Stopped { lane: usize },
    /// The dataset has been opened.
    Opened { lane: usize },
}

/// Why a file that is settled is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// Overwritten since its commit, which the config disregards.
    Ignored,
    /// It could not be moved or deleted.
    NotDisposed,
}

/// How a candidate came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The ledger has it.
    Settled,
    NotFinished(NotFinished),
    Unreadable(String),
    Gone,
    /// Nothing became of it; it is to be taken again.
    Again,
}

/// Whose rows the writer takes next. A source larger than its share waits here before it hands on a part.
#[derive(Debug, Default)]
pub struct Turn {
    next: Mutex<u64>,
    changed: Condvar,
}

impl Turn {
    /// Blocks until all sources before `sequence` are with the writer.
    ///
    /// This cannot block for ever: decodes start in the order of their numbers, so that the source whose turn it is has
    /// always been started.
    pub fn wait_for(&self, sequence: u64) {
        let guard = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(guard, |next| *next < sequence));
    }

    pub fn advance_to(&self, sequence: u64) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = sequence;
        self.changed.notify_all();
    }
}

/// Sources that are about to be moved or deleted, or whose way the ledger does not have yet. Scans leave them alone.
#[derive(Debug, Default)]
pub struct LeavingFiles(Mutex<HashSet<(Place, Identity)>>);

impl LeavingFiles {
    fn files(&self) -> MutexGuard<'_, HashSet<(Place, Identity)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was not among them.
    pub fn add(&self, place: &Place, identity: Identity) -> bool {
        self.files().insert((place.clone(), identity))
    }

    pub fn remove(&self, place: &Place, identity: Identity) {
        self.files().remove(&(place.clone(), identity));
    }

    pub fn has(&self, place: &Place, identity: Identity) -> bool {
        let files = self.files();
        !files.is_empty() && files.contains(&(place.clone(), identity))
    }

    pub fn count(&self) -> usize {
        self.files().len()
    }
}

/// Row buffers on their way back from the writer to the pool.
pub struct Buffers {
    give: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
}

impl Buffers {
    fn new(count: u64) -> Self {
        let (give, take) = bounded(usize::try_from(count).unwrap_or(SPARE_BUFFERS_MAX).clamp(1, SPARE_BUFFERS_MAX));
        Self { give, take }
    }

    /// A used buffer with arbitrary contents, or a new one.
    pub fn take(&self) -> Vec<u8> {
        self.take.try_recv().unwrap_or_default()
    }

    pub fn give(&self, buffer: Vec<u8>) {
        // Where enough are spare already, this one is freed.
        drop(self.give.try_send(buffer));
    }
}

impl Lane {
    /// `spare_bytes`: how much may lie in row buffers that wait to be used again.
    pub fn new(index: usize, options: Arc<Dataset>, share_bytes: usize, spare_bytes: u64) -> Self {
        let options_row_bytes = options.row.row_bytes().max(1) as u64;
        let decoder = Decoder::new(&options);
        let suspects = Suspects::new(&options.output);
        Self {
            index,
            options,
            decoder,
            share_bytes,
            dispatched: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            accept_from: AtomicU64::new(0),
            turn: Turn::default(),
            leaving: LeavingFiles::default(),
            buffers: Buffers::new(spare_bytes / options_row_bytes),
            running: RunningHashes::default(),
            copies: WaitingCopies::default(),
            suspects,
            tally: Tally::default(),
            started: SystemTime::now(),
        }
    }

    /// The absolute path of a source.
    pub fn path_of(&self, place: &Place) -> PathBuf {
        self.options.source_path(place)
    }

    /// Bytes of the memory budget that one source holds.
    pub fn permit_bytes(&self) -> u64 {
        let row_bytes = self.options.row.row_bytes() as u64;
        match rows_of_each_source(&self.options.decoder) {
            Some(rows) => row_bytes * rows,
            // The first part, or as much in smaller ones, is written while another is filled.
            None => 2 * self.share_bytes as u64,
        }
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
