//! Which container a file is, by the bytes that it begins with, where the library of containers is to begin, and which track is
//! meant.
//!
//! Left to itself the library looks for its marks at every place of the first mebibyte. That of MPEG's sound is two bytes, which
//! stand in most pictures as well: a video that it does not know would be taken for an MP3. So it begins where one of its
//! containers does, or where many frames of MPEG's sound stand one behind the other, and looks no further.

use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::formats::probe::{Probe, ProbeOptions};
use symphonia::core::formats::{FormatReader, Track, TrackType, well_known};

use super::super::{SourceFile, ogg};
use super::{input, matroska, movie, names};

/// How far behind the start of a file sound of MPEG is looked for, and how long a frame of it is at most.
const JUNK_BYTES_MAX: usize = 1 << 20;
const FRAME_BYTES_MAX: usize = 1 << 13;
/// What is read of a frame to know its kind and length.
const HEADER_BYTES: usize = 6;
/// Frames that stand one behind the other, at the start of the file and elsewhere. Other containers hold some of them in one piece.
const FRAMES: usize = 3;
const FRAMES_BEHIND_JUNK: usize = 16;
/// How far the library looks for a mark, that of a movie being behind its size.
const PROBE_BYTES: u32 = 16;

/// Marks of what the library reads: where they stand, and what stands there.
const MARKS: [&[(usize, &[u8])]; 7] = [
    &[(0, b"RIFF"), (8, b"WAVE")],
    &[(0, b"FORM"), (8, b"AIF")],
    &[(0, b"caff")],
    &[(0, b"fLaC")],
    &[(0, b"OggS")],
    &[(0, b"\x1A\x45\xDF\xA3")],
    &[(4, b"ftyp")],
];

/// The library's search, which goes no further than it has to.
pub(super) static PROBE: LazyLock<Probe> = LazyLock::new(|| {
    let mut probe = Probe::new_with_options(&ProbeOptions { max_probe_depth: PROBE_BYTES, ..ProbeOptions::default() });
    symphonia::default::register_enabled_formats(&mut probe);
    probe
});

/// Where the library is to begin: behind tags, and in front of MPEG's sound behind anything. `None`: it is nothing that it reads.
pub(super) fn begin_of(file: &SourceFile) -> Option<u64> {
    let from = input::behind_tags(file);
    let mut start = [0; 16];
    let read = file.file().read_at(&mut start, from).ok()?;
    let start = start.get(..read)?;
    let has = |(offset, bytes): &(usize, &[u8])| start.get(*offset..).is_some_and(|rest| rest.starts_with(bytes));
    if MARKS.iter().any(|marks| marks.iter().all(has)) {
        return Some(from);
    }
    if names::container(file).is_some() {
        return None;
    }
    let left = usize::try_from(file.size() - from).unwrap_or(usize::MAX);
    let length = left.min(JUNK_BYTES_MAX + FRAMES_BEHIND_JUNK * FRAME_BYTES_MAX);
    let mut bytes = vec![0; length];
    file.file().read_exact_at(&mut bytes, from).ok()?;
    let places = memchr::memchr_iter(0xFF, bytes.get(..length.min(JUNK_BYTES_MAX))?);
    let is_sound = |place: &usize| {
        let wanted = if *place == 0 { FRAMES } else { FRAMES_BEHIND_JUNK };
        are_frames(bytes.get(*place..).unwrap_or_default(), wanted)
    };
    places.into_iter().find(is_sound).map(|place| from + place as u64)
}

/// Bytes of sound before the frames that were found at a place: of a first frame, or of an encoder's tag, which are damaged. What
/// else may stand there is none of its sound.
pub(super) fn lost_start(file: &SourceFile, begin: u64) -> Option<u64> {
    /// Of an encoder, which stands in the first frame in place of sound.
    const TAGS: [&[u8]; 2] = [b"Xing\0\0\0", b"Info\0\0\0"];
    let from = input::behind_tags(file);
    let length = begin.checked_sub(from).filter(|length| *length > 0)?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.file().read_exact_at(&mut bytes, from).ok()?;
    let has_tag = TAGS.iter().any(|tag| memchr::memmem::find(&bytes, tag).is_some());
    (has_tag || Frame::of(&bytes).is_some()).then_some(length)
}

