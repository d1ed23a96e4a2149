//! Units of MLP and TrueHD, each of which begins with its length and its time, and may begin with a sum of the samples of those before it
//! back to the last such one. FFmpeg passes over what is none, up to where it can begin anew, and goes on where such a sum is another.
//!
//! Source: FFmpeg's `mlp_parser.c` and `mlpdec.c`.

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

    /// Bytes behind the last one in a file of so many.
    pub fn left(&self, bytes: u64) -> u64 {
        self.ends.map_or(0, |ends| bytes.saturating_sub(ends))
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
        assert_eq!((units.left(65), units.left(70), Units::default().left(70)), (0, 5, 0));
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
