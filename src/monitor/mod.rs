//! The service seen from outside: figures, the status page, `/metrics` and `/healthz`. Nothing in here changes anything.
//!
//! | file | |
//! |---|---|
//! | `figures` | [`Figures`]: where one dataset stands, the same for `status --json`, the page and `/status.json` |
//! | `metrics` | Prometheus' text format |
//! | `page`, `chart`, `escape` | the page; every name from a disk is escaped |
//! | `answer` | which path gives what |
//! | `server` | HTTP on one thread, with limits on whoever asks |
//! | `client` | `status` asking a running service |

mod answer;
mod chart;
mod client;
mod escape;
mod figures;
mod metrics;
mod page;
mod server;

pub use client::ask;
pub use figures::{Answer, Figures, ignored_text};
pub use server::Server;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::lane::Lane;
use crate::pulse::Pulses;

/// What one run of the pipeline shows. A reload makes a new one.
pub struct Run {
    /// The config file.
    pub config: PathBuf,
    pub lanes: Vec<Arc<Lane>>,
    pub pulses: Arc<Pulses>,
}

/// Where the run that goes on now is to be found.
#[derive(Default)]
pub struct Board {
    run: Mutex<Option<Arc<Run>>>,
}

impl Board {
    pub fn show(&self, run: Option<Run>) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = run.map(Arc::new);
    }

    /// `None` while it starts or reloads.
    pub fn run(&self) -> Option<Arc<Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
