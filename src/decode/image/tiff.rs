//! What the first directory of a TIFF claims, where the library would take memory or time for a claim before it finds that there
//! is no such thing. What is merely missing, it finds itself.
//!
//! Sources: TIFF 6.0 sections 2, 8 and 15, and BigTIFF (version 43) with its wider fields; JPEG in TIFF: Adobe's Technical Note 2.

use super::jpeg_end;
use crate::decode::Rejection;

const IMAGE_WIDTH: u64 = 256;
const IMAGE_LENGTH: u64 = 257;
const COMPRESSION: u64 = 259;
const STRIP_OFFSETS: u64 = 273;
const SAMPLES_PER_PIXEL: u64 = 277;
const ROWS_PER_STRIP: u64 = 278;
const STRIP_BYTE_COUNTS: u64 = 279;
const TILE_WIDTH: u64 = 322;
const TILE_LENGTH: u64 = 323;
const TILE_OFFSETS: u64 = 324;
const TILE_BYTE_COUNTS: u64 = 325;
const EXTRA_SAMPLES: u64 = 338;
const JPEG_TABLES: u64 = 347;
/// What is looked at here. Of an entry that is there twice, nobody knows which the library takes.
const USED: [u64; 13] = [
    IMAGE_WIDTH,
    IMAGE_LENGTH,
    COMPRESSION,
    STRIP_OFFSETS,
    SAMPLES_PER_PIXEL,
    ROWS_PER_STRIP,
    STRIP_BYTE_COUNTS,
    TILE_WIDTH,
    TILE_LENGTH,
    TILE_OFFSETS,
    TILE_BYTE_COUNTS,
    EXTRA_SAMPLES,
    JPEG_TABLES,
];
const JPEG_COMPONENTS_MAX: u64 = 4;
/// JPEG in strips or tiles, each a file of its own but for the tables.
const JPEG: u64 = 7;
/// Of extra samples: alpha by which the colours are multiplied.
const ASSOCIATED: u64 = 1;
/// The longest sample.
const SAMPLE_BYTES_MAX: u64 = 8;
/// Sides of a JPEG may be those of its strip, filled up to whole blocks.
const JPEG_BLOCK: u64 = 16;
/// No two strips have bytes in common, but writers are not always exact.
const SHARED_MAX: u64 = 4;

/// What decoding takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TiffClaims {
    /// Memory besides the pixels: a line of a strip or tile.
    pub further_bytes: u64,
    /// Strips or tiles.
    pub chunks: u64,
    /// Colours are multiplied by alpha.
    pub is_multiplied: bool,
}

/// The bytes of a file, with numbers in its order.
struct Tiff<'a> {
    bytes: &'a [u8],
    is_little_endian: bool,
}

/// An entry of the directory.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u64,
    count: u64,
    value_bytes: usize,
    /// Where its values begin.
    at: usize,
}

impl<'a> Tiff<'a> {
    fn number(&self, place: usize, length: usize) -> Option<u64> {
        let field = self.bytes.get(place..)?.get(..length)?;
        let append = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
        Some(if self.is_little_endian { field.iter().rev().fold(0, append) } else { field.iter().fold(0, append) })
    }

    /// The entries of the first directory, up to one that is not there.
    fn entries(&self) -> Vec<Entry> {
        let (start, count_bytes, wide, entry_bytes) = match self.number(2, 2) {
            Some(43) => (self.number(8, 8), 8, 8, 20),
            _ => (self.number(4, 4), 2, 4, 12),
        };
        let start = start.and_then(|start| usize::try_from(start).ok());
        let Some((start, count)) = start.and_then(|start| Some((start, self.number(start, count_bytes)?))) else {
            return Vec::new();
        };
        let entry = |index: u64| {
            let place = usize::try_from(index).ok()?.checked_mul(entry_bytes)?.checked_add(start + count_bytes)?;
            let kind = self.number(place + 2, 2)?;
            let value_bytes = match kind {
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16..=18 => 8,
                _ => 1,
            };
            let (tag, count) = (self.number(place, 2)?, self.number(place + 4, wide)?);
            let here = place + 4 + wide;
            let is_here = count.saturating_mul(value_bytes as u64) <= wide as u64;
            let at = if is_here { here } else { usize::try_from(self.number(here, wide)?).ok()? };
            Some(Entry { tag, count, value_bytes, at })
        };
        (0..count).map_while(entry).collect()
    }

    /// So many bytes of the file, as far as they are there.
    fn part(&self, at: u64, length: u64) -> &'a [u8] {
        let [at, length] = [at, length].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let rest = self.bytes.get(at..).unwrap_or_default();
        rest.get(..length).unwrap_or(rest)
    }

    /// The values of an entry, as far as they are there.
    fn values(&self, entry: Entry) -> impl Iterator<Item = u64> {
        (0..entry.count).map_while(move |index| {
            let place = usize::try_from(index).ok()?.checked_mul(entry.value_bytes)?.checked_add(entry.at)?;
            self.number(place, entry.value_bytes)
        })
    }
}

