//! Whether a file is a source that the dataset does not have yet.
//!
//! Asked twice: by the intake, which has not read the file ([`first_look`]), and by the writer, which knows the hash of
//! the bytes that were decoded ([`last_look`]). Both go by the same rules:
//!
//! * Same path and same identity: known, where sources stay after their commit. Where they are moved or deleted the content
//!   decides: a filesystem gives the inode of a file that is gone to the next one, which may have its size and time as well.
//! * Same path, same content: known, however its time stamp or inode changed; where sources stay after their commit.
//! * Where sources are moved or deleted after their commit, a file that comes back under the same path with the same
//!   size and time is the same delivery again if its content is equal, and so is one with the same inode that the ledger does
//!   not know to be gone: it was touched before it could be moved. Anything else is a new source, and so is a file that was
//!   made after the commit, as far as its filesystem tells that: it has no more than the inode of one that is gone, which a crash
//!   kept from being noted.
//! * What was rejected under a path does not count where its earlier content comes back, or once it was moved away.
//! * Same path, other content: a rejected source that was mended is tried again; a committed one by `changed`.
//! * Another path, same inode, size and time, and the old path names something else or nothing: it was renamed, if its
//!   content is equal and the ledger does not say that it was moved or deleted after its commit. That comes before `changed`:
//!   a log that is rotated onto the name of an older one is the log that it was, not a changed older one.
//! * Another path, same inode and size, another time, where sources stay: it was renamed and touched, if its content is equal and it
//!   was made before the commit. Where its filesystem does not tell that, it is a new source.
//! * Another path, same content: by `duplicates`.

use std::path::Path;

use super::{Entry, Fate, LedgerError};
use crate::source::{Hash, Identity};

/// What the config says about sources that the ledger knows.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// `after = "keep"`: committed sources stay where they are.
    pub keeps: bool,
    /// `changed = "append"`
    pub append_changed: bool,
    /// `duplicates = "skip"`
    pub skip_duplicates: bool,
}

/// What both looks ask.
pub trait Known {
    fn at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError>;
    /// The entries with this inode, size and modification time, the newest first: files with several names, or that had the
    /// inode one after the other.
    fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError>;
    /// Whether the entry's path still names the file that it named, and is not just `path` spelled in another way.
    fn is_elsewhere(&self, entry: &Entry, path: &Path) -> bool;
}

/// What only the last look asks.
pub trait KnownContent: Known {
    /// The newest committed entry under this path, whatever was rejected there since.
    fn committed_at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError>;
    fn with_hash(&self, hash: &Hash) -> Result<Option<Entry>, LedgerError>;
    /// The newest committed entries with this inode, size and content, whatever their time, the newest first.
    fn with_inode(&self, identity: Identity, hash: &Hash) -> Result<Vec<Entry>, LedgerError>;
    /// Whether the file with this path was made after the entry was committed, or before. `None`: that is not known.
    fn is_younger(&self, entry: &Entry, path: &Path) -> Result<Option<bool>, LedgerError>;
}

/// The answer without reading the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstLook {
    /// To be read. If its content has this hash, it is a source that the ledger knows.
    Read { known_hash: Option<Hash> },
    /// Committed, or found to be rejected, and not touched since.
    Known(Box<Entry>),
    /// Committed and overwritten since, which `changed = "ignore"` disregards: its size is another one. What was committed had this identity: where
    /// that file has another name by now, the ledger does not have yet that this is another one.
    Ignored(Identity),
}

/// The answer once the content's hash is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastLook {
    New,
    /// This source, perhaps under another path or identity.
    Same(Box<Entry>),
    /// The content of this source under another name, and duplicates are skipped.
    Duplicate(Box<Entry>),
    /// As [`FirstLook::Ignored`].
    Ignored,
}

