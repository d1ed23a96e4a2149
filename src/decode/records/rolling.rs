//! Checksums over a window that moves on by a byte at a time.
//!
//! A CRC is linear, but for a constant: that of zeros. Without it, a byte that comes in is taken as every byte is, and one
//! that went out is taken back as what has become of it by then, behind all the bytes of the window.

use crc::{Crc, Table};

/// What a byte that comes in and one that goes out do to a checksum.
pub(super) enum Steps {
    Crc(Box<CrcSteps>),
    Sum,
    Xor,
}

pub(super) struct CrcSteps {
    /// 16 or 32.
    bits: u32,
    /// The low bits come first.
    is_reflected: bool,
    /// The checksum of a window of zeros.
    of_zeros: u32,
    /// By the byte that comes in, together with the first eight bits of the register.
    come: [u32; 256],
    /// By the byte that goes out.
    gone: [u32; 256],
}

impl Steps {
    pub(super) fn of_crc16(crc: &Crc<u16, Table<16>>, window_bytes: usize) -> Self {
        let checksum = |first: u8, zeros: usize| {
            let mut digest = crc.digest();
            update(first, zeros, |bytes| digest.update(bytes));
            u32::from(digest.finalize())
        };
        Self::Crc(Box::new(CrcSteps::new(16, crc.algorithm.refin, window_bytes, checksum)))
    }

    pub(super) fn of_crc32(crc: &Crc<u32, Table<16>>, window_bytes: usize) -> Self {
        let checksum = |first: u8, zeros: usize| {
            let mut digest = crc.digest();
            update(first, zeros, |bytes| digest.update(bytes));
            digest.finalize()
        };
        Self::Crc(Box::new(CrcSteps::new(32, crc.algorithm.refin, window_bytes, checksum)))
    }

    /// The checksum of the window, moved on: `gone` are the first bytes of the last one, `come` are as many behind it.
    pub(super) fn take(&self, sum: u32, gone: &[u8], come: &[u8]) -> u32 {
        let bytes = gone.iter().zip(come);
        match self {
            Self::Crc(steps) => {
                let register = bytes.fold(sum ^ steps.of_zeros, |register, (gone, come)| {
                    steps.with(register, *come) ^ at(&steps.gone, u32::from(*gone))
                });
                register ^ steps.of_zeros
            }
            Self::Sum => {
                bytes.fold(sum, |sum, (gone, come)| sum.wrapping_add(u32::from(*come)).wrapping_sub(u32::from(*gone)))
            }
            Self::Xor => bytes.fold(sum, |sum, (gone, come)| sum ^ u32::from(*come) ^ u32::from(*gone)),
        }
    }
}

impl CrcSteps {
    /// `checksum`: of a byte with so many zeros behind it.
    fn new(bits: u32, is_reflected: bool, window_bytes: usize, checksum: impl Fn(u8, usize) -> u32) -> Self {
        // The tables are linear, so that eight of their entries give the others.
        let table = |zeros: usize| {
            let of_zeros = checksum(0, zeros);
            let of_bits: [u32; 8] = std::array::from_fn(|bit| checksum(1 << bit, zeros) ^ of_zeros);
            std::array::from_fn(|byte| {
                let set = of_bits.iter().enumerate().filter(|(bit, _)| byte >> bit & 1 == 1);
                set.fold(0, |sum, (_, of_bit)| sum ^ of_bit)
            })
        };
        let of_zeros = checksum(0, window_bytes.saturating_sub(1));
        Self { bits, is_reflected, of_zeros, come: table(0), gone: table(window_bytes) }
    }

    fn with(&self, register: u32, byte: u8) -> u32 {
        let byte = u32::from(byte);
        if self.is_reflected {
            at(&self.come, register ^ byte) ^ register >> 8
        } else {
            let register = at(&self.come, register >> (self.bits - 8) ^ byte) ^ register << 8;
            register & (u32::MAX >> (32 - self.bits))
        }
    }
}

fn at(table: &[u32; 256], place: u32) -> u32 {
    table.get((place & 0xFF) as usize).copied().unwrap_or_default()
}

/// Takes `first` and so many zeros.
fn update(first: u8, zeros: usize, mut take: impl FnMut(&[u8])) {
    const ZEROS: [u8; 4096] = [0; 4096];
    take(&[first]);
    let mut left = zeros;
    while left > 0 {
        let now = left.min(ZEROS.len());
        take(ZEROS.get(..now).unwrap_or_default());
        left -= now;
    }
}
