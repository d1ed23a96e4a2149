//! `npy-ingest sources`: where rows come from, and what was rejected.

use serde_json::{Value, json};

use super::args::{SourcesOptions, chosen};
use super::failure::{Failure, warn};
use super::{DONE, FAILED, print, print_json, text};
use crate::config::{Config, Dataset, Paths};
use crate::ledger::{Committed, Fate, LedgerView, Listed};

pub fn run(config: &Config, options: &SourcesOptions) -> Result<u8, Failure> {
    let datasets = chosen(config, options.dataset.as_deref())?;
    let mut listed = Vec::new();
    let mut row_was_found = false;
    let mut unread = false;
    let mut shorter = Vec::new();
    for dataset in datasets {
        let mut sources = Vec::new();
        let listing = list(dataset, options, &mut sources);
        let problem = listing.as_ref().err().map(|failure| failure.text.clone());
        listed.push(json!({ "name": dataset.name, "sources": sources, "problem": problem }));
        match listing {
            Ok(Listing::Done) => row_was_found = true,
            Ok(Listing::Shorter(text)) => shorter.push(text),
            // The others are listed all the same.
            Err(failure) => {
                unread = true;
                warn(&format!("dataset \"{}\": {}", dataset.name, failure.text));
            }
        }
    }
    if options.json {
        print_json(&json!({ "datasets": listed }))?;
    }
    for text in shorter {
        warn(&text);
    }
    // With several datasets, it is enough that one of them has the row.
    let is_missing = options.row.is_some() && !row_was_found;
    Ok(if is_missing || unread { FAILED } else { DONE })
}

enum Listing {
    Done,
    /// It has no such row.
    Shorter(String),
}

/// Prints the sources that are asked for, or adds them to those of the JSON object.
fn list(dataset: &Dataset, options: &SourcesOptions, sources: &mut Vec<Value>) -> Result<Listing, Failure> {
    let Some(view) = LedgerView::open(&Paths::new(&dataset.output).ledger)? else {
        return Ok(match options.row {
            Some(_) => Listing::Shorter(format!("dataset \"{}\" has no rows yet", dataset.name)),
            None => Listing::Done,
        });
    };
    let mut show = |listed: Listed| -> Result<(), Failure> {
        if options.json {
            sources.push(as_json(&listed));
            Ok(())
        } else {
            print(&line(dataset, &listed))
        }
    };
    let Some(row) = options.row else {
        view.for_each(options.rejected, &mut show)?;
        return Ok(Listing::Done);
    };
    match view.of_row(row)? {
        Some(found) => show(found).map(|()| Listing::Done),
        None => {
            let rows = text::number_of(view.state()?.rows, "row", "rows");
            Ok(Listing::Shorter(format!("dataset \"{}\" has {rows}: there is no row {row}", dataset.name)))
        }
    }
}

fn line(dataset: &Dataset, listed: &Listed) -> String {
    let entry = &listed.entry;
    let mut fate = match &entry.fate {
        Fate::Committed(committed) if committed.rows == 1 => format!("row {}", committed.first_row),
        Fate::Committed(committed) if committed.rows > 1 => {
            format!("rows {} to {}", committed.first_row, committed.first_row + committed.rows - 1)
        }
        Fate::Committed(committed) => match (&committed.note, &entry.part) {
            (Some(note), _) => format!("no rows of its own: {note}"),
            (None, Some(part)) if part.log != entry.id => {
                format!("no rows: source {} goes on under this name", part.log)
            }
            (None, Some(_)) => "no rows".to_owned(),
            (None, None) => "no rows of its own".to_owned(),
        },
        Fate::Rejected { reason } => format!("rejected: {reason}"),
    };
    if let Fate::Committed(Committed { rows: 1.., note: Some(note), .. }) = &entry.fate {
        fate.push_str(&format!("  ({note})"));
    }
    if let Some(part) = &entry.part {
        let bytes = if part.begin < part.end {
            format!("bytes {} to {}", part.begin, part.end)
        } else {
            format!("from byte {}", part.begin)
        };
        fate.push_str(&format!("  ({bytes})"));
    }
    if let Some(whither) = entry.whither(&dataset.base) {
        fate.push_str(&format!("  ({})", text::one_line(&whither)));
    }
    format!("{}  source {}  {}  {fate}\n", dataset.name, entry.source_id(), text::path(&entry.path))
}

/// The ledger's columns.
fn as_json(listed: &Listed) -> Value {
    let entry = &listed.entry;
    let (status, reason, committed) = match &entry.fate {
        Fate::Committed(committed) => ("committed", committed.note.as_deref(), Some(committed)),
        Fate::Rejected { reason } => ("rejected", Some(reason.as_str()), None),
    };
    json!({
        "id": entry.id,
        "path": entry.path.to_string_lossy(),
        "size": entry.identity.size,
        "mtime_ns": entry.identity.mtime_ns,
        "hash": entry.hash.map(|hash| hash.to_hex().to_string()),
        "status": status,
        "reason": reason,
        "first_row": committed.map(|committed| committed.first_row),
        "rows": committed.map_or(0, |committed| committed.rows),
        "checksum": committed.map(|committed| committed.checksum.to_hex().to_string()),
        "log": entry.part.as_ref().map(|part| part.log),
        "log_index": entry.part.as_ref().map(|part| part.first_index),
        "log_begin": entry.part.as_ref().map(|part| part.begin),
        "log_end": entry.part.as_ref().map(|part| part.end),
        "committed_at": listed.committed_at,
        "moved_to": entry.moved_to.as_ref().filter(|path| !path.as_os_str().is_empty()).map(|path| path.to_string_lossy()),
    })
}
