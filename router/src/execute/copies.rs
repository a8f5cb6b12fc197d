//! Which requests are also answered by the other side, and by whom ([`crate::shadow`]).
//!
//! Where the models differ the copy is prepared while the client's request is: all that it takes is set aside at once. Where the
//! prompts differ the copy is another request: it has to pass everything that a request passes, the look at its content included, and
//! that is done after the client has its answer.

use super::consider::Considering;
use super::prepare::sent;
use super::walk::Router;
use crate::ask::Ask;
use crate::experiment::{Experiment, Fate, SystemPrompt, Trial};
use crate::look::Looked;
use crate::shadow::{Prepared, ShadowSeed};
use adapters::wire::WireRequest;
use policies::{Considered, Exploration, Facts, Location, ModelName, NanoDollars, RouteWish, RoutingDecision, Sink};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A copy under another system prompt that will be prepared when the client has its answer.
pub(crate) struct Later {
    experiment: Arc<Experiment>,
    router: Arc<Router>,
    ask: Ask,
    served: ModelName,
    /// The model that served got the request masked.
    masked: bool,
    place: OwnedSemaphorePermit,
    fate: Fate,
}

/// What a copy is made of.
struct Draft<'a> {
    experiment: Arc<Experiment>,
    place: OwnedSemaphorePermit,
    fate: Fate,
    served: &'a ModelName,
    /// The model that served got the request masked.
    masked: bool,
    sides: [ModelName; 2],
    system: Option<&'a SystemPrompt>,
}

// === impl Router ===

impl Router {
    /// Whether any experiment copies requests; none is drawn here.
    pub(super) fn shadows(&self) -> bool {
        self.config.experiments.iter().any(|experiment| matches!(experiment.spec.kind, Trial::Shadow(_)))
    }

    /// Prepares the copy of a request that was drawn; `None` where it may not be made, or nothing is left for it.
    pub(super) async fn shadow_seed(
        self: &Arc<Self>,
        ask: &Ask,
        facts: &Facts,
        decision: &RoutingDecision,
        served: &ModelName,
    ) -> Option<Box<ShadowSeed>> {
        let experiment = self.config.experiments.iter().find(|experiment| experiment.shadows())?.clone();
        let fate = experiment.live.drawn();
        let side = self.fleet.get(served)?.provider.location;
        let named = experiment.spec.sides.as_ref();
        let masked = decision.considered.iter().any(|seen| seen.masked && seen.candidate.model == *served);
        if experiment.spec.system.is_some() {
            // The client's own answer is the right one.
            if named.is_some_and(|[_, right]| right != served) {
                return None;
            }
            let place = experiment.live.place()?;
            // Whatever its own system prompt was, and is not any longer: the copy has at least the class that the request had.
            let class = Some(self.config.classes.name(facts.class).to_owned());
            let (router, ask, served) = (self.clone(), Ask { class, ..ask.clone() }, served.clone());
            return Some(Box::new(ShadowSeed::Later(Box::new(Later {
                experiment,
                router,
                ask,
                served,
                masked,
                place,
                fate,
            }))));
        }
        // Only targets that every constraint admitted, residency and budget included.
        let mut others = decision.considered.iter().filter(|seen| seen.admitted() && seen.candidate.model != *served);
        let other = match named {
            None => others.find(|seen| seen.candidate.location != side)?,
            Some(sides) if sides.contains(served) => others.find(|seen| sides.contains(&seen.candidate.model))?,
            Some(_) => return None,
        };
        let sides = named.cloned().unwrap_or_else(|| match side {
            Location::Local => [served.clone(), other.candidate.model.clone()],
            Location::Hosted => [other.candidate.model.clone(), served.clone()],
        });
        let place = experiment.live.place()?;
        let draft = Draft { experiment, place, fate, served, masked, sides, system: None };
        let prepared = self.copy(draft, (ask, facts), other).await?;
        Some(Box::new(ShadowSeed::Prepared(Box::new(prepared))))
    }

    /// Sets aside all that a copy takes.
    async fn copy(
        self: &Arc<Self>,
        draft: Draft<'_>,
        (ask, facts): (&Ask, &Facts),
        other: &Considered,
    ) -> Option<Prepared> {
        let Draft { experiment, place, fate, served, masked, sides, system } = draft;
        let model = self.fleet.get(&other.candidate.model)?;
        // Where either side gets it masked, what is kept of both is masked, and has the class of that.
        let mask = ask.looked.mask().filter(|_| masked || other.masked).cloned();
        if masked && mask.is_none() {
            return None;
        }
        let masked_class = facts.classed.masked.as_ref().filter(|_| mask.is_some()).map(|masked| masked.class);
        let kept = masked_class.unwrap_or(facts.class);
        let keep = self.config.classes.permit_sink(kept, Sink::Shadow).ok()?;
        let permit = self.permit(facts, other, model).ok()?;
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
        let (request, values) = sent(ask, other);
        let mut open = self.opening(ask, facts, model, (other, reserved.hold.as_ref()), crate::shadow::ATTEMPT);
        open.purpose = "shadow";
        Some(Prepared {
            experiment,
            router: self.clone(),
            sides,
            served: served.clone(),
            prompt: system.map(|system| system.digest().to_owned()),
            facts: facts.clone(),
            held,
            _place: place,
            fate,
            request,
            ask: ask.clone(),
            masked: values,
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
        })
    }
}

// === impl Later ===

impl Later {
    /// Prepares the copy: the request under the other system prompt, for the model in question or the one that served.
    pub(crate) async fn prepare(self) -> Option<Prepared> {
        let Self { experiment, router, ask, served, masked, place, fate } = self;
        let spec = experiment.spec.clone();
        let system = spec.system.as_ref()?;
        let [model, _] = spec.sides.clone().unwrap_or_else(|| [served.clone(), served.clone()]);
        let request = system.put(ask.came())?;
        let pinned = request.raw.with(&[("model", Some(Value::from(model.as_str()).to_string()))]);
        // Marks for a cache stay: an adapter that reads them puts the model's own name in.
        let marked = request.marked.clone();
        let request = Arc::new(WireRequest { marked, ..WireRequest::parse(request.endpoint, pinned).ok()? });
        let looked = Looked::of(ask.came().clone(), None);
        let ask = Ask { request, looked, wish: RouteWish::Auto, charge: None, ..ask };
        let Considering { facts, outcome, .. } = router.consider(&ask, Exploration::default()).await.ok()?;
        let decision = outcome.ok()?;
        let other = decision.considered.iter().find(|seen| seen.admitted() && seen.candidate.model == model)?;
        let sides = [model, served.clone()];
        let draft = Draft { experiment, place, fate, served: &served, masked, sides, system: Some(system) };
        router.copy(draft, (&ask, &facts), other).await
    }

    /// Who waits for it at the end of the process.
    pub(crate) fn tasks(&self) -> tokio_util::task::TaskTracker {
        self.router.desk.tasks.clone()
    }
}
