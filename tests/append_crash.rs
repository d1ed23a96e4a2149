//! Proof by crash for arrays that stand alone: `cargo test --features simulation --test append_crash -- --nocapture`.
//!
//! `Appender`, `recover` and `ensure_appendable` run on the simulated disk. After every operation the machine dies: the
//! process alone, or with its power, in every state that the pending writes can be left in (a sample by seed where these are
//! many). Each state is read as a reader would read it, then opened again, with crashes after every operation of that as
//! well, and appended to. Then each sync is left out, one after the other, and the same checks must fail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use npy_ingest::npy::{
    AppendOptions, Appender, BatchLimits, Dtype, Durability, Header, Layout, RecoverOptions, WidenOptions,
    ensure_appendable_on, recover_on,
};
use npy_ingest::storage::Disk;
use npy_ingest::storage::simulated::{Failure, Image, Operation, Script, SimulatedDisk, Tearing, Treatment};

const ROW_VALUES: u64 = 3;
/// States of one instant, and of one inside a recovery, for each state before it.
const STATES_MAX: usize = 40;
const INNER_STATES_MAX: usize = 4;

fn path() -> PathBuf {
    PathBuf::from("/data/a.npy")
}

/// The values of a row, none of them zero.
fn row(number: u64) -> Vec<u8> {
    (1..=ROW_VALUES).flat_map(|value| (number * 10 + value).to_le_bytes()).collect()
}

fn rows(range: std::ops::Range<u64>) -> Vec<u8> {
    range.flat_map(row).collect()
}

/// What was done, and what had been promised by then.
#[derive(Clone)]
struct Instant {
    image: Image,
    /// Rows whose append had returned.
    acknowledged: u64,
    operation: Operation,
}

#[derive(Default)]
struct Log {
    instants: Vec<Instant>,
    syncs: usize,
}

struct Recorder {
    log: Arc<Mutex<Log>>,
    acknowledged: Arc<AtomicU64>,
    /// The number of the sync that is left out.
    leaves_out: Option<usize>,
}

impl Script for Recorder {
    fn before(&mut self, operation: Operation, _path: &Path) -> Treatment {
        if matches!(operation, Operation::Sync | Operation::SyncFolder) {
            let mut log = self.log.lock().unwrap();
            log.syncs += 1;
            if Some(log.syncs - 1) == self.leaves_out {
                return Treatment::LeftOut;
            }
        }
        Treatment::Honest
    }

    fn after(&mut self, operation: Operation, _path: &Path, image: &Image) {
        if operation.changes() {
            let (image, acknowledged) = (image.clone(), self.acknowledged.load(Ordering::SeqCst));
            self.log.lock().unwrap().instants.push(Instant { image, acknowledged, operation });
        }
    }
}

/// Runs something on a disk and gives every instant of it.
fn record(image: Image, leaves_out: Option<usize>, act: impl FnOnce(&SimulatedDisk, &AtomicU64)) -> Log {
    let log = Arc::new(Mutex::new(Log::default()));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let recorder = Recorder { log: log.clone(), acknowledged: acknowledged.clone(), leaves_out };
    let disk = SimulatedDisk::new(image, Box::new(recorder));
    act(&disk, &acknowledged);
    // The power goes when all is done.
    Recorder { log: log.clone(), acknowledged, leaves_out: None }.after(Operation::Write, &path(), &disk.image());
    std::mem::take(&mut *log.lock().unwrap())
}

/// What a crash can leave: a kill, and power cuts, all of them or so many by seed.
fn crashes(image: &Image, states_max: usize, seed: u64) -> Vec<Image> {
    let mut found = vec![image.after_kill()];
    let mut digits: Vec<usize> = Vec::new();
    loop {
        let mut limits = Vec::new();
        found.push(image.after_power_cut(Tearing::Sectors, &mut |states| {
            limits.push(states);
            digits.get(limits.len() - 1).copied().unwrap_or(0)
        }));
        digits.resize(limits.len(), 0);
        // Counts up, the last choice fastest.
        let Some(at) = (0..limits.len()).rev().find(|at| digits[*at] + 1 < limits[*at]) else { return found };
        digits[at] += 1;
        digits[at + 1..].fill(0);
        if found.len() > states_max {
            break;
        }
    }
    let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |limit: usize| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        (chance % limit as u64) as usize
    };
    found.truncate(2);
    found.extend((0..states_max).map(|_| image.after_power_cut(Tearing::Sectors, &mut below)));
    found
}

