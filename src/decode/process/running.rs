//! One running program.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit};

use crate::decode::About;

/// So much of the end of standard error is kept for the reason.
const TOLD_BYTES_MAX: usize = 2000;
/// How long a program that has nothing more to do, or is not listened to any more, may take to end.
pub const CLOSE_WAIT: Duration = Duration::from_millis(500);
/// How often an end is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How long the service's own end is waited for when a program was ended by such a signal, and when it ended badly otherwise.
const STOP_WAIT: Duration = Duration::from_secs(2);
const OTHER_WAIT: Duration = Duration::from_millis(250);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End(ExitStatus);

impl End {
    pub fn is_success(self) -> bool {
        self.0.success()
    }

    /// Somebody asked it to end.
    fn was_asked_for(self) -> bool {
        [Signal::TERM, Signal::INT, Signal::HUP].iter().any(|signal| self.0.signal() == Some(signal.as_raw()))
    }

    /// Whether a bad end is none of the source's: whoever stops the service may stop its programs in the same breath, and be
    /// heard there an instant before. `end`: none where it went on.
    pub fn is_of_service(end: Option<Self>, about: About<'_>) -> bool {
        let wait = if end.is_some_and(Self::was_asked_for) { STOP_WAIT } else { OTHER_WAIT };
        let until = Instant::now() + wait;
        while !about.is_interrupted() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(formatter, "the program ended with exit code {code}"),
            (None, Some(signal)) => write!(formatter, "the program was killed by signal {signal}"),
            (None, None) => write!(formatter, "the program ended: {}", self.0),
        }
    }
}

/// Where a program is told of its sources.
enum Input {
    Pipe(ChildStdin),
    Socket(UnixStream),
}

/// A line for a worker, with its line end, and an open file that goes with it where the worker's input is a socket.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    pub line: &'a str,
    pub file: Option<&'a File>,
}

