//! `npy-ingest --config F --once`: takes what is there, and ends.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::failure::{Failure, warn};
use super::{DONE, FAILED, REJECTED, print, text};
use crate::config::{Config, Dataset, Paths};
use crate::daemon::{self, Mode, Running};
use crate::intake::{Left, Unfinished};
use crate::lane::Lane;
use crate::ledger::{LedgerError, LedgerView};

/// How often the figures on the terminal are renewed.
const REFRESH: Duration = Duration::from_millis(100);
/// Without a terminal, a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Threads that tell of their end.
const THREADS: u32 = 2;
/// So many sources that are left for the next run are named.
const NAMED_MAX: usize = 20;

/// `file`: the config as it was named.
pub fn run(config: &Config, file: &Path) -> Result<u8, Failure> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])
        .map_err(|error| Failure::failed(format!("listening for signals: {error}")))?;
    let running = daemon::start(config, Mode::Once)?;
    let bar = if io::stderr().is_terminal() { progress_bar() } else { ProgressBar::hidden() };
    text::set_bar(Some(bar.clone()));
    let stopped = follow(&running, &mut signals, &bar);
    let lanes = running.lanes().to_vec();
    let outcome = running.join();
    bar.finish_and_clear();
    text::set_bar(None);

    let mut code = DONE;
    let left = &outcome.report.left;
    let mut problems: Vec<String> = lanes.iter().zip(left).filter_map(|(lane, left)| failure(lane, left)).collect();
    for lane in &lanes {
        match summary(&lane.options, lane.tally.rows.load(Ordering::Relaxed), file) {
            Ok((line, rejected)) => {
                print(&line)?;
                if rejected > 0 && code == DONE {
                    code = REJECTED;
                }
            }
            // That is why it has stopped, most often.
            Err(error) if lane.tally.failure().is_none() => {
                problems.push(format!("dataset \"{}\": {error}", lane.options.name));
            }
            Err(_) => {}
        }
    }
    problems.extend(outcome.report.problems);
    if outcome.panicked {
        problems.push("a thread panicked; what was committed is safe".to_owned());
    }
    if stopped {
        problems.push("stopped by a signal; the next run takes the rest".to_owned());
    }
    for (lane, left) in lanes.iter().zip(left).filter(|(_, left)| left.links > 0) {
        let are = text::number_of(left.links, "symbolic link is", "symbolic links are");
        warn(&format!("dataset \"{}\": {are} not followed", lane.options.name));
    }
    // Where something failed, they are not what has to be read.
    let named = if problems.is_empty() { NAMED_MAX } else { 0 };
    let unfinished = || left.iter().flat_map(|left| &left.unfinished);
    let (linked, written): (Vec<_>, Vec<_>) = unfinished().partition(|file| file.names.is_some());
    tell_unfinished(&written, named, &|_| "is still being written".to_owned(), "still being written");
    let names = |file: &Unfinished| format!("has {} names (`hard_links`)", file.names.unwrap_or_default());
    tell_unfinished(&linked, named, &names, "of several names (`hard_links`)");
    for problem in &problems {
        warn(&text::one_line(problem));
    }
    Ok(if problems.is_empty() { code } else { FAILED })
}

/// Sources that are left for the next run: some by name, the others by their number.
fn tell_unfinished(sources: &[&Unfinished], named: usize, is: &dyn Fn(&Unfinished) -> String, are: &str) {
    for source in sources.iter().take(named) {
        warn(&format!("{} {}: left for the next run", text::one_line(&source.source), is(source)));
    }
    let others = sources.len().saturating_sub(named) as u64;
    if others > 0 {
        let more = if named > 0 { "more " } else { "" };
        let number = text::number_of(others, &format!("{more}source is"), &format!("{more}sources are"));
        warn(&format!("{number} {are}: left for the next run"));
    }
}

/// Why a dataset has stopped, and what it left.
fn failure(lane: &Lane, left: &Left) -> Option<String> {
    let (name, reason) = (&lane.options.name, lane.tally.failure()?);
    let sources = match left.sources as u64 {
        0 => String::new(),
        sources => format!("; {} left for the next run", text::number_of(sources, "source is", "sources are")),
    };
    Some(format!("dataset \"{name}\": {reason}{sources}"))
}

/// Shows the progress until both threads have ended, the second of which may have files to move for long. Returns whether a
/// signal asked for the end.
fn follow(running: &Running, signals: &mut Signals, bar: &ProgressBar) -> bool {
    let (mut stopped, mut ended) = (false, 0);
    let mut line_due = Instant::now() + LINE_EVERY;
    loop {
        ended += u32::from(running.ended().recv_timeout(REFRESH).is_ok());
        // SIGUSR1 asks a service to scan; here it must do no harm.
        if !stopped && signals.pending().any(|signal| signal != SIGUSR1) {
            running.stop();
            running.call_off_moves();
            stopped = true;
        }
        let sum = |counter: fn(&crate::lane::Tally) -> &std::sync::atomic::AtomicU64| -> u64 {
            running.lanes().iter().map(|lane| counter(&lane.tally).load(Ordering::Relaxed)).sum()
        };
        let (committed, rejected) = (sum(|tally| &tally.committed), sum(|tally| &tally.rejected));
        let (found, taken) = (sum(|tally| &tally.found), committed + rejected);
        let figures = format!("{} rows, {} rejected", text::count(sum(|tally| &tally.rows)), text::count(rejected));
        if bar.is_hidden() && line_due <= Instant::now() {
            warn(&format!("{} of {} sources, {figures}", text::count(taken), text::count(found)));
            line_due += LINE_EVERY;
        }
        bar.set_length(found);
        bar.set_position(taken);
        bar.set_message(figures);
        if ended == THREADS {
            return stopped;
        }
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} sources  {msg}  {per_sec:0}  {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// One line on a dataset as it stands now, and how many sources are rejected.
fn summary(options: &Dataset, new_rows: u64, file: &Path) -> Result<(String, u64), LedgerError> {
    let view = LedgerView::open(&Paths::new(&options.output).ledger)?;
    let (rows, counts) = match &view {
        Some(view) => (view.state()?.rows, view.counts()?),
        None => Default::default(),
    };
    let shape: Vec<u64> = [rows].into_iter().chain(options.row.shape.iter().map(|side| *side as u64)).collect();
    let mut line = format!(
        "{}: {}, {} holds {}",
        options.name,
        text::number_of(new_rows, "new row", "new rows"),
        text::path(&options.output),
        text::array(&shape, &options.row.dtype.descr())
    );
    if counts.rejected > 0 {
        let rejected = text::number_of(counts.rejected, "source is", "sources are");
        let file = text::shell_word(file);
        line.push_str(&format!("; {rejected} rejected (npy-ingest sources --config {file} --rejected tells why)"));
    }
    line.push('\n');
    Ok((line, counts.rejected))
}
