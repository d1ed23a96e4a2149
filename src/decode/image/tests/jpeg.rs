//! Plain JPEGs, which have a decoder of their own, against the one that all other pictures go by.

use npy_ingest_kernels::jpeg::{Decoder, Wish};

use super::jpeg_encoder::{COLOUR, GRAY, Kind, encode};
use super::*;
use crate::decode::image::jpeg_part::part;

/// What the acceptance tests allow between two decoders: mean and worst.
const TOLERANCE: (f64, u8) = (1.5, 24);

/// Smooth colours, edges and some noise, as in photographs.
fn scene(x: usize, y: usize) -> [u8; 3] {
    let (across, down) = (x as f64, y as f64);
    let grain = (x * 7919 + y * 104_729) % 13;
    let wave = |period: f64, phase: f64| (across / period + phase).sin() * (down / (period * 1.3) - phase).cos();
    let disc = |left: f64, top: f64, radius: f64| {
        let distance = ((across - left).powi(2) + (down - top).powi(2)).sqrt();
        ((radius - distance) / 2.0).clamp(0.0, 1.0)
    };
    let (light, dark) = (disc(60.0, 50.0, 30.0), disc(150.0, 110.0, 45.0));
    [
        120.0 + 60.0 * wave(23.0, 0.3) + 50.0 * light - 70.0 * dark,
        110.0 + 50.0 * wave(31.0, 1.1) + 60.0 * light - 60.0 * dark,
        100.0 + 60.0 * wave(17.0, 2.3) - 20.0 * light - 50.0 * dark,
    ]
    .map(|value: f64| (value + grain as f64).clamp(0.0, 255.0) as u8)
}

fn file(kind: Kind, width: usize, height: usize) -> Vec<u8> {
    encode(kind, width, height, scene)
}

/// The same file with an orientation.
fn oriented(file: &[u8], orientation: u8) -> Vec<u8> {
    let exif = [b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0];
    let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, exif.len() as u8 + 8];
    bytes.extend_from_slice(b"Exif\0\0");
    bytes.extend_from_slice(&exif);
    bytes.extend_from_slice(&file[2..]);
    bytes
}

/// The row of a file by its own decoder, if that takes it, and by the other.
fn both_ways(options: &ImageOptions, bytes: &[u8]) -> (Option<Vec<u8>>, Result<Vec<u8>, String>) {
    let decoder = ImageDecoder::new(options.clone(), Limits::default());
    let rows = || Rows { row_bytes: decoder.writer.row_bytes(), ..Rows::default() };
    let outline = match ending::check(ImageFormat::Jpeg, bytes) {
        Ok(outline) => outline,
        Err(rejection) => return (None, Err(rejection.to_string())),
    };
    let mut scratch = Scratch::default();
    let own = outline.plain_jpeg.and_then(|frame| {
        let mut rows = rows();
        let taken = decoder.decode_plain_jpeg(frame, bytes, &outline, &mut scratch, &mut rows).unwrap();
        taken.then(|| rows.rows.remove(0))
    });
    let mut rows = rows();
    let other = decoder.decode_any(ImageFormat::Jpeg, bytes, &outline, &mut scratch, &mut rows);
    (own, other.map(|()| rows.rows.remove(0)).map_err(|error| error.to_string()))
}

fn differences(one: &[u8], other: &[u8]) -> (f64, u8) {
    assert_eq!(one.len(), other.len());
    let each = || one.iter().zip(other).map(|(one, other)| one.abs_diff(*other));
    (each().map(f64::from).sum::<f64>() / one.len() as f64, each().max().unwrap_or_default())
}

fn assert_alike(options: &ImageOptions, bytes: &[u8], what: &str) {
    let (own, other) = both_ways(options, bytes);
    let own = own.unwrap_or_else(|| panic!("{what}: not decoded as a plain JPEG"));
    let (mean, worst) = differences(&own, &other.unwrap());
    assert!(mean <= TOLERANCE.0 && worst <= TOLERANCE.1, "{what}: mean {mean:.2}, worst {worst}");
}

fn samplings() -> Vec<(&'static str, Kind)> {
    let chroma = |across, down| Kind { across, down, ..COLOUR };
    vec![
        ("4:4:4", chroma(1, 1)),
        ("4:2:2", chroma(2, 1)),
        ("4:4:0", chroma(1, 2)),
        ("4:2:0", chroma(2, 2)),
        ("4:2:0 with restarts", Kind { restart: 3, ..COLOUR }),
        ("gray", GRAY),
    ]
}

