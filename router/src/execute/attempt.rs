//! The guard of one attempt: meter, money and its line on the ledger.

use super::cascade::Look;
use super::drain::{Drains, read_on};
use super::growth::Growth;
use super::story::now_us;
use crate::audit::Entry;
use crate::budgets::{Budgets, Exceeded, Hold};
use crate::classify::Spender;
use crate::fleet::local_cost;
use crate::health::Breaker;
use crate::idle::Working;
use crate::ledger::{AttemptClose, AttemptOpen, Ledger, LedgerError, Outcome, RequestRecord};
use crate::limits::Charge;
use crate::observe::Observer;
use adapters::wire::{Seen, WireRequest};
use adapters::{Events, Phase};
use policies::{Amount, Counted, LocalCost, Location, NanoDollars, Pricing, Usage};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Text of an answer that is kept for counting; beyond it only bytes are counted.
const KEPT_TEXT: usize = 1 << 20;

/// What the guard needs of the router.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) ledger: Ledger,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) tasks: TaskTracker,
    pub(super) spender: Option<Arc<Spender>>,
    pub(super) budgets: Arc<Budgets>,
    pub(super) local_cost: Option<LocalCost>,
}

/// What an attempt came to.
pub(super) struct Settled {
    /// What it cost; `None`: unpriced.
    pub(super) cost: Option<NanoDollars>,
    pub(super) usage: Usage,
}

/// Why a stream cannot go on.
pub(super) enum Stopped {
    /// A budget has no more.
    Exceeded(Exceeded),
    /// The ledger does not take what was set aside.
    Unwritten(LedgerError),
}

/// One running attempt. Exactly one of [`Attempt::finish`], [`Attempt::fail`], [`Attempt::reject`] and `Drop` closes it.
pub(super) struct Attempt {
    inner: Option<Box<Running>>,
}

struct Running {
    desk: Desk,
    open: Arc<AttemptOpen>,
    request: Arc<WireRequest>,
    location: Location,
    pricing: Pricing,
    baseline: Pricing,
    hold: Option<Hold>,
    growth: Option<Growth>,
    /// What the request took of rate limits, put right by the attempt that is its last.
    charge: Option<Charge>,
    breaker: Arc<Breaker>,
    /// The request's record, written with the attempt that is its last; one that runs beside another has none.
    record: Option<RequestRecord>,
    /// It runs beside another attempt that has the request's record: a hedge until it is taken up, or a second sample.
    aside: bool,
    /// The number of the attempt that was begun beside this one; 0: none.
    beside: Arc<AtomicU32>,
    started: Instant,
    received: Instant,
    first_event_us: Option<u64>,
    text: String,
    text_beyond: u64,
    usage: Option<Counted>,
    /// That is the provider's last word.
    told: bool,
    /// Its provider bills answers that are cancelled, too.
    drains: Option<Drains>,
    /// It is counted among those that its provider works for.
    _working: Option<Working>,
    /// How long a machine in the house was at work, where its backend tells; else the attempt's own time counts.
    busy: Option<Duration>,
    /// Its opening is on the ledger: from here on it may have cost something.
    dialled: bool,
    /// Takes both texts when the request is shadowed.
    shadow: Option<Box<super::walk::ShadowSeed>>,
}

/// What an attempt is made of.
pub(super) struct Start {
    pub(super) desk: Desk,
    pub(super) open: AttemptOpen,
    pub(super) request: Arc<WireRequest>,
    pub(super) location: Location,
    pub(super) pricing: Pricing,
    pub(super) baseline: Pricing,
    pub(super) hold: Option<Hold>,
    pub(super) growth: Option<Growth>,
    pub(super) charge: Option<Charge>,
    pub(super) breaker: Arc<Breaker>,
    pub(super) drains: Option<Drains>,
    pub(super) working: Option<Working>,
    /// `None`: it runs beside another attempt, which has the record.
    pub(super) record: Option<RequestRecord>,
    pub(super) received: Instant,
    pub(super) shadow: Option<Box<super::walk::ShadowSeed>>,
}

