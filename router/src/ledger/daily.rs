//! What was spent at a provider each day, by the name that the provider knows the model by: what a bill is compared with.

use super::store::Cell;
use super::{Ledger, LedgerError};
use policies::NanoDollars;

/// The sums of one UTC day and one upstream model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyRow {
    /// The UTC day that the attempts began on, `2026-01-31`.
    pub day: String,
    /// The provider's own name of the model.
    pub upstream: String,
    /// Attempts that ended, however they did: a provider bills what it wrote.
    pub attempts: u64,
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// What they cost.
    pub cost: NanoDollars,
    /// Attempts without a price: their cost is not in the sum.
    pub unpriced: u64,
    /// Attempts whose tokens are a lower bound: streams that broke off, and what a stopped gateway left open (charged at
    /// its ceiling).
    pub uncertain: u64,
}

// === impl Ledger: daily sums ===

impl Ledger {
    /// Sums of closed attempts at these providers, in microseconds since 1970 from `since_us` to before `until_us`,
    /// ordered by day and model. Answers, shadow copies and judgements count: all of them are billed.
    pub fn daily(&self, providers: &[String], since_us: i64, until_us: i64) -> Result<Vec<DailyRow>, LedgerError> {
        if providers.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<String> = (3..providers.len() + 3).map(|at| format!("?{at}")).collect();
        let values: Vec<Cell<'_>> =
            [since_us, until_us].map(Cell::from).into_iter().chain(providers.iter().map(Cell::from)).collect();
        self.read(|db| {
            let sql = format!(
                "SELECT {}, upstream, count(*), CAST(coalesce(sum(input), 0) AS BIGINT), \
                 CAST(coalesce(sum(output), 0) AS BIGINT), CAST(coalesce(sum(cost_nd), 0) AS BIGINT), \
                 count(*) FILTER (WHERE cost_nd IS NULL), count(*) FILTER (WHERE counted = 'at_least') FROM attempts \
                 WHERE outcome IS NOT NULL AND at_us >= ?1 AND at_us < ?2 AND provider IN ({}) \
                 GROUP BY 1, 2 ORDER BY 1, 2",
                db.day_of("at_us"),
                places.join(", ")
            );
            db.query(&sql, &values, |row| {
                Ok(DailyRow {
                    day: row.get(0)?,
                    upstream: row.get(1)?,
                    attempts: row.get(2)?,
                    input: row.get(3)?,
                    output: row.get(4)?,
                    cost: NanoDollars(row.get(5)?),
                    unpriced: row.get(6)?,
                    uncertain: row.get(7)?,
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::bed::{Bed, on_both_stores};
    use crate::ledger::{AttemptClose, AttemptOpen, Durability};
    use crate::lines;
    use policies::{Counted, Usage};
    use std::sync::Arc;

    on_both_stores! {
        a_day_is_utc_and_other_providers_are_not_in_it;
    }

    const DAY: i64 = 86_400_000_000;

    async fn line(ledger: &Ledger, n: u32, at_us: i64, provider: &str, upstream: &str, cost: Option<u64>) {
        let open = Arc::new(AttemptOpen {
            model: "mine".into(),
            provider: provider.into(),
            upstream: upstream.into(),
            ceiling: cost.map(NanoDollars),
            price: None,
            ..lines::open(&format!("r{n}"), at_us)
        });
        ledger.open(open.clone()).await.unwrap();
        let counted = if n == 1 { Counted::AtLeast(Usage::plain(1, 2)) } else { Counted::Exact(Usage::plain(10, 20)) };
        let close = AttemptClose { counted, cost: cost.map(NanoDollars), ..lines::closed(open, at_us, 0) };
        ledger.close(close, None).await.unwrap();
    }

    async fn a_day_is_utc_and_other_providers_are_not_in_it(bed: Bed) {
        let (ledger, _) = bed.start(Durability::Process);
        line(&ledger, 1, DAY - 1, "p", "one", Some(5)).await;
        line(&ledger, 2, DAY, "p", "one", Some(7)).await;
        line(&ledger, 3, 2 * DAY - 1, "q", "one", None).await;
        line(&ledger, 4, DAY + 9, "other", "one", Some(1)).await;
        let names = ["p".to_owned(), "q".to_owned()];
        let rows = ledger.daily(&names, 0, i64::MAX).unwrap();
        let row = |day: &str, attempts, input, output, cost, unpriced, uncertain| DailyRow {
            day: day.into(),
            upstream: "one".into(),
            attempts,
            input,
            output,
            cost: NanoDollars(cost),
            unpriced,
            uncertain,
        };
        assert_eq!(rows, [row("1970-01-01", 1, 1, 2, 5, 0, 1), row("1970-01-02", 2, 20, 40, 7, 1, 0)]);
        assert_eq!(ledger.daily(&names, DAY, 2 * DAY).unwrap().len(), 1);
        assert!(ledger.daily(&[], 0, i64::MAX).unwrap().is_empty());
    }
}
