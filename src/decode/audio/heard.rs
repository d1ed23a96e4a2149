//! What of the decoded samples is to be heard: encoders put something before and behind the sound, and edit lists take parts of it.

use std::collections::VecDeque;

/// MP3: so many frames behind those that the tag counts are the rest of the encoder's last packets; more are sound.
const REST_FRAMES_MAX: usize = 2 * 1152;

/// Passes on what is to be heard. A frame here is a sample of each channel.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Frames at the start that are still to be cut off.
    pub(super) skip: u64,
    /// Frames that are still to be heard, where an edit list ends the sound.
    pub(super) left: Option<u64>,
    /// What is heard behind that: frames that are cut off first, and those to be heard.
    pub(super) parts: VecDeque<(u64, Option<u64>)>,
    /// What the tag of an MP3 says of its end.
    pub(super) tag: Option<Tag>,
    /// Samples that are heard only if others come behind them.
    held: Vec<f32>,
}

/// The end of an MP3 by its tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    /// Frames to be heard until then.
    pub(super) left: u64,
    /// Frames that fill up its last packets.
    pub(super) padding: u64,
}

impl Heard {
    /// Cuts off what is not to be heard of the next packet's samples. `surplus`: how many frames of them are heard only if
    /// another packet follows.
    pub(super) fn cut(&mut self, block: &mut Vec<f32>, surplus: u64, channels: usize) {
        let channels = channels.max(1);
        let samples_in =
            |frames: u64, most: usize| usize::try_from(frames).unwrap_or(usize::MAX).saturating_mul(channels).min(most);
        if self.tag.is_none() {
            let kept = block.len() - samples_in(surplus, block.len());
            let rest = block.split_off(kept);
            let before = std::mem::replace(&mut self.held, rest);
            if !before.is_empty() {
                block.splice(..0, before);
            }
        }
        let skipped = samples_in(self.skip, block.len());
        block.drain(..skipped);
        self.skip -= (skipped / channels) as u64;
        if let Some(tag) = &mut self.tag {
            let kept = samples_in(tag.left, block.len());
            let mut behind = block.split_off(kept);
            let filled = samples_in(tag.padding, behind.len());
            behind.drain(..filled);
            tag.left -= (kept / channels) as u64;
            tag.padding -= (filled / channels) as u64;
            self.held.append(&mut behind);
            // Another file stands behind the first.
            if self.held.len() > REST_FRAMES_MAX * channels {
                block.append(&mut self.held);
                self.tag = None;
            }
        }
        if let Some(left) = &mut self.left {
            let mut behind = block.split_off(samples_in(*left, block.len()));
            *left -= (block.len() / channels) as u64;
            while self.left == Some(0)
                && let Some(part) = self.parts.pop_front()
            {
                (self.skip, self.left) = part;
                let skipped = samples_in(self.skip, behind.len());
                behind.drain(..skipped);
                self.skip -= (skipped / channels) as u64;
                let heard = samples_in(self.left.unwrap_or(u64::MAX), behind.len());
                block.extend(behind.drain(..heard));
                self.left = self.left.map(|left| left - (heard / channels) as u64);
            }
        }
    }

    /// Whether nothing more is to be heard.
    pub(super) fn is_over(&self) -> bool {
        self.left == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of packets of so many frames, each sample being the number of its frame; with two channels.
    fn heard(mut heard: Heard, packets: &[(usize, u64)]) -> Vec<f32> {
        let (mut all, mut next) = (Vec::new(), 0);
        for (frames, surplus) in packets {
            let mut block: Vec<f32> = (next..next + frames).flat_map(|frame| [frame as f32; 2]).collect();
            next += frames;
            heard.cut(&mut block, *surplus, 2);
            all.extend(block.chunks_exact(2).map(|frame| frame[0]));
        }
        all
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<f32> {
        range.map(|frame| frame as f32).collect()
    }

    /// Every packet of an MP4 was cut to the length that its table tells, rounded down.
    #[test]
    fn only_the_last_packet_loses_its_surplus() {
        assert_eq!(heard(Heard::default(), &[(10, 1), (10, 0), (10, 3), (10, 4)]), numbers(0..36));
        assert_eq!(heard(Heard { skip: 15, ..Heard::default() }, &[(10, 1), (10, 10), (10, 2)]), numbers(15..28));
    }

    #[test]
    fn an_edit_ends_the_sound_at_its_sample() {
        let edit = Heard { skip: 5, left: Some(12), ..Heard::default() };
        assert_eq!(heard(edit, &[(10, 0), (10, 0), (10, 0)]), numbers(5..17));
    }

    #[test]
    fn parts_are_heard_one_after_the_other() {
        let of = |parts: &[(u64, Option<u64>)]| {
            let parts = parts.iter().copied().collect();
            heard(Heard { skip: 5, left: Some(7), parts, ..Heard::default() }, &[(10, 0), (10, 0), (10, 0)])
        };
        assert_eq!(
            of(&[(0, Some(3)), (1, Some(2)), (4, None)]),
            [numbers(5..15), numbers(16..18), numbers(22..30)].concat()
        );
        assert_eq!(of(&[(8, Some(2))]), [numbers(5..12), numbers(20..22)].concat());
        assert_eq!(of(&[(50, None)]), numbers(5..12));
    }

    /// All that stood behind the frames of the first tag was left out.
    #[test]
    fn what_stands_far_behind_a_tag_is_heard() {
        let of = |packets: &[(usize, u64)]| {
            heard(Heard { skip: 5, tag: Some(Tag { left: 20, padding: 7 }), ..Heard::default() }, packets)
        };
        assert_eq!(of(&[(32, 0)]), numbers(5..25));
        assert_eq!(of(&[(16, 0), (16, 0), (1152, 0), (1152, 0)]), numbers(5..25));
        let joined = [numbers(5..25), numbers(32..32 + 3 * 1152)].concat();
        assert_eq!(of(&[(16, 0), (16, 0), (1152, 0), (1152, 0), (1152, 0)]), joined);
    }
}
