//! The aligned columns: what each holds, and its values for the rows of one source.

use std::borrow::Cow;
use std::io;

use super::chain::Chain;
use crate::config::{ColumnKind, Split, SplitBy};
use crate::npy::GrowingFile;
use crate::source::{Hash, Place};

/// A column's values are made in blocks of this many rows, so that a source of any length needs little memory.
const BLOCK_ROWS: u64 = 8192;
/// Staged values are handed to the operating system once they are this many bytes.
const FLUSH_BYTES: usize = 1 << 20;

/// What the columns need to know of a source.
#[derive(Debug)]
pub struct SourceFacts<'a> {
    pub id: u64,
    pub place: &'a Place,
    pub hash: &'a Hash,
    /// Class id, or -1.
    pub label: i64,
    pub split: Option<&'a Split>,
    /// For a part of a log: the log's id, by which it is split rather than by its path, which the next log has as well.
    pub log: Option<u64>,
    /// The `index` of its first row.
    pub first_index: u64,
}

impl SourceFacts<'_> {
    /// What tells this source from others when it is split.
    fn key(&self) -> Cow<'_, [u8]> {
        match self.log {
            Some(log) => Cow::Owned(log.to_le_bytes().to_vec()),
            None => Cow::Borrowed(self.place.bytes()),
        }
    }
}

/// An open column file.
#[derive(Debug)]
pub struct Column {
    pub kind: ColumnKind,
    pub file: GrowingFile,
    /// Over the bytes of the source that is being staged.
    chain: Chain,
}

impl Column {
    /// `goes_on`: sources are taken in parts.
    pub fn new(kind: ColumnKind, file: GrowingFile, goes_on: bool) -> Self {
        Self { kind, file, chain: Chain::new(goes_on) }
    }

    /// Stages the times of the next rows of the source at hand. They come with the rows; nothing else does.
    pub fn stage_times(&mut self, times_s: &[f64]) -> io::Result<()> {
        debug_assert_eq!(self.kind, ColumnKind::Time);
        for block in times_s.chunks(BLOCK_ROWS as usize) {
            let bytes: Vec<u8> = block.iter().flat_map(|time_s| time_s.to_le_bytes()).collect();
            self.stage_bytes(&bytes)?;
        }
        Ok(())
    }

    /// Stages the values of all `rows` rows of a source, unless they were staged with the rows, and returns the checksum;
    /// together with the values of the entry before, if it extends that.
    pub fn finish_source(&mut self, facts: &SourceFacts<'_>, rows: u64, extends: bool) -> io::Result<Hash> {
        match self.kind {
            ColumnKind::Time => {}
            ColumnKind::Source => self.stage_with(rows, |_| facts.id.to_le_bytes())?,
            ColumnKind::Index => self.stage_with(rows, |row| (facts.first_index + row).to_le_bytes())?,
            ColumnKind::Label => self.stage_with(rows, |_| facts.label.to_le_bytes())?,
            ColumnKind::Split => self.stage_with(rows, |row| [split_of(facts, facts.first_index + row)])?,
        }
        Ok(self.chain.finish(extends))
    }

    /// Takes back everything from row `rows` on.
    pub fn unstage(&mut self, rows: u64) {
        self.chain.undo();
        self.file.unstage(rows, drop);
    }

    fn stage_with<const BYTES: usize>(&mut self, rows: u64, value: impl Fn(u64) -> [u8; BYTES]) -> io::Result<()> {
        if rows == 1 {
            return self.stage_bytes(&value(0));
        }
        let mut block = Vec::new();
        let mut first = 0;
        while first < rows {
            let end = rows.min(first + BLOCK_ROWS);
            block.clear();
            block.extend((first..end).flat_map(&value));
            self.stage_bytes(&block)?;
            first = end;
        }
        Ok(())
    }

    /// What waits is handed to the operating system once it is much: a source may have any number of rows.
    fn stage_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.chain.update(bytes);
        self.file.stage_copy(bytes);
        if self.file.pending_bytes() >= FLUSH_BYTES {
            self.file.flush(drop)?;
        }
        Ok(())
    }
}

/// The part of the split that a row belongs to: the first 8 bytes of a BLAKE3, read as a fraction of 2^64, against the
/// running sum of the fractions. It depends on nothing but what `by` names, so growth never moves a row.
fn split_of(facts: &SourceFacts<'_>, row: u64) -> u8 {
    let Some(split) = facts.split else { return 0 };
    let hash = match split.by {
        SplitBy::Source => blake3::hash(&facts.key()),
        SplitBy::Content => *facts.hash,
        SplitBy::Folder => blake3::hash(facts.place.parent().as_encoded_bytes()),
        SplitBy::Row => {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&facts.key()).update(&[0]).update(&row.to_le_bytes());
            hasher.finalize()
        }
    };
    let head = hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    let fraction = u64::from_le_bytes(head) as f64 / (u64::MAX as f64 + 1.0);
    let mut sum = 0.0;
    for (place, (_, part)) in split.parts.iter().enumerate() {
        sum += part;
        if fraction < sum {
            return place as u8;
        }
    }
    split.parts.len().saturating_sub(1) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(split: &Split, sources: usize, rows: u64) -> Vec<u64> {
        let mut counts = vec![0; split.parts.len()];
        for number in 0..sources {
            let place = Place { folder: 0, below: format!("folder-{}/{number}.jpg", number % 50).into() };
            let hash = blake3::hash(&number.to_le_bytes());
            let facts = SourceFacts {
                id: 1,
                place: &place,
                hash: &hash,
                label: -1,
                split: Some(split),
                log: None,
                first_index: 0,
            };
            for row in 0..rows {
                counts[usize::from(split_of(&facts, row))] += 1;
            }
        }
        counts
    }

    #[test]
    fn the_parts_get_their_shares() {
        for by in [SplitBy::Source, SplitBy::Content, SplitBy::Row] {
            let parts = vec![("train".into(), 0.8), ("val".into(), 0.15), ("test".into(), 0.05)];
            let counts = shares(&Split { parts, by }, 4000, 2);
            let near = |count: u64, share: f64| (count as f64 / 8000.0 - share).abs() < 0.02;
            assert!(near(counts[0], 0.8) && near(counts[1], 0.15) && near(counts[2], 0.05), "{by:?}: {counts:?}");
        }
    }

    #[test]
    fn a_folder_is_never_divided() {
        let parts = vec![("train".into(), 0.5), ("val".into(), 0.5)];
        let counts = shares(&Split { parts, by: SplitBy::Folder }, 500, 1);
        assert!(counts.iter().all(|count| count % 10 == 0), "{counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}
