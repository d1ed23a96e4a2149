//! A container: an open file, read through a callback, and its packets.

mod default;
mod index;
mod wave64;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr;

use ffmpeg_sys_next as ff;

use super::parameters::reordered_frames;
use super::version::side_data;
use super::{Error, log, shape_of};

/// Bytes that are read at one go.
const BUFFER_BYTES: c_int = 128 << 10;
/// A container that claims more streams is none.
const STREAMS_MAX: c_int = 1000;

/// An open container. It has one stream that is looked at; packets of others are passed over.
pub struct Input {
    context: *mut ff::AVFormatContext,
    io: *mut ff::AVIOContext,
    // Where `io` has its pointer to. Dropped last.
    source: *mut Source,
    stream: c_int,
    /// A stream had an index before any packet was read.
    has_index: bool,
    /// Something was passed over while the last packet was read.
    has_gap: bool,
}

struct Source {
    file: File,
    position: u64,
    size: u64,
}

/// What a container tells of its video.
#[derive(Debug, Clone, Copy)]
pub struct Video {
    /// The unit of times, in seconds: numerator and denominator.
    pub time_base: (i32, i32),
    /// When the stream begins, in units.
    pub start: Option<i64>,
    /// Frames a second, guessed.
    pub rate: (i32, i32),
    pub is_interlaced: bool,
    /// How it is to be shown; see [`super::Picture::display_matrix`].
    pub display_matrix: Option<[i32; 9]>,
    /// The shape of a pixel, where the container tells it: it goes before what the codec says.
    pub pixel_shape: Option<(u32, u32)>,
    pub is_encrypted: bool,
    /// Packets that the container's index lists, where it lists all of them.
    pub indexed: Option<u64>,
    /// It is known which packets are key frames.
    pub tells_keys: bool,
    /// Each packet has its time, or none has. In a programme stream some lack theirs.
    pub tells_times: bool,
    /// Frames are not shown as they are decoded, and the container may know only when they are decoded.
    pub may_lack_order: bool,
    /// It is an MPEG transport stream: a frame that is marked as corrupt is the one before that of which parts are missing, or in
    /// which a recording ends that others were put behind.
    pub is_transport_stream: bool,
}

/// A packet of the stream.
pub struct Packet(*mut ff::AVPacket);

impl Input {
    /// `name`: the file's, whose extension helps to recognise some formats. Nothing is opened by it. `end`: where it is to end, if that
    /// is before its end.
    pub fn open(file: File, name: &str, end: Option<u64>) -> Result<Self, Error> {
        let size = end.unwrap_or_else(|| file.metadata().map_or(0, |metadata| metadata.len()));
        let source = Box::into_raw(Box::new(Source { file, position: 0, size }));
        // From here on, dropping `input` gives everything back.
        let (context, io) = (ptr::null_mut(), ptr::null_mut());
        let mut input = Self { context, io, source, stream: -1, has_index: false, has_gap: false };
        // Those of another file.
        log::take_gaps(i64::MAX);
        let name = CString::new(name.replace(['\0', '%', ':', '/'], "_")).unwrap_or_default();
        // SAFETY: a buffer of FFmpeg's own, which it may replace; it frees the one it has in the end. The callbacks get
        // `source`, which lives longer than `io`. The context is ours until avformat_open_input takes it, which frees it
        // where it fails and sets the pointer to null.
        unsafe {
            let buffer = ff::av_malloc(BUFFER_BYTES as usize).cast::<u8>();
            if buffer.is_null() {
                return Err(Error::NO_MEMORY);
            }
            input.io = ff::avio_alloc_context(buffer, BUFFER_BYTES, 0, source.cast(), Some(read), None, Some(seek));
            if input.io.is_null() {
                ff::av_free(buffer.cast());
                return Err(Error::NO_MEMORY);
            }
            input.context = ff::avformat_alloc_context();
            if input.context.is_null() {
                return Err(Error::NO_MEMORY);
            }
            (*input.context).pb = input.io;
            (*input.context).flags |= ff::AVFMT_FLAG_CUSTOM_IO;
            // Playlists and the like name other files and addresses: none of them is opened.
            (*input.context).io_open = Some(refuse);
            (*input.context).protocol_whitelist = ff::av_strdup(c"none".as_ptr());
            (*input.context).max_streams = STREAMS_MAX;
            Error::check(ff::avformat_open_input(&mut input.context, name.as_ptr(), ptr::null_mut(), ptr::null_mut()))?;
        }
        let mut streams = (0..STREAMS_MAX).map_while(|number| input.stream_at(number));
        // SAFETY: streams of the open context.
        input.has_index = streams.any(|stream| unsafe { ff::avformat_index_get_entries_count(stream) > 0 });
        Ok(input)
    }

