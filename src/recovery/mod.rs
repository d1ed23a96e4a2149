//! Opening a dataset: making it, or bringing its files in line with its ledger.
//!
//! The same steps at every start, whether the last one ended well or not; running them twice, or crashing inside them,
//! gives the same state:
//!
//! 1. Take the lock on the main file. Open the ledger: N is its count.
//! 2. Refuse what cannot have come from a crash: a file that is too short for N rows, a header above N, settings that
//!    differ. Lost data is never papered over.
//! 3. Check the rows since the last clean mark against their checksums, and the newest source in any case. Up to here nothing is changed.
//! 4. Where there are no rows yet, take the settings of the config. Remove what was left of a creation that was cut short. Cut every file to N rows, rebuild a damaged header, sync, publish N (the main file last), sync.

mod check;
mod create;
mod labels;
mod look;
mod settings;

pub use check::{FileFindings, Finding, RowCheck, check_file, check_newest, check_rows};
pub use create::is_there;
pub(crate) use create::remove_unfinished;
pub use labels::wrong_labels;
pub use look::look;
pub use settings::{other_settings, schema_of};

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{ColumnKind, Dataset, Disposal, Durability, Paths};
use crate::ledger::{Entry, Ledger, LedgerError, Ledgers, State};
use crate::npy::{GrowingFile, Layout, LayoutError};
use crate::storage::{Access, Disk, DiskFile, lock_holder, write_all_at};
use crate::writer::{Column, DatasetWriter};

/// A lock that somebody holds is asked for so often, and this long apart.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_WAIT: Duration = Duration::from_millis(50);
/// Memory gives up whole pages only; no processor has larger ones.
const PAGE_BYTES_MAX: u64 = 64 << 10;

/// Why a dataset cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process writes to {}{}: end it, or choose another `output`", path.display(), holder.map_or(String::new(), |pid| format!(" (process {pid})")))]
    Locked { path: PathBuf, holder: Option<u32> },
    #[error("{operation} {}: {source}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("syncing {}: {source}", path.display())]
    Sync { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Damaged(String),
    #[error("no `.npy` layout for these rows: {0}")]
    Layout(#[from] LayoutError),
}

impl OpenError {
    fn damaged(finding: &Finding) -> Self {
        Self::Damaged(format!(
            "{finding}\nNothing was changed. `npy-ingest verify` tells more; if rows are really lost, move the \
             dataset's files away, or restore them from a backup."
        ))
    }

    /// Rows that are not those that were committed, though nothing was written since they were known to be sound.
    fn other_rows(finding: &Finding) -> Self {
        Self::Damaged(format!(
            "{finding}\nThese rows were sound when the last run ended: the array, a column or the ledger was replaced or changed \
             since, and they do not belong together. Nothing was changed. Restore the files that do."
        ))
    }

    /// Whether a disk has failed: it is not asked again.
    pub fn is_of_a_failing_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
            Self::Ledger(error) => error.is_of_a_failing_disk(),
            Self::Sync { .. } => true,
            Self::Locked { .. } | Self::Settings(_) | Self::Damaged(_) | Self::Layout(_) => false,
        }
    }

    /// Whether trying again later can help: a missing or read-only folder, a full disk.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Io { .. } => !self.is_of_a_failing_disk(),
            Self::Ledger(error) => error.may_pass(),
            // A failed sync is never tried again.
            Self::Sync { .. } | Self::Locked { .. } | Self::Settings(_) | Self::Damaged(_) | Self::Layout(_) => false,
        }
    }
}

fn io_error<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { operation, path: path.to_owned(), source }
}

fn sync_error(path: &Path) -> impl Fn(io::Error) -> OpenError + '_ {
    move |source| OpenError::Sync { path: path.to_owned(), source }
}

/// Opens or makes the dataset, and takes it from whatever state a crash left to a sound one.
pub fn open(disk: &Arc<dyn Disk>, ledgers: &dyn Ledgers, options: &Arc<Dataset>) -> Result<DatasetWriter, OpenError> {
    open_after(LOCK_ATTEMPTS, disk, ledgers, options)
}

/// The same for who tries again soon, and has others waiting: the lock is asked for once.
pub fn open_at_once(
    disk: &Arc<dyn Disk>,
    ledgers: &dyn Ledgers,
    options: &Arc<Dataset>,
) -> Result<DatasetWriter, OpenError> {
    open_after(1, disk, ledgers, options)
}

