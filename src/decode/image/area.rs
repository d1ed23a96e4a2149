//! The `area` filter: each pixel of the result is the mean of the source pixels whose centres it covers.
//!
//! This is Pillow's BOX, with its arithmetic for which pixels these are. That choice is a matter of a whole pixel's
//! weight, and falls exactly on a tie for many common ratios (every other pixel from 480 to 64), where it depends on the
//! last bit of the computation and on the direction of counting. So it is made here, in the oriented image, rather than
//! by the resizer; and as the weights are all the same, lines are simply added up.

use std::ops::AddAssign;

use super::fit::Placement;
use super::orient::Turn;
use super::pixels::{Depth, Raster, Sample};

/// A span of source columns or lines: the first, and how many.
type Window = (usize, usize);

/// What is used again for every image.
#[derive(Debug, Default)]
pub(super) struct Averager {
    columns: Vec<Window>,
    lines: Vec<Window>,
    integer_sums: Vec<u32>,
    float_sums: Vec<f64>,
}

impl Averager {
    /// Averages the placed part of an image into `target`, which takes the placed size in the stored orientation.
    pub fn average(&mut self, bytes: &[u8], raster: Raster, placement: &Placement, turn: Turn, target: &mut [u8]) {
        let (width, height) = turn.size(raster.width, raster.height);
        let source = placement.source;
        let (mirror_across, mirror_down) =
            if turn.swap_axes { (turn.mirror_y, turn.mirror_x) } else { (turn.mirror_x, turn.mirror_y) };
        fill_windows(&mut self.columns, source.left, source.width, placement.width, width, mirror_across);
        fill_windows(&mut self.lines, source.top, source.height, placement.height, height, mirror_down);
        let (columns, lines) = if turn.swap_axes { (&self.lines, &self.columns) } else { (&self.columns, &self.lines) };
        let windows = (columns.as_slice(), lines.as_slice());
        match raster.depth {
            Depth::U8 => average::<u8, u32>(bytes, raster, windows, &mut self.integer_sums, target),
            Depth::U16 => average::<u16, u32>(bytes, raster, windows, &mut self.integer_sums, target),
            Depth::F32 => average::<f32, f64>(bytes, raster, windows, &mut self.float_sums, target),
        }
    }
}

/// The windows of `count` results over a span of an axis of `size` pixels, as Pillow's `precompute_coeffs` finds them
/// with its box filter. Mirrored: the same windows, counted from the other end of the axis.
fn fill_windows(windows: &mut Vec<Window>, start: f64, length: f64, count: u32, size: u32, mirrored: bool) {
    let scale = length / f64::from(count.max(1));
    let widened = scale.max(1.0);
    let support = 0.5 * widened;
    let shrink = 1.0 / widened;
    let size = size as usize;
    windows.clear();
    windows.extend((0..count).map(|index| {
        let centre = start + (f64::from(index) + 0.5) * scale;
        // Casts cut off and stop at zero.
        let mut first = (centre - support + 0.5) as usize;
        let mut end = ((centre + support + 0.5) as usize).min(size);
        let covered = |pixel: usize| {
            let distance = (pixel as f64 - centre + 0.5) * shrink;
            distance > -0.5 && distance <= 0.5
        };
        while first < end && !covered(first) {
            first += 1;
        }
        while first < end && !covered(end - 1) {
            end -= 1;
        }
        if first >= end {
            // Both neighbours missed by a rounding: the nearer one stands in.
            first = (centre as usize).min(size.saturating_sub(1));
            end = first + 1;
        }
        if mirrored { (size - end, end - first) } else { (first, end - first) }
    }));
    if mirrored {
        windows.reverse();
    }
}

