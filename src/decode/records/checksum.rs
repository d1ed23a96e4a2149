//! The checksum of a record.

use crc::{
    CRC_16_ARC, CRC_16_IBM_3740, CRC_16_KERMIT, CRC_16_MODBUS, CRC_16_XMODEM, CRC_32_ISCSI, CRC_32_ISO_HDLC, Crc, Table,
};

use crate::config::{ChecksumKind, RecordChecksum};

/// Where it stands, what it is over, and how it is made.
pub(super) struct Checksum {
    options: RecordChecksum,
    method: Method,
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
        Self { options: options.clone(), method }
    }

    pub(super) fn check(&self, record: &[u8]) -> Result<(), String> {
        let RecordChecksum { kind, offset, big_endian, from, to } = &self.options;
        let bytes = record.get(*from..*to).unwrap_or_default();
        let found = record.get(*offset..*offset + kind.bytes()).unwrap_or_default();
        let add = |value: u32, byte: &u8| value << 8 | u32::from(*byte);
        let found = if *big_endian { found.iter().fold(0, add) } else { found.iter().rev().fold(0, add) };
        let wide = match &self.method {
            Method::Crc16(crc) => u32::from(crc.checksum(bytes)),
            Method::Crc32(crc) => crc.checksum(bytes),
            Method::Sum => bytes.iter().fold(0, |sum: u32, byte| sum.wrapping_add(u32::from(*byte))),
            Method::Xor => bytes.iter().fold(0, |sum, byte| sum ^ u32::from(*byte)),
        };
        let digits = kind.bytes() * 2;
        let right = if kind.bytes() == 4 { wide } else { wide & ((1 << (8 * kind.bytes())) - 1) };
        if found == right {
            return Ok(());
        }
        Err(format!("its checksum is {found:0digits$X}, expected {right:0digits$X} for its bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
