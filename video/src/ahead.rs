//! Packets that were read and not decoded yet, and which of them need not be decoded at all.
//!
//! Where few frames are wanted, packets are read up to the next key frame and a little further before the first of them is
//! decoded. Then the times of all of them are known, and so is the last one in decoding order that a wanted frame can need:
//! what comes behind it, up to the key frame, is dropped. That needs no index, and no trust in one.
//!
//! | fate | of |
//! |---|---|
//! | decode | frames that are wanted, or may be |
//! | decode for others | frames before the last wanted one: the decoder leaves out those that no other is built on |
//! | drop | frames behind it; and those that are shown before the next key frame and built on what was dropped |

use std::collections::VecDeque;

use npy_ingest::decode::video::Chooser;

/// Packets behind a key frame within which all are found that are shown before it: frames are not reordered over more than
/// sixteen.
const REORDERED: usize = 20;
/// No more is read ahead. Then nothing is dropped, until the next key frame.
const PACKETS_MAX: usize = 1500;
const BYTES_MAX: usize = 32 << 20;

/// What is asked of a packet here.
pub trait Timed {
    /// When its frame is shown, in units of the stream, if that is told.
    fn time(&self) -> Option<i64>;
    /// Its frame is shown, or is only what others are built on.
    fn is_shown(&self) -> bool;
    /// Decoding can begin with it.
    fn is_start(&self) -> bool;
    fn bytes(&self) -> usize;
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Decode,
    DecodeForOthers,
    Drop,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Ahead<P> {
    packets: VecDeque<P>,
    bytes: usize,
    /// Of the first packets, and whether frames behind the next key frame may be built on what is dropped; those behind them have
    /// none yet.
    fates: VecDeque<(Fate, bool)>,
    /// How many packets from the front are up to the next key frame. Where it is not known yet: how many were looked at; the
    /// first always counts.
    to_next_key: usize,
    next_key_found: bool,
    /// How many packets were taken since one without a time.
    since_untimed: usize,
    /// There are no more packets to be read.
    is_whole: bool,
    /// The last packet that was taken was dropped, and frames behind the next key frame may be built on it.
    is_cut: bool,
}

/// A packet that was taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<P> {
    pub packet: P,
    pub fate: Fate,
    /// The one before it was dropped, and what comes behind this one may be built on that.
    pub is_behind_cut: bool,
}

/// What is known of a frame, its time from the start.
#[derive(Debug, Clone, Copy)]
struct Planned {
    time: i64,
    is_shown: bool,
}

impl<P: Timed> Ahead<P> {
    pub fn new() -> Self {
        Self {
            packets: VecDeque::new(),
            bytes: 0,
            fates: VecDeque::new(),
            to_next_key: 1,
            next_key_found: false,
            since_untimed: usize::MAX,
            is_whole: false,
            is_cut: false,
        }
    }

    pub fn push(&mut self, packet: P) {
        self.bytes += packet.bytes();
        self.packets.push_back(packet);
    }

    /// So many packets, the next first.
    pub fn first(&self, count: usize) -> impl Iterator<Item = &P> {
        self.packets.iter().take(count)
    }

    pub fn last_mut(&mut self) -> Option<&mut P> {
        self.packets.back_mut()
    }

    pub fn change(&mut self, change: impl FnMut(&mut P)) {
        self.packets.iter_mut().for_each(change);
    }

    /// Whether all that can be read was.
    pub fn is_at_end(&self) -> bool {
        self.is_whole
    }

    /// Gives back a packet that was taken, or puts one before the others.
    pub fn push_front(&mut self, packet: P) {
        self.bytes += packet.bytes();
        self.packets.push_front(packet);
        self.fates.clear();
        self.forget_next_key();
    }

    /// Forgets all packets; others will be read.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// There are no more packets to be read.
    pub fn end(&mut self) {
        self.is_whole = true;
    }

    fn forget_next_key(&mut self) {
        self.next_key_found = false;
        self.to_next_key = 1;
    }

