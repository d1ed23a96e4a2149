//! Frames in the order of their times, into rows: those that are chosen, one a row or several to a clip.

use super::choose::{Chooser, Step, TimeBase};
use crate::config::{Clip, Tail, VideoOptions};
use crate::decode::{DecodeError, Rejection, RowSink};

/// A frame that may become a picture of a row.
pub trait Frame {
    /// Fills the picture's place in a row.
    fn draw(&mut self, picture: &mut [u8]) -> Result<(), DecodeError>;
}

/// See the module documentation. One for each source.
pub struct Reel<F> {
    chooser: Chooser,
    base: TimeBase,
    held: Option<(i64, F)>,
    clips: Option<Clips>,
    /// Frames that were chosen, as often as they were.
    chosen: u64,
}

impl<F: Frame> Reel<F> {
    /// `picture_bytes`: of one frame in a row.
    pub fn new(options: &VideoOptions, picture_bytes: usize, base: TimeBase) -> Self {
        let clips = options.clip.map(|clip| Clips::new(clip, picture_bytes));
        Self { chooser: Chooser::new(options, base), base, held: None, clips, chosen: 0 }
    }

    pub fn chooser(&self) -> &Chooser {
        &self.chooser
    }

    /// Takes a frame that is shown at `time`; `false` when no more are wanted.
    pub fn take(&mut self, time: i64, mut frame: F, sink: &mut dyn RowSink) -> Result<bool, DecodeError> {
        match self.chooser.step(time) {
            Step::Pass => {}
            Step::Take => {
                self.chosen += 1;
                give(&mut self.clips, &mut frame, self.base.seconds(time), 1, sink)?;
            }
            Step::Hold { repeats } => {
                self.give_held(repeats, sink)?;
                self.held = Some((time, frame));
            }
            Step::End { repeats } => {
                self.give_held(repeats, sink)?;
                self.held = None;
                return Ok(false);
            }
            Step::Gap { seconds } => {
                let at = self.base.seconds(self.held.as_ref().map_or(0, |(time, _)| *time));
                return Err(Rejection::new(format!(
                    "no frame for {seconds} seconds behind {at:.3} s: the time stamps are damaged, or `fps` is too much for it"
                ))
                .into());
            }
        }
        Ok(true)
    }

    /// The video is over at `time`, where its last frame ceases to be shown.
    pub fn finish(&mut self, time: i64, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let repeats = self.chooser.finish(time).map_err(|seconds| {
            Rejection::new(format!(
                "its last frame is shown for {seconds} seconds: the time stamps are damaged, or `fps` is too much for it"
            ))
        })?;
        self.give_held(repeats, sink)?;
        if let Some(clips) = &mut self.clips {
            clips.finish(sink)?;
        }
        if !self.has_given() {
            sink.note(self.why_nothing());
        }
        Ok(())
    }

    /// Whether there is a row.
    pub fn has_given(&self) -> bool {
        self.chosen > 0 && self.clips.as_ref().is_none_or(|clips| clips.has_given)
    }

    fn why_nothing(&self) -> String {
        match &self.clips {
            Some(clips) if self.chosen > 0 => format!(
                "a clip takes {} frames, and the video gives {}: tail = \"pad\" fills it up with the last one",
                clips.clip.length, self.chosen
            ),
            _ => "none of its frames is one that the config asks for (`start`, `end`, `fps`, `keyframes`)".to_owned(),
        }
    }

    fn give_held(&mut self, repeats: u64, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        match &mut self.held {
            Some((time, frame)) => {
                self.chosen += repeats;
                give(&mut self.clips, frame, self.base.seconds(*time), repeats, sink)
            }
            None => Ok(()),
        }
    }
}

