//! Plain lines into rows in one pass: a number says itself where its field ends, so that nobody has to look for that before.

use super::lines::Meaning;
use super::numbers::{Front, single};
use super::text::{Texts, Value};
use crate::npy::{ByteOrder, Kind};

/// The fields of a line.
#[derive(Clone)]
pub(super) struct Fields(Box<[Field]>);

#[derive(Debug, Clone, Copy)]
struct Field {
    form: Form,
    /// Which of the values it is.
    value: usize,
    /// Where that begins in the row.
    at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
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
    fn of(value: &Value) -> Self {
        let scalar = value.scalar;
        if !value.is_decimal || scalar.order == ByteOrder::Big {
            return Self::Other;
        }
        match (scalar.kind, scalar.bytes) {
            (Kind::Float, 4) => Self::F4,
            (Kind::Float, 8) => Self::F8,
            (Kind::Int, 1) => Self::I1,
            (Kind::Int, 2) => Self::I2,
            (Kind::Int, 4) => Self::I4,
            (Kind::Int, 8) => Self::I8,
            (Kind::Uint, 1) => Self::U1,
            (Kind::Uint, 2) => Self::U2,
            (Kind::Uint, 4) => Self::U4,
            (Kind::Uint, 8) => Self::U8,
            _ => Self::Other,
        }
    }
}

impl Fields {
    /// `places`: of the values, in the order of the row. `None` where two of them are the same.
    pub(super) fn new(texts: &Texts, places: &[usize], width: usize) -> Option<Self> {
        let mut fields = vec![Field { form: Form::Unwanted, value: 0, at: 0 }; width];
        for (value, (place, of_row)) in places.iter().zip(&texts.values).enumerate() {
            let field = fields.get_mut(*place).filter(|field| field.form == Form::Unwanted)?;
            *field = Field { form: Form::of(of_row), value, at: of_row.offset };
        }
        Some(Self(fields.into()))
    }
}

impl Texts {
    /// Fills a row from the line that `held` begins with. Where it ends: behind its LF, or behind the CR before that. `None`
    /// where it is to be taken apart first: there are quotes in it, it is empty, it does not end here, or it is bad.
    #[inline]
    pub(super) fn take_plain(&self, held: &[u8], fields: &Fields, row: &mut [u8]) -> Option<usize> {
        if matches!(held.first()?, b'\n' | b'\r') {
            return None;
        }
        let (last, before) = fields.0.split_last()?;
        let mut text = held;
        for field in before {
            let length = self.take_field(text, *field, row)?;
            let (end, rest) = text.get(length..)?.split_first()?;
            if *end != self.delimiter {
                return None;
            }
            text = rest;
        }
        let length = self.take_field(text, *last, row)?;
        let rest = text.get(length..)?;
        matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..]).then_some(held.len() - rest.len() + 1)
    }

    /// The bytes of a field.
    #[inline(always)]
    fn take_field(&self, text: &[u8], field: Field, row: &mut [u8]) -> Option<usize> {
        match take_number(text, field, row) {
            Some(length) if self.meanings.of(*text.get(length)?) != Meaning::Text => Some(length),
            _ => self.take_text(text, field, row),
        }
    }

    /// The bytes of a field, whatever is in it.
    #[inline(never)]
    fn take_text(&self, text: &[u8], field: Field, row: &mut [u8]) -> Option<usize> {
        let length = text.iter().position(|byte| self.meanings.of(*byte) != Meaning::Text)?;
        if field.form != Form::Unwanted {
            let value = self.values.get(field.value)?;
            let target = row.get_mut(field.at..field.at + value.scalar.bytes)?;
            self.value(value, text.get(..length)?, target).ok()?;
        }
        Some(length)
    }
}

/// Stores a number, and gives the bytes of its text. `None` where it takes more than digits to tell what it is.
#[inline(always)]
fn take_number(text: &[u8], field: Field, row: &mut [u8]) -> Option<usize> {
    macro_rules! integer {
        ($type:ty) => {{
            let (number, length) = integer(text)?;
            (store(row, field.at, <$type>::try_from(number).ok()?.to_le_bytes())?, length)
        }};
    }
    let ((), length) = match field.form {
        Form::F8 => {
            let front = Front::decimal(text)?;
            (store(row, field.at, front.real()?.to_le_bytes())?, front.length)
        }
        Form::F4 => {
            let front = Front::decimal(text)?;
            let number = single(text.get(..front.length)?, front.real()?)?;
            (store(row, field.at, number.to_le_bytes())?, front.length)
        }
        Form::I1 => integer!(i8),
        Form::I2 => integer!(i16),
        Form::I4 => integer!(i32),
        Form::I8 => integer!(i64),
        Form::U1 => integer!(u8),
        Form::U2 => integer!(u16),
        Form::U4 => integer!(u32),
        Form::U8 => integer!(u64),
        Form::Unwanted | Form::Other => return None,
    };
    Some(length)
}

#[inline(always)]
fn integer(text: &[u8]) -> Option<(i64, usize)> {
    let front = Front::integer(text)?;
    let number = i64::try_from(front.digits).ok()?;
    Some((if front.is_negative { -number } else { number }, front.length))
}

#[inline(always)]
fn store<const BYTES: usize>(row: &mut [u8], at: usize, bytes: [u8; BYTES]) -> Option<()> {
    *row.get_mut(at..)?.first_chunk_mut::<BYTES>()? = bytes;
    Some(())
}

#[cfg(test)]
mod tests;
