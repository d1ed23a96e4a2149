use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::header::Header;
use super::super::header::tests::wrap;
use super::super::header::{MAGIC, Version};
use super::super::inspect::{Tail, inspect};
use super::super::{Array, RecoverOptions, WidenOptions, ensure_appendable, recover};
use super::*;

fn in_folder(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// An array of shape (rows, 3) as NumPy writes it.
fn of_numpy(rows: u16) -> Vec<u8> {
    let text = format!("{{'descr': '<u2', 'fortran_order': False, 'shape': ({rows}, 3), }}");
    let mut bytes = wrap(Version::V1_0, &text);
    bytes.extend((0..rows * 3).flat_map(u16::to_le_bytes));
    bytes
}

fn values(path: &Path) -> Vec<u16> {
    Array::open(path).unwrap().values::<u16>().unwrap().to_vec()
}

fn batch(rows_max: u64, delay_max: Option<Duration>) -> AppendOptions {
    let limits = BatchLimits { rows_max, bytes_max: u64::MAX, delay_max };
    AppendOptions { durability: Durability::Batch(limits), ..AppendOptions::default() }
}

#[test]
fn rows_come_behind_those_of_numpy() {
    let (_folder, path) = in_folder(&of_numpy(2));
    for durability in [Durability::Each, Durability::None] {
        let options = AppendOptions { durability, ..AppendOptions::default() };
        let appender = Appender::open(&path, options).unwrap();
        let first = appender.rows();
        assert_eq!(appender.append(&[7_u16, 8, 9]).unwrap(), first..first + 1);
        assert_eq!(appender.append::<u16>(&[]).unwrap(), first + 1..first + 1);
        assert_eq!(values(&path).len() as u64, (first + 1) * 3, "visible when it returns");
        appender.append_bytes(&[0; 12]).unwrap();
        assert_eq!(appender.close().unwrap(), first + 3);
    }
    assert_eq!(values(&path)[..9], [0, 1, 2, 3, 4, 5, 7, 8, 9]);
    let found = inspect(&path).unwrap();
    assert_eq!((found.rows, found.tail), (Some(8), Tail::Exact));
    assert!(matches!(found.growth, Growth::Window { offset: 64, width: 16 }));
}

#[test]
fn opening_and_closing_changes_nothing() {
    let (_folder, path) = in_folder(&of_numpy(2));
    Appender::open(&path, AppendOptions::default()).unwrap().close().unwrap();
    assert_eq!(fs::read(&path).unwrap(), of_numpy(2));
}

#[test]
fn a_batch_waits_for_its_limits() {
    let (_folder, path) = in_folder(&of_numpy(0));
    let appender = Appender::open(&path, batch(3, None)).unwrap();
    appender.append(&[1_u16; 3]).unwrap();
    appender.append(&[2_u16; 3]).unwrap();
    assert_eq!((appender.rows(), appender.staged_rows(), values(&path).len()), (0, 2, 0));
    appender.append(&[3_u16; 3]).unwrap();
    assert_eq!((appender.rows(), values(&path).len()), (3, 9));
    appender.append(&[4_u16; 3]).unwrap();
    appender.discard().unwrap();
    assert_eq!((appender.staged_rows(), inspect(&path).unwrap().tail), (3, Tail::Exact));
    appender.append(&[5_u16; 3]).unwrap();
    drop(appender);
    assert_eq!(values(&path)[6..], [3, 3, 3, 5, 5, 5]);
}

#[test]
fn the_last_rows_of_an_idle_writer_become_visible() {
    let (_folder, path) = in_folder(&of_numpy(0));
    let appender = Appender::open(&path, batch(1_000, Some(Duration::from_millis(20)))).unwrap();
    for round in 1..=3_u16 {
        appender.append(&[round; 3]).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while values(&path).len() < usize::from(round) * 3 {
            assert!(Instant::now() < end, "round {round}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// So many rows that they are read in several pieces, of a mebibyte each, and their file.
fn long_array() -> (u64, Vec<u8>) {
    let rows = 400_000;
    let header = format!("{{'descr': '<u2', 'fortran_order': False, 'shape': ({rows}, 3), }}");
    (rows, [wrap(Version::V1_0, &header), vec![7; 6 * rows as usize]].concat())
}

/// The bugs: the limits of a batch did not apply to arrays, and a batch that was committed meanwhile took half of one along.
#[test]
fn an_array_is_published_as_a_whole_when_its_batch_is() {
    let (_folder, path) = in_folder(&of_numpy(0));
    let appender = Appender::open(&path, batch(3, None)).unwrap();
    for (rows, published) in [(2, 0), (1, 3), (4, 7), (0, 7)] {
        let (_folder, input) = in_folder(&of_numpy(rows));
        appender.append_array(&mut ArrayInput::open(&input).unwrap(), false).unwrap();
        assert_eq!(appender.rows(), published);
    }
    drop(appender);

    let appender = Appender::open(&path, batch(u64::MAX, Some(Duration::from_millis(10)))).unwrap();
    let wait_for = |rows: &dyn Fn() -> u64, least: u64| {
        let end = Instant::now() + Duration::from_secs(20);
        while rows() < least {
            assert!(Instant::now() < end, "{} of {least} rows", rows());
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let (rows, array) = long_array();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut reader = fs::File::from(std::os::fd::OwnedFd::from(reader));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            appender.append(&[1_u16; 3]).unwrap();
            let mut input = ArrayInput::next_in(&mut reader, "a pipe").unwrap().unwrap();
            assert_eq!(appender.append_array(&mut input, false).unwrap(), 8..8 + rows);
        });
        let (first, rest) = array.split_at(2 << 20);
        writer.write_all(first).unwrap();
        wait_for(&|| appender.staged_rows(), 9);
        let other = scope.spawn(|| appender.append(&[2_u16; 3]).unwrap());
        wait_for(&|| appender.rows(), 8);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!((appender.commit().unwrap(), appender.rows(), other.is_finished()), (8, 8, false));
        writer.write_all(rest).unwrap();
        drop(writer);
        wait_for(&|| appender.rows(), 9 + rows);
        assert_eq!(other.join().unwrap(), 8 + rows..9 + rows);
    });
}

/// The bug: one that had ended took the rows of the next one back, and its own.
#[test]
fn arrays_of_several_threads_stay_apart() {
    let (_folder, path) = in_folder(&of_numpy(0));
    let options = AppendOptions { durability: Durability::None, ..AppendOptions::default() };
    let appender = Appender::open(&path, options).unwrap();
    let stage = || {
        let one = || {
            let array = appender.shared.begin_array();
            array.stage(&[7; 6]).unwrap();
            std::thread::yield_now();
            array.end()
        };
        (0..20_000).map(|_| one()).collect::<Vec<_>>()
    };
    let mut ranges = std::thread::scope(|scope| {
        let threads = [scope.spawn(stage), scope.spawn(stage), scope.spawn(stage)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    ranges.sort_by_key(|range| range.start);
    assert!((0..60_000).eq(ranges.iter().map(|range| range.start)), "rows were taken back");
    assert!(ranges.iter().all(|range| range.end == range.start + 1), "rows of others came in between");
    assert_eq!((appender.close().unwrap(), values(&path).len()), (60_000, 180_000));
}

/// The bug: an append whose row was taken back while it waited for a commit synced for ever.
#[test]
fn what_an_append_waits_for_is_not_discarded() {
    let (_folder, path) = in_folder(&of_numpy(0));
    let appender = Appender::open(&path, AppendOptions::default()).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let discards = scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                appender.discard().unwrap();
            }
        });
        let append = || (0..100).for_each(|_| assert!(appender.append(&[1_u16; 3]).is_ok()));
        let threads = [scope.spawn(append), scope.spawn(append), scope.spawn(append)];
        for thread in threads {
            thread.join().unwrap();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        discards.join().unwrap();
    });
    assert_eq!((appender.rows(), values(&path).len()), (300, 900));
}

/// The bug: what had been appended before went with it.
#[test]
fn an_array_that_is_cut_short_takes_no_other_rows_along() {
    let (_folder, path) = in_folder(&of_numpy(0));
    let appender = Appender::open(&path, batch(u64::MAX, None)).unwrap();
    appender.append(&[1_u16; 3]).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut reader = fs::File::from(std::os::fd::OwnedFd::from(reader));
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&long_array().1[..2_000_000]).unwrap());
        let mut input = ArrayInput::next_in(&mut reader, "a pipe").unwrap().unwrap();
        assert!(appender.append_array(&mut input, false).is_err());
    });
    assert_eq!((appender.staged_rows(), appender.close().unwrap(), values(&path)), (1, 1, vec![1; 3]));
}

