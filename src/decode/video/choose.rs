//! Which frames of a video become pictures of rows, by their times.
//!
//! Times are counted in units of the stream's time base from the stream's start, as integers; all comparisons are exact.
//!
//! | `pick` | a frame is taken |
//! |---|---|
//! | all, key frames | if `start <= time < end` |
//! | stride n | likewise, and of those the first, and every n-th behind it |
//! | fps | for each tick `start + k / fps` before `end` and before the video's end, the last frame whose time is not behind the tick |
//!
//! A container that counts in milliseconds has rounded its times. So with `fps` a frame whose time is behind a tick by half a
//! unit, and by no more than half a millisecond, still counts as being there: at 30 frames a second the third frame of a
//! Matroska file is at 67 ms, and the third tick at 66.67 ms.

use std::time::Duration;

use crate::config::{Pick, Rate, VideoOptions};

const NANOS: i128 = 1_000_000_000;
/// How far a rounded time may be off, at most.
const ROUNDED_NANOS_MAX: i128 = 500_000;
/// With `fps`, so much of a video may be filled with one frame. More is taken for a damaged time stamp.
const GAP_MAX: Duration = Duration::from_hours(1);
/// Likewise at its end, for the sake of a picture that is shown with a long sound.
const LAST_MAX: Duration = Duration::from_hours(24);

/// The length of a unit of time in seconds: `numerator / denominator`, both positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBase {
    pub numerator: i64,
    pub denominator: i64,
}

impl TimeBase {
    /// Seconds, rounded once.
    pub fn seconds(self, time: i64) -> f64 {
        (i128::from(time) * i128::from(self.numerator)) as f64 / self.denominator.max(1) as f64
    }

    fn nanos_of(self, time: i64) -> i128 {
        i128::from(time) * i128::from(self.numerator) * NANOS / i128::from(self.denominator.max(1))
    }

    /// Whether a time in units is before a place in the video. Exact.
    fn is_before(self, time: i64, place: Duration) -> bool {
        let place_nanos = i128::try_from(place.as_nanos()).unwrap_or(i128::MAX >> 64);
        i128::from(time) * i128::from(self.numerator) * NANOS < place_nanos * i128::from(self.denominator.max(1))
    }
}

/// What to do when a frame has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Pass,
    /// It is taken.
    Take,
    /// The frame that was held before is taken so many times, and this one is held.
    Hold { repeats: u64 },
    /// The frame that was held before is taken so many times. Neither this frame nor any that follows is asked for.
    End { repeats: u64 },
    /// As much time lies between two frames as is not to be filled.
    Gap { seconds: u64 },
}

/// See the module documentation. Frames come in the order of their times.
#[derive(Debug, Clone)]
pub struct Chooser {
    pick: Pick,
    start: Duration,
    end: Option<Duration>,
    base: TimeBase,
    /// Frames from `start` on, for the stride.
    seen: u64,
    /// The next tick that no frame was taken for.
    tick: u64,
    held: Option<i64>,
}

impl Chooser {
    pub fn new(options: &VideoOptions, base: TimeBase) -> Self {
        let VideoOptions { pick, start, end, .. } = *options;
        Self::of(pick, start, end, base)
    }

    pub fn of(pick: Pick, start: Duration, end: Option<Duration>, base: TimeBase) -> Self {
        Self { pick, start, end, base, seen: 0, tick: 0, held: None }
    }

    pub fn is_behind_end(&self, time: i64) -> bool {
        self.end.is_some_and(|end| !self.base.is_before(time, end))
    }

    pub fn step(&mut self, time: i64) -> Step {
        let is_behind_end = self.is_behind_end(time);
        if let Pick::Fps(rate) = self.pick {
            return self.step_by_rate(rate, time, is_behind_end);
        }
        if is_behind_end {
            return Step::End { repeats: 0 };
        }
        if self.is_before_start(time) {
            return Step::Pass;
        }
        let stride = match self.pick {
            Pick::Stride(stride) => stride.max(1),
            _ => 1,
        };
        self.seen += 1;
        if (self.seen - 1).is_multiple_of(stride) { Step::Take } else { Step::Pass }
    }

