//! Sound: windows of samples, or log-mel spectrograms of them.
//!
//! Rules:
//! - Samples are numbers from -1 to 1, whatever the file has; full scale of an integer is a power of two, as in soundfile. In
//!   `i2` they are multiplied by 32768, rounded to the nearest (half to even) and limited: 16-bit sources come through as
//!   they are. Floating point is not limited.
//! - `[samples]` is the mean of all channels. `[samples, channels]` takes sources of just so many channels, and repeats the
//!   one of mono sources.
//! - Channels first, then the rate: see `resample`. `start` and `end` count from the sound's start; then it is cut into
//!   windows: see `windows`. A row's time is where its window begins.
//! - A sample that is no number, or beyond 10^12, is damage.
//! - Damage rejects the source. With `on_error = "keep"` its place is silent, and the source has a note.
//! - What nothing here decodes is decoded by the worker that has FFmpeg, and goes the same way.
//! - Whatever the length of the source, one packet, one block of the filter and one window are in memory.
//!
//! | file | holds |
//! |---|---|
//! | `container` | what a file is, where it begins, which track is meant |
//! | `input` | the file, for the library of containers |
//! | `opening` | opening it, its track and its decoder |
//! | `track` | decoding, what is lost |
//! | `numbers` | what is missing between packets |
//! | `heard` | what is cut off at the start and at the end |
//! | `movie` | the boxes of MP4 and MOV: byte order, fragments |
//! | `edits` | edit lists of MP4 and MOV |
//! | `wav` | sizes in WAV that are none, numbers that would become noise |
//! | `aiff` | headers of AIFF that say less than it holds |
//! | `flac` | where the frames of FLAC lie, their checksums |
//! | `aac` | whether AAC is half of HE-AAC |
//! | `matroska` | the track that is the default one, whether it is packed, whether its elements stand one behind the other |
//! | `vorbis` | what the codebooks of Vorbis claim |
//! | `names` | words for what cannot be decoded |
//! | `resample` | from one rate to another |
//! | `foreign` | what nothing here decodes, by the worker that has FFmpeg |
//! | `rows` | samples on their way to rows |
//! | `windows` | cutting |
//! | `mel` | spectrograms |

mod aac;
mod aiff;
mod container;
mod edits;
mod flac;
mod foreign;
mod heard;
mod input;
mod matroska;
mod mel;
mod movie;
mod names;
mod numbers;
mod opening;
mod resample;
mod rows;
mod track;
mod vorbis;
mod wav;
mod windows;

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use self::input::Trouble;
pub use self::input::end_of_stream;
use self::mel::LogMel;
use self::opening::Closed;
use self::resample::Resampler;
use self::rows::Rows;
use self::track::{Step, Track};
pub use self::wav::stands_for_none;
use super::ffmpeg::Ffmpeg;
use super::{About, DecodeError, FileDecoder, Rejection, RowSink, SourceFile};
use crate::config::{AudioOptions, Damage, SoundSample};

/// Extensions that are taken by default: containers of sound, and of video with sound.
pub const EXTENSIONS: &[&str] = &[
    "wav", "wave", "flac", "mp3", "mp2", "ogg", "oga", "opus", "m4a", "aac", "aif", "aiff", "aifc", "caf", "mka",
    "weba", "wma", "wv", "amr", "au", "ac3", "eac3", "dts", "mp4", "m4v", "mov", "mkv", "webm",
];

/// Rate in Hz and channels of a file's sound; `None` where there is none that is decoded. For those who look at files before
/// there is a dataset.
pub fn measure(file: std::fs::File, extension: Option<&str>) -> Option<(u32, usize)> {
    let file = SourceFile::of(file).ok()?;
    let about = About { path: std::path::Path::new(""), extension, interrupted: &AtomicBool::new(false) };
    let trouble = Trouble::default();
    let track = Track::open(&file, about, &trouble, || false).ok()?;
    Some((track.rate, track.channels))
}

/// A rate may become so many times higher or lower.
const RATIO_MAX: u64 = 1024;
/// Packets between two questions whether the rows are still wanted.
const PACKETS_BETWEEN: u32 = 64;
/// Resamplers that are kept for later sources: making one takes as long as some seconds of sound.
const KEPT_MAX: usize = 64;

/// The audio decoder of one dataset.
pub struct AudioDecoder {
    options: AudioOptions,
    mel: Option<LogMel>,
    kept: Mutex<Vec<Resampler>>,
    /// For what nothing here decodes.
    ffmpeg: Ffmpeg,
}

