//! `[dataset.video]`.

use std::time::Duration;

use npy_ingest::config::world::{Clip, Damage, DecoderOptions, Filter, Layout, Pick, Rate, Tail, VideoOptions};

use super::{assert_faults, parsed};

fn text(shape: &str, table: &str) -> String {
    format!(
        "[[dataset]]\nname = \"a\"\noutput = \"a.npy\"\nshape = {shape}\ndtype = \"u1\"\n[dataset.watch]\n\
         folders = [\"in\"]\n[dataset.video]\n{table}\n"
    )
}

fn options(shape: &str, table: &str) -> VideoOptions {
    match &parsed(&text(shape, table)).datasets[0].decoder {
        DecoderOptions::Video(options) => options.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_has_a_default() {
    let options = options("[8, 9, 3]", "");
    assert_eq!((options.pick, options.clip, options.start, options.end), (Pick::All, None, Duration::ZERO, None));
    assert_eq!((options.on_error, options.timeout), (Damage::Reject, Duration::from_mins(1)));
    assert_eq!((options.memory_bytes, options.frame.height, options.frame.channels), (4 << 30, 8, 3));
    assert!(parsed(&text("[8, 9, 3]", "")).datasets[0].watch.include.is_match("a/b.MP4"));
}

#[test]
fn frames_are_chosen_by_one_of_three_keys() {
    let pick = |table| options("[8, 9]", table).pick;
    assert_eq!(pick("fps = 2"), Pick::Fps(Rate { frames: 2, seconds: 1 }));
    assert_eq!(pick("fps = 0.5"), Pick::Fps(Rate { frames: 1, seconds: 2 }));
    assert_eq!(pick("fps = 29.97"), Pick::Fps(Rate { frames: 2997, seconds: 100 }));
    assert_eq!(pick("fps = \"30000/1001\""), Pick::Fps(Rate { frames: 30000, seconds: 1001 }));
    assert_eq!(pick("stride = 3"), Pick::Stride(3));
    assert_eq!(pick("stride = 1"), Pick::All);
    assert_eq!(pick("keyframes = true"), Pick::Keyframes);
    assert_eq!(pick("keyframes = false\nstride = 2"), Pick::Stride(2));
}

#[test]
fn four_dimensions_are_clips() {
    let clip = |shape, table| options(shape, table).clip;
    assert_eq!(clip("[16, 8, 9, 3]", ""), Some(Clip { length: 16, hop: 16, tail: Tail::Drop }));
    assert_eq!(clip("[16, 8, 9, 3]", "hop = 4\ntail = \"pad\""), Some(Clip { length: 16, hop: 4, tail: Tail::Pad }));
    let options = options("[16, 3, 8, 9]", "layout = \"chw\"\nfilter = \"area\"\nstart = \"1s\"\nend = \"1.5s\"");
    assert_eq!((options.frame.layout, options.frame.filter, options.frame.width), (Layout::Chw, Filter::Area, 9));
    assert_eq!((options.start, options.end), (Duration::from_secs(1), Some(Duration::from_millis(1500))));
}

#[test]
fn what_cannot_be_together_is_refused() {
    assert_faults(
        &text("[8, 9, 3]", "fps = 2\nstride = 3"),
        r#"
ingest.toml:10:10: `dataset.video.stride`: cannot be together with the key above: `fps`, `stride` and `keyframes` each say which frames are taken; keep one of them
   10 | stride = 3
      |          ^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &text("[8, 9, 3]", "stride = 3\nkeyframes = true"),
        r#"
ingest.toml:10:13: `dataset.video.keyframes`: cannot be together with the key above: `fps`, `stride` and `keyframes` each say which frames are taken; keep one of them
   10 | keyframes = true
      |             ^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &text("[8, 9, 3]", "hop = 4"),
        r#"
ingest.toml:9:7: `dataset.video.hop`: has no effect: a row is a single frame; for clips of 16 frames, write shape = [16, height, width, channels]; else remove the line
    9 | hop = 4
      |       ^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &text("[8, 9, 3]", "start = \"2s\"\nend = \"2s\""),
        r#"
ingest.toml:10:7: `dataset.video.end`: found "2s", expected a time behind `start`, which is "2s"
   10 | end = "2s"
      |       ^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &text("[8, 9, 3]", "scale = 2\nframes = \"all\""),
        r#"
ingest.toml:9:9: `dataset.video.scale`: has no effect: only rows of a float dtype are scaled; remove the line, or use dtype = "f4"
    9 | scale = 2
      |         ^
ingest.toml:10:1: `dataset.video.frames`: unknown key, expected one of `fit`, `filter`, `layout`, `pad`, `scale`, `mean`, `std`, `orient`, `alpha`, `fps`, `stride`, `keyframes`, `start`, `end`, `hop`, `tail`, `on_error`, `timeout`, `memory`
   10 | frames = "all"
      | ^^^^^^
ingest.toml: 2 faults"#,
    );
}

#[test]
fn values_out_of_bounds() {
    assert_faults(
        &text("[8, 9, 3]", "fps = 0"),
        r#"
ingest.toml:9:7: `dataset.video.fps`: found 0, expected frames a second, from 0.000001 to 1000, such as 1, 0.5 or "30000/1001"
    9 | fps = 0
      |       ^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &text("[8, 9, 3]", "memory = \"1MiB\"\non_error = \"skip\""),
        r#"
ingest.toml:9:10: `dataset.video.memory`: found "1MiB", expected at least "256MiB": no video is decoded with less
    9 | memory = "1MiB"
      |          ^^^^^^
ingest.toml:10:12: `dataset.video.on_error`: found "skip", expected one of "reject", "keep"
   10 | on_error = "skip"
      |            ^^^^^^
ingest.toml: 2 faults"#,
    );
    assert_faults(
        &text("[2, 2, 8, 9, 3]", ""),
        r#"
ingest.toml:4:9: `dataset.shape`: found 5 dimensions, expected [height, width] or [height, width, channels] for a video, or [frames, height, width, channels] for clips
    4 | shape = [2, 2, 8, 9, 3]
      |         ^^^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
    assert_faults(
        &text("[16, 3, 8, 9]", ""),
        r#"
ingest.toml:4:9: `dataset.shape`: found 9 channels in the last place, expected 1, 3 or 4: an image row is [height, width, channels]; for [channels, height, width], set layout = "chw" in [dataset.video]
    4 | shape = [16, 3, 8, 9]
      |         ^^^^^^^^^^^^^
ingest.toml: 1 fault"#,
    );
}

/// A dataset that was made with other options is refused by these lines.
#[test]
fn what_makes_a_row_is_in_the_fingerprint() {
    let of = |shape: &str, table: &str| parsed(&text(shape, table)).datasets[0].fingerprint();
    let plain = of("[4, 8, 9, 3]", "");
    for table in [
        "fps = 2",
        "stride = 2",
        "keyframes = true",
        "start = \"1s\"",
        "end = \"1s\"",
        "hop = 2",
        "tail = \"pad\"",
        "on_error = \"keep\"",
        "fit = \"contain\"",
        "filter = \"area\"",
        "pad = 3",
        "orient = false",
        "alpha = \"blend\"",
    ] {
        assert_ne!(plain, of("[4, 8, 9, 3]", table), "{table}");
    }
    assert_ne!(of("[4, 8, 9, 3]", "fps = 2"), of("[4, 8, 9, 3]", "fps = 3"));
    assert_eq!(
        plain,
        of("[4, 8, 9, 3]", "hop = 4\nstart = \"0s\"\ntimeout = \"5s\"\nmemory = \"1GiB\"\nkeyframes = false")
    );
}
