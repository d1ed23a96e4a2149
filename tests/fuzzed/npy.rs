//! Arrays and archives of other programs.

use super::decoding;

const DATASETS: [(&str, &str); 4] = [
    ("shape = [3]\ndtype = '<f4'\n[dataset.npy]\n", "npy"),
    ("shape = [2, 3]\ndtype = '<i2'\n[dataset.npy]\nbyte_order = 'convert'\n", "npy"),
    ("shape = [3]\ndtype = '<f4'\n[dataset.npy]\nmember = 'a'\n", "npz"),
    ("dtype = [['x', '<u2'], ['y', '<f4']]\n[dataset.npy]\n", "npz"),
];

pub fn check(bytes: &[u8]) {
    decoding::check_datasets(&DATASETS, bytes);
}
