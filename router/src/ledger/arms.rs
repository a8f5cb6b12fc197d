//! Who is compared with whom: the arm of each request, and what the sessions of each arm cost.
//!
//! **Promise.** The arm of a request is written in the commit that closes it, and pruned with it. The key of the draw is
//! made once and stays with the ledger, so that a session is in the same arm after a restart.
//!
//! **A session's arm** is that of its first request on the ledger, whatever became of later ones, and all that it cost is
//! its cost: an arm that could be left would be left by those who are served worst. A session that began under a
//! constraint is in neither arm, nor is one that began under another share: that was so before anything was compared.
//!
//! **What it does not do.** It computes no savings (see [`crate::savings`]).

use super::store::{Db, Row, cells};
use super::{Ledger, LedgerError};
use policies::NanoDollars;
use serde_json::Value;

/// The arm of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmRecord {
    /// Its session: a keyed digest.
    pub session: String,
    /// `treatment`, `holdout` or `excluded`.
    pub arm: &'static str,
    /// What excluded it: a reason word.
    pub why: Option<&'static str>,
    /// The share of sessions that are held out.
    pub share: f32,
    /// Its input in tokens, as far as it is told before anybody answers.
    pub prompt_tokens: u64,
    /// What the local machine cost while the request was judged; `None`: nobody judged, or nobody knows.
    pub judging: Option<NanoDollars>,
}

/// What a session did in a span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionRow {
    /// `treatment`, `holdout` or `excluded`.
    pub arm: &'static str,
    /// What excluded it.
    pub why: Option<String>,
    /// The smallest and the largest share of sessions that were held out meanwhile.
    pub shares: (f64, f64),
    /// Estimated input tokens of its first request.
    pub prompt_tokens: u64,
    /// Requests.
    pub requests: u64,
    /// What was spent: every attempt, whatever became of it.
    pub cost: NanoDollars,
    /// Attempts whose model has no price.
    pub unpriced: u64,
    /// What the local machine cost for them.
    pub local_cost: NanoDollars,
    /// Local attempts of which that is known.
    pub local_known: u64,
    /// Local attempts of which it is not.
    pub local_unknown: u64,
    /// What the local machine cost while requests were judged; `None` where it is known of none.
    pub judging: Option<NanoDollars>,
    /// What the same tokens cost at the hosted model's price, where it is known.
    pub baseline: Option<NanoDollars>,
}

// === impl Ledger: arms ===

impl Ledger {
    /// The key of the draw; made at the first call.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub fn salt(&self) -> Result<[u8; 32], LedgerError> {
        // A connection of its own: the writer may belong to another process.
        self.aside(|db| {
            let fresh: [u8; 32] = rand::random();
            let sql = "INSERT INTO meta (name, value) VALUES ('holdout_salt', ?1) ON CONFLICT (name) DO NOTHING";
            db.execute(sql, cells![&fresh])?;
            db.one("SELECT value FROM meta WHERE name = 'holdout_salt'", &[], |row| row.get(0))
        })
    }

    /// The sessions that asked for something in a span of time, with what those requests cost.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn sessions(&self, since_us: i64, until_us: i64) -> Result<Vec<SessionRow>, LedgerError> {
        // It may take a second, in which nobody shall wait for the reader.
        self.aside(|db| {
            let amount = |row: &Row<'_>, at: usize| row.get::<u64>(at).map(NanoDollars);
            db.query(SESSIONS, cells![since_us, until_us], |row| {
                Ok(SessionRow {
                    arm: word(&row.get::<String>(0)?),
                    why: row.get(1)?,
                    prompt_tokens: row.get(2)?,
                    shares: (row.get(3)?, row.get(4)?),
                    requests: row.get(5)?,
                    cost: amount(row, 6)?,
                    unpriced: row.get(7)?,
                    local_cost: amount(row, 8)?,
                    local_known: row.get(9)?,
                    local_unknown: row.get(10)?,
                    judging: row.get::<Option<u64>>(11)?.map(NanoDollars),
                    baseline: row.get::<Option<u64>>(12)?.map(NanoDollars),
                })
            })
        })
    }
}

