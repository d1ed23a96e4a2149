//! Whether a decoder has filled the pixels to their end.
//!
//! The JPEG library can end without an error and without having written the last lines: where a second scan begins too
//! early, or an end marker stands between two. What the buffer held before, lines of some other picture, would then become
//! part of the row. So the end of the buffer is marked before the decoding, with bytes that no picture has by chance; if the
//! mark is still there, it is done once more with another mark, as for a picture of one pixel chance is not to be
//! ruled out.

use crate::decode::Rejection;

/// Bytes at the end of the buffer that are marked.
const MARK_BYTES: usize = 64;
/// Two marks that differ in every byte.
const MARKS: [u8; 2] = [0x00, 0xFF];

/// Runs `decode` on `pixels`, and rejects the source if it leaves the end untouched. `decode` may be called twice.
pub(super) fn to_the_end(
    pixels: &mut [u8],
    mut decode: impl FnMut(&mut [u8]) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    for salt in MARKS {
        mark(pixels, salt);
        decode(pixels)?;
        if !is_marked(pixels, salt) {
            return Ok(());
        }
    }
    Err(Rejection::new("JPEG: the data ends before the last line of the picture: the file is damaged"))
}

/// Noise, the same each time; the salt turns every byte of it.
fn noise(salt: u8) -> impl Iterator<Item = u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(1_u32), next).map(move |state| (state >> 24) as u8 ^ salt)
}

fn mark(pixels: &mut [u8], salt: u8) {
    for (byte, value) in pixels.iter_mut().rev().take(MARK_BYTES).zip(noise(salt)) {
        *byte = value;
    }
}

fn is_marked(pixels: &[u8], salt: u8) -> bool {
    pixels.iter().rev().take(MARK_BYTES).zip(noise(salt)).all(|(byte, value)| *byte == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_stops_early_is_found_out() {
        for length in [1, 3, 64, 1000] {
            let mut pixels = vec![7; length];
            let rejection = to_the_end(&mut pixels, |_| Ok(())).unwrap_err();
            assert!(rejection.reason.contains("before the last line"), "{rejection}");
        }
    }

    #[test]
    fn any_picture_passes_also_one_that_looks_like_the_mark() {
        for value in 0..=255 {
            let decode = |pixels: &mut [u8]| {
                pixels.fill(value);
                Ok(())
            };
            assert!(to_the_end(&mut [0], decode).is_ok());
        }
        let mut pixels = [0; 100];
        let decode = |pixels: &mut [u8]| {
            mark(pixels, MARKS[0]);
            Ok(())
        };
        assert!(to_the_end(&mut pixels, decode).is_ok());
    }

    #[test]
    fn a_fault_of_the_decoder_comes_through() {
        let rejection = to_the_end(&mut [0; 9], |_| Err(Rejection::new("broken"))).unwrap_err();
        assert_eq!(rejection.reason, "broken");
    }
}
