//! What the headers of a JPEG say, and whether it is a plain one.
//!
//! Plain are JPEGs that every decoder takes alike: sequential or progressive Huffman coding, 8 bits, gray or YCbCr, chroma
//! at the full resolution or half of it along either axis. That is nearly every photograph. What is left: CMYK and YCCK, RGB
//! by an Adobe marker, 12 bits, lossless and arithmetic coding, components in scans of their own, and everything odd.
//!
//! Source: ITU-T T.81, B.2.2 (frame header), B.2.3 (scan header); the Adobe marker: T.872, 6.5.3.

/// More scans than any encoder makes; each of a progressive picture's costs a pass over all of it.
pub(super) const SCANS_MAX: u32 = 100;

/// SOF0 to SOF15 without DHT, JPG and DAC.
pub(super) fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

/// The frame of a plain JPEG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlainJpeg {
    pub width: u32,
    pub height: u32,
    /// 1: gray; 3: YCbCr.
    pub components: usize,
    /// Luma samples for one of chroma, along either axis: 1 or 2. 1 for gray.
    pub across: u32,
    pub down: u32,
}

/// What a walk has passed.
#[derive(Debug, Default)]
pub(super) struct Headers {
    frame: Option<PlainJpeg>,
    progressive: bool,
    scans: u32,
    odd: bool,
}

impl Headers {
    /// Takes note of a segment.
    pub fn pass(&mut self, marker: u8, body: &[u8]) {
        match marker {
            _ if is_frame(marker) => {
                // A second frame is as odd as one of the other kinds.
                self.odd |= marker > 0xC2 || self.frame.is_some();
                self.progressive = marker == 0xC2;
                self.frame = frame(body);
                self.odd |= self.frame.is_none();
            }
            0xDA => {
                self.scans += 1;
                let all = self.frame.map(|frame| frame.components) == body.first().map(|count| usize::from(*count));
                let is_whole = all && self.scans == 1;
                self.odd |= !(self.progressive || is_whole);
            }
            // DNL, DHP, EXP: a height that comes later, and hierarchical coding.
            0xDC | 0xDE | 0xDF => self.odd = true,
            // "Adobe", version, two times flags, transform: 1 is YCbCr.
            0xEE if body.starts_with(b"Adobe") => self.odd |= body.get(11) != Some(&1),
            _ => {}
        }
    }

    /// The frame, if all that was passed is plain.
    pub fn plain(&self) -> Option<PlainJpeg> {
        self.frame.filter(|_| !self.odd && self.scans <= SCANS_MAX)
    }
}

/// Precision, height, width, number of components; for each its id, sampling factors, quantization table.
fn frame(body: &[u8]) -> Option<PlainJpeg> {
    let [8, height_high, height_low, width_high, width_low, _] = *body.first_chunk()? else { return None };
    let width = u32::from(u16::from_be_bytes([width_high, width_low]));
    let height = u32::from(u16::from_be_bytes([height_high, height_low]));
    let (components, across, down) = match body.get(5..)? {
        [1, _, 0x11, _] => (1, 1, 1),
        // Ids that begin at 0 or 1: not "RGB".
        [3, 0..=1, luma, _, 1..=2, 0x11, _, 2..=3, 0x11, _] => (3, u32::from(luma >> 4), u32::from(luma & 15)),
        _ => return None,
    };
    let halved = |factor| matches!(factor, 1..=2);
    (width > 0 && height > 0 && halved(across) && halved(down)).then_some(PlainJpeg {
        width,
        height,
        components,
        across,
        down,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOUR: &[u8] = &[8, 0, 30, 0, 40, 3, 1, 0x21, 0, 2, 0x11, 1, 3, 0x11, 1];
    const GRAY: &[u8] = &[8, 0, 30, 0, 40, 1, 1, 0x11, 0];

    fn plain(segments: &[(u8, &[u8])]) -> Option<PlainJpeg> {
        let mut headers = Headers::default();
        segments.iter().for_each(|(marker, body)| headers.pass(*marker, body));
        headers.plain()
    }

    #[test]
    fn photographs_are_plain() {
        let colour = PlainJpeg { width: 40, height: 30, components: 3, across: 2, down: 1 };
        let adobe = |transform| (0xEE, [b"Adobe\0\x64\0\0\0\0".as_slice(), &[transform]].concat());
        assert_eq!(plain(&[(0xC0, COLOUR), (0xDA, &[3])]), Some(colour));
        assert_eq!(plain(&[(0xC1, COLOUR), (0xDA, &[3])]), Some(colour));
        assert_eq!(plain(&[(0xC2, COLOUR), (0xDA, &[3]), (0xDA, &[1]), (0xDA, &[1])]), Some(colour));
        let (marker, body) = adobe(1);
        assert_eq!(plain(&[(marker, &body), (0xC0, COLOUR), (0xDA, &[3])]), Some(colour));
        let gray = PlainJpeg { components: 1, across: 1, ..colour };
        assert_eq!(plain(&[(0xC0, GRAY), (0xDA, &[1])]), Some(gray));
    }

    #[test]
    fn everything_else_is_not() {
        let changed = |place: usize, value: u8| {
            let mut frame = COLOUR.to_vec();
            frame[place] = value;
            plain(&[(0xC0, &frame), (0xDA, &[3])])
        };
        assert_eq!(changed(7, 0x21), changed(0, 8));
        for (place, value) in
            [(0, 12), (2, 0), (4, 0), (5, 4), (6, b'R'), (7, 0x41), (7, 0x12 + 1), (7, 0), (10, 0x21), (13, 0x12)]
        {
            assert_eq!(changed(place, value), None, "{value} at {place}");
        }
        for marker in [0xC3, 0xC5, 0xC9, 0xCA, 0xCF] {
            assert_eq!(plain(&[(marker, COLOUR), (0xDA, &[3])]), None, "{marker:X}");
        }
        let adobe = [b"Adobe\0\x64\0\0\0\0".as_slice(), &[0]].concat();
        for (name, segments) in [
            ("RGB by Adobe", &[(0xEE, adobe.as_slice()), (0xC0, COLOUR), (0xDA, &[3])][..]),
            ("two frames", &[(0xC0, COLOUR), (0xC0, COLOUR), (0xDA, &[3])]),
            ("a scan for each component", &[(0xC0, COLOUR), (0xDA, &[1]), (0xDA, &[1]), (0xDA, &[1])]),
            ("a component that is missing", &[(0xC0, COLOUR), (0xDA, &[1])]),
            ("two scans", &[(0xC0, COLOUR), (0xDA, &[3]), (0xDA, &[3])]),
            ("lines that are counted later", &[(0xC0, COLOUR), (0xDA, &[3]), (0xDC, &[0, 30])]),
            ("a frame that is cut", &[(0xC0, &COLOUR[..8]), (0xDA, &[3])]),
            ("no frame", &[(0xDA, &[3])]),
        ] {
            assert_eq!(plain(segments), None, "{name}");
        }
        let mut many = vec![(0xC2, COLOUR)];
        many.resize(1 + SCANS_MAX as usize, (0xDA, &[3][..]));
        assert!(plain(&many).is_some());
        many.push((0xDA, &[3]));
        assert_eq!(plain(&many), None);
    }
}