/// There may be a million sessions, and there are three words.
fn word(arm: &str) -> &'static str {
    match arm {
        "treatment" => "treatment",
        "holdout" => "holdout",
        _ => "excluded",
    }
}

const SESSIONS: &str = "
WITH asked AS (
    SELECT a.session, a.share, a.judging_nd AS judging, coalesce(sum(t.cost_nd), 0) AS cost,
        count(t.id) FILTER (WHERE t.cost_nd IS NULL) AS unpriced,
        coalesce(sum(t.local_cost_nd), 0) AS local, count(t.local_cost_nd) AS known,
        count(t.id) FILTER (WHERE t.local_cost_nd IS NULL AND t.price_source = 'in_process') AS unknown,
        sum(t.baseline_nd) AS baseline
    FROM arms a LEFT JOIN attempts t ON t.request = a.request AND t.outcome IS NOT NULL
    WHERE a.at_us >= ?1 AND a.at_us < ?2 GROUP BY a.request
), summed AS (
    SELECT session, min(share) AS least, max(share) AS most, count(*) AS requests, sum(cost) AS cost,
        sum(unpriced) AS unpriced, sum(local) AS local, sum(known) AS known, sum(unknown) AS unknown,
        sum(judging) AS judging, sum(baseline) AS baseline
    FROM asked GROUP BY session
)
SELECT CASE WHEN f.share BETWEEN s.least AND s.most THEN f.arm ELSE 'excluded' END,
    CASE WHEN f.share BETWEEN s.least AND s.most THEN f.why ELSE 'share_changed' END, f.prompt_tokens, s.least, s.most,
    s.requests, CAST(s.cost AS BIGINT), CAST(s.unpriced AS BIGINT), CAST(s.local AS BIGINT), CAST(s.known AS BIGINT),
    CAST(s.unknown AS BIGINT), CAST(s.judging AS BIGINT), CAST(s.baseline AS BIGINT)
FROM summed s JOIN arms f
    ON f.rowid = (SELECT rowid FROM arms WHERE session = s.session ORDER BY at_us, rowid LIMIT 1)";

/// Writes the arm beside its request.
pub(super) fn put(db: &mut Db, request: &super::RequestRecord, arm: &ArmRecord) -> Result<(), LedgerError> {
    db.put(
        "INSERT INTO arms (request, at_us, session, arm, why, share, prompt_tokens, judging_nd) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
         ON CONFLICT (request) DO UPDATE SET at_us = excluded.at_us, session = excluded.session, arm = excluded.arm, \
         why = excluded.why, share = excluded.share, prompt_tokens = excluded.prompt_tokens, \
         judging_nd = excluded.judging_nd",
        cells![
            request.id.as_str(),
            request.at_us,
            &arm.session,
            arm.arm,
            arm.why,
            arm.share,
            arm.prompt_tokens,
            arm.judging.map(|amount| amount.0),
        ],
    )
}

/// Drops the arms of requests that are about to go.
pub(super) fn drop_before(db: &mut Db, at_us: i64) -> Result<(), LedgerError> {
    db.put("DELETE FROM arms WHERE at_us < ?1", cells![at_us])
}

/// A request's arm and what excluded it, for its story.
pub(super) fn shown(db: &mut Db, request: &str) -> Result<(Value, Value), LedgerError> {
    let text = |row: &Row<'_>, at| row.get::<Option<String>>(at).map(Value::from);
    let sql = "SELECT arm, why FROM arms WHERE request = ?1";
    let found = db.first(sql, cells![request], |row| Ok((text(row, 0)?, text(row, 1)?)))?;
    Ok(found.unwrap_or((Value::Null, Value::Null)))
}
