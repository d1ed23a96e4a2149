//! Columns that ledgers of earlier versions lack. A ledger gets them when it is opened for writing; who only reads one that has
//! not got them yet finds nothing in them.

use rusqlite::{Connection, Row, Transaction, TransactionBehavior};

/// Of `sources`.
const LATER: [(&str, &str); 2] = [("log_marks", "BLOB"), ("log_cut", "INTEGER")];

pub(super) fn add_columns(connection: &Connection) -> rusqlite::Result<()> {
    let is_missing = |column: &str| {
        let mut columns = connection.prepare("SELECT 1 FROM pragma_table_info('sources') WHERE name = ?1")?;
        columns.exists([column]).map(|is_there| !is_there)
    };
    let mut missing = Vec::new();
    for (column, kind) in LATER {
        if is_missing(column)? {
            missing.push(format!("ALTER TABLE sources ADD COLUMN {column} {kind};"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(&missing.concat())?;
    transaction.commit()
}

/// What a row has in such a column.
pub(super) fn later(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    match row.as_ref().column_index(column) {
        Ok(place) => row.get(place),
        Err(rusqlite::Error::InvalidColumnName(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
