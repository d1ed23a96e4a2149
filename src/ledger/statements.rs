//! The statements that change a ledger, each prepared once for a connection.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, params};

use super::queries::path_value;
use super::{Committed, Entry, Fate, FoundAgain, State};

/// Rejected sources.
pub fn forget(transaction: &Transaction<'_>, ids: &[u64]) -> rusqlite::Result<()> {
    let mut forget = transaction.prepare_cached("DELETE FROM sources WHERE id = ?1 AND status = 'rejected'")?;
    for id in ids {
        forget.execute(params![id.cast_signed()])?;
    }
    Ok(())
}

/// A rejected source, if it is noted to be where this entry has it. `false`: it is not, or is not listed any more.
pub fn forget_as_read(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached("DELETE FROM sources WHERE id = ?1 AND status = 'rejected' AND moved_to IS ?2")?
        .execute(params![entry.id.cast_signed(), entry.moved_to.as_deref().map(path_value)])
        .map(|deleted| deleted > 0)
}

/// Where a rejected source went, if it is noted to be where this entry has it. `false`: it is not, or is not listed any more.
pub fn move_as_read(connection: &Connection, entry: &Entry, moved_to: &Path) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("UPDATE sources SET moved_to = ?3 WHERE id = ?1 AND status = 'rejected' AND moved_to IS ?2")?
        .execute(params![entry.id.cast_signed(), entry.moved_to.as_deref().map(path_value), path_value(moved_to)])
        .map(|changed| changed > 0)
}

pub fn insert(transaction: &Transaction<'_>, entries: &[Entry]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO sources (id, path, size, mtime_ns, inode, hash, status, reason, first_row, rows,
                              checksum, columns_checksum, log, log_index, log_begin, log_end, log_head_at,
                              log_head, log_tail, log_marks, committed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
                 strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
    )?;
    for entry in entries {
        let (status, reason, committed) = match &entry.fate {
            Fate::Committed(committed) => ("committed", committed.note.as_deref(), Some(committed)),
            Fate::Rejected { reason } => ("rejected", Some(reason.as_str()), None),
        };
        let part = entry.part.as_ref();
        insert.execute(params![
            entry.id.cast_signed(),
            path_value(&entry.path),
            entry.identity.size.cast_signed(),
            entry.identity.mtime_ns,
            entry.identity.inode.cast_signed(),
            entry.hash.map(|hash| hash.to_hex().to_string()),
            status,
            reason,
            committed.map(|committed| committed.first_row.cast_signed()),
            committed.map_or(0, |committed| committed.rows.cast_signed()),
            committed.map(|committed| committed.checksum.to_hex().to_string()),
            committed.map(|committed| committed.columns_checksum.to_hex().to_string()),
            part.map(|part| part.log.cast_signed()),
            part.map(|part| part.first_index.cast_signed()),
            part.map(|part| part.begin.cast_signed()),
            part.map(|part| part.end.cast_signed()),
            part.map(|part| part.head_at.cast_signed()),
            part.map(|part| &part.head),
            part.map(|part| part.tail.to_hex().to_string()),
            part.map(|part| part.marks.as_bytes()),
        ])?;
    }
    Ok(())
}

/// Parts of logs that go on.
pub fn extend(transaction: &Transaction<'_>, entries: &[Entry]) -> rusqlite::Result<()> {
    let mut extend = transaction.prepare_cached(
        "UPDATE sources SET path = ?2, size = ?3, mtime_ns = ?4, inode = ?5, hash = ?6, reason = ?7, rows = ?8,
                            checksum = ?9, columns_checksum = ?10, log_end = ?11, log_head = ?12, log_tail = ?13,
                            log_marks = ?14, log_cut = NULL, committed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
         WHERE id = ?1",
    )?;
    for entry in entries {
        let (Some(part), Fate::Committed(Committed { note, rows, checksum, columns_checksum, .. })) =
            (&entry.part, &entry.fate)
        else {
            continue;
        };
        extend.execute(params![
            entry.id.cast_signed(),
            path_value(&entry.path),
            entry.identity.size.cast_signed(),
            entry.identity.mtime_ns,
            entry.identity.inode.cast_signed(),
            entry.hash.map(|hash| hash.to_hex().to_string()),
            note.as_deref(),
            rows.cast_signed(),
            checksum.to_hex().to_string(),
            columns_checksum.to_hex().to_string(),
            part.end.cast_signed(),
            part.head,
            part.tail.to_hex().to_string(),
            part.marks.as_bytes(),
        ])?;
    }
    Ok(())
}

pub fn rename(transaction: &Transaction<'_>, found_again: &[FoundAgain]) -> rusqlite::Result<()> {
    let mut rename = transaction.prepare_cached(
        "UPDATE sources SET path = ?2, size = ?3, mtime_ns = ?4, inode = ?5, moved_to = NULL WHERE id = ?1",
    )?;
    for FoundAgain { id, path, identity } in found_again {
        let (size, inode) = (identity.size.cast_signed(), identity.inode.cast_signed());
        rename.execute(params![id.cast_signed(), path_value(path), size, identity.mtime_ns, inode])?;
    }
    Ok(())
}

