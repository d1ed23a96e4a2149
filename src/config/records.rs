//! `[dataset.records]`: where the values of a row lie in a binary record.

use super::choice::{Choice, choices};
use super::item::Item;
use super::row::RowDraft;
use super::section::Section;
use super::slots;
use super::suggest::{near, quoted_list};
use super::world::{ChecksumKind, Coefficient, OnError, RecordChecksum, RecordField, RecordsOptions, Slot};
use crate::npy::{Dtype, Kind, Scalar, TimeUnit};
use crate::quantity::number_of;

/// The longest record: 64 MiB. Records are read in blocks of several.
const LENGTH_MAX: u64 = 64 << 20;
/// The longest marker, in bytes.
const SYNC_BYTES_MAX: usize = 64;
const FIELDS_MAX: usize = 4096;

choices! {
    ChecksumKind {
        Crc16Ccitt = "crc16-ccitt",
        Crc16Xmodem = "crc16-xmodem",
        Crc16Kermit = "crc16-kermit",
        Crc16Modbus = "crc16-modbus",
        Crc16Arc = "crc16-arc",
        Crc32 = "crc32",
        Crc32c = "crc32c",
        Sum8 = "sum8",
        Sum16 = "sum16",
        Sum32 = "sum32",
        Xor8 = "xor8",
    }
    End { Little = "little", Big = "big" }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Little,
    Big,
}

pub(super) fn read(section: Section<'_>, row: &RowDraft<'_>) -> Option<RecordsOptions> {
    let skip = section.item("skip").map_or(Some(0), |item| item.integer(0..=u64::MAX >> 1, "a number of bytes"));
    let sync = section.item("sync").map_or(Some(Vec::new()), |item| read_sync(&item));
    let length_item = section.item("length");
    let length = length_item.as_ref().map(|item| item.integer(1..=LENGTH_MAX, "the bytes of one record"));
    let fields_item = section.item("fields");
    let row_bytes = row.finish().map(|row| row.row_bytes());
    let length = match (length, &fields_item) {
        (Some(length), _) => length.and_then(|length| usize::try_from(length).ok()),
        (None, None) => row_bytes,
        (None, Some(item)) => {
            item.fault("the record's `length` is missing: with `fields` it cannot be told from the row");
            None
        }
    };
    if let (Some(item), None, Some(length), Some(row_bytes)) = (&length_item, &fields_item, length, row_bytes)
        && length != row_bytes
    {
        item.fault_with_help(
            format!("found {length}, but a row takes {row_bytes} bytes, and without `fields` the record is the row"),
            "list the values of the record in `fields`",
        );
        return None;
    }
    let fields = match &fields_item {
        Some(item) => slots::read(row, "records").and_then(|slots| read_fields(item, &slots, length)),
        None => Some(Vec::new()),
    };
    if let (Some(item), Some(sync), Some(length)) = (section.item("sync"), &sync, length)
        && sync.len() > length
    {
        let bytes = number_of(sync.len() as u64, "byte", "bytes");
        item.fault(format!("found a marker of {bytes}, but a record has {length}"));
    }
    let checksum = section.item("checksum").map(|item| read_checksum(&item, length));
    let is_checked = checksum.is_some() || sync.as_ref().is_some_and(|sync| !sync.is_empty());
    let default = if sync.as_ref().is_some_and(|sync| !sync.is_empty()) { OnError::Skip } else { OnError::Reject };
    let on_error = section.choice("on_error", default);
    let follow = section.flag("follow", false);
    if let Some(item) = section.item("on_error")
        && on_error == OnError::Skip
        && !is_checked
        && follow
    {
        item.fault_with_help(
            "has no effect: without `sync` and `checksum` no record can be found to be bad, and with `follow` the last one \
             is waited for",
            "remove the line",
        );
    }
    section.finish();
    Some(RecordsOptions {
        skip: skip?,
        length: length?,
        fields: fields?,
        sync: sync?,
        checksum: checksum.map_or(Some(None), |checksum| checksum.map(Some))?,
        on_error,
        follow,
    })
}

