//! Which part of an image becomes which part of a row: the geometry of `fit`.
//!
//! The numbers are those of Pillow's `ImageOps.fit` (cover), `ImageOps.pad` (contain) and `Image.resize` (stretch), with
//! both centerings at 0.5: a crop box with fractions, held in single precision as Pillow's resize does; Python's
//! rounding of halves to even for the contained side and its offset. One departure: a contained side is never less
//! than one pixel, where Pillow would leave the image out altogether.

use super::orient::Rectangle;
use crate::config::Fit;
use crate::decode::Rejection;

/// What is taken from the oriented image, and where it lands in the row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placement {
    pub source: Rectangle,
    /// Width and height of all of it.
    pub whole: (u32, u32),
    /// Where in the row the resized image lies, and its size. Everything around it is padding.
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// Places an image of `width` x `height` (after orientation, neither zero) in a row of `row_width` x `row_height`.
pub(super) fn place(
    fit: Fit,
    width: u32,
    height: u32,
    row_width: u32,
    row_height: u32,
) -> Result<Placement, Rejection> {
    let whole = Rectangle { left: 0.0, top: 0.0, width: f64::from(width), height: f64::from(height) };
    let filling = Placement { source: whole, whole: (width, height), x: 0, y: 0, width: row_width, height: row_height };
    match fit {
        Fit::Stretch => Ok(filling),
        Fit::Exact if (width, height) == (row_width, row_height) => Ok(filling),
        Fit::Exact => Err(Rejection::new(format!(
            "the image is {width} x {height} (width x height), expected {row_width} x {row_height}: resize it, or use another `fit`"
        ))),
        Fit::Cover => Ok(Placement { source: cover(width, height, row_width, row_height), ..filling }),
        Fit::Contain => {
            let (inner_width, inner_height) = contain(width, height, row_width, row_height);
            Ok(Placement {
                x: half_rounded_to_even(row_width - inner_width),
                y: half_rounded_to_even(row_height - inner_height),
                width: inner_width,
                height: inner_height,
                ..filling
            })
        }
    }
}

/// The largest centred box of the row's aspect ratio.
fn cover(width: u32, height: u32, row_width: u32, row_height: u32) -> Rectangle {
    let (whole_width, whole_height) = (f64::from(width), f64::from(height));
    let ratio = whole_width / whole_height;
    let row_ratio = f64::from(row_width) / f64::from(row_height);
    let (crop_width, crop_height) = if ratio == row_ratio {
        (whole_width, whole_height)
    } else if ratio > row_ratio {
        (row_ratio * whole_height, whole_height)
    } else {
        (whole_width, whole_width / row_ratio)
    };
    let (left, box_width) = single_precision_span((whole_width - crop_width) * 0.5, crop_width, whole_width);
    let (top, box_height) = single_precision_span((whole_height - crop_height) * 0.5, crop_height, whole_height);
    Rectangle { left, top, width: box_width, height: box_height }
}

/// Start and length as Pillow's resize sees them, which takes the two ends of the box as C floats. The length is kept
/// within the image, which the rounding could leave by a hair.
fn single_precision_span(start: f64, length: f64, whole: f64) -> (f64, f64) {
    let first = start as f32;
    let last = (start + length) as f32;
    let start = f64::from(first).max(0.0);
    (start, f64::from(last - first).min(whole - start))
}

/// The largest size of the image's aspect ratio that fits the row.
fn contain(width: u32, height: u32, row_width: u32, row_height: u32) -> (u32, u32) {
    let (whole_width, whole_height) = (f64::from(width), f64::from(height));
    let ratio = whole_width / whole_height;
    let row_ratio = f64::from(row_width) / f64::from(row_height);
    if ratio > row_ratio {
        let side = (whole_height / whole_width * f64::from(row_width)).round_ties_even() as u32;
        (row_width, side.clamp(1, row_height))
    } else if ratio < row_ratio {
        let side = (whole_width / whole_height * f64::from(row_height)).round_ties_even() as u32;
        (side.clamp(1, row_width), row_height)
    } else {
        (row_width, row_height)
    }
}

fn half_rounded_to_even(difference: u32) -> u32 {
    (f64::from(difference) * 0.5).round_ties_even() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(fit: Fit, image: (u32, u32), row: (u32, u32)) -> Placement {
        place(fit, image.0, image.1, row.0, row.1).unwrap()
    }

    #[test]
    fn cover_crops_the_longer_side_around_the_centre() {
        let wide = placed(Fit::Cover, (640, 480), (224, 224));
        assert_eq!(wide.source, Rectangle { left: 80.0, top: 0.0, width: 480.0, height: 480.0 });
        let tall = placed(Fit::Cover, (100, 333), (50, 50));
        assert_eq!(tall.source, Rectangle { left: 0.0, top: 116.5, width: 100.0, height: 100.0 });
        assert_eq!((tall.x, tall.y, tall.width, tall.height), (0, 0, 50, 50));
        let same = placed(Fit::Cover, (300, 200), (30, 20));
        assert_eq!(same.source, Rectangle { left: 0.0, top: 0.0, width: 300.0, height: 200.0 });
    }

    #[test]
    fn a_cover_box_with_fractions_is_in_single_precision_and_inside_the_image() {
        // 500 x 375 to 100 x 56: crop_height = 500 / (100 / 56) = 280.0, and to 97 x 56 it is 288.65979...
        let placement = placed(Fit::Cover, (500, 375), (97, 56));
        assert_eq!(placement.source.top, f64::from(43.170_103_092_783_506_f64 as f32));
        for width in 1..200 {
            for row_width in 1..20 {
                let source = placed(Fit::Cover, (width, 117), (row_width, 13)).source;
                assert!(source.left >= 0.0 && source.left + source.width <= f64::from(width));
                assert!(source.top >= 0.0 && source.top + source.height <= 117.0);
            }
        }
    }

    #[test]
    fn contain_rounds_halves_to_even_as_python_does() {
        // Pillow: ImageOps.pad(100 x 25, (10, 10)): new height round(2.5) = 2, offset round(8 * 0.5) = 4.
        let placement = placed(Fit::Contain, (100, 25), (10, 10));
        assert_eq!((placement.x, placement.y, placement.width, placement.height), (0, 4, 10, 2));
        // round(3.5) = 4; the offset is round(6 * 0.5) = 3.
        let placement = placed(Fit::Contain, (35, 100), (10, 10));
        assert_eq!((placement.x, placement.y, placement.width, placement.height), (3, 0, 4, 10));
        // A difference of 5: round(2.5) = 2; of 7: round(3.5) = 4.
        assert_eq!(placed(Fit::Contain, (10, 5), (10, 10)).y, 2);
        assert_eq!(placed(Fit::Contain, (10, 3), (10, 10)).y, 4);
    }

    #[test]
    fn a_contained_side_is_at_least_one_pixel() {
        let placement = placed(Fit::Contain, (1000, 1), (10, 10));
        assert_eq!((placement.y, placement.width, placement.height), (4, 10, 1));
    }

    #[test]
    fn exact_refuses_any_other_size_and_names_both() {
        assert!(place(Fit::Exact, 224, 224, 224, 224).is_ok());
        let rejection = place(Fit::Exact, 640, 480, 224, 224).unwrap_err();
        assert_eq!(
            rejection.reason,
            "the image is 640 x 480 (width x height), expected 224 x 224: resize it, or use another `fit`"
        );
    }
}
