//! The whole intake, between a pool that only notes what it is given and a writer whose words the test says.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crossbeam_channel::unbounded;

use super::*;
use crate::config;
use crate::config::Paths;
use crate::ledger::{LedgerSchema, Ledgers, SqliteLedgers};
use crate::source::NotFinished;

/// An intake without a watcher, and what it has given to the pool: the dataset, and the candidate.
struct Room {
    intake: Intake,
    spawned: Arc<Mutex<Vec<(usize, Candidate)>>>,
    _ends: (Sender<ToIntake>, Receiver<ToWriter>, Sender<Control>),
}

impl Room {
    /// Of datasets that take files from folders named as they are; `datasets`: the names, each with the bytes of a row, which
    /// are those of a permit.
    fn new(base: &Path, datasets: &[(&str, u64)], decoder: &str, permits: Permits, once: bool) -> Self {
        let tables: Vec<String> = datasets.iter().map(|(name, bytes)| table(base, name, *bytes, decoder)).collect();
        let options = config::parse(&tables.concat(), &base.join("c.toml")).unwrap().datasets;
        let lanes: Vec<Arc<Lane>> =
            options.into_iter().enumerate().map(|(index, options)| lane(index, options.into())).collect();
        let ((says, from_writer), (to_writer, hears), (controls, control)) = (unbounded(), unbounded(), unbounded());
        let spawned: Arc<Mutex<Vec<(usize, Candidate)>>> = Arc::default();
        let pool = spawned.clone();
        let spawn: Spawn = Box::new(move |lane, candidate| pool.lock().unwrap().push((lane.index, candidate)));
        let doors = Doors { from_writer, to_writer, control, spawn };
        let mut intake = Intake::new(&lanes, permits, doors, once);
        intake.watcher = None;
        Self { intake, spawned, _ends: (says, hears, controls) }
    }

    /// Of one dataset of logs, with a log that is in flight, and its path.
    fn with_log(base: &Path) -> (Self, PathBuf) {
        let mut room = Self::new(base, &[("d", 2)], LOGS, MANY, false);
        let file = base.join("d/a.bin");
        write_old(&file, 2);
        room.open();
        room.until(|room| !room.spawned.lock().unwrap().is_empty());
        (room, file)
    }

    /// One round of the loop.
    fn round(&mut self) {
        let now = Instant::now();
        for dataset in &mut self.intake.datasets {
            dataset.tick(now, None);
        }
        self.intake.dispatch(now);
    }

    fn open(&mut self) {
        for lane in 0..self.intake.datasets.len() {
            self.intake.message(ToIntake::Opened { lane });
        }
        self.round();
    }

    /// Rounds, until the condition holds.
    fn until(&mut self, mut condition: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !condition(self) {
            assert!(Instant::now() < end, "it did not come");
            std::thread::sleep(Duration::from_millis(1));
            self.round();
        }
    }

    /// Takes the next candidate from the pool.
    fn next(&mut self) -> (usize, Candidate) {
        self.spawned.lock().unwrap().remove(0)
    }

    fn done(&mut self, lane: usize, candidate: &Candidate, end: End) {
        let Candidate { place, sequence, permit_bytes, .. } = candidate.clone();
        self.intake.message(ToIntake::Done { lane, place, sequence, permit_bytes, end });
    }
}

fn table(base: &Path, name: &str, bytes: u64, decoder: &str) -> String {
    fs::create_dir_all(base.join(name)).unwrap();
    format!(
        "[[dataset]]\nname = '{name}'\noutput = '{name}.npy'\nshape = [{bytes}]\ndtype = 'u1'\n[dataset.watch]\n\
         folders = ['{name}']\ninclude = ['**/*.bin']\nsettle = '1ms'\nrescan = '1h'\nmode = 'events'\n{decoder}\n"
    )
}

fn lane(index: usize, options: Arc<config::Dataset>) -> Arc<Lane> {
    let ledger = Paths::new(&options.output).ledger;
    drop(SqliteLedgers.create(&ledger, &LedgerSchema { settings: vec![], columns: vec![] }, false).unwrap());
    // Permits are as large as two shares.
    let share_bytes = options.row.row_bytes() / 2;
    Arc::new(Lane::new(index, options, share_bytes, 1000))
}

const MANY: Permits = Permits { memory_bytes: 1 << 30, sources_max: 4096 };
const RECORDS: &str = "[dataset.records]";
const LOGS: &str = "[dataset.records]\nfollow = true";

fn write_old(path: &Path, bytes: usize) {
    fs::write(path, vec![1; bytes]).unwrap();
    // Older than `settle`.
    std::thread::sleep(Duration::from_millis(2));
}

/// The bug: once a file had been committed, it was forgotten that its successor was being written when it was last heard of.
#[test]
fn a_successor_that_is_being_written_is_known_as_such() {
    let base = tempfile::tempdir().unwrap();
    let mut room = Room::new(base.path(), &[("d", 2)], RECORDS, MANY, false);
    let file = base.path().join("d/a.bin");
    write_old(&file, 2);
    room.open();
    for end in [End::Settled, End::Gone] {
        room.until(|room| !room.spawned.lock().unwrap().is_empty());
        let (lane, candidate) = room.next();
        fs::write(&file, b"2").unwrap();
        room.intake.hint(&Hint::Changed(file.clone()));
        room.done(lane, &candidate, end);
    }
    room.until(|room| !room.spawned.lock().unwrap().is_empty());
    assert!(room.next().1.writer_was_seen);
}

