//! `npy-ingest recover`: a count that says what is in the file.

use std::path::Path;

use serde_json::json;

use super::args::RecoverArguments;
use super::failure::Failure;
use super::{array_file, print, print_json, text, told};
use crate::npy::{RecoverOptions, Recovered, recover};

pub fn run(arguments: &RecoverArguments) -> Result<u8, Failure> {
    array_file::refuse_file_of_dataset(&arguments.file)?;
    let options = RecoverOptions { fills_with_zeros: arguments.zero_fill, waits_for_lock: arguments.wait };
    let recovered = recover(&arguments.file, options)?;
    let printed = if arguments.json {
        print_json(&json!({
            "file": arguments.file.to_string_lossy(),
            "changed": recovered.is_changed(),
            "rows_before": recovered.rows_before,
            "rows": recovered.rows,
            "bytes_cut": recovered.bytes_cut,
            "bytes_added": recovered.bytes_added,
            "unconfirmed_rows": recovered.unconfirmed_rows,
            "finished_move": recovered.finished_move,
        }))
    } else {
        print(&line(&arguments.file, &recovered))
    };
    let rows = text::number_of(recovered.rows, "row", "rows");
    Ok(told(printed, &format!("{} is recovered, with {rows}", text::path(&arguments.file))))
}

fn line(file: &Path, recovered: &Recovered) -> String {
    let rows = text::number_of(recovered.rows, "row", "rows");
    let name = text::path(file);
    let moved = if recovered.finished_move { format!("{}\n", array_file::finished_move(file)) } else { String::new() };
    if !(Recovered { finished_move: false, ..*recovered }).is_changed() {
        return format!("{moved}{name}: nothing to recover, {rows}\n");
    }
    let part = match (recovered.bytes_cut, recovered.bytes_added) {
        (0, 0) => String::new(),
        (0, added) => format!("; the last one was filled up with {}", text::number_of(added, "zero", "zeros")),
        (cut, _) => {
            let were = text::number_of(cut, "byte of an incomplete row was", "bytes of an incomplete row were");
            format!("; {were} cut off")
        }
    };
    let unconfirmed = match recovered.unconfirmed_rows {
        0 => String::new(),
        rows => format!(
            "; the last {} never confirmed: an append that was killed left {}, maybe a part of its input, and the next append \
             would have cut {1} off",
            if rows == 1 { "row was".to_owned() } else { format!("{} rows were", text::count(rows)) },
            if rows == 1 { "it" } else { "them" }
        ),
    };
    format!("{moved}{name}: {rows} now, the header said {}{part}{unconfirmed}\n", text::count(recovered.rows_before))
}
