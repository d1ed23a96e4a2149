//! Whether a file is all there, for the formats whose decoders do not ask.
//!
//! STUB
use super::jpeg_end;
use crate::decode::Rejection;
use image::ImageFormat;

/// What was learnt on the way to the end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outline<'a> {
    /// An EXIF block that the decoder would not find, or only at the price of reading the header once more.
    pub exif: Option<&'a [u8]>,
    /// Whether the decoder has to be asked for the orientation all the same.
    pub ask_decoder: bool,
    /// Memory that decoding takes besides the pixels.
    pub further_bytes: u64,
}

pub(super) fn check(format: ImageFormat, bytes: &[u8]) -> Result<Outline<'_>, Rejection> {
    match format {
        ImageFormat::Jpeg => {
            let outline = jpeg_end::walk(bytes)?;
            Ok(Outline { exif: outline.exif, ask_decoder: false, further_bytes: outline.coefficient_bytes })
        }
        _ => Ok(Outline { ask_decoder: true, ..Outline::default() }),
    }
}
