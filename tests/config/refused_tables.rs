//! Tables, required and unknown keys, `[service]`, names and outputs.

use super::{GOOD, assert_faults, good_with};

#[test]
fn all_faults_of_a_config_are_told_at_once() {
    assert_faults(
        r#"[service]
workers = 2000
memroy = "1GiB"

[[dataset]]
name = "frames"
output = "data/frames.npy"
shape = [224, 224, 3]
dtype = "u1"

[dataset.watch]
folders = ["drop"]
settle = 200

[dataset.image]
fit = "covr"
pad = [0, 300, -1]

[dataset.commit]
durability = "always"
"#,
        r#"
ingest.toml:2:11: `service.workers`: found 2000, expected a number of threads from 0 to 1024
    2 | workers = 2000
      |           ^^^^
ingest.toml:3:1: `service.memroy`: unknown key; did you mean `memory`?
    3 | memroy = "1GiB"
      | ^^^^^^
ingest.toml:13:10: `dataset.watch.settle`: found 200, expected a time from 0s to 1h such as "200ms"; add a unit: "200s" or "200ms"
   13 | settle = 200
      |          ^^^
ingest.toml:16:7: `dataset.image.fit`: found "covr", expected one of "cover", "contain", "stretch", "exact"; did you mean "cover"?
   16 | fit = "covr"
      |       ^^^^^^
ingest.toml:17:11: `dataset.image.pad`: found 300, expected a number from 0 to 255
   17 | pad = [0, 300, -1]
      |           ^^^
ingest.toml:17:16: `dataset.image.pad`: found -1, expected a number from 0 to 255
   17 | pad = [0, 300, -1]
      |                ^^
ingest.toml:20:14: `dataset.commit.durability`: found "always", expected one of "source", "batch", "none"
   20 | durability = "always"
      |              ^^^^^^^^
ingest.toml: 7 faults"#,
    );
}

