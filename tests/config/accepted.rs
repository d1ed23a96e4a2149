//! What is accepted, and what it means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use npy_ingest::config;
use npy_ingest::config::world::{
    Alpha, Changed, Columns, Commit, Dataset, DecoderOptions, Disposal, Duplicates, Durability, Filter, Fit, Frames,
    HardLinks, ImageOptions, Layout, Order, SampleType, SplitBy, WatchMode,
};

use super::{GOOD, good_with, parsed, watching, with_extra_lines};

fn only_dataset(text: &str) -> Dataset {
    let mut config = parsed(text);
    assert_eq!(config.datasets.len(), 1);
    config.datasets.remove(0)
}

fn image(dataset: &Dataset) -> &ImageOptions {
    match &dataset.decoder {
        DecoderOptions::Image(options) => options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_is_free_of_faults_and_shows_the_defaults() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let example = config::load(&file).unwrap_or_else(|error| panic!("{error}"));
    let folder = file.parent().unwrap();
    let shown = &example.datasets[0];
    assert_eq!(example.file, file);
    assert_eq!(shown.output, folder.join("data/frames.npy"));
    assert_eq!(shown.watch.folders, [folder.join("drop/frames")]);

    // Required keys only, and the ones of the example.
    let minimal = parsed(
        "[[dataset]]\nname = 'frames'\noutput = 'data/frames.npy'\nshape = [224, 224, 3]\ndtype = 'u1'\n\
         watch.folders = ['drop/frames']\nimage = {}\n",
    );
    assert_eq!(example.service.workers, minimal.service.workers);
    assert_eq!(example.service.memory_bytes, minimal.service.memory_bytes);
    let defaults = &minimal.datasets[0];
    assert_eq!(image(shown), image(defaults));
    assert_eq!(shown.columns, defaults.columns);
    assert_eq!(shown.commit, defaults.commit);
    assert_eq!(shown.fingerprint(), defaults.fingerprint());
    let watch = |dataset: &Dataset| {
        let watch = dataset.watch.clone();
        let rest = (watch.after, watch.rejected, watch.changed, watch.duplicates, watch.hard_links);
        (watch.recursive, watch.settle, watch.mode, watch.rescan, watch.order, rest)
    };
    assert_eq!(watch(shown), watch(defaults));
    for path in ["a.jpg", ".a.jpg", "x/a.part", "x/y.tmp", "x/.y/z.png", "part"] {
        let excluded = |dataset: &Dataset| dataset.watch.exclude.is_match(path);
        assert_eq!(excluded(shown), excluded(defaults), "{path}");
    }
}

#[test]
fn every_line_that_the_example_comments_out_is_accepted_too() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let example = std::fs::read_to_string(file).unwrap();
    let with = |line: &str| example.replace(&format!("# {line}"), line);
    let moves = with("move_to = ")
        .replace("after     = \"keep\"", "after = \"move\"")
        .replace("# rejected_to", "rejected_to")
        .replace("rejected  = \"keep\"", "rejected = \"move\"");
    let dataset = only_dataset(&moves);
    assert_eq!(dataset.watch.after, Disposal::Move(PathBuf::from("/conf/done")));
    assert_eq!(dataset.watch.rejected, Disposal::Move(PathBuf::from("/conf/failed")));

    assert!(only_dataset(&with("label = ")).columns.label);
    assert_eq!(only_dataset(&with("split = ")).columns.split.map(|split| split.parts.len()), Some(2));

    let float = example.replace("\"u1\"", "\"f4\"");
    let (before_imagenet, imagenet) = float.split_once("# And these are").unwrap();
    let uncommented = |text: &str| {
        ["scale", "mean ", "std "].iter().fold(text.to_owned(), |text, key| text.replace(&format!("# {key}"), key))
    };
    let defaults = only_dataset(&float);
    assert_eq!(
        image(&only_dataset(&format!("{}# And these are{imagenet}", uncommented(before_imagenet)))),
        image(&defaults)
    );
    let imagenet = only_dataset(&format!("{before_imagenet}# And these are{}", uncommented(imagenet)));
    assert_eq!(image(&imagenet).std, [0.229, 0.224, 0.225]);
    assert_eq!(image(&imagenet).scale * 255.0, 1.0);
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = parsed(GOOD);
    assert_eq!(config.file, Path::new("/conf/ingest.toml"));
    assert_eq!(config.service.workers, std::thread::available_parallelism().map_or(1, |cores| cores.get()));
    assert_eq!(config.service.memory_bytes, 1 << 30);
    assert_eq!(config.service.listen, None);
    let dataset = only_dataset(GOOD);
    assert_eq!((dataset.name.as_str(), dataset.output.as_path()), ("a", Path::new("/conf/a.npy")));
    assert_eq!((dataset.row.shape.as_slice(), dataset.row.row_bytes()), ([8, 9, 3].as_slice(), 216));

    let watch = &dataset.watch;
    assert_eq!(watch.folders, [Path::new("/conf/in")]);
    assert!(watch.include.is_match("a.jpg") && watch.include.is_match("x/y/a.PNG"));
    assert!(!watch.include.is_match("a.npy") && !watch.include.is_match("a"));
    assert!(watch.exclude.is_match(".a") && watch.exclude.is_match("x/a.part") && watch.exclude.is_match("x/a.tmp"));
    assert!(watch.recursive);
    assert_eq!((watch.settle, watch.rescan), (Duration::from_millis(200), Duration::from_secs(60)));
    assert_eq!((watch.mode, watch.order), (WatchMode::Auto, Order::Arrival));
    assert_eq!((&watch.after, &watch.rejected), (&Disposal::Keep, &Disposal::Keep));
    assert_eq!((watch.changed, watch.duplicates), (Changed::Ignore, Duplicates::Append));
    assert_eq!(watch.hard_links, HardLinks::Take);

    let expected = ImageOptions {
        fit: Fit::Cover,
        filter: Filter::Bilinear,
        layout: Layout::Hwc,
        channels: 3,
        channel_axis: true,
        height: 8,
        width: 9,
        sample: SampleType::U8,
        big_endian: false,
        pad: vec![0.0; 3],
        scale: 1.0,
        mean: vec![0.0; 3],
        std: vec![1.0; 3],
        orient: true,
        alpha: Alpha::Drop,
        frames: Frames::First,
    };
    assert_eq!(image(&dataset), &expected);
    // As its example has them.
    let written = only_dataset(&format!("{GOOD}scale = 1.0\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n"));
    assert_eq!(image(&written), &expected);
    let columns = Columns { source: true, index: true, time: false, label: false, split: None };
    assert_eq!(dataset.columns, columns);
    let commit = Commit {
        max_delay: Duration::from_millis(50),
        max_rows: 4096,
        max_bytes: 64 << 20,
        durability: Durability::Batch,
    };
    assert_eq!(dataset.commit, commit);
}

