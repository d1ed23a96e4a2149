//! The files of one dataset that are on their way: waiting to be quiet, waiting for a permit, or in the pool.
//!
//! Every file is in exactly one state. What is not here is either unknown or in the ledger; the next scan tells.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::source::{Follow, Hash, Identity, Place};
use crate::storage::FileStatus;
use crate::tally::Waiting;

/// So many files of one dataset are remembered at a time. Beyond it the next scan finds them again.
pub const TRACKED_MAX: usize = 131_072;
/// So many places in the order of files that wait may be stale, besides as many as there are files.
const STALE_MAX: usize = 1024;
/// A source that cannot be read is rejected after so many attempts.
const ATTEMPTS_MAX: u32 = 4;
/// The wait before the second attempt; each further one is five times as long.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// A file that is held open by its writer is asked so often at least.
const UNFINISHED_WAIT_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
enum State {
    /// Not quiet for long enough.
    Settling(Settling),
    /// Finished, new, and in `ready`.
    Ready(Ready),
    /// With the pool or the writer.
    InFlight { taken: Ready, touched: Option<Touch> },
}

/// What events told of a file in flight: when it has been quiet, and how the last one that knew had found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    due: Instant,
    pub is_finished: Option<bool>,
}

impl Touch {
    /// Whether somebody is writing the file, by the last event that knew; else what was known before.
    fn writer_was_seen(touch: Option<Self>, before: bool) -> bool {
        touch.and_then(|touch| touch.is_finished).map_or(before, |is_finished| !is_finished)
    }
}

#[derive(Debug, Clone)]
struct Settling {
    due: Instant,
    /// What the file was at the last look, where events are not relied on.
    seen: Option<Identity>,
    writer_was_seen: bool,
    /// It was closed since that look.
    was_closed: bool,
    attempts: u32,
    asked: u32,
}

impl Settling {
    /// A file of which nothing else is known.
    fn until(due: Instant, seen: Option<Identity>, writer_was_seen: bool) -> Self {
        Self { due, seen, writer_was_seen, was_closed: false, attempts: 0, asked: 0 }
    }

    /// Whether an event ends a long wait: the close of a file that is held open, and anything that becomes of one that could
    /// not be read.
    fn waits_for(&self, is_finished: Option<bool>) -> bool {
        is_finished == Some(true) || self.attempts > 0
    }

    fn tell(&mut self, is_finished: Option<bool>) {
        // It is not what could not be read.
        self.attempts = 0;
        if let Some(is_finished) = is_finished {
            (self.was_closed, self.writer_was_seen) = (is_finished, !is_finished);
        }
    }
}

/// A file that can be taken.
#[derive(Debug, Clone)]
pub struct Ready {
    pub identity: Identity,
    pub known_hash: Option<Hash>,
    pub writer_was_seen: bool,
    /// When it came, or was last changed, by the kernel: nanoseconds since 1970.
    pub arrived_ns: i64,
    /// For a log that is followed.
    pub follow: Option<Box<Follow>>,
    /// It came back, and events had told of it: it is looked at once more when it is settled.
    touched: Option<Touch>,
    attempts: u32,
    /// How often in a row it turned out not to be finished.
    asked: u32,
}

impl Ready {
    pub fn is_last_attempt(&self) -> bool {
        self.attempts + 1 >= ATTEMPTS_MAX
    }
}

/// A file whose time to be quiet is over.
#[derive(Debug)]
pub struct Due {
    pub place: Place,
    pub seen: Option<Identity>,
    writer_was_seen: bool,
    was_closed: bool,
    attempts: u32,
    asked: u32,
}

impl Due {
    /// Whether the file is another than at the last look, and nobody has told since that it is finished.
    pub fn is_still_changing(&self, identity: Identity) -> bool {
        !self.was_closed && self.seen.is_some_and(|seen| seen != identity)
    }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Tracker {
    files: HashMap<Place, State>,
    due: BinaryHeap<Reverse<(Instant, Place)>>,
    ready: VecDeque<Place>,
    /// Taken once already, by the number that they had then: they come before all others, in the same order.
    returned: BTreeMap<u64, Place>,
    /// Of files that the scan after [`Self::clear`] is to find again: how often in a row they turned out not to be finished.
    asked: HashMap<Place, u32>,
    in_flight: usize,
    /// Something was left out for want of room.
    pub is_incomplete: bool,
}

impl Tracker {
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Files that wait for a permit.
    pub fn waiting(&self) -> usize {
        self.ready.len() + self.returned.len()
    }

