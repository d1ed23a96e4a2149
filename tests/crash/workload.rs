//! What happens during a run: the config, and what users do with their files in the meantime.
//!
//! A workload has stages. At the start of each, users put files into the drop folder or rename some; then the service runs
//! until nothing is left to do, and stops. A source's content says what its decode gives, so that every check can work out
//! for itself what has to be in the dataset.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npy_ingest::config::{self, Dataset};
use npy_ingest::storage::simulated::Tearing;

use crate::random::Random;

pub const BASE: &str = "/c";
pub const OUTPUT_FOLDER: &str = "/c/data";
pub const DROP: &str = "/c/drop";
pub const DONE: &str = "/c/done";
pub const FAILED: &str = "/c/failed";
/// Rows of a dataset that is one row short of a count that changes both halves of its window.
pub const MANY_ROWS: u64 = 99_999_998;

/// What a decode of a source comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Bad,
    /// Its first decode in a run is called off after it has handed on rows.
    GoodTheSecondTime,
    /// It is a log, which grows.
    Log,
}

/// Bytes of a log before its first record, and of one record.
pub const LOG_HEAD: u64 = 32;
pub const LOG_RECORD: u64 = 8;

/// A source's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub seed: u64,
    pub rows: u64,
    /// Rows of a part, where it is larger than its share of the memory; 0: it is handed on as a whole.
    pub part_rows: u64,
    pub verdict: Verdict,
}

impl Content {
    pub const fn new(seed: u64, rows: u64) -> Self {
        Self { seed, rows, part_rows: 0, verdict: Verdict::Good }
    }

    pub const fn in_parts(self, part_rows: u64) -> Self {
        Self { part_rows, ..self }
    }

    pub const fn bad(self) -> Self {
        Self { verdict: Verdict::Bad, ..self }
    }

    pub const fn second_time(self) -> Self {
        Self { verdict: Verdict::GoodTheSecondTime, ..self }
    }

    pub const fn log(seed: u64, rows: u64) -> Self {
        Self { verdict: Verdict::Log, ..Self::new(seed, rows) }
    }

    pub fn encode(self) -> Vec<u8> {
        let (verdict, rows) = match self.verdict {
            Verdict::Good => (0, self.rows),
            Verdict::Bad => (1, self.rows),
            Verdict::GoodTheSecondTime => (2, self.rows),
            // Its rows are told by its length.
            Verdict::Log => (3, 0),
        };
        let mut bytes: Vec<u8> =
            [self.seed, rows, self.part_rows, verdict].iter().flat_map(|value| value.to_le_bytes()).collect();
        if self.verdict == Verdict::Log {
            bytes.resize(Self::log_bytes(self.rows) as usize, 0);
        }
        bytes
    }

    /// Where a log with so many rows ends.
    pub fn log_bytes(rows: u64) -> u64 {
        LOG_HEAD + rows * LOG_RECORD
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut values = bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()));
        let (seed, rows, part_rows) = (values.next()?, values.next()?, values.next()?);
        let verdict = match values.next()? {
            0 => Verdict::Good,
            1 => Verdict::Bad,
            2 => Verdict::GoodTheSecondTime,
            _ => Verdict::Log,
        };
        let rows = match verdict {
            Verdict::Log => (bytes.len() as u64 - LOG_HEAD) / LOG_RECORD,
            _ => rows,
        };
        Some(Self { seed, rows, part_rows, verdict })
    }

    /// One row's bytes: different in every row of every source, and never zero.
    pub fn row(self, row: u64, row_bytes: usize) -> impl Iterator<Item = u8> {
        let mut random = Random::new(self.seed.wrapping_mul(1_000_003).wrapping_add(row));
        (0..row_bytes).map(move |_| random.below(255) as u8 + 1)
    }
}

/// What a user does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Puts a file below the drop folder, in place of one that may be there.
    Put {
        below: PathBuf,
        content: Content,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// Writes more rows to a log: so many in all.
    Grow {
        below: PathBuf,
        rows: u64,
    },
}

/// See the module documentation.
#[derive(Debug, Clone)]
pub struct Workload {
    pub name: String,
    pub options: Arc<Dataset>,
    /// The options of the first stage, where they are others.
    pub first: Option<Arc<Dataset>>,
    /// The start after a crash has the later ones as well.
    pub changes_after_crash: bool,
    pub stages: Vec<Vec<Action>>,
    /// Sources of one commit.
    pub batch: usize,
    /// Whether all subsets of the pending writes are taken, also inside recovery.
    pub is_small: bool,
    pub tearing: Tearing,
    /// Rows that are there from the beginning, all zero.
    pub rows_at_start: u64,
    pub output_folder_exists: bool,
    /// What files are moved to is on other devices.
    pub other_device: bool,
    /// The stages in which the service has this dataset.
    pub served: Range<usize>,
    /// Another dataset of the same service, which takes the same files.
    pub beside: Option<Box<Workload>>,
}

