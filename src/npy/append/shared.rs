//! What the threads of one appender share: the file, how far it is written, and how far it is published.
//!
//! Rows are written behind the staged ones under the lock, in order. To commit, one of the threads that wait (the leader)
//! syncs, publishes and syncs again without the lock, for all rows that were staged when it began; the others meanwhile
//! write theirs, and the next leader takes them all. So appends of many threads share syncs, and nobody waits for a timer.
//!
//! The order is always: rows, sync, count, sync. A write or sync that fails is the last: see [`AppendError::Broken`]. Only a
//! full disk is different, as long as no count was touched: the part that was written is cut off.
//!
//! Before rows are written, and before they are counted, it is looked at whether somebody else has changed the file. Between
//! small writes that follow each other at once it is not, or looking would cost as much as they do.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::growth::WINDOW_BYTES;
use super::super::widen;
use super::super::window::CountBlock;
use super::fault::Fault;
use super::options::{AppendOptions, Durability, WriteBack};
use super::staged_array::StagedArray;
use super::{AppendError, Opened};
use crate::storage::{Disk, MappedBlock, is_full, write_all_at, write_block_at};

/// So many windows behind the one that is asked for, what was written is dropped: by then it is.
const WINDOWS_AWAY: u64 = 4;
/// A look at the file holds for so long,
const LOOK_HOLDS: Duration = Duration::from_millis(1);
/// and for so many bytes: to write these takes several times as long as to look.
const LOOK_HOLDS_BYTES: u64 = 64 << 10;

pub(super) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub opened: Opened,
    pub row_bytes: u64,
    pub data_start: u64,
    pub rows_max: u64,
    pub options: AppendOptions,
    block: CountBlock,
    /// The place of the block, where nothing is synced: a sync costs so much more than a write that there it gains nothing.
    mapped: Option<MappedBlock>,
    state: Mutex<State>,
    /// Something was committed, or failed, or there is work for the thread that commits late batches.
    changed: Condvar,
}

pub(super) struct State {
    /// Rows in the file, published or not.
    pub staged: u64,
    /// Bytes behind them of a row that is written in parts.
    part: u64,
    pub published: u64,
    /// While an array is appended piece by piece: where its rows begin. Commits end before them.
    held: Option<u64>,
    /// Up to this row somebody waits, or has waited, for a commit: these are not taken back.
    wanted: u64,
    /// What is still to be done to the file before the first row.
    preparation: Option<Preparation>,
    /// Bytes behind the last row that were cut off by that.
    pub bytes_cut: u64,
    /// The count that a commit is about to publish, or has just published.
    committing: Option<u64>,
    /// When the file was last looked at before rows were written, and how many bytes have been since.
    looked: Option<(Instant, u64)>,
    pub is_closing: bool,
    /// Whether the clock of the batch that waits is running.
    is_timed: bool,
    broken: Option<Fault>,
    /// Row bytes before which memory has been given up, and before which the device has been asked to write.
    write_back: Range<u64>,
}

/// What is done before the first row is written, and not at all if none is: who is refused leaves the file as it was.
pub(super) struct Preparation {
    /// A header that makes room for the count.
    pub rearranged: Option<Vec<u8>>,
    /// Bytes behind the last row that a dead appender has left.
    pub unfinished_bytes: u64,
}

impl State {
    /// What a commit takes: everything that is staged and whole.
    fn whole(&self) -> u64 {
        self.held.unwrap_or(self.staged)
    }
}

