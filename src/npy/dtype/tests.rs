//! What NumPy 2.4 gives for each descriptor was asked of NumPy itself; `tests/npy_numpy.rs` asks it again.

use super::*;

fn descr(text: &str) -> String {
    let dtype = Dtype::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(Dtype::parse(&dtype.descr()).unwrap(), dtype, "descr of {text} reads back");
    assert_eq!(Dtype::parse(&dtype.literal()).unwrap(), dtype, "literal of {text} reads back");
    dtype.descr()
}

fn bytes(text: &str) -> usize {
    Dtype::parse(text).unwrap().itemsize()
}

fn error(text: &str) -> String {
    Dtype::parse(text).unwrap_err().to_string()
}

/// `<` or `>`, whichever this machine writes.
fn native(text: &str) -> String {
    let sign = if ByteOrder::NATIVE == ByteOrder::Little { '<' } else { '>' };
    format!("{sign}{text}")
}

#[test]
fn scalars_become_canonical() {
    for text in ["u1", "|u1", "<u1", ">u1", "=u1", "'|u1'", "\"u1\"", "uint8", "ubyte", "B", " u1 "] {
        assert_eq!(descr(text), "|u1", "{text}");
        assert_eq!(Dtype::parse(text).unwrap(), Dtype::u1());
    }
    for (text, expected) in [
        ("?", "|b1"),
        ("b1", "|b1"),
        ("bool", "|b1"),
        ("b", "|i1"),
        ("S5", "|S5"),
        (">S5", "|S5"),
        ("a5", "|S5"),
        ("S", "|S0"),
        ("c", "|S1"),
        ("V12", "|V12"),
        ("<V5", "|V5"),
        (">U5", ">U5"),
        ("<f4", "<f4"),
        (">f4", ">f4"),
        ("<M8", "<M8"),
        ("<M8[generic]", "<M8"),
        (">m8[ns]", ">m8[ns]"),
        ("<M8[25us]", "<M8[25us]"),
        ("<m8[1s]", "<m8[s]"),
        ("<datetime64[us]", "<M8[us]"),
        ("<M8[μs]", "<M8[us]"),
        ("<f16", "<f16"),
        (">c32", ">c32"),
        ("<i04", "<i4"),
        ("<M8[0s]", "<M8[0s]"),
    ] {
        assert_eq!(descr(text), expected, "{text}");
    }
    for (text, expected) in [
        ("f4", "f4"),
        ("=f4", "f4"),
        ("|f4", "f4"),
        ("float32", "f4"),
        ("int16", "i2"),
        ("float16", "f2"),
        ("e", "f2"),
        ("d", "f8"),
        ("double", "f8"),
        ("complex64", "c8"),
        ("U5", "U5"),
        ("longdouble", "f16"),
        ("q", "i8"),
        ("datetime64[25us]", "M8[25us]"),
        ("timedelta64", "m8"),
        ("M", "M8"),
        ("str", "U0"),
    ] {
        assert_eq!(descr(text), native(expected), "{text}");
    }
}

#[test]
fn scalars_can_be_matched_on() {
    let scalar = |text: &str| Dtype::parse(text).unwrap().scalar().unwrap();
    assert_eq!(scalar(">i2"), Scalar { kind: Kind::Int, bytes: 2, order: ByteOrder::Big });
    assert_eq!(scalar("u1"), Scalar { kind: Kind::Uint, bytes: 1, order: ByteOrder::NotApplicable });
    assert_eq!(scalar("<U3"), Scalar { kind: Kind::Unicode, bytes: 12, order: ByteOrder::Little });
    assert_eq!(Dtype::parse("M8[7D]").unwrap().time_unit(), Some(TimeUnit { multiple: 7, unit: "D" }));
    assert_eq!(Dtype::f8_le().descr(), "<f8");
    assert_eq!(Dtype::i8_le().descr(), "<i8");
    assert_eq!(Dtype::u8_le().descr(), "<u8");
}

