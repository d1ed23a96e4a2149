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
pub fn samples(dtype: &Dtype, bytes: &[u8], start: usize, count: usize) -> Vec<f64> {
    let Some(scalar) = dtype.scalar().filter(|_| are_numbers(dtype)) else { return Vec::new() };
    let each = bytes.chunks_exact(scalar.bytes).skip(start).take(count);
    let little = scalar.order != ByteOrder::Big;
    let bits = move |chunk: &[u8]| {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if little { chunk.iter().rev().fold(0, add) } else { chunk.iter().fold(0, add) }
    };
    match (scalar.kind, scalar.bytes) {
        (Kind::Bool, _) => each.map(|chunk| f64::from(u8::from(bits(chunk) != 0))).collect(),
        (Kind::Int, size) => {
            let unused = 64 - 8 * size;
            each.map(|chunk| (bits(chunk).cast_signed() << unused >> unused) as f64).collect()
        }
        (Kind::Float, 2) => each.map(|chunk| f16::from_bits(bits(chunk) as u16).to_f64()).collect(),
        (Kind::Float, 4) => each.map(|chunk| f64::from(f32::from_bits(bits(chunk) as u32))).collect(),
        (Kind::Float, _) => each.map(|chunk| f64::from_bits(bits(chunk))).collect(),
        _ => each.map(|chunk| bits(chunk) as f64).collect(),
    }
}

/// What to take from a number, and what to multiply the rest by, to get 0 to 255.
pub fn scale_to_bytes(dtype: &Dtype, numbers: &[f64]) -> (f64, f64) {
    match dtype.scalar().map(|scalar| (scalar.kind, scalar.bytes)) {
        Some((Kind::Bool, _)) => (0.0, 255.0),
        Some((Kind::Uint, 1)) => (0.0, 1.0),
        Some((Kind::Uint, 2)) => (0.0, 255.0 / 65535.0),
        _ => {
            let (least, greatest) = range(numbers);
            (least, if greatest > least { 255.0 / (greatest - least) } else { 0.0 })
        }
    }
}

/// The least and the greatest of the finite numbers; zeros if there are none.
pub fn range(numbers: &[f64]) -> (f64, f64) {
    let finite = numbers.iter().copied().filter(|number| number.is_finite());
    let (least, greatest) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), n| (least.min(n), greatest.max(n)));
    if least <= greatest { (least, greatest) } else { (0.0, 0.0) }
}
