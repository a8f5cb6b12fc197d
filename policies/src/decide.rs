//! From facts and signals to a plan.
//!
//! **Promise.** Constraints strike candidates out ([`admit`]), preferences order the rest ([`decide`]); a target that a
//! constraint struck out is in no plan, whatever the signals say. Both are pure and total.
//!
//! **Why two steps.** Judging costs time, so it happens only where it can change the outcome: where both sides still
//! have somebody ([`Admission::needs_judgement`]).
//!
//! **Failure behaviour.** When nobody is left the answer is a [`Refusal`] that names, for every candidate, who struck it
//! out; it speaks with the voice of the softest constraint, which is the one that the client can do something about.

use crate::budget::BudgetView;
use crate::candidate::{Candidate, Side};
use crate::constraint::{Constraint, Strike, masked_for, strikes};
use crate::facts::{Choice, Facts, RouteWish};
use crate::ids::ModelName;
use crate::money::{MoneyError, NanoDollars};
use crate::plan::{FEW, Plan};
use crate::residency::Classes;
use crate::rule::Rule;
use crate::signals::{Signals, Unsure};
use crate::steering::Steering;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What `decide` needs to know besides the request: a snapshot.
#[derive(Clone, Debug)]
pub struct World {
    /// All configured models, as they stand now.
    pub candidates: Vec<Candidate>,
    /// `[router] local`, in order of preference.
    pub local: Arc<[ModelName]>,
    /// `[router] hosted`, in order of preference.
    pub hosted: Arc<[ModelName]>,
    /// The residency table.
    pub classes: Arc<Classes>,
    /// Rules in order; the first that matches counts.
    pub rules: Arc<[Rule]>,
    /// Budgets that apply to this request.
    pub budgets: Vec<BudgetView>,
    /// The most that one request may cost.
    pub max_per_request: Option<NanoDollars>,
    /// The longest predicted wait for a first token.
    pub max_first_token: Option<Duration>,
    /// Output tokens assumed, and imposed under a budget, when the client gives no ceiling.
    pub assumed_output: u64,
    /// How judgements are used.
    pub steering: Steering,
}

/// Why the first target of the plan is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The classifier judged.
    Classifier,
    /// The classifier abstained, and `[router] unsure` named a side.
    Unsure,
    /// The client named the model.
    Pinned,
    /// The client narrowed the route.
    Header,
    /// A rule narrowed or pinned.
    Rule,
    /// Only one side is configured.
    Only,
    /// An earlier target failed before its first byte.
    Fallback,
    /// The local answer was looked at, and not found good enough.
    Cascade,
    /// The conversation is on this side, and the need has not moved enough to change it.
    Session,
    /// The same call of a tool failed again and again.
    ToolLoop,
    /// It was drawn to take the other side than the judgement says.
    Exploration,
    /// The session is held out, to measure what routing saves.
    Holdout,
    /// An experiment, or its result, put it on this side.
    Experiment,
    /// This constraint left only one side.
    Constraint(Constraint),
}

/// A candidate with what spoke against it.
#[derive(Clone, Debug)]
pub struct Considered {
    /// The candidate as it stood.
    pub candidate: Candidate,
    /// The list it was taken from.
    pub side: Side,
    /// Who refuses it; empty when admitted.
    pub strikes: Vec<Strike>,
    /// Its place in the plan, from 0.
    pub rank: Option<usize>,
    /// The most this request can cost with it.
    pub ceiling: Option<NanoDollars>,
    /// It gets the request masked, and is admitted only so where the class forbids it.
    pub masked: bool,
}

/// The candidates of a request after all constraints.
#[derive(Clone, Debug)]
pub struct Admission {
    considered: Vec<Considered>,
    /// The same call of a tool failed again and again.
    tool_loop: bool,
    narrowed: Option<Reason>,
    steering: Steering,
}

/// What will be tried, and why.
#[derive(Clone, Debug)]
pub struct RoutingDecision {
    /// The targets in order.
    pub plan: Plan,
    /// Why the first is first.
    pub reason: Reason,
    /// Every candidate.
    pub considered: Vec<Considered>,
    /// What the judge believed, if it was asked.
    pub signals: Option<Signals>,
    /// How the judgement was used; the threshold that was applied is in it, and the band only where it was.
    pub steering: Steering,
    /// The first target is local, the need was too close to call and somebody hosted could take over: its answer is to be
    /// looked at before the client sees any of it.
    pub watch: bool,
    /// With which probability (0 to 1) this side went first; 1 where nothing was drawn.
    pub propensity: f32,
}

