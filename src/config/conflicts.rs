//! What is right by itself and impossible together: names, files and folders of several datasets.
//!
//! The fault stands at the dataset that comes later in the file, and names the other one with its line.

use std::path::{Path, PathBuf};

use super::dataset::DatasetDraft;
use super::files::Paths;
use super::item::{Item, Located};
use super::world::{Disposal, Watch};

/// A dataset, and where its places are on the disk: without symbolic links, as far as they are there.
struct Placed<'d, 'a> {
    draft: &'d DatasetDraft<'a>,
    /// As `draft.watch.folders`.
    folders: Vec<PathBuf>,
    /// As `draft.watch.move_targets`.
    targets: Vec<PathBuf>,
    /// All that may be of the output.
    files: Vec<PathBuf>,
}

impl<'d, 'a> Placed<'d, 'a> {
    fn new(draft: &'d DatasetDraft<'a>) -> Self {
        let real_ones = |located: &[Located<'_, PathBuf>]| located.iter().map(|place| real(&place.value)).collect();
        let files = draft.output.iter().flat_map(|output| Paths::new(&output.value).all());
        Self {
            draft,
            folders: real_ones(&draft.watch.folders),
            targets: real_ones(&draft.watch.move_targets),
            files: files.map(|file| real(&file)).collect(),
        }
    }

    fn watch(&self) -> &Watch {
        &self.draft.watch.watch
    }

    /// The first watched folder of which this is so.
    fn folder(&self, is_it: impl Fn(&Path) -> bool) -> Option<(&Path, &Located<'a, PathBuf>)> {
        self.folders.iter().map(PathBuf::as_path).zip(&self.draft.watch.folders).find(|(folder, _)| is_it(folder))
    }

    /// Whether it takes a file at `path` for a source.
    fn takes(&self, path: &Path) -> bool {
        self.folders.iter().filter_map(|folder| path.strip_prefix(folder).ok()).any(|below| self.takes_below(below))
    }

    /// The same, by its path below a watched folder.
    fn takes_below(&self, below: &Path) -> bool {
        let watch = self.watch();
        let in_reach = watch.recursive || below.components().count() == 1;
        in_reach && watch.include.is_match(below) && !watch.exclude.is_match(below)
    }
}

/// The path without symbolic links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    for there in path.ancestors() {
        if let (Ok(real), Ok(below)) = (std::fs::canonicalize(there), path.strip_prefix(there)) {
            return real.join(below);
        }
    }
    path.to_owned()
}

