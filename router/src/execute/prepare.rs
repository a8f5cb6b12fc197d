//! What an attempt is made of, its first line on the ledger, what is asked of its model, and how its answer is looked at.

use super::agree::Again;
use super::attempt::Start;
use super::cascade::Watch;
use super::reserve::{Entered, Reserved};
use super::story;
use super::walk::Router;
use crate::ask::Ask;
use crate::budgets::Hold;
use crate::classify::Wanted;
use crate::fleet::Model;
use crate::ledger::AttemptOpen;
use adapters::Call;
use adapters::wire::{Format, WireRequest};
use policies::mask::Values;
use policies::{Considered, Facts, Location, ModelKind, Pricing, Sink};
use std::sync::Arc;

impl Router {
    /// The second look at the first target's answer.
    pub(super) fn watch<'a>(&self, again: Again<'a>) -> Watch<'a> {
        let Again { ask, decision, .. } = again;
        let need = decision.signals.as_ref().and_then(|signals| signals.need).unwrap_or(decision.steering.threshold);
        let json = matches!(ask.request.view.format, Format::JsonSchema(_) | Format::JsonObject);
        Watch { cascade: self.cascade.clone(), config: self.config.cascade, wanted: Wanted { need, json }, again }
    }

    /// What is asked of a model.
    pub(super) fn call(
        &self,
        (ask, facts): (&Ask, &Facts),
        model: &Model,
        seen: &Considered,
        entered: &Entered,
    ) -> Call {
        let (request, masked) = sent(ask, seen);
        Call {
            permit: entered.permit.clone(),
            request,
            masked,
            id: ask.id.clone(),
            model: model.upstream.clone(),
            stream: facts.stream,
            max_output: entered.reserved.max_output,
            traceparent: ask.traceparent.clone(),
            watch: false,
        }
    }

    /// What an attempt is made of, but for the record and the shadow.
    pub(super) fn start(
        &self,
        (ask, facts): (&Ask, &Facts),
        model: &Model,
        seen: &Considered,
        reserved: Reserved,
        number: u32,
    ) -> Start {
        Start {
            desk: self.desk.clone(),
            open: self.opening(ask, facts, model, (seen, reserved.hold.as_ref()), number),
            request: sent(ask, seen).0,
            location: model.provider.location,
            pricing: model.pricing.clone(),
            // What a chat would have cost is no measure of a vector.
            baseline: if model.kind == ModelKind::Chat { self.baseline() } else { Pricing::Unpriced },
            hold: reserved.hold,
            growth: reserved.growth,
            charge: ask.charge.clone(),
            breaker: model.provider.breaker.clone(),
            drains: model.provider.drains.clone(),
            working: (model.provider.location == Location::Local).then(|| model.provider.idle.work()),
            record: None,
            received: ask.received,
            shadow: None,
        }
    }

    /// The line that opens an attempt, with what was set aside for it.
    pub(super) fn opening(
        &self,
        ask: &Ask,
        facts: &Facts,
        model: &Model,
        (seen, hold): (&Considered, Option<&Hold>),
        attempt: u32,
    ) -> AttemptOpen {
        let held = hold.map(Hold::amount);
        let masked = facts.classed.masked.as_ref().filter(|_| seen.masked);
        AttemptOpen {
            request: ask.id.clone(),
            attempt,
            at_us: story::now_us(),
            purpose: "answer",
            endpoint: facts.endpoint,
            payer: story::payer(facts),
            model: model.name.clone(),
            provider: model.provider.name.clone(),
            route: model.provider.location.word(),
            upstream: model.upstream.clone(),
            ceiling: seen.ceiling.map(|most| held.map_or(most, |held| held.money)),
            ceiling_tokens: held.map(|held| held.tokens),
            price: match &model.pricing {
                Pricing::Priced(price, _) => Some(*price),
                Pricing::Free | Pricing::Unpriced => None,
            },
            price_source: model.pricing.source().to_owned(),
            traceparent: ask.traceparent.clone(),
            class: self.config.classes.name(facts.class).to_owned(),
            class_by: facts.classed.by,
            region: model.provider.region.clone(),
            traces: self.config.classes.permit_sink(facts.class, Sink::Traces).ok(),
            masked: masked.map(|masked| self.config.classes.name(masked.class).to_owned()),
            content: self.desk.ledger.fingerprint(ask.came().raw.body()),
        }
    }

    /// The price that a local answer saved: the configured baseline's, else the first hosted one's.
    fn baseline(&self) -> Pricing {
        let priced =
            self.config.baseline.iter().chain(self.config.hosted.iter()).filter_map(|name| self.fleet.get(name));
        priced
            .map(|model| &model.pricing)
            .find(|pricing| matches!(pricing, Pricing::Priced(..)))
            .cloned()
            .unwrap_or(Pricing::Unpriced)
    }
}

/// What a candidate gets: the request as it came or, where it was admitted masked, without its values.
pub(super) fn sent(ask: &Ask, seen: &Considered) -> (Arc<WireRequest>, Option<Arc<Values>>) {
    match ask.looked.mask().filter(|_| seen.masked) {
        Some(mask) => (mask.request.clone(), Some(mask.values.clone())),
        None => (ask.request.clone(), None),
    }
}
