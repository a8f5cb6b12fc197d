//! A sampled share of requests is answered by the other side, too, for comparison.
//!
//! **Promise.** It starts after the client has its answer and delays nobody; it goes only to a target that every
//! constraint admitted for this very request; its money is reserved beforehand and on the ledger under its own purpose.
//! So is the money of its experiment's day. Both texts are stored, since comparing is what they are for, and the pair is judged
//! right after ([`crate::experiment`]): off by default.
//!
//! **At idle priority in the house.** A copy for a local model waits until no client's attempt waits or runs at its provider
//! ([`Idle`](crate::idle::Idle)), at most [`PATIENCE`]. A client that comes meanwhile stops it, where its tokens cost nothing; it begins anew when
//! the client has gone, [`STARTS`] times in all. Priced tokens are not paid for twice: such a copy waits, and once begun it ends.
//!
//! Where either model got the request masked, all that is stored is masked; a text in which more is found than in the masked
//! request is not stored.

use crate::ask::Ask;
use crate::budgets::Hold;
use crate::compare::Side;
use crate::execute::{Later, Router};
use crate::experiment::{CopyEnd, Experiment, Fate, Held, PairJudge, judged, slices_of};
use crate::fleet::{Model, local_cost};
use crate::learn::traffic::{SHADOW, SHADOW_BY_MODEL};
use crate::ledger::{AttemptClose, AttemptOpen, LabelRecord, Ledger, Outcome, PairRecord, ShadowRecord, UNDER_PROMPT};
use crate::masking::Mask;
use crate::observe::Observer;
use adapters::wire::{Seen, WireRequest};
use adapters::{BackendError, Call, Event};
use futures::StreamExt;
use policies::mask::Values;
use policies::{Amount, Counted, Facts, LocalCost, Location, ModelName, NanoDollars, Permit, Pricing, Usage};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// The attempt number of shadows: beyond every plan, so that it never meets an answer's.
pub(crate) const ATTEMPT: u32 = crate::ledger::FIRST_ATTEMPT;

/// How long a copy waits for a provider in the house to be idle before it is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// How often a copy that gives way to clients is begun.
pub(crate) const STARTS: u32 = 4;

/// How a copy ended that has no answer.
enum Ended {
    /// The other side failed.
    Failed(BackendError),
    /// Clients came again and again.
    GaveWay,
}

/// What a copy came to.
#[derive(Default)]
struct Copied {
    seen: Seen,
    /// The upstream's own word for its model.
    version: Option<String>,
    ended: Option<Ended>,
    /// How long it was worked on, what was stopped included, and waiting not.
    worked: Duration,
}

/// A shadow that will run when the client has its answer; dropped without running it costs nothing.
pub(crate) enum ShadowSeed {
    /// Everything that it takes is set aside.
    Prepared(Box<Prepared>),
    /// It is another request, under another system prompt, and prepared when it runs.
    Later(Box<Later>),
}

/// A copy that may be made.
pub(crate) struct Prepared {
    pub(crate) experiment: Arc<Experiment>,
    pub(crate) router: Arc<Router>,
    /// The model in question and the one that it is compared with; one of them served.
    pub(crate) sides: [ModelName; 2],
    pub(crate) served: ModelName,
    /// The digest of the system prompt that the model in question gets in place of the request's own.
    pub(crate) prompt: Option<String>,
    pub(crate) ask: Ask,
    pub(crate) facts: Facts,
    /// Money of the experiment's day.
    pub(crate) held: Option<Held>,
    /// Its place among those that run at once.
    pub(crate) _place: OwnedSemaphorePermit,
    /// Counts what becomes of it.
    pub(crate) fate: Fate,
    /// What the model gets.
    pub(crate) request: Arc<WireRequest>,
    /// What its placeholders stand for, where it gets it masked.
    pub(crate) masked: Option<Arc<Values>>,
    /// One of the two got it masked: what is kept of it is masked.
    pub(crate) mask: Option<Arc<Mask>>,
    pub(crate) model: Model,
    /// Leave to ask the model.
    pub(crate) permit: Permit,
    /// Leave to keep both texts.
    pub(crate) keep: Permit,
    pub(crate) open: Arc<AttemptOpen>,
    pub(crate) hold: Option<Hold>,
    pub(crate) max_output: Option<u64>,
    pub(crate) local_cost: Option<LocalCost>,
    pub(crate) ledger: Ledger,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) tasks: TaskTracker,
}

// === impl Ended ===

impl Ended {
    fn label(&self) -> &'static str {
        match self {
            Self::Failed(error) => error.label(),
            Self::GaveWay => "gave_way",
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Failed(_) => Outcome::Error,
            Self::GaveWay => Outcome::Cancelled,
        }
    }
}

// === impl ShadowSeed ===

impl ShadowSeed {
    /// Answers in the background.
    pub(crate) fn run(self, served_text: String) {
        match self {
            Self::Prepared(prepared) => {
                let tasks = prepared.tasks.clone();
                tasks.spawn(async move { prepared.answer(served_text).await });
            }
            Self::Later(later) => {
                let tasks = later.tasks();
                tasks.spawn(async move {
                    if let Some(prepared) = later.prepare().await {
                        Box::pin(prepared.answer(served_text)).await;
                    }
                });
            }
        }
    }
}