/// `T`: what sums of up to 65535 samples fit in. `windows`: across, and down.
fn average<S, T>(bytes: &[u8], raster: Raster, windows: (&[Window], &[Window]), sums: &mut Vec<T>, target: &mut [u8])
where
    S: Sample + Into<T>,
    T: Copy + Default + AddAssign + Into<f64>,
{
    match raster.channels {
        1 => average_channels::<S, T, 1>(bytes, raster, windows, sums, target),
        2 => average_channels::<S, T, 2>(bytes, raster, windows, sums, target),
        3 => average_channels::<S, T, 3>(bytes, raster, windows, sums, target),
        _ => average_channels::<S, T, 4>(bytes, raster, windows, sums, target),
    }
}

/// Adds up the lines of each window, and then the columns of these sums.
fn average_channels<S, T, const CHANNELS: usize>(
    bytes: &[u8],
    raster: Raster,
    (columns, lines): (&[Window], &[Window]),
    sums: &mut Vec<T>,
    target: &mut [u8],
) where
    S: Sample + Into<T>,
    T: Copy + Default + AddAssign + Into<f64>,
{
    let line_bytes = raster.width as usize * raster.pixel_bytes();
    let first_column = columns.iter().map(|window| window.0).min().unwrap_or_default();
    let end_column = columns.iter().map(|window| window.0 + window.1).max().unwrap_or_default();
    let used = first_column * raster.pixel_bytes()..end_column * raster.pixel_bytes();
    let target_line_bytes = (columns.len() * raster.pixel_bytes()).max(1);
    for (target_line, (first_line, line_count)) in target.chunks_exact_mut(target_line_bytes).zip(lines) {
        sums.clear();
        sums.resize((end_column - first_column) * CHANNELS, T::default());
        for line in bytes.chunks_exact(line_bytes.max(1)).skip(*first_line).take(*line_count) {
            let samples = line.get(used.clone()).unwrap_or_default().chunks_exact(S::BYTES);
            for (sum, sample) in sums.iter_mut().zip(samples) {
                *sum += S::load(sample).into();
            }
        }
        let (pixel_sums, _) = sums.as_chunks::<CHANNELS>();
        for (pixel, (first, count)) in target_line.chunks_exact_mut(raster.pixel_bytes()).zip(columns) {
            let from = first - first_column;
            let mut totals = [0.0; CHANNELS];
            for covered in pixel_sums.get(from..from + count).unwrap_or_default() {
                for (total, sum) in totals.iter_mut().zip(covered) {
                    *total += (*sum).into();
                }
            }
            let share = 1.0 / (*count as f64 * *line_count as f64);
            for (total, place) in totals.into_iter().zip(pixel.chunks_exact_mut(S::BYTES)) {
                S::from_exact(total * share).store(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(start: f64, length: f64, count: u32, size: u32, mirrored: bool) -> Vec<Window> {
        let mut windows = Vec::new();
        fill_windows(&mut windows, start, length, count, size, mirrored);
        windows
    }

    #[test]
    fn whole_ratios_split_evenly() {
        assert_eq!(windows(0.0, 6.0, 3, 6, false), [(0, 2), (2, 2), (4, 2)]);
        assert_eq!(windows(1.0, 4.0, 2, 6, false), [(1, 2), (3, 2)]);
        assert_eq!(windows(0.0, 2.0, 4, 2, false), [(0, 1), (0, 1), (1, 1), (1, 1)]);
    }

    #[test]
    fn a_tie_goes_to_the_left_result_and_turns_with_the_image() {
        // Pillow: BOX of [0, 1, ..., 14] to two takes 0..=7 and 8..=14.
        assert_eq!(windows(0.0, 15.0, 2, 15, false), [(0, 8), (8, 7)]);
        assert_eq!(windows(0.0, 15.0, 2, 15, true), [(0, 7), (7, 8)]);
    }

    #[test]
    fn sums_do_not_overflow() {
        let raster = Raster { width: 3, height: 65535, channels: 1, depth: Depth::U16 };
        let bytes = vec![0xFF; raster.bytes()];
        let mut target = [0; 2];
        let mut sums = Vec::new();
        average::<u16, u32>(&bytes, raster, (&[(0, 3)], &[(0, 65535)]), &mut sums, &mut target);
        assert_eq!(target, [0xFF; 2]);
    }
}
