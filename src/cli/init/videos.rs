//! Videos: a frame a second, which is what most begin with.

use super::{Advice, SIDE};
use crate::decode::ffmpeg::find_worker;

pub(super) fn advise() -> Advice {
    // Animations and Y4M need none; what is in a container shows only to it.
    let found = match find_worker() {
        Some(_) => String::new(),
        None => {
            ", which are decoded by npy-ingest-video: it is not there, docs/video.md says how to build it".to_owned()
        }
    };
    Advice {
        found,
        row: format!("shape  = [{SIDE}, {SIDE}, 3]      # [16, {SIDE}, {SIDE}, 3] for clips of 16 frames\ndtype  = \"u1\""),
        decoder: "[dataset.video]\nfps = 1                    # a frame a second; without it all frames; or keyframes = true\n\
                  fit = \"cover\"              # centre crop; \"contain\" keeps all of each picture, with bars\n\n\
                  [dataset.columns]\ntime = true                # seconds from the start of the video, for each row\n"
            .to_owned(),
    }
}