    /// Finds out what the streams hold, and chooses the video. `Ok(None)`: there is none.
    pub fn find_video(&mut self) -> Result<Option<Video>, Error> {
        if !self.is_told_by_header() {
            self.find_streams()?;
        }
        let Some(stream) = self.choose(ff::AVMediaType::AVMEDIA_TYPE_VIDEO, -1) else { return Ok(None) };
        // SAFETY: a stream of the open context.
        unsafe {
            // A picture on a record's sleeve.
            let is_sleeve = (*stream).disposition & ff::AV_DISPOSITION_ATTACHED_PIC != 0;
            Ok((!is_sleeve).then(|| self.describe(stream)))
        }
    }

    /// The same for sound. `Ok(false)`: there is none.
    pub fn find_sound(&mut self) -> Result<bool, Error> {
        self.find_streams()?;
        const SOUND: ff::AVMediaType = ff::AVMediaType::AVMEDIA_TYPE_AUDIO;
        let default = self.default_sound().and_then(|default| self.choose(SOUND, default));
        Ok(default.or_else(|| self.choose(SOUND, -1)).is_some())
    }

    fn find_streams(&mut self) -> Result<(), Error> {
        // SAFETY: the context is open.
        Error::check(unsafe { ff::avformat_find_stream_info(self.context, ptr::null_mut()) }).map(drop)
    }

    /// The stream of a kind that is wanted, or the best one for -1. The others are passed over from now on.
    fn choose(&mut self, kind: ff::AVMediaType, wanted: c_int) -> Option<*mut ff::AVStream> {
        // SAFETY: the context is open. Its streams are valid as long as it is.
        unsafe {
            let found = ff::av_find_best_stream(self.context, kind, wanted, -1, ptr::null_mut(), 0);
            let chosen = self.stream_at(found)?;
            self.stream = found;
            for other in 0..c_int::try_from((*self.context).nb_streams).unwrap_or(0) {
                if let Some(stream) = self.stream_at(other)
                    && other != found
                {
                    (*stream).discard = ff::AVDiscard::AVDISCARD_ALL;
                }
            }
            Some(chosen)
        }
    }

    /// Whether all that `avformat_find_stream_info` finds out, by decoding the first frames, is told by the container and the
    /// configuration of the codec already: one video, H.264 in MP4, with a whole index, a constant frame rate, and
    /// progressive frames whose order the codec and the container agree on.
    fn is_told_by_header(&self) -> bool {
        if !self.format_name().starts_with("mov,mp4") {
            return false;
        }
        let streams = (0..STREAMS_MAX).map_while(|number| self.stream_at(number));
        // SAFETY: streams of the open context.
        let mut videos = streams
            .filter(|stream| unsafe { (*(**stream).codecpar).codec_type == ff::AVMediaType::AVMEDIA_TYPE_VIDEO });
        let (Some(stream), None) = (videos.next(), videos.next()) else { return false };
        // SAFETY: as above; the configuration is as long as it says, where there is one.
        unsafe {
            let parameters = (*stream).codecpar;
            if (*parameters).codec_id != ff::AVCodecID::AV_CODEC_ID_H264 || (*parameters).extradata.is_null() {
                return false;
            }
            let bytes = usize::try_from((*parameters).extradata_size).unwrap_or(0);
            let configuration = std::slice::from_raw_parts((*parameters).extradata.cast_const(), bytes);
            let (guessed, average) = ((*stream).r_frame_rate, (*stream).avg_frame_rate);
            let is_constant = guessed.num > 0 && (guessed.num, guessed.den) == (average.num, average.den);
            (*stream).disposition & ff::AV_DISPOSITION_ATTACHED_PIC == 0
                && (*stream).start_time != ff::AV_NOPTS_VALUE
                && is_constant
                && (*parameters).width > 0
                && (*parameters).height > 0
                && u64::try_from(ff::avformat_index_get_entries_count(stream)).is_ok_and(|entries| entries > 0)
                && reordered_frames(configuration).and_then(|frames| c_int::try_from(frames).ok())
                    == Some((*parameters).video_delay)
        }
    }

    /// The open file.
    pub fn file(&self) -> &File {
        // SAFETY: the source is ours as long as `self` is; others, who get to it within calls of FFmpeg, change its position only.
        unsafe { &(*self.source).file }
    }

