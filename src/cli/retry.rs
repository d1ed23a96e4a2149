//! `npy-ingest retry`: another chance for rejected sources.

use std::path::{Path, PathBuf};

use super::args::{RetryOptions, chosen};
use super::failure::Failure;
use super::{DONE, FAILED, print, text};
use crate::config::{Config, Dataset};
use crate::ledger::{Entry, LedgerView};
use crate::storage::{RealDisk, lock_holder};
use crate::writer::{Paths, move_beside};

pub fn run(config: &Config, options: &RetryOptions) -> Result<u8, Failure> {
    let mut forgotten = 0;
    let mut failed = false;
    for dataset in chosen(config, options.dataset.as_deref())? {
        let paths = Paths::new(&dataset.output);
        let Some(view) = LedgerView::open(&paths.ledger)? else { continue };
        let names = (!options.paths.is_empty()).then(|| names_in_ledger(dataset, &options.paths));
        let entries = view.forget_rejected(names.as_deref())?;
        for entry in &entries {
            failed |= !bring_back(dataset, entry);
            print(&format!("{}  {}  is taken again\n", dataset.name, text::path(&entry.path)))?;
        }
        if !entries.is_empty() {
            forgotten += entries.len();
            wake(dataset, &paths)?;
        }
    }
    if forgotten == 0 && !options.paths.is_empty() {
        return Err(Failure::failed(
            "none of these sources is rejected; `npy-ingest sources --rejected` lists those that are",
        ));
    }
    if forgotten == 0 {
        print("no source is rejected\n")?;
    }
    Ok(if failed { FAILED } else { DONE })
}

/// The paths as the ledger may have them: as given, or below the config's folder.
fn names_in_ledger(dataset: &Dataset, paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for path in paths {
        names.push(path.clone());
        let Ok(absolute) = std::path::absolute(path) else { continue };
        names.extend(dataset.ledger_path_of(&absolute));
    }
    names.sort();
    names.dedup();
    names
}

/// Moves a source back that was moved away when it was rejected.
fn bring_back(dataset: &Dataset, entry: &Entry) -> bool {
    let Some(moved_to) = &entry.moved_to else { return true };
    let home = dataset.base.join(&entry.path);
    match move_beside(&RealDisk, moved_to, &home) {
        Ok(_) => {
            let mut reason = moved_to.clone().into_os_string();
            reason.push(".reason.txt");
            // It tells of the last attempt; that it is gone already is no fault.
            drop(std::fs::remove_file(Path::new(&reason)));
            true
        }
        Err(error) => {
            eprintln!(
                "npy-ingest: {} could not be moved back from {}: {error}; move it back by hand",
                text::path(&home),
                text::path(moved_to)
            );
            false
        }
    }
}

/// Asks a running daemon to scan now.
fn wake(dataset: &Dataset, paths: &Paths) -> Result<(), Failure> {
    let Some(pid) = lock_holder(&paths.main) else { return Ok(()) };
    // Somebody else may hold a lock on the file, and would die of the signal.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim_end() != "npy-ingest" {
        return Ok(());
    }
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let woken = pid.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::USR1).is_ok());
    if woken {
        return Ok(());
    }
    print(&format!("{}: the running daemon finds them at its next scan\n", dataset.name))
}
