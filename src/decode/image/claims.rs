//! What the headers of EXR and WebP claim, where the libraries would take memory for a claim before they find that there is no
//! such thing (`tiff` does the same for TIFF). Memory that cannot be had would end the program.
//!
//! Sources: OpenEXR File Layout; the WebP container specification; RFC 6386.

use crate::decode::Rejection;

/// Rows of a block that is no tile, by its compression: none, RLE, ZIPS; ZIP and PXR24; and the others, but DWA.
fn exr_block_rows(compression: Option<u8>) -> u64 {
    match compression {
        Some(0..=2) => 1,
        Some(3 | 5) => 16,
        _ => 32,
    }
}

/// What the library notes of each block.
const EXR_ENTRY_BYTES: u64 = 64;
/// The largest block: the library keeps a buffer of that size for each thread.
const EXR_BLOCK_BYTES_MAX: u64 = 256 << 20;

/// The size of the data window, and the bytes that the library may take for one block of it and for the list of all blocks. The
/// image that the library announces has the size of the display window. Of several parts, what the largest ones take.
///
/// A header is attribute after attribute: a name and a type, each ended by a zero, the length of the value (four bytes,
/// little-endian) and the value. A zero ends it; a file of several parts has several. What is merely missing, the library finds.
pub(super) fn check_exr(bytes: &[u8]) -> Result<(Option<(u32, u32)>, u64), Rejection> {
    const SEVERAL_PARTS: u8 = 0x10;
    let has_parts = bytes.get(5).is_some_and(|flags| flags & SEVERAL_PARTS != 0);
    let (mut windows, mut tiles, mut pixel_bytes, mut block_rows) = (Vec::new(), Vec::new(), 0, None);
    let mut rest = bytes.get(8..).unwrap_or_default();
    loop {
        if let Some(after) = rest.strip_prefix(b"\0") {
            if !has_parts || after.first().is_none_or(|next| *next == 0) {
                break;
            }
            rest = after;
        }
        let Some((ExrAttribute { name, kind, value }, after)) = exr_attribute(rest) else { break };
        rest = after;
        match (name, kind) {
            (b"dataWindow", b"box2i") => windows.push(exr_window(value)?),
            (b"tiles", b"tiledesc") => tiles.extend(exr_tile(value)),
            (b"channels", b"chlist") => pixel_bytes = pixel_bytes.max(exr_pixel_bytes(value)),
            (b"compression", b"compression") if matches!(value, [8 | 9, ..]) => {
                return Err(Rejection::new(
                    "EXR: it is compressed by DWA, which is not read, as its blocks may claim any memory: store it with ZIP, \
                     PIZ or PXR24",
                ));
            }
            (b"compression", b"compression") => {
                block_rows = block_rows.max(Some(exr_block_rows(value.first().copied())));
            }
            _ => {}
        }
    }
    let block_rows = block_rows.unwrap_or(exr_block_rows(None));
    let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    let size = windows.iter().copied().max_by_key(|window| pixels(*window));
    let lines = windows.iter().map(|(width, _)| u64::from(*width) * block_rows);
    let block_pixels = tiles.iter().copied().map(pixels).chain(lines).max().unwrap_or(0);
    // A tile for each so many pixels; smaller copies of the image may be there as well, three times as much at most.
    let least_tile = tiles.iter().copied().map(pixels).min().unwrap_or(u64::MAX).max(1);
    let blocks = size.map_or(0, |size| 4 * (pixels(size) / least_tile));
    let block_bytes = block_pixels.saturating_mul(pixel_bytes);
    if block_bytes > EXR_BLOCK_BYTES_MAX {
        return Err(Rejection::new(format!(
            "EXR: a block or tile of it may have {block_bytes} bytes, more than the limit of {EXR_BLOCK_BYTES_MAX}: store it in \
             smaller tiles, or in lines"
        )));
    }
    Ok((size, block_bytes.saturating_add(blocks.saturating_mul(EXR_ENTRY_BYTES))))
}

/// An attribute in the header of an EXR.
struct ExrAttribute<'a> {
    name: &'a [u8],
    kind: &'a [u8],
    value: &'a [u8],
}

