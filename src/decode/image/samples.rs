//! Values into the bytes of a row: sample type, byte order, layout, padding.
//!
//! Whatever the depth of a source, its values are on the scale of 0 to 255: 16 bits count 1/257 each, and 1.0 of a
//! float is 255. Of such a value `v`
//!
//! - `u1` holds `v`, rounded and clamped; `u2` holds `257 v`, likewise, which is exact for 16-bit sources;
//! - `f2` and `f4` hold `(v * scale - mean) / std`, worked out in double precision and rounded once.

use half::f16;

use super::orient::Strides;
use super::pixels::{Depth, Raster, Sample};
use crate::config::{ImageOptions, Layout, SampleType};

/// The bytes of one sample, in the first `SampleType` bytes of four.
type Encoded = [u8; 4];

/// How the values of one channel become samples.
#[derive(Debug, Clone)]
struct Channel {
    mean: f64,
    std: f64,
    pad: Encoded,
    /// The samples of the 256 values of 8-bit sources.
    table: Box<[Encoded; 256]>,
}

/// Writes rows of one dataset.
#[derive(Debug, Clone)]
pub(super) struct RowWriter {
    layout: Layout,
    width: usize,
    height: usize,
    sample: SampleType,
    big_endian: bool,
    scale: f64,
    channels: Vec<Channel>,
}

/// Where in the row an image lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

/// One channel's way through the bytes of a row.
struct Lane {
    start: usize,
    pixel: usize,
    line: usize,
}

impl RowWriter {
    pub fn new(options: &ImageOptions) -> Self {
        let mut writer = Self {
            layout: options.layout,
            width: options.width,
            height: options.height,
            sample: options.sample,
            big_endian: options.big_endian,
            scale: options.scale,
            channels: Vec::new(),
        };
        let value_of =
            |values: &[f64], channel: usize, otherwise: f64| values.get(channel).copied().unwrap_or(otherwise);
        for index in 0..options.channels {
            let mean = value_of(&options.mean, index, 0.0);
            let std = value_of(&options.std, index, 1.0);
            let mut channel =
                Channel { mean, std, pad: Encoded::default(), table: Box::new([Encoded::default(); 256]) };
            channel.pad = writer.encode(&channel, value_of(&options.pad, index, 0.0));
            channel.table = Box::new(std::array::from_fn(|value| writer.encode(&channel, value as f64)));
            writer.channels.push(channel);
        }
        writer
    }

    pub fn row_bytes(&self) -> usize {
        self.width * self.height * self.channels.len() * self.sample_bytes()
    }

    fn sample_bytes(&self) -> usize {
        match self.sample {
            SampleType::U8 => 1,
            SampleType::U16 | SampleType::F16 => 2,
            SampleType::F32 => 4,
        }
    }

    /// Fills `row` with the image in `bytes`, read in the order of `strides`, and padding around it.
    pub fn write(&self, row: &mut [u8], bytes: &[u8], raster: Raster, strides: Strides, region: Region) {
        match self.sample_bytes() {
            1 => self.write_sized::<1>(row, bytes, raster, strides, region),
            2 => self.write_sized::<2>(row, bytes, raster, strides, region),
            _ => self.write_sized::<4>(row, bytes, raster, strides, region),
        }
    }

    fn write_sized<const N: usize>(
        &self,
        row: &mut [u8],
        bytes: &[u8],
        raster: Raster,
        strides: Strides,
        region: Region,
    ) {
        if (region.width, region.height) != (self.width, self.height) {
            self.pad::<N>(row);
        } else if self.is_plain_copy(raster, strides)
            && let Some(pixels) = bytes.get(..row.len())
        {
            row.copy_from_slice(pixels);
            return;
        }
        for (index, channel) in self.channels.iter().enumerate() {
            let mut lane = self.lane::<N>(index);
            lane.start += region.y * lane.line + region.x * lane.pixel;
            let source = Source { bytes, raster, strides, width: region.width, height: region.height };
            let last = raster.channels.saturating_sub(1);
            let chosen = match (index, raster.has_alpha()) {
                (3, true) => last,
                // Nothing to read: an image without alpha is opaque.
                (3, false) => {
                    let opaque = shorten::<N>(&self.encode(channel, 255.0));
                    source.map_into(row, &lane, 0, |_| opaque);
                    continue;
                }
                (_, _) if raster.channels <= 2 => 0,
                (colour, _) => colour,
            };
            match raster.depth {
                Depth::U8 => source.map_into(row, &lane, chosen, |sample| {
                    channel.table.get(usize::from(u8::load(sample))).map(shorten::<N>).unwrap_or([0; N])
                }),
                Depth::U16 => self.map_sixteen_bits::<N>(&source, row, &lane, chosen, channel),
                Depth::F32 => source.map_into(row, &lane, chosen, |sample| {
                    shorten::<N>(&self.encode(channel, f64::from(f32::load(sample)) * 255.0))
                }),
            }
        }
    }

