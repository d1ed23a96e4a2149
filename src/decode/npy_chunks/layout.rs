//! Where the numbers of an array lie: byte orders that differ, and Fortran order.

use crate::npy::{ByteOrder, Dtype, Kind, Scalar};

/// Elements are turned around in blocks of so many bytes, which stay in the processor's cache.
const BLOCK_BYTES: usize = 64 << 10;
/// Steps of a row's first index that are taken together: they lie side by side in Fortran order, and a row of each is
/// written meanwhile in C order.
const BAND: usize = 64;

/// Turns the bytes of every number around that has an order.
pub(super) fn turn(dtype: &Dtype, elements: &mut [u8]) {
    let itemsize = dtype.itemsize().max(1);
    for block in elements.chunks_mut(itemsize * (BLOCK_BYTES / itemsize).max(1)) {
        turn_numbers(dtype, Lane { first: 0, stride: itemsize }, block);
    }
}

/// Where a number lies in each element.
#[derive(Clone, Copy)]
struct Lane {
    first: usize,
    stride: usize,
}

/// Numbers that lie one behind the other are one run, however many they are.
fn turn_numbers(dtype: &Dtype, lane: Lane, elements: &mut [u8]) {
    if let Some(fields) = dtype.fields() {
        for field in fields {
            turn_numbers(&field.dtype, Lane { first: lane.first + field.offset, ..lane }, elements);
        }
    } else if let Some((base, shape)) = dtype.subarray() {
        let places = shape.iter().product();
        match base.scalar() {
            Some(scalar) => turn_runs(scalar, places, lane, elements),
            None => {
                for place in 0..places {
                    turn_numbers(base, Lane { first: lane.first + place * base.itemsize(), ..lane }, elements);
                }
            }
        }
    } else if let Some(scalar) = dtype.scalar() {
        turn_runs(scalar, 1, lane, elements);
    }
}

fn turn_runs(scalar: Scalar, count: usize, Lane { first, stride }: Lane, elements: &mut [u8]) {
    if scalar.order == ByteOrder::NotApplicable {
        return;
    }
    let unit = match scalar.kind {
        Kind::Complex => scalar.bytes / 2,
        Kind::Unicode => 4,
        _ => scalar.bytes,
    };
    // What fills the elements is a single run.
    let (bytes, stride) = match count * scalar.bytes {
        bytes if bytes == stride => (elements.len(), elements.len().max(1)),
        bytes => (bytes, stride),
    };
    for element in elements.chunks_exact_mut(stride) {
        let run = element.get_mut(first..first + bytes).unwrap_or_default();
        match unit {
            2 => reverse_each::<2>(run),
            4 => reverse_each::<4>(run),
            8 => reverse_each::<8>(run),
            unit => run.chunks_exact_mut(unit.max(1)).for_each(<[u8]>::reverse),
        }
    }
}

fn reverse_each<const BYTES: usize>(run: &mut [u8]) {
    run.as_chunks_mut::<BYTES>().0.iter_mut().for_each(|number| number.reverse());
}

/// Whether the two differ in byte order only, and everywhere where that means something: one that mixes both orders is turned
/// as a whole or not at all.
pub(super) fn is_turned(found: &Dtype, wanted: &Dtype) -> bool {
    found.differs_in_byte_order_only(wanted) && differs_everywhere(found, wanted)
}

fn differs_everywhere(found: &Dtype, wanted: &Dtype) -> bool {
    if let (Some(found), Some(wanted)) = (found.fields(), wanted.fields()) {
        return found.iter().zip(wanted).all(|(found, wanted)| differs_everywhere(&found.dtype, &wanted.dtype));
    }
    if let (Some((found, _)), Some((wanted, _))) = (found.subarray(), wanted.subarray()) {
        return differs_everywhere(found, wanted);
    }
    let order = |dtype: &Dtype| dtype.scalar().map(|scalar| scalar.order);
    order(found) == Some(ByteOrder::NotApplicable) || order(found) != order(wanted)
}

