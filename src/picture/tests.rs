use super::*;

fn dtype(text: &str) -> Dtype {
    Dtype::parse(text).unwrap()
}

#[test]
fn shapes_have_their_looks() {
    let look = |shape: &[usize]| Look::of(&dtype("u1"), shape).unwrap();
    let picture = |start, height, width, channels, planar| Look::Picture { start, height, width, channels, planar };
    assert_eq!(look(&[224, 200]), picture(0, 224, 200, 1, false));
    assert_eq!(look(&[224, 200, 3]), picture(0, 224, 200, 3, false));
    assert_eq!(look(&[3, 224, 200]), picture(0, 224, 200, 3, true));
    assert_eq!(look(&[5, 10, 10, 3]), picture(600, 10, 10, 3, false));
    assert_eq!(look(&[16000]), Look::Signal { samples: 16000, channels: 1 });
    assert_eq!(look(&[16000, 2]), Look::Signal { samples: 16000, channels: 2 });
    assert!(Look::of(&dtype("[('a', '<f4')]"), &[3]).unwrap_err().contains("no numbers"));
    assert!(Look::of(&dtype("S3"), &[]).is_err());
}

#[test]
fn bytes_keep_their_colours_in_either_layout() {
    let interleaved: Vec<u8> = [[10, 20, 30]; 100].concat();
    let planar: Vec<u8> = [[10; 100], [20; 100], [30; 100]].concat();
    for (shape, bytes) in [(vec![10, 10, 3], interleaved), (vec![3, 10, 10], planar)] {
        let look = Look::of(&dtype("u1"), &shape).unwrap();
        let drawn = picture(&dtype("u1"), look, &bytes, 10);
        assert_eq!(drawn.dimensions(), (10, 10));
        assert!(drawn.pixels().all(|pixel| pixel.0 == [10, 20, 30]), "{shape:?}");
    }
}

#[test]
fn of_a_huge_picture_no_more_is_looked_at_than_is_shown() {
    let (height, width) = (300, 400);
    for (planar, shape) in [(false, vec![height, width, 3]), (true, vec![3, height, width])] {
        let bytes: Vec<u8> = (0..height * width * 3)
            .map(|place| {
                let pixel = if planar { place % (height * width) } else { place / 3 };
                // Left and right, top and bottom.
                let side = if pixel % width < width / 2 { 10 } else { 200 };
                side + u8::from(pixel / width >= height / 2)
            })
            .collect();
        let drawn = picture(&dtype("u1"), Look::of(&dtype("u1"), &shape).unwrap(), &bytes, 40);
        assert_eq!(drawn.dimensions(), (40, 30));
        let corners = [(1, 1), (38, 1), (1, 28), (38, 28)].map(|(x, y)| drawn.get_pixel(x, y).0);
        assert_eq!(corners, [[10; 3], [200; 3], [11; 3], [201; 3]], "{planar}");
        let size = [0, height, width, 3];
        assert_eq!(frame(&dtype("u1"), &bytes, size, planar, 40).dimensions(), (80, 60));
    }
}

#[test]
fn wider_numbers_are_scaled_in_either_byte_order() {
    let bytes = |order: fn(f32) -> [u8; 4]| [-1.0, 0.0, 1.0].iter().flat_map(|v| [*v; 27]).flat_map(order).collect();
    for (text, bytes) in [("<f4", bytes(f32::to_le_bytes)), (">f4", bytes(f32::to_be_bytes))] {
        let bytes: Vec<u8> = bytes;
        let look = Look::Picture { start: 0, height: 9, width: 9, channels: 1, planar: false };
        let drawn = picture(&dtype(text), look, &bytes, 9);
        assert_eq!([drawn.get_pixel(0, 0).0[0], drawn.get_pixel(0, 4).0[0], drawn.get_pixel(0, 8).0[0]], [0, 128, 255]);
    }
    let deep: Vec<u8> = [0x80_01_u16; 81].iter().flat_map(|v| v.to_le_bytes()).collect();
    let look = Look::of(&dtype("<u2"), &[9, 9]).unwrap();
    assert_eq!(picture(&dtype("<u2"), look, &deep, 9).get_pixel(0, 0).0[0], 128);
}

#[test]
fn what_is_no_number_does_not_spoil_the_rest() {
    let numbers = [f32::NAN, f32::INFINITY, 0.0, 10.0];
    let bytes: Vec<u8> = numbers.iter().cycle().take(100).flat_map(|v| v.to_le_bytes()).collect();
    let look = Look::Picture { start: 0, height: 10, width: 10, channels: 1, planar: false };
    let drawn = picture(&dtype("<f4"), look, &bytes, 10);
    assert_eq!([0, 1, 2, 3].map(|x| drawn.get_pixel(x, 0).0[0]), [0, 255, 0, 255]);
}

#[test]
fn a_signal_is_a_plot_with_ink_on_it() {
    let wave: Vec<u8> = (0..16000).flat_map(|i| ((f64::from(i) / 50.0).sin() as f32).to_le_bytes()).collect();
    let look = Look::of(&dtype("<f4"), &[16000]).unwrap();
    let drawn = picture(&dtype("<f4"), look, &wave, 300);
    let ground = drawn.get_pixel(0, 0);
    assert_eq!(drawn.dimensions(), (300, 100));
    assert!(drawn.pixels().filter(|pixel| *pixel != ground).count() > 3000);
    let drawn = svg(&dtype("<f4"), look, &wave);
    assert!(drawn.starts_with("<svg") && drawn.contains("<path") && !drawn.contains("NaN"), "{drawn}");
}

#[test]
fn a_sheet_has_a_cell_for_each_row() {
    let cells: Vec<RgbImage> = (0..5).map(|i| RgbImage::from_pixel(20, 10, Rgb([i * 10, 0, 0]))).collect();
    let drawn = sheet(&cells);
    assert!(drawn.width() >= 40 && drawn.height() >= 30, "{:?}", drawn.dimensions());
    for i in 0..5 {
        assert!(drawn.pixels().filter(|pixel| pixel.0 == [i * 10, 0, 0]).count() >= 200, "cell {i}");
    }
}
