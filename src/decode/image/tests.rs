//! Whole files, made here, through the whole decoder.

#[cfg(feature = "turbo")]
mod jpeg;
#[cfg(feature = "turbo")]
mod jpeg_encoder;

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::{Delay, DynamicImage, Frame, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;
use crate::config::{Filter, Fit, Layout};

/// Keeps every row.
#[derive(Default)]
struct Rows {
    row_bytes: usize,
    rows: Vec<Vec<u8>>,
    times_s: Vec<f64>,
    /// Refuse after that many.
    rows_max: Option<usize>,
}

impl RowSink for Rows {
    fn row(&mut self, time_s: f64) -> Result<&mut [u8], DecodeError> {
        if self.rows_max == Some(self.rows.len()) {
            return Err(DecodeError::Interrupted);
        }
        self.times_s.push(time_s);
        self.rows.push(vec![0xEE; self.row_bytes]);
        Ok(self.rows.last_mut().unwrap())
    }

    fn rows(&mut self, _: usize) -> Result<&mut [u8], DecodeError> {
        panic!("each row of an image has its time")
    }

    fn give_back(&mut self, _: usize) {
        panic!("each row of an image is filled")
    }

    fn rows_are_source(&mut self) {
        panic!("no image is its rows")
    }

    fn note(&mut self, note: String) {
        panic!("{note}")
    }
}

/// For a row of this size: stretched, of `u1`.
pub(super) fn options(channels: usize, height: usize, width: usize) -> ImageOptions {
    ImageOptions {
        fit: Fit::Stretch,
        filter: Filter::Bilinear,
        layout: Layout::Hwc,
        channels,
        channel_axis: true,
        height,
        width,
        sample: SampleType::U8,
        big_endian: false,
        pad: vec![0.0; channels],
        scale: 1.0,
        mean: vec![0.0; channels],
        std: vec![1.0; channels],
        orient: true,
        alpha: Alpha::Drop,
        frames: Frames::First,
    }
}

fn decode_with(options: ImageOptions, limits: Limits, bytes: &[u8]) -> Result<Rows, DecodeError> {
    let decoder = ImageDecoder::new(options, limits);
    let mut rows = Rows { row_bytes: decoder.writer.row_bytes(), ..Rows::default() };
    decoder.decode(bytes, None, &mut rows).map(|()| rows)
}

fn decode(options: ImageOptions, bytes: &[u8]) -> Vec<u8> {
    let mut rows = decode_with(options, Limits::default(), bytes).unwrap();
    assert_eq!(rows.rows.len(), 1);
    rows.rows.remove(0)
}

fn reason(options: ImageOptions, bytes: &[u8]) -> String {
    match decode_with(options, Limits::default(), bytes) {
        Err(DecodeError::Rejected(rejection)) => rejection.reason.into_owned(),
        Err(other) => panic!("not a rejection: {other}"),
        Ok(_) => panic!("not rejected"),
    }
}

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Every pixel tells its place.
fn places(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8 * 10, y as u8 * 10, 7]))
}

/// A PNG with an orientation behind its pixels.
fn oriented_png(image: RgbImage, orientation: u8) -> Vec<u8> {
    let mut bytes = encode(image, ImageFormat::Png);
    let end = bytes.split_off(bytes.len() - 12);
    let exif = [b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&(exif.len() as u32).to_be_bytes());
    bytes.extend_from_slice(b"eXIf");
    bytes.extend_from_slice(&exif);
    // Nobody reads that far but the walk to the end, which leaves checksums alone.
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&end);
    bytes
}

#[test]
fn lossless_formats_of_the_right_size_are_given_back_exactly() {
    let image = places(5, 3);
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Qoi,
        ImageFormat::Tiff,
        ImageFormat::Pnm,
        ImageFormat::WebP,
        ImageFormat::Ico,
    ] {
        let source: DynamicImage = if format == ImageFormat::Ico {
            DynamicImage::from(image.clone()).to_rgba8().into()
        } else {
            image.clone().into()
        };
        assert_eq!(decode(options(3, 3, 5), &encode(source, format)), image.as_raw().as_slice(), "{format:?}");
    }
}

#[test]
fn a_tga_goes_by_its_extension() {
    let image = places(4, 4);
    let bytes = encode(image.clone(), ImageFormat::Tga);
    let decoder = ImageDecoder::new(options(3, 4, 4), Limits::default());
    let mut rows = Rows { row_bytes: 48, ..Rows::default() };
    decoder.decode(&bytes, Some("tga"), &mut rows).unwrap();
    assert_eq!(rows.rows, [image.into_raw()]);
    assert!(decoder.decode(&bytes, Some("png"), &mut rows).is_err());
}

