//! The checksum of a record.

use std::sync::OnceLock;

use super::rolling::Steps;
use crc::{
    CRC_16_ARC, CRC_16_IBM_3740, CRC_16_KERMIT, CRC_16_MODBUS, CRC_16_XMODEM, CRC_32_ISCSI, CRC_32_ISO_HDLC, Crc, Table,
};

use crate::config::{ChecksumKind, RecordChecksum};

/// A step costs so many times what it costs to sum up a byte.
const STEP_COST: usize = 4;

/// Where it stands, what it is over, and how it is made.
pub(super) struct Checksum {
    options: RecordChecksum,
    method: Method,
    /// Made for the first marker that is looked for.
    steps: OnceLock<Steps>,
}

enum Method {
    Crc16(Box<Crc<u16, Table<16>>>),
    Crc32(Box<Crc<u32, Table<16>>>),
    Sum,
    Xor,
}

impl Checksum {
    pub(super) fn new(options: &RecordChecksum) -> Self {
        let crc16 = |parameters| Method::Crc16(Box::new(Crc::<u16, Table<16>>::new(parameters)));
        let crc32 = |parameters| Method::Crc32(Box::new(Crc::<u32, Table<16>>::new(parameters)));
        let method = match options.kind {
            ChecksumKind::Crc16Ccitt => crc16(&CRC_16_IBM_3740),
            ChecksumKind::Crc16Xmodem => crc16(&CRC_16_XMODEM),
            ChecksumKind::Crc16Kermit => crc16(&CRC_16_KERMIT),
            ChecksumKind::Crc16Modbus => crc16(&CRC_16_MODBUS),
            ChecksumKind::Crc16Arc => crc16(&CRC_16_ARC),
            ChecksumKind::Crc32 => crc32(&CRC_32_ISO_HDLC),
            ChecksumKind::Crc32c => crc32(&CRC_32_ISCSI),
            ChecksumKind::Sum8 | ChecksumKind::Sum16 | ChecksumKind::Sum32 => Method::Sum,
            ChecksumKind::Xor8 => Method::Xor,
        };
        Self { options: options.clone(), method, steps: OnceLock::new() }
    }

    fn steps(&self) -> &Steps {
        let bytes = self.options.to - self.options.from;
        self.steps.get_or_init(|| match &self.method {
            Method::Crc16(crc) => Steps::of_crc16(crc, bytes),
            Method::Crc32(crc) => Steps::of_crc32(crc, bytes),
            Method::Sum => Steps::Sum,
            Method::Xor => Steps::Xor,
        })
    }

    pub(super) fn check(&self, record: &[u8]) -> Result<(), String> {
        let RecordChecksum { kind, from, to, .. } = &self.options;
        let (found, right) = (self.found(record), self.cut(self.sum(record.get(*from..*to).unwrap_or_default())));
        if found == right {
            return Ok(());
        }
        let digits = kind.bytes() * 2;
        Err(format!("its checksum is {found:0digits$X}, expected {right:0digits$X} for its bytes"))
    }

    /// The one that stands in the record.
    fn found(&self, record: &[u8]) -> u32 {
        let RecordChecksum { kind, offset, big_endian, .. } = &self.options;
        let found = record.get(*offset..*offset + kind.bytes()).unwrap_or_default();
        let add = |value: u32, byte: &u8| value << 8 | u32::from(*byte);
        if *big_endian { found.iter().fold(0, add) } else { found.iter().rev().fold(0, add) }
    }

    fn sum(&self, bytes: &[u8]) -> u32 {
        match &self.method {
            Method::Crc16(crc) => u32::from(crc.checksum(bytes)),
            Method::Crc32(crc) => crc.checksum(bytes),
            Method::Sum => bytes.iter().fold(0, |sum: u32, byte| sum.wrapping_add(u32::from(*byte))),
            Method::Xor => bytes.iter().fold(0, |sum, byte| sum ^ u32::from(*byte)),
        }
    }

    /// As wide as it stands in the record.
    fn cut(&self, sum: u32) -> u32 {
        let bytes = self.options.kind.bytes();
        if bytes == 4 { sum } else { sum & ((1 << (8 * bytes)) - 1) }
    }
}

/// Checks records that overlap, one behind the other: what the one before was summed up to is taken on byte by byte, so that
/// all of them together take no longer than their bytes, however long a record is.
pub(super) struct Rolling<'a> {
    checksum: &'a Checksum,
    data: &'a [u8],
    /// Where the last one began, and its sum.
    last: Option<(usize, u32)>,
}

