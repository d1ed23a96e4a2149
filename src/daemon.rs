//! The threads and what connects them.
//!
//! ```text
//!              hints                Candidate            ToWriter
//!   npy-events --------> npy-intake ----------> pool ------------> npy-writer
//!                            ^                                        |  ^
//!                            +----------------- ToIntake -------------+  +--> npy-disposer
//! ```
//!
//! Everything ends by dropping senders: when the intake returns, the pool finishes what it was given, the writer's channel
//! closes behind the last of it, and the writer commits and returns.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::{Config, Dataset};
use crate::decode::FairQueue;
use crate::intake::{Control, Doors, Intake, Permits, Report, refuse_same_folders};
use crate::lane::Lane;
use crate::ledger::SqliteLedgers;
use crate::pulse::{self, Pulses};
use crate::recovery::{self, OpenError};
use crate::storage::{Disk, RealDisk, last_words, lease};
use crate::writer::{DatasetWriter, Disposer, Opener, Opening, Writer};

/// Sources in flight, for all datasets together, whatever their size.
const SOURCES_IN_FLIGHT_MAX: usize = 4096;
/// Messages to the writer that may wait. Rows behind them are bounded by permits.
const TO_WRITER_MAX: usize = 1024;
/// A source hands its rows on in parts of at most so many bytes, and of at least one row.
const PART_BYTES_MAX: u64 = 8 << 20;

/// How the names of the pool's threads begin.
pub const DECODE: &str = "npy-decode-";

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("dataset \"{name}\": {error}")]
    Dataset { name: String, error: Box<OpenError> },
    #[error("dataset \"{name}\": {reason}")]
    Folders { name: String, reason: String },
    #[error("starting a thread: {0}")]
    Thread(#[from] io::Error),
    #[error("starting the decode pool: {0}")]
    Pool(#[from] rayon::ThreadPoolBuildError),
}

impl StartError {
    fn of(options: &Dataset, error: OpenError) -> Self {
        Self::Dataset { name: options.name.clone(), error: Box::new(error) }
    }
}

/// How it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Service,
    /// As a service, in place of one that ran: datasets that do not open now are waited for, as it would have waited. A new
    /// config whose settings are others is refused.
    Reload,
    /// The same with the config that ran: no dataset is a reason to end.
    GoOn,
    /// Takes what is there, and ends.
    Once,
}

/// A thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// The running pipeline.
pub struct Running {
    lanes: Vec<Arc<Lane>>,
    pulses: Arc<Pulses>,
    control: Sender<Control>,
    ended: Receiver<Ended>,
    intake: JoinHandle<Report>,
    writer: JoinHandle<()>,
    moves_called_off: Arc<AtomicBool>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub report: Report,
    /// A thread of ours panicked: nothing that was committed is affected, but it did not end well.
    pub panicked: bool,
}

/// Opens the datasets and starts the threads. A dataset that cannot be opened for a cause that may pass (a folder that is
/// missing or read-only, a full disk, another process that writes to it) is tried again later by a service. One that cannot be opened
/// for another reason takes nothing, and the others go on; if there are none to go on with, that is an error. See [`Mode`] for a
/// reload.
pub fn start(config: &Config, mode: Mode) -> Result<Running, StartError> {
    lease::ignore_lease_breaks();
    last_words::listen();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut datasets = VecDeque::new();
    let spare_bytes = config.service.memory_bytes / (4 * config.datasets.len().max(1) as u64);
    for (index, options) in config.datasets.iter().enumerate() {
        refuse_same_folders(&options.watch)
            .map_err(|reason| StartError::Folders { name: options.name.clone(), reason })?;
        let options = Arc::new(options.clone());
        let opened = recovery::open(&disk, &SqliteLedgers, &options);
        if mode != Mode::GoOn
            && let Err(OpenError::Settings(text)) = opened
        {
            return Err(StartError::of(&options, OpenError::Settings(text)));
        }
        let lane = Arc::new(Lane::new(index, options, share_bytes(config, index), spare_bytes));
        datasets.push_back((lane, opened));
    }
    // Who has nothing but what another process writes to is a second service by mistake.
    let is_hopeless = |error: &OpenError| match mode {
        Mode::Service => !error.may_pass(),
        Mode::Reload | Mode::GoOn => false,
        Mode::Once => true,
    };
    if datasets.iter().all(|(_, opened)| opened.as_ref().is_err_and(is_hopeless))
        && let Some((lane, Err(error))) = datasets.pop_front()
    {
        return Err(StartError::of(&lane.options, error));
    }
    let first = |(lane, opened): (Arc<Lane>, _)| {
        let first = opening(&lane.options, opened, mode);
        (lane, first)
    };
    let datasets: Vec<_> = datasets.into_iter().map(first).collect();
    let lanes: Vec<Arc<Lane>> = datasets.iter().map(|(lane, _)| lane.clone()).collect();

    let (to_writer, messages) = bounded(TO_WRITER_MAX);
    // Room for two words on everything in flight, so that the writer never waits for the intake.
    let (to_intake, from_writer) = bounded(2 * SOURCES_IN_FLIGHT_MAX + 16 * lanes.len() + 64);
    let (control, words) = bounded(16);
    let (end, ended) = bounded(2);

    let pulses = Arc::new(Pulses::default());
    let of_worker = pulses.clone();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(config.service.workers)
        .thread_name(|number| format!("{DECODE}{number}"))
        .start_handler(move |number| pulse::adopt(of_worker.make(format!("{DECODE}{number}"))))
        .build()?;
    let spawn = {
        let to_writer = to_writer.clone();
        let waiting = Arc::new(FairQueue::default());
        Box::new(move |lane: &Arc<Lane>, candidate| {
            waiting.push(lane, candidate);
            let (waiting, to_writer) = (waiting.clone(), to_writer.clone());
            pool.spawn(move || {
                if let Some((lane, candidate)) = waiting.pop() {
                    pulse::work();
                    crate::decode::work(&lane, candidate, &to_writer);
                    pulse::rest(None);
                }
            });
        })
    };
    let disposer = Disposer::start(disk.clone())?;
    let moves_called_off = disposer.0.called_off();
    let writer = Writer::new(datasets, messages, &to_intake, opener(disk, mode), disposer, mode == Mode::Once);
    drop(to_intake);
    let permits = Permits { memory_bytes: config.service.memory_bytes, sources_max: SOURCES_IN_FLIGHT_MAX };
    let doors = Doors { from_writer, to_writer, control: words, spawn };
    let intake = Intake::new(&lanes, permits, doors, mode == Mode::Once);

    let guard = EndGuard(end.clone());
    let own = pulses.make("npy-writer");
    let writer = Builder::new().name("npy-writer".to_owned()).spawn(move || {
        let _guard = guard;
        pulse::adopt(own);
        writer.run();
    })?;
    let guard = EndGuard(end);
    let own = pulses.make("npy-intake");
    let intake = Builder::new().name("npy-intake".to_owned()).spawn(move || {
        let _guard = guard;
        pulse::adopt(own);
        intake.run()
    })?;
    Ok(Running { lanes, pulses, control, ended, intake, writer, moves_called_off })
}