    pub fn contains(&self, place: &Place) -> bool {
        self.files.contains_key(place)
    }

    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.files.keys()
    }

    /// Files that are not quiet, or not finished.
    pub fn settling(&self) -> impl Iterator<Item = &Place> {
        let is_settling = |(place, state)| matches!(state, &State::Settling(_)).then_some(place);
        self.files.iter().filter_map(is_settling)
    }

    pub fn is_full(&self) -> bool {
        self.files.len() >= TRACKED_MAX
    }

    /// Room for further files.
    pub fn room(&self) -> usize {
        TRACKED_MAX.saturating_sub(self.files.len())
    }

    /// When the next file is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// An event, or a scan, told of the file: it must be quiet until `due`. `is_finished`: it was closed, or came as a whole;
    /// `None`: that is not known, and what was known before holds.
    pub fn touch(&mut self, place: Place, due: Instant, seen: Option<Identity>, is_finished: Option<bool>) {
        let full = self.is_full();
        match self.files.entry(place) {
            Entry::Occupied(mut entry) => match entry.get_mut() {
                State::InFlight { touched, .. } => {
                    let is_finished = is_finished.or(touched.and_then(|before| before.is_finished));
                    *touched = Some(Touch { due, is_finished });
                }
                State::Settling(settling) => {
                    let is_brought_forward = settling.waits_for(is_finished) && due < settling.due;
                    settling.tell(is_finished);
                    if !is_brought_forward {
                        settling.due = settling.due.max(due);
                        return;
                    }
                    // The long wait was for this. Its entry in `due` goes stale.
                    settling.due = due;
                    self.due.push(Reverse((due, entry.key().clone())));
                }
                State::Ready(ready) => {
                    // Its place in `ready` goes stale, and is passed over.
                    let writer_was_seen = is_finished.map_or(ready.writer_was_seen, |finished| !finished);
                    let settling = Settling::until(due, seen, writer_was_seen);
                    *entry.get_mut() = State::Settling(settling);
                    self.due.push(Reverse((due, entry.key().clone())));
                }
            },
            Entry::Vacant(_) if full => self.is_incomplete = true,
            Entry::Vacant(entry) => {
                self.due.push(Reverse((due, entry.key().clone())));
                let writer_was_seen = is_finished == Some(false);
                entry.insert(State::Settling(Settling::until(due, seen, writer_was_seen)));
            }
        }
    }

    /// As [`Self::touch`] for a file that need not be quiet: it is due at `due`, whatever comes until then.
    pub fn touch_growing(&mut self, place: Place, due: Instant) {
        match self.files.get_mut(&place) {
            None | Some(State::InFlight { .. }) => self.touch(place, due, None, None),
            // It waits for longer than one that is being written.
            Some(State::Settling(settling)) if due + UNFINISHED_WAIT_MAX < settling.due => {
                settling.due = due;
                self.due.push(Reverse((due, place)));
            }
            Some(State::Settling(_) | State::Ready(_)) => {}
        }
    }

    /// Forgets everything but how often files were asked in vain. Nothing may be in flight.
    pub fn clear(&mut self) {
        debug_assert_eq!(self.in_flight, 0);
        let mut asked = std::mem::take(&mut self.asked);
        for (place, state) in self.files.drain() {
            let (State::Settling(Settling { asked: count, .. })
            | State::Ready(Ready { asked: count, .. })
            | State::InFlight { taken: Ready { asked: count, .. }, .. }) = state;
            if count > 0 {
                asked.insert(place, count);
            }
        }
        *self = Self { asked, ..Self::default() };
    }

    /// Leaves a file that [`Self::pop_due`] gave to the next scan, after [`Self::clear`].
    pub fn leave_to_scan(&mut self, due: Due) {
        if due.asked > 0 {
            self.asked.insert(due.place, due.asked);
        }
    }

