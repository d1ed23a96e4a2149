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

/// The rows of one source.
pub struct SourceRows<'a> {
    lane: &'a Lane,
    sequence: u64,
    row_bytes: usize,
    keeps_times: bool,
    to_writer: &'a Sender<ToWriter>,
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
    /// Where the buffers of the parts that are with the writer come back, in order; none before the first part. One never does
    /// if the writer lost its part.
    back: VecDeque<Receiver<Vec<u8>>>,
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

    /// Makes sure that the buffer takes one more row.
    fn make_room(&mut self) -> Result<(), DecodeError> {
        // A source that is nearly done is not given up for a stop; one that goes on for long is.
        if self.rows > 0 && self.lane.is_interrupted() {
            return Err(DecodeError::Interrupted);
        }
        if self.filled > 0 && self.filled + self.row_bytes > self.part_bytes {
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
        let mut bytes = std::mem::replace(&mut self.buffer, next);
        bytes.truncate(self.filled);
        self.filled = 0;
        if !self.is_hashed {
            self.hasher.update(&bytes);
        }
        RowBlock { bytes, times_s: std::mem::take(&mut self.times_s) }
    }

    /// Hands the full buffer to the writer and goes on with another one.
    fn hand_on(&mut self) -> Result<(), DecodeError> {
        if self.back.is_empty() {
            pulse::resting(|| self.lane.turn.wait_for(self.sequence));
            self.part_bytes = (self.lane.share_bytes / PARTS_MAX).max(self.row_bytes);
        }
        let next = self.next_buffer()?;
        let (emptied, back) = bounded(1);
        self.back.push_back(back);
        let message = ToWriter::Rows { lane: self.lane.index, block: self.take_block(next), emptied };
        pulse::resting(|| self.to_writer.send(message)).map_err(|_| DecodeError::Interrupted)
    }

    fn next_buffer(&mut self) -> Result<Vec<u8>, DecodeError> {
        let parts_max = self.lane.share_bytes / self.part_bytes;
        let Some(oldest) = self.back.front() else { return Ok(self.lane.buffers.take()) };
        let emptied = match oldest.try_recv() {
            Err(TryRecvError::Empty) if self.back.len() < parts_max => return Ok(self.lane.buffers.take()),
            // That part has been written when its buffer is back.
            Err(TryRecvError::Empty) => pulse::resting(|| oldest.recv()).map_err(|_| DecodeError::Interrupted),
            found => found.map_err(|_| DecodeError::Interrupted),
        };
        self.back.pop_front();
        emptied
    }
}

impl RowSink for SourceRows<'_> {
    fn row(&mut self, time_s: f64) -> Result<&mut [u8], DecodeError> {
        self.make_room()?;
        pulse::beat();
        if self.keeps_times {
            self.times_s.push(time_s);
        }
        self.take_places(1)
    }

    fn rows(&mut self, count: usize) -> Result<&mut [u8], DecodeError> {
        self.make_room()?;
        pulse::beat();
        let free = self.part_bytes.saturating_sub(self.filled) / self.row_bytes;
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
