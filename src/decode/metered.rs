//! Files that give only so many bytes: what a file says of its parts may have a library read the same ones again and again, for
//! as long as it likes.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};

/// Takes bytes that a library reads from those that are left.
pub(super) fn spend(left: &mut u64, bytes: usize) -> io::Result<()> {
    const AGAIN: &str = "parts of the file are to be read again and again: the file is damaged";
    *left = left.checked_sub(bytes as u64).ok_or_else(|| io::Error::other(AGAIN))?;
    Ok(())
}

/// A file in memory.
pub(super) struct Metered<'a> {
    bytes: Cursor<&'a [u8]>,
    left: u64,
}

impl<'a> Metered<'a> {
    /// All of it may be read four times, and so many bytes more.
    pub(super) fn new(bytes: &'a [u8], more: u64) -> Self {
        const TIMES: u64 = 4;
        const MORE_BYTES: u64 = 16 << 20;
        let left = (bytes.len() as u64).saturating_mul(TIMES).saturating_add(MORE_BYTES);
        Self { bytes: Cursor::new(bytes), left: left.saturating_add(more) }
    }
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.bytes.read(buffer)?;
        spend(&mut self.left, bytes)?;
        Ok(bytes)
    }
}

impl BufRead for Metered<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            spend(&mut self.left, 1)?;
        }
        self.bytes.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
        self.bytes.consume(bytes);
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}
