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
//! - Whatever the length of the source, one packet, one block of the filter and one window are in memory.
//!
//! | file | holds |
//! |---|---|
//! | `input` | the file, for the library of containers |
//! | `track` | opening, decoding, what is cut off |
//! | `movie` | the boxes of MP4 and MOV: edit lists, byte order, fragments |
//! | `vorbis` | what the codebooks of Vorbis claim |
//! | `names` | words for what cannot be decoded |
//! | `resample` | from one rate to another |
//! | `windows` | cutting |
//! | `mel` | spectrograms |

mod input;
mod mel;
mod movie;
mod names;
mod resample;
mod track;
mod vorbis;
mod windows;

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use self::input::Trouble;
use self::mel::LogMel;
use self::resample::Resampler;
use self::track::{Step, Track};
use self::windows::Cutter;
use super::{About, DecodeError, FileDecoder, Rejection, RowSink, SourceFile};
use crate::config::{AudioOptions, Damage, SoundSample, Tail};

/// Extensions that are taken by default: containers of sound, and of video with sound, that are read without FFmpeg.
pub const EXTENSIONS: &[&str] = &[
    "wav", "wave", "flac", "mp3", "mp2", "ogg", "oga", "m4a", "aac", "aif", "aiff", "aifc", "caf", "mka", "mp4", "m4v",
    "mov", "mkv", "webm",
];

/// Rate in Hz and channels of a file's sound; `None` where there is none that is decoded. For those who look at files before
/// there is a dataset.
pub fn measure(file: std::fs::File, extension: Option<&str>) -> Option<(u32, usize)> {
    let file = SourceFile::of(file).ok()?;
    let about = About { path: std::path::Path::new(""), extension, interrupted: &AtomicBool::new(false) };
    let trouble = Trouble::default();
    let track = Track::open(&file, about, &trouble).ok()?;
    Some((track.rate, track.channels))
}

/// A rate may become so many times higher or lower.
const RATIO_MAX: u64 = 1024;
/// Larger samples are no sound.
const SAMPLE_MAX: f32 = 1e12;
/// Packets between two questions whether the rows are still wanted.
const PACKETS_BETWEEN: u32 = 64;
/// Samples of a channel that are resampled at a time.
const PIECE_FRAMES: usize = 4096;
/// Resamplers that are kept for later sources: making one takes as long as some seconds of sound.
const KEPT_MAX: usize = 64;

/// The audio decoder of one dataset.
pub struct AudioDecoder {
    options: AudioOptions,
    mel: Option<LogMel>,
    kept: Mutex<Vec<Resampler>>,
}

