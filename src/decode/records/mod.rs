//! Binary logs of records of one length: one row for each record.
//!
//! Rules:
//! - `skip` bytes are passed over, then records follow each other without gaps.
//! - A record that is the row, byte by byte, is read straight into its place. Everything else goes through a buffer and a
//!   [`Plan`](super::values::Plan).
//! - With `sync`, each record begins with the marker. With `checksum`, each record is checked. A record that fails either
//!   rejects the source, or is left out (`on_error`).
//! - Left out with a marker: the next one is looked for from the byte behind the lost one's first. Without a checksum, a
//!   marker that is found that way counts only if another follows a record later, or the source ends there: data can look
//!   like a marker by chance. Left out without a marker: the next record follows `length` bytes later.
//! - Bytes that are left out are counted, and told in the ledger with the first place.
//! - The source ends between two records, else it was cut short: rejected, or its end is left out.

mod checksum;
mod loss;
mod rolling;

use std::io;
use std::sync::Arc;

use self::checksum::{Checksum, Rolling};
use self::loss::{Loss, Lost};
use super::reader::{Span, shrank};
use super::tree::{Branches, Tree, UNIT_BYTES};
use super::values::{BadValue, Plan, Value};
use super::{About, DecodeError, LogDecoder, Rejection, RowSink, SourceReader, StreamDecoder, Taken, packed};
use crate::config::{OnError, RecordsOptions};

/// So many bytes without a record are looked through again by the next part of a log; more are left out.
const LOST_BYTES_MAX: u64 = 1 << 20;
/// Rows that are converted at a time have so many bytes at most.
const BLOCK_ROW_BYTES_MAX: usize = 4 << 20;
/// Bytes that are read at a time, or four records.
const BUFFER_BYTES: usize = 256 << 10;

/// The records decoder of one dataset.
pub struct RecordsDecoder {
    options: RecordsOptions,
    plan: Arc<Plan>,
    checksum: Option<Checksum>,
}

/// What became of a block of records.
struct Converted {
    /// So many of them are rows.
    good: usize,
    /// What is wrong with the next one.
    bad: Option<BadValue>,
    rows: Vec<u8>,
    branches: Option<Branches>,
}

impl RecordsDecoder {
    pub fn new(options: &RecordsOptions, row_bytes: usize) -> Self {
        let mut plan = Plan::new(options.length, row_bytes);
        if options.fields.is_empty() {
            plan.copy(0, 0, row_bytes);
        }
        for field in &options.fields {
            for place in 0..field.slot.count {
                plan.value(&Value {
                    name: &field.name,
                    from: field.offset + place * field.scalar.bytes,
                    source: field.scalar,
                    bits: field.bits,
                    scale: field.scale,
                    add: field.add,
                    to: field.slot.offset + place * field.slot.scalar.bytes,
                    target: field.slot.scalar,
                });
            }
        }
        let checksum = options.checksum.as_ref().map(Checksum::new);
        Self { options: options.clone(), plan: Arc::new(plan), checksum }
    }

