//! One measurement of appending, for `benches/run appends`, which runs it in turn with the peers.
//!
//!     append CASE FILE ROW_BYTES APPENDS ROWS_AN_APPEND
//!
//! Prints the seconds that it took. The file is made anew.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use npy_ingest::npy::{AppendOptions, Appender, Array, BatchLimits, Dtype, Durability, WriteBack};

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [case, path, row_bytes, appends, rows] = arguments.as_slice() else {
        println!("run benches/run appends: it says what is measured, against whom");
        return Ok(());
    };
    let (path, row_bytes): (&Path, usize) = (Path::new(path), row_bytes.parse()?);
    let (appends, rows): (u64, usize) = (appends.parse()?, rows.parse()?);
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let piece: Vec<u8> = (0..row_bytes * rows).map(|byte| byte as u8).collect();
    println!("{:.9}", measure(case, path, row_bytes, appends, &piece)?);
    Ok(())
}

fn measure(case: &str, path: &Path, row_bytes: usize, appends: u64, piece: &[u8]) -> Result<f64, Box<dyn Error>> {
    let ours = |durability, write_back| -> Result<Appender, Box<dyn Error>> {
        let options = AppendOptions { durability, waits_for_lock: false, write_back };
        let appender = Appender::create(path, &Dtype::u1(), &[row_bytes], options)?;
        // The first append makes sure of the header.
        appender.append_bytes(piece)?;
        appender.commit()?;
        Ok(appender)
    };
    let plain = || -> std::io::Result<File> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(piece)?;
        file.sync_data()?;
        Ok(file)
    };
    let grouped = |rows_max| Durability::Batch(BatchLimits { rows_max, bytes_max: u64::MAX, delay_max: None });
    let write_back = |drops_cache| Some(WriteBack { drops_cache, ..WriteBack::default() });
    let each = |appender: Appender| -> Result<f64, Box<dyn Error>> {
        let start = Instant::now();
        for _ in 0..appends {
            appender.append_bytes(piece)?;
        }
        appender.commit()?;
        Ok(start.elapsed().as_secs_f64())
    };
    match case {
        // One write on an O_APPEND descriptor: nothing that appends can be faster.
        "write" | "write+fdatasync" | "write+final-fdatasync" => {
            let mut file = plain()?;
            let start = Instant::now();
            for _ in 0..appends {
                file.write_all(piece)?;
                if case == "write+fdatasync" {
                    file.sync_data()?;
                }
            }
            if case == "write+final-fdatasync" {
                file.sync_data()?;
            }
            Ok(start.elapsed().as_secs_f64())
        }
        "ours" => each(ours(Durability::None, None)?),
        "ours-durable" => each(ours(Durability::Each, None)?),
        "ours-durable-16" => each(ours(grouped(16), None)?),
        // Sixteen threads that each want their rows durable when append returns.
        "ours-durable-threads" => {
            let appender = ours(Durability::Each, None)?;
            let start = Instant::now();
            std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
                let append = || (0..appends / 16).try_for_each(|_| appender.append_bytes(piece).map(drop));
                let threads = [(); 16].map(|()| scope.spawn(append));
                threads
                    .into_iter()
                    .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?.map_err(Into::into))
            })?;
            Ok(start.elapsed().as_secs_f64())
        }
        "ours-bulk" => each(ours(grouped(u64::MAX), None)?),
        "ours-bulk-write-back" => each(ours(grouped(u64::MAX), write_back(false))?),
        "ours-bulk-drop-behind" => each(ours(grouped(u64::MAX), write_back(true))?),
        // How long until the rows can be read, for a reader that starts. Each is a fresh open.
        "ours-open" => {
            drop(ours(Durability::None, None)?);
            let start = Instant::now();
            for _ in 0..appends {
                drop(Array::open(path)?);
            }
            Ok(start.elapsed().as_secs_f64())
        }
        "ours-open-to-append" => {
            drop(ours(Durability::None, None)?);
            let start = Instant::now();
            for _ in 0..appends {
                drop(Appender::open(path, AppendOptions { durability: Durability::None, ..AppendOptions::default() })?);
            }
            Ok(start.elapsed().as_secs_f64())
        }
        other => Err(format!("no case {other}").into()),
    }
}
