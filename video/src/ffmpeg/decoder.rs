//! Packets into pictures, or into sound.

use std::ffi::{CStr, c_int};
use std::ptr;

use ffmpeg_sys_next as ff;

use super::units::{Codec, Framing, Start, is_for_others, is_whole, start_of};
use super::{Error, Input, Packet, Sound, alpha, is_damaged, shape_of, version};

const OUTPUT_CORRUPT: c_int = ff::AV_CODEC_FLAG_OUTPUT_CORRUPT as c_int;

/// What the decoder need not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    Nothing,
    /// Frames that no other is built on.
    Disposable,
}

/// An open decoder.
pub struct Decoder {
    context: *mut ff::AVCodecContext,
    is_h264: bool,
    /// The packet that was sent first since the last flush: when it is shown, and how decoding begins with it.
    first: Option<(Option<i64>, Start)>,
    is_emptied: bool,
}

/// A decoded frame.
pub struct Picture(*mut ff::AVFrame);

impl Decoder {
    /// # Errors
    /// There is no decoder for the stream (its name is given), or it does not take it.
    pub fn open(input: &Input, threads: usize) -> Result<Self, (Error, String)> {
        // SAFETY: the function takes any number.
        Self::open_by(input, threads, 0, |id| unsafe { ff::avcodec_find_decoder(id) })
    }

    /// With what takes alpha that is beside the pictures, see [`Input::has_alpha_beside`].
    ///
    /// # Errors
    /// As for [`Self::open`]: FFmpeg may have no such decoder.
    pub fn open_with_alpha(input: &Input, threads: usize) -> Result<Self, (Error, String)> {
        Self::open_by(input, threads, 0, alpha::decoder)
    }

