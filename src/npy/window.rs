//! The block of 16 bytes that a count is published with, and how a header that has none gets one.
//!
//! A count is published by one write of 16 bytes at a multiple of 16: readers see the old count or the new one, and so
//! does a disk that loses power. The count's digits, right-aligned in a window of spaces, take some or all of the block;
//! what else stands in the block is written again as it is.
//!
//! Other programs leave their spaces at the end of the header. [`CountBlock::make`] moves them in front of the count, once,
//! with the header as long as before: from `(12, 3), }.......\n` to `(.........12, 3), }\n`.

use super::growth::{WINDOW_BYTES, WINDOW_BYTES_MIN};
use super::header::{Header, MAGIC, Version};
use super::layout::Layout;
use super::text::HeaderText;

/// Where the count stands, and what stands around it in its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CountBlock {
    /// A multiple of 16.
    offset: u64,
    bytes: [u8; WINDOW_BYTES],
    /// The window within the block.
    start: usize,
    end: usize,
}

impl CountBlock {
    /// The block of a header that has a window of the usual width.
    fn of(header: &Header, header_bytes: &[u8]) -> Option<Self> {
        let window = header.window()?;
        Self::at(header_bytes, window.start, window.end)
    }

    /// The block of this header and, where the header has to be rearranged first, its new bytes: as many as before, saying
    /// the same. The window is as wide as there is room for. `None` if there is no room even for the count as it is.
    pub fn make(header: &Header, header_bytes: &[u8]) -> Option<(Self, Option<Vec<u8>>)> {
        let present = Self::of_appender(header, header_bytes).map(|block| (block, None));
        present.or_else(|| Self::arranged(header, header_bytes))
    }

    /// The block of a header that an appender has written. Another program's that happens to end in such a window is not left
    /// as it is: rows behind its count could not be told from those of its program, after a crash.
    fn of_appender(header: &Header, header_bytes: &[u8]) -> Option<Self> {
        Self::of(header, header_bytes).filter(|_| Self::is_of_appender(header, header_bytes))
    }

    /// As [`Self::make`], whatever window there is.
    fn arranged(header: &Header, header_bytes: &[u8]) -> Option<(Self, Option<Vec<u8>>)> {
        let text = HeaderText::new(&header.dtype, header.row_shape(), header.fortran_order);
        // Version 1.0 has two bytes of length less, which can make the difference.
        let shorter = Some(Version::V1_0).filter(|_| text.is_latin1() && header.data_start <= u64::from(u16::MAX));
        let versions = [Some(header.version), shorter];
        let arranged = versions.into_iter().flatten().filter_map(|version| arrange(header, &text, version));
        let wider = |best: (Vec<u8>, usize, usize), next: (Vec<u8>, usize, usize)| {
            if next.2.saturating_sub(next.1) > best.2.saturating_sub(best.1) { next } else { best }
        };
        let (bytes, start, end) = arranged.reduce(wider)?;
        read_again(&bytes, header)?;
        let block = Self::at(&bytes, start, end)?;
        Some((block, (bytes != header_bytes).then_some(bytes)))
    }

    /// As [`Self::make`], if the window is wide enough to append: see [`WINDOW_BYTES_MIN`].
    pub fn wide(header: &Header, header_bytes: &[u8]) -> Option<(Self, Option<Vec<u8>>)> {
        Self::make(header, header_bytes).filter(|(block, _)| block.width() >= WINDOW_BYTES_MIN)
    }

    /// As [`Self::wide`], if there is room for a digit more than the count has, or for as many as there can be.
    pub fn roomy(header: &Header, header_bytes: &[u8]) -> Option<(Self, Option<Vec<u8>>)> {
        let used = digits(header.rows()?);
        let has_spare = |width| width >= WINDOW_BYTES || (width >= WINDOW_BYTES_MIN && width > used);
        let present = Self::of_appender(header, header_bytes).map(|block| (block, None));
        let roomy = present.filter(|(block, _)| has_spare(block.width()));
        roomy.or_else(|| Self::arranged(header, header_bytes).filter(|(block, _)| has_spare(block.width())))
    }

    /// Whether the header is byte for byte what an appender writes: laid out by us, or rearranged.
    pub fn is_of_appender(header: &Header, header_bytes: &[u8]) -> bool {
        let text = HeaderText::new(&header.dtype, header.row_shape(), header.fortran_order);
        let arranged = || arrange(header, &text, header.version).is_some_and(|(bytes, ..)| bytes == header_bytes);
        Layout::from_header(header_bytes).is_ok() || (Self::of(header, header_bytes).is_some() && arranged())
    }

    fn at(header: &[u8], start: usize, end: usize) -> Option<Self> {
        let offset = start / WINDOW_BYTES * WINDOW_BYTES;
        let bytes = header.get(offset..)?.first_chunk().copied()?;
        let (start, end) = (start.checked_sub(offset)?, end.checked_sub(offset)?);
        (start < end && end <= WINDOW_BYTES).then_some(Self { offset: u64::try_from(offset).ok()?, bytes, start, end })
    }

