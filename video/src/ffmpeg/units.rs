//! Whether decoding can begin with a packet, by what is in it.
//!
//! H.264 and HEVC have key frames that frames behind them look back over. Which kind one is, tell its network abstraction layer
//! (NAL) units: ITU-T H.264, table 7-1, and H.265, table 7-1. In MP4 and Matroska each unit has its length before it, of as
//! many bytes as the codec's configuration says (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1); elsewhere it has a start code.

/// How units are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A length of so many bytes before each.
    Lengths(usize),
    /// Zero, zero, one before each.
    StartCodes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    H264,
    Hevc,
}

impl Framing {
    /// By the codec's configuration, as the container has it.
    pub fn of(codec: Codec, configuration: &[u8]) -> Self {
        let place = match codec {
            Codec::H264 => 4,
            Codec::Hevc => 21,
        };
        match (configuration.first(), configuration.get(place)) {
            (Some(1), Some(byte)) => Self::Lengths(usize::from(byte & 3) + 1),
            _ => Self::StartCodes,
        }
    }
}

/// How decoding can begin with a packet when those before it were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Not at all: its picture is built on others.
    No,
    /// Once the decoder was emptied. Frames that come behind it and are shown before it may be built on others.
    Emptied,
    /// As it is: nothing behind it looks back over it.
    Anew,
}

/// Of a packet that the container or a parser calls a key frame. Where a picture is made whole little by little (intra refresh),
/// that only says that it will be whole some frames later. One that has no picture, or no units, is damaged: the decoder is to see it,
/// and to say so.
pub fn start_of(codec: Codec, framing: Framing, packet: &[u8]) -> Start {
    let mut start = None;
    if !is_whole(framing, packet) {
        return Start::Emptied;
    }
    for unit in units(framing, packet) {
        let found = match codec {
            Codec::H264 => start_of_h264(unit),
            Codec::Hevc => start_of_hevc(unit),
        };
        // The least of the picture's slices.
        start = match (start, found) {
            (Some(Start::Anew), Some(Start::Emptied)) | (_, Some(Start::No)) => found,
            (None, found) => found,
            (start, _) => start,
        };
    }
    start.unwrap_or(Start::Emptied)
}

/// Whether others may be built on the picture of a packet of H.264: by `nal_ref_idc` of its first slice.
pub fn is_for_others(framing: Framing, packet: &[u8]) -> bool {
    let of_slice =
        |unit: &[u8]| unit.first().filter(|first| matches!(*first & 0x1f, 1..=5)).map(|first| first & 0x60 != 0);
    units(framing, packet).find_map(of_slice).unwrap_or(true)
}

/// `None`: no part of a picture.
fn start_of_h264(unit: &[u8]) -> Option<Start> {
    match unit.first()? & 0x1f {
        5 => Some(Start::Anew),
        1 => {
            // slice_header(), 7.3.3: first_mb_in_slice, slice_type.
            let mut bits = Bits::new(unit.get(1..)?);
            let is_intra =
                bits.exp_golomb().and_then(|_| bits.exp_golomb()).is_some_and(|kind| matches!(kind % 5, 2 | 4));
            Some(if is_intra { Start::Emptied } else { Start::No })
        }
        2..=4 => Some(Start::No),
        _ => None,
    }
}

/// `None`: no part of a picture.
fn start_of_hevc(unit: &[u8]) -> Option<Start> {
    match (unit.first()? >> 1) & 0x3f {
        19 | 20 => Some(Start::Anew),
        16..=18 | 21 => Some(Start::Emptied),
        0..=31 => Some(Start::No),
        _ => None,
    }
}

/// Numbers in bits.
pub struct Bits<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, place: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        let byte = self.bytes.get(self.place / 8)?;
        let bit = byte >> (7 - self.place % 8) & 1;
        self.place += 1;
        Some(u32::from(bit))
    }

    /// u(n), 9.1, of 32 bits at most.
    pub fn number(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0, |number, _| Some(number << 1 | self.bit()?))
    }

    /// So many of ue(v) or se(v).
    pub fn skip_codes(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.exp_golomb().map(drop))
    }

    /// ue(v), 9.1.
    pub fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 24 {
                return None;
            }
        }
        let mut value = 1;
        for _ in 0..zeros {
            value = value << 1 | self.bit()?;
        }
        Some(value - 1)
    }
}

/// Whether units with lengths take up a packet, but for zeros behind them.
pub fn is_whole(framing: Framing, packet: &[u8]) -> bool {
    let Framing::Lengths(size) = framing else { return true };
    let taken: usize = units(framing, packet).map(|unit| size + unit.len()).sum();
    packet.get(taken..).is_none_or(|rest| rest.len() < size && rest.iter().all(|byte| *byte == 0))
}

