//! Constraints may only refuse.
//!
//! **Promise.** Each constraint looks at one candidate and either strikes it out or says nothing, so adding one can
//! never add a target, and their order cannot matter: all strikes of a candidate are kept.
//!
//! **Hardness.** [`Constraint`] is ordered from what a moment may mend to what nobody will: a candidate counts as struck
//! by its hardest constraint, a request as refused by the softest of these, because that is what the client can change
//! (wait, pay, shorten, ask for less, ask for another model).

use crate::budget::{Amount, BudgetView, HoldError, Measure, OnExceeded};
use crate::candidate::{Candidate, Location, ModelKind, Readiness};
use crate::decide::World;
use crate::facts::{ClassedBy, Endpoint, Facts, RouteWish};
use crate::mask::Masked;
use crate::money::NanoDollars;
use serde::Serialize;
use std::time::Duration;

/// Who refuses, the softest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// The caller's rate is used up; it speaks of the request, not of a candidate.
    RateLimit,
    /// The model is down, loading or its breaker is open.
    Health,
    /// Its predicted time to first token is too long.
    FirstToken,
    /// A budget does not suffice.
    Budget,
    /// The prompt does not fit its context window.
    Context,
    /// It cannot do what the request needs.
    Capability,
    /// It is dearer than a request may be, or nobody knows its price where dollars are limited.
    Price,
    /// The key may not use it.
    AllowList,
    /// The key may not go to its side.
    KeyRoute,
    /// The key may not send data of that class.
    KeyClass,
    /// The data may not go there.
    Residency,
    /// The client or a rule narrowed the choice to the other side.
    Route,
}

/// A candidate struck out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Strike {
    /// Who refuses.
    pub by: Constraint,
    /// Why: one lowercase fragment, fit for a client to read, never with data of the request.
    pub detail: String,
    /// When asking again makes sense, if anybody knows.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Whether the policy wants the request refused rather than degraded (a budget with `on_exceeded = "refuse"`).
    #[serde(skip)]
    pub stop: bool,
    /// Whether the money is only held by running calls.
    #[serde(skip)]
    pub held: bool,
}

// === impl Constraint ===

impl Constraint {
    /// The word in headers, metrics and errors.
    pub fn word(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Health => "health",
            Self::FirstToken => "first_token",
            Self::Budget => "budget",
            Self::Context => "context",
            Self::Capability => "capability",
            Self::Price => "price",
            Self::AllowList => "allow_list",
            Self::KeyRoute => "key_route",
            Self::KeyClass => "key_class",
            Self::Residency => "residency",
            Self::Route => "route",
        }
    }

    fn strike(self, detail: impl Into<String>) -> Strike {
        Strike { by: self, detail: detail.into(), retry_after: None, stop: false, held: false }
    }
}

/// Everything that speaks against a candidate; empty when it is admitted.
pub fn strikes(facts: &Facts, wish: RouteWish, world: &World, candidate: &Candidate) -> Vec<Strike> {
    // One after the other: most say nothing, and what they could say is large.
    let mut all = Vec::new();
    all.extend(route(wish, candidate));
    all.extend(residency(facts, world, candidate));
    all.extend(allow_list(facts, candidate));
    all.extend(key_route(facts, candidate));
    all.extend(key_class(facts, world));
    all.extend(price(facts, world, candidate));
    all.extend(capability(facts, candidate));
    all.extend(context(facts, candidate));
    all.extend(budget(facts, world, candidate));
    all.extend(first_token(world, candidate));
    all.extend(health(candidate));
    all
}

fn route(wish: RouteWish, candidate: &Candidate) -> Option<Strike> {
    let wanted = match wish {
        RouteWish::Auto => return None,
        RouteWish::Local => Location::Local,
        RouteWish::Hosted => Location::Hosted,
    };
    (candidate.location != wanted).then(|| Constraint::Route.strike(format!("the route was narrowed to {wanted}")))
}

