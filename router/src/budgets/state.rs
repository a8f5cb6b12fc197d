//! A budget as the admin API shows it.

use super::live::Live;
use super::window::Window;
use policies::{Measure, NanoDollars, OnExceeded};
use serde::Serialize;

/// A budget as the admin API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct BudgetState {
    /// Its scope as text.
    pub scope: String,
    /// Its window.
    pub window: Window,
    /// What it counts.
    pub measure: Measure,
    /// Its policy.
    pub on_exceeded: OnExceeded,
    /// Whose midnight begins its windows.
    pub time_zone: String,
    /// When the window began.
    pub since: String,
    /// When it ends; absent for `total`.
    pub until: Option<String>,
    /// Dollars; absent where tokens are counted.
    #[serde(flatten)]
    pub dollars: Option<Dollars>,
    /// Tokens; absent where dollars are counted.
    #[serde(flatten)]
    pub tokens: Option<Tokens>,
    /// The share of the limit that is spent, from 0.
    pub used: f64,
    /// From this share on it is said.
    pub warn_at: Option<f64>,
}

/// Where a budget in dollars stands.
#[derive(Clone, Debug, Serialize)]
pub struct Dollars {
    /// The limit.
    pub limit_usd: NanoDollars,
    /// Settled spending.
    pub spent_usd: NanoDollars,
    /// Set aside for running calls.
    pub held_usd: NanoDollars,
    /// What is left.
    pub left_usd: NanoDollars,
}

/// Where a budget in tokens stands.
#[derive(Clone, Debug, Serialize)]
pub struct Tokens {
    /// The limit.
    pub limit_tokens: u64,
    /// Used.
    pub spent_tokens: u64,
    /// Set aside for running calls.
    pub held_tokens: u64,
    /// What is left.
    pub left_tokens: u64,
}

// === impl Live: state ===

impl Live {
    pub(super) fn state(&self) -> BudgetState {
        let (spec, account) = (&self.spec, self.seen());

        BudgetState {
            scope: spec.scope.to_string(),
            window: spec.window,
            measure: spec.measure,
            on_exceeded: spec.on_exceeded,
            time_zone: spec.calendar.zone_name().to_owned(),
            since: self.start.to_string(),
            until: self.end.map(|end| end.to_string()),
            dollars: (spec.measure == Measure::Money).then(|| Dollars {
                limit_usd: NanoDollars(account.limit),
                spent_usd: NanoDollars(account.spent),
                held_usd: NanoDollars(account.held),
                left_usd: NanoDollars(account.left()),
            }),
            tokens: (spec.measure == Measure::Tokens).then(|| Tokens {
                limit_tokens: account.limit,
                spent_tokens: account.spent,
                held_tokens: account.held,
                left_tokens: account.left(),
            }),
            used: account.used(),
            warn_at: spec.warn_at,
        }
    }
}
