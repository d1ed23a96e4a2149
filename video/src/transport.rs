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
    /// Packets are counted, as they should be; some programs do not. `None`: nobody has asked yet.
    is_counted: Option<bool>,
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
}

impl Transport {
    /// Whether the frame that begins with the packet at `place` is the first of a recording: the tables are before it, behind all other
    /// frames of its stream, and their counter begins anew as well.
    pub fn begins_anew(&self, file: &File, place: u64) -> bool {
        let from = place.saturating_sub(BEFORE_BYTES);
        let before = usize::try_from(place - from).unwrap_or(0);
        let Some(bytes) = part(file, from, place.saturating_add((HEAD_BYTES + BEFORE_MARK_MAX) as u64)) else {
            return false;
        };
        // FFmpeg gives the place of the packet, or of what stands before it.
        let is_mark = |at: Option<usize>| at.is_some_and(|at| bytes.get(at) == Some(&MARK));
        let Some((size, at)) =
            layouts(before).find(|(size, at)| (0..MARKS).all(|number| is_mark(at.checked_sub(number * size))))
        else {
            return false;
        };
        let Some(frame) = head(&bytes, at) else { return false };
        let earlier = (1..).map_while(|number: usize| at.checked_sub(number.checked_mul(size)?));
        let mut earlier = earlier.map_while(|at| head(&bytes, at));
        let tables =
            earlier.by_ref().take_while(|head| head.stream != frame.stream).find(|head| head.stream == PROGRAMS);
        let Some(tables) = tables else { return false };
        let Some(last) = earlier.find(|head| head.stream == PROGRAMS) else { return false };
        tables.counter != (last.counter + 1) & 0x0f || tables.counter == 0 && frame.counter == 0
    }

    /// Whether packets of the stream to which that at `begin` belongs are missing, or damaged, from there on up to the one at `end`, or to
    /// the end of the file.
    pub fn is_gap(&self, file: &File, begin: u64, end: Option<u64>) -> bool {
        steps(file, begin, end).is_some_and(|steps| steps.contains(&Step::Jump))
    }

    /// Whether the packets from `place` on are counted, as far as it can be told.
    pub fn is_counted(&mut self, file: &File, place: u64) -> bool {
        *self.is_counted.get_or_insert_with(|| {
            let end = file.metadata().map_or(0, |metadata| metadata.len()).min(place.saturating_add(COUNTED_BYTES));
            let found = steps(file, place, Some(end)).unwrap_or_default();
            let count = |step: Step| found.iter().filter(|other| **other == step).count();
            count(Step::Next) >= count(Step::Jump)
        })
    }
}

/// Where the mark of a packet may be, and how long it is.
fn layouts(at: usize) -> impl Iterator<Item = (usize, usize)> {
    SIZES.into_iter().flat_map(move |(size, before)| [(size, at), (size, at + before)])
}

/// How the packets of a stream follow each other from `begin` on up to the one at `end`. `None`: they cannot be told.
fn steps(file: &File, begin: u64, end: Option<u64>) -> Option<Vec<Step>> {
    let behind = (HEAD_BYTES + BEFORE_MARK_MAX) as u64;
    let end = match end {
        Some(end) => end.saturating_add(behind),
        None => file.metadata().ok()?.len(),
    };
    let bytes = part(file, begin, end)?;
    let (size, first) = layouts(0).find(|(size, first)| {
        let mut marks = (*first..bytes.len()).step_by(*size).take(MARKS);
        bytes.get(*first) == Some(&MARK) && marks.all(|at| bytes.get(at) == Some(&MARK))
    })?;
    let stream = head(&bytes, first)?.stream;
    let (mut last, mut steps) = (None, Vec::new());
    for at in (first..bytes.len()).step_by(size) {
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
    Some(steps)
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

    fn begins(size: usize, packets: &[(u16, u8)], place: usize) -> bool {
        Transport::default().begins_anew(&file(size, packets), (place * size) as u64)
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
                Transport::default().is_gap(&file(size, packets), at(begin), end.map(at))
            };
            assert!(!is_gap(&whole, 0, None) && !is_gap(&whole, 3, Some(30)), "{size}");
            let without = |number: usize| [&whole[..number], &whole[number + 1..]].concat();
            for lost in [4, 6, 28] {
                assert!(is_gap(&without(lost), 3, Some(30)) && is_gap(&without(lost), 3, None), "{size}, {lost}");
            }
            // One of another stream; before and behind what is asked for.
            assert!(!is_gap(&without(5), 3, Some(30)) && !is_gap(&without(1), 3, Some(30)));
            assert!(!is_gap(&without(31), 3, Some(30)));
            let transport = |packets: &[(u16, u8)]| Transport::default().is_counted(&file(size, packets), 0);
            assert!(transport(&whole) && transport(&without(9)));
            let uncounted: Vec<(u16, u8)> = (0..60).map(|number| (256, ((number & 0x0f) * 7) & 0x0f)).collect();
            assert!(!transport(&uncounted));
        }
    }

    #[test]
    fn tables_that_begin_anew_are_told_from_a_gap() {
        for size in [188, 192, 204] {
            let recording: Vec<(u16, u8)> =
                [(0, 0), (17, 0)].into_iter().chain((0..9).map(|counter| (256, counter))).collect();
            let with = |tables: u8, frame: u8| [&recording[..], &[(0, tables), (17, tables), (256, frame)]].concat();
            assert!(begins(size, &with(0, 0), 13), "{size}");
            assert!(begins(size, &with(7, 3), 13) && begins(size, &[&recording[..]; 2].concat(), 13));
            // Only frames are missing.
            assert!(!begins(size, &with(1, 3), 13) && !begins(size, &with(1, 0), 13));
            // No tables between the frames, no others before them, and no packet.
            assert!(!begins(size, &[&with(0, 0)[..], &[(256, 5)]].concat(), 14) && !begins(size, &recording, 2));
            assert!(
                !begins(size, &[&recording[2..], &[(0, 0), (256, 0)]].concat(), 10) && !begins(size, &recording, 90)
            );
        }
    }
}
