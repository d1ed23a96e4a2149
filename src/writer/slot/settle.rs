//! What becomes of sources once the ledger has them: figures, disposal, and the word to the intake.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Settlement, Slot, State};
use crate::config::Disposal;
use crate::lane::{End, Stays, Tally};
use crate::ledger::{Entry, Fate};
use crate::pulse;
use crate::source::{Identity, Place, wall_clock_ns};
use crate::writer::dataset::StagedAs;
use crate::writer::dispose::{Disposed, dispose};

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

impl Slot {
    /// A source that an earlier run committed and did not get round to dispose of.
    pub fn dispose_leftover(&mut self, place: &Place, identity: Identity, entry: &Entry) {
        let lane = self.lane.clone();
        if !matches!(self.state, State::Open(_)) {
            return;
        }
        let (disposal, reason) = match &entry.fate {
            Fate::Committed(_) => (&lane.options.watch.after, None),
            Fate::Rejected { reason } => (&lane.options.watch.rejected, Some(reason.as_str())),
        };
        let moved = self.dispose_of(place, identity, entry.id, disposal, reason);
        self.note_moved(moved);
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
        let mut moved = Vec::new();
        for Settlement { candidate, id, kind, reason, .. } in settlements {
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
                StagedAs::FoundAgain => {
                    Tally::add(&tally.known, 1);
                    &lane.options.watch.after
                }
                StagedAs::Part { bytes, is_new } => {
                    if let Some(reason) = &reason {
                        tally.reject(reason);
                    }
                    Tally::add(&tally.committed, u64::from(is_new));
                    Tally::add(&tally.source_bytes, bytes);
                    tally.latency.add(now_ns.saturating_sub(candidate.arrived_ns).max(0) as f64 / 1e9);
                    // It goes on.
                    &Disposal::Keep
                }
            };
            if disposes {
                moved.extend(self.dispose_of(&candidate.place, candidate.identity, id, disposal, reason.as_deref()));
            }
            self.done(candidate, End::Settled);
        }
        self.note_moved(moved);
        tracing::debug!(dataset = lane.options.name, sources, rows = new_rows, "committed");
    }

    pub(super) fn dispose_of(
        &mut self,
        place: &Place,
        identity: Identity,
        id: u64,
        disposal: &Disposal,
        reason: Option<&str>,
    ) -> Option<(u64, PathBuf)> {
        let State::Open(writer) = &self.state else { return None };
        let root = self.lane.options.root(place.folder);
        match dispose(&*writer.disk, root, place, identity, disposal, reason) {
            Ok(Disposed::MovedTo(path)) => Some((id, path)),
            Ok(Disposed::Deleted) => Some((id, PathBuf::new())),
            Ok(Disposed::No) => None,
            Err(error) => {
                self.stays(place, identity, Stays::NotDisposed);
                if let Some(others) = self.not_disposed.tell(Instant::now()) {
                    tracing::warn!(
                        dataset = self.lane.options.name,
                        source = ?self.lane.path_of(place),
                        "the ledger has it, but it could not be moved or deleted: {error}; later scans try again\
                         {others}"
                    );
                }
                None
            }
        }
    }

    pub(super) fn note_moved(&mut self, moved: impl IntoIterator<Item = (u64, PathBuf)>) {
        let State::Open(writer) = &mut self.state else { return };
        if let Err(fault) = writer.note_moved(moved) {
            tracing::warn!(dataset = self.lane.options.name, "where sources went is not in the ledger: {fault}");
        }
    }
}
