//! `npy-ingest retry`: another chance for rejected sources.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::args::{RetryOptions, chosen};
use super::failure::{Failure, warn};
use super::{DONE, FAILED, print, text};
use crate::config::{Config, Dataset, Paths};
use crate::intake::is_wanted;
use crate::ledger::{Entry, LedgerError, LedgerView};
use crate::source::Identity;
use crate::storage::file_name::beside;
use crate::storage::{Disk, FileStatus, RealDisk, lock_holder};
use crate::writer::{
    copy_near, find_moved, is_any_aside, is_it, is_temporary, make_folders, missing_folder, move_aside, move_beside,
    reason_path,
};

/// `file`: the config as it was named.
pub fn run(config: &Config, file: &Path, options: &RetryOptions) -> Result<u8, Failure> {
    let mut forgotten = 0;
    let mut failed = false;
    let moved = Moved { config, by_place: OnceCell::new() };
    let mut names = Names::new(&options.paths);
    for dataset in chosen(config, options.dataset.as_deref())? {
        match retry(&moved, dataset, &mut names) {
            Ok((number, all)) => {
                forgotten += number;
                failed |= !all;
            }
            // The others get their chance all the same.
            Err(failure) => {
                failed = true;
                warn(&format!("dataset \"{}\": {}", dataset.name, failure.text));
            }
        }
    }
    let unknown = names.unknown();
    for name in &unknown {
        warn(&format!("{} is not rejected", text::path(name)));
    }
    if !unknown.is_empty() {
        let file = text::shell_word(file);
        warn(&format!("`npy-ingest sources --config {file} --rejected` lists the sources that are rejected"));
    }
    if forgotten == 0 && !failed && options.paths.is_empty() {
        print("no source is rejected\n")?;
    }
    Ok(if failed || !unknown.is_empty() { FAILED } else { DONE })
}

/// Gives the sources of one dataset another chance. How many are not listed any more, and whether all went well.
fn retry(moved: &Moved<'_>, dataset: &Dataset, names: &mut Names<'_>) -> Result<(usize, bool), Failure> {
    let paths = Paths::new(&dataset.output);
    let Some(view) = LedgerView::open(&paths.ledger)? else { return Ok((0, true)) };
    let (mut gone, mut all) = (0, true);
    let is_here = |entry: &Entry| is_here(moved, dataset, entry);
    let (mut entries, mut away): (Vec<Entry>, Vec<Entry>) =
        names.chosen(dataset, &view)?.into_iter().partition(is_here);
    // A running service may have moved some of them away since they were read.
    let moved_since = view.forget_rejected(&entries)?;
    entries.retain(|entry| !moved_since.iter().any(|moved| moved.id == entry.id));
    away.extend(moved_since);
    // One by one: each is forgotten while its file is back and not yet under its name, so that a running service neither
    // takes it for the rejected one, nor is there an instant at which nobody knows of it.
    for entry in away {
        match bring_back(moved, dataset, &view, &entry) {
            Ok(true) => {
                remove_what_was_copied(moved, dataset, &entry);
                entries.push(entry);
            }
            Ok(false) => {
                gone += 1;
                let path = text::path(&entry.path);
                print(&format!("{}  {path}  is gone: it is not listed any more\n", dataset.name))?;
            }
            Err(text) => {
                all = false;
                warn(&text);
            }
        }
    }
    for entry in &entries {
        print(&format!("{}  {}  is taken again\n", dataset.name, text::path(&entry.path)))?;
    }
    if !entries.is_empty() {
        wake(dataset, &paths)?;
    }
    Ok((gone + entries.len(), all))
}

/// Whether a source is under its name, or a mended one. What was moved away is where it went, whatever has its name by now.
fn is_here(moved: &Moved<'_>, dataset: &Dataset, entry: &Entry) -> bool {
    let status = RealDisk.status(&dataset.base.join(&entry.path));
    let Some(status) = status.ok().flatten().filter(|_| entry.moved_to.is_none()) else { return false };
    // A crash may have come before it was noted where it went.
    Identity::from(&status) == entry.identity || !matches!(where_it_is(moved, dataset, entry), Ok(Some(_)))
}

