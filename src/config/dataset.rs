//! `[[dataset]]`: one output, what its rows are, and where they come from.

use std::path::{Path, PathBuf};

use crate::decode::image::EXTENSIONS;

use super::item::{Item, Located};
use super::row::RowDraft;
use super::section::Section;
use super::watch::WatchDraft;
use super::world::{Columns, Commit, Dataset, DecoderOptions, MinFree};
use super::{columns, commit, image, row, watch};

/// The decoder tables of the contract that this version does not have.
const LATER_DECODERS: [&str; 7] = ["video", "audio", "records", "csv", "gps", "npy", "command"];
/// The longest name of a dataset, in characters: it stands in every line of the log.
const NAME_CHARS_MAX: usize = 64;

/// One dataset, as far as it could be read.
pub(super) struct DatasetDraft<'a> {
    pub(super) name: Option<Located<'a, String>>,
    base: PathBuf,
    pub(super) output: Option<Located<'a, PathBuf>>,
    pub(super) watch: WatchDraft<'a>,
    row: RowDraft<'a>,
    decoder: Option<DecoderOptions>,
    columns: Columns,
    commit: Commit,
}

impl DatasetDraft<'_> {
    /// The name for the messages of other datasets.
    pub(super) fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("dataset \"{}\"", name.value),
            None => "another dataset".to_owned(),
        }
    }

    /// `None` when a part of it could not be read; its fault was reported then.
    pub(super) fn finish(self, min_free: MinFree) -> Option<Dataset> {
        Some(Dataset {
            name: self.name?.value,
            base: self.base,
            output: self.output?.value,
            row: self.row.finish()?,
            watch: self.watch.watch,
            decoder: self.decoder?,
            columns: self.columns,
            commit: self.commit,
            min_free,
        })
    }
}

/// Reads one dataset. Relative paths are relative to `base`.
pub(super) fn read<'a>(section: Section<'a>, base: &Path, memory_bytes: Option<u64>) -> DatasetDraft<'a> {
    let name = section.required("name", "\"frames\"").and_then(read_name);
    let output = section.required("output", "\"data/frames.npy\"").and_then(|item| read_output(item, base));
    let row = row::read(&section, memory_bytes);
    let watch = watch::read(section.section("watch"), base, EXTENSIONS);
    let decoder = read_decoder(&section, &row);
    let columns = columns::read(section.section("columns"));
    let commit = commit::read(section.section("commit"));
    section.finish();
    DatasetDraft { name, base: base.to_owned(), output, watch, row, decoder, columns, commit }
}

fn read_name(item: Item<'_>) -> Option<Located<'_, String>> {
    let name = item.text("a name such as \"frames\"")?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(is_allowed) || name.chars().count() > NAME_CHARS_MAX {
        item.fault(format!(
            "found {}, expected up to {NAME_CHARS_MAX} of the characters A-Z, a-z, 0-9, `.`, `_` and `-`",
            item.found()
        ));
        return None;
    }
    Some(Located { value: name.to_owned(), item })
}

fn read_output<'a>(item: Item<'a>, base: &Path) -> Option<Located<'a, PathBuf>> {
    const WHAT: &str = "a file name that ends in \".npy\"";
    let value = item.path(base, WHAT)?;
    let ends_in_npy = item.text(WHAT)?.ends_with(".npy");
    // A file that is called ".npy" has no extension, and there would be no name for the files beside it.
    if !ends_in_npy || value.extension().is_none() {
        item.fault(format!("found {}, expected {WHAT} such as \"data/frames.npy\"", item.found()));
        return None;
    }
    Some(Located { value, item })
}

fn read_decoder(section: &Section<'_>, row: &RowDraft<'_>) -> Option<DecoderOptions> {
    let mut is_later = false;
    for name in LATER_DECODERS {
        if let Some(item) = section.reserved(name) {
            is_later = true;
            item.fault_with_help("this version decodes `image` only", "remove the table");
        }
    }
    let image = section.section("image");
    if image.is_present() {
        return image::read(image, row).map(DecoderOptions::Image);
    }
    if !is_later && !section.has("image") {
        section.report().missing(
            section.span(),
            "dataset",
            "has no decoder table, expected exactly one",
            "add [dataset.image]; all its keys have defaults".to_owned(),
        );
    }
    None
}
