//! The rules of the house that the compiler does not know.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may know of. `cli` and `main` may know all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("storage", &[]),
    ("pulse", &[]),
    ("quantity", &[]),
    ("tally", &[]),
    ("npy", &["storage"]),
    ("picture", &["npy"]),
    ("source", &["storage"]),
    ("config", &["npy", "source", "decode"]), // of `decode` only the lists of extensions
    ("ledger", &["source", "config"]),
    ("suspects", &["source", "storage"]),
    ("decode", &["config", "source", "storage", "suspects", "lane", "npy", "pulse"]),
    ("lane", &["config", "decode", "ledger", "source", "suspects", "tally"]),
    ("writer", &["config", "decode", "lane", "ledger", "npy", "pulse", "source", "storage", "tally"]),
    ("recovery", &["config", "ledger", "npy", "source", "storage", "writer"]),
    ("intake", &["config", "lane", "ledger", "pulse", "source", "storage", "tally", "writer"]),
    ("monitor", &["config", "lane", "ledger", "npy", "picture", "pulse", "quantity", "tally", "writer"]),
    ("daemon", &["config", "decode", "intake", "lane", "ledger", "pulse", "recovery", "storage", "writer"]),
];
/// Longer files hide what is in them.
const LINES_MAX: usize = 520;

fn sources() -> BTreeMap<PathBuf, String> {
    fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.clone(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 40, "the sources were found");
    found
}

/// The room of a file: the first folder or file below `src`.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    below.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else { continue };
        for line in code(&text) {
            for rest in line.split("crate::").skip(1) {
                let other: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if !other.is_empty() && other != room && !allowed.contains(&other.as_str()) {
                    wrong.push(format!("{}: {room} knows of {other}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_storage_room_writes_files() {
    const WRITING: &[&str] =
        &["File::create", "fs::write", "OpenOptions", "fs::rename", "fs::remove", "set_len(", "pwrite"];
    // Reading a source needs options that std's `File::open` does not take; `retry` removes a note of ours.
    const EXCEPTIONS: &[(&str, &str)] = &[("decode/open.rs", "OpenOptions"), ("cli/retry.rs", "fs::remove")];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let shown = path.display().to_string();
        // `npy` writes through `storage::Disk`, whose calls have the same names; its own words for files are forbidden to it.
        let is_npy = room(&path) == "npy";
        if room(&path) == "storage" || shown.contains("tests") {
            continue;
        }
        for line in code(&text) {
            for word in WRITING {
                let is_excepted = EXCEPTIONS.iter().any(|(file, allowed)| shown.ends_with(file) && allowed == word);
                let is_disk = is_npy && *word == "set_len(";
                if line.contains(word) && !is_excepted && !is_disk && !line.contains("GrowingFile::") {
                    wrong.push(format!("{shown}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_enough_to_read() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_file_says_what_is_in_it() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| !text.starts_with("//!") && !path.ends_with("tests.rs"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
