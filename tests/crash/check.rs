//! What has to hold, and where: for a reader at any instant, after recovery, and in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use npy_ingest::config::{Disposal, Paths};
use npy_ingest::ledger::Fate as LedgerFate;
use npy_ingest::ledger::memory::Tables;
use npy_ingest::npy::{GrowingFile, Header, Layout};
use npy_ingest::storage::simulated::Image;
use npy_ingest::writer::home_of;

use crate::model::{Fate, Model};
use crate::workload::{DONE, DROP, FAILED, LOG_HEAD, LOG_RECORD, OUTPUT_FOLDER, Workload};
use crate::world::DATASETS_MAX;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which check found it.
    pub check: &'static str,
    pub text: String,
}

impl Violation {
    pub fn new(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{}] {}", self.check, self.text)
    }
}

macro_rules! ensure {
    ($holds:expr, $check:expr, $($text:tt)*) => {
        if !$holds {
            return Err(Violation::new($check, format!($($text)*)));
        }
    };
}

/// The rows that readers of each dataset see.
pub type Shown = [u64; DATASETS_MAX];

/// A workload and what has to come of it.
#[derive(Clone)]
pub struct Case {
    pub workload: Workload,
    pub model: Model,
    files: Vec<File>,
    /// Of the other dataset of the service.
    beside: Option<Box<Case>>,
}

/// One `.npy` file of the dataset.
#[derive(Clone)]
struct File {
    name: String,
    path: PathBuf,
    layout: Layout,
    /// Its rows from the first that is not there at the start.
    rows: Vec<u8>,
}

/// An instant, for the checks.
#[derive(Clone, Copy)]
pub struct Instant<'a> {
    pub image: &'a Image,
    pub tables: Option<&'a Tables>,
    pub placed: &'a [u64],
    pub stage: usize,
    pub acknowledged: u64,
}

impl Case {
    pub fn new(workload: Workload) -> Self {
        let model = Model::new(&workload);
        let paths = Paths::new(workload.output());
        let mut files: Vec<File> = Vec::new();
        for (kind, rows) in &model.columns {
            let (name, layout) = (format!("column {}", kind.name()), Layout::new(&kind.dtype(), &[]).unwrap());
            files.push(File { name, path: paths.column(*kind), layout, rows: rows.clone() });
        }
        let row = &workload.options.row;
        let layout = Layout::new(&row.dtype, &row.shape).unwrap();
        files.push(File { name: "main".to_owned(), path: paths.main, layout, rows: model.main.clone() });
        let beside = workload.beside.as_deref().cloned().map(|workload| Box::new(Self::new(workload)));
        Self { workload, model, files, beside }
    }

