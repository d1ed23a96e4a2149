//! Words for what was found in a file and cannot be decoded.

use std::os::unix::fs::FileExt;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known as codecs;
use symphonia::core::codecs::audio::well_known::profiles;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};
use symphonia::core::formats::{FormatReader, TrackType};

use super::super::SourceFile;
use super::super::fragments::Loss;

/// What is decoded, for reasons.
const KNOWN: &str = "PCM, FLAC, MP3, Vorbis, AAC-LC, ALAC or ADPCM";
/// What to do about the others.
pub(super) const CONVERT: &str = "convert it, for example: ffmpeg -i IN -vn OUT.flac";

const CODECS: [(AudioCodecId, &str); 16] = [
    (codecs::CODEC_ID_OPUS, "Opus"),
    (codecs::CODEC_ID_SPEEX, "Speex"),
    (codecs::CODEC_ID_MUSEPACK, "Musepack"),
    (codecs::CODEC_ID_AC3, "AC-3"),
    (codecs::CODEC_ID_EAC3, "E-AC-3"),
    (codecs::CODEC_ID_AC4, "AC-4"),
    (codecs::CODEC_ID_DCA, "DTS"),
    (codecs::CODEC_ID_WMA, "Windows Media Audio"),
    (codecs::CODEC_ID_WAVPACK, "WavPack"),
    (codecs::CODEC_ID_MONKEYS_AUDIO, "Monkey's Audio"),
    (codecs::CODEC_ID_TTA, "True Audio"),
    (codecs::CODEC_ID_TRUEHD, "TrueHD"),
    (codecs::CODEC_ID_AAC, "AAC"),
    (codecs::CODEC_ID_ALAC, "ALAC"),
    (codecs::CODEC_ID_FLAC, "FLAC"),
    (codecs::CODEC_ID_VORBIS, "Vorbis"),
];

/// Signatures of containers that are not read: offset, bytes, name.
const CONTAINERS: [(usize, &[u8], &str); 23] = [
    (8, b"AVI ", "an AVI file"),
    (0, b"FLV", "a Flash video"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"MAC ", "a Monkey's Audio file"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b".snd", "an AU file"),
    (0, b"\x00\x00\x01\xba", "an MPEG program stream"),
    (0, b"\x00\x00\x01\xb3", "an MPEG video"),
    (0, b"\x06\x0e\x2b\x34", "an MXF file"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b"\xfe\x7f\x01\x80", "DTS"),
    (0, b"\x1f\xff\xe8\x00", "DTS"),
    (0, b"\xff\x1f\x00\xe8", "DTS"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\x2e\x52\x4d\x46", "a RealMedia file"),
    (0, b"nut/multimedia container", "a NUT file"),
    (0, b"riff", "a Wave64 file"),
    // Movies without their first box.
    (4, b"moov", "a QuickTime movie"),
    (4, b"mdat", "a QuickTime movie"),
    (4, b"wide", "a QuickTime movie"),
    (4, b"free", "a QuickTime movie"),
    (4, b"skip", "a QuickTime movie"),
];
/// Packets of an MPEG transport stream begin with this byte: so far from one to the next, and where the first is.
const SYNC_BYTE: u8 = 0x47;
const TRANSPORT_STREAMS: [(usize, usize); 3] = [(188, 0), (192, 4), (204, 0)];

/// A container that is known and not read.
pub(super) fn container(file: &SourceFile) -> Option<&'static str> {
    let mut start = [0; 1024];
    let read = file.file().read_at(&mut start, 0).unwrap_or(0);
    let start = start.get(..read)?;
    let is_stream =
        |(length, first): &(usize, usize)| (0..3).all(|number| start.get(first + number * length) == Some(&SYNC_BYTE));
    if TRANSPORT_STREAMS.iter().any(is_stream) {
        return Some("an MPEG transport stream");
    }
    let has = |offset: usize, bytes: &[u8]| start.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
    CONTAINERS.iter().find(|(offset, bytes, _)| has(*offset, bytes)).map(|(_, _, name)| *name)
}

/// A file whose container is not read.
pub(super) fn unknown(file: &SourceFile) -> String {
    let found = container(file).unwrap_or("no sound that is known");
    format!("found {found}, expected WAV, AIFF, CAF, FLAC, MP3, Ogg, AAC, MP4, MOV, MKV or WebM: {CONVERT}")
}

/// A codec that there is no decoder for, or that the decoder does not take.
pub(super) fn unsupported(parameters: &AudioCodecParameters, what: &str) -> String {
    let codec = CODECS.iter().find(|(id, _)| *id == parameters.codec).map(|(_, name)| *name);
    // Where there is no decoder at all, the library has nothing to add.
    let why = if what.contains("unsupported audio codec") { String::new() } else { format!(" ({what})") };
    match codec {
        Some(codec) => format!("its sound is {codec}, which is not decoded{why}, expected {KNOWN}: {CONVERT}"),
        None => format!("its sound has a codec that is not known{why}, expected {KNOWN}: {CONVERT}"),
    }
}

