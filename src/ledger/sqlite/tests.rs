use super::*;
use crate::ledger::{Committed, Counts, Fate, LedgerView};

fn entry(id: u64, path: &str, fate: Fate) -> Entry {
    Entry {
        id,
        path: path.into(),
        identity: Identity { size: 3, mtime_ns: 5, inode: 7 + id },
        hash: Some(blake3::hash(path.as_bytes())),
        fate,
        moved_to: None,
        part: None,
    }
}

fn committed(first_row: u64, rows: u64) -> Fate {
    Fate::Committed(Committed {
        first_row,
        rows,
        checksum: blake3::hash(b"rows"),
        columns_checksum: blake3::hash(b"columns"),
        note: None,
    })
}

fn schema() -> LedgerSchema {
    LedgerSchema { settings: vec![("shape".into(), "[2]".into())], columns: vec!["source".into()] }
}

#[test]
fn what_was_committed_is_found_again_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ledger.db");
    assert!(SqliteLedgers.open(&path, true).unwrap().is_none());
    let mut ledger = SqliteLedgers.create(&path, &schema(), true).unwrap();
    let state = State { rows: 3, next_source_id: 3, clean_rows: 0, unsynced: false };
    let sources = [entry(1, "cat/a", committed(0, 3)), entry(2, "b", Fate::Rejected { reason: "no".into() })];
    let labels = ["cat".to_owned()];
    ledger
        .commit(&Transaction {
            state,
            sources: &sources,
            found_again: &[],
            extended: &[],
            forgotten: &[],
            new_labels: &labels,
        })
        .unwrap();
    drop(ledger);

    let ledger = SqliteLedgers.open(&path, true).unwrap().unwrap();
    assert_eq!(ledger.state(), state);
    assert_eq!(ledger.schema(), &schema());
    assert_eq!(ledger.labels(), &labels);
    assert_eq!(ledger.newest_at(Path::new("cat/a"), u64::MAX).unwrap().as_ref(), Some(&sources[0]));
    assert_eq!(ledger.newest_at(Path::new("b"), u64::MAX).unwrap().as_ref(), Some(&sources[1]));
    assert_eq!(ledger.newest_at(Path::new("c"), u64::MAX).unwrap(), None);
    assert_eq!(ledger.with_identity(sources[0].identity).unwrap(), sources[..1]);
    assert_eq!(ledger.with_hash(&blake3::hash(b"cat/a")).unwrap().as_ref(), Some(&sources[0]));
    assert_eq!(ledger.with_hash(&blake3::hash(b"b")).unwrap(), None, "a rejected source has no rows to share");
    assert_eq!(ledger.committed_from(2, 10).unwrap(), sources[..1]);
    assert_eq!(ledger.committed_from(3, 10).unwrap(), []);
}

#[test]
fn rejected_sources_are_found_by_their_path_and_forgotten_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ledger.db");
    let mut ledger = SqliteLedgers.create(&path, &schema(), true).unwrap();
    let mut commit = |entry: Entry, forgotten: &[u64]| {
        let state = State { rows: 0, next_source_id: entry.id + 1, clean_rows: 0, unsynced: false };
        let sources = [entry];
        let none = Transaction { state, sources: &[], found_again: &[], extended: &[], forgotten, new_labels: &[] };
        ledger.commit(&Transaction { sources: &sources, ..none }).unwrap();
    };
    for id in 1..=3 {
        commit(entry(id, "a", Fate::Rejected { reason: "cut short".into() }), &[]);
    }
    commit(entry(4, "a", committed(0, 1)), &[2, 4]);
    ledger.note_moved(&[(3, "failed/a".into())]).unwrap();
    assert_eq!(ledger.rejected_at(Path::new("a")).unwrap(), [(1, None), (3, Some("failed/a".into()))]);
    let replaced = |ledger: &dyn Ledger| -> Vec<u64> {
        ledger.not_moved().unwrap().into_iter().filter(|(_, is)| *is).map(|(entry, _)| entry.id).collect()
    };
    assert_eq!(replaced(&*ledger), [1], "the other one was moved away before its like came");
    let view = LedgerView::open(&path).unwrap().unwrap();
    let ids = |paths: Option<&[PathBuf]>| -> Vec<u64> {
        view.rejected(paths).unwrap().into_iter().map(|entry| entry.id).collect()
    };
    assert_eq!((ids(None), ids(Some(&["a".into()]))), (vec![1, 3], vec![1, 3]));
    assert_eq!(view.counts().unwrap(), Counts { committed: 1, rejected: 2 });
    ledger.forget(&[1, 4]).unwrap();
    assert_eq!((replaced(&*ledger), ids(None)), (vec![], vec![3]));
    assert_eq!(view.counts().unwrap(), Counts { committed: 1, rejected: 1 });
}

