//! One model answers one request for a comparison: nobody is served, nobody else is tried.
//!
//! **Promise.** It passes everything that an answer passes: the look at content, residency and every other constraint, the
//! budgets, the breaker. A priced attempt is on the ledger before it is dialled, under a purpose of its own, and closed with
//! what it cost. What a constraint strikes out is not asked, also not for a comparison.
//!
//! **What it does not do.** No fallback, no cascade, no request line: there is no client. The request has to pin its model.

use super::answer::DeniedBy;
use super::attempt::{Attempt, Start};
use super::consider::Considering;
use super::walk::Router;
use crate::ask::Ask;
use crate::compare::Answer;
use crate::ledger::{AttemptOpen, LedgerError, Outcome};
use adapters::wire::Fold;
use adapters::{BackendError, Event, Kind, Phase};
use bytes::Bytes;
use futures::StreamExt;
use policies::{Constraint, Exploration, Facts, NanoDollars, Refusal, RoutingDecision, Usage};
use serde_json::Value;
use tokio::time::Instant;

/// A request that its model may answer.
pub struct Side<'a> {
    router: &'a Router,
    ask: &'a Ask,
    facts: Facts,
    decision: RoutingDecision,
}

/// What a model said.
#[derive(Clone, Debug)]
pub struct SideAnswer {
    /// Its answer.
    pub answer: Answer,
    /// Why it ended: `stop`, `length`, ...
    pub finish: Option<String>,
    /// What it cost; `None`: unpriced.
    pub cost: Option<NanoDollars>,
    /// Its tokens.
    pub usage: Usage,
    /// The upstream's own word for the model, with its fingerprint: a change of it is a change of the model.
    pub version: Option<String>,
    /// From dialling to the end.
    pub took: std::time::Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SideFailure {
    /// It was not asked.
    Denied(DeniedBy),
    /// It was asked and failed.
    Failed {
        /// How.
        error: BackendError,
        /// What that cost.
        cost: Option<NanoDollars>,
    },
    /// It was asked, and how that ended cannot be written: on the ledger it counts at its ceiling.
    Unwritten(LedgerError),
}

impl std::fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("model", self.decision.plan.first()).finish_non_exhaustive()
    }
}

// === impl Router ===

impl Router {
    /// Looks whether the pinned model may answer a request.
    ///
    /// # Errors
    /// Who denies it.
    pub async fn side<'a>(&'a self, ask: &'a Ask) -> Result<Side<'a>, DeniedBy> {
        let considering = self.consider(ask, Exploration::default()).await?;
        self.note_refusals(ask, &considering);
        let Considering { facts, outcome, .. } = considering;
        let decision = outcome.map_err(DeniedBy::Refusal)?;
        let pinned = facts.choice.pinned();
        if pinned != Some(decision.plan.first()) {
            // A rule put another model in its place: an answer of that one would be taken for this one's.
            let message = "a rule or a preference sends this request to another model".to_owned();
            let (considered, signals) = (decision.considered, decision.signals);
            let by = Constraint::Route;
            let refusal = Refusal { by, message, retry_after: None, held: false, considered, signals };
            return Err(DeniedBy::Refusal(Box::new(refusal)));
        }
        Ok(Side { router: self, ask, facts, decision })
    }
}

// === impl Side ===

