//! Which part of a plain JPEG is decoded, and at which size.
//!
//! The decoder can give a half, a quarter or an eighth of the size by doing less, not more: it takes the low frequencies of
//! each block only. What is left out is what the filter would take out as well, as long as enough pixels remain for it
//! ([`SPARE`]). And it can leave out columns and lines that nobody looks at.

use npy_ingest_kernels::jpeg::Wish;

use super::fit::Placement;
use super::jpeg_frame::PlainJpeg;
use super::orient::{Rectangle, Turn};
use super::pixels::{Depth, Raster};
use super::resize::{looked_at, radius};
use crate::config::Filter;

/// Pixels beyond those that the filter looks at, on each side. Chroma of a cut picture has no neighbours beyond the cut, so
/// the pixels next to it differ; and roundings.
const MARGIN_PIXELS: f64 = 8.0;

/// How many times as large as the target the decoded picture is at least, in both directions. With photographs of all kinds
/// the rows then differ from those of the whole by 0.7 on average at most, and by 8 at worst; with 2, by 1.9 and 13.
const SPARE: f64 = 3.0;

/// What the decoder is asked for, and what its pixels are then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct JpegPart {
    pub wish: Wish,
    pub raster: Raster,
    /// In the part.
    pub placement: Placement,
}

/// What is decoded of a picture of which `placement` is taken.
pub(super) fn part(frame: PlainJpeg, filter: Filter, placement: &Placement, turn: Turn) -> JpegPart {
    let source = turn.stored_rectangle(placement.source, frame.width, frame.height);
    let (target_width, target_height) = turn.size(placement.width, placement.height);
    let eighths = eighths(filter, source, target_width, target_height);
    let scale = f64::from(eighths) / 8.0;
    let source = Rectangle {
        left: source.left * scale,
        top: source.top * scale,
        width: source.width * scale,
        height: source.height * scale,
    };
    let (width, height) = (Wish::scaled(frame.width, eighths), Wish::scaled(frame.height, eighths));
    let needed = |start, length, count, size| looked_at(start, length, count, size, radius(filter), MARGIN_PIXELS);
    let (left, right) = needed(source.left, source.width, target_width, width);
    let (top, bottom) = needed(source.top, source.height, target_height, height);
    let left = left - left % Wish::column_pixels(eighths, frame.across);
    let wish = Wish {
        width: frame.width,
        height: frame.height,
        components: frame.components,
        eighths,
        left,
        top,
        part_width: right - left,
        part_height: bottom - top,
    };
    let raster =
        Raster { width: wish.part_width, height: wish.part_height, channels: frame.components, depth: Depth::U8 };
    let inside = Rectangle { left: source.left - f64::from(left), top: source.top - f64::from(top), ..source };
    let source = turn.oriented_rectangle(inside, raster.width, raster.height);
    JpegPart { wish, raster, placement: Placement { source, ..*placement } }
}

/// The size to decode at, in eighths.
fn eighths(filter: Filter, source: Rectangle, width: u32, height: u32) -> u32 {
    match filter {
        // One picks pixels, which have to be there; the other takes whole pixels, and its edges would be as coarse as they are.
        Filter::Nearest | Filter::Area => return 8,
        Filter::Bilinear | Filter::Bicubic | Filter::Lanczos3 => {}
    }
    let enough = |eighths: &u32| {
        let scale = f64::from(*eighths) / 8.0;
        source.width * scale >= SPARE * f64::from(width) && source.height * scale >= SPARE * f64::from(height)
    };
    // Others have no vector instructions.
    [1, 2, 4].into_iter().find(enough).unwrap_or(8)
}
