//! Files that were created and appended to, read by other Rust libraries.

use std::path::{Path, PathBuf};

use ndarray::{Array1, Array3, Axis};
use npy_ingest::npy::{AppendOptions, Appender, Array, ArrayInput, Dtype, Element, RecoverOptions, recover};

/// Creates an array of rows of shape (2, 3), appends in three ways, and gives its path.
fn grown<T: Element>(folder: &Path, name: &str, values: &[T]) -> PathBuf {
    let path = folder.join(name);
    let appender = Appender::create(&path, &T::dtype(), &[2, 3], AppendOptions::default()).unwrap();
    appender.append(&values[..6]).unwrap();
    appender.append_bytes(bytemuck::cast_slice(&values[6..18])).unwrap();
    drop(appender);
    let appender = Appender::open(&path, AppendOptions::default()).unwrap();
    appender.append(&values[18..]).unwrap();
    appender.close().unwrap();
    path
}

#[test]
fn npyz_and_ndarray_npy_read_what_was_appended() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..30_u8).map(f32::from).collect();
    let path = grown(folder.path(), "f4.npy", &values);
    let read = npyz::NpyFile::new(std::fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(read.shape(), [5, 2, 3]);
    assert_eq!(read.into_vec::<f32>().unwrap(), values);
    let read: Array3<f32> = ndarray_npy::read_npy(&path).unwrap();
    assert_eq!(read, Array3::from_shape_vec((5, 2, 3), values).unwrap());

    let values: Vec<i64> = (0..24).map(|value| value - 7).collect();
    let path = grown(folder.path(), "i8.npy", &values);
    assert_eq!(npyz::NpyFile::new(std::fs::File::open(&path).unwrap()).unwrap().into_vec::<i64>().unwrap(), values);
    assert_eq!(ndarray_npy::read_npy::<_, Array3<i64>>(&path).unwrap().into_raw_vec_and_offset().0, values);
}

#[test]
fn files_of_ndarray_npy_and_npyz_are_appended_to_and_from() {
    let folder = tempfile::tempdir().unwrap();
    let (output, input) = (folder.path().join("a.npy"), folder.path().join("b.npy"));
    let first = Array3::from_shape_fn((2, 3, 4), |(a, b, c)| (a * 100 + b * 10 + c) as f64);
    ndarray_npy::write_npy(&output, &first).unwrap();
    // In Fortran order, so that it has to be turned.
    let second = Array3::from_shape_fn((5, 3, 4), |(a, b, c)| (a * 7 + b * 11 + c) as f64);
    let turned = second.t().as_standard_layout().into_owned();
    ndarray_npy::write_npy(&input, &turned.t()).unwrap();
    assert!(ArrayInput::open(&input).unwrap().header().fortran_order);
    let appender = Appender::open(&output, AppendOptions::default()).unwrap();
    assert_eq!(appender.append_array(&mut ArrayInput::open(&input).unwrap(), false).unwrap(), 2..7);
    drop(appender);
    let read: Array3<f64> = ndarray_npy::read_npy(&output).unwrap();
    assert_eq!(read, ndarray::concatenate(Axis(0), &[first.view(), second.view()]).unwrap());

    npyz::to_file_1d(&output, 0..100_u16).unwrap();
    let appender = Appender::open(&output, AppendOptions::default()).unwrap();
    appender.append(&[100_u16, 101]).unwrap();
    drop(appender);
    assert_eq!(ndarray_npy::read_npy::<_, Array1<u16>>(&output).unwrap(), Array1::from_iter(0..102));
    assert!(!recover(&output, RecoverOptions::default()).unwrap().is_changed());
}

#[cfg(feature = "ndarray")]
#[test]
fn views_have_the_indices_of_numpy() {
    use ndarray::s;
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<u16> = (0..30).collect();
    let path = grown(folder.path(), "u2.npy", &values);
    let array = Array::open(&path).unwrap();
    let view = array.view::<u16>().unwrap();
    assert_eq!((view.shape(), view[[4, 1, 2]]), (&[5, 2, 3][..], 29));
    assert_eq!(view.slice(s![1, .., 0]).to_vec(), [6, 9]);
    let fortran = folder.path().join("f.npy");
    ndarray_npy::write_npy(&fortran, &view.view().reversed_axes()).unwrap();
    let array = Array::open(&fortran).unwrap();
    assert!(array.fortran_order());
    assert_eq!(array.view::<u16>().unwrap()[[2, 1, 4]], 29);
}

#[test]
fn an_array_reads_what_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    ndarray_npy::write_npy(&path, &Array1::from_iter(0..10_u32)).unwrap();
    let array = Array::open(&path).unwrap();
    assert_eq!((array.dtype(), array.shape()), (&Dtype::parse("u4").unwrap(), &[10][..]));
    assert_eq!(array.values::<u32>().unwrap()[9], 9);
}
