//! A thread that tells systemd that the others are well, and one line on how things stand.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle, park_timeout};
use std::time::Duration;

use super::systemd::Manager;
use super::text;
use crate::daemon::DECODE;
use crate::monitor::{Board, Run};
use crate::pulse::Stuck;
use crate::storage::last_words;

/// The line is looked at so often, and sent when it has changed.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// While it does not change: an idle service sleeps.
const STATUS_EVERY_IDLE: Duration = Duration::from_secs(20);

/// The running thread. It ends when this is dropped.
pub struct Watchdog {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// `None` where there is no systemd to be told.
    pub fn start(manager: &Arc<Manager>, board: &Arc<Board>) -> io::Result<Option<Self>> {
        if !manager.is_there() {
            return Ok(None);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let (manager, board, stop) = (manager.clone(), board.clone(), is_over.clone());
        let thread = Builder::new().name("npy-watchdog".to_owned()).spawn(move || run(&manager, &board, &stop))?;
        Ok(Some(Self { is_over, thread: Some(thread) }))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its panic would be told by the missing pings.
            drop(thread.join());
        }
    }
}

fn run(manager: &Manager, board: &Board, is_over: &AtomicBool) {
    let watchdog = manager.watchdog();
    // A thread may be stuck for half of the time that systemd allows between pings; it is looked at three times as often.
    let longest = watchdog.map_or(STATUS_EVERY_IDLE, |watchdog| (watchdog / 6).min(STATUS_EVERY_IDLE));
    let mut every = STATUS_EVERY.min(longest);
    let mut told = String::new();
    let mut was_stuck = false;
    while !is_over.load(Ordering::Acquire) {
        let run = board.run();
        let stuck = watchdog.and_then(|watchdog| run.as_ref()?.pulses.stuck(watchdog / 2));
        match &stuck {
            Some(Stuck { name, .. }) if !was_stuck => {
                tracing::error!(
                    thread = name,
                    "a thread does not get on with its work: no more pings to systemd's watchdog"
                );
            }
            Some(_) => {}
            None if watchdog.is_some() => manager.alive(),
            None => {}
        }
        was_stuck = stuck.is_some();
        // systemd would end the process without a word on which source it was. One that waits for a disk is not at fault.
        if let Some(Stuck { name, thread, is_busy: true }) = &stuck
            && name.starts_with(DECODE)
        {
            tracing::error!(
                thread = name,
                "a decode comes to no end: the program ends, and the next start knows the source"
            );
            last_words::end_by(*thread);
        }
        if let Some(run) = run {
            let line = match &stuck {
                Some(Stuck { name, .. }) => format!("the thread {name} is stuck"),
                None => line(&run),
            };
            if line == told {
                every = (every * 2).min(longest);
            } else {
                every = STATUS_EVERY.min(longest);
                manager.status(&line);
                told = line;
            }
        }
        park_timeout(every);
    }
}

/// `2 datasets, 1,020 rows, 1 source rejected, 17 sources waiting`, and who is paused or stopped.
fn line(run: &Run) -> String {
    let sum = |figure: fn(&crate::lane::Tally) -> u64| run.lanes.iter().map(|lane| figure(&lane.tally)).sum::<u64>();
    let waiting = sum(|tally| {
        let waiting = &tally.waiting;
        [&waiting.settling, &waiting.ready, &waiting.in_flight].map(|count| count.load(Ordering::Relaxed)).iter().sum()
    });
    let rejected = sum(|tally| tally.rejected.load(Ordering::Relaxed));
    let mut line = format!(
        "{}, {}, {} rejected, {} waiting",
        text::number_of(run.lanes.len() as u64, "dataset", "datasets"),
        text::number_of(sum(|tally| tally.rows.load(Ordering::Relaxed)), "new row", "new rows"),
        text::number_of(rejected, "source", "sources"),
        text::count(waiting),
    );
    for lane in &run.lanes {
        let name = &lane.options.name;
        if let Some(reason) = lane.tally.failure() {
            line.push_str(&format!("; {name} is stopped: {reason}"));
        } else if let Some(reason) = lane.tally.paused() {
            line.push_str(&format!("; {name} is paused: {reason}"));
        }
    }
    text::path(line.as_ref())
}