/// Reports every conflict within and between the datasets.
pub(super) fn report(datasets: &[DatasetDraft<'_>]) {
    let placed: Vec<_> = datasets.iter().map(Placed::new).collect();
    for (at, dataset) in placed.iter().enumerate() {
        for other in placed.iter().take(at) {
            same_name(dataset.draft, other.draft);
            same_files(dataset, other);
            shared_folders(dataset, other);
        }
        for watcher in &placed {
            output_is_source(dataset, watcher);
            moved_is_source(dataset, watcher);
            moved_is_output(dataset, watcher);
        }
    }
}

fn at_line(item: &Item<'_>) -> String {
    format!("line {}", item.line())
}

fn same_name(dataset: &DatasetDraft<'_>, other: &DatasetDraft<'_>) {
    let (Some(name), Some(first)) = (&dataset.name, &other.name) else { return };
    if name.value == first.value {
        name.item.fault_with_help(
            format!(
                "found {}, which is the name of the dataset in {} already",
                name.item.found(),
                at_line(&first.item)
            ),
            "names are unique",
        );
    }
}

fn same_files(dataset: &Placed<'_, '_>, other: &Placed<'_, '_>) {
    let (Some(output), Some(first)) = (&dataset.draft.output, &other.draft.output) else { return };
    let Some(file) = dataset.files.iter().find(|file| other.files.contains(file)) else { return };
    let (found, title, line) = (output.item.found(), other.draft.title(), at_line(&first.item));
    let why = if output.value == first.value {
        format!("found {found}, which is the output of {title} ({line}) already")
    } else {
        let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("found {found}, but {file} belongs to the output of {title} ({line}) as well")
    };
    output.item.fault_with_help(why, "choose another name");
}

/// Two datasets may read the same files as long as neither takes them away.
fn shared_folders(dataset: &Placed<'_, '_>, other: &Placed<'_, '_>) {
    let keeps =
        |placed: &Placed<'_, '_>| placed.watch().after == Disposal::Keep && placed.watch().rejected == Disposal::Keep;
    if keeps(dataset) && keeps(other) {
        return;
    }
    for (real, folder) in dataset.folders.iter().zip(&dataset.draft.watch.folders) {
        let is_shared = |first: &Path| {
            real == first || sees_below(first, other.watch(), real) || sees_below(real, dataset.watch(), first)
        };
        let Some((_, first)) = other.folder(is_shared) else { continue };
        folder.item.fault_with_help(
            format!(
                "found {}, which {} watches too ({}), and one of the two deletes or moves files: it may do so before the \
                 other has read them (`include` and `exclude` are not compared)",
                folder.item.found(),
                other.draft.title(),
                at_line(&first.item)
            ),
            "set after = \"keep\" and rejected = \"keep\" in both, or give each its own folder",
        );
    }
}

/// Whether a watch of `folder` looks into `below`, another folder.
fn sees_below(folder: &Path, watch: &Watch, below: &Path) -> bool {
    watch.recursive && below != folder && below.starts_with(folder)
}

/// An output that is a source of its own would grow for ever.
fn output_is_source(dataset: &Placed<'_, '_>, watcher: &Placed<'_, '_>) {
    let Some(output) = &dataset.draft.output else { return };
    let mut files = dataset.files.iter().zip(Paths::new(&output.value).all());
    let Some((_, file)) = files.find(|(real, _)| watcher.takes(real)) else { return };
    let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    output.item.fault_with_help(
        format!("found {}, but {} would take {file} for a source", output.item.found(), watcher.draft.title()),
        "put the output into a folder that is not watched",
    );
}

/// A source that is moved to where it is found again would be taken again.
fn moved_is_source(dataset: &Placed<'_, '_>, watcher: &Placed<'_, '_>) {
    for (real, target) in dataset.targets.iter().zip(&dataset.draft.watch.move_targets) {
        let sees = |folder: &Path| {
            folder == real
                || sees_below(folder, watcher.watch(), real)
                // Files keep their path below the target, so they may come to lie in a folder that is watched there.
                || sees_below(real, dataset.watch(), folder)
        };
        let Some((real_folder, folder)) = watcher.folder(sees) else { continue };
        let how = match (real_folder == real, real.starts_with(real_folder)) {
            (true, _) => "which is a watched folder",
            (false, true) => "which is inside a watched folder",
            (false, false) => "which is around a watched folder",
        };
        target.item.fault_with_help(
            format!(
                "found {}, {how} of {} ({}): what is moved there would be taken again",
                target.item.found(),
                watcher.draft.title(),
                at_line(&folder.item)
            ),
            "move to a folder beside the watched ones",
        );
    }
}

/// A source that has the name of an output's file, or of one that SQLite or a commit makes beside it, would be lost.
fn moved_is_output(dataset: &Placed<'_, '_>, owner: &Placed<'_, '_>) {
    let Some(output) = &owner.draft.output else { return };
    for (real, target) in dataset.targets.iter().zip(&dataset.draft.watch.move_targets) {
        let could_get_its_name = |file: &PathBuf| {
            let below = file.strip_prefix(real).ok();
            below.is_some_and(|below| below.components().count() == 1 || dataset.takes_below(below))
        };
        if !owner.files.iter().any(could_get_its_name) {
            continue;
        }
        target.item.fault_with_help(
            format!(
                "found {}, where the output of {} lies ({}): what is moved there could get the name of one of its files",
                target.item.found(),
                owner.draft.title(),
                at_line(&output.item)
            ),
            "move to a folder of its own",
        );
    }
}
