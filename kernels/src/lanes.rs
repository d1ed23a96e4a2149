//! Lines of short numbers into rows, several lines at once: for `decode/csv`, whose files are many such lines.
//!
//! A field begins where the one before it ends, and while a processor works that out it has little else to do. Here it has the
//! other lanes: lines from elsewhere in the text, of which one from each is taken in turn. A number is read from sixteen bytes:
//! its digits are moved to the end of a vector, without the point, and multiplied by their places there (W. Muła, SIMD-ized
//! conversion of strings to integers, 2014).

#![allow(unsafe_code, reason = "instructions that not every processor has, and reads within a piece that was checked")]

/// Lines that are taken at once. With two, and with four, a field takes a tenth longer.
pub const LANES: usize = 3;

/// What a field becomes: a number in the least byte first, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Unwanted,
    F4,
    F8,
    I1,
    I2,
    I4,
    I8,
    U1,
    U2,
    U4,
    U8,
    /// It takes more than digits to tell what it is.
    Other,
}

impl Form {
    /// Bytes of its number.
    fn bytes(self) -> usize {
        match self {
            Self::Unwanted | Self::Other => 0,
            Self::I1 | Self::U1 => 1,
            Self::I2 | Self::U2 => 2,
            Self::F4 | Self::I4 | Self::U4 => 4,
            Self::F8 | Self::I8 | Self::U8 => 8,
        }
    }
}

/// A field of a line.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub form: Form,
    /// Where its number begins in the row.
    pub at: usize,
}

/// Bytes with a meaning beside those of the fields.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    pub delimiter: u8,
    pub quote: Option<u8>,
    /// At the start of a line.
    pub comment: Option<u8>,
    /// Lines end in CRLF, in place of LF.
    pub is_crlf: bool,
}

/// Fills a field that is no short number: it gets the number of the field, the text from there on, and the row, and gives the
/// bytes of the field. `None`: the field is bad.
pub type Other<'a> = &'a mut dyn FnMut(usize, &[u8], &mut [u8]) -> Option<usize>;

