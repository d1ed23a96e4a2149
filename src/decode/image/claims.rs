//! What the headers of TIFF and EXR claim, where the libraries would take memory for a claim before they find that there is no
//! such thing.
//!
//! Sources: TIFF 6.0 section 2; OpenEXR File Layout.

use crate::decode::Rejection;

/// Rows of a block that is no tile, at most, with the compressions that the library knows.
const EXR_BLOCK_ROWS: u32 = 32;

/// No entry of the first directory may claim more bytes than the file has. The library takes memory for as many values as
/// an entry claims before it reads any, 256 MiB at most, whatever the limits are. What is merely missing, it finds itself.
/// TIFF 6.0 section 2, and BigTIFF (version 43) with its wider fields.
pub(super) fn check_tiff(bytes: &[u8]) -> Result<(), Rejection> {
    let is_little_endian = bytes.starts_with(b"II");
    let number = |place: usize, length: usize| {
        let field = bytes.get(place..)?.get(..length)?;
        let append = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
        Some(if is_little_endian { field.iter().rev().fold(0, append) } else { field.iter().fold(0, append) })
    };
    let (start, count_bytes, wide, entry_bytes) =
        if number(2, 2) == Some(43) { (number(8, 8), 8, 8, 20) } else { (number(4, 4), 2, 4, 12) };
    let Some(start) = start.and_then(|start| usize::try_from(start).ok()) else { return Ok(()) };
    let Some(count) = number(start, count_bytes) else { return Ok(()) };
    let entries = bytes.get(start + count_bytes..).unwrap_or_default().chunks_exact(entry_bytes);
    let entries = entries.len().min(usize::try_from(count).unwrap_or(usize::MAX));
    for place in (0..entries).map(|index| start + count_bytes + index * entry_bytes) {
        let (Some(tag), Some(kind), Some(values)) = (number(place, 2), number(place + 2, 2), number(place + 4, wide))
        else {
            return Ok(());
        };
        let value_bytes = match kind {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            _ => 1,
        };
        if values.saturating_mul(value_bytes) > bytes.len() as u64 {
            return Err(Rejection::new(format!(
                "TIFF: tag {tag} claims {values} values, more than the file of {} bytes holds: the file is damaged",
                bytes.len()
            )));
        }
    }
    Ok(())
}

/// The size of the data window, or what all of them need, and the bytes of one block of its pixels. The image that the library announces has the
/// size of the display window, while it takes memory for blocks of the data window, whatever is between its corners.
///
/// A header is attribute after attribute: a name and a type, each ended by a zero, the length of the value (four bytes,
/// little-endian) and the value. A zero ends it; a file of several parts has several. What is merely missing, the library finds.
pub(super) fn check_exr(bytes: &[u8]) -> Result<(Option<(u32, u32)>, u64), Rejection> {
    const SEVERAL_PARTS: u8 = 0x10;
    let has_parts = bytes.get(5).is_some_and(|flags| flags & SEVERAL_PARTS != 0);
    let (mut size, mut pixel_bytes, mut block_rows) = (None::<(u32, u32)>, 0, EXR_BLOCK_ROWS);
    let mut rest = bytes.get(8..).unwrap_or_default();
    loop {
        if let Some(after) = rest.strip_prefix(b"\0") {
            if !has_parts || after.first().is_none_or(|next| *next == 0) {
                break;
            }
            rest = after;
        }
        let Some((name, kind, value, after)) = exr_attribute(rest) else { break };
        rest = after;
        match (name, kind) {
            (b"dataWindow", b"box2i") => {
                let ((width, height), (wider, higher)) = (size.unwrap_or_default(), exr_window(value)?);
                size = Some((width.max(wider), height.max(higher)));
            }
            (b"channels", b"chlist") => pixel_bytes = pixel_bytes.max(exr_pixel_bytes(value)),
            // Width and height of a tile.
            (b"tiles", b"tiledesc") => {
                let rows =
                    value.get(4..).and_then(|value| value.first_chunk()).map_or(0, |rows| u32::from_le_bytes(*rows));
                block_rows = block_rows.max(rows);
            }
            _ => {}
        }
    }
    let block_pixels = size.map_or(0, |(width, height)| u64::from(width) * u64::from(height.min(block_rows)));
    Ok((size, block_pixels.saturating_mul(pixel_bytes)))
}

