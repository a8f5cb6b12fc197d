//! Sums over lines: of summed hours where there are any ([`super::hours`]), of the lines themselves elsewhere.
//!
//! **Promise.** What comes out is what adding up every closed line of the span would give. Both parts are read in one
//! snapshot, so that an hour that is summed, or dropped, meanwhile is counted once.
//!
//! **What it costs.** A summed hour costs its rows: one for each purpose, side, outcome, model and provider that it had.

use super::LedgerError;
use super::store::{Db, Row, cells};
use std::collections::BTreeMap;

/// An hour in microseconds.
pub(super) const HOUR_US: i64 = 3_600_000_000;

/// The sums of some lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) attempts: u64,
    pub(super) unpriced: u64,
    pub(super) input: u64,
    pub(super) cached: u64,
    pub(super) output: u64,
    pub(super) cost: u64,
    pub(super) baseline: u64,
    /// `None`: it is known of no line.
    pub(super) local_cost: Option<u64>,
    pub(super) local_unknown: u64,
    /// Of the waits for a first event, and how many there are.
    pub(super) first_us: i64,
    pub(super) firsts: u64,
    /// Of the times to the end, and how many there are.
    pub(super) took_us: i64,
    pub(super) ended: u64,
}

/// They are cast, because PostgreSQL's sum is a decimal number.
pub(super) const LINE_SUMS: &str = "count(*), count(*) FILTER (WHERE cost_nd IS NULL), \
    CAST(coalesce(sum(input), 0) AS BIGINT), CAST(coalesce(sum(cached), 0) AS BIGINT), \
    CAST(coalesce(sum(output), 0) AS BIGINT), CAST(coalesce(sum(cost_nd), 0) AS BIGINT), \
    CAST(coalesce(sum(baseline_nd), 0) AS BIGINT), CAST(sum(local_cost_nd) AS BIGINT), \
    count(*) FILTER (WHERE local_cost_nd IS NULL AND price_source = 'in_process'), \
    CAST(coalesce(sum(first_event_us), 0) AS BIGINT), count(first_event_us), \
    CAST(coalesce(sum(ended_us - at_us), 0) AS BIGINT), count(ended_us)";

const HOUR_SUMS: &str = "CAST(sum(attempts) AS BIGINT), CAST(sum(unpriced) AS BIGINT), CAST(sum(input) AS BIGINT), \
    CAST(sum(cached) AS BIGINT), CAST(sum(output) AS BIGINT), CAST(sum(cost_nd) AS BIGINT), \
    CAST(sum(baseline_nd) AS BIGINT), CAST(sum(local_cost_nd) AS BIGINT), CAST(sum(local_unknown) AS BIGINT), \
    CAST(sum(first_us) AS BIGINT), CAST(sum(firsts) AS BIGINT), CAST(sum(took_us) AS BIGINT), CAST(sum(ended) AS BIGINT)";

/// By what lines are grouped: so many columns, as they are read of a line and of a summed hour.
pub(super) struct By {
    pub(super) columns: usize,
    pub(super) of_line: String,
    pub(super) of_hour: String,
}

// === impl Sums ===

impl Sums {
    /// From the columns of [`LINE_SUMS`].
    pub(super) fn read(row: &Row<'_>, from: usize) -> Result<Self, LedgerError> {
        Ok(Self {
            attempts: row.get(from)?,
            unpriced: row.get(from + 1)?,
            input: row.get(from + 2)?,
            cached: row.get(from + 3)?,
            output: row.get(from + 4)?,
            cost: row.get(from + 5)?,
            baseline: row.get(from + 6)?,
            local_cost: row.get(from + 7)?,
            local_unknown: row.get(from + 8)?,
            first_us: row.get(from + 9)?,
            firsts: row.get(from + 10)?,
            took_us: row.get(from + 11)?,
            ended: row.get(from + 12)?,
        })
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.unpriced += other.unpriced;
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
        self.cost += other.cost;
        self.baseline += other.baseline;
        self.local_cost = match (self.local_cost, other.local_cost) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        self.local_unknown += other.local_unknown;
        self.first_us += other.first_us;
        self.firsts += other.firsts;
        self.took_us += other.took_us;
        self.ended += other.ended;
    }
}

