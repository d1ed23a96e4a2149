//! What becomes of sources once the ledger has them: figures, disposal, and the word to the intake.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Settlement, Slot, State};
use crate::config::{Disposal, Paths};
use crate::lane::{End, Stays, Tally, ToIntake};
use crate::ledger::{Entry, Fate, LedgerView};
use crate::pulse;
use crate::source::{Hash, Identity, Place, wall_clock_ns};
use crate::writer::dataset::{DatasetWriter, StagedAs};
use crate::writer::dispose::{Disposed, Leaving, Results, dispose, sync_moves};
use crate::writer::fault::Fault;
use crate::writer::relocate::Asks;

/// Of sources that could not be moved or deleted the log tells so often at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Sources that could not be moved or deleted: one warning for many.
#[derive(Debug, Default)]
pub(super) struct NotDisposed {
    told: Option<Instant>,
    /// Attempts that failed since then.
    since: u64,
}

impl NotDisposed {
    /// Whether it is time for a warning; and what it says of those that came before it and were not told of.
    fn tell(&mut self, now: Instant) -> Option<String> {
        if self.told.is_some_and(|told| now < told + TELL_EVERY) {
            self.since += 1;
            return None;
        }
        self.told = Some(now);
        let others = std::mem::take(&mut self.since);
        Some(if others == 0 {
            String::new()
        } else {
            format!("; {others} more attempts failed since the last warning")
        })
    }
}

/// Why a file stays where it is. Where the dataset stops for it, that says all.
fn called_off(fault: &Fault) -> io::Error {
    let kind = if matches!(fault, Fault::Lasting(_)) { io::ErrorKind::Interrupted } else { io::ErrorKind::Other };
    io::Error::new(kind, fault.to_string())
}

impl Slot {
    /// A source that an earlier run committed and did not get round to dispose of.
    pub fn dispose_leftover(&mut self, place: &Place, identity: Identity, entry: &Entry) {
        let watch = &self.lane.options.watch;
        let (disposal, reason) = match &entry.fate {
            Fate::Committed(_) => (&watch.after, None),
            Fate::Rejected { reason } => (&watch.rejected, Some(reason.clone())),
        };
        let leaving = self.leaving(place, identity, entry.id, disposal, reason, true);
        self.dispose_of(leaving.into_iter().collect());
    }

    pub(super) fn settle_batch(&mut self, new_rows: u64, disposes: bool) {
        let lane = self.lane.clone();
        let tally = &lane.tally;
        Tally::add(&tally.commits, 1);
        Tally::add(&tally.rows, new_rows);
        tally.history.add(new_rows);
        let now_ns = wall_clock_ns();
        let settlements = std::mem::take(&mut self.settlements);
        let sources = settlements.len();
        let mut leaving = Vec::new();
        for Settlement { candidate, id, kind, reason, .. } in &settlements {
            pulse::beat();
            let disposal = match kind {
                StagedAs::Rejected => {
                    tally.reject(reason.as_deref().unwrap_or_default());
                    &lane.options.watch.rejected
                }
                StagedAs::Rows(_) | StagedAs::Duplicate => {
                    Tally::add(&tally.committed, 1);
                    Tally::add(&tally.source_bytes, candidate.identity.size);
                    tally.latency.add(now_ns.saturating_sub(candidate.arrived_ns).max(0) as f64 / 1e9);
                    &lane.options.watch.after
                }
                StagedAs::FoundAgain { old } => {
                    Tally::add(&tally.known, 1);
                    if *old != lane.options.ledger_path(&candidate.place) {
                        self.tell(ToIntake::Renamed { lane: lane.index, old: old.clone() });
                    }
                    &lane.options.watch.after
                }
                StagedAs::Part { bytes, is_new } => {
                    if let Some(reason) = reason {
                        tally.reject(reason);
                    }
                    Tally::add(&tally.committed, u64::from(*is_new));
                    Tally::add(&tally.source_bytes, *bytes);
                    tally.latency.add(now_ns.saturating_sub(candidate.arrived_ns).max(0) as f64 / 1e9);
                    // It goes on.
                    &Disposal::Keep
                }
            };
            if disposes {
                let is_left = matches!(kind, StagedAs::FoundAgain { .. });
                let (place, identity) = (&candidate.place, candidate.identity);
                leaving.extend(self.leaving(place, identity, *id, disposal, reason.clone(), is_left));
            }
        }
        // Before the intake may look at them again.
        self.dispose_of(leaving);
        for Settlement { candidate, .. } in settlements {
            self.done(candidate, End::Settled);
        }
        tracing::debug!(dataset = lane.options.name, sources, rows = new_rows, "committed");
    }

    /// `None`: it stays where it is. `is_left`: it was to leave before.
    pub(super) fn leaving(
        &self,
        place: &Place,
        identity: Identity,
        id: u64,
        disposal: &Disposal,
        reason: Option<String>,
        is_left: bool,
    ) -> Option<Leaving> {
        let root = self.lane.options.root(place.folder).to_owned();
        let (place, disposal) = (place.clone(), disposal.clone());
        let leaving = Leaving { lane: self.lane.index, id, root, place, identity, disposal, reason, is_left };
        (leaving.disposal != Disposal::Keep).then_some(leaving)
    }

