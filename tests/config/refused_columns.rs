//! `[dataset.columns]` and `[dataset.commit]`.

use super::{assert_faults, with_extra_lines};

#[test]
fn label_and_column_flags() {
    assert_faults(
        &with_extra_lines(
            "columns",
            r#"label = true
source = "yes"
labels = 1
"#,
        ),
        r#"
ingest.toml:11:9: `dataset.columns.label`: found true, expected "folder" (the first folder below the watched one) or false
   11 | label = true
      |         ^^^^
ingest.toml:12:10: `dataset.columns.source`: found "yes", expected true or false
   12 | source = "yes"
      |          ^^^^^
ingest.toml:13:1: `dataset.columns.labels`: unknown key; did you mean `label`?
   13 | labels = 1
      | ^^^^^^
ingest.toml: 3 faults"#,
    );
}

#[test]
fn splits() {
    assert_faults(
        &with_extra_lines(
            "columns",
            r"split = { train = 0.9, val = 0.2 }
",
        ),
        r#"
ingest.toml:11:9: `dataset.columns.split`: the fractions sum to 1.1, expected 1
   11 | split = { train = 0.9, val = 0.2 }
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &with_extra_lines(
            "columns",
            r#"split = { train = 0.7, val = 0.2, "a-b" = 0.1, c = 0, d = 2, by = "path" }
"#,
        ),
        r#"
ingest.toml:11:35: `dataset.columns.split.a-b`: found "a-b", expected a name of letters, digits and `_` that begins with no digit
   11 | split = { train = 0.7, val = 0.2, "a-b" = 0.1, c = 0, d = 2, by = "path" }
      |                                   ^^^^^
ingest.toml:11:52: `dataset.columns.split.c`: found 0, expected a fraction above 0 and up to 1
   11 | split = { train = 0.7, val = 0.2, "a-b" = 0.1, c = 0, d = 2, by = "path" }
      |                                                    ^
ingest.toml:11:59: `dataset.columns.split.d`: found 2, expected a fraction above 0 and up to 1
   11 | split = { train = 0.7, val = 0.2, "a-b" = 0.1, c = 0, d = 2, by = "path" }
      |                                                           ^
ingest.toml:11:67: `dataset.columns.split.by`: found "path", expected one of "source", "content", "folder", "row"
   11 | split = { train = 0.7, val = 0.2, "a-b" = 0.1, c = 0, d = 2, by = "path" }
      |                                                                   ^^^^^^
ingest.toml: 4 faults"#,
    );
    assert_faults(
        &with_extra_lines(
            "columns",
            r"split = { train = 1 }
",
        ),
        r#"
ingest.toml:11:9: `dataset.columns.split`: found 1 part, expected 2 to 256 such as { train = 0.9, val = 0.1 }
   11 | split = { train = 1 }
      |         ^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &with_extra_lines(
            "columns",
            r#"split = "train"
"#,
        ),
        r#"
ingest.toml:11:9: `dataset.columns.split`: found "train", expected parts with their fractions such as { train = 0.9, val = 0.1 }
   11 | split = "train"
      |         ^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &with_extra_lines(
            "columns",
            r"split = { train = 0.7, val = 0.2 }
",
        ),
        r#"
ingest.toml:11:9: `dataset.columns.split`: the fractions sum to 0.9, expected 1
   11 | split = { train = 0.7, val = 0.2 }
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn commit_limits() {
    assert_faults(
        &with_extra_lines(
            "commit",
            r#"max_delay = 50
max_rows = 0
max_bytes = "0"
durability = "no"
"#,
        ),
        r#"
ingest.toml:11:13: `dataset.commit.max_delay`: found 50, expected a time from 0s to 1h such as "50ms"; add a unit: "50s" or "50ms"
   11 | max_delay = 50
      |             ^^
ingest.toml:12:12: `dataset.commit.max_rows`: found 0, expected a number of rows, at least 1
   12 | max_rows = 0
      |            ^
ingest.toml:13:13: `dataset.commit.max_bytes`: found "0", expected a size of at least 1 byte such as "64MiB"
   13 | max_bytes = "0"
      |             ^^^
ingest.toml:14:14: `dataset.commit.durability`: found "no", expected one of "source", "batch", "none"; did you mean "none"?
   14 | durability = "no"
      |              ^^^^
ingest.toml: 4 faults"#,
    );
    assert_faults(
        &with_extra_lines(
            "commit",
            r#"max_delay = "61m"
max_rows = "4096"
max_bytes = 1.5
"#,
        ),
        r#"
ingest.toml:11:13: `dataset.commit.max_delay`: found "61m", expected a time from 0s to 1h such as "50ms"
   11 | max_delay = "61m"
      |             ^^^^^
ingest.toml:12:12: `dataset.commit.max_rows`: found "4096", expected a number of rows, at least 1
   12 | max_rows = "4096"
      |            ^^^^^^
ingest.toml:13:13: `dataset.commit.max_bytes`: found 1.5, expected a size of at least 1 byte such as "64MiB"
   13 | max_bytes = 1.5
      |             ^^^
ingest.toml: 3 faults"#,
    );
}
