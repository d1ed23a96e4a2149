//! The status page: plain HTML that needs nothing but itself. Whatever comes from a disk goes through `escape::html`.

use std::fmt::Write;
use std::time::UNIX_EPOCH;

use super::escape::html;
use super::figures::{Answer, Figures};
use super::{Run, chart};
use crate::config::Paths;
use crate::lane::Lane;
use crate::ledger::{Fate, LedgerView, Listed};
use crate::npy::shape_literal;
use crate::picture::{Look, ROW_BYTES_MAX};
use crate::quantity::{bytes, count, number_of};

/// With more datasets than this, the overview leaves pictures and rejected sources to each dataset's own page.
const FULL_MAX: usize = 8;
/// Newest rows that are shown: on the overview, and on a dataset's own page.
const ROWS_SHOWN: u64 = 8;
const ROWS_SHOWN_ALONE: u64 = 32;
/// Rejected sources that are shown.
const REJECTED_SHOWN: usize = 8;
const REJECTED_SHOWN_ALONE: usize = 50;

/// How much of a dataset is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Brief,
    Full,
    Alone,
}

/// All datasets.
pub fn overview(run: &Run, answer: &Answer) -> String {
    let extent = if run.lanes.len() > FULL_MAX { Extent::Brief } else { Extent::Full };
    let mut body = String::new();
    for lane in &run.lanes {
        if let Some(figures) = of(lane, answer) {
            card(&mut body, lane, figures, extent);
        }
    }
    document("npy-ingest", answer, &body)
}

/// One dataset.
pub fn dataset(lane: &Lane, answer: &Answer) -> String {
    let mut body = "<p class=\"back\"><a href=\"/\">All datasets</a></p>".to_owned();
    if let Some(figures) = of(lane, answer) {
        card(&mut body, lane, figures, Extent::Alone);
    }
    document(&format!("{} · npy-ingest", lane.options.name), answer, &body)
}

fn of<'a>(lane: &Lane, answer: &'a Answer) -> Option<&'a Figures> {
    answer.datasets.iter().find(|figures| figures.name == lane.options.name)
}

fn document(title: &str, answer: &Answer, body: &str) -> String {
    let rows: u64 = answer.datasets.iter().map(|figures| figures.rows).sum();
    let datasets = answer.datasets.len() as u64;
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title>\
         <link rel=\"icon\" href=\"/icon.svg\"><link rel=\"stylesheet\" href=\"/page.css?{version}\">\
         <script src=\"/page.js?{version}\" defer></script></head><body><main>\
         <header><h1>npy-ingest</h1><p>{} in {} · <span class=\"path\">{}</span></p></header>\n{body}\
         <footer>npy-ingest {version} · <a href=\"/status.json\">JSON</a> · <a href=\"/metrics\">metrics</a> · \
         <a href=\"/healthz\">health</a><span class=\"stale\"> · no answer from the service</span></footer>\
         </main></body></html>\n",
        html(title),
        number_of(rows, "row", "rows"),
        number_of(datasets, "dataset", "datasets"),
        html(&answer.config.to_string_lossy()),
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn card(body: &mut String, lane: &Lane, figures: &Figures, extent: Extent) {
    let name = html(&figures.name);
    let (state, words) = match figures {
        Figures { stopped: Some(_), .. } => ("stopped", "stopped"),
        Figures { paused: Some(_), .. } => ("paused", "paused"),
        Figures { backlog: 1.., .. } => ("busy", "taking files"),
        _ => ("idle", "up to date"),
    };
    let mut history = lane.tally.history.rows();
    // The ten seconds that still go on would look like a fall.
    history.pop();
    let (rate, peak) = chart::rate(&history);
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        "<section class=\"card\" id=\"{name}\" data-rows=\"{rows}\" data-sources=\"{sources}\" \
         data-rejected=\"{rejected}\" data-backlog=\"{backlog}\">\
         <div class=\"top\"><div><h2><a href=\"/dataset/{name}\">{name}</a> <span class=\"state {state}\">{words}</span></h2>\
         <p class=\"path\">{output}</p></div>\
         <p class=\"rows\"><strong>{rows_text}</strong> rows<br><span>{array}</span></p></div>",
        rows = figures.rows,
        sources = figures.sources,
        rejected = figures.rejected,
        backlog = figures.backlog,
        output = html(&figures.output.to_string_lossy()),
        rows_text = count(figures.rows),
        array = html(&array(figures)),
    );
    for reason in figures.stopped.iter().chain(&figures.paused).chain(&figures.problems) {
        let _ = write!(body, "<p class=\"notice {state}\">{}</p>", html(reason));
    }
    let _ = write!(
        body,
        "<figure>{rate}<figcaption><span>half an hour ago</span><span>{}</span><span>now</span></figcaption></figure><dl>",
        if peak > 0.0 { format!("at most {} rows a second", decimal(peak)) } else { "no new rows".to_owned() },
    );
    let mut fact = |term: &str, value: String, more: String| {
        let _ = write!(body, "<div><dt>{term}</dt><dd>{value}</dd><dd class=\"more\">{more}</dd></div>");
    };
    fact(
        "waiting",
        number_of(figures.backlog, "source", "sources"),
        match figures.oldest_waiting_seconds {
            Some(age) if figures.backlog > 0 => {
                format!("{}, the oldest for {}", bytes(figures.backlog_bytes), seconds(age))
            }
            _ => "nothing waits".to_owned(),
        },
    );
    let rate = lane.tally.history.rate();
    fact(
        "rate",
        format!("{} rows/s", decimal(rate)),
        format!("{}/s over the last minute", bytes((rate * figures.row_bytes as f64) as u64)),
    );
    fact(
        "drop to row",
        figures.latency_median_seconds.map_or("–".to_owned(), seconds),
        figures
            .latency_p95_seconds
            .map_or("none since the start".to_owned(), |p95| format!("95 % within {}", seconds(p95))),
    );
    fact(
        "sources",
        count(figures.sources),
        figures.last_commit.as_ref().map_or("no commit yet".to_owned(), |at| {
            format!("last commit <time datetime=\"{0}\">{0}</time>", html(at))
        }),
    );
    fact(
        "rejected",
        count(figures.rejected),
        if figures.rejected == 0 { "none".to_owned() } else { "see below".to_owned() },
    );
    body.push_str("</dl>");
    if extent != Extent::Brief {
        pictures(body, lane, figures, if extent == Extent::Alone { ROWS_SHOWN_ALONE } else { ROWS_SHOWN });
        rejected(body, lane, if extent == Extent::Alone { REJECTED_SHOWN_ALONE } else { REJECTED_SHOWN });
    }
    body.push_str("</section>\n");
}

