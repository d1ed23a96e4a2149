//! Whether the fragments of an MP4 are all there. Those who decode them take the end of the file, within the head of a fragment or behind
//! it, for the end of the sound or video; and so they do with a place where no box begins, as behind bytes that are missing or too many.
//!
//! Source: ISO/IEC 14496-12, 4.2, 8.8 and 8.16.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Boxes that are looked at.
const BOXES_MAX: u32 = 1 << 24;
/// A box says at least its size and its name.
const HEAD_BYTES: u64 = 8;
/// With what a file begins.
const STARTS: [&[u8; 4]; 4] = [b"ftyp", b"styp", b"moov", b"moof"];
/// What stands before a fragment and belongs to it.
const BEFORE: [&[u8; 4]; 5] = [b"styp", b"sidx", b"ssix", b"emsg", b"prft"];

/// How a fragment begins: its box, and the first one in it.
const FRAGMENT: &[u8] = b"moof\0\0\0\x10mfhd";
/// What stands between fragments, or behind the last one.
const BESIDES: [&[u8; 4]; 7] = [b"mdat", b"mfra", b"free", b"skip", b"uuid", b"meta", b"udta"];
/// What is within fragments alone: where it follows a box, the head of its fragment was taken for a part of that.
const WITHIN: [&[u8; 4]; 2] = [b"mfhd", b"traf"];
/// How far further fragments are looked for, and how much of it at one go.
const SEARCHED_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: u64 = 64 << 10;

/// What is not as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The file ends within the fragment that begins here.
    Cut(u64),
    /// There are fragments behind this place, where they do not go on.
    Broken(u64),
}

struct Found {
    kind: [u8; 4],
    from: u64,
    to: u64,
}

/// What is missing of the fragments of a file of so many bytes whose first box stands here. `None`: nothing, or it has none.
pub fn loss_in(file: &File, begin: u64, bytes: u64) -> Option<Loss> {
    let start = next(file, begin)?;
    if !STARTS.contains(&&start.kind) {
        return None;
    }
    let (mut place, mut is_fragmented) = (begin, false);
    // A fragment whose media have not come.
    let mut waiting = None;
    // Behind the head of the last box whose name is known: with another size, a box may reach over others.
    let mut known = begin;
    for _ in 0..BOXES_MAX {
        let left = bytes.checked_sub(place)?;
        if left == 0 {
            return waiting.map(Loss::Cut);
        }
        if left < HEAD_BYTES {
            return (is_fragmented && may_begin_box(file, place, left)).then_some(Loss::Cut(place));
        }
        let found = next(file, place);
        let Some(found) = found.filter(|found| found.to <= bytes) else {
            // A fragment that is not all there is none that is behind it.
            if is_fragmented && goes_on(file, known..bytes, place + 4) {
                return Some(Loss::Broken(place));
            }
            let kind = next(file, place)?.kind;
            let is_of_fragment = is_fragmented && (&kind == b"mdat" || BEFORE.contains(&&kind));
            return (&kind == b"moof" || is_of_fragment).then_some(Loss::Cut(place));
        };
        match &found.kind {
            b"moof" => {
                is_fragmented = true;
                waiting = has_samples(file, &found).then_some(place).or(waiting);
            }
            b"mdat" => waiting = None,
            kind if is_fragmented && WITHIN.contains(&kind) => return Some(Loss::Broken(place)),
            _ => {}
        }
        if [&STARTS[..], &BEFORE, &BESIDES].iter().any(|names| names.contains(&&found.kind)) {
            known = found.from;
        }
        place = found.to;
    }
    None
}

/// Whether a fragment begins within these bytes, but for one at `except`.
fn goes_on(file: &File, within: Range<u64>, except: u64) -> bool {
    let end = within.end.min(within.start.saturating_add(SEARCHED_BYTES));
    let overlap = FRAGMENT.len() as u64 - 1;
    let mut block = Vec::new();
    let mut place = within.start;
    while place + overlap < end {
        block.resize(usize::try_from((end - place).min(BLOCK_BYTES)).unwrap_or(0), 0);
        if file.read_exact_at(&mut block, place).is_err() {
            return false;
        }
        let mut found = block.windows(FRAGMENT.len()).zip(place..).filter(|(bytes, _)| *bytes == FRAGMENT);
        if found.any(|(_, at)| at != except) {
            return true;
        }
        place += block.len() as u64 - overlap;
    }
    false
}

/// Whether these last bytes may be the size of a box, of which none is larger than 16 MiB and none is empty.
fn may_begin_box(file: &File, place: u64, left: u64) -> bool {
    let mut rest = [0; HEAD_BYTES as usize];
    let Some(rest) = usize::try_from(left).ok().and_then(|left| rest.get_mut(..left)) else { return false };
    file.read_exact_at(rest, place).is_ok()
        && rest.first() == Some(&0)
        && (left < 4 || rest.iter().any(|byte| *byte != 0))
}

/// Whether a fragment says that it has samples.
fn has_samples(file: &File, fragment: &Found) -> bool {
    within(file, fragment).filter(|track| &track.kind == b"traf").any(|track| {
        within(file, &track).filter(|run| &run.kind == b"trun").any(|run| {
            // Behind its version and flags.
            let mut count = [0; 4];
            file.read_exact_at(&mut count, run.from + 4).is_ok() && count != [0; 4]
        })
    })
}

