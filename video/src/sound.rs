//! One sound track, from its packets to its samples: the rate in Hz, the number of channels, then the samples, interleaved.
//!
//! FFmpeg cuts off what encoders put before and behind the sound, where the file says so. A packet that cannot be decoded becomes
//! silence of its length, and a note; so does all else that is lost, as far as it is noticed.

use std::fs::File;

use npy_ingest::decode::audio::end_of_stream;
use npy_ingest::decode::ogg::Content;
use npy_ingest::decode::{DecodeError, RowSink as _};

use crate::answer::Answer;
use crate::decode::{GAP, UNREADABLE_MAX, cut_short, lost_pages, rejected};
use crate::ffmpeg::{Decoder, Error, Input, Packet, Sound, altered, unlike};
use crate::mlp::Units;

/// Samples of a channel that a packet stands for at most when it cannot be decoded.
const LOST_FRAMES_MAX: u64 = 1 << 16;
/// Samples, of all channels together, for which silence is put: so many for each byte of the file, and so many, which is also the
/// most at one place.
const SILENT_SAMPLES_A_BYTE: u64 = 64;
const SILENT_SAMPLES: u64 = 1 << 22;

/// Decodes a source and gives its samples.
///
/// # Errors
/// There is no sound, or it cannot be decoded: with the reason. The answer cannot be written.
pub fn decode(name: &str, file: File, answer: &mut Answer) -> Result<(), DecodeError> {
    let cut_short = cut_short(&file, answer)?;
    let lost_pages = lost_pages(&file, Content::Sound, answer)?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let end = end_of_stream(&file);
    let mut input = Input::open(file, name, end)
        .map_err(|error| rejected(format!("no container that FFmpeg can open: {error}")))?;
    if !input.find_sound().map_err(|error| rejected(format!("its streams cannot be read: {error}")))? {
        return Err(rejected(format!("there is no sound in it (it is {})", input.format_name())));
    }
    let decoder = Decoder::open_for_sound(&input)
        .map_err(|(error, codec)| rejected(format!("its sound, {codec}, cannot be decoded: {error}")))?;
    answer.begin(size_of::<f32>());
    let no_memory = |error: Error| rejected(error.to_string());
    let unit_s =
        input.time_base().map_or(0.0, |(numerator, denominator)| f64::from(numerator) / f64::from(denominator.max(1)));
    let mut track = Track {
        decoder,
        sound: Sound::new().map_err(no_memory)?,
        block: Vec::new(),
        kind: None,
        given: 0,
        owed_s: 0.0,
        silent_left: bytes.saturating_mul(SILENT_SAMPLES_A_BYTE).saturating_add(SILENT_SAMPLES),
        ends: None,
        untold: None,
        has_gaps: lost_pages.is_some(),
        filled_up_blocks: input.filled_up_blocks(),
        most: input.samples_before_others(),
        altered: altered(),
        unlike: unlike(),
        units: Units::default(),
        is_over: false,
        answer,
    };
    if let Some((what, true)) = &lost_pages {
        track.lose(what);
    }
    let are_units = ["mlp", "truehd"].contains(&input.format_name().as_str());
    let mut packet = Packet::new().map_err(no_memory)?;
    let mut unreadable = 0;
    while !track.is_over {
        track.answer.beat()?;
        let read = input.read(&mut packet);
        if input.take_gap(read.is_ok().then_some(&packet)) {
            track.lose(GAP);
            track.has_gaps = true;
        }
        match read {
            Ok(()) if packet.is_encrypted() => return Err(rejected("its sound is encrypted".to_owned())),
            Ok(()) => {
                unreadable = 0;
                if let Some(place) = packet.place().filter(|_| are_units)
                    && track.units.is_gap(place, packet.bytes())
                {
                    track.lose("it is damaged: some of it is no packet");
                }
                track.fill_gap(&packet, unit_s)?;
                track.packet(&packet, packet.duration() as f64 * unit_s)?;
            }
            Err(Error::END) => break,
            Err(error) => {
                track.lose(&format!("what follows cannot be read: {error}"));
                unreadable += 1;
                if unreadable == UNREADABLE_MAX {
                    break;
                }
            }
        }
    }
    if !track.is_over {
        track.end()?;
        if track.units.is_cut_short(input.file()) {
            track.lose("it is cut short: it ends within a packet");
        }
    }
    if let (Some(announced), Some((rate, _))) = (input.announced_samples(), track.kind)
        && !track.is_over
        && track.given < announced
    {
        let seconds = |samples| samples as f64 / f64::from(rate.max(1));
        let (given_s, announced_s) = (seconds(track.given), seconds(announced));
        track.lose(&format!("it is cut short: {given_s:.3} s can be decoded, the header says {announced_s:.3} s"));
    }
    if let Some((what, false)) = lost_pages {
        // When that was, is not known.
        track.answer.note(what);
    }
    if let Some(how) = cut_short {
        track.lose(&how);
    }
    Ok(())
}

