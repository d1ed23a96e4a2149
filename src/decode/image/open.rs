//! From the bytes of a file to a decoder whose size is known and allowed, or to a reason why not.

use image::{ImageDecoder, ImageError, ImageFormat, ImageReader};

use super::Limits;
use super::ending::two_numbers;
use super::pixels::Raster;
use crate::decode::Rejection;
use crate::decode::metered::Metered;

/// Extensions (lower case, no dot) of every format that is decoded.
///
/// They serve to find sources and to word messages. A file is decoded by what it holds: only TGA, which has no
/// signature, goes by its extension.
pub const EXTENSIONS: &[&str] = &[
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff", "pnm", "pbm", "pgm",
    "ppm", "pam", "qoi", "tga", "icb", "vda", "vst", "ico", "hdr", "exr", "dds", "ff", "farbfeld",
];

const TGA_EXTENSIONS: &[&str] = &["tga", "icb", "vda", "vst"];
const FORMAT_NAMES: &str = "PNG, JPEG, WebP, GIF, BMP, TIFF, PNM, QOI, TGA, ICO, HDR, EXR, DDS, farbfeld";

/// The largest width and height: what JPEG can hold, and far more than a row needs.
const SIDE_PIXELS_MAX: u32 = 65_535;

/// First bytes that say what cannot be decoded: offset, bytes, name.
const FOREIGN: &[(usize, &[u8], &str)] = &[
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftypavis", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftyphev", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftyp", "an MP4 or QuickTime file"),
    (0, b"\0\0\0\x0CJXL ", "a JPEG XL image"),
    (0, b"\xFF\x0A", "a JPEG XL image"),
    (0, b"\0\0\0\x0CjP  ", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"<svg", "an SVG drawing"),
];

/// The format of a file, by its first bytes; by its extension where the format has no signature.
pub(super) fn identify(bytes: &[u8], extension: Option<&str>) -> Result<ImageFormat, Rejection> {
    if bytes.is_empty() {
        return Err(Rejection::new("the file is empty"));
    }
    if let Some((_, _, name)) =
        FOREIGN.iter().find(|(offset, start, _)| bytes.get(*offset..).is_some_and(|at| at.starts_with(start)))
    {
        return Err(Rejection::new(format!("{name}, which is not decoded (what is: {FORMAT_NAMES})")));
    }
    if let Ok(format) = image::guess_format(bytes) {
        return Ok(format);
    }
    // BigTIFF, which the library reads and does not recognise.
    if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") {
        return Ok(ImageFormat::Tiff);
    }
    if extension.is_some_and(|extension| TGA_EXTENSIONS.contains(&extension)) {
        return Ok(ImageFormat::Tga);
    }
    Err(Rejection::new(format!(
        "not an image that can be decoded: it begins with {} (known are {FORMAT_NAMES})",
        start_of(bytes)
    )))
}

/// The name of a format in messages.
pub(super) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Pnm => "PNM",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Tga => "TGA",
        ImageFormat::Dds => "DDS",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Ico => "ICO",
        ImageFormat::Hdr => "HDR",
        ImageFormat::OpenExr => "EXR",
        ImageFormat::Farbfeld => "farbfeld",
        ImageFormat::Qoi => "QOI",
        _ => "image",
    }
}

/// A decoder that has read the header. The library may take as much memory again as the decoded image does, for its
/// own copies. `chunks`: see `Outline::chunks`.
pub(super) fn open(
    format: ImageFormat,
    bytes: &[u8],
    chunks: u64,
    limits: &Limits,
) -> Result<impl ImageDecoder, Rejection> {
    /// What the library reads beyond what it needs, at most, each time.
    const AHEAD_BYTES: u64 = 64 << 10;
    let file = Metered::new(bytes, chunks.saturating_mul(AHEAD_BYTES));
    let mut reader = ImageReader::with_format(file, format);
    reader.limits(library_limits(format, bytes, limits));
    reader.into_decoder().map_err(|error| decoder_failed(format, error))
}

