//! How long a Matroska or WebM file should be. FFmpeg takes the end of such a file, wherever it is, for the end of the video; one
//! whose copy was broken off would be a shorter video.
//!
//! Elements of Matroska: RFC 9559, section 5.1.

use std::fs::File;

use npy_ingest::decode::ebml::{WITHIN_SEGMENT, element, segment};

/// A recorder that was stopped leaves the length of the whole open, and one element for some seconds behind the other.
const ELEMENTS_MAX: u32 = 1 << 20;

/// Where the file ends by what it says. `None`: it says nothing, or is no such file. `bytes`: how long it is. `alive` is called now and
/// then.
pub fn announced_bytes(file: &File, bytes: u64, mut alive: impl FnMut()) -> Option<u64> {
    let segment = segment(file)?;
    if segment.end.is_some() {
        return segment.end;
    }
    let mut position = segment.begin;
    for number in 0..ELEMENTS_MAX {
        if position >= bytes {
            return Some(position);
        }
        if number % 64 == 0 {
            alive();
        }
        // Anything else is no element: what a recorder has set aside, or another program put there.
        position = element(file, position).filter(|element| WITHIN_SEGMENT.contains(&element.identifier))?.end?;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn announced(bytes: &[u8]) -> Option<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        announced_bytes(&file, bytes.len() as u64, || ())
    }

    const HEADER: &[u8] = &[0x1A, 0x45, 0xDF, 0xA3, 0x82, 0xEC, 0x80];

    #[test]
    fn a_segment_tells_its_length_in_one_to_eight_bytes() {
        let file = |length: &[u8]| [HEADER, &[0x18, 0x53, 0x80, 0x67], length, &[0; 40]].concat();
        assert_eq!(announced(&file(&[0x90])), Some(7 + 5 + 16));
        assert_eq!(announced(&file(&[0x50, 0x01])), Some(7 + 6 + 0x1001));
        assert_eq!(announced(&file(&[0x01, 0, 0, 0, 0, 0x10, 0, 0])), Some(7 + 12 + (1 << 20)));
    }

    #[test]
    fn without_it_the_elements_within_tell() {
        for unknown in [&[0xFF][..], &[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]] {
            let begin = [HEADER, &[0x18, 0x53, 0x80, 0x67], unknown].concat();
            let whole = [&begin[..], &[0xEC, 0x83, 1, 2, 3], &[0x1F, 0x43, 0xB6, 0x75, 0x84, 1, 2, 3, 4]].concat();
            assert_eq!(announced(&whole), Some(whole.len() as u64));
            assert_eq!(announced(&whole[..whole.len() - 2]), Some(whole.len() as u64));
            // Within the head of an element, and where that does not tell either.
            assert_eq!(announced(&whole[..begin.len() + 8]), None);
            assert_eq!(announced(&[&begin[..], &[0x1F, 0x43, 0xB6, 0x75, 0xFF, 1, 2, 3]].concat()), None);
            // What is no element behind the last one.
            assert_eq!(announced(&[&whole[..], b"some text"].concat()), None);
        }
    }

    #[test]
    fn other_files_tell_nothing() {
        for bytes in [&b""[..], b"\0\0\0\x20ftypisom\0\0\0\0\0\0\0\0", &HEADER[..5], HEADER, &[0; 20]] {
            assert_eq!(announced(bytes), None, "{bytes:?}");
        }
    }
}
