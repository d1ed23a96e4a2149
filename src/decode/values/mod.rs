//! Values on their way from the bytes of a source to the bytes of a row: copied, turned around, or converted.
//!
//! A [`Plan`] is made once for a dataset and works on blocks of records, one value after the other: each step is a loop
//! over one column of the block, which is small enough to stay in the processor's cache.
//!
//! Rules of conversion:
//! - What has the same dtype on both sides is moved, bit by bit; the other byte order is turned around.
//! - Integers become integers exactly, or the value is refused. `scale` and `add` that are whole numbers keep it exact.
//! - Everything else goes through `f8`: `value * scale + add`, then rounded to the row's dtype, integers to the nearest,
//!   halves to the even one. A number that an integer cannot hold, NaN included, is refused, and so is a finite one that
//!   would become infinite.

pub(in crate::decode) mod half;
pub(in crate::decode) mod instant;
mod numbers;
#[cfg(test)]
mod tests;

use self::numbers::{Number, Stride, each};
use crate::config::Coefficient;
use crate::npy::{ByteOrder, Kind, Scalar};

/// Records that are converted at a time: values of one column take 4 KiB.
const BLOCK_RECORDS: usize = 512;

/// How a record becomes a row.
#[derive(Debug, Default)]
pub struct Plan {
    record_bytes: usize,
    row_bytes: usize,
    steps: Vec<Step>,
}

/// One value of each record.
#[derive(Debug, PartialEq)]
enum Step {
    Copy {
        from: usize,
        to: usize,
        bytes: usize,
    },
    /// Every `unit` bytes of `bytes` are reversed.
    SwapBytes {
        from: usize,
        to: usize,
        bytes: usize,
        unit: usize,
    },
    Convert(Box<Conversion>),
}

#[derive(Debug, PartialEq)]
struct Conversion {
    name: String,
    from: usize,
    source: Number,
    bits: Option<(u32, u32)>,
    arithmetic: Arithmetic,
    to: usize,
    target: Number,
}

#[derive(Debug, PartialEq)]
enum Arithmetic {
    /// Integers to integers, exactly.
    Whole {
        scale: i64,
        add: i64,
        /// The least and the largest value whose result 64 bits hold. `None`: the source has no others.
        narrow: Option<(i64, i64)>,
    },
    Real {
        scale: f64,
        add: f64,
    },
}

/// One value, as the options give it.
#[derive(Debug, Clone)]
pub struct Value<'a> {
    pub name: &'a str,
    pub from: usize,
    pub source: Scalar,
    pub bits: Option<(u32, u32)>,
    pub scale: Coefficient,
    pub add: Coefficient,
    pub to: usize,
    pub target: Scalar,
}

/// A value that the row cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// Which of the records that were converted.
    pub record: usize,
    /// What it is and what it should be.
    pub text: String,
}

impl Plan {
    pub fn new(record_bytes: usize, row_bytes: usize) -> Self {
        Self { record_bytes, row_bytes, steps: Vec::new() }
    }

    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Whether a row is its record.
    pub fn is_identity(&self) -> bool {
        let whole = Step::Copy { from: 0, to: 0, bytes: self.row_bytes };
        self.record_bytes == self.row_bytes && self.steps == [whole]
    }

    pub fn copy(&mut self, from: usize, to: usize, bytes: usize) {
        // What lies side by side on both sides is moved together.
        if let Some(Step::Copy { from: last_from, to: last_to, bytes: last }) = self.steps.last_mut()
            && *last_from + *last == from
            && *last_to + *last == to
        {
            *last += bytes;
            return;
        }
        self.steps.push(Step::Copy { from, to, bytes });
    }

    /// Moves a value of this dtype whose byte order is the other one.
    pub fn turn(&mut self, from: usize, to: usize, scalar: Scalar) {
        let unit = match scalar.kind {
            Kind::Complex => scalar.bytes / 2,
            Kind::Unicode => 4,
            _ => scalar.bytes,
        };
        self.steps.push(Step::SwapBytes { from, to, bytes: scalar.bytes, unit });
    }

    /// Adds a value. What cannot be converted has been refused with the config.
    pub fn value(&mut self, value: &Value<'_>) {
        let Value { name, from, source, bits, scale, add, to, target } = value.clone();
        let is_moved = bits.is_none() && scale == Coefficient::Whole(1) && add == Coefficient::Whole(0);
        if is_moved && source.kind == target.kind && source.bytes == target.bytes {
            if source.order == target.order {
                self.copy(from, to, source.bytes);
            } else {
                self.turn(from, to, source);
            }
            return;
        }
        let (source, target) = (Number::of(source), Number::of(target));
        let arithmetic = match (scale, add) {
            (Coefficient::Whole(scale), Coefficient::Whole(add)) if source.is_integer() && target.is_integer() => {
                Arithmetic::Whole { scale, add, narrow: narrow(source, scale, add) }
            }
            _ => Arithmetic::Real { scale: scale.real(), add: add.real() },
        };
        let name = name.to_owned();
        self.steps.push(Step::Convert(Box::new(Conversion { name, from, source, bits, arithmetic, to, target })));
    }

