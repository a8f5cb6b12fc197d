//! Pruning of the evidence log, so that what is left can still be checked.
//!
//! **Promise.** Only a whole beginning of a log goes, up to a signed checkpoint that stays: number of records, digest of the
//! chain and Merkle tree at the cut. What is left is proven to be gap-free from there on, and an archived export joins on where it
//! reaches the cut. Each cut is on record in the log itself, behind the cut: nobody can shorten a log unseen.
//!
//! **Failure behaviour.** It runs in the ledger's writer, in one transaction with that record: all of it happens, or nothing.
//!
//! **What it does not do.** It archives nothing: export before it prunes. The newest records of a log are never pruned, however
//! old; a log that another process has left is cut by age alone.

use super::LedgerError;
use super::evidence::{Chain, now_us};
use super::store::{Db, cells};
use crate::audit::{Entry, Event};
use serde_json::{Map, json};
use std::time::Duration;

/// How much of the evidence log is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvidenceRetention {
    /// Records older than this are pruned; `None`: however old.
    pub age: Option<Duration>,
    /// Above so many bytes of records the oldest are pruned; `None`: however many. A file's.
    pub bytes: Option<u64>,
}

// === impl EvidenceRetention ===

impl EvidenceRetention {
    /// Whether anything is ever pruned.
    pub fn prunes(&self) -> bool {
        self.age.is_some() || self.bytes.is_some()
    }
}

// === impl Chain ===

impl Chain {
    /// Prunes the logs of the database.
    pub(super) fn prune(&mut self, db: &mut Db, keep: EvidenceRetention) -> Result<(), LedgerError> {
        let free = "SELECT pg_try_advisory_xact_lock(7235401, 3)";
        // One replica at a time: who comes second finds nothing left.
        if !keep.prunes() || (db.is_postgres() && !db.one(free, &[], |row| row.get::<bool>(0))?) {
            return Ok(());
        }
        self.catch_up(db)?;
        let mut pruned = false;
        // A file has one log.
        let logs = match db.is_postgres() {
            true => db.query("SELECT DISTINCT log FROM evidence", &[], |row| row.get::<String>(0))?,
            false => vec![self.stand.state.log.to_string()],
        };
        for log in &logs {
            let own = **log == *self.stand.state.log;
            let total = (own && !db.is_postgres()).then_some(self.stand.bytes);
            if let Some(cut) = cut_of(db, log, keep, total)? {
                db.put("DELETE FROM evidence WHERE log = ?1 AND first < ?2", cells![log.as_str(), cut])?;
                db.put("DELETE FROM checkpoints WHERE log = ?1 AND size < ?2", cells![log.as_str(), cut])?;
                pruned = true;
                if own {
                    self.stand.gone = gone(db, log)?;
                }
            }
        }
        if !pruned {
            return Ok(());
        }
        // Where every log of the database begins now: an earlier such record may go with the log that it stands in.
        let mut cuts = Map::new();
        for log in logs {
            let begin = "SELECT min(first) FROM evidence WHERE log = ?1";
            let begin = db.one(begin, cells![log.as_str()], |row| row.get::<Option<u64>>(0))?.unwrap_or(0);
            if begin > 0 {
                cuts.insert(log, begin.into());
            }
        }
        self.append(db, &[Entry { note: Some(json!({"cuts": cuts})), ..Entry::new(Event::Pruned, now_us()) }])
    }
}

/// Where a log is to be cut, if anywhere: at a signed checkpoint, where a row begins.
fn cut_of(db: &mut Db, log: &str, keep: EvidenceRetention, total: Option<u64>) -> Result<Option<u64>, LedgerError> {
    let ends = "SELECT min(first), max(first) FROM evidence WHERE log = ?1";
    let ends: (Option<u64>, Option<u64>) = db.one(ends, cells![log], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(begin), Some(last)) = ends else { return Ok(None) };
    let mut cut = begin;
    if let Some(age) = keep.age {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        // Clocks step back: nothing goes that comes after something young.
        let young = "SELECT min(first) FROM evidence WHERE log = ?1 AND at_us >= ?2";
        let young = db.one(young, cells![log, now_us().saturating_sub(age)], |row| row.get::<Option<u64>>(0))?;
        let sql = "SELECT max(size) FROM checkpoints WHERE log = ?1 AND size <= ?2 AND line <> '' \
                   AND EXISTS (SELECT 1 FROM evidence WHERE evidence.log = ?1 AND first = size)";
        let old = db.one(sql, cells![log, young.unwrap_or(last).min(last)], |row| row.get::<Option<u64>>(0))?;
        cut = cut.max(old.unwrap_or(begin));
    }
    if let (Some(most), Some(total)) = (keep.bytes, total) {
        let sql = "SELECT coalesce(min(CASE WHEN bytes >= ?3 THEN size END), max(size)) FROM checkpoints \
                   WHERE log = ?1 AND size <= ?2 AND line <> '' \
                   AND EXISTS (SELECT 1 FROM evidence WHERE evidence.log = ?1 AND first = size)";
        // Bytes are counted from the beginning of the log, whatever of it is gone.
        let large = match total.checked_sub(most) {
            Some(over) if over > 0 => db.one(sql, cells![log, last, over], |row| row.get::<Option<u64>>(0))?,
            Some(_) | None => None,
        };
        cut = cut.max(large.unwrap_or(begin));
    }
    Ok((cut > begin).then_some(cut))
}

/// Bytes of a log's records that are no longer there.
pub(super) fn gone(db: &mut Db, log: &str) -> Result<u64, LedgerError> {
    let sql =
        "SELECT bytes FROM checkpoints WHERE log = ?1 AND size = (SELECT min(first) FROM evidence WHERE log = ?1)";
    Ok(db.first(sql, cells![log], |row| row.get(0))?.unwrap_or(0))
}
