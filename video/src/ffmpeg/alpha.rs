//! Alpha that WebM has beside the pictures: each block has a second one, which FFmpeg's own decoders of VP8 and VP9 pass over. Those
//! of libvpx take it.

use std::ffi::CStr;
use std::ptr;

use ffmpeg_sys_next as ff;

use super::Input;

impl Input {
    /// Whether the container says that alpha is beside the pictures. It says so of codecs as well whose pictures have it within.
    pub fn has_alpha_beside(&self) -> bool {
        // SAFETY: the parameters belong to an open stream.
        let is_beside =
            self.parameters().is_some_and(|(parameters, _)| name(unsafe { (*parameters).codec_id }).is_some());
        is_beside && self.metadata(c"alpha_mode").is_some_and(|mode| mode.to_bytes() == b"1")
    }
}

/// The name of the decoder that takes it.
fn name(id: ff::AVCodecID) -> Option<&'static CStr> {
    match id {
        ff::AVCodecID::AV_CODEC_ID_VP8 => Some(c"libvpx"),
        ff::AVCodecID::AV_CODEC_ID_VP9 => Some(c"libvpx-vp9"),
        _ => None,
    }
}

/// The decoder that takes it, where FFmpeg has it.
pub fn decoder(id: ff::AVCodecID) -> *const ff::AVCodec {
    // SAFETY: the name ends with a zero; a decoder stays for the life of the process.
    name(id).map_or(ptr::null(), |name| unsafe { ff::avcodec_find_decoder_by_name(name.as_ptr()) })
}