// === impl Prepared ===

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            hold.settle(Amount::default());
        }
        if let Some(held) = self.held.take() {
            held.settle(NanoDollars::ZERO);
        }
    }
}

impl Prepared {
    async fn answer(mut self, served_text: String) {
        if !self.in_turn().await || !self.model.provider.breaker.enter() {
            return;
        }
        // On record before its call is: what that costs is this experiment's, whatever happens.
        let mut pair = self.pair();
        self.ledger.pair_later(pair.clone());
        if self.ledger.open(self.open.clone()).await.is_err() {
            self.model.provider.breaker.inconclusive();
            return;
        }
        if self.hold.as_ref().is_some_and(|hold| !hold.is_good()) {
            self.model.provider.breaker.inconclusive();
            self.ledger.close_later(AttemptClose::never_dialled(self.open.clone(), "lease_over"), None);
            return;
        }
        let Copied { seen, version, ended, worked } = self.copied().await;
        self.fate.became(match &ended {
            None => CopyEnd::Made,
            Some(Ended::Failed(_)) => CopyEnd::Failed,
            Some(Ended::GaveWay) => CopyEnd::GaveWay,
        });
        match &ended {
            None => self.model.provider.breaker.succeeded(),
            Some(Ended::Failed(error)) if error.blames_backend() => self.model.provider.breaker.failed(),
            Some(Ended::Failed(_) | Ended::GaveWay) => self.model.provider.breaker.inconclusive(),
        }
        let counted = seen.usage.unwrap_or(Counted::AtLeast(Usage::default()));
        let cost = self.model.pricing.cost(counted.usage()).unwrap_or(self.open.ceiling);
        if let Some(hold) = self.hold.take() {
            let usage = counted.usage();
            let tokens = usage.input.0.saturating_add(usage.output.0);
            hold.settle(Amount { money: cost.unwrap_or(NanoDollars::ZERO), tokens });
        }
        if let Some(held) = self.held.take() {
            held.settle(cost.unwrap_or(NanoDollars::ZERO));
        }
        let here = (self.model.provider.location, &self.model.pricing);
        let local_cost = local_cost(here, self.local_cost, worked);
        let closed = AttemptClose {
            open: self.open.clone(),
            ended_us: jiff::Timestamp::now().as_microsecond(),
            outcome: ended.as_ref().map_or(Outcome::Ok, Ended::outcome),
            counted,
            cost,
            local_cost,
            baseline: None,
            first_event_us: None,
            error: ended.as_ref().map(Ended::label),
        };
        self.observer.attempt(&closed, worked);
        self.ledger.close_later(closed, None);
        // Another prompt is another model, as far as the question is concerned.
        pair.version = match &self.prompt {
            Some(prompt) => Some(format!("{}{UNDER_PROMPT}{prompt}", version.as_deref().unwrap_or("-"))),
            None => version,
        };
        if self.prompt.is_some() {
            // Before both texts are there: whoever reads them knows that they are answers to two questions.
            self.ledger.pair_later(pair.clone());
        }
        // Under another prompt the class is at least that of the request as it came, else only of what was looked at.
        let asked = if self.prompt.is_some() { self.ask.came() } else { &self.ask.request };
        let kept = self.mask.as_ref().map_or(asked, |mask| &mask.request);
        let raw = &kept.raw;
        let (served_text, shadow_text) = (Arc::<str>::from(served_text), Arc::<str>::from(seen.text));
        let (served_kept, shadow_kept) = self.concealed(&served_text, &shadow_text).await;
        let record = ShadowRecord {
            request: self.ask.id.clone(),
            experiment: self.experiment.spec.name.clone(),
            at_us: self.open.at_us,
            served: self.served.clone(),
            shadow: self.model.name.clone(),
            prompt: raw.field("messages").or(raw.field("prompt")).unwrap_or_default().to_owned(),
            served_text: served_kept,
            shadow_text: shadow_kept,
            finish: seen.finish,
            error: ended.as_ref().map(Ended::label),
        };
        self.ledger.shadow_later(record, &self.keep);
        match &ended {
            // Whoever failed in the shadow has lost nothing: nobody waited for him, and he may have been put off.
            Some(Ended::Failed(error)) => pair.why = Some(format!("the other side failed: {}", error.label())),
            Some(Ended::GaveWay) => pair.why = Some("the other side gave way to clients".into()),
            None => {
                let answers = match pair.asked {
                    Side::Left => [&*shadow_text, &*served_text],
                    Side::Tie | Side::Right => [&*served_text, &*shadow_text],
                };
                let class = self.router.config().classes.name(self.facts.class).to_owned();
                let said = judged(&self.router, &self.experiment, (&self.ask, &class), answers).await;
                (pair.difference, pair.ballot, pair.why) = (said.difference, said.ballot, said.why);
                self.label(&pair).await;
            }
        }
        self.ledger.pair_later(pair);
        if let Err(error) = self.experiment.act(&self.ledger).await {
            tracing::error!(error = %error, "what an experiment shows cannot be looked at");
        }
    }

