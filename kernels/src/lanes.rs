//! Lines of short numbers into rows, several lines at once: for `decode/csv`, whose files are many such lines.
//!
//! A field begins where the one before it ends, and while a processor works that out it has little else to do. Here it has the
//! other lanes: lines from elsewhere in the text, of which the same field is taken at once. A number is read from sixteen bytes,
//! those of two lanes in one vector: its digits are moved to their end, without the point, and multiplied by their places there
//! (W. Muła, SIMD-ized conversion of strings to integers, 2014).

#![allow(unsafe_code, reason = "instructions that not every processor has, and reads within a piece that was checked")]

/// Lines that are taken at once.
pub const LANES: usize = 4;

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
    return std::arch::is_x86_feature_detected!("avx2")
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
    // Whether a line is a comment is not asked where it begins with a number.
    let is_of_numbers = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if !is_able()
        || row_bytes == 0
        || rows.len() < room
        || !fields.iter().all(is_within)
        || marks.comment.is_some_and(is_of_numbers)
    {
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
#[allow(clippy::indexing_slicing, reason = "by lanes, of which all arrays have one each")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Field, Form, LANES, Marks, Other};

    /// Bytes that are looked at for a number.
    const READ: usize = 16;
    /// In a vector with a number of each lane, the lanes come in this order: two vectors become one in halves.
    const ORDER: [usize; LANES] = [0, 2, 1, 3];
    /// Of a set of lanes: all of them.
    const ALL: u32 = (1 << LANES) - 1;

    /// What becomes of the bytes of a number.
    #[repr(align(16))]
    #[derive(Clone, Copy)]
    struct Shape {
        /// Which byte goes to which place, so that the digits come last and zeros before them.
        order: [u8; 16],
        /// The power of ten that the digits are to be divided by.
        divisor: f64,
    }

    /// By the bytes before a point, or before the end where there is none, and the end: [`place`].
    #[allow(clippy::indexing_slicing, reason = "the compiler would find what lies outside")]
    static SHAPES: [Shape; 256] = {
        let mut shapes = [Shape { order: [0x80; 16], divisor: 1.0 }; 256];
        let mut whole = 0;
        while whole < 16 {
            let mut end = whole;
            // Exact, up to 10^22.
            let mut power = 1.0;
            while end < 16 {
                let shape = &mut shapes[place(whole, end)];
                let (mut from, mut to) = (end, 16);
                while from > 0 {
                    from -= 1;
                    if from != whole || end == whole {
                        to -= 1;
                        shape.order[to] = from as u8;
                    }
                }
                shape.divisor = power;
                if end > whole {
                    power *= 10.0;
                }
                end += 1;
            }
            whole += 1;
        }
        shapes
    };

    const fn place(whole: usize, end: usize) -> usize {
        whole * 16 + end
    }

    /// Numbers of all lanes, and the set of those that are not to be taken.
    type Taken<const BYTES: usize> = ([[u8; BYTES]; LANES], u32);

    /// Half of the lanes: what is at the front of their texts.
    #[derive(Clone, Copy)]
    struct Half {
        /// Values of digits; 0 for a minus.
        digits: __m256i,
        /// Where there is a minus: all bits of that byte.
        minus: __m256i,
        /// The first bytes are a digit, or one behind a minus or a point: bits 0 and 16.
        fronts: u32,
        /// What is no digit, and no minus in front.
        others: u32,
        points: u32,
        endings: u32,
    }

    impl Half {
        /// # Safety
        /// There are [`READ`] bytes of both texts.
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        unsafe fn load(low: *const u8, high: *const u8, ending: u8) -> Self {
            // SAFETY: by the caller's promise.
            let bytes = unsafe { _mm256_loadu2_m128i(high.cast(), low.cast()) };
            let are = |byte: u8| _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte.cast_signed()));
            let bits = |bytes| _mm256_movemask_epi8(bytes).cast_unsigned();
            let values = _mm256_xor_si256(bytes, _mm256_set1_epi8(0x30));
            let are_digits = bits(_mm256_cmpeq_epi8(_mm256_min_epu8(values, _mm256_set1_epi8(9)), values));
            let minus = are(b'-');
            let (signs, points) = (bits(minus) & 0x1_0001, bits(are(b'.')));
            Self {
                digits: _mm256_andnot_si256(minus, values),
                minus,
                fronts: are_digits | (signs | points) & are_digits >> 1,
                others: !are_digits ^ signs,
                points,
                endings: bits(are(ending)),
            }
        }
    }

    /// What is at the front of the texts of all lanes.
    #[derive(Clone, Copy)]
    struct Fronts {
        low: Half,
        high: Half,
        /// Digits before a point, or before the end where there is none, with a minus in front.
        whole: [usize; LANES],
        /// Bytes of a number; too many where its end is not within [`READ`].
        end: [usize; LANES],
    }

    impl Fronts {
        /// # Safety
        /// There are [`READ`] bytes of each text.
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        unsafe fn load([a, b, c, d]: [*const u8; LANES], ending: u8) -> Self {
            // SAFETY: by the caller's promise.
            let (low, high) = unsafe { (Half::load(a, b, ending), Half::load(c, d, ending)) };
            let mut fronts = Self { low, high, whole: [0; LANES], end: [0; LANES] };
            let others = [low.others, low.others >> 16, high.others, high.others >> 16];
            let points = [low.points, low.points >> 16, high.points, high.points >> 16];
            for (((whole, end), others), points) in fronts.whole.iter_mut().zip(&mut fronts.end).zip(others).zip(points)
            {
                *whole = others.trailing_zeros() as usize;
                // The first of them does not end the number if it is a point.
                *end = (others ^ _blsi_u32(others) & points).trailing_zeros() as usize;
            }
            fronts
        }

        /// Whether all lanes have short numbers that end as they should.
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        fn are_short(&self) -> bool {
            let [a, b, c, d] = self.end;
            let ended = self.low.endings >> (a & 31)
                & self.low.endings >> 16 >> (b & 31)
                & self.high.endings >> (c & 31)
                & self.high.endings >> 16 >> (d & 31);
            let begun = self.low.fronts & self.high.fronts;
            (a | b | c | d) < READ && begun & 0x1_0001 == 0x1_0001 && ended & 1 == 1
        }

        /// The set of lanes with such numbers; the others are taken as a digit from here on.
        #[cold]
        #[inline(never)]
        fn keep_short(mut self) -> (Self, u32) {
            let mut kept = 0;
            for (lane, (whole, end)) in self.whole.iter_mut().zip(&mut self.end).enumerate() {
                let half = if lane < 2 { &self.low } else { &self.high };
                let shift = lane % 2 * 16;
                if *end < READ && half.fronts >> shift & half.endings >> shift >> *end & 1 == 1 {
                    kept |= 1 << lane;
                } else {
                    (*whole, *end) = (1, 1);
                }
            }
            (self, kept)
        }

        /// # Safety
        /// All are short.
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        unsafe fn shapes(&self) -> [&'static Shape; LANES] {
            // SAFETY: a place is below 256, for its parts are below sixteen.
            std::array::from_fn(|lane| unsafe { SHAPES.get_unchecked(place(self.whole[lane], self.end[lane])) })
        }

        /// All digits as one number each, in [`ORDER`].
        ///
        /// # Safety
        /// All are short.
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        unsafe fn digits(&self) -> __m256i {
            // SAFETY: by the caller's promise.
            let [a, b, c, d] = unsafe { self.shapes() };
            let order = |shape: &'static Shape| shape.order.as_ptr().cast();
            // SAFETY: an order has sixteen bytes.
            let (low, high) =
                unsafe { (_mm256_loadu2_m128i(order(b), order(a)), _mm256_loadu2_m128i(order(d), order(c))) };
            let fours = |digits, order| {
                let pairs = _mm256_maddubs_epi16(_mm256_shuffle_epi8(digits, order), _mm256_set1_epi16(10 | 1 << 8));
                _mm256_madd_epi16(pairs, _mm256_set1_epi32(100 | 1 << 16))
            };
            let fours = _mm256_packus_epi32(fours(self.low.digits, low), fours(self.high.digits, high));
            let eights = _mm256_madd_epi16(fours, _mm256_set1_epi32(10_000 | 1 << 16));
            let upper = _mm256_mul_epu32(eights, _mm256_set1_epi64x(100_000_000));
            _mm256_add_epi64(upper, _mm256_srli_epi64(eights, 32))
        }

        /// The upmost bit of each is that of the sign, in [`ORDER`].
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        fn signs(&self) -> __m256i {
            _mm256_slli_epi64(_mm256_unpacklo_epi64(self.low.minus, self.high.minus), 63)
        }

        /// The nearest ones, in [`ORDER`]: both numbers are exact, and a division rounds once.
        ///
        /// # Safety
        /// All are short.
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        unsafe fn reals(&self) -> __m256d {
            // What is below 2^52, behind the exponent of that number, is what that number has been added to.
            let two_52 = _mm256_set1_pd(4_503_599_627_370_496.0);
            // SAFETY: by the caller's promise.
            unsafe {
                let digits = _mm256_or_si256(self.digits(), _mm256_castpd_si256(two_52));
                let digits = _mm256_sub_pd(_mm256_castsi256_pd(digits), two_52);
                let shapes = self.shapes();
                let divisor = |at: usize| shapes[ORDER[at]].divisor;
                let divisors = _mm256_setr_pd(divisor(0), divisor(1), divisor(2), divisor(3));
                _mm256_xor_pd(_mm256_div_pd(digits, divisors), _mm256_castsi256_pd(self.signs()))
            }
        }

        /// All are taken.
        ///
        /// # Safety
        /// All are short.
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        unsafe fn f8(&self) -> Taken<8> {
            let mut numbers = [0.0; LANES];
            // SAFETY: by the caller's promise; the array has the vector's size.
            unsafe { _mm256_storeu_pd(numbers.as_mut_ptr(), self.reals()) };
            (std::array::from_fn(|lane| numbers[ORDER[lane]].to_le_bytes()), 0)
        }

        /// As [`Self::f8`]. Not taken: where only the text knows the nearer one of two.
        ///
        /// # Safety
        /// All are short.
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        unsafe fn f4(&self) -> Taken<4> {
            const LOST: i64 = (1 << (f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS)) - 1;
            // SAFETY: by the caller's promise.
            let reals = unsafe { self.reals() };
            let lost = _mm256_and_si256(_mm256_castpd_si256(reals), _mm256_set1_epi64x(LOST));
            let between = _mm256_castsi256_pd(_mm256_cmpeq_epi64(lost, _mm256_set1_epi64x(LOST / 2 + 1)));
            let mut numbers = [0.0; LANES];
            // The least that is not zero is 1e-14. SAFETY: the array has the vector's size.
            unsafe { _mm_storeu_ps(numbers.as_mut_ptr(), _mm256_cvtpd_ps(reals)) };
            // The set in `ORDER` as one of lanes.
            let of_lanes = match _mm256_movemask_pd(between).cast_unsigned() {
                0 => 0,
                between => between & 0b1001 | (between & 0b10) << 1 | (between & 0b100) >> 1,
            };
            (std::array::from_fn(|lane| numbers[ORDER[lane]].to_le_bytes()), of_lanes)
        }

        /// As [`Self::f8`]. Not taken: what has a point or is too large.
        ///
        /// # Safety
        /// All are short.
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        #[inline]
        unsafe fn integers<Number: TryFrom<i64> + Default>(&self) -> ([Number; LANES], u32) {
            let are_negative = _mm256_cmpgt_epi64(_mm256_setzero_si256(), self.signs());
            let mut numbers = [0; LANES];
            // SAFETY: by the caller's promise; the array has the vector's size.
            unsafe {
                let digits = _mm256_sub_epi64(_mm256_xor_si256(self.digits(), are_negative), are_negative);
                _mm256_storeu_si256(numbers.as_mut_ptr().cast(), digits);
            }
            let mut left = 0;
            let taken = std::array::from_fn(|lane| {
                let has_point = self.whole[lane] != self.end[lane];
                let number = Number::try_from(numbers[ORDER[lane]]);
                left |= u32::from(has_point || number.is_err()) << lane;
                number.unwrap_or_default()
            });
            (taken, left)
        }
    }

    macro_rules! integers {
        ($($name:ident: $number:ty, $bytes:literal;)*) => {
            impl Fronts {
                $(
                    /// As [`Self::integers`].
                    ///
                    /// # Safety
                    /// All are short.
                    #[target_feature(enable = "avx2,bmi1,bmi2")]
                    #[inline]
                    unsafe fn $name(&self) -> Taken<$bytes> {
                        // SAFETY: by the caller's promise.
                        let (numbers, left) = unsafe { self.integers::<$number>() };
                        (numbers.map(<$number>::to_le_bytes), left)
                    }
                )*
            }
        };
    }
    integers! {
        i1: i8, 1; i2: i16, 2; i4: i32, 4; i8: i64, 8;
        u1: u8, 1; u2: u16, 2; u4: u32, 4; u8: u64, 8;
    }

    /// Fields that are no short numbers, and where all of them go.
    struct Slow<'a> {
        text: &'a [u8],
        marks: &'a Marks,
        rows: *mut u8,
        row_bytes: usize,
        /// Bytes of all rows of a lane.
        of_lane: usize,
        other: Other<'a>,
    }

    impl Slow<'_> {
        /// Takes a field of some of the lanes. Where the next one of each begins.
        ///
        /// # Safety
        /// There is a row at `row_at`, and so there is in the rows of the other lanes.
        #[cold]
        #[inline(never)]
        unsafe fn take(
            &mut self,
            (number, ending): (usize, u8),
            lanes: u32,
            mut at: [usize; LANES],
            row_at: usize,
        ) -> Option<[usize; LANES]> {
            for (lane, at) in at.iter_mut().enumerate() {
                if lanes >> lane & 1 == 1 {
                    if number == 0 && !begins_line(self.text, *at, self.marks) {
                        return None;
                    }
                    // SAFETY: by the caller's promise.
                    let row = unsafe {
                        let first = self.rows.add(row_at + lane * self.of_lane);
                        std::slice::from_raw_parts_mut(first, self.row_bytes)
                    };
                    let length = (self.other)(number, self.text.get(*at..)?, row)?;
                    *at = behind(self.text, *at + length, ending)?;
                }
            }
            Some(at)
        }

        /// Takes a field of all lanes, of which not all have a number that is taken by `read`.
        ///
        /// # Safety
        /// As for [`Self::take`]; the numbers lie within the rows.
        #[cold]
        #[inline(never)]
        unsafe fn take_some<const BYTES: usize>(
            &mut self,
            (number, ending): (usize, u8),
            (fronts, of_row, read): (Fronts, usize, unsafe fn(&Fronts) -> Taken<BYTES>),
            mut at: [usize; LANES],
            row_at: usize,
        ) -> Option<[usize; LANES]> {
            let (fronts, short) = fronts.keep_short();
            // SAFETY: the others count as short by now.
            let (bytes, left) = unsafe { read(&fronts) };
            let taken = short & !left;
            for lane in (0..LANES).filter(|lane| taken >> lane & 1 == 1) {
                // SAFETY: by the caller's promise.
                unsafe {
                    self.rows.add(row_at + lane * self.of_lane + of_row).cast::<[u8; BYTES]>().write(bytes[lane])
                };
                at[lane] += fronts.end[lane] + 1;
            }
            // SAFETY: by the caller's promise.
            unsafe { self.take((number, ending), ALL & !taken, at, row_at) }
        }
    }

    /// # Safety
    /// `rows` has room for `LANES * count` rows, and the numbers of the fields lie within theirs.
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub(super) unsafe fn fill(
        text: &[u8],
        starts: [usize; LANES],
        count: usize,
        (fields, marks): (&[Field], &Marks),
        (rows, row_bytes): (&mut [u8], usize),
        other: Other<'_>,
    ) -> Option<usize> {
        let rows = rows.as_mut_ptr();
        let of_lane = count * row_bytes;
        let mut slow = Slow { text, marks, rows, row_bytes, of_lane, other };
        // Where the next field of each lane begins.
        let mut at = in_registers(starts);
        // From here on numbers are left to `other`.
        let tail = (text.len() + 1).saturating_sub(READ);
        let last = fields.len().checked_sub(1)?;
        for row_at in (0..of_lane).step_by(row_bytes.max(1)) {
            for (number, &field) in fields.iter().enumerate() {
                let ending = match (number == last, marks.is_crlf) {
                    (false, _) => marks.delimiter,
                    (true, false) => b'\n',
                    (true, true) => b'\r',
                };
                // SAFETY, of all that is unsafe here: there are READ bytes before the tail. There is room for these rows, and the numbers
                // lie within them.
                macro_rules! numbers {
                    ($read:expr) => {{
                        if !at.iter().all(|at| *at < tail) {
                            at = in_registers(unsafe { slow.take((number, ending), ALL, at, row_at) }?);
                            continue;
                        }
                        let fronts = unsafe { Fronts::load(at.map(|at| text.as_ptr().add(at)), ending) };
                        if fronts.are_short()
                            && let (bytes, 0) = unsafe { $read(&fronts) }
                        {
                            unsafe {
                                let first = rows.add(row_at + field.at);
                                for lane in 0..LANES {
                                    first.add(lane * of_lane).cast::<[u8; _]>().write(bytes[lane]);
                                    at[lane] += fronts.end[lane] + 1;
                                }
                            }
                            at = in_registers(at);
                            continue;
                        }
                        at = in_registers(unsafe {
                            slow.take_some((number, ending), (fronts, field.at, $read), at, row_at)
                        }?);
                    }};
                }
                match field.form {
                    Form::F8 => numbers!(Fronts::f8),
                    Form::F4 => numbers!(Fronts::f4),
                    Form::I1 => numbers!(Fronts::i1),
                    Form::I2 => numbers!(Fronts::i2),
                    Form::I4 => numbers!(Fronts::i4),
                    Form::I8 => numbers!(Fronts::i8),
                    Form::U1 => numbers!(Fronts::u1),
                    Form::U2 => numbers!(Fronts::u2),
                    Form::U4 => numbers!(Fronts::u4),
                    Form::U8 => numbers!(Fronts::u8),
                    Form::Unwanted => {
                        let mut left = 0;
                        for (lane, at) in at.iter_mut().enumerate() {
                            if number == 0 && !begins_line(text, *at, marks) {
                                return None;
                            }
                            match to_end(text.get(*at..)?, marks) {
                                Some(length) => *at = behind(text, *at + length, ending)?,
                                None => left |= 1 << lane,
                            }
                        }
                        if left != 0 {
                            // SAFETY: there is room for these rows.
                            at = in_registers(unsafe { slow.take((number, ending), left, at, row_at) }?);
                        }
                    }
                    // SAFETY: there is room for these rows.
                    Form::Other => at = in_registers(unsafe { slow.take((number, ending), ALL, at, row_at) }?),
                }
            }
            if marks.is_crlf {
                for at in &mut at {
                    *at = behind(text, *at, b'\n')?;
                }
            }
        }
        at.last().copied()
    }

    /// Keeps the compiler from a vector of them, wherever they come from: each is needed by itself next, and getting it out of
    /// a vector costs more than is saved.
    #[inline(always)]
    fn in_registers([mut a, mut b, mut c, mut d]: [usize; LANES]) -> [usize; LANES] {
        // SAFETY: there is no instruction.
        unsafe {
            std::arch::asm!("/* {} {} {} {} */", inout(reg) a, inout(reg) b, inout(reg) c, inout(reg) d,
                options(pure, nomem, nostack, preserves_flags));
        }
        [a, b, c, d]
    }

    /// Whether this is no empty line and no comment.
    #[inline]
    fn begins_line(text: &[u8], at: usize, marks: &Marks) -> bool {
        text.get(at).is_some_and(|first| !matches!(first, b'\n' | b'\r') && Some(*first) != marks.comment)
    }

    /// Behind the end of a field.
    #[inline]
    fn behind(text: &[u8], at: usize, ending: u8) -> Option<usize> {
        (*text.get(at)? == ending).then_some(at + 1)
    }

    /// The bytes before the first one that has a meaning. `None` where it is not told from the front of the text.
    #[target_feature(enable = "avx2,bmi1,bmi2")]
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
        let fill_as = |marks: &Marks, line: &str| {
            // Numbers are looked at where enough follows them.
            let text = format!("1.5,a\n{line}3,c\n4,d\n{}", " ".repeat(40));
            let starts = [0, 6, 6 + line.len(), 10 + line.len()];
            let mut other = |_: usize, _: &[u8], _: &mut [u8]| None;
            fill(text.as_bytes(), starts, 1, (&fields, marks), (&mut [0; 32], 8), &mut other)
        };
        let fill_with = |line: &str| fill_as(&marks, line);
        assert_eq!(fill_with("2,b\n"), is_able().then_some(18));
        for line in ["\n", "#2,b\n", "2\n", "2,b,c\n", "2,\"b\"\n", "2,b\r\n", "x,b\n", "-,b\n", ".,b\n", "2;b\n"] {
            assert_eq!(fill_with(line), None, "{line:?}");
        }
        assert_eq!(fill_as(&Marks { comment: Some(b'2'), ..marks }, "2,b\n"), None);
        let far = [Field { form: Form::F8, at: 1 }];
        let mut other = |_: usize, _: &[u8], _: &mut [u8]| None;
        assert_eq!(fill(b"1\n2\n3\n4\n", [0, 2, 4, 6], 1, (&far, &marks), (&mut [0; 32], 8), &mut other), None);
        assert_eq!(fill(b"1\n2\n3\n4\n", [0, 2, 4, 6], 1, (&[], &marks), (&mut [0; 32], 8), &mut other), None);
    }
}
