//! Workers that are kept running, and the lines that they are told and answer with.
//!
//! For each source the worker reads one line from standard input, a JSON object:
//!
//! ```text
//! {"source": "/drop/a.jpg", "dataset": "frames", "shape": [224, 224, 3], "dtype": "|u1"}
//! ```
//!
//! and answers on standard output with lines, some of which are followed by bytes:
//!
//! | line | what follows |
//! |---|---|
//! | `times N` | N times in seconds from the source's start, as little-endian f8: those of the next N rows. All rows have times, or none |
//! | `rows N` | N rows, as bytes. Any number of times |
//! | `npy BYTES` | a `.npy` array of that many bytes. Any number of times |
//! | `note TEXT` | nothing: the text is kept in the ledger beside the source |
//! | `working` | nothing: it gets on, and the clock of `timeout` starts anew |
//! | `done` | nothing: the source is complete |
//! | `error TEXT` | nothing: the source is rejected with this reason, whatever rows came before |
//!
//! After `done` or `error` the worker reads its next line; at the end of its input it ends. There are as many workers as
//! sources are decoded at once, each started when it is needed. One that breaks the protocol, ends or takes too long is
//! killed, and the next source gets a new one.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CLOSE_WAIT, End, Limits, Output, Process, Sent, Stop, fill, rejected, with_words};
use crate::config::RowFormat;
use crate::decode::npy_chunks::NpyDecoder;
use crate::decode::{About, DecodeError, RowSink};

/// Times that may be told at once.
const TIMES_MAX: usize = 1 << 20;
/// The longest answer line, in bytes; of a text, what is kept.
const LINE_BYTES_MAX: usize = 4096;
/// Answers that are texts, of any length.
const TEXTS: [&[u8]; 2] = [b"error ", b"note "];
/// The warning about a worker whose output belongs to no source.
const WENT_ON: &str =
    "a worker went on behind `done` or `error`: it is replaced; what it prints must go to standard error";

/// The workers of one dataset.
pub struct Workers {
    limits: Limits,
    row_bytes: usize,
    arrays: NpyDecoder,
    voice: Voice,
    idle: Mutex<Vec<Worker>>,
}

/// Whose words are behind `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// Those of a program of the user's, which the reason tells.
    Users,
    /// Our own.
    Ours,
}

/// Times of rows that are to come.
type Times = VecDeque<f64>;

struct Worker {
    process: Process,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.close(Instant::now() + CLOSE_WAIT);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        idle.iter_mut().for_each(|worker| worker.process.close_input());
        // They end side by side.
        let until = Instant::now() + CLOSE_WAIT;
        idle.iter_mut().for_each(|worker| worker.process.close(until));
    }
}

/// What came of one source.
enum Answer {
    Done,
    /// The worker said so; it goes on.
    Refused(String),
    /// It ended without a word: if it had been waiting, another may do better.
    EndedBefore,
    /// It answered before it had read of which source it was told: that is what it had still to say of another.
    Late(String),
    /// It ended behind its first line.
    EndedWithin,
    Broken(String),
    Stopped(Stop),
    /// The sink has had enough.
    Sink(DecodeError),
}

impl Workers {
    pub fn new(limits: Limits, row: &RowFormat, voice: Voice) -> Self {
        let (row_bytes, arrays) = (row.row_bytes(), NpyDecoder::of_program(row));
        Self { limits, row_bytes, arrays, voice, idle: Mutex::new(Vec::new()) }
    }

