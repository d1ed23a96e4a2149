//! Resizing, with Pillow's arithmetic: convolution whose kernel widens with the reduction, so that nothing aliases.
//!
//! `fast_image_resize` takes its filters from Pillow, and its rounding differs by one step at most. What it does not
//! take over is done here:
//!
//! - the order of the two passes: filters with negative lobes overshoot at edges, the overshoot is cut off between the
//!   passes, and what is cut off depends on the order. It is across and then down, in the oriented image, unless the
//!   height shrinks by more than twice as many pixels as the width (so since Pillow 13);
//! - nearest and area, which pick whole pixels: where a mirrored image is halved the sample point falls between two of
//!   them, and Pillow's choice depends on the direction that it came from (see `area`);
//! - the division by alpha, which Pillow rounds down.

use npy_ingest_kernels::resize::{Crop, FilterType, PixelType, Pixels, Resizer};

use super::Limits;
use super::area::Averager;
use super::fit::Placement;
use super::orient::{Rectangle, Turn};
use super::pixels::{Buffer, Depth, RETAINED_BYTES_MAX, Raster};
use crate::config::Filter;
use crate::decode::{DecodeError, Rejection};

/// One pixel more at each end than a kernel looks at costs little, and leaves no doubt about roundings.
const MARGIN_PIXELS: f64 = 1.0;

/// The buffers and the tables of the resizer, used again for every image.
#[derive(Default)]
pub(super) struct Scaler {
    convolver: Convolver,
    averager: Averager,
    resized: Buffer,
    columns: Vec<usize>,
}

/// Convolution in the order of passes that is asked for.
#[derive(Default)]
struct Convolver {
    resizer: Resizer,
    halfway: Buffer,
}

/// A convolution kernel: the filter, its radius in pixels of the coarser image, whether it overshoots.
struct Kernel {
    filter: FilterType,
    radius: f64,
    overshoots: bool,
}

/// Pixels of the size that the row takes, in a reading order.
pub(super) struct Resized<'a> {
    pub bytes: &'a [u8],
    pub raster: Raster,
    pub turn: Turn,
}

impl Scaler {
    /// Resizes the part of `bytes` that `placement` names. Pixels with alpha are multiplied by it first, in place and
    /// over the whole image as Pillow does, and divided by it afterwards; not so for nearest, which mixes no pixels.
    pub fn resize<'a>(
        &'a mut self,
        filter: Filter,
        bytes: &'a mut [u8],
        raster: Raster,
        placement: &Placement,
        turn: Turn,
    ) -> Result<Resized<'a>, DecodeError> {
        let (width, height) = turn.size(placement.width, placement.height);
        let source = turn.stored_rectangle(placement.source, raster.width, raster.height);
        let whole = source.left == 0.0
            && source.top == 0.0
            && source.width == f64::from(raster.width)
            && source.height == f64::from(raster.height);
        if whole && (width, height) == (raster.width, raster.height) {
            return Ok(Resized { bytes, raster, turn });
        }
        let kernel = match filter {
            Filter::Nearest => return self.pick_nearest(bytes, raster, placement, turn),
            Filter::Area => None,
            Filter::Bilinear => Some((FilterType::Bilinear, false)),
            Filter::Bicubic => Some((FilterType::CatmullRom, true)),
            Filter::Lanczos3 => Some((FilterType::Lanczos3, true)),
        };
        let kernel = kernel.map(|(kernel, overshoots)| Kernel { filter: kernel, radius: radius(filter), overshoots });
        if raster.has_alpha() {
            let resizer = &self.convolver.resizer;
            resizer.multiply_alpha(bytes, raster.width, raster.height, pixel_type(raster)?).map_err(refused)?;
        }
        let resized = Raster { width, height, ..raster };
        let target = self.resized.take(resized.bytes())?;
        match kernel {
            None => self.averager.average(bytes, raster, placement, turn, target),
            Some(kernel) => {
                let down_first = down_first(placement) != turn.swap_axes;
                self.convolver.convolve(&kernel, bytes, raster, source, target, resized, down_first)?;
            }
        }
        match (raster.has_alpha(), raster.depth) {
            (false, _) => {}
            (true, Depth::U8) => divide_by_alpha(target, raster.channels),
            (true, _) => {
                let resizer = &self.convolver.resizer;
                resizer.divide_alpha(target, width, height, pixel_type(resized)?).map_err(refused)?;
            }
        }
        Ok(Resized { bytes: target, raster: resized, turn })
    }

    /// One source pixel for each pixel of the result, in the oriented image. The sample points are summed up step by
    /// step, as Pillow does it, so that both fall on the same side where a point lies between two pixels.
    fn pick_nearest(
        &mut self,
        bytes: &[u8],
        raster: Raster,
        placement: &Placement,
        turn: Turn,
    ) -> Result<Resized<'_>, DecodeError> {
        let (oriented_width, oriented_height) = turn.size(raster.width, raster.height);
        let strides = turn.strides(raster.width, raster.height);
        let source = placement.source;
        self.columns.clear();
        self.columns.extend(sample_points(source.left, source.width, placement.width, oriented_width));
        let lines = sample_points(source.top, source.height, placement.height, oriented_height);
        let result = Raster { width: placement.width, height: placement.height, ..raster };
        let pixel_bytes = raster.pixel_bytes();
        let target = self.resized.take(result.bytes())?;
        let line_bytes = (placement.width as usize * pixel_bytes).max(1);
        for (to_line, y) in target.chunks_exact_mut(line_bytes).zip(lines) {
            for (to, x) in to_line.chunks_exact_mut(pixel_bytes).zip(&self.columns) {
                let pixel = strides.start + *x as isize * strides.step_x + y as isize * strides.step_y;
                let from = usize::try_from(pixel).unwrap_or_default() * pixel_bytes;
                if let Some(from) = bytes.get(from..from + pixel_bytes) {
                    to.copy_from_slice(from);
                }
            }
        }
        Ok(Resized { bytes: target, raster: result, turn: Turn::NONE })
    }

    /// Gives large buffers back.
    pub fn shrink(&mut self) {
        self.resized.shrink();
        self.convolver.halfway.shrink();
        self.convolver.resizer.shrink(RETAINED_BYTES_MAX);
    }
}

