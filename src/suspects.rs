//! Sources whose decoding ended the whole program: a file beside the output keeps them, so that the next start knows.
//!
//! Every decode announces its source as what its thread would leave behind ([`crate::storage::last_words`]): one line in
//! `frames.suspects`. A source that stands there once is tried again, and alone, for it may have been a shortage of memory that
//! others caused (`intake`). One that stands there [`TIMES_MAX`] times is rejected, with a reason, so that the others go on. Who
//! is in the ledger after all is taken out; the file is there only as long as somebody stands in it.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::Paths;
use crate::source::Identity;
use crate::storage::FileStatus;
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
    /// The path's bytes, where it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_bytes: Option<Vec<u8>>,
    inode: u64,
    size: u64,
    mtime_ns: i64,
}

impl Suspect {
    fn new(source: &Path, identity: Identity) -> Self {
        let Identity { size, mtime_ns, inode } = identity;
        let source_bytes = source.to_str().is_none().then(|| source.as_os_str().as_bytes().to_vec());
        Self { source: source.to_string_lossy().into_owned(), source_bytes, inode, size, mtime_ns }
    }

    fn path(&self) -> &Path {
        let bytes = self.source_bytes.as_deref();
        bytes.map_or(Path::new(&self.source), |bytes| Path::new(OsStr::from_bytes(bytes)))
    }

    fn identity(&self) -> Identity {
        Identity { size: self.size, mtime_ns: self.mtime_ns, inode: self.inode }
    }

    /// Whether its file was removed or replaced. One whose folder is not there, such as a network folder that comes later, may
    /// come back.
    fn is_gone(&self) -> bool {
        let path = self.path();
        match path.symlink_metadata() {
            Ok(metadata) => Identity::from(&FileStatus::from(&metadata)) != self.identity(),
            Err(error) => error.kind() == ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir),
        }
    }
}

impl Suspects {
    /// Those of the dataset with this output: none before [`Self::load`].
    pub fn new(output: &Path) -> Self {
        let file = Paths::new(output).suspects;
        Self { file, known: Mutex::default(), is_empty: AtomicBool::new(true) }
    }

