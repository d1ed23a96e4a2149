//! `npy-ingest init FOLDER`: looks at a folder and prints a config for what most of its files are.
//!
//! | kind | rows |
//! |---|---|
//! | `pictures` | of the size that all have, else 224 x 224 |
//! | `videos` | frames of 224 x 224, one a second |
//! | `sounds` | windows of one second |
//! | `tables` | CSV: a field for each column, of the type that the first lines show |
//! | `tracks` | NMEA and GPX: position, time and motion |

mod pictures;
mod sounds;
mod tables;
mod tracks;
mod videos;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

/// What files may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Picture,
    Video,
    Sound,
    Table,
    Track,
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
        }
    }
}

/// What is in the folder.
#[derive(Default)]
struct Contents {
    /// Extension in lower case, and how many files have it.
    extensions: BTreeMap<String, usize>,
    files: usize,
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

pub fn run(folder: &Path) -> Result<u8, Failure> {
    let mut contents = Contents::default();
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
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
    };
    let config = write(&absolute, &contents, kind, &advice);
    // What is printed must be right: it is judged as any config is.
    config::parse(&config, &absolute.join("ingest.toml"))
        .map_err(|faults| Failure::failed(format!("the config for this folder has faults: {faults}")))?;
    print(&config)?;
    Ok(DONE)
}

fn nothing(folder: &Path, contents: &Contents) -> Failure {
    let found: Vec<&str> = contents.extensions.keys().map(String::as_str).take(8).collect();
    let found = if found.is_empty() { "no files".to_owned() } else { format!("files of type {}", found.join(", ")) };
    Failure::failed(format!(
        "{}: found {found}, expected pictures ({}), videos ({}), sound ({}), tables ({}) or tracks ({}); for others, see the \
         decoders in config.example.toml",
        text::path(folder),
        image::EXTENSIONS.join(", "),
        video::EXTENSIONS.join(", "),
        audio::EXTENSIONS.join(", "),
        tables::EXTENSIONS.join(", "),
        tracks::EXTENSIONS.join(", "),
    ))
}

impl Contents {
    /// The extensions of a kind, with how many files have them.
    fn of(&self, kind: Kind) -> impl Iterator<Item = (&str, usize)> {
        self.extensions
            .iter()
            .filter(move |(extension, _)| Kind::of(extension) == Some(kind))
            .map(|(extension, count)| (extension.as_str(), *count))
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
        } else if file_type.is_file() {
            contents.files += 1;
            let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else { continue };
            let extension = extension.to_ascii_lowercase();
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

fn write(folder: &Path, contents: &Contents, kind: Kind, advice: &Advice) -> String {
    let known: Vec<(&str, usize)> = contents.of(kind).collect();
    let taken: usize = known.iter().map(|(_, count)| count).sum();
    let kinds: Vec<String> =
        known.iter().map(|(extension, count)| format!("{} .{extension}", text::count(*count as u64))).collect();
    let others = contents.files.saturating_sub(taken);
    let globs: Vec<String> = known.iter().map(|(extension, _)| toml_string(&format!("**/*.{extension}"))).collect();
    let name = name_of(folder, kind.name());
    format!(
        "# Made by npy-ingest init: {}{}{}{}.\n# Look it over, save it as ingest.toml, and see what it would do:\n\
         #   npy-ingest check --config ingest.toml\n\n[[dataset]]\nname   = {}\noutput = {}\n{}\n\n\
         [dataset.watch]\nfolders = [{}]\ninclude = [{}]\n\n{}",
        if contents.is_cut_off { "at least " } else { "" },
        kinds.join(", "),
        advice.found,
        if others > 0 {
            format!(", and {} that are not taken", text::number_of(others as u64, "other file", "other files"))
        } else {
            String::new()
        },
        toml_string(&name),
        toml_string(&format!("data/{name}.npy")),
        advice.row,
        toml_string(&folder.to_string_lossy()),
        globs.join(", "),
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
        assert_eq!(toml_string("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000Ad\"");
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
        ] {
            assert_eq!(Kind::of(extension), Some(kind), "{extension}");
        }
        assert_eq!(Kind::of("exe"), None);
    }
}
