//! The configs that documents show: `config.example.toml` has every key, and all of them are accepted.

use std::collections::BTreeSet;
use std::path::Path;

use npy_ingest::config;

use super::parsed;

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// A dataset with these lines, which have its row and its decoder.
fn dataset(lines: &str) -> String {
    format!("[[dataset]]\nname = 'a'\noutput = 'a.npy'\nwatch.folders = ['in']\n{lines}\n")
}

/// One of the tables that the example comments out.
struct Shown {
    table: String,
    /// The lines that are there by default, and those that are off unless set.
    lines: Vec<String>,
    off: Vec<String>,
}

impl Shown {
    /// A row that goes with the table.
    fn row(&self) -> &'static str {
        match self.table.as_str() {
            "dataset.video" => "shape = [16, 224, 224, 3]\ndtype = 'u1'",
            "dataset.audio" if self.lines.iter().any(|line| line.contains("\"log-mel\"")) => {
                "shape = [80, 101]\ndtype = 'f4'"
            }
            "dataset.audio" => "shape = [16000]\ndtype = 'i2'",
            "dataset.records" => "dtype = [['time', '<u8'], ['x', '<f8']]",
            "dataset.gps" => "shape = [6]\ndtype = 'f8'",
            _ => "dtype = [['time', '<f8'], ['x', '<f4']]",
        }
    }

    fn with(&self, more: &str) -> String {
        dataset(&format!("{}\n[{}]\n{}\n{more}", self.row(), self.table, self.lines.join("\n")))
    }
}

/// The tables for other decoders, at the end of the example.
fn commented_out(example: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let (_, others) = example.split_once("# Other decoders").unwrap();
    for line in others.lines().filter_map(|line| line.strip_prefix("#   ")) {
        if let Some(header) = line.strip_prefix('[') {
            let table = header.split(']').next().unwrap().to_owned();
            shown.push(Shown { table, lines: Vec::new(), off: Vec::new() });
        } else if let Some(last) = shown.last_mut() {
            match line.strip_prefix("# ") {
                Some(off) => last.off.push(off.to_owned()),
                None => last.lines.push(line.to_owned()),
            }
        }
    }
    shown
}

#[test]
fn every_table_that_the_example_comments_out_has_defaults_and_is_accepted() {
    let shown = commented_out(&document("config.example.toml"));
    assert_eq!(shown.len(), 8);
    for table in shown {
        let as_shown = parsed(&table.with("")).datasets.remove(0);
        // What is said to be a default changes nothing where it is left out.
        let required = |line: &&String| ["argv", "rate", "features"].iter().any(|key| line.starts_with(key));
        let required: Vec<&str> = table.lines.iter().filter(required).map(String::as_str).collect();
        let text = format!("{}\n[{}]\n{}", table.row(), table.table, required.join("\n"));
        let left_out = parsed(&dataset(&text)).datasets.remove(0);
        assert_eq!(format!("{:?}", as_shown.decoder), format!("{:?}", left_out.decoder), "{}", table.table);
        for line in &table.off {
            let more = match line {
                line if line.starts_with("fields") && table.table == "dataset.records" => {
                    format!("length = 16\n{line}")
                }
                line if line.starts_with("checksum") => format!("length = 16\n{line}"),
                line if line.starts_with("time_format") => format!("{line}\ntimes = ['time']"),
                line => line.clone(),
            };
            let text = table.with(&more);
            // `times` is among the defaults.
            let text = if more.contains("['time']") { text.replace("times     = []", "# ") } else { text };
            parsed(&text);
        }
    }
}

/// The keys that the reader of a table knows, by what it says of one that it does not.
fn known_keys(text: &str) -> BTreeSet<String> {
    let faults = config::parse(text, Path::new("f.toml")).unwrap_err().to_string();
    let (_, listed) = faults.split_once("expected one of ").unwrap_or_else(|| panic!("{faults}"));
    let line = listed.lines().next().unwrap();
    line.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The keys of a table in a text, set or commented out.
fn keys(lines: &str) -> BTreeSet<String> {
    let key = |line: &str| {
        let (key, _) = line.trim_start_matches(['#', ' ']).split_once('=')?;
        let key = key.trim();
        key.chars().all(|c| c.is_ascii_lowercase() || c == '_').then(|| key.to_owned())
    };
    lines.lines().filter_map(key).collect()
}

#[test]
fn the_example_has_every_key_and_no_other() {
    const UNKNOWN: &str = "qqqqqqqqqq = 1";
    let example = document("config.example.toml");
    let (plain, _) = example.split_once("# Other decoders").unwrap();
    let mut image = BTreeSet::new();
    for table in
        ["[service]", "[[dataset]]", "[dataset.watch]", "[dataset.image]", "[dataset.columns]", "[dataset.commit]"]
    {
        let (before, rest) = plain.split_once(&format!("\n{table}\n")).unwrap();
        let mut known = known_keys(&format!("{before}\n{table}\n{UNKNOWN}\n{rest}"));
        let lines = rest.split("\n[").next().unwrap();
        // Tables have their own headers.
        known.retain(|key| !example.contains(&format!("[dataset.{key}]")));
        assert_eq!(known, keys(lines), "{table}");
        if table == "[dataset.image]" {
            image = known;
        }
    }
    for table in commented_out(&example) {
        let mut known = known_keys(&table.with(UNKNOWN));
        let shown = keys(&[table.lines.clone(), table.off.clone()].concat().join("\n"));
        if table.table == "dataset.video" {
            known.retain(|key| !image.contains(key));
        }
        if table.with("").contains("\"log-mel\"") {
            // Those of samples stand above.
            for key in ["hop", "tail", "start", "end", "on_error"] {
                assert!(known.remove(key), "{key}");
            }
        }
        assert_eq!(known, shown, "{}", table.table);
    }
}

#[test]
fn the_configs_of_the_documentation_are_accepted() {
    let mut configs = 0;
    for page in ["README.md", "docs/video.md", "docs/audio.md", "docs/logs.md", "docs/command.md"] {
        let page = document(page);
        let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        for block in blocks.filter(|block| block.contains("[dataset.")) {
            let row = match () {
                () if block.contains("dtype ") && !block.contains("[dataset.records]") => "",
                () if block.contains("[dataset.gps]") => "dtype = 'f8'\nshape = [6]",
                () if block.contains("[dataset.csv]") => "dtype = [['time', '<M8[ns]'], ['x', '<f4']]",
                () if block.contains("[dataset.command]") => "dtype = 'u1'\nshape = [224, 224, 3]",
                () => "dtype = [['time', '<f8'], ['speed', '<f4'], ['state', 'u1']]",
            };
            let is_whole = block.contains("[[dataset]]");
            parsed(&if is_whole { block.to_owned() } else { dataset(&format!("{row}\n{block}")) });
            configs += 1;
        }
    }
    assert_eq!(configs, 11);
}
