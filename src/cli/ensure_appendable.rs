//! `npy-ingest ensure-appendable`: room in a header for its count to grow.

use serde_json::json;

use super::args::EnsureAppendableArguments;
use super::failure::Failure;
use super::{array_file, print, print_json, text, told};
use crate::npy::{WidenOptions, Widened, ensure_appendable};

pub fn run(arguments: &EnsureAppendableArguments) -> Result<u8, Failure> {
    array_file::refuse_file_of_dataset(&arguments.file)?;
    let options = WidenOptions { in_place: arguments.in_place, waits_for_lock: arguments.wait };
    let widened = ensure_appendable(&arguments.file, options)?;
    let (change, bytes) = match widened {
        Widened::NotNeeded => ("nothing", 0),
        Widened::Rearranged => ("header", 0),
        Widened::Finished { bytes: 0 } => ("header", 0),
        Widened::Moved { bytes } | Widened::Finished { bytes } => ("rows", bytes),
    };
    let name = text::path(&arguments.file);
    let is_done = format!("{name} is appendable");
    if arguments.json {
        let object = json!({ "file": arguments.file.to_string_lossy(), "changed": change, "moved_bytes": bytes });
        return Ok(told(print_json(&object), &is_done));
    }
    let done = match widened {
        Widened::NotNeeded => "appendable as it was".to_owned(),
        Widened::Rearranged => "appendable now: its header had room, in the wrong place".to_owned(),
        Widened::Moved { bytes } => {
            format!("appendable now: its header is longer by {}", text::number_of(bytes, "byte", "bytes"))
        }
        Widened::Finished { .. } => {
            "appendable now: what an earlier ensure-appendable had begun was finished".to_owned()
        }
    };
    Ok(told(print(&format!("{name}: {done}\n")), &is_done))
}
