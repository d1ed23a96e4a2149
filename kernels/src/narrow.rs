//! Lines of bytes made narrower: the pass across of [`super::planes`], with the numbers of `fast_image_resize`, whose own pass
//! for single bytes takes most of its time.
//!
//! Eight results are made at once, from taps that lie in the order in which they are needed. The results are the same to the
//! last bit: sums of integers, rounded once.

#![allow(unsafe_code, reason = "instructions that not every processor has, and loads without a check each")]

use super::resize::FilterType;

/// Taps that are multiplied at one go.
const STEP: usize = 8;
/// Results that are made at one go.
const GROUP: usize = 8;
/// Taps of two results, a step of each; four in a word, the first in its lowest bits.
type Pair = [i64; 4];
/// Bytes behind the last line that are read, and count for nothing.
pub const SLACK_BYTES: usize = 64;

/// What is read of a line, and what is made of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub filter: FilterType,
    /// The line's length.
    pub width: u32,
    pub left: f64,
    pub length: f64,
    pub to_width: u32,
}

/// The taps of a span.
#[derive(Debug)]
pub struct Taps {
    pub span: Span,
    /// Of the line, what is looked at: the first byte, and the one behind the last.
    pub looked_at: (u32, u32),
    /// Where each result's taps begin, from the first byte that is looked at.
    starts: Vec<[u32; GROUP]>,
    /// For each group and each of its steps: the taps of results 0 and 4, 1 and 5, 2 and 6, 3 and 7.
    values: Vec<[Pair; GROUP / 2]>,
    steps: usize,
    /// Binary places of the taps.
    places: u32,
}

impl Taps {
    /// `None` for a filter that is not known here, for what is better left as it is, and where this processor lacks the
    /// instructions.
    pub fn of(span: Span) -> Option<Self> {
        if !is_able() {
            return None;
        }
        let weights = Weights::of(span)?;
        let largest = weights.values.iter().copied().fold(0.0, f64::max);
        let scale = |places: u32| f64::from(1_u32 << places);
        // As many places as 16 bits take, and no more than 22.
        let places = (0..22).find(|places| (largest * scale(places + 1)).round() >= 32768.0).unwrap_or(21);
        let steps = weights.bounds.iter().map(|(_, count)| count.div_ceil(STEP)).max()?.max(1);
        let first = weights.bounds.first()?.0;
        let end = weights.bounds.last().map(|(start, count)| start + count)?;
        let is_within = weights.bounds.iter().all(|(start, count)| *start >= first && start + count <= end);
        if steps * STEP > SLACK_BYTES || end <= first || places < 4 || !is_within {
            return None;
        }
        let groups = (span.to_width as usize).div_ceil(GROUP);
        let mut starts = vec![[0; GROUP]; groups];
        let mut values = vec![[[0; 4]; GROUP / 2]; groups * steps];
        let all = weights.bounds.iter().zip(weights.values.chunks_exact(weights.window));
        for (number, (&(start, count), weights)) in all.enumerate() {
            let (group, place) = (number / GROUP, number % GROUP);
            *starts.get_mut(group)?.get_mut(place)? = u32::try_from(start - first).ok()?;
            for (nth, weight) in weights.iter().take(count).enumerate() {
                let pairs = values.get_mut(group * steps + nth / STEP)?;
                let pair = pairs.get_mut(place % (GROUP / 2))?;
                let tap = (weight * scale(places)).round() as i16;
                let at = place / (GROUP / 2) * STEP + nth % STEP;
                *pair.get_mut(at / 4)? |= i64::from(tap as u16) << (16 * (at % 4));
            }
        }
        let looked_at = (u32::try_from(first).ok()?, u32::try_from(end).ok()?);
        Some(Self { span, looked_at, starts, values, steps, places })
    }

