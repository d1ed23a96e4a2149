//! The rate over time as a small SVG.

use std::fmt::Write;

use crate::tally::SLOT_SECONDS;

const HEIGHT: f64 = 40.0;

/// Rows a second of each slot, as an area; and the greatest of them.
pub fn rate(rows: &[u64]) -> (String, f64) {
    let greatest = rows.iter().copied().max().unwrap_or(0);
    let last = rows.len().saturating_sub(1).max(1);
    let mut line = String::new();
    for (x, rows) in rows.iter().enumerate() {
        let part = if greatest == 0 { 0.0 } else { *rows as f64 / greatest as f64 };
        let verb = if x == 0 { 'M' } else { 'L' };
        // Writing to a string cannot fail.
        let _ = write!(line, "{verb}{x} {:.1}", HEIGHT - 1.0 - part * (HEIGHT - 3.0));
    }
    let svg = format!(
        "<svg class=\"rate\" viewBox=\"0 0 {last} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"rows a second over the last half hour\">\
         <path class=\"area\" d=\"{line}L{last} {HEIGHT}L0 {HEIGHT}Z\"/><path class=\"line\" d=\"{line}\"/></svg>"
    );
    (svg, greatest as f64 / SLOT_SECONDS as f64)
}
