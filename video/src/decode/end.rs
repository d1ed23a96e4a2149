//! The end of a source: whether it is whole, and what is to be known of it.

use npy_ingest::config::{Damage, Pick};
use npy_ingest::decode::{DecodeError, RowSink as _};

use super::{Beside, Decoding, rejected};
use crate::ffmpeg::made_up;
use crate::losses::damaged;

impl Decoding<'_> {
    /// No packet is left, of `packets` that were taken: whether there should be more, by the container's index.
    pub(super) fn expect_end(&mut self, packets: u64) -> Result<(), DecodeError> {
        let Some(indexed) = self.video.indexed else { return Ok(()) };
        let (read, indexed) = match self.last_read {
            // Some were leapt over.
            Some(last) if self.has_leapt => self.input.indexed_up_to(last),
            None if self.has_leapt => return Ok(()),
            _ => (packets, indexed),
        };
        if read < indexed {
            self.lose(indexed - read, &format!("it ends after {read} of {indexed} frames"))?;
        }
        Ok(())
    }

    /// Gives the last rows. `leading`: frames before the first key frame.
    pub(super) fn finish(mut self, leading: u64) -> Result<(), DecodeError> {
        if self.made_up < made_up() && self.losses.policy == Damage::Reject {
            return Err(rejected(damaged("parts of its frames are missing")));
        }
        if self.frames == 0 {
            return Err(self.without_frames());
        }
        let last = self.last.unwrap_or(0);
        if self.end <= last {
            self.end = last.saturating_add(self.frame_length());
        }
        self.reel.finish(self.end, self.answer)?;
        self.note(leading);
        Ok(())
    }

    fn without_frames(&self) -> DecodeError {
        if self.options.pick == Pick::Keyframes && self.takes_keys_alone && !self.has_sent {
            return rejected(
                "there is no key frame in it that is whole by itself, and `keyframes` takes no others: take it with `fps` or `stride`"
                    .to_owned(),
            );
        }
        let why = self.losses.first.as_ref().map_or(String::new(), |first| format!(": {first}"));
        rejected(format!("there is no frame in it that can be decoded{why}"))
    }

    /// What is to be known of the source, for the ledger.
    fn note(&mut self, leading: u64) {
        let mut notes = Vec::new();
        if self.losses.count > 0 {
            let (count, first) = (self.losses.count, self.losses.first.take().unwrap_or_default());
            notes.push(format!("{count} frames lost; the first: {first}"));
        }
        notes.extend(self.cut_short.take());
        let times = |count: u64| if count == 1 { "once".to_owned() } else { format!("{count} times") };
        if self.clock.steps > 0 {
            let times = times(self.clock.steps);
            notes.push(format!(
                "its time stamps begin anew {times}, as where recordings were joined: the clock goes on"
            ));
        }
        if self.headless > 0 {
            notes.push(format!("{} frames between there and the next key frame were left out", self.headless));
        }
        if self.transport.leaps > 0 {
            let times = times(self.transport.leaps);
            notes.push(format!("its time stamps leap forward {times} where its packets are counted anew, as where recordings were joined"));
        }
        if leading > 0 && self.options.start.is_zero() {
            notes.push(format!("begins {leading} frames before its first key frame, which were left out"));
        }
        if self.alpha == Beside::LeftOut {
            notes.push("its alpha is left out, as this FFmpeg has no decoder of libvpx's".to_owned());
        }
        if self.video.is_interlaced && self.reel.has_given() {
            notes.push("interlaced: each row has both fields of a frame as they are".to_owned());
        }
        if !notes.is_empty() {
            self.answer.note(notes.join("; "));
        }
    }
}