/// `"AA55"` or `[0xAA, 0x55]`.
fn read_sync(item: &Item<'_>) -> Option<Vec<u8>> {
    const WHAT: &str = "the bytes of the marker, such as [0xAA, 0x55] or \"AA55\"";
    let bytes: Option<Vec<u8>> = if item.value.get_ref().is_array() {
        let elements = item.elements(WHAT)?;
        let bytes: Vec<_> = elements.iter().map(|element| element.integer(0..=255, "a byte")).collect();
        bytes.into_iter().map(|byte| byte.and_then(|byte| u8::try_from(byte).ok())).collect()
    } else {
        let text = item.text(WHAT)?;
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let pairs = digits.filter(|digits| digits.len().is_multiple_of(2)).map(|digits| {
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect::<Vec<u8>>()
        });
        if pairs.is_none() {
            item.fault(format!("found {}, expected {WHAT}", item.found()));
        }
        pairs
    };
    let bytes = bytes?;
    if bytes.is_empty() || bytes.len() > SYNC_BYTES_MAX {
        item.fault(format!("found {} bytes, expected a marker of 1 to {SYNC_BYTES_MAX} bytes", bytes.len()));
        return None;
    }
    Some(bytes)
}

fn read_checksum(item: &Item<'_>, length: Option<usize>) -> Option<RecordChecksum> {
    const EXAMPLE: &str = "{ kind = \"crc32\", offset = 28 }";
    let Some(section) = Section::of(item) else {
        item.fault(format!("found {}, expected a table such as {EXAMPLE}", item.found()));
        return None;
    };
    let kind = section.required("kind", "\"crc32\"").and_then(|item| item.choice::<ChecksumKind>());
    let offset_item = section.required("offset", "28");
    let offset = offset_item.as_ref().and_then(|item| item.integer(0..=LENGTH_MAX, "a number of bytes"));
    let end = section.choice("order", End::Little);
    let over_item = section.item("over");
    let over = over_item.as_ref().map(read_range);
    section.finish();
    let (kind, length) = (kind?, length?);
    let offset = usize::try_from(offset?).ok()?;
    if offset + kind.bytes() > length {
        offset_item?.fault(format!(
            "found {offset}, but a checksum of {} bytes there ends behind the record of {length}",
            kind.bytes()
        ));
        return None;
    }
    let (from, to) = over.unwrap_or(Some((0, offset)))?;
    let place = over_item.as_ref().unwrap_or(item);
    if from >= to || to > length {
        place.fault(format!("the checksum is over bytes {from} to {to}, expected at least one byte within {length}"));
        return None;
    }
    if from < offset + kind.bytes() && offset < to {
        place.fault(format!("the checksum is over bytes {from} to {to}, and stands at {offset}, among them"));
        return None;
    }
    Some(RecordChecksum { kind, offset, big_endian: end == End::Big, from, to })
}

/// `[from, to]`, the end not included.
fn read_range(item: &Item<'_>) -> Option<(usize, usize)> {
    const WHAT: &str = "the first byte and the end, such as [0, 28]";
    let elements = item.elements(WHAT)?;
    let [from, to] = elements.as_slice() else {
        item.fault(format!("found {}, expected {WHAT}", item.found()));
        return None;
    };
    let read = |item: &Item<'_>| {
        item.integer(0..=LENGTH_MAX, "a number of bytes").and_then(|bytes| usize::try_from(bytes).ok())
    };
    let (from, to) = (read(from), read(to));
    Some((from?, to?))
}

