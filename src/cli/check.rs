//! `npy-ingest check`: what a run would do.

use std::sync::Arc;

use super::failure::Failure;
use super::{DONE, print, text};
use crate::config::{Config, Dataset, DecoderOptions, Paths};
use crate::decode::ffmpeg::{WORKER, find_worker, worker_version};
use crate::decode::rows_of_each_source;
use crate::intake::{refuse_same_folders, survey};
use crate::ledger::LedgerView;
use crate::recovery::other_settings;

pub fn run(config: &Config) -> Result<u8, Failure> {
    print(&format!(
        "{}: {}\n",
        text::path(&config.file),
        text::number_of(config.datasets.len() as u64, "dataset", "datasets")
    ))?;
    for dataset in &config.datasets {
        print(&describe(dataset)?)?;
    }
    Ok(DONE)
}

fn describe(options: &Dataset) -> Result<String, Failure> {
    refuse_same_folders(&options.watch)
        .map_err(|reason| Failure::wrong_config(format!("dataset \"{}\": {reason}", options.name)))?;
    let paths = Paths::new(&options.output);
    let mut lines = format!("\n{}\n", options.name);
    let mut new_settings = Vec::new();
    let rows = match LedgerView::open(&paths.ledger)? {
        Some(view) => {
            let rows = view.state()?.rows;
            new_settings = other_settings(options, &view.schema()?, rows)
                .map_err(|error| Failure::wrong_config(format!("dataset \"{}\": {error}", options.name)))?;
            rows
        }
        None => 0,
    };
    let mut line = |name: &str, value: &str| lines.push_str(&format!("  {name:<9} {value}\n"));
    line("output", &format!("{}, now {}", text::path(&options.output), text::array(rows, &options.row)));
    for setting in &new_settings {
        line("setting", &format!("{}; it has no rows yet, and takes the new one", text::one_line(setting)));
    }
    for folder in &options.watch.folders {
        line("folder", &text::path(folder));
    }
    let survey = survey(&Arc::new(options.clone()))?;
    let sources = text::number_of(survey.new, "source", "sources");
    line("to take", &format!("{sources}, {}", text::bytes(survey.new_bytes)));
    let row_bytes = options.row.row_bytes() as u64;
    match rows_of_each_source(&options.decoder) {
        Some(each) => {
            let new = survey.new * each;
            let size = text::bytes(new * row_bytes);
            line("gives", &format!("{}, {size}", text::number_of(new, "row", "rows")));
        }
        None => line("gives", &format!("at least one row each, of {}", text::bytes(row_bytes))),
    }
    if matches!(options.decoder, DecoderOptions::Video(_)) {
        line("decoder", &video_worker());
    }
    let mut known = vec![format!("of the files there now: {} committed", text::count(survey.committed))];
    if survey.rejected > 0 {
        known.push(format!("{} rejected", text::count(survey.rejected)));
    }
    if survey.ignored > 0 {
        known.push(format!(
            "{} overwritten since, and disregarded (`changed = \"ignore\"`)",
            text::count(survey.ignored)
        ));
    }
    if survey.links > 0 {
        known.push(format!("{} (not followed)", text::number_of(survey.links, "symbolic link", "symbolic links")));
    }
    line("known", &known.join(", "));
    for problem in &survey.problems {
        line("problem", &text::one_line(problem));
    }
    Ok(lines)
}

/// Who decodes videos, and with which FFmpeg.
fn video_worker() -> String {
    let Some(program) = find_worker() else {
        return format!(
            "{WORKER} is neither beside npy-ingest nor in PATH: only GIF, APNG, WebP and Y4M are decoded; \
             docs/video.md says how to build it"
        );
    };
    let place = text::path(&program);
    match worker_version(&program) {
        Ok(version) => format!("{version}, at {place}"),
        Err(error) => format!("{place} cannot be run: {error}"),
    }
}
