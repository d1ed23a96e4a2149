//! Programs that make rows in processes of their own: starting them, their limits, their output with a clock, and the
//! protocol of workers that are kept running. `command` runs programs of the user's with it.
//!
//! Rules:
//! - A program runs in a process group of its own, which is killed as a whole when a limit is reached, at the service's
//!   end, and when its work is done.
//! - Time in which it waits for us does not count.
//! - Rows pass through in bounded memory.
//! - Whatever goes wrong becomes the source's reason, with the end of what the program wrote to standard error. Signals and
//!   exit codes come first: a program that crashed is not told that its last row is incomplete.
//!
//! | file | holds |
//! |---|---|
//! | `running` | starting, limits, standard error, the end |
//! | `output` | reading with a clock |
//! | `worker` | the line protocol, and workers that wait |

mod output;
mod running;
mod worker;

use std::env;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use self::output::{Output, Stop};
pub(super) use self::running::{CLOSE_WAIT, End, Process, Sent};
pub(super) use self::worker::{Voice, Workers};
use super::{DecodeError, Rejection};

/// What a program may take.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// How long it may keep us waiting for one source.
    pub timeout: Duration,
    /// Address space of each process.
    pub memory_bytes: u64,
    /// Bytes of output for one source.
    pub output_bytes_max: u64,
    pub keys: Keys,
}

/// The keys of the config that set them, where there are such.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    pub timeout: Option<&'static str>,
    pub output: Option<&'static str>,
}

impl Limits {
    /// The reason of a source whose program was stopped.
    pub fn stopped(&self, stop: Stop, told: &str) -> DecodeError {
        let Self { timeout, output_bytes_max, keys, .. } = self;
        let named = |key: Option<&str>| key.map_or_else(String::new, |key| format!(" (`{key}`)"));
        match stop {
            Stop::Interrupted => DecodeError::Interrupted,
            Stop::TimedOut => rejected(with_words(
                &format!("the program was killed: it kept us waiting for more than {timeout:?}{}", named(keys.timeout)),
                told,
            )),
            Stop::TooMuch => rejected(with_words(
                &format!("the program was killed: it wrote more than {output_bytes_max} bytes{}", named(keys.output)),
                told,
            )),
            Stop::Failed(error) => rejected(with_words(&format!("the program's output cannot be read: {error}"), told)),
        }
    }
}

/// A program in `PATH`.
pub(super) fn in_path(name: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|place| is_program(place))
}

pub(super) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// As much as there is.
pub(super) fn fill(output: &mut Output<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    crate::storage::fill(buffer, |rest, _| output.read(rest))
}

/// The reason, and the end of what the program wrote to standard error.
pub(super) fn with_words(reason: &str, told: &str) -> String {
    if told.is_empty() {
        return format!("{reason}; it wrote nothing to standard error");
    }
    format!("{reason}; its standard error ends: {told}")
}

pub(super) fn rejected(reason: String) -> DecodeError {
    Rejection::new(reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reasons of sound named keys that `[dataset.audio]` does not have.
    #[test]
    fn a_reason_names_the_keys_that_there_are() {
        let reason = |timeout, output, stop| {
            let keys = Keys { timeout, output };
            let limits = Limits { timeout: Duration::from_secs(60), memory_bytes: 0, output_bytes_max: 7, keys };
            limits.stopped(stop, "").to_string()
        };
        let (timeout, output) = (Some("timeout"), Some("max_output"));
        assert!(reason(timeout, None, Stop::TimedOut).contains("more than 60s (`timeout`); "));
        assert!(reason(None, output, Stop::TimedOut).contains("more than 60s; "));
        assert!(reason(timeout, output, Stop::TooMuch).contains("more than 7 bytes (`max_output`); "));
        assert!(reason(timeout, None, Stop::TooMuch).contains("more than 7 bytes; "));
    }
}
