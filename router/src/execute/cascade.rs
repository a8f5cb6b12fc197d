//! The second look: a local answer is judged before the client sees any of it.
//!
//! **Promise.** Where the need was too close to call, the local model begins at once and a short beginning of its answer
//! is held back: at most [`CascadeConfig::hold_tokens`] tokens, and no longer than [`CascadeConfig::hold`] or half of what
//! the first token took, whichever is more. Sure enough: the held events go out, then everything streams. Not: the
//! generation is stopped, its tokens are on the ledger as `rejected`, and the next target is tried; no byte of it was
//! sent. A whole answer is judged whole; with `samples = 2` a short one that is hard to tell by a second sample ([`agree`]).
//! With [`CascadeConfig::hedge`] the next target is dialled meanwhile ([`super::hedge`]).
//!
//! **How sure is sure.** The threshold is the running median of the doubts seen lately, so half of the requests in the
//! symmetric band go to the strong side and `hosted_share` is kept.
//!
//! **Failure behaviour.** A backend that does not tell how sure it is gives no ground to doubt: its answer streams at once. One that
//! has kept silent [`SILENT`] times in a row is not asked to begin what it cannot be watched at: for [`BELIEVED`] the threshold alone
//! decides there, as it does where a backend says beforehand that it tells nothing ([`adapters::Backend::tells`]).
//! When everybody after a rejected answer fails, the local model is asked once more, unwatched: a weak answer is better
//! than none.

use super::agree::{self, Again, Agreement};
use super::answer::AnswerStream;
use super::attempt::Attempt;
use crate::classify::{AnswerHead, Counted, Doubt, Draft, Share, Wanted};
use crate::fleet::Model;
use adapters::wire::{Fold, WireRequest};
use adapters::{BackendError, Call, Event, Events, Kind, Phase};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use policies::ModelName;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Tokens after which a beginning is looked at, and how far from the threshold its doubt has to be to settle it then.
const LOOKS: [(usize, f32); 4] = [(2, 0.25), (4, 0.2), (8, 0.12), (16, 0.06)];

/// `[router.cascade]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CascadeConfig {
    /// Requests within this rank (0 to 1) of the threshold, on either side, are looked at; 0 switches it off.
    pub width: f32,
    /// Judge and put on record, but keep every answer.
    pub observe: bool,
    /// The most tokens that are held back.
    pub hold_tokens: usize,
    /// How long a beginning may be held back at least.
    pub hold: Duration,
    /// The hosted call is begun while the local answer is judged.
    pub hedge: bool,
    /// How often a short whole answer that is hard to tell is drawn: once, or twice and compared.
    pub samples: u8,
}

/// Answers in a row without a word on how sure the model is, after which it is taken for one that does not tell.
const SILENT: u32 = 3;
/// How long that is believed: its server may be another one by then.
const BELIEVED: Duration = Duration::from_secs(600);

/// What a second look works with; outlives a reload.
#[derive(Debug)]
pub struct Cascade {
    doubts: Share,
    counts: [AtomicU64; VERDICTS.len()],
    /// Models whose last watched answers told nothing: how many did not, and when the last of them came.
    silent: Mutex<HashMap<ModelName, (u32, Instant)>>,
}

/// What a second look can come to.
const VERDICTS: [&str; 3] = ["kept", "escalated", "would_escalate"];

/// A second look at one attempt.
pub(super) struct Watch<'a> {
    pub(super) cascade: Arc<Cascade>,
    pub(super) config: CascadeConfig,
    pub(super) wanted: Wanted,
    pub(super) again: Again<'a>,
}

/// A whole answer whose doubt is too near to the threshold to settle it.
pub(super) struct Unsure<'a> {
    body: Bytes,
    attempt: Attempt,
    draft: Draft,
    watch: Watch<'a>,
}