/// AAC whose upper half of the spectrum, or second channel, would be left out.
pub(super) fn half_decoded(parameters: &AudioCodecParameters) -> Option<String> {
    let profile = parameters.profile?;
    let is_half = profile == profiles::CODEC_PROFILE_AAC_HE || profile == profiles::CODEC_PROFILE_AAC_HE_V2;
    let is_half = is_half && parameters.codec == codecs::CODEC_ID_AAC;
    is_half.then(half)
}

/// Vorbis of more channels than the library couples in the right order: it undoes the steps from the first to the last, where Vorbis I
/// (4.3.5) has it the other way round.
pub(super) fn coupled(parameters: &AudioCodecParameters) -> Option<String> {
    let count = parameters.channels.as_ref()?.count();
    let is_coupled = parameters.codec == codecs::CODEC_ID_VORBIS && count > 2;
    is_coupled.then(|| format!("its sound is Vorbis of {}, expected 1 or 2: {CONVERT}", channels(count)))
}

/// A file that ends within a packet.
pub(super) fn cut_packet((wanted, found): (usize, usize)) -> String {
    format!("it is cut short: its last packet has {found} bytes, expected {wanted} or more")
}

/// AAC that is half of HE-AAC, as its packets tell.
pub(super) fn half() -> String {
    format!("its sound is HE-AAC, of which only half would be decoded, expected {KNOWN}: {CONVERT}")
}

/// AAC that may be half of HE-AAC, as far as its container tells.
pub(super) fn may_be_half() -> String {
    "its sound is AAC of at most 24000 Hz, which may be the lower half of HE-AAC".to_owned()
}

/// An edit list that plays parts of the sound again, or before what stands in front of them.
pub(super) fn parts(count: usize) -> String {
    format!("its edit list plays {count} parts of the sound, expected that each stands behind the last: {CONVERT}")
}

/// An edit list of which nobody makes what it says.
pub(super) fn pause_within() -> String {
    format!("its edit list has a pause between parts of the sound, of which FFmpeg would play some twice: {CONVERT}")
}

/// A track whose parts stand in the file in another order than they are played in.
pub(super) fn chunks_out_of_order() -> String {
    format!("its chunks of sound stand in the file in another order than that of their times: {CONVERT}")
}

/// A track of Matroska whose packets are not what the codec gave.
pub(super) fn packed() -> String {
    format!("its sound is compressed or encrypted once more by Matroska (ContentEncodings): {CONVERT}")
}

/// A Matroska or WebM file of which parts would be passed over.
pub(super) fn broken_matroska(place: u64) -> String {
    format!("its Matroska or WebM is damaged at byte {place}")
}

/// Matroska or WebM files that were put behind one another.
pub(super) fn another_matroska(place: u64) -> String {
    format!("another Matroska or WebM file follows at byte {place}, expected a single one: {CONVERT}")
}

/// More of them than FFmpeg finds.
pub(super) fn many_matroska(place: u64) -> String {
    format!("a third Matroska or WebM file follows at byte {place}, expected two at most: {CONVERT}")
}

/// What cannot be decoded before the first frame that can.
pub(super) fn lost_start(bytes: u64) -> String {
    format!("its first {bytes} bytes are damaged: what they hold of its sound is missing")
}

/// An MP4 whose last fragment is not all there.
pub(super) fn lost_fragments(loss: Loss) -> String {
    match loss {
        Loss::Cut(place) => format!("it is cut short: its fragment at byte {place} is not all there"),
        Loss::Broken(place) => {
            format!("it is damaged: its fragments do not go on at byte {place}, and there are others behind it")
        }
    }
}

/// What of the frames of a FLAC file was not taken.
pub(super) fn no_frames(bytes: u64) -> String {
    format!("it is cut short or damaged: {bytes} bytes of it are no whole frame of FLAC")
}

/// A container without a track to be decoded.
pub(super) fn without_sound(reader: &dyn FormatReader) -> String {
    let name = reader.format_info().long_name;
    let unknown = reader.first_track(TrackType::Audio).is_some();
    if unknown {
        return format!("{name}: its sound has a codec that is not known, expected {KNOWN}: {CONVERT}");
    }
    let videos = reader.tracks().iter().filter(|track| matches!(track.codec_params, Some(CodecParameters::Video(_))));
    match videos.count() {
        0 => format!("{name}: it has no sound track that is known, expected {KNOWN}"),
        _ => format!("{name}: it has pictures and no sound track that is known, expected {KNOWN}"),
    }
}

pub(super) fn channels(count: usize) -> String {
    if count == 1 { "1 channel".to_owned() } else { format!("{count} channels") }
}
