//! One source, from its packets to its rows.

mod cut;
mod end;
mod keys;
mod leap;
mod read;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::rc::Rc;

use npy_ingest::config::{Alpha, Damage, Pick, VideoOptions};
use npy_ingest::decode::image::Painter;
use npy_ingest::decode::ogg::{Content, loss_in};
use npy_ingest::decode::video::{Frame, Reel, TimeBase};
use npy_ingest::decode::{DecodeError, Rejection, fragments};

use crate::ahead::{Ahead, Fate, Next, Timed};
use crate::answer::Answer;
use crate::clock::Clock;
use crate::ffmpeg::{Decoder, Error, Input, Packet, Picture, Skip, Start, Video, made_up};
use crate::losses::{Losses, damaged};
use crate::matroska;
use crate::mxf;
use crate::ogg;
use crate::picture::Artist;
use crate::riff;
use crate::transport::Transport;

/// Packets that cannot be read, one after the other, before the rest is given up.
pub const UNREADABLE_MAX: u32 = 100;
/// Packets before the first key frame that are passed over. Where none comes, the container knows no key frames.
const LEADING_MAX: u64 = 1000;

const ENCRYPTED: &str = "its video is encrypted";
/// What FFmpeg passes over without an error.
pub const GAP: &str = "the container is damaged, and parts of it are passed over";

/// Decodes a source and gives its rows.
///
/// # Errors
/// There is no video, it cannot be decoded, or it is damaged: with the reason. The answer cannot be written.
pub fn decode(
    name: &str,
    options: &VideoOptions,
    threads: usize,
    file: File,
    answer: &mut Answer,
) -> Result<(), DecodeError> {
    let cut_short = match cut_short(&file, answer)? {
        None => lost_pages(&file, Content::Pictures, answer)?.map(|(what, _)| what),
        cut_short => cut_short,
    };
    let mut input = Input::open(file, name, None).map_err(|error| {
        rejected(format!("no video that FFmpeg can open: {error}; it may be cut short, or no video"))
    })?;
    let found = input.find_video().map_err(|error| rejected(format!("its streams cannot be read: {error}")))?;
    let format = input.format_name();
    let Some(video) = found else {
        return Err(rejected(format!("there is no video stream in it (it is {format})")));
    };
    if video.is_encrypted {
        return Err(rejected(ENCRYPTED.to_owned()));
    }
    if let Some(what) = cut_short.as_ref().filter(|_| options.on_error == Damage::Reject) {
        return Err(rejected(damaged(what)));
    }
    // One more than there are cores for: while this thread makes a row, all of them can decode.
    let keeps_alpha = options.frame.channels == 4 || options.frame.alpha == Alpha::Blend;
    let (decoder, alpha) = open(&input, if threads > 1 { threads + 1 } else { 1 }, keeps_alpha)?;
    let artist = Artist::new(Painter::new(&options.frame), video.display_matrix, video.pixel_shape);
    let picture_bytes = artist.picture_bytes();
    answer.begin(picture_bytes * options.clip.map_or(1, |clip| clip.length));
    let (numerator, denominator) = video.time_base;
    let base = TimeBase { numerator: i64::from(numerator.max(1)), denominator: i64::from(denominator.max(1)) };
    // Where the index is not in the order of time, places cannot be found by it.
    let may_leap = options.pick != Pick::Keyframes && input.has_index() && input.is_index_in_order();
    let decoding = Decoding {
        options,
        input,
        decoder,
        alpha,
        others: VecDeque::new(),
        threads,
        takes_keys_alone: false,
        video,
        base,
        reel: Reel::new(options, picture_bytes, base),
        artist: Rc::new(RefCell::new(artist)),
        origin: video.start,
        last: None,
        last_before_leap: None,
        clock: Clock::new(base.denominator / base.numerator),
        end: 0,
        frames: 0,
        losses: Losses { policy: options.on_error, count: 0, first: None },
        made_up: made_up(),
        cut_short,
        is_broken: false,
        is_broken_off: false,
        is_next_cut: false,
        transport: Transport::default(),
        headless: 0,
        lacks_order: false,
        ahead: Ahead::new(),
        has_sent: false,
        cut: None,
        unreadable: 0,
        looks_ahead: video.tells_keys && (matches!(options.pick, Pick::Fps(_)) || !options.start.is_zero()),
        may_leap,
        furthest: None,
        last_read: None,
        has_leapt: false,
        landing: None,
        answer,
    };
    decoding.run()
}