/// What goes wrong with one dataset leaves the others alone.
fn opening(options: &Dataset, opened: Result<DatasetWriter, OpenError>, mode: Mode) -> Opening {
    let dataset = &options.name;
    match opened {
        Ok(writer) => {
            tracing::info!(dataset, output = %options.output.display(), rows = writer.rows(), "opened");
            Opening::Opened(Box::new(writer))
        }
        Err(error) if is_tried_again(&error, mode) => {
            tracing::error!(dataset, "{error}; trying again every two seconds, its sources are kept");
            Opening::NotYet(format!("not open yet: {error}"))
        }
        Err(error) => Opening::Never(error.to_string()),
    }
}

/// Another process may let go of it. And what was open before a reload may be so again, once its files are back.
fn is_tried_again(error: &OpenError, mode: Mode) -> bool {
    match mode {
        Mode::Service => error.may_pass() || matches!(error, OpenError::Locked { .. }),
        Mode::Reload | Mode::GoOn => {
            let may_be_mended = matches!(error, OpenError::Damaged(_) | OpenError::Settings(_) | OpenError::Ledger(_));
            error.may_pass()
                || matches!(error, OpenError::Locked { .. })
                || may_be_mended && !error.is_of_a_failing_disk()
        }
        Mode::Once => false,
    }
}

fn opener(disk: Arc<dyn Disk>, mode: Mode) -> Opener {
    Box::new(move |lane| match recovery::open_at_once(&disk, &SqliteLedgers, &lane.options) {
        Ok(writer) => Opening::Opened(Box::new(writer)),
        Err(error) if is_tried_again(&error, mode) => Opening::NotYet(error.to_string()),
        Err(error) => Opening::Never(error.to_string()),
    })
}

/// Bytes of rows after which a source hands on a part: small enough that every worker can hold two.
fn share_bytes(config: &Config, index: usize) -> usize {
    let row_bytes = config.datasets.get(index).map_or(1, |dataset| dataset.row.row_bytes() as u64);
    let share = config.service.memory_bytes / (4 * config.service.workers as u64);
    usize::try_from(share.min(PART_BYTES_MAX).max(row_bytes)).unwrap_or(usize::MAX)
}

struct EndGuard(Sender<Ended>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        pulse::rest(None);
        // Nobody listens any more once the daemon itself has ended.
        let _ = self.0.try_send(Ended);
    }
}

impl Running {
    pub fn lanes(&self) -> &[Arc<Lane>] {
        &self.lanes
    }

    /// The signs of life of its threads.
    pub fn pulses(&self) -> &Arc<Pulses> {
        &self.pulses
    }

    /// Tells when a thread has ended, by itself or by a panic.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Takes nothing more. What is being decoded is finished and committed; what only waits is left for the next start.
    pub fn stop(&self) {
        for lane in &self.lanes {
            lane.interrupted.store(true, Ordering::Relaxed);
        }
        // An intake that has ended already has nothing to stop.
        let _ = self.control.send(Control::Stop);
    }

    /// Makes no more moves to other disks, and ends the one that it is at; the next start makes them.
    pub fn call_off_moves(&self) {
        self.moves_called_off.store(true, Ordering::Relaxed);
    }

    /// Has all folders scanned now.
    pub fn rescan(&self) {
        // A full channel holds such a word already.
        let _ = self.control.try_send(Control::Rescan);
    }

    /// Waits for all threads.
    pub fn join(self) -> Outcome {
        // The intake takes a closed door for a stop.
        let control = self.control;
        let intake = self.intake.join();
        drop(control);
        let writer = self.writer.join();
        let panicked = intake.is_err() || writer.is_err();
        Outcome { report: intake.unwrap_or_default(), panicked }
    }
}
