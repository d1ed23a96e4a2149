//! `npy-ingest status`: where each dataset stands.

use std::sync::Arc;

use super::failure::Failure;
use super::{DONE, print, print_json, text};
use crate::config::{Config, Dataset};
use crate::intake::{Survey, survey};
use crate::monitor::{self, Answer, Figures, ignored_text};
use crate::recovery::{OpenError, look};
use crate::storage::RealDisk;

pub fn run(config: &Config, json: bool) -> Result<u8, Failure> {
    let (answer, from) = answer(config)?;
    if json {
        print_json(&answer)?;
        return Ok(DONE);
    }
    for figures in &answer.datasets {
        print(&lines(figures, from))?;
    }
    Ok(DONE)
}

/// Who told the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Teller {
    Service,
    Files,
}

/// From the running service if it listens and has this config; else from the files, with a walk through the folders.
fn answer(config: &Config) -> Result<(Answer, Teller), Failure> {
    if let Some(address) = config.service.listen {
        match monitor::ask(address) {
            Ok(mut answer) if is_about(&answer, config) => {
                // The config may have been edited since.
                for (figures, options) in answer.datasets.iter_mut().zip(&config.datasets) {
                    if let Err(error @ OpenError::Settings(_)) = look(&RealDisk, options) {
                        figures.problems.push(text::joined(&error.to_string()));
                    }
                }
                return Ok((answer, Teller::Service));
            }
            Ok(answer) => tracing::debug!("at {address} a service with the config {} listens", answer.config.display()),
            Err(error) => tracing::debug!("asking the service at {address}: {error}"),
        }
    }
    let figures = |options: &Dataset| -> Result<Figures, Failure> {
        let mut figures = Figures::of_files(options)?;
        if let Err(error) = look(&RealDisk, options) {
            // What the file tells of itself is a part of it.
            figures.problems = vec![text::joined(&error.to_string())];
        }
        let Survey { new, new_bytes, ignored, problems, .. } = survey(&Arc::new(options.clone()))?;
        (figures.backlog, figures.backlog_bytes) = (new, new_bytes);
        figures.problems.extend(problems);
        if ignored > 0 {
            figures.problems.push(ignored_text(ignored));
        }
        Ok(figures)
    };
    let datasets = config.datasets.iter().map(figures).collect::<Result<_, _>>()?;
    Ok((Answer { config: config.file.clone(), datasets }, Teller::Files))
}

/// Whether the service has this config, and all of it: it may not have been reloaded yet.
fn is_about(answer: &Answer, config: &Config) -> bool {
    let outputs = |one: &Figures, other: &Dataset| one.name == other.name && one.output == other.output;
    answer.config == config.file
        && answer.datasets.len() == config.datasets.len()
        && answer.datasets.iter().zip(&config.datasets).all(|(one, other)| outputs(one, other))
}

fn lines(status: &Figures, from: Teller) -> String {
    let output = text::path(&status.output);
    let mut lines = match (status.published_rows, status.rows) {
        // Whether somebody writes to it is told by its lock.
        (None, 0) if !status.running => format!("{}: {output} is not there\n", status.name),
        _ => {
            let running = if status.running { "a process is writing to it" } else { "no process is writing to it" };
            format!("{}: {} in {output}, {running}\n", status.name, text::array(&status.shape, &status.dtype))
        }
    };
    let mut line = |name: &str, value: String| lines.push_str(&format!("  {name:<12} {value}\n"));
    line("sources", format!("{} committed, {} rejected", text::count(status.sources), text::count(status.rejected)));
    line(
        "backlog",
        format!("{}, {}", text::number_of(status.backlog, "source", "sources"), text::bytes(status.backlog_bytes)),
    );
    let rate = status.rows_per_second.map(|rate| format!("{rate:.1} rows a second over the last minute"));
    let of_service = "not known of a log: only a service that has `listen` in its config tells";
    line("rate", rate.unwrap_or_else(|| of_service.to_owned()));
    if let (Some(median), Some(p95)) = (status.latency_median_seconds, status.latency_p95_seconds) {
        line("drop to row", format!("half within {median:.2} s, 95 % within {p95:.2} s"));
    }
    line("last commit", status.last_commit.clone().unwrap_or_else(|| "none yet".to_owned()));
    if status.published_rows.is_some_and(|published| published < status.rows) {
        line("published", format!("{} rows so far", text::count(status.published_rows.unwrap_or(0))));
    }
    let pause = status.paused.iter().map(|reason| ("paused", reason));
    let stop = status.stopped.iter().map(|reason| ("stopped", reason));
    for (name, reason) in stop.chain(pause).chain(status.problems.iter().map(|problem| ("problem", problem))) {
        line(name, text::one_line(reason));
    }
    if status.running && from == Teller::Files {
        line("paused", "not known: only a service that has `listen` in its config tells".to_owned());
    }
    lines
}
