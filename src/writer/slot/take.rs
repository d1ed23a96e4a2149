//! Sources that have come to their end, and what the dataset makes of each.

use std::time::Instant;

use super::{Settlement, Slot, State};
use crate::config::{DecoderOptions, Durability};
use crate::lane::{End, Finished, Outcome, Stays, Tally};
use crate::source::{Candidate, NotFinished, PartRead};
use crate::writer::dataset::{Finish, FinishedSource, SourceResult, StagedAs};
use crate::writer::fault::Fault;
use crate::writer::parts::FinishedPart;

impl Slot {
    /// A source whose turn it is.
    pub(super) fn take(&mut self, finished: Finished) {
        let Finished { candidate, outcome, decoded } = finished;
        let is_lost = self.is_refused(candidate.sequence);
        let lane = self.lane.clone();
        let recycle = |buffer| lane.buffers.give(buffer);
        let State::Open(writer) = &mut self.state else { return self.done(candidate, End::Again) };
        if is_lost {
            return self.done(candidate, End::Again);
        }
        let result = match outcome {
            Outcome::Rows { block, rows, checksum, hash, note } => {
                if let Err(fault) = writer.stage_rows(block, recycle) {
                    self.fault(fault);
                    return self.done(candidate, End::Again);
                }
                SourceResult::Rows { hash, checksum, rows, note }
            }
            Outcome::Part { block, rows, read, note } => {
                if let Err(fault) = writer.stage_rows(block, recycle) {
                    self.fault(fault);
                    return self.done(candidate, End::Again);
                }
                return self.take_part(candidate, rows, *read, note, decoded);
            }
            Outcome::Unchanged { hash } => SourceResult::Unchanged { hash },
            Outcome::Rejected { reason, hash } => SourceResult::Rejected { hash, reason },
            // No source can do without it: they are taken again, in their order.
            Outcome::NoProgram { reason } => {
                self.fault(Fault::Passing(reason));
                return self.done(candidate, End::Again);
            }
            other => {
                // Whatever it handed on before is taken back.
                writer.discard_source(recycle);
                let end = match other {
                    Outcome::Nothing => End::Settled,
                    Outcome::NotFinished(why) => {
                        if let (NotFinished::Cut(size), Some(follow)) = (why, &candidate.follow) {
                            writer.note_cut(follow, size);
                        }
                        End::NotFinished(why)
                    }
                    Outcome::Unreadable { error } => End::Unreadable(error),
                    Outcome::Gone => End::Gone,
                    _ => End::Again,
                };
                return self.done(candidate, end);
            }
        };
        let source = FinishedSource { place: &candidate.place, identity: candidate.identity, result };
        match writer.finish_source(&source, recycle) {
            Ok(Finish::Staged { id, kind }) => {
                let mut rejected_for = None;
                match (source.result, &kind) {
                    (SourceResult::Rejected { reason, .. }, _) => {
                        let path = lane.path_of(&candidate.place);
                        tracing::warn!(
                            dataset = lane.options.name,
                            source = &*path.to_string_lossy(),
                            "rejected: {reason}"
                        );
                        rejected_for = Some(reason);
                    }
                    (SourceResult::Rows { note: Some(note), .. }, StagedAs::Rows(_)) => {
                        let (dataset, path) = (&lane.options.name, lane.path_of(&candidate.place));
                        match lane.options.decoder {
                            // A word of the user's own.
                            DecoderOptions::Command(_) => {
                                tracing::info!(
                                    dataset,
                                    source = &*path.to_string_lossy(),
                                    "taken, with a note: {note}"
                                );
                            }
                            _ => tracing::warn!(
                                dataset,
                                source = &*path.to_string_lossy(),
                                "taken, but not all of it: {note}"
                            ),
                        }
                    }
                    _ => {}
                }
                self.settle_later(Settlement { candidate, id, kind, reason: rejected_for, decoded });
            }
            Ok(Finish::Known { id }) => {
                Tally::add(&lane.tally.known, 1);
                let after = &lane.options.watch.after;
                let leaving = self.leaving(&candidate.place, candidate.identity, id, after, None, true);
                self.dispose_of(leaving.into_iter().collect());
                self.done(candidate, End::Settled);
            }
            Ok(Finish::Ignored) => {
                self.stays(&candidate.place, candidate.identity, Stays::Ignored);
                self.done(candidate, End::Settled);
            }
            Ok(Finish::DecodeAgain) => self.done(candidate, End::Again),
            Ok(Finish::LookAgain) => self.done(candidate, End::NotFinished(NotFinished::Changed)),
            Ok(Finish::MayBeGone) => self.done(candidate, End::NotFinished(NotFinished::MayBeGone)),
            Err(fault) => {
                self.fault(fault);
                self.done(candidate, End::Again);
            }
        }
    }

    /// A source is staged: the next commit settles it, which is due now where each source has its own.
    fn settle_later(&mut self, settlement: Settlement) {
        self.settlements.push(settlement);
        if self.lane.options.commit.durability == Durability::Source {
            self.commit();
        }
    }

    /// A part of a log, whose rows are staged.
    fn take_part(&mut self, candidate: Candidate, rows: u64, read: PartRead, note: Option<String>, decoded: Instant) {
        let lane = self.lane.clone();
        let State::Open(writer) = &mut self.state else { return self.done(candidate, End::Again) };
        let path = lane.path_of(&candidate.place);
        let reason = read.stopped.as_ref().map(|(reason, _)| reason.clone());
        let (place, identity) = (&candidate.place, candidate.identity);
        let follow = candidate.follow.as_deref().cloned().unwrap_or_default();
        let part = FinishedPart { place, identity, follow: &follow, read, rows, note: note.clone() };
        match writer.finish_part(part, |buffer| lane.buffers.give(buffer)) {
            Ok(Finish::Staged { id, kind }) => {
                if let Some(note) = note {
                    tracing::warn!(dataset = lane.options.name, source = &*path.to_string_lossy(), "{note}");
                }
                if let Some(reason) = &reason {
                    tracing::warn!(
                        dataset = lane.options.name,
                        source = &*path.to_string_lossy(),
                        "nothing more is taken from it: {reason}"
                    );
                }
                self.settle_later(Settlement { candidate, id, kind, reason, decoded });
            }
            Ok(_) => self.done(candidate, End::NotFinished(NotFinished::Changed)),
            Err(fault) => {
                self.fault(fault);
                self.done(candidate, End::Again);
            }
        }
    }
}
