//! The values of a row and where they lie in it, for decoders that make rows of single values.

use super::row::RowDraft;
use super::world::Slot;
use crate::npy::{Dtype, Field};

/// One slot for each field of a structured dtype, or for each element of a plain one, in the row's order. `None` where the
/// row is not made of such values; the fault was reported then.
pub(super) fn read(row: &RowDraft<'_>, decoder: &str) -> Option<Vec<Slot>> {
    let dtype = row.dtype.as_ref()?;
    let shape = row.shape()?;
    let Some(fields) = dtype.value.fields() else {
        return plain(&dtype.value, shape);
    };
    if !shape.is_empty() {
        if let Some(item) = &row.shape {
            item.item.fault_with_help(
                format!("found {}, but a row of `{decoder}` is one record of a structured dtype", item.item.found()),
                "remove `shape`, or write shape = []",
            );
        }
        return None;
    }
    let slots: Vec<_> = fields
        .iter()
        .map(|field| {
            let slot = of_field(field);
            if slot.is_none() {
                let name = &field.name;
                dtype.item.fault(format!(
                    "the field \"{name}\" is a structure of its own, expected a number, a time or a string for `{decoder}`"
                ));
            }
            slot
        })
        .collect();
    slots.into_iter().collect()
}

fn plain(dtype: &Dtype, shape: &[usize]) -> Option<Vec<Slot>> {
    let scalar = dtype.scalar()?;
    let count: usize = shape.iter().product();
    let slot = |place| Slot { name: None, offset: place * scalar.bytes, scalar, unit: dtype.time_unit(), count: 1 };
    Some((0..count).map(slot).collect())
}

fn of_field(field: &Field) -> Option<Slot> {
    let (dtype, count) = match field.dtype.subarray() {
        Some((base, shape)) => (base, shape.iter().product()),
        None => (&field.dtype, 1),
    };
    let scalar = dtype.scalar()?;
    Some(Slot { name: Some(field.name.clone()), offset: field.offset, scalar, unit: dtype.time_unit(), count })
}
