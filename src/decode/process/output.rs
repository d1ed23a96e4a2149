//! Standard output of a program, read with a clock and a limit.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::Limits;
use super::running::Process;
use crate::decode::About;

/// How often it is looked whether the rows are still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// What a program that has ended left behind is waited for so long, if it is quiet.
const HELD_WAIT: Duration = Duration::from_secs(2);
/// At a stop, a program that is at work gets this long to finish.
const GRACE: Duration = Duration::from_secs(2);

/// Why reading ended.
#[derive(Debug)]
pub enum Stop {
    TimedOut,
    TooMuch,
    Interrupted,
    Failed(io::Error),
}

/// See the module documentation. After an error, [`Self::stop`] has the reason.
pub struct Output<'a> {
    process: &'a mut Process,
    about: About<'a>,
    timeout: Duration,
    bytes_left: u64,
    waited: Duration,
    interrupted_at: Option<Instant>,
    has_ended: bool,
    /// The program has ended, and there has been no output since.
    quiet_since: Option<Instant>,
    is_held: bool,
    stop: Option<Stop>,
}

impl<'a> Output<'a> {
    pub fn new(process: &'a mut Process, limits: &Limits, about: About<'a>) -> Self {
        Self {
            process,
            about,
            timeout: limits.timeout,
            bytes_left: limits.output_bytes_max,
            waited: Duration::ZERO,
            interrupted_at: None,
            has_ended: false,
            quiet_since: None,
            is_held: false,
            stop: None,
        }
    }

    pub fn stop(&mut self) -> Option<Stop> {
        self.stop.take()
    }

    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// There is nothing more, as the program has ended or closed it.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The program has ended, and what it has started holds its output open: whether there would have been more is not known.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether the program has read nothing of the last so many bytes that it was told.
    pub fn input_is_unread(&self, bytes: usize) -> bool {
        self.process.input_is_unread(bytes)
    }

    /// It got on: the clock starts anew.
    pub fn has_got_on(&mut self) {
        self.waited = Duration::ZERO;
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, Stop> {
        loop {
            if self.about.is_interrupted() && self.interrupted_at.get_or_insert_with(Instant::now).elapsed() > GRACE {
                return Err(Stop::Interrupted);
            }
            let started = Instant::now();
            let left = self.timeout.saturating_sub(self.waited);
            let is_ready = self.process.wait_for_output(left.min(LOOK)).map_err(Stop::Failed)?;
            self.waited += started.elapsed();
            if is_ready {
                let read = match self.process.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    result => result.map_err(Stop::Failed)?,
                };
                self.bytes_left = self.bytes_left.checked_sub(read as u64).ok_or(Stop::TooMuch)?;
                self.has_ended = read == 0;
                self.quiet_since = None;
                return Ok(read);
            }
            if self.process.has_ended()
                && !self.process.has_output()
                && self.quiet_since.get_or_insert_with(Instant::now).elapsed() > HELD_WAIT
            {
                (self.has_ended, self.is_held) = (true, true);
                return Ok(0);
            }
            if self.waited >= self.timeout {
                return Err(Stop::TimedOut);
            }
        }
    }
}

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.next(buffer).map_err(|stop| {
            self.stop = Some(stop);
            io::Error::other("the program was stopped")
        })
    }
}
