//! Which of several sound tracks is meant: in containers that this program also decodes without FFmpeg, the same.

use std::ffi::c_int;

use ffmpeg_sys_next as ff;

use super::{Input, STREAMS_MAX};

const FORMATS: [&str; 3] = ["ogg", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"];

impl Input {
    /// The number of the first sound that the container calls its default, else of the first. `None`: FFmpeg chooses.
    pub(super) fn default_sound(&self) -> Option<c_int> {
        let format = self.format_name();
        let is_known = FORMATS.contains(&format.as_str());
        let streams = (0..STREAMS_MAX).map_while(|number| Some((number, self.stream_at(number)?)));
        // SAFETY: streams of the open context, and their parameters.
        let described = streams.map(|(number, stream)| unsafe {
            let is_sound = (*(*stream).codecpar).codec_type == ff::AVMediaType::AVMEDIA_TYPE_AUDIO;
            (number, is_sound, (*stream).disposition & ff::AV_DISPOSITION_DEFAULT != 0)
        });
        let sounds: Vec<_> = described.filter(|(_, is_sound, _)| is_known && *is_sound).collect();
        let default = sounds.iter().find(|(_, _, is_default)| *is_default).or(sounds.first());
        default.map(|(number, ..)| *number)
    }
}