/// Where sources went.
pub fn move_away(transaction: &Transaction<'_>, moved: &[(u64, PathBuf)]) -> rusqlite::Result<()> {
    let mut update = transaction.prepare_cached("UPDATE sources SET moved_to = ?2 WHERE id = ?1")?;
    for (id, path) in moved {
        update.execute(params![id.cast_signed(), path_value(path)])?;
    }
    Ok(())
}

/// New class names, with ids from this one on.
pub fn label(transaction: &Transaction<'_>, first_id: usize, names: &[String]) -> rusqlite::Result<()> {
    let mut label = transaction.prepare_cached("INSERT INTO labels (id, name) VALUES (?1, ?2)")?;
    for (place, name) in names.iter().enumerate() {
        label.execute(params![(first_id + place) as i64, name])?;
    }
    Ok(())
}

/// What the rows are made with, in place of what was there.
pub fn set_settings(transaction: &Transaction<'_>, settings: &[(String, String)]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM settings", [])?;
    let mut insert = transaction.prepare("INSERT INTO settings VALUES (?1, ?2, ?3)")?;
    for (place, (key, value)) in settings.iter().enumerate() {
        insert.execute(params![place as i64, key, value])?;
    }
    Ok(())
}

/// Logs that gave no row, where nothing did.
pub fn forget_logs(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let forget = "DELETE FROM sources WHERE log IS NOT NULL AND (SELECT rows FROM dataset) = 0";
    transaction.execute(forget, []).map(drop)
}

pub fn set_state(transaction: &Transaction<'_>, state: State) -> rusqlite::Result<()> {
    let State { rows, next_source_id, clean_rows, unsynced: _ } = state;
    transaction
        .prepare_cached("UPDATE dataset SET rows = ?1, next_source_id = ?2, clean_rows = ?3")?
        .execute(params![rows.cast_signed(), next_source_id.cast_signed(), clean_rows.cast_signed()])
        .map(drop)
}

/// The smallest size that a log was seen to have when it had been taken up to `end`.
pub fn note_cut(transaction: &Transaction<'_>, log: u64, end: u64, size: u64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE sources SET log_cut = ?3 WHERE id = (SELECT max(id) FROM sources WHERE log = ?1) AND log_end = ?2
                    AND (log_cut IS NULL OR log_cut > ?3)",
        )?
        .execute(params![log.cast_signed(), end.cast_signed(), size.cast_signed()])
        .map(drop)
}

/// What was taken of these logs is all that was seen of them.
pub fn go_back(transaction: &Transaction<'_>, logs: impl Iterator<Item = u64>) -> rusqlite::Result<()> {
    let mut update = transaction
        .prepare_cached("UPDATE sources SET size = log_end WHERE id = (SELECT max(id) FROM sources WHERE log = ?1)")?;
    for log in logs {
        update.execute(params![log.cast_signed()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{LedgerSchema, LedgerView, Ledgers, SqliteLedgers, Transaction};
    use crate::source::Identity;

    /// The bug: `retry` read a rejected source, the service moved it away and noted that, and then no ledger had it.
    #[test]
    fn a_rejected_source_that_was_moved_since_it_was_read_stays_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ledger.db");
        let schema = LedgerSchema { settings: Vec::new(), columns: Vec::new() };
        let mut ledger = SqliteLedgers.create(&path, &schema, true).unwrap();
        let sources = [1, 2, 3].map(|id| Entry {
            id,
            path: "a".into(),
            identity: Identity { size: 1, mtime_ns: 1, inode: id },
            hash: None,
            fate: Fate::Rejected { reason: "no".into() },
            moved_to: None,
            part: None,
        });
        let state = State { rows: 0, next_source_id: 4, clean_rows: 0, unsynced: false };
        let none =
            Transaction { state, sources: &[], found_again: &[], extended: &[], forgotten: &[], new_labels: &[] };
        ledger.commit(&Transaction { sources: &sources, ..none }).unwrap();
        let view = LedgerView::open(&path).unwrap().unwrap();
        let read = view.rejected(None).unwrap();
        ledger.note_moved(&[(2, "failed/a".into())]).unwrap();
        ledger.forget(&[3]).unwrap();
        let moved = Entry { moved_to: Some("failed/a".into()), ..sources[1].clone() };
        assert_eq!(view.forget_rejected(&read).unwrap(), std::slice::from_ref(&moved));
        assert_eq!(view.rejected(None).unwrap(), std::slice::from_ref(&moved));
        assert_eq!(view.forget_rejected(&[moved]).unwrap(), []);
        assert_eq!(view.rejected(None).unwrap(), []);
    }
}
