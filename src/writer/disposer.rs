//! The thread that moves and deletes files of sources, so that the writer never waits for another disk, nor for folders of the
//! user's. It has no pulse: another disk that does not answer keeps waiting what is to be moved and deleted, of all datasets, and
//! nothing else.
//!
//! What was done before a long copy is told before it: until the ledger has that a file is gone, a new one of its inode could
//! be taken for it.

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use super::dispose::{Leaving, Results, dispose, sync_moves};
use super::relocate::Asks;
use crate::storage::Disk;

/// So many files may wait; what is beyond is left to a later scan. Some twenty megabytes at most.
const WAITING_MAX: usize = 65_536;
/// So many are taken at a time, or as many as this time allows: the folders that they are moved to are synced once, and the
/// ledger notes them in one transaction.
const AT_ONCE: usize = 256;
const AT_ONCE_TIME: Duration = Duration::from_millis(50);

/// The way to the disposer.
#[derive(Clone)]
pub struct Jobs(Sender<Leaving>);

impl Jobs {
    /// Those for which there is no room.
    pub fn hand_over(&self, leaving: Vec<Leaving>) -> Vec<Leaving> {
        let send = |leaving| match self.0.try_send(leaving) {
            Ok(()) => None,
            Err(TrySendError::Full(leaving) | TrySendError::Disconnected(leaving)) => Some(leaving),
        };
        leaving.into_iter().filter_map(send).collect()
    }
}

/// What the writer is asked. What cannot be told has the file stay where it is.
pub struct Question {
    pub leaving: Leaving,
    pub about: About,
    pub answer: Sender<io::Result<bool>>,
}

pub enum About {
    /// Whether the file at this path, which is like the one that leaves, is a copy of it that a crash left. All results before
    /// it have been told.
    Copy(PathBuf),
    /// Whether the ledger still has the one that leaves.
    Listed,
}

/// See the module documentation.
pub struct Disposer {
    pub results: Receiver<Results>,
    pub questions: Receiver<Question>,
    is_called_off: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Disposer {
    /// It ends when nobody has its [`Jobs`] any more.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(disk: Arc<dyn Disk>) -> io::Result<(Self, Jobs)> {
        let (jobs, waiting) = bounded(WAITING_MAX);
        // No more than there are jobs; the disposer must not wait for the writer, which may wait for its end.
        let (tell, results) = unbounded();
        let (ask, questions) = unbounded();
        let is_called_off = Arc::new(AtomicBool::new(false));
        let flag = is_called_off.clone();
        let thread =
            Builder::new().name("npy-disposer".to_owned()).spawn(move || run(&*disk, &waiting, &tell, &ask, &flag))?;
        Ok((Self { results, questions, is_called_off, thread }, Jobs(jobs)))
    }

    /// Copies to other disks end where they are, and are made by the next start.
    pub fn call_off(&self) {
        self.is_called_off.store(true, Ordering::Relaxed);
    }

    /// Where that can be said from elsewhere.
    pub fn called_off(&self) -> Arc<AtomicBool> {
        self.is_called_off.clone()
    }

    /// Waits for its end, after [`Disposer::results`] has come to its own.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the thread that moves and deletes sources has panicked; the next start makes up for it");
        }
    }
}

