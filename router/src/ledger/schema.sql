CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    until_us BIGINT NOT NULL              -- when its lease runs out, microseconds since 1970 by the server's clock
);

CREATE TABLE claims (
    name TEXT COLLATE "C" PRIMARY KEY,    -- request:ID | answer:DIGEST
    instance TEXT NOT NULL, at_us BIGINT NOT NULL
);
CREATE INDEX claims_at ON claims (at_us);

CREATE TABLE requests (
    id TEXT COLLATE "C" PRIMARY KEY,
    at_us BIGINT NOT NULL,                -- microseconds since 1970, UTC
    key_id TEXT, team TEXT, "user" TEXT, session TEXT,
    tags TEXT NOT NULL DEFAULT '{}',      -- JSON object
    endpoint TEXT NOT NULL, asked TEXT NOT NULL, class TEXT NOT NULL,
    route TEXT, model TEXT, reason TEXT, score DOUBLE PRECISION,
    status BIGINT NOT NULL, attempts BIGINT NOT NULL,
    record TEXT NOT NULL,                 -- JSON: facts, signals, every candidate
    cascade TEXT                          -- JSON: what a second look at the local answer found
);
CREATE INDEX requests_at ON requests (at_us);
CREATE INDEX requests_session ON requests (session) WHERE session IS NOT NULL;

CREATE TABLE attempts (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request TEXT COLLATE "C" NOT NULL, attempt BIGINT NOT NULL,
    at_us BIGINT NOT NULL, ended_us BIGINT,
    purpose TEXT NOT NULL,                -- answer | shadow | judge
    key_id TEXT, team TEXT COLLATE "C", "user" TEXT, session TEXT,
    tags TEXT NOT NULL DEFAULT '{}',
    model TEXT COLLATE "C" NOT NULL, provider TEXT COLLATE "C" NOT NULL, route TEXT NOT NULL,
    upstream TEXT COLLATE "C" NOT NULL,
    ceiling_nd BIGINT,                    -- nano-dollars held; NULL: unpriced
    ceiling_tokens BIGINT,                -- tokens that were set aside; NULL: none were
    outcome TEXT,                         -- NULL: running
    counted TEXT,                         -- exact | at_least
    input BIGINT, cached BIGINT, cache_write BIGINT, output BIGINT, reasoning BIGINT,
    cost_nd BIGINT,                       -- NULL: unpriced
    baseline_nd BIGINT,                   -- the same tokens at the hosted model's price
    local_cost_nd BIGINT,                 -- energy and hardware of the machine in the house; NULL: unknown, or none
    price TEXT, price_source TEXT,        -- rates used (JSON, nano-dollars per million tokens), and where they were read
    first_event_us BIGINT, error TEXT,
    class TEXT, region TEXT,              -- the data class, and where the provider is
    masked TEXT,                          -- the class of what was sent, where that had placeholders
    instance TEXT DEFAULT nullif(current_setting('sluice.instance', true), ''),  -- the process that opened it
    UNIQUE (request, attempt)
);
CREATE INDEX attempts_at ON attempts (at_us);
CREATE INDEX attempts_open ON attempts (instance) WHERE outcome IS NULL;

CREATE TABLE keys (
    id TEXT COLLATE "C" PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    digest BYTEA NOT NULL UNIQUE,         -- SHA-256 of the key
    team TEXT, "user" TEXT,
    models TEXT,                          -- JSON list; NULL: all
    routes TEXT,                          -- JSON list of local | hosted; NULL: both
    classes TEXT,                         -- JSON list; NULL: all
    budgets TEXT NOT NULL DEFAULT '[]',   -- JSON list of {limit_nd, window}
    rates TEXT NOT NULL DEFAULT '[]',     -- JSON list of e.g. '60 requests/minute'
    created_us BIGINT NOT NULL, expires_us BIGINT, revoked_us BIGINT
);

CREATE TABLE old_secrets (
    digest BYTEA PRIMARY KEY,             -- SHA-256 of a key that was rotated
    key TEXT NOT NULL, until_us BIGINT NOT NULL
);

-- One row, raised in the transaction that changes a key: whoever polls it reads the keys again.
CREATE TABLE keys_version (n BIGINT NOT NULL);
INSERT INTO keys_version VALUES (1);
CREATE FUNCTION keys_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE keys_version SET n = n + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER keys_changed AFTER INSERT OR UPDATE OR DELETE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION keys_changed();
CREATE TRIGGER keys_changed AFTER INSERT OR UPDATE OR DELETE ON old_secrets
    FOR EACH STATEMENT EXECUTE FUNCTION keys_changed();

CREATE TABLE shadows (
    request TEXT PRIMARY KEY, experiment TEXT NOT NULL, at_us BIGINT NOT NULL,
    served_model TEXT NOT NULL, shadow_model TEXT NOT NULL,
    prompt TEXT NOT NULL, served_text TEXT NOT NULL, shadow_text TEXT NOT NULL,
    shadow_finish TEXT, shadow_error TEXT
);

