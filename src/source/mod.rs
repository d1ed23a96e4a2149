//! What a source is: a file below a watched folder, and the figures that tell it from others.

mod marks;
mod part;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::storage::FileStatus;
pub use marks::Marks;
pub use part::{
    ENTRY_BYTES_MAX, Follow, HEAD_BYTES, LogState, Original, Part, PartRead, REJECTED_BYTES, bytes_at, tail_hash,
};

/// BLAKE3, 32 bytes: of a source's content, or of its rows.
pub type Hash = blake3::Hash;

/// A first look at a file's content without reading it. Equal identities at one path mean equal content, for all we
/// can know cheaply; the content's [`Hash`] decides wherever they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
    pub inode: u64,
}

impl From<&FileStatus> for Identity {
    fn from(status: &FileStatus) -> Self {
        Self { size: status.size, mtime_ns: status.mtime_ns, inode: status.inode }
    }
}

/// Where a source lies: which of the dataset's watched folders, and the path below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Index into the dataset's folders.
    pub folder: usize,
    /// Relative, without `.` or `..`.
    pub below: PathBuf,
}

impl Place {
    /// The first folder below the watched one: the class of the source. `None` for a file directly in it.
    pub fn label(&self) -> Option<String> {
        let mut parts = self.below.components();
        let first = parts.next()?;
        parts.next()?;
        Some(first.as_os_str().to_string_lossy().into_owned())
    }

    /// The path of the folder that holds the source, below the watched one; empty for a file directly in it.
    pub fn parent(&self) -> &OsStr {
        self.below.parent().map_or(OsStr::new(""), Path::as_os_str)
    }

    /// The path's bytes, for hashing.
    pub fn bytes(&self) -> &[u8] {
        self.below.as_os_str().as_bytes()
    }

    /// The extension in lower case.
    pub fn extension(&self) -> Option<String> {
        Some(self.below.extension()?.to_str()?.to_ascii_lowercase())
    }
}

/// A finished file that the ledger does not have, on its way to the pool.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its place in the dataset's row order. Without gaps: every number reaches the writer, with rows or without.
    pub sequence: u64,
    pub place: Place,
    pub identity: Identity,
    /// The content that the ledger knows under this name or inode: where it is found again, there is nothing to decode.
    pub known_hash: Option<Hash>,
    /// Bytes of the memory budget that it holds until its commit.
    pub permit_bytes: u64,
    /// An event told that it was written to, and none that it was closed.
    pub writer_was_seen: bool,
    /// When it came, or was last changed, by the kernel: nanoseconds since 1970.
    pub arrived_ns: i64,
    /// If it cannot be read this time, it is rejected.
    pub is_last_attempt: bool,
    /// Set for a log that is followed: it is taken in parts.
    pub follow: Option<Box<Follow>>,
}

/// Why a file is not taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFinished {
    /// It changed since it was found.
    Changed,
    /// Somebody has it open for writing.
    BeingWritten,
    /// Somebody was seen writing, and nobody closing it, and the kernel does not tell.
    MayBeWritten,
    /// It may be a source that is being moved or deleted: what it is shows once that is done.
    MayBeGone,
    /// A log that is followed was cut to so many bytes, and somebody has it open for writing.
    Cut(u64),
    /// A log that is followed was written anew: what went before has to be taken first.
    Replaced,
    /// It has so many names (hard links), of which an upload may be about to remove one, and the config refuses more than one.
    Linked(u64),
}

/// Now, by the clock that files' times are held against: nanoseconds since 1970.
pub fn wall_clock_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(below: &str) -> Place {
        Place { folder: 0, below: PathBuf::from(below) }
    }

    #[test]
    fn the_label_is_the_first_folder_below_the_watched_one() {
        assert_eq!(place("cat/a.jpg").label().as_deref(), Some("cat"));
        assert_eq!(place("cat/2024/a.jpg").label().as_deref(), Some("cat"));
        assert_eq!(place("a.jpg").label(), None);
        assert_eq!(place("cat/2024/a.jpg").parent(), OsStr::new("cat/2024"));
        assert_eq!(place("a.JPG").extension().as_deref(), Some("jpg"));
    }
}
