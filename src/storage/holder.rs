//! Who holds the lock on a file, for the error text.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The process that holds an exclusive `flock` on the file, from `/proc/locks` (`proc(5)`). `None` where it cannot be told.
pub fn lock_holder(path: &Path) -> Option<u32> {
    let metadata = fs::metadata(path).ok()?;
    let device = metadata.dev();
    let identity = format!("{:02x}:{:02x}:{}", rustix::fs::major(device), rustix::fs::minor(device), metadata.ino());
    holder_in(&fs::read_to_string("/proc/locks").ok()?, &identity)
}

/// A line reads `1: FLOCK  ADVISORY  WRITE 4242 fe:00:131073 0 EOF`.
fn holder_in(locks: &str, identity: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (kind, access) = (fields.next()?, fields.nth(1)?);
        let pid = fields.next()?;
        (kind == "FLOCK" && access == "WRITE" && fields.next() == Some(identity)).then(|| pid.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        // The bug: a reader with a shared lock was taken for the service.
        let locks = "3: FLOCK  ADVISORY  READ 12 fe:00:7 0 EOF\n1: POSIX  ADVISORY  WRITE 11 fe:00:7 0 EOF\n2: FLOCK  ADVISORY  WRITE 4242 fe:00:7 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 5 fe:00:7 0 EOF\n";
        assert_eq!(holder_in(locks, "fe:00:7"), Some(4242));
        assert_eq!(holder_in(locks, "fe:00:8"), None);
    }

    #[test]
    fn our_own_lock_is_seen() {
        use crate::storage::{Access, Disk, RealDisk};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = RealDisk.open(&path, Access::CreateNew).unwrap();
        assert_eq!(lock_holder(&path), None);
        assert!(file.try_lock().unwrap());
        assert!(!RealDisk.open(&path, Access::ReadWrite).unwrap().try_lock().unwrap());
        assert_eq!(lock_holder(&path), Some(std::process::id()));
    }
}