/// The sources that were named, and which of the names were found in some dataset.
struct Names<'a>(Vec<(&'a Path, bool)>);

impl<'a> Names<'a> {
    fn new(paths: &'a [PathBuf]) -> Self {
        Self(paths.iter().map(|path| (path.as_path(), false)).collect())
    }

    /// Those of no source that is rejected.
    fn unknown(&self) -> Vec<&'a Path> {
        self.0.iter().filter(|(_, is_found)| !is_found).map(|(name, _)| *name).collect()
    }

    /// The rejected sources of the dataset that have one of the names; without a name, all. A name is a path as given or below
    /// the config's folder, that of where the source was moved to, or either as it is shown.
    fn chosen(&mut self, dataset: &Dataset, view: &LedgerView) -> Result<Vec<Entry>, LedgerError> {
        if self.0.is_empty() {
            return view.rejected(None);
        }
        let mut chosen: Vec<Entry> = Vec::new();
        let mut ids = HashSet::new();
        let mut shown = None;
        for (name, is_found) in &mut self.0 {
            let absolute = std::path::absolute(*name).unwrap_or_else(|_| name.to_path_buf());
            let below = dataset.ledger_path_of(&absolute);
            let in_ledger: Vec<PathBuf> = [name.to_path_buf()].into_iter().chain(below).collect();
            let mut found = view.rejected(Some(&in_ledger))?;
            if found.is_empty() {
                let shown = match &shown {
                    Some(shown) => shown,
                    None => shown.insert(as_shown(dataset, view.rejected(None)?)),
                };
                let names = [name.to_string_lossy().into_owned(), text::path(&absolute)];
                found = names.iter().find_map(|name| shown.get(name)).cloned().unwrap_or_default();
            }
            *is_found |= !found.is_empty();
            found.retain(|entry| ids.insert(entry.id));
            chosen.append(&mut found);
        }
        Ok(chosen)
    }
}

/// The rejected sources by their paths and the places that they were moved to, each as `sources --rejected` shows it and as
/// it is from the root.
fn as_shown(dataset: &Dataset, rejected: Vec<Entry>) -> HashMap<String, Vec<Entry>> {
    let mut shown: HashMap<String, Vec<Entry>> = HashMap::new();
    for entry in rejected {
        let mut names = vec![text::path(&entry.path)];
        if let Some(place) = entry.moved_to.as_deref().filter(|place| !place.as_os_str().is_empty()) {
            names.extend([place, place.strip_prefix(&dataset.base).unwrap_or(place)].map(text::path));
        }
        names.dedup();
        for name in names {
            shown.entry(name).or_default().push(entry.clone());
        }
    }
    shown
}

/// Moves a source back that was moved away when it was rejected, and forgets that it was. One that is nowhere is forgotten,
/// too: `false`.
fn bring_back(moved: &Moved<'_>, dataset: &Dataset, view: &LedgerView, entry: &Entry) -> Result<bool, String> {
    let home = dataset.base.join(&entry.path);
    let found = where_it_is(moved, dataset, entry);
    let is_being_moved = || format!("{} is being moved at the moment: try again", text::path(&home));
    if let Ok(None) = &found
        && is_any_aside(&RealDisk, &home).unwrap_or(true)
    {
        return Err(is_being_moved());
    }
    let Some(moved_to) = found.map_err(|error| format!("looking for {}: {error}", text::path(&home)))? else {
        return match view.forget_rejected(std::slice::from_ref(entry)) {
            Ok(moved_since) if moved_since.is_empty() => Ok(false),
            Ok(_) => Err(is_being_moved()),
            Err(error) => Err(error.to_string()),
        };
    };
    let failed = |error: &dyn std::fmt::Display| {
        let (home, moved_to) = (text::path(&home), text::path(&moved_to));
        format!("{home} could not be brought back from {moved_to}: {error}; it is rejected as before")
    };
    if let Some(root) = watched_folder(dataset, entry) {
        refuse_unwanted_name(dataset, root, &home).map_err(|text| failed(&text))?;
        // Those below the watched folder may have been removed since.
        match RealDisk.status(root) {
            Ok(Some(_)) => make_folders(&RealDisk, folder_of(&home)).map_err(|error| failed(&error))?,
            Ok(None) => return Err(failed(&folder_is_away(root))),
            Err(error) => return Err(failed(&error)),
        }
    }
    let aside = match move_aside(&RealDisk, &moved_to, &home) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let near = bring_near(view, entry, &moved_to, &home).map_err(|error| failed(&error))?;
            return bring_back(moved, dataset, view, &near);
        }
        aside => aside.map_err(|error| failed(&error))?,
    };
    // The way back is durable before the ledger forgets it, which may be on another disk.
    let is_durable = [&aside, &moved_to].iter().try_for_each(|path| RealDisk.sync_folder(folder_of(path)));
    let forgotten = match is_durable {
        Ok(()) => forget_in_hand(view, entry).map_err(|error| error.to_string()),
        Err(error) => Err(format!("syncing its folders: {error}")),
    };
    if let Err(error) = forgotten {
        // As it was. If that fails as well, the next scan gives it its name, and finds it rejected.
        let _ = move_beside(&RealDisk, &aside, &moved_to);
        return Err(failed(&error));
    }
    move_beside(&RealDisk, &aside, &home).map_err(|error| failed(&error))?;
    // It tells of the last attempt; that it is gone already is no fault.
    drop(std::fs::remove_file(reason_path(&moved_to)));
    Ok(true)
}

