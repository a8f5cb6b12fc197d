//! Virtual keys, stored by digest.
//!
//! A key is 256 random bits behind `sk-sluice-`; at that entropy a plain SHA-256 is enough (a slow hash defends guessable
//! secrets). It is shown once, at creation or rotation. No SQL ever sees a presented key: it is hashed first and looked up
//! by digest.
//!
//! **Rotation** gives a key another secret: its id, and with it its budgets, limits and history, stay. Every older secret
//! is good until the overlap ends, and no longer.

use super::{Ledger, LedgerError, connect};
use crate::budgets::Window;
use policies::{KeyId, Location, ModelName, NanoDollars, RateLimit, Secret};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::Duration;

/// SHA-256 of a key's secret.
pub type KeyDigest = [u8; 32];

/// What a new key shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKey {
    /// Its name, unique.
    pub name: String,
    /// Its team.
    pub team: Option<String>,
    /// Its user.
    pub user: Option<String>,
    /// Models it may use; `None`: all.
    pub models: Option<Vec<ModelName>>,
    /// Where its requests may go; `None`: to both sides.
    pub routes: Option<Vec<Location>>,
    /// Classes of data it may send; `None`: all.
    pub classes: Option<Vec<String>>,
    /// Its own hard budgets, one a window.
    pub budgets: Vec<(NanoDollars, Window)>,
    /// Its own rate limits.
    pub rates: Vec<RateLimit>,
    /// When it ends, microseconds since 1970.
    pub expires_us: Option<i64>,
}

/// A secret that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldSecret {
    /// Its digest.
    pub digest: KeyDigest,
    /// Until when it is still good, microseconds since 1970.
    pub until_us: i64,
}

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// SHA-256 of its newest secret.
    pub digest: KeyDigest,
    /// Secrets that were replaced.
    pub old: Vec<OldSecret>,
    /// What it is.
    pub key: NewKey,
    /// When it was made.
    pub created_us: i64,
    /// When it was revoked.
    pub revoked_us: Option<i64>,
}

/// A budget as the file keeps it.
#[derive(Serialize, Deserialize)]
struct StoredBudget {
    limit_nd: u64,
    window: Window,
}

// === impl KeyRecord ===

impl KeyRecord {
    /// Whether it opens anything at that time.
    pub fn valid_at(&self, now_us: i64) -> bool {
        self.revoked_us.is_none() && self.key.expires_us.is_none_or(|end| now_us < end)
    }

    /// The digest a presented key has.
    pub fn digest_of(presented: &str) -> KeyDigest {
        Sha256::digest(presented.as_bytes()).into()
    }

    /// The key as the admin API shows it: no digest, no secret.
    pub fn shown(&self) -> Value {
        let time = |us: i64| jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default();
        let now = jiff::Timestamp::now().as_microsecond();
        let budget =
            |(limit, window): &(NanoDollars, Window)| serde_json::json!({"limit_usd": limit, "window": window});
        let old = self.old.iter().map(|old| old.until_us).filter(|until| *until > now).max();
        serde_json::json!({
            "id": self.id, "name": self.key.name, "team": self.key.team, "user": self.key.user, "models": self.key.models,
            "routes": self.key.routes, "classes": self.key.classes,
            "budgets": self.key.budgets.iter().map(budget).collect::<Vec<_>>(),
            "rates": self.key.rates.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "created": time(self.created_us), "expires": self.key.expires_us.map(time), "revoked": self.revoked_us.map(time),
            "old_secret_until": old.map(time),
        })
    }
}

/// A fresh secret and its digest.
fn fresh() -> (Secret, KeyDigest) {
    let random: [u8; 32] = rand::random();
    let secret = format!("sk-sluice-{}", hex::encode(random));
    let digest = KeyRecord::digest_of(&secret);
    (Secret::new(secret), digest)
}

// === impl Ledger: keys ===

impl Ledger {
    /// Makes a key; the secret is given once and kept nowhere. `None`: the name is taken.
    pub fn create_key(&self, key: &NewKey) -> Result<Option<(KeyRecord, Secret)>, LedgerError> {
        let (secret, digest) = fresh();
        let id: [u8; 6] = rand::random();
        let record = KeyRecord {
            id: format!("key-{}", hex::encode(id)).into(),
            digest,
            old: Vec::new(),
            key: key.clone(),
            created_us: jiff::Timestamp::now().as_microsecond(),
            revoked_us: None,
        };
        let budgets = key.budgets.iter().map(|(limit, window)| StoredBudget { limit_nd: limit.0, window: *window });
        let rates: Vec<String> = key.rates.iter().map(ToString::to_string).collect();
        // A connection of its own: the writer may belong to another process.
        let made = connect(self.path())?.execute(
            "INSERT INTO keys (id, name, digest, team, user, models, routes, classes, budgets, rates, created_us, expires_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (name) DO NOTHING",
            params![
                record.id.as_str(),
                key.name,
                record.digest.as_slice(),
                key.team,
                key.user,
                key.models.as_ref().map(text),
                key.routes.as_ref().map(text),
                key.classes.as_ref().map(text),
                text(&budgets.collect::<Vec<_>>()),
                text(&rates),
                record.created_us,
                key.expires_us,
            ],
        )?;
        Ok((made > 0).then_some((record, secret)))
    }

