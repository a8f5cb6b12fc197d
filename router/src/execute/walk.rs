//! The router itself: from a request to an answer.

use super::agree::Again;
use super::answer::{Answer, AnswerBody, Denied, DeniedBy, Head};
use super::attempt::{Attempt, Desk};
use super::cascade::{Cascade, Tried};
use super::consider::{Considering, Seat};
use super::deny::only_unwritable;
use super::hedge::{Hedge, TakenUp, beside};
use super::reserve::Entered;
use super::settings::RouterConfig;
use super::story;
use super::tally::Tally;
use crate::again::Asked;
use crate::ask::Ask;
use crate::budgets::Budgets;
use crate::classify::{Control, Lane, LaneRule};
use crate::compare;
use crate::experiment::enrol;
use crate::fleet::Fleet;
use crate::ledger::{Ledger, LedgerError, Outcome};
use crate::observe::Observer;
use adapters::{BackendError, Call, Kind};
use policies::{Location, ModelName, Reason, RoutingDecision, Sink};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(super) use crate::shadow::ShadowSeed;

/// How long a request waits for money that running calls hold.
pub(super) const WAIT_FOR_HELD: Duration = Duration::from_secs(1);

/// How a target of the plan is come to.
enum Way {
    /// It is to be dialled.
    Fresh(Entered),
    /// It was dialled while the first one's answer was judged.
    Hedged(Hedge),
}

/// An attempt whose opening is on the ledger.
enum Opened {
    Fresh(Attempt, Call),
    Hedged(TakenUp),
}

/// The router.
pub struct Router {
    pub(super) config: RouterConfig,
    pub(super) fleet: Fleet,
    /// Who judges where no lane does.
    pub(super) usual: Arc<Seat>,
    /// Who judges in the lanes.
    pub(super) lanes: Vec<(LaneRule, Arc<Seat>)>,
    /// Who judges, outside of lanes, in the arms of a split that have thresholds of their own.
    pub(super) arms: Vec<(compare::Side, Arc<Seat>)>,
    pub(super) cascade: Arc<Cascade>,
    pub(super) budgets: Arc<Budgets>,
    pub(super) desk: Desk,
}

// === impl Router ===

impl Router {
    /// Puts a router together; everything that outlives a reload is shared.
    pub fn new(
        mut config: RouterConfig,
        fleet: Fleet,
        (share, cascade): (Arc<Control>, Arc<Cascade>),
        budgets: Arc<Budgets>,
        ledger: Ledger,
        observer: Arc<dyn Observer>,
        tasks: TaskTracker,
    ) -> Self {
        let spender = config.spender.clone();
        let lanes = std::mem::take(&mut config.lanes).into_iter();
        let lanes = lanes.map(|Lane { rule, classifier, share }| {
            let seat = Seat::new(classifier, share, rule.lane());
            (rule, Arc::new(seat))
        });
        let lanes = lanes.collect();
        let arms = Seat::of_arms(&config);
        let usual = Arc::new(Seat::new(config.classifier.clone(), share, ""));
        let local_cost = config.local_cost;
        let desk = Desk { ledger, observer, tasks, spender, budgets: budgets.clone(), local_cost };
        Self { config, fleet, usual, lanes, arms, cascade, budgets, desk }
    }

    /// Everybody who judges.
    pub(super) fn seats(&self) -> impl Iterator<Item = &Seat> {
        std::iter::once(&*self.usual).chain(self.lanes.iter().map(|(_, seat)| &**seat))
    }

    /// The configured models.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The accounts.
    pub fn budgets(&self) -> &Arc<Budgets> {
        &self.budgets
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.desk.ledger
    }

    /// The settings.
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// Answers a request.
    ///
    /// # Cancel safety
    /// Dropping the future ends the running attempt as `disconnected`.
    pub async fn answer(self: &Arc<Self>, ask: Ask) -> Result<Answer, Box<Denied>> {
        let ask = enrol(&self.config.experiments, ask);
        let asked = self.config.again.as_ref().and_then(|(spec, again)| {
            let asked = Asked::of(&ask, Instant::now())?;
            self.heard(again.heard(*spec, &asked));
            Some(asked)
        });
        let until = Instant::now() + WAIT_FOR_HELD;
        let exploration = self.draw();
        let mut refusals = Some(());
        let mut tally = None;
        loop {
            let considering = match self.consider(&ask, exploration).await {
                Ok(considering) => considering,
                Err(by) => return Err(self.denied(&ask, by)),
            };
            if refusals.take().is_some() {
                self.note_refusals(&ask, &considering);
            }
            self.config.taint.turn(&ask, &considering.facts, &self.config.classes);
            if let (Some(masking), Some(mask)) = (&self.config.masking, ask.looked.mask()) {
                masking.names.keep(&ask, mask);
            }
            if let Ok(decision) = &considering.outcome
                && let Some(signals) = &decision.signals
            {
                let hosted = decision.first_side() == Some(Location::Hosted);
                self.desk.observer.judged(signals, signals.need.map(|_| hosted));
            }
            if tally.is_none() {
                // Once a request, however often it is considered.
                tally = self.counted(&considering);
            }
            let only_held = matches!(&considering.outcome, Err(refusal) if refusal.held);
            let answered = Box::pin(self.walk(&ask, considering, &mut tally)).await;
            // Money that is only held may come back any moment.
            match answered {
                Err(denied) if (only_held || denied.held()) && Instant::now() < until => {
                    self.budgets.released(until.saturating_duration_since(Instant::now())).await;
                }
                Err(denied) => return Err(denied),
                Ok(answer) => {
                    if let (Some(tally), Some(side)) = (tally, answer.head.route) {
                        tally.answered(side);
                    }
                    if let (Some((_, again)), Some(asked)) = (&self.config.again, asked) {
                        again.answered(asked, Instant::now());
                    }
                    return Ok(answer);
                }
            }
        }
    }

