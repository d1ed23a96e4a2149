//! The file as the library of containers reads it: any place, any number of times, never beyond its size.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use symphonia::core::io::MediaSource;

use super::super::{DecodeError, SourceFile};

/// What kept the file from being read, as far as it is no fault of its content.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    error: Mutex<Option<io::Error>>,
    was_interrupted: AtomicBool,
}

impl Trouble {
    /// Whether an error that the library told is not the source's.
    pub(super) fn take(&self) -> Option<DecodeError> {
        if self.was_interrupted.load(Ordering::Relaxed) {
            return Some(DecodeError::Interrupted);
        }
        self.error.lock().ok().and_then(|mut error| error.take()).map(DecodeError::Read)
    }
}

/// Reads an open file by its own position.
pub(super) struct Input<'a> {
    file: &'a SourceFile,
    position: u64,
    /// Where the library is told that it ends; behind the end of the file there is nothing to read.
    end: u64,
    interrupted: &'a AtomicBool,
    trouble: &'a Trouble,
}

impl<'a> Input<'a> {
    pub(super) fn new(file: &'a SourceFile, end: u64, interrupted: &'a AtomicBool, trouble: &'a Trouble) -> Self {
        Self { file, position: 0, end, interrupted, trouble }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        super::super::step();
        if self.interrupted.load(Ordering::Relaxed) {
            self.trouble.was_interrupted.store(true, Ordering::Relaxed);
            return Err(io::Error::other("interrupted"));
        }
        // What is written behind the size that was found belongs to another content.
        let left = usize::try_from(self.file.size().saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let part = buffer.get_mut(..length).unwrap_or_default();
        loop {
            match self.file.file().read_at(part, self.position) {
                Ok(read) => {
                    self.position += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let told = io::Error::from(error.kind());
                    if let Ok(mut kept) = self.trouble.error.lock() {
                        kept.get_or_insert(error);
                    }
                    return Err(told);
                }
            }
        }
    }
}

impl Seek for Input<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let place = place.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the start"))?;
        self.position = place;
        Ok(place)
    }
}

impl MediaSource for Input<'_> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        // Asked for when tags are looked for at the end, which is not there in a file that was cut short.
        (self.end == self.file.size()).then_some(self.end)
    }
}
