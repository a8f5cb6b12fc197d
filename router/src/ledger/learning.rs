//! What learning needs of a request: how it was judged, and what was said of its answer.
//!
//! **Promise.** A judgement is written in the commit that closes its request, and pruned with it; a request that was not
//! judged has none. It says with which probability the side that was taken was taken, so that what is learnt can be
//! weighted by it. A label is durable before it is acknowledged; of each source the last one counts.
//!
//! **What is kept.** The features and the embedding as the head saw them, from which a head is adapted
//! without any prompt. The text that was read is kept only where the operator allows it.
//!
//! **What it does not do.** It does not say who may label what: [`Ledger::owner_of`] tells whose a request is.

use super::store::{Db, Row, cells};
use super::writer::Op;
use super::{Ledger, LedgerError};
use crate::classify::{Evidence, Label};
use crate::learn::traffic::SHADOW;
use policies::{KeyId, Location, RequestId};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How a request was judged, and which side was taken.
#[derive(Clone, Debug)]
pub struct JudgementRecord {
    /// The judge that is configured, with the digest of its head: scores of different judges are not comparable.
    pub judge: Arc<str>,
    /// The entry of `[[router.heads]]` that it belongs to; empty: none.
    pub lane: Arc<str>,
    /// The head that gave the score; `None` where it was not a trained head.
    pub head: Option<Arc<str>>,
    /// How much the strong model is needed, 0 to 1.
    pub score: f32,
    /// From this score on the strong side goes first.
    pub threshold: f32,
    /// From this score on a local answer was looked at before it was sent, if any was.
    pub looked_from: Option<f32>,
    /// The side that went first.
    pub side: Location,
    /// With which probability (0 to 1) that side went first.
    pub propensity: f32,
    /// It is the side that the judgement spoke against.
    pub explored: bool,
    /// What the head saw.
    pub evidence: Option<Arc<Evidence>>,
    /// The text that was read, where the operator allows it to be kept.
    pub prompt: Option<String>,
}

/// What was said of an answer.
#[derive(Clone, Debug)]
pub struct LabelRecord {
    /// The request.
    pub request: RequestId,
    /// Who says so: `feedback`; `shadow` or `shadow-model`, a shadow experiment's judge: by a rule or an embedding, or a model;
    /// `reask` or `regenerate`: what the session did next ([`crate::again`]).
    pub source: &'static str,
    /// When it was said, microseconds since 1970.
    pub at_us: i64,
    /// `up`, `down`, `score` or `correction`; a judge's word is a `verdict`, a guess `implicit`.
    pub kind: &'static str,
    /// How good the answer was, 0 to 1; a judge speaks of the local one, beside the hosted one.
    pub value: f32,
    /// The answer was corrected.
    pub corrected: bool,
    /// The corrected answer, where the operator allows it to be kept.
    pub correction: Option<String>,
    /// A comment, where the operator allows it to be kept.
    pub comment: Option<String>,
}

/// A judged request to learn from.
#[derive(Clone, Debug)]
pub struct JudgedRow {
    /// The request.
    pub request: String,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// The key's team.
    pub team: Option<String>,
    /// How it was judged.
    pub judgement: JudgementRecord,
    /// The side whose answer was sent; `None` where none was.
    pub served: Option<String>,
    /// The model that answered; `None`: nobody did.
    pub model: Option<String>,
    /// What was said, by source, 0 to 1.
    pub labels: Vec<(String, f32)>,
    /// How probably wrong (0 to 1) a second look found the local answer, where one was taken.
    pub doubt: Option<f32>,
}

/// Labels that say something about a threshold: a client's where the side was chosen by judgement or by draw, the answer is the
/// local one, and no second look had a say in its being sent; a shadow's (where `?2` names that source) always.
const TELLING: &str = "SELECT j.request, j.score, j.threshold, j.looked_from, j.propensity, j.explored, l.value, l.source \
    FROM labels l JOIN judgements j ON j.request = l.request JOIN requests r ON r.id = l.request \
    WHERE j.judge = ?1 AND (l.source = ?2 OR (l.source = 'feedback' AND j.side = 'local' \
    AND r.route = 'local' AND r.reason IN ('classifier', 'exploration')))";

// === impl Ledger: learning ===

impl Ledger {
    /// Whose a request is: `None` when there is no such request, `Some(None)` when it came without a key.
    pub fn owner_of(&self, request: &str) -> Result<Option<Option<KeyId>>, LedgerError> {
        self.read(|db| {
            let sql = "SELECT key_id FROM requests WHERE id = ?1";
            let owner = db.first(sql, cells![request], |row| row.get::<Option<String>>(0))?;
            Ok(owner.map(|key| key.map(KeyId::from)))
        })
    }

    /// Keeps a label; returns once that is durable.
    ///
    /// # Cancel safety
    /// Once called, the label is written even if the future is dropped.
    pub async fn label(&self, label: LabelRecord) -> Result<(), LedgerError> {
        self.writer.commit(Op::Label(Box::new(label))).await
    }

