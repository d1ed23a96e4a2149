//! The eight EXIF orientations, as a reading order of the stored pixels.
//!
//! A photograph is never turned at its full size. All geometry is worked out for the turned ("oriented") image, the
//! crop box is carried back to the stored image, the stored image is resized, and the small result is read in the
//! order that turns it. The meaning of the values 1 to 8 is that of the tag `Orientation` (0x0112), TIFF 6.0 page 36.

use image::metadata::Orientation;

use super::tiff;

/// The tag of an EXIF block.
const ORIENTATION: u64 = 0x0112;
/// What stands before the block in a JPEG. Some programs put it there in other formats, too.
const EXIF_SIGNATURE: &[u8] = b"Exif\0\0";

/// How the oriented image is found in the stored one: oriented `(x, y)` is stored `(x, y)`, or `(y, x)` where the axes
/// are swapped, and then counted from the other end along each mirrored stored axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub swap_axes: bool,
    /// The stored x axis is read from right to left.
    pub mirror_x: bool,
    /// The stored y axis is read from bottom to top.
    pub mirror_y: bool,
}

/// A rectangle in pixels with fractions: left, top, width, height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rectangle {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// Where the pixels of the oriented image lie in a stored buffer, counted in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strides {
    pub start: isize,
    /// One step to the right, and one step down, in the oriented image.
    pub step_x: isize,
    pub step_y: isize,
}

impl Turn {
    pub const NONE: Self = Self { swap_axes: false, mirror_x: false, mirror_y: false };

    /// How a picture is to be turned: by its EXIF block, else as its decoder says.
    pub(super) fn told(exif: Option<&[u8]>, asked: Option<Orientation>) -> Self {
        exif.and_then(orientation_of).or(asked).map_or(Self::NONE, Self::from)
    }

    /// The oriented size of an image stored at `width` x `height`, and the stored size of one oriented at that size:
    /// the two questions have the same answer.
    pub fn size(self, width: u32, height: u32) -> (u32, u32) {
        if self.swap_axes { (height, width) } else { (width, height) }
    }

    /// The stored rectangle that shows `oriented` of an image stored at `width` x `height`.
    pub(super) fn stored_rectangle(self, oriented: Rectangle, width: u32, height: u32) -> Rectangle {
        let mut stored = oriented;
        if self.swap_axes {
            stored =
                Rectangle { left: oriented.top, top: oriented.left, width: oriented.height, height: oriented.width };
        }
        if self.mirror_x {
            stored.left = (f64::from(width) - (stored.left + stored.width)).max(0.0);
        }
        if self.mirror_y {
            stored.top = (f64::from(height) - (stored.top + stored.height)).max(0.0);
        }
        stored
    }

    /// The reverse of [`Self::stored_rectangle`]: where in the oriented image `stored` of one stored at `width` x `height`
    /// is shown.
    #[cfg(feature = "turbo")]
    pub(super) fn oriented_rectangle(self, stored: Rectangle, width: u32, height: u32) -> Rectangle {
        let mut oriented = stored;
        if self.mirror_x {
            oriented.left = (f64::from(width) - (stored.left + stored.width)).max(0.0);
        }
        if self.mirror_y {
            oriented.top = (f64::from(height) - (stored.top + stored.height)).max(0.0);
        }
        if self.swap_axes {
            let Rectangle { left, top, width, height } = oriented;
            oriented = Rectangle { left: top, top: left, width: height, height: width };
        }
        oriented
    }

    /// The reading order of an image stored at `width` x `height`.
    pub(super) fn strides(self, width: u32, height: u32) -> Strides {
        // Sizes are at most 65535, see the limits; their product fits 32 bits.
        let (columns, lines) = (width as isize, height as isize);
        let (along_x, start_x) = if self.mirror_x { (-1, columns - 1) } else { (1, 0) };
        let (along_y, start_y) = if self.mirror_y { (-columns, (lines - 1) * columns) } else { (columns, 0) };
        let (step_x, step_y) = if self.swap_axes { (along_y, along_x) } else { (along_x, along_y) };
        Strides { start: start_x + start_y, step_x, step_y }
    }
}

/// The orientation that an EXIF block tells, as the library's `from_exif_chunk`, which knows neither a signature nor numbers of
/// four bytes.
fn orientation_of(block: &[u8]) -> Option<Orientation> {
    let mut block = block;
    while let Some(rest) = block.strip_prefix(EXIF_SIGNATURE) {
        block = rest;
    }
    tiff::number(block, ORIENTATION).and_then(|value| u8::try_from(value).ok()).and_then(Orientation::from_exif)
}

