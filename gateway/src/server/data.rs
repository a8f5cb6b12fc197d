//! The data listener: what clients call.

use super::Answered;
use super::app::App;
use super::fault::Fault;
use super::feedback;
use super::id::Id;
use super::idempotency::{Begun, First};
use super::limits::{self, Place};
use super::routes::{Route, Shape};
use super::unrouted::{counted, decision, model, models, unrouted};
use super::{headers, stream};
use adapters::wire::{Door, Face, MessagesVersion};
use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use policies::{Principal, RequestId};
use router::{Answer, AnswerBody, Ask, TokensWanted};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Room for the headers of an answer, so that the map does not grow while they are put in.
const HEADERS: usize = 24;

/// Answers one request; never fails.
pub(super) async fn handle(app: Arc<App>, request: Request<Incoming>, peer: SocketAddr) -> Answered {
    let received = Instant::now();
    let route = Route::of(request.method(), request.uri().path());
    // Health is open, and takes no place in flight: it must answer when nothing else can.
    match route {
        Route::Livez => return plain(StatusCode::OK, "ok"),
        Route::Readyz => return ready(&app),
        Route::Answer(_)
        | Route::Decision
        | Route::Feedback
        | Route::Models
        | Route::Model(_)
        | Route::WrongMethod
        | Route::Unknown => {}
    }
    let shape = Shape::at(request.uri().path());
    let id = Id::of(&app, request.headers());
    let settings = app.settings.load();
    let refuse = |fault: Fault, headers: &HeaderMap| refused(&app, fault, (shape, &id.id), headers, received);
    let principal = match app.keys.identify(request.headers(), peer.ip(), settings.keys_required) {
        Ok(principal) => principal,
        Err(fault) => return refuse(fault, request.headers()),
    };
    let decides = route == Route::Decision;
    let door = match route {
        Route::Answer(door) => door,
        Route::Decision => Door::Chat,
        Route::Feedback => {
            let Ok(_permit) = app.in_flight.clone().try_acquire_owned() else {
                return refuse(Fault::overloaded(), request.headers());
            };
            let (parts, body) = request.into_parts();
            return match feedback::take(&app, &principal, &parts.headers, body).await {
                Ok(taken) => unrouted(json_response(StatusCode::OK, &taken), &id.id, "feedback", received),
                Err(fault) => refuse(fault, &parts.headers),
            };
        }
        Route::Models => return models(&app, &principal, &id.id, received),
        Route::Model(name) => return model(&app, &principal, &name, &id.id, received),
        Route::WrongMethod => return refuse(Fault::wrong_method(), request.headers()),
        Route::Unknown | Route::Livez | Route::Readyz => {
            return refuse(Fault::not_found(request.uri().path()), request.headers());
        }
    };
    let limited = app.limits.apply_to(&principal).then(|| principal.clone());
    let asked = Asked { door, decides, shape, principal, limited: limited.as_ref(), id: &id, received };
    let mut response = asked.answer(&app, &settings, request).await;
    if let Some(caller) = &limited {
        // At the very end: whatever a whole answer or a refusal gave back counts.
        limits::put_standings(&app, caller, response.headers_mut());
    }
    response
}

/// A request that is to be routed.
struct Asked<'a> {
    door: Door,
    /// Only the decision is wanted.
    decides: bool,
    shape: Shape,
    principal: Principal,
    /// Who asks, where rate limits apply.
    limited: Option<&'a Principal>,
    id: &'a Id,
    received: Instant,
}

// === impl Asked ===

impl Asked<'_> {
    async fn answer(self, app: &Arc<App>, settings: &crate::config::Settings, request: Request<Incoming>) -> Answered {
        let Self { door, decides, shape, principal, limited, id, received } = self;
        let (parts, body) = request.into_parts();
        let refuse = |fault: Fault| refused(app, fault, (shape, &id.id), &parts.headers, received);
        let place = match Place::of(app, limited) {
            Ok(place) => place,
            Err(fault) => return refuse(fault),
        };
        let caller = principal.key.as_ref().map(ToString::to_string).unwrap_or_default();
        let (mut ask, face, told) = match read(&parts.headers, body, door, principal, id, settings, received).await {
            Ok(read) => read,
            Err(fault) => {
                limited.iter().for_each(|caller| app.limits.count(caller, Instant::now()));
                return refuse(fault);
            }
        };
        let router = app.router.load_full();
        if limited.is_some() {
            let free = decides || door == Door::CountTokens;
            let wanted = if free { TokensWanted::default() } else { ask.tokens_wanted() };
            match app.limits.enter(&ask.principal, wanted, Instant::now()).await {
                Ok(charge) => ask.charge = charge,
                Err(over) => {
                    let denied = router.over_limit(&ask, &over);
                    let response = Fault::response_to(&denied, shape);
                    if !free {
                        router.note_denied(&ask, &denied, response.status().as_u16());
                    }
                    return response;
                }
            }
        }
        let permit = match place.in_flight(app) {
            Ok(permit) => permit,
            Err(fault) => return refuse(fault),
        };
        if decides {
            return decision(app, &ask, &id.id).await;
        }
        if door == Door::CountTokens {
            return counted(app, &ask, id);
        }
        let first = match app.kept.begin(&app.ledger, &parts.headers, &caller, parts.uri.path(), &told).await {
            Ok(Begun::Run(first)) => first,
            Ok(Begun::Repeat(answer)) => return answer,
            Err(fault) => return refuse(fault),
        };
        match router.answer(ask.clone()).await {
            Ok(answer) => {
                let serving = Serving { permit, write: settings.timeouts.write, first, face };
                answered(app, answer, serving).await
            }
            Err(denied) => {
                let response = Fault::response_to(&denied, shape);
                router.note_denied(&ask, &denied, response.status().as_u16());
                response
            }
        }
    }
}

