//! The writer's thread: messages in, commits when they are due, until every sender is gone.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select};

use super::dispose::{Leaving, Results};
use super::disposer::{About, Disposer, Jobs, Question};
use super::slot::{Opening, Slot};
use crate::lane::{Lane, ToIntake, ToWriter};
use crate::pulse;

/// Messages that are taken at one go, between two looks at what is due.
const MESSAGES_AT_ONCE: usize = 1024;
/// A dataset that could not be opened is tried again after this time.
const REOPEN: Duration = Duration::from_secs(2);

/// Opens a dataset whose first opening failed.
pub type Opener = Box<dyn Fn(&Lane) -> Opening + Send>;

/// See the module documentation.
pub struct Writer {
    slots: Vec<Slot>,
    messages: Receiver<ToWriter>,
    opener: Opener,
    reopen_at: Instant,
    disposer: Disposer,
    once: bool,
}

/// What the writer wakes up for.
enum Word {
    Message(ToWriter),
    Disposed(Results),
    Asked(Question),
    Due,
    /// Every sender of messages is gone.
    End,
}

impl Writer {
    /// `datasets`: for each lane, what became of its first opening. `once`: nothing is waited for, but for the files that are
    /// to be moved or deleted.
    pub fn new(
        datasets: Vec<(Arc<Lane>, Opening)>,
        messages: Receiver<ToWriter>,
        to_intake: &Sender<ToIntake>,
        opener: Opener,
        (disposer, jobs): (Disposer, Jobs),
        once: bool,
    ) -> Self {
        let slot = |(lane, first)| Slot::new(lane, first, to_intake.clone(), once, Some(jobs.clone()));
        let slots = datasets.into_iter().map(slot).collect();
        Self { slots, messages, opener, reopen_at: Instant::now() + REOPEN, disposer, once }
    }

    /// Runs until every sender of messages is gone, then commits what is left.
    pub fn run(mut self) {
        loop {
            let due = self.next_due();
            pulse::rest(due);
            let word = self.next_word(due);
            pulse::work();
            match word {
                Word::Message(message) => {
                    self.message(message);
                    for _ in 1..MESSAGES_AT_ONCE {
                        let Ok(message) = self.messages.try_recv() else { break };
                        self.message(message);
                    }
                }
                Word::Disposed(results) => self.disposed(results),
                Word::Asked(question) => self.answer(question),
                Word::Due => {}
                Word::End => break,
            }
            let now = Instant::now();
            if self.reopen_at <= now {
                self.reopen(now);
            }
            for slot in &mut self.slots {
                pulse::beat();
                slot.commit_if_due(now);
            }
        }
        self.end();
    }

    fn next_word(&self, due: Option<Instant>) -> Word {
        let timer = due.map_or_else(never, at);
        select! {
            recv(self.messages) -> message => message.map_or(Word::End, Word::Message),
            // It ends behind the slots, which have its jobs.
            recv(self.disposer.results) -> results => results.map_or(Word::Due, Word::Disposed),
            recv(self.disposer.questions) -> question => question.map_or(Word::Due, Word::Asked),
            recv(timer) -> _ => Word::Due,
        }
    }

    fn end(mut self) {
        for slot in &mut self.slots {
            pulse::beat();
            slot.close();
        }
        if !self.once {
            self.disposer.call_off();
        }
        loop {
            // It ends once the slots have no job for it any more, and then nothing comes.
            let word = pulse::resting(|| {
                select! {
                    recv(self.disposer.results) -> results => results.map(Word::Disposed),
                    recv(self.disposer.questions) -> question => question.map(Word::Asked),
                }
            });
            match word {
                Ok(Word::Disposed(results)) => self.disposed(results),
                Ok(Word::Asked(question)) => self.answer(question),
                _ => break,
            }
        }
        while let Ok(results) = self.disposer.results.try_recv() {
            self.disposed(results);
        }
        for slot in &mut self.slots {
            pulse::beat();
            slot.finish();
        }
        self.disposer.join();
    }

