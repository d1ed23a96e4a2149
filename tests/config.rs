//! The config, as its users see it: the example, the defaults, and the full text of every kind of fault.

use std::path::Path;

use npy_ingest::config::{self, Config};

#[path = "config/accepted.rs"]
mod accepted;
#[path = "config/audio.rs"]
mod audio;
#[path = "config/documented.rs"]
mod documented;
#[path = "config/logs.rs"]
mod logs;
#[path = "config/refused_columns.rs"]
mod refused_columns;
#[path = "config/refused_files.rs"]
mod refused_files;
#[path = "config/refused_image.rs"]
mod refused_image;
#[path = "config/refused_syntax.rs"]
mod refused_syntax;
#[path = "config/refused_tables.rs"]
mod refused_tables;
#[path = "config/refused_together.rs"]
mod refused_together;
#[path = "config/refused_watch.rs"]
mod refused_watch;
#[path = "config/video.rs"]
mod video;

/// A config without faults, of required keys only, to which tests add what they are about.
const GOOD: &str = r#"
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#;

fn parsed(text: &str) -> Config {
    config::parse(text, Path::new("/conf/ingest.toml")).unwrap_or_else(|faults| panic!("{faults}"))
}

/// `GOOD` with one piece replaced. A piece that is not there would make a test of nothing.
fn good_with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

/// The faults of a config must read exactly like this.
#[track_caller]
fn assert_faults(text: &str, expected: &str) {
    match config::parse(text, Path::new("ingest.toml")) {
        Ok(_) => panic!("no fault in\n{text}"),
        Err(faults) => {
            let found = faults.to_string();
            assert!(found == expected.trim_start_matches('\n'), "found:\n{found}\n\nexpected:{expected}");
            assert!(found.ends_with(&format!("{} fault{}", faults.len(), if faults.len() == 1 { "" } else { "s" })));
        }
    }
}

fn with_extra_lines(table: &str, lines: &str) -> String {
    format!("{GOOD}[dataset.{table}]\n{lines}")
}

fn watching(lines: &str) -> String {
    good_with("folders = [\"in\"]", &format!("folders = [\"in\"]\n{lines}"))
}

/// Just these faults, by their first lines.
#[track_caller]
fn assert_refused(text: &str, expected: &[&str]) {
    let faults = config::parse(text, Path::new("f.toml")).err().map_or(String::new(), |faults| faults.to_string());
    let found: Vec<_> = faults.lines().filter(|line| line.contains(": `")).collect();
    assert_eq!(found, expected, "{text}");
}