/// Sets a limit, or leaves a lower one that this process has and the other inherited: raising it may not be allowed.
fn limit(process: Pid, resource: Resource, bytes: u64) -> io::Result<()> {
    let bytes = getrlimit(resource).maximum.map_or(bytes, |ours| ours.min(bytes));
    match prlimit(Some(process), resource, Rlimit { current: Some(bytes), maximum: Some(bytes) }) {
        // It may have ended already; then there is nothing to limit.
        Ok(_) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A running program. It is killed with its whole process group when this is dropped.
pub struct Process {
    child: Child,
    group: Option<Pid>,
    input: Option<Input>,
    output: Option<ChildStdout>,
    errors: Option<ChildStderr>,
    told: Vec<u8>,
    ended: Option<End>,
}

impl Process {
    /// `input` is its standard input; with [`Stdio::piped`] it is what [`Self::send`] writes to.
    pub fn start(mut command: Command, input: Stdio, memory_bytes: u64) -> io::Result<Self> {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let (input, output, errors) = (child.stdin.take().map(Input::Pipe), child.stdout.take(), child.stderr.take());
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = Self { child, group, input, output, errors, told: Vec::new(), ended: None };
        if let Some(group) = group {
            limit(group, Resource::As, memory_bytes)
                .and_then(|()| limit(group, Resource::Core, 0))
                .map_err(|error| io::Error::other(format!("its memory cannot be limited: {error}")))?;
        }
        Ok(process)
    }

    /// Likewise, with `theirs`, one end of a pair of sockets, as its standard input.
    pub fn start_with_socket(
        command: Command,
        theirs: UnixStream,
        ours: UnixStream,
        memory_bytes: u64,
    ) -> io::Result<Self> {
        let mut process = Self::start(command, OwnedFd::from(theirs).into(), memory_bytes)?;
        process.input = Some(Input::Socket(ours));
        Ok(process)
    }

    /// Tells a worker of its next source. A line is far smaller than a pipe, so this does not wait for one that is slow to
    /// read.
    pub fn send(&mut self, sent: Sent<'_>) -> io::Result<()> {
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        match (self.input.as_mut().ok_or_else(ended)?, sent.file) {
            (Input::Pipe(input), _) => input.write_all(sent.line.as_bytes()).and_then(|()| input.flush()),
            (Input::Socket(socket), None) => socket.write_all(sent.line.as_bytes()),
            (Input::Socket(socket), Some(file)) => {
                let files: [BorrowedFd<'_>; 1] = [file.as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut with_it = SendAncillaryBuffer::new(&mut space);
                with_it.push(SendAncillaryMessage::ScmRights(&files));
                let bytes = [IoSlice::new(sent.line.as_bytes())];
                let written = sendmsg(&*socket, &bytes, &mut with_it, SendFlags::NOSIGNAL)?;
                // What did not fit goes behind it, by itself.
                socket.write_all(sent.line.as_bytes().get(written..).unwrap_or_default())
            }
        }
    }

    /// Waits until there is output, or its end, and keeps the end of standard error meanwhile.
    pub fn wait_for_output(&mut self, time: Duration) -> io::Result<bool> {
        let Some(output) = &self.output else { return Ok(true) };
        let mut watched = vec![PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)];
        if let Some(errors) = &self.errors {
            watched.push(PollFd::from_borrowed_fd(errors.as_fd(), PollFlags::IN));
        }
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut watched, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_something = |at: usize| watched.get(at).is_some_and(|watched| !watched.revents().is_empty());
        let (is_ready, has_errors) = (has_something(0), has_something(1));
        if has_errors {
            self.read_errors();
        }
        Ok(is_ready)
    }

    /// Whether it has ended, though others that it started may have its output still.
    pub fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten().map(End);
        }
        self.ended.is_some()
    }

    /// Whether there is output that nobody has read.
    pub fn has_output(&self) -> bool {
        self.output.as_ref().is_some_and(|output| ioctl_fionread(output).is_ok_and(|bytes| bytes > 0))
    }

    /// Whether so many bytes that were sent lie in its pipe.
    pub fn input_is_unread(&self, bytes: usize) -> bool {
        match &self.input {
            Some(Input::Pipe(input)) => ioctl_fionread(input).is_ok_and(|unread| unread >= bytes as u64),
            // Only our own worker has one.
            Some(Input::Socket(_)) | None => false,
        }
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.output {
            Some(output) => output.read(buffer),
            None => Ok(0),
        }
    }

    /// One read of standard error, of which the end is kept.
    fn read_errors(&mut self) {
        let mut part = [0; 4096];
        match self.errors.as_mut().map(|errors| errors.read(&mut part)) {
            Some(Ok(read)) if read > 0 => {
                self.told.extend_from_slice(part.get(..read).unwrap_or_default());
                let surplus = self.told.len().saturating_sub(TOLD_BYTES_MAX);
                self.told.drain(..surplus);
            }
            // Its end; or it cannot be read, which must not stop the rows.
            _ => self.errors = None,
        }
    }

    /// The end of standard error, in one line.
    pub fn told(&mut self) -> String {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A program that writes for ever must not hold us.
        for _ in 0..64 {
            let Some(errors) = &self.errors else { break };
            let mut watched = [PollFd::from_borrowed_fd(errors.as_fd(), PollFlags::IN)];
            match poll(&mut watched, Some(&none)) {
                Ok(1..) => self.read_errors(),
                _ => break,
            }
        }
        let text = String::from_utf8_lossy(&self.told);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join(" | ")
    }

    /// Forgets what was told: it belongs to the source before.
    pub fn forget_told(&mut self) {
        drop(self.told());
        self.told.clear();
    }

    /// Waits for its end for so long. `None` when it goes on; it is killed then.
    pub fn wait(&mut self, time: Duration, about: About<'_>) -> Option<End> {
        let until = Instant::now() + time;
        loop {
            if self.has_ended() || Instant::now() >= until || about.is_interrupted() {
                break;
            }
            if self.errors.is_some() {
                // What it still has to say, without missing its end by much.
                let time = Timespec::try_from(LOOK).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
                let has_errors = match &self.errors {
                    Some(errors) => {
                        let mut watched = [PollFd::from_borrowed_fd(errors.as_fd(), PollFlags::IN)];
                        matches!(poll(&mut watched, Some(&time)), Ok(1..))
                    }
                    None => false,
                };
                if has_errors {
                    self.read_errors();
                }
            } else {
                std::thread::sleep(LOOK);
            }
        }
        let ended = self.ended;
        self.kill();
        ended
    }

    /// Ends the whole process group, what the program has started included.
    pub fn kill(&mut self) -> Option<End> {
        self.input = None;
        if let Some(group) = self.group.take() {
            // Fails when nobody of the group is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
        if self.ended.is_none() {
            self.ended = self.child.wait().ok().map(End);
        }
        self.ended
    }

    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Ends it in order: its input is closed, and it is killed if it goes on behind that instant.
    pub fn close(&mut self, until: Instant) {
        self.close_input();
        while Instant::now() < until {
            if self.has_ended() {
                break;
            }
            std::thread::sleep(LOOK);
        }
        self.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_its_limit_and_one_that_has_ended_needs_none() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Pid::from_child(&child);
        limit(process, Resource::As, 1 << 40).unwrap();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
        assert!(line.contains("1099511627776"), "{line}");
        limit(process, Resource::Core, 0).unwrap();
    }
}