#[test]
fn structures_become_canonical() {
    for (text, expected, itemsize) in [
        ("[('a', '<u2'), ('b', '<f4', (3,))]", "[('a', '<u2'), ('b', '<f4', (3,))]", 14),
        ("[('a','<u2'),('b','<f4',3),]", "[('a', '<u2'), ('b', '<f4', (3,))]", 14),
        ("[('a', '<u2', ()), ['b', '>u2', [2, 3]]]", "[('a', '<u2'), ('b', '>u2', (2, 3))]", 14),
        ("[('', '|V3'), ('a', 'u1')]", "[('', '|V3'), ('a', '|u1')]", 4),
        (
            "[('', '|V1'), ('', 'V2'), ('a', 'u1'), ('', '|V0'), ('', 'V1', (2,))]",
            "[('', '|V3'), ('a', '|u1'), ('', '|V2')]",
            6,
        ),
        ("[('', '<f4', (2,)), ('a', 'u1')]", "[('', '|V8'), ('a', '|u1')]", 9),
        ("[('', '<f4')]", "[('', '<f4')]", 4),
        ("[('', [('x', 'u1')])]", "[('', [('x', '|u1')])]", 1),
        ("[(('t', ''), '|V3')]", "[(('t', ''), '|V3')]", 3),
        ("[(('title', 'name'), '<f4', (2,))]", "[(('title', 'name'), '<f4', (2,))]", 8),
        ("[((None, 'n'), '<f4')]", "[('n', '<f4')]", 4),
        (
            "[('n', [('x', 'u1'), ('y', '>i4', (2, 2))], (3,))]",
            "[('n', [('x', '|u1'), ('y', '>i4', (2, 2))], (3,))]",
            51,
        ),
        ("[('a', ('<f4', (2,)))]", "[('a', '<f4', (2,))]", 8),
        ("[('a', ('<f4', (2,)), (3,))]", "[('a', ('<f4', (2,)), (3,))]", 24),
        ("[('a', 'S', 5)]", "[('a', '|S5')]", 5),
        ("[('a', '<U', 2)]", "[('a', '<U2')]", 8),
        ("[('a', '<u2', (0,))]", "[('a', '<u2', (0,))]", 0),
        ("[]", "[]", 0),
        ("('<f4', ())", "<f4", 4),
        ("('<f4', (2, 3))", "('<f4', (2, 3))", 24),
        ("[(\"it's\", 'u1'), ('é\\n', 'u1')]", "[(\"it's\", '|u1'), ('é\\n', '|u1')]", 2),
    ] {
        assert_eq!(descr(text), expected, "{text}");
        assert_eq!(bytes(text), itemsize, "{text}");
    }
}

#[test]
fn fields_know_their_offsets() {
    let dtype = Dtype::parse("[('', '|V3'), ('a', '<u2'), (('t', 'b'), '<f4', (2,)), ('', '|V1')]").unwrap();
    let fields: Vec<_> = dtype.fields().unwrap().iter().map(|field| (field.name.as_str(), field.offset)).collect();
    assert_eq!(fields, [("a", 3), ("b", 5)]);
    assert_eq!(dtype.itemsize(), 14);
    let (base, shape) = dtype.fields().unwrap()[1].dtype.subarray().unwrap();
    assert_eq!((base.descr().as_str(), shape), ("<f4", &[2][..]));
    assert!(dtype.scalar().is_none());
}

#[test]
fn structures_can_be_built() {
    let triple = Dtype::subarray_of(Dtype::f8_le(), &[3]).unwrap();
    let dtype = Dtype::structured([("t".to_owned(), Dtype::u1()), ("xyz".to_owned(), triple)]).unwrap();
    assert_eq!(dtype.descr(), "[('t', '|u1'), ('xyz', '<f8', (3,))]");
    assert_eq!(Dtype::subarray_of(Dtype::u1(), &[]).unwrap(), Dtype::u1());
    let twice = Dtype::structured([("t".to_owned(), Dtype::u1()), ("t".to_owned(), Dtype::u1())]);
    assert_eq!(twice.unwrap_err(), DtypeError::Duplicate { name: "'t'".to_owned() });
    assert_eq!(Dtype::subarray_of(Dtype::u1(), &[1; 65]).unwrap_err(), DtypeError::Dimensions { found: 65 });
}

