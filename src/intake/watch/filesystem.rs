//! Which filesystems tell of what happens on them, and how.

use std::path::Path;

/// Whether the filesystem below a folder tells of changes that other machines or programs make: not so network
/// filesystems and FUSE, where inotify sees only what this machine's kernel does.
pub fn sends_events(folder: &Path) -> bool {
    // From linux/magic.h and the filesystems' sources.
    const SILENT: &[u64] = &[
        0x6969,      // NFS
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB2
        0x517b,      // SMB
        0x6573_5546, // FUSE
        0x0102_1997, // 9P
        0x0bd0_0bd0, // Lustre
        0x00c3_6400, // Ceph
        0x5346_414f, // AFS
        0x7461_636f, // OCFS2
        0x0116_1970, // GFS2
        0x786f_4256, // VirtualBox shared folders
        0xbacb_acbc, // VMware shared folders
    ];
    kind_of(folder).is_none_or(|kind| !SILENT.contains(&kind))
}

/// Whether a folder's inode change time tells, on this filesystem, of every name that comes or goes.
pub fn keeps_change_times(folder: &Path) -> bool {
    // From linux/magic.h.
    const KNOWN: &[u64] = &[
        0xef53,      // ext2, ext3, ext4
        0x5846_5342, // XFS
        0x9123_683e, // Btrfs
        0xf2f5_2010, // F2FS
        0x0102_1994, // tmpfs
        // A folder that is not of the upper layer becomes so, as a new inode, before a name comes or goes. Whoever changes a
        // layer from outside has been warned by the kernel's documentation.
        0x794c_7630, // overlayfs
    ];
    kind_of(folder).is_some_and(|kind| KNOWN.contains(&kind))
}

fn kind_of(folder: &Path) -> Option<u64> {
    // A signed word on some machines.
    rustix::fs::statfs(folder).ok().map(|statistics| statistics.f_type as u64 & 0xffff_ffff)
}
