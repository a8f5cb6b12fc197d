//! What a running attempt has seen, and what that comes to: tokens, money, and the line that closes it.
//!
//! **Promise.** Tokens are the provider's word where it gave one, else counted from what was sent and seen. Whoever closes an
//! attempt settles its hold, its rate limits and its record here, in one step; nothing of that is done twice, because the guard
//! ([`super::Attempt`]) gives this state away when it closes.
//!
//! **What it does not do.** It writes no line and decides no outcome: the guard does.

use super::{Desk, Start};
use crate::budgets::Hold;
use crate::execute::drain::Drains;
use crate::execute::growth::Growth;
use crate::execute::story::now_us;
use crate::execute::walk::ShadowSeed;
use crate::fleet::local_cost;
use crate::health::Breaker;
use crate::idle::Working;
use crate::ledger::{AttemptClose, AttemptOpen, Outcome, RequestRecord};
use crate::limits::Charge;
use crate::observe::Trace;
use adapters::wire::{Seen, WireRequest};
use policies::{Amount, Counted, Location, NanoDollars, Pricing, Usage};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Text of an answer that is kept for counting; beyond it only bytes are counted.
const KEPT_TEXT: usize = 1 << 20;

/// The state of an attempt that is not closed.
pub(super) struct Running {
    pub(super) desk: Desk,
    pub(super) open: Arc<AttemptOpen>,
    pub(super) request: Arc<WireRequest>,
    pub(super) location: Location,
    pub(super) pricing: Pricing,
    pub(super) baseline: Pricing,
    pub(super) hold: Option<Hold>,
    pub(super) growth: Option<Growth>,
    /// What the request took of rate limits, put right by the attempt that is its last.
    pub(super) charge: Option<Charge>,
    pub(super) breaker: Arc<Breaker>,
    /// The request's record, written with the attempt that is its last; one that runs beside another has none.
    pub(super) record: Option<RequestRecord>,
    /// It runs beside another attempt that has the request's record: a hedge until it is taken up, or a second sample.
    pub(super) aside: bool,
    /// The number of the attempt that was begun beside this one; 0: none.
    pub(super) beside: Arc<AtomicU32>,
    pub(super) started: Instant,
    pub(super) received: Instant,
    pub(super) first_event_us: Option<u64>,
    pub(super) text: String,
    pub(super) text_beyond: u64,
    pub(super) usage: Option<Counted>,
    /// That is the provider's last word.
    pub(super) told: bool,
    /// Its provider bills answers that are cancelled, too.
    pub(super) drains: Option<Drains>,
    /// It is counted among those that its provider works for.
    pub(super) _working: Option<Working>,
    /// How long a machine in the house was at work, where its backend tells; else the attempt's own time counts.
    pub(super) busy: Option<Duration>,
    /// Its opening is on the ledger: from here on it may have cost something.
    pub(super) dialled: bool,
    /// Takes both texts when the request is shadowed.
    pub(super) shadow: Option<Box<ShadowSeed>>,
}

// === impl Running ===

impl Running {
    pub(super) fn of(start: Start) -> Self {
        Self {
            desk: start.desk,
            open: Arc::new(start.open),
            request: start.request,
            location: start.location,
            pricing: start.pricing,
            baseline: start.baseline,
            hold: start.hold,
            growth: start.growth,
            charge: start.charge,
            breaker: start.breaker,
            aside: start.record.is_none(),
            record: start.record,
            beside: Arc::default(),
            started: Instant::now(),
            received: start.received,
            first_event_us: None,
            text: String::new(),
            text_beyond: 0,
            usage: None,
            told: false,
            drains: start.drains,
            _working: start.working,
            busy: None,
            dialled: false,
            shadow: start.shadow,
        }
    }

    /// Takes an event into account.
    pub(super) fn see(&mut self, seen: &Seen) {
        if self.first_event_us.is_none() {
            self.first_event_us = Some(micros(self.started));
            self.breaker.succeeded();
        }
        if self.text.len() + seen.text.len() <= KEPT_TEXT {
            self.text.push_str(&seen.text);
        } else {
            self.text_beyond += seen.text.len() as u64;
        }
        if seen.usage.is_some() {
            self.usage = seen.usage;
            // Some say it with every event.
            self.told = seen.usage_only || seen.finish.is_some();
        }
        self.busy = seen.busy.or(self.busy);
    }