    /// Converts whole records into as many rows.
    pub fn convert(&self, records: &[u8], rows: &mut [u8]) -> Result<(), BadValue> {
        let records = records.chunks(BLOCK_RECORDS * self.record_bytes);
        let rows = rows.chunks_mut(BLOCK_RECORDS * self.row_bytes);
        for (block, (records, rows)) in records.zip(rows).enumerate() {
            for step in &self.steps {
                self.take(step, records, rows)
                    .map_err(|bad| BadValue { record: block * BLOCK_RECORDS + bad.record, text: bad.text })?;
            }
        }
        Ok(())
    }

    fn take(&self, step: &Step, records: &[u8], rows: &mut [u8]) -> Result<(), BadValue> {
        let (source, target) = self.strides(step);
        match step {
            Step::Copy { from, to, bytes } => {
                match bytes {
                    1 => each::<1, 1>(records, source, rows, target, |bytes| bytes),
                    2 => each::<2, 2>(records, source, rows, target, |bytes| bytes),
                    4 => each::<4, 4>(records, source, rows, target, |bytes| bytes),
                    8 => each::<8, 8>(records, source, rows, target, |bytes| bytes),
                    bytes => self.each(records, *from, rows, *to, *bytes, <[u8]>::copy_from_slice),
                }
                Ok(())
            }
            Step::SwapBytes { bytes, unit, .. } if bytes == unit && matches!(bytes, 2 | 4 | 8) => {
                match bytes {
                    2 => each(records, source, rows, target, |bytes| u16::from_be_bytes(bytes).to_le_bytes()),
                    4 => each(records, source, rows, target, |bytes| u32::from_be_bytes(bytes).to_le_bytes()),
                    _ => each(records, source, rows, target, |bytes| u64::from_be_bytes(bytes).to_le_bytes()),
                }
                Ok(())
            }
            Step::SwapBytes { from, to, bytes, unit } => {
                self.each(records, *from, rows, *to, *bytes, |row, record| {
                    for (row, record) in row.chunks_exact_mut(*unit).zip(record.chunks_exact(*unit)) {
                        for (row, record) in row.iter_mut().zip(record.iter().rev()) {
                            *row = *record;
                        }
                    }
                });
                Ok(())
            }
            Step::Convert(conversion) => {
                if let (Arithmetic::Real { scale, add }, None) = (&conversion.arithmetic, conversion.bits)
                    && conversion.source.convert_all(
                        conversion.target,
                        (records, source),
                        (rows, target),
                        (*scale, *add),
                    )
                {
                    return Ok(());
                }
                self.convert_values(conversion, records, rows)
            }
        }
    }

    fn strides(&self, step: &Step) -> (Stride, Stride) {
        let (from, to) = match step {
            Step::Copy { from, to, .. } | Step::SwapBytes { from, to, .. } => (*from, *to),
            Step::Convert(conversion) => (conversion.from, conversion.to),
        };
        (Stride { bytes: self.record_bytes, at: from }, Stride { bytes: self.row_bytes, at: to })
    }

    fn each(
        &self,
        records: &[u8],
        from: usize,
        rows: &mut [u8],
        to: usize,
        bytes: usize,
        take: impl Fn(&mut [u8], &[u8]),
    ) {
        for (record, row) in records.chunks_exact(self.record_bytes).zip(rows.chunks_exact_mut(self.row_bytes)) {
            if let (Some(record), Some(row)) = (record.get(from..from + bytes), row.get_mut(to..to + bytes)) {
                take(row, record);
            }
        }
    }

