//! The edit list of an MP4 track: which part of the decoded sound is to be heard. Encoders put their priming before it.
//!
//! The library of containers reads edit lists and makes nothing of them, and it gives up on a file whose end is missing. This
//! reads the boxes `moov`, `trak`, `tkhd`,
//! `mdia`/`mdhd` and `edts`/`elst` (ISO/IEC 14496-12, 8.1 to 8.6) and nothing else, in bounded time whatever they say.

use std::os::unix::fs::FileExt;

use super::super::SourceFile;

/// Boxes that are looked at in one file.
const BOXES_MAX: usize = 4096;

/// What an edit list says, in units of the media's time scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edit {
    /// Where the sound begins.
    pub(super) from: u64,
    /// Units a second.
    pub(super) units: u32,
}

/// A box without its header: where it begins and ends in the file.
#[derive(Debug, Clone, Copy)]
struct Contents {
    kind: [u8; 4],
    from: u64,
    to: u64,
}

/// The edit of the track with this number, if it has one that begins behind the start of its media. Damage is left to
/// those who decode: `None`.
pub(super) fn edit_of(file: &SourceFile, track: u32) -> Option<Edit> {
    let mut left = BOXES_MAX;
    let whole = Contents { kind: *b"file", from: 0, to: file.size() };
    let movie = child(file, whole, b"moov", &mut left)?;
    let mut place = movie.from;
    loop {
        let found = next(file, movie, &mut place, &mut left)?;
        if &found.kind == b"trak" && number_of(file, found, &mut left) == Some(track) {
            let media = child(file, found, b"mdia", &mut left)?;
            let units = units_of(file, child(file, media, b"mdhd", &mut left)?)?;
            let edits = child(file, found, b"edts", &mut left)?;
            let from = first_of(file, child(file, edits, b"elst", &mut left)?)?;
            return Some(Edit { from, units });
        }
    }
}

/// Where the file would end if nothing had been cut off: the end of its last box of media, if that lies behind its own. The
/// library takes such a box for none at all, and the sound with it.
pub(super) fn end_of_cut(file: &SourceFile) -> Option<u64> {
    let [_, _, _, _, kind @ ..] = bytes::<8>(file, 0, file.size())?;
    if &kind != b"ftyp" {
        return None;
    }
    let mut left = BOXES_MAX;
    let mut place = 0;
    let whole = Contents { kind: *b"file", from: 0, to: i64::MAX.cast_unsigned() };
    while place < file.size() {
        let found = next(file, whole, &mut place, &mut left)?;
        if &found.kind == b"mdat" && found.to > file.size() {
            return Some(found.to);
        }
    }
    None
}

fn child(file: &SourceFile, around: Contents, kind: &[u8; 4], left: &mut usize) -> Option<Contents> {
    let mut place = around.from;
    loop {
        let found = next(file, around, &mut place, left)?;
        if &found.kind == kind {
            return Some(found);
        }
    }
}

fn next(file: &SourceFile, around: Contents, place: &mut u64, left: &mut usize) -> Option<Contents> {
    *left = left.checked_sub(1)?;
    let header = bytes::<8>(file, *place, around.to)?;
    let [a, b, c, d, kind @ ..] = header;
    let (size, from) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (around.to.checked_sub(*place)?, *place + 8),
        1 => (u64::from_be_bytes(bytes(file, *place + 8, around.to)?), *place + 16),
        size => (u64::from(size), *place + 8),
    };
    let to = place.checked_add(size)?;
    if to < from || to > around.to {
        return None;
    }
    *place = to;
    Some(Contents { kind, from, to })
}

fn bytes<const COUNT: usize>(file: &SourceFile, place: u64, end: u64) -> Option<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    if place.checked_add(COUNT as u64)? > end {
        return None;
    }
    file.file().read_exact_at(&mut bytes, place).ok()?;
    Some(bytes)
}

fn word(file: &SourceFile, found: Contents, offset: u64) -> Option<u32> {
    bytes(file, found.from + offset, found.to).map(u32::from_be_bytes)
}

/// The version of a full box.
fn is_wide(file: &SourceFile, found: Contents) -> Option<bool> {
    Some(word(file, found, 0)? >> 24 == 1)
}

fn number_of(file: &SourceFile, track: Contents, left: &mut usize) -> Option<u32> {
    let header = child(file, track, b"tkhd", left)?;
    let offset = if is_wide(file, header)? { 20 } else { 12 };
    word(file, header, offset)
}

fn units_of(file: &SourceFile, header: Contents) -> Option<u32> {
    let offset = if is_wide(file, header)? { 20 } else { 12 };
    word(file, header, offset).filter(|units| *units > 0)
}

/// The media time of the first edit that has one: edits without are pauses.
fn first_of(file: &SourceFile, list: Contents) -> Option<u64> {
    let is_wide = is_wide(file, list)?;
    let count = word(file, list, 4)?.min(16);
    for edit in 0..u64::from(count) {
        let time = if is_wide {
            i64::from_be_bytes(bytes(file, list.from + 8 + edit * 20 + 8, list.to)?)
        } else {
            i64::from(word(file, list, 8 + edit * 12 + 4)?.cast_signed())
        };
        if time >= 0 {
            return u64::try_from(time).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn boxed(kind: &[u8; 4], contents: &[u8]) -> Vec<u8> {
        let size = u32::try_from(contents.len() + 8).unwrap();
        [&size.to_be_bytes(), kind.as_slice(), contents].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn source(bytes: &[u8]) -> SourceFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        SourceFile::of(file).unwrap()
    }

    fn track(number: u32, edits: &[u32]) -> Vec<u8> {
        let header = boxed(b"tkhd", &words(&[0, 0, 0, number, 0]));
        let media = boxed(b"mdia", &boxed(b"mdhd", &words(&[0, 0, 0, 44_100, 0])));
        let list = boxed(b"edts", &boxed(b"elst", &[words(&[0, edits.len() as u32 / 3]), words(edits)].concat()));
        boxed(b"trak", &[header, list, media].concat())
    }

    #[test]
    fn the_edit_of_the_right_track_is_found() {
        let movie =
            boxed(b"moov", &[track(1, &[10, 5, 65536]), track(2, &[9, u32::MAX, 65536, 10, 1024, 65536])].concat());
        let whole = [boxed(b"ftyp", b"M4A "), boxed(b"mdat", &[0; 100]), movie].concat();
        let file = source(&whole);
        assert_eq!(edit_of(&file, 1), Some(Edit { from: 5, units: 44_100 }));
        assert_eq!(edit_of(&file, 2), Some(Edit { from: 1024, units: 44_100 }));
        assert_eq!(edit_of(&file, 3), None);
        for length in 0..whole.len() {
            assert_eq!(edit_of(&source(&whole[..length]), 2), None);
        }
    }

    #[test]
    fn a_cut_file_is_as_long_as_its_media_would_be() {
        let whole = [boxed(b"ftyp", b"M4A "), boxed(b"moov", b""), boxed(b"mdat", &[0; 100])].concat();
        assert_eq!(end_of_cut(&source(&whole)), None);
        for length in 28..whole.len() {
            assert_eq!(end_of_cut(&source(&whole[..length])), Some(whole.len() as u64), "{length}");
        }
        assert_eq!(end_of_cut(&source(b"RIFF")), None);
    }

    #[test]
    fn boxes_without_end_are_not_followed_without_end() {
        let many = boxed(b"free", b"").repeat(10_000);
        let movie = boxed(b"moov", &track(1, &[10, 5, 65536]));
        assert_eq!(edit_of(&source(&[many, movie].concat()), 1), None);
    }
}
