//! Structures and subarrays: from the lists and tuples of a descriptor, and back.

use std::collections::HashSet;

use super::super::literal::{Literal, Value, quote, quote_short};
use super::{BYTES_MAX, DEPTH_MAX, DIMENSIONS_MAX, Dtype, DtypeError, Form, Kind, scalar};

/// One named field of a structure.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field {
    pub name: String,
    /// A second name, which NumPy writes as `('title', 'name')`.
    pub title: Option<String>,
    pub dtype: Dtype,
    /// Bytes from the start of the structure.
    pub offset: usize,
}

/// The counterpart of NumPy's `descr_to_dtype`.
pub(super) fn from_literal(value: &Value) -> Result<Dtype, DtypeError> {
    convert(value, 1)
}

/// `level` is the number of dtypes that this one is nested in, itself included. It stops the recursion; the depth of
/// what comes back is checked where it is put together.
fn convert(value: &Value, level: usize) -> Result<Dtype, DtypeError> {
    if level > DEPTH_MAX {
        return Err(DtypeError::TooDeep);
    }
    let inner = level.saturating_add(1);
    match value {
        Value::Str(text) => Ok(Dtype::of(scalar::parse(text)?)),
        Value::Tuple(items) => match items.as_slice() {
            [base, shape] => with_shape(convert(&base.value, inner)?, &shape.value),
            _ => Err(DtypeError::NotADescriptor { found: value.describe() }),
        },
        Value::List(items) => {
            let fields: Result<Vec<_>, _> =
                items.iter().enumerate().map(|(index, item)| field(index, &item.value, inner)).collect();
            pack(fields?)
        }
        _ => Err(DtypeError::NotADescriptor { found: value.describe() }),
    }
}

/// Name, title and dtype of one item of a list.
fn field(index: usize, value: &Value, level: usize) -> Result<(String, Option<String>, Dtype), DtypeError> {
    // NumPy unpacks lists as well as tuples here.
    let items: &[Literal] = match value {
        Value::Tuple(items) | Value::List(items) => items,
        _ => &[],
    };
    let (names, descriptor, shape) = match items {
        [names, descriptor] => (names, descriptor, None),
        [names, descriptor, shape] => (names, descriptor, Some(shape)),
        _ => return Err(DtypeError::FieldForm { index, found: value.describe() }),
    };
    let (title, name) = names_of(index, &names.value)?;
    let dtype = convert(&descriptor.value, level).and_then(|dtype| match shape {
        None => Ok(dtype),
        Some(shape) => with_shape(dtype, &shape.value),
    });
    match dtype {
        Ok(dtype) => Ok((name, title, dtype)),
        Err(source) => Err(DtypeError::InField { name: quote_short(&name), source: Box::new(source) }),
    }
}

fn names_of(index: usize, value: &Value) -> Result<(Option<String>, String), DtypeError> {
    let (title, name) = match value {
        Value::Tuple(items) => match items.as_slice() {
            [title, name] => (Some(&title.value), &name.value),
            _ => return Err(DtypeError::FieldName { index, found: value.describe() }),
        },
        name => (None, name),
    };
    let Value::Str(name) = name else {
        return Err(DtypeError::FieldName { index, found: name.describe() });
    };
    match title {
        None | Some(Value::None) => Ok((None, name.clone())),
        Some(Value::Str(title)) => Ok((Some(title.clone()), name.clone())),
        Some(other) => Err(DtypeError::FieldTitle { index, found: other.describe() }),
    }
}

/// `(dtype, shape)`, where the shape is a tuple, a list or one number.
fn with_shape(base: Dtype, shape: &Value) -> Result<Dtype, DtypeError> {
    // For a string or void without a length, the number is that length.
    if let Form::Scalar(leaf) = &base.form
        && leaf.is_unsized()
    {
        return match shape {
            Value::Int(length) if *length >= 0 => match leaf.with_length(*length) {
                Some(sized) => Ok(Dtype::of(sized)),
                None => Err(DtypeError::TooLarge),
            },
            _ => Err(DtypeError::UnsizedShape { text: base.descr(), found: shape.describe() }),
        };
    }
    let dimension = |value: &Value| match value {
        Value::Int(number) => usize::try_from(*number).ok().filter(|number| *number <= BYTES_MAX),
        _ => None,
    };
    let dimensions: Option<Vec<usize>> = match shape {
        Value::Tuple(items) | Value::List(items) => items.iter().map(|item| dimension(&item.value)).collect(),
        single => dimension(single).map(|number| vec![number]),
    };
    match dimensions {
        Some(dimensions) => subarray(base, dimensions),
        None => Err(DtypeError::Shape { found: describe_shape(shape) }),
    }
}

/// The shape itself where it is short, so that the wrong number can be seen.
fn describe_shape(shape: &Value) -> String {
    match shape {
        Value::Tuple(items) | Value::List(items) => {
            let items: Vec<String> = items.iter().take(8).map(|item| item.value.describe()).collect();
            format!("({})", items.join(", "))
        }
        other => other.describe(),
    }
}