/// Refuses what would take too much memory between the two passes: there the image is as long as it was on one axis and as
/// long as it will be on the other, which for a thin image and a large row is far more than either.
pub(super) fn check_between(
    raster: Raster,
    placement: &Placement,
    turn: Turn,
    limits: &Limits,
) -> Result<(), Rejection> {
    let (width, height) = turn.size(placement.width, placement.height);
    let one = Raster { width, ..raster }.bytes();
    let other = Raster { height, ..raster }.bytes();
    let bytes = one.max(other) as u64;
    if bytes > limits.max_decoded_bytes {
        return Err(Rejection::new(format!(
            "resizing the image of {} x {} pixels to {width} x {height} takes {bytes} bytes, more than the limit of {}",
            raster.width, raster.height, limits.max_decoded_bytes
        )));
    }
    Ok(())
}

impl Convolver {
    /// Resizes the `source` part of an image, with the passes in the order that is told wherever that matters.
    #[allow(clippy::too_many_arguments)]
    fn convolve(
        &mut self,
        kernel: &Kernel,
        bytes: &[u8],
        raster: Raster,
        source: Rectangle,
        target: &mut [u8],
        resized: Raster,
        stored_down_first: bool,
    ) -> Result<(), DecodeError> {
        // The library's own order: down first in 8 bits, across first in 16; floats do not clip, so have none.
        let already_in_order = match raster.depth {
            Depth::U8 => stored_down_first,
            Depth::U16 => !stored_down_first,
            Depth::F32 => true,
        };
        if already_in_order || !kernel.overshoots {
            return self.pass(kernel, bytes, raster, source, target, resized);
        }
        // The first pass keeps the other axis as it is, but for lines or columns that the second does not look at.
        let (halfway, first, second) = if stored_down_first {
            let (start, end) =
                looked_at(source.left, source.width, resized.width, raster.width, kernel.radius, MARGIN_PIXELS);
            let count = end.saturating_sub(start);
            let first = Rectangle { left: f64::from(start), width: f64::from(count), ..source };
            let second = Rectangle {
                left: source.left - f64::from(start),
                top: 0.0,
                width: source.width,
                height: f64::from(resized.height),
            };
            (Raster { width: count, height: resized.height, ..raster }, first, second)
        } else {
            let (start, end) =
                looked_at(source.top, source.height, resized.height, raster.height, kernel.radius, MARGIN_PIXELS);
            let count = end.saturating_sub(start);
            let first = Rectangle { top: f64::from(start), height: f64::from(count), ..source };
            let second = Rectangle {
                left: 0.0,
                top: source.top - f64::from(start),
                width: f64::from(resized.width),
                height: source.height,
            };
            (Raster { width: resized.width, height: count, ..raster }, first, second)
        };
        let mut kept = std::mem::take(&mut self.halfway);
        let result = match kept.take(halfway.bytes()) {
            Ok(between) => self
                .pass(kernel, bytes, raster, first, between, halfway)
                .and_then(|()| self.pass(kernel, between, halfway, second, target, resized)),
            Err(error) => Err(error.into()),
        };
        self.halfway = kept;
        result
    }

