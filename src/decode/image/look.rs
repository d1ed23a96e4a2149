//! What a picture is like before it is decoded, for those who choose settings for many of them.

use image::ImageDecoder as _;

use super::orient::Turn;
use super::{Limits, ending, open};
use crate::decode::Rejection;

/// A picture as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// In pixels, turned as it is for rows with `orient = true`.
    pub width: u32,
    pub height: u32,
    pub is_gray: bool,
}

/// Looks at a file. `bytes`: all of it; `extension`: as for [`super::ImageDecoder::decode`].
///
/// # Errors
/// It is no picture that is decoded, or was cut short: with the reason.
pub fn look(bytes: &[u8], extension: Option<&str>) -> Result<Look, Rejection> {
    let (format, bytes) = ending::as_decoded(open::identify(bytes, extension)?, bytes)?;
    let outline = ending::check(format, bytes)?;
    let limits = Limits::default();
    let mut decoder = open::open(format, bytes, outline.chunks, &limits)?;
    let asked = if outline.ask_decoder { decoder.orientation().ok() } else { None };
    let (stored_width, stored_height) = decoder.dimensions();
    let (width, height) = Turn::told(outline.exif, asked).size(stored_width, stored_height);
    Ok(Look { width, height, is_gray: !decoder.color_type().has_color() })
}
