//! The arithmetic of a budget: what is spent, what is held, what is left.
//!
//! **Units.** An [`Account`] counts whole units of its [`Measure`]: nano-dollars, or tokens.
//!
//! **Promise.** `spent + held` never exceeds the limit through [`Account::hold`] and [`Account::grow`]; settling releases
//! exactly what was held. Who keeps the accounts, and when a window begins anew, is the router's business.

use crate::candidate::Location;
use crate::ids::ModelName;
use crate::money::NanoDollars;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a budget counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Nano-dollars.
    #[default]
    Money,
    /// Input and output tokens.
    Tokens,
}

/// What one attempt takes of the budgets, in every measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Dollars.
    pub money: NanoDollars,
    /// Input and output tokens.
    pub tokens: u64,
}

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
    /// Nothing is refused: it is said in a header, in the log and in the metrics (a soft budget).
    Warn,
}

/// One budget window's account, in units of its measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The limit.
    pub limit: u64,
    /// Settled spending.
    pub spent: u64,
    /// Set aside for running calls.
    pub held: u64,
}

/// Why an amount cannot be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldError {
    /// It is spent: it does not come back within the window.
    Spent,
    /// Running calls hold it: some may come back soon.
    Held,
}

/// A budget that applies to a request, as `decide()` sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetView {
    /// The configured scope, e.g. `team:research`.
    pub scope: String,
    /// It counts this model only (scope `model:NAME`).
    pub only_model: Option<ModelName>,
    /// What it counts.
    pub measure: Measure,
    /// Where it stands.
    pub account: Account,
    /// What to do when it does not suffice.
    pub on_exceeded: OnExceeded,
    /// Its window's word, and the share that is used, where that is worth saying.
    pub near: Option<(&'static str, f64)>,
}

// === impl Measure ===

impl Measure {
    /// Whether it counts dollars.
    pub fn is_money(self) -> bool {
        self == Self::Money
    }

    /// Units as a person reads them: `$0.25`, `1200 tokens`.
    pub fn text(self, units: u64) -> String {
        match self {
            Self::Money => format!("${}", NanoDollars(units)),
            Self::Tokens => format!("{units} tokens"),
        }
    }
}

// === impl Amount ===

impl Amount {
    /// As much of it as a budget counts.
    pub fn of(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Money => self.money.0,
            Measure::Tokens => self.tokens,
        }
    }
}

// === impl OnExceeded ===

impl OnExceeded {
    /// Whether anything is ever refused or ended for it.
    pub fn is_hard(self) -> bool {
        !matches!(self, Self::Warn)
    }

    /// Whether a request may begin with as little as is left.
    pub fn shortens(self) -> bool {
        matches!(self, Self::Clamp | Self::End)
    }
}

impl fmt::Display for OnExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "refuse",
            Self::Local => "local",
            Self::Clamp => "clamp",
            Self::End => "end",
            Self::Warn => "warn",
        })
    }
}

// === impl BudgetView ===

impl BudgetView {
    /// Whether a call of `model` counts: tokens of a local model are not bought, so they count only where the budget is
    /// that model's own.
    pub fn counts(&self, model: &ModelName, location: Location) -> bool {
        counts(self.only_model.as_ref(), self.measure, model, location)
    }
}

/// See [`BudgetView::counts`].
pub fn counts(only: Option<&ModelName>, measure: Measure, model: &ModelName, location: Location) -> bool {
    match only {
        Some(only) => only == model,
        None => measure == Measure::Money || location == Location::Hosted,
    }
}

// === impl Account ===

impl Account {
    /// Says whether `amount` fits beside what is spent and held.
    pub fn fits(&self, amount: u64) -> Result<(), HoldError> {
        let limit = u128::from(self.limit);
        let spent = u128::from(self.spent) + u128::from(amount);
        if spent > limit {
            return Err(HoldError::Spent);
        }
        if spent + u128::from(self.held) > limit {
            return Err(HoldError::Held);
        }
        Ok(())
    }

    /// Sets `amount` aside.
    pub fn hold(&mut self, amount: u64) -> Result<(), HoldError> {
        self.fits(amount)?;
        self.held += amount;
        Ok(())
    }