#[test]
fn new_settings_take_the_place_of_the_old_ones_and_logs_without_rows_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ledger.db");
    let mut ledger = SqliteLedgers.create(&path, &schema(), true).unwrap();
    let part = crate::source::Part {
        log: 2,
        first_index: 0,
        begin: 0,
        end: 9,
        head_at: 0,
        head: b"x".to_vec(),
        tail: blake3::hash(b"x"),
        marks: crate::source::Marks::default(),
    };
    let rejected = entry(1, "a", Fate::Rejected { reason: "no".into() });
    let log = Entry { part: Some(part), ..entry(2, "b", committed(0, 0)) };
    let state = State { rows: 0, next_source_id: 3, clean_rows: 0, unsynced: false };
    let sources = [rejected.clone(), log];
    let none = Transaction { state, sources: &[], found_again: &[], extended: &[], forgotten: &[], new_labels: &[] };
    ledger.commit(&Transaction { sources: &sources, ..none }).unwrap();
    let new = LedgerSchema { settings: vec![("a".into(), "1".into()), ("b".into(), "2".into())], ..schema() };
    ledger.take_settings(&new.settings).unwrap();
    assert_eq!(ledger.schema(), &new);
    let ledger = SqliteLedgers.open(&path, true).unwrap().unwrap();
    assert_eq!((ledger.schema(), ledger.state()), (&new, state));
    assert_eq!(ledger.newest_at(Path::new("a"), u64::MAX).unwrap(), Some(rejected));
    assert_eq!(ledger.newest_at(Path::new("b"), u64::MAX).unwrap(), None);
}

#[test]
fn a_foreign_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ledger.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(SqliteLedgers.open(&path, true), Err(LedgerError::Foreign { .. })));
    std::fs::write(&path, "not a database at all, but long enough to be looked at").unwrap();
    assert!(SqliteLedgers.open(&path, true).is_err());
}

/// The bug: each question whether a source went to a place read all of the ledger.
#[test]
fn where_sources_went_is_looked_up_in_an_index_that_the_first_question_makes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ledger.db");
    let mut ledger = SqliteLedgers.create(&path, &schema(), true).unwrap();
    let sources = [entry(1, "a", committed(0, 1)), entry(2, "b", committed(1, 1)), entry(3, "c", committed(2, 1))];
    let state = State { rows: 3, next_source_id: 4, clean_rows: 0, unsynced: false };
    let none = Transaction { state, sources: &[], found_again: &[], extended: &[], forgotten: &[], new_labels: &[] };
    ledger.commit(&Transaction { sources: &sources, ..none }).unwrap();
    ledger.note_moved(&[(1, "done/a".into()), (2, PathBuf::new())]).unwrap();
    let hash = blake3::hash(b"a");
    let plan = || -> String {
        let connection = Connection::open(&path).unwrap();
        keep_plans(&connection).unwrap();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", queries::HAS_MOVED_TO)).unwrap();
        plan.query_row(params!["done/a", hash.to_hex().as_str(), 9], |row| row.get(3)).unwrap()
    };
    assert!(plan().starts_with("SCAN"), "{}", plan());
    let asked = [("done/a", None), ("done/a", Some(1)), ("done/b", None)]
        .map(|(place, but)| ledger.has_moved_to(Path::new(place), &hash, but).unwrap());
    assert_eq!(asked, [true, false, false]);
    assert!(plan().contains("USING INDEX sources_moved_to"), "{}", plan());
    let view = LedgerView::open(&path).unwrap().unwrap();
    assert!(view.has_moved_to(Path::new("done/a"), &hash).unwrap());
}
