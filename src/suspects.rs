//! Sources whose decoding ended the whole program: a file beside the output keeps them, so that the next start knows.
//!
//! Every decode announces its source as what its thread would leave behind ([`crate::storage::last_words`]): one line in
//! `frames.suspects`. A source that stands there once is tried again, for it may have been a shortage of memory that others
//! caused. One that stands there [`TIMES_MAX`] times is rejected, with a reason, so that the others go on. Who was decoded
//! after all, or is rejected, is taken out; the file is there only as long as somebody stands in it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::source::Identity;
use crate::storage::last_words::{self, LastWords};

/// Who ended the program so many times is rejected.
pub const TIMES_MAX: usize = 2;

/// The suspects of one dataset.
#[derive(Debug)]
pub struct Suspects {
    file: PathBuf,
    /// One for each end of the program.
    known: Mutex<Vec<Suspect>>,
    /// As is usual: nobody has to look, or to wait for the lock.
    is_empty: AtomicBool,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Suspect {
    /// For people: what is no text in its path is replaced.
    source: String,
    inode: u64,
    size: u64,
    mtime_ns: i64,
}

impl Suspect {
    fn new(source: &Path, identity: Identity) -> Self {
        let Identity { size, mtime_ns, inode } = identity;
        Self { source: source.to_string_lossy().into_owned(), inode, size, mtime_ns }
    }

    fn identity(&self) -> Identity {
        Identity { size: self.size, mtime_ns: self.mtime_ns, inode: self.inode }
    }
}

impl Suspects {
    /// Those of the dataset with this output, and a warning in the log for each.
    pub fn of(dataset: &str, output: &Path) -> Self {
        let file = output.with_extension("suspects");
        let known = match std::fs::read(&file) {
            Ok(text) => parse(&text),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
            Err(error) => {
                tracing::warn!(dataset, file = %file.display(), "what ended the program before cannot be read: {error}");
                Vec::new()
            }
        };
        for Suspect { source, .. } in &known {
            tracing::warn!(dataset, source, "the program ended while it decoded this source");
        }
        let is_empty = AtomicBool::new(known.is_empty());
        Self { file, known: Mutex::new(known), is_empty }
    }

    /// What is left behind if the decoding of this source ends the program.
    pub fn last_words(&self, source: &Path, identity: Identity) -> Option<Arc<LastWords>> {
        // A text and three numbers: there is nothing in it that could not be written.
        let line = serde_json::to_vec(&Suspect::new(source, identity)).ok()?;
        LastWords::new(&self.file, line)
    }

    /// How many times this source ended the program.
    pub fn times(&self, identity: Identity) -> usize {
        if self.is_empty.load(Ordering::Relaxed) {
            return 0;
        }
        self.lock().iter().filter(|suspect| suspect.identity() == identity).count()
    }

    /// The source came to an end, and the program did not.
    pub fn forget(&self, identity: Identity) {
        if self.times(identity) == 0 {
            return;
        }
        let mut known = self.lock();
        known.retain(|suspect| suspect.identity() != identity);
        self.is_empty.store(known.is_empty(), Ordering::Relaxed);
        if let Err(error) = save(&self.file, &known) {
            // At worst a source that comes again, unchanged, is suspected for what it did before.
            tracing::warn!(file = %self.file.display(), "a source that did not end the program stays in it: {error}");
        }
    }

    /// The list is whole at any time.
    fn lock(&self) -> MutexGuard<'_, Vec<Suspect>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line that is not whole (the disk was full) tells nothing.
fn parse(text: &[u8]) -> Vec<Suspect> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn save(file: &Path, known: &[Suspect]) -> io::Result<()> {
    let mut text = Vec::new();
    for suspect in known {
        serde_json::to_writer(&mut text, suspect)?;
        text.push(b'\n');
    }
    last_words::replace(file, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(inode: u64) -> Identity {
        Identity { size: 5, mtime_ns: -7, inode }
    }

    /// What the handler of signals does.
    fn end_by(suspects: &Suspects, source: &str, inode: u64) {
        let line = serde_json::to_string(&Suspect::new(Path::new(source), identity(inode))).unwrap();
        let old = std::fs::read_to_string(&suspects.file).unwrap_or_default();
        std::fs::write(&suspects.file, format!("{old}{line}\n")).unwrap();
    }

    #[test]
    fn ends_are_counted_over_starts_and_forgotten_with_their_source() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("a.npy");
        let start = || Suspects::of("a", &output);
        let suspects = start();
        assert_eq!(suspects.times(identity(1)), 0);
        end_by(&suspects, "drop/one\n.png", 1);
        end_by(&suspects, "drop/two.png", 2);
        end_by(&suspects, "drop/one\n.png", 1);
        let suspects = start();
        assert_eq!([1, 2, 3].map(|inode| suspects.times(identity(inode))), [2, 1, 0]);
        // Another file of the same inode.
        assert_eq!(suspects.times(Identity { size: 6, ..identity(1) }), 0);
        suspects.forget(identity(1));
        assert_eq!([1, 2].map(|inode| suspects.times(identity(inode))), [0, 1]);
        let suspects = start();
        assert_eq!([1, 2].map(|inode| suspects.times(identity(inode))), [0, 1]);
        suspects.forget(identity(3));
        assert!(suspects.file.exists());
        suspects.forget(identity(2));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_line_that_was_cut_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("a.npy");
        let suspects = Suspects::of("a", &output);
        end_by(&suspects, "one", 1);
        let text = std::fs::read_to_string(&suspects.file).unwrap();
        std::fs::write(&suspects.file, format!("{text}{}", &text[..text.len() - 4])).unwrap();
        assert_eq!(Suspects::of("a", &output).times(identity(1)), 1);
    }
}
