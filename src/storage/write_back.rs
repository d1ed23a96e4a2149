//! Asking the kernel to write pages to the device before anybody waits for them.
//!
//! A long append fills memory with dirty pages, which the kernel then writes at a time of its choosing, all at once, while
//! the writer stands still. `sync_file_range(2)` starts and awaits the writing of a range. It syncs no metadata and no
//! drive cache, so nothing is durable by it. But whoever waits is told of a write that failed, and the kernel tells each
//! open file only once (`file_check_and_advance_wb_err` in mm/filemap.c): the `fdatasync` that follows would succeed. So the
//! error of a wait counts as that of a sync.

// rustix has no sync_file_range.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Starts writing the range.
pub fn start(file: &File, offset: u64, bytes: u64) {
    // It waits for nothing, so that it is told of no write that failed; that it cannot start is no harm.
    drop(range(file, offset, bytes, libc::SYNC_FILE_RANGE_WRITE));
}

/// Waits until the range is written. An error is that of a write: what the disk holds is not known.
pub fn finish(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    match range(file, offset, bytes, all) {
        // Filesystems and kernels that do not have the call.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE)) => Ok(()),
        result => result,
    }
}

fn range(file: &File, offset: u64, bytes: u64, flags: libc::c_uint) -> io::Result<()> {
    let too_far = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let (offset, bytes) = (i64::try_from(offset).map_err(too_far)?, i64::try_from(bytes).map_err(too_far)?);
    // SAFETY: the call takes numbers and touches no memory of ours; the descriptor is open for as long as `file` lives.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
