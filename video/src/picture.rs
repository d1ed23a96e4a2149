//! A decoded frame into a picture of a row.
//!
//! | the frame | the way |
//! |---|---|
//! | luma and chroma in planes, square pixels, shrinks | each plane is resized, the small planes become pixels |
//! | anything else | the whole frame becomes pixels, which are resized as those of an image file |
//!
//! Pixels that are not square are made so first: the width is scaled by their shape (bicubic, libswscale), as FFmpeg's
//! `scale=iw*sar:ih` does.

use npy_ingest::config::SampleType;
use npy_ingest::decode::image::{Depth, Painter, Part, Raster, Turn};
use npy_ingest::decode::{DecodeError, Rejection};

use crate::ffmpeg::{Converter, Format, Picture};

/// The longest side of a picture, as that of an image file.
const SIDE_MAX: u32 = 65_535;

/// Draws frames.
pub struct Artist {
    painter: Painter,
    converter: Converter,
    is_deep_row: bool,
    orient: bool,
    /// Of the whole stream, where a frame says nothing.
    matrix: Option<[i32; 9]>,
    /// The shape of a pixel by the container.
    shape: Option<(u32, u32)>,
}

impl Artist {
    pub fn new(painter: Painter, matrix: Option<[i32; 9]>, shape: Option<(u32, u32)>) -> Self {
        let options = painter.options();
        let (is_deep_row, orient) = (options.sample != SampleType::U8, options.orient);
        Self { painter, converter: Converter::default(), is_deep_row, orient, matrix, shape }
    }

    pub fn picture_bytes(&self) -> usize {
        self.painter.picture_bytes()
    }

    pub fn draw(&mut self, frame: &Picture, row: &mut [u8]) -> Result<(), DecodeError> {
        let (width, height) = frame.size();
        let Some(nature) = frame.nature() else {
            return Err(Rejection::new("its pixels are of a format that FFmpeg does not describe").into());
        };
        let turn = match frame.display_matrix().or(self.matrix) {
            Some(matrix) if self.orient => turn_of(matrix),
            _ => Turn::NONE,
        };
        let refused =
            |error| Rejection::new(format!("a frame of {width} x {height} pixels cannot be converted: {error}"));
        // Samples of 16 bits where both the frame and the row have more than 8.
        let is_deep = nature.is_deep && self.is_deep_row;
        let depth = if is_deep { Depth::U16 } else { Depth::U8 };
        let shape = self.shape.or_else(|| frame.pixel_shape()).filter(|(across, down)| across != down);
        if let (Some(bits), None, Some(planes)) = (nature.planar_bits, shape, frame.planes())
            && let Some(plan) = self.painter.plan(width, height, turn)?
        {
            let part_depth = if bits > 8 { Depth::U16 } else { Depth::U8 };
            for (number, plane) in planes.iter().enumerate() {
                let part = Part {
                    bytes: plane.bytes,
                    line_bytes: plane.line_bytes,
                    width: plane.width,
                    height: plane.height,
                    depth: part_depth,
                };
                self.painter.shrink(&plan, number, part)?;
            }
            let raster = Raster { width: plan.width, height: plan.height, channels: 3, depth };
            let colours = frame.colours(bits);
            self.painter.join(raster, part_depth, |planes, pixels| {
                match bits {
                    8 => {
                        let length = raster.bytes();
                        colours.bytes(planes, pixels.get_mut(..length).unwrap_or_default());
                    }
                    _ => colours.deep(planes, is_deep, pixels),
                }
                Ok(())
            })?;
            return self.painter.paint_resized(&plan, raster, row);
        }
        let (format, channels) = match (nature.is_gray, nature.has_alpha, is_deep) {
            (true, false, false) => (Format::Gray8, 1),
            (true, false, true) => (Format::Gray16, 1),
            (_, true, false) => (Format::Rgba8, 4),
            (_, true, true) => (Format::Rgba16, 4),
            (false, false, false) => (Format::Rgb8, 3),
            (false, false, true) => (Format::Rgb16, 3),
        };
        let square = square_width(width, shape);
        let raster = Raster { width: square, height, channels, depth };
        let pixels = self.painter.pixels(raster)?;
        self.converter.convert(frame, format, (square, height), pixels).map_err(refused)?;
        self.painter.paint(raster, turn, row)
    }
}

/// The width of a picture once its pixels are as wide as they are high: of a fraction, FFmpeg's filter takes the whole part.
fn square_width(width: u32, shape: Option<(u32, u32)>) -> u32 {
    let Some((across, down)) = shape else { return width };
    // In the filter's own arithmetic.
    let wide = f64::from(width) * (f64::from(across) / f64::from(down.max(1)));
    (wide as u32).clamp(1, SIDE_MAX)
}

/// The quarter turn, and the mirroring, that a display matrix asks for. Its first four numbers are what takes a point of the
/// stored picture to where it is shown (ISO/IEC 14496-12, 6.2.2): with `x` and `y` from the stored one, shown are
/// `a x + c y` and `b x + d y`. Other angles are taken for the nearest that is a quarter.
fn turn_of(matrix: [i32; 9]) -> Turn {
    let [a, b, _, c, d, ..] = matrix;
    let swap_axes = i64::from(b).abs() + i64::from(c).abs() > i64::from(a).abs() + i64::from(d).abs();
    // Along the stored x axis the shown picture runs the other way where what takes x there is negative.
    let (along_x, along_y) = if swap_axes { (b, c) } else { (a, d) };
    Turn { swap_axes, mirror_x: along_x < 0, mirror_y: along_y < 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i32 = 1 << 16;

    fn turn(a: i32, b: i32, c: i32, d: i32) -> (bool, bool, bool) {
        let Turn { swap_axes, mirror_x, mirror_y } = turn_of([a, b, 0, c, d, 0, 0, 0, 1 << 30]);
        (swap_axes, mirror_x, mirror_y)
    }

    #[test]
    fn quarter_turns_and_mirrors() {
        assert_eq!(turn(ONE, 0, 0, ONE), (false, false, false));
        // A phone held upright: a quarter turn clockwise, as EXIF's 6.
        assert_eq!(turn(0, ONE, -ONE, 0), (true, false, true));
        assert_eq!(turn(-ONE, 0, 0, -ONE), (false, true, true));
        assert_eq!(turn(0, -ONE, ONE, 0), (true, true, false));
        assert_eq!(turn(-ONE, 0, 0, ONE), (false, true, false));
        // No matrix at all.
        assert_eq!(turn(0, 0, 0, 0), (false, false, false));
    }

    #[test]
    fn pixels_that_are_not_square() {
        assert_eq!(square_width(720, Some((16, 15))), 768);
        assert_eq!(square_width(720, Some((8, 9))), 640);
        assert_eq!(square_width(320, Some((4, 3))), 426);
        assert_eq!(square_width(160, Some((12, 11))), 174);
        assert_eq!(square_width(720, None), 720);
        assert_eq!(square_width(720, Some((u32::MAX, 1))), 65_535);
    }
}
