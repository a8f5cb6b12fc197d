//! Decides anew on requests that were decided on once ([`crate::replay`]): nothing is dialled, nothing charged.

use super::answer::DeniedBy;
use super::tally::expected;
use super::walk::Router;
use crate::ask::Ask;
use crate::classify::Classifier;
use crate::ledger::{KeyRecord, Recorded};
use crate::replay::{Decided, Replayed, Score, Unknown, Verdict};
use policies::{
    Choice, Classed, Endpoint, Exploration, Facts, JudgedBy, Location, ModelName, NanoDollars, Needs, Principal,
    Refusal, RequestId, RouteWish, RoutingDecision, SessionId, Signals, TokenEstimate, Usage, admit, decide,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A story as it is on record, as far as it is read.
#[derive(Deserialize)]
struct Story {
    route: Option<Location>,
    model: Option<ModelName>,
    reason: String,
    facts: StoryFacts,
}

#[derive(Deserialize)]
struct StoryFacts {
    endpoint: Endpoint,
    class: String,
    #[serde(default)]
    detected: Option<Value>,
    #[serde(default)]
    masked: Option<Value>,
    asked: String,
    route_wish: RouteWish,
    prompt_tokens: StoryTokens,
    output_ceiling: Option<u64>,
    stream: bool,
    messages: usize,
    needs: StoryNeeds,
    #[serde(default)]
    session: Option<SessionId>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct StoryTokens {
    floor: u64,
    likely: u64,
    ceiling: u64,
}

#[derive(Deserialize)]
struct StoryNeeds {
    tools: bool,
    vision: bool,
    audio: bool,
    files: bool,
    json_schema: bool,
    logprobs: bool,
    choices: u32,
}

/// Tokens that were used, and by whom: the same model would use its cache again, another one has none.
#[derive(Clone, Copy, Debug)]
pub struct Spent<'a> {
    /// The model.
    pub model: Option<&'a str>,
    /// Its tokens.
    pub usage: Usage,
}

// === impl Router ===

impl Router {
    /// Decides anew on a request that is on record; `keys` are those of the ledger. Call it with the oldest first: the threshold
    /// follows the scores as it does with live requests.
    pub fn replay(&self, recorded: &Recorded, keys: &[KeyRecord]) -> Replayed {
        let story = serde_json::from_str::<Story>(&recorded.story);
        let then = |story: Option<&Story>| Decided {
            route: story.and_then(|story| story.route),
            model: story.and_then(|story| story.model.clone()),
            reason: story.map(|story| story.reason.clone()).unwrap_or_default(),
            cost_usd: recorded.cost,
        };
        let (then, now) = match &story {
            Ok(story) => (then(Some(story)), self.decided_anew(recorded, story, keys)),
            Err(_) => (then(None), Err(Unknown::Unreadable)),
        };
        Replayed { id: recorded.id.clone(), then, now: now.unwrap_or_else(Verdict::Unknown) }
    }

    fn decided_anew(&self, recorded: &Recorded, story: &Story, keys: &[KeyRecord]) -> Result<Verdict, Unknown> {
        let facts = self.recalled(recorded, story, keys)?;
        let id = RequestId::from(recorded.id.as_str());
        let lane = self.lanes.iter().find(|(rule, _)| rule.takes(&facts, &id));
        let seat = lane.map_or(&self.usual, |(_, seat)| seat);
        let admission = admit(&facts, &self.world(&facts, &seat.share));
        let judged = match (admission.needs_judgement(), &recorded.judged) {
            (false, _) => None,
            (true, None) => return Err(Unknown::Unjudged),
            (true, Some(judged)) if judged.judge == *seat.judge => Some((judged.score, Score::OnRecord)),
            (true, Some(judged)) => match (&seat.classifier, &judged.evidence) {
                (Classifier::Probe(live), Some(evidence)) => {
                    Some((live.probe().judge_views(&evidence.views(), 0).need, Score::Rejudged))
                }
                (_, _) => return Err(Unknown::OtherJudge),
            },
        };
        let signals = judged.map(|(need, _)| Signals {
            need: Some(need),
            judged_by: JudgedBy::Probe,
            abstained: None,
            skipped: None,
            unread_bytes: 0,
            took_us: 0,
            features: vec![],
            head: None,
        });
        let outcome = decide(admission, signals);
        if let (Ok(decision), Some((need, _))) = (&outcome, judged) {
            seat.share.expect(need, expected(decision));
        }
        let spent = recorded.usage.map(|usage| Spent { model: recorded.model.as_deref(), usage });
        Ok(self.verdict(&outcome, judged.map(|(_, score)| score), spent))
    }

    /// The facts as they are on record, with what the present configuration says of the caller and of the class.
    fn recalled(&self, recorded: &Recorded, story: &Story, keys: &[KeyRecord]) -> Result<Facts, Unknown> {
        let StoryFacts { needs, prompt_tokens, .. } = &story.facts;
        let facts = &story.facts;
        if facts.masked.is_some() {
            return Err(Unknown::Masked);
        }
        if facts.detected.is_none() && self.config.detectors.is_some() {
            return Err(Unknown::NeverScanned);
        }
        let classes = &self.config.classes;
        let class = classes.named(&facts.class).map_err(|_| Unknown::UnknownClass)?;
        let least = classes.named(&self.config.default_class).map_err(|_| Unknown::UnknownClass)?;
        let choice = match facts.asked.as_str() {
            "auto" => Choice::Auto,
            name => Choice::Pinned(name.into()),
        };
        if choice.pinned().is_some_and(|model| self.fleet.get(model).is_none()) {
            return Err(Unknown::UnknownModel);
        }
        let key = recorded.key.as_deref().and_then(|id| keys.iter().find(|key| key.id.as_str() == id));
        Ok(Facts {
            endpoint: facts.endpoint,
            principal: Principal {
                key: recorded.key.as_deref().map(Into::into),
                key_name: key.map(|key| key.key.name.clone()),
                team: recorded.team.clone(),
                user: recorded.user.clone(),
                models: key.and_then(|key| key.key.models.clone()),
                routes: key.and_then(|key| key.key.routes.clone()),
                classes: key.and_then(|key| key.key.classes.clone()),
            },
            choice,
            wish: facts.route_wish,
            class: class.max(least),
            classed: Classed::default(),
            session: facts.session.clone(),
            tags: facts.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            prompt: TokenEstimate {
                floor: prompt_tokens.floor,
                likely: prompt_tokens.likely,
                ceiling: prompt_tokens.ceiling,
            },
            output_ceiling: facts.output_ceiling,
            stream: facts.stream,
            needs: Needs {
                tools: needs.tools,
                vision: needs.vision,
                audio: needs.audio,
                files: needs.files,
                json_schema: needs.json_schema,
                logprobs: needs.logprobs,
                choices: needs.choices,
            },
            messages: facts.messages,
            tool_loop: story.reason == "tool_loop",
        })
    }

    /// Decides on a request whose text is there; `spent` are the tokens of an earlier answer, where somebody knows them.
    ///
    /// # Errors
    /// A model or a data class that nobody configured.
    pub async fn replay_whole(&self, ask: &Ask, spent: Option<Spent<'_>>) -> Result<Verdict, DeniedBy> {
        let considering = self.consider(ask, Exploration::default()).await?;
        let judged = considering.outcome.as_ref().ok().and_then(|decision| {
            let need = decision.signals.as_ref()?.need?;
            considering.seat.share.expect(need, expected(decision));
            Some(Score::Read)
        });
        Ok(self.verdict(&considering.outcome, judged, spent))
    }

    fn verdict(
        &self,
        outcome: &Result<RoutingDecision, Box<Refusal>>,
        score: Option<Score>,
        spent: Option<Spent<'_>>,
    ) -> Verdict {
        let decided = match outcome {
            Ok(decision) => {
                let first = decision.plan.first();
                Decided {
                    route: decision.first_side(),
                    model: Some(first.clone()),
                    reason: decision.reason.word().to_owned(),
                    cost_usd: spent.and_then(|spent| self.priced(first, spent)),
                }
            }
            Err(refusal) => {
                let reason = refusal.by.word().to_owned();
                Decided { route: None, model: None, reason, cost_usd: Some(NanoDollars::ZERO) }
            }
        };
        Verdict::Decided { decided, score, watched: outcome.as_ref().is_ok_and(|decision| decision.watch) }
    }

    /// What these tokens cost with a model.
    fn priced(&self, model: &ModelName, Spent { model: was, usage }: Spent<'_>) -> Option<NanoDollars> {
        let pricing = &self.fleet.get(model)?.pricing;
        let same = was == Some(model.as_str());
        let usage = if same { usage } else { Usage::plain(usage.input.0, usage.output.0) };
        pricing.cost(&usage).ok().flatten()
    }
}
