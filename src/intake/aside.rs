//! Files that were about to be disposed of when their run was cut short: they get their names back.

use std::path::{Path, PathBuf};

use crate::lane::Lane;
use crate::source::wall_clock_ns;
use crate::storage::{Disk, FileStatus, RealDisk};
use crate::writer::put_back_if_free;

/// Files are set aside for an instant, by our own writer or by another program of ours. Any that are older were left so.
const LONGEST_NS: i64 = 10_000_000_000;

/// Gives files that were left aside their names again. Path and status of those that have them, to be looked at like any
/// other file. `made_ns`: what was set aside before our writer began was left by another one. Paths below `root`.
pub fn give_back(
    lane: &Lane,
    root: &Path,
    aside: &[(PathBuf, FileStatus)],
    made_ns: i64,
) -> Vec<(PathBuf, FileStatus)> {
    let dataset = &lane.options.name;
    let oldest_in_use = made_ns.max(wall_clock_ns().saturating_sub(LONGEST_NS));
    let mut back = Vec::new();
    for (below, status) in aside {
        // Renaming set the change time.
        if status.ctime_ns >= oldest_in_use {
            continue;
        }
        let path = match put_back_if_free(&RealDisk, &root.join(below)) {
            Ok(Some(path)) => path,
            // Another file has the name.
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(dataset, file = ?below, "it could not be given its name again: {error}");
                continue;
            }
        };
        tracing::info!(dataset, source = ?path, "was set aside by a run that was cut short, and is back");
        // If it cannot be looked at now, the next scan does.
        if let (Ok(Some(status)), Ok(below)) = (RealDisk.status(&path), path.strip_prefix(root)) {
            back.push((below.to_owned(), status));
        }
    }
    back
}
