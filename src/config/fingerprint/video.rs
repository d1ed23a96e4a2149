//! Videos.

use super::super::choice::Choice;
use super::super::units::duration_text;
use super::super::world::{Clip, Pick, Rate, VideoOptions};
use super::{Keys, image};

pub(super) fn video(options: &VideoOptions, keys: &mut Keys) {
    // What the worker may take does not change what it gives.
    let VideoOptions { frame, clip, pick, start, end, on_error, timeout: _, memory_bytes: _ } = options;
    let pick = match pick {
        Pick::All => "all".to_owned(),
        Pick::Fps(Rate { frames, seconds }) => format!("fps {frames}/{seconds}"),
        Pick::Stride(stride) => format!("stride {stride}"),
        Pick::Keyframes => "keyframes".to_owned(),
    };
    keys.add("video.pick", pick);
    keys.add("video.start", duration_text(*start));
    keys.add("video.end", end.map_or("none".to_owned(), duration_text));
    // The length stands in the shape.
    let clip = clip.map(|Clip { length: _, hop, tail }| format!("hop {hop}, tail {}", tail.word()));
    keys.add("video.clip", clip.unwrap_or("none".to_owned()));
    keys.add("video.on_error", on_error.word());
    image("video", frame, keys);
}
