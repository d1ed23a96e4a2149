//! What runs inside the guest of the power-cut test: feeds the real service, and notes on the disk what readers were shown.
//!
//! `rustc` compiles this file by itself; it needs nothing but the standard library.
//!
//!     guest PROGRAM ROOT DEVICE MARKS_START COUNT SEED DATASET...
//!
//! `ROOT` is the mounted filesystem with `ingest.toml`, `staging/` and `drop/`. Sources go from `staging/` to the same
//! place below `drop/` by a rename, so that nothing but the service ever asks the disk for a flush. In between the service is
//! killed once, and stopped in an orderly way once.
//!
//! An acknowledgement is a block that is written past the end of the filesystem, directly to the device. It holds the counts
//! that a reader has seen *before* the block was written. Whoever cuts the log of the device behind that block knows by it what
//! was published before the cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// `O_DIRECT` on x86-64: the block goes to the device when it is written, in the order in which it is written.
const O_DIRECT: i32 = 0o40000;
const BLOCK_BYTES: usize = 4096;
/// Room for so many blocks; then the first is written over, which the log keeps apart all the same.
const BLOCKS_MAX: u64 = 256;
/// Where the count stands in the header of an ordinary array.
const WINDOW: std::ops::Range<u64> = 64..80;
const QUIET: Duration = Duration::from_secs(2);
/// The whole guest is emulated, on a machine that may have other work.
const WAIT_MAX: Duration = Duration::from_secs(120);

#[repr(align(4096))]
struct Block([u8; BLOCK_BYTES]);

struct Arguments {
    program: PathBuf,
    root: PathBuf,
    device: PathBuf,
    marks_start: u64,
    count: usize,
    seed: u64,
    datasets: Vec<String>,
}

fn main() {
    if let Err(error) = arguments().and_then(|arguments| run(&arguments)) {
        println!("GUEST-FAULT {error}");
        exit(1);
    }
    println!("GUEST-DONE");
}

fn arguments() -> io::Result<Arguments> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [program, root, device, marks_start, count, seed, datasets @ ..] = words.as_slice() else {
        return Err(io::Error::other("expected PROGRAM ROOT DEVICE MARKS_START COUNT SEED DATASET..."));
    };
    let number = |word: &String| word.parse::<u64>().map_err(|error| io::Error::other(format!("{word}: {error}")));
    Ok(Arguments {
        program: program.into(),
        root: root.into(),
        device: device.into(),
        marks_start: number(marks_start)?,
        count: number(count)? as usize,
        seed: number(seed)?,
        datasets: datasets.to_vec(),
    })
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut sources = Vec::new();
    collect(&arguments.root.join("staging"), &mut sources)?;
    sources.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    sources.truncate(arguments.count);

    let is_over = Arc::new(AtomicBool::new(false));
    let reader = {
        let is_over = Arc::clone(&is_over);
        let device = OpenOptions::new().write(true).custom_flags(O_DIRECT).open(&arguments.device)?;
        let files: Vec<PathBuf> =
            arguments.datasets.iter().map(|name| arguments.root.join(format!("data/{name}.npy"))).collect();
        let (names, start) = (arguments.datasets.clone(), arguments.marks_start);
        thread::spawn(move || acknowledge(&device, start, &names, &files, &is_over))
    };

    let mut random = Random(arguments.seed | 1);
    let mut shown = counts(arguments)?;
    let mut service = start(arguments)?;
    for (number, from) in sources.iter().enumerate() {
        let below = from.strip_prefix(arguments.root.join("staging")).map_err(io::Error::other)?;
        let to = arguments.root.join("drop").join(below);
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        fs::rename(from, &to)?;
        if number == sources.len() / 3 {
            wait_for_progress(arguments, &shown)?;
            service.kill()?;
            service.wait()?;
            shown = counts(arguments)?;
            service = start(arguments)?;
        }
        if number == sources.len() * 2 / 3 {
            wait_for_progress(arguments, &shown)?;
            stop(service)?;
            shown = counts(arguments)?;
            service = start(arguments)?;
        }
        // Half of them come in bursts.
        if random.below(2) == 0 {
            thread::sleep(Duration::from_millis(random.below(120)));
        }
    }
    wait_for_the_end(arguments)?;
    stop(service)?;
    is_over.store(true, Ordering::SeqCst);
    reader.join().map_err(|_| io::Error::other("the reader panicked"))?
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

