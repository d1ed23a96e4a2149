//! Whether a file is all there, for the formats whose decoders do not ask.
//!
//! Decoders stop when they have the pixels that they were asked for, or, some of them, when there are no more. What a
//! file says about its own length or end is checked here before one is set to work: the end-of-image marker of JPEG
//! (see `jpeg_end`), the `IEND` chunk of PNG, the trailer of GIF, the size in the header of WebP, the directory of ICO.
//! Animations could otherwise lose frames unnoticed. The decoders of all other formats fail where pixels are missing;
//! what may lack there unnoticed is what stands behind the pixels (a TGA footer), and the last digit of the last number
//! of a PNM written in digits, which nothing tells from a shorter number. Of some it is checked what their headers claim (see `claims`
//! and `tiff`).
//!
//! Sources: PNG (Third Edition) 5.3, 11.2.5, 11.3.3; GIF89a 15 to 27; the WebP container specification.

use image::ImageFormat;

use super::claims::{self, WebpChunk};
use super::jpeg_end::{self, JpegOutline};
use super::jpeg_frame::PlainJpeg;
use super::open::name;
use super::tiff::{self, TiffClaims};
use crate::decode::Rejection;

/// What was learnt on the way to the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outline<'a> {
    /// The EXIF block. Found here it is also found behind the pixels of a PNG, and without another reading of the
    /// header of a JPEG.
    pub exif: Option<&'a [u8]>,
    /// Width and height, where the decoder would refuse large ones without naming them, or takes memory for more than it tells.
    pub size: Option<(u32, u32)>,
    /// Whether the decoder has to be asked for the orientation: in formats that are not walked for it here.
    pub ask_decoder: bool,
    /// Memory that decoding takes besides the pixels.
    pub further_bytes: u64,
    /// Strips or tiles of a TIFF.
    pub chunks: u64,
    /// Colours are multiplied by alpha, where there is any: in a TIFF.
    pub is_multiplied: bool,
    /// Frames of an animated WebP.
    pub frames: Option<u64>,
    /// What a plain JPEG's header says.
    #[cfg_attr(not(feature = "turbo"), allow(dead_code))]
    pub plain_jpeg: Option<PlainJpeg>,
}

/// Follows a file to its end, as far as its format marks one.
pub(super) fn check(format: ImageFormat, bytes: &[u8]) -> Result<Outline<'_>, Rejection> {
    let asking = Outline { ask_decoder: true, ..Outline::default() };
    match format {
        ImageFormat::Jpeg => {
            let outline = jpeg_end::walk(bytes)?;
            let JpegOutline { exif, further_bytes, plain: plain_jpeg } = outline;
            Ok(Outline { exif, further_bytes, plain_jpeg, ..Outline::default() })
        }
        ImageFormat::Png => walk_png(bytes),
        ImageFormat::Gif => walk_gif(bytes).map(|()| asking),
        ImageFormat::WebP => {
            claims::check_webp(bytes)?;
            walk_webp(bytes)
        }
        ImageFormat::Ico => check_ico(bytes).map(|()| asking),
        ImageFormat::Tiff => {
            let TiffClaims { further_bytes, chunks, is_multiplied } = tiff::check(bytes)?;
            Ok(Outline { further_bytes, chunks, is_multiplied, ..asking })
        }
        ImageFormat::OpenExr => {
            let (size, further_bytes) = claims::check_exr(bytes)?;
            Ok(Outline { size, further_bytes, ..asking })
        }
        _ => Ok(asking),
    }
}

fn cut_short(format: ImageFormat, bytes: &[u8], missing: &str) -> Rejection {
    let (name, length) = (name(format), bytes.len());
    Rejection::new(format!("the {name} ends after {length} bytes {missing}: it was cut short"))
}

