//! Money is set aside before an attempt is dialled.
//!
//! A priced attempt under a budget holds the most that it can cost; where nothing bounds its output, a ceiling is imposed.
//! Where the policy clamps, the ceiling is what the money left can pay for.

use super::walk::{Router, WAIT_FOR_HELD};
use crate::budgets::{Exceeded, Hold};
use policies::{
    Candidate, Considered, Constraint, Facts, HoldError, ModelName, NanoDollars, OnExceeded, Pricing, Refusal,
    RoutingDecision,
};

/// What was set aside.
pub(super) struct Reserved {
    pub(super) hold: Option<Hold>,
    pub(super) max_output: Option<u64>,
}

impl Router {
    /// Sets the money aside, and says which ceiling on output that imposes.
    pub(super) fn reserve(&self, facts: &Facts, seen: &Considered) -> Result<Reserved, Exceeded> {
        let candidate = &seen.candidate;
        let now = jiff::Timestamp::now();
        let budgets = self.budgets.view(&facts.principal, &facts.tags, now);
        let counts = |only: &Option<ModelName>| only.as_ref().is_none_or(|only| *only == candidate.model);
        let applying: Vec<_> = budgets.into_iter().filter(|budget| counts(&budget.only_model)).collect();
        let limited = !applying.is_empty() || self.config.max_per_request.is_some();
        if candidate.pricing == Pricing::Free || !limited {
            return Ok(Reserved { hold: None, max_output: None });
        }
        let asked = facts.output_ceiling.unwrap_or(self.config.assumed_output);
        let most = asked.min(candidate.max_output.unwrap_or(u64::MAX));
        let choices = u64::from(facts.needs.choices.max(1));
        let hold = |output: u64| {
            let ceiling = candidate.pricing.ceiling(facts.prompt.ceiling, output.saturating_mul(choices));
            let amount = ceiling.ok().flatten().unwrap_or(NanoDollars(u64::MAX));
            self.budgets.hold(&facts.principal, &facts.tags, &candidate.model, amount, now)
        };
        let imposed = |output: u64| facts.output_ceiling.is_none_or(|wanted| output < wanted).then_some(output);
        let refused = match hold(most) {
            Ok(hold) => return Ok(Reserved { hold: Some(hold), max_output: imposed(most) }),
            Err(exceeded) => exceeded,
        };
        let clamps = applying.iter().all(|budget| {
            let short = budget.account.fits(seen.ceiling.unwrap_or(NanoDollars(u64::MAX))).is_err();
            !short || matches!(budget.on_exceeded, OnExceeded::Clamp | OnExceeded::End)
        });
        if !clamps {
            return Err(refused);
        }
        let left = applying.iter().map(|budget| budget.account.left()).min().unwrap_or_default();
        let affordable = affordable(candidate, facts.prompt.ceiling, choices, left, most);
        if affordable == 0 {
            return Err(refused);
        }
        hold(affordable).map(|hold| Reserved { hold: Some(hold), max_output: imposed(affordable) })
    }
}

/// Gives back what an attempt that was never dialled had set aside.
pub(super) fn release(hold: Option<Hold>) {
    if let Some(hold) = hold {
        hold.settle(NanoDollars::ZERO);
    }
}

/// The refusal of a request whose money others took since the decision.
pub(super) fn late_refusal(exceeded: &Exceeded, decision: &RoutingDecision) -> Refusal {
    let held = exceeded.why == HoldError::Held;
    let what = if held { "is held by running calls" } else { "is spent" };
    Refusal {
        by: Constraint::Budget,
        message: format!("budget `{}` {what}", exceeded.scope),
        retry_after: held.then_some(WAIT_FOR_HELD),
        held,
        considered: decision.considered.clone(),
        signals: decision.signals.clone(),
    }
}

/// The most output tokens whose ceiling fits `left`, at most `most`: a search over a monotone function.
fn affordable(candidate: &Candidate, prompt: u64, choices: u64, left: NanoDollars, most: u64) -> u64 {
    let fits = |output: u64| {
        let ceiling = candidate.pricing.ceiling(prompt, output.saturating_mul(choices));
        ceiling.ok().flatten().is_some_and(|ceiling| ceiling <= left)
    };
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    low
}
