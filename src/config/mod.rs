//! The config: TOML text into the validated [`world`], or all its faults at once.
//!
//! The way of the text:
//!
//! `load (the file) -> syntax (TOML with recovery) -> section, item (typed values) -> service, dataset (one table each)
//! -> conflicts (what cannot be together) -> world`
//!
//! Rules that hold for every key:
//! - An unknown key, a wrong type and an impossible combination are faults. A key that is accepted does something.
//! - Nothing stops at the first fault. A reader reports it and goes on with the default, and [`parse`] gives a
//!   [`Config`] only if nothing was reported.
//! - Relative paths are relative to the folder of the config file. The result is absolute and free of `.` and `..`,
//!   by letters alone: folders need not exist yet. `~` is not expanded.
//! - Sizes are bytes, or strings with a unit; times always have a unit. See [`units`].
//! - Globs match the path below the watched folder, in either case; `*` stays within a folder, `**` does not.

mod audio;
mod choice;
mod columns;
mod command;
mod commit;
mod conflicts;
mod csv;
mod dataset;
mod fault;
mod files;
mod fingerprint;
mod follow;
mod gps;
mod image;
mod item;
mod npy_chunks;
mod paths;
mod records;
mod report;
mod row;
mod section;
mod service;
mod slots;
mod suggest;
mod syntax;
pub mod units;
mod video;
mod watch;
pub mod world;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(crate) use audio::CHANNELS_MAX as AUDIO_CHANNELS_MAX;
pub use choice::Choice;
pub use fault::{Fault, Faults};
pub use files::{ColumnKind, Paths};
pub use fingerprint::WITHOUT_MEANING;
pub use world::*;

use fault::Lines;
use item::Item;
use report::Report;
use section::Section;

/// The largest config, in bytes: 1 MiB. What is larger is some other file, given by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The most datasets of one config. Each has a ledger and files of its own, and they are compared with each other.
const DATASETS_MAX: usize = 256;

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "cannot read the config {}: {source}; give its path with --config, or begin with a copy of config.example.toml",
        file.display()
    )]
    Read { file: PathBuf, source: io::Error },
    #[error("{} is not a config: it is larger than {}", file.display(), units::size_text(FILE_BYTES_MAX))]
    TooLarge { file: PathBuf },
    /// TOML is UTF-8. `line` from 1.
    #[error("{}:{line}: the config is not UTF-8 text; save it as UTF-8", file.display())]
    NotText { file: PathBuf, line: usize },
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// Reads and validates a config file.
///
/// # Errors
/// The file cannot be read, is no text, or has faults: all of them.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { file: file.to_owned() });
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(parse(text, file)?),
        Err(error) => {
            let before = bytes.iter().take(error.valid_up_to());
            let line = before.filter(|byte| **byte == b'\n').count() + 1;
            Err(ConfigError::NotText { file: file.to_owned(), line })
        }
    }
}

/// Validates the text of a config. `file` names it in the faults, and relative paths start at its folder.
///
/// # Errors
/// All faults of the text.
pub fn parse(text: &str, file: &Path) -> Result<Config, Faults> {
    let mut report = Report::new(file, text);
    let source = syntax::Source::new(text, &report);
    let document = syntax::parse(&mut report, &source);
    let config = document.as_ref().and_then(|document| read(Section::root(&report, document), file));
    match (report.finish(), config) {
        (None, Some(config)) => Ok(config),
        (Some(faults), _) => Err(faults),
        (None, None) => {
            let message = "the config cannot be used, and no reason was found: please report this";
            Err(Faults::new(file, vec![Fault::new(file, &Lines::new(text), 0..0, "", message, None)]))
        }
    }
}

/// The whole file. `None` when a part of it could not be read; its fault was reported then.
fn read(root: Section<'_>, file: &Path) -> Option<Config> {
    let absolute = match std::path::absolute(file) {
        Ok(absolute) => paths::normalise(&absolute),
        Err(error) => {
            root.report().fault(0..0, "", format!("the folder of the config is not known: {error}"), None);
            return None;
        }
    };
    let base = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let service = service::read(root.section("service"));
    let drafts: Vec<_> = dataset_sections(&root)
        .into_iter()
        .map(|section| dataset::read(section, &base, service.memory_bytes))
        .collect();
    root.finish();
    conflicts::report(&drafts);
    Some(Config {
        file: absolute,
        service: Service {
            workers: service.workers,
            memory_bytes: service.memory_bytes?,
            listen: service.listen,
            min_free: service.min_free,
        },
        datasets: drafts.into_iter().map(|draft| draft.finish(service.min_free)).collect::<Option<_>>()?,
    })
}

/// The tables of all datasets. One that was opened as `[dataset]` is a fault, and read all the same.
fn dataset_sections<'a>(root: &Section<'a>) -> Vec<Section<'a>> {
    const NAME: &str = "dataset";
    let Some(item) = root.item(NAME) else {
        let help = "begin one with [[dataset]]; config.example.toml shows a whole one".to_owned();
        root.report().missing(0..0, NAME, "is missing, expected at least one dataset", help);
        return Vec::new();
    };
    if let Some(section) = Section::of(&item) {
        item.fault_with_help("found a single table, expected an array of tables", "write [[dataset]]");
        root.report().excuse_missing();
        return vec![section];
    }
    let elements = item.elements("an array of tables that begin with [[dataset]]").unwrap_or_default();
    if elements.is_empty() && item.value.get_ref().is_array() {
        item.fault_with_help("found [], expected at least one dataset", "begin one with [[dataset]]");
    }
    if elements.len() > DATASETS_MAX {
        item.fault(format!("found {} datasets, expected at most {DATASETS_MAX}", elements.len()));
        return Vec::new();
    }
    let section = |element: Item<'a>| {
        let section = Section::of(&element);
        if section.is_none() {
            element.fault(format!("found {}, expected a table that begins with [[dataset]]", element.found()));
        }
        section
    };
    elements.into_iter().filter_map(section).collect()
}
