//! Where the count of rows stands in a header, and how a larger one can be written there.
//!
//! An array grows by appending to its file and by writing a larger number into the header. The data cannot move, so the
//! header must stay as long as it is: the new digits go where spaces are.

use std::fmt;

use super::window::write_digits;

/// The width of the window that one aligned write replaces, in bytes.
pub const WINDOW_BYTES: usize = 16;
/// The narrowest window that is called one. So much finds its place, aligned, in the 21 digits that NumPy leaves room for
/// since 1.25, wherever the count begins: 2 * 11 - 1 = 21.
pub const WINDOW_BYTES_MIN: usize = 11;

/// How a header takes a larger count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Growth {
    /// The count is right-aligned in `width` bytes at `offset` that hold nothing else: [`WINDOW_BYTES`] in our own
    /// layout, at least [`WINDOW_BYTES_MIN`] where an appender has made room in another program's header. They lie within
    /// one aligned block of 16 bytes. One write replaces it; a reader sees the old count or the new one.
    Window { offset: u64, width: usize },
    /// The count can become longer by this many bytes when the rest of the header moves into its padding. Written as it
    /// stands, a reader could see it half rewritten, so an appender first makes a window of the padding.
    Room { spare_bytes: usize },
    /// It cannot grow.
    None(NoGrowth),
}

/// Why an array cannot grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoGrowth {
    #[error("the array has no dimensions, so it holds exactly one element")]
    NoDimensions,
    #[error(
        "a row holds no bytes, so that the file's length does not say how many there are: save a longer one with NumPy"
    )]
    EmptyRows,
    #[error("the header has no room for a larger count: `npy-ingest ensure-appendable` makes room")]
    NoRoom,
}

impl Growth {
    pub(super) fn of(place: Option<CountPlace>, row_bytes: u64) -> Self {
        match place {
            None => Growth::None(NoGrowth::NoDimensions),
            Some(_) if row_bytes == 0 => Growth::None(NoGrowth::EmptyRows),
            Some(place) => match place.window {
                Some(window) => Growth::Window {
                    offset: u64::try_from(window.start).unwrap_or(u64::MAX),
                    width: window.end.saturating_sub(window.start),
                },
                None => Growth::Room { spare_bytes: place.spaces_before.saturating_add(place.padding) },
            },
        }
    }
}

/// A sentence for people.
impl fmt::Display for Growth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Growth::Window { offset, width } => write!(
                formatter,
                "yes, under live readers: the count has {width} bytes at {offset}, which one aligned write replaces"
            ),
            Growth::Room { spare_bytes: 0 } => {
                write!(formatter, "only until the count needs one more digit: the header has no padding left")
            }
            Growth::Room { spare_bytes } => write!(
                formatter,
                "yes, by up to {spare_bytes} more digits: the first append moves the count into an aligned window"
            ),
            Growth::None(reason) => write!(formatter, "no: {reason}"),
        }
    }
}

/// Offsets in the header's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CountPlace {
    /// Where the number begins, and how many bytes it has as written.
    start: usize,
    pub digits: usize,
    /// Spaces before it that can be given up.
    spaces_before: usize,
    /// Spaces at the header's end, before its newline.
    padding: usize,
    /// The aligned window, if the number stands at the end of one.
    window: Option<Window>,
}

/// Offsets in the header's bytes: the number ends where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub start: usize,
    pub end: usize,
}

impl CountPlace {
    /// `header` is the whole header; the number stands in `start..end`.
    pub fn locate(header: &[u8], start: usize, end: usize) -> Self {
        let before = header.get(..start).unwrap_or_default();
        let spaces = trailing_spaces(before);
        // The separator `, ` before the last of several dimensions stays as it is.
        let after_comma = before.iter().rev().nth(spaces) == Some(&b',');
        let text = header.strip_suffix(newline_at_end(header)).unwrap_or(header);
        let digits = end.saturating_sub(start);
        let is_plain = header.get(start..end).is_some_and(|number| number.iter().all(u8::is_ascii_digit));
        let usable = spaces.saturating_sub(usize::from(after_comma));
        let window = Window::locate(start, end, spaces, usable).filter(|_| is_plain);
        Self { start, digits, spaces_before: usable, padding: trailing_spaces(text), window }
    }

    pub fn window(&self) -> Option<Window> {
        self.window
    }

    /// The header with another count, as long as before. `None` if there is no room for it.
    pub fn rewrite(&self, header: &[u8], rows: u64, growth: &Growth) -> Option<Vec<u8>> {
        let count = rows.to_string();
        let end = self.start.checked_add(self.digits)?;
        if matches!(growth, Growth::Window { .. }) {
            let window = self.window?;
            let mut written = header.to_vec();
            return write_digits(written.get_mut(window.start..window.end)?, rows).then_some(written);
        }
        let newline = newline_at_end(header);
        let text_end = header.len().checked_sub(newline.len())?.checked_sub(self.padding)?;
        // The padding at the end gives way first, then the spaces before the number.
        let longer = count.len().saturating_sub(self.digits);
        let from_spaces = longer.saturating_sub(self.padding);
        if from_spaces > self.spaces_before {
            return None;
        }
        let mut written = header.get(..self.start.checked_sub(from_spaces)?)?.to_vec();
        written.extend_from_slice(count.as_bytes());
        written.extend_from_slice(header.get(end..text_end)?);
        let room = header.len().checked_sub(newline.len())?;
        if written.len() > room {
            return None;
        }
        written.resize(room, b' ');
        written.extend_from_slice(newline);
        Some(written)
    }
}

impl Window {
    /// The number stands in `start..end` behind so many spaces, of which `usable` are no part of a separator.
    fn locate(start: usize, end: usize, spaces: usize, usable: usize) -> Option<Self> {
        let block = end.checked_sub(1)? / WINDOW_BYTES * WINDOW_BYTES;
        let is_whole = end.is_multiple_of(WINDOW_BYTES) && start.saturating_sub(block) <= spaces;
        let first = if is_whole { block } else { block.max(start.saturating_sub(usable)) };
        let is_wide = end.saturating_sub(first) >= WINDOW_BYTES_MIN;
        (block <= start && is_wide).then_some(Self { start: first, end })
    }
}

/// The newline that ends the header and stays at its end. One behind a backslash is none of these: it belongs to the
/// backslash, and spaces between them would make the text unreadable.
fn newline_at_end(header: &[u8]) -> &'static [u8] {
    match header.strip_suffix(b"\n") {
        Some([.., b'\\'] | [.., b'\\', b'\r']) | None => b"",
        Some(_) => b"\n",
    }
}

fn trailing_spaces(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|byte| **byte == b' ').count()
}
