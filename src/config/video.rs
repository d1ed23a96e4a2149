//! `[dataset.video]`: which frames, and what a row of them is.

use std::time::Duration;

use super::item::{Item, Located};
use super::row::RowDraft;
use super::section::Section;
use super::world::{Clip, Damage, Pick, Rate, Tail, VideoOptions};
use super::{image, units};

const HOP_MAX: u64 = 1 << 32;
const STRIDE_MAX: u64 = 1 << 32;
/// `fps` is exact to a millionth.
const RATE_PARTS: u64 = 1_000_000;
const PLACE_MAX: Duration = Duration::from_hours(24 * 365);
const TIMEOUT_DEFAULT: Duration = Duration::from_mins(1);
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const TIMEOUT_MAX: Duration = Duration::from_hours(24);
const MEMORY_DEFAULT_BYTES: u64 = 4 << 30;
/// FFmpeg's libraries take this much address space before they decode anything.
const MEMORY_BYTES_MIN: u64 = 256 << 20;

pub(super) fn read(section: Section<'_>, row: &RowDraft<'_>) -> Option<VideoOptions> {
    let (frame_shape, length) = split(row);
    let frame = image::read_keys(&section, row, frame_shape.as_ref(), "video");
    let pick = read_pick(&section);
    let start = section.item("start").map_or(Some(Duration::ZERO), |item| place(&item));
    let end = match section.item("end") {
        Some(item) => place(&item).map(Some),
        None => Some(None),
    };
    if let (Some(start), Some(Some(until)), Some(item)) = (start, end, section.item("end"))
        && until <= start
    {
        let start = units::duration_text(start);
        item.fault(format!("found {}, expected a time behind `start`, which is \"{start}\"", item.found()));
    }
    let clip = read_clip(&section, row, length);
    let on_error = section.choice("on_error", Damage::Reject);
    let timeout =
        section.item("timeout").map_or(Some(TIMEOUT_DEFAULT), |item| item.duration(TIMEOUT_MIN..=TIMEOUT_MAX, "60s"));
    let memory_bytes = section.item("memory").map_or(Some(MEMORY_DEFAULT_BYTES), |item| {
        let bytes = item.size_bytes()?;
        if bytes < MEMORY_BYTES_MIN {
            item.fault(format!("found {}, expected at least \"256MiB\": no video is decoded with less", item.found()));
            return None;
        }
        Some(bytes)
    });
    section.finish();
    Some(VideoOptions {
        frame: frame?,
        clip: clip?,
        pick: pick?,
        start: start?,
        end: end?,
        on_error,
        timeout: timeout?,
        memory_bytes: memory_bytes?,
    })
}

/// The shape of one frame, and the frames of a row where it is a clip.
fn split<'a>(row: &RowDraft<'a>) -> (Option<Located<'a, Vec<usize>>>, Option<usize>) {
    let Some(shape) = &row.shape else { return (None, None) };
    match shape.value.as_slice() {
        [length, frame @ ..] if frame.len() == 3 => {
            (Some(Located { value: frame.to_vec(), item: shape.item.clone() }), Some(*length))
        }
        _ => (Some(shape.clone()), None),
    }
}

fn read_clip(section: &Section<'_>, row: &RowDraft<'_>, length: Option<usize>) -> Option<Option<Clip>> {
    let hop = section.item("hop");
    let tail = section.choice("tail", Tail::Drop);
    let Some(length) = length else {
        for item in [&hop, &section.item("tail")].into_iter().flatten() {
            if row.shape.is_some() {
                item.fault_with_help(
                    "has no effect: a row is a single frame",
                    "for clips of 16 frames, write shape = [16, height, width, channels]; else remove the line",
                );
            }
        }
        return Some(None);
    };
    let hop = match hop {
        Some(item) => usize::try_from(item.integer(1..=HOP_MAX, "a number of frames")?).ok()?,
        None => length,
    };
    Some(Some(Clip { length, hop, tail }))
}

/// At most one of three keys.
fn read_pick(section: &Section<'_>) -> Option<Pick> {
    let fps = section.item("fps");
    let stride = section.item("stride");
    let keyframes = section.item("keyframes");
    let keyframes_only = keyframes.as_ref().map_or(Some(false), Item::flag);
    let given = [fps.as_ref(), stride.as_ref(), keyframes.as_ref().filter(|_| keyframes_only == Some(true))];
    if let [Some(_), Some(second), ..] | [Some(_), None, Some(second)] | [None, Some(_), Some(second)] = given {
        second.fault_with_help(
            "cannot be together with the key above: `fps`, `stride` and `keyframes` each say which frames are taken",
            "keep one of them",
        );
        return None;
    }
    match given {
        [Some(item), ..] => read_rate(item).map(Pick::Fps),
        [_, Some(item), _] => match item.integer(1..=STRIDE_MAX, "a number of frames")? {
            1 => Some(Pick::All),
            stride => Some(Pick::Stride(stride)),
        },
        [_, _, Some(_)] => Some(Pick::Keyframes),
        _ => keyframes_only.map(|_| Pick::All),
    }
}

/// A number, or a fraction as `"30000/1001"`.
fn read_rate(item: &Item<'_>) -> Option<Rate> {
    const EXPECTED: &str = "frames a second, from 0.000001 to 1000, such as 1, 0.5 or \"30000/1001\"";
    let rate = match item.value.get_ref().as_str() {
        Some(text) => text.split_once('/').and_then(|(frames, seconds)| {
            Some(Rate { frames: frames.trim().parse().ok()?, seconds: seconds.trim().parse().ok()? })
        }),
        None => {
            let number = item.number()?;
            // Clamped by the cast; what is out of bounds is refused below.
            Some(Rate { frames: (number * RATE_PARTS as f64).round() as u64, seconds: RATE_PARTS })
        }
    };
    match rate.filter(|rate| is_rate_sensible(*rate)) {
        Some(Rate { frames, seconds }) => {
            let common = common_divisor(frames, seconds);
            Some(Rate { frames: frames / common, seconds: seconds / common })
        }
        None => {
            item.fault(format!("found {}, expected {EXPECTED}", item.found()));
            None
        }
    }
}

fn is_rate_sensible(Rate { frames, seconds }: Rate) -> bool {
    const MAX: u64 = 1_000_000_000;
    (1..=MAX).contains(&frames)
        && (1..=MAX).contains(&seconds)
        && frames <= 1000 * seconds
        && seconds <= RATE_PARTS * frames
}

/// Both at least 1.
fn common_divisor(mut first: u64, mut second: u64) -> u64 {
    while second != 0 {
        (first, second) = (second, first % second);
    }
    first
}

fn place(item: &Item<'_>) -> Option<Duration> {
    item.duration(Duration::ZERO..=PLACE_MAX, "10s")
}
