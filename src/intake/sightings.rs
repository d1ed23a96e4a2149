//! Where each log was when it was last seen, by its inode: one that has another name by now is found by the next scan,
//! whether an event told of that or not, and whether rows of it are there or not.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::dataset::DatasetIntake;
use super::logs::is_still;
use super::look::{LogLook, Look};
use super::scan::is_wanted;
use crate::ledger::{Entry, LedgerError};
use crate::source::{Identity, LogState, Place};
use crate::storage::{FileStatus, open_without_waiting};

/// A log as it was seen.
#[derive(Debug, Clone)]
pub struct Sighting {
    place: Place,
    status: FileStatus,
    by: Witness,
}

/// Who saw it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Witness {
    /// An earlier run: it is in the ledger.
    Ledger,
    Event,
    Look,
}

impl Sighting {
    /// Of a file that has its name now.
    pub fn looked_at(place: &Place, status: FileStatus) -> Self {
        Self { place: place.clone(), status, by: Witness::Look }
    }

    /// Whether this is surely the same file, and no shorter. Of two that had an inode one after the other, the time when it was
    /// made tells which.
    fn is(&self, status: &FileStatus) -> bool {
        let is_one = status.inode == self.status.inode && status.size >= self.status.size;
        is_one && status.born_ns.is_some() && status.born_ns == self.status.born_ns
    }
}

/// The logs of a dataset that are somewhere.
#[derive(Debug, Default)]
pub struct Sightings {
    by_inode: HashMap<u64, Sighting>,
}

impl Sightings {
    pub fn was_at(&self, place: &Place) -> bool {
        self.by_inode.values().any(|sighting| sighting.place == *place)
    }

    pub fn note(&mut self, sighting: Sighting) {
        self.by_inode.insert(sighting.status.inode, sighting);
    }

    fn note_if_new(&mut self, sighting: Sighting) {
        self.by_inode.entry(sighting.status.inode).or_insert(sighting);
    }

    /// A scan has met these files; all others are gone.
    pub fn renew(&mut self, met: &[(Place, FileStatus)]) {
        let seen = met.iter().map(|(place, status)| (status.inode, Sighting::looked_at(place, *status)));
        self.by_inode = seen.collect();
    }
}

/// A log that is nowhere in its folder.
pub struct Missing {
    sighting: Sighting,
    /// What was taken of it, and not of another log that had its inode before.
    state: Option<LogState>,
}

impl DatasetIntake {
    /// An event told of a log. It may have another name before it is looked at.
    pub(super) fn sight(&mut self, place: &Place) {
        if let Ok(metadata) = fs::symlink_metadata(self.lane.path_of(place))
            && metadata.is_file()
        {
            let seen = Sighting::looked_at(place, FileStatus::from(&metadata));
            let before = self.logs.sightings.by_inode.get(&seen.status.inode);
            let is_same = |before: &&Sighting| before.status.born_ns == seen.status.born_ns;
            let by = before.filter(is_same).map_or(Witness::Event, |before| before.by);
            self.logs.sightings.note(Sighting { by, ..seen });
        }
    }

    /// Whether a file whose name is no source's is a log that had the name of one, and of which nothing was taken yet.
    pub(super) fn is_log(&self, place: &Place, inode: u64) -> bool {
        let Some(sighting) = self.logs.sightings.by_inode.get(&inode) else { return false };
        fs::symlink_metadata(self.lane.path_of(place)).is_ok_and(|metadata| sighting.is(&FileStatus::from(&metadata)))
    }

    /// Adds to the files of a scan the logs that have names by now which are no sources'. The others that it has not met.
    pub(super) fn find_renamed(
        &mut self,
        look: &Look,
        files: &mut Vec<(Place, FileStatus)>,
    ) -> Result<Vec<Missing>, LedgerError> {
        if !self.logs.were_read {
            self.remember(look, files)?;
            self.logs.were_read = true;
        }
        let met: HashSet<u64> = files.iter().map(|(_, status)| status.inode).collect();
        let sightings = &self.logs.sightings.by_inode;
        let not_met: Vec<Sighting> =
            sightings.values().filter(|sighting| !met.contains(&sighting.status.inode)).cloned().collect();
        let mut folders: HashMap<PathBuf, HashMap<u64, PathBuf>> = HashMap::new();
        let mut missing = Vec::new();
        for sighting in not_met {
            // What was taken may have been of another file, which had the inode before.
            let state = match look.is_another(&sighting.status)? {
                true => None,
                false => look.log_of_inode(sighting.status.inode)?,
            };
            let home = self.lane.path_of(&sighting.place);
            let folder = home.parent().unwrap_or(Path::new("/"));
            let beside = folders.entry(folder.to_owned()).or_insert_with(|| by_inode(folder));
            match beside.get(&sighting.status.inode).and_then(|path| found(path, &sighting, state.as_ref())) {
                Some((path, status)) if let Some(place) = self.place_of(&path) => {
                    if !is_wanted(&self.lane.options.watch, &place.below) {
                        self.logs.moved.insert(place.clone());
                    }
                    files.push((place, status));
                }
                _ => missing.push(Missing { sighting, state }),
            }
        }
        Ok(missing)
    }

