//! A backend that plays a script: for tests of what lies to the right.

use crate::backend::{Backend, Call, Description, Event, Events, Question};
use crate::error::{BackendError, Kind};
use crate::wire::{Certainty, Seen, seen_in_chunk, seen_in_whole, sse};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;
use policies::{Capabilities, Readiness};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one call does.
#[derive(Clone, Debug)]
pub enum Play {
    /// It fails at once.
    Fail(BackendError),
    /// It streams these payloads, then `[DONE]`, or the error.
    Stream(Vec<String>, Option<BackendError>),
    /// It streams these payloads, one token each, and tells how sure it is of them; then `[DONE]`.
    Told(Vec<(String, Certainty)>),
    /// It gives a whole answer.
    Whole(String),
    /// It never answers.
    Hang,
    /// It panics.
    Panic,
}

/// A scripted backend; when the script is over, the last entry repeats.
#[derive(Debug)]
pub struct Scripted {
    script: Mutex<VecDeque<Play>>,
    calls: AtomicUsize,
    readiness: Mutex<Readiness>,
    probability: Option<f32>,
}

// === impl Scripted ===

impl Scripted {
    /// A backend that plays `script`.
    pub fn new(script: impl IntoIterator<Item = Play>) -> Self {
        Self {
            script: Mutex::new(script.into_iter().collect()),
            calls: AtomicUsize::new(0),
            readiness: Mutex::new(Readiness::Ready),
            probability: None,
        }
    }

    /// Answers questions with this probability.
    #[must_use]
    pub fn answering(mut self, probability: f32) -> Self {
        self.probability = Some(probability);
        self
    }

    /// How many calls have come.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Changes the readiness.
    pub fn set_readiness(&self, readiness: Readiness) {
        *self.readiness.lock() = readiness;
    }
}

#[async_trait]
impl Backend for Scripted {
    #[expect(clippy::panic, reason = "a script may ask for a panic")]
    async fn call(&self, _call: Call) -> Result<Events, BackendError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let play = {
            let mut script = self.script.lock();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        match play {
            None | Some(Play::Hang) => {
                std::future::pending::<()>().await;
                Err(BackendError::before_send(Kind::Internal("unreachable".into())))
            }
            Some(Play::Panic) => panic!("scripted panic"),
            Some(Play::Fail(error)) => Err(error),
            Some(Play::Whole(body)) => {
                let seen = seen_in_whole(body.as_bytes()).unwrap_or_default();
                Ok(stream::iter([Ok(Event::Whole { body: Bytes::from(body), seen })]).boxed())
            }
            Some(Play::Stream(payloads, error)) => {
                let deltas = payloads.into_iter().map(|payload| {
                    let seen: Seen = seen_in_chunk(payload.as_bytes()).unwrap_or_default();
                    Ok(Event::Delta { frame: sse::frame(payload.as_bytes()), seen })
                });
                let end = match error {
                    Some(error) => Err(error),
                    None => Ok(Event::Done),
                };
                Ok(stream::iter(deltas.chain([end]).collect::<Vec<_>>()).boxed())
            }
            Some(Play::Told(tokens)) => {
                let deltas = tokens.into_iter().map(|(payload, certainty)| {
                    let seen: Seen = seen_in_chunk(payload.as_bytes()).unwrap_or_default();
                    let seen = Seen { certainty: vec![certainty], ..seen };
                    Ok(Event::Delta { frame: sse::frame(payload.as_bytes()), seen })
                });
                Ok(stream::iter(deltas.chain([Ok(Event::Done)]).collect::<Vec<_>>()).boxed())
            }
        }
    }

    fn readiness(&self) -> Readiness {
        self.readiness.lock().clone()
    }

    fn describe(&self) -> Description {
        Description {
            capabilities: Capabilities::ALL,
            context_window: None,
            memory_bytes: None,
            source: "scripted".into(),
        }
    }

    async fn ask(&self, _question: Question) -> Result<f32, BackendError> {
        self.probability
            .ok_or_else(|| BackendError::before_send(Kind::Unsupported("this script cannot be asked".into())))
    }
}