/// The newest rows, the newest first.
fn pictures(body: &mut String, lane: &Lane, figures: &Figures, shown: u64) {
    let published = figures.published_rows.unwrap_or(0);
    let row = &lane.options.row;
    let (Ok(look), true) = (Look::of(&row.dtype, &row.shape), figures.row_bytes <= ROW_BYTES_MAX) else { return };
    if published == 0 {
        return;
    }
    let (kind, class) = match look {
        Look::Picture { .. } => ("png", "pictures"),
        Look::Signal { .. } => ("svg", "pictures signals"),
    };
    let name = html(&figures.name);
    let since = lane.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let _ = write!(body, "<h3>newest rows</h3><ul class=\"{class}\">");
    for number in (published.saturating_sub(shown)..published).rev() {
        let _ = write!(
            body,
            "<li><img src=\"/rows/{name}/{number}.{kind}?{since}\" alt=\"row {number}\" loading=\"lazy\">\
             <span>{}</span></li>",
            count(number)
        );
    }
    body.push_str("</ul>");
}

/// The last rejected sources, the last first.
fn rejected(body: &mut String, lane: &Lane, shown: usize) {
    let listed = LedgerView::open(&Paths::new(&lane.options.output).ledger)
        .and_then(|view| view.map_or(Ok(Vec::new()), |view| view.last_rejected(shown)))
        .inspect_err(|error| tracing::warn!(dataset = lane.options.name, "the status page: {error}"))
        .unwrap_or_default();
    if listed.is_empty() {
        return;
    }
    body.push_str("<h3>last rejected</h3><ul class=\"rejected\">");
    for Listed { entry, committed_at } in listed {
        let Fate::Rejected { reason } = &entry.fate else { continue };
        let _ = write!(
            body,
            "<li><span class=\"path\">{}{}</span><time datetime=\"{2}\">{2}</time><p>{3}</p></li>",
            html(&entry.path.to_string_lossy()),
            entry.whither(&lane.options.base).map_or_else(String::new, |whither| html(&format!(", {whither}"))),
            html(&committed_at),
            html(reason)
        );
    }
    body.push_str("</ul>");
}

/// `(1020, 224, 224, 3) |u1`
fn array(figures: &Figures) -> String {
    format!("{} {}", shape_literal(&figures.shape), figures.dtype)
}

fn decimal(value: f64) -> String {
    if value >= 100.0 { count(value.round() as u64) } else { format!("{value:.1}") }
}

/// `84 ms`, `3.2 s`, `5 min`, `7 h`, `3 d`
fn seconds(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{:.0} ms", value * 1000.0),
        value if value < 60.0 => format!("{value:.1} s"),
        value if value < 3600.0 => format!("{:.0} min", value / 60.0),
        value if value < 48.0 * 3600.0 => format!("{:.0} h", value / 3600.0),
        value => format!("{:.0} d", value / 86400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(
            [seconds(0.084), seconds(3.21), seconds(300.0), seconds(7200.0)],
            ["84 ms", "3.2 s", "5 min", "2 h"]
        );
    }
}