/// Chunk after chunk to `IEND`: length (four bytes, big-endian), name, data, checksum. `IHDR` begins with the size.
fn walk_png(bytes: &[u8]) -> Result<Outline<'_>, Rejection> {
    const SIGNATURE_BYTES: usize = 8;
    let ends_early = || cut_short(ImageFormat::Png, bytes, "without its end chunk");
    let mut rest = bytes.get(SIGNATURE_BYTES..).unwrap_or_default();
    let mut outline = Outline::default();
    loop {
        let (chunk_name, length, after) = png_chunk(rest).ok_or_else(ends_early)?;
        if !chunk_name.iter().all(u8::is_ascii_alphabetic) {
            let position = bytes.len() - rest.len();
            return Err(Rejection::new(format!(
                "PNG: there is no chunk at byte {position}, where one has to be: the file is damaged"
            )));
        }
        let (data, after) = after.split_at_checked(length).ok_or_else(ends_early)?;
        let (_checksum, after) = after.split_first_chunk::<4>().ok_or_else(ends_early)?;
        match chunk_name {
            b"IEND" => return Ok(outline),
            b"IHDR" => outline.size = data.first_chunk().map(|size: &[u8; 8]| two_numbers(*size)),
            b"eXIf" => outline.exif = outline.exif.or(Some(data)),
            _ => {}
        }
        rest = after;
    }
}

/// The chunk that the bytes begin with: its name, the length of its data, and these with all that follows.
pub(super) fn png_chunk(bytes: &[u8]) -> Option<(&[u8; 4], usize, &[u8])> {
    let (length, after) = bytes.split_first_chunk()?;
    let (name, after) = after.split_first_chunk()?;
    Some((name, u32::from_be_bytes(*length) as usize, after))
}

pub(super) fn two_numbers([a, b, c, d, e, f, g, h]: [u8; 8]) -> (u32, u32) {
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

/// Block after block to the trailer.
fn walk_gif(bytes: &[u8]) -> Result<(), Rejection> {
    const HEADER_BYTES: usize = 13;
    let ends_early = || cut_short(ImageFormat::Gif, bytes, "without a trailer");
    let colours_bytes = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let flags = *bytes.get(10).ok_or_else(ends_early)?;
    let mut rest = bytes.get(HEADER_BYTES + colours_bytes(flags)..).ok_or_else(ends_early)?;
    loop {
        let (introducer, after) = rest.split_first().ok_or_else(ends_early)?;
        let skipped = match introducer {
            0x3B => return Ok(()),
            // An extension: its label, then sub-blocks.
            0x21 => 1,
            // An image: its place and size, flags, a colour table, the width of the codes, then sub-blocks.
            0x2C => 9 + colours_bytes(*after.get(8).ok_or_else(ends_early)?) + 1,
            _ => {
                let position = bytes.len() - rest.len();
                return Err(Rejection::new(format!(
                    "GIF: there is no block at byte {position}, where one has to be: the file is damaged"
                )));
            }
        };
        rest = after.get(skipped..).ok_or_else(ends_early)?;
        loop {
            let (length, after) = rest.split_first().ok_or_else(ends_early)?;
            rest = after.get(usize::from(*length)..).ok_or_else(ends_early)?;
            if *length == 0 {
                break;
            }
        }
    }
}

/// Those that are read, of the container specification.
const WEBP_CHUNKS: [[u8; 4]; 9] =
    [*b"VP8 ", *b"VP8L", *b"VP8X", *b"ALPH", *b"ANIM", *b"ANMF", *b"ICCP", *b"EXIF", *b"XMP "];

/// The header says how many bytes follow its first eight: chunk after chunk. The decoder would take memory for what a length claims.
fn walk_webp(bytes: &[u8]) -> Result<Outline<'_>, Rejection> {
    let announced =
        bytes.get(4..).and_then(|size| size.first_chunk()).map(|size| u64::from(u32::from_le_bytes(*size)) + 8);
    let whole = match announced {
        Some(announced) if bytes.len() as u64 >= announced => bytes.get(..announced as usize).unwrap_or(bytes),
        Some(announced) => return Err(cut_short(ImageFormat::WebP, bytes, &format!("of {announced}"))),
        None => return Err(cut_short(ImageFormat::WebP, bytes, "within its header")),
    };
    let mut outline = Outline::default();
    let mut position = 12;
    let is_animated = claims::webp_is_animated(whole);
    outline.frames = is_animated.then_some(0);
    let no_chunk = |position: usize| {
        Rejection::new(format!("WebP: there is no chunk at byte {position}, where one has to be: the file is damaged"))
    };
    while let Some(WebpChunk { name, length, begin }) = claims::webp_chunk(whole, position) {
        // The library takes frames up to what is no chunk, or is another one than a frame.
        let is_lost = || {
            let is_known = WEBP_CHUNKS.contains(&name);
            !name.iter().all(|byte| (b' '..=b'~').contains(byte))
                || !is_known && claims::webp_chunk(whole, begin + 16).is_some_and(|part| part.is_picture())
        };
        if is_animated && is_lost() {
            return Err(no_chunk(position));
        }
        match bytes.get(begin..).and_then(|data| data.get(..length)) {
            Some(data) if name == *b"EXIF" => outline.exif = outline.exif.or(Some(data)),
            Some(_) if name == *b"ANMF" => {
                outline.frames = outline.frames.map(|frames| frames + 1);
                // The canvas and a frame of it, of four bytes a pixel.
                let pixels =
                    claims::webp_canvas(bytes).map_or(0, |[width, height]| u64::from(width) * u64::from(height));
                outline.further_bytes = pixels * 8;
            }
            Some(_) => {}
            None if WEBP_CHUNKS.contains(&name) => {
                let chunk = name.escape_ascii();
                let missing = format!("within its chunk \"{chunk}\", which claims {length}");
                return Err(cut_short(ImageFormat::WebP, bytes, &missing));
            }
            None if is_animated => return Err(no_chunk(position)),
            // What is no chunk that a decoder looks at is no harm, whatever it claims.
            None => break,
        }
        position = begin + length.next_multiple_of(2);
    }
    // Zeros may fill up the last bytes, and the last chunk be of an odd length.
    let rest = whole.get(position..).unwrap_or_default();
    if is_animated && (position > whole.len() + 1 || rest.iter().any(|byte| *byte != 0)) {
        return Err(no_chunk(position.min(whole.len())));
    }
    Ok(outline)
}

