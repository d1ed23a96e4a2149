//! The keys of `records`, `csv`, `gps`, `npy` and `command` that give rows their meaning. All structures are taken apart
//! without `..`, so that a new option cannot be forgotten here.

use super::super::choice::Choice;
use super::super::world::{
    ColumnFrom, CommandOptions, CsvColumn, CsvOptions, GpsOptions, NpyOptions, RecordChecksum, RecordField,
    RecordsOptions, Slot,
};
use super::{Keys, list, number};

pub(super) fn records(options: &RecordsOptions, keys: &mut Keys) {
    // A row that is there means the same, whatever becomes of bad ones.
    let RecordsOptions { skip, length, fields, sync, checksum, on_error: _, follow } = options;
    keys.add("records.skip", skip);
    keys.add("records.length", length);
    keys.add("records.fields", list(fields.iter().map(field)));
    keys.add("records.sync", list(sync.iter().map(u8::to_string)));
    keys.add("records.checksum", checksum.as_ref().map_or("none".to_owned(), check));
    keys.add("records.follow", follow);
}

fn field(field: &RecordField) -> String {
    // The name is in the slot, or means nothing.
    let RecordField { name: _, slot, offset, scalar, unit, bits, scale, add } = field;
    let bits = bits.map_or(String::new(), |(first, count)| format!(", bits {first} + {count}"));
    // As the nearest `f8`, also where whole numbers beyond 2^53 are kept: ledgers have them so since before they were.
    let (scale, add) = (number(scale.real()), number(add.real()));
    format!("{{ {}, at {offset}, {}{bits}, scale {scale}, add {add} }}", place(slot), scalar.descr(*unit))
}

fn check(checksum: &RecordChecksum) -> String {
    let RecordChecksum { kind, offset, big_endian, from, to } = checksum;
    let order = if *big_endian { "big" } else { "little" };
    format!("{{ {}, at {offset}, {order}, over [{from}, {to}] }}", kind.word())
}

pub(super) fn csv(options: &CsvOptions, keys: &mut Keys) {
    let CsvOptions { delimiter, quote, comment, header, columns, others, missing, time_format, on_error: _, follow } =
        options;
    let byte = |byte: Option<u8>| byte.map_or("none".to_owned(), |byte| byte.escape_ascii().to_string());
    keys.add("csv.delimiter", byte(Some(*delimiter)));
    keys.add("csv.quote", byte(*quote));
    keys.add("csv.comment", byte(*comment));
    keys.add("csv.header", header);
    keys.add("csv.columns", list(columns.iter().map(column)));
    keys.add("csv.others", others);
    keys.add("csv.missing", list(missing.iter().map(|word| format!("{word:?}"))));
    keys.add("csv.time_format", time_format.word());
    keys.add("csv.follow", follow);
}

fn column(column: &CsvColumn) -> String {
    let CsvColumn { from, slot, is_time } = column;
    let from = match from {
        ColumnFrom::Name(name) => format!("{name:?}"),
        ColumnFrom::Place(place) => place.to_string(),
    };
    let time = if *is_time { ", time" } else { "" };
    format!("{{ {from} to {}{time} }}", place(slot))
}

pub(super) fn gps(options: &GpsOptions, keys: &mut Keys) {
    let GpsOptions { fields, date, on_error: _ } = options;
    keys.add("gps.fields", list(fields.iter().map(|(field, slot)| format!("{} to {}", field.word(), place(slot)))));
    keys.add("gps.date", date.map_or("none".to_owned(), |days| format!("day {days}")));
}

pub(super) fn npy(options: &NpyOptions, keys: &mut Keys) {
    let NpyOptions { member, byte_order } = options;
    keys.add("npy.member", member.as_ref().map_or("none".to_owned(), |member| format!("{member:?}")));
    keys.add("npy.byte_order", byte_order.word());
}

pub(super) fn command(options: &CommandOptions, keys: &mut Keys) {
    // How it is run, and what it may take, do not change what it gives.
    let CommandOptions { argv, output, worker: _, timeout: _, memory_bytes: _, output_bytes_max: _ } = options;
    keys.add("command.argv", list(argv.iter().map(|word| format!("{word:?}"))));
    keys.add("command.output", output.word());
}

fn place(slot: &Slot) -> String {
    let Slot { name, offset, scalar, unit, count } = slot;
    let name = name.as_ref().map_or(String::new(), |name| format!("{name:?} "));
    format!("{name}[{offset}] {count} x {}", scalar.descr(*unit))
}
