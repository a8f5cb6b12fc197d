//! The arithmetic of a budget: what is spent, what is held, what is left.
//!
//! **Promise.** `spent + held` never exceeds the limit through [`Account::hold`]; settling releases exactly what was
//! held. Who keeps the accounts, and when a window begins anew, is the ledger's business.

use crate::ids::ModelName;
use crate::money::NanoDollars;
use serde::{Deserialize, Serialize};

/// What happens when money runs out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExceeded {
    /// The request is refused with 402.
    #[default]
    Refuse,
    /// The request goes to a local model.
    Local,
    /// `max_tokens` is clamped to what is left.
    Clamp,
    /// A running stream is ended.
    End,
}

/// One budget window's account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The limit.
    pub limit: NanoDollars,
    /// Settled spending.
    pub spent: NanoDollars,
    /// Set aside for running calls.
    pub held: NanoDollars,
}

/// Why an amount cannot be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldError {
    /// The money is spent: it does not come back within the window.
    Spent,
    /// Running calls hold it: some may come back soon.
    Held,
}

/// A budget that applies to a request, as `decide()` sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetView {
    /// The configured scope, e.g. `team:research`.
    pub scope: String,
    /// It counts this model only (scope `model:NAME`).
    pub only_model: Option<ModelName>,
    /// Where it stands.
    pub account: Account,
    /// What to do when it does not suffice.
    pub on_exceeded: OnExceeded,
}

// === impl Account ===

impl Account {
    /// Says whether `amount` fits beside what is spent and held.
    pub fn fits(&self, amount: NanoDollars) -> Result<(), HoldError> {
        let sum = |a: NanoDollars, b: NanoDollars| u128::from(a.0) + u128::from(b.0);
        if sum(self.spent, amount) > u128::from(self.limit.0) {
            return Err(HoldError::Spent);
        }
        if sum(self.spent, amount) + u128::from(self.held.0) > u128::from(self.limit.0) {
            return Err(HoldError::Held);
        }
        Ok(())
    }

    /// Sets `amount` aside.
    pub fn hold(&mut self, amount: NanoDollars) -> Result<(), HoldError> {
        self.fits(amount)?;
        self.held = NanoDollars(self.held.0 + amount.0);
        Ok(())
    }

    /// Releases `held` and books `cost` as spent. The cost is booked whole, even above the hold: money that is gone is
    /// gone.
    pub fn settle(&mut self, held: NanoDollars, cost: NanoDollars) {
        self.held = self.held.saturating_minus(held);
        self.spent = NanoDollars(self.spent.0.saturating_add(cost.0));
    }

    /// What is left to hold.
    pub fn left(&self) -> NanoDollars {
        self.limit.saturating_minus(self.spent).saturating_minus(self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spent_money_and_held_money_are_told_apart() {
        let mut account = Account { limit: NanoDollars(100), ..Account::default() };
        account.hold(NanoDollars(80)).unwrap();
        assert_eq!(account.hold(NanoDollars(30)), Err(HoldError::Held));
        account.settle(NanoDollars(80), NanoDollars(75));
        assert_eq!(account.hold(NanoDollars(30)), Err(HoldError::Spent));
        assert_eq!(account.left(), NanoDollars(25));
    }

    proptest! {
        #[test]
        fn holds_never_pass_the_limit(limit in 0u64..1_000, steps in proptest::collection::vec((0u64..300, 0u64..300), 0..40)) {
            let mut account = Account { limit: NanoDollars(limit), ..Account::default() };
            let mut open = Vec::new();
            for (amount, used) in steps {
                if account.hold(NanoDollars(amount)).is_ok() {
                    open.push((amount, used.min(amount)));
                } else if let Some((amount, used)) = open.pop() {
                    account.settle(NanoDollars(amount), NanoDollars(used));
                }
                prop_assert!(account.spent.0 + account.held.0 <= limit);
            }
        }
    }
}
