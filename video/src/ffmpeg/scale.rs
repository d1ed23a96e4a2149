//! Colours and sizes: libswscale.

use std::ffi::{CStr, c_int};
use std::ptr;

use ff::AVPixelFormat;
use ffmpeg_sys_next as ff;

use super::version::SWS_BICUBIC;
use super::{Error, Picture};
use crate::colour::Colours;

/// Pixels that are made, interleaved; 16 bits in the machine's own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Gray8,
    Gray16,
    Rgb8,
    Rgb16,
    Rgba8,
    Rgba16,
}

impl Format {
    fn native(self) -> AVPixelFormat {
        let little = cfg!(target_endian = "little");
        match self {
            Self::Gray8 => AVPixelFormat::AV_PIX_FMT_GRAY8,
            Self::Gray16 if little => AVPixelFormat::AV_PIX_FMT_GRAY16LE,
            Self::Gray16 => AVPixelFormat::AV_PIX_FMT_GRAY16BE,
            Self::Rgb8 => AVPixelFormat::AV_PIX_FMT_RGB24,
            Self::Rgb16 if little => AVPixelFormat::AV_PIX_FMT_RGB48LE,
            Self::Rgb16 => AVPixelFormat::AV_PIX_FMT_RGB48BE,
            Self::Rgba8 => AVPixelFormat::AV_PIX_FMT_RGBA,
            Self::Rgba16 if little => AVPixelFormat::AV_PIX_FMT_RGBA64LE,
            Self::Rgba16 => AVPixelFormat::AV_PIX_FMT_RGBA64BE,
        }
    }

    pub fn pixel_bytes(self) -> usize {
        match self {
            Self::Gray8 => 1,
            Self::Gray16 => 2,
            Self::Rgb8 => 3,
            Self::Rgba8 => 4,
            Self::Rgb16 => 6,
            Self::Rgba16 => 8,
        }
    }
}

/// What the pixels of a picture are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    pub is_gray: bool,
    pub has_alpha: bool,
    /// More than 8 bits a sample.
    pub is_deep: bool,
    /// Luma and chroma in planes of their own, one byte a sample or two in the machine's order, without alpha. The bits of a
    /// sample.
    pub planar_bits: Option<u32>,
}

/// A plane of samples.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    pub bytes: &'a [u8],
    pub line_bytes: usize,
    pub width: u32,
    pub height: u32,
}

/// The fast paths write up to so many bytes behind the last pixel.
const SLACK_BYTES: usize = 128;
/// They take so many pixels at a time, at most, and leave out the last of a line that has no room for all of them.
const BLOCK_PIXELS: usize = 32;

/// What a conversion is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setting {
    from: (u32, u32, i32),
    to: (u32, u32, i32),
    /// The matrix, and whether samples use the full range.
    colours: (i32, bool),
}

/// Converts pictures to pixels. It is set up anew only where a picture differs from the one before.
#[derive(Default)]
pub struct Converter {
    whole: Context,
    /// Lines with room for whole blocks.
    roomy: Vec<u8>,
}

struct Context(*mut ff::SwsContext, Option<Setting>);

impl Converter {
    /// A whole picture, as pixels of `format`, scaled to `width` x `height` where that is another size. `pixels`: the lines
    /// behind each other without gaps, and room for more than the last.
    pub fn convert(
        &mut self,
        picture: &Picture,
        format: Format,
        (width, height): (u32, u32),
        pixels: &mut [u8],
    ) -> Result<(), Error> {
        let number = format_of(picture);
        let (from_width, from_height) = picture.size();
        let setting = Setting {
            from: (from_width, from_height, number),
            to: (width, height, format.native() as c_int),
            colours: colours_of(picture),
        };
        // As FFmpeg's own conversions are set, so that pixels are those that others get from it.
        self.whole.set(setting, SWS_BICUBIC)?;
        // SAFETY: the frame is open; its planes have the lines that its size and format ask for.
        let frame = unsafe { &*picture.pointer() };
        let planes: [*const u8; 4] = [frame.data[0], frame.data[1], frame.data[2], frame.data[3]];
        let lines = [frame.linesize[0], frame.linesize[1], frame.linesize[2], frame.linesize[3]];
        let (width, height) = (width as usize, height as usize);
        let line = width * format.pixel_bytes();
        let room = width.next_multiple_of(BLOCK_PIXELS) * format.pixel_bytes();
        if room == line {
            // SAFETY: these are the planes of the frame that the context was set for.
            return unsafe { self.whole.run(&planes, &lines, from_height, line, height, pixels) };
        }
        let space = room * height + SLACK_BYTES;
        if self.roomy.len() < space {
            self.roomy.try_reserve_exact(space - self.roomy.len()).map_err(|_| Error::NO_MEMORY)?;
            self.roomy.resize(space, 0);
        }
        // SAFETY: as above.
        unsafe { self.whole.run(&planes, &lines, from_height, room, height, &mut self.roomy) }?;
        for (to, from) in pixels.chunks_exact_mut(line.max(1)).zip(self.roomy.chunks_exact(room.max(1))).take(height) {
            to.copy_from_slice(from.get(..line).unwrap_or_default());
        }
        Ok(())
    }
}