    /// The tokens: the provider's word, or counted from what was seen.
    pub(super) async fn counted(&mut self) -> Counted {
        if let Some(counted) = self.usage {
            return counted;
        }
        if !self.dialled || (self.location == Location::Local && self.text.is_empty()) {
            return Counted::AtLeast(Usage::default());
        }
        let (request, text, beyond) = (self.request.clone(), self.text.clone(), self.text_beyond);
        // Counting costs milliseconds, and loading the table more: not on a thread that serves.
        let counting = tokio::task::spawn_blocking(move || {
            let given: u64 = request.view.inputs().map_or(0, |inputs| inputs.tokens().iter().sum());
            let input: u64 = request.view.texts().map(adapters::tokens::count).sum::<u64>() + given;
            (input, adapters::tokens::count(&text) + beyond / 4)
        });
        match counting.await {
            Ok((input, output)) => Counted::AtLeast(Usage::plain(input, output)),
            Err(_) => Counted::AtLeast(Usage::default()),
        }
    }

    /// Settles what was held and makes the line that closes the attempt; the record, where it has it, goes with that.
    pub(super) fn closed(
        &mut self,
        outcome: Outcome,
        error: Option<&'static str>,
        status: Option<u16>,
        counted: Counted,
    ) -> (AttemptClose, Option<RequestRecord>) {
        let usage = counted.usage();
        let left = matches!(outcome, Outcome::Disconnected | Outcome::Cancelled);
        let untold = self.drains.is_some() && self.dialled && !self.told && left;
        // An overflow is charged at the ceiling: never less than what is owed.
        let cost = match untold {
            true => self.open.ceiling,
            false => self.pricing.cost(usage).unwrap_or(self.open.ceiling),
        };
        if let Some(hold) = self.hold.take() {
            let tokens = usage.input.0.saturating_add(usage.output.0);
            let tokens = self.open.ceiling_tokens.filter(|_| untold).unwrap_or(tokens);
            hold.settle(Amount { money: cost.unwrap_or(NanoDollars::ZERO), tokens });
        }
        if outcome == Outcome::Ok {
            self.desk.budgets.answered(self.open.payer.key.as_ref(), &self.open.model, usage);
        }
        // Only what served is compared: a failed attempt has a successor with a baseline of its own.
        let baseline = match (outcome, self.location) {
            (Outcome::Error | Outcome::Rejected | Outcome::Cancelled, _) => None,
            (_, _) if self.open.purpose != "answer" => None,
            (_, Location::Hosted) => cost,
            (_, Location::Local) => self.baseline.cost(usage).unwrap_or(None),
        };
        if let (Some(charge), Some(_)) = (&self.charge, &self.record) {
            charge.settle(usage.input.0.saturating_add(usage.output.0));
        }
        let busy = self.busy.unwrap_or_else(|| self.started.elapsed());
        let local_cost = local_cost((self.location, &self.pricing), self.desk.local_cost, busy);
        let record = self.record.take().map(|mut record| {
            record.attempts = self.open.attempt.max(self.beside.load(Ordering::Relaxed));
            record.status = status.unwrap_or(record.status);
            record
        });
        let closed = AttemptClose {
            open: self.open.clone(),
            ended_us: now_us(),
            outcome,
            counted,
            cost,
            local_cost,
            baseline,
            first_event_us: self.first_event_us,
            error,
        };
        (closed, record)
    }

    /// Tells who watches, and the goal in money, what it came to. Its hold is settled and its line is not written yet: a panic of
    /// who watches must not take the line with it.
    pub(super) fn tell(&self, closed: &AttemptClose, record: Option<&RequestRecord>) {
        if let (Some(spender), Location::Hosted, Some(cost)) = (&self.desk.spender, self.location, closed.cost) {
            spender.spent(cost, Instant::now());
        }
        let telling = catch_unwind(AssertUnwindSafe(|| {
            self.desk.observer.attempt(closed, self.started.elapsed());
            if let Some(record) = record {
                let trace = Trace { parent: self.open.traceparent.as_deref(), permit: self.open.traces.as_ref() };
                self.desk.observer.request(record, self.received.elapsed(), trace);
            }
        }));
        if telling.is_err() {
            tracing::error!(request = %closed.open.request, "telling of an attempt ended in a panic");
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
