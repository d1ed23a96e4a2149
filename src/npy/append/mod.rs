//! Appending to any `.npy` file, under live readers, safely.
//!
//! ```
//! use npy_ingest::npy::{AppendOptions, Appender, Array, Dtype};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("frames.npy");
//! let appender = Appender::create(&path, &Dtype::parse("<f4")?, &[2, 3], AppendOptions::default())?;
//! appender.append(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;         // one row of shape (2, 3)
//! appender.append(&[0.0_f32; 12])?;                              // two more
//! assert_eq!(appender.close()?, 3);
//!
//! let array = Array::open(&path)?;
//! assert_eq!(array.shape(), [3, 2, 3]);
//! assert_eq!(array.values::<f32>()?[..3], [1.0, 2.0, 3.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What holds at every instant, also after a crash and without any recovery:
//!
//! * The header's count names complete rows, durable ones unless [`Durability::None`] was asked for. It never decreases.
//! * Rows below the count never change.
//! * A count is published by one aligned write of 16 bytes, so no reader sees half of it. A header that has no such place
//!   for its count (another program wrote it) gets one before the first append, by one write within 512 bytes: the only
//!   instant at which a reader could see a header half written.
//!
//! Rows that were written and not published by a process that died lie behind the last row; the first row of the next
//! appender takes their place.

mod element;
mod error;
mod fault;
mod input;
mod opened;
mod options;
mod shared;
mod staged_array;
mod transpose;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::dtype::Dtype;
use super::growing::GrowingFile;
use super::growth::Growth;
use super::layout::Layout;
use super::widen;
use super::window::CountBlock;
use crate::storage::{Disk, RealDisk, sync_names};
use shared::{Preparation, Shared};
use transpose::Transpose;

pub use element::Element;
pub use error::AppendError;
pub use input::{ArrayInput, IN_MEMORY_BYTES_MAX};
pub(super) use opened::Opened;
pub use options::{AppendOptions, BatchLimits, Durability, WriteBack};

/// Appends rows to one `.npy` file. Several threads may share it (`&Appender`); another process, or another appender in this
/// one, is refused or waits.
///
/// Dropping it commits what waits, without telling whether that succeeded: [`Appender::close`] does.
pub struct Appender {
    shared: Arc<Shared>,
    dtype: Dtype,
    row_shape: Vec<u64>,
    fortran_order: bool,
    unfinished_bytes: u64,
    /// Commits batches that nobody else does.
    timer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender")
            .field("path", &self.shared.opened.path)
            .field("dtype", &self.dtype.descr())
            .field("row_shape", &self.row_shape)
            .field("rows", &self.rows())
            .finish_non_exhaustive()
    }
}

impl Appender {
    /// Opens an array of any program for appending. Before its first row is written nothing in the file is changed, unless a
    /// move of its rows was cut off: that is finished. With the first row, what a dead appender has left behind the last one
    /// ([`Appender::unfinished_bytes`]) is cut off, and the header gets room for its count.
    ///
    /// # Errors
    /// The array cannot be appended to, or is in use: [`AppendError`] says why and what to do.
    pub fn open(path: impl AsRef<Path>, options: AppendOptions) -> Result<Self, AppendError> {
        Self::open_on(&real_disk(), &super::real_path(path.as_ref())?, options)
    }

    /// As [`Appender::open`], on any disk. `path` is no symbolic link.
    ///
    /// # Errors
    /// As [`Appender::open`].
    pub fn open_on(disk: &Arc<dyn Disk>, path: &Path, options: AppendOptions) -> Result<Self, AppendError> {
        let opened = Opened::new(&**disk, path, options.waits_for_lock)?;
        let (header, path) = (&opened.header, opened.path.clone());
        let rows = match (header.growth(), header.rows()) {
            (Growth::None(reason), _) => return Err(AppendError::CannotGrow { path, reason }),
            (_, None) => return Err(AppendError::NoDimensions),
            (_, Some(rows)) => rows,
        };
        let unfinished_bytes = opened.unfinished_bytes()?;
        // In a narrower window rows that are not counted yet could not be told from those of another program, after a crash.
        let Some((block, rearranged)) = CountBlock::wide(header, &opened.header_bytes) else {
            return Err(AppendError::NoRoom { path });
        };
        if options.durability != Durability::None {
            sync_name(&**disk, &path)?;
        }
        let (dtype, row_shape, fortran_order) =
            (header.dtype.clone(), header.row_shape().to_vec(), header.fortran_order);
        let first = (block, Preparation { rearranged, unfinished_bytes });
        let shared = Shared::new(disk.clone(), opened, rows, first, options);
        let shared = Arc::new(shared.map_err(AppendError::disk("mapping the header of", &path))?);
        let timer = match options.durability {
            Durability::Batch(BatchLimits { delay_max: Some(delay), .. }) => {
                let shared = shared.clone();
                let spawned = std::thread::Builder::new()
                    .name("npy-append".to_owned())
                    .spawn(move || shared.commit_late_batches(delay));
                Some(spawned.map_err(AppendError::disk("starting the thread that commits batches of", &path))?)
            }
            _ => None,
        };
        Ok(Self { shared, dtype, row_shape, fortran_order, unfinished_bytes, timer })
    }