    /// Has a source decoded. `start` starts a worker that can be told of it.
    pub fn ask(
        &self,
        task: Sent<'_>,
        start: impl Fn() -> Result<Process, DecodeError>,
        about: About<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let new_worker = || Ok::<_, DecodeError>(Worker { process: start()? });
        let idle = self.idle();
        let was_idle = idle.is_some();
        let mut worker = match idle {
            Some(worker) => worker,
            None => new_worker()?,
        };
        let mut answer = self.answer(&mut worker, task, about, sink);
        if was_idle && matches!(answer, Answer::EndedBefore | Answer::Late(_)) {
            if matches!(answer, Answer::Late(_)) {
                tracing::warn!("{WENT_ON}");
            }
            worker = new_worker()?;
            answer = self.answer(&mut worker, task, about, sink);
        }
        let told = |worker: &mut Worker| worker.process.told();
        match answer {
            Answer::Done => {
                self.keep(worker);
                Ok(())
            }
            Answer::Refused(reason) => {
                let reason = match self.voice {
                    Voice::Users => format!("the worker says: {reason}"),
                    Voice::Ours => reason,
                };
                self.keep(worker);
                Err(rejected(reason))
            }
            Answer::EndedBefore | Answer::Late(_) | Answer::EndedWithin | Answer::Broken(_) => {
                let said = match answer {
                    Answer::Broken(said) => Some(said),
                    Answer::Late(line) => Some(format!(
                        "the worker answered {line:?} before it had read of which source it was told; what it prints must go to \
                         standard error"
                    )),
                    _ => None,
                };
                // A crash shows as the end of its output; its exit tells more.
                let has_more = said.is_some() && worker.process.has_output();
                let end = worker.process.wait(if has_more { Duration::ZERO } else { CLOSE_WAIT }, about);
                if End::is_of_service(end, about) {
                    return Err(DecodeError::Interrupted);
                }
                let reason = match (end, said) {
                    (Some(end), said) if said.is_none() || !end.is_success() => {
                        format!("the worker did not answer to the end: {end}")
                    }
                    (_, Some(said)) => said,
                    (_, None) => "the worker ended before it answered `done` or `error`".to_owned(),
                };
                let told = told(&mut worker);
                Err(rejected(with_words(&reason, &told)))
            }
            Answer::Stopped(stop) => {
                worker.process.kill();
                let told = told(&mut worker);
                Err(self.limits.stopped(stop, &told))
            }
            Answer::Sink(error) => {
                worker.process.kill();
                Err(error)
            }
        }
    }

    /// One that waits. What it has said since its last answer belongs to no source, and who knows what it takes for the next one's
    /// answer: such a worker is done without.
    fn idle(&self) -> Option<Worker> {
        loop {
            let worker = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if !worker.process.has_output() {
                return Some(worker);
            }
            tracing::warn!("{WENT_ON}");
        }
    }

    fn keep(&self, worker: Worker) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    fn answer(&self, worker: &mut Worker, task: Sent<'_>, about: About<'_>, sink: &mut dyn RowSink) -> Answer {
        worker.process.forget_told();
        if worker.process.send(task).is_err() {
            return Answer::EndedBefore;
        }
        let (mut times, mut are_timed) = (Times::new(), None);
        let mut output = Output::new(&mut worker.process, &self.limits, about);
        let mut is_first = true;
        loop {
            let line = match read_line(&mut output) {
                Ok(Some(line)) => line,
                Ok(None) if is_first => return Answer::EndedBefore,
                Ok(None) => return ended_within(&mut output),
                Err(answer) => return stopped_or(&mut output, answer),
            };
            if is_first && output.input_is_unread(task.line.len()) {
                return Answer::Late(line);
            }
            is_first = false;
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            if !times.is_empty() && matches!(word, "npy" | "done") {
                let left = times.len();
                return Answer::Broken(format!(
                    "the worker answered `{word}` behind {left} times that no `rows` came for"
                ));
            }
            let has_rows = word == "npy" || word == "rows" && rest.trim() != "0";
            if has_rows && *are_timed.get_or_insert(!times.is_empty()) == times.is_empty() {
                return Answer::Broken(
                    "the worker gave times for some of the rows and none for others, expected one for each, or none"
                        .to_owned(),
                );
            }
            let taken = match word {
                "done" => return Answer::Done,
                "error" => return Answer::Refused(rest.to_owned()),
                "note" => {
                    sink.note(rest.to_owned());
                    Ok(())
                }
                "working" => {
                    output.has_got_on();
                    Ok(())
                }
                "times" => match rest.trim().parse::<usize>() {
                    Ok(count) if count <= TIMES_MAX && times.is_empty() => take_times(&mut output, count, &mut times),
                    _ => {
                        return Answer::Broken(format!(
                            "the worker answered \"{line}\", expected up to {TIMES_MAX} times, and their rows before others"
                        ));
                    }
                },
                "rows" => match rest.trim().parse::<u64>() {
                    Ok(rows) if !times.is_empty() => self.take_timed_rows(&mut output, rows, &mut times, sink),
                    Ok(rows) => self.take_rows(&mut output, rows, sink),
                    Err(_) => {
                        return Answer::Broken(format!("the worker answered \"{line}\", expected a number of rows"));
                    }
                },
                "npy" => match rest.trim().parse::<u64>() {
                    Ok(bytes) => self.arrays.rows_of(&mut (&mut output).take(bytes), Some(bytes), sink),
                    Err(_) => {
                        return Answer::Broken(format!("the worker answered \"{line}\", expected a number of bytes"));
                    }
                },
                _ => {
                    return Answer::Broken(format!(
                        "the worker answered {line:?}, expected a line that begins with rows, npy, times, note, working, done or error"
                    ));
                }
            };
            match taken {
                Ok(()) => {}
                Err(DecodeError::Rejected(rejection)) => {
                    return stopped_or(
                        &mut output,
                        Answer::Broken(format!("the worker's answer: {}", rejection.reason)),
                    );
                }
                Err(error) => return stopped_or(&mut output, Answer::Sink(error)),
            }
        }
    }