    /// Has files moved or deleted, beside the writer's work if there is somebody for it.
    pub(super) fn dispose_of(&mut self, mut all: Vec<Leaving>) {
        let State::Open(writer) = &mut self.state else { return };
        all.retain(|leaving| self.lane.leaving.add(&leaving.place, leaving.identity));
        writer.leaving.extend(all.iter().map(|leaving| leaving.id));
        match &self.disposer {
            Some(disposer) => {
                // The next scan finds those for which there was no room.
                for left in disposer.hand_over(all) {
                    writer.leaving.remove(&left.id);
                    self.lane.leaving.remove(&left.place, left.identity);
                }
            }
            None => {
                let (mut results, failed) = (Results::new(), Cell::new(None));
                for leaving in all {
                    let was_made = |path: &Path| {
                        results.iter().any(|(_, result)| matches!(result, Ok(Disposed::MovedTo(made)) if made == path))
                    };
                    let is_own = |path: &Path| {
                        let Some(hash) = writer.hash_of(&leaving).map_err(io::Error::other)? else { return Ok(false) };
                        let other = writer.has_moved_to(path, &hash, Some(leaving.id)).map_err(io::Error::other)?;
                        Ok(!other && !was_made(path))
                    };
                    let is_listed = || {
                        writer.is_listed(&leaving).map_err(|fault| {
                            let error = called_off(&fault);
                            failed.set(Some(fault));
                            error
                        })
                    };
                    let asks = Asks { is_own: &is_own, is_listed: Some(&is_listed), ..Asks::NOTHING };
                    let result = dispose(&*writer.disk, &leaving, asks);
                    results.push((leaving, result));
                }
                sync_moves(&*writer.disk, &mut results);
                self.disposed(results);
                if let Some(fault @ Fault::Lasting(_)) = failed.take() {
                    self.fault(fault);
                }
            }
        }
    }

    /// The content of a source that leaves. `None`: it is not known, as it could not be read.
    pub fn hash_of(&self, leaving: &Leaving) -> io::Result<Option<Hash>> {
        self.opened()?.hash_of(leaving).map_err(io::Error::other)
    }

    /// Whether another source of this dataset, with the content of the one that leaves, went to this path.
    pub fn has_another(&self, leaving: &Leaving, hash: &Hash, path: &Path) -> io::Result<bool> {
        let own = (leaving.lane == self.lane.index).then_some(leaving.id);
        if let State::Open(writer) = &self.state {
            return writer.has_moved_to(path, hash, own).map_err(io::Error::other);
        }
        let options = &self.lane.options;
        match LedgerView::open(&Paths::new(&options.output).ledger).map_err(io::Error::other)? {
            Some(view) => view.has_moved_to(path, hash).map_err(io::Error::other),
            // Its disk may be away.
            None if options.watch.moves_to(path) => Err(self.cannot_be_asked()),
            None => Ok(false),
        }
    }

    /// Whether the ledger still has a rejected source that leaves.
    pub fn is_listed(&mut self, leaving: &Leaving) -> io::Result<bool> {
        self.opened()?.is_listed(leaving).map_err(|fault| {
            let error = called_off(&fault);
            // What may pass is waited for by the file alone.
            if matches!(fault, Fault::Lasting(_)) {
                self.fault(fault);
            }
            error
        })
    }

    fn opened(&self) -> io::Result<&DatasetWriter> {
        match &self.state {
            State::Open(writer) => Ok(&**writer),
            _ => Err(self.cannot_be_asked()),
        }
    }

    fn cannot_be_asked(&self) -> io::Error {
        io::Error::other(format!("the ledger of {} cannot be asked now", self.lane.options.name))
    }

    /// What came of it.
    pub fn disposed(&mut self, results: Results) {
        let mut moved = Vec::new();
        for (leaving, result) in &results {
            match result {
                Ok(Disposed::MovedTo(path)) => moved.push((leaving.id, path.clone())),
                Ok(Disposed::Deleted) => moved.push((leaving.id, PathBuf::new())),
                Ok(Disposed::No) if leaving.reason.is_some() => self.not_moved(leaving),
                Ok(Disposed::No) => {}
                // It was called off.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.not_disposed(leaving, error),
            }
        }
        if let State::Open(writer) = &mut self.state {
            writer.try_to_note_moved(moved);
        }
        // Not before the ledger has it: another file of the same inode, size and time would be taken for the one that is gone.
        for (leaving, _) in results {
            if let State::Open(writer) = &mut self.state {
                writer.leaving.remove(&leaving.id);
            }
            self.lane.leaving.remove(&leaving.place, leaving.identity);
        }
    }

    fn not_disposed(&mut self, leaving: &Leaving, error: &io::Error) {
        self.stays(&leaving.place, leaving.identity, Stays::NotDisposed);
        let Some(others) = self.not_disposed.tell(Instant::now()) else { return };
        let what = match &leaving.disposal {
            Disposal::Move(target) => format!("moved to {}", target.display()),
            Disposal::Delete | Disposal::Keep => "deleted".to_owned(),
        };
        tracing::warn!(
            dataset = self.lane.options.name,
            source = &*self.lane.path_of(&leaving.place).to_string_lossy(),
            "the ledger has it, but it could not be {what}: {error}; later scans try again{others}"
        );
    }

    fn not_moved(&mut self, leaving: &Leaving) {
        let State::Open(writer) = &mut self.state else { return };
        if let Err(fault) = writer.not_moved(leaving.id, &leaving.place) {
            tracing::warn!(dataset = self.lane.options.name, "what is rejected no longer is not known: {fault}");
        }
    }
}
