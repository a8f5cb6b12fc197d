//! What a process begins with: accounts of budgets, lengths of answers, classes of sessions.

use super::store::{Cell, Row, cells};
use super::{Ledger, LedgerError};
use policies::{Amount, KeyId, ModelName, NanoDollars, SessionId, Usage};

/// Answers that are read back for how long the next ones will be.
const RECENT: i64 = 20_000;

/// Whose spending is summed.
#[derive(Clone)]
pub(crate) enum SpendScope {
    Everything,
    Team(String),
    Key(String),
    User(String),
    Model(String),
    Tag(String, String),
}

/// An answer that came to its end.
pub(crate) struct RecentAnswer {
    pub(crate) key: Option<KeyId>,
    pub(crate) model: ModelName,
    pub(crate) usage: Usage,
}

// === impl Ledger ===

impl Ledger {
    /// What a scope has spent since a time, in microseconds since 1970: money of all attempts, tokens of hosted ones (of
    /// both sides where the scope is one model). What a dead process left open counts as what was set aside for it.
    pub(crate) fn spent_since(&self, scope: &SpendScope, since_us: i64) -> Result<Amount, LedgerError> {
        let sums = self.sums(scope, since_us, "AND outcome IS NOT NULL", "NULL")?;
        Ok(sums.into_iter().map(|(_, amount)| amount).next().unwrap_or_default())
    }

    /// The same by instance (`None`: lines that none claims), running attempts included: they count as what is set aside
    /// for them. Only on a server.
    pub(crate) fn committed_since(
        &self,
        scope: &SpendScope,
        since_us: i64,
    ) -> Result<Vec<(Option<String>, Amount)>, LedgerError> {
        self.sums(scope, since_us, "", "instance")
    }

    fn sums(
        &self,
        scope: &SpendScope,
        since_us: i64,
        which: &str,
        group: &str,
    ) -> Result<Vec<(Option<String>, Amount)>, LedgerError> {
        let path;
        let server = self.is_shared();
        let (condition, values): (&str, &[&str]) = match scope {
            SpendScope::Everything => ("TRUE", &[]),
            SpendScope::Team(team) => ("team = ?2", &[team]),
            SpendScope::Key(key) => ("key_id = ?2", &[key]),
            SpendScope::User(user) => ("\"user\" = ?2", &[user]),
            SpendScope::Model(model) => ("model = ?2", &[model]),
            SpendScope::Tag(key, tag) if server => ("(tags::json ->> ?2) = ?3", &[key, tag]),
            SpendScope::Tag(key, tag) => {
                path = format!("$.\"{}\"", key.replace('"', ""));
                ("json_extract(tags, ?2) = ?3", &[&path, tag])
            }
        };
        let counted = if matches!(scope, SpendScope::Model(_)) { "TRUE" } else { "route = 'hosted'" };
        let sql = format!(
            "SELECT {group}, CAST(coalesce(sum(coalesce(cost_nd, ceiling_nd)), 0) AS BIGINT), \
             CAST(coalesce(sum(CASE WHEN NOT {counted} THEN 0 \
             WHEN outcome IS NULL OR outcome = 'unknown' THEN coalesce(ceiling_tokens, 0) \
             ELSE input + output END), 0) AS BIGINT) \
             FROM attempts WHERE at_us >= ?1 {which} AND {condition} GROUP BY 1"
        );
        let values: Vec<Cell<'_>> =
            std::iter::once(since_us.into()).chain(values.iter().map(|text| Cell::Text(text))).collect();
        self.read(|db| {
            db.query(&sql, &values, |row| {
                Ok((row.get(0)?, Amount { money: NanoDollars(units(row, 1)?), tokens: units(row, 2)? }))
            })
        })
    }

    /// The data classes that requests of a session of that key have had.
    pub(crate) fn classes_of(&self, session: &SessionId, key: Option<&KeyId>) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT DISTINCT class FROM requests WHERE session = ?1 AND key_id IS NOT DISTINCT FROM ?2";
        self.glance(|db| db.query(sql, cells![session.as_str(), key.map(KeyId::as_str)], |row| row.get(0)))
    }

    /// The latest answers, the oldest of them first.
    pub(crate) fn recent_answers(&self) -> Result<Vec<RecentAnswer>, LedgerError> {
        self.read(|db| {
            let sql = "SELECT key_id, model, input, output, reasoning FROM attempts \
                       WHERE outcome = 'ok' AND purpose = 'answer' ORDER BY id DESC LIMIT ?1";
            let mut answers = db.query(sql, cells![RECENT], |row| {
                let usage = Usage { reasoning: units(row, 4)?.into(), ..Usage::plain(units(row, 2)?, units(row, 3)?) };
                let key: Option<String> = row.get(0)?;
                Ok(RecentAnswer { key: key.map(KeyId::from), model: row.get::<String>(1)?.into(), usage })
            })?;
            answers.reverse();
            Ok(answers)
        })
    }
}

/// A sum; there are no unsigned ones, and nothing here is below zero.
fn units(row: &Row<'_>, at: usize) -> Result<u64, LedgerError> {
    Ok(u64::try_from(row.get::<i64>(at)?).unwrap_or(0))
}
