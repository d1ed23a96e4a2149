//! `audio`: what is accepted, what it means, and the text of each fault.

use std::time::Duration;

use npy_ingest::config::{
    AudioOptions, Damage, DecoderOptions, MelLog, MelNorm, MelScale, MelWindow, SoundSample, Tail,
};

use super::parsed;

fn text(row: &str, keys: &str) -> String {
    format!("[[dataset]]\nname = 'a'\noutput = 'a.npy'\n{row}\nwatch.folders = ['in']\n[dataset.audio]\n{keys}\n")
}

#[track_caller]
fn audio(row: &str, keys: &str) -> AudioOptions {
    match parsed(&text(row, keys)).datasets.remove(0).decoder {
        DecoderOptions::Audio(options) => options,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_refused(row: &str, keys: &str, expected: &[&str]) {
    super::assert_refused(&text(row, keys), expected);
}

const ROW: &str = "shape = [800]\ndtype = 'i2'";
const MEL: &str = "shape = [80, 11]\ndtype = 'f4'";

#[test]
fn defaults_are_whole_windows_of_the_mixed_source() {
    let expected = AudioOptions {
        samples: 800,
        hop: 800,
        channels: None,
        rate: None,
        tail: Tail::Drop,
        start: Duration::ZERO,
        end: None,
        on_error: Damage::Reject,
        sample: SoundSample::I16,
        big_endian: false,
        mel: None,
    };
    assert_eq!(audio(ROW, ""), expected);
    let stereo = audio("shape = [800, 2]\ndtype = '>f4'", "hop = 100\nrate = 8000\ntail = 'pad'\nend = '2s'");
    assert_eq!((stereo.channels, stereo.sample, stereo.big_endian), (Some(2), SoundSample::F32, true));
    assert_eq!(
        (stereo.hop, stereo.rate, stereo.tail, stereo.end),
        (100, Some(8000), Tail::Pad, Some(Duration::from_secs(2)))
    );
    let dataset = parsed(&text(ROW, "")).datasets.remove(0);
    let include = &dataset.watch.include;
    assert!(
        include.is_match("a/b.FLAC")
            && include.is_match("video.mp4")
            && include.is_match("a.opus")
            && !include.is_match("a.ape")
    );
}

#[test]
fn log_mel_has_the_defaults_of_librosa() {
    let mel = audio(MEL, "features = 'log-mel'\nrate = 16000");
    assert_eq!((mel.samples, mel.hop), (5120, 5120));
    let mel = mel.mel.unwrap();
    assert_eq!((mel.mels, mel.frames, mel.rate, mel.fft, mel.hop, mel.win), (80, 11, 16_000, 2048, 512, 2048));
    assert_eq!(
        (mel.window, mel.scale, mel.norm, mel.log),
        (MelWindow::Hann, MelScale::Slaney, MelNorm::Slaney, MelLog::Db)
    );
    assert_eq!((mel.power, mel.from_hz, mel.to_hz, mel.floor, mel.center), (2.0, 0.0, 8000.0, 1e-10, true));
    // Without padding, the next row goes on where the frames of this one end.
    let joined = audio(MEL, "features = 'log-mel'\nrate = 16000\nn_fft = 400\nhop_length = 160\ncenter = false");
    assert_eq!((joined.samples, joined.hop), (400 + 10 * 160, 11 * 160));
    let longer = audio(MEL, "features = 'log-mel'\nrate = 16000\nsamples = 5500\nhop = 2000\nn_mels = 80");
    assert_eq!((longer.samples, longer.hop), (5500, 2000));
}

#[test]
fn what_gives_rows_their_meaning_is_in_the_fingerprint() {
    let fingerprint = |row, keys| parsed(&text(row, keys)).datasets.remove(0).fingerprint();
    let plain = fingerprint(ROW, "");
    assert_eq!(
        plain,
        fingerprint(ROW, "hop = 800\ntail = 'drop'\nstart = '0s'\nfeatures = 'samples'\non_error = 'reject'")
    );
    for keys in ["hop = 799", "tail = 'pad'", "rate = 8000", "start = '1s'", "end = '1s'", "on_error = 'keep'"] {
        assert_ne!(fingerprint(ROW, keys), plain, "{keys}");
    }
    let with = |keys: &str| {
        let keys = format!("features = 'log-mel'\nrate = 16000\n{keys}");
        parsed(&text(MEL, &keys)).datasets.remove(0).fingerprint()
    };
    let plain = with("");
    for keys in [
        "n_fft = 1024",
        "hop_length = 500",
        "win_length = 400",
        "fmin = 1",
        "fmax = 7999.5",
        "window = 'hamming'",
        "power = 1",
        "mel = 'htk'",
        "norm = 'none'",
        "center = false",
        "log = 'ln'",
        "floor = 1e-9",
        "samples = 5121",
    ] {
        assert_ne!(with(keys), plain, "{keys}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    assert_refused(
        "shape = [8, 2, 2]\ndtype = 'u1'",
        "rate = 7\ntail = 'cut'\nhop = 0\nstart = '2s'\nend = '1s'\nn_fft = 400\ncolour = 1",
        &[
            "f.toml:4:9: `dataset.shape`: found [8, 2, 2], expected [samples] or [samples, channels] for `audio`; for \
             example shape = [16000], mixed to one channel, or [16000, 2]; up to 64 channels",
            "f.toml:5:9: `dataset.dtype`: found \"u1\", expected \"i2\", \"f4\" or \"f2\" for `audio`; full scale is 32768 \
             in \"i2\" and 1.0 in \"f4\"",
            "f.toml:8:8: `dataset.audio.rate`: found 7, expected Hz from 100 to 768000",
            "f.toml:9:8: `dataset.audio.tail`: found \"cut\", expected one of \"drop\", \"pad\"",
            "f.toml:10:7: `dataset.audio.hop`: found 0, expected samples from 1 to 268435456",
            "f.toml:12:7: `dataset.audio.end`: found \"1s\", expected a time after `start`",
            "f.toml:13:9: `dataset.audio.n_fft`: has no effect on samples; set features = \"log-mel\", or remove the line",
            "f.toml:14:1: `dataset.audio.colour`: unknown key, expected one of `features`, `rate`, `hop`, `tail`, `start`, \
             `end`, `on_error`",
        ],
    );
}

#[test]
fn what_is_wrong_with_a_spectrogram_is_told() {
    let refused = |row, keys: &str, expected| assert_refused(row, &format!("features = 'log-mel'\n{keys}"), expected);
    refused(
        ROW,
        "rate = 8000",
        &[
            "f.toml:4:9: `dataset.shape`: found [800], expected [bands, frames] for log-mel; for example shape = [128, 64]: librosa's order, lowest band first",
            "f.toml:5:9: `dataset.dtype`: found \"i2\", expected \"f4\" or \"f2\" for log-mel; for example dtype = \"f4\"",
        ],
    );
    refused(
        "shape = [2, 1000000]\ndtype = 'f4'",
        "rate = 8000",
        &["f.toml:4:9: `dataset.shape`: 1000000 frames take a window of 511999488 samples, expected at most 67108864"],
    );
    refused(MEL, "", &["f.toml:7:1: `dataset.audio.rate`: is missing and has no default; for example: rate = 16000"]);
    refused(
        MEL,
        "rate = 8000\nfmax = 5000\nwin_length = 4096\npower = 3",
        &[
            "f.toml:10:8: `dataset.audio.fmax`: found 5000, expected Hz above `fmin`, up to half of `rate`",
            "f.toml:11:14: `dataset.audio.win_length`: found 4096, expected at most `n_fft`, 2048",
            "f.toml:12:9: `dataset.audio.power`: found 3, expected 1 (magnitudes) or 2 (powers)",
        ],
    );
    refused(
        MEL,
        "rate = 8000\nn_mels = 40",
        &["f.toml:10:10: `dataset.audio.n_mels`: found 40, but the first dimension of `shape` is 80"],
    );
    refused(
        MEL,
        "rate = 8000\nsamples = 6000",
        &["f.toml:10:11: `dataset.audio.samples`: found 6000, which does not give 11 frames: expected 5120 to 5631"],
    );
    // Each sample of the sound was a row.
    refused(
        "shape = [80, 1]\ndtype = 'f4'",
        "rate = 8000\nn_fft = 400",
        &[
            "f.toml:4:9: `dataset.shape`: found [80, 1], one frame, of which `center` does not tell how many samples it has; \
             set center = false, for rows of 400 samples, or `samples`",
        ],
    );
}

#[test]
fn one_frame_has_its_samples_by_n_fft_or_samples() {
    let window = |keys: &str| {
        let audio =
            audio("shape = [80, 1]\ndtype = 'f4'", &format!("features = 'log-mel'\nrate = 8000\nn_fft = 400\n{keys}"));
        (audio.samples, audio.hop)
    };
    assert_eq!(window("center = false"), (400, 512));
    assert_eq!(window("samples = 300"), (300, 300));
}

/// librosa fills up `n_fft // 2` samples on each side: one less where that is odd, and its frame was one too many.
#[test]
fn an_odd_n_fft_takes_a_sample_more() {
    let window = |keys: &str| {
        let audio = audio(MEL, &format!("features = 'log-mel'\nrate = 8000\nn_fft = 511\nhop_length = 100\n{keys}"));
        (audio.samples, audio.hop)
    };
    assert_eq!(window(""), (1001, 1000));
    assert_eq!(window("samples = 1100"), (1100, 1100));
    assert_eq!(window("center = false"), (1511, 1100));
}
