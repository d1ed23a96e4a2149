//! Files that were about to be disposed of when their run was cut short: they get their names back.

use std::path::{Path, PathBuf};

use crate::lane::Lane;
use crate::source::wall_clock_ns;
use crate::storage::{Disk, FileStatus, RealDisk};
use crate::writer::put_back_if_left;

/// Another program of ours sets files aside for an instant (`retry`). Any that are older were left so, and any that are
/// so much younger than now: the clock was set back.
const LONGEST_NS: u64 = 10_000_000_000;

/// Gives files that were left aside their names again. Path and status of those that have them, to be looked at like any
/// other file. `made_ns`: what was set aside before our writer began was left by another one. Paths below `root`.
pub fn give_back(
    lane: &Lane,
    root: &Path,
    aside: &[(PathBuf, FileStatus)],
    made_ns: i64,
) -> Vec<(PathBuf, FileStatus)> {
    let dataset = &lane.options.name;
    let now_ns = wall_clock_ns();
    let mut back = Vec::new();
    for (below, status) in aside {
        // Renaming set the change time.
        if status.ctime_ns >= made_ns && status.ctime_ns.abs_diff(now_ns) < LONGEST_NS {
            continue;
        }
        let path = match put_back_if_left(&RealDisk, &root.join(below)) {
            Ok(Some(path)) => path,
            // Another file has the name, or our own writer is at work on it.
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(
                    dataset,
                    file = &*below.to_string_lossy(),
                    "it could not be given its name again: {error}"
                );
                continue;
            }
        };
        tracing::info!(
            dataset,
            source = &*path.to_string_lossy(),
            "was set aside by a run that was cut short, and is back"
        );
        // If it cannot be looked at now, the next scan does.
        if let (Ok(Some(status)), Ok(below)) = (RealDisk.status(&path), path.strip_prefix(root)) {
            back.push((below.to_owned(), status));
        }
    }
    back
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::sync::Arc;

    /// The bug: with the clock a day behind, what a kill had left aside was hidden for a day.
    #[test]
    fn what_was_left_aside_is_given_back_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2]\ndtype = 'u1'\n\
                    [dataset.watch]\nfolders = ['drop']\n[dataset.csv]\n";
        let config = config::parse(text, &folder.path().join("c.toml")).unwrap();
        let lane = Lane::new(0, Arc::new(config.datasets[0].clone()), 1, 1);
        let below = PathBuf::from(".a.npy-ingest-aside");
        const DAY_NS: i64 = 86_400_000_000_000;
        for (set_aside, is_given_back) in [(-DAY_NS, true), (DAY_NS, true), (0, false)] {
            std::fs::write(folder.path().join(&below), "a").unwrap();
            let mut status = RealDisk.status(&folder.path().join(&below)).unwrap().unwrap();
            status.ctime_ns += set_aside;
            let back = give_back(&lane, folder.path(), &[(below.clone(), status)], 0);
            assert_eq!(!back.is_empty(), is_given_back, "{set_aside}");
            drop(std::fs::remove_file(folder.path().join("a")));
        }
    }
}
