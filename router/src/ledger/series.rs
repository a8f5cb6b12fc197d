//! Sums over time, for charts.
//!
//! **Promise.** A span is cut into pieces of a minute, an hour or a day, each beginning at a multiple of its length since 1970
//! (UTC), so that an attempt stays in its piece however often one asks. Sums are those of `/api/spend`: a span's pieces come
//! to its total. Times are quantiles by nearest rank, values that somebody really waited, over the answers that ended well.
//!
//! **What it does not do.** Pieces in which nothing happened are not in it; who draws knows where they are. It has no text and
//! no names.

use super::query::time;
use super::store::{Db, cells};
use super::{Ledger, LedgerError};
use policies::NanoDollars;
use serde::Serialize;
use std::collections::BTreeMap;

/// The length of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// UTC days.
    Day,
}

/// Two quantiles of a time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half took no longer.
    pub p50: f64,
    /// 19 of 20 took no longer.
    pub p95: f64,
}

/// What happened in a piece.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SeriesRow {
    /// When it begins, RFC 3339 in UTC.
    pub time: String,
    /// Closed attempts of any purpose: what the sums are over.
    pub attempts: u64,
    /// Those whose model has no price: their cost is not in `cost_usd`.
    pub unpriced_attempts: u64,
    /// What was spent.
    pub cost_usd: NanoDollars,
    /// What the same tokens cost at the hosted model.
    pub baseline_usd: NanoDollars,
    /// What the machines in the house cost; `None` where it is known of no attempt.
    pub local_cost_usd: Option<NanoDollars>,
    /// Attempts at an answer.
    pub answers: u64,
    /// Those that ended well.
    pub ended_well: u64,
    /// Those of them that a local model gave.
    pub ended_well_local: u64,
    /// Those that failed: an error, cut off, or unknown because the gateway stopped.
    pub failed: u64,
    /// From an attempt's begin to its first event.
    pub first_event_ms: Option<Quantiles>,
    /// From its begin to its end.
    pub duration_ms: Option<Quantiles>,
}

// === impl Pieces ===

impl Pieces {
    /// Reads the word of the query.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            _ => return None,
        })
    }

    /// Microseconds.
    pub fn length_us(self) -> i64 {
        match self {
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }
}

/// Where an attempt's piece begins; `?3` is its length.
const PIECE: &str = "at_us - at_us % ?3";
const WHEN: &str = "outcome IS NOT NULL AND at_us >= ?1 AND at_us < ?2";

// === impl Ledger: sums over time ===

impl Ledger {
    /// What happened from `since_us` until before `until_us` (microseconds since 1970), in pieces, the oldest first.
    pub fn series(&self, pieces: Pieces, since_us: i64, until_us: i64) -> Result<Vec<SeriesRow>, LedgerError> {
        let span = [since_us, until_us, pieces.length_us()];
        self.read(|db| {
            let mut rows = sums(db, span)?;
            for (at, quantiles) in quantiles(db, "first_event_us", span)? {
                rows.entry(at).or_default().first_event_ms = Some(quantiles);
            }
            for (at, quantiles) in quantiles(db, "ended_us - at_us", span)? {
                rows.entry(at).or_default().duration_ms = Some(quantiles);
            }
            Ok(rows.into_iter().map(|(at, row)| SeriesRow { time: time(at), ..row }).collect())
        })
    }
}

fn sums(db: &mut Db, [since, until, length]: [i64; 3]) -> Result<BTreeMap<i64, SeriesRow>, LedgerError> {
    // A sum is cast, because PostgreSQL's is a decimal number.
    let sql = format!(
        "SELECT {PIECE}, count(*), count(*) FILTER (WHERE cost_nd IS NULL), \
         CAST(coalesce(sum(cost_nd), 0) AS BIGINT), CAST(coalesce(sum(baseline_nd), 0) AS BIGINT), \
         CAST(sum(local_cost_nd) AS BIGINT), count(*) FILTER (WHERE purpose = 'answer'), \
         count(*) FILTER (WHERE purpose = 'answer' AND outcome = 'ok'), \
         count(*) FILTER (WHERE purpose = 'answer' AND outcome = 'ok' AND route = 'local'), \
         count(*) FILTER (WHERE purpose = 'answer' AND outcome IN ('error', 'truncated', 'unknown')) \
         FROM attempts WHERE {WHEN} GROUP BY 1"
    );
    let rows = db.query(&sql, cells![since, until, length], |row| {
        let sums = SeriesRow {
            attempts: row.get(1)?,
            unpriced_attempts: row.get(2)?,
            cost_usd: NanoDollars(row.get(3)?),
            baseline_usd: NanoDollars(row.get(4)?),
            local_cost_usd: row.get::<Option<u64>>(5)?.map(NanoDollars),
            answers: row.get(6)?,
            ended_well: row.get(7)?,
            ended_well_local: row.get(8)?,
            failed: row.get(9)?,
            ..SeriesRow::default()
        };
        Ok((row.get(0)?, sums))
    })?;
    Ok(rows.into_iter().collect())
}

/// Quantiles of a column in microseconds, by piece. SQLite has no function for them; ranks are the same on both.
fn quantiles(
    db: &mut Db,
    column: &str,
    [since, until, length]: [i64; 3],
) -> Result<Vec<(i64, Quantiles)>, LedgerError> {
    let sql = format!(
        "SELECT piece, min(us) FILTER (WHERE place * 2 >= n), min(us) FILTER (WHERE place * 20 >= n * 19) FROM \
         (SELECT {PIECE} AS piece, {column} AS us, row_number() OVER (PARTITION BY {PIECE} ORDER BY {column}) AS place, \
         count(*) OVER (PARTITION BY {PIECE}) AS n FROM attempts \
         WHERE {WHEN} AND purpose = 'answer' AND outcome = 'ok' AND {column} IS NOT NULL) AS ranked GROUP BY piece"
    );
    let milliseconds = |us: i64| us as f64 / 1_000.0;
    db.query(&sql, cells![since, until, length], |row| {
        Ok((row.get(0)?, Quantiles { p50: milliseconds(row.get(1)?), p95: milliseconds(row.get(2)?) }))
    })
}
