//! Decoded pixels into the channels and the depth that are resized, within the one full-size buffer.
//!
//! This is Pillow's `Image.convert` (RGBA to RGB drops alpha, RGB to L by fixed-point luma), with `alpha = "blend"`
//! besides. Gray stays one channel even where the row has three: it is repeated when the row is written, which gives
//! the same bytes and resizes in a third of the time. For rows of four channels alpha is kept, whatever `alpha` says:
//! such rows have a place for it, so there is nothing to drop, and a ground would make it meaningless.

use std::array;

use super::pixels::{Depth, Raster, Sample};

/// Pixels that are converted together by way of the stack: enough to keep the loops tight, little enough to stay in
/// the first-level cache.
const BLOCK_PIXELS: usize = 512;
const BLOCK_BYTES: usize = BLOCK_PIXELS * 4 * 4;

/// What the pixels are converted to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conversion<'a> {
    /// Channels of a row: 1, 3 or 4.
    pub channels: usize,
    /// The ground under transparent pixels, one value on the 0 to 255 scale for each channel, if they are blended.
    pub ground: Option<&'a [f64]>,
    /// 16-bit samples are reduced to 8 bits first, as the rows hold no more.
    pub reduce: bool,
}

impl Conversion<'_> {
    /// Channels that remain to be resized.
    fn kept_channels(self, source_channels: usize) -> usize {
        match (self.channels, source_channels) {
            (1, _) | (3, 1) => 1,
            (3, 2) if self.colours_gray() => 3,
            (3, 2) => 1,
            (3, _) => 3,
            (_, kept) => kept,
        }
    }

    /// Whether the ground is a colour, so that blending over it turns gray into RGB.
    fn colours_gray(self) -> bool {
        self.channels == 3
            && self.ground.is_some_and(|ground| ground.windows(2).any(|pair| pair.first() != pair.last()))
    }

    /// The bytes that converting an image takes, and where in them the decoded image must begin: at the start, save
    /// where pixels grow. Those are decoded into the far end, so that no pixel is written over before it was read.
    pub fn space(self, source: Raster) -> (usize, usize) {
        let grown = Raster { channels: self.kept_channels(source.channels), ..source }.bytes();
        let bytes = source.bytes().max(grown);
        (bytes, bytes - source.bytes())
    }

    /// Converts the pixels that lie in `bytes` as [`Self::space`] said. What remains begins at the start of `bytes`.
    pub fn apply(self, bytes: &mut [u8], source: Raster) -> Raster {
        match source.depth {
            Depth::U16 if self.reduce => {
                let (_, start) = self.space(source);
                let reduced = Raster { depth: Depth::U8, ..source };
                // Pixels that grow are decoded at the far end; after the reduction they must be there again.
                let (space, new_start) = self.space(reduced);
                let tail = bytes.get_mut(start..).unwrap_or_default();
                remap::<u16, u8, 1, 1>(tail, source.pixels() * source.channels, |[value]| [reduce(value)]);
                if start != new_start {
                    bytes.copy_within(start..start + reduced.bytes(), new_start);
                }
                self.apply_in_depth::<u8>(bytes.get_mut(..space).unwrap_or_default(), reduced)
            }
            Depth::U8 => self.apply_in_depth::<u8>(bytes, source),
            Depth::U16 => self.apply_in_depth::<u16>(bytes, source),
            Depth::F32 => self.apply_in_depth::<f32>(bytes, source),
        }
    }

    fn apply_in_depth<S: Sample>(self, bytes: &mut [u8], source: Raster) -> Raster {
        let pixels = source.pixels();
        let ground: Option<[S; 3]> = self.ground.map(|ground| {
            // One value for gray rows, three for colour.
            array::from_fn(|channel| {
                S::from_scale_255(ground.get(channel).or(ground.first()).copied().unwrap_or_default())
            })
        });
        match (self.channels, source.channels, ground) {
            (1, 2, None) => remap::<S, S, 2, 1>(bytes, pixels, |[gray, _]| [gray]),
            (1, 2, Some([ground, ..])) => {
                remap::<S, S, 2, 1>(bytes, pixels, |[gray, alpha]| [gray.over(alpha, ground)]);
            }
            (1, 3, _) => remap::<S, S, 3, 1>(bytes, pixels, |[red, green, blue]| [S::luma(red, green, blue)]),
            (1, 4, None) => remap::<S, S, 4, 1>(bytes, pixels, |[red, green, blue, _]| [S::luma(red, green, blue)]),
            (1, 4, Some([ground, ..])) => remap::<S, S, 4, 1>(bytes, pixels, |[red, green, blue, alpha]| {
                [S::luma(red, green, blue).over(alpha, ground)]
            }),
            (3, 2, None) => remap::<S, S, 2, 1>(bytes, pixels, |[gray, _]| [gray]),
            (3, 2, Some(ground)) if self.colours_gray() => grow::<S>(bytes, pixels, ground),
            (3, 2, Some([ground, ..])) => {
                remap::<S, S, 2, 1>(bytes, pixels, |[gray, alpha]| [gray.over(alpha, ground)]);
            }
            (3, 4, None) => remap::<S, S, 4, 3>(bytes, pixels, |[red, green, blue, _]| [red, green, blue]),
            (3, 4, Some(ground)) => remap::<S, S, 4, 3>(bytes, pixels, |[red, green, blue, alpha]| {
                [red.over(alpha, ground[0]), green.over(alpha, ground[1]), blue.over(alpha, ground[2])]
            }),
            _ => {}
        }
        Raster { channels: self.kept_channels(source.channels), ..source }
    }
}

