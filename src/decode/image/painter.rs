//! Pictures that were decoded elsewhere, such as frames of videos, into the bytes of rows, by the same rules.
//!
//! Two ways lead there:
//!
//! - Whole pixels: [`Painter::pixels`] gives their place, [`Painter::paint`] does the rest.
//! - Planes (luma and chroma, each by itself): [`Painter::plan`] says what is taken of them and what size it will have,
//!   [`Painter::shrink`] resizes a plane, somebody makes pixels of the small planes in [`Painter::join`], and
//!   [`Painter::paint_resized`] does the rest. Filters and colour matrices are linear, so the result is the same up to
//!   rounding, and a third of the samples or less have to be touched.

use npy_ingest_kernels::planes::Planes;
use npy_ingest_kernels::resize::{Crop, FilterType, PixelType, Pixels};

use super::fit::Placement;
use super::orient::{Rectangle, Turn};
use super::pixels::{Buffer, Depth, Raster};
use super::resize::{Resized, check_between};
use super::{ImageDecoder, Limits, Scratch, open};
use crate::config::{Filter, ImageOptions};
use crate::decode::{DecodeError, Rejection};

/// Bytes behind the pixels that whoever fills them may write over: converters work in blocks.
const SLACK_BYTES: usize = 256;

/// See the module documentation. Used by one thread, for one picture after the other.
pub struct Painter {
    decoder: ImageDecoder,
    scratch: Scratch,
    planes: Vec<Buffer>,
    resizer: Planes,
}

/// What is taken of a picture.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    placement: Placement,
    turn: Turn,
    /// Of the stored picture, in its pixels: left, top, width, height.
    source: Rectangle,
    /// The stored picture's size.
    stored: (u32, u32),
    /// The size of what is taken once it is resized, before it is turned.
    pub width: u32,
    pub height: u32,
}

/// One plane of a picture, with the bytes of a line.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub bytes: &'a [u8],
    pub line_bytes: usize,
    pub width: u32,
    pub height: u32,
    /// 8 bits or 16.
    pub depth: Depth,
}

impl Painter {
    pub fn new(options: &ImageOptions) -> Self {
        let decoder = ImageDecoder::new(options.clone(), Limits::default());
        Self { decoder, scratch: Scratch::default(), planes: Vec::new(), resizer: Planes::default() }
    }

    pub fn options(&self) -> &ImageOptions {
        &self.decoder.options
    }

    /// Bytes of one picture in a row.
    pub fn picture_bytes(&self) -> usize {
        self.decoder.writer.row_bytes()
    }

    /// The place of decoded pixels, and a few bytes more.
    ///
    /// # Errors
    /// They are more than the limits allow, or than there is memory.
    pub fn pixels(&mut self, raster: Raster) -> Result<&mut [u8], DecodeError> {
        let (space, start) = self.decoder.conversion().space(raster);
        open::check_size(raster, (space - raster.bytes()) as u64, &self.decoder.limits)?;
        let pixels = self.scratch.decoded.take(space + SLACK_BYTES)?;
        Ok(pixels.get_mut(start..).unwrap_or_default())
    }

    /// Makes a row's picture of the pixels that lie in [`Self::pixels`].
    pub fn paint(&mut self, raster: Raster, turn: Turn, picture: &mut [u8]) -> Result<(), DecodeError> {
        let placement = self.decoder.placement(raster, turn)?;
        check_between(raster, &placement, turn, &self.decoder.limits)?;
        let conversion = self.decoder.conversion();
        let bytes = self.scratch.decoded.take(conversion.space(raster).0 + SLACK_BYTES)?;
        let kept = conversion.apply(bytes, raster);
        let kept_bytes = bytes.get_mut(..kept.bytes()).unwrap_or_default();
        let filter = self.decoder.options.filter;
        let resized = self.scratch.scaler.resize(filter, kept_bytes, kept, &placement, turn)?;
        self.decoder.write_row(picture, &resized, &placement)
    }

