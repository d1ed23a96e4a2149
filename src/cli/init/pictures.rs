//! Pictures: of one size they are kept as they are, of several they are brought to one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::{Advice, SIDE};
use crate::cli::text;
use crate::decode::SOURCE_BYTES_MAX;
use crate::decode::image::{Look, look};

/// Classes that are named.
const NAMED_MAX: usize = 3;

/// No more is read of all pictures together.
const READ_BYTES_MAX: u64 = 1 << 30;

pub(super) fn advise(files: &[PathBuf], folders: Option<&BTreeMap<String, usize>>) -> Advice {
    let sizes = looks(files);
    let first = sizes.first();
    let same = first.filter(|first| sizes.iter().all(|one| (one.width, one.height) == (first.width, first.height)));
    let is_gray = !sizes.is_empty() && sizes.iter().all(|one| one.is_gray);
    let (width, height) = same.map_or((SIDE, SIDE), |size| (size.width, size.height));
    let widths = || sizes.iter().map(|one| one.width);
    let found = match (same, widths().min(), widths().max()) {
        (Some(_), ..) => format!(", all of {width} x {height} pixels"),
        (None, Some(least), Some(greatest)) => format!(", {least} to {greatest} pixels wide"),
        _ => ", of sizes that could not be read".to_owned(),
    };
    let channels = if is_gray { "" } else { ", 3" };
    let fit = if same.is_some() {
        "fit = \"exact\"              # all have this size; another one is rejected\n"
    } else {
        "fit = \"cover\"              # centre crop; \"contain\" keeps all of each picture, with bars\n"
    };
    Advice {
        found,
        row: format!("shape  = [{height}, {width}{channels}]\ndtype  = \"u1\""),
        decoder: format!("[dataset.image]\n{fit}{}", folders.map_or_else(String::new, labels)),
    }
}

/// Where pictures lie in several folders, these are their classes.
fn labels(folders: &BTreeMap<String, usize>) -> String {
    if folders.len() < 2 {
        return String::new();
    }
    let names: Vec<&str> = folders.keys().map(String::as_str).take(NAMED_MAX).collect();
    let more = if folders.len() > NAMED_MAX { ", ..." } else { "" };
    format!(
        "\n[dataset.columns]\nlabel = \"folder\"           # {} classes: {}{more}\nsplit = {{ train = 0.9, val = 0.1 }}\n",
        folders.len(),
        text::path(names.join(", ").as_ref()),
    )
}

/// Of what is a picture.
fn looks(files: &[PathBuf]) -> Vec<Look> {
    let mut read_bytes = 0;
    let mut looks = Vec::new();
    for path in files {
        let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
        if bytes > SOURCE_BYTES_MAX {
            continue;
        }
        read_bytes += bytes;
        if read_bytes > READ_BYTES_MAX {
            break;
        }
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        let found = fs::read(path).ok().and_then(|bytes| look(&bytes, extension.as_deref()).ok());
        looks.extend(found);
    }
    looks
}
