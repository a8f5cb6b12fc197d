//! A hosted call that runs beside a local answer while that one is judged.
//!
//! **Promise.** With [`CascadeConfig::hedge`](super::CascadeConfig::hedge) the first hosted target of the plan is dialled
//! while the local beginning is still held back. Turned down, the local answer is followed by that same call, already under
//! way; kept, the call is dropped and its line says `cancelled`, with what it cost. Only a target of the plan is hedged, so
//! one that every constraint admitted; it has money of its own set aside, passes its provider's breaker and is on the ledger
//! before it is dialled.
//!
//! **Why.** A rejection otherwise costs the client the held time and then a whole first token of the hosted model; here the
//! two overlap. The price is a hosted prompt for every request that is looked at, also where nobody needs the answer.
//!
//! **How.** No task: the future of the local attempt is polled first, the hedge after it, and that only up to its first
//! event, so no more of an answer than that is read that might not be wanted.
//!
//! **Failure behaviour.** No money, an open breaker: no hedge, and the request goes on as without. A hedge that fails before
//! the verdict is closed as `error` then, and the walk goes on behind it.

use super::answer::DeniedBy;
use super::attempt::Attempt;
use super::cascade::{Tried, answered, silence};
use super::walk::{Router, ShadowSeed};
use crate::ask::Ask;
use crate::ledger::{LedgerError, RequestRecord};
use adapters::wire::{Seen, WireRequest};
use adapters::{Backend, BackendError, Call, Event, Events};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, future, stream};
use policies::{Facts, Location, ModelName, RoutingDecision};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A hedged call; dropped before it is taken up it ends as `cancelled`.
pub(super) struct Hedge {
    target: ModelName,
    backend: Arc<dyn Backend>,
    /// Its guard, until it is handed on or closed.
    attempt: Option<Attempt>,
    /// Its number, and where the attempt that it accompanies learns of it.
    number: u32,
    accompanies: Arc<AtomicU32>,
    stage: Stage,
}

/// A hedged call that became the one that answers.
pub(super) struct TakenUp {
    attempt: Attempt,
    coming: Coming,
}

/// The first event and those after it.
type Coming = BoxFuture<'static, Result<(Event, Events), BackendError>>;

/// How far it has come.
enum Stage {
    /// Nobody has polled it: as if it had never been.
    Waiting(Call),
    /// Its line is being written.
    Opening(BoxFuture<'static, Result<(), LedgerError>>, Call),
    /// Its first event is awaited.
    Dialling(Coming),
    /// Its first event is here, and taken into account.
    Begun(Event, Events),
    /// It gave nothing.
    Failed(BackendError),
    /// Its line could not be written: it was not dialled.
    Unwritten(LedgerError),
    /// It was handed on.
    Over,
}

// === impl Hedge ===

impl Hedge {
    /// The model that it asks.
    pub(super) fn target(&self) -> &ModelName {
        &self.target
    }

    /// Whether it may still give an answer.
    pub(super) fn lives(&self) -> bool {
        !matches!(self.stage, Stage::Failed(_) | Stage::Unwritten(_) | Stage::Over)
    }

    fn abandon(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            attempt.abandon();
        }
    }

    /// Goes on to the first event, or to what prevents it.
    ///
    /// # Cancel safety
    /// Cancel safe: the next call goes on where this one was.
    async fn advance(&mut self) {
        while self.opened().await {
            let Stage::Dialling(dialling) = &mut self.stage else { return };
            match dialling.await {
                Ok((first, events)) => {
                    let first = self.see(first);
                    self.stage = Stage::Begun(first, events);
                }
                Err(error) => self.stage = Stage::Failed(error),
            }
        }
    }

    /// Goes on until its line is written, and says whether a first event is still to come.
    async fn opened(&mut self) -> bool {
        loop {
            match &mut self.stage {
                Stage::Waiting(_) => {
                    let Some(attempt) = &self.attempt else { return false };
                    let opening = attempt.opening().boxed();
                    self.accompanies.fetch_max(self.number, Ordering::Relaxed);
                    if let Stage::Waiting(call) = std::mem::replace(&mut self.stage, Stage::Over) {
                        self.stage = Stage::Opening(opening, call);
                    }
                }
                Stage::Opening(opening, _) => {
                    let written = opening.await;
                    let Stage::Opening(_, call) = std::mem::replace(&mut self.stage, Stage::Over) else { return false };
                    self.stage = match written {
                        Ok(()) => Stage::Dialling(dial(self.backend.clone(), call).boxed()),
                        Err(error) => Stage::Unwritten(error),
                    };
                    if let (Stage::Dialling(_), Some(attempt)) = (&self.stage, &mut self.attempt) {
                        attempt.opened();
                    }
                }
                Stage::Dialling(_) => return true,
                Stage::Begun(..) | Stage::Failed(_) | Stage::Unwritten(_) | Stage::Over => return false,
            }
        }
    }

    /// Takes the first event into account; what was read in it is not to be counted again when it is handed on.
    fn see(&mut self, first: Event) -> Event {
        let mut take = |seen: Seen| {
            if let Some(attempt) = &mut self.attempt {
                attempt.see(&seen);
            }
            Seen { usage_only: seen.usage_only, finish: seen.finish, ..Seen::default() }
        };
        match first {
            Event::Delta { frame, seen } => Event::Delta { frame, seen: take(seen) },
            Event::Whole { body, seen } => Event::Whole { body, seen: take(seen) },
            Event::Done => Event::Done,
        }
    }

