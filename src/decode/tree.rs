//! The BLAKE3 hash of bytes that come one after the other, or in blocks which several threads hash, each by itself: the hash
//! is a tree, and a block gives the tops of the largest parts of that tree which lie within it.

use std::num::NonZeroU64;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, max_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{CHUNK_LEN, Hasher};

use crate::source::Hash;

/// Blocks begin at multiples of this.
pub(super) const UNIT_BYTES: usize = CHUNK_LEN;
/// Bytes that come one after the other become branches of so many.
const RUN_BYTES: u64 = 256 << 10;

/// What the tree has of one block.
#[derive(Debug, Default)]
pub(super) struct Branches(Vec<Branch>);

#[derive(Debug, Clone, Copy)]
struct Branch {
    bytes: u64,
    top: ChainingValue,
}

impl Branches {
    /// Of bytes that begin at `offset` of all. Those at 0 are more than [`UNIT_BYTES`], so that the tree has two branches.
    pub(super) fn of(bytes: &[u8], offset: u64) -> Self {
        let (mut branches, mut rest, mut at) = (Vec::new(), bytes, offset);
        while !rest.is_empty() {
            let left = rest.len() as u64;
            let longest = match max_subtree_len(at) {
                Some(longest) => longest.min(left),
                // The whole tree may be larger.
                None => left.saturating_sub(1),
            };
            // The end of all bytes is no power of two.
            let length = match NonZeroU64::new(longest / UNIT_BYTES as u64) {
                Some(units) => UNIT_BYTES << units.ilog2(),
                None => rest.len(),
            };
            let (branch, later) = rest.split_at(length);
            let top = Hasher::new().set_input_offset(at).update(branch).finalize_non_root();
            branches.push(Branch { bytes: length as u64, top });
            at += length as u64;
            rest = later;
        }
        Self(branches)
    }
}

/// Puts blocks together, in their order.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// From the left, each smaller than the one before it but the last two.
    branches: Vec<Branch>,
}

impl Tree {
    pub(super) fn add(&mut self, block: Branches) {
        for branch in block.0 {
            // What is as large as its neighbour is whole with it, now that something follows.
            while let [.., left, right] = self.branches.as_slice()
                && left.bytes == right.bytes
            {
                let top = merge_subtrees_non_root(&left.top, &right.top, Mode::Hash);
                let joined = Branch { bytes: left.bytes + right.bytes, top };
                self.branches.truncate(self.branches.len() - 2);
                self.branches.push(joined);
            }
            self.branches.push(branch);
        }
    }

    /// `None` where there were no two branches.
    pub(super) fn finish(mut self) -> Option<Hash> {
        let mut right = self.branches.pop()?.top;
        let first = self.branches.first()?.top;
        for left in self.branches.iter().skip(1).rev() {
            right = merge_subtrees_non_root(&left.top, &right, Mode::Hash);
        }
        Some(merge_subtrees_root(&first, &right, Mode::Hash))
    }
}

/// The hash of bytes that come one after the other, with blocks among them that others have hashed.
#[derive(Debug, Default)]
pub(super) struct TreeHasher {
    tree: Tree,
    /// Of the bytes from `begin`, which is a multiple of [`UNIT_BYTES`], to before `end`.
    run: Hasher,
    begin: u64,
    end: u64,
}

impl TreeHasher {
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let free = match self.run_max() - (self.end - self.begin) {
                // Not before something follows: what is alone is the whole tree.
                0 => {
                    self.end_run();
                    self.run_max()
                }
                free => free,
            };
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(free).unwrap_or(usize::MAX)));
            if self.begin == self.end {
                self.run = Hasher::new();
                self.run.set_input_offset(self.begin);
            }
            self.run.update(now);
            self.end += now.len() as u64;
            bytes = later;
        }
    }

    /// Where branches may go on. Less than a run may lie behind it, and is in them once more.
    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    /// Those of the bytes from [`Self::begin`] to before `end`.
    pub(super) fn add(&mut self, branches: Branches, end: u64) {
        self.tree.add(branches);
        (self.begin, self.end) = (end, end);
    }

    /// `None` where branches were added, and there were no two of them.
    pub(super) fn finish(mut self) -> Option<Hash> {
        if self.begin == 0 {
            return Some(self.run.finalize());
        }
        if self.end > self.begin {
            self.end_run();
        }
        self.tree.finish()
    }

    fn run_max(&self) -> u64 {
        max_subtree_len(self.begin).map_or(RUN_BYTES, |longest| longest.min(RUN_BYTES))
    }

    fn end_run(&mut self) {
        let branch = Branch { bytes: self.end - self.begin, top: self.run.finalize_non_root() };
        self.tree.add(Branches(vec![branch]));
        self.begin = self.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_any_size_have_the_hash_of_all_their_bytes() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for units in [2, 3, 7, 8, 28, 64, 100] {
            let block_bytes = units * UNIT_BYTES;
            for length in
                [1025, 2047, 2048, 2049, 3072, 4096, 4097, 65_536, 131_072, 131_073, 200_000, 262_144, 300_000]
            {
                let bytes = &bytes[..length];
                let mut tree = Tree::default();
                for (number, block) in bytes.chunks(block_bytes).enumerate() {
                    tree.add(Branches::of(block, (number * block_bytes) as u64));
                }
                assert_eq!(tree.finish(), Some(blake3::hash(bytes)), "{length} bytes in blocks of {block_bytes}");
            }
        }
        assert_eq!(Tree::default().finish(), None);
    }

    /// In pieces of any size, and with branches here and there.
    #[test]
    fn bytes_and_branches_in_turn_have_the_hash_of_all_bytes() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut numbers = fastrand::Rng::with_seed(5);
        let mut random = |below: usize| numbers.usize(..below);
        for round in 0..60 {
            let length = [0, 1, 1024, 1025, 262_144, 262_145, 524_288, 2_000_000, 1 + random(3_000_000)][round % 9];
            let bytes = &bytes[..length];
            let mut hasher = TreeHasher::default();
            let (mut at, mut branches) = (0, 0);
            while at < length {
                let end = length.min(at + [1, 1000, 70_000, 300_000][random(4)]);
                let begin = usize::try_from(hasher.begin()).unwrap();
                let whole = if end == length { end } else { end / UNIT_BYTES * UNIT_BYTES };
                if round % 3 > 0 && random(2) == 0 && whole > begin + UNIT_BYTES {
                    hasher.add(Branches::of(&bytes[begin..whole], begin as u64), whole as u64);
                    hasher.update(&bytes[whole..end]);
                    branches += 1;
                } else {
                    hasher.update(&bytes[at..end]);
                }
                at = end;
            }
            assert_eq!(hasher.finish(), Some(blake3::hash(bytes)), "{length} bytes, {branches} times branches");
        }
    }
}
