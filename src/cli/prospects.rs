//! What a run would find, and what it would fail of: for `check` and `status`. Nothing is changed.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::text;
use crate::config::{ColumnKind, Dataset, Disposal, Paths};
use crate::decode::rows_of_each_source;
use crate::intake::{Survey, survey};
use crate::ledger::{LedgerError, LedgerView};
use crate::monitor::Figures;
use crate::recovery::{OpenError, wrong_labels};
use crate::storage::{RealDisk, check_writable};
use crate::writer::check_room;

pub struct Prospects {
    /// With the problems of the files themselves.
    pub figures: Figures,
    /// `None`: the ledger cannot be read, so what is new is not known.
    pub survey: Option<Survey>,
    /// What else a run would fail of.
    pub problems: Vec<String>,
}

impl Prospects {
    /// `refused`: why a start would refuse the dataset as it is, which is told first.
    pub fn of(options: &Dataset, refused: Option<&OpenError>) -> Self {
        let mut problems: Vec<String> = refused.map(|error| text::joined(&error.to_string())).into_iter().collect();
        let mut is_readable = true;
        let mut tell = |error: &LedgerError| {
            is_readable = false;
            let error = text::joined(&error.to_string());
            if !problems.contains(&error) {
                problems.push(error);
            }
        };
        let figures = Figures::of_files(options).unwrap_or_else(|error| {
            tell(&error);
            Figures { problems: Vec::new(), ..Figures::without_ledger(options, &error) }
        });
        let survey = survey(&Arc::new(options.clone())).map_err(|error| tell(&error)).ok();
        let survey = survey.filter(|_| is_readable);
        if problems.is_empty() {
            problems.extend(other_class_names(options));
        }
        // Another process may write, whatever this one may do.
        if !figures.running {
            problems.extend(outputs_that_cannot_be_written(options));
        }
        problems.extend(targets_that_cannot_be_had(options));
        problems.extend(little_room(options, survey.as_ref()));
        Self { figures, survey, problems }
    }
}

fn other_class_names(options: &Dataset) -> Option<String> {
    let view = LedgerView::open(&Paths::new(&options.output).ledger).ok()??;
    wrong_labels(&RealDisk, options, &view).unwrap_or_else(|error| Some(text::joined(&error.to_string())))
}

/// The rows that will come beside `min_free`, where it is known how many; else `min_free` alone.
fn little_room(options: &Dataset, survey: Option<&Survey>) -> Option<String> {
    let columns = ColumnKind::wanted(&options.columns).into_iter().map(|kind| kind.dtype().itemsize() as u64);
    let row_bytes = options.row.row_bytes() as u64 + columns.sum::<u64>();
    let rows = survey.and_then(|survey| Some(rows_of_each_source(&options.decoder)?.saturating_mul(survey.new)));
    let needed = rows.unwrap_or(0).saturating_mul(row_bytes);
    let fault = check_room(&RealDisk, options, existing_folder(&options.output), needed).err()?;
    Some(fault.to_string())
}

/// The folder of the output or, where it is to be made, the one above it.
fn existing_folder(output: &Path) -> &Path {
    output.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"))
}

/// The folder that files are made in, and the files that are there.
fn outputs_that_cannot_be_written(options: &Dataset) -> Option<String> {
    let paths = Paths::new(&options.output);
    let columns = ColumnKind::wanted(&options.columns).into_iter().map(|kind| paths.column(kind));
    let files = [paths.main.clone(), paths.ledger.clone()].into_iter().chain(columns).filter(|file| file.exists());
    [existing_folder(&options.output).to_owned()].into_iter().chain(files).find_map(|path| unwritable(&path))
}

fn unwritable(path: &Path) -> Option<String> {
    let error = check_writable(path).err()?;
    let way_out = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => "mount its disk for writing",
        _ => "give this user the right to",
    };
    Some(format!("{} cannot be written to ({error}): {way_out}, or choose another path", path.display()))
}

/// Folders that sources are moved to and that neither are there nor could be made.
fn targets_that_cannot_be_had(options: &Dataset) -> Vec<String> {
    let targets = [("move_to", &options.watch.after), ("rejected_to", &options.watch.rejected)];
    let named = targets.into_iter().filter_map(|(key, disposal)| match disposal {
        Disposal::Move(target) => Some((key, target)),
        Disposal::Keep | Disposal::Delete => None,
    });
    named
        .filter_map(|(key, target)| {
            Some(format!("nothing can be moved to {} (`{key}`): {}", target.display(), why_not_had(target)?))
        })
        .collect()
}

fn why_not_had(folder: &Path) -> Option<String> {
    for place in folder.ancestors() {
        let shown = place.display();
        match fs::metadata(place) {
            Ok(found) if found.is_dir() => return unwritable(place),
            Ok(_) => return Some(format!("{shown} is no folder: move it away, or choose another one")),
            Err(error) if error.kind() == ErrorKind::NotFound && place.is_symlink() => {
                return Some(format!("{shown} is a link to what is not there: make that folder, or remove the link"));
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Some(format!("looking for {shown}: {error}")),
        }
    }
    None
}
