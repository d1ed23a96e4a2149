//! One sound track of a file, as blocks of interleaved samples.
//!
//! Rules:
//! - What the file begins with decides on the container: see `container`.
//! - The track is the one that the container calls its default, else the first.
//! - What goes wrong before the first sample may only mean that this library does not know it: `Closed::Unknown`.
//! - What encoders put before and behind the sound is cut off, where the file says so: LAME's tag, the edit list of an
//!   MP4, the positions of Ogg pages, times before 0 in Matroska.
//! - Numbers that the file claims are not believed: packets may hold no more bytes than the file, twice, and be no more of
//!   them than it has bytes.
//! - A packet that cannot be decoded becomes silence of its length, so that the times of what follows stay right. How long
//!   the sound is to be is compared with how long it was, where the file says it.

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::codecs::audio::well_known::CODEC_ID_ALAC;
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, Track as Found, well_known};
use symphonia::core::packet::Packet;
use symphonia::core::units::TimeBase;

use super::super::{About, DecodeError, SourceFile};
use super::heard::{Heard, Tag};
use super::input::Trouble;
use super::numbers::Numbers;
use super::opening::{
    Closed, Opening, as_stored, check, check_channels, decoder_of, is_end, is_mpeg, packet_bytes_max, reads_max, told,
};
use super::{aac, container, edits, flac, matroska, movie, names, rejected};

/// What a checksum of samples tells.
const ALTERED: &str = "its samples are not those that were encoded: their checksum is another";
/// Samples that a packet stands for at most when it cannot be decoded.
const LOST_FRAMES_MAX: u64 = 1 << 16;
/// Samples, of all channels together, for which silence is put: so many for each byte of the file, and so many.
const SILENT_SAMPLES_A_BYTE: u64 = 64;
const SILENT_SAMPLES: u64 = 1 << 22;
/// Bytes that are read to find where an Ogg stream ends that follows another, and how many of them have so much.
const NEXT_STREAM_BYTES: u64 = 1 << 20;
const NEXT_STREAMS_MAX: u32 = 4096;

/// An open track.
pub(super) struct Track<'a> {
    reader: Box<dyn FormatReader + 'a>,
    decoder: Box<dyn AudioDecoder>,
    opening: Opening<'a>,
    number: u32,
    /// Hz
    pub(super) rate: u32,
    pub(super) channels: usize,
    time_base: Option<TimeBase>,
    /// Whether packets say how many of their samples are to be heard.
    is_movie: bool,
    is_matroska: bool,
    numbers: Numbers,
    /// Frames of the stream that were decoded, heard or not.
    decoded: u64,
    /// Samples, of all channels together, for which silence may still be put.
    silent_left: u64,
    heard: Heard,
    /// What is lost before the first packet was told.
    is_start_told: bool,
    /// Streams that may still follow, with bytes for them to be read.
    streams_left: u32,
    /// Frames that the file says it has.
    declared: Option<u64>,
    given: u64,
    bytes_left: u64,
    packets_left: u64,
    is_over: bool,
}

/// What a step has brought.
pub(super) enum Step {
    /// Samples, in the block.
    Block,
    /// Damage. The block has the silence that takes its place.
    Lost(String),
    End,
}

