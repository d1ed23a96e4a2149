//! `npy-ingest init FOLDER`: looks at a folder and prints a config for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::{DONE, print, text};
use crate::config;
use crate::decode::audio;
use crate::decode::image::EXTENSIONS;

/// Files that are looked at; a folder of a million is like its first ten thousand.
const FILES_MAX: usize = 10_000;
/// Folders nested deeper than this are not entered.
const DEPTH_MAX: usize = 16;
/// Pictures whose size is read, and sounds whose rate is.
const SIZES_MAX: usize = 200;
/// The usual side of what networks are trained on: for pictures of different sizes.
const SIDE: u32 = 224;

/// Hz, for sounds of different rates: what speech is recognised at.
const RATE: u32 = 16_000;

/// What is in the folder.
#[derive(Default)]
struct Contents {
    /// Extension in lower case, and how many files have it.
    extensions: BTreeMap<String, usize>,
    files: usize,
    /// Names of the folders directly in it that hold pictures.
    folders: BTreeMap<String, usize>,
    /// Width and height of pictures, and whether they are gray.
    pictures: Vec<(u32, u32, bool)>,
    /// Rate in Hz and channels of sounds.
    sounds: Vec<(u32, usize)>,
    is_cut_off: bool,
}

pub fn run(folder: &Path) -> Result<u8, Failure> {
    let mut contents = Contents::default();
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    fs::read_dir(folder)
        .map_err(|error| Failure::failed(format!("{}: {error}; give a folder with files in it", text::path(folder))))?;
    look(folder, 0, None, &mut contents);
    let known: Vec<(&String, &usize)> =
        contents.extensions.iter().filter(|(extension, _)| EXTENSIONS.contains(&extension.as_str())).collect();
    let sounds: Vec<(&String, &usize)> =
        contents.extensions.iter().filter(|(extension, _)| audio::EXTENSIONS.contains(&extension.as_str())).collect();
    let count = |kinds: &[(&String, &usize)]| kinds.iter().map(|(_, count)| **count).sum::<usize>();
    if known.is_empty() && sounds.is_empty() {
        let found: Vec<&str> = contents.extensions.keys().map(String::as_str).take(8).collect();
        let found =
            if found.is_empty() { "no files".to_owned() } else { format!("files of type {}", found.join(", ")) };
        return Err(Failure::failed(format!(
            "{}: found {found}, expected pictures ({}) or sound ({})",
            text::path(folder),
            EXTENSIONS.join(", "),
            audio::EXTENSIONS.join(", ")
        )));
    }
    let config = if count(&sounds) > count(&known) {
        write_sound(&absolute, &contents, &sounds)
    } else {
        write(&absolute, &contents, &known)
    };
    // What is printed must be right: it is judged as any config is.
    config::parse(&config, &absolute.join("ingest.toml"))
        .map_err(|faults| Failure::failed(format!("the config for this folder has faults: {faults}")))?;
    print(&config)?;
    Ok(DONE)
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
        let (name, Ok(kind)) = (entry.file_name().to_string_lossy().into_owned(), entry.file_type()) else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if kind.is_dir() && depth < DEPTH_MAX {
            look(&path, depth + 1, Some(top.unwrap_or(&name)), contents);
        } else if kind.is_file() {
            contents.files += 1;
            let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else { continue };
            let extension = extension.to_ascii_lowercase();
            if EXTENSIONS.contains(&extension.as_str()) {
                if let Some(top) = top {
                    *contents.folders.entry(top.to_owned()).or_default() += 1;
                }
                if contents.pictures.len() < SIZES_MAX {
                    contents.pictures.extend(measure(&path));
                }
            } else if audio::EXTENSIONS.contains(&extension.as_str()) && contents.sounds.len() < SIZES_MAX {
                contents
                    .sounds
                    .extend(fs::File::open(&path).ok().and_then(|file| audio::measure(file, Some(&extension))));
            }
            *contents.extensions.entry(extension).or_default() += 1;
        }
    }
}

/// Width, height, and whether it is gray; `None` for what is no picture.
fn measure(path: &PathBuf) -> Option<(u32, u32, bool)> {
    use image::ImageDecoder;
    let reader = image::ImageReader::open(path).ok()?.with_guessed_format().ok()?;
    let decoder = reader.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    Some((width, height, !decoder.color_type().has_color()))
}

