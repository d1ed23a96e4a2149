//! Checksums of rows that can be gone on with: a log that grows is one entry of the ledger for as long as its rows lie
//! together, and the entry's checksum is over all of them.

use crate::source::Hash;

/// BLAKE3 over the rows of the source at hand, and over those together with the rows of the entry before.
#[derive(Debug, Default)]
pub struct Chain {
    fresh: blake3::Hasher,
    /// Only where sources go on: over the entry that is open, and over that with the rows at hand.
    open: Option<Box<(blake3::Hasher, blake3::Hasher)>>,
}

impl Chain {
    /// `goes_on`: sources of this dataset are taken in parts.
    pub fn new(goes_on: bool) -> Self {
        Self { fresh: blake3::Hasher::new(), open: goes_on.then(Box::default) }
    }

    /// Adds bytes of the source at hand.
    pub fn update(&mut self, bytes: &[u8]) {
        self.fresh.update(bytes);
        if let Some(open) = &mut self.open {
            open.1.update(bytes);
        }
    }

    /// Ends the source at hand. Its checksum, with that of the entry before it if it extends that.
    pub fn finish(&mut self, extends: bool) -> Hash {
        let Some(open) = &mut self.open else {
            let hash = self.fresh.finalize();
            self.fresh.reset();
            return hash;
        };
        let whole = if extends { open.1.clone() } else { self.fresh.clone() };
        let hash = whole.finalize();
        **open = (whole.clone(), whole);
        self.fresh.reset();
        hash
    }

    /// Takes back the source at hand.
    pub fn undo(&mut self) {
        self.fresh.reset();
        if let Some(open) = &mut self.open {
            open.1 = open.0.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_goes_on_has_the_checksum_of_all_its_rows() {
        let mut chain = Chain::new(true);
        chain.update(b"one");
        assert_eq!(chain.finish(false), blake3::hash(b"one"));
        chain.update(b"lost");
        chain.undo();
        chain.update(b"two");
        assert_eq!(chain.finish(true), blake3::hash(b"onetwo"));
        chain.update(b"three");
        assert_eq!(chain.finish(false), blake3::hash(b"three"));
        chain.update(b"four");
        assert_eq!(chain.finish(true), blake3::hash(b"threefour"));
    }
}