impl Shared {
    /// What is fixed comes with the file: how many rows it has, the block of its count, and what is to be done first.
    ///
    /// # Errors
    /// The header cannot be mapped for another reason than that nothing can.
    pub fn new(
        disk: Arc<dyn Disk>,
        opened: Opened,
        rows: u64,
        (block, preparation): (CountBlock, Preparation),
        options: AppendOptions,
    ) -> io::Result<Self> {
        let (row_bytes, data_start) = (opened.header.row_bytes(), opened.header.data_start);
        let mapped = match options.durability {
            Durability::None => opened.file.map_block(block.offset())?,
            Durability::Each | Durability::Batch(_) => None,
        };
        let end = data_start.saturating_add(rows.saturating_mul(row_bytes));
        let by_size = i64::MAX.unsigned_abs().saturating_sub(data_start).checked_div(row_bytes).unwrap_or(0);
        let state = State {
            staged: rows,
            part: 0,
            published: rows,
            held: None,
            wanted: rows,
            preparation: Some(preparation),
            bytes_cut: 0,
            committing: None,
            looked: None,
            is_closing: false,
            is_timed: false,
            broken: None,
            write_back: end..end,
        };
        let rows_max = block.rows_max().min(by_size);
        Ok(Self {
            disk,
            opened,
            row_bytes,
            data_start,
            rows_max,
            options,
            block,
            mapped,
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// A thread that panicked while it held the lock has left no half of anything behind: each step sets the state last.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Self::lock`], for those who stage rows or take them back: not in the middle of an array.
    fn lock_between_arrays(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.held.is_some() {
            state = self.wait(state);
        }
        state
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends whole rows as the durability asks. Which rows they are.
    pub fn append(&self, rows: &[u8]) -> Result<Range<u64>, AppendError> {
        let mut state = self.lock_between_arrays();
        let range = self.write(&mut state, rows)?;
        self.commit_as_asked(state, range.end)?;
        Ok(range)
    }

    /// Commits rows up to this one, now or with others, as the durability asks.
    pub fn commit_as_asked(&self, mut state: MutexGuard<'_, State>, rows: u64) -> Result<(), AppendError> {
        match self.options.durability {
            Durability::None => self.publish_unsynced(&mut state),
            Durability::Each => self.commit_until(state, rows),
            Durability::Batch(limits) => {
                let waiting = state.whole().saturating_sub(state.published);
                if waiting >= limits.rows_max || waiting.saturating_mul(self.row_bytes) >= limits.bytes_max {
                    return self.commit_until(state, rows);
                }
                if limits.delay_max.is_some() && !state.is_timed && waiting > 0 {
                    // The first of a batch: the clock starts.
                    state.is_timed = true;
                    self.changed.notify_all();
                }
                Ok(())
            }
        }
    }

    /// Writes whole rows behind the staged ones. Nobody sees them.
    pub fn stage(&self, rows: &[u8]) -> Result<Range<u64>, AppendError> {
        self.write(&mut self.lock_between_arrays(), rows)
    }

    /// Begins an array that is staged piece by piece. All others wait with theirs until it is whole.
    pub fn begin_array(&self) -> StagedArray<'_> {
        let mut state = self.lock_between_arrays();
        let first = state.staged;
        state.held = Some(first);
        StagedArray::new(self, first)
    }

    /// Ends an array. Its rows are taken back where it is not whole.
    pub fn end_array(&self, first: u64, is_whole: bool) -> Range<u64> {
        let mut state = self.lock();
        state.held = None;
        if !is_whole && state.broken.is_none() {
            // What fails here is told to whoever appends or commits next.
            let _ = self.unstage_to(&mut state, first);
        }
        self.changed.notify_all();
        first..state.staged
    }

    /// Writes whole rows behind the staged ones.
    fn write(&self, state: &mut State, rows: &[u8]) -> Result<Range<u64>, AppendError> {
        self.check(state)?;
        let bytes = rows.len() as u64;
        // One row, the usual case, takes no division.
        if bytes != self.row_bytes && !bytes.is_multiple_of(self.row_bytes) {
            return Err(AppendError::PartialRow {
                path: self.opened.path.clone(),
                found: bytes,
                row_bytes: self.row_bytes,
            });
        }
        self.write_part(state, rows)
    }

    /// Writes the next bytes of an array, or whole rows where there is none. Which rows became whole.
    pub fn write_part(&self, state: &mut State, bytes: &[u8]) -> Result<Range<u64>, AppendError> {
        self.check(state)?;
        let present = state.part.saturating_add(bytes.len() as u64);
        let count = if present == self.row_bytes { 1 } else { present / self.row_bytes };
        let part = present.saturating_sub(count.saturating_mul(self.row_bytes));
        let first = state.staged;
        let last = first.saturating_add(count);
        let needed = last.saturating_add(u64::from(part > 0));
        if needed > self.rows_max {
            return Err(AppendError::TooManyRows { path: self.opened.path.clone(), rows: needed, max: self.rows_max });
        }
        if bytes.is_empty() {
            return Ok(first..first);
        }
        if self.options.durability != Durability::None {
            self.look_again(state, needed, bytes.len() as u64).map_err(|fault| self.break_by(state, fault))?;
        }
        if let Some(preparation) = state.preparation.take() {
            self.prepare(state, &preparation)?;
        }
        if let Err(error) = write_all_at(&*self.opened.file, &mut [IoSlice::new(bytes)], self.end(state)) {
            return Err(self.take_back(state, first, error));
        }
        (state.staged, state.part) = (last, part);
        if let Some(options) = self.options.write_back {
            let written = self.write_back(state, options);
            written.map_err(|error| self.break_with(state, "writing rows to", error))?;
        }
        Ok(first..last)
    }

    /// Takes back everything that was staged and is not being committed, when a commit that has begun is done.
    pub fn unstage(&self) -> Result<(), AppendError> {
        let mut state = self.lock_between_arrays();
        while state.committing.is_some() {
            state = self.wait(state);
        }
        self.check(&state)?;
        let kept = state.published.max(state.wanted);
        self.unstage_to(&mut state, kept)
    }

    /// Takes back what was staged from this row on.
    fn unstage_to(&self, state: &mut State, rows: u64) -> Result<(), AppendError> {
        if state.staged == rows && state.part == 0 {
            return Ok(());
        }
        state.staged = rows;
        self.cut(state)
    }

    /// Commits everything that is staged and whole.
    pub fn commit(&self) -> Result<u64, AppendError> {
        let mut state = self.lock();
        let rows = state.whole();
        match self.options.durability {
            Durability::None => self.publish_unsynced(&mut state)?,
            Durability::Each | Durability::Batch(_) => self.commit_until(state, rows)?,
        }
        Ok(rows)
    }

    /// Returns when so many rows are durable and published.
    fn commit_until<'a>(&'a self, mut state: MutexGuard<'a, State>, rows: u64) -> Result<(), AppendError> {
        state.wanted = state.wanted.max(rows);
        loop {
            self.check(&state)?;
            if state.published >= rows {
                return Ok(());
            }
            if state.committing.is_some() {
                state = self.wait(state);
                continue;
            }
            let (target, published) = (state.whole(), state.published);
            state.committing = Some(target);
            drop(state);
            let result = self.sync_and_publish(published..target);
            state = self.lock();
            state.committing = None;
            match result {
                Ok(()) => state.published = target,
                Err(fault) => drop(self.break_by(&mut state, fault)),
            }
            self.changed.notify_all();
        }
    }

    /// Before rows up to this one are written: nothing is written into what is another array by now, or behind a gap, which
    /// would be counted as rows of zeros. So many bytes are about to be written.
    fn look_again(&self, state: &mut State, end: u64, bytes: u64) -> Result<(), Fault> {
        // The first row of a commit comes after a pause of any length.
        if let Some((at, written)) = &mut state.looked
            && state.staged != state.published
            && *written < LOOK_HOLDS_BYTES
            && at.elapsed() < LOOK_HOLDS
        {
            *written = written.saturating_add(bytes);
            return Ok(());
        }
        let bytes_min = self.end(state);
        if state.preparation.is_some() {
            let place = usize::try_from(self.block.offset()).unwrap_or(usize::MAX);
            let block = self.opened.header_bytes.get(place..).and_then(|rest| rest.first_chunk());
            let block = block.copied().unwrap_or_default();
            self.look(bytes_min, &[block, block], end)?;
        } else {
            let counts = [self.count(state.published)?, self.count(state.committing.unwrap_or(state.published))?];
            self.look(bytes_min, &counts, end)?;
        }
        state.looked = Some((Instant::now(), bytes));
        Ok(())
    }

    /// Whether the file is still what it was left as: a sync costs so much more than to look. Its count is one of these two.
    fn look(&self, bytes_min: u64, counts: &[[u8; WINDOW_BYTES]; 2], end: u64) -> Result<(), Fault> {
        let disturbed = self.opened.disturbance(&*self.disk, bytes_min, counts, self.block.offset());
        match disturbed.map_err(Fault::failed("looking at"))? {
            Some(problem) => Err(Fault::Disturbed { problem: problem.into(), end }),
            None => Ok(()),
        }
    }

    /// The rows are counted only where they will be found.
    fn sync_and_publish(&self, rows: Range<u64>) -> Result<(), Fault> {
        let file = &*self.opened.file;
        file.sync_data().map_err(Fault::failed("syncing"))?;
        let count = self.count(rows.start)?;
        self.look(self.offset(rows.end), &[count, count], rows.end)?;
        self.publish(rows.end)?;
        file.sync_data().map_err(Fault::failed("syncing"))
    }

    fn publish_unsynced(&self, state: &mut State) -> Result<(), AppendError> {
        self.check(state)?;
        let rows = state.whole();
        if rows == state.published {
            return Ok(());
        }
        match self.publish(rows) {
            Ok(()) => {
                state.published = rows;
                Ok(())
            }
            Err(fault) => Err(self.break_by(state, fault)),
        }
    }

    fn publish(&self, rows: u64) -> Result<(), Fault> {
        let block = self.count(rows)?;
        match &self.mapped {
            Some(mapped) => {
                mapped.store(block);
                Ok(())
            }
            None => write_block_at(&*self.opened.file, &block, self.block.offset())
                .map_err(Fault::failed("writing the count of")),
        }
    }

    /// The block of a count. `stage` has made sure that the digits fit.
    fn count(&self, rows: u64) -> Result<[u8; WINDOW_BYTES], Fault> {
        let block = self.block.with(rows).ok_or_else(|| io::ErrorKind::InvalidInput.into());
        block.map_err(Fault::failed("counting the rows of"))
    }

    /// Makes room for the count, durably, before the first row: a row behind a header without a window would be taken for
    /// somebody else's after a crash. A window that was found may be in the page cache alone, if its maker was killed; and
    /// so may what is to be cut off.
    fn prepare(&self, state: &mut State, preparation: &Preparation) -> Result<(), AppendError> {
        let file = &*self.opened.file;
        if preparation.unfinished_bytes > 0 {
            self.cut(state)?;
            state.bytes_cut = preparation.unfinished_bytes;
        }
        if let Some(new) = &preparation.rearranged {
            let written = match widen::is_torn_by_a_crash(&self.opened.header_bytes, new) {
                true => widen::replace_header(&*self.disk, &self.opened, new),
                false => write_all_at(file, &mut [IoSlice::new(new)], 0)
                    .map_err(AppendError::disk("writing the header of", &self.opened.path)),
            };
            written.map_err(|error| match error {
                AppendError::Disk { operation, source, .. } => self.break_with(state, operation, source),
                other => self.break_with(state, "writing the header of", io::Error::other(other)),
            })?;
        }
        match self.options.durability {
            Durability::None => Ok(()),
            _ => file.sync_data().map_err(|error| self.break_with(state, "syncing", error)),
        }
    }

    /// After a write that failed: on a full disk the part that was written is cut off.
    fn take_back(&self, state: &mut State, rows: u64, error: io::Error) -> AppendError {
        debug_assert_eq!(state.staged, rows, "nothing is staged by a write that failed");
        if !is_full(&error) {
            return self.break_with(state, "writing rows to", error);
        }
        match self.cut(state) {
            Ok(()) => AppendError::Full { path: self.opened.path.clone(), source: error },
            Err(broken) => broken,
        }
    }

    /// Ends the file behind the staged rows.
    fn cut(&self, state: &mut State) -> Result<(), AppendError> {
        state.part = 0;
        let cut = self.opened.file.set_len(self.offset(state.staged));
        state.write_back = 0..0;
        cut.map_err(|error| self.break_with(state, "cutting", error))
    }

    fn check(&self, state: &State) -> Result<(), AppendError> {
        state.broken.as_ref().map_or(Ok(()), |fault| Err(fault.error(&self.opened.path, state.published)))
    }

    fn break_with(&self, state: &mut State, operation: &'static str, error: io::Error) -> AppendError {
        self.break_by(state, Fault::failed(operation)(error))
    }

    fn break_by(&self, state: &mut State, fault: Fault) -> AppendError {
        let error = fault.error(&self.opened.path, state.published);
        state.broken.get_or_insert(fault);
        error
    }

    /// Where a row begins. Rows beyond `rows_max` are refused before.
    fn offset(&self, row: u64) -> u64 {
        self.data_start.saturating_add(row.saturating_mul(self.row_bytes))
    }

    /// Where the next bytes come.
    fn end(&self, state: &State) -> u64 {
        self.offset(state.staged).saturating_add(state.part)
    }

    /// Nothing is awaited but what is to be dropped, and that late: whoever waits for a fast device does not fill memory.
    fn write_back(&self, state: &mut State, options: WriteBack) -> io::Result<()> {
        let end = self.end(state);
        let Range { start: finished, end: started } = state.write_back.clone();
        if end.saturating_sub(started) < options.window_bytes {
            return Ok(());
        }
        self.opened.file.start_write_back(started, end.saturating_sub(started))?;
        state.write_back.end = end;
        let written_until = started.saturating_sub(options.window_bytes.saturating_mul(WINDOWS_AWAY));
        if options.drops_cache && written_until > finished {
            self.opened.file.drop_behind(finished, written_until.saturating_sub(finished))?;
            state.write_back.start = written_until;
        }
        Ok(())
    }

    /// Commits batches whose time has come, until the appender is closed or broken.
    pub fn commit_late_batches(&self, delay: std::time::Duration) {
        let mut state = self.lock();
        while !state.is_closing && state.broken.is_none() {
            if state.whole() == state.published {
                state.is_timed = false;
                state = self.wait(state);
                continue;
            }
            state.is_timed = true;
            let due = std::time::Instant::now() + delay;
            let first_waiting = state.published;
            while let Some(rest) = due.checked_duration_since(std::time::Instant::now())
                && !rest.is_zero()
                && !state.is_closing
                && state.published == first_waiting
            {
                state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.published == first_waiting && !state.is_closing {
                let rows = state.whole();
                // What fails here is told to whoever appends or commits next.
                let _ = self.commit_until(state, rows);
                state = self.lock();
            }
        }
    }

    /// Lets [`Self::commit_late_batches`] return.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.changed.notify_all();
    }
}