/// Nobody is left.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The constraint that speaks for the request.
    pub by: Constraint,
    /// One sentence for the client.
    pub message: String,
    /// When asking again makes sense.
    pub retry_after: Option<Duration>,
    /// Whether the money is only held by running calls.
    pub held: bool,
    /// Every candidate.
    pub considered: Vec<Considered>,
    /// What the judge believed, if it was asked.
    pub signals: Option<Signals>,
}

// === impl World ===

impl World {
    /// The most output tokens this request can make with that candidate.
    pub fn output_ceiling(&self, facts: &Facts, candidate: &Candidate) -> u64 {
        let wanted = facts.output_ceiling.unwrap_or(self.assumed_output);
        let choices = u64::from(facts.needs.choices.max(1));
        wanted.min(candidate.max_output.unwrap_or(u64::MAX)).saturating_mul(choices)
    }

    /// Output tokens that this request is likely to have at most: what is set aside before it is dialled. A hold grows
    /// before a stream passes it; until enough is known of the caller and the model it is the ceiling.
    pub fn likely_output(&self, facts: &Facts, candidate: &Candidate) -> u64 {
        let most = self.output_ceiling(facts, candidate);
        let alone = facts.needs.choices <= 1;
        candidate.expected_output.filter(|_| alone).map_or(most, |expected| expected.min(most))
    }

    /// The most this request can cost with that candidate; `None` without a price.
    pub fn ceiling(&self, facts: &Facts, candidate: &Candidate) -> Result<Option<NanoDollars>, MoneyError> {
        candidate.pricing.ceiling(facts.prompt.ceiling, self.output_ceiling(facts, candidate))
    }

    /// Candidates by name.
    fn by_name(&self) -> ByName<'_> {
        let many = self.candidates.len() > FEW;
        let hashed =
            if many { self.candidates.iter().rev().map(|seen| (&seen.model, seen)).collect() } else { HashMap::new() };
        ByName { candidates: &self.candidates, hashed }
    }
}

/// Candidates by name; of two of one name the first.
struct ByName<'w> {
    candidates: &'w [Candidate],
    /// Empty where they are few.
    hashed: HashMap<&'w ModelName, &'w Candidate>,
}

// === impl ByName ===

impl<'w> ByName<'w> {
    fn get(&self, model: &ModelName) -> Option<&'w Candidate> {
        if self.hashed.is_empty() {
            return self.candidates.iter().find(|candidate| &candidate.model == model);
        }
        self.hashed.get(model).copied()
    }
}

// === impl Reason ===

impl Reason {
    /// The machine word in `x-sluice-reason`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Classifier => "classifier",
            Self::Unsure => "unsure",
            Self::Pinned => "pinned",
            Self::Header => "header",
            Self::Rule => "rule",
            Self::Only => "only",
            Self::Fallback => "fallback",
            Self::Cascade => "cascade",
            Self::Session => "session",
            Self::ToolLoop => "tool_loop",
            Self::Exploration => "exploration",
            Self::Holdout => "holdout",
            Self::Experiment => "experiment",
            Self::Constraint(constraint) => constraint.word(),
        }
    }
}

// === impl RoutingDecision ===

impl RoutingDecision {
    /// The side of the first target.
    pub fn first_side(&self) -> Option<Side> {
        self.considered.iter().find(|seen| seen.rank == Some(0)).map(|seen| seen.candidate.location)
    }
}

// === impl Considered ===

impl Considered {
    /// Nothing speaks against it.
    pub fn admitted(&self) -> bool {
        self.strikes.is_empty()
    }

    /// The hardest constraint that refuses it.
    pub fn refused_by(&self) -> Option<&Strike> {
        self.strikes.iter().max_by_key(|strike| strike.by)
    }

    /// Admitted, or struck only by a budget that wants the request refused rather than degraded.
    fn viable(&self) -> bool {
        self.strikes.iter().all(|strike| strike.stop)
    }
}