impl Side<'_> {
    /// The most that the answer can cost; `None`: unpriced.
    pub fn ceiling(&self) -> Option<NanoDollars> {
        let first = self.decision.considered.iter().find(|seen| seen.rank == Some(0));
        first.and_then(|seen| seen.ceiling)
    }

    /// Tokens of the prompt, as far as they are told beforehand.
    pub fn prompt_tokens(&self) -> u64 {
        self.facts.prompt.likely
    }

    /// Asks, and reads the answer to its end.
    ///
    /// # Cancel safety
    /// A dropped future closes the attempt as `cancelled`.
    pub async fn answer(self, purpose: &'static str) -> Result<SideAnswer, SideFailure> {
        self.answer_as(purpose, 1).await
    }

    /// As [`Side::answer`], as the attempt of this number of its request.
    ///
    /// # Cancel safety
    /// A dropped future closes the attempt as `cancelled`.
    pub async fn answer_as(self, purpose: &'static str, number: u32) -> Result<SideAnswer, SideFailure> {
        let Self { router, ask, facts, decision } = self;
        let target = decision.plan.first();
        let missing = || {
            let error = BackendError::before_send(Kind::NotReady("the model is gone".into()));
            SideFailure::Failed { error, cost: Some(NanoDollars::ZERO) }
        };
        let seen = decision.considered.iter().find(|seen| seen.candidate.model == *target).ok_or_else(missing)?;
        let model = router.fleet.get(target).ok_or_else(missing)?;
        let entered = router.enter(&facts, &decision, seen, model).await.map_err(SideFailure::Denied)?;
        let call = router.call((ask, &facts), model, seen, &entered);
        let start = router.start((ask, &facts), model, seen, entered.reserved, number);
        let open = AttemptOpen { purpose, ..start.open };
        let mut attempt = match Attempt::open(Start { open, ..start }).await {
            Ok(attempt) => attempt,
            Err((error, attempt)) => {
                attempt.abandon();
                return Err(SideFailure::Denied(DeniedBy::Ledger(error)));
            }
        };
        let started = Instant::now();
        let mut met = false;
        let read = async {
            let mut events = adapters::dial(&*model.provider.backend, call).await?;
            let mut fold = Fold::new(ask.request.endpoint);
            let mut finish = None;
            while let Some(event) = events.next().await {
                match event? {
                    Event::Whole { body, seen } => {
                        met = true;
                        attempt.see(&seen);
                        return Ok((body, seen.finish));
                    }
                    Event::Delta { frame, seen } => {
                        met = true;
                        attempt.see(&seen);
                        finish = seen.finish.or(finish);
                        if let Some(payload) = adapters::wire::sse::data(&frame) {
                            fold.push(&payload);
                        }
                    }
                    Event::Done => return Ok((Bytes::from(fold.finish().to_string()), finish)),
                }
            }
            Err(BackendError::streaming(Kind::Truncated("the stream ended in silence".into())))
        };
        let read: Result<(Bytes, Option<String>), BackendError> = read.await;
        match read {
            Ok((body, finish)) => {
                let took = started.elapsed();
                let settled = attempt.finish(Outcome::Ok, None, None).await;
                let settled = settled.map_err(SideFailure::Unwritten)?;
                let (answer, version) = told(&body);
                Ok(SideAnswer { answer, finish, cost: settled.cost, usage: settled.usage, version, took })
            }
            Err(error) if met && error.phase == Phase::Streaming => {
                // What came before it broke off is paid for.
                let settled = attempt.finish(Outcome::Truncated, Some(error.label()), None).await;
                let cost = settled.map_err(SideFailure::Unwritten)?.cost;
                Err(SideFailure::Failed { error, cost })
            }
            Err(error) => {
                attempt.fail(&error).await;
                Err(SideFailure::Failed { error, cost: Some(NanoDollars::ZERO) })
            }
        }
    }
}

/// The answer in a whole body, and the upstream's word for its model.
fn told(bytes: &[u8]) -> (Answer, Option<String>) {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let choice = &body["choices"][0];
    let message = &choice["message"];
    let text = message["content"].as_str().or(choice["text"].as_str()).or(message["refusal"].as_str());
    let tool_calls = message.get("tool_calls").filter(|calls| calls.as_array().is_some_and(|calls| !calls.is_empty()));
    let answer = Answer { text: text.unwrap_or_default().to_owned(), tool_calls: tool_calls.cloned() };
    (answer, adapters::wire::version_in(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_and_its_version_are_read_from_any_whole_body() {
        let body = json!({"model": "m-2026", "system_fingerprint": "fp1",
            "choices": [{"message": {"content": "hi", "tool_calls": []}}]});
        let (answer, version) = told(body.to_string().as_bytes());
        assert_eq!((answer.text.as_str(), answer.tool_calls, version.as_deref()), ("hi", None, Some("m-2026 fp1")));
        let calls = json!([{"function": {"name": "f", "arguments": "{}"}}]);
        let body = json!({"choices": [{"message": {"content": null, "tool_calls": calls}}]});
        let (answer, version) = told(body.to_string().as_bytes());
        assert_eq!((answer.text.as_str(), answer.tool_calls, version), ("", Some(calls), None));
        assert_eq!(told(br#"{"choices":[{"text":"bare"}]}"#).0.text, "bare");
        assert_eq!(told(b"<html>").0, Answer::default());
    }
}
