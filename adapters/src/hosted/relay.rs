//! What comes back: events, each checked in passing.

use super::{Timeouts, capped, capped_or, cause};
use crate::backend::{Event, Events};
use crate::error::{BackendError, Clock, Kind, Phase};
use crate::wire::anthropic::{self, Chunks};
use crate::wire::sse::{self, Splitter};
use crate::wire::{Seen, certainty_in, error_in, seen_in_chunk, seen_in_vectors, seen_in_whole, without_logprobs};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use reqwest::header::CONTENT_TYPE;
use std::collections::VecDeque;
use tokio::time::Instant;

/// The largest whole answer that is text: sixteen million tokens are none that a model writes.
const MAX_ANSWER: usize = 64 << 20;

/// An answer of vectors that is larger is read elsewhere than on a thread that serves.
const READ_ASIDE: usize = 1 << 20;

/// What is read in an answer besides what is in every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing.
    Plain,
    /// How sure the model is of its tokens, which the client asked for.
    Certainty,
    /// The same; nobody but Sluice asked for it, so it is taken out.
    AndTaken,
    /// It is an answer of vectors: only its tokens are read.
    Vectors,
    /// It is a message of Anthropic's, and becomes a chat answer.
    Message,
}

struct Relay {
    reading: Reading,
    /// What makes chunks of a message's events.
    chunks: Option<Chunks>,
    /// Events that are made and not handed on yet.
    ready: VecDeque<Event>,
    response: reqwest::Response,
    splitter: Splitter,
    clocks: Timeouts,
    end: Instant,
    phase: Phase,
    finished: bool,
    over: bool,
}

/// Reads a whole answer, of vectors so many bytes at most.
pub(super) async fn whole(
    response: reqwest::Response,
    end: Instant,
    reading: Reading,
    most_vectors: u64,
) -> Result<Events, BackendError> {
    let error = BackendError::begun;
    let reading_body = async {
        match reading {
            Reading::Vectors => {
                let most = usize::try_from(most_vectors).unwrap_or(usize::MAX);
                capped_or(response, most, || Kind::TooLarge { most: most_vectors }).await
            }
            Reading::Plain | Reading::Certainty | Reading::AndTaken | Reading::Message => {
                capped(response, MAX_ANSWER).await
            }
        }
    };
    // One event: its gap is the time to the whole body, bounded by the total.
    let body = match tokio::time::timeout_at(end, reading_body).await {
        Err(_) => return Err(error(Kind::Timeout(Clock::Total))),
        Ok(Err(kind)) => return Err(error(kind)),
        Ok(Ok(body)) => body,
    };
    if reading == Reading::Message
        && let Some((body, seen)) = anthropic::completion(&body, now())
    {
        return Ok(stream::iter([Ok(Event::Whole { body, seen })]).boxed());
    }
    let seen = match reading {
        Reading::Vectors if body.len() > READ_ASIDE => {
            let (whole, broken) = (body.clone(), "reading the answer ended without a result");
            let read = tokio::task::spawn_blocking(move || seen_in_vectors(&whole)).await;
            read.map_err(|_| error(Kind::Internal(broken.into())))?
        }
        Reading::Vectors => seen_in_vectors(&body),
        Reading::Message => None,
        Reading::Plain | Reading::Certainty | Reading::AndTaken => seen_in_whole(&body),
    };
    let Some(seen) = seen else {
        if error_in(&body) {
            return Err(error(Kind::InStream));
        }
        return Err(error(Kind::Protocol("the answer is not a JSON object of the expected form".into())));
    };
    if seen.text.is_empty() && seen.finish.is_none() && seen.usage.is_none() {
        let kind = if error_in(&body) { Kind::InStream } else { Kind::Protocol("the answer has no choices".into()) };
        return Err(error(kind));
    }
    let (seen, taken) = reading.apply(seen, &body);
    Ok(stream::iter([Ok(Event::Whole { body: taken.unwrap_or(body), seen })]).boxed())
}

/// Relays a stream; waits for its first event.
pub(super) async fn streamed(
    response: reqwest::Response,
    clocks: Timeouts,
    end: Instant,
    reading: Reading,
) -> Result<Events, BackendError> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_stream = kind.to_ascii_lowercase().starts_with("text/event-stream");
    if !is_stream {
        let read = tokio::time::timeout_at(end, capped(response, super::MAX_ERROR_BODY)).await;
        let kind = match read {
            Ok(Ok(body)) if error_in(&body) => Kind::InStream,
            Ok(Ok(_) | Err(_)) | Err(_) => Kind::Protocol("a stream was asked for, something else came".into()),
        };
        return Err(BackendError::begun(kind));
    }
    let mut relay = Relay {
        reading,
        chunks: (reading == Reading::Message).then(|| Chunks::new(now())),
        ready: VecDeque::new(),
        response,
        splitter: Splitter::default(),
        clocks,
        end,
        phase: Phase::Begun,
        finished: false,
        over: false,
    };
    let first = match relay.next().await {
        Some(Ok(event)) => event,
        Some(Err(error)) => return Err(error),
        None => return Err(BackendError::begun(Kind::Truncated("the stream was empty".into()))),
    };
    let rest = stream::unfold(relay, |mut relay| async move { relay.next().await.map(|event| (event, relay)) });
    Ok(stream::iter([Ok(first)]).chain(rest).boxed())
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

