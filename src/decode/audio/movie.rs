//! The boxes of an MP4 or MOV file, as far as the library of containers makes nothing of them: in which order the bytes of its
//! numbers are, whether its fragments claim what is not there, and where a file would end whose end is missing, upon which the
//! library gives up.
//!
//! Sources: ISO/IEC 14496-12, 8.1 to 8.8; QuickTime File Format. In bounded time, whatever the boxes say.

use std::os::unix::fs::FileExt;

use super::super::{DecodeError, SourceFile};
use super::{input, rejected};

/// Boxes that are looked at in one file.
pub(super) const BOXES_MAX: usize = 4096;
/// Those of fragments.
const FRAGMENT_BOXES_MAX: usize = 1 << 24;
/// Fragments, times tracks, times tracks: a day of a video with sound and a fragment for each of its packets.
const FRAGMENT_STEPS_MAX: u64 = 10_000_000;
/// Times that the library passes to find those of all packets: some minutes' work, and what a video of a day has at most.
const TIME_STEPS_MAX: u64 = 300_000_000_000;

/// A box: where it begins in the file, where its contents do, and where it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents {
    pub(super) kind: [u8; 4],
    pub(super) at: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The box that describes the whole movie.
pub(super) fn movie_in(file: &SourceFile, left: &mut usize) -> Option<Contents> {
    let whole = Contents { kind: *b"file", at: 0, from: begin_of(file)?, to: file.size() };
    child(file, whole, b"moov", left)
}

/// The track with this number.
pub(super) fn track_of(file: &SourceFile, number: u32, left: &mut usize) -> Option<Contents> {
    let movie = movie_in(file, left)?;
    let mut place = movie.from;
    loop {
        let found = next(file, movie, &mut place, left)?;
        if &found.kind == b"trak" && number_of(file, found, left) == Some(number) {
            return Some(found);
        }
    }
}

/// The number of the first sound track that is played unless others are asked for, else of the first.
pub(super) fn default_sound(file: &SourceFile) -> Option<u32> {
    const ENABLED: u32 = 1;
    let mut left = BOXES_MAX;
    let mut first = None;
    let movie = movie_in(file, &mut left)?;
    for track in all(file, movie, &mut left).into_iter().filter(|found| found.kind == *b"trak") {
        if handler_of(file, track, &mut left) != Some(*b"soun") {
            continue;
        }
        let Some(number) = number_of(file, track, &mut left) else { continue };
        let header = child(file, track, b"tkhd", &mut left);
        if header.and_then(|header| word(file, header, 0)).is_some_and(|flags| flags & ENABLED != 0) {
            return Some(number);
        }
        first = first.or(Some(number));
    }
    first
}

/// What is in a movie.
#[derive(Debug, Default)]
struct Claims {
    tracks: u64,
    fragments: u64,
    /// Samples of all fragments.
    samples: u64,
    /// Times that the library passes in fragments.
    steps: u64,
    /// Of the tracks that the library is told of: runs of samples of one length, and samples.
    runs: u64,
    packets: u64,
    /// Where the names of the others stand.
    silent: Vec<u64>,
}

