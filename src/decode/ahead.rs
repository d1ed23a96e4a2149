//! Blocks of one source that several threads work on, and that come back in their order.
//!
//! Handing on its rows is one thread's work. What can be done block by block before is given away to workers of the pool that
//! have nothing else to do. A block that nobody has taken when its turn comes is done by the thread of the source itself: it
//! waits only for a block that is being worked on, and never for a worker that is busy with another source.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::resting;
use crate::storage::last_words::{self, LastWords};

/// Blocks that are given away at a time, at most.
const BLOCKS_MAX: usize = 8;

/// See the module documentation.
pub(super) struct Ahead<In, Out> {
    shared: Arc<Shared<In, Out>>,
    /// Blocks that were given away and have not come back, at most.
    blocks_max: usize,
}

struct Shared<In, Out> {
    work: Box<dyn Fn(In) -> Out + Send + Sync>,
    /// If a block ends the program, it is the source that did it, wherever that happens.
    words: Option<Arc<LastWords>>,
    state: Mutex<State<In, Out>>,
    changed: Condvar,
}

struct State<In, Out> {
    /// In their order; the first one is block `first`.
    blocks: VecDeque<Block<In, Out>>,
    first: u64,
}

enum Block<In, Out> {
    Waits(In),
    IsWorkedOn,
    Done(thread::Result<Out>),
}

impl<In: Send + 'static, Out: Send + 'static> Ahead<In, Out> {
    pub(super) fn new(work: impl Fn(In) -> Out + Send + Sync + 'static) -> Self {
        let state = State { blocks: VecDeque::new(), first: 0 };
        let shared = Shared {
            work: Box::new(work),
            words: last_words::current(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        // One is worked on by each thread while the next is read.
        let blocks_max = (rayon::current_num_threads() + 1).min(BLOCKS_MAX);
        Self { shared: Arc::new(shared), blocks_max }
    }

    /// Whether a block has to come back before the next one is given away.
    pub(super) fn is_full(&self) -> bool {
        self.shared.lock().blocks.len() >= self.blocks_max
    }

    pub(super) fn give(&self, block: In) {
        self.shared.lock().blocks.push_back(Block::Waits(block));
        // The pool of the thread at hand. Where all its threads are busy, this finds nothing left to do when it is run.
        let shared = self.shared.clone();
        rayon::spawn(move || {
            shared.take_one();
        });
    }

    /// The next block in their order, done. `None` where none was given away.
    pub(super) fn take(&self) -> Option<Out> {
        let mut state = self.shared.lock();
        loop {
            match state.blocks.front() {
                None => return None,
                Some(Block::Done(_)) => break,
                Some(Block::Waits(_) | Block::IsWorkedOn) => {}
            }
            drop(state);
            let has_worked = self.shared.take_one();
            state = self.shared.lock();
            if !has_worked && matches!(state.blocks.front(), Some(Block::IsWorkedOn)) {
                state = resting(|| self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
            }
        }
        state.first += 1;
        match state.blocks.pop_front() {
            Some(Block::Done(Ok(done))) => Some(done),
            Some(Block::Done(Err(panic))) => {
                drop(state);
                resume_unwind(panic)
            }
            _ => None,
        }
    }
}

/// What nobody has begun is not wanted any more.
impl<In, Out> Drop for Ahead<In, Out> {
    fn drop(&mut self) {
        self.shared.lock().blocks.clear();
    }
}

impl<In, Out> Shared<In, Out> {
    /// Each step leaves the state whole: a thread that panicked has broken nothing.
    fn lock(&self) -> MutexGuard<'_, State<In, Out>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the first block that waits for it, and says whether there was one.
    fn take_one(&self) -> bool {
        let mut state = self.lock();
        let Some((place, block)) =
            state.blocks.iter_mut().enumerate().find(|(_, block)| matches!(block, Block::Waits(_)))
        else {
            return false;
        };
        let block = std::mem::replace(block, Block::IsWorkedOn);
        let number = state.first + place as u64;
        drop(state);
        let Block::Waits(input) = block else { return false };
        // A panic is that of the source, wherever it happens.
        let done = last_words::during(self.words.as_ref(), || catch_unwind(AssertUnwindSafe(|| (self.work)(input))));
        let mut state = self.lock();
        // Where the source was given up meanwhile, it is not there any more.
        let place = number.checked_sub(state.first).and_then(|place| usize::try_from(place).ok());
        if let Some(place) = place.and_then(|place| state.blocks.get_mut(place)) {
            *place = Block::Done(done);
        }
        drop(state);
        self.changed.notify_all();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn blocks_come_back_in_their_order_from_several_threads() {
        let seen = Arc::new(Mutex::new(std::collections::HashSet::new()));
        let of_work = seen.clone();
        let found: Vec<u64> = pool(4).install(|| {
            let ahead = Ahead::new(move |number: u64| {
                of_work.lock().unwrap().insert(thread::current().id());
                // The first ones take longest.
                thread::sleep(Duration::from_millis(if number.is_multiple_of(4) { 20 } else { 1 }));
                number * 10
            });
            let mut found = Vec::new();
            for number in 0..40 {
                while ahead.is_full() {
                    found.extend(ahead.take());
                }
                ahead.give(number);
            }
            found.extend(std::iter::from_fn(|| ahead.take()));
            found
        });
        assert_eq!(found, (0..40).map(|number| number * 10).collect::<Vec<_>>());
        assert!(seen.lock().unwrap().len() > 1);
    }

    /// Here nobody has time: the only thread is the source's own.
    #[test]
    fn a_thread_alone_does_it_all() {
        let done = Arc::new(AtomicUsize::new(0));
        let of_work = done.clone();
        pool(1).install(|| {
            let ahead = Ahead::new(move |number: usize| of_work.fetch_add(number, Ordering::Relaxed));
            (1..=2).for_each(|number| ahead.give(number));
            assert!(ahead.is_full());
            assert_eq!((ahead.take(), ahead.take(), ahead.take()), (Some(0), Some(1), None));
        });
        assert_eq!(done.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_panic_comes_to_the_thread_of_the_source() {
        let result = pool(2).install(|| {
            catch_unwind(AssertUnwindSafe(|| {
                let ahead = Ahead::new(|number: u64| assert_ne!(number, 1, "the block is bad"));
                (0..2).for_each(|number| ahead.give(number));
                while ahead.take().is_some() {}
            }))
        });
        assert!(result.is_err());
    }

    /// What was given away and is not wanted any more is not worked on.
    #[test]
    fn a_source_that_is_given_up_leaves_nothing_to_do() {
        let done = Arc::new(AtomicUsize::new(0));
        let of_work = done.clone();
        let pool = pool(1);
        pool.install(|| {
            let ahead = Ahead::new(move |_: usize| of_work.fetch_add(1, Ordering::Relaxed));
            (0..2).for_each(|number| ahead.give(number));
        });
        // Behind those that were spawned before.
        pool.install(|| ());
        assert_eq!(done.load(Ordering::Relaxed), 0);
    }
}
