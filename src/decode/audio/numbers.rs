//! What the numbers and the times of packets tell of samples that are missing between them.

use symphonia::core::formats::{FormatId, well_known};
use symphonia::core::packet::Packet;

/// Nothing is missing where no more than so many milliseconds are: times that were copied from a container that rounds them, such as
/// Matroska, are so far from one another.
const ROUNDED_MS: u64 = 2;

/// What the times of packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What came before them, added up, or rounded: nothing that is missing shows.
    None,
    /// Numbers of samples, written into each of them: FLAC.
    Samples,
    /// Where a page of them ends is written: Ogg. A packet begins where the last one ended, unless a page is missing between them.
    Ends,
}

#[derive(Debug)]
pub(super) struct Numbers {
    kind: Kind,
    /// The first number of a sample.
    pub(super) first: Option<u64>,
    /// Where the last packet ends, in units.
    ends: Option<i64>,
}

impl Numbers {
    pub(super) fn of(format: FormatId) -> Self {
        let kind = match format {
            well_known::FORMAT_ID_FLAC => Kind::Samples,
            well_known::FORMAT_ID_OGG => Kind::Ends,
            _ => Kind::None,
        };
        Self { kind, first: None, ends: None }
    }

    /// FLAC in its own container.
    pub(super) fn are_of_samples(&self) -> bool {
        self.kind == Kind::Samples
    }

    /// Whether the container has no checksums, or none that were asked.
    pub(super) fn are_unchecked(&self) -> bool {
        self.kind == Kind::None
    }

    /// Another stream follows.
    pub(super) fn begin_anew(&mut self) {
        self.ends = None;
    }

    /// Frames that are missing before a packet, as far as its time tells. `given`: those that came before it. `frames_in`: how many
    /// so many units are.
    pub(super) fn missing_before(
        &mut self,
        packet: &Packet,
        given: u64,
        rate: u32,
        frames_in: impl FnOnce(u64) -> u64,
    ) -> u64 {
        let time = packet.pts.get();
        let missing = match self.kind {
            Kind::None => None,
            Kind::Samples => u64::try_from(time)
                .ok()
                .and_then(|number| number.checked_sub(*self.first.get_or_insert(number))?.checked_sub(given)),
            Kind::Ends => {
                let whole = [packet.dur, packet.trim_start, packet.trim_end].map(|part| part.get().cast_signed());
                let ends = whole.into_iter().fold(time, i64::saturating_add);
                let units = self.ends.replace(ends).and_then(|ends| u64::try_from(time.saturating_sub(ends)).ok());
                units.map(frames_in).filter(|frames| *frames > u64::from(rate) * ROUNDED_MS / 1000)
            }
        };
        missing.unwrap_or(0)
    }
}
