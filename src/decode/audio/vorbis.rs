//! What the setup header of Vorbis claims: a codebook of twenty bytes may take a hundred megabytes, and there may be 256 of them.
//!
//! Source: Vorbis I specification, 3.2.1 (codebooks) and 4.2.4 (the setup header). What is merely broken, the decoder finds.

use super::rejected;
use crate::decode::DecodeError;

/// The length of the identification header: 4.2.2.
const IDENTIFICATION_BYTES: usize = 30;
/// Entries of all codebooks: encoders come to some ten thousands.
const ENTRIES_MAX: u64 = 1 << 18;
/// Numbers of all entries.
const VALUES_MAX: u64 = 1 << 23;

/// Refuses codebooks that are larger in all than any encoder's. `headers`: the identification header and, behind it, the setup
/// header, which is where the decoder looks for it.
pub(super) fn check(headers: &[u8]) -> Result<(), DecodeError> {
    const SETUP: &[u8] = b"\x05vorbis";
    let Some(setup) = headers.get(IDENTIFICATION_BYTES..).and_then(|setup| setup.strip_prefix(SETUP)) else {
        return Err(rejected("its headers (Vorbis) are not where they have to be: the file is damaged"));
    };
    let mut bits = Bits { bytes: setup, at: 0 };
    let (mut entries, mut values) = (0_u64, 0_u64);
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
            pass_lengths(&mut bits, of_book)?;
            pass_lookup(&mut bits, of_book, dimensions)?;
        }
        Some(false)
    };
    if next() == Some(true) {
        return Err(rejected(format!(
            "its codebooks (Vorbis) have {entries} entries and {values} numbers, more than the limits of {ENTRIES_MAX} and \
             {VALUES_MAX}: encode it anew"
        )));
    }
    Ok(())
}

/// The length of the code of each entry.
fn pass_lengths(bits: &mut Bits<'_>, entries: u64) -> Option<()> {
    let is_ordered = bits.take(1)? == 1;
    if is_ordered {
        let mut done = 0;
        bits.take(5)?;
        while done < entries {
            let width = 64 - (entries - done).leading_zeros();
            done += bits.take(width)?;
        }
        return Some(());
    }
    let is_sparse = bits.take(1)? == 1;
    for _ in 0..entries {
        if !is_sparse || bits.take(1)? == 1 {
            bits.take(5)?;
        }
    }
    Some(())
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
        assert!(reason(&[(100_000, 1), (100_000, 1), (100_000, 1)]).contains("have 300000 entries and 300000 numbers"));
        assert!(reason(&[(81, 4), (100, 2), (200, 60_000)]).contains("have 381 entries and 12000524 numbers"));
        let whole = header(&[(100_000, 1), (200_000, 1)]);
        assert!((0..37).all(|length| check(&whole[..length]).is_err()));
        assert!((37..45).all(|length| check(&whole[..length]).is_ok()));
    }

    #[test]
    fn roots_are_exact() {
        assert_eq!(
            [(81, 4), (80, 4), (6561, 8), (7, 1), (1, 40), (1 << 24, 2)].map(|(e, d)| root(e, d)),
            [3, 2, 3, 7, 1, 4096]
        );
    }
}
