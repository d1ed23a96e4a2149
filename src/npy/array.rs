//! A `.npy` file as an array in memory, which follows the file's growth.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::append::{AppendError, Element};
use super::dtype::Dtype;
use super::header::Header;
use super::inspect::{InspectError, open_regular, read_header};
use super::mapping;

/// A mapped array. Nothing is read before it is looked at, and all processes that map the file share its memory.
///
/// It shows the rows that the header counted when it was opened, or refreshed. They never change: see [`Array::refresh`].
///
/// ```
/// use npy_ingest::npy::{AppendOptions, Appender, Array, Dtype};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("signal.npy");
/// let appender = Appender::create(&path, &Dtype::parse("<i8")?, &[], AppendOptions::default())?;
/// appender.append(&[1_i64, 2])?;
/// let mut array = Array::open(&path)?;
/// appender.append(&[3_i64])?;
/// assert_eq!(array.values::<i64>()?, [1, 2]);
/// assert_eq!(array.refresh()?, 1);                // one row more
/// assert_eq!(array.values::<i64>()?, [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Array {
    path: PathBuf,
    file: File,
    header: Header,
    map: Mmap,
}

impl Array {
    /// Maps the array. The file may be growing.
    ///
    /// # Errors
    /// The file cannot be read, is no `.npy` file, or is shorter than its header says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AppendError> {
        let path = path.as_ref().to_owned();
        let file = open_regular(&path).map_err(AppendError::inspect(&path))?;
        let (header, map) = map(&path, &file)?;
        Ok(Self { path, file, header, map })
    }

    /// Looks at the file again, and says how many rows have come. Where another file has taken the path since (as
    /// `ensure-appendable` does), that one is opened.
    ///
    /// # Errors
    /// As [`Array::open`]; a file that is another array now, or has fewer rows. The array stays as it was then; where the file
    /// was cut short under it, its last rows must not be read any more.
    pub fn refresh(&mut self) -> Result<u64, AppendError> {
        let inode =
            |metadata: std::io::Result<std::fs::Metadata>| metadata.ok().map(|found| (found.dev(), found.ino()));
        let replacement =
            (inode(std::fs::metadata(&self.path)) != inode(self.file.metadata())).then(|| Self::open(&self.path));
        let (header, map) = match replacement {
            Some(Ok(other)) => {
                self.file = other.file;
                (other.header, other.map)
            }
            // The name is gone; the file is still there.
            Some(Err(AppendError::Header { source: InspectError::Open { .. }, .. })) | None => {
                let (header, _) = read_header(&self.file)
                    .map_err(|source| AppendError::Header { path: self.path.clone(), source })?;
                if header == self.header {
                    return check_length(&self.path, &self.file, &header).map(|()| 0);
                }
                map(&self.path, &self.file)?
            }
            Some(Err(error)) => return Err(error),
        };
        let is_same = header.dtype == self.header.dtype
            && header.fortran_order == self.header.fortran_order
            && header.row_shape() == self.header.row_shape();
        match header.rows().zip(self.header.rows()).and_then(|(now, before)| now.checked_sub(before)) {
            Some(more) if is_same => {
                (self.header, self.map) = (header, map);
                Ok(more)
            }
            _ => {
                let (found, expected) = (describe(&header), describe(&self.header));
                Err(AppendError::Changed { path: self.path.clone(), found, expected })
            }
        }
    }

    pub fn dtype(&self) -> &Dtype {
        &self.header.dtype
    }

    /// All dimensions; the growing one is the first in C order and the last in Fortran order.
    pub fn shape(&self) -> &[u64] {
        &self.header.shape
    }

    pub fn fortran_order(&self) -> bool {
        self.header.fortran_order
    }

    /// The length of the growing axis; 1 for an array without dimensions.
    pub fn rows(&self) -> u64 {
        self.header.rows().unwrap_or(1)
    }

    /// All elements, in the file's order.
    pub fn bytes(&self) -> &[u8] {
        let start = usize::try_from(self.header.data_start).unwrap_or(usize::MAX);
        self.map.get(start..).unwrap_or_default()
    }

    /// The bytes of one row.
    pub fn row(&self, row: u64) -> Option<&[u8]> {
        let row_bytes = usize::try_from(self.header.row_bytes()).ok()?;
        let start = usize::try_from(row).ok()?.checked_mul(row_bytes)?;
        self.bytes().get(start..start.checked_add(row_bytes)?).filter(|_| row < self.rows())
    }

    /// All elements as numbers, in the file's order, without a copy.
    ///
    /// # Errors
    /// [`AppendError::Type`]: the array holds another type, or in the other byte order, or begins at an odd place.
    pub fn values<T: Element>(&self) -> Result<&[T], AppendError> {
        let wrong = |found: String| AppendError::Type { path: self.path.clone(), found, expected: T::dtype().descr() };
        if !T::is(self.dtype()) {
            return Err(wrong(self.dtype().descr()));
        }
        bytemuck::try_cast_slice(self.bytes())
            .map_err(|_| wrong(format!("{}, not aligned, from byte {} on", self.dtype(), self.header.data_start)))
    }

    /// The array as `ndarray` has it, without a copy: with the shape of [`Array::shape`], and NumPy's indices.
    ///
    /// # Errors
    /// As [`Array::values`].
    #[cfg(feature = "ndarray")]
    pub fn view<T: Element>(&self) -> Result<ndarray::ArrayViewD<'_, T>, AppendError> {
        use ndarray::ShapeBuilder;
        let shape: Vec<usize> =
            self.shape().iter().map(|length| usize::try_from(*length).unwrap_or(usize::MAX)).collect();
        let shape = ndarray::IxDyn(&shape).set_f(self.fortran_order());
        ndarray::ArrayView::from_shape(shape, self.values()?).map_err(|error| AppendError::Type {
            path: self.path.clone(),
            found: error.to_string(),
            expected: "a shape that ndarray can have".to_owned(),
        })
    }
}

fn describe(header: &Header) -> String {
    format!("{} {}", super::dtype::shape_literal(&header.shape), header.dtype)
}

/// The length is taken after the count, so that a file that keeps its promises is never too short.
fn map(path: &Path, file: &File) -> Result<(Header, Mmap), AppendError> {
    let (header, _) = read_header(file).map_err(|source| AppendError::Header { path: path.to_owned(), source })?;
    check_length(path, file, &header)?;
    let end = header.data_start.saturating_add(header.data_bytes());
    let map = mapping::map(file, end).map_err(AppendError::disk("mapping", path))?;
    Ok((header, map))
}

/// Reading a row of a file that is too short would be a SIGBUS.
fn check_length(path: &Path, file: &File, header: &Header) -> Result<(), AppendError> {
    let end = header.data_start.saturating_add(header.data_bytes());
    let length = file.metadata().map_err(AppendError::disk("reading the length of", path))?.len();
    match end.checked_sub(length).filter(|missing| *missing > 0) {
        Some(bytes) => Err(AppendError::CutShort { path: path.to_owned(), rows: header.rows().unwrap_or(1), bytes }),
        None => Ok(()),
    }
}