fn run(
    disk: &dyn Disk,
    waiting: &Receiver<Leaving>,
    tell: &Sender<Results>,
    ask: &Sender<Question>,
    is_called_off: &AtomicBool,
) {
    let results = RefCell::new(Results::new());
    let tell_all = || {
        let mut results = results.take();
        if !results.is_empty() {
            sync_moves(disk, &mut results);
            // A writer that has ended has no more to note.
            drop(tell.send(results));
        }
    };
    // Asked before each block of a copy.
    let go_on = || {
        tell_all();
        match is_called_off.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    };
    while let Ok(first) = waiting.recv() {
        let started = Instant::now();
        let mut next = Some(first);
        while let Some(leaving) = next {
            let question = |about| {
                let (answer, answered) = bounded(1);
                drop(ask.send(Question { leaving: leaving.clone(), about, answer }));
                answered.recv().unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
            };
            let is_own = |path: &Path| question(About::Copy(path.to_owned()));
            let is_listed = || question(About::Listed);
            let asks = Asks { go_on: &go_on, is_own: &is_own, is_listed: Some(&is_listed) };
            // A mistake of ours costs its file, and not all that come behind it.
            let result = catch_unwind(AssertUnwindSafe(|| dispose(disk, &leaving, asks)));
            let result = result.unwrap_or_else(|_| Err(io::Error::other("a fault of the program, a panic")));
            results.borrow_mut().push((leaving, result));
            let is_enough = results.borrow().len() >= AT_ONCE || started.elapsed() > AT_ONCE_TIME;
            next = if is_enough { None } else { waiting.try_recv().ok() };
        }
        tell_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Disposal;
    use crate::source::Place;
    use crate::storage::RealDisk;
    use crate::writer::dispose::Disposed;
    use crate::writer::relocate::tests::{identity, names, two_disks};
    use std::fs;

    #[test]
    fn everything_that_was_handed_over_is_told_of_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (drop_folder, done) = (folder.path().join("drop"), folder.path().join("done"));
        fs::create_dir(&drop_folder).unwrap();
        let leaving = |number: u64| {
            let path = drop_folder.join(format!("{number:03}"));
            fs::write(&path, number.to_string()).unwrap();
            let disposal = if number.is_multiple_of(2) { Disposal::Delete } else { Disposal::Move(done.clone()) };
            let (root, place) = (drop_folder.clone(), Place { folder: 0, below: format!("{number:03}").into() });
            let identity = identity(&path);
            Leaving { lane: 0, id: number, root, place, identity, disposal, reason: None, is_left: false }
        };
        let (disposer, jobs) = Disposer::start(Arc::new(RealDisk)).unwrap();
        let all = 2 * AT_ONCE as u64 + 1;
        assert!(jobs.hand_over((0..all).map(leaving).collect()).is_empty());
        drop(jobs);
        let told: Vec<_> = disposer.results.iter().flatten().collect();
        disposer.join();
        assert_eq!(told.len() as u64, all);
        for (number, (leaving, result)) in (0..).zip(told) {
            let expected = match number % 2 {
                0 => Disposed::Deleted,
                _ => Disposed::MovedTo(done.join(format!("{number:03}"))),
            };
            assert_eq!((leaving.id, result.unwrap()), (number, expected));
        }
        assert_eq!((names(&drop_folder).len(), names(&done).len()), (0, AT_ONCE));
    }

    /// Of the first disk of two.
    fn leaving(root: &std::path::Path, name: &str, disposal: Disposal) -> Leaving {
        let (root, place) = (root.to_owned(), Place { folder: 0, below: name.into() });
        let identity = identity(&root.join(name));
        Leaving { lane: 0, id: 1, root, place, identity, disposal, reason: None, is_left: false }
    }

    /// The bug: the ledger did not have yet that a file was gone while another one was copied, and the next file of its name
    /// and inode was deleted for it.
    #[test]
    fn what_was_done_is_told_before_a_copy_begins() {
        let (folder, disk, _path) = two_disks();
        fs::write(folder.path().join("b.bin"), "b").unwrap();
        let (jobs, waiting) = bounded(2);
        jobs.send(leaving(folder.path(), "b.bin", Disposal::Delete)).unwrap();
        jobs.send(leaving(folder.path(), "a.bin", Disposal::Move(disk.other.clone()))).unwrap();
        drop(jobs);
        let (tell, told) = unbounded();
        run(&disk, &waiting, &tell, &unbounded().0, &AtomicBool::new(false));
        let told: Vec<Vec<PathBuf>> = told
            .try_iter()
            .map(|results| results.into_iter().map(|(leaving, _)| leaving.place.below).collect())
            .collect();
        assert_eq!(told, [[PathBuf::from("b.bin")], [PathBuf::from("a.bin")]]);
    }

    /// It would have left all files behind where they were, and the writer without rest.
    #[test]
    fn a_panic_costs_one_file() {
        let (folder, mut disk, path) = two_disks();
        disk.is_fatal = true;
        fs::write(folder.path().join("b.bin"), "b").unwrap();
        let to_other = Disposal::Move(disk.other.clone());
        let all = vec![leaving(folder.path(), "a.bin", to_other), leaving(folder.path(), "b.bin", Disposal::Delete)];
        let (disposer, jobs) = Disposer::start(Arc::new(disk)).unwrap();
        assert!(jobs.hand_over(all).is_empty());
        drop(jobs);
        let told: Vec<_> = disposer.results.iter().flatten().map(|(_, result)| result).collect();
        disposer.join();
        assert!(told[0].as_ref().unwrap_err().to_string().contains("a panic"), "{told:?}");
        assert_eq!(*told[1].as_ref().unwrap(), Disposed::Deleted);
        assert!(path.exists());
    }
}
