//! `[dataset.image]`: how a picture becomes a row, checked against the row's shape and dtype.

use super::item::{Item, Located};
use super::row::RowDraft;
use super::section::Section;
use super::world::{Alpha, Filter, Fit, Frames, ImageOptions, Layout, SampleType};

/// The longest side of a row, in pixels: what JPEG can hold, and far beyond what a row of a dataset is.
const SIDE_MAX: usize = 65_535;

/// Reads the table. `None` when a fault was reported, or when the row's shape or dtype is not known.
pub(super) fn read(section: Section<'_>, row: &RowDraft<'_>) -> Option<ImageOptions> {
    let options = read_keys(&section, row, row.shape.as_ref(), "image");
    let frames = section.choice("frames", Frames::First);
    section.finish();
    Some(ImageOptions { frames, ..options? })
}

/// The keys that say how a picture becomes an array of `shape`: all but `frames`. `table`: whose keys they are.
pub(super) fn read_keys(
    section: &Section<'_>,
    row: &RowDraft<'_>,
    shape: Option<&Located<'_, Vec<usize>>>,
    table: &str,
) -> Option<ImageOptions> {
    let fit = section.choice("fit", Fit::Cover);
    let filter = section.choice("filter", Filter::Bilinear);
    let layout = match section.item("layout") {
        Some(item) => item.choice(),
        None => Some(Layout::Hwc),
    };
    if row.shape.is_none()
        && let (Some([]), Some(dtype)) = (row.shape(), &row.dtype)
    {
        let one = one_of(table);
        dtype
            .item
            .fault(format!("found a structured dtype, expected numbers for {one}: \"u1\", \"u2\", \"f2\" or \"f4\""));
        return None;
    }
    let geometry = shape.and_then(|shape| geometry(shape, layout, table));
    let sample = row.dtype.as_ref().and_then(|dtype| sample(dtype, table));
    let channels = geometry.as_ref().map(|geometry| geometry.channels);

    let pad = match section.item("pad") {
        Some(item) => read_pad(&item, channels),
        None => channels.map(|channels| vec![0.0; channels]),
    };
    let is_float = sample.map(|(sample, _)| matches!(sample, SampleType::F16 | SampleType::F32));
    let scaling = |item: &Item<'_>, is_default: bool| {
        if is_float == Some(false) && !is_default {
            refuse_scaling(item);
        }
    };
    let scale = match section.item("scale") {
        Some(item) => read_scale(&item).inspect(|scale| scaling(&item, *scale == 1.0)),
        None => Some(1.0),
    };
    let all = |numbers: &[f64], default: f64| numbers.iter().all(|number| *number == default);
    let mean = match section.item("mean") {
        Some(item) => {
            per_channel(&item, channels, |_| true, "finite numbers").inspect(|mean| scaling(&item, all(mean, 0.0)))
        }
        None => channels.map(|channels| vec![0.0; channels]),
    };
    let std = match section.item("std") {
        Some(item) => per_channel(&item, channels, |std| std != 0.0, "a number other than 0: rows are divided by it")
            .inspect(|std| scaling(&item, all(std, 1.0))),
        None => channels.map(|channels| vec![1.0; channels]),
    };
    let orient = section.flag("orient", true);
    let alpha = section.choice("alpha", Alpha::Drop);
    if alpha == Alpha::Blend
        && channels == Some(4)
        && let Some(item) = section.item("alpha")
    {
        item.fault("found \"blend\", but rows of 4 channels keep their alpha: there is nothing to blend");
    }

    let Geometry { channels, channel_axis, height, width } = geometry?;
    let (sample, big_endian) = sample?;
    Some(ImageOptions {
        fit,
        filter,
        layout: layout?,
        channels,
        channel_axis,
        height,
        width,
        sample,
        big_endian,
        pad: pad?,
        scale: scale?,
        mean: mean?,
        std: std?,
        orient,
        alpha,
        frames: Frames::First,
    })
}

fn one_of(table: &str) -> &'static str {
    if table == "video" { "a video" } else { "an image" }
}

struct Geometry {
    channels: usize,
    channel_axis: bool,
    height: usize,
    width: usize,
}