    fn map_sixteen_bits<const N: usize>(
        &self,
        source: &Source<'_>,
        row: &mut [u8],
        lane: &Lane,
        chosen: usize,
        channel: &Channel,
    ) {
        if self.sample == SampleType::U16 {
            source.map_into(row, lane, chosen, |sample| shorten::<N>(&self.order(u16::load(sample).to_le_bytes())));
            return;
        }
        // The factors are joined before they meet a value: a scale of 257 is then exactly 1, and gives the source back.
        let scale = self.scale * 255.0 / 65535.0;
        source.map_into(row, lane, chosen, |sample| {
            let value = f64::from(u16::load(sample));
            shorten::<N>(&self.encode_mapped((value * scale - channel.mean) / channel.std, value / 257.0))
        });
    }

    /// Whether the decoded bytes are the row's bytes already.
    fn is_plain_copy(&self, raster: Raster, strides: Strides) -> bool {
        let same_samples = match (self.sample, raster.depth) {
            (SampleType::U8, Depth::U8) => true,
            (SampleType::U16, Depth::U16) => self.big_endian == cfg!(target_endian = "big"),
            _ => false,
        };
        let in_order = strides == (Strides { start: 0, step_x: 1, step_y: self.width as isize });
        let interleaved = self.layout == Layout::Hwc || raster.channels == 1;
        same_samples && in_order && interleaved && raster.channels == self.channels.len()
    }

    fn lane<const N: usize>(&self, index: usize) -> Lane {
        match self.layout {
            Layout::Hwc => {
                let pixel = self.channels.len() * N;
                Lane { start: index * N, pixel, line: self.width * pixel }
            }
            Layout::Chw => Lane { start: index * self.height * self.width * N, pixel: N, line: self.width * N },
        }
    }

    fn pad<const N: usize>(&self, row: &mut [u8]) {
        for (index, channel) in self.channels.iter().enumerate() {
            let lane = self.lane::<N>(index);
            let sample = shorten::<N>(&channel.pad);
            let samples = row.get_mut(lane.start..).unwrap_or_default().chunks_mut(lane.pixel.max(1));
            for place in samples.take(self.width * self.height).filter_map(<[u8]>::first_chunk_mut::<N>) {
                *place = sample;
            }
        }
    }

    /// The sample for `value` on the 0 to 255 scale.
    fn encode(&self, channel: &Channel, value: f64) -> Encoded {
        self.encode_mapped((value * self.scale - channel.mean) / channel.std, value)
    }

    /// The sample for `mapped` in a float row, and for `value` in a row of integers. The casts clamp and round to the
    /// nearest; what is not a number becomes zero in integers.
    fn encode_mapped(&self, mapped: f64, value: f64) -> Encoded {
        match self.sample {
            SampleType::U8 => [value.round() as u8, 0, 0, 0],
            SampleType::U16 => self.order(((value * 257.0).round() as u16).to_le_bytes()),
            SampleType::F16 => self.order(f16::from_f64(mapped).to_le_bytes()),
            SampleType::F32 => self.order((mapped as f32).to_le_bytes()),
        }
    }

    /// Little-endian bytes in the byte order of the row.
    fn order<const N: usize>(&self, mut bytes: [u8; N]) -> Encoded {
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

/// An image that is read for a row.
struct Source<'a> {
    bytes: &'a [u8],
    raster: Raster,
    strides: Strides,
    width: usize,
    height: usize,
}

impl Source<'_> {
    /// Reads one channel, pixel by pixel in the reading order, and writes what `sample_of` makes of each sample.
    fn map_into<const N: usize>(
        &self,
        row: &mut [u8],
        lane: &Lane,
        channel: usize,
        sample_of: impl Fn(&[u8]) -> [u8; N],
    ) {
        let depth_bytes = self.raster.depth.bytes();
        let pixel_bytes = self.raster.pixel_bytes();
        let skipped = channel * depth_bytes;
        for y in 0..self.height {
            let Some(to_line) = row.get_mut(lane.start + y * lane.line..) else { return };
            let places = to_line.chunks_mut(lane.pixel).take(self.width).filter_map(<[u8]>::first_chunk_mut::<N>);
            let first = self.strides.start + y as isize * self.strides.step_y;
            let Ok(first) = usize::try_from(first) else { return };
            if self.strides.step_x == 1 {
                let from_line = self.bytes.get(first * pixel_bytes..).unwrap_or_default();
                for (place, pixel) in places.zip(from_line.chunks_exact(pixel_bytes)) {
                    *place = sample_of(pixel.get(skipped..).unwrap_or_default());
                }
            } else {
                let mut pixel = first;
                for place in places {
                    let sample = self.bytes.get(pixel * pixel_bytes + skipped..).unwrap_or_default();
                    *place = sample_of(sample);
                    pixel = pixel.wrapping_add_signed(self.strides.step_x);
                }
            }
        }
    }
}