    /// Closes it where it failed: it is over before anybody asked for it.
    async fn bury(&mut self) {
        match &self.stage {
            Stage::Failed(error) => {
                if let Some(attempt) = self.attempt.take() {
                    tracing::debug!(error = %error, model = %self.target, "a hedged attempt failed");
                    attempt.fail(error).await;
                }
            }
            Stage::Unwritten(_) => self.abandon(),
            Stage::Waiting(_) | Stage::Opening(..) | Stage::Dialling(_) | Stage::Begun(..) | Stage::Over => {}
        }
    }

    /// Why it gave nothing, and whether the next target may be tried.
    pub(super) fn failure(&self) -> Option<(DeniedBy, bool)> {
        match &self.stage {
            Stage::Failed(error) => Some((DeniedBy::Backend(error.clone()), error.next_target_may_try())),
            Stage::Unwritten(error) => Some((DeniedBy::Ledger(error.clone()), true)),
            Stage::Waiting(_) | Stage::Opening(..) | Stage::Dialling(_) | Stage::Begun(..) | Stage::Over => None,
        }
    }

    /// Makes it the attempt that answers: from here on it guards the request's record.
    ///
    /// # Errors
    /// Its line cannot be written; it was not dialled.
    ///
    /// # Cancel safety
    /// Dropping the future ends it as `disconnected`.
    pub(super) async fn take_up(
        mut self,
        record: RequestRecord,
        shadow: Option<Box<ShadowSeed>>,
    ) -> Result<TakenUp, (LedgerError, Option<RequestRecord>)> {
        match &mut self.attempt {
            Some(attempt) => attempt.entrust(record, shadow),
            None => return Err((LedgerError::Closed, Some(record))),
        }
        self.opened().await;
        let Some(attempt) = self.attempt.take() else { return Err((LedgerError::Closed, None)) };
        let coming = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Dialling(coming) => coming,
            Stage::Begun(first, events) => future::ready(Ok((first, events))).boxed(),
            Stage::Failed(error) => future::ready(Err(error)).boxed(),
            Stage::Unwritten(error) => return Err((error, attempt.abandon())),
            Stage::Waiting(_) | Stage::Opening(..) | Stage::Over => future::ready(Err(silence())).boxed(),
        };
        Ok(TakenUp { attempt, coming })
    }
}

impl Drop for Hedge {
    fn drop(&mut self) {
        // Never polled, it never was.
        if matches!(self.stage, Stage::Waiting(_)) {
            self.abandon();
        }
    }
}

// === impl TakenUp ===

impl TakenUp {
    /// Goes on with it as with any attempt.
    ///
    /// # Cancel safety
    /// Dropping the future ends it as `disconnected`.
    pub(super) async fn go_on(self, request: &WireRequest) -> Result<Tried, (BackendError, Attempt)> {
        let Self { attempt, coming } = self;
        match coming.await {
            Ok((first, events)) => answered(request, stream::iter([Ok(first)]).chain(events).boxed(), attempt).await,
            Err(error) => Err((error, attempt)),
        }
    }
}

/// Polls `main`, and, while that waits, a hedge.
///
/// # Cancel safety
/// As `main`.
pub(super) async fn beside<T>(hedge: &mut Option<Hedge>, mut main: Pin<Box<impl Future<Output = T>>>) -> T {
    if let Some(hedge) = hedge {
        let side = Box::pin(async {
            hedge.advance().await;
            hedge.bury().await;
        });
        tokio::select! {
            biased;
            done = &mut main => return done,
            () = side => {}
        }
    }
    main.await
}

async fn dial(backend: Arc<dyn Backend>, call: Call) -> Result<(Event, Events), BackendError> {
    let mut events = adapters::dial(&*backend, call).await?;
    match events.next().await {
        Some(Ok(first)) => Ok((first, events)),
        Some(Err(error)) => Err(error),
        None => Err(silence()),
    }
}

// === impl Router ===

impl Router {
    /// Prepares the hedge of an attempt whose answer is looked at; nothing is dialled before it is polled.
    pub(super) async fn hedge(
        &self,
        (ask, facts, decision): (&Ask, &Facts, &RoutingDecision),
        accompanies: &Attempt,
        number: u32,
    ) -> Option<Hedge> {
        let config = &self.config.cascade;
        if !config.hedge || config.observe {
            return None;
        }
        // The plan holds nobody whom a constraint refused.
        let mut planned = decision.plan.targets().iter().filter_map(|target| self.fleet.get(target));
        let model = planned.find(|model| model.provider.location == Location::Hosted)?;
        let seen = decision.considered.iter().find(|seen| seen.candidate.model == model.name)?;
        let entered = self.enter(facts, decision, seen, model).await.ok()?;
        let call = self.call((ask, facts), model, seen, &entered);
        let start = self.start((ask, facts), model, seen, entered.reserved, number);
        Some(Hedge {
            target: model.name.clone(),
            backend: model.provider.backend.clone(),
            attempt: Some(Attempt::prepare(start)),
            number,
            accompanies: accompanies.accompanied(),
            stage: Stage::Waiting(call),
        })
    }
}
