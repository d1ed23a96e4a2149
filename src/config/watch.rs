//! `[dataset.watch]`: which files are sources, and what becomes of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::choice::{Choice, choices};
use super::item::{Item, Located};
use super::section::Section;
use super::world::{Changed, Disposal, Duplicates, HardLinks, Order, Watch, WatchMode};

/// Left alone unless the config says otherwise: hidden files, and the names under which programs write what is not
/// finished.
const EXCLUDE_DEFAULT: [&str; 3] = ["**/.*", "**/*.part", "**/*.tmp"];
/// The most folders, and the most globs of one kind, of one dataset.
const LIST_MAX: usize = 256;
const SETTLE_DEFAULT: Duration = Duration::from_millis(200);
const SETTLE_MAX: Duration = Duration::from_hours(1);
const RESCAN_DEFAULT: Duration = Duration::from_mins(1);
const RESCAN_MIN: Duration = Duration::from_secs(1);
const RESCAN_MAX: Duration = Duration::from_hours(24);

#[derive(Clone, Copy, PartialEq)]
enum After {
    Keep,
    Delete,
    Move,
}

#[derive(Clone, Copy, PartialEq)]
enum Rejected {
    Keep,
    Move,
}

choices! {
    After { Keep = "keep", Delete = "delete", Move = "move" }
    Rejected { Keep = "keep", Move = "move" }
}

/// `[dataset.watch]`, as far as it could be read, with the places that checks between datasets point to.
pub(super) struct WatchDraft<'a> {
    pub(super) folders: Vec<Located<'a, PathBuf>>,
    /// `move_to` and `rejected_to`, where they apply.
    pub(super) move_targets: Vec<Located<'a, PathBuf>>,
    /// Its folders are those of the draft that could be read; sound only if nothing was reported.
    pub(super) watch: Watch,
}

/// Reads the table. `extensions`: those of the decoder, without the dot, for the default of `include`.
pub(super) fn read<'a>(section: Section<'a>, base: &Path, extensions: &[&str]) -> WatchDraft<'a> {
    let folders = read_folders(&section, base);
    let include = section.item("include").map(|item| read_globs(&item, false));
    let exclude = section.item("exclude").map(|item| read_globs(&item, true));
    let recursive = section.flag("recursive", true);
    let settle = section.item("settle").and_then(|item| item.duration(Duration::ZERO..=SETTLE_MAX, "200ms"));
    let mode = section.choice("mode", WatchMode::Auto);
    let rescan = section.item("rescan").and_then(|item| item.duration(RESCAN_MIN..=RESCAN_MAX, "60s"));
    let order = section.choice("order", Order::Arrival);
    let mut move_targets = Vec::new();
    let after = disposal::<After>(&section, base, "after", ("move_to", "done"), &mut move_targets);
    let rejected = disposal::<Rejected>(&section, base, "rejected", ("rejected_to", "failed"), &mut move_targets);
    let changed = section.choice("changed", Changed::Ignore);
    let duplicates = section.choice("duplicates", Duplicates::Append);
    let hard_links = section.choice("hard_links", HardLinks::Take);
    section.finish();
    let watch = Watch {
        folders: folders.iter().map(|folder| folder.value.clone()).collect(),
        folder_names: folders.iter().map(|folder| name_in_ledger(folder, base)).collect(),
        include: include.unwrap_or_else(|| default_include(extensions)),
        exclude: exclude.unwrap_or_else(|| trusted_globs(EXCLUDE_DEFAULT.iter().map(|g| (*g).to_owned()))),
        recursive,
        settle: settle.unwrap_or(SETTLE_DEFAULT),
        mode,
        rescan: rescan.unwrap_or(RESCAN_DEFAULT),
        order,
        after,
        rejected,
        changed,
        duplicates,
        hard_links,
    };
    WatchDraft { folders, move_targets, watch }
}

/// The folder as the ledger names it: as the config does, without `.` and `..`; absolute where `..` leads out of `base`.
fn name_in_ledger(folder: &Located<'_, PathBuf>, base: &Path) -> PathBuf {
    let is_absolute = folder.item.text("a folder").is_some_and(|text| Path::new(text).is_absolute());
    let below = folder.value.strip_prefix(base);
    match below {
        Ok(below) if !is_absolute => below.to_owned(),
        _ => folder.value.clone(),
    }
}

