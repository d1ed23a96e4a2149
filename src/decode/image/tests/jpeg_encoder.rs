//! An encoder of JPEGs with any sampling, for tests: sequential, with Huffman codes that are all of the same length.

use std::f64::consts::{PI, SQRT_2};

/// What kind of file is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// 1: gray, 3: YCbCr.
    pub components: usize,
    /// Luma samples for one of chroma.
    pub across: usize,
    pub down: usize,
    /// MCUs between restart markers; 0: none.
    pub restart: u16,
    /// The step of all coefficients: 1 is the finest.
    pub step: u8,
}

pub(super) const COLOUR: Kind = Kind { components: 3, across: 2, down: 2, restart: 0, step: 3 };
pub(super) const GRAY: Kind = Kind { components: 1, across: 1, down: 1, ..COLOUR };

const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];
/// Sizes of DC differences, each a code of 4 bits.
const DC_SYMBOLS: usize = 12;
/// Bits of each code of a run and a size.
const AC_CODE_BITS: u32 = 8;

/// Run and size of every AC code, in the order of the codes.
fn ac_symbols() -> Vec<u8> {
    let runs = (0..16u8).flat_map(|run| (1..=10u8).map(move |size| run << 4 | size));
    [0x00, 0xF0].into_iter().chain(runs).collect()
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, length: u32) {
        for place in (0..length).rev() {
            self.pending = self.pending << 1 | (value >> place & 1);
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.pending as u8);
                if self.pending == 0xFF {
                    self.bytes.push(0);
                }
                (self.pending, self.count) = (0, 0);
            }
        }
    }

    fn fill(&mut self) {
        while self.count != 0 {
            self.put(1, 1);
        }
    }

    fn magnitude(&mut self, value: i32) {
        let size = size(value);
        let bits = if value < 0 { value - 1 } else { value };
        self.put(bits as u32 & ((1 << size) - 1), size);
    }
}

fn size(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}

/// A plane of samples, whose edges go on for ever.
struct Plane {
    samples: Vec<f64>,
    width: usize,
    height: usize,
}

impl Plane {
    fn at(&self, x: usize, y: usize) -> f64 {
        self.samples[y.min(self.height - 1) * self.width + x.min(self.width - 1)]
    }

    fn shrunk(&self, across: usize, down: usize) -> Self {
        let (width, height) = (self.width.div_ceil(across), self.height.div_ceil(down));
        let mean = |x: usize, y: usize| {
            let covered = (0..down).flat_map(|line| (0..across).map(move |column| (column, line)));
            let sum: f64 = covered.map(|(column, line)| self.at(x * across + column, y * down + line)).sum();
            sum / (across * down) as f64
        };
        let samples = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| mean(x, y)).collect();
        Self { samples, width, height }
    }

    /// Quantized coefficients of a block, in their order in the file.
    fn block(&self, left: usize, top: usize, step: f64) -> [i32; 64] {
        let wave = |place: usize, frequency: usize| {
            let weight = if frequency == 0 { 1.0 / SQRT_2 } else { 1.0 };
            weight * (((2 * place + 1) * frequency) as f64 * PI / 16.0).cos() / 2.0
        };
        let mut lines = [[0.0; 8]; 8];
        for (y, line) in lines.iter_mut().enumerate() {
            for (u, coefficient) in line.iter_mut().enumerate() {
                *coefficient = (0..8).map(|x| (self.at(left + x, top + y) - 128.0) * wave(x, u)).sum();
            }
        }
        ZIGZAG.map(|place| {
            let (u, v) = (place % 8, place / 8);
            ((0..8).map(|y| lines[y][u] * wave(y, v)).sum::<f64>() / step).round() as i32
        })
    }
}

