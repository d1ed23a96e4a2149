//! Frames of animations, for those who choose among them: videos.

use image::ImageFormat;

use super::orient::Turn;
use super::pixels::Raster;
use super::{Limits, animation, claims, ending, open};
use crate::decode::{DecodeError, Rejection};

/// One composed frame: the whole picture, as a viewer shows it.
pub struct AnimationFrame {
    pub pixels: Vec<u8>,
    pub raster: Raster,
    /// As EXIF says.
    pub turn: Turn,
    /// From when to when it is shown, in microseconds from the animation's start.
    pub time_us: i64,
    pub end_us: i64,
}

/// Gives the frames of a GIF, an animated PNG or an animated WebP to `each`, until that says `false`.
///
/// # Errors
/// It is no animation, or a frame of it is broken: those before it were given then. What `each` fails with. A file that is
/// not whole fails before its first frame; where it `may_be_cut`, behind its last one, unless `each` wants no more.
pub fn animation_frames(
    bytes: &[u8],
    may_be_cut: bool,
    each: &mut dyn FnMut(AnimationFrame) -> Result<bool, DecodeError>,
) -> Result<(), DecodeError> {
    let limits = Limits::default();
    let format = open::identify(bytes, None)?;
    let mut why_cut = None;
    let outline = match ending::check(format, bytes) {
        Ok(outline) => Some(outline),
        Err(rejection) if may_be_cut => {
            why_cut = Some(rejection);
            // What takes memory for nothing is refused all the same.
            if format == ImageFormat::WebP {
                claims::check_webp(bytes)?;
            }
            None
        }
        Err(rejection) => return Err(rejection.into()),
    };
    if let Some((width, height)) = outline.as_ref().and_then(|outline| outline.size) {
        open::check_sides(width, height, &limits)?;
    }
    let Some(animation) = animation::open(format, bytes, &limits)? else {
        let name = open::name(format);
        return Err(Rejection::new(format!(
            "{name}: a still picture, expected an animation; [dataset.image] takes it"
        ))
        .into());
    };
    let turn = Turn::told(outline.as_ref().and_then(|outline| outline.exif), animation.orientation);
    let raster = animation.raster;
    let (mut time_ms, mut given) = (0.0, 0);
    let in_us = |time_ms: f64| (time_ms * 1000.0).round() as i64;
    for frame in animation.frames {
        let frame = frame.map_err(|error| open::decoder_failed(format, error))?;
        let time_us = in_us(time_ms);
        time_ms += animation::delay_ms(format, frame.delay());
        let pixels = frame.into_buffer().into_raw();
        if !each(AnimationFrame { pixels, raster, turn, time_us, end_us: in_us(time_ms) })? {
            return Ok(());
        }
        given += 1;
    }
    if let Some(rejection) = why_cut {
        return Err(rejection.into());
    }
    Ok(outline.map_or(Ok(()), |outline| outline.expect_frames(format, given))?)
}
