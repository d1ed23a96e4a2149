//! `shape` and `dtype`: what one row of a dataset is.

use crate::npy::Dtype;

use super::item::{Item, Located};
use super::section::Section;
use super::units::size_text;
use super::world::RowFormat;

/// The most bytes of one row: 1 GiB. A row is held in memory as a whole, once per worker.
const ROW_BYTES_MAX: u64 = 1 << 30;
/// NumPy before 2.0 opens arrays of up to 32 dimensions; the rows themselves are one of them.
const DIMENSIONS_MAX: usize = 31;

/// `shape` and `dtype`, each as far as it could be read.
pub(super) struct RowDraft<'a> {
    pub(super) shape: Option<Located<'a, Vec<usize>>>,
    pub(super) dtype: Option<Located<'a, Dtype>>,
    /// There is no `shape`, and a row is one record of a structured dtype.
    is_single: bool,
}

impl RowDraft<'_> {
    pub(super) fn finish(&self) -> Option<RowFormat> {
        Some(RowFormat { shape: self.shape()?.to_vec(), dtype: self.dtype.as_ref()?.value.clone() })
    }

    /// The dimensions of one row.
    pub(super) fn shape(&self) -> Option<&[usize]> {
        match &self.shape {
            Some(shape) => Some(&shape.value),
            None => self.is_single.then_some(&[]),
        }
    }
}

/// What rows of a decoder may be: the examples of the faults.
struct Example {
    shape: &'static str,
    dtype: &'static str,
    /// A structured dtype, which needs no `shape`, where that is the usual one.
    fields: Option<&'static str>,
}

