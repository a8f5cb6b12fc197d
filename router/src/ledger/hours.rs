//! Hours that are over, summed: so that a month is read as its hours and not as its lines.
//!
//! **Promise.** Sums that are read through here ([`super::sums`]) are those of all lines, to the nano-dollar and at any moment. An
//! hour is summed once it has been over for [`OVER`] and nothing in it runs. Whoever writes or prunes a line of it later
//! drops the hour's sums in the same commit; until it is summed again its lines are read themselves.
//!
//! **How.** Summing reads one snapshot, and is written by the writer in a commit of its group only if no late line was
//! written meanwhile ([`Rolled`] carries the number of changes that it has seen; the row that counts them is locked, so that
//! on a server the later of two waits for the earlier). An attempt that is written while its hour is young costs nothing
//! more than a comparison.
//!
//! **What it does not do.** It sums by purpose, side, outcome, model and provider. Keys, teams and tags may be as many as there are
//! requests: who asks for those reads lines. Clocks of replicas may differ by ten minutes, not by more; and while a program
//! of an older version writes the same database it drops no sums.

use super::series::Waits;
use super::store::{Db, Row, cells};
use super::sums::{HOUR_US, LINE_SUMS, Sums, summed, without};
use super::writer::{Entry, Op};
use super::{Ledger, LedgerError};
use std::collections::BTreeSet;

/// An hour is summed when it has been over for so long: 15 minutes.
const OVER: i64 = 900_000_000;
/// A line that began longer ago than this may be one of an hour that is summed: 5 minutes.
const LATE: i64 = 300_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Of an hour with more answers than this the single waits are not kept until its day is over: 2 MiB.
const MOST_WAITS: usize = 1 << 18;

/// The tables, as a step of the schema of a file.
pub(super) const MIGRATION: &str = "
CREATE TABLE hours (
    begins INTEGER PRIMARY KEY,           -- microseconds since 1970: an hour whose lines are all in hour_sums
    first_p50 INTEGER, first_p95 INTEGER, whole_p50 INTEGER, whole_p95 INTEGER,  -- of answers that ended well
    waits BLOB                            -- every wait of those, until the day is over
) STRICT;
CREATE TABLE hour_sums (
    begins INTEGER NOT NULL, purpose TEXT NOT NULL, route TEXT NOT NULL, outcome TEXT NOT NULL,
    model TEXT NOT NULL, provider TEXT NOT NULL,
    attempts INTEGER NOT NULL, unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL,
    cost_nd INTEGER NOT NULL, baseline_nd INTEGER NOT NULL,
    local_cost_nd INTEGER, local_unknown INTEGER NOT NULL,
    first_us INTEGER NOT NULL, firsts INTEGER NOT NULL, took_us INTEGER NOT NULL, ended INTEGER NOT NULL,
    PRIMARY KEY (begins, purpose, route, outcome, model, provider)
) STRICT, WITHOUT ROWID;
CREATE TABLE day_waits (
    begins INTEGER PRIMARY KEY,
    first_p50 INTEGER, first_p95 INTEGER, whole_p50 INTEGER, whole_p95 INTEGER
) STRICT;
CREATE TABLE hours_changed (one INTEGER PRIMARY KEY, times INTEGER NOT NULL) STRICT;
INSERT INTO hours_changed (one, times) VALUES (1, 0);
";

/// The same for a server.
pub(super) const SERVER_MIGRATION: &str = "
CREATE TABLE hours (
    begins BIGINT PRIMARY KEY,
    first_p50 BIGINT, first_p95 BIGINT, whole_p50 BIGINT, whole_p95 BIGINT, waits BYTEA
);
CREATE TABLE hour_sums (
    begins BIGINT NOT NULL, purpose TEXT NOT NULL, route TEXT NOT NULL, outcome TEXT NOT NULL,
    model TEXT NOT NULL, provider TEXT NOT NULL,
    attempts BIGINT NOT NULL, unpriced BIGINT NOT NULL,
    input BIGINT NOT NULL, cached BIGINT NOT NULL, output BIGINT NOT NULL,
    cost_nd BIGINT NOT NULL, baseline_nd BIGINT NOT NULL,
    local_cost_nd BIGINT, local_unknown BIGINT NOT NULL,
    first_us BIGINT NOT NULL, firsts BIGINT NOT NULL, took_us BIGINT NOT NULL, ended BIGINT NOT NULL,
    PRIMARY KEY (begins, purpose, route, outcome, model, provider)
);
CREATE TABLE day_waits (
    begins BIGINT PRIMARY KEY,
    first_p50 BIGINT, first_p95 BIGINT, whole_p50 BIGINT, whole_p95 BIGINT
);
CREATE TABLE hours_changed (one BIGINT PRIMARY KEY, times BIGINT NOT NULL);
INSERT INTO hours_changed (one, times) VALUES (1, 0);
";

/// Hours and days before these were looked at already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Begin {
    hour: i64,
    day: i64,
}

