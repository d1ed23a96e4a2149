//! Which rows the next start need not check against their checksums.

use std::collections::VecDeque;

/// So many of the newest bytes are checked after a crash. Few in the simulation, so that the mark moves there.
const UNCHECKED_BYTES_MAX: u64 = if cfg!(feature = "simulation") { 64 } else { 256 << 20 };

/// Follows the commits, and lets the clean mark go as far as rows that are so old that a lying drive had time to write them.
#[derive(Debug)]
pub struct CleanMark {
    /// Rows that the start has verified and synced.
    pub at_start: u64,
    /// Committed counts of late, oldest first.
    recent: VecDeque<u64>,
}

impl CleanMark {
    pub fn new(at_start: u64) -> Self {
        Self { at_start, recent: VecDeque::new() }
    }

    /// The mark that goes with a commit of `rows` rows in all, where it was at `was`.
    pub fn after(&mut self, was: u64, rows: u64, row_bytes: u64) -> u64 {
        if self.recent.back() != Some(&rows) {
            self.recent.push_back(rows);
        }
        let mut clean = was;
        while let Some(oldest) = self.recent.front()
            && (rows - oldest).saturating_mul(row_bytes) > UNCHECKED_BYTES_MAX
        {
            clean = clean.max(*oldest);
            self.recent.pop_front();
        }
        clean
    }

    /// Counts beyond `rows` were not committed after all.
    pub fn go_back(&mut self, rows: u64) {
        self.recent.retain(|count| *count <= rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_follows_a_quarter_of_a_gibibyte_behind() {
        let row_bytes = UNCHECKED_BYTES_MAX / 4;
        let mut mark = CleanMark::new(0);
        let marks: Vec<u64> = (1..=7).map(|rows| mark.after(0, rows, row_bytes)).collect();
        assert_eq!(marks, [0, 0, 0, 0, 0, 1, 2]);
        mark.go_back(6);
        assert_eq!(mark.after(2, 8, row_bytes), 3);
    }
}
