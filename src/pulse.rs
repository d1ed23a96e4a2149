//! Signs of life: whether a thread that has something to do gets on with it.
//!
//! Each thread has a [`Pulse`]. It says [`rest`] before it sleeps, [`work`] when it wakes, and [`beat`] with every small
//! step of work: one atomic addition. A thread that works without a beat, or sleeps beyond the time at which it meant to
//! wake, is stuck; [`Pulses::stuck`] finds it by looking twice. Nobody has to wake up for it while there is nothing to do.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The value of `due_ms` while the thread works.
const WORKING: u64 = 0;
/// The value of `due_ms` while the thread sleeps until something happens.
const RESTING: u64 = u64::MAX;

thread_local! {
    static OWN: OnceCell<Arc<Pulse>> = const { OnceCell::new() };
}

/// One thread's signs of life.
#[derive(Debug)]
pub struct Pulse {
    name: String,
    /// The kernel's number of the thread that has adopted it; 0 before.
    thread: AtomicI32,
    beats: AtomicU64,
    /// [`WORKING`], [`RESTING`], or the end of the rest in milliseconds of this module's clock.
    due_ms: AtomicU64,
}

/// The pulses of one run, and what they were at the last look.
#[derive(Debug, Default)]
pub struct Pulses {
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    pulse: Arc<Pulse>,
    beats: u64,
    /// When it was last seen to be well.
    well: Instant,
    /// When it was first seen not to be since, and the processor time that it had wanted by then.
    unwell: Option<(Instant, Duration)>,
}

/// A thread that has not got on for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    pub name: String,
    /// The kernel's number.
    pub thread: i32,
    /// It had the processor, or stood in line for it, for more than half of that time: it waits for nothing else, neither
    /// disk nor network.
    pub is_busy: bool,
}

impl Pulses {
    /// A pulse for a thread of this name.
    pub fn make(&self, name: impl Into<String>) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse {
            name: name.into(),
            thread: AtomicI32::new(0),
            beats: AtomicU64::new(0),
            due_ms: AtomicU64::new(RESTING),
        });
        let known = Known { pulse: pulse.clone(), beats: 0, well: Instant::now(), unwell: None };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push(known);
        pulse
    }

    /// The thread that has not got on for longer than `limit`, if there is one. To be asked more often than that.
    pub fn stuck(&self, limit: Duration) -> Option<Stuck> {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stuck = None;
        for Known { pulse, beats, well, unwell } in known.iter_mut() {
            let now_beats = pulse.beats.load(Ordering::Relaxed);
            let is_well = match pulse.due_ms.load(Ordering::Relaxed) {
                WORKING => now_beats != *beats,
                due_ms => now_ms() <= due_ms,
            };
            if is_well {
                (*beats, *well, *unwell) = (now_beats, now, None);
                continue;
            }
            let thread = pulse.thread.load(Ordering::Relaxed);
            let wanted = processor_time_wanted(thread);
            let (since, before) = *unwell.get_or_insert((now, wanted));
            if now - *well > limit {
                let is_busy = since < now && wanted.saturating_sub(before) > (now - since) / 2;
                stuck.get_or_insert_with(|| Stuck { name: pulse.name.clone(), thread, is_busy });
            }
        }
        stuck
    }
}

/// How long a thread of this process was on a processor or ready to be, while others had it; none where that is not known.
fn processor_time_wanted(thread: i32) -> Duration {
    // Nanoseconds on a processor, nanoseconds in line for one, and a third number: the kernel's
    // Documentation/scheduler/sched-stats.rst.
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split(' ').take(2).filter_map(|part| part.parse::<u64>().ok()).sum())
}

/// The pulse is this thread's from now on. A thread has one for good.
pub fn adopt(pulse: Arc<Pulse>) {
    pulse.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    // A second one would be a mistake, and do no harm.
    drop(OWN.with(|own| own.set(pulse)));
}

