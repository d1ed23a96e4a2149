//! What is lost of a damaged video: a reason to reject it, or counted and told.

use npy_ingest::config::Damage;
use npy_ingest::decode::{DecodeError, Rejection};

/// What is lost of a damaged video.
pub struct Losses {
    pub policy: Damage,
    pub count: u64,
    pub first: Option<String>,
}

impl Losses {
    /// Frames that cannot be had. `at_s`: where, in seconds.
    pub fn add(&mut self, count: u64, what: &str, at_s: f64) -> Result<(), DecodeError> {
        if self.policy == Damage::Reject {
            return Err(Rejection::new(damaged(&format!("{what} (at {at_s:.3} s)"))).into());
        }
        self.count += count;
        self.first.get_or_insert_with(|| format!("{what}, at {at_s:.3} s"));
        Ok(())
    }
}

/// Why a damaged video is rejected.
pub fn damaged(what: &str) -> String {
    format!("it is damaged: {what}; on_error = \"keep\" takes the good frames of such videos")
}