    fn pass(
        &mut self,
        kernel: &Kernel,
        bytes: &[u8],
        raster: Raster,
        source: Rectangle,
        target: &mut [u8],
        resized: Raster,
    ) -> Result<(), DecodeError> {
        let (width, height) = (raster.width, raster.height);
        let from = Pixels { bytes, width, height, line: width, pixel: pixel_type(raster)? };
        let Rectangle { left, top, width, height } = source;
        let crop = Crop { left, top, width, height };
        let resizer = &mut self.resizer;
        resizer.convolve(kernel.filter, from, crop, target, resized.width, resized.height).map_err(refused)?;
        Ok(())
    }
}

/// Whether Pillow resizes down before across, in the oriented image. It goes by the whole image, even for a part of it.
fn down_first(placement: &Placement) -> bool {
    let (width, height) = placement.whole;
    let shrinks_by = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let height_loss = shrinks_by(height, placement.height);
    height_loss > 0 && height_loss > 2 * shrinks_by(width, placement.width)
}

/// How far a filter looks, in pixels of the coarser image.
pub(super) fn radius(filter: Filter) -> f64 {
    match filter {
        Filter::Nearest | Filter::Area => 0.5,
        Filter::Bilinear => 1.0,
        Filter::Bicubic => 2.0,
        Filter::Lanczos3 => 3.0,
    }
}

/// The pixels of one axis that a kernel looks at for a span of it, and `margin` more at each end: the first, and the one
/// behind the last.
pub(super) fn looked_at(start: f64, length: f64, count: u32, size: u32, radius: f64, margin: f64) -> (u32, u32) {
    let reach = radius * (length / f64::from(count.max(1))).max(1.0) + margin;
    let first = (start - reach).floor().max(0.0) as u32;
    let end = (start + length + reach).ceil() as u32;
    (first.min(size), end.min(size))
}

/// Colours that were multiplied by alpha, as they were before; 8 bits, rounded down as Pillow does.
fn divide_by_alpha(bytes: &mut [u8], channels: usize) {
    for pixel in bytes.chunks_exact_mut(channels.max(1)) {
        if let [colours @ .., alpha @ 1..=254] = pixel {
            for colour in colours {
                *colour = (u32::from(*colour) * 255 / u32::from(*alpha)).min(255) as u8;
            }
        }
    }
}

/// The source index for each of `count` results over a span of one axis of `size` pixels.
fn sample_points(start: f64, length: f64, count: u32, size: u32) -> impl Iterator<Item = usize> {
    let step = length / f64::from(count.max(1));
    let last = size.saturating_sub(1) as usize;
    let first = start + step * 0.5;
    let points = std::iter::successors(Some(first), move |point| Some(point + step));
    points.take(count as usize).map(move |point| (point as usize).min(last))
}

fn pixel_type(raster: Raster) -> Result<PixelType, Rejection> {
    Ok(match (raster.depth, raster.channels) {
        (Depth::U8, 1) => PixelType::U8,
        (Depth::U8, 2) => PixelType::U8x2,
        (Depth::U8, 3) => PixelType::U8x3,
        (Depth::U8, 4) => PixelType::U8x4,
        (Depth::U16, 1) => PixelType::U16,
        (Depth::U16, 2) => PixelType::U16x2,
        (Depth::U16, 3) => PixelType::U16x3,
        (Depth::U16, 4) => PixelType::U16x4,
        (Depth::F32, 1) => PixelType::F32,
        (Depth::F32, 2) => PixelType::F32x2,
        (Depth::F32, 3) => PixelType::F32x3,
        (Depth::F32, 4) => PixelType::F32x4,
        (_, channels) => return Err(Rejection::new(format!("pixels of {channels} channels cannot be resized"))),
    })
}

