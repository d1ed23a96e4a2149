//! Where a decoder's rows come to rest: a buffer that goes to the writer with the end of the source or, for a source
//! larger than its share of the memory, a pair of buffers that go there and back when it is the source's turn.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{DecodeError, RowBlock, RowSink};
use crate::lane::{Lane, ToWriter};
use crate::source::Hash;

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
    hasher: blake3::Hasher,
    /// Set once a part was handed on: where its buffer comes back. It never does if the writer lost the part.
    back: Option<Receiver<Vec<u8>>>,
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
            hasher: blake3::Hasher::new(),
            back: None,
        }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The rows that were not handed on yet, and the checksum of all.
    pub fn finish(mut self) -> (RowBlock, u64, Hash) {
        let block = self.take_block(Vec::new());
        (block, self.rows, self.hasher.finalize())
    }

    /// Gives the buffer back without its rows.
    pub fn discard(self) {
        self.lane.buffers.give(self.buffer);
    }

    fn take_block(&mut self, next: Vec<u8>) -> RowBlock {
        let mut bytes = std::mem::replace(&mut self.buffer, next);
        bytes.truncate(self.filled);
        self.filled = 0;
        self.hasher.update(&bytes);
        RowBlock { bytes, times_s: std::mem::take(&mut self.times_s) }
    }

    /// Hands the full buffer to the writer and goes on with the other one of the pair.
    fn hand_on(&mut self) -> Result<(), DecodeError> {
        let next = match self.back.take() {
            // The part before has been written when its buffer is back.
            Some(back) => back.recv().map_err(|_| DecodeError::Interrupted)?,
            None => {
                self.lane.turn.wait_for(self.sequence);
                self.lane.buffers.take()
            }
        };
        let (emptied, back) = bounded(1);
        self.back = Some(back);
        let message = ToWriter::Rows { lane: self.lane.index, block: self.take_block(next), emptied };
        self.to_writer.send(message).map_err(|_| DecodeError::Interrupted)
    }
}

impl RowSink for SourceRows<'_> {
    fn row(&mut self, time_s: f64) -> Result<&mut [u8], DecodeError> {
        // A source that is nearly done is not given up for a stop; one that goes on for long is.
        if self.rows > 0 && self.lane.is_interrupted() {
            return Err(DecodeError::Interrupted);
        }
        if self.filled > 0 && self.filled + self.row_bytes > self.lane.share_bytes {
            self.hand_on()?;
        }
        let start = self.filled;
        self.filled += self.row_bytes;
        if self.buffer.len() < self.filled {
            self.buffer.resize(self.filled, 0);
        }
        self.rows += 1;
        if self.keeps_times {
            self.times_s.push(time_s);
        }
        // In bounds: the buffer has just been made that long.
        self.buffer.get_mut(start..start + self.row_bytes).ok_or(DecodeError::Interrupted)
    }
}