    /// Whether the container has an index of its own. What FFmpeg lists while it looks at the first packets is none: where recordings
    /// were joined, it may lead to the wrong one.
    pub fn has_index(&self) -> bool {
        self.has_index
    }

    /// The name of the container's format, such as "matroska,webm".
    pub fn format_name(&self) -> String {
        // SAFETY: the context is open, and its format has a name.
        unsafe {
            let name = (*(*self.context).iformat).name;
            if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
        }
    }

    /// The next packet of the stream.
    pub fn read(&mut self, packet: &mut Packet) -> Result<(), Error> {
        let gaps = log::gaps();
        let result = self.read_next(packet);
        self.has_gap |= log::gaps() > gaps;
        result
    }

    /// Whether parts of the file were passed over before the packet that was just read, or before the end: they are damaged. What
    /// was found out while the streams were looked at is told by its place.
    pub fn take_gap(&mut self, packet: Option<&Packet>) -> bool {
        let place = packet.and_then(Packet::place).filter(|_| !self.has_gap);
        let is_told = log::take_gaps(place.and_then(|place| i64::try_from(place).ok()).unwrap_or(i64::MAX));
        std::mem::take(&mut self.has_gap) | is_told
    }

    fn read_next(&mut self, packet: &mut Packet) -> Result<(), Error> {
        loop {
            // SAFETY: both are open; the packet's former contents are given back first.
            unsafe {
                ff::av_packet_unref(packet.0);
                Error::check(ff::av_read_frame(self.context, packet.0))?;
                if (*packet.0).stream_index == self.stream {
                    return Ok(());
                }
            }
        }
    }

    /// Goes to the last key frame that is not behind `time`, in units of the stream.
    pub fn seek(&mut self, time: i64) -> Result<(), Error> {
        // SAFETY: the context is open, and the stream is one of its own.
        let code = unsafe {
            ff::avformat_seek_file(self.context, self.stream, i64::MIN, time, time, ff::AVSEEK_FLAG_BACKWARD)
        };
        Error::check(code).map(drop)
    }

    /// The unit of the stream's times, in seconds: numerator and denominator.
    pub fn time_base(&self) -> Option<(i32, i32)> {
        self.parameters().map(|(_, base)| (base.num, base.den))
    }

    /// How many samples of a channel the header announces, where it counts them: that of a file without compression, or with one that
    /// loses nothing.
    pub fn announced_samples(&self) -> Option<u64> {
        let format = self.format_name();
        let is_counted = |name: &CStr| match format.as_str() {
            "wav" | "w64" | "aiff" | "caf" | "au" => name.to_bytes().starts_with(b"pcm_"),
            "wv" | "tta" | "ape" => true,
            _ => false,
        };
        let stream = self.stream_at(self.stream)?;
        // SAFETY: a stream of the open context; the name of a codec is a text that stays.
        unsafe {
            let name = CStr::from_ptr(ff::avcodec_get_name((*(*stream).codecpar).codec_id));
            // By the bit rate: where the header says nothing.
            let is_guessed = (*self.context).duration_estimation_method
                == ff::AVDurationEstimationMethod::AVFMT_DURATION_FROM_BITRATE;
            let duration = if is_guessed { 0 } else { (*stream).duration };
            let count = if (*stream).nb_frames > 0 { (*stream).nb_frames } else { duration };
            u64::try_from(count).ok().filter(|count| *count > 0 && is_counted(name))
        }
    }

    /// The same, where FFmpeg goes on with what lies behind them, as if it were sound.
    pub fn samples_before_others(&self) -> Option<u64> {
        self.announced_samples().filter(|_| ["au", "w64"].contains(&self.format_name().as_str()))
    }

    /// What the container tells of the stream by this name. The text stays as long as the context.
    pub(super) fn metadata(&self, name: &CStr) -> Option<&CStr> {
        let stream = self.stream_at(self.stream)?;
        // SAFETY: a stream of the open context; the dictionary is null or whole, and its values end with a zero.
        unsafe {
            let entry = ff::av_dict_get((*stream).metadata, name.as_ptr(), ptr::null(), 0);
            (!entry.is_null()).then(|| CStr::from_ptr((*entry).value))
        }
    }

    /// For the decoder, which copies what it needs.
    pub(super) fn parameters(&self) -> Option<(*const ff::AVCodecParameters, ff::AVRational)> {
        // SAFETY: a stream of the open context.
        self.stream_at(self.stream).map(|stream| unsafe { ((*stream).codecpar.cast_const(), (*stream).time_base) })
    }