/// The resizer checks sizes and alignments, which are right by construction; its refusal would be a fault of this
/// program that one image brought to light, so it is reported with that image.
fn refused(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(format!("the image could not be resized: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::fit::place;
    use super::*;
    use crate::config::Fit;
    use image::metadata::Orientation;

    fn gray(width: u32, height: u32) -> Raster {
        Raster { width, height, channels: 1, depth: Depth::U8 }
    }

    #[test]
    fn the_passes_are_in_pillows_order() {
        // What Pillow 13 does with noise of 100 x 100 and of 1000 x 100, told from its results.
        let down_first_to =
            |from: (u32, u32), to: (u32, u32)| down_first(&place(Fit::Stretch, from.0, from.1, to.0, to.1).unwrap());
        for (from, to, expected) in [
            ((100, 100), (60, 10), true),
            ((100, 100), (60, 20), false),
            ((100, 100), (110, 99), true),
            ((100, 100), (110, 101), false),
            ((1000, 100), (950, 1), false),
            ((1000, 100), (990, 70), true),
        ] {
            assert_eq!(down_first_to(from, to), expected, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn an_image_of_the_right_size_is_passed_on_untouched() {
        let mut bytes = [1, 2, 3, 4, 5, 6];
        let placement = place(Fit::Stretch, 3, 2, 3, 2).unwrap();
        let mut scaler = Scaler::default();
        let resized = scaler.resize(Filter::Lanczos3, &mut bytes, gray(3, 2), &placement, Turn::NONE).unwrap();
        assert_eq!((resized.bytes, resized.raster), (&[1, 2, 3, 4, 5, 6][..], gray(3, 2)));
    }

    #[test]
    fn halving_with_box_takes_means() {
        let mut bytes = [0, 10, 100, 100, 20, 30, 200, 200];
        let placement = place(Fit::Stretch, 4, 2, 2, 1).unwrap();
        let mut scaler = Scaler::default();
        let resized = scaler.resize(Filter::Area, &mut bytes, gray(4, 2), &placement, Turn::NONE).unwrap();
        assert_eq!(resized.bytes, [15, 150]);
    }

    #[test]
    fn nearest_halves_a_mirrored_image_as_if_it_had_been_mirrored_first() {
        // Pillow: exif_transpose of [0 1 2 3 4 5] with orientation 2 is [5 4 3 2 1 0]; its half is [4 2 0].
        let mut bytes = [0, 1, 2, 3, 4, 5];
        let placement = place(Fit::Stretch, 6, 1, 3, 1).unwrap();
        let mut scaler = Scaler::default();
        let turn = Turn::from(Orientation::FlipHorizontal);
        let resized = scaler.resize(Filter::Nearest, &mut bytes, gray(6, 1), &placement, turn).unwrap();
        assert_eq!((resized.bytes, resized.turn), (&[4, 2, 0][..], Turn::NONE));
    }

    #[test]
    fn transparent_pixels_lend_no_colour() {
        let mut bytes = [200, 100, 50, 255, 9, 9, 9, 0];
        let raster = Raster { width: 2, height: 1, channels: 4, depth: Depth::U8 };
        let placement = place(Fit::Stretch, 2, 1, 1, 1).unwrap();
        let mut scaler = Scaler::default();
        let resized = scaler.resize(Filter::Area, &mut bytes, raster, &placement, Turn::NONE).unwrap();
        assert_eq!(resized.bytes[3], 128);
        for (value, expected) in resized.bytes.iter().zip([200u8, 100, 50]) {
            assert!(value.abs_diff(expected) <= 1, "{:?}", resized.bytes);
        }
    }

    #[test]
    fn what_is_thin_is_not_made_vast_on_the_way() {
        let limits = Limits { max_pixels: 1 << 20, max_decoded_bytes: 1 << 20 };
        let check = |width, height, row: (u32, u32)| {
            let placement = place(Fit::Stretch, width, height, row.0, row.1).unwrap();
            check_between(gray(width, height), &placement, Turn::NONE, &limits)
        };
        assert!(check(65535, 1, (16, 16)).is_ok());
        assert!(check(1024, 1024, (1024, 1024)).is_ok());
        assert_eq!(
            check(65535, 1, (64, 64)).unwrap_err().reason,
            "resizing the image of 65535 x 1 pixels to 64 x 64 takes 4194240 bytes, more than the limit of 1048576"
        );
        assert!(check(1, 65535, (64, 2)).is_err());
    }

    #[test]
    fn extreme_ratios_are_resized() {
        let mut scaler = Scaler::default();
        for filter in [Filter::Nearest, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3, Filter::Area] {
            for (width, height) in [(65535, 1), (1, 65535), (1, 1), (65535, 3)] {
                for fit in [Fit::Cover, Fit::Contain, Fit::Stretch] {
                    let raster = gray(width, height);
                    let mut bytes = vec![77; raster.bytes()];
                    let placement = place(fit, width, height, 31, 17).unwrap();
                    let resized = scaler.resize(filter, &mut bytes, raster, &placement, Turn::NONE).unwrap();
                    assert!(
                        resized.bytes.iter().all(|value| value.abs_diff(77) <= 1),
                        "{filter:?} {fit:?} {width} x {height}"
                    );
                }
            }
        }
    }
}
