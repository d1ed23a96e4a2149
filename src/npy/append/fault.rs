//! Why an appender appends nothing more.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::AppendError;

/// After which nothing more is appended.
pub(super) enum Fault {
    Failed {
        operation: &'static str,
        source: Arc<io::Error>,
    },
    /// Somebody else has changed the file, and rows up to this one were to be in it.
    Disturbed {
        problem: Arc<str>,
        end: u64,
    },
}

impl Fault {
    pub fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Failed { operation, source: Arc::new(error) }
    }

    /// So many rows are published.
    pub fn error(&self, path: &Path, published: u64) -> AppendError {
        let path = path.to_owned();
        match self {
            Self::Failed { operation, source } => AppendError::Broken { operation, path, source: source.clone() },
            Self::Disturbed { problem, end } => {
                AppendError::Disturbed { path, problem: problem.clone(), rows: end.saturating_sub(published) }
            }
        }
    }
}