#[test]
fn errors_name_the_fault_and_the_field() {
    for (text, expected) in [
        ("", "the dtype is empty"),
        ("<", "'<' is not a NumPy dtype"),
        ("u", "'u' is not a NumPy dtype"),
        (">float32", "'>float32' is not a NumPy dtype"),
        ("flaot", "'flaot' is not a NumPy dtype"),
        ("i3", "'i3' does not exist: integers (i) have 1, 2, 4 or 8 bytes"),
        ("<f12", "'<f12' does not exist: floats (f) have 2, 4, 8 or 16 bytes"),
        ("c64", "'c64' does not exist: complex numbers (c) have 8, 16 or 32 bytes"),
        ("S-1", "'S-1' has no valid length: bytes as a whole number belong behind the letter"),
        ("|O", "'|O' holds Python objects: NumPy saves them as pickles, which have no fixed size"),
        (
            "M8[B]",
            "'M8[B]' has no valid time unit: expected [unit] or [<count>unit] with one of Y, M, W, D, h, m, s, ms, us, ns, ps, fs, as",
        ),
        ("M8[s/10]", "'M8[s/10]' divides its time unit: write the smaller unit instead, such as [100ms] for [s/10]"),
        ("S2147483648", "more than 2147483647 bytes, the largest item that NumPy has"),
        (
            "[('a', '<u2'), ('b', [('x', 'i3')])]",
            "field 'b': field 'x': 'i3' does not exist: integers (i) have 1, 2, 4 or 8 bytes",
        ),
        ("[('a', 'O')]", "field 'a': 'O' holds Python objects: NumPy saves them as pickles, which have no fixed size"),
        ("[('a', 'u1'), ('b',)]", "field 1 is a tuple of 1: expected (name, dtype) or (name, dtype, shape)"),
        ("['a']", "field 0 is the string 'a': expected (name, dtype) or (name, dtype, shape)"),
        ("[(1, 'u1')]", "the name of field 0 is the number 1: expected a string or (title, name)"),
        ("[((1, 'n'), 'u1')]", "the title of field 0 is the number 1: titles that are not strings are not supported"),
        ("[('a', 'u1'), ('a', 'u1')]", "'a' is used twice as a field's name or title"),
        ("[(('n', 'n'), 'u1')]", "'n' is used twice as a field's name or title"),
        (
            "[('a', 'u1', (2, -1))]",
            "field 'a': the subarray shape is (the number 2, the number -1): expected a tuple of whole numbers from 0 to 2147483647",
        ),
        (
            "[('a', 'u1', True)]",
            "field 'a': the subarray shape is True: expected a tuple of whole numbers from 0 to 2147483647",
        ),
        ("[('a', 'S', (2,))]", "field 'a': '|S0' has no length, so one whole number must follow it, not a tuple of 1"),
        (
            "[('a', 5)]",
            "field 'a': expected a dtype string, a list of fields or a (dtype, shape) tuple, found the number 5",
        ),
        ("{'names': []}", "expected a dtype string, a list of fields or a (dtype, shape) tuple, found a dictionary"),
        ("[('a', 'u1'", "the dtype is not a Python literal: at byte 11: expected ',' or ')', found the end"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    for text in ["f4,i4", "2f4", "(2,3)f4", "f4, (2)i4"] {
        assert!(error(text).contains("shorthand"), "{text}");
    }
    for text in [
        "b2",
        "M4[us]",
        "M8[us",
        "M8[us]x",
        "M8[]",
        "M8[ s]",
        "M8[-1s]",
        "M8[2147483648s]",
        "U5[x]",
        "f4[2]",
        "M[us]",
        "T",
        "é",
        "c1",
        "V1é",
    ] {
        assert!(Dtype::parse(text).is_err(), "{text}");
    }
}

#[test]
fn sizes_and_nesting_are_limited() {
    assert_eq!(bytes("U536870911"), 2_147_483_644);
    assert_eq!(Dtype::parse("U536870912").unwrap_err(), DtypeError::TooLarge);
    assert_eq!(Dtype::parse("V99999999999999999999999").unwrap_err(), DtypeError::TooLarge);
    assert_eq!(bytes("[('a', 'u1', (2147483647,))]"), 2_147_483_647);
    for text in [
        "[('a', 'u1', (2147483647,)), ('b', 'u1')]",
        "[('a', 'u2', (2147483647,))]",
        "[('a', 'u1', (65536, 65536))]",
        "[('a', 'V2147483647'), ('', 'V1')]",
    ] {
        assert!(error(text).ends_with("the largest item that NumPy has"), "{text}");
    }
    let nested = |depth: usize| format!("{}'u1'{}", "[('a', ".repeat(depth), ")]".repeat(depth));
    assert_eq!(bytes(&nested(DEPTH_MAX - 1)), 1);
    assert!(error(&nested(DEPTH_MAX)).ends_with("more than 32 dtypes nested in each other"));
    assert!(error(&nested(10_000)).contains("nested more than 100 deep"));
    // The constructors hold the limit as well.
    let mut dtype = Dtype::u1();
    for _ in 1..DEPTH_MAX {
        dtype = Dtype::structured([("a".to_owned(), dtype)]).unwrap();
    }
    assert_eq!(Dtype::structured([("a".to_owned(), dtype)]).unwrap_err(), DtypeError::TooDeep);
}
