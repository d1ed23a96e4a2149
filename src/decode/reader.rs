//! A source that is read once, from its start to its end, and hashed on the way: any size in bounded memory.
//!
//! What is small, or has to be read in one piece, comes from [`Read`]. A large source comes in [`Segments`], each of which is
//! read, hashed and worked on by whoever has time.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ahead::Ahead;
use super::open::{OpenFailure, SourceFile};
use super::packed::MAGIC_BYTES_MAX;
use super::tree::{Branches, TreeHasher, UNIT_BYTES};
use super::{DecodeError, Rejection};
use crate::source::{Hash, NotFinished, bytes_at};
use crate::storage::fill;

/// Bytes that are read at one go: few system calls, and still in the processor's cache when they are hashed.
const READ_BYTES_MAX: usize = 256 << 10;
/// Shorter sources are not hashed segment by segment.
const TREE_BYTES_MIN: u64 = 1 << 20;

/// Reads a source of the size that was found, and hashes it, if it is read from its start to its end.
pub struct SourceReader<'a> {
    source: &'a SourceFile,
    /// `None` where not all of it is read.
    hasher: Option<TreeHasher>,
    position: u64,
    /// Set while decodes are for nothing.
    interrupted: Option<&'a AtomicBool>,
}

impl<'a> SourceReader<'a> {
    pub(super) fn new(source: &'a SourceFile) -> Self {
        Self { hasher: Some(TreeHasher::default()), ..Self::at(source, 0) }
    }

    /// From a place in the file; it may go to others. Nothing is hashed.
    pub(super) fn at(source: &'a SourceFile, position: u64) -> Self {
        // Only advice: the kernel reads ahead further. That a filesystem does not take it changes nothing.
        let _ = rustix::fs::fadvise(source.file(), 0, None, rustix::fs::Advice::Sequential);
        Self { source, hasher: None, position, interrupted: None }
    }

    /// No more segments are read once this is set.
    #[cfg_attr(not(feature = "program"), allow(dead_code, reason = "the pool interrupts"))]
    pub(super) fn unless(self, interrupted: &'a AtomicBool) -> Self {
        Self { interrupted: Some(interrupted), ..self }
    }

    /// Goes on from another place in the file, of which nothing is hashed any more.
    pub fn go_to(&mut self, position: u64) {
        self.hasher = None;
        self.position = position;
    }

    /// The source's first bytes, wherever the reader is.
    pub(super) fn first_bytes(&self) -> io::Result<Vec<u8>> {
        bytes_at(self.source.file(), 0..MAGIC_BYTES_MAX)
    }

    /// Bytes of the whole source.
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// Bytes that were read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> u64 {
        self.size().saturating_sub(self.position)
    }

    /// Fills the buffer as far as the source goes, and returns how many bytes there were.
    pub fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        fill(buffer, |rest, _| self.read(rest))
    }

    /// What `work` makes of the bytes from here to `end`, in segments of `segment_bytes`; the last one may be shorter. The reader
    /// does not move on before they are [accepted](Self::accept).
    pub(super) fn segments<Out: Send + 'static>(
        &self,
        end: u64,
        segment_bytes: u64,
        work: impl Fn(&mut Span, Vec<u8>) -> Out + Send + Sync + 'static,
    ) -> Segments<'a, Out> {
        let ahead = Ahead::new(move |ask: Ask| ask.answer(&work));
        let hash_from = self.hasher.as_ref().filter(|_| self.remaining() >= TREE_BYTES_MIN).map(TreeHasher::begin);
        let (file, next, size) = (self.source.shared(), self.position, self.size());
        let interrupted = self.interrupted;
        Segments { ahead, file, next, end, size, segment_bytes, hash_from, spare: Vec::new(), interrupted }
    }

    /// Moves on behind a segment, the next one that its [`Segments`] gave.
    pub(super) fn accept<Out>(&mut self, segment: &mut Segment<Out>) {
        self.position = segment.span.end();
        let Some(hasher) = &mut self.hasher else { return };
        match segment.hashed.take() {
            Some((branches, end)) => {
                hasher.add(branches, end);
                // Of its last unit, which may have begun before it.
                let left = usize::try_from(self.position.saturating_sub(end)).unwrap_or(0);
                let buffer = &segment.span.buffer;
                hasher.update(buffer.get(buffer.len().saturating_sub(left)..).unwrap_or_default());
            }
            None => hasher.update(segment.span.bytes()),
        }
    }

    /// Reads what is left, makes sure that the file is still the one that was found, and returns the content's hash.
    /// `None` when `is_interrupted` said so in between.
    pub(super) fn finish(mut self, is_interrupted: impl Fn() -> bool) -> Result<Option<Hash>, OpenFailure> {
        let mut block = vec![0; READ_BYTES_MAX.min(usize::try_from(self.remaining()).unwrap_or(READ_BYTES_MAX))];
        while self.remaining() > 0 {
            if is_interrupted() {
                return Ok(None);
            }
            if self.fill(&mut block).map_err(OpenFailure::Unreadable)? == 0 {
                return Err(OpenFailure::NotFinished(NotFinished::Changed));
            }
        }
        self.source.check_unchanged()?;
        let hash = self.hasher.and_then(TreeHasher::finish);
        hash.map(Some).ok_or_else(|| OpenFailure::Unreadable(io::Error::other("not all of it was read")))
    }
}