    /// Keeps a label, without waiting.
    pub fn label_later(&self, label: LabelRecord) {
        self.writer.push(Op::Label(Box::new(label)), None);
    }

    /// The newest labels of local answers that this judge sent there, the oldest first; with `shadows`, what judges of shadow
    /// experiments say of local answers, too.
    pub fn labels(&self, judge: &str, shadows: bool, limit: usize) -> Result<Vec<Label>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!("{TELLING} ORDER BY l.at_us DESC, l.request DESC LIMIT ?3");
        let mut found = self.read(|db| db.query(&sql, cells![judge, drawn(shadows), limit], telling))?;
        found.reverse();
        Ok(labels_of(found))
    }

    /// What the labels of one request say about the threshold; `None` where they say nothing.
    pub fn label_of(&self, judge: &str, shadows: bool, request: &str) -> Result<Option<Label>, LedgerError> {
        let sql = format!("{TELLING} AND l.request = ?3 ORDER BY l.at_us");
        let found = self.read(|db| db.query(&sql, cells![judge, drawn(shadows), request], telling))?;
        Ok(labels_of(found).pop())
    }

    /// The newest judged requests with what was said of their answers, the latest first.
    pub fn judged(&self, limit: usize) -> Result<Vec<JudgedRow>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT j.request, j.at_us, j.team, j.judge, j.head, j.score, j.threshold, j.looked_from, j.side, \
                   j.propensity, j.explored, j.features, j.embedding, j.prompt, r.route, r.cascade, j.lane, r.model \
                   FROM judgements j JOIN requests r ON r.id = j.request ORDER BY j.at_us DESC LIMIT ?1";
        let said = "SELECT request, source, value FROM labels ORDER BY request, source";
        self.read(|db| {
            let mut rows = db.query(sql, cells![limit], judged_row)?;
            let mut labels: HashMap<String, Vec<(String, f32)>> = HashMap::new();
            for (request, source, value) in
                db.query(said, &[], |row| Ok((row.get::<String>(0)?, row.get(1)?, row.get(2)?)))?
            {
                labels.entry(request).or_default().push((source, value));
            }
            for row in &mut rows {
                row.labels = labels.remove(&row.request).unwrap_or_default();
            }
            Ok(rows)
        })
    }
}

/// A label as it was read: the request, whether a shadow's judge gave it, its mark, and what it says of the threshold.
struct Telling {
    request: String,
    drawn: bool,
    score: f32,
    wrong: bool,
    said: Label,
}

fn telling(row: &Row<'_>) -> Result<Telling, LedgerError> {
    let (propensity, explored): (f32, bool) = (row.get(4)?, row.get(5)?);
    let (request, score): (String, f32) = (row.get(0)?, row.get(1)?);
    let wrong = row.get::<f32>(6)? < 0.5;
    let said = Label::new(
        &request,
        score,
        row.get::<Option<f32>>(2)?.unwrap_or(f32::INFINITY),
        row.get::<Option<f32>>(3)?,
        if explored { propensity } else { 1.0 - propensity },
        wrong,
    );
    Ok(Telling { drawn: row.get::<String>(7)? == SHADOW, request, score, wrong, said })
}

/// The source whose labels are an even sample, where it counts; no source has an empty name.
fn drawn(counts: bool) -> &'static str {
    if counts { SHADOW } else { "" }
}

/// One label a request: a client's word where there is one, and drawn where a shadow was.
fn labels_of(found: Vec<Telling>) -> Vec<Label> {
    let drawn: HashSet<String> = found.iter().filter(|one| one.drawn).map(|one| one.request.clone()).collect();
    let rated: HashSet<String> = found.iter().filter(|one| !one.drawn).map(|one| one.request.clone()).collect();
    let counts = found.into_iter().filter(|one| !one.drawn || !rated.contains(&one.request));
    counts
        .map(
            |one| {
                if drawn.contains(&one.request) { Label::drawn(&one.request, one.score, one.wrong) } else { one.said }
            },
        )
        .collect()
}

fn judged_row(row: &Row<'_>) -> Result<JudgedRow, LedgerError> {
    let text = |at: usize| row.get::<Option<String>>(at);
    let (features, embedding): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(11)?, row.get(12)?);
    let side = row.get::<String>(8)?;
    let judgement = JudgementRecord {
        judge: row.get::<String>(3)?.into(),
        lane: row.get::<String>(16)?.into(),
        head: text(4)?.map(Into::into),
        score: row.get(5)?,
        threshold: row.get::<Option<f32>>(6)?.unwrap_or(f32::INFINITY),
        looked_from: row.get(7)?,
        side: if side == Location::Local.word() { Location::Local } else { Location::Hosted },
        propensity: row.get(9)?,
        explored: row.get(10)?,
        evidence: features.map(|features| Arc::new(Evidence::stored(&features, embedding.as_deref()))),
        prompt: text(13)?,
    };
    Ok(JudgedRow {
        request: row.get(0)?,
        at_us: row.get(1)?,
        team: text(2)?,
        judgement,
        served: text(14)?,
        model: text(17)?,
        labels: vec![],
        doubt: text(15)?.as_deref().and_then(doubt),
    })
}

