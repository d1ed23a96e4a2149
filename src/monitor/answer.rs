//! Which path gives what.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use image::ImageFormat;

use super::{Answer, Board, Figures, Run, metrics, page};
use crate::lane::Lane;
use crate::picture::{Look, RowFile, picture, svg};

/// The figures of the ledgers are asked for at most this often, however many look.
const FIGURES_AGE_MAX: Duration = Duration::from_millis(500);
/// A thread that does not get on for so long makes the service unwell.
const STUCK: Duration = Duration::from_secs(60);
/// Pixels of a row's picture.
const PICTURE_SIDE: u32 = 192;
/// Only files of this server may be loaded, and nothing may be sent or embedded: a name that is markup stays a name.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Reply = Response<Full<Bytes>>;

/// What is served.
pub struct Site {
    address: SocketAddr,
    board: Arc<Board>,
    /// The newest figures, and when they were asked for.
    figures: Mutex<Option<(Instant, Arc<Answer>)>>,
}

/// A body with its media type.
struct Found {
    media: &'static str,
    body: Vec<u8>,
    /// It does not change.
    is_lasting: bool,
}

impl Site {
    pub fn new(address: SocketAddr, board: Arc<Board>) -> Self {
        Self { address, board, figures: Mutex::default() }
    }

    /// Answers a request. Never fails.
    pub fn answer(&self, request: &Request<Incoming>) -> Reply {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut reply = reply(StatusCode::METHOD_NOT_ALLOWED, text("only GET and HEAD are answered\n"));
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        if !self.is_meant(request) {
            let words = "this page is for the machine that it runs on: ask for it as localhost or by its address\n";
            return reply(StatusCode::MISDIRECTED_REQUEST, text(words));
        }
        self.found(request.uri().path())
    }

    /// A page on loopback answers to this machine's own names only: a web site elsewhere that has its name point here
    /// could read along otherwise.
    fn is_meant(&self, request: &Request<Incoming>) -> bool {
        if !self.address.ip().is_loopback() {
            return true;
        }
        let Some(host) = request.headers().get(header::HOST) else { return true };
        let Ok(host) = host.to_str() else { return false };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        name == "localhost" || name.ends_with(".localhost") || name.parse::<std::net::IpAddr>().is_ok()
    }

    fn found(&self, path: &str) -> Reply {
        let run = self.board.run();
        let found = match (path, &run) {
            ("/page.css", _) => lasting("text/css; charset=utf-8", include_bytes!("page.css").to_vec()),
            ("/page.js", _) => lasting("text/javascript; charset=utf-8", include_bytes!("page.js").to_vec()),
            ("/icon.svg", _) => lasting("image/svg+xml", include_bytes!("icon.svg").to_vec()),
            ("/metrics", run) => fresh(metrics::TYPE, metrics::text(run.as_deref())),
            ("/healthz", run) => {
                let (is_well, words) = health(run.as_deref());
                let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                return reply(status, text(words));
            }
            ("/" | "/status.json", None) => {
                return reply(StatusCode::SERVICE_UNAVAILABLE, text("starting: come back in a moment\n"));
            }
            ("/", Some(run)) => fresh("text/html; charset=utf-8", page::overview(run, &self.figures(run))),
            ("/status.json", Some(run)) => match serde_json::to_vec_pretty(&*self.figures(run)) {
                Ok(json) => fresh("application/json", json),
                Err(error) => return reply(StatusCode::INTERNAL_SERVER_ERROR, text(format!("{error}\n"))),
            },
            (path, Some(run)) => match self.below(run, path) {
                Some(found) => found,
                None => return reply(StatusCode::NOT_FOUND, text("there is nothing under this path\n")),
            },
            _ => return reply(StatusCode::NOT_FOUND, text("there is nothing under this path\n")),
        };
        reply(StatusCode::OK, found)
    }

