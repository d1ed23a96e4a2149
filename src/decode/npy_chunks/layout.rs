//! Where the numbers of an array lie: byte orders that differ, and Fortran order.

use crate::decode::values::Plan;
use crate::npy::{Dtype, Scalar};

/// Turns the bytes of every number in a row around.
pub(super) fn plan(dtype: &Dtype, row_bytes: usize) -> Plan {
    let itemsize = dtype.itemsize().max(1);
    let mut plan = Plan::new(itemsize, itemsize);
    // Padding between fields is moved with the rest, before the numbers are turned over it.
    plan.copy(0, 0, itemsize);
    each_number(dtype, 0, &mut |offset, scalar| plan.turn(offset, offset, scalar));
    debug_assert!(row_bytes.is_multiple_of(itemsize));
    plan
}

/// Whether the two differ in byte order only, everywhere where that means something.
pub(super) fn is_turned(found: &Dtype, wanted: &Dtype) -> bool {
    let (found_descr, wanted_descr) = (without_order(&found.literal()), without_order(&wanted.literal()));
    if found_descr != wanted_descr || found == wanted {
        return false;
    }
    let orders = |dtype: &Dtype| {
        let mut orders = Vec::new();
        each_number(dtype, 0, &mut |_, scalar| orders.push((scalar.order, scalar.bytes)));
        orders
    };
    let differs = |((found, _), (wanted, _)): (&(_, usize), &(_, usize))| found != wanted;
    // One that mixes both orders is turned as a whole or not at all.
    orders(found).iter().zip(&orders(wanted)).all(differs)
}

fn without_order(literal: &str) -> String {
    literal.replace("'<", "'").replace("'>", "'")
}

/// Numbers that have a byte order.
fn each_number(dtype: &Dtype, offset: usize, take: &mut dyn FnMut(usize, Scalar)) {
    if let Some(fields) = dtype.fields() {
        for field in fields {
            each_number(&field.dtype, offset + field.offset, take);
        }
    } else if let Some((base, shape)) = dtype.subarray() {
        for place in 0..shape.iter().product() {
            each_number(base, offset + place * base.itemsize(), take);
        }
    } else if let Some(scalar) = dtype.scalar()
        && scalar.order != crate::npy::ByteOrder::NotApplicable
    {
        take(offset, scalar);
    }
}

/// For each element of a row in C order, its place among the row's elements in Fortran order.
pub(super) fn fortran_columns(shape: &[usize]) -> Vec<usize> {
    let count = shape.iter().product();
    let column = |place: usize| {
        // The indices, last dimension first, as C order counts.
        let (mut rest, mut indices) = (place, Vec::with_capacity(shape.len()));
        for side in shape.iter().rev() {
            indices.push(rest % side);
            rest /= side;
        }
        let (mut column, mut step) = (0, 1);
        for (index, side) in indices.iter().rev().zip(shape) {
            column += index * step;
            step *= side;
        }
        column
    };
    (0..count).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_a_row_in_fortran_order() {
        assert_eq!(fortran_columns(&[2, 3]), [0, 2, 4, 1, 3, 5]);
        assert_eq!(fortran_columns(&[4]), [0, 1, 2, 3]);
        assert_eq!(fortran_columns(&[]), [0]);
    }

    #[test]
    fn only_the_byte_order_may_differ() {
        let dtype = |text| Dtype::parse(text).unwrap();
        assert!(is_turned(&dtype(">f4"), &dtype("<f4")));
        assert!(is_turned(&dtype("[('a', '>f4'), ('b', 'u1')]"), &dtype("[('a', '<f4'), ('b', 'u1')]")));
        assert!(!is_turned(&dtype(">f8"), &dtype("<f4")));
        assert!(!is_turned(&dtype("<f4"), &dtype("<f4")));
        assert!(!is_turned(&dtype("[('a', '>f4'), ('b', '<u2')]"), &dtype("[('a', '<f4'), ('b', '<u2')]")));
    }
}