fn residency(facts: &Facts, world: &World, candidate: &Candidate) -> Option<Strike> {
    let permits =
        |class| world.classes.permits(class, &candidate.provider, candidate.location, candidate.region.as_deref());
    let refused = permits(facts.class).err()?;
    let rule = match maskable(facts, candidate).map(|masked| permits(masked.class)) {
        Some(Ok(())) => return None,
        // Its own rule speaks where masking lowers nothing.
        Some(Err(_)) | None => refused,
    };
    Some(Constraint::Residency.strike(format!("{rule}{}", classed(facts))))
}

/// Whether a candidate gets a request masked: a hosted one where that is always done, or where the class would forbid it.
pub(crate) fn masked_for(facts: &Facts, world: &World, candidate: &Candidate) -> bool {
    let Some(masked) = maskable(facts, candidate) else { return false };
    let region = candidate.region.as_deref();
    masked.always || world.classes.permits(facts.class, &candidate.provider, candidate.location, region).is_err()
}

/// What a candidate would get where it gets the request masked.
fn maskable<'f>(facts: &'f Facts, candidate: &Candidate) -> Option<&'f Masked> {
    let masked = facts.classed.masked.as_ref()?;
    (candidate.location == Location::Hosted && masked.meant_for(&candidate.provider)).then_some(masked)
}

/// Why the data has that class, where its content set it: names of what was found, never the content.
fn classed(facts: &Facts) -> String {
    match facts.classed.by {
        ClassedBy::Default | ClassedBy::Header => String::new(),
        ClassedBy::Content => format!(" (its content: {})", facts.classed.found(facts.class).join(", ")),
        ClassedBy::Matcher => " (a configured matcher)".into(),
        ClassedBy::Session => " (an earlier turn of its session)".into(),
        ClassedBy::Unscanned => " (not all of its content could be looked at)".into(),
    }
}

fn allow_list(facts: &Facts, candidate: &Candidate) -> Option<Strike> {
    let allowed = facts.principal.models.as_ref()?;
    (!allowed.contains(&candidate.model))
        .then(|| Constraint::AllowList.strike(format!("this key may not use model `{}`", candidate.model)))
}

fn key_route(facts: &Facts, candidate: &Candidate) -> Option<Strike> {
    let allowed = facts.principal.routes.as_ref()?;
    (!allowed.contains(&candidate.location))
        .then(|| Constraint::KeyRoute.strike(format!("this key may not use {} models", candidate.location)))
}

fn key_class(facts: &Facts, world: &World) -> Option<Strike> {
    let allowed = facts.principal.classes.as_ref()?;
    let class = world.classes.name(facts.class);
    (!allowed.iter().any(|known| known == class))
        .then(|| Constraint::KeyClass.strike(format!("this key may not send data of class `{class}`")))
}

fn price(facts: &Facts, world: &World, candidate: &Candidate) -> Option<Strike> {
    let in_dollars = |budget: &BudgetView| {
        budget.measure == Measure::Money
            && budget.on_exceeded.is_hard()
            && budget.counts(&candidate.model, candidate.location)
    };
    if world.max_per_request.is_none() && !world.budgets.iter().any(in_dollars) {
        return None;
    }
    let Ok(Some(ceiling)) = world.ceiling(facts, candidate) else {
        return Some(
            Constraint::Price.strike(format!("model `{}` has no price and dollars are limited", candidate.model)),
        );
    };
    let most = world.max_per_request?;
    (ceiling > most).then(|| {
        Constraint::Price.strike(format!("it may cost ${ceiling}, more than the ${most} allowed for a request"))
    })
}

fn capability(facts: &Facts, candidate: &Candidate) -> Option<Strike> {
    let misplaced = match (facts.endpoint, candidate.kind) {
        (Endpoint::Chat | Endpoint::Completions, ModelKind::Chat) | (Endpoint::Embeddings, ModelKind::Embedding) => {
            None
        }
        (Endpoint::Chat | Endpoint::Completions, ModelKind::Embedding) => {
            Some("makes embeddings and answers nothing: call `/v1/embeddings`")
        }
        (Endpoint::Embeddings, ModelKind::Chat) => {
            Some("makes no embeddings (one that does is marked `kind = \"embedding\"` in the configuration)")
        }
    };
    if let Some(why) = misplaced {
        return Some(Constraint::Capability.strike(format!("model `{}` {why}", candidate.model)));
    }
    let (needs, can) = (&facts.needs, &candidate.capabilities);
    let missing = [
        (needs.tools && !can.tools, "tools"),
        (needs.vision && !can.vision, "pictures"),
        (needs.audio && !can.audio, "audio"),
        (needs.files && !can.files, "files"),
        (needs.json_schema && !can.json_schema, "JSON schemas"),
        (needs.logprobs && !can.logprobs, "log-probabilities"),
        (needs.choices > 1 && !can.several_choices, "`n` above 1"),
    ]
    .into_iter()
    .find_map(|(lacking, what)| lacking.then_some(what))?;
    Some(Constraint::Capability.strike(format!("model `{}` does not support {missing}", candidate.model)))
}

