//! One number in the bytes of a record or a row: loading a column of them, and storing one.

use std::fmt;

use super::half::nearest_half;
use super::is_big;
use crate::npy::{Kind, Scalar};

/// A number's kind, size and byte order. Times are integers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    kind: NumberKind,
    big: bool,
    /// Its least integer is NaT.
    is_time: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberKind {
    Bool,
    I1,
    I2,
    I4,
    I8,
    U1,
    U2,
    U4,
    U8,
    F2,
    F4,
    F8,
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_time {
            return formatter.write_str("a time of 64 bits");
        }
        formatter.write_str(match self.kind {
            NumberKind::Bool => "?",
            NumberKind::I1 => "i1",
            NumberKind::I2 => "i2",
            NumberKind::I4 => "i4",
            NumberKind::I8 => "i8",
            NumberKind::U1 => "u1",
            NumberKind::U2 => "u2",
            NumberKind::U4 => "u4",
            NumberKind::U8 => "u8",
            NumberKind::F2 => "f2",
            NumberKind::F4 => "f4",
            NumberKind::F8 => "f8",
        })
    }
}

/// Where one value of each record, or of each row, begins.
#[derive(Clone, Copy)]
pub(super) struct Stride {
    pub(super) bytes: usize,
    pub(super) at: usize,
}

/// `$take` with the integer type of a kind, for each kind of integer.
macro_rules! integers {
    ($kind:expr, $take:ident, $otherwise:expr) => {
        match $kind {
            NumberKind::Bool | NumberKind::U1 => $take!(u8),
            NumberKind::I1 => $take!(i8),
            NumberKind::I2 => $take!(i16),
            NumberKind::I4 => $take!(i32),
            NumberKind::I8 => $take!(i64),
            NumberKind::U2 => $take!(u16),
            NumberKind::U4 => $take!(u32),
            NumberKind::U8 => $take!(u64),
            NumberKind::F2 | NumberKind::F4 | NumberKind::F8 => $otherwise,
        }
    };
}

impl Number {
    /// Other kinds than numbers and times are moved, never converted; they read as bytes here.
    pub(super) fn of(scalar: Scalar) -> Self {
        let kind = match (scalar.kind, scalar.bytes) {
            (Kind::Bool, _) => NumberKind::Bool,
            (Kind::Int, 1) => NumberKind::I1,
            (Kind::Int, 2) => NumberKind::I2,
            (Kind::Int, 4) => NumberKind::I4,
            (Kind::Int | Kind::Datetime | Kind::Timedelta, 8) => NumberKind::I8,
            (Kind::Uint, 2) => NumberKind::U2,
            (Kind::Uint, 4) => NumberKind::U4,
            (Kind::Uint, 8) => NumberKind::U8,
            (Kind::Float, 2) => NumberKind::F2,
            (Kind::Float, 4) => NumberKind::F4,
            (Kind::Float, _) => NumberKind::F8,
            _ => NumberKind::U1,
        };
        Self { kind, big: is_big(scalar.order), is_time: matches!(scalar.kind, Kind::Datetime | Kind::Timedelta) }
    }

    pub(super) fn is_integer(self) -> bool {
        !matches!(self.kind, NumberKind::F2 | NumberKind::F4 | NumberKind::F8)
    }

    pub(super) fn is_signed(self) -> bool {
        matches!(self.kind, NumberKind::I1 | NumberKind::I2 | NumberKind::I4 | NumberKind::I8)
    }

    /// The least and the largest integer of this kind.
    pub(super) fn range(self) -> (i128, i128) {
        macro_rules! take {
            ($type:ty) => {
                (i128::from(<$type>::MIN), i128::from(<$type>::MAX))
            };
        }
        integers!(self.kind, take, (0, 0))
    }

    /// What an integer is that was loaded as one of 64 bits with a sign.
    pub(super) fn exact(self, value: i64) -> i128 {
        if self.is_signed() { i128::from(value) } else { i128::from(value.cast_unsigned()) }
    }

    /// The integers of a column. Those of 2^63 and more keep their bits, see [`Self::exact`].
    pub(super) fn load_whole(self, records: &[u8], stride: usize, from: usize, values: &mut [i64]) {
        macro_rules! take {
            ($type:ty) => {
                load(records, stride, from, values, self.big, |bytes| <$type>::from_le_bytes(bytes) as i64)
            };
        }
        integers!(self.kind, take, ());
    }

