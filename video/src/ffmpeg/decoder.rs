//! Packets into pictures, or into sound.

use std::ffi::{CStr, c_int};
use std::ptr;

use ffmpeg_sys_next as ff;

use super::units::{Codec, Framing, Start, start_of};
use super::{Error, Input, Packet, Sound, shape_of};

/// What the decoder need not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    Nothing,
    /// Frames that no other is built on.
    Disposable,
    /// All but key frames.
    ButKeyframes,
}

/// An open decoder.
pub struct Decoder(*mut ff::AVCodecContext);

/// A decoded frame.
pub struct Picture(*mut ff::AVFrame);

impl Decoder {
    /// # Errors
    /// There is no decoder for the stream (its name is given), or it does not take it.
    pub fn open(input: &Input, threads: usize) -> Result<Self, (Error, String)> {
        let Some((parameters, time_base)) = input.parameters() else { return Err((Error::END, String::new())) };
        // SAFETY: the parameters belong to an open stream and are copied. The context is ours, and freed by drop.
        unsafe {
            let id = (*parameters).codec_id;
            let name = CStr::from_ptr(ff::avcodec_get_name(id)).to_string_lossy().into_owned();
            let codec = ff::avcodec_find_decoder(id);
            if codec.is_null() {
                return Err((Error(ff::AVERROR_DECODER_NOT_FOUND), name));
            }
            let decoder = Self(ff::avcodec_alloc_context3(codec));
            if decoder.0.is_null() {
                return Err((Error::NO_MEMORY, name));
            }
            let named = |error| (error, name.clone());
            Error::check(ff::avcodec_parameters_to_context(decoder.0, parameters)).map_err(named)?;
            (*decoder.0).pkt_timebase = time_base;
            // One more than there are cores for: while this thread makes a row, all of them can decode.
            let threads = if threads > 1 { threads + 1 } else { 1 };
            (*decoder.0).thread_count = c_int::try_from(threads).unwrap_or(1);
            // Pictures of more pixels than an image may have are refused before there is memory for them.
            (*decoder.0).max_pixels = 400_000_000;
            Error::check(ff::avcodec_open2(decoder.0, codec, ptr::null_mut())).map_err(named)?;
            Ok(decoder)
        }
    }

    pub fn skip(&mut self, skip: Skip) {
        let discard = match skip {
            Skip::Nothing => ff::AVDiscard::AVDISCARD_DEFAULT,
            Skip::Disposable => ff::AVDiscard::AVDISCARD_NONREF,
            Skip::ButKeyframes => ff::AVDiscard::AVDISCARD_NONKEY,
        };
        // SAFETY: the context is open.
        unsafe { (*self.0).skip_frame = discard };
    }

    /// `None`: there are no more packets, and what is left is to come out.
    pub fn send(&mut self, packet: Option<&Packet>) -> Result<(), Error> {
        let packet = packet.map_or(ptr::null(), Packet::pointer);
        // SAFETY: the context is open; the packet is not changed, and what is kept of it is counted.
        Error::check(unsafe { ff::avcodec_send_packet(self.0, packet) }).map(drop)
    }

    pub fn receive(&mut self, picture: &mut Picture) -> Result<(), Error> {
        // SAFETY: both are ours; the frame's former contents are given back first.
        Error::check(unsafe { ff::avcodec_receive_frame(self.0, picture.0) }).map(drop)
    }

    /// The same for sound.
    pub fn receive_sound(&mut self, sound: &mut Sound) -> Result<(), Error> {
        // SAFETY: as above.
        Error::check(unsafe { ff::avcodec_receive_frame(self.0, sound.pointer()) }).map(drop)
    }

