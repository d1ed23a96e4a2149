//! What a thread leaves behind when it ends the process: a line in a file.
//!
//! Memory that cannot be had, a stack that is too small and a bad access in a library end the whole process, and no
//! `catch_unwind` is in their way. Who does something for a source that may be at fault says so before ([`during`]); if the
//! process ends by that very thread, the line is appended to the file, for the next start to read.
//!
//! Only what a thread does to itself counts: a signal that another process sends (a watchdog's, a person's) leaves nothing,
//! and neither does SIGKILL, which cannot be handled. The process ends by the same signal as it would without all this.

// Handlers of signals are unsafe in every crate, and those that make them safe refuse the signals of faults.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering, compiler_fence};
use std::sync::{Arc, Once, OnceLock};

/// The signals by which a thread ends its own process.
const SIGNALS: [c_int; 5] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// What was done with each of the signals before.
static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

thread_local! {
    /// What this thread would leave behind now; null for nothing. Points into an `Arc` that is held by [`during`].
    static NOW: AtomicPtr<LastWords> = const { AtomicPtr::new(ptr::null_mut()) };
}

/// A line, and the file that it is appended to.
#[derive(Debug)]
pub struct LastWords {
    file: CString,
    line: Vec<u8>,
}

impl LastWords {
    /// `None`: no file can have this name.
    pub fn new(file: &Path, line: &[u8]) -> Option<Arc<Self>> {
        // A line before it may have lost its end.
        let line = [b"\n", line, b"\n"].concat();
        Some(Arc::new(Self { file: CString::new(file.as_os_str().as_bytes()).ok()?, line }))
    }
}

/// Does the work. If this thread ends the process meanwhile, `words` are what it leaves behind.
pub fn during<T>(words: Option<&Arc<LastWords>>, work: impl FnOnce() -> T) -> T {
    /// Puts back what was there, also behind a panic.
    struct Back(*mut LastWords);
    impl Drop for Back {
        fn drop(&mut self) {
            compiler_fence(Ordering::SeqCst);
            NOW.with(|now| now.store(self.0, Ordering::Relaxed));
        }
    }
    let words = words.map_or(ptr::null_mut(), |words| Arc::as_ptr(words).cast_mut());
    let _back = Back(NOW.with(|now| now.swap(words, Ordering::Relaxed)));
    // A handler on this thread sees the words before any of the work.
    compiler_fence(Ordering::SeqCst);
    work()
}

/// What this thread would leave behind now: for another thread that does a part of its work.
pub fn current() -> Option<Arc<LastWords>> {
    let words = NOW.with(|now| now.load(Ordering::Relaxed));
    if words.is_null() {
        return None;
    }
    // SAFETY: the pointer is that of an `Arc` which `during` has borrowed further up on this thread's stack, so one is counted
    // for as long as this call lasts; the count that is added here is the new one's.
    unsafe {
        Arc::increment_strong_count(words);
        Some(Arc::from_raw(words))
    }
}

/// Ends the process by a thread of it, which leaves its words behind, as if it had ended it by itself. For one that does not
/// come to an end.
pub fn end_by(thread: i32) {
    // SAFETY: a system call with three numbers. Where there is no such thread any more, nothing happens.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGABRT) };
}

/// Replaces what was left behind by these lines; with none, the file goes.
pub fn replace(file: &Path, lines: &[u8]) -> io::Result<()> {
    if lines.is_empty() {
        return match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let mut new = file.as_os_str().to_owned();
    new.push(".tmp");
    fs::write(&new, lines)?;
    fs::rename(&new, file)
}

/// From now on the signals are listened to. Once is enough.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
            // SAFETY: both structures are as the call wants them (all zeros is a valid one), and the handler keeps to what
            // signal-safety(7) allows. On a stack of its own, for it may be the thread's that is full.
            unsafe {
                let mut old: libc::sigaction = std::mem::zeroed();
                if libc::sigaction(signal, ptr::null(), &raw mut old) != 0 || before.set(old).is_err() {
                    continue;
                }
                let mut new: libc::sigaction = std::mem::zeroed();
                new.sa_sigaction = handle as *const () as usize;
                new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                // Can only fail for a signal that does not exist: then all is as it was.
                libc::sigaction(signal, &raw const new, ptr::null_mut());
            }
        }
    });
}