// === impl Reading ===

impl Reading {
    /// What was seen, and the payload without what nobody but Sluice asked for, where that was in it.
    fn apply(self, seen: Seen, payload: &[u8]) -> (Seen, Option<Bytes>) {
        match self {
            Self::Plain | Self::Vectors | Self::Message => (seen, None),
            Self::Certainty => (Seen { certainty: certainty_in(payload), ..seen }, None),
            Self::AndTaken => (Seen { certainty: certainty_in(payload), ..seen }, without_logprobs(payload)),
        }
    }
}

// === impl Relay ===

impl Relay {
    /// The next event; `None` after the end or the one error.
    async fn next(&mut self) -> Option<Result<Event, BackendError>> {
        if self.over {
            return None;
        }
        let event = self.advance().await;
        match &event {
            Ok(Event::Delta { .. } | Event::Whole { .. }) => self.phase = Phase::Streaming,
            Ok(Event::Done) | Err(_) => self.over = true,
        }
        Some(event.map_err(|kind| BackendError { kind, phase: self.phase }))
    }

    async fn advance(&mut self) -> Result<Event, Kind> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            while let Some(bytes) = self.splitter.next_event() {
                if let Some(event) = self.read(bytes)? {
                    return Ok(event);
                }
            }
            let (gap, clock) = match self.phase {
                Phase::BeforeSend | Phase::BeforeFirstEvent | Phase::Begun => {
                    (self.clocks.first_event, Clock::FirstEvent)
                }
                Phase::Streaming => (self.clocks.idle, Clock::Idle),
            };
            let until = self.end.min(Instant::now() + gap);
            let clock = if until == self.end { Clock::Total } else { clock };
            match tokio::time::timeout_at(until, self.response.chunk()).await {
                Err(_) => return Err(Kind::Timeout(clock)),
                Ok(Err(error)) => return Err(Kind::Truncated(cause(&error))),
                Ok(Ok(Some(chunk))) => {
                    let pushed = self.splitter.push(&chunk);
                    pushed.map_err(|_| Kind::Protocol("an event is too large".into()))?;
                }
                Ok(Ok(None)) => {
                    // The last event may lack its blank line; one that was cut is not an event.
                    let rest = self.splitter.rest();
                    if let (Some(chunks), Some(payload)) = (&mut self.chunks, sse::data(&rest)) {
                        self.ready.extend(chunks.event(&payload).unwrap_or_default());
                        if let Some(event) = self.ready.pop_front() {
                            return Ok(event);
                        }
                    }
                    if sse::data(&rest).is_some_and(|payload| &payload[..] == b"[DONE]") && self.finished {
                        return Ok(Event::Done);
                    }
                    return Err(Kind::Truncated("the stream ended without its terminator".into()));
                }
            }
        }
    }

    /// Reads one event; `None` for what is passed over.
    fn read(&mut self, bytes: Bytes) -> Result<Option<Event>, Kind> {
        let Some(payload) = sse::data(&bytes) else {
            // A comment: a heartbeat. Before the first event nothing may reach the client.
            let heartbeat = self.phase == Phase::Streaming;
            return Ok(heartbeat.then(|| Event::Delta { frame: bytes, seen: Seen::default() }));
        };
        if let Some(chunks) = &mut self.chunks {
            self.ready.extend(chunks.event(&payload)?);
            return Ok(self.ready.pop_front());
        }
        if &payload[..] == b"[DONE]" {
            return if self.finished {
                Ok(Some(Event::Done))
            } else {
                Err(Kind::Truncated("the stream ended without a finish reason".into()))
            };
        }
        if sse::event_type(&bytes) == Some("error") {
            return Err(Kind::InStream);
        }
        let Some(seen) = seen_in_chunk(&payload) else {
            return Err(Kind::Protocol("an event is not a JSON object of the expected form".into()));
        };
        let says_nothing = seen.text.is_empty() && seen.finish.is_none() && seen.usage.is_none();
        if says_nothing && error_in(&payload) {
            return Err(Kind::InStream);
        }
        self.finished |= seen.finish.is_some();
        let (seen, taken) = self.reading.apply(seen, &payload);
        let frame = taken.map_or(bytes, |payload| [b"data: ", &payload[..], b"\n\n"].concat().into());
        Ok(Some(Event::Delta { frame, seen }))
    }
}
