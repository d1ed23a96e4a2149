//! Signals: the least and the greatest value of each column, so that no peak is lost however long the signal is.

use std::fmt::Write;
use std::ops::Range;

use image::{Rgb, RgbImage};

use super::Look;
use super::samples::{range, samples};
use crate::npy::Dtype;

/// Columns of a plot on the page, in units of its own.
const SVG_WIDTH: usize = 300;
const SVG_HEIGHT: f64 = 100.0;
/// Channels that are drawn.
const CHANNELS_MAX: usize = 4;
/// One for each channel; they read on light and on dark ground.
const COLOURS: [[u8; 3]; CHANNELS_MAX] =
    [[0x3b, 0x82, 0xc4], [0xd0, 0x7a, 0x2d], [0x4f, 0x9d, 0x69], [0xa8, 0x5f, 0xb5]];
const GROUND: Rgb<u8> = Rgb([0xf6, 0xf6, 0xf3]);
const AXIS: Rgb<u8> = Rgb([0xd8, 0xd8, 0xd2]);

/// The least and the greatest number of each column of a curve.
#[derive(Clone)]
pub struct Envelope {
    columns: Vec<(f64, f64)>,
}

impl Envelope {
    pub fn new(columns: usize) -> Self {
        Self { columns: vec![(f64::INFINITY, f64::NEG_INFINITY); columns] }
    }

    /// What is no finite number is left out.
    pub fn add(&mut self, column: usize, number: f64) {
        if let Some((least, greatest)) = self.columns.get_mut(column).filter(|_| number.is_finite()) {
            (*least, *greatest) = (least.min(number), greatest.max(number));
        }
    }

    /// As parts of the height, where 0 is the top; NaN for a column without a number.
    pub fn parts(&self) -> Vec<(f64, f64)> {
        let (least, greatest) = range(self.columns.iter().flat_map(|(least, greatest)| [*least, *greatest]));
        let part = part_of(least, greatest);
        let of = |column: &(f64, f64)| {
            if column.0 <= column.1 { (part(column.1), part(column.0)) } else { (f64::NAN, f64::NAN) }
        };
        self.columns.iter().map(of).collect()
    }
}

/// Where a value stands on the height of a plot whose values are between these.
fn part_of(least: f64, greatest: f64) -> impl Fn(f64) -> f64 {
    let span = if greatest > least { greatest - least } else { 1.0 };
    move |value| 0.04 + 0.92 * (1.0 - (value - least) / span)
}

/// A row that is a signal: its numbers are read where they lie, as there may be millions.
pub struct Signal<'a> {
    pub dtype: &'a Dtype,
    pub bytes: &'a [u8],
    /// Of each channel.
    pub samples: usize,
    pub channels: usize,
}

impl Signal<'_> {
    /// The numbers of these samples, of all channels.
    fn numbers(&self, of: Range<usize>) -> impl Iterator<Item = f64> {
        samples(self.dtype, self.bytes, of.start * self.channels, of.len() * self.channels)
    }

    /// For each channel that is drawn, the least and the greatest of each of `columns` equal parts, as parts of the height:
    /// 0 is the top.
    fn envelopes(&self, columns: usize) -> Vec<Vec<(f64, f64)>> {
        let (least, greatest) = range(self.numbers(0..self.samples));
        let height = part_of(least, greatest);
        let columns = columns.min(self.samples.max(1));
        let of = |channel: usize, column: usize| {
            let place = |column: usize| column * self.samples / columns;
            // One sample more, so that neighbours touch.
            let part = place(column)..(place(column + 1) + 1).min(self.samples);
            let (low, high) = range(self.numbers(part).skip(channel).step_by(self.channels));
            (height(high), height(low))
        };
        let drawn = self.channels.min(CHANNELS_MAX);
        (0..drawn).map(|channel| (0..columns).map(|column| of(channel, column)).collect()).collect()
    }
}

/// A plot as pixels.
pub fn pixels(signal: &Signal<'_>, width: u32, height: u32) -> RgbImage {
    pixels_of(&signal.envelopes(width as usize), width, height)
}

/// Envelopes as pixels, each in a colour of its own.
pub fn pixels_of(envelopes: &[Vec<(f64, f64)>], width: u32, height: u32) -> RgbImage {
    let mut drawn = RgbImage::from_pixel(width, height, GROUND);
    for x in 0..width {
        drawn.put_pixel(x, height / 2, AXIS);
    }
    for (columns, colour) in envelopes.iter().zip(COLOURS) {
        for x in 0..width {
            let place = x as usize * columns.len() / width as usize;
            let Some((top, bottom)) = columns.get(place).filter(|(top, _)| top.is_finite()) else { continue };
            let line = |part: f64| ((part * f64::from(height)) as u32).min(height - 1);
            for y in line(*top)..=line(*bottom) {
                drawn.put_pixel(x, y, Rgb(colour));
            }
        }
    }
    drawn
}

/// A row that is a signal as an SVG document; empty ground for any other.
pub fn svg(dtype: &Dtype, look: Look, bytes: &[u8]) -> String {
    let mut drawn = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SVG_WIDTH} {SVG_HEIGHT}\" preserveAspectRatio=\"none\">"
    );
    if let Look::Signal { samples, channels } = look {
        let signal = Signal { dtype, bytes, samples, channels };
        for (columns, [red, green, blue]) in signal.envelopes(SVG_WIDTH).iter().zip(COLOURS) {
            let step = SVG_WIDTH as f64 / columns.len() as f64;
            let mut path = String::new();
            // There along the upper edge, and back along the lower one.
            let upper = columns.iter().map(|(top, _)| *top).enumerate();
            let lower = columns.iter().map(|(_, bottom)| *bottom).enumerate().rev();
            for (at, (column, part)) in upper.chain(lower).enumerate() {
                let verb = if at == 0 { 'M' } else { 'L' };
                let x = (column as f64 + 0.5) * step;
                // Writing to a string cannot fail.
                let _ = write!(path, "{verb}{x:.1} {:.1}", part * SVG_HEIGHT);
            }
            let colour = format!("rgb({red},{green},{blue})");
            let _ = write!(drawn, "<path d=\"{path}Z\" fill=\"{colour}\" stroke=\"{colour}\" stroke-width=\"0.7\"/>");
        }
    }
    drawn.push_str("</svg>\n");
    drawn
}
