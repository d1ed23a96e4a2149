//! Dtypes that differ in nothing but the order of their bytes, and turning one's elements into the other's.

use super::scalar::{ByteOrder, Kind, Leaf};
use super::{Dtype, Form};

impl Dtype {
    /// Whether the two are the same but for the byte order of some of their numbers.
    pub fn differs_in_byte_order_only(&self, other: &Dtype) -> bool {
        self != other && self.in_little_endian() == other.in_little_endian()
    }

    fn in_little_endian(&self) -> Dtype {
        let mut twin = self.clone();
        twin.set_little_endian();
        twin
    }

    fn set_little_endian(&mut self) {
        match &mut self.form {
            Form::Scalar(leaf) => {
                if leaf.scalar.order == ByteOrder::Big {
                    leaf.scalar.order = ByteOrder::Little;
                }
            }
            Form::Subarray { base, .. } => base.set_little_endian(),
            Form::Structured { fields, .. } => {
                for field in fields {
                    field.dtype.set_little_endian();
                }
            }
        }
    }

    /// Turns elements of this dtype into elements of `target`, in place. The two differ in byte order only.
    pub(crate) fn reorder_bytes(&self, target: &Dtype, elements: &mut [u8]) {
        match (&self.form, &target.form) {
            _ if self == target => {}
            (Form::Scalar(from), Form::Scalar(_)) => {
                for number in elements.chunks_exact_mut(number_bytes(from).max(1)) {
                    number.reverse();
                }
            }
            (Form::Subarray { base: from, .. }, Form::Subarray { base: to, .. }) => from.reorder_bytes(to, elements),
            (Form::Structured { fields: from, bytes }, Form::Structured { fields: to, .. }) => {
                for element in elements.chunks_exact_mut((*bytes).max(1)) {
                    for (from, to) in from.iter().zip(to) {
                        let end = from.offset.saturating_add(from.dtype.itemsize());
                        if let Some(field) = element.get_mut(from.offset..end) {
                            from.dtype.reorder_bytes(&to.dtype, field);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// Bytes of what has an order: half of a complex number, one character of a text.
fn number_bytes(leaf: &Leaf) -> usize {
    match leaf.scalar.kind {
        Kind::Complex => leaf.scalar.bytes / 2,
        Kind::Unicode => 4,
        _ => leaf.scalar.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dtype(text: &str) -> Dtype {
        Dtype::parse(text).unwrap()
    }

    #[test]
    fn only_the_order_may_differ() {
        let pair = |a: &str, b: &str| dtype(a).differs_in_byte_order_only(&dtype(b));
        assert!(pair("<f4", ">f4") && pair(">U3", "<U3") && pair("<M8[us]", ">M8[us]"));
        assert!(pair("[('a', '<u2'), ('b', '>f4', (3,))]", "[('a', '>u2'), ('b', '>f4', (3,))]"));
        assert!(!pair("<f4", "<f4") && !pair("<f4", ">i4") && !pair("<M8[us]", ">M8[ns]") && !pair("<f4", ">f8"));
        assert!(!pair("[('a', '<u2')]", "[('b', '>u2')]"));
    }

    #[test]
    fn numbers_are_turned_and_nothing_else() {
        let turned = |from: &str, to: &str, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            dtype(from).reorder_bytes(&dtype(to), &mut bytes);
            bytes
        };
        assert_eq!(turned("<u2", ">u2", &[1, 2, 3, 4]), [2, 1, 4, 3]);
        assert_eq!(turned("<c8", ">c8", &[1, 2, 3, 4, 5, 6, 7, 8]), [4, 3, 2, 1, 8, 7, 6, 5]);
        assert_eq!(turned("<U2", ">U2", &[1, 0, 0, 0, 2, 0, 0, 0]), [0, 0, 0, 1, 0, 0, 0, 2]);
        let (from, to) = (
            "[('a', 'S2'), ('', 'V1'), ('b', '<u2', (2,)), ('c', '>u2')]",
            "[('a', 'S2'), ('', 'V1'), ('b', '>u2', (2,)), ('c', '>u2')]",
        );
        assert_eq!(turned(from, to, &[1, 2, 3, 4, 5, 6, 7, 8, 9]), [1, 2, 3, 5, 4, 7, 6, 8, 9]);
    }
}
