//! The seam under the ledger: one SQL text, two databases.
//!
//! **Promise.** What stands above it is written once. A text has its places as `?1`, `?2`; whole numbers are `i64`
//! everywhere (a yes is a 1), times are microseconds since 1970. Where the databases differ ([`Db::is_postgres`]), a piece
//! of text does, never the shape of a row.
//!
//! **Why an enum.** Two databases are known, and a line of the ledger is written thirty thousand times a second: a call
//! through it costs a comparison.
//!
//! **What it does not do.** It hides no semantics: both isolate a transaction well enough for what the ledger does, one
//! statement that writes a row that another one may write, too.

mod cell;
mod place;
mod postgres;
mod sqlite;

pub(super) use cell::{Cell, FromCell, cells};
pub use place::{Place, PlaceError};

use super::LedgerError;

/// A connection.
pub(super) enum Db {
    Sqlite(rusqlite::Connection),
    Postgres(Box<postgres::Session>),
}

/// How long answers of a server are waited for; a file answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// A line, or a look at one: what somebody waits for with a request.
    Short,
    /// A question about some of what there is.
    Usual,
    /// A question about everything there is.
    Long,
}

/// A row of an answer.
pub(super) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

// === impl Row ===

impl Row<'_> {
    /// The value in a column, from 0.
    pub(super) fn get<T: FromCell>(&self, at: usize) -> Result<T, LedgerError> {
        let cell = match self {
            Self::Sqlite(row) => sqlite::cell(row, at)?,
            Self::Postgres(row) => row.try_get::<_, Cell<'_>>(at).map_err(postgres::error)?,
        };
        T::from_cell(cell).ok_or_else(|| LedgerError::Database(format!("column {at} holds something else: {cell:?}")))
    }
}

// === impl Db ===

impl Db {
    /// Whether the text of a question is PostgreSQL's.
    pub(super) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// How long answers are waited for from now on.
    pub(super) fn be(&mut self, patience: Patience) {
        if let Self::Postgres(session) = self {
            session.be(patience);
        }
    }

    /// Whether there was a connection when something was last tried: then another try makes a fresh one.
    pub(super) fn was_reached(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(session) => session.was_reached(),
        }
    }

    /// Runs a statement; gives the number of rows that it changed.
    pub(super) fn execute(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<usize, LedgerError> {
        match self {
            Self::Sqlite(connection) => sqlite::execute(connection, sql, values),
            Self::Postgres(session) => session.execute(sql, values),
        }
    }

    /// Runs a statement whose effect nobody asks for before the transaction ends. Over a network these go out together:
    /// a group of lines costs the time of one round trip, not of one each.
    pub(super) fn put(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(connection) => sqlite::execute(connection, sql, values).map(drop),
            Self::Postgres(session) => session.put(sql, values),
        }
    }

    /// Every row of an answer, as `each` reads it.
    pub(super) fn query<T>(
        &mut self,
        sql: &str,
        values: &[Cell<'_>],
        each: impl FnMut(&Row<'_>) -> Result<T, LedgerError>,
    ) -> Result<Vec<T>, LedgerError> {
        match self {
            Self::Sqlite(connection) => sqlite::query(connection, sql, values, each),
            Self::Postgres(session) => session.query(sql, values, each),
        }
    }

    /// The first row, if there is one.
    pub(super) fn first<T>(
        &mut self,
        sql: &str,
        values: &[Cell<'_>],
        each: impl FnMut(&Row<'_>) -> Result<T, LedgerError>,
    ) -> Result<Option<T>, LedgerError> {
        Ok(self.query(sql, values, each)?.into_iter().next())
    }

    /// The only row of an answer that has one.
    pub(super) fn one<T>(
        &mut self,
        sql: &str,
        values: &[Cell<'_>],
        each: impl FnMut(&Row<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.first(sql, values, each)?.ok_or_else(|| LedgerError::Database("an answer has no row".into()))
    }

    /// Runs statements that take no values.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(session) => session.batch(sql),
        }
    }

    /// Does all of it or nothing.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        match self {
            Self::Sqlite(connection) => connection.execute_batch("BEGIN IMMEDIATE")?,
            Self::Postgres(session) => session.begin()?,
        }
        let done = work(self).and_then(|done| {
            match self {
                Self::Sqlite(connection) => connection.execute_batch("COMMIT")?,
                Self::Postgres(session) => session.commit()?,
            }
            Ok(done)
        });
        if done.is_err() {
            self.undo();
        }
        done
    }

    /// Undoes what was not committed.
    pub(super) fn undo(&mut self) {
        match self {
            // What failed has undone it already, or the file is gone: both are told by its error.
            Self::Sqlite(connection) => drop(connection.execute_batch("ROLLBACK")),
            Self::Postgres(session) => session.rollback(),
        }
    }

    /// Reads, however many statements it takes, what was there at one moment.
    pub(super) fn snapshot<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let begun = match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch("BEGIN")?),
            Self::Postgres(session) => {
                session.begin()?;
                session.batch("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            }
        };
        let done = begun.and_then(|()| read(self));
        match self {
            // Nothing was written; what failed is told by the error above.
            Self::Sqlite(connection) => drop(connection.execute_batch("ROLLBACK")),
            Self::Postgres(session) => session.rollback(),
        }
        done
    }

    /// The UTC day, `2026-01-31`, of a column in microseconds.
    pub(super) fn day_of(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("date({column} / 1000000, 'unixepoch')"),
            Self::Postgres(_) => {
                format!("to_char(to_timestamp({column} / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')")
            }
        }
    }
}
