//! One image file into one row, or into one row for each frame of an animation.
//!
//! # Rules
//!
//! - The result is Pillow's: `Image.open`, `ImageOps.exif_transpose`, `convert`, then `ImageOps.fit` (cover),
//!   `ImageOps.pad` (contain) or `resize` (stretch), up to rounding; for JPEG up to the difference of the decoders.
//! - Pixels stay in the depth of their source (8 bits, 16 bits, float) until they become samples of the row.
//! - The size is checked against the [`Limits`] from the header, before memory is taken for pixels.
//! - A file that was cut short is rejected, never half decoded.
//! - One full-size buffer an image: conversion happens within it, turning happens to the small result. Buffers are kept
//!   by each thread for the next image, unless they are large.
//!
//! | file | holds |
//! |---|---|
//! | `open` | what a file is, its limits, the words of rejections |
//! | `ending`, `jpeg_end` | whether a file is all there |
//! | `claims`, `tiff` | what its header claims, where that alone would cost memory |
//! | `jpeg_frame`, `jpeg_part` | plain JPEGs: which they are, and what is decoded of them |
//! | `filled` | whether the decoder made all of the picture |
//! | `animation`, `frames` | frames of GIF, APNG, WebP, for rows and for videos |
//! | `pixels` | layouts, sample types, buffers |
//! | `convert` | gray, RGB, alpha |
//! | `fit`, `orient`, `resize`, `area` | geometry, EXIF orientation, resizing |
//! | `samples`, `rows` | values into samples, pixels into the bytes of a row |
//! | `look` | what a picture is like, without its pixels |
//! | `painter` | the same for pictures that were decoded elsewhere: frames of videos |

mod animation;
mod area;
mod claims;
mod convert;
mod ending;
mod filled;
mod fit;
mod frames;
mod jpeg_end;
#[cfg_attr(not(feature = "turbo"), allow(dead_code))]
mod jpeg_frame;
#[cfg(feature = "turbo")]
mod jpeg_part;
mod look;
mod open;
mod orient;
mod painter;
mod pixels;
mod resize;
mod rows;
mod samples;
#[cfg(test)]
mod tests;
mod tiff;

use std::cell::Cell;

use image::ImageDecoder as _;
use image::metadata::Orientation;
#[cfg(feature = "turbo")]
use npy_ingest_kernels::jpeg;

use self::animation::Animation;
use self::convert::Conversion;
use self::ending::Outline;
#[cfg(feature = "turbo")]
use self::jpeg_frame::PlainJpeg;
use self::pixels::Buffer;
use self::resize::{Resized, Scaler};
use self::rows::{Region, RowWriter};
use crate::config::{Alpha, Frames, ImageOptions, SampleType};
use crate::decode::{About, DecodeError, Rejection, RowSink, WholeDecoder};

pub use self::frames::{AnimationFrame, animation_frames};
pub use self::look::{Look, look};
pub use self::open::EXTENSIONS;
pub use self::orient::Turn;
pub use self::painter::{Painter, Part, Plan};
pub use self::pixels::{Depth, Raster};

/// What one image may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Width times height. Each side is at most 65535 besides.
    pub max_pixels: u64,
    /// Bytes of the decoded pixels, with the canvases of an animation and the coefficients of a progressive JPEG. The
    /// working memory of the libraries may come to as much again where a format needs it (TIFF, WebP).
    pub max_decoded_bytes: u64,
}

/// 400 megapixels, as the largest cameras and most scanners give, and 1 GiB.
impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 400_000_000, max_decoded_bytes: 1 << 30 }
    }
}

/// The image decoder of one dataset, shared by all threads.
#[derive(Debug)]
pub struct ImageDecoder {
    options: ImageOptions,
    limits: Limits,
    writer: RowWriter,
}

/// What a thread keeps from one image to the next.
#[derive(Default)]
struct Scratch {
    decoded: Buffer,
    scaler: Scaler,
    #[cfg(feature = "turbo")]
    jpeg: jpeg::Decoder,
}

thread_local! {
    /// Taken out while an image is decoded: should the sink decode another on the same thread, that one starts afresh.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl WholeDecoder for ImageDecoder {
    fn decode(&self, bytes: &[u8], about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        self.decode(bytes, about.extension, sink)
    }
}