// === impl Attempt ===

impl Attempt {
    /// Opens an attempt; a priced one is on the ledger when this returns.
    ///
    /// The future holds the guard alone, not what it is made of: it is part of each request's future, which is moved.
    pub(super) fn open(start: Start) -> impl Future<Output = Result<Self, (LedgerError, Self)>> + Send {
        // The guard stands before the line is written: a client that leaves meanwhile closes it, too.
        let mut attempt = Self::prepare(start);
        async move {
            match attempt.opening().await {
                Ok(()) => {
                    attempt.opened();
                    Ok(attempt)
                }
                Err(error) => Err((error, attempt)),
            }
        }
    }

    /// The guard alone: nothing is on the ledger yet.
    pub(super) fn prepare(start: Start) -> Self {
        let Start {
            desk,
            open,
            request,
            location,
            pricing,
            baseline,
            hold,
            growth,
            charge,
            breaker,
            drains,
            working,
            record,
            received,
            shadow,
        } = start;
        Self {
            inner: Some(Box::new(Running {
                desk,
                open: Arc::new(open),
                request,
                location,
                pricing,
                baseline,
                hold,
                growth,
                charge,
                breaker,
                aside: record.is_none(),
                record,
                beside: Arc::default(),
                started: Instant::now(),
                received,
                first_event_us: None,
                text: String::new(),
                text_beyond: 0,
                usage: None,
                told: false,
                drains,
                _working: working,
                busy: None,
                dialled: false,
                shadow,
            })),
        }
    }

    /// Writes the opening line, where the attempt is priced; [`Attempt::opened`] has to follow.
    ///
    /// # Cancel safety
    /// Once polled, the line is written even if the future is dropped.
    pub(super) fn opening(&self) -> impl Future<Output = Result<(), LedgerError>> + Send + use<> {
        let running = self.inner.as_ref();
        let priced = running.filter(|running| running.pricing != Pricing::Free);
        if let (Some(running), None) = (running, priced)
            && running.desk.ledger.audited()
        {
            // What costs nothing has no opening line that its evidence could go with; nothing of it leaves the house.
            running.desk.ledger.evidence_later(vec![Entry::dial(&running.open)]);
        }
        let opening = priced.map(|running| {
            let watch = running.hold.as_ref().map(crate::budgets::Hold::watch);
            (running.desk.ledger.clone(), running.open.clone(), watch)
        });
        async move {
            let Some((ledger, open, watch)) = opening else { return Ok(()) };
            ledger.open(open.clone()).await?;
            match watch {
                // The line is durable and was never dialled. Whoever sums the ledger from now on may do so without it.
                Some(watch) if !watch.is_good() => {
                    ledger.close_later(AttemptClose::never_dialled(open, "lease_over"), None);
                    Err(LedgerError::Lapsed)
                }
                Some(_) | None => Ok(()),
            }
        }
    }

    /// The opening is on the ledger: from here on it may cost something.
    pub(super) fn opened(&mut self) {
        if let Some(running) = &mut self.inner {
            running.dialled = true;
        }
    }

    /// A hedged attempt becomes the one that answers.
    pub(super) fn entrust(&mut self, record: RequestRecord, shadow: Option<Box<super::walk::ShadowSeed>>) {
        if let Some(running) = &mut self.inner {
            (running.record, running.shadow, running.aside) = (Some(record), shadow, false);
        }
    }

    /// Where an attempt that runs beside this one says, by its number, that it has begun.
    pub(super) fn accompanied(&self) -> Arc<AtomicU32> {
        self.inner.as_ref().map(|running| running.beside.clone()).unwrap_or_default()
    }