/// What a reader finds: the count, if it is an array. Every row that is counted must be right.
fn read(image: &Image) -> Result<Option<u64>, String> {
    let Some(bytes) = image.read(&path()) else { return Ok(None) };
    let Ok(header) = Header::parse(&bytes) else { return Ok(None) };
    let count = header.rows().ok_or("no rows")?;
    let data = bytes.get(header.data_start as usize..).ok_or("no data")?;
    let expected = rows(0..count);
    match data.get(..expected.len()) {
        Some(found) if found == expected => Ok(Some(count)),
        Some(_) => Err(format!("one of {count} rows is wrong")),
        None => Err(format!("{count} rows are counted, {} bytes are there", data.len())),
    }
}

/// An array as NumPy writes it, with so much room at the end of its header.
fn of_numpy(count: u64, padding: usize, name: &str) -> Vec<u8> {
    let descr = if name.is_empty() { "'<u8'".to_owned() } else { format!("[('{name}', '<u8')]") };
    let text =
        format!("{{'descr': {descr}, 'fortran_order': False, 'shape': ({count}, 3), }}{}\n", " ".repeat(padding));
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(&rows(0..count));
    bytes
}

/// The same in version 2.0, with a header of more than a sector and the room for a count that NumPy leaves.
fn of_version_2(count: u64, name_bytes: usize) -> Vec<u8> {
    let name = "n".repeat(name_bytes);
    let mut text = format!("{{'descr': [('{name}', '<u8')], 'fortran_order': False, 'shape': ({count}, 3), }}");
    let room = 21 - count.to_string().len();
    let end = (12 + text.len() + room + 1).next_multiple_of(64);
    text.push_str(&" ".repeat(end - 12 - text.len() - 1));
    let length = u32::try_from(text.len() + 1).unwrap().to_le_bytes();
    [&b"\x93NUMPY\x02\x00"[..], &length, text.as_bytes(), b"\n", &rows(0..count)].concat()
}

