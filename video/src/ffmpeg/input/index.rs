//! The index of a container's stream: where its packets are, and when they are to be decoded.

use ffmpeg_sys_next as ff;

use super::{Input, Packet};

impl Input {
    /// The time of the last key frame in the index that is not behind `time`.
    pub fn keyframe_before(&self, time: i64) -> Option<i64> {
        let stream = self.stream_at(self.stream)?;
        // SAFETY: the entry belongs to the stream, and is looked at before anything else is done with it.
        unsafe {
            let entry = ff::avformat_index_get_entry_from_timestamp(stream, time, ff::AVSEEK_FLAG_BACKWARD);
            if entry.is_null() { None } else { Some((*entry).timestamp) }
        }
    }

    /// Whether the index has a packet for a key frame, where it has the packet. Its own word for it is FFmpeg's guess from what is in it.
    pub fn is_key_in_index(&self, packet: &Packet) -> Option<bool> {
        let (stream, time) = (self.stream_at(self.stream)?, packet.decoding_time()?);
        // SAFETY: as above.
        unsafe {
            let entry = ff::avformat_index_get_entry_from_timestamp(stream, time, ff::AVSEEK_FLAG_ANY);
            let is_there = self.has_index && !entry.is_null() && (*entry).timestamp == time;
            is_there.then(|| (*entry).flags() & ff::AVINDEX_KEYFRAME != 0)
        }
    }

    /// Whether each packet in the index is behind the one before it, as where no edit list takes pieces of the media: else places
    /// cannot be found by their times.
    pub fn is_index_in_order(&self) -> bool {
        self.index_times().is_sorted()
    }

    /// How many packets are in the index up to the one that is to be decoded at `time`, and how many are in it at all.
    pub fn indexed_up_to(&self, time: i64) -> (u64, u64) {
        self.index_times().fold((0, 0), |(read, all), indexed| (read + u64::from(indexed <= time), all + 1))
    }

    fn index_times(&self) -> impl Iterator<Item = i64> {
        let stream = self.stream_at(self.stream);
        // SAFETY: the stream is one of the open context.
        let count = stream.map_or(0, |stream| unsafe { ff::avformat_index_get_entries_count(stream) });
        stream.into_iter().flat_map(move |stream| {
            (0..count).map_while(move |place| {
                // SAFETY: as above; the entry is looked at before anything else is done with the stream.
                unsafe {
                    let entry = ff::avformat_index_get_entry(stream, place);
                    if entry.is_null() { None } else { Some((*entry).timestamp) }
                }
            })
        })
    }
}