impl Workload {
    pub fn options_in(&self, stage: usize, has_crashed: bool) -> &Arc<Dataset> {
        let is_first = stage == 0 && !(has_crashed && self.changes_after_crash);
        self.first.as_ref().filter(|_| is_first).unwrap_or(&self.options)
    }

    pub fn row_bytes(&self) -> usize {
        self.options.row.row_bytes()
    }

    /// In some stage at least.
    pub fn leaves_rows_unsynced(&self) -> bool {
        let all = self.first.iter().chain([&self.options]);
        all.into_iter().any(|options| options.commit.durability == config::Durability::None)
    }

    /// Its sources are logs.
    pub fn follows(&self) -> bool {
        self.options.decoder.follows()
    }

    pub fn output(&self) -> &Path {
        &self.options.output
    }

    fn named(name: &str, settings: &Settings, stages: Vec<Vec<Action>>) -> Self {
        Self {
            name: name.to_owned(),
            options: settings.options(),
            first: None,
            changes_after_crash: false,
            stages,
            batch: 2,
            is_small: false,
            tearing: Tearing::Sectors,
            rows_at_start: 0,
            output_folder_exists: true,
            other_device: false,
            served: 0..usize::MAX,
            beside: None,
        }
    }

    /// With another dataset beside it, which the service has in these stages.
    fn beside(mut self, settings: &Settings, served: Range<usize>) -> Self {
        let other = Self::named(&self.name, settings, self.stages.clone());
        self.beside = Some(Box::new(Self {
            served,
            batch: self.batch,
            output_folder_exists: self.output_folder_exists,
            ..other
        }));
        self
    }
}

/// The parts of a config that matter here.
#[derive(Debug, Clone, Copy)]
struct Settings {
    name: &'static str,
    shape: [u64; 2],
    source: bool,
    index: bool,
    time: bool,
    label: bool,
    split: bool,
    after: &'static str,
    rejected: &'static str,
    duplicates: &'static str,
    durability: &'static str,
    follow: bool,
    filter: &'static str,
}

/// Rows of 20 bytes, and no columns.
const PLAIN: Settings = Settings {
    name: "frames",
    shape: [4, 5],
    source: false,
    index: false,
    time: false,
    label: false,
    split: false,
    after: "keep",
    rejected: "keep",
    duplicates: "append",
    durability: "batch",
    follow: false,
    filter: "bilinear",
};
const ALL_COLUMNS: Settings = Settings { source: true, index: true, time: true, label: true, split: true, ..PLAIN };

impl Settings {
    fn options(&self) -> Arc<Dataset> {
        let Self { shape: [height, width], source, index, time, label, split, .. } = *self;
        let label = if label { "\"folder\"" } else { "false" };
        let split = if split { "{ train = 0.5, val = 0.5, by = \"row\" }" } else { "false" };
        let text = format!(
            r#"
            [[dataset]]
            name = "{}"
            output = "data/{}.npy"
            shape = [{height}, {width}]
            dtype = "u1"
            [dataset.watch]
            folders = ["drop"]
            after = "{}"
            {}
            rejected = "{}"
            {}
            duplicates = "{}"
            {}
            [dataset.columns]
            source = {source}
            index = {index}
            time = {time}
            label = {label}
            split = {split}
            [dataset.commit]
            durability = "{}"
            "#,
            self.name,
            self.name,
            self.after,
            if self.after == "move" { "move_to = \"done\"" } else { "" },
            self.rejected,
            if self.rejected == "move" { "rejected_to = \"failed\"" } else { "" },
            self.duplicates,
            if self.follow {
                "include = [\"**\"]\n[dataset.records]\nfollow = true".to_owned()
            } else {
                format!("[dataset.image]\nframes = \"all\"\nfilter = \"{}\"", self.filter)
            },
            self.durability,
        );
        let file = Path::new(BASE).join("ingest.toml");
        let config = config::parse(&text, &file).unwrap_or_else(|faults| panic!("{faults}"));
        Arc::new(config.datasets.into_iter().next().unwrap())
    }
}

fn put(below: &str, content: Content) -> Action {
    Action::Put { below: below.into(), content }
}

fn rename(from: &str, to: &str) -> Action {
    Action::Rename { from: from.into(), to: to.into() }
}

