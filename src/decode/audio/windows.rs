//! Cutting a stream of frames into windows.
//!
//! Rules, in frames at the rows' rate:
//! - Window `k` begins at `start + k * hop` and has `samples` frames.
//! - With `tail = "drop"` windows are those that lie within the sound as a whole. With `"pad"` there is one more where the
//!   last of them ends before the sound does, unless it would begin behind the end; silence fills it up.

use super::super::DecodeError;
use crate::config::Tail;

/// Where windows go: the first frame's number, and the frames.
pub(super) type Emit<'a> = dyn FnMut(u64, &[f32]) -> Result<(), DecodeError> + 'a;

/// Cuts the frames of one source, interleaved.
pub(super) struct Cutter {
    samples: usize,
    hop: u64,
    channels: usize,
    tail: Tail,
    /// The frame behind the last one that is wanted.
    end: Option<u64>,
    /// Frames that wait for the rest of their window.
    held: Vec<f32>,
    /// Number of the first of them that counts, and its place in `held`, in frames.
    first: u64,
    place: usize,
    /// Number of the next frame that comes.
    next: u64,
    /// First frame of the next window.
    window: u64,
    /// Frame behind the last window.
    covered: u64,
}

impl Cutter {
    pub(super) fn new(samples: usize, hop: usize, channels: usize, tail: Tail, start: u64, end: Option<u64>) -> Self {
        Self {
            samples,
            hop: hop as u64,
            channels,
            tail,
            end,
            held: Vec::new(),
            first: 0,
            place: 0,
            next: 0,
            window: start,
            covered: start,
        }
    }

    /// Whether no frame that comes now is wanted.
    pub(super) fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Frames that have come, as far as they were wanted.
    pub(super) fn frames(&self) -> u64 {
        self.next
    }

    pub(super) fn push(&mut self, frames: &[f32], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
        let mut count = (frames.len() / self.channels) as u64;
        if let Some(end) = self.end {
            count = count.min(end.saturating_sub(self.next));
        }
        // What lies before the next window is not held at all.
        let behind = self.window.saturating_sub(self.next).min(count);
        let wanted = as_place(behind) * self.channels..as_place(count) * self.channels;
        if self.held.len() == self.place * self.channels {
            self.held.clear();
            (self.place, self.first) = (0, self.next + behind);
        }
        self.held.extend_from_slice(frames.get(wanted).unwrap_or_default());
        self.next += count;
        while self.next.saturating_sub(self.window) >= self.samples as u64 {
            self.give(emit)?;
        }
        self.forget();
        Ok(())
    }

    /// The end of the sound.
    pub(super) fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
        if self.tail == Tail::Pad && self.covered < self.next && self.window < self.next {
            let missing = self.samples as u64 - (self.next - self.window);
            self.held.resize(self.held.len() + as_place(missing) * self.channels, 0.0);
            self.give(emit)?;
        }
        Ok(())
    }

    fn give(&mut self, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
        let from = (self.place + as_place(self.window - self.first)) * self.channels;
        let window = self.held.get(from..from + self.samples * self.channels).unwrap_or_default();
        emit(self.window, window)?;
        self.covered = self.window + self.samples as u64;
        self.window += self.hop;
        Ok(())
    }

    /// Lets go of what no window needs any more; frames are moved only when they are fewer than those before them.
    fn forget(&mut self) {
        let held = self.held.len() / self.channels - self.place;
        let over = as_place(self.window.saturating_sub(self.first)).min(held);
        self.place += over;
        self.first += over as u64;
        if self.place >= held - over {
            self.held.drain(..self.place * self.channels);
            self.place = 0;
        }
    }
}

/// Numbers of frames that are held are those of a buffer.
fn as_place(frames: u64) -> usize {
    usize::try_from(frames).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First frames and contents of all windows of `total` frames, which are their own numbers from 1.
    fn cut(total: usize, samples: usize, hop: usize, tail: Tail, start: u64, end: Option<u64>) -> Vec<(u64, Vec<f32>)> {
        let frames: Vec<f32> = (1..=total).flat_map(|frame| [frame as f32, -(frame as f32)]).collect();
        let mut all = Vec::new();
        for piece in [1, 3, 7, 1000] {
            let mut cutter = Cutter::new(samples, hop, 2, tail, start, end);
            let mut found = Vec::new();
            let mut emit = |first, window: &[f32]| {
                found.push((first, window.to_vec()));
                Ok(())
            };
            for part in frames.chunks(piece * 2) {
                cutter.push(part, &mut emit).unwrap();
                assert!(cutter.held.len() <= 2 * 2 * (samples + piece), "{} are held", cutter.held.len());
            }
            cutter.finish(&mut emit).unwrap();
            all.push(found);
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "pieces change the windows");
        all.pop().unwrap()
    }

    fn expected(
        total: usize,
        samples: usize,
        hop: usize,
        tail: Tail,
        start: usize,
        end: Option<u64>,
    ) -> Vec<(u64, Vec<f32>)> {
        let total = end.map_or(total, |end| total.min(end as usize));
        let mut windows = Vec::new();
        let mut covered = start;
        for first in (start..).step_by(hop) {
            let is_whole = first + samples <= total;
            if !is_whole && (tail == Tail::Drop || covered >= total || first >= total) {
                break;
            }
            covered = first + samples;
            let value = |frame: usize| if frame < total { frame as f32 + 1.0 } else { 0.0 };
            windows.push((
                first as u64,
                (first..first + samples).flat_map(|frame| [value(frame), -value(frame)]).collect(),
            ));
        }
        windows
    }

    #[test]
    fn windows_are_where_the_rules_say() {
        for total in [0, 1, 9, 10, 11, 20, 25, 101] {
            for (samples, hop) in [(10, 10), (10, 3), (10, 25), (1, 1), (4, 5)] {
                for tail in [Tail::Drop, Tail::Pad] {
                    for (start, end) in [(0, None), (7, None), (0, Some(15)), (5, Some(19)), (200, None)] {
                        let found = cut(total, samples, hop, tail, start, end);
                        let expected = expected(total, samples, hop, tail, start as usize, end);
                        assert_eq!(found, expected, "{total} {samples} {hop} {tail:?} {start} {end:?}");
                    }
                }
            }
        }
    }
}
