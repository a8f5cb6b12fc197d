//! Residency and evidence on the admin listener: the table of what went where, and exports of the evidence log.
//!
//! An export is written by a thread of its own into a small bounded buffer, so that a long log takes no memory; where it fails
//! in the midst the answer breaks off, and lacks the manifest without which it does not verify.

use super::Answered;
use super::app::App;
use super::fault::Fault;
use axum::body::Body;
use axum::extract::{Query, State};
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use policies::Sink;
use router::audit::export::{Filter, export};
use router::audit::{Signer, report};
use router::ledger::LedgerError;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces of an export that wait for a slow reader.
const WAITING: usize = 4;
/// Size of a piece.
const PIECE: usize = 64 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    format: Option<String>,
    key: Option<String>,
    team: Option<String>,
    user: Option<String>,
    session: Option<String>,
    request: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

// === impl Wanted ===

impl Wanted {
    fn filter(self) -> Result<Filter, Fault> {
        let moment = |text: Option<String>, name: &str| {
            let text = text.filter(|text| !text.is_empty()).map(|text| text.replace(' ', "+"));
            let wrong = |_| Fault::invalid(format!("`{name}` is not a time in RFC 3339"), Some(name));
            text.map(|text| text.parse::<jiff::Timestamp>().map_err(wrong)).transpose()
        };
        Ok(Filter {
            key: self.key,
            team: self.team,
            user: self.user,
            session: self.session,
            request: self.request,
            since: moment(self.since, "since")?,
            until: moment(self.until, "until")?,
        })
    }
}

fn signer(app: &App) -> Result<Signer, Fault> {
    let settings = app.settings.load();
    let path = settings.evidence_key.as_deref().ok_or_else(|| Fault::not_found("an evidence log"))?;
    Signer::load_or_create(path).map_err(|error| {
        tracing::error!(%error, "the evidence log's key cannot be used");
        Fault::internal()
    })
}

/// Where the log stands: `GET /api/evidence`.
pub(super) fn state(app: &App) -> Result<Value, Fault> {
    let failed = |error| {
        tracing::error!(error = %error, "the ledger cannot be read");
        Fault::ledger()
    };
    let Some(log) = app.ledger.evidence_log() else { return Ok(json!({"enabled": false})) };
    let key = signer(app)?.public().map(|key| key.to_string());
    let checkpoint = app.ledger.checkpoints(log).map_err(failed)?.pop();
    let checkpoint = checkpoint.and_then(|kept| serde_json::from_str::<Value>(&kept.line).ok());
    Ok(json!({"enabled": true, "log": log, "public_key": key, "checkpoint": checkpoint}))
}

/// A request's story, as far as its class may be told on the page.
pub(super) fn told(app: &App, mut story: Value) -> Value {
    let settings = app.settings.load();
    let class = story["class"].as_str().and_then(|name| settings.classes.named(name).ok());
    let refused = class.map(|class| settings.classes.permit_sink(class, Sink::Page)).and_then(Result::err);
    let (Some(rule), Some(fields)) = (refused, story.as_object_mut()) else { return story };
    const KEPT: [&str; 10] =
        ["id", "time", "class", "route", "model", "reason", "status", "cost_usd", "experiment_cost_usd", "request_id"];
    fields.retain(|field, _| KEPT.contains(&field.as_str()));
    fields.insert("withheld".into(), rule.into());
    story
}

/// Whether the page may tell what a request, or its answer, said.
pub(super) fn may_show(app: &App, request: &str) -> Result<bool, LedgerError> {
    let class = app.ledger.class_of(request)?;
    let settings = app.settings.load();
    let class = class.and_then(|name| settings.classes.named(&name).ok());
    Ok(class.is_some_and(|class| settings.classes.permit_sink(class, Sink::Page).is_ok()))
}

/// `GET /api/evidence/export`.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Answered {
    match begin(&app, wanted) {
        Ok(response) => response,
        Err(fault) => fault.response(super::routes::Shape::OpenAi),
    }
}

fn begin(
    app: &Arc<App>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Answered, Fault> {
    let Query(wanted) = wanted.map_err(|error| Fault::invalid(error.body_text(), None))?;
    let (kind, name, page) = match wanted.format.as_deref() {
        None | Some("jsonl") => ("application/jsonl", "attachment; filename=\"evidence.jsonl\"", false),
        Some("html") => ("text/html; charset=utf-8", "attachment; filename=\"evidence.html\"", true),
        Some(_) => return Err(Fault::invalid("`format` is jsonl or html", Some("format"))),
    };
    let (filter, signer, ledger) = (wanted.filter()?, signer(app)?, app.ledger.clone());
    let (pieces, written) = mpsc::channel::<Result<Bytes, std::io::Error>>(WAITING);
    let out = Pieces(pieces.clone());
    // Awaited by the answer's body: it ends when the thread has dropped its end.
    app.tasks.spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE, out);
        let done = if page {
            let written = report::report(&ledger, &signer, &filter);
            written.and_then(|page| Ok(out.write_all(page.as_bytes()).and_then(|()| out.flush())?))
        } else {
            export(&ledger, &signer, &filter, out).map(|_| ())
        };
        if let Err(error) = done {
            tracing::error!(%error, "an export of the evidence log broke off");
            // A reader that is gone needs no word.
            let _ = pieces.blocking_send(Err(std::io::Error::other("the export broke off")));
        }
    });
    let body = futures::stream::unfold(written, |mut written| async move { Some((written.recv().await?, written)) });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static(name));
    Ok(response)
}

/// Hands what is written to the answer.
struct Pieces(mpsc::Sender<Result<Bytes, std::io::Error>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
