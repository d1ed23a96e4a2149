//! Whether the pages of an Ogg file stand one behind the other. Those who decode them pass over what is none, and over those that are
//! missing, and go on with what follows.
//!
//! Source: RFC 3533, section 6.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use symphonia::core::checksum::Crc32;
use symphonia::core::io::Monitor;

const MARK: &[u8] = b"OggS\0";
/// What stands before the lengths of a page's segments, and how many of those there are at most.
const HEAD_BYTES: usize = 27;
const SEGMENTS_MAX: usize = 255;
/// Where in it the checksum stands, for which those bytes are 0.
const SUM: Range<usize> = 22..26;
/// Flags of a page: the first of its stream, the last.
const IS_FIRST: u8 = 2;
const IS_LAST: u8 = 4;
/// Who listens to a station that has been sending for longer gets the head of its stream, and then pages from where it is.
const FIRST_NUMBERS_MAX: u32 = 64;
/// Streams in one file; in more, nothing is looked for.
const STREAMS_MAX: usize = 1 << 16;
/// With what the first packets of streams begin that have sound, pictures, or neither.
const SOUNDS: [&[u8]; 8] =
    [b"\x01vorbis", b"OpusHead", b"Speex   ", b"\x7FFLAC", b"fLaC", b"CELT    ", b"PCM     ", b"\x01audio"];
const PICTURES: [&[u8]; 5] = [b"\x80theora", b"OVP80", b"BBCD\0", b"\x80daala", b"\x01video"];
const OTHERS: [&[u8]; 5] = [b"fishead\0", b"\x80kate", b"CMML", b"Annodex\0", b"\x01text"];

/// What of the file is decoded: streams that hold something else are not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Sound,
    Pictures,
}

/// Where a page is missing, or is not what it was, or something stands that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub at: u64,
    /// Before anything that is heard or seen.
    pub is_at_start: bool,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "pages of its Ogg are missing or damaged at byte {}", self.at)
    }
}

/// What is known of a stream.
struct Stream {
    is_wanted: bool,
    /// The number of its next page.
    next: u32,
    /// Pages with more than its head have come.
    has_begun: bool,
    has_ended: bool,
}

struct Page {
    flags: u8,
    position: i64,
    stream: u32,
    number: u32,
    /// Where its content begins, and where it ends.
    content: u64,
    end: u64,
}

/// The first loss in an Ogg file of so many bytes that begins here. Not whether its end is there. `goes_on` is asked now and then.
pub fn loss_in(
    file: &File,
    begin: u64,
    bytes: u64,
    content: Content,
    mut goes_on: impl FnMut() -> bool,
) -> Option<Loss> {
    const BETWEEN: u64 = 64;
    page(file, begin)?;
    let mut streams: HashMap<u32, Stream> = HashMap::new();
    let (mut place, mut count, mut is_at_start) = (begin, 0, true);
    while place < bytes && streams.len() < STREAMS_MAX {
        count += 1;
        if count % BETWEEN == 0 && !goes_on() {
            return None;
        }
        let lost = Some(Loss { at: place, is_at_start });
        let Some(page) = page(file, place) else {
            let next = next_mark(file, place + 1, bytes, &mut goes_on)?;
            let begins_anew = self::page(file, next).is_some_and(|page| page.flags & IS_FIRST != 0);
            if !begins_anew || streams.values().any(|stream| stream.is_wanted && !stream.has_ended) {
                return lost;
            }
            place = next;
            continue;
        };
        if page.end > bytes {
            return None;
        }
        if page.flags & IS_FIRST != 0 {
            let is_wanted = is_wanted(file, page.content, content);
            let next = page.number;
            streams.insert(page.stream, Stream { is_wanted, next, has_begun: false, has_ended: false });
        }
        // Of none that has begun.
        let Some(stream) = streams.get_mut(&page.stream) else { return lost };
        if stream.is_wanted && !page.is_as_written(file, place) {
            return lost;
        }
        let is_joined_late = !stream.has_begun && page.number > FIRST_NUMBERS_MAX;
        if stream.is_wanted && page.number != stream.next && !is_joined_late {
            return lost;
        }
        stream.next = page.number.wrapping_add(1);
        stream.has_begun |= page.flags & IS_FIRST == 0 && page.position > 0;
        is_at_start &= !(stream.is_wanted && stream.has_begun);
        stream.has_ended |= page.flags & IS_LAST != 0;
        place = page.end;
    }
    None
}

