//! Paths, by their letters alone: nothing here looks at the disk, since folders and outputs may not exist yet.

use std::path::{Component, Path, PathBuf};

/// An absolute path without `.`, `..` and doubled or trailing slashes. `..` at the root stays at the root, as it does
/// on the disk. `a/../b` is `b` also where `a` is a symbolic link.
pub(super) fn normalise(absolute: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// The file beside an output that belongs to it: `data/frames.npy` and `ledger.db` give `data/frames.ledger.db`.
pub(super) fn beside(output: &Path, suffix: &str) -> PathBuf {
    let mut name = output.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    output.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_paths() {
        for (path, normal) in [
            ("/a/b", "/a/b"),
            ("/a/./b/", "/a/b"),
            ("/a//b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/b/../../c/..", "/"),
        ] {
            assert_eq!(normalise(Path::new(path)), Path::new(normal), "{path}");
        }
    }

    #[test]
    fn files_beside_an_output() {
        assert_eq!(beside(Path::new("/d/a.b.npy"), "ledger.db"), Path::new("/d/a.b.ledger.db"));
        assert_eq!(beside(Path::new("/d/a.npy"), "source.npy"), Path::new("/d/a.source.npy"));
    }
}
