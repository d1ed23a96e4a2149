//! Shapes, dtypes and `[dataset.image]`.

use super::{GOOD, assert_faults, good_with};

#[test]
fn shapes_that_are_no_image() {
    assert_faults(
        &good_with("[8, 9, 3]", "[8, 9, 2]"),
        r#"
ingest.toml:5:9: `dataset.shape`: found 2 channels in the last place, expected 1, 3 or 4: an image row is [height, width, channels]
    5 | shape = [8, 9, 2]
      |         ^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with("[8, 9, 3]", "[3, 8, 9]"),
        r#"
ingest.toml:5:9: `dataset.shape`: found 9 channels in the last place, expected 1, 3 or 4: an image row is [height, width, channels]; for [channels, height, width], set layout = "chw" in [dataset.image]
    5 | shape = [3, 8, 9]
      |         ^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &format!(
            "{GOOD}{}",
            r#"layout = "chw"
"#
        ),
        r#"
ingest.toml:5:9: `dataset.shape`: found 8 channels in the first place, expected 1, 3 or 4; layout = "chw" means [channels, height, width]
    5 | shape = [8, 9, 3]
      |         ^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with("[8, 9, 3]", "[8]"),
        r#"
ingest.toml:5:9: `dataset.shape`: found 1 dimension, expected [height, width] or [height, width, channels] for an image
    5 | shape = [8]
      |         ^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with("[8, 9, 3]", "[8, 0, -1]"),
        r#"
ingest.toml:5:13: `dataset.shape`: found 0, expected a dimension from 1 to 1073741824
    5 | shape = [8, 0, -1]
      |             ^
ingest.toml:5:16: `dataset.shape`: found -1, expected a dimension from 1 to 1073741824
    5 | shape = [8, 0, -1]
      |                ^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        &good_with("[8, 9, 3]", r#""8x9""#),
        r#"
ingest.toml:5:9: `dataset.shape`: found "8x9", expected an array of dimensions such as [224, 224, 3]
    5 | shape = "8x9"
      |         ^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with("[8, 9, 3]", "[65536, 2]"),
        r#"
ingest.toml:5:9: `dataset.shape`: found 65536 x 2 pixels, expected at most 65535 for each side
    5 | shape = [65536, 2]
      |         ^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with("[8, 9, 3]", "[60000, 60000]"),
        r#"
ingest.toml:5:9: `dataset.shape`: one row takes 3600000000 bytes (3.35GiB), expected at most 1GiB
    5 | shape = [60000, 60000]
      |         ^^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with("[8, 9, 3]", "[1073741824, 1073741824, 1073741824]"),
        r#"
ingest.toml:5:9: `dataset.shape`: one row takes more than 16EiB, expected at most 1GiB
    5 | shape = [1073741824, 1073741824, 1073741824]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
ingest.toml:5:9: `dataset.shape`: found 1073741824 channels in the last place, expected 1, 3 or 4: an image row is [height, width, channels]
    5 | shape = [1073741824, 1073741824, 1073741824]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
ingest.toml: 2 faults"#,
    );
}

#[test]
fn dtypes_that_are_none_or_no_image() {
    assert_faults(
        &good_with(r#""u1""#, r#""uint9""#),
        r#"
ingest.toml:6:9: `dataset.dtype`: 'uint9' is not a NumPy dtype; for example "u1", "<u2" or "<f4"
    6 | dtype = "uint9"
      |         ^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#""u1""#, r#""f8""#),
        r#"
ingest.toml:6:9: `dataset.dtype`: found "f8", expected "u1", "u2", "f2" or "f4" (in either byte order) for an image
    6 | dtype = "f8"
      |         ^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#""u1""#, "3"),
        r#"
ingest.toml:6:9: `dataset.dtype`: found 3, expected a NumPy dtype such as "u1" or "<f4", or an array of [name, dtype]
    6 | dtype = 3
      |         ^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#""u1""#, r#"[["a", "<u2"], ["b", "<f4", [3]]]"#),
        r#"
ingest.toml:6:9: `dataset.dtype`: found [["a", "<u2"], ["b", "<f4", [3]]], expected "u1", "u2", "f2" or "f4" (in either byte order) for an image
    6 | dtype = [["a", "<u2"], ["b", "<f4", [3]]]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#""u1""#, r#"[["a"], ["b", "<f4", 0], 3]"#),
        r#"
ingest.toml:6:10: `dataset.dtype`: found ["a"], expected [name, dtype] or [name, dtype, shape]
    6 | dtype = [["a"], ["b", "<f4", 0], 3]
      |          ^^^^^
ingest.toml:6:30: `dataset.dtype`: found 0, expected a dimension from 1 to 1073741824
    6 | dtype = [["a"], ["b", "<f4", 0], 3]
      |                              ^
ingest.toml:6:34: `dataset.dtype`: found 3, expected a field such as ["time", "<f8"] or ["position", "<f4", [3]]
    6 | dtype = [["a"], ["b", "<f4", 0], 3]
      |                                  ^
ingest.toml: 3 faults"#,
    );
    assert_faults(
        &good_with(r#""u1""#, r#"[["a", "<u2"], ["it's", "<q9"]]"#),
        r#"
ingest.toml:6:9: `dataset.dtype`: field "it's": '<q9' is not a NumPy dtype; for example "u1", "<u2" or "<f4"
    6 | dtype = [["a", "<u2"], ["it's", "<q9"]]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &good_with(r#""u1""#, "[]"),
        r#"
ingest.toml:6:9: `dataset.dtype`: found [], expected at least one field such as ["time", "<f8"]
    6 | dtype = []
      |         ^^
ingest.toml: 1 fault"#,
    );
}

#[test]
fn image_choices() {
    assert_faults(
        &format!(
            "{GOOD}{}",
            r#"fit = "covr"
filter = 3
layout = "nhwc"
orient = "yes"
alpha = ""
frames = "every"
"#
        ),
        r#"
ingest.toml:10:7: `dataset.image.fit`: found "covr", expected one of "cover", "contain", "stretch", "exact"; did you mean "cover"?
   10 | fit = "covr"
      |       ^^^^^^
ingest.toml:11:10: `dataset.image.filter`: found 3, expected one of "nearest", "bilinear", "bicubic", "lanczos3", "area"
   11 | filter = 3
      |          ^
ingest.toml:12:10: `dataset.image.layout`: found "nhwc", expected one of "hwc", "chw"; did you mean "hwc"?
   12 | layout = "nhwc"
      |          ^^^^^^
ingest.toml:13:10: `dataset.image.orient`: found "yes", expected true or false
   13 | orient = "yes"
      |          ^^^^^
ingest.toml:14:9: `dataset.image.alpha`: found "", expected one of "drop", "blend"
   14 | alpha = ""
      |         ^^
ingest.toml:15:10: `dataset.image.frames`: found "every", expected one of "first", "all"
   15 | frames = "every"
      |          ^^^^^^^
ingest.toml: 6 faults"#,
    );
}

#[test]
fn numbers_per_channel() {
    assert_faults(
        &format!(
            "{}{}",
            good_with(r#""u1""#, r#""f4""#),
            r"pad = [0, 256]
scale = 0
mean = [1, 2]
std = [1, 0.0, inf]
"
        ),
        r#"
ingest.toml:10:11: `dataset.image.pad`: found 256, expected a number from 0 to 255
   10 | pad = [0, 256]
      |           ^^^
ingest.toml:11:9: `dataset.image.scale`: found 0, expected a number other than 0: all rows would be alike
   11 | scale = 0
      |         ^
ingest.toml:12:8: `dataset.image.mean`: found [1, 2], expected 3 numbers, one for each channel, or a single number for all
   12 | mean = [1, 2]
      |        ^^^^^^
ingest.toml:13:11: `dataset.image.std`: found 0.0, expected a number other than 0: rows are divided by it
   13 | std = [1, 0.0, inf]
      |           ^^^
ingest.toml:13:16: `dataset.image.std`: found inf, expected a finite number
   13 | std = [1, 0.0, inf]
      |                ^^^
ingest.toml: 5 faults"#,
    );
    assert_faults(
        &format!(
            "{}{}",
            good_with(r#""u1""#, r#""f4""#),
            r#"pad = -0.5
scale = nan
mean = "0.5"
std = 0
"#
        ),
        r#"
ingest.toml:10:7: `dataset.image.pad`: found -0.5, expected a number from 0 to 255
   10 | pad = -0.5
      |       ^^^^
ingest.toml:11:9: `dataset.image.scale`: found nan, expected a finite number
   11 | scale = nan
      |         ^^^
ingest.toml:12:8: `dataset.image.mean`: found "0.5", expected a number
   12 | mean = "0.5"
      |        ^^^^^
ingest.toml:13:7: `dataset.image.std`: found 0, expected a number other than 0: rows are divided by it
   13 | std = 0
      |       ^
ingest.toml: 4 faults"#,
    );
    assert_faults(
        &format!(
            "{}{}",
            good_with("[8, 9, 3]", "[8, 9]"),
            r"pad = [0, 0, 0]
"
        ),
        r#"
ingest.toml:10:7: `dataset.image.pad`: found [0, 0, 0], expected 1 number, one for each channel, or a single number for all
   10 | pad = [0, 0, 0]
      |       ^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &format!(
            "{}{}",
            good_with(r#""u1""#, r#""f4""#),
            r"mean = 99999999999999999999
"
        ),
        r#"
ingest.toml:10:8: `dataset.image.mean`: found 99999999999999999999, expected an integer of 64 bits, or a number with a decimal point
   10 | mean = 99999999999999999999
      |        ^^^^^^^^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
}