/// Where the frames of MPEG's sound, or of ADTS, become others: the library goes on as if they had the first one's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at: u64,
    /// Hz and channels from there on.
    pub(super) to: (u32, usize),
}

/// The first such place in a file whose frames begin here.
pub(super) fn change_in(file: &SourceFile, begin: u64) -> Option<Change> {
    // That of an encoder's tag may have other channels than those with the sound.
    let tag = Frame::of(&input::bytes::<HEADER_BYTES>(file, begin)?)?;
    let mut place = begin + tag.bytes as u64;
    let mut pieces = Pieces { file, from: place, bytes: Vec::new() };
    let first = Frame::of(pieces.at(place)?)?;
    loop {
        let bytes = pieces.at(place)?;
        match Frame::of(bytes) {
            Some(frame) if frame.sounds_like(first) => place += frame.bytes as u64,
            Some(frame) if are_frames(bytes, FRAMES) => {
                let channels = if frame.channels == 0 { first.channels } else { frame.channels };
                return Some(Change { at: place, to: (frame.rate, channels) });
            }
            _ => {
                let rest = bytes.get(1..)?;
                let mut places = memchr::memchr_iter(0xFF, rest);
                let next = places.find(|next| are_frames(rest.get(*next..).unwrap_or_default(), FRAMES));
                // What does not fit into this piece is looked at in the next.
                let next = next.or(rest.len().checked_sub(FRAMES * FRAME_BYTES_MAX).filter(|next| *next > 0))?;
                place += 1 + next as u64;
            }
        }
    }
}

/// A file in large pieces, in which what is asked for stands with so much behind it that some frames fit, or all that there is.
struct Pieces<'a> {
    file: &'a SourceFile,
    from: u64,
    bytes: Vec<u8>,
}

impl Pieces<'_> {
    fn at(&mut self, place: u64) -> Option<&[u8]> {
        const PIECE_BYTES: usize = 1 << 20;
        let mut offset = usize::try_from(place.checked_sub(self.from)?).ok()?;
        let is_last = !self.bytes.is_empty() && self.from + self.bytes.len() as u64 >= self.file.size();
        if !is_last && offset + FRAMES * FRAME_BYTES_MAX >= self.bytes.len() {
            super::super::step();
            let left = usize::try_from(self.file.size().checked_sub(place)?).unwrap_or(usize::MAX);
            self.bytes.resize(left.min(PIECE_BYTES), 0);
            self.file.file().read_exact_at(&mut self.bytes, place).ok()?;
            (self.from, offset) = (place, 0);
        }
        self.bytes.get(offset..).filter(|bytes| !bytes.is_empty())
    }
}

/// The sound track that the container calls its default, else the first. `None`: there is none, or it has a codec that the library
/// does not know.
pub(super) fn default_track<'a>(reader: &'a dyn FormatReader, file: &SourceFile) -> Option<&'a Track> {
    let default = match reader.format_info().format {
        well_known::FORMAT_ID_ISOMP4 => movie::default_sound(file),
        well_known::FORMAT_ID_MKV => matroska::default_sound(file).and_then(|track| u32::try_from(track.number).ok()),
        // The library has them in the order of their numbers.
        well_known::FORMAT_ID_OGG if sounds(reader).next().is_some() => ogg_sounds(file).next(),
        _ => None,
    };
    match default {
        Some(number) => sounds(reader).find(|track| track.id == number),
        None => reader.default_track(TrackType::Audio),
    }
}

/// The same of streams that stand in the file behind others.
pub(super) fn next_track<'a>(reader: &'a dyn FormatReader, file: &SourceFile) -> Option<&'a Track> {
    let first = sounds(reader).next()?;
    if sounds(reader).count() == 1 {
        return Some(first);
    }
    ogg_sounds(file).find_map(|number| sounds(reader).find(|track| track.id == number))
}

