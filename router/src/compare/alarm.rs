//! A watch for the day on which a side that was not worse becomes worse.
//!
//! **Promise.** As long as the mean difference is not below the boundary, a false alarm comes after at least `patience` pairs
//! in the mean.
//!
//! **Why not the evidence itself.** Who has been right for a year has spent all his wealth on the other bet: the
//! evidence of [`super::evidence`] would take as long again to turn. A detector begins a new bet with every pair, in the way of
//! Shiryaev and Roberts; Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change
//! detection", New England Journal of Statistics in Data Science 2(2), 2024, show that the sum of such e-processes keeps that
//! run length without any model of the scores.
//!
//! **Cost.** Twelve multiplications a pair; the order of pairs counts.

use super::evidence::{BETS, Way, growth};

/// The watch over one side.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    boundary: f64,
    patience: f64,
    sums: [f64; BETS.len()],
    rung: bool,
}

// === impl Alarm ===

impl Alarm {
    /// Watches for a mean difference below `-margin`; false alarms come every `patience` pairs in the mean, or less often.
    pub fn new(margin: f64, patience: u32) -> Self {
        let boundary = (-margin).clamp(-0.999, 0.999);
        Self { boundary, patience: f64::from(patience), sums: [0.0; BETS.len()], rung: false }
    }

    /// Takes a difference in \[-1, 1\]; says whether the alarm has rung. Once rung it stays so.
    pub fn add(&mut self, difference: f64) -> bool {
        if difference.is_nan() || self.rung {
            return self.rung;
        }
        let difference = difference.clamp(-1.0, 1.0);
        for (sum, part) in self.sums.iter_mut().zip(BETS) {
            *sum = (*sum + 1.0) * growth(part, difference, self.boundary, Way::Below);
        }
        self.rung = self.sums.iter().sum::<f64>() / BETS.len() as f64 >= self.patience;
        self.rung
    }
}