    /// All keys, revoked ones included, the oldest first.
    ///
    /// # Errors
    /// Also a budget or a limit that cannot be read: a key without it would be another key.
    pub fn keys(&self) -> Result<Vec<KeyRecord>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT key, digest, until_us FROM old_secrets")?;
            let mut old: HashMap<String, Vec<OldSecret>> = HashMap::new();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                old.entry(row.get(0)?).or_default().push(OldSecret { digest: row.get(1)?, until_us: row.get(2)? });
            }
            let mut statement = connection.prepare_cached(
                "SELECT id, name, digest, team, user, models, routes, classes, budgets, rates, created_us, expires_us, \
                 revoked_us FROM keys ORDER BY created_us, id",
            )?;
            let rows = statement.query_map([], |row| {
                let id: String = row.get(0)?;
                // A list that cannot be read allows nothing.
                let models: Option<String> = row.get(5)?;
                let routes: Option<String> = row.get(6)?;
                let classes: Option<String> = row.get(7)?;
                let budgets: Vec<StoredBudget> = strict(8, &row.get::<_, String>(8)?)?;
                let rates: Vec<String> = strict(9, &row.get::<_, String>(9)?)?;
                let rates = rates.iter().map(|rate| RateLimit::parse(rate).map_err(|why| unreadable(9, why)));
                Ok(KeyRecord {
                    old: old.remove(&id).unwrap_or_default(),
                    id: id.into(),
                    digest: row.get(2)?,
                    key: NewKey {
                        name: row.get(1)?,
                        team: row.get(3)?,
                        user: row.get(4)?,
                        models: models.map(|list| serde_json::from_str(&list).unwrap_or_default()),
                        routes: routes.map(|list| serde_json::from_str(&list).unwrap_or_default()),
                        classes: classes.map(|list| serde_json::from_str(&list).unwrap_or_default()),
                        budgets: budgets.iter().map(|budget| (NanoDollars(budget.limit_nd), budget.window)).collect(),
                        rates: rates.collect::<Result<_, _>>()?,
                        expires_us: row.get(11)?,
                    },
                    created_us: row.get(10)?,
                    revoked_us: row.get(12)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Revokes a key with all its secrets, by id or name; `None` when there is none (or it was revoked before).
    pub fn revoke_key(&self, id_or_name: &str) -> Result<Option<KeyId>, LedgerError> {
        let now = jiff::Timestamp::now().as_microsecond();
        let id: Option<String> = connect(self.path())?
            .query_row(
                "UPDATE keys SET revoked_us = ?2 WHERE (id = ?1 OR name = ?1) AND revoked_us IS NULL RETURNING id",
                params![id_or_name, now],
                |row| row.get(0),
            )
            .optional()?;
        Ok(id.map(KeyId::from))
    }

    /// Gives a key, by id or name, another secret; the older ones are good for `overlap` at most. `None` when there is no
    /// such key, or it was revoked or has expired.
    pub fn rotate_key(&self, id_or_name: &str, overlap: Duration) -> Result<Option<(KeyRecord, Secret)>, LedgerError> {
        let now = jiff::Timestamp::now().as_microsecond();
        let until = now.saturating_add(i64::try_from(overlap.as_micros()).unwrap_or(i64::MAX));
        let (secret, digest) = fresh();
        let mut connection = connect(self.path())?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(id) = replace_secret(&transaction, id_or_name, &digest, now, until)? else { return Ok(None) };
        transaction.commit()?;
        let record = self.keys()?.into_iter().find(|key| key.id.as_str() == id);
        Ok(record.map(|record| (record, secret)))
    }

    /// A number that changes whenever another connection has written: cheap to poll.
    pub fn version(&self) -> Result<i64, LedgerError> {
        self.read(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0)))
    }
}

fn replace_secret(
    transaction: &Transaction<'_>,
    id_or_name: &str,
    digest: &KeyDigest,
    now: i64,
    until: i64,
) -> Result<Option<String>, rusqlite::Error> {
    let found: Option<(String, KeyDigest)> = transaction
        .query_row(
            "SELECT id, digest FROM keys WHERE (id = ?1 OR name = ?1) AND revoked_us IS NULL \
             AND (expires_us IS NULL OR expires_us > ?2)",
            params![id_or_name, now],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((id, before)) = found else { return Ok(None) };
    transaction.execute(
        "INSERT INTO old_secrets (digest, key, until_us) VALUES (?1, ?2, ?3)",
        params![before.as_slice(), id, until],
    )?;
    transaction.execute("UPDATE old_secrets SET until_us = min(until_us, ?2) WHERE key = ?1", params![id, until])?;
    transaction.execute("DELETE FROM old_secrets WHERE until_us <= ?1", params![now])?;
    transaction.execute("UPDATE keys SET digest = ?2 WHERE id = ?1", params![id, digest.as_slice()])?;
    Ok(Some(id))
}

/// Names and numbers: there is nothing that JSON could not say.
fn text<T: Serialize + ?Sized>(list: &T) -> String {
    serde_json::to_string(list).unwrap_or_default()
}

fn strict<T: for<'de> Deserialize<'de>>(column: usize, list: &str) -> Result<T, rusqlite::Error> {
    serde_json::from_str(list).map_err(|why| unreadable(column, why.to_string()))
}

fn unreadable(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

#[cfg(test)]
mod tests;
