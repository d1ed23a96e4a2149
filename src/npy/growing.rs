//! One `.npy` file that grows: rows are staged, flushed, synced, and published by its owner, in that order.
//!
//! The file knows nothing of ledgers. What makes a set of rows committed, and when they may be published, is decided
//! one level up; this type keeps the bytes straight: rows go to `data_start + row * row_bytes`, a publication is one
//! write of an aligned block of 16 bytes, and the file never becomes shorter than what was published.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::Layout;
use crate::storage::{Access, Disk, DiskFile, write_all_at, write_block_at};

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
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
        if disk.status(&temporary)?.is_some() {
            disk.remove_file(&temporary)?;
        }
        let header = layout.header(0).map_err(io::Error::other)?;
        let build = || {
            let file = disk.open(&temporary, Access::CreateNew)?;
            write_all_at(&*file, &mut [IoSlice::new(&header)], 0)?;
            file.sync_data()?;
            disk.rename_no_replace(&temporary, path)?;
            disk.sync_folder(folder)
        };
        let result = build();
        if result.is_err() && matches!(disk.status(&temporary), Ok(Some(_))) {
            // Nothing refers to it; that it could not be removed either adds nothing to the first error.
            let _ = disk.remove_file(&temporary);
        }
        result
    }

    /// The process that began to make `path`, if a file of this name beside it is what it left.
    pub fn creator_of(path: &Path, name: &OsStr) -> Option<u32> {
        let wanted = path.file_name()?.to_string_lossy();
        let rest = name.to_str()?.strip_prefix('.')?.strip_prefix(&*wanted)?;
        let digits = rest.strip_prefix('.')?.strip_suffix(".tmp")?;
        digits.parse().ok().filter(|process: &u32| process.to_string() == digits)
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
        self.start_write_back();
        Ok(())
    }

    /// Never waits, and makes nothing durable: the sync does.
    fn start_write_back(&mut self) {
        let end = self.offset(self.flushed_rows);
        let Some(started) = &mut self.write_back else { return };
        if end - *started >= WRITE_BACK_BYTES {
            self.file.start_write_back(*started, end - *started);
            *started = end;
        }
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
        write_block_at(&*self.file, &count, self.layout.window_offset())?;
        self.published_rows = rows;
        Ok(())
    }

    /// Where a row begins, in bytes.
    pub fn offset(&self, row: u64) -> u64 {
        self.layout.data_start() + row * self.layout.row_bytes()
    }
}