    /// Whether decoding can begin with a packet.
    pub fn start_of(&self, packet: &Packet) -> Start {
        if !packet.is_key() {
            return Start::No;
        }
        // SAFETY: the context is open, and its configuration is as long as it says, where there is one.
        let (id, configuration) = unsafe {
            let data = (*self.0).extradata;
            let bytes = usize::try_from((*self.0).extradata_size).unwrap_or(0);
            let configuration = if data.is_null() { &[] } else { std::slice::from_raw_parts(data, bytes) };
            ((*self.0).codec_id, configuration)
        };
        let codec = match id {
            ff::AVCodecID::AV_CODEC_ID_H264 => Codec::H264,
            ff::AVCodecID::AV_CODEC_ID_HEVC => Codec::Hevc,
            // Their key frames are built on nothing, and nothing behind them looks back over them.
            ff::AVCodecID::AV_CODEC_ID_VP8
            | ff::AVCodecID::AV_CODEC_ID_VP9
            | ff::AVCodecID::AV_CODEC_ID_MJPEG
            | ff::AVCodecID::AV_CODEC_ID_FFV1 => return Start::Anew,
            _ => return Start::Emptied,
        };
        start_of(codec, Framing::of(codec, configuration), packet.data())
    }

    /// Forgets what it knows, after a seek.
    pub fn flush(&mut self) {
        // SAFETY: the context is open.
        unsafe { ff::avcodec_flush_buffers(self.0) };
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the context is ours or null.
        unsafe { ff::avcodec_free_context(&mut self.0) };
    }
}

impl Picture {
    pub fn new() -> Result<Self, Error> {
        // SAFETY: gives a frame or null.
        let frame = unsafe { ff::av_frame_alloc() };
        if frame.is_null() { Err(Error::NO_MEMORY) } else { Ok(Self(frame)) }
    }

    /// Its contents in a picture of their own, without a copy of the pixels. This one is empty then.
    pub fn take(&mut self) -> Result<Self, Error> {
        let taken = Self::new()?;
        // SAFETY: both are ours.
        unsafe { ff::av_frame_move_ref(taken.0, self.0) };
        Ok(taken)
    }

    pub(super) fn pointer(&self) -> *const ff::AVFrame {
        self.0
    }

    /// When it is shown, in units of its stream, as well as that can be told.
    pub fn time(&self) -> Option<i64> {
        // SAFETY: the frame is ours.
        let time = unsafe { (*self.0).best_effort_timestamp };
        (time != ff::AV_NOPTS_VALUE).then_some(time)
    }

    /// The decoder found something missing in it, or made something up.
    pub fn is_damaged(&self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { (*self.0).flags & ff::AV_FRAME_FLAG_CORRUPT != 0 || (*self.0).decode_error_flags != 0 }
    }

    /// It is built on no other.
    pub fn is_key(&self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { (*self.0).key_frame != 0 }
    }

    /// Its lines belong to two moments.
    pub fn is_interlaced(&self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { (*self.0).interlaced_frame != 0 }
    }

    pub fn size(&self) -> (u32, u32) {
        // SAFETY: the frame is ours.
        let (width, height) = unsafe { ((*self.0).width, (*self.0).height) };
        (u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0))
    }

    /// The shape of a pixel: its width over its height, where the codec tells it.
    pub fn pixel_shape(&self) -> Option<(u32, u32)> {
        // SAFETY: the frame is ours.
        shape_of(unsafe { (*self.0).sample_aspect_ratio })
    }

    /// The matrix that tells how it is to be shown: nine numbers, of 16 and of 2 binary places, by lines.
    pub fn display_matrix(&self) -> Option<[i32; 9]> {
        // SAFETY: the frame is ours, and the side data, which is as long as it says, belongs to it.
        unsafe {
            let side = ff::av_frame_get_side_data(self.0, ff::AVFrameSideDataType::AV_FRAME_DATA_DISPLAYMATRIX);
            if side.is_null() || (*side).size < 36 {
                return None;
            }
            Some((*side).data.cast::<[i32; 9]>().read_unaligned())
        }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: the frame is ours.
        unsafe { ff::av_frame_free(&mut self.0) };
    }
}
