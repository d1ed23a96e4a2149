//! Many rows on one picture.

use image::imageops::replace;
use image::{Rgb, RgbImage};

/// Pixels between the cells, and around them.
const GAP: u32 = 6;
const GROUND: Rgb<u8> = Rgb([0xff, 0xff, 0xff]);

/// The pictures in reading order, on a grid that is about as wide as it is high.
pub fn sheet(pictures: &[RgbImage]) -> RgbImage {
    let cell_width = pictures.iter().map(RgbImage::width).max().unwrap_or(1);
    let cell_height = pictures.iter().map(RgbImage::height).max().unwrap_or(1);
    let count = u32::try_from(pictures.len()).unwrap_or(u32::MAX).max(1);
    let ideal = (f64::from(count) * f64::from(cell_height) / f64::from(cell_width)).sqrt().ceil();
    let columns = (ideal as u32).clamp(1, count);
    let lines = count.div_ceil(columns);
    let side = |cells: u32, length: u32| GAP + cells * (length + GAP);
    let mut sheet = RgbImage::from_pixel(side(columns, cell_width), side(lines, cell_height), GROUND);
    for (place, picture) in (0..).zip(pictures) {
        let (column, line) = (place % columns, place / columns);
        let x = side(column, cell_width) + (cell_width - picture.width()) / 2;
        let y = side(line, cell_height) + (cell_height - picture.height()) / 2;
        replace(&mut sheet, picture, i64::from(x), i64::from(y));
    }
    sheet
}
