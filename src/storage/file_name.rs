//! Names that are made from the name of a file: none is longer than a filesystem takes, and no two files share one by that.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// So many names are tried before it is given up.
pub const NAMES_MAX: u32 = 10_000;
/// A name on Linux filesystems.
pub const NAME_BYTES_MAX: usize = 255;
/// Hexadecimal digits of the hash in a name that was cut.
const HASH_DIGITS: usize = 16;

/// The wanted name, and those with a number.
pub fn beside(wanted: &Path) -> impl Iterator<Item = PathBuf> {
    std::iter::once(wanted.to_owned()).chain((1..=NAMES_MAX).map(|number| numbered(wanted, number)))
}

/// `a.jpg` with a number: `a.1.jpg`. A name that would be too long loses the end of its stem.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut stem = path.file_stem().unwrap_or_default();
    let mut end = OsString::from(format!(".{number}"));
    if let Some(extension) = path.extension() {
        let without = end.clone();
        end.push(".");
        end.push(extension);
        if end.len() >= NAME_BYTES_MAX {
            (stem, end) = (path.file_name().unwrap_or_default(), without);
        }
    }
    let mut name = cut(stem, NAME_BYTES_MAX.saturating_sub(end.len())).to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// The file's path with a longer name. A name that would be too long has a hash of itself in place of its end.
pub fn fitting(path: &Path, before: &str, after: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let mut fits = OsString::from(before);
    if before.len() + name.len() + after.len() <= NAME_BYTES_MAX {
        fits.push(name);
    } else {
        let hash = blake3::hash(name.as_bytes()).to_hex();
        let digits = hash.get(..HASH_DIGITS).unwrap_or_default();
        fits.push(cut(name, NAME_BYTES_MAX.saturating_sub(before.len() + 1 + digits.len() + after.len())));
        fits.push(".");
        fits.push(digits);
    }
    fits.push(after);
    path.with_file_name(fits)
}

/// The beginning of a name, and no part of a character: some filesystems take whole ones only.
fn cut(name: &OsStr, bytes_max: usize) -> &OsStr {
    let bytes = name.as_bytes();
    let is_boundary = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0b1100_0000 != 0b1000_0000);
    let end = (bytes_max.saturating_sub(3)..=bytes_max).rev().find(is_boundary).unwrap_or(bytes_max);
    OsStr::from_bytes(bytes.get(..end).unwrap_or(bytes))
}

/// Tries names until one is free: until the attempt fails with something else than [`io::ErrorKind::AlreadyExists`].
pub fn first_free<T>(
    names: impl Iterator<Item = PathBuf>,
    mut attempt: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let mut tried = 0_u32;
    for name in names {
        tried += 1;
        match attempt(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            ended => return ended,
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{tried} files of this name are there already")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bugs: a second file with a name of 255 bytes could never be moved, and two reasons had one name.
    #[test]
    fn long_names_fit_and_stay_apart() {
        let name = |path: &Path| path.file_name().unwrap().as_bytes().to_vec();
        for long in ["x".repeat(251) + ".csv", "é".repeat(125) + "x.csv", "x.".to_owned() + &"y".repeat(253)] {
            assert_eq!(long.len(), NAME_BYTES_MAX);
            let path = Path::new("/a").join(&long);
            let all: std::collections::BTreeSet<Vec<u8>> =
                (1..=12).map(|number| name(&numbered(&path, number))).collect();
            assert_eq!(all.len(), 12);
            assert!(all.iter().all(|name| name.len() <= NAME_BYTES_MAX && str::from_utf8(name).is_ok()), "{all:?}");
        }
        let [one, two] = ["1.csv", "2.csv"].map(|end| fitting(Path::new(&("é".repeat(122) + end)), "", ".reason.txt"));
        assert_ne!(one, two);
        for path in [one, two] {
            assert!(name(&path).len() <= NAME_BYTES_MAX && str::from_utf8(&name(&path)).is_ok(), "{path:?}");
        }
        assert_eq!(numbered(Path::new("/a/b.jpg"), 3), Path::new("/a/b.3.jpg"));
        assert_eq!(fitting(Path::new("/a/b.jpg"), ".", ".tmp"), Path::new("/a/.b.jpg.tmp"));
    }
}
