//! What the router gives back.

use super::attempt::{Attempt, Settled, Stopped};
use crate::budgets::Exceeded;
use crate::ledger::{ArmRecord, LedgerError, Outcome};
use adapters::{BackendError, Event, Events};
use bytes::Bytes;
use futures::StreamExt;
use policies::{Location, ModelName, NanoDollars, OnExceeded, Permit, ProviderName, Refusal, RequestId};
use std::collections::VecDeque;
use std::time::Duration;

/// What is known when the head of an answer is sent.
#[derive(Clone, Debug)]
pub struct Head {
    /// The request.
    pub id: RequestId,
    /// Where the answer comes from; absent when refused.
    pub route: Option<Location>,
    /// The model that answers, by its configured name.
    pub model: Option<ModelName>,
    /// Its provider.
    pub provider: Option<ProviderName>,
    /// Why it: one machine word.
    pub reason: String,
    /// How much the strong model is needed; absent when nothing was judged.
    pub score: Option<f32>,
    /// Attempts so far.
    pub attempts: u32,
    /// Time that Sluice itself took.
    pub overhead: Duration,
    /// The budget that is nearest to its end, where that is worth saying: `team:research month 83%`.
    pub budget: Option<String>,
    /// The arm that the request is in, for its record.
    pub arm: Option<Box<ArmRecord>>,
    /// Leave to keep the answer for a repeat.
    pub cache: Option<Permit>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: AnswerBody,
}

/// Whole or streamed.
#[derive(Debug)]
pub enum AnswerBody {
    /// A JSON body, its line already on the ledger.
    Whole {
        /// The body.
        body: Bytes,
        /// What it cost; `None`: unpriced.
        cost: Option<NanoDollars>,
    },
    /// Pieces of a stream.
    Stream(Box<AnswerStream>),
}

/// A piece of a stream.
#[derive(Debug)]
pub enum Piece {
    /// One event's bytes.
    Frame(Bytes),
    /// The end; its line is on the ledger.
    End {
        /// What it cost; `None`: unpriced.
        cost: Option<NanoDollars>,
        /// Why it ended before its time.
        note: Option<String>,
    },
    /// The one error that ends a stream.
    Error(BackendError),
}

/// A stream that keeps its own account; dropping it closes the attempt as `disconnected`.
pub struct AnswerStream {
    events: Events,
    attempt: Option<Attempt>,
    first: Option<Event>,
    /// Events that were held back for a second look; the attempt has seen them.
    held: VecDeque<Event>,
    /// The latest event's bytes, where the stream may have to be ended.
    latest: Bytes,
    /// The end of a stream that had to be ended.
    ending: VecDeque<Piece>,
    include_usage: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Denied {
    /// What is known.
    pub head: Head,
    /// Who denied it.
    pub by: DeniedBy,
}

/// Who denied an answer.
#[derive(Debug)]
pub enum DeniedBy {
    /// A model that nobody configured.
    UnknownModel(String),
    /// A data class that nobody configured.
    UnknownClass(String),
    /// Constraints.
    Refusal(Box<Refusal>),
    /// Every target failed; the last one's error.
    Backend(BackendError),
    /// The ledger cannot be written.
    Ledger(LedgerError),
}

impl std::fmt::Debug for AnswerStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerStream").field("include_usage", &self.include_usage).finish_non_exhaustive()
    }
}

// === impl AnswerStream ===

impl AnswerStream {
    /// A stream whose first event is there.
    pub(super) fn new(first: Event, events: Events, attempt: Attempt, include_usage: bool) -> Self {
        let mut stream = Self::held(VecDeque::new(), events, attempt, include_usage);
        stream.first = Some(first);
        stream
    }

    /// A stream whose beginning was held back.
    pub(super) fn held(held: VecDeque<Event>, events: Events, attempt: Attempt, include_usage: bool) -> Self {
        let (latest, ending) = (Bytes::new(), VecDeque::new());
        Self { events, attempt: Some(attempt), first: None, held, latest, ending, include_usage }
    }

