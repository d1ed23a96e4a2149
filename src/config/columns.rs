//! `[dataset.columns]`: the files beside the rows that say where each row came from.

use super::item::Item;
use super::section::Section;
use super::world::{Columns, Split, SplitBy};

/// How far the fractions of a split may sum to something else than 1.
const SUM_TOLERANCE: f64 = 1e-9;
/// The column stores the part in one byte.
const PARTS_MAX: usize = 256;

/// Decoders whose rows come with their time.
const TIMED: [&str; 4] = ["image", "video", "audio", "gps"];

pub(super) fn read(section: Section<'_>, decoder: Option<&str>) -> Columns {
    if let Some(decoder) = decoder.filter(|decoder| !TIMED.contains(decoder))
        && let Some(item) = section.item("time")
        && item.value.get_ref().as_bool() == Some(true)
    {
        item.fault_with_help(
            format!("rows of `{decoder}` come without a time of their own"),
            "remove the line; a time that the source holds can be a field of the row",
        );
    }
    let columns = Columns {
        source: section.flag("source", true),
        index: section.flag("index", true),
        time: section.flag("time", false),
        label: section.item("label").is_some_and(|item| read_label(&item)),
        split: section.item("split").and_then(|item| read_split(&item)),
    };
    section.finish();
    columns
}

fn read_label(item: &Item<'_>) -> bool {
    let value = item.value.get_ref();
    let is_folder = value.as_str() == Some("folder");
    if !is_folder && value.as_bool() != Some(false) {
        item.fault(format!(
            "found {}, expected \"folder\" (the first folder below the watched one) or false",
            item.found()
        ));
    }
    is_folder
}

fn read_split(item: &Item<'_>) -> Option<Split> {
    const EXAMPLE: &str = "{ train = 0.9, val = 0.1 }";
    if item.value.get_ref().as_bool() == Some(false) {
        return None;
    }
    let Some(section) = Section::of(item) else {
        item.fault(format!("found {}, expected parts with their fractions such as {EXAMPLE}", item.found()));
        return None;
    };
    let by = section.choice("by", SplitBy::Source);
    let mut parts = Vec::new();
    let mut all_read = true;
    for (name, name_span, item) in section.entries() {
        if name == "by" {
            continue;
        }
        if !is_identifier(name) {
            section.report().fault(
                name_span,
                &item.key,
                format!("found {name:?}, expected a name of letters, digits and `_` that begins with no digit"),
                None,
            );
            all_read = false;
        }
        match read_fraction(&item) {
            Some(fraction) => parts.push((name.to_owned(), fraction)),
            None => all_read = false,
        }
    }
    if !all_read {
        return None;
    }
    if !(2..=PARTS_MAX).contains(&parts.len()) {
        let plural = if parts.len() == 1 { "" } else { "s" };
        item.fault(format!("found {} part{plural}, expected 2 to {PARTS_MAX} such as {EXAMPLE}", parts.len()));
        return None;
    }
    let sum: f64 = parts.iter().map(|(_, fraction)| fraction).sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        // Rounded for people: 0.7 + 0.2 is 0.8999999999999999.
        let sum = (sum * 1e9).round() / 1e9;
        item.fault(format!("the fractions sum to {sum}, expected 1"));
        return None;
    }
    Some(Split { parts, by })
}

fn read_fraction(item: &Item<'_>) -> Option<f64> {
    let fraction = item.number()?;
    if fraction <= 0.0 || fraction > 1.0 {
        item.fault(format!("found {}, expected a fraction above 0 and up to 1", item.found()));
        return None;
    }
    Some(fraction)
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
