//! How long an MXF file should be, at least. FFmpeg takes the end of such a file, wherever it is, for the end of the video; one whose
//! copy was broken off would be a shorter one, or have other times.
//!
//! Source: SMPTE ST 377-1, 6 (keys and lengths) and 7.1 (partition packs).

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The key of a partition, but for its kind, its status and the last byte.
const PARTITION: &[u8] = b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01";
/// The kinds of the first partition, and of the last.
const HEADER: u8 = 2;
const FOOTER: u8 = 4;
/// The key of what fills up to the next grid line, but for its version and what stands before that.
const FILL: &[u8] = b"\x03\x01\x02\x10\x01\0\0\0";
const KEY_BYTES: usize = 16;
const LENGTH_BYTES_MAX: usize = 9;
/// Where in a partition pack numbers stand: behind its version (four bytes), the size of the grid (four), and the places of this partition
/// and the one before it.
const NUMBERS: u64 = 24;

/// What has a key and a length.
struct Item {
    key: [u8; KEY_BYTES],
    begin: u64,
    end: u64,
}

/// What a partition says.
struct Partition {
    kind: u8,
    /// Where the last one begins. A recording that was not ended does not know it.
    footer: u64,
    /// Where what describes the file and the index end, which follow the pack.
    end: u64,
}

/// Up to where the file goes by what it says: its last partition, which has no pictures. `None`: it says nothing, or is no such file.
pub fn announced_bytes(file: &File) -> Option<u64> {
    let Partition { kind: HEADER, footer: footer @ 1.., .. } = partition(file, 0)? else { return None };
    let last = partition(file, footer).filter(|last| last.kind == FOOTER);
    Some(last.map_or(footer.saturating_add(KEY_BYTES as u64), |last| last.end))
}

/// The partition that begins at `place`.
fn partition(file: &File, place: u64) -> Option<Partition> {
    let pack = item(file, place)?;
    let kind = *pack.key.strip_prefix(PARTITION)?.first()?;
    let mut numbers = [0; 24];
    file.read_exact_at(&mut numbers, pack.begin.checked_add(NUMBERS)?).ok()?;
    let (numbers, _) = numbers.as_chunks();
    let [footer, description, index] = *numbers else { return None };
    let [footer, description, index] = [footer, description, index].map(u64::from_be_bytes);
    let begin = item(file, pack.end).filter(|fill| fill.key.ends_with(FILL)).map_or(pack.end, |fill| fill.end);
    Some(Partition { kind, footer, end: begin.saturating_add(description).saturating_add(index) })
}

/// The item that begins at `place`: a length is one byte, or that says how many follow which are it.
fn item(file: &File, place: u64) -> Option<Item> {
    let mut head = [0; KEY_BYTES + LENGTH_BYTES_MAX];
    let read = file.read_at(&mut head, place).ok()?;
    let (key, rest) = head.get(..read)?.split_first_chunk::<KEY_BYTES>()?;
    let (first, rest) = rest.split_first()?;
    let bytes = if *first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    let long = rest.get(..bytes)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    let begin = place.checked_add((KEY_BYTES + 1 + bytes) as u64)?;
    Some(Item { key: *key, begin, end: begin.checked_add(if bytes == 0 { u64::from(*first & 0x7f) } else { long })? })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn announced(bytes: &[u8]) -> Option<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        announced_bytes(&file)
    }

    #[test]
    fn the_first_partition_tells_where_the_last_is_and_that_how_long_it_is() {
        for length in [&[88][..], &[0x83, 0, 0, 88], &[0x88, 0, 0, 0, 0, 0, 0, 0, 88]] {
            let partition = |kind: u8, footer: u64| {
                let numbers = [footer, 10, 300].map(u64::to_be_bytes).concat();
                [PARTITION, &[kind, 4, 0], length, &[0; NUMBERS as usize], &numbers, &[0; 40]].concat()
            };
            let file = |footer: u64| [partition(HEADER, footer), vec![0; 500]].concat();
            assert_eq!(announced(&file(5000)), Some(5016));
            assert_eq!(announced(&file(0)), None);
            assert_eq!(announced(&file(5000)[1..]), None);
            assert_eq!(announced(&file(5000)[..40]), None);
            let place = file(0).len() as u64;
            let fill = [b"\x06\x0e\x2b\x34\x01\x01\x01\x02", FILL, &[3, 0, 0, 0]].concat();
            let with = |kind: u8, fill: &[u8]| [&file(place), &partition(kind, place), fill, &[0; 310]].concat();
            for fill in [&fill[..], &[]] {
                let whole = with(FOOTER, fill);
                assert_eq!(announced(&whole), Some(whole.len() as u64));
                assert_eq!(announced(&whole[..whole.len() - 1]), Some(whole.len() as u64));
            }
            assert_eq!(announced(&with(3, &fill)), Some(place + 16));
        }
    }
}
