//! The log: one event a line, with fields.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::args::{Arguments, LogFormat};
use super::text;

/// To standard error, or to the journal where that is what standard error is. `RUST_LOG` overrides the level.
pub fn start(arguments: &Arguments) {
    let default = match arguments.command {
        None if !arguments.once => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let filter = EnvFilter::builder().with_default_directive(default.into()).from_env_lossy();
    let lines = tracing_subscriber::fmt::layer().with_writer(text::log_writer).with_target(false);
    let layer = match arguments.log_format() {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Auto if is_journal() => match tracing_journald::layer() {
            // `journalctl NPY_DATASET=frames`
            Ok(journal) => journal.with_field_prefix(Some("NPY".to_owned())).boxed(),
            // Its text lines go to the same place.
            Err(_) => lines.with_ansi(false).boxed(),
        },
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer).init();
}

/// Whether standard error goes to the journal: `JOURNAL_STREAM` names the device and inode of its socket, and is
/// inherited also by those whose standard error is something else (systemd.exec(5)).
fn is_journal() -> bool {
    let Some((device, inode)) = env::var("JOURNAL_STREAM").ok().and_then(|stream| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    }) else {
        return false;
    };
    rustix::fs::fstat(io::stderr()).is_ok_and(|status| (status.st_dev, status.st_ino) == (device, inode))
}