    /// That scan is over: what it has not found is not waited for.
    pub fn end_scan(&mut self) {
        self.asked = HashMap::new();
    }

    /// The next file that has been quiet until now. It is no longer tracked.
    pub fn pop_due(&mut self, now: Instant) -> Option<Due> {
        while let Some(Reverse((due, _))) = self.due.peek()
            && *due <= now
        {
            let Some(Reverse((_, place))) = self.due.pop() else { break };
            let Some(State::Settling(settling)) = self.files.get(&place) else { continue };
            if settling.due > now {
                // It was touched since; its time goes on.
                self.due.push(Reverse((settling.due, place)));
                continue;
            }
            let Settling { seen, writer_was_seen, was_closed, attempts, asked, .. } = settling.clone();
            self.files.remove(&place);
            return Some(Due { place, seen, writer_was_seen, was_closed, attempts, asked });
        }
        None
    }

    /// Goes on waiting for a file that [`Self::pop_due`] gave.
    pub fn wait_on(&mut self, due: Due, until: Instant, seen: Option<Identity>) {
        let Due { place, writer_was_seen, attempts, asked, .. } = due;
        self.due.push(Reverse((until, place.clone())));
        let settling = Settling { attempts, asked, ..Settling::until(until, seen, writer_was_seen) };
        self.files.insert(place, State::Settling(settling));
    }

    /// Queues a file that [`Self::pop_due`] gave.
    pub fn make_ready(&mut self, due: Due, status: &FileStatus, known_hash: Option<Hash>, follow: Option<Box<Follow>>) {
        let Due { place, writer_was_seen, attempts, asked, .. } = due;
        let (identity, arrived_ns) = (Identity::from(status), status.ctime_ns);
        let touched = None;
        self.queue(
            place,
            Ready { identity, known_hash, writer_was_seen, arrived_ns, follow, touched, attempts, asked },
        );
    }

    /// Queues a file that a scan found quiet.
    pub fn add_ready(
        &mut self,
        place: Place,
        status: &FileStatus,
        known_hash: Option<Hash>,
        follow: Option<Box<Follow>>,
    ) {
        let (identity, arrived_ns) = (Identity::from(status), status.ctime_ns);
        let (writer_was_seen, touched, attempts) = (false, None, 0);
        let asked = self.asked.remove(&place).unwrap_or(0);
        self.queue(
            place,
            Ready { identity, known_hash, writer_was_seen, arrived_ns, follow, touched, attempts, asked },
        );
    }

    fn queue(&mut self, place: Place, ready: Ready) {
        self.files.insert(place.clone(), State::Ready(ready));
        self.ready.push_back(place);
        if self.ready.len() > 2 * self.files.len() + STALE_MAX {
            self.drop_stale();
        }
    }

    /// Takes places out of `ready` that are passed over anyway, such as those of a file that is touched again and again while
    /// nothing is taken.
    fn drop_stale(&mut self) {
        let mut seen = HashSet::new();
        let files = &self.files;
        self.ready.retain(|place| matches!(files.get(place), Some(State::Ready(_))) && seen.insert(place.clone()));
    }

    /// The identity of the file that is next in order.
    pub fn peek(&mut self) -> Option<Identity> {
        loop {
            let returned = self.returned.first_key_value().map(|(_, place)| place);
            let place = returned.or_else(|| self.ready.front())?;
            if let Some(State::Ready(ready)) = self.files.get(place) {
                return Some(ready.identity);
            }
            if self.returned.pop_first().is_none() {
                self.ready.pop_front();
            }
        }
    }

    /// The next file in order; it is in flight from now on.
    pub fn take(&mut self) -> Option<(Place, Ready)> {
        loop {
            let place = match self.returned.pop_first() {
                Some((_, place)) => place,
                None => self.ready.pop_front()?,
            };
            let Some(state) = self.files.get_mut(&place) else { continue };
            let State::Ready(ready) = state else { continue };
            let ready = ready.clone();
            *state = State::InFlight { taken: ready.clone(), touched: ready.touched };
            self.in_flight += 1;
            return Some((place, ready));
        }
    }

