//! The file as the library of containers reads it: any place, any number of times, never beyond its size.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use symphonia::core::io::MediaSource;

use super::super::metered::spend;
use super::super::{DecodeError, SourceFile};

/// What kept the file from being read, as far as it is no fault of its content.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    error: Mutex<Option<io::Error>>,
    was_interrupted: AtomicBool,
    /// Bytes that may be read, while that is limited.
    left: Mutex<Option<u64>>,
}

impl Trouble {
    /// Whether an error that the library told is not the source's.
    pub(super) fn take(&self) -> Option<DecodeError> {
        if self.was_interrupted.load(Ordering::Relaxed) {
            return Some(DecodeError::Interrupted);
        }
        self.error.lock().ok().and_then(|mut error| error.take()).map(DecodeError::Read)
    }

    /// No more than so many bytes are read from now on: what the file says of its parts may have the library read the same ones
    /// again and again, and keep all that it finds.
    pub(super) fn limit_reads(&self, bytes: Option<u64>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    /// So many bytes more, if they are limited.
    pub(super) fn allow_reads(&self, bytes: u64) {
        if let Some(left) = self.left.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            *left = left.saturating_add(bytes);
        }
    }

    fn count(&self, bytes: usize) -> io::Result<()> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.as_mut().map_or(Ok(()), |left| spend(left, bytes))
    }
}

/// So many bytes from a place on, if the file has them.
pub(super) fn bytes<const COUNT: usize>(file: &SourceFile, place: u64) -> Option<[u8; COUNT]> {
    bytes_at(file.file(), place)
}

fn bytes_at<const COUNT: usize>(file: &File, place: u64) -> Option<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    file.read_exact_at(&mut bytes, place).ok().map(|()| bytes)
}

/// Where in an AIFF file the names of chunks with ID3v2 tags stand, which are not to be read either. Source: AIFF 1.3; sizes of
/// chunks are big-endian, and filled up to even numbers.
fn tag_chunks(file: &SourceFile, begin: u64) -> Vec<u64> {
    const CHUNKS_MAX: usize = 4096;
    let mut found = Vec::new();
    if bytes(file, begin) != Some(*b"FORM") {
        return found;
    }
    let mut place = begin + 12;
    for _ in 0..CHUNKS_MAX {
        let Some([name @ .., s0, s1, s2, s3]) = bytes::<8>(file, place) else { break };
        if &name == b"ID3 " {
            found.push(place);
        }
        place += 8 + u64::from(u32::from_be_bytes([s0, s1, s2, s3])).next_multiple_of(2);
    }
    found
}

/// Where the file goes on behind the ID3v2 tags that it begins with: they hold nothing that is used, and what they hold may
/// stand within itself, deeper than a stack is. Source: ID3v2.4.0, section 3.1.
pub(super) fn behind_tags(file: &SourceFile) -> u64 {
    behind_tags_of(file.file(), file.size())
}

fn behind_tags_of(file: &File, size: u64) -> u64 {
    const HAS_FOOTER: u8 = 0x10;
    let mut place = 0;
    loop {
        let Some([b'I', b'D', b'3', _, _, flags, s0 @ ..=127, s1 @ ..=127, s2 @ ..=127, s3 @ ..=127]) =
            bytes_at(file, place)
        else {
            return place;
        };
        let length = [s0, s1, s2, s3].iter().fold(0, |length, seven_bits| length << 7 | u64::from(*seven_bits));
        let behind = place + 10 + length + if flags & HAS_FOOTER == 0 { 0 } else { 10 };
        if behind >= size {
            return place;
        }
        place = behind;
    }
}

/// Where the file ends in front of the tags that it ends with, as far as they lie behind a place: ID3v1, Lyrics3 2.00, APEv2. Sources:
/// their descriptions at id3.org and wiki.hydrogenaud.io.
pub(super) fn before_tags(file: &SourceFile, from: u64) -> u64 {
    before_tags_of(file.file(), file.size(), from)
}

fn before_tags_of(file: &File, size: u64, from: u64) -> u64 {
    let mut end = size;
    while let Some(begin) = tag_before(file, end).filter(|begin| (from..end).contains(begin)) {
        end = begin;
    }
    end
}

/// Where a stream of WavPack, AC-3 or E-AC-3 ends that has tags of other formats behind it, which FFmpeg takes for damage of it.
pub fn end_of_stream(file: &File) -> Option<u64> {
    const MARKS: [&[u8]; 2] = [b"wvpk", b"\x0B\x77"];
    let size = file.metadata().ok()?.len();
    let begin = behind_tags_of(file, size);
    let start: [u8; 4] = bytes_at(file, begin)?;
    let is_stream = MARKS.iter().any(|mark| start.starts_with(mark));
    is_stream.then(|| before_tags_of(file, size, begin)).filter(|end| *end < size)
}

