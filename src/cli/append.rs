//! `npy-ingest append`: arrays from files and from standard input, to the end of any `.npy` file.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never, select};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::args::{AppendArguments, AppendDurability, RowShape};
use super::failure::{Failure, warn};
use super::signals::listen;
use super::standard_input::{NAME as STDIN, StandardInput};
use super::{array_file, print, print_json, text, told};
use crate::npy::{
    AppendError, AppendOptions, Appender, ArrayInput, BatchLimits, Dtype, Durability, Header, Layout,
    NUMPY_HEADER_CHARACTERS_MAX, WriteBack, is_file_at, real_path_of_new, shape_literal,
};
use crate::recovery::remove_unfinished;
use crate::storage::{Disk, RealDisk};

/// Raw rows from a pipe are committed when the producer pauses for so long,
const PAUSE: Duration = Duration::from_millis(50);
/// when the first of them has waited for so long,
const WAIT_MAX: Duration = Duration::from_millis(250);
/// or when so many bytes wait.
const WAITING_BYTES_MAX: u64 = 64 << 20;
/// How much is read from a pipe at a time.
const READ_BYTES: usize = 1 << 20;
/// How often a file may be made and removed again by others before we give up.
const ROUNDS_MAX: u32 = 100;

pub fn run(arguments: &AppendArguments) -> Result<u8, Failure> {
    refuse_wrong_combinations(arguments)?;
    array_file::refuse_file_of_dataset(&arguments.file)?;
    let mut stdin = StandardInput::open()?;
    refuse_file_as_its_own_input(arguments, &stdin)?;
    let mut opened = open_or_create(arguments, &mut stdin)?;
    let before = opened.appender.rows();
    let result = append_all(arguments, &mut opened);
    let Opened { appender, was_created, .. } = opened;
    if let Err(mut failure) = result {
        // Nothing that came from this command is to stay behind, unless rows have been committed.
        let (rows, path) = (appender.rows(), text::path(appender.path()));
        let (appended, reason) = (rows.saturating_sub(before), failure.text.clone());
        if appended > 0 {
            let (were, all) = (rows_were(appended, " that came before"), text::count(rows));
            failure.text.push_str(&format!("; {were} appended to {path}, {all} in all"));
        }
        let undone =
            if appended == 0 && was_created { appender.remove_if_empty().map(drop) } else { appender.discard() };
        if let Err(error) = undone
            && error.to_string() != reason
        {
            failure.text.push_str(&format!("; what is behind its last row could not be taken back: {error}"));
        }
        return Err(failure);
    }
    let printed = report(arguments, &appender, before, was_created);
    let were = rows_were(appender.rows().saturating_sub(before), "");
    Ok(told(printed, &format!("{were} appended to {}", text::path(&arguments.file))))
}

fn rows_were(count: u64, which: &str) -> String {
    text::number_of(count, &format!("row{which} was"), &format!("rows{which} were"))
}

/// Whoever made the file that was waited for removes it if that has failed: then it is ours to make.
fn open_or_create<'a>(arguments: &AppendArguments, stdin: &'a mut StandardInput) -> Result<Opened<'a>, Failure> {
    let (mut stdin, mut layout, mut first) = (Some(stdin), None, None);
    for _ in 0..ROUNDS_MAX {
        if std::fs::symlink_metadata(&arguments.file).is_ok() {
            match open(arguments) {
                Err(AppendError::Missing { .. }) => {}
                appender => return Ok(Opened { appender: appender?, was_created: false, first }),
            }
        }
        // What was read of standard input is read once.
        if let Some(stdin) = stdin.take() {
            let (found, read) = layout_of_new(arguments, stdin)?;
            (layout, first) = (Some(found), read);
        }
        let Some(layout) = &layout else { break };
        match create(arguments, layout) {
            // Somebody else was faster.
            Err(AppendError::Exists { .. }) => {}
            appender => return Ok(Opened { appender: appender?, was_created: true, first }),
        }
    }
    Err(AppendError::Missing { path: arguments.file.clone() }.into())
}

fn open(arguments: &AppendArguments) -> Result<Appender, AppendError> {
    let appender = Appender::open(&arguments.file, options(arguments))?;
    if appender.finished_move() {
        warn(&array_file::finished_move(&arguments.file));
    }
    if appender.unfinished_bytes() > 0 {
        let (one, many) = ("byte behind its last row is", "bytes behind its last row are");
        let are = text::number_of(appender.unfinished_bytes(), one, many);
        let name = text::path(&arguments.file);
        warn(&format!(
            "{name}: {are} of rows that a writer which died did not publish: the first row that is appended cuts them off"
        ));
    }
    Ok(appender)
}

