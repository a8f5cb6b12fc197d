//! What can go wrong on the way to an answer.
//!
//! A [`BackendError`] carries kind and phase; whether another target may be tried follows from both. Its `Display` is
//! for logs; [`BackendError::public`] is the only text of it that may reach a client.

use bytes::Bytes;
use std::time::Duration;

/// Which clock ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// From dialling to a connection.
    Connect,
    /// From the sent request to the first event.
    FirstEvent,
    /// Between two events.
    Idle,
    /// From the start to the end.
    Total,
    /// Waiting for a place in the local queue.
    Queue,
}

/// How far the attempt had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing was sent.
    BeforeSend,
    /// Sent, but nothing came back yet.
    BeforeFirstEvent,
    /// The other side has said that it answers; no event yet.
    Begun,
    /// Events have come.
    Streaming,
}

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Kind {
    /// No connection could be made.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// A clock ran out.
    #[error("timeout: {0:?}")]
    Timeout(Clock),
    /// The upstream answered with an error status.
    #[error("upstream status {status}")]
    Status {
        /// Its status.
        status: u16,
        /// Its body, where it is a JSON object.
        body: Option<Bytes>,
        /// What `Retry-After` said.
        retry_after: Option<Duration>,
    },
    /// The upstream sent an error in the midst of a stream, or instead of an answer.
    #[error("upstream error event")]
    InStream,
    /// The connection broke, or ended without a finish.
    #[error("upstream truncated the answer: {0}")]
    Truncated(String),
    /// The upstream does not speak the protocol.
    #[error("upstream protocol: {0}")]
    Protocol(String),
    /// A proper answer, as far as one can tell, that is larger than what is read here; it was paid for.
    #[error("the answer is larger than the {most} bytes that are read")]
    TooLarge {
        /// Bytes that are read.
        most: u64,
    },
    /// The queue in front of the engine is full.
    #[error("the queue is full")]
    QueueFull,
    /// The model is loading, failed or stopped.
    #[error("not ready: {0}")]
    NotReady(String),
    /// Prompt and answer do not fit the context window.
    #[error("the prompt has {prompt} tokens, the context window {window}")]
    ContextLength {
        /// Tokens of the prompt.
        prompt: u64,
        /// The window.
        window: u64,
    },
    /// The backend cannot do what the request asks.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The backend's own API has no word for a field; another one may have.
    #[error("unsupported field `{field}`: {why}")]
    Field {
        /// The field's path: `tools[0].type`.
        field: String,
        /// What is the matter with it, as the end of a sentence.
        why: String,
    },
    /// The request is wrong in a way that only the backend could see (a bad schema or expression).
    #[error("invalid request: {0}")]
    Invalid(String),
    /// A budget has no more for a running stream.
    #[error("budget `{0}` has no more for this stream")]
    Budget(String),
    /// Residency forbids it: no leave for this provider, or an address that is none of its own.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// A defect on our side, a panic of the engine included.
    #[error("internal: {0}")]
    Internal(String),
}

/// A failed attempt.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind} ({phase:?})")]
pub struct BackendError {
    /// What went wrong.
    pub kind: Kind,
    /// How far the attempt had come.
    pub phase: Phase,
}

// === impl BackendError ===

impl BackendError {
    /// An error before anything was sent.
    pub fn before_send(kind: Kind) -> Self {
        Self { kind, phase: Phase::BeforeSend }
    }

    /// An error before the first event.
    pub fn before_first_event(kind: Kind) -> Self {
        Self { kind, phase: Phase::BeforeFirstEvent }
    }

    /// An error in an answer that has begun, before its first event: whoever bills has read the prompt by then.
    pub fn begun(kind: Kind) -> Self {
        Self { kind, phase: Phase::Begun }
    }

    /// An error in the midst of a stream.
    pub fn streaming(kind: Kind) -> Self {
        Self { kind, phase: Phase::Streaming }
    }

    /// Whether the next target of the plan may be tried: never after the first event, never for an error that the
    /// request itself causes everywhere.
    pub fn next_target_may_try(&self) -> bool {
        if self.phase == Phase::Streaming {
            return false;
        }
        match &self.kind {
            Kind::Connect(_)
            | Kind::Timeout(Clock::Connect | Clock::FirstEvent | Clock::Queue | Clock::Idle)
            | Kind::InStream
            | Kind::Truncated(_)
            | Kind::Protocol(_)
            | Kind::TooLarge { .. }
            | Kind::QueueFull
            | Kind::NotReady(_)
            | Kind::ContextLength { .. }
            | Kind::Unsupported(_)
            | Kind::Field { .. }
            | Kind::Forbidden(_)
            | Kind::Internal(_) => true,
            Kind::Status { status, .. } => matches!(status, 401 | 402 | 403 | 404 | 408 | 409 | 429 | 500..=599),
            Kind::Timeout(Clock::Total) | Kind::Invalid(_) | Kind::Budget(_) => false,
        }
    }

    /// Whether the backend, not the request, is to blame: what a breaker counts.
    pub fn blames_backend(&self) -> bool {
        match &self.kind {
            Kind::Connect(_)
            | Kind::Timeout(_)
            | Kind::InStream
            | Kind::Truncated(_)
            | Kind::Protocol(_)
            | Kind::Forbidden(_)
            | Kind::Internal(_) => true,
            Kind::Status { status, .. } => *status >= 500 || matches!(status, 401 | 403 | 408 | 429),
            Kind::TooLarge { .. }
            | Kind::QueueFull
            | Kind::NotReady(_)
            | Kind::ContextLength { .. }
            | Kind::Unsupported(_)
            | Kind::Field { .. }
            | Kind::Invalid(_)
            | Kind::Budget(_) => false,
        }
    }

