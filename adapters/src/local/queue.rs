//! The bounded queue in front of the engine, and what it knows of time.
//!
//! **Promise.** At most `queue` requests wait and at most `concurrency` are in the engine; the next one is refused at once.
//! First come, first served. A place is given back when its sequence has left the engine (not when its client has), so the
//! engine's own inbox of 10,000 never fills.
//!
//! **Why.** mistral.rs admits every waiting sequence at once when it is idle and prefills a prompt whose client has left.
//!
//! **What the prediction is.** Work ahead plus one's own prefill, from measured rates: moving averages that start from the
//! warm-up. Others' answers are assumed to be as long as answers have been of late. Durations are per token, seconds.

use crate::backend::Load;
use crate::error::{Clock, Kind};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Weight of a new measurement.
const FRESH: f64 = 0.2;
/// Shorter prompts say more of the fixed cost than of the rate.
const TELLING_PROMPT: u64 = 16;
/// Before anything was measured: a slow machine.
const FIRST_GUESS: Rates = Rates { prefill: 0.02, decode: 0.05, answer: 64.0 };

/// Seconds a token, and tokens an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Seconds per prompt token.
    pub prefill: f64,
    /// Seconds per output token.
    pub decode: f64,
    /// Output tokens per answer.
    pub answer: f64,
}

#[derive(Clone, Copy, Debug)]
struct Work {
    prefill: u64,
    decoded: u64,
    limit: u64,
}

#[derive(Debug)]
struct Known {
    rates: Rates,
    measured: bool,
    work: BTreeMap<u64, Work>,
    next: u64,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    places: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    most_waiting: usize,
    concurrency: usize,
    wait: Duration,
    known: Mutex<Known>,
    left: Notify,
}

/// A place in the queue, later in the engine; given back by dropping it.
#[derive(Debug)]
pub(super) struct Ticket {
    queue: Arc<Queue>,
    id: u64,
    _place: OwnedSemaphorePermit,
    slot: Option<OwnedSemaphorePermit>,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(queue: usize, concurrency: usize, wait: Duration) -> Arc<Self> {
        let known = Known { rates: FIRST_GUESS, measured: false, work: BTreeMap::new(), next: 0 };
        Arc::new(Self {
            places: Arc::new(Semaphore::new(queue.saturating_add(concurrency).min(Semaphore::MAX_PERMITS))),
            slots: Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS))),
            most_waiting: queue,
            concurrency,
            wait,
            known: Mutex::new(known),
            left: Notify::new(),
        })
    }

    /// Waits for a turn. Dropping the future leaves the queue.
    pub(super) async fn enter(self: &Arc<Self>, prompt: u64, limit: u64) -> Result<Ticket, Kind> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Kind::QueueFull)?;
        let id = {
            let mut known = self.known.lock();
            known.next += 1;
            let id = known.next;
            known.work.insert(id, Work { prefill: prompt, decoded: 0, limit });
            id
        };
        let mut ticket = Ticket { queue: Arc::clone(self), id, _place: place, slot: None };
        match tokio::time::timeout(self.wait, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(slot)) => ticket.slot = Some(slot),
            Ok(Err(_)) => return Err(Kind::NotReady("the model is shutting down".into())),
            Err(_) => return Err(Kind::Timeout(Clock::Queue)),
        }
        Ok(ticket)
    }

    /// Ends all waiting, for good.
    pub(super) fn close(&self) {
        self.slots.close();
        self.places.close();
    }

    /// Resolves when nothing waits and nothing is in the engine.
    pub(super) async fn idle(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.known.lock().work.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Predicted time to the first token of a prompt.
    pub(super) fn first_token_in(&self, prompt: u64) -> Duration {
        let known = self.known.lock();
        let rates = known.rates;
        let ahead: f64 = known.work.values().map(|work| work.left(&rates)).sum();
        let waiting = if known.work.len() < self.concurrency { 0.0 } else { ahead / self.concurrency as f64 };
        Duration::try_from_secs_f64(waiting + prompt as f64 * rates.prefill).unwrap_or(Duration::MAX)
    }

    /// How many wait and how many are in the engine.
    pub(super) fn load(&self) -> Load {
        let inside = self.known.lock().work.len();
        let running = self.concurrency.saturating_sub(self.slots.available_permits()).min(inside);
        Load {
            waiting: (inside - running) as u64,
            running: running as u64,
            most_waiting: Some(self.most_waiting as u64),
        }
    }

    /// The measured rates.
    pub(super) fn rates(&self) -> Rates {
        self.known.lock().rates
    }

    fn learn(&self, update: impl FnOnce(&mut Rates, f64)) {
        let mut known = self.known.lock();
        let weight = if known.measured { FRESH } else { 1.0 };
        update(&mut known.rates, weight);
    }
}