/// A file of the picture that `colour` gives the pixels of.
pub(super) fn encode(kind: Kind, width: usize, height: usize, colour: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
    let plane = |weights: [f64; 3], zero: f64| {
        let sample = |x, y| {
            let sum: f64 = colour(x, y).iter().zip(weights).map(|(value, weight)| f64::from(*value) * weight).sum();
            sum + zero
        };
        let samples = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| sample(x, y)).collect();
        Plane { samples, width, height }
    };
    let mut planes = vec![(plane([0.299, 0.587, 0.114], 0.0), kind.across, kind.down)];
    if kind.components == 3 {
        for weights in [[-0.168_736, -0.331_264, 0.5], [0.5, -0.418_688, -0.081_312]] {
            planes.push((plane(weights, 128.0).shrunk(kind.across, kind.down), 1, 1));
        }
    }

    let mut bytes = vec![0xFF, 0xD8];
    let mut segment = |marker: u8, body: &[u8]| {
        bytes.extend_from_slice(&[0xFF, marker]);
        bytes.extend_from_slice(&(body.len() as u16 + 2).to_be_bytes());
        bytes.extend_from_slice(body);
    };
    segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    segment(0xDB, &[[0].as_slice(), &[kind.step; 64]].concat());
    let mut dc = vec![0x00, 0, 0, 0, DC_SYMBOLS as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    dc.extend(0..DC_SYMBOLS as u8);
    segment(0xC4, &dc);
    let symbols = ac_symbols();
    let mut ac = vec![0x10];
    ac.extend((1..=16).map(|length| if length == AC_CODE_BITS { symbols.len() as u8 } else { 0 }));
    ac.extend_from_slice(&symbols);
    segment(0xC4, &ac);
    if kind.restart > 0 {
        segment(0xDD, &kind.restart.to_be_bytes());
    }
    let mut frame = vec![8];
    frame.extend_from_slice(&(height as u16).to_be_bytes());
    frame.extend_from_slice(&(width as u16).to_be_bytes());
    frame.push(kind.components as u8);
    let mut scan = vec![kind.components as u8];
    for (number, (_, across, down)) in planes.iter().enumerate() {
        frame.extend_from_slice(&[number as u8 + 1, (*across as u8) << 4 | *down as u8, 0]);
        scan.extend_from_slice(&[number as u8 + 1, 0]);
    }
    scan.extend_from_slice(&[0, 63, 0]);
    segment(0xC0, &frame);
    segment(0xDA, &scan);

    let mut bits = Bits::default();
    let mut predictions = vec![0; planes.len()];
    let mut number = 0usize;
    for mcu_y in 0..height.div_ceil(8 * kind.down) {
        for mcu_x in 0..width.div_ceil(8 * kind.across) {
            if kind.restart > 0 && number > 0 && number.is_multiple_of(usize::from(kind.restart)) {
                bits.fill();
                let marker = 0xD0 + ((number / usize::from(kind.restart) - 1) % 8) as u8;
                bits.bytes.extend_from_slice(&[0xFF, marker]);
                predictions.fill(0);
            }
            number += 1;
            for ((plane, across, down), prediction) in planes.iter().zip(&mut predictions) {
                for (row, column) in (0..*down).flat_map(|row| (0..*across).map(move |column| (row, column))) {
                    let (left, top) = ((mcu_x * across + column) * 8, (mcu_y * down + row) * 8);
                    put_block(&mut bits, &plane.block(left, top, f64::from(kind.step)), prediction, &symbols);
                }
            }
        }
    }
    bits.fill();
    bytes.extend_from_slice(&bits.bytes);
    bytes.extend_from_slice(&[0xFF, 0xD9]);
    bytes
}

fn put_block(bits: &mut Bits, coefficients: &[i32; 64], prediction: &mut i32, symbols: &[u8]) {
    let code = |symbol: u8| symbols.iter().position(|known| *known == symbol).unwrap() as u32;
    let difference = coefficients[0] - *prediction;
    *prediction = coefficients[0];
    bits.put(size(difference), 4);
    bits.magnitude(difference);
    let mut run = 0;
    for value in &coefficients[1..] {
        if *value == 0 {
            run += 1;
            continue;
        }
        while run > 15 {
            bits.put(code(0xF0), AC_CODE_BITS);
            run -= 16;
        }
        bits.put(code((run as u8) << 4 | size(*value) as u8), AC_CODE_BITS);
        bits.magnitude(*value);
        run = 0;
    }
    if run > 0 {
        bits.put(code(0), AC_CODE_BITS);
    }
}