#[test]
fn every_key_does_something() {
    let config = parsed(
        r#"
[service]
workers = 3
memory = "512KiB"
[[dataset]]
name = "A-1._z"
output = "/data/x.y.npy"
shape = [4, 7, 6]
dtype = ">f2"
[dataset.watch]
folders = ["one", "../two"]
include = ["*.jpg"]
exclude = []
recursive = false
settle = "1.5s"
mode = "poll"
rescan = "24h"
order = "mtime"
after = "move"
move_to = "./done/"
rejected = "move"
rejected_to = "failed"
changed = "append"
duplicates = "skip"
hard_links = "refuse"
[dataset.image]
fit = "contain"
filter = "lanczos3"
layout = "chw"
pad = [1, 2, 3.5]
scale = 0.5
mean = 2
std = [-1, 2, 3, 4]
orient = false
alpha = "drop"
frames = "all"
[dataset.columns]
source = false
index = false
time = true
label = "folder"
[dataset.columns.split]
zebra = 0.7
apple = 0.2
by = "content"
mango = 0.1
[dataset.commit]
max_delay = "0ms"
max_rows = 1
max_bytes = 10_000
durability = "none"
"#,
    );
    assert_eq!((config.service.workers, config.service.memory_bytes), (3, 512 << 10));
    let dataset = &config.datasets[0];
    assert_eq!((dataset.name.as_str(), dataset.output.as_path()), ("A-1._z", Path::new("/data/x.y.npy")));
    let watch = &dataset.watch;
    assert_eq!(watch.folders, [Path::new("/conf/one"), Path::new("/two")]);
    assert!(watch.include.is_match("a.JPG") && !watch.include.is_match("x/a.jpg") && watch.exclude.is_empty());
    assert!(!watch.recursive);
    assert_eq!((watch.settle, watch.rescan), (Duration::from_millis(1500), Duration::from_secs(86_400)));
    assert_eq!((watch.mode, watch.order), (WatchMode::Poll, Order::Mtime));
    assert_eq!(watch.after, Disposal::Move(PathBuf::from("/conf/done")));
    assert_eq!(watch.rejected, Disposal::Move(PathBuf::from("/conf/failed")));
    assert_eq!((watch.changed, watch.duplicates), (Changed::Append, Duplicates::Skip));
    assert_eq!(watch.hard_links, HardLinks::Refuse);
    let expected = ImageOptions {
        fit: Fit::Contain,
        filter: Filter::Lanczos3,
        layout: Layout::Chw,
        channels: 4,
        channel_axis: true,
        height: 7,
        width: 6,
        sample: SampleType::F16,
        big_endian: true,
        // Three numbers for rows with alpha: an opaque color.
        pad: vec![1.0, 2.0, 3.5, 255.0],
        scale: 0.5,
        mean: vec![2.0; 4],
        std: vec![-1.0, 2.0, 3.0, 4.0],
        orient: false,
        alpha: Alpha::Drop,
        frames: Frames::All,
    };
    assert_eq!(image(dataset), &expected);
    let columns = &dataset.columns;
    assert_eq!((columns.source, columns.index, columns.time, columns.label), (false, false, true, true));
    let split = columns.split.as_ref().unwrap();
    let parts: Vec<_> = split.parts.iter().map(|(name, fraction)| (name.as_str(), *fraction)).collect();
    assert_eq!(parts, [("zebra", 0.7), ("apple", 0.2), ("mango", 0.1)], "the order of the file is the column's value");
    assert_eq!(split.by, SplitBy::Content);
    let commit = &dataset.commit;
    assert_eq!((commit.max_delay, commit.max_rows, commit.max_bytes), (Duration::ZERO, 1, 10_000));
    assert_eq!(commit.durability, Durability::None);
}

