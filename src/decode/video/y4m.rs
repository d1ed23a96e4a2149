//! Y4M: a line of text, and then frames as planes of samples. The format is that of the mjpegtools (their manual page
//! `yuv4mpeg`), with the names of colour spaces that FFmpeg added.
//!
//! The file does not say which matrix it uses: it is BT.601. The range is the limited one, and that of gray the full one, unless
//! `XCOLORRANGE` says otherwise. Chroma samples are repeated, not interpolated.

use crate::decode::Rejection;
use crate::decode::image::{Depth, Raster};

/// The longest line.
pub(super) const LINE_BYTES_MAX: u64 = 4096;
/// Luma and chroma of one frame, at most: 1 GiB.
const FRAME_BYTES_MAX: usize = 1 << 30;
const SIDE_MAX: u32 = 65_535;

/// What the first line says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Header {
    width: u32,
    height: u32,
    /// `frames` in `seconds`.
    pub frames: i64,
    pub seconds: i64,
    pub has_square_pixels: bool,
    pub is_interlaced: bool,
    /// How much smaller the planes of chroma are, as powers of two; `None` where there are none.
    chroma: Option<(u32, u32)>,
    bits: u32,
    is_full_range: bool,
}

impl Header {
    pub(super) fn parse(line: &str) -> Result<Self, Rejection> {
        let mut words = line.split(' ');
        if words.next() != Some("YUV4MPEG2") {
            return Err(Rejection::new("Y4M: the first line does not begin with YUV4MPEG2"));
        }
        let mut header = Self {
            width: 0,
            height: 0,
            frames: 25,
            seconds: 1,
            has_square_pixels: true,
            is_interlaced: false,
            chroma: Some((1, 1)),
            bits: 8,
            is_full_range: false,
        };
        let mut is_full_range = None;
        for word in words {
            let Some(letter) = word.chars().next() else { continue };
            let value = word.get(letter.len_utf8()..).unwrap_or_default();
            let wrong = || Rejection::new(format!("Y4M: the header says {word:?}, which is not understood"));
            match letter {
                'W' => header.width = value.parse().map_err(|_| wrong())?,
                'H' => header.height = value.parse().map_err(|_| wrong())?,
                'F' => {
                    let (frames, seconds) = ratio(value).ok_or_else(wrong)?;
                    // Else it is not known: as FFmpeg has it, 25 a second.
                    if frames > 0 && seconds > 0 {
                        (header.frames, header.seconds) = (i64::from(frames), i64::from(seconds));
                    }
                }
                'A' => {
                    let (across, down) = ratio(value).ok_or_else(wrong)?;
                    header.has_square_pixels = across == down || across == 0 || down == 0;
                }
                'I' => header.is_interlaced = matches!(value, "t" | "b" | "m"),
                'C' => (header.chroma, header.bits) = colours(value).ok_or_else(wrong)?,
                'X' if value == "COLORRANGE=FULL" => is_full_range = Some(true),
                'X' if value == "COLORRANGE=LIMITED" => is_full_range = Some(false),
                _ => {}
            }
        }
        header.is_full_range = is_full_range.unwrap_or(header.chroma.is_none());
        let sides = 1..=SIDE_MAX;
        if !sides.contains(&header.width) || !sides.contains(&header.height) {
            let Self { width, height, .. } = header;
            return Err(Rejection::new(format!(
                "Y4M: frames of {width} x {height} pixels, expected 1 to {SIDE_MAX} on each side"
            )));
        }
        Ok(header)
    }

    pub(super) fn frame_bytes(&self) -> Result<usize, Rejection> {
        let plane = |(width, height): (usize, usize)| width.saturating_mul(height);
        let chroma = self.chroma_size().map_or(0, plane);
        let samples = plane((self.width as usize, self.height as usize)).saturating_add(2 * chroma);
        let bytes = samples.saturating_mul(self.sample_bytes());
        if bytes > FRAME_BYTES_MAX {
            return Err(Rejection::new(format!(
                "Y4M: a frame of {} x {} pixels takes {bytes} bytes, more than the limit of {FRAME_BYTES_MAX}",
                self.width, self.height
            )));
        }
        Ok(bytes)
    }

    /// Pixels of a frame, of 8 bits or of 16: gray or RGB.
    pub(super) fn pixels(&self, planes: &[u8]) -> (Vec<u8>, Raster) {
        let depth = if self.bits > 8 { Depth::U16 } else { Depth::U8 };
        let channels = if self.chroma.is_some() { 3 } else { 1 };
        let raster = Raster { width: self.width, height: self.height, channels, depth };
        let mut pixels = Vec::with_capacity(raster.bytes());
        let (width, height) = (self.width as usize, self.height as usize);
        let chroma_size = self.chroma_size().unwrap_or((0, 0));
        let (luma_samples, chroma_samples) = (width * height, chroma_size.0 * chroma_size.1);
        let (across, down) = self.chroma.unwrap_or((0, 0));
        let levels = Levels::new(self.bits, self.is_full_range);
        let mut put = |value: f32| match depth {
            Depth::U8 => pixels.push((value * 255.0 + 0.5) as u8),
            _ => pixels.extend(((value * 65535.0 + 0.5) as u16).to_ne_bytes()),
        };
        for y in 0..height {
            for x in 0..width {
                let luma = levels.luma(self.sample(planes, y * width + x));
                if channels == 1 {
                    put(luma);
                    continue;
                }
                let place = luma_samples + (y >> down) * chroma_size.0 + (x >> across);
                let blue = levels.chroma(self.sample(planes, place));
                let red = levels.chroma(self.sample(planes, place + chroma_samples));
                // ITU-R BT.601.
                put(luma + 1.402 * red);
                put(luma - 0.344_136 * blue - 0.714_136 * red);
                put(luma + 1.772 * blue);
            }
        }
        (pixels, raster)
    }

