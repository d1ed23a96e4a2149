//! Holding files against the ledger, without changing anything. Used at every start, and by `verify`.

use std::io;
use std::path::{Path, PathBuf};

use super::{OpenError, io_error};
use crate::ledger::{Entry, Fate, LedgerError, State};
use crate::npy::{Layout, Mismatch};
use crate::source::Hash;
use crate::storage::{DiskFile, read_exact_at};

/// Files are read in blocks of this size.
const BLOCK_BYTES: usize = 1 << 20;
/// A source with at most so many bytes is checked at every start: it takes milliseconds.
const ALWAYS_CHECKED_BYTES_MAX: u64 = 16 << 20;
/// So many of the newest sources are looked at for one.
const ALWAYS_CHECKED_AMONG: u32 = 16;

/// Something that is not as the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error("{}: it has {found_bytes} bytes, and {rows} committed rows need {needed_bytes}", path.display())]
    TooShort { path: PathBuf, rows: u64, needed_bytes: u64, found_bytes: u64 },
    #[error("{}: its header says {published} rows, and the ledger {committed}: they do not belong together, or the ledger lost rows", path.display())]
    HeaderAboveLedger { path: PathBuf, published: u64, committed: u64 },
    /// What was committed without syncs, and did not survive.
    #[error("{}: its header says {published} rows, and the ledger {committed}: rows were lost with `durability = \"none\"`, and the next start sets the header back", path.display())]
    LostUnsynced { path: PathBuf, published: u64, committed: u64 },
    #[error("{}: its header says {published} rows, and the ledger {committed}: the next start publishes the rest", path.display())]
    HeaderBehindLedger { path: PathBuf, published: u64, committed: u64 },
    #[error("{}: {mismatch}", path.display())]
    OtherArray { path: PathBuf, mismatch: Mismatch },
    #[error("{}: {mismatch}: the next start rebuilds it", path.display())]
    DamagedHeader { path: PathBuf, mismatch: Mismatch },
    #[error("{}: {bytes} bytes lie past the last committed row: the next start cuts them", path.display())]
    Tail { path: PathBuf, bytes: u64 },
    #[error("{}: rows {first_row} to {} (source {source_id}, {}) are not those that were committed", path.display(), first_row + rows - 1, source_path.display())]
    WrongRows { path: PathBuf, first_row: u64, rows: u64, source_id: u64, source_path: PathBuf },
}

impl Finding {
    /// Whether the next start mends it. The others are refused there.
    pub fn is_mended_at_start(&self) -> bool {
        match self {
            Self::LostUnsynced { .. }
            | Self::HeaderBehindLedger { .. }
            | Self::DamagedHeader { .. }
            | Self::Tail { .. } => true,
            Self::TooShort { .. }
            | Self::HeaderAboveLedger { .. }
            | Self::OtherArray { .. }
            | Self::WrongRows { .. } => false,
        }
    }
}

/// What one file's header and length say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFindings {
    /// The count in the header, where it can be read.
    pub published_rows: Option<u64>,
    pub header_is_damaged: bool,
    pub findings: Vec<Finding>,
}

impl FileFindings {
    /// What a start refuses to go on from.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.is_mended_at_start())
    }
}

/// Holds one file's header and length against the committed rows.
pub fn check_file(file: &dyn DiskFile, path: &Path, layout: &Layout, state: State) -> io::Result<FileFindings> {
    let rows = state.rows;
    let found_bytes = file.status()?.size;
    let header_bytes = usize::try_from(layout.data_start().min(found_bytes)).unwrap_or(0);
    let mut header = vec![0; header_bytes];
    read_exact_at(file, &mut header, 0)?;
    let path = path.to_owned();
    let mut findings = Vec::new();
    let (mut published_rows, mut header_is_damaged) = (None, false);
    match layout.matches(&header) {
        Ok(published) => {
            published_rows = Some(published);
            if published > rows && state.unsynced {
                findings.push(Finding::LostUnsynced { path: path.clone(), published, committed: rows });
            } else if published > rows {
                findings.push(Finding::HeaderAboveLedger { path: path.clone(), published, committed: rows });
            } else if published < rows {
                findings.push(Finding::HeaderBehindLedger { path: path.clone(), published, committed: rows });
            }
        }
        Err(mismatch @ (Mismatch::Damaged { .. } | Mismatch::Count { .. } | Mismatch::TooShort { .. })) => {
            header_is_damaged = true;
            findings.push(Finding::DamagedHeader { path: path.clone(), mismatch });
        }
        Err(mismatch) => findings.push(Finding::OtherArray { path: path.clone(), mismatch }),
    }
    let needed_bytes = layout.data_start() + rows * layout.row_bytes();
    if found_bytes < needed_bytes && (rows > 0 || !header_is_damaged) {
        findings.push(Finding::TooShort { path, rows, needed_bytes, found_bytes });
    } else if found_bytes > needed_bytes {
        findings.push(Finding::Tail { path, bytes: found_bytes - needed_bytes });
    }
    Ok(FileFindings { published_rows, header_is_damaged, findings })
}

