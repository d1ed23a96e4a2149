use std::io::Write;

use super::super::dtype::Dtype;
use super::super::header::Version;
use super::super::header::tests::wrap;
use super::*;

fn file(parts: &[&[u8]]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for part in parts {
        file.write_all(part).unwrap();
    }
    file
}

fn ours(rows: u64) -> Vec<u8> {
    Layout::new(&Dtype::parse("<u2").unwrap(), &[3]).unwrap().header(rows).unwrap()
}

#[test]
fn measures_what_is_there() {
    let exact = inspect(file(&[&ours(4), &[0; 24]]).path()).unwrap();
    assert_eq!((exact.rows, exact.rows_present, exact.tail), (Some(4), Some(4), Tail::Exact));
    assert_eq!((exact.file_bytes, exact.data_bytes_expected, exact.data_bytes_present), (152, 24, 24));
    assert!(exact.own_layout);
    assert_eq!(exact.growth, Growth::Window { offset: 64, width: 16 });
    assert_eq!(exact.header_bytes, ours(4));

    let past = inspect(file(&[&ours(4), &[0; 31]]).path()).unwrap();
    assert_eq!((past.rows, past.rows_present, past.tail), (Some(4), Some(5), Tail::Past { bytes: 7 }));
    let missing = inspect(file(&[&ours(4), &[0; 23]]).path()).unwrap();
    assert_eq!((missing.rows, missing.rows_present, missing.tail), (Some(4), Some(3), Tail::Missing { bytes: 1 }));
    let none = inspect(file(&[&ours(0)]).path()).unwrap();
    assert_eq!((none.rows, none.rows_present, none.tail), (Some(0), Some(0), Tail::Exact));
}

#[test]
fn arrays_without_rows_have_no_count() {
    let text = "{'descr': '<u2', 'fortran_order': False, 'shape': (), }";
    let single = inspect(file(&[&wrap(Version::V1_0, text), &[0; 2]]).path()).unwrap();
    assert_eq!((single.rows, single.rows_present, single.tail), (None, None, Tail::Exact));
    assert_eq!((single.rows_max_in_place, single.own_layout), (None, false));
    assert_eq!(single.growth.to_string(), "no: the array has no dimensions, so it holds exactly one element");
    let text = "{'descr': '<u2', 'fortran_order': False, 'shape': (5, 0), }";
    let empty = inspect(file(&[&wrap(Version::V1_0, text)]).path()).unwrap();
    assert_eq!((empty.rows, empty.rows_present, empty.tail), (Some(5), None, Tail::Exact));
}

#[test]
fn headers_longer_than_one_read_are_read_whole() {
    let fields = (0..2_000).map(|index| (format!("field_{index}"), Dtype::u1()));
    let layout = Layout::new(&Dtype::structured(fields).unwrap(), &[]).unwrap();
    assert!(layout.data_start() > 4 * FIRST_READ_BYTES as u64);
    let found = inspect(file(&[&layout.header(1).unwrap(), &[0; 2_000]]).path()).unwrap();
    assert_eq!((found.rows, found.tail), (Some(1), Tail::Exact));
}

#[test]
fn errors_tell_short_from_foreign_files() {
    let says = |parts: &[&[u8]]| inspect(file(parts).path()).unwrap_err().to_string();
    assert_eq!(says(&[]), "the file ends within its header: it has 0 bytes, and the header needs 10");
    assert_eq!(says(&[&ours(1)[..100]]), "the file ends within its header: it has 100 bytes, and the header needs 128");
    assert!(says(&[b"GIF89a, and more"]).starts_with("not a .npy file: it starts with \"GIF89a\""));
    let folder = tempfile::tempdir().unwrap();
    assert!(inspect(folder.path()).unwrap_err().to_string().ends_with("is not a regular file"));
    assert!(matches!(inspect(&folder.path().join("absent")), Err(InspectError::Open { .. })));
}

#[test]
fn a_torn_header_is_read_again() {
    // The count changes from 99 to 100, and the first read sees half of each.
    let (before, after) = (ours(99), ours(100));
    let mut torn = after.clone();
    torn[79] = before[79];
    // Taken from the end.
    let mut reads = vec![after.clone(), after.clone(), before, torn];
    let (header, bytes) = read_settled(|_| Ok(reads.pop().expect("four reads"))).unwrap();
    assert_eq!((header.rows(), bytes), (Some(100), after.clone()));
    assert!(reads.is_empty());

    let mut count = 0;
    let never = read_settled(|_| {
        count += 1;
        Ok(ours(count))
    });
    assert!(matches!(never, Err(InspectError::Unsettled)));
}

#[test]
fn a_writer_never_makes_a_growing_file_look_cut_short() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let file = file(&[&ours(0)]);
    let layout = Layout::new(&Dtype::parse("<u2").unwrap(), &[3]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for rows in 1..=20_000_u64 {
                file.as_file().write_all_at(&[1; 6], layout.data_start() + (rows - 1) * 6).unwrap();
                file.as_file().write_all_at(&Layout::count(rows).unwrap(), layout.window_offset()).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            let seen = inspect(file.path()).unwrap();
            assert!(!matches!(seen.tail, Tail::Missing { .. }), "{seen:?}");
            assert!(seen.rows.unwrap() >= last);
            last = seen.rows.unwrap();
        }
    });
    assert_eq!(inspect(file.path()).unwrap().rows, Some(20_000));
}
