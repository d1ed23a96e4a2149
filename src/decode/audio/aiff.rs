//! AIFF files that say less of their sound than they hold: the library would leave the rest out, or make noise of it.
//!
//! Source: AIFF 1.3 and AIFF-C. Numbers are big-endian, chunks filled up to even numbers.

use super::super::{DecodeError, SourceFile};
use super::input::{behind_tags, bytes};
use super::{names, rejected};

/// Chunks that are looked at.
const CHUNKS_MAX: usize = 4096;
/// Kinds of AIFF-C without compression: integers, floating point.
const PLAIN: [[u8; 4]; 9] = [*b"NONE", *b"twos", *b"sowt", *b"in24", *b"in32", *b"fl32", *b"FL32", *b"fl64", *b"FL64"];

/// Refuses what holds another number of bytes than goes with its samples, channels and bits. Where the file ends before, it is cut
/// short, which is told elsewhere.
pub(super) fn check(file: &SourceFile) -> Result<(), DecodeError> {
    let Some((wanted, held)) = sizes(file) else { return Ok(()) };
    if held != wanted {
        return Err(rejected(format!(
            "its header says {wanted} bytes of sound, its chunk of sound holds {held}: {}",
            names::CONVERT
        )));
    }
    Ok(())
}

/// Bytes of sound by the numbers in the header, and those that there are. `None`: it is no such file, or does not say them.
fn sizes(file: &SourceFile) -> Option<(u64, u64)> {
    let begin = behind_tags(file);
    let [b'F', b'O', b'R', b'M', _, _, _, _, form @ ..] = bytes::<12>(file, begin)? else { return None };
    if ![*b"AIFF", *b"AIFC"].contains(&form) {
        return None;
    }
    let (mut place, mut wanted, mut held) = (begin + 12, None, None);
    for _ in 0..CHUNKS_MAX {
        let Some([name @ .., s0, s1, s2, s3]) = bytes::<8>(file, place) else { break };
        let (from, size) = (place + 8, u64::from(u32::from_be_bytes([s0, s1, s2, s3])));
        match &name {
            b"COMM" => {
                let [c0, c1, frames @ .., b0, b1] = bytes::<8>(file, from)?;
                if form == *b"AIFC" && !PLAIN.contains(&bytes(file, from + 18)?) {
                    return None;
                }
                let [channels, bits] = [[c0, c1], [b0, b1]].map(u16::from_be_bytes).map(u64::from);
                let frame = channels * bits.div_ceil(8);
                // None at all went into a pipe; bits of floating point are told by its kind.
                let is_told = frames != [0; 4] && (bits > 0 || form == *b"AIFF");
                wanted = Some((u64::from(u32::from_be_bytes(frames)) * frame, frame)).filter(|_| is_told);
            }
            b"SSND" => {
                let [offset, block] = [from, from + 4].map(|place| bytes(file, place).map(u32::from_be_bytes));
                let is_there = from + size <= file.size();
                held = Some((size.checked_sub(8 + u64::from(offset?))?, u64::from(block?))).filter(|_| is_there);
            }
            _ => {}
        }
        place = from + size.next_multiple_of(2);
    }
    let ((wanted, frame), (held, block)) = (wanted?, held?);
    // What fills up the last block, or is no whole frame.
    let surplus = frame.max(8).max(block);
    Some((wanted, if (wanted..wanted + surplus).contains(&held) { wanted } else { held }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn checked(form: &[u8; 4], kind: &[u8], channels: u16, frames: u32, bits: u16, held: usize) -> Result<(), String> {
        let chunk =
            |name: &[u8; 4], content: &[u8]| [name, &(content.len() as u32).to_be_bytes()[..], content].concat();
        let about = [&channels.to_be_bytes()[..], &frames.to_be_bytes(), &bits.to_be_bytes(), &[0; 10], kind].concat();
        let chunks = [chunk(b"COMM", &about), chunk(b"SSND", &vec![0; 8 + held])].concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&b"FORM\0\0\0\0"[..], form, &chunks].concat()).unwrap();
        check(&SourceFile::of(file).unwrap()).map_err(|error| error.to_string())
    }

    /// The rest of the sound was left out, or noise was made of it.
    #[test]
    fn a_header_says_all_that_is_held() {
        assert_eq!(checked(b"AIFF", b"", 1, 100, 16, 200), Ok(()));
        assert_eq!(checked(b"AIFC", b"sowt", 2, 100, 24, 600), Ok(()));
        // Filled up; compressed; into a pipe.
        assert_eq!(checked(b"AIFF", b"", 2, 100, 24, 604), Ok(()));
        assert_eq!(checked(b"AIFC", b"ima4", 1, 1, 16, 3400), Ok(()));
        assert_eq!(checked(b"AIFF", b"", 1, 0, 16, 200), Ok(()));
        for (channels, frames, bits) in [(1, 90, 16), (1, 100, 8), (1, 100, 24), (3, 100, 16), (1, 100, 0)] {
            assert!(checked(b"AIFF", b"", channels, frames, bits, 200).unwrap_err().contains("holds 200"));
        }
    }
}
