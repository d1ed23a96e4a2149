//! Frames of which the container lacks parts.
//!
//! Where packets of a transport stream are missing, FFmpeg marks what it reads next; it does not where a frame says how long it is, and is
//! missing from its first packet on. So they are counted here as well. Where recordings were joined the numbers jump, too, and nothing is
//! lost.

use super::{Decoding, Queued};
use crate::ffmpeg::Packet;

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
        let is_gap = self.is_gap(packet);
        if !(is_gap || packet.is_corrupt()) {
            return is_told;
        }
        let file = self.input.file();
        let transport = &mut self.transport;
        let begins_anew = |next: &Queued| {
            let place = next.packet.place();
            next.is_step || next.packet.is_key() && place.is_some_and(|place| transport.begins_anew(file, place))
        };
        let is_joint = self.ahead.first(BEHIND).any(begins_anew);
        let is_cut = !is_joint && packet.place().is_none_or(|place| transport.is_counted(file, place));
        self.is_next_cut = is_cut && packet.is_corrupt();
        is_told || is_cut
    }

    /// Whether the numbers of packets jump from this one on up to the next.
    fn is_gap(&self, packet: &Packet) -> bool {
        let Some(place) = packet.place() else { return false };
        let next = self.ahead.first(usize::MAX).filter_map(|next| next.packet.place()).find(|next| *next > place);
        let is_last = next.is_none() && self.ahead.is_at_end();
        (next.is_some() || is_last) && self.transport.is_gap(self.input.file(), place, next)
    }
}
