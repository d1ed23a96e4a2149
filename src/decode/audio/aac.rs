//! AAC that may be the lower half of HE-AAC: its upper half (spectral band replication) may be told of by nothing but the
//! packets themselves, which decode to sound of half the rate without it.
//!
//! Sources: ISO/IEC 14496-3, 1.6.2.1 (AudioSpecificConfig), 4.4.2.1 (raw_data_block), 4.4.2.7 (fill_element), 4.5.2.8.2 (the
//! upper half stands in a fill element behind the channels).

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia::core::formats::FormatReader;

/// Hz: the lower half has no higher rate.
const RATE_MAX: u32 = 24_000;
/// Packets that are looked at, how many of them decide, and those of other tracks between them.
const PACKETS: usize = 32;
const PACKETS_ENOUGH: usize = 8;
const PACKETS_BETWEEN: usize = 4096;
/// Fill elements at the end of a packet.
const FILLS_MAX: u32 = 3;

/// Whether the container leaves open if there is an upper half.
pub(super) fn may_be_half(parameters: &AudioCodecParameters) -> bool {
    parameters.codec == CODEC_ID_AAC
        && match parameters.extra_data.as_deref() {
            Some(config) => leaves_open(config),
            None => parameters.sample_rate.is_some_and(|rate| rate <= RATE_MAX),
        }
}

/// Whether many of its first packets end like those that have an upper half.
pub(super) fn has_upper_half(reader: &mut dyn FormatReader, track: u32) -> bool {
    let (mut looked_at, mut found) = (0, 0);
    for _ in 0..PACKETS_BETWEEN {
        let Ok(Some(packet)) = reader.next_packet() else { break };
        if packet.track_id != track {
            continue;
        }
        looked_at += 1;
        found += usize::from(ends_with_upper_half(&packet.data));
        if looked_at == PACKETS {
            break;
        }
    }
    found > 0 && found >= PACKETS_ENOUGH.min(looked_at.div_ceil(2))
}

/// Whether a configuration is of a low rate, and says neither that there is an upper half nor that there is none.
fn leaves_open(config: &[u8]) -> bool {
    const LOW_COMPLEXITY: u32 = 2;
    const EXTENSION: u32 = 0x2B7;
    let mut bits = Bits { bytes: config, at: 0 };
    let object = bits.take(5);
    let is_low = match bits.take(4) {
        // From 24,000 to 7,350 Hz; one that stands behind it.
        Some(6..=12) => true,
        Some(15) => bits.take(24).is_some_and(|rate| rate <= RATE_MAX),
        _ => false,
    };
    let mut is_said = || {
        // Channels; with 0 their layout is described at length, which is left open.
        let channels = bits.take(4)?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            bits.take(14)?;
        }
        bits.take(1)?;
        Some(channels > 0 && bits.take(11)? == EXTENSION)
    };
    object == Some(LOW_COMPLEXITY) && is_low && !is_said().unwrap_or(false)
}

/// Whether a packet ends with a fill element that holds an upper half. What stands before cannot be read without decoding it, so
/// it is looked for from the end: one packet in a hundred without it looks the same.
fn ends_with_upper_half(packet: &[u8]) -> bool {
    const END: u32 = 7;
    let bits = Bits { bytes: packet, at: 0 };
    let Some(last) = packet.iter().rposition(|byte| *byte != 0) else { return false };
    let zeros = packet.get(last).map_or(0, |byte| byte.trailing_zeros() as usize);
    let end = (last + 1) * 8 - zeros;
    // The end's own three bits are ones.
    let Some(behind) = end.checked_sub(3).filter(|place| bits.at(*place, 3) == Some(END)) else { return false };
    fills_before(&bits, behind, FILLS_MAX)
}

/// Whether fill elements end here, of which one holds an upper half.
fn fills_before(bits: &Bits<'_>, end: usize, left: u32) -> bool {
    const FILL: u32 = 6;
    const LONG: usize = 15;
    const UPPER_HALF: [u32; 2] = [13, 14];
    const BYTES_MAX: usize = LONG + 255 - 1;
    let Some(left) = left.checked_sub(1) else { return false };
    (0..=BYTES_MAX).any(|bytes| {
        let header = if bytes < LONG { 7 } else { 15 };
        let Some(start) = end.checked_sub(8 * bytes + header) else { return false };
        let short = bytes.min(LONG);
        let is_fill = bits.at(start, 3) == Some(FILL)
            && bits.at(start + 3, 4) == Some(short as u32)
            && (bytes < LONG || bits.at(start + 7, 8) == Some((bytes - LONG + 1) as u32));
        let kind = || bits.at(start + header, 4).unwrap_or(0);
        is_fill && ((bytes > 0 && UPPER_HALF.contains(&kind())) || fills_before(bits, start, left))
    })
}

/// Bits, the highest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn at(&self, place: usize, count: usize) -> Option<u32> {
        (place..place + count).try_fold(0, |value, place| {
            let byte = self.bytes.get(place / 8)?;
            Some(value << 1 | u32::from(byte >> (7 - place % 8) & 1))
        })
    }

    fn take(&mut self, count: usize) -> Option<u32> {
        let value = self.at(self.at, count)?;
        self.at += count;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of these bits, filled up with zeros.
    fn packet(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
        bits.chunks(8).map(|byte| byte.iter().enumerate().map(|(place, bit)| bit << (7 - place)).sum()).collect()
    }

    #[test]
    fn an_upper_half_is_found_at_the_end_of_a_packet() {
        let (sound, end) = ("0010110101110", "111");
        let upper = format!("110 0011 1101{}", "0".repeat(20));
        let long = format!("110 1111 00000111 1110{}", "10".repeat(21 * 4 - 2));
        let fill = format!("110 0010 0000{}", "1010".repeat(3));
        for bits in [&[&upper][..], &[&long], &[&upper, &fill], &[&upper, &"110 0000".to_owned(), &fill]] {
            let bits: String = bits.iter().map(|part| part.as_str()).collect();
            assert!(ends_with_upper_half(&packet(&format!("{sound}{bits}{end}"))), "{bits}");
        }
        for bits in ["", "110 0000", fill.as_str()] {
            assert!(!ends_with_upper_half(&packet(&format!("{sound}{bits}{end}"))), "{bits}");
        }
        assert!(!ends_with_upper_half(&[]) && !ends_with_upper_half(&[0; 9]));
        assert!(!ends_with_upper_half(&packet(&format!("{sound}{upper}"))));
    }

    #[test]
    fn a_configuration_says_whether_there_is_an_upper_half() {
        // 24,000 Hz, one channel: by itself; with an extension that says no, and one that says yes; HE-AAC by its number.
        assert!(leaves_open(&[0x13, 0x08]));
        assert!(!leaves_open(&[0x13, 0x08, 0x56, 0xE5, 0x00]));
        assert!(!leaves_open(&[0x13, 0x08, 0x56, 0xE5, 0x98]));
        assert!(!leaves_open(&[0x2B, 0x09, 0x88, 0x00]));
        // Channels that are described at length; a rate in 24 bits: 16,000 Hz, and 44,100.
        assert!(leaves_open(&[0x13, 0x00, 0x56, 0xE5, 0x00]));
        assert!(leaves_open(&[0x17, 0x80, 0x1F, 0x40, 0x08]));
        assert!(!leaves_open(&[0x17, 0x80, 0x56, 0x22, 0x08]));
        // 44,100 Hz; nothing.
        assert!(!leaves_open(&[0x12, 0x08]));
        assert!(!leaves_open(&[]));
    }
}
