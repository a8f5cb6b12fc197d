//! Heads that were tried, promoted and taken back: their files, and every step on record.
//!
//! **Promise.** A head's file and the step that begins its trial are one commit, so a step never names a head that nobody
//! has. The steps of a lane are numbered without gaps and each number is given once: whoever decides on what he has read
//! writes the next number, and is told when somebody was faster, another replica or a person. Steps and files are not
//! pruned: what they say is in force. What they mean is told by [`crate::rollout`].

use super::store::{Row, cells};
use super::{Ledger, LedgerError};
use crate::probe::Head;
use crate::rollout::{Marked, Sent, Step, StepKind};
use policies::Location;

/// The tables, as a step of the schema of a file.
pub(super) const MIGRATION: &str = "
ALTER TABLE judgements ADD COLUMN lane TEXT NOT NULL DEFAULT '';  -- the entry of [[router.heads]]; empty: none took it

CREATE TABLE heads (
    version TEXT PRIMARY KEY,
    at_us INTEGER NOT NULL,
    file BLOB NOT NULL                    -- as `classifier train` writes it
) STRICT;

CREATE TABLE head_steps (
    lane TEXT NOT NULL, number INTEGER NOT NULL,  -- from 1, without gaps
    at_us INTEGER NOT NULL,
    kind TEXT NOT NULL,                   -- tried | promoted | rolled_back
    head TEXT NOT NULL,                   -- its version
    part REAL NOT NULL,                   -- tried: the part of the lane's sessions
    configured TEXT NOT NULL,             -- the head that the file names for the lane: under another one the step says nothing
    by TEXT NOT NULL,                     -- verdict | alarm | time | person
    why TEXT NOT NULL,
    PRIMARY KEY (lane, number)
) STRICT;
";

/// The same for a server.
pub(super) const SERVER_MIGRATION: &str = "
ALTER TABLE judgements ADD COLUMN lane TEXT NOT NULL DEFAULT '';

CREATE TABLE heads (
    version TEXT COLLATE \"C\" PRIMARY KEY,
    at_us BIGINT NOT NULL,
    file BYTEA NOT NULL
);

CREATE TABLE head_steps (
    lane TEXT COLLATE \"C\" NOT NULL, number BIGINT NOT NULL,
    at_us BIGINT NOT NULL,
    kind TEXT NOT NULL, head TEXT NOT NULL,
    part DOUBLE PRECISION NOT NULL,
    configured TEXT NOT NULL,
    by TEXT NOT NULL, why TEXT NOT NULL,
    PRIMARY KEY (lane, number)
);
";

/// Judged requests of a trial that are looked at for the share that went hosted, the first ones.
const MOST_SENT: i64 = 50_000;
/// Labels of answers that are looked at.
const MOST_MARKED: i64 = 200_000;

/// Which labels are looked at where there are more than are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// The first ones: what a trial shows is a bet that began with them.
    First,
    /// The newest ones, for an alarm that must not go deaf. It sums over all pairs at which things may have turned: one that begins
    /// later leaves terms of that sum out, and rings no more often by itself.
    Newest,
}

// === impl Ledger: heads ===

