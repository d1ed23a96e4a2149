//! Pixels in a byte buffer: their layout, their sample types, and the buffers that are used again for every image.
//!
//! Samples are in native byte order, interleaved, without gaps between lines, as the `image` crate gives them.

use std::io;

use image::ColorType;

/// A buffer that grew beyond this is given back after the image that needed it: a 12-megapixel RGB photograph is kept,
/// a 100-megapixel scan is not.
pub(super) const RETAINED_BYTES_MAX: usize = 48 << 20;

/// Enough for every sample type, and for the vector loads of the resizer.
const ALIGNMENT_BYTES: usize = 16;

/// The sample type of decoded pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// 0 to 255.
    U8,
    /// 0 to 65535, the same range in finer steps.
    U16,
    /// 1.0 is the same as 255 of 8 bits; more is possible.
    F32,
}

impl Depth {
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::F32 => 4,
        }
    }
}

/// The layout of pixels in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raster {
    pub width: u32,
    pub height: u32,
    /// 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
    pub channels: usize,
    pub depth: Depth,
}

impl Raster {
    /// `None` for a colour type that `image` may add one day.
    pub fn new(width: u32, height: u32, color: ColorType) -> Option<Self> {
        let (channels, depth) = match color {
            ColorType::L8 => (1, Depth::U8),
            ColorType::La8 => (2, Depth::U8),
            ColorType::Rgb8 => (3, Depth::U8),
            ColorType::Rgba8 => (4, Depth::U8),
            ColorType::L16 => (1, Depth::U16),
            ColorType::La16 => (2, Depth::U16),
            ColorType::Rgb16 => (3, Depth::U16),
            ColorType::Rgba16 => (4, Depth::U16),
            ColorType::Rgb32F => (3, Depth::F32),
            ColorType::Rgba32F => (4, Depth::F32),
            _ => return None,
        };
        Some(Self { width, height, channels, depth })
    }

    pub fn pixels(self) -> usize {
        // The limits on both sides keep this far from an overflow on 64 bits; saturating, so that a 32-bit build fails
        // to allocate rather than wrapping around.
        (self.width as usize).saturating_mul(self.height as usize)
    }

    pub fn pixel_bytes(self) -> usize {
        self.channels * self.depth.bytes()
    }

    pub fn bytes(self) -> usize {
        self.pixels().saturating_mul(self.pixel_bytes())
    }

    pub fn has_alpha(self) -> bool {
        matches!(self.channels, 2 | 4)
    }
}

/// A sample that can be read from and written to bytes in native order.
pub(super) trait Sample: Copy {
    const BYTES: usize;
    fn load(bytes: &[u8]) -> Self;
    fn store(self, bytes: &mut [u8]);
    /// Pillow's gray of RGB: ITU-R 601-2 luma in 16-bit fixed point.
    fn luma(red: Self, green: Self, blue: Self) -> Self;
    /// `self` at opacity `alpha` over an opaque `ground`.
    fn over(self, alpha: Self, ground: Self) -> Self;
    /// `self` that was multiplied by `alpha`, as it was before: rounded down, as Pillow does. Nothing where that is zero.
    fn divided(self, alpha: Self) -> Self;
    /// The nearest sample to a value on this type's own scale.
    fn from_exact(value: f64) -> Self;
    /// A value on the 0 to 255 scale in this type's own.
    fn from_scale_255(value: f64) -> Self;
}

impl Sample for u8 {
    const BYTES: usize = 1;
    fn load(bytes: &[u8]) -> Self {
        bytes.first().copied().unwrap_or_default()
    }
    fn store(self, bytes: &mut [u8]) {
        if let Some(byte) = bytes.first_mut() {
            *byte = self;
        }
    }
    fn luma(red: Self, green: Self, blue: Self) -> Self {
        ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as Self
    }
    fn over(self, alpha: Self, ground: Self) -> Self {
        let sum = u32::from(self) * u32::from(alpha) + u32::from(ground) * (255 - u32::from(alpha));
        ((sum + 127) / 255) as Self
    }
    fn divided(self, alpha: Self) -> Self {
        (u32::from(self) * 255).checked_div(u32::from(alpha)).map_or(0, |value| value.min(255) as Self)
    }
    fn from_exact(value: f64) -> Self {
        // The cast cuts off and clamps; nothing here is negative.
        (value + 0.5) as Self
    }
    fn from_scale_255(value: f64) -> Self {
        Self::from_exact(value)
    }
}