/// `keeps_alpha`: it is wanted, where there is any.
fn open(input: &Input, threads: usize, keeps_alpha: bool) -> Result<(Decoder, Beside), DecodeError> {
    let mut alpha = Beside::Nothing;
    if keeps_alpha && input.has_alpha_beside() {
        if let Ok(decoder) = Decoder::open_with_alpha(input, threads) {
            return Ok((decoder, Beside::Taken));
        }
        alpha = Beside::LeftOut;
    }
    Decoder::open(input, threads)
        .map(|decoder| (decoder, alpha))
        .map_err(|(error, codec)| rejected(format!("its video, {codec}, cannot be decoded: {error}")))
}

/// How a container that tells its length was cut short.
pub fn cut_short(file: &File, answer: &mut Answer) -> Result<Option<String>, DecodeError> {
    let Ok(bytes) = file.metadata().map(|metadata| metadata.len()) else { return Ok(None) };
    if bytes == 0 {
        return Err(rejected("the file is empty".to_owned()));
    }
    let mut alive = Ok(());
    let announced = matroska::announced_bytes(file, bytes, || {
        if alive.is_ok() {
            alive = answer.beat();
        }
    });
    alive?;
    let announced = announced.or_else(|| riff::announced_bytes(file, bytes)).or_else(|| mxf::announced_bytes(file));
    let announced = announced.filter(|announced| *announced > bytes);
    Ok(if let Some(announced) = announced {
        Some(format!("the file ends after {bytes} of the {announced} bytes that it announces: it was cut short"))
    } else if let Some(loss) = fragments::loss_in(file, 0, bytes) {
        Some(match loss {
            fragments::Loss::Cut(place) => format!(
                "the file ends after {bytes} bytes, within the fragment that begins at byte {place}: it was cut short"
            ),
            fragments::Loss::Broken(place) => {
                format!("its fragments do not go on at byte {place}, and there are others behind it")
            }
        })
    } else {
        ogg::is_cut_short(file, bytes)
            .then(|| format!("the file ends after {bytes} bytes, before the end of its stream: it was cut short"))
    })
}

/// What of the pages of an Ogg file is missing, in words, and whether that is at its start.
pub fn lost_pages(file: &File, content: Content, answer: &mut Answer) -> Result<Option<(String, bool)>, DecodeError> {
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let mut alive = Ok(());
    let loss = loss_in(file, 0, bytes, content, || {
        alive = answer.beat();
        alive.is_ok()
    });
    alive?;
    Ok(loss.map(|loss| (loss.to_string(), loss.is_at_start)))
}

/// Alpha that the container has beside the pictures and that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Taken,
    /// FFmpeg has no decoder for it.
    LeftOut,
}

struct Decoding<'a> {
    options: &'a VideoOptions,
    input: Input,
    decoder: Decoder,
    alpha: Beside,
    /// Those that have a key frame each, the oldest first.
    others: VecDeque<Decoder>,
    threads: usize,
    /// Only key frames are decoded, each by itself.
    takes_keys_alone: bool,
    video: Video,
    base: TimeBase,
    reel: Reel<Shot>,
    artist: Rc<RefCell<Artist>>,
    /// The stream's start, in units.
    origin: Option<i64>,
    /// The time of the last frame, from the start.
    last: Option<i64>,
    last_before_leap: Option<i64>,
    clock: Clock,
    /// Where the last frame ceases to be shown, from the start.
    end: i64,
    frames: u64,
    losses: Losses,
    /// What was made up before this source.
    made_up: u64,
    /// The container is not all there, which its packets do not tell.
    cut_short: Option<String>,
    /// Something was lost, and no key frame has come out since.
    is_broken: bool,
    /// A packet was lost, and that of no key frame has come since.
    is_broken_off: bool,
    /// Of the packet that comes next, parts are missing.
    is_next_cut: bool,
    transport: Transport,
    /// Frames of recordings that were put behind others, before their first key frames.
    headless: u64,
    /// The container does not tell when frames are shown.
    lacks_order: bool,
    ahead: Ahead<Queued>,
    /// The decoder had something to do.
    has_sent: bool,
    /// All frames up to this time, from the start, are decoded or not wanted: packets were dropped.
    cut: Option<i64>,
    /// Packets that could not be read, one after the other.
    unreadable: u32,
    /// It helps to know what comes: some frames need not be decoded.
    looks_ahead: bool,
    may_leap: bool,
    /// The largest time of a packet that was read, or that a leap went for, in units: leaps only go beyond it, so that they come
    /// to an end.
    furthest: Option<i64>,
    /// When the packet that was read last is to be decoded, by its container.
    last_read: Option<i64>,
    has_leapt: bool,
    /// The key frame that the last leap led to, from the start. Frames behind it that are shown before it are built on others.
    landing: Option<i64>,
    answer: &'a mut Answer,
}

