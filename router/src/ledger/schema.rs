//! The tables, and how an older file becomes a newer one.

use super::LedgerError;
use super::store::Db;
use rusqlite::{Connection, TransactionBehavior};

/// Each entry brings the file from its index to the next version; entries are never changed once released.
pub(super) const MIGRATIONS: [&str; 14] = ["
CREATE TABLE requests (
    id TEXT PRIMARY KEY,
    at_us INTEGER NOT NULL,               -- microseconds since 1970, UTC
    key_id TEXT, team TEXT, user TEXT, session TEXT,
    tags TEXT NOT NULL DEFAULT '{}',      -- JSON object
    endpoint TEXT NOT NULL, asked TEXT NOT NULL, class TEXT NOT NULL,
    route TEXT, model TEXT, reason TEXT, score REAL,
    status INTEGER NOT NULL, attempts INTEGER NOT NULL,
    record TEXT NOT NULL                  -- JSON: facts, signals, every candidate
) STRICT;
CREATE INDEX requests_at ON requests (at_us);

CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    request TEXT NOT NULL, attempt INTEGER NOT NULL,
    at_us INTEGER NOT NULL, ended_us INTEGER,
    purpose TEXT NOT NULL,                -- answer | shadow | judge
    key_id TEXT, team TEXT, user TEXT, session TEXT,
    tags TEXT NOT NULL DEFAULT '{}',
    model TEXT NOT NULL, provider TEXT NOT NULL, route TEXT NOT NULL, upstream TEXT NOT NULL,
    ceiling_nd INTEGER,                   -- nano-dollars held; NULL: unpriced
    outcome TEXT,                         -- NULL: running
    counted TEXT,                         -- exact | at_least
    input INTEGER, cached INTEGER, cache_write INTEGER, output INTEGER, reasoning INTEGER,
    cost_nd INTEGER,                      -- NULL: unpriced
    baseline_nd INTEGER,                  -- the same tokens at the hosted model's price
    price TEXT, price_source TEXT,        -- rates used (JSON, nano-dollars per million tokens), and where they were read
    first_event_us INTEGER, error TEXT,
    UNIQUE (request, attempt)
) STRICT;
CREATE INDEX attempts_at ON attempts (at_us);

CREATE TABLE keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL UNIQUE,          -- SHA-256 of the key
    team TEXT, user TEXT,
    models TEXT,                          -- JSON list; NULL: all
    limit_nd INTEGER, window TEXT,        -- the key's own budget
    created_us INTEGER NOT NULL, expires_us INTEGER, revoked_us INTEGER
) STRICT;

CREATE TABLE shadows (
    request TEXT PRIMARY KEY, experiment TEXT NOT NULL, at_us INTEGER NOT NULL,
    served_model TEXT NOT NULL, shadow_model TEXT NOT NULL,
    prompt TEXT NOT NULL, served_text TEXT NOT NULL, shadow_text TEXT NOT NULL,
    shadow_finish TEXT, shadow_error TEXT
) STRICT;
", "
ALTER TABLE requests ADD COLUMN cascade TEXT;  -- JSON: what a second look at the local answer found
", "
CREATE TABLE judgements (
    request TEXT PRIMARY KEY, at_us INTEGER NOT NULL,
    key_id TEXT, team TEXT,
    judge TEXT NOT NULL,                  -- who judges by configuration: scores of others are not comparable
    head TEXT,                            -- the trained head that gave the score
    score REAL NOT NULL,                  -- how much the strong model is needed, 0 to 1
    threshold REAL,                       -- from this score on hosted goes first; NULL: never
    looked_from REAL,                     -- from this score on a local answer was looked at; NULL: none
    side TEXT NOT NULL,                   -- the side that went first: local | hosted
    propensity REAL NOT NULL,             -- with which probability it did
    explored INTEGER NOT NULL,            -- 1: it is the side that the judgement spoke against
    features BLOB,                        -- 32-bit floats, little-endian, in the order of the head's features
    embedding BLOB,                       -- a 32-bit float, the size of a step; then a signed byte a dimension
    prompt TEXT                           -- the text that was read; only with [learning] keep_prompts
) STRICT;
CREATE INDEX judgements_at ON judgements (at_us);

CREATE TABLE labels (
    request TEXT NOT NULL, source TEXT NOT NULL,  -- feedback
    at_us INTEGER NOT NULL,
    kind TEXT NOT NULL,                   -- up | down | score | correction
    value REAL NOT NULL,                  -- how good the answer was, 0 to 1
    corrected INTEGER NOT NULL,
    correction TEXT, comment TEXT,        -- only with [learning] keep_prompts
    PRIMARY KEY (request, source)
) STRICT;
CREATE INDEX labels_at ON labels (at_us);
", "
ALTER TABLE attempts ADD COLUMN ceiling_tokens INTEGER;  -- tokens that were set aside; NULL: none were
", "
ALTER TABLE keys ADD COLUMN routes TEXT;       -- JSON list of local | hosted; NULL: both
ALTER TABLE keys ADD COLUMN classes TEXT;      -- JSON list; NULL: all
ALTER TABLE keys ADD COLUMN budgets TEXT NOT NULL DEFAULT '[]';  -- JSON list of {limit_nd, window}
ALTER TABLE keys ADD COLUMN rates TEXT NOT NULL DEFAULT '[]';    -- JSON list of e.g. '60 requests/minute'
UPDATE keys SET budgets = json_array(json_object('limit_nd', limit_nd, 'window', window)) WHERE limit_nd IS NOT NULL;
ALTER TABLE keys DROP COLUMN limit_nd;
ALTER TABLE keys DROP COLUMN window;

