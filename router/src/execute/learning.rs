//! What a request leaves behind to learn from, and what labels change.

use super::cascade::Cascade;
use super::walk::Router;
use crate::ask::Ask;
use crate::classify::{Control, Evidence, RiskState};
use crate::ledger::{JudgementRecord, LabelRecord, LedgerError};
use crate::probe::Reading;
use policies::{Exploration, Facts, Reason, RequestId, RoutingDecision, Sink};
use std::sync::Arc;

impl Router {
    /// Draws whether a request is explored; once a request, however often it is considered.
    pub(super) fn draw(&self) -> Exploration {
        let rate = self.config.exploration;
        Exploration { rate, drawn: rate > 0.0 && rand::random::<f32>() < rate }
    }

    /// The judgement as the ledger keeps it; nothing where nobody judged, or where it did not matter.
    pub(super) fn judgement(
        &self,
        (ask, facts): (&Ask, &Facts),
        decision: &RoutingDecision,
        (judge, lane): (&Arc<str>, &Arc<str>),
        evidence: Option<Arc<Evidence>>,
        looked_from: Option<f32>,
    ) -> Option<Box<JudgementRecord>> {
        let signals = decision.signals.as_ref()?;
        let score = signals.need?;
        // Embedding and features say much of a text.
        let keep = self.config.classes.permit_sink(facts.class, Sink::Log).is_ok();
        // What is masked for others is masked for the ledger.
        let read = ask.looked.mask().map_or(&ask.request, |mask| &mask.request);
        let prompt = || Reading::of_request(read).text().to_owned();
        let first = decision.considered.iter().find(|seen| seen.rank == Some(0))?;
        Some(Box::new(JudgementRecord {
            judge: judge.clone(),
            lane: lane.clone(),
            head: signals.head.clone(),
            score,
            threshold: decision.steering.threshold,
            looked_from,
            side: first.side,
            propensity: decision.propensity,
            explored: decision.reason == Reason::Exploration,
            evidence: evidence.filter(|_| keep),
            prompt: (keep && self.config.keep_prompts).then(prompt),
        }))
    }

    /// Keeps what a request says of the answer before it. It counts for no risk, so nobody has to learn from it now.
    pub(super) fn heard(&self, said: Option<(RequestId, &'static str)>) {
        let Some((request, source)) = said else { return };
        self.desk.ledger.label_later(LabelRecord {
            request,
            source,
            at_us: super::story::now_us(),
            kind: "implicit",
            value: 0.0,
            corrected: false,
            correction: None,
            comment: None,
        });
    }

    /// What sets the threshold.
    pub fn control(&self) -> &Control {
        &self.usual.share
    }

    /// The threshold of everybody who judges, by the name of the lane; empty for the usual one. Infinite: nothing goes hosted.
    pub fn thresholds(&self) -> impl Iterator<Item = (&str, f32)> {
        self.seats().map(|seat| (&*seat.lane, seat.share.threshold()))
    }

    /// What second looks at local answers came to.
    pub fn cascade(&self) -> &Cascade {
        &self.cascade
    }

    /// Takes into account that a request has a new label on the ledger. Reads the ledger, so it blocks.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn labelled(&self, request: &str) -> Result<(), LedgerError> {
        for seat in self.seats() {
            let Some(before) = seat.share.risk() else { continue };
            let Some(label) = self.desk.ledger.label_of(&seat.judge, seat.share.counts_shadows(), request)? else {
                continue;
            };
            if let Some(after) = seat.share.learn(label) {
                self.tell_risk(Some(&before), &after);
            }
        }
        Ok(())
    }

    /// Takes over what earlier lives and configurations have learnt; says where the risk stands. Reads the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn recall(&self) -> Result<(), LedgerError> {
        for seat in self.seats() {
            if let Control::Risk(risk) = seat.share.as_ref() {
                let after =
                    risk.load(self.desk.ledger.labels(&seat.judge, risk.goal().shadows, crate::classify::WINDOW)?);
                self.tell_risk(None, &after);
            }
        }
        Ok(())
    }

    /// To the metrics always, to the log when it begins, or ends, to hold.
    fn tell_risk(&self, before: Option<&RiskState>, after: &RiskState) {
        self.desk.observer.risk(after);
        if before.is_some_and(|before| before.state == after.state) {
            return;
        }
        match after.bound {
            Some(bound) => tracing::info!(
                threshold = after.threshold,
                bound,
                labels = after.used,
                "the risk target is shown to hold: below the threshold requests stay local"
            ),
            None => tracing::info!(
                labels = after.labels,
                least = after.least_labels,
                "the risk target is not shown yet: what can go hosted goes hosted"
            ),
        }
    }
}
