//! Resizing of planes of single bytes, such as those of videos: frame after frame of one size.
//!
//! Down first, by `fast_image_resize`, then across, by [`super::narrow`] where that can. What `fast_image_resize` would make
//! is made, to the last bit.

use super::narrow::{SLACK_BYTES, Span, Taps};
use super::resize::{Crop, FilterType, PixelType, Pixels, Refused, Resizer};

/// Spans whose taps are kept: luma and chroma, and one more.
const SPANS_MAX: usize = 3;

/// See the module documentation.
#[derive(Default)]
pub struct Planes {
    resizer: Resizer,
    /// The oldest first; `None` where there is no fast way.
    taps: Vec<(Span, Option<Taps>)>,
    between: Vec<u8>,
}

impl Planes {
    /// Resizes the `crop` of `from` to `width` x `height` samples in `to`.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn resize(
        &mut self,
        filter: FilterType,
        from: Pixels<'_>,
        crop: Crop,
        to: &mut [u8],
        width: u32,
        height: u32,
    ) -> Result<(), Refused> {
        let span = Span { filter, width: from.width, left: crop.left, length: crop.width, to_width: width };
        let Self { resizer, taps, between } = self;
        let taps = if from.pixel == PixelType::U8 { find(taps, span) } else { None };
        let Some(taps) = taps else { return resizer.convolve(filter, from, crop, to, width, height) };
        let (first, end) = taps.looked_at;
        let bytes = (end - first) as usize * height as usize;
        if between.len() < bytes + SLACK_BYTES {
            between.resize(bytes + SLACK_BYTES, 0);
        }
        let crop = Crop { left: f64::from(first), width: f64::from(end - first), ..crop };
        let down = between.get_mut(..bytes).unwrap_or_default();
        resizer.convolve(filter, from, crop, down, end - first, height)?;
        taps.apply(between, to);
        Ok(())
    }
}

fn find(kept: &mut Vec<(Span, Option<Taps>)>, span: Span) -> Option<&Taps> {
    let place = kept.iter().position(|(kept, _)| *kept == span).unwrap_or_else(|| {
        if kept.len() == SPANS_MAX {
            kept.remove(0);
        }
        kept.push((span, Taps::of(span)));
        kept.len() - 1
    });
    kept.get(place)?.1.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTERS: [FilterType; 4] =
        [FilterType::Box, FilterType::Bilinear, FilterType::CatmullRom, FilterType::Lanczos3];

    /// Noise of both extremes and of all between, the same in every run.
    fn noise(bytes: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(1);
        (0..bytes).map(|_| if random.bool() { random.u8(..) } else { 255 * random.u8(..2) }).collect()
    }

    fn check(planes: &mut Planes, filter: FilterType, (width, height): (u32, u32), crop: Crop, to: (u32, u32)) {
        let line = width + 5;
        let bytes = noise((line * height) as usize);
        let from = Pixels { bytes: &bytes, width, height, line, pixel: PixelType::U8 };
        let size = (to.0 * to.1) as usize;
        let (mut ours, mut theirs) = (vec![1; size], vec![2; size]);
        planes.resize(filter, from, crop, &mut ours, to.0, to.1).unwrap();
        Resizer::default().convolve(filter, from, crop, &mut theirs, to.0, to.1).unwrap();
        let place = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        assert_eq!(place, None, "{filter:?} {width} x {height} to {to:?}, from {} of {}", crop.left, crop.width);
    }

    #[test]
    fn planes_are_what_the_library_makes_of_them() {
        let mut planes = Planes::default();
        for filter in FILTERS {
            for (width, height) in [(640, 36), (320, 18), (1920, 20), (225, 9), (17, 5), (1, 1), (223, 224)] {
                let (right, down) = (f64::from(width), f64::from(height));
                for to in [(224, 7), (112, 24), (9, 3), (1, 1), (width, height)] {
                    check(
                        &mut planes,
                        filter,
                        (width, height),
                        Crop { left: 0.0, top: 0.0, width: right, height: down },
                        to,
                    );
                    // The middle, between pixels.
                    let crop = Crop { left: right * 0.21, top: down * 0.1, width: right * 0.57, height: down * 0.8 };
                    check(&mut planes, filter, (width, height), crop, to);
                }
            }
        }
    }

    /// Middles of pixels that lie on the border of two results: the last bit of a number says whose they are.
    #[test]
    fn borders_on_pixels_are_the_librarys() {
        let mut planes = Planes::default();
        let crop = Crop { left: 93.359_320_046_893_32, top: 0.0, width: 240.281_359_906_213_37, height: 6.0 };
        check(&mut planes, FilterType::Box, (427, 6), crop, (224, 6));
        for width in 300..440 {
            for to in [96, 112, 128, 224, 256] {
                // As cover takes the middle, in single precision.
                let length = f64::from(f64::from(width) as f32 * 0.563_f32);
                let left = f64::from(((f64::from(width) - length) * 0.5) as f32);
                let crop = Crop { left, top: 0.0, width: length, height: 4.0 };
                FILTERS.into_iter().for_each(|filter| check(&mut planes, filter, (width, 4), crop, (to, 4)));
            }
        }
    }

    #[test]
    fn the_fast_way_is_taken() {
        let span = Span { filter: FilterType::Bilinear, width: 640, left: 0.0, length: 640.0, to_width: 224 };
        if crate::narrow::is_able() {
            assert!(Taps::of(span).is_some());
        }
    }
}
