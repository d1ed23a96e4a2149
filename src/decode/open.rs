//! Opening a source: the file that was found, below its folder, and only if nobody writes to it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::reader::SourceReader;
use crate::config::HardLinks;
use crate::source::{Identity, NotFinished, wall_clock_ns};
use crate::storage::FileStatus;
use crate::storage::lease::{Writers, writers};

/// Why a source was not opened, or not read to its end.
#[derive(Debug)]
pub(super) enum OpenFailure {
    Gone,
    NotFinished(NotFinished),
    Unreadable(io::Error),
    /// It has so many names, and had them for longer than an upload needs a second one.
    Linked(u64),
}

/// An upload may give a file a second name for so long (`ln`, then `unlink`), and a log may be rotated by such names.
const LINKED_MAX: Duration = Duration::from_secs(10);

/// An open source whose identity has been checked.
#[derive(Debug)]
pub struct SourceFile {
    file: Arc<File>,
    identity: Identity,
    hard_links: HardLinks,
}

impl SourceFile {
    /// Opens `root/below` without following a symbolic link anywhere below `root`, and makes sure that it is the regular
    /// file that was found and that nobody has it open for writing. `writer_was_seen`: an event told of a write, and none
    /// of the file's being closed.
    pub(super) fn open(
        root: &Path,
        below: &Path,
        expected: Identity,
        writer_was_seen: bool,
    ) -> Result<Self, OpenFailure> {
        let file = open_beneath(root, below).map_err(open_failure)?;
        let source = Self { file: Arc::new(file), identity: expected, hard_links: HardLinks::Take };
        match source.identity_now()? {
            Some(identity) if identity == expected => {}
            Some(_) => return Err(OpenFailure::NotFinished(NotFinished::Changed)),
            None => return Err(OpenFailure::Gone),
        }
        match writers(&source.file) {
            Writers::None => Ok(source),
            Writers::Some => Err(OpenFailure::NotFinished(NotFinished::BeingWritten)),
            Writers::Unknown if writer_was_seen => Err(OpenFailure::NotFinished(NotFinished::MayBeWritten)),
            Writers::Unknown => Ok(source),
        }
    }

    /// As [`Self::open`] for a file that is still being written: the one with this inode, with the size that it has now.
    pub(super) fn open_growing(root: &Path, below: &Path, expected: Identity) -> Result<Self, OpenFailure> {
        let file = open_beneath(root, below).map_err(open_failure)?;
        let mut source = Self { file: Arc::new(file), identity: expected, hard_links: HardLinks::Take };
        source.identity = match source.identity_now()? {
            Some(identity) if identity.inode == expected.inode => identity,
            Some(_) => return Err(OpenFailure::NotFinished(NotFinished::Changed)),
            None => return Err(OpenFailure::Gone),
        };
        Ok(source)
    }

    /// Nothing is read from it while it has further names, if the config refuses that: it may be a file that whoever made
    /// the link is not allowed to read.
    pub(super) fn with(mut self, hard_links: HardLinks) -> Result<Self, OpenFailure> {
        self.hard_links = hard_links;
        self.check_links()?;
        Ok(self)
    }

    fn check_links(&self) -> Result<(), OpenFailure> {
        if self.hard_links == HardLinks::Take {
            return Ok(());
        }
        let metadata = self.file.metadata().map_err(OpenFailure::Unreadable)?;
        // Making and removing a name sets the inode change time.
        let since_ns = wall_clock_ns().saturating_sub(FileStatus::from(&metadata).ctime_ns);
        match metadata.nlink() {
            0 | 1 => Ok(()),
            names if since_ns > LINKED_MAX.as_nanos() as i64 => Err(OpenFailure::Linked(names)),
            names => Err(OpenFailure::NotFinished(NotFinished::Linked(names))),
        }
    }

    /// Bytes that it has by now.
    pub(super) fn size_now(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether it has no name any more.
    pub(super) fn is_deleted(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// An open file as it is, for those who decode without the service: nothing is asked about its place and its writers.
    ///
    /// # Errors
    /// The file cannot be asked for its status, or is not a regular one.
    pub fn of(file: File) -> io::Result<Self> {
        let status = FileStatus::from(&file.metadata()?);
        if !status.is_regular {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file: Arc::new(file), identity: Identity::from(&status), hard_links: HardLinks::Take })
    }

    /// Reads it from its start.
    pub fn reader(&self) -> SourceReader<'_> {
        SourceReader::new(self)
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.identity.size
    }