// === impl Work ===

impl Work {
    fn left(&self, rates: &Rates) -> f64 {
        let expected = (rates.answer.min(self.limit as f64) - self.decoded as f64).max(1.0);
        self.prefill as f64 * rates.prefill + expected * rates.decode
    }
}

// === impl Ticket ===

impl Ticket {
    /// The prompt was computed.
    pub(super) fn prefilled(&self, took: Duration, tokens: u64) {
        if tokens >= TELLING_PROMPT {
            self.queue.learn(|rates, weight| blend(&mut rates.prefill, took.as_secs_f64() / tokens as f64, weight));
        }
        if let Some(work) = self.queue.known.lock().work.get_mut(&self.id) {
            work.prefill = 0;
        }
    }

    /// A token was computed.
    pub(super) fn decoded(&self, took: Duration) {
        self.queue.learn(|rates, weight| blend(&mut rates.decode, took.as_secs_f64(), weight));
        self.queue.known.lock().measured = true;
    }

    /// Tokens went out.
    pub(super) fn progress(&self, tokens: u64) {
        if let Some(work) = self.queue.known.lock().work.get_mut(&self.id) {
            work.decoded += tokens;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut known = self.queue.known.lock();
        if let Some(work) = known.work.remove(&self.id).filter(|work| work.decoded > 0) {
            blend(&mut known.rates.answer, work.decoded as f64, FRESH);
        }
        drop(known);
        self.queue.left.notify_waiters();
    }
}

fn blend(known: &mut f64, fresh: f64, weight: f64) {
    *known += (fresh - *known) * weight;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once_and_a_long_wait_ends() {
        let queue = Queue::new(1, 1, Duration::from_secs(20));
        let first = queue.enter(10, 10).await.unwrap();
        let second = tokio::task::JoinSet::from_iter([{
            let queue = Arc::clone(&queue);
            async move { queue.enter(10, 10).await.map(drop) }
        }]);
        tokio::task::yield_now().await;
        assert!(matches!(queue.enter(10, 10).await, Err(Kind::QueueFull)));
        assert_eq!(queue.load(), Load { waiting: 1, running: 1, most_waiting: Some(1) });
        let ended = second.join_all().await;
        assert!(matches!(ended[..], [Err(Kind::Timeout(Clock::Queue))]));
        drop(first);
        assert!(queue.enter(10, 10).await.is_ok());
        assert_eq!(queue.load(), Load { most_waiting: Some(1), ..Load::default() });
    }

    #[tokio::test]
    async fn the_prediction_grows_with_prompt_and_queue() {
        let queue = Queue::new(4, 1, Duration::from_secs(1));
        let idle = queue.first_token_in(100);
        assert!(queue.first_token_in(200) > idle);
        let ticket = queue.enter(500, 50).await.unwrap();
        let busy = queue.first_token_in(100);
        assert!(busy > idle + Duration::from_secs(5));
        ticket.prefilled(Duration::from_secs(1), 500);
        assert!(queue.first_token_in(100) < busy);
        assert!((queue.rates().prefill - 0.002).abs() < 1e-9);
        drop(ticket);
        assert!((queue.first_token_in(100).as_secs_f64() - 0.2).abs() < 1e-9);
    }
}