fn read_folders<'a>(section: &Section<'a>, base: &Path) -> Vec<Located<'a, PathBuf>> {
    let Some(item) = section.required("folders", "[\"drop\"]") else {
        return Vec::new();
    };
    let Some(elements) = item.elements("an array of folders such as [\"drop\"]") else {
        return Vec::new();
    };
    if elements.is_empty() {
        item.fault("found [], expected at least one folder such as [\"drop\"]");
    }
    if elements.len() > LIST_MAX {
        item.fault(format!("found {} folders, expected at most {LIST_MAX}", elements.len()));
        return Vec::new();
    }
    let mut folders: Vec<Located<'a, PathBuf>> = Vec::new();
    for item in elements {
        let Some(value) = item.path(base, "a folder") else { continue };
        let other = folders.iter().find(|other| value.starts_with(&other.value) || other.value.starts_with(&value));
        if let Some(other) = other {
            let how = match (other.value == value, value.starts_with(&other.value)) {
                (true, _) => "the same folder as",
                (false, true) => "inside",
                (false, false) => "around",
            };
            let (found, first) = (item.found(), other.item.found());
            item.fault_with_help(
                format!("found {found}, which is {how} {first}: its files would be taken twice"),
                "remove one of the two",
            );
        }
        folders.push(Located { value, item });
    }
    folders
}

/// An array of globs. An empty one makes sense for `exclude` only.
fn read_globs(item: &Item<'_>, may_be_empty: bool) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    let Some(elements) = item.elements("an array of globs such as [\"**/*.jpg\"]") else {
        return GlobSet::empty();
    };
    if !may_be_empty && elements.is_empty() {
        item.fault("found [], expected at least one glob: without one, no file would be taken");
    }
    if elements.len() > LIST_MAX {
        item.fault(format!("found {} globs, expected at most {LIST_MAX}", elements.len()));
        return GlobSet::empty();
    }
    for item in elements {
        let Some(text) = item.text("a glob such as \"**/*.jpg\"") else { continue };
        let below = text.trim_start_matches("./").trim_start_matches('/');
        if below != text {
            item.fault_with_help(
                format!("found {}, but globs are matched with the path below the folder", item.found()),
                format!("did you mean {below:?}?"),
            );
            continue;
        }
        if let Some((why, help)) = never_matches(text) {
            item.fault_with_help(format!("found {}, {why}", item.found()), help);
            continue;
        }
        match glob(text) {
            Ok(glob) => {
                set.add(glob);
            }
            Err(error) => item.fault(format!("found {}, which is no glob: {}", item.found(), error.kind())),
        }
    }
    set.build().unwrap_or_else(|error| {
        item.fault(format!("these globs cannot be used together: {}", error.kind()));
        GlobSet::empty()
    })
}

/// What is in a glob and in no path below a folder, so that it would match nothing, and what may be meant.
fn never_matches(text: &str) -> Option<(&'static str, String)> {
    let trimmed = text.trim();
    if trimmed != text {
        let help = format!("did you mean {trimmed:?}? A blank that is meant is written `[ ]`");
        return Some(("which begins or ends with a blank", help));
    }
    if text.split('/').any(|part| part == "..") {
        let help = "name the other folder in `folders`".to_owned();
        return Some(("but globs are matched with the path below the folder, which has no `..`", help));
    }
    let file = text.strip_suffix('/')?.trim_end_matches('/');
    let help = format!("write {:?} for all that is in a folder, or {file:?} for files", format!("{file}/**"));
    Some(("but no path of a file ends with a slash", help))
}

/// One glob: `*` stays within a folder name, `**` goes through folders, letters match in either case.
fn glob(text: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).case_insensitive(true).backslash_escape(true).build()
}