    /// Says whether what is held as `from` can become `to`; less always can.
    pub fn grows(&self, from: u64, to: u64) -> Result<(), HoldError> {
        let more = to.saturating_sub(from);
        if more == 0 {
            return Ok(());
        }
        // What this call holds already is its own: it is not others that hold it.
        let rest = Self { held: self.held.saturating_sub(from), ..*self };
        rest.fits(to)
    }

    /// Changes what is held as `from` to `to`.
    pub fn grow(&mut self, from: u64, to: u64) -> Result<(), HoldError> {
        self.grows(from, to)?;
        self.held = self.held.saturating_sub(from).saturating_add(to);
        Ok(())
    }

    /// Releases `held` and books `cost` as spent. The cost is booked whole, even above the hold: money that is gone is
    /// gone.
    pub fn settle(&mut self, held: u64, cost: u64) {
        self.held = self.held.saturating_sub(held);
        self.spent = self.spent.saturating_add(cost);
    }

    /// What is left to hold.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.spent).saturating_sub(self.held)
    }

    /// How much of it is spent, from 0; above 1 it is overdrawn. A limit of nothing is used up. What is held does not
    /// count: most of it comes back.
    pub fn used(&self) -> f64 {
        if self.limit == 0 {
            return 1.0;
        }
        self.spent as f64 / self.limit as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spent_money_and_held_money_are_told_apart() {
        let mut account = Account { limit: 100, ..Account::default() };
        account.hold(80).unwrap();
        assert_eq!(account.hold(30), Err(HoldError::Held));
        account.settle(80, 75);
        assert_eq!(account.hold(30), Err(HoldError::Spent));
        assert_eq!(account.left(), 25);
    }

    #[test]
    fn a_limit_can_be_spent_to_its_last_unit_and_no_further() {
        let mut account = Account { limit: 10, spent: 4, held: 0 };
        assert_eq!(account.hold(7), Err(HoldError::Spent));
        assert_eq!(account.hold(6), Ok(()));
        assert_eq!(account.hold(1), Err(HoldError::Held));
        assert_eq!(account.held, 6);
    }

    #[test]
    fn a_hold_grows_into_what_is_left_and_no_further() {
        let mut account = Account { limit: 100, spent: 10, held: 0 };
        account.hold(20).unwrap();
        account.hold(30).unwrap();
        assert_eq!(account.grow(20, 61), Err(HoldError::Held), "the other call holds 30");
        account.grow(20, 60).unwrap();
        assert_eq!((account.held, account.left()), (90, 0));
        assert_eq!(account.grow(60, 91), Err(HoldError::Spent));
        account.grow(60, 5).unwrap();
        assert_eq!((account.held, account.left()), (35, 55));
    }

    #[test]
    fn tokens_of_a_local_model_count_only_in_a_budget_of_its_own() {
        let (m, other) = (ModelName::from("m"), ModelName::from("o"));
        assert!(counts(None, Measure::Tokens, &m, Location::Hosted));
        assert!(!counts(None, Measure::Tokens, &m, Location::Local));
        assert!(counts(Some(&m), Measure::Tokens, &m, Location::Local));
        assert!(!counts(Some(&other), Measure::Money, &m, Location::Hosted));
    }

    proptest! {
        #[test]
        fn holds_never_pass_the_limit(limit in 0u64..1_000, steps in proptest::collection::vec((0u64..300, 0u64..300, 0u64..300), 0..40)) {
            let mut account = Account { limit, ..Account::default() };
            let mut open: Vec<(u64, u64)> = Vec::new();
            for (amount, used, more) in steps {
                if account.hold(amount).is_ok() {
                    open.push((amount, used.min(amount)));
                } else if let Some((amount, used)) = open.pop() {
                    let grown = if account.grow(amount, more).is_ok() { more } else { amount };
                    account.settle(grown, used.min(grown));
                }
                prop_assert!(account.spent + account.held <= limit);
                prop_assert_eq!(account.held, open.iter().map(|(amount, _)| amount).sum::<u64>());
            }
        }
    }
}