/// Refuses fragments that claim more samples than the file has bytes, and more fragments than are good for its tracks: the
/// library goes through all of the former before it reads any, and through all of the latter for each packet of each track. For
/// each packet it also goes through the times of all tracks, up to those that it looks for.
///
/// Where the names of tracks stand that it need not be told of.
pub(super) fn check(file: &SourceFile) -> Result<Vec<u64>, DecodeError> {
    let Some(from) = begin_of(file) else { return Ok(Vec::new()) };
    let whole = Contents { kind: *b"file", at: 0, from, to: file.size() };
    let mut left = FRAGMENT_BOXES_MAX;
    let mut claims = Claims::default();
    for top in all(file, whole, &mut left) {
        match &top.kind {
            b"moov" => claims.add_movie(file, top, &mut left),
            b"moof" => claims.add_fragment(file, top, &mut left),
            _ => {}
        }
    }
    let Claims { tracks, fragments, samples, runs, .. } = claims;
    if left == 0 {
        return Err(rejected(format!("it has more than {FRAGMENT_BOXES_MAX} boxes: it is damaged")));
    }
    let steps = tracks.saturating_mul(tracks).saturating_mul(fragments);
    if samples > file.size() || steps > FRAGMENT_STEPS_MAX {
        return Err(rejected(format!(
            "its {fragments} fragments claim {samples} samples in a file of {} bytes, for {tracks} tracks: it is damaged, or has \
             more than {FRAGMENT_STEPS_MAX} fragments of all tracks",
            file.size()
        )));
    }
    // More of them than the file has bytes are not read.
    let packets = claims.packets.min(file.size());
    if runs.saturating_mul(packets).saturating_add(claims.steps) > TIME_STEPS_MAX {
        return Err(rejected(format!(
            "its tables of times have {runs} runs for {packets} packets, and its {fragments} fragments {samples} samples: they take \
             too long. It is damaged, or too long to be decoded: save its sound anew, or in parts"
        )));
    }
    Ok(claims.silent)
}

impl Claims {
    fn add_movie(&mut self, file: &SourceFile, movie: Contents, left: &mut usize) {
        let silent = silent_tracks(file, movie, left);
        for track in all(file, movie, left).into_iter().filter(|found| found.kind == *b"trak") {
            self.tracks += 1;
            if silent.iter().any(|other| other.at == track.at) {
                // The size of a box stands before its name.
                self.silent.push(track.at + 4);
                continue;
            }
            let within = |around: Option<Contents>, kind, left: &mut usize| child(file, around?, kind, left);
            let media = within(Some(track), b"mdia", left);
            let information = within(media, b"minf", left);
            let tables = within(information, b"stbl", left).map_or_else(Vec::new, |tables| all(file, tables, left));
            for table in tables {
                // Both: version and flags, then the number of runs; the size of all samples, then their number.
                let count = |offset| word(file, table, offset).map_or(0, u64::from);
                match &table.kind {
                    b"stts" => self.runs += count(4).min((table.to - table.from) / 8),
                    b"stsz" => self.packets += count(8),
                    _ => {}
                }
            }
        }
    }

    fn add_fragment(&mut self, file: &SourceFile, fragment: Contents, left: &mut usize) {
        self.fragments += 1;
        let mut samples = 0_u64;
        for track in all(file, fragment, left).into_iter().filter(|found| found.kind == *b"traf") {
            let runs = all(file, track, left).into_iter().filter(|found| found.kind == *b"trun");
            samples += runs.filter_map(|run| word(file, run, 4)).map(u64::from).sum::<u64>();
        }
        self.samples += samples;
        self.steps = self.steps.saturating_add(samples.saturating_mul(samples));
    }
}

/// Those that hold pictures, in a movie that has sound as well: the library would read all of them, and go through their times
/// for each packet of sound. Not where there are fragments, whose tracks it counts.
fn silent_tracks(file: &SourceFile, movie: Contents, left: &mut usize) -> Vec<Contents> {
    let boxes = all(file, movie, left);
    if boxes.iter().any(|found| found.kind == *b"mvex") {
        return Vec::new();
    }
    let tracks = boxes.into_iter().filter(|found| found.kind == *b"trak");
    let tracks: Vec<_> = tracks.map(|track| (track, handler_of(file, track, left))).collect();
    if !tracks.iter().any(|(_, handler)| *handler == Some(*b"soun")) {
        return Vec::new();
    }
    tracks.into_iter().filter(|(_, handler)| *handler == Some(*b"vide")).map(|(track, _)| track).collect()
}

