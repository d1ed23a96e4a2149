//! Where one dataset stands.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize, Serializer};

use crate::config::{Dataset, Paths};
use crate::lane::Lane;
use crate::ledger::{Counts, LedgerError, LedgerSchema, LedgerView, no_ledger};
use crate::npy::{self, Dtype, InspectError, Inspection, Tail};

/// The rate is that of the last minute.
const RATE_SECONDS: u32 = 60;

/// What `status --json` and `/status.json` give.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The config file, absolute.
    #[serde(serialize_with = "as_text")]
    pub config: PathBuf,
    pub datasets: Vec<Figures>,
}

/// Where one dataset stands, by its ledger, its header, and what waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    pub name: String,
    #[serde(serialize_with = "as_text")]
    pub output: PathBuf,
    /// A process holds the dataset's lock.
    pub running: bool,
    /// Committed, by the ledger; without one, what the header says.
    pub rows: u64,
    /// In the main file's header.
    pub published_rows: Option<u64>,
    /// As the main file's header has it, else the ledger, else the config; and so `dtype` and `row_bytes`.
    pub shape: Vec<u64>,
    pub dtype: String,
    pub row_bytes: u64,
    pub sources: u64,
    pub rejected: u64,
    /// Sources that are not in the ledger yet.
    pub backlog: u64,
    pub backlog_bytes: u64,
    /// Since the oldest of them came, or was last changed. Told by a running service only.
    pub oldest_waiting_seconds: Option<f64>,
    /// Of the last minute. Of a log that is followed, told by a running service only.
    pub rows_per_second: Option<f64>,
    /// From the drop of a source to its published rows, of half of them and of 95 %. Told by a running service only.
    pub latency_median_seconds: Option<f64>,
    pub latency_p95_seconds: Option<f64>,
    /// UTC, ISO 8601.
    pub last_commit: Option<String>,
    /// Why it is paused, or takes nothing more.
    pub paused: Option<String>,
    pub stopped: Option<String>,
    pub problems: Vec<String>,
}

impl Figures {
    /// What the files tell: all but what waits.
    ///
    /// # Errors
    /// The ledger is there and cannot be read.
    pub fn of_files(options: &Dataset) -> Result<Self, LedgerError> {
        let paths = Paths::new(&options.output);
        // The count first: rows are committed before they are published.
        let main = measured(&paths.main);
        let known = OfLedger::read(&paths.ledger)?;
        let is_known = known.is_some();
        let mut figures = Self::new(options, main, known);
        if !is_known && figures.rows > 0 {
            let (main, rows, none) = (paths.main.display(), figures.rows, no_ledger(&paths.ledger));
            figures.problems.push(format!("{main} has {rows} rows and {none}: a start refuses it"));
        }
        Ok(figures)
    }

    /// The same of a dataset whose ledger cannot be read: what its header says, and why there is no more.
    pub fn without_ledger(options: &Dataset, error: &LedgerError) -> Self {
        let mut figures = Self::new(options, measured(&options.output), None);
        figures.problems.push(error.to_string());
        figures
    }

    fn new(options: &Dataset, (main, problem): (Option<Inspection>, Option<String>), known: Option<OfLedger>) -> Self {
        let published_rows = main.as_ref().and_then(|main| main.rows);
        let row = main.map(|main| (main.header.dtype.clone(), main.header.row_shape().to_vec()));
        let rows_without = published_rows.unwrap_or(0);
        let OfLedger { rows, counts, recent, last_commit, row: row_of_ledger } =
            known.unwrap_or(OfLedger { rows: rows_without, recent: Some(0), ..OfLedger::default() });
        let row = row.or(row_of_ledger);
        let (dtype, shape) = row.unwrap_or_else(|| of_config(options));
        Self {
            name: options.name.clone(),
            output: options.output.clone(),
            running: is_locked(&options.output),
            rows,
            published_rows,
            row_bytes: shape.iter().product::<u64>() * dtype.itemsize() as u64,
            shape: [rows].into_iter().chain(shape).collect(),
            dtype: dtype.descr(),
            sources: counts.committed,
            rejected: counts.rejected,
            backlog: 0,
            backlog_bytes: 0,
            oldest_waiting_seconds: None,
            rows_per_second: recent.map(|rows| rows as f64 / f64::from(RATE_SECONDS)),
            latency_median_seconds: None,
            latency_p95_seconds: None,
            last_commit,
            paused: None,
            stopped: None,
            problems: problem.into_iter().collect(),
        }
    }

