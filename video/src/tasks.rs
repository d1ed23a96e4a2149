//! Lines from a socket, each with an open file.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// A longer line is none of npy-ingest's.
const LINE_BYTES_MAX: usize = 1 << 20;

/// See the module documentation.
pub struct Tasks {
    read: Vec<u8>,
}

impl Tasks {
    /// Of standard input. A thread sees to it that the process ends when the other end hangs up, whatever it does then: a
    /// daemon that was killed leaves no worker behind.
    pub fn new() -> io::Result<Self> {
        std::thread::Builder::new().name("hang-up".to_owned()).spawn(|| {
            let stdin = rustix::stdio::stdin();
            let mut watched = [PollFd::from_borrowed_fd(stdin, PollFlags::empty())];
            loop {
                match poll(&mut watched, None) {
                    Ok(_) if watched.iter().any(|watched| watched.revents().intersects(PollFlags::HUP)) => {
                        std::process::exit(0);
                    }
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => std::process::exit(1),
                }
            }
        })?;
        Ok(Self { read: Vec::new() })
    }

    /// The next one; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<(String, File)>> {
        let mut file = None;
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                let file = file.ok_or_else(|| io::Error::other("a task came without a file"))?;
                return Ok(Some((line, file)));
            }
            let mut bytes = [0; 16384];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut with_it = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let got = match recvmsg(rustix::stdio::stdin(), &mut parts, &mut with_it, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?.bytes,
            };
            for message in with_it.drain() {
                if let RecvAncillaryMessage::ScmRights(files) = message {
                    file = files.map(|file: OwnedFd| File::from(file)).next().or(file);
                }
            }
            if got == 0 {
                return Ok(None);
            }
            self.read.extend_from_slice(bytes.get(..got).unwrap_or_default());
            if self.read.len() > LINE_BYTES_MAX {
                return Err(io::Error::other("a task of more than 1 MiB"));
            }
        }
    }
}