impl Outline<'_> {
    /// Fewer frames were given than there are.
    pub fn expect_frames(&self, format: ImageFormat, given: u64) -> Result<(), Rejection> {
        match self.frames.filter(|frames| given < *frames) {
            Some(frames) => Err(Rejection::new(format!(
                "{}: it ends after {given} of {frames} frames: the file is damaged",
                name(format)
            ))),
            None => Ok(()),
        }
    }
}

/// What is decoded of a file, and as what: the file itself, or the PNG in it that the library, which takes none but RGBA there,
/// would fail of.
pub(super) fn as_decoded(format: ImageFormat, bytes: &[u8]) -> Result<(ImageFormat, &[u8]), Rejection> {
    let png = if format == ImageFormat::Ico { png_of_ico(bytes)? } else { None };
    Ok(png.map_or((format, bytes), |png| (ImageFormat::Png, png)))
}

/// The PNG that an ICO holds, if that is what the library would take of it: the image of the most bits, then of the most pixels.
fn png_of_ico(bytes: &[u8]) -> Result<Option<&[u8]>, Rejection> {
    check_ico(bytes)?;
    let entries = bytes.get(6..).unwrap_or_default().as_chunks::<16>().0;
    let count = bytes.get(4..).and_then(|count| count.first_chunk()).map_or(0, |count| u16::from_le_bytes(*count));
    let entries = entries.get(..usize::from(count)).unwrap_or_default();
    // A side of 0 is one of 256.
    let side = |side: u8| u32::from(side.wrapping_sub(1)) + 1;
    let rank = |[width, height, _, _, _, _, b0, b1, ..]: &[u8; 16]| {
        (u16::from_le_bytes([*b0, *b1]), side(*width) * side(*height))
    };
    let Some((last, others)) = entries.split_last() else { return Ok(None) };
    let best = others.iter().fold(last, |best, other| if rank(other) > rank(best) { other } else { best });
    let [.., l0, l1, l2, l3, p0, p1, p2, p3] = *best;
    let place = u32::from_le_bytes([p0, p1, p2, p3]) as usize;
    let image = bytes.get(place..).and_then(|rest| rest.get(..u32::from_le_bytes([l0, l1, l2, l3]) as usize));
    Ok(image.filter(|image| image.starts_with(b"\x89PNG\r\n\x1a\n")))
}

