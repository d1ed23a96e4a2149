//! Pixels into the bytes of a row: layout, order of reading, repeated gray, missing alpha, padding.

use super::orient::Strides;
use super::pixels::{Depth, Raster, Sample};
use super::samples::{Encoded, SampleMap};
use crate::config::{ImageOptions, Layout};

/// Writes rows of one dataset.
#[derive(Debug, Clone)]
pub(super) struct RowWriter {
    layout: Layout,
    width: usize,
    height: usize,
    map: SampleMap,
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
        Self { layout: options.layout, width: options.width, height: options.height, map: SampleMap::new(options) }
    }

    pub fn row_bytes(&self) -> usize {
        self.width * self.height * self.map.channels() * self.map.sample_bytes()
    }

    /// Fills `row` with the image in `bytes`, read in the order of `strides`, and padding around it.
    pub fn write(&self, row: &mut [u8], bytes: &[u8], raster: Raster, strides: Strides, region: Region) {
        match self.map.sample_bytes() {
            1 => self.write_sized::<1>(row, bytes, raster, strides, region),
            2 => self.write_sized::<2>(row, bytes, raster, strides, region),
            _ => self.write_sized::<4>(row, bytes, raster, strides, region),
        }
    }

    /// `N`: bytes of a sample.
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
        let source = Source { bytes, raster, strides, width: region.width, height: region.height };
        for channel in 0..self.map.channels() {
            let mut lane = self.lane::<N>(channel);
            lane.start += region.y * lane.line + region.x * lane.pixel;
            let chosen = match channel {
                3 if raster.has_alpha() => raster.channels - 1,
                3 => {
                    // Nothing to read: an image without alpha is opaque.
                    let opaque = shortened::<N>(&self.map.opaque(channel));
                    source.map_into(row, &lane, 0, |_| opaque);
                    continue;
                }
                _ if raster.channels <= 2 => 0,
                colour => colour,
            };
            match (raster.depth, self.map.table(channel)) {
                (Depth::U8, Some(table)) => source.map_into(row, &lane, chosen, |sample| {
                    table.get(usize::from(u8::load(sample))).map_or([0; N], shortened::<N>)
                }),
                (Depth::U16, _) => source.map_into(row, &lane, chosen, |sample| {
                    shortened::<N>(&self.map.of_sixteen_bits(channel, u16::load(sample)))
                }),
                (Depth::F32, _) => source.map_into(row, &lane, chosen, |sample| {
                    shortened::<N>(&self.map.of_float(channel, f32::load(sample)))
                }),
                (Depth::U8, None) => {}
            }
        }
    }

    /// Whether the decoded bytes are the row's bytes already.
    fn is_plain_copy(&self, raster: Raster, strides: Strides) -> bool {
        let in_order = strides == (Strides { start: 0, step_x: 1, step_y: self.width as isize });
        let interleaved = self.layout == Layout::Hwc || raster.channels == 1;
        self.map.is_identity(raster.depth) && in_order && interleaved && raster.channels == self.map.channels()
    }

    fn lane<const N: usize>(&self, index: usize) -> Lane {
        match self.layout {
            Layout::Hwc => {
                let pixel = self.map.channels() * N;
                Lane { start: index * N, pixel, line: self.width * pixel }
            }
            Layout::Chw => Lane { start: index * self.height * self.width * N, pixel: N, line: self.width * N },
        }
    }

    fn pad<const N: usize>(&self, row: &mut [u8]) {
        for channel in 0..self.map.channels() {
            let lane = self.lane::<N>(channel);
            let sample = shortened::<N>(&self.map.padding(channel));
            let samples = row.get_mut(lane.start..).unwrap_or_default().chunks_mut(lane.pixel.max(1));
            for place in samples.take(self.width * self.height).filter_map(<[u8]>::first_chunk_mut::<N>) {
                *place = sample;
            }
        }
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

fn shortened<const N: usize>(encoded: &Encoded) -> [u8; N] {
    encoded.first_chunk().copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::super::tests::options;
    use super::*;
    use crate::config::SampleType;

    fn written(options: &ImageOptions, channels: usize, depth: Depth, bytes: &[u8]) -> Vec<u8> {
        let writer = RowWriter::new(options);
        let mut row = vec![0xEE; writer.row_bytes()];
        let raster = Raster { width: options.width as u32, height: options.height as u32, channels, depth };
        let strides = Strides { start: 0, step_x: 1, step_y: options.width as isize };
        let region = Region { x: 0, y: 0, width: options.width, height: options.height };
        writer.write(&mut row, bytes, raster, strides, region);
        row
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
