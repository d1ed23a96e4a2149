//! Extended attributes, access control lists among them, from one file to another.
//!
//! A file with an access control list shows the list's mask where others show the rights of its group. With the mode alone
//! a copy would be open to a group that may not read the original.

use std::io;
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno;

/// Linux has no longer value, and no longer list of names (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const BYTES_MAX: usize = 64 << 10;
const ACCESS_LIST: &str = "system.posix_acl_access";

/// Gives one file the attributes of another. What belongs to the kernel or to the filesystem is left out where it may not be
/// set; what the user has set, and who may open the file, is not.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0; BYTES_MAX];
    let length = match listxattr(from, names.as_mut_slice()) {
        // The filesystem has none.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
        listed => listed.map_err(failed("reading the names of its extended attributes"))?,
    };
    let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut has_list = false;
    let mut value = vec![0; BYTES_MAX];
    for name in names {
        has_list |= name == ACCESS_LIST.as_bytes();
        let copied = getxattr(from, name, value.as_mut_slice())
            .and_then(|length| setxattr(to, name, value.get(..length).unwrap_or_default(), XattrFlags::empty()));
        match copied {
            Err(error) if error != Errno::NODATA && is_of_user(name) => {
                return Err(failed(&format!("copying its extended attribute {}", name.escape_ascii()))(error));
            }
            _ => {}
        }
    }
    if has_list {
        return Ok(());
    }
    // A new file has the list that its folder gives to new files.
    match removexattr(to, ACCESS_LIST) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(failed("removing the access control list of its folder")(error)),
    }
}

/// Attributes, and access control lists of any kind (xattr(7)).
fn is_of_user(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.")
}

fn failed(operation: &str) -> impl Fn(Errno) -> io::Error {
    move |error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("{operation}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::storage::{Disk, RealDisk};

    /// `user::rw-, user:1234:rw-, group::---, mask::rw-, other::---`, as the kernel has it (`linux/posix_acl_xattr.h`).
    fn access_list() -> Vec<u8> {
        const NOBODY: u32 = u32::MAX;
        let entries = [(1_u16, 6_u16, NOBODY), (2, 6, 1234), (4, 0, NOBODY), (16, 6, NOBODY), (32, 0, NOBODY)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            list.extend([&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat());
        }
        list
    }

    fn value(path: &Path, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 1000];
        let length = getxattr(path, name, value.as_mut_slice()).ok()?;
        value.truncate(length);
        Some(value)
    }

    /// The bug: the copy was open to the file's group, which the list keeps out, and the user's attributes were gone.
    #[test]
    fn a_copy_is_open_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "").unwrap();
        fs::write(&to, "").unwrap();
        if setxattr(&from, ACCESS_LIST, &access_list(), XattrFlags::empty()) == Err(Errno::OPNOTSUPP) {
            // Not on every filesystem are there such lists.
            return;
        }
        setxattr(&from, "user.origin", b"camera 3", XattrFlags::empty()).unwrap();
        RealDisk.copy_owner_and_mode(&from, &to).unwrap();
        assert_eq!(value(&to, ACCESS_LIST), Some(access_list()));
        assert_eq!(value(&to, "user.origin"), Some(b"camera 3".to_vec()));
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o660);
        // And the other way: a list that the copy has from its folder goes.
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        RealDisk.copy_owner_and_mode(&plain, &to).unwrap();
        assert_eq!(value(&to, ACCESS_LIST), None);
    }
}
