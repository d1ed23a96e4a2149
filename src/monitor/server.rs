//! HTTP for the page. One thread, on which nothing but this happens: however many ask, and however slowly, the pipeline
//! does not wait for them.
//!
//! Limits: connections (the oldest is closed for a new one, so that slow clients cannot keep others out), the size of a
//! request's head, the time for it, the life of a connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;

use super::Board;
use super::answer::Site;

const CONNECTIONS_MAX: usize = 64;
/// A request's head, in bytes, and its fields.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEAD_FIELDS_MAX: usize = 64;
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// A connection lives no longer than this, whatever it does.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
/// When the process has no descriptor left for a connection, the next is taken after this time.
const ACCEPT_WAIT: Duration = Duration::from_millis(200);

/// The running server. It ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at once; connections are taken from then on.
    ///
    /// # Errors
    /// The address cannot be had, or there is no thread for it.
    pub fn start(address: SocketAddr, board: Arc<Board>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = Builder::new().name("npy-status".to_owned()).spawn(move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => drop(tokio::spawn(accept(listener, Arc::new(Site::new(address, board))))),
                    Err(error) => tracing::error!("the status page cannot listen: {error}"),
                }
                // Sent, or its sender gone: it is over, and whatever is open is closed.
                drop(stopped.await);
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Its panic harms nobody.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

async fn accept(listener: tokio::net::TcpListener, site: Arc<Site>) {
    let mut connections: VecDeque<tokio::task::JoinHandle<()>> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.retain(|connection| !connection.is_finished());
                while connections.len() >= CONNECTIONS_MAX {
                    if let Some(oldest) = connections.pop_front() {
                        oldest.abort();
                    }
                }
                connections.push_back(tokio::spawn(talk(stream, site.clone())));
            }
            Err(error) => {
                tracing::debug!("taking a connection: {error}");
                tokio::time::sleep(ACCEPT_WAIT).await;
            }
        }
    }
}

async fn talk(stream: tokio::net::TcpStream, site: Arc<Site>) {
    let service = service_fn(move |request| {
        let answer = site.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!("a connection to the status page: {error}"),
    }
}
