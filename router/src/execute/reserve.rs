//! Money is set aside before an attempt is dialled.
//!
//! **A whole answer** cannot be stopped once it is dialled: it holds the most that it can cost. Where that is more than is
//! left, its `max_tokens` is clamped to what the rest pays for, if the policy says so, or if answers of this caller and
//! model have been that short.
//!
//! **A stream** can be stopped: it holds what answers of this caller and model hardly pass ([`World::likely_output`]; until
//! enough is known the most), and its hold grows before it passes it ([`Growth`]). Where not a token more is left it is
//! ended as the policy says.
//!
//! Where nothing bounds the output a ceiling is imposed. The prompt is always held at its most.
//!
//! [`World::likely_output`]: policies::World::likely_output

use super::answer::DeniedBy;
use super::growth::Growth;
use super::walk::{Router, WAIT_FOR_HELD};
use crate::budgets::{Exceeded, Hold};
use crate::fleet::Model;
use adapters::{BackendError, Kind};
use policies::{
    Amount, BudgetView, Candidate, Considered, Constraint, Facts, HoldError, NanoDollars, OnExceeded, Permit, Pricing,
    Refusal, RoutingDecision,
};

/// Leave to dial, and what was set aside for it.
pub(super) struct Entered {
    pub(super) permit: Permit,
    pub(super) reserved: Reserved,
}

/// What was set aside.
#[derive(Default)]
pub(super) struct Reserved {
    pub(super) hold: Option<Hold>,
    pub(super) max_output: Option<u64>,
    /// How the hold grows, where it is less than the most.
    pub(super) growth: Option<Growth>,
}

/// What a number of output tokens takes at most, the prompt included.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pricing: Pricing,
    prompt: u64,
    choices: u64,
}

// === impl Need ===

impl Need {
    fn new(facts: &Facts, candidate: &Candidate) -> Self {
        let choices = u64::from(facts.needs.choices.max(1));
        Self { pricing: candidate.pricing.clone(), prompt: facts.prompt.ceiling, choices }
    }

    /// Money and tokens for `output` tokens a choice; what does not fit into a number fits into no budget.
    pub(super) fn of(&self, output: u64) -> Amount {
        let output = output.saturating_mul(self.choices);
        let money = match self.pricing.ceiling(self.prompt, output) {
            Ok(money) => money.unwrap_or(NanoDollars::ZERO),
            Err(_) => NanoDollars(u64::MAX),
        };
        Amount { money, tokens: self.prompt.saturating_add(output) }
    }
}

