//! Opening a file, its track and its decoder, within bounds.
//!
//! What goes wrong here may only mean that this library does not know it: `Closed::Unknown`.

use std::ops::Range;

use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_PCM_F32BE, CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F64BE, CODEC_ID_PCM_F64LE, CODEC_ID_PCM_S24BE,
    CODEC_ID_PCM_S24LE, CODEC_ID_PCM_S32BE, CODEC_ID_PCM_S32LE, CODEC_ID_VORBIS,
};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatId, FormatOptions, FormatReader, well_known};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::super::{About, DecodeError, SourceFile, fragments, ogg};
use super::container::Change;
use super::input::{HIDDEN, Input, Trouble};
use super::matroska::Order;
use super::{aiff, container, flac, matroska, movie, names, rejected, vorbis, wav};
use crate::config::AUDIO_CHANNELS_MAX as CHANNELS_MAX;

/// Hz; more than anything that records has.
const RATE_MAX: u32 = 1 << 20;
/// Samples of a channel in a packet, as far as memory is taken for them before it is there.
const PACKET_FRAMES_MAX: u64 = 1 << 17;
/// How much of a file is read to find its tracks: so many times its length, and so many bytes.
const PROBE_READS_MAX: u64 = 8;
const PROBE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a text or a picture beside the sound that are kept in memory.
const METADATA_BYTES_MAX: usize = 64 << 10;
/// What a WAV file says whose length was not known when it began.
const UNKNOWN_SIZE: [u8; 4] = [0xFF; 4];

/// Why a track is not decoded.
pub(super) enum Closed {
    /// Nothing here knows it: the reason, where nobody else does either.
    Unknown(String),
    /// It is damaged as told: somebody else may know what to keep of it.
    Damaged(String),
    Error(DecodeError),
}

impl From<DecodeError> for Closed {
    fn from(error: DecodeError) -> Self {
        Self::Error(error)
    }
}

/// Bytes of the packets of a file of so many.
pub(super) fn packet_bytes_max(file_bytes: u64) -> u64 {
    file_bytes.saturating_mul(2).saturating_add(1 << 16)
}

/// Bytes that are read of a file to find its tracks.
pub(super) fn reads_max(file: &SourceFile) -> u64 {
    file.size().saturating_mul(PROBE_READS_MAX).saturating_add(PROBE_BYTES_MAX)
}

/// A file that is being opened, and what the library is told of it.
pub(super) struct Opening<'a> {
    pub(super) file: &'a SourceFile,
    pub(super) about: About<'a>,
    pub(super) trouble: &'a Trouble,
    /// The part of it that is sound in one container, of one kind.
    part: Range<u64>,
    /// Places of four bytes, and what the library is told instead of them.
    others: Vec<(u64, [u8; 4])>,
    /// Its header could not be told its length, or does not tell it: the sound goes to the end of the file.
    pub(super) is_endless: bool,
    /// What becomes of its sound where the part ends, if it is another one.
    pub(super) change: Option<Change>,
    /// What is lost in front of the first sample.
    pub(super) lost_start: Option<String>,
    /// What is lost behind it, as far as nothing but the container tells.
    pub(super) lost_later: Option<String>,
    /// Bytes of frames, where nothing but frames stands between its metadata and its end: FLAC.
    pub(super) frame_bytes: Option<u64>,
}

impl<'a> Opening<'a> {
    pub(super) fn new(file: &'a SourceFile, about: About<'a>, trouble: &'a Trouble) -> Result<Self, Closed> {
        wav::check(file)?;
        aiff::check(file)?;
        let begin = container::begin_of(file).ok_or_else(|| Closed::Unknown(names::unknown(file)))?;
        let mut others: Vec<(u64, [u8; 4])> = movie::check(file)?.into_iter().map(|place| (place, HIDDEN)).collect();
        others.extend(movie::size_of_open(file));
        let unknown = wav::sizes_without_end(file, begin);
        others.extend(unknown.iter().map(|place| (*place, UNKNOWN_SIZE)));
        let order = matroska::order(file, about)?;
        match order {
            Order::Broken(place) => return Err(Closed::Damaged(names::broken_matroska(place))),
            Order::Another(place) => return Err(Closed::Unknown(names::another_matroska(place))),
            Order::Many(place) => return Err(rejected(names::many_matroska(place)).into()),
            Order::Told | Order::Open => {}
        }
        let frames = flac::frames_in(file, begin);
        let change = container::change_in(file, begin);
        let ends = [movie::end_of_cut(file), matroska::end_of(file), frames.as_ref().map(|frames| frames.end)];
        let end = ends.into_iter().flatten().chain(change.map(|change| change.at)).next().unwrap_or(file.size());
        let pages = ogg::loss_in(file.file(), begin, file.size(), ogg::Content::Sound, || !about.is_interrupted());
        let (lost_start, lost_later) = match pages.map(|loss| (loss.is_at_start, loss.to_string())) {
            Some((true, reason)) => (Some(reason), None),
            Some((false, reason)) => (None, Some(reason)),
            None => (
                container::lost_start(file, begin).map(names::lost_start),
                fragments::loss_in(file.file(), begin, file.size()).map(names::lost_fragments),
            ),
        };
        Ok(Self {
            file,
            about,
            trouble,
            part: begin..end,
            others,
            is_endless: order == Order::Open || !unknown.is_empty(),
            change,
            lost_start,
            lost_later,
            frame_bytes: frames.map(|frames| frames.end - frames.start),
        })
    }