fn write(folder: &Path, contents: &Contents, known: &[(&String, &usize)]) -> String {
    let pictures: usize = known.iter().map(|(_, count)| **count).sum();
    let kinds: Vec<String> =
        known.iter().map(|(extension, count)| format!("{} .{extension}", text::count(**count as u64))).collect();
    let others = contents.files.saturating_sub(pictures);
    let first = contents.pictures.first();
    let is_same = first.is_some_and(|first| contents.pictures.iter().all(|one| (one.0, one.1) == (first.0, first.1)));
    let is_gray = !contents.pictures.is_empty() && contents.pictures.iter().all(|(.., gray)| *gray);
    let (width, height) = first.filter(|_| is_same).map_or((SIDE, SIDE), |(width, height, _)| (*width, *height));
    let shape = if is_gray { format!("[{height}, {width}]") } else { format!("[{height}, {width}, 3]") };
    let sizes = match (contents.pictures.iter().map(|one| one.0).min(), contents.pictures.iter().map(|one| one.0).max())
    {
        (Some(_), Some(_)) if is_same => format!("all of {width} x {height} pixels"),
        (Some(least), Some(greatest)) => format!("{least} to {greatest} pixels wide"),
        _ => "of sizes that could not be read".to_owned(),
    };
    let has_labels = contents.folders.len() > 1;
    let name = name_of(folder, "pictures");
    let quoted = |text: &str| toml_string(text);
    let mut config = format!(
        "# Made by npy-ingest init: {}{}, {sizes}{}.\n# Look it over, save it as ingest.toml, and see what it would do:\n\
         #   npy-ingest check --config ingest.toml\n\n[[dataset]]\nname   = {}\noutput = {}\nshape  = {shape}\ndtype  = \"u1\"\n\n\
         [dataset.watch]\nfolders = [{}]\n",
        if contents.is_cut_off { "at least " } else { "" },
        kinds.join(", "),
        if others > 0 {
            format!(", and {} that are not taken", text::number_of(others as u64, "other file", "other files"))
        } else {
            String::new()
        },
        quoted(&name),
        quoted(&format!("data/{name}.npy")),
        quoted(&folder.to_string_lossy()),
    );
    let globs: Vec<String> = known.iter().map(|(extension, _)| quoted(&format!("**/*.{extension}"))).collect();
    config.push_str(&format!("include = [{}]\n\n[dataset.image]\n", globs.join(", ")));
    config.push_str(if is_same {
        "fit = \"exact\"              # all have this size; another one is rejected\n"
    } else {
        "fit = \"cover\"              # centre crop; \"contain\" keeps all of each picture, with bars\n"
    });
    if has_labels {
        let names: Vec<&str> = contents.folders.keys().map(String::as_str).take(3).collect();
        let more = if contents.folders.len() > 3 { ", ..." } else { "" };
        config.push_str(&format!(
            "\n[dataset.columns]\nlabel = \"folder\"           # {} classes: {}{more}\nsplit = {{ train = 0.9, val = 0.1 }}\n",
            contents.folders.len(),
            text::path(names.join(", ").as_ref()),
        ));
    }
    config
}

/// A config for sound: windows of a second.
fn write_sound(folder: &Path, contents: &Contents, known: &[(&String, &usize)]) -> String {
    let first = contents.sounds.first();
    let is_same = first.is_some_and(|first| contents.sounds.iter().all(|one| one.0 == first.0));
    let is_mono = contents.sounds.iter().all(|one| one.1 == 1);
    let rate = first.filter(|_| is_same).map_or(RATE, |first| first.0);
    let kinds: Vec<String> =
        known.iter().map(|(extension, count)| format!("{} .{extension}", text::count(**count as u64))).collect();
    let rates = match (contents.sounds.iter().map(|one| one.0).min(), contents.sounds.iter().map(|one| one.0).max()) {
        (Some(_), Some(_)) if is_same => format!("all of {rate} Hz"),
        (Some(least), Some(greatest)) => format!("{least} to {greatest} Hz"),
        _ => "of rates that could not be read".to_owned(),
    };
    let name = name_of(folder, "sound");
    let globs: Vec<String> = known.iter().map(|(extension, _)| toml_string(&format!("**/*.{extension}"))).collect();
    let mixed = if is_mono { "" } else { ", all channels mixed into one" };
    format!(
        "# Made by npy-ingest init: {}{}, {rates}.\n# Look it over, save it as ingest.toml, and see what it would do:\n\
         #   npy-ingest check --config ingest.toml\n\n[[dataset]]\nname   = {}\noutput = {}\n\
         shape  = [{rate}]             # windows of one second{mixed}\ndtype  = \"i2\"\n\n\
         [dataset.watch]\nfolders = [{}]\ninclude = [{}]\n\n[dataset.audio]\nrate = {rate}\n\
         tail = \"pad\"              # \"drop\" leaves out what does not fill a window\n",
        if contents.is_cut_off { "at least " } else { "" },
        kinds.join(", "),
        toml_string(&name),
        toml_string(&format!("data/{name}.npy")),
        toml_string(&folder.to_string_lossy()),
        globs.join(", "),
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
    if name.trim_matches('.').is_empty() { otherwise.to_owned() } else { name.chars().take(48).collect() }
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
}
