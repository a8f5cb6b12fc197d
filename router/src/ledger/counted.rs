//! What the share counted lately, and what hosted answers cost meanwhile: to go on with after a restart.
//!
//! **Promise.** Of one judge in one lane the last judged requests, oldest first, as whoever counted them saw them: score, the
//! threshold that it met, and who answered. Scores of different heads, or of different lanes, are never mixed. Reading changes nothing.

use super::store::{Row, cells};
use super::{Ledger, LedgerError};
use crate::compare::Side as Arm;
use policies::{Location, NanoDollars};
use serde::Deserialize;

/// A judged request as the share counted it.
#[derive(Clone, Debug, PartialEq)]
pub struct CountedRow {
    /// When it came, microseconds since 1970.
    pub at_us: i64,
    /// How much the strong model was needed, 0 to 1.
    pub score: f32,
    /// The threshold that it met; infinite: none.
    pub threshold: f32,
    /// The side that counts: who answered; where a target failed, or nobody answered, the one that was to go first.
    pub side: Location,
    /// The arm of an experiment that it counted for.
    pub arm: Option<Arm>,
    /// What a second look at its local answer found.
    pub look: Option<LookRow>,
}

/// What a second look at a local answer found.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LookRow {
    /// How probably the answer was wrong, 0 to 1.
    pub wrong: f32,
    /// From which doubt on answers were rejected.
    #[serde(default)]
    pub threshold: Option<f32>,
    /// `kept`, `escalated` or `would_escalate`.
    pub verdict: String,
}

// === impl Ledger: what was counted ===

impl Ledger {
    /// The last requests that this judge judged in this lane, at most so many, the oldest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn counted(&self, judge: &str, lane: &str, limit: usize) -> Result<Vec<CountedRow>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT j.at_us, j.score, j.threshold, j.side, r.route, r.reason, r.status, r.cascade, p.arm \
                   FROM judgements j JOIN requests r ON r.id = j.request LEFT JOIN placed p ON p.request = j.request \
                   WHERE j.judge = ?1 AND j.lane = ?2 ORDER BY j.at_us DESC, j.request DESC LIMIT ?3";
        let mut rows = self.read(|db| db.query(sql, cells![judge, lane, limit], counted_row))?;
        rows.reverse();
        Ok(rows)
    }

    /// What hosted attempts that began since then have cost, with the time of their end in microseconds since 1970; the oldest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn hosted_costs(&self, since_us: i64, limit: usize) -> Result<Vec<(i64, NanoDollars)>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT ended_us, cost_nd FROM attempts WHERE at_us >= ?1 AND route = 'hosted' AND ended_us IS NOT NULL \
                   AND cost_nd IS NOT NULL ORDER BY at_us DESC LIMIT ?2";
        let cost = |row: &Row<'_>| {
            let (ended, cost): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok((ended, NanoDollars(u64::try_from(cost).unwrap_or(0))))
        };
        let mut rows = self.read(|db| db.query(sql, cells![since_us, limit], cost))?;
        rows.sort_by_key(|(ended, _)| *ended);
        Ok(rows)
    }
}

fn counted_row(row: &Row<'_>) -> Result<CountedRow, LedgerError> {
    let text = |at: usize| row.get::<Option<String>>(at);
    let (first, route) = (row.get::<String>(3)?, text(4)?);
    let sound = text(5)?.as_deref() != Some("fallback") && row.get::<i64>(6)? < 400;
    let side = route.filter(|_| sound).unwrap_or(first);
    Ok(CountedRow {
        at_us: row.get(0)?,
        score: row.get(1)?,
        threshold: row.get::<Option<f32>>(2)?.unwrap_or(f32::INFINITY),
        side: if side == Location::Local.word() { Location::Local } else { Location::Hosted },
        arm: text(8)?.map(|arm| if arm == "left" { Arm::Left } else { Arm::Right }),
        look: text(7)?.and_then(|look| serde_json::from_str(&look).ok()),
    })
}