/// What a track holds, in four letters.
pub(super) fn handler_of(file: &SourceFile, track: Contents, left: &mut usize) -> Option<[u8; 4]> {
    let media = child(file, track, b"mdia", left)?;
    let handler = child(file, media, b"hdlr", left)?;
    bytes(file, handler.from + 8, handler.to)
}

/// Where the movie begins, if it is one: behind tags.
fn begin_of(file: &SourceFile) -> Option<u64> {
    let from = input::behind_tags(file);
    bytes::<8>(file, from, file.size())?.ends_with(b"ftyp").then_some(from)
}

/// The boxes within one, up to what is none.
pub(super) fn all(file: &SourceFile, around: Contents, left: &mut usize) -> Vec<Contents> {
    let mut place = around.from;
    std::iter::from_fn(|| next(file, around, &mut place, left)).collect()
}

/// Whether the chunks of a track stand in the file in the order of their times. The library reads one that stands before the last as if
/// it stood behind it.
pub(super) fn are_chunks_in_order(file: &SourceFile, track: u32) -> bool {
    const PIECE_BYTES: u64 = 1 << 16;
    let mut left = BOXES_MAX;
    let Some(tables) = tables_of(file, track, &mut left) else { return true };
    for (kind, width) in [(b"stco", 4), (b"co64", 8)] {
        let Some(table) = child(file, tables, kind, &mut left) else { continue };
        let count = word(file, table, 4).map_or(0, u64::from);
        let (mut place, mut last) = (table.from + 8, 0);
        let end = table.to.min(file.size()).min(place + count * width);
        while let Some(length) = end.checked_sub(place).filter(|length| *length >= width) {
            let length = length.min(PIECE_BYTES) / width * width;
            let mut piece = vec![0; usize::try_from(length).unwrap_or(0)];
            if file.file().read_exact_at(&mut piece, place).is_err() {
                break;
            }
            for offset in piece.chunks_exact(usize::try_from(width).unwrap_or(8)) {
                let offset = offset.iter().fold(0, |offset: u64, byte| offset << 8 | u64::from(*byte));
                if offset <= last {
                    return false;
                }
                last = offset;
            }
            place += length;
        }
    }
    true
}

/// The tables that say where the samples of a track stand, and what they are.
fn tables_of(file: &SourceFile, track: u32, left: &mut usize) -> Option<Contents> {
    let mut within = track_of(file, track, left)?;
    for kind in [b"mdia", b"minf", b"stbl"] {
        within = child(file, within, kind, left)?;
    }
    Some(within)
}

/// Where the size of the last box of media stands, if that goes to the end of the file without saying how long that is, and what it would
/// say. The library takes the end for lost then.
pub(super) fn size_of_open(file: &SourceFile) -> Option<(u64, [u8; 4])> {
    let whole = Contents { kind: *b"file", at: 0, from: begin_of(file)?, to: file.size() };
    let mut left = BOXES_MAX;
    let found = all(file, whole, &mut left).into_iter().last().filter(|last| last.kind == *b"mdat")?;
    let size = u32::try_from(found.to - found.at).ok()?;
    (bytes(file, found.at, found.to)? == [0; 4]).then_some((found.at, size.to_be_bytes()))
}

