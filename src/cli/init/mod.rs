//! `npy-ingest init FOLDER`: looks at a folder and prints a config for what most of its files are.
//!
//! | kind | rows |
//! |---|---|
//! | `pictures` | of the size that all have, else 224 x 224 |
//! | `videos` | frames of 224 x 224, one a second |
//! | `sounds` | windows of one second |
//! | `tables` | CSV: a field for each column, of the type that the first lines show |
//! | `tracks` | NMEA and GPX: position, time and motion |
//! | `arrays` | `.npy` files of other programs: as most of them have their rows |

mod arrays;
mod pictures;
mod sounds;
mod tables;
mod tracks;
mod videos;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::array_file::is_of_dataset;
use super::failure::Failure;
use super::{DONE, print, text};
use crate::config;
use crate::decode::{audio, image, video};

/// Files that are looked at; a folder of a million is like its first ten thousand.
const FILES_MAX: usize = 10_000;
/// Folders nested deeper than this are not entered.
const DEPTH_MAX: usize = 16;
/// Files of a kind that are opened.
const OPENED_MAX: usize = 200;
/// The usual side of what networks are trained on.
const SIDE: u32 = 224;
/// The longest name of a dataset that is made of a folder's.
const NAME_CHARS_MAX: usize = 48;
/// Extensions of others that are named.
const EXTENSIONS_NAMED: usize = 8;

/// What files may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Picture,
    Video,
    Sound,
    Table,
    Track,
    Array,
}

impl Kind {
    /// What an extension, in lower case, stands for. Containers of pictures and sound are videos; an animation is a picture.
    fn of(extension: &str) -> Option<Self> {
        match extension {
            _ if image::EXTENSIONS.contains(&extension) => Some(Self::Picture),
            _ if video::EXTENSIONS.contains(&extension) => Some(Self::Video),
            _ if audio::EXTENSIONS.contains(&extension) => Some(Self::Sound),
            _ if tables::EXTENSIONS.contains(&extension) => Some(Self::Table),
            _ if tracks::EXTENSIONS.contains(&extension) => Some(Self::Track),
            _ if arrays::EXTENSIONS.contains(&extension) => Some(Self::Array),
            _ => None,
        }
    }

    /// The dataset's name where the folder's gives none.
    fn name(self) -> &'static str {
        match self {
            Self::Picture => "pictures",
            Self::Video => "videos",
            Self::Sound => "sound",
            Self::Table => "table",
            Self::Track => "tracks",
            Self::Array => "arrays",
        }
    }
}

/// What is in the folder.
#[derive(Default)]
struct Contents {
    /// Extension in lower case, empty where there is none, and how many files have it.
    extensions: BTreeMap<String, usize>,
    files: usize,
    /// Symbolic links, which are not followed.
    links: usize,
    /// Arrays that are a dataset's own.
    of_datasets: Vec<PathBuf>,
    /// The first files of each kind.
    first: BTreeMap<Kind, Vec<PathBuf>>,
    /// Names of the folders directly in it that hold files of the kind, and how many.
    folders: BTreeMap<Kind, BTreeMap<String, usize>>,
    is_cut_off: bool,
}

/// What a kind has to say in the config.
struct Advice {
    /// What its files are like, for the first line.
    found: String,
    /// `shape` and `dtype`.
    row: String,
    /// The decoder's table, and what follows it.
    decoder: String,
}

/// Where the config takes files from, and where it puts its array.
struct Places<'a> {
    folder: &'a Path,
    /// The folder for the folder of the output; empty for that of the config.
    outputs: &'a Path,
    /// The line of `exclude`, where there is one.
    excluded: &'a str,
}

