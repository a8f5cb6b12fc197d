//! Data answers that need no model: lists, a decision, the size of a prompt.
//!
//! **Promise.** They have the headers of every data answer; where nothing was routed `x-sluice-reason` says what it was
//! (`models`, `size`, `feedback`), attempts are 0, and route, model and provider are absent. A decision has those that its
//! answer would have.

use super::Answered;
use super::app::App;
use super::data::{json_response, json_text};
use super::fault::Fault;
use super::headers;
use super::id::Id;
use super::routes::Shape;
use http::StatusCode;
use policies::{ModelName, Principal, RequestId};
use router::{Ask, Head, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

/// The size of a prompt, as the router reckons it: nothing is dialled, nothing charged.
pub(super) fn counted(app: &Arc<App>, ask: &Ask, id: &Id) -> Answered {
    let model = ask.request.view.model.as_str();
    let known = matches!(model, "auto" | "sluice/auto")
        || app.router.load().fleet().get(&model.into()).is_some_and(|model| may_use(&ask.principal, &model.name));
    if !known {
        let fault = Fault::denied(&router::DeniedBy::UnknownModel(model.to_owned()));
        return fault.early(Shape::Anthropic, &id.id, ask.received.elapsed());
    }
    let size = json_response(StatusCode::OK, &json!({"input_tokens": ask.prompt_tokens()}));
    unrouted(size, &id.id, "size", ask.received)
}

pub(super) async fn decision(app: &Arc<App>, ask: &Ask, id: &RequestId) -> Answered {
    let router = app.router.load_full();
    match router.explain(ask).await {
        Ok(explained) => {
            let head = decided(&router, &explained, headers::unrouted(id, "", ask.received.elapsed()));
            let mut response = json_text(StatusCode::OK, explained);
            headers::put_head(response.headers_mut(), &head);
            response
        }
        Err(by) => Fault::denied(&by).early(Shape::OpenAi, id, ask.received.elapsed()),
    }
}

/// What a decision says in headers: as the answer would have them, but for attempts, of which there is none.
fn decided(router: &Router, explained: &str, head: Head) -> Head {
    let told: Value = serde_json::from_str(explained).unwrap_or_default();
    let model = told["model"].as_str().and_then(|name| router.fleet().get(&name.into()));
    Head {
        route: model.map(|model| model.provider.location),
        model: model.map(|model| model.name.clone()),
        provider: model.map(|model| model.provider.name.clone()),
        reason: told["reason"].as_str().unwrap_or_default().to_owned(),
        score: told["score"].as_f64().map(|score| score as f32),
        ..head
    }
}

pub(super) fn models(app: &Arc<App>, principal: &Principal, id: &RequestId, received: Instant) -> Answered {
    let router = app.router.load();
    let mut data = vec![model_object("auto", "sluice", app)];
    let allowed = router.fleet().models().filter(|model| may_use(principal, &model.name));
    data.extend(allowed.map(|model| model_object(model.name.as_str(), model.provider.name.as_str(), app)));
    let list = json_response(StatusCode::OK, &json!({"object": "list", "data": data}));
    unrouted(list, id, "models", received)
}

pub(super) fn model(app: &Arc<App>, principal: &Principal, name: &str, id: &RequestId, received: Instant) -> Answered {
    let router = app.router.load();
    if name == "auto" {
        let shown = json_response(StatusCode::OK, &model_object("auto", "sluice", app));
        return unrouted(shown, id, "models", received);
    }
    match router.fleet().get(&name.into()).filter(|model| may_use(principal, &model.name)) {
        Some(model) => {
            let shown = model_object(model.name.as_str(), model.provider.name.as_str(), app);
            unrouted(json_response(StatusCode::OK, &shown), id, "models", received)
        }
        None => {
            let fault = Fault::denied(&router::DeniedBy::UnknownModel(name.to_owned()));
            fault.early(Shape::OpenAi, id, received.elapsed())
        }
    }
}

fn may_use(principal: &Principal, model: &ModelName) -> bool {
    principal.models.as_ref().is_none_or(|allowed| allowed.contains(model))
}

fn model_object(id: &str, owner: &str, app: &App) -> Value {
    json!({"id": id, "object": "model", "created": app.started.as_second(), "owned_by": owner})
}

/// The same with what is said of an answer that needed no model: `reason` is what it was.
pub(super) fn unrouted(mut response: Answered, id: &RequestId, reason: &str, received: Instant) -> Answered {
    headers::put_head(response.headers_mut(), &headers::unrouted(id, reason, received.elapsed()));
    response
}