/// The one number, of two bytes or four, that the first directory has by a tag. `None` also where there is no TIFF.
pub(super) fn number(bytes: &[u8], tag: u64) -> Option<u64> {
    let is_little_endian = bytes.starts_with(b"II*\0");
    if !is_little_endian && !bytes.starts_with(b"MM\0*") {
        return None;
    }
    let tiff = Tiff { bytes, is_little_endian };
    let entry = tiff.entries().into_iter().find(|entry| entry.tag == tag)?;
    (entry.count == 1 && matches!(entry.value_bytes, 2 | 4)).then(|| tiff.values(entry).next())?
}

/// Refuses claims that the file cannot hold.
///
/// The library takes memory for as many values as an entry claims before it reads any, 256 MiB at most, whatever the limits
/// are. It decodes each strip, wherever that lies, and each JPEG as large as that says.
pub(super) fn check(bytes: &[u8]) -> Result<TiffClaims, Rejection> {
    let tiff = Tiff { bytes, is_little_endian: bytes.starts_with(b"II") };
    let entries = tiff.entries();
    for Entry { tag, count, value_bytes, .. } in &entries {
        if count.saturating_mul(*value_bytes as u64) > bytes.len() as u64 {
            return Err(Rejection::new(format!(
                "TIFF: tag {tag} claims {count} values, more than the file of {} bytes holds: the file is damaged",
                bytes.len()
            )));
        }
    }
    for (place, Entry { tag, .. }) in entries.iter().enumerate() {
        let is_twice = || entries.iter().skip(place + 1).any(|other| other.tag == *tag);
        if USED.contains(tag) && is_twice() {
            return Err(Rejection::new(format!("TIFF: tag {tag} is there twice: the file is damaged")));
        }
    }
    let entry = |tag: u64| entries.iter().find(|entry| entry.tag == tag).copied();
    let values = |tag: u64| entry(tag).into_iter().flat_map(|entry| tiff.values(entry));
    let number = |tag: u64| values(tag).next();
    let is_tiled = [TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTE_COUNTS].iter().any(|tag| entry(*tag).is_some());
    if is_tiled && (entry(STRIP_OFFSETS).is_some() || entry(STRIP_BYTE_COUNTS).is_some()) {
        return Err(Rejection::new("TIFF: it has both strips and tiles, expected one of them: the file is damaged"));
    }
    let (offsets, counts) =
        if is_tiled { (TILE_OFFSETS, TILE_BYTE_COUNTS) } else { (STRIP_OFFSETS, STRIP_BYTE_COUNTS) };
    let claimed = values(counts).fold(0, u64::saturating_add);
    if claimed > SHARED_MAX.saturating_mul(bytes.len() as u64) {
        return Err(Rejection::new(format!(
            "TIFF: its parts claim {claimed} bytes in all, the file has {}: the file is damaged",
            bytes.len()
        )));
    }
    let image_width = number(IMAGE_WIDTH).unwrap_or(0);
    // A last strip may be as high as the others, and have rows that are not there.
    let (width, height) = match is_tiled {
        true => (number(TILE_WIDTH).unwrap_or(image_width), number(TILE_LENGTH).unwrap_or(0)),
        false => (image_width, number(ROWS_PER_STRIP).or(number(IMAGE_LENGTH)).unwrap_or(0)),
    };
    let mut jpeg_pixels = 0;
    if number(COMPRESSION) == Some(JPEG) {
        let tables = entry(JPEG_TABLES).map(|entry| tiff.part(entry.at as u64, entry.count)).unwrap_or_default();
        if jpeg_frame(tables)?.is_some() {
            return Err(Rejection::new("TIFF: the tables of its JPEGs hold a picture: the file is damaged"));
        }
        for (at, length) in values(offsets).zip(values(counts)) {
            jpeg_pixels = jpeg_pixels.max(check_jpeg(tiff.part(at, length), width, height)?);
        }
    }
    let samples = number(SAMPLES_PER_PIXEL).unwrap_or(1).max(1);
    let line_samples = width.max(image_width).saturating_mul(samples);
    Ok(TiffClaims {
        further_bytes: line_samples.saturating_mul(SAMPLE_BYTES_MAX).saturating_add(jpeg_pixels * JPEG_COMPONENTS_MAX),
        chunks: entry(offsets).map_or(0, |entry| entry.count),
        is_multiplied: number(EXTRA_SAMPLES) == Some(ASSOCIATED),
    })
}

