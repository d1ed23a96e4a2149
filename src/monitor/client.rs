//! `status` asking a running service: one plain request, with limits on the answer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::Answer;

const TIMEOUT: Duration = Duration::from_secs(3);
/// The longest answer, in bytes: 16 MiB.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What the service that listens there tells.
///
/// # Errors
/// Nobody listens, or what comes is not such an answer.
pub fn ask(address: SocketAddr) -> io::Result<Answer> {
    // Who listens on all addresses listens on this machine's own.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the answer is not cut into chunks, and ends with the connection.
    write!(stream, "GET /status.json HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("it answers {:?}", head.lines().next().unwrap_or_default())));
    }
    serde_json::from_str(body).map_err(io::Error::other)
}
