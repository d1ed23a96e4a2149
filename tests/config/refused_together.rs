//! What is right by itself and impossible together.

use super::{GOOD, assert_faults, parsed, watching};

#[test]
fn integer_rows_are_not_scaled() {
    assert_faults(
        &format!(
            "{GOOD}{}",
            r"scale = 2
mean = 1
std = 2
"
        ),
        r#"
ingest.toml:10:9: `dataset.image.scale`: has no effect: only rows of a float dtype are scaled; remove the line, or use dtype = "f4"
   10 | scale = 2
      |         ^
ingest.toml:11:8: `dataset.image.mean`: has no effect: only rows of a float dtype are scaled; remove the line, or use dtype = "f4"
   11 | mean = 1
      |        ^
ingest.toml:12:7: `dataset.image.std`: has no effect: only rows of a float dtype are scaled; remove the line, or use dtype = "f4"
   12 | std = 2
      |       ^
ingest.toml: 3 faults"#,
    );
}

#[test]
fn a_move_needs_its_folder_and_a_folder_its_move() {
    assert_faults(
        &watching(
            r#"after = "move"
rejected = "move""#,
        ),
        r#"
ingest.toml:9:9: `dataset.watch.after`: "move" needs a folder, but `move_to` is missing; add move_to = "done"
    9 | after = "move"
      |         ^^^^^^
ingest.toml:10:12: `dataset.watch.rejected`: "move" needs a folder, but `rejected_to` is missing; add rejected_to = "failed"
   10 | rejected = "move"
      |            ^^^^^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        &watching(
            r#"move_to = "f"
rejected = "keep"
rejected_to = "g""#,
        ),
        r#"
ingest.toml:9:11: `dataset.watch.move_to`: found "f", but nothing is moved without after = "move"; add after = "move", or remove the line
    9 | move_to = "f"
      |           ^^^
ingest.toml:11:15: `dataset.watch.rejected_to`: found "g", but nothing is moved without rejected = "move"; add rejected = "move", or remove the line
   11 | rejected_to = "g"
      |               ^^^
ingest.toml: 2 faults"#,
    );
}

#[test]
fn moved_files_must_not_be_taken_again() {
    assert_faults(
        &watching(
            r#"after = "move"
move_to = "in/done"
rejected = "move"
rejected_to = ".""#,
        ),
        r#"
ingest.toml:10:11: `dataset.watch.move_to`: found "in/done", which is inside a watched folder of dataset "a" (line 8): what is moved there would be taken again; move to a folder beside the watched ones
   10 | move_to = "in/done"
      |           ^^^^^^^^^
ingest.toml:12:15: `dataset.watch.rejected_to`: found ".", which is around a watched folder of dataset "a" (line 8): what is moved there would be taken again; move to a folder beside the watched ones
   12 | rejected_to = "."
      |               ^^^
ingest.toml:12:15: `dataset.watch.rejected_to`: found ".", where the output of dataset "a" lies (line 4): what is moved there could get the name of one of its files; move to a folder of its own
   12 | rejected_to = "."
      |               ^^^
ingest.toml: 3 faults"#,
    );
    assert_faults(
        &watching(
            r#"after = "move"
move_to = "in"
recursive = false"#,
        ),
        r#"
ingest.toml:10:11: `dataset.watch.move_to`: found "in", which is a watched folder of dataset "a" (line 8): what is moved there would be taken again; move to a folder beside the watched ones
   10 | move_to = "in"
      |           ^^^^
ingest.toml: 1 fault"#,
    );
}