/// The limits for the library. It is not told the largest side: it would refuse without saying what it found. Of a PNG, the
/// profile and texts are bounded as well: it unpacks them to whatever they come to, a thousand times as much at most.
pub(super) fn library_limits(format: ImageFormat, bytes: &[u8], limits: &Limits) -> image::Limits {
    const PNG_PIXEL_BYTES_MAX: u64 = 8;
    const PNG_BESIDES_BYTES: u64 = 64 << 20;
    let mut library_limits = image::Limits::no_limits();
    let mut bytes_max = limits.max_decoded_bytes.saturating_mul(2);
    if format == ImageFormat::Png
        && let Some((width, height)) = png_size(bytes)
    {
        let pixels = u64::from(width).saturating_mul(u64::from(height));
        bytes_max = bytes_max.min(pixels.saturating_mul(2 * PNG_PIXEL_BYTES_MAX).saturating_add(PNG_BESIDES_BYTES));
    }
    library_limits.max_alloc = Some(bytes_max);
    library_limits
}

/// Width and height in the first chunk of a PNG.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    bytes.get(16..)?.first_chunk().map(|size| two_numbers(*size))
}

/// Refuses an image that is empty or too large. `further_bytes`: what decoding holds besides the pixels.
pub(super) fn check_size(raster: Raster, further_bytes: u64, limits: &Limits) -> Result<(), Rejection> {
    let Raster { width, height, .. } = raster;
    let pixels = check_sides(width, height, limits)?;
    let bytes = pixels.saturating_mul(raster.pixel_bytes() as u64).saturating_add(further_bytes);
    if bytes > limits.max_decoded_bytes {
        return Err(Rejection::new(format!(
            "the image is {width} x {height} pixels and takes {bytes} bytes to decode, more than the limit of {}",
            limits.max_decoded_bytes
        )));
    }
    Ok(())
}

/// Refuses an image that is empty or has too many pixels; gives their number.
pub(super) fn check_sides(width: u32, height: u32, limits: &Limits) -> Result<u64, Rejection> {
    if width == 0 || height == 0 {
        return Err(Rejection::new(format!("the image is {width} x {height} pixels: there is nothing in it")));
    }
    if width > SIDE_PIXELS_MAX || height > SIDE_PIXELS_MAX {
        return Err(Rejection::new(format!(
            "the image is {width} x {height} pixels, more than the limit of {SIDE_PIXELS_MAX} on a side"
        )));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        return Err(Rejection::new(format!(
            "the image is {width} x {height} pixels, {pixels} in all, more than the limit of {}",
            limits.max_pixels
        )));
    }
    Ok(pixels)
}

/// The library's own words, without its framing, in one line behind the name of the format.
pub(super) fn decoder_failed(format: ImageFormat, error: ImageError) -> Rejection {
    let words = match &error {
        ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file ends within the image: it was cut short".to_owned()
        }
        ImageError::Decoding(decoding) => match std::error::Error::source(decoding) {
            Some(cause) => cause.to_string(),
            None => decoding.to_string(),
        },
        ImageError::Unsupported(_) => match kinds(format) {
            Some(kinds) => format!("this kind of it is not decoded, expected {kinds}: save it as PNG ({error})"),
            None => error.to_string(),
        },
        other => other.to_string(),
    };
    Rejection::new(format!("{}: {}", name(format), one_line(&words)))
}

/// What is decoded of formats of which much is not.
fn kinds(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Tiff => Some(
            "gray of 8 or 16 bits, RGB of them with alpha or without, RGB of floating point, CMYK, or black and white",
        ),
        ImageFormat::Dds => Some("pixels compressed by DXT1, DXT3 or DXT5"),
        _ => None,
    }
}

/// Any text as one line of a bearable length.
fn one_line(text: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    let words = text
        .split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty());
    let mut line = words.collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(CHARACTERS_MAX) {
        line.truncate(end);
        line.push_str("...");
    }
    line
}