    /// Whether the provider was at work, and so charges for the prompt at least, although nobody gets anything: it had begun to
    /// answer, and the answer was cut off, late or too large for us.
    pub fn was_paid(&self) -> bool {
        self.phase == Phase::Begun && matches!(self.kind, Kind::Truncated(_) | Kind::Timeout(_) | Kind::TooLarge { .. })
    }

    /// The other side found the request itself wrong: it may understand less than was asked of it.
    pub(crate) fn says_malformed(&self) -> bool {
        matches!(self.kind, Kind::Status { status: 400 | 422 | 501, .. })
    }

    /// The label in metrics and on the ledger.
    pub fn label(&self) -> &'static str {
        match &self.kind {
            Kind::Connect(_) => "connect",
            Kind::Timeout(Clock::Connect) => "timeout_connect",
            Kind::Timeout(Clock::FirstEvent) => "timeout_first_event",
            Kind::Timeout(Clock::Idle) => "timeout_idle",
            Kind::Timeout(Clock::Total) => "timeout_total",
            Kind::Timeout(Clock::Queue) => "timeout_queue",
            Kind::Status { .. } => "upstream_status",
            Kind::InStream => "upstream_error",
            Kind::Truncated(_) => "upstream_truncated",
            Kind::Protocol(_) => "upstream_protocol",
            Kind::TooLarge { .. } => "answer_too_large",
            Kind::QueueFull => "queue_full",
            Kind::NotReady(_) => "not_ready",
            Kind::ContextLength { .. } => "context_length_exceeded",
            Kind::Unsupported(_) | Kind::Field { .. } => "unsupported",
            Kind::Invalid(_) => "invalid",
            Kind::Budget(_) => "budget_exceeded",
            Kind::Forbidden(_) => "forbidden",
            Kind::Internal(_) => "internal",
        }
    }

    /// One sentence for the client: no address, no key, no data.
    pub fn public(&self) -> String {
        match &self.kind {
            Kind::Connect(_) => "the upstream cannot be reached".into(),
            Kind::Timeout(Clock::Queue) => "the local model's queue did not move in time".into(),
            Kind::Timeout(_) => "the upstream did not answer in time".into(),
            Kind::Status { status, .. } => format!("the upstream answered with status {status}"),
            Kind::InStream => "the upstream reported an error".into(),
            Kind::Truncated(_) => "the upstream's answer ended before its time".into(),
            Kind::Protocol(_) => "the upstream's answer cannot be understood".into(),
            Kind::TooLarge { most } => format!(
                "the answer is larger than the {most} bytes that this gateway reads of one: it was paid for, and asking again would be, too; ask for less at once"
            ),
            Kind::QueueFull => "the local model's queue is full".into(),
            Kind::NotReady(why) => format!("the model is not ready: {why}"),
            Kind::ContextLength { prompt, window } => format!(
                "this model's maximum context length is {window} tokens, the messages and the answer asked for need {prompt}"
            ),
            Kind::Unsupported(what) | Kind::Invalid(what) => what.clone(),
            Kind::Field { field, why } => format!("`{field}` {why}"),
            Kind::Budget(scope) => format!("budget `{scope}` has no more for this stream"),
            Kind::Forbidden(rule) => rule.clone(),
            Kind::Internal(_) => "the local model failed".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_target_is_tried_only_before_the_first_event_and_never_for_the_requests_own_fault() {
        let truncated = Kind::Truncated("x".into());
        for (kind, elsewhere) in [
            (Kind::Connect("x".into()), true),
            (Kind::Timeout(Clock::FirstEvent), true),
            (Kind::Timeout(Clock::Total), false),
            (truncated.clone(), true),
            (Kind::QueueFull, true),
            (Kind::Invalid("x".into()), false),
            (Kind::Field { field: "x".into(), why: "y".into() }, true),
            (Kind::TooLarge { most: 1 }, true),
            (Kind::Budget("x".into()), false),
            (Kind::Status { status: 429, body: None, retry_after: None }, true),
            (Kind::Status { status: 503, body: None, retry_after: None }, true),
            (Kind::Status { status: 400, body: None, retry_after: None }, false),
            (Kind::Status { status: 422, body: None, retry_after: None }, false),
        ] {
            assert_eq!(BackendError::before_send(kind.clone()).next_target_may_try(), elsewhere, "{kind}");
            assert_eq!(BackendError::before_first_event(kind.clone()).next_target_may_try(), elsewhere, "{kind}");
            assert!(
                !BackendError::streaming(kind.clone()).next_target_may_try(),
                "{kind}: the client has a part of it"
            );
        }
    }

    #[test]
    fn a_breaker_counts_what_a_provider_is_to_blame_for() {
        for (status, blamed) in [(400, false), (404, false), (422, false), (401, true), (429, true), (500, true)] {
            let error = BackendError::before_first_event(Kind::Status { status, body: None, retry_after: None });
            assert_eq!(error.blames_backend(), blamed, "{status}");
        }
        assert!(!BackendError::before_send(Kind::QueueFull).blames_backend());
        let ours = BackendError::begun(Kind::TooLarge { most: 1 });
        assert!(!ours.blames_backend() && ours.was_paid(), "the limit is ours");
        assert!(BackendError::streaming(Kind::Truncated("x".into())).blames_backend());
    }

    #[test]
    fn what_is_cut_off_after_the_answer_began_was_paid() {
        assert!(BackendError::begun(Kind::Truncated("x".into())).was_paid());
        assert!(!BackendError::before_first_event(Kind::Truncated("x".into())).was_paid());
        assert!(!BackendError::begun(Kind::InStream).was_paid(), "an error in place of an answer costs nothing");
    }
}
