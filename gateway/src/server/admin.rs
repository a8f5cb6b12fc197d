//! The admin listener: the page, the API, metrics.
//!
//! One layer admits ([`sign_in::admit`]) everything below `/api` and `/metrics`; the page's files ([`page`]) hold nothing
//! secret and are open, as health is.

use super::Answered;
use super::app::App;
use super::data::{json_response, plain};
use super::events;
use super::evidence;
use super::experiments;
use super::fault::Fault;
use super::openapi;
use super::page;
use super::playground;
use super::routes::Shape;
use super::series;
use super::sign_in;
use crate::wanted_key::{self, WantedKey, Wrong};
use axum::Router as Routes;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use policies::Secret;
use router::ledger::{Find, GroupBy, KeyRecord, LedgerError, RequestFilter};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) type Shared = Arc<App>;

/// The longest word that is looked for, in bytes: a tag's name and value.
const LONGEST_FIND: usize = 257;

/// Something at a path of the admin listener, and what it is for.
pub(super) struct Entry {
    /// In capitals.
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// One line.
    pub(super) summary: &'static str,
    handler: MethodRouter<Shared>,
}

/// What is behind the admin token. The router and the OpenAPI document are both made of this table, so that neither has
/// what the other lacks.
pub(super) fn table() -> Vec<Entry> {
    let entry = |method, path, summary, handler| Entry { method, path, summary, handler };
    vec![
        entry("GET", "/api/spend", "What was spent, by model, provider, route, key, team, tag or day", get(spend)),
        entry("GET", "/api/savings", "What routing saved, measured and counted", get(savings)),
        entry("GET", "/api/overview", "Requests, tokens and cost of each route", get(overview)),
        entry("GET", "/api/series", "What happened over time: money, answers, failures, waits", get(series::show)),
        entry("GET", "/api/requests", "Requests, the latest first", get(requests)),
        entry("GET", "/api/requests/{id}", "All that is known of one request", get(request)),
        entry("GET", "/api/models", "The configured models, their state and prices", get(models)),
        entry("GET", "/api/router", "What sets the threshold, and where it stands", get(router_state)),
        entry("GET", "/api/budgets", "Budgets, and what is left of them", get(budgets)),
        entry("GET", "/api/keys", "Virtual keys, without their secrets", get(keys)),
        entry("POST", "/api/keys", "Makes a key; its secret is shown once", post(create_key)),
        entry("DELETE", "/api/keys/{id}", "Revokes a key", delete(revoke_key)),
        entry("POST", "/api/keys/{id}/rotate", "Gives a key a fresh secret", post(rotate_key)),
        entry("GET", "/api/experiments", "Experiments and their verdicts", get(experiments::list)),
        entry("POST", "/api/experiments", "Opens or closes a slice of an experiment", post(experiments::step)),
        entry("GET", "/api/experiments/{name}", "One experiment", get(experiments::one)),
        entry("GET", "/api/experiments/{name}/export", "An experiment's pairs", get(experiments::export)),
        entry("GET", "/api/experiments/{name}/votes", "A pair to vote on", get(experiments::ballot)),
        entry("POST", "/api/experiments/{name}/votes", "A vote on a pair", post(experiments::vote)),
        entry("GET", "/api/events", "Requests as they end, as server-sent events", get(events::stream)),
        entry("POST", "/api/playground", "An answer for the page's playground", post(playground::answer)),
        entry("POST", "/api/playground/decision", "The decision on the same", post(playground::decision)),
        entry("GET", "/api/operator", "Who is signed in, and by what", get(sign_in::whoami)),
        entry("GET", "/api/config", "The configuration in force, secrets redacted", get(config)),
        entry("GET", "/api/evidence", "The state of the evidence log", get(evidence_state)),
        entry("GET", "/api/evidence/export", "The evidence log, signed", get(evidence::download)),
        entry("GET", "/api/residency", "Which data went where, and the rules", get(residency)),
        entry("GET", "/api/openapi.json", "This document", get(openapi::show)),
        entry("GET", "/metrics", "Metrics in the text form of Prometheus", get(metrics)),
    ]
}

/// Everything on the admin listener.
pub(super) fn routes(app: Shared) -> Routes {
    let mut api = Routes::new();
    for entry in table() {
        api = api.route(entry.path, entry.handler);
    }
    let api = api.layer(middleware::from_fn_with_state(app.clone(), sign_in::admit));
    let open =
        Routes::new().route("/livez", get(|| async { plain(StatusCode::OK, "ok") })).route("/readyz", get(ready));
    api.merge(open).merge(page::routes()).fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(app)
}