/// The answer to a request that is refused before it is routed.
fn refused(
    app: &App,
    fault: Fault,
    (shape, id): (Shape, &RequestId),
    headers: &HeaderMap,
    received: Instant,
) -> Answered {
    let took = received.elapsed();
    app.telemetry.refused(fault.code(), fault.status(), headers::traceparent(headers), took);
    fault.early(shape, id, took)
}

/// Reads head and body of a request that is to be routed.
async fn read(
    headers: &HeaderMap,
    body: Incoming,
    door: Door,
    principal: Principal,
    id: &Id,
    settings: &crate::config::Settings,
    received: Instant,
) -> Result<(Ask, Option<Face>, Bytes), Fault> {
    let said = headers::read(headers);
    let body = capped(headers, body, settings.body_bytes, settings.timeouts.body).await?;
    let said = said?;
    let version = match Shape::of(door) {
        Shape::Anthropic => headers::anthropic_version(headers)?,
        Shape::OpenAi => MessagesVersion::default(),
    };
    let told = body.clone();
    let (request, face) = door.read(body, version)?;
    let ask = Ask {
        id: id.id.clone(),
        request: Arc::new(request),
        principal,
        wish: said.wish,
        class: said.class,
        session: said.session,
        tags: said.tags,
        traceparent: said.traceparent,
        received,
        charge: None,
        looked: router::Looked::default(),
    };
    Ok((ask, face, told))
}

/// Reads a JSON body up to its cap, in its time.
pub(super) async fn capped(headers: &HeaderMap, body: Incoming, most: u64, time: Duration) -> Result<Bytes, Fault> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let refused = if headers.contains_key(CONTENT_ENCODING) {
        Some(Fault::encoded())
    } else if !essence.eq_ignore_ascii_case("application/json") {
        Some(Fault::wrong_type())
    } else if declared.is_some_and(|length| length > most) {
        Some(Fault::too_large(most))
    } else {
        None
    };
    if let Some(fault) = refused {
        discard(body).await;
        return Err(fault);
    }
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    match tokio::time::timeout(time, Limited::new(body, limit).collect()).await {
        Err(_) => Err(Fault::slow_body()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::too_large(most)),
        Ok(Err(_)) => Err(Fault::broken_body()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}

/// Reads a refused body away, within bounds, so that the client gets to see the refusal instead of a reset connection.
async fn discard(mut body: Incoming) {
    const MOST: usize = 32 << 20;
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > MOST {
                return;
            }
        }
    };
    // Whether it came to its end or not, the refusal follows.
    let _ = tokio::time::timeout(Duration::from_secs(2), reading).await;
}

/// What an answer needs on its way out.
pub(super) struct Serving {
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) write: Duration,
    pub(super) first: Option<First>,
    /// How the answer must look; `None`: as it comes.
    pub(super) face: Option<Face>,
}

pub(super) async fn answered(app: &Arc<App>, answer: Answer, serving: Serving) -> Answered {
    let Answer { head, body } = answer;
    let Serving { permit, write, first, face } = serving;
    let shape = if face.as_ref().is_some_and(Face::is_message) { Shape::Anthropic } else { Shape::OpenAi };
    let mut out = HeaderMap::with_capacity(HEADERS);
    headers::put_head(&mut out, &head);
    let body = match body {
        AnswerBody::Whole { body, cost } => {
            let body = match face.map(|face| face.whole(&body)) {
                None => body,
                Some(Ok(told)) => told,
                Some(Err(error)) => {
                    let mut response = Fault::untold(error.message).response(shape);
                    headers::put_head(response.headers_mut(), &head);
                    headers::put_cost(response.headers_mut(), cost);
                    return response;
                }
            };
            out.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers::put_cost(&mut out, cost);
            if let Some(first) = first {
                first.keep(StatusCode::OK, &out, body.clone(), head.cache.as_ref()).await;
            }
            drop(permit);
            Body::from(body)
        }
        AnswerBody::Stream(pieces) => {
            out.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
            out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            // nginx in front of us would buffer the stream otherwise.
            out.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
            let record = first.zip(head.cache).map(|(first, leave)| stream::Record::new(first, out.clone(), leave));
            stream::body(app, pieces, stream::Pump { permit, write, record, telling: face.map(Face::streamed) })
        }
    };
    let mut response = Response::new(body);
    *response.headers_mut() = out;
    response
}

fn ready(app: &App) -> Answered {
    let (ready, body) = app.readiness();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, &body)
}

pub(super) fn with_id(mut response: Answered, id: &RequestId) -> Answered {
    headers::put_id(response.headers_mut(), id);
    response
}

/// A text answer.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Answered {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A JSON answer.
pub(super) fn json_response(status: StatusCode, value: &Value) -> Answered {
    json_text(status, value.to_string())
}

pub(super) fn json_text(status: StatusCode, text: String) -> Answered {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
