//! A program of the user's makes the rows: one process a source, or workers that are kept running.
//!
//! Rules:
//! - No shell. The program runs in the config's folder, in a process group of its own, which is killed as a whole when a
//!   limit is reached, at the service's end, and when its work is done.
//! - The source was hashed before. A program that reads standard input reads that very file; one that opens the path is
//!   trusted to read what lies there, and the file's name, size, time and inode are checked again afterwards.
//! - `timeout` is how long the program may keep us waiting for one source. Time in which it waits for us does not count.
//! - Rows pass through in bounded memory, as many as `max_output` allows. `memory` limits the address space of each process.
//! - A program that is not there, or cannot be started, is no fault of a source: it is waited for.
//! - Whatever else goes wrong becomes the source's reason, with the end of what the program wrote to standard error. Signals and
//!   exit codes come first: a program that crashed is not told that its last row is incomplete.
//!
//! Processes, their limits and the protocol of workers are in `process`; `words` is the command line.

mod words;

pub use self::words::find_program;

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;

use self::words::Words;
use super::npy_chunks::NpyDecoder;
use super::process::{
    CLOSE_WAIT, End, Keys, Limits, Output, Process, Sent, Stop, Voice, Workers, fill, rejected, with_words,
};
use super::{About, DecodeError, FileDecoder, RowSink, SourceFile};
use crate::config::{CommandOptions, CommandOutput, Dataset};

/// Bytes of rows that are asked for at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// The command decoder of one dataset.
pub struct CommandDecoder {
    options: CommandOptions,
    limits: Limits,
    words: Words,
    /// Where the program runs.
    folder: PathBuf,
    /// What a worker is told beside the path.
    dataset: String,
    shape: Vec<usize>,
    dtype: String,
    row_bytes: usize,
    arrays: NpyDecoder,
    workers: Workers,
}

impl CommandDecoder {
    pub fn new(options: &CommandOptions, dataset: &Dataset) -> Self {
        let CommandOptions { timeout, memory_bytes, output_bytes_max, .. } = *options;
        let keys = Keys { timeout: Some("timeout"), output: Some("max_output") };
        let limits = Limits { timeout, memory_bytes, output_bytes_max, keys };
        Self {
            options: options.clone(),
            words: Words::new(&options.argv, dataset),
            folder: dataset.base.clone(),
            dataset: dataset.name.clone(),
            shape: dataset.row.shape.clone(),
            dtype: dataset.row.dtype.descr(),
            row_bytes: dataset.row.row_bytes(),
            arrays: NpyDecoder::of_program(&dataset.row),
            workers: Workers::new(limits.clone(), &dataset.row, Voice::Users),
            limits,
        }
    }

    fn start(&self, about: About<'_>, input: Stdio) -> Result<Process, DecodeError> {
        let command = self.words.command(about.path, &self.folder);
        Process::start(command, input, self.limits.memory_bytes).map_err(|error| {
            let program = self.words.program();
            let reason = format!("the program \"{program}\" (`argv`) cannot be started: {error}");
            if is_of_source(&error) { rejected(reason) } else { DecodeError::NoProgram(reason) }
        })
    }

    /// One process for this source.
    fn run(&self, file: &SourceFile, about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let input = file.file().try_clone().map_err(DecodeError::Read)?;
        let mut process = self.start(about, input.into())?;
        let mut output = Output::new(&mut process, &self.limits, about);
        let result = match self.options.output {
            CommandOutput::Npy => self.take_array(&mut output, sink),
            CommandOutput::Raw => self.take_raw(&mut output, sink),
        };
        let (stop, is_held) = (output.stop(), output.is_held());
        let left = self.limits.timeout.saturating_sub(output.waited());
        // One that still writes is not listened to any more.
        let left = if output.has_ended() { left } else { left.min(CLOSE_WAIT) };
        let ended = match (&result, &stop) {
            // It has to be seen whether it failed; what went wrong with its output may come from that.
            (Ok(()), None) | (Err(DecodeError::Rejected(_)), None) => process.wait(left, about),
            _ => process.kill(),
        };
        let told = process.told();
        if let Some(stop) = stop {
            return Err(self.limits.stopped(stop, &told));
        }
        let is_bad = result.is_err() || ended.is_some_and(|end| !end.is_success());
        if is_bad && End::is_of_service(ended, about) {
            return Err(DecodeError::Interrupted);
        }
        match (result, ended) {
            (Err(DecodeError::Interrupted), _) => Err(DecodeError::Interrupted),
            (_, Some(end)) if !end.is_success() => Err(rejected(with_words(&end.to_string(), &told))),
            (_, _) if is_held => Err(rejected(with_words(
                "the program ended, and what it had started still holds its output open: it has to wait for it, or give it \
                 another output",
                &told,
            ))),
            (Err(DecodeError::Rejected(rejection)), _) => {
                Err(rejected(with_words(&format!("the program's output: {}", rejection.reason), &told)))
            }
            (Err(error), _) => Err(error),
            (Ok(()), None) if about.is_interrupted() => Err(DecodeError::Interrupted),
            (Ok(()), None) => Err(self.limits.stopped(Stop::TimedOut, &told)),
            (Ok(()), Some(_)) => Ok(()),
        }
    }

    fn take_array(&self, output: &mut Output<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        self.arrays.rows_of(output, None, sink)?;
        let mut more = [0; 1];
        match output.read(&mut more)? {
            0 => Ok(()),
            _ => Err(rejected("there is more behind the array, expected one array".to_owned())),
        }
    }

    fn take_raw(&self, output: &mut Output<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let row_bytes = self.row_bytes.max(1);
        let mut all = 0_u64;
        loop {
            let rows = sink.rows((BLOCK_BYTES / row_bytes).max(1))?;
            let count = rows.len() / row_bytes;
            let filled = fill(output, rows)?;
            all += filled as u64;
            let whole = filled / row_bytes;
            sink.give_back(count - whole);
            if !filled.is_multiple_of(row_bytes) {
                let (rows, more) = (all / row_bytes as u64, all % row_bytes as u64);
                return Err(rejected(format!(
                    "it ends within a row: {rows} rows of {row_bytes} bytes and {more} bytes more"
                )));
            }
            if whole < count {
                return Ok(());
            }
        }
    }

    fn ask_worker(&self, about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let Some(path) = about.path.to_str() else {
            return Err(rejected("its path is not UTF-8 text, so a worker cannot be told of it".to_owned()));
        };
        let (shape, dtype, dataset) = (&self.shape, &self.dtype, &self.dataset);
        let mut line = json!({ "source": path, "dataset": dataset, "shape": shape, "dtype": dtype }).to_string();
        line.push('\n');
        self.workers.ask(Sent { line: &line, file: None }, || self.start(about, Stdio::piped()), about, sink)
    }
}

/// Whether a program cannot be started for what it would have been told of the source.
fn is_of_source(error: &io::Error) -> bool {
    [libc::E2BIG, libc::ENAMETOOLONG].map(Some).contains(&error.raw_os_error())
}

impl FileDecoder for CommandDecoder {
    fn decode(&self, file: &SourceFile, about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        if self.options.worker { self.ask_worker(about, sink) } else { self.run(file, about, sink) }
    }
}
