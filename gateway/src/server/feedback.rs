//! `POST /v1/feedback`: what a client thought of an answer.
//!
//! **Promise.** Feedback counts only from the key that made the request; an id of another key is answered as one that
//! does not exist, so that nothing is learnt about others. It is durable when it is acknowledged. A second word on the
//! same request takes the place of the first.
//!
//! **What is kept.** A mark from 0 to 1. The text of a correction or a comment only with `[learning] keep_prompts`.
//!
//! **Failure behaviour.** A body that is not understood to the last field is refused with the field's name: a mistyped
//! `rating` that was ignored would be a label nobody gave.

use super::app::App;
use super::data::capped;
use super::fault::Fault;
use http::HeaderMap;
use hyper::body::Incoming;
use policies::{Principal, RequestId, Sink};
use router::ledger::{LabelRecord, LedgerError};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The largest body, in bytes: room for a corrected answer.
const MOST: u64 = 64 << 10;
/// The longest request id, in bytes; ids that clients choose are shorter.
const LONGEST_ID: usize = 256;
const FIELDS: &str = "`request_id`, `rating`, `score`, `correction`, `comment`";

/// Feedback as it was sent.
#[derive(Debug, PartialEq)]
struct Feedback {
    request: String,
    kind: &'static str,
    /// How good the answer was, 0 to 1.
    value: f32,
    correction: Option<String>,
    comment: Option<String>,
}

/// Takes feedback; gives the answer.
pub(super) async fn take(
    app: &Arc<App>,
    principal: &Principal,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Value, Fault> {
    let settings = app.settings.load_full();
    let body = capped(headers, body, MOST.min(settings.body_bytes), settings.timeouts.body).await?;
    let feedback = Feedback::parse(&body)?;
    let id = feedback.request.clone();
    let owner = ask(app, move |app| app.ledger.owner_of(&id)).await?;
    if owner.is_none_or(|owner| owner != principal.key) {
        return Err(Fault::unknown_id("request"));
    }
    let id = feedback.request.clone();
    let class = ask(app, move |app| app.ledger.class_of(&id)).await?;
    let class = class.and_then(|name| settings.classes.named(&name).ok());
    let may_keep = class.is_some_and(|class| settings.classes.permit_sink(class, Sink::Log).is_ok());
    let kept = |text: Option<String>| text.filter(|_| settings.keep_prompts && may_keep);
    let label = LabelRecord {
        request: RequestId::from(feedback.request.clone()),
        source: "feedback",
        at_us: jiff::Timestamp::now().as_microsecond(),
        kind: feedback.kind,
        value: feedback.value,
        corrected: feedback.correction.is_some(),
        correction: kept(feedback.correction),
        comment: kept(feedback.comment),
    };
    app.ledger.label(label).await.map_err(|error| failed(&error))?;
    let id = feedback.request.clone();
    ask(app, move |app| app.router.load().labelled(&id)).await?;
    Ok(json!({"request_id": feedback.request, "recorded": true}))
}

/// Asks the ledger off the threads that serve.
async fn ask<T: Send + 'static>(
    app: &Arc<App>,
    query: impl FnOnce(&App) -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, Fault> {
    let app = app.clone();
    match tokio::task::spawn_blocking(move || query(&app)).await {
        Ok(answer) => answer.map_err(|error| failed(&error)),
        Err(_) => Err(Fault::internal()),
    }
}

fn failed(error: &LedgerError) -> Fault {
    tracing::error!(error = %error, "feedback cannot be taken");
    Fault::ledger()
}

// === impl Feedback ===

impl Feedback {
    fn parse(body: &[u8]) -> Result<Self, Fault> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Fault::invalid(format!("the body is not JSON: {error}"), None))?;
        let Value::Object(mut fields) = value else {
            return Err(Fault::invalid("the body must be a JSON object", None));
        };
        let request = match text(&mut fields, "request_id")? {
            Some(id) if id.len() <= LONGEST_ID => id,
            Some(_) => return Err(wrong("request_id", "is longer than any id")),
            None => return Err(wrong("request_id", "is missing: the id in `x-sluice-request-id`")),
        };
        let (rating, score) = (text(&mut fields, "rating")?, fields.remove("score").filter(|score| !score.is_null()));
        let (correction, comment) = (text(&mut fields, "correction")?, text(&mut fields, "comment")?);
        if let Some(unknown) = fields.keys().next() {
            let shown: String = unknown.chars().take(100).collect();
            return Err(Fault::invalid(format!("unknown field `{shown}`; known are {FIELDS}"), Some(&shown)));
        }
        let (kind, value) = match (rating.as_deref(), score) {
            (Some("up"), None) => ("up", 1.0),
            (Some("down"), None) => ("down", 0.0),
            (Some(_), None) => return Err(wrong("rating", "must be \"up\" or \"down\"")),
            (None, Some(score)) => match score.as_f64() {
                Some(score) if (0.0..=1.0).contains(&score) => ("score", score as f32),
                _ => return Err(wrong("score", "must be a number from 0 to 1")),
            },
            (Some(_), Some(_)) => return Err(wrong("score", "and `rating` say the same: send one of them")),
            // Who corrects an answer did not find it good.
            (None, None) if correction.is_some() => ("correction", 0.0),
            (None, None) => return Err(wrong("rating", "is missing: send `rating`, `score` or `correction`")),
        };
        Ok(Self { request, kind, value, correction, comment })
    }
}