fn shared(disk: &SimulatedDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn disk_with(bytes: &[u8]) -> Image {
    let mut image = Image::default();
    image.put_file(&path(), bytes);
    image
}

/// What holds of a state, whatever the crash did.
struct Promise {
    /// A reader finds an array at any instant.
    is_always_readable: bool,
    /// Rows that were there before.
    rows_before: u64,
    reopen: fn(&SimulatedDisk) -> Result<(), String>,
}

/// Looks at all crashes of a run. The first violation, if there is one, and how many states were seen.
fn explore(
    log: &Log,
    promise: &Promise,
    crashes_in_recovery: bool,
    reopen: &dyn Fn(&SimulatedDisk) -> Result<(), String>,
) -> (u64, Result<(), String>) {
    let mut states = 0;
    let mut seen = BTreeSet::new();
    for (number, instant) in log.instants.iter().enumerate() {
        let check = |image: &Image| -> Result<u64, String> {
            let found = read(image)?;
            let least = promise.rows_before.max(instant.acknowledged);
            match found {
                None if promise.is_always_readable => Err("it cannot be read".to_owned()),
                Some(count) if count < least => Err(format!("{count} rows, of {least} that were promised")),
                _ => Ok(found.unwrap_or(least)),
            }
        };
        for image in crashes(&instant.image, STATES_MAX, number as u64) {
            if !seen.insert((digest(&image), instant.acknowledged)) {
                continue;
            }
            states += 1;
            let what = |text: String| format!("after operation {number} ({:?}): {text}", instant.operation);
            let result = check(&image).and_then(|count| {
                // Opening it again, with crashes inside, and appending one more row.
                let reopen_or_panic = |disk: &SimulatedDisk, _: &AtomicU64| {
                    reopen(disk).unwrap_or_else(|error| panic!("{error}"));
                };
                let inner = match crashes_in_recovery {
                    true => record(image.clone(), None, reopen_or_panic),
                    false => Log::default(),
                };
                for inner in &inner.instants {
                    for image in crashes(&inner.image, INNER_STATES_MAX, states) {
                        states += 1;
                        check(&image).map_err(|text| format!("inside the recovery: {text}"))?;
                        let disk = SimulatedDisk::new(image, Box::new(npy_ingest::storage::simulated::NoScript));
                        reopen(&disk).map_err(|text| format!("after a crash inside the recovery: {text}"))?;
                        check(&disk.image()).map_err(|text| format!("after the second recovery: {text}"))?;
                    }
                }
                let disk = SimulatedDisk::new(image.clone(), Box::new(npy_ingest::storage::simulated::NoScript));
                reopen(&disk)?;
                match read(&disk.image())? {
                    Some(after) if after > count => Ok(()),
                    after => Err(format!("{after:?} rows after {count} and one more")),
                }
            });
            if let Err(text) = result {
                return (states, Err(what(text)));
            }
        }
    }
    (states, Ok(()))
}

fn digest(image: &Image) -> u64 {
    use std::hash::Hasher;
    let mut hasher = std::hash::DefaultHasher::new();
    image.digest(&mut hasher);
    hasher.finish()
}

/// The same of an array that may still have to be given room.
fn widen_and_append(disk: &SimulatedDisk) -> Result<(), String> {
    ensure_appendable_on(disk, &path(), WidenOptions::default()).map_err(|error| error.to_string())?;
    open_and_append(disk)
}

/// Opens the array again and appends one row behind those that are there.
fn open_and_append(disk: &SimulatedDisk) -> Result<(), String> {
    let appender =
        Appender::open_on(&shared(disk), &path(), AppendOptions::default()).map_err(|error| error.to_string())?;
    let rows = appender.rows();
    appender.append_bytes(&row(rows)).map_err(|error| error.to_string())?;
    match disk.image().files_below(Path::new("/data")).as_slice() {
        [only] if *only == path() => Ok(()),
        others => Err(format!("left behind: {others:?}")),
    }
}

/// Explores a run, then the same run with each sync left out. How many of these must be noticed is part of the test.
fn prove(
    name: &str,
    image: &Image,
    promise: &Promise,
    must_be_noticed: usize,
    act: impl Fn(&SimulatedDisk, &AtomicU64),
) {
    let log = record(image.clone(), None, &act);
    let (states, result) = explore(&log, promise, true, &promise.reopen);
    result.unwrap_or_else(|text| panic!("{name}: {text}"));
    let mut noticed = Vec::new();
    for sync in 0..log.syncs {
        let mutated = record(image.clone(), Some(sync), &act);
        let quiet = std::panic::catch_unwind(|| explore(&mutated, promise, false, &promise.reopen).1);
        if !matches!(quiet, Ok(Ok(()))) {
            noticed.push(sync);
        }
    }
    println!(
        "{name}: {} operations, {states} states; of {} syncs, leaving out {noticed:?} is noticed",
        log.instants.len(),
        log.syncs
    );
    assert!(noticed.len() >= must_be_noticed, "{name}: only {noticed:?} of {} were noticed", log.syncs);
}

fn append_each(disk: &SimulatedDisk, acknowledged: &AtomicU64) {
    let appender = Appender::open_on(&shared(disk), &path(), AppendOptions::default()).unwrap();
    for _ in 0..3 {
        let first = appender.rows();
        let range = appender.append_bytes(&rows(first..first + 2)).unwrap();
        acknowledged.store(range.end, Ordering::SeqCst);
    }
}

#[test]
fn appends_that_returned_are_durable_and_no_instant_shows_a_wrong_row() {
    let promise = Promise { is_always_readable: true, rows_before: 5, reopen: open_and_append };
    // A header with room: it gets its window first. Two syncs for each append, one for the header.
    prove("append to NumPy's", &disk_with(&of_numpy(5, 60, "")), &promise, 7, append_each);
    // Ours, past a count of one digit.
    let layout = Layout::new(&Dtype::parse("<u8").unwrap(), &[3]).unwrap();
    let ours = [layout.header(5).unwrap(), rows(0..5)].concat();
    prove("append to ours", &disk_with(&ours), &promise, 6, append_each);
    // The same with rows behind them that a dead appender did not publish.
    let unfinished = [ours, vec![0xee; 1000]].concat();
    prove("append behind a dead one's", &disk_with(&unfinished), &promise, 6, append_each);
    // A window that has to be made across two sectors: through the journal, and so not readable at every instant.
    let name = "n".repeat(512 - 10 - 68);
    let promise = Promise { is_always_readable: false, ..promise };
    prove("append across sectors", &disk_with(&of_numpy(5, 60, &name)), &promise, 6, append_each);
}

/// The bug: between the two writes of a header whose version changed, its first sector was neither the old one nor the new
/// one. The next command took it for another file's, and removed the journal.
#[test]
fn a_header_that_changes_its_version_is_finished() {
    let becomes_version_1 = |image: &Image| {
        let disk = SimulatedDisk::new(image.clone(), Box::new(npy_ingest::storage::simulated::NoScript));
        ensure_appendable_on(&disk, &path(), WidenOptions::default()).unwrap();
        disk.image().read(&path()).unwrap()[6] == 1
    };
    let mut images = (450..500).map(|name_bytes| disk_with(&of_version_2(5, name_bytes)));
    let image = images.find(becomes_version_1).expect("a window that is wider in version 1.0");
    let promise = Promise { is_always_readable: false, rows_before: 5, reopen: open_and_append };
    prove("append to version 2", &image, &promise, 9, append_each);
}

#[test]
fn a_batch_is_there_as_a_whole_or_not_at_all() {
    let promise = Promise { is_always_readable: true, rows_before: 5, reopen: open_and_append };
    prove("batch", &disk_with(&of_numpy(5, 60, "")), &promise, 2, |disk, acknowledged| {
        let limits = BatchLimits { rows_max: 4, bytes_max: u64::MAX, delay_max: None };
        let options = AppendOptions { durability: Durability::Batch(limits), ..AppendOptions::default() };
        let appender = Appender::open_on(&shared(disk), &path(), options).unwrap();
        for _ in 0..3 {
            let first = appender.staged_rows();
            appender.append_bytes(&rows(first..first + 2)).unwrap();
            acknowledged.store(appender.rows(), Ordering::SeqCst);
        }
        acknowledged.store(appender.close().unwrap(), Ordering::SeqCst);
    });
}

#[test]
fn rows_that_are_moved_are_never_lost_and_never_wrong() {
    // Three pieces: on the simulated disk they are small.
    let tight = of_numpy(100, 0, "name");
    let promise = Promise { is_always_readable: false, rows_before: 100, reopen: widen_and_append };
    // Not needed: that the file was made longer, twice a sync that the next one covers within a sector, and that the
    // journal's name is gone, which is redone.
    prove("widen in place", &disk_with(&tight), &promise, 9, |disk, _| {
        let options = WidenOptions { in_place: true, ..WidenOptions::default() };
        ensure_appendable_on(disk, &path(), options).unwrap();
    });
    let promise = Promise { is_always_readable: true, rows_before: 100, reopen: widen_and_append };
    prove("widen beside", &disk_with(&tight), &promise, 1, |disk, _| {
        ensure_appendable_on(disk, &path(), WidenOptions::default()).unwrap();
    });
}

#[test]
fn recovery_counts_only_what_is_there() {
    // The header says 9 rows; 6 and a part of one are there.
    let mut cut = of_numpy(9, 60, "");
    let row_bytes = row(0).len();
    cut.truncate(cut.len() - 2 * row_bytes - 5);
    let log = record(disk_with(&cut), None, |disk, _| {
        assert_eq!(recover_on(disk, &path(), RecoverOptions::default()).unwrap().rows, 6);
    });
    for instant in &log.instants {
        for image in crashes(&instant.image, STATES_MAX, 1) {
            let disk = SimulatedDisk::new(image, Box::new(npy_ingest::storage::simulated::NoScript));
            recover_on(&disk, &path(), RecoverOptions::default()).unwrap();
            assert_eq!(read(&disk.image()).unwrap(), Some(6));
        }
    }
    assert!(log.instants.len() > 4);
}

/// The bug: a kill before the move left zeros behind an array that could be read, which counted as rows later.
#[test]
fn no_zeros_lie_behind_an_array_whose_rows_are_to_be_moved() {
    let tight = of_numpy(100, 0, "name");
    let log = record(disk_with(&tight), None, |disk, _| {
        ensure_appendable_on(disk, &path(), WidenOptions { in_place: true, ..WidenOptions::default() }).unwrap();
    });
    let instants = log.instants.iter().flat_map(|instant| crashes(&instant.image, STATES_MAX, 1));
    let arrays: Vec<_> =
        instants.filter_map(|image| image.read(&path())).filter(|b| Header::parse(b).is_ok()).collect();
    assert!(arrays.len() > 4);
    for bytes in arrays {
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(bytes.len() as u64, header.data_start + header.data_bytes());
    }
}

#[test]
fn recovery_that_makes_room_is_never_half_done() {
    // 9 rows are counted, 12 are there, and the header has no room for two digits.
    let mut tight = of_numpy(9, 0, "name");
    tight.extend(rows(9..12));
    let log = record(disk_with(&tight), None, |disk, _| {
        assert_eq!(recover_on(disk, &path(), RecoverOptions::default()).unwrap().rows, 12);
    });
    for instant in &log.instants {
        for image in crashes(&instant.image, STATES_MAX, 1) {
            let disk = SimulatedDisk::new(image, Box::new(npy_ingest::storage::simulated::NoScript));
            assert!(matches!(read(&disk.image()), Ok(Some(9 | 12))));
            recover_on(&disk, &path(), RecoverOptions::default()).unwrap();
            assert_eq!(read(&disk.image()), Ok(Some(12)));
            assert_eq!(disk.image().files_below(Path::new("/data")), [path()]);
        }
    }
    assert!(log.instants.len() > 4);
}

/// The disk runs full at one write, or a sync fails, and all is well before and after.
struct FailsOnce {
    operation: Operation,
    failure: Failure,
    /// So many of them go well before.
    number: usize,
}

impl Script for FailsOnce {
    fn before(&mut self, operation: Operation, _path: &Path) -> Treatment {
        if operation != self.operation {
            return Treatment::Honest;
        }
        let is_now = self.number == 0;
        self.number = self.number.wrapping_sub(1);
        if is_now { Treatment::Fails(self.failure) } else { Treatment::Honest }
    }
}

#[test]
fn a_move_that_fails_is_undone_or_can_be_finished() {
    let tight = of_numpy(100, 0, "name");
    let (mut undone, mut unfinished) = (0, 0);
    for (operation, failure) in [(Operation::Write, Failure::NoSpace), (Operation::Sync, Failure::InputOutput)] {
        for number in 0.. {
            let script = FailsOnce { operation, failure, number };
            let disk = SimulatedDisk::new(disk_with(&tight), Box::new(script));
            let options = WidenOptions { in_place: true, ..WidenOptions::default() };
            let Err(error) = ensure_appendable_on(&disk, &path(), options) else { break };
            let image = disk.image().after_kill();
            match image.read(&path()).unwrap() == tight {
                true => undone += 1,
                false => unfinished += usize::from(error.to_string().contains("again to finish it")),
            }
            let disk = SimulatedDisk::new(image, Box::new(npy_ingest::storage::simulated::NoScript));
            widen_and_append(&disk).unwrap();
            assert_eq!(read(&disk.image()), Ok(Some(101)), "{operation:?} {number}");
        }
    }
    assert!(undone >= 6 && unfinished > 6, "{undone} {unfinished}");
}
