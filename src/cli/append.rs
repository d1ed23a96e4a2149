//! `npy-ingest append`: arrays from files and from standard input, to the end of any `.npy` file.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use serde_json::json;

use super::args::{AppendArguments, AppendDurability};
use super::failure::Failure;
use super::{DONE, array_file, print, print_json, text};
use crate::npy::{
    AppendError, AppendOptions, Appender, ArrayInput, BatchLimits, Dtype, Durability, Header, Layout, WriteBack,
};
use crate::storage::{Disk, RealDisk};

/// Raw rows from a pipe are committed when the producer pauses for so long,
const PAUSE: Duration = Duration::from_millis(50);
/// or when so many bytes wait.
const WAITING_BYTES_MAX: u64 = 64 << 20;
/// How much is read from a pipe at a time.
const READ_BYTES: usize = 1 << 20;
const STDIN: &str = "standard input";

pub fn run(arguments: &AppendArguments) -> Result<u8, Failure> {
    refuse_wrong_combinations(arguments)?;
    array_file::refuse_file_of_dataset(&arguments.file)?;
    let mut stdin = stdin_file()?;
    let mut files = arguments
        .inputs
        .iter()
        .map(|path| if is_stdin(path) { Ok(None) } else { ArrayInput::open(path).map(Some) })
        .collect::<Result<Vec<_>, _>>()?;
    let mut opened = match std::fs::symlink_metadata(&arguments.file) {
        Ok(_) => {
            Opened { appender: Appender::open(&arguments.file, options(arguments))?, was_created: false, first: None }
        }
        Err(_) => create(arguments, files.first().and_then(Option::as_ref), &mut stdin)?,
    };
    let result = append_all(arguments, &mut opened, &mut files);
    let Opened { appender, was_created, .. } = opened;
    let before = match result {
        Ok(before) => before,
        Err(failure) => {
            // Nothing that came from this command is to stay behind, unless rows have been committed.
            let is_empty = appender.discard().is_ok() && appender.rows() == 0;
            let path = appender.path().to_owned();
            drop(appender);
            if was_created && is_empty {
                let _ = RealDisk.remove_file(&path);
            }
            return Err(failure);
        }
    };
    report(arguments, &appender, before, was_created)?;
    Ok(DONE)
}

/// The array, and what has been read of standard input to find out how to create it.
struct Opened<'a> {
    appender: Appender,
    was_created: bool,
    first: Option<ArrayInput<'a>>,
}

/// Standard input without a buffer, so that several can read on where the last one stopped.
fn stdin_file() -> Result<File, Failure> {
    let file = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    file.map_err(|error| Failure::failed(format!("opening {STDIN}: {error}")))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn refuse_wrong_combinations(arguments: &AppendArguments) -> Result<(), Failure> {
    let from_stdin = arguments.inputs.iter().filter(|path| is_stdin(path)).count();
    if from_stdin > 1 {
        return Err(Failure::wrong_config("standard input (-) can be appended once"));
    }
    if arguments.raw && arguments.inputs.iter().any(|path| !is_stdin(path)) {
        return Err(Failure::wrong_config("--raw is for rows from standard input: give - as the only input"));
    }
    if !arguments.raw && (arguments.dtype.is_some() || arguments.shape.is_some()) {
        return Err(Failure::wrong_config("--dtype and --shape describe raw rows: they go with --raw"));
    }
    Ok(())
}

fn options(arguments: &AppendArguments) -> AppendOptions {
    // This command says itself when to commit.
    let asked = BatchLimits { rows_max: u64::MAX, bytes_max: u64::MAX, delay_max: None };
    AppendOptions {
        durability: match arguments.durability {
            AppendDurability::Source | AppendDurability::Batch => Durability::Batch(asked),
            AppendDurability::None => Durability::None,
        },
        waits_for_lock: arguments.wait,
        write_back: (arguments.durability != AppendDurability::None).then(WriteBack::default),
    }
}

/// Makes an empty array of what the first input holds.
fn create<'a>(
    arguments: &AppendArguments,
    first_file: Option<&ArrayInput<'_>>,
    stdin: &'a mut File,
) -> Result<Opened<'a>, Failure> {
    let file = &arguments.file;
    let (layout, first) = match (arguments.raw, first_file) {
        (true, _) => (raw_layout(arguments)?, None),
        (false, Some(input)) => (layout_of(file, input.name(), input.header())?, None),
        (false, None) => {
            let input = ArrayInput::next_in(stdin, STDIN)?.ok_or_else(|| {
                Failure::failed(format!(
                    "{} does not exist, and standard input is empty: there is nothing to create it from",
                    text::path(file)
                ))
            })?;
            (layout_of(file, input.name(), input.header())?, Some(input))
        }
    };
    let path = array_file::real_path_of_new(file)?;
    let appender = Appender::create_on(&RealDisk, &path, &layout, options(arguments))?;
    Ok(Opened { appender, was_created: true, first })
}

