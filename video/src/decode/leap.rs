//! Leaps to the key frame before what is wanted next, by the container's index: what lies between is not even read.

use npy_ingest::decode::DecodeError;

use super::{Decoding, rejected};
use crate::ahead::Timed as _;

impl Decoding<'_> {
    /// Goes to the last key frame before what is wanted next, where that saves something. `false` when no more is wanted.
    pub(super) fn leap(&mut self) -> Result<bool, DecodeError> {
        let (Some(origin), true) = (self.origin, self.looks_ahead && self.may_leap) else { return Ok(true) };
        let Some(wanted) = self.reel.chooser().next_wanted(self.cut) else { return Ok(true) };
        let here = self.furthest.unwrap_or(origin);
        let second = self.base.denominator / self.base.numerator.max(1);
        let wanted = wanted.saturating_add(origin);
        // The index may count by decoding times, which are before those of showing.
        let Some(key) = self.input.keyframe_before(wanted.saturating_sub(second)) else { return Ok(true) };
        if key <= here.saturating_add(second) {
            return Ok(true);
        }
        if self.cut.is_some() && !self.empty()? {
            return Ok(false);
        }
        if self.input.seek(key).is_err() {
            self.may_leap = false;
            return Ok(true);
        }
        self.land();
        // It may land before the key frame that was meant, and must not be sent there again.
        self.furthest = self.furthest.max(Some(key));
        let first = self.next_packet()?;
        let landed = first.as_ref().filter(|first| first.packet.is_start()).and_then(|first| first.packet.time());
        if let Some(first) = first {
            self.ahead.push_front(first.packet);
        }
        match landed {
            Some(time) if time <= wanted => self.landing = Some(time.saturating_sub(origin)),
            // Too far, or nowhere: back to where it was, and on without leaps.
            _ => {
                self.may_leap = false;
                let back = self.last.unwrap_or(0).saturating_add(origin);
                if self.input.seek(back).or_else(|_| self.input.seek(i64::MIN)).is_err() {
                    return Err(rejected("it cannot be searched, though its container says so".to_owned()));
                }
                self.land();
            }
        }
        Ok(true)
    }

    /// Whether a frame is shown before the key frame that a leap led to: it is built on what lies before the leap.
    pub(super) fn is_before_landing(&self, shown: Option<i64>) -> bool {
        shown.zip(self.landing).is_some_and(|(shown, key)| shown < key)
    }

    /// Forgets what was read and decoded before a leap.
    fn land(&mut self) {
        self.has_leapt = true;
        self.landing = None;
        self.last_before_leap = self.last;
        self.clock.leap();
        self.cut = None;
        self.ahead.clear();
        self.decoder.flush();
    }
}