pub fn run(folder: &Path) -> Result<u8, Failure> {
    let mut contents = Contents::default();
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if absolute.to_str().is_none() {
        return Err(Failure::failed(format!(
            "{}: the path is not UTF-8 text, which a config is, so that none can name it: rename the folder",
            text::path(&absolute)
        )));
    }
    fs::read_dir(folder)
        .map_err(|error| Failure::failed(format!("{}: {error}; give a folder with files in it", text::path(folder))))?;
    look(folder, 0, None, &mut contents);
    let count = |kind: &Kind| contents.of(*kind).map(|(_, count)| count).sum::<usize>();
    // Of equally many the first kind: `max_by_key` gives the last.
    let Some(kind) = contents.first.keys().rev().max_by_key(|kind| count(kind)).copied() else {
        return Err(nothing(folder, &contents));
    };
    let files = contents.first.get(&kind).map(Vec::as_slice).unwrap_or_default();
    let advice = match kind {
        Kind::Picture => pictures::advise(files, contents.folders.get(&kind)),
        Kind::Video => videos::advise(),
        Kind::Sound => sounds::advise(files),
        Kind::Table => tables::advise(files).map_err(Failure::failed)?,
        Kind::Track => tracks::advise(),
        Kind::Array => {
            arrays::advise(files).map_err(|why| Failure::failed(format!("{}: {why}", text::path(folder))))?
        }
    };
    // Most save it where they are.
    let here = std::env::current_dir().unwrap_or_default();
    let is_inside = folder.canonicalize().is_ok_and(|folder| here.starts_with(folder));
    // An array must not come into the folder that arrays are taken from.
    let outputs = if kind == Kind::Array && is_inside { absolute.parent().unwrap_or(&absolute) } else { Path::new("") };
    let excluded = if kind == Kind::Array { exclude(folder, &contents.of_datasets) } else { String::new() };
    let places = Places { folder: &absolute, outputs, excluded: &excluded };
    let config = write(&places, &contents, kind, &advice);
    // What is printed must be right: it is judged as any config is.
    config::parse(&config, &here.join("ingest.toml"))
        .map_err(|faults| Failure::failed(format!("the config for this folder has faults: {faults}")))?;
    print(&config)?;
    Ok(DONE)
}

/// Leaves out a dataset's own arrays, beside what is left out anyway.
fn exclude(folder: &Path, files: &[PathBuf]) -> String {
    if files.is_empty() {
        return String::new();
    }
    let below = files.iter().map(|path| path.strip_prefix(folder).unwrap_or(path).to_string_lossy());
    let globs = below.map(|name| toml_string(&globset::escape(&name)));
    let always = ["**/.*", "**/*.part", "**/*.tmp"].map(toml_string);
    format!("exclude = [{}]\n", always.into_iter().chain(globs).collect::<Vec<_>>().join(", "))
}

fn nothing(folder: &Path, contents: &Contents) -> Failure {
    let mut found: Vec<String> =
        list(contents.extensions.iter().map(|(extension, count)| (extension.as_str(), *count)));
    found.extend(contents.others());
    let found = if found.is_empty() { "no files".to_owned() } else { found.join(", ") };
    Failure::failed(format!(
        "{}: found {found}; expected pictures, videos, sound, tables ({}), tracks ({}) or arrays ({}). Binary logs are read by \
         [dataset.records] (docs/logs.md), everything else by a program of yours in [dataset.command] (docs/command.md)",
        text::path(folder),
        tables::EXTENSIONS.join(", "),
        tracks::EXTENSIONS.join(", "),
        arrays::EXTENSIONS.join(", "),
    ))
}

/// Extensions with how many files have each: `2 .csv`.
fn list<'a>(extensions: impl Iterator<Item = (&'a str, usize)>) -> Vec<String> {
    let mut shown = Vec::new();
    let mut more = 0;
    for (extension, count) in extensions {
        let files = text::count(count as u64);
        match extension {
            _ if shown.len() == EXTENSIONS_NAMED => more += count as u64,
            "" => shown.push(format!("{files} without an extension")),
            _ => shown.push(format!("{files} .{}", text::one_line(extension))),
        }
    }
    if more > 0 {
        shown.push(text::number_of(more, "other file", "other files"));
    }
    shown
}

impl Contents {
    /// The extensions of a kind, with how many files have them.
    fn of(&self, kind: Kind) -> impl Iterator<Item = (&str, usize)> {
        self.extensions
            .iter()
            .filter(move |(extension, _)| Kind::of(extension) == Some(kind))
            .map(|(extension, count)| (extension.as_str(), *count))
    }

    /// What is no file to take whatever its name, in words.
    fn others(&self) -> Vec<String> {
        let links = text::number_of(self.links as u64, "symbolic link", "symbolic links");
        let arrays = text::number_of(self.of_datasets.len() as u64, "array", "arrays");
        let links = (self.links > 0).then(|| format!("{links} (not followed: give the folder that has the files)"));
        links
            .into_iter()
            .chain((!self.of_datasets.is_empty()).then(|| format!("{arrays} of a dataset of npy-ingest")))
            .collect()
    }