fn grow(below: &str, rows: u64) -> Action {
    Action::Grow { below: below.into(), rows }
}

/// The config gets another durability, with the second stage or with a crash in the first.
fn changed_durability(name: &str, first: &'static str, then: &'static str, after_crash: bool) -> Workload {
    let settings = Settings { source: true, label: true, durability: then, ..PLAIN };
    let stages = vec![
        vec![
            put("cat/a.png", Content::new(1, 1)),
            put("b.gif", Content::new(2, 3)),
            put("dog/c.png", Content::new(3, 1)),
        ],
        vec![put("cat/d.png", Content::new(4, 1))],
    ];
    Workload {
        first: Some(Settings { durability: first, ..settings }.options()),
        changes_after_crash: after_crash,
        ..Workload::named(name, &settings, stages)
    }
}

/// The workloads that every run explores.
pub fn fixed() -> Vec<Workload> {
    let one = |seed| Content::new(seed, 1);
    let many = Content::new;
    vec![
        Workload {
            is_small: true,
            batch: 1,
            output_folder_exists: false,
            ..Workload::named("creation", &Settings { source: true, ..PLAIN }, vec![vec![], vec![put("a.png", one(1))]])
        },
        Workload {
            is_small: true,
            batch: 1,
            ..Workload::named("one-column", &PLAIN, vec![vec![put("a.png", one(1)), put("b.png", one(2))]])
        },
        Workload {
            is_small: true,
            ..Workload::named(
                "two-columns",
                &Settings { source: true, index: true, ..PLAIN },
                vec![vec![put("a.png", one(1)), put("b.gif", many(2, 3)), put("c.png", one(3))]],
            )
        },
        Workload::named(
            "all-columns",
            &ALL_COLUMNS,
            vec![
                vec![put("cat/a.png", one(1)), put("dog/b.gif", many(2, 4))],
                vec![put("cat/c.png", one(3)), put("eel/d.png", one(4)), put("plain.png", one(5))],
            ],
        ),
        Workload {
            is_small: true,
            ..Workload::named(
                "labels",
                &Settings { label: true, ..PLAIN },
                vec![vec![put("cat/a.png", one(1)), put("cat/b.png", one(2)), put("dog/c.png", one(3))]],
            )
        },
        Workload::named(
            "wide-rows",
            &Settings { shape: [25, 30], source: true, ..PLAIN },
            vec![vec![put("a.gif", many(1, 3)), put("b.png", one(2)), put("c.gif", many(3, 2))]],
        ),
        Workload::named(
            "rejected",
            &Settings { source: true, index: true, rejected: "move", ..PLAIN },
            vec![vec![
                put("a.png", one(1)),
                put("b.png", one(2).bad()),
                put("c.gif", many(3, 5).in_parts(2).bad()),
                put("d.png", one(4)),
            ]],
        ),
        Workload::named(
            "mended",
            &Settings { source: true, ..PLAIN },
            vec![
                vec![put("a.png", one(1)), put("b.png", one(2).bad())],
                vec![put("b.png", one(3)), put("c.png", one(4).bad())],
            ],
        ),
        // Nothing came of the first settings but a rejection: the second take their place.
        Workload {
            is_small: true,
            first: Some(Settings { source: true, filter: "nearest", ..PLAIN }.options()),
            ..Workload::named(
                "other-settings",
                &Settings { source: true, ..PLAIN },
                vec![vec![put("a.png", one(1).bad())], vec![put("a.png", one(2)), put("b.gif", many(3, 2))]],
            )
        },
        Workload::named(
            "duplicates",
            &Settings { source: true, duplicates: "skip", ..PLAIN },
            vec![
                vec![put("a.png", one(1)), put("b.png", one(1)), put("c.png", one(2))],
                vec![put("d.png", one(2)), put("e.png", one(1)), put("f.png", one(3))],
            ],
        ),
        Workload::named(
            "renamed",
            &Settings { source: true, ..PLAIN },
            vec![
                vec![put("a.png", one(1)), put("b.gif", many(2, 2))],
                vec![rename("a.png", "z.png"), put("c.png", one(3))],
            ],
        ),
        Workload::named(
            "parts",
            &Settings { shape: [10, 20], source: true, time: true, ..PLAIN },
            vec![vec![
                put("a.png", one(1)),
                put("b.gif", many(2, 7).in_parts(3)),
                put("c.gif", many(3, 5).in_parts(2).second_time()),
                put("d.png", one(4)),
            ]],
        ),
        Workload::named(
            "moved",
            &Settings { source: true, after: "move", rejected: "move", ..PLAIN },
            vec![
                vec![put("cat/a.png", one(1)), put("b.png", one(2)), put("bad/c.png", one(3).bad())],
                vec![put("cat/a.png", one(4)), put("bad/c.png", one(5))],
            ],
        ),
        Workload {
            other_device: true,
            ..Workload::named(
                "moved-to-another-device",
                &Settings { source: true, after: "move", rejected: "move", ..PLAIN },
                vec![
                    vec![put("cat/a.png", one(1)), put("b.png", one(2)), put("bad/c.png", one(3).bad())],
                    vec![put("cat/a.png", one(4)), put("bad/c.png", one(5))],
                ],
            )
        },
        Workload::named(
            "deleted",
            &Settings { source: true, index: true, after: "delete", ..PLAIN },
            vec![
                vec![put("a.png", one(1)), put("b.gif", many(2, 2)), put("c.png", one(3))],
                vec![put("a.png", one(1))],
            ],
        ),
        Workload {
            is_small: true,
            ..Workload::named(
                "each-source-by-itself",
                &Settings { source: true, durability: "source", ..PLAIN },
                vec![vec![put("a.png", one(1)), put("b.gif", many(2, 2))]],
            )
        },
        Workload::named(
            "not-synced",
            &Settings { label: true, index: true, after: "move", rejected: "move", durability: "none", ..PLAIN },
            vec![
                vec![put("cat/a.png", one(1)), put("b.gif", many(2, 5).in_parts(2)), put("c.png", one(3).bad())],
                vec![put("dog/d.png", one(4)), put("e.png", one(5))],
            ],
        ),
        changed_durability("not-synced-and-then-synced", "none", "batch", false),
        changed_durability("not-synced-until-a-crash", "none", "batch", true),
        changed_durability("synced-and-then-not", "batch", "none", false),
        changed_durability("synced-until-a-crash", "batch", "none", true),
        Workload {
            batch: 1,
            rows_at_start: MANY_ROWS,
            ..Workload::named(
                "hundred-million-rows",
                &Settings { shape: [1, 1], ..PLAIN },
                vec![vec![put("a.png", one(1)), put("b.png", one(2)), put("c.png", one(3))]],
            )
        },
        Workload {
            is_small: true,
            batch: 1,
            ..Workload::named(
                "log",
                &Settings { source: true, index: true, follow: true, ..PLAIN },
                vec![vec![put("a.log", Content::log(1, 5))], vec![grow("a.log", 6)]],
            )
        },
        Workload::named(
            "rotated-logs",
            &Settings { index: true, label: true, follow: true, ..PLAIN },
            vec![
                vec![put("cat/a.log", Content::log(1, 2)), put("dog/b.log", Content::log(2, 1))],
                vec![grow("cat/a.log", 3), rename("cat/a.log", "cat/a.log.1"), put("cat/a.log", Content::log(3, 2))],
                vec![grow("dog/b.log", 4), grow("cat/a.log", 3), grow("cat/a.log.1", 4)],
            ],
        ),
        Workload::named(
            "two-datasets",
            &Settings { source: true, ..PLAIN },
            vec![
                vec![put("cat/a.png", one(1)), put("b.gif", many(2, 3)), put("c.png", one(3).bad())],
                vec![put("d.png", one(4)), rename("b.gif", "e.gif")],
            ],
        )
        .beside(&Settings { name: "other", label: true, index: true, shape: [2, 3], ..PLAIN }, 0..usize::MAX),
        // From its second stage on the config has another output in place of the first.
        Workload {
            served: 0..1,
            ..Workload::named(
                "rotated-to-a-new-dataset",
                &Settings { source: true, index: true, ..PLAIN },
                vec![
                    vec![put("a.png", one(1)), put("b.gif", many(2, 2))],
                    vec![put("c.png", one(3))],
                    vec![put("d.png", one(4)), put("e.png", one(5))],
                ],
            )
        }
        .beside(&Settings { name: "frames-2", source: true, split: true, shape: [5, 4], ..PLAIN }, 1..usize::MAX),
        Workload {
            tearing: Tearing::Units,
            ..Workload::named(
                "torn-at-16-bytes",
                &Settings { source: true, label: true, ..PLAIN },
                vec![vec![put("cat/a.png", one(1)), put("dog/b.gif", many(2, 2)), put("cat/c.png", one(3))]],
            )
        },
    ]
}

