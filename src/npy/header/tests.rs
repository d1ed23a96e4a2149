use super::super::growth::NoGrowth;
use super::*;

/// A header as NumPy writes it: the text padded with spaces to a multiple of 64, and a newline.
pub(in super::super) fn wrap(version: Version, text: &str) -> Vec<u8> {
    let text: Vec<u8> = match version {
        Version::V3_0 => text.as_bytes().to_vec(),
        _ => text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect(),
    };
    let total = (version.prefix_bytes() + text.len() + 1).next_multiple_of(64);
    let length = u32::try_from(total - version.prefix_bytes()).unwrap().to_le_bytes();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&version.bytes());
    bytes.extend_from_slice(&length[..version.prefix_bytes() - 8]);
    bytes.extend_from_slice(&text);
    bytes.resize(total - 1, b' ');
    bytes.push(b'\n');
    bytes
}

fn parse(text: &str) -> Result<Header, HeaderError> {
    Header::parse(&wrap(Version::V1_0, text))
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn reads_what_numpy_writes() {
    let header = parse("{'descr': '<f4', 'fortran_order': False, 'shape': (10, 3, 2), }").unwrap();
    assert_eq!(header.version, Version::V1_0);
    assert_eq!(header.dtype.descr(), "<f4");
    assert_eq!((header.shape.as_slice(), header.fortran_order, header.data_start), (&[10, 3, 2][..], false, 128));
    assert_eq!((header.rows(), header.row_shape()), (Some(10), &[3, 2][..]));
    assert_eq!((header.row_bytes(), header.data_bytes()), (24, 240));
}

#[test]
fn the_last_axis_grows_in_fortran_order() {
    let header = parse("{'descr': '<f4', 'fortran_order': True, 'shape': (10, 3, 2), }").unwrap();
    assert_eq!((header.rows(), header.row_shape()), (Some(2), &[10, 3][..]));
    assert_eq!((header.row_bytes(), header.data_bytes()), (120, 240));
}

#[test]
fn arrays_of_one_dimension_or_none() {
    let header = parse("{'descr': '<i8', 'fortran_order': False, 'shape': (7,), }").unwrap();
    assert_eq!((header.rows(), header.row_shape(), header.row_bytes()), (Some(7), &[][..], 8));
    let header = parse("{'descr': '<i8', 'fortran_order': False, 'shape': (), }").unwrap();
    assert_eq!((header.rows(), header.row_shape(), header.row_bytes(), header.data_bytes()), (None, &[][..], 8, 8));
    assert_eq!(header.growth(), Growth::None(NoGrowth::NoDimensions));
    let header = parse("{'descr': '<i8', 'fortran_order': False, 'shape': (7, 0), }").unwrap();
    assert_eq!((header.row_bytes(), header.data_bytes()), (0, 0));
    assert_eq!(header.growth(), Growth::None(NoGrowth::EmptyRows));
    assert_eq!(header.rows_max_in_place(), None);
    let header = parse("{'descr': '<i8', 'fortran_order': False, 'shape': (0, 7), }").unwrap();
    assert_eq!((header.row_bytes(), header.data_bytes()), (56, 0));
}

#[test]
fn takes_other_writers_spelling() {
    for text in [
        "{'shape': (3,), 'descr': '<f4', 'fortran_order': False}",
        " {\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(3,)} ",
        "{'descr': '<f4',\n 'fortran_order': False, # C\n 'shape': (+3,), }",
        "{u'descr': '<' 'f4', 'fortran_order': False, 'shape': (3L,), }",
        "({'descr': '<f4', 'fortran_order': False, 'shape': ((0x3),), })",
        "\n{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}\n\n",
    ] {
        let header = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((header.dtype.descr().as_str(), header.shape.as_slice()), ("<f4", &[3][..]), "{text}");
    }
}

#[test]
fn the_encoding_follows_the_version() {
    let text = "{'descr': [('é', '<f4')], 'fortran_order': False, 'shape': (3,), }";
    for version in [Version::V1_0, Version::V2_0, Version::V3_0] {
        let bytes = wrap(version, text);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.version, version);
        assert_eq!(header.dtype.fields().unwrap()[0].name, "é");
        let grown = header.rewritten(&bytes, 12).unwrap();
        assert_eq!(Header::parse(&grown).unwrap().rows(), Some(12), "the digits are found behind the é");
    }
    let mut latin1 = wrap(Version::V1_0, text);
    latin1.splice(6..10, [3, 0, 118, 0, 0, 0]);
    assert_eq!(Header::parse(&latin1).unwrap_err(), HeaderError::Encoding { offset: 25 });
    let name = wrap(Version::V3_0, "{'descr': [('名前', '<f4')], 'fortran_order': False, 'shape': (3,), }");
    assert_eq!(Header::parse(&name).unwrap().dtype.fields().unwrap()[0].name, "名前");
    assert!(Header::parse(&wrap(Version::V3_0, "{'descr': '<f4', 'fortran_order': False, 'shape': (3L,), }")).is_err());
    assert!(Header::parse(&wrap(Version::V2_0, "{'descr': '<f4', 'fortran_order': False, 'shape': (3L,), }")).is_ok());
}

