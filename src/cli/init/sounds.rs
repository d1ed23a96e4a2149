//! Sound: windows of one second.

use std::fs::File;
use std::path::PathBuf;

use super::Advice;
use crate::decode::audio;

/// Hz, for sounds of different rates: what speech is recognised at.
const RATE: u32 = 16_000;

pub(super) fn advise(files: &[PathBuf]) -> Advice {
    let measured = files.iter().filter_map(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        audio::measure(File::open(path).ok()?, extension.as_deref())
    });
    // Hz, and channels.
    let sounds: Vec<(u32, usize)> = measured.collect();
    let rates = || sounds.iter().map(|(rate, _)| *rate);
    let (rate, found) = match (rates().min(), rates().max()) {
        (Some(least), Some(greatest)) if least == greatest => (least, format!(", all of {least} Hz")),
        (Some(least), Some(greatest)) => (RATE, format!(", {least} to {greatest} Hz")),
        _ => (RATE, ", of rates that could not be read".to_owned()),
    };
    let mixed = if sounds.iter().all(|(_, channels)| *channels == 1) { "" } else { ", all channels mixed into one" };
    Advice {
        found,
        row: format!("shape  = [{rate}]             # windows of one second{mixed}\ndtype  = \"i2\""),
        decoder: format!(
            "[dataset.audio]\nrate = {rate}\n\
             tail = \"pad\"              # \"drop\" leaves out what does not fill a window\n"
        ),
    }
}