/// Where the tag begins that ends here.
fn tag_before(file: &File, end: u64) -> Option<u64> {
    const HAS_HEADER: u32 = 1 << 31;
    if let Some(place) = end.checked_sub(128)
        && bytes_at(file, place)? == *b"TAG"
    {
        return Some(place);
    }
    // Six digits, and the mark that they do not count.
    if let Some(place) = end.checked_sub(15)
        && let [digits @ .., b'L', b'Y', b'R', b'I', b'C', b'S', b'2', b'0', b'0'] = &bytes_at::<15>(file, place)?
    {
        let length: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        return place.checked_sub(length);
    }
    let place = end.checked_sub(32)?;
    if bytes_at(file, place)? != *b"APETAGEX" {
        return None;
    }
    let word = |offset| bytes_at(file, place + offset).map(u32::from_le_bytes);
    let header = if word(20)? & HAS_HEADER == 0 { 0 } else { 32 };
    end.checked_sub(u64::from(word(12)?))?.checked_sub(header)
}

/// In place of a name that the library is not told.
pub(super) const HIDDEN: [u8; 4] = *b"----";

/// Reads an open file by its own position.
pub(super) struct Input<'a> {
    file: &'a SourceFile,
    /// Where the library is told that it begins.
    begin: u64,
    /// Places of four bytes, and what it is told instead of them.
    others: Vec<(u64, [u8; 4])>,
    position: u64,
    /// Where the library is told that it ends; behind that, and behind the end of the file, there is nothing to read.
    end: u64,
    interrupted: &'a AtomicBool,
    trouble: &'a Trouble,
}

impl<'a> Input<'a> {
    /// `part`: what the library is told of. `others`: places of four bytes, and what it is told instead of them.
    pub(super) fn new(
        file: &'a SourceFile,
        part: Range<u64>,
        mut others: Vec<(u64, [u8; 4])>,
        interrupted: &'a AtomicBool,
        trouble: &'a Trouble,
    ) -> Self {
        let Range { start: begin, end } = part;
        others.extend(tag_chunks(file, begin).into_iter().map(|place| (place, HIDDEN)));
        Self { file, begin, others, position: begin, end, interrupted, trouble }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        super::super::step();
        if self.interrupted.load(Ordering::Relaxed) {
            self.trouble.was_interrupted.store(true, Ordering::Relaxed);
            return Err(io::Error::other("interrupted"));
        }
        // What is written behind the size that was found belongs to another content.
        let end = self.end.min(self.file.size());
        let left = usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let part = buffer.get_mut(..length).unwrap_or_default();
        loop {
            match self.file.file().read_at(part, self.position) {
                Ok(read) => {
                    self.trouble.count(read)?;
                    let told = self.others.iter().flat_map(|(place, told)| (*place..).zip(told));
                    for (place, told) in told {
                        let at = place.checked_sub(self.position).and_then(|at| usize::try_from(at).ok());
                        if let Some(byte) = at.and_then(|at| part.get_mut(at)) {
                            *byte = *told;
                        }
                    }
                    self.position += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let told = io::Error::from(error.kind());
                    if let Ok(mut kept) = self.trouble.error.lock() {
                        kept.get_or_insert(error);
                    }
                    return Err(told);
                }
            }
        }
    }
}

impl Seek for Input<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => self.begin.checked_add(place),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let place = place
            .filter(|place| *place >= self.begin)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the start"))?;
        self.position = place;
        Ok(place - self.begin)
    }
}

