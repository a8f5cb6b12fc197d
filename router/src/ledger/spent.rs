//! What a process begins with: accounts of budgets, lengths of answers, classes of sessions.

use super::{Ledger, LedgerError};
use policies::{Amount, KeyId, ModelName, NanoDollars, SessionId, Usage};
use rusqlite::Row;

/// Answers that are read back for how long the next ones will be.
const RECENT: i64 = 20_000;

/// Whose spending is summed.
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
        let path;
        let (condition, values): (&str, Vec<&str>) = match scope {
            SpendScope::Everything => ("1", vec![]),
            SpendScope::Team(team) => ("team = ?2", vec![team]),
            SpendScope::Key(key) => ("key_id = ?2", vec![key]),
            SpendScope::User(user) => ("user = ?2", vec![user]),
            SpendScope::Model(model) => ("model = ?2", vec![model]),
            SpendScope::Tag(key, tag) => {
                path = format!("$.\"{}\"", key.replace('"', ""));
                ("json_extract(tags, ?2) = ?3", vec![&path, tag])
            }
        };
        let counted = if matches!(scope, SpendScope::Model(_)) { "1" } else { "route = 'hosted'" };
        let sql = format!(
            "SELECT coalesce(sum(coalesce(cost_nd, ceiling_nd)), 0), \
             coalesce(sum(CASE WHEN NOT {counted} THEN 0 WHEN outcome = 'unknown' THEN coalesce(ceiling_tokens, 0) \
             ELSE input + output END), 0) \
             FROM attempts WHERE at_us >= ?1 AND outcome IS NOT NULL AND {condition}"
        );
        let parameters = std::iter::once(since_us.into()).chain(values.into_iter().map(|text| text.to_owned().into()));
        let parameters: Vec<rusqlite::types::Value> = parameters.collect();
        self.read(|connection| {
            connection.query_row(&sql, rusqlite::params_from_iter(parameters), |row| {
                Ok(Amount { money: NanoDollars(units(row, 0)?), tokens: units(row, 1)? })
            })
        })
    }

    /// The data classes that requests of a session of that key have had.
    pub(crate) fn classes_of(&self, session: &SessionId, key: Option<&KeyId>) -> Result<Vec<String>, LedgerError> {
        self.read(|connection| {
            let sql = "SELECT DISTINCT class FROM requests WHERE session = ?1 AND key_id IS ?2";
            let mut asked = connection.prepare_cached(sql)?;
            let rows = asked.query_map((session.as_str(), key.map(KeyId::as_str)), |row| row.get(0))?;
            rows.collect()
        })
    }

    /// The latest answers, the oldest of them first.
    pub(crate) fn recent_answers(&self) -> Result<Vec<RecentAnswer>, LedgerError> {
        self.read(|connection| {
            let sql = "SELECT key_id, model, input, output, reasoning FROM attempts \
                       WHERE outcome = 'ok' AND purpose = 'answer' ORDER BY id DESC LIMIT ?1";
            let mut asked = connection.prepare(sql)?;
            let rows = asked.query_map([RECENT], |row| {
                let usage = Usage { reasoning: units(row, 4)?.into(), ..Usage::plain(units(row, 2)?, units(row, 3)?) };
                let key: Option<String> = row.get(0)?;
                Ok(RecentAnswer { key: key.map(KeyId::from), model: row.get::<_, String>(1)?.into(), usage })
            })?;
            let mut answers = rows.collect::<Result<Vec<_>, _>>()?;
            answers.reverse();
            Ok(answers)
        })
    }
}

/// A sum; SQLite has no unsigned ones, and nothing here is below zero.
fn units(row: &Row<'_>, at: usize) -> Result<u64, rusqlite::Error> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
}
