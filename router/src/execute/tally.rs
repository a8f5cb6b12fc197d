//! A judged request as the share counts it: at once by what is expected, and again when somebody has answered.
//!
//! **Promise.** What steers the share is who answers. What the threshold, a conversation or a draw has decided is counted when
//! it is decided; what comes of it later is made good when it is known: a second look that escalates, a backend that turns out not
//! to tell how sure it is, a side that is full or whose money is gone.
//!
//! **Faults are not made up for.** Where a provider failed (its error blames it: [`adapters::BackendError::blames_backend`]) the request
//! counts as it was decided. Else an hour in which everything fell to the strong side would be followed by as much traffic without
//! it, and the other way round: the goal is a share of sound traffic. For the same reason who left before there was an answer
//! counts as decided, and so does who got none.
//!
//! **What is expected of an answer that is looked at** is [`ESCALATED`]: the second look stands at the median of the doubts it has seen.

use super::answer::DeniedBy;
use super::consider::{Considering, Seat};
use policies::{Location, RoutingDecision, Side};
use std::sync::Arc;

/// How probably (0 to 1) an answer that is looked at goes on to the strong side.
const ESCALATED: f32 = 0.5;

/// A judged request that was counted by what is expected of it.
pub(super) struct Tally {
    seat: Arc<Seat>,
    expected: f32,
    /// A provider failed: what was decided counts.
    faulty: bool,
}

// === impl Tally ===

impl Tally {
    /// Counts a request by what its decision lets expect; nothing where nobody judged it.
    pub(super) fn of(considering: &Considering) -> Option<Self> {
        let decision = considering.outcome.as_ref().ok()?;
        let need = decision.signals.as_ref()?.need?;
        let expected = expected(decision);
        considering.seat.share.expect(need, expected);
        Some(Self { seat: considering.seat.clone(), expected, faulty: false })
    }

    /// A target did not answer, for this reason.
    pub(super) fn missed(&mut self, by: &DeniedBy) {
        self.faulty |= match by {
            DeniedBy::Backend(error) => error.blames_backend(),
            DeniedBy::Ledger(_) => true,
            DeniedBy::Refusal(_) | DeniedBy::UnknownModel(_) | DeniedBy::UnknownClass(_) => false,
        };
    }

    /// Somebody on this side has answered.
    pub(super) fn answered(self, side: Side) {
        if !self.faulty {
            self.seat.share.settle(self.expected, side == Location::Hosted);
        }
    }
}

/// How probably (0 to 1) the strong side answers what was decided so.
pub(super) fn expected(decision: &RoutingDecision) -> f32 {
    match decision.first_side() {
        Some(Location::Hosted) => 1.0,
        // The band is there only where the look decides.
        Some(Location::Local) if decision.watch && decision.steering.uncertain.is_some() => ESCALATED,
        Some(Location::Local) | None => 0.0,
    }
}