    /// What the files and the running threads tell.
    pub fn of_lane(lane: &Lane) -> Self {
        let of_files =
            Self::of_files(&lane.options).unwrap_or_else(|error| Self::without_ledger(&lane.options, &error));
        let tally = &lane.tally;
        let waiting = &tally.waiting;
        let [settling, ready, in_flight, backlog_bytes] =
            [&waiting.settling, &waiting.ready, &waiting.in_flight, &waiting.bytes]
                .map(|figure| figure.load(Ordering::Relaxed));
        let mut problems = of_files.problems.clone();
        let (paused, stopped) = (tally.paused(), tally.failure());
        let has_rows = tally.published_rows.load(Ordering::Relaxed) > 0;
        let is_open = has_rows && paused.is_none() && stopped.is_none();
        if is_open && of_files.published_rows.is_none() && of_files.problems.is_empty() {
            let output = of_files.output.display();
            problems.push(format!("{output} is not there any more, though it is written to: put it back, or restart"));
        }
        if waiting.is_incomplete.load(Ordering::Relaxed) {
            problems.push("more files wait than are tracked at a time: the backlog is larger than it says".to_owned());
        }
        let missing = tally.missing();
        problems.extend(missing.iter().map(|folder| format!("the watched folder {} cannot be read", folder.display())));
        let ignored = tally.ignored.load(Ordering::Relaxed);
        if ignored > 0 {
            problems.push(ignored_text(ignored));
        }
        Self {
            backlog: settling + ready + in_flight,
            backlog_bytes,
            oldest_waiting_seconds: oldest_s(lane),
            rows_per_second: Some(tally.history.rate()),
            latency_median_seconds: tally.latency.quantile_s(0.5),
            latency_p95_seconds: tally.latency.quantile_s(0.95),
            running: of_files.running || is_open,
            paused,
            stopped,
            problems,
            ..of_files
        }
    }
}

/// What a ledger tells.
#[derive(Default)]
struct OfLedger {
    rows: u64,
    counts: Counts,
    /// Rows of the last minute.
    recent: Option<u64>,
    last_commit: Option<String>,
    row: Option<Row>,
}

impl OfLedger {
    /// `None` where there is none.
    fn read(ledger: &Path) -> Result<Option<Self>, LedgerError> {
        let Some(view) = LedgerView::open(ledger)? else { return Ok(None) };
        Ok(Some(Self {
            rows: view.state()?.rows,
            counts: view.counts()?,
            recent: view.rows_of_last(RATE_SECONDS)?,
            last_commit: view.last_commit()?,
            row: of_ledger(&view.schema()?),
        }))
    }
}

/// A path as text, whatever bytes it is of: JSON has no other way to tell it.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The dtype and the shape of a row.
type Row = (Dtype, Vec<u64>);

fn of_config(options: &Dataset) -> Row {
    let row = &options.row;
    (row.dtype.clone(), row.shape.iter().map(|dimension| *dimension as u64).collect())
}

fn of_ledger(schema: &LedgerSchema) -> Option<Row> {
    let value = |key| schema.settings.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    Some((Dtype::parse(value("dtype")?).ok()?, serde_json::from_str(value("shape")?).ok()?))
}

/// A main file, and what is wrong with it. One that is not there yet has neither.
fn measured(main: &Path) -> (Option<Inspection>, Option<String>) {
    match npy::inspect(main) {
        Ok(inspection) => {
            let problem = match inspection.tail {
                Tail::Missing { bytes } => Some(format!(
                    "{} was cut short: its header says {} rows, and {bytes} bytes of them are missing",
                    main.display(),
                    inspection.rows.unwrap_or_default()
                )),
                Tail::Exact | Tail::Past { .. } => None,
            };
            (Some(inspection), problem)
        }
        Err(InspectError::Open { source, .. }) if source.kind() == ErrorKind::NotFound => (None, None),
        Err(error @ InspectError::Open { .. }) => (None, Some(error.to_string())),
        Err(error) => (None, Some(format!("{}: {error}", main.display()))),
    }
}

/// What is said of files whose names were used before.
pub fn ignored_text(files: u64) -> String {
    let were = if files == 1 { "file was" } else { "files were" };
    format!("{files} {were} not taken, as the name was used before; changed = \"append\" would take it as a new source")
}

/// Seconds since the oldest source that waits came.
pub fn oldest_s(lane: &Lane) -> Option<f64> {
    let oldest_ns = lane.tally.waiting.oldest_ns.load(Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    (oldest_ns > 0).then(|| now.saturating_sub(u128::from(oldest_ns)) as f64 / 1e9)
}

/// Whether somebody holds the writer's lock. A shared lock is asked for and given back at once.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
}
