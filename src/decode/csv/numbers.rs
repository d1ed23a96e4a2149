//! The text of a number into the number: exactly what the standard library gives, and mostly sooner.

use std::str::FromStr;

use crate::decode::values::half::nearest_half;

pub(super) fn utf8(text: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(text).map_err(|_| "which is not UTF-8 text".to_owned())
}

pub(super) fn whole<Number: FromStr + TryFrom<i64>>(text: &[u8]) -> Result<Number, String> {
    let number = match short_integer(text) {
        Some(number) => Number::try_from(number).ok(),
        None => {
            let text = utf8(text)?;
            let is_minus_zero = text.starts_with("-0") && text.bytes().skip(1).all(|digit| digit == b'0');
            if is_minus_zero { "0" } else { text }.parse().ok()
        }
    };
    number.ok_or_else(|| {
        let bits = 8 * size_of::<Number>();
        let (least, largest) = match Number::try_from(-1) {
            Ok(_) => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
            Err(_) => (0, (1_i128 << bits) - 1),
        };
        format!("expected an integer from {least} to {largest}")
    })
}

/// At most 18 digits, with or without a minus before them. Minus zero is zero, also where there are no negative integers.
fn short_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut number = 0;
    for digit in digits.iter().map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            return None;
        }
        number = number * 10 + i64::from(digit);
    }
    Some(if is_negative { -number } else { number })
}

pub(super) fn real(text: &[u8]) -> Result<f64, String> {
    match short_decimal(text) {
        Some(number) => Ok(number),
        None => {
            let number: f64 = utf8(text)?.parse().map_err(|_| "expected a number".to_owned())?;
            if number.is_infinite() && !is_word(text) { Err(beyond()) } else { Ok(number) }
        }
    }
}

/// Such as `inf`, which is infinite by its meaning.
fn is_word(text: &[u8]) -> bool {
    !text.iter().any(u8::is_ascii_digit)
}

/// What is wrong with a number that the dtype could only call infinite, or with such a time.
pub(super) fn beyond() -> String {
    "which lies beyond what the dtype holds".to_owned()
}

/// Powers of ten that `f8` holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Integers up to here are exact as `f8`.
const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;

/// The digits of a decimal, without its point, over a power of ten. Up to 2^53 that integer and the power of ten are exact, and
/// one division rounds once, as it should (W. D. Clinger, How to Read Floating Point Numbers Accurately, 1990).
#[inline(always)]
fn quotient(is_negative: bool, digits: u64, fraction_digits: usize) -> Option<f64> {
    if digits > EXACT_MAX {
        return None;
    }
    let value = digits as f64 / POWERS_OF_TEN.get(fraction_digits)?;
    Some(f64::from_bits(value.to_bits() | (u64::from(is_negative) << 63)))
}

/// A decimal without an exponent, where [`quotient`] takes its digits.
fn short_decimal(text: &[u8]) -> Option<f64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // So many digits cannot overflow.
    if digits.len() > 19 {
        return None;
    }
    let (mut number, mut point) = (0_u64, None);
    for (place, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            number = number * 10 + u64::from(digit);
        } else if *byte == b'.' && point.is_none() {
            point = Some(place);
        } else {
            return None;
        }
    }
    let fraction_digits = point.map_or(0, |point| digits.len() - point - 1);
    let has_digits = digits.len() > usize::from(point.is_some());
    if has_digits { quotient(is_negative, number, fraction_digits) } else { None }
}

/// Of the nearest `f8`, unless that lies half-way between two `f4`: there only the text knows the nearer one. `None` where
/// a number is too large.
pub(super) fn single(text: &[u8], number: f64) -> Option<f32> {
    const LOST_BITS: u32 = f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS;
    let lost = number.to_bits() & ((1 << LOST_BITS) - 1);
    let is_normal =
        number == 0.0 || (number.abs() >= f64::from(f32::MIN_POSITIVE) && number.abs() < f64::from(f32::MAX));
    if is_normal && lost != 1 << (LOST_BITS - 1) {
        return Some(number as f32);
    }
    let nearest = utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(number as f32);
    (nearest.is_finite() || !number.is_finite()).then_some(nearest)
}

/// As [`single`], of the nearest `f8`, as NumPy does.
pub(super) fn half(number: f64) -> Option<half::f16> {
    let nearest = nearest_half(number);
    (nearest.is_finite() || !number.is_finite()).then_some(nearest)
}

