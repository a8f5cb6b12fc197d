//! Both sides are asked, each thing once, and everything is kept before it counts.

use super::dataset::Row;
use super::state::{Kept, State, key};
use crate::cli::Failure;
use adapters::Kind;
use adapters::wire::WireRequest;
use parking_lot::Mutex;
use policies::{Constraint, Endpoint, NanoDollars, Principal, RequestId, RouteWish};
use router::compare::Purse;
use router::{Ask, DeniedBy, Router, SideFailure};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often something is tried that was refused before it cost anything, and how long is waited in between.
const TRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How long money that other calls hold is waited for.
const HELD: Duration = Duration::from_secs(60);

/// What became of a question to a model.
#[derive(Clone, Debug)]
pub enum Told {
    /// It answered.
    Answer(Kept),
    /// It was asked and failed: one lowercase fragment.
    Failed(String),
    /// It may not be asked, and why.
    Denied(String),
    /// An earlier run died while it was asked.
    InDoubt,
    /// The money is over, or the person stopped the run.
    NotAsked,
}

/// What asking it will cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Things to ask.
    pub questions: u64,
    /// The most it can cost.
    pub most: u64,
    /// What it probably costs.
    pub likely: u64,
    /// Things whose price nobody knows.
    pub unpriced: u64,
}

/// A run over a dataset.
pub struct Run {
    /// The router that asks.
    pub router: Arc<Router>,
    /// What was asked and answered.
    pub state: Mutex<State>,
    /// The money for it.
    pub purse: Mutex<Purse>,
    /// No more is asked once this is set.
    pub stop: CancellationToken,
    /// What is in doubt is asked again.
    pub retry_lost: bool,
}

/// Output tokens of a usual answer, for what it probably costs.
const USUAL_OUTPUT: u64 = 256;

// === impl Cost ===

impl Cost {
    /// Adds another cost.
    pub fn add(&mut self, other: Self) {
        self.questions += other.questions;
        self.most = self.most.saturating_add(other.most);
        self.likely = self.likely.saturating_add(other.likely);
        self.unpriced += other.unpriced;
    }
}

// === impl Run ===

impl Run {
    fn asked(row: &Row, body: &Value) -> Result<Ask, Failure> {
        let request = WireRequest::parse(Endpoint::Chat, body.to_string().into())
            .map_err(|error| Failure::Usage(format!("row `{}`: {}", row.id, error.message)))?;
        Ok(Ask {
            id: RequestId::from_uuid(uuid::Uuid::now_v7()),
            request: Arc::new(request),
            principal: Principal::default(),
            wish: RouteWish::Auto,
            class: row.class.clone(),
            session: None,
            tags: row.tags.clone(),
            traceparent: None,
            received: Instant::now(),
            charge: None,
            looked: router::Looked::default(),
        })
    }

    /// What an answer is kept under: a model that another upstream answers for is another model.
    pub fn key(&self, purpose: &str, row: &Row, body: &Value) -> String {
        let name = body["model"].as_str().map(policies::ModelName::from);
        let model = name.and_then(|name| self.router.fleet().get(&name));
        let upstream = model.map(|model| format!("{} {}", model.provider.name, model.upstream)).unwrap_or_default();
        key(purpose, &row.id, &format!("{upstream}\n{body}"))
    }

    /// What a question would cost now: nothing where it is known, in doubt, or forbidden.
    pub async fn cost(&self, purpose: &'static str, row: &Row, body: &Value) -> Result<Cost, Failure> {
        let key = self.key(purpose, row, body);
        let settled = {
            let state = self.state.lock();
            state.answered(&key).is_some() || (state.doubtful(&key) && !self.retry_lost)
        };
        if settled {
            return Ok(Cost::default());
        }
        let ask = Self::asked(row, body)?;
        let Ok(side) = self.router.side(&ask).await else { return Ok(Cost::default()) };
        let Some(most) = side.ceiling() else { return Ok(Cost { questions: 1, unpriced: 1, ..Cost::default() }) };
        let output = body["max_tokens"].as_u64().unwrap_or(USUAL_OUTPUT).min(USUAL_OUTPUT);
        let model = body["model"].as_str().map(policies::ModelName::from);
        let model = model.and_then(|name| self.router.fleet().get(&name).cloned());
        let likely = model.and_then(|model| model.pricing.ceiling(side.prompt_tokens(), output).ok().flatten());
        Ok(Cost { questions: 1, most: most.0, likely: likely.unwrap_or(most).0.min(most.0), unpriced: 0 })
    }