#[test]
fn threads_append_whole_rows_and_none_is_lost() {
    let (_folder, path) = in_folder(&of_numpy(0));
    for options in [AppendOptions::default(), batch(7, None), batch(50, Some(Duration::from_millis(1)))] {
        let before = values(&path).len();
        let appender = Appender::open(&path, options).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u16 {
                let appender = &appender;
                scope.spawn(move || {
                    for number in 0..50 {
                        let range = appender.append(&[thread, number, thread ^ number]).unwrap();
                        assert!(options.durability != Durability::Each || appender.rows() >= range.end);
                    }
                });
            }
        });
        appender.close().unwrap();
        let all = values(&path);
        let rows: Vec<&[u16]> = all[before..].chunks(3).collect();
        assert_eq!(rows.len(), 200);
        for thread in 0..4 {
            let of_thread: Vec<u16> = rows.iter().filter(|row| row[0] == thread).map(|row| row[1]).collect();
            assert_eq!(of_thread, (0..50).collect::<Vec<_>>(), "in their order");
        }
        assert!(rows.iter().all(|row| row[2] == row[0] ^ row[1]));
    }
}

#[test]
fn the_second_appender_is_refused_or_waits() {
    let (_folder, path) = in_folder(&of_numpy(1));
    let first = Appender::open(&path, AppendOptions::default()).unwrap();
    let text = Appender::open(&path, AppendOptions::default()).unwrap_err().to_string();
    assert!(text.contains(&format!("is being written by process {}", std::process::id())), "{text}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let options = AppendOptions { waits_for_lock: true, ..AppendOptions::default() };
            Appender::open(&path, options).unwrap().append(&[5_u16; 3]).unwrap()
        });
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(first.append(&[4_u16; 3]).unwrap(), 1..2);
        drop(first);
        assert_eq!(waiting.join().unwrap(), 2..3);
    });
}

