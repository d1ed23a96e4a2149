//! One `.npy` file that grows: rows are staged, flushed, synced, and published by its owner, in that order.
//!
//! The file knows nothing of ledgers. What makes a set of rows committed, and when they may be published, is decided
//! one level up; this type keeps the bytes straight: rows go to `data_start + row * row_bytes`, a publication is one
//! write of an aligned block of 16 bytes, and the file never becomes shorter than what was published.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Layout;
use crate::storage::file_name::{NAMES_MAX, first_free, fitting};
use crate::storage::{Access, Disk, DiskFile, read_exact_at, write_all_at, write_block_at};

/// Small pieces of rows are gathered in buffers of this many bytes before they are written.
const GATHER_BYTES: usize = 64 << 10;
/// Once so many bytes were written, the device is asked to take them, so that a sync finds little left to do.
const WRITE_BACK_BYTES: u64 = 8 << 20;

/// An open file with a header of ours.
pub struct GrowingFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    inode: u64,
    layout: Layout,
    /// Rows in the file's header.
    published_rows: u64,
    /// Not while a publication has failed, which may have left either count.
    count_is_known: bool,
    /// Rows whose bytes were handed to the operating system.
    flushed_rows: u64,
    /// Rows that begin at `flushed_rows`, in order: the first row of each piece, and its bytes.
    pending: Vec<(u64, Vec<u8>)>,
    staged_rows: u64,
    /// The file's length in bytes as far as our writes may have extended it.
    length_max: u64,
    /// Before this byte the device has been asked to write. `None` where nobody waits for it.
    write_back: Option<u64>,
}

impl std::fmt::Debug for GrowingFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrowingFile")
            .field("path", &self.path)
            .field("published_rows", &self.published_rows)
            .field("staged_rows", &self.staged_rows)
            .finish_non_exhaustive()
    }
}