/// Name, type and value of the attribute that the bytes begin with, and what follows it.
fn exr_attribute(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8], &[u8])> {
    let (name, rest) = until_zero(bytes)?;
    let (kind, rest) = until_zero(rest)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((name, kind, value, rest))
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// Width and height of a window, which is written as its first and its last column and row.
fn exr_window(value: &[u8]) -> Result<(u32, u32), Rejection> {
    let (corners, _) = value.as_chunks::<4>();
    let corners: Vec<i64> = corners.iter().map(|corner| i64::from(i32::from_le_bytes(*corner))).collect();
    let [left, top, right, bottom] = *corners.as_slice() else { return Ok((1, 1)) };
    let side = |first: i64, last: i64| u32::try_from(last - first + 1).ok().filter(|side| *side > 0);
    side(left, right).zip(side(top, bottom)).ok_or_else(|| {
        Rejection::new(format!(
            "EXR: the data window from ({left}, {top}) to ({right}, {bottom}) is empty or too large: the file is damaged"
        ))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_a_tiff_claims_no_more_than_the_file_holds() {
        let reason = |bytes: &[u8]| check_tiff(bytes).unwrap_err().reason.into_owned();
        let small = b"II*\0\x08\0\0\0\x01\0\x1c\x01\x03\0\x01\0\x10\0\x01\0\0\0\0\0\0\0";
        assert_eq!(
            reason(small),
            "TIFF: tag 284 claims 1048577 values, more than the file of 26 bytes holds: the file is damaged"
        );
        let other_order = b"MM\0*\0\0\0\x08\0\x01\x01\x1c\0\x03\0\x10\0\x01\0\0\0\x01\0\0\0\0";
        assert!(reason(other_order).starts_with("TIFF: tag 284 claims 1048577 values"));
        let mut big = b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x01\x04\0".to_vec();
        big.extend_from_slice(&u64::MAX.to_le_bytes());
        big.extend_from_slice(&[0; 8]);
        assert!(reason(&big).starts_with("TIFF: tag 256 claims 18446744073709551615 values"));
        // One value is in its place, and a directory that is not there is for the decoder to miss.
        let mut sound = small.to_vec();
        sound[16] = 0;
        sound[14] = 1;
        assert!(check_tiff(&sound).is_ok());
        for length in 0..10 {
            assert!(check_tiff(&small[..length]).is_ok());
        }
        assert!(check_tiff(b"II*\0\xFF\xFF\xFF\xFF").is_ok());
    }

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
        assert_eq!(found(&file(0, &[[-2, 3, 7, 6]])), Ok((Some((10, 4)), 240)));
        assert_eq!(found(&file(0, &[[0, 0, 0, 99]])), Ok((Some((1, 100)), 6 * 32)));
        assert_eq!(found(&file(0x10, &[[0, 0, 1, 4], [0, 0, 4, 1], [0, 0, 2, 2]])), Ok((Some((5, 5)), 150)));
        let reason = found(&file(0, &[[0, 10, 5, 4]])).unwrap_err().reason;
        assert_eq!(reason, "EXR: the data window from (0, 10) to (5, 4) is empty or too large: the file is damaged");
        assert!(found(&file(0, &[[i32::MIN, 0, i32::MAX, 0]])).is_err());
        let whole = file(0x10, &[[0, 0, 1, 1], [0, 0, 4, 4]]);
        assert!((0..whole.len()).all(|length| found(&whole[..length]).is_ok()));
    }
}