#[test]
fn without_a_dataset_there_is_nothing_to_do() {
    assert_faults(
        "",
        r#"
ingest.toml:1:1: `dataset`: is missing, expected at least one dataset; begin one with [[dataset]]; config.example.toml shows a whole one
    1 | 
      | ^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        "dataset = []",
        r#"
ingest.toml:1:11: `dataset`: found [], expected at least one dataset; begin one with [[dataset]]
    1 | dataset = []
      |           ^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        "dataset = [1]",
        r#"
ingest.toml:1:12: `dataset`: found 1, expected a table that begins with [[dataset]]
    1 | dataset = [1]
      |            ^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn a_dataset_is_one_of_an_array_of_tables() {
    assert_faults(
        &good_with("[[dataset]]", "[dataset]"),
        r#"
ingest.toml:2:1: `dataset`: found a single table, expected an array of tables; write [[dataset]]
    2 | [dataset]
      | ^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    // What is missing may stand under other wrong headers, what is wrong is wrong.
    super::assert_refused(
        "[dataset]\nname = 'a b'\n",
        &[
            "f.toml:1:1: `dataset`: found a single table, expected an array of tables; write [[dataset]]",
            "f.toml:2:8: `dataset.name`: found \"a b\", expected up to 64 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`",
        ],
    );
}

#[test]
fn required_keys_come_with_an_example() {
    assert_faults(
        r"[[dataset]]
",
        r#"
ingest.toml:1:1: `dataset.name`: is missing and has no default; for example: name = "frames"
    1 | [[dataset]]
      | ^^^^^^^^^^^
ingest.toml:1:1: `dataset.output`: is missing and has no default; for example: output = "data/frames.npy"
    1 | [[dataset]]
      | ^^^^^^^^^^^
ingest.toml:1:1: `dataset.shape`: is missing and has no default; for example: shape = [224, 224, 3]
    1 | [[dataset]]
      | ^^^^^^^^^^^
ingest.toml:1:1: `dataset.dtype`: is missing and has no default; for example: dtype = "u1"
    1 | [[dataset]]
      | ^^^^^^^^^^^
ingest.toml:1:1: `dataset`: has no decoder table, expected exactly one; add [dataset.image], all of whose keys have defaults, or that of another decoder
    1 | [[dataset]]
      | ^^^^^^^^^^^
ingest.toml:1:1: `dataset.watch.folders`: is missing and has no default; for example: folders = ["drop"]
    1 | [[dataset]]
      | ^^^^^^^^^^^
ingest.toml: 6 faults"#,
    );
}

#[test]
fn unknown_keys_name_the_near_one_or_all_that_are_known() {
    assert_faults(
        r#"serivce = 1
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
zoom = 2
filtr = "area"
"#,
        r#"
ingest.toml:1:1: `serivce`: unknown key; did you mean `service`?
    1 | serivce = 1
      | ^^^^^^^
ingest.toml:10:1: `dataset.image.zoom`: unknown key, expected one of `fit`, `filter`, `layout`, `pad`, `scale`, `mean`, `std`, `orient`, `alpha`, `frames`
   10 | zoom = 2
      | ^^^^
ingest.toml:11:1: `dataset.image.filtr`: unknown key; did you mean `filter`?
   11 | filtr = "area"
      | ^^^^^
ingest.toml: 3 faults"#,
    );
    assert_faults(
        r#"[server]
port = 1
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#,
        r#"
ingest.toml:1:2: `server`: unknown key; did you mean `service`?
    1 | [server]
      |  ^^^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn a_table_must_be_a_table() {
    assert_faults(
        r#"[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
watch = { folders = ["in"] }
image = 3
columns = "all"
commit = [[1], [2]]
"#,
        r#"
ingest.toml:7:9: `dataset.image`: found 3, expected a table
    7 | image = 3
      |         ^
ingest.toml:8:11: `dataset.columns`: found "all", expected a table
    8 | columns = "all"
      |           ^^^^^
ingest.toml:9:10: `dataset.commit`: found [[1], [2]], expected a table
    9 | commit = [[1], [2]]
      |          ^^^^^^^^^^
ingest.toml: 3 faults"#,
    );
}

#[test]
fn an_address_is_one_with_a_port() {
    for (listen, message) in [
        ("\"somewhere\"", "found \"somewhere\", expected an address with a port such as \"127.0.0.1:9464\""),
        ("\"localhost:9464\"", "names are not looked up: write the address, \"127.0.0.1\" for this machine alone"),
        ("\"127.0.0.1\"", "expected an address with a port"),
        ("0", "found 0, expected an address such as \"127.0.0.1:9464\", or a port from 1 to 65535"),
        ("true", "found true, expected an address with a port"),
    ] {
        let text = format!(
            "[service]\nlisten = {listen}\n[[dataset]]\nname = \"a\"\noutput = \"a.npy\"\nshape = [8, 9, 3]\ndtype = \"u1\"\n\
             [dataset.watch]\nfolders = [\"in\"]\n[dataset.image]\n"
        );
        let faults =
            npy_ingest::config::parse(&text, std::path::Path::new("/conf/ingest.toml")).unwrap_err().to_string();
        assert!(faults.contains(":2:10: `service.listen`: found") && faults.contains(message), "{faults}");
    }
}

#[test]
fn a_second_decoder_table_is_refused() {
    assert_faults(
        &format!(
            "{GOOD}{}",
            r#"[dataset.command]
argv = ["cat"]
"#
        ),
        r#"
ingest.toml:10:1: `dataset.command`: found a second decoder table beside `image`, expected exactly one; give each its own [[dataset]]
   10 | [dataset.command]
      | ^^^^^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn a_dataset_needs_a_decoder_table() {
    assert_faults(
        &good_with("[dataset.image]", ""),
        r#"
ingest.toml:2:1: `dataset`: has no decoder table, expected exactly one; add [dataset.image], all of whose keys have defaults, or that of another decoder
    2 | [[dataset]]
      | ^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn service_limits() {
    assert_faults(
        r#"[service]
workers = -1
memory = "64M"
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#,
        r#"
ingest.toml:2:11: `service.workers`: found -1, expected a number of threads from 0 to 1024
    2 | workers = -1
      |           ^^
ingest.toml:3:10: `service.memory`: found "64M", expected a size of at least 1 byte such as "64MiB"; did you mean "64MiB"?
    3 | memory = "64M"
      |          ^^^^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        r#"[service]
workers = 1025
memory = 0
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#,
        r#"
ingest.toml:2:11: `service.workers`: found 1025, expected a number of threads from 0 to 1024
    2 | workers = 1025
      |           ^^^^
ingest.toml:3:10: `service.memory`: found 0, expected a size in bytes, at least 1
    3 | memory = 0
      |          ^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        r#"[service]
workers = 1.0
memory = "99999999999TiB"
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#,
        r#"
ingest.toml:2:11: `service.workers`: found 1.0, expected a number of threads from 0 to 1024
    2 | workers = 1.0
      |           ^^^
ingest.toml:3:10: `service.memory`: found "99999999999TiB", expected a size of at least 1 byte such as "64MiB"; it is too large
    3 | memory = "99999999999TiB"
      |          ^^^^^^^^^^^^^^^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        r#"[service]
memory = 215
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#,
        r#"
ingest.toml:6:9: `dataset.shape`: one row takes 216 bytes, but `service.memory` is 215 bytes; raise `service.memory`: it holds the rows that wait for the writer
    6 | shape = [8, 9, 3]
      |         ^^^^^^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn names_and_outputs() {
    assert_faults(
        &good_with(r#""a""#, r#""a b""#),
        r#"
ingest.toml:3:8: `dataset.name`: found "a b", expected up to 64 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`
    3 | name = "a b"
      |        ^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#""a""#, r#""""#),
        r#"
ingest.toml:3:8: `dataset.name`: found "", expected a name such as "frames"
    3 | name = ""
      |        ^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with("a.npy", "a.np"),
        r#"
ingest.toml:4:10: `dataset.output`: found "a.np", expected a file name that ends in ".npy" such as "data/frames.npy"
    4 | output = "a.np"
      |          ^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with("a.npy", ".npy"),
        r#"
ingest.toml:4:10: `dataset.output`: found ".npy", expected a file name that ends in ".npy" such as "data/frames.npy"
    4 | output = ".npy"
      |          ^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with("a.npy", "~/a.npy"),
        r#"
ingest.toml:4:10: `dataset.output`: found "~/a.npy", but `~` is not expanded in a config; write the home folder out, or "./~" for a folder of that name
    4 | output = "~/a.npy"
      |          ^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#""a.npy""#, r#"["a.npy"]"#),
        r#"
ingest.toml:4:10: `dataset.output`: found ["a.npy"], expected a file name that ends in ".npy"
    4 | output = ["a.npy"]
      |          ^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#""a""#, r#""..""#),
        r#"
ingest.toml:3:8: `dataset.name`: found "..", expected a letter, a digit, `_` or `-` in it
    3 | name = ".."
      |        ^^^^
ingest.toml: 1 fault"#,
    );
}

/// The bug: SQLite could not open a ledger whose journal would have too long a name.
#[test]
fn the_longest_output_is_one_whose_other_files_have_names_as_well() {
    let output = |bytes: usize| good_with("a.npy", &format!("data/{}.npy", "a".repeat(bytes - 4)));
    super::parsed(&output(241));
    super::assert_refused(
        &output(242),
        &[
            "f.toml:4:10: `dataset.output`: found a file name of 242 bytes, expected at most 241: the names of the files beside it are longer",
        ],
    );
}
