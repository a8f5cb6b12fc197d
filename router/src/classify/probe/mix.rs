//! How the numbers of a head's parts become one: opinions, the gate between them, and the curve to a probability.

use super::curve::Curve;
use serde::{Deserialize, Serialize};

/// A weighted sum of the parts' numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// A weight for each part; parts beyond them count nothing.
    pub weights: Vec<f32>,
    /// What is added.
    pub bias: f32,
}

/// A second opinion, and who decides how much it counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Everyday {
    /// The odds, as a logarithm, that a text is everyday traffic.
    pub gate: Sum,
    /// The opinion.
    pub sum: Sum,
}

/// How the parts become one number, and that number a probability.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// What was learnt from measured answers.
    pub measured: Sum,
    /// What was learnt from graded everyday prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everyday: Option<Everyday>,
    /// How much these two count beside `own`; 1 without it.
    pub share: f32,
    /// What was learnt from rows of one workload, when the head was adapted to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Sum>,
    /// From the gain to the need.
    pub curve: Curve,
    /// The need at each percentile (0 to 100) of the everyday training rows, out of fold: what a share starts from
    /// before it has seen traffic.
    pub cold: Vec<f32>,
}

// === impl Sum ===

impl Sum {
    /// The sum.
    pub fn of(&self, outputs: &[f32]) -> f32 {
        self.bias + self.weights.iter().zip(outputs).map(|(weight, output)| weight * output).sum::<f32>()
    }

    fn weight(&self, part: usize) -> f32 {
        self.weights.get(part).copied().unwrap_or(0.0)
    }

    fn times(&self, factor: f32) -> Self {
        let weights = self.weights.iter().map(|weight| weight * factor).collect();
        Self { weights, bias: self.bias * factor }
    }
}

// === impl Mix ===

impl Mix {
    /// The estimate of the gain.
    pub fn gain(&self, outputs: &[f32]) -> f32 {
        let gate = self.gate(outputs);
        let everyday = self.everyday.as_ref().map_or(0.0, |everyday| everyday.sum.of(outputs));
        let blended = (1.0 - gate) * self.measured.of(outputs) + gate * everyday;
        self.share * blended + self.own.as_ref().map_or(0.0, |own| own.of(outputs))
    }

    /// How much each part's number counts for a text with these numbers.
    pub fn weights(&self, outputs: &[f32]) -> Vec<f32> {
        let gate = self.gate(outputs);
        let weight = |part: usize| {
            let everyday = self.everyday.as_ref().map_or(0.0, |everyday| everyday.sum.weight(part));
            let blended = (1.0 - gate) * self.measured.weight(part) + gate * everyday;
            self.share * blended + self.own.as_ref().map_or(0.0, |own| own.weight(part))
        };
        (0..outputs.len()).map(weight).collect()
    }

    /// The same with an own sum beside it, counting `share` of what it did.
    #[must_use]
    pub fn adapted(&self, share: f32, own: Sum) -> Self {
        let mut own = own;
        if let Some(before) = &self.own {
            let before = before.times(share);
            own.bias += before.bias;
            own.weights.iter_mut().zip(before.weights).for_each(|(weight, before)| *weight += before);
        }
        Self { share: self.share * share, own: Some(own), ..self.clone() }
    }

    /// How much a text is like everyday traffic, 0 to 1; 0 without a second opinion.
    pub fn gate(&self, outputs: &[f32]) -> f32 {
        let Some(everyday) = &self.everyday else { return 0.0 };
        1.0 / (1.0 + (-everyday.gate.of(outputs)).exp())
    }

    pub(super) fn fits(&self, parts: usize) -> bool {
        let sums = std::iter::once(&self.measured)
            .chain(self.everyday.iter().flat_map(|everyday| [&everyday.gate, &everyday.sum]))
            .chain(&self.own);
        self.curve.is_sound() && sums.into_iter().all(|sum| sum.weights.len() <= parts)
    }
}
