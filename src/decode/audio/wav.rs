//! WAV files that the library takes for others than they are. Numbers that begin with their high byte (RIFX), or that fill only a
//! part of their bytes, become noise: those are rejected. The sizes in a file that went into a pipe: who wrote it did not know its
//! length when it began, and the sound goes to the end of the file. The library knows 2^32 - 1 for that, and there is more: 0, what SoX
//! writes and what arecord does, both about 2 GiB.
//!
//! Source: Multimedia Programming Interface and Data Specifications 1.0, RIFF; sizes are little-endian, chunks filled up to
//! even numbers.

use std::ops::RangeInclusive;

use super::super::{DecodeError, SourceFile};
use super::input::{behind_tags, bytes};
use super::{names, rejected};

/// Kinds of sound without compression: integers, floating point.
const PLAIN: [u16; 2] = [1, 3];
/// The kind is described further on.
const DESCRIBED: u16 = 0xFFFE;
/// Chunks that are looked at.
const CHUNKS_MAX: usize = 4096;
/// Sizes that stand for none, where the file is shorter: the largest that is possible, signed or not, less a header or what is
/// no whole block.
const PLACEHOLDERS: [RangeInclusive<u32>; 2] = [0x7FFF_0000..=0x8000_0000, 0xFFFF_0000..=u32::MAX];

/// Refuses what would become noise.
pub(super) fn check(file: &SourceFile) -> Result<(), DecodeError> {
    const CONVERT: &str = "convert it, for example: sox IN.wav OUT.flac";
    let begin = behind_tags(file);
    if bytes::<12>(file, begin).is_some_and(|start| start.starts_with(b"RIFX") && start.ends_with(b"WAVE")) {
        return Err(rejected(format!(
            "a WAV file whose numbers begin with their high byte (RIFX), expected those of RIFF: {CONVERT}"
        )));
    }
    let Some((place, bytes_of_format)) = chunk_of(file, begin, b"fmt ") else { return Ok(()) };
    let place = place + 8;
    let Some([k0, k1, c0, c1, r @ .., a0, a1, b0, b1]) = bytes::<16>(file, place) else { return Ok(()) };
    let [mut kind, channels, align, bits] = [[k0, k1], [c0, c1], [a0, a1], [b0, b1]].map(u16::from_le_bytes);
    if kind == DESCRIBED
        && bytes_of_format >= 26
        && let Some(described) = bytes(file, place + 24)
    {
        kind = u16::from_le_bytes(described);
    }
    let (wanted, found) = (u32::from(bits).div_ceil(8) * u32::from(channels), u32::from(align));
    let [rate, a_second] = r.as_chunks().0 else { return Ok(()) };
    let [rate, a_second] = [rate, a_second].map(|word| u32::from_le_bytes(*word));
    // Where one of both is wrong, the bytes a second tell which.
    let is_less = found < wanted && found > 0 && u64::from(a_second) != u64::from(rate) * u64::from(wanted);
    if PLAIN.contains(&kind) && bits > 0 && (found > wanted || is_less) {
        return Err(rejected(format!(
            "its header says {bits} bits a number and {found} bytes for {}, expected {wanted}: {CONVERT}",
            names::channels(channels.into())
        )));
    }
    Ok(())
}

/// Where the sizes of the file and of its sound stand, in bytes, if that of the sound is none: the file's and the sound's. The sound goes to the
/// end of the file then, wherever that is.
pub(super) fn sizes_without_end(file: &SourceFile, begin: u64) -> Vec<u64> {
    data_without_end(file, begin).map_or_else(Vec::new, |data| vec![begin + 4, data + 4])
}

/// Whether a size may stand for none, where the file is shorter.
pub fn stands_for_none(size: u32) -> bool {
    PLACEHOLDERS.iter().any(|sizes| sizes.contains(&size))
}

/// Where the chunk with the sound is, if its size is none.
fn data_without_end(file: &SourceFile, begin: u64) -> Option<u64> {
    let (place, size) = chunk_of(file, begin, b"data")?;
    let from = place + 8;
    let is_longer = from + u64::from(size) > file.size();
    let is_none = match size {
        0 => from < file.size() && !has_chunk(file, from),
        u32::MAX => true,
        size => is_longer && stands_for_none(size),
    };
    is_none.then_some(place)
}

/// Where the first chunk of this name stands in a WAV file that begins here, and its size.
fn chunk_of(file: &SourceFile, begin: u64, wanted: &[u8; 4]) -> Option<(u64, u32)> {
    let start: [u8; 12] = bytes(file, begin)?;
    if !start.starts_with(b"RIFF") || !start.ends_with(b"WAVE") {
        return None;
    }
    let mut place = begin + 12;
    for _ in 0..CHUNKS_MAX {
        let (name, size) = chunk(file, place)?;
        if &name == wanted {
            return Some((place, size));
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

    /// They became noise.
    #[test]
    fn numbers_fill_their_bytes() {
        let checked = |name: &[u8; 4], kind: u16, align: u16, bits: u16| {
            let about =
                [&kind.to_le_bytes()[..], &2_u16.to_le_bytes(), &[0; 8], &align.to_le_bytes(), &bits.to_le_bytes()];
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[&name[..], &[0; 4], b"WAVEfmt \x10\0\0\0", &about.concat(), b"data\0\0\0\0"].concat())
                .unwrap();
            check(&SourceFile::of(file).unwrap()).map_err(|error| error.to_string())
        };
        for (kind, align, bits) in
            [(1, 4, 16), (1, 6, 24), (1, 6, 20), (1, 0, 16), (3, 8, 32), (0xFFFE, 8, 32), (17, 1024, 4)]
        {
            assert_eq!(checked(b"RIFF", kind, align, bits), Ok(()), "{kind} {align} {bits}");
        }
        let reason = checked(b"RIFF", 1, 8, 24).unwrap_err();
        assert!(
            reason.starts_with("its header says 24 bits a number and 8 bytes for 2 channels, expected 6"),
            "{reason}"
        );
        assert!(checked(b"RIFX", 1, 4, 16).unwrap_err().contains("RIFX"));
    }

    #[test]
    fn a_file_without_sound_has_none() {
        assert!(!without_end(0, b""));
        assert!(!without_end(0, b"LIST\x04\0\0\0INFO"));
        assert!(without_end(0, b"LIST\xFF\xFF\0\0INFO"));
    }
}