#[test]
fn what_cannot_be_appended_to_is_refused_with_words() {
    let says = |bytes: &[u8]| {
        let (_folder, path) = in_folder(bytes);
        let text = Appender::open(&path, AppendOptions::default()).unwrap_err().to_string();
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was changed");
        assert!(text.contains("a.npy"), "{text}");
        text
    };
    let header = |descr: &str, shape: &str| {
        wrap(Version::V1_0, &format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"))
    };
    assert!(says(&[]).contains("is empty"));
    assert!(says(b"no array").contains("not a .npy file"));
    assert!(says(&header("'|O'", "(1,)")).contains("holds Python objects"));
    assert!(says(&[header("'<f4'", "()"), vec![0; 4]].concat()).contains("no dimensions"));
    assert!(says(&header("'<f4'", "(3, 0)")).contains("a row holds no bytes"));
    let whole = of_numpy(3);
    assert!(says(&whole[..whole.len() - 1]).contains("1 bytes of the 3 rows that its header counts are missing"));
    let text = says(&[whole, vec![1, 2]].concat());
    assert!(text.contains("2 bytes behind the last row") && text.contains("recover"), "{text}");
    let text = |name: &str| format!("{{'descr': [('{name}', '<f4')], 'fortran_order': False, 'shape': (99,), }}");
    let mut tight = wrap(Version::V1_0, &text(&"n".repeat(116 - text("").len())));
    assert_eq!(tight.len(), 128);
    tight.resize(128 + 99 * 4, 0);
    // Room for a digit more, and not for a window.
    let text = says(&tight);
    assert!(text.contains("has no room") && text.contains("ensure-appendable"), "{text}");
    assert!(matches!(Appender::open("/dev/null", AppendOptions::default()), Err(AppendError::NotAFile { .. })));
}

#[test]
fn more_rows_than_the_header_has_digits_for_are_refused() {
    const ROWS: u64 = 99_999_999_999;
    let text = |name: &str| format!("{{'descr': [('{name}', '|u1')], 'fortran_order': False, 'shape': ({ROWS},), }}");
    // No padding: the count has a block of its own where the name is of the right length.
    let full = (0..16).map(|length| "n".repeat(length + 1)).find_map(|name| {
        let text = text(&name);
        let header = [&MAGIC[..], &[1, 0, (text.len() + 1) as u8, 0], text.as_bytes(), b"\n"].concat();
        let (folder, path) = in_folder(&header);
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(header.len() as u64 + ROWS).unwrap();
        Appender::open(&path, AppendOptions::default()).ok().map(|appender| (folder, appender))
    });
    let (_folder, appender) = full.unwrap();
    assert_eq!((appender.rows(), appender.rows_max()), (ROWS, ROWS));
    let text = appender.append_bytes(&[1]).unwrap_err().to_string();
    assert!(text.contains("would have 100000000000 rows") && text.contains("ensure-appendable"), "{text}");
}

/// The bug: what lay behind the array, such as a second one, was left out without a word.
#[test]
fn inputs_that_are_longer_than_their_headers_say_are_refused() {
    let (_folder, path) = in_folder(&[of_numpy(1), of_numpy(2)].concat());
    let text = ArrayInput::open(&path).map(drop).unwrap_err().to_string();
    assert!(text.contains("140 bytes lie behind the array") && text.contains("save each to its own"), "{text}");
    // What an appender has not published yet is none of the input.
    fs::write(&path, of_numpy(1)).unwrap();
    Appender::open(&path, AppendOptions::default()).unwrap().append(&[4_u16; 3]).unwrap();
    fs::write(&path, [fs::read(&path).unwrap(), vec![9; 7]].concat()).unwrap();
    assert_eq!(ArrayInput::open(&path).unwrap().header().rows(), Some(2));
}

/// The bug: with our header the second array was cut off as rows that were not finished, and with NumPy's `recover` took its
/// header for rows.
#[test]
fn another_array_behind_the_first_is_refused_by_all() {
    let (_folder, path) = in_folder(&of_numpy(2));
    Appender::open(&path, AppendOptions::default()).unwrap().append(&[4_u16; 3]).unwrap();
    let ours = fs::read(&path).unwrap();
    let long = wrap(Version::V2_0, &format!("{{'descr': '<u2', 'fortran_order': False, 'shape': (0,), }}{:9000}", ""));
    for content in
        [[ours.clone(), of_numpy(1)].concat(), [of_numpy(3), ours, of_numpy(0)].concat(), [of_numpy(3), long].concat()]
    {
        fs::write(&path, &content).unwrap();
        let errors = [
            Appender::open(&path, AppendOptions::default()).map(drop).unwrap_err(),
            recover(&path, RecoverOptions::default()).map(drop).unwrap_err(),
            ensure_appendable(&path, WidenOptions::default()).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, AppendError::SeveralArrays { offset: 146, .. }), "{error}");
            assert!(error.to_string().contains("truncate -s 146 "), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), content, "nothing was changed");
    }
    // What only begins like one is rows.
    fs::write(&path, [of_numpy(1), b"\x93NUMPY".to_vec()].concat()).unwrap();
    assert_eq!(recover(&path, RecoverOptions::default()).unwrap().rows, 2);
}

