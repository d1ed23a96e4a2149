//! `npy-ingest check`: what a run would do.

use super::failure::Failure;
use super::prospects::Prospects;
use super::{DONE, FAILED, print, text};
use crate::config::{Config, Dataset, DecoderOptions};
use crate::decode::ffmpeg::{WORKER, find_worker, worker_version};
use crate::decode::{find_program, rows_of_each_source};
use crate::intake::{Survey, refuse_same_folders};
use crate::recovery::{OpenError, look};
use crate::storage::RealDisk;

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
    let looked = look(&RealDisk, options);
    if let Err(OpenError::Settings(text)) = &looked {
        return Err(Failure::wrong_config(format!("dataset \"{}\": {text}", options.name)));
    }
    let Prospects { figures, survey, mut problems } = Prospects::of(options, looked.as_ref().err());
    let mut lines = format!("\n{}\n", options.name);
    let mut line = |name: &str, value: &str| lines.push_str(&format!("  {name:<9} {value}\n"));
    let array = text::array(&figures.shape, &figures.dtype);
    line("output", &format!("{}, now {array}", text::path(&options.output)));
    for setting in looked.iter().flatten() {
        line("setting", &format!("{}; it has no rows yet, and takes the new one", text::one_line(setting)));
    }
    for folder in &options.watch.folders {
        line("folder", &text::path(folder));
    }
    for (name, value) in survey.iter().flat_map(|survey| to_come(options, survey)) {
        line(name, &value);
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
    if let Some(survey) = survey {
        line("known", &known(&survey));
        problems.extend(survey.problems);
    }
    for problem in &problems {
        line("problem", &text::one_line(problem));
    }
    Ok((lines, problems.is_empty()))
}

/// How much is to be taken, and how much that gives.
fn to_come(options: &Dataset, survey: &Survey) -> [(&'static str, String); 2] {
    let sources = text::number_of(survey.new, "source", "sources");
    let row_bytes = options.row.row_bytes() as u64;
    let gives = match rows_of_each_source(&options.decoder) {
        Some(each) => {
            let new = survey.new * each;
            format!("{}, {}", text::number_of(new, "row", "rows"), text::bytes(new * row_bytes))
        }
        None if options.decoder.follows() => {
            format!("a row of {} for each record that is complete", text::bytes(row_bytes))
        }
        None => format!("at least one row each, of {}", text::bytes(row_bytes)),
    };
    [("to take", format!("{sources}, {}", text::bytes(survey.new_bytes))), ("gives", gives)]
}

/// The files that are there and are not to be taken.
fn known(survey: &Survey) -> String {
    let mut known = vec![format!("of the files there now: {} committed", text::count(survey.committed))];
    if survey.leaving > 0 {
        known.push(format!("{} committed, and still to be moved or deleted", text::count(survey.leaving)));
    }
    if survey.rejected > 0 {
        known.push(format!("{} rejected", text::count(survey.rejected)));
    }
    if survey.ignored > 0 {
        let ignored = text::count(survey.ignored);
        known.push(format!("{ignored} overwritten since, and disregarded (`changed = \"ignore\"`)"));
    }
    if survey.links > 0 {
        known.push(format!("{} (not followed)", text::number_of(survey.links, "symbolic link", "symbolic links")));
    }
    known.join(", ")
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
