//! Sums over time, for charts.
//!
//! **Promise.** A span is cut into pieces of a minute, an hour or a day, each beginning at a multiple of its length since 1970
//! (UTC), so that an attempt stays in its piece however often one asks. Sums are those of `/api/spend`: a span's pieces come
//! to its total. Times are quantiles by nearest rank, values that somebody really waited, over the answers that ended well.
//!
//! **What it costs.** In hours and days, a row or some of each hour that is summed ([`super::hours`]), and the lines of the others;
//! in minutes, two looks at the attempts of the span. Eight bytes of memory an answer that is looked at meanwhile; a wait of more
//! than 71 minutes counts as 71 minutes.
//!
//! **What it does not do.** Pieces in which nothing happened are not in it; who draws knows where they are. It has no text and
//! no names.

use super::query::time;
use super::store::{Db, Row, cells};
use super::sums::{self, By, Sums, summed, without};
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
const WELL: &str = "outcome = 'ok' AND purpose = 'answer' AND at_us >= ?1 AND at_us < ?2";

// === impl Ledger: sums over time ===

impl Ledger {
    /// What happened from `since_us` until before `until_us` (microseconds since 1970), in pieces, the oldest first.
    pub fn series(&self, pieces: Pieces, since_us: i64, until_us: i64) -> Result<Vec<SeriesRow>, LedgerError> {
        let span = [since_us, until_us];
        // A month of them takes its time, and requests read, too.
        self.aside(|db| {
            db.snapshot(|db| {
                let mut rows = summed_pieces(db, span, pieces)?;
                for (at, quantiles) in waits(db, span, pieces)? {
                    let [first, whole] = quantiles.map(|both| both.map(Quantiles::of_us));
                    let row = rows.entry(at).or_default();
                    (row.first_event_ms, row.duration_ms) = (first, whole);
                }
                Ok(rows.into_iter().map(|(at, row)| SeriesRow { time: time(at), ..row }).collect())
            })
        })
    }
}

fn summed_pieces(db: &mut Db, span: [i64; 2], pieces: Pieces) -> Result<BTreeMap<i64, SeriesRow>, LedgerError> {
    let length = pieces.length_us();
    let by = |column: &str| format!("{column} - {column} % {length}, purpose, route, outcome");
    let by = By { columns: 4, of_line: by("at_us"), of_hour: by("begins") };
    let text = |row: &Row<'_>, at: usize| row.get::<String>(at);
    let key = |row: &Row<'_>| Ok((row.get::<i64>(0)?, [text(row, 1)?, text(row, 2)?, text(row, 3)?]));
    let found = match pieces {
        Pieces::Minute => sums::lines(db, span, &by, "", &key)?,
        Pieces::Hour | Pieces::Day => sums::grouped(db, span, &by, "", key)?.into_iter().collect(),
    };
    let mut rows: BTreeMap<i64, SeriesRow> = BTreeMap::new();
    for ((at, [purpose, route, outcome]), sums) in found {
        rows.entry(at).or_default().add([&purpose, &route, &outcome], &sums);
    }
    Ok(rows)
}

/// Quantiles in microseconds, of the first event and of the whole answer.
type Both = [Option<[i64; 2]>; 2];

