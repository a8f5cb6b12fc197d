//! The trait that everything which answers implements.
//!
//! **Promise.** A call gives a stream of [`Event`]s or an error; the stream ends after [`Event::Done`] or a
//! [`Event::Whole`], or with one error, never in silence. Dropping the call or its stream cancels the work: a hosted
//! connection is closed, the local engine stops within two tokens.

use crate::error::BackendError;
use crate::wire::{Seen, WireRequest};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use policies::mask::Values;
use policies::{Capabilities, Endpoint, Permit, ProviderName, Readiness, RequestId};
use std::sync::Arc;
use std::time::Duration;

/// What one event of an answer is.
#[derive(Clone, Debug)]
pub enum Event {
    /// One server-sent event of a stream, as the bytes that go to the client.
    Delta {
        /// The event's bytes, blank line included.
        frame: Bytes,
        /// What was read in it.
        seen: Seen,
    },
    /// A whole answer, its bytes untouched.
    Whole {
        /// The JSON body.
        body: Bytes,
        /// What was read in it.
        seen: Seen,
    },
    /// The backend's own terminator of a stream.
    Done,
}

/// The events of one answer.
pub type Events = BoxStream<'static, Result<Event, BackendError>>;

/// One attempt.
#[derive(Clone, Debug)]
pub struct Call {
    /// Leave to hand the request to this backend's provider: without one there is no call.
    pub permit: Permit,
    /// The request as the client sent it, or masked.
    pub request: Arc<WireRequest>,
    /// What the placeholders of a masked request stand for; [`crate::dial()`] puts it back.
    pub masked: Option<Arc<Values>>,
    /// The id that ties the attempts together.
    pub id: RequestId,
    /// The model by the provider's own name.
    pub model: String,
    /// Whether a stream of deltas is wanted; a local engine streams anyhow (fold it with [`crate::wire::Fold`]).
    pub stream: bool,
    /// A ceiling on output tokens that Sluice imposes; at most the client's own.
    pub max_output: Option<u64>,
    /// W3C trace context to hand on.
    pub traceparent: Option<String>,
    /// Whether somebody wants to know how sure the model is of each token, where the backend can tell.
    pub watch: bool,
}

// === impl Call ===

impl Call {
    /// The second lock: the permit has to be for whoever is about to be called.
    ///
    /// # Errors
    /// A permit for another provider.
    pub fn permitted_for(&self, provider: &ProviderName) -> Result<(), BackendError> {
        if self.permit.opens(provider) {
            return Ok(());
        }
        let why = "the permit is for another provider".to_owned();
        Err(BackendError::before_send(crate::error::Kind::Forbidden(why)))
    }
}

/// What is known of a backend's model.
#[derive(Clone, Debug)]
pub struct Description {
    /// What it can do.
    pub capabilities: Capabilities,
    /// Prompt and answer together, in tokens.
    pub context_window: Option<u64>,
    /// Bytes of memory the model takes, when known.
    pub memory_bytes: Option<u64>,
    /// What was loaded, for `/api/models`: a file, a repository, an address without credentials.
    pub source: Arc<str>,
}

/// How full the queue in front of a backend is, in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Those that wait for their turn.
    pub waiting: u64,
    /// Those that are at work.
    pub running: u64,
    /// The most that may wait; `None`: the backend does not say.
    pub most_waiting: Option<u64>,
}

/// A yes/no question to a model, answered by one constrained token.
#[derive(Clone, Debug)]
pub struct Question {
    /// Instructions.
    pub system: String,
    /// What is asked.
    pub user: String,
    /// The two answers, each a single short word; the probability of the first is wanted.
    pub words: [String; 2],
}

/// Whoever answers.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Starts an attempt and waits until it was accepted.
    ///
    /// # Errors
    /// Before anything was sent, or before the first event; later ones are in the stream.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream cancels the attempt.
    async fn call(&self, call: Call) -> Result<Events, BackendError>;

    /// Whether it can take a request now.
    fn readiness(&self) -> Readiness;

    /// Share of loading that is done, 0 to 1, where it is known.
    fn progress(&self) -> Option<f32> {
        None
    }

    /// What is known of it.
    fn describe(&self) -> Description;

    /// Predicted time to the first token of a prompt of that size, the queue included, where it is known.
    fn first_token_in(&self, _prompt_tokens: u64) -> Option<Duration> {
        None
    }

    /// How full its queue is, where there is one that it knows of. Cheap: it dials nobody.
    fn load(&self) -> Option<Load> {
        None
    }

    /// Whether a watched call ([`Call::watch`]) of this kind, for so many choices, tells how sure the model is of each token.
    fn tells(&self, _endpoint: Endpoint, _choices: u32) -> bool {
        self.describe().capabilities.logprobs
    }

    /// The probability that the model answers with the first of two words.
    ///
    /// # Errors
    /// Backends that cannot be asked say `Unsupported`.
    async fn ask(&self, _question: Question) -> Result<f32, BackendError> {
        Err(BackendError::before_send(crate::error::Kind::Unsupported("this backend cannot be asked".into())))
    }

    /// Stops taking calls and ends what runs.
    async fn shutdown(&self) {}
}