impl GrowingFile {
    /// Creates an empty file with a header, durably and all at once: under a temporary name, synced, renamed, and the
    /// folder synced. Fails with [`io::ErrorKind::AlreadyExists`] where the path is taken.
    pub fn create(disk: &dyn Disk, path: &Path, layout: &Layout) -> io::Result<()> {
        let header = layout.header(0).map_err(io::Error::other)?;
        let create_new = |name: &Path| Ok((name.to_owned(), disk.open(name, Access::CreateNew)?));
        // That all these names are taken does not mean that the path is.
        let (temporary, file) = first_free(temporary_names(path), create_new).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::other(error),
            _ => error,
        })?;
        let written = write_all_at(&*file, &mut [IoSlice::new(&header)], 0).and_then(|()| file.sync_data());
        let named = written.and_then(|()| give_name(disk, &temporary, path));
        if named.is_err() && is_this_file(disk, &temporary, &*file) {
            // Nothing refers to it; that it could not be removed either adds nothing to the first error.
            let _ = disk.remove_file(&temporary);
        }
        named?;
        disk.sync_folder(path.parent().unwrap_or(Path::new(".")))
    }

    /// The process that began to make `path`, if a file of this name beside it is what it left.
    pub fn creator_of(path: &Path, name: &OsStr) -> Option<u32> {
        let mut words = name.as_bytes().strip_suffix(b".tmp")?.rsplit(|byte| *byte == b'.');
        let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
        let last: u32 = number()?;
        // What is read has to be written the same again: no sign, no zero in front, the same path.
        let is_of = |process, number| temporary_name(path, process, number).file_name() == Some(name);
        if is_of(last, 0) {
            return Some(last);
        }
        number().filter(|process| last > 0 && is_of(*process, last))
    }

    /// Takes over an open file whose header says `published_rows`, and which holds `rows` rows that are there to stay.
    pub fn new(
        path: PathBuf,
        file: Box<dyn DiskFile>,
        layout: Layout,
        published_rows: u64,
        rows: u64,
    ) -> io::Result<Self> {
        let status = file.status()?;
        Ok(Self {
            path,
            file,
            inode: status.inode,
            layout,
            published_rows,
            count_is_known: true,
            flushed_rows: rows,
            pending: Vec::new(),
            staged_rows: rows,
            length_max: status.size,
            write_back: None,
        })
    }

    /// From here on the device is asked to write while rows still come: for files that are going to be synced.
    pub fn write_back(&mut self) {
        self.write_back = Some(self.offset(self.flushed_rows));
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn inode(&self) -> u64 {
        self.inode
    }

    pub fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn published_rows(&self) -> u64 {
        self.published_rows
    }

    /// Published rows and those staged after them.
    pub fn staged_rows(&self) -> u64 {
        self.staged_rows
    }

    /// Bytes that wait for [`Self::flush`].
    pub fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Appends whole rows without copying them.
    pub fn stage(&mut self, rows: Vec<u8>) {
        let count = rows.len() as u64 / self.layout.row_bytes();
        self.pending.push((self.staged_rows, rows));
        self.staged_rows += count;
    }

    /// Appends whole rows, gathered with their neighbours.
    pub fn stage_copy(&mut self, rows: &[u8]) {
        let count = rows.len() as u64 / self.layout.row_bytes();
        match self.pending.last_mut() {
            Some((_, last)) if last.len() + rows.len() <= GATHER_BYTES => last.extend_from_slice(rows),
            _ => {
                let mut piece = Vec::with_capacity(GATHER_BYTES.max(rows.len()));
                piece.extend_from_slice(rows);
                self.pending.push((self.staged_rows, piece));
            }
        }
        self.staged_rows += count;
    }

    /// Hands the staged rows to the operating system. `recycle` gets each buffer back as it was. After an error the rows that
    /// were staged are in an unknown state until [`Self::unstage`] took them back.
    pub fn flush(&mut self, mut recycle: impl FnMut(Vec<u8>)) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let offset = self.offset(self.flushed_rows);
        self.length_max = self.length_max.max(self.offset(self.staged_rows));
        let mut parts: Vec<IoSlice<'_>> = self.pending.iter().map(|(_, bytes)| IoSlice::new(bytes)).collect();
        write_all_at(&*self.file, &mut parts, offset)?;
        drop(parts);
        self.flushed_rows = self.staged_rows;
        for (_, bytes) in self.pending.drain(..) {
            recycle(bytes);
        }
        self.start_write_back()
    }

    /// Never waits, and makes nothing durable: the sync does.
    fn start_write_back(&mut self) -> io::Result<()> {
        let end = self.offset(self.flushed_rows);
        let Some(started) = &mut self.write_back else { return Ok(()) };
        if end - *started >= WRITE_BACK_BYTES {
            self.file.start_write_back(*started, end - *started)?;
            *started = end;
        }
        Ok(())
    }

    /// Takes back staged rows: `rows` remain. Their bytes may stay in the file until [`Self::trim`].
    pub fn unstage(&mut self, rows: u64, mut recycle: impl FnMut(Vec<u8>)) {
        let rows = rows.max(self.published_rows);
        while self.pending.last().is_some_and(|(first, _)| *first >= rows) {
            if let Some((_, bytes)) = self.pending.pop() {
                recycle(bytes);
            }
        }
        if let Some((first, bytes)) = self.pending.last_mut() {
            bytes.truncate(((rows - *first) * self.layout.row_bytes()) as usize);
        }
        self.flushed_rows = self.flushed_rows.min(rows);
        self.staged_rows = self.staged_rows.min(rows);
        self.write_back = self.write_back.map(|started| started.min(self.offset(rows)));
    }

    /// Ends the file after the last flushed row, if anything may lie behind it.
    pub fn trim(&mut self) -> io::Result<()> {
        let length = self.offset(self.flushed_rows.max(self.published_rows));
        if self.length_max > length {
            if self.file.status()?.size < length {
                // Making it longer would put zeros in the place of rows.
                return Err(io::Error::new(io::ErrorKind::InvalidData, "somebody else has cut off rows"));
            }
            self.file.set_len(length)?;
            self.length_max = length;
        }
        Ok(())
    }

    /// Makes the flushed rows durable. Never to be called again after an error.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Shows `rows` to readers. They must be durable, and committed wherever the commit point is.
    pub fn publish(&mut self, rows: u64) -> io::Result<()> {
        debug_assert!(rows >= self.published_rows, "a published count never decreases");
        debug_assert!(rows <= self.flushed_rows, "what is published is there");
        if rows == self.published_rows {
            return Ok(());
        }
        self.publish_again(rows)
    }

    /// As [`Self::publish`], and writes the count even if it is there: what a sync that failed has left in memory is not on
    /// the disk and counts as written, so that only writing it anew lets the next sync make it durable.
    pub fn publish_again(&mut self, rows: u64) -> io::Result<()> {
        let count = Layout::count(rows).map_err(io::Error::other)?;
        self.count_is_known = false;
        write_block_at(&*self.file, &count, self.layout.window_offset())?;
        (self.published_rows, self.count_is_known) = (rows, true);
        Ok(())
    }

    /// What somebody else has done to the file, which has `found_bytes` now, as far as its length and its count tell.
    pub fn foreign_change(&self, found_bytes: u64) -> io::Result<Option<String>> {
        let needed_bytes = self.offset(self.flushed_rows);
        if found_bytes < needed_bytes {
            let rows = self.flushed_rows;
            return Ok(Some(format!("it has {found_bytes} bytes, and its {rows} rows need {needed_bytes}")));
        }
        let mut found = [0; 16];
        read_exact_at(&*self.file, &mut found, self.layout.window_offset())?;
        let written = Layout::count(self.published_rows).map_err(io::Error::other)?;
        Ok((self.count_is_known && found != written).then(|| {
            let (at, rows) = (self.layout.window_offset(), self.published_rows);
            format!("the 16 bytes of its count, at byte {at}, are \"{}\", and {rows} was written", found.escape_ascii())
        }))
    }

    /// Where a row begins, in bytes.
    pub fn offset(&self, row: u64) -> u64 {
        self.layout.data_start() + row * self.layout.row_bytes()
    }
}

/// The names that a file may have before it is whole. Processes in several containers can have one number, so one that is
/// taken is left alone.
fn temporary_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    (0..=NAMES_MAX).map(|number| temporary_name(path, std::process::id(), number))
}

fn temporary_name(path: &Path, process: u32, number: u32) -> PathBuf {
    match number {
        0 => fitting(path, ".", &format!(".{process}.tmp")),
        number => fitting(path, ".", &format!(".{process}.{number}.tmp")),
    }
}

fn give_name(disk: &dyn Disk, temporary: &Path, path: &Path) -> io::Result<()> {
    disk.rename_no_replace(temporary, path).map_err(|error| match disk.status(path) {
        // Who made the path meanwhile has taken ours for one that a dead process left.
        Ok(Some(_)) if error.kind() == io::ErrorKind::NotFound => io::ErrorKind::AlreadyExists.into(),
        _ => error,
    })
}

fn is_this_file(disk: &dyn Disk, path: &Path, file: &dyn DiskFile) -> bool {
    match (disk.status(path), file.status()) {
        (Ok(Some(there)), Ok(own)) => (there.device, there.inode) == (own.device, own.inode),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