    /// `/dataset/NAME`, `/rows/NAME/17.png`, `/rows/NAME/17.svg`
    fn below(&self, run: &Run, path: &str) -> Option<Found> {
        let lane_of = |name: &str| run.lanes.iter().find(|lane| lane.options.name == name);
        let mut parts = path.strip_prefix('/')?.split('/');
        match (parts.next()?, parts.next()?, parts.next(), parts.next()) {
            ("dataset", name, None, None) => {
                let lane = lane_of(name)?;
                Some(fresh("text/html; charset=utf-8", page::dataset(lane, &self.figures(run))))
            }
            ("rows", name, Some(file), None) => {
                let (row, kind) = file.split_once('.')?;
                row_picture(lane_of(name)?, row.parse().ok()?, kind)
            }
            _ => None,
        }
    }

    fn figures(&self, run: &Run) -> Arc<Answer> {
        let mut newest = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        match &*newest {
            Some((at, answer)) if at.elapsed() < FIGURES_AGE_MAX && answer.datasets.len() == run.lanes.len() => {
                answer.clone()
            }
            _ => {
                let datasets = run.lanes.iter().map(|lane| Figures::of_lane(lane)).collect();
                let answer = Arc::new(Answer { config: run.config.clone(), datasets });
                *newest = Some((Instant::now(), answer.clone()));
                answer
            }
        }
    }
}

/// Signals of more bytes are not drawn on the page.
const PLOT_ROW_BYTES_MAX: usize = 8 << 20;

/// A published row as a picture. Rows never change, and so neither does it.
fn row_picture(lane: &Lane, row: u64, kind: &str) -> Option<Found> {
    let file = RowFile::open(&lane.options.output).ok()?;
    // All samples of a plot are in memory, at eight bytes each.
    if matches!(file.look, Look::Signal { .. }) && lane.options.row.row_bytes() > PLOT_ROW_BYTES_MAX {
        return None;
    }
    let bytes = file.row(row).ok()?;
    match kind {
        "svg" if matches!(file.look, Look::Signal { .. }) => {
            Some(lasting("image/svg+xml", svg(&file.dtype, file.look, &bytes).into_bytes()))
        }
        "png" => {
            let mut png = std::io::Cursor::new(Vec::new());
            picture(&file.dtype, file.look, &bytes, PICTURE_SIDE).write_to(&mut png, ImageFormat::Png).ok()?;
            Some(lasting("image/png", png.into_inner()))
        }
        _ => None,
    }
}

/// `ok`, or what is wrong, line by line. A dataset that is paused is being looked after; one that has stopped is not.
fn health(run: Option<&Run>) -> (bool, String) {
    let Some(run) = run else { return (true, "starting\n".to_owned()) };
    let mut words = String::new();
    let mut is_well = true;
    if let Some(stuck) = run.pulses.stuck(STUCK) {
        words.push_str(&format!("stuck: the thread {} has not got on for {} s\n", stuck.name, STUCK.as_secs()));
        is_well = false;
    }
    for lane in &run.lanes {
        if let Some(reason) = lane.tally.failure() {
            words.push_str(&format!("stopped: {}: {reason}\n", lane.options.name));
            is_well = false;
        } else if let Some(reason) = lane.tally.paused() {
            words.push_str(&format!("paused: {}: {reason}\n", lane.options.name));
        }
        for folder in lane.tally.missing() {
            let name = &lane.options.name;
            words.push_str(&format!("missing: {name}: the watched folder {} cannot be read\n", folder.display()));
        }
    }
    if words.is_empty() { (true, "ok\n".to_owned()) } else { (is_well, words) }
}

fn text(words: impl Into<Vec<u8>>) -> Found {
    fresh("text/plain; charset=utf-8", words)
}

fn fresh(media: &'static str, body: impl Into<Vec<u8>>) -> Found {
    Found { media, body: body.into(), is_lasting: false }
}

fn lasting(media: &'static str, body: Vec<u8>) -> Found {
    Found { media, body, is_lasting: true }
}

fn reply(status: StatusCode, found: Found) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(found.body)));
    *reply.status_mut() = status;
    let cache = if found.is_lasting { "private, max-age=3600" } else { "no-store" };
    for (name, value) in [
        (header::CONTENT_TYPE, found.media),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}
