//! The image decoder, with every kind of row.

use std::cell::OnceCell;

use npy_ingest::config::{Dataset, DecoderOptions};
use npy_ingest::decode::image::{ImageDecoder, Limits};
use npy_ingest::decode::{DecodeError, Decoder, RowSink};

use super::decoding;

/// Rows that between them take every way through the decoder.
const ROWS: &[&str] = &[
    "shape = [8, 9, 3]\ndtype = 'u1'\n[dataset.image]",
    "shape = [9, 8, 3]\ndtype = 'u1'\n[dataset.image]\nfit = 'contain'\nfilter = 'lanczos3'\nframes = 'all'",
    "shape = [3, 7, 5]\ndtype = 'f4'\n[dataset.image]\nlayout = 'chw'\nfilter = 'bicubic'\nframes = 'all'\nalpha = 'blend'\n\
     pad = [10, 20, 30]\nscale = 0.00392156862745098\nmean = [0.4, 0.5, 0.6]\nstd = 0.25",
    "shape = [6, 6]\ndtype = '>u2'\n[dataset.image]\nfit = 'stretch'\nfilter = 'area'\nalpha = 'blend'\npad = 200",
    "shape = [5, 4, 4]\ndtype = 'f2'\n[dataset.image]\nfilter = 'nearest'\nframes = 'all'",
    "shape = [16, 12, 1]\ndtype = 'u1'\n[dataset.image]\nfilter = 'area'\norient = false",
    "shape = [4, 6, 4]\ndtype = 'u2'\n[dataset.image]\nfit = 'contain'\nfilter = 'bicubic'\npad = 77",
];

/// Small enough that a header which lies about the size costs nothing.
const SMALL: Limits = Limits { max_pixels: 1 << 20, max_decoded_bytes: 8 << 20 };
/// The limits of the program itself are used for one input in so many: that many bytes take their time.
const FULL_SIZE_EVERY: usize = 32;
/// What decoding may take besides `max_decoded_bytes` and as much again: tables, windows, and the buffers for the row.
const FURTHER_BYTES_MAX: usize = 4 << 20;

/// A picture that fills the buffers with one value, and goes into a row as it is.
const SOIL_SIDE: usize = 512;
const SOIL_ROW: &str = "shape = [512, 512]\ndtype = 'u1'\n[dataset.image]";

struct Case {
    row_bytes: usize,
    small: ImageDecoder,
    full_size: Decoder,
}

thread_local! {
    static CASES: OnceCell<Vec<Case>> = const { OnceCell::new() };
    static SOIL: Decoder = Decoder::new(&decoding::dataset(SOIL_ROW));
}

fn case(dataset: &Dataset) -> Case {
    let DecoderOptions::Image(options) = &dataset.decoder else { panic!("these are images") };
    Case {
        row_bytes: dataset.row.row_bytes(),
        small: ImageDecoder::new(options.clone(), SMALL),
        full_size: Decoder::new(dataset),
    }
}

/// The bytes are a file. Its length chooses the row, so that what is found can be given to the program as it is.
pub fn check(bytes: &[u8]) {
    CASES.with(|cases| {
        let cases = cases.get_or_init(|| ROWS.iter().map(|lines| case(&decoding::dataset(lines))).collect());
        let choice = bytes.len() % cases.len();
        // TGA has no signature, so that whatever is nothing else is one. Not so for the first row.
        let extension = (choice > 0).then_some("tga");
        let case = &cases[choice];
        let bytes_max = |limits: Limits| {
            usize::try_from(limits.max_decoded_bytes).unwrap() * 2 + FURTHER_BYTES_MAX + bytes.len() * 4
        };
        if (bytes.len() / cases.len()).is_multiple_of(FULL_SIZE_EVERY) {
            let decode = |sink: &mut dyn RowSink| decoding::decode(&case.full_size, bytes, extension, sink);
            decoding::check(case.row_bytes, bytes_max(Limits::default()), true, soil, decode);
        } else {
            decoding::check(case.row_bytes, bytes_max(SMALL), true, soil, |sink| {
                case.small.decode(bytes, extension, sink)
            });
        }
    });
}

fn soil(value: u8) {
    struct OneRow(Vec<u8>);

    impl RowSink for OneRow {
        fn row(&mut self, _: f64) -> Result<&mut [u8], DecodeError> {
            Ok(&mut self.0)
        }
        fn rows(&mut self, _: usize) -> Result<&mut [u8], DecodeError> {
            Ok(&mut self.0)
        }
        fn give_back(&mut self, _: usize) {}
    }

    let mut picture = format!("P5 {SOIL_SIDE} {SOIL_SIDE} 255\n").into_bytes();
    picture.resize(picture.len() + SOIL_SIDE * SOIL_SIDE, value);
    let mut row = OneRow(vec![!value; SOIL_SIDE * SOIL_SIDE]);
    SOIL.with(|decoder| decoding::decode(decoder, &picture, None, &mut row)).unwrap();
    assert!(row.0.iter().all(|byte| *byte == value));
}