/// Rows of an array in Fortran order, whose elements lie `rows` apart.
pub(super) struct Fortran<'a> {
    pub(super) data: &'a [u8],
    pub(super) rows: usize,
    /// Of one row.
    pub(super) shape: &'a [usize],
    /// Bytes of one element.
    pub(super) element: usize,
}

impl Fortran<'_> {
    /// Fills whole rows, the first of which is row `first`. An odometer counts the indices: there is no table of places,
    /// which would be larger than the row. `step` is called every now and then.
    pub(super) fn copy_rows(&self, first: usize, places: &mut [u8], step: impl Fn()) {
        let Self { data, rows, shape, element } = *self;
        // The first index varies fastest in the source, the last one in the row.
        let (side, others) = shape.split_first().map_or((1, shape), |(side, others)| (*side, others));
        let in_row: usize = others.iter().product();
        let row_bytes = (side * in_row * element).max(1);
        let count = places.len() / row_bytes;
        let mut indices = vec![0_usize; others.len()];
        for band in (0..side).step_by(BAND) {
            step();
            let end = side.min(band + BAND);
            // The place among the other indices, in C order and in Fortran order.
            let mut column = 0;
            for place in 0..in_row {
                for index in band..end {
                    let from = ((column * side + index) * rows + first) * element;
                    let to = (index * in_row + place) * element;
                    let values = data.get(from..from + count * element).unwrap_or_default();
                    copy_column(values, element, places.get_mut(to..).unwrap_or_default(), row_bytes);
                }
                column = next(&mut indices, others, column);
            }
        }
    }
}

/// The next index, the last of its numbers first, and its place in Fortran order. Behind the last one it begins again.
fn next(indices: &mut [usize], shape: &[usize], mut column: usize) -> usize {
    let mut stride: usize = shape.iter().product();
    for (index, side) in indices.iter_mut().zip(shape).rev() {
        stride /= (*side).max(1);
        *index += 1;
        column += stride;
        if *index < *side {
            return column;
        }
        column -= stride * *side;
        *index = 0;
    }
    column
}

/// One value for each row. `rows` begins with the place of the first.
fn copy_column(values: &[u8], element: usize, rows: &mut [u8], row_bytes: usize) {
    match element {
        1 => copy_each::<1>(values, rows, row_bytes),
        2 => copy_each::<2>(values, rows, row_bytes),
        4 => copy_each::<4>(values, rows, row_bytes),
        8 => copy_each::<8>(values, rows, row_bytes),
        _ => {
            for (value, row) in values.chunks_exact(element.max(1)).zip(rows.chunks_mut(row_bytes)) {
                if let Some(target) = row.get_mut(..element) {
                    target.copy_from_slice(value);
                }
            }
        }
    }
}

