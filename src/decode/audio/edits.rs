//! Edit lists of MP4 and MOV: which part of the decoded sound is to be heard. Encoders put their priming before it, and those who
//! cut a film leave the rest where it is.
//!
//! Source: ISO/IEC 14496-12, 8.6.5 and 8.6.6.

use super::super::SourceFile;
use super::movie::{BOXES_MAX, Contents, bytes, child, is_wide, movie_in, track_of, units_of, word};

/// Edits that are looked at in one list.
const EDITS_MAX: u32 = 1024;

/// What an edit list says, in units of the media's time scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edit {
    /// Where the sound begins.
    pub(super) from: u64,
    /// Where it ends, if that is before the end of its media.
    pub(super) until: Option<u64>,
    /// Units a second.
    pub(super) units: u32,
    /// How many parts of the media it plays: the first begins at `from`.
    pub(super) parts: usize,
}

/// What the edit list of the track with this number plays, if it has one. Damage is left to those who decode: `None`.
pub(super) fn edit_of(file: &SourceFile, track: u32) -> Option<Edit> {
    let mut left = BOXES_MAX;
    let found = track_of(file, track, &mut left)?;
    let media = child(file, found, b"mdia", &mut left)?;
    let header = child(file, media, b"mdhd", &mut left)?;
    let units = units_of(file, header)?;
    let edits = child(file, found, b"edts", &mut left)?;
    let list = played_by(file, child(file, edits, b"elst", &mut left)?);
    let first = list.first()?;
    // Where there are fragments, they may go on as long as they like.
    let (movie_units, is_open) = movie_of(file)?;
    let in_media = |length: u64| u128::from(length) * u128::from(units) / u128::from(movie_units);
    // Lengths of edits are rounded to the movie's units.
    let (until, unit) = (u128::from(first.from) + in_media(first.length), in_media(1) + 1);
    let is_within = duration_of(file, header).is_none_or(|duration| until + unit < u128::from(duration));
    let until = u64::try_from(until).ok().filter(|_| is_within && !is_open && first.length > 0);
    Some(Edit { from: first.from, until, units, parts: if is_open { 1 } else { list.len() } })
}

/// Units a second of a movie's own times, and whether fragments follow it.
fn movie_of(file: &SourceFile) -> Option<(u32, bool)> {
    let mut left = BOXES_MAX;
    let movie = movie_in(file, &mut left)?;
    let units = child(file, movie, b"mvhd", &mut left).and_then(|header| units_of(file, header));
    let is_open = child(file, movie, b"mvex", &mut left).is_some();
    // Without its own the length of an edit is not known.
    Some(units.map_or((1, true), |units| (units, is_open)))
}

/// How long a track's media is, in its units; `None` where that is not said.
fn duration_of(file: &SourceFile, header: Contents) -> Option<u64> {
    let duration = if is_wide(file, header)? {
        u64::from_be_bytes(bytes(file, header.from + 24, header.to)?)
    } else {
        u64::from(word(file, header, 16)?)
    };
    (duration > 0 && duration != u64::from(u32::MAX) && duration != u64::MAX).then_some(duration)
}

/// A part of the media that is played.
struct Played {
    /// In units of the media.
    from: u64,
    /// In units of the movie; 0: to the end.
    length: u64,
}

/// The edits that have a media time: those without are pauses.
fn played_by(file: &SourceFile, list: Contents) -> Vec<Played> {
    let edit = |number: u32| {
        let number = u64::from(number);
        let (length, time) = if is_wide(file, list)? {
            let place = list.from + 8 + number * 20;
            (u64::from_be_bytes(bytes(file, place, list.to)?), i64::from_be_bytes(bytes(file, place + 8, list.to)?))
        } else {
            let place = 8 + number * 12;
            (u64::from(word(file, list, place)?), i64::from(word(file, list, place + 4)?.cast_signed()))
        };
        Some((length, u64::try_from(time).ok()))
    };
    let count = word(file, list, 4).unwrap_or(0).min(EDITS_MAX);
    let edits = (0..count).map_while(edit);
    edits.filter_map(|(length, from)| Some(Played { from: from?, length })).collect()
}

#[cfg(test)]
mod tests {
    use super::super::movie::tests::{boxed, source, words};
    use super::*;

    fn track(number: u32, edits: &[u32]) -> Vec<u8> {
        let header = boxed(b"tkhd", &words(&[0, 0, 0, number, 0]));
        let media = boxed(b"mdia", &boxed(b"mdhd", &words(&[0, 0, 0, 44_100, 441_000])));
        let list = boxed(b"edts", &boxed(b"elst", &[words(&[0, edits.len() as u32 / 3]), words(edits)].concat()));
        boxed(b"trak", &[header, list, media].concat())
    }

    #[test]
    fn the_edit_of_the_right_track_is_found() {
        let movie =
            boxed(b"moov", &[track(1, &[10, 5, 65536]), track(2, &[9, u32::MAX, 65536, 10, 1024, 65536])].concat());
        let whole = [boxed(b"ftyp", b"M4A "), boxed(b"mdat", &[0; 100]), movie].concat();
        let file = source(&whole);
        let edit = |from| Some(Edit { from, until: None, units: 44_100, parts: 1 });
        assert_eq!([edit_of(&file, 1), edit_of(&file, 2)], [edit(5), edit(1024)]);
        assert_eq!(edit_of(&file, 3), None);
        for length in 0..whole.len() {
            assert_eq!(edit_of(&source(&whole[..length]), 2), None);
        }
    }

    /// All that lies behind the first edit was taken for its sound.
    #[test]
    fn an_edit_list_says_where_the_sound_ends() {
        let edit = |more: &[u8], edits: &[u32]| {
            let header = boxed(b"mvhd", &words(&[0, 0, 0, 600, 0]));
            let movie = boxed(b"moov", &[&header, &track(1, edits), more].concat());
            let edit = edit_of(&source(&[boxed(b"ftyp", b"M4A "), movie].concat()), 1).unwrap();
            (edit.from, edit.until, edit.parts)
        };
        // 10 s of media, lengths in units of 600 a second.
        assert_eq!(edit(b"", &[2400, 1024, 65536]), (1024, Some(1024 + 4 * 44_100), 1));
        assert_eq!(edit(b"", &[5999, 0, 65536]), (0, None, 1));
        assert_eq!(edit(b"", &[5997, 0, 65536]), (0, Some(440_779), 1));
        assert_eq!(edit(b"", &[0, 1024, 65536]), (1024, None, 1));
        assert_eq!(edit(b"", &[600, u32::MAX, 65536, 2400, 0, 65536]), (0, Some(4 * 44_100), 1));
        assert_eq!(edit(b"", &[600, 0, 65536, 600, 88_200, 65536]), (0, Some(44_100), 2));
        assert_eq!(edit(&boxed(b"mvex", b""), &[600, 0, 65536, 600, 88_200, 65536]), (0, None, 1));
    }

    #[test]
    fn boxes_without_end_are_not_followed_without_end() {
        let many = [boxed(b"ftyp", b"M4A "), boxed(b"free", b"").repeat(10_000)].concat();
        let movie = boxed(b"moov", &track(1, &[10, 5, 65536]));
        assert_eq!(edit_of(&source(&[many, movie].concat()), 1), None);
    }
}
