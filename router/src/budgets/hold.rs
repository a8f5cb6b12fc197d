//! What is set aside for one attempt, as those who run it see it.

use super::accounts::{Accounts, Booked, Life};
use super::live::Live;
use super::{Budgets, Exceeded};
use policies::Amount;
use std::sync::Arc;
use std::time::Duration;

/// Set aside for one attempt.
#[must_use = "a hold that is dropped charges what it held"]
pub struct Hold {
    pub(super) budgets: Arc<Budgets>,
    pub(super) booked: Booked,
}

/// Tells whether a hold may still be spent.
pub(crate) struct Watch {
    accounts: Arc<Accounts>,
    life: Life,
    bound: bool,
}

// === impl Hold ===

impl Hold {
    /// What is set aside.
    pub fn amount(&self) -> Amount {
        self.booked.amount()
    }

    /// Raises it from what pays for `paid` output tokens towards what pays for `wanted`, as far as every budget has it;
    /// gives the output tokens that are paid for now.
    ///
    /// # Errors
    /// Not a single token more is left: the budget that says so. The hold stays as it was.
    pub fn grow(&mut self, paid: u64, wanted: u64, amounts: impl Fn(u64) -> Amount) -> Result<u64, Exceeded> {
        self.booked.grow(paid, wanted, amounts)
    }

    /// Whether it may still be spent: the lease under which it was set aside runs. Asked after the line that says so is
    /// durable and before anything is dialled.
    pub fn is_good(&self) -> bool {
        self.booked.is_good()
    }

    /// What tells later whether it may still be spent.
    pub(crate) fn watch(&self) -> Watch {
        let bound = !self.booked.bookings.is_empty();
        Watch { accounts: self.budgets.accounts.clone(), life: self.booked.life, bound }
    }

    /// Asks for more of what it is booked in, where replicas share it, so that it can grow to `amount`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn reach(&self, amount: Amount) {
        let bookings = &self.booked.bookings;
        let mine = |live: &Live| bookings.iter().any(|booking| live.is(booking));
        self.budgets.reach(mine, amount, Some(self.amount())).await;
    }

    /// Waits until others have released something, or the time is over.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn others(&self, at_most: Duration) {
        self.budgets.released(at_most).await;
    }

    /// Books what it cost and releases the rest.
    pub fn settle(self, cost: Amount) {
        self.booked.settle(cost);
    }
}

// === impl Watch ===

impl Watch {
    /// See [`Hold::is_good`].
    pub(crate) fn is_good(&self) -> bool {
        !self.bound || self.accounts.is_good(self.life)
    }
}
