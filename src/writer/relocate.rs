//! Moving files of the user's: never over another file, also to another disk, and only the file that is meant.
//!
//! Nothing tells the kernel to remove or move a file only if it is still the one that was looked at. So a file is looked at
//! once more where nobody else can replace it, and goes back if it is another one. A move within a disk is a single rename,
//! and the look is at its target: of two renames a power cut might keep only the second. What is to be removed, or copied
//! to another disk, is set aside first (`aside`), and so is what was rejected: `retry` may forget it at any moment, but
//! forgets nothing that it has not in hand itself. The first of its renames is synced before the second.

use std::io::{self, IoSlice};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::aside::{Aside, aside_names, set_aside};
use crate::source::Identity;
use crate::storage::file_name::{beside, first_free, fitting};
use crate::storage::{Access, Disk, DiskFile, FileStatus, fill, sync_names, write_all_at};

const COPY_BYTES: usize = 1 << 20;

/// What is asked while a file is moved to another disk.
#[derive(Clone, Copy)]
pub struct Asks<'a> {
    /// Before each block that is copied or compared: an error calls it off, and all is as it was before.
    pub go_on: &'a dyn Fn() -> io::Result<()>,
    /// Whether a file that is like it, at the target, can be the copy of it that a crash left. Else it is another source.
    pub is_own: &'a dyn Fn(&Path) -> io::Result<bool>,
    /// Of a file that was rejected: whether the ledger has it still. Asked while it is set aside.
    pub is_listed: Option<&'a dyn Fn() -> io::Result<bool>>,
}

impl Asks<'static> {
    /// Of a file whose move was not begun before, and is not called off.
    pub const NOTHING: Self = Self { go_on: &|| Ok(()), is_own: &|_| Ok(false), is_listed: None };
}

/// After so many bytes of a copy they are made durable, so that no single sync takes minutes.
const SYNC_BYTES: u64 = 64 << 20;
/// What filesystems count times in, up to FAT's two seconds.
const TIME_UNITS_NS: [u64; 6] = [100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000];
/// What a file of ours is called that is not whole yet: `.NAME` and this.
const TEMPORARY: &str = ".npy-ingest.tmp";
/// So many of one name may be in use or be left.
const TEMPORARIES_MAX: u32 = 100;

/// Moves to the wanted name or, where that is taken, to `name.1.jpg`, `name.2.jpg`, and so on.
pub fn move_beside(disk: &dyn Disk, from: &Path, wanted: &Path) -> io::Result<PathBuf> {
    match first_free(beside(wanted), |target| disk.rename_no_replace(from, target).map(|()| target.to_owned())) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        moved => return moved,
    }
    let target = copy_to_first_free(disk, from, beside(wanted))?;
    disk.remove_file(from)?;
    Ok(target)
}

/// Moves a file from elsewhere on the disk to where the file `home` would be set aside.
pub fn move_aside(disk: &dyn Disk, from: &Path, home: &Path) -> io::Result<PathBuf> {
    first_free(aside_names(home), |target| disk.rename_no_replace(from, target).map(|()| target.to_owned()))
}

/// Copies a file from another disk to where `home` is, under a name that no scan takes, and that nobody else removes.
pub fn copy_near(disk: &dyn Disk, from: &Path, home: &Path) -> io::Result<PathBuf> {
    let names = (1..=TEMPORARIES_MAX).map(|number| fitting(home, ".", &format!(".{number}.back{TEMPORARY}")));
    copy_to_first_free(disk, from, names)
}

fn copy_to_first_free(disk: &dyn Disk, from: &Path, names: impl Iterator<Item = PathBuf>) -> io::Result<PathBuf> {
    let status = disk.status(from)?.ok_or(io::ErrorKind::NotFound)?;
    first_free(names, |target| {
        copy_over(disk, from, target, Identity::from(&status), Asks::NOTHING).map(|()| target.to_owned())
    })
}

/// As [`move_beside`], if it is this file. `None`: another file is there by now, and stays.
pub fn move_if(
    disk: &dyn Disk,
    from: &Path,
    wanted: &Path,
    identity: Identity,
    asks: Asks<'_>,
) -> io::Result<Option<PathBuf>> {
    first_free(beside(wanted), |target| move_to(disk, from, target, identity, asks))
}

