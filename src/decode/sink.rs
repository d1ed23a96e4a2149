//! Where a decoder's rows come to rest: a buffer that goes to the writer with the end of the source or, for a source
//! larger than its share of the memory, smaller buffers that go there and back when it is the source's turn.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::{DecodeError, RowBlock, RowSink, in_one_line};
use crate::lane::{Lane, ToWriter};
use crate::pulse;
use crate::source::Hash;

/// Parts behind the first one that are with the writer at a time, at most. Together they are as large as that one: small enough
/// for the processor's cache, and many enough that neither side waits for the other one's moment.
const PARTS_MAX: usize = 4;
/// Rows that were made elsewhere are taken in their own buffer if they are so many bytes. Fewer are copied.
const TAKEN_BYTES_MIN: usize = 64 << 10;

/// The rows of one source.
pub struct SourceRows<'a> {
    lane: &'a Lane,
    sequence: u64,
    row_bytes: usize,
    keeps_times: bool,
    to_writer: &'a Sender<ToWriter>,
    /// Rows that were taken in their own buffers, before those of `buffer`; and their bytes.
    before: Vec<Vec<u8>>,
    before_bytes: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are rows.
    filled: usize,
    times_s: Vec<f64>,
    rows: u64,
    /// Somebody else makes the rows' checksum: whoever hashes the source, or the decoder.
    is_hashed: bool,
    checksum: Option<Hash>,
    note: Option<String>,
    hasher: blake3::Hasher,
    /// Rows are handed on once they are so many bytes: the source's share and, behind the first part, less.
    part_bytes: usize,
    /// Where the buffers of the parts that are with the writer come back, in order, and how many; none before the first part. One
    /// never does if the writer lost its part.
    back: VecDeque<(Receiver<Vec<u8>>, usize)>,
    /// Buffers that came back.
    spare: Vec<Vec<u8>>,
}

/// The rows of a source that has come to its end.
pub struct FinishedRows {
    /// Those that were not handed on yet.
    pub block: RowBlock,
    /// All of them.
    pub rows: u64,
    /// `None` where it is the hash of the source.
    pub checksum: Option<Hash>,
    pub note: Option<String>,
}

