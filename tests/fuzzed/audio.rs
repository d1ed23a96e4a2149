//! Sound in all its containers.

use super::decoding;

const DATASETS: [(&str, &str); 4] = [
    ("shape = [400]\ndtype = '<i2'\n[dataset.audio]\ntail = 'pad'\n", "wav"),
    ("shape = [300, 2]\ndtype = '>f4'\n[dataset.audio]\non_error = 'keep'\nhop = 100\n", "mp3"),
    ("shape = [500]\ndtype = '<f2'\n[dataset.audio]\nrate = 16000\non_error = 'keep'\ntail = 'pad'\n", "mp4"),
    (
        "shape = [16, 5]\ndtype = '<f4'\n[dataset.audio]\nrate = 8000\nfeatures = 'log-mel'\nn_fft = 256\nhop_length = 100\n\
         on_error = 'keep'\n",
        "ogg",
    ),
];

/// A filter between two rates without a common divisor takes most of it.
const BYTES_MAX: usize = 96 << 20;

pub fn check(bytes: &[u8]) {
    decoding::check_datasets_within(BYTES_MAX, &DATASETS, bytes);
}