/// The quantiles of each piece. What an hour's are is kept with its sums, a day's, once it is over, too; on a day that is
/// not, the single waits of its summed hours are.
fn waits(db: &mut Db, span: [i64; 2], pieces: Pieces) -> Result<Vec<(i64, Both)>, LedgerError> {
    match pieces {
        Pieces::Minute => line_waits(db, span, pieces),
        Pieces::Hour => {
            let mut found = kept_quantiles(db, "hours", span, pieces)?;
            for gap in without(span, &summed(db, span)?) {
                found.extend(line_waits(db, gap, pieces)?);
            }
            Ok(found)
        }
        Pieces::Day => {
            let mut found = kept_quantiles(db, "day_waits", span, pieces)?;
            let length = pieces.length_us();
            let mut done: Vec<[i64; 2]> = found.iter().map(|(day, _)| [*day, day + length]).collect();
            let mut young: BTreeMap<i64, (Waits, Vec<[i64; 2]>)> = BTreeMap::new();
            for rest in without(span, &done.clone()) {
                for (begins, bytes) in kept_waits(db, rest)? {
                    let (waits, hours) = young.entry(begins - begins.rem_euclid(length)).or_default();
                    waits.add(Waits::of_bytes(&bytes)?);
                    hours.push([begins, begins + Pieces::Hour.length_us()]);
                }
            }
            let [since, until] = span;
            for (day, (mut waits, hours)) in young {
                let part = [day.max(since), (day + length).min(until)];
                for gap in without(part, &hours) {
                    waits.add(Waits::read(db, gap)?);
                }
                done.push([day, day + length]);
                found.push((day, waits.quantiles()));
            }
            done.sort_unstable();
            for gap in without(span, &done) {
                found.extend(line_waits(db, gap, pieces)?);
            }
            Ok(found)
        }
    }
}

fn kept_quantiles(
    db: &mut Db,
    table: &str,
    [since, until]: [i64; 2],
    pieces: Pieces,
) -> Result<Vec<(i64, Both)>, LedgerError> {
    let sql = format!(
        "SELECT begins, first_p50, first_p95, whole_p50, whole_p95 FROM {table} \
         WHERE begins >= ?1 AND begins <= ?2 ORDER BY begins"
    );
    db.query(&sql, cells![since, until.saturating_sub(pieces.length_us())], |row| {
        Ok((row.get(0)?, [both(row, 1)?, both(row, 3)?]))
    })
}

/// Two quantiles in two columns.
fn both(row: &Row<'_>, from: usize) -> Result<Option<[i64; 2]>, LedgerError> {
    let (p50, p95) = (row.get::<Option<i64>>(from)?, row.get::<Option<i64>>(from + 1)?);
    Ok(p50.zip(p95).map(|(p50, p95)| [p50, p95]))
}