/// Lets every constraint look at every candidate.
pub fn admit(facts: &Facts, world: &World) -> Admission {
    let rule = world.rules.iter().find(|rule| rule.matches(facts, &world.classes));
    let mut narrowed = None;

    let pinned = match (&facts.choice, rule.and_then(|rule| rule.pin.as_ref())) {
        (Choice::Pinned(model), _) => {
            narrowed = Some(Reason::Pinned);
            Some(model)
        }
        (Choice::Auto, Some(model)) => {
            narrowed = Some(Reason::Rule);
            Some(model)
        }
        (Choice::Auto, None) => None,
    };
    let ruled = rule.map_or(RouteWish::Auto, |rule| rule.route);
    let wishes = [(facts.wish, Reason::Header), (ruled, Reason::Rule)];
    for (wish, reason) in wishes {
        if wish != RouteWish::Auto && narrowed.is_none() {
            narrowed = Some(reason);
        }
    }

    let by_name = world.by_name();
    let universe: Vec<(Side, &ModelName)> = match pinned {
        Some(model) => {
            let side = by_name.get(model).map_or(Side::Hosted, |candidate| candidate.location);
            vec![(side, model)]
        }
        None => {
            let local = world.local.iter().map(|model| (Side::Local, model));
            local.chain(world.hosted.iter().map(|model| (Side::Hosted, model))).collect()
        }
    };
    // They are large: moved once, not each time that a list grows.
    let mut considered = Vec::with_capacity(universe.len());
    considered.extend(universe.into_iter().filter_map(|(side, model)| {
        let candidate = by_name.get(model)?;
        let mut against = strikes(facts, facts.wish, world, candidate);
        if ruled != facts.wish && ruled != RouteWish::Auto {
            let more = strikes(facts, ruled, world, candidate);
            against.extend(more.into_iter().filter(|strike| strike.by == Constraint::Route));
        }
        let ceiling = world.ceiling(facts, candidate).ok().flatten();
        let masked = masked_for(facts, world, candidate);
        Some(Considered { candidate: candidate.clone(), side, strikes: against, rank: None, ceiling, masked })
    }));
    Admission { considered, tool_loop: facts.tool_loop, narrowed, steering: world.steering }
}

// === impl Admission ===

impl Admission {
    /// Whether both sides still have somebody, so that a judgement can change the outcome.
    pub fn needs_judgement(&self) -> bool {
        self.viable(Side::Local) && self.viable(Side::Hosted) && !self.held_out() && self.experiment().is_none()
    }

    /// What leaves at most one side; `None` where both have somebody who is admitted.
    pub fn closed(&self) -> Option<Reason> {
        let other = match (self.admitted(Side::Local), self.admitted(Side::Hosted)) {
            (true, true) => return None,
            (true, false) => Some(Side::Hosted),
            (false, true) => Some(Side::Local),
            (false, false) => None,
        };
        let voice = || self.voice(other).map_or(Reason::Only, |strike| Reason::Constraint(strike.by));
        Some(self.narrowed.unwrap_or_else(voice))
    }

    fn held_out(&self) -> bool {
        self.steering.holdout && self.closed().is_none()
    }

    fn experiment(&self) -> Option<Side> {
        self.steering.experiment.filter(|_| self.closed().is_none() && !self.tool_loop)
    }

    /// Every candidate with what spoke against it.
    pub fn considered(&self) -> &[Considered] {
        &self.considered
    }

    fn viable(&self, side: Side) -> bool {
        self.considered.iter().any(|seen| seen.side == side && seen.viable())
    }

    fn admitted(&self, side: Side) -> bool {
        self.considered.iter().any(|seen| seen.side == side && seen.admitted())
    }

    /// Whether the local model that would go first tells how sure it is of its answer.
    fn tells(&self) -> bool {
        let first = self.considered.iter().find(|seen| seen.side == Side::Local && seen.admitted());
        first.is_some_and(|seen| seen.candidate.tells)
    }

    /// The softest of the hardest strikes of one side: what that side as a whole was refused by.
    fn voice(&self, side: Option<Side>) -> Option<&Strike> {
        self.considered
            .iter()
            .filter(|seen| side.is_none_or(|side| seen.side == side))
            .filter_map(Considered::refused_by)
            .min_by_key(|strike| strike.by)
    }

