//! What is thought of a request before anything is dialled.

use super::answer::DeniedBy;
use super::deny::UNWRITABLE;
use super::settings::RouterConfig;
use super::story;
use super::walk::Router;
use crate::affinity::Conversation;
use crate::ask::{Ask, facts};
use crate::classify::{Classifier, Control, Evidence};
use crate::compare;
use crate::experiment::{Drawn, enrolled};
use crate::ledger::{ArmRecord, Placed};
use crate::look::look;
use policies::{
    BudgetView, Choice, DataClass, Exploration, Facts, Location, ModelName, Pricing, Refusal, RoutingDecision, Side,
    Sink, Steering, World, admit, decide,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A judge at work, and what sets its threshold.
pub(super) struct Seat {
    pub(super) classifier: Classifier,
    pub(super) share: Arc<Control>,
    /// Its name, with the version of its head: labels count for the judge whose decision they speak of.
    pub(super) judge: Arc<str>,
    /// The entry of `[[router.heads]]` that it belongs to; empty: none.
    pub(super) lane: Arc<str>,
}

/// A decision with all it was made of.
pub(super) struct Considering {
    pub(super) facts: Facts,
    /// Who judged it.
    pub(super) seat: Arc<Seat>,
    pub(super) conversation: Option<Conversation>,
    pub(super) outcome: Result<RoutingDecision, Box<Refusal>>,
    pub(super) evidence: Option<Arc<Evidence>>,
    pub(super) looked_from: Option<f32>,
    /// The budget that is nearest to its end, where that is worth saying.
    pub(super) near: Option<String>,
    /// The arm that the request is in, where sessions are held out.
    pub(super) arm: Option<Box<ArmRecord>>,
    /// The arm of an experiment that it counts for.
    pub(super) placed: Option<Placed>,
}

// === impl Seat ===

impl Seat {
    pub(super) fn new(classifier: Classifier, share: Arc<Control>, lane: &str) -> Self {
        let judge = format!("{classifier:?}").into();
        Self { classifier, share, judge, lane: lane.into() }
    }

    /// Who judges, outside of lanes, in the arms of a split that have thresholds of their own.
    pub(super) fn of_arms(config: &RouterConfig) -> Vec<(compare::Side, Arc<Self>)> {
        let control = |arm| config.experiments.iter().find_map(|experiment| experiment.control(arm)).cloned();
        let seat = |arm| Some((arm, Arc::new(Self::new(config.classifier.clone(), control(arm)?, ""))));
        [compare::Side::Left, compare::Side::Right].into_iter().filter_map(seat).collect()
    }
}

// === impl Router ===

impl Router {
    /// The data class of a request: it is looked at, and neither judged nor decided on. What was found is kept in the
    /// [`Ask`], so that whoever goes on with it does not look again.
    ///
    /// # Errors
    /// A class that nobody configured.
    pub async fn class_of(&self, ask: &Ask) -> Result<DataClass, DeniedBy> {
        let ask = &*enrolled(&self.config.experiments, ask);
        look(ask, self.config.detectors.as_ref(), self.config.masking.as_ref()).await;
        Ok(self.facts(ask).await?.class)
    }

    /// The decision for a request: nothing is dialled but the judge, nothing charged, nothing remembered.
    ///
    /// The text is JSON, the same that the record keeps ([`story::Explanation`]).
    pub async fn explain(&self, ask: &Ask) -> Result<String, DeniedBy> {
        let ask = &*enrolled(&self.config.experiments, ask);
        let Considering { facts, outcome, placed, .. } = self.consider(ask, Exploration::default()).await?;
        Ok(story::Explanation::new(&facts, &self.config.classes, &outcome, placed.as_ref()).text())
    }

    /// Decides on a request: facts, constraints, judgement, plan.
    pub(super) async fn consider(&self, ask: &Ask, exploration: Exploration) -> Result<Considering, DeniedBy> {
        look(ask, self.config.detectors.as_ref(), self.config.masking.as_ref()).await;
        let facts = self.facts(ask).await?;
        if let Choice::Pinned(model) = &facts.choice
            && self.fleet.get(model).is_none()
        {
            return Err(DeniedBy::UnknownModel(model.to_string()));
        }
        let lane = self.lanes.iter().find(|(rule, _)| rule.takes(&facts, &ask.id));
        let drawn_arm = ask.looked.drawn();
        let own = drawn_arm.and_then(|drawn| self.arms.iter().find(|(of, _)| *of == drawn.arm));
        let usual = own.map_or(&self.usual, |(_, seat)| seat);
        let seat = lane.map_or(usual, |(_, seat)| seat);
        // A side that is kept whatever the score says would not be what a risk was tested for.
        let remembered = self.config.switch_cost > 0.0 && facts.choice == Choice::Auto && !seat.share.keeps_a_risk();
        let conversation = remembered.then(|| Conversation::of(ask)).flatten();
        let mut world = self.world(&facts, &seat.share);
        world.steering.exploration = exploration;
        world.steering.kept =
            conversation.and_then(|conversation| self.config.affinity.kept(conversation, Instant::now()));
        let drawn = self.config.holdout.as_ref().map(|holdout| holdout.draw(ask));
        world.steering.holdout = drawn.as_ref().is_some_and(|drawn| drawn.held_out);
        let experiments = &self.config.experiments;
        let arm = drawn_arm.map(Drawn::spec);
        let split = arm.and_then(|arm| arm.side);
        let opened = || experiments.iter().any(|experiment| experiment.opens(ask, &facts)).then_some(Side::Local);
        world.steering.experiment = split.or_else(opened);
        if let Some(model) = arm.and_then(|arm| arm.model.as_ref()) {
            for list in [&mut world.local, &mut world.hosted] {
                put_first(list, model);
            }
        }
        let admission = admit(&facts, &world);
        let judging = Instant::now();
        let judgement = if admission.needs_judgement() {
            let leave = |sink| self.config.classes.permit_sink(facts.class, sink).ok();
            let reading = leave(Sink::Classifier);
            let mut judgement = seat.classifier.judge(&ask.request, self.config.unsure, reading.as_ref()).await;
            if let Some(second) = &self.config.second
                && let Some(leave) = leave(Sink::Judge)
                && world.steering.too_close(Some(&judgement.signals))
            {
                second.weigh(&ask.request, &mut judgement.signals, &leave).await;
            }
            Some(judgement)
        } else {
            None
        };
        // An upper bound: the machine may have done something else meanwhile.
        let judging = judgement.as_ref().and(self.config.local_cost).and_then(|cost| cost.of(judging.elapsed()).ok());
        let held_out = drawn.map(|drawn| drawn.arm(admission.closed(), &facts, judging));
        let (signals, evidence) = judgement.map(|judgement| (judgement.signals, judgement.evidence)).unzip();
        let near = nearest(&world.budgets);
        let (outcome, evidence) = (decide(admission, signals), evidence.flatten());
        let decision = outcome.as_ref().ok();
        let looked_from = decision.and_then(|decision| decision.steering.uncertain).map(|(from, _)| from);
        let placed = drawn_arm.zip(decision);
        let placed = placed.and_then(|(drawn, decision)| drawn.placed(ask, &facts, decision, lane.is_none()));
        Ok(Considering {
            outcome,
            facts,
            seat: seat.clone(),
            conversation,
            evidence,
            looked_from,
            near,
            arm: held_out,
            placed,
        })
    }

    /// Where the model's provider runs; `None` for an unknown one.
    pub fn location_of(&self, model: &ModelName) -> Option<Location> {
        self.fleet.get(model).map(|model| model.provider.location)
    }

    /// The facts, with the class that earlier turns left.
    async fn facts(&self, ask: &Ask) -> Result<Facts, DeniedBy> {
        let classes = &self.config.classes;
        let read = || {
            let read = facts(ask, classes, self.config.least_class());
            read.map_err(|error| DeniedBy::UnknownClass(error.to_string()))
        };
        let alone = read()?;
        if alone.class == classes.highest() && alone.classed.masked.is_none() {
            return Ok(alone);
        }
        match self.config.taint.left_to(ask, &alone, classes, &self.desk.ledger).await {
            Some(before) if before.class > alone.class || alone.classed.masked.is_some() => {
                ask.looked.follows(before);
                read()
            }
            Some(_) | None => Ok(alone),
        }
    }

    pub(super) fn world(&self, facts: &Facts, share: &Control) -> World {
        let now = jiff::Timestamp::now();
        let stopped = match self.desk.ledger.healthy() {
            true => self.budgets.stopped(),
            false => Some(UNWRITABLE),
        };
        let budgets = self.budgets.view(&facts.principal, &facts.tags, now);
        let candidates = self.fleet.models().map(|model| {
            let mut candidate = model.candidate(facts.prompt.likely);
            candidate.tells = model.provider.backend.tells(facts.endpoint, facts.needs.choices)
                && !self.cascade.is_silent(&model.name);
            if !budgets.is_empty() {
                candidate.expected_output = self.budgets.expected_output(facts.principal.key.as_ref(), &model.name);
            }
            if let (Some(why), true) = (stopped, candidate.pricing != Pricing::Free) {
                let why = why.to_owned();
                candidate.readiness = policies::Readiness::Down { why, retry_after: Some(Duration::from_secs(1)) };
            }
            candidate
        });
        let candidates = candidates.collect();
        World {
            candidates,
            local: self.config.local.clone(),
            hosted: self.config.hosted.clone(),
            classes: self.config.classes.clone(),
            rules: self.config.rules.clone(),
            budgets,
            max_per_request: self.config.max_per_request,
            max_first_token: self.config.max_first_token,
            assumed_output: self.config.assumed_output,
            steering: Steering {
                uncertain: share.uncertain(self.config.cascade.width),
                observes: self.config.cascade.observe,
                ..Steering::new(share.threshold(), self.config.unsure, self.config.switch_cost)
            },
        }
    }
}

/// Brings a model to the front of a list that it is in.
fn put_first(list: &mut Arc<[ModelName]>, model: &ModelName) {
    if list.contains(model) && list.first() != Some(model) {
        let others = list.iter().filter(|other| *other != model);
        *list = std::iter::once(model).chain(others).cloned().collect();
    }
}

/// As a header says it: `team:research month 83%`.
fn nearest(budgets: &[BudgetView]) -> Option<String> {
    let near = budgets.iter().filter_map(|budget| budget.near.map(|(window, used)| (budget, window, used)));
    let (budget, window, used) = near.max_by(|one, two| one.2.total_cmp(&two.2))?;
    Some(format!("{} {window} {:.0}%", budget.scope, (used * 100.0).floor()))
}
