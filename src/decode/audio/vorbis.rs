//! What the setup header of Vorbis claims: a codebook of twenty bytes may take a hundred megabytes, and there may be 256 of them.
//!
//! Source: Vorbis I specification, 3.2.1 (codebooks) and 4.2.4 (the setup header). What is merely broken, the decoder finds.

use super::rejected;
use crate::decode::DecodeError;

/// The length of the identification header: 4.2.2.
const IDENTIFICATION_BYTES: usize = 30;
/// Entries of all codebooks: encoders come to some ten thousands.
const ENTRIES_MAX: u64 = 1 << 18;
/// Numbers of all entries: encoders come to 88,000.
const VALUES_MAX: u64 = 1 << 22;
/// Tables of all codebooks: the decoder takes one of 256 places, 2 KiB, for each eight bits that different codes have in common
/// before their end. Encoders come to 3,500.
const TABLES_MAX: u64 = 1 << 13;

/// Refuses codebooks that are larger in all than any encoder's. `headers`: the identification header and, behind it, the setup
/// header, which is where the decoder looks for it.
pub(super) fn check(headers: &[u8]) -> Result<(), DecodeError> {
    const SETUP: &[u8] = b"\x05vorbis";
    let Some(setup) = headers.get(IDENTIFICATION_BYTES..).and_then(|setup| setup.strip_prefix(SETUP)) else {
        return Err(rejected("its headers (Vorbis) are not where they have to be: the file is damaged"));
    };
    let mut bits = Bits { bytes: setup, at: 0 };
    let (mut entries, mut values, mut tables) = (0_u64, 0_u64, 0_u64);
    // A header that ends within a codebook has claimed that one as well.
    let mut next = || -> Option<bool> {
        let books = bits.take(8)? + 1;
        for _ in 0..books {
            let (_sync, dimensions, of_book) = (bits.take(24)?, bits.take(16)?, bits.take(24)?);
            entries += of_book;
            values = values.saturating_add(of_book * dimensions);
            if entries > ENTRIES_MAX || values > VALUES_MAX {
                return Some(true);
            }
            tables += tables_of(&mut bits, of_book)?;
            if tables > TABLES_MAX {
                return Some(true);
            }
            pass_lookup(&mut bits, of_book, dimensions)?;
        }
        Some(false)
    };
    if next() == Some(true) {
        return Err(rejected(format!(
            "its codebooks (Vorbis) have {entries} entries, {values} numbers and {tables} tables of codes, more than the limits \
             of {ENTRIES_MAX}, {VALUES_MAX} and {TABLES_MAX}: encode it anew"
        )));
    }
    Ok(())
}

/// Reads the length of the code of each entry. Returns how many tables these codes need at most.
fn tables_of(bits: &mut Bits<'_>, entries: u64) -> Option<u64> {
    // How many codes go on behind the first, the second and the third eight bits.
    let mut longer = [0_u64; 3];
    let mut add = |length: u64, count: u64| {
        longer.iter_mut().zip([8, 16, 24]).filter(|(_, bits)| length > *bits).for_each(|(codes, _)| *codes += count);
    };
    let is_ordered = bits.take(1)? == 1;
    if is_ordered {
        let (mut done, mut length) = (0, bits.take(5)? + 1);
        while done < entries {
            let width = 64 - (entries - done).leading_zeros();
            let count = bits.take(width)?;
            add(length, count);
            (done, length) = (done + count, length + 1);
        }
    } else {
        let is_sparse = bits.take(1)? == 1;
        for _ in 0..entries {
            if !is_sparse || bits.take(1)? == 1 {
                add(bits.take(5)? + 1, 1);
            }
        }
    }
    // Below each table are two codes at least: the decoder refuses codes that leave something out.
    Some(1 + longer.iter().zip([8, 16, 24]).map(|(codes, bits)| (codes / 2).min(1 << bits)).sum::<u64>())
}

/// The numbers that its entries stand for.
fn pass_lookup(bits: &mut Bits<'_>, entries: u64, dimensions: u64) -> Option<()> {
    let count = match bits.take(4)? {
        0 => return Some(()),
        1 => root(entries, dimensions),
        _ => entries * dimensions,
    };
    bits.pass(64);
    let width = bits.take(4)? + 1;
    bits.pass(1);
    bits.pass(count.saturating_mul(width));
    Some(())
}

/// The largest number whose power by the dimensions is no more than the entries.
fn root(entries: u64, dimensions: u64) -> u64 {
    let exponent = u32::try_from(dimensions).unwrap_or(u32::MAX);
    let fits = |number: u64| number.checked_pow(exponent).is_some_and(|power| power <= entries);
    // Of two and more dimensions it is no more than the root of 2^24.
    if dimensions <= 1 { entries } else { (1..=4096).take_while(|number| fits(*number)).last().unwrap_or(0) }
}