pub(super) fn refuse(fault: Fault) -> Answered {
    fault.response(Shape::OpenAi)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Span {
    group_by: Option<String>,
    since: Option<String>,
    until: Option<String>,
    before: Option<String>,
    route: Option<String>,
    limit: Option<u32>,
    find: Option<String>,
    #[serde(rename = "in")]
    place: Option<String>,
}

/// A time in a query, in microseconds since 1970.
pub(super) fn moment(text: Option<&str>, name: &str, default: i64) -> Result<i64, Fault> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(default) };
    // A `+` of a time zone arrives as a space when the client did not escape it.
    let moment = text.replace(' ', "+").parse::<jiff::Timestamp>();
    let moment = moment.map_err(|_| Fault::invalid(format!("`{name}` is not a time in RFC 3339"), Some(name)))?;
    Ok(moment.as_microsecond())
}

/// Runs a query of the ledger off the threads that serve.
pub(super) async fn ask<T: Send + 'static>(
    app: &Shared,
    query: impl FnOnce(&App) -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, Fault> {
    let app = app.clone();
    match tokio::task::spawn_blocking(move || query(&app)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::error!(error = %error, "the ledger cannot be read");
            Err(Fault::ledger())
        }
        Err(_) => Err(Fault::internal()),
    }
}

pub(super) fn shown(result: Result<Value, Fault>) -> Answered {
    result.map_or_else(refuse, |value| json_response(StatusCode::OK, &value))
}

fn read_span(query: Result<Query<Span>, axum::extract::rejection::QueryRejection>) -> Result<Span, Fault> {
    query.map(|Query(span)| span).map_err(|error| Fault::invalid(error.body_text(), None))
}

type SpanQuery = Result<Query<Span>, axum::extract::rejection::QueryRejection>;

async fn spend(State(app): State<Shared>, query: SpanQuery) -> Answered {
    let table = async {
        let span = read_span(query)?;
        let word = span.group_by.as_deref().unwrap_or("model");
        let by = GroupBy::parse(word).ok_or_else(|| {
            Fault::invalid("`group_by` must be model, provider, route, key, team, tag or day", Some("group_by"))
        })?;
        let since = moment(span.since.as_deref(), "since", 0)?;
        let until = moment(span.until.as_deref(), "until", i64::MAX)?;
        let table = ask(&app, move |app| app.ledger.spend(by, since, until)).await?;
        serde_json::to_value(table).map_err(|_| Fault::internal())
    };
    shown(table.await)
}

async fn savings(State(app): State<Shared>, query: SpanQuery) -> Answered {
    let told = async {
        let span = read_span(query)?;
        let since = moment(span.since.as_deref(), "since", 0)?;
        let until = moment(span.until.as_deref(), "until", i64::MAX)?;
        let savings = ask(&app, move |app| app.ledger.savings(since, until)).await?;
        serde_json::to_value(savings).map_err(|_| Fault::internal())
    };
    shown(told.await)
}

async fn overview(State(app): State<Shared>, query: SpanQuery) -> Answered {
    let overview = async {
        let span = read_span(query)?;
        let since = moment(span.since.as_deref(), "since", 0)?;
        let routes = ask(&app, move |app| app.ledger.overview(since)).await?;
        Ok(json!({
            "routes": routes, "started": app.started.to_string(), "version": env!("CARGO_PKG_VERSION"),
        }))
    };
    shown(overview.await)
}

async fn requests(State(app): State<Shared>, query: SpanQuery) -> Answered {
    let list = async {
        let span = read_span(query)?;
        let limit = span.limit.unwrap_or(50).clamp(1, 1_000);
        let given =
            |text: Option<&str>, name| moment(text, name, i64::MIN).map(|at| Some(at).filter(|at| *at != i64::MIN));
        if let Some(route) = &span.route
            && !matches!(route.as_str(), "local" | "hosted" | "none")
        {
            return Err(Fault::invalid("`route` must be local, hosted or none", Some("route")));
        }
        let place = Find::parse(span.place.as_deref().unwrap_or("any"));
        let place = place
            .ok_or_else(|| Fault::invalid("`in` must be any, id, session, key, tag, model or reason", Some("in")))?;
        let find = span.find.as_deref().map(str::trim).filter(|word| !word.is_empty());
        if find.is_some_and(|word| word.len() > LONGEST_FIND) {
            return Err(Fault::invalid(format!("`find` has at most {LONGEST_FIND} bytes"), Some("find")));
        }
        let filter = RequestFilter {
            find: find.map(|word| (place, word.to_owned())),
            since_us: given(span.since.as_deref(), "since")?,
            before_us: given(span.before.as_deref(), "before")?,
            route: span.route,
            limit,
        };
        let rows = ask(&app, move |app| app.ledger.requests(&filter)).await?;
        let full = rows.len() == limit as usize;
        let next = rows.last().filter(|_| full).map(|row| row["time"].clone());
        Ok(json!({"requests": rows, "next": next}))
    };
    shown(list.await)
}

async fn request(State(app): State<Shared>, Path(id): Path<String>) -> Answered {
    let found = ask(&app, move |app| app.ledger.request(&id)).await;
    let found = found.and_then(|story| story.ok_or_else(|| Fault::unknown_id("request")));
    shown(found.map(|story| evidence::told(&app, story)))
}