fn open_after(
    lock_attempts: u32,
    disk: &Arc<dyn Disk>,
    ledgers: &dyn Ledgers,
    options: &Arc<Dataset>,
) -> Result<DatasetWriter, OpenError> {
    let durable = options.commit.durability != Durability::None;
    let paths = Paths::new(&options.output);
    let layout = Layout::new(&options.row.dtype, &options.row.shape)?;
    create::make_folder(&**disk, paths.folder())?;
    create::make_main_if_new(&**disk, ledgers, options, &layout)?;

    let main = disk.open(&paths.main, Access::ReadWrite).map_err(io_error("opening", &paths.main))?;
    take_lock(&*main, &paths.main, lock_attempts)?;
    let mut ledger = match ledgers.open(&paths.ledger, durable)? {
        Some(ledger) => ledger,
        None => {
            create::refuse_rows(&*main, &paths, &layout)?;
            create::refuse_columns_of_others(&**disk, options)?;
            ledgers.create(&paths.ledger, &schema_of(options), durable)?
        }
    };
    let state = ledger.state();
    let new_settings = other_settings(options, ledger.schema(), state.rows)?;
    labels::refuse_foreign(&**disk, options, ledger.labels(), state.unsynced)?;

    // First all that can refuse, then all that changes something.
    let main = Checked::new(paths.main.clone(), main, layout, state)?;
    let mut columns = Vec::new();
    for kind in ColumnKind::wanted(&options.columns) {
        let path = paths.column(kind);
        let layout = Layout::new(&kind.dtype(), &[])?;
        create::make_column_if_new(&**disk, &path, &layout, state.rows)?;
        let file = disk.open(&path, Access::ReadWrite).map_err(io_error("opening", &path))?;
        columns.push((kind, Checked::new(path, file, layout, state)?));
    }
    if state.unsynced {
        columns.iter().map(|(_, column)| column).chain([&main]).try_for_each(|file| file.read_anew(state))?;
    }
    verify_rows(&*ledger, &main, &columns, state)?;
    // The program was killed after another file under its name was committed, and before it was noted that a rejected source
    // was moved away, or was not there to be moved; or between the move and its note.
    let not_moved = match options.watch.rejected {
        Disposal::Keep => Vec::new(),
        Disposal::Delete | Disposal::Move(_) => ledger.not_moved()?,
    };

    if !new_settings.is_empty() {
        ledger.take_settings(&schema_of(options).settings)?;
        let (dataset, settings) = (&options.name, new_settings.join("; "));
        tracing::info!(dataset, "it has no rows yet, and takes the settings of the config: {settings}");
    }
    let made: Vec<&Path> = columns.iter().map(|(_, column)| &*column.path).chain([&*paths.main]).collect();
    create::remove_unfinished(&**disk, paths.folder(), &made);
    let main = main.cut()?;
    let follows = options.decoder.follows();
    let columns = columns
        .into_iter()
        .map(|(kind, checked)| Ok(Column::new(kind, checked.cut()?, follows)))
        .collect::<Result<Vec<_>, OpenError>>()?;
    // The names, too: a crash may have come between a creation's rename and its sync of the folder.
    disk.sync_folder(paths.folder()).map_err(sync_error(paths.folder()))?;

    if !durable {
        // The next start has to know it, whatever its config says. Before anything is shown to readers: with it becomes durable
        // what the last process may have left of the ledger in memory alone.
        ledger.mark_unsynced(state.rows)?;
    }
    let ledger_path = paths.ledger.clone();
    let writer = DatasetWriter::new(options.clone(), disk.clone(), ledger, paths, main, columns);
    let mut writer = writer.map_err(io_error("looking at", &ledger_path))?;
    // The class names before the counts, as in every commit: no reader finds a label without its name.
    if options.columns.label {
        let path = writer.paths.labels.clone();
        writer.restore_labels().map_err(io_error("writing", &path))?;
    }
    publish_all(&mut writer.main, &mut writer.columns, state)?;
    if let Err(fault) = writer.note_gone(&not_moved) {
        tracing::warn!(
            dataset = options.name,
            "what is rejected no longer stays listed, or where it went is not noted: {fault}"
        );
    }
    let marked = if durable { writer.mark_clean() } else { Ok(()) };
    if let Err(fault) = marked {
        // A mark that cannot be written (no room) only means that the next start checks the same rows again.
        tracing::warn!(dataset = options.name, "the clean mark could not be noted: {fault}");
    }
    Ok(writer)
}

/// A look at a dataset (`status`) holds a shared lock for an instant, so one refusal is none.
fn take_lock(main: &dyn DiskFile, path: &Path, attempts: u32) -> Result<(), OpenError> {
    for attempt in 1..=attempts {
        if main.try_lock().map_err(io_error("locking", path))? {
            return Ok(());
        }
        if attempt < attempts {
            std::thread::sleep(LOCK_WAIT);
        }
    }
    Err(OpenError::Locked { holder: lock_holder(path), path: path.to_owned() })
}

/// A file that a crash can have left as it is.
struct Checked {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    layout: Layout,
    rows: u64,
    /// Rows in its header; 0 where the header is to be rebuilt.
    published: u64,
    rebuild: bool,
}