/// The bug: a source of the name `a.ledger.db-journal` was removed by SQLite.
#[test]
fn moved_files_must_not_lie_among_those_of_an_output() {
    let text = |output: &str, watch: &str| watching(watch).replace("a.npy", output);
    let to_data = "after = \"move\"\nmove_to = \"data\"";
    assert_faults(
        &text("data/a.npy", to_data),
        r#"
ingest.toml:10:11: `dataset.watch.move_to`: found "data", where the output of dataset "a" lies (line 4): what is moved there could get the name of one of its files; move to a folder of its own
   10 | move_to = "data"
      |           ^^^^^^
ingest.toml: 1 fault"#,
    );
    // Files keep their path below the target.
    let all = format!("{to_data}\ninclude = [\"**\"]");
    assert_faults(
        &text("data/more/a.npy", &all),
        r#"
ingest.toml:10:11: `dataset.watch.move_to`: found "data", where the output of dataset "a" lies (line 4): what is moved there could get the name of one of its files; move to a folder of its own
   10 | move_to = "data"
      |           ^^^^^^
ingest.toml: 1 fault"#,
    );
    parsed(&text("data/more/a.npy", to_data));
    parsed(&text("data/more/a.npy", &format!("{all}\nrecursive = false")));
    parsed(&text("data/a.npy", &to_data.replace("\"data\"", "\"data/done\"")));
}

#[test]
fn moved_files_must_not_be_taken_by_another_dataset() {
    assert_faults(
        r#"
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
after = "move"
move_to = "b/in"
[dataset.image]

[[dataset]]
name = "b"
output = "b.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["b"]
[dataset.image]
"#,
        r#"
ingest.toml:10:11: `dataset.watch.move_to`: found "b/in", which is inside a watched folder of dataset "b" (line 19): what is moved there would be taken again; move to a folder beside the watched ones
   10 | move_to = "b/in"
      |           ^^^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn outputs_must_not_be_sources() {
    assert_faults(
        &watching(r#"include = ["**/*.db"]"#).replace("a.npy", "in/a.npy"),
        r#"
ingest.toml:4:10: `dataset.output`: found "in/a.npy", but dataset "a" would take a.ledger.db for a source; put the output into a folder that is not watched
    4 | output = "in/a.npy"
      |          ^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn names_are_unique() {
    assert_faults(
        r#"
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]

[[dataset]]
name = "a"
output = "b.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#,
        r#"
ingest.toml:12:8: `dataset.name`: found "a", which is the name of the dataset in line 3 already; names are unique
   12 | name = "a"
      |        ^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn outputs_are_unique() {
    assert_faults(
        r#"
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]

[[dataset]]
name = "b"
output = "x/../a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#,
        r#"
ingest.toml:13:10: `dataset.output`: found "x/../a.npy", which is the output of dataset "a" (line 4) already; choose another name
   13 | output = "x/../a.npy"
      |          ^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        r#"
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]

[[dataset]]
name = "b"
output = "a.source.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#,
        r#"
ingest.toml:13:10: `dataset.output`: found "a.source.npy", but a.source.npy belongs to the output of dataset "a" (line 4) as well; choose another name
   13 | output = "a.source.npy"
      |          ^^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn folders_are_shared_only_if_nobody_takes_files_away() {
    assert_faults(
        r#"
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]

[[dataset]]
name = "b"
output = "b.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in/x"]
after = "delete"
[dataset.image]
"#,
        r#"
ingest.toml:17:12: `dataset.watch.folders`: found "in/x", which dataset "a" watches too (line 8), and one of the two deletes or moves files: it may do so before the other has read them (`include` and `exclude` are not compared); set after = "keep" and rejected = "keep" in both, or give each its own folder
   17 | folders = ["in/x"]
      |            ^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        r#"
[[dataset]]
name = "a"
output = "a.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
rejected = "move"
rejected_to = "bad"
[dataset.image]

[[dataset]]
name = "b"
output = "b.npy"
shape = [8, 9, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
[dataset.image]
"#,
        r#"
ingest.toml:19:12: `dataset.watch.folders`: found "in", which dataset "a" watches too (line 8), and one of the two deletes or moves files: it may do so before the other has read them (`include` and `exclude` are not compared); set after = "keep" and rejected = "keep" in both, or give each its own folder
   19 | folders = ["in"]
      |            ^^^^
ingest.toml: 1 fault"#,
    );
}
