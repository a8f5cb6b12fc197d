//! The ledger: one line per attempt, durable before the client's last byte.
//!
//! **Promise.** [`Ledger::open`] is committed before a priced attempt is dialled, [`Ledger::close`] before the last byte
//! of its answer is sent. So after `kill -9` every finished answer has its line, and an attempt that was running is
//! found open at the next start and charged at its ceiling, outcome `unknown`. Lines are idempotent by (request,
//! attempt).
//!
//! **How.** SQLite in WAL mode, one writer thread, group commit: whatever has queued while the last group was being
//! committed is the next group, so an idle gateway commits at once and a busy one amortises the fsync.
//! `durability = "disk"` is `synchronous=FULL`, `"process"` is `NORMAL`. Where there are replicas, PostgreSQL takes SQLite's
//! place behind the same seam ([`store`]): the same writer, the same groups, `synchronous_commit` on or off.
//!
//! **Whose attempts are left over.** The only process on a file charges whatever it finds open. On a server every process is
//! an *instance* with a lease that it renews; another one charges what an instance left open whose lease has run out
//! ([`instances`]).
//!
//! **Failure behaviour.** When a commit fails the waiting requests get [`LedgerError`], [`Ledger::healthy`] turns false
//! and hosted traffic stops (503) until a commit succeeds again. Money is never spent without a line. A commit that the disk
//! neither takes nor refuses counts as one that failed ([`stall`]): what costs nothing does not wait for it.
//!
//! **A sync that failed is never tried again, its pages are written again.** After it the kernel may have dropped them and
//! call the next sync a success (Rebello et al., "Can Applications Recover from fsync Failures?", 2020). SQLite rolls the group
//! back and writes the next one over its frames. Until then they may lie in the log all the same, and a process that died now
//! would find them committed; but what was refused is put on record at once, which is that next one. With `"process"` nothing is
//! synced but a checkpoint, and what the kernel then drops, nobody can know.
//!
//! **What it does not do.** No sharding, no leader election.

mod answers;
mod arms;
mod claims;
mod compared;
mod counted;
mod daily;
mod evidence;
mod evidence_prune;
mod find;
mod heads;
mod hours;
mod instances;
mod keys;
mod late;
mod learning;
mod lines;
mod placed;
mod prune;
mod query;
mod record;
mod recorded;
mod residency;
mod schema;
mod series;
mod spent;
mod stall;
mod store;
mod sums;
mod writer;

pub use answers::{KEPT_US, KeptAnswer};
pub use arms::{ArmRecord, SessionRow};
pub(crate) use compared::UNDER_PROMPT;
pub use compared::{FIRST_ATTEMPT, PairRecord, PairRow, Step, Texts, Vote};
pub use counted::{CountedRow, LookRow};
pub use daily::DailyRow;
pub use evidence::{Cut, KeptCheckpoint};
pub use evidence_prune::EvidenceRetention;
pub use find::{Find, RequestFilter};
pub(crate) use heads::Marks;
pub use keys::{KeyBudget, KeyDigest, KeyRecord, NewKey, OldSecret};
pub use learning::{JudgedRow, JudgementRecord, LabelRecord};
pub use placed::{ArmAsked, ArmFigures, Mark, Own, Placed};
pub use query::{GroupBy, SpendRow, SpendTable};
pub use record::{AttemptClose, AttemptOpen, Outcome, Payer, RequestRecord, ShadowRecord};
pub use recorded::{Recorded, RecordedFilter, RecordedJudgement};
pub use residency::ResidencyRow;
pub use series::{Pieces, Quantiles, SeriesRow};
pub(crate) use spent::SpendScope;
pub use store::{Place, PlaceError};

use crate::audit::Keys;
use parking_lot::Mutex;
use policies::{Amount, Permit, Sink};
use std::sync::Arc;
use std::time::Duration;
use store::{Db, Patience};

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
    /// The file cannot be read or written just now: its disk fails or is full, or another process holds it. Nothing of what
    /// was asked was done.
    #[error("ledger: {0}")]
    Disk(String),
    /// The disk has not answered for so long that nobody waits for it any longer. What was asked may still be done.
    #[error("the ledger's disk does not answer")]
    Stalled,
    /// Nothing is tried: it was found out before that the ledger cannot be written.
    #[error("the ledger cannot be written")]
    Unwritable,
    /// The database's server cannot be reached, or was lost in the midst.
    #[error("ledger: {0}")]
    Unreachable(String),
    /// The writer has stopped.
    #[error("the ledger is closed")]
    Closed,
    /// The lease on shared budgets ran out before an attempt could be dialled.
    #[error("the lease on the budgets that replicas share has run out")]
    Lapsed,
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
        use rusqlite::ErrorCode;
        let of_the_disk = error.sqlite_error_code().is_some_and(|code| {
            matches!(
                code,
                ErrorCode::SystemIoFailure
                    | ErrorCode::DiskFull
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
            )
        });
        if of_the_disk { Self::Disk(error.to_string()) } else { Self::Database(error.to_string()) }
    }
}