/// The attribute that the bytes begin with, and what follows it.
fn exr_attribute(bytes: &[u8]) -> Option<(ExrAttribute<'_>, &[u8])> {
    let (name, rest) = until_zero(bytes)?;
    let (kind, rest) = until_zero(rest)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((ExrAttribute { name, kind, value }, rest))
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// Width and height of a window, which is written as its first column and row, and its last ones.
fn exr_window(value: &[u8]) -> Result<(u32, u32), Rejection> {
    let corners = value.first_chunk::<16>().map(|corners| {
        let (corners, _) = corners.as_chunks::<4>();
        corners.iter().map(|corner| i64::from(i32::from_le_bytes(*corner))).collect::<Vec<_>>()
    });
    let [left, top, right, bottom] = *corners.as_deref().unwrap_or_default() else {
        let length = value.len();
        return Err(Rejection::new(format!(
            "EXR: the data window has {length} bytes, expected 16: the file is damaged"
        )));
    };
    let side = |first: i64, last: i64| u32::try_from(last - first + 1).ok().filter(|side| *side > 0);
    side(left, right).zip(side(top, bottom)).ok_or_else(|| {
        Rejection::new(format!(
            "EXR: the data window from ({left}, {top}) to ({right}, {bottom}) is empty or too large: the file is damaged"
        ))
    })
}

/// Width and height of a tile.
fn exr_tile(value: &[u8]) -> Option<(u32, u32)> {
    let [w0, w1, w2, w3, h0, h1, h2, h3] = *value.first_chunk()?;
    Some((u32::from_le_bytes([w0, w1, w2, w3]), u32::from_le_bytes([h0, h1, h2, h3])))
}

/// All channels: of each its name, its type (four bytes; 1 for half floats) and twelve bytes more.
fn exr_pixel_bytes(mut value: &[u8]) -> u64 {
    let mut bytes = 0;
    while let Some((_, rest)) = until_zero(value)
        && let Some((kind, rest)) = rest.split_first_chunk()
        && let Some(rest) = rest.get(12..)
    {
        bytes += if u32::from_le_bytes(*kind) == 1 { 2 } else { 4 };
        value = rest;
    }
    bytes
}

/// A chunk of a WebP: a name, the length of what follows (four bytes, little-endian) and that, to an even number of bytes.
pub(super) struct WebpChunk {
    pub name: [u8; 4],
    pub length: usize,
    /// Where what follows begins.
    pub begin: usize,
}

impl WebpChunk {
    /// It begins the pixels of a picture, or of a frame.
    pub fn is_picture(&self) -> bool {
        matches!(&self.name, b"VP8 " | b"VP8L" | b"ALPH")
    }
}

/// The chunk that begins at `position`.
pub(super) fn webp_chunk(bytes: &[u8], position: usize) -> Option<WebpChunk> {
    let [n0, n1, n2, n3, l0, l1, l2, l3] = *bytes.get(position..)?.first_chunk()?;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    Some(WebpChunk { name: [n0, n1, n2, n3], length, begin: position + 8 })
}

/// Width and height of the whole image, of an extended WebP: less one, in three bytes each, behind four of flags.
pub(super) fn webp_canvas(bytes: &[u8]) -> Option<[u32; 2]> {
    let extended = webp_chunk(bytes, 12).filter(|chunk| chunk.name == *b"VP8X")?;
    let [w0, w1, w2, h0, h1, h2] = *bytes.get(extended.begin + 4..)?.first_chunk()?;
    Some([[w0, w1, w2, 0], [h0, h1, h2, 0]].map(|size| u32::from_le_bytes(size) + 1))
}

/// Whether an extended WebP says of itself that it is animated.
pub(super) fn webp_is_animated(bytes: &[u8]) -> bool {
    const ANIMATION: u8 = 2;
    let extended = webp_chunk(bytes, 12).filter(|chunk| chunk.name == *b"VP8X");
    extended.and_then(|chunk| bytes.get(chunk.begin)).is_some_and(|flags| flags & ANIMATION != 0)
}

/// No lossy frame may be larger than the image that it is a part of: the library takes memory for it before it compares. The
/// chunks are those that the library looks at, where it looks for them.
pub(super) fn check_webp(bytes: &[u8]) -> Result<(), Rejection> {
    let (Some(extended), Some(canvas)) = (webp_chunk(bytes, 12), webp_canvas(bytes)) else { return Ok(()) };
    let (mut position, mut first_frame) = (extended.begin + extended.length.next_multiple_of(2), None);
    while let Some(chunk) = webp_chunk(bytes, position) {
        match &chunk.name {
            b"VP8 " => check_webp_frame(canvas, bytes, chunk.begin)?,
            b"ANMF" => first_frame = first_frame.or(Some(position)),
            _ => {}
        }
        position = chunk.begin + chunk.length.next_multiple_of(2);
    }
    // The frames of an animation: each of place, size and time, then at most a chunk of opacities and one of colours. From
    // one to the next, the library does not step to an even number.
    let mut position = first_frame.unwrap_or(bytes.len());
    while let Some(frame) = webp_chunk(bytes, position).filter(|chunk| chunk.name == *b"ANMF") {
        let mut colours = webp_chunk(bytes, frame.begin + 16);
        let mut is_lossy = colours.as_ref().is_some_and(|first| first.name == *b"VP8 ");
        if let Some(opacities) = colours.as_ref().filter(|first| first.name == *b"ALPH") {
            // Whatever the name of what follows, the library takes it for a lossy frame.
            colours = webp_chunk(bytes, opacities.begin + opacities.length.next_multiple_of(2));
            is_lossy = true;
        }
        if let Some(colours) = colours.filter(|_| is_lossy) {
            check_webp_frame(canvas, bytes, colours.begin)?;
        }
        position = frame.begin + frame.length;
    }
    Ok(())
}

/// The size of a lossy frame: 14 bits each, behind three bytes of flags and three that are the same in all (RFC 6386, 9.1).
fn check_webp_frame([canvas_width, canvas_height]: [u32; 2], bytes: &[u8], begin: usize) -> Result<(), Rejection> {
    let size = bytes.get(begin + 6..).and_then(|size| size.first_chunk());
    let Some([w0, w1, h0, h1]) = size.copied() else { return Ok(()) };
    let [width, height] = [[w0, w1], [h0, h1]].map(|size| u32::from(u16::from_le_bytes(size) & 0x3FFF));
    if width > canvas_width || height > canvas_height {
        return Err(Rejection::new(format!(
            "WebP: there is a frame of {width} x {height} pixels in an image of {canvas_width} x {canvas_height}: the file is \
             damaged"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exr_is_as_large_as_its_data_window() {
        let attribute = |name: &str, kind: &str, value: &[u8]| {
            [name.as_bytes(), b"\0", kind.as_bytes(), b"\0", &(value.len() as u32).to_le_bytes(), value].concat()
        };
        let channel = |name: &str, kind: u8| [name.as_bytes(), &[0, kind, 0, 0, 0], &[0; 12]].concat();
        let part = |window: [i32; 4]| {
            let corners = window.map(i32::to_le_bytes).concat();
            let channels = [channel("G", 1), channel("Z", 2), vec![0]].concat();
            [attribute("channels", "chlist", &channels), attribute("dataWindow", "box2i", &corners), vec![0]].concat()
        };
        let file = |flags: u8, parts: &[[i32; 4]]| {
            let parts: Vec<u8> = parts.iter().flat_map(|window| part(*window)).collect();
            [&[0x76, 0x2F, 0x31, 0x01, 2, flags, 0, 0], parts.as_slice(), &[0]].concat()
        };
        let found = check_exr;
        assert_eq!(found(&file(0, &[[-2, 3, 7, 6]])), Ok((Some((10, 4)), 10 * 32 * 6)));
        assert_eq!(found(&file(0, &[[0, 0, 0, 99]])), Ok((Some((1, 100)), 32 * 6)));
        assert_eq!(found(&file(0x10, &[[0, 0, 1, 4], [0, 0, 4, 1], [0, 0, 2, 2]])), Ok((Some((5, 2)), 5 * 32 * 6)));
        let reason = found(&file(0, &[[0, 10, 5, 4]])).unwrap_err().reason;
        assert_eq!(reason, "EXR: the data window from (0, 10) to (5, 4) is empty or too large: the file is damaged");
        assert!(found(&file(0, &[[i32::MIN, 0, i32::MAX, 0]])).is_err());
        let with = |more: &[u8]| [&[0x76, 0x2F, 0x31, 0x01, 2, 2, 0, 0], more, &part([0, 0, 1, 1]), &[0]].concat();
        // One tile of so many pixels.
        let tile = attribute("tiles", "tiledesc", &[0, 1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(found(&with(&tile)), Ok((Some((2, 2)), 256 * 512 * 6)));
        let small = attribute("tiles", "tiledesc", &[1, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(found(&with(&small)), Ok((Some((2, 2)), 2 * 32 * 6 + 4 * 4 * 64)));
        for (kind, is_read) in [(4, true), (5, true), (8, false), (9, false)] {
            assert_eq!(found(&with(&attribute("compression", "compression", &[kind]))).is_ok(), is_read);
        }
        assert!(found(&with(&attribute("dataWindow", "box2i", &[0; 15]))).is_err());
        let whole = file(0x10, &[[0, 0, 1, 1], [0, 0, 4, 4]]);
        assert!((0..whole.len()).all(|length| found(&whole[..length]).is_ok()));
    }

    #[test]
    fn a_frame_of_a_webp_is_no_larger_than_the_image() {
        let frame = |width: u8| [&b"VP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a"[..], &[width, 0x40, 3, 0]].concat();
        let with = |width: u8, is_animated: bool| {
            let frame = match is_animated {
                true => [&b"ANMF\x2a\0\0\0"[..], &[0; 16], b"ALPH\0\0\0\0", &frame(width)].concat(),
                false => frame(width),
            };
            let chunks = [&b"WEBPVP8X\x0a\0\0\0\0\0\0\0\x03\0\0\x02\0\0junk\x01\0\0\0xx"[..], &frame].concat();
            [&b"RIFF"[..], &(chunks.len() as u32).to_le_bytes(), &chunks].concat()
        };
        for is_animated in [false, true] {
            assert!(check_webp(&with(4, is_animated)).is_ok());
            assert_eq!(
                check_webp(&with(5, is_animated)).unwrap_err().reason,
                "WebP: there is a frame of 5 x 3 pixels in an image of 4 x 3: the file is damaged"
            );
        }
    }
}