struct Track<'a> {
    decoder: Decoder,
    sound: Sound,
    block: Vec<f32>,
    /// Hz and channels, once they are told.
    kind: Option<(u32, usize)>,
    /// Samples of a channel.
    given: u64,
    /// Seconds of silence for what was lost before that.
    owed_s: f64,
    /// Samples, of all channels together, for which silence may still be put.
    silent_left: u64,
    /// When the last packet ends, in units.
    ends: Option<i64>,
    /// When a packet begins that was lost, and does not say how long it is: the next one's time tells.
    untold: Option<i64>,
    /// Something of the container was passed over: what the times of packets leave out is lost.
    has_gaps: bool,
    /// Bytes of a block, where the last packet may be filled up.
    filled_up_blocks: Option<usize>,
    /// Samples of a channel, behind which something else follows.
    most: Option<u64>,
    /// Packets that were not what they were, as told by FFmpeg.
    altered: u64,
    /// The same of all samples since the last that was told.
    unlike: u64,
    /// Of MLP and TrueHD.
    units: Units,
    is_over: bool,
    answer: &'a mut Answer,
}

impl Track<'_> {
    fn packet(&mut self, packet: &Packet, duration_s: f64) -> Result<(), DecodeError> {
        let follows = self.units.follows(packet.data());
        let result = self.decode(packet, duration_s);
        let now = unlike();
        if std::mem::replace(&mut self.unlike, now) < now && follows {
            self.lose("samples before this are not those that were encoded: their checksum is another");
        }
        result
    }

    fn decode(&mut self, packet: &Packet, duration_s: f64) -> Result<(), DecodeError> {
        match self.decoder.send(Some(packet)) {
            Ok(()) => {}
            Err(Error::AGAIN) => {
                self.receive()?;
                if let Err(error) = self.decoder.send(Some(packet)) {
                    return self.undecoded(error, packet, duration_s);
                }
            }
            Err(error) => return self.undecoded(error, packet, duration_s),
        }
        match self.receive() {
            Err(Stop::Undecoded(error)) => self.undecoded(error, packet, duration_s),
            result => Ok(result?),
        }
    }

    /// What the decoder has.
    fn receive(&mut self) -> Result<(), Stop> {
        while !self.is_over {
            match self.decoder.receive_sound(&mut self.sound) {
                Ok(()) => self.give()?,
                Err(Error::AGAIN | Error::END) => return Ok(()),
                Err(error) => return Err(Stop::Undecoded(error)),
            }
        }
        Ok(())
    }

    fn give(&mut self) -> Result<(), DecodeError> {
        let found = (self.sound.rate(), self.sound.channels());
        if !self.sound.samples(&mut self.block) {
            return Err(rejected("its samples are of a kind that is not known".to_owned()));
        }
        if self.block.is_empty() {
            return Ok(());
        }
        match self.kind {
            None => {
                self.kind = Some(found);
                self.answer.samples(&[found.0 as f32, found.1 as f32])?;
                let owed_s = std::mem::take(&mut self.owed_s);
                self.silence(owed_s, SILENT_SAMPLES)?;
            }
            Some(kind) if kind == found => {}
            Some((rate, channels)) => {
                self.is_over = true;
                let (now, of_now) = found;
                self.lose(&format!(
                    "it changes from {rate} Hz and {channels} channels to {now} Hz and {of_now}: what follows is not decoded"
                ));
                return Ok(());
            }
        }
        if self.sound.is_damaged() {
            self.lose("a packet is damaged");
        }
        let now = altered();
        if std::mem::replace(&mut self.altered, now) < now {
            self.lose("a packet is not what it was: its checksum is another");
        }
        if let Some(left) = self.most.map(|most| most.saturating_sub(self.given)) {
            let left = usize::try_from(left).unwrap_or(usize::MAX).saturating_mul(found.1);
            self.is_over = left <= self.block.len();
            self.block.truncate(left);
        }
        self.given += (self.block.len() / found.1.max(1)) as u64;
        Ok(self.answer.samples(&self.block)?)
    }

    /// Silence takes the place of a packet.
    fn undecoded(&mut self, error: Error, packet: &Packet, duration_s: f64) -> Result<(), DecodeError> {
        if self.filled_up_blocks.is_some_and(|bytes| packet.is_filled_up(bytes)) {
            return Ok(());
        }
        self.lose(&format!("a packet cannot be decoded: {error}"));
        self.untold = packet.time().filter(|_| packet.duration() == 0);
        self.silence(duration_s, LOST_FRAMES_MAX)
    }

    /// Silence takes the place of what is missing before a packet, by the times of packets. Only where something is known to be
    /// missing: recorders leave packets out where nothing is to be heard, and others are not as exact.
    fn fill_gap(&mut self, packet: &Packet, unit_s: f64) -> Result<(), DecodeError> {
        let Some(time) = packet.time() else { return Ok(()) };
        if let Some(lost) = self.untold.take() {
            self.silence(time.saturating_sub(lost).max(0) as f64 * unit_s, LOST_FRAMES_MAX)?;
        }
        let missing = self.ends.map_or(0, |ends| time.saturating_sub(ends));
        self.ends = Some(time.saturating_add(packet.duration()));
        // Times are rounded.
        if !self.has_gaps || packet.duration() == 0 || missing <= packet.duration() / 2 {
            return Ok(());
        }
        self.receive()?;
        self.silence(missing as f64 * unit_s, SILENT_SAMPLES)
    }

    fn silence(&mut self, duration_s: f64, frames_max: u64) -> Result<(), DecodeError> {
        let Some((rate, channels)) = self.kind else {
            self.owed_s += duration_s;
            return Ok(());
        };
        let of_all = SILENT_SAMPLES.min(self.silent_left) / channels.max(1) as u64;
        let frames = ((duration_s * f64::from(rate)).round() as u64).min(frames_max).min(of_all);
        self.silent_left -= frames * channels as u64;
        self.given += frames;
        Ok(self.answer.samples(&vec![0.0; frames as usize * channels])?)
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        match self.decoder.send(None).map_err(Stop::Undecoded).and_then(|()| self.receive()) {
            Err(Stop::Undecoded(error)) => {
                self.lose(&format!("its end cannot be decoded: {error}"));
                Ok(())
            }
            result => Ok(result?),
        }
    }

    fn lose(&mut self, what: &str) {
        let at_s = self.kind.map_or(0.0, |(rate, _)| self.given as f64 / f64::from(rate.max(1)));
        self.answer.note(format!("{what} (at {at_s:.3} s)"));
    }
}

/// Why there is no more at the moment.
enum Stop {
    Undecoded(Error),
    Ended(DecodeError),
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Ended(error)
    }
}

impl From<Stop> for DecodeError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Undecoded(error) => rejected(format!("it cannot be decoded: {error}")),
            Stop::Ended(error) => error,
        }
    }
}
