//! Antialiased resizing of pixels that lie in lines, by convolution; and colours times alpha.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
pub use fast_image_resize::{FilterType, PixelType};
use fast_image_resize::{MulDiv, ResizeAlg, ResizeOptions};

/// Pixels to read, line after line. What lies between the end of a line and the next is no part of the image.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    pub bytes: &'a [u8],
    pub width: u32,
    pub height: u32,
    /// From the start of one line to the next, in pixels.
    pub line: u32,
    pub pixel: PixelType,
}

/// A part of an image, in its pixels.
#[derive(Clone, Copy)]
pub struct Crop {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// The library refused: sizes or alignments that do not fit, in its words.
pub type Refused = String;

/// The tables and buffers of convolutions, used again for every image.
#[derive(Default)]
pub struct Resizer {
    resizer: fast_image_resize::Resizer,
    alpha: MulDiv,
}

impl Resizer {
    /// Resizes the `crop` of `from` to `width` x `height` pixels in `to`.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn convolve(
        &mut self,
        filter: FilterType,
        from: Pixels<'_>,
        crop: Crop,
        to: &mut [u8],
        width: u32,
        height: u32,
    ) -> Result<(), Refused> {
        let lines = ImageRef::new(from.line, from.height, from.bytes, from.pixel).map_err(told)?;
        let from = CroppedImage::new(&lines, 0, 0, from.width, from.height).map_err(told)?;
        let mut to = Image::from_slice_u8(width, height, to, lines.pixel_type()).map_err(told)?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
            .crop(crop.left, crop.top, crop.width, crop.height)
            .use_alpha(false);
        self.resizer.resize(&from, &mut to, &options).map_err(told)
    }

    /// Multiplies colours by the alpha of their pixel, in place.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn multiply_alpha(&self, bytes: &mut [u8], width: u32, height: u32, pixel: PixelType) -> Result<(), Refused> {
        let mut image = Image::from_slice_u8(width, height, bytes, pixel).map_err(told)?;
        self.alpha.multiply_alpha_inplace(&mut image).map_err(told)
    }

    /// Divides colours by the alpha of their pixel, in place.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn divide_alpha(&self, bytes: &mut [u8], width: u32, height: u32, pixel: PixelType) -> Result<(), Refused> {
        let mut image = Image::from_slice_u8(width, height, bytes, pixel).map_err(told)?;
        self.alpha.divide_alpha_inplace(&mut image).map_err(told)
    }

    /// Gives the buffers back if they hold more than this many bytes.
    pub fn shrink(&mut self, kept_bytes_max: usize) {
        if self.resizer.size_of_internal_buffers() > kept_bytes_max {
            self.resizer.reset_internal_buffers();
        }
    }
}

fn told(error: impl std::fmt::Display) -> Refused {
    error.to_string()
}