    /// Both texts as they may be kept: one that cannot be masked is not. They are scanned again for that, with free text
    /// for a quarter of a second, so on a thread that may block.
    async fn concealed(&self, served: &Arc<str>, shadow: &Arc<str>) -> (String, String) {
        let Some(mask) = self.mask.clone() else { return (served.to_string(), shadow.to_string()) };
        let (served, shadow) = (served.clone(), shadow.clone());
        let both = move || [served, shadow].map(|text| mask.conceal(&text).unwrap_or_default());
        let concealed = self.tasks.spawn_blocking(both).await;
        let [served, shadow] = concealed.unwrap_or_else(|error| {
            tracing::error!(panicked = error.is_panic(), "masking an experiment's answers ended without a result");
            Default::default()
        });
        (served, shadow)
    }

    /// What the judge said becomes a label of the local answer, where the pair is one of the house and a hosted model.
    async fn label(&self, pair: &PairRecord) {
        if self.prompt.is_some() {
            // It says something of that prompt, under which nobody is answered.
            return;
        }
        let place = |model| self.router.location_of(model);
        let sides = (place(&pair.left), place(&pair.right));
        let (Some(difference), (Some(Location::Local), Some(Location::Hosted))) = (pair.difference, sides) else {
            return;
        };
        let by_model = matches!(self.experiment.spec.judge, PairJudge::Model { .. });
        let label = LabelRecord {
            request: self.ask.id.clone(),
            source: if by_model { SHADOW_BY_MODEL } else { SHADOW },
            at_us: jiff::Timestamp::now().as_microsecond(),
            kind: "verdict",
            value: (1.0 + difference).clamp(0.0, 1.0) as f32,
            corrected: false,
            correction: None,
            comment: None,
        };
        if let Err(error) = self.ledger.label(label).await {
            tracing::error!(error = %error, "a shadow's label cannot be kept");
            return;
        }
        let (router, id) = (self.router.clone(), self.ask.id.clone());
        let counted = tokio::task::spawn_blocking(move || router.labelled(id.as_str())).await;
        if let Ok(Err(error)) = counted {
            tracing::error!(error = %error, "a shadow's label cannot be counted");
        }
    }

    fn pair(&self) -> PairRecord {
        let [left, right] = self.sides.clone();
        PairRecord {
            experiment: self.experiment.spec.name.clone(),
            request: self.ask.id.clone(),
            at_us: self.open.at_us,
            asked: if self.model.name == left { Side::Left } else { Side::Right },
            left,
            right,
            version: None,
            slices: slices_of(&self.ask, &self.facts),
            difference: None,
            ballot: None,
            why: Some("under way".into()),
        }
    }

    /// Waits until the model may be asked without being in a client's way; says whether it may.
    async fn in_turn(&self) -> bool {
        match self.model.provider.location {
            Location::Hosted => true,
            Location::Local => tokio::time::timeout(PATIENCE, self.model.provider.idle.idle()).await.is_ok(),
        }
    }

    /// Asks, and gives way to clients.
    async fn copied(&self) -> Copied {
        let gives_way = self.model.provider.location == Location::Local && self.model.pricing == Pricing::Free;
        let mut lost = Duration::ZERO;
        for _ in 0..STARTS {
            let started = Instant::now();
            let stopped = async {
                match gives_way {
                    true => self.model.provider.idle.wanted().await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                // A client who is there already is seen before anything is dialled.
                biased;
                () = stopped => {}
                mut copied = self.dial() => {
                    copied.worked = lost.saturating_add(copied.seen.busy.unwrap_or_else(|| started.elapsed()));
                    return copied;
                }
            }
            // The call was dropped with its future: its connection, or its place at the engine, is free.
            lost = lost.saturating_add(started.elapsed());
            if !self.in_turn().await {
                break;
            }
        }
        Copied { ended: Some(Ended::GaveWay), worked: lost, ..Copied::default() }
    }

    async fn dial(&self) -> Copied {
        let call = Call {
            permit: self.permit.clone(),
            request: self.request.clone(),
            masked: self.masked.clone(),
            id: self.ask.id.clone(),
            model: self.model.upstream.clone(),
            stream: self.request.view.stream,
            max_output: self.max_output,
            traceparent: None,
            watch: false,
        };
        let mut copied = Copied::default();
        let failed = |copied: Copied, error| Copied { ended: Some(Ended::Failed(error)), ..copied };
        let mut events = match adapters::dial(&*self.model.provider.backend, call).await {
            Ok(events) => events,
            Err(error) => return failed(copied, error),
        };
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Delta { frame: bytes, seen } | Event::Whole { body: bytes, seen }) => {
                    copied.version = copied.version.or_else(|| adapters::wire::version_in(&bytes));
                    let all = &mut copied.seen;
                    all.text.push_str(&seen.text);
                    all.finish = seen.finish.or(all.finish.take());
                    all.usage = seen.usage.or(all.usage);
                    all.busy = seen.busy.or(all.busy);
                }
                Ok(Event::Done) => break,
                Err(error) => return failed(copied, error),
            }
        }
        copied
    }
}
