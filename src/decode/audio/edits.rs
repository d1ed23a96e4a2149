//! Edit lists of MP4 and MOV: which part of the decoded sound is to be heard. Encoders put their priming before it, and those who
//! cut a film leave the rest where it is.
//!
//! Source: ISO/IEC 14496-12, 8.6.5 and 8.6.6; for what iTunes writes, FFmpeg's and Apple's files.

use std::os::unix::fs::FileExt;

use super::super::SourceFile;
use super::movie::{BOXES_MAX, Contents, all, bytes, child, handler_of, is_wide, movie_in, track_of, units_of, word};

/// Edits that are looked at in one list.
const EDITS_MAX: u32 = 1024;

/// What an edit list says, in units of the media's time scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// What is played of the media, in this order: where it begins, and where it ends, if that is before the end of its media.
    pub(super) parts: Vec<(u64, Option<u64>)>,
    /// Units a second.
    pub(super) units: u32,
}

impl Edit {
    /// Whether nothing is played again, or before what stands in front of it.
    pub(super) fn goes_on(&self) -> bool {
        self.parts.windows(2).all(|parts| match parts {
            [(_, until), (from, _)] => until.is_some_and(|until| until <= *from),
            _ => true,
        })
    }
}

/// What the edit list of the track with this number plays, if it has one. Damage is left to those who decode: `None`.
pub(super) fn edit_of(file: &SourceFile, track: u32) -> Option<Edit> {
    let mut left = BOXES_MAX;
    let found = track_of(file, track, &mut left)?;
    let media = child(file, found, b"mdia", &mut left)?;
    let header = child(file, media, b"mdhd", &mut left)?;
    let units = units_of(file, header)?;
    let mut list = list_of(file, found, &mut left)?;
    list.retain(|played| played.from.is_some());
    // Where there are fragments, they may go on as long as they like.
    let (movie_units, is_open) = movie_of(file)?;
    if is_open {
        list.truncate(1);
    } else if list.len() > 1 {
        list.retain(|played| played.length > 0);
    }
    let in_media = |length: u64| u128::from(length) * u128::from(units) / u128::from(movie_units);
    let duration = duration_of(file, header);
    let part = |played: &Played| {
        let from = played.from?;
        // Lengths of edits are rounded to the movie's units.
        let (until, unit) = (u128::from(from) + in_media(played.length), in_media(1) + 1);
        let is_within = duration.is_none_or(|duration| until + unit < u128::from(duration));
        Some((from, u64::try_from(until).ok().filter(|_| is_within && !is_open && played.length > 0)))
    };
    let parts: Vec<_> = list.iter().filter_map(part).collect();
    (!parts.is_empty()).then_some(Edit { parts, units })
}

/// What iTunes says in place of an edit list, in a text: how many samples stand before the sound, how many behind it, and how many
/// it has.
pub(super) fn edit_of_itunes(file: &SourceFile, track: u32, rate: u32) -> Option<Edit> {
    let mut left = BOXES_MAX;
    let found = track_of(file, track, &mut left)?;
    let media = child(file, found, b"mdia", &mut left)?;
    let header = child(file, media, b"mdhd", &mut left)?;
    let (units, duration) = (u128::from(units_of(file, header)?), u128::from(duration_of(file, header)?));
    let text = text_of_itunes(file, &mut left)?;
    let numbers: Vec<u64> = text.split_whitespace().map_while(|word| u64::from_str_radix(word, 16).ok()).collect();
    let [_, before, _, count, ..] = *numbers else { return None };
    let until = before.checked_add(count)?;
    // Of another sound, perhaps of twice the rate.
    let is_within = u128::from(until) * units <= duration * u128::from(rate);
    (count > 0 && is_within).then_some(Edit { parts: vec![(before, Some(until))], units: rate })
}

fn text_of_itunes(file: &SourceFile, left: &mut usize) -> Option<String> {
    const NAME: &[u8; 8] = b"iTunSMPB";
    const TEXT_BYTES_MAX: u64 = 1024;
    let user = child(file, movie_in(file, left)?, b"udta", left)?;
    let about = child(file, user, b"meta", left)?;
    // Version and flags stand before the boxes within; before a text, its kind and language as well.
    let list = child(file, Contents { from: about.from + 4, ..about }, b"ilst", left)?;
    let is_it = |name: Contents| bytes(file, name.from + 4, name.to).as_ref() == Some(NAME);
    let own = all(file, list, left).into_iter().filter(|found| found.kind == *b"----");
    let found = own.into_iter().find(|own| child(file, *own, b"name", left).is_some_and(is_it))?;
    let text = child(file, found, b"data", left)?;
    let length = text.to.checked_sub(text.from + 8)?.min(TEXT_BYTES_MAX);
    let mut content = vec![0; usize::try_from(length).ok()?];
    file.file().read_exact_at(&mut content, text.from + 8).ok()?;
    String::from_utf8(content).ok()
}