    /// Whether another packet should be read before one is taken. `looks_ahead`: it helps to know what comes.
    pub fn wants_more(&mut self, looks_ahead: bool) -> bool {
        if self.is_whole || self.packets.len() >= PACKETS_MAX || self.bytes >= BYTES_MAX {
            return false;
        }
        if self.packets.is_empty() || !looks_ahead {
            return self.packets.is_empty();
        }
        let begins = self.fates.is_empty() && self.packets.front().is_some_and(Timed::is_start);
        if begins { !self.knows_next_key() } else { self.packets.len() <= REORDERED }
    }

    /// Whether fewer than so many packets are there, and more can be had.
    pub fn is_short_of(&self, count: usize) -> bool {
        !self.is_whole && self.packets.len() < count && self.bytes < BYTES_MAX
    }

    pub fn are_timed(&self) -> bool {
        self.packets.iter().all(|packet| packet.time().is_some())
    }

    /// Whether the next key frame is there, and with it all that is shown before it; or the end.
    fn knows_next_key(&mut self) -> bool {
        self.find_next_key();
        self.is_whole || self.next_key_found && self.packets.len() > self.to_next_key + REORDERED
    }

    /// Each packet is looked at once.
    fn find_next_key(&mut self) {
        while !self.next_key_found
            && let Some(packet) = self.packets.get(self.to_next_key)
        {
            match packet.is_start() {
                true => self.next_key_found = true,
                false => self.to_next_key += 1,
            }
        }
    }

    /// The next packet, and what becomes of it. `wanted`: which frames are, and the time at which the stream begins. `may_drop`:
    /// something was decoded before; without a frame there is no video.
    pub fn take(&mut self, wanted: Option<(&Chooser, i64)>, may_drop: bool) -> Option<Next<P>> {
        if self.fates.is_empty()
            && let Some((chooser, origin)) = wanted
        {
            self.plan(chooser, origin, may_drop);
        }
        let packet = self.packets.pop_front()?;
        self.bytes = self.bytes.saturating_sub(packet.bytes());
        self.since_untimed = if packet.time().is_some() { self.since_untimed.saturating_add(1) } else { 0 };
        let (fate, is_cut) = self.fates.pop_front().unwrap_or((Fate::Decode, false));
        let is_behind_cut = std::mem::replace(&mut self.is_cut, is_cut);
        Some(Next { packet, fate, is_behind_cut })
    }

