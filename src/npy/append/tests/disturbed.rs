//! What somebody else does to the files while rows are appended.

use super::*;

/// What is said of it, and how it is done.
type Disturbance<'a> = (&'a str, &'a dyn Fn(&Path));

fn cut(path: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// The bug: within a commit nobody looked, and rows were counted that lay behind a gap, or in another array.
#[test]
fn a_batch_notices_in_its_middle_what_becomes_of_the_file() {
    let disturbances: [Disturbance<'_>; 3] = [
        ("cut short, to 130 bytes", &|path| cut(path, 130)),
        ("its header was changed", &|path| fs::write(path, of_numpy(12)).unwrap()),
        ("moved or removed", &|path| fs::remove_file(path).unwrap()),
    ];
    for (words, disturb) in disturbances {
        let (_folder, path) = in_folder(&of_numpy(3));
        let appender = Appender::open(&path, batch(u64::MAX, None)).unwrap();
        appender.append(&[7_u16; 6]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        disturb(&path);
        let left = fs::read(&path).ok();
        let error = appender.append(&[8_u16; 3]).unwrap_err();
        assert!(matches!(error, AppendError::Disturbed { rows: 3, .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!((fs::read(&path).ok(), appender.close().is_err()), (left, true));
    }
}

#[test]
fn large_pieces_are_never_written_behind_a_gap() {
    let (_folder, path) = in_folder(&of_numpy(3));
    let appender = Appender::open(&path, batch(u64::MAX, None)).unwrap();
    let piece = vec![7_u16; 3 << 15];
    for _ in 0..3 {
        appender.append(&piece).unwrap();
    }
    cut(&path, 130);
    let error = appender.append(&piece).unwrap_err();
    assert!(matches!(error, AppendError::Disturbed { .. }), "{error}");
}

/// The bug: the process ended with SIGBUS, without a word.
#[test]
fn an_input_that_is_cut_while_it_is_turned_is_refused_with_words() {
    let (_folder, path) = in_folder(&of_numpy(0));
    let text = "{'descr': '<u2', 'fortran_order': True, 'shape': (10000, 3), }";
    let (_other, input) = in_folder(&[wrap(Version::V1_0, text), vec![7; 60_000]].concat());
    let appender = Appender::open(&path, AppendOptions::default()).unwrap();
    let mut opened = ArrayInput::open(&input).unwrap();
    cut(&input, 30_000);
    let error = appender.append_array(&mut opened, false).unwrap_err();
    assert!(matches!(error, AppendError::InputCutShort { expected: 60_000, .. }), "{error}");
    assert_eq!((appender.staged_rows(), appender.close().unwrap()), (0, 0));
}

/// Rows of two pieces, read in parts: none of a row that does not end is left.
#[test]
fn long_rows_are_staged_in_parts_and_taken_back_as_a_whole() {
    const LENGTH: usize = 600_000;
    let array = |rows: usize, order: &str| {
        let text = format!("{{'descr': '{order}u2', 'fortran_order': False, 'shape': ({rows}, {LENGTH}), }}");
        let number = |at: usize| {
            let value = at as u16;
            if order == ">" { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        [wrap(Version::V1_0, &text), (0..rows * LENGTH).flat_map(number).collect()].concat()
    };
    let (_folder, path) = in_folder(&array(1, "<"));
    let before = fs::read(&path).unwrap().len();
    let appender = Appender::open(&path, batch(u64::MAX, None)).unwrap();
    let whole = array(2, ">");
    let mut short = &whole[..whole.len() - 1000];
    let mut input = ArrayInput::next_in(&mut short, "a pipe").unwrap().unwrap();
    assert!(appender.append_array(&mut input, true).is_err());
    assert_eq!((appender.staged_rows(), fs::metadata(&path).unwrap().len()), (1, before as u64));
    let (_other, input) = in_folder(&whole);
    assert_eq!(appender.append_array(&mut ArrayInput::open(&input).unwrap(), true).unwrap(), 1..3);
    assert_eq!(appender.close().unwrap(), 3);
    let found = values(&path);
    assert_eq!(found.len(), 3 * LENGTH);
    assert!(found[LENGTH..].iter().enumerate().all(|(at, value)| *value == at as u16));
}