fn copy_each<const BYTES: usize>(values: &[u8], rows: &mut [u8], row_bytes: usize) {
    for (value, row) in values.as_chunks::<BYTES>().0.iter().zip(rows.chunks_mut(row_bytes)) {
        if let Some(target) = row.first_chunk_mut() {
            *target = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dtype(text: &str) -> Dtype {
        Dtype::parse(text).unwrap()
    }

    /// Element by element, as the orders are defined.
    fn rows_in_c_order(data: &[u16], rows: usize, shape: &[usize]) -> Vec<u16> {
        let in_row: usize = shape.iter().product();
        let mut found = Vec::new();
        for (row, place) in (0..rows).flat_map(|row| (0..in_row).map(move |place| (row, place))) {
            let (mut rest, mut at, mut stride) = (place, row, rows * in_row);
            for side in shape.iter().rev() {
                stride /= side;
                at += rest % side * stride;
                rest /= side;
            }
            found.push(data[at]);
        }
        found
    }

    #[test]
    fn rows_in_fortran_order() {
        for (rows, shape) in [
            (1, vec![]),
            (5, vec![]),
            (3, vec![4]),
            (2, vec![2, 3]),
            (1, vec![200, 3]),
            (3, vec![130, 2, 5]),
            (1, vec![64, 65]),
            (2, vec![1, 1, 7]),
            (4, vec![3, 2, 2, 3]),
        ] {
            let in_row: usize = shape.iter().product();
            let data: Vec<u16> = (0..rows * in_row).map(|place| place as u16).collect();
            let expected = rows_in_c_order(&data, rows, &shape);
            for element in [2, 4, 6] {
                // Wider elements repeat it.
                let widen = |all: &[u16]| -> Vec<u8> {
                    all.iter().flat_map(|value| value.to_le_bytes().repeat(element / 2)).collect()
                };
                let (data, expected) = (widen(&data), widen(&expected));
                let fortran = Fortran { data: &data, rows, shape: &shape, element };
                let mut found = vec![0; expected.len()];
                let split = rows / 2;
                let (before, behind) = found.split_at_mut(split * in_row * element);
                fortran.copy_rows(0, before, || ());
                fortran.copy_rows(split, behind, || ());
                assert_eq!(found, expected, "{rows} {shape:?} {element}");
            }
        }
    }

    #[test]
    fn only_the_byte_order_may_differ() {
        assert!(is_turned(&dtype(">f4"), &dtype("<f4")));
        assert!(is_turned(&dtype("[('a', '>f4'), ('b', 'u1')]"), &dtype("[('a', '<f4'), ('b', 'u1')]")));
        assert!(is_turned(&dtype("[('a', '>f4', (2, 3))]"), &dtype("[('a', '<f4', (2, 3))]")));
        assert!(!is_turned(&dtype(">f8"), &dtype("<f4")));
        assert!(!is_turned(&dtype("<f4"), &dtype("<f4")));
        assert!(!is_turned(&dtype("[('a', '>f4'), ('b', '<u2')]"), &dtype("[('a', '<f4'), ('b', '<u2')]")));
        // This field was taken for the other, for its name.
        assert!(!is_turned(&dtype("[('<a', '>f4')]"), &dtype("[('a', '<f4')]")));
        assert!(!is_turned(&dtype("[('<a', '>f4')]"), &dtype("[('>a', '<f4')]")));
    }

    #[test]
    fn numbers_are_turned_where_they_lie() {
        let turned = |text: &str, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            turn(&dtype(text), &mut bytes);
            bytes
        };
        assert_eq!(turned("<u2", &[1, 2, 3, 4]), [2, 1, 4, 3]);
        assert_eq!(turned("<c8", &[1, 2, 3, 4, 5, 6, 7, 8]), [4, 3, 2, 1, 8, 7, 6, 5]);
        assert_eq!(turned("<U2", &[1, 0, 0, 0, 2, 0, 0, 0]), [0, 0, 0, 1, 0, 0, 0, 2]);
        let mixed =
            "[('a', 'S2'), ('', 'V1'), ('b', '<u2', (2,)), ('c', '>u4'), ('d', [('e', 'u1'), ('f', '<i2')], (2,))]";
        let element = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
        let expected = [1, 2, 3, 5, 4, 7, 6, 11, 10, 9, 8, 12, 14, 13, 15, 17, 16];
        // More than one block of them.
        assert_eq!(turned(mixed, &element.repeat(9000)), expected.repeat(9000));
    }

    /// One of them took a step of its own for each of its numbers, 24 times their bytes.
    #[test]
    fn large_fields_are_one_run() {
        let large = dtype("[('image', '<u2', (4096, 512))]");
        let mut bytes = [1, 2].repeat(4096 * 512);
        turn(&large, &mut bytes);
        assert!(bytes.chunks(2).all(|number| number == [2, 1]));
        assert!(is_turned(&large, &dtype("[('image', '>u2', (4096, 512))]")));
    }
}
