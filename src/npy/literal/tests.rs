use super::reader::VALUES_MAX;
use super::*;

fn value(text: &str) -> Value {
    read(text, false).unwrap().value
}

fn fault(text: &str) -> String {
    read(text, false).unwrap_err().to_string()
}

#[test]
fn reads_what_python_reads() {
    assert_eq!(value("3"), Value::Int(3));
    assert_eq!(value(" -3 "), Value::Int(-3));
    assert_eq!(value("+ 3"), Value::Int(3));
    assert_eq!(value("(+\n3)"), Value::Int(3));
    assert_eq!(value("1_000"), Value::Int(1000));
    assert_eq!(value("0x_ff"), Value::Int(255));
    assert_eq!(value("00"), Value::Int(0));
    assert_eq!(value("(((3)))"), Value::Int(3));
    assert_eq!(value("()"), Value::Tuple(vec![]));
    assert!(matches!(value("(3,)"), Value::Tuple(items) if items.len() == 1));
    assert!(matches!(value("[1,\n 2 , # two\n]"), Value::List(items) if items.len() == 2));
    assert!(matches!(value("{'a': None, }"), Value::Dict(entries) if entries.len() == 1));
    assert_eq!(value("'a' \"b\" r'\\c'"), Value::Str("ab\\c".to_owned()));
    assert_eq!(value("'''a'b'''"), Value::Str("a'b".to_owned()));
    assert_eq!(value("'''a\r\nb\rc\\\r\nd'''"), Value::Str("a\nb\ncd".to_owned()));
    assert_eq!(value("''"), Value::Str(String::new()));
    assert_eq!(value("u'\\x41\\u00e9\\U0001F600\\101\\n\\q'"), Value::Str("Aé😀A\n\\q".to_owned()));
    assert_eq!(value("b'x'"), Value::Bytes);
    assert_eq!(value("\n{}"), Value::Dict(vec![]));
    assert_eq!(value(" \t{}"), Value::Dict(vec![]));
    assert_eq!(read("3L", true).unwrap().value, Value::Int(3));
}

#[test]
fn refuses_what_python_refuses_and_says_where() {
    assert_eq!(fault(""), "at byte 0: expected a value, found the end");
    assert_eq!(fault("[1 2]"), "at byte 3: expected ',' or ']', found '2'");
    assert_eq!(fault("(,)"), "at byte 1: expected a value, found ','");
    assert_eq!(fault("(1,,)"), "at byte 3: expected a value, found ','");
    assert_eq!(fault("{'a'}"), "at byte 4: expected ':', found '}'");
    assert_eq!(fault("{} {}"), "at byte 3: expected nothing more, found '{'");
    assert_eq!(fault("'abc"), "at byte 0: the string that starts here has no closing quote");
    assert_eq!(fault("- x"), "at byte 2: expected a number, found 'x'");
    assert_eq!(fault("3L"), "at byte 0: 3L is not a number that is allowed here");
    assert_eq!(fault("'\\ud800'"), "at byte 1: the escape \\ud800 in a string cannot be read");
    assert_eq!(fault("\n  {}"), "at byte 3: expected no indentation, found '{'");
    assert!(fault("[open('x')]").contains("found 'open'"));
    for text in [
        "01",
        "1__0",
        "1_",
        "_1",
        "0x",
        "1.5",
        "1e3",
        "--3",
        "f'x'",
        "'\0'",
        "'a\rb'",
        "{}\0",
        "340282366920938463463374607431768211456",
    ] {
        assert!(read(text, false).is_err(), "{text:?}");
    }
}

#[test]
fn limits_nesting_and_number_of_values() {
    assert!(fault(&"[".repeat(5_000)).contains("nested more than 100 deep"));
    let many = format!("[{}]", "1,".repeat(VALUES_MAX));
    assert!(fault(&many).contains("more than 262144 values"));
}

#[test]
fn quotes_as_python_does() {
    // Left of each pair: the string; right: what CPython's repr gives.
    for (text, expected) in [
        ("a", "'a'"),
        ("it's", "\"it's\""),
        ("\"", "'\"'"),
        ("'\"", "'\\'\"'"),
        ("\\", "'\\\\'"),
        ("\t\n\r\0", "'\\t\\n\\r\\x00'"),
        ("é", "'é'"),
        ("\u{ad}", "'\\xad'"),
        ("\u{7f}\u{80}\u{a0}", "'\\x7f\\x80\\xa0'"),
        ("\u{200b}\u{2028}\u{feff}", "'\\u200b\\u2028\\ufeff'"),
        ("\u{e000}\u{e0001}", "'\\ue000\\U000e0001'"),
        ("e\u{301}", "'e\u{301}'"),
        ("日本😀", "'日本😀'"),
    ] {
        assert_eq!(quote(text), expected);
        assert_eq!(value(&quote(text)), Value::Str(text.to_owned()));
    }
}