    /// The video is over at `time`, where its last frame ceases to be shown: how often the frame that is held is taken.
    /// So many seconds are not believed: the error.
    pub fn finish(&mut self, time: i64) -> Result<u64, u64> {
        let (Pick::Fps(rate), Some(held)) = (self.pick, self.held) else { return Ok(0) };
        let until = self.first_tick_at(rate, time.max(held.saturating_add(1)), 0);
        let repeats = self.within_end(rate, until).saturating_sub(self.tick);
        let seconds = repeats.saturating_mul(rate.seconds) / rate.frames.max(1);
        if seconds > LAST_MAX.as_secs() {
            return Err(seconds);
        }
        self.tick += repeats;
        Ok(repeats)
    }

    /// Whether a frame at `time` is certainly not asked for, whatever comes behind it, other than to be decoded for those
    /// that need it. `next`: the time of the frame behind it. Decoders leave out what it costs to make such frames.
    pub fn passes_over(&self, time: i64, next: i64) -> bool {
        match self.pick {
            Pick::Fps(rate) => {
                let first = self.first_tick_at(rate, time, self.rounding());
                let behind = self.first_tick_at(rate, next, self.rounding());
                first.max(self.tick) >= behind
            }
            _ => self.is_before_start(time),
        }
    }

    /// Nothing is before the start where none is set, not even what a stream shows before its own.
    fn is_before_start(&self, time: i64) -> bool {
        !self.start.is_zero() && self.base.is_before(time, self.start)
    }

    /// The place in units before which no frame is wanted but the last, for seeking.
    /// `done`: a time up to which all frames are on their way or not asked for, if that is known.
    pub fn next_wanted(&self, done: Option<i64>) -> Option<i64> {
        match self.pick {
            Pick::Fps(rate) => {
                let tick = done.map_or(0, |time| self.first_tick_at(rate, time, self.rounding())).max(self.tick);
                Some(self.units_of(self.tick_nanos(rate, tick)))
            }
            _ if self.seen == 0 && !self.start.is_zero() => {
                Some(self.units_of(i128::try_from(self.start.as_nanos()).unwrap_or(0)))
            }
            _ => None,
        }
    }

    fn units_of(&self, nanos: i128) -> i64 {
        let units = nanos * i128::from(self.base.denominator) / (NANOS * i128::from(self.base.numerator.max(1)));
        i64::try_from(units).unwrap_or(i64::MAX)
    }

    fn tick_nanos(&self, rate: Rate, tick: u64) -> i128 {
        let start = i128::try_from(self.start.as_nanos()).unwrap_or(0);
        start + i128::from(tick) * NANOS * i128::from(rate.seconds) / i128::from(rate.frames.max(1))
    }

    fn step_by_rate(&mut self, rate: Rate, time: i64, is_behind_end: bool) -> Step {
        // Time that stands still or runs back is no step forward.
        let time = self.held.map_or(time, |held| held.max(time));
        let first = self.first_tick_at(rate, time, self.rounding());
        let Some(held) = self.held else {
            // Ticks before the first frame have nothing to show.
            self.tick = self.tick.max(first);
            if self.within_end(rate, self.tick + 1) <= self.tick {
                return Step::End { repeats: 0 };
            }
            self.held = Some(time);
            return Step::Hold { repeats: 0 };
        };
        let gap = (self.base.nanos_of(time) - self.base.nanos_of(held)) / NANOS;
        let repeats = self.within_end(rate, first).saturating_sub(self.tick);
        if gap > i128::from(GAP_MAX.as_secs()) && repeats > 1 {
            return Step::Gap { seconds: u64::try_from(gap).unwrap_or(u64::MAX) };
        }
        self.tick += repeats;
        self.held = Some(time);
        let is_over = is_behind_end || self.within_end(rate, self.tick + 1) <= self.tick;
        if is_over { Step::End { repeats } } else { Step::Hold { repeats } }
    }

    /// Twice the nanoseconds by which a time may be off.
    fn rounding(&self) -> i128 {
        let unit_nanos = i128::from(self.base.numerator) * NANOS / i128::from(self.base.denominator.max(1));
        unit_nanos.min(2 * ROUNDED_NANOS_MAX)
    }

