//! Requests that get no answer.

use super::answer::{Denied, DeniedBy, Head};
use super::consider::Considering;
use super::story;
use super::walk::Router;
use crate::ask::{Ask, facts};
use crate::audit::Entry;
use crate::experiment::enrolled;
use crate::ledger::RequestRecord;
use crate::limits::OverLimit;
use crate::observe::Trace;
use policies::{Considered, Constraint, Readiness, Refusal, Sink, admit, decide};

/// Why a candidate that costs money is down while the ledger cannot be written.
pub(super) const UNWRITABLE: &str = "the ledger cannot be written";

/// Whether nothing but the ledger keeps some candidate from answering: then it is the ledger that denies.
pub(super) fn only_unwritable(refusal: &Refusal) -> bool {
    let kept = |seen: &Considered| {
        matches!(&seen.candidate.readiness, Readiness::Down { why, .. } if why == UNWRITABLE)
            && seen.strikes.iter().all(|strike| strike.by == Constraint::Health)
    };
    refusal.by == Constraint::Health && refusal.considered.iter().any(kept)
}

impl Router {
    pub(super) fn head(&self, ask: &Ask, reason: &str) -> Head {
        Head {
            id: ask.id.clone(),
            route: None,
            model: None,
            provider: None,
            reason: reason.to_owned(),
            score: None,
            attempts: 0,
            overhead: ask.received.elapsed(),
            budget: None,
            arm: None,
            cache: None,
        }
    }

    pub(super) fn denied(&self, ask: &Ask, by: DeniedBy) -> Box<Denied> {
        let reason = match &by {
            DeniedBy::UnknownModel(_) => "unknown_model",
            DeniedBy::UnknownClass(_) => Constraint::Residency.word(),
            DeniedBy::Refusal(refusal) => refusal.by.word(),
            DeniedBy::Backend(error) => error.label(),
            DeniedBy::Ledger(_) => "ledger",
        };
        Box::new(Denied { head: self.head(ask, reason), by })
    }

    /// The refusal of a request whose caller is over a rate limit: nothing was considered.
    pub fn over_limit(&self, ask: &Ask, over: &OverLimit) -> Box<Denied> {
        let refusal = Refusal {
            by: Constraint::RateLimit,
            message: over.to_string(),
            retry_after: over.retry_after,
            held: false,
            considered: Vec::new(),
            signals: None,
        };
        self.denied(ask, DeniedBy::Refusal(Box::new(refusal)))
    }

    /// Puts on the evidence log which models the request could not go to, because residency forbids it.
    pub(super) fn note_refusals(&self, ask: &Ask, considering: &Considering) {
        if !self.desk.ledger.audited() {
            return;
        }
        let considered = match &considering.outcome {
            Ok(decision) => &decision.considered,
            Err(refusal) => &refusal.considered,
        };
        let facts = &considering.facts;
        let whose = (&ask.id, facts, self.config.classes.name(facts.class));
        let entries = Entry::refused(whose, &story::payer(facts), considered, story::now_us()).collect();
        self.desk.ledger.evidence_later(entries);
    }

    /// Puts a request that got no answer on record, with the status that the client gets.
    pub fn note_denied(&self, ask: &Ask, denied: &Denied, status: u16) {
        let ask = &*enrolled(&self.config.experiments, ask);
        let classes = &self.config.classes;
        let read = facts(ask, classes, self.config.least_class());
        // A class that nobody knows: the request is on record under the default one.
        let unclassed = || facts(&Ask { class: None, ..ask.clone() }, classes, self.config.least_class());
        let Ok(facts) = read.or_else(|_| unclassed()) else { return };
        let considered = match &denied.by {
            DeniedBy::Refusal(refusal) => Some(Err(refusal.clone())),
            DeniedBy::UnknownModel(_) | DeniedBy::UnknownClass(_) | DeniedBy::Backend(_) | DeniedBy::Ledger(_) => None,
        };
        let outcome = considered.unwrap_or_else(|| {
            let admission = admit(&facts, &self.world(&facts, &self.usual.share));
            decide(admission, None)
        });
        let mut record: RequestRecord = story::record(&ask.id, &facts, &self.config.classes, &outcome, None);
        record.reason = denied.head.reason.clone();
        record.arm = denied.head.arm.clone();
        record.attempts = denied.head.attempts;
        record.status = status;
        let permit = classes.permit_sink(facts.class, Sink::Traces).ok();
        let trace = Trace { parent: ask.traceparent.as_deref(), permit: permit.as_ref() };
        self.desk.observer.request(&record, ask.received.elapsed(), trace);
        self.desk.ledger.refused_later(record);
    }
}

impl Denied {
    /// Whether money is only held by running calls.
    pub(super) fn held(&self) -> bool {
        matches!(&self.by, DeniedBy::Refusal(refusal) if refusal.held)
    }
}
