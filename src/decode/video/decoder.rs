//! The video decoder of a dataset: what needs no FFmpeg here, the rest by the worker that has it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use super::here::{self, Kind};
use crate::config::{Dataset, VideoOptions};
use crate::decode::ffmpeg::{Ffmpeg, Keys, Limits, MISSING, OUTPUT_BYTES_MAX, Task, WORKER, Wanted};
use crate::decode::{About, DecodeError, FileDecoder, RowSink, SourceFile};

/// More threads than these gain nothing on one video.
const THREADS_MAX: usize = 16;
/// The video decoder of one dataset.
pub struct VideoDecoder {
    options: VideoOptions,
    ffmpeg: Ffmpeg,
    /// Sources that are decoded now.
    active: AtomicUsize,
}

impl VideoDecoder {
    pub fn new(options: &VideoOptions, dataset: &Dataset) -> Self {
        let limits = Limits {
            timeout: options.timeout,
            memory_bytes: options.memory_bytes,
            output_bytes_max: OUTPUT_BYTES_MAX,
            keys: Keys { timeout: Some("timeout"), output: None },
        };
        Self { options: options.clone(), ffmpeg: Ffmpeg::new(limits, &dataset.row), active: AtomicUsize::new(0) }
    }
}

impl FileDecoder for VideoDecoder {
    fn decode(&self, file: &SourceFile, about: About<'_>, sink: &mut dyn RowSink) -> Result<(), DecodeError> {
        match here::kind(file)? {
            Some(Kind::Animation) => return here::animation(file, &self.options, about, sink),
            Some(Kind::Y4m) if here::y4m(file, &self.options, about, sink)? => return Ok(()),
            Some(Kind::Y4m) | None => {}
        }
        let others = self.active.fetch_add(1, Ordering::Relaxed);
        let cores = available_parallelism().map_or(1, |cores| cores.get());
        let wanted = Wanted::Frames { options: Box::new(self.options.clone()), threads: threads(cores, others) };
        let task = Task::new(about, wanted);
        let missing =
            format!("videos of this kind are decoded by {WORKER}, {MISSING}; GIF, APNG, WebP and Y4M need none");
        let result = self.ffmpeg.ask(&task, file, &missing, about, sink);
        self.active.fetch_sub(1, Ordering::Relaxed);
        result
    }
}

/// For one video beside so many others. Frames wait for the frames that they are built on, so a video that is alone keeps its
/// cores busy with twice as many threads (docs/performance.md); among others, who fill the gaps, they only cost.
fn threads(cores: usize, others: usize) -> usize {
    let threads = match others {
        0 => 2 * cores,
        _ => cores / (others + 1),
    };
    threads.clamp(1, THREADS_MAX)
}

#[cfg(test)]
mod tests {
    use super::threads;

    #[test]
    fn a_video_alone_has_two_threads_a_core_and_others_share_the_cores() {
        let found = [(2, 0), (2, 1), (2, 9), (8, 1), (64, 0), (1, 0)].map(|(cores, others)| threads(cores, others));
        assert_eq!(found, [4, 1, 1, 4, 16, 2]);
    }
}
