//! Short hashes of a log's beginning, by which one that was cut is told from another that only begins alike.
//!
//! | mark | of |
//! |---|---|
//! | 0 | what lies before the first record: a header, comments; its first 64 KiB at most |
//! | 1, 2, 3, ... | the bytes 256 to 512, 512 to 1024, 1024 to 2048, ... behind the first record's place, up to 1 MiB, as far as they were taken whole |

use std::fs::File;
use std::io;
use std::ops::Range;

use super::part::{HEAD_BYTES, bytes_at};

/// The first bytes of a BLAKE3 hash.
const MARK_BYTES: usize = 8;
/// So many bytes before the first record have a mark.
const BEFORE_BYTES_MAX: u64 = 64 << 10;
/// So many blocks have one: up to 1 MiB.
const BLOCKS_MAX: u32 = 12;

/// See the module documentation. Empty: none are known, as in a ledger of an earlier version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(Vec<u8>);

impl Marks {
    /// As the ledger has them.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Those of a log whose first record is at `head_at`, and which was taken up to `end`; up to `begin` it is as it was when
    /// `before` were made.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn go_on(before: Option<&Self>, file: &File, head_at: u64, begin: u64, end: u64) -> io::Result<Self> {
        // A program may keep a count in the header.
        let mut marks = Self(mark(file, 0..head_at.min(BEFORE_BYTES_MAX))?);
        let mut known = before.map(Self::of_blocks).into_iter().flatten();
        for block in blocks(head_at).take_while(|block| block.end <= end) {
            match known.next().filter(|_| block.end <= begin) {
                Some(known) => marks.0.extend_from_slice(known),
                None => marks.0.extend(mark(file, block)?),
            }
        }
        Ok(marks)
    }

    /// Whether the same as before lies before the first record. `None`: that is not known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn have_before(&self, file: &File, head_at: u64) -> io::Result<Option<bool>> {
        let Some(known) = self.0.get(..MARK_BYTES) else { return Ok(None) };
        Ok(Some(mark(file, 0..head_at.min(BEFORE_BYTES_MAX))? == known))
    }

    /// Whether a file is as the log was, before `end`, as far as there are marks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn are_in(&self, file: &File, head_at: u64, end: u64) -> io::Result<bool> {
        if self.have_before(file, head_at)? == Some(false) {
            return Ok(false);
        }
        for (block, known) in blocks(head_at).zip(self.of_blocks()).take_while(|(block, _)| block.end <= end) {
            if mark(file, block)? != known {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn of_blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.0.chunks_exact(MARK_BYTES).skip(1)
    }
}

/// Each is as long as all before it, from the first record on.
fn blocks(head_at: u64) -> impl Iterator<Item = Range<u64>> {
    let begin = move |number: u32| head_at + ((HEAD_BYTES as u64) << number);
    (0..BLOCKS_MAX).map(move |number| begin(number)..begin(number + 1))
}

fn mark(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let hash = blake3::hash(&bytes_at(file, range)?);
    Ok(hash.as_bytes().iter().take(MARK_BYTES).copied().collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn marks_that_go_on_are_those_of_the_whole() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
        let file = file(&bytes);
        let whole = Marks::go_on(None, &file, 10, 10, 3_000_000).unwrap();
        assert_eq!(whole.as_bytes().len(), 13 * MARK_BYTES);
        let (mut marks, mut begin) = (None, 10);
        for end in [11, 200, 266, 700, 5_000, 5_001, 300_000, 3_000_000] {
            marks = Some(Marks::go_on(marks.as_ref(), &file, 10, begin, end).unwrap());
            begin = end;
        }
        assert_eq!(marks, Some(whole));
    }

    #[test]
    fn another_byte_is_found_where_its_block_was_kept() {
        let bytes = vec![7; 2000];
        let marks = Marks::go_on(None, &file(&bytes), 100, 100, 2000).unwrap();
        let cases = [(99, 300, false), (400, 700, false), (400, 611, true), (1000, 1124, false), (1900, 2000, true)];
        for (at, kept, expected) in cases {
            let mut other = bytes.clone();
            other[at] = 8;
            let other = file(&other);
            assert_eq!(marks.are_in(&other, 100, kept).unwrap(), expected, "{at}, {kept}");
            assert!(Marks::default().are_in(&other, 100, kept).unwrap(), "nothing is known");
        }
    }
}
