//! Which arm of an experiment a request was in, and what is known of each arm.
//!
//! **Promise.** The arm is written in the commit that closes the request, with what that arm did (`what`: its side, model, threshold,
//! or the digest of its system prompt), and pruned with the request. An arm that does something else now is another arm: what
//! was known of it before does not count.

use super::store::{Db, cells};
use super::{Ledger, LedgerError, RequestRecord};
use crate::again::{REASK, REGENERATE};
use crate::compare::Side;
use crate::learn::traffic::FEEDBACK;
use policies::NanoDollars;
use serde::Serialize;
use serde_json::Value;

/// The table, as a step of the schema of a file.
pub(super) const MIGRATION: &str = "
CREATE TABLE placed (
    request TEXT PRIMARY KEY, at_us INTEGER NOT NULL,
    experiment TEXT NOT NULL,
    arm TEXT NOT NULL,                    -- left | right
    what TEXT NOT NULL                    -- what the arm does otherwise, e.g. 'system 0f3c...' or 'hosted_share 0.2'
) STRICT;
CREATE INDEX placed_at ON placed (at_us);
CREATE INDEX placed_arm ON placed (experiment, arm, what);
";

/// The same for a server.
pub(super) const SERVER_MIGRATION: &str = "
CREATE TABLE placed (
    request TEXT PRIMARY KEY, at_us BIGINT NOT NULL,
    experiment TEXT NOT NULL, arm TEXT NOT NULL, what TEXT NOT NULL
);
CREATE INDEX placed_at ON placed (at_us);
CREATE INDEX placed_arm ON placed (experiment, arm, what);
";

/// The arm of an experiment that a request counts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The experiment.
    #[serde(rename = "name")]
    pub experiment: String,
    /// The arm.
    pub arm: Side,
    /// What it does otherwise.
    pub what: String,
}

/// An arm in figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmFigures {
    /// Requests that were answered.
    pub requests: u64,
    /// Those that a hosted model answered.
    pub hosted: u64,
    /// What its answers cost.
    pub cost: NanoDollars,
    /// What was said of its answers, 0 to 1, the oldest first.
    pub marks: Vec<f64>,
}

// === impl Ledger: arms of experiments ===

impl Ledger {
    /// What is known of an arm. A client's word is a mark; with `quiet_before_us`, so is that the same was asked again (0) and, for
    /// an answer older than that, that it was not (1).
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn arm_figures(&self, placed: &Placed, quiet_before_us: Option<i64>) -> Result<ArmFigures, LedgerError> {
        let (experiment, arm, what) = (&placed.experiment, word(placed.arm), &placed.what);
        // It may take a while, in which nobody shall wait for the reader.
        self.aside(|db| {
            let sql = "SELECT count(*), count(*) FILTER (WHERE r.route = 'hosted') FROM placed p \
                       JOIN requests r ON r.id = p.request \
                       WHERE p.experiment = ?1 AND p.arm = ?2 AND p.what = ?3 AND r.route IS NOT NULL AND r.status < 400";
            let (requests, hosted) = db.one(sql, cells![experiment, arm, what], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let sql = "SELECT CAST(coalesce(sum(coalesce(a.cost_nd, a.ceiling_nd, 0)), 0) AS BIGINT) FROM placed p \
                       JOIN attempts a ON a.request = p.request AND a.purpose = 'answer' \
                       WHERE p.experiment = ?1 AND p.arm = ?2 AND p.what = ?3";
            let cost = db.one(sql, cells![experiment, arm, what], |row| row.get::<u64>(0).map(NanoDollars))?;
            let marks = match quiet_before_us {
                None => db.query(SAID, cells![experiment, arm, what, FEEDBACK], |row| row.get::<f64>(0))?,
                Some(before) => {
                    let values = cells![experiment, arm, what, FEEDBACK, REASK, REGENERATE, before];
                    db.query(HEARD, values, |row| row.get::<f64>(0))?
                }
            };
            Ok(ArmFigures { requests, hosted, cost, marks })
        })
    }
}

/// What clients said.
const SAID: &str = "SELECT l.value FROM placed p JOIN labels l ON l.request = p.request AND l.source = ?4 \
    WHERE p.experiment = ?1 AND p.arm = ?2 AND p.what = ?3 ORDER BY l.at_us, l.request";

/// What clients said, else whether they asked again.
const HEARD: &str = "SELECT coalesce(f.value, CASE WHEN EXISTS (SELECT 1 FROM labels l WHERE l.request = p.request \
    AND l.source IN (?5, ?6)) THEN 0.0 ELSE 1.0 END) \
    FROM placed p JOIN requests r ON r.id = p.request LEFT JOIN labels f ON f.request = p.request AND f.source = ?4 \
    WHERE p.experiment = ?1 AND p.arm = ?2 AND p.what = ?3 AND r.route IS NOT NULL AND r.status < 400 \
    AND (f.value IS NOT NULL OR p.at_us < ?7) ORDER BY p.at_us, p.request";

fn word(arm: Side) -> &'static str {
    match arm {
        Side::Left => "left",
        Side::Right => "right",
        Side::Tie => "tie",
    }
}

/// Writes the arm beside its request.
pub(super) fn put(db: &mut Db, request: &RequestRecord, placed: &Placed) -> Result<(), LedgerError> {
    db.put(
        "INSERT INTO placed (request, at_us, experiment, arm, what) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (request) DO UPDATE SET at_us = excluded.at_us, experiment = excluded.experiment, \
         arm = excluded.arm, what = excluded.what",
        cells![request.id.as_str(), request.at_us, &placed.experiment, word(placed.arm), &placed.what],
    )
}

/// Drops the arms of requests that are about to go.
pub(super) fn drop_before(db: &mut Db, at_us: i64) -> Result<(), LedgerError> {
    db.put("DELETE FROM placed WHERE at_us < ?1", cells![at_us])
}

/// A request's arm, for its story.
pub(super) fn shown(db: &mut Db, request: &str) -> Result<Value, LedgerError> {
    let sql = "SELECT experiment, arm, what FROM placed WHERE request = ?1";
    let found = db.first(sql, cells![request], |row| {
        Ok(serde_json::json!({
            "name": row.get::<String>(0)?, "arm": row.get::<String>(1)?, "what": row.get::<String>(2)?,
        }))
    })?;
    Ok(found.unwrap_or(Value::Null))
}