impl Router {
    /// Leave to hand the request to a model's provider. Who was admitted has it; this is where it is given.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub(super) fn permit(&self, facts: &Facts, seen: &Considered, model: &Model) -> Result<Permit, BackendError> {
        let provider = &model.provider;
        // What is sent is what has to be permitted.
        let masked = facts.classed.masked.as_ref().filter(|_| seen.masked);
        let class = masked.map_or(facts.class, |masked| masked.class);
        let permit = self.config.classes.permit(class, &provider.name, provider.location, provider.region.as_deref());
        permit.map_err(|rule| BackendError::before_send(Kind::Forbidden(rule)))
    }

    /// Takes leave, sets the money aside and passes the provider's breaker: whatever comes next, an attempt has to close it.
    ///
    /// # Cancel safety
    /// A dropped future has set nothing aside.
    pub(super) async fn enter(
        &self,
        facts: &Facts,
        decision: &RoutingDecision,
        seen: &Considered,
        model: &Model,
    ) -> Result<Entered, DeniedBy> {
        let permit = self.permit(facts, seen, model).map_err(DeniedBy::Backend)?;
        // Others may have taken the money since the decision.
        let late = |exceeded: Exceeded| DeniedBy::Refusal(Box::new(late_refusal(&exceeded, decision)));
        // Stopping an answer that is billed anyhow saves nothing.
        let stoppable = facts.stream && model.provider.drains.is_none();
        let reserved = self.reserve(facts, seen, stoppable).await.map_err(late)?;
        if !model.provider.breaker.enter() {
            release(reserved.hold);
            let why = "its provider failed repeatedly".to_owned();
            return Err(DeniedBy::Backend(BackendError::before_send(Kind::NotReady(why))));
        }
        Ok(Entered { permit, reserved })
    }

    /// Sets the money aside, and says which ceiling on output that imposes. `stoppable`: whoever dials watches the hold.
    ///
    /// # Cancel safety
    /// A dropped future has set nothing aside.
    pub(super) async fn reserve(
        &self,
        facts: &Facts,
        seen: &Considered,
        stoppable: bool,
    ) -> Result<Reserved, Exceeded> {
        let candidate = &seen.candidate;
        let now = jiff::Timestamp::now();
        let applying = || {
            let mut applying = self.budgets.view(&facts.principal, &facts.tags, now);
            applying.retain(|budget| budget.counts(&candidate.model, candidate.location));
            applying
        };
        let before = applying();
        let need = Need::new(facts, candidate);
        let free = candidate.pricing == Pricing::Free && before.iter().all(|budget| budget.measure.is_money());
        if free || (before.is_empty() && self.config.max_per_request.is_none()) {
            return Ok(Reserved::default());
        }
        let asked = facts.output_ceiling.unwrap_or(self.config.assumed_output);
        let most = asked.min(candidate.max_output.unwrap_or(u64::MAX));
        let known = candidate.expected_output.filter(|expected| *expected < most && need.choices == 1);
        let first = known.filter(|_| stoppable).unwrap_or(most);
        let hold = async |output: u64| {
            let whose = (&candidate.model, candidate.location);
            let payer = (&facts.principal, facts.tags.as_slice());
            self.budgets.set_aside(payer, whose, need.of(output), now).await
        };
        let imposed = |output: u64| facts.output_ceiling.is_none_or(|wanted| output < wanted).then_some(output);
        let growth = |paid: u64| (paid < most).then(|| Growth::new(paid, most, need.clone()));
        let refused = match hold(first).await {
            Ok(hold) => return Ok(Reserved { hold: Some(hold), max_output: imposed(most), growth: growth(first) }),
            Err(exceeded) => exceeded,
        };
        // Replicas may have taken some of it meanwhile.
        let applying = applying();
        let short = |budget: &&BudgetView| budget.account.fits(need.of(first).of(budget.measure)).is_err();
        let short: Vec<&BudgetView> =
            applying.iter().filter(|budget| budget.on_exceeded.is_hard()).filter(short).collect();
        let least = if short.iter().all(|budget| budget.on_exceeded.shortens()) {
            1
        } else {
            known.filter(|_| !stoppable).ok_or_else(|| refused.clone())?
        };
        let ends = stoppable && need.choices == 1 && short.iter().all(|budget| budget.on_exceeded == OnExceeded::End);
        let affordable = affordable(&need, &applying, first);
        if affordable < least.max(1) {
            return Err(refused);
        }
        hold(affordable).await.map(|hold| match ends {
            true => Reserved { hold: Some(hold), max_output: imposed(most), growth: growth(affordable) },
            false => Reserved { hold: Some(hold), max_output: imposed(affordable), growth: None },
        })
    }
}

/// Gives back what an attempt that was never dialled had set aside.
fn release(hold: Option<Hold>) {
    if let Some(hold) = hold {
        hold.settle(Amount::default());
    }
}

/// The refusal of a request whose money others took since the decision.
fn late_refusal(exceeded: &Exceeded, decision: &RoutingDecision) -> Refusal {
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

/// The most output tokens that every budget has left, at most `most`: a search over a monotone function.
fn affordable(need: &Need, budgets: &[BudgetView], most: u64) -> u64 {
    let hard = || budgets.iter().filter(|budget| budget.on_exceeded.is_hard());
    let fits = |output: u64| {
        let amount = need.of(output);
        hard().all(|budget| budget.account.fits(amount.of(budget.measure)).is_ok())
    };
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    low
}