/// Something that was summed.
pub(super) struct Rolled {
    begins: i64,
    /// Late lines that had been written when it was read.
    changes: i64,
    /// Of the first event and of the whole: both quantiles, in microseconds.
    quantiles: [Option<[i64; 2]>; 2],
    what: What,
}

enum What {
    Hour { rows: Vec<HourRow>, waits: Option<Vec<u8>> },
    Day,
}

/// A row of `hour_sums`.
struct HourRow {
    /// Purpose, route, outcome, model, provider.
    of: [String; 5],
    sums: Sums,
}

// === impl Ledger: hours ===

impl Ledger {
    /// Sums the hours that are over by `now_us` (microseconds since 1970) and are not summed yet; says how many hours and days it
    /// looked at. Takes as long as reading the lines of those hours; nobody waits for it meanwhile.
    ///
    /// # Errors
    /// The database cannot be read or written.
    ///
    /// # Cancel safety
    /// What was summed so far stays.
    pub async fn sum_hours(&self, now_us: i64) -> Result<u64, LedgerError> {
        let (mut done, mut from) = (0, Begin::default());
        loop {
            let reader = self.clone();
            let read = tokio::task::spawn_blocking(move || reader.aside(|db| db.snapshot(|db| next(db, now_us, from))));
            let Some(rolled) = read.await.map_err(|_| LedgerError::Closed)?? else { return Ok(done) };
            // One that is thrown away because of a late line is for the next time.
            match rolled.what {
                What::Hour { .. } => from.hour = rolled.begins + HOUR_US,
                What::Day => from.day = rolled.begins + DAY_US,
            }
            self.writer.commit(Op::Rolled(Box::new(rolled))).await?;
            done += 1;
        }
    }
}

/// What is to be summed next: hours first.
pub(super) fn next(db: &mut Db, now_us: i64, from: Begin) -> Result<Option<Rolled>, LedgerError> {
    let changes = db.one("SELECT times FROM hours_changed WHERE one = 1", &[], |row| row.get(0))?;
    let over = now_us.saturating_sub(OVER);
    let until = over - over.rem_euclid(HOUR_US);
    if let Some(first) = first_line(db, [from.hour, until])? {
        let span = [first - first.rem_euclid(HOUR_US), until];
        for [mut from, to] in without(span, &summed(db, span)?) {
            while let Some(at) = first_line(db, [from, to])? {
                let begins = at - at.rem_euclid(HOUR_US);
                if let Some(hour) = hour(db, begins, changes)? {
                    return Ok(Some(hour));
                }
                from = begins + HOUR_US;
            }
        }
    }
    let closed: BTreeSet<i64> = db.query("SELECT begins FROM day_waits", &[], |row| row.get(0))?.into_iter().collect();
    let known = summed(db, [from.day, until])?;
    let days: BTreeSet<i64> = known.iter().map(|[begins, _]| begins - begins.rem_euclid(DAY_US)).collect();
    for day in days.difference(&closed).filter(|day| **day >= from.day && **day + DAY_US <= until) {
        let span = [*day, day + DAY_US];
        let mut whole = true;
        for gap in without(span, &known) {
            whole &= first_line(db, gap)?.is_none();
        }
        if whole {
            let quantiles = Waits::read(db, span)?.quantiles();
            return Ok(Some(Rolled { begins: *day, changes, quantiles, what: What::Day }));
        }
    }
    Ok(None)
}

/// When the first attempt of a span began, be it closed or not.
fn first_line(db: &mut Db, [since, until]: [i64; 2]) -> Result<Option<i64>, LedgerError> {
    let sql = "SELECT at_us FROM attempts WHERE at_us >= ?1 AND at_us < ?2 ORDER BY at_us LIMIT 1";
    db.first(sql, cells![since, until], |row| row.get(0))
}

/// The sums of an hour; `None` while something in it runs.
fn hour(db: &mut Db, begins: i64, changes: i64) -> Result<Option<Rolled>, LedgerError> {
    let span = [begins, begins + HOUR_US];
    let values = cells![begins, begins + HOUR_US];
    let sql = "SELECT 1 FROM attempts WHERE at_us >= ?1 AND at_us < ?2 AND outcome IS NULL LIMIT 1";
    if db.first(sql, values, |row| row.get::<i64>(0))?.is_some() {
        return Ok(None);
    }
    let sql = format!(
        "SELECT purpose, route, outcome, model, provider, {LINE_SUMS} FROM attempts \
         WHERE at_us >= ?1 AND at_us < ?2 GROUP BY 1, 2, 3, 4, 5"
    );
    let rows = db.query(&sql, values, |row: &Row<'_>| {
        let of = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
        Ok(HourRow { of, sums: Sums::read(row, 5)? })
    })?;
    let mut waits = Waits::read(db, span)?;
    let kept = (waits.len() <= MOST_WAITS).then(|| waits.bytes());
    let quantiles = waits.quantiles();
    Ok(Some(Rolled { begins, changes, quantiles, what: What::Hour { rows, waits: kept } }))
}

