//! Virtual keys, stored by digest.
//!
//! A key is 256 random bits behind `sk-sluice-`; at that entropy a plain SHA-256 is enough (a slow hash defends guessable
//! secrets). It is shown once, at creation or rotation. No SQL ever sees a presented key: it is hashed first and looked up
//! by digest.
//!
//! **Rotation** gives a key another secret: its id, and with it its budgets, limits and history, stay. Every older secret
//! is good until the overlap ends, and no longer.

use super::store::{Db, cells};
use super::{Ledger, LedgerError};
use crate::budgets::Window;
use policies::{KeyId, Location, Measure, ModelName, NanoDollars, RateLimit, Secret};
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
    /// Its own hard budgets, one a measure and window.
    pub budgets: Vec<KeyBudget>,
    /// Its own rate limits.
    pub rates: Vec<RateLimit>,
    /// When it ends, microseconds since 1970.
    pub expires_us: Option<i64>,
}

/// A hard budget of a key's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBudget {
    /// What it counts.
    pub measure: Measure,
    /// The most, in nano-dollars or tokens.
    pub limit: u64,
    /// In which window.
    pub window: Window,
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

/// A budget as the file keeps it: one of the two limits.
#[derive(Serialize, Deserialize)]
struct StoredBudget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit_nd: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit_tokens: Option<u64>,
    window: Window,
}

// === impl StoredBudget ===

impl From<&KeyBudget> for StoredBudget {
    fn from(budget: &KeyBudget) -> Self {
        let limit = |measure| (budget.measure == measure).then_some(budget.limit);
        Self { limit_nd: limit(Measure::Money), limit_tokens: limit(Measure::Tokens), window: budget.window }
    }
}

impl StoredBudget {
    /// The budget; one that limits nothing, or two things, cannot be read.
    fn read(&self) -> Result<KeyBudget, LedgerError> {
        let (measure, limit) = match (self.limit_nd, self.limit_tokens) {
            (Some(limit), None) => (Measure::Money, limit),
            (None, Some(limit)) => (Measure::Tokens, limit),
            (None, None) | (Some(_), Some(_)) => return Err(unreadable("a budget has one limit")),
        };
        Ok(KeyBudget { measure, limit, window: self.window })
    }
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
        let budget = |KeyBudget { measure, limit, window }: &KeyBudget| match measure {
            Measure::Money => serde_json::json!({"limit_usd": NanoDollars(*limit), "window": window}),
            Measure::Tokens => serde_json::json!({"limit_tokens": limit, "window": window}),
        };
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
        let budgets = key.budgets.iter().map(StoredBudget::from);
        let rates: Vec<String> = key.rates.iter().map(ToString::to_string).collect();
        let budgets = text(&budgets.collect::<Vec<_>>());
        let rates = text(&rates);
        let lists = (key.models.as_ref().map(text), key.routes.as_ref().map(text), key.classes.as_ref().map(text));
        // A connection of its own: the writer may belong to another process.
        let made = self.aside(|db| {
            db.execute(
                "INSERT INTO keys (id, name, digest, team, \"user\", models, routes, classes, budgets, rates, created_us, \
                 expires_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
                 ON CONFLICT (name) DO NOTHING",
                cells![
                    record.id.as_str(),
                    &key.name,
                    &record.digest,
                    key.team.as_ref(),
                    key.user.as_ref(),
                    lists.0.as_ref(),
                    lists.1.as_ref(),
                    lists.2.as_ref(),
                    &budgets,
                    &rates,
                    record.created_us,
                    key.expires_us,
                ],
            )
        })?;
        Ok((made > 0).then_some((record, secret)))
    }

    /// All keys, revoked ones included, the oldest first.
    ///
    /// # Errors
    /// Also a budget or a limit that cannot be read: a key without it would be another key.
    pub fn keys(&self) -> Result<Vec<KeyRecord>, LedgerError> {
        self.read(|db| {
            let mut old: HashMap<String, Vec<OldSecret>> = HashMap::new();
            let replaced = db.query("SELECT key, digest, until_us FROM old_secrets", &[], |row| {
                Ok((row.get::<String>(0)?, OldSecret { digest: row.get(1)?, until_us: row.get(2)? }))
            })?;
            for (key, secret) in replaced {
                old.entry(key).or_default().push(secret);
            }
            let sql = "SELECT id, name, digest, team, \"user\", models, routes, classes, budgets, rates, created_us, \
                       expires_us, revoked_us FROM keys ORDER BY created_us, id";
            db.query(sql, &[], |row| {
                let id: String = row.get(0)?;
                // A list that cannot be read allows nothing.
                let models: Option<String> = row.get(5)?;
                let routes: Option<String> = row.get(6)?;
                let classes: Option<String> = row.get(7)?;
                let budgets: Vec<StoredBudget> = strict(&row.get::<String>(8)?)?;
                let rates: Vec<String> = strict(&row.get::<String>(9)?)?;
                let rates = rates.iter().map(|rate| RateLimit::parse(rate).map_err(unreadable));
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
                        budgets: budgets.iter().map(StoredBudget::read).collect::<Result<_, _>>()?,
                        rates: rates.collect::<Result<_, _>>()?,
                        expires_us: row.get(11)?,
                    },
                    created_us: row.get(10)?,
                    revoked_us: row.get(12)?,
                })
            })
        })
    }

    /// Revokes a key with all its secrets, by id or name; `None` when there is none (or it was revoked before).
    pub fn revoke_key(&self, id_or_name: &str) -> Result<Option<KeyId>, LedgerError> {
        let now = jiff::Timestamp::now().as_microsecond();
        let sql = "UPDATE keys SET revoked_us = ?2 WHERE (id = ?1 OR name = ?1) AND revoked_us IS NULL RETURNING id";
        let id = self.aside(|db| db.first(sql, cells![id_or_name, now], |row| row.get::<String>(0)))?;
        Ok(id.map(KeyId::from))
    }

    /// Gives a key, by id or name, another secret; the older ones are good for `overlap` at most. `None` when there is no
    /// such key, or it was revoked or has expired.
    pub fn rotate_key(&self, id_or_name: &str, overlap: Duration) -> Result<Option<(KeyRecord, Secret)>, LedgerError> {
        let now = jiff::Timestamp::now().as_microsecond();
        let until = now.saturating_add(i64::try_from(overlap.as_micros()).unwrap_or(i64::MAX));
        let (secret, digest) = fresh();
        let replaced = self.aside(|db| db.transaction(|db| replace_secret(db, id_or_name, &digest, now, until)))?;
        let Some(id) = replaced else { return Ok(None) };
        let record = self.keys()?.into_iter().find(|key| key.id.as_str() == id);
        Ok(record.map(|record| (record, secret)))
    }

    /// A number that changes whenever another connection has written (a file), or a key has changed (a server): cheap to
    /// poll.
    pub fn version(&self) -> Result<i64, LedgerError> {
        self.read(|db| {
            let sql = if db.is_postgres() { "SELECT n FROM keys_version" } else { "PRAGMA data_version" };
            db.one(sql, &[], |row| row.get(0))
        })
    }
}