    fn stream_at(&self, number: c_int) -> Option<*mut ff::AVStream> {
        let place = usize::try_from(number).ok()?;
        // SAFETY: `streams` has `nb_streams` pointers.
        unsafe { (place < (*self.context).nb_streams as usize).then(|| *(*self.context).streams.add(place)) }
    }

    /// # Safety
    /// `stream` is one of the open context.
    unsafe fn describe(&self, stream: *mut ff::AVStream) -> Video {
        const NONE: i64 = ff::AV_NOPTS_VALUE;
        let known = |time: i64| (time != NONE).then_some(time);
        // SAFETY: by the caller's promise.
        unsafe {
            let parameters = (*stream).codecpar;
            let tag = (*parameters).codec_tag.to_le_bytes();
            let encryption = side_data(stream, ff::AVPacketSideDataType::AV_PKT_DATA_ENCRYPTION_INIT_INFO);
            let matrix = side_data(stream, ff::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX);
            let format = CStr::from_ptr((*(*self.context).iformat).name).to_string_lossy();
            let tells_times = format != "mpeg";
            // The guess is by the shortest time between packets that have one.
            let average = Some((*stream).avg_frame_rate).filter(|average| !tells_times && average.num > 0);
            let rate = average.unwrap_or_else(|| ff::av_guess_frame_rate(self.context, stream, ptr::null_mut()));
            let has_whole_index = format.contains("mov,mp4") || format == "avi" && self.has_index;
            let entries = ff::avformat_index_get_entries_count(stream);
            Video {
                time_base: ((*stream).time_base.num, (*stream).time_base.den),
                start: known((*stream).start_time),
                rate: (rate.num, rate.den),
                is_interlaced: !matches!(
                    (*parameters).field_order,
                    ff::AVFieldOrder::AV_FIELD_UNKNOWN | ff::AVFieldOrder::AV_FIELD_PROGRESSIVE
                ),
                display_matrix: matrix
                    .filter(|(_, bytes)| *bytes >= 36)
                    .map(|(matrix, _)| matrix.cast::<[i32; 9]>().read_unaligned()),
                pixel_shape: shape_of((*stream).sample_aspect_ratio),
                is_encrypted: tag == *b"encv" || encryption.is_some(),
                indexed: u64::try_from(entries).ok().filter(|entries| has_whole_index && *entries > 0),
                // Only its index tells; without one, all of them are called key frames.
                tells_keys: format != "avi" || self.has_index,
                tells_times,
                may_lack_order: format == "mxf" && (*parameters).video_delay > 0,
                is_transport_stream: format == "mpegts",
            }
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: each of them is ours, or null. The context does not free `io`, which is custom; the buffer is the one
        // that `io` has now.
        unsafe {
            ff::avformat_close_input(&mut self.context);
            if !self.io.is_null() {
                ff::av_freep((&raw mut (*self.io).buffer).cast());
                ff::avio_context_free(&mut self.io);
            }
            drop(Box::from_raw(self.source));
        }
    }
}

impl Packet {
    pub fn new() -> Result<Self, Error> {
        // SAFETY: gives a packet or null.
        let packet = unsafe { ff::av_packet_alloc() };
        if packet.is_null() { Err(Error::NO_MEMORY) } else { Ok(Self(packet)) }
    }

    pub(super) fn pointer(&self) -> *const ff::AVPacket {
        self.0
    }

    /// When it is shown, and for how long, in units of its stream.
    pub fn time(&self) -> Option<i64> {
        // SAFETY: the packet is ours.
        let time = unsafe { (*self.0).pts };
        (time != ff::AV_NOPTS_VALUE).then_some(time)
    }

    /// When it is to be decoded.
    pub fn decoding_time(&self) -> Option<i64> {
        // SAFETY: the packet is ours.
        let time = unsafe { (*self.0).dts };
        (time != ff::AV_NOPTS_VALUE).then_some(time)
    }

    /// Sets its times later by so much.
    pub fn shift(&mut self, by: i64) {
        // SAFETY: the packet is ours.
        let packet = unsafe { &mut *self.0 };
        for time in [&mut packet.pts, &mut packet.dts] {
            if *time != ff::AV_NOPTS_VALUE {
                *time = time.saturating_add(by);
            }
        }
    }

