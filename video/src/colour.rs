//! Luma and chroma of the same size into RGB: the small planes of a frame, where libswscale's exact way takes more time than
//! all the rest. Its coefficients are used.

/// How a frame's samples become RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colours {
    /// Red of V, blue of U, and green's of U and V, times 65536, for the limited range.
    pub coefficients: [i32; 4],
    pub is_full_range: bool,
    /// Of a sample: 8 to 16.
    pub bits: u32,
}

impl Colours {
    /// Black, the middle of chroma, and the factors of luma and of chroma (red of V, blue of U, green of U and V).
    fn levels(self) -> (f32, f32, f32, [f32; 4]) {
        let unit = (1_u32 << (self.bits.clamp(8, 16) - 8)) as f32;
        let (black, luma, chroma) = match self.is_full_range {
            true => (0.0, 255.0 / (256.0 * unit - 1.0), 224.0 / 255.0 * 255.0 / (256.0 * unit - 1.0)),
            false => (16.0 * unit, 255.0 / 219.0 / unit, 1.0 / unit),
        };
        (black, 128.0 * unit, luma, self.coefficients.map(|factor| factor as f32 / 65536.0 * chroma))
    }

    /// Bytes of 8-bit samples into bytes: fixed point of 14 binary places, rounded.
    pub fn bytes(self, [luma, blue, red]: [&[u8]; 3], pixels: &mut [u8]) {
        const ONE: f32 = 16384.0;
        let (black, middle, scale, factors) = self.levels();
        let fixed = |factor: f32| (factor * ONE).round() as i32;
        let (scale, [red_v, blue_u, green_u, green_v]) = (fixed(scale), factors.map(fixed));
        let (black, middle) = (black as i32, middle as i32);
        let shown = |sum: i32| ((sum + (1 << 13)) >> 14).clamp(0, 255) as u8;
        let samples = luma.iter().zip(blue).zip(red);
        for (pixel, ((luma, blue), red)) in pixels.chunks_exact_mut(3).zip(samples) {
            let luma = (i32::from(*luma) - black) * scale;
            let (u, v) = (i32::from(*blue) - middle, i32::from(*red) - middle);
            let rgb = [shown(luma + red_v * v), shown(luma - green_u * u - green_v * v), shown(luma + blue_u * u)];
            pixel.copy_from_slice(&rgb);
        }
    }

    /// Samples of two bytes into bytes, or into samples of two bytes of the full range.
    pub fn deep(self, [luma, blue, red]: [&[u8]; 3], is_deep: bool, pixels: &mut [u8]) {
        let (black, middle, scale, [red_v, blue_u, green_u, green_v]) = self.levels();
        let sample = |bytes: &[u8; 2]| f32::from(u16::from_ne_bytes(*bytes));
        let samples = luma.as_chunks().0.iter().zip(blue.as_chunks().0).zip(red.as_chunks().0);
        for (place, ((luma, blue), red)) in samples.enumerate() {
            let luma = (sample(luma) - black) * scale;
            let (u, v) = (sample(blue) - middle, sample(red) - middle);
            let rgb = [luma + red_v * v, luma - green_u * u - green_v * v, luma + blue_u * u];
            for (channel, value) in rgb.into_iter().enumerate() {
                let at = 3 * place + channel;
                // The casts clamp.
                if is_deep {
                    if let Some(to) = pixels.get_mut(2 * at..2 * at + 2) {
                        to.copy_from_slice(&((value * 257.0 + 0.5) as u16).to_ne_bytes());
                    }
                } else if let Some(to) = pixels.get_mut(at) {
                    *to = (value + 0.5) as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ITU-R BT.601, as libswscale has it.
    const BT601: [i32; 4] = [104_597, 132_201, 25_675, 53_279];

    #[test]
    fn black_white_and_red_of_both_ranges() {
        let mut pixels = [0; 9];
        let limited = Colours { coefficients: BT601, is_full_range: false, bits: 8 };
        limited.bytes([&[16, 235, 81], &[128, 128, 90], &[128, 128, 240]], &mut pixels);
        assert_eq!(pixels, [0, 0, 0, 255, 255, 255, 254, 0, 0]);
        Colours { is_full_range: true, ..limited }
            .bytes([&[0, 255, 76], &[128, 128, 85], &[128, 128, 255]], &mut pixels);
        assert_eq!(pixels, [0, 0, 0, 255, 255, 255, 254, 0, 0]);
    }

    #[test]
    fn ten_bits_to_eight_and_to_sixteen() {
        let planes = |samples: [u16; 2]| samples.map(u16::to_ne_bytes).concat();
        let (luma, chroma) = (planes([64, 940]), planes([512, 512]));
        let colours = Colours { coefficients: BT601, is_full_range: false, bits: 10 };
        let mut bytes = [9; 6];
        colours.deep([&luma, &chroma, &chroma], false, &mut bytes);
        assert_eq!(bytes, [0, 0, 0, 255, 255, 255]);
        let mut deep = [9; 12];
        colours.deep([&luma, &chroma, &chroma], true, &mut deep);
        assert_eq!(deep, [0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255]);
    }
}