impl AudioDecoder {
    pub fn new(options: &AudioOptions) -> Self {
        let mel = options.mel.as_ref().map(LogMel::new);
        Self { options: options.clone(), mel, kept: Mutex::new(Vec::new()), ffmpeg: foreign::ffmpeg() }
    }

    /// What brings a source to the rows' rate: `None` where it has it.
    fn resampler(&self, rate: u32, channels: usize) -> Result<Option<Resampler>, DecodeError> {
        let Some(to) = self.options.rate.filter(|to| *to != rate) else { return Ok(None) };
        let (low, high) = (u64::from(rate.min(to)), u64::from(rate.max(to)));
        if low * RATIO_MAX < high {
            return Err(rejected(format!(
                "it has {rate} Hz, which is more than {RATIO_MAX} times away from `rate`, {to} Hz"
            )));
        }
        if let Ok(mut kept) = self.kept.lock()
            && let Some(place) = kept.iter().position(|one| one.fits(rate, to, channels))
        {
            let mut one = kept.swap_remove(place);
            one.reset();
            return Ok(Some(one));
        }
        Resampler::new(rate, to, channels).map(Some)
    }

    fn keep(&self, resampler: Option<Resampler>) {
        if let (Some(resampler), Ok(mut kept)) = (resampler, self.kept.lock())
            && kept.len() < KEPT_MAX
            && resampler.is_small()
        {
            kept.push(resampler);
        }
    }

    /// A source's channels for those of the row.
    fn check_channels(&self, found: usize) -> Result<usize, DecodeError> {
        match self.options.channels {
            None => Ok(1),
            Some(wanted) if wanted == found || found == 1 => Ok(wanted),
            Some(wanted) => Err(rejected(format!(
                "it has {}, expected {wanted} or mono: use shape = [samples] to mix them",
                names::channels(found)
            ))),
        }
    }

    /// Without FFmpeg. Nothing has been given where it is not known here.
    fn decode_here(&self, file: &SourceFile, about: About<'_>, sink: &mut dyn RowSink) -> Result<(), Closed> {
        let trouble = Trouble::default();
        let mut track = Track::open(file, about, &trouble, foreign::is_there)?;
        let mut rows = Rows::new(self, track.rate, track.channels)?;
        let mut block = Vec::new();
        let mut packets = 0_u32;
        while !rows.are_complete() {
            packets += 1;
            if packets.is_multiple_of(PACKETS_BETWEEN) && about.is_interrupted() {
                return Err(DecodeError::Interrupted.into());
            }
            let may_be_foreign = track.may_be_foreign();
            match track.step(&mut block)? {
                Step::Block => {}
                Step::Lost(reason) if may_be_foreign => return Err(Closed::Unknown(reason)),
                Step::Lost(reason) => rows.lose(reason, 0)?,
                Step::End => break,
            }
            rows.push(&mut block, sink)?;
        }
        Ok(rows.finish(sink)?)
    }

    fn store(&self, values: &[f32], row: &mut [u8]) {
        let big = self.options.big_endian;
        match self.options.sample {
            SoundSample::I16 => store(values, row, big, |value| {
                let scaled = (value * 32768.0).round_ties_even().clamp(-32768.0, 32767.0);
                (scaled as i16).to_le_bytes()
            }),
            SoundSample::F16 => store(values, row, big, |value| half::f16::from_f32(value).to_le_bytes()),
            SoundSample::F32 => store(values, row, big, f32::to_le_bytes),
        }
    }
}

impl FileDecoder for AudioDecoder {
    fn decode(&self, file: &SourceFile, about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        match self.decode_here(file, about, sink) {
            Ok(()) => Ok(()),
            Err(Closed::Unknown(why)) => foreign::decode(self, &why, None, file, about, sink),
            Err(Closed::Damaged(why)) if self.options.on_error == Damage::Reject => Err(rejected(why)),
            Err(Closed::Damaged(why)) => foreign::decode(self, &why, Some(why.clone()), file, about, sink),
            Err(Closed::Error(error)) => Err(error),
        }
    }
}

fn store<const BYTES: usize>(values: &[f32], row: &mut [u8], big: bool, write: impl Fn(f32) -> [u8; BYTES]) {
    let (places, _) = row.as_chunks_mut::<BYTES>();
    for (place, value) in places.iter_mut().zip(values) {
        *place = write(*value);
        if big {
            place.reverse();
        }
    }
}

fn rejected(reason: impl Into<String>) -> DecodeError {
    Rejection::new(reason.into()).into()
}