/// Leaves the words behind, and has the process end as it would have.
extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel gives a valid `info`. Positive codes are its own, such as a bad access; `abort` sends the signal to
    // its own thread. open, write, close, getpid, sigaction and raise may be called here (signal-safety(7)).
    unsafe {
        let code = (*info).si_code;
        if code > 0 || code == libc::SI_TKILL && (*info).si_pid() == libc::getpid() {
            leave();
        }
        let before = SIGNALS.iter().position(|other| *other == signal).and_then(|place| BEFORE.get(place)?.get());
        match before {
            // It happens again behind this handler. Rust's own says so where it is a stack that is full.
            Some(before) if code > 0 => {
                libc::sigaction(signal, ptr::from_ref(before), ptr::null_mut());
            }
            // It has to be sent again, and comes behind this handler, too.
            _ => {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
    }
}

/// Once: that the stack is full comes here as a bad access, and again as the end that Rust makes of it.
fn leave() {
    let words = NOW.with(|now| now.swap(ptr::null_mut(), Ordering::Relaxed));
    if words.is_null() {
        return;
    }
    // SAFETY: `during` holds the `Arc` for as long as the pointer is there. Nothing is allocated or locked.
    unsafe {
        let LastWords { file, line } = &*words;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        let file = libc::open(file.as_ptr(), flags, 0o644);
        if file >= 0 {
            // Where the disk is full, nobody will know.
            libc::write(file, line.as_ptr().cast(), line.len());
            libc::close(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    /// Set in the process that is to end: how.
    const HOW: &str = "NPY_INGEST_TEST_END";
    const WHERE: &str = "NPY_INGEST_TEST_FILE";
    /// Name of the test below.
    const TEST: &str = "storage::last_words::tests::a_thread_that_ends_the_process_leaves_its_words";

    #[test]
    fn a_thread_that_ends_the_process_leaves_its_words() {
        if let (Ok(how), Some(file)) = (std::env::var(HOW), std::env::var_os(WHERE)) {
            end(&how, Path::new(&file));
            return;
        }
        // Memory that cannot be had and a full stack come to an abort.
        for (how, signal, line) in [
            ("abort", libc::SIGABRT, "\ninner\n"),
            ("memory", libc::SIGABRT, "\ninner\n"),
            ("stack", libc::SIGABRT, "\ninner\n"),
            ("access", libc::SIGSEGV, "\ninner\n"),
            ("helper", libc::SIGABRT, "\ninner\n"),
            ("behind", libc::SIGABRT, "\nouter\n"),
            ("no end", libc::SIGABRT, "\ninner\n"),
            ("outside", libc::SIGABRT, ""),
            ("other thread", libc::SIGABRT, ""),
            ("sent", libc::SIGABRT, ""),
            ("sent access", libc::SIGSEGV, ""),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("words");
            let ended = Command::new(std::env::current_exe().unwrap())
                .args([TEST, "--exact", "--nocapture"])
                .env(HOW, how)
                .env(WHERE, &file)
                .output()
                .unwrap();
            assert_eq!(ended.status.signal(), Some(signal), "{how}: {ended:?}");
            assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), line, "{how}");
        }
    }

    fn end(how: &str, file: &Path) {
        let words = |line: &str| LastWords::new(file, line.as_bytes()).unwrap();
        let within = |work: &dyn Fn()| during(Some(&words("outer")), || during(Some(&words("inner")), work));
        listen();
        match how {
            "abort" => within(&|| std::process::abort()),
            "memory" => within(&|| drop(black_box(Vec::<u8>::with_capacity(isize::MAX as usize)))),
            "stack" => within(&|| assert_ne!(deep(u64::MAX), 0)),
            // SAFETY: none; it ends the process, which is wanted.
            "access" => within(&|| unsafe {
                black_box(ptr::null_mut::<u8>().wrapping_add(black_box(8)).read_volatile());
            }),
            "helper" => within(&|| {
                let words = current();
                let _ = std::thread::spawn(move || during(words.as_ref(), || std::process::abort())).join();
            }),
            "behind" => during(Some(&words("outer")), || {
                let _ = std::panic::catch_unwind(|| during(Some(&words("inner")), || panic!("of no account")));
                std::process::abort()
            }),
            "no end" => within(&|| {
                // SAFETY: it has no arguments and cannot fail.
                let thread = unsafe { libc::gettid() };
                std::thread::spawn(move || end_by(thread));
                loop {
                    std::hint::spin_loop();
                }
            }),
            "outside" => {
                within(&|| ());
                std::process::abort()
            }
            "other thread" => within(&|| drop(std::thread::spawn(|| std::process::abort()).join())),
            "sent" | "sent access" => within(&|| {
                let signal = if how == "sent" { "-ABRT" } else { "-SEGV" };
                // To this thread, if it does not mind.
                // SAFETY: it has no arguments and cannot fail.
                let thread = unsafe { libc::gettid() }.to_string();
                Command::new("kill").args([signal, &thread]).status().unwrap();
                std::thread::sleep(std::time::Duration::from_secs(20));
            }),
            _ => panic!("no such end: {how}"),
        }
    }

    #[expect(unconditional_recursion, reason = "until the stack is full")]
    fn deep(level: u64) -> u64 {
        black_box(deep(black_box(level - 1)) + 1)
    }
}