    /// Records that are rows, straight into their places.
    fn move_records(&self, reader: &mut SourceReader<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let length = self.options.length;
        let mut left = reader.remaining() / length as u64;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            let rows = sink.rows(wanted)?;
            if reader.fill(rows)? < rows.len() {
                return Err(shrank());
            }
            left -= (rows.len() / length) as u64;
        }
        Ok(())
    }

    /// Records that become rows one like the other, in blocks, by whoever has time. Where it stopped, and why, as below.
    fn convert_plain(
        &self,
        reader: &mut SourceReader<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<(u64, Option<DecodeError>), DecodeError> {
        let (length, row_bytes) = (self.options.length, self.plan.row_bytes().max(1));
        // A power of two, so that the trees of the hashes are cut into few and large branches.
        let of_block = 1 << (BUFFER_BYTES / length).min(BLOCK_ROW_BYTES_MAX / row_bytes).max(1).ilog2();
        let records = reader.remaining() / length as u64;
        let has_tree = records > of_block as u64 && (of_block * row_bytes).is_multiple_of(UNIT_BYTES);
        let mut tree = (has_tree && sink.promise_checksum()).then(Tree::default);
        let (begin, has_tree) = (reader.position(), tree.is_some());
        let plan = self.plan.clone();
        let work = move |span: &mut Span, mut rows: Vec<u8>| {
            let records = span.bytes();
            rows.resize(records.len() / length * row_bytes, 0);
            let (good, bad) = convert(&plan, records, length, &mut rows);
            let offset = (span.position - begin) / length as u64 * row_bytes as u64;
            let branches = (has_tree && bad.is_none()).then(|| Branches::of(&rows, offset));
            Converted { good, bad, rows, branches }
        };
        let mut segments = reader.segments(begin + records * length as u64, (of_block * length) as u64, work);
        while let Some(mut segment) = segments.next()? {
            let begin = reader.position();
            reader.accept(&mut segment);
            let Converted { good, bad, mut rows, branches } = segment.out;
            if let (Some(tree), Some(branches)) = (&mut tree, branches) {
                tree.add(branches);
            }
            sink.take_rows(&mut rows, good * row_bytes, row_bytes)?;
            if let Some(bad) = bad {
                let place = begin + (good * length) as u64;
                return Ok((place, Some(rejected(format!("the record at byte {place}: {}", bad.text)))));
            }
            segments.give_back(segment.span, rows);
        }
        if let Some(checksum) = tree.and_then(Tree::finish) {
            sink.checksum(checksum);
        }
        Ok((reader.position(), None))
    }

    /// Records with a marker or a checksum. `goes_on`: more may come behind the end, and what is not complete is left. Where it stopped: behind the
    /// last record that was taken or left out, or at a bad one, with the reason.
    fn convert_records(
        &self,
        reader: &mut SourceReader<'_>,
        goes_on: bool,
        about: About<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<(u64, Option<DecodeError>), DecodeError> {
        let mut buffer = vec![0; BUFFER_BYTES.max(4 * self.options.length)];
        let (mut held, mut loss, mut lost) = (0, Loss::default(), None);
        let (end, bad) = loop {
            let begin = reader.position() - held as u64;
            let read = reader.fill(buffer.get_mut(held..).unwrap_or_default())?;
            held += read;
            let is_end = reader.remaining() == 0;
            let data = buffer.get(..held).unwrap_or_default();
            let mut bad_at = None;
            let mut walk = Walk {
                decoder: self,
                data,
                begin,
                is_end: is_end && !goes_on,
                loss: &mut loss,
                lost: &mut lost,
                bad_at: &mut bad_at,
            };
            let taken = match walk.run(sink) {
                Ok(taken) => taken,
                Err(error) => match bad_at {
                    Some(bad_at) => break (bad_at, Some(error)),
                    None => return Err(error),
                },
            };
            if is_end {
                let end = begin + taken as u64;
                break match lost {
                    // Where it is cut makes no difference: the next part finds the same lost record, and looks again.
                    Some(lost) if goes_on && end - lost.at <= LOST_BYTES_MAX => {
                        loss = lost.before;
                        (lost.at, None)
                    }
                    // It begins within what is lost, so that it has its first marker confirmed as well.
                    Some(lost) if goes_on => {
                        loss.take_back(lost.passed);
                        (lost.passed, None)
                    }
                    _ => (end, None),
                };
            }
            if read == 0 {
                return Err(shrank());
            }
            // The sink sees to it where there are rows.
            if about.is_interrupted() {
                return Err(DecodeError::Interrupted);
            }
            buffer.copy_within(taken..held, 0);
            held -= taken;
        };
        if let Some(note) = loss.note() {
            sink.note(note);
        }
        Ok((end, bad))
    }

    /// Whether nothing tells where a record begins, or whether it is good, but its place.
    fn is_plain(&self) -> bool {
        self.options.sync.is_empty() && self.checksum.is_none()
    }
}

impl StreamDecoder for RecordsDecoder {
    fn decode(
        &self,
        reader: &mut SourceReader<'_>,
        about: About<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<(), DecodeError> {
        let RecordsOptions { skip, length, sync, on_error, .. } = &self.options;
        if let Some(format) = packed::compression(about.path, || reader.first_bytes())? {
            return Err(rejected(format!(
                "the file is compressed ({format}), expected records: unpack it, or exclude it"
            )));
        }
        if reader.size() < *skip {
            let size = reader.size();
            return Err(rejected(format!("the file has {size} bytes, fewer than the {skip} that `skip` passes over")));
        }
        let skipped = io::copy(&mut io::Read::take(&mut *reader, *skip), &mut io::sink())?;
        if skipped < *skip {
            return Err(shrank());
        }
        let (records, more) = (reader.remaining() / *length as u64, reader.remaining() % *length as u64);
        let is_plain = self.is_plain();
        // Known before anything is read, where nothing can be left out.
        if more != 0 && sync.is_empty() && *on_error == OnError::Reject {
            return Err(rejected(format!(
                "the file ends within a record: {records} records of {length} bytes and {more} bytes more; it was cut \
                 short, or `length` or `skip` is wrong"
            )));
        }
        if is_plain && more != 0 {
            let at = reader.size() - more;
            sink.note(format!("left out {more} bytes at byte {at}, where the file ends within a record of {length}"));
        }
        if is_plain && self.plan.is_identity() {
            if reader.position() == 0 && more == 0 {
                sink.rows_are_source();
            }
            return self.move_records(reader, sink);
        }
        let converted =
            if is_plain { self.convert_plain(reader, sink) } else { self.convert_records(reader, false, about, sink) };
        match converted? {
            (_, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

impl LogDecoder for RecordsDecoder {
    fn follow(
        &self,
        reader: &mut SourceReader<'_>,
        begin: Option<u64>,
        about: About<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<Taken, DecodeError> {
        let first = self.options.skip;
        let begin = begin.unwrap_or(first);
        if reader.size() <= begin {
            return Taken::stopped_at(first, begin, None);
        }
        reader.go_to(begin);
        if self.is_plain() && self.plan.is_identity() {
            self.move_records(reader, sink)?;
            return Taken::stopped_at(first, reader.position(), None);
        }
        let (end, bad) = if self.is_plain() {
            self.convert_plain(reader, sink)?
        } else {
            self.convert_records(reader, true, about, sink)?
        };
        Taken::stopped_at(first, end, bad)
    }

    fn boundary(&self, _: &std::fs::File, first: u64, at: u64) -> io::Result<u64> {
        let length = self.options.length as u64;
        Ok(first + at.saturating_sub(first) / length * length)
    }
}

/// The records of one filled buffer.
struct Walk<'a> {
    decoder: &'a RecordsDecoder,
    data: &'a [u8],
    /// Where the buffer begins in the source.
    begin: u64,
    is_end: bool,
    loss: &'a mut Loss,
    lost: &'a mut Option<Lost>,
    /// Where the record is that an error is about, in the source. All before it have been taken.
    bad_at: &'a mut Option<u64>,
}

impl Walk<'_> {
    /// Takes what can be taken, and returns how many bytes that were.
    fn run(&mut self, sink: &mut dyn RowSink) -> Result<usize, DecodeError> {
        let RecordsOptions { length, sync, .. } = &self.decoder.options;
        let (mut at, mut run) = (0, 0);
        let mut rolling = self.decoder.checksum.as_ref().map(|checksum| Rolling::new(checksum, self.data));
        loop {
            if self.lost.is_some() {
                match self.find_marker(at) {
                    Some(found) => {
                        self.pass_over(at, found);
                        at = found;
                    }
                    None => {
                        // A marker may begin in the last bytes.
                        let kept = if self.is_end { 0 } else { sync.len() - 1 };
                        let end = at.max(self.data.len().saturating_sub(kept));
                        self.pass_over(at, end);
                        return Ok(end);
                    }
                }
                run = at;
            }
            let Some(record) = self.data.get(at..at + length) else {
                self.emit(run, at, sink)?;
                if self.is_end && at < self.data.len() {
                    return self.bad_end(at).map(|()| self.data.len());
                }
                return Ok(at);
            };
            if self.lost.is_some() {
                let is_good = match &mut rolling {
                    Some(rolling) => rolling.is_right(at),
                    None => match self.is_confirmed(at + length) {
                        Some(is_confirmed) => is_confirmed,
                        None => return Ok(at),
                    },
                };
                if is_good {
                    *self.lost = None;
                    at += length;
                } else {
                    self.leave_out(at, at + 1);
                    at += 1;
                }
                continue;
            }
            if let Err(reason) = self.decoder.check(record) {
                self.emit(run, at, sink)?;
                if self.decoder.options.on_error == OnError::Reject {
                    let place = self.begin + at as u64;
                    *self.bad_at = Some(place);
                    return Err(rejected(format!("the record at byte {place}: {reason}")));
                }
                let step = if sync.is_empty() { *length } else { 1 };
                if !sync.is_empty() {
                    let place = self.begin + at as u64;
                    *self.lost = Some(Lost { at: place, before: *self.loss, passed: place });
                }
                self.leave_out(at, at + step);
                at += step;
                run = at;
                continue;
            }
            at += length;
        }
    }

    /// Leaves out bytes at none of which a marker begins.
    fn pass_over(&mut self, from: usize, to: usize) {
        self.leave_out(from, to);
        if let Some(lost) = self.lost.as_mut().filter(|_| from < to) {
            lost.passed = self.begin + to as u64 - 1;
        }
    }

    fn leave_out(&mut self, from: usize, to: usize) {
        if from < to {
            self.loss.add(self.begin + from as u64, (to - from) as u64);
        }
    }

    fn bad_end(&mut self, at: usize) -> Result<(), DecodeError> {
        let more = self.data.len() - at;
        if self.decoder.options.on_error == OnError::Reject {
            let (place, length) = (self.begin + at as u64, self.decoder.options.length);
            return Err(rejected(format!(
                "the record at byte {place} has {more} of its {length} bytes: the file was cut short"
            )));
        }
        self.leave_out(at, self.data.len());
        Ok(())
    }

    fn find_marker(&self, from: usize) -> Option<usize> {
        let sync = self.decoder.options.sync.as_slice();
        let first = sync.first()?;
        let mut at = from;
        while let Some(rest) = self.data.get(at..) {
            at += rest.iter().position(|byte| byte == first)?;
            if self.data.get(at..)?.starts_with(sync) {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    /// Whether a marker stands at `next` or the source ends there; `None` when that lies behind what was read so far.
    fn is_confirmed(&self, next: usize) -> Option<bool> {
        let sync = self.decoder.options.sync.as_slice();
        let there = self.data.get(next..).unwrap_or_default();
        if there.len() >= sync.len() {
            return Some(there.starts_with(sync));
        }
        if self.is_end { Some(sync.starts_with(there)) } else { None }
    }

    /// Records without a fault between them become rows.
    fn emit(&mut self, from: usize, to: usize, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        let (decoder, length) = (self.decoder, self.decoder.options.length);
        let row_bytes = decoder.plan.row_bytes().max(1);
        let mut at = from;
        while at < to {
            let rows = sink.rows((to - at) / length)?;
            let count = rows.len() / row_bytes;
            let records = self.data.get(at..at + count * length).unwrap_or_default();
            let (good, bad) = convert(&decoder.plan, records, length, rows);
            if let Some(bad) = bad {
                sink.give_back(count - good);
                let place = self.begin + (at + good * length) as u64;
                *self.bad_at = Some(place);
                return Err(rejected(format!("the record at byte {place}: {}", bad.text)));
            }
            at += count * length;
        }
        Ok(())
    }
}

impl RecordsDecoder {
    /// Marker and checksum of one record.
    fn check(&self, record: &[u8]) -> Result<(), String> {
        let sync = self.options.sync.as_slice();
        if !record.starts_with(sync) {
            let found = hex(record.get(..sync.len()).unwrap_or(record));
            return Err(format!("it begins with {found}, expected the marker {}", hex(sync)));
        }
        match &self.checksum {
            Some(checksum) => checksum.check(record),
            None => Ok(()),
        }
    }
}

/// Converts records into as many rows. How many of them are good, and what is wrong with the next one.
fn convert(plan: &Plan, records: &[u8], length: usize, rows: &mut [u8]) -> (usize, Option<BadValue>) {
    let (mut good, mut bad) = (records.len() / length, None);
    // Values are converted column by column: those before a bad one are whole only once they went through alone.
    loop {
        let records = records.get(..good * length).unwrap_or_default();
        match plan.convert(records, rows.get_mut(..good * plan.row_bytes()).unwrap_or_default()) {
            Ok(()) => return (good, bad),
            Err(found) => {
                good = found.record;
                bad = Some(found);
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn rejected(reason: String) -> DecodeError {
    Rejection::new(reason).into()
}