/// Whether this processor has what it takes.
pub fn is_able() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Takes `count` lines from each of `starts` in `text`, and fills that many rows for the first lane, behind them those for the
/// second, and so on.
///
/// Where the last lane ends, behind its last LF. `None`: some line is empty, a comment, or another one than its fields say, or
/// ends otherwise, or `other` refused it; what the rows hold has no meaning then. So it is where [`is_able`] says no.
pub fn fill(
    text: &[u8],
    starts: [usize; LANES],
    count: usize,
    (fields, marks): (&[Field], &Marks),
    (rows, row_bytes): (&mut [u8], usize),
    other: Other<'_>,
) -> Option<usize> {
    let is_within = |field: &Field| field.at.checked_add(field.form.bytes()).is_some_and(|end| end <= row_bytes);
    let room = LANES.checked_mul(count)?.checked_mul(row_bytes)?;
    if !is_able() || rows.len() < room || !fields.iter().all(is_within) {
        return None;
    }
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, there is room for all rows, and numbers lie within theirs: as was just seen.
    return unsafe { x86::fill(text, starts, count, (fields, marks), (rows, row_bytes), other) };
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (text, starts, marks, other);
        None
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Field, Form, LANES, Marks, Other};

    /// Bytes that are looked at for a number: a sign, and sixteen more.
    const READ: usize = 17;
    /// Digits that are taken, at most, with the point. Such integers are exact as `f8`.
    const LENGTH_MAX: usize = 15;

    /// By the digits before a point, or before the end where there is none, and the end ([`place`]): which byte goes to which
    /// place, so that the digits come last and zeros before them.
    #[allow(clippy::indexing_slicing, reason = "the compiler would find what lies outside")]
    static ORDERS: [Order; 256] = {
        let mut orders = [Order([0x80; 16]); 256];
        let mut whole = 0;
        while whole < 16 {
            let mut end = whole;
            while end < 16 {
                let (mut from, mut to) = (end, 16);
                while from > 0 {
                    from -= 1;
                    if from != whole || end == whole {
                        to -= 1;
                        orders[place(whole, end)].0[to] = from as u8;
                    }
                }
                end += 1;
            }
            whole += 1;
        }
        orders
    };
    /// Likewise: the power of ten that the digits are to be divided by, behind those the same below zero.
    #[allow(clippy::indexing_slicing, reason = "the compiler would find what lies outside")]
    static DIVISORS: [f64; 512] = {
        let mut divisors = [1.0; 512];
        let mut whole = 0;
        while whole < 16 {
            let mut end = whole;
            // Exact, up to 10^22.
            let mut power = 1.0;
            while end < 16 {
                divisors[place(whole, end)] = power;
                divisors[256 + place(whole, end)] = -power;
                if end > whole {
                    power *= 10.0;
                }
                end += 1;
            }
            whole += 1;
        }
        divisors
    };

    #[repr(align(16))]
    #[derive(Clone, Copy)]
    struct Order([u8; 16]);

    const fn place(whole: usize, end: usize) -> usize {
        whole * 16 + end
    }

    /// A number at the front of a text.
    #[derive(Clone, Copy)]
    struct Short {
        /// 1 where it is negative.
        sign: usize,
        /// Without the point.
        digits: i64,
        has_point: bool,
        /// In the tables.
        place: usize,
        /// Bytes of it, fewer than [`READ`].
        length: usize,
    }

    impl Short {
        /// `None` for other texts.
        ///
        /// # Safety
        /// There are [`READ`] bytes.
        #[target_feature(enable = "avx,bmi1,bmi2")]
        #[inline]
        unsafe fn read(text: *const u8) -> Option<Self> {
            // SAFETY: by the caller's promise; a place is below sixteen, or 32 and made 0.
            unsafe {
                let sign = usize::from(*text == b'-');
                let text = text.add(sign);
                let bytes = _mm_loadu_si128(text.cast());
                let digits = _mm_xor_si128(bytes, _mm_set1_epi8(0x30));
                let are_digits = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);
                let others = _mm_movemask_epi8(are_digits) as u32 ^ 0xFFFF;
                let whole = others.trailing_zeros() as usize;
                let has_point = *text.add(whole & 15) == b'.';
                let end = if has_point { _blsr_u32(others).trailing_zeros() as usize } else { whole };
                // Where there is no end in sixteen bytes, it is 32.
                if end.wrapping_sub(usize::from(has_point)).wrapping_sub(1) >= LENGTH_MAX {
                    return None;
                }
                let place = place(whole, end);
                let order = _mm_load_si128(ORDERS.as_ptr().add(place).cast());
                let pairs = _mm_maddubs_epi16(_mm_shuffle_epi8(digits, order), _mm_set1_epi16(10 | 1 << 8));
                let fours = _mm_madd_epi16(pairs, _mm_set1_epi32(100 | 1 << 16));
                let fours = _mm_packus_epi32(fours, fours);
                let eights = _mm_cvtsi128_si64(_mm_madd_epi16(fours, _mm_set1_epi32(10_000 | 1 << 16)));
                let digits = (eights & 0xFFFF_FFFF) * 100_000_000 + (eights >> 32);
                Some(Self { sign, digits, has_point, place, length: sign + end })
            }
        }

        /// The nearest one: both numbers are exact, and a division rounds once.
        #[target_feature(enable = "avx,bmi1,bmi2")]
        #[inline]
        fn real(self) -> f64 {
            // SAFETY: a place is below 256.
            self.digits as f64 / unsafe { DIVISORS.get_unchecked(256 * self.sign + self.place) }
        }

        /// `None` where only the text knows the nearer one of two, or what is too small.
        #[target_feature(enable = "avx,bmi1,bmi2")]
        #[inline]
        fn single(self) -> Option<f32> {
            const LOST: u64 = (1 << (f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS)) - 1;
            let number = self.real();
            let is_between = number.to_bits() & LOST == LOST / 2 + 1;
            // The least that is not zero is 1e-14.
            (!is_between).then_some(number as f32)
        }

        #[target_feature(enable = "avx,bmi1,bmi2")]
        #[inline]
        fn integer<Number: TryFrom<i64>>(self) -> Option<Number> {
            let number = if self.sign == 1 { -self.digits } else { self.digits };
            if self.has_point { None } else { Number::try_from(number).ok() }
        }
    }

    /// # Safety
    /// `rows` has room for `LANES * count` rows, and the numbers of the fields lie within theirs.
    #[target_feature(enable = "avx,bmi1,bmi2")]
    pub(super) unsafe fn fill(
        text: &[u8],
        starts: [usize; LANES],
        count: usize,
        (fields, marks): (&[Field], &Marks),
        (rows, row_bytes): (&mut [u8], usize),
        other: Other<'_>,
    ) -> Option<usize> {
        // Where the next field of each lane begins, and its row.
        let mut at = starts;
        let mut row_at: [usize; LANES] = std::array::from_fn(|lane| lane * count * row_bytes);
        // From here on numbers are left to `other`.
        let tail = (text.len() + 1).saturating_sub(READ);
        let last = fields.len().checked_sub(1)?;
        let rows = rows.as_mut_ptr();
        for _ in 0..count {
            for at in &at {
                let first = *text.get(*at)?;
                if matches!(first, b'\n' | b'\r') || Some(first) == marks.comment {
                    return None;
                }
            }
            for (number, field) in fields.iter().enumerate() {
                let ending = match (number == last, marks.is_crlf) {
                    (false, _) => marks.delimiter,
                    (true, false) => b'\n',
                    (true, true) => b'\r',
                };
                macro_rules! slowly {
                    ($at:expr, $row_at:expr) => {{
                        // SAFETY: one of the rows that there is room for.
                        let row = unsafe { std::slice::from_raw_parts_mut(rows.add($row_at), row_bytes) };
                        let length = other(number, text.get($at..)?, row)?;
                        behind(text, $at + length, ending)?
                    }};
                }
                // `$read` gives the bytes of the number.
                macro_rules! numbers {
                    (|$short:ident| $read:expr) => {
                        for (at, row_at) in at.iter_mut().zip(&row_at) {
                            // SAFETY: there are READ bytes before the tail, and a number has fewer. The row is one of those that
                            // there is room for, and the number lies within it.
                            unsafe {
                                if *at < tail
                                    && let Some($short) = Short::read(text.as_ptr().add(*at))
                                    && let Some(bytes) = $read
                                    && *text.as_ptr().add(*at + $short.length) == ending
                                {
                                    rows.add(*row_at + field.at).cast::<[u8; _]>().write(bytes);
                                    *at += $short.length + 1;
                                    continue;
                                }
                            }
                            *at = slowly!(*at, *row_at);
                        }
                    };
                }
                match field.form {
                    Form::F8 => numbers!(|short| Some(short.real().to_le_bytes())),
                    Form::F4 => numbers!(|short| short.single().map(f32::to_le_bytes)),
                    Form::I1 => numbers!(|short| short.integer().map(i8::to_le_bytes)),
                    Form::I2 => numbers!(|short| short.integer().map(i16::to_le_bytes)),
                    Form::I4 => numbers!(|short| short.integer().map(i32::to_le_bytes)),
                    Form::I8 => numbers!(|short| short.integer().map(i64::to_le_bytes)),
                    Form::U1 => numbers!(|short| short.integer().map(u8::to_le_bytes)),
                    Form::U2 => numbers!(|short| short.integer().map(u16::to_le_bytes)),
                    Form::U4 => numbers!(|short| short.integer().map(u32::to_le_bytes)),
                    Form::U8 => numbers!(|short| short.integer().map(u64::to_le_bytes)),
                    Form::Unwanted => {
                        for (at, row_at) in at.iter_mut().zip(&row_at) {
                            *at = match to_end(text.get(*at..)?, marks) {
                                Some(length) => behind(text, *at + length, ending)?,
                                None => slowly!(*at, *row_at),
                            };
                        }
                    }
                    Form::Other => {
                        for (at, row_at) in at.iter_mut().zip(&row_at) {
                            *at = slowly!(*at, *row_at);
                        }
                    }
                }
            }
            if marks.is_crlf {
                for at in &mut at {
                    *at = behind(text, *at, b'\n')?;
                }
            }
            for row_at in &mut row_at {
                *row_at += row_bytes;
            }
        }
        at.last().copied()
    }

    /// Behind the end of a field.
    #[inline]
    fn behind(text: &[u8], at: usize, ending: u8) -> Option<usize> {
        (*text.get(at)? == ending).then_some(at + 1)
    }

    /// The bytes before the first one that has a meaning. `None` where it is not told from the front of the text.
    #[target_feature(enable = "avx,bmi1,bmi2")]
    #[inline]
    fn to_end(text: &[u8], marks: &Marks) -> Option<usize> {
        let mut before = 0;
        loop {
            let sixteen: &[u8; 16] = text.get(before..)?.first_chunk()?;
            // SAFETY: there are sixteen bytes.
            let bytes = unsafe { _mm_loadu_si128(sixteen.as_ptr().cast()) };
            let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
            let quote = marks.quote.unwrap_or(marks.delimiter);
            let ends = _mm_or_si128(_mm_or_si128(is(b'\n'), is(b'\r')), _mm_or_si128(is(marks.delimiter), is(quote)));
            match _mm_movemask_epi8(ends) {
                0 => before += 16,
                ends => return Some(before + ends.trailing_zeros() as usize),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read is what the standard library reads, and what is no short number is asked for.
    #[test]
    fn numbers_are_the_nearest_ones() {
        if !is_able() {
            return;
        }
        const ROW_BYTES: usize = 21;
        let forms = [Form::F8, Form::F4, Form::I8, Form::U1];
        let fields: Vec<Field> = forms.into_iter().zip([0, 8, 12, 20]).map(|(form, at)| Field { form, at }).collect();
        let mut random = fastrand::Rng::with_seed(2);
        let (mut read, mut asked) = (0, 0);
        for round in 0..3000 {
            let marks = Marks { delimiter: b',', quote: Some(b'"'), comment: Some(b'#'), is_crlf: round % 2 == 0 };
            let number = |random: &mut fastrand::Rng, can_have_point: bool| {
                let digits = random.usize(1..=20);
                let mut text: String = (0..digits).map(|_| random.digit(10)).collect();
                if can_have_point && random.bool() {
                    text.insert(random.usize(..=digits), '.');
                }
                if random.bool() { format!("-{text}") } else { text }
            };
            let count = random.usize(1..4);
            let lines: Vec<[String; 4]> = (0..LANES * count)
                .map(|_| {
                    let long = [number(&mut random, true), number(&mut random, true), number(&mut random, false)];
                    let [one, two, three] = long;
                    [one, two, three, random.u8(..).to_string()]
                })
                .collect();
            let ending = if marks.is_crlf { "\r\n" } else { "\n" };
            let texts: Vec<String> = lines.iter().map(|fields| fields.join(",") + ending).collect();
            let text = texts.concat() + &"9".repeat(random.usize(..20));
            let starts = std::array::from_fn(|lane| texts[..lane * count].concat().len());
            let mut rows = vec![0xAA; LANES * count * ROW_BYTES];
            let mut others = Vec::new();
            let mut other = |number: usize, text: &[u8], row: &mut [u8]| {
                row[0] = 0xBB;
                let end = text.iter().position(|byte| matches!(byte, b',' | b'\r' | b'\n'))?;
                others.push((number, String::from_utf8(text[..end].to_vec()).unwrap()));
                Some(end)
            };
            let end = fill(text.as_bytes(), starts, count, (&fields, &marks), (&mut rows, ROW_BYTES), &mut other);
            assert_eq!(end, Some(texts.concat().len()), "{text:?}");
            for (line, row) in lines.iter().zip(rows.chunks_exact(ROW_BYTES)) {
                for (number, (field, text)) in fields.iter().zip(line).enumerate() {
                    if others.contains(&(number, text.clone())) {
                        asked += 1;
                        continue;
                    }
                    let expected = match field.form {
                        Form::F8 => text.parse::<f64>().unwrap().to_le_bytes().to_vec(),
                        Form::F4 => text.parse::<f32>().unwrap().to_le_bytes().to_vec(),
                        Form::I8 => text.parse::<i64>().unwrap().to_le_bytes().to_vec(),
                        _ => text.parse::<u8>().unwrap().to_le_bytes().to_vec(),
                    };
                    // Whoever was asked for another field of the row has written to its first byte.
                    let skipped = usize::from(field.at == 0 && row[0] == 0xBB);
                    assert_eq!(row[field.at + skipped..][..expected.len() - skipped], expected[skipped..], "{text}");
                    read += 1;
                }
            }
        }
        assert!(read > 20_000 && asked > 5_000, "{read} {asked}");
    }

    /// These are no lines of two numbers.
    #[test]
    fn what_is_no_line_of_its_fields_is_left() {
        let fields = [Field { form: Form::F8, at: 0 }, Field { form: Form::Unwanted, at: 0 }];
        let marks = Marks { delimiter: b',', quote: Some(b'"'), comment: Some(b'#'), is_crlf: false };
        let fill_with = |line: &str| {
            // Numbers are looked at where enough follows them.
            let text = format!("1.5,a\n{line}3,c\n{}", " ".repeat(40));
            let starts = [0, 6, 6 + line.len()];
            let mut other = |_: usize, _: &[u8], _: &mut [u8]| None;
            fill(text.as_bytes(), starts, 1, (&fields, &marks), (&mut [0; 24], 8), &mut other)
        };
        assert_eq!(fill_with("2,b\n"), is_able().then_some(14));
        for line in ["\n", "#2,b\n", "2\n", "2,b,c\n", "2,\"b\"\n", "2,b\r\n", "x,b\n", "-,b\n", ".,b\n", "2;b\n"] {
            assert_eq!(fill_with(line), None, "{line:?}");
        }
        let far = [Field { form: Form::F8, at: 1 }];
        let mut other = |_: usize, _: &[u8], _: &mut [u8]| None;
        assert_eq!(fill(b"1\n2\n3\n", [0, 2, 4], 1, (&far, &marks), (&mut [0; 24], 8), &mut other), None);
        assert_eq!(fill(b"1\n2\n3\n", [0, 2, 4], 1, (&[], &marks), (&mut [0; 24], 8), &mut other), None);
    }
}
