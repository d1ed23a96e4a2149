//! Whether an Ogg file is there up to its end. FFmpeg takes the end of such a file, wherever it is, for the end of the sound or video;
//! one whose copy was broken off would be a shorter one.
//!
//! Source: RFC 3533, section 6.

use std::fs::File;
use std::os::unix::fs::FileExt;

const MARK: &[u8] = b"OggS";
/// What stands before the lengths of a page's segments, and where in it the flags do.
const HEAD_BYTES: usize = 27;
const FLAGS: usize = 5;
const IS_LAST: u8 = 4;
/// What is looked at of the end of a file: the largest page, and as much of anything behind it.
const TAIL_BYTES: u64 = 2 * (27 + 255 + 255 * 255);

/// Whether the last page is not there as a whole, or is not called the last of its stream. `false` where it is no such file.
pub fn is_cut_short(file: &File, bytes: u64) -> bool {
    let mut mark = [0; MARK.len()];
    if file.read_exact_at(&mut mark, 0).is_err() || mark != MARK {
        return false;
    }
    let from = bytes.saturating_sub(TAIL_BYTES);
    let mut tail = vec![0; usize::try_from(bytes - from).unwrap_or(0)];
    if file.read_exact_at(&mut tail, from).is_err() {
        return false;
    }
    let (mut rest, mut is_cut) = (tail.as_slice(), true);
    // What looks like a page within one is passed over with it, once a true one is found.
    while let Some(place) = rest.windows(MARK.len()).position(|part| part == MARK) {
        rest = rest.get(place..).unwrap_or_default();
        let (behind, is_last) = page(rest).unwrap_or((usize::MAX, false));
        is_cut = !is_last;
        rest = rest.get(behind..).unwrap_or_default();
    }
    is_cut
}

/// How long the page is that begins here, as far as its head tells, and whether it is its stream's last.
fn page(bytes: &[u8]) -> Option<(usize, bool)> {
    let segments = usize::from(*bytes.get(HEAD_BYTES - 1)?);
    let lengths = bytes.get(HEAD_BYTES..HEAD_BYTES + segments)?;
    let length = HEAD_BYTES + segments + lengths.iter().map(|length| usize::from(*length)).sum::<usize>();
    let is_last = bytes.get(FLAGS)? & IS_LAST != 0;
    Some((length, is_last && length <= bytes.len()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn is_cut(bytes: &[u8]) -> bool {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        is_cut_short(&file, bytes.len() as u64)
    }

    fn page(flags: u8, content: &[u8]) -> Vec<u8> {
        [&b"OggS\0"[..], &[flags], &[0; 20], &[1, content.len() as u8], content].concat()
    }

    #[test]
    fn the_last_page_is_there_and_says_that_it_is_the_last() {
        let whole = [page(2, b"head"), page(0, b"a page with OggS in it"), page(4, b"end")].concat();
        assert!(!is_cut(&whole));
        assert!(!is_cut(&[&whole[..], b"a tag behind it"].concat()));
        for length in 4..whole.len() {
            assert!(is_cut(&whole[..length]), "{length}");
        }
        // Longer than what is looked at.
        let long = page(0, &[7; 255]).repeat(2000);
        assert!(is_cut(&long) && !is_cut(&[long, page(4, b"")].concat()));
    }

    #[test]
    fn other_files_are_not_cut_short() {
        assert!(!is_cut(b"") && !is_cut(b"RIFF and so on") && !is_cut(b"Og"));
    }
}