impl AudioDecoder {
    pub fn new(options: &AudioOptions) -> Self {
        let mel = options.mel.as_ref().map(LogMel::new);
        Self { options: options.clone(), mel, kept: Mutex::new(Vec::new()) }
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

    /// Takes damage into account, or rejects the source for it.
    fn damage(&self, losses: &mut Losses, reason: String) -> Result<(), DecodeError> {
        if self.options.on_error == Damage::Reject {
            return Err(rejected(reason));
        }
        losses.count += 1;
        losses.first.get_or_insert(reason);
        Ok(())
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

/// What was lost of a source.
#[derive(Default)]
struct Losses {
    count: u64,
    first: Option<String>,
}

impl FileDecoder for AudioDecoder {
    fn decode(&self, file: &SourceFile, about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let trouble = Trouble::default();
        let mut track = Track::open(file, about, &trouble)?;
        let channels = self.check_channels(track.channels)?;
        let rate = self.options.rate.unwrap_or(track.rate);
        let mut resampler = self.resampler(track.rate, channels)?;
        let options = &self.options;
        let (start, end) = (frames_in(options.start, rate), options.end.map(|end| frames_in(end, rate)));
        let mut cutter = Cutter::new(options.samples, options.hop, channels, options.tail, start, end);
        let mut scratch = self.mel.as_ref().map(LogMel::scratch);
        let mut rows = 0_u64;
        let mut emit = |first: u64, window: &[f32]| {
            let row = sink.row(first as f64 / f64::from(rate))?;
            rows += 1;
            match (&self.mel, &mut scratch) {
                (Some(mel), Some(scratch)) => self.store(mel.row(window, scratch), row),
                _ => self.store(window, row),
            }
            Ok(())
        };
        let mut losses = Losses::default();
        let (mut block, mut mixed, mut ready) = (Vec::new(), Vec::new(), Vec::new());
        let mut packets = 0_u32;
        while !cutter.is_done() {
            packets += 1;
            if packets.is_multiple_of(PACKETS_BETWEEN) && about.is_interrupted() {
                return Err(DecodeError::Interrupted);
            }
            match track.step(&mut block)? {
                Step::Block => {}
                Step::Lost(reason) => self.damage(&mut losses, reason)?,
                Step::End => break,
            }
            if !mend(&mut block) {
                self.damage(
                    &mut losses,
                    format!("a sample before {:.3} s is not a number, or too large", track.time_s()),
                )?;
            }
            let frames = mix(&block, track.channels, options.channels, &mut mixed);
            match &mut resampler {
                None => cutter.push(frames, &mut emit)?,
                // In pieces: a packet may be as long as the file, and become a thousand times as much.
                Some(resampler) => {
                    for piece in frames.chunks(PIECE_FRAMES * channels) {
                        if cutter.is_done() {
                            break;
                        }
                        ready.clear();
                        resampler.push(piece, &mut ready)?;
                        cutter.push(&ready, &mut emit)?;
                    }
                }
            }
        }
        if let Some(resampler) = &mut resampler
            && !cutter.is_done()
        {
            ready.clear();
            resampler.finish(&mut ready)?;
            cutter.push(&ready, &mut emit)?;
        }
        cutter.finish(&mut emit)?;
        self.keep(resampler);
        if rows == 0 {
            return Err(rejected(self.too_short(cutter.frames(), rate, losses.first)));
        }
        if let Some(first) = losses.first {
            let more = match losses.count - 1 {
                0 => String::new(),
                more => format!(" ({more} more like this)"),
            };
            sink.note(format!("damaged, what could be decoded was kept: {first}{more}"));
        }
        Ok(())
    }
}

impl AudioDecoder {
    fn too_short(&self, frames: u64, rate: u32, loss: Option<String>) -> String {
        let (wanted, found_s) = (self.options.samples, frames as f64 / f64::from(rate));
        let mut reason = match frames {
            0 => "it holds no sound".to_owned(),
            _ => format!("it has {frames} samples at {rate} Hz ({found_s:.3} s)"),
        };
        let from_start = frames_in(self.options.start, rate);
        if frames > 0 && from_start >= frames {
            reason.push_str(", and `start` lies behind its end");
        } else if frames > 0 && self.options.tail == Tail::Drop {
            reason.push_str(&format!(", less than a window of {wanted}: use a shorter one, or tail = \"pad\""));
        }
        match loss {
            Some(loss) => format!("{reason}; {loss}"),
            None => reason,
        }
    }
}

/// Frames from the start to a time.
fn frames_in(time: Duration, rate: u32) -> u64 {
    let frames = (time.as_nanos() * u128::from(rate) + 500_000_000) / 1_000_000_000;
    u64::try_from(frames).unwrap_or(u64::MAX)
}

/// Puts silence in place of what is no sample; whether there was none.
fn mend(block: &mut [f32]) -> bool {
    let is_sample = |value: &f32| value.abs() <= SAMPLE_MAX;
    if block.iter().all(is_sample) {
        return true;
    }
    for value in block.iter_mut().filter(|value| !is_sample(value)) {
        *value = 0.0;
    }
    false
}

/// The frames of a row's channels, from those of the source. `mixed` holds them where they are others.
fn mix<'a>(block: &'a [f32], found: usize, wanted: Option<usize>, mixed: &'a mut Vec<f32>) -> &'a [f32] {
    match wanted {
        None if found > 1 => {
            mixed.clear();
            mixed.extend(block.chunks_exact(found).map(|frame| frame.iter().sum::<f32>() / found as f32));
            mixed
        }
        Some(wanted) if wanted != found => {
            mixed.clear();
            mixed.extend(block.iter().flat_map(|sample| std::iter::repeat_n(*sample, wanted)));
            mixed
        }
        _ => block,
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
