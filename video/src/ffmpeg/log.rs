//! What FFmpeg writes to its log, of which nothing is shown: what matters comes back as errors. But for one thing: where parts of a
//! frame were missing and made up, the frame is marked, and with several threads it may come out before it is. So that is heard here.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use ffmpeg_sys_next as ff;

static MADE_UP: AtomicU64 = AtomicU64::new(0);
/// How libavcodec's `error_resilience.c` begins to say so.
const WORDS: &[u8] = b"concealing ";

pub fn listen() {
    // SAFETY: the function may be called from any thread at any time.
    unsafe { ff::av_log_set_callback(Some(hear)) };
}

/// Frames of which parts were made up, of those that were to be whole (see [`super::Decoder::expect_whole`]), in the life of the
/// process.
pub fn made_up() -> u64 {
    MADE_UP.load(Ordering::Relaxed)
}

/// # Safety
/// Called by FFmpeg, with a context that is null or begins with a pointer to its class, and a text that ends with a zero.
unsafe extern "C" fn hear<V>(context: *mut c_void, _level: c_int, format: *const c_char, _values: V) {
    if context.is_null() || format.is_null() {
        return;
    }
    // SAFETY: by the caller's promise. What is of the class of codecs is one, and its thread is the one that calls.
    unsafe {
        let is_codec = *context.cast::<*const ff::AVClass>() == ff::avcodec_get_class();
        if is_codec
            && CStr::from_ptr(format).to_bytes().starts_with(WORDS)
            && !(*context.cast::<ff::AVCodecContext>()).opaque.is_null()
        {
            MADE_UP.fetch_add(1, Ordering::Relaxed);
        }
    }
}
