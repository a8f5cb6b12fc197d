//! A request's story: what is shown, and kept, of a decision.

use crate::ask::endpoint_word;
use crate::ledger::{Payer, RequestRecord};
use policies::{Classes, Considered, Facts, Refusal, RequestId, RoutingDecision, Signals};
use serde_json::{Value, json};

/// Microseconds since 1970.
pub(super) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// The decision as `POST /v1/route` and `sluice explain` show it.
pub fn explanation(facts: &Facts, classes: &Classes, outcome: &Result<RoutingDecision, Box<Refusal>>) -> Value {
    let facts = facts_shown(facts, classes);
    match outcome {
        Ok(decision) => {
            let first = decision.considered.iter().find(|seen| seen.rank == Some(0));
            json!({
                "route": first.map(|seen| seen.candidate.location),
                "model": decision.plan.first(),
                "reason": decision.reason.word(),
                "score": score(decision.signals.as_ref()),
                "threshold": threshold(decision.threshold),
                "plan": decision.plan.targets(),
                "candidates": candidates(&decision.considered),
                "signals": decision.signals,
                "facts": facts,
                "refusal": null,
            })
        }
        Err(refusal) => json!({
            "route": null,
            "model": null,
            "reason": refusal.by.word(),
            "score": score(refusal.signals.as_ref()),
            "threshold": null,
            "plan": [],
            "candidates": candidates(&refusal.considered),
            "signals": refusal.signals,
            "facts": facts,
            "refusal": {"by": refusal.by, "message": refusal.message},
        }),
    }
}

/// The need, or nothing where nothing was judged.
pub(super) fn score(signals: Option<&Signals>) -> Option<f32> {
    signals.and_then(|signals| signals.need)
}

/// Who pays for a request with these facts.
pub(super) fn payer(facts: &Facts) -> Payer {
    Payer {
        key: facts.principal.key.clone(),
        team: facts.principal.team.clone(),
        user: facts.principal.user.clone(),
        session: facts.session.clone(),
        tags: facts.tags.clone(),
    }
}

/// The record of a request before its end is known.
pub(super) fn record(
    id: &RequestId,
    facts: &Facts,
    classes: &Classes,
    outcome: &Result<RoutingDecision, Box<Refusal>>,
) -> RequestRecord {
    let (reason, signals) = match outcome {
        Ok(decision) => (decision.reason.word(), decision.signals.as_ref()),
        Err(refusal) => (refusal.by.word(), refusal.signals.as_ref()),
    };
    let mut decision = explanation(facts, classes, outcome);
    if let Value::Object(fields) = &mut decision {
        // These are columns, filled with what happened rather than with what was planned.
        ["route", "model", "reason", "score"].iter().for_each(|key| drop(fields.remove(*key)));
    }
    RequestRecord {
        id: id.clone(),
        at_us: now_us(),
        payer: payer(facts),
        endpoint: endpoint_word(facts.endpoint),
        asked: facts.choice.pinned().map_or("auto", |model| model.as_str()).to_owned(),
        class: classes.name(facts.class).to_owned(),
        route: None,
        model: None,
        reason: reason.to_owned(),
        score: score(signals),
        status: 0,
        attempts: 0,
        record: decision,
    }
}

/// JSON knows no infinity: a share of nothing has no threshold.
fn threshold(threshold: f32) -> Option<f32> {
    threshold.is_finite().then_some(threshold)
}

fn candidates(considered: &[Considered]) -> Vec<Value> {
    considered
        .iter()
        .map(|seen| {
            let candidate = &seen.candidate;
            json!({
                "model": candidate.model,
                "provider": candidate.provider,
                "route": candidate.location,
                "region": candidate.region,
                "admitted": seen.admitted(),
                "refused_by": seen.refused_by().map(|strike| strike.by.word()),
                "refused_because": seen.refused_by().map(|strike| strike.detail.as_str()),
                "strikes": seen.strikes,
                "rank": seen.rank,
                "ceiling_usd": seen.ceiling,
                "price_source": candidate.pricing.source(),
                "first_token_in_ms": candidate.first_token_in.map(|time| time.as_secs_f64() * 1000.0),
            })
        })
        .collect()
}

fn facts_shown(facts: &Facts, classes: &Classes) -> Value {
    json!({
        "endpoint": endpoint_word(facts.endpoint),
        "class": classes.name(facts.class),
        "asked": facts.choice.pinned().map_or("auto", |model| model.as_str()),
        "route_wish": facts.wish,
        "prompt_tokens": facts.prompt,
        "output_ceiling": facts.output_ceiling,
        "stream": facts.stream,
        "messages": facts.messages,
        "needs": facts.needs,
        "session": facts.session,
        "tags": facts.tags.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
    })
}
