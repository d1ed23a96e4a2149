//! `npy-ingest retry`: another chance for rejected sources.

use std::path::PathBuf;

use super::args::{RetryOptions, chosen};
use super::failure::Failure;
use super::{DONE, FAILED, print, text};
use crate::config::{Config, Dataset, Disposal};
use crate::ledger::{Entry, LedgerView};
use crate::source::Identity;
use crate::storage::file_name::beside;
use crate::storage::{Disk, RealDisk, lock_holder};
use crate::writer::{Paths, move_aside, move_beside, reason_path};

/// Names that a moved source may have been given, of which so many are looked at.
const NAMES_MAX: usize = 100;

pub fn run(config: &Config, options: &RetryOptions) -> Result<u8, Failure> {
    let mut forgotten = 0;
    let mut failed = false;
    for dataset in chosen(config, options.dataset.as_deref())? {
        let paths = Paths::new(&dataset.output);
        let Some(view) = LedgerView::open(&paths.ledger)? else { continue };
        let names = (!options.paths.is_empty()).then(|| names_in_ledger(dataset, &options.paths));
        let (away, here): (Vec<Entry>, Vec<Entry>) =
            view.rejected(names.as_deref())?.into_iter().partition(|entry| !dataset.base.join(&entry.path).exists());
        // One by one: each is forgotten while its file is back and not yet under its name, so that a running daemon neither
        // takes it for the rejected one, nor is there an instant at which nobody knows of it.
        let mut entries = here;
        view.forget_rejected(&entries)?;
        for entry in away {
            match bring_back(dataset, &view, &entry) {
                Ok(()) => entries.push(entry),
                Err(text) => {
                    failed = true;
                    eprintln!("npy-ingest: {text}");
                }
            }
        }
        for entry in &entries {
            print(&format!("{}  {}  is taken again\n", dataset.name, text::path(&entry.path)))?;
        }
        if !entries.is_empty() {
            forgotten += entries.len();
            wake(dataset, &paths)?;
        }
    }
    if forgotten == 0 && !failed && !options.paths.is_empty() {
        return Err(Failure::failed(
            "none of these sources is rejected; `npy-ingest sources --rejected` lists those that are",
        ));
    }
    if forgotten == 0 && !failed {
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

/// Moves a source back that was moved away when it was rejected, and forgets that it was. One that is nowhere is forgotten.
fn bring_back(dataset: &Dataset, view: &LedgerView, entry: &Entry) -> Result<(), String> {
    let home = dataset.base.join(&entry.path);
    let Some(moved_to) = where_it_is(dataset, entry) else {
        return view.forget_rejected(std::slice::from_ref(entry)).map_err(|error| error.to_string());
    };
    let failed = |error: &dyn std::fmt::Display| {
        let (home, moved_to) = (text::path(&home), text::path(&moved_to));
        format!("{home} could not be brought back from {moved_to}: {error}; it is rejected as before")
    };
    let aside = move_aside(&RealDisk, &moved_to, &home).map_err(|error| failed(&error))?;
    if let Err(error) = view.forget_rejected(std::slice::from_ref(entry)) {
        // As it was. If that fails as well, the next scan gives it its name, and finds it rejected.
        let _ = move_beside(&RealDisk, &aside, &moved_to);
        return Err(failed(&error));
    }
    move_beside(&RealDisk, &aside, &home).map_err(|error| failed(&error))?;
    // It tells of the last attempt; that it is gone already is no fault.
    drop(std::fs::remove_file(reason_path(&moved_to)));
    Ok(())
}

/// Where a rejected source went: as the ledger has it or, where a crash came before it was noted, under the names that it can
/// have been given. Among those it is known by its inode or by its content.
fn where_it_is(dataset: &Dataset, entry: &Entry) -> Option<PathBuf> {
    if let Some(moved_to) = entry.moved_to.clone().filter(|path| path.exists()) {
        return Some(moved_to);
    }
    let Disposal::Move(target) = &dataset.watch.rejected else { return None };
    let home = dataset.base.join(&entry.path);
    let below = dataset.watch.folders.iter().find_map(|folder| home.strip_prefix(folder).ok())?;
    let wanted = target.join(below);
    beside(&wanted).take(NAMES_MAX).find(|path| {
        let Ok(Some(status)) = RealDisk.status(path) else { return false };
        let is_read = || std::fs::read(path).is_ok_and(|bytes| Some(blake3::hash(&bytes)) == entry.hash);
        Identity::from(&status) == entry.identity || (status.size == entry.identity.size && is_read())
    })
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