    /// Creates an empty array of rows of this dtype and shape in C order, and opens it. It is durable and complete when it
    /// gets its name.
    ///
    /// # Errors
    /// [`AppendError::Exists`] where the path is taken; a dtype or shape that no row can have.
    pub fn create(
        path: impl AsRef<Path>,
        dtype: &Dtype,
        row_shape: &[usize],
        options: AppendOptions,
    ) -> Result<Self, AppendError> {
        let path = super::real_path_of_new(path.as_ref())?;
        Self::create_on(&real_disk(), &path, &Layout::new(dtype, row_shape)?, options)
    }

    /// As [`Appender::create`], on any disk and in any order.
    ///
    /// # Errors
    /// As [`Appender::create`].
    pub fn create_on(
        disk: &Arc<dyn Disk>,
        path: &Path,
        layout: &Layout,
        options: AppendOptions,
    ) -> Result<Self, AppendError> {
        if disk.status(path).map_err(AppendError::disk("looking at", path))?.is_some() {
            return Err(AppendError::Exists { path: path.to_owned() });
        }
        widen::refuse_beside_journal(&**disk, path)?;
        match GrowingFile::create(&**disk, path, layout) {
            Ok(()) => Self::open_on(disk, path, options),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(AppendError::Exists { path: path.to_owned() })
            }
            Err(error) => Err(AppendError::disk("creating", path)(error)),
        }
    }

    /// Appends whole rows, and says which rows they are. In C order the elements of `rows` follow each other as in
    /// `array.ravel()`; in Fortran order a row is one index of the last axis, its elements in Fortran order.
    ///
    /// # Errors
    /// [`AppendError::Dtype`] or [`AppendError::ByteOrder`] where the array holds something else than `T`; no whole number of
    /// rows; a full disk ([`AppendError::Full`], after which it can be tried again); any other storage error
    /// ([`AppendError::Broken`], after which it cannot).
    pub fn append<T: Element>(&self, rows: &[T]) -> Result<Range<u64>, AppendError> {
        if !T::is(&self.dtype) {
            return Err(AppendError::dtype(self.path(), &T::dtype(), &self.dtype));
        }
        self.append_bytes(bytemuck::cast_slice(rows))
    }

    /// Appends whole rows as the bytes that the file is to have. For structured dtypes, and all others that Rust has no type
    /// for.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn append_bytes(&self, rows: &[u8]) -> Result<Range<u64>, AppendError> {
        self.shared.append(rows)
    }

    /// Appends a whole array. It becomes visible all at once.
    ///
    /// # Errors
    /// An array of another dtype or shape; one whose data is cut short. Nothing of it is appended then.
    pub fn append_array(
        &self,
        input: &mut ArrayInput<'_>,
        converts_byte_order: bool,
    ) -> Result<Range<u64>, AppendError> {
        let range = self.stage_array(input, converts_byte_order)?;
        self.shared.commit_as_asked(self.shared.lock(), range.end)?;
        Ok(range)
    }

    /// Writes whole rows behind the last one without showing them to anybody. The next commit, or append, takes them along.
    ///
    /// # Errors
    /// As [`Appender::append_bytes`].
    pub fn stage_bytes(&self, rows: &[u8]) -> Result<Range<u64>, AppendError> {
        self.shared.stage(rows)
    }

    /// As [`Appender::stage_bytes`] of rows that are each in C order, as NumPy's `row.tobytes()` gives them. For an array in
    /// Fortran order they are turned.
    ///
    /// # Errors
    /// As [`Appender::append_bytes`].
    pub fn stage_c_rows(&self, rows: &[u8]) -> Result<Range<u64>, AppendError> {
        if !self.fortran_order || self.row_shape.len() < 2 {
            return self.stage_bytes(rows);
        }
        let row_bytes = self.row_bytes();
        let found = rows.len() as u64;
        if !found.is_multiple_of(row_bytes) {
            return Err(AppendError::PartialRow { path: self.path().to_owned(), found, row_bytes });
        }
        let transpose = Transpose::of_c_rows(found / row_bytes, &self.row_shape, self.dtype.itemsize());
        let mut turned = Vec::with_capacity(rows.len());
        (0..transpose.rows()).for_each(|row| transpose.push_row(rows, row, &mut turned));
        self.stage_bytes(&turned)
    }

    /// As [`Appender::stage_bytes`] for a whole array. Other threads wait with theirs until it is whole, and no commit takes
    /// a part of it.
    ///
    /// # Errors
    /// As [`Appender::append_array`].
    pub fn stage_array(
        &self,
        input: &mut ArrayInput<'_>,
        converts_byte_order: bool,
    ) -> Result<Range<u64>, AppendError> {
        self.check_array(input, converts_byte_order)?;
        let array = self.shared.begin_array();
        input.for_each_rows(&self.dtype, self.fortran_order, &mut |rows| array.stage(rows))?;
        Ok(array.end())
    }

    /// Whether an array could be appended, by its header.
    ///
    /// # Errors
    /// Why not: another dtype, byte order, or shape.
    pub fn check_array(&self, input: &ArrayInput<'_>, converts_byte_order: bool) -> Result<(), AppendError> {
        input.check(self.path(), (&self.dtype, &self.row_shape, self.fortran_order), converts_byte_order)
    }

    /// Makes everything that was appended durable (unless nothing is synced) and visible. How many rows there are now.
    ///
    /// # Errors
    /// [`AppendError::Broken`].
    pub fn commit(&self) -> Result<u64, AppendError> {
        self.shared.commit()
    }

    /// Takes back what was staged and not committed, rows of a batch that waits included.
    ///
    /// # Errors
    /// [`AppendError::Broken`].
    pub fn discard(&self) -> Result<(), AppendError> {
        self.shared.unstage()
    }

    /// Commits, and ends.
    ///
    /// # Errors
    /// [`AppendError::Broken`], also for a batch whose commit failed earlier.
    pub fn close(self) -> Result<u64, AppendError> {
        self.commit()
    }

    /// Rows that readers see.
    pub fn rows(&self) -> u64 {
        self.shared.lock().published
    }

    /// Rows that readers see, and those that wait for a commit.
    pub fn staged_rows(&self) -> u64 {
        self.shared.lock().staged
    }

    /// The most rows that the file can have without a new header.
    pub fn rows_max(&self) -> u64 {
        self.shared.rows_max
    }

    /// Bytes that lay behind the last row when it was opened: rows that a dead appender never published.
    pub fn unfinished_bytes(&self) -> u64 {
        self.unfinished_bytes
    }

    /// How many of these were cut off: none before the first row, and then all.
    pub fn bytes_cut(&self) -> u64 {
        self.shared.lock().bytes_cut
    }

    /// Whether a move of its rows that had been cut off was finished when it was opened.
    pub fn finished_move(&self) -> bool {
        self.shared.opened.moved.is_some()
    }

    /// Removes the file if it has no rows, and whether it did. What was staged is taken back. The lock is held meanwhile, so
    /// that whoever waits for it finds that the file is gone.
    ///
    /// # Errors
    /// [`AppendError::Broken`]; the file cannot be removed.
    pub fn remove_if_empty(self) -> Result<bool, AppendError> {
        self.discard()?;
        let (disk, path) = (&*self.shared.disk, self.path());
        let looked = || Ok::<_, std::io::Error>((disk.status(path)?, self.shared.opened.file.status()?));
        let (there, own) = looked().map_err(AppendError::disk("looking at", path))?;
        let is_own = there.is_some_and(|there| (there.device, there.inode) == (own.device, own.inode));
        if self.rows() > 0 || !is_own {
            return Ok(false);
        }
        disk.remove_file(path).map_err(AppendError::disk("removing", path))?;
        Ok(true)
    }

    pub fn path(&self) -> &Path {
        &self.shared.opened.path
    }

    pub fn dtype(&self) -> &Dtype {
        &self.dtype
    }

    /// The dimensions beside the growing one.
    pub fn row_shape(&self) -> &[u64] {
        &self.row_shape
    }

    /// Whether it grows along its last axis.
    pub fn fortran_order(&self) -> bool {
        self.fortran_order
    }

    /// Bytes of one row, never zero.
    pub fn row_bytes(&self) -> u64 {
        self.shared.row_bytes
    }
}

fn real_disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

/// Makes the name of a file durable: whoever gave it to the file may have been killed before.
fn sync_name(disk: &dyn Disk, path: &Path) -> Result<(), AppendError> {
    match sync_names(disk, widen::folder(path)) {
        // A folder that may be searched and not be read cannot be synced either.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(AppendError::disk("syncing the folder of", path)),
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // Who wants to know calls `close`, after which there is nothing left to commit.
        let _ = self.commit();
        self.shared.close();
        if let Some(timer) = self.timer.take() {
            // It returns; what it has to say it has said through the shared state.
            let _ = timer.join();
        }
    }
}

#[cfg(test)]
mod tests;
