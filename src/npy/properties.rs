//! Random dtypes, shapes and bytes: what is written reads back, and nothing that is read makes the readers panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::header::tests::wrap;
use super::*;

fn scalar() -> impl Strategy<Value = Dtype> {
    let fixed = prop::sample::select(vec![
        "?",
        "i1",
        "<i2",
        ">i4",
        "<i8",
        "u1",
        ">u2",
        "<u4",
        ">u8",
        "<f2",
        ">f4",
        "<f8",
        "<f16",
        "<c8",
        ">c16",
        ">c32",
        "<M8",
        ">m8[ns]",
        "<M8[25us]",
        "<m8[7D]",
    ])
    .prop_map(str::to_owned);
    let sized =
        (prop::sample::select(vec!["S", "<U", ">U", "V"]), 1_usize..40).prop_map(|(kind, n)| format!("{kind}{n}"));
    prop_oneof![3 => fixed, 1 => sized].prop_map(|text| Dtype::parse(&text).unwrap())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z_]{1,8}", 1 => "[é'\"\\\\\\n名 ]{1,4}", 1 => "\\PC{1,3}"]
}

/// A structure as text, with padding and titles, parsed; names are made unique.
fn structured(inner: impl Strategy<Value = Dtype> + Clone + 'static) -> impl Strategy<Value = Dtype> {
    let shaped = (inner, vec(1_usize..4, 0..3)).prop_map(|(dtype, shape)| Dtype::subarray_of(dtype, &shape).unwrap());
    vec((name(), shaped, 0_usize..3, any::<bool>()), 1..5).prop_map(|fields| {
        let mut text = String::from("[");
        for (index, (name, dtype, padding, titled)) in fields.into_iter().enumerate() {
            let name = literal::quote(&format!("{name}{index}"));
            let name = if titled { format!("('title {index}', {name})") } else { name };
            text.push_str(&format!("('', '|V{padding}'), ({name}, {}), ", dtype.literal()));
        }
        text.push(']');
        Dtype::parse(&text).unwrap()
    })
}

fn dtype() -> impl Strategy<Value = Dtype> {
    scalar().prop_recursive(3, 16, 4, |inner| structured(inner.boxed()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn descriptors_read_back(dtype in dtype()) {
        prop_assert_eq!(&Dtype::parse(&dtype.descr()).unwrap(), &dtype);
        prop_assert_eq!(&Dtype::parse(&dtype.literal()).unwrap(), &dtype);
        prop_assert_eq!(Dtype::parse(&dtype.literal()).unwrap().itemsize(), dtype.itemsize());
    }

    #[test]
    fn our_headers_read_back(dtype in dtype(), row_shape in vec(1_usize..500, 0..5), rows in 0..=COUNT_MAX, fortran: bool) {
        let layout = if fortran { Layout::fortran(&dtype, &row_shape) } else { Layout::new(&dtype, &row_shape) }.unwrap();
        let rows = rows.min(layout.rows_max());
        let mut bytes = layout.header(rows).unwrap();
        prop_assert_eq!(layout.matches(&bytes), Ok(rows));
        prop_assert_eq!(Layout::from_header(&bytes), Ok((layout.clone(), rows)));
        bytes.extend_from_slice(&[7; 50]);
        let header = Header::parse(&bytes).unwrap();
        prop_assert_eq!((&header.dtype, header.rows(), header.data_start), (&dtype, Some(rows), layout.data_start()));
        let shape: Vec<u64> = row_shape.iter().map(|dimension| *dimension as u64).collect();
        prop_assert_eq!(header.row_shape(), shape);
        prop_assert_eq!(header.fortran_order, fortran);
        prop_assert_eq!(header.row_bytes(), layout.row_bytes());
        prop_assert_eq!((layout.data_start() % 64, layout.window_offset() % 16), (0, 0));
    }

    /// NumPy's own headers: with a growing count they stay as long, and say the same but for the count.
    #[test]
    fn rewritten_headers_differ_in_the_count_only(
        dtype in dtype(), shape in vec(1_u64..500, 1..5), fortran: bool, rows: u64, spare in 0..25_usize,
    ) {
        let text = format!(
            "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}{}",
            dtype.literal(),
            if fortran { "True" } else { "False" },
            dtype::shape_literal(&shape),
            " ".repeat(spare),
        );
        let version = if text.chars().all(|letter| u32::from(letter) < 256) { Version::V2_0 } else { Version::V3_0 };
        let bytes = wrap(version, &text);
        let header = Header::parse(&bytes).unwrap();
        let most = header.rows_max_in_place().unwrap();
        for rows in [rows % most.max(1), most] {
            let grown = header.rewritten(&bytes, rows).unwrap();
            prop_assert_eq!(grown.len(), bytes.len());
            let read = Header::parse(&grown).unwrap();
            prop_assert_eq!((read.rows(), read.row_shape()), (Some(rows), header.row_shape()));
            let back = read.rewritten(&grown, header.rows().unwrap()).unwrap();
            prop_assert_eq!(&Header::parse(&back).unwrap().shape, &header.shape);
        }
        prop_assert!(most == u64::MAX || header.rewritten(&bytes, most + 1).is_none());
    }

    #[test]
    fn random_text_never_panics(text in "\\PC{0,60}", tokens in vec(token(), 0..40)) {
        let _ = Dtype::parse(&text);
        let text: String = tokens.concat();
        let _ = Dtype::parse(&text);
        let header = format!("{{'descr': {text}, 'fortran_order': False, 'shape': ({text}), }}");
        let _ = Header::parse(&wrap(Version::V3_0, &header));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), version in 1_u8..4) {
        let _ = Header::parse(&bytes);
        let mut framed = MAGIC.to_vec();
        framed.extend_from_slice(&[version, 0, 100, 0]);
        framed.extend_from_slice(&bytes);
        let _ = Header::parse(&framed);
        let _ = Layout::from_header(&framed);
    }

    /// Whatever a damaged header still says, its figures hang together, and our layout takes no damage outside the window.
    #[test]
    fn damaged_headers_never_panic(
        dtype in dtype(), row_shape in vec(1_usize..500, 0..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>(),
    ) {
        let layout = Layout::new(&dtype, &row_shape).unwrap();
        let sound = layout.header(12_345).unwrap();
        let mut bytes = sound.clone();
        for (index, byte) in damage {
            *index.get_mut(&mut bytes) = byte;
        }
        let _ = Header::parse(&bytes[..cut.index(bytes.len())]);
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert!(header.data_start.checked_add(header.data_bytes()).is_some());
            if let Some(rows) = header.rows() {
                prop_assert_eq!(rows.checked_mul(header.row_bytes()), Some(header.data_bytes()));
            }
            if let Some(most) = header.rows_max_in_place() {
                prop_assert!(header.rewritten(&bytes, most).is_some());
            }
        }
        if let Ok(rows) = layout.matches(&bytes) {
            prop_assert_eq!(layout.header(rows).unwrap(), bytes);
        }
    }
}

fn token() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        " ",
        "'a'",
        "''",
        "'<f4'",
        "'|V3'",
        "1",
        "-1",
        "3L",
        "True",
        "None",
        "\"",
        "'",
        "\\",
        "#",
        "\n",
        "r'",
        "b''",
        "0x",
        "'O'",
        "('x', '<u2')",
        "(2, 3)",
        "99999999999999999999",
        "é",
    ]);
    fixed.prop_map(str::to_owned)
}
