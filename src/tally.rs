//! Figures for people and their tools. Relaxed atomics: nothing is decided by them, and nobody waits for them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The rate over time is kept in slots of so many seconds.
pub const SLOT_SECONDS: u64 = 10;
/// So many slots: half an hour.
pub const SLOTS: usize = 180;
/// The upper bounds, in seconds, of the classes of latency; what is longer falls into one more.
pub const LATENCY_BOUNDS_S: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

/// What a source's time goes into. `Wait`: decoded, until its commit begins. The last four are of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Read,
    Decode,
    Wait,
    Write,
    Sync,
    Ledger,
    Publish,
}

impl Stage {
    pub const ALL: [(Stage, &str); 7] = [
        (Stage::Read, "read"),
        (Stage::Decode, "decode"),
        (Stage::Wait, "wait"),
        (Stage::Write, "write"),
        (Stage::Sync, "sync"),
        (Stage::Ledger, "ledger"),
        (Stage::Publish, "publish"),
    ];
}

/// Why a source was rejected, in classes for counting. The ledger has the reason itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It is no file of the kind, or a damaged one.
    Content,
    /// It ends too early.
    CutShort,
    /// Larger than a limit.
    Limit,
    /// Sound, and not of the size or type that the dataset takes.
    Unfit,
    /// It cannot be read.
    Unreadable,
    /// The decoder itself failed.
    Decoder,
}

impl Class {
    pub const ALL: [(Class, &str); 6] = [
        (Class::Content, "content"),
        (Class::CutShort, "cut_short"),
        (Class::Limit, "limit"),
        (Class::Unfit, "unfit"),
        (Class::Unreadable, "unreadable"),
        (Class::Decoder, "decoder"),
    ];

    /// By the program's own words in the reason. What they quote, of a source or of a program of the user's, may say anything.
    pub fn of(reason: &str) -> Self {
        let own = own_words(reason);
        let has = |words: &[&str]| words.iter().any(|words| own.contains(words));
        if own.starts_with("the decoder failed on it") {
            Self::Decoder
        } else if has(&["cannot be read"]) {
            Self::Unreadable
        } else if has(&["cut short"]) {
            Self::CutShort
        } else if has(&["the limit", "at most", "more than"]) {
            Self::Limit
        } else if has(&["expected", "gives no rows"]) {
            Self::Unfit
        } else {
            Self::Content
        }
    }
}

/// A reason without what stands in it between double quotes, and without what a program wrote (`decode/process`).
fn own_words(reason: &str) -> String {
    let (reason, _) = reason.split_once("its standard error ends: ").unwrap_or((reason, ""));
    let (mut own, mut is_quoted) = (String::with_capacity(reason.len()), false);
    let mut characters = reason.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => drop(characters.next()),
            _ if is_quoted => {}
            _ => own.push(character),
        }
    }
    own
}

/// One dataset's figures since the start of the process or the last reload.
#[derive(Debug, Default)]
pub struct Tally {
    /// Sources that a scan or an event brought up and the ledger did not have.
    pub found: AtomicU64,
    pub committed: AtomicU64,
    pub rejected: AtomicU64,
    pub rows: AtomicU64,
    pub commits: AtomicU64,
    /// Rows that readers see: all of the array, whenever they were committed.
    pub published_rows: AtomicU64,
    /// Files that were found to be known already.
    pub known: AtomicU64,
    /// Files that are disregarded, as another one was committed under their name.
    pub ignored: AtomicU64,
    /// Bytes of the committed sources, as they lay on the disk.
    pub source_bytes: AtomicU64,
    /// Scans of all of a watched folder.
    pub scans: AtomicU64,
    /// How often events were lost, and everything was scanned for it.
    pub overflows: AtomicU64,
    /// What is on its way now.
    pub waiting: Waiting,
    pub history: History,
    pub latency: Latency,
    /// Nanoseconds in each stage, in the order of [`Stage::ALL`].
    stages_ns: [AtomicU64; Stage::ALL.len()],
    /// In the order of [`Class::ALL`].
    classes: [AtomicU64; Class::ALL.len()],
    /// Why the dataset is paused, or not open yet.
    pause: Mutex<Option<String>>,
    /// Watched folders that cannot be read.
    missing: Mutex<Vec<PathBuf>>,
    /// Why the dataset takes nothing more.
    failure: Mutex<Option<String>>,
}

