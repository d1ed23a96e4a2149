//! Values into samples: sample type, byte order, and the mapping of float rows.
//!
//! Whatever the depth of a source, its values are on the scale of 0 to 255: 16 bits count 1/257 each, and 1.0 of a
//! float is 255. Of such a value `v`
//!
//! - `u1` holds `v`, rounded and clamped; `u2` holds `257 v`, likewise, which is exact for 16-bit sources;
//! - `f2` and `f4` hold `(v * scale - mean) / std`, worked out in double precision and rounded once.

use std::array;

use super::pixels::Depth;
use crate::config::{ImageOptions, SampleType};
use crate::decode::values::half::nearest_half;

/// The bytes of one sample, at the start of four.
pub(super) type Encoded = [u8; 4];

/// How values become the samples of one dataset.
#[derive(Debug, Clone)]
pub(super) struct SampleMap {
    sample: SampleType,
    big_endian: bool,
    scale: f64,
    /// The scale of 16-bit values. The factors are joined before they meet a value: a scale of 257 is then exactly 1,
    /// and gives the source back.
    scale_of_sixteen_bits: f64,
    channels: Vec<Channel>,
}

#[derive(Debug, Clone)]
struct Channel {
    mean: f64,
    std: f64,
    pad: f64,
    /// The samples of the 256 values of 8-bit sources.
    table: Box<[Encoded; 256]>,
}

impl SampleMap {
    pub fn new(options: &ImageOptions) -> Self {
        let mut map = Self {
            sample: options.sample,
            big_endian: options.big_endian,
            scale: options.scale,
            scale_of_sixteen_bits: options.scale * 255.0 / 65535.0,
            channels: Vec::new(),
        };
        let of_channel =
            |values: &[f64], channel: usize, otherwise: f64| values.get(channel).copied().unwrap_or(otherwise);
        for index in 0..options.channels {
            let mean = of_channel(&options.mean, index, 0.0);
            let std = of_channel(&options.std, index, 1.0);
            let pad = of_channel(&options.pad, index, 0.0);
            map.channels.push(Channel { mean, std, pad, table: Box::new([Encoded::default(); 256]) });
            let table = array::from_fn(|value| map.of_value(index, value as f64));
            if let Some(channel) = map.channels.last_mut() {
                *channel.table = table;
            }
        }
        map
    }

    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    pub fn sample_bytes(&self) -> usize {
        match self.sample {
            SampleType::U8 => 1,
            SampleType::U16 | SampleType::F16 => 2,
            SampleType::F32 => 4,
        }
    }

    /// Whether samples are the decoded bytes as they are.
    pub fn is_identity(&self, depth: Depth) -> bool {
        match (self.sample, depth) {
            (SampleType::U8, Depth::U8) => true,
            (SampleType::U16, Depth::U16) => self.big_endian == cfg!(target_endian = "big"),
            _ => false,
        }
    }

    pub fn padding(&self, channel: usize) -> Encoded {
        self.of_value(channel, self.channels.get(channel).map_or(0.0, |channel| channel.pad))
    }

    /// Full alpha.
    pub fn opaque(&self, channel: usize) -> Encoded {
        self.of_value(channel, 255.0)
    }

    /// The samples of all values of 8-bit sources.
    pub fn table(&self, channel: usize) -> Option<&[Encoded; 256]> {
        self.channels.get(channel).map(|channel| &*channel.table)
    }

    pub fn of_sixteen_bits(&self, channel: usize, value: u16) -> Encoded {
        match self.sample {
            SampleType::U16 => self.ordered(value.to_le_bytes()),
            _ => self
                .encoded(self.mapped(channel, f64::from(value) * self.scale_of_sixteen_bits), f64::from(value) / 257.0),
        }
    }

    pub fn of_float(&self, channel: usize, value: f32) -> Encoded {
        self.of_value(channel, f64::from(value) * 255.0)
    }

    /// `value`: on the 0 to 255 scale.
    fn of_value(&self, channel: usize, value: f64) -> Encoded {
        self.encoded(self.mapped(channel, value * self.scale), value)
    }

    fn mapped(&self, channel: usize, scaled: f64) -> f64 {
        self.channels.get(channel).map_or(scaled, |channel| (scaled - channel.mean) / channel.std)
    }

    /// The sample for `mapped` in a float row, and for `value` in a row of integers. The casts clamp; what is not a
    /// number becomes zero in integers.
    fn encoded(&self, mapped: f64, value: f64) -> Encoded {
        match self.sample {
            SampleType::U8 => [value.round() as u8, 0, 0, 0],
            SampleType::U16 => self.ordered(((value * 257.0).round() as u16).to_le_bytes()),
            SampleType::F16 => self.ordered(nearest_half(mapped).to_le_bytes()),
            SampleType::F32 => self.ordered((mapped as f32).to_le_bytes()),
        }
    }