fn layout_of(file: &Path, name: &str, header: &Header) -> Result<Layout, Failure> {
    let failed =
        |error: String| Failure::failed(format!("{} cannot be created from {name}: {error}", text::path(file)));
    if header.shape.is_empty() {
        return Err(failed(AppendError::NoDimensions.to_string()));
    }
    Layout::for_array(header).map_err(|error| failed(error.to_string()))
}

fn raw_layout(arguments: &AppendArguments) -> Result<Layout, Failure> {
    let file = text::path(&arguments.file);
    let Some(dtype) = &arguments.dtype else {
        return Err(Failure::wrong_config(format!(
            "{file} does not exist: to create it from raw rows, say what they are: --dtype u1 --shape 224,224,3"
        )));
    };
    let dtype = Dtype::parse(dtype).map_err(|error| Failure::wrong_config(format!("--dtype: {error}")))?;
    let shape = arguments.shape.as_deref().unwrap_or_default();
    Layout::new(&dtype, shape).map_err(|error| Failure::wrong_config(error.to_string()))
}

/// Appends everything, and says how many rows there were before.
fn append_all<'a>(
    arguments: &AppendArguments,
    opened: &mut Opened<'a>,
    files: &mut [Option<ArrayInput<'static>>],
) -> Result<u64, Failure> {
    let (appender, converts) = (&opened.appender, arguments.convert_byte_order);
    let before = appender.rows();
    // What is wrong with a file is told before anything is appended.
    for input in files.iter().flatten() {
        appender.check_array(input, converts)?;
    }
    let commits_each = arguments.durability != AppendDurability::Batch;
    for input in files {
        match input {
            Some(input) => {
                appender.stage_array(input, converts)?;
            }
            None if arguments.raw => append_raw(arguments, appender)?,
            None => {
                if let Some(first) = &mut opened.first {
                    appender.stage_array(first, converts)?;
                }
                // Ends the borrow, so that what follows can be read.
                opened.first = None;
                let mut stdin = stdin_file()?;
                while let Some(mut input) = ArrayInput::next_in(&mut stdin, STDIN)? {
                    appender.stage_array(&mut input, converts)?;
                }
            }
        }
        if commits_each {
            appender.commit()?;
        }
    }
    appender.commit()?;
    Ok(before)
}

/// Rows as they come from a pipe. They are committed when the producer pauses, so that readers see what there is.
fn append_raw(arguments: &AppendArguments, appender: &Appender) -> Result<(), Failure> {
    let row_bytes = usize::try_from(appender.row_bytes()).unwrap_or(usize::MAX);
    let pieces = read_in_thread()?;
    let mut partial: Vec<u8> = Vec::new();
    let commits_each = arguments.durability != AppendDurability::Batch;
    loop {
        let waiting = appender.staged_rows().saturating_sub(appender.rows()).saturating_mul(appender.row_bytes());
        let received = match waiting {
            0 => pieces.recv().map_err(|_| RecvTimeoutError::Disconnected),
            _ => pieces.recv_timeout(PAUSE),
        };
        let is_due = match received {
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => break,
            Ok(piece) => {
                partial
                    .extend_from_slice(&piece.map_err(|error| Failure::failed(format!("reading {STDIN}: {error}")))?);
                let whole = partial.len() / row_bytes * row_bytes;
                appender.stage_bytes(partial.get(..whole).unwrap_or_default())?;
                partial.drain(..whole);
                commits_each || waiting >= WAITING_BYTES_MAX
            }
        };
        if is_due {
            appender.commit()?;
        }
    }
    appender.commit()?;
    match partial.len() {
        0 => Ok(()),
        bytes => Err(Failure::failed(format!(
            "{STDIN} ended within a row: {bytes} of {row_bytes} bytes; the {} before it are in {}",
            text::number_of(appender.rows(), "row", "rows"),
            text::path(appender.path())
        ))),
    }
}

fn read_in_thread() -> Result<Receiver<io::Result<Vec<u8>>>, Failure> {
    let (sender, receiver) = bounded(4);
    let mut stdin = stdin_file()?;
    let read = move || {
        loop {
            let mut piece = vec![0; READ_BYTES];
            let read = match stdin.read(&mut piece) {
                Ok(0) => return,
                Ok(count) => {
                    piece.truncate(count);
                    Ok(piece)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = read.is_err();
            // Nobody takes any more once appending has failed.
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("npy-stdin".to_owned())
        .spawn(read)
        .map_err(|error| Failure::failed(format!("starting a thread: {error}")))?;
    Ok(receiver)
}

fn report(arguments: &AppendArguments, appender: &Appender, before: u64, was_created: bool) -> Result<(), Failure> {
    let rows = appender.rows();
    if arguments.json {
        return print_json(&json!({
            "file": arguments.file.to_string_lossy(),
            "created": was_created,
            "appended": rows.saturating_sub(before),
            "rows": rows,
        }));
    }
    let made = if was_created { "created, " } else { "" };
    let appended = text::number_of(rows.saturating_sub(before), "row", "rows");
    print(&format!("{}: {made}{appended} appended, {rows} in all\n", text::path(&arguments.file)))
}