/// Whether the numbers of this track begin with their high byte: PCM of QuickTime's kinds of more than two bytes, unless `enda`
/// says otherwise. Source: QuickTime File Format, Sound Sample Descriptions.
pub(super) fn is_big_endian(file: &SourceFile, track: u32) -> bool {
    let order = || {
        let mut left = BOXES_MAX;
        let tables = tables_of(file, track, &mut left)?;
        let within = child(file, tables, b"stsd", &mut left)?;
        // Version and flags, the number of descriptions; then one of them.
        let mut at = within.from + 8;
        let sound = next(file, within, &mut at, &mut left)?;
        if ![b"in24", b"in32", b"fl32", b"fl64"].contains(&&sound.kind) {
            return None;
        }
        // 28 bytes, and by its version more of them; then its own boxes.
        let more = match u16::from_be_bytes(bytes(file, sound.from + 8, sound.to)?) {
            0 => 0,
            1 => 16,
            _ => 36,
        };
        let own = Contents { from: sound.from + 28 + more, ..sound };
        let within_wave = child(file, own, b"wave", &mut left).and_then(|wave| child(file, wave, b"enda", &mut left));
        let enda = within_wave.or_else(|| child(file, own, b"enda", &mut left));
        let is_little = enda.and_then(|enda| bytes::<2>(file, enda.from, enda.to)) == Some([0, 1]);
        Some(!is_little)
    };
    order().unwrap_or(false)
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
    let whole = Contents { kind: *b"file", at: 0, from: 0, to: i64::MAX.cast_unsigned() };
    while place < file.size() {
        let found = next(file, whole, &mut place, &mut left)?;
        if &found.kind == b"mdat" && found.to > file.size() {
            // One that goes to the end, wherever that is, is never cut.
            return Some(found.to).filter(|end| *end < whole.to);
        }
    }
    None
}

pub(super) fn child(file: &SourceFile, around: Contents, kind: &[u8; 4], left: &mut usize) -> Option<Contents> {
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
    let at = std::mem::replace(place, to);
    Some(Contents { kind, at, from, to })
}

pub(super) fn bytes<const COUNT: usize>(file: &SourceFile, place: u64, end: u64) -> Option<[u8; COUNT]> {
    input::bytes(file, place).filter(|_| place.checked_add(COUNT as u64).is_some_and(|behind| behind <= end))
}

pub(super) fn word(file: &SourceFile, found: Contents, offset: u64) -> Option<u32> {
    bytes(file, found.from + offset, found.to).map(u32::from_be_bytes)
}

/// The version of a full box.
pub(super) fn is_wide(file: &SourceFile, found: Contents) -> Option<bool> {
    Some(word(file, found, 0)? >> 24 == 1)
}

fn number_of(file: &SourceFile, track: Contents, left: &mut usize) -> Option<u32> {
    let header = child(file, track, b"tkhd", left)?;
    let offset = if is_wide(file, header)? { 20 } else { 12 };
    word(file, header, offset)
}