/// The bug: such a header stayed as it was, so that after a kill `recover` was told to count the rows of an appender.
#[test]
fn a_window_that_another_program_left_is_made_ours_first() {
    // The count ends its block, by C's `%12d` or by chance, and more room follows.
    let text =
        |name: &str| format!("{{'descr': [('{name}', '<u2')], 'fortran_order': False, 'shape': ({:>12},), }}", 2);
    let name =
        (1..=16).map(|length| "n".repeat(length)).find(|name| (10 + text(name).find("2,)").unwrap() + 1) % 16 == 0);
    let mut bytes = wrap(Version::V1_0, &(text(&name.unwrap()) + &" ".repeat(40)));
    let header = Header::parse(&bytes).unwrap();
    assert!(matches!(header.growth(), Growth::Window { width: 12, .. }));
    bytes.extend([1, 0, 2, 0]);
    let (_folder, path) = in_folder(&bytes);
    let before = inspect(&path).unwrap();
    assert!(matches!(before.growth, Growth::Room { spare_bytes: 15 }), "{:?}", before.growth);
    Appender::open(&path, AppendOptions::default()).unwrap().append_bytes(&[3, 0]).unwrap();
    let sound = fs::read(&path).unwrap();
    let after = inspect(&path).unwrap();
    assert!(matches!(after.growth, Growth::Window { width: 16, .. }), "{:?}", after.growth);
    assert_eq!(after.rows_max_in_place, before.rows_max_in_place);
    fs::write(&path, [sound.clone(), vec![9; 6]].concat()).unwrap();
    let appender = Appender::open(&path, AppendOptions::default()).unwrap();
    assert_eq!((appender.unfinished_bytes(), appender.bytes_cut()), (6, 0));
    assert!(sound.ends_with(&[1, 0, 2, 0, 3, 0]));
}

