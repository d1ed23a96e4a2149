//! `[dataset.gps]`: which figures of a fix stand where in a row.

use super::choice::{Choice, choices};
use super::item::Item;
use super::row::RowDraft;
use super::section::Section;
use super::slots;
use super::suggest::{near, quoted_list};
use super::world::{GpsField, GpsOptions, OnError, Slot};
use crate::npy::Kind;
use crate::quantity::number_of;

choices! {
    GpsField {
        Time = "time",
        Latitude = "latitude",
        Longitude = "longitude",
        Altitude = "altitude",
        Speed = "speed",
        Course = "course",
    }
}

pub(super) fn read(section: Section<'_>, row: &RowDraft<'_>) -> Option<GpsOptions> {
    let slots = slots::read(row, "gps").and_then(|slots| numbers(&slots, row));
    let fields_item = section.item("fields");
    let fields = match (&fields_item, &slots) {
        (Some(item), slots) => read_fields(item, slots.as_deref()),
        (None, Some(slots)) => default_fields(slots, row),
        (None, None) => None,
    };
    let date = section.item("date").map_or(Some(None), |item| read_date(&item).map(Some));
    let on_error = section.choice("on_error", OnError::Skip);
    section.finish();
    let (slots, fields) = (slots?, fields?);
    let fields: Vec<_> = fields.into_iter().zip(slots).collect();
    for (field, slot) in &fields {
        if slot.scalar.bytes == 4 && *field == GpsField::Time {
            row.dtype.as_ref()?.item.fault_with_help(
                "\"time\" is an \"f4\", which counts seconds since 1970 in steps of 128, expected \"f8\" or \"M8[ns]\"",
                "for example dtype = [[\"time\", \"M8[ns]\"], [\"latitude\", \"f4\"]]",
            );
            return None;
        }
        if slot.scalar.kind == Kind::Datetime && *field != GpsField::Time {
            row.dtype.as_ref()?.item.fault(format!("\"{}\" is a datetime, expected \"f8\" or \"f4\"", field.word()));
            return None;
        }
    }
    Some(GpsOptions { fields, date: date?, on_error })
}

fn numbers(slots: &[Slot], row: &RowDraft<'_>) -> Option<Vec<Slot>> {
    let is_right = |slot: &Slot| {
        slot.count == 1
            && match slot.scalar.kind {
                Kind::Float => matches!(slot.scalar.bytes, 4 | 8),
                Kind::Datetime => {
                    slot.unit.is_some_and(|unit| unit.multiple == 1 && matches!(unit.unit, "s" | "ms" | "us" | "ns"))
                }
                _ => false,
            }
    };
    if !slots.iter().all(is_right) {
        let item = &row.dtype.as_ref()?.item;
        item.fault_with_help(
            format!("found {}, expected \"f8\" or \"f4\" for `gps`, or \"M8[ns]\" for the time", item.found()),
            "for example shape = [6] and dtype = \"f8\", or dtype = [[\"time\", \"M8[ns]\"], [\"latitude\", \"f8\"]]",
        );
        return None;
    }
    Some(slots.to_vec())
}

fn read_fields(item: &Item<'_>, slots: Option<&[Slot]>) -> Option<Vec<GpsField>> {
    let elements = item.elements("an array such as [\"time\", \"latitude\", \"longitude\"]")?;
    let fields: Vec<_> = elements.iter().map(Item::choice::<GpsField>).collect();
    let fields = fields.into_iter().collect::<Option<Vec<_>>>()?;
    let slots = slots?;
    if slots.iter().any(|slot| slot.name.is_some()) {
        item.fault_with_help("has no effect: the fields of the dtype say what stands where", "remove the line");
        return None;
    }
    if fields.len() != slots.len() {
        let found = number_of(fields.len() as u64, "field", "fields");
        item.fault(format!("found {found}, but a row has {}", values(slots.len())));
        return None;
    }
    Some(fields)
}

fn values(count: usize) -> String {
    number_of(count as u64, "value", "values")
}

/// By the names of the dtype's fields, or all six in the order of the words.
fn default_fields(slots: &[Slot], row: &RowDraft<'_>) -> Option<Vec<GpsField>> {
    let words = || GpsField::CHOICES.iter().map(|(word, _)| *word);
    let named: Vec<_> = slots.iter().filter_map(|slot| slot.name.as_deref()).collect();
    if named.is_empty() {
        if slots.len() == GpsField::CHOICES.len() {
            return Some(GpsField::CHOICES.iter().map(|(_, field)| *field).collect());
        }
        let item = row.shape.as_ref().map_or(&row.dtype.as_ref()?.item, |shape| &shape.item);
        item.fault_with_help(
            format!("a row has {}, expected 6: {}", values(slots.len()), quoted_list('"', words())),
            "name those that it has: fields = [\"time\", \"latitude\", \"longitude\"]",
        );
        return None;
    }
    let read = |name: &&str| {
        let found = GpsField::CHOICES.iter().find(|(word, _)| word == name).map(|(_, field)| *field);
        if found.is_none() {
            let item = &row.dtype.as_ref()?.item;
            let message = format!("found a field \"{name}\", expected some of {}", quoted_list('"', words()));
            match near(name, words()) {
                Some(near) => item.fault_with_help(message, format!("did you mean \"{near}\"?")),
                None => item.fault(message),
            }
        }
        found
    };
    let fields: Vec<_> = named.iter().map(read).collect();
    fields.into_iter().collect()
}

/// `"2024-05-01"` as days since 1970.
fn read_date(item: &Item<'_>) -> Option<i64> {
    let text = item.text("a date such as \"2024-05-01\"")?;
    let date = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
    let days = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
    if days.is_none() {
        item.fault(format!("found {}, expected a date such as \"2024-05-01\"", item.found()));
    }
    days.map(|midnight| midnight.timestamp().as_second().div_euclid(86_400))
}