CREATE TABLE judgements (
    request TEXT PRIMARY KEY, at_us BIGINT NOT NULL,
    key_id TEXT, team TEXT,
    judge TEXT NOT NULL,                  -- who judges by configuration: scores of others are not comparable
    head TEXT,                            -- the trained head that gave the score
    score DOUBLE PRECISION NOT NULL,      -- how much the strong model is needed, 0 to 1
    threshold DOUBLE PRECISION,           -- from this score on hosted goes first; NULL: never
    looked_from DOUBLE PRECISION,         -- from this score on a local answer was looked at; NULL: none
    side TEXT NOT NULL,                   -- the side that went first: local | hosted
    propensity DOUBLE PRECISION NOT NULL, -- with which probability it did
    explored BIGINT NOT NULL,             -- 1: it is the side that the judgement spoke against
    features BYTEA,                       -- 32-bit floats, little-endian, in the order of the head's features
    embedding BYTEA,                      -- a 32-bit float, the size of a step; then a signed byte a dimension
    prompt TEXT                           -- the text that was read; only with [learning] keep_prompts
);
CREATE INDEX judgements_at ON judgements (at_us);

CREATE TABLE labels (
    request TEXT NOT NULL, source TEXT COLLATE "C" NOT NULL,  -- feedback
    at_us BIGINT NOT NULL,
    kind TEXT NOT NULL,                   -- up | down | score | correction
    value DOUBLE PRECISION NOT NULL,      -- how good the answer was, 0 to 1
    corrected BIGINT NOT NULL,
    correction TEXT, comment TEXT,        -- only with [learning] keep_prompts
    PRIMARY KEY (request, source)
);
CREATE INDEX labels_at ON labels (at_us);

CREATE TABLE meta (name TEXT PRIMARY KEY, value BYTEA NOT NULL);

CREATE TABLE arms (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    request TEXT PRIMARY KEY, at_us BIGINT NOT NULL,
    session TEXT NOT NULL,                -- keyed digest of what was drawn
    arm TEXT NOT NULL,                    -- treatment | holdout | excluded
    why TEXT,                             -- the reason word of what excluded it
    share DOUBLE PRECISION NOT NULL,      -- the share of sessions that is held out
    prompt_tokens BIGINT NOT NULL,        -- estimated before anybody answered
    judging_nd BIGINT                     -- the local machine's cost of judging it; NULL: unknown, or not judged
);
CREATE INDEX arms_at ON arms (at_us);
CREATE INDEX arms_session ON arms (session, at_us);

CREATE TABLE answers (
    name BYTEA PRIMARY KEY,               -- SHA-256 of caller, path and idempotency key
    request BYTEA NOT NULL,               -- SHA-256 of the request's body
    at_us BIGINT NOT NULL, status BIGINT NOT NULL,
    headers TEXT NOT NULL,                -- JSON list of pairs
    body BYTEA NOT NULL
);
CREATE INDEX answers_at ON answers (at_us);

CREATE TABLE evidence (
    log TEXT COLLATE "C" NOT NULL, first BIGINT NOT NULL, count BIGINT NOT NULL,
    at_us BIGINT NOT NULL,                -- when these records were written
    head BYTEA NOT NULL,                  -- digest of the chain after these records
    lines BYTEA NOT NULL,                 -- the records, a line each: these bytes are what is hashed
    PRIMARY KEY (log, first)
);
CREATE TABLE checkpoints (
    log TEXT COLLATE "C" NOT NULL, size BIGINT NOT NULL,
    line TEXT NOT NULL,                   -- JSON: text, signature, key
    head BYTEA NOT NULL, tree BYTEA NOT NULL, bytes BIGINT NOT NULL, key TEXT,
    PRIMARY KEY (log, size)
);

CREATE TABLE pairs (
    experiment TEXT NOT NULL, request TEXT COLLATE "C" NOT NULL,
    at_us BIGINT NOT NULL,
    left_model TEXT NOT NULL, right_model TEXT NOT NULL,
    asked TEXT NOT NULL,                  -- left | right: who answered in the shadow
    version TEXT,                         -- that upstream's own word for its model
    slices TEXT NOT NULL,                 -- JSON list of {by, value}
    difference DOUBLE PRECISION,          -- left less right, -1 to 1; NULL: not judged
    ballot TEXT,                          -- JSON: both words of a model as judge
    why TEXT,                             -- why it was not judged
    PRIMARY KEY (experiment, request)
);
CREATE INDEX pairs_at ON pairs (experiment, at_us);

CREATE TABLE votes (
    experiment TEXT NOT NULL, request TEXT COLLATE "C" NOT NULL, voter TEXT NOT NULL,
    at_us BIGINT NOT NULL, side TEXT NOT NULL,    -- left | tie | right
    PRIMARY KEY (experiment, request, voter)
);

CREATE TABLE steps (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    experiment TEXT NOT NULL, at_us BIGINT NOT NULL,
    slice_by TEXT NOT NULL, slice_value TEXT NOT NULL,
    opened BIGINT NOT NULL,               -- 1: the slice goes to the left side; 0: no longer
    by TEXT NOT NULL,                     -- verdict | alarm | drift | person
    why TEXT NOT NULL
);
CREATE INDEX steps_experiment ON steps (experiment, id);