/// The bug: `does not exist` was said of the link, which does.
#[test]
fn a_link_that_leads_nowhere_is_named_with_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("a.npy");
    std::os::unix::fs::symlink("gone.npy", &link).unwrap();
    let text = Appender::open(&link, AppendOptions::default()).unwrap_err().to_string();
    assert!(text.ends_with("a.npy is a symbolic link to gone.npy, which does not exist"), "{text}");
}

/// The bug: `recover` and `ensure-appendable` sent each other away.
#[test]
fn recover_makes_the_room_that_its_count_needs() {
    let text = |name: &str| format!("{{'descr': [('{name}', '<u2')], 'fortran_order': False, 'shape': (9,), }}");
    let mut bytes = wrap(Version::V1_0, &text(&"n".repeat(117 - text("").len())));
    assert_eq!(bytes.len(), 128, "not one digit more");
    bytes.extend((0..12).flat_map(u16::to_le_bytes));
    for (fills_with_zeros, rows) in [(false, 12), (true, 13)] {
        let (folder, path) = in_folder(&[bytes.clone(), vec![7]].concat());
        let options = RecoverOptions { fills_with_zeros, ..RecoverOptions::default() };
        assert_eq!(recover(&path, options).unwrap().rows, rows);
        let found = inspect(&path).unwrap();
        assert_eq!((found.rows, found.tail), (Some(rows), Tail::Exact));
        let written = fs::read(&path).unwrap();
        let data = usize::try_from(found.header.data_start).unwrap();
        assert_eq!(written[data..data + 24], bytes[128..]);
        assert_eq!(written[data + 24..], [7, 0][..if fills_with_zeros { 2 } else { 0 }]);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(Appender::open(&path, AppendOptions::default()).is_ok());
    }
}

#[test]
fn rows_of_other_types_are_refused_with_both() {
    let (_folder, path) = in_folder(&of_numpy(1));
    let appender = Appender::open(&path, AppendOptions::default()).unwrap();
    let text = appender.append(&[1.0_f32; 3]).unwrap_err().to_string();
    assert!(text.contains("<f4 cannot be appended") && text.contains("its dtype is <u2"), "{text}");
    let text = appender.append(&[1_u16; 4]).unwrap_err().to_string();
    assert!(text.contains("8 bytes are not a whole number of rows") && text.contains("has 6"), "{text}");
    assert_eq!(appender.close().unwrap(), 1);
}

