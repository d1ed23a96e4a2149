//! The frames of GIF, APNG and WebP animations, one at a time.
//!
//! Frames are complete images of 8-bit RGBA: each is composed with those before it. The default image of an APNG is a
//! frame only if the animation says so; where it is the still for viewers that know no animation, it is left out.

use std::io::Cursor;
use std::ops::Range;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder, Delay, Frames, ImageDecoder, ImageError, ImageFormat, Rgba};

use super::Limits;
use super::ending::png_chunk;
use super::open::{check_size, decoder_failed, library_limits};
use super::pixels::{Depth, Raster};
use crate::decode::Rejection;

/// What composing holds besides the frame that it gives out: the canvas, the one before it, the raw frame.
const CANVASES_BESIDES: u64 = 3;

/// Composed frames, and the layout of each of them.
pub(super) struct Animation<'a> {
    pub raster: Raster,
    pub orientation: Option<Orientation>,
    pub frames: Frames<'a>,
}

/// An animation whose header has been read; `None` for a still image, and for formats that know no animation.
pub(super) fn open<'a>(
    format: ImageFormat,
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<Option<Animation<'a>>, Rejection> {
    let refused = |error: ImageError| decoder_failed(format, error);
    match format {
        ImageFormat::Gif => {
            let decoder = GifDecoder::new(Cursor::new(bytes)).map_err(refused)?;
            let (raster, orientation, decoder) = within_limits(format, bytes, decoder, limits)?;
            Ok(Some(Animation { raster, orientation, frames: decoder.into_frames() }))
        }
        ImageFormat::Png => {
            let decoder =
                PngDecoder::with_limits(Cursor::new(bytes), library_limits(format, bytes, limits)).map_err(refused)?;
            if !decoder.is_apng().map_err(refused)? {
                return Ok(None);
            }
            check_disposal(bytes)?;
            let (raster, orientation, decoder) = within_limits(format, bytes, decoder, limits)?;
            Ok(Some(Animation { raster, orientation, frames: decoder.apng().map_err(refused)?.into_frames() }))
        }
        ImageFormat::WebP => {
            let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(refused)?;
            if !decoder.has_animation() {
                return Ok(None);
            }
            // Without a colour to clear to, the decoder leaves frames standing that ask to be cleared away.
            decoder.set_background_color(Rgba([0; 4])).map_err(refused)?;
            let (raster, orientation, decoder) = within_limits(format, bytes, decoder, limits)?;
            Ok(Some(Animation { raster, orientation, frames: decoder.into_frames() }))
        }
        _ => Ok(None),
    }
}

/// What is put back behind a frame, the decoder takes from before the last clearing: where an area was cleared away, and the next frame
/// that changed it is to be taken back, it would show what was cleared.
fn check_disposal(png: &[u8]) -> Result<(), Rejection> {
    const SIGNATURE_BYTES: usize = 8;
    const CLEARED: u8 = 1;
    const PUT_BACK: u8 = 2;
    let mut rest = png.get(SIGNATURE_BYTES..).unwrap_or_default();
    let (mut number, mut cleared, mut is_wrong) = (0, None, false);
    while let Some((name, length, after)) = png_chunk(rest) {
        // Behind its number: width, height and place, how long it is shown, and what becomes of it.
        if name == b"fcTL"
            && let Some([_, _, _, _, area @ .., _, _, _, _, disposal, _]) = after.first_chunk::<26>()
            && let Some([width, height, x, y]) = area.as_chunks::<4>().0.first_chunk()
        {
            if is_wrong {
                return Err(Rejection::new(format!(
                    "PNG: its frame {number} is put back (disposal \"previous\") to what a frame was cleared away from (\"background\"), \
                     which comes out wrong here: write the animation without one of the two"
                )));
            }
            number += 1;
            let [width, height, x, y] = [width, height, x, y].map(|bytes| u64::from(u32::from_be_bytes(*bytes)));
            let area = [x..x + width, y..y + height];
            let is_over = |other: &[Range<u64>; 2]| {
                area.iter().zip(other).all(|(one, other)| one.start < other.end && other.start < one.end)
            };
            match *disposal {
                PUT_BACK if number > 1 => is_wrong = cleared.as_ref().is_some_and(is_over),
                CLEARED => cleared = Some(area),
                _ => cleared = None,
            }
        }
        rest = after.get(length.saturating_add(4)..).unwrap_or_default();
    }
    Ok(())
}

fn within_limits<D: ImageDecoder>(
    format: ImageFormat,
    bytes: &[u8],
    mut decoder: D,
    limits: &Limits,
) -> Result<(Raster, Option<Orientation>, D), Rejection> {
    let (width, height) = decoder.dimensions();
    let raster = Raster { width, height, channels: 4, depth: Depth::U8 };
    check_size(raster, raster.bytes() as u64 * CANVASES_BESIDES, limits)?;
    decoder.set_limits(library_limits(format, bytes, limits)).map_err(|error| decoder_failed(format, error))?;
    // An EXIF block that cannot be read says nothing about the frames.
    let orientation = decoder.orientation().ok();
    Ok((raster, orientation, decoder))
}

/// How long a frame is shown, in milliseconds. In a GIF less than 20 of them, which viewers do not keep to, are 100, as in
/// FFmpeg: there 0 stands for a time that was not given.
pub(super) fn delay_ms(format: ImageFormat, delay: Delay) -> f64 {
    const GIF_MS_MIN: f64 = 20.0;
    const GIF_MS: f64 = 100.0;
    let (numerator, denominator) = delay.numer_denom_ms();
    let delay_ms = f64::from(numerator) / f64::from(denominator.max(1));
    if format == ImageFormat::Gif && delay_ms < GIF_MS_MIN { GIF_MS } else { delay_ms }
}
