//! The BLAKE3 hash of bytes whose blocks are hashed by several threads, each by itself: the hash is a tree, and a block gives
//! the tops of the largest parts of that tree which lie within it.

use std::num::NonZeroU64;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, max_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{CHUNK_LEN, Hasher};

use crate::source::Hash;

/// Blocks begin at multiples of this.
pub(super) const UNIT_BYTES: usize = CHUNK_LEN;

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
}
