//! What the library of containers does not look at in a Matroska or WebM file: which tracks it calls its default ones (all that do not
//! say otherwise), which are packed, and whether its elements stand one behind the other, up to its end. The library passes over an
//! element whose length is damaged, and over all that it holds.
//!
//! Sources: RFC 9559, sections 5.1.3, 5.1.4.1 and 5.1.4.1.31; RFC 8794, section 6.2, for elements that do not tell their length.

use crate::decode::ebml::{
    CLUSTER, EBML, Element, TRACKS, WITHIN_SEGMENT, element, segment, segment_at, track_of, unsigned,
};
use crate::decode::{About, DecodeError, SourceFile};

const TRACK: u64 = 0xAE;
const NUMBER: u64 = 0xD7;
const KIND: u64 = 0x83;
const IS_DEFAULT: u64 = 0x88;
/// How its packets are compressed or encrypted.
const ENCODINGS: u64 = 0x6D80;
const SIMPLE_BLOCK: u64 = 0xA3;
const BLOCK_GROUP: u64 = 0xA0;
const BLOCK: u64 = 0xA1;
/// Within a cluster: its time, those that are silent, its position, the last one's size, blocks; padding; a checksum.
const WITHIN_CLUSTER: [u64; 9] = [0xE7, 0x5854, 0xA7, 0xAB, SIMPLE_BLOCK, BLOCK_GROUP, 0xAF, 0xEC, 0xBF];
/// Within a group: a block, what is added to it, its length, which others it needs, what decoders need, what is cut off it, slices.
const WITHIN_GROUP: [u64; 13] = [BLOCK, 0xA2, 0x75A1, 0x9B, 0xFA, 0xFB, 0xFD, 0xA4, 0x75A2, 0x8E, 0xC8, 0xEC, 0xBF];
/// Elements that are looked at in one file, to find its tracks and in all.
const ELEMENTS_MAX: usize = 1 << 16;
const ALL_ELEMENTS_MAX: usize = 1 << 24;
/// One of less may be cut short within its head.
const HEAD_BYTES: u64 = 12;

/// How the elements of a file stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// One behind the other: up to the end that it tells, or to where the file is cut off. Also of files that are none of these.
    Told,
    /// One behind the other up to the end of the file, of which nothing tells where it is.
    Open,
    /// Here stands none that may stand here.
    Broken(u64),
    /// Here another file begins.
    Another(u64),
    /// Here a third one begins.
    Many(u64),
}

/// What a track says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) number: u64,
    is_sound: bool,
    is_default: bool,
    /// Its packets are not what the codec gave: they are compressed, lack their first bytes, or are encrypted.
    pub(super) is_packed: bool,
}

/// An element whose content is looked at.
struct Within {
    /// What it may hold.
    holds: &'static [u64],
    /// Where it ends, where that is told.
    end: Option<u64>,
}

/// How the elements of a file stand.
///
/// # Errors
/// The rows are not wanted any more.
pub(super) fn order(file: &SourceFile, about: About<'_>) -> Result<Order, DecodeError> {
    let Some(found) = segment(file.file()) else { return Ok(Order::Told) };
    let numbers: Vec<u64> = tracks(file).into_iter().map(|track| track.number).collect();
    let first = order_within(file, found, &numbers, about)?;
    let Order::Another(place) = first else { return Ok(first) };
    let Some(found) = segment_at(file.file(), place) else { return Ok(first) };
    match order_within(file, found, &[], about)? {
        Order::Another(place) => Ok(Order::Many(place)),
        _ => Ok(first),
    }
}

