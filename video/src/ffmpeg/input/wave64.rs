//! What fills up the end of a Wave64 file: less than eight zeros, which FFmpeg counts as sound when it writes one.

use super::{Input, Packet};

const FILLING_MAX: usize = 7;

impl Input {
    /// How many bytes the blocks of a Wave64 file have.
    pub fn filled_up_blocks(&self) -> Option<usize> {
        let (parameters, _) = self.parameters().filter(|_| self.format_name() == "w64")?;
        // SAFETY: the parameters belong to an open stream.
        usize::try_from(unsafe { (*parameters).block_align }).ok()
    }
}

impl Packet {
    /// What it has behind its last block of so many bytes fills up the file, or is a part of a sample without compression, where it ends
    /// early.
    pub fn is_filled_up(&self, block_bytes: usize) -> bool {
        let data = self.data();
        let rest = if data.len() <= FILLING_MAX { data.len() } else { data.len() % block_bytes.max(1) };
        let filling = data.get(data.len() - rest..).unwrap_or_default();
        let is_part = block_bytes <= FILLING_MAX + 1 && data.len() < block_bytes;
        is_part || ((1..=FILLING_MAX).contains(&rest) && filling.iter().all(|byte| *byte == 0))
    }
}