fn context(facts: &Facts, candidate: &Candidate) -> Option<Strike> {
    let window = candidate.context_window?;
    let least = facts.prompt.floor;
    (least >= window).then(|| {
        Constraint::Context
            .strike(format!("the prompt has at least {least} tokens, model `{}` reads {window}", candidate.model))
    })
}

fn budget(facts: &Facts, world: &World, candidate: &Candidate) -> Option<Strike> {
    let mut worst: Option<Strike> = None;
    let hard = |budget: &&BudgetView| budget.on_exceeded.is_hard();
    let counts = |budget: &&BudgetView| budget.counts(&candidate.model, candidate.location);
    // What it may cost is the same for all budgets that take it whole, and for all that shorten it.
    let mut costs = [None, None];
    for budget in world.budgets.iter().filter(hard).filter(counts) {
        let shortens = budget.on_exceeded.shortens();
        let [whole, short] = &mut costs;
        let (output, money) = *(if shortens { short } else { whole }).get_or_insert_with(|| {
            let output = if shortens { 1 } else { world.likely_output(facts, candidate) };
            (output, candidate.pricing.ceiling(facts.prompt.ceiling, output).ok())
        });
        let Some(money) = money else { continue };
        // Unpriced: where dollars are limited `price` has struck it out.
        let money = money.unwrap_or(NanoDollars::ZERO);
        let needed = Amount { money, tokens: facts.prompt.ceiling.saturating_add(output) }.of(budget.measure);
        if needed == 0 {
            continue;
        }
        if let Err(why) = budget.account.fits(needed) {
            let held = why == HoldError::Held;
            let what = if held {
                "is held by running calls".to_owned()
            } else {
                let left = budget.account.limit.saturating_sub(budget.account.spent);
                let verb = if budget.measure == Measure::Money { "cost" } else { "take" };
                let text = |units| budget.measure.text(units);
                format!("has {} left, and this request may {verb} {}", text(left), text(needed))
            };
            let strike = Strike {
                held,
                stop: budget.on_exceeded != OnExceeded::Local,
                retry_after: held.then_some(Duration::from_secs(1)),
                ..Constraint::Budget.strike(format!("budget `{}` {what}", budget.scope))
            };
            let worse = worst.as_ref().is_none_or(|known| (strike.stop, !strike.held) > (known.stop, !known.held));
            if worse {
                worst = Some(strike);
            }
        }
    }
    worst
}

fn first_token(world: &World, candidate: &Candidate) -> Option<Strike> {
    let (predicted, most) = (candidate.first_token_in?, world.max_first_token?);
    (predicted > most).then(|| Strike {
        retry_after: Some(predicted),
        ..Constraint::FirstToken.strike(format!(
            "model `{}` would need about {:.1} s to its first token, {:.1} s are allowed",
            candidate.model,
            predicted.as_secs_f32(),
            most.as_secs_f32()
        ))
    })
}

fn health(candidate: &Candidate) -> Option<Strike> {
    match &candidate.readiness {
        Readiness::Ready => None,
        Readiness::Loading => Some(Strike {
            retry_after: Some(Duration::from_secs(2)),
            ..Constraint::Health.strike(format!("model `{}` is being loaded", candidate.model))
        }),
        Readiness::Down { why, retry_after } => Some(Strike {
            retry_after: *retry_after,
            ..Constraint::Health.strike(format!("model `{}` is not available: {why}", candidate.model))
        }),
    }
}