const FILTERS: [Filter; 5] = [Filter::Nearest, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3, Filter::Area];

#[test]
fn both_decoders_agree_whatever_the_sampling_size_and_fit() {
    for (name, kind) in samplings() {
        for (width, height) in [(200, 150), (131, 170), (33, 16), (9, 5), (1, 1)] {
            let bytes = file(kind, width, height);
            for fit in [Fit::Cover, Fit::Contain, Fit::Stretch] {
                for filter in FILTERS {
                    let options = ImageOptions { fit, filter, ..options(3, 40, 60) };
                    assert_alike(&options, &bytes, &format!("{name}, {width} x {height}, {fit:?}, {filter:?}"));
                }
            }
            let options = ImageOptions { fit: Fit::Exact, ..options(3, height, width) };
            assert_alike(&options, &bytes, &format!("{name}, {width} x {height}, exact"));
        }
    }
}

#[test]
fn both_decoders_agree_in_every_orientation() {
    for (name, kind) in [("4:2:0", COLOUR), ("4:2:2", Kind { down: 1, ..COLOUR })] {
        // One that is cut on the left and on the right, one above and below; at a quarter of their size, and whole.
        for (width, height) in [(501, 240), (240, 501)] {
            let bytes = file(kind, width, height);
            for orientation in 1..=8 {
                let bytes = oriented(&bytes, orientation);
                for filter in FILTERS {
                    for side in [30, 150] {
                        let options = ImageOptions { fit: Fit::Cover, filter, ..options(3, side, side) };
                        let what =
                            format!("{name}, {width} x {height}, orientation {orientation}, {filter:?}, to {side}");
                        assert_alike(&options, &bytes, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn rows_of_all_kinds_are_made_of_the_same_pixels() {
    let (colour, gray) = (file(COLOUR, 300, 200), file(GRAY, 300, 200));
    for channels in [1, 3, 4] {
        for sample in [SampleType::U8, SampleType::F32] {
            for bytes in [&colour, &gray] {
                let options = ImageOptions { sample, fit: Fit::Cover, ..options(channels, 30, 30) };
                let (own, other) = both_ways(&options, bytes);
                let (own, other) = (own.unwrap(), other.unwrap());
                let (mean, worst) = if sample == SampleType::U8 {
                    differences(&own, &other)
                } else {
                    let small = |row: &[u8]| -> Vec<u8> {
                        row.chunks(4).map(|value| f32::from_le_bytes(value.try_into().unwrap()) as u8).collect()
                    };
                    differences(&small(&own), &small(&other))
                };
                assert!(mean <= TOLERANCE.0 && worst <= TOLERANCE.1, "{channels}, {sample:?}: {mean} {worst}");
            }
        }
    }
}

fn part_of(bytes: &[u8], options: &ImageOptions) -> (jpeg_frame::PlainJpeg, jpeg_part::JpegPart) {
    let frame = ending::check(ImageFormat::Jpeg, bytes).unwrap().plain_jpeg.unwrap();
    let decoder = ImageDecoder::new(options.clone(), Limits::default());
    let raster = Raster { width: frame.width, height: frame.height, channels: frame.components, depth: Depth::U8 };
    let placement = decoder.placement(raster, Turn::NONE).unwrap();
    (frame, part(frame, options.filter, &placement, Turn::NONE))
}

#[test]
fn a_fraction_of_the_size_is_decoded_where_enough_remains() {
    let bytes = file(GRAY, 640, 480);
    let eighths = |filter, rows, columns| {
        let options = ImageOptions { fit: Fit::Stretch, filter, ..options(1, rows, columns) };
        part_of(&bytes, &options).1.wish.eighths
    };
    for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3] {
        for (rows, columns, expected) in [
            (480, 640, 8),
            (960, 1280, 8),
            (81, 106, 8),
            (80, 106, 4),
            (80, 107, 8),
            (41, 53, 4),
            (40, 53, 2),
            (21, 26, 2),
            (20, 26, 1),
            (1, 1, 1),
        ] {
            assert_eq!(eighths(filter, rows, columns), expected, "{filter:?} to {columns} x {rows}");
        }
    }
    assert_eq!((eighths(Filter::Nearest, 1, 1), eighths(Filter::Area, 1, 1)), (8, 8));
}

/// What is left out is not looked at, and what is given is as in the whole picture, to the last bit.
#[test]
fn a_part_is_the_same_as_in_the_whole_picture() {
    for (name, kind) in samplings() {
        for (width, height) in [(501, 120), (120, 501), (333, 333)] {
            let bytes = file(kind, width, height);
            for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Area] {
                for (rows, columns) in [(50, 50), (90, 300), (300, 90), (100, 7), (7, 100), (9, 9)] {
                    let options = ImageOptions { fit: Fit::Cover, filter, ..options(3, rows, columns) };
                    let (frame, part) = part_of(&bytes, &options);
                    let (eighths, components) = (part.wish.eighths, frame.components);
                    let whole = Wish {
                        left: 0,
                        top: 0,
                        part_width: Wish::scaled(frame.width, eighths),
                        part_height: Wish::scaled(frame.height, eighths),
                        ..part.wish
                    };
                    let what = format!("{name}, {width} x {height}, {filter:?}: {:?}", part.wish);
                    let decoded = |wish: &Wish| {
                        let mut pixels = vec![0; (wish.part_width * wish.part_height) as usize * components];
                        Decoder::default().decode(&bytes, wish, &mut pixels).unwrap_or_else(|_| panic!("{what}"));
                        pixels
                    };
                    let (some, all) = (decoded(&part.wish), decoded(&whole));
                    // The columns beside a cut have no neighbours for their chroma.
                    let first = if part.wish.left > 0 { 2 } else { 0 };
                    let is_cut = part.wish.left + part.wish.part_width < whole.part_width;
                    let end = part.wish.part_width as usize - if is_cut { 2 } else { 0 };
                    for line in 0..part.wish.part_height as usize {
                        let own = line * part.wish.part_width as usize;
                        let other =
                            (line + part.wish.top as usize) * whole.part_width as usize + part.wish.left as usize;
                        assert_eq!(
                            some[(own + first) * components..(own + end) * components],
                            all[(other + first) * components..(other + end) * components],
                            "{what}, line {line}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_kernel_never_reaches_the_sides_that_were_cut() {
    let bytes = file(COLOUR, 501, 120);
    let options = ImageOptions { fit: Fit::Cover, filter: Filter::Lanczos3, ..options(3, 20, 20) };
    let (_, part) = part_of(&bytes, &options);
    // 120 of 501 columns are taken, from 190.5 on; at half the size the kernel looks 9 further.
    assert_eq!((part.wish.eighths, part.wish.left % 8), (4, 0));
    let (left, right) = (part.placement.source.left, part.placement.source.left + part.placement.source.width);
    assert!(left - 9.0 >= 2.0 && right + 9.0 <= f64::from(part.wish.part_width) - 2.0, "{part:?}");
    // Of 251.
    assert!(part.wish.part_width < 125, "{part:?}");
}

/// A file that something is wrong with ends as it always did, with the same words or the same pixels.
#[test]
fn damaged_files_end_as_before() {
    let mut next = generator();
    let options = ImageOptions { fit: Fit::Cover, ..options(3, 20, 20) };
    let (mut refused, mut passed) = (0, 0);
    let mut files: Vec<(String, Vec<u8>)> =
        samplings().into_iter().map(|(name, kind)| (name.to_owned(), file(kind, 90, 60))).collect();
    // Others have codes of many lengths, in which more damage looks like a picture.
    for name in ["odd/UPPER.JPG", "odd/progressive.jpg", "photos/nature/cat-face.jpg", "photos/space/rocket-tall.jpg"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
        files.push((name.to_owned(), std::fs::read(path).unwrap()));
    }
    for (name, whole) in files {
        for _ in 0..100 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next() % 3 {
                let place = next() % bytes.len();
                bytes[place] = next() as u8;
            }
            let (own, other) = both_ways(&options, &bytes);
            match (own, other) {
                (Some(_), Err(reason)) => panic!("{name}: was refused, and is not now: {reason}"),
                (Some(_), Ok(_)) => passed += 1,
                (None, _) => refused += 1,
            }
        }
    }
    assert!(refused > 100 && passed > 40, "{refused} refused, {passed} passed");
}

#[test]
fn what_the_library_complains_about_goes_the_other_way() {
    let options = options(3, 20, 20);
    let whole = file(COLOUR, 90, 60);
    let scan = whole.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap() + 14;
    let cut = |from: usize, to: usize| [&whole[..from], &whole[to..]].concat();
    // Data that end early; a stray byte before the end; a warning of no weight.
    let early = cut(scan + 400, whole.len() - 2);
    let stray = [&whole[..whole.len() - 2], &[1, 2, 3], &whole[whole.len() - 2..]].concat();
    for (name, bytes) in [("early", &early), ("stray", &stray)] {
        assert_eq!(both_ways(&options, bytes).0, None, "{name}");
        let expected = both_ways(&options, bytes).1;
        let found = decode_with(options.clone(), Limits::default(), bytes);
        assert_eq!(found.map(|mut rows| rows.rows.remove(0)).map_err(|error| error.to_string()), expected, "{name}");
    }
    // Below what is taken of the picture, too.
    let tall = file(COLOUR, 60, 300);
    let damaged = [&tall[..tall.len() - 300], &[0xFF, 0xD9]].concat();
    let options = ImageOptions { fit: Fit::Cover, ..options };
    assert!(both_ways(&options, &tall).0.is_some());
    assert_eq!(both_ways(&options, &damaged).0, None);
}

#[test]
fn other_jpegs_have_the_decoder_that_they_had() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/odd");
    let cmyk = std::fs::read(folder.join("cmyk.jpg")).unwrap();
    let options = options(3, 20, 30);
    let (own, other) = both_ways(&options, &cmyk);
    assert_eq!(own, None);
    assert_eq!(decode(options.clone(), &cmyk), other.unwrap());
    for name in ["progressive.jpg", "exif-rotated.jpg", "exif-mirrored.jpg", "UPPER.JPG"] {
        assert_alike(&options, &std::fs::read(folder.join(name)).unwrap(), name);
    }
}

#[test]
fn limits_hold_before_anything_is_decoded() {
    let bytes = file(COLOUR, 90, 60);
    for (limits, reason) in [
        (
            Limits { max_pixels: 5399, ..Limits::default() },
            "the image is 90 x 60 pixels, 5400 in all, more than the limit of 5399",
        ),
        (
            Limits { max_decoded_bytes: 16_199, ..Limits::default() },
            "the image is 90 x 60 pixels and takes 16200 bytes to decode, more than the limit of 16199",
        ),
    ] {
        let refused = decode_with(options(3, 9, 9), limits, &bytes).map(|_| ()).unwrap_err();
        assert_eq!(refused.to_string(), reason);
    }
    let exact = ImageOptions { fit: Fit::Exact, ..options(3, 9, 9) };
    assert_eq!(
        reason(exact, &bytes),
        "the image is 90 x 60 (width x height), expected 9 x 9: resize it, or use another `fit`"
    );
}

#[test]
fn a_decoder_goes_on_after_a_file_that_it_refused() {
    let bytes = file(COLOUR, 90, 60);
    let wish =
        Wish { width: 90, height: 60, components: 3, eighths: 8, left: 0, top: 0, part_width: 90, part_height: 60 };
    let mut decoder = Decoder::default();
    let mut pixels = vec![0; 90 * 60 * 3];
    decoder.decode(&bytes, &wish, &mut pixels).unwrap();
    let expected = pixels.clone();
    for (bytes, wish) in [
        (&bytes[..bytes.len() / 2], wish),
        (&bytes[..0], wish),
        (&bytes[..], Wish { width: 91, ..wish }),
        (&bytes[..], Wish { left: 8, ..wish }),
        (&bytes[..], Wish { left: 5, part_width: 40, ..wish }),
        (&bytes[..], Wish { top: 1, ..wish }),
        (&bytes[..], Wish { part_width: 0, ..wish }),
        (&bytes[..], Wish { components: 1, ..wish }),
        (&bytes[..], Wish { components: 4, ..wish }),
        (&bytes[..], Wish { eighths: 3, ..wish }),
    ] {
        assert!(decoder.decode(bytes, &wish, &mut pixels).is_err(), "{wish:?}");
    }
    assert!(decoder.decode(&bytes, &wish, &mut [0; 90 * 60 * 3 - 1]).is_err());
    pixels.fill(0);
    decoder.decode(&bytes, &wish, &mut pixels).unwrap();
    assert_eq!(pixels, expected);
}