    /// The file itself, open for reading. Its position is the file's start, for those who read on from there.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// As [`Self::file`], for other threads.
    pub(super) fn shared(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Makes sure that it did not change since it was opened, and got no further name that is refused.
    pub(super) fn check_unchanged(&self) -> Result<(), OpenFailure> {
        match self.identity_now()? {
            Some(identity) if identity == self.identity => self.check_links(),
            _ => Err(OpenFailure::NotFinished(NotFinished::Changed)),
        }
    }

    /// Makes sure that its name still means this file: a program that was given the name has read the bytes that were hashed.
    pub(super) fn check_place(&self, root: &Path, below: &Path) -> Result<(), OpenFailure> {
        let there = std::fs::symlink_metadata(root.join(below)).map_err(|_| OpenFailure::Gone)?;
        match Identity::from(&FileStatus::from(&there)) {
            identity if identity == self.identity => Ok(()),
            _ => Err(OpenFailure::NotFinished(NotFinished::Changed)),
        }
    }

    /// Reads the whole file into the buffer, and makes sure that it did not change meanwhile.
    pub(super) fn read_all(&self, buffer: &mut Vec<u8>) -> Result<(), OpenFailure> {
        let size = usize::try_from(self.identity.size)
            .map_err(|_| OpenFailure::Unreadable(io::Error::from(io::ErrorKind::FileTooLarge)))?;
        buffer.clear();
        let is_short = |_| OpenFailure::Unreadable(io::Error::from(io::ErrorKind::OutOfMemory));
        buffer.try_reserve(size + 1).map_err(is_short)?;
        // One byte more than expected shows a file that grows.
        let limit = self.identity.size + 1;
        self.file().take(limit).read_to_end(buffer).map_err(OpenFailure::Unreadable)?;
        if buffer.len() != size {
            return Err(OpenFailure::NotFinished(NotFinished::Changed));
        }
        self.check_unchanged()
    }

    fn identity_now(&self) -> Result<Option<Identity>, OpenFailure> {
        let metadata = self.file.metadata().map_err(OpenFailure::Unreadable)?;
        let status = FileStatus::from(&metadata);
        Ok(status.is_regular.then(|| Identity::from(&status)))
    }
}

fn open_failure(error: Errno) -> OpenFailure {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => OpenFailure::Gone,
        // Somebody's lease on the file, or a rename while the path was walked.
        Errno::AGAIN => OpenFailure::NotFinished(NotFinished::Changed),
        error => OpenFailure::Unreadable(error.into()),
    }
}

fn open_beneath(root: &Path, below: &Path) -> Result<File, Errno> {
    // NONBLOCK: a FIFO that took the file's place must not hold us; it is found out by its type.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(&folder, below, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_by_steps(folder, below, flags),
        opened => opened,
    }
    .map(File::from)
}

/// Opens one folder after the other on the way to the file, and none through a symbolic link.
fn open_by_steps(mut folder: OwnedFd, below: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let step_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut names = below.components();
    let Some(Component::Normal(file)) = names.next_back() else { return Err(Errno::NOENT) };
    for name in names {
        let Component::Normal(name) = name else { return Err(Errno::XDEV) };
        folder = rustix::fs::openat(&folder, name, step_flags, Mode::empty())?;
    }
    rustix::fs::openat(&folder, file, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn identity(path: &Path) -> Identity {
        Identity::from(&FileStatus::from(&fs::symlink_metadata(path).unwrap()))
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("drop"), folder.path().join("secret"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("a"), "x").unwrap();
        std::os::unix::fs::symlink(outside.join("a"), root.join("file")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("folder")).unwrap();
        for below in ["file", "folder/a", "../secret/a"] {
            let opened = SourceFile::open(&root, Path::new(below), identity(&outside.join("a")), false);
            assert!(matches!(opened, Err(OpenFailure::Gone)), "{below}: {opened:?}");
            let folder = OwnedFd::from(File::open(&root).unwrap());
            let opened =
                open_by_steps(folder, Path::new(below), OFlags::RDONLY | OFlags::NOFOLLOW).map_err(open_failure);
            assert!(matches!(opened, Err(OpenFailure::Gone)), "{below}, step by step: {opened:?}");
        }
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/c"), "found").unwrap();
        let folder = OwnedFd::from(File::open(&root).unwrap());
        let opened = open_by_steps(folder, Path::new("a/./b/c"), OFlags::RDONLY | OFlags::NOFOLLOW);
        assert_eq!(io::read_to_string(File::from(opened.unwrap())).unwrap(), "found");
    }

    #[test]
    fn a_file_that_changed_or_is_being_written_is_not_finished() {
        crate::storage::lease::ignore_lease_breaks();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let found = identity(&path);
        let open = || SourceFile::open(folder.path(), Path::new("a"), found, false);
        let mut bytes = Vec::new();
        open().unwrap().read_all(&mut bytes).unwrap();
        assert_eq!(bytes, b"one");

        let writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
        assert!(matches!(open(), Err(OpenFailure::NotFinished(NotFinished::BeingWritten))));
        drop(writer);

        let source = open().unwrap();
        fs::write(&path, "longer than before").unwrap();
        assert!(matches!(source.read_all(&mut bytes), Err(OpenFailure::NotFinished(NotFinished::Changed))));
        assert!(matches!(open(), Err(OpenFailure::NotFinished(NotFinished::Changed))));
    }

    #[test]
    fn a_file_with_another_name_waits_where_hard_links_are_refused() {
        crate::storage::lease::ignore_lease_breaks();
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "one").unwrap();
        fs::hard_link(&path, &other).unwrap();
        let open = |hard_links| {
            SourceFile::open(folder.path(), Path::new("a"), identity(&path), false)
                .and_then(|source| source.with(hard_links))
        };
        assert!(open(HardLinks::Take).is_ok());
        let waits = |opened| matches!(opened, Err(OpenFailure::NotFinished(NotFinished::Linked(2))));
        assert!(waits(open(HardLinks::Refuse).map(drop)));

        fs::remove_file(&other).unwrap();
        let (source, other_source) = (open(HardLinks::Refuse).unwrap(), open(HardLinks::Refuse).unwrap());
        let mut bytes = Vec::new();
        other_source.read_all(&mut bytes).unwrap();
        // One that comes while the file is open counts as well.
        fs::hard_link(&path, &other).unwrap();
        assert!(waits(source.read_all(&mut bytes)));
    }

    #[test]
    fn a_pipe_is_never_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let opened = SourceFile::open(folder.path(), Path::new("pipe"), identity(&path), false);
        assert!(matches!(opened, Err(OpenFailure::Gone)));
    }
}