/// The first bytes of a file: as text where they are text, else as numbers.
fn start_of(bytes: &[u8]) -> String {
    let start = bytes.get(..24).unwrap_or(bytes);
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character may be cut by the end of the excerpt; anything else is no text.
        Err(error) if error.error_len().is_none() => {
            start.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or("")
        }
        Err(_) => "",
    };
    let printable = |character: char| !character.is_control() || matches!(character, '\t' | '\n' | '\r');
    if !text.is_empty() && text.chars().all(printable) {
        return format!("the text \"{}\"", text.escape_debug());
    }
    let numbers: Vec<String> = bytes.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", numbers.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::pixels::Depth;
    use super::*;

    fn reason(bytes: &[u8], extension: Option<&str>) -> String {
        identify(bytes, extension).unwrap_err().reason.into_owned()
    }

    #[test]
    fn contents_decide_and_the_extension_only_for_tga() {
        assert_eq!(identify(b"\x89PNG\r\n\x1a\n", Some("jpg")).unwrap(), ImageFormat::Png);
        assert_eq!(identify(b"\x89PNG\r\n\x1a\n", Some("tga")).unwrap(), ImageFormat::Png);
        assert_eq!(identify(b"\0\0\x02\0\0\0\0\0", Some("tga")).unwrap(), ImageFormat::Tga);
        assert!(identify(b"\0\0\x02\0\0\0\0\0", Some("png")).is_err());
    }

    #[test]
    fn what_is_no_image_is_described() {
        assert_eq!(reason(b"", Some("png")), "the file is empty");
        assert_eq!(
            reason(b"hello\n\"world\"", None),
            format!(
                "not an image that can be decoded: it begins with the text \"hello\\n\\\"world\\\"\" (known are {FORMAT_NAMES})"
            )
        );
        assert!(reason(b"\x01\x02\xFF", Some("png")).contains("it begins with the bytes 01 02 ff ("));
        assert!(reason("ääääääääääääääää".as_bytes(), None).contains("the text \"ääää"));
        assert!(reason(b"\0\0\0\x18ftypheic....", None).starts_with("a HEIC image, which is not decoded"));
        assert!(reason(b"\0\0\0\x18ftypavif....", None).starts_with("an AVIF image"));
    }

    #[test]
    fn what_is_beside_the_pixels_of_a_png_is_bounded() {
        let limits = Limits { max_pixels: 1 << 20, max_decoded_bytes: 1 << 30 };
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x05\0\0\0\x04";
        assert_eq!(library_limits(ImageFormat::Png, png, &limits).max_alloc, Some(5 * 4 * 16 + (64 << 20)));
        assert_eq!(library_limits(ImageFormat::Gif, png, &limits).max_alloc, Some(2 << 30));
        let large = [&png[..16], &[0xFF; 8]].concat();
        assert_eq!(library_limits(ImageFormat::Png, &large, &limits).max_alloc, Some(2 << 30));
    }

    #[test]
    fn limits_name_what_was_found() {
        let limits = Limits { max_pixels: 1_000_000, max_decoded_bytes: 2_000_000 };
        let check = |width, height, channels, further_bytes| {
            let raster = Raster { width, height, channels, depth: Depth::U8 };
            check_size(raster, further_bytes, &limits).map_err(|rejection| rejection.reason.into_owned())
        };
        assert_eq!(check(1000, 1000, 2, 0), Ok(()));
        assert_eq!(
            check(50000, 50000, 3, 0).unwrap_err(),
            "the image is 50000 x 50000 pixels, 2500000000 in all, more than the limit of 1000000"
        );
        assert_eq!(
            check(70000, 1, 1, 0).unwrap_err(),
            "the image is 70000 x 1 pixels, more than the limit of 65535 on a side"
        );
        assert_eq!(
            check(1000, 1000, 3, 0).unwrap_err(),
            "the image is 1000 x 1000 pixels and takes 3000000 bytes to decode, more than the limit of 2000000"
        );
        assert!(check(1000, 1000, 1, 1_000_001).is_err());
        assert!(check(0, 7, 1, 0).unwrap_err().contains("0 x 7"));
    }

    #[test]
    fn kinds_that_are_not_decoded_are_told() {
        let limits = Limits { max_pixels: 1 << 20, max_decoded_bytes: 1 << 30 };
        let dds =
            [b"DDS ".as_slice(), &124_u32.to_le_bytes(), &0x100F_u32.to_le_bytes(), &[4, 0, 0, 0].repeat(16)].concat();
        // Pixel format: its length, RGB without compression.
        let dds = [&dds[..76], &32_u32.to_le_bytes(), &0x40_u32.to_le_bytes(), &[0; 44]].concat();
        let reason = open(ImageFormat::Dds, &dds, 0, &limits).err().unwrap().reason;
        assert!(
            reason.starts_with("DDS: this kind of it is not decoded, expected pixels compressed by DXT1"),
            "{reason}"
        );
    }

    #[test]
    fn messages_are_one_line() {
        assert_eq!(one_line("two\n  lines\tand\u{7} a bell"), "two lines and a bell");
        assert_eq!(one_line(&"x".repeat(1000)).len(), 303);
    }
}