    /// Reads what former runs left behind, with a warning in the log for each.
    pub fn load(&self, dataset: &str) {
        let all = match read(&self.file) {
            Ok(all) => all,
            Err(error) => {
                let file = self.file.display();
                return tracing::warn!(dataset, %file, "what ended the program before cannot be read: {error}");
            }
        };
        let (gone, here): (Vec<Suspect>, Vec<Suspect>) = all.into_iter().partition(Suspect::is_gone);
        for Suspect { source, .. } in &here {
            tracing::warn!(dataset, source, "the program ended while it decoded this source");
        }
        self.is_empty.store(here.is_empty(), Ordering::Relaxed);
        *self.lock() = here;
        if !gone.is_empty() {
            self.rewrite(|suspect| gone.contains(suspect));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.is_empty.load(Ordering::Relaxed)
    }

    /// What is left behind if the decoding of this source ends the program.
    pub fn last_words(&self, source: &Path, identity: Identity) -> Option<Arc<LastWords>> {
        // Texts and numbers: there is nothing in it that could not be written.
        let line = serde_json::to_vec(&Suspect::new(source, identity)).ok()?;
        LastWords::new(&self.file, &line)
    }

    /// How many times this source ended the program.
    pub fn times(&self, identity: Identity) -> usize {
        if self.is_empty() {
            return 0;
        }
        self.lock().iter().filter(|suspect| suspect.identity() == identity).count()
    }

    /// Whether it ended the program, and not so often yet that it is rejected.
    pub fn is_to_be_tried(&self, identity: Identity) -> bool {
        (1..TIMES_MAX).contains(&self.times(identity))
    }

    /// The ledger has the source, or it is not there any more.
    pub fn forget(&self, identity: Identity) {
        if self.times(identity) == 0 {
            return;
        }
        let mut known = self.lock();
        known.retain(|suspect| suspect.identity() != identity);
        self.is_empty.store(known.is_empty(), Ordering::Relaxed);
        self.rewrite(|suspect| suspect.identity() == identity);
    }

    /// Takes these out of the file, in which others may stand that are not known here.
    fn rewrite(&self, is_out: impl Fn(&Suspect) -> bool) {
        let rewritten = read(&self.file).and_then(|mut all| {
            all.retain(|suspect| !is_out(suspect));
            let mut text = Vec::new();
            for suspect in all {
                serde_json::to_writer(&mut text, &suspect)?;
                text.push(b'\n');
            }
            last_words::replace(&self.file, &text)
        });
        if let Err(error) = rewritten {
            // At worst a source that comes again, unchanged, is suspected for what it did before.
            let file = self.file.display();
            tracing::warn!(%file, "a source that ended the program before, and is settled, stays in it: {error}");
        }
    }

    /// The list is whole at any time.
    fn lock(&self) -> MutexGuard<'_, Vec<Suspect>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands in the file. A line that is not whole (the disk was full) tells nothing.
fn read(file: &Path) -> io::Result<Vec<Suspect>> {
    match std::fs::read(file) {
        Ok(text) => {
            Ok(text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(path: &Path) -> Identity {
        Identity::from(&FileStatus::from(&path.symlink_metadata().unwrap()))
    }

    /// What the handler of signals does.
    fn end_by(suspects: &Suspects, source: &Path) {
        let line = serde_json::to_string(&Suspect::new(source, identity(source))).unwrap();
        let old = std::fs::read_to_string(&suspects.file).unwrap_or_default();
        std::fs::write(&suspects.file, format!("{old}\n{line}\n")).unwrap();
    }

    /// Sources of these names, and what begins a run.
    fn place<const N: usize>(names: [&str; N]) -> (tempfile::TempDir, [PathBuf; N], impl Fn() -> Suspects) {
        let folder = tempfile::tempdir().unwrap();
        let sources = names.map(|name| folder.path().join(name));
        sources.iter().for_each(|source| std::fs::write(source, "x").unwrap());
        let output = folder.path().join("a.npy");
        let start = move || {
            let suspects = Suspects::new(&output);
            suspects.load("a");
            suspects
        };
        (folder, sources, start)
    }

    #[test]
    fn ends_are_counted_over_starts_and_forgotten_with_their_source() {
        let (_folder, [one, two, three], start) = place(["one\n.png", "two.png", "three.png"]);
        let of = |suspects: &Suspects| [&one, &two, &three].map(|source| suspects.times(identity(source)));
        let suspects = start();
        assert_eq!((of(&suspects), suspects.is_empty()), ([0, 0, 0], true));
        [&one, &two, &one].iter().for_each(|source| end_by(&suspects, source));
        let suspects = start();
        assert_eq!(of(&suspects), [2, 1, 0]);
        assert_eq!([&one, &two, &three].map(|source| suspects.is_to_be_tried(identity(source))), [false, true, false]);
        // Another file of the same inode.
        assert_eq!(suspects.times(Identity { size: 6, ..identity(&one) }), 0);
        // Somebody ends the program while another is settled.
        end_by(&suspects, &three);
        suspects.forget(identity(&one));
        assert_eq!(of(&suspects), [0, 1, 0]);
        let suspects = start();
        assert_eq!(of(&suspects), [0, 1, 1]);
        [&one, &two, &three].iter().for_each(|source| suspects.forget(identity(source)));
        assert!(suspects.is_empty() && !suspects.file.exists());
    }

    #[test]
    fn who_is_gone_or_another_is_forgotten() {
        let (folder, [removed, replaced, stays], start) = place(["removed", "replaced", "stays"]);
        let away = folder.path().join("away/source");
        std::fs::create_dir(folder.path().join("away")).unwrap();
        std::fs::write(&away, "x").unwrap();
        let identity_away = identity(&away);
        let suspects = start();
        [&removed, &replaced, &stays, &away].iter().for_each(|source| end_by(&suspects, source));
        std::fs::remove_file(&removed).unwrap();
        std::fs::write(&replaced, "another").unwrap();
        std::fs::remove_dir_all(folder.path().join("away")).unwrap();
        let suspects = start();
        assert_eq!((suspects.times(identity(&stays)), suspects.times(identity_away)), (1, 1));
        let lines = read(&suspects.file).unwrap();
        assert_eq!(
            lines.iter().map(|line| Path::new(&line.source)).collect::<Vec<_>>(),
            [stays.as_path(), away.as_path()]
        );
    }

    /// The bug: a name that is no text was looked for as the text that people see, not found, and forgotten at every start.
    #[test]
    fn a_name_that_is_no_text_is_remembered() {
        let (folder, [], start) = place([]);
        let source = folder.path().join(OsStr::from_bytes(b"l\xff.webp"));
        std::fs::write(&source, "x").unwrap();
        end_by(&start(), &source);
        assert_eq!(start().times(identity(&source)), 1);
        let known = identity(&source);
        std::fs::remove_file(&source).unwrap();
        assert_eq!(start().times(known), 0);
    }

    #[test]
    fn a_line_that_was_cut_takes_no_other_with_it() {
        let (_folder, [one], start) = place(["one"]);
        let suspects = start();
        end_by(&suspects, &one);
        let text = std::fs::read_to_string(&suspects.file).unwrap();
        std::fs::write(&suspects.file, &text[..text.len() - 4]).unwrap();
        end_by(&suspects, &one);
        assert_eq!(start().times(identity(&one)), 1);
    }
}