pub(super) fn subarray(base: Dtype, shape: Vec<usize>) -> Result<Dtype, DtypeError> {
    if shape.is_empty() {
        return Ok(base);
    }
    if matches!(&base.form, Form::Scalar(leaf) if leaf.is_unsized()) {
        return Err(DtypeError::UnsizedShape { text: base.descr(), found: format!("{} dimensions", shape.len()) });
    }
    if shape.len() > DIMENSIONS_MAX {
        return Err(DtypeError::Dimensions { found: shape.len() });
    }
    let depth = base.depth.saturating_add(1);
    if depth > DEPTH_MAX {
        return Err(DtypeError::TooDeep);
    }
    // As NumPy counts: a zero makes the subarray empty, whatever follows it, but does not excuse an overflow before it.
    let mut items = shape.iter().take_while(|dimension| **dimension != 0);
    let items = items.try_fold(1_i64, |items, dimension| items.checked_mul(i64::try_from(*dimension).ok()?));
    let items = items.map(|items| if shape.contains(&0) { 0 } else { items });
    let items = items.and_then(|items| usize::try_from(items).ok()).filter(|items| *items <= BYTES_MAX);
    let bytes = items.and_then(|items| base.itemsize().checked_mul(items)).filter(|bytes| *bytes <= BYTES_MAX);
    let bytes = bytes.ok_or(DtypeError::TooLarge)?;
    Ok(Dtype { form: Form::Subarray { base: Box::new(base), shape, bytes }, depth })
}

/// Fields one behind the other. Padding moves the offset and vanishes.
pub(super) fn pack(fields: impl IntoIterator<Item = (String, Option<String>, Dtype)>) -> Result<Dtype, DtypeError> {
    let mut kept: Vec<Field> = Vec::new();
    let mut offset = 0_usize;
    let mut depth = 1_usize;
    let mut names: HashSet<String> = HashSet::new();
    for (name, title, dtype) in fields {
        let place = offset;
        offset = offset.checked_add(dtype.itemsize()).filter(|end| *end <= BYTES_MAX).ok_or(DtypeError::TooLarge)?;
        if name.is_empty() && title.is_none() && dtype.is_padding() {
            continue;
        }
        depth = depth.max(dtype.depth.saturating_add(1));
        for used in title.iter().chain([&name]) {
            if !names.insert(used.clone()) {
                return Err(DtypeError::Duplicate { name: quote_short(used) });
            }
        }
        kept.push(Field { name, title, dtype, offset: place });
    }
    if depth > DEPTH_MAX {
        return Err(DtypeError::TooDeep);
    }
    Ok(Dtype { form: Form::Structured { fields: kept, bytes: offset }, depth })
}

impl Dtype {
    /// What NumPy ignores under an empty name: its test is for the void type, which subarrays are as well.
    fn is_padding(&self) -> bool {
        match &self.form {
            Form::Scalar(leaf) => leaf.scalar.kind == Kind::Void,
            Form::Subarray { .. } => true,
            Form::Structured { .. } => false,
        }
    }
}

/// The descriptor with Python's separators, as `repr` gives `numpy.lib.format.dtype_to_descr`.
pub(super) fn write_literal(dtype: &Dtype, text: &mut String) {
    match &dtype.form {
        Form::Scalar(leaf) => {
            text.push('\'');
            text.push_str(&leaf.to_string());
            text.push('\'');
        }
        Form::Subarray { base, shape, .. } => {
            text.push('(');
            write_literal(base, text);
            text.push_str(", ");
            text.push_str(&shape_literal(shape));
            text.push(')');
        }
        Form::Structured { fields, bytes } => write_fields(fields, *bytes, text),
    }
}

fn write_fields(fields: &[Field], bytes: usize, text: &mut String) {
    text.push('[');
    let mut first = true;
    let mut separate = |text: &mut String| {
        if !std::mem::take(&mut first) {
            text.push_str(", ");
        }
    };
    let mut end = 0_usize;
    for field in fields {
        if field.offset > end {
            separate(text);
            text.push_str(&format!("('', '|V{}')", field.offset.saturating_sub(end)));
        }
        separate(text);
        text.push('(');
        match &field.title {
            Some(title) => text.push_str(&format!("({}, {})", quote(title), quote(&field.name))),
            None => text.push_str(&quote(&field.name)),
        }
        text.push_str(", ");
        // A field takes one shape beside its dtype; a subarray of subarrays keeps the rest in a tuple.
        match &field.dtype.form {
            Form::Subarray { base, shape, .. } => {
                write_literal(base, text);
                text.push_str(", ");
                text.push_str(&shape_literal(shape));
            }
            _ => write_literal(&field.dtype, text),
        }
        text.push(')');
        end = field.offset.saturating_add(field.dtype.itemsize());
    }
    if bytes > end {
        separate(text);
        text.push_str(&format!("('', '|V{}')", bytes.saturating_sub(end)));
    }
    text.push(']');
}

/// A tuple of numbers as Python writes it: `()`, `(3,)`, `(2, 3)`.
pub(crate) fn shape_literal<Number: ToString>(shape: &[Number]) -> String {
    match shape {
        [single] => format!("({},)", single.to_string()),
        _ => format!("({})", shape.iter().map(Number::to_string).collect::<Vec<_>>().join(", ")),
    }
}
