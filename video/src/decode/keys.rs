//! Key frames by themselves: all else is passed over.
//!
//! | key frames | the way |
//! |---|---|
//! | of codecs whose key frames all are fresh starts | one goes into the decoder behind the other |
//! | others | each comes out before the next goes in, so several decoders take one in turn |
//! | of which the container does not tell, or not when they are shown | everything is decoded |

use std::mem;

use npy_ingest::decode::DecodeError;

use super::{Beside, Decoding, open};
use crate::ffmpeg::{Packet, Start};

/// Packets that are looked at to see whether each has its time.
const TIMED: usize = 60;
/// Key frames that are decoded at the same time, at most.
const DECODERS_MAX: usize = 8;

impl Decoding<'_> {
    /// Has all decoders give what they hold, in its order. `false` when no more frames are wanted.
    pub(super) fn empty_all(&mut self) -> Result<bool, DecodeError> {
        for _ in 0..=self.others.len() {
            self.next_decoder();
            if !self.empty()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes on with the decoder that waited longest.
    pub(super) fn next_decoder(&mut self) {
        if let Some(oldest) = self.others.pop_front() {
            self.others.push_back(mem::replace(&mut self.decoder, oldest));
        }
    }

    /// See the module documentation.
    pub(super) fn prepare_keys(&mut self) -> Result<(), DecodeError> {
        while self.ahead.is_short_of(TIMED) {
            self.read_ahead()?;
        }
        self.takes_keys_alone = self.video.tells_keys && self.video.tells_times && self.ahead.are_timed();
        if self.takes_keys_alone {
            self.looks_ahead = false;
            if self.threads > 1 && !self.decoder.begins_anew() {
                // With a thread beside it, a decoder takes a packet without waiting for its frame.
                let keeps_alpha = self.alpha == Beside::Taken;
                (self.decoder, _) = open(&self.input, 2, keeps_alpha)?;
                for _ in 1..self.threads.min(DECODERS_MAX) {
                    self.others.push_back(open(&self.input, 2, keeps_alpha)?.0);
                }
            }
        }
        Ok(())
    }

    /// Whether a packet is to be decoded where only key frames are. Without a frame there is no video. What cannot be read may be a key
    /// frame: the decoder says what is wrong with it.
    pub(super) fn is_wanted_key(&self, packet: &Packet, shown: Option<i64>) -> bool {
        let is_passed_over = shown.is_some_and(|shown| self.reel.chooser().passes_over(shown, shown));
        let may_be_key = || self.input.is_key_in_index(packet).unwrap_or(true) && !self.decoder.can_read(packet);
        (self.decoder.start_of(packet) != Start::No || may_be_key()) && !(is_passed_over && self.has_sent)
    }
}
