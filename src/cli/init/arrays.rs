//! Arrays of other programs: rows as most of their headers have them.

use std::path::PathBuf;

use super::{Advice, toml_string};
use crate::cli::text;
use crate::npy::{Dtype, InspectError, inspect};

pub(super) const EXTENSIONS: &[&str] = &["npy"];

/// What the rows of an array are.
struct Rows {
    dtype: Dtype,
    shape: Vec<u64>,
    arrays: usize,
}

pub(super) fn advise(files: &[PathBuf]) -> Result<Advice, String> {
    let mut kinds: Vec<Rows> = Vec::new();
    let mut first_error: Option<InspectError> = None;
    for path in files {
        let header = match inspect(path) {
            Ok(inspection) => inspection.header,
            Err(error) => {
                first_error.get_or_insert(error);
                continue;
            }
        };
        // A number without dimensions has no rows.
        let Some(shape) = header.shape.get(1..) else { continue };
        match kinds.iter_mut().find(|kind| kind.dtype == header.dtype && kind.shape == shape) {
            Some(kind) => kind.arrays += 1,
            None => kinds.push(Rows { dtype: header.dtype, shape: shape.to_vec(), arrays: 1 }),
        }
    }
    // Of equally many the first: `max_by_key` gives the last.
    let Some(most) = kinds.iter().rev().max_by_key(|kind| kind.arrays) else {
        let why = first_error.map_or_else(|| "they have no dimensions".to_owned(), |error| error.to_string());
        return Err(format!("no .npy file here is an array with rows: {why}"));
    };
    let is_turned = |kind: &&Rows| kind.shape == most.shape && kind.dtype.differs_in_byte_order_only(&most.dtype);
    let turned: usize = kinds.iter().filter(is_turned).map(|kind| kind.arrays).sum();
    let dtype = toml_dtype(&most.dtype).ok_or_else(|| {
        format!("most arrays here have dtype {}, whose fields a config cannot name", most.dtype.descr())
    })?;
    let taken = most.arrays + turned;
    let others = if taken == files.len() { "" } else { ": the others would be rejected" };
    let of = text::number_of(files.len() as u64, "array that was", "arrays that were");
    let found = format!(", rows as in {taken} of {of} looked at{others}");
    let shape: Vec<String> = most.shape.iter().map(u64::to_string).collect();
    let byte_order = if turned > 0 {
        let have = if turned == 1 { "1 array has" } else { &format!("{} arrays have", text::count(turned as u64)) };
        format!("byte_order = \"convert\"    # {have} the other byte order\n")
    } else {
        String::new()
    };
    Ok(Advice {
        found,
        row: format!("shape  = [{}]\ndtype  = {dtype}", shape.join(", ")),
        decoder: format!("[dataset.npy]\n{byte_order}"),
    })
}

/// As a config has it. `None` for fields that have a second name or fields of their own, and for padding.
fn toml_dtype(dtype: &Dtype) -> Option<String> {
    let Some(fields) = dtype.fields() else { return Some(toml_string(&dtype.descr())) };
    if fields.iter().map(|field| field.dtype.itemsize()).sum::<usize>() != dtype.itemsize() {
        return None;
    }
    let mut lines = String::new();
    for field in fields {
        let (base, shape) = field.dtype.subarray().unwrap_or((&field.dtype, &[]));
        if field.title.is_some() || base.scalar().is_none() {
            return None;
        }
        let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
        let shape = if sides.is_empty() { String::new() } else { format!(", [{}]", sides.join(", ")) };
        lines.push_str(&format!("    [{}, {}{shape}],\n", toml_string(&field.name), toml_string(&base.descr())));
    }
    Some(format!("[\n{lines}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dtypes_are_written_as_a_config_has_them() {
        let toml = |text: &str| toml_dtype(&Dtype::parse(text).unwrap());
        assert_eq!(toml("<f4").as_deref(), Some("\"<f4\""));
        let fields = "[\n    [\"a\", \"<f4\"],\n    [\"b\", \"|u1\", [2, 3]],\n]";
        assert_eq!(toml("[('a', '<f4'), ('b', '|u1', (2, 3))]").as_deref(), Some(fields));
        for other in ["[('a', [('b', '<f4')])]", "[('a', '<f4'), ('', '|V4')]", "[(('title', 'a'), '<f4')]"] {
            assert_eq!(toml(other), None, "{other}");
        }
    }
}