impl Default for Context {
    fn default() -> Self {
        Self(ptr::null_mut(), None)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours or null.
        unsafe { ff::sws_freeContext(self.0) };
    }
}

impl Context {
    fn set(&mut self, setting: Setting, flags: c_int) -> Result<(), Error> {
        if self.1 == Some(setting) {
            return Ok(());
        }
        let unfit = Error(ff::AVERROR(ff::EINVAL));
        let side = |length: u32| c_int::try_from(length).map_err(|_| unfit);
        let Setting { from, to, colours: (matrix, is_full) } = setting;
        let (Some(from_format), Some(to_format)) = (pixel_format(from.2), pixel_format(to.2)) else {
            return Err(unfit);
        };
        self.1 = None;
        // SAFETY: the former context is given back; sizes and formats are checked by the function, which gives null for
        // those that it does not take. The tables of coefficients are static.
        unsafe {
            ff::sws_freeContext(self.0);
            self.0 = ff::sws_getContext(
                side(from.0)?,
                side(from.1)?,
                from_format,
                side(to.0)?,
                side(to.1)?,
                to_format,
                flags,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            );
            if self.0.is_null() {
                return Err(unfit);
            }
            let table = ff::sws_getCoefficients(matrix);
            // Fails for formats that have no such thing, which are fine without.
            ff::sws_setColorspaceDetails(
                self.0,
                table,
                c_int::from(is_full),
                ff::sws_getCoefficients(ff::SWS_CS_DEFAULT),
                1,
                0,
                1 << 16,
                1 << 16,
            );
        }
        self.1 = Some(setting);
        Ok(())
    }

    /// # Safety
    /// The planes hold a picture of the size and format that the context was set for; a line to be made has at most `line` bytes.
    unsafe fn run(
        &mut self,
        planes: &[*const u8; 4],
        lines: &[c_int; 4],
        from_height: u32,
        line: usize,
        height: usize,
        pixels: &mut [u8],
    ) -> Result<(), Error> {
        if pixels.len() < line * height + SLACK_BYTES {
            return Err(Error(ff::AVERROR(ff::EINVAL)));
        }
        let to = [pixels.as_mut_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut()];
        let to_lines = [c_int::try_from(line).unwrap_or(0), 0, 0, 0];
        // SAFETY: by the caller's promise, and there is room for the pixels with what the blocks of the fast paths may write
        // behind them.
        let done = unsafe {
            ff::sws_scale(
                self.0,
                planes.as_ptr(),
                lines.as_ptr(),
                0,
                c_int::try_from(from_height).unwrap_or(0),
                to.as_ptr(),
                to_lines.as_ptr(),
            )
        };
        match Error::check(done)? {
            done if usize::try_from(done) == Ok(height) => Ok(()),
            _ => Err(Error(ff::AVERROR(ff::EINVAL))),
        }
    }
}

impl Picture {
    /// How its samples, of so many bits, become RGB.
    pub fn colours(&self, bits: u32) -> Colours {
        let (matrix, is_full_range) = colours_of(self);
        // SAFETY: gives one of a few static tables of four numbers, whatever the matrix.
        let coefficients = unsafe { *ff::sws_getCoefficients(matrix).cast::<[c_int; 4]>() };
        Colours { coefficients, is_full_range, bits }
    }

    /// `None` for pixels that are in the memory of a graphics card, or of no format that is known.
    pub fn nature(&self) -> Option<Nature> {
        let format = pixel_format(format_of(self))?;
        // SAFETY: descriptors are static, or null.
        let descriptor = unsafe { ff::av_pix_fmt_desc_get(format).as_ref()? };
        let has = |flag: c_int| descriptor.flags & u64::try_from(flag).unwrap_or(0) != 0;
        if has(ff::AV_PIX_FMT_FLAG_HWACCEL) {
            return None;
        }
        let parts = descriptor.comp.get(..usize::from(descriptor.nb_components)).unwrap_or_default();
        let bits = parts.iter().map(|part| part.depth).max().unwrap_or(8);
        let sample_bytes = if bits > 8 { 2 } else { 1 };
        let in_order = !has(ff::AV_PIX_FMT_FLAG_BE) || bits <= 8;
        let is_planar = parts.len() == 3
            && has(ff::AV_PIX_FMT_FLAG_PLANAR)
            && !has(ff::AV_PIX_FMT_FLAG_RGB)
            && !has(ff::AV_PIX_FMT_FLAG_ALPHA)
            && in_order
            && cfg!(target_endian = "little")
            && matches!(bits, 8 | 9 | 10 | 12 | 14 | 16)
            && parts.iter().enumerate().all(|(number, part)| {
                part.plane == c_int::try_from(number).unwrap_or(-1)
                    && part.depth == bits
                    && part.shift == 0
                    && part.offset == 0
                    && part.step == sample_bytes
            });
        Some(Nature {
            is_gray: parts.len() <= 2 && !has(ff::AV_PIX_FMT_FLAG_RGB) && !has(ff::AV_PIX_FMT_FLAG_PAL),
            has_alpha: has(ff::AV_PIX_FMT_FLAG_ALPHA) || has(ff::AV_PIX_FMT_FLAG_PAL),
            is_deep: bits > 8,
            planar_bits: u32::try_from(bits).ok().filter(|_| is_planar),
        })
    }