impl Page {
    /// Whether its checksum is that of its bytes.
    fn is_as_written(&self, file: &File, place: u64) -> bool {
        let mut bytes = vec![0; usize::try_from(self.end - place).unwrap_or(0)];
        if file.read_exact_at(&mut bytes, place).is_err() {
            return false;
        }
        let Some(told) = bytes.get_mut(SUM) else { return false };
        let wanted = told.to_vec();
        told.fill(0);
        let mut sum = Crc32::new(0);
        sum.process_buf_bytes(&bytes);
        sum.crc().to_le_bytes() == *wanted
    }
}

fn is_wanted(file: &File, first_packet: u64, wanted: Content) -> bool {
    let unwanted: &[&[u8]] = if wanted == Content::Sound { &PICTURES } else { &SOUNDS };
    !begins_with(file, first_packet, unwanted) && !begins_with(file, first_packet, &OTHERS)
}

fn begins_with(file: &File, place: u64, marks: &[&[u8]]) -> bool {
    let mut start = [0; 8];
    let read = file.read_at(&mut start, place).unwrap_or(0);
    let start = start.get(..read).unwrap_or_default();
    marks.iter().any(|mark| start.starts_with(mark))
}

/// The numbers of the streams with sound in the order in which they begin in a file of so many bytes, from this place on up to what is
/// no page.
pub fn sounds_in(file: &File, begin: u64, bytes: u64) -> impl Iterator<Item = u32> {
    let mut place = begin;
    std::iter::from_fn(move || {
        loop {
            let page = page(file, place).filter(|page| page.end <= bytes)?;
            place = page.end;
            if page.flags & IS_FIRST != 0 && begins_with(file, page.content, &SOUNDS) {
                return Some(page.stream);
            }
        }
    })
}

/// The page that begins here.
fn page(file: &File, place: u64) -> Option<Page> {
    let mut head = [0; HEAD_BYTES + SEGMENTS_MAX];
    let mut there = 0;
    while there < head.len()
        && let Ok(read @ 1..) = file.read_at(head.get_mut(there..)?, place + there as u64)
    {
        there += read;
    }
    let head = head.get(..there).filter(|head| head.starts_with(MARK))?;
    let segments = usize::from(*head.get(HEAD_BYTES - 1)?);
    let lengths = head.get(HEAD_BYTES..HEAD_BYTES + segments)?;
    let content = place + (HEAD_BYTES + segments) as u64;
    let word = |offset: usize| head.get(offset..offset + 4)?.try_into().ok().map(u32::from_le_bytes);
    Some(Page {
        flags: *head.get(5)?,
        position: head.get(6..14)?.try_into().ok().map(i64::from_le_bytes)?,
        stream: word(14)?,
        number: word(18)?,
        content,
        end: content + lengths.iter().map(|length| u64::from(*length)).sum::<u64>(),
    })
}

