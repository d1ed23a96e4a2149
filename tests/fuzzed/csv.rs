//! Lines of text: quoted, with times, with what is missing, and with lines that are no good.

use super::decoding;

const DATASETS: [(&str, &str); 4] = [
    ("shape = [2]\ndtype = '<f4'\n[dataset.csv]\nheader = false\n", "csv"),
    ("dtype = [['time', '<M8[ns]'], ['x', '<f8'], ['name', 'S4']]\n[dataset.csv]\n", "csv"),
    ("dtype = [['x', '<i4'], ['y', 'u1']]\n[dataset.csv]\ncolumns = ['b', 3]\non_error = 'skip'\n", "csv"),
    (
        "dtype = [['x', '<f2'], ['y', '?']]\n[dataset.csv]\nheader = false\ndelimiter = ';'\nmissing = ['', 'NA']\n",
        "csv",
    ),
];

pub fn check(bytes: &[u8]) {
    decoding::check_datasets(&DATASETS, bytes);
    let (lines, _) = DATASETS[bytes.len() % DATASETS.len()];
    decoding::check_parts(lines, bytes);
}
