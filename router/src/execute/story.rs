//! A request's story: what is shown, and kept, of a decision.

use super::classed::{self, ClassedShown};
use super::words;
use crate::ask::endpoint_word;
use crate::ledger::{Payer, Placed, RequestRecord};
use policies::{
    Classes, Considered, Constraint, Facts, Location, ModelName, NanoDollars, Needs, ProviderName, Refusal, RequestId,
    RouteWish, RoutingDecision, SessionId, Signals, Strike, TokenEstimate,
};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// Microseconds since 1970.
pub(super) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// The decision as `POST /v1/route`, `sluice explain` and the record show it; one type, so that they agree.
///
/// It borrows: a request's story is told straight into its text, without a tree of values in between.
#[derive(Debug, Serialize)]
pub struct Explanation<'a> {
    route: Option<Location>,
    model: Option<&'a ModelName>,
    reason: &'static str,
    score: Option<f32>,
    threshold: Option<f32>,
    explanation: Vec<Cow<'static, str>>,
    plan: &'a [ModelName],
    candidates: Vec<CandidateShown<'a>>,
    signals: Option<&'a Signals>,
    facts: FactsShown<'a>,
    refusal: Option<RefusalShown<'a>>,
    /// The arm that it counts for.
    experiment: Option<&'a Placed>,
}

#[derive(Debug, Serialize)]
struct RefusalShown<'a> {
    by: Constraint,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct CandidateShown<'a> {
    model: &'a ModelName,
    provider: &'a ProviderName,
    route: Location,
    region: Option<&'a str>,
    admitted: bool,
    /// It gets the request with placeholders.
    masked: bool,
    refused_by: Option<&'static str>,
    refused_because: Option<&'a str>,
    strikes: &'a [Strike],
    rank: Option<usize>,
    ceiling_usd: Option<NanoDollars>,
    price_source: &'a str,
    first_token_in_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct FactsShown<'a> {
    endpoint: &'static str,
    class: &'a str,
    #[serde(flatten)]
    classed: ClassedShown<'a>,
    asked: &'a str,
    route_wish: RouteWish,
    prompt_tokens: TokenEstimate,
    output_ceiling: Option<u64>,
    stream: bool,
    messages: usize,
    needs: Needs,
    session: Option<&'a SessionId>,
    #[serde(serialize_with = "as_map")]
    tags: &'a [(String, String)],
}

// === impl Explanation ===

impl<'a> Explanation<'a> {
    /// Tells a decision or a refusal.
    pub fn new(
        facts: &'a Facts,
        classes: &'a Classes,
        outcome: &'a Result<RoutingDecision, Box<Refusal>>,
        experiment: Option<&'a Placed>,
    ) -> Self {
        let (told, facts) = (facts, FactsShown::new(facts, classes));
        let mut explanation = words::told(outcome);
        explanation.extend(classed::told(told, classes));
        explanation.extend(experiment.map(words::placed));
        match outcome {
            Ok(decision) => Self {
                route: decision.considered.iter().find(|seen| seen.rank == Some(0)).map(|seen| seen.candidate.location),
                model: Some(decision.plan.first()),
                reason: decision.reason.word(),
                score: score(decision.signals.as_ref()),
                threshold: threshold(decision.steering.threshold),
                explanation,
                plan: decision.plan.targets(),
                candidates: decision.considered.iter().map(CandidateShown::new).collect(),
                signals: decision.signals.as_ref(),
                facts,
                refusal: None,
                experiment,
            },
            Err(refusal) => Self {
                route: None,
                model: None,
                reason: refusal.by.word(),
                score: score(refusal.signals.as_ref()),
                threshold: None,
                explanation,
                plan: &[],
                candidates: refusal.considered.iter().map(CandidateShown::new).collect(),
                signals: refusal.signals.as_ref(),
                facts,
                refusal: Some(RefusalShown { by: refusal.by, message: &refusal.message }),
                experiment: None,
            },
        }
    }

    /// As JSON text.
    pub fn text(&self) -> String {
        // Strings, numbers and lists: there is nothing that JSON could not say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

// === impl CandidateShown ===

impl<'a> CandidateShown<'a> {
    fn new(seen: &'a Considered) -> Self {
        let candidate = &seen.candidate;
        let refused_by = seen.refused_by();
        Self {
            model: &candidate.model,
            provider: &candidate.provider,
            route: candidate.location,
            region: candidate.region.as_deref(),
            admitted: seen.admitted(),
            masked: seen.masked,
            refused_by: refused_by.map(|strike| strike.by.word()),
            refused_because: refused_by.map(|strike| strike.detail.as_str()),
            strikes: &seen.strikes,
            rank: seen.rank,
            ceiling_usd: seen.ceiling,
            price_source: candidate.pricing.source(),
            first_token_in_ms: candidate.first_token_in.map(|time| time.as_secs_f64() * 1000.0),
        }
    }
}

// === impl FactsShown ===

impl<'a> FactsShown<'a> {
    fn new(facts: &'a Facts, classes: &'a Classes) -> Self {
        Self {
            endpoint: endpoint_word(facts.endpoint),
            class: classes.name(facts.class),
            classed: ClassedShown::new(facts, classes),
            asked: facts.choice.pinned().map_or("auto", |model| model.as_str()),
            route_wish: facts.wish,
            prompt_tokens: facts.prompt,
            output_ceiling: facts.output_ceiling,
            stream: facts.stream,
            messages: facts.messages,
            needs: facts.needs,
            session: facts.session.as_ref(),
            tags: &facts.tags,
        }
    }
}

/// Labels as a JSON object; they are sorted, and no key is there twice.
fn as_map<S: Serializer>(tags: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tags.iter().map(|(key, value)| (key, value)))
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
    placed: Option<&Placed>,
) -> RequestRecord {
    let (reason, signals) = match outcome {
        Ok(decision) => (decision.reason.word(), decision.signals.as_ref()),
        Err(refusal) => (refusal.by.word(), refusal.signals.as_ref()),
    };
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
        record: Explanation::new(facts, classes, outcome, placed).text(),
        cascade: None,
        judgement: None,
        arm: None,
        placed: None,
    }
}

/// JSON knows no infinity: a share of nothing has no threshold.
fn threshold(threshold: f32) -> Option<f32> {
    threshold.is_finite().then_some(threshold)
}