impl Sample for u16 {
    const BYTES: usize = 2;
    fn load(bytes: &[u8]) -> Self {
        bytes.first_chunk().map(|chunk| Self::from_ne_bytes(*chunk)).unwrap_or_default()
    }
    fn store(self, bytes: &mut [u8]) {
        if let Some(chunk) = bytes.first_chunk_mut() {
            *chunk = self.to_ne_bytes();
        }
    }
    fn luma(red: Self, green: Self, blue: Self) -> Self {
        // The weights sum to 65536: the largest sum is 65535.5 * 65536, which fits.
        ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as Self
    }
    fn over(self, alpha: Self, ground: Self) -> Self {
        let sum = u64::from(self) * u64::from(alpha) + u64::from(ground) * (65535 - u64::from(alpha));
        ((sum + 32767) / 65535) as Self
    }
    fn divided(self, alpha: Self) -> Self {
        (u64::from(self) * 65535).checked_div(u64::from(alpha)).map_or(0, |value| value.min(65535) as Self)
    }
    fn from_exact(value: f64) -> Self {
        (value + 0.5) as Self
    }
    fn from_scale_255(value: f64) -> Self {
        Self::from_exact(value * 257.0)
    }
}

impl Sample for f32 {
    const BYTES: usize = 4;
    fn load(bytes: &[u8]) -> Self {
        bytes.first_chunk().map(|chunk| Self::from_ne_bytes(*chunk)).unwrap_or_default()
    }
    fn store(self, bytes: &mut [u8]) {
        if let Some(chunk) = bytes.first_chunk_mut() {
            *chunk = self.to_ne_bytes();
        }
    }
    fn luma(red: Self, green: Self, blue: Self) -> Self {
        (red * 19595.0 + green * 38470.0 + blue * 7471.0) / 65536.0
    }
    fn over(self, alpha: Self, ground: Self) -> Self {
        self * alpha + ground * (1.0 - alpha)
    }
    fn divided(self, alpha: Self) -> Self {
        if alpha == 0.0 { 0.0 } else { self / alpha }
    }
    fn from_exact(value: f64) -> Self {
        value as Self
    }
    fn from_scale_255(value: f64) -> Self {
        (value / 255.0) as Self
    }
}

/// Bytes that are used again for every image, aligned for every sample type. Safe code cannot ask the allocator for an
/// alignment, so a few bytes more are taken and the first aligned one is where the contents begin.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// A place for `length` bytes, contents unspecified.
    ///
    /// Fails where the memory is not there: nothing against the source, so it is no rejection.
    pub fn take(&mut self, length: usize) -> io::Result<&mut [u8]> {
        let wanted = length.checked_add(ALIGNMENT_BYTES).ok_or(io::ErrorKind::OutOfMemory)?;
        if self.bytes.len() < wanted {
            // Old contents are of no use: dropping them first keeps the two buffers from existing side by side.
            self.bytes = Vec::new();
            self.bytes.try_reserve_exact(wanted).map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.bytes.resize(wanted, 0);
        }
        let skipped = self.bytes.as_ptr().align_offset(ALIGNMENT_BYTES);
        let contents = self.bytes.get_mut(skipped..).and_then(|aligned| aligned.get_mut(..length));
        contents.ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Gives a large buffer back.
    pub fn shrink(&mut self) {
        if self.bytes.len() > RETAINED_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_is_pillows() {
        // Image.new("RGB", (1, 1), colour).convert("L")
        for (colour, gray) in
            [([255, 0, 0], 76), ([0, 255, 0], 150), ([0, 0, 255], 29), ([1, 2, 3], 2), ([255, 255, 255], 255)]
        {
            assert_eq!(u8::luma(colour[0], colour[1], colour[2]), gray);
        }
        assert_eq!(u16::luma(65535, 65535, 65535), 65535);
        assert!((f32::luma(1.0, 1.0, 1.0) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn over_reaches_both_ends() {
        assert_eq!((200u8.over(255, 10), 200u8.over(0, 10), 200u8.over(128, 10)), (200, 10, 105));
        assert_eq!((50000u16.over(65535, 7), 50000u16.over(0, 7)), (50000, 7));
        assert_eq!(2.0f32.over(0.5, 1.0), 1.5);
    }

    #[test]
    fn a_buffer_is_aligned_kept_while_small_and_given_back_when_large() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.take(1000).unwrap().as_ptr().align_offset(ALIGNMENT_BYTES), 0);
        let place = buffer.take(1000).unwrap().as_ptr();
        buffer.shrink();
        assert_eq!(buffer.take(900).unwrap().as_ptr(), place);
        buffer.take(RETAINED_BYTES_MAX + 1).unwrap();
        buffer.shrink();
        assert!(buffer.bytes.is_empty());
    }

    #[test]
    fn a_buffer_that_cannot_be_had_is_an_error() {
        assert_eq!(Buffer::default().take(usize::MAX).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(Buffer::default().take(usize::MAX / 4).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }
}