impl<'a> SourceRows<'a> {
    pub fn new(lane: &'a Lane, sequence: u64, to_writer: &'a Sender<ToWriter>) -> Self {
        Self {
            lane,
            sequence,
            row_bytes: lane.options.row.row_bytes(),
            keeps_times: lane.options.columns.time,
            to_writer,
            before: Vec::new(),
            before_bytes: 0,
            buffer: lane.buffers.take(),
            filled: 0,
            times_s: Vec::new(),
            rows: 0,
            is_hashed: false,
            checksum: None,
            note: None,
            hasher: blake3::Hasher::new(),
            part_bytes: lane.share_bytes,
            back: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Somebody else makes the rows' checksum.
    pub fn has_other_checksum(&mut self) {
        self.is_hashed = true;
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn noted(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The rows that were not handed on yet, and what is to be known of all.
    pub fn finish(mut self) -> FinishedRows {
        let block = self.take_block(Vec::new());
        let checksum = if self.is_hashed { self.checksum } else { Some(self.hasher.finalize()) };
        FinishedRows { block, rows: self.rows, checksum, note: self.note }
    }

    /// Gives the buffer back without its rows.
    pub fn discard(self) {
        self.lane.buffers.give(self.buffer);
    }

    /// Bytes of rows that were not handed on yet.
    fn held_bytes(&self) -> usize {
        self.before_bytes + self.filled
    }

    /// Makes sure that so many bytes of rows are not too many for a part.
    fn make_room(&mut self, bytes: usize) -> Result<(), DecodeError> {
        // A source that is nearly done is not given up for a stop; one that goes on for long is.
        if self.rows > 0 && self.lane.is_interrupted() {
            return Err(DecodeError::Interrupted);
        }
        if self.held_bytes() > 0 && self.held_bytes() + bytes > self.part_bytes {
            self.hand_on()?;
        }
        Ok(())
    }

    fn take_places(&mut self, count: usize) -> Result<&mut [u8], DecodeError> {
        let start = self.filled;
        self.filled += count * self.row_bytes;
        if self.buffer.len() < self.filled {
            self.buffer.resize(self.filled, 0);
        }
        self.rows += count as u64;
        // In bounds: the buffer has just been made that long.
        self.buffer.get_mut(start..self.filled).ok_or(DecodeError::Interrupted)
    }

    fn take_block(&mut self, next: Vec<u8>) -> RowBlock {
        let before = std::mem::take(&mut self.before);
        let mut bytes = std::mem::replace(&mut self.buffer, next);
        bytes.truncate(self.filled);
        (self.before_bytes, self.filled) = (0, 0);
        if !self.is_hashed {
            for rows in before.iter().chain([&bytes]) {
                self.hasher.update(rows);
            }
        }
        RowBlock { before, bytes, times_s: std::mem::take(&mut self.times_s) }
    }

    /// Hands the full buffer to the writer and goes on with another one.
    fn hand_on(&mut self) -> Result<(), DecodeError> {
        if self.back.is_empty() {
            pulse::resting(|| self.lane.turn.wait_for(self.sequence));
            self.part_bytes = (self.lane.share_bytes / PARTS_MAX).max(self.row_bytes);
        }
        let next = self.next_buffer()?;
        let buffers = self.before.len() + 1;
        let (emptied, back) = bounded(buffers);
        self.back.push_back((back, buffers));
        let message = ToWriter::Rows { lane: self.lane.index, block: self.take_block(next), emptied };
        pulse::resting(|| self.to_writer.send(message)).map_err(|_| DecodeError::Interrupted)
    }

    /// A buffer for what comes next, once the writer is not behind by too many parts.
    fn next_buffer(&mut self) -> Result<Vec<u8>, DecodeError> {
        let parts_max = self.lane.share_bytes / self.part_bytes;
        while let Some((oldest, buffers)) = self.back.front() {
            match oldest.try_recv() {
                Err(TryRecvError::Empty) if self.back.len() < parts_max => break,
                // That part has been written when its buffers are back.
                Err(TryRecvError::Empty) => {
                    self.spare.push(pulse::resting(|| oldest.recv()).map_err(|_| DecodeError::Interrupted)?);
                }
                found => self.spare.push(found.map_err(|_| DecodeError::Interrupted)?),
            }
            for _ in 1..*buffers {
                self.spare.push(pulse::resting(|| oldest.recv()).map_err(|_| DecodeError::Interrupted)?);
            }
            self.back.pop_front();
        }
        Ok(self.spare_buffer())
    }

    fn spare_buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| self.lane.buffers.take())
    }
}

impl RowSink for SourceRows<'_> {
    fn row(&mut self, time_s: f64) -> Result<&mut [u8], DecodeError> {
        self.make_room(self.row_bytes)?;
        pulse::beat();
        if self.keeps_times {
            self.times_s.push(time_s);
        }
        self.take_places(1)
    }

    fn rows(&mut self, count: usize) -> Result<&mut [u8], DecodeError> {
        self.make_room(self.row_bytes)?;
        pulse::beat();
        let free = self.part_bytes.saturating_sub(self.held_bytes()) / self.row_bytes;
        let count = count.min(free).max(1);
        if self.keeps_times {
            self.times_s.resize(self.times_s.len() + count, 0.0);
        }
        self.take_places(count)
    }

    fn give_back(&mut self, count: usize) {
        self.filled = self.filled.saturating_sub(count * self.row_bytes);
        self.rows = self.rows.saturating_sub(count as u64);
        if self.keeps_times {
            self.times_s.truncate(self.times_s.len().saturating_sub(count));
        }
    }

    fn take_rows(&mut self, rows: &mut Vec<u8>, filled: usize, row_bytes: usize) -> Result<(), DecodeError> {
        if !(TAKEN_BYTES_MIN..=self.part_bytes).contains(&filled) || self.keeps_times {
            return self.copy_rows(rows.get(..filled).unwrap_or_default(), row_bytes);
        }
        self.make_room(filled)?;
        pulse::beat();
        let other = self.spare_buffer();
        let mut full = std::mem::replace(&mut self.buffer, std::mem::replace(rows, other));
        if self.filled > 0 {
            full.truncate(self.filled);
            self.before_bytes += self.filled;
            self.before.push(full);
        } else if full.capacity() > 0 {
            self.spare.push(full);
        }
        self.filled = filled;
        self.rows += (filled / row_bytes) as u64;
        Ok(())
    }

    fn rows_are_source(&mut self) {
        self.is_hashed = true;
    }

    fn promise_checksum(&mut self) -> bool {
        !std::mem::replace(&mut self.is_hashed, true)
    }

    fn checksum(&mut self, checksum: Hash) {
        self.checksum = Some(checksum);
    }

    fn note(&mut self, note: String) {
        let all = match self.note.take() {
            Some(before) => format!("{before}; {note}"),
            None => note,
        };
        self.note = Some(in_one_line(all.into()).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::sync::Arc;

    const ROW: usize = 28;
    const SHARE: usize = 1 << 20;

    /// Rows that are copied, written in place, given back, and taken with their buffers, of sources that are handed on in one part or many:
    /// they come in their order, and so does their checksum.
    #[test]
    fn rows_arrive_in_their_order_however_they_are_given() {
        let text = "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [28]\ndtype = 'u1'\n\
                    [dataset.watch]\nfolders = ['drop']\n[dataset.columns]\nsource = false\nindex = false\n[dataset.records]\n";
        let config = config::parse(text, std::path::Path::new("/c.toml")).unwrap();
        let lane = Lane::new(0, Arc::new(config.datasets[0].clone()), SHARE, 1000);
        let mut random = fastrand::Rng::with_seed(3);
        let (mut taken, mut in_parts) = (0, 0);
        for _ in 0..40 {
            let (to_writer, messages) = bounded::<ToWriter>(1);
            let mut expected = Vec::new();
            let (mut arrived, finished) = std::thread::scope(|scope| {
                let writer = scope.spawn(move || {
                    let mut arrived = Vec::new();
                    for message in messages {
                        let ToWriter::Rows { block, emptied, .. } = message else { panic!("no other message") };
                        for mut rows in block.into_pieces() {
                            arrived.extend_from_slice(&rows);
                            rows.fill(0xEE);
                            // Nobody waits for the last ones.
                            drop(emptied.try_send(rows));
                        }
                    }
                    arrived
                });
                let mut sink = SourceRows::new(&lane, 0, &to_writer);
                let mut elsewhere = Vec::new();
                for _ in 0..random.usize(1..60) {
                    let rows = random.usize(1..5000);
                    let made: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(rows * ROW).collect();
                    match random.u8(..4) {
                        0 => sink.copy_rows(&made, ROW).unwrap(),
                        1 => {
                            let places = RowSink::rows(&mut sink, rows + 1).unwrap();
                            let fitting = (places.len() / ROW - 1).min(rows);
                            places[..fitting * ROW].copy_from_slice(&made[..fitting * ROW]);
                            let given = places.len() / ROW;
                            sink.give_back(given - fitting);
                            sink.copy_rows(&made[fitting * ROW..], ROW).unwrap();
                        }
                        _ => {
                            elsewhere.resize(made.len() + random.usize(..100), 0);
                            elsewhere[..made.len()].copy_from_slice(&made);
                            let before = elsewhere.as_ptr();
                            sink.take_rows(&mut elsewhere, made.len(), ROW).unwrap();
                            taken += usize::from(elsewhere.as_ptr() != before);
                        }
                    }
                    expected.extend_from_slice(&made);
                }
                in_parts += usize::from(!sink.back.is_empty());
                let finished = sink.finish();
                drop(to_writer);
                (writer.join().unwrap(), finished)
            });
            arrived.extend(finished.block.into_pieces().flatten());
            assert!(arrived == expected);
            assert_eq!(finished.rows, (expected.len() / ROW) as u64);
            assert_eq!(finished.checksum, Some(blake3::hash(&expected)));
        }
        assert!(taken > 100 && in_parts > 10, "{taken} {in_parts}");
    }
}
