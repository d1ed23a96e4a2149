//! What FFmpeg 8 has no longer, or otherwise, and what FFmpeg 6.1 brought in its place.

use std::ffi::c_int;

use ffmpeg_sys_next as ff;

/// A number of libswscale's interface, which is a macro before FFmpeg 8 and one of an enumeration since.
pub(super) const SWS_BICUBIC: c_int = 4;

/// What the container tells of that kind beside the stream's parameters, and its length in bytes.
///
/// # Safety
/// `stream` is one of an open context.
#[cfg(ffmpeg_6_1)]
pub(super) unsafe fn side_data(
    stream: *mut ff::AVStream,
    kind: ff::AVPacketSideDataType,
) -> Option<(*const u8, usize)> {
    // SAFETY: by the caller's promise; the parameters have so many entries.
    unsafe {
        let parameters = (*stream).codecpar;
        let entry = ff::av_packet_side_data_get((*parameters).coded_side_data, (*parameters).nb_coded_side_data, kind);
        (!entry.is_null()).then(|| ((*entry).data.cast_const(), (*entry).size))
    }
}

#[cfg(not(ffmpeg_6_1))]
pub(super) unsafe fn side_data(
    stream: *mut ff::AVStream,
    kind: ff::AVPacketSideDataType,
) -> Option<(*const u8, usize)> {
    let mut bytes = 0;
    // SAFETY: by the caller's promise.
    let data = unsafe { ff::av_stream_get_side_data(stream, kind, &mut bytes) };
    (!data.is_null()).then_some((data.cast_const(), bytes))
}

/// # Safety
/// `frame` is one.
#[cfg(ffmpeg_6_1)]
pub(super) unsafe fn is_key(frame: *const ff::AVFrame) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { (*frame).flags & ff::AV_FRAME_FLAG_KEY != 0 }
}

#[cfg(not(ffmpeg_6_1))]
pub(super) unsafe fn is_key(frame: *const ff::AVFrame) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { (*frame).key_frame != 0 }
}

/// # Safety
/// `frame` is one.
#[cfg(ffmpeg_6_1)]
pub(super) unsafe fn is_interlaced(frame: *const ff::AVFrame) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { (*frame).flags & ff::AV_FRAME_FLAG_INTERLACED != 0 }
}

#[cfg(not(ffmpeg_6_1))]
pub(super) unsafe fn is_interlaced(frame: *const ff::AVFrame) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { (*frame).interlaced_frame != 0 }
}