fn sounds(reader: &dyn FormatReader) -> impl Iterator<Item = &Track> {
    reader.tracks().iter().filter(|track| matches!(track.codec_params, Some(CodecParameters::Audio(_))))
}

fn ogg_sounds(file: &SourceFile) -> impl Iterator<Item = u32> {
    ogg::sounds_in(file.file(), input::behind_tags(file), file.size())
}

/// Whether these bytes are so many frames of one kind, or nothing but some of them.
fn are_frames(mut bytes: &[u8], wanted: usize) -> bool {
    let Some(first) = Frame::of(bytes) else { return false };
    let mut found = 0;
    while let Some(frame) = Frame::of(bytes).filter(|frame| frame.kind == first.kind) {
        found += 1;
        bytes = bytes.get(frame.bytes..).unwrap_or_default();
        if found == wanted || (bytes.is_empty() && found > 1) {
            return true;
        }
    }
    false
}

/// How much of a frame that does not end within the file has to be there, and is, in bytes. Of MPEG's sound and ADTS, whose
/// frames stand one behind the other up to the end.
pub(super) fn cut_frame(file: &SourceFile) -> Option<(usize, usize)> {
    const END_BYTES: u64 = 1 << 16;
    let mut start = vec![0; FRAMES * FRAME_BYTES_MAX];
    let read = file.file().read_at(&mut start, begin_of(file)?).ok()?;
    if !are_frames(start.get(..read)?, FRAMES) {
        return None;
    }
    let length = file.size().min(END_BYTES);
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.file().read_exact_at(&mut bytes, file.size() - length).ok()?;
    let mut rest = bytes.as_slice();
    while let Some(place) = memchr::memchr(0xFF, rest) {
        rest = rest.get(place..)?;
        if !are_frames(rest, FRAMES) {
            rest = rest.get(1..)?;
            continue;
        }
        let first = Frame::of(rest)?;
        while let Some(frame) = Frame::of(rest).filter(|frame| frame.kind == first.kind) {
            let Some(behind) = rest.get(frame.bytes..) else { return Some((frame.bytes, rest.len())) };
            rest = behind;
        }
        if rest.len() < HEADER_BYTES && rest.first() == Some(&0xFF) {
            return Some((HEADER_BYTES, rest.len()));
        }
    }
    None
}

/// What the header of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    /// Version, layer and rate.
    kind: [u8; 2],
    bytes: usize,
    /// Hz
    rate: u32,
    /// 0: told elsewhere.
    channels: usize,
}