    /// Takes its times from it.
    pub fn forget_times(&mut self) {
        // SAFETY: the packet is ours.
        let packet = unsafe { &mut *self.0 };
        (packet.pts, packet.dts) = (ff::AV_NOPTS_VALUE, ff::AV_NOPTS_VALUE);
    }

    pub fn duration(&self) -> i64 {
        // SAFETY: the packet is ours.
        unsafe { (*self.0).duration.max(0) }
    }

    pub fn is_key(&self) -> bool {
        // SAFETY: the packet is ours.
        unsafe { (*self.0).flags & ff::AV_PKT_FLAG_KEY != 0 }
    }

    /// Its frame is shown. What an edit list cuts away is decoded, where others are built on it, and left out.
    pub fn is_shown(&self) -> bool {
        // SAFETY: the packet is ours.
        unsafe { (*self.0).flags & ff::AV_PKT_FLAG_DISCARD == 0 }
    }

    pub fn bytes(&self) -> usize {
        // SAFETY: the packet is ours.
        usize::try_from(unsafe { (*self.0).size }).unwrap_or(0)
    }

    pub fn data(&self) -> &[u8] {
        // SAFETY: the packet is ours, and its data are as long as it says, where it has any.
        unsafe {
            let data = (*self.0).data;
            if data.is_null() { &[] } else { std::slice::from_raw_parts(data, self.bytes()) }
        }
    }

    /// The container could not read all of it; but see [`Video::is_transport_stream`].
    pub fn is_corrupt(&self) -> bool {
        // SAFETY: the packet is ours.
        unsafe { (*self.0).flags & ff::AV_PKT_FLAG_CORRUPT != 0 }
    }

    /// Where it stands in the file.
    pub fn place(&self) -> Option<u64> {
        // SAFETY: the packet is ours.
        u64::try_from(unsafe { (*self.0).pos }).ok()
    }

    /// Its contents are encrypted, and nobody has a key.
    pub fn is_encrypted(&self) -> bool {
        // SAFETY: the packet is ours; its side data is only looked for.
        unsafe {
            let kind = ff::AVPacketSideDataType::AV_PKT_DATA_ENCRYPTION_INFO;
            !ff::av_packet_get_side_data(self.0, kind, ptr::null_mut()).is_null()
        }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: the packet is ours, and this is its end.
        unsafe { ff::av_packet_free(&mut self.0) };
    }
}

/// # Safety
/// Called by FFmpeg with the source of the context and a buffer of that size.
unsafe extern "C" fn read(source: *mut c_void, buffer: *mut u8, bytes: c_int) -> c_int {
    // SAFETY: `source` is the one given to avio_alloc_context, and nobody else uses it meanwhile.
    let source = unsafe { &mut *source.cast::<Source>() };
    let left = usize::try_from(source.size.saturating_sub(source.position)).unwrap_or(usize::MAX);
    // SAFETY: the buffer is as long as told.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, usize::try_from(bytes).unwrap_or(0).min(left)) };
    loop {
        return match source.file.read_at(buffer, source.position) {
            Ok(0) => ff::AVERROR_EOF,
            Ok(read) => {
                source.position += read as u64;
                c_int::try_from(read).unwrap_or(c_int::MAX)
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => ff::AVERROR(error.raw_os_error().unwrap_or(ff::EIO)),
        };
    }
}

/// # Safety
/// Called by FFmpeg with the source of the context.
unsafe extern "C" fn seek(source: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as above.
    let source = unsafe { &mut *source.cast::<Source>() };
    let size = i64::try_from(source.size).unwrap_or(i64::MAX);
    let start = match whence & !ff::AVSEEK_FORCE {
        ff::AVSEEK_SIZE => return size,
        0 => 0,
        1 => i64::try_from(source.position).unwrap_or(i64::MAX),
        2 => size,
        _ => return i64::from(ff::AVERROR(ff::EINVAL)),
    };
    match start.checked_add(offset).and_then(|place| u64::try_from(place).ok()) {
        Some(place) => {
            source.position = place;
            i64::try_from(place).unwrap_or(i64::MAX)
        }
        None => i64::from(ff::AVERROR(ff::EINVAL)),
    }
}

/// # Safety
/// Called by FFmpeg; nothing that it gives is looked at.
unsafe extern "C" fn refuse(
    _context: *mut ff::AVFormatContext,
    _io: *mut *mut ff::AVIOContext,
    _url: *const c_char,
    _flags: c_int,
    _options: *mut *mut ff::AVDictionary,
) -> c_int {
    ff::AVERROR(ff::EPERM)
}