#[test]
fn all_orientations_with_every_fit_equal_turning_first() {
    let image = places(13, 7);
    for tag in 1..=8 {
        let mut turned = DynamicImage::from(image.clone());
        turned.apply_orientation(Orientation::from_exif(tag).unwrap());
        let (width, height) = (turned.width() as usize, turned.height() as usize);
        for fit in [Fit::Cover, Fit::Contain, Fit::Stretch, Fit::Exact] {
            for filter in [Filter::Nearest, Filter::Area, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3] {
                let (rows, columns) = if fit == Fit::Exact { (height, width) } else { (5, 6) };
                let options = ImageOptions { fit, filter, ..options(3, rows, columns) };
                let expected = decode(options.clone(), &encode(turned.clone(), ImageFormat::Png));
                let found = decode(options, &oriented_png(image.clone(), tag));
                let largest = expected.iter().zip(&found).map(|(one, other)| one.abs_diff(*other)).max();
                assert!(largest <= Some(1), "orientation {tag}, {fit:?}, {filter:?}: {largest:?}");
                if matches!(filter, Filter::Nearest | Filter::Area) || fit == Fit::Exact {
                    assert_eq!(expected, found, "orientation {tag}, {fit:?}, {filter:?}");
                }
            }
        }
    }
}

#[test]
fn orientation_can_be_left_alone() {
    let image = places(4, 2);
    let options = ImageOptions { orient: false, ..options(3, 2, 4) };
    assert_eq!(decode(options, &oriented_png(image.clone(), 6)), image.into_raw());
}

#[test]
fn exact_compares_the_oriented_size() {
    let bytes = oriented_png(places(4, 2), 6);
    let exact = |height, width| ImageOptions { fit: Fit::Exact, ..options(3, height, width) };
    assert!(decode_with(exact(4, 2), Limits::default(), &bytes).is_ok());
    assert_eq!(
        reason(exact(2, 4), &bytes),
        "the image is 2 x 4 (width x height), expected 4 x 2: resize it, or use another `fit`"
    );
}

#[test]
fn contain_centres_and_pads() {
    let options = ImageOptions { fit: Fit::Contain, pad: vec![1.0, 2.0, 3.0], ..options(3, 4, 2) };
    let row = decode(options, &encode(RgbImage::from_pixel(6, 6, Rgb([50, 60, 70])), ImageFormat::Png));
    assert_eq!(
        row,
        [[1, 2, 3, 1, 2, 3], [50, 60, 70, 50, 60, 70], [50, 60, 70, 50, 60, 70], [1, 2, 3, 1, 2, 3]].concat()
    );
}

#[test]
fn sixteen_bits_survive_where_the_row_has_room() {
    let values: Vec<u16> = vec![0, 1, 256, 65535, 4660, 32896];
    let image: image::ImageBuffer<image::Luma<u16>, Vec<u16>> =
        image::ImageBuffer::from_raw(3, 2, values.clone()).unwrap();
    let bytes = encode(image, ImageFormat::Png);
    let wide = ImageOptions { sample: SampleType::U16, ..options(1, 2, 3) };
    let row = decode(wide, &bytes);
    assert_eq!(row, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    assert_eq!(decode(options(1, 2, 3), &bytes), [0, 0, 1, 255, 18, 128]);
}

#[test]
fn float_images_are_on_the_same_scale() {
    let image = image::Rgb32FImage::from_pixel(2, 1, Rgb([0.0, 1.0, 4.0]));
    let bytes = encode(image, ImageFormat::OpenExr);
    assert_eq!(decode(options(3, 1, 2), &bytes), [0, 255, 255, 0, 255, 255]);
    let float = ImageOptions { sample: SampleType::F32, ..options(3, 1, 2) };
    let row: Vec<f32> =
        decode(float, &bytes).chunks(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect();
    assert_eq!(row, [0.0, 255.0, 1020.0, 0.0, 255.0, 1020.0]);
}

#[test]
fn every_frame_of_a_gif_is_a_row_at_its_time() {
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new(&mut bytes);
        for (gray, delay_ms) in [(0, 100), (100, 40), (255, 70)] {
            let canvas = RgbaImage::from_pixel(4, 4, Rgba([gray, gray, gray, 255]));
            encoder.encode_frame(Frame::from_parts(canvas, 0, 0, Delay::from_numer_denom_ms(delay_ms, 1))).unwrap();
        }
    }
    let all = ImageOptions { frames: Frames::All, ..options(1, 1, 1) };
    let rows = decode_with(all.clone(), Limits::default(), &bytes).unwrap();
    assert_eq!(rows.rows, [[0], [100], [255]]);
    assert_eq!(rows.times_s, [0.0, 0.1, 0.14]);
    assert_eq!(decode(options(1, 1, 1), &bytes), [0]);

    let decoder = ImageDecoder::new(all, Limits::default());
    let mut rows = Rows { row_bytes: 1, rows_max: Some(2), ..Rows::default() };
    assert!(matches!(decoder.decode(&bytes, None, &mut rows), Err(DecodeError::Interrupted)));
    assert_eq!(rows.rows.len(), 2);
}

#[test]
fn a_still_image_is_one_row_also_where_all_frames_are_wanted() {
    let all = ImageOptions { frames: Frames::All, ..options(3, 3, 5) };
    let rows = decode_with(all, Limits::default(), &encode(places(5, 3), ImageFormat::Png)).unwrap();
    assert_eq!((rows.rows.len(), rows.times_s), (1, vec![0.0]));
}

#[test]
fn limits_hold_for_stills_and_animations() {
    let limits = Limits { max_pixels: 10, max_decoded_bytes: 1000 };
    for format in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Jpeg, ImageFormat::Bmp] {
        for frames in [Frames::First, Frames::All] {
            let options = ImageOptions { frames, ..options(3, 3, 5) };
            let refused = decode_with(options, limits, &encode(places(5, 3), format)).map(|_| ()).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "the image is 5 x 3 pixels, 15 in all, more than the limit of 10",
                "{format:?}"
            );
        }
    }
}

