//! `/metrics`: Prometheus' text format, version 0.0.4. Names, units and kinds follow
//! <https://prometheus.io/docs/practices/naming/>. Counters begin at 0 with the process and with every reload.

use std::fmt::{Display, Write};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use super::figures::oldest_s;
use super::{Run, escape};
use crate::lane::Lane;
use crate::tally::{Class, LATENCY_BOUNDS_S, Stage, Tally};

/// The text's media type.
pub const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP npy_ingest_{name} {help}\n# TYPE npy_ingest_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "npy_ingest_{name}{labels} {value}");
    }
}

fn dataset(lane: &Lane) -> String {
    format!("dataset=\"{}\"", escape::label(&lane.options.name))
}

/// A family with one sample for each dataset, and where it comes from.
type Family = (&'static str, &'static str, &'static str, fn(&Lane) -> f64);

fn load(figure: &AtomicU64) -> f64 {
    figure.load(Ordering::Relaxed) as f64
}

const FAMILIES: &[Family] = &[
    ("rows", "gauge", "Rows that readers see.", |lane| load(&lane.tally.published_rows)),
    ("rows_committed_total", "counter", "Rows committed.", |lane| load(&lane.tally.rows)),
    ("row_bytes_committed_total", "counter", "Bytes of the committed rows in the main file.", |lane| {
        load(&lane.tally.rows) * lane.options.row.row_bytes() as f64
    }),
    ("sources_found_total", "counter", "Sources found that the ledger did not have.", |lane| load(&lane.tally.found)),
    ("sources_committed_total", "counter", "Sources committed.", |lane| load(&lane.tally.committed)),
    ("source_bytes_committed_total", "counter", "Bytes of the committed sources as files.", |lane| {
        load(&lane.tally.source_bytes)
    }),
    ("sources_known_total", "counter", "Files that were known already.", |lane| load(&lane.tally.known)),
    ("sources_ignored_total", "counter", "Files not taken, as others were committed under their names.", |lane| {
        load(&lane.tally.ignored)
    }),
    ("sources_leaving", "gauge", "Committed or rejected sources that are about to be moved or deleted.", |lane| {
        lane.leaving.count() as f64
    }),
    ("commits_total", "counter", "Commits.", |lane| load(&lane.tally.commits)),
    ("waiting_bytes", "gauge", "Bytes of the sources that are finished and not committed yet.", |lane| {
        load(&lane.tally.waiting.bytes)
    }),
    ("waiting_incomplete", "gauge", "1 while more files wait than are tracked at a time.", |lane| {
        f64::from(u8::from(lane.tally.waiting.is_incomplete.load(Ordering::Relaxed)))
    }),
    ("oldest_waiting_seconds", "gauge", "Age of the oldest finished source that is not committed yet.", |lane| {
        oldest_s(lane).unwrap_or(0.0)
    }),
    ("rescans_total", "counter", "Scans of a whole watched folder.", |lane| load(&lane.tally.scans)),
    ("event_overflows_total", "counter", "How often events were lost, and all was scanned for it.", |lane| {
        load(&lane.tally.overflows)
    }),
    ("dataset_paused", "gauge", "1 while the dataset is paused, such as for a full disk, or not open yet.", |lane| {
        f64::from(u8::from(lane.tally.paused().is_some()))
    }),
    ("watched_folders_missing", "gauge", "Watched folders that cannot be read now.", |lane| {
        lane.tally.missing().len() as f64
    }),
    ("dataset_stopped", "gauge", "1 once the dataset takes nothing more before a restart.", |lane| {
        f64::from(u8::from(lane.tally.failure().is_some()))
    }),
];

/// The whole text.
pub fn text(run: Option<&Run>) -> String {
    let mut text = Text(String::new());
    text.family("build_info", "gauge", "The version of the program.");
    text.sample("build_info", concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1);
    text.family("up", "gauge", "1 while the pipeline runs; 0 while it starts or reloads.");
    text.sample("up", "", u8::from(run.is_some()));
    process(&mut text);
    let Some(run) = run else { return text.0 };
    for (name, kind, help, value) in FAMILIES {
        text.family(name, kind, help);
        for lane in &run.lanes {
            text.sample(name, &format!("{{{}}}", dataset(lane)), value(lane));
        }
    }
    text.family("sources_waiting", "gauge", "Sources that are not committed yet, by how far they are.");
    for lane in &run.lanes {
        let waiting = &lane.tally.waiting;
        let states = [("settling", &waiting.settling), ("ready", &waiting.ready), ("in_flight", &waiting.in_flight)];
        for (state, figure) in states {
            text.sample("sources_waiting", &format!("{{{},state=\"{state}\"}}", dataset(lane)), load(figure));
        }
    }
    text.family("sources_rejected_total", "counter", "Sources rejected, by the class of the reason.");
    for lane in &run.lanes {
        for (class, name) in Class::ALL {
            let labels = format!("{{{},reason=\"{name}\"}}", dataset(lane));
            text.sample("sources_rejected_total", &labels, lane.tally.rejected_of(class));
        }
    }
    text.family(
        "stage_seconds_total",
        "counter",
        "Time of sources in read, decode and wait (for their turn and their commit), and of commits in the others.",
    );
    for lane in &run.lanes {
        for (stage, name) in Stage::ALL {
            let labels = format!("{{{},stage=\"{name}\"}}", dataset(lane));
            text.sample("stage_seconds_total", &labels, lane.tally.spent_s(stage));
        }
    }
    let name = "drop_to_published_seconds";
    text.family(name, "histogram", "From the drop of a source, by its inode change time, to its published rows.");
    for lane in &run.lanes {
        latency(&mut text, name, &dataset(lane), &lane.tally);
    }
    text.0
}

fn latency(text: &mut Text, name: &str, dataset: &str, tally: &Tally) {
    let mut sum = 0;
    let bounds = LATENCY_BOUNDS_S.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    for (count, bound) in tally.latency.counts().iter().zip(bounds) {
        sum += count;
        text.sample(&format!("{name}_bucket"), &format!("{{{dataset},le=\"{bound}\"}}"), sum);
    }
    text.sample(&format!("{name}_sum"), &format!("{{{dataset}}}"), tally.latency.sum_s());
    text.sample(&format!("{name}_count"), &format!("{{{dataset}}}"), sum);
}

/// What every exporter tells of its process, under the names that are usual for it.
fn process(text: &mut Text) {
    let field = |name: &str| {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = write!(text.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    if let Some(kib) = field("VmRSS:") {
        one("process_resident_memory_bytes", "gauge", "Resident memory.", (kib * 1024) as f64);
    }
    if let Some(threads) = field("Threads:") {
        one("process_threads", "gauge", "Threads.", threads as f64);
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        one("process_open_fds", "gauge", "Open file descriptors.", descriptors.count().saturating_sub(1) as f64);
    }
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9;
    one("process_cpu_seconds_total", "counter", "CPU time.", seconds);
}
