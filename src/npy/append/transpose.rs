//! Rows of an array that is stored the other way round: in Fortran order for a file in C order, or the reverse.

/// How the elements of one row lie in the source.
pub(super) struct Transpose {
    rows: u64,
    /// Elements from one row to the next.
    row_stride: u64,
    /// Length and stride, in elements, of the other dimensions: the one that varies fastest in the target comes first.
    dimensions: Vec<(u64, u64)>,
    itemsize: usize,
}

impl Transpose {
    pub fn new(shape: &[u64], source_fortran: bool, target_fortran: bool, itemsize: usize) -> Self {
        let mut strides: Vec<u64> = Vec::with_capacity(shape.len());
        let mut stride = 1_u64;
        let mut push = |dimension: &u64| {
            strides.push(stride);
            stride = stride.saturating_mul(*dimension);
        };
        match source_fortran {
            true => shape.iter().for_each(&mut push),
            false => shape.iter().rev().for_each(&mut push),
        }
        if !source_fortran {
            strides.reverse();
        }
        let mut dimensions: Vec<(u64, u64)> = shape.iter().copied().zip(strides).collect();
        // The slowest in the target goes last, and is the one that counts rows.
        if !target_fortran {
            dimensions.reverse();
        }
        let (rows, row_stride) = dimensions.pop().unwrap_or((0, 0));
        Self { rows, row_stride, dimensions, itemsize }
    }

    /// Rows that lie behind each other, each of them in C order, for a file in Fortran order.
    pub fn of_c_rows(rows: u64, row_shape: &[u64], itemsize: usize) -> Self {
        let mut stride = 1_u64;
        let mut dimensions = Vec::with_capacity(row_shape.len());
        for dimension in row_shape.iter().rev() {
            dimensions.push((*dimension, stride));
            stride = stride.saturating_mul(*dimension);
        }
        dimensions.reverse();
        Self { rows, row_stride: stride, dimensions, itemsize }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds the row's bytes in the target's order.
    pub fn push_row(&self, source: &[u8], row: u64, target: &mut Vec<u8>) {
        let mut index = vec![0_u64; self.dimensions.len()];
        let mut at = row.saturating_mul(self.row_stride);
        if self.dimensions.iter().any(|(length, _)| *length == 0) {
            return;
        }
        loop {
            let start = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(self.itemsize);
            let element = source.get(start..start.saturating_add(self.itemsize));
            target.extend_from_slice(element.unwrap_or_default());
            // The next index: the first dimension that does not run over.
            let mut is_done = true;
            for (index, (length, stride)) in index.iter_mut().zip(&self.dimensions) {
                *index += 1;
                at = at.saturating_add(*stride);
                if *index < *length {
                    is_done = false;
                    break;
                }
                at = at.saturating_sub(stride.saturating_mul(*length));
                *index = 0;
            }
            if is_done {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rows of an array whose elements are the numbers of its C order.
    fn transposed(shape: &[u64], source: &[u8], source_fortran: bool) -> Vec<u8> {
        let transpose = Transpose::new(shape, source_fortran, !source_fortran, 1);
        let mut target = Vec::new();
        for row in 0..transpose.rows() {
            transpose.push_row(source, row, &mut target);
        }
        target
    }

    #[test]
    fn orders_are_exchanged() {
        // [[0, 1, 2], [3, 4, 5]] in C order, and in Fortran order.
        assert_eq!(transposed(&[2, 3], &[0, 1, 2, 3, 4, 5], false), [0, 3, 1, 4, 2, 5]);
        assert_eq!(transposed(&[2, 3], &[0, 3, 1, 4, 2, 5], true), [0, 1, 2, 3, 4, 5]);
        let c: Vec<u8> = (0..24).collect();
        let fortran = transposed(&[2, 3, 4], &c, false);
        assert_eq!(fortran[..6], [0, 12, 4, 16, 8, 20]);
        assert_eq!(transposed(&[2, 3, 4], &fortran, true), c);
        assert_eq!(transposed(&[2, 0, 4], &[], true), [0_u8; 0]);
    }

    #[test]
    fn each_row_in_c_order_becomes_one_in_fortran_order() {
        let turned = |row_shape: &[u64], source: &[u8]| {
            let rows = source.len() as u64 / row_shape.iter().product::<u64>();
            let (transpose, mut target) = (Transpose::of_c_rows(rows, row_shape, 1), Vec::new());
            (0..transpose.rows()).for_each(|row| transpose.push_row(source, row, &mut target));
            target
        };
        assert_eq!(turned(&[2, 3], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        assert_eq!(turned(&[2, 1, 2], &[0, 1, 2, 3]), [0, 2, 1, 3]);
    }
}