    fn answer(&mut self, question: Question) {
        pulse::beat();
        let Question { leaving, about, answer } = question;
        let answered = match about {
            About::Copy(path) => self.is_copy(&leaving, &path),
            About::Listed => self.slots.get_mut(leaving.lane).map_or(Ok(false), |slot| slot.is_listed(&leaving)),
        };
        // Who has asked may have ended.
        drop(answer.send(answered));
    }

    /// Whether a file is a copy of a source that a crash left: if it is no other source's of any dataset.
    fn is_copy(&mut self, leaving: &Leaving, path: &Path) -> io::Result<bool> {
        while let Ok(results) = self.disposer.results.try_recv() {
            self.disposed(results);
        }
        let Some(own) = self.slots.get(leaving.lane) else { return Ok(false) };
        let Some(hash) = own.hash_of(leaving)? else { return Ok(false) };
        for slot in &self.slots {
            pulse::beat();
            if slot.has_another(leaving, &hash, path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Of one dataset after the other, in the order of their disposal.
    fn disposed(&mut self, results: Results) {
        let mut of_lanes: BTreeMap<usize, Results> = BTreeMap::new();
        for (leaving, result) in results {
            of_lanes.entry(leaving.lane).or_default().push((leaving, result));
        }
        for (lane, results) in of_lanes {
            pulse::beat();
            if let Some(slot) = self.slots.get_mut(lane) {
                slot.disposed(results);
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let closed = self.slots.iter().any(Slot::is_closed).then_some(self.reopen_at);
        self.slots.iter().filter_map(Slot::next_due).chain(closed).min()
    }

    fn message(&mut self, message: ToWriter) {
        pulse::beat();
        let (ToWriter::Rows { lane, .. } | ToWriter::Finished { lane, .. } | ToWriter::Dispose { lane, .. }) = message;
        let Some(slot) = self.slots.get_mut(lane) else { return };
        match message {
            ToWriter::Rows { block, emptied, .. } => slot.rows(block, &emptied),
            ToWriter::Finished { finished, .. } => slot.finished(*finished),
            ToWriter::Dispose { place, identity, entry, .. } => slot.dispose_leftover(&place, identity, &entry),
        }
    }

    fn reopen(&mut self, now: Instant) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_closed()) {
            match (self.opener)(slot.lane()) {
                Opening::Opened(writer) => {
                    tracing::info!(dataset = slot.lane().options.name, rows = writer.rows(), "opened");
                    slot.open(*writer);
                }
                Opening::NotYet(reason) => {
                    tracing::debug!(dataset = slot.lane().options.name, "not opened yet: {reason}");
                    slot.lane().tally.pause(Some(reason));
                }
                Opening::Never(reason) => slot.stop(&reason),
            }
        }
        self.reopen_at = now + REOPEN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::storage::RealDisk;
    use crossbeam_channel::unbounded;

    /// The bug: `status` showed why the first attempt had failed for as long as the dataset could not be opened.
    #[test]
    fn why_a_dataset_is_not_opened_yet_is_shown_as_the_last_attempt_found_it() {
        let text = "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2]\ndtype = 'u1'\n[dataset.watch]\n\
                    folders = ['drop']\n[dataset.npy]\n";
        let config = config::parse(text, std::path::Path::new("/c.toml")).unwrap();
        let lane = Arc::new(Lane::new(0, Arc::new(config.datasets[0].clone()), 2, 1000));
        let (_to_writer, messages) = unbounded();
        let (to_intake, _told) = unbounded();
        let opener: Opener = Box::new(|_| Opening::NotYet("the disk is full".into()));
        let first = vec![(lane.clone(), Opening::NotYet("no folder".into()))];
        let disposer = Disposer::start(Arc::new(RealDisk)).unwrap();
        let mut writer = Writer::new(first, messages, &to_intake, opener, disposer, false);
        assert_eq!(lane.tally.paused().as_deref(), Some("no folder"));
        writer.reopen(Instant::now());
        assert_eq!(lane.tally.paused().as_deref(), Some("the disk is full"));
    }
}