    /// Of each dataset of the service.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.beside.as_deref())
    }

    /// Of those that the service has in this stage, with their numbers.
    pub fn served(&self, stage: usize) -> impl Iterator<Item = (usize, &Self)> {
        self.all().enumerate().filter(move |(_, case)| case.workload.served.contains(&stage))
    }

    /// What a reader of each dataset sees.
    pub fn shown_of_all(&self, image: &Image) -> Shown {
        let mut shown = Shown::default();
        for (shown, case) in shown.iter_mut().zip(self.all()) {
            *shown = case.shown(image);
        }
        shown
    }

    fn main(&self) -> &File {
        self.files.last().expect("the main file comes last")
    }

    /// The count that a reader of the main file sees. 0 where there is no file.
    pub fn shown(&self, image: &Image) -> u64 {
        let main = self.main();
        let bytes = image.read_at(&main.path, main.layout.data_start() as usize, 0).unwrap_or_default();
        main.layout.matches(&bytes).unwrap_or(0)
    }

    /// What a program that opens the dataset at this instant finds, recovery or not.
    pub fn reader(&self, now: &Instant<'_>) -> Result<(), Violation> {
        let committed = now.tables.map_or(0, |tables| tables.state.rows);
        let mut main_rows = 0;
        for (number, file) in self.files.iter().enumerate().rev() {
            let is_main = number + 1 == self.files.len();
            let name = &file.name;
            let Some(size) = now.image.status(&file.path).map(|status| status.size) else {
                ensure!(main_rows == 0, "reader", "{main_rows} rows are published, and {name} is not there");
                continue;
            };
            let bytes = now.image.read_at(&file.path, file.layout.data_start() as usize, 0).unwrap_or_default();
            let header = Header::parse(&bytes);
            let Ok(header) = header else {
                return Err(Violation::new("reader", format!("{name} cannot be loaded: {}", header.unwrap_err())));
            };
            let is_ours =
                header.dtype == *file.layout.dtype() && header.shape.len() == 1 + file.layout.row_shape().len();
            ensure!(is_ours, "reader", "{name} is another array");
            let rows = header.shape.first().copied().unwrap_or(0);
            let needed = file.layout.data_start() + rows * file.layout.row_bytes();
            ensure!(size >= needed, "reader", "{name} says {rows} rows and has {size} bytes instead of {needed}");
            ensure!(rows <= committed, "I1", "{name} shows {rows} rows, the ledger has {committed}");
            if is_main {
                main_rows = rows;
            }
            ensure!(rows >= main_rows, "reader", "{name} has {rows} rows, the main file {main_rows}");
            self.rows_are_right(file, now.image, rows, "I3")?;
        }
        self.labels_suffice(now.image, main_rows)?;
        Ok(())
    }

    /// Every row below the count is as it has to be.
    fn rows_are_right(&self, file: &File, image: &Image, rows: u64, check: &'static str) -> Result<(), Violation> {
        let start = self.workload.rows_at_start;
        let name = &file.name;
        ensure!(rows == 0 || rows >= start, "I2", "{name} shows {rows} rows, and had {start}");
        let row_bytes = file.layout.row_bytes();
        let wanted = (rows.saturating_sub(start) * row_bytes) as usize;
        let expected = file.rows.get(..wanted);
        let Some(expected) = expected else {
            return Err(Violation::new("I5", format!("{name} shows {rows} rows, and only {} can be", self.model.rows)));
        };
        let found = image.read_at(&file.path, wanted, file.layout.data_start() + start * row_bytes).unwrap_or_default();
        if found != expected {
            let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count() as u64;
            let row = start + same / row_bytes;
            return Err(Violation::new(
                check,
                format!("row {row} of {rows} in {name} is not the one that was committed"),
            ));
        }
        Ok(())
    }

    fn labels(&self, image: &Image) -> Result<Option<Vec<String>>, Violation> {
        let path = Paths::new(self.workload.output()).labels;
        let Some(bytes) = image.read(&path) else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(names) => Ok(Some(names)),
            Err(error) => Err(Violation::new("labels", format!("labels.json cannot be read: {error}"))),
        }
    }

    /// Every published label has its name.
    fn labels_suffice(&self, image: &Image, rows: u64) -> Result<(), Violation> {
        if !self.workload.options.columns.label {
            return Ok(());
        }
        let names = self.labels(image)?.unwrap_or_default();
        let needed = self.model.labels_below(rows);
        ensure!(
            names.len() >= needed,
            "labels",
            "{rows} published rows use {needed} class names, and labels.json has {}",
            names.len()
        );
        let is_prefix = names.iter().zip(&self.model.labels).all(|(found, (expected, _))| found == expected);
        ensure!(is_prefix && names.len() <= self.model.labels.len(), "labels", "labels.json has {names:?}");
        Ok(())
    }

    /// What has been promised is in the ledger, and nothing else is.
    pub fn ledger(&self, now: &Instant<'_>) -> Result<(), Violation> {
        let Some(tables) = now.tables else {
            ensure!(now.acknowledged == 0, "acknowledged", "{} rows are gone with the ledger", now.acknowledged);
            return Ok(());
        };
        let rows = tables.state.rows;
        ensure!(rows >= now.acknowledged, "acknowledged", "{} rows were confirmed, {rows} are there", now.acknowledged);
        if self.workload.follows() {
            return self.logs(tables);
        }
        let next = tables.state.next_source_id;
        // What was moved away is still rejected, unless a crash came before that was noted.
        let is_moved = matches!(self.workload.options.watch.rejected, Disposal::Move(_));
        let is_there = |id: u64| tables.entries.iter().any(|entry| entry.id == id && entry.moved_to.is_some());
        let visible = self.model.entries.iter().zip(1..).filter(|(entry, id)| {
            *id < next && (entry.forgotten_by.is_none_or(|by| by >= next) || (is_moved && is_there(*id)))
        });
        let visible: Vec<_> = visible.collect();
        ensure!(
            tables.entries.len() == visible.len(),
            "I5",
            "the ledger has {} sources, and {} are below id {next}",
            tables.entries.len(),
            visible.len()
        );
        let mut end = self.workload.rows_at_start;
        for (found, (expected, id)) in tables.entries.iter().zip(visible) {
            let source = &self.model.sources[expected.source];
            let places = source.places.iter().any(|place| found.path == Path::new("drop").join(place));
            ensure!(
                found.id == id && places,
                "I5",
                "source {id} is {} instead of {:?}",
                found.path.display(),
                source.places
            );
            let fate = match &found.fate {
                LedgerFate::Rejected { .. } => (Fate::Rejected, 0, 0),
                LedgerFate::Committed(committed) if committed.note.is_some() => (Fate::Duplicate, 0, 0),
                LedgerFate::Committed(committed) => (Fate::Committed, committed.first_row, committed.rows),
            };
            let wanted = match expected.fate {
                Fate::Committed => (Fate::Committed, expected.first_row, expected.rows),
                other => (other, 0, 0),
            };
            ensure!(fate == wanted, "I5", "source {id} is in the ledger as {fate:?} instead of {wanted:?}");
            if expected.fate == Fate::Committed {
                ensure!(expected.first_row == end, "I5", "source {id} begins at row {end}");
                end += expected.rows;
            }
        }
        ensure!(end == rows, "I5", "the ledger counts {rows} rows, and its sources have {end}");
        Ok(())
    }

    /// The parts of each log go on where those before them ended, in the file and in the array.
    fn logs(&self, tables: &Tables) -> Result<(), Violation> {
        let mut end_row = 0;
        let mut stands: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for entry in tables.entries.iter() {
            let (Some(part), LedgerFate::Committed(committed)) = (&entry.part, &entry.fate) else {
                return Err(Violation::new("I5", format!("source {} is no part of a log", entry.id)));
            };
            let (end, index) = stands.get(&part.log).copied().unwrap_or((LOG_HEAD, 0));
            let text = || format!("source {} ({})", entry.id, entry.path.display());
            let is_first = !stands.contains_key(&part.log);
            ensure!(is_first == (part.log == entry.id), "I5", "{} is part of log {}", text(), part.log);
            ensure!(part.begin == end && part.first_index == index, "I5", "{} does not go on at byte {end}", text());
            ensure!(part.end == end + committed.rows * LOG_RECORD, "I5", "{} has {} rows", text(), committed.rows);
            ensure!(committed.first_row == end_row, "I5", "{} begins at row {}", text(), committed.first_row);
            end_row += committed.rows;
            stands.insert(part.log, (part.end, index + committed.rows));
        }
        ensure!(end_row == tables.state.rows, "I5", "{end_row} rows of {} are told of", tables.state.rows);
        Ok(())
    }

    /// No source is lost, and none is there twice.
    pub fn sources(&self, now: &Instant<'_>, is_end: bool) -> Result<(), Violation> {
        if self.workload.follows() {
            // Logs stay: nothing touches them.
            let is_there = |inode: &&u64| now.image.names_of(**inode).len() == 1;
            let there = now.placed.iter().filter(is_there).count();
            ensure!(there == now.placed.len(), "I4", "{there} of {} logs are there", now.placed.len());
            return Ok(());
        }
        let watch = &self.workload.options.watch;
        for (number, (source, inode)) in self.model.sources.iter().zip(now.placed).enumerate() {
            let entry = &self.model.entries[source.id as usize - 1];
            let is_settled = now.tables.is_some_and(|tables| source.id < tables.state.next_source_id);
            let disposal = if entry.fate == Fate::Rejected { &watch.rejected } else { &watch.after };
            let place = source.places.last().expect("every source has a place");
            if source.replaced.is_some_and(|stage| stage <= now.stage) && *disposal == Disposal::Keep {
                continue;
            }
            let names = now.image.names_of(*inode);
            // Set aside is at home as well.
            let at_home = names.iter().any(|name| {
                source.places.iter().map(|place| Path::new(DROP).join(place)).any(|home| home_of(name) == home)
            });
            let text = || format!("source {number} ({}) is at {names:?}", place.display());
            ensure!(names.len() <= 1, "sources", "{}: twice", text());
            if !is_settled || *disposal == Disposal::Keep {
                ensure!(at_home, "I4", "{}, and its fate is not decided or it is to stay", text());
                let content = names.first().and_then(|name| now.image.read(name));
                ensure!(content == Some(source.content.encode()), "sources", "{}: its content changed", text());
                continue;
            }
            match disposal {
                Disposal::Keep => {}
                Disposal::Delete => ensure!(!(is_end && at_home), "sources", "{}: it was to be deleted", text()),
                Disposal::Move(target) if self.workload.other_device => {
                    let copies = copies(now.image, &source.content.encode(), &target.join(place));
                    ensure!(at_home || !copies.is_empty(), "sources", "{}: lost on its way to another device", text());
                    ensure!(copies.len() <= 1, "sources", "{}, and copied to {copies:?}", text());
                    ensure!(!(is_end && at_home), "sources", "{}: it was to be moved", text());
                    if entry.fate == Fate::Rejected && is_end {
                        self.reason(now, &copies[0])?;
                    }
                }
                Disposal::Move(target) => {
                    ensure!(names.len() == 1, "sources", "{}: lost while it was moved", text());
                    let is_moved = names.iter().all(|name| name.starts_with(target));
                    ensure!(at_home || is_moved, "sources", "{}", text());
                    ensure!(!(is_end && at_home), "sources", "{}: it was to be moved", text());
                    let content = names.first().and_then(|name| now.image.read(name));
                    ensure!(content == Some(source.content.encode()), "sources", "{}: its content changed", text());
                    if entry.fate == Fate::Rejected && is_moved && is_end {
                        self.reason(now, &names[0])?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A rejected source that was moved has its reason beside it.
    fn reason(&self, now: &Instant<'_>, moved: &Path) -> Result<(), Violation> {
        let mut name = moved.file_name().unwrap_or_default().to_owned();
        name.push(".reason.txt");
        let text = now.image.read(&moved.with_file_name(name));
        ensure!(text.as_deref() == Some(b"it is bad\n"), "reason", "{} has no reason beside it", moved.display());
        Ok(())
    }

    /// After recovery, and whenever nothing is staged: every file is exactly the committed rows.
    pub fn whole(&self, image: &Image, tables: &Tables) -> Result<(), Violation> {
        let rows = tables.state.rows;
        for file in &self.files {
            let name = &file.name;
            let needed = file.layout.data_start() + rows * file.layout.row_bytes();
            let size = image.status(&file.path).map(|status| status.size);
            ensure!(size == Some(needed), "length", "{name} has {size:?} bytes, and {rows} rows need {needed}");
            let bytes = image.read_at(&file.path, file.layout.data_start() as usize, 0).unwrap_or_default();
            let shown = file.layout.matches(&bytes);
            ensure!(shown == Ok(rows), "published", "{name} shows {shown:?} of {rows} committed rows");
            self.rows_are_right(file, image, rows, "rows")?;
        }
        if self.workload.options.columns.label {
            let names = self.labels(image)?.unwrap_or_default();
            ensure!(names == *tables.labels, "labels", "labels.json has {names:?}, the ledger {:?}", tables.labels);
        }
        Ok(())
    }

    /// After a batch was abandoned: no file is longer than its committed rows.
    pub fn cut_back(&self, image: &Image, tables: &Tables) -> Result<(), Violation> {
        let rows = tables.state.rows;
        for file in &self.files {
            let needed = file.layout.data_start() + rows * file.layout.row_bytes();
            let size = image.status(&file.path).map(|status| status.size);
            let name = &file.name;
            ensure!(size == Some(needed), "cut back", "{name} has {size:?} bytes, and {rows} rows need {needed}");
        }
        Ok(())
    }

    /// Nothing lies about in the output folder that nothing refers to.
    pub fn tidy(&self, image: &Image) -> Result<(), Violation> {
        let mut known: BTreeSet<PathBuf> = BTreeSet::new();
        for case in self.all() {
            known.extend(case.files.iter().map(|file| file.path.clone()));
            let labels = Paths::new(case.workload.output()).labels;
            // One that was begun and not renamed is replaced when the next class name comes.
            known.insert(labels.with_extension("json.tmp"));
            known.insert(labels);
        }
        // What was begun of a new file and not renamed is removed by a start that can list the folder, once its process is gone.
        let is_unfinished = |path: &Path| {
            let begun = |file: &PathBuf| GrowingFile::creator_of(file, path.file_name().unwrap_or_default()).is_some();
            self.all().any(|case| case.files.iter().any(|file| begun(&file.path)))
        };
        for path in image.files_below(Path::new(OUTPUT_FOLDER)) {
            ensure!(known.contains(&path) || is_unfinished(&path), "tidy", "{} is left over", path.display());
        }
        Ok(())
    }

    /// The workload is done: everything is there, and every source is where it belongs.
    pub fn end(&self, now: &Instant<'_>) -> Result<(), Violation> {
        let Some(tables) = now.tables else { return Err(Violation::new("end", "there is no ledger")) };
        ensure!(
            tables.state.rows == self.model.rows,
            "end",
            "{} of {} rows are there",
            tables.state.rows,
            self.model.rows
        );
        let next = self.model.entries.len() as u64 + 1;
        let is_next = self.workload.follows() || tables.state.next_source_id == next;
        ensure!(is_next, "end", "the next source is {}", tables.state.next_source_id);
        self.ledger(now)?;
        self.whole(now.image, tables)?;
        for folder in [DONE, FAILED].map(Path::new) {
            let moved = now.image.files_below(folder);
            let half = moved.iter().find(|path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".")));
            ensure!(half.is_none(), "tidy", "{half:?} is left over");
        }
        self.sources(now, true)
    }
}

/// The copies of a file under this name, or under one that it gets where that is taken.
fn copies(image: &Image, content: &[u8], wanted: &Path) -> Vec<PathBuf> {
    let parts = |path: &Path| (path.file_stem().map(PathBuf::from), path.extension().map(OsStr::to_owned));
    let (stem, extension) = parts(wanted);
    let is_meant = |path: &PathBuf| {
        let (found, found_extension) = parts(path);
        let (without_number, number) = parts(found.as_deref().unwrap_or(Path::new("")));
        let is_numbered = number.and_then(|number| number.to_str()?.parse::<u32>().ok()).is_some();
        found_extension == extension && (found == stem || (is_numbered && without_number == stem))
    };
    let beside = image.files_below(wanted.parent().unwrap_or(Path::new("/")));
    let named = beside.into_iter().filter(|path| path.parent() == wanted.parent() && is_meant(path));
    named.filter(|path| image.read(path).as_deref() == Some(content)).collect()
}