/// What is to be done with a file of this path and identity.
pub fn first_look(known: &impl Known, rules: Rules, path: &Path, identity: Identity) -> Result<FirstLook, LedgerError> {
    let at_path = known.at_path(path)?;
    if let Some(entry) = at_path.as_ref().filter(|entry| entry.identity == identity) {
        return Ok(untouched(rules, entry.clone()));
    }
    if let Some(entry) = moved_here(known, rules, path, identity, None)? {
        // Under this very path: a newer entry is there as well, of the file that had the name before.
        if entry.path == path {
            return Ok(untouched(rules, entry));
        }
        return Ok(FirstLook::Read { known_hash: entry.hash });
    }
    if let Some(entry) = at_path {
        return Ok(match entry.fate {
            Fate::Rejected { .. } => FirstLook::Read { known_hash: None },
            Fate::Committed(_) if same_delivery(entry.identity, identity) => FirstLook::Read { known_hash: entry.hash },
            Fate::Committed(_) if !rules.keeps => {
                let known_hash = entry.hash.filter(|_| is_still_there(&entry, identity));
                FirstLook::Read { known_hash }
            }
            // Touched, or copied back, it may be; of another size it is another one.
            Fate::Committed(_) if rules.append_changed || entry.identity.size == identity.size => {
                FirstLook::Read { known_hash: entry.hash }
            }
            Fate::Committed(_) => FirstLook::Ignored(entry.identity),
        });
    }
    Ok(FirstLook::Read { known_hash: None })
}

/// A file under the path and with the identity of this entry. What would be deleted or moved for it is read before.
fn untouched(rules: Rules, entry: Entry) -> FirstLook {
    match entry.fate {
        Fate::Committed(_) if !rules.keeps => FirstLook::Read { known_hash: entry.hash },
        // The rejected file went away, and another one has its name and its inode.
        Fate::Rejected { .. } if entry.moved_to.is_some() => FirstLook::Read { known_hash: None },
        _ => FirstLook::Known(Box::new(entry)),
    }
}

/// The committed source that this file is, if its content is equal: of this very path, though a newer file had the name
/// since; or of another path. What was moved or deleted after its commit cannot have been renamed: its inode is free for
/// others.
fn moved_here(
    known: &impl Known,
    rules: Rules,
    path: &Path,
    identity: Identity,
    hash: Option<&Hash>,
) -> Result<Option<Entry>, LedgerError> {
    let mut entries = known.with_identity(identity)?;
    entries.retain(|entry| {
        matches!(entry.fate, Fate::Committed(_)) && hash.is_none_or(|hash| entry.hash.as_ref() == Some(hash))
    });
    if let Some(place) = entries.iter().position(|entry| entry.path == path) {
        return Ok(Some(entries.swap_remove(place)));
    }
    let is_left = |entry: &Entry| rules.keeps || entry.moved_to.is_none();
    Ok(entries.into_iter().find(|entry| is_left(entry) && !known.is_elsewhere(entry, path)))
}

/// What the file that was read is.
pub fn last_look(
    known: &impl KnownContent,
    rules: Rules,
    path: &Path,
    identity: Identity,
    hash: &Hash,
) -> Result<LastLook, LedgerError> {
    let at_path = known.committed_at_path(path)?;
    if let Some(entry) = at_path.as_ref().filter(|entry| entry.hash.as_ref() == Some(hash))
        && (rules.keeps
            || same_delivery(entry.identity, identity)
            || is_still_there(entry, identity) && known.is_younger(entry, path)? != Some(true))
    {
        return Ok(LastLook::Same(Box::new(entry.clone())));
    }
    if let Some(entry) = moved_here(known, rules, path, identity, Some(hash))?
        && (rules.keeps || entry.path == path || known.is_younger(&entry, path)? != Some(true))
    {
        return Ok(LastLook::Same(Box::new(entry)));
    }
    if let Some(entry) = touched_here(known, rules, path, identity, hash)? {
        return Ok(LastLook::Same(Box::new(entry)));
    }
    if at_path.is_some_and(|entry| entry.hash.as_ref() != Some(hash)) && rules.keeps && !rules.append_changed {
        return Ok(LastLook::Ignored);
    }
    if rules.skip_duplicates
        && let Some(entry) = known.with_hash(hash)?
    {
        return Ok(LastLook::Duplicate(Box::new(entry)));
    }
    Ok(LastLook::New)
}