/// The same of one segment. `numbers`: those of its tracks, where they are known.
fn order_within(file: &SourceFile, found: Element, numbers: &[u64], about: About<'_>) -> Result<Order, DecodeError> {
    const BETWEEN: usize = 1024;
    let mut place = found.begin;
    let mut open = vec![Within { holds: &WITHIN_SEGMENT, end: found.end }];
    for count in 0..ALL_ELEMENTS_MAX {
        if count % BETWEEN == 0 && about.is_interrupted() {
            return Err(DecodeError::Interrupted);
        }
        while open.pop_if(|within| within.end == Some(place)).is_some() {}
        let Some(within) = open.last() else {
            // Another file may follow; anything else is passed over.
            return Ok(if begins_file(file, place) { Order::Another(place) } else { Order::Told });
        };
        if place >= file.size() {
            let is_open = place == file.size() && open.iter().all(|within| within.end.is_none());
            return Ok(if is_open { Order::Open } else { Order::Told });
        }
        let limit = open.iter().rev().find_map(|within| within.end).unwrap_or(u64::MAX);
        let fits = |found: &Element| found.begin <= limit && found.end.is_none_or(|end| end <= limit);
        let found = element(file.file(), place).filter(fits);
        let Some(found) = found.filter(|found| within.holds.contains(&found.identifier)) else {
            // An element that tells no length ends where something begins that it does not hold.
            if within.end.is_none() && open.len() > 1 {
                open.pop();
                continue;
            }
            let is_cut = limit > file.size() && file.size() - place < HEAD_BYTES;
            return Ok(match begins_file(file, place) {
                _ if is_cut => Order::Told,
                true if open.len() == 1 => Order::Another(place),
                _ => Order::Broken(place),
            });
        };
        match (found.identifier, found.end) {
            (CLUSTER, end) => open.push(Within { holds: &WITHIN_CLUSTER, end }),
            (BLOCK_GROUP, Some(_)) => open.push(Within { holds: &WITHIN_GROUP, end: found.end }),
            (SIMPLE_BLOCK | BLOCK, Some(end)) if end <= file.size() => {
                let is_known =
                    numbers.is_empty() || track_of(file.file(), &found).is_some_and(|number| numbers.contains(&number));
                if !is_known {
                    return Ok(Order::Broken(place));
                }
            }
            (_, Some(_)) => {}
            (_, None) => return Ok(Order::Broken(place)),
        }
        place = match found.identifier {
            CLUSTER | BLOCK_GROUP => found.begin,
            _ => found.end.unwrap_or(u64::MAX),
        };
    }
    Ok(Order::Broken(place))
}

/// Where the segment ends, if the file goes on behind it.
pub(super) fn end_of(file: &SourceFile) -> Option<u64> {
    segment(file.file())?.end.filter(|end| *end < file.size())
}

fn begins_file(file: &SourceFile, place: u64) -> bool {
    element(file.file(), place).is_some_and(|found| found.identifier == EBML)
}

/// The first sound track that is not called other than default, else the first. Damage is left to those who decode.
pub(super) fn default_sound(file: &SourceFile) -> Option<Track> {
    let mut sounds = tracks(file);
    sounds.retain(|track| track.is_sound);
    sounds.iter().find(|track| track.is_default).or(sounds.first()).copied()
}

fn tracks(file: &SourceFile) -> Vec<Track> {
    const SOUND: u64 = 2;
    let mut left = ELEMENTS_MAX;
    let mut within = |around: Element| elements(file, around, &mut left);
    let Some(segment) = segment(file.file()) else { return Vec::new() };
    let segment = Element { end: segment.end.or(Some(file.size())), ..segment };
    let Some(tracks) = within(segment).into_iter().find(|found| found.identifier == TRACKS) else { return Vec::new() };
    let tracks = within(tracks).into_iter().filter(|found| found.identifier == TRACK);
    let described = |track: Element| {
        let about = within(track);
        let find = |identifier| about.iter().find(|found| found.identifier == identifier);
        let value = |identifier| unsigned(file.file(), find(identifier)?);
        Some(Track {
            number: value(NUMBER)?,
            is_sound: value(KIND) == Some(SOUND),
            is_default: value(IS_DEFAULT) != Some(0),
            is_packed: find(ENCODINGS).is_some(),
        })
    };
    tracks.filter_map(described).collect()
}

