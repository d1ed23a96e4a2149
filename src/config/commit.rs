//! `[dataset.commit]`: when rows become durable and visible.

use std::time::Duration;

use super::section::Section;
use super::world::{Commit, Durability};

const DELAY_DEFAULT: Duration = Duration::from_millis(50);
/// Rows that nobody sees for longer than an hour are taken for lost.
const DELAY_MAX: Duration = Duration::from_hours(1);
const ROWS_DEFAULT: u64 = 4096;
const BYTES_DEFAULT: u64 = 64 << 20;

pub(super) fn read(section: Section<'_>) -> Commit {
    let delay = section.item("max_delay").and_then(|item| item.duration(Duration::ZERO..=DELAY_MAX, "50ms"));
    let rows = section.item("max_rows").and_then(|item| item.integer(1..=u64::MAX, "a number of rows"));
    let bytes = section.item("max_bytes").and_then(|item| item.size_bytes());
    let durability = section.choice("durability", Durability::Batch);
    section.finish();
    Commit {
        max_delay: delay.unwrap_or(DELAY_DEFAULT),
        max_rows: rows.unwrap_or(ROWS_DEFAULT),
        max_bytes: bytes.unwrap_or(BYTES_DEFAULT),
        durability,
    }
}
