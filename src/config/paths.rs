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
}