impl ImageDecoder {
    pub fn new(options: ImageOptions, limits: Limits) -> Self {
        let writer = RowWriter::new(&options);
        Self { options, limits, writer }
    }

    /// Decodes one file into rows. `bytes`: the whole file; `extension`: lower-case file extension, used only where
    /// content has no signature (TGA).
    pub fn decode(&self, bytes: &[u8], extension: Option<&str>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let told = open::identify(bytes, extension)?;
        let (format, picture) = ending::as_decoded(told, bytes)?;
        // An icon is no animation.
        let frames = if format == told { self.options.frames } else { Frames::First };
        self.decode_as(format, picture, frames, sink)
    }

    fn decode_as(
        &self,
        format: image::ImageFormat,
        bytes: &[u8],
        frames: Frames,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let outline = ending::check(format, bytes)?;
        if let Some((width, height)) = outline.size {
            open::check_sides(width, height, &self.limits)?;
        }
        let animation = match frames {
            Frames::First => None,
            Frames::All => animation::open(format, bytes, &self.limits)?,
        };
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let result = match animation {
            Some(animation) => self.decode_frames(format, animation, &outline, &mut scratch, sink),
            None => self.decode_still(format, bytes, &outline, &mut scratch, sink),
        };
        scratch.decoded.shrink();
        scratch.scaler.shrink();
        SCRATCH.set(Some(scratch));
        result
    }

    fn decode_still(
        &self,
        format: image::ImageFormat,
        bytes: &[u8],
        outline: &Outline<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        #[cfg(feature = "turbo")]
        if let Some(frame) = outline.plain_jpeg
            && self.decode_plain_jpeg(frame, bytes, outline, scratch, sink)?
        {
            return Ok(());
        }
        self.decode_any(format, bytes, outline, scratch, sink)
    }

    /// A JPEG without anything odd, by the fastest decoder. `false`: it is to be decoded as any other picture, which will say
    /// what is wrong with it, if anything is.
    #[cfg(feature = "turbo")]
    fn decode_plain_jpeg(
        &self,
        frame: PlainJpeg,
        bytes: &[u8],
        outline: &Outline<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn RowSink,
    ) -> Result<bool, DecodeError> {
        let (width, height, channels) = (frame.width, frame.height, frame.components);
        let whole = Raster { width, height, channels, depth: Depth::U8 };
        let Ok((turn, placement)) = self.admit(whole, outline, || None) else { return Ok(false) };
        let part = jpeg_part::part(frame, self.options.filter, &placement, turn);
        if part.wish.eighths == 8 && !jpeg::is_vectorised() {
            return Ok(false);
        }
        let (space, start) = self.conversion().space(part.raster);
        let pixels = scratch.decoded.take(space)?;
        let place = pixels.get_mut(start..).unwrap_or_default();
        if scratch.jpeg.decode(bytes, &part.wish, place).is_err() {
            return Ok(false);
        }
        self.give_row(pixels, part.raster, turn, &part.placement, 0.0, &mut scratch.scaler, sink)?;
        Ok(true)
    }

    /// Any picture, by the decoder of its format.
    fn decode_any(
        &self,
        format: image::ImageFormat,
        bytes: &[u8],
        outline: &Outline<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let mut decoder = open::open(format, bytes, outline.chunks, &self.limits)?;
        let (width, height) = decoder.dimensions();
        let Some(raster) = Raster::new(width, height, decoder.color_type()) else {
            let colour = decoder.color_type();
            return Err(
                Rejection::new(format!("{}: pixels of type {colour:?} are not known", open::name(format))).into()
            );
        };
        let ask = || if self.options.orient && outline.ask_decoder { decoder.orientation().ok() } else { None };
        let (turn, placement) = self.admit(raster, outline, ask)?;
        let (space, start) = self.conversion().space(raster);
        let pixels = scratch.decoded.take(space)?;
        let place = pixels.get_mut(start..).unwrap_or_default();
        let refused = |error| open::decoder_failed(format, error);
        if format == image::ImageFormat::Jpeg {
            let mut decoder = Some(decoder);
            filled::to_the_end(place, |place| match decoder.take() {
                Some(decoder) => decoder.read_image(place).map_err(refused),
                None => open::open(format, bytes, outline.chunks, &self.limits)?.read_image(place).map_err(refused),
            })?;
        } else {
            if format == image::ImageFormat::Gif {
                // Where its data end early the library leaves what was there: nothing of another picture.
                place.fill(0);
            }
            decoder.read_image(place).map_err(refused)?;
        }
        if outline.is_multiplied && raster.has_alpha() {
            convert::divide_by_alpha(place, raster);
        }
        self.give_row(pixels, raster, turn, &placement, 0.0, &mut scratch.scaler, sink)
    }

