//! SQLite: a file, nothing to install.

use super::{Cell, Row};
use crate::ledger::LedgerError;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};
use std::path::Path;
use std::time::Duration;

pub(super) fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Pages: a checkpoint writes each page once, however many commits have touched it.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    // 2 MiB: the ledger must not be what an idle gateway's memory goes to.
    connection.pragma_update(None, "cache_size", -2_000)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

pub(super) fn execute(connection: &Connection, sql: &str, values: &[Cell<'_>]) -> Result<usize, LedgerError> {
    Ok(connection.prepare_cached(sql)?.execute(params_from_iter(values))?)
}

pub(super) fn query<T>(
    connection: &Connection,
    sql: &str,
    values: &[Cell<'_>],
    mut each: impl FnMut(&Row<'_>) -> Result<T, LedgerError>,
) -> Result<Vec<T>, LedgerError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut read = Vec::new();
    while let Some(row) = rows.next()? {
        read.push(each(&Row::Sqlite(row))?);
    }
    Ok(read)
}

pub(super) fn cell<'a>(row: &'a rusqlite::Row<'_>, at: usize) -> Result<Cell<'a>, LedgerError> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => {
            Cell::Text(std::str::from_utf8(text).map_err(|error| LedgerError::Database(error.to_string()))?)
        }
        ValueRef::Blob(bytes) => Cell::Blob(bytes),
    })
}
