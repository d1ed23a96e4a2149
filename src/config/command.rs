//! `[dataset.command]`: a program of the user's, and what it may take.

use std::time::Duration;

use super::choice::{Choice, choices};
use super::item::Item;
use super::section::Section;
use super::world::{CommandOptions, CommandOutput};

const WORDS_MAX: usize = 256;
const TIMEOUT_DEFAULT: Duration = Duration::from_mins(1);
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const TIMEOUT_MAX: Duration = Duration::from_hours(24);
const MEMORY_DEFAULT_BYTES: u64 = 8 << 30;
/// An interpreter does not start with less.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
const OUTPUT_DEFAULT_BYTES: u64 = 16 << 30;
/// What may stand in braces.
const PLACEHOLDERS: [&str; 4] = ["source", "dataset", "shape", "dtype"];

choices! {
    CommandOutput { Npy = "npy", Raw = "raw" }
}

pub(super) fn read(section: Section<'_>) -> Option<CommandOptions> {
    let worker = section.flag("worker", false);
    let argv_item = section.required("argv", "[\"python3\", \"prep.py\", \"{source}\"]");
    let argv = argv_item.as_ref().and_then(|item| read_argv(item, worker));
    let output = section.choice("output", CommandOutput::Npy);
    if let Some(item) = section.item("output")
        && worker
    {
        item.fault_with_help("has no effect: each answer of a worker says what it is", "remove the line");
    }
    let timeout =
        section.item("timeout").map_or(Some(TIMEOUT_DEFAULT), |item| item.duration(TIMEOUT_MIN..=TIMEOUT_MAX, "60s"));
    let memory_bytes = section.item("memory").map_or(Some(MEMORY_DEFAULT_BYTES), |item| {
        let bytes = item.size_bytes()?;
        if bytes < MEMORY_BYTES_MIN {
            item.fault(format!("found {}, expected at least \"16MiB\": no program starts with less", item.found()));
            return None;
        }
        Some(bytes)
    });
    let output_bytes_max = section.item("max_output").map_or(Some(OUTPUT_DEFAULT_BYTES), |item| item.size_bytes());
    section.finish();
    Some(CommandOptions {
        argv: argv?,
        output,
        worker,
        timeout: timeout?,
        memory_bytes: memory_bytes?,
        output_bytes_max: output_bytes_max?,
    })
}

fn read_argv(item: &Item<'_>, worker: bool) -> Option<Vec<String>> {
    let elements = item.elements("a program and its words such as [\"python3\", \"prep.py\", \"{source}\"]")?;
    if elements.is_empty() || elements.len() > WORDS_MAX {
        item.fault(format!(
            "found {} words, expected 1 to {WORDS_MAX}: the program, then what it is told",
            elements.len()
        ));
        return None;
    }
    let words: Vec<_> = elements.iter().enumerate().map(|(place, word)| read_word(word, place == 0)).collect();
    let words = words.into_iter().collect::<Option<Vec<_>>>()?;
    if worker && let Some(word) = elements.iter().zip(&words).find(|(_, word)| word.contains("{source}")) {
        word.0.fault_with_help(
            "found {source}, but a worker is told of its sources line by line on its standard input",
            "remove it here, or remove worker = true",
        );
        return None;
    }
    Some(words)
}

fn read_word(item: &Item<'_>, is_program: bool) -> Option<String> {
    let word = match item.value.get_ref().as_str() {
        Some(word) if !word.contains('\0') && (!is_program || !word.is_empty()) => word,
        _ => {
            item.fault(format!("found {}, expected a word of the command line", item.found()));
            return None;
        }
    };
    // Braces that hold a name of letters only are meant as a placeholder; others, such as those of JSON, are left alone.
    for part in word.split('{').skip(1) {
        let Some((name, _)) = part.split_once('}') else { continue };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase());
        if is_name && !PLACEHOLDERS.contains(&name) {
            item.fault_with_help(
                format!("found {{{name}}}, which is not filled in"),
                "what is filled in: {source}, {dataset}, {shape}, {dtype}",
            );
            return None;
        }
    }
    Some(word.to_owned())
}