impl Ledger {
    /// Puts a step on record, with the head's file where it is a new one; `false`: somebody else has taken the number, and
    /// nothing was written. Durable when it returns; blocks.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn put_step(&self, step: &Step, file: Option<&[u8]>) -> Result<bool, LedgerError> {
        // A connection of its own: the writer may belong to another process.
        self.aside(|db| {
            db.transaction(|db| {
                let sql = "INSERT INTO head_steps (lane, number, at_us, kind, head, part, configured, by, why) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (lane, number) DO NOTHING";
                let written = db.execute(
                    sql,
                    cells![
                        &step.lane,
                        step.number,
                        step.at_us,
                        step.kind.word(),
                        &step.head,
                        step.part,
                        &step.configured,
                        step.by,
                        &step.why,
                    ],
                )?;
                if let Some(file) = file.filter(|_| written > 0) {
                    let sql = "INSERT INTO heads (version, at_us, file) VALUES (?1, ?2, ?3) \
                               ON CONFLICT (version) DO NOTHING";
                    db.execute(sql, cells![&step.head, step.at_us, file])?;
                }
                Ok(written > 0)
            })
        })
    }

    /// All steps of all lanes, each lane's in their order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn head_steps(&self) -> Result<Vec<Step>, LedgerError> {
        let sql =
            "SELECT lane, number, at_us, kind, head, part, configured, by, why FROM head_steps ORDER BY lane, number";
        self.read(|db| db.query(sql, &[], step))
    }

    /// A registered head; `None` where there is none of this version.
    ///
    /// # Errors
    /// The database cannot be read, or what it has is no head of this program.
    pub fn head(&self, version: &str) -> Result<Option<Head>, LedgerError> {
        let sql = "SELECT file FROM heads WHERE version = ?1";
        let file = self.read(|db| db.first(sql, cells![version], |row| row.get::<Vec<u8>>(0)))?;
        file.map(|file| {
            crate::probe::read(&file).map_err(|why| LedgerError::Database(format!("the head `{version}`: {why}")))
        })
        .transpose()
    }

    /// The registered versions and when they came, microseconds since 1970, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn registered_heads(&self) -> Result<Vec<(String, i64)>, LedgerError> {
        let sql = "SELECT version, at_us FROM heads ORDER BY at_us, version";
        self.read(|db| db.query(sql, &[], |row| Ok((row.get(0)?, row.get(1)?))))
    }

    /// A number that changes when something was said since then of answers that are compared.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn labels_since(&self, since_us: i64) -> Result<(u64, Option<i64>), LedgerError> {
        let sql = "SELECT count(*), max(at_us) FROM labels WHERE at_us >= ?1";
        self.read(|db| db.one(sql, cells![since_us], |row| Ok((row.get(0)?, row.get(1)?))))
    }

    /// What was said of answers to requests that these two judges have judged in a lane since then, in the order in which it
    /// was said: 200,000 labels at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn marks_of(
        &self,
        lane: &str,
        judges: (&str, &str),
        since_us: i64,
        which: Marks,
    ) -> Result<Vec<Marked>, LedgerError> {
        self.so_many_marks_of(lane, judges, since_us, (which, MOST_MARKED))
    }

    fn so_many_marks_of(
        &self,
        lane: &str,
        (tried, other): (&str, &str),
        since_us: i64,
        (which, most): (Marks, i64),
    ) -> Result<Vec<Marked>, LedgerError> {
        let order = match which {
            Marks::First => "l.at_us, l.request, l.source",
            Marks::Newest => "l.at_us DESC, l.request DESC, l.source DESC",
        };
        let sql = format!(
            "SELECT {SENT}, l.source, l.value, l.request FROM judgements j JOIN requests r ON r.id = j.request \
             JOIN labels l ON l.request = j.request WHERE {JUDGED} ORDER BY {order} LIMIT ?5"
        );
        let mut marks = self.aside(|db| {
            db.query(&sql, cells![lane, tried, other, since_us, most], |row| {
                let Sent { tried, session, hosted } = sent(row, tried)?;
                Ok(Marked { tried, session, hosted, source: row.get(3)?, value: row.get(4)?, request: row.get(5)? })
            })
        })?;
        if which == Marks::Newest {
            marks.reverse();
        }
        Ok(marks)
    }

    /// Where requests went that these two judges have judged in a lane since then, in their order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn sent_by(
        &self,
        lane: &str,
        (tried, other): (&str, &str),
        since_us: i64,
    ) -> Result<Vec<Sent>, LedgerError> {
        let sql = format!(
            "SELECT {SENT} FROM judgements j JOIN requests r ON r.id = j.request WHERE {JUDGED} \
             ORDER BY j.at_us, j.request LIMIT ?5"
        );
        self.read(|db| db.query(&sql, cells![lane, tried, other, since_us, MOST_SENT], |row| sent(row, tried)))
    }
}

/// Where a request went, as [`sent`] reads it.
const SENT: &str = "j.judge, coalesce(r.session, r.id), r.route";

/// Which requests: those that two judges have judged in a lane since then, and that went somewhere.
const JUDGED: &str = "j.lane = ?1 AND j.judge IN (?2, ?3) AND j.at_us >= ?4 AND r.route IS NOT NULL";

fn sent(row: &Row<'_>, tried: &str) -> Result<Sent, LedgerError> {
    let hosted = row.get::<String>(2)? == Location::Hosted.word();
    Ok(Sent { tried: row.get::<String>(0)? == tried, session: row.get(1)?, hosted })
}

fn step(row: &Row<'_>) -> Result<Step, LedgerError> {
    let kind: String = row.get(3)?;
    Ok(Step {
        lane: row.get(0)?,
        number: row.get(1)?,
        at_us: row.get(2)?,
        kind: StepKind::read(&kind).ok_or_else(|| LedgerError::Database(format!("`{kind}` is no step of a head")))?,
        head: row.get(4)?,
        part: row.get(5)?,
        configured: row.get(6)?,
        by: match row.get::<String>(7)?.as_str() {
            "verdict" => "verdict",
            "time" => "time",
            "alarm" => "alarm",
            _ => "person",
        },
        why: row.get(8)?,
    })
}

#[cfg(test)]
mod tests;