    /// Little-endian bytes in the byte order of the row.
    fn ordered<const N: usize>(&self, mut bytes: [u8; N]) -> Encoded {
        if self.big_endian {
            bytes.reverse();
        }
        let mut encoded = Encoded::default();
        for (to, from) in encoded.iter_mut().zip(bytes) {
            *to = from;
        }
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests;
    use super::*;

    fn options(channels: usize, sample: SampleType) -> ImageOptions {
        ImageOptions { sample, ..tests::options(channels, 1, 1) }
    }

    fn float(encoded: Encoded) -> f32 {
        f32::from_le_bytes(encoded)
    }

    fn integer(encoded: Encoded) -> u32 {
        u32::from_le_bytes(encoded)
    }

    #[test]
    fn eight_and_sixteen_bits_become_u2_in_both_byte_orders() {
        let mut options = options(1, SampleType::U16);
        let map = SampleMap::new(&options);
        assert_eq!(map.table(0).unwrap()[1], [1, 1, 0, 0]);
        assert_eq!(map.of_sixteen_bits(0, 0x1234), [0x34, 0x12, 0, 0]);
        assert!(map.is_identity(Depth::U16) && !map.is_identity(Depth::U8));
        options.big_endian = true;
        let map = SampleMap::new(&options);
        assert_eq!(map.of_sixteen_bits(0, 0x1234), [0x12, 0x34, 0, 0]);
        assert!(!map.is_identity(Depth::U16));
    }

    #[test]
    fn float_sources_are_clamped_in_integers_and_free_in_floats() {
        let values = [-0.5, 0.5, 1.0, 3.0, f32::NAN];
        let bytes = SampleMap::new(&options(1, SampleType::U8));
        assert_eq!(values.map(|value| integer(bytes.of_float(0, value))), [0, 128, 255, 255, 0]);
        let words = SampleMap::new(&options(1, SampleType::U16));
        assert_eq!(values.map(|value| integer(words.of_float(0, value))), [0, 32768, 65535, 65535, 0]);
        let floats = SampleMap::new(&options(1, SampleType::F32));
        assert_eq!(values.map(|value| float(floats.of_float(0, value)))[..4], [-127.5, 127.5, 255.0, 765.0]);
        assert!(float(floats.of_float(0, f32::NAN)).is_nan());
    }

    #[test]
    fn scale_mean_and_std_are_as_accurate_as_numpy() {
        let mut options = ImageOptions { scale: 1.0 / 255.0, ..options(3, SampleType::F32) };
        let map = SampleMap::new(&options);
        for value in 0..=255u8 {
            let mapped = float(map.table(1).unwrap()[usize::from(value)]);
            let expected = f32::from(value) * (1.0 / 255.0);
            assert!((mapped - expected).abs() <= 1e-6 * expected, "{value}: {mapped} and {expected}");
        }
        options.mean = vec![0.485, 0.456, 0.406];
        options.std = vec![0.229, 0.224, 0.225];
        let map = SampleMap::new(&options);
        assert_eq!(float(map.table(0).unwrap()[0]), (-0.485f64 / 0.229) as f32);
        assert_eq!(float(map.table(2).unwrap()[255]), ((1.0f64 - 0.406) / 0.225) as f32);
    }

    #[test]
    fn a_scale_of_257_gives_sixteen_bits_back_exactly() {
        let map = SampleMap::new(&ImageOptions { scale: 257.0, ..options(1, SampleType::F32) });
        for value in 0..=65535 {
            assert_eq!(float(map.of_sixteen_bits(0, value)), f32::from(value));
        }
    }

    #[test]
    fn halves_and_big_endian_floats() {
        let mut options = options(1, SampleType::F16);
        assert_eq!(SampleMap::new(&options).table(0).unwrap()[255], [0xF8, 0x5B, 0, 0]);
        options.big_endian = true;
        assert_eq!(SampleMap::new(&options).table(0).unwrap()[255], [0x5B, 0xF8, 0, 0]);
        options.sample = SampleType::F32;
        assert_eq!(SampleMap::new(&options).table(0).unwrap()[1], [0x3F, 0x80, 0, 0]);
    }

    #[test]
    fn padding_is_mapped_like_a_value() {
        let mut options = ImageOptions { pad: vec![10.0], scale: 2.0, mean: vec![1.0], ..options(1, SampleType::F32) };
        assert_eq!(float(SampleMap::new(&options).padding(0)), 19.0);
        options.sample = SampleType::U16;
        assert_eq!(integer(SampleMap::new(&options).padding(0)), 2570);
    }
}