impl Checked {
    /// Holds the file against the ledger. Changes nothing.
    fn new(path: PathBuf, file: Box<dyn DiskFile>, layout: Layout, state: State) -> Result<Self, OpenError> {
        let found = check_file(&*file, &path, &layout, state).map_err(io_error("reading", &path))?;
        if let Some(finding) = found.refusals().next() {
            return Err(OpenError::damaged(finding));
        }
        let (rows, published) = (state.rows, found.published_rows.unwrap_or(0));
        // Without fsync a power cut may have kept the header and lost the ledger's last rows: they are gone.
        let is_ahead = published > rows;
        if is_ahead {
            tracing::warn!(
                file = &*path.to_string_lossy(),
                published,
                rows,
                "rows were lost with `durability = \"none\"`"
            );
        }
        let rebuild = is_ahead || found.header_is_damaged;
        Ok(Self { published: if rebuild { 0 } else { published }, path, file, layout, rows, rebuild })
    }

    fn row_check(&self) -> RowCheck<'_> {
        RowCheck { file: &*self.file, layout: &self.layout, path: &self.path }
    }

    /// Has what is to be verified read from the disk: if a sync failed, memory may have what the disk has not.
    fn read_anew(&self, state: State) -> Result<(), OpenError> {
        let at = self.layout.data_start() + state.clean_rows.saturating_mul(self.layout.row_bytes());
        let from = at - at % PAGE_BYTES_MAX;
        let end = self.file.status().map_err(io_error("reading", &self.path))?.size;
        match end.checked_sub(from) {
            None | Some(0) => Ok(()),
            Some(bytes) => self.file.drop_behind(from, bytes).map_err(sync_error(&self.path)),
        }
    }

    /// Cuts it to its committed rows and makes them durable; a damaged header is rebuilt.
    fn cut(self) -> Result<GrowingFile, OpenError> {
        let Self { path, file, layout, rows, published, rebuild } = self;
        if rebuild {
            let header = layout.header(published)?;
            write_all_at(&*file, &mut [IoSlice::new(&header)], 0)
                .map_err(io_error("rebuilding the header of", &path))?;
            tracing::warn!(file = &*path.to_string_lossy(), "its header is rebuilt");
        }
        let mut file =
            GrowingFile::new(path.clone(), file, layout, published, rows).map_err(io_error("reading", &path))?;
        file.trim().map_err(io_error("cutting", &path))?;
        file.sync().map_err(sync_error(&path))?;
        Ok(file)
    }
}

/// Checks what is not clean against its checksums; where everything is, the newest source.
fn verify_rows(
    ledger: &dyn Ledger,
    main: &Checked,
    columns: &[(ColumnKind, Checked)],
    state: State,
) -> Result<(), OpenError> {
    let main = main.row_check();
    let columns: Vec<RowCheck<'_>> = columns.iter().map(|(_, column)| column.row_check()).collect();
    if state.clean_rows >= state.rows {
        return verify_newest(&main, &columns, state.rows, |row, limit| ledger.committed_from(row, limit));
    }
    let mut from = state.clean_rows;
    loop {
        let entries = ledger.committed_from(from, 1024)?;
        for entry in &entries {
            if let Some(finding) = check_rows(&main, &columns, entry).map_err(io_error("reading", main.path))? {
                return Err(OpenError::Damaged(format!(
                    "{finding}\nThese rows were committed shortly before the last stop, so the disk lost writes that it \
                     had confirmed. Nothing was changed."
                )));
            }
            if let crate::ledger::Fate::Committed(committed) = &entry.fate {
                from = committed.first_row + committed.rows;
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
    }
}

/// See [`check_newest`].
fn verify_newest(
    main: &RowCheck<'_>,
    columns: &[RowCheck<'_>],
    rows: u64,
    committed_from: impl Fn(u64, usize) -> Result<Vec<Entry>, LedgerError>,
) -> Result<(), OpenError> {
    match check_newest(main, columns, rows, committed_from)? {
        Some(finding) => Err(OpenError::other_rows(&finding)),
        None => Ok(()),
    }
}

/// One file after the other, the main file last: its count never gets to the disk before those of the columns. After an
/// orderly end there is nothing to do; otherwise a sync may have failed, and the counts are written anew.
fn publish_all(main: &mut GrowingFile, columns: &mut [Column], state: State) -> Result<(), OpenError> {
    let files = columns.iter_mut().map(|column| &mut column.file).chain([main]);
    #[cfg(feature = "simulation")]
    let files = crate::storage::simulated::swap::recovery_order(files.collect());
    for file in files {
        let path = file.path().to_owned();
        if file.published_rows() != state.rows || state.clean_rows != state.rows || state.unsynced {
            file.publish_again(state.rows).map_err(io_error("publishing", &path))?;
            file.sync().map_err(sync_error(&path))?;
        }
    }
    Ok(())
}