/// Ends at the size that was found: what is written behind it meanwhile is another content, and [`Self::finish`] sees it.
impl Read for SourceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let remaining = usize::try_from(self.remaining()).unwrap_or(usize::MAX);
        let length = buffer.len().min(remaining).min(READ_BYTES_MAX);
        let Some(part) = buffer.get_mut(..length) else { return Ok(0) };
        let read = self.source.file().read_at(part, self.position)?;
        super::step();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(part.get(..read).unwrap_or_default());
        }
        self.position += read as u64;
        Ok(read)
    }
}

/// Consecutive segments of a source, in their order.
pub(super) struct Segments<'a, Out> {
    ahead: Ahead<Ask, io::Result<Segment<Out>>>,
    file: Arc<File>,
    /// Where the next one begins that is asked for.
    next: u64,
    end: u64,
    /// Bytes of the source.
    size: u64,
    segment_bytes: u64,
    /// What is not hashed yet begins here. `None`: those who read segments do not hash them.
    hash_from: Option<u64>,
    spare: Vec<(Vec<u8>, Vec<u8>)>,
    interrupted: Option<&'a AtomicBool>,
}

/// One segment, and what was made of it.
pub(super) struct Segment<Out> {
    pub(super) span: Span,
    pub(super) out: Out,
    /// Of what was not hashed before, up to the last unit that is whole.
    hashed: Option<(Branches, u64)>,
}

/// Bytes of a source.
pub(super) struct Span {
    /// They are those from `start` on.
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    /// Of the first one: from the source's start.
    pub(super) position: u64,
}

impl Span {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    pub(super) fn end(&self) -> u64 {
        self.position + self.bytes().len() as u64
    }
}

/// What is asked of another thread.
struct Ask {
    /// With each of them, so that none holds the file open when the source is given up.
    file: Arc<File>,
    from: u64,
    to: u64,
    /// These bytes are to be hashed.
    hashed: Option<(u64, u64)>,
    buffer: Vec<u8>,
    rows: Vec<u8>,
}

impl Ask {
    fn answer<Out>(self, work: impl Fn(&mut Span, Vec<u8>) -> Out) -> io::Result<Segment<Out>> {
        let Self { file, from, to, hashed, mut buffer, rows } = self;
        let begin = hashed.map_or(from, |(hash_from, _)| hash_from);
        let length = |to: u64| usize::try_from(to.saturating_sub(begin)).map_err(io::Error::other);
        buffer.resize(length(to)?, 0);
        file.read_exact_at(&mut buffer, begin)?;
        super::step();
        let hashed = match hashed {
            Some((_, hash_to)) => {
                let bytes = buffer.get(..length(hash_to)?).unwrap_or_default();
                Some((Branches::of(bytes, begin), hash_to))
            }
            None => None,
        };
        let mut span = Span { start: length(from)?, buffer, position: from };
        let out = work(&mut span, rows);
        Ok(Segment { span, out, hashed })
    }
}

