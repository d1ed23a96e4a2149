//! Values on their way from the bytes of a source to the bytes of a row: copied, turned around, or converted.
//!
//! A [`Plan`] is made once for a dataset and works on blocks of records, one value after the other: each step is a loop
//! over one column of the block, which is small enough to stay in the processor's cache.
//!
//! Rules of conversion:
//! - What has the same dtype on both sides is moved, bit by bit; the other byte order is turned around.
//! - Integers become integers exactly, or the value is refused. `scale` and `add` that are whole numbers keep it exact.
//! - Everything else goes through `f8`: `value * scale + add`, then rounded to the row's dtype, integers to the nearest,
//!   halves to the even one. A number that an integer cannot hold, NaN included, is refused.

pub(in crate::decode) mod half;
pub(in crate::decode) mod instant;
mod numbers;

use self::numbers::{Number, Stride, each};
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
    Turn {
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
    pub scale: f64,
    pub add: f64,
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
        self.steps.push(Step::Turn { from, to, bytes: scalar.bytes, unit });
    }

    /// Adds a value. What cannot be converted has been refused with the config.
    pub fn value(&mut self, value: &Value<'_>) {
        let Value { name, from, source, bits, scale, add, to, target } = value.clone();
        let is_moved = bits.is_none() && scale == 1.0 && add == 0.0;
        if is_moved && source.kind == target.kind && source.bytes == target.bytes {
            if source.order == target.order {
                self.copy(from, to, source.bytes);
            } else {
                self.turn(from, to, source);
            }
            return;
        }
        let (source, target) = (Number::of(source), Number::of(target));
        let is_whole = |value: f64| value.fract() == 0.0 && value.abs() <= (1_u64 << 53) as f64;
        let arithmetic = if source.is_integer() && target.is_integer() && is_whole(scale) && is_whole(add) {
            Arithmetic::Whole { scale: scale as i64, add: add as i64 }
        } else {
            Arithmetic::Real { scale, add }
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
            Step::Turn { bytes, unit, .. } if bytes == unit && matches!(bytes, 2 | 4 | 8) => {
                match bytes {
                    2 => each(records, source, rows, target, |bytes| u16::from_be_bytes(bytes).to_le_bytes()),
                    4 => each(records, source, rows, target, |bytes| u32::from_be_bytes(bytes).to_le_bytes()),
                    _ => each(records, source, rows, target, |bytes| u64::from_be_bytes(bytes).to_le_bytes()),
                }
                Ok(())
            }
            Step::Turn { from, to, bytes, unit } => {
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
            Step::Copy { from, to, .. } | Step::Turn { from, to, .. } => (*from, *to),
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
            Arithmetic::Whole { scale, add } => {
                let mut block = [0_i64; BLOCK_RECORDS];
                let values = block.get_mut(..count).unwrap_or_default();
                let too_large = source.load_whole(records, self.record_bytes, *from, values);
                if let Some(bits) = bits {
                    values.iter_mut().for_each(|value| *value = cut_bits(*value, *bits, *source));
                } else if let Some(record) = too_large {
                    return Err(refused(record, "2^63 or more".to_owned()));
                }
                if (*scale, *add) != (1, 0) {
                    for (record, value) in values.iter_mut().enumerate() {
                        let result = value.checked_mul(*scale).and_then(|value| value.checked_add(*add));
                        *value = result.ok_or_else(|| refused(record, format!("{value} x {scale} + {add}")))?;
                    }
                }
                target
                    .store_whole(values, rows, self.row_bytes, *to)
                    .map_err(|record| refused(record, values.get(record).copied().unwrap_or_default().to_string()))
            }
            Arithmetic::Real { scale, add } => {
                let mut block = [0_f64; BLOCK_RECORDS];
                let values = block.get_mut(..count).unwrap_or_default();
                match bits {
                    Some(bits) => {
                        let mut whole = [0_i64; BLOCK_RECORDS];
                        let whole = whole.get_mut(..count).unwrap_or_default();
                        source.load_whole(records, self.record_bytes, *from, whole);
                        for (value, whole) in values.iter_mut().zip(whole) {
                            *value = cut_bits(*whole, *bits, *source) as f64;
                        }
                    }
                    None => source.load_real(records, self.record_bytes, *from, values),
                }
                if (*scale, *add) != (1.0, 0.0) {
                    values.iter_mut().for_each(|value| *value = *value * scale + add);
                }
                target
                    .store_real(values, rows, self.row_bytes, *to)
                    .map_err(|record| refused(record, values.get(record).copied().unwrap_or_default().to_string()))
            }
        }
    }
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

/// Whether a number of this order has its most significant byte first.
fn is_big(order: ByteOrder) -> bool {
    order == ByteOrder::Big
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::Dtype;

    fn scalar(dtype: &str) -> Scalar {
        Dtype::parse(dtype).unwrap().scalar().unwrap()
    }

    fn one(
        source: &str,
        bits: Option<(u32, u32)>,
        scale: f64,
        add: f64,
        target: &str,
        bytes: &[u8],
    ) -> Result<Vec<u8>, String> {
        let (source, target) = (scalar(source), scalar(target));
        let mut plan = Plan::new(source.bytes, target.bytes);
        plan.value(&Value { name: "x", from: 0, source, bits, scale, add, to: 0, target });
        let mut row = vec![0; target.bytes];
        plan.convert(bytes, &mut row).map(|()| row).map_err(|bad| bad.text)
    }

    #[test]
    fn numbers_become_numbers() {
        for (source, target, from, to) in [
            (">u2", "<u2", vec![1, 2], vec![2, 1]),
            ("<i2", "<f4", (-2_i16).to_le_bytes().to_vec(), (-2.0_f32).to_le_bytes().to_vec()),
            (">f8", "<f4", 0.5_f64.to_be_bytes().to_vec(), 0.5_f32.to_le_bytes().to_vec()),
            ("<f4", ">i4", 2.5_f32.to_le_bytes().to_vec(), 2_i32.to_be_bytes().to_vec()),
            ("<f4", "i1", (-3.5_f32).to_le_bytes().to_vec(), vec![252]),
            ("<u8", "<f8", u64::MAX.to_le_bytes().to_vec(), (u64::MAX as f64).to_le_bytes().to_vec()),
            ("<c8", ">c8", vec![1, 2, 3, 4, 5, 6, 7, 8], vec![4, 3, 2, 1, 8, 7, 6, 5]),
            ("<f2", "<f8", ::half::f16::from_f32(0.25).to_le_bytes().to_vec(), 0.25_f64.to_le_bytes().to_vec()),
        ] {
            assert_eq!(one(source, None, 1.0, 0.0, target, &from), Ok(to), "{source} {target}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_value() {
        let refused =
            |source: &str, target: &str, bytes: &[u8]| one(source, None, 1.0, 0.0, target, bytes).unwrap_err();
        assert_eq!(refused("<i2", "u1", &300_i16.to_le_bytes()), "\"x\" is 300, which u1 does not hold");
        assert_eq!(refused("<i2", "u1", &(-1_i16).to_le_bytes()), "\"x\" is -1, which u1 does not hold");
        assert_eq!(refused("<f4", "<i2", &f32::NAN.to_le_bytes()), "\"x\" is NaN, which i2 does not hold");
        assert_eq!(refused("<f4", "<i2", &1e9_f32.to_le_bytes()), "\"x\" is 1000000000, which i2 does not hold");
        assert_eq!(refused("<u8", "<i8", &u64::MAX.to_le_bytes()), "\"x\" is 2^63 or more, which i8 does not hold");
        assert_eq!(
            refused("<f8", "<i8", &9.3e18_f64.to_le_bytes()),
            "\"x\" is 9300000000000000000, which i8 does not hold"
        );
        assert_eq!(refused("u1", "?", &[2]), "\"x\" is 2, which ? does not hold");
    }

    #[test]
    fn bits_scale_and_add() {
        let value = 0b1011_0110_u8;
        assert_eq!(one("u1", Some((1, 3)), 1.0, 0.0, "u1", &[value]), Ok(vec![0b011]));
        assert_eq!(one("i1", Some((4, 4)), 1.0, 0.0, "i1", &[value]), Ok(vec![(-5_i8).cast_unsigned()]));
        assert_eq!(one(">u8", Some((63, 1)), 1.0, 0.0, "?", &u64::MAX.to_be_bytes()), Ok(vec![1]));
        assert_eq!(
            one(">u8", Some((0, 64)), 1.0, 0.0, "<f8", &5_u64.to_be_bytes()),
            Ok(5.0_f64.to_le_bytes().to_vec())
        );
        let scaled = one("<i2", None, 0.01, -40.0, "<f8", &2500_i16.to_le_bytes());
        assert_eq!(scaled, Ok((2500.0 * 0.01 - 40.0_f64).to_le_bytes().to_vec()));
        // Exact, where f8 would lose the last digits.
        let time = one("<u8", None, 1e6, 0.0, "<i8", &1_700_000_000_123_u64.to_le_bytes());
        assert_eq!(time, Ok(1_700_000_000_123_000_000_i64.to_le_bytes().to_vec()));
        assert!(one("<i8", None, 1000.0, 0.0, "<i8", &i64::MAX.to_le_bytes()).is_err());
    }

    #[test]
    fn the_bad_record_is_named_behind_the_first_block_too() {
        let mut plan = Plan::new(2, 1);
        let (source, target) = (scalar("<u2"), scalar("u1"));
        plan.value(&Value { name: "x", from: 0, source, bits: None, scale: 1.0, add: 0.0, to: 0, target });
        let mut records = vec![0_u8; 2 * 1200];
        records[2 * 1100 + 1] = 1;
        assert_eq!(plan.convert(&records, &mut vec![0; 1200]).unwrap_err().record, 1100);
    }

    /// The ways of one pass give what the others give, to the bit.
    #[test]
    fn one_pass_gives_what_several_give() {
        let mut random = fastrand::Rng::with_seed(5);
        let numbers = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"];
        let mut found = 0;
        for (source, target) in numbers.iter().flat_map(|source| numbers.iter().map(move |target| (source, target))) {
            for (orders, (scale, add)) in
                ["<<", "<>", "><", ">>"].iter().zip([(1.0, 0.0), (0.1, 180.0), (-1.0, 0.0), (1.0, 0.0)])
            {
                for (scale, add) in [(scale, add), (0.005, -3.0)] {
                    let (source, target) =
                        (scalar(&format!("{}{source}", &orders[..1])), scalar(&format!("{}{target}", &orders[1..])));
                    let mut plan = Plan::new(source.bytes + 3, target.bytes + 2);
                    plan.value(&Value { name: "x", from: 1, source, bits: None, scale, add, to: 2, target });
                    let mut records: Vec<u8> = (0..700 * plan.record_bytes).map(|_| random.u8(..)).collect();
                    if matches!(source.kind, Kind::Bool) {
                        records.iter_mut().for_each(|byte| *byte &= 1);
                    }
                    let (mut rows, mut expected) = (vec![7; 700 * plan.row_bytes], vec![7; 700 * plan.row_bytes]);
                    let result = plan.convert(&records, &mut rows);
                    let [step] = plan.steps.as_slice() else { panic!("{:?}", plan.steps) };
                    match step {
                        Step::Convert(conversion) => {
                            let blocks =
                                records.chunks(512 * plan.record_bytes).zip(expected.chunks_mut(512 * plan.row_bytes));
                            let all: Result<Vec<()>, _> =
                                blocks.map(|(records, rows)| plan.convert_values(conversion, records, rows)).collect();
                            assert_eq!(result.is_ok(), all.is_ok(), "{source:?} {target:?}");
                        }
                        Step::Copy { bytes, .. } | Step::Turn { bytes, .. } => {
                            let is_turned = matches!(step, Step::Turn { .. });
                            for (record, row) in
                                records.chunks_exact(plan.record_bytes).zip(expected.chunks_exact_mut(plan.row_bytes))
                            {
                                row[2..2 + bytes].copy_from_slice(&record[1..1 + bytes]);
                                if is_turned {
                                    row[2..2 + bytes].reverse();
                                }
                            }
                        }
                    }
                    if result.is_ok() {
                        assert_eq!(rows, expected, "{source:?} {target:?} {scale} {add}");
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 300, "{found}");
    }

    #[test]
    fn neighbours_are_moved_together() {
        let mut plan = Plan::new(12, 12);
        for (place, dtype) in [(0, "<u4"), (4, "<f4"), (8, "<i4")] {
            let scalar = scalar(dtype);
            plan.value(&Value {
                name: "x",
                from: place,
                source: scalar,
                bits: None,
                scale: 1.0,
                add: 0.0,
                to: place,
                target: scalar,
            });
        }
        assert!(plan.is_identity());
    }
}