    fn take_timed_rows(
        &self,
        output: &mut Output<'_>,
        rows: u64,
        times: &mut Times,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        for nth in 0..rows {
            let Some(time_s) = times.pop_front() else {
                return Err(rejected(format!("it gave {nth} times and {rows} rows, expected a time for each")));
            };
            let place = sink.row(time_s)?;
            let filled = fill(output, place)?;
            if filled < place.len() {
                return Err(rejected(format!("it ends after {nth} of {rows} rows and {filled} bytes of the next")));
            }
        }
        Ok(())
    }

    fn take_rows(&self, output: &mut Output<'_>, rows: u64, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let row_bytes = self.row_bytes.max(1);
        let mut left = rows;
        while left > 0 {
            let places = sink.rows(usize::try_from(left).unwrap_or(usize::MAX))?;
            let count = (places.len() / row_bytes) as u64;
            let filled = fill(output, places)? as u64;
            if filled < count * row_bytes as u64 {
                let (given, more) = (rows - left + filled / row_bytes as u64, filled % row_bytes as u64);
                return Err(rejected(format!("it ends after {given} of {rows} rows and {more} bytes of the next")));
            }
            left -= count;
        }
        Ok(())
    }
}

fn take_times(output: &mut Output<'_>, count: usize, times: &mut Times) -> Result<(), DecodeError> {
    for nth in 0..count {
        let mut bytes = [0; 8];
        if fill(output, &mut bytes)? < bytes.len() {
            return Err(rejected(format!("it ends after {nth} of {count} times")));
        }
        let time_s = f64::from_le_bytes(bytes);
        if !time_s.is_finite() {
            return Err(rejected(format!(
                "time {nth} of {count} is {time_s}, expected seconds from the source's start"
            )));
        }
        times.push_back(time_s);
    }
    Ok(())
}

fn stopped_or(output: &mut Output<'_>, answer: Answer) -> Answer {
    match output.stop() {
        Some(stop) => Answer::Stopped(stop),
        None => answer,
    }
}

fn ended_within(output: &mut Output<'_>) -> Answer {
    stopped_or(output, Answer::EndedWithin)
}

/// One line without its end; `None` where the output ended.
fn read_line(output: &mut Output<'_>) -> Result<Option<String>, Answer> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0; 1];
        let read: io::Result<usize> = output.read(&mut byte);
        match read {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => return Err(Answer::Broken(format!("the worker ended within a line: {:?}", lossy(&line)))),
            Ok(_) if byte == *b"\n" => return Ok(Some(lossy(&line).trim_end_matches('\r').to_owned())),
            Ok(_) if line.len() >= LINE_BYTES_MAX && TEXTS.iter().any(|word| line.starts_with(word)) => {}
            Ok(_) if line.len() >= LINE_BYTES_MAX => {
                return Err(Answer::Broken(format!(
                    "the worker's answer has a line of more than {LINE_BYTES_MAX} bytes, expected rows, npy, note, \
                     times, working, done or error; what it prints must go to standard error"
                )));
            }
            Ok(_) => line.extend(byte),
            Err(error) => return Err(Answer::Broken(error.to_string())),
        }
    }
}

fn lossy(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}