impl<'a> Rolling<'a> {
    pub(super) fn new(checksum: &'a Checksum, data: &'a [u8]) -> Self {
        Self { checksum, data, last: None }
    }

    /// Whether the record that begins at `at`, behind the last one that was asked for, is right.
    pub(super) fn is_right(&mut self, at: usize) -> bool {
        let RecordChecksum { from, to, .. } = self.checksum.options;
        let bytes = |from: usize, to: usize| self.data.get(from..to).unwrap_or_default();
        let sum = match self.last {
            Some((last, sum)) if (at - last) * STEP_COST <= to - from => {
                self.checksum.steps().take(sum, bytes(last + from, at + from), bytes(last + to, at + to))
            }
            _ => self.checksum.sum(bytes(at + from, at + to)),
        };
        self.last = Some((at, sum));
        self.checksum.found(bytes(at, self.data.len())) == self.checksum.cut(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rolling on gives what summing up gives, over any number of bytes and any distance.
    #[test]
    fn sums_roll_on() {
        let mut random = fastrand::Rng::with_seed(3);
        let data: Vec<u8> = (0..3000).map(|_| random.u8(..)).collect();
        for kind in [
            ChecksumKind::Crc16Ccitt,
            ChecksumKind::Crc16Xmodem,
            ChecksumKind::Crc16Kermit,
            ChecksumKind::Crc16Modbus,
            ChecksumKind::Crc16Arc,
            ChecksumKind::Crc32,
            ChecksumKind::Crc32c,
            ChecksumKind::Sum8,
            ChecksumKind::Sum16,
            ChecksumKind::Sum32,
            ChecksumKind::Xor8,
        ] {
            for to in [3, 8, 41, 700] {
                let mut data = data.clone();
                let checksum = Checksum::new(&RecordChecksum { kind, offset: to, big_endian: true, from: 2, to });
                let right: Vec<usize> = (0..6).map(|place| 100 + place * 301).collect();
                // The next records have it among their bytes.
                for at in &right {
                    let sum = checksum.cut(checksum.sum(&data[at + 2..at + to])).to_be_bytes();
                    data[at + to..][..kind.bytes()].copy_from_slice(&sum[4 - kind.bytes()..]);
                }
                let mut rolling = Rolling::new(&checksum, &data);
                let (mut at, mut found, mut rolled) = (0, Vec::new(), 0);
                while at < 2200 {
                    let is_right = rolling.is_right(at);
                    assert_eq!(is_right, checksum.check(&data[at..]).is_ok(), "{kind:?} {to} {at}");
                    found.extend(is_right.then_some(at));
                    let next = at + [1, 1, 3, 7, 90, 200][random.usize(..6)];
                    let next = right.iter().copied().find(|right| (at + 1..next).contains(right)).unwrap_or(next);
                    rolled += usize::from((next - at) * STEP_COST <= to - 2);
                    at = next;
                }
                assert!(rolled > 20 || to < 10, "{rolled}");
                assert!(right.iter().all(|right| found.contains(right)), "{kind:?} {to}: {found:?}");
            }
        }
    }

    /// The check values of the catalogue: the checksum of the text 123456789.
    #[test]
    fn the_catalogue_agrees() {
        for (kind, value) in [
            (ChecksumKind::Crc16Ccitt, 0x29B1_u32),
            (ChecksumKind::Crc16Xmodem, 0x31C3),
            (ChecksumKind::Crc16Kermit, 0x2189),
            (ChecksumKind::Crc16Modbus, 0x4B37),
            (ChecksumKind::Crc16Arc, 0xBB3D),
            (ChecksumKind::Crc32, 0xCBF4_3926),
            (ChecksumKind::Crc32c, 0xE306_9283),
            (ChecksumKind::Sum8, 0xDD),
            (ChecksumKind::Sum16, 0x01DD),
            (ChecksumKind::Sum32, 0x01DD),
            (ChecksumKind::Xor8, 0x31),
        ] {
            for big_endian in [false, true] {
                let mut record = b"123456789".to_vec();
                let all = value.to_be_bytes();
                let mut bytes = all[4 - kind.bytes()..].to_vec();
                if !big_endian {
                    bytes.reverse();
                }
                record.extend(&bytes);
                let checksum = Checksum::new(&RecordChecksum { kind, offset: 9, big_endian, from: 0, to: 9 });
                assert_eq!(checksum.check(&record), Ok(()), "{kind:?}");
                record[4] ^= 0x10;
                assert!(checksum.check(&record).is_err(), "{kind:?}");
            }
        }
    }
}
