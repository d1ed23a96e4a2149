//! The inner parts, one at a time, without files and threads: what a change of one of them gives. How fast the whole program is
//! beside others, `benches/run` tells.
//!
//!     cargo bench --bench inner
//!     cargo bench --bench inner -- csv

use std::fs::File;
use std::hint::black_box;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::{ImageFormat, RgbImage};
use npy_ingest::config;
use npy_ingest::decode::{About, DecodeError, Decoder, RowSink, SourceFile};
use npy_ingest::npy::{AppendOptions, Appender, Dtype, Durability, Header};
use rustix::fs::{MemfdFlags, memfd_create};

/// Every row goes into the same place.
struct OnePlace {
    row_bytes: usize,
    place: Vec<u8>,
}

impl RowSink for OnePlace {
    fn row(&mut self, _: f64) -> Result<&mut [u8], DecodeError> {
        self.rows(1)
    }
    fn rows(&mut self, count: usize) -> Result<&mut [u8], DecodeError> {
        let most = (self.place.len() / self.row_bytes).max(1);
        Ok(&mut self.place[..count.min(most) * self.row_bytes])
    }
    fn give_back(&mut self, _: usize) {}
}

/// From the bytes of a source to its rows. `lines`: what a config says of the rows and the decoder.
fn decodes(criterion: &mut Criterion, name: &str, lines: &str, extension: &str, bytes: &[u8]) {
    let text = format!("[[dataset]]\nname = 'a'\noutput = 'a.npy'\n{lines}\n[dataset.watch]\nfolders = ['in']\n");
    let parsed = config::parse(&text, Path::new("/a/ingest.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let dataset = &parsed.datasets[0];
    let (decoder, row_bytes) = (Decoder::new(dataset), dataset.row.row_bytes());
    let mut rows = OnePlace { row_bytes, place: vec![0; row_bytes.max(1 << 18)] };
    let interrupted = AtomicBool::new(false);
    let about = About { path: Path::new("/a/source"), extension: Some(extension), interrupted: &interrupted };
    let mut file = File::from(memfd_create("source", MemfdFlags::CLOEXEC).expect("memory for a source"));
    file.write_all(bytes).expect("memory for a source");
    let file = SourceFile::of(file).expect("a source");
    let mut decode = || -> Result<(), DecodeError> {
        match &decoder {
            Decoder::Whole(decoder) => decoder.decode(black_box(bytes), about, &mut rows),
            Decoder::Stream(decoder) => decoder.decode(&mut file.reader(), about, &mut rows),
            Decoder::Log(decoder) => {
                let taken = decoder.follow(&mut file.reader(), None, about, &mut rows)?;
                taken.stopped.map_or(Ok(()), |rejection| Err(rejection.into()))
            }
            Decoder::File(decoder) => decoder.decode(&file, about, &mut rows),
        }
    };
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(name, |bencher| bencher.iter(|| decode().expect("good sources")));
    group.finish();
}

/// A photograph of any size: one that is shipped, repeated.
fn photograph(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/photos/people/astronaut.jpg");
    let tile = image::open(path).expect("a photograph in testdata").to_rgb8();
    let whole = RgbImage::from_fn(width, height, |x, y| *tile.get_pixel(x % tile.width(), y % tile.height()));
    let mut bytes = Vec::new();
    whole.write_to(&mut Cursor::new(&mut bytes), format).expect("it can be encoded");
    bytes
}

fn images(criterion: &mut Criterion) {
    let row = "shape = [224, 224, 3]\ndtype = 'u1'\n[dataset.image]\nfit = 'cover'\nfilter = 'bilinear'";
    let cases = [
        ("JPEG of 500 x 375", "jpg", photograph(500, 375, ImageFormat::Jpeg)),
        ("JPEG of 4000 x 3000", "jpg", photograph(4000, 3000, ImageFormat::Jpeg)),
        ("PNG of 640 x 480", "png", photograph(640, 480, ImageFormat::Png)),
    ];
    for (name, extension, bytes) in cases {
        decodes(criterion, name, row, extension, &bytes);
    }
}

fn logs(criterion: &mut Criterion) {
    let bytes: Vec<u8> = (0..1_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    decodes(
        criterion,
        "records that are rows",
        "dtype = [['t', '<u8'], ['x', '<f8']]\n[dataset.records]",
        "bin",
        &bytes,
    );
    let scaled = "dtype = [['t', '<f8'], ['x', '<f4'], ['n', '<i8']]\n[dataset.records]\nlength = 16\nfields = [\
                  { name = 't', offset = 0, dtype = '>u4', scale = 0.001 }, \
                  { name = 'x', offset = 4, dtype = '>i2', scale = 0.1, add = 180.0 }, \
                  { name = 'n', offset = 8, dtype = '>u4' }]";
    decodes(criterion, "records turned and scaled", scaled, "bin", &bytes);
    let lines: String =
        (0..20_000).map(|n| format!("{n}.{:03},{}.{:06},{}\n", n % 1000, n % 7, n * 37 % 1_000_000, n * 31)).collect();
    let numbers = "dtype = [['t', '<f8'], ['x', '<f4'], ['n', '<i8']]\n[dataset.csv]\nheader = false";
    decodes(criterion, "CSV of three numbers", numbers, "csv", lines.as_bytes());
    let sentence = "$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n";
    decodes(
        criterion,
        "NMEA sentences",
        "shape = [6]\ndtype = 'f8'\n[dataset.gps]",
        "nmea",
        sentence.repeat(2000).as_bytes(),
    );
}

fn appending(criterion: &mut Criterion) {
    let header = Header::parse(&npy_of_floats()).expect("a header");
    criterion.bench_function("header/parse", |bencher| {
        let bytes = npy_of_floats();
        bencher.iter(|| Header::parse(black_box(&bytes)).is_ok_and(|found| found == header));
    });
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let options = AppendOptions { durability: Durability::None, ..AppendOptions::default() };
    let path = folder.path().join("a.npy");
    let mut group = criterion.benchmark_group("append, not synced");
    for row_bytes in [64, 3072] {
        let row = vec![7_u8; row_bytes];
        group.throughput(Throughput::Bytes(row_bytes as u64));
        group.bench_function(format!("a row of {row_bytes} bytes"), |bencher| {
            // A file for each sample: memory is finite.
            bencher.iter_custom(|appends| {
                let appender = Appender::create(&path, &Dtype::u1(), &[row_bytes], options).expect("a new array");
                let start = Instant::now();
                (0..appends).try_for_each(|_| appender.append_bytes(black_box(&row)).map(drop)).expect("room");
                let spent = start.elapsed();
                drop(appender);
                std::fs::remove_file(&path).expect("it was there");
                spent
            });
        });
    }
    group.finish();
}

fn npy_of_floats() -> Vec<u8> {
    let text = "{'descr': [('time', '<f8'), ('x', '<f4', (3,))], 'fortran_order': False, 'shape': (1000, 4), }";
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(127, b' ');
    bytes.push(b'\n');
    bytes
}

criterion_group!(inner, images, logs, appending);
criterion_main!(inner);