#[test]
fn asks_for_as_many_bytes_as_it_needs() {
    let bytes = wrap(Version::V2_0, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }");
    let mut have = 0;
    let mut asked = Vec::new();
    while let Err(HeaderError::Incomplete { needed }) = Header::parse(&bytes[..have]) {
        assert!(needed > have as u64);
        have = usize::try_from(needed).unwrap();
        asked.push(have);
    }
    assert_eq!(asked, [10, 12, 128]);
    for length in 0..bytes.len() {
        assert!(matches!(Header::parse(&bytes[..length]), Err(HeaderError::Incomplete { .. })), "{length}");
    }
    assert!(Header::parse(&bytes).is_ok());
}

#[test]
fn errors_say_what_was_found() {
    let start = |bytes: &[u8]| Header::parse(bytes).unwrap_err().to_string();
    assert_eq!(start(b"PK\x03\x04"), "not a .npy file: it starts with \"PK\\x03\\x04\" instead of \"\\x93NUMPY\"");
    assert_eq!(
        start(b"\x93NUMPZ\x01\0v\0"),
        "not a .npy file: it starts with \"\\x93NUMPZ\" instead of \"\\x93NUMPY\""
    );
    assert_eq!(start(b"\x93NUMPY\x04\0"), "version 4.0 of the .npy format is not known: 1.0, 2.0 and 3.0 are");
    assert_eq!(start(b"\x93NUMPY\x01\x01"), "version 1.1 of the .npy format is not known: 1.0, 2.0 and 3.0 are");
    assert_eq!(
        start(b"\x93NUMPY\x02\0\0\0\0\x80"),
        "the header claims to be 2147483648 bytes long: at most 1048576 are read"
    );
    for (text, expected) in [
        ("", "the header is not a Python literal: at byte 64: expected a value, found the end"),
        ("[]", "the header must be a dictionary, and is a list of 0"),
        ("{'descr': '<f4', 'fortran_order': False}", "the header has no key 'shape'"),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'x': 1}",
            "the header has a key beside 'descr', 'fortran_order' and 'shape': the string 'x'",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 1: 1}",
            "the header has a key beside 'descr', 'fortran_order' and 'shape': the number 1",
        ),
        (
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3,)}",
            "the header has the key 'descr' twice",
        ),
        (
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}",
            "'fortran_order' must be True or False, and is the number 0",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': 3}",
            "'shape' must be a tuple of whole numbers, and is the number 3",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3)}",
            "'shape' must be a tuple of whole numbers, and is the number 3",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': [3]}",
            "'shape' must be a tuple of whole numbers, and is a list of 1",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, -1)}",
            "dimension 1 of 'shape' must be a whole number that is not negative, and is the number -1",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}",
            "dimension 0 of 'shape' must be a whole number that is not negative, and is True",
        ),
        (
            "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
            "'descr' is not a dtype of fixed size: '|O' holds Python objects: NumPy saves them as pickles, which have no fixed size",
        ),
        (
            "{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (3,)}",
            "'descr' is the subarray ('<f4', (2,)): its dimensions belong into 'shape'",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,,)}",
            "the header is not a Python literal: at byte 63: expected a value, found ','",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3000000000000000000,)}",
            "an array of shape (3000000000000000000,) with 4 bytes an element is larger than a file can be",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807)}",
            "an array of shape (0, 9223372036854775807) with 4 bytes an element is larger than a file can be",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000000000000, 0)}",
            "an array of shape (4000000000000000000, 0) with 4 bytes an element is larger than a file can be",
        ),
        (
            "{'descr': '|V0', 'fortran_order': False, 'shape': (9223372036854775808,)}",
            "an array of shape (9223372036854775808,) with 0 bytes an element is larger than a file can be",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    let many = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({})}}", "1,".repeat(65));
    assert_eq!(error(&many), "'shape' has 65 dimensions: NumPy allows 64");
}

#[test]
fn numpys_padding_gives_room() {
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (10, 3), }";
    let bytes = wrap(Version::V1_0, text);
    let header = Header::parse(&bytes).unwrap();
    // 128 bytes less the prefix, the text and the newline.
    assert_eq!(header.growth(), Growth::Room { spare_bytes: 128 - 10 - text.len() - 1 });
    let grown = header.rewritten(&bytes, 1_234_567).unwrap();
    assert_eq!(grown, wrap(Version::V1_0, "{'descr': '<f4', 'fortran_order': False, 'shape': (1234567, 3), }"));
    let shrunk = header.rewritten(&bytes, 3).unwrap();
    assert_eq!(shrunk, wrap(Version::V1_0, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }"));
    assert_eq!(header.rewritten(&bytes[1..], 11), None);
}

