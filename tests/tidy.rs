//! The rules of the house that the compiler does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longer files hide what is in them.
const LINES_MAX: usize = 520;

/// The sources by their paths below `src`.
fn sources() -> BTreeMap<PathBuf, String> {
    fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 40, "the sources were found");
    found
}

/// The room of a file: the first folder or file below `src`.
fn room(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Whether a whole file is tests: by its name, or that of its folder. `properties.rs` are those of `npy`.
fn is_tests(path: &Path) -> bool {
    let named = |name: &str| path.components().any(|component| component.as_os_str() == name);
    named("tests") || named("tests.rs") || path == Path::new("npy/properties.rs")
}

/// The code of a file without its comments and its `#[cfg(test)] mod name { ... }`.
fn code(text: &str) -> Vec<&str> {
    let mut code = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let begins_tests = |next: &&str| next.contains("mod ") && next.ends_with('{');
        if line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(begins_tests) {
            // As rustfmt leaves it: the end stands where the beginning does.
            let end = line.replace("#[cfg(test)]", "}");
            lines.by_ref().find(|line| *line == end).expect("tests end");
        } else if !line.trim_start().starts_with("//") {
            code.push(line);
        }
    }
    code
}

/// The table of ARCHITECTURE.md: which rooms a room imports. `None`: all.
fn import_table() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("## Who may import whom").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    // `decode::image` is of the room `decode`.
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split('`').skip(1).step_by(2).map(|name| name.split("::").next().unwrap().to_owned()).collect()
    };
    let mut table = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let [_, rooms, imports, _] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
        for room in names(rooms) {
            table.insert(room, (imports.trim() != "all").then(|| names(imports)));
        }
    }
    table
}

/// The rooms that a line of code names: `crate::room::...`. A list in braces hides its rooms: an error.
fn rooms_named(line: &str) -> Result<Vec<String>, String> {
    let name = |rest: &str| -> String { rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect() };
    let names: Vec<String> = line.split("crate::").skip(1).map(name).collect();
    if names.iter().any(String::is_empty) {
        return Err(format!("one `use crate::room::...` for each room: {}", line.trim()));
    }
    Ok(names)
}

#[test]
fn imports_are_those_of_the_table() {
    let table = import_table();
    let mut wrong = Vec::new();
    let mut imported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_tests(path)) {
        let room = room(&path);
        for line in code(&text) {
            match rooms_named(line) {
                Ok(others) => imported.entry(room.clone()).or_default().extend(others),
                Err(error) => wrong.push(format!("{}: {error}", path.display())),
            }
        }
    }
    for (room, mut others) in imported {
        others.remove(&room);
        match table.get(&room) {
            Some(Some(named)) if *named != others => {
                wrong.push(format!("{room} imports {others:?}, and the table says {named:?}"));
            }
            None if !["lib", "main"].contains(&room.as_str()) => wrong.push(format!("{room} is not in the table")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_tests_are_passed_over() {
    let text = "#[cfg(test)]\nmod tests;\n    #[cfg(test)]\n    fn seen() {}\n// no\n#[cfg(test)]\nmod tests {\n    hidden\n}\nlast";
    assert_eq!(code(text), ["#[cfg(test)]", "mod tests;", "    #[cfg(test)]", "    fn seen() {}", "last"]);
    assert_eq!(rooms_named("crate::npy::X, crate::pulse::beat()"), Ok(vec!["npy".to_owned(), "pulse".to_owned()]));
    assert!(rooms_named("use crate::{npy, pulse};").is_err());
}

#[test]
fn only_the_storage_room_writes_files() {
    const WRITING: &[&str] =
        &["File::create", "fs::write", "OpenOptions", "fs::rename", "fs::remove", "set_len(", "pwrite"];
    // `retry` removes a note of ours.
    const EXCEPTIONS: &[(&str, &str)] = &[("cli/retry.rs", "fs::remove")];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        // `npy` writes through `storage::Disk`, whose calls have the same names; its own words for files are forbidden to it.
        let is_npy = room(&path) == "npy";
        if room(&path) == "storage" || is_tests(&path) {
            continue;
        }
        for line in code(&text) {
            for word in WRITING {
                let is_excepted = EXCEPTIONS.iter().any(|(file, allowed)| path == Path::new(file) && allowed == word);
                let is_disk = is_npy && *word == "set_len(";
                if line.contains(word) && !is_excepted && !is_disk && !line.contains("GrowingFile::") {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
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
