//! The playground on the page: one prompt to one side, streamed, and the decision that the router would take on it.
//!
//! **Promise.** What is asked here is a request like any other: constraints, budgets, rate limits, residency, evidence and
//! ledger apply, and it takes a place in flight. It is asked by nobody's key, and carries the tag [`TAG`], under which spend
//! and requests show it. Who may call is who may use the admin listener. A form of another site cannot: its `Origin` is
//! refused, or it has no token, and only `application/json` is read, which no form can send.
//!
//! **What the page may not tell** by its class is refused before anybody is asked, because the answer would be shown there.
//!
//! **What it does not do.** No tools and pictures: whoever needs those asks the data listener.

use super::Answered;
use super::admin::{Shared, refuse};
use super::data::{self, Serving, json_text, with_id};
use super::fault::Fault;
use super::headers;
use super::id::Id;
use super::routes::Shape;
use adapters::wire::WireRequest;
use axum::body::Bytes;
use axum::extract::State;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use policies::{Endpoint, Principal, RouteWish, Sink};
use router::{Ask, Looked};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

/// What marks the playground's requests on the ledger.
pub(super) const TAG: (&str, &str) = ("sluice", "playground");

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// `auto` or a model's name.
    #[serde(default = "auto")]
    model: String,
    /// `local` or `hosted`: the side that must answer.
    #[serde(default)]
    side: Option<Wish>,
    messages: Vec<Message>,
    #[serde(default)]
    data_class: Option<String>,
    #[serde(default)]
    max_tokens: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wish {
    Auto,
    Local,
    Hosted,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: Role,
    content: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    System,
    User,
    Assistant,
}

fn auto() -> String {
    "auto".into()
}

// === impl Wanted ===

impl Wanted {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Fault::wrong_type());
        }
        let wanted: Self = serde_json::from_slice(body)
            .map_err(|error| Fault::invalid(format!("the body cannot be read: {error}"), None))?;
        if wanted.messages.is_empty() {
            return Err(Fault::invalid("`messages` is empty", Some("messages")));
        }
        Ok(wanted)
    }

    fn ask(self, id: &Id, received: Instant) -> Result<Ask, Fault> {
        let mut body = json!({
            "model": self.model, "messages": self.messages, "stream": true, "stream_options": {"include_usage": true},
        });
        if let Some(most) = self.max_tokens {
            body["max_tokens"] = most.into();
        }
        let request = WireRequest::parse(Endpoint::Chat, Bytes::from(body.to_string()))?;
        let wish = match self.side {
            None | Some(Wish::Auto) => RouteWish::Auto,
            Some(Wish::Local) => RouteWish::Local,
            Some(Wish::Hosted) => RouteWish::Hosted,
        };
        Ok(Ask {
            id: id.id.clone(),
            request: Arc::new(request),
            principal: Principal::default(),
            wish,
            class: self.data_class.filter(|class| !class.is_empty()),
            session: None,
            tags: vec![(TAG.0.into(), TAG.1.into())],
            traceparent: None,
            received,
            charge: None,
            looked: Looked::default(),
        })
    }
}

/// The rule by which the page may not tell what is in a request, where there is one. Nobody judges the request for that: the
/// judgement belongs to its answer, and is taken once.
async fn withheld(app: &Shared, ask: &Ask) -> Result<Option<String>, router::DeniedBy> {
    let router = app.router.load_full();
    let class = router.class_of(ask).await?;
    Ok(router.config().classes.permit_sink(class, Sink::Page).err())
}

/// `POST /api/playground/decision`: what `POST /v1/route` says.
pub(super) async fn decision(State(app): State<Shared>, headers: HeaderMap, body: Bytes) -> Answered {
    let id = Id::of(&app, &HeaderMap::new());
    let told = async {
        let ask = Wanted::read(&headers, &body)?.ask(&id, Instant::now())?;
        let text = app.router.load_full().explain(&ask).await.map_err(|by| Fault::denied(&by))?;
        let mut decision: Value = serde_json::from_str(&text).map_err(|_| Fault::internal())?;
        let rule = withheld(&app, &ask).await.map_err(|by| Fault::denied(&by))?;
        if let (Some(rule), Some(fields)) = (rule, decision.as_object_mut()) {
            // Names and rules only: what was found in the content is the content's.
            fields.retain(|field, _| {
                ["route", "model", "reason", "plan", "candidates", "refusal"].contains(&field.as_str())
            });
            fields.insert("withheld".into(), rule.into());
        }
        Ok(decision.to_string())
    };
    match told.await {
        Ok(text) => with_id(json_text(StatusCode::OK, text), &id.id),
        Err(fault) => refuse(fault),
    }
}

/// `POST /api/playground`: the answer, as the data listener streams it.
pub(super) async fn answer(State(app): State<Shared>, headers: HeaderMap, body: Bytes) -> Answered {
    let received = Instant::now();
    let id = Id::of(&app, &HeaderMap::new());
    let mut ask = match Wanted::read(&headers, &body).and_then(|wanted| wanted.ask(&id, received)) {
        Ok(ask) => ask,
        Err(fault) => return refuse(fault),
    };
    // What no rule would let pass is refused by the router, and on record.
    if let Ok(Some(rule)) = withheld(&app, &ask).await {
        return refuse(Fault::withheld(&rule));
    }
    let router = app.router.load_full();
    if app.limits.apply_to(&ask.principal) {
        match app.limits.enter(&ask.principal, ask.tokens_wanted(), Instant::now()).await {
            Ok(charge) => ask.charge = charge,
            Err(over) => return denied(&router, &ask, &router.over_limit(&ask, &over)),
        }
    }
    let Ok(permit) = app.in_flight.clone().try_acquire_owned() else { return refuse(Fault::overloaded()) };
    match router.answer(ask.clone()).await {
        Ok(answer) => {
            let write = app.settings.load().timeouts.write;
            let mut response = data::answered(&app, answer, Serving { permit, write, first: None, face: None }).await;
            headers::put(response.headers_mut(), "x-content-type-options", "nosniff");
            response
        }
        Err(by) => denied(&router, &ask, &by),
    }
}

fn denied(router: &router::Router, ask: &Ask, by: &router::Denied) -> Answered {
    let response = Fault::response_to(by, Shape::OpenAi);
    router.note_denied(ask, by, response.status().as_u16());
    with_id(response, &ask.id)
}
