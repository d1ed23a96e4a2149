//! `npy-ingest --config F`: the service.

use std::path::Path;
use std::thread::Builder;

use crossbeam_channel::{Receiver, bounded, select};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::failure::Failure;
use super::{DONE, FAILED};
use crate::config::{self, Config};
use crate::daemon::{self, Mode, Running};

/// How a run of the pipeline ended.
enum Ended {
    BySignal,
    ByItself,
    ToReload(Config),
}

pub fn run(config: &Config, file: &Path) -> Result<u8, Failure> {
    let signals = listen()?;
    let mut config = config.clone();
    let mut running = daemon::start(&config, Mode::Service)?;
    loop {
        tracing::info!(config = %file.display(), datasets = config.datasets.len(), "running");
        let ended = follow(&running, &signals, file);
        running.stop();
        let lanes = running.lanes().to_vec();
        let outcome = running.join();
        match ended {
            Ended::BySignal | Ended::ByItself => {
                let mut failed = outcome.panicked || matches!(ended, Ended::ByItself);
                for lane in lanes {
                    if let Some(reason) = lane.tally.failure() {
                        failed = true;
                        eprintln!("npy-ingest: dataset \"{}\": {reason}", lane.options.name);
                    }
                }
                if outcome.panicked {
                    eprintln!("npy-ingest: a thread panicked; what was committed is safe");
                }
                tracing::info!("stopped");
                return Ok(if failed { FAILED } else { DONE });
            }
            Ended::ToReload(new) => {
                running = match daemon::start(&new, Mode::Service) {
                    Ok(running) => {
                        config = new;
                        running
                    }
                    Err(error) => {
                        tracing::error!("the new config is refused, the old one goes on: {error}");
                        daemon::start(&config, Mode::Service)?
                    }
                };
            }
        }
    }
}

fn listen() -> Result<Receiver<i32>, Failure> {
    let failure = |error| Failure::failed(format!("listening for signals: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(failure)?;
    let (tell, told) = bounded(16);
    Builder::new()
        .name("npy-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if tell.send(signal).is_err() {
                    return;
                }
            }
        })
        .map_err(failure)?;
    Ok(told)
}

fn follow(running: &Running, signals: &Receiver<i32>, file: &Path) -> Ended {
    loop {
        select! {
            recv(running.ended()) -> _ => return Ended::ByItself,
            recv(signals) -> signal => match signal {
                Ok(SIGHUP) => match config::load(file) {
                    Ok(config) => {
                        tracing::info!("reloading the config");
                        return Ended::ToReload(config);
                    }
                    Err(error) => tracing::error!("the new config is refused, the old one goes on: {error}"),
                },
                Ok(SIGUSR1) => running.rescan(),
                Ok(_) | Err(_) => {
                    tracing::info!("stopping: finishing what is being decoded");
                    return Ended::BySignal;
                }
            },
        }
    }
}