/// The bug: what a scan had left out was looked for by another one, and `--once` ended before it began.
#[test]
fn once_does_not_end_before_the_scan_for_what_was_left_out() {
    let base = tempfile::tempdir().unwrap();
    let mut room = Room::new(base.path(), &[("d", 2)], RECORDS, MANY, true);
    room.open();
    assert!(room.intake.is_done());
    room.intake.datasets[0].tracker.is_incomplete = true;
    room.intake.dispatch(Instant::now());
    assert!(!room.intake.is_done());
    room.round();
    assert!(room.intake.is_done());
}

/// The bug: a folder that was made while something was in flight stopped a dataset of logs until the next rescan.
#[test]
fn a_new_folder_beside_a_log_in_flight_stops_nothing() {
    let base = tempfile::tempdir().unwrap();
    let (mut room, _) = Room::with_log(base.path());
    let (lane, candidate) = room.next();
    let folder = base.path().join("d/new");
    fs::create_dir(&folder).unwrap();
    write_old(&folder.join("b.bin"), 2);
    // Of a folder that is watched.
    room.intake.datasets[0].scans_due.fill(Instant::now() + Duration::from_secs(3600));
    room.intake.hint(&Hint::Folder(folder));
    room.round();
    assert!(room.intake.datasets[0].is_on_hold());
    room.done(lane, &candidate, End::Settled);
    room.until(|room| room.spawned.lock().unwrap().len() == 2);
    assert!(!room.intake.datasets[0].is_on_hold());
}

/// The bug: while all folders of a dataset of logs were missing, what it had waited for before was looked for every 5 ms.
#[test]
fn nothing_is_waited_for_while_all_folders_are_missing() {
    let base = tempfile::tempdir().unwrap();
    let (mut room, _) = Room::with_log(base.path());
    room.intake.hint(&Hint::Folder(base.path().join("d/new")));
    room.round();
    assert!(room.intake.datasets[0].is_on_hold());
    fs::remove_dir_all(base.path().join("d")).unwrap();
    room.until(|room| !room.intake.datasets[0].is_on_hold());
    let due = room.intake.datasets[0].next_due(false).unwrap();
    assert!(due > Instant::now() + Duration::from_millis(500));
}

/// The bug: a dataset with large permits waited for as long as another one with small permits had files.
#[test]
fn a_dataset_with_large_permits_gets_its_turn_beside_one_with_small_ones() {
    let base = tempfile::tempdir().unwrap();
    let permits = Permits { memory_bytes: 2000, sources_max: 4096 };
    for large in [1600, 5000] {
        let base = base.path().join(large.to_string());
        let mut room = Room::new(&base, &[("small", 100), ("large", large)], RECORDS, permits, false);
        for number in 0..100 {
            fs::write(base.join(format!("small/{number}.bin")), b"1").unwrap();
        }
        fs::write(base.join("large/a.bin"), b"1").unwrap();
        std::thread::sleep(Duration::from_millis(2));
        room.open();
        room.round();
        let mut order = Vec::new();
        while order.len() < 101 {
            assert!(room.intake.used_bytes <= 2000 || room.intake.in_flight == 1);
            let (lane, candidate) = room.next();
            order.push(lane);
            room.done(lane, &candidate, End::Settled);
            room.round();
        }
        let turn = order.iter().position(|lane| *lane == 1).unwrap();
        assert!(turn <= 20, "{turn}");
        assert_eq!(room.intake.in_flight, 0);
    }
}

/// What is left beside the large permits of a dataset that has its share is for the small ones of another.
#[test]
fn what_is_too_small_for_one_dataset_is_used_by_another() {
    let base = tempfile::tempdir().unwrap();
    let permits = Permits { memory_bytes: 2000, sources_max: 4096 };
    let mut room = Room::new(base.path(), &[("small", 100), ("large", 900)], RECORDS, permits, false);
    for number in 0..20 {
        fs::write(base.path().join(format!("large/{number}.bin")), b"1").unwrap();
    }
    std::thread::sleep(Duration::from_millis(2));
    room.open();
    room.until(|room| room.intake.used_bytes == 1800);
    for number in 0..20 {
        let file = base.path().join(format!("small/{number}.bin"));
        fs::write(&file, b"1").unwrap();
        room.intake.hint(&Hint::Finished(file));
    }
    room.until(|room| room.intake.datasets[0].tracker.waiting() >= 18);
    room.spawned.lock().unwrap().retain(|(lane, _)| *lane == 0);
    for _ in 0..18 {
        let (lane, candidate) = room.next();
        room.done(lane, &candidate, End::Settled);
        room.round();
        assert_eq!(room.intake.used_bytes, 2000, "though none of the large ones has come back");
    }
}

/// The bug: of a log that had a further name when it was asked for, nothing was taken until the next rescan.
#[test]
fn a_log_that_grows_is_asked_again_whether_it_has_further_names() {
    let base = tempfile::tempdir().unwrap();
    let (mut room, file) = Room::with_log(base.path());
    let (lane, candidate) = room.next();
    room.done(lane, &candidate, End::NotFinished(NotFinished::Linked(2)));
    room.round();
    assert!(room.intake.datasets[0].tracker.next_due().unwrap() > Instant::now() + Duration::from_secs(60));
    room.intake.hint(&Hint::Changed(file));
    assert!(room.intake.datasets[0].tracker.next_due().unwrap() < Instant::now() + Duration::from_secs(1));
}