    /// Counts a judged request towards the share, by what is expected of it.
    fn counted(&self, considering: &Considering) -> Option<Tally> {
        let tally = Tally::of(considering);
        if let Ok(RoutingDecision { signals: Some(_), .. }) = &considering.outcome
            && let Some(spender) = &self.config.spender
        {
            considering.seat.share.aim(spender.judged(Instant::now()));
        }
        tally
    }

    /// Goes along the plan until somebody answers. Each request's future is moved into its place whole, so that what few
    /// requests need is boxed here, and in what is called.
    async fn walk(
        self: &Arc<Self>,
        ask: &Ask,
        considering: Considering,
        tally: &mut Option<Tally>,
    ) -> Result<Answer, Box<Denied>> {
        let mut missed = |by: &DeniedBy| tally.iter_mut().for_each(|tally| tally.missed(by));
        let Considering { facts, outcome, seat, conversation, evidence, looked_from, near, arm, placed } = considering;
        let mut record = story::record(&ask.id, &facts, &self.config.classes, &outcome, placed.as_ref());
        record.arm = arm.clone();
        record.placed = placed.map(Box::new);
        let decision = match outcome {
            Ok(decision) => decision,
            Err(refusal) => {
                let head = Head { score: record.score, budget: near, arm, ..self.head(ask, refusal.by.word()) };
                let by = match only_unwritable(&refusal) {
                    true => DeniedBy::Ledger(LedgerError::Unwritable),
                    false => DeniedBy::Refusal(refusal),
                };
                return Err(Box::new(Denied { head, by }));
            }
        };
        record.judgement = self.judgement((ask, &facts), &decision, (&seat.judge, &seat.lane), evidence, looked_from);
        let mut waited = Duration::ZERO;
        let mut attempts = 0;
        let mut last: Option<DeniedBy> = None;
        let mut head = Head {
            score: record.score,
            budget: near,
            arm,
            cache: self.config.classes.permit_sink(facts.class, Sink::Cache).ok(),
            ..self.head(ask, decision.reason.word())
        };
        let mut rejected = false;
        let mut hedge: Option<Hedge> = None;
        let mut order: VecDeque<_> = places(&decision).enumerate().collect();
        while let Some((place, target)) = order.pop_front() {
            if place >= decision.plan.targets().len() && !rejected {
                break;
            }
            let Some(seen) = decision.considered.iter().find(|seen| seen.candidate.model == *target) else { continue };
            let Some(model) = self.fleet.get(target) else { continue };
            if rejected && place < decision.plan.targets().len() && model.provider.location == Location::Local {
                // Another small model would have to be looked at, too; the strong side is what was asked for.
                continue;
            }
            let hedged = hedge.take_if(|hedge| hedge.target() == target);
            if let Some((by, more)) = hedged.as_ref().and_then(Hedge::failure) {
                // It failed while the first answer was judged.
                missed(&by);
                last = Some(by);
                if more { continue } else { break }
            }
            let way = match hedged {
                Some(hedge) => Way::Hedged(hedge),
                None => match self.enter(&facts, &decision, seen, model).await {
                    Ok(entered) => {
                        attempts += 1;
                        Way::Fresh(entered)
                    }
                    Err(by) => {
                        missed(&by);
                        last.get_or_insert(by);
                        continue;
                    }
                },
            };
            record.route = Some(model.provider.location.word());
            record.model = Some(target.clone());
            let reason = match (place, rejected) {
                (0, _) => decision.reason,
                (_, true) if last.is_none() => Reason::Cascade,
                (_, _) => Reason::Fallback,
            };
            record.reason = reason.word().to_owned();
            head = Head {
                route: Some(model.provider.location),
                model: Some(target.clone()),
                provider: Some(model.provider.name.clone()),
                reason: record.reason.clone(),
                attempts,
                ..head
            };
            let shadow = match self.shadows() {
                true => Box::pin(self.shadow_seed(ask, &facts, &decision, target)).await,
                false => None,
            };
            let opened = match way {
                Way::Hedged(hedge) => Box::pin(hedge.take_up(record, shadow)).await.map(Opened::Hedged),
                Way::Fresh(entered) => {
                    let watch = decision.watch && place == 0;
                    let call = Call { watch, ..self.call((ask, &facts), model, seen, &entered) };
                    let mut start = self.start((ask, &facts), model, seen, entered.reserved, attempts);
                    (start.record, start.shadow) = (Some(record), shadow);
                    let opened = Attempt::open(start).await;
                    opened
                        .map(|attempt| Opened::Fresh(attempt, call))
                        .map_err(|(error, attempt)| (error, attempt.abandon()))
                }
            };
            let opened = match opened {
                Ok(opened) => opened,
                Err((error, back)) => {
                    let Some(back) = back else { break };
                    record = back;
                    let by = DeniedBy::Ledger(error);
                    missed(&by);
                    last = Some(by);
                    continue;
                }
            };
            let dialled = Instant::now();
            let tried = match opened {
                Opened::Hedged(taken) => Box::pin(taken.go_on(&ask.request)).await,
                Opened::Fresh(attempt, call) => {
                    let company = attempt.accompanied();
                    if call.watch {
                        hedge = Box::pin(self.hedge((ask, &facts, &decision), &attempt, attempts + 1)).await;
                        attempts += u32::from(hedge.is_some());
                    }
                    let number = attempts + 1;
                    let again = Again { router: self, ask, facts: &facts, decision: &decision, model, seen, number };
                    let watch = call.watch.then(|| self.watch(again));
                    let trying = Box::pin(super::cascade::attempt(&ask.request, model, call, attempt, watch));
                    let tried = beside(&mut hedge, trying).await;
                    let begun = company.load(Ordering::Relaxed);
                    (attempts, head.attempts) = (attempts.max(begun), head.attempts.max(begun));
                    tried
                }
            };
            let body = match tried {
                Ok(Tried::Streams(stream)) => AnswerBody::Stream(stream),
                Ok(Tried::Whole(body, attempt)) => {
                    // Nobody needs it any longer.
                    drop(hedge.take());
                    match attempt.finish(Outcome::Ok, None, Some(200)).await {
                        Ok(settled) => AnswerBody::Whole { body, cost: settled.cost },
                        Err(error) => return Err(Box::new(Denied { head, by: DeniedBy::Ledger(error) })),
                    }
                }
                Ok(Tried::Rejected(attempt)) => {
                    waited += dialled.elapsed();
                    rejected = true;
                    let Some(back) = beside(&mut hedge, Box::pin(attempt.reject())).await else { break };
                    record = back;
                    continue;
                }
                Err((error, attempt)) => {
                    waited += dialled.elapsed();
                    let more = error.next_target_may_try();
                    let Some(back) = beside(&mut hedge, Box::pin(attempt.fail(&error))).await else { break };
                    record = back;
                    tracing::debug!(error = %error, model = %target, "an attempt failed");
                    let by = DeniedBy::Backend(error);
                    missed(&by);
                    last = Some(by);
                    if !more {
                        break;
                    }
                    // What is under way already comes next.
                    let under_way = hedge.as_ref().filter(|hedge| hedge.lives());
                    let at = under_way.and_then(|hedge| order.iter().position(|(_, next)| *next == hedge.target()));
                    if let Some(next) = at.and_then(|at| order.remove(at)) {
                        order.push_front(next);
                    }
                    continue;
                }
            };
            waited += dialled.elapsed();
            head.overhead = ask.received.elapsed().saturating_sub(waited);
            let need = decision.signals.as_ref().and_then(|signals| signals.need);
            // Whoever was drawn to try the other side is not kept there.
            let conversation = conversation.filter(|_| decision.reason != Reason::Exploration);
            if let (Some(conversation), Some(need)) = (conversation, need) {
                let kept = decision.steering.remembered(model.provider.location, need);
                self.config.affinity.answered(conversation, kept, Instant::now());
            }
            return Ok(Answer { head, body });
        }
        head.overhead = ask.received.elapsed().saturating_sub(waited);
        let nothing = || DeniedBy::Backend(BackendError::before_send(Kind::NotReady("no target is left".into())));
        Err(Box::new(Denied { head, by: last.unwrap_or_else(nothing) }))
    }
}

/// The targets in order; at the end, for when everybody after a rejected answer fails, the local one again, unwatched.
fn places(decision: &RoutingDecision) -> impl Iterator<Item = &ModelName> {
    decision.plan.targets().iter().chain(decision.watch.then(|| decision.plan.first()))
}