/// A number at the front of a text that goes on behind it: digits, with or without a minus before them and a point among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) is_negative: bool,
    /// Without the point.
    pub(super) digits: u64,
    fraction_digits: usize,
    /// Bytes of the number.
    pub(super) length: usize,
}

// Always inline: a field is a dozen instructions, and each way through them has other constants.
impl Front {
    /// `None` where it has no digits or more than 19 of them, or where the text ends too soon to be read in steps of eight
    /// bytes.
    #[inline(always)]
    pub(super) fn integer(text: &[u8]) -> Option<Self> {
        let is_negative = *text.first()? == b'-';
        let start = usize::from(is_negative);
        let (digits, count) = run(text.get(start..)?)?;
        (count > 0).then_some(Self { is_negative, digits, fraction_digits: 0, length: start + count })
    }

    /// As [`Self::integer`].
    #[inline(always)]
    pub(super) fn decimal(text: &[u8]) -> Option<Self> {
        let is_negative = *text.first()? == b'-';
        let start = usize::from(is_negative);
        let text = text.get(start..)?;
        // More digits than 64 bits hold are refused below.
        let append = |digits: u64, (more, count): (u64, usize)| {
            Some(digits.wrapping_mul(*WHOLE_POWERS_OF_TEN.get(count)?).wrapping_add(more))
        };
        let (digits, count, fraction_digits, length) = match Eight::new(text.first_chunk()?).around_point() {
            Some((whole_digits, digits, end)) if end < 8 || !text.get(8)?.is_ascii_digit() => {
                (digits, end - 1, end - 1 - whole_digits, end)
            }
            Some((whole_digits, digits, _)) => {
                let more = run(text.get(8..)?)?;
                (append(digits, more)?, 7 + more.1, 7 - whole_digits + more.1, 8 + more.1)
            }
            None => {
                let (whole, count) = run(text)?;
                if *text.get(count)? == b'.' {
                    let more = run(text.get(count + 1..)?)?;
                    (append(whole, more)?, count + more.1, more.1, count + 1 + more.1)
                } else {
                    (whole, count, 0, count)
                }
            }
        };
        let is_whole = (1..=DIGITS_MAX).contains(&count);
        is_whole.then_some(Self { is_negative, digits, fraction_digits, length: start + length })
    }

    /// `None` where it takes more than a [`quotient`].
    #[inline(always)]
    pub(super) fn real(&self) -> Option<f64> {
        quotient(self.is_negative, self.digits, self.fraction_digits)
    }
}

/// So many digits are less than 2^64.
const DIGITS_MAX: usize = 19;
const WHOLE_POWERS_OF_TEN: [u64; DIGITS_MAX + 1] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    100_000_000_000,
    1_000_000_000_000,
    10_000_000_000_000,
    100_000_000_000_000,
    1_000_000_000_000_000,
    10_000_000_000_000_000,
    100_000_000_000_000_000,
    1_000_000_000_000_000_000,
    10_000_000_000_000_000_000,
];

/// The digits at the front of a text: their number, and how many there are. `None` where there are more than 19.
#[inline(always)]
fn run(text: &[u8]) -> Option<(u64, usize)> {
    let eight = Eight::new(text.first_chunk()?);
    if let Some(count) = eight.count() {
        return Some((eight.front(count), count));
    }
    let (first, text) = (eight.number(), text.get(8..)?);
    let eight = Eight::new(text.first_chunk()?);
    match eight.count() {
        Some(count) => Some((first * WHOLE_POWERS_OF_TEN.get(count)? + eight.front(count), 8 + count)),
        None => long_run(first * 100_000_000 + eight.number(), text.get(8..)?),
    }
}

/// What comes behind sixteen digits.
#[cold]
fn long_run(first: u64, text: &[u8]) -> Option<(u64, usize)> {
    let eight = Eight::new(text.first_chunk()?);
    let count = eight.count().filter(|count| 16 + count <= DIGITS_MAX)?;
    Some((first * WHOLE_POWERS_OF_TEN.get(count)? + eight.front(count), 16 + count))
}

/// Eight bytes of a text at once, the first one the lowest (D. Lemire, Number Parsing at a Gigabyte per Second, 2021).
#[derive(Clone, Copy)]
struct Eight {
    /// Bytes up to 9 are digits.
    digits: u64,
    /// The highest bit of each byte up to the first one that is no digit; what is above has no meaning.
    others: u64,
}