/// 16 bits to the nearest of 8: 65535 = 255 * 257.
fn reduce(value: u16) -> u8 {
    ((u32::from(value) + 128) / 257) as u8
}

/// Turns every pixel of `IN` samples at the start of `bytes` into one of `OUT` samples that takes no more room.
fn remap<From: Sample, To: Sample, const IN: usize, const OUT: usize>(
    bytes: &mut [u8],
    pixels: usize,
    convert: impl Fn([From; IN]) -> [To; OUT],
) {
    let (in_bytes, out_bytes) = (IN * From::BYTES, OUT * To::BYTES);
    let mut block = [0u8; BLOCK_BYTES];
    let mut done = 0;
    while done < pixels {
        let count = BLOCK_PIXELS.min(pixels - done);
        let Some(source) = bytes.get(done * in_bytes..(done + count) * in_bytes) else { return };
        for (from, to) in source.chunks_exact(in_bytes).zip(block.chunks_exact_mut(out_bytes)) {
            let samples = array::from_fn(|index| From::load(from.get(index * From::BYTES..).unwrap_or_default()));
            for (sample, place) in convert(samples).into_iter().zip(to.chunks_exact_mut(To::BYTES)) {
                sample.store(place);
            }
        }
        let (Some(target), Some(result)) =
            (bytes.get_mut(done * out_bytes..(done + count) * out_bytes), block.get(..count * out_bytes))
        else {
            return;
        };
        target.copy_from_slice(result);
        done += count;
    }
}

/// Colours that were multiplied by alpha, as they were before.
pub(super) fn divide_by_alpha(bytes: &mut [u8], raster: Raster) {
    match raster.depth {
        Depth::U8 => divide::<u8>(bytes, raster.channels),
        Depth::U16 => divide::<u16>(bytes, raster.channels),
        Depth::F32 => divide::<f32>(bytes, raster.channels),
    }
}

fn divide<S: Sample>(bytes: &mut [u8], channels: usize) {
    for pixel in bytes.chunks_exact_mut((channels * S::BYTES).max(1)) {
        let Some((colours, alpha)) = pixel.split_at_mut_checked((channels - 1) * S::BYTES) else { return };
        let alpha = S::load(alpha);
        for colour in colours.chunks_exact_mut(S::BYTES) {
            S::load(colour).divided(alpha).store(colour);
        }
    }
}

