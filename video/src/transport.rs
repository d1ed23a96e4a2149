//! The packets of an MPEG transport stream, by their numbers: whether some are missing, and where a recording begins anew, as where files
//! were put behind each other. There the numbers jump as well; but nothing is lost.
//!
//! Source: ISO/IEC 13818-1, 2.4.3.2 (packets: a mark, the number of their stream, a counter of four bits), 2.4.3.4 and 2.4.4 (tables).

use std::fs::File;
use std::os::unix::fs::FileExt;

/// What is looked at before a place. The first of the tables is there several times a second.
const BEFORE_BYTES: u64 = 2 << 20;
/// What is looked at to see whether packets are counted at all.
const COUNTED_BYTES: u64 = 1 << 20;
/// The largest frame.
const FRAME_BYTES_MAX: u64 = 64 << 20;
const MARK: u8 = 0x47;
const HEAD_BYTES: usize = 6;
/// The stream of the first of the tables.
const PROGRAMS: u16 = 0;
/// How long a packet is, and what may stand before it: a time in M2TS. Behind it, there may be a checksum.
const SIZES: [(usize, usize); 3] = [(188, 0), (192, 4), (204, 0)];
const BEFORE_MARK_MAX: usize = 4;
/// So many packets in a row are no accident.
const MARKS: usize = 8;

/// See the module documentation.
#[derive(Default)]
pub struct Transport {
    /// Where the first frame stands that was looked at.
    first: Option<u64>,
    layout: Option<Layout>,
    /// Where the last recording begins that is counted from 0 on and whose time stamps leap forward, and how many do.
    leap: Option<u64>,
    pub leaps: u64,
    /// Packets are counted, as they should be; some programs do not. `None`: nobody has asked yet.
    is_counted: Option<bool>,
}

/// How long a packet is, and where its mark is from its place on.
type Layout = (usize, usize);

/// What shows that something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The numbers of packets jump.
    Jump,
    /// No packet begins where one has to.
    Unmarked,
}

/// How a frame begins of which the tables are before it, behind all other frames of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    /// All is counted from 0 on, as in a file of its own.
    Zero,
    /// The numbers of the tables jump: pieces of recordings were put behind each other, or packets of the tables are missing, too.
    Jump,
}

/// What begins a packet.
#[derive(Clone, Copy)]
struct Head {
    stream: u16,
    counter: u8,
    has_payload: bool,
    /// Its contents are damaged.
    is_damaged: bool,
    /// Its counter may be any.
    is_new: bool,
}

/// How the counter of a packet follows that of the one before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Next,
    /// As it has to be where nothing is in it, or where it is there twice.
    Same,
    Jump,
    /// No packet begins behind it.
    Unmarked,
}

impl Transport {
    /// Whether a recording may begin with the frame that begins with the packet at `place`.
    pub fn joint(&self, file: &File, place: u64) -> Option<Joint> {
        let from = place.saturating_sub(BEFORE_BYTES);
        let before = usize::try_from(place - from).unwrap_or(0);
        let bytes = part(file, from, place.saturating_add((HEAD_BYTES + BEFORE_MARK_MAX) as u64))?;
        // FFmpeg gives the place of the packet, or of what stands before it.
        let is_mark = |at: Option<usize>| at.is_some_and(|at| bytes.get(at) == Some(&MARK));
        let (size, at) =
            layouts(before).find(|(size, at)| (0..MARKS).all(|number| is_mark(at.checked_sub(number * size))))?;
        let frame = head(&bytes, at)?;
        let earlier = (1..).map_while(|number: usize| at.checked_sub(number.checked_mul(size)?));
        let mut earlier = earlier.map_while(|at| head(&bytes, at));
        let tables =
            earlier.by_ref().take_while(|head| head.stream != frame.stream).find(|head| head.stream == PROGRAMS)?;
        if tables.counter == 0 && frame.counter == 0 {
            return Some(Joint::Zero);
        }
        let last = earlier.find(|head| head.stream == PROGRAMS)?;
        (tables.counter != (last.counter + 1) & 0x0f).then_some(Joint::Jump)
    }

    /// Whether packets of the stream to which that at `begin` belongs are missing, or damaged, from there on up to the one at `end`, or to
    /// the end of the file.
    pub fn gap(&mut self, file: &File, begin: u64, end: Option<u64>) -> Option<Gap> {
        self.first.get_or_insert(begin);
        let (layout, steps) = steps(file, begin, end, self.layout)?;
        self.layout = Some(layout);
        let is_off = end.is_some_and(|end| !(end - begin).is_multiple_of(layout.0 as u64));
        if is_off || steps.last() == Some(&Step::Unmarked) {
            return Some(Gap::Unmarked);
        }
        steps.contains(&Step::Jump).then_some(Gap::Jump)
    }

    /// A recording begins with the frame at `place`, and its time stamps leap forward.
    pub fn count_leap(&mut self, place: Option<u64>) {
        if self.leap < place {
            (self.leap, self.leaps) = (place, self.leaps + 1);
        }
    }