impl MediaSource for Input<'_> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        // Asked for when tags are looked for at the end, which is not there in a file that was cut short.
        (self.end <= self.file.size()).then_some(self.end - self.begin)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn source(bytes: &[u8]) -> SourceFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        SourceFile::of(file).unwrap()
    }

    #[test]
    fn tags_at_the_start_are_passed_over() {
        let tag = |flags: u8, size: u8| {
            let footer = if flags & 0x10 == 0 { 0 } else { 10 };
            [&[b'I', b'D', b'3', 4, 0, flags, 0, 0, 1, size][..], &vec![0; 128 + usize::from(size) + footer]].concat()
        };
        let behind = |parts: &[&[u8]]| behind_tags(&source(&parts.concat()));
        assert_eq!(behind(&[b"RIFF and so on"]), 0);
        assert_eq!(behind(&[&tag(0, 7), b"sound"]), 145);
        assert_eq!(behind(&[&tag(0x10, 7), &tag(0, 1), b"sound"]), 155 + 139);
        // Nothing behind it: the library says what is wrong.
        assert_eq!(behind(&[&tag(0, 7)]), 0);
        assert_eq!(behind(&[b"ID3\x04\0\0\0\0\xFF\x01", &[0; 500]]), 0);
        assert_eq!(behind(&[b"ID3"]), 0);
    }

    #[test]
    fn tags_at_the_end_are_passed_over() {
        let ape = |flags: u32, header: &[u8]| {
            let about =
                [&2000_u32.to_le_bytes()[..], &39_u32.to_le_bytes(), &1_u32.to_le_bytes(), &flags.to_le_bytes()];
            [header, b"an item", b"APETAGEX", &about.concat(), &[0; 8]].concat()
        };
        let id3 = [&b"TAG"[..], &[7; 125]].concat();
        let end = |from: u64, parts: &[&[u8]]| before_tags(&source(&parts.concat()), from);
        let lyrics = b"LYRICSBEGIN words000017LYRICS200".to_vec();
        for tags in [vec![&id3], vec![&ape(0, b"")], vec![&ape(1 << 31, &[0; 32]), &id3], vec![&lyrics, &id3]] {
            let tags: Vec<u8> = tags.into_iter().flatten().copied().collect();
            assert_eq!(end(0, &[b"sound", &tags]), 5, "{tags:?}");
            assert!(end(6, &[b"sound", &tags]) > 5);
        }
        assert_eq!(end(0, &[b"sound"]), 5);
        assert_eq!(end(0, &[b"sound", b"APETAGEX", &[0xFF; 24]]), 37);
        assert_eq!(end(0, &[b"", b"abcdefLYRICS200"]), 15);
    }

    /// They were rejected for what follows.
    #[test]
    fn streams_without_a_container_end_before_tags() {
        let id3 = [&b"TAG"[..], &[7; 125]].concat();
        let end = |parts: &[&[u8]]| end_of_stream(source(&parts.concat()).file());
        assert_eq!(end(&[b"wvpk and so on", &id3]), Some(14));
        assert_eq!(end(&[b"ID3\x04\0\0\0\0\0\x05 tag \x0B\x77 and so on", &id3]), Some(27));
        assert_eq!(end(&[b"wvpk and so on"]), None);
        assert_eq!(end(&[b"RIFF and so on", &id3]), None);
    }

    #[test]
    fn tags_within_an_aiff_are_not_shown() {
        let chunk = |name: &[u8; 4], body: &[u8]| [name, &(body.len() as u32).to_be_bytes()[..], body].concat();
        let file = [b"FORM\0\0\0\x40AIFF".as_slice(), &chunk(b"COMM", b"ID3 !\0"), &chunk(b"ID3 ", b"tags")].concat();
        let expected =
            [b"FORM\0\0\0\x40AIFF".as_slice(), &chunk(b"COMM", b"ID3 !\0"), &chunk(b"----", b"tags")].concat();
        let source = source(&file);
        let (trouble, interrupted) = (Trouble::default(), AtomicBool::new(false));
        for size in [1, 2, 3, 5, 100] {
            let mut input = Input::new(&source, 0..file.len() as u64, Vec::new(), &interrupted, &trouble);
            let (mut found, mut piece) = (Vec::new(), vec![0; size]);
            while let read @ 1.. = input.read(&mut piece).unwrap() {
                found.extend_from_slice(&piece[..read]);
            }
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_library_sees_what_is_behind_and_no_more_than_is_allowed() {
        let file = source(b"0123456789");
        let (trouble, interrupted) = (Trouble::default(), AtomicBool::new(false));
        let mut input = Input::new(&file, 4..10, Vec::new(), &interrupted, &trouble);
        let mut found = Vec::new();
        input.read_to_end(&mut found).unwrap();
        assert_eq!((found.as_slice(), input.byte_len()), (&b"456789"[..], Some(6)));
        assert_eq!(
            [SeekFrom::Start(1), SeekFrom::Current(1), SeekFrom::End(-1)].map(|to| input.seek(to).unwrap()),
            [1, 2, 5]
        );
        assert!(input.seek(SeekFrom::Current(-6)).is_err());
        trouble.limit_reads(Some(3));
        let mut two = [0; 2];
        input.seek(SeekFrom::Start(0)).unwrap();
        assert!(input.read_exact(&mut two).is_ok() && input.read_exact(&mut two).is_err());
        trouble.limit_reads(None);
        assert!(input.read_exact(&mut two).is_ok());
    }
}