fn random_durability(flag: &mut impl FnMut(u64) -> bool) -> &'static str {
    if flag(6) {
        "none"
    } else if flag(4) {
        "source"
    } else {
        "batch"
    }
}

/// A workload made of a seed.
pub fn random(seed: u64) -> Workload {
    let mut random = Random::new(seed);
    let mut flag = |of: u64| random.below(of) == 0;
    let settings = Settings {
        name: "frames",
        shape: if flag(3) { [25, 30] } else { [4, 5] },
        source: !flag(3),
        index: flag(2),
        time: flag(3),
        label: flag(2),
        split: flag(4),
        after: if flag(2) {
            "keep"
        } else if flag(2) {
            "move"
        } else {
            "delete"
        },
        rejected: if flag(2) { "keep" } else { "move" },
        duplicates: if flag(2) { "append" } else { "skip" },
        durability: random_durability(&mut flag),
        ..PLAIN
    };
    let settings = match flag(6) {
        // Which id a log has goes by what a crash left; and it stays.
        true => Settings {
            follow: true,
            source: false,
            time: false,
            split: false,
            after: "keep",
            rejected: "keep",
            ..settings
        },
        false => settings,
    };
    let first = flag(4).then(|| Settings { durability: random_durability(&mut flag), ..settings }.options());
    let (changes_after_crash, units, folder, device) = (flag(2), flag(4), !flag(4), flag(6));
    if settings.follow {
        let stages = random_logs(&mut random);
        return Workload {
            first,
            changes_after_crash,
            batch: 1 + random.below(3) as usize,
            output_folder_exists: folder,
            ..Workload::named(&format!("seed-{seed}"), &settings, stages)
        };
    }
    let mut number = 0;
    let stages = (0..1 + random.below(3)).map(|_| {
        let mut stage: Vec<Action> = Vec::new();
        for _ in 0..1 + random.below(4) {
            number += 1;
            let folder = ["", "", "cat/", "dog/", "eel/"][random.below(5) as usize];
            // Few seeds, so that some contents come twice.
            let seed = 1 + random.below(9);
            let rows = [1, 1, 1, 2, 5, 9][random.below(6) as usize];
            let mut content = Content::new(seed * 10 + rows, rows);
            if rows > 1 && random.below(2) == 0 {
                content = content.in_parts(1 + random.below(rows));
            }
            content = match random.below(6) {
                0 => content.bad(),
                1 => content.second_time(),
                _ => content,
            };
            stage.push(put(&format!("{folder}{number}.gif"), content));
        }
        stage
    });
    let stages: Vec<Vec<Action>> = stages.collect();
    let (batch, last) = (1 + random.below(3) as usize, stages.len());
    let workload = Workload {
        first,
        changes_after_crash,
        batch,
        tearing: if units { Tearing::Units } else { Tearing::Sectors },
        output_folder_exists: folder,
        other_device: device,
        ..Workload::named(&format!("seed-{seed}"), &settings, stages)
    };
    // Two datasets may read the same files as long as neither takes them away.
    if settings.after != "keep" || settings.rejected != "keep" || random.below(3) > 0 {
        return workload;
    }
    let from = random.below(last as u64) as usize;
    let served = if from > 0 && random.below(2) == 0 { 0..from } else { 0..usize::MAX };
    let other = Settings { name: "other", shape: [3, 7], label: !settings.label, ..settings };
    Workload { served, ..workload }.beside(&other, from..usize::MAX)
}