impl LedgerError {
    /// Whether the store, and not a lease or this process's end, is to blame: it may work again any moment.
    pub(crate) fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Disk(_) | Self::Stalled | Self::Unwritable | Self::Unreachable(_))
    }
}

/// A handle; clones share the writer.
#[derive(Clone)]
pub struct Ledger {
    place: Place,
    instance: Arc<instances::Name>,
    writer: Arc<writer::Writer>,
    readers: Arc<[Mutex<Db>]>,
    audit: Option<Arc<evidence::Audit>>,
}

/// Connections that read at the same time, where a server answers.
const READERS: usize = 4;

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("place", &self.place).finish_non_exhaustive()
    }
}

// === impl Ledger ===

impl Ledger {
    /// Opens (and creates or migrates) the database and starts the writer; open attempts of earlier lives are charged at
    /// their ceiling. Gives the handle and how many of those there were.
    ///
    /// # Errors
    /// The database cannot be opened or reached, or a newer program has made it.
    pub fn start(place: impl Into<Place>, durability: Durability) -> Result<(Self, usize), LedgerError> {
        Self::opened(place.into(), durability, true, None)
    }

    /// As [`Ledger::start`]; with keys every dial is put on the evidence log, too.
    ///
    /// # Errors
    /// As [`Ledger::start`], and where the newest checkpoint of the log is damaged.
    pub fn start_with(
        place: impl Into<Place>,
        durability: Durability,
        keys: Option<Keys>,
    ) -> Result<(Self, usize), LedgerError> {
        Self::opened(place.into(), durability, true, keys)
    }

    /// Opens for reading and for key administration beside a running gateway: nothing is recovered.
    ///
    /// # Errors
    /// As [`Ledger::start`].
    pub fn attach(place: impl Into<Place>) -> Result<Self, LedgerError> {
        Self::attach_with(place, None)
    }

    /// As [`Ledger::attach`]; with keys what is dialled is put on the evidence log, also while a gateway writes it.
    ///
    /// # Errors
    /// As [`Ledger::start_with`].
    pub fn attach_with(place: impl Into<Place>, keys: Option<Keys>) -> Result<Self, LedgerError> {
        Ok(Self::opened(place.into(), Durability::Disk, false, keys)?.0)
    }

    fn opened(
        place: Place,
        durability: Durability,
        serves: bool,
        keys: Option<Keys>,
    ) -> Result<(Self, usize), LedgerError> {
        let instance = Arc::new(instances::Name::fresh());
        let (db, recovered, chained) = waiting(&place, || {
            let mut db = place.connect()?;
            schema::migrate(&mut db)?;
            let recovered = instances::begin(&mut db, &instance.get(), durability, serves)?;
            let chained = keys.map(|keys| evidence::Chain::load(&mut db, keys)).transpose()?;
            Ok((db, recovered, chained))
        })?;
        let (chain, audit) = chained.unzip();
        let readers = (0..if db.is_postgres() { READERS } else { 1 }).map(|_| place.connect().map(Mutex::new));
        let readers: Vec<_> = readers.collect::<Result<_, _>>()?;
        let writer = Arc::new(writer::Writer::start(db, chain)?);
        let ledger = Self { writer, place, instance, readers: readers.into(), audit: audit.map(Arc::new) };
        Ok((ledger, recovered))
    }

    /// Notes that an attempt is about to be dialled; returns once that is durable.
    ///
    /// # Errors
    /// It is not durable, so nothing may be dialled. Where the server's answer was lost, or the disk does not answer in
    /// [`stall::OPENING`], the line may be there all the same: its end, at no cost, is queued.
    ///
    /// # Cancel safety
    /// Once called, the line is written even if the future is dropped; the caller must close the attempt.
    pub async fn open(&self, attempt: Arc<AttemptOpen>) -> Result<(), LedgerError> {
        let opened = self.writer.commit_within(writer::Op::Open(attempt.clone()), stall::OPENING).await;
        if matches!(opened, Err(LedgerError::Unreachable(_) | LedgerError::Stalled)) {
            self.close_later(AttemptClose::never_dialled(attempt, "ledger_unreachable"), None);
        }
        opened
    }

