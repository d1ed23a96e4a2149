//! Binary records, with and without markers and checksums.

use super::decoding;

const DATASETS: [(&str, &str); 3] = [
    ("dtype = [['x', '<u2'], ['y', '>f4']]\n[dataset.records]\nskip = 3\n", "bin"),
    (
        "dtype = [['x', '<i4'], ['y', '<f8']]\n[dataset.records]\nlength = 12\nsync = 'AA55'\n\
         fields = [{ name = 'y', offset = 2, dtype = '>f4', scale = 0.5, add = -1.5 }, \
         { name = 'x', offset = 6, dtype = 'u2', bits = [3, 9] }]\n\
         checksum = { kind = 'crc16-ccitt', offset = 10, order = 'little', over = [0, 10] }\n",
        "bin",
    ),
    (
        "shape = [3]\ndtype = '<i2'\n[dataset.records]\nlength = 7\non_error = 'skip'\n\
         fields = [{ name = 'a', offset = 0, dtype = '<i2', count = 2 }, { name = 'b', dtype = 'u1', scale = 3 }]\n\
         checksum = { kind = 'sum8', offset = 6 }\n",
        "bin",
    ),
];

pub fn check(bytes: &[u8]) {
    decoding::check_datasets(&DATASETS, bytes);
    let (lines, _) = DATASETS[bytes.len() % DATASETS.len()];
    decoding::check_parts(lines, bytes);
}