/// What the dimensions of a row mean. A layout that could not be read makes three dimensions meaningless.
fn geometry(shape: &Located<'_, Vec<usize>>, layout: Option<Layout>, table: &str) -> Option<Geometry> {
    let item = &shape.item;
    let is_channels = |n: usize| matches!(n, 1 | 3 | 4);
    let (channels, height, width, channel_axis) = match (shape.value.as_slice(), layout) {
        (&[height, width], _) => (1, height, width, false),
        (&[height, width, channels], Some(Layout::Hwc)) => {
            if !is_channels(channels) {
                let message = format!(
                    "found {channels} channels in the last place, expected 1, 3 or 4: \
                     an image row is [height, width, channels]"
                );
                match shape.value.first() {
                    Some(first) if is_channels(*first) => item.fault_with_help(
                        message,
                        format!("for [channels, height, width], set layout = \"chw\" in [dataset.{table}]"),
                    ),
                    _ => item.fault(message),
                }
                return None;
            }
            (channels, height, width, true)
        }
        (&[channels, height, width], Some(Layout::Chw)) => {
            if !is_channels(channels) {
                item.fault_with_help(
                    format!("found {channels} channels in the first place, expected 1, 3 or 4"),
                    "layout = \"chw\" means [channels, height, width]",
                );
                return None;
            }
            (channels, height, width, true)
        }
        (&[_, _, _], None) => return None,
        (dimensions, _) => {
            let count = dimensions.len();
            let plural = if count == 1 { "" } else { "s" };
            item.fault(format!(
                "found {count} dimension{plural}, expected [height, width] or [height, width, channels] for {}{}",
                one_of(table),
                if table == "video" { ", or [frames, height, width, channels] for clips" } else { "" },
            ));
            return None;
        }
    };
    if height > SIDE_MAX || width > SIDE_MAX {
        item.fault(format!("found {height} x {width} pixels, expected at most {SIDE_MAX} for each side"));
        return None;
    }
    Some(Geometry { channels, channel_axis, height, width })
}

/// The sample type of a dtype, and whether it is big endian.
fn sample(dtype: &Located<'_, crate::npy::Dtype>, table: &str) -> Option<(SampleType, bool)> {
    let descr = dtype.value.descr();
    let sample = match descr.trim_start_matches(['|', '<', '>', '=']) {
        "u1" => SampleType::U8,
        "u2" => SampleType::U16,
        "f2" => SampleType::F16,
        "f4" => SampleType::F32,
        _ => {
            dtype.item.fault(format!(
                "found {}, expected \"u1\", \"u2\", \"f2\" or \"f4\" (in either byte order) for {}",
                dtype.item.found(),
                one_of(table)
            ));
            return None;
        }
    };
    Some((sample, descr.starts_with('>')))
}

/// Samples that are integers are stored as they are decoded: only the defaults of `scale`, `mean` and `std` go with them.
fn refuse_scaling(item: &Item<'_>) {
    item.fault_with_help(
        "has no effect: only rows of a float dtype are scaled",
        "remove the line, or use dtype = \"f4\"",
    );
}

fn read_scale(item: &Item<'_>) -> Option<f64> {
    let scale = item.number()?;
    if scale == 0.0 {
        item.fault(format!("found {}, expected a number other than 0: all rows would be alike", item.found()));
        return None;
    }
    Some(scale)
}

/// `pad` is on the scale of 8-bit samples, whatever the dtype. Three numbers for rows with alpha are an opaque color.
fn read_pad(item: &Item<'_>, channels: Option<usize>) -> Option<Vec<f64>> {
    const OPAQUE: f64 = 255.0;
    let is_color = item.value.get_ref().as_array().is_some_and(|elements| elements.len() == 3);
    let color_only = channels == Some(4) && is_color;
    let channels = if color_only { Some(3) } else { channels };
    let mut pad = per_channel(item, channels, |pad| (0.0..=255.0).contains(&pad), "a number from 0 to 255")?;
    if color_only {
        pad.push(OPAQUE);
    }
    Some(pad)
}

/// One number for each channel, or a single one for all. `expected` says what `is_allowed` wants.
fn per_channel(
    item: &Item<'_>,
    channels: Option<usize>,
    is_allowed: impl Fn(f64) -> bool,
    expected: &str,
) -> Option<Vec<f64>> {
    let read = |item: &Item<'_>| {
        let number = item.number()?;
        if !is_allowed(number) {
            item.fault(format!("found {}, expected {expected}", item.found()));
            return None;
        }
        Some(number)
    };
    if !item.value.get_ref().is_array() {
        let number = read(item)?;
        return channels.map(|channels| vec![number; channels]);
    }
    let elements = item.elements("an array of numbers")?;
    let numbers: Vec<_> = elements.iter().map(read).collect();
    let numbers = numbers.into_iter().collect::<Option<Vec<_>>>()?;
    let channels = channels?;
    if numbers.len() != channels {
        let plural = if channels == 1 { "" } else { "s" };
        item.fault(format!(
            "found {}, expected {channels} number{plural}, one for each channel, or a single number for all",
            item.found()
        ));
        return None;
    }
    Some(numbers)
}
