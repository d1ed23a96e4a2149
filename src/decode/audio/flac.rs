//! Where the frames of a FLAC file lie: behind what describes them, and in front of tags of other formats, which players pass over.
//! The library takes the latter for the rest of the last frame, and drops both. And their checksums, which it asks in such files only.
//!
//! Source: RFC 9639, sections 8.1, 8.2 and 9.3.

use std::ops::Range;

use symphonia::core::checksum::Crc16Ansi;
use symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};
use symphonia::core::io::Monitor;

use super::super::SourceFile;
use super::input::{before_tags, bytes};

/// Blocks of metadata that are looked at.
const BLOCKS_MAX: usize = 1 << 16;
const IS_LAST: u8 = 0x80;

/// Where the frames stand in a FLAC file that begins here. `None`: it is none.
pub(super) fn frames_in(file: &SourceFile, begin: u64) -> Option<Range<u64>> {
    let mut place = begin + 4;
    if bytes(file, begin)? != *b"fLaC" {
        return None;
    }
    for _ in 0..BLOCKS_MAX {
        let [kind, length @ ..] = bytes::<4>(file, place)?;
        place += 4 + length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        if kind & IS_LAST != 0 {
            let end = before_tags(file, place);
            return (place < end).then_some(place..end);
        }
    }
    None
}

/// Samples of a channel by what describes the stream, 0 where that was not known. `None`: it is no FLAC.
pub(super) fn samples_in(parameters: &AudioCodecParameters) -> Option<u64> {
    const BITS: u32 = 36;
    let described = parameters.extra_data.as_deref().filter(|_| parameters.codec == CODEC_ID_FLAC)?;
    let word = described.get(10..18)?.first_chunk().copied().map(u64::from_be_bytes)?;
    Some(word & ((1 << BITS) - 1))
}

/// Whether the checksum of a frame is not that of its bytes: the last two are the CRC-16 of all others, so that that of all is 0. Only
/// of packets of FLAC.
pub(super) fn is_altered(codec: AudioCodecId, frame: &[u8]) -> bool {
    if codec != CODEC_ID_FLAC {
        return false;
    }
    let mut sum = Crc16Ansi::new(0);
    sum.process_buf_bytes(frame);
    sum.crc() != 0
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn frames_stand_between_metadata_and_tags() {
        let frames = |begin: u64, parts: &[&[u8]]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&parts.concat()).unwrap();
            frames_in(&SourceFile::of(file).unwrap(), begin)
        };
        let start = b"fLaC\0\0\0\x02ab\x84\0\0\x03abc";
        let tag = [&b"TAG"[..], &[0; 125]].concat();
        assert_eq!(frames(0, &[start, b"sound"]), Some(17..22));
        assert_eq!(frames(3, &[b"ID3", start, b"sound", &tag]), Some(20..25));
        assert_eq!(frames(0, &[start]), None);
        assert_eq!(frames(0, &[b"fLaC\0\0\0\x02ab"]), None);
        assert_eq!(frames(0, &[b"RIFF", b"sound"]), None);
    }
}
