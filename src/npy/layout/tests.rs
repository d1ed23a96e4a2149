use super::super::growth::Growth;
use super::*;

fn layout(dtype: &str, row_shape: &[usize]) -> Layout {
    Layout::new(&Dtype::parse(dtype).unwrap(), row_shape).unwrap()
}

#[test]
fn the_header_is_as_drawn() {
    let header = layout("u1", &[224, 224, 3]).header(1024).unwrap();
    let mut expected = b"\x93NUMPY\x01\0\x76\0{'descr': '|u1', 'fortran_order': False, 'shape': (   ".to_vec();
    expected.extend_from_slice(b"            1024, 224, 224, 3), }");
    expected.resize(127, b' ');
    expected.push(b'\n');
    assert_eq!(header.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let flat = layout("<f8", &[]).header(7).unwrap();
    assert!(flat[64..].starts_with(b"               7,), }  "));
    assert_eq!(flat.len(), 128);
    let fortran = Layout::fortran(&Dtype::u1(), &[4, 3]).unwrap().header(5).unwrap();
    assert!(fortran[10..].starts_with(b"{'descr': '|u1', 'fortran_order': True, 'shape': (4, 3,            "));
    assert!(fortran[80..].starts_with(b"               5), }  "));
}

#[test]
fn reads_back_as_what_was_written() {
    for (dtype, row_shape) in [
        ("u1", &[224, 224, 3][..]),
        ("f4", &[]),
        ("<M8[25us]", &[1]),
        ("[('a', '<u2'), ('', '|V2'), ('b', [('x', '>f8', (2, 2))], (3,))]", &[4]),
        ("[(('title', 'é'), '<u2')]", &[]),
        ("[('名', '<u2')]", &[2, 2]),
        ("u1", &[1; 63]),
    ] {
        let dtype = Dtype::parse(dtype).unwrap();
        for fortran in [false, true] {
            let layout = Layout::with_order(&dtype, row_shape, fortran).unwrap();
            for rows in [0, 1, 9_999_999, layout.rows_max()] {
                let bytes = layout.header(rows).unwrap();
                assert_eq!(bytes.len() as u64, layout.data_start());
                let header = Header::parse(&bytes).unwrap();
                assert_eq!((header.rows(), &header.dtype), (Some(rows), &dtype));
                assert_eq!(header.row_shape().len(), row_shape.len());
                assert_eq!(header.row_bytes(), layout.row_bytes());
                assert_eq!(header.version, layout.version());
                assert_eq!(header.growth(), Growth::Window { offset: layout.window_offset(), width: 16 });
                assert_eq!(layout.matches(&bytes), Ok(rows));
                assert_eq!(Layout::from_header(&bytes), Ok((layout.clone(), rows)));
                assert_eq!(header.rows_max_in_place(), Some(layout.rows_max()));
            }
        }
    }
}

#[test]
fn only_the_window_changes() {
    let layout = layout("f4", &[3]);
    let (before, after) = (layout.header(9).unwrap(), layout.header(10).unwrap());
    let window = layout.window_offset() as usize;
    assert_eq!((window % 16, window / 64), (0, (window + 15) / 64));
    assert_eq!((&before[..window], &before[window + 16..]), (&after[..window], &after[window + 16..]));
    assert_eq!(after[window..window + 16], Layout::count(10).unwrap());
    assert_eq!(Header::parse(&before).unwrap().rewritten(&before, 10).unwrap(), after);
}

#[test]
fn counts_are_right_aligned_and_limited() {
    assert_eq!(&Layout::count(0).unwrap(), b"               0");
    assert_eq!(&Layout::count(COUNT_MAX).unwrap(), b"9999999999999999");
    assert_eq!(Layout::count(COUNT_MAX + 1), Err(LayoutError::Count { rows: COUNT_MAX + 1, max: COUNT_MAX }));
    for rows in [0, 1, 10, 1_000_000, COUNT_MAX] {
        assert_eq!(Layout::read_count(Layout::count(rows).unwrap()), Some(rows));
    }
    for window in [
        b"                ",
        b"              01",
        b"              +1",
        b"1               ",
        b"             1 2",
        b"              \xff1",
        b"              -1",
    ] {
        assert_eq!(Layout::read_count(*window), None, "{}", window.escape_ascii());
    }
    // Rows so large that the window is not the limit.
    let huge = Layout::new(&Dtype::u1(), &[1 << 40]).unwrap();
    assert_eq!(huge.rows_max(), (1 << 23) - 1);
    assert!(huge.header(huge.rows_max()).is_ok());
    assert!(matches!(huge.header(1 << 23), Err(LayoutError::Count { .. })));
}

#[test]
fn longer_dtypes_move_the_window_and_the_data() {
    for fields in 1..200 {
        let dtype = Dtype::structured((0..fields).map(|index| (format!("field_{index}"), Dtype::u1()))).unwrap();
        let layout = Layout::new(&dtype, &[]).unwrap();
        assert_eq!((layout.window_offset() % 16, layout.data_start() % 64), (0, 0));
        let text_end = layout.header(0).unwrap().iter().rposition(|byte| *byte == b'}').unwrap() + 1;
        assert!(layout.data_start() == 128 || layout.data_start() as usize - text_end <= 64, "no more than needed");
    }
}

#[test]
fn the_version_is_the_oldest_that_works() {
    let fields = |count: usize, letter: char| {
        let names = (0..count).map(|index| (format!("{letter}{index:05}"), Dtype::u1()));
        Layout::new(&Dtype::structured(names).unwrap(), &[]).unwrap()
    };
    assert_eq!(
        (fields(1, 'a').version(), fields(1, 'é').version(), fields(1, '名').version()),
        (Version::V1_0, Version::V1_0, Version::V3_0)
    );
    let small = fields(3_400, 'a');
    assert_eq!((small.version(), small.data_start()), (Version::V1_0, 64_704));
    assert!(!small.numpy_loads_by_default());
    assert!(fields(400, 'a').numpy_loads_by_default());
    let large = fields(4_000, 'é');
    assert_eq!(large.version(), Version::V2_0);
    let bytes = large.header(3).unwrap();
    assert_eq!(large.matches(&bytes), Ok(3));
    assert_eq!(Header::parse(&bytes).unwrap().data_start, large.data_start());
    // The seam between the versions: a v1 length of at most 65,535.
    let around: Vec<_> = (3_430..3_460).map(|count| fields(count, 'a')).collect();
    for layout in &around {
        let bytes = layout.header(1).unwrap();
        assert_eq!(layout.version() == Version::V1_0, layout.data_start() - 10 <= 65_535, "{}", layout.data_start());
        assert_eq!(layout.matches(&bytes), Ok(1));
    }
    assert!(around.iter().any(|layout| layout.version() == Version::V1_0));
    assert!(around.iter().any(|layout| layout.version() == Version::V2_0));
    let names = (0..60_000).map(|index| (format!("a{index:05}"), Dtype::u1()));
    let huge = Layout::new(&Dtype::structured(names).unwrap(), &[]);
    assert!(matches!(huge, Err(LayoutError::HeaderTooLong { bytes }) if bytes > 1 << 20));
}

#[test]
fn refuses_rows_that_cannot_be() {
    let error =
        |dtype: &str, shape: &[usize]| Layout::new(&Dtype::parse(dtype).unwrap(), shape).unwrap_err().to_string();
    assert_eq!(error("u1", &[3, 0]), "a row of shape (3, 0) and dtype |u1 holds no bytes");
    assert_eq!(error("S", &[3]), "a row of shape (3,) and dtype |S0 holds no bytes");
    assert_eq!(
        error("u1", &[usize::MAX, 2]),
        "a row of shape (18446744073709551615, 2) and dtype |u1 is larger than a file can be"
    );
    assert_eq!(
        error("u1", &[i64::MAX as usize]),
        "a row of shape (9223372036854775807,) and dtype |u1 is larger than a file can be"
    );
    assert_eq!(
        error("('<f4', (2,))", &[]),
        "the dtype ('<f4', (2,)) has a shape: put its dimensions behind the row's own"
    );
    assert_eq!(error("u1", &[1; 64]), "a row of 64 dimensions: NumPy allows 63 beside the count");
}

#[test]
fn a_mismatch_names_what_differs() {
    let ours = layout("u1", &[224, 224, 3]);
    let says = |bytes: &[u8]| ours.matches(bytes).unwrap_err().to_string();
    let other = |dtype: &str, shape: &[usize]| layout(dtype, shape).header(5).unwrap();
    assert_eq!(says(&other("f4", &[224, 224, 3])), "the dtype is <f4, and |u1 was expected");
    assert_eq!(says(&other("u1", &[224, 225, 3])), "a row has the shape (224, 225, 3), and (224, 224, 3) was expected");
    let fortran = Layout::fortran(&Dtype::u1(), &[224, 224, 3]).unwrap().header(5).unwrap();
    assert_eq!(says(&fortran), "the array is in Fortran order, and C order was expected");
    assert_eq!(says(&other("u1", &[224, 224, 3])[..100]), "the file has 100 bytes, less than the 128 of the header");
    assert_eq!(says(b""), "the file has 0 bytes, less than the 128 of the header");

    let damaged = |offset: usize, byte: u8| {
        let mut bytes = ours.header(5).unwrap();
        bytes[offset] = byte;
        says(&bytes)
    };
    assert!(damaged(0, 0).starts_with("the header is damaged in its magic at byte 0: not a .npy file"));
    assert!(damaged(6, 9).starts_with("the header is damaged in its format version at byte 6: version 9.0"));
    assert!(damaged(9, 1).starts_with("the header is damaged in its header length at byte 9"));
    assert!(damaged(12, b'D').starts_with("the header is damaged in its dtype at byte 12"));
    assert!(damaged(30, 0).starts_with("the header is damaged in its order at byte 30"));
    assert!(damaged(62, b'x').starts_with("the header is damaged in its shape at byte 62"));
    assert!(damaged(100, 0).starts_with("the header is damaged in its padding at byte 100"));
    assert_eq!(
        damaged(100, b'\t'),
        "the header is sound, but not laid out for growth in place: it differs in its padding at byte 100"
    );
    assert_eq!(damaged(78, b'x'), "the count is damaged: its 16 bytes are \"              x5\"");
    assert_eq!(damaged(79, b' '), "the count is damaged: its 16 bytes are \"                \"");
    assert!(matches!(Layout::from_header(&other("u1", &[3])[1..]), Err(Mismatch::Header(_))));
}

#[test]
fn every_flipped_bit_outside_the_window_is_noticed() {
    let ours = layout("[('a', '<f4'), ('b', 'u1')]", &[2]);
    let sound = ours.header(5).unwrap();
    let window = ours.window_offset() as usize..ours.window_offset() as usize + 16;
    for offset in 0..sound.len() {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[offset] ^= 1 << bit;
            match ours.matches(&bytes) {
                // In the window another count is possible, and only that.
                Ok(rows) => assert!(window.contains(&offset) && rows != 5, "byte {offset}, bit {bit}"),
                Err(Mismatch::Count { .. }) => assert!(window.contains(&offset)),
                Err(_) => assert!(!window.contains(&offset), "byte {offset}, bit {bit}"),
            }
        }
    }
}