    /// For sound, with one thread. What of its packets has a checksum is held against that, and a packet that is not what it was is not
    /// decoded. Not where a damaged extension may be left out of what is whole (DTS), nor where encoders were known to get it wrong
    /// (MP3), nor where there is no encoder to try it with.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_for_sound(input: &Input) -> Result<Self, (Error, String)> {
        use ff::AVCodecID as Id;
        const CHECKED: [ff::AVCodecID; 9] = [
            Id::AV_CODEC_ID_WAVPACK,
            Id::AV_CODEC_ID_TTA,
            Id::AV_CODEC_ID_AC3,
            Id::AV_CODEC_ID_EAC3,
            Id::AV_CODEC_ID_MLP,
            Id::AV_CODEC_ID_TRUEHD,
            Id::AV_CODEC_ID_FLAC,
            Id::AV_CODEC_ID_MP1,
            Id::AV_CODEC_ID_MP2,
        ];
        let is_checked = input.parameters().is_some_and(|(parameters, _)| {
            // SAFETY: the parameters belong to an open stream.
            CHECKED.contains(unsafe { &(*parameters).codec_id })
        });
        let recognition = if is_checked { ff::AV_EF_CRCCHECK | ff::AV_EF_EXPLODE } else { 0 };
        // SAFETY: the function takes any number.
        Self::open_by(input, 1, recognition, |id| unsafe { ff::avcodec_find_decoder(id) })
    }

    fn open_by(
        input: &Input,
        threads: usize,
        recognition: c_int,
        find: impl FnOnce(ff::AVCodecID) -> *const ff::AVCodec,
    ) -> Result<Self, (Error, String)> {
        let Some((parameters, time_base)) = input.parameters() else { return Err((Error::END, String::new())) };
        // SAFETY: the parameters belong to an open stream and are copied. The context is ours, and freed by drop.
        unsafe {
            let id = (*parameters).codec_id;
            let name = CStr::from_ptr(ff::avcodec_get_name(id)).to_string_lossy().into_owned();
            let codec = find(id);
            if codec.is_null() {
                return Err((Error(ff::AVERROR_DECODER_NOT_FOUND), name));
            }
            let context = ff::avcodec_alloc_context3(codec);
            let is_h264 = id == ff::AVCodecID::AV_CODEC_ID_H264;
            let decoder = Self { context, is_h264, first: None, is_emptied: false };
            if context.is_null() {
                return Err((Error::NO_MEMORY, name));
            }
            let named = |error| (error, name.clone());
            Error::check(ff::avcodec_parameters_to_context(context, parameters)).map_err(named)?;
            (*context).pkt_timebase = time_base;
            (*context).thread_count = c_int::try_from(threads).unwrap_or(1);
            // Pictures of more pixels than an image may have are refused before there is memory for them.
            (*context).max_pixels = 400_000_000;
            (*context).err_recognition |= recognition;
            Error::check(ff::avcodec_open2(context, codec, ptr::null_mut())).map_err(named)?;
            Ok(decoder)
        }
    }

    /// What need not be given of the next packet.
    pub fn skip(&mut self, skip: Skip, packet: &Packet) {
        // Where it may leave frames out, the decoder of H.264 says no word of those of which it can make nothing.
        let is_told = |packet: &Packet| self.is_h264 && is_for_others(self.framing(Codec::H264), packet.data());
        let discard = match skip {
            Skip::Disposable if !is_told(packet) => ff::AVDiscard::AVDISCARD_NONREF,
            _ => ff::AVDiscard::AVDISCARD_DEFAULT,
        };
        // SAFETY: the context is open.
        unsafe { (*self.context).skip_frame = discard };
    }

    fn is_before_first(&self, time: Option<i64>) -> bool {
        let first = self.first.and_then(|(first, _)| first);
        time.zip(first).is_some_and(|(time, first)| time < first)
    }

    /// Whether what is made up of the next packet's frame counts, see [`super::made_up`]. Not where it is built on frames from
    /// before the last flush.
    pub fn expect_whole(&mut self, packet: &Packet, counts: bool) {
        let begins = self.first.is_none_or(|(_, start)| start != Start::No);
        let counts = counts && begins && !self.is_before_first(packet.time());
        // SAFETY: the context is open. Nobody follows the pointer; threads get it with the packet.
        unsafe { (*self.context).opaque = ptr::without_provenance_mut(usize::from(counts)) };
    }

    /// `None`: there are no more packets, and what is left is to come out.
    pub fn send(&mut self, packet: Option<&Packet>) -> Result<(), Error> {
        match packet {
            Some(packet) if self.first.is_none() => self.first = Some((packet.time(), self.start_of(packet))),
            Some(_) => {}
            None => self.begin_emptying(),
        }
        let packet = packet.map_or(ptr::null(), Packet::pointer);
        // SAFETY: the context is open; the packet is not changed, and what is kept of it is counted.
        Error::check(unsafe { ff::avcodec_send_packet(self.context, packet) }).map(drop)
    }

    /// Where H.264 begins with a key frame that is no fresh start, FFmpeg holds all that it decodes for unfit until that frame is
    /// out. What it still holds at the end would be left out for this alone.
    fn begin_emptying(&mut self) {
        self.is_emptied = true;
        if self.is_h264 {
            // SAFETY: the context is open.
            unsafe { (*self.context).flags |= OUTPUT_CORRUPT };
        }
    }

    pub fn receive(&mut self, picture: &mut Picture) -> Result<(), Error> {
        loop {
            // SAFETY: both are ours; the frame's former contents are given back first.
            Error::check(unsafe { ff::avcodec_receive_frame(self.context, picture.0) })?;
            // These are unfit indeed: built on what is before the key frame.
            if !(self.is_h264 && self.is_emptied && self.is_before_first(picture.time())) {
                return Ok(());
            }
        }
    }

    /// The same for sound.
    pub fn receive_sound(&mut self, sound: &mut Sound) -> Result<(), Error> {
        // SAFETY: as above.
        Error::check(unsafe { ff::avcodec_receive_frame(self.context, sound.pointer()) }).map(drop)
    }

    /// Whether decoding can begin with a packet.
    pub fn start_of(&self, packet: &Packet) -> Start {
        if !packet.is_key() {
            return Start::No;
        }
        match self.codec() {
            Some(codec) => start_of(codec, self.framing(codec), packet.data()),
            None if self.begins_anew() => Start::Anew,
            None => Start::Emptied,
        }
    }

    /// Whether the parts of a packet can be told from each other. Where they cannot, nobody can tell a key frame.
    pub fn can_read(&self, packet: &Packet) -> bool {
        self.codec().is_none_or(|codec| is_whole(self.framing(codec), packet.data()))
    }

    /// Of those whose packets are looked into.
    fn codec(&self) -> Option<Codec> {
        // SAFETY: the context is open.
        match unsafe { (*self.context).codec_id } {
            ff::AVCodecID::AV_CODEC_ID_H264 => Some(Codec::H264),
            ff::AVCodecID::AV_CODEC_ID_HEVC => Some(Codec::Hevc),
            _ => None,
        }
    }

    fn framing(&self, codec: Codec) -> Framing {
        // SAFETY: the context is open, and its configuration is as long as it says, where there is one.
        let configuration = unsafe {
            let data = (*self.context).extradata;
            let bytes = usize::try_from((*self.context).extradata_size).unwrap_or(0);
            if data.is_null() { &[] } else { std::slice::from_raw_parts(data, bytes) }
        };
        Framing::of(codec, configuration)
    }

    /// Every key frame is built on nothing, and nothing behind it looks back over it.
    pub fn begins_anew(&self) -> bool {
        // SAFETY: the context is open.
        matches!(
            unsafe { (*self.context).codec_id },
            ff::AVCodecID::AV_CODEC_ID_VP8
                | ff::AVCodecID::AV_CODEC_ID_VP9
                | ff::AVCodecID::AV_CODEC_ID_MJPEG
                | ff::AVCodecID::AV_CODEC_ID_FFV1
        )
    }

    /// Forgets what it knows, after a seek.
    pub fn flush(&mut self) {
        (self.first, self.is_emptied) = (None, false);
        // SAFETY: the context is open.
        unsafe {
            (*self.context).flags &= !OUTPUT_CORRUPT;
            ff::avcodec_flush_buffers(self.context);
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the context is ours or null.
        unsafe { ff::avcodec_free_context(&mut self.context) };
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
        unsafe { is_damaged(self.0) }
    }

    /// It is built on no other.
    pub fn is_key(&self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { version::is_key(self.0) }
    }

    /// Its lines belong to two moments.
    pub fn is_interlaced(&self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { version::is_interlaced(self.0) }
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