#[test]
fn gray_rows_have_one_channel_with_or_without_an_axis() {
    for (shape, axis) in [("[8, 9]", false), ("[8, 9, 1]", true)] {
        let dataset = only_dataset(&format!("{}pad = 7\n", good_with("[8, 9, 3]", shape)));
        let options = image(&dataset);
        assert_eq!((options.channels, options.channel_axis, options.pad.as_slice()), (1, axis, [7.0].as_slice()));
    }
    // For two dimensions, there is no channel axis that a layout could place.
    assert_eq!(image(&only_dataset(&format!("{}layout = 'chw'\n", good_with("[8, 9, 3]", "[8, 9]")))).height, 8);
}

#[test]
fn a_row_may_fill_the_whole_memory() {
    assert_eq!(parsed(&format!("[service]\nmemory = 216\n{GOOD}")).service.memory_bytes, 216);
}

#[test]
fn a_config_with_a_relative_path_still_gives_absolute_ones() {
    let here = std::env::current_dir().unwrap();
    let config = config::parse(GOOD, Path::new("sub/../conf/ingest.toml")).unwrap();
    assert_eq!(config.file, here.join("conf/ingest.toml"));
    assert_eq!(config.datasets[0].output, here.join("conf/a.npy"));
    assert_eq!(config.datasets[0].watch.folders, [here.join("conf/in")]);
}

#[test]
fn blending_goes_with_rows_that_have_no_alpha() {
    let dataset = only_dataset(&format!("{GOOD}alpha = 'blend'\n"));
    let options = image(&dataset);
    assert_eq!(options.alpha, Alpha::Blend);
    let text = format!("{}alpha = 'blend'\n", good_with("[8, 9, 3]", "[8, 9, 4]"));
    let faults = npy_ingest::config::parse(&text, std::path::Path::new("/conf/ingest.toml")).unwrap_err().to_string();
    assert!(faults.contains("rows of 4 channels keep their alpha"), "{faults}");
}

#[test]
fn what_has_no_effect_together_is_still_accepted() {
    only_dataset(&format!("{GOOD}fit = 'stretch'\nalpha = 'drop'\npad = 9\n"));
    only_dataset(&with_extra_lines("columns", "label = false\nsplit = false\n"));
    only_dataset(&watching("after = 'delete'"));
}

#[test]
fn datasets_that_do_not_touch_each_other_live_together() {
    let other = |name: &str, folder: &str, lines: &str| {
        good_with("\"a\"", &format!("\"{name}\""))
            .replace("a.npy", &format!("{name}.npy"))
            .replace("[\"in\"]", &format!("[\"{folder}\"]\n{lines}"))
    };
    // The same folder, and neither takes files away.
    assert_eq!(parsed(&format!("{GOOD}{}", other("b", "in", ""))).datasets.len(), 2);
    // Each has its own folder. One name begins like the other, but is not inside it.
    parsed(&format!("{}{}", watching("after = 'delete'"), other("b", "in2", "after = 'delete'")));
    // A folder inside another, out of the reach of a watch that is not recursive.
    parsed(&format!("{}{}", watching("after = 'delete'\nrecursive = false"), other("b", "in/b", "")));
    parsed(&watching("after = 'move'\nmove_to = 'in/done'\nrecursive = false"));
    // An output in a watched folder, where the globs do not take it.
    parsed(&good_with("a.npy", "in/a.npy"));
    parsed(&watching("include = ['**/*']\nexclude = ['out/**']").replace("a.npy", "in/out/a.npy"));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_fine() {
    only_dataset(&format!("\u{feff}{}", GOOD.replace('\n', "\r\n")));
}

#[test]
fn the_page_listens_where_it_is_told_and_a_port_alone_is_this_machine() {
    for (listen, address) in
        [("'0.0.0.0:80'", "0.0.0.0:80"), ("'[::1]:9464'", "[::1]:9464"), ("9464", "127.0.0.1:9464")]
    {
        let config = parsed(&format!("[service]\nlisten = {listen}\nmin_free = '1GiB'\n{GOOD}"));
        assert_eq!(config.service.listen, Some(address.parse().unwrap()));
        assert_eq!(config.datasets[0].min_free.bytes(10), 1 << 30);
    }
    let default = parsed(GOOD).service.min_free;
    assert_eq!((default.bytes(1 << 40), default.bytes(2 << 20)), (256 << 20, (2 << 20) / 20));
}
