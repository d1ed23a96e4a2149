//! `[service]`: what all datasets share.

use std::thread::available_parallelism;

use super::section::Section;

/// Decoded rows may wait in this many bytes unless the config says otherwise: 1 GiB.
const MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// More threads than this are a typing error, not a machine.
const WORKERS_MAX: u64 = 1024;

/// `[service]`, as far as it could be read.
pub(super) struct ServiceDraft {
    pub(super) workers: usize,
    /// `None`: what was found is no size, so nothing can be measured against it.
    pub(super) memory_bytes: Option<u64>,
}

pub(super) fn read(section: Section<'_>) -> ServiceDraft {
    let workers = section.item("workers").and_then(|item| item.integer(0..=WORKERS_MAX, "a number of threads"));
    let workers = match workers.and_then(|workers| usize::try_from(workers).ok()) {
        None | Some(0) => available_parallelism().map_or(1, |cores| cores.get()),
        Some(workers) => workers,
    };
    let memory_bytes = match section.item("memory") {
        Some(item) => item.size_bytes(),
        None => Some(MEMORY_BYTES_DEFAULT),
    };
    if let Some(listen) = section.reserved("listen") {
        listen.fault_with_help("this version has no status page yet", "remove the line");
    }
    section.finish();
    ServiceDraft { workers, memory_bytes }
}