/// Brings a rejected source from another disk to the disk of its home, and returns the entry as it is then. No kill leaves two
/// files of which either could be taken: no scan takes the copy, which is the source once the ledger says so.
fn bring_near(view: &LedgerView, entry: &Entry, moved_to: &Path, home: &Path) -> Result<Entry, Box<dyn Error>> {
    let copy = copy_near(&RealDisk, moved_to, home)?;
    let undo = || drop(std::fs::remove_file(&copy));
    match view.note_rejected(entry, &copy) {
        Ok(true) => {}
        Ok(false) => {
            undo();
            return Err("it is being moved at the moment: try again".into());
        }
        // Whether it was noted is not known: nothing is lost with two copies.
        Err(error) => return Err(error.into()),
    }
    let near = Entry { moved_to: Some(copy.clone()), ..entry.clone() };
    if let Err(error) = std::fs::remove_file(moved_to) {
        if view.note_rejected(&near, moved_to)? {
            undo();
        }
        return Err(error.into());
    }
    drop(std::fs::remove_file(reason_path(moved_to)));
    Ok(near)
}

/// A kill may have come between the note of a copy and the removal of what was copied: it lies where it was moved to, and nobody
/// has it any more. `entry`: as it was when that copy was brought back.
fn remove_what_was_copied(moved: &Moved<'_>, dataset: &Dataset, entry: &Entry) {
    let is_copy = entry.moved_to.as_deref().is_some_and(is_temporary);
    let Some(by_place) = Some(moved).filter(|_| is_copy).and_then(|moved| moved.by_place().ok()) else { return };
    let is_others = |path: &Path| by_place.contains_key(path);
    let Ok(Some(original)) = find_moved(&RealDisk, dataset, entry, &is_others) else { return };
    let status = RealDisk.status(&original).ok().flatten();
    if status.is_some_and(|status| status.mtime_ns == entry.identity.mtime_ns) {
        drop(std::fs::remove_file(&original));
        drop(std::fs::remove_file(reason_path(&original)));
    }
}

/// Refuses to bring back a source that would get another name, as a file has its own, where a scan would not take that name.
fn refuse_unwanted_name(dataset: &Dataset, root: &Path, home: &Path) -> Result<(), String> {
    let Some(name) = beside(home).find(|name| !matches!(RealDisk.status(name), Ok(Some(_)))) else { return Ok(()) };
    if name == home || name.strip_prefix(root).is_ok_and(|below| is_wanted(&dataset.watch, below)) {
        return Ok(());
    }
    Err(format!(
        "another file has its name, and {}, which it would get, is none that `include` and `exclude` let be taken: move the \
         other file away, and try again",
        text::path(&name)
    ))
}

