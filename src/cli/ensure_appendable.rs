//! `npy-ingest ensure-appendable`: room in a header for its count to grow.

use serde_json::json;

use super::args::EnsureAppendableArguments;
use super::failure::Failure;
use super::{DONE, array_file, print, print_json, text};
use crate::npy::{WidenOptions, Widened, ensure_appendable};

pub fn run(arguments: &EnsureAppendableArguments) -> Result<u8, Failure> {
    array_file::refuse_file_of_dataset(&arguments.file)?;
    let options = WidenOptions { in_place: arguments.in_place, waits_for_lock: arguments.wait };
    let widened = ensure_appendable(&arguments.file, options)?;
    let (change, bytes) = match widened {
        Widened::NotNeeded => ("nothing", 0),
        Widened::Rearranged => ("header", 0),
        Widened::Moved { bytes } => ("rows", bytes),
    };
    if arguments.json {
        print_json(&json!({ "file": arguments.file.to_string_lossy(), "changed": change, "moved_bytes": bytes }))?;
        return Ok(DONE);
    }
    let done = match widened {
        Widened::NotNeeded => "appendable as it was".to_owned(),
        Widened::Rearranged => "appendable now: its header had room, in the wrong place".to_owned(),
        Widened::Moved { bytes } => {
            format!("appendable now: its header is longer by {}", text::number_of(bytes, "byte", "bytes"))
        }
    };
    print(&format!("{}: {done}\n", text::path(&arguments.file)))?;
    Ok(DONE)
}
