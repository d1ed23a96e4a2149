use std::fs;
use std::os::unix::fs::MetadataExt;

use super::super::super::header::Version;
use super::super::super::header::tests::wrap;
use super::super::super::{AppendOptions, Appender};
use super::*;

/// A folder with an array of 3 rows that has room in its header.
fn array() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let header = wrap(Version::V1_0, "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }");
    fs::write(&path, [header, vec![1, 2, 3]].concat()).unwrap();
    (folder, path)
}

/// A plan for the array, as if its rows were to be moved by 64 bytes.
fn plan(path: &Path) -> Plan {
    let bytes = fs::read(path).unwrap();
    let old_header = bytes[..128].to_vec();
    let new_header = [old_header.clone(), vec![b' '; 64]].concat();
    let (length, inode) = (bytes.len() as u64, fs::metadata(path).unwrap().ino());
    Plan { old_header, new_header, length, inode, piece_bytes: 3 }
}

/// The bug: a file of the user's of such a name was removed by an append.
#[test]
fn files_that_are_none_of_ours_are_refused_and_stay() {
    let (_folder, path) = array();
    for name in [".moving", ".wider.tmp"] {
        let beside = beside(&path, name);
        for strange in [&b"notes"[..], b"npy-ingest notes", b"\x93NUMBER", b"\0\0\0\0x"] {
            fs::write(&beside, strange).unwrap();
            let text = Appender::open(&path, AppendOptions::default()).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("give it another name, or remove it"), "{text}");
            assert_eq!(fs::read(&beside).unwrap(), strange);
        }
        fs::remove_file(&beside).unwrap();
        fs::create_dir(&beside).unwrap();
        assert!(matches!(Appender::open(&path, AppendOptions::default()), Err(AppendError::NotOurs { .. })));
        fs::remove_dir(&beside).unwrap();
    }
}

#[test]
fn what_a_crash_left_of_ours_is_removed() {
    let (folder, path) = array();
    for (name, magic) in [(".moving", &MAGIC[..]), (".wider.tmp", b"\x93NUMPY")] {
        for written in 0..=magic.len() {
            for zeros in [0, 1, 600] {
                let begun = [&magic[..written], &vec![0; zeros]].concat();
                fs::write(beside(&path, name), begun).unwrap();
                assert!(Appender::open(&path, AppendOptions::default()).is_ok(), "{name} {written} {zeros}");
                assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
            }
        }
    }
}

/// The bug: they were cut off, as what the move had made the file longer by.
#[test]
fn rows_that_came_behind_an_array_before_its_move_began_stay() {
    let (folder, path) = array();
    fs::write(journal_path(&path), plan(&path).encode()).unwrap();
    let grown = [fs::read(&path).unwrap(), vec![4, 5]].concat();
    fs::write(&path, &grown).unwrap();
    assert!(matches!(Appender::open(&path, AppendOptions::default()), Err(AppendError::Tail { bytes: 2, .. })));
    assert_eq!(fs::read(&path).unwrap(), grown);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

/// The bug: it was removed, and with it all that was left of the header.
#[test]
fn a_journal_is_kept_where_there_is_no_array() {
    let (_folder, path) = array();
    let mut plan = plan(&path);
    plan.new_header.truncate(128);
    for journal in [plan.encode(), MAGIC.to_vec()] {
        fs::write(journal_path(&path), &journal).unwrap();
        fs::write(&path, b"something else").unwrap();
        let text = Appender::open(&path, AppendOptions::default()).unwrap_err().to_string();
        assert!(text.contains("cannot be gone on with"), "{text}");
        assert_eq!(fs::read(journal_path(&path)).unwrap(), journal);
    }
}
