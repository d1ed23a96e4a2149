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

/// Starts writing the range. It waits for nothing; an error is that of a filesystem which has no room or no place for it, and may
/// not be told again by a sync.
pub fn start(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    where_there_is_one(range(file, offset, bytes, libc::SYNC_FILE_RANGE_WRITE))
}

/// Waits until the range is written. An error is that of a write: what the disk holds is not known.
pub fn finish(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    where_there_is_one(range(file, offset, bytes, all))
}

/// Filesystems, kernels and sandboxes that do not have the call do without, and so does whoever is interrupted.
fn where_there_is_one(result: io::Result<()>) -> io::Result<()> {
    const HARMLESS: [libc::c_int; 6] =
        [libc::ENOSYS, libc::EPERM, libc::EINVAL, libc::ESPIPE, libc::EOPNOTSUPP, libc::EINTR];
    match result {
        Err(error) if error.raw_os_error().is_some_and(|number| HARMLESS.contains(&number)) => Ok(()),
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
