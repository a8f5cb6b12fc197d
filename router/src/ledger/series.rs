//! Sums over time, for charts.
//!
//! **Promise.** A span is cut into pieces of a minute, an hour or a day, each beginning at a multiple of its length since 1970
//! (UTC), so that an attempt stays in its piece however often one asks. Sums are those of `/api/spend`: a span's pieces come
//! to its total. Times are quantiles by nearest rank, values that somebody really waited, over the answers that ended well.
//!
//! **What it costs.** Two looks at the attempts of the span; in a file's case eight bytes of memory an answer meanwhile, and a
//! wait of more than 71 minutes counts as 71 minutes.
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
        // A month of them takes its time, and requests read, too.
        self.aside(|db| {
            let mut rows = sums(db, span)?;
            for (at, [first, whole]) in waits(db, span)? {
                let row = rows.entry(at).or_default();
                (row.first_event_ms, row.duration_ms) = (first, whole);
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

/// Of the first event and of the whole answer, by piece.
type Waits = Vec<(i64, [Option<Quantiles>; 2])>;

fn waits(db: &mut Db, [since, until, length]: [i64; 3]) -> Result<Waits, LedgerError> {
    let well = format!("{WHEN} AND purpose = 'answer' AND outcome = 'ok'");
    if db.is_postgres() {
        // It has the function; what it is over stays on the server.
        let of = |share: &str, wait: &str| {
            format!("CAST(percentile_disc({share}) WITHIN GROUP (ORDER BY {wait}) AS BIGINT)")
        };
        let both = |wait: &str| format!("{}, {}", of("0.5", wait), of("0.95", wait));
        let (first, whole) = (both("first_event_us"), both("ended_us - at_us"));
        let sql = format!("SELECT {PIECE}, {first}, {whole} FROM attempts WHERE {well} GROUP BY 1");
        return db.query(&sql, cells![since, until, length], |row| {
            let told = |from: usize| {
                let (p50, p95) = (row.get::<Option<i64>>(from)?, row.get::<Option<i64>>(from + 1)?);
                Ok::<_, LedgerError>(p50.zip(p95).map(|(p50, p95)| Quantiles::of_us(p50, p95)))
            };
            Ok((row.get(0)?, [told(1)?, told(3)?]))
        });
    }
    // SQLite has none, and to rank rows by SQL takes four times as long as to read them.
    let sql = format!("SELECT {PIECE}, first_event_us, ended_us - at_us FROM attempts WHERE {well}");
    let mut seen: BTreeMap<i64, [Vec<u32>; 2]> = BTreeMap::new();
    db.query(&sql, cells![since, until, length], |row| {
        let waits = seen.entry(row.get(0)?).or_default();
        for (at, waits) in waits.iter_mut().enumerate() {
            let us = row.get::<Option<i64>>(at + 1)?;
            waits.extend(us.map(|us| u32::try_from(us.max(0)).unwrap_or(u32::MAX)));
        }
        Ok(())
    })?;
    Ok(seen.into_iter().map(|(at, waits)| (at, waits.map(|mut waits| Quantiles::among(&mut waits)))).collect())
}

// === impl Quantiles ===

impl Quantiles {
    fn of_us(p50: i64, p95: i64) -> Self {
        Self { p50: p50 as f64 / 1_000.0, p95: p95 as f64 / 1_000.0 }
    }

    /// Of waits in microseconds, in any order; `None` of none.
    fn among(waits: &mut [u32]) -> Option<Self> {
        let mut ranked = |share: usize| {
            let place = (waits.len() * share).div_ceil(100).checked_sub(1)?;
            Some(i64::from(*waits.select_nth_unstable(place).1))
        };
        Some(Self::of_us(ranked(50)?, ranked(95)?))
    }
}