impl<Out: Send + 'static> Segments<'_, Out> {
    /// `None` behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<Segment<Out>>, DecodeError> {
        // The sink sees to it where there are rows, and there may be none: all lines are bad, and left out.
        if self.interrupted.is_some_and(|interrupted| interrupted.load(Ordering::Relaxed)) {
            return Err(DecodeError::Interrupted);
        }
        while self.next < self.end && !self.ahead.is_full() {
            self.ask();
        }
        match self.ahead.take().transpose() {
            // Found out by the reader at its end, whose words count more than these.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(shrank()),
            answer => Ok(answer?),
        }
    }

    /// For another segment: the bytes of one that is done with, and where its rows were.
    pub(super) fn give_back(&mut self, span: Span, rows: Vec<u8>) {
        self.spare.push((span.buffer, rows));
    }

    fn ask(&mut self) {
        let from = self.next;
        let to = self.end.min(from + self.segment_bytes);
        let hashed = self.hash_from.map(|hash_from| {
            let hash_to = if to == self.size { to } else { to / UNIT_BYTES as u64 * UNIT_BYTES as u64 };
            (hash_from, hash_to.max(hash_from))
        });
        self.hash_from = hashed.map(|(_, hash_to)| hash_to);
        self.next = to;
        let (buffer, rows) = self.spare.pop().unwrap_or_default();
        self.ahead.give(Ask { file: self.file.clone(), from, to, hashed, buffer, rows });
    }
}

/// For a file that ended before the size that was found.
pub(super) fn shrank() -> DecodeError {
    Rejection::new("the file became shorter while it was read").into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Read, and in segments, in turn, and given up somewhere: the bytes are those of the file, and so is the hash.
    #[test]
    fn segments_and_single_reads_give_the_file_and_its_hash() {
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut numbers = fastrand::Rng::with_seed(11);
        let mut random = |below: usize| numbers.usize(..below);
        for round in 0..40 {
            let size = [0, 1, 300_000, 1 << 20, 4 << 20, 1 + random(5_000_000)][round % 6];
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes[..size]).unwrap();
            let source = SourceFile::of(file).unwrap();
            let mut reader = SourceReader::new(&source);
            let (mut found, mut of_segments) = (Vec::new(), 0);
            for _ in 0..4 {
                let mut piece = vec![0; [0, 1, 1000, 300_000][random(4)]];
                let read = reader.fill(&mut piece).unwrap();
                found.extend_from_slice(&piece[..read]);
                let end = reader.position() + random(1 + reader.remaining() as usize) as u64;
                let end = if random(2) == 0 { reader.size() } else { end };
                let segment_bytes = [1, 777, 28 * 8192, 256 << 10][random(4)];
                let mut segments = reader.segments(end, segment_bytes, |span: &mut Span, mut rows| {
                    rows.clear();
                    rows.extend_from_slice(span.bytes());
                    rows
                });
                for _ in 0..random(12) {
                    let Some(mut segment) = segments.next().unwrap() else { break };
                    assert_eq!((segment.span.position, found.len() as u64), (reader.position(), reader.position()));
                    reader.accept(&mut segment);
                    found.extend_from_slice(segment.span.bytes());
                    assert_eq!(segment.out, segment.span.bytes());
                    of_segments += usize::from(segment.span.bytes().len() > 1);
                    segments.give_back(segment.span, segment.out);
                }
            }
            assert!(found == bytes[..found.len()], "round {round}, {of_segments} segments");
            assert_eq!(reader.finish(|| false).unwrap(), Some(blake3::hash(&bytes[..size])), "round {round}");
        }
    }

    /// Only the sink was asked, and only behind the first row: a stop waited for all bad lines.
    #[test]
    fn segments_end_where_nobody_wants_them() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 << 20).unwrap();
        let (source, interrupted) = (SourceFile::of(file).unwrap(), AtomicBool::new(false));
        let reader = SourceReader::new(&source).unless(&interrupted);
        let mut segments = reader.segments(3 << 20, 1 << 20, |_: &mut Span, _| ());
        assert!(segments.next().unwrap().is_some());
        interrupted.store(true, Ordering::Relaxed);
        assert!(matches!(segments.next(), Err(DecodeError::Interrupted)));
    }

    #[test]
    fn a_file_that_becomes_shorter_is_no_error_of_reading() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 << 20).unwrap();
        let source = SourceFile::of(file).unwrap();
        let mut reader = SourceReader::new(&source);
        let mut segments = reader.segments(3 << 20, 1 << 20, |_: &mut Span, _| ());
        source.file().set_len(1 << 20).unwrap();
        let error = loop {
            match segments.next() {
                Ok(segment) => reader.accept(&mut segment.unwrap()),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, DecodeError::Rejected(_)), "{error:?}");
        assert!(matches!(reader.finish(|| false), Err(OpenFailure::NotFinished(NotFinished::Changed))));
    }
}