pub(super) fn units_of(file: &SourceFile, header: Contents) -> Option<u32> {
    let offset = if is_wide(file, header)? { 20 } else { 12 };
    word(file, header, offset).filter(|units| *units > 0)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    pub(crate) fn boxed(kind: &[u8; 4], contents: &[u8]) -> Vec<u8> {
        let size = u32::try_from(contents.len() + 8).unwrap();
        [&size.to_be_bytes(), kind.as_slice(), contents].concat()
    }

    pub(crate) fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    pub(crate) fn source(bytes: &[u8]) -> SourceFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        SourceFile::of(file).unwrap()
    }

    #[test]
    fn the_first_sound_that_is_enabled_is_the_default() {
        let track = |number: u32, kind: &[u8; 4], flags: u32| {
            let handler = boxed(b"hdlr", &[&[0; 8][..], kind].concat());
            let header = boxed(b"tkhd", &words(&[flags, 0, 0, number, 0]));
            boxed(b"trak", &[header, boxed(b"mdia", &handler)].concat())
        };
        let default = |tracks: &[Vec<u8>]| {
            default_sound(&source(&[boxed(b"ftyp", b"M4A "), boxed(b"moov", &tracks.concat())].concat()))
        };
        let (pictures, off, on) = (track(1, b"vide", 3), track(2, b"soun", 2), track(3, b"soun", 3));
        assert_eq!(default(&[pictures.clone(), off.clone(), on]), Some(3));
        assert_eq!(default(&[pictures.clone(), off, track(3, b"soun", 0)]), Some(2));
        assert_eq!(default(&[pictures]), None);
    }

    #[test]
    fn numbers_of_quicktime_begin_with_the_high_byte_unless_it_says_not() {
        let movie = |kind: &[u8; 4], version: u8, own: &[u8]| {
            let fixed = [vec![0; 8], vec![0, version], vec![0; 18 + [0, 16, 36][usize::from(version)]]].concat();
            let sounds = boxed(b"stsd", &[words(&[0, 1]), boxed(kind, &[fixed.as_slice(), own].concat())].concat());
            let media = boxed(b"mdia", &boxed(b"minf", &boxed(b"stbl", &sounds)));
            let track = boxed(b"trak", &[boxed(b"tkhd", &words(&[0, 0, 0, 7, 0])), media].concat());
            source(&[boxed(b"ftyp", b"qt  "), boxed(b"moov", &track)].concat())
        };
        let order = |number: u8| boxed(b"wave", &[boxed(b"frma", b"in24"), boxed(b"enda", &[0, number])].concat());
        for version in [0, 1, 2] {
            assert!(is_big_endian(&movie(b"in24", version, &[]), 7));
            assert!(is_big_endian(&movie(b"fl32", version, &order(0)), 7));
            assert!(!is_big_endian(&movie(b"in32", version, &order(1)), 7));
            assert!(!is_big_endian(&movie(b"in24", version, &boxed(b"enda", &[0, 1])), 7));
        }
        assert!(!is_big_endian(&movie(b"in24", 0, &[]), 8));
        assert!(!is_big_endian(&movie(b"sowt", 0, &[]), 7));
    }

    #[test]
    fn fragments_claim_no_more_than_there_is() {
        let fragment = |samples: u32| boxed(b"moof", &boxed(b"traf", &boxed(b"trun", &words(&[0, samples]))));
        let file = |fragments: &[Vec<u8>], tracks: usize| {
            let movie = boxed(b"moov", &boxed(b"trak", b"").repeat(tracks));
            source(&[boxed(b"ftyp", b"M4A "), movie, fragments.concat()].concat())
        };
        assert!(check(&file(&[fragment(20), fragment(30)], 1)).is_ok());
        let reason = check(&file(&[fragment(20), fragment(u32::MAX)], 1)).unwrap_err().to_string();
        assert!(reason.starts_with("its 2 fragments claim 4294967315 samples in a file of "), "{reason}");
        assert!(check(&file(&vec![fragment(0); 4000], 300)).is_err());
        assert!(check(&file(&vec![fragment(0); 4000], 2)).is_ok());
        assert!(check(&source(b"RIFF")).is_ok());
        let whole = [boxed(b"ftyp", b"M4A "), fragment(u32::MAX)].concat();
        let tag = b"ID3\x04\0\0\0\0\0\x05 tag ";
        for before in [&b""[..], tag, &tag.repeat(2)] {
            assert!(check(&source(&[before, &whole].concat())).is_err(), "{before:?}");
        }
    }

    fn handled(kind: &[u8; 4], runs: u32, packets: u32) -> Vec<u8> {
        let times = boxed(b"stts", &[words(&[0, runs]), words(&[1, 9]).repeat(runs as usize)].concat());
        let sizes = boxed(b"stsz", &words(&[0, 1, packets]));
        let handler = boxed(b"hdlr", &[&[0; 8], &kind[..], &[0; 12]].concat());
        let tables = boxed(b"minf", &boxed(b"stbl", &[times, sizes].concat()));
        boxed(b"trak", &boxed(b"mdia", &[handler, tables].concat()))
    }

    #[test]
    fn times_are_not_looked_for_without_end() {
        let file = |tracks: &[Vec<u8>], bytes: usize| {
            source(
                &[boxed(b"ftyp", b"M4A "), boxed(b"moov", &tracks.concat()), boxed(b"mdat", &vec![0; bytes])].concat(),
            )
        };
        // Packets beyond the file's bytes are not read.
        assert!(check(&file(&[handled(b"soun", 300_000, u32::MAX)], 1000)).is_err());
        assert!(check(&file(&[handled(b"soun", 1000, u32::MAX)], 1_000_000)).is_ok());
        let reason = check(&file(&[handled(b"soun", 150_000, u32::MAX)], 1_000_000)).unwrap_err().to_string();
        assert!(reason.starts_with("its tables of times have 150000 runs for 2200"), "{reason}");
        // Those of pictures are not looked at beside sound.
        assert!(check(&file(&[handled(b"vide", 150_000, u32::MAX), handled(b"soun", 1, 100)], 1_000_000)).is_ok());
        assert!(check(&file(&[handled(b"vide", 150_000, u32::MAX)], 1_000_000)).is_err());
        let run = boxed(b"trun", &[words(&[0, 600_000]), vec![0; 600_000]].concat());
        let fragment = boxed(b"moof", &boxed(b"traf", &run));
        assert!(check(&source(&[boxed(b"ftyp", b"M4A "), fragment].concat())).is_err());
    }

    #[test]
    fn pictures_are_hidden_beside_sound() {
        let start = boxed(b"ftyp", b"M4A ");
        let file = |boxes: &[Vec<u8>]| source(&[start.clone(), boxed(b"moov", &boxes.concat())].concat());
        let hidden = |file: &SourceFile| check(file).unwrap();
        let (sound, pictures) = (handled(b"soun", 1, 1), handled(b"vide", 1, 1));
        let begin = start.len() as u64 + 8;
        let second = begin + sound.len() as u64;
        assert_eq!(hidden(&file(&[sound.clone(), pictures.clone()])), [second + 4]);
        assert_eq!(hidden(&file(&[sound.clone(), sound.clone()])), [0; 0]);
        assert_eq!(hidden(&file(&[pictures.clone(), pictures.clone()])), [0; 0]);
        assert_eq!(hidden(&file(&[sound, pictures, boxed(b"mvex", b"")])), [0; 0]);
    }

    /// Wrong samples were taken for those of the chunks that stand before others.
    #[test]
    fn chunks_may_stand_in_any_order() {
        let in_order = |kind: &[u8; 4], width: usize, offsets: &[u64]| {
            let entries: Vec<u8> =
                offsets.iter().flat_map(|offset| offset.to_be_bytes()[8 - width..].to_vec()).collect();
            let table = boxed(kind, &[words(&[0, offsets.len() as u32]), entries].concat());
            let media = boxed(b"mdia", &boxed(b"minf", &boxed(b"stbl", &table)));
            let track = boxed(b"trak", &[boxed(b"tkhd", &words(&[0, 0, 0, 7, 0])), media].concat());
            are_chunks_in_order(&source(&[boxed(b"ftyp", b"qt  "), boxed(b"moov", &track)].concat()), 7)
        };
        let many: Vec<u64> = (1..40_000).collect();
        for (kind, width) in [(b"stco", 4), (b"co64", 8)] {
            assert!(in_order(kind, width, &[]) && in_order(kind, width, &[40, 41]) && in_order(kind, width, &many));
            assert!(!in_order(kind, width, &[40, 30]) && !in_order(kind, width, &[40, 40]));
            assert!(!in_order(kind, width, &[&many[..], &[39_998]].concat()));
        }
    }

    /// "sync lost", behind all of its sound.
    #[test]
    fn media_may_go_to_the_end_of_the_file() {
        let (start, mut open) = (boxed(b"ftyp", b"M4A "), boxed(b"mdat", &[7; 100]));
        open[..4].fill(0);
        let movie = [start.clone(), open].concat();
        assert_eq!(size_of_open(&source(&movie)), Some((12, 108_u32.to_be_bytes())));
        assert_eq!(end_of_cut(&source(&movie)), None);
        assert_eq!(size_of_open(&source(&[start, boxed(b"mdat", &[7; 100])].concat())), None);
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
}
