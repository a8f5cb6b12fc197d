//! The ledger: one line per attempt, durable before the client's last byte.
//!
//! **Promise.** [`Ledger::open`] is committed before a priced attempt is dialled, [`Ledger::close`] before the last byte
//! of its answer is sent. So after `kill -9` every finished answer has its line, and an attempt that was running is
//! found open at the next start and charged at its ceiling, outcome `unknown`. Lines are idempotent by (request,
//! attempt).
//!
//! **How.** SQLite in WAL mode, one writer thread, group commit: whatever has queued while the last group was being
//! committed is the next group, so an idle gateway commits at once and a busy one amortises the fsync.
//! `durability = "disk"` is `synchronous=FULL`, `"process"` is `NORMAL`.
//!
//! **Failure behaviour.** When a commit fails the waiting requests get [`LedgerError`], [`Ledger::healthy`] turns false
//! and hosted traffic stops (503) until a commit succeeds again. Money is never spent without a line.
//!
//! **What it does not do.** No sharding, no leader election: PostgreSQL holds the ledger where there are replicas.

mod answers;
mod arms;
mod daily;
mod evidence;
mod keys;
mod learning;
mod query;
mod record;
mod residency;
mod schema;
mod spent;
mod writer;

pub use answers::{KEPT_US, KeptAnswer};
pub use arms::{ArmRecord, SessionRow};
pub use daily::DailyRow;
pub use evidence::KeptCheckpoint;
pub use keys::{KeyDigest, KeyRecord, NewKey, OldSecret};
pub use learning::{JudgedRow, JudgementRecord, LabelRecord};
pub use query::{GroupBy, RequestFilter, SpendRow, SpendTable};
pub use record::{AttemptClose, AttemptOpen, Outcome, Payer, RequestRecord, ShadowRecord};
pub use residency::ResidencyRow;
pub(crate) use spent::SpendScope;

use crate::audit::Keys;
use parking_lot::Mutex;
use policies::{Amount, Permit, Sink};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How much a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Power loss (fsync).
    #[default]
    Disk,
    /// `kill -9`.
    Process,
}

/// How long lines are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Lines older than this are pruned.
    pub age: Duration,
    /// Above this size of the database the oldest lines are pruned.
    pub bytes: u64,
}

/// Why the ledger cannot do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database refuses.
    #[error("ledger: {0}")]
    Database(String),
    /// The writer has stopped.
    #[error("the ledger is closed")]
    Closed,
    /// The file was written by a newer version.
    #[error("the ledger has schema version {found}, this program knows {known}: use the newer program")]
    Newer {
        /// Version found.
        found: i64,
        /// Newest version known.
        known: i64,
    },
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// A handle; clones share the writer.
#[derive(Clone)]
pub struct Ledger {
    path: Arc<PathBuf>,
    writer: Arc<writer::Writer>,
    reader: Arc<Mutex<Connection>>,
    audit: Option<Arc<evidence::Audit>>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.path).finish_non_exhaustive()
    }
}

// === impl Ledger ===

impl Ledger {
    /// Opens (and creates or migrates) the database and starts the writer; open attempts of an earlier life are charged
    /// at their ceiling. Gives the handle and how many of those there were.
    pub fn start(path: &Path, durability: Durability) -> Result<(Self, usize), LedgerError> {
        Self::start_with(path, durability, None)
    }

    /// As [`Ledger::start`]; with keys every dial is put on the evidence log, too.
    pub fn start_with(path: &Path, durability: Durability, keys: Option<Keys>) -> Result<(Self, usize), LedgerError> {
        let mut connection = connect(path)?;
        schema::migrate(&mut connection)?;
        let synchronous = match durability {
            Durability::Disk => "FULL",
            Durability::Process => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        let recovered = writer::charge_open_attempts(&connection)?;
        let chained = keys.map(|keys| evidence::Chain::load(&mut connection, keys)).transpose()?;
        let (chain, audit) = chained.unzip();
        let ledger = Self {
            path: Arc::new(path.to_owned()),
            writer: Arc::new(writer::Writer::start(connection, chain)?),
            reader: Arc::new(Mutex::new(connect(path)?)),
            audit: audit.map(Arc::new),
        };
        Ok((ledger, recovered))
    }

    /// Opens for reading and for key administration beside a running gateway: nothing is recovered.
    pub fn attach(path: &Path) -> Result<Self, LedgerError> {
        let mut connection = connect(path)?;
        schema::migrate(&mut connection)?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            writer: Arc::new(writer::Writer::start(connection, None)?),
            reader: Arc::new(Mutex::new(connect(path)?)),
            audit: None,
        })
    }

    /// Notes that an attempt is about to be dialled; returns once that is durable.
    ///
    /// # Cancel safety
    /// Once called, the line is written even if the future is dropped; the caller must close the attempt.
    pub async fn open(&self, attempt: Arc<AttemptOpen>) -> Result<(), LedgerError> {
        self.writer.commit(writer::Op::Open(attempt)).await
    }

    /// Closes an attempt and, with the last one, the request; returns once that is durable.
    ///
    /// # Cancel safety
    /// Once called, the line is written even if the future is dropped.
    pub async fn close(&self, attempt: AttemptClose, request: Option<RequestRecord>) -> Result<(), LedgerError> {
        self.writer.commit(writer::Op::Close(Box::new(attempt), request.map(Box::new))).await
    }

    /// Raises what a running attempt can cost, because its hold has grown; returns once that is durable.
    ///
    /// # Cancel safety
    /// Once called, it is written even if the future is dropped.
    pub async fn raise(&self, attempt: Arc<AttemptOpen>, to: Amount) -> Result<(), LedgerError> {
        self.writer.commit(writer::Op::Raise(attempt, to)).await
    }

    /// As [`Ledger::close`], for where nobody can wait (a dropped stream).
    pub fn close_later(&self, attempt: AttemptClose, request: Option<RequestRecord>) {
        self.writer.push(writer::Op::Close(Box::new(attempt), request.map(Box::new)), None);
    }

    /// Notes a request that had no attempt (refused).
    pub fn refused_later(&self, request: RequestRecord) {
        self.writer.push(writer::Op::Request(Box::new(request)), None);
    }

    /// Keeps both answers of a shadowed request, with leave to keep them; without it nothing is kept.
    pub fn shadow_later(&self, shadow: ShadowRecord, permit: &Permit) {
        if !permit.is_for(Sink::Shadow) {
            return;
        }
        self.writer.push(writer::Op::Shadow(Box::new(shadow)), None);
    }

    /// Whether the last commit succeeded.
    pub fn healthy(&self) -> bool {
        self.writer.healthy()
    }

    /// Prunes by age and size; gives how many attempts went.
    pub async fn prune(&self, retention: Retention) -> Result<(), LedgerError> {
        self.writer.commit(writer::Op::Prune(retention)).await
    }

    /// Writes what has queued, checkpoints and stops the writer.
    pub async fn shutdown(&self) -> Result<(), LedgerError> {
        self.writer.commit(writer::Op::Stop).await
    }

    /// The database's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T>(&self, ask: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>) -> Result<T, LedgerError> {
        Ok(ask(&self.reader.lock())?)
    }
}

fn connect(path: &Path) -> Result<Connection, LedgerError> {
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

#[cfg(test)]
mod tests;