/// Writes what was summed, unless a late line came in between.
pub(super) fn put(db: &mut Db, rolled: &Rolled) -> Result<(), LedgerError> {
    let lock = if db.is_postgres() { " FOR UPDATE" } else { "" };
    let sql = format!("SELECT times FROM hours_changed WHERE one = 1{lock}");
    let changes: i64 = db.one(&sql, &[], |row| row.get(0))?;
    if changes != rolled.changes {
        return Ok(());
    }
    let [first, whole] = rolled.quantiles;
    let at = |both: Option<[i64; 2]>, which: usize| both.and_then(|both| both.get(which).copied());
    let (rows, waits) = match &rolled.what {
        What::Hour { rows, waits } => (rows, waits),
        What::Day => {
            let sql = "INSERT INTO day_waits (begins, first_p50, first_p95, whole_p50, whole_p95) \
                       VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (begins) DO NOTHING";
            db.put(sql, cells![rolled.begins, at(first, 0), at(first, 1), at(whole, 0), at(whole, 1)])?;
            let sql = "UPDATE hours SET waits = NULL WHERE begins >= ?1 AND begins < ?2";
            return db.put(sql, cells![rolled.begins, rolled.begins + DAY_US]);
        }
    };
    let sql = "INSERT INTO hours (begins, first_p50, first_p95, whole_p50, whole_p95, waits) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (begins) DO NOTHING";
    let waits = waits.as_deref();
    db.put(sql, cells![rolled.begins, at(first, 0), at(first, 1), at(whole, 0), at(whole, 1), waits])?;
    for HourRow { of: [purpose, route, outcome, model, provider], sums } in rows {
        db.put(
            "INSERT INTO hour_sums (begins, purpose, route, outcome, model, provider, attempts, unpriced, input, cached, \
             output, cost_nd, baseline_nd, local_cost_nd, local_unknown, first_us, firsts, took_us, ended) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19) \
             ON CONFLICT (begins, purpose, route, outcome, model, provider) DO NOTHING",
            cells![
                rolled.begins,
                purpose,
                route,
                outcome,
                model,
                provider,
                sums.attempts,
                sums.unpriced,
                sums.input,
                sums.cached,
                sums.output,
                sums.cost,
                sums.baseline,
                sums.local_cost,
                sums.local_unknown,
                sums.first_us,
                sums.firsts,
                sums.took_us,
                sums.ended,
            ],
        )?;
    }
    Ok(())
}

/// The hours of lines that a group writes late, at `now_us`.
pub(super) fn late(group: &[Entry], now_us: i64) -> BTreeSet<i64> {
    let begun = group.iter().filter_map(|(op, _)| begun(op));
    begun.filter(|at| now_us.saturating_sub(*at) > LATE).map(|at| at - at.rem_euclid(HOUR_US)).collect()
}

/// When the line began that an entry changes what sums are made of.
fn begun(op: &Op) -> Option<i64> {
    match op {
        #[cfg(test)]
        Op::Panic => None,
        Op::Close(attempt, _) => Some(attempt.open.at_us),
        Op::Raise(attempt, _) => Some(attempt.at_us),
        Op::Open(_)
        | Op::Request(_)
        | Op::Shadow(_)
        | Op::Label(_)
        | Op::Keep(_)
        | Op::Evidence(_)
        | Op::Checkpoint
        | Op::Release(_)
        | Op::Beat(_)
        | Op::Compared(_)
        | Op::Rolled(_)
        | Op::Prune(_)
        | Op::PruneEvidence(_)
        | Op::Stop => None,
    }
}

/// Drops the sums of hours that have changed. It comes last in a transaction: who writes lines holds their rows by then, so
/// that of two nobody waits in a circle.
pub(super) fn changed(db: &mut Db, hours: &BTreeSet<i64>) -> Result<(), LedgerError> {
    if hours.is_empty() {
        return Ok(());
    }
    // First the row that is locked: what is dropped afterwards is what whoever held it before has written.
    db.put(CHANGE, &[])?;
    for begins in hours {
        db.put("DELETE FROM hour_sums WHERE begins = ?1", cells![*begins])?;
        db.put("DELETE FROM hours WHERE begins = ?1", cells![*begins])?;
        db.put("DELETE FROM day_waits WHERE begins = ?1", cells![*begins - begins.rem_euclid(DAY_US)])?;
    }
    Ok(())
}

/// Drops the sums of hours whose lines, or some of whose lines, have been pruned.
pub(super) fn drop_before(db: &mut Db, at_us: i64) -> Result<(), LedgerError> {
    db.put(CHANGE, &[])?;
    db.put("DELETE FROM hour_sums WHERE begins < ?1", cells![at_us])?;
    db.put("DELETE FROM hours WHERE begins < ?1", cells![at_us])?;
    db.put("DELETE FROM day_waits WHERE begins < ?1", cells![at_us])
}

const CHANGE: &str = "UPDATE hours_changed SET times = times + 1 WHERE one = 1";