/// The elements within one, up to what is none; in a segment up to its tracks.
fn elements(file: &SourceFile, around: Element, left: &mut usize) -> Vec<Element> {
    let mut found: Vec<Element> = Vec::new();
    let mut place = around.begin;
    while around.end.is_some_and(|end| place < end) && found.last().is_none_or(|last| last.identifier != TRACKS) {
        let Some(next) = left.checked_sub(1).zip(element(file.file(), place)) else { break };
        *left = next.0;
        found.push(next.1);
        let Some(end) = next.1.end else { break };
        place = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const HEADER: [u8; 7] = [0x1A, 0x45, 0xDF, 0xA3, 0x82, 0xEC, 0x80];

    fn sized(identifier: &[u8], content: &[u8]) -> Vec<u8> {
        [identifier, &[0x40 | (content.len() >> 8) as u8, content.len() as u8], content].concat()
    }

    fn source(bytes: &[u8]) -> SourceFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        SourceFile::of(file).unwrap()
    }

    fn order_of(bytes: &[u8]) -> Order {
        let about = About {
            path: std::path::Path::new(""),
            extension: None,
            interrupted: &std::sync::atomic::AtomicBool::new(false),
        };
        order(&source(bytes), about).unwrap()
    }

    /// A segment with a track, and two clusters with a block and a group each.
    fn content(cluster: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let tracks = sized(&[0x16, 0x54, 0xAE, 0x6B], &sized(&[0xAE], &[0xD7, 0x81, 1]));
        let block = sized(&[0xA3], &[0x81, 0, 0, 0x80, 1, 2, 3]);
        let group = sized(&[0xA0], &[sized(&[0xA1], &[0x81, 0, 0, 0, 9]), vec![0x9B, 0x81, 5]].concat());
        let clusters = cluster(&[&[0xE7, 0x81, 0][..], &block, &group].concat()).repeat(2);
        [tracks, clusters].concat()
    }

    fn cluster(content: &[u8]) -> Vec<u8> {
        sized(&[0x1F, 0x43, 0xB6, 0x75], content)
    }

    fn open_cluster(content: &[u8]) -> Vec<u8> {
        [&[0x1F, 0x43, 0xB6, 0x75, 0xFF][..], content].concat()
    }

    /// Blocks were lost in silence, and what followed came too early.
    #[test]
    fn elements_stand_one_behind_the_other() {
        let whole = [&HEADER[..], &sized(&[0x18, 0x53, 0x80, 0x67], &content(cluster))].concat();
        assert_eq!(order_of(&whole), Order::Told);
        assert_eq!(order_of(&[&whole[..], b"TAG and so on"].concat()), Order::Told);
        assert_eq!(order_of(&whole.repeat(2)), Order::Another(whole.len() as u64));
        for length in 0..whole.len() {
            assert_eq!(order_of(&whole[..length]), Order::Told, "{length}");
        }
        let begin = whole.len() - 2 * (6 + 3 + 10 + 14);
        let altered = |place: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[begin + place] = byte;
            order_of(&bytes)
        };
        // The name, the length and the track of a block; of the one in a group; the group's and the cluster's length.
        for (place, byte) in
            [(9, 0xA4), (11, 6), (11, 8), (12, 0x82), (21, 3), (24, 4), (24, 6), (25, 0x82), (5, 9), (5, 40)]
        {
            assert!(matches!(altered(place, byte), Order::Broken(_)), "{place} {byte}");
        }
        assert!(matches!(altered(9, 0), Order::Broken(_)));
    }

    /// They were rejected as cut short.
    #[test]
    fn files_of_live_writers_end_with_an_element() {
        let start = [&HEADER[..], &[0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]].concat();
        for clusters in [content(cluster), content(open_cluster)] {
            let whole = [start.clone(), clusters].concat();
            assert_eq!(order_of(&whole), Order::Open);
            assert_eq!(order_of(&[&whole[..], &sized(&[0x1C, 0x53, 0xBB, 0x6B], b"")].concat()), Order::Open);
            for cut in 1..5 {
                assert_eq!(order_of(&whole[..whole.len() - cut]), Order::Told);
            }
            assert!(matches!(order_of(&[&whole[..], &[0; 20]].concat()), Order::Broken(_)));
            assert_eq!(order_of(&whole.repeat(2)), Order::Another(whole.len() as u64));
        }
    }

    fn default_of(tracks: &[&[u8]]) -> Option<(u64, bool)> {
        let tracks: Vec<_> = tracks.iter().map(|track| sized(&[0xAE], track)).collect();
        let tracks = sized(&[0x16, 0x54, 0xAE, 0x6B], &tracks.concat());
        let header = [0x1A, 0x45, 0xDF, 0xA3, 0x82, 0xEC, 0x80, 0x18, 0x53, 0x80, 0x67, 0xFF, 0xEC, 0x83, 1, 2, 3];
        default_sound(&source(&[&header[..], &tracks].concat())).map(|track| (track.number, track.is_packed))
    }

    #[test]
    fn tracks_are_default_unless_they_say_otherwise() {
        let other = [0xD7, 0x81, 1, 0x83, 0x81, 2, 0x88, 0x81, 0];
        assert_eq!(default_of(&[&other, &[0xD7, 0x81, 2, 0x83, 0x81, 2]]), Some((2, false)));
        let default = [0xD7, 0x82, 1, 4, 0x88, 0x81, 1, 0x83, 0x81, 2];
        assert_eq!(default_of(&[&default, &[0x88, 0x81, 0, 0xD7, 0x81, 2, 0x83, 0x81, 2]]), Some((260, false)));
        // Pictures, and sound that is not default.
        assert_eq!(default_of(&[&[0xD7, 0x81, 3, 0x83, 0x81, 1], &other]), Some((1, false)));
        assert_eq!(default_of(&[]), None);
    }

    /// It became noise.
    #[test]
    fn tracks_tell_that_they_are_packed() {
        assert_eq!(default_of(&[&[0xD7, 0x81, 1, 0x83, 0x81, 2, 0x6D, 0x80, 0x80]]), Some((1, true)));
    }
}
