//! Whether a JPEG reaches its end.
//!
//! Decoders take a JPEG that was cut short for a whole one and make up the missing part in gray. So the markers are
//! walked here (ITU-T T.81, Annex B): segments are skipped by their lengths, which takes thumbnails and other images in
//! `APPn` segments along; entropy-coded data is searched for the next marker; a progressive file is one scan after the
//! other. The file is whole if that walk meets an end-of-image marker behind at least one scan. What follows it
//! (padding, the further images of a multi-picture file) is nobody's business.
//!
//! The walk passes the frame header and the EXIF segment, and so reports what they say.

use super::jpeg_frame::{Headers, PlainJpeg, SCANS_MAX, is_frame};
use crate::decode::Rejection;

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const EXIF_SEGMENT: u8 = 0xE1;
const EXIF_SIGNATURE: &[u8] = b"Exif\0\0";

/// What the walk has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct JpegOutline<'a> {
    /// The TIFF structure of the first EXIF segment.
    pub exif: Option<&'a [u8]>,
    /// What a decoder holds besides the pixels: a row of blocks, if it is no plain one and, in progressive files and where
    /// components have scans of their own, all coefficients, as it must have them all before it can show any.
    pub further_bytes: u64,
    /// Set for the JPEGs that any decoder takes alike.
    pub plain: Option<PlainJpeg>,
}

/// Samples that are visited by all scans: each may go through all of the picture, whether there is anything in it or not.
const VISITS_MAX: u64 = 10_000_000_000;

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstFrame {
    pub is_progressive: bool,
    pub width: u16,
    pub height: u16,
}

