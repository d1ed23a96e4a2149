//! `npy-ingest check`: what a run would do.

use std::path::Path;
use std::sync::Arc;

use super::failure::Failure;
use super::{DONE, FAILED, print, text};
use crate::config::{Config, Dataset, DecoderOptions, Paths};
use crate::decode::ffmpeg::{WORKER, find_worker, worker_version};
use crate::decode::{find_program, rows_of_each_source};
use crate::intake::{refuse_same_folders, survey};
use crate::ledger::LedgerView;
use crate::monitor::Figures;
use crate::recovery::{OpenError, look, wrong_labels};
use crate::storage::RealDisk;
use crate::writer::check_room;

pub fn run(config: &Config) -> Result<u8, Failure> {
    print(&format!(
        "{}: {}\n",
        text::path(&config.file),
        text::number_of(config.datasets.len() as u64, "dataset", "datasets")
    ))?;
    let mut code = DONE;
    for dataset in &config.datasets {
        let (lines, is_sound) = describe(dataset)?;
        print(&lines)?;
        code = if is_sound { code } else { FAILED };
    }
    Ok(code)
}

/// What a run would do, and whether it could.
fn describe(options: &Dataset) -> Result<(String, bool), Failure> {
    refuse_same_folders(&options.watch)
        .map_err(|reason| Failure::wrong_config(format!("dataset \"{}\": {reason}", options.name)))?;
    let mut problems = Vec::new();
    let new_settings = look(&RealDisk, options).or_else(|error| match error {
        OpenError::Settings(text) => Err(Failure::wrong_config(format!("dataset \"{}\": {text}", options.name))),
        error => {
            problems.push(text::joined(&error.to_string()));
            Ok(Vec::new())
        }
    })?;
    if problems.is_empty()
        && let Some(view) = LedgerView::open(&Paths::new(&options.output).ledger)?
    {
        let wrong = wrong_labels(&RealDisk, options, &view);
        problems.extend(wrong.unwrap_or_else(|error| Some(text::joined(&error.to_string()))));
    }
    problems.extend(
        check_room(&RealDisk, options, existing_folder(&options.output), 0).err().map(|fault| fault.to_string()),
    );
    let figures = Figures::of_files(options)?;
    let mut lines = format!("\n{}\n", options.name);
    let mut line = |name: &str, value: &str| lines.push_str(&format!("  {name:<9} {value}\n"));
    let array = text::array(&figures.shape, &figures.dtype);
    line("output", &format!("{}, now {array}", text::path(&options.output)));
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
    if let DecoderOptions::Command(command) = &options.decoder {
        match find_program(&command.argv, options) {
            Ok(program) => line("program", &text::path(&program)),
            Err(problem) => problems.push(problem),
        }
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
    problems.extend(survey.problems);
    for problem in &problems {
        line("problem", &text::one_line(problem));
    }
    Ok((lines, problems.is_empty()))
}

/// The folder of the output or, where it is to be made, the one above it.
fn existing_folder(output: &Path) -> &Path {
    output.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"))
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