/// Whether there is a track of sound that pauses between parts of it.
pub(super) fn has_pause_within(file: &SourceFile) -> bool {
    let mut left = BOXES_MAX;
    let Some(movie) = movie_in(file, &mut left) else { return false };
    let tracks = all(file, movie, &mut left).into_iter().filter(|found| found.kind == *b"trak");
    let sounds: Vec<_> = tracks.filter(|track| handler_of(file, *track, &mut left) == Some(*b"soun")).collect();
    sounds.into_iter().any(|track| {
        let list = list_of(file, track, &mut left).unwrap_or_default();
        let mut parts = list.iter().skip_while(|played| played.from.is_none());
        parts.any(|played| played.from.is_none()) && parts.any(|played| played.from.is_some())
    })
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

/// A part of the media that is played, or a pause.
struct Played {
    /// In units of the media; a pause has none.
    from: Option<u64>,
    /// In units of the movie; 0: to the end.
    length: u64,
}

/// The edits of a track, if it has a list of them.
fn list_of(file: &SourceFile, track: Contents, left: &mut usize) -> Option<Vec<Played>> {
    let edits = child(file, track, b"edts", left)?;
    let list = child(file, edits, b"elst", left)?;
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
    Some((0..count).map_while(edit).map(|(length, from)| Played { from, length }).collect())
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
        let edit = |from| Some(Edit { parts: vec![(from, None)], units: 44_100 });
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
            edit_of(&source(&[boxed(b"ftyp", b"M4A "), movie].concat()), 1).unwrap().parts
        };
        // 10 s of media, lengths in units of 600 a second.
        assert_eq!(edit(b"", &[2400, 1024, 65536]), [(1024, Some(1024 + 4 * 44_100))]);
        assert_eq!(edit(b"", &[5999, 0, 65536]), [(0, None)]);
        assert_eq!(edit(b"", &[5997, 0, 65536]), [(0, Some(440_779))]);
        assert_eq!(edit(b"", &[0, 1024, 65536]), [(1024, None)]);
        assert_eq!(edit(b"", &[600, u32::MAX, 65536, 2400, 0, 65536]), [(0, Some(4 * 44_100))]);
        assert_eq!(edit(b"", &[600, 0, 65536, 600, 88_200, 65536]), [(0, Some(44_100)), (88_200, Some(132_300))]);
        assert_eq!(edit(&boxed(b"mvex", b""), &[600, 0, 65536, 600, 88_200, 65536]), [(0, None)]);
    }

    /// What stands before and behind the sound was taken for some of it.
    #[test]
    fn itunes_has_its_own_way() {
        let text = |numbers: &str| {
            let text = boxed(b"data", &[&words(&[1, 0])[..], numbers.as_bytes()].concat());
            let own = boxed(
                b"----",
                &[boxed(b"mean", b"\0\0\0\0com.apple.iTunes"), boxed(b"name", b"\0\0\0\0iTunSMPB"), text].concat(),
            );
            let about = boxed(b"meta", &[words(&[0]), boxed(b"hdlr", &[0; 25]), boxed(b"ilst", &own)].concat());
            let movie = boxed(b"moov", &[track(1, &[]), boxed(b"udta", &about)].concat());
            edit_of_itunes(&source(&[boxed(b"ftyp", b"M4A "), movie].concat()), 1, 44_100)
        };
        let edit = Edit { parts: vec![(2112, Some(2112 + 256_000))], units: 44_100 };
        assert_eq!(text(" 00000000 00000840 000001CA 000000000003E800 00000000"), Some(edit));
        // More than its media have; nothing; no numbers.
        for other in [" 00000000 00000840 000001CA 000000000103E800 00000000", " 0 840 1CA 0 0", " and so on"] {
            assert_eq!(text(other), None);
        }
    }

    #[test]
    fn parts_go_on_or_come_again() {
        let goes_on = |parts: &[(u64, Option<u64>)]| Edit { parts: parts.to_vec(), units: 1 }.goes_on();
        assert!(goes_on(&[(5, None)]) && goes_on(&[(5, Some(9)), (9, Some(11)), (20, None)]));
        assert!(!goes_on(&[(5, Some(9)), (8, Some(11))]) && !goes_on(&[(5, None), (20, None)]));
    }

    /// FFmpeg 5 plays samples before such a pause twice.
    #[test]
    fn pauses_between_parts_are_found() {
        let has_pause = |edits: &[u32], kind: &[u8; 4]| {
            let list = boxed(b"edts", &boxed(b"elst", &[words(&[0, edits.len() as u32 / 3]), words(edits)].concat()));
            let media = boxed(b"mdia", &boxed(b"hdlr", &[&[0; 8], &kind[..], &[0; 12]].concat()));
            let movie = boxed(b"moov", &boxed(b"trak", &[media, list].concat()));
            has_pause_within(&source(&[boxed(b"ftyp", b"M4A "), movie].concat()))
        };
        let (part, pause) = ([9, 5, 65536], [9, u32::MAX, 65536]);
        assert!(has_pause(&[part, pause, part].concat(), b"soun"));
        assert!(!has_pause(&[part, pause, part].concat(), b"vide"));
        for list in [&[part, part, pause][..], &[pause, part, part], &[pause, pause], &[part]] {
            assert!(!has_pause(&list.concat(), b"soun"));
        }
    }

    #[test]
    fn boxes_without_end_are_not_followed_without_end() {
        let many = [boxed(b"ftyp", b"M4A "), boxed(b"free", b"").repeat(10_000)].concat();
        let movie = boxed(b"moov", &track(1, &[10, 5, 65536]));
        assert_eq!(edit_of(&source(&[many, movie].concat()), 1), None);
    }
}