/// Draws a frame once, however often it is taken.
fn give<F: Frame>(
    clips: &mut Option<Clips>,
    frame: &mut F,
    time_s: f64,
    repeats: u64,
    sink: &mut dyn RowSink,
) -> Result<(), DecodeError> {
    if let Some(clips) = clips
        && clips.skip as u64 >= repeats
    {
        return (0..repeats).try_for_each(|_| clips.step(sink));
    }
    let mut drawn = Vec::new();
    for nth in 0..repeats {
        if let Some(clips) = clips {
            match nth {
                0 => frame.draw(clips.place(time_s))?,
                _ => clips.repeat(time_s),
            }
            clips.step(sink)?;
            continue;
        }
        let row = sink.row(time_s)?;
        if nth == 0 {
            frame.draw(row)?;
            if repeats > 1 {
                drawn.extend_from_slice(row);
            }
        } else if row.len() == drawn.len() {
            row.copy_from_slice(&drawn);
        }
    }
    Ok(())
}

/// Pictures that come together to rows.
struct Clips {
    clip: Clip,
    picture_bytes: usize,
    /// A row, of which `filled` pictures are there.
    row: Vec<u8>,
    filled: usize,
    /// When each of these pictures is shown.
    times_s: Vec<f64>,
    /// Pictures to be left out before the next row.
    skip: usize,
    /// Takes a picture that is left out.
    skipped: Vec<u8>,
    /// Pictures of the last row that was given, at the begin of `row`.
    given: usize,
    has_given: bool,
}

impl Clips {
    fn new(clip: Clip, picture_bytes: usize) -> Self {
        let row = vec![0; picture_bytes * clip.length];
        let (times_s, skipped) = (Vec::new(), Vec::new());
        Self { clip, picture_bytes, row, filled: 0, times_s, skip: 0, skipped, given: 0, has_given: false }
    }

    /// Where the next picture goes.
    fn place(&mut self, time_s: f64) -> &mut [u8] {
        if self.skip > 0 {
            // It is left out, but shown long enough to be repeated behind what is left out.
            self.skipped.resize(self.picture_bytes, 0);
            return &mut self.skipped;
        }
        let start = self.filled * self.picture_bytes;
        self.times_s.push(time_s);
        self.row.get_mut(start..start + self.picture_bytes).unwrap_or_default()
    }

    /// The picture before this one, once more.
    fn repeat(&mut self, time_s: f64) {
        if self.skip > 0 {
            return;
        }
        let bytes = self.picture_bytes;
        match self.filled.checked_sub(1) {
            Some(before) => self.row.copy_within(before * bytes..(before + 1) * bytes, self.filled * bytes),
            // It was left out, or it is the last of the row before, which stands there still.
            None if self.skipped.len() == bytes => {
                if let Some(first) = self.row.get_mut(..bytes) {
                    first.copy_from_slice(&self.skipped);
                }
            }
            None => self.row.copy_within((self.clip.length - 1) * bytes..self.clip.length * bytes, 0),
        }
        self.times_s.push(time_s);
    }

    /// A picture is complete.
    fn step(&mut self, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        self.filled += 1;
        if self.filled < self.clip.length {
            return Ok(());
        }
        self.give(sink)?;
        let kept = self.clip.length.saturating_sub(self.clip.hop);
        self.skip = self.clip.hop.saturating_sub(self.clip.length);
        if kept > 0 {
            let start = (self.clip.length - kept) * self.picture_bytes;
            self.row.copy_within(start.., 0);
        }
        self.times_s.drain(..self.clip.length - kept);
        self.filled = kept;
        self.given = kept;
        self.skipped.clear();
        Ok(())
    }

    fn give(&mut self, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let row = sink.row(self.times_s.first().copied().unwrap_or_default())?;
        if row.len() == self.row.len() {
            row.copy_from_slice(&self.row);
        }
        self.has_given = true;
        Ok(())
    }

    /// A last row that is not full. One that holds nothing that was not given already is none.
    fn finish(&mut self, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        if self.clip.tail == Tail::Drop || self.filled <= self.given {
            return Ok(());
        }
        let bytes = self.picture_bytes;
        for place in self.filled..self.clip.length {
            self.row.copy_within((place - 1) * bytes..place * bytes, place * bytes);
        }
        self.give(sink)
    }
}
