//! A source that is read once, from its start to its end, and hashed on the way: any size in bounded memory.

use std::io::{self, Read, Seek, SeekFrom};

use super::open::{OpenFailure, SourceFile};
use crate::source::{Hash, NotFinished};

/// Bytes that are read at one go: few system calls, and still in the processor's cache when they are hashed.
const READ_BYTES_MAX: usize = 256 << 10;

/// Reads a source of the size that was found, and hashes every byte that it gives.
pub struct SourceReader<'a> {
    source: &'a SourceFile,
    hasher: blake3::Hasher,
    position: u64,
}

impl<'a> SourceReader<'a> {
    pub(super) fn new(source: &'a SourceFile) -> io::Result<Self> {
        Self::at(source, 0)
    }

    /// From a place in the file; it may go to others. What it hashes is what it read, in that order.
    pub(super) fn at(source: &'a SourceFile, position: u64) -> io::Result<Self> {
        let mut file = source.file();
        file.seek(SeekFrom::Start(position))?;
        // Only advice: the kernel reads ahead further. That a filesystem does not take it changes nothing.
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
        Ok(Self { source, hasher: blake3::Hasher::new(), position })
    }

    /// Goes on from another place in the file.
    pub fn go_to(&mut self, position: u64) -> io::Result<()> {
        self.source.file().seek(SeekFrom::Start(position))?;
        self.position = position;
        Ok(())
    }

    /// Bytes of the whole source.
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// Bytes that were read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> u64 {
        self.size().saturating_sub(self.position)
    }

    /// Fills the buffer as far as the source goes, and returns how many bytes there were.
    pub fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..)
            && !rest.is_empty()
        {
            match self.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Reads what is left, makes sure that the file is still the one that was found, and returns the content's hash.
    /// `None` when `is_interrupted` said so in between.
    pub(super) fn finish(mut self, is_interrupted: impl Fn() -> bool) -> Result<Option<Hash>, OpenFailure> {
        let mut block = vec![0; READ_BYTES_MAX.min(usize::try_from(self.remaining()).unwrap_or(READ_BYTES_MAX))];
        while self.remaining() > 0 {
            if is_interrupted() {
                return Ok(None);
            }
            if self.fill(&mut block).map_err(OpenFailure::Unreadable)? == 0 {
                return Err(OpenFailure::NotFinished(NotFinished::Changed));
            }
        }
        self.source.check_unchanged()?;
        Ok(Some(self.hasher.finalize()))
    }
}

/// Ends at the size that was found: what is written behind it meanwhile is another content, and [`Self::finish`] sees it.
impl Read for SourceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let remaining = usize::try_from(self.remaining()).unwrap_or(usize::MAX);
        let length = buffer.len().min(remaining).min(READ_BYTES_MAX);
        let Some(part) = buffer.get_mut(..length) else { return Ok(0) };
        let read = self.source.file().read(part)?;
        super::step();
        self.hasher.update(part.get(..read).unwrap_or_default());
        self.position += read as u64;
        Ok(read)
    }
}