    /// Takes back an attempt that was never dialled: nothing is written, the hold is released, the record handed back.
    pub(super) fn abandon(mut self) -> Option<RequestRecord> {
        let mut running = self.inner.take()?;
        running.breaker.inconclusive();
        if let Some(hold) = running.hold.take() {
            hold.settle(Amount::default());
        }
        running.record.take()
    }

    /// Takes an event into account.
    pub(super) fn see(&mut self, seen: &Seen) {
        let Some(running) = &mut self.inner else { return };
        if running.first_event_us.is_none() {
            running.first_event_us = Some(micros(running.started));
            running.breaker.succeeded();
        }
        if running.text.len() + seen.text.len() <= KEPT_TEXT {
            running.text.push_str(&seen.text);
        } else {
            running.text_beyond += seen.text.len() as u64;
        }
        if seen.usage.is_some() {
            running.usage = seen.usage;
            // Some say it with every event.
            running.told = seen.usage_only || seen.finish.is_some();
        }
        running.busy = seen.busy.or(running.busy);
    }

    /// The client has left a stream, and this is the rest of it: stopped, or read on where its provider bills it anyhow.
    pub(super) fn left(self, rest: Events) {
        let running = self.inner.as_ref().filter(|running| !running.told);
        let place = running.and_then(|running| Some((running.drains.as_ref()?.enter()?, running.desk.tasks.clone())));
        if let Some((place, tasks)) = place {
            tasks.spawn(read_on(self, rest, place));
        }
    }

    /// Whether the stream holds less than the most it can cost.
    pub(super) fn grows(&self) -> bool {
        self.inner.as_ref().is_some_and(|running| running.growth.is_some())
    }

    /// Sets more aside where the answer comes near what is: before the client gets the event.
    ///
    /// # Cancel safety
    /// A dropped future leaves the hold as large as it has grown.
    pub(super) async fn afford(&mut self, seen: &Seen) -> Result<(), Stopped> {
        let Some(running) = &mut self.inner else { return Ok(()) };
        let (Some(growth), Some(hold)) = (&mut running.growth, &mut running.hold) else { return Ok(()) };
        if !growth.see(seen) {
            return Ok(());
        }
        let held = growth.grow(hold, &running.text, running.text_beyond).await.map_err(Stopped::Exceeded)?;
        running.desk.ledger.raise(running.open.clone(), held).await.map_err(Stopped::Unwritten)?;
        if hold.is_good() { Ok(()) } else { Err(Stopped::Unwritten(LedgerError::Lapsed)) }
    }

    /// Puts on record what a second look at the answer found.
    pub(super) fn looked_at(&mut self, look: Option<&Look>) {
        let Some(record) = self.inner.as_mut().and_then(|running| running.record.as_mut()) else { return };
        if let Some(look) = look {
            record.cascade = serde_json::to_string(look).ok();
        }
    }

    /// Closes an attempt whose answer was not found good enough: its tokens count, the record goes to its successor.
    ///
    /// The line is not waited for: lines are written in order, so it is durable once the successor's is, and the record is
    /// never without a guard.
    ///
    /// # Cancel safety
    /// A dropped future ends it as `disconnected`.
    pub(super) async fn reject(self) -> Option<RequestRecord> {
        self.set_aside(Outcome::Rejected).await
    }

    /// Closes an attempt that answered somebody who judges; the record is another one's.
    ///
    /// # Cancel safety
    /// A dropped future ends it as `cancelled`.
    pub(super) async fn judged(self) {
        self.set_aside(Outcome::Ok).await;
    }

    async fn set_aside(mut self, outcome: Outcome) -> Option<RequestRecord> {
        let counted = self.inner.as_mut()?.counted().await;
        let mut running = self.inner.take()?;
        let record = running.record.take();
        let (closed, _) = running.closed(outcome, None, None, counted);
        running.tell(&closed, None);
        running.desk.ledger.close_later(closed, None);
        record
    }

