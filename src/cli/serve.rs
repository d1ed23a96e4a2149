//! `npy-ingest --config F`: the service.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, select};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::failure::{Failure, warn};
use super::signals::listen;
use super::systemd::Manager;
use super::watchdog::Watchdog;
use super::{DONE, FAILED};
use crate::config::{self, Config};
use crate::daemon::{self, Mode, Running};
use crate::monitor::{Board, Run, Server};

/// How a run of the pipeline ended.
enum Ended {
    BySignal,
    ByItself,
    /// With the new server, if it listens somewhere else.
    ToReload(Config, Option<Server>),
}

pub fn run(config: &Config, file: &Path) -> Result<u8, Failure> {
    let signals = listen(&[SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let manager = Arc::new(Manager::of_this_process());
    let board = Arc::new(Board::default());
    let _watchdog = Watchdog::start(&manager, &board)
        .map_err(|error| Failure::failed(format!("starting the watchdog's thread: {error}")))?;
    let mut config = config.clone();
    let mut server = serve(config.service.listen, &board).map_err(Failure::failed)?;
    let mut running = daemon::start(&config, Mode::Service)?;
    loop {
        let config_file = config.file.clone();
        board.show(Some(Run {
            config: config_file,
            lanes: running.lanes().to_vec(),
            pulses: running.pulses().clone(),
        }));
        tracing::info!(config = %file.display(), datasets = config.datasets.len(), "running");
        manager.ready();
        let ended = follow(&running, &signals, &config, file, &manager, &board);
        if !matches!(ended, Ended::ToReload(..)) {
            manager.stopping();
        }
        running.stop();
        let lanes = running.lanes().to_vec();
        let outcome = running.join();
        match ended {
            Ended::BySignal | Ended::ByItself => {
                let mut failed = outcome.panicked || matches!(ended, Ended::ByItself);
                for lane in lanes {
                    if let Some(reason) = lane.tally.failure() {
                        failed = true;
                        warn(&format!("dataset \"{}\": {reason}", lane.options.name));
                    }
                }
                if outcome.panicked {
                    warn("a thread panicked; what was committed is safe");
                }
                tracing::info!("stopped");
                return Ok(if failed { FAILED } else { DONE });
            }
            Ended::ToReload(new, new_server) => {
                board.show(None);
                running = match daemon::start(&new, Mode::Reload) {
                    Ok(running) => {
                        if new.service.listen != config.service.listen {
                            // The old one closes its door.
                            drop(std::mem::replace(&mut server, new_server));
                        }
                        config = new;
                        running
                    }
                    Err(error) => {
                        drop(new_server);
                        let old = daemon::start(&config, Mode::GoOn);
                        let goes_on = if old.is_ok() { ", the old one goes on" } else { "" };
                        tracing::error!("the new config is refused{goes_on}: {error}");
                        old?
                    }
                };
            }
        }
    }
}

/// Starts the status page, if there is to be one.
fn serve(address: Option<SocketAddr>, board: &Arc<Board>) -> Result<Option<Server>, String> {
    let Some(address) = address else { return Ok(None) };
    let server = Server::start(address, board.clone())
        .map_err(|error| format!("the status page cannot listen on {address} (`listen`): {error}"))?;
    let address = server.address();
    tracing::info!("status page on http://{address}/, metrics on http://{address}/metrics");
    if !address.ip().is_loopback() {
        tracing::warn!("whoever reaches {address} sees the names and pictures of the status page");
    }
    Ok(Some(server))
}

/// The new config, and the server that it needs. Whatever is wrong shows before anything is stopped.
fn load(old: &Config, file: &Path, board: &Arc<Board>) -> Result<(Config, Option<Server>), String> {
    let new = config::load(file).map_err(|error| error.to_string())?;
    let server = if new.service.listen == old.service.listen { None } else { serve(new.service.listen, board)? };
    Ok((new, server))
}

fn follow(
    running: &Running,
    signals: &Receiver<i32>,
    config: &Config,
    file: &Path,
    manager: &Manager,
    board: &Arc<Board>,
) -> Ended {
    loop {
        select! {
            recv(running.ended()) -> _ => return Ended::ByItself,
            recv(signals) -> signal => match signal {
                Ok(SIGHUP) => {
                    manager.reloading();
                    match load(config, file, board) {
                        Ok((config, server)) => {
                            tracing::info!("reloading the config");
                            return Ended::ToReload(config, server);
                        }
                        Err(error) => tracing::error!("the new config is refused, the old one goes on: {error}"),
                    }
                    manager.ready();
                }
                Ok(SIGUSR1) => running.rescan(),
                Ok(_) | Err(_) => {
                    tracing::info!("stopping: what is decoded is committed, the rest is left to the next start");
                    return Ended::BySignal;
                }
            },
        }
    }
}