    /// A file in flight is settled. Returns what was told of it meanwhile: then it must be looked at again.
    pub fn settle(&mut self, place: &Place) -> Option<Touch> {
        match self.files.remove(place) {
            Some(State::InFlight { touched, .. }) => {
                self.in_flight -= 1;
                touched
            }
            _ => None,
        }
    }

    /// A file in flight was not finished: it must be quiet for `wait` again, and for longer each time that it is found so,
    /// unless an event tells that it was closed, or told so while it was in flight.
    pub fn settle_again(&mut self, place: Place, now: Instant, wait: Duration) {
        let (asked, touched) = match self.files.remove(&place) {
            Some(State::InFlight { taken, touched }) => {
                self.in_flight -= 1;
                (taken.asked, touched)
            }
            _ => (0, None),
        };
        let is_finished = touched.and_then(|touch| touch.is_finished);
        let due = match touched {
            Some(touch) if is_finished == Some(true) => touch.due.max(now),
            _ => now + wait.saturating_mul(1 << asked.min(16)).min(UNFINISHED_WAIT_MAX).max(wait),
        };
        self.due.push(Reverse((due, place.clone())));
        let settling = Settling { asked: asked + 1, ..Settling::until(due, None, is_finished == Some(false)) };
        self.files.insert(place, State::Settling(settling));
    }

    /// A file in flight could not be read: another attempt, later, or soon if it was closed meanwhile. Returns the wait.
    pub fn retry(&mut self, place: Place, now: Instant) -> Duration {
        let (attempts, writer_was_seen, touched) = match self.files.remove(&place) {
            Some(State::InFlight { taken, touched }) => {
                self.in_flight -= 1;
                (taken.attempts + 1, Touch::writer_was_seen(touched, taken.writer_was_seen), touched)
            }
            _ => (1, false, None),
        };
        let delay = RETRY_DELAY * 5u32.saturating_pow(attempts.saturating_sub(1).min(4));
        let closed = touched.filter(|touch| touch.is_finished == Some(true));
        let due = closed.map_or(now + delay, |touch| touch.due.max(now).min(now + delay));
        self.due.push(Reverse((due, place.clone())));
        let settling = Settling { attempts, ..Settling::until(due, None, writer_was_seen) };
        self.files.insert(place, State::Settling(settling));
        due - now
    }

    /// Shows what is on its way. Takes a look at each file.
    pub fn show(&self, waiting: &Waiting) {
        let (mut settling, mut ready, mut bytes, mut oldest_ns) = (0, 0, 0, u64::MAX);
        for state in self.files.values() {
            let taken = match state {
                State::Settling(_) => {
                    settling += 1;
                    continue;
                }
                State::Ready(taken) => {
                    ready += 1;
                    taken
                }
                State::InFlight { taken, .. } => taken,
            };
            bytes += taken.identity.size;
            oldest_ns = oldest_ns.min(u64::try_from(taken.arrived_ns).unwrap_or(0));
        }
        waiting.settling.store(settling, Ordering::Relaxed);
        waiting.ready.store(ready, Ordering::Relaxed);
        waiting.in_flight.store(self.in_flight as u64, Ordering::Relaxed);
        waiting.bytes.store(bytes, Ordering::Relaxed);
        waiting.oldest_ns.store(if oldest_ns == u64::MAX { 0 } else { oldest_ns }, Ordering::Relaxed);
        waiting.is_incomplete.store(self.is_incomplete, Ordering::Relaxed);
    }

    /// A file in flight comes back as it was, to be taken again before all others.
    pub fn put_back(&mut self, place: Place, sequence: u64) {
        if let Some(State::InFlight { mut taken, touched }) = self.files.remove(&place) {
            self.in_flight -= 1;
            // Its content may have to be decoded although it is known: decided again by the writer.
            taken.known_hash = None;
            taken.writer_was_seen = Touch::writer_was_seen(touched, taken.writer_was_seen);
            taken.touched = touched.map(|touch| Touch { is_finished: None, ..touch });
            self.files.insert(place.clone(), State::Ready(taken));
            self.returned.insert(sequence, place);
        }
    }
}

#[cfg(test)]
mod tests;
