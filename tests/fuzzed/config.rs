//! Any text is a config or has faults, and faults can be shown.

use std::path::Path;

use npy_ingest::config::{self, Config, Faults};

use super::memory;

/// What parsing may take besides a multiple of the text: the compiled globs.
const BYTES_MAX: usize = 64 << 20;
const BYTES_PER_BYTE_MAX: usize = 2000;

pub fn check(bytes: &[u8]) {
    // Anything else is told with its line and goes no further.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = Path::new("/conf/ingest.toml");
    let (result, peak) = memory::peak_bytes(|| config::parse(text, file));
    let bytes_max = BYTES_MAX + text.len() * BYTES_PER_BYTE_MAX;
    assert!(peak <= bytes_max, "parsing took {peak} bytes, {bytes_max} are allowed");
    let again = config::parse(text, file);
    match (&result, &again) {
        (Ok(config), Ok(again)) => {
            check_config(config);
            let prints =
                |config: &Config| config.datasets.iter().map(|dataset| dataset.fingerprint()).collect::<Vec<_>>();
            assert_eq!(prints(config), prints(again));
        }
        (Err(faults), Err(again)) => {
            check_faults(text, faults);
            assert_eq!(faults, again);
        }
        _ => panic!("the same text is a config and is none"),
    }
}

/// What the rest of the program takes for granted.
fn check_config(config: &Config) {
    assert!(!config.datasets.is_empty());
    assert!(config.service.workers >= 1 && config.service.memory_bytes >= 1);
    for dataset in &config.datasets {
        assert!(dataset.output.is_absolute() && dataset.base.is_absolute());
        assert!(!dataset.watch.folders.is_empty());
        assert_eq!(dataset.watch.folders.len(), dataset.watch.folder_names.len());
        assert!(dataset.watch.folders.iter().all(|folder| folder.is_absolute()));
        let row_bytes = dataset.row.row_bytes() as u64;
        assert!((1..=config.service.memory_bytes.min(1 << 30)).contains(&row_bytes), "rows of {row_bytes} bytes");
        // The lines of a ledger's schema.
        assert!(dataset.fingerprint().iter().all(|(key, _)| !key.is_empty()));
    }
}

fn check_faults(text: &str, faults: &Faults) {
    assert!(faults.len() >= 1 && faults.iter().count() == faults.len());
    let text_without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text_without_mark.split('\n').collect();
    for fault in faults {
        assert!(fault.line >= 1 && fault.line <= lines.len(), "line {} of {}", fault.line, lines.len());
        let line = lines[fault.line - 1];
        // One past the end is where something is missing.
        let columns = line.chars().count() + 1;
        assert!(fault.column >= 1 && fault.column <= columns, "column {} of {columns}: {fault}", fault.column);
        assert!(!fault.message.is_empty());
        let shown = fault.to_string();
        let shown: Vec<&str> = shown.split('\n').collect();
        let [_, excerpt, marks] = shown[..] else { panic!("a fault has three lines: {fault}") };
        assert!(shown.iter().all(|line| !line.contains(char::is_control)), "control characters: {fault:?}");
        let marks = marks.chars().collect::<Vec<_>>();
        assert_eq!(marks.last(), Some(&'^'), "nothing is marked: {fault}");
        assert!(marks.len() <= excerpt.chars().count() + 1, "the mark is beside the excerpt: {fault}");
        assert!(excerpt.chars().count() <= 200, "an endless excerpt: {fault}");
    }
    let places: Vec<_> = faults.iter().map(|fault| (fault.line, fault.column)).collect();
    assert!(places.is_sorted(), "faults are told in the order of the file");
    let _ = faults.to_string();
}
