//! Frames of videos into rows, one a row or several to a clip.
//!
//! FFmpeg decodes, in worker processes of their own (`decode/ffmpeg`), which are sandboxed and kept running. What is here is
//! what both sides share, and the service's side.
//!
//! | file | holds |
//! |---|---|
//! | `choose` | which frames, by their times |
//! | `reel` | chosen frames into rows and clips |
//! | `here`, `y4m` | what needs no FFmpeg |
//! | `decoder` | which of the two it is |

mod choose;
mod decoder;
mod here;
mod reel;
mod y4m;

pub use self::choose::{Chooser, Step, TimeBase};
pub use self::decoder::VideoDecoder;
pub use self::reel::{Frame, Reel};

/// Extensions of the files that are taken by default.
pub const EXTENSIONS: &[&str] = &[
    "264", "265", "3g2", "3gp", "apng", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "h264", "h265", "hevc", "ivf",
    "lrv", "m1v", "m2p", "m2t", "m2ts", "m2v", "m4v", "mjpeg", "mjpg", "mk3d", "mkv", "mod", "mov", "mp4", "mpe",
    "mpeg", "mpg", "mts", "mxf", "nut", "ogm", "ogv", "qt", "rm", "rmvb", "tp", "trp", "ts", "vob", "webm", "webp",
    "wmv", "wtv", "y4m",
];
