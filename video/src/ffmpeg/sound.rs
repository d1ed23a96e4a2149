//! Decoded sound, as numbers of full scale 1.

use std::slice::from_raw_parts;

use ffmpeg_sys_next as ff;

use super::{Error, is_damaged};

/// A decoded frame of sound: some samples of each channel.
pub struct Sound(*mut ff::AVFrame);

impl Sound {
    pub fn new() -> Result<Self, Error> {
        // SAFETY: gives a frame or null.
        let frame = unsafe { ff::av_frame_alloc() };
        if frame.is_null() { Err(Error::NO_MEMORY) } else { Ok(Self(frame)) }
    }

    pub(super) fn pointer(&mut self) -> *mut ff::AVFrame {
        self.0
    }

    /// Hz
    pub fn rate(&self) -> u32 {
        // SAFETY: the frame is ours.
        u32::try_from(unsafe { (*self.0).sample_rate }).unwrap_or(0)
    }

    pub fn channels(&self) -> usize {
        // SAFETY: the frame is ours.
        usize::try_from(unsafe { (*self.0).ch_layout.nb_channels }).unwrap_or(0)
    }

    /// The decoder found something missing in it, or made something up.
    pub fn is_damaged(&self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { is_damaged(self.0) }
    }

    /// Its samples, interleaved, in place of what `to` had. `false`: they are of a kind that is not known.
    pub fn samples(&self, to: &mut Vec<f32>) -> bool {
        to.clear();
        // SAFETY: the frame is ours.
        let format = unsafe { (*self.0).format };
        let is = |known: ff::AVSampleFormat| format == known as i32;
        use ff::AVSampleFormat as Format;
        // SAFETY: the numbers in the frame are of the type that goes with its format.
        unsafe {
            if is(Format::AV_SAMPLE_FMT_U8) || is(Format::AV_SAMPLE_FMT_U8P) {
                self.gather(to, is(Format::AV_SAMPLE_FMT_U8P), |sample: u8| (f32::from(sample) - 128.0) / 128.0);
            } else if is(Format::AV_SAMPLE_FMT_S16) || is(Format::AV_SAMPLE_FMT_S16P) {
                self.gather(to, is(Format::AV_SAMPLE_FMT_S16P), |sample: i16| f32::from(sample) / 32768.0);
            } else if is(Format::AV_SAMPLE_FMT_S32) || is(Format::AV_SAMPLE_FMT_S32P) {
                self.gather(to, is(Format::AV_SAMPLE_FMT_S32P), |sample: i32| sample as f32 / 2_147_483_648.0);
            } else if is(Format::AV_SAMPLE_FMT_FLT) || is(Format::AV_SAMPLE_FMT_FLTP) {
                self.gather(to, is(Format::AV_SAMPLE_FMT_FLTP), |sample: f32| sample);
            } else if is(Format::AV_SAMPLE_FMT_DBL) || is(Format::AV_SAMPLE_FMT_DBLP) {
                self.gather(to, is(Format::AV_SAMPLE_FMT_DBLP), |sample: f64| sample as f32);
            } else {
                return false;
            }
        }
        true
    }

    /// # Safety
    /// The samples are of type `T`; each channel has a plane of its own, if that is so, else they are interleaved in one.
    unsafe fn gather<T: Copy>(&self, to: &mut Vec<f32>, is_planar: bool, value: impl Fn(T) -> f32) {
        let channels = self.channels();
        // SAFETY: the frame is ours; it has as many planes, and as many samples in each, as it says.
        unsafe {
            let frames = usize::try_from((*self.0).nb_samples).unwrap_or(0);
            if frames == 0 || channels == 0 {
                return;
            }
            let plane = |number: usize| (*(*self.0).extended_data.add(number)).cast::<T>().cast_const();
            if !is_planar {
                to.extend(from_raw_parts(plane(0), frames * channels).iter().map(|sample| value(*sample)));
                return;
            }
            to.resize(frames * channels, 0.0);
            for channel in 0..channels {
                let samples = from_raw_parts(plane(channel), frames);
                for (place, sample) in to.iter_mut().skip(channel).step_by(channels).zip(samples) {
                    *place = value(*sample);
                }
            }
        }
    }
}

impl Drop for Sound {
    fn drop(&mut self) {
        // SAFETY: the frame is ours.
        unsafe { ff::av_frame_free(&mut self.0) };
    }
}
