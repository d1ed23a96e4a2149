//! The command line.

mod args;
mod check;
mod failure;
mod inspect;
mod once;
mod retry;
mod serve;
mod sources;
mod status;
mod text;
mod verify;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use args::{Arguments, Command};
use failure::{Failure, report};

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
    start_logging(&arguments);
    let code = run(&arguments).unwrap_or_else(|failure| report(&failure));
    ExitCode::from(code)
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let config = || arguments.config();
    if arguments.once && arguments.command.is_some() {
        return Err(Failure::wrong_config("--once is a way to run; it goes with no command"));
    }
    match &arguments.command {
        None if arguments.once => once::run(&config()?),
        None => serve::run(&config()?, arguments.config_file()?),
        Some(Command::Check) => check::run(&config()?),
        Some(Command::Status { json }) => status::run(&config()?, *json),
        Some(Command::Sources(options)) => sources::run(&config()?, options),
        Some(Command::Retry(options)) => retry::run(&config()?, options),
        Some(Command::Inspect { file, json }) => inspect::run(file, *json),
        Some(Command::Verify { file: Some(file), json, .. }) => verify::run_file(file, *json),
        Some(Command::Verify { file: None, deep, json }) => verify::run(&config()?, *deep, *json),
    }
}

/// One event a line on standard error. `RUST_LOG` overrides the level.
fn start_logging(arguments: &Arguments) {
    let default = match arguments.command {
        None if !arguments.once => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let filter = EnvFilter::builder().with_default_directive(default.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(text::log_writer)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Prints to standard output. A reader that went away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| Failure::failed(format!("writing to standard output: {error}"))),
    }
}

/// Prints one JSON object.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))?;
    print(&format!("{text}\n"))
}