    pub(super) fn load_real(self, records: &[u8], stride: usize, from: usize, values: &mut [f64]) {
        macro_rules! take {
            ($type:ty) => {
                load(records, stride, from, values, self.big, |bytes| <$type>::from_le_bytes(bytes) as f64)
            };
        }
        let big = self.big;
        integers!(
            self.kind,
            take,
            match self.kind {
                NumberKind::F2 => {
                    load(records, stride, from, values, big, |bytes| ::half::f16::from_le_bytes(bytes).to_f64());
                }
                NumberKind::F4 =>
                    load(records, stride, from, values, big, |bytes| f64::from(f32::from_le_bytes(bytes))),
                _ => load(records, stride, from, values, big, f64::from_le_bytes),
            }
        );
    }

    /// Converts to a float in one pass, where the target holds every result. `false`: it has not, or something is infinite
    /// that may have been finite before.
    pub(super) fn convert_all(
        self,
        target: Self,
        (records, from): (&[u8], Stride),
        (rows, to): (&mut [u8], Stride),
        (scale, add): (f64, f64),
    ) -> bool {
        let is_scaled = (scale, add) != (1.0, 0.0);
        // What these look at is theirs: what they had to look up, or note, elsewhere would be looked up for each value.
        let scaled = move |value: f64| if is_scaled { value * scale + add } else { value };
        let to_f4 = move |value: f64| {
            let value = scaled(value) as f32;
            (value.to_le_bytes(), value.is_infinite())
        };
        let to_f8 = move |value: f64| {
            let value = scaled(value);
            (value.to_le_bytes(), is_scaled && value.is_infinite())
        };
        macro_rules! take {
            ($type:ty) => {
                match (target.kind, self.big) {
                    (NumberKind::F4, false) => {
                        each_with(records, from, rows, to, move |bytes| to_f4(<$type>::from_le_bytes(bytes) as f64))
                    }
                    (NumberKind::F4, true) => {
                        each_with(records, from, rows, to, move |bytes| to_f4(<$type>::from_be_bytes(bytes) as f64))
                    }
                    (NumberKind::F8, false) => {
                        each_with(records, from, rows, to, move |bytes| to_f8(<$type>::from_le_bytes(bytes) as f64))
                    }
                    (NumberKind::F8, true) => {
                        each_with(records, from, rows, to, move |bytes| to_f8(<$type>::from_be_bytes(bytes) as f64))
                    }
                    _ => return false,
                }
            };
        }
        if target.big {
            return false;
        }
        let is_infinite = match self.kind {
            NumberKind::F2 => return false,
            NumberKind::F4 => take!(f32),
            NumberKind::F8 => take!(f64),
            kind => integers!(kind, take, return false),
        };
        !is_infinite
    }

    /// Stores integers; the first that does not fit ends it.
    pub(super) fn store_whole<In: Copy + Into<i128>>(
        self,
        values: &[In],
        rows: &mut [u8],
        stride: usize,
        to: usize,
    ) -> Result<(), usize> {
        macro_rules! take {
            ($type:ty) => {{
                let is_right = |value: &In| {
                    let value: i128 = (*value).into();
                    i128::from(value as $type) == value
                };
                // Without an early end, so that the loop stays wide.
                if !values.iter().fold(true, |fits, value| fits & is_right(value)) {
                    return Err(values.iter().position(|value| !is_right(value)).unwrap_or(0));
                }
                store(values, rows, stride, to, self.big, |value| (value.into() as $type).to_le_bytes());
            }};
        }
        if self.kind == NumberKind::Bool
            && let Some(record) = values.iter().position(|value| !matches!((*value).into(), 0 | 1))
        {
            return Err(record);
        }
        if self.is_time
            && let Some(record) = values.iter().position(|value| (*value).into() == i128::from(i64::MIN))
        {
            return Err(record);
        }
        integers!(self.kind, take, ());
        Ok(())
    }

