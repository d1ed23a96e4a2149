//! What FFmpeg writes to its log, of which nothing is shown: what matters comes back as errors. But for three things. Where parts of a
//! frame were missing and made up, the frame is marked, and with several threads it may come out before it is. And a container
//! whose bytes are not what they were is passed over up to where it goes on, without a word elsewhere; and checksums of some sound
//! are told here only. So they are heard here.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ffmpeg_sys_next as ff;

static MADE_UP: AtomicU64 = AtomicU64::new(0);
/// How libavcodec's `error_resilience.c` begins to say so.
const WORDS: &[u8] = b"concealing ";

static ALTERED: AtomicU64 = AtomicU64::new(0);
/// What `mlpdec.c` says of packets of MLP and TrueHD whose checksum is another, which it decodes all the same.
const ALTERED_WORDS: [&[u8]; 2] = [b"Substream %d parity check failed", b"Substream %d checksum failed"];
static UNLIKE: AtomicU64 = AtomicU64::new(0);
/// What it says where the sum of all samples since the last such sum is another.
const UNLIKE_WORDS: &[u8] = b"Lossless check failed";

/// Where in the file something was passed over.
static GAPS: Mutex<Vec<i64>> = Mutex::new(Vec::new());
/// Of so many it is known where they are.
const GAPS_MAX: usize = 1000;
/// What `oggdec.c`, `flvdec.c` and `matroskadec.c` say of it.
const GAP_WORDS: [&[u8]; 9] = [
    b"CRC mismatch!",
    b"Packet mismatch ",
    b" invalid as first byte of an EBML number",
    b" indicated by an EBML number's first byte ",
    b"Invalid track number ",
    b"Error parsing frame sizes",
    b" exceeds containing master element ending at ",
    b" for element with ID ",
    b"Unknown-sized element at ",
];

pub fn listen() {
    // SAFETY: the function may be called from any thread at any time.
    unsafe { ff::av_log_set_callback(Some(hear)) };
}

/// Frames of which parts were made up, of those that were to be whole (see [`super::Decoder::expect_whole`]), in the life of the
/// process.
pub fn made_up() -> u64 {
    MADE_UP.load(Ordering::Relaxed)
}

/// Packets that were decoded though their checksum was another, in the life of the process.
pub fn altered() -> u64 {
    ALTERED.load(Ordering::Relaxed)
}

/// Packets with a sum that is not that of the samples before them, in the life of the process.
pub fn unlike() -> u64 {
    UNLIKE.load(Ordering::Relaxed)
}

/// Whether something of the container was passed over before this place. It is told once.
pub(super) fn take_gaps(before: i64) -> bool {
    let mut gaps = GAPS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = gaps.len();
    gaps.retain(|gap| *gap > before);
    gaps.len() < count
}

/// How many there are that were not told.
pub(super) fn gaps() -> usize {
    GAPS.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// # Safety
/// Called by FFmpeg, with a context that is null or begins with a pointer to its class, and a text that ends with a zero.
unsafe extern "C" fn hear<V>(context: *mut c_void, level: c_int, format: *const c_char, _values: V) {
    if context.is_null() || format.is_null() {
        return;
    }
    // SAFETY: by the caller's promise. What is of the class of codecs or of containers is one, and its thread is the one that calls.
    unsafe {
        let class = *context.cast::<*const ff::AVClass>();
        let words = CStr::from_ptr(format).to_bytes();
        if class == ff::avcodec_get_class() {
            if words.starts_with(WORDS) && !(*context.cast::<ff::AVCodecContext>()).opaque.is_null() {
                MADE_UP.fetch_add(1, Ordering::Relaxed);
            }
            if ALTERED_WORDS.iter().any(|altered| words.starts_with(altered)) {
                ALTERED.fetch_add(1, Ordering::Relaxed);
            }
            if words.starts_with(UNLIKE_WORDS) {
                UNLIKE.fetch_add(1, Ordering::Relaxed);
            }
        } else if class == ff::avformat_get_class()
            && level <= ff::AV_LOG_ERROR
            && GAP_WORDS.iter().any(|gap| words.windows(gap.len()).any(|part| part == *gap))
        {
            let io = (*context.cast::<ff::AVFormatContext>()).pb;
            let place = if io.is_null() { 0 } else { ff::avio_seek(io, 0, CURRENT) };
            let mut gaps = GAPS.lock().unwrap_or_else(PoisonError::into_inner);
            if gaps.len() < GAPS_MAX {
                gaps.push(place);
            }
        }
    }
}

/// `SEEK_CUR`: by nothing, which only tells the place.
const CURRENT: c_int = 1;
