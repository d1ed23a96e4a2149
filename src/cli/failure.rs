//! How a command fails: what is said, and the exit code.

use std::io::{self, Write};

use super::{FAILED, WRONG_CONFIG, text};
use crate::config::ConfigError;
use crate::daemon::StartError;
use crate::ledger::LedgerError;
use crate::recovery::OpenError;

/// A text for standard error, and an exit code.
#[derive(Debug)]
pub struct Failure {
    pub text: String,
    pub code: u8,
}

impl Failure {
    pub fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: FAILED }
    }

    pub fn wrong_config(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: WRONG_CONFIG }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::wrong_config(error.to_string())
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        // Settings that do not fit the rows that are there can only be mended in the config.
        let is_config = matches!(&error, StartError::Dataset { error, .. } if matches!(**error, OpenError::Settings(_)))
            || matches!(&error, StartError::Folders { .. });
        let text = error.to_string();
        if is_config { Self::wrong_config(text) } else { Self::failed(text) }
    }
}

/// Says on standard error why it failed, and gives the exit code.
pub fn report(failure: &Failure) -> u8 {
    warn(&failure.text);
    failure.code
}

/// Says something on standard error, safe to show.
pub fn warn(text: &str) {
    // With standard error gone there is nobody to tell.
    drop(writeln!(io::stderr(), "npy-ingest: {}", text::lines(text)));
}
