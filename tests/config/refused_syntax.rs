//! Broken TOML, and the columns of text that is not ASCII.

use super::{GOOD, assert_faults, good_with};

#[test]
fn columns_count_characters() {
    assert_faults(
        r#"["сервис"]
x = 1
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
fit = "é" # ü
"ключ" = { "ä" = 1 } # ö
[dataset.commit]
max_bytes = "ä64MiB"
"#,
        r#"
ingest.toml:1:2: `сервис`: unknown key, expected one of `service`, `dataset`
    1 | ["сервис"]
      |  ^^^^^^^^
ingest.toml:11:7: `dataset.image.fit`: found "é", expected one of "cover", "contain", "stretch", "exact"
   11 | fit = "é" # ü
      |       ^^^
ingest.toml:12:1: `dataset.image.ключ`: unknown key, expected one of `fit`, `filter`, `layout`, `pad`, `scale`, `mean`, `std`, `orient`, `alpha`, `frames`
   12 | "ключ" = { "ä" = 1 } # ö
      | ^^^^^^
ingest.toml:14:13: `dataset.commit.max_bytes`: found "ä64MiB", expected a size of at least 1 byte such as "64MiB"; it does not begin with a number
   14 | max_bytes = "ä64MiB"
      |             ^^^^^^^^
ingest.toml: 4 faults"#,
    );
}

/// The bug: what the parser guessed for the value was told as well, at the start of the file.
#[test]
fn a_second_equals_sign_is_one_fault() {
    assert_faults(
        &good_with(r#"name = "a""#, r#"name == "a""#),
        r#"
ingest.toml:3:7: found a second `=`, expected one
    3 | name == "a"
      |       ^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn syntax_faults_do_not_hide_the_others() {
    assert_faults(
        &format!(
            "{}{}",
            good_with(r#"name = "a""#, "name = a"),
            r#"fit = "covr"
"#
        ),
        r#"
ingest.toml:3:8: string values must be quoted, expected literal string
    3 | name = a
      |        ^
ingest.toml:10:7: `dataset.image.fit`: found "covr", expected one of "cover", "contain", "stretch", "exact"; did you mean "cover"?
   10 | fit = "covr"
      |       ^^^^^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        &format!(
            "{}{}",
            good_with(r#"name = "a""#, r#"name = "a"#),
            r#"fit = "covr"
alpha =
"#
        ),
        r#"
ingest.toml:3:10: invalid basic string, expected `"`
    3 | name = "a
      |          ^
ingest.toml:10:7: `dataset.image.fit`: found "covr", expected one of "cover", "contain", "stretch", "exact"; did you mean "cover"?
   10 | fit = "covr"
      |       ^^^^^^
ingest.toml:11:8: no value, expected one after the `=`
   11 | alpha =
      |        ^
ingest.toml: 3 faults"#,
    );
    assert_faults(
        &format!(
            "{}{}",
            good_with(
                r#"name = "a""#,
                r#"name = "a"
name = "b""#
            ),
            r#"filter
pad = 007
fit = "covr"
"#
        ),
        r#"
ingest.toml:4:1: duplicate key
    4 | name = "b"
      | ^^^^
ingest.toml:11:7: key with no value, expected `=`
   11 | filter
      |       ^
ingest.toml:12:7: unexpected leading zero, expected nothing
   12 | pad = 007
      |       ^
ingest.toml:13:7: `dataset.image.fit`: found "covr", expected one of "cover", "contain", "stretch", "exact"; did you mean "cover"?
   13 | fit = "covr"
      |       ^^^^^^
ingest.toml: 4 faults"#,
    );
}

#[test]
fn a_value_without_an_end_is_told_once() {
    assert_faults(
        &format!(
            "{}{}",
            good_with("[8, 9, 3]", "[8, 9, 3"),
            r#"fit = "covr"
"#
        ),
        r#"
ingest.toml:5:9: unclosed array, expected `]`
    5 | shape = [8, 9, 3
      |         ^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &format!(
            "{GOOD}{}",
            r#"fit = """cover
alpha = 3
"#
        ),
        r#"
ingest.toml:10:7: invalid multi-line basic string, expected `"`
   10 | fit = """cover
      |       ^^^^^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn after_a_broken_table_header_only_syntax_is_told() {
    assert_faults(
        &format!(
            "{}{}",
            good_with("[dataset.image]", "[dataset.image"),
            r#"fit = "covr"
alpha =
"#
        ),
        r#"
ingest.toml:9:15: unclosed table, expected `]`
    9 | [dataset.image
      |               ^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &format!(
            "{GOOD}{}",
            r"[dataset.image]
"
        ),
        r#"
ingest.toml:10:10: duplicate key
   10 | [dataset.image]
      |          ^^^^^
ingest.toml: 1 fault"#,
    );
}