    /// Where the block begins in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many digits a count may have.
    pub fn width(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// The largest count that has room.
    pub fn rows_max(&self) -> u64 {
        10_u64.saturating_pow(u32::try_from(self.width()).unwrap_or(u32::MAX)).saturating_sub(1)
    }

    /// The block with this count in it; `None` if it has too many digits.
    pub fn with(&self, rows: u64) -> Option<[u8; WINDOW_BYTES]> {
        let mut block = self.bytes;
        write_digits(block.get_mut(self.start..self.end)?, rows).then_some(block)
    }
}

/// Fills the window with the number, right-aligned behind spaces. `false` if it has too many digits.
pub(super) fn write_digits(window: &mut [u8], number: u64) -> bool {
    let (mut rest, is_empty) = (number, window.is_empty());
    let mut places = window.iter_mut().rev();
    for place in places.by_ref() {
        *place = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or_default());
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    // Most of a window is this, which takes no division.
    places.for_each(|place| *place = b' ');
    rest == 0 && !is_empty
}

/// So many digits a number has.
pub(super) fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

/// A header for so many rows of this version, with room for every count, that is longer: by 64 to 127 bytes.
pub(super) fn longer(header: &Header, rows: u64, version: Version) -> Option<Vec<u8>> {
    let mut wanted = header.clone();
    let counted = if header.fortran_order { wanted.shape.last_mut() } else { wanted.shape.first_mut() };
    *counted? = rows;
    wanted.data_start = header.data_start.checked_add(64)?.next_multiple_of(64);
    let text = HeaderText::new(&header.dtype, header.row_shape(), header.fortran_order);
    let (bytes, ..) = arrange(&wanted, &text, version)?;
    let read = read_again(&bytes, &wanted)?;
    matches!(CountBlock::roomy(&read, &bytes), Some((_, None))).then_some(bytes)
}

/// What is written is read again: it must be this array.
fn read_again(bytes: &[u8], wanted: &Header) -> Option<Header> {
    Header::parse(bytes).ok().filter(|read| {
        read.dtype == wanted.dtype
            && read.fortran_order == wanted.fortran_order
            && read.shape == wanted.shape
            && read.data_start == wanted.data_start
    })
}

/// The header with the widest window that there is room for, and where the window begins and ends.
fn arrange(header: &Header, text: &HeaderText, version: Version) -> Option<(Vec<u8>, usize, usize)> {
    let rows = header.rows()?;
    let total = usize::try_from(header.data_start).ok()?;
    let mut before = MAGIC.to_vec();
    before.extend_from_slice(&version.bytes());
    let text_bytes = u32::try_from(total.checked_sub(version.prefix_bytes())?).ok()?.to_le_bytes();
    before.extend(text_bytes.iter().take(version.prefix_bytes().saturating_sub(before.len())));
    for piece in [&text.descr, &text.order, &text.shape] {
        HeaderText::encode(version, piece, &mut before);
    }
    let digits = digits(rows);
    for width in (digits..=WINDOW_BYTES).rev() {
        let first = before.len();
        let block_end = first.checked_add(1)?.next_multiple_of(WINDOW_BYTES);
        let start = if first.checked_add(width)? <= block_end { first } else { block_end };
        let end = start.checked_add(width)?;
        // One more for the newline.
        if end.checked_add(text.rest.len())?.checked_add(1)? > total {
            continue;
        }
        let mut bytes = before;
        bytes.resize(end, b' ');
        if !write_digits(bytes.get_mut(start..end)?, rows) {
            return None;
        }
        bytes.extend_from_slice(text.rest.as_bytes());
        bytes.resize(total.checked_sub(1)?, b' ');
        bytes.push(b'\n');
        return Some((bytes, start, end));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::dtype::Dtype;
    use super::super::header::tests::wrap;
    use super::*;

    fn made(bytes: &[u8]) -> Option<(CountBlock, Option<Vec<u8>>)> {
        CountBlock::make(&Header::parse(bytes).unwrap(), bytes)
    }

    #[test]
    fn numbers_are_right_aligned() {
        let written = |width: usize, number| {
            let mut window = vec![b'x'; width];
            write_digits(&mut window, number).then(|| String::from_utf8(window).unwrap())
        };
        assert_eq!(written(4, 0).unwrap(), "   0");
        assert_eq!(written(4, 1_024).unwrap(), "1024");
        assert_eq!(written(16, 7).unwrap(), "               7");
        assert_eq!(written(16, 9_999_999_999_999_999).unwrap(), "9999999999999999");
        assert_eq!(written(4, 10_000), None);
        assert_eq!(written(0, 0), None);
    }

    #[test]
    fn room_at_the_end_becomes_a_window() {
        let bytes = wrap(Version::V1_0, "{'descr': '<f4', 'fortran_order': False, 'shape': (12, 3), }");
        let (block, new) = made(&bytes).unwrap();
        let new = new.unwrap();
        assert_eq!((new.len(), block.offset(), block.width()), (128, 64, 16));
        assert_eq!(
            &new[..80],
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (                 12"
        );
        assert_eq!(&block.with(1_000).unwrap(), b"            1000");
        // Once it has its window it keeps it.
        assert_eq!(made(&new), Some((CountBlock { bytes: *b"              12", ..block }, None)));
    }

    #[test]
    fn every_header_of_numpy_has_room_for_a_window_of_11_digits() {
        for name_length in 1..200 {
            let field = "n".repeat(name_length);
            for (version, order, shape) in [
                (Version::V1_0, "False", "(12, 3)"),
                (Version::V2_0, "True", "(3, 12)"),
                (Version::V3_0, "False", "(12,)"),
            ] {
                // NumPy pads the count to 21 digits, and then to a multiple of 64.
                let text = format!("{{'descr': [('{field}', '<f4')], 'fortran_order': {order}, 'shape': {shape}, }}");
                let bytes = wrap(version, &(text + &" ".repeat(19)));
                let (block, new) = made(&bytes).unwrap_or_else(|| panic!("{name_length}"));
                assert!(block.width() >= 11, "{name_length}: {}", block.width());
                let new = new.unwrap();
                let again = Header::parse(&new).unwrap();
                let found = CountBlock::of(&again, &new).unwrap();
                assert_eq!((found.offset(), found.end), (block.offset(), block.end), "{name_length}");
                // The separator before the last of several dimensions may count as part of it.
                assert!((block.width()..=block.width() + 1).contains(&found.width()), "{name_length}");
                let largest = 10_u64.pow(u32::try_from(block.width()).unwrap()) - 1;
                let mut grown = new.clone();
                let at = usize::try_from(block.offset()).unwrap();
                grown[at..at + 16].copy_from_slice(&block.with(largest).unwrap());
                assert_eq!(Header::parse(&grown).unwrap().rows(), Some(largest));
            }
        }
    }

    #[test]
    fn a_tight_header_takes_as_many_digits_as_fit_or_none() {
        // 116 bytes of text in 118 leave one space: the window has three digits.
        let text = |name: &str, count: u32| {
            format!("{{'descr': [('{name}', '<f4')], 'fortran_order': False, 'shape': ({count},), }}")
        };
        let name = "n".repeat(116 - text("", 12).len());
        let bytes = wrap(Version::V1_0, &text(&name, 12));
        let (block, new) = made(&bytes).unwrap();
        assert_eq!((block.width(), new.unwrap().len()), (3, 128));
        assert_eq!(block.with(1_000), None);
        // Digits on both sides of a multiple of 16, and no room to move them.
        let text = |name: &str| {
            format!("{{'descr': [('{name}', '<f4')], 'fortran_order': False, 'shape': (1234567, 2, 3, 4), }}")
        };
        let bytes = wrap(Version::V1_0, &text(&"n".repeat(117 - text("").len())));
        let at = bytes.windows(7).position(|window| window == b"1234567").unwrap();
        assert!(at / 16 != (at + 6) / 16, "{at}");
        assert_eq!(made(&bytes), None);
    }

    /// The bug: `ensure-appendable`, to which a full array was sent, found that it was appendable as it was.
    #[test]
    fn a_window_that_is_full_is_no_room() {
        let roomy = |rows: u64, spaces: usize| {
            let text = |name: &str| {
                format!("{{'descr': [('{name}', '|u1')], 'fortran_order': False, 'shape': ({rows:>12},), }}")
            };
            // The window begins at a multiple of 16, and ends the header or has room behind it.
            let begin = |name: &str| 10 + text(name).find("'shape': (").unwrap() + 10;
            let name = (1..).map(|length| "n".repeat(length)).find(|name| begin(name) % 16 == 0).unwrap();
            let text = text(&name) + &" ".repeat(spaces) + "\n";
            let bytes = [&MAGIC[..], &[1, 0, text.len() as u8, 0], text.as_bytes()].concat();
            CountBlock::roomy(&Header::parse(&bytes).unwrap(), &bytes)
                .map(|(block, new)| (block.width(), new.is_some()))
        };
        assert_eq!(roomy(99_999_999_999, 0), Some((12, false)));
        assert_eq!(roomy(999_999_999_999, 0), None);
        assert_eq!(roomy(999_999_999_999, 8), Some((16, true)));
    }

    #[test]
    fn arrays_without_rows_have_no_block() {
        assert_eq!(made(&wrap(Version::V1_0, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }")), None);
        let dtype = Dtype::parse("<f4").unwrap();
        assert!(HeaderText::new(&dtype, &[3_u64], false).is_latin1());
    }
}
