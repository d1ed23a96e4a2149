//! The real disk: one system call for each operation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, RenameFlags, StatxFlags};
use rustix::io::Errno;

use super::{Access, Disk, DiskFile, FileStatus, MappedBlock, Presence, attributes, write_back};

/// At most this many buffers in one `pwritev` (Linux `UIO_MAXIOV`).
const GATHER_MAX: usize = 1024;

/// The operating system's filesystems.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl From<&fs::Metadata> for FileStatus {
    fn from(metadata: &fs::Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            born_ns: born.and_then(|born| i64::try_from(born.as_nanos()).ok()),
            is_regular: metadata.file_type().is_file(),
            is_folder: metadata.file_type().is_dir(),
        }
    }
}

/// Opens a regular file for reading. A link is not followed, and a pipe that took the file's place has nobody wait.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Whether this process may make files in the folder, or write to the file.
///
/// # Errors
/// Why not: a permission, or a disk that is mounted read-only.
pub fn check_writable(path: &Path) -> io::Result<()> {
    let needed = if path.is_dir() {
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK
    } else {
        rustix::fs::Access::WRITE_OK
    };
    rustix::fs::access(path, needed).map_err(io::Error::from)
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match access {
            Access::Read => options.read(true),
            Access::ReadWrite => options.read(true).write(true),
            Access::CreateNew => options.read(true).write(true).create_new(true),
            Access::CreatePrivate => options.read(true).write(true).create_new(true).mode(0o600),
        };
        Ok(Box::new(RealFile { file: options.open(path)? }))
    }

    fn status(&self, path: &Path) -> io::Result<Option<FileStatus>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(FileStatus::from(&metadata))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn presence(&self, path: &Path) -> io::Result<Option<Presence>> {
        let asked = StatxFlags::INO | StatxFlags::SIZE;
        match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, asked) {
            Ok(found) => Ok(Some(Presence {
                device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
                inode: found.stx_ino,
                size: found.stx_size,
            })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            // Kernels before 4.11, and containers that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => Ok(self.status(path)?.map(Presence::from)),
            Err(error) => Err(error.into()),
        }
    }

    fn rename_no_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // NFS and some FUSE filesystems have no such rename: a hard link refuses an existing target as well.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::hard_link(from, to)?;
                // Another file that has its name by now stays.
                match (fs::symlink_metadata(from), fs::symlink_metadata(to)) {
                    (Ok(old), Ok(new)) if (old.dev(), old.ino()) != (new.dev(), new.ino()) => Ok(()),
                    _ => fs::remove_file(from),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn room(&self, folder: &Path) -> io::Result<Option<(u64, u64)>> {
        let statistics = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(statistics.f_frsize);
        // Some network filesystems say that they have nothing at all.
        Ok((statistics.f_blocks > 0).then(|| (bytes(statistics.f_bavail), bytes(statistics.f_blocks))))
    }

    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn copy_owner_and_mode(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (wanted, found) = (fs::metadata(from)?, fs::metadata(to)?);
        if (wanted.uid(), wanted.gid()) != (found.uid(), found.gid()) {
            std::os::unix::fs::chown(to, Some(wanted.uid()), Some(wanted.gid()))?;
        }
        let copied = attributes::copy(from, to);
        // After the owner, whose change takes the set-user bits away; and after the access control list, whose mask it is.
        fs::set_permissions(to, wanted.permissions())?;
        copied
    }

    fn copy_times(&self, from: &Path, to: &Path) -> io::Result<()> {
        let metadata = fs::metadata(from)?;
        let times = fs::FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?);
        OpenOptions::new().write(true).open(to)?.set_times(times)
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn status(&self) -> io::Result<FileStatus> {
        Ok(FileStatus::from(&self.file.metadata()?))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match parts {
            [part] => self.file.write_at(part, offset),
            _ => {
                let parts = parts.get(..GATHER_MAX).unwrap_or(parts);
                Ok(rustix::io::pwritev(&self.file, parts, offset)?)
            }
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn reserve(&self, offset: u64, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, bytes) {
            // Some filesystems cannot.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn allocated(&self) -> io::Result<Option<u64>> {
        // In units of 512 bytes, whatever the filesystem's are (inode(7)).
        Ok(Some(self.file.metadata()?.blocks().saturating_mul(512)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn map_block(&self, offset: u64) -> io::Result<Option<MappedBlock>> {
        MappedBlock::of(&self.file, offset)
    }

    fn start_write_back(&self, offset: u64, bytes: u64) -> io::Result<()> {
        write_back::start(&self.file, offset, bytes)
    }

    fn drop_behind(&self, offset: u64, bytes: u64) -> io::Result<()> {
        write_back::finish(&self.file, offset, bytes)?;
        // A hint: pages that stay are no harm.
        let _ = rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(bytes), rustix::fs::Advice::DontNeed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presence_is_the_status_without_the_times() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, [7; 300]).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link, folder.path()] {
            assert_eq!(
                RealDisk.presence(path).unwrap(),
                RealDisk.status(path).unwrap().map(Presence::from),
                "{path:?}"
            );
        }
        assert_ne!(RealDisk.presence(&file).unwrap(), RealDisk.presence(&link).unwrap());
        assert_eq!(RealDisk.presence(&file).unwrap().map(|there| there.size), Some(300));
        assert_eq!(RealDisk.presence(&file.join("below")).unwrap(), None);
        assert_eq!(RealDisk.presence(&folder.path().join("none")).unwrap(), None);
    }
}