async fn residency(State(app): State<Shared>, query: SpanQuery) -> Answered {
    let table = async {
        let span = read_span(query)?;
        let since = moment(span.since.as_deref(), "since", 0)?;
        let until = moment(span.until.as_deref(), "until", i64::MAX)?;
        let rows = ask(&app, move |app| app.ledger.residency(since, until)).await?;
        let settings = app.settings.load();
        let rules = settings.classes.rules().iter().map(|rule| {
            json!({
                "class": rule.name, "locations": rule.locations, "regions": rule.regions,
                "providers": rule.providers, "sinks": rule.sinks,
            })
        });
        let rules: Vec<Value> = rules.collect();
        let mode = if settings.offline { "offline" } else { "online" };
        Ok(json!({"mode": mode, "default_class": settings.default_class, "classes": rules, "rows": rows, "next": null}))
    };
    shown(table.await)
}

async fn evidence_state(State(app): State<Shared>) -> Answered {
    let read = tokio::task::spawn_blocking(move || evidence::state(&app)).await;
    shown(read.unwrap_or_else(|_| Err(Fault::internal())))
}

async fn models(State(app): State<Shared>) -> Answered {
    json_response(StatusCode::OK, &app.models())
}

async fn router_state(State(app): State<Shared>) -> Answered {
    shown(ask(&app, |app| Ok(app.router_state())).await)
}

async fn budgets(State(app): State<Shared>) -> Answered {
    let states = app.router.load().budgets().states(jiff::Timestamp::now());
    json_response(StatusCode::OK, &json!({"budgets": states}))
}

async fn keys(State(app): State<Shared>) -> Answered {
    let keys = ask(&app, |app| app.ledger.keys()).await;
    shown(keys.map(|keys| json!({"keys": keys.iter().map(|key| key.shown()).collect::<Vec<_>>()})))
}

/// The error of a field of a wanted key.
fn wrong(wrong: Wrong) -> Fault {
    Fault::invalid(format!("`{}`: {}", wrong.field, wrong.what), Some(wrong.field))
}

/// A key with its fresh secret, the only time it is shown.
fn with_secret((record, secret): (KeyRecord, Secret)) -> Value {
    let mut shown = record.shown();
    shown["key"] = secret.expose().into();
    shown
}

async fn create_key(State(app): State<Shared>, body: axum::body::Bytes) -> Answered {
    let created = async {
        let wanted: WantedKey = serde_json::from_slice(&body)
            .map_err(|error| Fault::invalid(format!("the key cannot be read: {error}"), None))?;
        let key = wanted.against(&app.settings.load(), jiff::Timestamp::now()).map_err(wrong)?;
        let made = ask(&app, move |app| app.ledger.create_key(&key)).await?;
        let made = made.ok_or_else(|| Fault::invalid("a key of this name exists", Some("name")))?;
        crate::upkeep::refresh_keys(&app);
        Ok(with_secret(made))
    };
    shown(created.await)
}

/// The body of a rotation; empty: the usual overlap.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    overlap: Option<String>,
}

async fn rotate_key(State(app): State<Shared>, Path(id): Path<String>, body: axum::body::Bytes) -> Answered {
    let rotated = async {
        let wanted = if body.is_empty() { Ok(Rotation::default()) } else { serde_json::from_slice(&body) };
        let wanted = wanted.map_err(|error| Fault::invalid(format!("the rotation cannot be read: {error}"), None))?;
        let overlap = wanted_key::overlap(wanted.overlap.as_deref().unwrap_or(wanted_key::OVERLAP)).map_err(wrong)?;
        let rotated = ask(&app, move |app| app.ledger.rotate_key(&id, overlap)).await?;
        crate::upkeep::refresh_keys(&app);
        rotated.map(with_secret).ok_or_else(|| Fault::unknown_id("key"))
    };
    shown(rotated.await)
}

async fn revoke_key(State(app): State<Shared>, Path(id): Path<String>) -> Answered {
    let revoked = ask(&app, move |app| app.ledger.revoke_key(&id)).await;
    crate::upkeep::refresh_keys(&app);
    shown(
        revoked.and_then(|id| id.map(|id| json!({"id": id, "revoked": true})).ok_or_else(|| Fault::unknown_id("key"))),
    )
}

async fn metrics(State(app): State<Shared>) -> Answered {
    let mut response = Response::new(Body::from(app.telemetry.prometheus()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn ready(State(app): State<Shared>) -> Answered {
    let (ready, body) = app.readiness();
    json_response(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

async fn config(State(app): State<Shared>) -> Answered {
    let settings = app.settings.load();
    json_response(StatusCode::OK, &json!({"settings": settings.shown, "warnings": settings.warnings}))
}

async fn unknown(request: Request) -> Answered {
    refuse(Fault::not_found(request.uri().path()))
}

async fn wrong_method(_method: Method) -> Answered {
    refuse(Fault::wrong_method())
}
