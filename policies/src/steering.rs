//! How a judgement is used: what the decision knows besides facts, constraints and the score itself.

use crate::candidate::Side;
use crate::exploration::Exploration;
use crate::signals::{Signals, Unsure};
use serde::Serialize;

/// How judgements are used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Steering {
    /// From this need on the strong side goes first.
    pub threshold: f32,
    /// Which side goes first when nobody judged.
    pub unsure: Unsure,
    /// Needs from the first to the second, both included, are too close to call: the local model begins, and its answer is looked at
    /// before anybody sees it, where it tells how sure it is. `None`: never.
    pub uncertain: Option<(f32, f32)>,
    /// Answers are looked at and kept whatever is seen: the threshold decides alone.
    pub observes: bool,
    /// The side that this conversation is on.
    pub kept: Option<Kept>,
    /// How far the need has to move before a conversation changes sides.
    pub switch_cost: f32,
    /// Whether this request takes the other side than the preference says.
    pub exploration: Exploration,
    /// The session is held out of routing: hosted goes first where both sides are admitted, and nobody judges.
    pub holdout: bool,
    /// The side that an experiment, or its result, puts this request on where both sides are admitted; nobody judges.
    pub experiment: Option<Side>,
}

/// The side that served a conversation's last answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// The side.
    pub side: Side,
    /// The need at which the conversation was put on it.
    pub need: f32,
}

// === impl Steering ===

impl Steering {
    /// Judgements at a threshold and nothing else: no conversation, no exploration, no holdout, no experiment.
    pub fn new(threshold: f32, unsure: Unsure, switch_cost: f32) -> Self {
        Self {
            threshold,
            unsure,
            uncertain: None,
            observes: false,
            kept: None,
            switch_cost,
            exploration: Exploration::default(),
            holdout: false,
            experiment: None,
        }
    }

    /// The side that the conversation stays on; `None` where it is on none, or the need has moved.
    pub(crate) fn stays(&self, signals: Option<&Signals>) -> Option<Side> {
        let kept = self.kept?;
        let need = signals.and_then(|signals| signals.need);
        need.is_none_or(|need| !self.moved(&kept, need)).then_some(kept.side)
    }

    /// What is remembered of a conversation once `side` has answered it at `need`.
    ///
    /// Where it stayed on its side, the need that put it there stays, too: else many small steps would carry a
    /// conversation further than one large one may.
    pub fn remembered(&self, side: Side, need: f32) -> Kept {
        let stayed = |kept: &Kept| kept.side == side && !self.moved(kept, need);
        self.kept.filter(stayed).unwrap_or(Kept { side, need })
    }

    fn moved(&self, kept: &Kept, need: f32) -> bool {
        (need - kept.need).abs() > self.switch_cost
    }

    /// The same, where a second look does not decide: the threshold stands alone.
    #[must_use]
    pub(crate) fn decided_by(self, looks_decide: bool) -> Self {
        Self { uncertain: self.uncertain.filter(|_| looks_decide && !self.observes), ..self }
    }

    /// Whether a judgement lies in the uncertain band.
    pub fn too_close(&self, signals: Option<&Signals>) -> bool {
        let need = signals.and_then(|signals| signals.need);
        matches!((need, self.uncertain), (Some(need), Some((from, to))) if need >= from && need <= to)
    }
}