/// One field at a time; `next` is where the one before ended.
fn read_fields(item: &Item<'_>, slots: &[Slot], length: Option<usize>) -> Option<Vec<RecordField>> {
    let elements = item.elements("an array of fields such as { name = \"x\", offset = 0, dtype = \"<i2\" }")?;
    if elements.is_empty() || elements.len() > FIELDS_MAX {
        item.fault(format!("found {} fields, expected 1 to {FIELDS_MAX}", elements.len()));
        return None;
    }
    let is_plain = slots.iter().all(|slot| slot.name.is_none());
    let mut places = Places { slots, is_plain, taken: vec![false; slots.len()], next_slot: 0, next_offset: 0 };
    let fields: Vec<_> = elements.iter().map(|element| read_field(element, &mut places, length)).collect();
    let fields = fields.into_iter().collect::<Option<Vec<_>>>()?;
    let left: Vec<_> = slots.iter().zip(&places.taken).filter(|(_, taken)| !**taken).map(|(slot, _)| slot).collect();
    if !left.is_empty() {
        if is_plain {
            let (given, wanted) = (slots.len() - left.len(), slots.len());
            item.fault(format!("found {}, but a row has {wanted}", number_of(given as u64, "value", "values")));
        } else {
            let names = quoted_list('"', left.iter().filter_map(|slot| slot.name.as_deref()));
            item.fault(format!("the row's {names} is not among the fields, so it would have no value"));
        }
        return None;
    }
    Some(fields)
}

struct Places<'a> {
    slots: &'a [Slot],
    is_plain: bool,
    taken: Vec<bool>,
    next_slot: usize,
    next_offset: usize,
}

impl Places<'_> {
    /// The slot for the next field: by its name, or the next elements of a plain row.
    fn take(&mut self, name: &str, count: Option<usize>, item: &Item<'_>) -> Option<Slot> {
        if self.is_plain {
            let count = count.unwrap_or(1);
            let first = self.next_slot;
            let Some(slot) = self.slots.get(first).filter(|_| first + count <= self.slots.len()) else {
                item.fault(format!("there are more values than the {} of a row", self.slots.len()));
                return None;
            };
            self.next_slot += count;
            for taken in self.taken.iter_mut().skip(first).take(count) {
                *taken = true;
            }
            return Some(Slot { count, ..slot.clone() });
        }
        let names = || self.slots.iter().filter_map(|slot| slot.name.as_deref());
        let Some(at) = self.slots.iter().position(|slot| slot.name.as_deref() == Some(name)) else {
            let message = format!("\"{name}\" is not a field of the dtype, which has {}", quoted_list('"', names()));
            match near(name, names()) {
                Some(near) => item.fault_with_help(message, format!("did you mean \"{near}\"?")),
                None => item.fault(message),
            }
            return None;
        };
        let slot = self.slots.get(at)?;
        if std::mem::replace(self.taken.get_mut(at)?, true) {
            item.fault(format!("\"{name}\" stands in `fields` twice"));
            return None;
        }
        if let Some(count) = count.filter(|count| *count != slot.count) {
            item.fault(format!("`count` is {count}, but \"{name}\" of the dtype has {} values", slot.count));
            return None;
        }
        Some(slot.clone())
    }
}

