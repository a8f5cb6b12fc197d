//! What sets the threshold: a share to keep, a risk to stay under, or a score.

use super::{Counted, Label, Risk, RiskState, Share};

/// The goal that the threshold serves.
#[derive(Debug)]
pub enum Control {
    /// `[router] hosted_share`.
    Share(Share),
    /// `[router] risk`.
    Risk(Risk),
    /// A score that an experiment's arm is given.
    Cut(f32),
}

// === impl Control ===

impl Control {
    /// The threshold now: from this score on, hosted.
    pub fn threshold(&self) -> f32 {
        match self {
            Self::Share(share) => share.threshold(),
            Self::Risk(risk) => risk.threshold(),
            Self::Cut(cut) => *cut,
        }
    }

    /// Scores too close to the threshold to call, if any are.
    ///
    /// A risk has none: a second look decides which answers are sent, and so changes the risk that was tested.
    pub fn uncertain(&self, width: f32) -> Option<(f32, f32)> {
        match self {
            Self::Share(share) => share.uncertain(width),
            Self::Risk(_) | Self::Cut(_) => None,
        }
    }

    /// Takes a request into account before its end is known: its score, and how probably (0 to 1) the strong side will answer.
    pub fn expect(&self, score: f32, hosted: f32) {
        match self {
            Self::Share(share) => share.expect(score, hosted),
            // A risk is learnt from labels, not from scores, and a cut not at all.
            Self::Risk(_) | Self::Cut(_) => {}
        }
    }

    /// Says which side answered a request of which this was expected.
    pub fn settle(&self, expected: f32, hosted: bool) {
        match self {
            Self::Share(share) => share.settle(expected, hosted),
            Self::Risk(_) | Self::Cut(_) => {}
        }
    }

    /// Goes on where an earlier life stopped ([`Share::resume`]); a risk does so with labels, and a cut never moves.
    pub fn resume(&self, counted: &[Counted]) {
        match self {
            Self::Share(share) => share.resume(counted),
            Self::Risk(_) | Self::Cut(_) => {}
        }
    }

    /// Whether a share is kept.
    pub fn keeps_a_share(&self) -> bool {
        matches!(self, Self::Share(_))
    }

    /// Aims at another share (0 to 1); a risk and a cut aim at none.
    pub fn aim(&self, goal: f32) {
        match self {
            Self::Share(share) => share.aim(goal),
            Self::Risk(_) | Self::Cut(_) => {}
        }
    }

    /// Whether a risk is kept that shadows' labels count for.
    pub fn counts_shadows(&self) -> bool {
        matches!(self, Self::Risk(risk) if risk.goal().shadows)
    }

    /// Whether a risk is kept.
    pub fn keeps_a_risk(&self) -> bool {
        matches!(self, Self::Risk(_))
    }

    /// Takes a label into account; gives the new state where a risk is kept.
    pub fn learn(&self, label: Label) -> Option<RiskState> {
        match self {
            Self::Share(_) | Self::Cut(_) => None,
            Self::Risk(risk) => Some(risk.learn(label)),
        }
    }

    /// Where the risk stands, if one is kept.
    pub fn risk(&self) -> Option<RiskState> {
        match self {
            Self::Share(_) | Self::Cut(_) => None,
            Self::Risk(risk) => Some(risk.state()),
        }
    }
}

impl From<Share> for Control {
    fn from(share: Share) -> Self {
        Self::Share(share)
    }
}

impl From<Risk> for Control {
    fn from(risk: Risk) -> Self {
        Self::Risk(risk)
    }
}