fn start(arguments: &Arguments) -> io::Result<Child> {
    let mut command = Command::new(&arguments.program);
    command.arg("--config").arg(arguments.root.join("ingest.toml"));
    // Only the service is to lose its syncs, where the check itself is put to the test.
    if let Ok(shim) = std::env::var("SERVICE_PRELOAD") {
        command.env("LD_PRELOAD", shim);
    }
    command.spawn()
}

/// SIGTERM, by busybox, since the standard library sends none.
fn stop(mut service: Child) -> io::Result<()> {
    Command::new("/bin/busybox").args(["kill", "-TERM", &service.id().to_string()]).status()?;
    let status = service.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the service ended with {status}"))) }
}

/// Until a count has changed: a service that is stopped before it has done anything would show nothing.
fn wait_for_progress(arguments: &Arguments, since: &[u64]) -> io::Result<()> {
    let begun = Instant::now();
    while counts(arguments)? == since && begun.elapsed() < WAIT_MAX {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Until nothing is left in the drop folder of the dataset that moves everything, and no count has changed for a while. What
/// is left all the same does no harm: the check lets the program take it.
fn wait_for_the_end(arguments: &Arguments) -> io::Result<()> {
    let (begun, mut since, mut last) = (Instant::now(), Instant::now(), counts(arguments)?);
    loop {
        thread::sleep(Duration::from_millis(50));
        let now = counts(arguments)?;
        let mut left = Vec::new();
        collect(&arguments.root.join("drop/moved"), &mut left)?;
        if now != last || !left.is_empty() {
            (since, last) = (Instant::now(), now);
        }
        if since.elapsed() > QUIET || begun.elapsed() > WAIT_MAX {
            return Ok(());
        }
    }
}

fn counts(arguments: &Arguments) -> io::Result<Vec<u64>> {
    let of = |name| Ok(count(&arguments.root.join(format!("data/{name}.npy")))?.unwrap_or(0));
    arguments.datasets.iter().map(of).collect()
}

/// The published count as a reader sees it. Nothing while there is no file.
fn count(file: &Path) -> io::Result<Option<u64>> {
    let file = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut window = [0; 16];
    file.read_exact_at(&mut window, WINDOW.start)?;
    let text = String::from_utf8_lossy(&window);
    let rows = text.trim_start().parse();
    rows.map(Some).map_err(|_| io::Error::other(format!("a torn count: {text:?}")))
}

/// Writes a block whenever a count has changed. No count may ever decrease.
fn acknowledge(device: &File, start: u64, names: &[String], files: &[PathBuf], over: &AtomicBool) -> io::Result<()> {
    let mut last: Option<Vec<u64>> = None;
    let mut sequence: u64 = 0;
    let mut block = Box::new(Block([0; BLOCK_BYTES]));
    loop {
        let is_over = over.load(Ordering::SeqCst);
        let mut now = Vec::new();
        for file in files {
            now.push(count(file)?.unwrap_or(0));
        }
        if let Some(before) = &last
            && now.iter().zip(before).any(|(now, before)| now < before)
        {
            return Err(io::Error::other(format!("a published count went from {before:?} to {now:?}")));
        }
        if last.as_ref() != Some(&now) {
            let counts: Vec<String> = names.iter().zip(&now).map(|(name, rows)| format!("{name}={rows}")).collect();
            block.0.fill(0);
            writeln!(&mut block.0[..], "ack {sequence} {}", counts.join(" "))?;
            device.write_all_at(&block.0, start + sequence % BLOCKS_MAX * BLOCK_BYTES as u64)?;
            sequence += 1;
            last = Some(now);
        }
        if is_over {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

struct Random(u64);

impl Random {
    /// xorshift64.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