/// A frame on its way to a row.
struct Shot {
    picture: Picture,
    artist: Rc<RefCell<Artist>>,
}

impl Frame for Shot {
    fn draw(&mut self, row: &mut [u8]) -> Result<(), DecodeError> {
        self.artist.borrow_mut().draw(&self.picture, row)
    }
}

/// A packet on its way to the decoder.
struct Queued {
    packet: Packet,
    start: Start,
    /// There is none here, but something was lost: what.
    lost: Option<String>,
    /// Time stamps begin anew with it.
    is_step: bool,
}

impl Timed for Queued {
    fn time(&self) -> Option<i64> {
        self.packet.time()
    }
    fn is_shown(&self) -> bool {
        self.packet.is_shown()
    }
    fn is_start(&self) -> bool {
        self.start != Start::No
    }
    fn bytes(&self) -> usize {
        self.packet.bytes()
    }
}

impl Decoding<'_> {
    fn run(mut self) -> Result<(), DecodeError> {
        if self.video.may_lack_order {
            self.find_order()?;
        }
        if self.options.pick == Pick::Keyframes {
            self.prepare_keys()?;
        }
        let (mut packets, mut leading) = (0_u64, 0_u64);
        let (mut has_key, mut is_joined, mut passed_over) = (false, false, 0);
        // Since the last key frame, with it, nothing was to be shown.
        let mut is_begun = false;
        let wants_more = loop {
            self.answer.beat()?;
            if !self.leap()? {
                break false;
            }
            let Some(Next { packet: Queued { packet, start, lost, is_step }, fate, is_behind_cut }) =
                self.next_packet()?
            else {
                break true;
            };
            if let Some(what) = lost {
                if !self.break_off(&what)? {
                    break false;
                }
                continue;
            }
            packets += 1;
            if packet.is_encrypted() {
                return Err(rejected(ENCRYPTED.to_owned()));
            }
            if is_step && !is_begun {
                // Nothing of what comes is built on what was.
                if !self.empty_all()? {
                    break false;
                }
                (has_key, is_joined, passed_over) = (false, true, 0);
            }
            is_begun = !packet.is_shown() && (is_begun || packet.is_key());
            has_key |= packet.is_key();
            if !has_key && passed_over < LEADING_MAX {
                // A recording that begins between two key frames. Nothing can be made of what needs the first.
                passed_over += 1;
                *(if is_joined { &mut self.headless } else { &mut leading }) += 1;
                continue;
            }
            if self.is_cut(&packet) {
                if !self.break_off("a frame is cut short in the container")? {
                    break false;
                }
                continue;
            }
            let shown = packet.time().map(|time| time.saturating_sub(*self.origin.get_or_insert(time)));
            if let Some(shown) = shown.filter(|_| packet.is_shown()) {
                let length = if packet.duration() > 0 { packet.duration() } else { self.frame_length() };
                self.end = self.end.max(shown.saturating_add(length));
            }
            if self.takes_keys_alone && shown.is_none() && packet.is_key() {
                self.lose(1, "a key frame has no time")?;
                continue;
            }
            if self.takes_keys_alone && !self.is_wanted_key(&packet, shown) || self.is_before_landing(shown) {
                continue;
            }
            if fate == Fate::Drop {
                self.cut = self.cut.max(shown.filter(|_| packet.is_shown()));
                continue;
            }
            self.cut = None;
            self.is_broken_off &= !packet.is_key();
            if self.is_broken_off {
                self.losses.count += 1;
                continue;
            }
            if is_behind_cut && start == Start::Emptied && !self.empty()? {
                break false;
            }
            if self.takes_keys_alone && !self.decoder.begins_anew() {
                self.next_decoder();
                if !self.empty()? {
                    break false;
                }
            }
            self.decoder.skip(if fate == Fate::Decode { Skip::Nothing } else { Skip::Disposable }, &packet);
            self.has_sent = true;
            let is_behind_end = shown.is_some_and(|shown| self.reel.chooser().is_behind_end(shown));
            self.decoder.expect_whole(&packet, !is_behind_end);
            if let Err(error) = self.decoder.send(Some(&packet)) {
                self.lose_undecoded(error)?;
            }
            if !self.drain()? {
                break false;
            }
        };
        if wants_more {
            self.empty_all()?;
            self.expect_end(packets)?;
        }
        self.finish(leading)
    }

    /// Takes the frames that are ready; `false` when no more are wanted.
    fn drain(&mut self) -> Result<bool, DecodeError> {
        let mut picture = Picture::new().map_err(short_of_memory)?;
        loop {
            match self.decoder.receive(&mut picture) {
                Ok(()) => {}
                Err(Error::AGAIN | Error::END) => return Ok(true),
                Err(error) => {
                    self.lose_undecoded(error)?;
                    continue;
                }
            }
            let shown = picture.time().zip(self.origin).map(|(time, origin)| time.saturating_sub(origin));
            if self.is_before_landing(shown) {
                continue;
            }
            if shown.is_some_and(|shown| self.last_before_leap.is_some_and(|last| shown <= last)) {
                continue;
            }
            if picture.is_damaged() {
                self.lose(1, "parts of a frame are missing")?;
                continue;
            }
            if self.is_broken && !picture.is_key() {
                // Built on what was lost, whatever it looks like.
                self.losses.count += 1;
                continue;
            }
            self.is_broken = false;
            self.frames += 1;
            self.video.is_interlaced |= picture.is_interlaced();
            let time = match (picture.time(), self.last) {
                (Some(time), _) => time.saturating_sub(*self.origin.get_or_insert(time)),
                (None, Some(last)) => last.saturating_add(self.frame_length()),
                (None, None) => 0,
            };
            let is_back = self.last.is_some_and(|last| !self.video.tells_times && time <= last);
            let time = if is_back { self.last.unwrap_or(0).saturating_add(self.frame_length()) } else { time };
            self.last = Some(time);
            if self.options.pick == Pick::Keyframes && !self.takes_keys_alone && !picture.is_key() {
                continue;
            }
            let shot = Shot { picture: picture.take().map_err(short_of_memory)?, artist: self.artist.clone() };
            if !self.reel.take(time, shot, self.answer)? {
                return Ok(false);
            }
            self.answer.beat()?;
        }
    }

    /// Has the decoder give what it holds, so that it can begin anew. `false` when no more frames are wanted.
    fn empty(&mut self) -> Result<bool, DecodeError> {
        match self.decoder.send(None) {
            Ok(()) | Err(Error::AGAIN | Error::END) => {}
            // Of a frame that it held.
            Err(error) => self.lose_undecoded(error)?,
        }
        let wants_more = self.drain()?;
        self.decoder.flush();
        Ok(wants_more)
    }

    /// A packet is lost. What was sent before it is whole and comes out first, however many threads decode; what comes behind it
    /// waits for a key frame. `false` when no more frames are wanted.
    fn break_off(&mut self, what: &str) -> Result<bool, DecodeError> {
        if !self.empty_all()? {
            return Ok(false);
        }
        self.lose(1, what)?;
        self.is_broken_off = self.is_broken;
        Ok(true)
    }

    fn lose_undecoded(&mut self, error: Error) -> Result<(), DecodeError> {
        self.lose(1, &format!("a frame cannot be decoded: {error}"))
    }

    fn lose(&mut self, count: u64, what: &str) -> Result<(), DecodeError> {
        self.is_broken = true;
        let at_s = self.base.seconds(self.last.unwrap_or(0));
        self.losses.add(count, what, at_s)
    }

    /// How long a frame is shown, where nobody says it: in units, by the frame rate.
    fn frame_length(&self) -> i64 {
        let (frames, seconds) = self.video.rate;
        let TimeBase { numerator, denominator } = self.base;
        let units = i128::from(denominator) * i128::from(seconds.max(1));
        let parts = i128::from(numerator) * i128::from(frames.max(1));
        i64::try_from(units / parts.max(1)).unwrap_or(1).max(1)
    }
}

pub fn rejected(reason: String) -> DecodeError {
    Rejection::new(reason).into()
}

fn short_of_memory(error: Error) -> DecodeError {
    rejected(format!("there is not enough memory (`memory`): {error}"))
}