/// Forgets a source whose file is in our hands. If it was noted meanwhile where the file was moved to, that is over.
fn forget_in_hand(view: &LedgerView, entry: &Entry) -> Result<(), LedgerError> {
    let noted_since = view.forget_rejected(std::slice::from_ref(entry))?;
    view.forget_rejected(&noted_since).map(drop)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Where a rejected source went: as the ledger has it or, where a crash came before it was noted, under the names that it can
/// have been given. `None`: nowhere.
///
/// # Errors
/// That cannot be told: a folder that it may be in is not there, or cannot be read.
fn where_it_is(moved: &Moved<'_>, dataset: &Dataset, entry: &Entry) -> Result<Option<PathBuf>, Box<dyn Error>> {
    if let Some(moved_to) = &entry.moved_to {
        if RealDisk.status(moved_to)?.is_none() {
            let missing = missing_folder(&RealDisk, dataset, moved_to)?;
            let is_away = |folder| format!("it was moved to {}, and {}", text::path(moved_to), folder_is_away(folder));
            missing.map_or(Ok(()), |folder| Err(is_away(folder)))?;
        } else if !moved.is_anothers(moved_to, entry)? {
            return Ok(Some(moved_to.clone()));
        }
    } else if let Some(folder) = watched_folder(dataset, entry) {
        // That it is not under its name has to be seen.
        RealDisk.status(&dataset.base.join(&entry.path))?;
        if RealDisk.status(folder)?.is_none() {
            return Err(folder_is_away(folder).into());
        }
    }
    let is_other = |other: &Entry| (other.id, &other.path) != (entry.id, &entry.path);
    let is_others = |path: &Path| {
        let by_place = moved.by_place().ok();
        by_place.and_then(|by_place| by_place.get(path)).is_some_and(|noted| noted.iter().any(is_other))
    };
    Ok(find_moved(&RealDisk, dataset, entry, &is_others)?)
}

fn folder_is_away(folder: &Path) -> String {
    format!(
        "the folder {} is not there: mount the disk that it is on or, if its files are gone for good, make it",
        text::path(folder)
    )
}

/// The watched folder that the source was found in, unless the config has other ones by now.
fn watched_folder<'a>(dataset: &'a Dataset, entry: &Entry) -> Option<&'a Path> {
    dataset.place_of(&dataset.base.join(&entry.path)).map(|place| dataset.root(place.folder))
}

/// The rejected sources of all datasets by where they were moved to, looked up once, and only if somebody has to know.
struct Moved<'a> {
    config: &'a Config,
    by_place: OnceCell<HashMap<PathBuf, Vec<Entry>>>,
}

impl Moved<'_> {
    /// Whether what has the name that the entry's source was given is another rejected source, of whatever dataset: the entry's
    /// own was taken away then. What no ledger knows is the entry's own, mended where it lies.
    fn is_anothers(&self, path: &Path, entry: &Entry) -> Result<bool, Box<dyn Error>> {
        let status = FileStatus::from(&std::fs::metadata(path)?);
        if is_it(&RealDisk, path, &status, entry)? {
            return Ok(false);
        }
        for other in self.by_place()?.get(path).into_iter().flatten() {
            if is_it(&RealDisk, path, &status, other)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn by_place(&self) -> Result<&HashMap<PathBuf, Vec<Entry>>, LedgerError> {
        if let Some(by_place) = self.by_place.get() {
            return Ok(by_place);
        }
        let mut by_place: HashMap<PathBuf, Vec<Entry>> = HashMap::new();
        for dataset in &self.config.datasets {
            let Some(view) = LedgerView::open(&Paths::new(&dataset.output).ledger)? else { continue };
            for entry in view.rejected(None)? {
                if let Some(place) = entry.moved_to.clone() {
                    by_place.entry(place).or_default().push(entry);
                }
            }
        }
        Ok(self.by_place.get_or_init(|| by_place))
    }
}

/// Asks a running service to scan now.
fn wake(dataset: &Dataset, paths: &Paths) -> Result<(), Failure> {
    let Some(pid) = lock_holder(&paths.main) else { return Ok(()) };
    // Somebody else may hold a lock on the file, and would die of the signal.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.filter(|_| name.trim_end() == "npy-ingest");
    let woken = pid.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::USR1).is_ok());
    if woken {
        return Ok(());
    }
    print(&format!("{}: the running service finds them at its next scan\n", dataset.name))
}
