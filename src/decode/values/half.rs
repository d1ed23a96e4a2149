//! Numbers into halves, `f2`: the nearest one, of two that are as near the even one, on every processor.

use ::half::f16;

/// Bits of an `f8` that an `f4` has no place for.
const LOST_BITS: u64 = (1 << (f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS)) - 1;

/// `f16::from_f64` rounds to an `f4` before where the processor converts, and cuts bits off where none does. Here the way
/// goes through an `f4` too, but what that loses leaves its last bit odd, so that no number comes to lie half-way between
/// two halves that did not (S. Boldo and G. Melquiond, Emulation of FMA and correctly rounded sums: proved algorithms using
/// rounding to odd, 2008).
#[inline]
pub(in crate::decode) fn nearest_half(value: f64) -> f16 {
    let bits = value.to_bits();
    let is_inexact = u64::from(bits & LOST_BITS != 0);
    // Exact, except where it is far below the smallest half or beyond the largest.
    let odd = f64::from_bits((bits & !LOST_BITS) | (is_inexact * (LOST_BITS + 1)));
    f16::from_f32(odd as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every half, what lies half-way between it and the next one, and the numbers just below and above. `f16::from_f64`
    /// gave 1.0 for 1.00048828126, and 0.0 for 2.9802323e-8.
    #[test]
    fn halves_are_the_nearest_ones() {
        let half = |bits: u16| f16::from_bits(bits);
        for bits in 0..0x7C00_u16 {
            let (at, next) = (half(bits).to_f64(), half(bits + 1).to_f64());
            // What would come behind the largest half.
            let next = if next.is_infinite() { 65_536.0 } else { next };
            let middle = f64::midpoint(at, next);
            let (below, above) = (middle.next_down(), middle.next_up());
            let even = bits + (bits & 1);
            for (value, expected) in [(at, bits), (below, bits), (middle, even), (above, bits + 1)] {
                assert_eq!(nearest_half(value).to_bits(), expected, "{value:e}");
                assert_eq!(nearest_half(-value).to_bits(), expected | 0x8000, "-{value:e}");
            }
            assert_eq!(nearest_half(at.next_up()).to_bits(), bits, "above {at:e}");
            let around = [(middle + (middle - at) / 2.0, bits + 1), (middle - (middle - at) / 2.0, bits)];
            for (value, expected) in around {
                assert_eq!(nearest_half(value).to_bits(), expected, "{value:e}");
            }
        }
        for value in [f64::INFINITY, f64::MAX, 1e39, 65_536.0] {
            assert_eq!(nearest_half(value), f16::INFINITY);
            assert_eq!(nearest_half(-value), f16::NEG_INFINITY);
        }
        for value in [f64::MIN_POSITIVE, 1e-46, 1e-40, f64::from_bits(1)] {
            assert_eq!(nearest_half(value).to_bits(), 0);
            assert_eq!(nearest_half(-value).to_bits(), 0x8000);
        }
        // The only bits of this one are those that an `f4` has no place for.
        for value in [f64::NAN, -f64::NAN, f64::from_bits(0x7FF0_0000_0000_0001)] {
            assert!(nearest_half(value).is_nan());
        }
    }
}
