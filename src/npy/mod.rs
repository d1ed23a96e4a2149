//! The `.npy` format: dtypes, headers of any file, and a header that grows in place. Usable alone.
//!
//! A `.npy` file is a header and an array's bytes (NumPy's NEP 1 and `numpy/lib/_format_impl.py`):
//!
//! ```text
//! offset  bytes   what
//!      0  6       \x93NUMPY
//!      6  2       version: major, minor; 1.0, 2.0 or 3.0
//!      8  2 or 4  L, the length of the text, little-endian: 2 bytes in version 1.0, 4 in 2.0 and 3.0
//!     10  L       the text, from 12 in 2.0 and 3.0: a Python dictionary with the keys 'descr', 'fortran_order' and
//!                 'shape', then spaces, then \n; Latin-1 in 1.0 and 2.0, UTF-8 in 3.0
//!   10+L          the elements, without gaps; NumPy pads the text so that they begin at a multiple of 64
//! ```
//!
//! A file that grows along its slowest axis (the first in C order, the last in Fortran order) only ever needs rows at its
//! end and another number in `shape`. [`Layout`] writes headers in which that number is replaced by one aligned write;
//! [`Header`] reads any header and says, with [`Header::growth`], what it takes to do the same there.
//!
//! | file | |
//! |---|---|
//! | `dtype/` | [`Dtype`]: NumPy's descriptors of fixed size |
//! | `literal` | the Python literals that a header is made of |
//! | `header` | [`Header`]: reading any header |
//! | `append/` | [`Appender`]: appending to any array; [`ArrayInput`]: what is appended |
//! | `array`, `mapping` | [`Array`]: reading an array that grows |
//! | `recover` | [`recover`]: a count that says what is there |
//! | `widen/` | [`ensure_appendable`]: room in a header |
//! | `growth` | [`Growth`]: where a count stands and how it can change |
//! | `layout` | [`Layout`]: our own header |
//! | `text`, `window` | the pieces of a header, and the block that a count is published with |
//! | `inspect` | [`inspect`]: a file against its header |

mod append;
mod array;
mod dtype;
mod growing;
mod growth;
mod header;
mod inspect;
mod layout;
mod literal;
mod mapping;
#[cfg(test)]
mod properties;
mod recover;
mod text;
mod widen;
mod window;

pub use append::{
    AppendError, AppendOptions, Appender, ArrayInput, BatchLimits, Durability, Element, IN_MEMORY_BYTES_MAX, WriteBack,
};
pub use array::Array;
pub use dtype::{BYTES_MAX, ByteOrder, DEPTH_MAX, DIMENSIONS_MAX, Dtype, DtypeError, Field, Kind, Scalar, TimeUnit};
pub use growing::GrowingFile;
pub use growth::{Growth, NoGrowth, WINDOW_BYTES, WINDOW_BYTES_MIN};
pub use header::{HEADER_BYTES_MAX, Header, HeaderError, MAGIC, Version};
pub use inspect::{InspectError, Inspection, Tail, inspect, inspect_file, read_header};
pub use layout::{COUNT_MAX, Layout, LayoutError, Mismatch, NUMPY_HEADER_CHARACTERS_MAX, Part};
pub use literal::{LiteralError, LiteralFault};
pub use recover::{RecoverOptions, Recovered, recover, recover_on};
pub use widen::{WidenOptions, Widened, ensure_appendable, ensure_appendable_on, journal_path};

#[cfg(feature = "program")]
pub(crate) use dtype::shape_literal;
#[cfg(feature = "program")]
pub(crate) use inspect::{is_file_at, open_regular};

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file itself, where a path leads over symbolic links: what is put in its place must take its place.
fn real_path(path: &Path) -> Result<PathBuf, AppendError> {
    path.canonicalize().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => match path.read_link() {
            Ok(target) => AppendError::MissingTarget { path: path.to_owned(), target },
            Err(_) => AppendError::Missing { path: path.to_owned() },
        },
        _ => AppendError::Disk { operation: "looking at", path: path.to_owned(), source },
    })
}

/// The same for a file that is not there yet.
pub(crate) fn real_path_of_new(path: &Path) -> Result<PathBuf, AppendError> {
    // The parts of a path do not tell of these.
    if [b"/".as_slice(), b"/."].iter().any(|end| path.as_os_str().as_bytes().ends_with(end)) {
        return Err(AppendError::NameOfFolder { path: path.to_owned() });
    }
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let Some(name) = path.file_name() else { return Err(AppendError::NotAFile { path: path.to_owned() }) };
    Ok(real_path(folder)?.join(name))
}
