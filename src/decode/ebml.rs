//! Elements of EBML, the form of Matroska and WebM: an identifier, the length of the content, and that.
//!
//! Sources: RFC 8794, sections 4 to 6; RFC 9559.

use std::fs::File;
use std::os::unix::fs::FileExt;

pub const EBML: u64 = 0x1A45_DFA3;
const SEGMENT: u64 = 0x1853_8067;
pub const CLUSTER: u64 = 0x1F43_B675;
pub const TRACKS: u64 = 0x1654_AE6B;
/// What lies within a segment: seek head, information, tracks, chapters, clusters, cues, attachments, tags; padding; a checksum.
pub const WITHIN_SEGMENT: [u64; 10] =
    [0x114D_9B74, 0x1549_A966, TRACKS, 0x1043_A770, CLUSTER, 0x1C53_BB6B, 0x1941_A469, 0x1254_C367, 0xEC, 0xBF];
/// An identifier of four bytes and a length of eight.
const HEAD_BYTES: usize = 12;

/// An element of a file.
#[derive(Debug, Clone, Copy)]
pub struct Element {
    pub identifier: u64,
    /// Where its content begins.
    pub begin: u64,
    /// Where it ends, where that is told.
    pub end: Option<u64>,
}

/// The element that holds all of a Matroska or WebM file. `None`: it is no such file.
pub fn segment(file: &File) -> Option<Element> {
    segment_at(file, 0)
}

/// The same of one that begins at this place.
pub fn segment_at(file: &File, position: u64) -> Option<Element> {
    let first = element(file, position).filter(|element| element.identifier == EBML)?;
    element(file, first.end?).filter(|element| element.identifier == SEGMENT)
}

/// The element that begins at this place, if there is one.
pub fn element(file: &File, position: u64) -> Option<Element> {
    let mut head = [0; HEAD_BYTES];
    let mut there = 0;
    // Less than a whole head at the end of the file.
    while there < HEAD_BYTES
        && let Ok(read @ 1..) = file.read_at(head.get_mut(there..)?, position.checked_add(there as u64)?)
    {
        there += read;
    }
    let (identifier, identifier_bytes) = number(&head, 4, false)?;
    let (length, length_bytes) = number(head.get(identifier_bytes..)?, 8, true)?;
    let begin = position.checked_add((identifier_bytes + length_bytes) as u64)?;
    // All bits set: unknown.
    let is_known = length != (1 << (7 * length_bytes)) - 1;
    let end = if is_known { Some(begin.checked_add(length)?) } else { None };
    Some(Element { identifier, begin, end })
}

/// A number of variable length: as many bytes as the first has zeros before its first one, and one more. `is_bare`: without
/// that one. Also how many bytes it takes.
fn number(bytes: &[u8], bytes_max: usize, is_bare: bool) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    let all = bytes.get(..length).filter(|_| length <= bytes_max)?;
    let value = all.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let marker = 1 << (7 * length);
    Some((if is_bare { value & !marker } else { value }, length))
}

/// The number of the track that a block is of, with which its content begins.
pub fn track_of(file: &File, block: &Element) -> Option<u64> {
    let mut bytes = [0; 8];
    let length = usize::try_from(block.end?.checked_sub(block.begin)?).unwrap_or(usize::MAX).min(bytes.len());
    let bytes = bytes.get_mut(..length)?;
    file.read_exact_at(bytes, block.begin).ok()?;
    number(bytes, 8, true).map(|(number, _)| number)
}

/// The number that an element holds: its bytes, the highest first.
pub fn unsigned(file: &File, element: &Element) -> Option<u64> {
    let mut bytes = [0; 8];
    let length = usize::try_from(element.end?.checked_sub(element.begin)?).ok()?;
    file.read_exact_at(bytes.get_mut(8_usize.checked_sub(length)?..)?, element.begin).ok()?;
    Some(u64::from_be_bytes(bytes))
}
