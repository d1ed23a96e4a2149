//! What has to be in the dataset, worked out from the workload alone.
//!
//! The order of sources within a stage is that of their names, and every id, row and class name follows from it, however
//! often the service was killed on the way. So the whole outcome is known beforehand, and any state on the way is a prefix
//! of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use npy_ingest::config::ColumnKind;
use npy_ingest::source::{Hash, Place};

use crate::workload::{Action, Content, Verdict, Workload};

/// A file that a user put into the drop folder.
#[derive(Debug, Clone)]
pub struct Source {
    pub content: Content,
    /// Where it was put, and where it was renamed to, below the drop folder.
    pub places: Vec<PathBuf>,
    /// The stage in whose beginning a user put another file in its place, if the service had left it there.
    pub replaced: Option<usize>,
    /// Its entry in the ledger. For a log: how many of its rows are taken.
    pub id: u64,
}

/// What the ledger has to say of a source.
#[derive(Debug, Clone)]
pub struct Expected {
    pub source: usize,
    pub fate: Fate,
    pub first_row: u64,
    pub rows: u64,
    /// A later entry takes the place of this one, which was rejected.
    pub forgotten_by: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Committed,
    Duplicate,
    Rejected,
}

/// See the module documentation.
#[derive(Debug, Clone)]
pub struct Model {
    pub sources: Vec<Source>,
    /// The entry with the id 1 is the first.
    pub entries: Vec<Expected>,
    /// Rows from the first that is not there at the start.
    pub main: Vec<u8>,
    pub columns: Vec<(ColumnKind, Vec<u8>)>,
    /// Class names, each with the first row that has it.
    pub labels: Vec<(String, u64)>,
    pub rows: u64,
}

/// Seconds from a source's start.
pub fn time_s(row: u64) -> f64 {
    row as f64 * 0.25
}

impl Model {
    pub fn new(workload: &Workload) -> Self {
        let kinds = ColumnKind::wanted(&workload.options.columns);
        let mut model = Self {
            sources: Vec::new(),
            entries: Vec::new(),
            main: Vec::new(),
            columns: kinds.into_iter().map(|kind| (kind, Vec::new())).collect(),
            labels: Vec::new(),
            rows: workload.rows_at_start,
        };
        let keeps = workload.options.watch.after == npy_ingest::config::Disposal::Keep;
        let keeps_rejected = workload.options.watch.rejected == npy_ingest::config::Disposal::Keep;
        // What lies in the drop folder: the source, and whether the ledger has it under this name.
        let mut there: BTreeMap<PathBuf, (usize, bool)> = BTreeMap::new();
        for (stage, actions) in workload.stages.iter().enumerate().take(workload.served.end) {
            for action in actions {
                match action {
                    Action::Put { below, content } => {
                        let number = model.sources.len();
                        if let Some((old, _)) = there.insert(below.clone(), (number, false)) {
                            model.sources[old].replaced = Some(stage);
                        }
                        let (content, places) = (*content, vec![below.clone()]);
                        model.sources.push(Source { content, places, replaced: None, id: 0 });
                    }
                    Action::Rename { from, to } => {
                        let (number, _) = there.remove(from).expect("there is something to rename");
                        model.sources[number].places.push(to.clone());
                        there.insert(to.clone(), (number, false));
                    }
                    Action::Grow { below, rows } => {
                        let (number, is_known) = there.get_mut(below).expect("there is something to write to");
                        model.sources[*number].content.rows = *rows;
                        *is_known = false;
                    }
                }
            }
            if stage < workload.served.start {
                continue;
            }
            for (below, (number, is_known)) in &mut there {
                if !*is_known {
                    *is_known = true;
                    model.take(workload, *number, below);
                }
            }
            there.retain(|_, (number, _)| {
                if workload.follows() {
                    return true;
                }
                let id = model.sources[*number].id;
                match model.entries[id as usize - 1].fate {
                    Fate::Rejected => keeps_rejected,
                    _ => keeps,
                }
            });
        }
        model
    }

    fn take(&mut self, workload: &Workload, number: usize, below: &Path) {
        if workload.follows() {
            let Source { content, id: taken, .. } = self.sources[number].clone();
            self.sources[number].id = content.rows;
            let place = Place { folder: 0, below: below.to_owned() };
            return self.add_rows(workload, 1, &place, content, taken);
        }
        // Found again under another name.
        if self.sources[number].id != 0 && self.sources[number].content.verdict != Verdict::Bad {
            return;
        }
        let content = self.sources[number].content;
        let id = self.entries.len() as u64 + 1;
        let place = Place { folder: 0, below: below.to_owned() };
        let skips = workload.options.watch.duplicates == npy_ingest::config::Duplicates::Skip;
        let is_there = |entry: &Expected| {
            entry.fate == Fate::Committed && self.sources[entry.source].content == content && entry.rows > 0
        };
        let fate = match content.verdict {
            Verdict::Bad => Fate::Rejected,
            _ if skips && self.entries.iter().any(is_there) => Fate::Duplicate,
            _ => Fate::Committed,
        };
        for entry in &mut self.entries {
            let has_this_name = self.sources[entry.source].places.last().is_some_and(|last| last == below);
            if entry.fate == Fate::Rejected && has_this_name && entry.forgotten_by.is_none() {
                entry.forgotten_by = Some(id);
            }
        }
        let rows = if fate == Fate::Committed { content.rows } else { 0 };
        self.entries.push(Expected { source: number, fate, first_row: self.rows, rows, forgotten_by: None });
        self.sources[number].id = id;
        if fate == Fate::Committed {
            self.add_rows(workload, id, &place, content, 0);
        }
    }

    /// From row `first` on.
    fn add_rows(&mut self, workload: &Workload, id: u64, place: &Place, content: Content, first: u64) {
        let label = match place.label() {
            Some(name) if workload.options.columns.label => {
                let known = self.labels.iter().position(|(known, _)| *known == name);
                known.unwrap_or_else(|| {
                    self.labels.push((name, self.rows));
                    self.labels.len() - 1
                }) as i64
            }
            _ => -1,
        };
        for row in first..content.rows {
            self.main.extend(content.row(row, workload.row_bytes()));
            for (kind, bytes) in &mut self.columns {
                match kind {
                    ColumnKind::Source => bytes.extend(id.to_le_bytes()),
                    ColumnKind::Index => bytes.extend(row.to_le_bytes()),
                    ColumnKind::Time => bytes.extend(time_s(row).to_le_bytes()),
                    ColumnKind::Label => bytes.extend(label.to_le_bytes()),
                    ColumnKind::Split => bytes.push(split(place, row)),
                }
            }
        }
        self.rows += content.rows - first;
    }

    /// The class names that rows below `rows` use.
    pub fn labels_below(&self, rows: u64) -> usize {
        self.labels.iter().filter(|(_, first_row)| *first_row < rows).count()
    }
}

/// `by = "row"` with two halves.
fn split(place: &Place, row: u64) -> u8 {
    let mut bytes = place.bytes().to_vec();
    bytes.push(0);
    bytes.extend(row.to_le_bytes());
    let hash: Hash = blake3::hash(&bytes);
    // The highest bit of a little-endian fraction of 2^64.
    hash.as_bytes()[7] >> 7
}
