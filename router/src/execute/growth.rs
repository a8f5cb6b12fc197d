//! A running stream that holds less than the most it can cost: its hold grows before it passes it.
//!
//! **Promise.** What has come of the answer is never more than what is set aside for it. How many tokens that is is bounded
//! from above by its bytes (a token has at least one), by what the provider says where it says it in the midst, and, only
//! where no more can be set aside, by a count with a margin.
//!
//! **Failure behaviour.** Money that others hold may come back: it is waited for, up to a second, while the upstream's
//! bytes queue. Then, or at once when it is spent, the stream is over.
//!
//! **What it does not do.** Reasoning that is billed and not sent is not seen here; such models hold the most from the
//! start ([`crate::budgets::Budgets::expected_output`]).

use super::reserve::Need;
use super::walk::WAIT_FOR_HELD;
use crate::budgets::{Exceeded, Hold};
use adapters::wire::Seen;
use policies::{Amount, Counted, HoldError};
use tokio::time::Instant;

/// Output tokens that are set aside beyond what has come: what may be on its way while the hold grows.
const AHEAD: u64 = 64;

/// How far a hold reaches, and how far it may.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    need: Need,
    /// Output tokens that are paid for.
    paid: u64,
    /// The most that can come.
    most: u64,
    /// Output tokens that have come, from above.
    produced: u64,
    /// It has its end: what still comes costs nothing.
    finished: bool,
}

// === impl Growth ===

impl Growth {
    pub(super) fn new(paid: u64, most: u64, need: Need) -> Self {
        Self { need, paid, most, produced: 0, finished: false }
    }

    /// Takes an event into account; says whether the hold has to grow now.
    pub(super) fn see(&mut self, seen: &Seen) -> bool {
        self.finished |= seen.finish.is_some();
        let bytes = seen.text.len() as u64;
        self.produced = self.produced.saturating_add(if seen.usage_only { 0 } else { bytes.max(1) });
        if let Some(Counted::AtLeast(usage) | Counted::Exact(usage)) = &seen.usage {
            self.produced = usage.output.0;
        }
        self.is_short()
    }

    fn is_short(&self) -> bool {
        !self.finished && self.paid < self.most && self.produced + self.ahead() > self.paid
    }

    fn ahead(&self) -> u64 {
        AHEAD.min(self.paid / 8 + 1)
    }

    /// Raises the hold until it reaches far enough; gives what is set aside then.
    ///
    /// `text` is the answer so far, and `beyond` bytes more; it is counted where nothing more can be set aside.
    ///
    /// # Errors
    /// The budget that has no more.
    pub(super) async fn grow(&mut self, hold: &mut Hold, text: &str, beyond: u64) -> Result<Amount, Exceeded> {
        let until = Instant::now() + WAIT_FOR_HELD;
        loop {
            let wanted = (self.paid + self.paid / 2).max(self.produced + 2 * AHEAD).min(self.most);
            let mut grown = hold.grow(self.paid, wanted, |output| self.need.of(output));
            if grown.is_err() {
                hold.reach(self.need.of(wanted)).await;
                grown = hold.grow(self.paid, wanted, |output| self.need.of(output));
            }
            let refused = match grown {
                Ok(paid) => {
                    self.paid = paid;
                    None
                }
                Err(exceeded) => Some(exceeded),
            };
            if !self.is_short() {
                return Ok(hold.amount());
            }
            let Some(exceeded) = refused else { continue };
            // Bytes are a bound, and a loose one. Tokenizers differ: a quarter on top covers those in use.
            let copy = text.to_owned();
            if let Ok(counted) = tokio::task::spawn_blocking(move || adapters::tokens::count(&copy)).await {
                let counted = counted + beyond;
                self.produced = self.produced.min(counted.saturating_mul(5).div_ceil(4) + 4);
                if !self.is_short() {
                    return Ok(hold.amount());
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if exceeded.why != HoldError::Held || left.is_zero() {
                return Err(exceeded);
            }
            hold.others(left).await;
        }
    }
}
