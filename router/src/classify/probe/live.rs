//! Judging while a request waits.
//!
//! The work is done on a thread that may block, against a deadline: who is late is not waited for (the thread ends its
//! 10 ms and is free again). Only who has a place at an encoder gets such a thread, so that there are never more of them than
//! encoders, and never more work under way that nobody waits for. Who gets no place in the time that waiting is worth
//! ([`super::meaning::place`]) is judged without the encoder, at once, and the judgement says so. Judgements of the last requests
//! are kept, because agents and retries send the same last turn again: a repeated one costs a hash. One that was made without the
//! encoder is not kept: the next one may be better.

use super::{Judged, Probe, Reading, meaning};
use adapters::wire::WireRequest;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use twox_hash::XxHash3_64;

/// Judgements that are kept, in each of two generations.
const KEPT: usize = 1_024;

/// A probe at work: it remembers what it judged last.
#[derive(Debug)]
pub struct Live {
    probe: Probe,
    deadline: Duration,
    kept: Mutex<Generations>,
}

/// Two maps: when the young one is full it becomes the old one, and what nobody asked for again is gone.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Judged>,
    old: HashMap<u64, Judged>,
}

// === impl Live ===

impl Live {
    /// Puts a probe to work; loads its encoder, so that the first request does not wait for that.
    pub fn new(probe: Probe, deadline: Duration) -> Self {
        if probe.has_encoder() {
            super::warm();
        }
        Self { probe, deadline, kept: Mutex::new(Generations::default()) }
    }

    /// The probe.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Judges a request; the error says why there is no judgement.
    ///
    /// # Errors
    /// `deadline` when it took too long, `failed` when it panicked.
    ///
    /// # Cancel safety
    /// Cancel safe; the work itself goes on to its end and is thrown away.
    pub async fn judge(self: &Arc<Self>, request: &WireRequest) -> Result<Judged, &'static str> {
        let reading = Reading::of_request(request);
        let key = key(&reading);
        if let Some(known) = self.kept.lock().get(key) {
            return Ok(known);
        }
        if !self.probe.has_encoder() {
            // Some 100 microseconds: not worth another thread.
            return Ok(self.keep(key, self.probe.judge(&reading)));
        }
        let end = Instant::now() + self.deadline;
        let late = |_| "deadline";
        let Some(place) = timeout_at(end, meaning::place()).await.map_err(late)? else {
            let judged = self.probe.judge_bare(&reading);
            return if Instant::now() < end { Ok(judged) } else { Err("deadline") };
        };
        let this = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let judged = this.keep(key, this.probe.judge(&reading));
            drop(place);
            judged
        });
        timeout_at(end, work).await.map_err(late)?.map_err(|_| "failed")
    }

    fn keep(&self, key: u64, judged: Judged) -> Judged {
        if judged.skipped.is_none() {
            self.kept.lock().put(key, judged.clone());
        }
        judged
    }
}

// === impl Generations ===

impl Generations {
    fn get(&mut self, key: u64) -> Option<Judged> {
        if let Some(judged) = self.young.get(&key) {
            return Some(judged.clone());
        }
        let judged = self.old.remove(&key)?;
        self.put(key, judged.clone());
        Some(judged)
    }

    fn put(&mut self, key: u64, judged: Judged) {
        if self.young.len() >= KEPT {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, judged);
    }
}

/// A hash of everything that a judgement depends on.
fn key(reading: &Reading) -> u64 {
    let counts = [
        reading.last_bytes,
        reading.before_bytes,
        reading.instruction_bytes,
        reading.user_turns,
        reading.assistant_turns,
        reading.tool_results,
        reading.tool_bytes,
        usize::from(reading.tool_failed),
        reading.tools,
        reading.unread_bytes,
    ];
    let seed = counts.iter().fold(0u64, |seed, count| XxHash3_64::oneshot_with_seed(seed, &count.to_le_bytes()));
    let seed = XxHash3_64::oneshot_with_seed(seed, reading.context().as_bytes());
    XxHash3_64::oneshot_with_seed(seed, reading.text().as_bytes())
}