    /// The file's container, from its start. The library may read as it likes from then on.
    pub(super) fn probe(&self) -> Result<Box<dyn FormatReader + 'a>, Closed> {
        let Self { file, about, trouble, .. } = *self;
        trouble.limit_reads(Some(reads_max(file)));
        let input = Input::new(file, self.part.clone(), self.others.clone(), about.interrupted, trouble);
        let stream = MediaSourceStream::new(Box::new(input), MediaSourceStreamOptions::default());
        let limit = Limit::Maximum(METADATA_BYTES_MAX);
        let metadata = MetadataOptions::default().limit_tag_bytes(limit).limit_visual_bytes(limit);
        let probed = container::PROBE.probe(&Hint::new(), stream, FormatOptions::default(), metadata);
        trouble.limit_reads(None);
        probed.map_err(|error| match (trouble.take(), error) {
            (Some(trouble), _) => trouble.into(),
            (None, Error::Unsupported("isomp4: missing moov atom")) => {
                rejected("an MP4 or MOV file without its index (moov): it is cut short, or was never finished").into()
            }
            (None, error) => Closed::Unknown(format!("its container cannot be read: {}", told(&error))),
        })
    }
}

/// Whether the rate, in Hz, and the number of channels are within bounds.
pub(super) fn check(rate: u32, channels: usize) -> Result<(), DecodeError> {
    if !(1..=RATE_MAX).contains(&rate) {
        return Err(rejected(format!("the header says {rate} Hz, expected 1 to {RATE_MAX}")));
    }
    if !(1..=CHANNELS_MAX).contains(&channels) {
        return Err(rejected(format!("the header says {channels} channels, expected 1 to {CHANNELS_MAX}")));
    }
    Ok(())
}

pub(super) fn check_channels(parameters: &AudioCodecParameters) -> Result<(), DecodeError> {
    let channels = parameters.channels.as_ref().map_or(1, |channels| channels.count());
    if channels > CHANNELS_MAX {
        return Err(rejected(format!("the header says {channels} channels, expected 1 to {CHANNELS_MAX}")));
    }
    Ok(())
}

/// What the container says of the sound, set right where the library takes it for what it is not, and within bounds: the
/// decoders take memory for a packet of so many samples before there is one.
pub(super) fn as_stored(
    parameters: &AudioCodecParameters,
    format: FormatId,
    file: &SourceFile,
    number: u32,
) -> Result<AudioCodecParameters, DecodeError> {
    let mut parameters = parameters.clone();
    if let Some(frames) = parameters.max_frames_per_packet.max(parameters.frames_per_block)
        && frames > PACKET_FRAMES_MAX
    {
        return Err(rejected(format!("it claims {frames} samples a packet, expected {PACKET_FRAMES_MAX} at most")));
    }
    if let Some(setup) = parameters.extra_data.as_deref().filter(|_| parameters.codec == CODEC_ID_VORBIS) {
        vorbis::check(setup)?;
    }
    // QuickTime's numbers of these kinds begin with their high byte, unless they are said not to. The library takes none so.
    if format == well_known::FORMAT_ID_ISOMP4 && movie::is_big_endian(file, number) {
        parameters.codec = match parameters.codec {
            CODEC_ID_PCM_S24LE => CODEC_ID_PCM_S24BE,
            CODEC_ID_PCM_S32LE => CODEC_ID_PCM_S32BE,
            CODEC_ID_PCM_F32LE => CODEC_ID_PCM_F32BE,
            CODEC_ID_PCM_F64LE => CODEC_ID_PCM_F64BE,
            other => other,
        };
    }
    Ok(parameters)
}

/// A decoder that checks the sums of the samples, where the format has them.
pub(super) fn decoder_of(parameters: &AudioCodecParameters, format: FormatId) -> Result<Box<dyn AudioDecoder>, Closed> {
    if let Some(reason) = names::half_decoded(parameters) {
        return Err(Closed::Unknown(reason));
    }
    // The library cuts off what lies behind the number of frames that it guesses where there is no tag.
    let options = AudioDecoderOptions::default().verify(true).gapless(!is_mpeg(format));
    let decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &options);
    let decoder = decoder.map_err(|error| match error {
        Error::Unsupported(what) => Closed::Unknown(names::unsupported(parameters, what)),
        error => Closed::Unknown(format!("its sound cannot be decoded: {}", told(&error))),
    })?;
    // The decoder knows how many channels there are, whatever the container says.
    match names::coupled(parameters).or_else(|| names::coupled(decoder.codec_params())) {
        Some(reason) => Err(Closed::Unknown(reason)),
        None => Ok(decoder),
    }
}

/// MPEG's sound without a container.
pub(super) fn is_mpeg(format: FormatId) -> bool {
    [well_known::FORMAT_ID_MP1, well_known::FORMAT_ID_MP2, well_known::FORMAT_ID_MP3].contains(&format)
}

/// The library's word for an error.
pub(super) fn told(error: &Error) -> String {
    if is_end(error) { "the file ends within it".to_owned() } else { error.to_string() }
}

pub(super) fn is_end(error: &Error) -> bool {
    matches!(error, Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
}