/// The array, and what has been read of standard input to find out how to create it.
struct Opened<'a> {
    appender: Appender,
    was_created: bool,
    first: Option<ArrayInput<'a>>,
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
    if arguments.raw && arguments.convert_byte_order && arguments.dtype.is_none() {
        return Err(Failure::wrong_config(
            "--convert-byte-order needs the byte order that raw rows have: --dtype '>f4'",
        ));
    }
    Ok(())
}

/// What is appended would be read again, without an end.
fn refuse_file_as_its_own_input(arguments: &AppendArguments, stdin: &StandardInput) -> Result<(), Failure> {
    let is_read = arguments.inputs.iter().any(|path| is_stdin(path));
    let stdin = stdin.file();
    let is_regular = stdin.metadata().is_ok_and(|input| input.is_file());
    match is_read && is_regular && is_file_at(stdin, &arguments.file) {
        true => Err(Failure::wrong_config(format!("{STDIN} is {} itself", text::path(&arguments.file)))),
        false => Ok(()),
    }
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

/// What a new array is to hold, by the first input; and that input, if it comes from standard input.
fn layout_of_new<'a>(
    arguments: &AppendArguments,
    stdin: &'a mut StandardInput,
) -> Result<(Layout, Option<ArrayInput<'a>>), Failure> {
    let file = &arguments.file;
    // One that is not there before the array is made could be that array.
    for path in arguments.inputs.iter().filter(|path| !is_stdin(path) && !path.exists()) {
        ArrayInput::open(path)?;
    }
    let first_file = arguments.inputs.first().filter(|path| !is_stdin(path));
    match (arguments.raw, first_file) {
        (true, _) => Ok((raw_layout(arguments)?, None)),
        (false, Some(input)) => {
            let input = ArrayInput::open(input)?;
            Ok((layout_of(file, input.name(), input.header())?, None))
        }
        (false, None) => {
            let input = ArrayInput::next_in(stdin, STDIN)?.ok_or_else(|| {
                Failure::failed(format!(
                    "{} does not exist, and standard input is empty: there is nothing to create it from",
                    text::path(file)
                ))
            })?;
            Ok((layout_of(file, input.name(), input.header())?, Some(input)))
        }
    }
}

/// Makes an empty array.
fn create(arguments: &AppendArguments, layout: &Layout) -> Result<Appender, AppendError> {
    let path = real_path_of_new(&arguments.file)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let appender = Appender::create_on(&disk, &path, layout, options(arguments))?;
    // With the lock on it nobody else makes it now.
    if let Some(folder) = path.parent() {
        remove_unfinished(&*disk, folder, &[&path]);
    }
    if !layout.numpy_loads_by_default() {
        let file = text::path(&arguments.file);
        warn(&format!(
            "{file}: its header is longer than the {NUMPY_HEADER_CHARACTERS_MAX} characters that a plain np.load reads: it \
             needs max_header_size"
        ));
    }
    Ok(appender)
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
    let Some(dtype) = raw_dtype(arguments)? else {
        return Err(Failure::wrong_config(format!(
            "{file} does not exist: to create it from raw rows, say what they are: --dtype u1 --shape 224,224,3"
        )));
    };
    let shape = arguments.shape.as_ref().map(|RowShape(sides)| sides.as_slice()).unwrap_or_default();
    Layout::new(&dtype, shape).map_err(|error| Failure::wrong_config(error.to_string()))
}

fn raw_dtype(arguments: &AppendArguments) -> Result<Option<Dtype>, Failure> {
    let parsed = arguments.dtype.as_deref().map(Dtype::parse).transpose();
    parsed.map_err(|error| Failure::wrong_config(format!("--dtype: {error}")))
}

/// What raw rows are to be turned from, if their bytes are in another order than the array's. What was said of them has to fit.
fn check_raw(arguments: &AppendArguments, appender: &Appender) -> Result<Option<Dtype>, Failure> {
    let (file, expected) = (text::path(&arguments.file), appender.dtype());
    if let Some(RowShape(shape)) = &arguments.shape
        && !shape.iter().map(|side| *side as u64).eq(appender.row_shape().iter().copied())
    {
        let (shape, expected) = (shape_literal(shape), shape_literal(appender.row_shape()));
        return Err(Failure::wrong_config(format!(
            "--shape: raw rows of shape {shape} cannot be appended to {file}, whose rows have the shape {expected}"
        )));
    }
    match raw_dtype(arguments)? {
        Some(found) if found == *expected => Ok(None),
        Some(found) if found.differs_in_byte_order_only(expected) && arguments.convert_byte_order => Ok(Some(found)),
        Some(found) => {
            let turned =
                if found.differs_in_byte_order_only(expected) { "; --convert-byte-order turns them" } else { "" };
            let (found, expected) = (found.descr(), expected.descr());
            Err(Failure::wrong_config(format!(
                "--dtype: raw rows of {found} cannot be appended to {file}, whose dtype is {expected}{turned}"
            )))
        }
        None => Ok(None),
    }
}