impl Frame {
    /// Of MPEG-1 and 2 audio (ISO/IEC 11172-3 and 13818-3, 2.4.2.3; version 2.5 is the one that they leave out), or AAC in ADTS
    /// (ISO/IEC 13818-7, 6.2).
    fn of(bytes: &[u8]) -> Option<Self> {
        let [0xFF, second, third, fourth, fifth, sixth, ..] = *bytes else { return None };
        if second & 0xF6 == 0xF0 {
            const RATES: [u32; 13] =
                [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
            let rate = *RATES.get(usize::from(third >> 2 & 0xF))?;
            let bytes = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
            // The seventh configuration is of eight channels.
            let channels = match usize::from((third & 1) << 2 | fourth >> 6) {
                7 => 8,
                channels => channels,
            };
            return (bytes > 7).then_some(Self { kind: [second & 0xFE, third & 0xFC], bytes, rate, channels });
        }
        if second & 0xE0 != 0xE0 {
            return None;
        }
        let (version, layer) = (second >> 3 & 3, 4 - (second >> 1 & 3));
        let (is_first, is_half) = (version == 3, version == 0);
        let kilobits: [usize; 14] = match (is_first, layer) {
            (_, 4) => return None,
            (true, 1) => [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
            (true, 2) => [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
            (true, _) => [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
            (false, 1) => [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
            (false, _) => [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
        };
        let bits = kilobits.get(usize::from(third >> 4).checked_sub(1)?)? * 1000;
        let of_first = *[44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))?;
        let rate = if is_first { of_first } else { of_first / if is_half { 4 } else { 2 } };
        let padding = usize::from(third >> 1 & 1);
        let bytes = match (is_first, layer) {
            (_, 1) => (12 * bits / rate + padding) * 4,
            (false, 3) => 72 * bits / rate + padding,
            _ => 144 * bits / rate + padding,
        };
        let channels = if fourth >> 6 == 3 { 1 } else { 2 };
        let kind = [second & 0xFE, third & 0x0C];
        (version != 1).then_some(Self { kind, bytes, rate: u32::try_from(rate).ok()?, channels })
    }

    /// Whether it has the same rate and channels, as far as it tells them.
    fn sounds_like(self, other: Self) -> bool {
        self.rate == other.rate && (self.channels == other.channels || self.channels == 0 || other.channels == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn begin(parts: &[&[u8]]) -> Option<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&parts.concat()).unwrap();
        begin_of(&SourceFile::of(file).unwrap())
    }

    /// A frame of 128 kbit/s at 44,100 Hz, without padding and with it, and one of ADTS.
    fn mp3(is_padded: bool) -> Vec<u8> {
        let length = 417 + usize::from(is_padded);
        [&[0xFF, 0xFB, 0x90 | u8::from(is_padded) << 1, 0x40][..], &vec![0; length - 4]].concat()
    }

    fn adts() -> Vec<u8> {
        [&[0xFF, 0xF1, 0x50, 0x80, 0x20, 0x1F, 0xFC][..], &[0; 249]].concat()
    }

    #[test]
    fn containers_go_by_their_first_bytes() {
        let frames = mp3(false).repeat(40);
        assert_eq!(begin(&[b"RIFF\0\0\0\0WAVEfmt "]), Some(0));
        assert_eq!(begin(&[b"RIFF\0\0\0\0AVI LIST", &frames]), None);
        assert_eq!(begin(&[b"\0\0\0\x20ftypisom", &frames]), Some(0));
        assert_eq!(begin(&[b"ID3\x04\0\0\0\0\0\x05 tag OggS", &frames]), Some(15));
        assert_eq!(begin(&[b"ID3\x04\0\0\0\0\0\x05 tag ", &frames]), Some(15));
        assert_eq!(begin(&[b"FLV\x01", &frames]), None);
        assert_eq!(begin(&[&[&[0x47][..], &[0; 187]].concat().repeat(4), &frames]), None);
        assert_eq!(begin(&[b""]), None);
        assert_eq!(begin(&[b"no sound at all"]), None);
    }

    #[test]
    fn mpeg_is_many_frames_one_behind_the_other() {
        let (short, long) = (mp3(false), mp3(true));
        let both = [short.clone(), long, short.clone()].concat();
        assert_eq!(begin(&[&both, b"TAG and so on"]), Some(0));
        assert_eq!(begin(&[&short, &short]), Some(0));
        assert_eq!(begin(&[&short, b"something else"]), None);
        assert_eq!(begin(&[b"junk", &both.repeat(6)]), Some(4));
        assert_eq!(begin(&[b"junk", &both.repeat(5), b"something else"]), None);
        assert_eq!(begin(&[&[0xFF, 0xFB, 0x90], &adts().repeat(20)]), Some(3));
        assert_eq!(begin(&[&[0; 500_000], &adts().repeat(20)]), Some(500_000));
        // Of several kinds.
        assert_eq!(begin(&[&short, &adts(), &short, &adts()]), None);
    }

    /// Files without a number of frames that were cut within one were taken for whole ones.
    #[test]
    fn a_frame_that_goes_beyond_the_file_is_found() {
        let cut = |parts: &[&[u8]]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&parts.concat()).unwrap();
            cut_frame(&SourceFile::of(file).unwrap())
        };
        for (frame, bytes) in [(mp3(false), 417), (mp3(true), 418), (adts(), 256)] {
            for frames in [2, 3, 400] {
                let whole = frame.repeat(frames);
                assert_eq!(cut(&[&whole]), None);
                assert_eq!(cut(&[&whole, b"TAG", &[0; 125]]), None);
                for length in [6, 100, bytes - 1] {
                    assert_eq!(cut(&[&whole, &frame[..length]]), Some((bytes, length)));
                    assert_eq!(cut(&[&whole, &[0; 99], &whole, &frame[..length]]), Some((bytes, length)));
                }
            }
            assert_eq!(cut(&[&frame.repeat(9), &frame[..3]]), Some((6, 3)));
        }
        assert_eq!(cut(&[b""]), None);
        assert_eq!(cut(&[&[0xFF; 1000]]), None);
    }

    /// What followed was given the rate of the first.
    #[test]
    fn frames_that_become_others_are_found() {
        let change = |parts: &[&[u8]]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&parts.concat()).unwrap();
            change_in(&SourceFile::of(file).unwrap(), 0)
        };
        let (mut other, mut untold, mut mono) = (adts(), adts(), mp3(false));
        other[2] = 0x4C;
        untold[3] &= 0x3F;
        mono[3] |= 0xC0;
        for (first, second, to) in [(adts(), other, (48_000, 2)), (mp3(false), mono, (44_100, 1))] {
            let (length, both) = (first.len() as u64, [first.repeat(3000), second.repeat(3)].concat());
            assert_eq!(change(&[&both]), Some(Change { at: 3000 * length, to }));
            assert_eq!(change(&[&first.repeat(3), &[7; 3_000_000], &both]).map(|change| change.to), Some(to));
            assert_eq!(change(&[&first.repeat(3000), &second.repeat(2), b"no frame"]), None);
            assert_eq!(change(&[&first.repeat(3000), &[0xFF; 5000], &first.repeat(9), b"TAG"]), None);
            // That of a tag.
            assert_eq!(change(&[&second, &first.repeat(9)]), None);
        }
        assert_eq!(change(&[&adts().repeat(9), &untold.repeat(9)]), None);
        assert_eq!(change(&[b"fLaC"]), None);
    }

    /// What follows a damaged start came too early.
    #[test]
    fn a_start_that_is_no_sound_may_have_been_some() {
        let lost = |start: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[start, &mp3(false).repeat(20)].concat()).unwrap();
            let file = SourceFile::of(file).unwrap();
            lost_start(&file, begin_of(&file).unwrap())
        };
        assert_eq!(lost(b""), None);
        assert_eq!(lost(b"junk, Info or Xing"), None);
        assert_eq!(lost(&[&mp3(false)[..], b"junk"].concat()), Some(421));
        assert_eq!(lost(&[b"\xFF\xBB\x90\x40 Info\0\0\0\x0F", &[0; 99][..]].concat()), Some(112));
        assert_eq!(lost(b"ID3\x04\0\0\0\0\0\x05 tag "), None);
    }

    #[test]
    fn frames_are_as_long_as_their_headers_say() {
        let length =
            |header: [u8; 3]| Frame::of(&[0xFF, header[0], header[1], header[2], 0, 0]).map(|frame| frame.bytes);
        // Layer 3 of versions 1, 2 and 2.5; layers 2 and 1.
        assert_eq!(length([0xFB, 0xE0, 0]), Some(1044));
        assert_eq!(length([0xF3, 0x80, 0]), Some(208));
        assert_eq!(length([0xE3, 0x80, 0]), Some(417));
        assert_eq!(length([0xFD, 0xA6, 0]), Some(577));
        assert_eq!(length([0xFF, 0xC4, 0]), Some(384));
        // No bit rate, no rate, no layer, no version.
        for header in [[0xFB, 0x00, 0], [0xFB, 0xF0, 0], [0xFB, 0x9C, 0], [0xE9, 0x90, 0], [0xEB, 0x90, 0]] {
            assert_eq!(length(header), None, "{header:?}");
        }
    }
}