    fn sample_bytes(&self) -> usize {
        if self.bits > 8 { 2 } else { 1 }
    }

    fn sample(&self, planes: &[u8], place: usize) -> f32 {
        match self.sample_bytes() {
            1 => planes.get(place).copied().map_or(0.0, f32::from),
            _ => planes
                .get(2 * place..)
                .and_then(<[u8]>::first_chunk)
                .map_or(0.0, |bytes| f32::from(u16::from_le_bytes(*bytes))),
        }
    }

    fn chroma_size(&self) -> Option<(usize, usize)> {
        let (across, down) = self.chroma?;
        Some((self.width.div_ceil(1 << across) as usize, self.height.div_ceil(1 << down) as usize))
    }
}

/// From samples to 0 to 1, and to -0.5 to 0.5.
struct Levels {
    black: f32,
    luma_span: f32,
    middle: f32,
    chroma_span: f32,
}

impl Levels {
    fn new(bits: u32, is_full_range: bool) -> Self {
        let unit = (1_u32 << (bits - 8)) as f32;
        let middle = 128.0 * unit;
        if is_full_range {
            let largest = 256.0 * unit - 1.0;
            return Self { black: 0.0, luma_span: largest, middle, chroma_span: largest };
        }
        Self { black: 16.0 * unit, luma_span: 219.0 * unit, middle, chroma_span: 224.0 * unit }
    }

    fn luma(&self, sample: f32) -> f32 {
        (sample - self.black) / self.luma_span
    }

    fn chroma(&self, sample: f32) -> f32 {
        (sample - self.middle) / self.chroma_span
    }
}

fn ratio(text: &str) -> Option<(u32, u32)> {
    let (first, second) = text.split_once(':')?;
    Some((first.parse().ok()?, second.parse().ok()?))
}

/// The chroma's size and the bits of a sample.
fn colours(name: &str) -> Option<(Option<(u32, u32)>, u32)> {
    if let Some(bits) = name.strip_prefix("mono") {
        let bits = if bits.is_empty() { 8 } else { bits.parse().ok()? };
        return matches!(bits, 8 | 9 | 10 | 12 | 14 | 16).then_some((None, bits));
    }
    let chroma = match name.get(..3)? {
        "420" => (1, 1),
        "422" => (1, 0),
        "444" => (0, 0),
        "411" => (2, 0),
        _ => return None,
    };
    let bits = match name.get(3..)? {
        "" | "jpeg" | "mpeg2" | "paldv" => 8,
        deep => deep.strip_prefix('p')?.parse().ok()?,
    };
    matches!(bits, 8 | 9 | 10 | 12 | 14 | 16).then_some((Some(chroma), bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_programs_write_them() {
        let header = Header::parse("YUV4MPEG2 W5 H3 F30000:1001 Ip A1:1 C420mpeg2 XYSCSS=420MPEG2").unwrap();
        assert_eq!((header.width, header.height, header.frames, header.seconds), (5, 3, 30000, 1001));
        assert_eq!((header.frame_bytes(), header.bits), (Ok(15 + 2 * 6), 8));
        let header = Header::parse("YUV4MPEG2 W4 H2 F25:1 It A16:15 C422p10 XCOLORRANGE=FULL").unwrap();
        assert_eq!((header.frame_bytes(), header.has_square_pixels), (Ok(2 * (8 + 2 * 4)), false));
        assert!(header.is_interlaced && header.is_full_range);
        assert_eq!(Header::parse("YUV4MPEG2 W4 H2 Cmono12").unwrap().frame_bytes(), Ok(16));
        for rate in ["0:0", "30:0", "0:1"] {
            let header = Header::parse(&format!("YUV4MPEG2 W4 H2 F{rate}")).unwrap();
            assert_eq!((header.frames, header.seconds), (25, 1));
        }
    }

    #[test]
    fn gray_is_of_full_range_unless_it_says_otherwise() {
        let is_full = |words: &str| Header::parse(&format!("YUV4MPEG2 W4 H2 {words}")).unwrap().is_full_range;
        assert!(is_full("Cmono") && is_full("Cmono16") && is_full("XCOLORRANGE=FULL C420"));
        assert!(!is_full("C420") && !is_full("") && !is_full("Cmono XCOLORRANGE=LIMITED"));
    }

    #[test]
    fn headers_that_are_refused() {
        for line in
            ["", "YUV4MPEG2", "YUV4MPEG2 W4", "YUV4MPEG2 W0 H1", "YUV4MPEG2 W4 H2 F0", "YUV4MPEG2 W4 H2 C444alpha"]
        {
            assert!(Header::parse(line).is_err(), "{line}");
        }
        let large = Header::parse("YUV4MPEG2 W65535 H65535").unwrap();
        assert!(large.frame_bytes().is_err());
    }

    #[test]
    fn black_white_and_red() {
        let header = Header::parse("YUV4MPEG2 W3 H1 C444").unwrap();
        let (pixels, raster) = header.pixels(&[16, 235, 81, 128, 128, 90, 128, 128, 240]);
        assert_eq!((raster.channels, raster.depth), (3, Depth::U8));
        assert_eq!(pixels, [0, 0, 0, 255, 255, 255, 254, 0, 0]);
    }
}
