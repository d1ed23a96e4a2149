//! A new file with a longer header, put in the old one's place when it is complete and durable.
//!
//! Readers that have the old file open keep it. Whoever waits for its lock notices that the name stands for another file.

use std::io::{self, IoSlice};
use std::path::Path;

use super::super::append::{AppendError, Opened};
use super::super::header::MAGIC;
use super::{beside, copy_piece, folder, open_own};
use crate::storage::{Access, Disk, is_full, write_all_at};

const PIECE_BYTES: u64 = 1 << 20;

pub(super) fn copy(disk: &dyn Disk, opened: &Opened, header: &[u8]) -> Result<(), AppendError> {
    let temporary = beside(&opened.path, ".wider.tmp");
    let result = write(disk, opened, header, &temporary);
    if result.is_err() && matches!(disk.status(&temporary), Ok(Some(_))) {
        // Nothing refers to it; that it could not be removed either adds nothing to the first error.
        let _ = disk.remove_file(&temporary);
    }
    result.map_err(AppendError::disk("writing a copy of", &opened.path))
}

/// What a crash left of a copy: the lock, which the caller has, says that nobody is at work on it.
pub(super) fn remove_copy(disk: &dyn Disk, path: &Path) -> Result<(), AppendError> {
    let temporary = beside(path, ".wider.tmp");
    match open_own(disk, path, &temporary, &MAGIC)? {
        Some(_) => disk.remove_file(&temporary).map_err(AppendError::disk("removing an unfinished copy of", path)),
        None => Ok(()),
    }
}

fn write(disk: &dyn Disk, opened: &Opened, header: &[u8], temporary: &Path) -> io::Result<()> {
    let file = disk.open(temporary, Access::CreatePrivate)?;
    // Whoever opens it by the array's name waits until that name is durable.
    if !file.try_lock()? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    disk.copy_owner_and_mode(&opened.path, temporary).map_err(|error| match is_full(&error) {
        true => error,
        false => io::Error::new(
            error.kind(),
            format!("it cannot be given the owner and the rights of the file ({error}); --in-place needs no copy"),
        ),
    })?;
    write_all_at(&*file, &mut [IoSlice::new(header)], 0)?;
    let (mut from, mut to) = (opened.header.data_start, header.len() as u64);
    let mut buffer = vec![0; PIECE_BYTES as usize];
    while from < opened.file_bytes {
        let bytes = PIECE_BYTES.min(opened.file_bytes - from);
        let piece = buffer.get_mut(..bytes as usize).unwrap_or_default();
        copy_piece(&*opened.file, piece, from)?;
        // A hole stays one.
        if piece.iter().any(|byte| *byte != 0) {
            write_all_at(&*file, &mut [IoSlice::new(piece)], to)?;
        }
        from += bytes;
        to += bytes;
    }
    file.set_len(to)?;
    file.sync_data()?;
    disk.rename(temporary, &opened.path)?;
    disk.sync_folder(folder(&opened.path))
}