/// A field's text; null is as good as nothing, an empty text is a mistake.
fn text(fields: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, Fault> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Err(wrong(name, "is empty")),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(name, "must be a string")),
    }
}

fn wrong(field: &'static str, what: &str) -> Fault {
    Fault::invalid(format!("`{field}` {what}"), Some(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<(&'static str, f32), String> {
        Feedback::parse(body.to_string().as_bytes())
            .map(|feedback| (feedback.kind, feedback.value))
            .map_err(|fault| fault.text().to_owned())
    }

    #[test]
    fn ratings_scores_and_corrections_become_a_mark() {
        for (body, expected) in [
            (json!({"request_id": "r", "rating": "up"}), ("up", 1.0)),
            (json!({"request_id": "r", "rating": "down", "correction": "x", "comment": null}), ("down", 0.0)),
            (json!({"request_id": "r", "score": 0.25, "comment": "so so"}), ("score", 0.25)),
            (json!({"request_id": "r", "score": 1}), ("score", 1.0)),
            (json!({"request_id": "r", "correction": "Paris."}), ("correction", 0.0)),
        ] {
            assert_eq!(read(&body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_fields_name() {
        for (body, says) in [
            (json!([]), "must be a JSON object"),
            (json!({"rating": "up"}), "`request_id` is missing"),
            (json!({"request_id": 7, "rating": "up"}), "`request_id` must be a string"),
            (json!({"request_id": " ", "rating": "up"}), "`request_id` is empty"),
            (json!({"request_id": "r".repeat(300), "rating": "up"}), "`request_id` is longer"),
            (json!({"request_id": "r"}), "`rating` is missing"),
            (json!({"request_id": "r", "comment": "x"}), "`rating` is missing"),
            (json!({"request_id": "r", "rating": "good"}), "`rating` must be"),
            (json!({"request_id": "r", "rating": 1}), "`rating` must be a string"),
            (json!({"request_id": "r", "score": 1.5}), "`score` must be"),
            (json!({"request_id": "r", "score": "1"}), "`score` must be"),
            (json!({"request_id": "r", "score": true}), "`score` must be"),
            (json!({"request_id": "r", "score": 1, "rating": "up"}), "send one of them"),
            (json!({"request_id": "r", "rating": "up", "ratng": "down"}), "unknown field `ratng`"),
            (json!({"request_id": "r", "correction": ["x"]}), "`correction` must be a string"),
        ] {
            let said = read(&body).unwrap_err();
            assert!(said.contains(says), "{body}: {said}");
        }
        assert!(Feedback::parse(b"{").unwrap_err().text().contains("not JSON"));
    }
}
