//! An array that is appended piece by piece, and by nobody else's commit in part.

use std::ops::Range;

use super::AppendError;
use super::shared::Shared;

/// An array whose rows are being staged. They are taken back if it is dropped before it is whole.
pub(super) struct StagedArray<'a> {
    shared: &'a Shared,
    first: u64,
    is_whole: bool,
}

impl<'a> StagedArray<'a> {
    /// The array begins with this row, and others wait.
    pub fn new(shared: &'a Shared, first: u64) -> Self {
        Self { shared, first, is_whole: false }
    }

    /// The next bytes of its rows.
    pub fn stage(&self, bytes: &[u8]) -> Result<(), AppendError> {
        self.shared.write_part(&mut self.shared.lock(), bytes).map(drop)
    }

    /// It is whole. Which rows they are.
    pub fn end(mut self) -> Range<u64> {
        // From here on the next array may begin: dropping this one must not touch that.
        self.is_whole = true;
        self.shared.end_array(self.first, true)
    }
}

impl Drop for StagedArray<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.shared.end_array(self.first, false);
        }
    }
}
