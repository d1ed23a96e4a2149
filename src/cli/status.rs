//! `npy-ingest status`: where each dataset stands.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use serde::Serialize;

use super::failure::Failure;
use super::{DONE, print, print_json, text};
use crate::config::{Config, Dataset};
use crate::intake::{Survey, survey};
use crate::ledger::{Counts, LedgerView};
use crate::npy;
use crate::writer::Paths;

/// The rate is that of the last minute.
const RATE_SECONDS: u32 = 60;

#[derive(Serialize)]
struct Report {
    datasets: Vec<Status>,
}

#[derive(Serialize)]
struct Status {
    name: String,
    output: PathBuf,
    /// A process holds the dataset's lock.
    running: bool,
    /// Committed, by the ledger.
    rows: u64,
    /// In the main file's header.
    published_rows: Option<u64>,
    shape: Vec<u64>,
    dtype: String,
    row_bytes: u64,
    sources: u64,
    rejected: u64,
    backlog: u64,
    backlog_bytes: u64,
    /// Of the last minute.
    rows_per_second: f64,
    /// UTC, ISO 8601.
    last_commit: Option<String>,
    problems: Vec<String>,
}

pub fn run(config: &Config, json: bool) -> Result<u8, Failure> {
    let datasets = config.datasets.iter().map(status).collect::<Result<Vec<_>, _>>()?;
    if json {
        print_json(&Report { datasets })?;
        return Ok(DONE);
    }
    for (options, status) in config.datasets.iter().zip(&datasets) {
        print(&lines(options, status))?;
    }
    Ok(DONE)
}

fn status(options: &Dataset) -> Result<Status, Failure> {
    let paths = Paths::new(&options.output);
    let view = LedgerView::open(&paths.ledger)?;
    let (mut rows, mut counts, mut recent, mut last_commit) = (0, Counts::default(), 0, None);
    if let Some(view) = &view {
        rows = view.state()?.rows;
        counts = view.counts()?;
        recent = view.rows_of_last(RATE_SECONDS)?;
        last_commit = view.last_commit()?;
    }
    let survey: Survey = survey(&Arc::new(options.clone()))?;
    let published_rows = npy::inspect(&paths.main).ok().and_then(|inspection| inspection.rows);
    let mut shape = vec![rows];
    shape.extend(options.row.shape.iter().map(|dimension| *dimension as u64));
    Ok(Status {
        name: options.name.clone(),
        output: options.output.clone(),
        running: is_locked(&paths.main),
        rows,
        published_rows,
        shape,
        dtype: options.row.dtype.descr(),
        row_bytes: options.row.row_bytes() as u64,
        sources: counts.committed,
        rejected: counts.rejected,
        backlog: survey.new,
        backlog_bytes: survey.new_bytes,
        rows_per_second: recent as f64 / f64::from(RATE_SECONDS),
        last_commit,
        problems: survey.problems,
    })
}

fn lines(options: &Dataset, status: &Status) -> String {
    let running = if status.running { "a process is writing to it" } else { "no process is writing to it" };
    let mut lines = format!(
        "{}: {} in {}, {running}\n",
        status.name,
        text::array(status.rows, &options.row),
        text::path(&status.output)
    );
    let mut line = |name: &str, value: String| lines.push_str(&format!("  {name:<12} {value}\n"));
    line("sources", format!("{} committed, {} rejected", text::count(status.sources), text::count(status.rejected)));
    line(
        "backlog",
        format!("{}, {}", text::number_of(status.backlog, "source", "sources"), text::bytes(status.backlog_bytes)),
    );
    line("rate", format!("{:.1} rows a second over the last minute", status.rows_per_second));
    line("last commit", status.last_commit.clone().unwrap_or_else(|| "none yet".to_owned()));
    if status.published_rows.is_some_and(|published| published < status.rows) {
        line("published", format!("{} rows so far", text::count(status.published_rows.unwrap_or(0))));
    }
    for problem in &status.problems {
        line("problem", problem.clone());
    }
    lines
}

/// Whether somebody holds the writer's lock. A shared lock is asked for and given back at once.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
}
