//! The worker that has FFmpeg (`npy-ingest-video`, the package in `video/`): finding it, and handing it a source.
//!
//! It speaks the protocol of `process/worker`. Its standard input is a socket: with each task comes the open source itself,
//! so that the worker reads the very file that was hashed, and may do without any right to open one.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::process::{Process, Sent, Voice, Workers, in_path, is_program, rejected};
use super::{About, DecodeError, RowSink, SourceFile};
use crate::config::{RowFormat, VideoOptions};

pub(super) use super::process::{Keys, Limits};

/// The worker's name.
pub const WORKER: &str = "npy-ingest-video";

/// What the reason of a source says where there is no worker, behind what it would do.
pub(super) const MISSING: &str = "which is not there: put it beside npy-ingest or into PATH (docs/video.md says how to build \
                                  it), then `npy-ingest retry`";

/// What the worker gives for one source ends here, in bytes: nobody means more, and a damaged file may promise it.
pub(super) const OUTPUT_BYTES_MAX: u64 = 1 << 42;

/// What the worker is told of a source, in one line of JSON. The source's file is sent along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// For what is told of it.
    pub source: String,
    pub wanted: Wanted,
}

/// What is to be made of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// Rows of its frames, each with its time.
    Frames {
        options: Box<VideoOptions>,
        /// Threads to decode with.
        threads: usize,
    },
    /// Its sound, as rows of a single f4: the rate in Hz, the number of channels, then the samples, interleaved, of full scale 1.
    /// A note says what was lost; as far as its length is known, silence takes its place.
    Samples,
}

impl Task {
    pub(super) fn new(about: About<'_>, wanted: Wanted) -> Self {
        Self { source: about.path.file_name().unwrap_or_default().to_string_lossy().into_owned(), wanted }
    }
}

/// The workers of one dataset, which are started as they are needed, and kept.
pub(super) struct Ffmpeg {
    limits: Limits,
    workers: Workers,
}

impl Ffmpeg {
    /// `row`: of what the worker gives.
    pub fn new(limits: Limits, row: &RowFormat) -> Self {
        Self { workers: Workers::new(limits.clone(), row, Voice::Ours), limits }
    }

    /// Has a source decoded. `missing`: the reason where there is no worker.
    pub fn ask(
        &self,
        task: &Task,
        file: &SourceFile,
        missing: &str,
        about: About<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let mut line =
            serde_json::to_string(task).map_err(|error| rejected(format!("its task cannot be written: {error}")))?;
        line.push('\n');
        let sent = Sent { line: &line, file: Some(file.file()) };
        self.workers.ask(sent, || self.start(missing), about, sink)
    }

    fn start(&self, missing: &str) -> Result<Process, DecodeError> {
        let Some(program) = find_worker() else { return Err(rejected(missing.to_owned())) };
        // No source is to blame.
        let failed = |error| DecodeError::NoProgram(format!("{} cannot be started: {error}", program.display()));
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(&program);
        command.current_dir("/");
        Process::start_with_socket(command, theirs, ours, self.limits.memory_bytes).map_err(failed)
    }
}

/// The worker: beside this program, else in `PATH`.
pub fn find_worker() -> Option<PathBuf> {
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.join(WORKER)));
    beside.filter(|place| is_program(place)).or_else(|| in_path(Path::new(WORKER)))
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