    /// Whether the packets of the stream are counted, as far as it can be told.
    pub fn is_counted(&mut self, file: &File) -> bool {
        let place = self.first.unwrap_or(0);
        *self.is_counted.get_or_insert_with(|| {
            let end = file.metadata().map_or(0, |metadata| metadata.len()).min(place.saturating_add(COUNTED_BYTES));
            let (_, found) = steps(file, place, Some(end), self.layout).unwrap_or_default();
            let count = |step: Step| found.iter().filter(|other| **other == step).count();
            let (next, same) = (count(Step::Next), count(Step::Same));
            next >= count(Step::Jump) && (next > 0 || same == 0)
        })
    }
}

/// Where the mark of a packet may be, and how long it is.
fn layouts(at: usize) -> impl Iterator<Item = Layout> {
    SIZES.into_iter().flat_map(move |(size, before)| [(size, at), (size, at + before)])
}

/// How the packets of a stream follow each other from `begin` on up to the one at `end`, or to the end of the file, or to where no
/// packet begins. `None`: they cannot be told. `known`: the layout that they have where too few of them tell.
fn steps(file: &File, begin: u64, end: Option<u64>, known: Option<Layout>) -> Option<(Layout, Vec<Step>)> {
    let behind = (HEAD_BYTES + BEFORE_MARK_MAX) as u64;
    let is_last = end.is_none();
    let end = match end {
        Some(end) => end.saturating_add(behind),
        None => file.metadata().ok()?.len(),
    };
    let bytes = part(file, begin, end)?;
    let may_be = |(size, first): Layout| {
        let mut marks = (first..bytes.len()).step_by(size).take(MARKS);
        bytes.get(first) == Some(&MARK) && marks.all(|at| bytes.get(at) == Some(&MARK))
    };
    let is_sure = |layout: &Layout| may_be(*layout) && layout.0 * MARKS <= bytes.len();
    let known = known.filter(|(_, first)| bytes.get(*first) == Some(&MARK));
    let layout = layouts(0).find(is_sure).or(known).or_else(|| layouts(0).find(|layout| may_be(*layout)))?;
    let (size, first) = layout;
    let stream = head(&bytes, first)?.stream;
    let (mut last, mut steps) = (None, Vec::new());
    for at in (first..bytes.len()).step_by(size) {
        if bytes.get(at) != Some(&MARK) {
            // What is behind the last packet is none.
            let goes_on = || {
                let mut places = (1..=2 * size).flat_map(|behind| SIZES.map(|(size, _)| (at + behind, size)));
                places.any(|(at, size)| are_packets(&bytes, at, size))
            };
            if !is_last || goes_on() {
                steps.push(Step::Unmarked);
            }
            break;
        }
        let Some(head) = head(&bytes, at).filter(|head| head.stream == stream) else { continue };
        if let Some(last) = last.replace(head.counter).filter(|_| !head.is_new) {
            steps.push(match head.counter {
                _ if head.is_damaged => Step::Jump,
                counter if counter == last => Step::Same,
                counter if head.has_payload && counter == (last + 1) & 0x0f => Step::Next,
                _ => Step::Jump,
            });
        }
    }
    Some((layout, steps))
}

/// Whether there is one packet behind the other from here on.
fn are_packets(bytes: &[u8], at: usize, size: usize) -> bool {
    at + size < bytes.len() && (at..bytes.len()).step_by(size).all(|at| bytes.get(at) == Some(&MARK))
}

/// What is in the file from `begin` to `end`.
fn part(file: &File, begin: u64, end: u64) -> Option<Vec<u8>> {
    let bytes = file.metadata().ok()?.len().min(end).checked_sub(begin).filter(|bytes| *bytes <= FRAME_BYTES_MAX)?;
    let mut part = vec![0; usize::try_from(bytes).ok()?];
    file.read_exact_at(&mut part, begin).ok().map(|()| part)
}