/// The first frame header of what follows the start-of-image marker of a JPEG, before its first scan.
pub(super) fn first_frame(bytes: &[u8]) -> Result<Option<FirstFrame>, Rejection> {
    let mut position = 0;
    while let Some((marker, after)) = next_header(bytes, position)? {
        let Some(body) = segment(bytes, after) else { break };
        position = after + 2 + body.len();
        match marker {
            START_OF_SCAN | END_OF_IMAGE => break,
            _ if is_frame(marker) => {
                let Some([_, h0, h1, w0, w1]) = body.first_chunk().copied() else { break };
                let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
                return Ok(Some(FirstFrame { is_progressive: is_progressive(marker), width, height }));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The next marker before the first scan. One that has no segment of its own has no place there, and decoders do not agree on
/// what follows it.
fn next_header(bytes: &[u8], mut position: usize) -> Result<Option<(u8, usize)>, Rejection> {
    loop {
        let Some(at) = next_ff(bytes, position) else { return Ok(None) };
        position = at + 1;
        match bytes.get(position) {
            None => return Ok(None),
            Some(0x00) => position += 1,
            Some(0xFF) => {}
            Some(marker @ (0x01 | 0xD0..=0xD8)) => {
                return Err(Rejection::new(format!(
                    "JPEG: there is a marker FF {marker:02X} at byte {at}, before the first scan: the file is damaged"
                )));
            }
            Some(marker) => return Ok(Some((*marker, position + 1))),
        }
    }
}

/// SOF2, SOF6, SOF10, SOF14.
fn is_progressive(marker: u8) -> bool {
    matches!(marker, 0xC2 | 0xC6 | 0xCA | 0xCE)
}

/// Walks a whole JPEG file, which begins with a start-of-image marker.
pub(super) fn walk(bytes: &[u8]) -> Result<JpegOutline<'_>, Rejection> {
    let mut outline = JpegOutline::default();
    let mut position = 2;
    let mut scans = 0u32;
    // Components of the frame, and what they take. Of several frames, of which a decoder may take any, the most.
    let (mut components, mut frame) = (0, FrameBytes::default());
    let mut is_held = false;
    let mut headers = Headers::default();
    loop {
        let next = if scans == 0 { next_header(bytes, position)? } else { next_marker(bytes, position) };
        let Some((marker, after)) = next else { return Err(cut_short(bytes)) };
        position = after;
        match marker {
            END_OF_IMAGE if scans > 0 => {
                let plain = headers.plain();
                let row = if plain.is_none() { frame.row } else { 0 };
                let further_bytes = row + if is_held { frame.coefficients } else { 0 };
                return Ok(JpegOutline { further_bytes, plain, ..outline });
            }
            END_OF_IMAGE => return Err(Rejection::new("JPEG: the file holds no image, only its end")),
            START_OF_IMAGE | 0x01 | 0xD0..=0xD7 => {}
            _ => {
                let Some(body) = segment(bytes, position) else { return Err(cut_short(bytes)) };
                position += 2 + body.len();
                headers.pass(marker, body);
                match marker {
                    START_OF_SCAN => {
                        scans += 1;
                        is_held |= body.first().is_some_and(|of_scan| *of_scan < components);
                        if scans > SCANS_MAX || u64::from(scans).saturating_mul(frame.coefficients / 2) > VISITS_MAX {
                            return Err(Rejection::new(format!(
                                "JPEG: it has {scans} scans and more, which take too long: save it anew with another program"
                            )));
                        }
                    }
                    EXIF_SEGMENT if outline.exif.is_none() => outline.exif = body.strip_prefix(EXIF_SIGNATURE),
                    _ if is_frame(marker) => {
                        let FrameBytes { row, coefficients } = frame_bytes(body);
                        frame =
                            FrameBytes { row: frame.row.max(row), coefficients: frame.coefficients.max(coefficients) };
                        components = components.max(body.get(5).copied().unwrap_or(0));
                        is_held |= is_progressive(marker);
                    }
                    _ => {}
                }
            }
        }
    }
}

fn cut_short(bytes: &[u8]) -> Rejection {
    Rejection::new(format!(
        "the JPEG ends after {} bytes without an end-of-image marker: it was cut short",
        bytes.len()
    ))
}

/// The next marker at or behind `position`, and where it ends. Passes over entropy-coded data, in which 0xFF is
/// followed by 0 and restart markers may stand; over fill bytes; and over stray bytes between segments, as decoders do.
fn next_marker(bytes: &[u8], mut position: usize) -> Option<(u8, usize)> {
    loop {
        position = next_ff(bytes, position)? + 1;
        match *bytes.get(position)? {
            0x00 | 0xD0..=0xD7 => position += 1,
            0xFF => {}
            marker => return Some((marker, position + 1)),
        }
    }
}

/// Where the next 0xFF stands. Looks at 32 bytes at a time, which compilers turn into one comparison: the scan of a
/// photograph is then lost in the time of its decoding.
fn next_ff(bytes: &[u8], position: usize) -> Option<usize> {
    let rest = bytes.get(position..)?;
    let (blocks, _) = rest.as_chunks::<32>();
    let clear = blocks.iter().take_while(|block| !holds_ff(block)).count();
    let offset = clear * 32;
    let found = rest.get(offset..)?.iter().position(|byte| *byte == 0xFF)?;
    Some(position + offset + found)
}

/// Without leaving at the first find, so that the comparison can be done in one go.
fn holds_ff(block: &[u8; 32]) -> bool {
    block.iter().fold(0u8, |found, byte| found | u8::from(*byte == 0xFF)) != 0
}

/// The body of the segment whose length field begins at `position`, if all of it is there.
fn segment(bytes: &[u8], position: usize) -> Option<&[u8]> {
    let rest = bytes.get(position..)?;
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    // The length counts its own two bytes. Less is damage, and left to the decoder to describe.
    rest.get(2..length.max(2))
}

/// What decoders take for a frame.
#[derive(Debug, Default)]
struct FrameBytes {
    /// A row of blocks, three times: as it is read, made as wide as the widest component, and as high as the highest.
    row: u64,
    /// All coefficients.
    coefficients: u64,
}

/// From a frame header: precision, height, width, number of components; for each its id, sampling factors, table. Numbers have
/// two bytes each, and blocks of 8 x 8 are whole (A.2).
fn frame_bytes(frame_header: &[u8]) -> FrameBytes {
    let Some([_, height_high, height_low, width_high, width_low, count]) = frame_header.first_chunk().copied() else {
        return FrameBytes::default();
    };
    let components = frame_header.get(6..).unwrap_or_default().chunks_exact(3).take(usize::from(count));
    let factors =
        components.filter_map(|component| component.get(1)).map(|both| (u64::from(both >> 4), u64::from(both & 15)));
    let (mut samples, mut horizontal_max, mut vertical_max) = (0, 1, 1);
    for (horizontal, vertical) in factors {
        samples += 64 * horizontal * vertical;
        horizontal_max = horizontal_max.max(horizontal);
        vertical_max = vertical_max.max(vertical);
    }
    let units = |high, low, factor| u64::from(u16::from_be_bytes([high, low])).div_ceil(8 * factor);
    let across = units(width_high, width_low, horizontal_max);
    let down = units(height_high, height_low, vertical_max);
    FrameBytes {
        row: u64::from(count) * across * 64 * horizontal_max * vertical_max * 2 * 3,
        coefficients: across * down * samples * 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the right outline; the scans hold nothing that could be decoded.
    fn file(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0xFF, START_OF_IMAGE];
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    const FRAME: &[u8] = &[0xFF, 0xC0, 0, 11, 8, 0, 16, 0, 16, 1, 1, 0x11, 0];
    const PROGRESSIVE: &[u8] = &[0xFF, 0xC2, 0, 17, 8, 0, 100, 0, 200, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1];
    const SCAN: &[u8] = &[0xFF, START_OF_SCAN, 0, 8, 1, 1, 0, 0, 63, 0];
    /// A stuffed 0xFF, a restart marker, and plain bytes.
    const DATA: &[u8] = &[1, 2, 0xFF, 0x00, 3, 0xFF, 0xD0, 4, 0xFF, 0xD7, 5];
    const END: &[u8] = &[0xFF, END_OF_IMAGE];

    #[test]
    fn a_whole_file_passes_and_every_shorter_one_does_not() {
        let whole = file(&[FRAME, SCAN, DATA, END]);
        assert!(walk(&whole).is_ok());
        for length in 2..whole.len() {
            let rejection = walk(&whole[..length]).unwrap_err();
            assert_eq!(
                rejection.reason,
                format!("the JPEG ends after {length} bytes without an end-of-image marker: it was cut short")
            );
        }
    }

    #[test]
    fn progressive_scans_follow_each_other() {
        let whole = file(&[PROGRESSIVE, SCAN, DATA, &[0xFF, 0xC4, 0, 4, 0, 0], SCAN, DATA, SCAN, DATA, END]);
        let outline = walk(&whole).unwrap();
        // 4:2:0 is one and a half samples a pixel, of two bytes, in 13 x 7 units of 16 x 16.
        assert_eq!(outline.further_bytes, 13 * 7 * 256 * 3);
        assert_eq!(walk(&file(&[FRAME, SCAN, DATA, END])).unwrap().further_bytes, 0);
        // Twice as wide as the widest that is plain: one component in units of 32 x 8.
        let odd = &[0xFF, 0xC0, 0, 11, 8, 0, 16, 0, 16, 1, 1, 0x41, 0];
        assert_eq!(walk(&file(&[odd, SCAN, DATA, END])).unwrap().further_bytes, 4 * 64 * 6);
        for length in 2..whole.len() {
            assert!(walk(&whole[..length]).is_err());
        }
    }

    #[test]
    fn an_end_marker_inside_a_segment_does_not_count() {
        let thumbnail = &[
            0xFF,
            EXIF_SEGMENT,
            0,
            16,
            b'E',
            b'x',
            b'i',
            b'f',
            0,
            0,
            0xFF,
            START_OF_SCAN,
            0xFF,
            0xD8,
            0xFF,
            0xD9,
            7,
            7,
        ];
        let outline = file(&[thumbnail, FRAME, SCAN, DATA, END]);
        assert_eq!(walk(&outline).unwrap().exif, Some(&[0xFF, START_OF_SCAN, 0xFF, 0xD8, 0xFF, 0xD9, 7, 7][..]));
        assert!(walk(&file(&[thumbnail, FRAME, SCAN, DATA])).is_err());
    }

    #[test]
    fn fill_bytes_and_trailing_bytes_are_allowed() {
        assert!(
            walk(&file(&[&[0xFF, 0xFF], FRAME, &[0xFF], SCAN, DATA, &[0xFF, 0xFF], END, b"anything \xFF\xD8"])).is_ok()
        );
    }

    #[test]
    fn an_end_without_a_scan_is_no_image() {
        assert_eq!(walk(&file(&[FRAME, END])).unwrap_err().reason, "JPEG: the file holds no image, only its end");
    }

    #[test]
    fn the_search_finds_every_place() {
        for length in 0..100 {
            for place in 0..length {
                let mut bytes = vec![7; length];
                bytes[place] = 0xFF;
                assert_eq!(next_ff(&bytes, 0), Some(place));
                assert_eq!(next_ff(&bytes, place + 1), None);
            }
        }
    }
}
