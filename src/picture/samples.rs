//! Numbers out of a row's bytes.

use half::f16;

use crate::npy::{ByteOrder, Dtype, Kind};

/// Whether the dtype is of numbers that can be drawn.
pub fn are_numbers(dtype: &Dtype) -> bool {
    match dtype.scalar() {
        Some(scalar) => match scalar.kind {
            Kind::Bool => true,
            Kind::Int | Kind::Uint => matches!(scalar.bytes, 1 | 2 | 4 | 8),
            Kind::Float => matches!(scalar.bytes, 2 | 4 | 8),
            _ => false,
        },
        None => false,
    }
}

/// `count` numbers from the number `start` on; fewer if there are fewer, none if they are none.
pub fn samples<'a>(dtype: &Dtype, bytes: &'a [u8], start: usize, count: usize) -> impl Iterator<Item = f64> + use<'a> {
    let scalar = dtype.scalar().filter(|_| are_numbers(dtype));
    let count = if scalar.is_some() { count } else { 0 };
    let (kind, size, order) =
        scalar.map_or((Kind::Bool, 1, ByteOrder::Little), |scalar| (scalar.kind, scalar.bytes, scalar.order));
    let each = bytes.chunks_exact(size).skip(start).take(count);
    let bits = move |chunk: &[u8]| {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if order == ByteOrder::Big { chunk.iter().fold(0, add) } else { chunk.iter().rev().fold(0, add) }
    };
    each.map(bits).map(move |bits| match (kind, size) {
        (Kind::Bool, _) => f64::from(u8::from(bits != 0)),
        (Kind::Int, size) => {
            let unused = 64 - 8 * size;
            (bits.cast_signed() << unused >> unused) as f64
        }
        (Kind::Float, 2) => f16::from_bits(bits as u16).to_f64(),
        (Kind::Float, 4) => f64::from(f32::from_bits(bits as u32)),
        (Kind::Float, _) => f64::from_bits(bits),
        _ => bits as f64,
    })
}

/// What to take from a number, and what to multiply the rest by, to get 0 to 255.
pub fn scale_to_bytes(dtype: &Dtype, numbers: &[f64]) -> (f64, f64) {
    match dtype.scalar().map(|scalar| (scalar.kind, scalar.bytes)) {
        Some((Kind::Bool, _)) => (0.0, 255.0),
        Some((Kind::Uint, 1)) => (0.0, 1.0),
        Some((Kind::Uint, 2)) => (0.0, 255.0 / 65535.0),
        _ => {
            let (least, greatest) = range(numbers.iter().copied());
            (least, if greatest > least { 255.0 / (greatest - least) } else { 0.0 })
        }
    }
}

/// The least and the greatest of the finite numbers; zeros if there are none.
pub fn range(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = numbers.filter(|number| number.is_finite());
    let (least, greatest) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), n| (least.min(n), greatest.max(n)));
    if least <= greatest { (least, greatest) } else { (0.0, 0.0) }
}
