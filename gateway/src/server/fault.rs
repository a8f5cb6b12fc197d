//! The one rescue: every failure becomes a status, an error body, a code and a log level here.
//!
//! Bodies have OpenAI's shape (`{"error": {"message", "type", "param", "code"}}`) or, on Anthropic's endpoints, theirs.
//! Only texts made for the public are in them.

use super::headers;
use super::{Answered, routes::Shape};
use adapters::wire::WireError;
use adapters::{BackendError, Clock, Kind};
use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Response, StatusCode};
use policies::{Constraint, Refusal, RequestId};
use router::ledger::LedgerError;
use router::{Denied, DeniedBy, Head};
use serde_json::{Value, json};
use std::time::Duration;

/// A failure as the client sees it.
#[derive(Clone, Debug)]
pub struct Fault {
    status: StatusCode,
    /// OpenAI's `type`.
    kind: &'static str,
    code: &'static str,
    message: String,
    param: Option<String>,
    retry_after: Option<Duration>,
    /// `x-should-retry`: what the SDKs of OpenAI and Anthropic heed.
    should_retry: Option<bool>,
    /// The upstream's own error body, relayed.
    relayed: Option<bytes::Bytes>,
}

const INVALID: &str = "invalid_request_error";
const PERMISSION: &str = "permission_error";
const SERVER: &str = "server_error";

// === impl Fault ===