#[test]
fn the_canvases_of_an_animation_count() {
    let bytes = encode(DynamicImage::from(places(10, 10)).to_rgba8(), ImageFormat::Gif);
    let limits = Limits { max_pixels: 100, max_decoded_bytes: 1500 };
    assert!(decode_with(options(3, 3, 5), limits, &bytes).is_ok());
    let all = ImageOptions { frames: Frames::All, ..options(3, 3, 5) };
    let refused = decode_with(all, limits, &bytes).map(|_| ()).unwrap_err().to_string();
    assert_eq!(refused, "the image is 10 x 10 pixels and takes 1600 bytes to decode, more than the limit of 1500");
}

#[test]
fn a_file_that_was_cut_short_gives_no_row() {
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Gif,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Qoi,
        ImageFormat::Tiff,
        ImageFormat::Pnm,
    ] {
        let whole = encode(places(25, 20), format);
        for length in 0..whole.len() {
            let result = decode_with(options(3, 8, 8), Limits::default(), &whole[..length]);
            assert!(
                matches!(result, Err(DecodeError::Rejected(_))),
                "{format:?} with {length} of {} bytes",
                whole.len()
            );
        }
    }
    let jpeg = encode(places(25, 20), ImageFormat::Jpeg);
    assert_eq!(
        reason(options(3, 8, 8), &jpeg[..jpeg.len() - 1]),
        format!("the JPEG ends after {} bytes without an end-of-image marker: it was cut short", jpeg.len() - 1)
    );
}

#[test]
fn the_words_of_the_library_are_passed_on() {
    let mut bytes = encode(places(5, 3), ImageFormat::Png);
    bytes[45] ^= 0xFF;
    let reason = reason(options(3, 3, 5), &bytes);
    assert!(reason.starts_with("PNG: ") && !reason.contains('\n'), "{reason}");
}

/// Numbers that look random, the same ones on every run.
fn generator() -> impl FnMut() -> usize {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    }
}

#[test]
fn damaged_bytes_are_refused_or_decoded_but_never_a_panic() {
    let mut next = generator();
    for format in
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::Pnm, ImageFormat::Qoi]
    {
        let whole = encode(places(25, 20), format);
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next() % 4 {
                let place = next() % bytes.len();
                bytes[place] = next() as u8;
            }
            let options = ImageOptions { frames: Frames::All, ..options(3, 8, 8) };
            let limits = Limits { max_pixels: 1 << 20, max_decoded_bytes: 1 << 24 };
            let _ = decode_with(options, limits, &bytes);
        }
    }
}

/// The library ends such a picture without an error and without its last lines, where the buffer then held those of
/// whatever had been decoded before.
#[test]
fn no_picture_shows_through_another() {
    let noise = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (x ^ (y * 7)) as u8]));
    let whole = encode(noise, ImageFormat::Jpeg);
    let scan = whole.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
    let header_end = scan + 2 + usize::from(u16::from_be_bytes([whole[scan + 2], whole[scan + 3]]));
    let middle = (header_end + whole.len()) / 2;
    let middle = (middle..).find(|place| whole[*place - 1] != 0xFF).unwrap();
    let damaged = [&whole[..middle], &whole[scan..header_end], &whole[middle..]].concat();

    let decoder = ImageDecoder::new(options(3, 64, 64), Limits::default());
    let rows_after = |shade: u8| {
        let mut rows = Rows { row_bytes: decoder.writer.row_bytes(), ..Rows::default() };
        decoder
            .decode(&encode(RgbImage::from_pixel(64, 64, Rgb([shade; 3])), ImageFormat::Png), None, &mut rows)
            .unwrap();
        rows.rows.clear();
        let result = decoder.decode(&damaged, None, &mut rows);
        (result.map_err(|error| error.to_string()), rows.rows)
    };
    let reason = "JPEG: the data ends before the last line of the picture: the file is damaged";
    assert_eq!(rows_after(10), (Err(reason.to_owned()), vec![]));
    assert_eq!(rows_after(200), (Err(reason.to_owned()), vec![]));
}