/// What came of a second look, as the record keeps it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Look {
    verdict: &'static str,
    wrong: f32,
    threshold: f32,
    tokens: usize,
    whole: bool,
    /// What a second sample said, where one was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<Agreement>,
    head: &'static str,
    features: Vec<(&'static str, f32)>,
}

/// What came of an attempt that did not fail.
pub(super) enum Tried {
    /// The client gets this stream.
    Streams(Box<AnswerStream>),
    /// The client gets this body, once the attempt's end is on the ledger.
    Whole(Bytes, Attempt),
    /// It was looked at and not found good enough; the generation is stopped.
    Rejected(Attempt),
}

// === impl Cascade ===

impl Default for Cascade {
    fn default() -> Self {
        Self { doubts: Share::new(0.5, &[]), counts: Default::default(), silent: Mutex::default() }
    }
}

impl Cascade {
    /// How often each verdict was given since the start.
    pub fn verdicts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        VERDICTS.into_iter().zip(&self.counts).map(|(verdict, count)| (verdict, count.load(Ordering::Relaxed)))
    }

    fn count(&self, verdict: &str) {
        let counts = VERDICTS.iter().zip(&self.counts).filter(|(known, _)| **known == verdict);
        counts.for_each(|(_, count)| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Whether a model has kept silent on how sure it is whenever it was watched lately.
    pub(super) fn is_silent(&self, model: &ModelName) -> bool {
        let silent = self.silent.lock();
        silent.get(model).is_some_and(|(times, last)| *times >= SILENT && last.elapsed() < BELIEVED)
    }

    fn heard(&self, model: &ModelName, told: bool) {
        let mut silent = self.silent.lock();
        if told {
            silent.remove(model);
            return;
        }
        let (times, last) = silent.entry(model.clone()).or_insert((0, Instant::now()));
        (*times, *last) = (times.saturating_add(1), Instant::now());
        if *times == SILENT {
            tracing::info!(%model, "does not tell how sure it is: for a while its answers get no second look");
        }
    }

    /// Goes on where an earlier life stopped, with what the last second looks found, the oldest first.
    pub(super) fn resume(&self, looks: &[Counted]) {
        self.doubts.resume(looks);
    }
}

// === impl Watch ===

impl Watch<'_> {
    fn doubt(&self, draft: &Draft) -> Doubt {
        AnswerHead::bundled().doubt(draft, self.wanted)
    }

    /// Takes note of whether the model told how sure it is. A client who has a word in that may have had it not told.
    fn heard(&self, draft: &Draft) {
        let Again { ask, model, .. } = self.again;
        if (draft.has_text() || draft.tokens() > 0) && ask.request.raw.field("logprobs").is_none() {
            self.cascade.heard(&model.name, draft.tokens() > 0);
        }
    }

    /// Settles it, whichever way; `margin` is what a beginning has to be away from the threshold to be settled already.
    fn settle(&self, draft: &Draft, margin: Option<f32>) -> Option<Look> {
        let doubt = self.doubt(draft);
        let threshold = self.cascade.doubts.threshold();
        if margin.is_some_and(|margin| (doubt.wrong - threshold).abs() < margin) {
            return None;
        }
        let rejected = doubt.wrong >= threshold;
        Some(self.look(draft, doubt, threshold, rejected, None))
    }

    /// Settles it by what a second sample said.
    fn settle_by(&self, draft: &Draft, agreement: Agreement) -> Look {
        let (doubt, threshold) = (self.doubt(draft), self.cascade.doubts.threshold());
        let rejected = match agreement {
            Agreement::Agreed => false,
            Agreement::Differed => true,
            Agreement::Failed => doubt.wrong >= threshold,
        };
        self.look(draft, doubt, threshold, rejected, Some(agreement))
    }

    /// Whether a second sample should settle it.
    fn wants_another(&self, request: &WireRequest, draft: &Draft) -> bool {
        let distance = || (self.doubt(draft).wrong - self.cascade.doubts.threshold()).abs();
        self.config.samples > 1
            && draft.finished()
            && draft.tokens() <= agree::SHORT
            && agree::tells(request, draft.text())
            && distance() < agree::UNSURE
    }

    fn look(&self, draft: &Draft, doubt: Doubt, threshold: f32, rejected: bool, agreement: Option<Agreement>) -> Look {
        self.cascade.doubts.observe(doubt.wrong, rejected);
        let verdict = match (rejected, self.config.observe) {
            (true, false) => "escalated",
            (true, true) => "would_escalate",
            (false, _) => "kept",
        };
        self.cascade.count(verdict);
        Look {
            verdict,
            wrong: doubt.wrong,
            threshold,
            tokens: draft.tokens(),
            whole: draft.finished(),
            agreement,
            head: &AnswerHead::bundled().version,
            features: doubt.features,
        }
    }
}

