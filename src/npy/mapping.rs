//! Mapping a file into memory.
//!
//! The one promise that the compiler cannot check: nobody makes the file shorter, or changes the bytes that were mapped, as
//! long as the mapping lives. npy-ingest never does that below a published count. Another program may: a read behind the new
//! end then ends the process with SIGBUS, as it does in any program that maps files, NumPy included.

// Mapping is unsafe in every crate, for the reason above.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// Maps the first `bytes` of the file, for reading.
pub(super) fn map(file: &File, bytes: u64) -> io::Result<Mmap> {
    let length = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    // SAFETY: the mapping is read-only and shared; the module documentation says what is asked of other processes. The length
    // was checked against the file's by the caller, or a read behind its end is a SIGBUS and no memory of ours.
    unsafe { MmapOptions::new().len(length).map(file) }
}
