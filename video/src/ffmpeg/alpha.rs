//! Alpha that WebM has beside the pictures: each block has a second one, which FFmpeg's own decoders of VP8 and VP9 pass over. Those
//! of libvpx take it.

use std::ptr;

use ffmpeg_sys_next as ff;

use super::Input;

impl Input {
    /// Whether the container says that alpha is beside the pictures.
    pub fn has_alpha_beside(&self) -> bool {
        self.metadata(c"alpha_mode").is_some_and(|mode| mode.to_bytes() == b"1")
    }
}

/// The decoder that takes it, where FFmpeg has it.
pub fn decoder(id: ff::AVCodecID) -> *const ff::AVCodec {
    let name = match id {
        ff::AVCodecID::AV_CODEC_ID_VP8 => c"libvpx",
        ff::AVCodecID::AV_CODEC_ID_VP9 => c"libvpx-vp9",
        _ => return ptr::null(),
    };
    // SAFETY: the name ends with a zero; a decoder stays for the life of the process.
    unsafe { ff::avcodec_find_decoder_by_name(name.as_ptr()) }
}