// === impl Unsure ===

impl<'a> Unsure<'a> {
    pub(super) fn again(&self) -> Again<'a> {
        self.watch.again
    }

    pub(super) fn text(&self) -> &str {
        self.draft.text()
    }

    /// Puts on record that the second sample was begun.
    pub(super) fn accompanied_by(&self, number: u32) {
        self.attempt.accompanied().fetch_max(number, Ordering::Relaxed);
    }

    pub(super) fn settle(self, agreement: Agreement) -> Tried {
        let look = self.watch.settle_by(&self.draft, agreement);
        judged(self.body, self.attempt, Some(look))
    }
}

// === impl Look ===

impl Look {
    fn rejects(&self) -> bool {
        self.verdict == "escalated"
    }
}

/// One attempt up to its first event (a stream), to the end of its second look (a watched one) or to its last byte (a
/// whole answer).
///
/// # Cancel safety
/// Dropping the future ends the attempt as `disconnected`.
pub(super) async fn attempt(
    request: &WireRequest,
    model: &Model,
    call: Call,
    attempt: Attempt,
    watch: Option<Watch<'_>>,
) -> Result<Tried, (BackendError, Attempt)> {
    let began = Instant::now();
    let events = match adapters::dial(&*model.provider.backend, call).await {
        Ok(events) => events,
        Err(error) => return Err((error, attempt)),
    };
    match (request.view.stream, watch) {
        (_, None) => answered(request, events, attempt).await,
        (true, Some(watch)) => Box::pin(held(request, events, attempt, watch, began)).await,
        (false, watch) => whole(request, events, attempt, watch).await,
    }
}

/// An answer that nobody looks at.
///
/// # Cancel safety
/// Dropping the future ends the attempt as `disconnected`.
pub(super) async fn answered(
    request: &WireRequest,
    events: Events,
    attempt: Attempt,
) -> Result<Tried, (BackendError, Attempt)> {
    match request.view.stream {
        true => streamed(request, events, attempt).await,
        false => whole(request, events, attempt, None).await,
    }
}

async fn streamed(
    request: &WireRequest,
    mut events: Events,
    attempt: Attempt,
) -> Result<Tried, (BackendError, Attempt)> {
    match events.next().await {
        Some(Ok(first)) => {
            let stream = AnswerStream::new(first, events, attempt, request.view.include_usage);
            Ok(Tried::Streams(Box::new(stream)))
        }
        Some(Err(error)) => Err((error, attempt)),
        None => Err((silence(), attempt)),
    }
}

