//! `[dataset.watch]`.

use super::{assert_faults, good_with, watching};

#[test]
fn folders() {
    assert_faults(
        &good_with(r#"["in"]"#, "[]"),
        r#"
ingest.toml:8:11: `dataset.watch.folders`: found [], expected at least one folder such as ["drop"]
    8 | folders = []
      |           ^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#"["in"]"#, r#""in""#),
        r#"
ingest.toml:8:11: `dataset.watch.folders`: found "in", expected an array of folders such as ["drop"]
    8 | folders = "in"
      |           ^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#"["in"]"#, r#"["in", "in/b", "./x/../in", "", 3, "~/x"]"#),
        r#"
ingest.toml:8:18: `dataset.watch.folders`: found "in/b", which is inside "in": its files would be taken twice; remove one of the two
    8 | folders = ["in", "in/b", "./x/../in", "", 3, "~/x"]
      |                  ^^^^^^
ingest.toml:8:26: `dataset.watch.folders`: found "./x/../in", which is the same folder as "in": its files would be taken twice; remove one of the two
    8 | folders = ["in", "in/b", "./x/../in", "", 3, "~/x"]
      |                          ^^^^^^^^^^^
ingest.toml:8:39: `dataset.watch.folders`: found "", expected a folder
    8 | folders = ["in", "in/b", "./x/../in", "", 3, "~/x"]
      |                                       ^^
ingest.toml:8:43: `dataset.watch.folders`: found 3, expected a folder
    8 | folders = ["in", "in/b", "./x/../in", "", 3, "~/x"]
      |                                           ^
ingest.toml:8:46: `dataset.watch.folders`: found "~/x", but `~` is not expanded in a config; write the home folder out, or "./~" for a folder of that name
    8 | folders = ["in", "in/b", "./x/../in", "", 3, "~/x"]
      |                                              ^^^^^
ingest.toml: 5 faults"#,
    );
    assert_faults(
        &good_with(r#"["in"]"#, r#"["in/b/c", "in"]"#),
        r#"
ingest.toml:8:22: `dataset.watch.folders`: found "in", which is around "in/b/c": its files would be taken twice; remove one of the two
    8 | folders = ["in/b/c", "in"]
      |                      ^^^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn globs() {
    assert_faults(
        &watching(
            r#"include = []
exclude = ["a[", "./*.x", "/a/**", "{a", 4, ""]
"#,
        ),
        r#"
ingest.toml:9:11: `dataset.watch.include`: found [], expected at least one glob: without one, no file would be taken
    9 | include = []
      |           ^^
ingest.toml:10:12: `dataset.watch.exclude`: found "a[", which is no glob: unclosed character class; missing ']'
   10 | exclude = ["a[", "./*.x", "/a/**", "{a", 4, ""]
      |            ^^^^
ingest.toml:10:18: `dataset.watch.exclude`: found "./*.x", but globs are matched with the path below the folder; did you mean "*.x"?
   10 | exclude = ["a[", "./*.x", "/a/**", "{a", 4, ""]
      |                  ^^^^^^^
ingest.toml:10:27: `dataset.watch.exclude`: found "/a/**", but globs are matched with the path below the folder; did you mean "a/**"?
   10 | exclude = ["a[", "./*.x", "/a/**", "{a", 4, ""]
      |                           ^^^^^^^
ingest.toml:10:36: `dataset.watch.exclude`: found "{a", which is no glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
   10 | exclude = ["a[", "./*.x", "/a/**", "{a", 4, ""]
      |                                    ^^^^
ingest.toml:10:42: `dataset.watch.exclude`: found 4, expected a glob such as "**/*.jpg"
   10 | exclude = ["a[", "./*.x", "/a/**", "{a", 4, ""]
      |                                          ^
ingest.toml:10:45: `dataset.watch.exclude`: found "", expected a glob such as "**/*.jpg"
   10 | exclude = ["a[", "./*.x", "/a/**", "{a", 4, ""]
      |                                             ^^
ingest.toml: 7 faults"#,
    );
}

#[test]
fn times_have_a_unit_and_a_range() {
    assert_faults(
        &watching(
            r#"settle = 200
rescan = "0s""#,
        ),
        r#"
ingest.toml:9:10: `dataset.watch.settle`: found 200, expected a time from 0s to 1h such as "200ms"; add a unit: "200s" or "200ms"
    9 | settle = 200
      |          ^^^
ingest.toml:10:10: `dataset.watch.rescan`: found "0s", expected a time from 1s to 24h such as "60s"
   10 | rescan = "0s"
      |          ^^^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        &watching(
            r#"settle = "2h"
rescan = "60""#,
        ),
        r#"
ingest.toml:9:10: `dataset.watch.settle`: found "2h", expected a time from 0s to 1h such as "200ms"
    9 | settle = "2h"
      |          ^^^^
ingest.toml:10:10: `dataset.watch.rescan`: found "60", expected a time from 1s to 24h such as "60s"; add a unit: "60s" or "60ms"
   10 | rescan = "60"
      |          ^^^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        &watching(
            r#"settle = "5min"
rescan = "fast""#,
        ),
        r#"
ingest.toml:9:10: `dataset.watch.settle`: found "5min", expected a time from 0s to 1h such as "200ms"; did you mean "5m"?
    9 | settle = "5min"
      |          ^^^^^^
ingest.toml:10:10: `dataset.watch.rescan`: found "fast", expected a time from 1s to 24h such as "60s"; it does not begin with a number
   10 | rescan = "fast"
      |          ^^^^^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        &watching(
            r#"settle = "-1s"
rescan = "25h""#,
        ),
        r#"
ingest.toml:9:10: `dataset.watch.settle`: found "-1s", expected a time from 0s to 1h such as "200ms"; it does not begin with a number
    9 | settle = "-1s"
      |          ^^^^^
ingest.toml:10:10: `dataset.watch.rescan`: found "25h", expected a time from 1s to 24h such as "60s"
   10 | rescan = "25h"
      |          ^^^^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        &watching(
            r#"settle = true
rescan = "5 fortnights""#,
        ),
        r#"
ingest.toml:9:10: `dataset.watch.settle`: found true, expected a time from 0s to 1h such as "200ms"
    9 | settle = true
      |          ^^^^
ingest.toml:10:10: `dataset.watch.rescan`: found "5 fortnights", expected a time from 1s to 24h such as "60s"; "fortnights" is not a unit; the units are ms, s, m, h
   10 | rescan = "5 fortnights"
      |          ^^^^^^^^^^^^^^
ingest.toml: 2 faults"#,
    );
}

#[test]
fn watch_choices() {
    assert_faults(
        &watching(
            r#"mode = "pol"
order = "size"
rejected = "delete"
changed = true
duplicates = "apend"
hard_links = "refused"
recursive = 1"#,
        ),
        r#"
ingest.toml:9:8: `dataset.watch.mode`: found "pol", expected one of "events", "poll", "auto"; did you mean "poll"?
    9 | mode = "pol"
      |        ^^^^^
ingest.toml:10:9: `dataset.watch.order`: found "size", expected one of "arrival", "name", "mtime"
   10 | order = "size"
      |         ^^^^^^
ingest.toml:11:12: `dataset.watch.rejected`: found "delete", expected one of "keep", "move"
   11 | rejected = "delete"
      |            ^^^^^^^^
ingest.toml:12:11: `dataset.watch.changed`: found true, expected one of "ignore", "append"
   12 | changed = true
      |           ^^^^
ingest.toml:13:14: `dataset.watch.duplicates`: found "apend", expected one of "append", "skip"; did you mean "append"?
   13 | duplicates = "apend"
      |              ^^^^^^^
ingest.toml:14:14: `dataset.watch.hard_links`: found "refused", expected one of "take", "refuse"; did you mean "refuse"?
   14 | hard_links = "refused"
      |              ^^^^^^^^^
ingest.toml:15:13: `dataset.watch.recursive`: found 1, expected true or false
   15 | recursive = 1
      |             ^
ingest.toml: 7 faults"#,
    );
}

/// The bug: they were taken, and matched nothing.
#[test]
fn globs_that_no_path_can_match_are_refused() {
    super::assert_refused(
        &watching(
            r#"include = ["../*.ppm", "*.ppm/", " *.ppm", "a/[ ]b.ppm", "a..b"]
exclude = ["k/", "x/../y"]
"#,
        ),
        &[
            r#"f.toml:9:12: `dataset.watch.include`: found "../*.ppm", but globs are matched with the path below the folder, which has no `..`; name the other folder in `folders`"#,
            r#"f.toml:9:24: `dataset.watch.include`: found "*.ppm/", but no path of a file ends with a slash; write "*.ppm/**" for all that is in a folder, or "*.ppm" for files"#,
            r#"f.toml:9:34: `dataset.watch.include`: found " *.ppm", which begins or ends with a blank; did you mean "*.ppm"? A blank that is meant is written `[ ]`"#,
            r#"f.toml:10:12: `dataset.watch.exclude`: found "k/", but no path of a file ends with a slash; write "k/**" for all that is in a folder, or "k" for files"#,
            r#"f.toml:10:18: `dataset.watch.exclude`: found "x/../y", but globs are matched with the path below the folder, which has no `..`; name the other folder in `folders`"#,
        ],
    );
}