/// As [`move_if`], to this name alone.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`]: it is taken.
pub fn move_to(
    disk: &dyn Disk,
    from: &Path,
    target: &Path,
    identity: Identity,
    asks: Asks<'_>,
) -> io::Result<Option<PathBuf>> {
    if asks.is_listed.is_none() {
        match disk.rename_no_replace(from, target) {
            Ok(()) => return is_moved(disk, from, target, identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound && disk.status(from)?.is_none() => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            Err(error) => return Err(error),
        }
        (asks.go_on)()?;
        if is_taken(disk, from, target, asks)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
    }
    in_hand(disk, from, identity, asks, |aside| {
        let folder = from.parent().unwrap_or(Path::new("."));
        if asks.is_listed.is_some() {
            if aside.path != from {
                sync_names(disk, folder)?;
            }
            match disk.rename_no_replace(&aside.path, target) {
                Ok(()) => return is_moved(disk, from, target, identity),
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
                Err(error) => return Err(error),
            }
        }
        copy_over(disk, &aside.path, target, identity, asks)?;
        aside.remove(disk, identity)?;
        // Before anybody notes that it is gone: what was rejected and is back would be another file.
        sync_names(disk, folder)?;
        Ok(Some(target.to_owned()))
    })
}

/// What came of a rename. What is not the file that was meant goes back.
fn is_moved(disk: &dyn Disk, from: &Path, target: &Path, identity: Identity) -> io::Result<Option<PathBuf>> {
    if is_file(disk, target, identity)? {
        return Ok(Some(target.to_owned()));
    }
    move_beside(disk, target, from)?;
    Ok(None)
}

/// Removes this file. `false`: another file is there by now, and stays.
pub fn remove_if(disk: &dyn Disk, path: &Path, identity: Identity, asks: Asks<'_>) -> io::Result<bool> {
    let removed = in_hand(disk, path, identity, asks, |aside| aside.remove(disk, identity).map(Some))?;
    Ok(removed.is_some())
}

/// Does something with this file while it is set aside. `None`: another file is there by now, or the ledger has it no more.
fn in_hand<T>(
    disk: &dyn Disk,
    path: &Path,
    identity: Identity,
    asks: Asks<'_>,
    act: impl FnOnce(&Aside) -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let Some(aside) = set_aside(disk, path, identity)? else { return Ok(None) };
    match asks.is_listed.map_or(Ok(true), |is_listed| is_listed()) {
        Ok(true) => {}
        Ok(false) => return aside.put_back(disk).map(|()| None),
        Err(error) => {
            let _ = aside.put_back(disk);
            return Err(error);
        }
    }
    act(&aside).inspect_err(|_| {
        // It stays where it was, for another attempt. If not even that, the next scan does it.
        let _ = aside.put_back(disk);
    })
}

pub fn is_file(disk: &dyn Disk, path: &Path, identity: Identity) -> io::Result<bool> {
    Ok(disk.status(path)?.is_some_and(|status| status.is_regular && Identity::from(&status) == identity))
}

/// Whether another file has this name. A copy of the file that a crash left there is none.
pub fn is_taken(disk: &dyn Disk, from: &Path, target: &Path, asks: Asks<'_>) -> io::Result<bool> {
    match disk.status(target)? {
        Some(there) => Ok(!is_copy(disk, from, target, &there, asks)?),
        None => Ok(false),
    }
}

/// Whether the file was copied to another disk already, and a crash came before it was removed: time, size and content are
/// the same, the time as well as that disk can tell it, and it is no other source's.
fn is_copy(disk: &dyn Disk, from: &Path, to: &Path, there: &FileStatus, asks: Asks<'_>) -> io::Result<bool> {
    let Some(here) = disk.status(from)? else { return Ok(false) };
    let is_of_its_time = is_rounded(here.mtime_ns, there.mtime_ns);
    let is_like = here.is_regular && there.is_regular && here.size == there.size && is_of_its_time;
    // A disk that is mounted twice is one device, and no move within it is a rename: what is another file tells its inode.
    if !is_like || (here.device, here.inode) == (there.device, there.inode) {
        return Ok(false);
    }
    (asks.go_on)()?;
    if !(asks.is_own)(to)? {
        return Ok(false);
    }
    let (here, there) = (disk.open(from, Access::Read)?, disk.open(to, Access::Read)?);
    let (mut one, mut two) = (vec![0; COPY_BYTES], vec![0; COPY_BYTES]);
    let mut at = 0;
    loop {
        (asks.go_on)()?;
        let (one, two) = (read_block(&*here, &mut one, at)?, read_block(&*there, &mut two, at)?);
        if one != two {
            return Ok(false);
        }
        if one.is_empty() {
            return Ok(true);
        }
        at += one.len() as u64;
    }
}

/// Whether a time is this one, or this one as a filesystem counts it that has nothing finer.
pub fn is_rounded(time_ns: i64, rounded_ns: i64) -> bool {
    let is_unit = |unit: &u64| rounded_ns.unsigned_abs().is_multiple_of(*unit);
    let unit = TIME_UNITS_NS.into_iter().rev().find(is_unit).unwrap_or(1);
    time_ns.abs_diff(rounded_ns) < unit
}

/// Fills the buffer, or as much of it as there is left in the file.
fn read_block<'a>(file: &dyn DiskFile, buffer: &'a mut [u8], offset: u64) -> io::Result<&'a [u8]> {
    let filled = fill(buffer, |rest, filled| file.read_at(rest, offset + filled))?;
    Ok(buffer.get(..filled).unwrap_or_default())
}