    /// Whether an image is within the limits, and what is taken of it. `ask`: the decoder's word on the orientation. Before the
    /// decoding, which one that does not fit is not worth.
    fn admit(
        &self,
        raster: Raster,
        outline: &Outline<'_>,
        ask: impl FnOnce() -> Option<Orientation>,
    ) -> Result<(Turn, fit::Placement), Rejection> {
        let (space, _) = self.conversion().space(raster);
        let grown_bytes = space.saturating_sub(raster.bytes()) as u64;
        open::check_size(raster, outline.further_bytes.saturating_add(grown_bytes), &self.limits)?;
        let turn = self.turn(outline, ask());
        let placement = self.placement(raster, turn)?;
        resize::check_between(raster, &placement, turn, &self.limits)?;
        Ok((turn, placement))
    }

    fn decode_frames(
        &self,
        format: image::ImageFormat,
        animation: Animation<'_>,
        outline: &Outline<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let turn = self.turn(outline, animation.orientation);
        let placement = self.placement(animation.raster, turn)?;
        resize::check_between(animation.raster, &placement, turn, &self.limits)?;
        let mut time_ms = 0.0;
        let mut rows = 0u64;
        for frame in animation.frames {
            let frame = frame.map_err(|error| open::decoder_failed(format, error))?;
            let delay_ms = animation::delay_ms(format, frame.delay());
            let mut pixels = frame.into_buffer().into_raw();
            let time_s = time_ms / 1000.0;
            self.give_row(&mut pixels, animation.raster, turn, &placement, time_s, &mut scratch.scaler, sink)?;
            time_ms += delay_ms;
            rows += 1;
        }
        if rows == 0 {
            return Err(Rejection::new(format!("{}: the file holds no frame", open::name(format))).into());
        }
        Ok(outline.expect_frames(format, rows)?)
    }

    /// Decoded pixels, placed in `bytes` as the conversion's space asks, into the next row.
    #[allow(clippy::too_many_arguments)]
    fn give_row(
        &self,
        bytes: &mut [u8],
        raster: Raster,
        turn: Turn,
        placement: &fit::Placement,
        time_s: f64,
        scaler: &mut Scaler,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let kept = self.conversion().apply(bytes, raster);
        let kept_bytes = bytes.get_mut(..kept.bytes()).unwrap_or_default();
        let resized = scaler.resize(self.options.filter, kept_bytes, kept, placement, turn)?;
        self.write_row(sink.row(time_s)?, &resized, placement)
    }

    /// Pixels of the size that the row takes, into the row.
    fn write_row(&self, row: &mut [u8], resized: &Resized<'_>, placement: &fit::Placement) -> Result<(), DecodeError> {
        if row.len() != self.writer.row_bytes() {
            let (given, wanted) = (row.len(), self.writer.row_bytes());
            return Err(Rejection::new(format!("a row of {given} bytes was given for an image of {wanted}")).into());
        }
        let region = Region {
            x: placement.x as usize,
            y: placement.y as usize,
            width: placement.width as usize,
            height: placement.height as usize,
        };
        let strides = resized.turn.strides(resized.raster.width, resized.raster.height);
        self.writer.write(row, resized.bytes, resized.raster, strides, region);
        Ok(())
    }

    fn turn(&self, outline: &Outline<'_>, asked: Option<Orientation>) -> Turn {
        if self.options.orient { Turn::told(outline.exif, asked) } else { Turn::NONE }
    }

    fn placement(&self, raster: Raster, turn: Turn) -> Result<fit::Placement, Rejection> {
        let (width, height) = turn.size(raster.width, raster.height);
        let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
        fit::place(self.options.fit, width, height, side(self.options.width), side(self.options.height))
    }

    fn conversion(&self) -> Conversion<'_> {
        Conversion {
            channels: self.options.channels,
            ground: (self.options.alpha == Alpha::Blend).then_some(self.options.pad.as_slice()),
            reduce: self.options.sample == SampleType::U8,
        }
    }
}
