//! FFmpeg's libraries, as far as they are needed, safe to call.
//!
//! Each type owns one of FFmpeg's structures by its pointer and gives it back when it is dropped. Pointers never leave this
//! folder, and nothing is used from two threads.

#![allow(unsafe_code, reason = "FFmpeg is C; each call says why it is sound")]

mod alpha;
mod decoder;
mod input;
mod log;
mod parameters;
mod scale;
mod sound;
mod units;
mod version;

use std::ffi::CStr;

use ffmpeg_sys_next as ff;

pub use decoder::{Decoder, Picture, Skip};
pub use input::{Input, Packet, Video};
pub use log::{altered, listen, made_up, unlike};
pub use scale::{Converter, Format};
pub use sound::Sound;
pub use units::Start;

/// An error of FFmpeg's, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error(pub i32);

impl Error {
    pub const END: Self = Self(ff::AVERROR_EOF);
    /// The caller has to do something else first.
    pub const AGAIN: Self = Self(ff::AVERROR(ff::EAGAIN));
    pub const NO_MEMORY: Self = Self(ff::AVERROR(ff::ENOMEM));

    /// What FFmpeg's functions return, where less than zero is an error.
    fn check(code: i32) -> Result<i32, Self> {
        if code < 0 { Err(Self(code)) } else { Ok(code) }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Those of `aac_ac3_parser.h`, for which FFmpeg has no words.
        match self.0 {
            -0x103_0C0A => return formatter.write_str("no frame begins where one should"),
            -0x603_0C0A => return formatter.write_str("its checksum is another"),
            -0x703_0C0A..=-0x203_0C0A if -self.0 & 0xF_FFFF == 0x3_0C0A => {
                return formatter.write_str("the head of its frame is damaged");
            }
            _ => {}
        }
        let mut text = [0_u8; 128];
        // SAFETY: writes at most so many bytes, ended by a zero, whatever the number.
        unsafe { ff::av_strerror(self.0, text.as_mut_ptr().cast(), text.len()) };
        let words = CStr::from_bytes_until_nul(&text).map(CStr::to_string_lossy).unwrap_or_default();
        formatter.write_str(&words)
    }
}

/// The two numbers of a pixel's shape, where it is told.
fn shape_of(ratio: ff::AVRational) -> Option<(u32, u32)> {
    let shape = (u32::try_from(ratio.num).ok()?, u32::try_from(ratio.den).ok()?);
    (shape.0 > 0 && shape.1 > 0).then_some(shape)
}

/// The decoder found something missing in a frame, or made something up.
///
/// # Safety
/// The frame is one of FFmpeg's.
unsafe fn is_damaged(frame: *const ff::AVFrame) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { (*frame).flags & ff::AV_FRAME_FLAG_CORRUPT != 0 || (*frame).decode_error_flags != 0 }
}

/// FFmpeg's version and those of its libraries.
pub fn versions() -> String {
    let of = |version: u32| format!("{}.{}.{}", version >> 16, version >> 8 & 0xFF, version & 0xFF);
    // SAFETY: these take nothing, and give a static text and plain numbers.
    let (name, codec, format, scale) = unsafe {
        (CStr::from_ptr(ff::av_version_info()), ff::avcodec_version(), ff::avformat_version(), ff::swscale_version())
    };
    format!(
        "FFmpeg {} (libavcodec {}, libavformat {}, libswscale {})",
        name.to_string_lossy(),
        of(codec),
        of(format),
        of(scale)
    )
}