fn head(bytes: &[u8], at: usize) -> Option<Head> {
    match *bytes.get(at..)?.first_chunk()? {
        [MARK, first, second, last, length, flags] => Some(Head {
            stream: u16::from(first & 0x1f) << 8 | u16::from(second),
            counter: last & 0x0f,
            has_payload: last & 0x10 != 0,
            is_damaged: first & 0x80 != 0,
            is_new: last & 0x20 != 0 && length > 0 && flags & 0x80 != 0,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Packets of this length each: of which stream, and their counters.
    fn file(size: usize, packets: &[(u16, u8)]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        for (stream, counter) in packets {
            let mut packet = vec![0; size];
            let at = if size == 192 { 4 } else { 0 };
            packet[at..at + 4].copy_from_slice(&[MARK, (stream >> 8) as u8, *stream as u8, 0x10 | counter]);
            file.write_all(&packet).unwrap();
        }
        file
    }

    fn joint(size: usize, packets: &[(u16, u8)], place: usize) -> Option<Joint> {
        Transport::default().joint(&file(size, packets), (place * size) as u64)
    }

    #[test]
    fn missing_packets_are_noticed() {
        for size in [188, 192, 204] {
            let whole: Vec<(u16, u8)> =
                (0..60).map(|number| (if number % 3 == 2 { 257 } else { 256 }, number)).collect();
            let mut counters = [0; 2];
            let whole: Vec<(u16, u8)> = whole
                .into_iter()
                .map(|(stream, _)| {
                    let counter: &mut u8 = &mut counters[usize::from(stream - 256)];
                    *counter = (*counter + 1) & 0x0f;
                    (stream, *counter)
                })
                .collect();
            let at = |number: usize| (number * size) as u64;
            let is_gap = |packets: &[(u16, u8)], begin: usize, end: Option<usize>| {
                Transport::default().gap(&file(size, packets), at(begin), end.map(at)) == Some(Gap::Jump)
            };
            assert!(!is_gap(&whole, 0, None) && !is_gap(&whole, 3, Some(30)), "{size}");
            let without = |number: usize| [&whole[..number], &whole[number + 1..]].concat();
            for lost in [4, 6, 28] {
                assert!(is_gap(&without(lost), 3, Some(30)) && is_gap(&without(lost), 3, None), "{size}, {lost}");
            }
            // One of another stream; before and behind what is asked for.
            assert!(!is_gap(&without(5), 3, Some(30)) && !is_gap(&without(1), 3, Some(30)));
            assert!(!is_gap(&without(31), 3, Some(30)));
            let transport = |packets: &[(u16, u8)]| Transport::default().is_counted(&file(size, packets));
            assert!(transport(&whole) && transport(&without(9)));
            let uncounted: Vec<(u16, u8)> = (0..60).map(|number| (256, ((number & 0x0f) * 7) & 0x0f)).collect();
            assert!(!transport(&uncounted) && !transport(&[(256, 0); 60]) && !transport(&[(256, 7); 60]));
            assert!(transport(&[(256, 0)]));
        }
    }

    #[test]
    fn tables_that_begin_anew_are_told_from_a_gap() {
        for size in [188, 192, 204] {
            let recording: Vec<(u16, u8)> =
                [(0, 0), (17, 0)].into_iter().chain((0..9).map(|counter| (256, counter))).collect();
            let with = |tables: u8, frame: u8| [&recording[..], &[(0, tables), (17, tables), (256, frame)]].concat();
            assert_eq!(joint(size, &with(0, 0), 13), Some(Joint::Zero), "{size}");
            assert_eq!(joint(size, &with(7, 3), 13), Some(Joint::Jump));
            assert_eq!(joint(size, &[&recording[..]; 2].concat(), 13), Some(Joint::Zero));
            // The tables of the piece before it are too far back.
            assert_eq!(joint(size, &[&recording[2..], &[(0, 0), (256, 0)]].concat(), 10), Some(Joint::Zero));
            assert_eq!(joint(size, &[&recording[2..], &[(0, 1), (256, 0)]].concat(), 10), None);
            // Only frames are missing.
            assert_eq!((joint(size, &with(1, 3), 13), joint(size, &with(1, 0), 13)), (None, None));
            // No tables between the frames, too little before them, and no packet.
            assert_eq!(joint(size, &[&with(0, 0)[..], &[(256, 5)]].concat(), 14), None);
            assert_eq!((joint(size, &recording, 2), joint(size, &recording, 90)), (None, None));
        }
    }

    /// The bug: what was no packet was passed over, and what was lost with it was no jump.
    #[test]
    fn packets_follow_each_other() {
        for size in [188, 192, 204] {
            let packets: Vec<(u16, u8)> = (0..40).map(|number| (256, number & 0x0f)).collect();
            let mut whole = vec![0; 40 * size];
            file(size, &packets).read_exact_at(&mut whole, 0).unwrap();
            let gap = |bytes: &[u8], begin: usize, end: Option<usize>| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(bytes).unwrap();
                // From where nothing is missing, it knows how long packets are.
                let mut transport = Transport::default();
                assert_eq!(transport.gap(&file, 0, Some(10 * size as u64)), None, "{size}");
                transport.gap(&file, begin as u64, end.map(|end| end as u64))
            };
            let place = 14 * size + 100;
            let mut unmarked = whole.clone();
            unmarked[14 * size + if size == 192 { 4 } else { 0 }] = 0x43;
            let shorter = [&whole[..place], &whole[place + 1..]].concat();
            let longer = [&whole[..place], &[9; 3], &whole[place..]].concat();
            for (bytes, end) in [(&unmarked, 20 * size), (&shorter, 20 * size - 1), (&longer, 20 * size + 3)] {
                assert_eq!(gap(bytes, 0, Some(end)), Some(Gap::Unmarked), "{size}");
                assert_eq!(gap(bytes, 8 * size, Some(end)), Some(Gap::Unmarked), "{size}");
                assert_eq!(gap(bytes, 8 * size, None), Some(Gap::Unmarked), "{size}");
            }
            for behind in [&b"x"[..], &[0; 1000], &[0xff; 5000], &whole[8 * size..8 * size + 100]] {
                assert_eq!(gap(&[&whole, behind].concat(), 8 * size, None), None, "{size}");
            }
        }
    }
}
