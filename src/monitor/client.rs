//! `status` asking a running service: one plain request, with limits on the answer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Answer;

/// For each step, and for all of them.
const TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT_OF_ALL: Duration = Duration::from_secs(10);
/// The longest answer, in bytes: 16 MiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const READ_BYTES: usize = 64 << 10;

/// What the service that listens there tells.
///
/// # Errors
/// Nobody listens, or what comes is not such an answer.
pub fn ask(address: SocketAddr) -> io::Result<Answer> {
    ask_until(address, Instant::now() + TIMEOUT_OF_ALL)
}

fn ask_until(address: SocketAddr, until: Instant) -> io::Result<Answer> {
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
    let (mut bytes, mut block) = (Vec::new(), vec![0; READ_BYTES]);
    loop {
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        let left = left.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "its answer comes to no end"))?;
        stream.set_read_timeout(Some(TIMEOUT.min(left)))?;
        let read = match stream.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing comes from it"));
            }
            read => read?,
        };
        bytes.extend_from_slice(block.get(..read).unwrap_or_default());
        if read == 0 || bytes.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("it answers {:?}", head.lines().next().unwrap_or_default())));
    }
    serde_json::from_str(body).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// The bug: each byte gave it three seconds more.
    #[test]
    fn an_answer_that_drips_comes_to_its_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b"HTTP/1.1 200 OK\r\n").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let error = ask_until(address, Instant::now() + Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        server.join().unwrap();
    }
}