fn kept_waits(db: &mut Db, [since, until]: [i64; 2]) -> Result<Vec<(i64, Vec<u8>)>, LedgerError> {
    let sql =
        "SELECT begins, waits FROM hours WHERE begins >= ?1 AND begins <= ?2 AND waits IS NOT NULL ORDER BY begins";
    let until = until.saturating_sub(Pieces::Hour.length_us());
    db.query(sql, cells![since, until], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The quantiles of the lines of a span, by piece.
fn line_waits(db: &mut Db, [since, until]: [i64; 2], pieces: Pieces) -> Result<Vec<(i64, Both)>, LedgerError> {
    let values = cells![since, until, pieces.length_us()];
    if db.is_postgres() {
        // It has the function; what it is over stays on the server.
        let of = |share: &str, wait: &str| {
            format!("CAST(percentile_disc({share}) WITHIN GROUP (ORDER BY {wait}) AS BIGINT)")
        };
        let two = |wait: &str| format!("{}, {}", of("0.5", wait), of("0.95", wait));
        let (first, whole) = (two("first_event_us"), two("ended_us - at_us"));
        let sql = format!("SELECT {PIECE}, {first}, {whole} FROM attempts WHERE {WELL} GROUP BY 1");
        return db.query(&sql, values, |row| Ok((row.get(0)?, [both(row, 1)?, both(row, 3)?])));
    }
    // SQLite has none, and to rank rows by SQL takes four times as long as to read them.
    let sql = format!("SELECT {PIECE}, first_event_us, ended_us - at_us FROM attempts WHERE {WELL}");
    let mut seen: BTreeMap<i64, Waits> = BTreeMap::new();
    db.query(&sql, values, |row| seen.entry(row.get(0)?).or_default().see(row, 1))?;
    Ok(seen.into_iter().map(|(at, mut waits)| (at, waits.quantiles())).collect())
}

/// Waits of answers that ended well, in microseconds: for the first event, and for the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Waits {
    first: Vec<u32>,
    whole: Vec<u32>,
}

// === impl Waits ===

impl Waits {
    /// Those of the lines of a span.
    pub(super) fn read(db: &mut Db, [since, until]: [i64; 2]) -> Result<Self, LedgerError> {
        let sql = format!("SELECT first_event_us, ended_us - at_us FROM attempts WHERE {WELL}");
        let mut waits = Self::default();
        db.query(&sql, cells![since, until], |row| waits.see(row, 0))?;
        Ok(waits)
    }

    fn see(&mut self, row: &Row<'_>, from: usize) -> Result<(), LedgerError> {
        for (at, waits) in [&mut self.first, &mut self.whole].into_iter().enumerate() {
            let us = row.get::<Option<i64>>(from + at)?;
            waits.extend(us.map(|us| u32::try_from(us.max(0)).unwrap_or(u32::MAX)));
        }
        Ok(())
    }

    /// Answers.
    pub(super) fn len(&self) -> usize {
        self.whole.len()
    }

    fn add(&mut self, other: Self) {
        self.first.extend(other.first);
        self.whole.extend(other.whole);
    }

    /// How many first ones there are, then all of them, 32 bits each, little-endian.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let firsts = u32::try_from(self.first.len()).unwrap_or(u32::MAX);
        std::iter::once(&firsts).chain(&self.first).chain(&self.whole).flat_map(|number| number.to_le_bytes()).collect()
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        let broken = || LedgerError::Database("the waits of an hour cannot be read".into());
        let (words, rest) = bytes.as_chunks::<4>();
        let mut numbers = words.iter().map(|word| u32::from_le_bytes(*word));
        let firsts = numbers.next().filter(|_| rest.is_empty()).ok_or_else(broken)? as usize;
        let first: Vec<u32> = numbers.by_ref().take(firsts).collect();
        if first.len() < firsts {
            return Err(broken());
        }
        Ok(Self { first, whole: numbers.collect() })
    }

    /// Two quantiles of each, by nearest rank, in microseconds; puts the waits in another order.
    pub(super) fn quantiles(&mut self) -> Both {
        [&mut self.first, &mut self.whole].map(|waits| {
            let mut ranked = |share: usize| {
                let place = (waits.len() * share).div_ceil(100).checked_sub(1)?;
                Some(i64::from(*waits.select_nth_unstable(place).1))
            };
            Some([ranked(50)?, ranked(95)?])
        })
    }
}

// === impl Quantiles ===

impl Quantiles {
    fn of_us([p50, p95]: [i64; 2]) -> Self {
        Self { p50: p50 as f64 / 1_000.0, p95: p95 as f64 / 1_000.0 }
    }
}

// === impl SeriesRow ===

impl SeriesRow {
    fn add(&mut self, [purpose, route, outcome]: [&str; 3], sums: &Sums) {
        self.attempts += sums.attempts;
        self.unpriced_attempts += sums.unpriced;
        self.cost_usd = NanoDollars(self.cost_usd.0 + sums.cost);
        self.baseline_usd = NanoDollars(self.baseline_usd.0 + sums.baseline);
        self.local_cost_usd = match (self.local_cost_usd, sums.local_cost) {
            (Some(one), Some(other)) => Some(NanoDollars(one.0 + other)),
            (one, other) => one.or(other.map(NanoDollars)),
        };
        if purpose != "answer" {
            return;
        }
        self.answers += sums.attempts;
        match outcome {
            "ok" => {
                self.ended_well += sums.attempts;
                self.ended_well_local += if route == "local" { sums.attempts } else { 0 };
            }
            "error" | "truncated" | "unknown" => self.failed += sums.attempts,
            _ => {}
        }
    }
}