    /// Makes lines of `to` from lines of `from`, which hold what is looked at, and [`SLACK_BYTES`] more in the end.
    pub fn apply(&self, from: &[u8], to: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: there are no taps where the processor has no AVX2: `of` asked.
        unsafe {
            self.apply_avx2(from, to);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (from, to);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn apply_avx2(&self, from: &[u8], to: &mut [u8]) {
        use std::arch::x86_64::*;
        let line = (self.looked_at.1 - self.looked_at.0) as usize;
        let half = _mm256_set1_epi32(1 << (self.places - 1));
        let places = _mm_cvtsi32_si128(self.places as i32);
        let reach = STEP * self.steps;
        for (number, to_line) in to.chunks_exact_mut(self.span.to_width as usize).enumerate() {
            let Some(from) = from.get(number * line..(number + 1) * line + reach) else { return };
            let groups = self.starts.iter().zip(self.values.chunks_exact(self.steps));
            for (to, (starts, values)) in to_line.chunks_mut(GROUP).zip(groups) {
                let mut sums = [_mm256_setzero_si256(); GROUP / 2];
                for (step, pairs) in values.iter().enumerate() {
                    let samples = |start: u32| {
                        // SAFETY: a start is no further than the line's end, and `from` is as long as the line and the reach of all
                        // steps.
                        unsafe { from.as_ptr().add(start as usize + step * STEP).cast::<i64>().read_unaligned() }
                    };
                    let (left, right) = starts.split_at(GROUP / 2);
                    for ((sum, taps), (left, right)) in sums.iter_mut().zip(pairs).zip(left.iter().zip(right)) {
                        let both = _mm256_cvtepu8_epi16(_mm_set_epi64x(samples(*right), samples(*left)));
                        let [one, two, three, four] = *taps;
                        let taps = _mm256_set_epi64x(four, three, two, one);
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(both, taps));
                    }
                }
                let [one, two, three, four] = sums;
                let sums = _mm256_hadd_epi32(_mm256_hadd_epi32(one, two), _mm256_hadd_epi32(three, four));
                let sums = _mm256_sra_epi32(_mm256_add_epi32(sums, half), places);
                let words = _mm_packs_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
                let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes();
                match to.first_chunk_mut::<GROUP>() {
                    Some(to) => *to = bytes,
                    None => to.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte),
                }
            }
        }
    }
}

pub fn is_able() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Weights in full precision, as the library has them.
struct Weights {
    /// Where each result's begin, and how many there are.
    bounds: Vec<(usize, usize)>,
    window: usize,
    /// `window` for each result.
    values: Vec<f64>,
}

impl Weights {
    fn of(span: Span) -> Option<Self> {
        let (filter, support): (fn(f64) -> f64, f64) = match span.filter {
            FilterType::Box => (boxed, 0.5),
            FilterType::Bilinear => (bilinear, 1.0),
            FilterType::CatmullRom => (catmull_rom, 2.0),
            FilterType::Lanczos3 => (lanczos3, 3.0),
            _ => return None,
        };
        // As the library rounds it: with `Box`, a sample that lies on a border goes to this side or that by the last bit.
        let scale = (span.left + span.length - span.left) / f64::from(span.to_width);
        if span.length == f64::from(span.to_width) || !scale.is_finite() || scale <= 0.0 {
            return None;
        }
        let widened = scale.max(1.0);
        let radius = support * widened;
        let window = radius.ceil() as usize * 2 + 1;
        let narrowed = 1.0 / widened;
        let mut values = Vec::with_capacity(window * span.to_width as usize);
        let mut bounds = Vec::with_capacity(span.to_width as usize);
        for number in 0..span.to_width {
            let middle = span.left + (f64::from(number) + 0.5) * scale;
            let first = (middle - radius).floor().max(0.0) as usize;
            let end = (middle + radius).ceil().min(f64::from(span.width)) as usize;
            let center = middle - 0.5;
            let begin = values.len();
            // Zeros at both ends are left out.
            let weights = (first..end).map(|place| filter((place as f64 - center) * narrowed));
            values.extend(weights.skip_while(|weight| *weight == 0.0));
            let own = values.get_mut(begin..)?;
            let start = end - own.len();
            let zeros = own.iter().rev().take_while(|weight| **weight == 0.0).count();
            bounds.push((start, own.len() - zeros));
            let sum: f64 = own.iter().fold(0.0, |sum, weight| sum + weight);
            if sum != 0.0 {
                own.iter_mut().for_each(|weight| *weight /= sum);
            }
            values.resize(begin + window, 0.0);
        }
        Some(Self { bounds, window, values })
    }
}

fn boxed(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
}

fn bilinear(x: f64) -> f64 {
    if x.abs() < 1.0 { 1.0 - x.abs() } else { 0.0 }
}

fn catmull_rom(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

fn lanczos3(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}
