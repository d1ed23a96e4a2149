//! Why an array cannot be appended to, recovered, or given room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::dtype::Dtype;
use super::super::growth::NoGrowth;
use super::super::inspect::InspectError;
use super::super::layout::{LayoutError, NUMPY_HEADER_CHARACTERS_MAX};

/// What went wrong, on which file, and what can be done about it.
///
/// The texts name the commands of `npy-ingest`; each is a function here: [`recover`](crate::npy::recover),
/// [`ensure_appendable`](crate::npy::ensure_appendable), [`AppendOptions::waits_for_lock`](crate::npy::AppendOptions).
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("{operation} {}: {source}", path.display())]
    Disk { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{} does not exist", path.display())]
    Missing { path: PathBuf },
    #[error("{} is a symbolic link to {}, which does not exist", path.display(), target.display())]
    MissingTarget { path: PathBuf, target: PathBuf },
    #[error("{} exists already", path.display())]
    Exists { path: PathBuf },
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is the name of a folder: that of a new file does not end with a slash", path.display())]
    NameOfFolder { path: PathBuf },
    #[error("{} is empty: not even a header is there; remove it, and it can be created anew", path.display())]
    Empty { path: PathBuf },
    #[error("{}", located(path, source))]
    Header { path: PathBuf, source: InspectError },
    #[error("{} is being written by {}; wait for it to end, or let this wait (--wait)", path.display(), holder_text(*holder))]
    Locked { path: PathBuf, holder: Option<u32> },
    #[error("{} cannot grow: {reason}", path.display())]
    CannotGrow { path: PathBuf, reason: NoGrowth },
    #[error(
        "the header of {} has no room for a larger count: `npy-ingest ensure-appendable {0}` makes room", path.display()
    )]
    NoRoom { path: PathBuf },
    #[error(
        "the header of {} would become longer than the {NUMPY_HEADER_CHARACTERS_MAX} characters that a plain np.load reads: it is \
         left as it is; save the array anew with fewer or shorter names of fields", path.display()
    )]
    HeaderTooLongForNumpy { path: PathBuf },
    #[error(
        "{} would have {rows} rows, and its header has room for {max}: `npy-ingest ensure-appendable {0}` makes more",
        path.display()
    )]
    TooManyRows { path: PathBuf, rows: u64, max: u64 },
    #[error(
        "{} is cut short: {bytes} bytes of the {rows} rows that its header counts are missing; `npy-ingest recover {0}` \
         makes it say how many are there",
        path.display()
    )]
    CutShort { path: PathBuf, rows: u64, bytes: u64 },
    #[error(
        "{} has {bytes} bytes behind the last row that its header counts, and they may be rows of another program: \
         `npy-ingest recover {0}` counts them",
        path.display()
    )]
    Tail { path: PathBuf, bytes: u64 },
    #[error(
        "another array begins at byte {offset} of {}, behind the rows that its header counts: save each array to a file of \
         its own; `truncate -s {offset} {0}` removes what lies behind the first", path.display()
    )]
    SeveralArrays { path: PathBuf, offset: u64 },
    #[error("{found} bytes are not a whole number of rows: one row of {} has {row_bytes}", path.display())]
    PartialRow { path: PathBuf, found: u64, row_bytes: u64 },
    #[error("{found} cannot be appended to {}: its dtype is {expected}; convert it first (array.astype in NumPy)", path.display())]
    Dtype { path: PathBuf, found: String, expected: String },
    #[error(
        "{found} can be appended to {}, whose dtype is {expected}, only if its bytes are put into the other order: ask \
         for it (--convert-byte-order)",
        path.display()
    )]
    ByteOrder { path: PathBuf, found: String, expected: String },
    #[error(
        "an array of shape {found} cannot be appended to {}, of shape {expected}: only the {axis} axis may differ{hint}",
        path.display()
    )]
    Shape { path: PathBuf, found: String, expected: String, axis: &'static str, hint: &'static str },
    #[error("an array without dimensions cannot be appended: give it one with numpy.atleast_1d")]
    NoDimensions,
    #[error("{input} is not a regular file: what comes from a pipe is taken from standard input (-)")]
    InputNotAFile { input: String },
    /// An array that is to be appended.
    #[error("{input}: {source}")]
    Input { input: String, source: Box<AppendError> },
    #[error(
        "{input}: the array ends before its data does: {found} bytes{} are there, {expected} expected; nothing of it was appended",
        if *is_exact { "" } else { " or a little more" }
    )]
    InputCutShort { input: String, found: u64, is_exact: bool, expected: u64 },
    #[error(
        "{input}: {bytes} bytes lie behind the array, which ends where its header says: nothing of it was appended. \
         `npy-ingest recover` counts rows that a header does not; of several arrays in one file, save each to its own"
    )]
    InputTooLong { input: String, bytes: u64 },
    #[error(
        "{input} is in {} order, the other way round than the array, and too large ({bytes} bytes) to be turned in \
         memory: save it to a file first",
        if *fortran_order { "Fortran" } else { "C" }
    )]
    InputOrder { input: String, fortran_order: bool, bytes: u64 },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There was no room. What was written in part is taken back, and the file is as it was: it can be tried again.
    #[error("no room on the disk for more rows in {}: {source}; what did not fit was not appended", path.display())]
    Full { path: PathBuf, source: io::Error },
    /// A write or a sync failed, now or earlier, and is never tried again by this appender.
    #[error(
        "{operation} {} failed ({source}), and what reached the disk is not known: nothing more is appended here; open the \
         file again, its count says which rows are there",
        path.display()
    )]
    Broken { operation: &'static str, path: PathBuf, source: Arc<io::Error> },
    /// Somebody else moved, replaced, cut or rewrote the file.
    #[error(
        "{} was changed by somebody else while rows were appended to it: {problem}. The last {rows} rows were not appended, and \
         nothing more is",
        path.display()
    )]
    Disturbed { path: PathBuf, problem: Arc<str>, rows: u64 },
    #[error("{} is {found} now, and was {expected}: another array has taken its place", path.display())]
    Changed { path: PathBuf, found: String, expected: String },
    #[error("{} holds {found}, which cannot be read as {expected}", path.display())]
    Type { path: PathBuf, found: String, expected: String },
    #[error(
        "{} is what a move of rows left that was cut off, and cannot be gone on with in {}: {problem}. If that array was \
         renamed, give it its name back and run `npy-ingest ensure-appendable`; if it is gone, or was made anew, remove {0}",
        journal.display(),
        path.display()
    )]
    Journal { path: PathBuf, journal: PathBuf, problem: String },
    #[error(
        "the rows of {} are half moved, and {}, the journal that says how far, is damaged: {problem}. Nothing was changed; \
         put both files back from a copy",
        path.display(),
        journal.display()
    )]
    DamagedJournal { path: PathBuf, journal: PathBuf, problem: String },
    #[error(
        "the rows of {} were being moved when that was cut off, and the journal that finishes it, {}, is not there: put it \
         there again, or give the array the name back that it had then",
        path.display(),
        journal.display()
    )]
    NoJournal { path: PathBuf, journal: PathBuf },
    #[error(
        "{} has the name of a file that is written here while {} is being changed, and is none: give it another name, \
         or remove it, and try again",
        found.display(),
        path.display()
    )]
    NotOurs { path: PathBuf, found: PathBuf },
}

/// Some say themselves where.
fn located(path: &Path, source: &InspectError) -> String {
    match source {
        InspectError::Open { .. } | InspectError::NotAFile { .. } => source.to_string(),
        _ => format!("{}: {source}", path.display()),
    }
}

fn holder_text(holder: Option<u32>) -> String {
    match holder {
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    }
}

impl AppendError {
    pub(in super::super) fn disk(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { operation, path, source }
    }

    pub(in super::super) fn inspect(path: &Path) -> impl FnOnce(InspectError) -> Self {
        let path = path.to_owned();
        move |source| match source {
            InspectError::NotAFile { path } => Self::NotAFile { path },
            source => Self::Header { path, source },
        }
    }

    pub(super) fn dtype(path: &Path, found: &Dtype, expected: &Dtype) -> Self {
        let (path, found_text, expected_text) = (path.to_owned(), found.descr(), expected.descr());
        match found.differs_in_byte_order_only(expected) {
            true => Self::ByteOrder { path, found: found_text, expected: expected_text },
            false => Self::Dtype { path, found: found_text, expected: expected_text },
        }
    }
}