impl Example {
    fn of(decoder: Option<&str>) -> Self {
        match decoder {
            Some("csv") => {
                Self { shape: "[3]", dtype: "\"f4\"", fields: Some(r#"[["time", "<M8[ns]"], ["x", "<f4"]]"#) }
            }
            Some("records") => {
                Self { shape: "[3]", dtype: "\"f4\"", fields: Some(r#"[["time", "<u4"], ["x", "<f4"]]"#) }
            }
            Some("gps") => {
                let fields = r#"[["time", "<M8[ns]"], ["latitude", "<f8"], ["longitude", "<f8"]]"#;
                Self { shape: "[6]", dtype: "\"f8\"", fields: Some(fields) }
            }
            Some("audio") => Self { shape: "[16000]", dtype: "\"i2\"", fields: None },
            _ => Self { shape: "[224, 224, 3]", dtype: "\"u1\"", fields: None },
        }
    }
}

pub(super) fn read<'a>(dataset: &Section<'a>, memory_bytes: Option<u64>, decoder: Option<&str>) -> RowDraft<'a> {
    let example = Example::of(decoder);
    let (has_shape, has_dtype) = (dataset.has("shape"), dataset.has("dtype"));
    let advised = example.fields.filter(|_| !has_shape && !has_dtype);
    // A row of a structured dtype is one record unless the config says otherwise.
    let is_single = !has_shape && (dataset.has_array("dtype") || advised.is_some());
    let shape_item = if is_single { dataset.item("shape") } else { dataset.required("shape", example.shape) };
    let shape = shape_item.and_then(read_shape);
    let dtype = dataset.required("dtype", advised.unwrap_or(example.dtype)).and_then(read_dtype);
    let draft = RowDraft { shape, dtype, is_single };
    if let (Some(shape), Some(dtype)) = (draft.shape(), &draft.dtype) {
        let item = draft.shape.as_ref().map_or(&dtype.item, |shape| &shape.item);
        check_row_bytes(item, shape, &dtype.value, memory_bytes);
    }
    draft
}

fn read_shape(item: Item<'_>) -> Option<Located<'_, Vec<usize>>> {
    let elements = item.elements("an array of dimensions such as [224, 224, 3]")?;
    if elements.len() > DIMENSIONS_MAX {
        item.fault(format!("found {} dimensions, expected at most {DIMENSIONS_MAX}", elements.len()));
        return None;
    }
    let read = |element: &Item<'_>| {
        let dimension = element.integer(1..=ROW_BYTES_MAX, "a dimension")?;
        usize::try_from(dimension).ok()
    };
    // Every element is read before one of them ends it, so that all their faults are told.
    let dimensions: Vec<_> = elements.iter().map(read).collect();
    let value = dimensions.into_iter().collect::<Option<_>>()?;
    Some(Located { value, item })
}

fn read_dtype(item: Item<'_>) -> Option<Located<'_, Dtype>> {
    let descr = if item.value.get_ref().is_array() {
        structured_descr(&item)?
    } else {
        item.text("a NumPy dtype such as \"u1\" or \"<f4\", or an array of [name, dtype]")?.to_owned()
    };
    match Dtype::parse(&descr) {
        Ok(dtype) if dtype.itemsize() == 0 => {
            item.fault(format!("found {}, which takes no bytes, so no row could be seen", item.found()));
            None
        }
        Ok(value) => Some(Located { value, item }),
        Err(error) => {
            // The error repeats what it found.
            let help = "for example \"u1\", \"<u2\" or \"<f4\"";
            item.fault_with_help(error.to_string(), help);
            None
        }
    }
}

/// The fields of a structured dtype as NumPy writes them in a header: `[('a', '<u2'), ('b', '<f4', (3,))]`.
fn structured_descr(item: &Item<'_>) -> Option<String> {
    let fields = item.elements("an array of fields")?;
    if fields.is_empty() {
        item.fault("found [], expected at least one field such as [\"time\", \"<f8\"]");
        return None;
    }
    let fields: Vec<_> = fields.iter().map(field_descr).collect();
    let fields = fields.into_iter().collect::<Option<Vec<_>>>()?;
    Some(format!("[{}]", fields.join(", ")))
}

fn field_descr(field: &Item<'_>) -> Option<String> {
    let parts = field.elements("a field such as [\"time\", \"<f8\"] or [\"position\", \"<f4\", [3]]")?;
    let (name, dtype, shape) = match parts.as_slice() {
        [name, dtype] => (name, dtype, None),
        [name, dtype, shape] => (name, dtype, Some(shape)),
        _ => {
            let found = field.found();
            field.fault(format!("found {found}, expected [name, dtype] or [name, dtype, shape]"));
            return None;
        }
    };
    // Padding, which NumPy writes as a field without a name, of a dtype such as V7.
    let is_padding = name.value.get_ref().as_str() == Some("");
    let name = if is_padding { Some("''".to_owned()) } else { name.text("the name of a field").map(python_string) };
    let dtype = dtype.text("a NumPy dtype such as \"<f4\"").map(python_string);
    match shape {
        None => Some(format!("({}, {})", name?, dtype?)),
        Some(shape) => {
            let dimensions = field_shape(shape);
            Some(format!("({}, {}, ({}))", name?, dtype?, dimensions?))
        }
    }
}

/// The inside of a Python tuple: `3,` or `2, 3`.
fn field_shape(shape: &Item<'_>) -> Option<String> {
    let read = |item: &Item<'_>| item.integer(1..=ROW_BYTES_MAX, "a dimension").map(|n| n.to_string());
    if shape.value.get_ref().is_integer() {
        return read(shape).map(|dimension| format!("{dimension},"));
    }
    let dimensions: Vec<_> = shape.elements("an array of dimensions")?.iter().map(read).collect();
    let dimensions = dimensions.into_iter().collect::<Option<Vec<_>>>()?;
    let comma = if dimensions.len() == 1 { "," } else { "" };
    Some(format!("{}{comma}", dimensions.join(", ")))
}

/// `text` as a Python string literal.
fn python_string(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => literal.extend(['\\', c]),
            c if c.is_control() => literal.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

/// `item`: where that is told.
fn check_row_bytes(item: &Item<'_>, shape: &[usize], dtype: &Dtype, memory_bytes: Option<u64>) {
    let row_bytes =
        shape.iter().try_fold(dtype.itemsize() as u64, |bytes, dimension| bytes.checked_mul(*dimension as u64));
    let takes = row_bytes.map_or("more than 16EiB".to_owned(), size_text);
    let row_bytes = row_bytes.unwrap_or(u64::MAX);
    if row_bytes > ROW_BYTES_MAX {
        item.fault(format!("one row takes {takes}, expected at most {}", size_text(ROW_BYTES_MAX)));
    } else if let Some(memory_bytes) = memory_bytes.filter(|memory_bytes| row_bytes > *memory_bytes) {
        item.fault_with_help(
            format!("one row takes {takes}, but `service.memory` is {}", size_text(memory_bytes)),
            "raise `service.memory`: it holds the rows that wait for the writer",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{report::Report, syntax};
    use super::*;

    /// The `descr` of a dtype as the config writes it.
    fn descr(written: &str) -> Result<String, String> {
        let text = format!("dtype = {written}");
        let mut report = Report::new(Path::new("f.toml"), &text);
        let source = syntax::Source::new(&text, &report);
        let document = syntax::parse(&mut report, &source).unwrap();
        let dtype = Section::root(&report, &document).item("dtype").and_then(read_dtype);
        let descr = dtype.map(|dtype| dtype.value.descr());
        report.finish().map_or_else(|| Ok(descr.unwrap()), |faults| Err(faults.to_string()))
    }

    #[test]
    fn scalars_are_numpy_strings() {
        for (written, expected) in [("'u1'", "|u1"), ("'>u2'", ">u2"), ("'f4'", "<f4"), ("'float32'", "<f4")] {
            assert_eq!(descr(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn structured_dtypes_are_arrays_of_fields() {
        for (written, expected) in [
            ("[['a', 'u2'], ['b', '<f4', [3]]]", "[('a', '<u2'), ('b', '<f4', (3,))]"),
            ("[['a', 'u1', 3], ['b', '>i8', [2, 3]]]", "[('a', '|u1', (3,)), ('b', '>i8', (2, 3))]"),
            (r#"[["it's", 'u1'], ['back\slash', 'u1']]"#, r#"[("it's", '|u1'), ('back\\slash', '|u1')]"#),
        ] {
            assert_eq!(descr(written).as_deref(), Ok(expected), "{written}");
        }
        for written in ["[['a', 'u1'], ['a', 'u1']]", "[['a', 'O']]", "'S0'", "'O'"] {
            assert!(descr(written).is_err(), "{written}");
        }
    }
}