    fn convert_values(&self, conversion: &Conversion, records: &[u8], rows: &mut [u8]) -> Result<(), BadValue> {
        let Conversion { name, from, source, bits, arithmetic, to, target } = conversion;
        let count = (records.len() / self.record_bytes).min(BLOCK_RECORDS);
        let refused = |record: usize, value: String| BadValue {
            record,
            text: format!("\"{name}\" is {value}, which {target} does not hold"),
        };
        match arithmetic {
            Arithmetic::Whole { scale, add, narrow } => {
                let mut block = [0_i64; BLOCK_RECORDS];
                let values = block.get_mut(..count).unwrap_or_default();
                self.load_whole(conversion, records, values);
                if let Some((least, largest)) = narrow
                    // Without an early end, so that the loop stays wide.
                    && !values.iter().fold(true, |fits, value| fits & (least <= value) & (value <= largest))
                {
                    let mut block = [0_i128; BLOCK_RECORDS];
                    let wide = block.get_mut(..count).unwrap_or_default();
                    for (wide, value) in wide.iter_mut().zip(values) {
                        // 64 bits times 63, and 63 more: 128 hold it, and so they do with a sign.
                        *wide = source.exact(*value) * i128::from(*scale) + i128::from(*add);
                    }
                    return target
                        .store_whole(wide, rows, self.row_bytes, *to)
                        .map_err(|record| refused(record, wide.get(record).copied().unwrap_or_default().to_string()));
                }
                if (*scale, *add) != (1, 0) {
                    // The product may go round, the result is back.
                    values.iter_mut().for_each(|value| *value = value.wrapping_mul(*scale).wrapping_add(*add));
                }
                target
                    .store_whole(values, rows, self.row_bytes, *to)
                    .map_err(|record| refused(record, values.get(record).copied().unwrap_or_default().to_string()))
            }
            Arithmetic::Real { scale, add } => {
                let mut block = [0_f64; BLOCK_RECORDS];
                let values = block.get_mut(..count).unwrap_or_default();
                if bits.is_some() {
                    let mut whole = [0_i64; BLOCK_RECORDS];
                    let whole = whole.get_mut(..count).unwrap_or_default();
                    self.load_whole(conversion, records, whole);
                    for (value, whole) in values.iter_mut().zip(whole) {
                        *value = source.exact(*whole) as f64;
                    }
                } else {
                    source.load_real(records, self.record_bytes, *from, values);
                }
                if (*scale, *add) != (1.0, 0.0) {
                    for (record, value) in values.iter_mut().enumerate() {
                        let result = *value * scale + add;
                        if result.is_infinite() && value.is_finite() {
                            let [value, scale, add] = [*value, *scale, *add].map(real_text);
                            return Err(refused(record, format!("{value} x {scale} + {add}")));
                        }
                        *value = result;
                    }
                }
                target
                    .store_real(values, rows, self.row_bytes, *to)
                    .map_err(|record| refused(record, real_text(values.get(record).copied().unwrap_or_default())))
            }
        }
    }

    /// The integers of a column, or some of their bits. Those of 2^63 and more keep their bits.
    fn load_whole(&self, conversion: &Conversion, records: &[u8], values: &mut [i64]) {
        let Conversion { source, from, bits, .. } = conversion;
        source.load_whole(records, self.record_bytes, *from, values);
        if let Some(bits) = bits {
            values.iter_mut().for_each(|value| *value = cut_bits(*value, *bits, *source));
        }
    }
}

/// The values of a column that 64 bits are enough for, on their way to `value * scale + add`. `None`: all of them.
fn narrow(source: Number, scale: i64, add: i64) -> Option<(i64, i64)> {
    let (scale, add) = (i128::from(scale), i128::from(add));
    let (min, max) = (i128::from(i64::MIN), i128::from(i64::MAX));
    // What the product may be. A negative scale is taken to the other side.
    let (low, high) = if scale > 0 { (min - add, max - add) } else { (add - max, add - min) };
    let scale = scale.abs().max(1);
    let (low, high) = (-(-low).div_euclid(scale), high.div_euclid(scale));
    let (source_min, source_max) = source.range();
    if low <= source_min && source_max <= high {
        return None;
    }
    // As they are loaded, integers of 2^63 and more are below zero.
    let low = if source.is_signed() { low } else { low.max(0) };
    let bound = |value: i128| i64::try_from(value.clamp(min, max)).unwrap_or_default();
    Some((bound(low), bound(high)))
}

/// `count` bits from bit `first` on, as the number that they are in the source's kind.
fn cut_bits(value: i64, (first, count): (u32, u32), source: Number) -> i64 {
    let above = 64_u32.saturating_sub(first + count);
    if source.is_signed() {
        value.wrapping_shl(above).wrapping_shr(64 - count)
    } else {
        (value.cast_unsigned().wrapping_shl(above).wrapping_shr(64 - count)).cast_signed()
    }
}

/// Without hundreds of digits.
fn real_text(value: f64) -> String {
    if value.abs() < 1e21 { value.to_string() } else { format!("{value:e}") }
}

/// Whether a number of this order has its most significant byte first.
fn is_big(order: ByteOrder) -> bool {
    order == ByteOrder::Big
}