    fn refusal(self, signals: Option<Signals>, speaking: Option<Strike>) -> Refusal {
        let strike = speaking.or_else(|| self.voice(None).cloned());
        let (by, message, retry_after, held) = match strike {
            Some(strike) => (strike.by, strike.detail, strike.retry_after, strike.held),
            None => (Constraint::Capability, "no model is configured for this request".into(), None, false),
        };
        Refusal { by, message, retry_after, held, considered: self.considered, signals }
    }
}

/// Orders what was admitted.
pub fn decide(admission: Admission, signals: Option<Signals>) -> Result<RoutingDecision, Box<Refusal>> {
    // Nobody is sent to a second look that cannot be taken, or whose word does not count.
    let tells = admission.tells();
    let steering = admission.steering.decided_by(tells);
    let too_close = tells && admission.steering.too_close(signals.as_ref());
    let (first, reason, propensity) = match (admission.viable(Side::Local), admission.viable(Side::Hosted)) {
        (false, false) => return Err(Box::new(admission.refusal(signals, None))),
        (true, true) if admission.held_out() => (Side::Hosted, Reason::Holdout, 1.0),
        (true, true) if let Some(side) = admission.experiment() => (side, Reason::Experiment, 1.0),
        (true, true) => {
            let (side, reason) = prefer(signals.as_ref(), steering, admission.tool_loop);
            let judged = signals.as_ref().is_some_and(|signals| signals.need.is_some());
            // Not merely viable: a budget that wants the request refused is not explored around. And only what the score
            // decided: neither a conversation nor an agent in trouble is there to try things out on.
            if judged
                && reason == Reason::Classifier
                && admission.admitted(Side::Local)
                && admission.admitted(Side::Hosted)
            {
                steering.exploration.turn(side, reason)
            } else {
                (side, reason, 1.0)
            }
        }
        (local, _) => {
            let (side, other) = if local { (Side::Local, Side::Hosted) } else { (Side::Hosted, Side::Local) };
            let reason = match admission.narrowed {
                Some(narrowed) => narrowed,
                None => admission.voice(Some(other)).map_or(Reason::Only, |strike| Reason::Constraint(strike.by)),
            };
            (side, reason, 1.0)
        }
    };

    let preferred: Vec<&Considered> =
        admission.considered.iter().filter(|seen| seen.side == first && seen.viable()).collect();
    if preferred.iter().all(|seen| !seen.admitted()) {
        let stop = preferred.iter().find_map(|seen| seen.refused_by().cloned());
        return Err(Box::new(admission.refusal(signals, stop)));
    }

    let admitted = |side: Side| {
        let seen = admission.considered.iter().enumerate();
        seen.filter(move |(_, seen)| seen.side == side && seen.admitted())
    };
    let order: Vec<usize> = admitted(first).chain(admitted(first.other())).map(|(at, _)| at).collect();
    let targets = order.iter().filter_map(|at| admission.considered.get(*at)).map(|seen| seen.candidate.model.clone());
    let Some((plan, places)) = Plan::with_places(targets) else {
        return Err(Box::new(admission.refusal(signals, None)));
    };
    let mut considered = admission.considered;
    for (at, place) in order.into_iter().zip(places) {
        if let Some(seen) = considered.get_mut(at) {
            seen.rank = Some(place);
        }
    }
    let hosted_could = considered.iter().any(|seen| seen.side == Side::Hosted && seen.admitted());
    let watch = first == Side::Local && hosted_could && too_close;
    Ok(RoutingDecision { plan, reason, considered, signals, steering, watch, propensity })
}

/// Which side goes first when both could.
fn prefer(signals: Option<&Signals>, steering: Steering, tool_loop: bool) -> (Side, Reason) {
    if tool_loop {
        return (Side::Hosted, Reason::ToolLoop);
    }
    if let Some(side) = steering.stays(signals) {
        return (side, Reason::Session);
    }
    if steering.too_close(signals) {
        return (Side::Local, Reason::Classifier);
    }
    match signals.and_then(|signals| signals.need) {
        Some(need) if need >= steering.threshold => (Side::Hosted, Reason::Classifier),
        Some(_) => (Side::Local, Reason::Classifier),
        None => match steering.unsure {
            Unsure::Hosted => (Side::Hosted, Reason::Unsure),
            Unsure::Local | Unsure::Heuristic => (Side::Local, Reason::Unsure),
        },
    }
}

#[cfg(test)]
mod tests;
