//! Which processes write the ledger, and what a dead one left open.
//!
//! **Promise.** An attempt that was running when its process died is charged at its ceiling, once; one whose process lives
//! is left alone. On a file there is one process, so whatever is open at its start is left over. On a server every process
//! is an instance: its name stands in each line that it opens (a setting of its connection, which the column takes by
//! default), and it renews a lease of [`LEASE`] by the server's clock. When that has run out, whoever renews next charges
//! its open lines.
//!
//! **An instance that was only asleep** finds its lines charged when it wakes. What it has to say of them still counts: a
//! line that was charged so is put right by its own end.
//!
//! **What it does not do.** It decides nothing about budgets: who may still spend is said there.

use super::store::{Cell, Db, cells};
use super::writer::Op;
use super::{Durability, Ledger, LedgerError};
use parking_lot::Mutex;
use std::time::Duration;

/// How long an instance is taken for alive after it was heard.
pub const LEASE: Duration = Duration::from_secs(10);

/// The name of this process on the ledger; it changes when others have taken it for dead.
pub(super) struct Name(Mutex<String>);

/// A renewal.
pub(super) struct Beat {
    /// The instance.
    pub(super) name: String,
}

// === impl Name ===

impl Name {
    pub(super) fn fresh() -> Self {
        Self(Mutex::new(fresh()))
    }

    pub(super) fn get(&self) -> String {
        self.0.lock().clone()
    }
}

fn fresh() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

// === impl Ledger: instances ===

impl Ledger {
    /// The name under which this process opens lines.
    pub fn instance(&self) -> String {
        self.instance.get()
    }

    /// Renews this process's lease and charges what dead ones left open; also tries whether a server that could not be
    /// reached can be again. Does nothing on a file that can be written.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn beat(&self) -> Result<(), LedgerError> {
        if !self.is_shared() && self.healthy() {
            return Ok(());
        }
        self.writer.commit(Op::Beat(Beat { name: self.instance.get() })).await
    }

    /// Whether no other instance was heard of for that long and [`LEASE`].
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn is_alone(&self, time: Duration) -> Result<bool, LedgerError> {
        let time = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let me = self.instance.get();
        let sql = format!("SELECT NOT EXISTS (SELECT 1 FROM instances WHERE id <> ?1 AND until_us > {NOW} - ?2)");
        self.read(|db| db.one(&sql, cells![&me, time], |row| row.get(0)))
    }

    /// Opens lines under another name from now on, and gives it: those of the old one were summed by somebody who took it
    /// for dead.
    ///
    /// # Errors
    /// It cannot be written; the name is another one all the same.
    pub async fn rename(&self) -> Result<String, LedgerError> {
        let name = fresh();
        self.instance.0.lock().clone_from(&name);
        self.beat().await?;
        Ok(name)
    }
}

/// Prepares the writer's connection and charges what was left open; says how many lines that were.
pub(super) fn begin(db: &mut Db, name: &str, durability: Durability, serves: bool) -> Result<usize, LedgerError> {
    let Db::Postgres(session) = db else {
        let synchronous = match durability {
            Durability::Disk => "FULL",
            Durability::Process => "NORMAL",
        };
        db.batch(&format!("PRAGMA synchronous = {synchronous}"))?;
        return if serves { db.execute(&charge("gateway_stopped", "outcome IS NULL"), &[]) } else { Ok(0) };
    };
    let synchronous = match durability {
        Durability::Disk => "on",
        Durability::Process => "off",
    };
    session.greet(format!("SET synchronous_commit = {synchronous};"))?;
    session.name(name);
    if !serves {
        return Ok(0);
    }
    db.transaction(|db| {
        seen(db, name)?;
        bury(db)
    })
}

/// Names the connection's instance, before the transaction of a group.
pub(super) fn name(db: &mut Db, beat: &Beat) {
    if let Db::Postgres(session) = db {
        session.name(&beat.name);
    }
}

/// Renews the lease, within the transaction of a group.
pub(super) fn beat(db: &mut Db, beat: &Beat) -> Result<(), LedgerError> {
    if db.is_postgres() {
        seen(db, &beat.name)?;
        let charged = bury(db)?;
        if charged > 0 {
            tracing::warn!(
                attempts = charged,
                "attempts of another instance were charged at their ceiling: it is dead"
            );
        }
        return Ok(());
    }
    try_file(db)
}

/// Changes something in a file: a commit of nothing would reach no disk, and prove nothing.
fn try_file(db: &mut Db) -> Result<(), LedgerError> {
    let now = jiff::Timestamp::now().as_microsecond().to_be_bytes();
    let sql =
        "INSERT INTO meta (name, value) VALUES ('tried', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    db.put(sql, cells![&now[..]])
}

/// Closes the database in order: nothing of this instance is left open.
pub(super) fn end(db: &mut Db) -> Result<(), LedgerError> {
    match db {
        Db::Sqlite(_) => db.query("PRAGMA wal_checkpoint(TRUNCATE)", &[], |_| Ok(())).map(drop),
        Db::Postgres(session) => {
            // Were anything left open, it need not wait until the lease has run out.
            let name = session.instance().to_owned();
            db.execute("UPDATE instances SET until_us = 0 WHERE id = ?1", cells![&name]).map(drop)
        }
    }
}

/// Forgets instances that ended a day ago.
pub(super) fn drop_ended(db: &mut Db) -> Result<(), LedgerError> {
    db.put(&format!("DELETE FROM instances WHERE until_us < {NOW} - ?1"), cells![86_400_000_000_i64])
}

fn seen(db: &mut Db, name: &str) -> Result<(), LedgerError> {
    let lease = i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX);
    db.put(
        &format!(
            "INSERT INTO instances (id, until_us) VALUES (?1, {NOW} + ?2) \
             ON CONFLICT (id) DO UPDATE SET until_us = excluded.until_us"
        ),
        cells![name, Cell::Int(lease)],
    )
}

/// The server's clock, in microseconds since 1970.
pub(super) const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Charges what instances left open whose lease has run out.
fn bury(db: &mut Db) -> Result<usize, LedgerError> {
    // Also those that no instance claims: lines from before there were any.
    let whose = format!(
        "outcome IS NULL AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.id = attempts.instance AND i.until_us > {NOW})"
    );
    db.execute(&charge("lease_expired", &whose), &[])
}

fn charge(error: &str, whose: &str) -> String {
    format!(
        "UPDATE attempts SET outcome = 'unknown', counted = 'at_least', ended_us = at_us, input = 0, cached = 0, \
         cache_write = 0, output = 0, reasoning = 0, cost_nd = ceiling_nd, baseline_nd = ceiling_nd, \
         error = '{error}' WHERE {whose}"
    )
}