#[test]
fn room_is_used_to_the_last_byte() {
    // Prefix and newline leave 117 of the 128 bytes: two spaces more than the text takes.
    let with_zeros =
        |zeros| format!("{{'descr': '|S{}1', 'fortran_order': False, 'shape': (97,), }}", "0".repeat(zeros));
    let text = with_zeros(117 - 2 - with_zeros(0).len());
    let bytes = wrap(Version::V1_0, &text);
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(bytes.len(), 128);
    assert_eq!(header.growth(), Growth::Room { spare_bytes: 2 });
    assert_eq!(header.rows_max_in_place(), Some(9999));
    let grown = header.rewritten(&bytes, 9999).unwrap();
    assert!(grown.ends_with(b"(9999,), }\n"));
    let again = Header::parse(&grown).unwrap();
    assert_eq!((again.rows(), again.growth()), (Some(9999), Growth::Room { spare_bytes: 0 }));
    assert_eq!(header.rewritten(&bytes, 10_000), None);
    assert!(again.growth().to_string().starts_with("only until"));
}

#[test]
fn spaces_before_the_count_are_room_but_the_separator_is_not() {
    let mut text = "{'descr': '<f4', 'fortran_order': True, 'shape': (10,   3)}".to_owned();
    text.push_str(&" #".repeat((117 - text.len()) / 2));
    let bytes = wrap(Version::V1_0, &text);
    let header = Header::parse(&bytes).unwrap();
    let padding = 117 - text.len();
    assert_eq!(header.growth(), Growth::Room { spare_bytes: 2 + padding });
    let most = header.rows_max_in_place().unwrap();
    let grown = header.rewritten(&bytes, most).unwrap();
    assert_eq!(grown.len(), bytes.len());
    assert!(String::from_utf8_lossy(&grown).contains(&format!("(10, {most})")));
}

#[test]
fn any_aligned_window_is_recognised() {
    // The text starts at byte 10; two more spaces put the digit's end on byte 80.
    let with = |spaces: usize| {
        let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({}1, 3), }}", " ".repeat(spaces));
        Header::parse(&wrap(Version::V1_0, &text)).unwrap().growth()
    };
    assert_eq!(with(18), Growth::Window { offset: 64, width: 16 });
    assert_eq!(with(34), Growth::Window { offset: 80, width: 16 });
    assert_eq!(with(17), Growth::Window { offset: 64, width: 15 });
    assert_eq!(with(13), Growth::Window { offset: 64, width: 11 });
    assert!(matches!(with(12), Growth::Room { .. }), "too narrow in its block");
    assert!(matches!(with(19), Growth::Room { .. }), "at the start of the next block");
    assert!(matches!(with(2), Growth::Room { .. }), "too few spaces");
    let text = format!("{{'descr': '|u1', 'fortran_order': True, 'shape': (3, {}1), }}", " ".repeat(16));
    assert_eq!(Header::parse(&wrap(Version::V1_0, &text)).unwrap().growth(), Growth::Window { offset: 64, width: 16 });
    // A window that holds anything but spaces and digits is none.
    let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({}0x1, 3), }}", " ".repeat(16));
    assert!(matches!(Header::parse(&wrap(Version::V1_0, &text)).unwrap().growth(), Growth::Room { .. }));
}

#[test]
fn a_window_changes_nothing_else() {
    let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({}9, 3), }}", " ".repeat(18));
    let bytes = wrap(Version::V1_0, &text);
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(header.rows_max_in_place(), Some(9_999_999_999_999_999));
    let grown = header.rewritten(&bytes, 1_234).unwrap();
    assert_eq!(&grown[64..80], b"            1234");
    assert_eq!((&grown[..64], &grown[80..]), (&bytes[..64], &bytes[80..]));
    assert_eq!(header.rewritten(&bytes, 10_u64.pow(16)), None);
}

/// A newline behind a backslash is part of the text. It was taken for the header's own, and spaces were put before it.
#[test]
fn a_backslash_before_the_newline_can_grow_and_shrink() {
    let start = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), ";
    let text = format!("{start}{}}}\\\n", " ".repeat(107 - start.len()));
    let mut bytes = wrap(Version::V1_0, &text);
    *bytes.last_mut().unwrap() = b' ';
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(header.growth(), Growth::Room { spare_bytes: 8 });
    let grown = header.rewritten(&bytes, 999_999_999).unwrap();
    assert!(grown.ends_with(b"}\\\n"));
    let read = Header::parse(&grown).unwrap();
    assert_eq!((read.rows(), read.growth()), (Some(999_999_999), Growth::Room { spare_bytes: 0 }));
    assert_eq!(read.rewritten(&grown, 1), Some(bytes));
}
