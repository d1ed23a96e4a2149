//! What a source is that cannot be read as it lies there: a compressed file, or text of another encoding. Known by its first
//! bytes.

use std::io;
use std::path::Path;

/// So many first bytes tell.
pub(super) const MAGIC_BYTES_MAX: u64 = 10;

/// A compressed format: its name, the endings of such files, and what they begin with.
struct Format {
    name: &'static str,
    endings: &'static [&'static str],
    magic: &'static [u8],
}

const FORMATS: [Format; 5] = [
    Format { name: "gzip", endings: &["gz"], magic: b"\x1f\x8b\x08" },
    Format { name: "xz", endings: &["xz"], magic: b"\xfd7zXZ\0" },
    Format { name: "Zstandard", endings: &["zst", "zstd"], magic: b"\x28\xb5\x2f\xfd" },
    Format { name: "bzip2", endings: &["bz2"], magic: b"BZh" },
    Format { name: "LZ4", endings: &["lz4"], magic: b"\x04\x22\x4d\x18" },
];
/// What follows the digit behind the magic of bzip2: the digits of pi, or those of its root where nothing is compressed.
const BZIP2_BLOCKS: [&[u8]; 2] = [b"1AY&SY", b"\x17rE8P\x90"];

/// The byte order marks of encodings that are not UTF-8, and what `iconv` calls these. The first is as well how one of UTF-32 begins: of a log that is being
/// written no more may be there yet, and what is said of it must not depend on that.
const ENCODINGS: [(&str, &str, &[u8]); 3] = [
    ("UTF-16LE (or UTF-32LE)", "UTF-16", b"\xff\xfe"),
    ("UTF-16BE", "UTF-16", b"\xfe\xff"),
    ("UTF-32BE", "UTF-32", b"\0\0\xfe\xff"),
];

fn format(first: &[u8]) -> Option<&'static Format> {
    let found = FORMATS.iter().find(|format| first.starts_with(format.magic))?;
    // Without the digit there could be a line's end, and of a log that is being written a line is read before more is there.
    let is_bzip2 = || match first.get(3..).and_then(<[u8]>::split_first) {
        Some((b'1'..=b'9', behind)) => BZIP2_BLOCKS.iter().any(|block| behind.starts_with(block)),
        _ => false,
    };
    (found.name != "bzip2" || is_bzip2()).then_some(found)
}

/// The format of a file that is compressed by its first bytes, which are asked for where its name is that of such a file:
/// binary records may begin so by chance.
pub(super) fn compression(
    path: &Path,
    first: impl FnOnce() -> io::Result<Vec<u8>>,
) -> io::Result<Option<&'static str>> {
    let Some(ending) = path.extension().and_then(|ending| ending.to_str()) else { return Ok(None) };
    let is_named = |format: &Format| format.endings.iter().any(|other| ending.eq_ignore_ascii_case(other));
    if !FORMATS.iter().any(is_named) {
        return Ok(None);
    }
    let found = format(&first()?).filter(|format| is_named(format));
    Ok(found.map(|format| format.name))
}

/// Why a source that begins so is no text that can be read.
pub(super) fn not_text(first: &[u8]) -> Option<String> {
    if let Some(Format { name, .. }) = format(first) {
        return Some(format!("the file is compressed ({name}), expected text: unpack it, or exclude it"));
    }
    let (encoding, kind, _) = ENCODINGS.iter().find(|(.., mark)| first.starts_with(mark))?;
    Some(format!(
        "the text is encoded in {encoding}, as its byte order mark says, expected UTF-8: convert it, as with `iconv -f {kind} \
         -t UTF-8`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_file_is_known_by_its_first_bytes_and_its_name() {
        let found = |name: &str, bytes: &[u8]| compression(Path::new(name), || Ok(bytes.to_vec())).unwrap();
        assert_eq!(found("a.log.1.gz", b"\x1f\x8b\x08\0\0\0"), Some("gzip"));
        assert_eq!(found("a.BZ2", b"BZh91AY&SY\0"), Some("bzip2"));
        assert_eq!(found("a.bz2", b"BZh9\x17rE8P\x90"), Some("bzip2"));
        assert_eq!(found("a.zst", b"\x28\xb5\x2f\xfd\0"), Some("Zstandard"));
        assert_eq!(found("a.bz2", b"BZhello"), None);
        assert_eq!(found("a.log", b"\x1f\x8b\x08\0\0\0"), None, "a binary log may begin so");
        assert_eq!(found("a.gz", b"\xfd7zXZ\0"), None, "and so may one of any name");
        assert_eq!(found("a.gz", b"\x1f"), None);
    }

    #[test]
    fn what_is_no_text_is_told_by_its_name() {
        assert!(not_text(b"\x1f\x8b\x08\0").unwrap().starts_with("the file is compressed (gzip), expected text"));
        assert!(not_text(b"\xff\xfea\0,\0").unwrap().contains("UTF-16LE"));
        assert!(not_text(b"\0\0\xfe\xff\0\0\0a").unwrap().contains("UTF-32BE"));
        assert_eq!(not_text(b"\xff\xfe"), not_text(b"\xff\xfe\0\0a\0\0\0"));
        for text in [&b""[..], b"BZh9,1", b"BZh\r\x17rE8P\x90", b"a,b", b"\xef\xbb\xbfa,b", b"\xffa"] {
            assert_eq!(not_text(text), None);
        }
    }
}