fn within(file: &File, around: &Found) -> impl Iterator<Item = Found> {
    let (mut place, end) = (around.from, around.to);
    std::iter::from_fn(move || {
        let found = next(file, place).filter(|found| found.to <= end)?;
        place = found.to;
        Some(found)
    })
}

/// The box that begins here. One that goes to the end of the file is none: it is never cut.
fn next(file: &File, place: u64) -> Option<Found> {
    let mut head = [0; HEAD_BYTES as usize];
    file.read_exact_at(&mut head, place).ok()?;
    let [a, b, c, d, kind @ ..] = head;
    let (size, from) = match u32::from_be_bytes([a, b, c, d]) {
        1 => {
            file.read_exact_at(&mut head, place + HEAD_BYTES).ok()?;
            (u64::from_be_bytes(head), place + 2 * HEAD_BYTES)
        }
        size => (u64::from(size), place + HEAD_BYTES),
    };
    let to = place.checked_add(size).filter(|to| *to >= from)?;
    Some(Found { kind, from, to })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn loss(bytes: &[u8]) -> Option<Loss> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        loss_in(&file, 0, bytes.len() as u64)
    }

    fn cut(bytes: &[u8]) -> Option<u64> {
        match loss(bytes) {
            Some(Loss::Cut(place)) => Some(place),
            None => None,
            broken => panic!("{broken:?}"),
        }
    }

    fn boxed(kind: &[u8; 4], contents: &[u8]) -> Vec<u8> {
        [&(contents.len() as u32 + 8).to_be_bytes()[..], kind, contents].concat()
    }

    fn head_of_fragment(samples: u8) -> Vec<u8> {
        let run = boxed(b"traf", &boxed(b"trun", &[0, 0, 0, 0, 0, 0, 0, samples]));
        boxed(b"moof", &[boxed(b"mfhd", &[0; 8]), run].concat())
    }

    /// They were shorter sounds without a word.
    #[test]
    fn fragments_are_all_there() {
        let start = [boxed(b"ftyp", b"isom"), boxed(b"moov", b"")].concat();
        let fragment = [boxed(b"styp", b"msdh"), head_of_fragment(9), boxed(b"mdat", &[7; 50])].concat();
        let whole = [&start[..], &fragment, &fragment].concat();
        let second = start.len() + fragment.len();
        assert_eq!(cut(&whole), None);
        for length in start.len() + 12 + 8..whole.len() {
            // Behind the first one, and behind the first box of the second, nothing shows.
            let is_between = [second, second + 12].contains(&length);
            assert_eq!(cut(&whole[..length]).is_none(), is_between, "{length}");
        }
        let last = head_of_fragment(0);
        for behind in [&last[..], b"TAG and a title of a song", &[0; 4096], &[0; 7], b"\n", &boxed(b"mfra", b"")] {
            assert_eq!(cut(&[&whole, behind].concat()), None, "{behind:?}");
        }
    }

    /// What was behind bytes that were missing, or too many, was missing without a word.
    #[test]
    fn fragments_go_on_to_the_end() {
        let start = [boxed(b"ftyp", b"isom"), boxed(b"moov", b"")].concat();
        let fragment = [head_of_fragment(9), boxed(b"mdat", &[7; 50])].concat();
        let whole = [&start[..], &fragment, &fragment, &fragment, &fragment].concat();
        // Within the media of the second fragment, and those of the third.
        for (place, before) in
            [(2, 2), (3, 3)].map(|(number, before)| (start.len() + number * fragment.len() - 20, before))
        {
            let end = (start.len() + before * fragment.len()) as u64;
            for bytes in 1..20 {
                let without = [&whole[..place], &whole[place + bytes..]].concat();
                let with = [&whole[..place], &[7; 20][..bytes], &whole[place..]].concat();
                assert_eq!(loss(&without), Some(Loss::Broken(end)), "{bytes}");
                assert_eq!(loss(&with), Some(Loss::Broken(end)), "{bytes}");
            }
            // With another size, the last one is cut short.
            let size = [&whole[..end as usize], &[0x7f], &whole[end as usize + 1..]].concat();
            assert_eq!(loss(&size), Some(if before == 3 { Loss::Cut(end) } else { Loss::Broken(end) }));
        }
        // A box that nobody knows, and other bytes behind the last fragment.
        let other =
            [&start[..], &fragment, &boxed(b"abcd", &[1; 9]), &fragment, &boxed(b"abcd", &[1; 9]), &[9; 40]].concat();
        assert_eq!(loss(&other), None);
    }

    #[test]
    fn files_without_fragments_are_left_to_their_index() {
        let whole = [boxed(b"ftyp", b"isom"), boxed(b"moov", b""), boxed(b"mdat", &[0; 100])].concat();
        for length in 0..whole.len() {
            assert_eq!(cut(&whole[..length]), None, "{length}");
        }
        assert_eq!(cut(b"RIFF and so on"), None);
    }
}
