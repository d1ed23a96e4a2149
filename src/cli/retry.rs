//! `npy-ingest retry`: another chance for rejected sources.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::args::{RetryOptions, chosen};
use super::failure::{Failure, warn};
use super::{DONE, FAILED, print, text};
use crate::config::{Config, Dataset, Disposal, Paths};
use crate::intake::is_wanted;
use crate::ledger::{Entry, LedgerError, LedgerView};
use crate::source::Identity;
use crate::storage::file_name::beside;
use crate::storage::{Disk, FileStatus, RealDisk, lock_holder};
use crate::writer::{
    copy_near, find_moved, has_room_aside, is_any_aside, is_it, is_temporary, make_folders, missing_folder, move_aside,
    move_beside, reason_path, set_aside,
};

/// So long a source is waited for that a service has set aside, and it is looked at so often.
const WAIT_MAX: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
    let stays = |entry: &Entry| stays(moved, dataset, entry);
    let (mut entries, mut others): (Vec<Entry>, Vec<Entry>) =
        names.chosen(dataset, &view)?.into_iter().partition(stays);
    // A running service may have moved some of them away since they were read.
    let moved_since = view.forget_rejected(&entries)?;
    entries.retain(|entry| !moved_since.iter().any(|moved| moved.id == entry.id));
    others.extend(moved_since);
    // One by one: each is forgotten while its file is set aside where it was taken, so that a running service neither takes
    // it for the rejected one nor moves it, and there is no instant at which nobody knows of it.
    for entry in others {
        match take_again(moved, dataset, &view, &entry) {
            Ok(true) => entries.push(entry),
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

/// Whether a source is under its name and no service moves it from there, or a mended one is. What was moved away is where it
/// went, whatever has its name by now.
fn stays(moved: &Moved<'_>, dataset: &Dataset, entry: &Entry) -> bool {
    let home = dataset.base.join(&entry.path);
    let status = RealDisk.status(&home);
    let Some(status) = status.ok().flatten().filter(|_| entry.moved_to.is_none()) else { return false };
    if Identity::from(&status) == entry.identity {
        return dataset.watch.rejected == Disposal::Keep || dataset.decoder.follows() || !has_room_aside(&home);
    }
    // It may be on its way, or a crash may have come before it was noted where it went.
    !is_aside(&home) && matches!(where_it_is(moved, dataset, entry), Ok(None))
}

/// Whether something is set aside where this would be. To be asked before the look at where it goes from there.
fn is_aside(home: &Path) -> bool {
    is_any_aside(&RealDisk, home).unwrap_or(true)
}

/// Whether a source that was not moved, as far as is noted, is under its name.
fn is_at_home(home: &Path, entry: &Entry) -> bool {
    let status = RealDisk.status(home).ok().flatten().filter(|_| entry.moved_to.is_none());
    status.is_some_and(|status| Identity::from(&status) == entry.identity)
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

/// Has a source in hand, where it is or where it was moved to when it was rejected, forgets that it was rejected, and gives it its
/// name again. One that is nowhere is forgotten, too: `false`.
fn take_again(moved: &Moved<'_>, dataset: &Dataset, view: &LedgerView, entry: &Entry) -> Result<bool, String> {
    let started = Instant::now();
    loop {
        if let Some(is_there) = try_to_take_again(moved, dataset, view, entry)? {
            return Ok(is_there);
        }
        if started.elapsed() > WAIT_MAX {
            let home = text::path(&dataset.base.join(&entry.path));
            return Err(format!(
                "{home} is being moved at the moment, or was when a run was cut short: try again after the next scan"
            ));
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// As [`take_again`]. `None`: it is being moved.
fn try_to_take_again(
    moved: &Moved<'_>,
    dataset: &Dataset,
    view: &LedgerView,
    entry: &Entry,
) -> Result<Option<bool>, String> {
    let home = dataset.base.join(&entry.path);
    if is_at_home(&home, entry) {
        let aside = set_aside(&RealDisk, &home, entry.identity).map_err(|error| as_before(&home, &error))?;
        if let Some(aside) = aside {
            return forget(view, entry, &aside.path, &home, &home).map(|()| Some(true));
        }
    }
    let is_aside = is_aside(&home);
    let found = where_it_is(moved, dataset, entry);
    let found = found.map_err(|error| format!("looking for {}: {error}", text::path(&home)))?;
    let Some(moved_to) = found.filter(|_| !is_aside || entry.moved_to.is_some()) else {
        if is_aside || is_at_home(&home, entry) {
            return Ok(None);
        }
        let moved_since = view.forget_rejected(std::slice::from_ref(entry)).map_err(|error| error.to_string())?;
        return Ok(moved_since.is_empty().then_some(false));
    };
    bring_back(moved, dataset, view, entry, &moved_to).map(|()| Some(true))
}

/// Moves a source back that was moved away when it was rejected, and forgets that it was.
fn bring_back(
    moved: &Moved<'_>,
    dataset: &Dataset,
    view: &LedgerView,
    entry: &Entry,
    moved_to: &Path,
) -> Result<(), String> {
    let home = dataset.base.join(&entry.path);
    let failed = |error: &dyn Display| {
        let error = format!("it could not be brought back from {}: {error}", text::path(moved_to));
        as_before(&home, &error)
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
    if is_temporary(moved_to) {
        remove_what_was_copied(moved, dataset, entry).map_err(|error| failed(&error))?;
    }
    let near;
    let (entry, from, aside) = match move_aside(&RealDisk, moved_to, &home) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            near = bring_near(view, entry, moved_to, &home).map_err(|error| failed(&error))?;
            let copy = near.moved_to.as_deref().unwrap_or(moved_to);
            (&near, copy, move_aside(&RealDisk, copy, &home))
        }
        aside => (entry, moved_to, aside),
    };
    let aside = aside.map_err(|error| failed(&error))?;
    // The way back is durable before the ledger forgets it, which may be on another disk.
    if let Err(error) = [&aside, from].iter().try_for_each(|path| RealDisk.sync_folder(folder_of(path))) {
        let _ = move_beside(&RealDisk, &aside, from);
        return Err(failed(&format!("syncing its folders: {error}")));
    }
    forget(view, entry, &aside, from, &home)?;
    // It tells of the last attempt; that it is gone already is no fault.
    drop(std::fs::remove_file(reason_path(from)));
    Ok(())
}

fn as_before(home: &Path, error: &dyn Display) -> String {
    format!("{}: {error}; it is rejected as before", text::path(home))
}

/// Forgets a source that is set aside, and gives it its name again. What fails leaves it where it was taken `from`.
fn forget(view: &LedgerView, entry: &Entry, aside: &Path, from: &Path, home: &Path) -> Result<(), String> {
    let forget = || {
        let noted_since = view.forget_rejected(std::slice::from_ref(entry))?;
        match noted_since.is_empty() || RealDisk.status(aside)?.is_some() {
            // If it was noted meanwhile where the file was moved to, that is over.
            true => Ok(view.forget_rejected(&noted_since).map(drop)?),
            false => Err::<(), Box<dyn Error>>("it was moved away meanwhile: try again".into()),
        }
    };
    if let Err(error) = forget() {
        // If that fails as well, the next scan gives it its name, and finds it rejected.
        let _ = move_beside(&RealDisk, aside, from);
        return Err(as_before(home, &error));
    }
    match move_beside(&RealDisk, aside, home) {
        // A scan has given it its name already.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(format!("{} could not be given its name again: {error}; the next scan does it", text::path(aside)))
        }
        Ok(_) => Ok(()),
    }
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

/// A kill may have come between the note of a copy and the removal of what was copied: it lies where it was moved to, and would
/// be nobody's. `entry`: of which the copy is noted still.
fn remove_what_was_copied(moved: &Moved<'_>, dataset: &Dataset, entry: &Entry) -> Result<(), Box<dyn Error>> {
    let by_place = moved.by_place()?;
    let Some(original) = find_moved(&RealDisk, dataset, entry, &|path| Ok(by_place.contains_key(path)))? else {
        return Ok(());
    };
    std::fs::remove_file(&original)?;
    drop(std::fs::remove_file(reason_path(&original)));
    Ok(())
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
        let by_place = moved.by_place().map_err(io::Error::other)?;
        Ok(by_place.get(path).is_some_and(|noted| noted.iter().any(is_other)))
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