    /// Closes an attempt and, with the last one, the request; returns once that is durable.
    ///
    /// # Cancel safety
    /// Once called, the line is written even if the future is dropped.
    pub async fn close(&self, attempt: AttemptClose, request: Option<RequestRecord>) -> Result<(), LedgerError> {
        self.writer.commit_within(writer::Op::Close(Box::new(attempt), request.map(Box::new)), stall::ENDING).await
    }

    /// As [`Ledger::close`], of an attempt that cost nothing: a disk that does not answer is not waited for.
    ///
    /// # Cancel safety
    /// As [`Ledger::close`].
    pub async fn close_free(&self, attempt: AttemptClose, request: Option<RequestRecord>) -> Result<(), LedgerError> {
        self.writer.commit_within(writer::Op::Close(Box::new(attempt), request.map(Box::new)), stall::FREE).await
    }

    /// Raises what a running attempt can cost, because its hold has grown; returns once that is durable.
    ///
    /// # Cancel safety
    /// Once called, it is written even if the future is dropped.
    pub async fn raise(&self, attempt: Arc<AttemptOpen>, to: Amount) -> Result<(), LedgerError> {
        self.writer.commit_within(writer::Op::Raise(attempt, to), stall::ENDING).await
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

    /// Whether the last commit succeeded, and none has been under way for too long.
    pub fn healthy(&self) -> bool {
        self.writer.healthy()
    }

    /// Lines that could not be written and wait in memory until the store can be written again.
    pub fn late(&self) -> usize {
        self.writer.late()
    }

    /// Prunes by age and, a file, by size.
    pub async fn prune(&self, retention: Retention) -> Result<(), LedgerError> {
        self.writer.commit(writer::Op::Prune(retention)).await
    }

    /// Writes what has queued, checkpoints and stops the writer.
    pub async fn shutdown(&self) -> Result<(), LedgerError> {
        self.writer.commit(writer::Op::Stop).await
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether several processes may write it.
    pub fn is_shared(&self) -> bool {
        matches!(self.place, Place::Server(_))
    }

    fn read<T: Send>(&self, ask: impl FnOnce(&mut Db) -> Result<T, LedgerError> + Send) -> Result<T, LedgerError> {
        waiting(&self.place, || {
            let free = self.readers.iter().find_map(|reader| reader.try_lock());
            match (free, self.readers.first()) {
                (Some(mut reader), _) => ask(&mut reader),
                (None, Some(reader)) => ask(&mut reader.lock()),
                (None, None) => Err(LedgerError::Closed),
            }
        })
    }

    /// With a connection of its own: for what takes long, and for writing where the writer may belong to another process.
    fn aside<T: Send>(&self, work: impl FnOnce(&mut Db) -> Result<T, LedgerError> + Send) -> Result<T, LedgerError> {
        waiting(&self.place, || {
            let mut db = self.place.connect()?;
            db.be(Patience::Long);
            work(&mut db)
        })
    }

    /// As [`Ledger::read`], of a row or two that a request waits for.
    fn glance<T: Send>(&self, ask: impl FnOnce(&mut Db) -> Result<T, LedgerError> + Send) -> Result<T, LedgerError> {
        self.read(|db| {
            db.be(Patience::Short);
            let seen = ask(db);
            db.be(Patience::Usual);
            seen
        })
    }
}

/// Waits for a database from wherever it is called. A file answers at once. A server's answer is waited for outside of
/// async: the thread's other tasks go elsewhere, or, where there is one thread only, another thread waits.
fn waiting<T: Send>(place: &Place, work: impl FnOnce() -> Result<T, LedgerError> + Send) -> Result<T, LedgerError> {
    use tokio::runtime::{Handle, RuntimeFlavor};
    if matches!(place, Place::File(_)) {
        return work();
    }
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Err(_) => work(),
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) => std::thread::scope(|scope| scope.spawn(work).join())
            .unwrap_or_else(|_| Err(LedgerError::Database("a question ended in a panic".into()))),
    }
}

#[cfg(test)]
pub(crate) mod bed;
#[cfg(test)]
mod tests;