    pub(super) fn store_real(self, values: &[f64], rows: &mut [u8], stride: usize, to: usize) -> Result<(), usize> {
        let big = self.big;
        macro_rules! take {
            ($type:ty) => {{
                // The first number beyond the type: 2^63 and 2^64 are floats, the largest integers below them are not.
                let signed = <$type>::MIN != 0;
                let end = 2.0_f64.powi(<$type>::BITS.cast_signed() - i32::from(signed));
                let least = <$type>::MIN as f64;
                for (record, value) in values.iter().enumerate() {
                    let rounded = value.round_ties_even();
                    if !(rounded >= least && rounded < end) {
                        return Err(record);
                    }
                }
                store(values, rows, stride, to, big, |value| (value.round_ties_even() as $type).to_le_bytes());
            }};
        }
        if self.kind == NumberKind::Bool
            && let Some(record) = values.iter().position(|value| *value != 0.0 && *value != 1.0)
        {
            return Err(record);
        }
        if self.is_time
            && let Some(record) = values.iter().position(|value| value.round_ties_even() == i64::MIN as f64)
        {
            return Err(record);
        }
        integers!(
            self.kind,
            take,
            match self.kind {
                NumberKind::F2 => {
                    finite(values, |value| nearest_half(value).is_infinite())?;
                    store(values, rows, stride, to, big, |value| nearest_half(value).to_le_bytes());
                }
                NumberKind::F4 => {
                    finite(values, |value| (value as f32).is_infinite())?;
                    store(values, rows, stride, to, big, |value| (value as f32).to_le_bytes());
                }
                _ => store(values, rows, stride, to, big, f64::to_le_bytes),
            }
        );
        Ok(())
    }
}

/// What is finite stays so; the first value that does not is returned.
fn finite(values: &[f64], becomes_infinite: impl Fn(f64) -> bool) -> Result<(), usize> {
    let beyond = values.iter().position(|value| becomes_infinite(*value) && value.is_finite());
    beyond.map_or(Ok(()), Err)
}

/// One value of each record to one of each row.
pub(super) fn each<const FROM: usize, const TO: usize>(
    records: &[u8],
    from: Stride,
    rows: &mut [u8],
    to: Stride,
    convert: impl Fn([u8; FROM]) -> [u8; TO],
) {
    each_with(records, from, rows, to, |bytes| (convert(bytes), false));
}

/// As [`each`], and whether `convert` said something of any of them.
fn each_with<const FROM: usize, const TO: usize>(
    records: &[u8],
    from: Stride,
    rows: &mut [u8],
    to: Stride,
    convert: impl Fn([u8; FROM]) -> ([u8; TO], bool),
) -> bool {
    let mut is_said = false;
    for (record, row) in records.chunks_exact(from.bytes).zip(rows.chunks_exact_mut(to.bytes)) {
        let record = record.get(from.at..).and_then(<[u8]>::first_chunk);
        if let (Some(record), Some(row)) = (record, row.get_mut(to.at..).and_then(<[u8]>::first_chunk_mut)) {
            let (bytes, says) = convert(*record);
            *row = bytes;
            is_said |= says;
        }
    }
    is_said
}

fn load<const BYTES: usize, Out>(
    records: &[u8],
    stride: usize,
    from: usize,
    values: &mut [Out],
    big: bool,
    read: impl Fn([u8; BYTES]) -> Out,
) {
    let places = values.iter_mut().zip(records.chunks_exact(stride));
    if big {
        for (value, record) in places {
            if let Some(bytes) = record.get(from..).and_then(<[u8]>::first_chunk::<BYTES>) {
                let mut bytes = *bytes;
                bytes.reverse();
                *value = read(bytes);
            }
        }
    } else {
        for (value, record) in places {
            if let Some(bytes) = record.get(from..).and_then(<[u8]>::first_chunk::<BYTES>) {
                *value = read(*bytes);
            }
        }
    }
}

fn store<const BYTES: usize, In: Copy>(
    values: &[In],
    rows: &mut [u8],
    stride: usize,
    to: usize,
    big: bool,
    write: impl Fn(In) -> [u8; BYTES],
) {
    for (value, row) in values.iter().zip(rows.chunks_exact_mut(stride)) {
        if let Some(place) = row.get_mut(to..).and_then(<[u8]>::first_chunk_mut::<BYTES>) {
            *place = write(*value);
            if big {
                place.reverse();
            }
        }
    }
}
