//! Where the media of an AVI, WAV, Wave64 or Windows Media file should end. FFmpeg takes the end of such a file, wherever it is, for the end of the video or
//! sound; one whose copy was broken off would be a shorter one.
//!
//! Sources: Multimedia Programming Interface and Data Specifications 1.0, RIFF; OpenDML AVI File Format Extensions 1.02, 4.0, by
//! which several RIFF forms follow one another; EBU Tech 3306 (RF64); Sony Wave64; Advanced Systems Format 1.2, 3.2 and 5.1. Sizes are
//! little-endian.

use std::fs::File;
use std::os::unix::fs::FileExt;

use npy_ingest::decode::audio::stands_for_none;

/// Chunks that are looked at.
const CHUNKS_MAX: u32 = 4096;
/// Larger sizes in an AVI stand for none, where the file is shorter: it went into a pipe.
const SIZE_MAX: u32 = 0x7FFF_0000;
/// The same in a Wave64 file.
const WIDE_SIZE_MAX: u64 = 1 << 62;
/// What the names of Wave64 have behind their four letters: the outermost, and all others.
const OUTER: [u8; 12] = [0x2E, 0x91, 0xCF, 0x11, 0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00];
const INNER: [u8; 12] = [0xF3, 0xAC, 0xD3, 0x11, 0x8C, 0xD1, 0x00, 0xC0, 0x4F, 0x8E, 0xDB, 0x8A];

/// Names of Windows Media: the header, the properties of the file, the packets.
const HEADER: [u8; 16] =
    [0x30, 0x26, 0xB2, 0x75, 0x8E, 0x66, 0xCF, 0x11, 0xA6, 0xD9, 0x00, 0xAA, 0x00, 0x62, 0xCE, 0x6C];
const PROPERTIES: [u8; 16] =
    [0xA1, 0xDC, 0xAB, 0x8C, 0x47, 0xA9, 0xCF, 0x11, 0x8E, 0xE4, 0x00, 0xC0, 0x0C, 0x20, 0x53, 0x65];
const PACKETS: [u8; 16] =
    [0x36, 0x26, 0xB2, 0x75, 0x8E, 0x66, 0xCF, 0x11, 0xA6, 0xD9, 0x00, 0xAA, 0x00, 0x62, 0xCE, 0x6C];

/// Where the media end by what the file says. `None`: it says nothing, or is no such file.
pub fn announced_bytes(file: &File, bytes: u64) -> Option<u64> {
    let name: [u8; 4] = read(file, 0)?;
    match &name {
        b"RIFF" if read(file, 8) == Some(*b"WAVE") => wave(file, bytes),
        b"RIFF" => avi(file, bytes),
        b"RF64" | b"BW64" => wave(file, bytes),
        b"riff" => wave64(file),
        b"\x30\x26\xB2\x75" => windows_media(file),
        _ => None,
    }
}

/// The end of the last list of media.
fn avi(file: &File, bytes: u64) -> Option<u64> {
    let (mut form, mut found) = (0, None);
    let mut left = CHUNKS_MAX;
    while let Some((b"RIFF", size)) = chunk(file, form).as_ref().map(|(name, size)| (name, *size)) {
        let kind: [u8; 4] = read(file, form + 8)?;
        if ![*b"AVI ", *b"AVIX"].contains(&kind) {
            break;
        }
        let mut place = form + 12;
        while let Some((name, size)) = chunk(file, place) {
            left = left.checked_sub(1)?;
            let end = place + 8 + u64::from(size);
            if &name == b"LIST" && read(file, place + 8) == Some(*b"movi") {
                let is_none = size == 0 || (size >= SIZE_MAX && end > bytes);
                found = (!is_none).then_some(end);
                break;
            }
            place = end.next_multiple_of(2);
        }
        if size == 0 || found.is_none_or(|end| end > bytes) {
            break;
        }
        form += 8 + u64::from(size).next_multiple_of(2);
    }
    found
}

/// The end of the samples. RF64 has a chunk for sizes that do not fit.
fn wave(file: &File, bytes: u64) -> Option<u64> {
    let (mut place, mut wide) = (12, None);
    for _ in 0..CHUNKS_MAX {
        let (name, size) = chunk(file, place)?;
        let from = place + 8;
        match &name {
            b"ds64" => wide = read(file, from + 8).map(u64::from_le_bytes),
            b"data" => {
                let size = wide.filter(|_| size == u32::MAX).unwrap_or(size.into());
                let end = from.checked_add(size)?;
                let is_none = size == 0 || (end > bytes && u32::try_from(size).is_ok_and(stands_for_none));
                return (!is_none).then_some(end);
            }
            _ => {}
        }
        place = from + u64::from(size).next_multiple_of(2);
    }
    None
}

/// The end of the packets, unless they were broadcast.
fn windows_media(file: &File) -> Option<u64> {
    const IS_BROADCAST: u8 = 1;
    let object = |place: u64| Some((read::<16>(file, place)?, u64::from_le_bytes(read(file, place + 16)?)));
    let (header, header_bytes) = object(0)?;
    if header != HEADER {
        return None;
    }
    // The number of objects within it, and two bytes.
    let mut place = 30;
    let mut is_told = false;
    while place < header_bytes && !is_told {
        let (name, size) = object(place)?;
        if name == PROPERTIES {
            let [flags] = read(file, place + 88)?;
            if flags & IS_BROADCAST != 0 {
                return None;
            }
            is_told = true;
        }
        place = place.checked_add(size.max(24))?;
    }
    let (name, size) = object(header_bytes)?;
    header_bytes.checked_add(size).filter(|_| is_told && name == PACKETS && (51..WIDE_SIZE_MAX).contains(&size))
}