fn default_include(extensions: &[&str]) -> GlobSet {
    if extensions.is_empty() {
        return trusted_globs(std::iter::once("**/*".to_owned()));
    }
    let plain = |extension: &&str| globset::escape(extension.trim_start_matches('.'));
    trusted_globs(extensions.iter().map(plain).map(|extension| format!("**/*.{extension}")))
}

/// The globs of the program itself, which the tests know to be sound.
fn trusted_globs(globs: impl Iterator<Item = String>) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in globs.filter_map(|text| glob(&text).ok()) {
        set.add(glob);
    }
    set.build().unwrap_or_default()
}

/// What becomes of a source: `after` with its `move_to`, or `rejected` with its `rejected_to`.
trait Fate: Choice {
    const MOVE: Self;
    /// The meaning of any other word.
    fn disposal(self) -> Disposal;
}

impl Fate for After {
    const MOVE: Self = Self::Move;

    fn disposal(self) -> Disposal {
        if self == Self::Delete { Disposal::Delete } else { Disposal::Keep }
    }
}

impl Fate for Rejected {
    const MOVE: Self = Self::Move;

    fn disposal(self) -> Disposal {
        Disposal::Keep
    }
}

fn disposal<'a, T: Fate>(
    section: &Section<'a>,
    base: &Path,
    name: &'static str,
    (target_name, target_example): (&'static str, &str),
    move_targets: &mut Vec<Located<'a, PathBuf>>,
) -> Disposal {
    let item = section.item(name);
    let target = section.item(target_name);
    // The outer option: is the key there? The inner one: could it be read?
    let fate = item.as_ref().map(Item::choice::<T>);
    match (fate, target) {
        (Some(Some(fate)), Some(target)) if fate == T::MOVE => match target.path(base, "a folder") {
            Some(value) => {
                move_targets.push(Located { value: value.clone(), item: target });
                Disposal::Move(value)
            }
            None => Disposal::Keep,
        },
        (Some(Some(fate)), None) if fate == T::MOVE => {
            if let Some(item) = item {
                section.report().missing(
                    item.span(),
                    &item.key,
                    format!("\"move\" needs a folder, but `{target_name}` is missing"),
                    format!("add {target_name} = {target_example:?}"),
                );
            }
            Disposal::Keep
        }
        (None | Some(Some(_)), Some(target)) => {
            target.fault_with_help(
                format!("found {}, but nothing is moved without {name} = \"move\"", target.found()),
                format!("add {name} = \"move\", or remove the line"),
            );
            Disposal::Keep
        }
        (fate, _) => fate.flatten().map_or(Disposal::Keep, T::disposal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(set: &GlobSet, path: &str) -> bool {
        set.is_match(path)
    }

    #[test]
    fn the_default_include_takes_the_extensions_in_any_folder_and_case() {
        let set = default_include(&["jpg", ".png"]);
        assert_eq!(set.len(), 2);
        for path in ["a.jpg", "x/y/a.JPG", "b.Png"] {
            assert!(takes(&set, path), "{path}");
        }
        for path in ["a.jpeg", "jpg", "a.jpg/b", "a.jpg.part"] {
            assert!(!takes(&set, path), "{path}");
        }
        assert_eq!(default_include(crate::decode::image::EXTENSIONS).len(), crate::decode::image::EXTENSIONS.len());
    }

    #[test]
    fn the_default_exclude_leaves_out_hidden_and_unfinished_files() {
        let set = trusted_globs(EXCLUDE_DEFAULT.iter().map(|g| (*g).to_owned()));
        assert_eq!(set.len(), EXCLUDE_DEFAULT.len());
        for path in [".a.jpg", "x/.a.jpg", "a.jpg.part", "x/y.TMP"] {
            assert!(takes(&set, path), "{path}");
        }
        assert!(!takes(&set, "a.jpg"));
    }

    #[test]
    fn a_star_stays_within_one_folder() {
        let set = trusted_globs(["*.jpg".to_owned(), "cam?/*.png".to_owned()].into_iter());
        assert!(takes(&set, "a.jpg") && takes(&set, "cam1/b.png"));
        assert!(!takes(&set, "x/a.jpg") && !takes(&set, "cam/1/b.png") && !takes(&set, "cam1/x/b.png"));
    }
}