CREATE TABLE old_secrets (
    digest BLOB PRIMARY KEY,              -- SHA-256 of a key that was rotated
    key TEXT NOT NULL, until_us INTEGER NOT NULL
) STRICT;
", "
ALTER TABLE attempts ADD COLUMN local_cost_nd INTEGER;  -- energy and hardware of the machine in the house; NULL: unknown, or none

CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;

CREATE TABLE arms (
    request TEXT PRIMARY KEY, at_us INTEGER NOT NULL,
    session TEXT NOT NULL,                -- keyed digest of what was drawn
    arm TEXT NOT NULL,                    -- treatment | holdout | excluded
    why TEXT,                             -- the reason word of what excluded it
    share REAL NOT NULL,                  -- the share of sessions that is held out
    prompt_tokens INTEGER NOT NULL,       -- estimated before anybody answered
    judging_nd INTEGER                    -- the local machine's cost of judging it; NULL: unknown, or not judged
) STRICT;
CREATE INDEX arms_at ON arms (at_us);
CREATE INDEX arms_session ON arms (session, at_us);
", "
CREATE TABLE answers (
    name BLOB PRIMARY KEY,                -- SHA-256 of caller, path and idempotency key
    request BLOB NOT NULL,                -- SHA-256 of the request's body
    at_us INTEGER NOT NULL, status INTEGER NOT NULL,
    headers TEXT NOT NULL,                -- JSON list of pairs
    body BLOB NOT NULL
) STRICT;
CREATE INDEX answers_at ON answers (at_us);
", "
CREATE INDEX requests_session ON requests (session) WHERE session IS NOT NULL;
", "
ALTER TABLE attempts ADD COLUMN class TEXT;    -- the data class; NULL: written by an older version
ALTER TABLE attempts ADD COLUMN region TEXT;   -- the provider's
ALTER TABLE attempts ADD COLUMN masked TEXT;   -- the class of what was sent, where that had placeholders

CREATE TABLE evidence (
    log TEXT NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    at_us INTEGER NOT NULL,               -- when these records were written
    head BLOB NOT NULL,                   -- digest of the chain after these records
    lines BLOB NOT NULL,                  -- the records, a line each: these bytes are what is hashed
    PRIMARY KEY (log, first)
) STRICT;
CREATE TABLE checkpoints (
    log TEXT NOT NULL, size INTEGER NOT NULL,
    line TEXT NOT NULL,                   -- JSON: text, signature, key
    head BLOB NOT NULL, tree BLOB NOT NULL, bytes INTEGER NOT NULL, key TEXT,
    PRIMARY KEY (log, size)
) STRICT;
", super::compared::MIGRATION, super::heads::MIGRATION, super::placed::MIGRATION,
    super::placed::DRAWN_MIGRATION, super::hours::MIGRATION];

/// The same for a server; steps of their own, because they began later. Text is compared by its bytes, as in a file.
pub(super) const SERVER_MIGRATIONS: [&str; 5] = [
    include_str!("schema.sql"),
    super::heads::SERVER_MIGRATION,
    super::placed::SERVER_MIGRATION,
    super::placed::SERVER_DRAWN_MIGRATION,
    super::hours::SERVER_MIGRATION,
];

/// Brings the database to the newest version, under a lock.
pub(super) fn migrate(db: &mut Db) -> Result<(), LedgerError> {
    match db {
        Db::Sqlite(connection) => migrate_file(connection),
        Db::Postgres(_) => migrate_server(db),
    }
}

fn migrate_file(connection: &mut Connection) -> Result<(), LedgerError> {
    let fresh: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if fresh == 0 {
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.execute_batch("VACUUM")?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(LedgerError::Newer { found: version, known });
    }
    for step in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

fn migrate_server(db: &mut Db) -> Result<(), LedgerError> {
    let known = SERVER_MIGRATIONS.len() as i64;
    db.transaction(|db| {
        // Whoever starts at the same time waits here until this transaction ends.
        db.batch("SELECT pg_advisory_xact_lock(7235401, 1)")?;
        db.batch("CREATE TABLE IF NOT EXISTS sluice_schema (version BIGINT NOT NULL)")?;
        let version: Option<i64> = db.one("SELECT max(version) FROM sluice_schema", &[], |row| row.get(0))?;
        let version = version.unwrap_or(0);
        if version > known {
            return Err(LedgerError::Newer { found: version, known });
        }
        for step in SERVER_MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
            db.batch(step)?;
        }
        if version < known {
            db.put("INSERT INTO sluice_schema (version) VALUES (?1)", super::store::cells![known])?;
        }
        Ok(())
    })
}