impl From<Orientation> for Turn {
    fn from(orientation: Orientation) -> Self {
        let (swap_axes, mirror_x, mirror_y) = match orientation {
            Orientation::NoTransforms => (false, false, false),
            Orientation::FlipHorizontal => (false, true, false),
            Orientation::Rotate180 => (false, true, true),
            Orientation::FlipVertical => (false, false, true),
            // The transpose, tag value 5.
            Orientation::Rotate90FlipH => (true, false, false),
            Orientation::Rotate90 => (true, false, true),
            // The transverse, tag value 7.
            Orientation::Rotate270FlipH => (true, true, true),
            Orientation::Rotate270 => (true, true, false),
        };
        Self { swap_axes, mirror_x, mirror_y }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored image 3 x 2:  a b c / d e f. The expected lines are what Pillow's exif_transpose gives.
    #[test]
    fn all_eight_orientations_of_a_small_image() {
        let stored = b"abcdef";
        let expected: [(u8, &[&str]); 8] = [
            (1, &["abc", "def"]),
            (2, &["cba", "fed"]),
            (3, &["fed", "cba"]),
            (4, &["def", "abc"]),
            (5, &["ad", "be", "cf"]),
            (6, &["da", "eb", "fc"]),
            (7, &["fc", "eb", "da"]),
            (8, &["cf", "be", "ad"]),
        ];
        for (tag, lines) in expected {
            let turn = Turn::from(Orientation::from_exif(tag).unwrap());
            let (width, height) = turn.size(3, 2);
            assert_eq!((width as usize, height as usize), (lines[0].len(), lines.len()), "orientation {tag}");
            let strides = turn.strides(3, 2);
            for (y, line) in lines.iter().enumerate() {
                let read: String = (0..width as isize)
                    .map(|x| {
                        stored[(strides.start + x * strides.step_x + y as isize * strides.step_y) as usize] as char
                    })
                    .collect();
                assert_eq!(&read, line, "orientation {tag}, line {y}");
            }
        }
    }

    #[test]
    fn an_exif_block_tells_the_orientation_in_either_order_and_width() {
        let block = |start: &[u8], entry: &[u8]| [start, entry, &[0; 4]].concat();
        let big = block(b"MM\0*\0\0\0\x08\0\x01", &[1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0]);
        let little = block(b"II*\0\x08\0\0\0\x01\0", &[0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]);
        let wide = block(b"MM\0*\0\0\0\x08\0\x01", &[1, 0x12, 0, 4, 0, 0, 0, 1, 0, 0, 0, 6]);
        let signed = [EXIF_SIGNATURE, &big].concat();
        for found in [&big, &little, &wide, &signed] {
            assert_eq!(orientation_of(found), Some(Orientation::Rotate90), "{found:?}");
        }
        // The value ends with the twentieth byte.
        for length in 0..20 {
            assert_eq!(orientation_of(&big[..length]), None, "{length}");
        }
        let two = block(b"MM\0*\0\0\0\x08\0\x01", &[1, 0x12, 0, 3, 0, 0, 0, 2, 0, 6, 0, 6]);
        let unknown = block(b"MM\0*\0\0\0\x08\0\x01", &[1, 0x12, 0, 3, 0, 0, 0, 1, 0, 9, 0, 0]);
        for nothing in [&two, &unknown, &b"Exif\0\0".to_vec(), &b"RIFF".to_vec()] {
            assert_eq!(orientation_of(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn a_box_is_carried_back_to_the_stored_image() {
        // Stored 10 x 4, shown 4 x 10 after a quarter turn clockwise: the shown left edge is the stored bottom.
        let shown = Rectangle { left: 1.0, top: 2.5, width: 2.0, height: 5.0 };
        let turn = Turn::from(Orientation::Rotate90);
        assert_eq!(turn.stored_rectangle(shown, 10, 4), Rectangle { left: 2.5, top: 1.0, width: 5.0, height: 2.0 });
        let turn = Turn::from(Orientation::Rotate90FlipH);
        assert_eq!(turn.stored_rectangle(shown, 10, 4), Rectangle { left: 2.5, top: 1.0, width: 5.0, height: 2.0 });
        let turn = Turn::from(Orientation::Rotate180);
        let shown = Rectangle { left: 0.0, top: 0.0, width: 3.0, height: 1.0 };
        assert_eq!(turn.stored_rectangle(shown, 10, 4), Rectangle { left: 7.0, top: 3.0, width: 3.0, height: 1.0 });
    }

    #[cfg(feature = "turbo")]
    #[test]
    fn a_box_comes_back() {
        let stored = Rectangle { left: 2.5, top: 1.0, width: 5.0, height: 2.25 };
        for tag in 1..=8 {
            let turn = Turn::from(Orientation::from_exif(tag).unwrap());
            let shown = turn.oriented_rectangle(stored, 10, 4);
            assert_eq!(turn.stored_rectangle(shown, 10, 4), stored, "orientation {tag}");
        }
    }
}