/// The directory says where each image lies: the last eight of its sixteen bytes are length and place.
fn check_ico(bytes: &[u8]) -> Result<(), Rejection> {
    let ends_early = || cut_short(ImageFormat::Ico, bytes, "within one of its images");
    let count = bytes
        .get(4..)
        .and_then(|count| count.first_chunk())
        .map(|count| u16::from_le_bytes(*count))
        .ok_or_else(ends_early)?;
    let entries =
        bytes.get(6..).and_then(|directory| directory.get(..usize::from(count) * 16)).ok_or_else(ends_early)?;
    let (entries, _) = entries.as_chunks::<16>();
    let whole = entries.iter().all(|[.., l0, l1, l2, l3, p0, p1, p2, p3]| {
        let length = u64::from(u32::from_le_bytes([*l0, *l1, *l2, *l3]));
        let place = u64::from(u32::from_le_bytes([*p0, *p1, *p2, *p3]));
        place + length <= bytes.len() as u64
    });
    if !whole {
        return Err(ends_early());
    }
    let mut chunks = 0;
    for [.., p0, p1, p2, p3] in entries {
        let place = u32::from_le_bytes([*p0, *p1, *p2, *p3]) as usize;
        check_profile(bytes.get(place..).unwrap_or_default(), &mut chunks)?;
    }
    Ok(())
}