/// Gray and alpha at the far end of `bytes` over a coloured ground: RGB that fills it. The writing never overtakes the
/// reading: before pixel `i` it stands at sample `3 i`, the reading at `pixels + 2 i`.
fn grow<S: Sample>(bytes: &mut [u8], pixels: usize, ground: [S; 3]) {
    for pixel in 0..pixels {
        let Some(source) = bytes.get((pixels + 2 * pixel) * S::BYTES..) else { return };
        let (gray, alpha) = (S::load(source), S::load(source.get(S::BYTES..).unwrap_or_default()));
        let Some(target) = bytes.get_mut(3 * pixel * S::BYTES..) else { return };
        for (ground, place) in ground.into_iter().zip(target.chunks_exact_mut(S::BYTES)) {
            gray.over(alpha, ground).store(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(conversion: Conversion<'_>, source: Raster, samples: &[u8]) -> (Raster, Vec<u8>) {
        let (bytes, start) = conversion.space(source);
        let mut buffer = vec![0xEE; bytes];
        buffer[start..].copy_from_slice(samples);
        let kept = conversion.apply(&mut buffer, source);
        buffer.truncate(kept.bytes());
        (kept, buffer)
    }

    fn raster(width: u32, channels: usize, depth: Depth) -> Raster {
        Raster { width, height: 1, channels, depth }
    }

    #[test]
    fn rgb_to_gray_over_more_than_one_block() {
        let pixels = BLOCK_PIXELS * 2 + 3;
        let samples: Vec<u8> = (0..pixels * 3).map(|index| (index * 7 % 256) as u8).collect();
        let conversion = Conversion { channels: 1, ground: None, reduce: false };
        let (kept, gray) = converted(conversion, raster(pixels as u32, 3, Depth::U8), &samples);
        assert_eq!(kept.channels, 1);
        let expected: Vec<u8> = samples.chunks(3).map(|rgb| u8::luma(rgb[0], rgb[1], rgb[2])).collect();
        assert_eq!(gray, expected);
    }

    #[test]
    fn alpha_is_dropped_or_blended() {
        let rgba = [200, 100, 50, 128, 9, 8, 7, 0];
        let source = raster(2, 4, Depth::U8);
        let drop = Conversion { channels: 3, ground: None, reduce: false };
        assert_eq!(converted(drop, source, &rgba).1, [200, 100, 50, 9, 8, 7]);
        let blend = Conversion { channels: 3, ground: Some(&[10.0, 20.0, 30.0]), reduce: false };
        assert_eq!(converted(blend, source, &rgba).1, [105, 60, 40, 10, 20, 30]);
        let keep = Conversion { channels: 4, ground: Some(&[10.0, 20.0, 30.0, 0.0]), reduce: false };
        assert_eq!(converted(keep, source, &rgba).1, rgba);
        let gray = Conversion { channels: 1, ground: Some(&[10.0]), reduce: false };
        assert_eq!(converted(gray, source, &rgba).1, [u8::luma(200, 100, 50).over(128, 10), 10]);
    }

    #[test]
    fn colours_are_divided_by_alpha() {
        let raster = |depth| Raster { width: 3, height: 1, channels: 2, depth };
        let mut bytes = [10, 20, 200, 100, 7, 0];
        divide_by_alpha(&mut bytes, raster(Depth::U8));
        assert_eq!(bytes, [127, 20, 255, 100, 0, 0]);
        let mut words = [1000_u16, 3000, 9, 65535, 7, 0].map(u16::to_ne_bytes).concat();
        divide_by_alpha(&mut words, raster(Depth::U16));
        assert_eq!(words, [21845_u16, 3000, 9, 65535, 0, 0].map(u16::to_ne_bytes).concat());
        let mut floats = [0.25_f32, 0.5, 3.0, 1.0, 1.0, 0.0].map(f32::to_ne_bytes).concat();
        divide_by_alpha(&mut floats, raster(Depth::F32));
        assert_eq!(floats, [0.5_f32, 0.5, 3.0, 1.0, 0.0, 0.0].map(f32::to_ne_bytes).concat());
    }

    #[test]
    fn gray_and_alpha_over_a_colour_grows_to_rgb() {
        let conversion = Conversion { channels: 3, ground: Some(&[10.0, 20.0, 30.0]), reduce: false };
        let (kept, rgb) = converted(conversion, raster(3, 2, Depth::U8), &[200, 255, 100, 0, 60, 128]);
        assert_eq!(kept.channels, 3);
        assert_eq!(rgb, [200, 200, 200, 10, 20, 30, 60u8.over(128, 10), 60u8.over(128, 20), 60u8.over(128, 30)]);
        let gray_ground = Conversion { channels: 3, ground: Some(&[10.0; 3]), reduce: false };
        let (kept, gray) = converted(gray_ground, raster(2, 2, Depth::U8), &[200, 255, 100, 0]);
        assert_eq!((kept.channels, gray), (1, vec![200, 10]));
    }

    #[test]
    fn sixteen_bits_are_rounded_to_eight() {
        assert_eq!((reduce(0), reduce(128), reduce(129), reduce(65535), reduce(32896)), (0, 0, 1, 255, 128));
        let samples: Vec<u8> =
            [65535u16, 257, 0, 65535, 514, 32896].iter().flat_map(|value| value.to_ne_bytes()).collect();
        let conversion = Conversion { channels: 3, ground: None, reduce: true };
        let (kept, rgb) = converted(conversion, raster(2, 3, Depth::U16), &samples);
        assert_eq!((kept.depth, rgb), (Depth::U8, vec![255, 1, 0, 255, 2, 128]));
        // Reduced and grown at once.
        let conversion = Conversion { channels: 3, ground: Some(&[1.0, 2.0, 3.0]), reduce: true };
        let samples: Vec<u8> = [65535u16, 65535, 257, 0].iter().flat_map(|value| value.to_ne_bytes()).collect();
        let (_, rgb) = converted(conversion, raster(2, 2, Depth::U16), &samples);
        assert_eq!(rgb, [255, 255, 255, 1, 2, 3]);
    }
}