    /// What an earlier run followed counts as seen: the newest logs, and those whose names others have now.
    fn remember(&mut self, look: &Look, files: &[(Place, FileStatus)]) -> Result<(), LedgerError> {
        let mut entries: Vec<_> = look.newest_logs()?.into_iter().map(|log| log.entry).collect();
        for (place, status) in files {
            entries.extend(look.log_at_path(place)?.filter(|entry| entry.identity.inode != status.inode));
        }
        for entry in entries {
            let Identity { size, mtime_ns, inode } = entry.identity;
            if let Some(place) = self.place_of(&self.lane.options.base.join(&entry.path)) {
                let status = FileStatus {
                    device: 0,
                    inode,
                    size,
                    mtime_ns,
                    ctime_ns: 0,
                    born_ns: None,
                    is_regular: true,
                    is_folder: false,
                };
                self.logs.sightings.note_if_new(Sighting { place, status, by: Witness::Ledger });
            }
        }
        Ok(())
    }

    /// Tells of logs that are gone, as far as more than what was taken may have been in them.
    pub(super) fn tell_of_missing(&self, look: &Look, missing: Vec<Missing>) -> Result<(), LedgerError> {
        let dataset = &self.lane.options.name;
        let mut earlier = 0;
        for Missing { sighting, state } in missing {
            let Sighting { place, status, by, .. } = &sighting;
            let path = self.lane.path_of(place);
            match state {
                Some(state) if goes_on_in(&path, &state) => {}
                Some(state) if *by == Witness::Ledger && is_told(look, place, &path, &state)? => earlier += 1,
                Some(state) if status.size == state.part.end => tracing::info!(
                    dataset,
                    source = &*path.to_string_lossy(),
                    "the log is gone, and not in its folder under another name: all that was seen of it was taken, {} bytes",
                    state.part.end
                ),
                Some(state) => tracing::warn!(
                    dataset,
                    source = &*path.to_string_lossy(),
                    "the log is gone, and not in its folder under another name: {} bytes of it were taken; whether there \
                     were more is not known",
                    state.part.end
                ),
                None if *by == Witness::Look && status.size > 0 && look.log(place, status)? != LogLook::Nothing => {
                    tracing::warn!(
                        dataset,
                        source = &*path.to_string_lossy(),
                        "the log is gone, and not in its folder under another name: nothing of its {} bytes was taken",
                        status.size
                    );
                }
                None => {}
            }
        }
        if earlier > 0 {
            tracing::info!(
                dataset,
                "logs that an earlier run followed are not in their folders any more: {earlier}; whether there was more in \
                 them than what was taken is not known"
            );
        }
        Ok(())
    }
}

/// Whether it is old news that a log of an earlier run is gone: nothing has its name, or another log of an earlier run.
fn is_told(look: &Look, place: &Place, path: &Path, state: &LogState) -> Result<bool, LedgerError> {
    let is_another = |entry: Entry| entry.source_id() != state.part.log;
    Ok(fs::symlink_metadata(path).is_err() || look.log_at_path(place)?.is_some_and(is_another))
}

/// The file, if it is the log that was seen.
fn found(path: &Path, sighting: &Sighting, state: Option<&LogState>) -> Option<(PathBuf, FileStatus)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let status = FileStatus::from(&metadata);
    let is_it = match state {
        // One that was cut waits until it is closed.
        Some(state) => status.size >= state.part.end && is_still(path, state) || sighting.is(&status),
        None => sighting.is(&status),
    };
    (status.is_regular && status.inode == sighting.status.inode && is_it).then(|| (path.to_owned(), status))
}

/// The names in a folder. One that cannot be read is as an empty one: the scan has told of it.
fn by_inode(folder: &Path) -> HashMap<u64, PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return HashMap::new() };
    entries.flatten().map(|entry| (entry.ino(), entry.path())).collect()
}

/// Whether the file that has the log's name by now holds what was taken of it: it was replaced by a longer one of the same.
fn goes_on_in(path: &Path, state: &LogState) -> bool {
    !state.part.is_empty() && open_without_waiting(path).and_then(|file| state.part.is_of(&file)).unwrap_or(false)
}