#[test]
fn what_a_dead_appender_left_is_cut_off_and_what_others_left_is_not() {
    let (_folder, path) = in_folder(&of_numpy(1));
    Appender::open(&path, AppendOptions::default()).unwrap().append(&[4_u16; 3]).unwrap();
    let sound = fs::read(&path).unwrap();
    for options in
        [AppendOptions::default(), AppendOptions { durability: Durability::None, ..AppendOptions::default() }]
    {
        let unfinished = [sound.clone(), vec![9; 7]].concat();
        fs::write(&path, &unfinished).unwrap();
        let appender = Appender::open(&path, options).unwrap();
        assert!(appender.append_bytes(&[1]).is_err() && appender.append::<u16>(&[]).is_ok());
        appender.discard().unwrap();
        assert_eq!((appender.unfinished_bytes(), appender.bytes_cut(), appender.commit().unwrap()), (7, 0, 2));
        assert_eq!(fs::read(&path).unwrap(), unfinished, "no row, no change");
        appender.append(&[5_u16; 3]).unwrap();
        assert_eq!((appender.bytes_cut(), appender.close().unwrap()), (7, 3));
        assert_eq!((values(&path)[3..].to_vec(), inspect(&path).unwrap().tail), (vec![4, 4, 4, 5, 5, 5], Tail::Exact));
    }

    fs::write(&path, [of_numpy(1), vec![9; 7]].concat()).unwrap();
    assert!(matches!(Appender::open(&path, AppendOptions::default()), Err(AppendError::Tail { bytes: 7, .. })));
    let found = recover(&path, RecoverOptions::default()).unwrap();
    assert_eq!((found.rows_before, found.rows, found.bytes_cut, found.bytes_added), (1, 2, 1, 0));
    assert_eq!(values(&path), [0, 1, 2, 0x909, 0x909, 0x909]);
    assert!(!recover(&path, RecoverOptions::default()).unwrap().is_changed());
    fs::write(&path, [of_numpy(1), vec![9; 7]].concat()).unwrap();
    let found = recover(&path, RecoverOptions { fills_with_zeros: true, ..RecoverOptions::default() }).unwrap();
    assert_eq!((found.rows, found.bytes_cut, found.bytes_added), (3, 0, 5));
    assert_eq!(values(&path)[6..], [9, 0, 0]);
}

#[test]
fn an_array_follows_growth_and_replacement() {
    let (folder, path) = in_folder(&of_numpy(1));
    let mut array = Array::open(&path).unwrap();
    let appender = Appender::open(&path, AppendOptions::default()).unwrap();
    assert_eq!(array.refresh().unwrap(), 0);
    appender.append(&[1_u16; 6]).unwrap();
    assert_eq!((array.refresh().unwrap(), array.rows(), array.shape()), (2, 3, &[3, 3][..]));
    assert_eq!((array.row(2).unwrap(), array.row(3)), (&[1, 0, 1, 0, 1, 0][..], None));
    assert!(array.values::<i16>().is_err());
    let other = folder.path().join("b.npy");
    fs::write(&other, of_numpy(5)).unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!((array.refresh().unwrap(), array.values::<u16>().unwrap()[14]), (2, 14));
    fs::write(&other, of_numpy(2)).unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(array.refresh().unwrap_err().to_string().contains("another array has taken its place"));
    assert_eq!(array.rows(), 5);
}

/// The bug: all was said to be well, and reading a row ended the process.
#[test]
fn an_array_that_was_cut_short_is_noticed_when_it_is_refreshed() {
    let (_folder, path) = in_folder(&of_numpy(3));
    let mut array = Array::open(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(130).unwrap();
    assert!(matches!(array.refresh(), Err(AppendError::CutShort { rows: 3, bytes: 16, .. })));
}

/// Read in groups of rows, by pieces and with what lies between them: in tests these are small.
#[test]
fn arrays_of_any_shape_are_turned() {
    for shape in [&[70_usize, 3][..], &[3, 70], &[1, 40], &[40, 1], &[5, 1, 4], &[7, 6, 5], &[2, 300], &[0, 3], &[4, 0]]
    {
        let elements: usize = shape.iter().product();
        let rows = shape[0];
        let places = (0..elements).map(|place| {
            // The place of the element in C order, for each place in Fortran order.
            let (mut rest, mut at, mut stride) = (place, 0, elements);
            for length in shape {
                stride /= length;
                at += rest % length * stride;
                rest /= length;
            }
            u16::try_from(at).unwrap()
        });
        let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
        let text = format!("{{'descr': '<u2', 'fortran_order': True, 'shape': ({}), }}", sides.join(", "));
        let (_other, input) =
            in_folder(&[wrap(Version::V1_0, &text), places.flat_map(u16::to_le_bytes).collect()].concat());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let Ok(appender) =
            Appender::create(&path, &Dtype::parse("<u2").unwrap(), &shape[1..], AppendOptions::default())
        else {
            assert_eq!(shape, [4, 0]);
            continue;
        };
        let appended = appender.append_array(&mut ArrayInput::open(&input).unwrap(), false).unwrap();
        assert_eq!(appended, 0..rows as u64, "{shape:?}");
        let found = values(&path);
        assert!(found.iter().copied().eq(0..elements as u16), "{shape:?}: {found:?}");
    }
}

mod disturbed;
