//! How an appender works: durability, lock, write-back.

use std::time::Duration;

/// When appended rows become durable and visible.
///
/// Rows are synced before the count is, and a count that readers see names complete rows, always. What differs is what a
/// crash can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every append is durable and visible when it returns. Appends of several threads at a time share their syncs.
    Each,
    /// An append returns before its rows are durable. They are committed together, at the latest when one of the limits is
    /// reached. A crash takes those that were not.
    Batch(BatchLimits),
    /// Every append is visible when it returns, and nothing is synced. A killed process loses nothing, a power cut may lose
    /// rows that readers saw.
    ///
    /// The count is stored through a mapping of the header, where processor and filesystem allow: one system call an append,
    /// not two. Who makes the file shorter than its header meanwhile ends the process with SIGBUS.
    None,
}

/// When a batch is committed: whichever comes first. [`Appender::commit`](super::Appender::commit) does it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    pub rows_max: u64,
    pub bytes_max: u64,
    /// After the first row that waits. `None`: no thread of its own, and no limit.
    pub delay_max: Option<Duration>,
}

impl Default for BatchLimits {
    /// The service's: 4,096 rows, 64 MiB, 50 ms.
    fn default() -> Self {
        Self { rows_max: 4096, bytes_max: 64 << 20, delay_max: Some(Duration::from_millis(50)) }
    }
}

/// Asking the device to write while rows are still being appended, so that the sync at the end has little left to do. For
/// long appends on disks; it gains nothing in memory. How much may wait to be written is the kernel's to say
/// (`vm.dirty_ratio`). It is never waited for: with [`Durability::None`] nobody tells of a write that fails later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteBack {
    /// How much is asked for at a time.
    pub window_bytes: u64,
    /// Whether what was written leaves the page cache. Leave it there where somebody will read the rows soon.
    pub drops_cache: bool,
}

impl Default for WriteBack {
    fn default() -> Self {
        Self { window_bytes: 8 << 20, drops_cache: false }
    }
}

/// How to open an array for appending.
///
/// ```
/// use npy_ingest::npy::{AppendOptions, BatchLimits, Durability};
///
/// let patient = AppendOptions { waits_for_lock: true, ..AppendOptions::default() };
/// let fast = AppendOptions { durability: Durability::Batch(BatchLimits::default()), ..AppendOptions::default() };
/// # let _ = (patient, fast);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendOptions {
    pub durability: Durability,
    /// Whether to wait until another process is done with the file, or to fail with
    /// [`AppendError::Locked`](super::AppendError::Locked).
    pub waits_for_lock: bool,
    pub write_back: Option<WriteBack>,
}

impl Default for AppendOptions {
    /// Every append durable, no waiting, write-back left to the kernel.
    fn default() -> Self {
        Self { durability: Durability::Each, waits_for_lock: false, write_back: None }
    }
}