/// The end of the samples.
fn wave64(file: &File) -> Option<u64> {
    if read(file, 4)? != OUTER {
        return None;
    }
    let mut place = 40;
    for _ in 0..CHUNKS_MAX {
        let name: [u8; 16] = read(file, place)?;
        // With the name and the size.
        let size = u64::from_le_bytes(read(file, place + 16)?);
        if name.starts_with(b"data") && name.ends_with(&INNER) {
            return place.checked_add(size).filter(|_| size > 24 && size < WIDE_SIZE_MAX);
        }
        place = place.checked_add(size.max(24).checked_next_multiple_of(8)?)?;
    }
    None
}

fn chunk(file: &File, place: u64) -> Option<([u8; 4], u32)> {
    Some((read(file, place)?, u32::from_le_bytes(read(file, place + 4)?)))
}

fn read<const COUNT: usize>(file: &File, place: u64) -> Option<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    file.read_exact_at(&mut bytes, place).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn announced(bytes: &[u8]) -> Option<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        announced_bytes(&file, bytes.len() as u64)
    }

    fn sized(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [name, &(content.len() as u32).to_le_bytes()[..], content].concat()
    }

    fn form(kind: &[u8; 4], media: usize, behind: &[u8]) -> Vec<u8> {
        let lists = [sized(b"LIST", b"hdrlabc!"), sized(b"LIST", &[&b"movi"[..], &vec![7; media]].concat())].concat();
        sized(b"RIFF", &[&kind[..], &lists, behind].concat())
    }

    #[test]
    fn an_avi_tells_where_its_media_end() {
        let (first, index) = (form(b"AVI ", 100, b"").len(), sized(b"idx1", &[0; 32]));
        let whole = form(b"AVI ", 100, &index);
        for length in [whole.len(), first, first - 1, 60] {
            assert_eq!(announced(&whole[..length]), Some(first as u64), "{length}");
        }
        let both = [&whole[..], &form(b"AVIX", 50, b"")].concat();
        assert_eq!(announced(&both), Some(both.len() as u64));
        assert_eq!(announced(&both[..both.len() - 9]), Some(both.len() as u64));
        // Of a recorder that was stopped, and into a pipe.
        for size in [0, u32::MAX, 0x7FFF_FFFF] {
            let mut open = whole.clone();
            open[32..36].copy_from_slice(&u32::to_le_bytes(size));
            assert_eq!(announced(&open), None, "{size}");
        }
    }

    #[test]
    fn wave64_tells_where_its_samples_end() {
        let chunk =
            |name: &[u8; 4], size: u64, content: &[u8]| [name, &INNER[..], &size.to_le_bytes(), content].concat();
        let file = |size: u64| {
            let start = [&b"riff"[..], &OUTER, &[0; 8], b"wave", &INNER].concat();
            [start, chunk(b"fmt ", 24 + 18, &[0; 24]), chunk(b"data", size, &[7; 100])].concat()
        };
        assert_eq!(announced(&file(124)), Some(40 + 48 + 124));
        assert_eq!(announced(&file(124)[..100]), None);
        assert_eq!(announced(&file(124)[..130]), Some(40 + 48 + 124));
        for size in [0, 24, u64::MAX, i64::MAX as u64] {
            assert_eq!(announced(&file(size)), None, "{size}");
        }
    }

    #[test]
    fn wave_tells_where_its_samples_end() {
        let file = |name: &[u8; 4], wide: Option<u64>, size: u32| {
            let sizes = wide.map(|wide| sized(b"ds64", &[[0; 8], wide.to_le_bytes(), [0; 8]].concat()));
            let start =
                [&name[..], &[0; 4], b"WAVE", &sizes.unwrap_or_default(), &sized(b"fmt ", &[0; 17]), &[0]].concat();
            let from = start.len() as u64 + 8;
            (from, [&start[..], b"data", &size.to_le_bytes(), &[7; 100]].concat())
        };
        for size in [100, 99, 5000, 0x7000_0000] {
            let (from, bytes) = file(b"RIFF", None, size);
            assert_eq!(announced(&bytes), Some(from + u64::from(size)));
            let (from, bytes) = file(b"RF64", Some(1 << 33), u32::MAX);
            assert_eq!(announced(&bytes), Some(from + (1 << 33)));
        }
        for size in [0, u32::MAX, u32::MAX - 40, 0x7FFF_F000] {
            assert_eq!(announced(&file(b"RIFF", None, size).1), None, "{size}");
        }
        assert_eq!(announced(&file(b"RF64", Some(0), u32::MAX).1), None);
    }

    #[test]
    fn windows_media_tells_where_its_packets_end() {
        let object =
            |name: &[u8; 16], size: usize, content: &[u8]| [name, &(size as u64).to_le_bytes()[..], content].concat();
        let file = |flags: u8, size: usize| {
            let properties = object(&PROPERTIES, 24 + 80, &[&[0; 64][..], &[flags], &[0; 15]].concat());
            let header = object(&HEADER, 30 + 104, &[&[1, 0, 0, 0, 1, 2][..], &properties].concat());
            [header, object(&PACKETS, size, &[7; 200])].concat()
        };
        assert_eq!(announced(&file(2, 224)), Some(134 + 224));
        assert_eq!(announced(&file(2, 9000)), Some(134 + 9000));
        assert_eq!(announced(&file(3, 9000)), None);
        assert_eq!(announced(&file(2, 0)), None);
    }

    #[test]
    fn other_files_tell_nothing() {
        for bytes in [
            &b""[..],
            b"RIF",
            b"RIFF\x24\0\0\0WAVEfmt ",
            b"\x30\x26\xB2\x75",
            b"riff and so on, which is no Wave64 file at all......",
        ] {
            assert_eq!(announced(bytes), None, "{bytes:?}");
        }
    }
}
