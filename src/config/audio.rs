//! `[dataset.audio]`: windows of sound, or spectrograms of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::choice::{Choice, choices};
use super::item::Located;
use super::row::RowDraft;
use super::section::Section;
use super::world::{AudioOptions, Damage, MelLog, MelNorm, MelOptions, MelScale, MelWindow, SoundSample, Tail};
use crate::npy::{ByteOrder, Dtype, Kind};

/// Hz. Below are logs of instruments, above is nothing that is called sound.
const RATES: RangeInclusive<u64> = 100..=768_000;
/// More channels than any recorder of sound has.
pub(crate) const CHANNELS_MAX: usize = 64;
/// Samples of a window or a hop.
const SAMPLES_MAX: u64 = 1 << 28;
/// Samples of the window of a spectrogram, which is in memory beside its row.
const MEL_SAMPLES_MAX: usize = 1 << 26;
const FFT_MAX: u64 = 1 << 20;
const TIMES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 24 * 3600);
/// What only log-mel has.
const MEL_KEYS: [&str; 14] = [
    "samples",
    "n_fft",
    "hop_length",
    "win_length",
    "n_mels",
    "fmin",
    "fmax",
    "window",
    "power",
    "mel",
    "norm",
    "center",
    "log",
    "floor",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Features {
    Samples,
    LogMel,
}

choices! {
    Features { Samples = "samples", LogMel = "log-mel" }
    MelWindow { Hann = "hann", Hamming = "hamming", Rectangular = "boxcar" }
    MelScale { Slaney = "slaney", Htk = "htk" }
    MelNorm { Slaney = "slaney", None = "none" }
    MelLog { Db = "db", Ln = "ln", Log10 = "log10" }
}

/// What a row is, in samples.
struct Window {
    samples: usize,
    hop: usize,
    channels: Option<usize>,
    mel: Option<MelOptions>,
}

pub(super) fn read(section: Section<'_>, row: &RowDraft<'_>) -> Option<AudioOptions> {
    let features = section.choice("features", Features::Samples);
    let rate = integer(&section, "rate", RATES, "Hz");
    let window = match features {
        Features::Samples => {
            refuse_mel_keys(&section);
            read_window(row)
        }
        Features::LogMel => read_mel(&section, row, rate),
    };
    let hop = integer(&section, "hop", 1..=SAMPLES_MAX, "samples");
    let tail = section.choice("tail", Tail::Drop);
    let start = section.item("start").map_or(Some(Duration::ZERO), |item| item.duration(TIMES, "1.5s"));
    let end = section.item("end").map_or(Some(None), |item| item.duration(TIMES, "90s").map(Some));
    if let (Some(start), Some(Some(end)), Some(item)) = (start, end, section.item("end"))
        && end <= start
    {
        item.fault(format!("found {}, expected a time after `start`", item.found()));
    }
    let on_error = section.choice("on_error", Damage::Reject);
    let sample = row.dtype.as_ref().and_then(|dtype| read_sample(dtype, features));
    section.finish();
    let (window, (sample, big_endian)) = (window?, sample?);
    Some(AudioOptions {
        samples: window.samples,
        hop: hop?.map_or(window.hop, |hop| hop as usize),
        channels: window.channels,
        rate: rate?.map(|rate| rate as u32),
        tail,
        start: start?,
        end: end?,
        on_error,
        sample,
        big_endian,
        mel: window.mel,
    })
}

/// An integer that may be left out: `None` when it is wrong.
fn integer(section: &Section<'_>, name: &'static str, range: RangeInclusive<u64>, what: &str) -> Option<Option<u64>> {
    section.item(name).map_or(Some(None), |item| item.integer(range, what).map(Some))
}

/// `[samples]` or `[samples, channels]`.
fn read_window(row: &RowDraft<'_>) -> Option<Window> {
    let shape = row.shape()?;
    let (samples, channels) = match *shape {
        [samples] => (samples, None),
        [samples, channels] if channels <= CHANNELS_MAX => (samples, Some(channels)),
        _ => {
            let item = &row.shape.as_ref()?.item;
            item.fault_with_help(
                format!("found {}, expected [samples] or [samples, channels] for `audio`", item.found()),
                format!(
                    "for example shape = [16000], mixed to one channel, or [16000, 2]; up to {CHANNELS_MAX} channels"
                ),
            );
            return None;
        }
    };
    Some(Window { samples, hop: samples, channels, mel: None })
}

fn refuse_mel_keys(section: &Section<'_>) {
    for name in MEL_KEYS {
        if let Some(item) = section.reserved(name) {
            item.fault_with_help("has no effect on samples", "set features = \"log-mel\", or remove the line");
        }
    }
}

fn read_sample(dtype: &Located<'_, Dtype>, features: Features) -> Option<(SoundSample, bool)> {
    let found = dtype.value.scalar().and_then(|scalar| {
        let sample = match (scalar.kind, scalar.bytes) {
            (Kind::Int, 2) if features == Features::Samples => SoundSample::I16,
            (Kind::Float, 2) => SoundSample::F16,
            (Kind::Float, 4) => SoundSample::F32,
            _ => return None,
        };
        Some((sample, scalar.order == ByteOrder::Big))
    });
    if found.is_none() {
        let item = &dtype.item;
        let (expected, help) = match features {
            Features::Samples => {
                ("\"i2\", \"f4\" or \"f2\" for `audio`", "full scale is 32768 in \"i2\" and 1.0 in \"f4\"")
            }
            Features::LogMel => ("\"f4\" or \"f2\" for log-mel", "for example dtype = \"f4\""),
        };
        item.fault_with_help(format!("found {}, expected {expected}", item.found()), help);
    }
    found
}

fn read_mel(section: &Section<'_>, row: &RowDraft<'_>, rate: Option<Option<u64>>) -> Option<Window> {
    let fft = integer(section, "n_fft", 16..=FFT_MAX, "samples");
    let hop = integer(section, "hop_length", 1..=FFT_MAX, "samples");
    let win = integer(section, "win_length", 2..=FFT_MAX, "samples");
    let mels = integer(section, "n_mels", 1..=65536, "bands");
    let center = section.flag("center", true);
    let window = section.choice("window", MelWindow::Hann);
    let scale = section.choice("mel", MelScale::Slaney);
    let norm = section.choice("norm", MelNorm::Slaney);
    let log = section.choice("log", MelLog::Db);
    let power = number(section, "power", 2.0, |power| power == 1.0 || power == 2.0, "1 (magnitudes) or 2 (powers)");
    let floor = number(section, "floor", 1e-10, |floor| (1e-30..=1e30).contains(&floor), "a number above 0");
    let samples = section.item("samples");
    if let Some(None) = rate {
        section.required("rate", "16000");
        return None;
    }
    let rate = rate??;
    let nyquist = rate as f64 / 2.0;
    let from_hz = number(section, "fmin", 0.0, |hz| (0.0..nyquist).contains(&hz), "Hz below half of `rate`");
    let to_hz = number(
        section,
        "fmax",
        nyquist,
        |hz| hz > from_hz.unwrap_or(0.0) && hz <= nyquist,
        "Hz above `fmin`, up to half of `rate`",
    );
    let (fft, hop) = (fft?.unwrap_or(2048) as usize, hop?.unwrap_or(512) as usize);
    let win = win?.map_or(fft, |win| win as usize);
    if win > fft {
        let item = section.item("win_length")?;
        item.fault(format!("found {}, expected at most `n_fft`, {fft}", item.found()));
        return None;
    }
    let &[rows, frames] = row.shape()? else {
        let item = &row.shape.as_ref()?.item;
        item.fault_with_help(
            format!("found {}, expected [bands, frames] for log-mel", item.found()),
            "for example shape = [128, 64]: librosa's order, lowest band first",
        );
        return None;
    };
    if let Some(mels) = mels?
        && mels != rows as u64
    {
        let item = section.item("n_mels")?;
        item.fault(format!("found {}, but the first dimension of `shape` is {rows}", item.found()));
        return None;
    }
    // The samples that give just so many frames, and where the next row goes on. With an odd `n_fft` librosa fills up a sample
    // less than that.
    let (least, most, next) = if center {
        let odd = fft % 2;
        ((frames - 1) * hop + odd, frames * hop - 1 + odd, (frames - 1) * hop)
    } else {
        (fft + (frames - 1) * hop, fft + frames * hop - 1, frames * hop)
    };
    let least = least.max(1);
    if least > MEL_SAMPLES_MAX {
        let item = &row.shape.as_ref()?.item;
        item.fault(format!("{frames} frames take a window of {least} samples, expected at most {MEL_SAMPLES_MAX}"));
        return None;
    }
    let (samples, hop_default) = match samples {
        None if center && frames == 1 => {
            let item = &row.shape.as_ref()?.item;
            item.fault_with_help(
                format!("found {}, one frame, of which `center` does not tell how many samples it has", item.found()),
                format!("set center = false, for rows of {fft} samples, or `samples`"),
            );
            return None;
        }
        None => (least, next),
        Some(item) => {
            let samples = item.integer(1..=SAMPLES_MAX, "samples")? as usize;
            if !(least..=most).contains(&samples) {
                item.fault(format!("found {samples}, which does not give {frames} frames: expected {least} to {most}"));
                return None;
            }
            (samples, if center { samples } else { next })
        }
    };
    let mel = MelOptions {
        mels: rows,
        frames,
        rate: rate as u32,
        fft,
        hop,
        win,
        window,
        power: power?,
        from_hz: from_hz?,
        to_hz: to_hz?,
        scale,
        norm,
        center,
        log,
        floor: floor?,
    };
    Some(Window { samples, hop: hop_default, channels: None, mel: Some(mel) })
}

fn number(
    section: &Section<'_>,
    name: &'static str,
    default: f64,
    is_right: impl Fn(f64) -> bool,
    what: &str,
) -> Option<f64> {
    let Some(item) = section.item(name) else { return Some(default) };
    let number = item.number()?;
    if !is_right(number) {
        item.fault(format!("found {}, expected {what}", item.found()));
        return None;
    }
    Some(number)
}