    /// What the config leaves out, as lines of comments.
    fn left_out(&self, kind: Kind) -> String {
        let of = |is_known: bool| {
            let others = self.extensions.iter().map(|(extension, count)| (extension.as_str(), *count));
            list(others.filter(|(extension, _)| match Kind::of(extension) {
                Some(other) => is_known && other != kind,
                None => !is_known,
            }))
        };
        let (known, unknown) = (of(true), [of(false), self.others()].concat());
        let mut lines = String::new();
        if !known.is_empty() {
            let known = known.join(", ");
            lines.push_str(&format!(
                "# Not taken: {known}. Each kind is a dataset of its own: run init on a folder with that kind alone.\n"
            ));
        }
        if !unknown.is_empty() {
            lines.push_str(&format!("# Not taken: {}.\n", unknown.join(", ")));
        }
        lines
    }
}

fn look(folder: &Path, depth: usize, top: Option<&str>, contents: &mut Contents) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if contents.files >= FILES_MAX {
            contents.is_cut_off = true;
            return;
        }
        let (name, Ok(file_type)) = (entry.file_name().to_string_lossy().into_owned(), entry.file_type()) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if file_type.is_dir() && depth < DEPTH_MAX {
            look(&path, depth + 1, Some(top.unwrap_or(&name)), contents);
        } else if file_type.is_symlink() {
            contents.links += 1;
        } else if file_type.is_file() {
            contents.files += 1;
            let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
            let extension = extension.unwrap_or_default();
            if Kind::of(&extension) == Some(Kind::Array) && is_of_dataset(&path) {
                contents.of_datasets.push(path);
                continue;
            }
            if let Some(kind) = Kind::of(&extension) {
                if let Some(top) = top {
                    *contents.folders.entry(kind).or_default().entry(top.to_owned()).or_default() += 1;
                }
                let first = contents.first.entry(kind).or_default();
                if first.len() < OPENED_MAX {
                    first.push(path);
                }
            }
            *contents.extensions.entry(extension).or_default() += 1;
        }
    }
}

fn write(places: &Places<'_>, contents: &Contents, kind: Kind, advice: &Advice) -> String {
    let Places { folder, outputs, excluded } = places;
    let known: Vec<(&str, usize)> = contents.of(kind).collect();
    let kinds: Vec<String> =
        known.iter().map(|(extension, count)| format!("{} .{extension}", text::count(*count as u64))).collect();
    let globs: Vec<String> = known.iter().map(|(extension, _)| toml_string(&format!("**/*.{extension}"))).collect();
    let name = name_of(folder, kind.name());
    format!(
        "# Made by npy-ingest init: {}{}{}.\n{}# Look it over, save it as ingest.toml, and see what it would do:\n\
         #   npy-ingest check --config ingest.toml\n\n[[dataset]]\nname   = {}\noutput = {}\n{}\n\n\
         [dataset.watch]\nfolders = [{}]\ninclude = [{}]\n{}\n{}",
        if contents.is_cut_off { "at least " } else { "" },
        kinds.join(", "),
        advice.found,
        contents.left_out(kind),
        toml_string(&name),
        toml_string(&outputs.join(format!("data/{name}.npy")).to_string_lossy()),
        advice.row,
        toml_string(&folder.to_string_lossy()),
        globs.join(", "),
        excluded,
        advice.decoder,
    )
}

/// A name for the dataset of a folder.
fn name_of(folder: &Path, otherwise: &str) -> String {
    let name: String = folder
        .file_name()
        .map(|name| {
            name.to_string_lossy().chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect()
        })
        .unwrap_or_default();
    if name.trim_matches('.').is_empty() { otherwise.to_owned() } else { name.chars().take(NAME_CHARS_MAX).collect() }
}

/// A TOML basic string.
fn toml_string(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\t' => quoted.push_str("\\t"),
            _ if character.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_toml_wants_them() {
        assert_eq!(toml_string("a\"b\\c\nd\t"), "\"a\\\"b\\\\c\\u000Ad\\t\"");
    }

    /// Most extensions of sound and of videos are the same containers.
    #[test]
    fn an_extension_has_one_kind() {
        for (extension, kind) in [
            ("jpg", Kind::Picture),
            ("gif", Kind::Picture),
            ("mp4", Kind::Video),
            ("webm", Kind::Video),
            ("wav", Kind::Sound),
            ("m4a", Kind::Sound),
            ("csv", Kind::Table),
            ("gpx", Kind::Track),
            ("npy", Kind::Array),
        ] {
            assert_eq!(Kind::of(extension), Some(kind), "{extension}");
        }
        assert_eq!(Kind::of("exe"), None);
    }
}
