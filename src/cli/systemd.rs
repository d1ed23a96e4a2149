//! What systemd is told: `sd_notify(3)` over a datagram socket. Without systemd all of it does nothing.
//!
//! The protocol is a few lines of text to the socket that `NOTIFY_SOCKET` names; `std` has all that it takes.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a message may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// A connection to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
}

impl Manager {
    /// The one that started this process.
    pub fn of_this_process() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self::default() };
        let connect = || -> io::Result<UnixDatagram> {
            let address = match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&name)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            // A manager that does not read must not stop the service; one that is slow gets a moment.
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let socket = connect();
        if let Err(error) = &socket {
            tracing::warn!("systemd cannot be told anything: NOTIFY_SOCKET={name:?}: {error}");
        }
        Self { socket: socket.ok() }
    }

    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    fn tell(&self, text: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(text.as_bytes())
        {
            tracing::debug!("telling systemd {text:?}: {error}");
        }
    }

    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The config is being read again; [`Self::ready`] ends it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={line}"));
    }

    /// All threads are well.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How long systemd waits for a ping before it ends the service; `None` where it does not wait.
    pub fn watchdog(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
            return None;
        }
        number("WATCHDOG_USEC").filter(|microseconds| *microseconds > 0).map(Duration::from_micros)
    }
}