/// Where the next page may begin.
fn next_mark(file: &File, from: u64, bytes: u64, goes_on: &mut impl FnMut() -> bool) -> Option<u64> {
    const PIECE_BYTES: u64 = 1 << 16;
    let mut place = from;
    while place < bytes && goes_on() {
        let mut piece = vec![0; usize::try_from(PIECE_BYTES.min(bytes - place)).ok()?];
        file.read_exact_at(&mut piece, place).ok()?;
        if let Some(found) = memchr::memmem::find(&piece, MARK) {
            return Some(place + found as u64);
        }
        // One may stand at the end of this piece and go on in the next.
        place += (piece.len() as u64).saturating_sub(MARK.len() as u64 - 1).max(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn loss(parts: &[Vec<u8>]) -> Option<Loss> {
        let bytes = parts.concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        loss_in(&file, 0, bytes.len() as u64, Content::Sound, || true)
    }

    fn page(flags: u8, position: i64, stream: u32, number: u32, content: &[u8]) -> Vec<u8> {
        let numbers = [stream.to_le_bytes(), number.to_le_bytes(), [0; 4]].concat();
        let mut page =
            [&b"OggS\0"[..], &[flags], &position.to_le_bytes(), &numbers, &[1, content.len() as u8], content].concat();
        let mut sum = Crc32::new(0);
        sum.process_buf_bytes(&page);
        page[SUM].copy_from_slice(&sum.crc().to_le_bytes());
        page
    }

    /// A head of two pages, and three with sound.
    fn stream(stream: u32) -> Vec<Vec<u8>> {
        vec![
            page(IS_FIRST, 0, stream, 0, b"OpusHead"),
            page(0, 0, stream, 1, b"OpusTags"),
            page(0, 960, stream, 2, b"a page with OggS in it"),
            page(0, 1920, stream, 3, b"two"),
            page(IS_LAST, 2880, stream, 4, b"three"),
        ]
    }

    /// A second of sound was lost without a word.
    #[test]
    fn pages_follow_one_another() {
        let whole = stream(7);
        assert_eq!(loss(&whole), None);
        let begins: Vec<u64> = (0..whole.len()).map(|number| whole[..number].concat().len() as u64).collect();
        for number in 0..4 {
            let mut lost = whole.clone();
            lost.remove(number);
            let expected = Loss { at: begins[number], is_at_start: number < 3 };
            assert_eq!(loss(&lost), Some(expected), "{number}");
            for byte in [0, 4, 14, 18, 30] {
                let mut other = whole.clone();
                other[number][byte] ^= 8;
                let found = loss(&other).filter(|found| found.at >= expected.at);
                // A stream of another number may begin the file: what follows is of none then.
                assert!(found.is_some() || number == 0, "{number} {byte}");
            }
        }
        // Whether its end is there is asked elsewhere.
        assert_eq!(loss(&whole[..4]), None);
    }

    #[test]
    fn streams_may_stand_beside_and_behind_one_another() {
        let (first, second) = (stream(7), stream(8));
        assert_eq!(loss(&[first.clone(), second.clone()].concat()), None);
        assert_eq!(loss(&[first.clone(), first.clone()].concat()), None);
        let beside: Vec<_> = first.iter().zip(&second).flat_map(|(one, other)| [one.clone(), other.clone()]).collect();
        assert_eq!(loss(&beside), None);
        let tag = vec![[&b"TAG"[..], &[0; 125]].concat()];
        assert_eq!(loss(&[first.clone(), tag.clone(), second.clone()].concat()), None);
        assert_eq!(loss(&[first.clone(), tag.clone()].concat()), None);
        assert!(loss(&[first[..4].to_vec(), tag.clone(), second.clone()].concat()).is_some());
        assert!(loss(&[first[..3].to_vec(), tag, first[3..].to_vec()].concat()).is_some());
        // Pictures beside it lack one.
        let mut pictures = stream(9);
        pictures[0] = page(IS_FIRST, 0, 9, 0, b"\x80theora");
        pictures.remove(2);
        assert_eq!(loss(&[pictures, first].concat()), None);
    }

    #[test]
    fn a_recording_of_a_station_may_begin_in_its_middle() {
        let recording = |number| [stream(7)[..2].to_vec(), vec![page(IS_LAST, 9999, 7, number, b"on")]].concat();
        assert_eq!(loss(&recording(70_000)), None);
        assert!(loss(&recording(5)).is_some());
    }

    #[test]
    fn sounds_are_told_in_their_order() {
        let mut pictures = stream(9);
        pictures[0] = page(IS_FIRST, 0, 9, 0, b"\x80theora");
        let bytes = [pictures, stream(8), stream(7)].concat().concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        assert_eq!(sounds_in(&file, 0, bytes.len() as u64).collect::<Vec<_>>(), [8, 7]);
        assert_eq!(sounds_in(&file, 1, bytes.len() as u64).next(), None);
    }

    #[test]
    fn other_files_have_no_pages() {
        assert_eq!(loss(&[b"RIFF and so on".to_vec()]), None);
        assert_eq!(loss(&[b"OggS".to_vec()]), None);
        assert_eq!(loss(&[Vec::new()]), None);
    }
}
