//! Which requests are also answered by the other side, and by whom ([`crate::shadow`]).

use super::prepare::sent;
use super::walk::{Router, ShadowSeed};
use crate::ask::Ask;
use policies::{Facts, Location, ModelName, NanoDollars, RoutingDecision, Sink};
use std::sync::Arc;

// === impl Router ===

impl Router {
    /// Whether any experiment copies requests.
    pub(super) fn shadows(&self) -> bool {
        self.config.experiments.iter().any(|experiment| experiment.shadows())
    }

    /// Prepares the copy of a request that was drawn: everything that it takes is set aside here; `None` where it may not be
    /// made, or nothing is left for it.
    pub(super) async fn shadow_seed(
        self: &Arc<Self>,
        ask: &Ask,
        facts: &Facts,
        decision: &RoutingDecision,
        served: &ModelName,
    ) -> Option<Box<ShadowSeed>> {
        let experiment = self.config.experiments.iter().find(|experiment| experiment.shadows())?;
        let side = self.fleet.get(served)?.provider.location;
        // Only targets that every constraint admitted, residency and budget included.
        let mut others = decision.considered.iter().filter(|seen| seen.admitted() && seen.candidate.model != *served);
        let other = match &experiment.spec.sides {
            None => others.find(|seen| seen.candidate.location != side)?,
            Some(sides) if sides.contains(served) => others.find(|seen| sides.contains(&seen.candidate.model))?,
            Some(_) => return None,
        };
        let model = self.fleet.get(&other.candidate.model)?;
        // Where either side gets it masked, what is kept of both is masked, and has the class of that.
        let served_masked = decision.considered.iter().any(|seen| seen.masked && seen.candidate.model == *served);
        let mask = ask.looked.mask().filter(|_| served_masked || other.masked).cloned();
        let masked_class = facts.classed.masked.as_ref().filter(|_| mask.is_some()).map(|masked| masked.class);
        let kept = masked_class.unwrap_or(facts.class);
        let keep = self.config.classes.permit_sink(kept, Sink::Shadow).ok()?;
        let permit = self.permit(facts, other, model).ok()?;
        let sides = experiment.spec.sides.clone().unwrap_or_else(|| match side {
            Location::Local => [served.clone(), model.name.clone()],
            Location::Hosted => [model.name.clone(), served.clone()],
        });
        let place = experiment.live.place()?;
        let held = match (other.ceiling, experiment.spec.daily) {
            (Some(most), _) => Some(experiment.live.take(most)?),
            // Nobody knows what it costs, so that no limit could be kept.
            (None, Some(_)) => return None,
            (None, None) => None,
        };
        let Ok(reserved) = self.reserve(facts, other, false).await else {
            if let Some(held) = held {
                held.settle(NanoDollars::ZERO);
            }
            return None;
        };
        // The ceiling was computed from what the client allows, or from what is assumed: it has to hold.
        let assumed = || self.config.assumed_output.min(other.candidate.max_output.unwrap_or(u64::MAX));
        let max_output = reserved.max_output.or_else(|| facts.output_ceiling.is_none().then(assumed));
        let (request, masked) = sent(ask, other);
        let mut open = self.opening(ask, facts, model, (other, reserved.hold.as_ref()), crate::shadow::ATTEMPT);
        open.purpose = "shadow";
        Some(Box::new(ShadowSeed {
            experiment: experiment.clone(),
            router: self.clone(),
            sides,
            served: served.clone(),
            facts: facts.clone(),
            held,
            _place: place,
            request,
            ask: ask.clone(),
            masked,
            mask,
            model: model.clone(),
            permit,
            keep,
            open: Arc::new(open),
            hold: reserved.hold,
            max_output,
            local_cost: self.config.local_cost,
            ledger: self.desk.ledger.clone(),
            observer: self.desk.observer.clone(),
            tasks: self.desk.tasks.clone(),
        }))
    }
}