/// A file whose rows are to be checked.
#[derive(Clone, Copy)]
pub struct RowCheck<'a> {
    pub file: &'a dyn DiskFile,
    pub layout: &'a Layout,
    pub path: &'a Path,
}

impl RowCheck<'_> {
    fn checksum(&self, first_row: u64, rows: u64) -> io::Result<Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut at = self.layout.data_start() + first_row * self.layout.row_bytes();
        let mut left = rows * self.layout.row_bytes();
        let mut block = vec![0; BLOCK_BYTES.min(usize::try_from(left).unwrap_or(BLOCK_BYTES))];
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            let Some(part) = block.get_mut(..take) else { break };
            read_exact_at(self.file, part, at)?;
            hasher.update(part);
            at += take as u64;
            left -= take as u64;
        }
        Ok(hasher.finalize())
    }
}

/// Checks the newest source that is quick to check, whatever is clean: files and a ledger of the same number of rows that do not
/// belong together are found out by it. `committed_from`: see [`crate::ledger::Ledger`].
pub fn check_newest(
    main: &RowCheck<'_>,
    columns: &[RowCheck<'_>],
    rows: u64,
    committed_from: impl Fn(u64, usize) -> Result<Vec<Entry>, LedgerError>,
) -> Result<Option<Finding>, OpenError> {
    let Some(entry) = newest_to_check(main, columns, rows, committed_from)? else { return Ok(None) };
    check_rows(main, columns, &entry).map_err(io_error("reading", main.path))
}

fn newest_to_check(
    main: &RowCheck<'_>,
    columns: &[RowCheck<'_>],
    rows: u64,
    committed_from: impl Fn(u64, usize) -> Result<Vec<Entry>, LedgerError>,
) -> Result<Option<Entry>, LedgerError> {
    let row_bytes: u64 = columns.iter().chain([main]).map(|file| file.layout.row_bytes()).sum();
    let mut end = rows;
    for _ in 0..ALWAYS_CHECKED_AMONG {
        let Some(last_row) = end.checked_sub(1) else { break };
        let Some(entry) = committed_from(last_row, 1)?.pop() else { break };
        let Fate::Committed(committed) = &entry.fate else { break };
        if committed.rows.saturating_mul(row_bytes) <= ALWAYS_CHECKED_BYTES_MAX {
            return Ok(Some(entry));
        }
        end = committed.first_row;
    }
    Ok(None)
}

/// Recomputes the checksums of one source's rows, in the main file and in the columns (in the ledger's order).
pub fn check_rows(main: &RowCheck<'_>, columns: &[RowCheck<'_>], entry: &Entry) -> io::Result<Option<Finding>> {
    let Fate::Committed(committed) = &entry.fate else { return Ok(None) };
    let (first_row, rows) = (committed.first_row, committed.rows);
    if rows == 0 {
        return Ok(None);
    }
    let wrong = |path: &Path| {
        Some(Finding::WrongRows {
            path: path.to_owned(),
            first_row,
            rows,
            source_id: entry.id,
            source_path: entry.path.clone(),
        })
    };
    if main.checksum(first_row, rows)? != committed.checksum {
        return Ok(wrong(main.path));
    }
    let mut columns_checksum = blake3::Hasher::new();
    for column in columns {
        columns_checksum.update(column.checksum(first_row, rows)?.as_bytes());
    }
    if columns_checksum.finalize() != committed.columns_checksum {
        // One checksum covers them all, so that only their family can be named.
        return Ok(wrong(&main.path.with_extension("*.npy")));
    }
    Ok(None)
}
