//! Plain lines into rows in one pass: a number says itself where its field ends, so that nobody has to look for that before.

use npy_ingest_kernels::lanes::{Field, Form};

use super::numbers::{Front, single};
use super::text::{Texts, Value};
use crate::config::CsvOptions;
use crate::npy::{ByteOrder, Kind};

/// What a byte means in a line without quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Text,
    Delimiter,
    LineEnd,
    Quote,
}

/// That of each byte.
pub(super) struct Meanings([Meaning; 256]);

impl Meanings {
    pub(super) fn new(options: &CsvOptions) -> Self {
        let mut meanings = [Meaning::Text; 256];
        let special = [(options.quote, Meaning::Quote), (Some(options.delimiter), Meaning::Delimiter)];
        let special = special.into_iter().filter_map(|(byte, meaning)| Some((byte?, meaning)));
        for (byte, meaning) in special.chain([b'\n', b'\r'].map(|byte| (byte, Meaning::LineEnd))) {
            if let Some(place) = meanings.get_mut(usize::from(byte)) {
                *place = meaning;
            }
        }
        Self(meanings)
    }

    #[inline]
    pub(super) fn of(&self, byte: u8) -> Meaning {
        self.0.get(usize::from(byte)).copied().unwrap_or(Meaning::Text)
    }
}

/// The fields of a line.
#[derive(Clone)]
pub(super) struct Fields {
    pub(super) fields: Box<[Field]>,
    /// Which of the values each of them is.
    values: Box<[usize]>,
}

fn form_of(value: &Value) -> Form {
    let scalar = value.scalar;
    if !value.is_decimal || scalar.order == ByteOrder::Big {
        return Form::Other;
    }
    match (scalar.kind, scalar.bytes) {
        (Kind::Float, 4) => Form::F4,
        (Kind::Float, 8) => Form::F8,
        (Kind::Int, 1) => Form::I1,
        (Kind::Int, 2) => Form::I2,
        (Kind::Int, 4) => Form::I4,
        (Kind::Int, 8) => Form::I8,
        (Kind::Uint, 1) => Form::U1,
        (Kind::Uint, 2) => Form::U2,
        (Kind::Uint, 4) => Form::U4,
        (Kind::Uint, 8) => Form::U8,
        _ => Form::Other,
    }
}

impl Fields {
    /// `places`: of the values, in the order of the row. `None` where two of them are the same.
    pub(super) fn new(texts: &Texts, places: &[usize], width: usize) -> Option<Self> {
        let mut fields = vec![Field { form: Form::Unwanted, at: 0 }; width];
        let mut values = vec![0; width];
        for (value, (place, of_row)) in places.iter().zip(&texts.values).enumerate() {
            let field = fields.get_mut(*place).filter(|field| field.form == Form::Unwanted)?;
            *field = Field { form: form_of(of_row), at: of_row.offset };
            *values.get_mut(*place)? = value;
        }
        Some(Self { fields: fields.into(), values: values.into() })
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
        let last = fields.fields.len().checked_sub(1)?;
        let mut text = held;
        for number in 0..last {
            let length = self.take_field(text, fields, number, row)?;
            let (end, rest) = text.get(length..)?.split_first()?;
            if *end != self.delimiter {
                return None;
            }
            text = rest;
        }
        let length = self.take_field(text, fields, last, row)?;
        let rest = text.get(length..)?;
        matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..]).then_some(held.len() - rest.len() + 1)
    }

    /// The bytes of a field.
    #[inline(always)]
    fn take_field(&self, text: &[u8], fields: &Fields, number: usize, row: &mut [u8]) -> Option<usize> {
        match take_number(text, *fields.fields.get(number)?, row) {
            Some(length) if self.meanings.of(*text.get(length)?) != Meaning::Text => Some(length),
            _ => self.take_text(text, fields, number, row),
        }
    }

    /// The bytes of a field, whatever is in it.
    #[inline(never)]
    pub(super) fn take_text(&self, text: &[u8], fields: &Fields, number: usize, row: &mut [u8]) -> Option<usize> {
        let length = text.iter().position(|byte| self.meanings.of(*byte) != Meaning::Text)?;
        let field = fields.fields.get(number)?;
        if field.form != Form::Unwanted {
            let value = self.values.get(*fields.values.get(number)?)?;
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
