//! `[[dataset]]`: one output, what its rows are, and where they come from.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::decode::audio::EXTENSIONS as AUDIO_EXTENSIONS;
use crate::decode::image::EXTENSIONS as IMAGE_EXTENSIONS;
use crate::decode::video::EXTENSIONS as VIDEO_EXTENSIONS;

use super::files::OUTPUT_NAME_BYTES_MAX;
use super::item::{Item, Located};
use super::row::RowDraft;
use super::section::Section;
use super::watch::WatchDraft;
use super::world::{Columns, Commit, Dataset, DecoderOptions, MinFree};
use super::{audio, columns, command, commit, csv, follow, gps, image, npy_chunks, records, row, video, watch};

/// The decoder tables, with the extensions that they take by default; none means every file.
const DECODERS: [(&str, &[&str]); 8] = [
    ("image", IMAGE_EXTENSIONS),
    ("video", VIDEO_EXTENSIONS),
    ("audio", AUDIO_EXTENSIONS),
    ("records", &["bin", "dat", "log", "rec", "raw"]),
    ("csv", &["csv", "tsv", "txt"]),
    ("gps", &["nmea", "nma", "gpx", "log", "txt"]),
    ("npy", &["npy", "npz"]),
    ("command", &[]),
];
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
    let named = DECODERS.iter().map(|(name, _)| *name).find(|name| section.has(name));
    let row = row::read(&section, memory_bytes, named);
    let found = find_decoder(&section);
    let extensions = found.as_ref().map_or(&[] as &[&str], |(_, extensions, _)| extensions);
    let watch = watch::read(section.section("watch"), base, extensions);
    let name_of_decoder = found.as_ref().map(|(name, _, _)| *name);
    let decoder = found.and_then(|(name, _, section)| read_decoder(name, section, &row));
    // A program that makes rows one by one does not tell their times; one that is kept running may.
    let untimed = match &decoder {
        Some(DecoderOptions::Command(command)) if command.worker => None,
        _ => name_of_decoder,
    };
    let columns = columns::read(section.section("columns"), untimed);
    if decoder.as_ref().is_some_and(DecoderOptions::follows) {
        follow::check(&section, &watch.watch, &columns);
    }
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
    if name.chars().all(|c| c == '.') {
        // In the address of its page it would be another place.
        item.fault(format!("found {}, expected a letter, a digit, `_` or `-` in it", item.found()));
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
    let name_bytes = value.file_name().map_or(0, OsStr::len);
    if name_bytes > OUTPUT_NAME_BYTES_MAX {
        item.fault(format!(
            "found a file name of {name_bytes} bytes, expected at most {OUTPUT_NAME_BYTES_MAX}: the names of the files beside it \
             are longer",
        ));
        return None;
    }
    Some(Located { value, item })
}

/// The one decoder table: its name, its extensions, itself.
fn find_decoder<'a>(section: &Section<'a>) -> Option<(&'static str, &'static [&'static str], Section<'a>)> {
    let mut found = None;
    let mut is_misread = false;
    for (name, extensions) in DECODERS {
        let table = section.section(name);
        if !table.is_present() {
            is_misread |= section.has(name);
            continue;
        }
        match &found {
            None => found = Some((name, extensions, table)),
            Some((first, _, _)) => section.report().fault(
                table.span(),
                &section.key(name),
                format!("found a second decoder table beside `{first}`, expected exactly one"),
                Some("give each its own [[dataset]]".to_owned()),
            ),
        }
    }
    if found.is_none() && !is_misread {
        section.report().missing(
            section.span(),
            "dataset",
            "has no decoder table, expected exactly one",
            "add [dataset.image], all of whose keys have defaults, or that of another decoder".to_owned(),
        );
    }
    found
}

fn read_decoder(name: &str, section: Section<'_>, row: &RowDraft<'_>) -> Option<DecoderOptions> {
    match name {
        "audio" => audio::read(section, row).map(DecoderOptions::Audio),
        "records" => records::read(section, row).map(DecoderOptions::Records),
        "csv" => csv::read(section, row).map(DecoderOptions::Csv),
        "gps" => gps::read(section, row).map(DecoderOptions::Gps),
        "npy" => npy_chunks::read(section).map(DecoderOptions::Npy),
        "video" => video::read(section, row).map(DecoderOptions::Video),
        "command" => command::read(section).map(DecoderOptions::Command),
        _ => image::read(section, row).map(DecoderOptions::Image),
    }
}
