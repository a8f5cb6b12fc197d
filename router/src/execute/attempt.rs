//! The guard of one attempt: meter, money and its line on the ledger.
//!
//! The guard ([`Attempt`]) says when an attempt begins, grows and ends; what it has seen and what that costs is in [`running`].

mod running;

use self::running::Running;
use super::cascade::Look;
use super::drain::{Drains, read_on};
use super::growth::Growth;
use super::walk::ShadowSeed;
use crate::audit::Entry;
use crate::budgets::{Budgets, Exceeded, Hold};
use crate::classify::Spender;
use crate::health::Breaker;
use crate::idle::Working;
use crate::ledger::{AttemptClose, AttemptOpen, Ledger, LedgerError, Outcome, RequestRecord};
use crate::limits::Charge;
use crate::observe::Observer;
use adapters::wire::{Seen, WireRequest};
use adapters::{Events, Phase};
use policies::{Amount, Counted, LocalCost, Location, NanoDollars, Pricing, Usage};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

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
    pub(super) shadow: Option<Box<ShadowSeed>>,
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
        Self { inner: Some(Box::new(Running::of(start))) }
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
    pub(super) fn entrust(&mut self, record: RequestRecord, shadow: Option<Box<ShadowSeed>>) {
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
        if let Some(running) = &mut self.inner {
            running.see(seen);
        }
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
        let written = match free {
            true => ledger.close_free(closed, record).await,
            false => ledger.close(closed, record).await,
        };
        match written {
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
        // What was seen is charged, and the prompt of an answer that had begun; else nothing is known to be.
        let charged = running.first_event_us.is_some() || error.was_paid();
        let counted = if charged { running.counted().await } else { Counted::AtLeast(Usage::default()) };
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
