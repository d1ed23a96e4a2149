//! What is left out of a source of records.

/// What was left out of a source.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loss {
    bytes: u64,
    places: u64,
    first: u64,
    /// The end of the last place.
    end: u64,
}

impl Loss {
    pub(super) fn add(&mut self, at: u64, bytes: u64) {
        if self.places == 0 {
            self.first = at;
        }
        if self.places == 0 || self.end != at {
            self.places += 1;
        }
        self.bytes += bytes;
        self.end = at + bytes;
    }

    /// What is behind `end`, of the last place, is not left out yet.
    pub(super) fn take_back(&mut self, end: u64) {
        self.bytes -= self.end.saturating_sub(end).min(self.bytes);
        self.end = self.end.min(end);
    }

    pub(super) fn note(&self) -> Option<String> {
        if self.bytes == 0 {
            return None;
        }
        let (bytes, places, first) = (self.bytes, self.places, self.first);
        let of = if places == 1 { "one place".to_owned() } else { format!("{places} places") };
        Some(format!("left out {bytes} bytes in {of}, the first at byte {first}"))
    }
}

/// A record that was lost, while the next marker is being looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    pub(super) at: u64,
    /// What was left out before it.
    pub(super) before: Loss,
    /// The last place from there on where no marker begins.
    pub(super) passed: u64,
}
