//! The options of `records`, `csv`, `gps`, `npy` and `command`.

use std::time::Duration;

use crate::npy::{Scalar, TimeUnit};

/// A value, or several of one type, at its place in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The field of a structured dtype; `None` for the elements of a plain one.
    pub name: Option<String>,
    /// Bytes from the start of the row.
    pub offset: usize,
    pub scalar: Scalar,
    /// Of a datetime or timedelta.
    pub unit: Option<TimeUnit>,
    /// At least 1; the values lie one behind the other.
    pub count: usize,
}

impl Slot {
    /// Bytes of all its values.
    pub fn bytes(&self) -> usize {
        self.scalar.bytes * self.count
    }
}

/// What becomes of a source in which a record, line or sentence is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    Reject,
    /// It is left out, counted, and told of in the ledger.
    Skip,
}

/// `[dataset.records]`
#[derive(Debug, Clone, PartialEq)]
pub struct RecordsOptions {
    /// Bytes before the first record.
    pub skip: u64,
    /// Bytes of one record, marker and checksum included.
    pub length: usize,
    /// Empty: the bytes of the record are those of the row.
    pub fields: Vec<RecordField>,
    /// Bytes with which each record begins; empty for none.
    pub sync: Vec<u8>,
    pub checksum: Option<RecordChecksum>,
    pub on_error: OnError,
    /// Complete records are taken from a file that is still being written.
    pub follow: bool,
}

/// One of `fields`: where its values lie in a record, and where they go.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordField {
    pub name: String,
    pub slot: Slot,
    /// Bytes from the start of the record.
    pub offset: usize,
    pub scalar: Scalar,
    pub unit: Option<TimeUnit>,
    /// Some bits of an integer, from the least significant: the first, and how many.
    pub bits: Option<(u32, u32)>,
    /// `value * scale + add`
    pub scale: Coefficient,
    pub add: Coefficient,
}

/// A finite number that values are multiplied with, or that is added to them. One value has one form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Coefficient {
    /// Every whole number of 64 bits: beyond 2^53 an `f8` holds only some of them.
    Whole(i64),
    Real(f64),
}

impl Coefficient {
    /// The nearest `f8`.
    pub fn real(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Real(value) => value,
        }
    }
}

impl From<f64> for Coefficient {
    fn from(value: f64) -> Self {
        let is_whole = value.fract() == 0.0 && value.abs() < -(i64::MIN as f64);
        if is_whole { Self::Whole(value as i64) } else { Self::Real(value) }
    }
}

/// `checksum = { kind = "crc32", offset = 28, over = [0, 28] }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChecksum {
    pub kind: ChecksumKind,
    /// Where it stands in the record.
    pub offset: usize,
    pub big_endian: bool,
    /// The bytes that it is over.
    pub from: usize,
    pub to: usize,
}

/// The parameters of the CRCs are those of the catalogue at reveng.sourceforge.io/crc-catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumKind {
    /// CRC-16/IBM-3740, often called CCITT-FALSE.
    Crc16Ccitt,
    /// CRC-16/XMODEM.
    Crc16Xmodem,
    /// CRC-16/KERMIT.
    Crc16Kermit,
    /// CRC-16/MODBUS.
    Crc16Modbus,
    /// CRC-16/ARC.
    Crc16Arc,
    /// CRC-32/ISO-HDLC: that of zlib and Ethernet.
    Crc32,
    /// CRC-32/ISCSI: Castagnoli.
    Crc32c,
    /// The sum of the bytes, modulo 256, 65536, 2^32.
    Sum8,
    Sum16,
    Sum32,
    /// All bytes, combined by exclusive or.
    Xor8,
}

impl ChecksumKind {
    /// Bytes that it takes in a record.
    pub fn bytes(self) -> usize {
        match self {
            Self::Sum8 | Self::Xor8 => 1,
            Self::Crc16Ccitt
            | Self::Crc16Xmodem
            | Self::Crc16Kermit
            | Self::Crc16Modbus
            | Self::Crc16Arc
            | Self::Sum16 => 2,
            Self::Crc32 | Self::Crc32c | Self::Sum32 => 4,
        }
    }
}

/// `[dataset.csv]`
#[derive(Debug, Clone, PartialEq)]
pub struct CsvOptions {
    pub delimiter: u8,
    pub quote: Option<u8>,
    pub comment: Option<u8>,
    pub header: bool,
    /// One for each value of a row, in the row's order.
    pub columns: Vec<CsvColumn>,
    /// Whether a file may have more columns than these.
    pub others: bool,
    /// Words that stand for a missing value.
    pub missing: Vec<String>,
    pub time_format: TimeFormat,
    pub on_error: OnError,
    /// Complete lines are taken from a file that is still being written.
    pub follow: bool,
}

/// A column of the file and the value that it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvColumn {
    pub from: ColumnFrom,
    /// Of one value.
    pub slot: Slot,
    /// Its texts are times, by `time_format`.
    pub is_time: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnFrom {
    /// As in the header.
    Name(String),
    /// From 0.
    Place(usize),
}

/// How times are written in a CSV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339, also with a space for the `T`; without an offset it is UTC.
    Rfc3339,
    /// A decimal number of these since 1970.
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// `[dataset.gps]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpsOptions {
    /// What goes where in the row.
    pub fields: Vec<(GpsField, Slot)>,
    /// Days since 1970 of the first fix, for NMEA logs whose sentences tell none.
    pub date: Option<i64>,
    pub on_error: OnError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpsField {
    /// UTC: seconds since 1970, or a datetime.
    Time,
    /// Degrees, north positive.
    Latitude,
    /// Degrees, east positive.
    Longitude,
    /// Metres above mean sea level.
    Altitude,
    /// Metres a second over ground.
    Speed,
    /// Degrees from true north, clockwise.
    Course,
}

/// `[dataset.npy]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpyOptions {
    /// The array of an `.npz` archive.
    pub member: Option<String>,
    pub byte_order: ChunkOrder,
}

/// What becomes of an array whose dtype has the other byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkOrder {
    Exact,
    Convert,
}

/// `[dataset.command]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOptions {
    /// The program and its words, each with its placeholders.
    pub argv: Vec<String>,
    pub output: CommandOutput,
    /// Whether it is kept running and told of one source after the other.
    pub worker: bool,
    /// How long it may keep us waiting for one source.
    pub timeout: Duration,
    /// Bytes of its address space.
    pub memory_bytes: u64,
    /// Bytes of its output for one source.
    pub output_bytes_max: u64,
}

/// What a program writes to its standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandOutput {
    Npy,
    Raw,
}
