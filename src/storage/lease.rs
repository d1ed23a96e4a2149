//! Asking the kernel whether somebody still writes to a file.
//!
//! Linux grants a read lease (`fcntl(2)`, `F_SETLEASE` with `F_RDLCK`) only while no descriptor anywhere is open for
//! writing, and refuses it with `EAGAIN` otherwise. The lease is given back at once: only the answer is of interest.
//! Asking needs the file to be ours or `CAP_LEASE`, and a filesystem that knows leases; without them there is no answer.

// rustix has no leases.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// The kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Nobody has the file open for writing.
    None,
    /// Somebody has.
    Some,
    /// It cannot be known here.
    Unknown,
}

/// Whether any process has this file open for writing. `file` must be open for reading only.
pub fn writers(file: &File) -> Writers {
    let fd = file.as_raw_fd();
    // SAFETY: F_SETLEASE takes an integer and touches no memory of ours; the descriptor is open for as long as `file` lives.
    let granted = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) } == 0;
    if granted {
        // SAFETY: as above. A failure to give it back cannot hurt: the lease ends with the descriptor.
        unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
        return Writers::None;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Writers::Some,
        _ => Writers::Unknown,
    }
}

/// Makes the kernel's word that a lease is wanted back (`SIGIO`) harmless; by default it ends the process. Must have been
/// called before [`writers`] is.
pub fn ignore_lease_breaks() {
    // SAFETY: SIG_IGN installs no handler, so no code of ours can run in a signal context.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_file_open_for_writing_is_told_from_a_finished_one() {
        ignore_lease_breaks();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(writers(&reader), Writers::Some);
        drop(writer);
        // A process that another test starts at this moment has all our files until it is another program.
        let until = Instant::now() + Duration::from_secs(10);
        while writers(&reader) == Writers::Some && Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(writers(&reader), Writers::None);
    }
}