    /// How a picture of planes that is stored at this size is taken; `None` where its pixels have to be made first: where it
    /// does not shrink, and for `nearest`, which picks pixels.
    ///
    /// # Errors
    /// It does not fit, or is too large.
    pub fn plan(&self, width: u32, height: u32, turn: Turn) -> Result<Option<Plan>, Rejection> {
        open::check_sides(width, height, &self.decoder.limits)?;
        let raster = Raster { width, height, channels: 3, depth: Depth::U8 };
        let placement = self.decoder.placement(raster, turn)?;
        let (small_width, small_height) = turn.size(placement.width, placement.height);
        let source = turn.stored_rectangle(placement.source, width, height);
        let shrinks = source.width >= f64::from(small_width)
            && source.height >= f64::from(small_height)
            && (source.width, source.height) != (f64::from(small_width), f64::from(small_height));
        if !shrinks || self.decoder.options.filter == Filter::Nearest {
            return Ok(None);
        }
        let (width, height, stored) = (small_width, small_height, (width, height));
        Ok(Some(Plan { placement, turn, source, stored, width, height }))
    }

    /// Resizes what the plan takes of a plane: for [`Self::join`].
    pub fn shrink(&mut self, plan: &Plan, number: usize, part: Part<'_>) -> Result<(), DecodeError> {
        let (pixel, bytes) = match part.depth {
            Depth::U8 => (PixelType::U8, 1),
            Depth::U16 => (PixelType::U16, 2),
            Depth::F32 => return Err(Rejection::new("planes of floats are not resized").into()),
        };
        let filter = match self.decoder.options.filter {
            Filter::Nearest | Filter::Area => FilterType::Box,
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
            Filter::Lanczos3 => FilterType::Lanczos3,
        };
        if self.planes.len() <= number {
            self.planes.resize_with(number + 1, Buffer::default);
        }
        let Some(buffer) = self.planes.get_mut(number) else { return Ok(()) };
        let small = buffer.take(plan.width as usize * plan.height as usize * bytes)?;
        // What lies behind the end of a line is no part of the picture and must not be mixed in.
        let line = u32::try_from(part.line_bytes / bytes).unwrap_or(u32::MAX);
        let from = Pixels { bytes: part.bytes, width: part.width, height: part.height, line, pixel };
        let along = |start: f64, length: f64, stored: u32, own: u32| {
            let scale = f64::from(own) / f64::from(stored.max(1));
            let start = (start * scale).clamp(0.0, f64::from(own));
            (start, (length * scale).min(f64::from(own) - start))
        };
        let (left, width) = along(plan.source.left, plan.source.width, plan.stored.0, part.width);
        let (top, height) = along(plan.source.top, plan.source.height, plan.stored.1, part.height);
        let crop = Crop { left, top, width, height };
        self.resizer.resize(filter, from, crop, small, plan.width, plan.height).map_err(refused)?;
        Ok(())
    }

    /// Has somebody make small pixels of the first three planes, `raster`'s width and height each and of `depth`.
    pub fn join(
        &mut self,
        raster: Raster,
        depth: Depth,
        make: impl FnOnce([&[u8]; 3], &mut [u8]) -> Result<(), Rejection>,
    ) -> Result<(), DecodeError> {
        let mut planes = std::mem::take(&mut self.planes);
        let bytes = Raster { channels: 1, depth, ..raster }.bytes();
        let result = match planes.as_mut_slice() {
            [first, second, third, ..] => {
                let planes = [&*first.take(bytes)?, &*second.take(bytes)?, &*third.take(bytes)?];
                make(planes, self.pixels(raster)?).map_err(DecodeError::from)
            }
            _ => Ok(()),
        };
        self.planes = planes;
        result
    }

    /// Makes a row's picture of small pixels that lie in [`Self::pixels`]. `raster` has the plan's size.
    pub fn paint_resized(&mut self, plan: &Plan, raster: Raster, picture: &mut [u8]) -> Result<(), DecodeError> {
        let conversion = self.decoder.conversion();
        let bytes = self.scratch.decoded.take(conversion.space(raster).0 + SLACK_BYTES)?;
        let raster = conversion.apply(bytes, raster);
        let resized = Resized { bytes, raster, turn: plan.turn };
        self.decoder.write_row(picture, &resized, &plan.placement)
    }
}

fn refused(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(format!("the frame could not be resized: {error}"))
}