/// Numbers of any width, the low bits of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl Bits<'_> {
    fn take(&mut self, width: u32) -> Option<u64> {
        (0..width).try_fold(0, |number, place| {
            let byte = self.bytes.get(usize::try_from(self.at / 8).ok()?)?;
            let bit = u64::from(byte >> (self.at % 8) & 1);
            self.at += 1;
            Some(number | bit << place)
        })
    }

    fn pass(&mut self, bits: u64) {
        self.at = self.at.saturating_add(bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits, the low ones of each number first.
    fn packed(numbers: &[(u64, u32)]) -> Vec<u8> {
        let bits: Vec<u8> = numbers
            .iter()
            .flat_map(|(number, width)| (0..*width).map(move |place| (number >> place & 1) as u8))
            .collect();
        bits.chunks(8).map(|bits| bits.iter().enumerate().fold(0, |byte, (place, bit)| byte | bit << place)).collect()
    }

    /// Books of so many entries and dimensions, in each of the ways to write one.
    fn header(books: &[(u64, u64)]) -> Vec<u8> {
        let mut numbers = vec![(books.len() as u64 - 1, 8)];
        for (number, (entries, dimensions)) in books.iter().enumerate() {
            numbers.extend([(0x56_4342, 24), (*dimensions, 16), (*entries, 24)]);
            match number % 3 {
                0 => numbers.extend([(1, 1), (7, 5), (*entries, 64 - entries.leading_zeros())]),
                1 => {
                    numbers.extend([(0, 1), (0, 1)]);
                    (0..*entries).for_each(|_| numbers.push((9, 5)));
                }
                _ => {
                    numbers.extend([(0, 1), (1, 1)]);
                    (0..*entries)
                        .for_each(|entry| numbers.extend([(entry % 2, 1), (9, if entry % 2 == 1 { 5 } else { 0 })]));
                }
            }
            let lookup = number as u64 % 2 + 1;
            let count = if lookup == 1 { root(*entries, *dimensions) } else { entries * dimensions };
            numbers.extend([(lookup, 4), (0, 32), (0, 32), (3, 4), (0, 1)]);
            (0..count).for_each(|_| numbers.push((5, 4)));
        }
        // What the first header holds may look like the second.
        [b"\x01vorbis and \x05vorbis, and more.\x05vorbis".as_slice(), &packed(&numbers)].concat()
    }

    #[test]
    fn codebooks_are_counted_over_all_of_them() {
        let reason = |books: &[(u64, u64)]| check(&header(books)).unwrap_err().to_string();
        assert!(check(&header(&[(6561, 4), (81, 4), (625, 2), (7, 1), (1000, 3)])).is_ok());
        assert!(reason(&[(100_000, 1), (100_000, 1), (100_000, 1)]).contains("have 300000 entries, 300000 numbers"));
        assert!(reason(&[(81, 4), (100, 2), (200, 60_000)]).contains("have 381 entries, 12000524 numbers"));
        let whole = header(&[(100_000, 1), (200_000, 1)]);
        assert!((0..37).all(|length| check(&whole[..length]).is_err()));
        assert!((37..45).all(|length| check(&whole[..length]).is_ok()));
    }

    /// Found by fuzzing: 131,072 codes of 17 bits are 40 bytes of a header, and took 400 MB.
    #[test]
    fn tables_are_counted_by_the_lengths_of_codes() {
        let book = |length: u64, entries: u64| {
            let width = 64 - entries.leading_zeros();
            vec![(0x56_4342, 24), (1, 16), (entries, 24), (1, 1), (length - 1, 5), (entries, width), (0, 4)]
        };
        let tables =
            |length, entries| tables_of(&mut Bits { bytes: &packed(&book(length, entries)), at: 64 }, entries).unwrap();
        assert_eq!(
            [(8, 256), (9, 512), (10, 1024), (16, 65_536), (17, 131_072), (17, 100)].map(|(l, n)| tables(l, n)),
            [1, 1 + 256, 1 + 256, 1 + 256, 1 + 256 + 65_536, 1 + 50 + 50]
        );
        let books = |count: usize| {
            let numbers = [vec![(count as u64 - 1, 8)], book(17, 8192).repeat(count)].concat();
            [b"\x01vorbis, and so on to 30 bytes\x05vorbis".as_slice(), &packed(&numbers)].concat()
        };
        assert!(check(&books(1)).is_ok());
        let reason = check(&books(2)).unwrap_err().to_string();
        assert!(reason.contains("have 16384 entries, 16384 numbers and 8706 tables of codes, more than"), "{reason}");
    }

    #[test]
    fn roots_are_exact() {
        assert_eq!(
            [(81, 4), (80, 4), (6561, 8), (7, 1), (1, 40), (1 << 24, 2)].map(|(e, d)| root(e, d)),
            [3, 2, 3, 7, 1, 4096]
        );
    }
}