/// A small step is done.
pub fn beat() {
    OWN.with(|own| {
        if let Some(pulse) = own.get() {
            pulse.beats.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// The thread is awake.
pub fn work() {
    set(WORKING);
    beat();
}

/// The thread sleeps: until then, or until something happens.
pub fn rest(until: Option<Instant>) {
    set(until.map_or(RESTING, |until| ms(until).clamp(WORKING + 1, RESTING - 1)));
}

/// Runs something that waits for others, and is therefore no sign of a stuck thread.
pub fn resting<T>(wait: impl FnOnce() -> T) -> T {
    rest(None);
    let result = wait();
    work();
    result
}

fn set(due_ms: u64) {
    OWN.with(|own| {
        if let Some(pulse) = own.get() {
            pulse.due_ms.store(due_ms, Ordering::Relaxed);
        }
    });
}

fn ms(at: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(at.saturating_duration_since(*start).as_millis()).unwrap_or(RESTING - 1) + 1
}

fn now_ms() -> u64 {
    ms(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{sleep, spawn};

    const LIMIT: Duration = Duration::from_millis(60);

    /// What is found of a thread that does this, after twice the limit: its name, and whether it is busy.
    fn found(act: impl FnOnce() + Send + 'static) -> Option<(String, bool)> {
        let pulses = Pulses::default();
        let pulse = pulses.make("thread");
        let thread = spawn(move || {
            adopt(pulse);
            act();
        });
        let mut stuck = None;
        for _ in 0..12 {
            sleep(LIMIT / 6);
            stuck = pulses.stuck(LIMIT);
        }
        thread.join().unwrap();
        stuck.map(|stuck| (stuck.name, stuck.is_busy))
    }

    fn idle() -> Option<(String, bool)> {
        Some(("thread".to_owned(), false))
    }

    #[test]
    fn a_thread_that_works_without_a_beat_is_stuck() {
        let act = || {
            work();
            sleep(3 * LIMIT);
        };
        assert_eq!(found(act), idle());
    }

    /// On a machine that is busy with others as well: standing in line counts.
    #[test]
    fn a_thread_that_works_without_an_end_is_busy() {
        let pulses = Pulses::default();
        let pulse = pulses.make("thread");
        let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let end = is_over.clone();
        let thread = spawn(move || {
            adopt(pulse);
            work();
            while !end.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let began = Instant::now();
        let mut found = None;
        while !found.as_ref().is_some_and(|stuck: &Stuck| stuck.is_busy) && began.elapsed() < Duration::from_secs(20) {
            sleep(LIMIT / 6);
            found = pulses.stuck(LIMIT);
        }
        is_over.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        assert!(found.is_some_and(|stuck| stuck.is_busy && stuck.thread > 0));
    }

    #[test]
    fn a_thread_that_sleeps_beyond_its_time_is_stuck() {
        let act = || {
            rest(Some(Instant::now()));
            sleep(3 * LIMIT);
        };
        assert_eq!(found(act), idle());
    }

    /// The bug: a program of the user's that took long over its first row made the watchdog end the service.
    #[test]
    fn a_decoder_that_waits_for_somebody_else_is_well() {
        use std::sync::atomic::AtomicBool;
        let act = || {
            work();
            let interrupted = AtomicBool::new(false);
            let about =
                crate::decode::About { path: std::path::Path::new("/a"), extension: None, interrupted: &interrupted };
            for _ in 0..18 {
                sleep(LIMIT / 6);
                assert!(!about.is_interrupted());
            }
        };
        assert_eq!(found(act), None);
    }

    #[test]
    fn a_thread_that_rests_or_gets_on_is_well() {
        assert_eq!(found(|| rest(None)), None);
        assert_eq!(found(|| resting(|| sleep(3 * LIMIT))), None);
        let act = || {
            work();
            for _ in 0..18 {
                sleep(LIMIT / 6);
                beat();
            }
        };
        assert_eq!(found(act), None);
    }
}