impl Eight {
    #[inline(always)]
    fn new(bytes: &[u8; 8]) -> Self {
        const EACH: u64 = 0x0101_0101_0101_0101;
        let digits = u64::from_le_bytes(*bytes) ^ (EACH * 0x30);
        // What is carried on goes to the bytes above one that is no digit.
        Self { digits, others: (digits.wrapping_add(EACH * 0x76) | digits) & (EACH * 0x80) }
    }

    /// The digits before the first byte that is none. `None`: all eight.
    #[inline(always)]
    fn count(self) -> Option<usize> {
        (self.others != 0).then(|| (self.others.trailing_zeros() / 8) as usize)
    }

    /// Of eight digits.
    #[inline(always)]
    fn number(self) -> u64 {
        let pairs = (self.digits.wrapping_mul(1 + (10 << 8)) >> 8) & 0x00FF_00FF_00FF_00FF;
        let fours = (pairs.wrapping_mul(1 + (100 << 16)) >> 16) & 0x0000_FFFF_0000_FFFF;
        fours.wrapping_mul(1 + (10_000 << 32)) >> 32
    }

    /// Of the first ones, fewer than eight.
    #[inline(always)]
    fn front(self, count: usize) -> u64 {
        // Zeros come before them. In two steps, as there may be eight of them.
        let digits = (self.digits << (8 * (7 - (count & 7)))) << 8;
        Self { digits, ..self }.number()
    }