fn shorten<const N: usize>(encoded: &Encoded) -> [u8; N] {
    encoded.first_chunk().copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Alpha, Filter, Fit, Frames};

    fn options(channels: usize, height: usize, width: usize) -> ImageOptions {
        ImageOptions {
            fit: Fit::Stretch,
            filter: Filter::Bilinear,
            layout: Layout::Hwc,
            channels,
            channel_axis: true,
            height,
            width,
            sample: SampleType::U8,
            big_endian: false,
            pad: vec![0.0; channels],
            scale: 1.0,
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
            orient: true,
            alpha: Alpha::Drop,
            frames: Frames::First,
        }
    }

    fn written(options: &ImageOptions, channels: usize, depth: Depth, bytes: &[u8]) -> Vec<u8> {
        let writer = RowWriter::new(options);
        let mut row = vec![0xEE; writer.row_bytes()];
        let raster = Raster { width: options.width as u32, height: options.height as u32, channels, depth };
        let strides = Strides { start: 0, step_x: 1, step_y: options.width as isize };
        let region = Region { x: 0, y: 0, width: options.width, height: options.height };
        writer.write(&mut row, bytes, raster, strides, region);
        row
    }

    fn native<const N: usize, T: Copy>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|value| bytes(*value)).collect()
    }

    fn floats(row: &[u8]) -> Vec<f32> {
        row.chunks(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect()
    }

    #[test]
    fn layouts_of_two_by_one_rgb() {
        let pixels = [1, 2, 3, 4, 5, 6];
        let mut options = options(3, 1, 2);
        assert_eq!(written(&options, 3, Depth::U8, &pixels), pixels);
        options.layout = Layout::Chw;
        assert_eq!(written(&options, 3, Depth::U8, &pixels), [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn gray_is_repeated_and_missing_alpha_is_opaque() {
        assert_eq!(written(&options(3, 1, 2), 1, Depth::U8, &[7, 9]), [7, 7, 7, 9, 9, 9]);
        assert_eq!(written(&options(4, 1, 2), 1, Depth::U8, &[7, 9]), [7, 7, 7, 255, 9, 9, 9, 255]);
        assert_eq!(written(&options(4, 1, 2), 2, Depth::U8, &[7, 1, 9, 2]), [7, 7, 7, 1, 9, 9, 9, 2]);
        assert_eq!(written(&options(4, 1, 1), 3, Depth::U8, &[7, 8, 9]), [7, 8, 9, 255]);
        assert_eq!(written(&options(4, 1, 1), 4, Depth::U8, &[7, 8, 9, 10]), [7, 8, 9, 10]);
    }

    #[test]
    fn eight_and_sixteen_bits_become_u2_in_both_byte_orders() {
        let mut options = options(1, 1, 2);
        options.sample = SampleType::U16;
        assert_eq!(written(&options, 1, Depth::U8, &[1, 255]), [1, 1, 255, 255]);
        let sixteen = native(&[0x1234u16, 0xFFFE], u16::to_ne_bytes);
        assert_eq!(written(&options, 1, Depth::U16, &sixteen), [0x34, 0x12, 0xFE, 0xFF]);
        options.big_endian = true;
        assert_eq!(written(&options, 1, Depth::U16, &sixteen), [0x12, 0x34, 0xFF, 0xFE]);
    }

    #[test]
    fn float_sources_are_clamped_in_integers_and_free_in_floats() {
        let values = native(&[-0.5f32, 0.5, 1.0, 3.0, f32::NAN], f32::to_ne_bytes);
        let mut options = options(1, 1, 5);
        assert_eq!(written(&options, 1, Depth::F32, &values), [0, 128, 255, 255, 0]);
        options.sample = SampleType::U16;
        let halves: Vec<u16> = written(&options, 1, Depth::F32, &values)
            .chunks(2)
            .map(|chunk| u16::from_le_bytes([chunk[0], chunk[1]]))
            .collect();
        assert_eq!(halves, [0, 32768, 65535, 65535, 0]);
        options.sample = SampleType::F32;
        assert_eq!(floats(&written(&options, 1, Depth::F32, &values))[..4], [-127.5, 127.5, 255.0, 765.0]);
    }

    #[test]
    fn scale_mean_and_std_are_as_accurate_as_numpy() {
        let mut options = options(3, 1, 256);
        options.sample = SampleType::F32;
        options.scale = 1.0 / 255.0;
        let pixels: Vec<u8> = (0..=255).flat_map(|value| [value, value, value]).collect();
        for (value, mapped) in pixels.iter().zip(floats(&written(&options, 3, Depth::U8, &pixels))) {
            let expected = f32::from(*value) * (1.0 / 255.0);
            assert!((mapped - expected).abs() <= 1e-6 * expected, "{value}: {mapped} and {expected}");
        }
        options.mean = vec![0.485, 0.456, 0.406];
        options.std = vec![0.229, 0.224, 0.225];
        let row = floats(&written(&options, 3, Depth::U8, &pixels));
        assert_eq!(row[0], (-0.485f64 / 0.229) as f32);
        assert_eq!(row[3 * 255 + 2], ((1.0f64 - 0.406) / 0.225) as f32);
    }

    #[test]
    fn a_scale_of_257_gives_sixteen_bits_back_exactly() {
        let mut options = options(1, 256, 256);
        options.sample = SampleType::F32;
        options.scale = 257.0;
        let values: Vec<u16> = (0..=65535).collect();
        let row = floats(&written(&options, 1, Depth::U16, &native(&values, u16::to_ne_bytes)));
        assert!(row.iter().zip(values).all(|(mapped, value)| *mapped == f32::from(value)));
    }

    #[test]
    fn halves_and_big_endian_floats() {
        let mut options = options(1, 1, 2);
        options.sample = SampleType::F16;
        assert_eq!(written(&options, 1, Depth::U8, &[1, 255]), [0x00, 0x3C, 0xF8, 0x5B]);
        options.big_endian = true;
        assert_eq!(written(&options, 1, Depth::U8, &[1, 255]), [0x3C, 0x00, 0x5B, 0xF8]);
        options.sample = SampleType::F32;
        assert_eq!(written(&options, 1, Depth::U8, &[1, 0]), [0x3F, 0x80, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn padding_surrounds_the_image_and_is_mapped_like_a_value() {
        let mut options = options(2, 3, 3);
        options.pad = vec![9.0, 8.0];
        options.channels = 2;
        let writer = RowWriter::new(&options);
        let mut row = vec![0xEE; writer.row_bytes()];
        let raster = Raster { width: 1, height: 1, channels: 3, depth: Depth::U8 };
        let strides = Strides { start: 0, step_x: 1, step_y: 1 };
        writer.write(&mut row, &[1, 2, 3], raster, strides, Region { x: 1, y: 1, width: 1, height: 1 });
        assert_eq!(row, [9, 8, 9, 8, 9, 8, 9, 8, 1, 2, 9, 8, 9, 8, 9, 8, 9, 8]);

        options.layout = Layout::Chw;
        options.sample = SampleType::F32;
        options.mean = vec![1.0, 2.0];
        let writer = RowWriter::new(&options);
        let mut row = vec![0xEE; writer.row_bytes()];
        writer.write(&mut row, &[1, 2, 3], raster, strides, Region { x: 2, y: 0, width: 1, height: 1 });
        let floats = floats(&row);
        assert_eq!(floats[..9], [8.0, 8.0, 0.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0]);
        assert_eq!(floats[9..], [6.0, 6.0, 0.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0]);
    }

    #[test]
    fn a_turned_image_is_read_in_its_order() {
        // Stored 2 x 3, shown 3 x 2 after a quarter turn clockwise.
        let pixels = [1, 2, 3, 4, 5, 6];
        let writer = RowWriter::new(&options(1, 2, 3));
        let mut row = vec![0; 6];
        let raster = Raster { width: 2, height: 3, channels: 1, depth: Depth::U8 };
        let strides = Strides { start: 4, step_x: -2, step_y: 1 };
        writer.write(&mut row, &pixels, raster, strides, Region { x: 0, y: 0, width: 3, height: 2 });
        assert_eq!(row, [5, 3, 1, 6, 4, 2]);
    }
}
