//! `[service]`: what all datasets share.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::available_parallelism;

use super::item::Item;
use super::section::Section;
use super::world::MinFree;

/// Decoded rows may wait in this many bytes unless the config says otherwise: 1 GiB.
const MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// More threads than this are a typing error, not a machine.
const WORKERS_MAX: u64 = 1024;

/// `[service]`, as far as it could be read.
pub(super) struct ServiceDraft {
    pub(super) workers: usize,
    /// `None`: what was found is no size, so nothing can be measured against it.
    pub(super) memory_bytes: Option<u64>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) min_free: MinFree,
}

pub(super) fn read(section: Section<'_>) -> ServiceDraft {
    let workers = section.item("workers").and_then(|item| item.integer(0..=WORKERS_MAX, "a number of threads"));
    let workers = match workers.and_then(|workers| usize::try_from(workers).ok()) {
        None | Some(0) => available_parallelism().map_or(1, |cores| cores.get()),
        Some(workers) => workers,
    };
    let memory_bytes = match section.item("memory") {
        Some(item) => item.size_bytes(),
        None => Some(MEMORY_BYTES_DEFAULT),
    };
    let listen = section.item("listen").and_then(|item| address(&item));
    let min_free = section.item("min_free").and_then(|item| item.size_bytes()).map_or(MinFree::Default, MinFree::Bytes);
    section.finish();
    ServiceDraft { workers, memory_bytes, listen, min_free }
}

/// An address with its port, or a port alone, which is one of this machine's own.
fn address(item: &Item<'_>) -> Option<SocketAddr> {
    const WHAT: &str = "an address with a port such as \"127.0.0.1:9464\", or a port from 1 to 65535";
    if item.value.get_ref().is_integer() {
        let port = item.integer(1..=u64::from(u16::MAX), "an address such as \"127.0.0.1:9464\", or a port")?;
        return Some((Ipv4Addr::LOCALHOST, u16::try_from(port).ok()?).into());
    }
    let text = item.text(WHAT)?;
    let address = text.parse().ok();
    if address.is_none() {
        let message = format!("found {}, expected {WHAT}", item.found());
        match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() && !host.is_empty() => item.fault_with_help(
                message,
                "names are not looked up: write the address, \"127.0.0.1\" for this machine alone, \"0.0.0.0\" or \
                 \"[::]\" for everybody",
            ),
            _ => item.fault(message),
        }
    }
    address
}
