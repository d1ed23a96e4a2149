//! `npy-ingest status`: where each dataset stands.

use std::path::Path;

use super::failure::Failure;
use super::prospects::Prospects;
use super::{DONE, FAILED, print, print_json, text};
use crate::config::Config;
use crate::monitor::{self, Answer, Figures, ignored_text};
use crate::recovery::{OpenError, look};
use crate::storage::RealDisk;

pub fn run(config: &Config, json: bool) -> Result<u8, Failure> {
    let Told { answer, teller, unread, silence } = ask(config);
    if json {
        print_json(&answer)?;
    } else {
        for figures in &answer.datasets {
            print(&lines(figures, teller, silence.as_deref(), unread.contains(&figures.name)))?;
        }
    }
    Ok(if unread.is_empty() { DONE } else { FAILED })
}

struct Told {
    answer: Answer,
    teller: Teller,
    /// Names of the datasets whose ledger cannot be read.
    unread: Vec<String>,
    /// Why the service did not tell, where the config says that it would.
    silence: Option<String>,
}

/// Who told the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Teller {
    Service,
    Files,
}

/// From the running service if it listens and has this config; else from the files, with a walk through the folders.
fn ask(config: &Config) -> Told {
    let mut silence = None;
    if let Some(address) = config.service.listen {
        match monitor::ask(address) {
            Ok(mut answer) if is_about(&answer, config) => {
                // The config may have been edited since.
                for (figures, options) in answer.datasets.iter_mut().zip(&config.datasets) {
                    if let Err(error @ OpenError::Settings(_)) = look(&RealDisk, options) {
                        figures.problems.push(text::joined(&error.to_string()));
                    }
                }
                return Told { answer, teller: Teller::Service, unread: Vec::new(), silence };
            }
            Ok(answer) => {
                silence = Some(format!("the service on {address} has {} as it was read", text::path(&answer.config)));
            }
            Err(error) => silence = Some(format!("the service does not answer on {address}: {error}")),
        }
    }
    let mut unread = Vec::new();
    let mut datasets = Vec::new();
    for options in &config.datasets {
        let refused = look(&RealDisk, options).err();
        let Prospects { mut figures, survey, problems } = Prospects::of(options, refused.as_ref());
        if refused.is_some() {
            // What the file tells of itself is a part of it.
            figures.problems.clear();
        }
        figures.problems.extend(problems);
        match survey {
            Some(survey) => {
                (figures.backlog, figures.backlog_bytes) = (survey.new, survey.new_bytes);
                figures.problems.extend(survey.problems);
                if survey.ignored > 0 {
                    figures.problems.push(ignored_text(survey.ignored));
                }
            }
            None => unread.push(figures.name.clone()),
        }
        datasets.push(figures);
    }
    Told { answer: Answer { config: config.file.clone(), datasets }, teller: Teller::Files, unread, silence }
}

/// Whether the service has this config, and all of it: it may not have been reloaded yet.
fn is_about(answer: &Answer, config: &Config) -> bool {
    // A path comes as text, also one that is none.
    let is_same = |one: &Path, other: &Path| one.to_string_lossy() == other.to_string_lossy();
    is_same(&answer.config, &config.file)
        && answer.datasets.len() == config.datasets.len()
        && answer
            .datasets
            .iter()
            .zip(&config.datasets)
            .all(|(one, other)| one.name == other.name && is_same(&one.output, &other.output))
}

/// `silence`: why the service does not tell.
fn lines(status: &Figures, from: Teller, silence: Option<&str>, is_unread: bool) -> String {
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
    let (committed, rejected) = (text::count(status.sources), text::count(status.rejected));
    let backlog = text::number_of(status.backlog, "source", "sources");
    let of_ledger = |value: String| if is_unread { "not known".to_owned() } else { value };
    line("sources", of_ledger(format!("{committed} committed, {rejected} rejected")));
    line("backlog", of_ledger(format!("{backlog}, {}", text::bytes(status.backlog_bytes))));
    let rate = status.rows_per_second.map(|rate| format!("{rate:.1} rows a second over the last minute"));
    let silence = silence.unwrap_or("only a service that has `listen` in its config tells");
    line("rate", rate.unwrap_or_else(|| format!("not known of a log: {silence}")));
    if let (Some(median), Some(p95)) = (status.latency_median_seconds, status.latency_p95_seconds) {
        line("drop to row", format!("half within {median:.2} s, 95 % within {p95:.2} s"));
    }
    line("last commit", of_ledger(status.last_commit.clone().unwrap_or_else(|| "none yet".to_owned())));
    if status.published_rows.is_some_and(|published| published < status.rows) {
        line("published", format!("{} rows so far", text::count(status.published_rows.unwrap_or(0))));
    }
    let pause = status.paused.iter().map(|reason| ("paused", reason));
    let stop = status.stopped.iter().map(|reason| ("stopped", reason));
    for (name, reason) in stop.chain(pause).chain(status.problems.iter().map(|problem| ("problem", problem))) {
        line(name, text::one_line(reason));
    }
    if status.running && from == Teller::Files {
        line("paused", format!("not known: {silence}"));
    }
    lines
}
