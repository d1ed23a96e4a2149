//! Packets are read.

use npy_ingest::decode::DecodeError;

use super::{Decoding, GAP, Queued, UNREADABLE_MAX, cut, short_of_memory};
use crate::ahead::Next;
use crate::ffmpeg::{Error, Packet, Start};

/// Packets that are looked at to see whether they tell the order in which frames are shown.
const ORDERED: usize = 60;

impl Decoding<'_> {
    /// Without an order, frames have the times of a constant rate as they come out.
    pub(super) fn find_order(&mut self) -> Result<(), DecodeError> {
        while self.ahead.is_short_of(ORDERED) {
            self.read_ahead()?;
        }
        if self.ahead.first(ORDERED).all(|next| next.packet.time() == next.packet.decoding_time()) {
            (self.lacks_order, self.video.tells_times, self.looks_ahead, self.may_leap) = (true, false, false, false);
            self.ahead.change(|next| next.packet.forget_times());
        }
        Ok(())
    }

    /// The next packet; `None` at the end.
    pub(super) fn next_packet(&mut self) -> Result<Option<Next<Queued>>, DecodeError> {
        let least = if self.video.is_transport_stream { cut::BEHIND + 1 } else { 0 };
        loop {
            // The packet behind it may undo a step.
            let is_step = self.ahead.first(1).any(|next| next.is_step);
            let least = if is_step { least.max(2) } else { least };
            if !self.ahead.wants_more(self.looks_ahead) && !self.ahead.is_short_of(least) {
                break;
            }
            self.read_ahead()?;
        }
        let wanted = self.origin.filter(|_| self.looks_ahead).map(|origin| (self.reel.chooser(), origin));
        Ok(self.ahead.take(wanted, self.has_sent))
    }

    pub(super) fn read_ahead(&mut self) -> Result<(), DecodeError> {
        let mut packet = Packet::new().map_err(short_of_memory)?;
        let read = self.input.read(&mut packet);
        if self.input.take_gap(read.is_ok().then_some(&packet)) {
            self.queue_loss(GAP.to_owned())?;
        }
        match read {
            Ok(()) => {
                self.unreadable = 0;
                self.last_read = packet.decoding_time();
                // What is not shown has its time in the media, not among that of the others.
                let time = packet.decoding_time().filter(|_| packet.is_shown());
                let steps = self.clock.steps;
                let shown = packet.time().filter(|_| packet.is_shown());
                let shift = self.clock.shift(time, shown, packet.duration().max(1));
                let is_step = self.clock.steps > steps;
                if self.clock.steps < steps
                    && let Some(last) = self.ahead.last_mut()
                {
                    last.is_step = false;
                }
                if shift != 0 {
                    packet.shift(shift);
                    // Places in the file cannot be found by such times.
                    self.may_leap = false;
                }
                self.furthest = self.furthest.max(packet.time());
                if self.lacks_order {
                    packet.forget_times();
                }
                let start = if self.looks_ahead { self.decoder.start_of(&packet) } else { Start::No };
                self.ahead.push(Queued { packet, start, lost: None, is_step });
            }
            Err(Error::END) => self.ahead.end(),
            Err(error) => {
                self.queue_loss(format!("the container cannot be read: {error}"))?;
                self.unreadable += 1;
                if self.unreadable == UNREADABLE_MAX {
                    self.ahead.end();
                }
            }
        }
        Ok(())
    }

    /// What is told of in its turn.
    fn queue_loss(&mut self, what: String) -> Result<(), DecodeError> {
        let packet = Packet::new().map_err(short_of_memory)?;
        self.ahead.push(Queued { packet, start: Start::No, lost: Some(what), is_step: false });
        Ok(())
    }
}