fn units(framing: Framing, packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = packet;
    std::iter::from_fn(move || match framing {
        Framing::Lengths(size) => {
            let (length, rest) = left.split_at_checked(size)?;
            let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
            let (unit, rest) = rest.split_at_checked(length)?;
            left = rest;
            Some(unit)
        }
        Framing::StartCodes => {
            let start = left.windows(3).position(|bytes| bytes == [0, 0, 1])? + 3;
            // To the end: only the first bytes are looked at.
            left = left.get(start..)?;
            Some(left)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_lengths(size: usize, units: &[&[u8]]) -> Vec<u8> {
        let with_length = |unit: &&[u8]| {
            let length = (unit.len() as u64).to_be_bytes();
            [&length[8 - size..], *unit].concat()
        };
        units.iter().flat_map(with_length).collect()
    }

    #[test]
    fn the_least_of_the_slices_decides() {
        let (settings, information, refresh) = (&[0x67, 1][..], &[0x06, 5, 1][..], &[0x65, 0x88, 9][..]);
        // first_mb_in_slice 0, slice_type 7 (all intra) and 5 (all predicted); 3 and 2 (intra).
        let (intra, other, later) =
            (&[0x41, 0b1000_1000, 9][..], &[0x41, 0b1001_1000, 9][..], &[0x41, 0b0010_0011][..]);
        for size in [1, 2, 4] {
            let start = |units: &[&[u8]]| start_of(Codec::H264, Framing::Lengths(size), &with_lengths(size, units));
            assert_eq!(start(&[settings, information, refresh]), Start::Anew);
            assert_eq!(start(&[information, intra, later]), Start::Emptied);
            assert_eq!(start(&[information, other]), Start::No);
            assert_eq!(start(&[information, intra, other]), Start::No);
            assert_eq!(start(&[settings]), Start::Emptied);
        }
        let coded = |unit: &[u8]| [&[0, 0, 0, 1], settings, &[0, 0, 1], unit].concat();
        assert_eq!(start_of(Codec::H264, Framing::StartCodes, &coded(refresh)), Start::Anew);
        assert_eq!(start_of(Codec::H264, Framing::StartCodes, &coded(intra)), Start::Emptied);
        assert_eq!(start_of(Codec::H264, Framing::StartCodes, &coded(other)), Start::No);
    }

    #[test]
    fn pictures_that_no_other_is_built_on_are_told() {
        let is_for_others = |units: &[&[u8]]| is_for_others(Framing::Lengths(4), &with_lengths(4, units));
        assert!(is_for_others(&[&[0x06, 5], &[0x41, 0x9a], &[0x01, 0x9e]]) && is_for_others(&[&[0x65, 0x88]]));
        assert!(!is_for_others(&[&[0x06, 5], &[0x01, 0x9e]]));
        assert!(is_for_others(&[&[0x06, 5]]) && is_for_others(&[]));
    }

    #[test]
    fn kinds_of_hevc() {
        let kinds = [(19, Start::Anew), (20, Start::Anew), (21, Start::Emptied), (16, Start::Emptied), (1, Start::No)];
        for (kind, expected) in kinds {
            let packet = with_lengths(4, &[&[32 << 1, 1], &[kind << 1, 1, 7]]);
            assert_eq!(start_of(Codec::Hevc, Framing::Lengths(4), &packet), expected, "{kind}");
        }
    }

    #[test]
    fn the_decoder_sees_key_frames_that_cannot_be_read() {
        let behind = [&[0, 0, 0, 2, 0x41, 0b1001_1000][..], &[0xff; 4]].concat();
        for bytes in [&[][..], &[0], &[0, 0, 0, 9, 0x65], &[0xff; 8], &[0; 16], &behind] {
            assert_eq!(start_of(Codec::H264, Framing::Lengths(4), bytes), Start::Emptied, "{bytes:?}");
            assert_eq!(start_of(Codec::Hevc, Framing::StartCodes, bytes), Start::Emptied, "{bytes:?}");
        }
        // Zeros behind what is whole.
        let filled = [0, 0, 0, 2, 0x41, 0b1001_1000, 0, 0];
        assert_eq!(start_of(Codec::H264, Framing::Lengths(4), &filled), Start::No);
        assert_eq!(start_of(Codec::H264, Framing::Lengths(4), &[0, 0, 0, 3, 0x41, 0, 0]), Start::No);
    }

    #[test]
    fn the_configuration_tells_the_framing() {
        assert_eq!(Framing::of(Codec::H264, &[1, 100, 0, 31, 0xff]), Framing::Lengths(4));
        assert_eq!(Framing::of(Codec::H264, &[0, 0, 0, 1, 0x67]), Framing::StartCodes);
        let mut hevc = [0; 23];
        (hevc[0], hevc[21]) = (1, 0x0d);
        assert_eq!(Framing::of(Codec::Hevc, &hevc), Framing::Lengths(2));
        assert_eq!(Framing::of(Codec::Hevc, &[]), Framing::StartCodes);
    }
}