/// Logs that are begun, that grow, and that are renamed.
fn random_logs(random: &mut Random) -> Vec<Vec<Action>> {
    let mut logs: Vec<(String, u64)> = Vec::new();
    let mut number = 0;
    let stages = (0..2 + random.below(3)).map(|_| {
        let mut stage = Vec::new();
        for _ in 0..1 + random.below(3) {
            number += 1;
            let log = random.below(logs.len().max(1) as u64) as usize;
            match random.below(4) {
                1 | 2 if !logs.is_empty() => {
                    logs[log].1 += 1 + random.below(3);
                    stage.push(grow(&logs[log].0, logs[log].1));
                }
                3 if !logs.is_empty() => {
                    let name = format!("{}.{number}", logs[log].0);
                    stage.push(rename(&logs[log].0, &name));
                    logs[log].0 = name;
                }
                _ => {
                    let (name, rows) = (format!("cat/{number}.log"), 1 + random.below(4));
                    stage.push(put(&name, Content::log(number, rows)));
                    logs.push((name, rows));
                }
            }
        }
        stage
    });
    stages.collect()
}

/// The workload of this name.
pub fn by_name(name: &str) -> Option<Workload> {
    match name.strip_prefix("seed-") {
        Some(seed) => Some(random(seed.parse().ok()?)),
        None => fixed().into_iter().find(|workload| workload.name == name),
    }
}