fn replace_secret(
    db: &mut Db,
    id_or_name: &str,
    digest: &KeyDigest,
    now: i64,
    until: i64,
) -> Result<Option<String>, LedgerError> {
    // Two rotations at the same time go one after the other: a file is locked as a whole, a row here.
    let lock = if db.is_postgres() { "FOR UPDATE" } else { "" };
    let sql = format!(
        "SELECT id, digest FROM keys WHERE (id = ?1 OR name = ?1) AND revoked_us IS NULL \
         AND (expires_us IS NULL OR expires_us > ?2) {lock}"
    );
    let found = db.first(&sql, cells![id_or_name, now], |row| Ok((row.get::<String>(0)?, row.get::<KeyDigest>(1)?)))?;
    let Some((id, before)) = found else { return Ok(None) };
    db.put("INSERT INTO old_secrets (digest, key, until_us) VALUES (?1, ?2, ?3)", cells![&before, &id, until])?;
    db.put("UPDATE old_secrets SET until_us = ?2 WHERE key = ?1 AND until_us > ?2", cells![&id, until])?;
    db.put("DELETE FROM old_secrets WHERE until_us <= ?1", cells![now])?;
    db.put("UPDATE keys SET digest = ?2 WHERE id = ?1", cells![&id, digest])?;
    Ok(Some(id))
}

/// Names and numbers: there is nothing that JSON could not say.
fn text<T: Serialize + ?Sized>(list: &T) -> String {
    serde_json::to_string(list).unwrap_or_default()
}

fn strict<T: for<'de> Deserialize<'de>>(list: &str) -> Result<T, LedgerError> {
    serde_json::from_str(list).map_err(unreadable)
}

fn unreadable(why: impl ToString) -> LedgerError {
    LedgerError::Database(format!("a key cannot be read: {}", why.to_string()))
}

#[cfg(test)]
mod tests;