    /// The planes of a picture whose nature is planar.
    pub fn planes(&self) -> Option<[Plane<'_>; 3]> {
        let bytes = if self.nature()?.planar_bits? > 8 { 2 } else { 1 };
        let format = pixel_format(format_of(self))?;
        let (width, height) = self.size();
        // SAFETY: descriptors are static, or null; the frame is ours.
        let (descriptor, frame) = unsafe { (ff::av_pix_fmt_desc_get(format).as_ref()?, &*self.pointer()) };
        let plane = |number: usize| {
            let (across, down) = match number {
                0 => (0, 0),
                _ => (u32::from(descriptor.log2_chroma_w), u32::from(descriptor.log2_chroma_h)),
            };
            let (width, height) = (width.div_ceil(1 << across), height.div_ceil(1 << down));
            // Lines that go upwards are left to the other way.
            let line_bytes = usize::try_from(*frame.linesize.get(number)?).ok()?;
            let data = *frame.data.get(number)?;
            let last = (height as usize).checked_sub(1)? * line_bytes;
            if data.is_null() || line_bytes % bytes != 0 || line_bytes < width as usize * bytes {
                return None;
            }
            // Cropping moves the begin of the planes, so that the end of the last line may lie behind the buffer.
            let length = last + line_bytes;
            if !is_whole(frame, data, length) {
                return None;
            }
            // SAFETY: within a buffer of the frame, as was just seen; nobody writes to a decoded frame.
            let bytes = unsafe { std::slice::from_raw_parts(data.cast_const(), length) };
            Some(Plane { bytes, line_bytes, width, height })
        };
        Some([plane(0)?, plane(1)?, plane(2)?])
    }
}

/// Whether so many bytes from `data` on lie in one of the frame's buffers.
fn is_whole(frame: &ff::AVFrame, data: *const u8, length: usize) -> bool {
    frame.buf.iter().filter(|buffer| !buffer.is_null()).any(|buffer| {
        // SAFETY: a buffer of the frame.
        let (start, size) = unsafe { ((**buffer).data as usize, (**buffer).size) };
        let data = data as usize;
        data >= start && data - start <= size && size - (data - start) >= length
    })
}

fn format_of(picture: &Picture) -> c_int {
    // SAFETY: the frame is ours.
    unsafe { (*picture.pointer()).format }
}

/// The matrix by its number in libswscale, and whether samples use the full range. What is not told is BT.601 and the
/// limited range, as FFmpeg has it. What is RGB already is taken there and back by the same matrix.
fn colours_of(picture: &Picture) -> (c_int, bool) {
    // SAFETY: the frame is ours.
    let frame = unsafe { &*picture.pointer() };
    let format = pixel_format(frame.format);
    let is_full_by_format = format.is_some_and(|format| {
        // SAFETY: names are static, or null.
        let name = unsafe { ff::av_get_pix_fmt_name(format) };
        // SAFETY: as above.
        let name = if name.is_null() { c"".to_bytes() } else { unsafe { CStr::from_ptr(name) }.to_bytes() };
        name.starts_with(b"yuvj") || name.starts_with(b"gray")
    });
    let is_full = match frame.color_range {
        ff::AVColorRange::AVCOL_RANGE_JPEG => true,
        ff::AVColorRange::AVCOL_RANGE_MPEG => false,
        _ => is_full_by_format,
    };
    let is_rgb = format.is_some_and(|format| {
        // SAFETY: descriptors are static, or null.
        let descriptor = unsafe { ff::av_pix_fmt_desc_get(format).as_ref() };
        descriptor.is_some_and(|descriptor| descriptor.flags & u64::from(ff::AV_PIX_FMT_FLAG_RGB as u32) != 0)
    });
    (if is_rgb { ff::SWS_CS_DEFAULT } else { frame.colorspace as c_int }, is_full)
}

/// A pixel format by its number, as FFmpeg gives it in frames.
fn pixel_format(number: c_int) -> Option<AVPixelFormat> {
    let is_known = (0..AVPixelFormat::AV_PIX_FMT_NB as c_int).contains(&number);
    // SAFETY: the formats are numbered without gaps, and the enum was made from the headers of this very library.
    is_known.then(|| unsafe { std::mem::transmute::<c_int, AVPixelFormat>(number) })
}