/// Sources that are not committed yet, as the intake last saw them.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Not quiet for long enough.
    pub settling: AtomicU64,
    /// Finished and new.
    pub ready: AtomicU64,
    /// Being decoded, or waiting for their commit.
    pub in_flight: AtomicU64,
    /// Bytes of those that are ready or in flight.
    pub bytes: AtomicU64,
    /// The change time of the oldest of these, in nanoseconds since 1970; 0: there is none.
    pub oldest_ns: AtomicU64,
    /// There are more than can be tracked at a time.
    pub is_incomplete: AtomicBool,
}

impl Tally {
    pub fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }

    pub fn spend(&self, stage: Stage, time: Duration) {
        if let Some(counter) = self.stages_ns.get(stage as usize) {
            Self::add(counter, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Seconds in this stage.
    pub fn spent_s(&self, stage: Stage) -> f64 {
        self.stages_ns.get(stage as usize).map_or(0.0, |counter| counter.load(Ordering::Relaxed) as f64 / 1e9)
    }

    pub fn reject(&self, reason: &str) {
        Self::add(&self.rejected, 1);
        if let Some(counter) = self.classes.get(Class::of(reason) as usize) {
            Self::add(counter, 1);
        }
    }

    pub fn rejected_of(&self, class: Class) -> u64 {
        self.classes.get(class as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Notes the first failure that ended the dataset's work.
    pub fn fail(&self, reason: &str) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| reason.to_owned());
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why the dataset is paused, or that it no longer is.
    pub fn pause(&self, reason: Option<String>) {
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Notes which of the watched folders cannot be read now.
    pub fn miss(&self, folders: impl Iterator<Item = PathBuf>) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.clear();
        missing.extend(folders);
    }

    pub fn missing(&self) -> Vec<PathBuf> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn paused(&self) -> Option<String> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Rows over time: one slot for each ten seconds, written by the writer alone.
#[derive(Debug)]
pub struct History {
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default)]
struct Slot {
    /// Which ten seconds these are, counted from 1.
    number: AtomicU64,
    rows: AtomicU64,
}

impl Default for History {
    fn default() -> Self {
        Self { slots: std::array::from_fn(|_| Slot::default()) }
    }
}

impl History {
    fn number_at(at: Instant) -> u64 {
        Self::since_start(at).as_secs() / SLOT_SECONDS + 1
    }

    fn since_start(at: Instant) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        at.saturating_duration_since(*START.get_or_init(Instant::now))
    }

    pub fn add(&self, rows: u64) {
        let number = Self::number_at(Instant::now());
        let Some(slot) = self.slots.get(number as usize % SLOTS) else { return };
        if slot.number.load(Ordering::Relaxed) == number {
            slot.rows.fetch_add(rows, Ordering::Relaxed);
        } else {
            slot.rows.store(rows, Ordering::Relaxed);
            slot.number.store(number, Ordering::Relaxed);
        }
    }

    /// Rows a second over the last minute.
    pub fn rate(&self) -> f64 {
        let now = Instant::now();
        let of_slot = Self::since_start(now).as_secs_f64() % SLOT_SECONDS as f64 / SLOT_SECONDS as f64;
        rate_of(&self.rows_until(now), of_slot)
    }

    /// Rows of each slot, the oldest first, the one that still goes on last.
    pub fn rows(&self) -> Vec<u64> {
        self.rows_until(Instant::now())
    }

    fn rows_until(&self, now: Instant) -> Vec<u64> {
        let now = Self::number_at(now);
        let rows_of = |number: u64| {
            let slot = self.slots.get(number as usize % SLOTS)?;
            (slot.number.load(Ordering::Relaxed) == number).then(|| slot.rows.load(Ordering::Relaxed))
        };
        (0..SLOTS as u64).rev().map(|back| now.checked_sub(back).and_then(rows_of).unwrap_or(0)).collect()
    }
}

/// Rows a second over a minute that ends when this part of the last slot is over. Of the slot in which it begins, the rows are
/// taken to have come evenly.
fn rate_of(rows: &[u64], of_slot: f64) -> f64 {
    let slots = (60 / SLOT_SECONDS) as usize;
    let mut newest_first = rows.iter().rev().map(|rows| *rows as f64);
    let whole: f64 = newest_first.by_ref().take(slots).sum();
    (whole + newest_first.next().unwrap_or(0.0) * (1.0 - of_slot)) / 60.0
}

/// From the drop of a source to its published rows, as a histogram.
#[derive(Debug, Default)]
pub struct Latency {
    counts: [AtomicU64; LATENCY_BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    pub fn add(&self, seconds: f64) {
        let class = LATENCY_BOUNDS_S.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY_BOUNDS_S.len());
        if let Some(counter) = self.counts.get(class) {
            Tally::add(counter, 1);
        }
        Tally::add(&self.sum_us, (seconds.max(0.0) * 1e6) as u64);
    }

    /// How many were in each class, not cumulated; the last one has no upper bound.
    pub fn counts(&self) -> [u64; LATENCY_BOUNDS_S.len() + 1] {
        std::array::from_fn(|class| self.counts.get(class).map_or(0, |counter| counter.load(Ordering::Relaxed)))
    }

    pub fn sum_s(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// The time within which this part of all sources was published, by interpolation within its class.
    pub fn quantile_s(&self, part: f64) -> Option<f64> {
        let counts = self.counts();
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return None;
        }
        let (mut below, mut lower) = (0, 0.0);
        for (count, upper) in counts.iter().zip(LATENCY_BOUNDS_S) {
            let wanted = part * all as f64 - below as f64;
            if *count > 0 && wanted <= *count as f64 {
                return Some(lower + (upper - lower) * wanted / *count as f64);
            }
            (below, lower) = (below + count, upper);
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_class() {
        let latency = Latency::default();
        assert_eq!(latency.quantile_s(0.5), None);
        for _ in 0..9 {
            latency.add(0.2);
        }
        latency.add(1e6);
        let median = latency.quantile_s(0.5).unwrap();
        assert!((0.1..=0.25).contains(&median), "{median}");
        assert_eq!(latency.quantile_s(1.0), Some(3600.0));
        assert_eq!(latency.counts().iter().sum::<u64>(), 10);
    }

    #[test]
    fn rows_of_now_are_in_the_last_slot() {
        let history = History::default();
        history.add(3);
        history.add(4);
        let rows = history.rows();
        assert_eq!((rows.len(), rows.iter().sum::<u64>()), (SLOTS, 7));
        assert!(rows.iter().rev().take(2).sum::<u64>() == 7);
    }

    #[test]
    fn the_rate_is_that_of_a_minute_up_to_now() {
        let rows = [1000, 60, 1, 2, 3, 4, 5, 6];
        assert_eq!([0.0, 0.5, 1.0].map(|part| rate_of(&rows, part) * 60.0), [81.0, 51.0, 21.0]);
        assert_eq!(rate_of(&[], 0.5), 0.0);
    }

    #[test]
    fn reasons_fall_into_their_classes() {
        for (reason, class) in [
            ("the JPEG ends after 400 bytes without its end marker: it was cut short", Class::CutShort),
            ("the image is 640 x 480 (width x height), expected 224 x 224: resize it", Class::Unfit),
            ("the file has 9 bytes, more than the limit of 8: split it", Class::Limit),
            ("the file cannot be read: Input/output error", Class::Unreadable),
            ("the decoder failed on it: index out of bounds", Class::Decoder),
            ("the file begins with the text \"no image\"", Class::Content),
            ("line 2: column 1 (\"at most\"): found \"the limit\\\" expected\", no number", Class::Content),
            ("the program ended with 1; its standard error ends: input cut short", Class::Content),
            ("the decoder failed on it: the table cannot be read", Class::Decoder),
        ] {
            assert_eq!(Class::of(reason), class, "{reason}");
        }
    }
}
