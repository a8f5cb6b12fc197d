//! The lines of attempts, requests and shadows, in SQL that both stores take.
//!
//! **Promise.** Each can be written again without a second line or a changed one: a group whose commit nobody heard of is
//! written once more. An attempt that is closed stays as it is, unless another instance closed it because it took ours for dead.

use super::LedgerError;
use super::record::{AttemptClose, AttemptOpen, Payer, RequestRecord, ShadowRecord};
use super::store::{Cell, Db, cells};
use super::{arms, learning, placed};
use policies::{Amount, NanoDollars};
use serde_json::{Map, Value};

/// Nano-dollars; 9.2 billion dollars fit.
fn money<'a>(amount: Option<NanoDollars>) -> Cell<'a> {
    amount.map(|amount| amount.0).into()
}

fn tags(payer: &Payer) -> String {
    if payer.tags.is_empty() {
        return "{}".into();
    }
    // A zero byte in a label would make the whole list unreadable for PostgreSQL.
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    let map: Map<String, Value> = payer.tags.iter().map(|(key, value)| (clean(key), clean(value).into())).collect();
    Value::Object(map).to_string()
}

/// The line of an attempt that begins; written twice it is one line.
pub(super) fn open(db: &mut Db, attempt: &AttemptOpen) -> Result<(), LedgerError> {
    let payer = &attempt.payer;
    let tags = tags(payer);
    let price = attempt.price.and_then(|price| serde_json::to_string(&price).ok());
    db.put(
        "INSERT INTO attempts (request, attempt, at_us, purpose, key_id, team, \"user\", session, tags, model, \
         provider, route, upstream, ceiling_nd, price, price_source, ceiling_tokens, class, region, masked) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) \
         ON CONFLICT (request, attempt) DO NOTHING",
        cells![
            attempt.request.as_str(),
            attempt.attempt,
            attempt.at_us,
            attempt.purpose,
            payer.key.as_ref().map(|key| key.as_str()),
            payer.team.as_ref(),
            payer.user.as_ref(),
            payer.session.as_ref().map(|session| session.as_str()),
            &tags,
            attempt.model.as_str(),
            attempt.provider.as_str(),
            attempt.route,
            &attempt.upstream,
            money(attempt.ceiling),
            price.as_ref(),
            &attempt.price_source,
            attempt.ceiling_tokens,
            &attempt.class,
            attempt.region.as_ref(),
            attempt.masked.as_ref(),
        ],
    )
}

/// An open line; or one that was charged by another instance, which took its own for dead: it is put right.
const OPEN: &str = "request = ?1 AND attempt = ?2 AND (outcome IS NULL OR error = 'lease_expired')";

/// More was set aside for a running attempt; never less.
pub(super) fn raise(db: &mut Db, attempt: &AttemptOpen, to: Amount) -> Result<(), LedgerError> {
    let greatest = if db.is_postgres() { "greatest" } else { "max" };
    db.put(
        &format!(
            "UPDATE attempts SET ceiling_nd = {greatest}(ceiling_nd, ?3), \
             ceiling_tokens = {greatest}(coalesce(ceiling_tokens, 0), ?4), \
             cost_nd = CASE WHEN outcome IS NULL THEN NULL ELSE {greatest}(ceiling_nd, ?3) END WHERE {OPEN}"
        ),
        cells![attempt.request.as_str(), attempt.attempt, to.money.0, to.tokens],
    )
}

/// The end of an attempt. One that cost nothing gets its only line here.
pub(super) fn close(db: &mut Db, attempt: &AttemptClose) -> Result<(), LedgerError> {
    // A priced attempt has its opening line already.
    if db.is_postgres() {
        // To ask whether it has would take a round trip each.
        open(db, &attempt.open)?;
        let (sql, values) = (FINISH, finish(attempt));
        return db.put(sql, &values);
    }
    if db.execute(FINISH, &finish(attempt))? == 0 {
        open(db, &attempt.open)?;
        db.execute(FINISH, &finish(attempt))?;
    }
    Ok(())
}

