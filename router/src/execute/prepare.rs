//! What an attempt is made of, what is asked of its model, and how its answer is looked at.

use super::agree::Again;
use super::attempt::Start;
use super::cascade::Watch;
use super::reserve::{Entered, Reserved};
use super::walk::Router;
use crate::ask::Ask;
use crate::classify::Wanted;
use crate::fleet::Model;
use adapters::Call;
use adapters::wire::{Format, WireRequest};
use policies::mask::Values;
use policies::{Considered, Facts, Location, ModelKind, Pricing};
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
}

/// What a candidate gets: the request as it came or, where it was admitted masked, without its values.
pub(super) fn sent(ask: &Ask, seen: &Considered) -> (Arc<WireRequest>, Option<Arc<Values>>) {
    match ask.looked.mask().filter(|_| seen.masked) {
        Some(mask) => (mask.request.clone(), Some(mask.values.clone())),
        None => (ask.request.clone(), None),
    }
}