    /// Closes the request's last attempt; returns what it came to once the line is durable.
    ///
    /// # Cancel safety
    /// A dropped future leaves either a queued line or the guard, which closes the attempt as `disconnected`.
    pub(super) async fn finish(
        mut self,
        outcome: Outcome,
        error: Option<&'static str>,
        status: Option<u16>,
    ) -> Result<Settled, LedgerError> {
        // Counted first: a future that is dropped here still has its guard.
        let counted = match &mut self.inner {
            Some(running) => running.counted().await,
            None => return Err(LedgerError::Closed),
        };
        let Some(mut running) = self.inner.take() else { return Err(LedgerError::Closed) };
        let shadow = running.shadow.take().filter(|_| outcome == Outcome::Ok);
        let text = std::mem::take(&mut running.text);
        let (closed, record) = running.closed(outcome, error, status, counted);
        let settled = Settled { cost: closed.cost, usage: *closed.usage() };
        running.tell(&closed, record.as_ref());
        let ledger = running.desk.ledger.clone();
        let free = running.pricing == Pricing::Free;
        if free && !ledger.healthy() {
            // Nobody waits for a store that is known to be gone; the writer keeps the line until it can be written.
            ledger.close_later(closed, record);
            if let Some(shadow) = shadow {
                shadow.run(text);
            }
            return Ok(settled);
        }
        match ledger.close(closed, record).await {
            Err(error) if free && error.is_of_the_store() => {
                // What costs nothing is answered all the same; the writer keeps the line until it can be written.
                tracing::warn!(error = %error, "an answer that cost nothing is not on the ledger yet");
            }
            written => written?,
        }
        if let Some(shadow) = shadow {
            shadow.run(text);
        }
        Ok(settled)
    }

    /// Closes an attempt that gave nothing to the client; the record is handed back for the next one.
    pub(super) async fn fail(mut self, error: &adapters::BackendError) -> Option<RequestRecord> {
        let mut running = self.inner.take()?;
        if error.blames_backend() {
            running.breaker.failed()
        } else {
            running.breaker.inconclusive()
        }
        if error.phase == Phase::BeforeSend {
            // It waited for a turn, and had none.
            running.busy = Some(Duration::ZERO);
        }
        let record = running.record.take();
        // What was seen is charged; before any event nothing is known to be.
        let counted =
            if running.first_event_us.is_some() { running.counted().await } else { Counted::AtLeast(Usage::default()) };
        let (closed, _) = running.closed(Outcome::Error, Some(error.label()), None, counted);
        running.tell(&closed, None);
        if let Err(unwritten) = running.desk.ledger.close(closed, None).await {
            tracing::error!(error = %unwritten, "cannot close an attempt on the ledger");
        }
        record
    }
}

impl Drop for Attempt {
    /// The client left, or the future was dropped, or nobody needs it: counted and written in the background.
    fn drop(&mut self) {
        let Some(mut running) = self.inner.take() else { return };
        running.breaker.inconclusive();
        let desk = running.desk.clone();
        desk.tasks.spawn(async move {
            let counted = running.counted().await;
            let (outcome, error) = match running.aside {
                true => (Outcome::Cancelled, None),
                false => (Outcome::Disconnected, Some("client_left")),
            };
            let (closed, record) = running.closed(outcome, error, Some(499), counted);
            running.tell(&closed, record.as_ref());
            running.desk.ledger.close_later(closed, record);
        });
    }
}

// === impl Running ===

impl Running {
    /// The tokens: the provider's word, or counted from what was seen.
    async fn counted(&mut self) -> Counted {
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

    fn closed(
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

    fn tell(&self, closed: &AttemptClose, record: Option<&RequestRecord>) {
        if let (Some(spender), Location::Hosted, Some(cost)) = (&self.desk.spender, self.location, closed.cost) {
            spender.spent(cost, Instant::now());
        }
        self.desk.observer.attempt(closed, self.started.elapsed());
        if let Some(record) = record {
            self.desk.observer.request(record, self.received.elapsed());
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
