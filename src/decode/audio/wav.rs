//! The sizes in a WAV file that went into a pipe: who wrote it did not know its length when it began, and the sound goes to the
//! end of the file. The library knows 2^32 - 1 for that, and there is more: 0, what SoX writes and what arecord does, both about
//! 2 GiB.
//!
//! Source: Multimedia Programming Interface and Data Specifications 1.0, RIFF; sizes are little-endian, chunks filled up to
//! even numbers.

use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;

use super::super::SourceFile;

/// Chunks that are looked at.
const CHUNKS_MAX: usize = 4096;
/// Sizes that stand for none, where the file is shorter: the largest that is possible, signed or not, less a header or what is
/// no whole block.
const PLACEHOLDERS: [RangeInclusive<u32>; 2] = [0x7FFF_0000..=0x8000_0000, 0xFFFF_0000..=u32::MAX];

/// Where the sizes of the file and of its sound stand, in bytes, if that of the sound is none: the file's and the sound's.
pub(super) fn sizes_without_end(file: &SourceFile, begin: u64) -> Vec<u64> {
    data_without_end(file, begin).map_or_else(Vec::new, |data| vec![begin + 4, data + 4])
}

/// Whether the sound goes to the end of the file, wherever that is.
pub(super) fn is_endless(file: &SourceFile) -> bool {
    data_without_end(file, super::input::behind_tags(file)).is_some()
}

/// Where the chunk with the sound is, if its size is none.
fn data_without_end(file: &SourceFile, begin: u64) -> Option<u64> {
    let start: [u8; 12] = bytes(file, begin)?;
    if !start.starts_with(b"RIFF") || !start.ends_with(b"WAVE") {
        return None;
    }
    let mut place = begin + 12;
    for _ in 0..CHUNKS_MAX {
        let (name, size) = chunk(file, place)?;
        if &name == b"data" {
            let from = place + 8;
            let is_longer = from + u64::from(size) > file.size();
            let is_none = match size {
                0 => from < file.size() && !has_chunk(file, from),
                u32::MAX => true,
                size => is_longer && PLACEHOLDERS.iter().any(|sizes| sizes.contains(&size)),
            };
            return is_none.then_some(place);
        }
        place += 8 + u64::from(size).next_multiple_of(2);
    }
    None
}

/// Whether a chunk begins here rather than sound.
fn has_chunk(file: &SourceFile, place: u64) -> bool {
    chunk(file, place).is_some_and(|(name, size)| {
        name.iter().all(|byte| matches!(byte, b' '..=b'~')) && place + 8 + u64::from(size) <= file.size()
    })
}

fn chunk(file: &SourceFile, place: u64) -> Option<([u8; 4], u32)> {
    let [name @ .., s0, s1, s2, s3] = bytes::<8>(file, place)?;
    Some((name, u32::from_le_bytes([s0, s1, s2, s3])))
}

fn bytes<const COUNT: usize>(file: &SourceFile, place: u64) -> Option<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    file.file().read_exact_at(&mut bytes, place).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn without_end(size: u32, behind: &[u8]) -> bool {
        let format = [&b"fmt \x10\0\0\0"[..], &[0; 16]].concat();
        let start = [&b"RIFF\x24\0\0\0WAVE"[..], &format, b"data", &size.to_le_bytes()].concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&start, behind].concat()).unwrap();
        let found = sizes_without_end(&SourceFile::of(file).unwrap(), 0);
        assert!(found.is_empty() || found == [4, 40]);
        !found.is_empty()
    }

    /// The sound behind such sizes was left out, or the file was rejected as cut short.
    #[test]
    fn sizes_of_pipes_are_none() {
        for size in [0, 0x7FFF_F000, 0x7FFF_EFFF, 0x7FFF_FFFF, 0x8000_0000, u32::MAX, u32::MAX - 36] {
            assert!(without_end(size, &[7; 100]), "{size:x}");
        }
        for size in [1, 100, 101, 0x7000_0000, 0x8000_0001, 0xF000_0000] {
            assert!(!without_end(size, &[7; 100]), "{size:x}");
        }
    }

    #[test]
    fn a_file_without_sound_has_none() {
        assert!(!without_end(0, b""));
        assert!(!without_end(0, b"LIST\x04\0\0\0INFO"));
        assert!(without_end(0, b"LIST\xFF\xFF\0\0INFO"));
    }
}
