//! What is decoded in this process, without FFmpeg: GIF, APNG and WebP animations, by the libraries of the image decoder, and
//! Y4M.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use super::choose::TimeBase;
use super::reel::{Frame, Reel};
use super::y4m::{Header, LINE_BYTES_MAX};
use crate::config::{Damage, VideoOptions};
use crate::decode::image::{AnimationFrame, Painter, Raster, Turn, animation_frames};
use crate::decode::{About, DecodeError, Rejection, RowSink, SOURCE_BYTES_MAX, SourceFile};
use crate::source::bytes_at;

/// Bytes that tell what a file is.
const START_BYTES: u64 = 16;
const READ_BYTES: usize = 1 << 20;
/// Animations count in microseconds here.
const MICROSECONDS: TimeBase = TimeBase { numerator: 1, denominator: 1_000_000 };

/// What is decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Animation,
    Y4m,
}

/// What the file is by its first bytes; `None` for what FFmpeg decodes.
pub(super) fn kind(file: &SourceFile) -> io::Result<Option<Kind>> {
    let start = bytes_at(file.file(), 0..START_BYTES)?;
    let is_webp = start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP");
    Ok(if start.starts_with(b"GIF8") || start.starts_with(b"\x89PNG\r\n\x1a\n") || is_webp {
        Some(Kind::Animation)
    } else if start.starts_with(b"YUV4MPEG2") {
        Some(Kind::Y4m)
    } else {
        None
    })
}

/// A frame with all its pixels.
struct Whole {
    painter: Rc<RefCell<Painter>>,
    pixels: Vec<u8>,
    raster: Raster,
    turn: Turn,
}

impl Frame for Whole {
    fn draw(&mut self, picture: &mut [u8]) -> Result<(), DecodeError> {
        let mut painter = self.painter.borrow_mut();
        let place = painter.pixels(self.raster)?;
        if let Some(place) = place.get_mut(..self.pixels.len()) {
            place.copy_from_slice(&self.pixels);
        }
        painter.paint(self.raster, self.turn, picture)
    }
}

/// Decodes an animation.
pub(super) fn animation(
    file: &SourceFile,
    options: &VideoOptions,
    about: About<'_>,
    sink: &mut dyn RowSink,
) -> Result<(), DecodeError> {
    if file.size() > SOURCE_BYTES_MAX {
        let size = file.size();
        let reason = format!("the file has {size} bytes, more than the limit of {SOURCE_BYTES_MAX} for animations");
        return Err(Rejection::new(reason).into());
    }
    let mut bytes = Vec::new();
    file.file().take(SOURCE_BYTES_MAX).read_to_end(&mut bytes)?;
    let painter = Rc::new(RefCell::new(Painter::new(&options.frame)));
    let picture_bytes = painter.borrow().picture_bytes();
    let mut reel = Reel::new(options, picture_bytes, MICROSECONDS);
    let (mut frames, mut end) = (0_u64, 0);
    let keeps = options.on_error == Damage::Keep;
    let result = animation_frames(&bytes, keeps, &mut |frame| {
        if about.is_interrupted() {
            return Err(DecodeError::Interrupted);
        }
        let AnimationFrame { pixels, raster, turn, time_us, end_us } = frame;
        let turn = if options.frame.orient { turn } else { Turn::NONE };
        (frames, end) = (frames + 1, end_us);
        reel.take(time_us, Whole { painter: painter.clone(), pixels, raster, turn }, sink)
    });
    match result {
        Err(DecodeError::Rejected(rejection)) if keeps && frames > 0 => {
            sink.note(format!("the rest behind {frames} frames is lost: {rejection}"));
        }
        Ok(()) if frames == 0 => return Err(Rejection::new("there is no frame in it").into()),
        result => result?,
    }
    reel.finish(end, sink)
}

/// Decodes Y4M; `Ok(false)` where it is better left to FFmpeg, and nothing was done.
pub(super) fn y4m(
    file: &SourceFile,
    options: &VideoOptions,
    about: About<'_>,
    sink: &mut dyn RowSink,
) -> Result<bool, DecodeError> {
    let mut reader = BufReader::with_capacity(READ_BYTES, file.file());
    let header = Header::parse(&line(&mut reader)?.unwrap_or_default())?;
    if !header.has_square_pixels {
        return Ok(false);
    }
    let base = TimeBase { numerator: header.seconds, denominator: header.frames };
    let painter = Rc::new(RefCell::new(Painter::new(&options.frame)));
    let picture_bytes = painter.borrow().picture_bytes();
    let mut reel = Reel::new(options, picture_bytes, base);
    let mut planes = vec![0; header.frame_bytes()?];
    let mut frames = 0_i64;
    let mut notes = Vec::new();
    let mut wants_more = true;
    while wants_more {
        if about.is_interrupted() {
            return Err(DecodeError::Interrupted);
        }
        let damage = match line(&mut reader) {
            Ok(None) => break,
            // Some programs end a file with an empty line.
            Ok(Some(head)) if head.is_empty() && reader.fill_buf()?.is_empty() => break,
            Ok(Some(head)) if head.starts_with("FRAME") => match reader.read_exact(&mut planes) {
                Ok(()) => None,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some("it ends within a frame"),
                Err(error) => return Err(error.into()),
            },
            Ok(Some(_)) => Some("a frame does not begin with FRAME"),
            Err(DecodeError::Rejected(_)) => Some("a frame does not begin with FRAME"),
            Err(error) => return Err(error),
        };
        if let Some(damage) = damage {
            let at = base.seconds(frames);
            if options.on_error == Damage::Reject || frames == 0 {
                return Err(Rejection::new(format!("it is damaged: {damage} (frame {frames}, at {at:.3} s)")).into());
            }
            notes.push(format!("the rest behind {frames} frames is lost: {damage}"));
            break;
        }
        let (pixels, raster) = header.pixels(&planes);
        let whole = Whole { painter: painter.clone(), pixels, raster, turn: Turn::NONE };
        wants_more = reel.take(frames, whole, sink)?;
        frames += 1;
    }
    if frames == 0 {
        return Err(Rejection::new("there is no frame in it").into());
    }
    reel.finish(frames, sink)?;
    if header.is_interlaced && reel.has_given() {
        notes.push("interlaced: each row has both fields of a frame as they are".to_owned());
    }
    if !notes.is_empty() {
        sink.note(notes.join("; "));
    }
    Ok(true)
}

/// A line without its end; `None` at the end of the file.
fn line(reader: &mut impl BufRead) -> Result<Option<String>, DecodeError> {
    let mut line = Vec::new();
    let read = reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    match line.pop() {
        None if read == 0 => Ok(None),
        Some(b'\n') => Ok(Some(String::from_utf8_lossy(&line).into_owned())),
        _ => Err(Rejection::new("Y4M: a header has no end").into()),
    }
}
