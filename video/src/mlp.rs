//! Units of MLP and TrueHD, each of which begins with its length and its time, and may begin with a sum of the samples of those before it
//! back to the last such one. FFmpeg passes over what is none, up to where it can begin anew, and goes on where such a sum is another.
//!
//! Source: FFmpeg's `mlp_parser.c` and `mlpdec.c`.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// What is known of the units that came.
#[derive(Debug, Default)]
pub struct Units {
    /// The first has come.
    has_begun: bool,
    /// Where the last one ends in the file.
    ends: Option<u64>,
    time: Option<u16>,
    /// From the time of the last but one to that of the last.
    step: Option<u16>,
}

impl Units {
    /// Whether something was passed over between the last one and this. Of the first one FFmpeg may not know where it stands: the rest
    /// of one that begins earlier, before the file, is passed over.
    pub fn is_gap(&mut self, place: u64, bytes: usize) -> bool {
        if !std::mem::replace(&mut self.has_begun, true) {
            return false;
        }
        self.ends.replace(place.saturating_add(bytes as u64)).is_some_and(|ends| ends != place)
    }

    /// Whether another one begins behind the last, which the file ends within: what else may stand there is none of its sound.
    pub fn is_cut_short(&self, file: &File) -> bool {
        let mut head = [0; 4];
        let is_there = self.ends.is_some_and(|ends| file.read_exact_at(&mut head, ends).is_ok());
        let [_, _, time @ ..] = head;
        let expected = self.time.zip(self.step).map(|(last, step)| last.wrapping_add(step));
        is_there && expected == Some(u16::from_be_bytes(time))
    }

    /// Whether the time of the next one follows those of the last. Where files were joined, it does not, nor is the sum with which it
    /// begins that of what stands before it now.
    pub fn follows(&mut self, unit: &[u8]) -> bool {
        let time = unit.get(2..4).and_then(|time| time.first_chunk().copied()).map(u16::from_be_bytes);
        let step = self.time.zip(time).map(|(last, time)| time.wrapping_sub(last));
        self.time = time;
        step.is_some() && std::mem::replace(&mut self.step, step) == step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_stand_one_behind_the_other() {
        let mut units = Units::default();
        assert_eq!(
            [(20, 10), (30, 5), (35, 5), (60, 5)].map(|(place, bytes)| units.is_gap(place, bytes)),
            [false, false, false, true]
        );
    }

    #[test]
    fn a_unit_is_cut_that_begins_behind_the_last() {
        let is_cut_short = |rest: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &[&[0; 40][..], rest].concat()).unwrap();
            let mut units = Units::default();
            for (number, time) in [(0, 65_496_u16), (1, 0), (2, 40)] {
                units.is_gap(number * 10, 10 + usize::from(number == 2) * 10);
                units.follows(&[&[0xA0, 0x05][..], &time.to_be_bytes()].concat());
            }
            units.is_cut_short(&file)
        };
        assert!(is_cut_short(&[0xA0, 0x05, 0, 80]) && is_cut_short(&[0xA0, 0x05, 0, 80, 1, 2]));
        assert!(!is_cut_short(b"") && !is_cut_short(b"TAG and so on") && !is_cut_short(&[0; 99]));
    }

    #[test]
    fn times_of_units_follow_one_another() {
        let mut units = Units::default();
        let times = [65_496_u16, 0, 40, 80, 200, 240, 280, 280];
        let follows = times.map(|time| units.follows(&[&[0xA0, 0x5E][..], &time.to_be_bytes()].concat()));
        assert_eq!(follows, [false, false, true, true, false, false, true, false]);
        assert!(!units.follows(b"") && !units.follows(b""));
    }
}
