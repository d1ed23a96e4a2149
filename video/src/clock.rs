//! Time stamps that begin anew within a stream, as where recordings were put behind each other: the clock goes on.
//!
//! Packets are looked at in the order of decoding. One that is to be decoded more than a second before both that came last is where
//! the clock is set back; a single one that is too late is not, nor is a single one that is too early: what is behind it undoes it.
//! What follows is to be decoded behind all that came before it, and shown behind it.

/// See the module documentation. Times are in units of the stream.
pub struct Clock {
    second: i64,
    shift: i64,
    /// When the last two packets were to be decoded.
    last: [Option<i64>; 2],
    /// Where the last frame ceases to be shown, of those since the clock was set back.
    end: Option<i64>,
    /// Where the clock was set back last, and the shift and the end before that.
    undo: Option<(i64, i64, Option<i64>)>,
    /// How often it was set back.
    pub steps: u64,
}

impl Clock {
    pub fn new(second: i64) -> Self {
        Self { second: second.max(1), shift: 0, last: [None; 2], end: None, undo: None, steps: 0 }
    }

    /// What is to be added to the times of a packet that is to be decoded at `time` and shown at `shown`. `length`: how long a frame
    /// is shown.
    pub fn shift(&mut self, time: Option<i64>, shown: Option<i64>, length: i64) -> i64 {
        let Some(time) = time else { return self.shift };
        let second = self.second;
        let is_before = |time: i64, other: i64| time.saturating_add(second) < other;
        let leaps = self.last[0].is_some_and(|last| is_before(last, time));
        if let Some((_, before, end)) = self.undo.take_if(|(last, ..)| leaps && time >= *last) {
            self.shift = before;
            self.end = end;
            self.steps -= 1;
        }
        if let [Some(last), Some(before)] = self.last
            && is_before(time, last)
            && is_before(time, before)
        {
            let end = self.end.take();
            self.undo = Some((last, self.shift, end));
            let decoded = last.saturating_sub(time).saturating_add(length);
            let step = end.zip(shown).map_or(decoded, |(end, shown)| decoded.max(end.saturating_sub(shown)));
            self.shift = self.shift.saturating_add(step);
            self.steps += 1;
        }
        self.end = self.end.max(shown.map(|shown| shown.saturating_add(length)));
        self.last = [Some(time), self.last[0]];
        self.shift
    }

    /// The packets that follow are others than those behind the last.
    pub fn leap(&mut self) {
        (self.last, self.end) = ([None; 2], None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times of packets of one unit each, ten to a second.
    fn shown(times: &[i64]) -> (Vec<i64>, u64) {
        let mut clock = Clock::new(10);
        let shown = times.iter().map(|time| time + clock.shift(Some(*time), Some(*time), 1)).collect();
        (shown, clock.steps)
    }

    #[test]
    fn the_clock_goes_on_where_time_stamps_begin_anew() {
        let times: Vec<i64> = (0..20).chain(0..15).chain(2..30).collect();
        assert_eq!(shown(&times), ((0..63).collect(), 2));
        // A part that is longer than the one before it.
        let times: Vec<i64> = (100..115).chain(0..300).collect();
        assert_eq!(shown(&times), ((100..415).collect(), 1));
    }

    /// The bug: the first frames of the second part were shown before the last ones of the first.
    #[test]
    fn frames_that_are_shown_later_than_decoded_come_before_those_behind_them() {
        let mut clock = Clock::new(10);
        let part = || (0..20).map(|time| (time, time + 3));
        let mut shown: Vec<i64> = part().map(|(time, shown)| shown + clock.shift(Some(time), Some(shown), 1)).collect();
        // Of the second, it is not told at first that they are.
        shown.extend((0..20).map(|time| time + clock.shift(Some(time), Some(time), 1)));
        assert_eq!((shown, clock.steps), ((3..43).collect(), 1));
    }

    #[test]
    fn single_stamps_that_are_off_and_small_steps_change_nothing() {
        assert_eq!(shown(&[0, 1, 2, 900, 4, 5, 6]), (vec![0, 1, 2, 900, 4, 5, 6], 0));
        assert_eq!(shown(&[50, 51, 52, 3, 54, 55, 56]), (vec![50, 51, 52, 53, 54, 55, 56], 0));
        assert_eq!(shown(&[50, 51, 52, 45, 46]), (vec![50, 51, 52, 45, 46], 0));
    }
}
