//! The keys of `audio` that give rows their meaning. The structures are taken apart without `..`, so that a new option
//! cannot be forgotten here.

use super::super::choice::Choice;
use super::super::world::{AudioOptions, MelOptions};
use super::{Keys, number};

pub(super) fn audio(options: &AudioOptions, keys: &mut Keys) {
    let AudioOptions {
        samples,
        hop,
        // These three follow from shape and dtype.
        channels: _,
        sample: _,
        big_endian: _,
        rate,
        tail,
        start,
        end,
        on_error,
        mel,
    } = options;
    keys.add("audio.features", if mel.is_some() { "log-mel" } else { "samples" });
    keys.add("audio.rate", rate.map_or("of the source".to_owned(), |rate| rate.to_string()));
    keys.add("audio.samples", samples);
    keys.add("audio.hop", hop);
    keys.add("audio.tail", tail.word());
    keys.add("audio.start", number(start.as_secs_f64()));
    keys.add("audio.end", end.map_or("none".to_owned(), |end| number(end.as_secs_f64())));
    keys.add("audio.on_error", on_error.word());
    if let Some(mel) = mel {
        log_mel(mel, keys);
    }
}

fn log_mel(mel: &MelOptions, keys: &mut Keys) {
    let MelOptions {
        // From shape and `rate`.
        mels: _,
        frames: _,
        rate: _,
        fft,
        hop,
        win,
        window,
        power,
        from_hz,
        to_hz,
        scale,
        norm,
        center,
        log,
        floor,
    } = mel;
    keys.add("audio.n_fft", fft);
    keys.add("audio.hop_length", hop);
    keys.add("audio.win_length", win);
    keys.add("audio.window", window.word());
    keys.add("audio.power", number(*power));
    keys.add("audio.fmin", number(*from_hz));
    keys.add("audio.fmax", number(*to_hz));
    keys.add("audio.mel", scale.word());
    keys.add("audio.norm", norm.word());
    keys.add("audio.center", center);
    keys.add("audio.log", log.word());
    keys.add("audio.floor", number(*floor));
}