/// Appends everything.
fn append_all<'a>(arguments: &AppendArguments, opened: &mut Opened<'a>) -> Result<(), Failure> {
    let (appender, converts) = (&opened.appender, arguments.convert_byte_order);
    // What is wrong with a file is told before anything is appended. They are not all kept open: there may be many.
    for path in arguments.inputs.iter().filter(|path| !is_stdin(path)) {
        appender.check_array(&ArrayInput::open(path)?, converts)?;
    }
    let commits_each = arguments.durability != AppendDurability::Batch;
    let rows = appender.rows();
    let commit_each = || if commits_each { appender.commit().map(drop) } else { Ok(()) };
    for path in &arguments.inputs {
        if !is_stdin(path) {
            let mut input = ArrayInput::open(path)?;
            if input.is_file(&arguments.file) {
                // Its rows are those that it had, whatever came before it.
                input.limit_rows(rows);
            }
            appender.stage_array(&mut input, converts)?;
        } else if arguments.raw {
            append_raw(arguments, appender)?;
        } else {
            if let Some(first) = &mut opened.first {
                appender.stage_array(first, converts)?;
                commit_each()?;
            }
            // Ends the borrow, so that what follows can be read.
            opened.first = None;
            let mut stdin = StandardInput::open()?;
            while let Some(mut input) = ArrayInput::next_in(&mut stdin, STDIN)? {
                appender.stage_array(&mut input, converts)?;
                commit_each()?;
            }
        }
        commit_each()?;
    }
    appender.commit()?;
    Ok(())
}

/// Rows as they come from a pipe. They are committed when the producer pauses, and now and then, so that readers see what there
/// is; and when a signal ends it.
fn append_raw(arguments: &AppendArguments, appender: &Appender) -> Result<(), Failure> {
    let from = check_raw(arguments, appender)?;
    let row_bytes = usize::try_from(appender.row_bytes()).unwrap_or(usize::MAX);
    let (pieces, signals) = (read_in_thread()?, listen(&[SIGTERM, SIGINT])?);
    let mut partial: Vec<u8> = Vec::new();
    let commits_each = arguments.durability != AppendDurability::Batch;
    let mut waits_since = None;
    loop {
        let waiting = appender.staged_rows().saturating_sub(appender.rows()).saturating_mul(appender.row_bytes());
        let since = (waiting > 0).then(|| *waits_since.get_or_insert_with(Instant::now));
        let pause = since.map(|since| PAUSE.min(WAIT_MAX.saturating_sub(since.elapsed())));
        let received = select! {
            recv(pieces) -> piece => piece.map(Some),
            recv(signals) -> signal => {
                appender.commit()?;
                let rows = text::number_of(appender.rows(), "row", "rows");
                let name = signal.map_or("a signal", |signal| if signal == SIGINT { "SIGINT" } else { "SIGTERM" });
                return Err(Failure::failed(format!("{STDIN} was not read to its end, for {name}; {rows} are there")));
            }
            recv(pause.map_or_else(never, crossbeam_channel::after)) -> _ => Ok(None),
        };
        let is_due = match received {
            Err(_) => break,
            Ok(None) => true,
            Ok(Some(piece)) => {
                let piece = piece
                    .map_err(|error| after_commit(appender, Failure::failed(format!("reading {STDIN}: {error}"))))?;
                partial.extend_from_slice(&piece);
                let whole = partial.len() / row_bytes * row_bytes;
                let rows = partial.get_mut(..whole).unwrap_or_default();
                if let Some(from) = &from {
                    from.reorder_bytes(appender.dtype(), rows);
                }
                appender.stage_c_rows(rows).map_err(|error| after_commit(appender, error.into()))?;
                partial.drain(..whole);
                commits_each || waiting >= WAITING_BYTES_MAX || since.is_some_and(|since| since.elapsed() >= WAIT_MAX)
            }
        };
        if is_due {
            appender.commit()?;
            waits_since = None;
        }
    }
    appender.commit()?;
    match partial.len() {
        0 => Ok(()),
        bytes => Err(Failure::failed(format!(
            "{STDIN} ended within a row of {}: {bytes} of {row_bytes} bytes, which were dropped",
            text::path(&arguments.file)
        ))),
    }
}

/// What came before a failure is appended.
fn after_commit(appender: &Appender, failure: Failure) -> Failure {
    appender.commit().map_or_else(Failure::from, |_| failure)
}

fn read_in_thread() -> Result<Receiver<io::Result<Vec<u8>>>, Failure> {
    let (sender, receiver) = bounded(4);
    let mut stdin = StandardInput::open()?;
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
            "bytes_cut": appender.bytes_cut(),
        }));
    }
    let made = if was_created { "created, " } else { "" };
    let (appended, all) = (text::number_of(rows.saturating_sub(before), "row", "rows"), text::count(rows));
    print(&format!("{}: {made}{appended} appended, {all} in all\n", text::path(&arguments.file)))
}