impl Fault {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            should_retry: None,
            relayed: None,
        }
    }

    pub(super) fn no_key() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "missing_api_key",
            "no API key was sent: use `Authorization: Bearer sk-sluice-...` or `x-api-key`",
        )
    }

    pub(super) fn bad_key() -> Self {
        let text = "this API key is not known, has expired or was revoked";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "invalid_api_key", text)
    }

    pub(super) fn no_keys_and_not_loopback() -> Self {
        let text = "no key is configured, so only this machine itself is served: make one with `sluice keys create`";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "no_keys_configured", text)
    }

    pub(super) fn bad_admin_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "invalid_admin_token", "the admin token is needed")
    }

    pub(super) fn data_key_on_admin() -> Self {
        Self::new(StatusCode::FORBIDDEN, PERMISSION, "data_key", "a data key opens nothing on the admin listener")
    }

    pub(super) fn foreign_origin() -> Self {
        let text = "the admin listener is open to this machine only: call it by a loopback name, from its own page";
        Self::new(StatusCode::FORBIDDEN, PERMISSION, "foreign_origin", text)
    }

    pub(super) fn not_signed_in() -> Self {
        let text = "nobody is signed in: come through the proxy that signs in, or from this machine itself";
        Self::new(StatusCode::FORBIDDEN, PERMISSION, "not_signed_in", text)
    }

    pub(super) fn bad_identity() -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, "bad_identity", "the proxy's header must name one person, once")
    }

    pub(super) fn unlisted_identity() -> Self {
        let text = "you are signed in, but not among those who may use this listener";
        Self::new(StatusCode::FORBIDDEN, PERMISSION, "unlisted_identity", text)
    }

    pub(super) fn foreign_page() -> Self {
        let text =
            "who is signed in by the proxy changes things from this host's own page: `Origin` must be its `Host`";
        Self::new(StatusCode::FORBIDDEN, PERMISSION, "foreign_origin", text)
    }

    pub(super) fn not_found(path: &str) -> Self {
        let shown: String = path.chars().take(100).collect();
        Self::new(StatusCode::NOT_FOUND, INVALID, "unknown_url", format!("there is nothing at `{shown}`"))
    }

    pub(super) fn unknown_id(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID, "not_found", format!("no such {what}"))
    }

    pub(super) fn wrong_method() -> Self {
        let text = "this method is not allowed here";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed", text)
    }

    pub(super) fn invalid(message: impl Into<String>, param: Option<&str>) -> Self {
        let fault = Self::new(StatusCode::BAD_REQUEST, INVALID, "invalid_request", message);
        Self { param: param.map(Into::into), ..fault }
    }

    pub(super) fn wrong_type() -> Self {
        let text = "the body must be `application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, "unsupported_media_type", text)
    }

    pub(super) fn encoded() -> Self {
        let text = "bodies with a `Content-Encoding` are not accepted";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, "unsupported_encoding", text)
    }

    pub(super) fn too_large(most: u64) -> Self {
        let text = format!("the body is larger than {most} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, "request_too_large", text)
    }

    pub(super) fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, INVALID, "body_timeout", "the body did not arrive in time")
    }

    pub(super) fn broken_body() -> Self {
        Self::invalid("the body broke off", None)
    }

    pub(super) fn key_reused() -> Self {
        let text = "this `idempotency-key` was used with another body";
        Self::new(StatusCode::CONFLICT, INVALID, "idempotency_key_reused", text)
    }

    /// What the page may not tell.
    pub(super) fn withheld(rule: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, PERMISSION, "residency", format!("the page may not tell the answer: {rule}"))
    }

    pub(super) fn overloaded() -> Self {
        let text = "too many requests are in flight";
        let fault = Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, "overloaded", text);
        Self { retry_after: Some(Duration::from_secs(1)), ..fault }
    }

    /// A caller over its rate limit; without a time the request never fits, and asking again is in vain.
    pub(super) fn over_limit(message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let (status, kind, code) = match retry_after {
            Some(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit_exceeded"),
            None => (StatusCode::BAD_REQUEST, INVALID, "request_above_rate_limit"),
        };
        Self { retry_after, ..Self::new(status, kind, code, message) }
    }

    /// An answer that came and cannot be told in the form that was asked for.
    pub(super) fn untold(message: impl Into<String>) -> Self {
        // It was paid for; the same question would be paid for again.
        Self { should_retry: Some(false), ..Self::new(StatusCode::BAD_GATEWAY, SERVER, "upstream_protocol", message) }
    }

    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal", "something went wrong inside the gateway")
    }

    pub(super) fn ledger() -> Self {
        let text = "the ledger cannot be written, so nothing may be spent";
        let fault = Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, "ledger_unavailable", text);
        Self { retry_after: Some(Duration::from_secs(1)), ..fault }
    }

    /// The failure of a request that reached the router.
    pub(super) fn denied(by: &DeniedBy) -> Self {
        match by {
            DeniedBy::UnknownModel(name) => {
                let shown: String = name.chars().take(100).collect();
                let text =
                    format!("no model `{shown}` is configured; `GET /v1/models` lists them, `auto` lets Sluice choose");
                let fault = Self::new(StatusCode::NOT_FOUND, INVALID, "model_not_found", text);
                Self { param: Some("model".into()), ..fault }
            }
            DeniedBy::UnknownClass(why) => Self::new(StatusCode::FORBIDDEN, PERMISSION, "residency", why.clone()),
            DeniedBy::Refusal(refusal) => Self::refused(refusal),
            DeniedBy::Backend(error) => Self::backend(error),
            DeniedBy::Ledger(LedgerError::Lapsed) => {
                Self { message: LedgerError::Lapsed.to_string(), ..Self::ledger() }
            }
            DeniedBy::Ledger(_) => Self::ledger(),
        }
    }

    fn refused(refusal: &Refusal) -> Self {
        let (status, kind, code) = match refusal.by {
            Constraint::RateLimit => return Self::over_limit(refusal.message.clone(), refusal.retry_after),
            Constraint::Health => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "model_unavailable"),
            Constraint::FirstToken => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "first_token_too_late"),
            Constraint::Budget if refusal.held => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "budget_held"),
            Constraint::Budget => (StatusCode::PAYMENT_REQUIRED, "insufficient_quota", "budget_exceeded"),
            Constraint::Context => (StatusCode::BAD_REQUEST, INVALID, "context_length_exceeded"),
            Constraint::Capability => (StatusCode::UNPROCESSABLE_ENTITY, INVALID, "no_eligible_model"),
            Constraint::Price => (StatusCode::UNPROCESSABLE_ENTITY, INVALID, "price"),
            Constraint::Route => (StatusCode::UNPROCESSABLE_ENTITY, INVALID, "route"),
            Constraint::AllowList => (StatusCode::FORBIDDEN, PERMISSION, "model_not_allowed"),
            Constraint::KeyRoute => (StatusCode::FORBIDDEN, PERMISSION, "route_not_allowed"),
            Constraint::KeyClass => (StatusCode::FORBIDDEN, PERMISSION, "class_not_allowed"),
            Constraint::Residency => (StatusCode::FORBIDDEN, PERMISSION, "residency"),
        };
        let fault = Self::new(status, kind, code, refusal.message.clone());
        let waits = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        Self {
            retry_after: waits.then(|| refusal.retry_after.unwrap_or(Duration::from_secs(5))),
            should_retry: (status == StatusCode::PAYMENT_REQUIRED).then_some(false),
            ..fault
        }
    }

    /// The failure of the last attempt.
    pub(super) fn backend(error: &BackendError) -> Self {
        let text = error.public();
        let new = |status, kind, code| Self::new(status, kind, code, text.clone());
        let soon = Some(Duration::from_secs(1));
        match &error.kind {
            Kind::Status { status, body, retry_after } => match status {
                // The request's own fault: the upstream's words say it best.
                400 | 404 | 405 | 406 | 409 | 410..=418 | 421..=426 | 428 | 431 | 451 => {
                    let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
                    Self { relayed: body.clone(), ..new(status, INVALID, "upstream_refused") }
                }
                429 => Self {
                    retry_after: retry_after.or(soon),
                    ..new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "upstream_rate_limit")
                },
                // 529: Anthropic's word for being overloaded.
                503 | 529 => Self {
                    retry_after: retry_after.or(soon),
                    ..new(StatusCode::BAD_GATEWAY, SERVER, "upstream_status")
                },
                _ => new(StatusCode::BAD_GATEWAY, SERVER, "upstream_status"),
            },
            Kind::Timeout(Clock::Queue) => {
                Self { retry_after: soon, ..new(StatusCode::SERVICE_UNAVAILABLE, SERVER, "timeout_queue") }
            }
            Kind::Timeout(_) => new(StatusCode::GATEWAY_TIMEOUT, SERVER, error.label()),
            Kind::Connect(_) | Kind::InStream | Kind::Truncated(_) | Kind::Protocol(_) => {
                new(StatusCode::BAD_GATEWAY, SERVER, error.label())
            }
            // It was paid for; the same question would be paid for again.
            Kind::TooLarge { .. } => {
                Self { should_retry: Some(false), ..new(StatusCode::BAD_GATEWAY, SERVER, error.label()) }
            }
            Kind::QueueFull | Kind::NotReady(_) => Self {
                retry_after: Some(Duration::from_secs(2)),
                ..new(StatusCode::SERVICE_UNAVAILABLE, SERVER, error.label())
            },
            Kind::ContextLength { .. } => Self {
                param: Some("messages".into()),
                ..new(StatusCode::BAD_REQUEST, INVALID, "context_length_exceeded")
            },
            Kind::Unsupported(_) => new(StatusCode::UNPROCESSABLE_ENTITY, INVALID, "unsupported"),
            Kind::Field { field, .. } => {
                Self { param: Some(field.clone()), ..new(StatusCode::BAD_REQUEST, INVALID, "unsupported") }
            }
            Kind::Invalid(_) => new(StatusCode::BAD_REQUEST, INVALID, "invalid_request"),
            Kind::Budget(_) => new(StatusCode::PAYMENT_REQUIRED, "insufficient_quota", error.label()),
            Kind::Forbidden(_) => new(StatusCode::FORBIDDEN, PERMISSION, "residency"),
            Kind::Internal(_) => new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal"),
        }
    }

    /// The code for the client and the metrics.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// The sentence for the client.
    pub(super) fn text(&self) -> &str {
        &self.message
    }

    /// The error object of an event in the midst of a stream.
    pub(super) fn event(error: &BackendError, telling: Option<&mut adapters::wire::Telling>) -> bytes::Bytes {
        let fault = Self::backend(error);
        match telling {
            None => adapters::wire::sse::frame(fault.body(Shape::OpenAi).as_bytes()),
            Some(telling) => telling.error(fault.kind_of(Shape::Anthropic), fault.code, &fault.message),
        }
    }

    /// The `type` of the error, in the words of the form.
    ///
    /// Source: Anthropic API reference, "Errors".
    fn kind_of(&self, shape: Shape) -> &'static str {
        match (shape, self.status.as_u16()) {
            (Shape::OpenAi, _) => self.kind,
            (Shape::Anthropic, 401) => "authentication_error",
            (Shape::Anthropic, 402) => "billing_error",
            (Shape::Anthropic, 403) => "permission_error",
            (Shape::Anthropic, 404) => "not_found_error",
            (Shape::Anthropic, 408 | 504) => "timeout_error",
            (Shape::Anthropic, 413) => "request_too_large",
            (Shape::Anthropic, 429) => "rate_limit_error",
            (Shape::Anthropic, 503) => "overloaded_error",
            (Shape::Anthropic, status) if status < 500 => "invalid_request_error",
            (Shape::Anthropic, _) => "api_error",
        }
    }

    fn body(&self, shape: Shape) -> String {
        match shape {
            Shape::OpenAi => {
                let error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
                json!({"error": error}).to_string()
            }
            Shape::Anthropic => {
                // Another provider's error says it in its own form.
                let said = self.relayed.as_deref().and_then(|body| serde_json::from_slice::<Value>(body).ok());
                let said = said.as_ref().and_then(|body| body.pointer("/error/message")?.as_str());
                let error = json!({"type": self.kind_of(shape), "message": said.unwrap_or(&self.message)});
                json!({"type": "error", "error": error}).to_string()
            }
        }
    }

    /// The status that the client gets.
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The response to a data request that never reached the router: it has the headers of every answer, too.
    pub(super) fn early(self, shape: Shape, id: &RequestId, overhead: Duration) -> Answered {
        let head = headers::unrouted(id, self.code, overhead);
        let mut response = self.response(shape);
        headers::put_head(response.headers_mut(), &head);
        response
    }

    /// The response.
    pub(super) fn response(self, shape: Shape) -> Answered {
        let body = match self.relayed.as_ref().filter(|_| shape == Shape::OpenAi) {
            Some(relayed) => Body::from(relayed.clone()),
            None => Body::from(self.body(shape)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let out = response.headers_mut();
        out.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            out.insert(RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
        }
        if let Some(retry) = self.should_retry {
            let value = HeaderValue::from_static(if retry { "true" } else { "false" });
            out.insert(HeaderName::from_static("x-should-retry"), value);
        }
        response
    }

    /// The response to a denied request, with all that is known of it.
    pub(super) fn response_to(denied: &Denied, shape: Shape) -> Answered {
        let fault = Self::denied(&denied.by);
        let mut response = fault.response(shape);
        let head = Head { route: None, ..denied.head.clone() };
        headers::put_head(response.headers_mut(), &head);
        response
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::invalid(error.message, error.param.as_deref())
    }
}