    /// The next piece; `None` after [`Piece::End`] or [`Piece::Error`].
    ///
    /// # Cancel safety
    /// A dropped future ends the stream: the attempt is closed, as its end or as `disconnected`.
    pub async fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.ending.pop_front() {
                return Some(piece);
            }
            let attempt = self.attempt.as_mut()?;
            let known = !self.held.is_empty();
            let event = match self.first.take().or_else(|| self.held.pop_front()) {
                Some(first) => Some(Ok(first)),
                None => self.events.next().await,
            };
            match event {
                Some(Ok(Event::Delta { frame, seen })) => {
                    if !known {
                        attempt.see(&seen);
                        if attempt.grows() {
                            self.latest = frame.clone();
                            if let Err(stopped) = attempt.afford(&seen).await {
                                self.stop(stopped).await;
                            }
                        }
                    }
                    if seen.usage_only && !self.include_usage {
                        continue;
                    }
                    return Some(Piece::Frame(frame));
                }
                Some(Ok(Event::Whole { body, seen })) => {
                    // No backend answers a stream whole; should one, its bytes are one event.
                    if !known {
                        attempt.see(&seen);
                    }
                    return Some(Piece::Frame(adapters::wire::sse::frame(&body)));
                }
                Some(Ok(Event::Done)) => {
                    let attempt = self.attempt.take()?;
                    return Some(match attempt.finish(Outcome::Ok, None, Some(200)).await {
                        Ok(Settled { cost, .. }) => Piece::End { cost, note: None },
                        Err(error) => Piece::Error(ledger_failed(&error)),
                    });
                }
                Some(Err(error)) => {
                    let attempt = self.attempt.take()?;
                    // The client must hear of it even where the ledger cannot: the opening line stands.
                    if let Err(unwritten) = attempt.finish(Outcome::Truncated, Some(error.label()), Some(200)).await {
                        tracing::error!(error = %unwritten, "cannot close an attempt on the ledger");
                    }
                    return Some(Piece::Error(error));
                }
                None => {
                    let error =
                        BackendError::streaming(adapters::Kind::Truncated("the stream ended in silence".into()));
                    let attempt = self.attempt.take()?;
                    if let Err(unwritten) = attempt.finish(Outcome::Truncated, Some(error.label()), Some(200)).await {
                        tracing::error!(error = %unwritten, "cannot close an attempt on the ledger");
                    }
                    return Some(Piece::Error(error));
                }
            }
        }
    }
}

impl AnswerStream {
    /// Stops the upstream and prepares the end that the client gets after what has come.
    async fn stop(&mut self, stopped: Stopped) {
        self.events = futures::stream::empty().boxed();
        let Some(attempt) = self.attempt.take() else { return };
        let settled = attempt.finish(Outcome::Ended, Some("budget"), Some(200)).await;
        let pieces = match (stopped, settled) {
            (Stopped::Unwritten(error), _) | (_, Err(error)) => vec![Piece::Error(ledger_failed(&error))],
            (Stopped::Exceeded(Exceeded { scope, on_exceeded: OnExceeded::Refuse, .. }), Ok(_)) => {
                vec![Piece::Error(BackendError::streaming(adapters::Kind::Budget(scope)))]
            }
            (Stopped::Exceeded(Exceeded { scope, .. }), Ok(Settled { cost, usage })) => {
                let last = adapters::wire::sse::data(&self.latest).unwrap_or_default();
                let frames = adapters::wire::closing(&last, self.include_usage.then_some(&usage));
                let end = Piece::End { cost, note: Some(format!("budget `{scope}` ended this stream")) };
                frames.into_iter().map(Piece::Frame).chain([end]).collect()
            }
        };
        self.ending = pieces.into();
    }
}

impl Drop for AnswerStream {
    /// The client has left, unless the attempt is closed already.
    fn drop(&mut self) {
        let Some(attempt) = self.attempt.take() else { return };
        let rest = std::mem::replace(&mut self.events, futures::stream::empty().boxed());
        attempt.left(futures::stream::iter(self.first.take().map(Ok)).chain(rest).boxed());
    }
}

fn ledger_failed(error: &LedgerError) -> BackendError {
    BackendError::streaming(adapters::Kind::Internal(error.to_string()))
}