impl<'a> Track<'a> {
    /// `has_other`: whether another decoder is there, for what is not known here.
    pub(super) fn open(
        file: &'a SourceFile,
        about: About<'a>,
        trouble: &'a Trouble,
        has_other: fn() -> bool,
    ) -> Result<Self, Closed> {
        if file.size() == 0 {
            return Err(rejected("the file is empty").into());
        }
        let opening = Opening::new(file, about, trouble)?;
        let reader = opening.probe()?;
        let format = reader.format_info().format;
        let Some(track) = container::default_track(&*reader, file) else {
            return Err(Closed::Unknown(names::without_sound(&*reader)));
        };
        let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
            return Err(Closed::Unknown(names::without_sound(&*reader)));
        };
        if format == well_known::FORMAT_ID_MKV && matroska::default_sound(file).is_some_and(|track| track.is_packed) {
            return Err(Closed::Unknown(names::packed()));
        }
        let (number, time_base, delay, padding) = (track.id, track.time_base, track.delay, track.padding);
        if aac::may_be_half(parameters) {
            if has_other() {
                return Err(Closed::Unknown(names::may_be_half()));
            }
            if aac::has_upper_half(&mut *opening.probe()?, number) {
                return Err(Closed::Unknown(names::half()));
            }
        }
        let is_exact = [
            well_known::FORMAT_ID_WAVE,
            well_known::FORMAT_ID_AIFF,
            well_known::FORMAT_ID_CAF,
            well_known::FORMAT_ID_FLAC,
        ];
        // The others guess, or have it from the end of the file. MP3 guesses where there is no tag.
        let is_exact = is_exact.contains(&format) || (format == well_known::FORMAT_ID_MP3 && delay.is_some());
        let declared = track.num_frames.filter(|frames| is_exact && *frames > 0 && !opening.is_endless);
        check_channels(parameters)?;
        // How much of the last packet is sound stands in a table that is not read.
        if format == well_known::FORMAT_ID_CAF && parameters.codec == CODEC_ID_ALAC {
            return Err(Closed::Unknown(names::unsupported(parameters, "in a CAF file")));
        }
        if format == well_known::FORMAT_ID_ISOMP4 && !movie::are_chunks_in_order(file, number) {
            return Err(Closed::Unknown(names::chunks_out_of_order()));
        }
        let decoder = decoder_of(&as_stored(parameters, format, file, number)?, format)?;
        let parameters = decoder.codec_params();
        let (Some(rate), Some(channels)) = (parameters.sample_rate, parameters.channels.as_ref()) else {
            return Self::by_first_packet(reader, decoder, number, time_base, opening);
        };
        let channels = channels.count();
        if format == well_known::FORMAT_ID_OGG {
            // Where another stream follows, parts are read again to find its end.
            trouble.limit_reads(Some(reads_max(file)));
        }
        let mut track = Self::of(reader, decoder, number, time_base, opening);
        (track.rate, track.channels) = (rate, channels);
        // Where the number of all is known, the first one's number is.
        (track.declared, track.numbers.first) = (declared, declared.map(|_| 0));
        check(rate, channels)?;
        if is_mpeg(format) {
            track.heard.skip = delay.map_or(0, u64::from);
            let padding = padding.map_or(0, u64::from);
            track.heard.tag = declared.map(|left| Tag { left, padding });
        }
        track.follow_edits()?;
        Ok(track)
    }

    /// In a movie, what its edit list leaves out at the start and at the end is not to be heard.
    fn follow_edits(&mut self) -> Result<(), Closed> {
        let (file, number) = (self.opening.file, self.number);
        let edit = edits::edit_of(file, number).or_else(|| edits::edit_of_itunes(file, number, self.rate));
        let Some(edit) = edit.filter(|_| self.is_movie) else { return Ok(()) };
        if !edit.goes_on() {
            return Err(Closed::Unknown(names::parts(edit.parts.len())));
        }
        let frames = |units: u64| nearest(u128::from(units) * u128::from(self.rate), u128::from(edit.units));
        let mut at = 0;
        let parts = edit.parts.iter().map(|(from, until)| {
            let (from, until) = (frames(*from), until.map(frames));
            let skipped = from.saturating_sub(std::mem::replace(&mut at, until.unwrap_or(u64::MAX)));
            (skipped, until.map(|until| until.saturating_sub(from)))
        });
        self.heard.parts = parts.collect();
        if let Some(first) = self.heard.parts.pop_front() {
            (self.heard.skip, self.heard.left) = first;
        }
        Ok(())
    }

    fn of(
        reader: Box<dyn FormatReader + 'a>,
        decoder: Box<dyn AudioDecoder>,
        number: u32,
        time_base: Option<TimeBase>,
        opening: Opening<'a>,
    ) -> Self {
        let format = reader.format_info().format;
        let bytes = opening.file.size();
        Self {
            reader,
            decoder,
            opening,
            number,
            rate: 0,
            channels: 0,
            time_base,
            is_movie: format == well_known::FORMAT_ID_ISOMP4,
            numbers: Numbers::of(format),
            decoded: 0,
            is_matroska: format == well_known::FORMAT_ID_MKV,
            silent_left: bytes.saturating_mul(SILENT_SAMPLES_A_BYTE).saturating_add(SILENT_SAMPLES),
            heard: Heard::default(),
            is_start_told: false,
            streams_left: NEXT_STREAMS_MAX,
            declared: None,
            given: 0,
            bytes_left: packet_bytes_max(bytes),
            packets_left: bytes.saturating_add(1 << 10),
            is_over: false,
        }
    }

    /// A container that says neither rate nor channels: its sound is what the first packet says.
    fn by_first_packet(
        reader: Box<dyn FormatReader + 'a>,
        decoder: Box<dyn AudioDecoder>,
        number: u32,
        time_base: Option<TimeBase>,
        opening: Opening<'a>,
    ) -> Result<Self, Closed> {
        let mut track = Self::of(reader, decoder, number, time_base, opening);
        track.is_start_told = true;
        let mut first = Vec::new();
        while track.rate == 0 {
            match track.step(&mut first)? {
                Step::Block => {}
                Step::Lost(reason) => return Err(Closed::Unknown(reason)),
                Step::End => return Err(rejected("it holds no sound").into()),
            }
        }
        // From the start again, by a reader of its own.
        let Self { rate, channels, opening, .. } = track;
        let reader = opening.probe()?;
        let Some(CodecParameters::Audio(parameters)) =
            reader.tracks().iter().find(|track| track.id == number).and_then(|track| track.codec_params.as_ref())
        else {
            return Err(rejected("it holds no sound").into());
        };
        let format = reader.format_info().format;
        let decoder = decoder_of(&as_stored(parameters, format, opening.file, number)?, format)?;
        let mut track = Self::of(reader, decoder, number, time_base, opening);
        (track.rate, track.channels) = (rate, channels);
        track.follow_edits()?;
        Ok(track)
    }

    /// Seconds from the start to where it stands.
    pub(super) fn time_s(&self) -> f64 {
        self.given as f64 / f64::from(self.rate.max(1))
    }

    /// Whether another decoder may make something of what this one does not: before the first sample, and not of FLAC, whose
    /// checksums others do not ask, nor of what is known to be damaged, which others do not see.
    pub(super) fn may_be_foreign(&self) -> bool {
        self.given == 0 && !self.numbers.are_of_samples() && self.opening.lost_start.is_none()
    }

    /// The next samples, interleaved, in place of what the block had.
    pub(super) fn step(&mut self, block: &mut Vec<f32>) -> Result<Step, DecodeError> {
        block.clear();
        if self.is_over {
            return Ok(Step::End);
        }
        if let Some(reason) = &self.opening.lost_start
            && !std::mem::replace(&mut self.is_start_told, true)
        {
            return Ok(Step::Lost(reason.clone()));
        }
        let packet = match self.reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return self.end(),
            Err(Error::ResetRequired) => return self.next_stream(),
            Err(error) => return self.cut_short(&error),
        };
        let size = packet.data.len() as u64;
        let (Some(bytes), Some(packets)) = (self.bytes_left.checked_sub(size), self.packets_left.checked_sub(1)) else {
            return Err(rejected("it claims to hold more sound than the file has bytes for"));
        };
        (self.bytes_left, self.packets_left) = (bytes, packets);
        if packet.track_id != self.number {
            return Ok(Step::Block);
        }
        let (base, rate) = (self.time_base, self.rate);
        let missing = self.numbers.missing_before(&packet, self.given, rate, |units| frames_in(units, base, rate));
        // Elsewhere the container has been asked for its own checksum.
        let is_altered =
            self.numbers.are_unchecked() && flac::is_altered(self.decoder.codec_params().codec, &packet.data);
        let lost = match self.decoder.decode(&packet) {
            Ok(_) if is_altered => {
                Some(format!("a packet at {:.3} s is not what it was: its checksum is another", self.time_s()))
            }
            Ok(decoded) => {
                let found = (decoded.spec().rate(), decoded.spec().channels().count());
                if self.rate == 0 {
                    (self.rate, self.channels) = found;
                    check(self.rate, self.channels)?;
                }
                let frames = decoded.frames();
                self.decoded += frames as u64;
                if frames == 0 {
                    return Ok(Step::Block);
                }
                if found != (self.rate, self.channels) {
                    return self.changed(found);
                }
                decoded.copy_to_vec_interleaved(block);
                None
            }
            Err(error) => match self.opening.trouble.take() {
                Some(trouble) => return Err(trouble),
                None => Some(format!("a packet at {:.3} s cannot be decoded: {}", self.time_s(), told(&error))),
            },
        };
        if lost.is_some() {
            let frames = self.silence_of(self.frames_of(&packet).min(LOST_FRAMES_MAX));
            block.resize(frames * self.channels, 0.0);
        }
        let gap = self.fill_gap(missing, block);
        let lost = lost.or(gap);
        self.trim(&packet, block);
        self.given += (block.len() / self.channels.max(1)) as u64;
        self.is_over = self.heard.is_over();
        Ok(lost.map_or(Step::Block, Step::Lost))
    }

    /// Frames that a packet says it has.
    fn frames_of(&self, packet: &Packet) -> u64 {
        frames_in(packet.dur.get(), self.time_base, self.rate)
    }

    /// For how many of so many frames silence is put.
    fn silence_of(&mut self, frames: u64) -> usize {
        let channels = self.channels.max(1) as u64;
        let frames = frames.min(SILENT_SAMPLES.min(self.silent_left) / channels);
        self.silent_left -= frames * channels;
        usize::try_from(frames).unwrap_or(0)
    }

    /// Silence for so many frames that are missing before a block.
    fn fill_gap(&mut self, missing: u64, block: &mut Vec<f32>) -> Option<String> {
        if missing == 0 {
            return None;
        }
        let time_s = self.time_s();
        let silent = self.silence_of(missing) * self.channels;
        block.splice(..0, std::iter::repeat_n(0.0, silent));
        Some(format!("{:.3} s are missing after {time_s:.3} s", missing as f64 / f64::from(self.rate)))
    }

    /// Cuts off what is not to be heard.
    fn trim(&mut self, packet: &Packet, block: &mut Vec<f32>) {
        let frames = (block.len() / self.channels.max(1)) as u64;
        // The last packet of a movie's track is as long as its sound, and decodes to a whole one. Those before it decode to what
        // they are, whatever the times say, which may be rounded.
        let wanted = self.frames_of(packet);
        let surplus = if self.is_movie && wanted > 0 { frames.saturating_sub(wanted) } else { 0 };
        if self.is_matroska && self.given == 0 && self.heard.skip == 0 && packet.pts.get() < 0 {
            self.heard.skip = self.priming(packet, frames);
        }
        self.heard.cut(block, surplus, self.channels);
    }

    /// Frames before the time 0 of Matroska, whose times are rounded to its ticks: whole packets where that is meant.
    fn priming(&self, packet: &Packet, frames: u64) -> u64 {
        let Some(base) = self.time_base else { return 0 };
        let ticks = packet.pts.get().unsigned_abs();
        let of_ticks = |ticks: u64| {
            let frames = u128::from(ticks) * u128::from(base.numer.get()) * u128::from(self.rate);
            u64::try_from(frames / u128::from(base.denom.get())).unwrap_or(u64::MAX)
        };
        let (exact, tick) = (of_ticks(ticks), of_ticks(1).max(1));
        let whole = (exact + frames / 2) / frames.max(1) * frames;
        if whole.abs_diff(exact) <= tick { whole } else { exact }
    }

    fn end(&mut self) -> Result<Step, DecodeError> {
        self.is_over = true;
        if let Some(trouble) = self.opening.trouble.take() {
            return Err(trouble);
        }
        if let Some(change) = self.opening.change {
            return self.changed(change.to);
        }
        if let Some(reason) = self.opening.lost_later.take() {
            return Ok(Step::Lost(reason));
        }
        if let Some(declared) = self.declared
            && self.given < declared
        {
            let (given, declared) = (self.time_s(), declared as f64 / f64::from(self.rate));
            return Ok(Step::Lost(format!(
                "it is cut short: {given:.3} s can be decoded, the header says {declared:.3} s"
            )));
        }
        if self.declared.is_none()
            && let Some(sizes) = container::cut_frame(self.opening.file)
        {
            return Ok(Step::Lost(names::cut_packet(sizes)));
        }
        let taken = packet_bytes_max(self.opening.file.size()) - self.bytes_left;
        if let Some(left) = self.opening.frame_bytes.and_then(|bytes| bytes.checked_sub(taken))
            && left > 0
            && self.declared.is_none()
        {
            return Ok(Step::Lost(names::no_frames(left)));
        }
        Ok(if self.is_altered() { self.over(ALTERED.to_owned()) } else { Step::End })
    }

    /// Another stream begins where the last one has ended, as in the recording of a station: the sound goes on if it is of the
    /// same kind.
    fn next_stream(&mut self) -> Result<Step, DecodeError> {
        let time_s = self.time_s();
        if self.is_altered() {
            return Ok(self.over(ALTERED.to_owned()));
        }
        let format = self.reader.format_info().format;
        let found = container::next_track(&*self.reader, self.opening.file).cloned();
        let Some(Found { id, time_base, codec_params: Some(CodecParameters::Audio(parameters)), .. }) = found else {
            return Ok(self.over(format!("another stream begins after {time_s:.3} s, without sound that is known")));
        };
        check_channels(&parameters)?;
        let decoder = as_stored(&parameters, format, self.opening.file, id).map_err(Closed::from);
        let decoder = match decoder.and_then(|parameters| decoder_of(&parameters, format)) {
            Ok(decoder) => decoder,
            Err(Closed::Error(error)) => return Err(error),
            Err(Closed::Unknown(reason) | Closed::Damaged(reason)) => {
                return Ok(self.over(format!("another stream begins after {time_s:.3} s: {reason}")));
            }
        };
        let found = decoder.codec_params();
        let kind = (found.sample_rate, found.channels.as_ref().map(|channels| channels.count()));
        if let (Some(rate), Some(channels)) = kind
            && (rate, channels) != (self.rate, self.channels)
        {
            return self.changed((rate, channels));
        }
        (self.number, self.time_base, self.decoder, self.decoded) = (id, time_base, decoder, 0);
        self.numbers.begin_anew();
        if let Some(left) = self.streams_left.checked_sub(1) {
            self.streams_left = left;
            self.opening.trouble.allow_reads(NEXT_STREAM_BYTES);
        }
        Ok(Step::Block)
    }

    /// Whether a sum of the samples is another than that of those that were encoded. Outside of FLAC's own container the header may be
    /// that of a longer sound, of which this is a part that was not encoded anew, or of one of several.
    fn is_altered(&mut self) -> bool {
        let is_of_these = self.numbers.are_of_samples()
            || flac::samples_in(self.decoder.codec_params()).is_none_or(|samples| samples == self.decoded);
        is_of_these && self.decoder.finalize().verify_ok == Some(false)
    }

    /// Nothing more is decoded.
    fn over(&mut self, reason: String) -> Step {
        self.is_over = true;
        Step::Lost(reason)
    }

    fn cut_short(&mut self, error: &Error) -> Result<Step, DecodeError> {
        self.is_over = true;
        if let Some(trouble) = self.opening.trouble.take() {
            return Err(trouble);
        }
        if self.opening.is_endless && is_end(error) {
            return self.end();
        }
        Ok(Step::Lost(format!("it is damaged or cut short after {:.3} s: {}", self.time_s(), told(error))))
    }

    fn changed(&mut self, (rate, channels): (u32, usize)) -> Result<Step, DecodeError> {
        self.is_over = true;
        Ok(Step::Lost(format!(
            "it changes after {:.3} s from {} Hz and {} to {rate} Hz and {}: what follows is not decoded",
            self.time_s(),
            self.rate,
            names::channels(self.channels),
            names::channels(channels)
        )))
    }
}

/// Frames of so many units of a track.
fn frames_in(units: u64, base: Option<TimeBase>, rate: u32) -> u64 {
    let Some(base) = base else { return 0 };
    let frames = u128::from(units) * u128::from(base.numer.get()) * u128::from(rate);
    nearest(frames, u128::from(base.denom.get()))
}

/// A quotient, rounded to the nearest.
fn nearest(of: u128, by: u128) -> u64 {
    u64::try_from((of + by / 2) / by.max(1)).unwrap_or(u64::MAX)
}