    /// The digits around a point: how many are before it, their number, and where they end. `None` where the first byte that
    /// is no digit is no point.
    #[inline(always)]
    fn around_point(self) -> Option<(usize, u64, usize)> {
        let point = self.count()?;
        if (self.digits >> (8 * point)) as u8 != b'.' ^ b'0' {
            return None;
        }
        let highest = self.others & self.others.wrapping_neg();
        let before = (highest >> 7) - 1;
        // A point carries nothing on, so that the next one that is no digit is right as well.
        let others = self.others ^ highest;
        // The digits before the point take its place, and there is a zero before them.
        let digits = ((self.digits & before) << 8) | (self.digits & !((before << 8) | 0xFF));
        let joined = Self { digits, others };
        match joined.count() {
            Some(end) => Some((point, joined.front(end), end)),
            None => Some((point, joined.number(), 8)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is at the front of a text is what its bytes alone would be, or is left to the slow way.
    #[test]
    fn numbers_at_the_front_are_the_nearest_ones() {
        let mut numbers = fastrand::Rng::with_seed(1);
        let mut random = |below: u64| numbers.u64(..below);
        let (mut decimals, mut integers) = (0, 0);
        for _ in 0..400_000 {
            let digits = |count: u64, random: &mut dyn FnMut(u64) -> u64| -> String {
                (0..count).map(|_| char::from(b"0123456789"[random(10) as usize])).collect()
            };
            let sign = ["", "", "-", "+"][random(4) as usize];
            let whole_digits = [random(4), random(11), random(21)][random(3) as usize];
            let whole = digits(whole_digits, &mut random);
            let point = ["", ".", ".", ".."][random(4) as usize];
            let fraction_digits = if point.is_empty() { 0 } else { [random(10), random(21)][random(2) as usize] };
            let fraction = digits(fraction_digits, &mut random);
            let number = format!("{sign}{whole}{point}{fraction}");
            let end =
                [",", "\n", "\r\n", "-", ".", "e5", "/", ":", " ", "\u{80}", "\u{FF}", "\"", ""][random(13) as usize];
            let more = digits(random(50), &mut random);
            let text = format!("{number}{end}{more}");
            if let Some(front) = Front::decimal(text.as_bytes()) {
                let taken = &text[..front.length];
                let expected: f64 = taken.parse().unwrap();
                if let Some(found) = front.real() {
                    assert_eq!(found.to_bits(), expected.to_bits(), "{text:?}");
                    decimals += 1;
                }
                let behind = text.as_bytes()[front.length];
                assert!(!behind.is_ascii_digit(), "{text:?}");
                assert!(behind != b'.' || taken.contains('.'), "{text:?}");
            }
            if let Some(front) = Front::integer(text.as_bytes()) {
                let expected: i128 = text[..front.length].parse().unwrap();
                let found = i128::from(front.digits);
                assert_eq!(if front.is_negative { -found } else { found }, expected, "{text:?}");
                assert!(!text.as_bytes()[front.length].is_ascii_digit(), "{text:?}");
                integers += 1;
            }
            let is_short = text.len() >= 48
                && !["", "."].contains(&end)
                && whole_digits + fraction_digits < 16
                && whole_digits > 0
                && sign != "+";
            assert!(
                !is_short || Front::decimal(text.as_bytes()).is_some_and(|front| front.real().is_some()),
                "{text:?}"
            );
        }
        assert!(decimals > 100_000 && integers > 100_000, "{decimals} {integers}");
    }

    /// The short ways give what the standard library gives, and leave to it what they do not take.
    #[test]
    fn numbers_are_the_nearest_ones() {
        let mut texts: Vec<String> = [
            "",
            "-",
            ".",
            "-.",
            "0",
            "-0",
            "+1",
            "1.",
            ".5",
            "-.5",
            "1..2",
            "1.2.3",
            "1e5",
            "1E-3",
            "inf",
            "-nan",
            "--1",
            "1-",
            "9007199254740992",
            "9007199254740993",
            "0.0000000000000000001",
            "123456789012345678",
            "12345678901234567890",
            "0.3",
            "16777217",
            "16777216.5",
            "16777219",
            "1.000000059604644775390625",
            "1.00000005960464477539062500001",
            "-1.00000005960464477539062500001",
            "340282356779733661637539395458142568447",
            "1e-40",
            "1e39",
            "1e400",
            "-1e400",
            "340282356779733661637539395458142568447.9",
            "340282356779733661637539395458142568448",
            "Infinity",
            "-00",
            "-00000000000000000000",
            "-128",
            "128",
            "255",
            "256",
            "-1",
            "0x10",
            " 1",
            "007",
            "9223372036854775807",
            "1٣",
        ]
        .map(str::to_owned)
        .into();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200_000 {
            // Of all lengths: up to 2^64.
            let (digits, fraction) = (random.u64(..) >> random.u32(..64), random.u64(..21));
            let text = format!("{digits:020}");
            let (whole, rest) = text.split_at(20 - fraction as usize);
            let whole = whole.trim_start_matches('0');
            texts.push(if random.bool() { format!("{whole}.{rest}") } else { format!("-{whole}.{rest}") });
        }
        for text in &texts {
            let bytes = text.as_bytes();
            let has_digits = text.bytes().any(|byte| byte.is_ascii_digit());
            let expected: Option<f64> = text.parse().ok().filter(|number: &f64| number.is_finite() || !has_digits);
            let found = real(bytes).ok();
            assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits), "{text}");
            if let Some(number) = found.filter(|number| !number.is_nan()) {
                let nearest: f32 = text.parse().unwrap();
                let nearest = Some(nearest).filter(|nearest| nearest.is_finite() || !has_digits);
                assert_eq!(single(bytes, number).map(f32::to_bits), nearest.map(f32::to_bits), "{text} as f4");
            }
            assert_eq!(whole::<i64>(bytes).ok(), text.parse().ok(), "{text}");
            let is_minus_zero = text.starts_with('-') && text.parse() == Ok(0_i64);
            assert_eq!(whole::<u64>(bytes).ok(), if is_minus_zero { Some(0) } else { text.parse().ok() }, "{text}");
            assert_eq!(whole::<i8>(bytes).ok(), text.parse().ok(), "{text}");
        }
    }

    /// These became infinite.
    #[test]
    fn numbers_beyond_the_dtype_are_refused() {
        assert_eq!(real(b"1e400"), Err(beyond()));
        assert_eq!(single(b"1e39", 1e39), None);
        assert_eq!(single(b"-1e39", -1e39), None);
        assert_eq!(single(b"inf", f64::INFINITY), Some(f32::INFINITY));
        assert_eq!((half(70_000.0), half(65_520.0), half(-65_519.0)), (None, None, Some(half::f16::MIN)));
        assert_eq!(half(f64::NEG_INFINITY), Some(half::f16::NEG_INFINITY));
        assert_eq!(real(b"inf"), Ok(f64::INFINITY));
        assert_eq!(whole::<u8>(b"-0"), Ok(0));
        assert_eq!(whole::<u8>(b"5.0"), Err("expected an integer from 0 to 255".to_owned()));
        assert_eq!(whole::<i64>(b"x"), Err(format!("expected an integer from {} to {}", i64::MIN, i64::MAX)));
    }
}