// === impl By ===

impl By {
    /// The same words for both.
    pub(super) fn same(columns: usize, words: &str) -> Self {
        Self { columns, of_line: words.to_owned(), of_hour: words.to_owned() }
    }

    /// The columns by their numbers.
    fn places(&self) -> String {
        (1..=self.columns).map(|at| at.to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// What of a span is not in these, which are in order and do not overlap.
pub(super) fn without([since, until]: [i64; 2], parts: &[[i64; 2]]) -> Vec<[i64; 2]> {
    let mut rest = Vec::new();
    let mut from = since;
    for [begins, ends] in parts.iter().filter(|[begins, ends]| *ends > since && *begins < until) {
        if *begins > from {
            rest.push([from, *begins]);
        }
        from = from.max(*ends);
    }
    if from < until {
        rest.push([from, until]);
    }
    rest
}

/// The hours within a span that are summed.
pub(super) fn summed(db: &mut Db, [since, until]: [i64; 2]) -> Result<Vec<[i64; 2]>, LedgerError> {
    let sql = "SELECT begins FROM hours WHERE begins >= ?1 AND begins <= ?2 ORDER BY begins";
    db.query(sql, cells![since, until.saturating_sub(HOUR_US)], |row| {
        let begins: i64 = row.get(0)?;
        Ok([begins, begins + HOUR_US])
    })
}

/// The sums of closed lines in a span, by group; within a [`Db::snapshot`]. `only` is a condition that both kinds of rows
/// know, or nothing.
pub(super) fn grouped<K: Ord>(
    db: &mut Db,
    span: [i64; 2],
    by: &By,
    only: &str,
    key: impl Fn(&Row<'_>) -> Result<K, LedgerError>,
) -> Result<BTreeMap<K, Sums>, LedgerError> {
    let hours = summed(db, span)?;
    let mut found = BTreeMap::new();
    let mut gather = |rows: Vec<(K, Sums)>| {
        rows.into_iter().for_each(|(key, sums)| found.entry(key).or_insert_with(Sums::default).add(&sums));
    };
    if let Some(([first, _], [_, end])) = hours.first().zip(hours.last()) {
        let sql = format!(
            "SELECT {}, {HOUR_SUMS} FROM hour_sums WHERE begins >= ?1 AND begins < ?2 {only} GROUP BY {}",
            by.of_hour,
            by.places()
        );
        gather(db.query(&sql, cells![*first, *end], |row| Ok((key(row)?, Sums::read(row, by.columns)?)))?);
    }
    for gap in without(span, &hours) {
        gather(lines(db, gap, by, only, &key)?);
    }
    Ok(found)
}

/// The same of the lines themselves, where pieces are shorter than an hour.
pub(super) fn lines<K>(
    db: &mut Db,
    [since, until]: [i64; 2],
    by: &By,
    only: &str,
    key: &impl Fn(&Row<'_>) -> Result<K, LedgerError>,
) -> Result<Vec<(K, Sums)>, LedgerError> {
    let sql = format!(
        "SELECT {}, {LINE_SUMS} FROM attempts WHERE outcome IS NOT NULL AND at_us >= ?1 AND at_us < ?2 {only} GROUP BY {}",
        by.of_line,
        by.places()
    );
    db.query(&sql, cells![since, until], |row| Ok((key(row)?, Sums::read(row, by.columns)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_span_is_all_that_is_in_no_part() {
        assert_eq!(without([0, 10], &[]), [[0, 10]]);
        assert_eq!(without([0, 10], &[[0, 10]]), Vec::<[i64; 2]>::new());
        assert_eq!(without([1, 10], &[[0, 2], [3, 4], [4, 6], [9, 12], [20, 30]]), [[2, 3], [6, 9]]);
        assert_eq!(without([5, 5], &[]), Vec::<[i64; 2]>::new());
        assert_eq!(without([4, i64::MAX], &[[0, 5]]), [[5, i64::MAX]]);
    }
}
