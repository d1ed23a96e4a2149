//! `npy-ingest inspect`: what is in a `.npy` file.

use std::path::Path;

use serde_json::json;

use super::failure::Failure;
use super::{DONE, array_file, print, print_json, text};
use crate::npy::{Growth, Inspection, Tail, inspect, shape_literal};

pub fn run(file: &Path, json: bool) -> Result<u8, Failure> {
    let inspection = inspect(file).map_err(|error| array_file::inspect_failure(file, &error))?;
    if json {
        print_json(&as_json(file, &inspection))?;
    } else {
        print(&lines(file, &inspection))?;
    }
    Ok(DONE)
}

fn lines(file: &Path, inspection: &Inspection) -> String {
    let header = &inspection.header;
    let mut lines = format!("{}\n", text::path(file));
    let mut line = |name: &str, value: String| lines.push_str(&format!("  {name:<10} {value}\n"));
    line("dtype", header.dtype.descr());
    let order =
        if header.fortran_order { "Fortran order: the last axis grows" } else { "C order: the first axis grows" };
    line("shape", format!("{} in {order}", shape_literal(&header.shape)));
    if let Some(rows) = inspection.rows {
        let each = text::bytes(header.row_bytes());
        line("rows", format!("{} of {each} each", text::count(rows)));
    }
    let (version, start) = (header.version, header.data_start);
    line(
        "header",
        format!(
            "version {version}, {start} bytes{}",
            if inspection.own_layout { ", laid out by npy-ingest" } else { "" }
        ),
    );
    line(
        "bytes",
        format!(
            "{} in the file, {} of data expected",
            text::count(inspection.file_bytes),
            text::count(inspection.data_bytes_expected)
        ),
    );
    line("past end", tail(inspection));
    line("grows", inspection.growth.to_string());
    lines
}

fn tail(inspection: &Inspection) -> String {
    let whole = |bytes: u64| match bytes.checked_div(inspection.header.row_bytes()) {
        Some(rows) if rows > 0 => format!(" ({})", text::number_of(rows, "whole row", "whole rows")),
        _ => String::new(),
    };
    match inspection.tail {
        Tail::Exact => "nothing: the file ends with its last row".to_owned(),
        Tail::Past { bytes } => {
            let what = if inspection.is_followed_by_array { ": another array".to_owned() } else { whole(bytes) };
            format!("{} past the last row{what}", text::number_of(bytes, "byte", "bytes"))
        }
        Tail::Missing { bytes } => {
            format!("{} MISSING{}: the file was cut short", text::number_of(bytes, "byte", "bytes"), whole(bytes))
        }
    }
}

fn as_json(file: &Path, inspection: &Inspection) -> serde_json::Value {
    let header = &inspection.header;
    let (past, missing) = match inspection.tail {
        Tail::Exact => (0, 0),
        Tail::Past { bytes } => (bytes, 0),
        Tail::Missing { bytes } => (0, bytes),
    };
    let (grows, window) = match &inspection.growth {
        Growth::Window { offset, .. } => ("window", Some(*offset)),
        Growth::Room { .. } => ("room", None),
        Growth::None(_) => ("no", None),
    };
    json!({
        "file": file.to_string_lossy(),
        "version": header.version.to_string(),
        "dtype": header.dtype.descr(),
        "fortran_order": header.fortran_order,
        "shape": header.shape,
        "rows": inspection.rows,
        "row_bytes": header.row_bytes(),
        "data_start": header.data_start,
        "file_bytes": inspection.file_bytes,
        "data_bytes": inspection.data_bytes_expected,
        "bytes_past_last_row": past,
        "bytes_missing": missing,
        "own_layout": inspection.own_layout,
        "grows": grows,
        "grows_because": inspection.growth.to_string(),
        "count_window_offset": window,
        "rows_max_in_place": inspection.rows_max_in_place,
    })
}
