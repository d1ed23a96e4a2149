//! Standard input as `append` reads it: without a buffer, and whoever set it not to wait.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::failure::Failure;

/// For error texts.
pub const NAME: &str = "standard input";

/// Several can be opened, and each reads on where the last one stopped.
pub struct StandardInput(File);

impl StandardInput {
    pub fn open() -> Result<Self, Failure> {
        let file = io::stdin().as_fd().try_clone_to_owned().map(File::from);
        file.map(Self).map_err(|error| Failure::failed(format!("opening {NAME}: {error}")))
    }

    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                // `O_NONBLOCK` belongs to the open file, which other processes may share and have set so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                read => return read,
            }
        }
    }
}
