//! Exploration: a few judged requests take the other side than the judgement says.
//!
//! **Promise.** A request is explored only where both sides are admitted and a judgement decides between them: never
//! against a constraint, never around a pin, a header or a rule. The probability with which the side that was taken was
//! taken comes out exactly, so that what is learnt later can be weighted by it.
//!
//! **Why.** Without it nothing is ever learnt about the way that was not taken: how good local answers to requests are
//! that always go hosted.
//!
//! **What it does not do.** It does not draw: a decision is a function of its inputs, so the draw comes in as a value.

use crate::candidate::Side;
use crate::decide::Reason;
use serde::Serialize;

/// How much is explored, and whether this request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Exploration {
    /// With which probability (0 to 1) a judged request is explored.
    pub rate: f32,
    /// Whether this one is, where it can be.
    pub drawn: bool,
}

// === impl Exploration ===

impl Exploration {
    /// The side that goes first where both could and one is preferred, why, and how probable that was.
    pub(crate) fn turn(self, preferred: Side, reason: Reason) -> (Side, Reason, f32) {
        if self.drawn {
            (preferred.other(), Reason::Exploration, self.rate)
        } else {
            (preferred, reason, 1.0 - self.rate)
        }
    }
}
