//! Virtual keys, stored by digest.
//!
//! A key is 256 random bits behind `sk-sluice-`; at that entropy a plain SHA-256 is enough (a slow hash defends guessable
//! secrets). It is shown once, at creation. No SQL ever sees a presented key: it is hashed first and looked up by digest.

use super::{Ledger, LedgerError, connect};
use policies::{KeyId, ModelName, NanoDollars, Secret};
use rusqlite::{OptionalExtension, params};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a new key shall be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Its name, unique.
    pub name: String,
    /// Its team.
    pub team: Option<String>,
    /// Its user.
    pub user: Option<String>,
    /// Models it may use; `None`: all.
    pub models: Option<Vec<ModelName>>,
    /// Its own hard budget and window.
    pub budget: Option<(NanoDollars, String)>,
    /// When it ends, microseconds since 1970.
    pub expires_us: Option<i64>,
}

/// A stored key.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// What it is.
    pub key: NewKey,
    /// When it was made.
    pub created_us: i64,
    /// When it was revoked.
    pub revoked_us: Option<i64>,
}

// === impl KeyRecord ===

impl KeyRecord {
    /// Whether it opens anything at that time.
    pub fn valid_at(&self, now_us: i64) -> bool {
        self.revoked_us.is_none() && self.key.expires_us.is_none_or(|end| now_us < end)
    }

    /// The digest a presented key has.
    pub fn digest_of(presented: &str) -> [u8; 32] {
        Sha256::digest(presented.as_bytes()).into()
    }
}

// === impl Ledger: keys ===

impl Ledger {
    /// Makes a key; the secret is given once and kept nowhere.
    pub fn create_key(&self, key: &NewKey) -> Result<(KeyRecord, Secret), LedgerError> {
        let random: [u8; 32] = rand::random();
        let secret = format!("sk-sluice-{}", hex::encode(random));
        let id: [u8; 6] = rand::random();
        let record = KeyRecord {
            id: format!("key-{}", hex::encode(id)).into(),
            digest: KeyRecord::digest_of(&secret),
            key: key.clone(),
            created_us: jiff::Timestamp::now().as_microsecond(),
            revoked_us: None,
        };
        let models = key.models.as_ref().map(|models| serde_json::to_string(models).unwrap_or_default());
        let limit = key.budget.as_ref().map(|(limit, _)| i64::try_from(limit.0).unwrap_or(i64::MAX));
        // A connection of its own: the writer may belong to another process.
        connect(self.path())?.execute(
            "INSERT INTO keys (id, name, digest, team, user, models, limit_nd, window, created_us, expires_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                record.id.as_str(),
                key.name,
                record.digest.as_slice(),
                key.team,
                key.user,
                models,
                limit,
                key.budget.as_ref().map(|(_, window)| window),
                record.created_us,
                key.expires_us,
            ],
        )?;
        Ok((record, Secret::new(secret)))
    }

    /// All keys, revoked ones included, the oldest first.
    pub fn keys(&self) -> Result<Vec<KeyRecord>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, name, digest, team, user, models, limit_nd, window, created_us, expires_us, revoked_us \
                 FROM keys ORDER BY created_us, id",
            )?;
            let rows = statement.query_map([], |row| {
                let models: Option<String> = row.get(5)?;
                let limit: Option<u64> = row.get(6)?;
                let window: Option<String> = row.get(7)?;
                Ok(KeyRecord {
                    id: row.get::<_, String>(0)?.into(),
                    digest: row.get(2)?,
                    key: NewKey {
                        name: row.get(1)?,
                        team: row.get(3)?,
                        user: row.get(4)?,
                        // A list that cannot be read allows nothing.
                        models: models.map(|models| serde_json::from_str(&models).unwrap_or_default()),
                        budget: limit.map(NanoDollars).zip(window),
                        expires_us: row.get(9)?,
                    },
                    created_us: row.get(8)?,
                    revoked_us: row.get(10)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Revokes a key by id or name; `None` when there is none (or it was revoked before).
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

    /// A number that changes whenever another connection has written: cheap to poll.
    pub fn version(&self) -> Result<i64, LedgerError> {
        self.read(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0)))
    }
}

impl KeyRecord {
    /// The key as the admin API shows it: no digest, no secret.
    pub fn shown(&self) -> Value {
        let time = |us: i64| jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default();
        serde_json::json!({
            "id": self.id, "name": self.key.name, "team": self.key.team, "user": self.key.user, "models": self.key.models,
            "budget": self.key.budget.as_ref().map(|(limit, window)| serde_json::json!({"limit_usd": limit, "window": window})),
            "created": time(self.created_us), "expires": self.key.expires_us.map(time), "revoked": self.revoked_us.map(time),
        })
    }
}