    /// Decides on the packets up to the next key frame; where that is not known, on the first packet.
    fn plan(&mut self, chooser: &Chooser, origin: i64, may_drop: bool) {
        let begins = self.packets.front().is_some_and(Timed::is_start);
        let is_run = begins && self.knows_next_key();
        let (known, run) = match (is_run, self.next_key_found) {
            (true, true) => (self.to_next_key + REORDERED + 1, self.to_next_key),
            (true, false) => (self.packets.len(), self.packets.len()),
            (false, _) => (REORDERED + 1, 1),
        };
        self.forget_next_key();
        // The time of a frame that has none is reckoned from the one that is shown before it, which may come behind it.
        if self.since_untimed < REORDERED {
            return;
        }
        let frame =
            |packet: &P| Some(Planned { time: packet.time()?.saturating_sub(origin), is_shown: packet.is_shown() });
        let Some(frames) = self.packets.iter().take(known).map(frame).collect::<Option<Vec<Planned>>>() else { return };
        let mut sorted: Vec<i64> = frames.iter().filter(|frame| frame.is_shown).map(|frame| frame.time).collect();
        sorted.sort_unstable();
        // How long the last of them is shown is not known: it may be wanted.
        let is_wanted = |frame: &Planned| {
            let behind = sorted.get(sorted.partition_point(|other| *other <= frame.time));
            frame.is_shown && behind.is_none_or(|behind| !chooser.passes_over(frame.time, *behind))
        };
        let (run, later) = frames.split_at(run.min(frames.len()));
        let first = run.first().map_or(0, |first| first.time);
        // Frames that come behind the next key frame, are shown before it, and are built on this run.
        let is_before_key = |frame: &Planned| later.first().is_some_and(|key| frame.time < key.time);
        let is_needed_later = later.iter().any(|frame| is_before_key(frame) && is_wanted(frame));
        let needed = match is_run && !is_needed_later {
            true => run.iter().rposition(is_wanted).map_or(0, |last| last + 1),
            false => run.len(),
        };
        let needed = needed.max(usize::from(!may_drop));
        let is_cut = self.is_cut && begins;
        self.fates.extend(run.iter().enumerate().map(|(number, frame)| match is_wanted(frame) {
            _ if number >= needed => (Fate::Drop, true),
            _ if is_cut && frame.time < first => (Fate::Drop, false),
            true => (Fate::Decode, false),
            false => (Fate::DecodeForOthers, false),
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use npy_ingest::config::{Pick, Rate};
    use npy_ingest::decode::video::TimeBase;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Frame {
        time: Option<i64>,
        is_shown: bool,
        is_key: bool,
        bytes: usize,
    }

    impl Timed for Frame {
        fn time(&self) -> Option<i64> {
            self.time
        }
        fn is_shown(&self) -> bool {
            self.is_shown
        }
        fn is_start(&self) -> bool {
            self.is_key
        }
        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    /// Frames at ten units a second.
    fn chooser(pick: Pick, start_s: u64) -> Chooser {
        Chooser::of(pick, Duration::from_secs(start_s), None, TimeBase { numerator: 1, denominator: 10 })
    }

    /// One row for each so many seconds.
    fn every(seconds: u64) -> Chooser {
        chooser(Pick::Fps(Rate { frames: 1, seconds }), 0)
    }

    /// What becomes of packets, as a letter each: `K`ept, kept for `o`thers, `-` dropped.
    fn fates(times: &[(i64, bool)], chooser: &Chooser, bytes: usize) -> String {
        fates_where(|_| true, times, chooser, bytes)
    }

    /// The same, where not all of them are shown.
    fn fates_where(is_shown: fn(usize) -> bool, times: &[(i64, bool)], chooser: &Chooser, bytes: usize) -> String {
        let mut ahead = Ahead::new();
        let mut left = times.iter().enumerate();
        let mut text = String::new();
        loop {
            while ahead.wants_more(true) {
                match left.next() {
                    Some((number, (time, is_key))) => {
                        let is_shown = is_shown(number);
                        ahead.push(Frame { time: Some(*time), is_shown, is_key: *is_key, bytes });
                    }
                    None => ahead.end(),
                }
            }
            let Some(next) = ahead.take(Some((chooser, 0)), !text.is_empty()) else { return text };
            text.push(match next.fate {
                Fate::Decode => 'K',
                Fate::DecodeForOthers => 'o',
                Fate::Drop => '-',
            });
        }
    }

    /// Groups of so many frames in the order in which they are shown.
    fn groups(length: i64, count: i64) -> Vec<(i64, bool)> {
        (0..length * count).map(|time| (time, time % length == 0)).collect()
    }

    #[test]
    fn frames_behind_the_last_wanted_one_of_a_group_are_dropped() {
        // A second each, and a row for each second: only key frames, and all of the last, whose end is not known.
        assert_eq!(fates(&groups(10, 4), &every(1), 1), "K---------K---------K---------KooooooooK");
        // Two seconds: the frame in the middle needs those before it.
        let group = "KoooooooooK---------";
        assert_eq!(fates(&groups(20, 3), &every(1), 1), format!("{group}{group}KoooooooooKooooooooK"));
    }

    #[test]
    fn groups_without_a_wanted_frame_are_dropped_but_not_the_first() {
        let expected = "K---------".to_owned() + &"-".repeat(20) + "K---------" + &"-".repeat(10) + "oooooooooK";
        assert_eq!(fates(&groups(10, 6), &every(3), 1), expected);
        // Nothing is wanted before the third second.
        let late = chooser(Pick::All, 3);
        assert_eq!(fates(&groups(10, 4), &late, 1), "o---------".to_owned() + &"-".repeat(20) + "KKKKKKKKKK");
    }

    #[test]
    fn frames_that_are_shown_before_their_key_frame_are_kept_with_what_they_are_built_on() {
        // Decoded in this order; 9 and 10 are shown before the key frame at 11, and 10 is wanted.
        let packets =
            [(0, true), (3, false), (1, false), (2, false), (6, false), (4, false), (5, false), (8, false), (7, false)];
        let open = [(11, true), (9, false), (10, false), (14, false), (12, false), (13, false)];
        let after = [(17, true), (15, false), (16, false), (20, false), (18, false), (19, false)];
        let times: Vec<_> = packets.into_iter().chain(open).chain(after).collect();
        assert_eq!(fates(&times, &every(1), 1), "Koooooooo".to_owned() + "ooK---" + "o--K--");
        // Where none of them is wanted, they go with what they are built on.
        assert_eq!(fates(&times, &every(2), 1), "K--------".to_owned() + "------" + "o--K--");
    }

    /// The bug: where all that a run held besides its key frame was dropped, as it is shown before that, the next run lost the
    /// same, and so on to the end.
    #[test]
    fn a_cut_ends_with_the_next_key_frame() {
        let run = |key: i64| [(key, true), (key - 2, false), (key - 1, false)];
        let times: Vec<_> = (0..12).flat_map(|number| run(3 * number)).collect();
        let late = chooser(Pick::All, 2);
        // 20 is the first that is wanted; 18 is what it is built on, with 21.
        let expected = "o--".to_owned() + &"---".repeat(5) + "o--" + "KoK" + &"KKK".repeat(4);
        assert_eq!(fates(&times, &late, 1), expected);
    }

    /// The bug: with an edit list, frames that it cuts away were taken for those at their times.
    #[test]
    fn frames_that_are_not_shown_are_kept_for_others_only() {
        // Shown are 0 to 12 of the first 20, and then 13 and on, behind five that they are built on.
        let times: Vec<_> = groups(20, 1).into_iter().chain((8..24).map(|time| (time, time == 8))).collect();
        let is_shown = |number| !(13..25).contains(&number);
        let expected = "KoooooooooK---------".to_owned() + "oooooooooooo" + "K" + "ooK";
        assert_eq!(fates_where(is_shown, &times, &every(1), 1), expected);
    }

    #[test]
    fn nothing_is_dropped_where_the_next_key_frame_is_too_far() {
        let long = groups(2000, 2);
        let text = fates(&long, &every(60), 1);
        assert!(text.starts_with("Koooo") && !text[..2000].contains('-'), "{}", &text[..40]);
        let heavy = fates(&groups(100, 3), &every(60), BYTES_MAX / 50);
        assert!(!heavy[..100].contains('-'));
    }

    /// The bug: where the frame that is shown before one without a time was left out, that one had the time of another.
    #[test]
    fn all_is_decoded_around_a_packet_without_a_time() {
        let mut ahead = Ahead::new();
        for number in 0..200 {
            let time = (number != 100).then_some(number);
            ahead.push(Frame { time, is_shown: true, is_key: number % 50 == 0, bytes: 1 });
        }
        ahead.end();
        let chooser = every(60);
        let fates: Vec<Fate> =
            std::iter::from_fn(|| ahead.take(Some((&chooser, 0)), true)).map(|next| next.fate).collect();
        assert_eq!(fates.len(), 200);
        assert!(fates[80..=120].iter().all(|fate| *fate == Fate::Decode), "{fates:?}");
        assert!(fates[1..50].iter().chain(&fates[151..199]).all(|fate| *fate != Fate::Decode), "{fates:?}");
    }

    #[test]
    fn packets_without_times_are_decoded() {
        let mut ahead = Ahead::new();
        for number in 0..40 {
            ahead.push(Frame { time: None, is_shown: true, is_key: number % 10 == 0, bytes: 1 });
        }
        ahead.end();
        while let Some(next) = ahead.take(Some((&every(60), 0)), true) {
            assert_eq!(next.fate, Fate::Decode);
        }
    }
}
