//! The worker that decodes: finding it, and handing it a source.
//!
//! It speaks the protocol of `process/worker`. Its standard input is a socket: with each task comes the open source itself,
//! so that the worker reads the very file that was hashed, and may do without any right to open one.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

use super::here::{self, Kind};
use crate::config::{Dataset, VideoOptions};
use crate::decode::process::{Limits, Process, Sent, Voice, Workers, rejected};
use crate::decode::{About, DecodeError, FileDecoder, RowSink, SourceFile};

/// The worker's name.
pub const WORKER: &str = "npy-ingest-video";

/// Rows of one source end here, in bytes: nobody means more, and a damaged file may promise it.
const OUTPUT_BYTES_MAX: u64 = 1 << 42;
/// More threads than these gain nothing on one video.
const THREADS_MAX: usize = 16;

/// What the worker is told of a source, in one line of JSON. The source's file is sent along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// For what is told of it.
    pub source: String,
    pub options: VideoOptions,
    /// Threads to decode with.
    pub threads: usize,
}

/// The video decoder of one dataset.
pub struct VideoDecoder {
    options: VideoOptions,
    limits: Limits,
    workers: Workers,
    /// Sources that are decoded now.
    active: AtomicUsize,
}

impl VideoDecoder {
    pub fn new(options: &VideoOptions, dataset: &Dataset) -> Self {
        let limits =
            Limits { timeout: options.timeout, memory_bytes: options.memory_bytes, output_bytes_max: OUTPUT_BYTES_MAX };
        let workers = Workers::new(limits.clone(), &dataset.row, Voice::Ours);
        Self { options: options.clone(), limits, workers, active: AtomicUsize::new(0) }
    }

    fn start(&self) -> Result<Process, DecodeError> {
        let Some(program) = find_worker() else {
            return Err(rejected(format!(
                "videos of this kind are decoded by {WORKER}, which is not there: put it beside npy-ingest or into PATH \
                 (docs/video.md says how to build it), then `npy-ingest retry`; GIF, APNG, WebP and Y4M need none"
            )));
        };
        let failed = |error| rejected(format!("{} cannot be started: {error}", program.display()));
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(&program);
        command.current_dir("/");
        Process::start_with_socket(command, theirs, ours, self.limits.memory_bytes).map_err(failed)
    }
}

impl FileDecoder for VideoDecoder {
    fn decode(&self, file: &SourceFile, about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        match here::kind(file)? {
            Some(Kind::Animation) => return here::animation(file, &self.options, about, sink),
            Some(Kind::Y4m) if here::y4m(file, &self.options, about, sink)? => return Ok(()),
            Some(Kind::Y4m) | None => {}
        }
        let others = self.active.fetch_add(1, Ordering::Relaxed);
        let cores = available_parallelism().map_or(1, |cores| cores.get());
        let task = Task {
            source: about.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            options: self.options.clone(),
            threads: threads(cores, others),
        };
        let result = match serde_json::to_string(&task) {
            Ok(mut line) => {
                line.push('\n');
                let sent = Sent { line: &line, file: Some(file.file()) };
                self.workers.ask(sent, || self.start(), about, sink)
            }
            Err(error) => Err(rejected(format!("its task cannot be written: {error}"))),
        };
        self.active.fetch_sub(1, Ordering::Relaxed);
        result
    }
}

/// For one video beside so many others. Frames wait for the frames that they are built on, so a video that is alone keeps its
/// cores busy with twice as many threads (docs/performance.md); among others, who fill the gaps, they only cost.
fn threads(cores: usize, others: usize) -> usize {
    let threads = match others {
        0 => 2 * cores,
        _ => cores / (others + 1),
    };
    threads.clamp(1, THREADS_MAX)
}

/// The worker: beside this program, else in `PATH`.
pub fn find_worker() -> Option<PathBuf> {
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.join(WORKER)));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).map(|folder| folder.join(WORKER));
    beside.into_iter().chain(folders).find(|place| is_program(place))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What the worker says of itself and of its FFmpeg, in one line.
///
/// # Errors
/// It cannot be started, or fails: in words.
pub fn worker_version(program: &Path) -> Result<String, String> {
    let done = Command::new(program).arg("--version").output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().trim().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

#[cfg(test)]
mod tests {
    use super::threads;

    #[test]
    fn a_video_alone_has_two_threads_a_core_and_others_share_the_cores() {
        let found = [(2, 0), (2, 1), (2, 9), (8, 1), (64, 0), (1, 0)].map(|(cores, others)| threads(cores, others));
        assert_eq!(found, [4, 1, 1, 4, 16, 2]);
    }
}