/// The committed source that this file is, renamed and touched since. Only the time when it was made tells it from a file that
/// has the inode of one that was removed.
fn touched_here(
    known: &impl KnownContent,
    rules: Rules,
    path: &Path,
    identity: Identity,
    hash: &Hash,
) -> Result<Option<Entry>, LedgerError> {
    if !rules.keeps {
        return Ok(None);
    }
    for entry in known.with_inode(identity, hash)? {
        if entry.path != path
            && entry.moved_to.is_none()
            && entry.part.is_none()
            && !known.is_elsewhere(&entry, path)
            && known.is_younger(&entry, path)? == Some(false)
        {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Whether the file is the one that was committed and is still to be moved or deleted, touched since.
fn is_still_there(entry: &Entry, identity: Identity) -> bool {
    entry.moved_to.is_none() && entry.identity.inode == identity.inode
}

fn same_delivery(was: Identity, is: Identity) -> bool {
    was.size == is.size && was.mtime_ns == is.mtime_ns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Committed;
    use std::path::PathBuf;

    struct Table {
        entries: Vec<Entry>,
        gone: Vec<&'static str>,
        /// What is known of all files.
        is_younger: Option<bool>,
    }

    impl Known for Table {
        fn at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
            Ok(self.entries.iter().rev().find(|entry| entry.path == path).cloned())
        }
        fn with_identity(&self, identity: Identity) -> Result<Vec<Entry>, LedgerError> {
            Ok(self.entries.iter().rev().filter(|entry| entry.identity == identity).cloned().collect())
        }
        fn is_elsewhere(&self, entry: &Entry, path: &Path) -> bool {
            entry.path != path && !self.gone.iter().any(|gone| entry.path == Path::new(gone))
        }
    }

    impl KnownContent for Table {
        fn committed_at_path(&self, path: &Path) -> Result<Option<Entry>, LedgerError> {
            let committed = |entry: &&Entry| entry.path == path && matches!(entry.fate, Fate::Committed(_));
            Ok(self.entries.iter().rev().find(committed).cloned())
        }
        fn with_hash(&self, hash: &Hash) -> Result<Option<Entry>, LedgerError> {
            Ok(self.entries.iter().find(|entry| entry.hash.as_ref() == Some(hash)).cloned())
        }
        fn with_inode(&self, identity: Identity, hash: &Hash) -> Result<Vec<Entry>, LedgerError> {
            let is_it = |entry: &&Entry| entry.identity.inode == identity.inode && entry.hash.as_ref() == Some(hash);
            Ok(self.entries.iter().rev().filter(is_it).cloned().collect())
        }
        fn is_younger(&self, _: &Entry, _: &Path) -> Result<Option<bool>, LedgerError> {
            Ok(self.is_younger)
        }
    }

    const KEEP: Rules = Rules { keeps: true, append_changed: false, skip_duplicates: false };

    fn identity(size: u64, mtime_ns: i64, inode: u64) -> Identity {
        Identity { size, mtime_ns, inode }
    }

    fn hash(content: &str) -> Hash {
        blake3::hash(content.as_bytes())
    }

    fn table(gone: &[&'static str]) -> Table {
        let committed = Fate::Committed(Committed {
            first_row: 0,
            rows: 1,
            checksum: hash(""),
            columns_checksum: hash(""),
            note: None,
        });
        let entry = |id, path: &str, fate| Entry {
            id,
            path: path.into(),
            identity: identity(10, 100, id),
            hash: Some(hash(path)),
            fate,
            moved_to: None,
            part: None,
        };
        Table {
            entries: vec![entry(1, "good", committed), entry(2, "bad", Fate::Rejected { reason: "no".into() })],
            gone: gone.to_vec(),
            is_younger: None,
        }
    }

    fn both(table: &Table, rules: Rules, path: &str, identity: Identity, content: &str) -> (FirstLook, LastLook) {
        let path = Path::new(path);
        (
            first_look(table, rules, path, identity).unwrap(),
            last_look(table, rules, path, identity, &hash(content)).unwrap(),
        )
    }

    fn read(known_hash: Option<&str>) -> FirstLook {
        FirstLook::Read { known_hash: known_hash.map(hash) }
    }

    #[test]
    fn an_untouched_source_is_known_without_reading_it() {
        let table = table(&[]);
        let look = first_look(&table, KEEP, Path::new("good"), identity(10, 100, 1)).unwrap();
        assert!(matches!(look, FirstLook::Known(entry) if entry.id == 1));
        let look = first_look(&table, KEEP, Path::new("bad"), identity(10, 100, 2)).unwrap();
        assert!(matches!(look, FirstLook::Known(entry) if entry.id == 2));
    }

    #[test]
    fn a_restored_copy_with_another_inode_is_the_same_source() {
        let (first, last) = both(&table(&[]), KEEP, "good", identity(10, 100, 77), "good");
        assert_eq!(first, read(Some("good")));
        assert!(matches!(last, LastLook::Same(entry) if entry.id == 1));
    }

    #[test]
    fn a_mended_source_is_tried_again() {
        let (first, last) = both(&table(&[]), KEEP, "bad", identity(11, 200, 2), "mended");
        assert_eq!((first, last), (read(None), LastLook::New));
    }

    #[test]
    fn an_overwritten_source_goes_by_changed() {
        let (first, last) = both(&table(&[]), KEEP, "good", identity(11, 200, 1), "other");
        assert_eq!((first, last), (FirstLook::Ignored(identity(10, 100, 1)), LastLook::Ignored));
        let append = Rules { append_changed: true, ..KEEP };
        let (first, last) = both(&table(&[]), append, "good", identity(11, 200, 1), "other");
        assert_eq!((first, last), (read(Some("good")), LastLook::New));
        let (_, last) = both(&table(&[]), append, "good", identity(10, 200, 1), "good");
        assert!(matches!(last, LastLook::Same(_)), "only its time stamp changed");
    }

    #[test]
    fn a_touched_source_goes_by_its_content() {
        let (first, last) = both(&table(&[]), KEEP, "good", identity(10, 200, 77), "good");
        assert_eq!(first, read(Some("good")));
        assert!(matches!(last, LastLook::Same(entry) if entry.id == 1));
        let (first, last) = both(&table(&[]), KEEP, "good", identity(10, 200, 1), "g00d");
        assert_eq!((first, last), (read(Some("good")), LastLook::Ignored));
    }

    #[test]
    fn where_sources_are_deleted_a_name_can_be_used_again() {
        let delete = Rules { keeps: false, ..KEEP };
        let (first, last) = both(&table(&[]), delete, "good", identity(11, 200, 9), "next picture");
        assert_eq!((first, last), (read(None), LastLook::New));
        let (first, last) = both(&table(&[]), delete, "good", identity(10, 100, 9), "good");
        assert_eq!(first, read(Some("good")));
        assert!(matches!(last, LastLook::Same(_)), "the same delivery again");
        let (_, last) = both(&table(&[]), delete, "good", identity(10, 300, 9), "good");
        assert_eq!(last, LastLook::New, "a later picture that happens to be equal");
    }

    #[test]
    fn a_renamed_source_is_the_same_and_a_hard_link_is_a_duplicate() {
        let (first, last) = both(&table(&["good"]), KEEP, "renamed", identity(10, 100, 1), "good");
        assert_eq!(first, read(Some("good")));
        assert!(matches!(last, LastLook::Same(entry) if entry.id == 1));
        let (first, last) = both(&table(&[]), KEEP, "linked", identity(10, 100, 1), "good");
        assert_eq!((first, last), (read(None), LastLook::New));
        let skip = Rules { skip_duplicates: true, ..KEEP };
        let (_, last) = both(&table(&[]), skip, "copy", identity(10, 500, 50), "good");
        assert!(matches!(last, LastLook::Duplicate(entry) if entry.id == 1));
    }

    /// The bug: with `changed = "append"`, `mv b c; mv a b` gave a's rows a second time, as the changed b.
    #[test]
    fn a_log_that_is_rotated_onto_an_older_name_is_not_a_changed_older_one() {
        let mut table = table(&["a"]);
        let entry = |id: u64, path: &str| Entry {
            id,
            path: path.into(),
            identity: identity(10, 100, id),
            ..table.entries[0].clone()
        };
        let entries =
            ["a", "b"].iter().zip(10..).map(|(path, id)| Entry { hash: Some(hash(path)), ..entry(id, path) }).collect();
        table.entries = entries;
        for append_changed in [true, false] {
            let rules = Rules { append_changed, ..KEEP };
            let (first, last) = both(&table, rules, "b", identity(10, 100, 10), "a");
            assert_eq!(first, read(Some("a")));
            assert!(matches!(last, LastLook::Same(entry) if entry.id == 10), "{append_changed}");
        }
        // Both are under one name until the older one is found under its new one.
        table.entries[0].path = "b".into();
        let (first, _) = both(&table, KEEP, "b", identity(10, 100, 10), "a");
        assert!(matches!(first, FirstLook::Known(entry) if entry.id == 10));
    }

    /// The bug: a kill came while a source was set aside to be deleted, another file took its name, and it was then taken for
    /// a new source.
    #[test]
    fn a_deleted_source_that_is_put_back_is_known_though_another_had_its_name() {
        let mut table = table(&["good"]);
        let newer =
            Entry { id: 9, identity: identity(20, 200, 9), hash: Some(hash("newer")), ..table.entries[0].clone() };
        table.entries.push(newer);
        let delete = Rules { keeps: false, ..KEEP };
        let (first, last) = both(&table, delete, "good", identity(10, 100, 1), "good");
        assert_eq!(first, read(Some("good")));
        assert!(matches!(last, LastLook::Same(entry) if entry.id == 1));
    }

    /// The bug: the next file with a fixed time and size got the inode of a deleted one, and was deleted unread.
    #[test]
    fn what_would_be_deleted_is_known_by_its_content_only() {
        let delete = Rules { keeps: false, ..KEEP };
        let (first, last) = both(&table(&[]), delete, "good", identity(10, 100, 1), "next");
        assert_eq!((first, last), (read(Some("good")), LastLook::New));
        let (first, last) = both(&table(&[]), delete, "good", identity(10, 100, 1), "good");
        assert_eq!(first, read(Some("good")));
        assert!(matches!(last, LastLook::Same(entry) if entry.id == 1), "a leftover of a crash");
    }

    /// The bug: the next file with the inode of a rejected one that was moved away was moved unread, for the same reason.
    #[test]
    fn a_rejected_source_that_was_moved_away_is_another_file() {
        let mut table = table(&[]);
        table.entries[1].moved_to = Some("/failed/bad".into());
        let (first, last) = both(&table, KEEP, "bad", identity(10, 100, 2), "next");
        assert_eq!((first, last), (read(None), LastLook::New));
    }

    /// The bug: a source that was renamed before it could be deleted gave its rows again.
    #[test]
    fn a_source_that_is_not_disposed_of_yet_can_be_renamed() {
        let delete = Rules { keeps: false, ..KEEP };
        let mut table = table(&["good"]);
        let (first, last) = both(&table, delete, "renamed", identity(10, 100, 1), "good");
        assert_eq!(first, read(Some("good")));
        assert!(matches!(last, LastLook::Same(entry) if entry.id == 1));
        // Once it is deleted, its inode is free for others.
        table.entries[0].moved_to = Some(PathBuf::new());
        let (first, last) = both(&table, delete, "next", identity(10, 100, 1), "good");
        assert_eq!((first, last), (read(None), LastLook::New));
    }

    /// The bug: a time that was set (`touch`, `rsync -t`) before the file could be moved made it a new delivery.
    #[test]
    fn a_source_that_is_not_disposed_of_yet_can_be_touched() {
        let delete = Rules { keeps: false, ..KEEP };
        let mut table = table(&[]);
        let (first, last) = both(&table, delete, "good", identity(10, 900, 1), "good");
        assert_eq!(first, read(Some("good")));
        assert!(matches!(last, LastLook::Same(entry) if entry.id == 1));
        let (_, last) = both(&table, delete, "good", identity(10, 900, 1), "next");
        assert_eq!(last, LastLook::New);
        table.entries[0].moved_to = Some(PathBuf::new());
        let (first, last) = both(&table, delete, "good", identity(10, 900, 1), "good");
        assert_eq!((first, last), (read(None), LastLook::New), "it was deleted, and its inode is another file's");
    }

    /// The bug: a kill came between the removal of a source and its note, and the next one of its name, content and inode was
    /// taken for it, and removed without a row.
    #[test]
    fn a_file_that_was_made_after_the_commit_is_another() {
        let delete = Rules { keeps: false, ..KEEP };
        for (path, mtime_ns) in [("good", 900), ("next", 100)] {
            let mut table = table(&["good"]);
            let look = |table: &Table| {
                last_look(table, delete, Path::new(path), identity(10, mtime_ns, 1), &hash("good")).unwrap()
            };
            for (is_younger, is_same) in [(None, true), (Some(false), true), (Some(true), false)] {
                table.is_younger = is_younger;
                assert_eq!(matches!(look(&table), LastLook::Same(_)), is_same, "{path} {is_younger:?}");
            }
        }
    }

    /// The bug: its rows came twice.
    #[test]
    fn a_source_that_was_renamed_and_touched_is_the_same() {
        let mut table = table(&["good"]);
        let look =
            |table: &Table| last_look(table, KEEP, Path::new("renamed"), identity(10, 900, 1), &hash("good")).unwrap();
        assert_eq!(look(&table), LastLook::New, "its inode may be that of a file that was removed");
        table.is_younger = Some(true);
        assert_eq!(look(&table), LastLook::New);
        table.is_younger = Some(false);
        assert!(matches!(look(&table), LastLook::Same(entry) if entry.id == 1));
        table.gone.clear();
        assert_eq!(look(&table), LastLook::New, "the old name is there as well");
    }

    /// The bug: of two names of one file the first was renamed, and its rows came a third time.
    #[test]
    fn of_several_names_of_a_file_each_can_be_renamed() {
        let mut table = table(&["good"]);
        let link = Entry { id: 3, path: "link".into(), ..table.entries[0].clone() };
        table.entries.push(link);
        let (first, last) = both(&table, KEEP, "renamed", identity(10, 100, 1), "good");
        assert_eq!(first, read(Some("good")));
        assert!(matches!(last, LastLook::Same(entry) if entry.id == 1));
    }

    #[test]
    fn content_that_comes_back_after_a_rejection_is_the_same_source() {
        let mut table = table(&[]);
        let mut rejected = table.entries[1].clone();
        (rejected.id, rejected.path) = (3, "good".into());
        table.entries.push(rejected);
        let append = Rules { append_changed: true, ..KEEP };
        let (first, last) = both(&table, append, "good", identity(10, 400, 1), "good");
        assert_eq!(first, read(None));
        assert!(matches!(last, LastLook::Same(entry) if entry.id == 1));
    }

    #[test]
    fn a_reused_inode_with_other_content_is_new() {
        let (first, last) = both(&table(&["good"]), KEEP, "other", identity(10, 100, 1), "other");
        assert_eq!(first, read(Some("good")));
        assert_eq!(last, LastLook::New);
    }
}