/// Holds the beginning of a stream back until it is judged.
async fn held(
    request: &WireRequest,
    mut events: Events,
    mut attempt: Attempt,
    watch: Watch<'_>,
    began: Instant,
) -> Result<Tried, (BackendError, Attempt)> {
    let mut draft = Draft::default();
    let mut waiting = VecDeque::new();
    let mut until: Option<Instant> = None;
    let look = loop {
        let next = match until {
            None => events.next().await,
            Some(until) => match tokio::time::timeout_at(until, events.next()).await {
                Ok(next) => next,
                // Held for as long as a reader can bear.
                Err(_) => break watch.settle(&draft, None),
            },
        };
        let before = draft.tokens();
        match next {
            Some(Ok(Event::Delta { frame, seen })) => {
                attempt.see(&seen);
                draft.push(&seen);
                waiting.push_back(Event::Delta { frame, seen });
            }
            Some(Ok(event @ (Event::Done | Event::Whole { .. }))) => {
                waiting.push_back(event);
                break watch.settle(&draft, None);
            }
            // Nothing has reached the client: as good as before the first event.
            Some(Err(error)) => return Err((BackendError { phase: Phase::BeforeFirstEvent, ..error }, attempt)),
            None => return Err((silence(), attempt)),
        }
        if draft.tokens() == 0 {
            if draft.has_text() {
                // This backend does not tell how sure it is.
                break None;
            }
            continue;
        }
        let patience = watch.config.hold.max(began.elapsed() / 2);
        let _ = until.get_or_insert_with(|| Instant::now() + patience);
        if draft.finished() {
            continue;
        }
        if draft.tokens() >= watch.config.hold_tokens {
            break watch.settle(&draft, None);
        }
        // Observing, nothing is won by settling early: the features of the longest beginning are.
        let looks = if watch.config.observe { &[] } else { LOOKS.as_slice() };
        let due = looks.iter().find(|(tokens, _)| before < *tokens && draft.tokens() >= *tokens);
        if let Some((_, margin)) = due
            && let Some(look) = watch.settle(&draft, Some(*margin))
        {
            break Some(look);
        }
    };
    watch.heard(&draft);
    attempt.looked_at(look.as_ref());
    if look.is_some_and(|look| look.rejects()) {
        return Ok(Tried::Rejected(attempt));
    }
    let stream = AnswerStream::held(waiting, events, attempt, request.view.include_usage);
    Ok(Tried::Streams(Box::new(stream)))
}

/// A whole answer; folded where the backend streams, judged where it is watched.
async fn whole(
    request: &WireRequest,
    mut events: Events,
    mut attempt: Attempt,
    watch: Option<Watch<'_>>,
) -> Result<Tried, (BackendError, Attempt)> {
    let mut fold = Fold::new(request.endpoint);
    let mut draft = Draft::default();
    let body: Bytes = loop {
        match events.next().await {
            Some(Ok(Event::Whole { body, seen })) => {
                attempt.see(&seen);
                if watch.is_some() {
                    draft.push(&seen);
                }
                break body;
            }
            Some(Ok(Event::Delta { frame, seen })) => {
                attempt.see(&seen);
                if watch.is_some() {
                    draft.push(&seen);
                }
                if let Some(payload) = adapters::wire::sse::data(&frame) {
                    fold.push(&payload);
                }
            }
            Some(Ok(Event::Done)) => break Bytes::from(fold.finish().to_string()),
            // Nothing has reached the client: as good as before the first event.
            Some(Err(error)) => return Err((BackendError { phase: Phase::BeforeFirstEvent, ..error }, attempt)),
            None => return Err((silence(), attempt)),
        }
    };
    watch.iter().for_each(|watch| watch.heard(&draft));
    Ok(match watch.filter(|_| draft.tokens() > 0) {
        None => Tried::Whole(body, attempt),
        Some(watch) if watch.wants_another(request, &draft) => {
            Box::pin(agree::settle(Unsure { body, attempt, draft, watch })).await
        }
        Some(watch) => judged(body, attempt, watch.settle(&draft, None)),
    })
}

fn judged(body: Bytes, mut attempt: Attempt, look: Option<Look>) -> Tried {
    attempt.looked_at(look.as_ref());
    match look {
        Some(look) if look.rejects() => Tried::Rejected(attempt),
        Some(_) | None => Tried::Whole(body, attempt),
    }
}

pub(super) fn silence() -> BackendError {
    BackendError::before_first_event(Kind::Truncated("the stream ended in silence".into()))
}
