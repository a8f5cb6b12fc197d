//! A sampled share of requests is answered by the other side, too, for comparison.
//!
//! **Promise.** It starts after the client has its answer and delays nobody; it goes only to a target that every
//! constraint admitted for this very request; its money is reserved beforehand and on the ledger under its own purpose.
//! Both texts are stored, since comparing is what they are for: off by default.

use crate::ask::Ask;
use crate::budgets::Hold;
use crate::fleet::{Model, local_cost};
use crate::ledger::{AttemptClose, AttemptOpen, Ledger, Outcome, ShadowRecord};
use crate::observe::Observer;
use adapters::wire::Seen;
use adapters::{BackendError, Call, Event};
use futures::StreamExt;
use policies::{Amount, Counted, LocalCost, ModelName, NanoDollars, Permit, Usage};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// The attempt number of shadows: beyond every plan, so that it never meets an answer's.
pub(crate) const ATTEMPT: u32 = 1_000;

/// A configured shadow experiment.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// `[experiments.NAME]`.
    pub name: String,
    /// Share of requests, 0 to 1.
    pub share: f32,
}

/// A shadow that will run when the client has its answer; dropped without running it costs nothing.
pub(crate) struct ShadowSeed {
    pub(crate) experiment: String,
    pub(crate) served: ModelName,
    pub(crate) ask: Ask,
    pub(crate) model: Model,
    /// Leave to ask the model.
    pub(crate) permit: Permit,
    /// Leave to keep both texts.
    pub(crate) keep: Permit,
    pub(crate) open: Arc<AttemptOpen>,
    pub(crate) hold: Option<Hold>,
    pub(crate) max_output: Option<u64>,
    pub(crate) local_cost: Option<LocalCost>,
    pub(crate) ledger: Ledger,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) tasks: TaskTracker,
}

// === impl Shadow ===

impl Shadow {
    /// Draws whether this request is shadowed.
    pub fn drawn(&self) -> bool {
        rand::random::<f32>() < self.share
    }
}

// === impl ShadowSeed ===

impl Drop for ShadowSeed {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            hold.settle(Amount::default());
        }
    }
}

impl ShadowSeed {
    /// Answers in the background.
    pub(crate) fn run(self, served_text: String) {
        let tasks = self.tasks.clone();
        tasks.spawn(async move { self.answer(served_text).await });
    }

    async fn answer(mut self, served_text: String) {
        if !self.model.provider.breaker.enter() {
            return;
        }
        if self.ledger.open(self.open.clone()).await.is_err() {
            self.model.provider.breaker.inconclusive();
            return;
        }
        if self.hold.as_ref().is_some_and(|hold| !hold.is_good()) {
            self.model.provider.breaker.inconclusive();
            self.ledger.close_later(AttemptClose::never_dialled(self.open.clone()), None);
            return;
        }
        let started = Instant::now();
        let (seen, error) = self.dial().await;
        match &error {
            None => self.model.provider.breaker.succeeded(),
            Some(error) if error.blames_backend() => self.model.provider.breaker.failed(),
            Some(_) => self.model.provider.breaker.inconclusive(),
        }
        let counted = seen.usage.unwrap_or(Counted::AtLeast(Usage::default()));
        let cost = self.model.pricing.cost(counted.usage()).unwrap_or(self.open.ceiling);
        if let Some(hold) = self.hold.take() {
            let usage = counted.usage();
            let tokens = usage.input.0.saturating_add(usage.output.0);
            hold.settle(Amount { money: cost.unwrap_or(NanoDollars::ZERO), tokens });
        }
        let here = (self.model.provider.location, &self.model.pricing);
        let local_cost = local_cost(here, self.local_cost, seen.busy.unwrap_or_else(|| started.elapsed()));
        let closed = AttemptClose {
            open: self.open.clone(),
            ended_us: jiff::Timestamp::now().as_microsecond(),
            outcome: if error.is_none() { Outcome::Ok } else { Outcome::Error },
            counted,
            cost,
            local_cost,
            baseline: None,
            first_event_us: None,
            error: error.as_ref().map(BackendError::label),
        };
        self.observer.attempt(&closed, started.elapsed());
        self.ledger.close_later(closed, None);
        let raw = &self.ask.request.raw;
        let record = ShadowRecord {
            request: self.ask.id.clone(),
            experiment: self.experiment.clone(),
            at_us: self.open.at_us,
            served: self.served.clone(),
            shadow: self.model.name.clone(),
            prompt: raw.field("messages").or(raw.field("prompt")).unwrap_or_default().to_owned(),
            served_text,
            shadow_text: seen.text,
            finish: seen.finish,
            error: error.as_ref().map(BackendError::label),
        };
        self.ledger.shadow_later(record, &self.keep);
    }

    async fn dial(&self) -> (Seen, Option<BackendError>) {
        let call = Call {
            permit: self.permit.clone(),
            request: self.ask.request.clone(),
            id: self.ask.id.clone(),
            model: self.model.upstream.clone(),
            stream: self.ask.request.view.stream,
            max_output: self.max_output,
            traceparent: None,
            watch: false,
        };
        let mut all = Seen::default();
        let mut events = match self.model.provider.backend.call(call).await {
            Ok(events) => events,
            Err(error) => return (all, Some(error)),
        };
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Delta { seen, .. } | Event::Whole { seen, .. }) => {
                    all.text.push_str(&seen.text);
                    all.finish = seen.finish.or(all.finish);
                    all.usage = seen.usage.or(all.usage);
                    all.busy = seen.busy.or(all.busy);
                }
                Ok(Event::Done) => break,
                Err(error) => return (all, Some(error)),
            }
        }
        (all, None)
    }
}
