//! Frames of which the container lacks parts.
//!
//! Where packets of a transport stream are missing, FFmpeg marks what it reads next; it does not where a frame says how long it is, and is
//! missing from its first packet on. So they are counted here as well. Where recordings were joined the numbers jump, too, and nothing is
//! lost.

use super::Decoding;
use crate::ffmpeg::Packet;
use crate::transport::{Gap, Joint};

/// Packets behind one that FFmpeg marks within which the recording begins that was put behind.
pub(super) const BEHIND: usize = 2;

impl Decoding<'_> {
    /// Whether parts of a packet are missing, or frames behind it.
    pub(super) fn is_cut(&mut self, packet: &Packet) -> bool {
        if !self.video.is_transport_stream {
            return packet.is_corrupt();
        }
        // FFmpeg marks the one before it.
        let is_told = std::mem::take(&mut self.is_next_cut);
        let gap = self.gap(packet);
        if gap.is_none() && !packet.is_corrupt() {
            return is_told;
        }
        let is_cut = !self.is_joint(packet)
            && (gap == Some(Gap::Unmarked) || packet.place().is_none() || self.transport.is_counted(self.input.file()));
        self.is_next_cut = is_cut && packet.is_corrupt();
        is_told || is_cut
    }

    /// Whether something is missing from this packet on up to the next.
    fn gap(&mut self, packet: &Packet) -> Option<Gap> {
        let place = packet.place()?;
        let next = self.ahead.first(usize::MAX).filter_map(|next| next.packet.place()).find(|next| *next > place);
        let is_last = next.is_none() && self.ahead.is_at_end();
        if next.is_none() && !is_last {
            return None;
        }
        self.transport.gap(self.input.file(), place, next)
    }

    /// Whether another recording, or another piece of one, begins behind a packet. Where packets of the tables are missing as well, a key
    /// frame looks like the first of a piece; but then frames are missing before it.
    fn is_joint(&mut self, packet: &Packet) -> bool {
        let length = packet.duration().max(self.frame_length());
        let mut before = packet.decoding_time();
        for next in self.ahead.first(BEHIND) {
            let time = next.packet.decoding_time();
            let goes_on =
                before.zip(time).is_none_or(|(before, time)| time <= before.saturating_add(length + length / 2));
            before = time;
            if next.is_step {
                return true;
            }
            let place = next.packet.place().filter(|_| next.packet.is_key());
            match place.and_then(|place| self.transport.joint(self.input.file(), place)) {
                Some(_) if goes_on => return true,
                Some(Joint::Zero) => {
                    self.transport.count_leap(place);
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}
