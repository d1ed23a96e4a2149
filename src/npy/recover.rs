//! Making the count say what is in the file.
//!
//! For files whose writer was cut off: `numpy.save` (the header says more than is there), npy-append-array (it says less), a
//! copy that stopped half way. The count becomes the number of whole rows that the file's length has room for.

use std::path::Path;

use super::append::{AppendError, Opened};
use super::growth::Growth;
use super::widen;
use super::window::CountBlock;
use crate::storage::{Disk, RealDisk, write_block_at};

/// How to recover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecoverOptions {
    /// Whether the part of a row at the file's end is filled up with zeros, rather than cut off.
    pub fills_with_zeros: bool,
    /// Whether to wait for another process that has the file.
    pub waits_for_lock: bool,
}

/// What was found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// The count that the header had.
    pub rows_before: u64,
    /// The count that it has.
    pub rows: u64,
    /// Bytes of an incomplete row that were cut off.
    pub bytes_cut: u64,
    /// Zeros that were added to an incomplete row.
    pub bytes_added: u64,
    /// Rows behind the count of an appender, which are counted now: its append had not returned, so that they may be a part of
    /// what was to be appended, and the next appender would have cut them off.
    pub unconfirmed_rows: u64,
    /// A move of its rows that had been cut off was finished first.
    pub finished_move: bool,
}

impl Recovered {
    /// Whether anything had to be done.
    pub fn is_changed(&self) -> bool {
        self.finished_move || self.rows != self.rows_before || self.bytes_cut > 0 || self.bytes_added > 0
    }
}

/// Derives the count from the file's length. A file in which all is well is not touched.
///
/// Rows behind the header's count are taken for rows: whether their bytes are what their writer meant, nobody can tell. Of
/// those that an appender left, [`Recovered::unconfirmed_rows`] says how many they are.
/// Where the header has no room for their number, a copy with a longer one takes the file's place, as
/// [`ensure_appendable`](super::ensure_appendable) makes it.
///
/// # Errors
/// The header cannot be read, the array cannot grow, another array lies behind it, or the file is in use.
pub fn recover(path: impl AsRef<Path>, options: RecoverOptions) -> Result<Recovered, AppendError> {
    recover_on(&RealDisk, &super::real_path(path.as_ref())?, options)
}

/// As [`recover`], on any disk. `path` is no symbolic link.
///
/// # Errors
/// As [`recover`].
pub fn recover_on(disk: &dyn Disk, path: &Path, options: RecoverOptions) -> Result<Recovered, AppendError> {
    let opened = Opened::new(disk, path, options.waits_for_lock)?;
    let (header, finished_move) = (&opened.header, opened.moved.is_some());
    if let Growth::None(reason) = header.growth() {
        // One that is sound needs no recovery, whether it can grow or not.
        if opened.file_bytes == opened.data_end() {
            let rows = header.rows().unwrap_or(1);
            return Ok(Recovered {
                rows_before: rows,
                rows,
                bytes_cut: 0,
                bytes_added: 0,
                unconfirmed_rows: 0,
                finished_move,
            });
        }
        return Err(AppendError::CannotGrow { path: path.to_owned(), reason });
    }
    opened.refuse_another_array()?;
    let rows_before = header.rows().ok_or(AppendError::NoDimensions)?;
    let (row_bytes, start) = (header.row_bytes().max(1), header.data_start);
    let present = opened.file_bytes.saturating_sub(start);
    let part = present % row_bytes;
    let fills = options.fills_with_zeros && part > 0;
    let rows = present / row_bytes + u64::from(fills);
    let (bytes_cut, bytes_added) = if fills { (0, row_bytes - part) } else { (part, 0) };
    let unconfirmed_rows = match CountBlock::is_of_appender(header, &opened.header_bytes) {
        true => rows.saturating_sub(rows_before),
        false => 0,
    };
    let found = Recovered { rows_before, rows, bytes_cut, bytes_added, unconfirmed_rows, finished_move };
    if !found.is_changed() {
        return Ok(found);
    }
    let file = &*opened.file;
    let io_error = |operation| AppendError::disk(operation, path);
    // Whatever the count says at any instant is there: zeros before a larger count, a smaller count before the cut.
    if fills {
        let (from, to) = (opened.file_bytes, opened.file_bytes + bytes_added);
        if let Err(error) = file.reserve(from, bytes_added).and_then(|()| widen::fill(file, from, to)) {
            // What was taken is free again. Zeros that cannot be cut off are what a later call finds.
            let _ = file.set_len(from);
            return Err(io_error("filling a row of")(error));
        }
    }
    file.sync_data().map_err(io_error("syncing"))?;
    let end = start + rows * row_bytes;
    if rows != rows_before {
        let block = CountBlock::make(header, &opened.header_bytes);
        let counted = block.and_then(|(block, rearranged)| Some((block.with(rows)?, block.offset(), rearranged)));
        let Some((count, offset, rearranged)) = counted else {
            // All of them go to another file, without the part of a row behind them.
            let whole = Opened { file_bytes: end, ..opened };
            widen::move_rows(disk, &whole, rows, false)?;
            return Ok(found);
        };
        if let Some(new) = rearranged {
            widen::replace_header(disk, &opened, &new)?;
        }
        write_block_at(file, &count, offset).map_err(io_error("writing the count of"))?;
        file.sync_data().map_err(io_error("syncing"))?;
    }
    if bytes_cut > 0 {
        file.set_len(end).map_err(io_error("cutting"))?;
        file.sync_data().map_err(io_error("syncing"))?;
    }
    Ok(found)
}
