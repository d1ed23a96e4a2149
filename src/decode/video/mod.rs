//! Frames of videos into rows, one a row or several to a clip.
//!
//! FFmpeg decodes, in worker processes of their own (`npy-ingest-video`, the package in `video/`), which are sandboxed and
//! kept running. What is here is what both sides share, and the daemon's side.
//!
//! | file | holds |
//! |---|---|
//! | `choose` | which frames, by their times |
//! | `reel` | chosen frames into rows and clips |
//! | `here`, `y4m` | what needs no FFmpeg |
//! | `worker` | the worker: where it is, what it is told |

mod choose;
mod here;
mod reel;
mod worker;
mod y4m;

pub use self::choose::{Chooser, Step, TimeBase};
pub use self::reel::{Frame, Reel};
pub use self::worker::{Task, VideoDecoder, WORKER, find_worker, worker_version};

/// Extensions of the files that are taken by default.
pub const EXTENSIONS: &[&str] = &[
    "3g2", "3gp", "apng", "asf", "avi", "dv", "f4v", "flv", "gif", "h264", "h265", "hevc", "ivf", "m2ts", "m2v", "m4v",
    "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "nut", "ogv", "rm", "rmvb", "ts", "vob", "webm",
    "webp", "wmv", "wtv", "y4m",
];