/// Fills in the end of a line that is open.
const FINISH: &str = "UPDATE attempts SET ended_us = ?3, outcome = ?4, counted = ?5, input = ?6, cached = ?7, \
    cache_write = ?8, output = ?9, reasoning = ?10, cost_nd = ?11, baseline_nd = ?12, first_event_us = ?13, error = ?14, \
    local_cost_nd = ?15 \
    WHERE request = ?1 AND attempt = ?2 AND (outcome IS NULL OR error = 'lease_expired')";

fn finish(attempt: &AttemptClose) -> [Cell<'_>; 15] {
    let usage = attempt.usage();
    [
        attempt.open.request.as_str().into(),
        attempt.open.attempt.into(),
        attempt.ended_us.into(),
        attempt.outcome.word().into(),
        attempt.counted.word().into(),
        usage.input.0.into(),
        usage.cached_input.0.into(),
        usage.cache_write.0.into(),
        usage.output.0.into(),
        usage.reasoning.0.into(),
        money(attempt.cost),
        money(attempt.baseline),
        attempt.first_event_us.into(),
        attempt.error.into(),
        money(attempt.local_cost),
    ]
}

/// The line of a request, with what learning and experiments need of it.
pub(super) fn put_request(db: &mut Db, request: &RequestRecord) -> Result<(), LedgerError> {
    let payer = &request.payer;
    let tags = tags(payer);
    db.put(
        "INSERT INTO requests (id, at_us, key_id, team, \"user\", session, tags, endpoint, asked, class, route, \
         model, reason, score, status, attempts, record, cascade) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) \
         ON CONFLICT (id) DO UPDATE SET at_us = excluded.at_us, key_id = excluded.key_id, team = excluded.team, \
         \"user\" = excluded.\"user\", session = excluded.session, tags = excluded.tags, endpoint = excluded.endpoint, \
         asked = excluded.asked, class = excluded.class, route = excluded.route, model = excluded.model, \
         reason = excluded.reason, score = excluded.score, status = excluded.status, attempts = excluded.attempts, \
         record = excluded.record, cascade = excluded.cascade",
        cells![
            request.id.as_str(),
            request.at_us,
            payer.key.as_ref().map(|key| key.as_str()),
            payer.team.as_ref(),
            payer.user.as_ref(),
            payer.session.as_ref().map(|session| session.as_str()),
            &tags,
            request.endpoint,
            &request.asked,
            &request.class,
            request.route,
            request.model.as_ref().map(|model| model.as_str()),
            &request.reason,
            request.score,
            request.status,
            request.attempts,
            &request.record,
            request.cascade.as_ref(),
        ],
    )?;
    if let Some(judgement) = &request.judgement {
        learning::put_judgement(db, request, judgement)?;
    }
    if let Some(arm) = &request.arm {
        arms::put(db, request, arm)?;
    }
    match &request.placed {
        Some(placed) => placed::put(db, request, placed),
        None => Ok(()),
    }
}

/// The pair of texts of a shadowed request.
pub(super) fn put_shadow(db: &mut Db, shadow: &ShadowRecord) -> Result<(), LedgerError> {
    db.put(
        "INSERT INTO shadows (request, experiment, at_us, served_model, shadow_model, prompt, served_text, \
         shadow_text, shadow_finish, shadow_error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT (request) DO UPDATE SET experiment = excluded.experiment, at_us = excluded.at_us, \
         served_model = excluded.served_model, shadow_model = excluded.shadow_model, prompt = excluded.prompt, \
         served_text = excluded.served_text, shadow_text = excluded.shadow_text, \
         shadow_finish = excluded.shadow_finish, shadow_error = excluded.shadow_error",
        cells![
            shadow.request.as_str(),
            &shadow.experiment,
            shadow.at_us,
            shadow.served.as_str(),
            shadow.shadow.as_str(),
            &shadow.prompt,
            &shadow.served_text,
            &shadow.shadow_text,
            shadow.finish.as_ref(),
            shadow.error,
        ],
    )
}