    /// The first tick that is not before `time`. `rounding`: twice the nanoseconds that `time` may be too late.
    fn first_tick_at(&self, rate: Rate, time: i64, rounding: i128) -> u64 {
        let (numerator, denominator) = (i128::from(self.base.numerator), i128::from(self.base.denominator.max(1)));
        let start = i128::try_from(self.start.as_nanos()).unwrap_or(0);
        // time - rounding / 2 - start <= k * seconds / frames, all times 2 * denominator nanoseconds.
        let left = 2 * i128::from(time) * numerator * NANOS - (rounding + 2 * start) * denominator;
        let exact = left.checked_mul(i128::from(rate.frames));
        let step = 2 * denominator * NANOS * i128::from(rate.seconds.max(1));
        let tick = match exact {
            Some(exact) => exact.div_euclid(step) + i128::from(exact.rem_euclid(step) != 0),
            // Times of that size come from damaged files only.
            None => (left as f64 / step as f64 * rate.frames as f64).ceil() as i128,
        };
        u64::try_from(tick.max(0)).unwrap_or(u64::MAX >> 1)
    }

    /// `tick`, or the first tick that is not before `end`.
    fn within_end(&self, rate: Rate, tick: u64) -> u64 {
        let Some(end) = self.end else { return tick };
        let span = i128::try_from(end.saturating_sub(self.start).as_nanos()).unwrap_or(0);
        let (frames, step) = (i128::from(rate.frames), NANOS * i128::from(rate.seconds.max(1)));
        let first = (span * frames + step - 1) / step;
        u64::try_from(first).map_or(tick, |first| first.min(tick))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chooser(pick: Pick, start_ms: u64, end_ms: Option<u64>, base: (i64, i64)) -> Chooser {
        Chooser {
            pick,
            start: Duration::from_millis(start_ms),
            end: end_ms.map(Duration::from_millis),
            base: TimeBase { numerator: base.0, denominator: base.1 },
            seen: 0,
            tick: 0,
            held: None,
        }
    }

    fn fps(frames: u64, seconds: u64) -> Pick {
        Pick::Fps(Rate { frames, seconds })
    }

    /// The numbers of the frames that are taken.
    fn taken(mut chooser: Chooser, times: &[i64], end: i64) -> Vec<usize> {
        let mut taken = Vec::new();
        let mut held = None;
        for (number, time) in times.iter().enumerate() {
            let (repeats, is_over) = match chooser.step(*time) {
                Step::Pass => continue,
                Step::Take => {
                    taken.push(number);
                    continue;
                }
                Step::Hold { repeats } => (repeats, false),
                Step::End { repeats } => (repeats, true),
                Step::Gap { .. } => panic!("a gap"),
            };
            for _ in 0..repeats {
                taken.push(held.unwrap());
            }
            if is_over {
                return taken;
            }
            held = Some(number);
        }
        for _ in 0..chooser.finish(end).unwrap() {
            taken.push(held.unwrap());
        }
        taken
    }

    #[test]
    fn each_tick_takes_the_last_frame_that_is_not_behind_it() {
        let times: Vec<i64> = (0..10).map(|frame| frame * 10).collect();
        assert_eq!(taken(chooser(fps(5, 1), 0, None, (1, 100)), &times, 100), [0, 2, 4, 6, 8]);
        assert_eq!(taken(chooser(fps(20, 1), 0, None, (1, 100)), &times[..3], 30), [0, 0, 1, 1, 2, 2]);
        assert_eq!(taken(chooser(fps(3, 1), 0, None, (1, 100)), &times, 100), [0, 3, 6]);
        assert_eq!(taken(chooser(fps(1, 2), 0, None, (1, 100)), &times, 100), [0]);
        // One second and a bit has a second tick.
        assert_eq!(taken(chooser(fps(1, 1), 0, None, (1, 100)), &[0, 50, 99], 101), [0, 2]);
    }

    #[test]
    fn frames_at_uneven_times_are_held_as_long_as_they_are_shown() {
        assert_eq!(taken(chooser(fps(10, 1), 0, None, (1, 1000)), &[0, 5, 350, 360], 500), [1 - 1, 1, 1, 1, 3]);
    }

    /// The bug: at 30 frames a second in milliseconds every third frame was taken twice and the next one never.
    #[test]
    fn rounded_times_count_as_what_they_were() {
        let times: Vec<i64> = (0..90).map(|frame| (frame as f64 * 1000.0 / 30.0).round() as i64).collect();
        assert_eq!(taken(chooser(fps(30, 1), 0, None, (1, 1000)), &times, 3000), (0..90).collect::<Vec<_>>());
        assert_eq!(taken(chooser(fps(10, 1), 0, None, (1, 1000)), &times, 3000).len(), 30);
    }

    #[test]
    fn start_and_end_bound_all_ways_to_choose() {
        let times: Vec<i64> = (0..10).map(|frame| frame * 10).collect();
        let of = |pick| taken(chooser(pick, 250, Some(700), (1, 100)), &times, 100);
        assert_eq!(of(Pick::All), [3, 4, 5, 6]);
        assert_eq!(of(Pick::Stride(2)), [3, 5]);
        assert_eq!(of(Pick::Keyframes), [3, 4, 5, 6]);
        // Ticks at 250, 450 and 650 ms.
        assert_eq!(of(fps(5, 1)), [2, 4, 6]);
    }

    /// The bug: the last frame was taken once for a start behind the end.
    #[test]
    fn the_last_frame_is_taken_only_while_it_is_shown() {
        let times: Vec<i64> = (0..10).map(|frame| frame * 10).collect();
        let of = |pick, start_ms| taken(chooser(pick, start_ms, None, (1, 100)), &times, 100);
        assert_eq!(of(fps(5, 1), 950), [9]);
        for start_ms in [1000, 1001, 5000] {
            assert_eq!(of(fps(5, 1), start_ms), [0; 0]);
            assert_eq!(of(Pick::All, start_ms), [0; 0]);
        }
    }

    #[test]
    fn frames_before_the_streams_start_are_frames() {
        assert_eq!(taken(chooser(Pick::All, 0, None, (1, 100)), &[-4, 0, 4], 8), [0, 1, 2]);
        assert_eq!(taken(chooser(Pick::All, 1, None, (1, 100)), &[-4, 0, 4], 8), [2]);
    }

    #[test]
    fn ticks_before_the_first_frame_have_nothing_to_show() {
        assert_eq!(taken(chooser(fps(10, 1), 0, None, (1, 100)), &[25, 35], 45), [0, 1]);
    }

    #[test]
    fn one_frame_without_a_length_is_taken_once() {
        assert_eq!(taken(chooser(fps(1, 1), 0, None, (1, 25)), &[0], 0), [0]);
    }

    #[test]
    fn a_gap_that_nobody_means_is_told() {
        let mut chooser = chooser(fps(30, 1), 0, None, (1, 1));
        assert_eq!(chooser.step(0), Step::Hold { repeats: 0 });
        assert_eq!(chooser.step(1_000_000), Step::Gap { seconds: 1_000_000 });
        let mut chooser = Chooser { held: None, ..chooser };
        assert_eq!(chooser.step(0), Step::Hold { repeats: 0 });
        assert!(matches!(chooser.step(i64::MAX), Step::Gap { .. }));
        // Nor is the last frame shown for ever, whatever the unit of time.
        let last = |units, unit| {
            let mut chooser = super::tests::chooser(fps(30, 1), 0, None, unit);
            assert_eq!(chooser.step(0), Step::Hold { repeats: 0 });
            chooser.finish(units)
        };
        assert_eq!(last(7200, (1, 1)), Ok(30 * 7200));
        assert_eq!(last(1, (1 << 32, 1)), Err(1 << 32));
        assert!(last(i64::MAX, (1, 1000)).is_err());
    }

    #[test]
    fn what_no_tick_falls_into_is_passed_over() {
        let chooser = chooser(fps(1, 1), 0, None, (1, 10));
        assert!(!chooser.passes_over(0, 1));
        assert!(chooser.passes_over(1, 2));
        assert!(!chooser.passes_over(9, 11));
        assert_eq!(chooser.next_wanted(None), Some(0));
    }
}