    /// Asks a model, unless it is known what it says.
    pub async fn ask(&self, purpose: &'static str, row: &Row, body: &Value) -> Result<Told, Failure> {
        let key = self.key(purpose, row, body);
        {
            let mut state = self.state.lock();
            if let Some(kept) = state.answered(&key) {
                return Ok(Told::Answer(kept.clone()));
            }
            if state.doubtful(&key) {
                if !self.retry_lost {
                    return Ok(Told::InDoubt);
                }
                state.ask_again(&key)?;
            }
        }
        let mut tries = TRIES.iter();
        loop {
            let (told, again) = self.try_once(purpose, row, body, &key).await?;
            let Some(pause) = tries.next().filter(|_| again) else { return Ok(told) };
            tokio::select! {
                () = self.stop.cancelled() => return Ok(told),
                () = tokio::time::sleep(*pause) => {}
            }
        }
    }

    /// Asks once; says whether it makes sense to ask again, because nothing was done for it.
    async fn try_once(
        &self,
        purpose: &'static str,
        row: &Row,
        body: &Value,
        key: &str,
    ) -> Result<(Told, bool), Failure> {
        let ask = Self::asked(row, body)?;
        let until = Instant::now() + HELD;
        let side = loop {
            match self.router.side(&ask).await {
                Ok(side) => break side,
                Err(DeniedBy::Refusal(refusal)) if refusal.held && Instant::now() < until => {
                    self.router.budgets().released(Duration::from_secs(1)).await;
                }
                // Whoever is down has failed the row as surely as whoever breaks off.
                Err(DeniedBy::Refusal(refusal)) if refusal.by == Constraint::Health => {
                    return Ok((Told::Failed(refusal.message), false));
                }
                Err(by) => return Ok((Told::Denied(crate::server::denied_text(&by)), false)),
            }
        };
        if self.stop.is_cancelled() {
            return Ok((Told::NotAsked, false));
        }
        // Without a price there is nothing to set aside; whoever sets a limit has been told so before.
        let most = side.ceiling().unwrap_or(NanoDollars::ZERO);
        if !self.purse.lock().take(most) {
            return Ok((Told::NotAsked, false));
        }
        if most > NanoDollars::ZERO || side.ceiling().is_none() {
            self.state.lock().asking(key, most)?;
        }
        let answered = side.answer(purpose).await;
        let (mut state, mut purse) = (self.state.lock(), self.purse.lock());
        match answered {
            Ok(said) => {
                purse.settle(most, said.cost.unwrap_or(NanoDollars::ZERO));
                let kept = Kept {
                    answer: said.answer,
                    finish: said.finish,
                    cost_nd: said.cost.map(|cost| cost.0),
                    version: said.version,
                    took_ms: u64::try_from(said.took.as_millis()).unwrap_or(u64::MAX),
                };
                state.keep(key, kept.clone())?;
                Ok((Told::Answer(kept), false))
            }
            Err(SideFailure::Denied(by)) => {
                purse.settle(most, NanoDollars::ZERO);
                state.failed(key, NanoDollars::ZERO)?;
                Ok((Told::Denied(crate::server::denied_text(&by)), false))
            }
            Err(SideFailure::Unwritten(error)) => {
                purse.settle(most, most);
                state.failed(key, most)?;
                Ok((Told::Failed(error.to_string()), false))
            }
            Err(SideFailure::Failed { error, cost }) => {
                let cost = cost.unwrap_or(most);
                purse.settle(most, cost);
                state.failed(key, cost)?;
                let refused = matches!(error.kind, Kind::Connect(_) | Kind::QueueFull)
                    || matches!(error.kind, Kind::Status { status: 429 | 503 | 529, .. });
                Ok((Told::Failed(error.public()), refused && cost == NanoDollars::ZERO))
            }
        }
    }
}