/// How probably wrong a second look found a local answer.
fn doubt(cascade: &str) -> Option<f32> {
    let look: Value = serde_json::from_str(cascade).ok()?;
    look["wrong"].as_f64().map(|wrong| wrong as f32)
}

/// Databases know infinity, JSON does not; a threshold that is never reached is none.
fn finite(number: f32) -> Option<f32> {
    number.is_finite().then_some(number)
}

/// Writes a judgement beside its request.
pub(super) fn put_judgement(
    db: &mut Db,
    request: &super::RequestRecord,
    judgement: &JudgementRecord,
) -> Result<(), LedgerError> {
    let evidence = judgement.evidence.as_deref();
    let (features, embedding) = (evidence.map(Evidence::features_blob), evidence.and_then(Evidence::embedding_blob));
    db.put(
        "INSERT INTO judgements (request, at_us, key_id, team, judge, head, score, threshold, looked_from, \
         side, propensity, explored, features, embedding, prompt, lane) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
         ON CONFLICT (request) DO UPDATE SET at_us = excluded.at_us, key_id = excluded.key_id, team = excluded.team, \
         judge = excluded.judge, head = excluded.head, score = excluded.score, threshold = excluded.threshold, \
         looked_from = excluded.looked_from, side = excluded.side, propensity = excluded.propensity, \
         explored = excluded.explored, features = excluded.features, embedding = excluded.embedding, \
         prompt = excluded.prompt, lane = excluded.lane",
        cells![
            request.id.as_str(),
            request.at_us,
            request.payer.key.as_ref().map(|key| key.as_str()),
            request.payer.team.as_ref(),
            &*judgement.judge,
            judgement.head.as_deref(),
            judgement.score,
            finite(judgement.threshold),
            judgement.looked_from,
            judgement.side.word(),
            judgement.propensity,
            judgement.explored,
            features.as_ref(),
            embedding.as_ref(),
            judgement.prompt.as_ref(),
            &*judgement.lane,
        ],
    )
}

/// Writes a label in place of the one that its source gave before.
pub(super) fn put_label(db: &mut Db, label: &LabelRecord) -> Result<(), LedgerError> {
    db.put(
        "INSERT INTO labels (request, source, at_us, kind, value, corrected, correction, comment) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
         ON CONFLICT (request, source) DO UPDATE SET at_us = excluded.at_us, kind = excluded.kind, \
         value = excluded.value, corrected = excluded.corrected, correction = excluded.correction, \
         comment = excluded.comment",
        cells![
            label.request.as_str(),
            label.source,
            label.at_us,
            label.kind,
            label.value,
            label.corrected,
            label.correction.as_ref(),
            label.comment.as_ref(),
        ],
    )
}

/// Drops what belongs to requests that are about to go.
pub(super) fn drop_before(db: &mut Db, at_us: i64) -> Result<(), LedgerError> {
    // A label goes with its request, not by its own age: without the request it says nothing.
    db.put("DELETE FROM labels WHERE request IN (SELECT id FROM requests WHERE at_us < ?1)", cells![at_us])?;
    db.put("DELETE FROM judgements WHERE at_us < ?1", cells![at_us])
}

/// A request's judgement and labels, for its story.
pub(super) fn shown(db: &mut Db, request: &str) -> Result<(Value, Value), LedgerError> {
    let sql = "SELECT judge, head, score, threshold, looked_from, side, propensity, explored, \
               features IS NOT NULL, embedding IS NOT NULL, prompt IS NOT NULL FROM judgements WHERE request = ?1";
    let number = |row: &Row<'_>, at: usize| row.get::<Option<f64>>(at).map(|number| number.map(rounded));
    let judgement = db.first(sql, cells![request], |row| {
        Ok(json!({
            "judge": row.get::<String>(0)?, "head": row.get::<Option<String>>(1)?,
            "score": number(row, 2)?, "threshold": number(row, 3)?, "looked_from": number(row, 4)?,
            "side": row.get::<String>(5)?, "propensity": number(row, 6)?, "explored": row.get::<bool>(7)?,
            "features_kept": row.get::<bool>(8)?, "embedding_kept": row.get::<bool>(9)?,
            "prompt_kept": row.get::<bool>(10)?,
        }))
    })?;
    let sql = "SELECT source, at_us, kind, value, corrected, correction, comment FROM labels \
               WHERE request = ?1 ORDER BY source";
    let labels = db.query(sql, cells![request], |row| {
        let at = jiff::Timestamp::from_microsecond(row.get(1)?).map(|at| at.to_string()).unwrap_or_default();
        Ok(json!({
            "source": row.get::<String>(0)?, "time": at, "kind": row.get::<String>(2)?,
            "value": number(row, 3)?, "corrected": row.get::<bool>(4)?,
            "correction": row.get::<Option<String>>(5)?, "comment": row.get::<Option<String>>(6)?,
        }))
    })?;
    Ok((judgement.unwrap_or(Value::Null), Value::Array(labels)))
}

/// Six digits: what a 32-bit number has of them.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}
