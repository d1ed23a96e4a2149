//! The command line.

mod append;
mod args;
mod array_file;
mod check;
mod ensure_appendable;
mod failure;
mod init;
mod inspect;
mod log;
mod once;
mod preview;
mod prospects;
mod recover;
mod retry;
mod serve;
mod signals;
mod sources;
mod standard_input;
mod status;
mod systemd;
mod text;
mod verify;
mod watchdog;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use signal_hook::consts::SIGXFSZ;

use args::{Arguments, Command};
use failure::{Failure, report, warn};

/// Done.
pub const DONE: u8 = 0;
/// Something failed.
pub const FAILED: u8 = 1;
/// The command line or the config is wrong.
pub const WRONG_CONFIG: u8 = 2;
/// `--once` ended with sources rejected.
pub const REJECTED: u8 = 3;

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start(&arguments);
    // A write past the largest file that is allowed (`ulimit -f`) fails then, rather than end the program.
    let registered = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let registered = registered.map_err(|error| Failure::failed(format!("listening for SIGXFSZ: {error}")));
    let code = registered.and_then(|_| run(&arguments)).unwrap_or_else(|failure| report(&failure));
    ExitCode::from(code)
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let config = || arguments.config();
    if arguments.once && arguments.command.is_some() {
        return Err(Failure::wrong_config("--once is a way to run; it goes with no command"));
    }
    match &arguments.command {
        None if arguments.once => once::run(&config()?, arguments.config_file()?),
        None => serve::run(&config()?, arguments.config_file()?),
        Some(Command::Check(_)) => check::run(&config()?),
        Some(Command::Status { json, .. }) => status::run(&config()?, *json),
        Some(Command::Sources(options)) => sources::run(&config()?, options),
        Some(Command::Retry(options)) => retry::run(&config()?, arguments.config_file()?, options),
        Some(Command::Inspect { file, json }) => inspect::run(file, *json),
        Some(Command::Preview { file, rows, output }) => preview::run(file, rows.as_deref(), output),
        Some(Command::Init { folder }) => init::run(folder),
        Some(Command::Append(arguments)) => append::run(arguments),
        Some(Command::Recover(arguments)) => recover::run(arguments),
        Some(Command::EnsureAppendable(arguments)) => ensure_appendable::run(arguments),
        Some(Command::Verify { file: Some(_), .. }) if arguments.names_config() => {
            let text = "verify looks at the datasets of a config or at one file: leave out --config, or the file";
            Err(Failure::wrong_config(text))
        }
        Some(Command::Verify { file: Some(file), json, .. }) => verify::run_file(file, *json),
        Some(Command::Verify { file: None, deep, json, .. }) => verify::run(&config()?, *deep, *json),
    }
}

/// After a change to a file: that nobody could be told of it does not undo it, so it is no failure.
fn told(printed: Result<(), Failure>, done: &str) -> u8 {
    if let Err(failure) = printed {
        warn(&format!("{}; all the same {done}", failure.text));
    }
    DONE
}

/// Prints lines to standard output, safe to show: whatever names from the disk are in them cannot write on a terminal.
fn print(text: &str) -> Result<(), Failure> {
    print_exactly(&text::lines(text))
}

/// A reader that went away (`| head`) is no failure.
fn print_exactly(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| Failure::failed(format!("writing to standard output: {error}"))),
    }
}

/// Prints one JSON object, which has escapes of its own.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))?;
    print_exactly(&format!("{text}\n"))
}