/// The colour profile of a PNG within an ICO: the library unpacks it to whatever it comes to, a thousand times as much at most.
fn check_profile(png: &[u8], chunks: &mut u32) -> Result<(), Rejection> {
    const PACKED_BYTES_MAX: usize = 256 << 10;
    const CHUNKS_MAX: u32 = 100_000;
    let Some(mut rest) = png.strip_prefix(b"\x89PNG\r\n\x1a\n") else { return Ok(()) };
    while let Some((name, length, after)) = png_chunk(rest) {
        *chunks += 1;
        if *chunks > CHUNKS_MAX {
            return Err(Rejection::new("ICO: its PNGs have more than 100000 chunks: the file is damaged"));
        }
        match name {
            b"IDAT" => break,
            b"iCCP" if length > PACKED_BYTES_MAX => {
                return Err(Rejection::new(format!(
                    "ICO: a PNG in it has a colour profile of {length} bytes, more than the limit of {PACKED_BYTES_MAX}: save it \
                     without"
                )));
            }
            _ => {}
        }
        rest = after.get(length.saturating_add(4)..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, data) in chunks {
            bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
            bytes.extend_from_slice(*name);
            bytes.extend_from_slice(data);
            // The walk leaves checksums to the decoder.
            bytes.extend_from_slice(&[0; 4]);
        }
        bytes
    }

    fn every_shorter_one_is_cut_short(format: ImageFormat, whole: &[u8], from: usize) {
        assert!(check(format, whole).is_ok());
        for length in from..whole.len() {
            let rejection = check(format, &whole[..length]).unwrap_err();
            let start = format!("the {} ends after {length} bytes ", name(format));
            assert!(rejection.reason.starts_with(&start), "{length}: {rejection}");
            assert!(rejection.reason.ends_with(": it was cut short"), "{length}: {rejection}");
        }
    }

    #[test]
    fn png_to_its_end_chunk() {
        let whole = png(&[(b"IHDR", &[0; 13]), (b"IDAT", b"IEND"), (b"IEND", b"")]);
        every_shorter_one_is_cut_short(ImageFormat::Png, &whole, 8);
        assert!(check(ImageFormat::Png, &[whole, vec![1, 2, 3]].concat()).is_ok());
    }

    #[test]
    fn exif_is_found_behind_the_pixels_of_a_png() {
        let whole = png(&[(b"IHDR", &[0; 13]), (b"IDAT", b"x"), (b"eXIf", b"II*\0"), (b"IEND", b"")]);
        assert_eq!(check(ImageFormat::Png, &whole).unwrap().exif, Some(&b"II*\0"[..]));
    }

    #[test]
    fn a_png_with_rubbish_for_a_chunk_is_damaged() {
        let whole = png(&[(b"IHDR", &[0; 13]), (b"I\0AT", b"x"), (b"IEND", b"")]);
        assert_eq!(
            check(ImageFormat::Png, &whole).unwrap_err().reason,
            "PNG: there is no chunk at byte 33, where one has to be: the file is damaged"
        );
    }

    #[test]
    fn gif_to_its_trailer() {
        // A global table of two colours; an extension; an image with a local table of four colours and two sub-blocks.
        let mut whole = b"GIF89a\x02\0\x02\0\x80\0\0".to_vec();
        whole.extend_from_slice(&[0; 6]);
        whole.extend_from_slice(&[0x21, 0xF9, 4, 0, 0, 0, 0, 0]);
        whole.extend_from_slice(&[0x2C, 0, 0, 0, 0, 2, 0, 2, 0, 0x81]);
        whole.extend_from_slice(&[0; 12]);
        whole.extend_from_slice(&[2, 1, 0x3B, 2, 0x3B, 0x3B, 0]);
        whole.push(0x3B);
        every_shorter_one_is_cut_short(ImageFormat::Gif, &whole, 6);
    }

    #[test]
    fn webp_to_the_size_in_its_header() {
        let mut whole = b"RIFF\x10\0\0\0WEBPVP8L".to_vec();
        whole.extend_from_slice(&[0; 8]);
        every_shorter_one_is_cut_short(ImageFormat::WebP, &whole, 0);
    }

    #[test]
    fn a_chunk_of_a_webp_claims_no_more_than_the_file_holds() {
        let with = |chunk: &[u8]| {
            let chunks = [&b"WEBPVP8L\x01\0\0\0/\0"[..], chunk].concat();
            [&b"RIFF"[..], &(chunks.len() as u32).to_le_bytes(), &chunks].concat()
        };
        let with_exif = |length: u8| with(&[&b"EXIF"[..], &[length, 0, 0, 0], b"II*\0"].concat());
        assert_eq!(check(ImageFormat::WebP, &with_exif(4)).unwrap().exif, Some(&b"II*\0"[..]));
        assert!(check(ImageFormat::WebP, &with(b"junk\xff\xff\xff\xff")).is_ok());
        assert_eq!(
            check(ImageFormat::WebP, &with_exif(5)).unwrap_err().reason,
            "the WebP ends after 34 bytes within its chunk \"EXIF\", which claims 5: it was cut short"
        );
    }

    #[test]
    fn chunks_of_an_animated_webp_take_up_the_file() {
        let chunk = |name: &[u8; 4], data: &[u8]| [&name[..], &(data.len() as u32).to_le_bytes(), data].concat();
        let frame = |name: &[u8; 4]| chunk(name, &[&[0; 16][..], &chunk(b"VP8L", b"/\0\0\0")].concat());
        let with = |chunks: &[Vec<u8>]| {
            let begin = [chunk(b"VP8X", &[2, 0, 0, 0, 1, 0, 0, 1, 0, 0]), chunk(b"ANIM", &[0; 6]), frame(b"ANMF")];
            let all = [&b"WEBP"[..], &begin.concat(), &chunks.concat()].concat();
            [&b"RIFF"[..], &(all.len() as u32).to_le_bytes(), &all].concat()
        };
        let found = |bytes: &[u8]| check(ImageFormat::WebP, bytes).map(|outline| outline.frames);
        assert_eq!(found(&with(&[frame(b"ANMF"), chunk(b"EXIF", b"II*\0")])), Ok(Some(2)));
        // What others put behind the frames, or behind the whole; zeros; no byte to fill up the last chunk.
        for last in [chunk(b"own ", b"abcd"), vec![0; 3], chunk(b"XMP ", b"abc")] {
            assert_eq!(found(&[with(&[frame(b"ANMF"), last]), b"some text".to_vec()].concat()), Ok(Some(2)));
        }
        let begin = with(&[]).len();
        let damaged = |chunks: &[Vec<u8>]| found(&with(chunks)).unwrap_err().reason;
        for chunks in [vec![frame(b"@NMF")], vec![vec![0; 60]], vec![b"ab".to_vec()], vec![chunk(b"\0own", b"abcd")]] {
            assert_eq!(
                damaged(&chunks),
                format!("WebP: there is no chunk at byte {begin}, where one has to be: the file is damaged")
            );
        }
        assert!(damaged(&[b"own \xff\xff\xff\x7f".to_vec(), frame(b"ANMF")]).starts_with("WebP: there is no chunk"));
        let outline = Outline { frames: Some(3), ..Outline::default() };
        assert!(outline.expect_frames(ImageFormat::WebP, 3).is_ok());
        assert_eq!(
            outline.expect_frames(ImageFormat::WebP, 2).unwrap_err().reason,
            "WebP: it ends after 2 of 3 frames: the file is damaged"
        );
    }

    #[test]
    fn ico_to_the_end_of_its_images() {
        let mut whole = vec![0, 0, 1, 0, 1, 0];
        whole.extend_from_slice(&[16, 16, 0, 0, 1, 0, 32, 0, 5, 0, 0, 0, 22, 0, 0, 0]);
        whole.extend_from_slice(&[0; 5]);
        every_shorter_one_is_cut_short(ImageFormat::Ico, &whole, 4);
    }
}
