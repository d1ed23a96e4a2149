//! Rows as people see them: a picture where a row has the shape of one, a plot where it is a signal.
//!
//! | file | |
//! |---|---|
//! | `rows` | [`RowFile`]: rows out of any `.npy` file |
//! | `samples` | numbers out of a row's bytes |
//! | `curves` | [`Curves`]: rows of one number, or of records, as curves over the rows |
//! | `plot` | signals: as SVG for the page, as pixels for a sheet |
//! | `sheet` | many rows on one picture |

mod curves;
mod plot;
mod rows;
mod samples;
mod sheet;

pub use curves::Curves;
use plot::Signal;
pub use plot::svg;
pub use rows::{RowFile, RowFileError};
pub use sheet::sheet;

use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};

use crate::npy::Dtype;
use samples::samples;

/// Rows of more bytes than this are not drawn: 256 MiB.
pub const ROW_BYTES_MAX: u64 = 256 << 20;
/// A second axis that is this long, or longer, makes a picture rather than a signal of so many channels.
const SIDE_MIN: usize = 9;

/// What a row looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// One frame of so many pixels. `start`: its first sample. `planar`: channel after channel.
    Picture { start: usize, height: usize, width: usize, channels: usize, planar: bool },
    /// Sample after sample, each of so many channels.
    Signal { samples: usize, channels: usize },
}

impl Look {
    /// By the shape of a row, outermost dimension first. Of a clip it is the middle frame.
    ///
    /// # Errors
    /// What cannot be drawn, and why, in words.
    pub fn of(dtype: &Dtype, shape: &[usize]) -> Result<Self, String> {
        if !samples::are_numbers(dtype) {
            return Err(format!("rows of dtype {} are no numbers that could be drawn", dtype.descr()));
        }
        let picture = |start, height, width, channels, planar| Self::Picture { start, height, width, channels, planar };
        match *shape {
            [] => Ok(Self::Signal { samples: 1, channels: 1 }),
            [samples] => Ok(Self::Signal { samples, channels: 1 }),
            [samples, channels] if channels < SIDE_MIN => Ok(Self::Signal { samples, channels }),
            [channels, samples] if channels < SIDE_MIN && samples > 64 * channels => {
                // Channel after channel: the first one is drawn.
                Ok(Self::Signal { samples, channels: 1 })
            }
            [height, width] => Ok(picture(0, height, width, 1, false)),
            [height, width, channels @ (1 | 3 | 4)] => Ok(picture(0, height, width, channels, false)),
            [channels @ (1 | 3 | 4), height, width] => Ok(picture(0, height, width, channels, true)),
            [frames, height, width, channels @ (1 | 3 | 4)] => {
                Ok(picture(frames / 2 * height * width * channels, height, width, channels, false))
            }
            [frames, channels @ (1 | 3 | 4), height, width] => {
                Ok(picture(frames / 2 * height * width * channels, height, width, channels, true))
            }
            _ => Err(format!("rows of shape {shape:?} have no look that is known")),
        }
    }
}

/// The row as a picture of at most `side` pixels in width and height; a signal becomes a plot that wide.
/// `bytes` is the whole row. Integers of 8 and 16 bits keep their scale; other numbers are spread from their least to
/// their greatest.
pub fn picture(dtype: &Dtype, look: Look, bytes: &[u8], side: u32) -> RgbImage {
    let side = side.max(1);
    match look {
        Look::Signal { samples, channels } => {
            plot::pixels(&Signal { dtype, bytes, samples, channels }, side, (side / 3).max(1))
        }
        Look::Picture { start, height, width, channels, planar } => {
            let whole = frame(dtype, bytes, [start, height, width, channels], planar, side as usize);
            let longer = whole.width().max(whole.height()).max(1);
            let scaled = |length: u32| (u64::from(length) * u64::from(side) / u64::from(longer)).max(1) as u32;
            match longer {
                longer if longer > side => {
                    resize(&whole, scaled(whole.width()), scaled(whole.height()), FilterType::Triangle)
                }
                // Small rows are shown as they are, pixel by pixel, and not blurred.
                longer if longer * 2 <= side => {
                    let factor = side / longer;
                    resize(&whole, whole.width() * factor, whole.height() * factor, FilterType::Nearest)
                }
                _ => whole,
            }
        }
    }
}

/// A frame of a row, of so many pixels that `side` of them are left when it is made smaller: of a huge one, each second line and
/// column, or each third, so that no more memory is taken than they need.
fn frame(dtype: &Dtype, bytes: &[u8], size: [usize; 4], planar: bool, side: usize) -> RgbImage {
    let [start, height, width, channels] = size;
    let step = (height.max(width) / side.saturating_mul(2).max(1)).max(1);
    let mut numbers = Vec::with_capacity(height.div_ceil(step) * width.div_ceil(step) * channels);
    for y in (0..height).step_by(step) {
        let line = |channel: usize| match planar {
            true => samples(dtype, bytes, start + (channel * height + y) * width, width),
            false => samples(dtype, bytes, start + y * width * channels, width * channels),
        };
        let lines: Vec<Vec<f64>> =
            (0..if planar { channels } else { 1 }).map(|channel| line(channel).collect()).collect();
        for x in (0..width).step_by(step) {
            numbers.extend((0..channels).map(|channel| {
                let (line, place) = if planar { (channel, x) } else { (0, x * channels + channel) };
                lines.get(line).and_then(|line| line.get(place)).copied().unwrap_or_default()
            }));
        }
    }
    let (offset, factor) = samples::scale_to_bytes(dtype, &numbers);
    let columns = width.div_ceil(step);
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    RgbImage::from_fn(size(columns), size(height.div_ceil(step)), |x, y| {
        let pixel = y as usize * columns + x as usize;
        let value = |channel: usize| {
            let number = numbers.get(pixel * channels + channel).copied().unwrap_or_default();
            // A cast saturates, and takes what is no number for 0.
            ((number - offset) * factor).round() as u8
        };
        match channels {
            1 => Rgb([value(0); 3]),
            4 => {
                // Over white, as paper is.
                let alpha = f64::from(value(3)) / 255.0;
                Rgb([0, 1, 2].map(|channel| (f64::from(value(channel)) * alpha + 255.0 * (1.0 - alpha)).round() as u8))
            }
            _ => Rgb([value(0), value(1), value(2)]),
        }
    })
}

#[cfg(test)]
mod tests;
