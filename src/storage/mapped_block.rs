//! A block of 16 bytes of a file, mapped: storing it is one instruction where writing it is a system call, which for a row of
//! 64 bytes is half of an append.
//!
//! Whoever reads the file sees the block at once, whole: both ways go through the same page of the kernel's cache, and an
//! aligned store of 16 bytes is one access on every x86 processor that has AVX (Intel's and AMD's manuals say so for those).
//! Other processors write, as before.
//!
//! What the compiler cannot check is what `npy::mapping` names: who makes the file shorter than its own header while rows are
//! being appended ends the process with SIGBUS.

// Mapping is unsafe in every crate, and so is a store through a pointer.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{MmapOptions, MmapRaw};

/// The size of a block, and what its place is a multiple of.
pub const BLOCK_BYTES: usize = 16;

/// See the module documentation. One thread at a time stores.
#[derive(Debug)]
pub struct MappedBlock {
    /// The block begins it or lies within it.
    map: MmapRaw,
    at: usize,
}

impl MappedBlock {
    /// The block at `offset` of a file that is open for reading and writing, and longer than that. `None` where this processor
    /// or this filesystem does not do it.
    ///
    /// # Errors
    /// The file is shorter, or the offset is none of a block.
    pub fn of(file: &File, offset: u64) -> io::Result<Option<Self>> {
        let end = offset.saturating_add(BLOCK_BYTES as u64);
        if !offset.is_multiple_of(BLOCK_BYTES as u64) || file.metadata()?.len() < end {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (Ok(at), Ok(length)) = (usize::try_from(offset), usize::try_from(end)) else { return Ok(None) };
        if !stores_whole_blocks() {
            return Ok(None);
        }
        // A filesystem that cannot share writable pages refuses here.
        let Ok(map) = MmapOptions::new().len(length).map_raw(file) else { return Ok(None) };
        Ok(Some(Self { map, at }))
    }

    /// Stores the block. It is in the file as if it had been written: visible now, durable with the next sync.
    pub fn store(&self, block: [u8; BLOCK_BYTES]) {
        // SAFETY: `at + 16` is within the map, which begins at a page, so the place is aligned.
        unsafe { store(self.map.as_mut_ptr().add(self.at), block) }
    }
}

#[cfg(target_arch = "x86_64")]
fn stores_whole_blocks() -> bool {
    std::arch::is_x86_feature_detected!("avx")
}

#[cfg(not(target_arch = "x86_64"))]
fn stores_whole_blocks() -> bool {
    false
}

/// # Safety
/// The pointer is aligned to 16 bytes, and 16 bytes can be written there.
#[cfg(target_arch = "x86_64")]
unsafe fn store(place: *mut u8, block: [u8; BLOCK_BYTES]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128};
    // SAFETY: by the caller for the store; the load is from an array of that size. Every x86_64 has SSE2. Volatile: readers in
    // other processes are none of the compiler's concern, so that it could leave a store out or split it.
    unsafe { std::ptr::write_volatile(place.cast::<__m128i>(), _mm_loadu_si128(block.as_ptr().cast())) }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn store(place: *mut u8, block: [u8; BLOCK_BYTES]) {
    // SAFETY: by the caller. Nobody comes here: there is no mapped block on these processors.
    unsafe { std::ptr::write_volatile(place.cast::<[u8; BLOCK_BYTES]>(), block) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn a_stored_block_is_what_readers_find() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[b'.'; 64], 0).unwrap();
        let Some(block) = MappedBlock::of(&file, 32).unwrap() else {
            assert!(!stores_whole_blocks(), "this filesystem does not map");
            return;
        };
        block.store(*b"              12");
        let mut found = [0; 64];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found[..32], [b'.'; 32]);
        assert_eq!(&found[32..48], b"              12");
        assert_eq!(&found[48..], [b'.'; 16]);
    }

    #[test]
    fn a_block_that_is_none_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[b'.'; 40], 0).unwrap();
        assert!(MappedBlock::of(&file, 8).is_err(), "not aligned");
        assert!(MappedBlock::of(&file, 32).is_err(), "the file ends within it");
    }
}
