//! Requests as they are on record, to be decided on anew ([`crate::replay`]).
//!
//! **What is there.** The decision's story (facts, candidates, reason), what was judged and what the judge saw, and the tokens and
//! the money of the attempts. No text: whoever keeps prompts keeps what the judge read of them, which is not the request.

use super::store::{Cell, Row};
use super::{Ledger, LedgerError};
use crate::classify::Evidence;
use policies::{NanoDollars, TokenCount, Usage};
use std::sync::Arc;

/// Which requests to read.
#[derive(Clone, Copy, Debug)]
pub struct RecordedFilter {
    /// Not before, microseconds since 1970.
    pub since_us: Option<i64>,
    /// Before, microseconds since 1970.
    pub until_us: Option<i64>,
    /// The latest so many.
    pub limit: u32,
}

/// A request on record.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its id.
    pub id: String,
    /// When it came, microseconds since 1970.
    pub at_us: i64,
    /// The key's id.
    pub key: Option<String>,
    /// The key's team.
    pub team: Option<String>,
    /// The key's user.
    pub user: Option<String>,
    /// The side that answered; `None`: nobody did.
    pub route: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// The decision's story: JSON text.
    pub story: String,
    /// How it was judged, where it was.
    pub judged: Option<RecordedJudgement>,
    /// The tokens of the answer that was sent; `None`: none was.
    pub usage: Option<Usage>,
    /// What all of its attempts cost; `None`: one had no price.
    pub cost: Option<NanoDollars>,
}

/// How a request was judged.
#[derive(Clone, Debug)]
pub struct RecordedJudgement {
    /// The judge, with the digest of its head.
    pub judge: String,
    /// How much the strong model is needed, 0 to 1.
    pub score: f32,
    /// What a trained head saw.
    pub evidence: Option<Arc<Evidence>>,
}

// === impl Ledger: reading what is on record ===

impl Ledger {
    /// Requests that have ended, the oldest first; answers to clients count, shadows and comparisons do not.
    pub fn recorded(&self, filter: &RecordedFilter) -> Result<Vec<Recorded>, LedgerError> {
        let (since, until) = (filter.since_us.unwrap_or(i64::MIN), filter.until_us.unwrap_or(i64::MAX));
        let cells: [Cell<'_>; 3] = [since.into(), until.into(), i64::from(filter.limit).into()];
        let sum = |what: &str| {
            format!("(SELECT CAST({what} AS BIGINT) FROM attempts a WHERE a.request = r.id AND a.purpose = 'answer')")
        };
        // The attempt that was sent is the last one that did not fail.
        let sent = |what: &str| {
            format!(
                "(SELECT a.{what} FROM attempts a WHERE a.request = r.id AND a.purpose = 'answer' AND a.model = r.model AND \
                 a.outcome IN ('ok', 'ended', 'disconnected', 'truncated') ORDER BY a.attempt DESC LIMIT 1)"
            )
        };
        let sql = format!(
            "SELECT r.id, r.at_us, r.key_id, r.team, r.\"user\", r.route, r.model, r.record, j.judge, j.score, j.features, \
             j.embedding, {}, {}, {}, {}, {}, {} FROM requests r LEFT JOIN judgements j ON j.request = r.id \
             WHERE r.at_us >= ?1 AND r.at_us < ?2 ORDER BY r.at_us DESC LIMIT ?3",
            sent("input"),
            sent("cached"),
            sent("cache_write"),
            sent("output"),
            sum("coalesce(sum(cost_nd), 0)"),
            sum("count(*) FILTER (WHERE cost_nd IS NULL)"),
        );
        let mut found = self.aside(|db| db.query(&sql, &cells, recorded))?;
        found.reverse();
        Ok(found)
    }
}

fn recorded(row: &Row<'_>) -> Result<Recorded, LedgerError> {
    let text = |at: usize| row.get::<Option<String>>(at);
    let tokens = |at: usize| Ok::<_, LedgerError>(TokenCount(row.get::<Option<u64>>(at)?.unwrap_or(0)));
    let judged = match (text(8)?, row.get::<Option<f32>>(9)?) {
        (Some(judge), Some(score)) => {
            let (features, embedding): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(10)?, row.get(11)?);
            let evidence = features.map(|features| Arc::new(Evidence::stored(&features, embedding.as_deref())));
            Some(RecordedJudgement { judge, score, evidence })
        }
        (_, _) => None,
    };
    let usage = match row.get::<Option<u64>>(12)? {
        None => None,
        Some(input) => Some(Usage {
            input: TokenCount(input),
            cached_input: tokens(13)?,
            cache_write: tokens(14)?,
            output: tokens(15)?,
            ..Usage::default()
        }),
    };
    let unpriced: i64 = row.get(17)?;
    Ok(Recorded {
        id: row.get(0)?,
        at_us: row.get(1)?,
        key: text(2)?,
        team: text(3)?,
        user: text(4)?,
        route: text(5)?,
        model: text(6)?,
        story: row.get(7)?,
        judged,
        usage,
        cost: (unpriced == 0).then_some(NanoDollars(row.get(16)?)),
    })
}