fn read_field(item: &Item<'_>, places: &mut Places<'_>, length: Option<usize>) -> Option<RecordField> {
    let Some(section) = Section::of(item) else {
        item.fault(format!(
            "found {}, expected a table such as {{ name = \"x\", offset = 0, dtype = \"<i2\" }}",
            item.found()
        ));
        return None;
    };
    let name = match section.item("name") {
        Some(item) => item.text("the name of a field").map(str::to_owned),
        None if places.is_plain => Some(format!("value {}", places.next_slot)),
        None => section.required("name", "\"x\"").map(|_| String::new()),
    };
    let bytes = |name| section.item(name).map(|item| item.integer(0..=LENGTH_MAX, "a number of bytes"));
    let offset = bytes("offset");
    let count = section.item("count").map(|item| item.integer(1..=LENGTH_MAX, "a number of values"));
    let dtype_item = section.item("dtype");
    let dtype = dtype_item.as_ref().map(read_scalar);
    let bits_item = section.item("bits");
    let bits = bits_item.as_ref().map(read_bits);
    let number =
        |name, default| section.item(name).map_or(Some(Coefficient::Whole(default)), |item| item.coefficient());
    let (scale, add) = (number("scale", 1), number("add", 0));
    section.finish();

    let count = count.map_or(Some(None), |count| count.and_then(|count| usize::try_from(count).ok()).map(Some))?;
    let slot = places.take(&name?, count, item)?;
    let name = slot.name.clone().unwrap_or_else(|| format!("value {}", slot.offset / slot.scalar.bytes.max(1)));
    let (scalar, unit) = dtype.unwrap_or(Some((slot.scalar, slot.unit)))?;
    let offset = match offset {
        Some(offset) => usize::try_from(offset?).ok()?,
        None => places.next_offset,
    };
    let end = offset + scalar.bytes * slot.count;
    if length.is_some_and(|length| end > length) {
        item.fault(format!("\"{name}\" takes bytes {offset} to {end}, but a record has {}", length.unwrap_or(0)));
        return None;
    }
    places.next_offset = end;
    let bits = bits.map_or(Some(None), |bits| bits.map(Some))?;
    if let (Some((first, count)), Some(item)) = (bits, &bits_item) {
        let is_integer = matches!(scalar.kind, Kind::Uint | Kind::Int);
        if !is_integer || (first + count) as usize > scalar.bytes * 8 {
            item.fault(format!(
                "found bits {first} to {}, expected bits of an integer: \"{name}\" has {} bits",
                first + count,
                if is_integer { scalar.bytes * 8 } else { 0 }
            ));
            return None;
        }
    }
    let (scale, add) = (scale?, add?);
    let field = RecordField { name, slot, offset, scalar, unit, bits, scale, add };
    check_conversion(item, &field)?;
    Some(field)
}

fn read_scalar(item: &Item<'_>) -> Option<(Scalar, Option<TimeUnit>)> {
    let text = item.text("a NumPy dtype such as \"<i2\"")?;
    match Dtype::parse(text) {
        Ok(dtype) => match dtype.scalar().filter(|scalar| scalar.bytes > 0) {
            Some(scalar) => Some((scalar, dtype.time_unit())),
            None => {
                item.fault(format!("found {}, expected one number, time or string", item.found()));
                None
            }
        },
        Err(error) => {
            item.fault(error.to_string());
            None
        }
    }
}

fn read_bits(item: &Item<'_>) -> Option<(u32, u32)> {
    const WHAT: &str = "the first bit, counted from the least significant, and the number of bits, such as [4, 2]";
    let elements = item.elements(WHAT)?;
    let [first, count] = elements.as_slice() else {
        item.fault(format!("found {}, expected {WHAT}", item.found()));
        return None;
    };
    let (first, count) = (first.integer(0..=63, "a bit"), count.integer(1..=64, "a number of bits"));
    Some((u32::try_from(first?).ok()?, u32::try_from(count?).ok()?))
}

/// Whether the values of the record can become those of the row.
fn check_conversion(item: &Item<'_>, field: &RecordField) -> Option<()> {
    let RecordField { name, slot, scalar, unit, bits, scale, add, .. } = field;
    let is_scaled = *scale != Coefficient::Whole(1) || *add != Coefficient::Whole(0);
    let is_number = |scalar: &Scalar| match scalar.kind {
        Kind::Bool | Kind::Int | Kind::Uint => true,
        Kind::Float => scalar.bytes <= 8,
        _ => false,
    };
    if *scale == Coefficient::Whole(0) {
        item.fault(format!("\"{name}\" has scale 0: all its values would be alike"));
        return None;
    }
    let is_same = scalar.kind == slot.scalar.kind && scalar.bytes == slot.scalar.bytes && *unit == slot.unit;
    let is_time_of_integer =
        matches!(slot.scalar.kind, Kind::Datetime | Kind::Timedelta) && matches!(scalar.kind, Kind::Int | Kind::Uint);
    if (is_same && bits.is_none() && !is_scaled)
        || (is_number(scalar) && (is_number(&slot.scalar) || is_time_of_integer))
    {
        return Some(());
    }
    item.fault_with_help(
        format!("\"{name}\" cannot become what the row has there"),
        "numbers become numbers, integers become times; everything else keeps its dtype, without `bits`, `scale` and `add`",
    );
    None
}