/// Copies to another filesystem, durably, also under its name. The original stays.
fn copy_over(disk: &dyn Disk, from: &Path, to: &Path, identity: Identity, asks: Asks<'_>) -> io::Result<()> {
    if disk.status(to)?.is_some() {
        return if is_taken(disk, from, to, asks)? {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            sync_names(disk, to.parent().unwrap_or(Path::new(".")))
        };
    }
    make_file(disk, to, |file, temporary| {
        copy(&*disk.open(from, Access::Read)?, file, asks)?;
        // Not everybody may give files away, and some filesystems know no owners: the content is what counts. The times come
        // first, as the mode may take the right to write away.
        let _ = disk.copy_times(from, temporary);
        let _ = disk.copy_owner_and_mode(from, temporary);
        match is_file(disk, from, identity)? {
            true => Ok(()),
            false => Err(io::Error::other("it was changed while it was copied")),
        }
    })
}

fn copy(source: &dyn DiskFile, target: &dyn DiskFile, asks: Asks<'_>) -> io::Result<()> {
    let mut block = vec![0; COPY_BYTES];
    let (mut at, mut synced) = (0, 0);
    loop {
        (asks.go_on)()?;
        let part = read_block(source, &mut block, at)?;
        if part.is_empty() {
            return Ok(());
        }
        write_all_at(target, &mut [IoSlice::new(part)], at)?;
        at += part.len() as u64;
        if at - synced >= SYNC_BYTES {
            target.sync_data()?;
            synced = at;
        }
    }
}

/// Makes a file that is whole and durable before it has its name, also durably.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`]: the name is taken. Whatever it is, nothing is left behind.
pub fn make_file(
    disk: &dyn Disk,
    to: &Path,
    fill: impl FnOnce(&dyn DiskFile, &Path) -> io::Result<()>,
) -> io::Result<()> {
    // The open file has a lock while it is needed.
    let (temporary, file) = make_temporary(disk, to)?;
    let made =
        fill(&*file, &temporary).and_then(|()| file.sync_data()).and_then(|()| disk.rename_no_replace(&temporary, to));
    if made.is_err() {
        // The first error is the one to be told of. What stays is removed by the next attempt.
        let _ = disk.remove_file(&temporary);
    }
    made?;
    sync_names(disk, to.parent().unwrap_or(Path::new(".")))
}

/// Whether a file is called as one of ours that is not whole yet.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.as_bytes();
        name.starts_with(b".") && name.ends_with(TEMPORARY.as_bytes())
    })
}

/// A new file of ours beside the wanted one, locked. One that a crash left is removed; what another process is at work on is
/// not.
fn make_temporary(disk: &dyn Disk, to: &Path) -> io::Result<(PathBuf, Box<dyn DiskFile>)> {
    let numbered = (1..=TEMPORARIES_MAX).map(|number| fitting(to, ".", &format!(".{number}{TEMPORARY}")));
    let names = std::iter::once(fitting(to, ".", TEMPORARY)).chain(numbered);
    first_free(names, |path| {
        let file = match disk.open(path, Access::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove_left_over(disk, path)?;
                disk.open(path, Access::CreateNew)?
            }
            opened => opened?,
        };
        let is_locked = try_lock(&*file)?;
        let own = file.status()?;
        let is_there = disk.status(path)?.is_some_and(|there| there.inode == own.inode);
        match is_locked && is_there {
            true => Ok((path.to_owned(), file)),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        }
    })
}

/// Where there are no locks, nobody else is kept from it.
fn try_lock(file: &dyn DiskFile) -> io::Result<bool> {
    use rustix::io::Errno;
    let without = [Errno::NOLCK, Errno::NOTSUP, Errno::NOSYS].map(|errno| Some(errno.raw_os_error()));
    match file.try_lock() {
        Err(error) if without.contains(&error.raw_os_error()) => Ok(true),
        locked => locked,
    }
}

/// Removes a temporary file that nobody is at work on.
fn remove_left_over(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let is_taken = || io::Error::from(io::ErrorKind::AlreadyExists);
    let there = disk.status(path)?.filter(|there| there.is_regular).ok_or_else(is_taken)?;
    // It may have the mode of a source that nobody may write to.
    let file = disk.open(path, Access::Read)?;
    let is_it = file.status()?.inode == there.inode;
    // Held while the name is removed.
    if !is_it || !try_lock(&*file)? || disk.status(path)?.is_none_or(|now| now.inode != there.inode) {
        return Err(is_taken());
    }
    disk.remove_file(path)
}

#[cfg(test)]
pub(super) mod tests;