/// A JPEG of a strip is no larger than the strip, and no progressive one, which takes memory for all of it and time without end.
/// Its pixels.
fn check_jpeg(strip: &[u8], width: u64, height: u64) -> Result<u64, Rejection> {
    let Some(frame) = jpeg_frame(strip)? else { return Ok(0) };
    if frame.is_progressive {
        return Err(Rejection::new(
            "TIFF: it holds progressive JPEGs, which are not read: store it with sequential ones, or by deflate",
        ));
    }
    if u64::from(frame.width) > width.saturating_add(JPEG_BLOCK)
        || u64::from(frame.height) > height.saturating_add(JPEG_BLOCK)
    {
        return Err(Rejection::new(format!(
            "TIFF: a strip or tile of {width} x {height} pixels holds a JPEG of {} x {}: the file is damaged",
            frame.width, frame.height
        )));
    }
    Ok(u64::from(frame.width) * u64::from(frame.height))
}

/// The library drops the first two bytes, which are the start-of-image marker, where there are tables.
fn jpeg_frame(strip: &[u8]) -> Result<Option<jpeg_end::FirstFrame>, Rejection> {
    jpeg_end::first_frame(strip.get(2..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of entries: tag, type, count, value or place; and bytes behind it.
    fn file(entries: &[(u16, u16, u32, u32)], behind: &[u8]) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(behind);
        bytes
    }

    #[test]
    fn a_line_is_as_long_as_image_or_tile_say() {
        let line = |entries: &[(u16, u16, u32, u32)]| check(&file(entries, &[0; 64])).unwrap().further_bytes;
        assert_eq!(line(&[(256, 4, 1, 1000), (277, 3, 1, 3)]), 1000 * 3 * 8);
        assert_eq!(line(&[(256, 4, 1, 8), (277, 3, 1, 0xFFFF), (322, 4, 1, u32::MAX)]), 0xFFFF * 0xFFFF_FFFF * 8);
        assert!(check(&file(&[(322, 4, 1, 16), (322, 4, 1, 700)], &[0; 64])).is_err());
        assert!(check(&file(&[(322, 4, 1, 16), (273, 4, 1, 8)], &[0; 64])).is_err());
        assert_eq!(line(&[]), 0);
    }

    #[test]
    fn strips_claim_no_more_than_there_is() {
        // Ten strips at byte 0, of so many bytes each.
        let strips = |each: u32| {
            let place = 8 + 2 + 3 * 12 + 4;
            let entries = [(256, 4, 1, 8), (273, 4, 10, place), (279, 4, 10, place + 40)];
            let behind: Vec<u8> =
                [[0_u32; 10], [each; 10]].concat().iter().flat_map(|value| value.to_le_bytes()).collect();
            check(&file(&entries, &behind))
        };
        assert_eq!(strips(13).unwrap().chunks, 10);
        let reason = strips(60).unwrap_err().reason;
        assert_eq!(reason, "TIFF: its parts claim 600 bytes in all, the file has 130: the file is damaged");
    }

    #[test]
    fn a_jpeg_is_as_large_as_its_strip() {
        let with = |marker: u8, width: u8, is_tiled: bool| {
            let place = 8 + 2 + 7 * 12 + 4;
            let (offsets, counts, across, down) = if is_tiled { (324, 325, 322, 323) } else { (273, 279, 256, 278) };
            let entries = [
                (257, 4, 1, 4),
                (258, 3, 1, 8),
                (259, 3, 1, 7),
                (offsets, 4, 1, place),
                (counts, 4, 1, 21),
                (across, 4, 1, 40),
                (down, 4, 1, 8),
            ];
            let frame = [0xFF, 0xD8, 0xFF, 0xDB, 0, 4, 1, 2, 0xFF, marker, 0, 11, 8, 0, 8, 0, width, 1, 1, 0x11, 0];
            check(&file(&entries, &frame)).map_err(|rejection| rejection.reason.into_owned())
        };
        for is_tiled in [false, true] {
            assert!(with(0xC0, 40, is_tiled).is_ok() && with(0xC1, 48, is_tiled).is_ok());
            assert_eq!(
                with(0xC0, 57, is_tiled).unwrap_err(),
                "TIFF: a strip or tile of 40 x 8 pixels holds a JPEG of 57 x 8: the file is damaged"
            );
            assert!(with(0xC2, 40, is_tiled).unwrap_err().starts_with("TIFF: it holds progressive JPEGs"));
        }
    }

    #[test]
    fn a_tag_of_a_tiff_claims_no_more_than_the_file_holds() {
        let reason = |bytes: &[u8]| check(bytes).unwrap_err().reason.into_owned();
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
        assert!(check(&sound).is_ok());
        for length in 0..10 {
            assert!(check(&small[..length]).is_ok());
        }
        assert!(check(b"II*\0\xFF\xFF\xFF\xFF").is_ok());
    }
}
